//! Packages without a `package.xml`, as colcon identifies them: CMake projects, Python projects with a `setup.py`, and
//! directories with a `colcon.pkg` (<https://colcon.readthedocs.io/en/released/user/configuration.html>).

use std::ops::Range;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::diagnostic::{Mistakes, Source};
use super::manifest::{Depend, Kind, Manifest};
use super::names;
use crate::error::Result;

pub(super) const COLCON: &str = "colcon.pkg";
const CMAKE: &str = "CMakeLists.txt";
const SETUP: &str = "setup.py";

/// Files of which a package without a `package.xml` has at least one.
pub(super) const FILES: [&str; 3] = [COLCON, CMAKE, SETUP];

/// The keys of a `colcon.pkg` that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Metadata {
    name: Option<String>,
    dependencies: Vec<String>,
    build_dependencies: Vec<String>,
    run_dependencies: Vec<String>,
    test_dependencies: Vec<String>,
}

/// Identifies the package in `dir`, relative to `src`; `None` if colcon would find none there.
///
/// # Errors
/// Fails when a file cannot be read.
pub(super) fn identify(
    src: &Utf8Path,
    dir: &Utf8Path,
    here: &Utf8Path,
    mistakes: &mut Mistakes,
) -> Result<Option<Manifest>> {
    let path = src.join(dir);
    let mut found: Option<(Source, String, Range<usize>)> = None;
    let mut depends = Vec::new();
    if path.join(CMAKE).is_file() {
        let source = Source::read(&path.join(CMAKE), here)?;
        // colcon, too, takes what a CMake project looks for as its dependencies.
        depends = arguments(&source.text, "find_package")
            .into_iter()
            .flat_map(|(name, span)| {
                [Kind::Build, Kind::Run].map(|kind| Depend { kind, name: name.clone(), span: span.clone() })
            })
            .collect();
        let name = arguments(&source.text, "project").into_iter().next();
        found = name.map(|(name, span)| (source, name, span));
    } else if path.join(SETUP).is_file() {
        let source = Source::read(&path.join(SETUP), here)?;
        let config = std::fs::read_to_string(path.join("setup.cfg")).unwrap_or_default();
        found = setup_name(&source.text, &config).map(|name| (source, name, 0..0));
    }
    if path.join(COLCON).is_file() {
        let source = Source::read(&path.join(COLCON), here)?;
        let metadata = read(&source, mistakes);
        depends.extend(depends_of(&metadata));
        if let Some(name) = metadata.name {
            found = Some((source, name, 0..0));
        }
    }
    let valid = found.filter(|(_, name, _)| names::is_package(name));
    Ok(valid.map(|(source, name, span)| Manifest {
        source,
        dir: dir.to_owned(),
        name,
        span,
        depends,
        groups: Vec::new(),
        is_conditional: false,
        is_plain: true,
    }))
}

/// Dependencies that the `colcon.pkg` beside a `package.xml` adds.
pub(super) fn added(path: Utf8PathBuf, here: &Utf8Path, mistakes: &mut Mistakes) -> Result<Vec<Depend>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let source = Source::read(&path, here)?;
    Ok(depends_of(&read(&source, mistakes)))
}

fn read(source: &Source, mistakes: &mut Mistakes) -> Metadata {
    serde_saphyr::from_str(&source.text).unwrap_or_else(|error| {
        let message =
            format!("`{COLCON}` cannot be read: {}", error.to_string().lines().next().unwrap_or_default());
        let help = "write JSON or YAML with `name`, `type` and `dependencies`, which is a list";
        mistakes.add(source.mistake(0..0, message).help(help));
        Metadata::default()
    })
}

fn depends_of(metadata: &Metadata) -> Vec<Depend> {
    let lists: [(&[String], &[Kind]); 4] = [
        (&metadata.dependencies, &[Kind::Build, Kind::Run, Kind::Test]),
        (&metadata.build_dependencies, &[Kind::Build]),
        (&metadata.run_dependencies, &[Kind::Run]),
        (&metadata.test_dependencies, &[Kind::Test]),
    ];
    let depend = |name: &String, kind: &Kind| Depend { kind: *kind, name: name.clone(), span: 0..0 };
    lists
        .into_iter()
        .flat_map(|(names, kinds)| {
            names.iter().flat_map(move |name| kinds.iter().map(move |kind| depend(name, kind)))
        })
        .collect()
}

/// First arguments of all calls of a CMake command, with their places; those with variables are left out.
fn arguments(text: &str, command: &str) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or_default();
        if let Some((before, rest)) = code.split_once('(')
            && before.trim().eq_ignore_ascii_case(command)
        {
            let argument = rest.trim_start();
            let end = argument.find(|end: char| end.is_whitespace() || end == ')').unwrap_or(argument.len());
            let name = argument[..end].trim_matches('"');
            let place = start + code.len() - argument.len();
            if !name.is_empty() && !name.contains('$') {
                found.push((name.to_owned(), place..place + end));
            }
        }
        start += line.len();
    }
    found
}

/// Name of a Python project: `name` of `[metadata]` in its setup.cfg, or the argument `name` in its setup.py, given as text
/// or as a variable with a text.
fn setup_name(setup: &str, config: &str) -> Option<String> {
    let metadata = config.lines().skip_while(|line| line.trim() != "[metadata]").skip(1);
    let metadata = metadata.take_while(|line| !line.starts_with('['));
    let mut values = metadata.filter_map(|line| line.split_once('=')).filter(|(key, _)| key.trim() == "name");
    if let Some((_, name)) = values.next() {
        return Some(name.trim().to_owned());
    }
    let value = assigned(setup, "name")?;
    let text = |value: &str| {
        let quote = value.chars().next().filter(|first| "'\"".contains(*first))?;
        Some(value[1..].split(quote).next()?.to_owned())
    };
    text(value).or_else(|| {
        let variable = value.split(|end: char| !end.is_alphanumeric() && end != '_').next()?;
        text(assigned(setup, variable)?)
    })
}

/// The rest of the line behind `NAME =`, for the first line that has it.
fn assigned<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| {
        let (before, value) = line.split_once('=')?;
        let word =
            before.rsplit(|end: char| !end.is_alphanumeric() && end != '_').find(|word| !word.is_empty());
        (word == Some(name)).then(|| value.trim())
    };
    text.lines().map(str::trim_start).filter(|line| !line.starts_with('#')).find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cmake_projects_have_names_and_dependencies() {
        let text = "cmake_minimum_required(VERSION 3.20)\n# project(old)\nPROJECT( ld19_driver LANGUAGES CXX)\n\
                    find_package(Threads REQUIRED)\nfind_package(msgs) # find_package(x)\nfind_package(${MORE})\n";
        let names =
            |command: &str| arguments(text, command).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("project"), ["ld19_driver"]);
        assert_eq!(names("find_package"), ["Threads", "msgs"]);
        let (name, span) = arguments(text, "project").remove(0);
        assert_eq!(text[span], name);
    }

    #[test]
    fn python_projects_have_names() {
        let name = |setup: &str, config: &str| setup_name(setup, config).unwrap_or_default();
        assert_eq!(name("setup(\n    name='driver',\n)", ""), "driver");
        assert_eq!(name("setup(name=\"driver\", version='1')", ""), "driver");
        assert_eq!(name("package_name = 'driver'\nsetup(\n  name=package_name,\n)", ""), "driver");
        assert_eq!(name("setup()", "[options]\nname = x\n[metadata]\nname = driver\n"), "driver");
        assert_eq!(name("from setuptools import setup\nsetup(name=read())", ""), "");
    }
}
