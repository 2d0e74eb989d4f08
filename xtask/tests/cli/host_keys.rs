//! Host keys with the real ssh-keygen: lines that cover a robot and other names.

use super::lab::Lab;

/// Installs the real ssh-keygen; robots show a host key to whoever connects.
pub(crate) fn can_be_fetched(lab: &Lab) {
    lab.remove("ssh-keygen");
    std::os::unix::fs::symlink(which::which("ssh-keygen").unwrap(), lab.dir.join("bin/ssh-keygen")).unwrap();
    let fetches = "while [ $# -gt 0 ]; do case $1 in UserKnownHostsFile=*) file=${1#*=\\\"}; file=${file%\\\"};; esac; shift; done
        echo 'main ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBDQUIcOJ8gJyZZ6D35uaYm0cpd5Y/+Vzl+0c6pCctgA' >\"$file\"; exit 255";
    lab.on("ssh", "*accept-new*", fetches);
}

#[test]
fn a_line_that_is_for_the_robot_and_others_is_told() {
    let lab = Lab::new();
    can_be_fetched(&lab);
    for names in ["*", "mai?", "main,10.0.0.1", "@cert-authority *"] {
        let text = format!("{names} ssh-ed25519 BBBB\n");
        lab.write("robots.known_hosts", &text);
        for more in [&["--yes"][..], &["--yes", "--new-host-key"]] {
            let ran = lab.run(&[&["setup-robot"], more].concat()).expect(1);
            ran.says(&["line 1 of ", "matches `main` and others", ",!main"]);
        }
        assert_eq!(std::fs::read_to_string(lab.root.join("robots.known_hosts")).unwrap(), text);
    }
}
