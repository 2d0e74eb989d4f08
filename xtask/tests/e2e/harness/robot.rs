//! The state of a simulated robot, as seen from inside.

use std::collections::BTreeMap;

use super::inside::inside;
use super::shell::{output, succeeds};
use super::sockets::{self, Socket};
use super::{Engine, PROJECT, eventually};

/// Working directory of the robot's registry agent.
pub const AGENT_DIR: &str = "/var/lib/docker/volumes/xtask-registry/_data/courier";

/// Login at the robot's registry.
const LOGIN: &str = "/var/lib/docker/volumes/xtask-registry/_data/credential";

#[derive(Clone, Copy)]
pub struct Robot {
    pub name: &'static str,
}

/// A container of the project on the robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub started: String,
    /// Image reference in the container's configuration.
    pub reference: String,
    /// Id of the running image.
    pub image: String,
}

impl Robot {
    /// The container that simulates the robot.
    pub fn container(self) -> String {
        format!("{PROJECT}-sim-{}", self.name)
    }

    /// Cuts the power: everything on the robot ends at once.
    pub fn cut_power(self) {
        output(&["docker", "kill", &self.container()]);
    }

    /// Switches the robot on, and leaves it to itself once it has its disk.
    pub fn switch_on(self) {
        output(&["docker", "start", &self.container()]);
        eventually("the robot's disk", || self.can(&["mountpoint", "-q", "/home/robot"]).then_some(()));
    }

    /// Makes the robot unreachable; neither end is notified.
    pub fn cut_link(self) {
        self.sh("for way in 'INPUT -i' 'OUTPUT -o'; do iptables -I $way eth0 -j DROP; done");
    }

    /// Makes the robot reachable again.
    pub fn mend_link(self) {
        self.sh("for way in 'INPUT -i' 'OUTPUT -o'; do iptables -D $way eth0 -j DROP; done");
    }

    /// Stdout of a command on the robot, run as root.
    pub fn exec(self, argv: &[&str]) -> String {
        let words = inside(&self.container(), argv);
        output(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Stdout of a shell script on the robot, run as root.
    pub fn sh(self, script: &str) -> String {
        self.exec(&["sh", "-ec", script])
    }

    /// Returns whether a command on the robot succeeds.
    pub fn can(self, argv: &[&str]) -> bool {
        let words = inside(&self.container(), argv);
        succeeds(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Running containers of the project, by service.
    pub fn services(self) -> BTreeMap<String, Container> {
        let format = "{{index .Config.Labels \"com.docker.compose.service\"}} {{.Id}} {{.State.StartedAt}} \
                      {{.Config.Image}} {{.Image}}";
        let list =
            format!("docker ps --quiet --no-trunc --filter label=com.docker.compose.project={PROJECT}");
        // A container may be removed between the two commands.
        let text = self.sh(&format!(
            "n=0; until found=$({list} | xargs -r docker inspect --format '{format}'); do n=$((n + 1)); \
             [ $n -lt 20 ]; done; printf %s \"$found\""
        ));
        let container = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let [service, id, started, reference, image] = words.try_into().unwrap();
            (service, Container { id, started, reference, image })
        };
        text.lines().map(container).collect()
    }

    /// Manifest digest of an image that the robot's engine has pulled from the robot's registry; `None` if it came
    /// another way.
    fn pulled(self, image: &str) -> Option<String> {
        let digests = self.inspect(image, "{{join .RepoDigests \" \"}}");
        let prefix = format!("127.0.0.1:5000/{PROJECT}@");
        digests.split(' ').find_map(|name| name.strip_prefix(&prefix)).map(str::to_owned)
    }

    /// Manifest digest of an image that came through the robot's registry.
    pub fn digest(self, image: &str) -> String {
        self.pulled(image).unwrap_or_else(|| panic!("{image} did not come through the registry"))
    }

    /// Fails unless the robot's engine has exactly the image that this machine built.
    #[track_caller]
    pub fn assert_engine_has_built(self, image: &str) {
        let name = format!("{PROJECT}:{image}");
        let Some(manifest) = self.pulled(image) else {
            return assert_eq!(self.layers(image), Engine::layers(&name), "{name}");
        };
        // A classic store identifies an image by its configuration.
        let known = [manifest, self.inspect(image, "{{.ID}}")];
        let built = Engine::id(&name);
        assert!(known.contains(&built), "built {built}, the robot has {known:?}");
    }

    /// Also checks the robot's registry, which keeps what it has delivered until that is pruned or lost.
    #[track_caller]
    pub fn assert_has_built(self, image: &str) {
        self.assert_engine_has_built(image);
        let Some(manifest) = self.pulled(image) else { return };
        let script = format!(
            "import json, urllib.request as r\n\
             q = r.Request('http://127.0.0.1:5000/v2/{PROJECT}/manifests/{manifest}', headers={{'Authorization': \
             'Basic {}', 'Accept': 'application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json'}})\n\
             print(json.loads(r.urlopen(q).read())['config']['digest'])",
            self.registry_login()
        );
        assert_ne!(self.exec(&["python3", "-c", &script]), "");
    }

    /// Login at the robot's registry, as in HTTP's `Basic` header.
    pub fn registry_login(self) -> String {
        self.exec(&["cat", LOGIN])
    }

    /// Waits until the robot's registry accepts its login, which it may make again at each start.
    pub fn wait_for_registry(self) {
        let ask = format!(
            "import urllib.request as r\n\
             login = 'Basic ' + open('{LOGIN}').read().strip()\n\
             r.urlopen(r.Request('http://127.0.0.1:5000/v2/', headers={{'Authorization': login}}))"
        );
        eventually("the registry", || self.can(&["python3", "-c", &ask]).then_some(()));
    }

    /// Image of the robot's registry, and the label with its start options.
    pub fn registry_image_and_settings(self) -> [String; 2] {
        let inspect = |format: &str| self.exec(&["docker", "inspect", "--format", format, "xtask-registry"]);
        let settings = inspect("{{index .Config.Labels \"xtask.settings\"}}");
        [inspect("{{.Config.Image}}"), format!("xtask.settings={settings}")]
    }

    /// Runs `docker image inspect` on the robot.
    pub fn inspect(self, image: &str, format: &str) -> String {
        self.exec(&["docker", "image", "inspect", "--format", format, &format!("{PROJECT}:{image}")])
    }

    /// Unpacked layers of an image on the robot, lowest first.
    pub fn layers(self, image: &str) -> Vec<String> {
        self.inspect(image, "{{join .RootFS.Layers \" \"}}").split(' ').map(str::to_owned).collect()
    }

    /// Content of a file in a service's container.
    pub fn file(self, service: &str, path: &str) -> String {
        self.exec(&["docker", "exec", &format!("{PROJECT}-{service}-1"), "cat", path])
    }

    /// Runs a package's executable in a service's container; returns whether it succeeds.
    pub fn ros_run(self, service: &str, words: &[&str]) -> bool {
        self.can(&[&["docker", "exec", &format!("{PROJECT}-{service}-1"), "ros-run"], words].concat())
    }

    /// Address of its SSH server on this machine.
    pub fn ssh_address(self) -> String {
        output(&["docker", "port", &self.container(), "22"]).lines().next().unwrap().to_owned()
    }

    /// Addresses on which the robot listens at a TCP port, in hexadecimal as in the kernel's tables.
    pub fn listeners(self, port: u16) -> Vec<String> {
        let sockets = self.sockets().into_iter();
        let listening = sockets.filter(|socket| socket.kind == "tcp" && socket.port == port);
        listening.map(|socket| socket.address).collect()
    }

    /// Open sockets of the robot, except those in networks of containers.
    pub fn sockets(self) -> Vec<Socket> {
        Socket::waiting(&self.sh(sockets::LIST))
    }

    /// Waits until this many containers of the project run.
    pub fn wait_for_services(self, count: usize) {
        eventually("all services to run", || (self.services().len() == count).then_some(()));
    }

    /// Bytes that the robot's network interface has received.
    pub fn received(self) -> u64 {
        self.sh("cat /sys/class/net/eth0/statistics/rx_bytes").parse().unwrap()
    }

    /// Bytes that the robot's network interface has sent.
    pub fn sent(self) -> u64 {
        self.sh("cat /sys/class/net/eth0/statistics/tx_bytes").parse().unwrap()
    }

    /// Waits until the robot's network interface has received this many more bytes.
    pub fn wait_until_it_has_received(self, bytes: u64) {
        let before = self.received();
        eventually("bytes to arrive", || (self.received() > before + bytes).then_some(()));
    }

    /// Waits until no registry agent runs; its command line contains `zstandard`.
    pub fn wait_until_no_agent_is_left(self) {
        eventually("the registry agents to end", || {
            let processes = self.exec(&["docker", "top", "xtask-registry", "-o", "pid,args"]);
            (!processes.contains("zstandard")).then_some(())
        });
    }

    /// Waits until the deploy lock of the robot is free.
    pub fn wait_until_unlocked(self) {
        let lock = format!("/home/robot/.deploy/{PROJECT}/deploy.lock");
        eventually("the lock to go", || self.can(&["flock", "-n", &lock, "true"]).then_some(()));
    }

    /// Bytes of partly transferred layers.
    pub fn spooled(self) -> u64 {
        self.sh(&format!("cat {AGENT_DIR}/*.spool 2>/dev/null | wc -c")).parse().unwrap()
    }

    /// Names of files that agents have not finished.
    pub fn unfinished(self) -> Vec<String> {
        let volume = "docker inspect --format '{{range .Mounts}}{{.Source}}{{end}}' xtask-registry";
        let found = self.sh(&format!("find \"$({volume})\" -name '*.part'"));
        found.lines().map(str::to_owned).collect()
    }

    /// Waits until the health checks of all containers succeed.
    pub fn wait_until_healthy(self) {
        eventually("all services to be healthy", || {
            let list = format!(
                "docker ps --filter label=com.docker.compose.project={PROJECT} --format '{{{{.Status}}}}'"
            );
            let states = self.sh(&list);
            (states.lines().count() == 4 && states.lines().all(|state| state.contains("(healthy)")))
                .then_some(())
        });
    }
}
