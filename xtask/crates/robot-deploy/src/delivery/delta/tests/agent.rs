//! Commands of a false laptop to the robot's agent: `scripts/registry_agent.py` itself, see `false_laptop.py`.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::json;

use super::{Desk, RemoteBlob, digest, trees};
use crate::fuzz::fuzz;
use crate::process::{Child, Cmd};

/// More than the largest frame, what it refers to and what it makes take, and Python itself.
const MEMORY: u64 = 200 << 20;

/// The end of a conversation.
#[derive(Debug, Deserialize)]
struct Ended {
    /// Negative for a signal.
    code: i32,
    /// The most memory, in bytes.
    memory: u64,
    /// A file outside of the registry's directory that was to be opened.
    outside: String,
    /// Its last words.
    out: String,
    err: String,
    /// Layers that were not finished.
    unfinished: Vec<String>,
}

/// The robot with its agents.
struct Robot {
    _child: Child,
    words: PipeWriter,
    answers: BufReader<PipeReader>,
}

impl Robot {
    /// One whose registry has a blob; none where this machine has no Python to run the agent.
    fn with(blob: &[u8]) -> Option<Self> {
        let is_python = "import sys; sys.exit(sys.version_info < (3, 11))";
        if !Cmd::new("python3").args(["-c", is_python]).succeeds().unwrap_or_default() {
            println!("the agent is not run: this machine has no Python 3.11");
            return None;
        }
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/delivery");
        let laptop = format!("{directory}/delta/tests/false_laptop.py");
        let python =
            Cmd::new("python3").args(["-B", &laptop, &format!("{directory}/scripts/registry_agent.py")]);
        let (child, words, answers) = python.converse().unwrap();
        let mut robot = Self { _child: child, words, answers };
        robot.say(blob);
        println!("the agent is run: {}", robot.hear());
        Some(robot)
    }

    fn say(&mut self, bytes: &[u8]) {
        self.words.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).unwrap();
        self.words.write_all(bytes).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    /// Returns the end of a conversation.
    fn converse(&mut self, bytes: &[u8]) -> Ended {
        self.say(bytes);
        serde_json::from_str(&self.hear()).unwrap()
    }
}

/// A command, and what follows it.
fn command(command: &serde_json::Value, delta: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = format!("{command}\n").into_bytes();
    if let Some(delta) = delta {
        for part in delta.chunks(50_000) {
            bytes.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            bytes.extend(part);
        }
        bytes.extend([0; 4]);
    }
    bytes
}

/// A layer that the robot has, and conversations.
fn conversations() -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut rng = fastrand::Rng::with_seed(5);
    let old =
        trees::archive(&[("d/a".to_owned(), (trees::Node::File(trees::noise(&mut rng, 20_000)), 0))].into());
    let mut layer = old.clone();
    layer.splice(5_000..5_000, *b"an edit").for_each(drop);
    let desk = Desk::new();
    let held = [RemoteBlob { bytes: old.clone(), is_here: true }];
    let (plan, inputs) = desk.plan(&layer, &held);
    assert!(!plan.is_whole());
    let [old_digest, digest] = [&old, &layer].map(|bytes| format!("sha256:{}", digest(bytes)));
    let begin = json!({ "do": "begin", "owner": "me", "repository": "eurobot", "layers": [digest], "keep": ["begun"] });
    let make = |bases: &[&str]| {
        json!({
            "do": "make", "repository": "eurobot", "layer": digest, "size": layer.len(), "name": "delta", "offset": 0,
            "bases": bases, "image": [r#"{"os":"linux"}"#, r#"{"layers":[]}"#],
        })
    };
    // Without frames, for machines without the library.
    let mut copies = vec![b'C', 0, 0];
    copies.extend([0_u64, 20_000].iter().flat_map(|number| number.to_le_bytes()));
    copies.push(b'E');
    let inventory = command(&json!({ "do": "look", "repository": "eurobot" }), None);
    let contents = command(&json!({ "do": "contents", "name": &old_digest[7..23] }), None);
    let check = command(&json!({ "do": "check", "layers": [old_digest] }), None);
    let attach = command(&json!({ "do": "attach", "repository": "eurobot", "layer": old_digest }), None);
    let begin = command(&begin, None);
    let make_patch = command(&make(&[&old_digest]), Some(&desk.delta(&inputs)));
    let make_copy = command(&make(&[&old_digest]), Some(&copies));
    let all = [
        [&inventory[..], &begin, &attach, &make_patch].concat(),
        [&begin[..], &make_copy].concat(),
        [&begin[..], &check, &begin].concat(),
        [inventory, contents].concat(),
    ];
    (old, all.into())
}

#[test]
fn fuzzed_conversations_with_the_agent_end_well() {
    let (blob, samples) = conversations();
    let Some(robot) = Robot::with(&blob) else { return };
    let robot = Mutex::new(robot);
    let samples: Vec<&[u8]> = samples.iter().map(Vec::as_slice).collect();
    fuzz("agent", 100, &samples, move |bytes| {
        let ended = robot.lock().unwrap_or_else(PoisonError::into_inner).converse(bytes);
        assert!(
            ended.outside.is_empty() && ended.memory < MEMORY && ended.unfinished.is_empty(),
            "{ended:?}"
        );
        let last = ended.out.lines().last().unwrap_or_default();
        let is_refused = last.starts_with(r#"{"refused":"#);
        assert!(ended.err.is_empty() && ended.code == i32::from(is_refused), "{ended:?}");
    });
}
