//! `dev-shell`: the image, the user, and the files of this machine that the container sees.

use super::answers;
use super::lab::{Lab, in_order};

/// A lab whose user has these ids.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.install("id");
    lab.says("id", "-u", "1234");
    lab.says("id", "-g", "100");
    lab.on("docker", "'buildx bake '*", answers::BAKE);
    std::fs::write(lab.dir.join("metadata"), "{}").unwrap();
    lab
}

#[test]
fn it_is_the_caller_who_works_there() {
    let lab = lab();
    lab.run(&["dev-shell", "--", "colcon", "build", "it's $(one) word"]).expect(0);
    let run = &lab.calls_of("docker run ")[0];
    let state = lab.root.join("target/xtask/dev-shell");
    let words = shell_words::split(run).unwrap();
    let image = words.iter().position(|word| word == "eurobot:ros-tools").unwrap();
    assert_eq!(words[image + 1..], ["colcon", "build", "it's $(one) word"]);
    in_order(run, &["--user 1234:100 ", "HOME=/home/dev"]);
    let mount = |from: &str, to: &str| format!("type=bind,\"source={from}\",target={to}");
    let home = mount(state.join("home").as_str(), "/home/dev");
    for mount in [&mount(lab.root.join("ros_ws").as_str(), "/ws"), &home] {
        assert!(words.contains(mount), "{mount} is not in {words:?}");
    }
    let passwd = std::fs::read_to_string(state.join("passwd")).unwrap();
    assert!(passwd.starts_with("dev:x:1234:100::/home/dev:"), "{passwd}");
    assert!(state.join("home").is_dir());
}

#[test]
fn without_root_the_engine_takes_the_caller_for_root() {
    let lab = lab();
    let info = answers::info("Debian GNU/Linux 13 (trixie)", "rootless");
    let rootless =
        info.replace("\"DriverStatus\"", "\"SecurityOptions\":[\"name=rootless\"],\"DriverStatus\"");
    lab.says("docker", "'info '*", &rootless);
    lab.run(&["dev-shell", "--", "true"]).expect(0);
    assert!(lab.calls_of("docker run ")[0].contains("--user 0:0 "), "{:?}", lab.calls());
}

#[test]
fn the_image_can_be_built_without_anything_being_run() {
    let lab = lab();
    assert_eq!(lab.run(&["dev-shell", "--build"]).expect(0).stdout, "eurobot:ros-tools\n");
    assert!(lab.calls_of("docker run").is_empty());
    lab.run(&["dev-shell", "--build", "--", "true"]).expect(2);
}

#[test]
fn paths_with_anything_in_them_stay_one_mount() {
    let lab = lab();
    let odd = "odd, \"ws\"=1:2";
    lab.write(
        &format!("{odd}/src/navigation/package.xml"),
        "<package format=\"3\"><name>navigation</name></package>",
    );
    let toml = std::fs::read_to_string(lab.root.join("robots.toml")).unwrap();
    let toml = toml.replace("name = \"eurobot\"", "name = \"eurobot\"\nros_workspace = 'odd, \"ws\"=1:2'");
    lab.write("robots.toml", &toml.replace("[images.camera]\npackages = [\"camera\"]\n", ""));
    lab.run(&["dev-shell", "--", "true"]).expect(0);
    let words = shell_words::split(&lab.calls_of("docker run ")[0]).unwrap();
    let mount = format!("type=bind,\"source={}/odd, \"\"ws\"\"=1:2\",target=/ws", lab.root);
    assert!(words.contains(&mount), "{mount} is not in {words:?}");
}
