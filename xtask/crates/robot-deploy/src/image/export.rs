//! Export of images into a layout, by a push to a registry on this machine.

use std::time::Duration;

use anyhow::Context as _;

use super::layout::{Exported, Layout};
use super::push::Push;
use super::receiver::Receiver;
use super::{Builder, Built, ImageId};
use crate::error::{Result, explained};
use crate::files;
use crate::process;

/// Longest wait for another run that exports layers.
const LOCK_TIMEOUT: Duration = Duration::from_secs(600);

/// Exports an image into a layout, without the blobs that the layout has.
///
/// # Errors
/// Fails for an engine with the classic store, and when the image was rebuilt in the meantime.
pub fn export(layout: &Layout, builder: Builder, built: &Built) -> Result<Exported> {
    let ImageId::Manifest(digest) = &built.id else {
        anyhow::bail!("this machine's engine keeps images in the classic store");
    };
    let digest = &digest.parse().with_context(|| format!("read the digest of `{}`", built.reference))?;
    // Two runs must not write the same blob at the same time.
    let lock = files::lock_file(&layout.dir.join("lock"))?;
    process::poll("another run to export its layers", LOCK_TIMEOUT, || Ok(lock.try_lock()?))?;
    if let Some(image) = layout.image(digest) {
        return Ok(image);
    }
    let receiver = Receiver::start(layout)?;
    let repository = receiver.repository(built.repository());
    let push = Push::new(builder, &repository, built, receiver.port())?;
    // `docker push` skips blobs that exist here, even truncated ones. The sizes are known only once the
    // manifest is here: hence a second round.
    for _ in 0..2 {
        layout.discard_incomplete(digest)?;
        push.run().map_err(|error| cannot_export(layout, error, receiver.failure()))?;
        if let Some(image) = layout.image(digest) {
            return Ok(image);
        }
    }
    anyhow::bail!("the images were rebuilt while they were being deployed")
}

/// Error of an export: a failure of the receiver is the cause of the error that `docker push` reports.
fn cannot_export(layout: &Layout, error: anyhow::Error, failure: Option<anyhow::Error>) -> anyhow::Error {
    explained(error, |error| {
        failure.unwrap_or(error).context(format!("cannot export layers to `{}`", layout.dir))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, Failure, exit_of};

    #[test]
    fn a_failed_export_is_explained_by_the_receivers_failure() {
        let pushed = || anyhow::anyhow!("`docker push` failed: EOF");
        let error = |failure| format!("{:#}", cannot_export(&Layout::at("layers".into()), pushed(), failure));
        let full = anyhow::anyhow!("no space left on device");
        assert_eq!(error(Some(full)), "cannot export layers to `layers`: no space left on device");
        assert_eq!(error(None), "cannot export layers to `layers`: `docker push` failed: EOF");
        let interrupted = Failure::new(Exit::Interrupted, "interrupted");
        assert_eq!(
            exit_of(&cannot_export(&Layout::at("layers".into()), interrupted.into(), None)),
            Exit::Interrupted
        );
    }
}
