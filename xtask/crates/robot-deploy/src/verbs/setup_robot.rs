//! `cargo xtask setup-robot`: prepares a robot for deploys; needed once per robot.

use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};

use super::{RobotsArg, builder, workspace};
use crate::cmd;
use crate::config::{Robot, Workspace};
use crate::delivery::DigestCache;
use crate::error::{Failure, FollowedBy as _, Result, explained};
use crate::files;
use crate::host::Need;
use crate::image::{Builder, service};
use crate::reach::reach;
use crate::release::compose::ComposeDraft;
use crate::robot::{Endpoint, Session, Survey, connecting, host_key, others, registry};
use crate::{process, ui};

/// Command for the robot's own console that shows the fingerprint of its host key.
const SHOW_FINGERPRINT: &str = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub";

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Record a new host key, after the robot was re-flashed or replaced
    #[arg(long)]
    new_host_key: bool,

    /// Do not ask: install missing tools on this machine, and trust host keys that are not recorded yet. Any
    /// machine at the robot's address is trusted then: compare the printed fingerprint with the robot's own
    #[arg(long, short)]
    yes: bool,
}

/// Prepares the robots one after another, because `ssh` may ask for passwords.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robots = args.robots.resolve(&workspace)?;
    let builder = builder(args.yes, &Need::ALWAYS)?;
    robots.iter().try_for_each(|robot| prepare(args, &workspace, builder, robot))
}

fn prepare(args: &Args, workspace: &Workspace, builder: Builder, robot: &Robot) -> Result<()> {
    let endpoint = reach(workspace, robot)?;
    ensure_host_key(args, &endpoint)?;
    ensure_login(&endpoint)?;
    let session = Session::open_by_login(endpoint)?;
    let project = &workspace.project.name;
    let survey = Survey::of(&session, project, &registry::repository(robot.registry_port, project))?;
    survey.check_platform(&robot.name, &robot.platform)?;
    check_compose(&session)?;
    // A workspace that is not complete yet is no mistake here.
    if let Ok(draft) = ComposeDraft::render(workspace, robot) {
        survey.tell_others(&draft.services(), &others::needs(draft.definitions()));
    }
    let began = Instant::now();
    let sent = registry::ensure(&session, &service::registry(builder, &robot.platform)?)?;
    DigestCache::load(&workspace.state_dir()).record_speed(&robot.name, sent, began.elapsed());
    ui::done(&robot.name, &format!("ready for `cargo xtask deploy --robot {}`", robot.name));
    Ok(())
}

/// Records the robot's host key if none is recorded, or if `--new-host-key` is given.
fn ensure_host_key(args: &Args, endpoint: &Endpoint) -> Result<()> {
    let recorded = host_key::recorded(&endpoint.known_hosts, &endpoint.robot)?;
    if !recorded.is_empty() && !args.new_host_key {
        return Ok(());
    }
    let key = host_key::fetch(endpoint)?;
    for line in key.lines() {
        let fingerprint = host_key::fingerprint(line)?;
        if let Some(other) = endpoint.other_with_key(&fingerprint) {
            let message = format!(
                "`{}` at `{}` is `{other}`: it has its host key",
                endpoint.robot, endpoint.destination
            );
            return Err(Failure::config(message)
                .hint(format!(
                    "if they share an address, connect to the network of `{}`; if they are one machine, remove one from robots.toml",
                    endpoint.robot
                ))
                .into());
        }
        ui::step(&endpoint.robot, &format!("host key {fingerprint}"));
    }
    let file = &endpoint.known_hosts;
    process::outcome_needed()
        .followed_by(format!("recording the host key in `{file}`"))
        .followed_by("checking the login, Docker and Compose, and starting the registry")?;
    if args.yes {
        ui::warn(
            &endpoint.robot,
            &format!(
                "host key trusted without asking (`--yes`); to compare it, run on the robot: {SHOW_FINGERPRINT}"
            ),
        );
    } else if !ui::confirm(&format!("Is this the robot's host key? (on the robot: {SHOW_FINGERPRINT})")) {
        return Err(Failure::unreachable(format!("the host key of `{}` was not confirmed", endpoint.robot))
            .hint("`--yes` records it without asking")
            .into());
    }
    host_key::record(&endpoint.known_hosts, &endpoint.robot, &key)?;
    ui::step(&endpoint.robot, &format!("host key recorded in {}", endpoint.known_hosts));
    Ok(())
}

/// Makes sure that a login works without a password.
fn ensure_login(endpoint: &Endpoint) -> Result<()> {
    if connecting::accepts_key(endpoint)? {
        return Ok(());
    }
    let key = ensure_key()?;
    ui::step(
        &endpoint.robot,
        &format!("installing {key}; enter your password on the robot when `ssh` asks for it"),
    );
    install(endpoint, &key)?;
    process::outcome_needed().followed_by("checking the login, Docker and Compose, and starting the registry")
}

/// Returns the public key to install: the first one found under the default names, or a new one.
fn ensure_key() -> Result<Utf8PathBuf> {
    let dir = files::home()?.join(".ssh");
    let names = ["id_ed25519", "id_ecdsa", "id_rsa"];
    if let Some(key) = names.iter().map(|name| dir.join(format!("{name}.pub"))).find(|path| path.is_file()) {
        return Ok(key);
    }
    let key = dir.join("id_ed25519");
    ui::step("host", &format!("creating an SSH key, {key}"));
    if !dir.is_dir() {
        cmd!("mkdir -p -m 700 {dir}")?.run()?;
    }
    cmd!("ssh-keygen -q -t ed25519 -N '' -f {key}")?.run()?;
    Ok(key.with_extension("pub"))
}

/// Adds the key to the robot's `authorized_keys` unless it is there. `ssh` asks for the password on the
/// terminal.
fn install(endpoint: &Endpoint, key: &Utf8Path) -> Result<()> {
    let script = "umask 077; mkdir -p ~/.ssh; key=$(cat); \
                  grep -qxF -- \"$key\" ~/.ssh/authorized_keys 2>/dev/null || printf '%s\\n' \"$key\" >>~/.ssh/authorized_keys";
    let text = if key.is_file() { fs_err::read_to_string(key)? } else { String::new() };
    endpoint
        .ssh()
        .args(["--", &endpoint.destination])
        .arg(shell_words::join(["sh", "-c", script]))
        .stdin_from(key.as_str(), text)
        .interactive()
        .map_err(|error| {
            Failure::unreachable(format!("`{}` did not accept the password", endpoint.robot)).caused_by(error)
        })
}

fn check_compose(session: &Session) -> Result<()> {
    session.command(["docker", "compose", "version", "--short"]).read().map(drop).map_err(|error| {
        explained(error, |error| {
            Failure::failed(format!("`{}` has no Docker Compose v2", session.robot()))
                .hint("on the robot: `sudo apt install docker-compose-v2` (Ubuntu), `docker-compose` (Debian 13) or `docker-compose-plugin` (Docker's own packages)")
                .because(error)
                .into()
        })
    })
}
