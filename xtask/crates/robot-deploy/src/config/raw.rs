//! Raw content of `robots.toml`: keys with their types and places. [`validate`](super::validate) checks the
//! values.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::keys::{Keys, OneOrMore, Reader};

/// A string with its place in the file.
pub(super) type Text<'a> = Spanned<&'a str>;

/// The whole file.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    pub project: Option<RawProject<'a>>,
    pub bases: Vec<RawBase<'a>>,
    pub images: Vec<RawImage<'a>>,
    pub packages: Vec<RawPackage<'a>>,
    pub robots: Vec<RawRobot<'a>>,
    pub hub: Option<RawHub<'a>>,
    /// `jobs` of `[build]`.
    pub jobs: Option<Spanned<i64>>,
    pub releases: Option<RawReleases>,
    /// `settle` of `[watch]`.
    pub watch_settle: Option<Spanned<i64>>,
}

#[derive(Debug)]
pub(super) struct RawReleases {
    pub keep: Option<Spanned<i64>>,
    pub settle: Option<Spanned<i64>>,
    pub deadline: Option<Spanned<i64>>,
}

#[derive(Debug)]
pub(super) struct RawBusy<'a> {
    pub span: Range<usize>,
    /// Number of keys among `command`, `lock` and `heartbeat`, valid or not.
    pub tests: usize,
    pub command: Option<Spanned<Vec<Text<'a>>>>,
    pub lock: Option<Text<'a>>,
    pub heartbeat: Option<Text<'a>>,
    pub service: Option<Text<'a>>,
    pub within: Option<Spanned<i64>>,
}

#[derive(Debug)]
pub(super) struct RawProject<'a> {
    pub span: Range<usize>,
    pub name: Option<Text<'a>>,
    pub ros_workspace: Option<Text<'a>>,
}

#[derive(Debug)]
pub(super) struct RawHub<'a> {
    pub repository: Option<Text<'a>>,
}

#[derive(Debug)]
pub(super) struct RawBase<'a> {
    pub name: Text<'a>,
    pub debian: Option<Text<'a>>,
    pub image: Option<Text<'a>>,
    /// Number of keys among `debian` and `image`, valid or not.
    pub sources: usize,
    pub dockerfile: Option<Text<'a>>,
}

#[derive(Debug)]
pub(super) struct RawImage<'a> {
    pub name: Text<'a>,
    pub base: Option<Text<'a>>,
    pub packages: Option<Spanned<Vec<Text<'a>>>>,
    /// In place of packages.
    pub build: Option<RawBuild<'a>>,
}

/// A Dockerfile of its own, as in `build` of a Compose file.
#[derive(Debug)]
pub(super) struct RawBuild<'a> {
    pub context: Option<Text<'a>>,
    pub dockerfile: Option<Text<'a>>,
    pub target: Option<Text<'a>>,
    pub args: Vec<(Text<'a>, Text<'a>)>,
}

#[derive(Debug)]
pub(super) struct RawPackage<'a> {
    pub name: Text<'a>,
    pub ignore: Vec<Text<'a>>,
    pub also: Vec<Text<'a>>,
}

#[derive(Debug)]
pub(super) struct RawRobot<'a> {
    pub name: Text<'a>,
    pub simulated: Option<Spanned<bool>>,
    pub store: Option<Text<'a>>,
    pub host: Option<Text<'a>>,
    pub port: Option<Spanned<i64>>,
    pub platform: Option<Text<'a>>,
    pub compose: Option<OneOrMore<'a>>,
    pub env: Vec<(Text<'a>, Text<'a>)>,
    pub env_files: Vec<Text<'a>>,
    pub busy: Option<RawBusy<'a>>,
    pub reconnect: Option<Spanned<i64>>,
    pub keep_connection: Option<Spanned<i64>>,
    pub registry_port: Option<Spanned<i64>>,
    /// Keys that are present but invalid, so that they are not reported as missing too.
    pub invalid: Vec<&'static str>,
}

impl<'a> Raw<'a> {
    /// Reads all tables, and collects mistakes in `reader`.
    pub(super) fn read(table: &'a DeTable<'a>, reader: &mut Reader<'_>) -> Self {
        let mut top = Keys::top(table);
        let project = top.table("project", reader).map(|keys| project(keys, reader));
        let bases = top.tables("bases", reader);
        let bases = bases.into_iter().map(|(name, keys)| base(name, keys, reader)).collect();
        let images = top.tables("images", reader);
        let images: Vec<_> = images.into_iter().map(|(name, keys)| image(name, keys, reader)).collect();
        let packages = top.tables("packages", reader);
        let packages = packages.into_iter().map(|(name, keys)| package(name, keys, reader)).collect();
        let robots = top.tables("robots", reader);
        let robots = robots.into_iter().map(|(name, keys)| robot(name, keys, reader)).collect();
        let hub = top.table("hub", reader).map(|keys| hub(keys, reader));
        let jobs = top
            .table("build", reader)
            .and_then(|keys| only(keys, reader, |keys, reader| keys.integer("jobs", reader)));
        let releases = top.table("releases", reader).map(|keys| releases(keys, reader));
        let watch_settle = top
            .table("watch", reader)
            .and_then(|keys| only(keys, reader, |keys, reader| keys.integer("settle", reader)));
        // A repository may have nothing but Dockerfiles and a Compose file.
        let have_none = images.iter().all(|image| image.build.is_some());
        let has_no_packages = top.lacks("bases") && have_none && top.lacks("packages");
        for (key, example) in [
            ("project", "add `[project]` with `name = \"eurobot\"`"),
            ("bases", "add `[bases.ros]` with `debian = \"trixie\"`"),
            ("images", "add `[images.NAME]` with `packages = [\"…\"]`"),
            ("robots", "add `[robots.main]` with `simulated = true` or `host = \"user@host\"`"),
        ] {
            if has_no_packages && ["bases", "images"].contains(&key) {
                continue;
            }
            let is_empty = |table: &DeTable<'_>| key != "project" && table.is_empty();
            let there = table.get(key).and_then(|value| value.get_ref().as_table());
            if top.lacks(key) || there.is_some_and(is_empty) {
                let missing =
                    if key == "project" { "`[project]`".to_owned() } else { format!("`[{key}.NAME]`") };
                reader.refuse(top.span_of(key), format!("the table {missing} is missing"), example);
            }
        }
        top.finish(reader);
        Self { project, bases, images, packages, robots, hub, jobs, releases, watch_settle }
    }
}

fn project<'a>(mut keys: Keys<'a>, reader: &mut Reader<'_>) -> RawProject<'a> {
    if keys.lacks("name") {
        reader.refuse(keys.span.clone(), "`[project]` has no `name`", "add `name = \"eurobot\"`");
    }
    let project = RawProject {
        span: keys.span.clone(),
        name: keys.string("name", reader),
        ros_workspace: keys.string("ros_workspace", reader),
    };
    keys.finish(reader);
    project
}

fn hub<'a>(mut keys: Keys<'a>, reader: &mut Reader<'_>) -> RawHub<'a> {
    if keys.lacks("repository") {
        let help = "add `repository = \"registry.example.org/team/eurobot\"`";
        reader.refuse(keys.span.clone(), "`[hub]` has no `repository`", help);
    }
    let hub = RawHub { repository: keys.string("repository", reader) };
    keys.finish(reader);
    hub
}

/// Reads a table with one key.
fn only<'a, T>(
    mut keys: Keys<'a>,
    reader: &mut Reader<'_>,
    read: impl FnOnce(&mut Keys<'a>, &mut Reader<'_>) -> T,
) -> T {
    let value = read(&mut keys, reader);
    keys.finish(reader);
    value
}

fn releases(mut keys: Keys<'_>, reader: &mut Reader<'_>) -> RawReleases {
    let releases = RawReleases {
        keep: keys.integer("keep", reader),
        settle: keys.integer("settle", reader),
        deadline: keys.integer("deadline", reader),
    };
    keys.finish(reader);
    releases
}

fn busy<'a>(mut keys: Keys<'a>, reader: &mut Reader<'_>) -> RawBusy<'a> {
    let busy = RawBusy {
        span: keys.span.clone(),
        tests: ["command", "lock", "heartbeat"].into_iter().filter(|key| !keys.lacks(key)).count(),
        command: keys.strings("command", reader),
        lock: keys.string("lock", reader),
        heartbeat: keys.string("heartbeat", reader),
        service: keys.string("service", reader),
        within: keys.integer("within", reader),
    };
    keys.finish(reader);
    busy
}

fn base<'a>(name: Text<'a>, mut keys: Keys<'a>, reader: &mut Reader<'_>) -> RawBase<'a> {
    let base = RawBase {
        name,
        debian: keys.string("debian", reader),
        image: keys.string("image", reader),
        sources: ["debian", "image"].into_iter().filter(|key| !keys.lacks(key)).count(),
        dockerfile: keys.string("dockerfile", reader),
    };
    keys.finish(reader);
    base
}

/// Keys of an image with a Dockerfile of its own.
const BUILD: [&str; 4] = ["context", "dockerfile", "target", "args"];

fn image<'a>(name: Text<'a>, mut keys: Keys<'a>, reader: &mut Reader<'_>) -> RawImage<'a> {
    if BUILD.iter().any(|key| !keys.lacks(key)) && keys.lacks("packages") && keys.lacks("base") {
        let build = RawBuild {
            context: keys.string("context", reader),
            dockerfile: keys.string("dockerfile", reader),
            target: keys.string("target", reader),
            args: keys.string_table("args", reader),
        };
        keys.finish(reader);
        return RawImage { name, base: None, packages: None, build: Some(build) };
    }
    if keys.lacks("packages") {
        let message = format!("{} has no `packages`", keys.name());
        reader.refuse(
            keys.span.clone(),
            message,
            "add `packages = [\"…\"]` with the colcon packages of the image, or `context = \"…\"` with the directory of its Dockerfile",
        );
    }
    let (base, packages) = (keys.string("base", reader), keys.strings("packages", reader));
    let other = if keys.lacks("packages") { "base" } else { "packages" };
    for key in BUILD {
        let help = "keep one: `packages` are built in a `base`, and `context` is the directory of a Dockerfile of its own";
        keys.refuse(key, other, help, reader);
    }
    let image = RawImage { name, base, packages, build: None };
    keys.finish(reader);
    image
}

fn package<'a>(name: Text<'a>, mut keys: Keys<'a>, reader: &mut Reader<'_>) -> RawPackage<'a> {
    if keys.lacks("ignore") && keys.lacks("also") {
        let message = format!("{} has no `ignore` and no `also`", keys.name());
        let help = "add `ignore = [\"…\"]` with dependencies from its package.xml that nothing needs, or `also = [\"…\"]` with files outside of it that its build reads";
        reader.refuse(keys.span.clone(), message, help);
    }
    let ignore = keys.strings("ignore", reader).map(Spanned::into_inner).unwrap_or_default();
    let also = keys.strings("also", reader).map(Spanned::into_inner).unwrap_or_default();
    keys.finish(reader);
    RawPackage { name, ignore, also }
}

fn robot<'a>(name: Text<'a>, mut keys: Keys<'a>, reader: &mut Reader<'_>) -> RawRobot<'a> {
    let mut robot = RawRobot {
        name,
        simulated: keys.boolean("simulated", reader),
        store: keys.string("store", reader),
        host: keys.string("host", reader),
        port: keys.integer("port", reader),
        platform: keys.string("platform", reader),
        compose: keys.string_or_strings("compose", reader),
        env: keys.string_table("env", reader),
        env_files: keys.strings("env_files", reader).map(Spanned::into_inner).unwrap_or_default(),
        busy: keys.table("busy", reader).map(|keys| busy(keys, reader)),
        reconnect: keys.integer("reconnect", reader),
        keep_connection: keys.integer("keep_connection", reader),
        registry_port: keys.integer("registry_port", reader),
        invalid: Vec::new(),
    };
    let read = [
        ("simulated", robot.simulated.is_some()),
        ("host", robot.host.is_some()),
        ("platform", robot.platform.is_some()),
        ("compose", robot.compose.is_some()),
    ];
    robot.invalid =
        read.iter().filter(|(key, read)| !read && !keys.lacks(key)).map(|(key, _)| *key).collect();
    keys.finish(reader);
    robot
}
