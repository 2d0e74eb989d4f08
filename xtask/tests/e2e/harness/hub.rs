//! A team's registry for this machine and the simulated robots, with TLS by its own authority, and a login.
//!
//! The registry uses this machine's network, at the address by which robots reach this machine. The usual
//! `172.17.0.1` would not work: on a robot, that is the bridge of the robot's engine.

use std::net::TcpListener;
use std::path::Path;

use robot_deploy::config::Platform;
use robot_deploy::image::{Builder, service};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::shell::{command, output, succeeds};
use super::{Finished, PROJECT, Robot, Running, Workspace, eventually};

const USER: &str = "team";

/// Password of [`USER`], and its hash in the registry.
pub const PASSWORD: &str = "swordfish-at-noon";
const HTPASSWD: &str = "team:$2y$05$EsjXrpNVoQDRt3Cf6kdLwuVCo0mlBIl0Rre4ara4SL1sD6dPmwzKq\n";

/// User and password as in Docker's configuration and in requests.
pub const AUTH: &str = "dGVhbTpzd29yZGZpc2gtYXQtbm9vbg==";

/// The same user with a wrong password.
const WRONG_AUTH: &str = "dGVhbTp5ZXN0ZXJkYXktcy1wYXNzd29yZA==";

/// Label with the registry's address, for the cleanup.
const LABEL: &str = "dev.cargo-xtask.e2e.hub";

/// Accepted manifest types, for one platform and for several.
const MANIFESTS: &str = "Accept: application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// The registry; [`Hub::remove`] removes it.
pub struct Hub {
    dir: TempDir,
    address: String,
}

/// Login to use at the registry.
#[derive(Clone, Copy)]
pub enum As {
    /// A valid login.
    Member,
    /// A login whose password has changed since.
    Former,
    /// No login.
    Stranger,
}

/// An image in the registry, for one platform.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    /// Digest of the manifest.
    pub digest: String,
    /// Unpacked layers, lowest first.
    pub layers: Vec<String>,
}

impl Hub {
    /// Starts an empty registry that this machine trusts, and logs in; robots have to be up.
    pub fn start() -> Self {
        Self::remove();
        let dir = tempfile::Builder::new().prefix("e2e-hub-").tempdir_in("/tmp").unwrap();
        let network = format!("{PROJECT}-sim");
        let format = "{{(index .IPAM.Config 0).Gateway}}";
        let gateway = output(&["docker", "network", "inspect", "--format", format, &network]);
        let free = TcpListener::bind((gateway.as_str(), 0)).unwrap().local_addr().unwrap();
        let hub = Self { dir, address: free.to_string() };
        hub.write_configuration(&gateway);
        let builder = Builder::for_engine(robot_deploy::host::engine().unwrap());
        let image = service::registry(builder, &Platform::of_this_machine()).unwrap();
        let (name, label) = (container(), format!("{LABEL}={}", hub.address));
        let files = format!("{}:/etc/hub:ro", hub.path(""));
        let run = ["docker", "run", "--detach", "--name", &name, "--label", &label, "--network", "host"];
        let volumes = ["--volume", &files, "--volume", "/etc/docker:/etc/docker"];
        output(&[&run[..], &volumes, &[&image, "serve", "/etc/hub/config.yml"]].concat());
        hub.wait();
        hub.is_trusted_here();
        hub.log_in();
        hub
    }

    /// Removes the registry, even of an earlier run, and the trust in it.
    pub fn remove() {
        let (name, format) =
            (container(), format!("{{{{index .Config.Labels \"{LABEL}\"}}}} {{{{.Image}}}}"));
        let inspect = command(&["docker", "container", "inspect", "--format", &format, &name]).output();
        let text = inspect.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        if let Some((address, image)) = text.unwrap_or_default().trim().split_once(' ') {
            // The registry may be off.
            let run = ["docker", "run", "--rm", "--volumes-from", &name, "--entrypoint", "python3", image];
            succeeds(&[&run[..], &["-I", "-S", "-B", "-c", REMOVE_CA, address]].concat());
        }
        succeeds(&["docker", "rm", "--force", &name]);
    }

    fn write_configuration(&self, address: &str) {
        let write = |file: &str, text: &str| std::fs::write(self.dir.path().join(file), text).unwrap();
        write("htpasswd", HTPASSWD);
        write("config.yml", &CONFIGURATION.replace("ADDRESS", &self.address));
        let authority = format!("subjectAltName=IP:{address}\n");
        write("extensions", &authority);
        let script = "
            cd \"$1\"
            new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \"$@\"; }
            new -x509 -days 2 -subj '/CN=Authority of the team' -keyout ca.key -out ca.crt
            new -subj /CN=registry -keyout tls.key -out tls.csr
            openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
                -extfile extensions -out tls.crt";
        output(&["sh", "-ec", script, "certificates", &self.path("")]);
    }

    fn path(&self, file: &str) -> String {
        self.dir.path().join(file).to_str().unwrap().trim_end_matches('/').to_owned()
    }

    fn wait(&self) {
        eventually("the registry to answer", || self.answers().then_some(()));
    }

    /// Returns whether the registry answers.
    pub fn answers(&self) -> bool {
        self.request("").0 == 200
    }

    /// The certificate must be on the engine's machine, which root owns, so a container writes it.
    fn is_trusted_here(&self) {
        let python = ["python3", "-I", "-S", "-B", "-c", TRUST, &self.address];
        output(&[&["docker", "exec", &container()], &python[..]].concat());
    }

    fn log_in(&self) {
        let script =
            "printf %s \"$4\" | docker --config \"$1\" login --username \"$3\" --password-stdin \"$2\"";
        output(&["sh", "-ec", script, "login", &self.config(As::Member), &self.address, USER, PASSWORD]);
        // The entry that `docker login` wrote, with another password.
        let entry = |auth: &str| format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{auth}\"}}}}}}", self.address);
        let former = Path::new(&self.config(As::Former)).join("config.json");
        std::fs::create_dir(former.parent().unwrap()).unwrap();
        std::fs::write(former, entry(WRONG_AUTH)).unwrap();
    }

    /// Directory of a Docker configuration with this login; the developer's own is not used.
    fn config(&self, who: As) -> String {
        self.path(match who {
            As::Member => "member",
            As::Former => "former",
            As::Stranger => "stranger",
        })
    }

    /// Makes a robot trust the registry.
    pub fn is_trusted_by(&self, robot: Robot) {
        let (dir, pem) = (self.trust(), std::fs::read_to_string(self.path("ca.crt")).unwrap());
        robot.sh(&format!("mkdir -p '{dir}'; printf '%s' '{pem}' >'{dir}/ca.crt'"));
    }

    /// Removes a robot's trust in the registry.
    pub fn is_not_trusted_by(&self, robot: Robot) {
        robot.exec(&["rm", "-r", &self.trust()]);
    }

    fn trust(&self) -> String {
        format!("/etc/docker/certs.d/{}", self.address)
    }

    /// Address of the registry, with the port.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn repository(&self) -> String {
        format!("{}/team/{PROJECT}", self.address)
    }

    /// Runs `cargo xtask ARGS...` with this login.
    pub fn run(&self, workspace: &Workspace, who: As, args: &[&str]) -> Finished {
        self.begin(workspace, who, args).wait()
    }

    /// Starts `cargo xtask ARGS...` with this login.
    pub fn begin(&self, workspace: &Workspace, who: As, args: &[&str]) -> Running {
        workspace.start_with(&[("DOCKER_CONFIG", &self.config(who))], args)
    }

    /// Pushes an image of this machine under another name, and removes both from this machine.
    pub fn push(&self, image: &str, name: &str) {
        let config = self.config(As::Member);
        output(&["docker", "tag", image, name]);
        output(&["docker", "--config", &config, "push", name]);
        output(&["docker", "image", "rm", image, name]);
    }

    /// Runs `work` while the registry is off.
    pub fn while_off<T>(&self, work: impl FnOnce() -> T) -> T {
        output(&["docker", "kill", &container()]);
        let result = work();
        output(&["docker", "start", &container()]);
        self.wait();
        result
    }

    /// All tags of the repository, sorted.
    pub fn tags(&self) -> Vec<String> {
        let (_, body) = self.request(&format!("team/{PROJECT}/tags/list"));
        let list: Value = serde_json::from_slice(&body).unwrap();
        let tags = list["tags"].as_array().into_iter().flatten();
        let mut tags: Vec<String> = tags.map(|tag| tag.as_str().unwrap().to_owned()).collect();
        tags.sort();
        tags
    }

    /// Digest of a tag, and its content: a manifest or an index.
    pub fn manifest(&self, name: &str) -> (String, Value) {
        let (status, body) = self.request(&format!("team/{PROJECT}/manifests/{name}"));
        assert_eq!(status, 200, "{name}: {}", String::from_utf8_lossy(&body));
        (format!("sha256:{:x}", Sha256::digest(&body)), serde_json::from_slice(&body).unwrap())
    }

    /// Digests of a tag, by architecture.
    pub fn architectures(&self, tag: &str) -> Vec<(String, String)> {
        let (_, index) = self.manifest(tag);
        let parts = index["manifests"].as_array().unwrap_or_else(|| panic!("{tag} is no index: {index}"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        parts.iter().map(|it| (text(&it["platform"]["architecture"]), text(&it["digest"]))).collect()
    }

    /// Image of a tag, for robots like this machine.
    pub fn image(&self, tag: &str) -> Published {
        let (mut digest, mut manifest) = self.manifest(tag);
        if manifest.get("manifests").is_some() {
            let here = output(&["docker", "version", "--format", "{{.Server.Arch}}"]);
            let all = self.architectures(tag);
            let (_, part) = all.iter().find(|(architecture, _)| *architecture == here).unwrap();
            (digest, manifest) = self.manifest(part);
        }
        let config = manifest["config"]["digest"].as_str().unwrap();
        let (_, body) = self.request(&format!("team/{PROJECT}/blobs/{config}"));
        let config: Value = serde_json::from_slice(&body).unwrap();
        let layers = config["rootfs"]["diff_ids"].as_array().unwrap();
        Published { digest, layers: layers.iter().map(|it| it.as_str().unwrap().to_owned()).collect() }
    }

    /// Sends a request with a valid login; returns the status, or 0 without an answer, and the body.
    fn request(&self, path: &str) -> (u16, Vec<u8>) {
        let (file, login) = (self.path("answer"), format!("{USER}:{PASSWORD}"));
        let url = format!("https://{}/v2/{path}", self.address);
        let said =
            command(&["curl", "--silent", "--noproxy", "*", "--location", "--cacert", &self.path("ca.crt")])
                .args([
                    "--user",
                    &login,
                    "--header",
                    MANIFESTS,
                    "--output",
                    &file,
                    "--write-out",
                    "%{http_code}",
                ])
                .arg(url)
                .output()
                .unwrap();
        let status = String::from_utf8_lossy(&said.stdout).parse().unwrap_or_default();
        (status, std::fs::read(file).unwrap_or_default())
    }
}

fn container() -> String {
    format!("{PROJECT}-hub")
}

const CONFIGURATION: &str = "\
version: 0.1
log: { level: warn }
storage: { filesystem: { rootdirectory: /var/lib/registry } }
auth: { htpasswd: { realm: team, path: /etc/hub/htpasswd } }
http:
  addr: ADDRESS
  secret: of-the-team
  tls: { certificate: /etc/hub/tls.crt, key: /etc/hub/tls.key }
";

/// Directory in which Docker looks for the certificate authority of a registry.
const TRUST: &str = "\
import os, sys
place = '/etc/docker/certs.d/' + sys.argv[1]
os.makedirs(place)
open(place + '/ca.crt', 'w').write(open('/etc/hub/ca.crt').read())";

/// Also removes the parent directory, if it is empty.
const REMOVE_CA: &str = "\
import os, sys
place = '/etc/docker/certs.d/' + sys.argv[1]
if os.path.isdir(place):
    os.remove(place + '/ca.crt')
    os.removedirs(place)";
