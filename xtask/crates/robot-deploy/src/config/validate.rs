//! Validates the raw content of `robots.toml`: names, cross-references, files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use toml::Spanned;

use super::condition::Variables;
use super::diagnostic::{Mistakes, shown_from};
use super::discover::{self, Found};
use super::keys::Reader;
use super::names;
use super::paths;
use super::raw::{Raw, RawBase, RawImage, RawPackage, RawProject, Text};
use super::repositories::absent;
use super::{
    Base, BaseSource, Hub, Image, PackageSettings, Project, Releases, Robot, Workspace, releases, repository,
    robots,
};
use crate::digest::Digest;
use crate::error::Result;

/// Directory of the colcon workspace, unless `ros_workspace` is set.
const ROS_WORKSPACE: &str = "ros_ws";
/// Dockerfile of a base, unless `dockerfile` is set.
const DOCKERFILE: &str = "docker/ros.Dockerfile";
/// Debian suites, to detect misspellings. Other names are accepted too, since Debian adds new suites.
const SUITES: [&str; 8] =
    ["bookworm", "trixie", "forky", "bullseye", "oldstable", "stable", "testing", "unstable"];

/// Returns the workspace, or an error with all mistakes.
pub(super) fn workspace(
    raw: &Raw<'_>,
    root: &Utf8Path,
    here: &Utf8Path,
    mut reader: Reader<'_>,
) -> Result<Workspace> {
    let project = raw.project.as_ref().and_then(|project_raw| {
        project(project_raw, raw.images.iter().any(|image| image.build.is_none()), root, &mut reader)
    });
    let mut found = match &project {
        Some(project) => discover::packages(&project.sources(), here, &Variables::default())?,
        None => Found::default(),
    };
    let bases: Vec<Base> = raw.bases.iter().filter_map(|raw| base(raw, root, &mut reader)).collect();
    let images: Vec<Image> = raw
        .images
        .iter()
        .filter(|image_raw| image_raw.build.is_none())
        .filter_map(|image_raw| image(image_raw, raw, project.as_ref(), root, &found, &mut reader))
        .collect();
    let dockerfiles =
        raw.images.iter().filter_map(|raw| dockerfile(raw, project.as_ref()?, root, &mut reader)).collect();
    let settings = raw
        .packages
        .iter()
        .filter_map(|raw| settings(raw, root, project.as_ref()?, &found, &mut reader))
        .collect();
    let robots: Vec<Robot> =
        raw.robots.iter().filter_map(|raw| robots::robot(raw, root, here, &mut reader)).collect();
    let hub = raw.hub.as_ref().and_then(|hub| self::hub(hub.repository.as_ref()?, &mut reader));
    let releases =
        raw.releases.as_ref().map_or_else(Releases::default, |raw| releases::releases(raw, &mut reader));
    let help = "write the number of compilers that may run at the same time, from 1 to 1000";
    let jobs = releases::number("jobs", raw.jobs.as_ref(), 1..=1000, help, &mut reader);
    let help =
        "write the seconds without a save after which `watch` makes a release of live edits, from 1 to 86400";
    let settle = releases::number("settle", raw.watch_settle.as_ref(), 1..=86_400, help, &mut reader);

    let mut mistakes = reader.mistakes;
    let skipped = skip_broken(&mut found, &images, &mut mistakes);
    mistakes.extend(found.mistakes);
    let (Some(project), true) = (project, mistakes.is_empty()) else { return Err(mistakes.into_error()) };
    Ok(Workspace {
        root: root.to_owned(),
        project,
        bases: by_name(bases, |base| &base.name),
        images: by_name(images, |image| &image.name),
        dockerfiles,
        robots: by_name(robots, |robot| &robot.name),
        hub,
        jobs,
        releases,
        watch_settle: Duration::from_secs(settle.unwrap_or(20).into()),
        packages: found.graph,
        settings,
        skipped,
        on_bases: BTreeMap::new(),
    })
}

/// Reports the `package.xml` files that cannot be read if an image needs their packages, or may need them. Otherwise returns
/// their mistakes, each in one line.
fn skip_broken(found: &mut Found, images: &[Image], mistakes: &mut Mistakes) -> Vec<String> {
    let listed: Vec<&String> = images.iter().flat_map(|image| &image.packages).collect();
    let is_unknown = listed.iter().any(|name| found.graph.get(name).is_none());
    let closure = found.graph.full_closure(&listed);
    let named: BTreeSet<String> =
        closure.iter().flat_map(|package| &package.outside).map(|key| key.name.clone()).collect();
    let mut skipped = Vec::new();
    for (name, broken) in std::mem::take(&mut found.broken) {
        if is_unknown || named.contains(&name) {
            mistakes.extend(broken);
        } else {
            skipped.push(broken.in_one_line());
        }
    }
    skipped
}

fn by_name<T>(values: Vec<T>, name: impl Fn(&T) -> &String) -> BTreeMap<String, T> {
    values.into_iter().map(|value| (name(&value).clone(), value)).collect()
}

fn project(
    raw: &RawProject<'_>,
    has_images: bool,
    root: &Utf8Path,
    reader: &mut Reader<'_>,
) -> Option<Project> {
    if let Some(name) = &raw.name {
        reader.check_name(name, names::project);
    }
    let (span, ros_workspace) = match &raw.ros_workspace {
        Some(text) => (text.span(), paths::inside("ros_workspace", text, root, reader)?),
        None => (raw.span.clone(), root.join(ROS_WORKSPACE)),
    };
    if !ros_workspace.is_dir() && (has_images || raw.ros_workspace.is_some()) {
        let shown = ros_workspace.strip_prefix(root).unwrap_or(&ros_workspace);
        let message = format!("the ROS workspace `{shown}` is not a directory");
        reader.refuse(
            span,
            message,
            "set `ros_workspace` to the directory where you run `colcon build`, `.` for this one",
        );
        return None;
    }
    Some(Project { name: raw.name.as_ref()?.get_ref().to_string(), ros_workspace })
}

fn hub(text: &Text<'_>, reader: &mut Reader<'_>) -> Option<Hub> {
    match repository::parse(text.get_ref()) {
        Ok(repository) => Some(Hub { repository }),
        Err((problem, help)) => {
            reader.refuse(text.span(), problem, help);
            None
        }
    }
}

fn base(raw: &RawBase<'_>, root: &Utf8Path, reader: &mut Reader<'_>) -> Option<Base> {
    reader.check_name(&raw.name, names::tag);
    let name = *raw.name.get_ref();
    if raw.sources != 1 {
        let problem = if raw.sources == 0 {
            "has neither `debian` nor `image`"
        } else {
            "has both `debian` and `image`"
        };
        let help = "set exactly one: `debian = \"trixie\"`, or `image = \"NAME@sha256:…\"` with an image of a registry, or `image = \"NAME:TAG\"` with one of this machine";
        reader.refuse(raw.name.span(), format!("base `{}` {problem}", name.escape_debug()), help);
    }
    let debian = raw.debian.as_ref().and_then(|text| suite(text, reader));
    let image = raw.image.as_ref().and_then(|text| base_image(text, reader));
    let dockerfile = match &raw.dockerfile {
        Some(text) => paths::file_inside("dockerfile", text, root, reader),
        None => paths::existing_file("dockerfile", raw.name.span(), root, root.join(DOCKERFILE), reader),
    };
    Some(Base { name: name.to_owned(), source: debian.or(image)?, dockerfile: dockerfile? })
}

fn suite(text: &Text<'_>, reader: &mut Reader<'_>) -> Option<BaseSource> {
    let suite = *text.get_ref();
    let allowed = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-');
    let well_formed =
        suite.starts_with(|first: char| first.is_ascii_lowercase()) && suite.chars().all(allowed);
    let near = names::nearest(suite, SUITES).filter(|near| *near != suite);
    if well_formed && near.is_none() {
        return Some(BaseSource::Debian { suite: suite.to_owned() });
    }
    let message = format!("`{}` is not a Debian suite", suite.escape_debug());
    let help = near.map_or("write the code name of a release, for instance `trixie`".to_owned(), |near| {
        format!("did you mean `{near}`?")
    });
    reader.refuse(text.span(), message, help);
    None
}

fn base_image(text: &Text<'_>, reader: &mut Reader<'_>) -> Option<BaseSource> {
    let reference = *text.get_ref();
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    let shown = reference.escape_debug();
    if !repository::is_name(repository) || tag.is_some_and(|tag| names::tag(tag).is_err()) {
        let help = "write `REGISTRY/NAME:TAG@sha256:…` for an image of a registry, `NAME:TAG` for one of this machine, with the name in lower case";
        reader.refuse(text.span(), format!("`{shown}` is not a valid image reference"), help);
        return None;
    }
    let Some(digest) = digest else {
        return Some(BaseSource::Local { name: reference.to_owned() });
    };
    if digest.parse::<Digest>().is_err() {
        let message =
            format!("base image `{shown}` has an invalid digest: `sha256:` needs 64 hexadecimal digits");
        let help = format!("`docker buildx imagetools inspect {name}` prints the digest");
        reader.refuse(text.span(), message, help);
        return None;
    }
    Some(BaseSource::Registry { reference: reference.to_owned() })
}

fn image(
    raw: &RawImage<'_>,
    all: &Raw<'_>,
    project: Option<&Project>,
    root: &Utf8Path,
    found: &Found,
    reader: &mut Reader<'_>,
) -> Option<Image> {
    reader.check_name(&raw.name, names::tag);
    let name = *raw.name.get_ref();
    let known: Vec<&str> = all.bases.iter().map(|base| *base.name.get_ref()).collect();
    let base = match (&raw.base, known.as_slice()) {
        (Some(base), _) if known.contains(base.get_ref()) => Some(*base.get_ref()),
        (Some(base), _) => {
            let message = format!("unknown base `{}` in image `{name}`", base.get_ref().escape_debug());
            reader.refuse(
                base.span(),
                message,
                names::instead("bases", base.get_ref(), known.iter().copied()),
            );
            None
        }
        (None, [only]) => Some(*only),
        (None, []) => None,
        (None, [first, ..]) => {
            let help = format!("add `base = \"{first}\"`; the bases are {}", names::list(&known));
            reader.refuse(
                raw.name.span(),
                format!("image `{name}` needs a `base`, because there are several"),
                help,
            );
            None
        }
    };
    let packages = packages(name, raw.packages.as_ref()?, project, root, found, reader);
    Some(Image { name: name.to_owned(), base: base?.to_owned(), packages })
}

/// The build of an image with a Dockerfile of its own, as Compose writes it, with paths that begin with `./` in the repository.
fn dockerfile(
    raw: &RawImage<'_>,
    project: &Project,
    root: &Utf8Path,
    reader: &mut Reader<'_>,
) -> Option<(String, serde_json::Value)> {
    let build = raw.build.as_ref()?;
    reader.check_name(&raw.name, names::tag);
    let context = match &build.context {
        Some(text) => paths::inside("context", text, root, reader)?,
        None => root.to_owned(),
    };
    let written = build.dockerfile.as_ref().map_or("Dockerfile", |text| *text.get_ref());
    let spans = [&build.dockerfile, &build.context].map(|text| text.as_ref().map(Spanned::span));
    let span = spans.into_iter().flatten().next().unwrap_or_else(|| raw.name.span());
    paths::existing_file("dockerfile", span, root, context.join(written), reader)?;
    let args: BTreeMap<_, _> =
        build.args.iter().map(|(name, value)| (*name.get_ref(), *value.get_ref())).collect();
    let name = *raw.name.get_ref();
    let definition = serde_json::json!({
        "image": format!("{}:{name}", project.name),
        "context": format!("./{}", context.strip_prefix(root).unwrap_or(&context)),
        "dockerfile": written,
        "target": build.target.as_ref().map(|text| *text.get_ref()),
        "args": args,
    });
    Some((name.to_owned(), definition))
}

fn packages(
    image: &str,
    listed: &Spanned<Vec<Text<'_>>>,
    project: Option<&Project>,
    root: &Utf8Path,
    found: &Found,
    reader: &mut Reader<'_>,
) -> Vec<String> {
    let mut packages: Vec<String> = Vec::new();
    for text in listed.get_ref() {
        let package = *text.get_ref();
        let known = found.names();
        if packages.iter().any(|earlier| earlier == package) {
            let help = "remove one of the two";
            reader.refuse(
                text.span(),
                format!("package `{package}` is listed twice in image `{image}`"),
                help,
            );
        } else if project.is_some() && !known.contains(&package) && !found.is_broken(package) {
            let message = format!("unknown package `{}` in image `{image}`", package.escape_debug());
            let help = names::instead("packages", package, known.iter().copied());
            let clue = project.and_then(|project| clue(project, package));
            let clue = clue.or_else(|| absent(root, &project?.sources()));
            let mistake = reader.source.mistake(text.span(), message).help(help).help_if(clue);
            reader.mistakes.add(mistake);
        }
        packages.push(package.to_owned());
    }
    packages
}

/// Reads `[packages.NAME]`.
fn settings(
    raw: &RawPackage<'_>,
    root: &Utf8Path,
    project: &Project,
    found: &Found,
    reader: &mut Reader<'_>,
) -> Option<(String, PackageSettings)> {
    let name = *raw.name.get_ref();
    let package = found.graph.get(name);
    if package.is_none() {
        let message = format!("unknown package `{}`", name.escape_debug());
        reader.refuse(raw.name.span(), message, names::instead("packages", name, found.names()));
    }
    let known: Vec<&str> =
        package.iter().flat_map(|package| &package.outside).map(|key| key.name.as_str()).collect();
    for key in raw.ignore.iter().filter(|key| package.is_some() && !known.contains(key.get_ref())) {
        let key_name = key.get_ref();
        let message =
            format!("`{name}` has no dependency `{}` outside of the workspace", key_name.escape_debug());
        let help = names::instead("dependencies", key_name, known.iter().copied());
        reader.refuse(key.span(), message, help);
    }
    let mut also = Vec::new();
    for text in &raw.also {
        let path = paths::inside("also", text, root, reader)?;
        let own = package.map(|package| project.sources().join(&package.dir));
        if !path.exists() {
            let message = format!("`also`: there is no `{}`", text.get_ref().escape_debug());
            reader.refuse(
                text.span(),
                message,
                "write the path of a file or directory, from the directory of `robots.toml`",
            );
        } else if let Some(bad) = discover::unsafe_character(&path) {
            let message = format!("`also`: the path has {}", names::shown(bad));
            reader.refuse(
                text.span(),
                message,
                "use only letters, digits, `_`, `-`, `.`, `+` and `@` in it, which are safe in a Dockerfile",
            );
        } else if own.is_some_and(|own| path.starts_with(&own) || own.starts_with(&path)) {
            let message =
                format!("`also`: `{}` contains the package or is in it", text.get_ref().escape_debug());
            reader.refuse(text.span(), message, "name what the build reads beside the package");
        }
        also.push(path);
    }
    let ignore = raw.ignore.iter().map(|key| (*key.get_ref()).to_owned()).collect();
    Some((name.to_owned(), PackageSettings { ignore, also }))
}

/// Explains for a directory of that name why it is not a package.
fn clue(project: &Project, package: &str) -> Option<String> {
    let src = project.sources();
    let directory: Utf8PathBuf = src.join(package);
    if package.contains(['/', '.']) || !directory.is_dir() {
        return None;
    }
    let shown = shown_from(&directory, project.ros_workspace.parent()?);
    Some(match discover::ignored_by(&directory) {
        Some(marker) => format!("`{shown}` is skipped because it contains the file `{marker}`"),
        None if discover::leads_out(&src, &directory) => format!(
            "`{shown}` is a symbolic link that leads out of `src/`, and a build sees only the files in `src/`: move the package there"
        ),
        None => format!("`{shown}` has no `package.xml`"),
    })
}
