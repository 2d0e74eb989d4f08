//! Paths in `robots.toml`: relative to its directory, and inside of it.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::keys::Reader;
use super::raw::Text;

/// Returns the absolute path for `text`, the value of `key`; refuses a path outside the workspace.
pub(super) fn inside(
    key: &str,
    text: &Text<'_>,
    root: &Utf8Path,
    reader: &mut Reader<'_>,
) -> Option<Utf8PathBuf> {
    let written = *text.get_ref();
    let help = "write a relative path that stays inside the directory of `robots.toml`";
    match normalized(written) {
        Ok(relative) => Some(root.join(relative)),
        Err(problem) => {
            reader.refuse(text.span(), format!("`{key}`: {problem}"), help);
            None
        }
    }
}

/// Like [`inside`], for a file that must exist.
pub(super) fn file_inside(
    key: &str,
    text: &Text<'_>,
    root: &Utf8Path,
    reader: &mut Reader<'_>,
) -> Option<Utf8PathBuf> {
    let path = inside(key, text, root, reader)?;
    existing_file(key, text.span(), root, path, reader)
}

/// Returns `path` if it is a file; otherwise reports a mistake at `span`.
pub(super) fn existing_file(
    key: &str,
    span: std::ops::Range<usize>,
    root: &Utf8Path,
    path: Utf8PathBuf,
    reader: &mut Reader<'_>,
) -> Option<Utf8PathBuf> {
    if path.is_file() {
        return Some(path);
    }
    let shown = path.strip_prefix(root).unwrap_or(&path);
    let (problem, help) = if path.is_dir() {
        ("is a directory, not a file", format!("choose a file in that directory: `{key}` takes a file"))
    } else {
        ("does not exist", format!("create `{shown}`, or set `{key}` to an existing file"))
    };
    reader.refuse(span, format!("`{key}`: `{shown}` {problem}"), help);
    None
}

/// Removes `.` and `..`. The error is a message about `written`.
fn normalized(written: &str) -> Result<Utf8PathBuf, String> {
    if written.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if written.chars().any(char::is_control) {
        return Err(format!("`{}` contains a control character", written.escape_debug()));
    }
    if written.starts_with('~') {
        return Err(format!("`{written}` begins with `~`, which is not expanded here"));
    }
    let mut relative = Utf8PathBuf::new();
    for component in Utf8Path::new(written).components() {
        match component {
            Utf8Component::Prefix(_) | Utf8Component::RootDir => {
                return Err(format!("`{written}` is an absolute path, which only works on one machine"));
            }
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir => {
                if !relative.pop() {
                    return Err(format!("`{written}` is outside the workspace"));
                }
            }
            Utf8Component::Normal(name) => relative.push(name),
        }
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(normalized("./docker/../docker/compose.yaml").unwrap(), "docker/compose.yaml");
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "~/x", "a\nb"] {
            assert!(normalized(bad).is_err(), "{bad:?}");
        }
    }
}
