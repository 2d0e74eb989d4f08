//! The robot's end of the courier: a program that is sent along and runs inside the registry's container for
//! as long as a delivery takes, and what is said to it.

#[cfg(test)]
mod fuzz;

use std::collections::{BTreeMap, VecDeque};
use std::io::{PipeWriter, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checksums;
use super::file::{self, DeltaFile};
use super::index::LayerIndex;
use crate::digest::{Digest, is_hex};
use crate::error::Result;
use crate::image::partial::Partial;
use crate::process::{self, Child};
use crate::robot::{Session, registry};

const PROGRAM: &str = include_str!("../scripts/registry_agent.py");

/// How much of a parcel is sent at a time; each time costs four bytes.
const CHUNK: usize = 64 * 1024;

/// Bytes that an answer may have: a layer with 300,000 files takes so many, and a registry with 200,000 blobs.
const LINE: usize = 8 << 20;

/// Values that an answer may have, in memory each takes thirty times as much as in a line; lists of blobs are one.
const VALUES: usize = 100_000;

/// How long a robot may take for an answer: it may have a slow disk, and hundreds of layers on it.
const ANSWER: Duration = Duration::from_secs(60);

/// How long a robot may take for a layer after all of it has been sent, per byte of the layer and besides: a
/// slow memory card takes 10 MB in a second.
const MAKING: (u64, Duration) = (5_000_000, Duration::from_secs(60));

/// Digits of a digest by which the robot names a blob.
const SHORT: usize = 16;

/// Why the robot does not make a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the agent calls it: `digest`, `basis`, `spool`, `disk`, `memory`, `busy`, `stale`, …
    pub kind: String,
    /// Words for people.
    pub why: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Refusal {}

/// A blob in the robot's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteBlob {
    /// Bytes of it.
    pub size: u64,
    /// Whether the project's repository has it.
    pub linked: bool,
}

/// What the robot's registry has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Its blobs, by the first sixteen digits of their digests.
    pub held: BTreeMap<String, RemoteBlob>,
    /// Bytes of unfinished transfers, by the name of the parcel.
    pub spools: BTreeMap<String, u64>,
    /// Bytes of layers that were being made when an agent ended: beginning removes them.
    pub parts: u64,
    /// Free bytes on the registry's disk.
    pub disk: u64,
    /// Free bytes on the engine's disk.
    pub engine: u64,
    /// Whether those two are the same disk.
    pub shared: bool,
    /// How often the engine keeps a layer: its containerd store keeps the files, and the layer as it came.
    pub copies: u64,
    /// Bytes of memory that the robot can spare.
    pub memory: u64,
}

#[derive(Deserialize)]
struct RawInventory {
    held: String,
    spools: BTreeMap<String, u64>,
    parts: u64,
    disk: u64,
    engine: u64,
    shared: bool,
    copies: u64,
    memory: u64,
}

impl Inventory {
    /// The blob with a digest, if the robot has it.
    pub fn get(&self, digest: &str) -> Option<RemoteBlob> {
        self.held.get(short(digest)).copied()
    }

    fn parse(answer: Value) -> Result<Self> {
        let raw: RawInventory = serde_json::from_value(answer).context("read what the robot has")?;
        let RawInventory { held, spools, parts, disk, engine, shared, copies, memory } = raw;
        Ok(Self { held: blobs(&held), spools: named(spools), parts, disk, engine, shared, copies, memory })
    }
}

/// Blobs as the agent names them, one after another.
fn blobs(words: &str) -> BTreeMap<String, RemoteBlob> {
    let blob = |word: &str| {
        let mut parts = word.split(':');
        let name = parts.next().filter(|name| is_hex(name, SHORT))?.to_owned();
        Some((name, RemoteBlob { size: parts.next()?.parse().ok()?, linked: parts.next()? == "1" }))
    };
    words.split_whitespace().filter_map(blob).collect()
}

/// Those unfinished transfers that have the name of a parcel: it becomes the name of a file.
fn named(mut spools: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    spools.retain(|name, _| file::is_name(name));
    spools
}

/// What is on the robot of what is to come, once nobody else adds to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Those of the layers that are there after all, by the first sixteen digits of their digests.
    pub held: BTreeMap<String, RemoteBlob>,
    /// Bytes of unfinished transfers, by the name of the parcel.
    pub spools: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct RawStarted {
    held: String,
    spools: BTreeMap<String, u64>,
}

/// The digits by which the robot names a blob: two that are taken for each other cost time, nothing else.
pub fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..SHORT).unwrap_or(hex)
}

/// What a layer took on the robot.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Made {
    /// The most memory that the agent had taken up to then, in bytes.
    pub memory: u64,
    /// Bytes that were read of other layers.
    pub read: u64,
}

/// A layer to be made on the robot.
#[derive(Clone, Debug)]
pub struct MakeRequest<'a> {
    /// The project's repository.
    pub repository: &'a str,
    /// The layer's digest.
    pub layer: &'a Digest,
    /// Its size.
    pub size: u64,
    /// The layers that the parcel refers to.
    pub bases: &'a [Digest],
    /// An image that the repository shall have once it has the layer.
    pub image: Option<&'a Partial>,
}

/// A conversation with the agent.
#[derive(Debug)]
pub struct Agent {
    /// None once there is nothing more to say.
    words: Option<Words>,
    answers: Receiver<String>,
    child: Child,
    /// Answers that came while something was sent.
    heard: VecDeque<String>,
    sent: u64,
    /// How long the robot may take nothing of what is said to it: it may be busy with what it has.
    patience: Duration,
    /// Whether it took longer than that: there is nothing to wait for any more.
    is_stuck: bool,
}

impl Agent {
    /// Starts it on the robot; the registry has to run there.
    ///
    /// # Errors
    /// Fails when the connection is gone.
    pub fn start(session: &Session) -> Result<Self> {
        Self::run(session, &["docker", "exec", "-i", registry::CONTAINER, "python3"])
    }

    /// Starts it beside a registry that does not run, to look at its data only. `image` is the registry's.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_in(session: &Session, image: &str) -> Result<Self> {
        let volume = format!("{}:/var/lib/registry:ro", registry::CONTAINER);
        let container = ["docker", "run", "--rm", "-i", "--network=none", "--volume", &volume];
        Self::run(session, &[&container[..], &["--entrypoint=python3", image]].concat())
    }

    fn run(session: &Session, python: &[&str]) -> Result<Self> {
        let program = program()?;
        let boot = format!(
            "import os,zstandard\nb=b''\nwhile len(b)<{0}:b+=os.read(0,{0}-len(b)) or exit()\nexec(zstandard.decompress(b))",
            program.len()
        );
        let argv = [python, &["-I", "-S", "-B", "-c", &boot]].concat();
        let (child, words, answers) = session.command(argv).converse()?;
        let (words, answers) = (Some(Words::new(words)), process::lines(&child, answers, LINE));
        let heard = VecDeque::new();
        let mut agent = Self { words, answers, child, heard, sent: 0, patience: ANSWER, is_stuck: false };
        agent.write(&program)?;
        Ok(agent)
    }

    /// Bytes that were said to it.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let words = self.words.as_ref().context("the registry agent was let go")?;
        self.is_stuck = !words.say(bytes, self.patience)?;
        if self.is_stuck {
            anyhow::bail!("the registry agent has taken nothing for {} s", self.patience.as_secs());
        }
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Says that nothing more will be said: what has begun is given up there, what has arrived is kept.
    pub fn hang_up(&mut self) {
        self.words = None;
    }

    fn command(&mut self, command: &Value) -> Result<()> {
        self.write(format!("{command}\n").as_bytes())
    }

    /// The next answer; a line without an end is none. `patience` is for a robot that says nothing.
    fn next(&mut self, patience: Duration) -> Result<Value> {
        anyhow::ensure!(!self.is_stuck, "the registry agent is stuck");
        let deadline = Instant::now() + patience;
        let line = loop {
            process::check_interrupted()?;
            if let Some(line) = self.heard.pop_front() {
                break line;
            }
            match self.answers.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    anyhow::bail!("the registry agent has not answered for {} s", patience.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    process::check_interrupted()?;
                    self.hang_up();
                    return Err(self.child.reason().context("the registry agent has ended"));
                }
            }
        };
        let values = line.bytes().filter(|byte| b",[{".contains(byte)).count();
        anyhow::ensure!(values < VALUES, "the registry agent says more than it was asked");
        let answer: Value = serde_json::from_str(&line).context("read the registry agent's answer")?;
        match (answer["refused"].as_str(), answer["why"].as_str()) {
            (Some(kind), Some(why)) => Err(Refusal { kind: kind.to_owned(), why: why.to_owned() }.into()),
            _ => Ok(answer),
        }
    }

    /// Waits until a layer has been made whose parcel was sent; says what that took.
    ///
    /// # Errors
    /// Fails with a [`Refusal`] where the agent refuses, and with the command's last words where it is gone.
    pub fn made(&mut self, size: u64) -> Result<Made> {
        serde_json::from_value(self.next(making(size))?).context("read what a layer took")
    }

    fn ask(&mut self, command: &Value) -> Result<Value> {
        self.command(command)?;
        self.next(ANSWER)
    }

    /// What the robot's registry has. Changes nothing there.
    ///
    /// # Errors
    /// Fails when the connection is gone or the registry's data cannot be read.
    pub fn inventory(&mut self, repository: &str) -> Result<Inventory> {
        Inventory::parse(self.ask(&inventory(repository))?)
    }

    /// What is in a layer that is not on this machine, and its digest: contents by checksum, without names.
    /// `name` is what the robot calls the layer in a [`Inventory`], `size` its bytes: the robot reads them all.
    ///
    /// # Errors
    /// As [`Agent::look`].
    pub fn contents(&mut self, name: &str, size: u64) -> Result<(Digest, LayerIndex)> {
        self.command(&json!({ "do": "contents", "name": name }))?;
        let answer = self.next(making(size))?;
        let digest = digest_of(&answer, name)?;
        let packed = answer["contents"].as_str().context("read the registry agent's answer")?;
        Ok((digest, checksums::read(packed, size)?))
    }

    /// Gets ready for changes. `owner` stands for this machine's workspace: an agent that a cut connection
    /// left behind is ended, one of another machine is not. `layers` are those that are to come: that agent may
    /// have made some of them before it ended. Where `keep` is given, unfinished transfers of other parcels go.
    ///
    /// # Errors
    /// Fails with a [`Refusal`] where another machine delivers right now, or an agent that was left behind does not end.
    pub fn begin(
        &mut self,
        owner: &str,
        repository: &str,
        layers: &[&str],
        keep: Option<&[&str]>,
    ) -> Result<Started> {
        let answer = self.ask(&begin(owner, repository, layers, keep))?;
        let RawStarted { held, spools } =
            serde_json::from_value(answer).context("read the registry agent's answer")?;
        Ok(Started { held: blobs(&held), spools: named(spools) })
    }

    /// Lets the project's repository have a blob that is on the robot.
    ///
    /// # Errors
    /// As [`Agent::look`].
    pub fn attach(&mut self, repository: &str, layer: &str) -> Result<()> {
        self.ask(&json!({ "do": "attach", "repository": repository, "layer": layer })).map(drop)
    }

    /// Removes those of these layers that are damaged, and names them; they have so many bytes in all.
    ///
    /// # Errors
    /// As [`Agent::look`].
    pub fn check(&mut self, layers: &[Digest], bytes: u64) -> Result<Vec<Digest>> {
        self.command(&json!({ "do": "check", "layers": layers }))?;
        let answer = self.next(making(bytes))?;
        let bad = answer["bad"].as_array().context("read the registry agent's answer")?;
        let is_bad = |layer: &&Digest| bad.iter().any(|one| one == layer.as_str());
        Ok(layers.iter().filter(is_bad).cloned().collect())
    }

    /// Sends a parcel from `offset` on, while it is made. The answer comes once the layer is; it is not waited
    /// for, so that the next parcel can follow. `gone` is told how many bytes went, and how many of the layers
    /// sent before have been made by then.
    ///
    /// # Errors
    /// Fails when the parcel cannot be made or the connection is gone.
    pub fn send(
        &mut self,
        request: &MakeRequest<'_>,
        delta: &DeltaFile,
        offset: u64,
        gone: &mut dyn FnMut(u64, usize),
    ) -> Result<()> {
        self.patience = self.patience.max(making(request.size));
        self.command(&make(request, &delta.name, offset))?;
        let mut position = offset;
        let mut buffer = vec![0; CHUNK];
        loop {
            let (written, ended) = delta.wait(position)?;
            while position < written {
                let count = usize::try_from(written - position)?.min(CHUNK);
                delta.read(&mut buffer[..count], position)?;
                self.write(&u32::try_from(count)?.to_le_bytes())?;
                self.write(&buffer[..count])?;
                position += count as u64;
                let heard: usize = self.heard.iter().map(String::len).sum();
                anyhow::ensure!(heard <= process::LINE, "the registry agent says more than it was asked");
                self.heard.extend(self.answers.try_iter().take(1));
                let made = self.heard.iter().filter(|line| serde_json::from_str::<Made>(line).is_ok());
                gone(count as u64, made.count());
            }
            if ended {
                return self.write(&0u32.to_le_bytes());
            }
        }
    }
}

/// The digest that the robot's answer is about, which has to be of the layer that it was asked about.
fn digest_of(answer: &Value, name: &str) -> Result<Digest> {
    let digest: Digest = answer["digest"].as_str().context("read the registry agent's answer")?.parse()?;
    anyhow::ensure!(digest.hex().starts_with(name), "the robot tells of layer {digest}, asked for {name}");
    Ok(digest)
}

fn making(bytes: u64) -> Duration {
    let (rate, besides) = MAKING;
    // Sizes are the robot's word for it: an hour is enough for any layer.
    (besides + Duration::from_secs(bytes / rate)).min(Duration::from_secs(3600))
}

/// What is said to the agent, written by a thread of its own: an agent that is stopped, say with the
/// registry's container, takes nothing, and who writes to it waits for ever.
#[derive(Debug)]
struct Words {
    unsaid: SyncSender<Vec<u8>>,
    said: Receiver<std::io::Result<()>>,
}

impl Words {
    /// The thread ends when this goes, or when the child does that reads the pipe.
    fn new(mut pipe: PipeWriter) -> Self {
        let (unsaid, words) = sync_channel::<Vec<u8>>(1);
        let (done, said) = channel();
        std::thread::spawn(move || {
            for bytes in words {
                if done.send(pipe.write_all(&bytes)).is_err() {
                    return;
                }
            }
        });
        Self { unsaid, said }
    }

    /// Says something and waits until it is on its way; tells whether that was in time.
    fn say(&self, bytes: &[u8], patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        // There is room: what was said before is on its way.
        drop(self.unsaid.send(bytes.to_vec()));
        loop {
            match self.said.recv_timeout(Duration::from_millis(100)) {
                Ok(written) => {
                    written.context("the connection to the registry agent broke off")?;
                    return Ok(true);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the connection to the registry agent broke off")
                }
                Err(RecvTimeoutError::Timeout) => process::check_interrupted()?,
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }
}

/// The agent's program, as it is sent.
fn program() -> Result<Vec<u8>> {
    zstd::bulk::compress(PROGRAM.as_bytes(), 19).context("compress the registry agent")
}

fn inventory(repository: &str) -> Value {
    json!({ "do": "look", "repository": repository })
}

fn begin(owner: &str, repository: &str, layers: &[&str], keep: Option<&[&str]>) -> Value {
    let mut command = json!({ "do": "begin", "owner": owner, "repository": repository, "layers": layers });
    if let Some(keep) = keep {
        command["keep"] = json!(keep);
    }
    command
}

fn make(request: &MakeRequest<'_>, delta: &str, offset: u64) -> Value {
    let mut command = json!({
        "do": "make", "repository": request.repository, "layer": request.layer, "size": request.size,
        "name": delta, "offset": offset, "bases": request.bases,
    });
    if let Some(Partial { config, manifest }) = request.image {
        command["image"] = json!([config, manifest]);
    }
    command
}

/// Bytes that starting the agent and looking take.
///
/// # Errors
/// Fails when the program cannot be compressed.
pub fn opening(repository: &str) -> Result<u64> {
    Ok((program()?.len() + said(&inventory(repository))) as u64)
}

/// Bytes that [`Agent::begin`] takes.
pub fn beginning(owner: &str, repository: &str, layers: &[&str], keep: Option<&[&str]>) -> u64 {
    said(&begin(owner, repository, layers, keep)) as u64
}

/// Bytes that [`Agent::send`] takes besides the parcel's: what goes before, between and behind.
pub fn overhead(request: &MakeRequest<'_>, delta: &str, bytes: u64) -> u64 {
    said(&make(request, delta, 0)) as u64 + 4 * (bytes.div_ceil(CHUNK as u64) + 1)
}

fn said(command: &Value) -> usize {
    command.to_string().len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::testing::digest;

    #[test]
    fn an_answer_that_names_something_else_is_refused() {
        let layer = digest("layer");
        let of = |digest: &str| digest_of(&json!({ "digest": digest }), short(&layer));
        assert_eq!(of(&layer).unwrap(), layer);
        of(&digest("another")).unwrap_err();
        // It would become a path here: a layer that does not fit is removed.
        of("sha256:../../../../../home/operator/.ssh/id_ed25519").unwrap_err();
        of(&format!("sha256:{}/../x", short(&layer))).unwrap_err();
    }

    #[test]
    fn names_from_the_robot_are_names_of_blobs_and_deltas() {
        let spool = "0123456789abcdef".repeat(2);
        let spools = [(spool.clone(), 1), ("../../x".to_owned(), 2), ("a".repeat(33), 3)];
        assert_eq!(named(spools.into()), [(spool, 1)].into());
        let words = "0123456789abcdef:5:1 ../..:5:1 0123456789abcdeg:5:1 0123456789abcdef0:5:1";
        assert_eq!(blobs(words).into_keys().collect::<Vec<_>>(), ["0123456789abcdef"]);
    }
}
