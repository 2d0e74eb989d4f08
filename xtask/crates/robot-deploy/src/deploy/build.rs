//! The build of a deploy. Robots are connected while it runs, and get the images before BuildKit has
//! finished.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};

use crate::error::Result;
use crate::image::{Built, ImageSpec, Options};

/// State of the build, shared between the build and the threads of the robots. Each value is set once, also
/// when the build fails.
#[derive(Debug, Default)]
pub(super) struct Build {
    /// The images, once the engine's store has all of them. `None` if the build failed before.
    images: OnceLock<Option<Vec<Built>>>,
    /// True if the build succeeded.
    succeeded: OnceLock<bool>,
}

/// Wakes the threads that wait for the build however the build ends, including by a panic.
struct WakeOnDrop<'a>(&'a Build);

impl Drop for WakeOnDrop<'_> {
    fn drop(&mut self) {
        self.0.images.get_or_init(|| None);
        self.0.succeeded.get_or_init(|| false);
    }
}

impl Build {
    /// Runs `build` and wakes the threads that wait for its images and its end.
    pub(super) fn run(
        &self,
        specs: &BTreeSet<ImageSpec>,
        build: impl FnOnce(Options<'_>) -> Result<Vec<Built>>,
    ) -> Result<()> {
        let _wake = WakeOnDrop(self);
        let (sender, stored) = channel();
        let built = std::thread::scope(|scope| {
            scope.spawn(|| self.announce(stored, specs));
            let built = build(Options { stored: Some(&sender), ..Options::default() });
            drop(sender);
            built
        })?;
        self.images.get_or_init(|| Some(built));
        self.succeeded.get_or_init(|| true);
        Ok(())
    }

    /// Publishes the images as soon as the engine's store has all of them. BuildKit then still unpacks them
    /// on this machine, which takes seconds for a large layer and which robots do not need.
    fn announce(&self, stored: Receiver<Built>, wanted: &BTreeSet<ImageSpec>) {
        let mut images = BTreeMap::new();
        for image in stored {
            images.insert(image.spec.clone(), image);
            if images.keys().eq(wanted) {
                self.images.get_or_init(|| Some(images.values().cloned().collect()));
            }
        }
    }

    /// Waits for the images. Returns `None` if the build failed.
    pub(super) fn images(&self) -> Option<&[Built]> {
        self.images.wait().as_deref()
    }

    /// Returns whether the images are not available yet.
    pub(super) fn has_none_yet(&self) -> bool {
        self.images.get().is_none()
    }

    /// Waits for the end of the build and returns whether it succeeded. Images of a failed build must not be
    /// started.
    pub(super) fn has_succeeded(&self) -> bool {
        *self.succeeded.wait()
    }
}
