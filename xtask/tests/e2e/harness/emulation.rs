//! Robots with another processor than this machine's. Their base takes minutes to make under emulation: it is made
//! while other tests wait for something.

use std::sync::Mutex;

use super::run::Run;
use super::{Engine, Running, Workspace};

/// The project of what is built beside the tests: they count the images of their own.
const AHEAD: &str = "e2e-ahead";

/// A team with one package and no ROS: ROS 2 has no wheels for arm64.
pub fn small_workspace(project: &str) -> Workspace {
    let workspace = Workspace::empty();
    workspace.write(
        "robots.toml",
        format!(
            "[project]\nname = \"{project}\"\nros_workspace = \"ros_ws\"\n\
             [bases.small]\ndebian = \"trixie\"\ndockerfile = \"docker/small.Dockerfile\"\n\
             [images.hello]\npackages = [\"hello\"]\n\
             [robots.pi]\nhost = \"pi@robot.invalid\"\nplatform = \"linux/arm64\"\ncompose = \"docker/compose.yaml\"\n"
        ),
    );
    workspace
        .write("docker/compose.yaml", format!("services: {{ hello: {{ image: \"{project}:hello\" }} }}\n"));
    workspace.write(
        "docker/small.Dockerfile",
        "FROM base AS build-tools\n\
         COPY --from=docker --chmod=755 build-package test-package /usr/local/bin/\n\
         FROM base AS runtime\n",
    );
    // What runs here is arm64's sh, uname and cp: under emulation, or not at all.
    workspace.write(
        "docker/build-package",
        "#!/bin/sh\nset -eu\nmkdir -p /out/opt/hello\nuname -m >/out/opt/hello/machine\ncp /bin/true /out/opt/hello/\n",
    );
    workspace.write("docker/test-package", "#!/bin/sh\n");
    workspace.write(
        "ros_ws/src/hello/package.xml",
        "<package format=\"3\"><name>hello</name><version>1.0.0</version><description>Says nothing.</description>\
         <maintainer email=\"team@robots.example\">Team</maintainer><license>Apache-2.0</license>\
         <export><build_type>ament_python</build_type></export></package>\n",
    );
    workspace
}

/// What goes on beside the tests.
static BEGUN: Mutex<Option<(Workspace, Running)>> = Mutex::new(None);

/// Begins to build the small workspace for arm64.
pub fn begin() {
    let workspace = small_workspace(AHEAD);
    let run = Run {
        // It ends with the tests, however they end.
        around: &["setpriv", "--pdeathsig", "TERM"],
        args: &["build-images", "--robot", "pi", "--yes"],
        dir: workspace.path("").as_ref(),
        tmp: &workspace.tmp(),
        env: &[],
    };
    let run = run.start();
    *BEGUN.lock().unwrap() = Some((workspace, run));
}

/// Waits for it, where it was begun.
pub fn ended() {
    let mut begun = BEGUN.lock().unwrap();
    if let Some((_workspace, run)) = begun.take() {
        run.wait().expect_exit(0);
        clear();
    }
}

/// Removes the images; the base stays.
pub fn clear() {
    Engine::remove_images(AHEAD);
}
