//! The command line of a team's `xtask`: options and verbs to flatten into its own.

mod help;

use std::process::ExitCode;

use clap::Subcommand;

use crate::error::{self, Failure, Result};
use crate::mode::{self, Options};
use crate::process;
use crate::ui;
use crate::verbs::{self, services};

pub use help::parse;

/// Examples and exit codes, to be shown after the help of the command.
pub const HELP: &str = "Examples:
  cargo xtask deploy --robot main        build, deliver, start
  cargo xtask deploy --robot main -n     show what that would run
  cargo xtask doctor                     check this machine and the robots

Exit codes:
  0    done
  1    failed
  2    wrong usage or configuration
  3    a robot is unreachable, or its host key changed
  4    a robot is locked by another deploy, or busy
  5    the new release was unhealthy and was rolled back
  130  interrupted
exec, run, shell, ssh and dev-shell end with the exit code of their command.";

/// Verbs of robot-deploy. A team's own `xtask` flattens them into its enum of verbs.
// The first line of a comment is the help in the list of verbs, the paragraph is in `--help`: the `Args` of a verb need
// no comment of their own.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build the images, bring them to robots and start them there
    ///
    /// Only layers that a robot lacks are sent to the registry on the robot, over SSH. The robot then starts
    /// the new release by itself and waits until every service is healthy; an unhealthy release is rolled
    /// back to the one before.
    #[command(alias = "up")]
    Deploy(verbs::deploy::Args),
    /// Try each saved file on robots at once, until Ctrl-C
    ///
    /// Watches everything that a deploy reads. A deploy that fails does not end the watch. If a
    /// robot is locked by another deploy or busy, the deploy waits.
    Watch(verbs::watch::Args),
    /// Build the images of the ROS packages, without a robot
    ///
    /// Each ROS package is one build stage and one layer. An edit rebuilds the package and those that depend
    /// on it, and changes only their layers.
    BuildImages(verbs::build_images::Args),
    /// Show the apt and pip packages of each dependency
    ///
    /// Each dependency in a package.xml that is not a package of the workspace is in the base, or rosdep knows packages of
    /// apt or pip for it, which builds install above the base. Their versions are in docker/rosdep.lock.
    Deps(verbs::deps::Args),
    /// Update the pinned third-party images of Compose files
    ///
    /// A deploy does this for images that are neither pinned nor on this machine. The digests are in images.lock, to be
    /// committed.
    Pull(verbs::pull::Args),
    /// Build the current revision, and push it to the registry of [hub]
    ///
    /// The build is that of a clean checkout, and uncommitted changes are refused, so that the published images contain
    /// exactly what git has. Later, `cargo xtask deploy --via hub` lets robots pull them over their own network.
    Publish(verbs::publish::Args),
    /// Bring a bundle to robots and start it there
    ///
    /// A bundle is one file with the images and everything else that robots need to start them, written by
    /// `cargo xtask deploy --via archive --to FILE`. Use it for robots that the building machine cannot
    /// reach. Layers that a robot already has are not sent.
    LoadBundle(verbs::load_bundle::Args),
    /// Show release, services and health of robots
    ///
    /// Shows release, services, health, drift, disk and clock. Drift means that a container differs from the release: another image, other settings, or it is
    /// missing. A robot that is off is one line of the table, not an error.
    #[command(alias = "ps")]
    Status(verbs::status::Args),
    /// Show the releases that robots keep, to roll back to
    ///
    /// Each deploy creates a release with a number. A robot keeps the latest ones with their images (`keep`
    /// in robots.toml), so that going back needs neither a build nor a transfer.
    Releases(verbs::releases::Args),
    /// Go back to the release before, or to any other that robots keep
    ///
    /// Nothing is built or sent, since the robots still have the images. Without --to, each robot goes back
    /// to its latest healthy release before the current one.
    Rollback(verbs::rollback::Args),
    /// Remove images and registry layers that no release needs
    ///
    /// Frees disk space on robots. The releases that they keep stay complete, so that a rollback still works.
    Prune(verbs::prune::Args),
    /// Show what services have written on robots
    ///
    /// Directories of the repository that a service may write belong to the robot: deploys, rollbacks and `prune` leave
    /// them alone.
    Data(verbs::data::Args),
    /// Show who did what on robots, and when
    ///
    /// The history is on the robot itself, so it contains what every teammate did: deploys, rollbacks,
    /// started and stopped services, and commands with `exec`, `run`, `shell` and `ssh`.
    History(verbs::releases::Args),
    /// Make a repository ready: robots.toml, and what else is missing
    ///
    /// It looks for Compose files and ROS packages, shows what it would write, and asks.
    Init(verbs::init::Args),
    /// Install what building and deploying need on this machine
    ///
    /// These are Docker, buildx, Compose, mmdebstrap and ssh, from the packages of the distribution. The
    /// commands are shown before they run. A Docker Engine that is already installed keeps its configuration.
    Setup(verbs::setup::Args),
    /// Check this machine and the robots, and name remedies
    ///
    /// Every check runs, even if others fail: tools, disk space, network, robots.toml, and each robot. Each
    /// problem comes with the command or the change that fixes it.
    Doctor(verbs::doctor::Args),
    /// Prepare robots for their first deploy
    ///
    /// Sets up host key, SSH key, Docker and the registry. Run it once for each robot, and with --new-host-key after re-flashing it. The host keys are recorded
    /// in robots.known_hosts: commit that file, so that your teammates recognize the robots too.
    SetupRobot(verbs::setup_robot::Args),
    /// Manage simulated robots
    ///
    /// They are containers with a Docker Engine, an SSH server and a disk of their own. Robots with `simulated = true` in robots.toml start by themselves when a verb needs them. Use `sim up
    /// --link` to try a slow network, and `sim down` to remove the robots.
    Sim(verbs::sim::Args),
    /// Keep a tunnel to a robot's registry open, until Ctrl-C
    ///
    /// A deploy opens such a tunnel by itself. Use this verb to push other images to the robot with `docker
    /// push`.
    Tunnel(verbs::tunnel::Args),
    /// Open a shell on a robot, or run a command there
    ///
    /// The host key of the robot is checked against robots.known_hosts, and the robot's history records the
    /// command.
    Ssh(verbs::ssh::Args),
    /// Show the output of services
    ///
    /// With several robots, each line begins with the robot's name. The logs are those of the current containers. A container that a deploy replaces takes its log with
    /// it.
    Logs(verbs::logs::Args),
    /// Start services that are not running
    ///
    /// The containers of the current release start as they are: nothing is built or sent. A container that
    /// was removed is created again.
    Start(verbs::services::Args),
    /// Stop services, until they are started or deployed again
    ///
    /// Each service is stopped as the Compose file says, with its `stop_signal` and `stop_grace_period`. The
    /// release stays the same.
    #[command(alias = "down")]
    Stop(verbs::services::Args),
    /// Restart services
    ///
    /// The containers keep their image and settings. To apply changed variables of robots.toml, use `env`.
    Restart(verbs::services::Args),
    /// Run a command in a service's container, with the ROS environment
    ///
    /// The service must be running. Each argument arrives exactly as it is here: no shell on the way changes
    /// it.
    Exec(verbs::exec::Args),
    /// Open a shell in a service's container, with the ROS environment
    ///
    /// Changes to files of the container are lost when a deploy replaces it. To start a node by hand, use
    /// `run`, which makes a new container.
    #[command(alias = "attach")]
    Shell(verbs::exec::Shell),
    /// Run a command once, in a new container of a service
    ///
    /// The container has the service's image, settings and devices, and is removed when the command ends. The service
    /// itself keeps running: stop it first if both need the same device.
    Run(verbs::exec::Once),
    /// Apply the variables of robots.toml to robots, without a build
    ///
    /// Only services whose variables changed restart. The result is a new release: if it is unhealthy, it is
    /// rolled back.
    Env(verbs::env::Args),
    /// Copy files from robots, for instance bags and logs
    ///
    /// Each robot gets a directory of its own on this machine. Files that have already arrived are not sent
    /// again.
    #[command(alias = "bags")]
    PullData(verbs::pull_data::Args),
    /// Open a shell with the workspace's build tools: colcon, compilers
    ///
    /// The shell runs in a container of the base that the images are built on, so this machine needs no ROS.
    /// Files that you create belong to you.
    DevShell(verbs::dev_shell::Args),
    /// Print a completion script for a shell
    ///
    /// It completes verbs, options and their values: robots, images, services, releases. In bash, zsh and fish it works
    /// for `cargo xtask` too.
    Completions(verbs::completions::Args),
}

impl Verb {
    /// Returns whether the verb shows the state of something, which a dry run would have to invent.
    fn only_asks(&self) -> bool {
        match self {
            Self::Status(_) | Self::Releases(_) | Self::History(_) | Self::Doctor(_) | Self::Logs(_) => true,
            Self::Sim(args) => args.only_asks(),
            _ => false,
        }
    }

    /// Runs the verb.
    ///
    /// # Errors
    /// [`exit_of`](crate::error::exit_of) tells the exit code of an error.
    pub fn run(self) -> Result<()> {
        if mode::dry_run() && self.only_asks() {
            return Err(Failure::config("this verb changes nothing, so it has no dry run")
                .hint("run it without `--dry-run`; `--verbose` shows its commands")
                .into());
        }
        match self {
            Self::Deploy(args) => verbs::deploy::run(&args),
            Self::Watch(args) => verbs::watch::run(&args),
            Self::BuildImages(args) => verbs::build_images::run(&args),
            Self::Deps(args) => verbs::deps::run(&args),
            Self::Pull(args) => verbs::pull::run(&args),
            Self::Publish(args) => verbs::publish::run(&args),
            Self::LoadBundle(args) => verbs::load_bundle::run(&args),
            Self::Status(args) => verbs::status::run(&args),
            Self::Releases(args) => verbs::releases::run(&args),
            Self::Rollback(args) => verbs::rollback::run(&args),
            Self::Prune(args) => verbs::prune::run(&args),
            Self::Data(args) => verbs::data::run(&args),
            Self::History(args) => verbs::releases::history(&args),
            Self::Init(args) => verbs::init::run(&args),
            Self::Setup(args) => verbs::setup::run(&args),
            Self::Doctor(args) => verbs::doctor::run(&args),
            Self::SetupRobot(args) => verbs::setup_robot::run(&args),
            Self::Sim(args) => verbs::sim::run(&args),
            Self::Tunnel(args) => verbs::tunnel::run(&args),
            Self::Ssh(args) => verbs::ssh::run(&args),
            Self::Logs(args) => verbs::logs::run(&args),
            Self::Start(args) => verbs::services::run(services::Verb::Start, &args),
            Self::Stop(args) => verbs::services::run(services::Verb::Stop, &args),
            Self::Restart(args) => verbs::services::run(services::Verb::Restart, &args),
            Self::Exec(args) => verbs::exec::run(&args),
            Self::Shell(args) => verbs::exec::shell(&args),
            Self::Run(args) => verbs::exec::once(&args),
            Self::Env(args) => verbs::env::run(&args),
            Self::PullData(args) => verbs::pull_data::run(&args),
            Self::DevShell(args) => verbs::dev_shell::run(&args),
            Self::Completions(args) => verbs::completions::run(&args),
        }
    }
}

/// Runs a verb under these options: prints its error and returns its exit code. Call it at the end of `main`.
pub fn main(options: Options, run: impl FnOnce() -> Result<()>) -> ExitCode {
    std::panic::set_hook(Box::new(ui::panic));
    mode::configure(options);
    match process::install_signal_handler().and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Prints the error of a verb, and returns its exit code.
fn report(failure: &anyhow::Error) -> ExitCode {
    // A closed stdout (`… | head`) is not a failure.
    if error::is_closed_pipe(failure) {
        return ExitCode::SUCCESS;
    }
    if let Some(error::Ended(code)) = failure.downcast_ref() {
        return ExitCode::from(*code);
    }
    if let Some(planned) = error::Planned::find(failure) {
        ui::follows("then", planned);
        return ExitCode::SUCCESS;
    }
    if error::is_plain_interrupt(failure) {
        ui::interrupted();
    } else {
        ui::error(None, failure);
    }
    ExitCode::from(error::exit_of(failure) as u8)
}
