//! Compose files of all kinds: a robot does with them what Compose does on one machine.

use super::harness::{Lab, MAIN, PROJECT, Workspace, incompressible};

pub const COMPOSE: &str = "docker/compose.yaml";
const ENVIRONMENT: &str = "    HEARTBEAT_FILE: /tmp/heartbeat\n";
pub const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

/// Adds lines to the definition of the service `navigation`.
fn add_to_navigation(workspace: &Workspace, lines: &str) {
    let image = format!("    image: {PROJECT}:navigation\n");
    workspace.edit(COMPOSE, &image, &format!("{image}{lines}"));
}

fn variable(service: &str, name: &str) -> String {
    MAIN.sh(&format!("docker exec {PROJECT}-{service}-1 sh -c 'echo \"${name}\"'"))
}

/// Names of the project's containers.
fn containers() -> Vec<String> {
    let names = MAIN.sh(&format!(
        "docker container ls --all --filter label=com.docker.compose.project={PROJECT} --format '{{{{.Names}}}}'"
    ));
    let mut names: Vec<String> = names
        .lines()
        .filter_map(|name| Some(name.strip_prefix(&format!("{PROJECT}-"))?.to_owned()))
        .collect();
    names.sort();
    names
}

pub fn the_shell_of_whoever_deploys_reaches_no_robot(lab: &Lab) {
    let workspace = lab.deployed();
    let with = |line: &str| workspace.edit(COMPOSE, ENVIRONMENT, &format!("{ENVIRONMENT}    {line}\n"));
    let deploy = |name: &str, value: &str| workspace.start_with(&[(name, value)], &DEPLOY).wait_for_all();

    // A value that a shell has, and one that none has.
    with("SPEED: ${SPEED:-1}");
    let shell = deploy("SPEED", "s3cr3t").expect_exit(2);
    shell
        .says("`SPEED` would be that of this shell on `main`")
        .says("write `env = { SPEED = \"…\" }` into [robots.main]")
        .never_says("s3cr3t");
    let deployed = deploy("UNUSED", "42").expect_exit(0);
    drop(deployed);
    assert_eq!(variable("navigation", "SPEED"), "1");
    with("CAN_PORT: ${CAN_PROT}");
    workspace.edit("robots.toml", "ROBOT_NAME = \"main\" }", "ROBOT_NAME = \"main\", CAN_PORT = \"can0\" }");
    let unset = workspace.xtask(&DEPLOY).expect_exit(2);
    unset.says("`CAN_PROT` (docker/compose.yaml:").says("did you mean `CAN_PORT`");
    workspace.edit(COMPOSE, "${CAN_PROT}", "${CAN_PORT}");

    // What the repository sets is no matter of the shell.
    workspace.write("docker/.env", "LEVEL=3\n");
    with("LEVEL: ${LEVEL}");
    drop(deploy("LEVEL", "9").expect_exit(0));
    assert_eq!(variable("navigation", "LEVEL"), "3");

    // Variables that are passed through.
    with("TERM:");
    deploy("TERM", "xterm").expect_exit(2).says("`TERM` would be that of this shell on `main`");
    // One that nobody has is left out, as by Compose.
    workspace.edit(COMPOSE, "    TERM:\n", "    NOWHERE:\n");

    // The user and the home directory are those of the robot; an `env_file` is the one beside the Compose file.
    with("WHO: ${USER} at ${HOME}");
    workspace.write("docker/dds.env", "DDS=udp ${ROBOT_NAME}\n");
    workspace.write("dds.env", "DDS=wrong\n");
    add_to_navigation(
        workspace,
        "    env_file: dds.env\n    volumes: [\"~/maps:/maps\", \"${HOME}/logs:/logs\"]\n",
    );
    lab.deploy(MAIN).says("containers do not get them: NOWHERE");
    assert_eq!(variable("navigation", "WHO"), "robot at /home/robot");
    assert_eq!(variable("navigation", "DDS"), "udp main");
    assert_eq!(variable("navigation", "CAN_PORT"), "can0");
    assert!(MAIN.can(&["test", "-d", "/home/robot/maps"]) && MAIN.can(&["test", "-d", "/home/robot/logs"]));
    MAIN.sh("rmdir /home/robot/maps /home/robot/logs");
}

pub fn what_a_service_writes_belongs_to_the_robot(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.write("docker/maps/table.pgm", "drawn by hand\n");
    add_to_navigation(workspace, "    volumes: [./maps:/maps, ./bags:/bags]\n");
    lab.deploy(MAIN);
    let run = |script: &str| MAIN.sh(&format!("docker exec {PROJECT}-navigation-1 sh -c '{script}'"));
    assert_eq!(MAIN.file("navigation", "/maps/table.pgm"), "drawn by hand");
    run("echo seen by the robot >/maps/table.pgm; echo one >/bags/1.mcap");

    // Neither an edit here nor a rollback, a prune or a stop touch it.
    workspace.write("docker/maps/table.pgm", "drawn again\n");
    let line = "command: node navigation";
    workspace.edit(COMPOSE, line, &format!("labels: {{ edit: \"1\" }}\n    {line}"));
    let deployed = workspace.xtask(&DEPLOY).expect_exit(0);
    deployed.says("`docker/maps` belongs to `main`");
    let is_kept = || {
        assert_eq!(MAIN.file("navigation", "/maps/table.pgm"), "seen by the robot");
        assert_eq!(MAIN.file("navigation", "/bags/1.mcap"), "one");
    };
    is_kept();
    workspace.xtask(&["rollback", "--robot", "main"]).expect_exit(0);
    is_kept();
    workspace.xtask(&["prune", "--robot", "main"]).expect_exit(0);
    workspace.xtask(&["stop", "--robot", "main"]).expect_exit(0);
    workspace.xtask(&["start", "--robot", "main"]).expect_exit(0);
    is_kept();

    // It is listed, fetched, and given up when a person says so.
    workspace.xtask(&["data", "--robot", "main"]).expect_exit(0).says("docker/maps").says("docker/bags");
    workspace
        .xtask(&[
            "pull-data",
            "--robot",
            "main",
            &format!(".deploy/{PROJECT}/data/docker/maps"),
            "--to",
            "fetched",
        ])
        .expect_exit(0);
    let fetched = workspace.read("fetched/main/maps/table.pgm");
    assert_eq!(fetched, "seen by the robot\n");
    workspace
        .xtask(&["data", "--robot", "main", "--reset", "docker/map"])
        .expect_exit(2)
        .says("did you mean `docker/maps`");
    workspace.xtask(&["data", "--robot", "main", "--reset", "docker/maps", "--yes"]).expect_exit(0);
    lab.deploy(MAIN);
    assert_eq!(MAIN.file("navigation", "/maps/table.pgm"), "drawn again");
    assert_eq!(MAIN.file("navigation", "/bags/1.mcap"), "one");
}

pub fn what_an_older_release_wrote_is_not_lost(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.write("docker/maps/table.pgm", "drawn by hand\n");
    add_to_navigation(workspace, "    volumes: [./maps:/maps:ro]\n");
    lab.deploy(MAIN);
    // An older version put what services write there, too.
    MAIN.sh(&format!(
        "cd /home/robot/.deploy/{PROJECT} && echo seen >\"$(ls -d files/*/docker/maps)/table.pgm\""
    ));
    workspace.edit(COMPOSE, "./maps:/maps:ro", "./maps:/maps");
    lab.deploy(MAIN);
    assert_eq!(MAIN.file("navigation", "/maps/table.pgm"), "seen");
}

pub fn several_files_are_one_project(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.edit(COMPOSE, "x-node:", "include: [extra/lidar.yaml]\n\nx-node:");
    workspace.write("docker/extra/lidar.conf", "range: 12\n");
    let service = |image: &str, more: &str| {
        format!(
            "services:\n  lidar:\n    image: {PROJECT}:{image}\n    command: node {image}\n    network_mode: host\n    \
             restart: unless-stopped\n    volumes: [./lidar.conf:/lidar.conf:ro]\n    environment: {{ HEARTBEAT_FILE: /tmp/heartbeat }}\n{more}"
        )
    };
    workspace.write("docker/extra/lidar.yaml", service("localization", ""));
    let override_file = "services:\n  navigation:\n    environment: { SPEED: from the override }\n";
    workspace.write("docker/compose.override.yaml", override_file);
    lab.deploy(MAIN);
    assert_eq!(MAIN.file("lidar", "/lidar.conf"), "range: 12");
    assert_eq!(variable("navigation", "SPEED"), "from the override");

    // A list is complete.
    let list = "compose = [\"docker/compose.yaml\", \"docker/robot.yaml\"]";
    let toml = workspace.read("robots.toml").replacen("compose = \"docker/compose.yaml\"", list, 1);
    workspace.write("robots.toml", toml);
    workspace.write("docker/robot.yaml", override_file.replace("override", "list"));
    lab.deploy(MAIN);
    assert_eq!(variable("navigation", "SPEED"), "from the list");

    workspace.edit("docker/extra/lidar.yaml", "./lidar.conf", "../../../lidar.conf");
    workspace.xtask(&DEPLOY).expect_exit(2).says("is outside of the repository");
}

pub fn profiles_replicas_and_secrets_are_those_of_compose(lab: &Lab) {
    let workspace = lab.deployed();
    let service = |name: &str, more: &str| {
        format!(
            "  {name}:\n    image: {PROJECT}:localization\n    command: [sh, -c, 'sleep 1000']\n    stop_signal: KILL\n{more}\n"
        )
    };
    let more = [
        service("hidden", "    profiles: [lab]"),
        service("shown", "    profiles: [match]"),
        service("none", "    deploy: { replicas: 0 }"),
        service("twice", "    scale: 2"),
        service(
            "sealed",
            "    secrets: [token]\n    configs: [{ source: motd, target: /motd }]\n    user: \"4321\"",
        ),
    ];
    let tail = "secrets: { token: { environment: TEAM_TOKEN } }\nconfigs: { motd: { content: \"go ${ROBOT_NAME}\" } }\n";
    workspace.write(COMPOSE, format!("{}{}{tail}", workspace.read(COMPOSE), more.concat()));
    workspace.edit(
        "robots.toml",
        "ROBOT_NAME = \"main\" }",
        "ROBOT_NAME = \"main\", COMPOSE_PROFILES = \"match\", TEAM_TOKEN = \"swordfish\" }",
    );
    lab.deploy(MAIN);
    let expected = ["sealed-1", "shown-1", "twice-1", "twice-2"];
    let found = containers();
    let others: Vec<&String> =
        found.iter().filter(|name| !name.ends_with("-guard") && expected.contains(&name.as_str())).collect();
    assert_eq!(others, expected, "{found:?}");
    assert!(!found.iter().any(|name| name.starts_with("none") || name.starts_with("hidden")), "{found:?}");
    assert_eq!(MAIN.file("sealed", "/run/secrets/token"), "swordfish");
    assert_eq!(MAIN.file("sealed", "/motd"), "go main");

    workspace.xtask(&["restart", "--robot", "main", "shown"]).expect_exit(0);
    workspace.xtask(&["stop", "--robot", "main"]).expect_exit(0);
    let running = MAIN.sh(&format!("docker ps --quiet --filter label=com.docker.compose.project={PROJECT}"));
    assert_eq!(running, "", "profiled services are stopped like all others");

    // One of two is not enough.
    workspace.xtask(&["start", "--robot", "main"]).expect_exit(0);
    MAIN.sh(&format!("docker rm --force {PROJECT}-twice-2"));
    lab.deploy(MAIN);
    assert!(containers().contains(&"twice-2".to_owned()));
}

pub fn services_that_share_a_namespace_are_replaced_together(lab: &Lab) {
    let workspace = lab.deployed();
    let service = format!(
        "  bridge:\n    image: {PROJECT}:localization\n    command: [sh, -c, 'sleep 1000']\n    stop_signal: KILL\n"
    );
    let sharing = service.replace("bridge:", "logger:") + "    network_mode: service:bridge\n";
    workspace.write(COMPOSE, format!("{}{service}{sharing}", workspace.read(COMPOSE)));
    lab.deploy(MAIN);
    let id = |service: &str| MAIN.sh(&format!("docker inspect --format '{{{{.Id}}}}' {PROJECT}-{service}-1"));
    let mode =
        || MAIN.sh(&format!("docker inspect --format '{{{{.HostConfig.NetworkMode}}}}' {PROJECT}-logger-1"));
    let (bridge, logger) = (id("bridge"), id("logger"));
    assert_eq!(mode(), format!("container:{bridge}"));
    MAIN.sh(&format!("docker rm --force {PROJECT}-bridge-1"));
    lab.deploy(MAIN);
    assert_ne!(id("bridge"), bridge);
    assert_ne!(id("logger"), logger);
    assert_eq!(mode(), format!("container:{}", id("bridge")));
}

pub fn what_no_robot_can_do_is_refused_before_anything_is_sent(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    for (lines, said) in [
        ("    platform: linux/s390x\n", "has `platform: linux/s390x`, but the robot is linux/"),
        ("    volumes: [./maps:/maps, ./maps/table:/table]\n", "one inside the other"),
        ("    volumes: [./nowhere:/maps:ro]\n", "`docker/nowhere` does not exist"),
        ("    volumes: [../../elsewhere:/maps]\n", "is outside of the repository"),
        ("    volumes: [$PWD/maps:/maps]\n", "write `.` for the directory of the Compose file"),
    ] {
        workspace.reset();
        add_to_navigation(workspace, lines);
        workspace.xtask(&DEPLOY).expect_exit(2).says(said);
    }
    workspace.reset();
    // All that lacks a value is told at once, also what Compose would tell one by one.
    add_to_navigation(workspace, "    labels: { a: \"${A_PORT:?}\", b: \"${B_PORT:?}\", c: $C_PORT }\n");
    let unset = workspace.xtask(&DEPLOY).expect_exit(2);
    unset
        .says("`A_PORT` (docker/compose.yaml:")
        .says("`env = { A_PORT = \"…\", B_PORT = \"…\", C_PORT = \"…\" }`");
    workspace.reset();
    let all = workspace.read(COMPOSE).replace("    <<: *node\n", "    <<: *node\n    profiles: [match]\n");
    workspace.write(COMPOSE, all);
    workspace
        .xtask(&DEPLOY)
        .expect_exit(2)
        .says("all are in profiles (match)")
        .says("COMPOSE_PROFILES = \"match\"");
    workspace.reset();
    add_to_navigation(workspace, "    volumes: [\"..:/ws\"]\n");
    workspace.xtask(&DEPLOY).expect_exit(2).says("mounts the whole repository");
    workspace.reset();
    workspace.edit(COMPOSE, &format!("image: {PROJECT}:navigation"), "image: oldname:navigation");
    workspace.xtask(&DEPLOY).expect_exit(2).says("service `navigation` has `image: oldname:navigation`");
    assert_eq!(MAIN.services(), before);
}

/// Services with many keys; their containers on the robot have to be those that Compose itself makes there.
const KEYS: &str = r#"  keys:
    image: PROJECT:localization
    container_name: PROJECT-named
    entrypoint: [sh, -c]
    command: ["sleep 1000"]
    user: "1234:1234"
    working_dir: /tmp
    hostname: keys
    domainname: lab
    labels: { edit: first }
    annotations: { note: here }
    ports: ["127.0.0.1:5080:80/udp"]
    expose: ["81"]
    networks: { inner: { aliases: [other], ipv4_address: 10.77.0.9 }, default: {} }
    links: [wide]
    external_links: ["PROJECT-wide-1:outer"]
    extra_hosts: ["base:10.77.0.2"]
    dns: [10.77.0.3]
    dns_search: [lab]
    dns_opt: [use-vc]
    cap_add: [SYS_NICE]
    cap_drop: [CHOWN]
    security_opt: ["no-new-privileges:true"]
    sysctls: { net.ipv4.ip_forward: "1" }
    ulimits: { nofile: { soft: 1024, hard: 2048 } }
    shm_size: 32m
    mem_limit: 64m
    mem_reservation: 32m
    memswap_limit: 80m
    cpus: 0.5
    cpuset: "0"
    cpu_shares: 512
    pids_limit: 50
    oom_score_adj: 7
    oom_kill_disable: false
    group_add: ["4321"]
    read_only: true
    init: true
    tty: true
    stdin_open: true
    tmpfs: ["/scratch"]
    cgroup: private
    stop_signal: KILL
    stop_grace_period: 3s
    restart: always
    logging: { driver: json-file, options: { max-size: 1m } }
    device_cgroup_rules: ["c 1:3 rw"]
    blkio_config: { weight: 300 }
    depends_on: { wide: { condition: service_started, restart: true } }
    healthcheck: { test: [CMD, "true"], interval: 1s, timeout: 2s, retries: 4, start_period: 5s }
    volumes: ["kept:/kept", "/anonymous", { type: tmpfs, target: /small, tmpfs: { size: 1048576 } }]
  heir:
    extends: { file: parts.yaml, service: part }
    stop_signal: KILL
    volumes_from: [wide]
  wide:
    image: PROJECT:localization
    command: [sleep, "1000"]
    stop_signal: KILL
    privileged: true
    userns_mode: host
    uts: host
    runtime: runc
    mac_address: 02:42:0a:4d:00:0c
    devices: ["/dev/null:/dev/board:r"]
    volumes: ["kept:/kept"]
    deploy: { resources: { limits: { memory: 48m, cpus: "0.25", pids: 40 }, reservations: { memory: 16m } } }
networks: { inner: { driver: bridge, internal: true, ipam: { config: [{ subnet: 10.77.0.0/24 }] } } }
volumes: { kept: { labels: { keep: "1" } } }
"#;

/// Prints everything about containers that is not their names, their times and what Compose notes on them.
const CONTAINERS: &str = r#"
import json, subprocess, sys
for c in json.loads(subprocess.check_output(['docker', 'inspect'] + sys.argv[1:])):
    config, host = c['Config'], c['HostConfig']
    config['Image'] = None
    config['Hostname'] = config['Hostname'].replace(c['Id'][:12], '')
    ours = ('com.docker.compose.', 'xtask.')
    config['Labels'] = {k: v for k, v in config['Labels'].items() if not k.startswith(ours)}
    host['VolumesFrom'] = [name.split(':')[1:] for name in host['VolumesFrom'] or []]
    host['Binds'] = len(host['Binds'] or [])
    # Compose has them in a different order each time.
    host['Mounts'] = sorted(host.get('Mounts') or [], key=lambda mount: mount['Target'])
    networks = {k: [n['IPAMConfig'], n['Links'], sorted(a for a in n['Aliases'] or [] if not c['Id'].startswith(a))]
                for k, n in c['NetworkSettings']['Networks'].items()}
    mounts = sorted([m['Type'], m['Destination'], m['Mode'], m['RW']] for m in c['Mounts'])
    print(json.dumps([config, host, networks, mounts], indent=1, sort_keys=True))
"#;

pub fn containers_are_those_that_compose_itself_makes(lab: &Lab) {
    let workspace = lab.deployed();
    let part = "services:\n  part:\n    image: PROJECT:localization\n    command: [sleep, \"1000\"]\n    environment: { PART: \"1\" }\n";
    let names = ["named", "heir-1", "wide-1"].map(|name| format!("{PROJECT}-{name}"));
    let containers = || {
        let argv = [&["python3", "-c", CONTAINERS][..], &names.each_ref().map(String::as_str)].concat();
        MAIN.exec(&argv)
    };
    // By hand on the robot, under the same name.
    let image = MAIN.services()["localization"].reference.clone();
    let by_hand = |text: &str| text.replace("PROJECT:localization", &image).replace("PROJECT", &PROJECT);
    let (services, part_by_hand) = (by_hand(&format!("services:\n{KEYS}")), by_hand(part));
    MAIN.sh(&format!(
        "mkdir hand && cd hand && cat >compose.yaml <<'END'\n{services}END\ncat >parts.yaml <<'END'\n{part_by_hand}END\n\
         docker compose --project-name {PROJECT} up --detach --quiet-pull 2>&1"
    ));
    let expected = containers();
    MAIN.sh(&format!(
        "cd hand && docker compose --project-name {PROJECT} down --volumes --timeout 0 2>&1; rm -r ../hand"
    ));

    let ours = |text: &str| text.replace("PROJECT", &PROJECT);
    workspace.write(COMPOSE, workspace.read(COMPOSE) + &ours(KEYS));
    workspace.write("docker/parts.yaml", ours(part));
    // Two that change nothing on a robot.
    let more = "    pull_policy: always\n    develop: { watch: [{ path: ., action: rebuild }] }\n    entrypoint: [sh, -c]\n";
    workspace.edit(COMPOSE, "    entrypoint: [sh, -c]\n", more);
    lab.deploy(MAIN);
    assert_eq!(containers(), expected);
    lab.deploy(MAIN).says("nothing changed");

    // What is in a named volume stays, whatever becomes of its service.
    MAIN.sh(&format!("echo 1 >$(docker volume inspect --format '{{{{.Mountpoint}}}}' {PROJECT}_kept)/map"));
    workspace.reset();
    lab.deploy(MAIN);
    drop(workspace.xtask(&["prune", "--robot", "main"]).expect_exit(0));
    assert_eq!(
        MAIN.sh(&format!("cat $(docker volume inspect --format '{{{{.Mountpoint}}}}' {PROJECT}_kept)/map")),
        "1"
    );
    MAIN.sh(&format!("docker volume rm {PROJECT}_kept"));
}

pub fn nodes_that_were_started_by_hand_are_named(lab: &Lab) {
    let workspace = lab.deployed();
    let image = format!("127.0.0.1:5000/{PROJECT}@{}", MAIN.digest("localization"));
    let by_hand = format!("services: {{ navigation: {{ image: \"{image}\", command: [sleep, \"1000\"] }} }}");
    MAIN.sh(&format!("mkdir -p hand && echo '{by_hand}' >hand/compose.yaml && cd hand && docker compose up --detach --quiet-pull"));
    let stop = "docker compose --project-name hand down";
    workspace
        .xtask(&["status", "--robot", "main"])
        .expect_exit(0)
        .says("a service of the Compose project `hand`");
    workspace.xtask(&["setup-robot", "--robot", "main"]).expect_exit(0).says(stop);
    let device = format!("docker run --detach --name lidar --device /dev/zero {image} sleep 1000");
    MAIN.sh(&device);
    add_to_navigation(workspace, "    devices: [\"/dev/zero:/dev/motor\"]\n");
    let deployed = lab.deploy(MAIN).says("`hand` runs navigation there, too").says(stop);
    deployed.says("the container `lidar` has /dev/zero there, which `navigation` needs");
    MAIN.sh(&format!("{stop} --timeout 0; rm -r hand; docker rm --force lidar"));
    let status = workspace.xtask(&["status", "--robot", "main"]).expect_exit(0);
    status.never_says("hand");
}

pub fn large_files_are_sent_once(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.write("docker/model/weights.bin", incompressible(8_000_000));
    std::os::unix::fs::symlink("weights.bin", workspace.path("docker/model/latest")).unwrap();
    add_to_navigation(workspace, "    volumes: [\"./model:/model:ro\"]\n");
    let sent = MAIN.received();
    lab.deploy(MAIN);
    assert!(MAIN.received() - sent > 8_000_000);
    let digest = || MAIN.sh(&format!("docker exec {PROJECT}-navigation-1 sha256sum /model/latest"));
    let first = digest();
    let release = MAIN.sh(&format!("du -sk /home/robot/.deploy/{PROJECT}/releases | cut -f 1"));
    assert!(release.parse::<u64>().unwrap() < 1_000, "{release} KiB");

    // A new release with the same files, and one with others.
    workspace.edit(
        COMPOSE,
        "command: node navigation",
        "labels: { edit: \"1\" }\n    command: node navigation",
    );
    let sent = MAIN.received();
    lab.deploy(MAIN);
    assert!(MAIN.received() - sent < 1_000_000, "{}", MAIN.received() - sent);
    assert_eq!(digest(), first);
    workspace.write("docker/model/weights.bin", incompressible(8_000_001));
    lab.deploy(MAIN);
    assert_ne!(digest(), first);
    workspace.xtask(&["rollback", "--robot", "main"]).expect_exit(0);
    assert_eq!(digest(), first);

    // In a bundle they are whole.
    workspace
        .xtask(&["deploy", "--robot", "main", "--via", "archive", "--to", "model.bundle"])
        .expect_exit(0);
    MAIN.sh(&format!("docker rm --force {PROJECT}-navigation-1"));
    workspace.xtask(&["load-bundle", "model.bundle", "--robot", "main"]).expect_exit(0);
    assert_ne!(digest(), first);
}
