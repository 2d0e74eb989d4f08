//! Brings one built image to a registry, and gives it its names there.

use anyhow::Context as _;
use serde::Deserialize;

use crate::cmd;
use crate::config::{Hub, Store};
use crate::error::Result;
use crate::hub::{self, imagetools};
use crate::image::{Builder, Built};
use crate::process;

/// Pushes one platform of an image as `reference`; gives the digest of its manifest.
///
/// Its layers are compressed by gzip: every engine, mirror and scanner reads that, and what a classic
/// image store pushes is gzip anyway. Registries are reached now and then; between machines of the team, where
/// zstd would be felt, images do not travel this way.
pub fn part(hub: &Hub, builder: Builder, built: &Built, reference: &str) -> Result<String> {
    let explain = |error| hub::explain(hub, "this machine", &format!("push {reference}"), error);
    match builder {
        Builder::Container => built.publish(builder, reference)?.run().map_err(explain)?,
        Builder::Engine { store } => {
            match store {
                // What this store keeps is pushed as it is, and it keeps layers uncompressed.
                Store::Containerd => built.publish(builder, reference)?.run()?,
                Store::Classic => {
                    let name = &built.reference;
                    cmd!("docker tag {name} {reference}")?.run()?;
                }
            }
            let pushed = cmd!("docker push {reference}")?.run();
            cmd!("docker image rm {reference}")?.clean_up();
            pushed.map_err(explain)?;
        }
    }
    digest(hub, reference)
}

/// Gives one or several platforms of an image, `REPO@sha256:…`, its names; gives the digest behind them.
///
/// One name after another: buildx would write several at the same time, and a registry that keeps tags in files has been
/// seen to answer with one that was half written.
pub fn tag(hub: &Hub, references: &[String], sources: &[&str]) -> Result<String> {
    for reference in references {
        let create =
            imagetools(hub, "create").args(["--tag", reference.as_str()]).args(sources.iter().copied());
        let explain = |error| hub::explain(hub, "this machine", &format!("tag {reference}"), error);
        create.run().map_err(explain)?;
    }
    digest(hub, references.first().map_or("", String::as_str))
}

/// The digest behind a name in the registry.
fn digest(hub: &Hub, reference: &str) -> Result<String> {
    if process::mode().dry_run {
        return Ok("sha256:DIGEST".to_owned());
    }
    let explain = |error| hub::explain(hub, "this machine", &format!("look at {reference}"), error);
    // Asked for the digest alone, buildx 0.13 prints a table for people where there is no index.
    let ask = imagetools(hub, "inspect").args(["--format", "{{json .Manifest}}", reference]);
    let manifest: Descriptor =
        serde_json::from_str(&ask.read().map_err(explain)?).context("read what the registry has")?;
    Ok(manifest.digest)
}

/// What the registry says of a manifest, as far as it is of use here.
#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}
