//! `robots.toml` with special characters: values arrive unchanged, or are refused with their position.

use std::fs;

use super::answers;
use super::lab::Lab;
use super::odd::{self, SSHD, WORDS, assert_no_canary, calls, toml};
use super::registry::Registry;

/// A complete `robots.toml`; tests insert the words.
const TOML: &str = r#"
[project]
name = "eurobot"
ros_workspace = "ros_ws"
[hub]
repository = "registry.lab/team/eurobot"
[releases]
keep = 5
settle = 8
deadline = 60
[bases.ros]
debian = "trixie"
dockerfile = "docker/ros.Dockerfile"
[images.navigation]
base = "ros"
packages = ["navigation"]
[images.camera]
packages = ["camera"]
[robots.main]
host = "nuc@main.lab"
port = 22
platform = "linux/amd64"
compose = "docker/compose.yaml"
env = { SPEED = "1" }
env_files = ["docker/match.env"]
busy = { command = ["probe"] }
reconnect = 60
keep_connection = 60
registry_port = 5000
"#;

/// Keys that accept none of the words, as value or in a name; the text to replace, and its replacement.
const REFUSED: [(&str, &str, &str); 29] = [
    ("name", "name = \"eurobot\"", "name = WORD"),
    ("repository", "\"registry.lab/team/eurobot\"", "WORD"),
    ("keep", "keep = 5", "keep = WORD"),
    ("settle", "settle = 8", "settle = WORD"),
    ("deadline", "deadline = 60", "deadline = WORD"),
    ("bases", "[bases.ros]", "[bases.WORD]"),
    ("debian", "debian = \"trixie\"", "debian = WORD"),
    ("image", "debian = \"trixie\"", "image = WORD"),
    ("images", "[images.navigation]", "[images.WORD]"),
    ("base", "base = \"ros\"", "base = WORD"),
    ("packages", "[\"navigation\"]", "[WORD]"),
    ("packages", "[images.camera]", "[packages.WORD]\nignore = []\n[images.camera]"),
    ("context", "packages = [\"camera\"]", "context = WORD"),
    ("ignore", "[images.camera]", "[packages.camera]\nignore = [WORD]\n[images.camera]"),
    ("also", "[images.camera]", "[packages.camera]\nalso = [WORD]\n[images.camera]"),
    ("jobs", "[releases]", "[build]\njobs = WORD\n[releases]"),
    ("settle", "[releases]", "[watch]\nsettle = WORD\n[releases]"),
    ("robots", "[robots.main]", "[robots.WORD]"),
    ("host", "\"nuc@main.lab\"", "WORD"),
    ("port", "port = 22", "port = WORD"),
    ("platform", "\"linux/amd64\"", "WORD"),
    ("simulated", "host = \"nuc@main.lab\"\n", "simulated = WORD\n"),
    ("store", "host = \"nuc@main.lab\"\nport = 22\n", "simulated = true\nstore = WORD\n"),
    ("env", "SPEED = \"1\"", "WORD = \"1\""),
    ("within", "{ command = [\"probe\"] }", "{ heartbeat = \"/x\", service = \"x\", within = WORD }"),
    ("reconnect", "reconnect = 60", "reconnect = WORD"),
    ("keep_connection", "keep_connection = 60", "keep_connection = WORD"),
    ("registry_port", "registry_port = 5000", "registry_port = WORD"),
    ("lock", "{ command = [\"probe\"] }", "{ lock = WORD }"),
];

/// Keys that accept any word, or that contain other keys: the other tests check that these words arrive.
const FREE: [&str; 15] = [
    "build",
    "target",
    "args",
    "ros_workspace",
    "dockerfile",
    "compose",
    "env_files",
    "busy",
    "command",
    "heartbeat",
    "service",
    "project",
    "hub",
    "releases",
    "watch",
];

fn with(from: &str, to: &str) -> String {
    assert_eq!(TOML.matches(from).count(), 1, "{from}");
    TOML.replace(from, to)
}

#[test]
fn names_addresses_and_numbers_are_refused_before_anything_is_asked() {
    let lab = Lab::new();
    for (_, from, to) in REFUSED {
        for word in WORDS {
            lab.write("robots.toml", &with(from, &to.replace("WORD", &toml(word))));
            lab.run(&["deploy"]).expect(2).says(&["--> robots.toml:", "help: "]);
            assert_no_canary(&lab, word);
        }
    }
    assert!(lab.calls().is_empty());
}

#[test]
fn every_key_there_is_has_been_thought_of() {
    let source = include_str!("../../crates/robot-deploy/src/config/raw.rs");
    let is_known = |key: &str| FREE.contains(&key) || REFUSED.iter().any(|(refused, ..)| *refused == key);
    let mut count = 0;
    for reader in
        ["string", "strings", "string_or_strings", "integer", "boolean", "string_table", "table", "tables"]
    {
        for rest in source.split(&format!(".{reader}(\"")).skip(1) {
            let key = rest.split('"').next().unwrap();
            assert!(is_known(key), "`{key}` is not in this file");
            count += 1;
        }
    }
    assert!(count >= REFUSED.len() + FREE.len(), "{count}");
}

/// A lab whose robot really runs the busy check.
fn lab() -> (Lab, Registry) {
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    odd::robot(&lab);
    lab.on("ssh", "*' busy eurobot '*", SSHD);
    lab.on("docker", "'compose '*config*", &format!("{COMPOSE}\n{}", answers::COMPOSE));
    (lab, registry)
}

/// Saves the variables that Compose is given.
const COMPOSE: &str = r#"printf %s "$SPEED" >"$lab/speed"; printf %s "$FILED" >"$lab/filed""#;

#[test]
fn paths_and_variables_arrive_as_they_are() {
    for word in WORDS.into_iter().filter(|word| !word.contains('\n')) {
        let (lab, _registry) = lab();
        let place = |name: &str| format!("{word}/{name}");
        for name in ["msgs", "navigation", "camera"] {
            let file = format!("ros_ws/src/{name}/package.xml");
            lab.write(&place(&file), &fs::read_to_string(lab.root.join(&file)).unwrap());
        }
        lab.write(&place("Dockerfile"), "FROM base AS runtime\nFROM runtime AS build-tools\n");
        lab.write(&place("compose.yaml"), "services: {}\n");
        lab.write(&place("match.env"), &format!("FILED='{}'\n", word.replace('\'', "\\'")));
        let text = TOML
            .replace("\"ros_ws\"", &toml(&place("ros_ws")))
            .replace("\"docker/ros.Dockerfile\"", &toml(&place("Dockerfile")))
            .replace("\"docker/compose.yaml\"", &toml(&place("compose.yaml")))
            .replace("\"docker/match.env\"", &toml(&place("match.env")))
            .replace("SPEED = \"1\"", &format!("SPEED = {}", toml(word)))
            .replace("[\"probe\"]", &format!("[\"probe\", {}]", toml(word)))
            .replace("linux/amd64", answers::PLATFORM);
        lab.write("robots.toml", &text);
        lab.on("probe", "*", "exit 1");
        lab.run(&["deploy"]).expect(0);

        let path = |name: &str| lab.root.join(place(name)).into_string();
        let rendered = calls(&lab, "docker compose --file ").remove(0);
        assert!(rendered[3].ends_with(&format!("/repository/{}", place("compose.yaml"))), "{rendered:?}");
        assert_eq!(lab.bytes("speed"), word.as_bytes());
        assert_eq!(lab.bytes("filed"), word.as_bytes());
        assert_eq!(calls(&lab, "probe"), [["probe", word]]);
        let bake = calls(&lab, "docker buildx bake").remove(0);
        let file = bake.iter().skip_while(|word| *word != "--file").nth(1).unwrap();
        let definition: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let target = &definition["target"]["navigation"];
        assert_eq!(target["context"], path("ros_ws/src"));
        assert_eq!(target["contexts"]["docker"], path("").trim_end_matches('/'));
        let asked = calls(&lab, "git log ");
        assert!(asked.iter().any(|call| call.contains(&path("ros_ws/src/navigation"))), "{asked:?}");
        assert_no_canary(&lab, word);
    }
}

#[test]
fn what_has_several_lines_is_refused_where_one_is_meant() {
    let lab = Lab::new();
    for key in [
        "ros_workspace = \"ros_ws\"",
        "dockerfile = \"docker/ros.Dockerfile\"",
        "compose = \"docker/compose.yaml\"",
    ] {
        let name = key.split(' ').next().unwrap();
        lab.write("robots.toml", &with(key, &format!("{name} = \"a\\ntouch canary\"")));
        lab.run(&["deploy"]).expect(2).says(&["--> robots.toml:"]);
    }
    for (from, to) in [("SPEED = \"1\"", "SPEED = \"a\\nb\""), ("\"docker/match.env\"", "\"a\\nb\"")] {
        lab.write("robots.toml", &with(from, to));
        lab.run(&["deploy"]).expect(2).says(&["--> robots.toml:"]);
    }
    assert!(lab.calls().is_empty());
}

#[test]
fn what_tells_that_a_robot_is_busy_is_asked_as_it_is_written() {
    for word in WORDS {
        let (lab, _registry) = lab();
        let with_busy = |busy: String| {
            let text = with("{ command = [\"probe\"] }", &busy).replace("linux/amd64", answers::PLATFORM);
            lab.write("robots.toml", &text);
            let before = lab.calls().len();
            let ran = lab.run(&["deploy"]);
            assert_no_canary(&lab, word);
            (ran, lab.calls().split_off(before))
        };
        // A program that does not exist does not count as busy.
        let (ran, _) = with_busy(format!("{{ command = [{}] }}", toml(word)));
        ran.expect(0);

        let path = lab.dir.join("robot").join(word);
        fs::write(&path, "").unwrap();
        let file = fs::File::open(&path).unwrap();
        file.lock().unwrap();
        let (ran, _) = with_busy(format!("{{ lock = {} }}", toml(path.as_str())));
        // Further lines are indented, so that none looks like a message of xtask.
        ran.expect(4).says(&[&format!("{path} is locked").replace('\n', "\n       ")]);
        drop(file);

        lab.says("docker", "'container ls '*", "cafe");
        lab.says("docker", "'container exec '*", "9999999999");
        let beat = format!("/tmp/{word}");
        let (ran, calls) = with_busy(format!("{{ heartbeat = {}, service = {} }}", toml(&beat), toml(word)));
        ran.expect(4);
        let words = |beginning: &str| {
            let call = calls.iter().find(|call| call.starts_with(beginning)).unwrap();
            shell_words::split(call).unwrap()
        };
        let service = format!("label=com.docker.compose.service={word}");
        assert!(words("docker container ls --quiet --no-trunc --filter").contains(&service));
        assert_eq!(words("docker container exec ").last(), Some(&beat));
    }
}

#[test]
fn a_directory_that_cannot_stand_in_a_dockerfile_is_refused() {
    let lab = Lab::new();
    for word in WORDS.into_iter().filter(|word| !["-x", "--help"].contains(word)) {
        let file = format!("ros_ws/src/{word}/package.xml");
        lab.write(&file, "<package format=\"3\"><name>odd</name></package>");
        lab.run(&["deploy"]).expect(2).says(&["package `odd` is in `", "help: rename the directory"]);
        fs::remove_file(lab.root.join(file)).unwrap();
        assert_no_canary(&lab, word);
    }
    assert!(lab.calls().is_empty());
}
