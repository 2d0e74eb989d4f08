//! Asks Compose what the Compose files of a robot mean. What this machine's shell and directories would add to the answer
//! is either that of the robot, or an error.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use tempfile::TempDir;

use crate::config::{Robot, Workspace, nearest};
use crate::error::{Failure, Result};
use crate::process::Cmd;
use crate::{files, parallel, told, ui};

/// Stands for the home directory of the robot's user, until the robot puts it in place (`launch.sh`).
const HOME: &str = "/xtask.home.of.robot";

/// Stands for the name of the robot's user.
const USER: &str = "xtask.user.of.robot";

/// Compose's warning about a variable, with its name between these texts.
const UNSET: (&str, &str) = ("The \\\"", "\\\" variable is not set");

/// Compose's error about a variable that is required, with its name between these texts.
const REQUIRED: (&str, &str) = ("required variable ", " is missing a value");

/// Number of directories above the link to the repository: a path that leads out of the repository by `../` stays below
/// them, and is recognized.
const DEPTH: usize = 12;

/// The question to Compose.
pub(super) struct Question<'a> {
    workspace: &'a Workspace,
    robot: &'a Robot,
    /// Variables of the robot, from `env` and `env_files`.
    pub(super) variables: BTreeMap<String, String>,
    /// Link to the repository. Compose makes all paths absolute: those below the link were relative ones.
    link: Utf8PathBuf,
    /// Directory of paths that lead out of the repository.
    outside: Utf8PathBuf,
    _guard: TempDir,
}

impl<'a> Question<'a> {
    pub(super) fn new(workspace: &'a Workspace, robot: &'a Robot) -> Result<Self> {
        let (guard, outside) = files::apart("-")?;
        let link = outside.join("-/".repeat(DEPTH)).join("repository");
        fs_err::create_dir_all(link.with_file_name(""))?;
        fs_err::os::unix::fs::symlink(&workspace.root, &link)?;
        Ok(Self { workspace, robot, variables: robot.variables()?, link, outside, _guard: guard })
    }

    /// Name of the Compose file, for people.
    fn file(&self) -> &Utf8Path {
        self.workspace.relative(&self.robot.compose[0])
    }

    /// The complete project, in Compose's JSON.
    ///
    /// # Errors
    /// Fails with exit code 2 if Compose refuses the files, if variables are not set or would be those of this machine's
    /// shell, and if no service is left.
    pub(super) fn answer(&self) -> Result<Value> {
        let json = |command: Cmd| command.args(["--format", "json"]).read_with_stderr();
        let (inherited, alone) =
            parallel::both(|| json(self.inheriting()), || json(self.alone(&BTreeMap::new())));
        let (text, warnings) = match alone {
            Ok(answer) => answer,
            Err(error) => return Err(self.refused(error)),
        };
        let unset = unset(&warnings);
        if !unset.is_empty() {
            return Err(self.unset(&unset));
        }
        for line in warnings.lines().filter(|line| !line.contains("`version` is obsolete")) {
            let said = line.split_once("msg=").map_or(line, |(_, said)| said.trim_matches('"'));
            ui::warn(&self.robot.name, &format!("{}: {said}", self.file()));
        }
        if inherited.as_ref().is_ok_and(|(inherited, _)| *inherited != text) {
            return Err(self.leaks(&text)?);
        }
        let mut model: Value =
            serde_json::from_str(&text).context("parse the output of `docker compose config`")?;
        if super::services(&model).next().is_none() {
            return Err(self.empty());
        }
        self.leave_out_unset(&mut model);
        self.without_link(model)
    }

    /// The project with its extensions, which Compose leaves out where it writes JSON.
    pub(super) fn with_extensions(&self) -> Result<Value> {
        let text = self.alone(&BTreeMap::new()).args(["--format", "yaml"]).read()?;
        serde_saphyr::from_str(&text).context("parse the output of `docker compose config`")
    }

    /// `docker compose config` without this shell's variables, except `more`.
    fn alone(&self, more: &BTreeMap<String, String>) -> Cmd {
        let mut command = self.command().without_env();
        if let Ok(path) = std::env::var("PATH") {
            command = command.hidden_env("PATH", path);
        }
        for (name, value) in more {
            command = command.hidden_env(name, value);
        }
        self.with_variables(command)
    }

    /// `docker compose config` with all variables of this shell that the repository does not set.
    fn inheriting(&self) -> Cmd {
        let file = self.robot.compose[0].with_file_name(".env");
        let text = fs_err::read_to_string(file).unwrap_or_default();
        let name = |line: &str| {
            let line = line.trim_start();
            let (name, _) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
            let name = name.trim();
            (!name.is_empty() && !name.starts_with('#')).then(|| name.to_owned())
        };
        self.with_variables(self.command().without_variables(text.lines().filter_map(name)))
    }

    fn command(&self) -> Cmd {
        let files = self.robot.compose.iter().map(|file| self.link.join(self.workspace.relative(file)));
        let files = files.flat_map(|file| ["--file".to_owned(), file.into_string()]);
        let project = &self.workspace.project.name;
        Cmd::new("docker").arg("compose").args(files).args(["--project-name", project, "config"])
    }

    fn with_variables(&self, command: Cmd) -> Cmd {
        let of_home = || files::home().map(|home| home.join(".docker").into_string());
        let docker = std::env::var("DOCKER_CONFIG").or_else(|_| of_home()).unwrap_or_default();
        let own = [("HOME", HOME), ("USER", USER), ("LOGNAME", USER)];
        let command = own.iter().fold(command, |command, (name, value)| command.env(*name, *value));
        let command = command.env("DOCKER_CONFIG", docker);
        let set = self.variables.iter();
        set.fold(command, |command, (name, value)| command.hidden_env(name, value))
    }

    /// Error of Compose, in the words of the repository; one about variables names all that are not set.
    fn refused(&self, error: anyhow::Error) -> anyhow::Error {
        let (mut said, mut unset_names) = (format!("{error:#}"), BTreeSet::new());
        // Compose stops at the first variable that a file requires.
        let mut given = BTreeMap::new();
        loop {
            unset_names.append(&mut unset(&said));
            let Some(name) = required(&said).filter(|name| !given.contains_key(name)) else { break };
            given.insert(name.clone(), "1".to_owned());
            unset_names.insert(name);
            match self.alone(&given).arg("--quiet").read_with_stderr() {
                Ok((_, warnings)) => {
                    unset_names.append(&mut unset(&warnings));
                    break;
                }
                Err(error) => said = format!("{error:#}"),
            }
        }
        if !unset_names.is_empty() {
            return self.unset(&unset_names);
        }
        let (file, robot) = (self.file(), &self.robot.name);
        let refused = Failure::config(format!("Compose refuses `{file}` for `{robot}`"));
        let plain = said.replace(&format!("{}/", self.link), "");
        let lines: Vec<&str> = plain.lines().filter(|line| !line.contains("level=warning")).collect();
        let plain = lines.join("\n");
        if plain == said { refused.caused_by(error) } else { refused.because(anyhow::anyhow!(plain)).into() }
    }

    /// Error of a project in which each service has a profile that is not asked for.
    fn empty(&self) -> anyhow::Error {
        let profiles = self.alone(&BTreeMap::new()).arg("--profiles").read().unwrap_or_default();
        let profiles: Vec<&str> = profiles.lines().collect();
        let failure = Failure::config(format!("`{}` has no service for `{}`", self.file(), self.robot.name));
        match profiles.first() {
            Some(first) => failure.hint(format!(
                "all are in profiles ({}): write `env = {{ COMPOSE_PROFILES = \"{first}\" }}` into [robots.{}] of robots.toml",
                profiles.join(", "),
                self.robot.name
            )),
            None => failure.hint("write one below `services:`"),
        }
        .into()
    }

    /// Leaves out variables that a container would get from whoever starts it, and that are not set, as Compose does.
    fn leave_out_unset(&self, model: &mut Value) {
        let mut names = BTreeSet::new();
        for (_, service) in model["services"].as_object_mut().into_iter().flatten() {
            let Some(variables) = service.get_mut("environment").and_then(Value::as_object_mut) else {
                continue;
            };
            names.extend(variables.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()));
            variables.retain(|_, value| !value.is_null());
        }
        let names: Vec<String> = names.into_iter().collect();
        let text = match names.is_empty() {
            true => String::new(),
            false => format!(
                "{}: without a value, so containers do not get them: {}; `env` in robots.toml sets them",
                self.file(),
                names.join(", ")
            ),
        };
        let robot = &self.robot.name;
        told::once(self.workspace, &format!("without-value-{robot}"), robot, &text);
    }

    /// Error about variables that are not set, with their places.
    fn unset(&self, names: &BTreeSet<String>) -> anyhow::Error {
        let robot = &self.robot.name;
        let places: Vec<String> =
            names.iter().map(|name| format!("`{name}` ({})", self.place(name))).collect();
        let are = if names.len() == 1 { "is" } else { "are" };
        let failure = Failure::config(format!("{} {are} not set for `{robot}`", places.join(", ")));
        if names.contains("PWD") {
            return failure.hint("write `.` for the directory of the Compose file: `./maps:/maps`").into();
        }
        let known: Vec<&str> = self.variables.keys().map(String::as_str).collect();
        let near = names.iter().find_map(|name| Some((name, nearest(name, known.iter().copied())?)));
        let failure = match near {
            Some((name, near)) => failure.hint(format!("`{name}`: did you mean `{near}`, which is set?")),
            None => failure,
        };
        let lines: Vec<String> = names.iter().map(|name| format!("{name} = \"…\"")).collect();
        let first = names.first().map_or("NAME", String::as_str);
        failure
            .hint(format!("write `env = {{ {} }}` into [robots.{robot}] of robots.toml", lines.join(", ")))
            .hint(format!("`${{{first}:-}}` in the Compose file is empty on purpose where it is not set"))
            .into()
    }

    /// Error about variables of this shell that change the answer.
    fn leaks(&self, text: &str) -> Result<anyhow::Error> {
        let shell = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let sources: String =
            self.robot.compose.iter().map(fs_err::read_to_string).collect::<Result<_, _>>()?;
        let (named, others): (Vec<_>, Vec<_>) = shell.partition(|(name, _)| sources.contains(name.as_str()));
        let changes = |(name, value): &(String, String)| {
            let more = BTreeMap::from([(name.clone(), value.clone())]);
            let answer = self.alone(&more).args(["--format", "json"]).read();
            answer.is_ok_and(|answer| answer != text)
        };
        // The name of a variable of an included file is not in the files that robots.toml names.
        let culprit =
            named.iter().find(|one| changes(one)).or_else(|| others.iter().find(|one| changes(one)));
        let robot = &self.robot.name;
        let Some((name, _)) = culprit else {
            let message = format!("`{}` has another meaning with the variables of this shell", self.file());
            return Ok(Failure::config(message).hint("run it in an empty shell: `env -i`").into());
        };
        // Not its value, which may be a token.
        let message = format!("{}: `{name}` would be that of this shell on `{robot}`", self.place(name));
        let hint = format!(
            "write `env = {{ {name} = \"…\" }}` into [robots.{robot}] of robots.toml: then whoever deploys gets the same"
        );
        Ok(Failure::config(message).hint(hint).into())
    }

    /// The first place of a variable in the Compose files, or in others beside them.
    fn place(&self, name: &str) -> String {
        let of_file = |file: &Utf8Path| {
            let text = fs_err::read_to_string(file).ok()?;
            let line = text.lines().position(|line| has_word(line, name))?;
            Some(format!("{}:{}", self.workspace.relative(file), line + 1))
        };
        let files = || self.robot.compose.iter().map(Utf8PathBuf::as_path);
        let beside =
            files().filter_map(Utf8Path::parent).filter_map(|dir| crate::files::entries(dir).ok()).flatten();
        let is_yaml =
            |path: &Utf8PathBuf| path.extension().is_some_and(|it| ["yaml", "yml", "env"].contains(&it));
        let beside: BTreeSet<Utf8PathBuf> =
            beside.map(camino::Utf8DirEntry::into_path).filter(is_yaml).collect();
        let found = files().find_map(of_file).or_else(|| beside.iter().find_map(|file| of_file(file)));
        found.unwrap_or_else(|| self.file().to_string())
    }

    /// Makes paths below the link relative to the repository: `./docker/maps`.
    ///
    /// # Errors
    /// Fails with exit code 2 if a path leads out of the repository.
    fn without_link(&self, mut model: Value) -> Result<Value> {
        let (prefix, outside) = (format!("{}/", self.link), format!("{}/", self.outside));
        let mut remaining = vec![&mut model];
        while let Some(value) = remaining.pop() {
            match value {
                Value::Object(table) => remaining.extend(table.values_mut()),
                Value::Array(list) => remaining.extend(list),
                Value::String(text) => {
                    if let Some(path) = text.strip_prefix(&prefix) {
                        *text = format!("./{path}");
                    } else if *text == self.link {
                        ".".clone_into(text);
                    } else if let Some(path) = text.strip_prefix(&outside) {
                        let path = path.trim_start_matches("-/");
                        let message =
                            format!("`../{path}` of `{}` is outside of the repository", self.file());
                        return Err(Failure::config(message)
                            .hint("copy it into the repository, or write an absolute path for what is on the robot")
                            .into());
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        Ok(model)
    }
}

/// Names in Compose's warnings about variables that are not set.
fn unset(warnings: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let (_, rest) = line.split_once(UNSET.0)?;
        rest.split_once(UNSET.1).map(|(name, _)| name.to_owned())
    };
    warnings.lines().filter_map(name).collect()
}

/// Name in Compose's error about a variable that is required: `${NAME:?}`.
fn required(error: &str) -> Option<String> {
    let (_, rest) = error.split_once(REQUIRED.0)?;
    let name = rest.split_once(REQUIRED.1)?.0;
    let is_name = name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    is_name.then(|| name.to_owned())
}

/// Returns whether a line outside of comments has a word.
fn has_word(line: &str, word: &str) -> bool {
    let line = line.split(" #").next().unwrap_or(line);
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !line.trim_start().starts_with('#')
        && line.split(|character| !is_part(character)).any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_what_compose_says() {
        let warnings = "time=\"x\" level=warning msg=\"The \\\"CAN_PORT\\\" variable is not set. Defaulting to a blank string.\"\n\
                        level=warning msg=\"other\"";
        assert_eq!(unset(warnings), ["CAN_PORT".to_owned()].into());
        let error = "services.a.devices.[]: required variable SERIAL_PORT is missing a value: err";
        assert_eq!(required(error).as_deref(), Some("SERIAL_PORT"));
        assert_eq!(required("required variable a b is missing a value"), None);
    }

    #[test]
    fn variables_in_comments_are_not_used() {
        assert!(has_word("  - A=${SPEED:-1}", "SPEED") && has_word("$SPEED # x", "SPEED"));
        assert!(!has_word("# ${SPEED}", "SPEED") && !has_word("a: 1 # $SPEED", "SPEED"));
        assert!(!has_word("${SPEEDS}", "SPEED"));
    }
}
