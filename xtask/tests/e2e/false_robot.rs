//! A robot whose programs lie to the SSH user, by replacements in `/usr/local/bin`, which comes first in
//! PATH. `cli/false_robot.rs` tries many more wrong answers.

use std::fs;

use super::harness::{Lab, MAIN, MAP, Workspace, incompressible, output};

/// Limit of a run's memory, in kB.
const MEMORY: u64 = 300_000;

/// A program, the arguments that it lies to, and its reaction, as shell code.
type Lie = (&'static str, &'static str, &'static str);

const AGENT: &str = "'exec -i xtask-registry python3 '*";

const LIES: [Lie; 9] = [
    ("docker", "*", "exit 0"),
    ("docker", "*", "echo 'no such thing' >&2; exit 1"),
    ("docker", "'image ls '*|'ps '*|'container '*", r"printf 'container\t../../x\t-1\n{}\nnull\n'; exit 0"),
    ("docker", AGENT, "exit 0"),
    ("docker", AGENT, "echo null; exit 0"),
    (
        "docker",
        AGENT,
        r#"echo '{"held":"../../../x:-1:1 x:18446744073709551615:0","spools":{"../../x":-5},"parts":-1}'; exit 0"#,
    ),
    ("docker", AGENT, r#"while read -r _; do echo '{"refused":"whatever","why":"no"}'; done; exit 0"#),
    ("sh", "'-s -- '*", "exit 0"),
    ("sh", "'-c '*' launch '*", r"printf 'release\t../../x\ndoing\n\nend\tactive\n'; exit 0"),
];

/// A replaced program on the robot, removed on drop.
struct StandIn(String);

impl StandIn {
    fn of((program, pattern, lie): Lie) -> Self {
        let path = format!("/usr/local/bin/{program}");
        let real = MAIN.sh(&format!("command -v {program}"));
        assert_ne!(real, path);
        let script = format!("#!/bin/sh\ncase $* in ({pattern}) {lie} ;; esac\nexec {real} \"$@\"\n");
        MAIN.exec(&["sh", "-ec", "printf %s \"$1\" >\"$2\"; chmod +x \"$2\"", "write", &script, &path]);
        Self(path)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        MAIN.can(&["rm", "-f", &self.0]);
    }
}

/// All files of the workspace and beside it, except those that xtask and git keep.
fn files(workspace: &Workspace) -> String {
    let list = "find \"$1\" \\( -path '*/target' -o -path '*/.git' -o -path \"$1/tmp\" \\) -prune \
                -o -type f -printf '%p %s %T@\n' | sort";
    let tmp = workspace.tmp();
    output(&["sh", "-c", list, "list", tmp.parent().unwrap().to_str().unwrap()])
}

/// Peak memory of a process in kB; 0 if the process is gone.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}

pub fn whatever_its_programs_say_xtask_ends_and_says_what_is_wrong(lab: &Lab) {
    let workspace = lab.deployed();
    for lie in LIES {
        // New data to send.
        workspace.write(MAP, incompressible(200_000));
        let before = files(workspace);
        let stand_in = StandIn::of(lie);
        let mut most = 0;
        let ran = workspace.start(&["deploy", "--robot", "main", "--yes"]).watched(|run| {
            let own = run.processes().into_iter().filter(|(_, line)| line.contains("/xtask deploy"));
            most = own.map(|(pid, _)| memory(pid)).fold(most, u64::max);
        });
        drop(stand_in);
        let ran = ran.expect_one_of(&[0, 1, 3]);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(most < MEMORY, "{lie:?}: {most} kB of memory");
        assert!(!said.contains("panicked"), "{lie:?}: {said}");
        let is_control = |character: char| character.is_control() && !"\n\t".contains(character);
        assert!(!said.contains(is_control), "{lie:?}: {}", said.escape_debug());
        assert_eq!(files(workspace), before, "{lie:?}");
    }
    lab.deploy(MAIN);
    MAIN.wait_for_services(4);
}
