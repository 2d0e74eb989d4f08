//! Fuzzed commands to the real agent, `robot-side/registry_agent.py`, which `false_laptop.py` runs.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};

use parking_lot::Mutex;
use serde::Deserialize;

use camino::Utf8Path;
use layer_delta::file::{DeltaFile, Inputs};
use layer_delta::index::LayerIndex;
use layer_delta::plan::{Basis, DeltaPlan};
use test_support::trees;

use super::{Command, MakeRequest, short};
use crate::digest::Digest;
use crate::fuzz::fuzz;
use crate::process::{Child, Cmd};

/// Most memory of the agent: more than Python and the largest frame, with its prefix and its result, take.
const MEMORY: u64 = 200 << 20;

/// End of a session with the agent.
#[derive(Debug, Deserialize)]
struct Ended {
    /// Exit code; negative for a signal.
    code: i32,
    /// Peak memory in bytes.
    memory: u64,
    /// First forbidden access to a file outside of the registry's directory, if any.
    outside: String,
    /// Last bytes of stdout.
    out: String,
    /// Last bytes of stderr.
    err: String,
    /// Unfinished layers that the agent left.
    unfinished: Vec<String>,
}

/// A robot that runs an agent for each session.
struct Robot {
    _child: Child,
    stdin: PipeWriter,
    answers: BufReader<PipeReader>,
}

impl Robot {
    /// Starts a robot whose registry has a blob; none if this machine has no Python to run the agent.
    fn with(blob: &[u8]) -> Option<Self> {
        let is_python = "import sys; sys.exit(sys.version_info < (3, 11))";
        if !Cmd::new("python3").args(["-c", is_python]).succeeds().unwrap_or_default() {
            println!("the agent is not run: this machine has no Python 3.11");
            return None;
        }
        let directory = env!("CARGO_MANIFEST_DIR");
        let laptop = format!("{directory}/src/delivery/delta/agent/false_laptop.py");
        let python =
            Cmd::new("python3").args(["-B", &laptop, &format!("{directory}/robot-side/registry_agent.py")]);
        let (child, stdin, answers) = python.converse().unwrap();
        let mut robot = Self { _child: child, stdin, answers };
        robot.write(blob);
        println!("the agent is run: {}", robot.read_line());
        Some(robot)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stdin.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).unwrap();
        self.stdin.write_all(bytes).unwrap();
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    /// Runs an agent with these bytes on its stdin.
    fn run_session(&mut self, bytes: &[u8]) -> Ended {
        self.write(bytes);
        serde_json::from_str(&self.read_line()).unwrap()
    }
}

/// A command, and the delta that follows it.
fn command(command: Command<'_>, delta: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = command.line().into_bytes();
    if let Some(delta) = delta {
        for part in delta.chunks(50_000) {
            bytes.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            bytes.extend(part);
        }
        bytes.extend([0; 4]);
    }
    bytes
}

/// Encodes the delta of a layer against one basis.
fn delta(layer: &[u8], basis: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let [layer, basis] = [("layer", layer), ("basis", basis)].map(|(name, bytes)| {
        fs_err::write(dir.join(name), bytes).unwrap();
        dir.join(name)
    });
    let index = LayerIndex::read(&basis).unwrap();
    let bases = [Basis { index: &index, same_instruction: false, is_here: true }];
    let plan = DeltaPlan::new(&LayerIndex::read(&layer).unwrap(), &bases);
    assert!(!plan.is_whole());
    let (delta, target) = DeltaFile::create(dir, "delta", || Ok(())).unwrap();
    delta.encode(&Inputs { layer, bases: vec![Some(basis)], plan }, target, dir);
    let mut bytes = vec![0; usize::try_from(delta.size().unwrap()).unwrap()];
    delta.read(&mut bytes, 0).unwrap();
    bytes
}

/// A layer that the robot has, and the inputs of sessions.
fn sessions() -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut rng = fastrand::Rng::with_seed(5);
    let old =
        trees::archive(&[("d/a".to_owned(), (trees::Node::File(trees::noise(&mut rng, 20_000)), 0))].into());
    let mut layer = old.clone();
    layer.splice(5_000..5_000, *b"an edit");
    let delta = delta(&layer, &old);
    let ([old_digest, layer_digest], repository) = ([&old, &layer].map(Digest::of), "eurobot");
    let (name, bases, size) = ("0123456789abcdef".repeat(2), [old_digest.clone()], layer.len() as u64);
    let request = MakeRequest { repository, layer: &layer_digest, size, bases: &bases };
    let make = Command::Make { request, name: &name, offset: 0 };
    let (layers, keep) = ([layer_digest.as_str()], ["begun"]);
    // A delta without frames, for machines without Python's zstandard.
    let mut copies = vec![b'C', 0, 0];
    copies.extend([0_u64, 20_000].iter().flat_map(|number| number.to_le_bytes()));
    copies.push(b'E');
    let inventory = command(Command::Look { repository }, None);
    let contents = command(Command::Contents { name: short(&old_digest) }, None);
    let check = command(Command::Check { layers: &bases }, None);
    let attach = command(Command::Attach { repository, layer: &old_digest }, None);
    let begin = command(Command::Begin { owner: "me", repository, layers: &layers, keep: Some(&keep) }, None);
    let (make_patch, make_copy) = (command(make, Some(&delta)), command(make, Some(&copies)));
    let all = [
        [&inventory[..], &begin, &attach, &make_patch].concat(),
        [&begin[..], &make_copy].concat(),
        [&begin[..], &check, &begin].concat(),
        [inventory, contents].concat(),
    ];
    (old, all.into())
}

#[test]
fn fuzzed_sessions_with_the_agent_end_with_an_answer() {
    let (blob, samples) = sessions();
    let Some(robot) = Robot::with(&blob) else { return };
    let robot = Mutex::new(robot);
    let samples: Vec<&[u8]> = samples.iter().map(Vec::as_slice).collect();
    fuzz("agent", 100, &samples, move |bytes| {
        let ended = robot.lock().run_session(bytes);
        assert!(
            ended.outside.is_empty() && ended.memory < MEMORY && ended.unfinished.is_empty(),
            "{ended:?}"
        );
        let last = ended.out.lines().last().unwrap_or_default();
        let is_refused = last.starts_with(r#"{"refused":"#);
        assert!(ended.err.is_empty() && ended.code == i32::from(is_refused), "{ended:?}");
    });
}
