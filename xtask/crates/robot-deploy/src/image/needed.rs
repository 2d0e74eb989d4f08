//! Keys of `package.xml` files for what is outside of the workspace, and the purposes for which packages need it.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Base, Outside, Package, Workspace};

/// A key of `package.xml` files, and the purposes for which packages of the workspace need it.
#[derive(Clone, Debug, Default)]
pub(super) struct Needed<'a> {
    pub run: bool,
    pub build: bool,
    /// True if builds of images or the images need it, and not only tests.
    pub required: bool,
    /// Packages whose tests need it.
    pub tests: BTreeSet<&'a str>,
    /// The packages that ask for it, and the places where they do.
    pub by: Vec<(&'a Package, &'a Outside)>,
}

impl Needed<'_> {
    /// Returns whether tests of a package need it.
    pub(super) fn test(&self) -> bool {
        !self.tests.is_empty()
    }

    pub(super) fn is_for_tests_of(&self, package: &str) -> bool {
        self.tests.contains(package)
    }

    /// The first that asks for it: for its build or its nodes, if any does.
    pub(super) fn asked(&self) -> (&Package, &Outside) {
        let mut by = self.by.iter();
        *by.find(|(_, key)| key.run || key.build).unwrap_or(&self.by[0])
    }
}

/// All keys that the packages on a base need from outside of the workspace, without those that `robots.toml` ignores.
pub(super) fn needed<'a>(workspace: &'a Workspace, base: &Base) -> BTreeMap<&'a str, Needed<'a>> {
    let graph = workspace.packages_on(&base.name);
    let images = workspace.images.values().filter(|image| image.base == base.name);
    let names: Vec<&String> = images.flat_map(|image| &image.packages).collect();
    let all = graph.full_closure(&names);
    let shipped = names_of(graph.run_closure(&names));
    // Builds may run what they build against: code generators.
    let built_against = |names: &mut dyn Iterator<Item = &str>| -> BTreeSet<&'a str> {
        names.flat_map(|name| names_of(graph.build_closure(name))).collect()
    };
    let below_images = built_against(&mut shipped.iter().copied());
    let below_all = built_against(&mut all.iter().map(|package| package.name.as_str()));
    let mut needed: BTreeMap<&str, Needed<'_>> = BTreeMap::new();
    for package in &all {
        let name = package.name.as_str();
        for key in keys_of(workspace, package) {
            let known = needed.entry(&key.name).or_default();
            known.run |= key.run && shipped.contains(name);
            known.build |= key.build || key.run && below_all.contains(name);
            known.required |= key.run && shipped.contains(name)
                || key.build && (shipped.contains(name) || below_images.contains(name))
                || key.run && below_images.contains(name);
            known.by.push((package, key));
        }
    }
    for package in &all {
        let others =
            graph.test_closure(&package.name).into_iter().flat_map(|other| keys_of(workspace, other));
        let own = keys_of(workspace, package).filter(|key| key.test || key.run);
        for key in own.chain(others.filter(|key| key.run)) {
            needed.entry(&key.name).or_default().tests.insert(&package.name);
        }
    }
    needed
}

fn names_of(packages: Vec<&Package>) -> BTreeSet<&str> {
    packages.into_iter().map(|package| package.name.as_str()).collect()
}

/// Dependencies of a package outside of the workspace, without those that `robots.toml` ignores.
fn keys_of<'a>(workspace: &'a Workspace, package: &'a Package) -> impl Iterator<Item = &'a Outside> {
    let settings = workspace.settings.get(&package.name);
    package
        .outside
        .iter()
        .filter(move |key| settings.is_none_or(|settings| !settings.ignore.contains(&key.name)))
}
