//! `cargo xtask setup`: brings this machine to where everything else works.

use crate::config::Platform;
use crate::error::Result;
use crate::host::{self, Need};
use crate::{process, ui};

/// Install what building and deploying need on this machine: Docker, buildx, Compose, mmdebstrap, ssh
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Do not ask before installing
    #[arg(long, short)]
    yes: bool,

    /// Also install what building images for robots of another architecture takes
    #[arg(long)]
    emulation: bool,
}

/// Installs what is missing.
///
/// # Errors
/// Fails when something is missing and is not to be, or cannot be, installed.
pub fn run(args: &Args) -> Result<()> {
    let mut needs = Need::ALWAYS.to_vec();
    // Elsewhere bases are images, and only a verb that meets another one can complain.
    needs.retain(|need| *need != Need::Mmdebstrap || std::env::consts::OS == "linux");
    if args.emulation {
        let foreign = ["x86_64", "aarch64"].map(Platform::from_machine);
        needs.extend(
            foreign.into_iter().filter(|each| *each != Platform::of_this_machine()).map(Need::Emulation),
        );
    }
    host::ensure(args.yes, &needs)?;
    if !process::mode().dry_run {
        let engine = host::engine()?;
        ui::done(
            "host",
            &format!("ready: Docker Engine {}, {}, {}", engine.version, engine.platform, engine.store_name()),
        );
    }
    Ok(())
}
