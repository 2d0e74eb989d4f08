//! Brings one built image to a registry, and gives it its names there.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde::Deserialize;

use crate::cmd;
use crate::config::{Hub, Store};
use crate::digest::Digest;
use crate::error::{Failure, Result};
use crate::hub::{self, imagetools};
use crate::image::{Builder, Built};
use crate::process;

/// Pushes one platform of an image as `reference`; gives the digest of its manifest, which this machine computes: the
/// registry has to have the same.
///
/// Its layers are compressed by gzip: every engine, mirror and scanner reads that, and what a classic
/// image store pushes is gzip anyway. Registries are reached now and then; between machines of the team, where
/// zstd would be felt, images do not travel this way.
pub fn part(hub: &Hub, builder: Builder, built: &Built, reference: &str) -> Result<String> {
    let explain = |error| hub::explain(hub, "this machine", &format!("push {reference}"), error);
    let digest = match builder {
        Builder::Container => built.publish(builder, reference).map_err(explain)?,
        Builder::Engine { store } => {
            match store {
                // What this store keeps is pushed as it is, and it keeps layers uncompressed.
                Store::Containerd => drop(built.publish(builder, reference)?),
                Store::Classic => {
                    let name = &built.reference;
                    cmd!("docker tag {name} {reference}")?.run()?;
                }
            }
            let pushed = cmd!("docker push {reference}")?.run_for_output();
            cmd!("docker image rm {reference}")?.clean_up();
            let said = pushed.map_err(explain)?;
            said.lines().find_map(pushed_digest).map(str::to_owned)
        }
    };
    if process::mode().dry_run {
        return Ok("sha256:DIGEST".to_owned());
    }
    let digest =
        digest.with_context(|| format!("Docker does not say which digest it has pushed as {reference}"))?;
    check(hub, reference, &[&digest]).map(|_| digest)
}

/// The digest in the last line of `docker push`: `TAG: digest: sha256:… size: 1234`.
fn pushed_digest(line: &str) -> Option<&str> {
    line.split_once(": digest: ")?.1.split(' ').next()
}

/// Gives one or several platforms of an image, whose manifests have these `digests`, its names; gives the digest behind
/// them.
///
/// One name after another: buildx would write several at the same time, and a registry that keeps tags in files has been
/// seen to answer with one that was half written.
pub fn tag(hub: &Hub, references: &[String], digests: &[&str]) -> Result<String> {
    let sources: Vec<String> = digests.iter().map(|digest| format!("{}@{digest}", hub.repository)).collect();
    let mut behind = String::new();
    for reference in references {
        let create = imagetools(hub, "create").args(["--tag", reference.as_str()]).args(sources.clone());
        let explain = |error| hub::explain(hub, "this machine", &format!("tag {reference}"), error);
        create.run().map_err(explain)?;
        behind = check(hub, reference, digests)?;
    }
    Ok(behind)
}

/// Fails unless the registry has under a name the manifest with the only one of `digests`, or an index of all of them and
/// nothing else. Gives the digest of what it has, by its content and not by what the registry says.
fn check(hub: &Hub, reference: &str, digests: &[&str]) -> Result<String> {
    if process::mode().dry_run {
        return Ok(String::new());
    }
    let explain = |error| hub::explain(hub, "this machine", &format!("look at {reference}"), error);
    let text = imagetools(hub, "inspect").args(["--raw", reference]).read().map_err(explain)?;
    let digest = Digest::of(&text).to_string();
    let index: PublishedIndex = serde_json::from_str(&text).context("read what the registry has")?;
    let parts: BTreeSet<&str> = index.manifests.iter().map(|part| part.digest.as_str()).collect();
    if digests == [digest.as_str()] || parts == digests.iter().copied().collect() {
        return Ok(digest);
    }
    let pushed = digests.join(" and ");
    Err(Failure::failed(format!("the registry has {digest} as {reference}, but what was pushed is {pushed}"))
        .hint("if somebody else publishes at the same time: wait, and publish again")
        .hint("if nobody does, the registry is not to be trusted: deploy nothing from it")
        .into())
}

/// An index of manifests, as far as it is of use here; of a manifest, which has none, nothing.
#[derive(Deserialize)]
struct PublishedIndex {
    #[serde(default)]
    manifests: Vec<PublishedManifest>,
}

#[derive(Deserialize)]
struct PublishedManifest {
    digest: String,
}
