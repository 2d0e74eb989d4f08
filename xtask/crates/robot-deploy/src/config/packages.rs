//! Dependency graph of the packages of the ROS workspace.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;

use super::names;
use crate::error::{Failure, Result};

/// A colcon package, from its `package.xml` (REP 149). The lists contain only packages of the same workspace,
/// sorted and without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    /// Directory of the package, relative to `src/` of the ROS workspace.
    pub dir: Utf8PathBuf,
    /// Direct dependencies to build this package.
    pub build_depends: Vec<String>,
    /// Direct dependencies that other packages need in order to build against this one.
    pub build_export_depends: Vec<String>,
    /// Direct dependencies to run this package.
    pub run_depends: Vec<String>,
    /// Additional direct dependencies of the tests of this package.
    pub test_depends: Vec<String>,
    /// Dependencies outside of the workspace, each once.
    pub outside: Vec<Outside>,
    /// True if some dependencies or groups have conditions.
    pub is_conditional: bool,
    /// True if the package has no `package.xml`.
    pub is_plain: bool,
}

/// A dependency on something that is not a package of the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Name of a ROS package, or a key of rosdep.
    pub name: String,
    /// `file:line:column` in the `package.xml`.
    pub place: String,
    /// True if the package needs it at run time.
    pub run: bool,
    /// True if the package, or one that is built against it, needs it for its build.
    pub build: bool,
    /// True if the package's tests need it.
    pub test: bool,
}

impl Package {
    /// Packages that come earlier in the build order: all dependencies except those of tests only.
    fn predecessors(&self) -> impl Iterator<Item = &String> {
        self.build_depends.iter().chain(&self.build_export_depends).chain(&self.run_depends)
    }

    /// Dependencies that a package built against this one needs as well: it compiles against the exported
    /// ones and may execute the installed ones (generators, hooks).
    fn installed_along(&self) -> impl Iterator<Item = &String> {
        self.build_export_depends.iter().chain(&self.run_depends)
    }
}

/// Acyclic dependency graph of the packages of the ROS workspace.
#[derive(Clone, Debug, Default)]
pub struct PackageGraph {
    packages: BTreeMap<String, Package>,
    /// Package names, each after its dependencies.
    order: Vec<String>,
}

impl PackageGraph {
    /// Builds the graph; refuses duplicate names, unknown dependencies and cycles.
    pub fn new(packages: impl IntoIterator<Item = Package>) -> Result<Self> {
        let packages: Vec<Package> = packages.into_iter().collect();
        let count = packages.len();
        let graph = Self::unchecked(packages);
        if graph.packages.len() < count {
            return Err(Failure::config("two packages have the same name").into());
        }
        let unknown = |package: &Package| {
            let depends = package.predecessors().chain(&package.test_depends);
            depends.into_iter().find(|name| !graph.packages.contains_key(*name)).cloned()
        };
        if let Some(name) = graph.packages.values().find_map(unknown) {
            return Err(
                Failure::config(format!("a package depends on `{name}`, which does not exist")).into()
            );
        }
        match graph.cycles().first() {
            Some(cycle) => {
                let cycle = names::list(cycle);
                Err(Failure::config(format!("packages depend on each other in a cycle: {cycle}")).into())
            }
            None => Ok(graph),
        }
    }

    /// Builds the graph of packages whose dependencies are known to exist. The caller checks for cycles.
    pub(super) fn unchecked(packages: impl IntoIterator<Item = Package>) -> Self {
        let packages = packages.into_iter().map(|package| (package.name.clone(), package)).collect();
        let mut graph = Self { packages, order: Vec::new() };
        graph.order = graph.sorted();
        graph
    }

    /// Returns whether some dependencies have conditions, which depend on the base.
    pub fn is_conditional(&self) -> bool {
        self.packages.values().any(|package| package.is_conditional)
    }

    /// Names of all packages, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.packages.keys().map(String::as_str)
    }

    pub fn get(&self, name: &str) -> Option<&Package> {
        self.packages.get(name)
    }

    /// Iterates over all packages, each after its build and run dependencies, otherwise in alphabetical
    /// order.
    pub fn iter(&self) -> impl Iterator<Item = &Package> {
        self.order.iter().filter_map(|name| self.packages.get(name))
    }

    pub fn len(&self) -> usize {
        self.packages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// Packages that must be installed before `name` can be built, in the order of [`Self::iter`], without
    /// `name`: its build dependencies, and transitively the export and run dependencies of those.
    ///
    /// The run dependencies of `name` itself are left out. colcon waits for them too, because it runs tests
    /// in the same environment; for building alone that would cost parallelism and cause needless rebuilds.
    pub fn build_closure(&self, name: &str) -> Vec<&Package> {
        let start = self.get(name).into_iter().flat_map(|package| &package.build_depends);
        self.without(name, self.closure(start, |package| package.installed_along().collect()))
    }

    /// Packages to ship for `names`: these packages and their transitive run dependencies, in the order of
    /// [`Self::iter`]. Dependencies that are only exported to builds (headers, static libraries) are left
    /// out.
    pub fn run_closure<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Vec<&Package> {
        let start: Vec<_> =
            names.into_iter().filter_map(|name| Some(&self.get(name.as_ref())?.name)).collect();
        self.in_order(&self.closure(start, |package| package.run_depends.iter().collect()))
    }

    /// Packages that must be installed before `name` and its tests can be built and run, in the order of
    /// [`Self::iter`], without `name`: its dependencies of all kinds, and transitively the export and run
    /// dependencies of those.
    pub fn test_closure(&self, name: &str) -> Vec<&Package> {
        let package = self.get(name).into_iter();
        let start = package.flat_map(|package| package.predecessors().chain(&package.test_depends));
        self.without(name, self.closure(start, |package| package.installed_along().collect()))
    }

    /// Packages to build or test in order to get `names`, these included, in the order of [`Self::iter`]. The
    /// set is closed under all kinds of dependencies, so it contains the [`Self::build_closure`] and the
    /// [`Self::test_closure`] of each member. (A build closure is not closed: it leaves out packages that its
    /// members need only for their own build.)
    pub fn full_closure<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Vec<&Package> {
        let start: Vec<_> =
            names.into_iter().filter_map(|name| Some(&self.get(name.as_ref())?.name)).collect();
        let next = |package| Package::predecessors(package).chain(&package.test_depends).collect();
        self.in_order(&self.closure(start, next))
    }

    fn closure<'a>(
        &'a self,
        start: impl IntoIterator<Item = &'a String>,
        next: impl Fn(&'a Package) -> Vec<&'a String>,
    ) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&String> = start.into_iter().collect();
        while let Some(name) = waiting.pop() {
            if let Some(package) = self.packages.get(name)
                && reached.insert(package.name.as_str())
            {
                waiting.extend(next(package));
            }
        }
        reached
    }

    fn in_order(&self, selected: &BTreeSet<&str>) -> Vec<&Package> {
        self.iter().filter(|package| selected.contains(package.name.as_str())).collect()
    }

    fn without(&self, name: &str, mut reached: BTreeSet<&str>) -> Vec<&Package> {
        reached.remove(name);
        self.in_order(&reached)
    }

    /// Topological order, alphabetical among equals. Leaves out packages in a cycle, and those that depend on
    /// them.
    fn sorted(&self) -> Vec<String> {
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = self
            .packages
            .values()
            .map(|package| (package.name.as_str(), package.predecessors().map(String::as_str).collect()))
            .collect();
        let mut order = Vec::new();
        while let Some(name) = missing.iter().find(|(_, before)| before.is_empty()).map(|(name, _)| *name) {
            missing.remove(name);
            missing.values_mut().for_each(|before| {
                before.remove(name);
            });
            order.push(name.to_owned());
        }
        order
    }

    /// Dependency cycles, each as a list of names in order. There is one cycle for each dependency that
    /// closes one, so that breaking them all makes the graph acyclic.
    pub(super) fn cycles(&self) -> Vec<Vec<String>> {
        let mut cycles = Vec::new();
        let mut done = BTreeSet::new();
        for name in self.packages.keys() {
            self.walk(name, &mut Vec::new(), &mut done, &mut cycles);
        }
        cycles
    }

    fn walk<'a>(
        &'a self,
        name: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        cycles: &mut Vec<Vec<String>>,
    ) {
        if let Some(at) = path.iter().position(|earlier| *earlier == name) {
            cycles.push(path[at..].iter().map(|name| (*name).to_owned()).collect());
            return;
        }
        if done.contains(name) {
            return;
        }
        path.push(name);
        let next: BTreeSet<&String> = self.get(name).into_iter().flat_map(Package::predecessors).collect();
        for name in next {
            self.walk(name, path, done, cycles);
        }
        path.pop();
        done.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name: build | export | run | test`
    fn graph(lines: &[&str]) -> PackageGraph {
        let words = |text: Option<&str>| text.unwrap_or("").split_whitespace().map(str::to_owned).collect();
        PackageGraph::unchecked(lines.iter().map(|line| {
            let (name, depends) = line.split_once(':').unwrap();
            let mut depends = depends.split('|');
            Package {
                name: name.to_owned(),
                dir: name.into(),
                build_depends: words(depends.next()),
                build_export_depends: words(depends.next()),
                run_depends: words(depends.next()),
                test_depends: words(depends.next()),
                ..Package::default()
            }
        }))
    }

    fn names<'a>(packages: impl IntoIterator<Item = &'a Package>) -> String {
        packages.into_iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_order_is_topological_and_alphabetical_otherwise() {
        let graph = graph(&["a:z", "b:", "m:b", "z:m"]);
        assert_eq!(names(graph.iter()), "b m z a");
        assert_eq!(graph.names().collect::<Vec<_>>(), ["a", "b", "m", "z"]);
    }

    #[test]
    fn the_build_closure_follows_what_build_dependencies_install_and_export() {
        let graph = graph(&[
            "app:lib||tool|mock",
            "lib:gen|headers|math",
            "headers:",
            "math:",
            "gen:",
            "tool:",
            "mock:",
        ]);
        assert_eq!(names(graph.build_closure("app")), "headers math lib");
        assert_eq!(names(graph.build_closure("lib")), "gen");
        assert_eq!(names(graph.build_closure("nobody")), "");
    }

    #[test]
    fn the_run_closure_is_what_ships() {
        let graph = graph(&[
            "app:lib|headers|lib tool|mock",
            "lib:gen|headers|math",
            "headers:",
            "math:",
            "gen:",
            "tool:",
            "mock:",
        ]);
        assert_eq!(names(graph.run_closure(["app"])), "math lib tool app");
        assert_eq!(names(graph.run_closure(["tool", "math"])), "math tool");
    }

    #[test]
    fn the_test_closure_adds_what_tests_need() {
        let graph = graph(&["app:lib||tool|mock", "lib:", "tool:", "mock:||app fixtures", "fixtures:"]);
        assert_eq!(names(graph.test_closure("app")), "fixtures lib tool mock");
    }

    #[test]
    fn the_full_closure_has_the_other_closures_of_each_of_its_members() {
        let lines =
            ["app:lib", "lib:gen|headers", "gen:parser", "headers:", "parser:|||mock", "mock:", "other:app"];
        let graph = graph(&lines);
        let full = graph.full_closure(["app"]);
        assert_eq!(names(full.iter().copied()), "headers mock parser gen lib app");
        for package in &full {
            let needed = [graph.build_closure(&package.name), graph.test_closure(&package.name)].concat();
            assert!(needed.iter().all(|other| full.contains(other)), "{}", package.name);
        }
    }

    #[test]
    fn tests_may_form_cycles_but_builds_and_runs_may_not() {
        assert!(graph(&["a:|||b", "b:a"]).cycles().is_empty());
        let cyclic = graph(&["a:b", "b:||c", "c:|a", "d:d"]);
        assert_eq!(cyclic.cycles(), [vec!["a", "b", "c"], vec!["d"]]);
        assert!(PackageGraph::new(cyclic.packages.into_values()).is_err());
    }

    #[test]
    fn a_graph_made_by_hand_is_checked() {
        let package = |name: &str, on: &str| Package {
            name: name.to_owned(),
            build_depends: vec![on.to_owned()],
            ..Package::default()
        };
        assert!(PackageGraph::new([package("a", "b")]).is_err());
        assert!(PackageGraph::new([Package::default(), Package::default()]).is_err());
    }
}
