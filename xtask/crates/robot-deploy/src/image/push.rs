//! `docker push` to a local port, and the layer counts in its output.

use super::{Builder, Built};
use crate::error::Result;
use crate::process::Cmd;

/// Commands that push one image; the temporary tag is removed afterwards.
#[derive(Debug)]
pub struct Push {
    name: String,
    steps: Vec<Cmd>,
    temporary_tag: bool,
}

impl Push {
    /// Returns the push to the registry behind `port`, as `repository:image`.
    pub fn new(builder: Builder, repository: &str, built: &Built, port: u16) -> Result<Self> {
        let name = format!("{}/{repository}:{}", builder.registry_host(port), built.spec.image);
        let docker = |args: &[&str]| Cmd::new("docker").args(args.iter().copied());
        let (steps, temporary_tag) = match builder {
            Builder::Engine { .. } => {
                (vec![docker(&["tag", &built.own_name(), &name]), docker(&["push", &name])], true)
            }
            // The engine insists on TLS, so the builder pushes the image that it has just built.
            Builder::Container => (vec![built.push_from_builder(&name)?], false),
        };
        Ok(Self { name, steps, temporary_tag })
    }

    /// Pushes the image and counts its layers. The temporary tag is removed even after a failure.
    pub fn run(&self) -> Result<Layers> {
        let _guard = TemporaryTag(self.temporary_tag.then_some(self.name.as_str()));
        let mut output = String::new();
        for step in &self.steps {
            output = step.run_for_output()?;
        }
        Ok(Layers::parse(&output))
    }
}

/// Guard that removes the tag of `docker push`, whether the push succeeded or not.
struct TemporaryTag<'a>(Option<&'a str>);

impl Drop for TemporaryTag<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.0 {
            Cmd::new("docker").args(["image", "rm", name]).clean_up();
        }
    }
}

/// Number of layers by the result of a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    pub sent: usize,
    /// Layers that the registry already had.
    pub reused: usize,
}

impl Layers {
    /// Counts the final lines of `docker push`, one for each layer.
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
    fn layers_are_counted_by_their_final_lines() {
        let output = "The push refers to repository [localhost:5000/eurobot]\n\
                      1a2b: Preparing\n1a2b: Pushing  512B/3kB\n3c4d: Layer already exists\n\
                      5e6f: Mounted from eurobot\n1a2b: Pushed\nnavigation: digest: sha256:aa size: 1234";
        assert_eq!(Layers::parse(output), Layers { sent: 1, reused: 2 });
    }
}
