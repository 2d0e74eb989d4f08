//! `robots.toml` of the copy: another project name, the foreign images, and robots for everything.

use anyhow::Context as _;
use toml::{Table, Value};

use super::copy::{PROJECT, ROBOTS};
use super::subject::Subject;
use crate::config::{FILE, Robot, Workspace};
use crate::error::Result;

/// The domain of the second robot; the third has the next. On one domain they would hear each other.
const DOMAINS: u32 = 81;

/// The file's `text`, adapted; the robots of the workspace become copies of `robot`.
pub fn adapt(text: &str, workspace: &Workspace, robot: &Robot) -> Result<String> {
    let mut file: Table = text.parse().with_context(|| format!("read {FILE}"))?;
    let _old = table(&mut file, "project")?.insert("name".to_owned(), Value::from(PROJECT));
    let (first, base) = table(&mut file, "bases")?
        .iter()
        .next()
        .map(|(name, base)| (name.clone(), base.clone()))
        .with_context(|| format!("{FILE} has no base"))?;
    // There will be several bases.
    for image in table(&mut file, "images")?.iter_mut().filter_map(|(_, image)| image.as_table_mut()) {
        image.entry("base").or_insert_with(|| Value::from(first.clone()));
    }
    let mut robots = Table::new();
    let compose = workspace.relative(&robot.compose);
    for (name, domain) in ROBOTS.into_iter().zip(DOMAINS - 1..) {
        let mut variables: Table =
            robot.env.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        if name != ROBOTS[0] {
            let _old = variables.insert("ROS_DOMAIN_ID".to_owned(), Value::from(domain.to_string()));
        }
        let _old = robots.insert(name.to_owned(), simulated(compose.as_str(), variables));
    }
    for (subject, dir) in Subject::FOREIGN.into_iter().filter_map(|subject| Some((subject, subject.dir()?))) {
        let name = subject.name().to_owned();
        let mut base = base.clone();
        if let Some(base) = base.as_table_mut() {
            let _old = base.insert("dockerfile".to_owned(), Value::from(format!("{dir}/Dockerfile")));
        }
        let image = Table::from_iter([
            ("base".to_owned(), Value::from(name.clone())),
            ("packages".to_owned(), Value::Array(Vec::new())),
        ]);
        let _old = table(&mut file, "bases")?.insert(name.clone(), base);
        let _old = table(&mut file, "images")?.insert(name.clone(), image.into());
        let _old = robots.insert(name, simulated(&format!("{dir}/compose.yaml"), Table::new()));
    }
    let _old = file.insert("robots".to_owned(), robots.into());
    Ok(file.to_string())
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
