//! What is deployed: one kind of edit each.

use serde::Serialize;

/// A case of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    /// Nothing changed since the last deploy
    Nothing,
    /// One line changed in a Python package
    Python,
    /// One line changed in the C++ package
    Cpp,
    /// The first deploy to an empty robot, everything built
    First,
}

/// One line that becomes another, never the same twice: build systems remember what they built once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The file in the workspace's `src/`.
    pub file: &'static str,
    /// A number in it, whose digits can go on.
    pub number: &'static str,
    /// The service that has to run the edit.
    pub service: &'static str,
    /// What became of the file, as the shell in the service's container finds it.
    pub installed: &'static str,
}

const PYTHON: Edit = Edit {
    file: "localization/localization/odometry.py",
    number: "1e-9 else 1.0",
    service: "localization",
    installed: "/opt/ws/install/localization/lib/python3*/site-packages/localization/odometry.py",
};

const CPP: Edit = Edit {
    file: "navigation/src/drive_to_pose.cpp",
    number: "kAhead = 0.4",
    service: "navigation",
    installed: "/opt/ws/install/navigation/lib/python3*/site-packages/navigation/_core*.so",
};

impl Case {
    /// All of them, as the default run has them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Python, Self::Cpp, Self::First];

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Nothing => "nothing changed",
            Self::Python => "a line of Python",
            Self::Cpp => "a line of C++",
            Self::First => "an empty robot",
        }
    }

    /// What is edited, if anything.
    pub fn edit(self) -> Option<Edit> {
        match self {
            Self::Nothing | Self::First => None,
            Self::Python => Some(PYTHON),
            Self::Cpp => Some(CPP),
        }
    }
}

impl Edit {
    /// `text` with other digits behind the number; `None` where the number is not in it exactly once.
    pub fn apply(&self, text: &str, digits: u64) -> Option<String> {
        let (before, after) = text.split_once(self.number)?;
        (!after.contains(self.number)).then(|| format!("{before}{}{digits}{after}", self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_adds_digits_to_a_number_that_is_there_once() {
        let text = "constexpr double kAhead = 0.4;\n";
        assert_eq!(CPP.apply(text, 17).as_deref(), Some("constexpr double kAhead = 0.417;\n"));
        assert_eq!(CPP.apply("nothing", 17), None);
        assert_eq!(CPP.apply(&text.repeat(2), 17), None);
    }

    #[test]
    fn the_workspace_has_what_is_edited() {
        for edit in Case::ALL.into_iter().filter_map(Case::edit) {
            let path =
                camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../ros_ws/src").join(edit.file);
            let text = fs_err::read_to_string(path).unwrap();
            assert!(edit.apply(&text, 1).is_some(), "{}", edit.file);
        }
    }
}
