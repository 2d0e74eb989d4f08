//! Lines that the scripts print: fields between tabs, of which the first is one of the words below. Lines with other
//! words are ignored: a login shell may greet.

/// Most fields of a line; the last one has the rest of the line.
const MAX_FIELDS: usize = 16;

/// Returns the fields of each line.
pub(crate) fn read(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(fields)
}

/// Returns the fields of a line.
pub(crate) fn fields(line: &str) -> Vec<&str> {
    line.splitn(MAX_FIELDS, '\t').collect()
}

macro_rules! words {
    ($($file:ident $extension:literal { $($name:ident $word:literal)* })*) => {
        $(pub(crate) mod $file {
            $(pub(crate) const $name: &str = $word;)*
        })*

        /// Words of each file of `robot-side/`.
        #[cfg(test)]
        const ALL: &[(&str, &[&str])] = &[$((concat!(stringify!($file), $extension), &[$($word),*])),*];
    };
}

words! {
    busy ".sh" { BUSY "busy" }
    data ".sh" { DATA "data" }
    examine ".sh" {
        MACHINE "machine" CLOCK "clock" DOCKER "docker" DOCKER_ERROR "docker-error" FREE "free" COMPOSE "compose"
        REGISTRY "registry"
    }
    follow ".sh" { RELEASE "release" }
    health ".sh" { DOING "doing" LOG "log" END "end" }
    installed ".sh" { CONTAINER "container" FILE "file" }
    lock ".sh" { BUSY "busy" NEWS "news" HELD "held" }
    plan ".sh" { STARTED "started" REGISTRY "registry" STORE "store" FREE "free" }
    prune ".sh" { FREE "free" }
    registry_prune ".py" { BUSY "busy" }
    status ".sh" { GOING "going" BROKEN_OFF "broken-off" DISK "disk" LOAD "load" TEMPERATURE "temperature" }
    stored ".sh" { RELEASE "release" WANTED "wanted" ENTRY "entry" EDITS "edits" }
    survey ".sh" {
        MACHINE "machine" CLOCK "clock" RELEASE "release" NUMBER "number" STAMP "stamp" NEWS "news" IMAGE "image"
        IN_USE "in-use" CONTAINER "container" NO_DOCKER "no-docker" SEED "seed" OTHER "other" FILE "file" EDITS "edits"
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::robot::outcome::Outcome;
    use crate::robot_side::Script;
    use crate::robot_side::testing::names_of;

    /// Words in a script between one of `before` and one of `after`.
    fn words<'a>(script: &'a str, before: &[&str], after: &[char]) -> BTreeSet<&'a str> {
        let is_letter = |character: char| character.is_ascii_lowercase() || character == '-';
        let word = |rest: &'a str| {
            let end = rest.find(|character| !is_letter(character))?;
            (end > 0 && rest[end..].starts_with(after)).then_some(&rest[..end])
        };
        before.iter().flat_map(|before| script.split(before).skip(1).filter_map(word)).collect()
    }

    #[test]
    fn every_script_prints_the_words_of_the_list() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/robot-side");
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let file = entry.file_name().into_string().unwrap();
            let script = std::fs::read_to_string(entry.path()).unwrap();
            let mut printed = words(&script, &["printf '", "printf \"", "s/^/"], &['\\', '\t']);
            printed.extend(words(&script, &["emit "], &[' ']));
            printed.extend(words(&script, &["print(\""], &['"']));
            let listed = ALL.iter().find(|(name, _)| *name == file).map_or(&[][..], |(_, words)| words);
            assert_eq!(printed, BTreeSet::from_iter(listed.iter().copied()), "{file}");
        }
    }

    #[test]
    fn every_outcome_of_an_activation_is_known() {
        let scripts = Script::Activate.source().to_owned() + Script::ApplyEdit.source();
        let outcomes = words(&scripts, &["finish ", "roll_back ", "conclude "], &[' ', '\t']);
        assert_eq!(outcomes, BTreeSet::from_iter(names_of::<Outcome>()));
    }

    #[test]
    fn the_last_field_has_the_rest() {
        assert_eq!(fields("log\tcamera\ta\t"), ["log", "camera", "a", ""]);
        assert_eq!(fields(&"\t".repeat(100_000)).len(), MAX_FIELDS);
    }
}
