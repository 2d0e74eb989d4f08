//! The tunnel for people's own `docker push`.

use super::harness::{Lab, MAIN, PROJECT, output};

pub fn it_takes_a_push_and_closes_on_ctrl_c(lab: &Lab) {
    let workspace = lab.deployed();
    let mut tunnel = workspace.start(&["tunnel", "--robot", "main", "--yes"]);
    let host = tunnel
        .until("the port", |run| Some(run.stdout().split_once(" is the registry of main")?.0.to_owned()));
    let name = format!("{host}/{PROJECT}:by-hand");
    output(&["docker", "tag", &format!("{PROJECT}:navigation"), &name]);
    output(&["docker", "push", &name]);
    output(&["docker", "image", "rm", &name]);
    let list = format!("r.urlopen('http://127.0.0.1:5000/v2/{PROJECT}/tags/list').read()");
    let tags = MAIN.exec(&["python3", "-c", &format!("import urllib.request as r; print({list})")]);
    assert!(tags.contains("by-hand"), "{tags}");

    tunnel.interrupt();
    tunnel.wait_for_all().expect_exit(130);
    let port: u16 = host.rsplit(':').next().unwrap().parse().unwrap();
    drop(std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free again"));
    assert_eq!(workspace.temporary_files(), Vec::<std::path::PathBuf>::new());
}
