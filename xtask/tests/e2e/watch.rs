//! A deploy for each save.

use super::harness::{
    Engine, Lab, MAIN, ODOMETRY, ODOMETRY_THERE, PROJECT, Robot, Running, SECONDARY, Workspace, eventually,
};
use super::releases::{assert_runs, current, edit};

/// Content of [`ODOMETRY`] in the container of `localization`.
fn there() -> String {
    MAIN.sh(&format!("docker exec {PROJECT}-localization-1 cat {ODOMETRY_THERE} 2>/dev/null || true"))
}

/// Live edits, as the robot's status tells them.
fn live_edits(workspace: &Workspace) -> Option<u64> {
    let status = workspace.xtask(&["status", "--robot", "main", "--json"]).expect_exit(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    status["main"]["live_edits"]["count"].as_u64()
}

/// Edits a source and waits until it is live.
fn edit_live(workspace: &Workspace, run: &mut Running) {
    let said = |run: &Running| run.stderr().matches("live in `localization` on `main`").count();
    let before = said(run);
    edit(workspace);
    run.until("the live edit", |run| (said(run) > before).then_some(()));
    assert_eq!(there(), workspace.read(ODOMETRY).trim_end());
}

pub fn what_is_saved_is_deployed_and_a_mistake_is_waited_out(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    let mut run = workspace.start(&["watch", "--robot", "main", "--no-live"]);
    run.until_it_says("waiting for a save");
    edit(workspace);
    run.until("the new container", |_| {
        (MAIN.services().get("localization").is_some_and(|one| *one != before["localization"])).then_some(())
    });
    assert_eq!(MAIN.services()["navigation"], before["navigation"]);
    let deploys = |run: &Running| run.stderr().matches("waiting for a save").count();
    run.until("the first deploy to end", |run| (deploys(run) == 2).then_some(()));

    // A mistake, and its fix.
    let (number, good) = (current(), workspace.read("docker/compose.yaml"));
    workspace.write("docker/compose.yaml", good.replace("services:", "sevrices:"));
    run.until_it_says("the deploy failed, see above");
    assert_eq!(current(), number);
    workspace.write("docker/compose.yaml", good);
    run.until("the repair", |run| (deploys(run) == 4).then_some(()));

    // Several saves at once give one deploy of the last state.
    for number in 0..20 {
        edit(workspace);
        workspace.write("ros_ws/src/localization/note", format!("{number}"));
    }
    let last = workspace.read(ODOMETRY);
    run.until("the last of them", |_| (there() == last.trim_end()).then_some(()));
    assert!(deploys(&run) <= 6, "{}", run.stderr());
    run.interrupt();
    run.wait_for_all().expect_exit(0).never_says("error: interrupted");
}

pub fn a_saved_file_is_live_at_once_and_a_release_at_the_end(lab: &Lab) {
    let workspace = lab.deployed();
    let (number, before) = (current(), MAIN.services());
    let owners = || {
        let list = "stat -c '%a %u %g %n' /opt /opt/ws /opt/ws/install";
        MAIN.sh(&format!(
            "docker exec {PROJECT}-localization-1 {list} $(dirname {ODOMETRY_THERE}) {ODOMETRY_THERE}"
        ))
    };
    let as_built = owners();
    let toml = workspace.read("robots.toml");
    workspace.write("robots.toml", format!("{toml}\n[watch]\nsettle = 86400\n"));
    let mut run = workspace.start(&["watch", "--robot", "main"]);
    run.until_it_says("waiting for a save");

    let image = || Engine::ids(&PROJECT)["localization"].clone();
    let built = image();
    edit_live(workspace, &mut run);
    run.until("the build in the background", |_| (image() != built).then_some(()));
    edit_live(workspace, &mut run);
    let (now, good) = (MAIN.services(), workspace.read(ODOMETRY));
    assert_eq!(now["localization"].id, before["localization"].id);
    assert_ne!(now["localization"].started, before["localization"].started);
    assert_eq!(now["navigation"], before["navigation"]);
    assert_eq!((current(), live_edits(workspace)), (number.clone(), Some(2)));
    assert_eq!(owners(), as_built);

    // Another run does not get between them.
    workspace.xtask(&["deploy", "--robot", "main"]).expect_exit(4).says("has been editing `main` live");
    workspace.xtask(&["releases", "--robot", "main"]).expect_exit(0).says("current + 2 live edits by ");

    // A mistake is told with what the node said, and the files of before run again.
    workspace.write(ODOMETRY, format!("{good}# crash at once\n"));
    run.until_it_says("localization | localization crashes at once");
    run.until_it_says("`main` has the files of before again");
    run.until_it_says("save a corrected file");
    assert_eq!((there(), live_edits(workspace)), (good.trim_end().to_owned(), Some(2)));
    assert_eq!(owners(), as_built);
    assert_eq!(MAIN.services()["localization"].id, before["localization"].id);

    workspace.write(ODOMETRY, &good);
    run.until_it_says("its content is as before");

    // What a power cut leaves is whole.
    edit_live(workspace, &mut run);
    MAIN.cut_power();
    MAIN.switch_on();
    eventually("the engine", || MAIN.can(&["docker", "info"]).then_some(()));
    assert_runs(&number);
    assert_eq!((there(), live_edits(workspace)), (workspace.read(ODOMETRY).trim_end().to_owned(), Some(3)));

    // The robot has another address by now: a deploy finds it.
    edit(workspace);
    run.until("the deploy", |run| (run.stderr().matches("waiting for a save").count() == 2).then_some(()));
    assert_eq!((there(), live_edits(workspace)), (workspace.read(ODOMETRY).trim_end().to_owned(), None));

    edit_live(workspace, &mut run);
    run.interrupt();
    run.wait_for_all().expect_exit(0).says("making a release of the live edits");
    assert_eq!((there(), live_edits(workspace)), (workspace.read(ODOMETRY).trim_end().to_owned(), None));
    assert_ne!((current(), &MAIN.services()["localization"].id), (number, &before["localization"].id));
    MAIN.assert_has_built("localization");

    // When saving pauses, too.
    workspace.write("robots.toml", format!("{toml}\n[watch]\nsettle = 1\n"));
    let mut run = workspace.start(&["watch", "--robot", "main"]);
    run.until_it_says("waiting for a save");
    edit_live(workspace, &mut run);
    run.until("the release", |run| (run.stderr().matches("waiting for a save").count() == 2).then_some(()));
    assert_eq!(live_edits(workspace), None);
    assert!(!run.stderr().contains("another file"), "{}", run.stderr());
    run.interrupt();
    run.wait_for_all().expect_exit(0);
    MAIN.assert_has_built("localization");
}

pub fn every_kind_of_file_that_is_installed_as_it_is_is_live(lab: &Lab) {
    let workspace = lab.deployed();
    let kinds = ["launch/robot.launch.xml", "launch/robot.launch.py", "urdf/robot.urdf", "config/robot.yaml"];
    let source = |name: &str| format!("ros_ws/src/localization/{name}");
    kinds.iter().for_each(|name| workspace.write(&source(name), format!("{name}\n")));
    let mut run = workspace.start(&["watch", "--robot", "main"]);
    run.until_it_says("waiting for a save");
    let before = MAIN.services()["localization"].id.clone();
    for (number, name) in kinds.iter().enumerate() {
        workspace.write(&source(name), format!("{name} with a change\n"));
        run.until(name, |run| {
            (run.stderr().matches("live in `localization`").count() > number).then_some(())
        });
        let there = format!("/opt/ws/install/localization/share/localization/{name}");
        assert_eq!(MAIN.file("localization", &there), format!("{name} with a change"));
    }
    assert_eq!(MAIN.services()["localization"].id, before);
    run.interrupt();
    run.wait_for_all().expect_exit(0).says("making a release of the live edits");
}

pub fn who_shares_a_namespace_with_an_edited_service_starts_after_it(lab: &Lab) {
    let workspace = lab.deployed();
    let compose = "docker/compose.yaml";
    let logger = format!(
        "  logger:\n    image: {PROJECT}:navigation\n    command: [sh, -c, 'sleep 1000']\n    stop_signal: KILL\n    \
         pid: service:localization\n"
    );
    workspace.write(compose, format!("{}{logger}", workspace.read(compose)));
    let mut run = workspace.start(&["watch", "--robot", "main"]);
    run.until_it_says("waiting for a save");
    let (before, namespace) = (MAIN.services(), |service: &str| {
        let pid = format!("docker inspect --format '{{{{.State.Pid}}}}' {PROJECT}-{service}-1");
        MAIN.sh(&format!("readlink /proc/$({pid})/ns/pid"))
    });
    edit_live(workspace, &mut run);
    assert_eq!(namespace("logger"), namespace("localization"));
    let now = MAIN.services();
    assert_eq!(now["logger"].id, before["logger"].id);
    assert_ne!(now["logger"].started, before["logger"].started);
    assert_eq!(now["navigation"], before["navigation"]);
    run.interrupt();
    run.wait_for_all().expect_exit(0).says("making a release of the live edits");
    assert_eq!(namespace("logger"), namespace("localization"));
}

pub fn what_a_service_does_not_work_with_is_on_no_robot_and_in_no_release(lab: &Lab) {
    let workspace = lab.deployed();
    let (second, there) = ("ros_ws/src/localization/localization/second.py", "second.py");
    workspace.write(second, "# 1\n");
    workspace.write("robots.toml", workspace.read("robots.toml") + "\n[watch]\nsettle = 86400\n");
    let mut run = workspace.start(&["watch", "--robot", "main,secondary"]);
    run.until_it_says("waiting for a save");
    let text = |robot: Robot, file: &str| {
        let dir = ODOMETRY_THERE.rsplit_once('/').unwrap().0;
        robot.sh(&format!("docker exec {PROJECT}-localization-1 cat {dir}/{file}"))
    };
    let save = |number: usize, odometry: &str| {
        workspace.write(second, format!("# {number}\n"));
        workspace.write(ODOMETRY, odometry);
    };
    let have = |robot: Robot, number: usize| {
        let is_good = text(robot, "odometry.py") == workspace.read(ODOMETRY).trim_end();
        assert!(is_good && text(robot, there) == format!("# {number}"), "{}", robot.name);
    };
    let good = workspace.read(ODOMETRY);

    // Both robots have the old files again. The correction of one file brings the other one, too.
    save(2, &format!("{good}# crash at once\n"));
    run.until("both robots", |run| {
        (run.stderr().matches("has the files of before again").count() == 2).then_some(())
    });
    assert_eq!(
        [MAIN, SECONDARY].map(|robot| text(robot, "odometry.py")),
        [(); 2].map(|()| good.trim_end().to_owned())
    );
    workspace.write(ODOMETRY, format!("{good}# corrected\n"));
    run.until_it_says("live in `localization` on `main`, `localization` on `secondary`");
    [MAIN, SECONDARY].into_iter().for_each(|robot| have(robot, 2));

    // One robot refuses: nothing is deployed before the next save, which makes all robots alike.
    save(3, &format!("{good}# crash on secondary\n"));
    run.until_it_says("the other robots run the new files");
    have(MAIN, 3);
    assert_eq!(text(SECONDARY, "odometry.py"), format!("{good}# corrected"));
    workspace.write(ODOMETRY, &good);
    run.until("the deploy", |run| (run.stderr().matches("waiting for a save").count() == 2).then_some(()));
    [MAIN, SECONDARY].into_iter().for_each(|robot| have(robot, 3));

    // Nor does the end of the watch make a release of what was undone.
    let number = current();
    save(4, &format!("{good}# right\n"));
    run.until("the live edit", |run| (run.stderr().matches("live in ").count() == 2).then_some(()));
    save(5, &format!("{good}# crash at once\n"));
    run.until_it_says("so there is no release before it is corrected");
    run.interrupt();
    run.wait_for_all().expect_exit(0).says("the live edits stay");
    assert_eq!((current(), text(MAIN, "odometry.py")), (number, format!("{good}# right")));
    // The next test begins with this file.
    workspace.write(ODOMETRY, good);
}

pub fn what_a_lost_watch_leaves_is_replaced_by_the_next_deploy(lab: &Lab) {
    let workspace = lab.deployed();
    let (number, before, original) = (current(), MAIN.services(), workspace.read(ODOMETRY));
    let mut run = workspace.start(&["watch", "--robot", "main"]);
    run.until_it_says("waiting for a save");
    edit_live(workspace, &mut run);
    drop(run);
    assert_eq!(live_edits(workspace), Some(1));

    // The images of the current release are wanted again, but its container has other files by now.
    workspace.write(ODOMETRY, &original);
    lab.deploy(MAIN);
    assert_eq!((current(), there(), live_edits(workspace)), (number, original.trim_end().to_owned(), None));
    assert_ne!(MAIN.services()["localization"].id, before["localization"].id);
    assert_eq!(MAIN.services()["navigation"], before["navigation"]);
}

pub fn what_cannot_be_put_into_containers_is_deployed(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.edit(
        "docker/compose.yaml",
        "    command: node localization",
        "    read_only: true\n    command: node localization",
    );
    let mut run = workspace.start(&["watch", "--robot", "main"]);
    run.until_it_says("waiting for a save");
    let deploys = |run: &mut Running, count| {
        run.until("the deploy", |run| {
            (run.stderr().matches("waiting for a save").count() == count).then_some(())
        });
        assert_eq!(there(), workspace.read(ODOMETRY).trim_end());
    };

    // A container whose files cannot be replaced.
    edit(workspace);
    deploys(&mut run, 2);
    assert!(run.stderr().contains("Read-only file system"), "{}", run.stderr());

    // A file that is new, together with one that is not.
    workspace.write("ros_ws/src/localization/localization/new.py", "");
    edit(workspace);
    deploys(&mut run, 3);
    assert_eq!(live_edits(workspace), None);
    run.interrupt();
    run.wait_for_all().expect_exit(0);
}

pub fn a_save_overtakes_the_build_before_it(lab: &Lab) {
    let workspace = lab.deployed();
    let seconds = "ros_ws/src/localization/seconds";
    // Longer than any test may take.
    workspace.write(seconds, "100000");
    let mut run = workspace.start(&["watch", "--robot", "main", "--verbose"]);
    run.until_it_says("this takes 100000 s");
    workspace.write(seconds, "0");
    edit(workspace);
    run.until_it_says("waiting for a save");
    assert_eq!(run.stderr().matches("starting over").count(), 1, "{}", run.stderr());
    assert_eq!(there(), workspace.read(ODOMETRY).trim_end());
    run.interrupt();
    run.wait_for_all().expect_exit(0);
}
