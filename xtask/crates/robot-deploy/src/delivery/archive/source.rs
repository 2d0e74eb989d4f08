//! Sources of archives: this machine's engine, or a bundle.

use std::collections::BTreeSet;
use std::io::{PipeWriter, Read};

use super::{ArchiveContents, ArchiveImage, pipe};
use crate::error::Result;
use crate::process::Cmd;
use crate::robot::Session;

/// Copies an archive from its source to a pipe; returns the archive's contents.
pub(crate) type Pass<'a> = &'a mut dyn FnMut(&mut dyn Read, PipeWriter) -> Result<ArchiveContents>;

pub(crate) trait ArchiveSource {
    /// Diff ids of the layers of each image, lowest first.
    fn layers(&self, items: &[&ArchiveImage]) -> Result<Vec<Vec<String>>>;

    /// Sends the archive, copied by `pass`, to `load` on the robot.
    fn send(
        &self,
        items: &[&ArchiveImage],
        session: &Session,
        load: &Cmd,
        pass: Pass<'_>,
    ) -> Result<ArchiveContents>;

    /// Returns whether the archive has the same images, whichever are asked for.
    fn is_fixed(&self) -> bool;

    /// Fails if the robot, which has the layers `there`, lacks layers that the archive leaves out.
    fn check(&self, _robot: &str, _there: &BTreeSet<String>) -> Result<()> {
        Ok(())
    }
}

/// This machine's engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Engine;

impl Engine {
    /// The command that writes an archive of images.
    pub(crate) fn save(items: &[&ArchiveImage]) -> Cmd {
        let ids: BTreeSet<&str> = items.iter().map(|item| item.digest.as_str()).collect();
        Cmd::new("docker").arg("save").args(ids)
    }
}

impl ArchiveSource for Engine {
    fn layers(&self, items: &[&ArchiveImage]) -> Result<Vec<Vec<String>>> {
        let ids = items.iter().map(|item| item.digest.as_str());
        Ok(chains(&Cmd::new("docker").args(question(ids)).read()?))
    }

    fn send(
        &self,
        items: &[&ArchiveImage],
        session: &Session,
        load: &Cmd,
        pass: Pass<'_>,
    ) -> Result<ArchiveContents> {
        pipe::pipe(session, load, &Self::save(items), |source, sink| pass(source, sink))
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

/// Arguments of `docker` that print the layers of images, for [`chains`].
pub(super) fn question<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let question = ["image", "inspect", "--format", "{{join .RootFS.Layers \" \"}}"];
    question.into_iter().chain(ids).map(str::to_owned).collect()
}

/// Parses the layers of each image, lowest first.
pub(super) fn chains(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}
