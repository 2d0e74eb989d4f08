//! Variables of a base, for the conditions of package.xml: `$ROS_DISTRO == jazzy`.
//!
//! colcon evaluates the conditions with the environment of the build, so that environment is asked for. It takes a
//! build of the base's tools, and happens only in workspaces with conditions, once for each state of the base.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read as _;

use camino::Utf8Path;
use serde_json::{Map, json};

use super::build::Contexts;
use super::{Builder, bake, unchanged};
use crate::config::{Base, Platform, Variables, Workspace};
use crate::error::{FollowedBy as _, Result};
use crate::process;

/// Most bytes of an environment.
const LIMIT: u64 = 4 << 20;

/// Evaluates the conditions of all packages on the bases of `contexts`.
pub(super) fn evaluated<'a>(
    workspace: &'a Workspace,
    builder: Builder,
    contexts: &Contexts<'_>,
) -> Result<Cow<'a, Workspace>> {
    if !workspace.packages.is_conditional() {
        return Ok(Cow::Borrowed(workspace));
    }
    // The platforms of a base do not differ in these variables.
    let by_base: BTreeMap<&str, (&Platform, &String)> =
        contexts.iter().map(|((base, platform), context)| (*base, (*platform, context))).collect();
    let mut evaluated = workspace.clone();
    for (base, (platform, context)) in by_base {
        let variables = of(workspace, builder, &workspace.bases[base], platform, context)?;
        evaluated.set_variables(base, &variables)?;
    }
    Ok(Cow::Owned(evaluated))
}

/// Variables of a base, from an earlier run if nothing has changed.
fn of(
    workspace: &Workspace,
    builder: Builder,
    base: &Base,
    platform: &Platform,
    context: &str,
) -> Result<Variables> {
    let mut target = bake::common(workspace, base, platform, context)?;
    target["target"] = json!("variables");
    let state = unchanged::of_tools(workspace, base, &target);
    let dir = workspace.state_dir().join("build").join(format!("variables-{}", base.name));
    let record = dir.join("state");
    let known = fs_err::read_to_string(&record).ok();
    if state.is_none() || known != state {
        target["output"] = json!([format!("type=local,dest={dir}")]);
        let targets = Map::from_iter([("variables".to_owned(), target)]);
        bake::bake(workspace, builder, targets, false, |_, _| {})
            .followed_by("building the images, with the packages whose conditions hold on the base")?;
        process::write_file(&record, &state.unwrap_or_default())?;
    }
    read(&dir.join("environment"))
}

fn read(file: &Utf8Path) -> Result<Variables> {
    let mut text = Vec::new();
    fs_err::File::open(file)?.take(LIMIT).read_to_end(&mut text)?;
    Ok(Variables::of_environment(&String::from_utf8_lossy(&text)))
}
