//! `robots.toml` of the copy: its own project name, the third-party images, and robots for all workloads.

use anyhow::Context as _;
use toml::{Table, Value};

use super::workload::{ROBOTS, Workload};
use robot_deploy::config::{FILE, Robot, Workspace};
use robot_deploy::error::Result;

/// Project name of the copy; nothing else on this machine uses it.
pub(crate) const PROJECT: &str = "bench";

/// ROS domain of the second robot; the third has the next. On one domain their nodes would discover each
/// other.
const SECOND_DOMAIN: u32 = 81;

/// Adapts the file's `text`. The robots of the example workspace become copies of `robot`.
pub(crate) fn adapt(text: &str, workspace: &Workspace, robot: &Robot) -> Result<String> {
    let mut file: Table = text.parse().with_context(|| format!("read {FILE}"))?;
    table(&mut file, "project")?.insert("name".to_owned(), Value::from(PROJECT));
    let (first, base) = table(&mut file, "bases")?
        .iter()
        .next()
        .map(|(name, base)| (name.clone(), base.clone()))
        .with_context(|| format!("{FILE} has no base"))?;
    // With several bases, every image has to name its base.
    for image in table(&mut file, "images")?.iter_mut().filter_map(|(_, image)| image.as_table_mut()) {
        image.entry("base").or_insert_with(|| Value::from(first.clone()));
    }
    let mut robots = copies(workspace.relative(&robot.compose[0]).as_str(), robot);
    for (workload, dir) in
        Workload::THIRD_PARTY.into_iter().filter_map(|workload| Some((workload, workload.dir()?)))
    {
        let name = workload.name().to_owned();
        let mut base = base.clone();
        if let Some(base) = base.as_table_mut() {
            base.insert("dockerfile".to_owned(), Value::from(format!("{dir}/Dockerfile")));
        }
        let image = Table::from_iter([
            ("base".to_owned(), Value::from(name.clone())),
            ("packages".to_owned(), Value::Array(Vec::new())),
        ]);
        table(&mut file, "bases")?.insert(name.clone(), base);
        table(&mut file, "images")?.insert(name.clone(), image.into());
        robots.insert(name, simulated(&format!("{dir}/compose.yaml"), Table::new()));
    }
    file.insert("robots".to_owned(), robots.into());
    // No deploy of its own between two samples.
    file.insert("watch".to_owned(), Table::from_iter([("settle".to_owned(), Value::from(86_400))]).into());
    Ok(file.to_string())
}

/// The robots of the example workspace, as copies of `robot`.
fn copies(compose: &str, robot: &Robot) -> Table {
    let copy = |(name, domain): (&str, u32)| {
        let mut variables: Table =
            robot.env.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        if name != ROBOTS[0] {
            variables.insert("ROS_DOMAIN_ID".to_owned(), Value::from(domain.to_string()));
        }
        (name.to_owned(), simulated(compose, variables))
    };
    ROBOTS.into_iter().zip(SECOND_DOMAIN - 1..).map(copy).collect()
}

fn table<'a>(file: &'a mut Table, key: &str) -> Result<&'a mut Table> {
    file.get_mut(key).and_then(Value::as_table_mut).with_context(|| format!("{FILE} has no `{key}`"))
}

fn simulated(compose: &str, env: Table) -> Value {
    Table::from_iter([
        ("simulated".to_owned(), Value::from(true)),
        ("store".to_owned(), Value::from("containerd")),
        ("compose".to_owned(), Value::from(compose)),
        ("env".to_owned(), env.into()),
    ])
    .into()
}
