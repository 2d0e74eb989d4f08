//! Robots of another architecture than this machine's. Building their base under emulation takes minutes, so
//! it is built while other tests run.

use parking_lot::Mutex;

use super::run::Run;
use super::{Engine, Running, Workspace};

/// Project of the images built in the background; tests count the images of their own projects.
const BACKGROUND: &str = "e2e-ahead";

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
    // The build runs arm64's sh, uname and cp, which works only under emulation.
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

/// The build in the background.
static BEGUN: Mutex<Option<(Workspace, Running)>> = Mutex::new(None);

/// Starts building the small workspace for arm64.
pub fn begin() {
    let workspace = small_workspace(BACKGROUND);
    let run = Run {
        // The build ends with the tests, however they end.
        around: &["setpriv", "--pdeathsig", "TERM"],
        args: &["build-images", "--robot", "pi", "--yes"],
        dir: workspace.path("").as_ref(),
        tmp: &workspace.tmp(),
        env: &[],
    };
    let run = run.start();
    *BEGUN.lock() = Some((workspace, run));
}

/// Waits for the build, if it was started.
pub fn ended() {
    let mut begun = BEGUN.lock();
    if let Some((_workspace, run)) = begun.take() {
        run.wait().expect_exit(0);
        clear();
    }
}

/// Removes the images; the base stays.
pub fn clear() {
    Engine::remove_images(BACKGROUND);
}
