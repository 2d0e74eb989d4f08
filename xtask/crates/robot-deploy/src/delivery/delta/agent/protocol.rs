//! Protocol of the registry agent: commands and answers, each a line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::digest::{Digest, is_hex};
use layer_delta::file;

/// Hexadecimal digits of a digest that name a blob in the protocol.
const SHORT: usize = 16;

/// A command to the agent: the name and the arguments of a function in `registry_agent.py`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(crate) enum Command<'a> {
    /// Asks for the blobs, spools and free space on the robot.
    Look { repository: &'a str },
    /// Asks for the index of a layer; `name` is the layer's key in [`Inventory::blobs`].
    Contents { name: &'a str },
    /// Takes the lock: see [`Agent::begin`](super::Agent::begin).
    Begin {
        owner: &'a str,
        repository: &'a str,
        /// The layers to send.
        layers: &'a [&'a str],
        /// The deltas whose spools stay; all of them if it is missing.
        #[serde(skip_serializing_if = "Option::is_none")]
        keep: Option<&'a [&'a str]>,
    },
    /// Attaches a layer that the registry has to a repository.
    Attach { repository: &'a str, layer: &'a str },
    /// Removes those of the layers that are damaged.
    Check { layers: &'a [Digest] },
    /// Makes a layer from a delta, of which the bytes from `offset` on follow.
    Make {
        #[serde(flatten)]
        request: MakeRequest<'a>,
        name: &'a str,
        offset: u64,
    },
}

impl Command<'_> {
    pub(crate) fn line(&self) -> String {
        format!("{}\n", json!(self))
    }
}

/// Request to make a layer on the robot.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct MakeRequest<'a> {
    pub repository: &'a str,
    pub layer: &'a Digest,
    pub size: u64,
    /// The layers that the delta refers to.
    pub bases: &'a [Digest],
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Refusal {
    #[serde(rename = "refused")]
    pub kind: RefusalKind,
    /// Reason for people.
    pub why: String,
}

/// Kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RefusalKind {
    /// A layer made from a delta has another digest, or a frame cannot be decoded with the robot's bases.
    Digest,
    /// A delta or a command is damaged.
    Delta,
    /// A basis is missing or too short.
    Basis,
    /// A spool has another size than expected.
    Spool,
    /// No room left on a disk of the robot.
    Disk,
    /// The robot is short of memory.
    Memory,
    /// Another machine has the lock.
    Busy,
    /// The agent of an earlier connection cannot be ended yet, for example because of a slow disk.
    Stale,
    /// An error of the robot's system.
    System,
    #[serde(other)]
    Other,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Refusal {}

/// A blob in the robot's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RemoteBlob {
    pub size: u64,
    /// True if the project's repository has the blob.
    pub linked: bool,
}

/// State of the robot's registry and disks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Inventory {
    /// Blobs, by the first sixteen digits of their digests.
    #[serde(rename = "held", deserialize_with = "blobs")]
    pub blobs: BTreeMap<String, RemoteBlob>,
    /// Bytes of the spools, by the names of their deltas.
    #[serde(deserialize_with = "spools")]
    pub spools: BTreeMap<String, u64>,
    /// Bytes of unfinished layers that an earlier agent left; [`Agent::begin`](super::Agent::begin) removes them.
    pub parts: u64,
    /// Free bytes on the registry's disk.
    pub disk: u64,
    /// Free bytes on the engine's disk.
    pub engine: u64,
    /// True if the registry and the engine are on the same disk.
    pub shared: bool,
    /// Copies of a layer that the engine keeps: a containerd store has the archive beside the files.
    pub copies: u64,
    /// Available memory in bytes.
    pub memory: u64,
}

impl Inventory {
    /// Returns the blob with a digest, if the robot has it.
    pub(crate) fn get(&self, digest: &str) -> Option<RemoteBlob> {
        self.blobs.get(short(digest)).copied()
    }
}

/// Reads a list of blobs: `NAME:SIZE:LINKED`, separated by spaces.
fn blobs<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, RemoteBlob>, D::Error> {
    let list = String::deserialize(from)?;
    Ok(list.split_whitespace().filter_map(parse_blob).collect())
}

fn parse_blob(word: &str) -> Option<(String, RemoteBlob)> {
    let mut parts = word.split(':');
    let name = parts.next().filter(|name| is_hex(name, SHORT))?.to_owned();
    Some((name, RemoteBlob { size: parts.next()?.parse().ok()?, linked: parts.next()? == "1" }))
}

/// Reads the spools that have the name of a delta: on this machine the name becomes that of a file.
fn spools<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, u64>, D::Error> {
    let mut spools = BTreeMap::<String, u64>::deserialize(from)?;
    spools.retain(|name, _| file::is_name(name));
    Ok(spools)
}

/// Layers and spools on the robot once this agent has the lock there, so that no other agent changes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Started {
    /// Those of the layers to send that the robot has by now, by the first sixteen digits of their digests.
    #[serde(rename = "held", deserialize_with = "blobs")]
    pub blobs: BTreeMap<String, RemoteBlob>,
    /// Bytes of the spools, by the names of their deltas.
    #[serde(deserialize_with = "spools")]
    pub spools: BTreeMap<String, u64>,
}

/// Index of a layer on the robot.
#[derive(Debug, Deserialize)]
pub(crate) struct RemoteIndex {
    pub digest: Digest,
    pub contents: String,
}

/// Digests of the damaged layers that were removed.
#[derive(Debug, Deserialize)]
pub(crate) struct Removed {
    pub bad: Vec<Digest>,
}

/// The digits that name a blob in the protocol. Two blobs with the same digits cost time, nothing else.
pub(crate) fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..SHORT).unwrap_or(hex)
}

/// Resources that making a layer took on the robot.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct MakeStats {
    /// Peak memory of the agent up to then, in bytes.
    pub memory: u64,
    /// Bytes that were read from bases.
    pub read: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::delivery::delta::agent::PROGRAM;
    use crate::digest::testing::digest;
    use crate::robot_side::testing::names_of;

    /// Words in the agent's program between `before` and a quotation mark.
    fn words(before: &str) -> BTreeSet<&'static str> {
        PROGRAM.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn the_agent_knows_the_same_commands() {
        let (repository, name, layer) = ("eurobot", "name", &digest("layer"));
        let request = MakeRequest { repository, layer, size: 5, bases: &[] };
        let commands = [
            Command::Look { repository },
            Command::Contents { name },
            Command::Begin { owner: "me", repository, layers: &[], keep: None },
            Command::Attach { repository, layer },
            Command::Check { layers: &[] },
            Command::Make { request, name, offset: 0 },
        ];
        let sent: Vec<_> = commands.iter().map(|command| json!(command)["do"].clone()).collect();
        assert_eq!(BTreeSet::from_iter(sent.iter().filter_map(|word| word.as_str())), words("do == \""));
    }

    #[test]
    fn the_agent_knows_the_same_refusals() {
        let known = names_of::<RefusalKind>().into_iter().filter(|name| *name != "other");
        assert_eq!(BTreeSet::from_iter(known), &words("Refusal(\"") | &words("refuse(\""));
        let refusal: Refusal = serde_json::from_str(r#"{"refused":"a new word","why":"it is new"}"#).unwrap();
        assert_eq!((refusal.kind, refusal.why.as_str()), (RefusalKind::Other, "it is new"));
    }

    #[test]
    fn names_that_are_not_of_blobs_and_deltas_are_left_out() {
        let spool = "0123456789abcdef".repeat(2);
        let held = "0123456789abcdef:5:1 ../..:5:1 0123456789abcdeg:5:1 0123456789abcdef0:5:1";
        let answer = json!({ "held": held, "spools": { (&spool): 1, "../../x": 2, ("a".repeat(33)): 3 } });
        let Started { blobs, spools } = serde_json::from_value(answer).unwrap();
        assert_eq!(spools, [(spool, 1)].into());
        assert_eq!(blobs.into_keys().collect::<Vec<_>>(), ["0123456789abcdef"]);
    }
}
