//! The machine xtask runs on: what building and deploying need of it, and how to get that.
//!
//! [`ensure`] comes before the first stage of the pipeline. Where all is there it costs one `docker info`,
//! whose answer [`engine`] then gives to the stages; where something is missing it says so, shows the
//! commands that bring it, asks, and runs them.

mod apt;
pub mod checks;
mod distribution;
mod endpoint;
mod engine;
mod machine;
mod plan;
mod probe;
mod setup;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::OnceLock;

pub use engine::Engine;
pub use machine::Machine;
pub use probe::{Missing, Need};

use crate::config::Platform;
use crate::error::Result;
use crate::{process, ui};

static ENGINE: OnceLock<Engine> = OnceLock::new();

/// Makes sure that this machine has what is needed: says what is missing and asks, unless `yes`, before it
/// installs anything. In dry-run mode it prints the commands.
///
/// # Errors
/// Fails when something is missing and may not or cannot be installed; the error says how to get it.
pub fn ensure(yes: bool, needs: &[Need]) -> Result<()> {
    if let Some(engine) = setup::ensure(&Machine::this()?, yes, needs)? {
        // Somebody may have asked before; the engine is the same.
        drop(ENGINE.set(engine));
    }
    Ok(())
}

/// What building for these platforms needs.
pub fn needs<'a>(platforms: impl IntoIterator<Item = &'a Platform>) -> Vec<Need> {
    let foreign: BTreeSet<&Platform> =
        platforms.into_iter().filter(|platform| !platform.is_native()).collect();
    Need::ALWAYS.into_iter().chain(foreign.into_iter().cloned().map(Need::Emulation)).collect()
}

/// As [`ensure`], for a verb that goes on from there, and gives the engine. A dry run goes on whatever is
/// missing: it says so, and takes an engine for granted.
///
/// # Errors
/// As [`ensure`], except in a dry run.
pub fn ready(yes: bool, needs: &[Need]) -> Result<&'static Engine> {
    match ensure(yes, needs) {
        Err(error) if process::mode().dry_run => ui::error(Some("host"), &error),
        other => other?,
    }
    engine()
}

/// Whether Compose files cannot be read here, which takes the client and its plugin but no engine.
///
/// # Errors
/// Fails when this machine cannot be looked at.
pub fn lacks_compose() -> Result<bool> {
    let machine = Machine::this()?;
    Ok(machine.program("docker").is_none() || !machine.has_plugin("compose"))
}

/// The Debian mirror that this machine is configured with, for bootstrapping; none where it is no Debian,
/// and mmdebstrap uses the one of its own choice.
///
/// # Errors
/// Fails when this machine cannot be looked at.
pub fn debian_mirror() -> Result<Option<String>> {
    Ok(plan::debian_mirror(&Machine::this()?))
}

/// The engine of this machine; asked once. Where there is none, a dry run assumes one.
///
/// # Errors
/// Fails when there is none that answers.
pub fn engine() -> Result<&'static Engine> {
    if let Some(engine) = ENGINE.get() {
        return Ok(engine);
    }
    let machine = Machine::this()?;
    let engine = match setup::engine(&machine) {
        Err(_) if process::mode().dry_run => Engine::assumed(machine.os),
        other => other?,
    };
    Ok(ENGINE.get_or_init(|| engine))
}
