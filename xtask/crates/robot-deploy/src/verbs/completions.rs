//! `cargo xtask completions`: completion scripts for shells.
//!
//! clap generates a completion of `xtask`, but users type `cargo xtask`: for bash, zsh and fish, a few more
//! lines extend the completion of cargo.

use clap_complete::Shell;

use crate::error::Result;
use crate::ui;

/// Installation instructions for the help.
const INSTALL: &str = "Install it once, and again when xtask has new options:
  bash  cargo xtask completions bash >~/.xtask-completion.bash
        echo 'source ~/.xtask-completion.bash' >>~/.bashrc
  zsh   cargo xtask completions zsh >~/.xtask-completion.zsh
        echo 'source ~/.xtask-completion.zsh' >>~/.zshrc     # after `compinit`
  fish  cargo xtask completions fish >~/.config/fish/conf.d/xtask.fish";

#[derive(clap::Args, Debug)]
#[command(after_help = INSTALL)]
pub struct Args {
    /// The shell to complete for
    shell: Shell,
}

/// Prints the script to stdout.
pub(crate) fn run(args: &Args, command: clap::Command) -> Result<()> {
    // The scripts derive function names from the name of the command, so it has to be one word.
    let mut command = command.name("xtask").bin_name("xtask");
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "xtask", &mut script);
    let script = String::from_utf8_lossy(&script);
    let hook = match args.shell {
        Shell::Bash => include_str!("completions/cargo.bash"),
        Shell::Zsh => include_str!("completions/cargo.zsh"),
        Shell::Fish => include_str!("completions/cargo.fish"),
        _ => "",
    };
    Ok(ui::result(format!("{}\n{hook}", script.trim_end()).trim_end())?)
}
