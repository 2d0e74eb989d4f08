//! Deploys without a delta transfer: `docker push` sends the layers compressed, and the output says why.

use std::fmt::Write as _;

use super::harness::{Lab, MAIN, MAP, MAP_THERE, PROJECT, Rival, Workspace};

/// Size of a map in bytes; any compression reduces it to less than a quarter.
const SIZE: usize = 20_000_000;

/// A map that has never been built before.
fn write_map(workspace: &Workspace) {
    let mut map = format!("# {:?}\n", std::time::SystemTime::now());
    for number in 0_u64.. {
        let random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
        writeln!(map, "- {{ x: {}, y: {}, occupied: {} }}", number % 3000, random % 100, random % 7 == 0)
            .unwrap();
        if map.len() >= SIZE {
            break;
        }
    }
    map.truncate(SIZE);
    workspace.write(MAP, map);
}

/// Deploys the map; `docker push` has to send it, compressed.
fn the_push_carries_it(lab: &Lab, why: &str) {
    let before = MAIN.received();
    let run = lab.deploy(MAIN).says(&format!("{why}: `docker push` sends whole layers"));
    let received = MAIN.received() - before;
    run.says("sent at most ");
    assert!(received < SIZE as u64 / 3, "{received} bytes arrived");
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
    let size = MAIN.sh(&format!("docker exec {PROJECT}-localization-1 stat -c %s {MAP_THERE}"));
    assert_eq!(size, SIZE.to_string());
}

pub fn while_another_machine_delivers(lab: &Lab) {
    let workspace = lab.deployed();
    write_map(workspace);
    let _rival = Rival::at(MAIN);
    the_push_carries_it(lab, "another machine is delivering to this robot");
}

pub fn a_robot_short_of_memory(lab: &Lab) {
    let workspace = lab.deployed();
    write_map(workspace);
    // The same registry, with a false report that nearly all memory is in use.
    let [image, settings] = MAIN.registry_image_and_settings();
    MAIN.sh(&format!(
        "sed 's/^MemAvailable:.*/MemAvailable: 100000 kB/' /proc/meminfo >/tmp/meminfo
         docker stop xtask-registry
         docker rename xtask-registry aside
         docker run --detach --name xtask-registry --network host --volume /tmp/meminfo:/proc/meminfo:ro \
             --volume xtask-registry:/var/lib/registry --env REGISTRY_HTTP_ADDR=127.0.0.1:5000 --label '{settings}' {image}"
    ));
    the_push_carries_it(lab, "the robot has only 102.4 MB of memory to spare");
    MAIN.sh(
        "docker rm --force xtask-registry; docker rename aside xtask-registry; docker start xtask-registry",
    );
}
