//! Robots that an older version of xtask has served.

use super::harness::{AGENT_DIR, Lab, MAIN, PROJECT, Workspace, eventually};
use super::releases::{assert_runs, current, edit, images, previous};

/// `~/.deploy/PROJECT/activate` of 27 November 2026 (revision f24f5a7), without its comments.
const ACTIVATE: &str = include_str!("older/activate");

/// Configuration of its registry, which asked for no login.
const REGISTRY: &str =
    "version: 0.1\nstorage: { filesystem: { rootdirectory: /var/lib/registry } }\nhttp: {}\n";

/// Options of its registry's container.
const REGISTRY_RUN: &str = "--restart always --network host --volume xtask-registry:/var/lib/registry \
    --env REGISTRY_HTTP_ADDR=127.0.0.1:5000 --env REGISTRY_STORAGE_DELETE_ENABLED=true --label xtask.role=registry";

/// Changes the robot to the state that the older version would have left after the same two deploys, of which the
/// second runs.
fn lay_out_robot([first, second]: [&str; 2]) {
    let [image, _] = MAIN.registry_image_and_settings();
    MAIN.sh(&format!(
        "docker rm --force xtask-registry {PROJECT}-guard
         rm -f {AGENT_DIR}/../credential* {AGENT_DIR}/../htpasswd
         printf '{REGISTRY}' >/tmp/registry.yml
         docker run --detach --name xtask-registry {REGISTRY_RUN} --volume /tmp/registry.yml:/older.yml \
             --entrypoint docker-registry {image} serve /older.yml"
    ));
    eventually("the registry", || (!MAIN.listeners(5000).is_empty()).then_some(()));
    // A transfer that broke off today and one that broke off before, and a layer that was being made.
    MAIN.sh(&format!(
        "cd {AGENT_DIR} && printf 'caf9767f81f204ef 32' >lock && rm -f *.spool
         printf C | tee {FRESH}.spool >{STALE}.spool && touch --date '2 days ago' {STALE}.spool && echo >aa.part"
    ));
    MAIN.sh(&format!(
        "cd /home/robot/.deploy/{PROJECT}
         for release in {first} {second}; do
             sed 's/127.0.0.1:5000/localhost:5000/g' releases/$release/images | while read -r reference name; do
                 tag=\"${{reference%@*}}:${{name##*:}}\"
                 docker tag \"127.0.0.1${{reference#localhost}}\" \"$tag\"
                 docker push --quiet \"$tag\"
                 docker pull --quiet \"$reference\"
             done
             sed -i 's/127.0.0.1:5000/localhost:5000/g' releases/$release/*.json releases/$release/images
         done
         printf '{second}\\trestored\\tcamera ended with exit code 1\\n' >news
         printf '2026-11-27T09:00:00Z\\tanna@laptop\\tdeploy\\t{first}\\tput off: Docker is gone\\n' >>history
         printf '42-17fa\\t99999\\t1795770000\\tanna@laptop\\n' >deploy.holder
         rm -f reserve
         cat >activate <<'END'\n{ACTIVATE}END
         chown robot: activate news history deploy.holder"
    ));
}

/// Names of deltas that no machine has begun.
const FRESH: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const STALE: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Gives the files in the workspace the names that they had.
fn lay_out_laptop(workspace: &Workspace) {
    for (old, new) in [("parcels", "deltas"), ("contents", "indexes"), ("courier-owner", "owner")] {
        let [old, new] = [old, new].map(|name| workspace.path(&format!("target/xtask/{name}")));
        std::fs::rename(new, old).unwrap();
    }
}

/// Label of the guard that only newer versions give it.
fn guard() -> String {
    let format = "{{index .Config.Labels \"xtask.guard\"}}";
    MAIN.exec(&["docker", "inspect", "--format", format, &format!("{PROJECT}-guard")])
}

pub fn a_robot_that_an_older_version_served_is_served(lab: &Lab) {
    // A fresh robot: one that has loaded a bundle calls its images by other names.
    lab.workspace.xtask(&["sim", "down", "main"]).expect_exit(0);
    let workspace = lab.deployed();
    edit(workspace);
    lab.deploy(MAIN);
    let (first, second) = (previous(), current());
    lay_out_robot([&first, &second]);
    lay_out_laptop(workspace);
    let older = ["docker", "image", "ls", "--quiet", &format!("localhost:5000/{PROJECT}")];
    assert_ne!(MAIN.exec(&older), "");
    let run = |args: &[&str]| workspace.xtask(&[args, &["--robot", "main"]].concat()).expect_exit(0);

    run(&["status"]).says(&format!("release {second} was rolled back: camera ended with exit code 1"));
    drop(run(&["releases"]).says(&first).says(&second));
    drop(run(&["history"]).says("put off: Docker is gone"));
    // The older `activate` is still there, and creates its guard.
    run(&["rollback", "--to", &first]).says(&format!("release {second} was rolled back"));
    assert_runs(&first);
    assert_eq!(guard(), "");
    run(&["rollback", "--to", &second]);
    assert_runs(&second);
    let before = images(&MAIN.services());
    assert!(MAIN.services().values().any(|container| container.reference.starts_with("localhost:5000/")));

    edit(workspace);
    lab.deploy(MAIN).says("1 new layer)").never_says("`docker push` sends");
    let new = current();
    assert_runs(&new);
    assert_eq!(guard(), *PROJECT);
    MAIN.assert_has_built("localization");
    assert_ne!(MAIN.registry_login(), "");
    assert_eq!(MAIN.sh(&format!("ls {AGENT_DIR}")), format!("{FRESH}.spool\nlock"));
    for release in [&first, &new] {
        run(&["rollback", "--to", release]);
        assert_runs(release);
        run(&["prune"]);
    }
    run(&["rollback", "--to", &second]);
    assert_eq!(images(&MAIN.services()), before);

    // The older names are removed with the last of these releases.
    MAIN.sh(&format!(
        "cd /home/robot/.deploy/{PROJECT}/releases
         sed -i 's/\"outcome\": \"healthy\"/\"outcome\": \"unhealthy\"/' {first}/release.json {second}/release.json"
    ));
    for _ in 0..3 {
        edit(workspace);
        lab.deploy(MAIN);
    }
    run(&["prune"]);
    assert_eq!(MAIN.exec(&older), "");
    assert_runs(&current());
    MAIN.sh(&format!("rm {AGENT_DIR}/{FRESH}.spool"));
}
