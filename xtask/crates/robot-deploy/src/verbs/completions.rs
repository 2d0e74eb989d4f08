//! `cargo xtask completions`: completion scripts for shells.
//!
//! The shell asks the program itself: it knows the robots, images, services and releases of the repository in which
//! the shell is. clap generates a script that completes `xtask`, but users type `cargo xtask`: for bash, zsh and fish,
//! a few more lines extend the completion of cargo.

use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::complete;
use crate::error::{Failure, Result};
use crate::ui;

/// Installation instructions for the help.
const INSTALL: &str = "Install it once:
  bash  cargo xtask completions bash >~/.xtask-completion.bash
        echo 'source ~/.xtask-completion.bash' >>~/.bashrc
  zsh   cargo xtask completions zsh >~/.xtask-completion.zsh
        echo 'source ~/.xtask-completion.zsh' >>~/.zshrc     # after `compinit`
  fish  cargo xtask completions fish >~/.config/fish/conf.d/xtask.fish

It asks the xtask of the repository you are in, once that has been built, and touches no robot: the releases are
those that this machine has last seen.";

/// Function of the scripts that runs the xtask of the repository.
const PROGRAM: &str = "_xtask_program";

#[derive(clap::Args, Debug)]
#[command(after_help = INSTALL)]
pub struct Args {
    /// The shell to complete for
    shell: Shell,
}

/// Prints the script to stdout.
pub(crate) fn run(args: &Args) -> Result<()> {
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let (function, hook) = match args.shell {
        Shell::Bash => (include_str!("completions/program.bash"), include_str!("completions/cargo.bash")),
        Shell::Zsh => (include_str!("completions/program.bash"), include_str!("completions/cargo.zsh")),
        Shell::Fish => (include_str!("completions/program.fish"), include_str!("completions/cargo.fish")),
        _ => ("", ""),
    };
    let completer = if function.is_empty() { program.as_str() } else { PROGRAM };
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string());
    let shell = shell.ok_or_else(|| Failure::config(format!("no completions for {}", args.shell)))?;
    let mut script = Vec::new();
    shell.write_registration(complete::VARIABLE, "xtask", "xtask", completer, &mut script)?;
    let script = String::from_utf8_lossy(&script);
    let name = program.rsplit('/').next().unwrap_or(&program);
    let function =
        function.replace("BINARY", &shell_words::quote(name)).replace("BUILT", &shell_words::quote(&program));
    Ok(ui::result(format!("{function}\n{}\n{hook}", script.trim()).trim())?)
}
