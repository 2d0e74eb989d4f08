//! An image depends only on its inputs, and its labels name them.

use super::harness::{Engine, Lab, MAIN, ODOMETRY, PROJECT, Workspace, output};

fn build(workspace: &Workspace) {
    workspace.xtask(&["build-images", "--yes"]).expect_exit(0);
}

pub fn touched_files_and_fresh_clones_change_no_digest(lab: &Lab) {
    let workspace = &lab.workspace;
    // A clone has no edits of other tests.
    workspace.reset();
    lab.deploy(MAIN);
    let images = || {
        let mut images = Engine::ids(&PROJECT);
        // Tests of other commands may have left other images.
        images.retain(|tag, _| {
            ["communication", "localization", "navigation", "behavior_tree"].contains(&&**tag)
        });
        images
    };
    let before = images();
    assert_eq!(before.len(), 4);

    output(&["sh", "-c", "find \"$1\" -type f -exec touch {} +", "touch", workspace.path("ros_ws")]);
    build(workspace);
    assert_eq!(images(), before, "touched");

    build(&workspace.clone_privately());
    assert_eq!(images(), before, "cloned elsewhere with umask 077");
}

pub fn an_unrelated_commit_changes_no_digest(lab: &Lab) {
    let workspace = &lab.workspace;
    // Not `lab.deployed()`, which keeps an edit of an earlier test: the commit would take it in.
    workspace.reset();
    lab.deploy(MAIN);
    let (before, services) = (Engine::ids(&PROJECT), MAIN.services());
    workspace.write("NOTES.md", "Nothing that any image is made of.\n");
    workspace.commit("Write notes");
    lab.deploy(MAIN).says("nothing changed");
    assert_eq!((Engine::ids(&PROJECT), MAIN.services()), (before, services));
}

pub fn labels_tell_the_revision_and_whether_it_was_edited(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    lab.deploy(MAIN);
    let label = |image: &str, name: &str| {
        let format = format!("{{{{index .Config.Labels \"{name}\"}}}}");
        MAIN.inspect(image, &format)
    };
    let revision = |image: &str| label(image, "org.opencontainers.image.revision");
    let worktree = |image: &str| label(image, "dev.cargo-xtask.worktree");
    let (baseline, untouched) = (workspace.git(&["rev-parse", "baseline"]), revision("navigation"));
    assert_eq!((revision("localization"), worktree("localization")), (baseline.clone(), "clean".to_owned()));

    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2.0");
    lab.deploy(MAIN);
    assert_eq!((revision("localization"), worktree("localization")), (baseline.clone(), "dirty".to_owned()));

    let committed = workspace.commit("Divide by a number with a point");
    lab.deploy(MAIN);
    assert_eq!((revision("localization"), worktree("localization")), (committed, "clean".to_owned()));
    assert_eq!(revision("navigation"), untouched, "its inputs did not change");
}
