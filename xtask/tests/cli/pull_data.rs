//! Robots that send other files than they listed.

use super::lab::Lab;

/// A lab whose robot lists a file with this size and time, and sends the output of `script`.
fn sending(size: &str, modified: &str, script: &str) -> Lab {
    let lab = Lab::new();
    lab.says("ssh", "*'find -H'*", &format!("d 4096 1700000000 bags\nf {size} {modified} bags/a.db3"));
    lab.on("ssh", "*'exec tail'*", script);
    lab
}

#[test]
fn a_file_is_no_longer_than_the_robot_said_before() {
    let lab = sending("5", "1700000000", "exec cat /dev/zero");
    lab.run_small(&["pull-data", "bags"]).expect(0);
    let copied: Vec<_> =
        lab.files().into_iter().filter(|(path, _)| path.as_str().contains("/data/")).collect();
    let file = lab.root.join("data/main/bags/a.db3");
    assert!(copied.contains(&(file, vec![0; 5])), "{copied:?}");
    assert_eq!(copied.len(), 3, "nothing else is left: {copied:?}");
}

#[test]
fn files_that_do_not_fit_here_are_not_begun() {
    for size in ["9000000000000000", "18446744073709551615"] {
        let lab = sending(size, "1700000000", "exec cat /dev/zero");
        lab.run_small(&["pull-data", "bags"]).expect(1).says(&["error: ", "where only", "`--to DIRECTORY`"]);
        assert!(lab.calls().iter().all(|call| !call.contains("exec tail")));
    }
}

#[test]
fn a_file_may_be_of_any_time() {
    let lab = sending("5", "18446744073709551615", "printf 12345");
    lab.run_small(&["pull-data", "bags"]).expect(0);
    assert_eq!(std::fs::read(lab.root.join("data/main/bags/a.db3")).unwrap(), b"12345");
}
