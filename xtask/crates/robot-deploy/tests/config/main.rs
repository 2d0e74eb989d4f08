//! Loads `robots.toml` and the packages into a `Workspace`.

mod mistakes;
mod packages;
mod team;
mod variables;

use std::fs;

use camino::Utf8Path;
use clap::Parser as _;
use robot_deploy::config::{BaseSource, Host, Store, Workspace};
use robot_deploy::error::{Exit, exit_of};
use robot_deploy::image::tools_reference;
use team::{Team, assert_complaint, rendered};

/// The command line of a team that adds no verbs of its own.
#[derive(clap::Parser)]
struct Cli {
    #[command(subcommand)]
    _verb: robot_deploy::Verb,
}

#[test]
fn a_good_workspace_is_complete() {
    let team = Team::new();
    let workspace = team.load().unwrap();
    assert_eq!(workspace.root, team.root);
    assert_eq!(workspace.project.ros_workspace, team.root.join("ros_ws"));
    assert_eq!(workspace.bases["ros"].source, BaseSource::Debian { suite: "trixie".to_owned() });
    assert_eq!(workspace.bases["ros"].dockerfile, team.root.join("docker/ros.Dockerfile"));
    assert_eq!(workspace.images["navigation"].base, "ros");
    assert_eq!(workspace.robots["main"].host, Host::Simulated { store: Store::Containerd });
    assert_eq!(workspace.robots["main"].compose, [team.root.join("docker/compose.yaml")]);
    let package = workspace.packages.get("navigation").unwrap();
    assert_eq!(
        (package.dir.as_str(), package.build_depends.as_slice()),
        ("navigation", &["communication".to_owned()][..])
    );
}

#[test]
fn the_shipped_file_is_good() {
    let team = Team::new();
    for package in ["localization", "behavior_tree", "bringup"] {
        team.package(package, "");
    }
    team.write("robots.toml", include_str!("../../../../../robots.toml"));
    let workspace = team.load().unwrap();
    assert_eq!(workspace.images.len(), 4);
    assert_eq!(workspace.hub, None);
    assert_eq!(workspace.robots["secondary"].host, Host::Simulated { store: Store::Classic });
    assert_eq!(workspace.robots["main"].variables().unwrap()["ROS_DOMAIN_ID"], "7");
}

#[test]
fn the_development_container_is_that_of_dev_shell() {
    let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap();
    let workspace = Workspace::load(root).unwrap();
    let text = fs::read_to_string(root.join(".devcontainer/devcontainer.json")).unwrap();
    let json: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let container: serde_json::Value = serde_json::from_str(&json).unwrap();
    let words = container["initializeCommand"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let words: Vec<&str> = words.collect();
    assert_eq!(words, ["cargo", "xtask", "dev-shell", "--build"]);
    Cli::try_parse_from(&words[1..]).unwrap();
    let images: Vec<String> =
        workspace.bases.values().map(|base| tools_reference(&workspace, base)).collect();
    assert_eq!([container["image"].as_str().unwrap()][..], images, "with several bases, add `--base` above");
    let sources = workspace.project.ros_workspace.strip_prefix(root).unwrap();
    let mount = format!("type=bind,source=${{localWorkspaceFolder}}/{sources},target=/ws");
    assert_eq!(container["workspaceMount"], mount);
    let user = container["remoteUser"].as_str().unwrap();
    let dockerfile = fs::read_to_string(&workspace.bases["ros"].dockerfile).unwrap();
    assert!(dockerfile.contains(&format!("--shell /bin/bash {user};")), "{user}");
}

#[test]
fn a_real_robot_has_a_destination_for_ssh() {
    let team = Team::new();
    team.write(
        "robots.toml",
        team::GOOD
            .replace("simulated = true", "host = \"ssh://nuc@robot.local:2222\"\nplatform = \"linux/arm64\""),
    );
    let robot = team.load().unwrap().robots["main"].clone();
    let host = Host::Ssh { destination: "nuc@robot.local".to_owned(), port: Some(2222) };
    assert_eq!((robot.host, robot.platform.to_string().as_str()), (host, "linux/arm64"));
}

#[test]
fn a_hub_is_a_repository_of_a_registry() {
    let team = Team::new();
    assert_eq!(team.load().unwrap().hub, None);
    let hub = |repository: &str| {
        team.write("robots.toml", format!("{}[hub]\nrepository = \"{repository}\"\n", team::GOOD));
        let hub = team.load().unwrap().hub.unwrap();
        (hub.repository.clone(), hub.registry().to_owned())
    };
    let own = ("registry.lab:5000/team/eurobot".to_owned(), "registry.lab:5000".to_owned());
    assert_eq!(hub("registry.lab:5000/team/eurobot"), own);
    assert_eq!(hub("docker.io/team/eurobot"), ("team/eurobot".to_owned(), "docker.io".to_owned()));
}

#[test]
fn the_file_is_found_upward_and_shown_from_where_the_user_is() {
    let team = Team::new();
    let inside = team.root.join("ros_ws/src/navigation");
    assert_eq!(Workspace::load(&inside).unwrap().root, team.root);
    team.write("robots.toml", team::GOOD.replace("trixie", "trixei"));
    let error = Workspace::load(&inside).unwrap_err();
    assert!(error.to_string().contains("--> ../../../robots.toml:5:10\n"), "{error}");
}

#[test]
fn a_missing_file_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let error = Workspace::load(Utf8Path::from_path(directory.path()).unwrap()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Config);
    assert!(rendered(&error).starts_with("no `robots.toml` in `"), "{error}");
    assert!(rendered(&error).contains("help: change into your team's repository"), "{error}");
}

#[test]
fn only_text_files_are_accepted() {
    let team = Team::new();
    let file = team.root.join("robots.toml");
    team.write("robots.toml", b"[project]\nname = \"\xff\"\n");
    assert_complaint(
        &team.complaint(),
        &[
            "this byte (0xff) is not UTF-8",
            "  --> robots.toml:2:9",
            "   |",
            " 2 | name = \"\u{fffd}\"",
            "   |         ^",
            "  help: save the file as UTF-8",
        ],
    );
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_complaint(
        &team.complaint(),
        &["`robots.toml` is a directory, not a file", "  help: rename or remove the directory `robots.toml`"],
    );
    fs::remove_dir(&file).unwrap();
    std::os::unix::fs::symlink("nowhere", &file).unwrap();
    assert!(team.complaint().starts_with("cannot read `robots.toml`\n  caused by: "));
}

#[test]
fn an_unreadable_file_is_reported_with_its_cause() {
    // Root can read every file, so a loop of links provokes the message.
    let team = Team::new();
    let file = team.root.join("robots.toml");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("robots.toml", &file).unwrap();
    assert!(team.complaint().starts_with("cannot read `robots.toml`\n  caused by: "));
}

#[test]
fn robots_and_images_are_found_by_name() {
    let team = Team::new();
    team.write("robots.toml", include_str!("../../../../../robots.toml"));
    for package in ["localization", "behavior_tree", "bringup"] {
        team.package(package, "");
    }
    let workspace = team.load().unwrap();
    assert_eq!(workspace.robot("main").unwrap().name, "main");
    assert_eq!(workspace.image("navigation").unwrap().packages, ["navigation", "bringup"]);
    let names = ["secondary", "main", "secondary"].map(str::to_owned);
    let robots = workspace.robots_named(&names).unwrap();
    assert_eq!(robots.iter().map(|robot| robot.name.as_str()).collect::<Vec<_>>(), ["secondary", "main"]);

    let error = workspace.robots_named(&["mian".to_owned()]).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Config);
    assert_complaint(
        &rendered(&error),
        &[
            "no robot `mian` in `robots.toml`",
            "  help: did you mean `main`? the robots are `main`, `secondary`",
        ],
    );
    let error = workspace.image("camera").unwrap_err();
    assert_complaint(
        &rendered(&error),
        &[
            "no image `camera` in `robots.toml`",
            "  help: the images are `behavior_tree`, `communication`, `localization`, `navigation`",
        ],
    );
}
