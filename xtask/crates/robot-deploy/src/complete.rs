//! Completions of values: names in the workspace, and releases that were seen. They touch no robot.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use clap_complete::ArgValueCandidates;
use clap_complete::CompletionCandidate as Candidate;

use crate::config::{Host, Workspace, current_dir};
use crate::process::Cmd;
use crate::release::seen;
use crate::ui;

/// Variable that makes the program complete a command line, for the scripts of `cargo xtask completions`.
pub(crate) const VARIABLE: &str = "XTASK_COMPLETE";

/// Completes with what `list` finds in the workspace of the current directory: a value, and words about it.
fn from_workspace(list: fn(&Workspace) -> Vec<(String, String)>) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let workspace = Workspace::load(&current_dir());
        let found = workspace.as_ref().map(list).unwrap_or_default();
        let candidate = |(value, words): (String, String)| {
            let words = ui::on_one_line(&words);
            Candidate::new(value).help((!words.is_empty()).then(|| words.into()))
        };
        found.into_iter().map(candidate).collect()
    })
}

pub(crate) fn robots() -> ArgValueCandidates {
    from_workspace(|workspace| {
        let host = |host: &Host| match host {
            Host::Simulated { .. } => "simulated".to_owned(),
            Host::Ssh { destination, .. } => destination.clone(),
        };
        workspace.robots.values().map(|robot| (robot.name.clone(), host(&robot.host))).collect()
    })
}

pub(crate) fn images() -> ArgValueCandidates {
    from_workspace(|workspace| {
        let packages = |name| workspace.images.get(name).map(|image| image.packages.join(", "));
        workspace.image_names().map(|name| (name.clone(), packages(name).unwrap_or_default())).collect()
    })
}

pub(crate) fn bases() -> ArgValueCandidates {
    from_workspace(|workspace| workspace.bases.keys().map(|name| (name.clone(), String::new())).collect())
}

/// Services of all Compose files. They need not be complete: variables are left as they are.
pub(crate) fn services() -> ArgValueCandidates {
    from_workspace(|workspace| {
        let files: BTreeSet<_> = workspace.robots.values().map(|robot| &robot.compose).collect();
        let services: BTreeSet<String> = files.into_iter().flat_map(|files| services_of(files)).collect();
        services.into_iter().map(|name| (name, String::new())).collect()
    })
}

fn services_of(files: &[Utf8PathBuf]) -> Vec<String> {
    let files = files.iter().flat_map(|file| ["--file", file.as_str()]);
    let compose = Cmd::new("docker").arg("compose").args(files);
    let services = compose.args(["config", "--no-interpolate", "--services"]).read().unwrap_or_default();
    services.lines().map(str::to_owned).collect()
}

/// Releases of all robots, latest first.
pub(crate) fn releases() -> ArgValueCandidates {
    from_workspace(|workspace| {
        let of_robot = |robot: &String| {
            let words = |about: &str| format!("{robot}: {about}").trim_end_matches(": ").to_owned();
            let seen = seen::read(workspace, robot).into_iter().rev();
            seen.map(|(number, about)| (number.to_string(), words(&about))).collect::<Vec<_>>()
        };
        workspace.robots.keys().flat_map(of_robot).collect()
    })
}
