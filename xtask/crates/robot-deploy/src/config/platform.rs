//! Platforms that images are built for, in BuildKit's notation.

use std::fmt;

use super::names;

/// Platforms that both Docker Engine and Debian support, among those that robots use.
const KNOWN: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/arm/v7"];
/// Other names of these platforms, to suggest the right one.
const ALIASES: [(&str, &str); 9] = [
    ("amd64", "linux/amd64"),
    ("x86_64", "linux/amd64"),
    ("linux/x86_64", "linux/amd64"),
    ("arm64", "linux/arm64"),
    ("aarch64", "linux/arm64"),
    ("linux/aarch64", "linux/arm64"),
    ("linux/arm64/v8", "linux/arm64"),
    ("linux/arm", "linux/arm/v7"),
    ("linux/armv7", "linux/arm/v7"),
];

/// A platform as BuildKit names it: `linux/arm64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Architecture in Go's notation: `amd64`, `arm64`, `arm`.
    pub arch: String,
    /// Variant of the architecture, if it has several: `v7`.
    pub variant: Option<String>,
}

impl Platform {
    pub fn of_this_machine() -> Self {
        Self::from_machine(std::env::consts::ARCH)
    }

    /// Platform of a machine, from its `uname -m`.
    pub fn from_machine(machine: &str) -> Self {
        let (arch, variant) = match machine {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "armv7l" | "arm" => ("arm", Some("v7")),
            other => (other, None),
        };
        Self { arch: arch.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// Returns whether a name that BuildKit knows is this platform's.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let known = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, known)| known);
        self.to_string() == known
    }

    /// Parses a platform of `robots.toml`. The error is a problem and a suggestion.
    pub fn parse(written: &str) -> Result<Self, (String, String)> {
        if KNOWN.contains(&written) {
            let mut parts = written.split('/').skip(1).map(str::to_owned);
            return Ok(Self { arch: parts.next().unwrap_or_default(), variant: parts.next() });
        }
        let all = names::list(KNOWN);
        let shown = written.escape_debug();
        if let Some((system, _)) = written.split_once('/')
            && matches!(system, "windows" | "darwin" | "macos" | "freebsd")
        {
            let help = format!(
                "robots run Linux containers, whatever your own machine runs; the platforms are {all}"
            );
            return Err((format!("images cannot be built for `{shown}`"), help));
        }
        let alias = ALIASES.iter().find(|(alias, _)| *alias == written).map(|(_, name)| *name);
        let help = match alias.or_else(|| names::nearest(written, KNOWN)) {
            Some(near) => format!("did you mean `{near}`? the platforms are {all}"),
            None => format!("the platforms are {all}"),
        };
        Err((format!("unknown platform `{shown}`"), help))
    }

    /// Returns whether this machine runs programs of the platform without emulation.
    pub fn is_native(&self) -> bool {
        self.arch == Self::of_this_machine().arch
    }

    /// The platform as part of a name: `linux-arm-v7`.
    pub fn slug(&self) -> String {
        self.to_string().replace('/', "-")
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.arch)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_platform_is_printed_as_it_is_written() {
        for known in KNOWN {
            assert_eq!(Platform::parse(known).unwrap().to_string(), known);
        }
        assert_eq!(Platform::parse("linux/arm/v7").unwrap().slug(), "linux-arm-v7");
        assert_eq!(Platform::from_machine("armv7l"), Platform::parse("linux/arm/v7").unwrap());
    }

    #[test]
    fn slips_and_other_names_are_understood_but_not_accepted() {
        for (written, meant) in [
            ("linux/amd65", "linux/amd64"),
            ("Linux/ARM64", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
        ] {
            let (_, help) = Platform::parse(written).unwrap_err();
            assert!(help.starts_with(&format!("did you mean `{meant}`?")), "{written}: {help}");
        }
        assert!(Platform::parse("windows/amd64").unwrap_err().1.contains("Linux containers"));
        assert!(Platform::parse("").is_err());
    }
}
