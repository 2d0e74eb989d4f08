//! What an archive of images comes from: this machine's engine, or a file that was written of it.

use std::collections::BTreeSet;
use std::io::{PipeWriter, Read};

use super::{ArchiveContents, ArchiveImage, pipe};
use crate::error::Result;
use crate::process::Cmd;
use crate::robot::Session;

/// How an archive is passed on: from its source to whatever reads what comes of it.
pub type Pass<'a> = &'a mut dyn FnMut(&mut dyn Read, PipeWriter) -> Result<ArchiveContents>;

/// See the module.
pub trait ArchiveSource {
    /// The layers of each of these images, lowest first, by the digests of what is in them.
    ///
    /// # Errors
    /// Fails when an image is not there.
    fn layers(&self, items: &[&ArchiveImage]) -> Result<Vec<Vec<String>>>;

    /// The command that would write the archive, for a dry run.
    fn command(&self, items: &[&ArchiveImage]) -> Cmd;

    /// Lets `load` on the robot read what `pass` makes of the archive.
    ///
    /// # Errors
    /// Fails when the archive cannot be read, or `load` fails.
    fn send(
        &self,
        items: &[&ArchiveImage],
        session: &Session,
        load: &Cmd,
        pass: Pass<'_>,
    ) -> Result<ArchiveContents>;

    /// Whether it is one archive with all images, wanted or not.
    fn is_fixed(&self) -> bool;

    /// Fails where the robot, which has the layers `there`, lacks what the archive leaves out.
    ///
    /// # Errors
    /// Says what has to come first.
    fn check(&self, _robot: &str, _there: &BTreeSet<String>) -> Result<()> {
        Ok(())
    }
}

/// This machine's engine.
#[derive(Clone, Copy, Debug)]
pub struct Engine;

impl ArchiveSource for Engine {
    fn layers(&self, items: &[&ArchiveImage]) -> Result<Vec<Vec<String>>> {
        let ids = items.iter().map(|item| item.digest.as_str());
        Ok(chains(&Cmd::new("docker").args(question(ids)).read()?))
    }

    fn command(&self, items: &[&ArchiveImage]) -> Cmd {
        let ids: BTreeSet<&str> = items.iter().map(|item| item.digest.as_str()).collect();
        Cmd::new("docker").arg("save").args(ids)
    }

    fn send(
        &self,
        items: &[&ArchiveImage],
        session: &Session,
        load: &Cmd,
        pass: Pass<'_>,
    ) -> Result<ArchiveContents> {
        pipe::pipe(session, load, &self.command(items), |source, sink| pass(source, sink))
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

/// What to ask Docker for the layers of images; [`chains`] reads the answer.
pub fn question<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let question = ["image", "inspect", "--format", "{{join .RootFS.Layers \" \"}}"];
    question.into_iter().chain(ids).map(str::to_owned).collect()
}

/// The layers of each image, lowest first.
pub fn chains(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}
