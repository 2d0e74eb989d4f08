//! Showing an edit without an image, by the tools that people use: `rsync` and a restart, and Compose's `watch`.
//! Both start from containers of the image that is built by hand.

use std::cell::RefCell;

use anyhow::Context as _;
use camino::Utf8Path;

use super::by_hand::ByHand;
use super::case::{Case, Edit};
use super::fixture::Fixture;
use super::live::Running;
use super::method::Method;
use super::robot::TestRobot;
use super::robots_toml::PROJECT;
use super::workload::Workload;
use robot_deploy::error::Result;
use robot_deploy::process::{self, Cmd};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// `rsync` into a directory of the robot that is mounted into the container, and `docker compose restart`.
    Rsync,
    /// `docker compose watch` on this machine, with `sync+restart`, for the engine of the robot.
    ComposeWatch,
}

pub(crate) struct Sync<'a> {
    by_hand: ByHand<'a>,
    tool: Tool,
    started: RefCell<Option<Started>>,
}

/// State after the first deploy.
struct Started {
    /// Directory of the edited file in its container.
    installed: String,
    watch: Option<Running>,
}

/// Directory on the robot that is mounted over the edited package: a volume, so that Docker fills it from the image.
const MOUNTED: &str = "bench/package";

impl<'a> Sync<'a> {
    pub(crate) fn new(by_hand: ByHand<'a>, tool: Tool) -> Self {
        Self { by_hand, tool, started: RefCell::default() }
    }

    /// Starts the containers, which is not measured.
    fn start(&self, workload: Workload, robot: &TestRobot<'_>, edit: &Edit) -> Result<Started> {
        self.by_hand.deploy(workload, std::slice::from_ref(robot))?;
        let in_container = |script: &str| {
            let exec = ["docker", "exec", &format!("{PROJECT}-{}-1", edit.service), "sh", "-c", script];
            robot.endpoint().command(exec).read()
        };
        let installed = in_container(&format!("dirname {}", edit.installed))?;
        if self.tool == Tool::Rsync {
            in_container(&format!("chown -R 1000 {}", package(edit)))?;
            return Ok(Started { installed, watch: None });
        }
        let watch = self.watch(robot, edit, &installed)?;
        watch.wait_for(&["watching", "Watch"])?;
        Ok(Started { installed, watch: Some(watch) })
    }

    /// Starts `docker compose watch`. Its `ssh` finds the simulated robot by the options that stand in
    /// `~/.ssh/config` for a real one.
    fn watch(&self, robot: &TestRobot<'_>, edit: &Edit, installed: &str) -> Result<Running> {
        let root = &self.fixture().copy.workspace().root;
        let dir = root.join("target/compose-watch");
        let ssh = shell_words::join(robot.endpoint().ssh().argv());
        process::write_file(
            &dir.join("bin/ssh"),
            &format!("#!/bin/sh\nPATH=${{PATH#*:}} exec {ssh} \"$@\"\n"),
        )?;
        Cmd::new("chmod").args(["+x", dir.join("bin/ssh").as_str()]).run()?;
        let file = dir.join("compose.yaml");
        let services = self.fixture().copy.compose_with(robot.name(), robot.workload().image_by_hand())?;
        process::write_file(&file, &services)?;
        let over = dir.join("watch.yaml");
        let source = source(edit, root)?;
        process::write_file(
            &over,
            &format!(
                "services:\n  {}:\n    build: {root}\n    develop:\n      watch:\n        \
                 - {{action: sync+restart, path: {source}, target: {installed}}}\n",
                edit.service
            ),
        )?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Cmd::new("env").args([
            format!("DOCKER_HOST=ssh://{}", robot.endpoint().destination),
            format!("PATH={dir}/bin:{path}"),
        ]);
        for (name, value) in robot.variables()? {
            command = command.arg(format!("{name}={value}"));
        }
        let compose = [
            "docker",
            "compose",
            "--project-name",
            PROJECT,
            "--file",
            file.as_str(),
            "--file",
            over.as_str(),
        ];
        Running::start(&command.args(compose).args(["watch", "--no-up", edit.service]), root)
    }
}

/// Directory of a package in its container.
fn package(edit: &Edit) -> &'static str {
    let end = edit.installed.find("/lib/").unwrap_or(edit.installed.len());
    &edit.installed[..end]
}

/// Directory of the edited file.
fn source<'a>(edit: &'a Edit, root: &Utf8Path) -> Result<String> {
    let parent: &'a Utf8Path = Utf8Path::new(edit.file).parent().context("a file in a package")?;
    Ok(root.join(parent).into_string())
}

impl Method for Sync<'_> {
    fn title(&self) -> &'static str {
        match self.tool {
            Tool::Rsync => "rsync",
            Tool::ComposeWatch => "docker compose watch",
        }
    }

    fn description(&self) -> &'static str {
        match self.tool {
            Tool::Rsync => {
                "rsync over ssh of the edited package into a directory that is mounted into its container, \
                 ssh docker compose restart"
            }
            Tool::ComposeWatch => "docker compose watch with sync+restart, DOCKER_HOST=ssh://ROBOT",
        }
    }

    fn fixture(&self) -> &Fixture {
        self.by_hand.fixture()
    }

    fn images(&self, workload: Workload) -> Vec<String> {
        self.by_hand.images(workload)
    }

    fn build(&self, workload: Workload) -> Result<()> {
        self.by_hand.build(workload)
    }

    fn set_up(&self, robot: &TestRobot<'_>) -> Result<()> {
        self.by_hand.set_up(robot)?;
        let Some(edit) = Case::Python.edit(0).filter(|_| self.tool == Tool::Rsync) else { return Ok(()) };
        let volume = format!("{{driver_opts: {{type: none, o: bind, device: \"${{HOME}}/{MOUNTED}\"}}}}");
        let (service, package) = (edit.service, package(&edit));
        let text = format!(
            "services: {{{service}: {{volumes: [\"package:{package}\"]}}}}\nvolumes: {{package: {volume}}}\n"
        );
        let script = format!("mkdir -p {MOUNTED} && cat >bench/compose.override.yaml");
        robot.endpoint().command(["sh", "-c", &script]).stdin(text).run()
    }

    fn deploy(&self, workload: Workload, robots: &[TestRobot<'_>]) -> Result<()> {
        let edit = Case::Python.edit(0).context("a line of Python is an edit")?;
        let mut started = self.started.borrow_mut();
        let robot = robots.first().context("a robot")?;
        let Some(started) = &*started else {
            *started = Some(self.start(workload, robot, &edit)?);
            return Ok(());
        };
        if let Some(watch) = &started.watch {
            // Of Compose 2.26, and of later ones.
            return watch.wait_for(&["  Started", "restarted"]);
        }
        let endpoint = robot.endpoint();
        let installed = started.installed.strip_prefix(package(&edit)).unwrap_or_default();
        let to = format!("{}:{MOUNTED}{installed}/", endpoint.destination);
        let from = format!("{}/", source(&edit, &self.fixture().copy.workspace().root)?);
        Cmd::new("rsync").args(["-a", "-e", &shell_words::join(endpoint.ssh().argv()), &from, &to]).run()?;
        let restart = format!("cd bench && docker compose restart {}", edit.service);
        endpoint.command(["sh", "-c", &restart]).run()
    }

    fn replaces_containers(&self, _case: Case) -> bool {
        false
    }
}
