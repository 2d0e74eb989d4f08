//! Detects the operating system, which decides how packages are installed.

/// The first Debian release that packages buildx and Compose v2.
const FIRST_DEBIAN: u32 = 13;
/// The first supported Ubuntu release: it has the package `docker-compose-v2`.
const FIRST_UBUNTU: u32 = 22;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Debian 13 and later: all packages are available.
    Debian,
    /// Debian 12: its Docker is too old and lacks buildx, but the packages of Debian 13 can be installed.
    Bookworm,
    /// Ubuntu 22.04 and later, and its derivatives.
    Ubuntu,
    Fedora,
    /// Arch Linux and its derivatives.
    Arch,
    MacOs,
    /// Any other system, with its own name.
    Other(String),
}

/// Parses `/etc/os-release` (`os-release(5)`).
pub(super) fn from_os_release(text: &str) -> Distribution {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        line.map(|quoted| quoted.trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
    };
    let release = value("VERSION_ID").split('.').next().and_then(|major| major.parse::<u32>().ok());
    let likes = format!("{} {}", value("ID"), value("ID_LIKE"));
    let is = |name: &str| likes.split_whitespace().any(|like| like == name);
    let other = || {
        let names = [value("PRETTY_NAME"), value("NAME"), "an unknown system".to_owned()];
        Distribution::Other(names.into_iter().find(|name| !name.is_empty()).unwrap_or_default())
    };
    match value("ID").as_str() {
        // Debian testing and unstable have no version number.
        "debian" if release.is_none_or(|release| release >= FIRST_DEBIAN) => Distribution::Debian,
        "debian" if release == Some(12) => Distribution::Bookworm,
        "ubuntu" if release.is_some_and(|release| release >= FIRST_UBUNTU) => Distribution::Ubuntu,
        "debian" | "ubuntu" => other(),
        // Mint, Pop!_OS and others name the Ubuntu that they are based on.
        _ if matches!(value("UBUNTU_CODENAME").as_str(), "jammy" | "noble" | "plucky" | "questing") => {
            Distribution::Ubuntu
        }
        _ if is("fedora") => Distribution::Fedora,
        _ if is("arch") => Distribution::Arch,
        _ => other(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_releases_are_told_apart() {
        let debian =
            |version: &str| from_os_release(&format!("ID=debian\n{version}PRETTY_NAME=\"Debian\"\n"));
        assert_eq!(debian("VERSION_ID=\"12\"\n"), Distribution::Bookworm);
        assert_eq!(debian("VERSION_ID=\"13\"\n"), Distribution::Debian);
        assert_eq!(debian(""), Distribution::Debian, "testing");
        assert_eq!(debian("VERSION_ID=\"11\"\n"), Distribution::Other("Debian".to_owned()));
    }

    #[test]
    fn ubuntu_and_its_children() {
        assert_eq!(from_os_release("ID=ubuntu\nVERSION_ID=\"24.04\"\n"), Distribution::Ubuntu);
        assert_eq!(
            from_os_release("NAME=Ubuntu\nID=ubuntu\nVERSION_ID=\"20.04\"\n"),
            Distribution::Other("Ubuntu".to_owned())
        );
        let mint = "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22\"\nUBUNTU_CODENAME=noble\n";
        assert_eq!(from_os_release(mint), Distribution::Ubuntu);
    }

    #[test]
    fn others_are_recognised_by_their_id_like() {
        assert_eq!(from_os_release("ID=fedora\nVERSION_ID=42\n"), Distribution::Fedora);
        assert_eq!(from_os_release("ID=manjaro\nID_LIKE=arch\n"), Distribution::Arch);
        assert_eq!(from_os_release(""), Distribution::Other("an unknown system".to_owned()));
    }
}
