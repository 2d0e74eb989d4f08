//! Answers of the fakes when everything works: an engine with the containerd store, a robot without images or
//! releases, and its registry.

use super::lab::Lab;

const INFO: &str = r#"{"ServerVersion":"26.1.5","OperatingSystem":"SYSTEM","Architecture":"ARCH",
"DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]],"DockerRootDir":"/var/lib/docker",
"RegistryConfig":{"IndexConfigs":{"docker.io":{"Secure":true}},"InsecureRegistryCIDRs":["127.0.0.0/8"]},
"ClientInfo":{"Version":"28.2.2","Context":"CONTEXT"}}"#;

/// Output of `docker compose config`; the token comes from its environment.
pub(crate) const COMPOSE: &str = r#"cat <<END
{"name":"eurobot","services":{
 "navigation":{"image":"eurobot:navigation","environment":{"TOKEN":"$API_TOKEN"}},
 "camera":{"image":"eurobot:camera"}}}
END"#;

/// `docker buildx bake`: reports for each image the digest that the registry has.
pub(crate) const BAKE: &str = r#"while [ $# -gt 0 ]; do
    [ "$1" != --metadata-file ] || cp "$lab/metadata" "$2"
    shift
done"#;

/// Platform of the robot: the same as this machine's.
pub(crate) const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };

/// The fake SSH side of a connection: runs until its stdin closes, and records its process id.
pub(crate) const MASTER: &str = r#"echo $$ >>"$lab/masters"
echo "Welcome to Ubuntu!"
echo xtask-connection-ready
exec cat >/dev/null"#;

/// `ssh -O forward -L SOCKET:127.0.0.1:5000`: links to the test's registry, if it has one.
const FORWARD: &str = r#"while [ "$1" != -L ]; do shift; done
ln -s "$lab/registry" "${2%:127.0.0.1:5000}""#;

/// Login at the robot's registry: a name and 64 hexadecimal digits, in base64.
pub(crate) const LOGIN: &str =
    "eHRhc2s6MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==";

/// Output of a robot's survey before and after the images have arrived.
const SURVEY: &str = r#"cat >/dev/null
printf 'machine\tARCH\nclock\t1700000000\n'
[ ! -e "$lab/pulled" ] || cat "$lab/images"
[ ! -e "$lab/running" ] || cat "$lab/containers""#;

/// The agent on a robot that has no memory to spare.
const AGENT: &str = r#"echo '{"held":"","spools":{},"parts":0,"memory":0,' \
    '"disk":1000000000000,"engine":1000000000000,"shared":true,"copies":2}'
exec cat >/dev/null"#;

/// The script that pulls and tags, which prints the engine's names for the images.
const PULL: &str = r#"cat >/dev/null
: >"$lab/pulled"
cat "$lab/images""#;

/// A robot that activates a release without problems.
const LAUNCH: &str = r#"cat >"$lab/release.tar.gz"
: >"$lab/running"
printf 'release\t1\nend\tactive\t\t\n'"#;

pub(crate) fn install_answers(lab: &Lab) {
    let arch = std::env::consts::ARCH;
    lab.says("docker", "'info '*", &info("Debian GNU/Linux 13 (trixie)", "default"));
    lab.on("docker", "'compose '*config*", COMPOSE);
    lab.on("docker", "'buildx bake '*", BAKE);
    lab.on("docker", "'save '*", "echo archive");
    lab.on("docker", "'import '*|load*", "cat >/dev/null");
    lab.on("mmdebstrap", "*", "echo tarball");
    lab.says("git", "*'log -1'*", "0123456789abcdef0123456789abcdef01234567 1700000000");
    lab.on("ssh", "*", "cat >/dev/null");
    lab.on("ssh", "*xtask-registry*python3*", AGENT);
    lab.on("ssh", "*'sh -s -- eurobot '*", &SURVEY.replace("ARCH", arch));
    lab.on("ssh", "*'sh -s -- xtask-registry '*", "cat >/dev/null; echo running");
    lab.on("ssh", "*'sh -s -- 127.0.0.1:5000/'*", PULL);
    lab.says("ssh", "*'sh -s --'", LOGIN);
    lab.on("ssh", "*' lock eurobot '*", "printf 'held\\t\\n'; exec cat >/dev/null");
    lab.on("ssh", "*' launch eurobot '*", LAUNCH);
    lab.on("ssh", "*ControlMaster=yes*", MASTER);
    lab.on("ssh", "*'-O forward'*", FORWARD);
}

/// Output of `docker info` for an engine.
pub(crate) fn info(system: &str, context: &str) -> String {
    let info = INFO.replace("ARCH", std::env::consts::ARCH);
    info.replace("SYSTEM", system).replace("CONTEXT", context)
}
