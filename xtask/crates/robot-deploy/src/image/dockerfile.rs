//! Generates the Dockerfile: hand-written stages, followed by stages from the package graph.
//!
//! The hand-written part (`docker/ros.Dockerfile`) must define the stages `runtime` and `build-tools`, the
//! latter with the commands `build-package NAME`, `test-package NAME`, and for dependencies `resolve-dependencies` and
//! `install-dependencies`. `build-package` installs a package below `/out`. colcon's own files of the workspace are in
//! `/opt/ws/colcon/`, if the workspace has them.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::needed::needed;
use crate::config::{Base, Image, Package, PackageGraph, Workspace};
use crate::error::{Failure, Result};
use crate::process::end_marker;

/// Most package layers of an image. Overlay storage mounts about 127 layers (options of mount(2) fill one
/// page), and the base and the team's own runtime layers need some of them.
const PACKAGE_LAYERS: usize = 100;

/// Moves what a package has installed away from the root directory. Before BuildKit copies a path from a stage, it reads
/// all files next to it (`scanPath` of its `contenthash`), and the build tools have tens of thousands; hence `/made/`.
pub(super) const MOVE: &str = " && mkdir /made && mv /out /made/";

/// Command that writes facts about a stage, one file for each kind, see [`facts`](super::facts).
const FACTS: &str = r#"USER root
RUN mkdir /made /made/facts; cd /made/facts; \
    [ ! -e /opt/ws/environment.sh ] || . /opt/ws/environment.sh; \
    env -0 > environment; \
    IFS=:; for prefix in ${AMENT_PREFIX_PATH:-}; do ls "$prefix/share/ament_index/resource_index/packages"; done > ros 2>/dev/null; \
    unset IFS; \
    dpkg-query --show --showformat '${Package} ${Provides}\n' > debian 2>/dev/null; \
    cat /opt/ws/rosdep-keys >> debian 2>/dev/null; \
    python3 -c "import importlib.metadata as m; print(*m.packages_distributions(), *(d.metadata['Name'] for d in m.distributions()), sep='\n')" > python 2>/dev/null; \
    true
"#;

/// Instructions that install what the tests of a package need besides what builds need.
const TEST_DEPENDENCIES: &str = r#"ARG TEST_DEPENDENCIES
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    install-dependencies apt $TEST_DEPENDENCIES && install-dependencies pip $TEST_DEPENDENCIES
"#;

/// Stage that asks rosdep, see [`dependencies`](super::dependencies).
const ROSDEP: &str = r#"
FROM build-tools AS rosdep-of-base
USER root
ARG KEYS TIME
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=bind,from=docker,target=/docker \
    --mount=type=bind,from=base,target=/base \
    [ ! -e /opt/ws/environment.sh ] || . /opt/ws/environment.sh; \
    resolve-dependencies /made/rosdep/answer.json $KEYS

FROM scratch AS rosdep
COPY --from=rosdep-of-base /made/rosdep/ /
"#;

/// Directory of the sources of packages in a build.
const SOURCES: &str = "/ws/build/src";

/// Named context with the whole repository, for packages that read more than their own directory.
pub(super) const REPOSITORY: &str = "repository";

/// Files of a colcon workspace that change how packages are built.
pub(super) const COLCON_FILES: [&str; 2] = ["colcon.meta", "colcon_defaults.yaml"];

/// A stage of the hand-written Dockerfile: its name, what it is for, and what it has to have.
type Stage = (&'static str, &'static str, &'static str);

const BUILD_TOOLS: Stage =
    ("build-tools", "packages are built in it", "colcon and the compilers, and `build-package`");
const RUNTIME: Stage = ("runtime", "images begin with it", "what the packages need when they run");
const DEV_SHELL: Stage = ("dev-shell", "`cargo xtask dev-shell` runs in it", "the build tools and a user");

/// Checks that the hand-written Dockerfile has a stage.
///
/// # Errors
/// Fails with exit code 2 if it has not: BuildKit would look for an image of that name in a registry.
fn require(workspace: &Workspace, base: &Base, text: &str, (stage, purpose, content): Stage) -> Result<()> {
    let is_stage = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(str::to_lowercase).collect();
        words.first().is_some_and(|word| word == "from")
            && words.ends_with(&["as".to_owned(), stage.to_owned()])
    };
    if text.lines().any(is_stage) {
        return Ok(());
    }
    let file = workspace.relative(&base.dockerfile);
    Err(Failure::config(format!("`{file}` has no stage `{stage}`: {purpose}"))
        .hint(format!(
            "add one, `FROM base AS {stage}`, with {content}, as the Dockerfile of the example has it"
        ))
        .hint(
            "a Dockerfile of another kind can be built as it is, by `build` of a service in the Compose file",
        )
        .into())
}

/// Checks that the hand-written Dockerfile has the stage of [`super::tools`].
///
/// # Errors
/// Fails with exit code 2 if it has not.
pub(super) fn require_dev_shell(workspace: &Workspace, base: &Base) -> Result<()> {
    require(workspace, base, &fs_err::read_to_string(&base.dockerfile)?, DEV_SHELL)
}

/// Returns the Dockerfile of the images on `base`.
pub fn render(workspace: &Workspace, base: &Base) -> Result<String> {
    let mut text = fs_err::read_to_string(&base.dockerfile)?;
    let images: Vec<&Image> = workspace.images.values().filter(|image| image.base == base.name).collect();
    text.push_str("\n# From here on: generated by `cargo xtask` from the package.xml files.\n");
    let graph = workspace.packages_on(&base.name);
    let packages = packages_of(graph, &images);
    let stages = [(BUILD_TOOLS, packages.is_empty()), (RUNTIME, images.is_empty())];
    for (stage, _) in stages.into_iter().filter(|(_, is_unused)| !is_unused) {
        require(workspace, base, &text, stage)?;
    }
    let colcon = colcon_files(workspace)?;
    for package in &packages {
        write_build(&mut text, workspace, base, package, &colcon);
    }
    // A stage can only copy from stages above it, and tests may need packages that come after their own.
    let needed = needed(workspace, base);
    for package in &packages {
        let needs_more = needed.values().any(|needed| needed.is_for_tests_of(&package.name));
        write_test(&mut text, workspace, base, package, needs_more);
    }
    for image in images {
        write_image(&mut text, graph, image);
    }
    for (stage, name) in [("build-tools", "build"), ("runtime", "run")] {
        text.push_str(&format!("\nFROM {stage} AS facts-of-{name}\n{FACTS}"));
    }
    text.push_str("\nFROM scratch AS facts\nCOPY --from=facts-of-build /made/facts/ /build/\nCOPY --from=facts-of-run /made/facts/ /run/\n");
    text.push_str(ROSDEP);
    Ok(text)
}

/// Packages that the images and their packages' tests need, dependencies first.
fn packages_of<'a>(graph: &'a PackageGraph, images: &[&Image]) -> Vec<&'a Package> {
    graph.full_closure(images.iter().flat_map(|image| &image.packages))
}

/// Names of the packages to test for the images on `base`.
pub(super) fn tested_packages<'a>(workspace: &'a Workspace, base: &Base) -> Vec<&'a str> {
    let images: Vec<&Image> = workspace.images.values().filter(|image| image.base == base.name).collect();
    packages_of(workspace.packages_on(&base.name), &images)
        .into_iter()
        .map(|package| package.name.as_str())
        .collect()
}

/// Instructions that write colcon's files of the workspace, which have settings for all packages or for some by name.
fn colcon_files(workspace: &Workspace) -> Result<String> {
    let mut text = String::new();
    for name in COLCON_FILES {
        let path = workspace.project.ros_workspace.join(name);
        if path.is_file() {
            let content = fs_err::read_to_string(path)?;
            let end = end_marker("END-OF-FILE", &content);
            let content = content.trim_end_matches('\n');
            line(&mut text, &format!("COPY <<'{end}' /opt/ws/colcon/{name}\n{content}\n{end}"));
        }
    }
    Ok(text)
}

/// Name of a package's stage: BuildKit takes no capital letters, and no two packages differ in these only.
pub(super) fn stage(kind: &str, package: &str) -> String {
    format!("{kind}-{}", package.to_lowercase())
}

fn write_build(text: &mut String, workspace: &Workspace, base: &Base, package: &Package, colcon: &str) {
    let graph = workspace.packages_on(&base.name);
    let name = &package.name;
    line(text, &format!("\nFROM build-tools AS {}", stage("build", name)));
    text.push_str(colcon);
    for other in graph.build_closure(name) {
        copy(text, other);
    }
    run(text, workspace, base, package, "build-package", MOVE);
}

fn write_test(text: &mut String, workspace: &Workspace, base: &Base, package: &Package, needs_more: bool) {
    let graph = workspace.packages_on(&base.name);
    let name = &package.name;
    let build_closure = graph.build_closure(name);
    line(text, &format!("\nFROM {} AS {}", stage("build", name), stage("test", name)));
    for other in graph.test_closure(name) {
        let is_copied = build_closure.iter().any(|package| package.name == other.name);
        if !is_copied && other.name != *name {
            copy(text, other);
        }
    }
    if needs_more {
        text.push_str(TEST_DEPENDENCIES);
    }
    run(text, workspace, base, package, "test-package", "");
}

fn copy(text: &mut String, package: &Package) {
    line(text, &format!("COPY --link --from={} /made/out/ /", stage("build", &package.name)));
}

/// Writes a RUN instruction that sees only the package's own sources and has its own build directory.
fn run(text: &mut String, workspace: &Workspace, base: &Base, package: &Package, command: &str, then: &str) {
    let (name, dir) = (&package.name, &package.dir);
    // The name has no project: a cache does not affect the result, so clones of a repository may share it.
    // BuildKit sets TARGETARCH and TARGETVARIANT: each platform has its own build directory.
    let cache = format!("xtask-{}-{name}", base.name);
    line(text, "ARG TARGETARCH TARGETVARIANT");
    line(text, &format!("RUN --mount=type=bind,source={dir},target=/ws/src/{name} \\"));
    let own = workspace.project.sources().join(dir);
    for path in workspace.settings.get(name).into_iter().flat_map(|settings| &settings.also) {
        let (source, target) = (workspace.relative(path), seen_by_build(name, &own, path));
        line(text, &format!("    --mount=type=bind,from={REPOSITORY},source={source},target={target} \\"));
    }
    line(
        text,
        &format!(
            "    --mount=type=cache,id={cache}-$TARGETARCH$TARGETVARIANT,target=/ws/build,sharing=locked \\"
        ),
    );
    line(text, "    --mount=type=cache,id=xtask-compilers,target=/ws/compilers,sharing=shared \\");
    line(text, "    --mount=type=secret,id=jobs,required=false \\");
    line(text, &format!("    {command} {name}{then}"));
}

/// Place of a path of the repository for the build of a package, whose directory is `own`: the same from there.
fn seen_by_build(package: &str, own: &Utf8Path, path: &Utf8Path) -> Utf8PathBuf {
    let common = own.components().zip(path.components()).take_while(|(one, other)| one == other).count();
    let mut place = Utf8PathBuf::from(SOURCES).join(package);
    // The package itself has another name for its directory here, but is as far below the others.
    for _ in own.components().skip(common) {
        place.pop();
    }
    place.extend(path.components().skip(common));
    place
}

fn write_image(text: &mut String, graph: &PackageGraph, image: &Image) {
    let packages = graph.run_closure(&image.packages);
    let name = &image.name;
    let per_layer = packages.len().div_ceil(PACKAGE_LAYERS).max(1);
    let mut sources: Vec<String> = Vec::new();
    let mut copies = String::new();
    for (number, group) in packages.chunks(per_layer).enumerate() {
        if let [package] = group {
            sources.push(format!("{} /made/out/", stage("build", &package.name)));
            continue;
        }
        line(&mut copies, &format!("\nFROM scratch AS layer-{name}-{number}"));
        for package in group {
            copy(&mut copies, package);
        }
        sources.push(format!("layer-{name}-{number} /"));
    }
    text.push_str(&copies);
    line(text, &format!("\nFROM runtime AS image-{name}"));
    for source in sources {
        line(text, &format!("COPY --link --from={source} /"));
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config::{BaseSource, PackageGraph, Project};

    fn package(name: &str, depends: &[&str], test_depends: &[&str]) -> Package {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Package {
            name: name.to_owned(),
            dir: name.into(),
            build_depends: names(depends),
            run_depends: names(depends),
            test_depends: names(test_depends),
            ..Package::default()
        }
    }

    /// Dockerfile of a workspace with an image of `packages` packages beside the usual ones.
    fn rendered(packages: usize) -> Result<String> {
        rendered_from(packages, "FROM base AS runtime\nFROM base AS build-tools\n")
    }

    fn rendered_from(packages: usize, dockerfile_text: &str) -> Result<String> {
        let dir = tempfile::tempdir()?;
        let dockerfile = camino::Utf8PathBuf::from_path_buf(dir.path().join("ros.Dockerfile")).unwrap();
        fs_err::write(&dockerfile, dockerfile_text)?;
        let many: Vec<String> = (0..packages).map(|number| format!("Many{number}")).collect();
        let graph = [
            package("bringup", &[], &["navigation"]),
            package("interfaces", &[], &[]),
            package("navigation", &["interfaces"], &[]),
        ];
        let graph = graph.into_iter().chain(many.iter().map(|name| package(name, &[], &[])));
        let image = |name: &str, packages: Vec<String>| {
            (name.to_owned(), Image { name: name.to_owned(), base: "ros".to_owned(), packages })
        };
        let base =
            Base { name: "ros".into(), source: BaseSource::Debian { suite: "trixie".into() }, dockerfile };
        let workspace = Workspace {
            root: "/w".into(),
            project: Project { name: "eurobot".into(), ros_workspace: "/w/ros_ws".into() },
            bases: BTreeMap::from([("ros".to_owned(), base.clone())]),
            images: BTreeMap::from([
                image("navigation", vec!["navigation".into(), "bringup".into()]),
                image("many", many.clone()),
                image("plain", Vec::new()),
            ]),
            robots: BTreeMap::new(),
            hub: None,
            jobs: None,
            releases: crate::config::Releases::default(),
            watch_settle: std::time::Duration::ZERO,
            packages: PackageGraph::new(graph)?,
            settings: BTreeMap::new(),
            skipped: Vec::new(),
            dockerfiles: BTreeMap::new(),
            on_bases: BTreeMap::new(),
        };
        render(&workspace, &base)
    }

    #[test]
    fn every_stage_copies_from_stages_above_it_only() -> Result<()> {
        let mut defined = BTreeSet::new();
        for line in rendered(3)?.lines() {
            if let Some(from) = line.split("--from=").nth(1).and_then(|rest| rest.split(' ').next()) {
                assert!(defined.contains(from), "`{from}` is used before it is defined");
            }
            if let Some(stage) = line.split(" AS ").nth(1) {
                assert_eq!(
                    line,
                    line.to_lowercase().replace("from ", "FROM ").replace(" as ", " AS "),
                    "for BuildKit"
                );
                assert!(defined.insert(stage.to_owned()), "`{stage}` is defined twice");
            }
        }
        Ok(())
    }

    #[test]
    fn a_package_sees_its_own_sources_and_is_one_layer() -> Result<()> {
        let text = rendered(0)?;
        let build = "FROM build-tools AS build-navigation\nCOPY --link --from=build-interfaces /made/out/ /\n\
                     ARG TARGETARCH TARGETVARIANT\n\
                     RUN --mount=type=bind,source=navigation,target=/ws/src/navigation \\\n    \
                     --mount=type=cache,id=xtask-ros-navigation-$TARGETARCH$TARGETVARIANT,target=/ws/build,sharing=locked \\\n    \
                     --mount=type=cache,id=xtask-compilers,target=/ws/compilers,sharing=shared \\\n    \
                     --mount=type=secret,id=jobs,required=false \\\n    \
                     build-package navigation && mkdir /made && mv /out /made/\n";
        assert!(text.contains(build), "{text}");
        let image = "FROM runtime AS image-navigation\nCOPY --link --from=build-bringup /made/out/ /\n\
                     COPY --link --from=build-interfaces /made/out/ /\nCOPY --link --from=build-navigation /made/out/ /\n";
        assert!(text.contains(image), "{text}");
        Ok(())
    }

    #[test]
    fn files_outside_of_a_package_are_at_the_same_place_from_there() {
        for (own, path, place) in [
            ("/w/ros_ws/src/nav", "/w/ros_ws/src/cmake", "/ws/build/src/cmake"),
            ("/w/ros_ws/src/nav", "/w/VERSION", "/ws/VERSION"),
            ("/w/ros_ws/src/group/nav", "/w/ros_ws/src/cmake/x", "/ws/build/cmake/x"),
            ("/w/nav", "/w/cmake", "/ws/build/src/cmake"),
        ] {
            assert_eq!(seen_by_build("nav", own.into(), path.into()), place, "{own} {path}");
        }
    }

    #[test]
    fn a_missing_stage_is_named_with_its_purpose() -> Result<()> {
        let said = |dockerfile: &str| rendered_from(0, dockerfile).map_err(|error| error.to_string());
        assert!(said("from base as RUNTIME\nFROM base AS build-tools\n").is_ok());
        let error = said("FROM base AS build-tools\nCOPY --from=runtime / /\n").unwrap_err();
        assert!(error.ends_with("ros.Dockerfile` has no stage `runtime`: images begin with it"), "{error}");
        Ok(())
    }

    #[test]
    fn an_image_without_packages_is_the_runtime_stage() -> Result<()> {
        let text = rendered(0)?;
        assert!(text.contains("\nFROM runtime AS image-plain\n\nFROM"), "{text}");
        Ok(())
    }

    #[test]
    fn more_packages_than_layers_share_layers() -> Result<()> {
        let text = rendered(PACKAGE_LAYERS * 2 + 1)?;
        let (_, image) = text.split_once("FROM runtime AS image-many\n").unwrap_or_default();
        let layers = image.lines().take_while(|line| line.starts_with("COPY")).count();
        assert!((PACKAGE_LAYERS / 2..=PACKAGE_LAYERS).contains(&layers), "{layers} layers");
        Ok(())
    }
}
