//! `launch.sh` in real shells: files that containers write to, and links that they may leave there.

use std::fs;
use std::os::unix::fs::symlink;

use camino::{Utf8Path, Utf8PathBuf};
use robot_deploy::robot_side::Script;

use super::shell;

/// Returns the script that receives a release, with an echo in place of the activation.
fn receive() -> String {
    let script = Script::Launch.text();
    let last = "\nstart \"$number\" \"$home/activate\" switch \"$number\" \"$@\"\n";
    assert!(script.ends_with(last), "{script}");
    script.replace(last, "\necho \"release $number\"\n")
}

/// Directory of the mounted files, named after their content.
const PLACE: &str = "files/0123456789abcdef";

/// A robot's home directory that has received a release with mounted files.
struct Robot {
    _dir: tempfile::TempDir,
    dir: Utf8PathBuf,
    shell: &'static str,
}

impl Robot {
    fn new(shell: &'static str) -> Self {
        let guard = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(guard.path().canonicalize().unwrap()).unwrap();
        let robot = Self { _dir: guard, dir, shell };
        for (path, text) in [
            (format!("release/{PLACE}/maps/deep/table.pgm"), "P5"),
            (format!("release/{PLACE}/maps/legend"), "legend"),
            ("release/compose.json".to_owned(), "{}"),
            ("release/activate".to_owned(), ""),
            ("bin/docker".to_owned(), "#!/bin/sh\n"),
        ] {
            let path = robot.dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(robot.outside()).unwrap();
        robot.launch();
        robot
    }

    /// Receives the release, each time as a different one.
    fn launch(&self) {
        let (success, said) = self.run(&receive(), "run $$", "");
        assert!(success && said.starts_with("release "), "{}: {said}", self.shell);
    }

    /// Runs a script that receives the release, with a token and a redirection in the words of a shell.
    fn run(&self, receive: &str, token: &str, redirection: &str) -> (bool, String) {
        let script = format!(
            "chmod +x \"$2/bin/docker\"; export HOME=\"$2/home\" PATH=\"$2/bin:$PATH\"; mkdir -p \"$HOME\"
            tar -czf - -C \"$2/release\" . |
                \"$3\" -c \"$1\" launch eurobot \"{token}\" \"content $$\" x no 1 1 1 {redirection}"
        );
        shell::run("sh", &["-c", &script, "test", receive, self.dir.as_str(), self.shell], "")
    }

    /// The mounted directory that the container sees.
    fn maps(&self) -> Utf8PathBuf {
        self.dir.join("home/.deploy/eurobot").join(PLACE).join("maps")
    }

    /// A directory that no container sees.
    fn outside(&self) -> Utf8PathBuf {
        self.dir.join("home/.ssh")
    }

    /// Files in `outside`, with their contents.
    fn found(&self) -> Vec<(String, String)> {
        let mut found: Vec<_> = self.outside().read_dir_utf8().unwrap().map(Result::unwrap).collect();
        found.sort_by_key(|entry| entry.file_name().to_owned());
        found.iter().map(|entry| (entry.file_name().to_owned(), text(entry.path()))).collect()
    }
}

fn text(path: &Utf8Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// One robot for each shell of this machine that could be a robot's `sh`.
fn robots() -> impl Iterator<Item = Robot> {
    ["sh", "bash"].into_iter().filter(|shell| which::which(shell).is_ok()).map(Robot::new)
}

#[test]
fn what_was_lost_is_put_back_and_what_was_written_stays() {
    for robot in robots() {
        let maps = robot.maps();
        fs::remove_dir_all(maps.join("deep")).unwrap();
        fs::write(maps.join("legend"), "").unwrap();
        fs::write(maps.join("own"), "own").unwrap();
        // Open, like a single file that is mounted into a container.
        let open = fs::File::open(maps.join("legend")).unwrap();
        robot.launch();
        assert_eq!(text(&maps.join("deep/table.pgm")), "P5");
        assert_eq!(std::io::read_to_string(open).unwrap(), "legend");
        assert_eq!(text(&maps.join("own")), "own");
        fs::write(maps.join("legend"), "written").unwrap();
        robot.launch();
        assert_eq!(text(&maps.join("legend")), "written");
        let left = maps.parent().unwrap().parent().unwrap().read_dir_utf8().unwrap();
        assert_eq!(left.count(), 1, "nothing else is left");
    }
}

#[test]
fn links_that_a_container_left_are_not_followed() {
    for robot in robots() {
        let (maps, outside) = (robot.maps(), robot.outside());
        fs::write(outside.join("authorized_keys"), "").unwrap();
        let before = robot.found();
        // Links to a directory, to an empty file and to a missing file; with absolute and relative paths.
        fs::remove_dir_all(maps.join("deep")).unwrap();
        for target in [outside.as_str(), "../../../../../.ssh", "."] {
            symlink(target, maps.join("deep")).unwrap();
            robot.launch();
            assert_eq!(robot.found(), before, "{}: deep -> {target}", robot.shell);
            fs::remove_file(maps.join("deep")).unwrap();
        }
        for target in ["authorized_keys", "new"].map(|name| outside.join(name)) {
            fs::remove_file(maps.join("legend")).unwrap();
            symlink(&target, maps.join("legend")).unwrap();
            robot.launch();
            assert_eq!(robot.found(), before, "{}: legend -> {target}", robot.shell);
            assert_eq!(text(&maps.join("legend")), "legend", "it is put back in the link's place");
        }
        // The same for a link to a directory in place of a file.
        fs::remove_file(maps.join("legend")).unwrap();
        symlink(&outside, maps.join("legend")).unwrap();
        robot.launch();
        assert_eq!(robot.found(), before, "{}: legend is a link to a directory", robot.shell);
    }
}

#[test]
fn a_connection_that_is_gone_does_not_keep_a_release_from_starting() {
    for robot in robots() {
        let activate = "home=$HOME/.deploy/$1; printf 'end\\tactive\\t\\t\\n' >>\"$home/releases/$3/events\"";
        fs::write(robot.dir.join("release/activate"), activate).unwrap();
        let (success, _) = robot.run(&Script::Launch.text(), "token", ">&-");
        assert!(!success, "{}: its answer was lost", robot.shell);
        let (success, said) = robot.run(&Script::Launch.text(), "token", "");
        assert!(success && said == "release\t2\nend\tactive\t\t\n", "{}: {said}", robot.shell);
    }
}
