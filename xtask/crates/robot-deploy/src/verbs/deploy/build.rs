//! The build of a deploy, as its robots see it: they are connected while it runs, and served before it has quite ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};

use crate::error::Result;
use crate::image::{Built, Options, Wanted};

/// See the module. Each is known once, whatever becomes of the build.
#[derive(Debug, Default)]
pub struct Build {
    /// The images, as soon as the engine's store has them all; none if that never happens.
    images: OnceLock<Option<Vec<Built>>>,
    /// Whether the build ended well.
    outcome: OnceLock<bool>,
}

/// Who waits for a build must hear of its end, whatever it was, a panic included.
struct Announcement<'a>(&'a Build);

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        self.0.images.get_or_init(|| None);
        self.0.outcome.get_or_init(|| false);
    }
}

impl Build {
    /// Builds, and tells those who wait.
    ///
    /// # Errors
    /// Fails when the build does.
    pub fn run(
        &self,
        wanted: &BTreeSet<Wanted>,
        build: impl FnOnce(Options<'_>) -> Result<Vec<Built>>,
    ) -> Result<()> {
        let _announcement = Announcement(self);
        let (sender, stored) = channel();
        let built = std::thread::scope(|scope| {
            scope.spawn(|| self.announce(stored, wanted));
            let built = build(Options { stored: Some(&sender), ..Options::default() });
            drop(sender);
            built
        })?;
        self.images.get_or_init(|| Some(built));
        self.outcome.get_or_init(|| true);
        Ok(())
    }

    /// Hands out the images as soon as the engine's store has them all: it can bring them to robots while BuildKit still
    /// unpacks them there, which takes seconds for a large layer and is nothing that a robot needs.
    fn announce(&self, stored: Receiver<Built>, wanted: &BTreeSet<Wanted>) {
        let mut images = BTreeMap::new();
        for image in stored {
            drop(images.insert(image.wanted.clone(), image));
            if images.keys().eq(wanted) {
                self.images.get_or_init(|| Some(images.values().cloned().collect()));
            }
        }
    }

    /// Waits for the images; none if there will be none.
    pub fn images(&self) -> Option<&[Built]> {
        self.images.wait().as_deref()
    }

    /// Whether nobody can have images yet.
    pub fn has_none_yet(&self) -> bool {
        self.images.get().is_none()
    }

    /// Waits for the end of the build; tells whether it ended well. Nothing is started of one that did not.
    pub fn has_succeeded(&self) -> bool {
        *self.outcome.wait()
    }
}
