//! Files for a repository with ROS packages and without a Compose file: those of the example workspace.

/// Path, content, and whether it is a program.
pub(super) const FILES: [(&str, &str, bool); 29] = [
    ("docker/ros.Dockerfile", include_str!("../../../../../docker/ros.Dockerfile"), false),
    ("docker/ros/build-package", include_str!("../../../../../docker/ros/build-package"), true),
    ("docker/ros/colcon-defaults", include_str!("../../../../../docker/ros/colcon-defaults"), true),
    ("docker/ros/colcon-package", include_str!("../../../../../docker/ros/colcon-package"), true),
    ("docker/ros/entrypoint", include_str!("../../../../../docker/ros/entrypoint"), true),
    ("docker/ros/environment.sh", include_str!("../../../../../docker/ros/environment.sh"), false),
    ("docker/ros/graph-alive", include_str!("../../../../../docker/ros/graph-alive"), true),
    ("docker/ros/graph-watcher", include_str!("../../../../../docker/ros/graph-watcher"), true),
    ("docker/ros/install-dependencies", include_str!("../../../../../docker/ros/install-dependencies"), true),
    ("docker/ros/install-tools", include_str!("../../../../../docker/ros/install-tools"), true),
    ("docker/ros/install-wheels", include_str!("../../../../../docker/ros/install-wheels"), true),
    ("docker/ros/limit-compilers", include_str!("../../../../../docker/ros/limit-compilers"), true),
    ("docker/ros/lock-requirements", include_str!("../../../../../docker/ros/lock-requirements"), true),
    ("docker/ros/make-system-tree", include_str!("../../../../../docker/ros/make-system-tree"), true),
    ("docker/ros/node-alive", include_str!("../../../../../docker/ros/node-alive"), true),
    ("docker/ros/prune-venv", include_str!("../../../../../docker/ros/prune-venv"), true),
    ("docker/ros/reinstall", include_str!("../../../../../docker/ros/reinstall"), true),
    (
        "docker/ros/requirements/build.in",
        include_str!("../../../../../docker/ros/requirements/build.in"),
        false,
    ),
    (
        "docker/ros/requirements/build.txt",
        include_str!("../../../../../docker/ros/requirements/build.txt"),
        false,
    ),
    (
        "docker/ros/requirements/python.in",
        include_str!("../../../../../docker/ros/requirements/python.in"),
        false,
    ),
    (
        "docker/ros/requirements/python.txt",
        include_str!("../../../../../docker/ros/requirements/python.txt"),
        false,
    ),
    ("docker/ros/requirements/ros.in", include_str!("../../../../../docker/ros/requirements/ros.in"), false),
    (
        "docker/ros/requirements/ros.txt",
        include_str!("../../../../../docker/ros/requirements/ros.txt"),
        false,
    ),
    ("docker/ros/resolve-dependencies", include_str!("../../../../../docker/ros/resolve-dependencies"), true),
    ("docker/ros/ros-run", include_str!("../../../../../docker/ros/ros-run"), true),
    ("docker/ros/ros2-missing", include_str!("../../../../../docker/ros/ros2-missing"), true),
    ("docker/ros/rosdep.yaml", include_str!("../../../../../docker/ros/rosdep.yaml"), false),
    ("docker/ros/seal-tree", include_str!("../../../../../docker/ros/seal-tree"), true),
    ("docker/ros/test-package", include_str!("../../../../../docker/ros/test-package"), true),
];

/// A Compose file with one service, which waits until the team names its nodes.
pub(super) const COMPOSE: &str = r#"services:
  robot:
    image: PROJECT:robot
    # Your nodes, for instance:
    #   command: ros-run PACKAGE EXECUTABLE
    #   command: ros2 launch PACKAGE FILE          # where the base has ros2
    command: sleep infinity
    network_mode: host                             # DDS discovers nodes by multicast
    init: true
    restart: unless-stopped
    stop_signal: SIGINT
    stop_grace_period: 15s
    tmpfs: /tmp:size=64m,mode=1777                 # logs of ROS go there, not to an SD card
"#;

/// Tables of robots.toml for packages.
pub(super) const PACKAGES: &str = r#"
[bases.ros]
debian = "trixie"            # built from the Debian archive, with ROS as wheels: to try it without Docker Hub
# image = "docker.io/library/ros:jazzy-ros-base@sha256:…"   # an official image, with its digest, for real robots

[images.robot]
packages = [LIST]
"#;

/// A section of the README.
pub(super) const README: &str = r#"
## Robots

INSTALL Then, in this repository:

    cargo xtask setup                   # once on each machine: Docker and what else is needed
    cargo xtask deploy --robot main     # builds the images, and starts them on the robot

`robots.toml` names the robots: `simulated = true` is one in a container, `host = "user@address"` a real one, which
`cargo xtask setup-robot` prepares. `cargo xtask help` lists all commands.
"#;
