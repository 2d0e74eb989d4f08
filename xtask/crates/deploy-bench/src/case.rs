//! The cases of the benchmark, most of them with an edit that is deployed.

use serde::{Deserialize, Serialize};

use super::workload::Workload;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    /// Nothing changed since the last deploy
    Nothing,
    /// One line changed in a Python package
    Python,
    /// One line changed in the C++ package
    Cpp,
    /// One line changed in a Python package, three robots at once
    Fleet,
    /// First deploy to an empty robot, with everything built
    First,
    /// One more apt package in a layer of 680 MB; the clock starts when apt has finished
    Layer,
    /// One line changed in a Python package inside a layer of 60 MB
    Monolith,
    /// `status` of three robots, without a deploy
    Status,
}

/// Replacement of one text in one file, different every time: build systems cache earlier results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Path relative to the root of the repository.
    pub file: &'static str,
    /// Text that the file contains exactly once.
    pub find: &'static str,
    /// Its replacement; `{}` stands for digits that were never used before.
    pub replace: &'static str,
    /// Service that has to run the edit.
    pub service: &'static str,
    /// Shell pattern, in the service's container, of the file that results from the edit.
    pub installed: &'static str,
    /// Text in the service's log that marks it as ready; without one, downtime is not measured.
    pub ready: Option<&'static str>,
}

/// Log message of `robot_node`, after the node's name.
const READY: Option<&str> = Some("]: ready");

const PYTHON: Edit = Edit {
    file: "ros_ws/src/localization/localization/odometry.py",
    find: "1e-9 else 1.0",
    replace: "1e-9 else 1.0{}",
    service: "localization",
    installed: "/opt/ws/install/localization/lib/python3*/site-packages/localization/odometry.py",
    ready: READY,
};

const CPP: Edit = Edit {
    file: "ros_ws/src/navigation/src/drive_to_pose.cpp",
    find: "kAhead = 0.4",
    replace: "kAhead = 0.4{}",
    service: "navigation",
    installed: "/opt/ws/install/navigation/lib/python3*/site-packages/navigation/_core*.so",
    ready: READY,
};

/// Edits that add one package to the committed list, used in turn.
const PACKAGES: [Edit; 2] = [
    Edit {
        file: "docker/bench/layer/Dockerfile",
        find: "libeigen3-dev;",
        replace: "libeigen3-dev can-utils; : {};",
        service: "tools",
        installed: "/var/lib/dpkg/status",
        ready: None,
    },
    Edit {
        file: "docker/bench/layer/Dockerfile",
        find: "libeigen3-dev;",
        replace: "libeigen3-dev setserial; : {};",
        service: "tools",
        installed: "/var/lib/dpkg/status",
        ready: None,
    },
];

const MONOLITH: Edit = Edit {
    file: "docker/bench/monolith/lidar/lidar/scan.py",
    find: "BLIND = 0.1",
    replace: "BLIND = 0.1{}",
    service: "lidar",
    installed: "/opt/lidar/lidar/scan.py",
    ready: None,
};

impl Case {
    /// All cases, which are the default.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::Python,
        Self::Cpp,
        Self::Fleet,
        Self::First,
        Self::Layer,
        Self::Monolith,
        Self::Status,
    ];

    /// Name in tables and plots.
    pub fn title(self) -> &'static str {
        match self {
            Self::Nothing => "nothing changed",
            Self::Python => "a line of Python",
            Self::Cpp => "a line of C++",
            Self::Fleet => "… on three robots",
            Self::First => "an empty robot",
            Self::Layer => "an apt package",
            Self::Monolith => "a line in 60 MB",
            Self::Status => "status of three robots",
        }
    }

    pub fn workload(self) -> Workload {
        match self {
            Self::Layer => Workload::Layer,
            Self::Monolith => Workload::Monolith,
            _ => Workload::Workspace,
        }
    }

    /// The `number`th edit, for cases that have edits.
    pub fn edit(self, number: usize) -> Option<Edit> {
        match self {
            Self::Nothing | Self::First | Self::Status => None,
            Self::Python | Self::Fleet => Some(PYTHON),
            Self::Cpp => Some(CPP),
            Self::Layer => Some(PACKAGES[number % PACKAGES.len()]),
            Self::Monolith => Some(MONOLITH),
        }
    }

    /// Returns whether the case involves all robots of the workload, not only the first.
    pub fn uses_fleet(self) -> bool {
        matches!(self, Self::Fleet | Self::Status)
    }

    /// Returns whether BuildKit builds the edit's layer before the clock starts: apt takes equally long with
    /// every method and would only blur the comparison.
    pub fn is_built_in_advance(self) -> bool {
        self == Self::Layer
    }
}

impl Edit {
    /// Returns `text` with the edit, or `None` unless it contains [`Self::find`] exactly once.
    pub fn apply(&self, text: &str, digits: u64) -> Option<String> {
        let (before, after) = text.split_once(self.find)?;
        let replaced = self.replace.replace("{}", &digits.to_string());
        (!after.contains(self.find)).then(|| format!("{before}{replaced}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_adds_digits_to_text_that_occurs_once() {
        let text = "constexpr double kAhead = 0.4;\n";
        assert_eq!(CPP.apply(text, 17).as_deref(), Some("constexpr double kAhead = 0.417;\n"));
        assert_eq!(CPP.apply("nothing", 17), None);
        assert_eq!(CPP.apply(&text.repeat(2), 17), None);
    }

    #[test]
    fn the_repository_contains_the_text_of_every_edit() {
        for edit in Case::ALL.into_iter().flat_map(|case| [case.edit(0), case.edit(1)]).flatten() {
            let path = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(edit.file);
            let text = fs_err::read_to_string(path).unwrap();
            assert!(edit.apply(&text, 1).is_some(), "{}", edit.file);
        }
    }
}
