//! Releases on a robot: their files, the number of kept releases, and rollback.

use super::harness::{
    Container, Lab, MAIN, MAP, ODOMETRY, PROJECT, RegistryDisk, Workspace, eventually, incompressible, output,
};

/// Directory in which the robot's registry keeps unfinished uploads.
const UPLOADS: &str =
    "/var/lib/docker/volumes/xtask-registry/_data/docker/registry/v2/repositories/*/_uploads";

/// An edit that has never been built before.
pub fn edit(workspace: &Workspace) {
    let line = format!("    half = turn / 2  # {:?}", std::time::SystemTime::now());
    let text = workspace.read(ODOMETRY);
    let at = text.find("    half = turn / 2").unwrap();
    let end = at + text[at..].find('\n').unwrap();
    workspace.write(ODOMETRY, format!("{}{line}{}", &text[..at], &text[end..]));
}

/// Adds a service to the Compose file.
pub fn add_service(workspace: &Workspace, definition: &str) {
    let file = "docker/compose.yaml";
    let definition = definition.replace("PROJECT", &PROJECT);
    workspace.write(file, format!("{}\n{definition}\n", workspace.read(file)));
}

/// Number of the running release, as shown on the robot.
pub fn current() -> String {
    let link = MAIN.sh(&format!("readlink /home/robot/.deploy/{PROJECT}/current"));
    link.strip_prefix("releases/").unwrap().to_owned()
}

/// Number of the release before the current one; empty if there is none.
pub fn previous() -> String {
    let link = MAIN.sh(&format!("readlink /home/robot/.deploy/{PROJECT}/previous || true"));
    link.strip_prefix("releases/").unwrap_or_default().to_owned()
}

/// The robot's record of a release.
pub fn record(number: &str) -> serde_json::Value {
    let text = MAIN.sh(&format!("cat /home/robot/.deploy/{PROJECT}/releases/{number}/release.json"));
    serde_json::from_str(&text).unwrap()
}

/// The containers without their start times, which change at a power cut.
pub fn images(containers: &std::collections::BTreeMap<String, Container>) -> Vec<(String, String)> {
    containers.iter().map(|(name, container)| (name.clone(), container.image.clone())).collect()
}

/// Fails unless the robot runs this release, complete and healthy, without traces of an activation.
pub fn assert_runs(number: &str) {
    assert_eq!(current(), number);
    eventually("all services to be well", || {
        let list = format!(
            "docker ps --filter label=com.docker.compose.project={PROJECT} --format '{{{{.Status}}}}'"
        );
        let states = MAIN.sh(&list);
        states
            .lines()
            .all(|state| {
                state.starts_with("Up") && !state.contains("starting") && !state.contains("unhealthy")
            })
            .then_some(())
    });
    let home = format!("/home/robot/.deploy/{PROJECT}");
    // Each container was created for this release, and runs the image of this release.
    let wanted = MAIN.sh(&format!("cut -d ' ' -f 1,3 {home}/current/services | sort"));
    let format =
        "{{index .Config.Labels \"xtask.hash\"}} {{index .Config.Labels \"com.docker.compose.service\"}}";
    let list = format!("docker ps -q --filter label=com.docker.compose.project={PROJECT}");
    let running = MAIN.sh(&format!("{list} | xargs docker inspect --format '{format}' | sort"));
    assert_eq!(running, wanted);
    assert!(!MAIN.can(&["test", "-e", &format!("{home}/activation")]), "an activation has not ended");
    // The shell that held the lock ends with the connection, shortly after the command.
    assert!(MAIN.can(&["flock", "-w", "20", &format!("{home}/deploy.lock"), "true"]), "the robot is locked");
}

pub fn a_release_can_be_understood_on_the_robot(lab: &Lab) {
    let workspace = lab.deployed();
    edit(workspace);
    lab.deploy(MAIN);
    let record = record(&current());
    assert_eq!(record["outcome"], "healthy");
    let deploy = &record["deploy"];
    assert_eq!((&deploy["dirty"], &deploy["via"]), (&true.into(), &"registry".into()));
    let revision = workspace.git(&["describe", "--always", "--tags"]);
    assert_eq!(deploy["revision"], *revision);
    let reference = deploy["images"]["localization"].as_str().unwrap();
    assert_eq!(reference.rsplit('@').next(), Some(&*MAIN.digest("localization")));
    let history = MAIN.sh(&format!("tail -n 1 /home/robot/.deploy/{PROJECT}/history"));
    assert!(history.contains(&format!("\tdeploy\t{}\tactive", current())), "{history}");
    lab.workspace.xtask(&["history", "--robot", "main"]).expect_exit(0).says("deploy").says("healthy");
    // What services mount may be for any user of a container, in a directory that is closed.
    let is_closed = "-type d ! -perm /077 -name data -prune -o -type d ! -perm /077 -name files -prune";
    let modes =
        MAIN.sh(&format!("find /home/robot/.deploy/{PROJECT} {is_closed} -o -type f -perm /077 -print"));
    assert_eq!(modes, "", "others on the robot can read");
}

pub fn rollback_goes_back_without_a_build_or_a_byte(lab: &Lab) {
    let workspace = lab.deployed();
    let (first, before) = (current(), MAIN.services());
    edit(workspace);
    lab.deploy(MAIN);
    let (second, between) = (current(), MAIN.services());
    assert_ne!(images(&before), images(&between));
    workspace
        .xtask(&["rollback", "--robot", "main"])
        .expect_exit(0)
        .says(&format!("activating release {first}"));
    assert_runs(&first);
    assert_eq!(images(&MAIN.services()), images(&before));
    let untouched = ["behavior_tree", "communication", "navigation"];
    assert!(untouched.iter().all(|name| MAIN.services()[*name] == before[*name]));
    workspace.xtask(&["rollback", "--robot", "main", "--to", &second]).expect_exit(0);
    assert_runs(&second);
    assert_eq!(images(&MAIN.services()), images(&between));
    workspace
        .xtask(&["rollback", "--robot", "main", "--to", "9999"])
        .expect_exit(1)
        .says("has no release 9999");
}

pub fn the_last_ones_are_kept_with_their_images(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.edit("robots.toml", "settle = 2", "keep = 3");
    let mut numbers = vec![current()];
    for _ in 0..3 {
        edit(workspace);
        lab.deploy(MAIN);
        numbers.push(current());
    }
    let lock = format!("/home/robot/.deploy/{PROJECT}/activation.lock");
    MAIN.exec(&["flock", &lock, "true"]);
    let kept = MAIN.sh(&format!("ls /home/robot/.deploy/{PROJECT}/releases | sort -n"));
    assert_eq!(kept.lines().collect::<Vec<_>>(), numbers[1..]);
    let tags = MAIN.sh(&format!(
        "docker image ls --format '{{{{.Tag}}}}' {PROJECT} | grep -cE '^localization-[0-9a-f]{{12}}$'"
    ));
    assert_eq!(tags, "3", "an image for each release");
    workspace.xtask(&["rollback", "--robot", "main", "--to", &numbers[1]]).expect_exit(0);
    assert_runs(&numbers[1]);
}

pub fn status_tells_what_is_not_as_the_release_says(lab: &Lab) {
    let workspace = lab.deployed();
    let status = || -> serde_json::Value {
        let ran = workspace.xtask(&["status", "--robot", "main,secondary", "--json"]).expect_exit(0);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    MAIN.wait_until_healthy();
    let all = status();
    let main = &all["main"];
    assert_eq!(main["release"]["release"].to_string(), current());
    assert!(
        main["services"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["drift"].is_null() && one["health"] == "healthy")
    );
    assert!(main["disk_free"].as_u64().unwrap() > 0 && main["clock_ahead"].as_i64().unwrap().abs() < 5);

    // A sensor, as shown by the kernel.
    let sensor = "/sys/class/thermal/thermal_zone0";
    MAIN.sh(&format!(
        "mount -t tmpfs sensors /sys/class/thermal && mkdir {sensor} && echo 48500 >{sensor}/temp"
    ));
    let hot = status();
    MAIN.exec(&["umount", "/sys/class/thermal"]);
    assert_eq!(hot["main"]["temperature"], 48.5);

    MAIN.sh(&format!(
        "docker rm -f {PROJECT}-navigation-1 && \
         docker run -d --name by-hand --label com.docker.compose.project={PROJECT} \
             --label com.docker.compose.service=camera --entrypoint sleep {PROJECT}:navigation 600"
    ));
    let main = &status()["main"];
    let drift = |name: &str| {
        let services = main["services"].as_array().unwrap();
        services.iter().find(|one| one["service"] == name).map(|one| one["drift"].clone()).unwrap()
    };
    assert_eq!(drift("camera"), "not part of this release");
    assert_eq!(drift("navigation"), "the release has this service");
    assert!(drift("localization").is_null());
    // A deploy repairs everything, even if nothing is new.
    lab.deploy(MAIN);
    assert_runs(&current());
    assert!(!MAIN.can(&["docker", "inspect", "by-hand"]));
}

pub fn prune_leaves_what_kept_releases_need_and_nothing_else(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.edit("robots.toml", "settle = 2", "keep = 2");
    let blobs = || {
        let volume = MAIN.sh("docker volume inspect --format '{{.Mountpoint}}' xtask-registry");
        let list = MAIN.sh(&format!("cd {volume}/docker/registry/v2/blobs/sha256 && ls -d */*"));
        list.lines().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let manifest = || MAIN.digest("localization").strip_prefix("sha256:").unwrap().to_owned();
    let mut manifests = Vec::new();
    for _ in 0..4 {
        edit(workspace);
        lab.deploy(MAIN);
        manifests.push(manifest());
    }
    let before = blobs();
    assert!(manifests.iter().all(|manifest| before.contains(manifest)));
    // A full disk is reported.
    let disk = RegistryDisk::with_room(MAIN, 2_000_000);
    workspace.write(MAP, incompressible(20_000_000));
    let refused = workspace.xtask(&["deploy", "--robot", "main", "--yes"]).expect_exit(1);
    drop(refused.says("`main` keeps ").says("that no release needs").says("cargo xtask prune --robot main"));
    drop(disk);
    std::fs::remove_file(workspace.path(MAP)).unwrap();
    // Another program pushes its own image.
    let upload = format!(
        "import http.client, time\n\
         c, login = http.client.HTTPConnection('127.0.0.1', 5000), 'Basic {}'\n\
         c.request('POST', '/v2/{PROJECT}/blobs/uploads/', headers={{'Authorization': login}})\n\
         answer = c.getresponse(); answer.read(); place = answer.headers['Location']\n\
         c.putrequest('PATCH', place[place.index('/v2/'):])\n\
         c.putheader('Authorization', login); c.putheader('Content-Length', '1000000')\n\
         c.endheaders(); c.send(b'x' * 100000)\n\
         open('/tmp/uploading', 'w'); time.sleep(600)",
        MAIN.registry_login()
    );
    output(&["docker", "exec", "--detach", &MAIN.container(), "python3", "-c", &upload]);
    eventually("the upload", || MAIN.can(&["test", "-e", "/tmp/uploading"]).then_some(()));
    workspace.xtask(&["prune", "--robot", "main"]).expect_exit(0).says("its registry is in use");
    assert_eq!(blobs(), before);
    // An abandoned upload does not keep garbage, however long its connection stays open.
    MAIN.sh(&format!("find {UPLOADS} -name data -exec touch -d '11 minutes ago' {{}} +"));
    workspace
        .xtask(&["prune", "--robot", "main"])
        .expect_exit(0)
        .says("freed")
        .never_says("its registry is in use");
    MAIN.sh("pgrep -f '^python3 -c import http.client'");
    MAIN.sh("pkill -f '^python3 -c import http.client'; rm /tmp/uploading");
    let after = blobs();
    let kept: Vec<bool> = manifests.iter().map(|manifest| after.contains(manifest)).collect();
    assert_eq!(kept, [false, false, true, true]);
    assert!(after.len() < before.len());
    assert_runs(&current());
    // Nothing that was pruned is needed.
    workspace.xtask(&["rollback", "--robot", "main"]).expect_exit(0);
    workspace.xtask(&["prune", "--robot", "main"]).expect_exit(0);
    edit(workspace);
    lab.deploy(MAIN).says("1 new layer)");
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
}

pub fn this_machine_keeps_what_the_next_deploy_needs(lab: &Lab) {
    let workspace = lab.deployed();
    let deploy = || {
        edit(workspace);
        lab.deploy(MAIN);
        let layers = MAIN.layers("localization");
        workspace.path(&format!("target/xtask/layers/blobs/{}", layers.last().unwrap().replace(":", "/")))
    };
    let (old, new) = (deploy(), deploy());
    let is_there = |path: &str| std::path::Path::new(path).exists();
    assert!(is_there(old) && is_there(new), "{old} {new}");
    workspace.xtask(&["prune", "--local"]).expect_exit(0).says("of layers and deltas freed");
    assert_eq!((is_there(old), is_there(new)), (false, true));
    edit(workspace);
    lab.deploy(MAIN).says("1 new layer)");
    MAIN.assert_has_built("localization");
}
