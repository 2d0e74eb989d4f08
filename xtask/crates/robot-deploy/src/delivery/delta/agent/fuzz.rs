//! Fuzzed answers of the registry agent.

use base64::Engine as _;
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::digest::testing::digest;
use crate::fuzz::fuzz;
use crate::process::Cmd;
use layer_delta::index::Entry;
use layer_delta::plan::{Basis, DeltaPlan};

/// Digest of the layer that is asked about.
const ASKED: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// An agent that never answers.
pub(super) fn mute() -> Agent {
    let (child, stdin, answers) = Cmd::new("sh").args(["-c", "cat >/dev/null"]).converse().unwrap();
    Agent::new(child, stdin, answers)
}

/// Answers that consist of one line.
pub(super) fn answers(line: String) -> Receiver<String> {
    let (sender, answers) = channel();
    sender.send(line).unwrap();
    answers
}

/// The agent's answer with the index of a layer.
pub(super) fn index_answer(digest: &str, records: &[u8]) -> String {
    let packed = base64::prelude::BASE64_STANDARD.encode(zstd::bulk::compress(records, 3).unwrap());
    json!({ "digest": digest, "contents": packed }).to_string()
}

/// A file's record in the agent's index of a layer.
fn record(checksum: u32, length: u64, position: u64) -> Vec<u8> {
    [&checksum.to_le_bytes()[..], &length.to_le_bytes(), &position.to_le_bytes()].concat()
}

/// Index of a layer on this machine with a small file and a large one.
fn layer() -> LayerIndex {
    let entry = |path: &str, start: u64, length: u64, checksum| Entry {
        path: path.to_owned(),
        start,
        content: start + 512,
        end: start + 512 + length.next_multiple_of(512),
        whole: checksum,
        length,
        checksum,
    };
    LayerIndex { entries: vec![entry("d/small", 0, 1_000, 7), entry("d/large", 1_536, 20 << 20, 8)] }
}

#[test]
fn fuzzed_answers_are_read_or_refused() {
    let inventory = br#"{"held":"0011223344556677:20:1 8899aabbccddeeff:5:0","spools":{"00112233445566778899aabbccddeeff":5},"parts":1,"memory":5,"disk":5,"engine":5,"shared":true,"copies":2}"#;
    let samples = [
        inventory.to_vec(),
        br#"{"made":"sha256:aa","memory":5,"read":6}"#.to_vec(),
        br#"{"refused":"disk","why":"the robot's disk is full"}"#.to_vec(),
        json!({ "bad": [digest("layer"), 5] }).to_string().into_bytes(),
        index_answer(ASKED, &[record(7, 1_000, 512), record(8, 20 << 20, 5_000)].concat()).into_bytes(),
        index_answer(ASKED, &vec![0; 100 << 20]).into_bytes(),
    ];
    let agent = Mutex::new(mute());
    fuzz("agent's answers", 1_000, &samples.each_ref().map(Vec::as_slice), move |bytes| {
        let mut agent = agent.lock();
        let line = crate::fuzz::text(bytes).replace('\n', " ");
        let commands: [fn(&mut Agent) -> Result<()>; 6] = [
            |agent| agent.inventory("eurobot").map(drop),
            |agent| agent.begin("owner", "eurobot", &[], None).map(drop),
            |agent| agent.remove_damaged(&[digest("layer")], 5).map(drop),
            |agent| agent.attach("eurobot", "sha256:aa"),
            |agent| agent.wait_made(5).map(drop),
            |agent| agent.index(short(ASKED), 30 << 20).map(drop),
        ];
        for command in commands {
            agent.answers = answers(line.clone());
            command(&mut agent).ok();
        }
    });
}

#[test]
fn fuzzed_indexes_of_layers_make_plans() {
    let sample = [record(7, 1_000, 512), record(8, 20 << 20, 5_000)].concat();
    let agent = Mutex::new(mute());
    fuzz("index of a robot's layer", 500, &[&sample, &record(7, 1_000, u64::MAX)], move |bytes| {
        let mut agent = agent.lock();
        agent.answers = answers(index_answer(ASKED, bytes));
        let size = 30 << 20;
        let Ok((_, index)) = agent.index(short(ASKED), size) else { return };
        let plan =
            DeltaPlan::new(&layer(), &[Basis { index: &index, same_instruction: false, is_here: false }]);
        assert!(!plan.ops.is_empty());
    });
}
