//! The tunnel for the user's own `docker push`.

use super::harness::{Lab, PROJECT, output, succeeds};

pub fn it_takes_a_push_and_closes_on_ctrl_c(lab: &Lab) {
    let workspace = lab.deployed();
    let mut tunnel = workspace.start(&["tunnel", "--robot", "main", "--yes"]);
    let host = tunnel
        .until("the port", |run| Some(run.stdout().split_once(" is the registry of main")?.0.to_owned()));
    let name = format!("{host}/{PROJECT}:by-hand");
    output(&["docker", "tag", &format!("{PROJECT}:navigation"), &name]);
    output(&["docker", "push", &name]);
    output(&["docker", "image", "rm", &name]);
    // The tunnel adds the login only for this user: not for other users, and not for web pages.
    let url = format!("http://{host}/v2/{PROJECT}/tags/list");
    let curl = ["curl", "--silent", "--noproxy", "*", "--max-time", "20", &url];
    let tags = output(&curl);
    assert!(tags.contains("by-hand"), "{tags}");
    let page =
        |header: &str| output(&[&curl[..], &["--header", header, "--write-out", "%{http_code}"]].concat());
    for header in ["Host: evil.example", "Origin: http://evil.example"] {
        assert_eq!(page(header), "403", "{header}");
    }
    let delete = ["--request", "DELETE", "--write-out", "%{http_code}"];
    assert_eq!(output(&[&curl[..], &delete].concat()), "405");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if succeeds(&[&nobody[..], &["true"]].concat()) {
        assert!(!succeeds(&[&nobody[..], &curl].concat()), "another user of this machine reaches the robot");
    }

    tunnel.interrupt();
    tunnel.wait_for_all().expect_exit(0).never_says("error");
    let port: u16 = host.rsplit(':').next().unwrap().parse().unwrap();
    drop(std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free again"));
    assert_eq!(workspace.temporary_files(), Vec::<std::path::PathBuf>::new());
}
