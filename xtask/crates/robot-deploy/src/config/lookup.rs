//! Looks up robots and images by name, and reads the variables of a robot.

use std::collections::BTreeMap;

use super::diagnostic::{Mistakes, Source};
use super::load::current_dir;
use super::{Image, Robot, Workspace, env_file, names};

use crate::error::{Failure, Result};

impl Workspace {
    /// Looks up a robot.
    ///
    /// # Errors
    /// Fails with exit code 2 if the name is unknown; the error suggests the nearest name and lists all.
    pub fn robot(&self, name: &str) -> Result<&Robot> {
        self.robots.get(name).ok_or_else(|| unknown("robot", name, self.robots.keys()))
    }

    /// Looks up an image of packages.
    pub fn image(&self, name: &str) -> Result<&Image> {
        self.images.get(name).ok_or_else(|| unknown("image", name, self.image_names()))
    }

    /// Names of the images of `robots.toml`, of packages or of Dockerfiles.
    pub(crate) fn image_names(&self) -> impl Iterator<Item = &String> + Clone {
        self.images.keys().chain(self.dockerfiles.keys())
    }

    /// Looks up the robots `requested`, in that order, without duplicates.
    pub fn robots_named(&self, requested: &[String]) -> Result<Vec<&Robot>> {
        let mut robots: Vec<&Robot> = Vec::new();
        for name in requested {
            let robot = self.robot(name)?;
            if !robots.iter().any(|earlier| earlier.name == robot.name) {
                robots.push(robot);
            }
        }
        Ok(robots)
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String> + Clone) -> anyhow::Error {
    let message = format!("no {what} `{}` in `robots.toml`", name.escape_debug());
    let help = names::instead(&format!("{what}s"), name, known.map(String::as_str));
    Failure::config(message).hint(help).into()
}

impl Robot {
    /// Variables for the Compose file: those of `env_files`, where later files override earlier ones, then
    /// those of `env`.
    ///
    /// Reads the files again: match parameters may have changed since the workspace was loaded.
    ///
    /// # Errors
    /// Fails with exit code 2 if a file cannot be read or contains mistakes, each shown with its place.
    pub fn variables(&self) -> Result<BTreeMap<String, String>> {
        let mut variables = self.private_variables()?;
        variables.extend(self.env.clone());
        Ok(variables)
    }

    /// Variables of `env_files`, which may be secrets.
    pub fn private_variables(&self) -> Result<BTreeMap<String, String>> {
        let here = current_dir();
        let mut variables = BTreeMap::new();
        for path in &self.env_files {
            let source = Source::read(path, &here)?;
            variables.extend(env_file::parse(&source).map_err(Mistakes::into_error)?);
        }
        Ok(variables)
    }
}
