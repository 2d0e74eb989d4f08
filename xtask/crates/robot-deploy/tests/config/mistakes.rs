//! All mistakes in `robots.toml` that are detected, and their messages.
//!
//! `complaints.txt` in this directory contains the complete messages. After an intended change, the failing
//! test prints how to accept the new messages; read the difference as a user would.

use std::fs;

use crate::team::{GOOD, Team, assert_complaint};

/// `GOOD` with `from` replaced by `to`.
fn with(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "`{from}`");
    GOOD.replace(from, to)
}

/// `GOOD` with `lines` appended to `[robots.main]`, from line 10.
fn main_with(lines: &str) -> String {
    format!("{GOOD}{lines}\n")
}

/// `GOOD` with `lines` appended, from line 10.
fn hub(lines: &str) -> String {
    format!("{GOOD}{lines}\n")
}

/// `GOOD` with a real robot instead of the simulated one.
fn real(lines: &str) -> String {
    with("simulated = true", lines)
}

#[test]
fn a_single_mistake_is_shown_as_it_is() {
    let team = Team::new();
    assert_complaint(
        &team.complaint_about(&with("[\"navigation\"]", "[\"navigatoin\"]")),
        &[
            "unknown package `navigatoin` in image `navigation`",
            "  --> robots.toml:7:13",
            "   |",
            " 7 | packages = [\"navigatoin\"]",
            "   |             ^^^^^^^^^^^^",
            "  help: did you mean `navigation`? the packages are `communication`, `navigation`",
        ],
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let team = Team::new();
    team.write("ros_ws/src/broken/package.xml", "<package>");
    team.package("navigation", "<depend>broken</depend>");
    let toml =
        with("eurobot", "euro bot").replace("trixie", "trixei").replace("simulated = true", "simulated = 1");
    let complaint = team.complaint_about(&toml);
    assert!(
        complaint.starts_with("4 mistakes in `robots.toml`, `ros_ws/src/broken/package.xml`\n\n"),
        "{complaint}"
    );
    let places: Vec<_> =
        complaint.lines().filter_map(|line| line.trim_start().strip_prefix("--> ")).collect();
    let expected =
        ["robots.toml:3:8", "robots.toml:5:10", "robots.toml:9:13", "ros_ws/src/broken/package.xml:1:1"];
    assert_eq!(places, expected, "{complaint}");
    assert_eq!(complaint.matches("\n  help: ").count(), 4, "{complaint}");
}

/// Every mistake, its place, and the words that its message and help must contain.
#[test]
fn every_mistake_has_a_place_and_a_remedy() {
    let long = "x".repeat(200);
    let digest = "0".repeat(64);
    let cases: Vec<(String, &str, &str, &str)> = vec![
        // TOML
        (with("[bases.ros]", "[bases.ros"), "4:11", "invalid TOML", "toml.io"),
        (main_with("simulated = true"), "10:1", "duplicate key `simulated`", "another name"),
        (main_with("env = { A = \"1\", A = \"2\" }"), "10:18", "duplicate key `A`", "another name"),
        (
            format!("{GOOD}[robots.main]\nstore = \"classic\"\n"),
            "10:9",
            "duplicate key `main`",
            "another name",
        ),
        (
            format!("{GOOD}[robots.main.main]\n[robots]\n"),
            "10:14",
            "unknown key `main` in `[robots.main]`",
            "the keys are",
        ),
        (
            GOOD.replace('\n', "\r\n").replace("trixie", "trixei"),
            "5:10",
            "is not a Debian suite",
            "did you mean",
        ),
        (format!("\u{feff}{}", with("trixie", "trixei")), "5:10", "is not a Debian suite", "did you mean"),
        (format!("\u{feff}nmae = 1\n{GOOD}"), "1:1", "unknown key `nmae` in the file", "the keys are"),
        (main_with("env = { A = \"\u{1b}[1m\" }"), "10:14", "invalid TOML", "toml.io"),
        (main_with("compose = 'a\tb'"), "10:11", "control character", "relative"),
        // structure
        (String::new(), "1:1", "table `[project]` is missing", "add `[project]`"),
        (
            with("[project]\nname = \"eurobot\"\n", ""),
            "1:1",
            "table `[project]` is missing",
            "add `[project]`",
        ),
        (with("name = \"eurobot\"\n", ""), "2:2", "`[project]` has no `name`", "add `name"),
        (
            with("[images.navigation]\npackages = [\"navigation\"]", "[images]"),
            "6:2",
            "table `[images.NAME]` is missing",
            "packages",
        ),
        (
            with("[robots.main]\nsimulated = true", "[robots]"),
            "8:2",
            "table `[robots.NAME]` is missing",
            "simulated",
        ),
        (with("[bases.ros]\ndebian = \"trixie\"\n", ""), "1:1", "table `[bases.NAME]` is missing", "debian"),
        // unknown keys
        (
            format!("{GOOD}[robot.other]\n"),
            "10:2",
            "unknown key `robot` in the file",
            "did you mean `robots`?",
        ),
        (with("name =", "nmae ="), "3:1", "unknown key `nmae` in `[project]`", "did you mean `name`?"),
        (with("debian", "debain"), "5:1", "unknown key `debain` in `[bases.ros]`", "did you mean `debian`?"),
        (
            with("packages =", "package ="),
            "7:1",
            "unknown key `package` in `[images.navigation]`",
            "did you mean `packages`?",
        ),
        (
            main_with("colour = 1"),
            "10:1",
            "unknown key `colour` in `[robots.main]`",
            "the keys are `simulated`",
        ),
        // types
        (with("\"eurobot\"", "7"), "3:8", "`name` must be a string, not an integer", "in quotes: `\"7\"`"),
        (
            with("[\"navigation\"]", "\"navigation\""),
            "7:12",
            "`packages` must be a list of strings, not a string",
            "[\"…\", \"…\"]",
        ),
        (
            with("[\"navigation\"]", "[1]"),
            "7:13",
            "an element of `packages` must be a string, not an integer",
            "\"1\"",
        ),
        (
            with("= true", "= \"true\""),
            "9:13",
            "`simulated` must be a boolean, not a string",
            "without quotes",
        ),
        (
            main_with("env = { ROS_DOMAIN_ID = 7 }"),
            "10:25",
            "`ROS_DOMAIN_ID` in `env` must be a string",
            "`\"7\"`",
        ),
        (main_with("env = \"A=1\""), "10:7", "`env` must be a table of strings, not a string", "{ NAME = "),
        (
            main_with("env_files = \"docker/a.env\""),
            "10:13",
            "`env_files` must be a list of strings",
            "[\"…\", \"…\"]",
        ),
        (main_with("compose = [\"a\"]"), "10:12", "`compose`: `a` does not exist", "create `a`"),
        (main_with("compose = [1]"), "10:12", "an element of `compose` must be a string", "in quotes"),
        (main_with("compose = []"), "8:9", "`compose` is an empty list", "name at least one"),
        (main_with("compose = { a = 1 }"), "10:11", "`compose` must be a string, not a table", "write"),
        (
            format!("project = 1\n{}", with("[project]\nname = \"eurobot\"\n", "")),
            "1:11",
            "`project` must be a table",
            "`[project]`",
        ),
        (
            with("[robots.main]\nsimulated = true", "[robots]\nmain = true"),
            "9:8",
            "`main` in `[robots]` must be a table",
            "`[robots.NAME]`",
        ),
        // project
        (with("eurobot", "Eurobot"), "3:8", "upper-case", "write `eurobot`"),
        (with("eurobot", "euro bot"), "3:8", "must not contain a space", "Docker repository"),
        (with("eurobot", "team/eurobot"), "3:8", "must not contain `/`", "Docker repository"),
        (with("eurobot", "euro--bot"), "3:8", "two separators", "single"),
        (with("eurobot", ""), "3:8", "empty", "lower-case letters"),
        (with("eurobot", &long), "3:8", "too long (200", "at most 30"),
        (
            with("\n[bases", "\nros_workspace = \"ws\"\n[bases"),
            "4:17",
            "`ws` is not a directory",
            "colcon build",
        ),
        (with("\n[bases", "\nros_workspace = \"/ws\"\n[bases"), "4:17", "absolute", "relative"),
        (
            with("\n[bases", "\nros_workspace = \"../ws\"\n[bases"),
            "4:17",
            "is outside the workspace",
            "stays inside",
        ),
        // bases
        (with("trixie", "Trixie"), "5:10", "is not a Debian suite", "did you mean `trixie`?"),
        (with("trixie", "13"), "5:10", "is not a Debian suite", "code name"),
        (with("trixie", "trixie; rm"), "5:10", "is not a Debian suite", "code name"),
        (with("debian = \"trixie\"", ""), "4:8", "neither `debian` nor `image`", "exactly one"),
        (
            with("[images", &format!("image = \"ros@sha256:{digest}\"\n[images")),
            "4:8",
            "both `debian` and `image`",
            "exactly one",
        ),
        (
            with("debian = \"trixie\"", "image = \"ros@sha256:12\""),
            "5:9",
            "needs 64 hexadecimal digits",
            "imagetools",
        ),
        (
            with("debian = \"trixie\"", &format!("image = \"ROS@sha256:{digest}\"")),
            "5:9",
            "is not a valid image reference",
            "lower case",
        ),
        (
            with("debian = \"trixie\"", "image = \"-v\""),
            "5:9",
            "is not a valid image reference",
            "lower case",
        ),
        (
            with("\n[images", "\ndockerfile = \"docker/x\"\n[images"),
            "6:14",
            "`docker/x` does not exist",
            "create `docker/x`",
        ),
        (with("[bases.ros]", "[bases.\"a b\"]"), "4:8", "must not contain a space", "image tag"),
        // packages
        (
            with("[images", "[packages.navgation]\nignore = [\"x\"]\n[images"),
            "6:11",
            "unknown package `navgation`",
            "did you mean `navigation`?",
        ),
        (
            with("[images", "[packages.navigation]\nignore = [\"std_msgs\"]\n[images"),
            "7:11",
            "no dependency `std_msgs`",
            "the dependencies are `rclpy`",
        ),
        (with("[images", "[packages.navigation]\n[images"), "6:11", "has no `ignore`", "add `ignore"),
        (
            with("[images", "[packages.navigation]\nalso = [\"cmake\"]\n[images"),
            "7:9",
            "there is no `cmake`",
            "from the directory of `robots.toml`",
        ),
        (
            with("[images", "[packages.navigation]\nalso = [\"ros_ws/src\"]\n[images"),
            "7:9",
            "contains the package",
            "beside the package",
        ),
        (with("[images", "[build]\njobs = 0\n[images"), "7:8", "`jobs` cannot be 0", "from 1 to 1000"),
        (with("[images", "[watch]\nsettle = 0\n[images"), "7:10", "`settle` cannot be 0", "from 1 to 86400"),
        // images
        (
            with("packages =", "base = \"rso\"\npackages ="),
            "7:8",
            "unknown base `rso`",
            "did you mean `ros`?",
        ),
        (
            with("[images", "[bases.other]\ndebian = \"trixie\"\n[images"),
            "8:9",
            "needs a `base`",
            "`other`, `ros`",
        ),
        (with("packages = [\"navigation\"]", ""), "6:9", "has no `packages`", "add `packages"),
        (
            hub("[images.camera]\ncontext = \"camera\""),
            "11:11",
            "`camera/Dockerfile` does not exist",
            "`dockerfile`",
        ),
        (hub("[images.camera]\ncontext = \"../camera\""), "11:11", "`context`", "inside the directory"),
        (
            hub("[images.camera]\ncontext = \".\"\npackages = []"),
            "11:1",
            "has `context` and `packages`",
            "keep one",
        ),
        (
            with("[\"navigation\"]", "[\"navigation\", \"navigation\"]"),
            "7:27",
            "is listed twice",
            "remove one",
        ),
        (
            with("[\"navigation\"]", "[\"vision\"]"),
            "7:13",
            "unknown package `vision`",
            "`ros_ws/src/vision` has no `package.xml`",
        ),
        (
            with("[\"navigation\"]", "[\"camera\"]"),
            "7:13",
            "unknown package `camera`",
            "skipped because it contains the file `COLCON_IGNORE`",
        ),
        (with("[images.navigation]", "[images.\"navi/gation\"]"), "6:9", "must not contain `/`", "image tag"),
        (with("[images.navigation]", "[images.-navigation]"), "6:9", "must begin with", "image tag"),
        (with("[images.navigation]", &format!("[images.{long}]")), "6:9", "too long", "at most 128"),
        // robots
        (with("[robots.main]", "[robots.Main]"), "8:9", "upper-case", "write `main`"),
        (with("[robots.main]", "[robots.\"ma.in\"]"), "8:9", "must not contain `.`", "host name"),
        (with("[robots.main]", "[robots.7main]"), "8:9", "begins with a digit", "beginning with a letter"),
        (with("[robots.main]", "[robots.\"a\\u001bb\"]"), "8:9", "must not contain `\\u{1b}`", "host name"),
        (
            with("simulated = true", ""),
            "8:9",
            "has neither `simulated = true` nor a `host`",
            "either `simulated = true`",
        ),
        (
            with("= true", "= false"),
            "9:13",
            "has neither `simulated = true` nor a `host`",
            "either `simulated = true`",
        ),
        (
            main_with("host = \"nuc\""),
            "10:8",
            "has both `simulated = true` and a `host`",
            "either `simulated = true`",
        ),
        (
            main_with("store = \"clasic\""),
            "10:9",
            "`clasic` is not an image store",
            "did you mean `classic`?",
        ),
        (main_with("port = 22"), "10:8", "`port` is only for robots with a `host`", "remove `port`"),
        (real("host = \"nuc\""), "8:9", "robot `main` has no `platform`", "uname -m"),
        (
            real("host = \"nuc\"\nplatform = \"linux/amd64\"\nstore = \"classic\""),
            "11:9",
            "`store` is only for simulated",
            "remove `store`",
        ),
        (
            real("host = \"nuc\"\nplatform = \"linux/amd64\"\nport = 0"),
            "11:8",
            "invalid port number",
            "1 to 65535",
        ),
        (
            real("host = \"nuc\"\nplatform = \"linux/amd64\"\nport = 65536"),
            "11:8",
            "invalid port number",
            "1 to 65535",
        ),
        (
            real("host = \"nuc\"\nplatform = \"linux/amd64\"\nport = -1"),
            "11:8",
            "invalid port number",
            "1 to 65535",
        ),
        (
            real("host = \"nuc\"\nplatform = \"linux/amd64\"\nport = \"22\""),
            "11:8",
            "`port` must be an integer",
            "without quotes",
        ),
        (
            real("host = \"nuc:22\"\nplatform = \"linux/amd64\"\nport = 22"),
            "9:8",
            "given twice",
            "remove `port`",
        ),
        (
            real("host = \"nuc:99999\"\nplatform = \"linux/amd64\""),
            "9:8",
            "the port `99999`",
            "user@host:2222",
        ),
        (real("host = \"\"\nplatform = \"linux/amd64\""), "9:8", "`host` is empty", "that `ssh` accepts"),
        (
            real("host = \"-oProxyCommand=x\"\nplatform = \"linux/amd64\""),
            "9:8",
            "has a dash at the beginning of the host",
            "that `ssh` accepts",
        ),
        (
            real("host = \"nuc @robot\"\nplatform = \"linux/amd64\""),
            "9:8",
            "has a space in the user name",
            "that `ssh` accepts",
        ),
        (
            real("host = \"nuc\\n\"\nplatform = \"linux/amd64\""),
            "9:8",
            "has `\\n` in the host",
            "that `ssh` accepts",
        ),
        (
            main_with("platform = \"linux/amd65\""),
            "10:12",
            "unknown platform",
            "did you mean `linux/amd64`? the platforms are `linux/amd64`, `linux/arm64`, `linux/arm/v7`",
        ),
        (main_with("platform = \"windows/amd64\""), "10:12", "images cannot be built", "Linux containers"),
        (main_with("compose = \"docker/x.yaml\""), "10:11", "`docker/x.yaml` does not exist", "create"),
        (main_with("compose = \"docker\""), "10:11", "is a directory", "takes a file"),
        (main_with("compose = \"/etc/passwd\""), "10:11", "absolute", "relative"),
        (main_with("compose = \"docker/../../x\""), "10:11", "is outside the workspace", "stays inside"),
        (
            main_with("env_files = [\"docker/match.env\"]"),
            "10:14",
            "`docker/match.env` does not exist",
            "create",
        ),
        (main_with("env_files = [\"../match.env\"]"), "10:14", "is outside the workspace", "stays inside"),
        (
            main_with("env = { \"A-B\" = \"1\" }"),
            "10:9",
            "`A-B` is not a valid variable name",
            "letters, digits",
        ),
        (main_with("env = { A = \"1\\n2\" }"), "10:13", "line break or NUL", "one line"),
        (main_with("env = { A = \"\\u0000\" }"), "10:13", "line break or NUL", "one line"),
        (main_with("env = { ROS_DOMAIN_ID = \"233\" }"), "10:25", "`233` is not a ROS domain ID", "0 to 232"),
        // [hub]
        (main_with("busy = 1"), "10:8", "`busy` must be a table", "`[robots.main.busy]`"),
        (main_with("busy = {}"), "10:1", "`busy` needs exactly one of", "`{ lock = "),
        (
            main_with("busy = { lock = \"/a\", command = [\"b\"] }"),
            "10:1",
            "`busy` needs exactly one of",
            "pgrep",
        ),
        (main_with("busy = { command = [] }"), "10:20", "`command` has no program to run", "pgrep"),
        (main_with("busy = { lock = \"a\" }"), "10:17", "`a` is not an absolute path", "a path on the robot"),
        (
            main_with("busy = { lock = \"/a\", within = 3 }"),
            "10:32",
            "`within` is only for `heartbeat`",
            "service",
        ),
        (main_with("busy = { heartbeat = \"/a\" }"), "10:1", "no `service`", "behavior_tree"),
        (main_with("reconnect = -1"), "10:13", "`reconnect` cannot be -1", "seconds"),
        (main_with("keep_connection = 9999"), "10:19", "`keep_connection` cannot be 9999", "seconds"),
        (main_with("registry_port = 0"), "10:17", "`registry_port` cannot be 0", "port"),
        (main_with("busy = { lokc = \"/a\" }"), "10:10", "unknown key `lokc`", "did you mean `lock`?"),
        (hub("[releases]\nkeep = 1"), "11:8", "`keep` cannot be 1", "from 2 to 1000"),
        (hub("[releases]\nsettle = -1"), "11:10", "`settle` cannot be -1", "seconds"),
        (
            hub("[releases]\ndeadline = 5"),
            "11:12",
            "every release would be rolled back",
            "longer than `settle` (8 s)",
        ),
        (hub("[releases]\nkep = 3"), "11:1", "unknown key `kep`", "did you mean `keep`?"),
        (hub("[hub]"), "10:2", "`[hub]` has no `repository`", "registry.example.org"),
        (hub("[hbu]\nrepository = \"a.b/c\""), "10:2", "unknown key `hbu`", "did you mean `hub`?"),
        (
            hub("[hub]\nrepositroy = \"a.b/c\""),
            "11:1",
            "unknown key `repositroy`",
            "did you mean `repository`?",
        ),
        (hub("[hub]\nrepository = 5"), "11:14", "must be a string", "in quotes"),
        (hub("[hub]\nrepository = \"eurobot\""), "11:14", "does not name a registry", "REGISTRY/NAME"),
        (hub("[hub]\nrepository = \"https://a.b/c\""), "11:14", "is a URL", "without `https://`"),
        (hub("[hub]\nrepository = \"a.b/c:main\""), "11:14", "not a repository", "without tag"),
        (hub("[hub]\nrepository = \"a.b/Team\""), "11:14", "`T` in its name", "lower case"),
        (hub("[hub]\nrepository = \"a.b:0/c\""), "11:14", "is not a valid repository", "REGISTRY/NAME"),
        (
            hub("[hub]\nrepository = \"docker.io/c\""),
            "11:14",
            "does not name an account",
            "docker.io/ACCOUNT/NAME",
        ),
    ];
    let team = Team::new();
    team.write("ros_ws/src/vision/setup.py", "");
    team.package("camera", "");
    team.write("ros_ws/src/camera/COLCON_IGNORE", "");
    let (mut wrong, mut complaints) = (String::new(), String::new());
    for (toml, place, message, help) in cases {
        let complaint = team.complaint_about(&toml);
        let shown = format!("--> robots.toml:{place}\n");
        let helps: String = complaint.lines().filter(|line| line.starts_with("  help: ")).collect();
        let carets = complaint.lines().any(|line| line.contains(" | ") && line.ends_with('^'));
        if !(complaint.contains(&shown) && complaint.contains(message) && helps.contains(help) && carets) {
            wrong += &format!("--- wanted {place}, `{message}`, `{help}`; got\n{complaint}\n");
        }
        complaints += &format!("error: {complaint}\n\n");
    }
    assert!(wrong.is_empty(), "{wrong}");
    let now = concat!(env!("CARGO_TARGET_TMPDIR"), "/complaints.txt");
    fs::write(now, &complaints).unwrap();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/complaints.txt");
    let same = fs::read_to_string(kept).is_ok_and(|text| text == complaints);
    assert!(
        same,
        "messages changed; compare them, and accept the intended changes:\n  diff -u {kept} {now}\n  cp {now} {kept}"
    );
}
