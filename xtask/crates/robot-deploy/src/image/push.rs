//! `docker push` to a port of this machine, and what its output says of the layers.

use super::{Builder, Built};
use crate::error::Result;
use crate::process::Cmd;

/// The commands that push one image, and take back what they leave behind.
#[derive(Debug)]
pub struct Push {
    name: String,
    steps: Vec<Cmd>,
    temporary_tag: bool,
}

impl Push {
    /// To the registry behind `port`, as `repository:image`.
    ///
    /// # Errors
    /// Fails when a build's definition cannot be written.
    pub fn new(builder: Builder, repository: &str, built: &Built, port: u16) -> Result<Self> {
        let name = format!("{}/{repository}:{}", builder.registry_host(port), built.spec.image);
        let docker = |args: &[&str]| Cmd::new("docker").args(args.iter().copied());
        let (steps, temporary_tag) = match builder {
            Builder::Engine { .. } => {
                (vec![docker(&["tag", &built.reference, &name]), docker(&["push", &name])], true)
            }
            // The engine would insist on TLS: our own builder pushes what it has just built.
            Builder::Container => (vec![built.push_from_builder(&name)?], false),
        };
        Ok(Self { name, steps, temporary_tag })
    }

    /// Pushes, and says what became of the layers.
    ///
    /// # Errors
    /// Fails when the push fails. The temporary tag is gone in any case.
    pub fn run(&self) -> Result<Layers> {
        let _guard = TemporaryTag(self.temporary_tag.then_some(self.name.as_str()));
        let mut output = String::new();
        for step in &self.steps {
            output = step.run_for_output()?;
        }
        Ok(Layers::parse(&output))
    }
}

/// Removes the tag that `docker push` needed, however the push ended.
struct TemporaryTag<'a>(Option<&'a str>);

impl Drop for TemporaryTag<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.0 {
            Cmd::new("docker").args(["image", "rm", name]).clean_up();
        }
    }
}

/// Layers by what a push did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// Those that travelled.
    pub sent: usize,
    /// Those that the registry had.
    pub reused: usize,
}

impl Layers {
    /// Counts the closing lines of `docker push`, one for each layer.
    pub fn parse(output: &str) -> Self {
        let count = |endings: &[&str]| {
            output.lines().filter(|line| endings.iter().any(|ending| line.contains(ending))).count()
        };
        Self { sent: count(&[": Pushed"]), reused: count(&[": Layer already exists", ": Mounted from"]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_by_their_closing_lines() {
        let output = "The push refers to repository [localhost:5000/eurobot]\n\
                      1a2b: Preparing\n1a2b: Pushing  512B/3kB\n3c4d: Layer already exists\n\
                      5e6f: Mounted from eurobot\n1a2b: Pushed\nnavigation: digest: sha256:aa size: 1234";
        assert_eq!(Layers::parse(output), Layers { sent: 1, reused: 2 });
    }
}
