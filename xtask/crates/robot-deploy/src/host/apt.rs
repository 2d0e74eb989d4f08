//! Docker of Debian 13 on Debian 12: finds the host's own mirror, and generates the two files that make apt
//! install four packages, and nothing else, from the next release.

use std::collections::BTreeMap;

/// The release of the host.
const HERE: &str = "bookworm";
/// The release that provides the packages.
const NEXT: &str = "trixie";

/// Path of the additional source.
pub(super) const SOURCE_FILE: &str = "/etc/apt/sources.list.d/xtask-trixie.sources";
/// Path of the pins for that source.
pub(super) const PINS_FILE: &str = "/etc/apt/preferences.d/xtask-trixie";

/// One stanza of a deb822 file: field names as written, values with their continuation lines.
type Stanza = BTreeMap<String, String>;

/// A file of `/etc/apt/sources.list` or `/etc/apt/sources.list.d`.
pub(super) struct SourcesFile {
    /// Name of the file; its suffix tells the format.
    pub name: String,
    pub text: String,
}

/// Generates the additional source: the entry of the distribution itself, changed to the next release. The
/// mirror, the signing key and all other fields stay the same.
pub(super) fn next_release(files: &[SourcesFile]) -> Option<String> {
    let mut source = own_entry(files, HERE)?;
    source.insert("Types".to_owned(), "deb".to_owned());
    source.insert("Suites".to_owned(), NEXT.to_owned());
    source.insert("Components".to_owned(), "main".to_owned());
    let order = ["Types", "URIs", "Suites", "Components"];
    let first = order.iter().filter_map(|key| source.get_key_value(*key));
    let rest = source.iter().filter(|(key, _)| !order.contains(&key.as_str()));
    Some(first.chain(rest).map(|(key, value)| format!("{key}: {value}\n")).collect())
}

/// Returns the mirror that a Debian host of the release `here` fetches its packages from.
pub(super) fn mirror(files: &[SourcesFile], here: &str) -> Option<String> {
    words(&own_entry(files, here)?, "URIs").next().map(str::to_owned)
}

/// Finds the entry that serves the release `here` itself, not additional packages for it.
fn own_entry(files: &[SourcesFile], here: &str) -> Option<Stanza> {
    let entries = files.iter().flat_map(|file| {
        let stanzas = if file.name.ends_with(".sources") { deb822(&file.text) } else { one_line(&file.text) };
        stanzas.into_iter().map(|stanza| (file.name.as_str(), stanza))
    });
    let entries: Vec<_> = entries.filter(|(_, stanza)| serves_packages(stanza)).collect();
    let (_, chosen) = entries
        .iter()
        .filter(|(_, stanza)| has(stanza, "Suites", here) && has(stanza, "Components", "main"))
        // Vendors also use the release's name as a suite: the likeliest entry wins, among equals the first.
        .rev()
        .max_by_key(|(name, stanza)| likelihood(name, stanza, here, &entries))?;
    Some(chosen.clone())
}

/// Generates the pins: `packages` of the next release are preferred to those of the host's release, all
/// others are not.
pub(super) fn pins(packages: &[&str]) -> String {
    let packages = packages.join(" ");
    format!(
        "Package: *\nPin: release n={NEXT}\nPin-Priority: 100\n\n\
         Package: {packages}\nPin: release n={NEXT}\nPin-Priority: 600\n"
    )
}

fn words<'a>(stanza: &'a Stanza, field: &str) -> impl Iterator<Item = &'a str> {
    stanza.get(field).map(String::as_str).unwrap_or_default().split_whitespace()
}

fn has(stanza: &Stanza, field: &str, word: &str) -> bool {
    words(stanza, field).any(|each| each == word)
}

fn serves_packages(stanza: &Stanza) -> bool {
    has(stanza, "Types", "deb") && !matches!(stanza.get("Enabled").map(String::as_str), Some("no" | "false"))
}

/// Counts the signs that an entry is Debian's own archive.
fn likelihood(name: &str, stanza: &Stanza, here: &str, entries: &[(&str, Stanza)]) -> usize {
    let updates = format!("{here}-updates");
    let uris = stanza.get("URIs");
    let signs = [
        words(stanza, "Signed-By").any(|key| key.contains("debian-archive")),
        entries.iter().any(|(_, other)| other.get("URIs") == uris && has(other, "Suites", &updates)),
        ["sources.list", "debian.sources"].contains(&name),
        words(stanza, "URIs").any(|uri| uri.trim_end_matches('/').ends_with("/debian")),
    ];
    signs.iter().filter(|sign| **sign).count()
}

/// Parses the format of `*.sources`.
fn deb822(text: &str) -> Vec<Stanza> {
    let mut stanzas = vec![Stanza::new()];
    let mut field = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            stanzas.push(Stanza::new());
            field.clear();
            continue;
        }
        let Some(stanza) = stanzas.last_mut() else { continue };
        if line.starts_with([' ', '\t']) {
            if let Some(value) = stanza.get_mut(&field) {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            field = canonical(key.trim());
            stanza.insert(field.clone(), value.trim().to_owned());
        }
    }
    stanzas.retain(|stanza| !stanza.is_empty());
    stanzas
}

/// Normalizes the case of a field name; field names are case-insensitive.
fn canonical(key: &str) -> String {
    let known = ["Types", "URIs", "Suites", "Components", "Signed-By", "Enabled"];
    known.iter().find(|each| each.eq_ignore_ascii_case(key)).map_or(key, |each| *each).to_owned()
}

/// Parses the format of `sources.list`: `deb [option=value …] URI suite component…`.
fn one_line(text: &str) -> Vec<Stanza> {
    let parse = |line: &str| {
        let line = line.split('#').next()?.trim();
        let (kind, rest) = line.split_once(char::is_whitespace)?;
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let mut stanza = Stanza::from([
            ("Types".to_owned(), kind.to_owned()),
            ("URIs".to_owned(), words.next()?.to_owned()),
            ("Suites".to_owned(), words.next()?.to_owned()),
            ("Components".to_owned(), words.collect::<Vec<_>>().join(" ")),
        ]);
        for (option, value) in options.split_whitespace().filter_map(|pair| pair.split_once('=')) {
            stanza.insert(field_of(option), value.replace(',', " "));
        }
        Some(stanza)
    };
    text.lines().filter_map(parse).collect()
}

/// Returns the deb822 field for an option of the one-line format (`sources.list(5)`).
fn field_of(option: &str) -> String {
    match option {
        "arch" => "Architectures".to_owned(),
        "lang" => "Languages".to_owned(),
        "target" => "Targets".to_owned(),
        other => {
            let capitalised = other.split('-').map(|part| {
                let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
                format!("{}{rest}", first.to_uppercase())
            });
            capitalised.collect::<Vec<_>>().join("-")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourcesFile {
        SourcesFile { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_mirror_of_a_deb822_file_is_kept() {
        let text = "# cloud image\nTypes: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n\
                    Suites: bookworm bookworm-updates\nComponents: main contrib\n\
                    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                    Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main\n";
        let source = next_release(&[file("debian.sources", text)]).unwrap();
        assert_eq!(
            source,
            "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        );
    }

    #[test]
    fn the_mirror_of_one_line_entries_keeps_its_options() {
        let text = "# deb cdrom:[Debian]/ bookworm main\n\
                    deb-src http://mirror.example/debian bookworm main\n\
                    deb http://mirror.example/debian-security bookworm-security main\n\
                    deb [arch=amd64,arm64 signed-by=/k.gpg check-valid-until=no] http://mirror.example/debian/ bookworm main non-free # ours\n";
        let source = next_release(&[file("sources.list", text)]).unwrap();
        assert_eq!(
            source,
            "Types: deb\nURIs: http://mirror.example/debian/\nSuites: trixie\nComponents: main\n\
             Architectures: amd64 arm64\nCheck-Valid-Until: no\nSigned-By: /k.gpg\n"
        );
    }

    #[test]
    fn vendors_with_the_same_suite_are_not_taken_for_debian() {
        let vendor = "deb [signed-by=/v.gpg] https://vendor.example/stable/debian bookworm main\n";
        let debian = "deb http://mirror.example/debian bookworm main\n\
                      deb http://mirror.example/debian bookworm-updates main\n";
        for files in [
            [file("a-vendor.list", vendor), file("sources.list", debian)],
            [file("sources.list", debian), file("vendor.list", vendor)],
        ] {
            let source = next_release(&files).unwrap();
            assert!(source.contains("URIs: http://mirror.example/debian\n"), "{source}");
        }
    }

    #[test]
    fn an_embedded_key_and_a_disabled_stanza() {
        let text = "Types: deb\nURIs: http://old.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\n\
                    types: deb\nuris: http://new.example/debian\nsuites: bookworm\ncomponents: main\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        let source = next_release(&[file("x.sources", text)]).unwrap();
        assert!(source.contains("URIs: http://new.example/debian\n"), "{source}");
        assert!(
            source.ends_with("Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"),
            "{source}"
        );
    }

    #[test]
    fn no_debian_no_source() {
        assert_eq!(next_release(&[file("x.list", "deb http://vendor.example x main\n")]), None);
    }

    #[test]
    fn only_the_named_packages_are_upgraded() {
        assert_eq!(
            pins(&["docker.io", "docker-buildx"]),
            "Package: *\nPin: release n=trixie\nPin-Priority: 100\n\n\
             Package: docker.io docker-buildx\nPin: release n=trixie\nPin-Priority: 600\n"
        );
    }
}
