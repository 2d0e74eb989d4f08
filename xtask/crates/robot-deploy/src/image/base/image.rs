//! Bases that are images: of a registry, pinned by digest, or of this machine's own store.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::REPOSITORY;
use crate::cmd;
use crate::config::Platform;
use crate::error::{Failure, Result};
use crate::image::{content_tag, ensure_cached};
use crate::process::LineFilter;
use crate::ui::{self, Progress};

/// Tag under which the image of a registry is kept.
pub(super) fn tag(reference: &str, platform: &Platform) -> String {
    let platform = platform.slug();
    format!("{REPOSITORY}:image-{platform}-{}", content_tag([reference, &platform]))
}

/// Pulls an image, `NAME@sha256:…`, if it is missing, and returns its tag.
pub(in crate::image) fn pull(reference: &str, platform: &Platform) -> Result<String> {
    let tag = tag(reference, platform);
    ensure_cached(&tag, || {
        // `docker load` may have brought it.
        if find("an image", reference, platform).is_err() {
            pull_now(reference, platform)?;
        }
        cmd!("docker tag {reference} {tag}")?.run()?;
        if let Some(size) = size(&tag) {
            ui::step("image", &format!("{size} on this machine; from now on builds need no registry"));
        }
        Ok(())
    })?;
    Ok(tag)
}

/// Pulls an image, and returns the digest that the registry has for its name; in a dry run, the empty text.
pub(in crate::image) fn pull_now(reference: &str, platform: &Platform) -> Result<String> {
    ui::step("image", &format!("pulling {reference} for {platform} (once)"));
    let (platform_name, said) = (platform.to_string(), Arc::new(Mutex::default()));
    let show = {
        let said = Arc::clone(&said);
        move || layers(Arc::clone(&said))
    };
    cmd!("docker pull --platform {platform_name} {reference}")?
        .show_through("image", show)
        .run()
        .map_err(|error| explain(reference, platform, &said.lock(), error))?;
    let said = said.lock();
    Ok(said.lines().find_map(|line| line.strip_prefix("Digest: ")).unwrap_or_default().to_owned())
}

/// Keeps the image that this machine calls `name`, and that is for `role`, under a tag of ours, and returns the tag.
pub(in crate::image) fn keep(role: &str, name: &str, platform: &Platform) -> Result<String> {
    let id = find(role, name, platform)?;
    let tag = format!("{REPOSITORY}:image-{}-{}", platform.slug(), content_tag([name, &id]));
    ensure_cached(&tag, || cmd!("docker tag {name} {tag}")?.run())?;
    Ok(tag)
}

/// Returns the ID of an image of this machine.
///
/// # Errors
/// Fails with a configuration error unless the machine has the image for the platform.
pub(super) fn find(role: &str, name: &str, platform: &Platform) -> Result<String> {
    let format = "{{.Id}} {{.Os}}/{{.Architecture}}";
    let inspect = cmd!("docker image inspect --format {format} {name}")?;
    let Ok(found) = inspect.read() else {
        return Err(Failure::config(format!("this machine has no image `{name}`, {role}"))
            .hint(format!("`docker build --tag {name} DIRECTORY` builds one; `docker image ls` lists what is here"))
            .hint(format!(
                "if it is in a registry, `docker buildx imagetools inspect {name}` prints its digest: write `{name}@sha256:…` in robots.toml"
            ))
            .into());
    };
    let (id, found) = found.split_once(' ').unwrap_or_default();
    let is_for_platform = found == format!("linux/{}", platform.arch);
    // The containerd store may have an image for several platforms; engines before 28 do not tell.
    let platform_name = platform.to_string();
    if !is_for_platform && !cmd!("docker image inspect --platform {platform_name} {name}")?.succeeds()? {
        return Err(Failure::config(format!("{role}, {name}, is for {found}, not for {platform}"))
            .hint(format!(
                "give the images of robots with {platform} a base of their own, with an image for {platform}"
            ))
            .into());
    }
    Ok(id.to_owned())
}

/// Size of an image in this machine's store, for people; `None` if it is not there.
pub(super) fn size(name: &str) -> Option<String> {
    let size = cmd!("docker image inspect --format '{{.Size}}' {name}").ok()?.read().ok()?;
    size.parse().ok().map(ui::bytes)
}

/// Adds to the error of a pull what Docker said, the remedies, and the platforms that the image has.
fn explain(reference: &str, platform: &Platform, said: &str, error: anyhow::Error) -> anyhow::Error {
    let has_no_platform =
        ["no matching manifest", "no match for platform", "does not match the specified platform"];
    if has_no_platform.iter().any(|words| said.contains(words)) {
        let failure = Failure::config(format!("the image {reference} is not made for {platform}"));
        let platforms = platforms(reference).unwrap_or_default();
        let hint = match platforms.is_empty() {
            true => format!("`docker buildx imagetools inspect {reference}` lists its platforms"),
            false => format!("it is made for {platforms}"),
        };
        return failure.hint(hint).caused_by(error);
    }
    let error = if said.is_empty() { error } else { error.context(said.trim().to_owned()) };
    Failure::failed(format!("the image {reference} cannot be pulled"))
        .hint("the first build needs its registry, later ones do not; `docker login` for a private one")
        .hint(
            "without internet: `docker save` it on a machine that has it, `docker load` it here; if it is still pulled, write its name without the digest in robots.toml, or remove its line from images.lock",
        )
        .caused_by(error)
}

/// Platforms of an image in a registry.
fn platforms(reference: &str) -> Result<String> {
    let format = "{{range .Manifest.Manifests}}{{with .Platform}}{{.OS}}/{{.Architecture}} {{end}}{{end}}";
    let known = cmd!("docker buildx imagetools inspect --format {format} {reference}")?.read()?;
    let known: BTreeSet<&str> = known.split_whitespace().filter(|name| !name.contains("unknown")).collect();
    Ok(known.into_iter().collect::<Vec<_>>().join(", "))
}

/// Shows how many layers have arrived, and adds all other lines to `said`.
fn layers(said: Arc<Mutex<String>>) -> LineFilter {
    let progress = Progress::new("image");
    let (mut all, mut here) = (BTreeSet::new(), BTreeSet::new());
    Box::new(move |line| {
        match line.split_once(": ") {
            Some((layer, "Pulling fs layer")) => {
                all.insert(layer.to_owned());
            }
            Some((layer, "Pull complete" | "Download complete" | "Already exists")) => {
                here.insert(layer.to_owned());
            }
            // Other states of a layer, which is called by 12 hexadecimal digits.
            Some((layer, _)) if layer.len() == 12 => {}
            _ => said.lock().push_str(&format!("{line}\n")),
        }
        if !all.is_empty() {
            progress.waiting(&format!("pulling: {} of {} layers", here.len(), all.union(&here).count()));
        }
        if crate::mode::verbose() { vec![line.to_owned()] } else { Vec::new() }
    })
}
