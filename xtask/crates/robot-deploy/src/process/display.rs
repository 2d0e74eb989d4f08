//! Commands as text that can be pasted into a shell.

use std::collections::BTreeSet;
use std::fmt;

use camino::Utf8Path;
use parking_lot::Mutex;

use super::{Cmd, Stdin};
use crate::ui;

/// Prints a command of a dry run, once: what it makes would be there the second time.
pub(super) fn plan(command: &str) {
    static PLANNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if PLANNED.lock().insert(command.to_owned()) {
        ui::planned(command);
    }
}

/// Prints the command that would create a directory, unless it exists.
pub(super) fn plan_dir(dir: &Utf8Path) {
    if !dir.is_dir() {
        plan(&Cmd::new("mkdir").args(["-p", dir.as_str()]).to_string());
    }
}

/// Prints the commands that would create a file and its directory.
pub(super) fn plan_file(path: &Utf8Path, text: &str) {
    path.parent().into_iter().for_each(plan_dir);
    plan(&format!("cat >{}{}", quote(path.as_str()), here_document(text)));
}

/// Returns `word` quoted for a shell, without quotes where none are needed: `--progress=plain` stays
/// readable.
fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+=".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) && !word.starts_with('=') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// End marker of a here-document: `word`, or a longer one if that is a line of the text.
pub fn end_marker(word: &str, text: &str) -> String {
    let mut end = word.to_owned();
    while text.lines().any(|line| line == end) {
        end.push('-');
    }
    end
}

/// Text as a here-document.
fn here_document(text: &str) -> String {
    let end = end_marker("END-OF-INPUT", text);
    format!(" <<'{end}'\n{}\n{end}", text.trim_end_matches('\n'))
}

/// The command, ready to paste into a shell.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(dir) = &self.dir {
            write!(f, "cd {} && ", quote(dir.as_str()))?;
        }
        if self.has_own_env {
            f.write_str("env -i ")?;
        } else if !self.removed_env.is_empty() {
            let removed = self.removed_env.iter().map(|name| format!(" -u {}", quote(name)));
            write!(f, "env{} ", removed.collect::<String>())?;
        }
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quote(value))?;
        }
        for (name, _) in &self.hidden_env {
            write!(f, "{name}=\"${name}\" ")?;
        }
        let shown = self.args.iter().enumerate().filter(|(index, _)| !self.unshown.contains(index));
        let words = std::iter::once(&self.program).chain(shown.map(|(_, arg)| arg));
        f.write_str(&words.map(|word| quote(word)).collect::<Vec<_>>().join(" "))?;
        match &self.stdin {
            Stdin::Null => Ok(()),
            Stdin::Bytes(bytes) => f.write_str(&here_document(&String::from_utf8_lossy(bytes))),
            Stdin::From(_, file) => write!(f, " < {}", quote(file)),
        }
    }
}
