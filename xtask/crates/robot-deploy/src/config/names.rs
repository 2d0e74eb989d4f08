//! Rules for names, and suggestions for misspelled names.

/// Greatest length of a project name. Together with [`ROBOT_LENGTH`] it keeps `PROJECT-ROBOT` a valid host
/// name, at most 63 characters.
const PROJECT_LENGTH: usize = 30;
/// Greatest length of a robot name.
const ROBOT_LENGTH: usize = 32;
/// Greatest length of an image tag.
const TAG_LENGTH: usize = 128;

/// A refused name: the problem, and the rule or suggestion.
pub(super) type Refusal = (String, String);

/// Checks that `name` is valid as a Docker repository and as a Compose project.
pub(super) fn project(name: &str) -> Result<(), Refusal> {
    let rule = format!(
        "the project name is also the Docker repository and the Compose project: use lower-case letters and digits, \
         separated by single `-` or `_`, at most {PROJECT_LENGTH} characters"
    );
    let lone_separators = !["--", "__", "-_", "_-"].iter().any(|pair| name.contains(pair));
    if name == "scratch" {
        return Err(("`scratch` is reserved by Docker".to_owned(), rule));
    }
    lower_case(name, PROJECT_LENGTH, "the project name", &rule)?;
    if lone_separators { Ok(()) } else { Err((format!("`{name}` has two separators in a row"), rule)) }
}

/// Checks that `name` is valid as a robot: as a container and as part of a host name.
pub(super) fn robot(name: &str) -> Result<(), Refusal> {
    let rule = format!(
        "a robot name is also a host name: use lower-case letters, digits, `-` and `_`, beginning with a letter, at most {ROBOT_LENGTH} characters"
    );
    lower_case(name, ROBOT_LENGTH, "the robot name", &rule)?;
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err((format!("`{name}` begins with a digit"), rule));
    }
    Ok(())
}

fn lower_case(name: &str, longest: usize, what: &str, rule: &str) -> Result<(), Refusal> {
    let allowed = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-' | '_');
    let refuse = |problem: String| Err((problem, rule.to_owned()));
    if name.is_empty() {
        return refuse(format!("{what} is empty"));
    }
    if name.chars().any(|character| character.is_ascii_uppercase()) {
        let help = format!("write `{}`; {rule}", name.to_ascii_lowercase());
        return Err((format!("`{name}` has upper-case letters"), help));
    }
    if let Some(bad) = name.chars().find(|character| !allowed(*character)) {
        return refuse(format!("`{}` must not contain {}", name.escape_debug(), shown(bad)));
    }
    if name.starts_with(['-', '_']) || name.ends_with(['-', '_']) {
        return refuse(format!("`{name}` must begin and end with a letter or digit"));
    }
    if name.len() > longest {
        return refuse(format!("`{name}` is too long ({} characters)", name.len()));
    }
    Ok(())
}

/// Checks that `name` is valid as an image tag.
pub(super) fn tag(name: &str) -> Result<(), Refusal> {
    let rule = format!(
        "the name becomes an image tag: use letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`, at most {TAG_LENGTH} characters"
    );
    let allowed = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    if name.is_empty() {
        return Err(("the name is empty".to_owned(), rule));
    }
    if let Some(bad) = name.chars().find(|character| !allowed(*character)) {
        return Err((format!("`{}` must not contain {}", name.escape_debug(), shown(bad)), rule));
    }
    if name.starts_with(['.', '-']) {
        return Err((format!("`{name}` must begin with a letter, a digit or `_`"), rule));
    }
    if name.len() > TAG_LENGTH {
        return Err((format!("the name is too long ({} characters)", name.len()), rule));
    }
    Ok(())
}

/// Returns whether `name` is valid as a shell variable.
pub(super) fn is_variable(name: &str) -> bool {
    let rest = |character: char| character.is_ascii_alphanumeric() || character == '_';
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && name.chars().all(rest)
}

/// Returns whether `name` is valid as a ROS package: the rule of REP 144, plus upper case, which old packages
/// use.
pub(super) fn is_package(name: &str) -> bool {
    let rest = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.chars().all(rest)
}

/// Formats a character for a message.
pub(super) fn shown(character: char) -> String {
    match character {
        ' ' => "a space".to_owned(),
        other => format!("`{}`", other.escape_debug()),
    }
}

/// Formats names in backticks, separated by commas.
pub(super) fn list<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<_> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    quoted.join(", ")
}

/// Suggestion for the unknown `name`: the nearest of the `known` names, and all of them.
pub fn instead<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let all = list(known.clone());
    if all.is_empty() {
        return format!("there are no {what}");
    }
    match nearest(name, known.clone()) {
        Some(near) if known.into_iter().count() == 1 => format!("did you mean `{near}`?"),
        Some(near) => format!("did you mean `{near}`? the {what} are {all}"),
        None => format!("the {what} are {all}"),
    }
}

/// Returns the known name of which `name` is probably a misspelling.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let distance = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let begins = wanted.len() >= 3 && candidate.starts_with(&wanted);
        if begins { 1 } else { strsim::damerau_levenshtein(&wanted, &candidate) }
    };
    let near_enough = (wanted.chars().count() / 3).max(1);
    let measured = known.into_iter().map(|candidate| (distance(candidate), candidate));
    measured.filter(|(distance, _)| *distance <= near_enough).min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Platform, host};
    use crate::fuzz::{fuzz, text};
    use crate::hub::tags;

    #[test]
    fn fuzzed_names_have_only_what_they_may_have() {
        let samples: [&[u8]; 6] = [
            b"eurobot-2026",
            b"nuc@[fe80::1%eth0]:2222",
            b"ssh://a@b.c:22/",
            b"linux/arm/v7",
            b"Nav_1.2-rc",
            b"a b",
        ];
        fuzz("names", 2_000, &samples, |bytes| {
            let text = text(&bytes[..bytes.len().min(2_000)]);
            let plain = |extra: &str| {
                let allowed =
                    |character: char| character.is_ascii_alphanumeric() || extra.contains(character);
                text.chars().all(allowed) && !text.starts_with('-')
            };
            assert!(project(&text).is_err() || plain("-_") && text.len() <= PROJECT_LENGTH);
            assert!(robot(&text).is_err() || plain("-_") && text.len() <= ROBOT_LENGTH);
            assert!(tag(&text).is_err() || plain("-_.") && !text.starts_with('.'));
            assert!(!is_package(&text) || plain("-_"));
            drop((instead("names", &text, ["navigation", &text]), Platform::parse(&text)));
            let tag = tags::sanitised(&text);
            assert!(tag.chars().all(|one| one.is_ascii_alphanumeric() || "_.-".contains(one)), "{tag}");
            if let Ok(host::Destination { destination, .. }) = host::parse(&text) {
                assert!(!destination.starts_with('-') && !destination.contains(char::is_whitespace));
            }
        });
    }

    #[test]
    fn project_names_fit_docker_and_compose() {
        for good in ["eurobot", "eurobot-2026", "a_b", "2bots"] {
            assert_eq!(project(good), Ok(()), "{good}");
        }
        let too_long = "x".repeat(31);
        for bad in ["", "Eurobot", "a b", "a/b", "a.b", "-a", "a-", "a--b", "a_-b", "scratch", "ä", &too_long]
        {
            assert!(project(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn robot_names_fit_host_names() {
        for good in ["main", "robot-2", "big_one"] {
            assert_eq!(robot(good), Ok(()), "{good}");
        }
        let too_long = "x".repeat(33);
        for bad in ["", "Main", "a.b", "-a", "2bots", "a\n", &too_long] {
            assert!(robot(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn image_names_fit_tags() {
        let longest = "x".repeat(128);
        for good in ["navigation", "behavior_tree", "v1.2-rc", "Nav", "_x", &longest] {
            assert_eq!(tag(good), Ok(()), "{good}");
        }
        let too_long = "x".repeat(129);
        for bad in ["", "a/b", "a:b", ".a", "-a", "ä", "a b", &too_long] {
            assert!(tag(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_only_when_near() {
        let known = ["navigation", "localization", "communication"];
        assert_eq!(nearest("navigatoin", known), Some("navigation"));
        assert_eq!(nearest("Navigation", known), Some("navigation"));
        assert_eq!(nearest("nav", known), Some("navigation"));
        assert_eq!(nearest("camera", known), None);
    }
}
