//! `cargo xtask doctor`: looks at everything that has to be right, and says how to mend what is not.

use crate::config::{Workspace, current_dir};
use crate::doctor::{self, Check, Outcome, Source};
use crate::error::{Failure, Result};
use crate::{host, ui};

/// Check this machine, and say how to mend what is wrong
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Reports all findings, then fails if one of them is bad.
///
/// # Errors
/// Fails when something is not as it has to be.
pub fn run(args: &Args) -> Result<()> {
    // A mistake in robots.toml is one finding among others.
    let workspace = Workspace::load(&current_dir());
    let configuration = match &workspace {
        Ok(_) => Outcome::good("robots.toml and the ROS packages are in order"),
        Err(error) => Outcome::error(error),
    };
    let mut checks = vec![Check::new("workspace", "configuration", configuration)];
    let sources: Vec<Source<'_>> = host::checks::sources(workspace.as_ref().ok())?;
    checks.extend(doctor::gather(sources));

    let text = if args.json { serde_json::to_string_pretty(&checks)? } else { doctor::table(&checks) };
    ui::result(&text)?;
    let bad = checks.iter().filter(|check| check.is_bad()).count();
    match bad {
        0 => Ok(()),
        1 => Err(Failure::failed("one finding is bad").into()),
        _ => Err(Failure::failed(format!("{bad} findings are bad")).into()),
    }
}
