//! What is deployed: one kind of edit each.

use serde::{Deserialize, Serialize};

use super::subject::Subject;

/// A case of the benchmark.
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
    /// The first deploy to an empty robot, everything built
    First,
    /// One apt package more in a layer of 680 MB; from the point where apt has finished
    Layer,
    /// One line changed in a Python package inside a layer of 60 MB
    Monolith,
    /// No deploy: `status` of three robots
    Status,
}

/// One place that becomes another, never the same twice: build systems remember what they built once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The file, from the root of the repository.
    pub file: &'static str,
    /// What is in it exactly once.
    pub find: &'static str,
    /// What stands there instead, digits that never were there before for `{}`.
    pub replace: &'static str,
    /// The service that has to run the edit.
    pub service: &'static str,
    /// What became of the file, as the shell in the service's container finds it.
    pub installed: &'static str,
    /// What the service writes when it works, if it does: how long it was interrupted is measured.
    pub ready: Option<&'static str>,
}

/// What `robot_node` writes, the node's name before it.
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

/// Each time another package is added to the list that the robot has: the first once, the second the next time.
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
    /// All of them, as the default run has them.
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

    /// What people call it.
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

    /// What is deployed.
    pub fn subject(self) -> Subject {
        match self {
            Self::Layer => Subject::Layer,
            Self::Monolith => Subject::Monolith,
            _ => Subject::Workspace,
        }
    }

    /// What is edited the `number`th time, if anything.
    pub fn edit(self, number: usize) -> Option<Edit> {
        match self {
            Self::Nothing | Self::First | Self::Status => None,
            Self::Python | Self::Fleet => Some(PYTHON),
            Self::Cpp => Some(CPP),
            Self::Layer => Some(PACKAGES[number % PACKAGES.len()]),
            Self::Monolith => Some(MONOLITH),
        }
    }

    /// Whether all robots of the subject take part, and not the first alone.
    pub fn is_of_fleet(self) -> bool {
        matches!(self, Self::Fleet | Self::Status)
    }

    /// Whether BuildKit has the edit's new layer when the clock starts: how long apt takes is the same for
    /// everybody, and not what is compared.
    pub fn is_prepared(self) -> bool {
        self == Self::Layer
    }
}

impl Edit {
    /// `text` edited; `None` where what is looked for is not in it exactly once.
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
    fn an_edit_adds_digits_to_what_is_there_once() {
        let text = "constexpr double kAhead = 0.4;\n";
        assert_eq!(CPP.apply(text, 17).as_deref(), Some("constexpr double kAhead = 0.417;\n"));
        assert_eq!(CPP.apply("nothing", 17), None);
        assert_eq!(CPP.apply(&text.repeat(2), 17), None);
    }

    #[test]
    fn the_repository_has_what_is_edited() {
        for edit in Case::ALL.into_iter().flat_map(|case| [case.edit(0), case.edit(1)]).flatten() {
            let path = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(edit.file);
            let text = fs_err::read_to_string(path).unwrap();
            assert!(edit.apply(&text, 1).is_some(), "{}", edit.file);
        }
    }
}
