//! Content of the image of the robots' registry, besides the registry.

use robot_deploy::config::Platform;
use robot_deploy::image::{Builder, service};

use super::harness::{Lab, MAIN, emulation, output};

/// Limit of the image's transfer size in bytes.
const SIZE_LIMIT: u64 = 16_000_000;

/// Runs a program, given as argument, with the image's Python, without using anything of the robot.
const PYTHON: [&str; 5] = ["python3", "-I", "-S", "-B", "-c"];

/// Imports everything needed to build layers, and rebuilds 1.8 MB from a basis of 2 MB and a patch, written
/// by `zstd -19 --patch-from=BASIS`.
const PROGRAM: &str = r#"
import errno, hashlib, http.client, json, mmap, os, socket, struct, subprocess, sys, threading, time, zlib
import _hashlib, zstandard
assert zstandard.backend == "cext", zstandard.backend
basis = b"".join(hashlib.sha256(struct.pack("<I", i)).digest() for i in range(1 << 16))
new = basis[300_000:1_900_000] + b"new" + basis[1_000_000:1_200_000]
reference = zstandard.ZstdCompressionDict(basis, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
decompressor = zstandard.ZstdDecompressor(dict_data=reference)
rebuilt = decompressor.decompressobj().decompress(bytes.fromhex("PATCH"))
assert hashlib.sha256(rebuilt).digest() == hashlib.sha256(new).digest()
loaders = {name: type(getattr(module, "__loader__", None)).__name__ for name, module in sys.modules.items()}
sources = [name for name, loader in loaders.items() if loader == "SourceFileLoader"]
assert not sources, f"loaded without byte code: {sources}"
print("rebuilt on", os.uname().machine)
"#;

const PATCH: &str = "28b52ffda443771b005c0000088a0100fcff236c9b3721540000000100fdff236c9b3720440000000100fdff\
    390002440000000100fdff390002440000000100fdff390002440000000100fdff390002440000000100fdff\
    390002440000000100fdff390002440000000100fdff390002440000000100fdff390002440000000100fdff\
    390002440000000100fdff3900028c0000186e65770200fa95c62789e4d39fee00085500000001004077c627\
    292740182e9486";

fn program() -> String {
    PROGRAM.replace("PATCH", PATCH)
}

pub fn a_robot_rebuilds_data_from_a_patch(lab: &Lab) {
    lab.deployed();
    let exec = ["docker", "exec", "--interactive", "xtask-registry"];
    let said = MAIN.exec(&[&exec, PYTHON.as_slice(), &[&program()]].concat());
    assert!(said.starts_with("rebuilt on "), "{said}");
}

pub fn the_image_is_small_and_whole_on_other_processors(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    let builder = Builder::for_engine(robot_deploy::host::engine().unwrap());
    emulation::ended();
    workspace.xtask(&["setup", "--emulation", "--yes"]).expect_exit(0);
    for (platform, machine) in [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")] {
        let image = service::registry(builder, &Platform::parse(platform).unwrap()).unwrap();
        // Emulation detects missing libraries, as the robot would.
        let run = ["docker", "run", "--rm", "--platform", platform, "--entrypoint", PYTHON[0], &image];
        let said = output(&[&run, &PYTHON[1..], &[&program()]].concat());
        assert_eq!(said, format!("rebuilt on {machine}"));
        let registry = ["docker", "run", "--rm", "--platform", platform, &image, "--version"];
        assert!(output(&registry).contains("distribution"), "{platform}");
        let saved = output(&["sh", "-c", "docker save \"$1\" | wc -c", "save", &image]);
        let size: u64 = saved.trim().parse().unwrap();
        assert!(size < SIZE_LIMIT, "{platform}: {size} bytes");
    }
}
