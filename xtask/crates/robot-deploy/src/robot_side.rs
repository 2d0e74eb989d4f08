//! Everything that runs on a robot: the files of `robot-side/`, whose README describes them.
//!
//! A script is a whole file for a POSIX shell. A line `. ./OTHER.sh` in it stands for another file, which is put in
//! its place before the script is sent: nothing is ever installed on a robot, so no version can be stale.

pub(crate) mod lines;

use std::collections::BTreeSet;

macro_rules! scripts {
    ($($name:ident $file:literal)*) => {
        /// A script for a robot's shell.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Script {
            $(#[doc = concat!("`robot-side/", $file, "`")] $name),*
        }

        impl Script {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name),*];

            /// Name in `robot-side/`.
            const fn file(self) -> &'static str {
                match self {
                    $(Self::$name => $file),*
                }
            }

            fn of_file(file: &str) -> Option<Self> {
                match file {
                    $($file => Some(Self::$name),)*
                    _ => None,
                }
            }

            fn source(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../robot-side/", $file))),*
                }
            }
        }
    };
}

scripts! {
    Activate "activate.sh"
    ApplyEdit "apply-edit.sh"
    Attached "attached.sh"
    Busy "busy.sh"
    Compose "compose.sh"
    ComposeExec "compose-exec.sh"
    Containers "containers.sh"
    Credential "credential.sh"
    Data "data.sh"
    Edit "edit.sh"
    Evict "evict.sh"
    Examine "examine.sh"
    Follow "follow.sh"
    FollowActivation "follow-activation.sh"
    Garbage "garbage.sh"
    Guard "guard.sh"
    Health "health.sh"
    Installed "installed.sh"
    Launch "launch.sh"
    List "list.sh"
    Load "load.sh"
    Lock "lock.sh"
    Login "login.sh"
    Place "place.sh"
    Plan "plan.sh"
    PrintLogin "print-login.sh"
    Prune "prune.sh"
    Pull "pull.sh"
    PullImages "pull-images.sh"
    PullWithLogin "pull-with-login.sh"
    Record "record.sh"
    RecordAndRun "record-and-run.sh"
    Registry "registry.sh"
    Release "release.sh"
    Return "return.sh"
    Status "status.sh"
    Stored "stored.sh"
    Survey "survey.sh"
}

/// Program that removes blobs from the robot's registry, for the Python of its container.
pub const REGISTRY_PRUNE: &str = include_str!("../robot-side/registry_prune.py");

impl Script {
    /// Returns the whole script: each file that it includes, directly or not, stands in it once.
    pub fn text(self) -> String {
        let mut text = String::new();
        self.expand(&mut text, &mut BTreeSet::new());
        text
    }

    /// Returns the argv that runs the script with these arguments, and leaves stdin to it.
    pub fn argv(self, args: &[&str]) -> Vec<String> {
        let shell = ["sh".to_owned(), "-c".to_owned(), self.text(), self.name().to_owned()];
        shell.into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect()
    }

    /// Name in messages.
    pub(crate) fn name(self) -> &'static str {
        self.file().trim_end_matches(".sh")
    }

    fn expand(self, text: &mut String, included: &mut BTreeSet<&'static str>) {
        for line in self.source().lines() {
            let file = line.trim_start().strip_prefix(". ./");
            match file.and_then(|file| Self::of_file(file).map(|script| (file, script))) {
                Some((file, script)) if included.insert(file) => script.expand(text, included),
                Some(_) => {}
                None => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use serde::de::value::Error;
    use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
    use serde::forward_to_deserialize_any;

    /// Returns the words that an enum is read from.
    pub(crate) fn names_of<'de, T: Deserialize<'de> + std::fmt::Debug>() -> Vec<&'static str> {
        let mut names = Vec::new();
        T::deserialize(Names(&mut names)).unwrap_err();
        names
    }

    struct Names<'a>(&'a mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("not an enum"))
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            names: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(names);
            self.deserialize_any(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_contains_each_included_file_once() {
        let text = Script::Launch.text();
        assert_eq!(text.matches("\nis_complete() ").count(), 1, "{text}");
        assert!(text.contains("\nfollow() ") && text.contains("\nrun=$1 content=$2"), "{text}");
    }

    #[test]
    fn every_include_names_a_script_and_every_file_is_one() {
        for script in Script::ALL {
            assert!(!script.text().contains("\n. ./"), "{script:?} includes an unknown file");
        }
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/robot-side");
        let names =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        for name in names.filter(|name| name.ends_with(".sh")) {
            assert!(Script::of_file(&name).is_some(), "{name} is not listed");
        }
    }
}
