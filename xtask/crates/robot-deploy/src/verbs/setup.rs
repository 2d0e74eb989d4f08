//! `cargo xtask setup`: installs the tools that the other verbs need.

use crate::config::Platform;
use crate::error::Result;
use crate::host::{self, Need};
use crate::ui;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Do not ask before installing
    #[arg(long, short)]
    yes: bool,

    /// Also install the emulator for building images for robots with another architecture
    #[arg(long)]
    emulation: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut needs = Need::ALWAYS.to_vec();
    // mmdebstrap needs Linux. On other systems bases are images; a verb that meets a Debian base reports it.
    needs.retain(|need| *need != Need::Mmdebstrap || std::env::consts::OS == "linux");
    if args.emulation {
        let foreign = ["x86_64", "aarch64"].map(Platform::from_machine);
        needs.extend(
            foreign.into_iter().filter(|each| *each != Platform::of_this_machine()).map(Need::Emulation),
        );
    }
    host::ensure(args.yes, &needs)?;
    let engine = host::engine()?;
    ui::done(
        "host",
        &format!("ready: Docker Engine {}, {}, {}", engine.version, engine.platform, engine.store_name()),
    );
    Ok(())
}
