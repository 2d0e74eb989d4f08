//! `cargo xtask dev-shell`: a container with the build tools of the workspace, and the sources of this
//! machine.

use camino::{Utf8Path, Utf8PathBuf};

use super::workspace;
use crate::complete;
use crate::config::{Base, Workspace};
use crate::error::{Failure, Result};
use crate::host::{self, Need};
use crate::image::{self, Builder};
use crate::process::{self, Cmd};
use crate::ui;

/// Path of the ROS workspace in the container.
const SOURCES: &str = "/ws";

/// Home directory in the container.
const HOME: &str = "/home/dev";

#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask dev-shell -- colcon build --packages-up-to navigation

The ROS workspace of this machine is /ws in the container. The home directory there, with the history of the shell, is
target/xtask/dev-shell/home on this machine. VS Code opens the same container with .devcontainer/.")]
pub struct Args {
    /// The base to take the tools from; optional if there is only one
    #[arg(long, value_name = "BASE", add = complete::bases())]
    base: Option<String>,

    /// Only build the image and print its name
    #[arg(long, conflicts_with = "command")]
    build: bool,

    /// Do not ask before installing what this machine lacks
    #[arg(long, short)]
    yes: bool,

    /// Command to run instead of a shell
    #[arg(last = true)]
    command: Vec<String>,
}

/// Builds the image with the tools if it is missing, and runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let base = choose(&workspace, args.base.as_deref())?;
    let engine = host::ready(args.yes, &Need::ALWAYS)?;
    let image = image::tools(&workspace, Builder::for_engine(engine), base)?;
    if args.build {
        ui::result(&image)?;
        return Ok(());
    }
    // A rootless engine maps its own user to root in the container.
    let id = |flag: &str| if engine.rootless { Ok("0".to_owned()) } else { Cmd::new("id").arg(flag).read() };
    let user = User { uid: id("-u")?, gid: id("-g")?, dir: workspace.state_dir().join("dev-shell") };
    user.create_home()?;
    let mut docker = docker(&workspace.project.ros_workspace, &user);
    if ui::is_terminal() {
        docker = docker.arg("--tty");
        ui::step("dev-shell", "the ROS workspace is /ws; `exit` leaves");
    }
    let command: Vec<&str> = match args.command.is_empty() {
        true => vec!["bash"],
        false => args.command.iter().map(String::as_str).collect(),
    };
    docker.arg(image).args(command).hand_over()
}

/// `docker run`, up to the image.
fn docker(sources: &Utf8Path, user: &User) -> Cmd {
    let docker = Cmd::new("docker")
        .args(["run", "--rm", "--init", "--interactive", "--network", "host", "--workdir", SOURCES])
        .args(["--user", &format!("{}:{}", user.uid, user.gid), "--env", &format!("HOME={HOME}")]);
    let [passwd, group] =
        User::ACCOUNTS.map(|file| bind(&user.dir.join(file), &format!("/etc/{file},readonly")));
    let mounts = [bind(sources, SOURCES), bind(&user.dir.join("home"), HOME), passwd, group];
    docker.args(mounts.into_iter().flat_map(|mount| ["--mount".to_owned(), mount]))
}

/// Bind mount for `--mount`, which takes a line of CSV: quoted, since the path may contain any character.
fn bind(from: &Utf8Path, to: &str) -> String {
    format!("type=bind,\"source={}\",target={to}", from.as_str().replace('"', "\"\""))
}

/// The user of this machine, who also works in the container.
#[derive(Debug)]
struct User {
    uid: String,
    gid: String,
    /// Directory on this machine with the user's home and account files for the container.
    dir: Utf8PathBuf,
}

impl User {
    /// Account files in `/etc`.
    const ACCOUNTS: [&str; 2] = ["passwd", "group"];

    /// Creates the home directory and the account files, which give the user the name `dev` that the image
    /// uses.
    fn create_home(&self) -> Result<()> {
        let Self { uid, gid, dir } = self;
        let passwd = format!("dev:x:{uid}:{gid}::{HOME}:/bin/bash\nroot:x:0:0::/root:/bin/bash\n");
        let group = format!("dev:x:{gid}:\nroot:x:0:\n");
        for (file, text) in Self::ACCOUNTS.into_iter().zip([passwd, group]) {
            process::provide_file(&dir.join(file), &text)?;
        }
        process::create_dir(&dir.join("home"))
    }
}

fn choose<'a>(workspace: &'a Workspace, name: Option<&str>) -> Result<&'a Base> {
    let names: Vec<&str> = workspace.bases.keys().map(String::as_str).collect();
    let hint = format!("`--base NAME`, with one of {}", names.join(", "));
    match (name, &names[..]) {
        (Some(name), _) => workspace.bases.get(name).ok_or_else(|| {
            Failure::config(format!("no base `{}` in `robots.toml`", name.escape_debug())).hint(hint).into()
        }),
        (None, [only]) => Ok(&workspace.bases[*only]),
        (None, _) => Err(Failure::config("which base?").hint(hint).into()),
    }
}
