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
use crate::{files, parallel, ui};

/// Stands for the home directory of the robot's user, until the robot puts it in place (`launch.sh`).
const HOME: &str = "/xtask.home.of.robot";

/// Stands for the name of the robot's user.
const USER: &str = "xtask.user.of.robot";

/// Compose's warning about a variable, with its name between these texts.
const UNSET: (&str, &str) = ("The \\\"", "\\\" variable is not set");

/// Number of directories above the link to the repository: a path that leads out of the repository by `../` stays below
/// them, and is recognized.
const DEPTH: usize = 12;

/// The question to Compose.
pub(super) struct Question<'a> {
    workspace: &'a Workspace,
    robot: &'a Robot,
    variables: BTreeMap<String, String>,
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
    /// Fails with exit code 2 if Compose refuses the files, or if variables are not set or would be those of this
    /// machine's shell.
    pub(super) fn answer(&self) -> Result<Value> {
        let json = |command: Cmd| command.args(["--format", "json"]).read_with_stderr();
        let (inherited, alone) =
            parallel::both(|| json(self.inheriting()), || json(self.alone(&BTreeMap::new())));
        let (text, warnings) = alone.map_err(|error| self.refused(error))?;
        self.check_warnings(&warnings)?;
        if inherited.as_ref().is_ok_and(|(inherited, _)| *inherited != text) {
            return Err(self.leaks(&text)?);
        }
        let model: Value =
            serde_json::from_str(&text).context("parse the output of `docker compose config`")?;
        self.check_environment(&model)?;
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

    /// `docker compose config` with all variables of this shell.
    fn inheriting(&self) -> Cmd {
        self.with_variables(self.command())
    }

    fn command(&self) -> Cmd {
        let files = self.robot.compose.iter().map(|file| self.link.join(self.workspace.relative(file)));
        let files = files.flat_map(|file| ["--file".to_owned(), file.into_string()]);
        let project = &self.workspace.project.name;
        Cmd::new("docker").arg("compose").args(files).args(["--project-name", project, "config"])
    }

    fn with_variables(&self, command: Cmd) -> Cmd {
        let home = std::env::var("HOME").unwrap_or_default();
        let docker = std::env::var("DOCKER_CONFIG").unwrap_or_else(|_| format!("{home}/.docker"));
        let own = [("HOME", HOME), ("USER", USER), ("LOGNAME", USER)];
        let command = own.iter().fold(command, |command, (name, value)| command.env(*name, *value));
        let command = command.env("DOCKER_CONFIG", docker);
        let set = self.variables.iter();
        set.fold(command, |command, (name, value)| command.hidden_env(name, value))
    }

    fn refused(&self, error: anyhow::Error) -> anyhow::Error {
        let (file, robot) = (self.file(), &self.robot.name);
        let refused = Failure::config(format!("Compose refuses `{file}` for `{robot}`"));
        let said = format!("{error:#}");
        if said.contains("variable") || said.contains("interpolat") {
            let places = format!(
                "its variables come from `env` and `env_files` of [robots.{robot}] in robots.toml, and from `.env` beside it"
            );
            return refused.hint(places).caused_by(error);
        }
        refused.caused_by(error)
    }

    /// Refuses variables that are not set; other warnings of Compose are passed on.
    fn check_warnings(&self, warnings: &str) -> Result<()> {
        let unset = |line: &str| {
            let (_, rest) = line.split_once(UNSET.0)?;
            rest.split_once(UNSET.1).map(|(name, _)| name.to_owned())
        };
        let names: BTreeSet<String> = warnings.lines().filter_map(unset).collect();
        if let Some(name) = names.first() {
            return Err(self.unset(name, "is empty, because it is not set"));
        }
        for line in warnings.lines().filter(|line| !line.contains("`version` is obsolete")) {
            let said = line.split_once("msg=").map_or(line, |(_, said)| said.trim_matches('"'));
            ui::warn(&self.robot.name, &format!("{}: {said}", self.file()));
        }
        Ok(())
    }

    /// Refuses variables of containers that Compose would take from the shell.
    fn check_environment(&self, model: &Value) -> Result<()> {
        for (service, definition) in super::services(model) {
            let variables = definition["environment"].as_object().into_iter().flatten();
            if let Some((name, _)) = variables.into_iter().find(|(_, value)| value.is_null()) {
                return Err(self.unset(name, &format!("of service `{service}` has no value")));
            }
        }
        Ok(())
    }

    fn unset(&self, name: &str, problem: &str) -> anyhow::Error {
        let robot = &self.robot.name;
        let failure = Failure::config(format!("{}: `{name}` {problem}", self.place(name)));
        if name == "PWD" {
            return failure.hint("write `.` for the directory of the Compose file: `./maps:/maps`").into();
        }
        let failure = match nearest(name, self.variables.keys().map(String::as_str)) {
            Some(near) => failure.hint(format!("did you mean `{near}`, which is set?")),
            None => failure,
        };
        failure
            .hint(format!("write `env = {{ {name} = \"…\" }}` into [robots.{robot}] of robots.toml"))
            .hint(format!("`${{{name}:-}}` is empty on purpose where it is not set"))
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
        let Some((name, value)) = culprit else {
            let message = format!("`{}` has another meaning with the variables of this shell", self.file());
            return Ok(Failure::config(message).hint("run it in an empty shell: `env -i`").into());
        };
        let message = format!(
            "{}: `{name}` would be that of this shell, `{}`, on `{robot}`",
            self.place(name),
            value.escape_debug()
        );
        let hint = format!(
            "write `env = {{ {name} = \"…\" }}` into [robots.{robot}] of robots.toml: then whoever deploys gets the same"
        );
        Ok(Failure::config(message).hint(hint).into())
    }

    /// The first place of a variable in the Compose files.
    fn place(&self, name: &str) -> String {
        let of_file = |file: &Utf8PathBuf| {
            let text = fs_err::read_to_string(file).ok()?;
            let line = text.lines().position(|line| has_word(line, name))?;
            Some(format!("{}:{}", self.workspace.relative(file), line + 1))
        };
        self.robot.compose.iter().find_map(of_file).unwrap_or_else(|| self.file().to_string())
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

/// Returns whether a line outside of comments has a word.
fn has_word(line: &str, word: &str) -> bool {
    let line = line.split(" #").next().unwrap_or(line);
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !line.trim_start().starts_with('#')
        && line.split(|character| !is_part(character)).any(|part| part == word)
}
