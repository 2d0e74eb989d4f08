//! Random file trees: a deploy delivers exactly the tree, whatever the robot had before.

use super::harness::{LIST, Lab, MAIN, PROJECT, Robot, SECONDARY, Single, Tree, Workspace, note};

/// Number of trees that are delivered, one after another.
const TREES: usize = 6;

const DOCKERFILE: &str = "FROM shell AS runtime\nADD one.tar /tree/\nADD two.tar /tree/\n";

/// Listing of the tree on a robot.
fn listing(robot: Robot) -> Vec<String> {
    // The image has no Python, so the robot's Python looks into the container.
    let pid =
        robot.exec(&["docker", "inspect", "--format", "{{.State.Pid}}", &format!("{PROJECT}-single-1")]);
    let text = robot.exec(&["python3", "-c", LIST, &format!("/proc/{pid}/root/tree")]);
    text.lines().map(str::to_owned).collect()
}

/// Fails unless a robot has exactly this tree.
#[track_caller]
fn assert_is_there(robot: Robot, tree: &Tree, seed: u64) {
    let (expected, there) = (tree.listing(), listing(robot));
    let missing: Vec<&String> = expected.iter().filter(|line| !there.contains(line)).collect();
    let more: Vec<&String> = there.iter().filter(|line| !expected.contains(line)).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "XTASK_TREES_SEED={seed}: {} lacks\n{missing:#?}\nand has\n{more:#?}",
        robot.name
    );
    assert_eq!(expected.len(), there.len(), "XTASK_TREES_SEED={seed}");
}

fn write(workspace: &Workspace, tree: &Tree) {
    for (name, archive) in ["one", "two"].into_iter().zip(tree.archives()) {
        workspace.write(&format!("ros_ws/src/{name}.tar"), archive);
    }
}

pub fn what_arrives_is_what_was_built_whatever_was_there(lab: &Lab) {
    let seed = std::env::var("XTASK_TREES_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    note(format!("XTASK_TREES_SEED={seed}"));
    let mut rng = fastrand::Rng::with_seed(seed);
    lab.workspace.reset();
    let single = Single::new(&lab.workspace, DOCKERFILE);
    let mut tree = Tree::random(&mut rng);
    let mut trees = vec![tree.clone()];
    while trees.len() < TREES {
        // Sometimes everything changes, sometimes an older tree comes back.
        tree = match rng.u8(0..6) {
            0 => Tree::random(&mut rng),
            1 => trees[rng.usize(..trees.len())].clone(),
            _ => tree.edited(&mut rng),
        };
        trees.push(tree.clone());
    }
    for tree in &trees {
        assert!(tree.len() > 10);
        write(&lab.workspace, tree);
        single.deploy("main,secondary").never_says("`docker push` sends");
        for robot in [MAIN, SECONDARY] {
            assert_is_there(robot, tree, seed);
        }
    }
}
