//! A deploy for each save.

use super::harness::{Lab, MAIN, ODOMETRY, ODOMETRY_THERE, PROJECT};
use super::releases::{current, edit};

pub fn what_is_saved_is_deployed_and_a_mistake_is_waited_out(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    let mut run = workspace.start(&["watch", "--robot", "main"]);
    run.until_it_says("waiting for a save");
    edit(workspace);
    run.until("the new container", |_| {
        (MAIN.services().get("localization").is_some_and(|one| *one != before["localization"])).then_some(())
    });
    assert_eq!(MAIN.services()["navigation"], before["navigation"]);
    let deploys = |run: &super::harness::Running| run.stderr().matches("waiting for a save").count();
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
    run.until("the last of them", |_| {
        let cat = format!("docker exec {PROJECT}-localization-1 cat {ODOMETRY_THERE}");
        let there = MAIN.sh(&format!("{cat} 2>/dev/null || true"));
        (there == last.trim_end()).then_some(())
    });
    assert!(deploys(&run) <= 6, "{}", run.stderr());
    run.interrupt();
    run.wait_for_all().expect_exit(0).never_says("error: interrupted");
}
