//! Damaged data on this machine or on the robot costs time, but the robot still gets exactly what was built.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::harness::{Finished, Lab, MAIN, ODOMETRY_THERE, PROJECT, Workspace, output};

/// Data directory of the robot's registry.
const REGISTRY: &str = "/var/lib/docker/volumes/xtask-registry/_data/docker/registry/v2";

/// A module of `localization` that no other test has, so that it is only in layers of this test.
struct Module {
    path: String,
    /// A line that no edit changes.
    line: String,
    text: String,
}

impl Module {
    fn new(name: &str) -> Self {
        let line = |number: u32| format!("# {:x}\n", Sha256::digest(format!("{name} {number}")));
        let text: String = (0..100).map(line).collect();
        let path = format!("ros_ws/src/localization/localization/{name}.py");
        Self { path, line: line(50).trim().to_owned(), text }
    }

    /// Changes the module to new content; returns the new marker in it.
    fn edit(&self, workspace: &Workspace) -> String {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let marker = format!("marker {nanos}");
        workspace.write(&self.path, format!("# {marker}\n{}", self.text));
        marker
    }

    /// Edits the module, and prepares everything that a deploy sends.
    fn planned(&self, workspace: &Workspace) -> String {
        let marker = self.edit(workspace);
        workspace.xtask(&["deploy", "--robot", "main", "--plan"]).expect_exit(0);
        marker
    }
}

/// The layer on this machine that contains the text.
fn layer_with(workspace: &Workspace, marker: &str) -> PathBuf {
    let blobs = workspace.path("target/xtask/layers/blobs/sha256");
    // The newest first, because other tests have left large layers.
    let script =
        "cd \"$1\" && for it in $(ls -t); do ! grep -qF -e \"$2\" $it || { echo \"$1/$it\"; exit; }; done";
    output(&["sh", "-c", script, "search", blobs, marker]).into()
}

/// Flips bits of a text in a file.
fn flip(file: &Path, text: &str) {
    let mut bytes = std::fs::read(file).unwrap();
    let place = bytes.windows(text.len()).position(|part| part == text.as_bytes()).unwrap();
    bytes[place..place + text.len()].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(file, bytes).unwrap();
}

/// Deploys; only `localization` may have changed on the robot, and its image must be the one that was built.
fn deploy_around(lab: &Lab) -> Finished {
    let before = MAIN.services();
    let run = lab.deploy(MAIN);
    MAIN.assert_has_built("localization");
    let after = MAIN.services();
    for service in ["communication", "navigation", "behavior_tree"] {
        assert_eq!(before[service], after[service], "{service} was touched");
    }
    run
}

pub fn a_damaged_layer_of_this_machine_is_exported_again(lab: &Lab) {
    let workspace = lab.deployed();
    let module = Module::new("damaged_here");
    let old = module.edit(workspace);
    deploy_around(lab);

    // Damage in the basis on this machine: the delta refers only to data that both sides have.
    let basis = layer_with(workspace, &old);
    module.edit(workspace);
    flip(&basis, &module.line);
    deploy_around(lab).never_says("`docker push` sends");

    // Damage in the new layer, before a delta file is made of it.
    let marker = module.planned(workspace);
    let layer = layer_with(workspace, &marker);
    std::fs::remove_dir_all(workspace.path("target/xtask/deltas")).unwrap();
    flip(&layer, &marker);
    deploy_around(lab).says("was damaged; it will be exported again");
    assert!(!layer.exists(), "what is damaged is not used again");

    // Truncated.
    let marker = module.planned(workspace);
    let layer = layer_with(workspace, &marker);
    let bytes = std::fs::read(&layer).unwrap();
    std::fs::write(&layer, &bytes[..bytes.len() / 2]).unwrap();
    deploy_around(lab).never_says("`docker push` sends").never_says("sent whole");
    assert!(std::fs::read(&layer).unwrap() == bytes);
}

pub fn damaged_deltas_and_indexes_of_this_machine_are_made_again(lab: &Lab) {
    let workspace = lab.deployed();
    Module::new("damaged_deltas").planned(workspace);
    for dir in ["target/xtask/deltas", "target/xtask/indexes"] {
        let files = std::fs::read_dir(workspace.path(dir)).unwrap();
        let damaged = files.map(|file| std::fs::write(file.unwrap().path(), "damaged").unwrap()).count();
        assert!(damaged > 0, "there is nothing in {dir}");
    }
    deploy_around(lab).never_says("`docker push` sends").never_says("sent whole");
}

pub fn a_damaged_layer_of_the_robot_is_brought_again(lab: &Lab) {
    let workspace = lab.deployed();
    let module = Module::new("damaged_there");
    let old = module.edit(workspace);
    deploy_around(lab);
    let blob = |layer: &Path| {
        let digest = layer.file_name().unwrap().to_str().unwrap().to_owned();
        format!("{REGISTRY}/blobs/sha256/{}/{digest}/data", &digest[..2])
    };
    let damage = |blob: &str, text: &str, how: &str| {
        let program = format!(
            "b = bytearray(open('{blob}', 'rb').read()); at = b.index(b'{text}')\n{how}\nopen('{blob}', 'wb').write(b)"
        );
        MAIN.exec(&["python3", "-c", &program]);
    };

    // Damage in the robot's basis: different bytes of the same length.
    let basis = blob(&layer_with(workspace, &old));
    damage(&basis, &module.line, "b[at + 3] ^= 1");
    module.edit(workspace);
    deploy_around(lab).says("the layer is sent whole").says("damaged layers were removed");
    assert!(!MAIN.can(&["test", "-e", &basis]), "it is still there");
    module.edit(workspace);
    deploy_around(lab).never_says("sent whole").never_says("`docker push` sends");

    // Damage in the image to be pulled, of a release that the robot's engine no longer has.
    for how in ["b[at] ^= 1", "del b[at:]"] {
        let marker = module.edit(workspace);
        let source = workspace.read(&module.path);
        deploy_around(lab);
        let layer = blob(&layer_with(workspace, &marker));
        let id = MAIN.services()["localization"].image.clone();
        module.edit(workspace);
        deploy_around(lab);
        MAIN.exec(&["docker", "image", "rm", "--force", &id]);
        damage(&layer, &marker, how);
        workspace.write(&module.path, source);
        deploy_around(lab);
        let file = ODOMETRY_THERE.replace("odometry", "damaged_there");
        assert!(MAIN.file("localization", &file).contains(&marker), "{PROJECT}: another release");
    }
}
