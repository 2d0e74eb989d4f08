//! The engine of this machine, as far as the tests' own project is concerned.

use std::collections::BTreeMap;

use super::shell::{output, succeeds};

/// The engine of this machine.
pub struct Engine;

impl Engine {
    /// What this machine's engine identifies an image by: the digest of its manifest, or in a classic store
    /// of its configuration.
    pub fn id(image: &str) -> String {
        output(&["docker", "image", "inspect", "--format", "{{.Id}}", image])
    }

    /// The layers of an image, unpacked, lowest first.
    pub fn layers(image: &str) -> Vec<String> {
        let format = "{{join .RootFS.Layers \" \"}}";
        let text = output(&["docker", "image", "inspect", "--format", format, image]);
        text.split(' ').map(str::to_owned).collect()
    }

    /// The ids of all images of a project, by tag.
    pub fn ids(project: &str) -> BTreeMap<String, String> {
        let filter = format!("reference={project}:*");
        let text = output(&["docker", "image", "ls", "--filter", &filter, "--format", "{{.Tag}}"]);
        text.lines().map(|tag| (tag.to_owned(), Self::id(&format!("{project}:{tag}")))).collect()
    }

    /// Names that a push needed and that should be gone after it.
    pub fn temporary_tags(project: &str) -> Vec<String> {
        Self::names(&format!("127.0.0.1:*/{project}"))
    }

    /// The names of images in the repositories that a pattern matches. A list of all would fail where another lab
    /// removes an image at the same time: the engine reads what is gone by then.
    pub fn names(repositories: &str) -> Vec<String> {
        let filter = format!("reference={repositories}");
        let text =
            output(&["docker", "image", "ls", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"]);
        text.lines().map(str::to_owned).collect()
    }

    /// Everything that simulated robots consist of: containers, volumes, networks.
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

    /// Removes the images of a project.
    pub fn remove_images(project: &str) {
        for tag in Self::ids(project).into_keys() {
            succeeds(&["docker", "image", "rm", &format!("{project}:{tag}")]);
        }
        Self::remove_temporary_tags(project);
    }

    /// Removes the names that a push needed which could not take them back.
    pub fn remove_temporary_tags(project: &str) {
        for tag in Self::temporary_tags(project) {
            succeeds(&["docker", "image", "rm", &tag]);
        }
    }
}
