//! Prerequisites on this machine: checks that building and deploying have the tools they need, and installs
//! them.
//!
//! [`ensure`] runs before the first stage of the pipeline. If nothing is missing, it costs one `docker info`,
//! and [`engine`] passes the result to the stages. Otherwise it lists what is missing, shows the commands
//! that install it, asks, and runs them.

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
pub use probe::Need;

use crate::config::Platform;
use crate::error::Result;

static ENGINE: OnceLock<Engine> = OnceLock::new();

/// Makes sure that this machine has all `needs`. Lists what is missing, and asks before installing it unless
/// `yes` is set. A dry run prints the commands and fails with [`Planned`](crate::error::Planned).
pub fn ensure(yes: bool, needs: &[Need]) -> Result<()> {
    if let Some(engine) = setup::ensure(&Machine::this()?, yes, needs)? {
        ENGINE.get_or_init(|| engine);
    }
    Ok(())
}

/// Returns the needs of a build for these platforms.
pub fn needs<'a>(platforms: impl IntoIterator<Item = &'a Platform>) -> Vec<Need> {
    let foreign: BTreeSet<&Platform> =
        platforms.into_iter().filter(|platform| !platform.is_native()).collect();
    Need::ALWAYS.into_iter().chain(foreign.into_iter().cloned().map(Need::Emulation)).collect()
}

/// Like [`ensure`], then returns the engine.
pub fn ready(yes: bool, needs: &[Need]) -> Result<&'static Engine> {
    ensure(yes, needs)?;
    engine()
}

/// Returns the Debian mirror that this machine uses, for bootstrapping. On other systems there is none, and
/// mmdebstrap uses its default.
pub fn debian_mirror() -> Result<Option<String>> {
    Ok(plan::debian_mirror(&Machine::this()?))
}

/// Returns the engine of this machine, after a single query.
pub fn engine() -> Result<&'static Engine> {
    if let Some(engine) = ENGINE.get() {
        return Ok(engine);
    }
    let engine = setup::engine(&Machine::this()?)?;
    Ok(ENGINE.get_or_init(|| engine))
}
