//! This machine's engine, with the images of the tests' own projects.

use std::collections::BTreeMap;

use super::shell::{output, succeeds};

/// Bytes of disk that a whole run needs for its robots and builds, with a margin.
const ROOM: u64 = 24_000_000_000;

/// Newest part of BuildKit's cache that stays, in bytes: what one run uses.
const KEPT: u64 = 12_000_000_000;

/// Records of BuildKit's cache, which the engine all reads when it starts: with 4,500 of them it needed more than
/// the 10 s that it has for that.
const RECORDS: usize = 2_000;

pub struct Engine;

impl Engine {
    /// Image id of this machine's engine: the digest of the manifest, or of the configuration in a classic
    /// store.
    pub fn id(image: &str) -> String {
        output(&["docker", "image", "inspect", "--format", "{{.Id}}", image])
    }

    /// Unpacked layers of an image, lowest first.
    pub fn layers(image: &str) -> Vec<String> {
        let format = "{{join .RootFS.Layers \" \"}}";
        let text = output(&["docker", "image", "inspect", "--format", format, image]);
        text.split(' ').map(str::to_owned).collect()
    }

    /// Ids of all images of a project, by tag.
    pub fn ids(project: &str) -> BTreeMap<String, String> {
        let filter = format!("reference={project}:*");
        let text = output(&["docker", "image", "ls", "--filter", &filter, "--format", "{{.Tag}}"]);
        text.lines().map(|tag| (tag.to_owned(), Self::id(&format!("{project}:{tag}")))).collect()
    }

    /// Names that a push needed and that should be gone afterwards.
    pub fn temporary_tags(project: &str) -> Vec<String> {
        Self::names(&format!("127.0.0.1:*/{project}"))
    }

    /// Image names in the repositories that match a pattern. Listing all images would fail when another lab
    /// removes one at the same time.
    pub fn names(repositories: &str) -> Vec<String> {
        let filter = format!("reference={repositories}");
        let text =
            output(&["docker", "image", "ls", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"]);
        text.lines().map(str::to_owned).collect()
    }

    /// All parts of simulated robots: containers, volumes, networks.
    pub fn simulation(project: &str) -> Vec<String> {
        let filter = format!("label=dev.cargo-xtask.sim={project}");
        let list = |kind: &str, more: &[&str], name: &str| {
            let mut argv = vec!["docker", kind, "ls", "--filter", &filter, "--format", name];
            argv.extend(more);
            output(&argv).lines().map(|line| format!("{kind} {line}")).collect::<Vec<_>>()
        };
        let containers = list("container", &["--all"], "{{.Names}}");
        let volumes = list("volume", &[], "{{.Name}}");
        [containers, volumes, list("network", &[], "{{.Name}}")].concat()
    }

    /// Free bytes on the engine's disk.
    fn free() -> u64 {
        let root = output(&["docker", "info", "--format", "{{.DockerRootDir}}"]);
        let free = output(&["df", "--output=avail", "--block-size=1", &root]);
        free.lines().last().unwrap().trim().parse().unwrap()
    }

    /// Removes the older part of BuildKit's cache if the disk has not enough for a whole run, or if the cache has
    /// too many records.
    pub fn make_room() {
        if Self::free() < ROOM {
            output(&["docker", "builder", "prune", "--force", &format!("--keep-storage={KEPT}")]);
        }
        for hours in [48, 24, 12, 6, 3] {
            if output(&["docker", "buildx", "du"]).lines().count() <= RECORDS {
                break;
            }
            let older = format!("until={hours}h");
            output(&["docker", "builder", "prune", "--all", "--force", "--filter", &older]);
        }
    }

    pub fn remove_images(project: &str) {
        for pattern in [project, &format!("{project}/*")] {
            for name in Self::names(pattern) {
                succeeds(&["docker", "image", "rm", &name]);
            }
        }
        Self::remove_temporary_tags(project);
    }

    /// Removes the names of pushes that could not remove them.
    pub fn remove_temporary_tags(project: &str) {
        for tag in Self::temporary_tags(project) {
            succeeds(&["docker", "image", "rm", &tag]);
        }
    }
}
