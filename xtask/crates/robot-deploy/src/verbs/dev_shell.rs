//! `cargo xtask dev-shell`: the workspace's build tools, with the sources of this machine.

use camino::{Utf8Path, Utf8PathBuf};

use super::workspace;
use crate::config::{Base, Workspace};
use crate::error::{Failure, Result};
use crate::host::{self, Need};
use crate::image::{self, Builder};
use crate::process::Cmd;
use crate::{files, ui};

/// Where the ROS workspace is in the container.
const SOURCES: &str = "/ws";

/// The home directory in the container.
const HOME: &str = "/home/dev";

/// Open a shell with the build tools of the workspace: colcon, compilers, ROS; files are yours
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask dev-shell -- colcon build --packages-up-to navigation

The ROS workspace of this machine is /ws there, and what is written to it belongs to you. Your home there, with the
history of the shell, is target/xtask/dev-shell/home here. VS Code opens the same by .devcontainer/.")]
pub struct Args {
    /// The base whose tools to take, where there are several
    #[arg(long, value_name = "BASE")]
    base: Option<String>,

    /// Build the image and print its name, no more
    #[arg(long, conflicts_with = "command")]
    build: bool,

    /// Do not ask before installing what this machine lacks
    #[arg(long, short)]
    yes: bool,

    /// A command, instead of a shell
    #[arg(last = true)]
    command: Vec<String>,
}

/// Builds the image of the tools where it is missing, and runs it.
///
/// # Errors
/// Fails when the image cannot be built, or as the command does.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let base = choose(&workspace, args.base.as_deref())?;
    let engine = host::ready(args.yes, &Need::ALWAYS)?;
    let image = image::tools(&workspace, Builder::for_engine(engine), base)?;
    if args.build {
        ui::result(&image)?;
        return Ok(());
    }
    // To an engine without root, who started it is root.
    let id = |flag: &str| if engine.rootless { Ok("0".to_owned()) } else { Cmd::new("id").arg(flag).read() };
    let user = User { uid: id("-u")?, gid: id("-g")?, dir: workspace.state_dir().join("dev-shell") };
    user.move_in()?;
    let mut docker = docker(&workspace.project.ros_workspace, &user);
    if ui::is_terminal() {
        docker = docker.arg("--tty");
        ui::step("dev-shell", "the ROS workspace is /ws; `exit` leaves");
    }
    let command: Vec<&str> = match args.command.is_empty() {
        true => vec!["bash"],
        false => args.command.iter().map(String::as_str).collect(),
    };
    docker.arg(image).args(command).interactive()
}

/// `docker run`, as far as the image.
fn docker(sources: &Utf8Path, user: &User) -> Cmd {
    let docker = Cmd::new("docker")
        .args(["run", "--rm", "--init", "--interactive", "--network", "host", "--workdir", SOURCES])
        .args(["--user", &format!("{}:{}", user.uid, user.gid), "--env", &format!("HOME={HOME}")]);
    let [passwd, group] =
        User::ACCOUNTS.map(|file| bind(&user.dir.join(file), &format!("/etc/{file},readonly")));
    let mounts = [bind(sources, SOURCES), bind(&user.dir.join("home"), HOME), passwd, group];
    docker.args(mounts.into_iter().flat_map(|mount| ["--mount".to_owned(), mount]))
}

/// A directory or a file of this machine in the container, as `--mount` has it: a line of CSV, with a path that may
/// have anything in it.
fn bind(from: &Utf8Path, to: &str) -> String {
    format!("type=bind,\"source={}\",target={to}", from.as_str().replace('"', "\"\""))
}

/// Whoever started the container, and so works in it.
#[derive(Debug)]
struct User {
    uid: String,
    gid: String,
    /// Where their home is on this machine, and what tells the container who they are.
    dir: Utf8PathBuf,
}

impl User {
    /// The files by which a system knows its users.
    const ACCOUNTS: [&str; 2] = ["passwd", "group"];

    /// Makes the home, and has the container call them what its image calls a user.
    fn move_in(&self) -> Result<()> {
        let Self { uid, gid, dir } = self;
        let passwd = format!("dev:x:{uid}:{gid}::{HOME}:/bin/bash\nroot:x:0:0::/root:/bin/bash\n");
        let group = format!("dev:x:{gid}:\nroot:x:0:\n");
        for (file, text) in Self::ACCOUNTS.into_iter().zip([passwd, group]) {
            files::provide(&dir.join(file), &text)?;
        }
        Cmd::new("mkdir").args(["-p", dir.join("home").as_str()]).run()
    }
}

fn choose<'a>(workspace: &'a Workspace, name: Option<&str>) -> Result<&'a Base> {
    let names: Vec<&str> = workspace.bases.keys().map(String::as_str).collect();
    let hint = format!("`--base NAME`, with one of {}", names.join(", "));
    match (name, &names[..]) {
        (Some(name), _) => workspace.bases.get(name).ok_or_else(|| {
            Failure::config(format!("there is no base `{}`", name.escape_debug())).hint(hint).into()
        }),
        (None, [only]) => Ok(&workspace.bases[*only]),
        (None, _) => Err(Failure::config("which base?").hint(hint).into()),
    }
}
