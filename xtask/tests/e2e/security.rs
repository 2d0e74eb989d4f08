//! Access to sockets and secrets, and names with a special meaning in a shell.

use std::collections::BTreeSet;
use std::fs;

use super::harness::{
    Lab, MAIN, MAP, ODOMETRY, PROJECT, Robot, SECONDARY, Single, Socket, Workspace, eventually,
    incompressible, output,
};
use super::releases::add_service;

/// Passes a secret to the service.
const SETTINGS: &str = "    restart: always
    environment: { TOKEN: \"$TOKEN\" }
    healthcheck: { test: [CMD-SHELL, 'test -n \"$$TOKEN\"'], interval: 1s }
";

#[track_caller]
fn assert_on_loopback(sockets: &[Socket]) {
    let beyond: Vec<&Socket> = sockets.iter().filter(|socket| !socket.is_on_loopback()).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
}

pub fn this_machine_listens_on_loopback_only(lab: &Lab) {
    let workspace = lab.deployed();
    for robot in [MAIN, SECONDARY] {
        lab.deploy(robot);
        let ports = output(&["docker", "port", &robot.container()]);
        assert!(!ports.is_empty() && ports.lines().all(|line| line.contains(" -> 127.0.0.1:")), "{ports}");
    }
    workspace.write(MAP, incompressible(20_000_000));
    let mut seen = BTreeSet::new();
    let deploy = workspace.start(&["deploy", "--robot", "main,secondary", "--yes"]);
    deploy.watched(|run| seen.extend(run.sockets())).expect_exit(0);
    let seen: Vec<Socket> = seen.into_iter().collect();
    assert!(!seen.is_empty(), "there was no tunnel");
    assert_on_loopback(&seen);

    let mut tunnel = workspace.start(&["tunnel", "--robot", "main", "--yes"]);
    tunnel.until("the port", |run| run.stdout().contains(" is the registry of main").then_some(()));
    let open = tunnel.sockets();
    assert!(!open.is_empty());
    assert_on_loopback(&open);
    tunnel.interrupt();
    tunnel.wait_for_all().expect_exit(0).never_says("error");
}

pub fn the_robot_listens_on_loopback_only(lab: &Lab) {
    let workspace = lab.deployed();
    let mut seen = BTreeSet::new();
    let line = format!("    half = turn / 2  # {:?}", std::time::SystemTime::now());
    workspace.edit(ODOMETRY, "    half = turn / 2", &line);
    workspace
        .start(&["deploy", "--robot", "main", "--yes"])
        .watched(|_| seen.extend(MAIN.sockets()))
        .expect_exit(0);
    // Nodes discover each other over the network with DDS: the team intends that.
    let (of_nodes, seen): (Vec<Socket>, Vec<Socket>) = seen.into_iter().partition(|socket| socket.is_of_node);
    let is_sshd = |socket: &Socket| (socket.kind.as_str(), socket.port) == ("tcp", 22);
    let (sshd, others): (Vec<Socket>, Vec<Socket>) = seen.into_iter().partition(is_sshd);
    assert!(!sshd.is_empty() && others.iter().any(|socket| socket.port == 5000), "{sshd:?} {others:?}");
    assert_on_loopback(&others);
    assert!(of_nodes.iter().any(|socket| !socket.is_on_loopback()), "nodes are not told from others");
    assert!(of_nodes.iter().all(|socket| socket.kind == "udp"), "{of_nodes:?}");
}

/// Tries every kind of request at a robot's registry, and prints the answers: REPOSITORY MANIFEST BLOB.
const INTRUDER: &str = "
import http.client, sys
repository, manifest, blob = sys.argv[1:]
def ask(method, path, body=None):
    connection = http.client.HTTPConnection('127.0.0.1', 5000)
    connection.request(method, '/v2/' + path, body, {'Accept': 'application/vnd.oci.image.manifest.v1+json'})
    return str(connection.getresponse().status)
print(ask('GET', '_catalog'), ask('GET', f'{repository}/tags/list'),
      ask('GET', f'{repository}/manifests/{manifest}'), ask('GET', f'{repository}/blobs/{blob}'),
      ask('POST', f'{repository}/blobs/uploads/'),
      ask('PUT', f'{repository}/manifests/mine', '{}'),
      ask('DELETE', f'{repository}/manifests/{manifest}'))
";

/// The registry's answers to another user's container on the robot's network.
fn intrude() -> String {
    let [image, _] = MAIN.registry_image_and_settings();
    let digest = MAIN.digest("localization");
    let blob = "python3 -c 'import json,sys; print(json.load(sys.stdin)[\"config\"][\"digest\"])'";
    let data = "/var/lib/docker/volumes/xtask-registry/_data/docker/registry/v2/blobs/sha256";
    let hex = digest.strip_prefix("sha256:").unwrap();
    let config = MAIN.sh(&format!("{blob} <{data}/{}/{hex}/data", &hex[..2]));
    let container = ["docker", "run", "--rm", "--network", "host", "--user", "65534:65534"];
    let program = ["--entrypoint", "python3", &image, "-c", INTRUDER, &PROJECT, &digest, &config];
    MAIN.exec(&[&container[..], &program].concat())
}

pub fn others_on_the_robot_cannot_use_its_registry(lab: &Lab) {
    let workspace = lab.deployed();
    // Another test may have delivered without the registry: make sure that it has these images.
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # through the registry");
    lab.deploy(MAIN);
    assert_eq!(intrude(), "401 401 401 401 401 401 401");
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "cat"];
    let volume = "/var/lib/docker/volumes/xtask-registry/_data";
    for file in ["credential", "htpasswd"] {
        assert!(!MAIN.can(&[&nobody[..], &[&format!("{volume}/{file}")]].concat()), "{file} can be read");
        assert_eq!(MAIN.exec(&["stat", "-c", "%a %U", &format!("{volume}/{file}")]), "600 root");
    }
    let login = MAIN.registry_login();
    let deploy = |line: &str| {
        workspace.edit(ODOMETRY, "    half = turn / 2", &format!("    half = turn / 2  # {line}"));
        let mut processes = BTreeSet::new();
        let run = workspace.start(&["deploy", "--robot", "main", "--yes", "--verbose"]);
        run.watched(|_| note_processes(&mut processes)).expect_exit(0).never_says(&login);
        assert!(processes.iter().all(|line| !contains(line, &login)), "it stands in a process list");
    };
    deploy("with a login");
    assert_eq!(files_with(workspace.path(".."), &[&login]), [""; 0]);
    let found = files_on_robot_with(MAIN, &login);
    assert!(found.iter().all(|path| path.ends_with("/_data/credential")) && !found.is_empty(), "{found:?}");
    // The login and the container's restrictions stay when the registry is started again.
    let restricted = "{{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.SecurityOpt}}";
    let inspect = ["docker", "inspect", "--format", restricted, "xtask-registry"];
    assert_eq!(MAIN.exec(&inspect), "[ALL] true [no-new-privileges]");

    // A running registry of the same image that needs no login is replaced.
    let [image, _] = MAIN.registry_image_and_settings();
    MAIN.sh(&format!(
        "docker rm --force xtask-registry
         docker run --detach --name xtask-registry --restart always --network host \
             --volume xtask-registry:/var/lib/registry --env REGISTRY_HTTP_ADDR=127.0.0.1:5000 \
             --env REGISTRY_AUTH=none --env REGISTRY_STORAGE_DELETE_ENABLED=true {image}"
    ));
    eventually("that registry", || MAIN.can(&["test", "-e", &format!("{volume}/credential")]).then_some(()));
    eventually("it to let in everybody", || intrude().starts_with("200 200 200 200 202 400 ").then_some(()));
    deploy("after another user");
    assert_eq!(intrude(), "401 401 401 401 401 401 401");
    assert_eq!(
        (MAIN.exec(&inspect).as_str(), MAIN.registry_login()),
        ("[ALL] true [no-new-privileges]", login)
    );
}

/// A program that takes the registry's port first gets neither the login nor images. The registry may have another port.
pub fn who_takes_the_registrys_port_gets_nothing(lab: &Lab) {
    let workspace = lab.deployed();
    let squatter = "import http.server as s\n\
        class Squatter(s.BaseHTTPRequestHandler):\n\
        \x20protocol_version = 'HTTP/1.1'\n\
        \x20def do_GET(self):\n\
        \x20 open('/tmp/asked', 'a').write(str(self.headers))\n\
        \x20 self.send_response(200); self.send_header('Docker-Distribution-Api-Version', 'registry/2.0')\n\
        \x20 self.send_header('Content-Length', '0'); self.end_headers()\n\
        \x20do_HEAD = do_POST = do_PUT = do_PATCH = do_GET\n\
        s.ThreadingHTTPServer(('127.0.0.1', 5000), Squatter).serve_forever()";
    MAIN.exec(&["docker", "rm", "--force", "xtask-registry"]);
    output(&["docker", "exec", "--detach", &MAIN.container(), "python3", "-c", squatter]);
    eventually("the port to be taken", || (!MAIN.listeners(5000).is_empty()).then_some(()));
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # not for everybody");
    workspace
        .xtask(&["deploy", "--robot", "main", "--yes"])
        .expect_exit(1)
        .says("the registry on `main` does not start")
        .says("docker logs xtask-registry")
        .says("`registry_port = 5005` in [robots.main]");
    assert!(!MAIN.can(&["test", "-e", "/tmp/asked"]), "it was asked");
    workspace.edit("robots.toml", "[robots.main]", "[robots.main]\nregistry_port = 5005");
    lab.deploy(MAIN);
    MAIN.assert_engine_has_built("localization");
    let moved = format!("127.0.0.1:5005/{PROJECT}@");
    assert!(MAIN.services()["localization"].reference.starts_with(&moved));
    assert!(!MAIN.can(&["test", "-e", "/tmp/asked"]), "it was asked");
    lab.deploy(MAIN).says("nothing changed");

    MAIN.sh("pkill -f '^python3 -c import http.server'");
    workspace.edit("robots.toml", "[robots.main]\nregistry_port = 5005", "[robots.main]");
    lab.deploy(MAIN).says("nothing changed");
    workspace.edit(ODOMETRY, "  # not for everybody", "  # for nobody else");
    lab.deploy(MAIN);
    MAIN.assert_has_built("localization");
}

/// A random word that no other file contains.
fn secret(name: &str) -> String {
    let bytes: String = incompressible(8).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-{bytes}")
}

/// Records the process list of this machine, which includes the processes of its simulated robots.
fn note_processes(seen: &mut BTreeSet<Vec<u8>>) {
    for process in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        if let Ok(line) = fs::read(process.path().join("cmdline")) {
            seen.insert(line);
        }
    }
}

fn contains(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|part| part == word.as_bytes())
}

/// Files in a directory of this machine that contain one of the words.
fn files_with(dir: &str, words: &[&str]) -> Vec<String> {
    let words = words.iter().flat_map(|word| ["-e", word]).collect::<Vec<_>>();
    let script = "dir=$1 && shift && { grep -rlaF \"$@\" \"$dir\" || [ $? -eq 1 ]; }";
    let found = output(&[&["sh", "-c", script, "grep", dir], &words[..]].concat());
    found.lines().map(str::to_owned).collect()
}

/// Files on a robot that contain the word, in its own system and in all that its containers see.
fn files_on_robot_with(robot: Robot, word: &str) -> Vec<String> {
    let places = "/root /home /tmp /dev/shm /run /etc /var";
    // Devices and pipes have no end, so only regular files are read. Files under two mount points are found
    // twice.
    let found = robot.sh(&format!(
        "find {places} -type f -size -2048k -exec grep -laF -e '{word}' {{}} + 2>/dev/null || true"
    ));
    found.lines().map(str::to_owned).collect()
}

/// Deploys another image that is given secrets.
fn single(workspace: &Workspace, build_secret: &str, marker: &str) {
    let dockerfile = format!(
        "FROM shell AS runtime\n\
         RUN --mount=type=secret,id=pip,target=/etc/pip.conf grep -q {} /etc/pip.conf && echo {marker} >/marker\n",
        // The Dockerfile contains only the first part of the secret.
        build_secret.split('-').next().unwrap()
    );
    let _single = Single::with_settings(workspace, &dockerfile, SETTINGS);
    workspace.edit(
        "robots.toml",
        "# env_files = [\"docker/match.env\"]",
        "env_files = [\"docker/match.env\"]",
    );
}

pub fn secrets_are_read_by_who_needs_them_and_kept_nowhere(lab: &Lab) {
    let workspace = lab.deployed();
    let (build, first, second, marker) =
        (secret("build"), secret("first"), secret("second"), secret("marker"));
    single(workspace, &build, &marker);
    let mut processes = BTreeSet::new();
    let mut run = |args: &[&str]| {
        let pip = workspace.path("../pip.conf");
        let run = workspace.start_with(&[("PIP_CONFIG_FILE", pip)], args);
        let done = run.watched(|_| note_processes(&mut processes)).expect_exit(0);
        [&build, &first, &second].into_iter().fold(done, |done, secret| done.never_says(secret));
    };
    workspace.write("../pip.conf", format!("# {build}\n"));
    workspace.write("docker/match.env", format!("TOKEN={first}\n"));
    run(&["deploy", "--robot", "main", "--yes", "--verbose", "--timings"]);
    workspace.write("docker/match.env", format!("TOKEN={second}\n"));
    run(&["env", "--robot", "main", "--verbose"]);
    run(&["rollback", "--robot", "main", "--verbose"]);
    // A removed value is still a secret.
    workspace.write("docker/match.env", "TOKEN=\n");
    run(&["env", "--robot", "main", "--plan"]);
    workspace.write("docker/match.env", format!("TOKEN={second}\n"));
    let token = ["docker", "exec", &format!("{PROJECT}-single-1"), "sh", "-c", "echo \"$TOKEN\""];
    assert_eq!(MAIN.exec(&token), first, "it is what containers are told");

    // Process lists of this machine, and of the robot during the activation.
    let of_this_lab =
        |word: &str| processes.iter().any(|line| contains(line, word) && contains(line, &PROJECT));
    assert!(of_this_lab("bake"), "this machine was not seen");
    assert!(of_this_lab("--no-deps"), "the robot was not seen");
    for secret in [&build, &first, &second] {
        let telling = processes.iter().find(|line| contains(line, secret));
        assert_eq!(telling.map(|line| String::from_utf8_lossy(line)), None);
    }

    // Layers, configuration and history of the image. The search does find text in a layer.
    let image = format!("{PROJECT}:single");
    let saved = |word: &str| {
        output(&["sh", "-c", "docker save \"$1\" | grep -acF -e \"$2\" || true", "save", &image, word])
    };
    assert_ne!(saved(&marker), "0");
    for secret in [&build, &first, &second] {
        assert_eq!(saved(secret), "0");
    }

    // Files of this machine: only those that contained the secrets before.
    let found = files_with(workspace.path(".."), &[&build, &first, &second]);
    let mut known = [workspace.path("../pip.conf"), workspace.path("docker/match.env")];
    known.sort_unstable();
    let mut found: Vec<String> = found.iter().map(|path| path.replace("/workspace/../", "/")).collect();
    found.sort();
    assert_eq!(found, known.map(|path| path.replace("/workspace/../", "/")));

    // Files of the robot: only those of its releases and its engine, which no other user can read.
    assert_eq!(files_on_robot_with(MAIN, &build), [""; 0]);
    for secret in [&first, &second] {
        let found = files_on_robot_with(MAIN, secret);
        let of_releases = found.iter().filter(|path| path.starts_with("/home/robot/.deploy/"));
        assert!(of_releases.clone().all(|path| path.ends_with("/compose.json")), "{found:?}");
        assert!(of_releases.count() > 0, "{found:?}");
        for path in &found {
            let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "cat", path];
            assert!(!MAIN.can(&nobody), "anybody can read {path}");
        }
    }
    let open = MAIN.sh("find /home/robot/.deploy -maxdepth 0 -perm /077");
    assert_eq!(open, "", "what is in there is nobody else's");
}

pub fn odd_names_in_a_compose_file_arrive(lab: &Lab) {
    let workspace = lab.deployed();
    let single = Single::new(workspace, "FROM shell AS runtime\n");
    let file = "it's $(touch canary) `touch canary` \"2\"; x";
    workspace.write(&format!("docker/single/{file}"), "arrived\n");
    let source = format!("./{file}").replace('$', "$$").replace('"', "\\\"");
    workspace.write(
        "docker/single/compose.yaml",
        format!(
            "x-single: &single\n  image: {PROJECT}:single\n  command: sleep 1000000\n  init: true\n  network_mode: none\n\
             services:\n  --help:\n    <<: *single\n    \
             volumes: [{{ type: bind, source: \"{source}\", target: /odd, read_only: true }}]\n    \
             labels: {{ odd: \"{source}\" }}\n  -x:\n    <<: *single\n"
        ),
    );
    single.deploy("main");
    let names: Vec<String> = MAIN.services().into_keys().collect();
    assert_eq!(names, ["--help", "-x"]);
    let exec = ["exec", "--robot", "main", "--", "--help"];
    workspace.xtask(&exec).expect_exit(2);
    assert_eq!(MAIN.exec(&["docker", "exec", &format!("{PROJECT}---help-1"), "cat", "/odd"]), "arrived");
    workspace.xtask(&["restart", "--robot", "main", "--", "--help", "-x"]).expect_exit(0);
    workspace.xtask(&["logs", "--robot", "main", "--", "-x"]).expect_exit(0);
    let canaries = "find /home /root /tmp / -xdev -maxdepth 4 -name canary";
    assert_eq!(MAIN.sh(canaries), "");
    assert_eq!(output(&["find", workspace.path(".."), "-name", "canary"]), "");
}

/// A node with the SSH user's id that sees the robot's shared memory: it records everything that it finds of
/// a deploy, and tries to run commands in the container that has the engine's socket.
const HOSTILE: &str = r#"  hostile:
    image: PROJECT:navigation
    network_mode: none
    ipc: host
    user: "1000:1000"
    init: true
    stop_grace_period: 0s
    command:
      - sh
      - -c
      - |
        while :; do
          for found in /dev/shm/xtask*; do
            [ -e "$$found" ] || continue
            echo "$$found" >>/tmp/found
            printf '2\nCMD-SHELL\ntouch /home/robot/.deploy/PROJECT/marker\n' >"$$found/PROJECT-guard"
            echo 'x - running 0 0 starting PROJECT-guard now -' >>"$$found/now"
          done
          sleep 0.01
        done"#;

pub fn a_hostile_node_neither_sees_nor_steers_a_deploy(lab: &Lab) {
    let workspace = lab.deployed();
    assert_eq!(MAIN.sh("id -u robot"), "1000");
    add_service(workspace, HOSTILE);
    lab.deploy(MAIN);
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # beside a hostile node");
    lab.deploy(MAIN);
    let seen = ["docker", "exec", &format!("{PROJECT}-hostile-1"), "cat", "/tmp/found"];
    assert!(!MAIN.can(&seen), "a node sees notes of a deploy: {}", MAIN.exec(&seen));
    assert!(!MAIN.can(&["test", "-e", &format!("/home/robot/.deploy/{PROJECT}/marker")]), "a node has root");
}

pub fn the_guard_is_as_weak_as_it_can_be(lab: &Lab) {
    lab.deployed();
    let guard = format!("{PROJECT}-guard");
    let ask = |format: &str| MAIN.exec(&["docker", "container", "inspect", "--format", format, &guard]);
    assert_eq!(
        ask("{{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.NetworkMode}}"),
        "[ALL] true none"
    );
    assert!(ask("{{.HostConfig.SecurityOpt}}").contains("no-new-privileges"));
    assert_eq!(ask("{{.Config.User}}"), "1000:1000");
    let writable = "{{range .Mounts}}{{if .RW}}{{println .Source}}{{end}}{{end}}";
    let writable = ask(writable);
    let writable: BTreeSet<&str> = writable.split_whitespace().collect();
    assert_eq!(writable, [&*format!("/home/robot/.deploy/{PROJECT}"), "/var/run/docker.sock"].into());

    // A foreign container of that name is not mistaken for the guard, and does not block a deploy.
    MAIN.exec(&["docker", "container", "rm", "--force", &guard]);
    let other =
        ["docker", "run", "--detach", "--name", &guard, &format!("{PROJECT}:navigation"), "sleep", "600"];
    MAIN.exec(&other);
    lab.workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # beside another guard");
    lab.deploy(MAIN);
    let ours = format!("docker container ls --all --quiet --filter label=xtask.guard={PROJECT} | wc -l");
    assert_eq!(MAIN.sh(&ours), "1");
    MAIN.exec(&["docker", "container", "rm", "--force", &guard]);
}
