//! Commands for everyday use: status, logs, stop, start, and trying a command in a container.

use super::harness::{Lab, MAIN, PROJECT, SECONDARY, Teammate};
use super::releases::current;

const ALL: [&str; 4] = ["behavior_tree", "communication", "localization", "navigation"];

pub fn logs_are_those_of_the_services_asked_for(lab: &Lab) {
    let workspace = lab.deployed();
    lab.deploy(SECONDARY);
    let one = workspace.xtask(&["logs", "--robot", "main", "navigation"]).expect_exit(0);
    let lines: Vec<&str> = one.stdout.lines().collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.starts_with("navigation-1 ")), "{lines:?}");
    let short = workspace.xtask(&["logs", "--robot", "main", "--tail", "1", "navigation"]).expect_exit(0);
    assert_eq!(short.stdout.lines().count(), 1, "{}", short.stdout);
    let all = workspace.xtask(&["logs", "--all"]).expect_exit(0);
    for robot in ["main     ", "secondary"] {
        for service in ALL {
            let beginning = format!("{robot}  {service}-1 ");
            assert!(
                all.stdout.lines().any(|line| line.starts_with(&beginning)),
                "{beginning}\n{}",
                all.stdout
            );
        }
    }
}

pub fn logs_are_followed_until_ctrl_c(lab: &Lab) {
    let workspace = lab.deployed();
    let mut logs = workspace.start(&["logs", "--robot", "main", "--follow", "--tail", "0"]);
    logs.until_it_runs(&["docker compose", "--follow"]);
    // Lines printed before `logs` connects may be missing, so print again until one appears.
    let say = format!("docker exec {PROJECT}-navigation-1 sh -c 'echo said just now >/proc/1/fd/1'");
    logs.until("the line", |run| {
        MAIN.sh(&say);
        run.stdout().contains("said just now").then_some(())
    });
    logs.interrupt();
    logs.wait_for_all().expect_exit(0).never_says("error");
    assert_eq!(MAIN.services().len(), ALL.len());
}

pub fn one_service_is_stopped_started_and_restarted_and_no_other(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    let others = || {
        let mut services = MAIN.services();
        services.remove("localization");
        services
    };
    workspace.xtask(&["stop", "--robot", "main", "localization"]).expect_exit(0).says("stopped");
    assert_eq!(MAIN.services().len(), ALL.len() - 1);
    workspace.xtask(&["start", "--robot", "main", "localization"]).expect_exit(0);
    let started = MAIN.services();
    assert_eq!(started["localization"].id, before["localization"].id);
    assert_ne!(started["localization"].started, before["localization"].started);
    workspace.xtask(&["restart", "--robot", "main", "localization"]).expect_exit(0);
    let restarted = MAIN.services();
    assert_ne!(restarted["localization"].started, started["localization"].started);
    let mut rest = before.clone();
    rest.remove("localization");
    assert_eq!(others(), rest);
    // A missing container is created again.
    MAIN.exec(&["docker", "rm", "--force", &format!("{PROJECT}-localization-1")]);
    workspace.xtask(&["start", "--robot", "main"]).expect_exit(0);
    assert_eq!(MAIN.services()["localization"].image, before["localization"].image);
    assert_eq!(others(), rest);
    workspace.xtask(&["stop", "--robot", "main"]).expect_exit(0);
    assert!(MAIN.services().is_empty());
    workspace.xtask(&["deploy", "--robot", "main"]).expect_exit(0);
    assert_eq!(MAIN.services().len(), ALL.len());
}

pub fn commands_in_a_container_have_the_environment_of_ros(lab: &Lab) {
    let workspace = lab.deployed();
    let exec = ["exec", "--robot", "main", "navigation", "--"];
    let run = |command: &[&str]| workspace.xtask(&[&exec[..], command].concat());
    let found = run(&["printenv", "AMENT_PREFIX_PATH"]).expect_exit(0).stdout;
    assert!(found.contains("/opt/ws/install/navigation"), "{found}");
    let odd = "it's $(id) \"two\"\nlines; -n";
    assert_eq!(run(&["printf", "%s", odd]).expect_exit(0).stdout, odd);
    run(&["false"]).expect_exit(1);
    run(&["ros-run", "navigation", "no_such_node"]).expect_exit(127).says("has no executable `no_such_node`");
    // Some engines lose an end of stdin that comes before the shell has started, so the input ends with
    // `exit`.
    let shell = workspace.xtask_with_stdin("echo here; exit", &["shell", "--robot", "main", "navigation"]);
    assert_eq!(shell.expect_exit(0).stdout, "here\n", "without a terminal it reads what it is told");
}

pub fn unknown_services_are_named_with_those_there_are(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    for verb in [&["logs"][..], &["stop"], &["start"], &["restart"], &["shell"]] {
        workspace
            .xtask(&[verb, &["--robot", "main", "naviagtion"]].concat())
            .expect_exit(2)
            .says("`main` has no service `naviagtion`")
            .says("did you mean `navigation`?");
    }
    workspace.xtask(&["stop", "--robot", "main", "--", "--help"]).expect_exit(2).says("no service `--help`");
    assert_eq!(MAIN.services(), before);
}

pub fn a_command_runs_once_beside_the_service(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    let words =
        ["run", "--robot", "main", "navigation", "--", "sh", "-c", "echo \"it's $ROBOT_NAME\"; exit 3"];
    workspace.xtask(&words).expect_exit(3).says("it's main").never_says("error");
    assert_eq!(MAIN.services(), before);
    let left = MAIN.sh("docker ps --all --quiet --filter label=com.docker.compose.oneoff=True");
    assert_eq!(left, "");
    workspace.xtask(&["exec", "--robot", "main", "navigation", "--", "true"]).expect_exit(0);
    // 255 is also the exit code of an `ssh` that fails.
    for verb in [&["exec", "--robot", "main", "navigation"][..], &["ssh", "--robot", "main"]] {
        let ended = workspace.xtask(&[verb, &["--", "sh", "-c", "exit 255"]].concat()).expect_exit(255);
        assert_eq!(ended.stderr, "", "{verb:?}");
    }
    workspace.xtask(&["ssh", "--robot", "main", "--", "test", "it's", "=", "it's"]).expect_exit(0);
    let history = workspace.xtask(&["history", "--robot", "main"]).expect_exit(0);
    let history = history.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for entry in ["run N navigation sh -c", "exec N navigation true", r"ssh N test 'it'\''s' '=' 'it'\''s'"] {
        assert!(history.contains(&entry.replace('N', &current())), "{history}");
    }
}

pub fn variables_are_changed_without_a_build(lab: &Lab) {
    let workspace = lab.deployed();
    let service = format!("    image: {PROJECT}:navigation");
    workspace.edit(
        "docker/compose.yaml",
        &service,
        &format!("{service}\n    labels: {{ speed: \"${{SPEED:-1}}\" }}"),
    );
    lab.deploy(MAIN);
    let before = MAIN.services();
    // `env` must not build anything.
    workspace.write("docker/build-package", "#!/bin/sh\nexit 1\n");
    workspace.edit("robots.toml", "ROBOT_NAME = \"main\" }", "ROBOT_NAME = \"main\", SPEED = \"2\" }");
    let env = ["env", "--robot", "main"];
    workspace
        .xtask(&[&env[..], &["--plan"]].concat())
        .expect_exit(0)
        .says("navigation labels.speed: `2` now");
    assert_eq!(MAIN.services(), before);
    workspace.xtask(&env).expect_exit(0).says("changed values for navigation");
    let after = MAIN.services();
    let replaced: Vec<&String> = after.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
    assert_eq!(replaced, ["navigation"]);
    assert_eq!(after["navigation"].image, before["navigation"].image);
    let label = "docker inspect --format '{{index .Config.Labels \"speed\"}}'";
    assert_eq!(MAIN.sh(&format!("{label} {PROJECT}-navigation-1")), "2");
    workspace.xtask(&env).expect_exit(0).says("nothing to do");
}

pub fn data_is_copied_and_completed(lab: &Lab) {
    let workspace = lab.deployed();
    let name = "bags/fin al's \"$(x)\" [1]";
    let place = workspace.path("data/main/bags").to_owned();
    MAIN.sh("mkdir -p /home/robot/bags && head -c 3000000 /dev/urandom >/home/robot/bags/a.db3");
    MAIN.sh(
        "cd /home/robot/bags && cp a.db3 \"fin al's \\\"\\$(x)\\\" [1]\" && chown -R robot /home/robot/bags",
    );
    let sum = |path: &str| super::harness::output(&["sha256sum", path]).split(' ').next().unwrap().to_owned();
    workspace.xtask(&["pull-data", "--robot", "main", "bags"]).expect_exit(0);
    let there = MAIN.sh("sha256sum </home/robot/bags/a.db3");
    assert!(there.starts_with(&sum(&format!("{place}/a.db3"))));
    // Half of the file, as a broken connection leaves it: this half is not sent again.
    let written = MAIN.sh("stat -c %Y /home/robot/bags/a.db3");
    let part = format!("{place}/.a.db3.{written}.part");
    std::fs::rename(format!("{place}/a.db3"), &part).unwrap();
    std::fs::File::options().write(true).open(&part).unwrap().set_len(2_000_000).unwrap();
    let before = MAIN.sent();
    workspace.xtask(&["pull-data", "--robot", "main", "bags"]).expect_exit(0);
    assert!(there.starts_with(&sum(&format!("{place}/a.db3"))));
    assert!(MAIN.sent() - before < 2_000_000);
    // A rewritten file of the same size is another file, so the old part must not be reused.
    MAIN.sh("cd /home/robot/bags && head -c 3000000 /dev/urandom >a.db3 && touch -d 2020-01-02 a.db3");
    std::fs::write(format!("{place}/.a.db3.{written}.part"), "old").unwrap();
    workspace.xtask(&["pull-data", "--robot", "main", "bags"]).expect_exit(0);
    assert!(MAIN.sh("sha256sum </home/robot/bags/a.db3").starts_with(&sum(&format!("{place}/a.db3"))));
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 2, "nothing unfinished is left");
    MAIN.sh("cp \"/home/robot/bags/fin al's \\\"\\$(x)\\\" [1]\" /home/robot/bags/a.db3");
    workspace.xtask(&["pull-data", "--robot", "main", name, "--to", "one"]).expect_exit(0);
    assert!(there.starts_with(&sum(workspace.path("one/main/fin al's \"$(x)\" [1]"))));
    MAIN.sh("cp /home/robot/bags/a.db3 /home/robot/-x");
    workspace.xtask(&["pull-data", "--robot", "main", "--to=-y", "--", "-x"]).expect_exit(0);
    assert!(there.starts_with(&sum(workspace.path("-y/main/-x"))));
    workspace
        .xtask(&["pull-data", "--robot", "main", "no-such-bag"])
        .expect_exit(1)
        .says("`no-such-bag` does not exist on `main`")
        .says("bags");
    MAIN.exec(&["rm", "-r", "/home/robot/bags", "/home/robot/-x"]);
}

pub fn data_is_copied_out_of_a_container(lab: &Lab) {
    let workspace = lab.deployed();
    let inside =
        |script: &str| MAIN.exec(&["docker", "exec", &format!("{PROJECT}-navigation-1"), "sh", "-c", script]);
    inside(
        "mkdir -p '/tmp/ros/b \"$x\"/empty' /tmp/ros/log && head -c 3000000 /dev/urandom >'/tmp/ros/b \"$x\"/-a b'",
    );
    let there = inside("sha256sum <'/tmp/ros/b \"$x\"/-a b'");
    let here = workspace.path("data/main/b \"$x\"/-a b").to_owned();
    let pull = ["pull-data", "--robot", "main", "navigation:/tmp/ros/b \"$x\""];
    let is_here = || {
        workspace.xtask(&pull).expect_exit(0);
        assert!(there.starts_with(
            super::harness::output(&["sha256sum", "--", here.as_str()]).split(' ').next().unwrap()
        ));
    };
    is_here();
    assert!(std::path::Path::new(workspace.path("data/main/b \"$x\"/empty")).is_dir());
    workspace.xtask(&["pull-data", "--robot", "main", "navigation:/tmp/ros/log"]).expect_exit(0);
    let missing = ["pull-data", "--robot", "main", "navigation:/no-such-bag"];
    workspace.xtask(&missing).expect_exit(1).says("`/no-such-bag` does not exist in `navigation` on `main`");
    let unknown = ["pull-data", "--robot", "main", "navigatoin:/tmp"];
    workspace.xtask(&unknown).expect_exit(2).says("navigation");
}

pub fn the_build_tools_work_on_the_sources_of_this_machine(lab: &Lab) {
    lab.workspace.reset();
    let words = ["dev-shell", "--yes", "--", "colcon", "build", "--packages-select", "robot_node"];
    lab.workspace.xtask(&words).expect_exit(0);
    assert!(std::path::Path::new(lab.workspace.path("ros_ws/install/robot_node")).exists());
    let failing = ["dev-shell", "--yes", "--", "sh", "-c", "echo 'it is '$((6 * 7)); exit 3"];
    lab.workspace.xtask(&failing).expect_exit(3).says("it is 42").never_says("error");
}

pub fn what_is_built_with_them_belongs_to_who_started_them(lab: &Lab) {
    lab.workspace.reset();
    let teammate = Teammate::of(&lab.workspace);
    let dev_shell =
        |command: &[&str]| teammate.xtask(&[&["dev-shell", "--"], command].concat()).expect_exit(0);
    let uid = teammate.uid;
    dev_shell(&["id"]).says(&format!("uid={uid}(dev) gid="));
    dev_shell(&["colcon", "build", "--packages-select", "robot_node"]);
    let module = "python3 -c 'import robot_node, os; print(robot_node.__file__, os.path.expanduser(\"~\"))'";
    dev_shell(&["bash", "-ic", module]).says("/ws/install/robot_node/").says(" /home/dev");
    dev_shell(&["bash", "-lc", "command -v colcon"]).says("/opt/venv/bin/colcon");
    dev_shell(&["sh", "-c", "echo kept >~/notes"]);
    assert_eq!(dev_shell(&["sh", "-c", "cat ~/notes"]).stdout, "kept\n");
    for made in ["build", "install", "log"] {
        assert!(std::path::Path::new(teammate.workspace.path("ros_ws")).join(made).is_dir(), "{made}");
    }
    assert_eq!(teammate.files_of_others(""), "");
}
