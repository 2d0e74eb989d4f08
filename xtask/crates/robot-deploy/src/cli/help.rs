//! Help of the whole program: its verbs, grouped by what people are about to do.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use clap::builder::StyledStr;
use clap::{Command, CommandFactory, FromArgMatches};
use clap_complete::CompleteEnv;

/// Verbs of robot-deploy under the headings of the help. The first group has those that matter first.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Every day", &["deploy", "watch", "status", "logs", "rollback"]),
    ("Build and deliver", &["build-images", "deps", "pull", "env", "publish", "load-bundle", "tunnel"]),
    ("Look", &["releases", "history", "data", "pull-data"]),
    ("Operate", &["start", "stop", "restart", "exec", "shell", "run", "ssh", "prune"]),
    ("Set up and fix", &["init", "setup", "setup-robot", "doctor", "sim", "dev-shell", "completions"]),
];

/// Heading of the verbs that a team adds.
const OWN: &str = "Of this repository";

/// Parses the command line, like [`clap::Parser::parse`]; the help has robot-deploy's verbs in groups.
///
/// For the scripts of `cargo xtask completions`, it completes a command line instead and ends the program.
pub fn parse<C: CommandFactory + FromArgMatches>() -> C {
    CompleteEnv::with_factory(C::command).var(crate::complete::VARIABLE).complete();
    let mut matches = grouped(C::command()).get_matches_from(arguments(std::env::args_os()));
    C::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
}

/// Arguments without the name that cargo passes to a subcommand: `cargo xtask deploy` runs `cargo-xtask xtask deploy`.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = given.collect();
    let is_subcommand = arguments
        .first()
        .is_some_and(|program| Path::new(program).file_stem() == Some("cargo-xtask".as_ref()));
    if is_subcommand && arguments.get(1).is_some_and(|first| first == "xtask") {
        arguments.remove(1);
    }
    arguments
}

/// Gives a command a help with its subcommands in groups.
fn grouped(command: Command) -> Command {
    let mut groups: Vec<(&str, Vec<&Command>)> = GROUPS
        .iter()
        .map(|(heading, names)| {
            (*heading, names.iter().filter_map(|name| command.find_subcommand(name)).collect())
        })
        .collect();
    let is_own = |verb: &&Command| GROUPS.iter().all(|(_, names)| !names.contains(&verb.get_name()));
    groups.push((OWN, command.get_subcommands().filter(is_own).collect()));
    let verbs = || groups.iter().flat_map(|(_, verbs)| verbs);
    let width = verbs().map(|verb| verb.get_name().len()).max().unwrap_or_default();
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut text = String::new();
    for (heading, verbs) in groups.iter().filter(|(_, verbs)| !verbs.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{header}{heading}:{header:#}");
        for verb in verbs {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {literal}{:<width$}{literal:#}  {about}", verb.get_name());
        }
        text.push('\n');
    }
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{text}{header}Options:{header:#}\n{{options}}{{after-help}}"
    );
    command.help_template(StyledStr::from(template))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        _verb: Verb,
    }

    #[derive(clap::Subcommand)]
    enum Verb {
        #[command(flatten)]
        Robots(crate::Verb),
        /// Flash the firmware
        Flash,
    }

    #[test]
    fn every_verb_is_in_the_help_once_and_a_teams_own_are_last() {
        let help = grouped(Cli::command()).render_help().to_string();
        for verb in Cli::command().get_subcommands() {
            let line = format!("\n  {} ", verb.get_name());
            assert_eq!(help.matches(&line).count(), 1, "{line}{help}");
        }
        let place = |text: &str| help.find(text).unwrap();
        assert!(
            place("Every day:") < place("\n  deploy ") && place("completions") < place("Of this repository:")
        );
        assert!(place("Of this repository:") < place("Flash the firmware"), "{help}");
    }

    #[test]
    fn the_first_page_fits_a_terminal() {
        let help = grouped(Cli::command()).after_help(crate::HELP).term_width(80).render_help().to_string();
        for line in help.lines() {
            assert!(line.len() <= 80, "{line}");
        }
        let is_whole = |line: &&str| help.lines().any(|shown| shown == *line);
        assert_eq!(crate::HELP.lines().find(|line| !is_whole(line)), None);
    }

    #[test]
    fn the_name_of_a_subcommand_is_no_argument() {
        let passed = |words: &[&str]| arguments(words.iter().map(OsString::from)).join(" ".as_ref());
        assert_eq!(passed(&["/bin/cargo-xtask", "xtask", "deploy"]), "/bin/cargo-xtask deploy");
        assert_eq!(passed(&["cargo-xtask", "deploy", "xtask"]), "cargo-xtask deploy xtask");
        assert_eq!(passed(&["target/debug/xtask", "xtask"]), "target/debug/xtask xtask");
    }

    #[test]
    fn verbs_in_groups_exist() {
        let command = Cli::command();
        for name in GROUPS.iter().flat_map(|(_, names)| *names) {
            assert!(command.find_subcommand(name).is_some(), "{name}");
        }
    }
}
