//! Pushes a built image to the hub and tags it there.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde::Deserialize;

use crate::cmd;
use crate::config::{Hub, Store};
use crate::digest::Digest;
use crate::error::{Failure, Result};
use crate::hub::{self, imagetools};
use crate::image::{Builder, Built};

/// Pushes one platform of an image as `reference` and returns the digest of its manifest. The digest is
/// computed on this machine and compared with the registry's.
///
/// Layers are compressed by gzip: every engine, mirror and scanner reads it, and the classic store always
/// pushes gzip. zstd would save little, as images are published rarely and transfers to robots do not use the
/// hub.
pub(super) fn part(hub: &Hub, builder: Builder, built: &Built, reference: &str) -> Result<String> {
    let explain = |error| hub::explain(hub, "this machine", &format!("push {reference}"), error);
    let digest = match builder {
        Builder::Container => built.publish(builder, reference).map_err(explain)?,
        Builder::Engine { store } => {
            match store {
                // The containerd store pushes layers as they are, so make a compressed image first.
                Store::Containerd => drop(built.publish(builder, reference)?),
                Store::Classic => {
                    let name = built.own_name();
                    cmd!("docker tag {name} {reference}")?.run()?;
                }
            }
            let pushed = cmd!("docker push {reference}")?.run_for_output();
            cmd!("docker image rm {reference}")?.clean_up();
            let output = pushed.map_err(explain)?;
            output.lines().find_map(pushed_digest).map(str::to_owned)
        }
    };
    let digest = digest.with_context(|| format!("Docker reported no digest for the push of {reference}"))?;
    check(hub, reference, &[&digest]).map(|_| digest)
}

/// Digest in the last line of `docker push`: `TAG: digest: sha256:… size: 1234`.
fn pushed_digest(line: &str) -> Option<&str> {
    line.split_once(": digest: ")?.1.split(' ').next()
}

/// Tags the platforms of an image, given by the `digests` of their manifests, with all `references`. Returns
/// the digest of the manifest or index behind the tags.
///
/// The tags are written one after another: buildx writes several at the same time, and a registry that keeps
/// tags in files then sometimes returned a half-written one.
pub(super) fn tag(hub: &Hub, references: &[String], digests: &[&str]) -> Result<String> {
    let sources: Vec<String> = digests.iter().map(|digest| format!("{}@{digest}", hub.repository)).collect();
    let mut tagged = String::new();
    for reference in references {
        let create = imagetools(hub, "create").args(["--tag", reference.as_str()]).args(sources.clone());
        let explain = |error| hub::explain(hub, "this machine", &format!("tag {reference}"), error);
        create.run().map_err(explain)?;
        tagged = check(hub, reference, digests)?;
    }
    Ok(tagged)
}

/// Fails unless `reference` is the manifest with the only one of `digests`, or an index of exactly these
/// digests. Returns the digest of the manifest or index, computed from its content.
fn check(hub: &Hub, reference: &str, digests: &[&str]) -> Result<String> {
    let explain = |error| hub::explain(hub, "this machine", &format!("inspect {reference}"), error);
    let text = imagetools(hub, "inspect").args(["--raw", reference]).read().map_err(explain)?;
    let digest = Digest::of(&text).to_string();
    let index: PublishedIndex = serde_json::from_str(&text).context("read the answer of the registry")?;
    let parts: BTreeSet<&str> = index.manifests.iter().map(|part| part.digest.as_str()).collect();
    if digests == [digest.as_str()] || parts == digests.iter().copied().collect() {
        return Ok(digest);
    }
    let pushed = digests.join(" and ");
    Err(Failure::failed(format!("the registry has {digest} as {reference}, but {pushed} was pushed"))
        .hint("if someone else is publishing at the same time: wait, then publish again")
        .hint("otherwise do not trust the registry: do not deploy from it")
        .into())
}

/// Digests in an index; empty for a manifest.
#[derive(Deserialize)]
struct PublishedIndex {
    #[serde(default)]
    manifests: Vec<PublishedManifest>,
}

#[derive(Deserialize)]
struct PublishedManifest {
    digest: String,
}
