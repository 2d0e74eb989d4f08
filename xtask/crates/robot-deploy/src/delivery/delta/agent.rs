//! Registry agent: a program that is sent to the robot at the beginning of each delivery and runs in the
//! registry's container.

#[cfg(test)]
mod fuzz;
mod protocol;
#[cfg(test)]
mod session_fuzz;

use std::io::{BufReader, PipeReader, PipeWriter, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::Duration;

use anyhow::Context as _;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::digest::Digest;
use crate::error::Result;
use crate::process::{self, Child};
use crate::robot::{Session, registry};
use layer_delta::agent_index;
use layer_delta::file::DeltaFile;
use layer_delta::index::LayerIndex;
use protocol::{RemoteIndex, Removed};

pub(super) use protocol::{
    Command, Inventory, MakeRequest, MakeStats, Refusal, RefusalKind, RemoteBlob, Started, short,
};

const PROGRAM: &str = include_str!("../../../robot-side/registry_agent.py");

/// Bytes of a delta that are sent at a time; each chunk costs four more bytes.
const CHUNK: usize = 64 * 1024;

/// Longest answer, in bytes: enough for a layer with 300,000 files, or a registry with 200,000 blobs.
const MAX_LINE: usize = 8 << 20;

/// Most JSON values of an answer: in memory a value takes thirty times the space that it takes in a line. A
/// list of blobs is one value.
const MAX_VALUES: usize = 100_000;

/// Longest wait for an answer: the robot may have a slow disk with hundreds of layers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest wait for a layer after all of its delta has been sent: bytes of the layer per second, and a time
/// besides. A slow memory card takes 10 MB per second.
const MAKE_TIMEOUT: (u64, Duration) = (5_000_000, Duration::from_secs(60));

const UNREADABLE: &str = "read the registry agent's answer";
const TOO_LARGE: &str = "the registry agent's answer is too large";
const BROKEN: &str = "the connection to the registry agent broke off";

/// Connection to a registry agent.
#[derive(Debug)]
pub(super) struct Agent {
    /// None once the connection is closed.
    stdin: Option<Writer>,
    answers: Receiver<String>,
    child: Child,
    sent: u64,
    /// Longest time in which the agent may read nothing: it may be busy with the input that it has.
    write_timeout: Duration,
    /// True once a write has taken longer than that. No answer is waited for then.
    is_stuck: bool,
}

impl Agent {
    /// Starts an agent in the registry's container, which has to run.
    pub(super) fn start(session: &Session) -> Result<Self> {
        Self::run(session, &["docker", "exec", "-i", registry::CONTAINER, "python3"])
    }

    /// Starts an agent with read-only access to the data of a registry that does not run. `image` is the
    /// registry's.
    pub(super) fn start_in(session: &Session, image: &str) -> Result<Self> {
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
        let (child, stdin, answers) = session.command(argv).converse()?;
        let mut agent = Self::new(child, stdin, answers);
        agent.write(&program)?;
        Ok(agent)
    }

    fn new(child: Child, stdin: PipeWriter, answers: BufReader<PipeReader>) -> Self {
        let answers = process::lines(&child, answers, MAX_LINE);
        Self {
            stdin: Some(Writer::new(stdin)),
            answers,
            child,
            sent: 0,
            write_timeout: ANSWER_TIMEOUT,
            is_stuck: false,
        }
    }

    /// Bytes sent to the agent, its program included.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_ref().context("the connection to the registry agent is closed")?;
        self.is_stuck = !stdin.write(bytes, self.write_timeout)?;
        if self.is_stuck {
            anyhow::bail!("the registry agent has read nothing for {} s", self.write_timeout.as_secs());
        }
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Closes the agent's stdin. The agent gives up the layer that it is making, and keeps its spool.
    pub(super) fn close(&mut self) {
        self.stdin = None;
    }

    fn command(&mut self, command: Command<'_>) -> Result<()> {
        self.write(command.line().as_bytes())
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// A [`Refusal`] if the agent refuses.
    fn next_answer<T: DeserializeOwned>(&mut self, timeout: Duration) -> Result<T> {
        anyhow::ensure!(!self.is_stuck, "the registry agent is stuck");
        let line = self.next_line(timeout)?;
        let values = line.bytes().filter(|byte| b",[{".contains(byte)).count();
        anyhow::ensure!(values < MAX_VALUES, TOO_LARGE);
        match serde_json::from_str::<Refusal>(&line) {
            Ok(refusal) => Err(refusal.into()),
            Err(_) => serde_json::from_str(&line).context(UNREADABLE),
        }
    }

    fn next_line(&mut self, timeout: Duration) -> Result<String> {
        process::check_interrupted()?;
        match process::receive(&self.answers, Some(timeout))? {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                anyhow::bail!("the registry agent has not answered for {} s", timeout.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.close();
                Err(self.child.reason().context("the registry agent has ended"))
            }
        }
    }

    /// Waits until the agent has made a layer of `size` bytes whose delta was sent.
    ///
    /// # Errors
    /// A [`Refusal`] if the agent refuses; else an error with the last lines that the agent wrote.
    pub(super) fn wait_made(&mut self, size: u64) -> Result<MakeStats> {
        self.next_answer(make_timeout(size))
    }

    fn ask<T: DeserializeOwned>(&mut self, command: Command<'_>, timeout: Duration) -> Result<T> {
        self.command(command)?;
        self.next_answer(timeout)
    }

    /// Asks for the blobs, spools and free space on the robot. Changes nothing there.
    pub(super) fn inventory(&mut self, repository: &str) -> Result<Inventory> {
        self.request_inventory(repository)?;
        self.requested_inventory()
    }

    /// Asks for [`Agent::requested_inventory`] and does not wait for it.
    pub(super) fn request_inventory(&mut self, repository: &str) -> Result<()> {
        self.command(Command::Look { repository })
    }

    /// Waits for the answer to [`Agent::request_inventory`].
    pub(super) fn requested_inventory(&mut self) -> Result<Inventory> {
        self.next_answer(ANSWER_TIMEOUT)
    }

    /// Asks for the digest and the index of a layer that is not on this machine; the index has no names.
    /// `name` is the layer's key in [`Inventory::blobs`]. The robot reads all `size` bytes of the layer.
    ///
    /// # Errors
    /// A [`Refusal`] if the layer is gone.
    pub(super) fn index(&mut self, name: &str, size: u64) -> Result<(Digest, LayerIndex)> {
        let RemoteIndex { digest, contents } = self.ask(Command::Contents { name }, make_timeout(size))?;
        anyhow::ensure!(
            digest.hex().starts_with(name),
            "the registry agent answered for layer {digest} instead of {name}"
        );
        Ok((digest, agent_index::read(&contents, size)?))
    }

    /// Takes the lock on the robot, which is needed for every change. An agent of the same `owner`, left
    /// behind by a cut connection, is ended; the agent of another owner is left alone. `layers` are the
    /// layers to send, of which the ended agent may have made some. If `keep` is given, the spools of all
    /// other deltas are removed.
    ///
    /// # Errors
    /// A [`Refusal`] if another owner has the lock, or the agent that was left behind does not end.
    pub(super) fn begin(
        &mut self,
        owner: &str,
        repository: &str,
        layers: &[&str],
        keep: Option<&[&str]>,
    ) -> Result<Started> {
        self.ask(Command::Begin { owner, repository, layers, keep }, ANSWER_TIMEOUT)
    }

    /// Attaches a layer that the robot's registry has to the project's repository.
    pub(super) fn attach(&mut self, repository: &str, layer: &str) -> Result<()> {
        self.ask(Command::Attach { repository, layer }, ANSWER_TIMEOUT).map(|IgnoredAny| ())
    }

    /// Removes those of `layers` that are damaged, and returns them. `bytes` is the size of all layers.
    pub(super) fn remove_damaged(&mut self, layers: &[Digest], bytes: u64) -> Result<Vec<Digest>> {
        let Removed { bad } = self.ask(Command::Check { layers }, make_timeout(bytes))?;
        Ok(layers.iter().filter(|layer| bad.contains(layer)).cloned().collect())
    }

    /// Sends a delta from `offset` on, also while it is being encoded. Does not wait for the answer, which
    /// comes once the layer is made, so that the next delta can follow: see [`Agent::wait_made`]. `on_sent`
    /// gets the number of bytes in each chunk.
    pub(super) fn send(
        &mut self,
        request: MakeRequest<'_>,
        delta: &DeltaFile,
        offset: u64,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<()> {
        self.write_timeout = self.write_timeout.max(make_timeout(request.size));
        self.command(Command::Make { request, name: &delta.name, offset })?;
        let mut position = offset;
        let mut buffer = vec![0; CHUNK];
        loop {
            let (written, is_complete) = delta.wait(position)?;
            while position < written {
                let count = usize::try_from(written - position)?.min(CHUNK);
                delta.read(&mut buffer[..count], position)?;
                self.write(&u32::try_from(count)?.to_le_bytes())?;
                self.write(&buffer[..count])?;
                position += count as u64;
                on_sent(count as u64);
            }
            if is_complete {
                return self.write(&0u32.to_le_bytes());
            }
        }
    }
}

fn make_timeout(bytes: u64) -> Duration {
    let (rate, besides) = MAKE_TIMEOUT;
    // The robot reports some of these sizes, and may report any number: an hour is enough for every layer.
    (besides + Duration::from_secs(bytes / rate)).min(Duration::from_secs(3600))
}

/// Writes to the agent in a thread of its own: an agent that is stopped, for example with the registry's
/// container, reads nothing, and a write to its pipe blocks for ever.
#[derive(Debug)]
struct Writer {
    queue: SyncSender<Vec<u8>>,
    results: Receiver<std::io::Result<()>>,
}

impl Writer {
    /// The thread ends when the writer is dropped, or when the child that reads the pipe ends.
    fn new(mut pipe: PipeWriter) -> Self {
        let (queue, chunks) = sync_channel::<Vec<u8>>(1);
        let (done, results) = channel();
        std::thread::spawn(move || {
            for bytes in chunks {
                if done.send(pipe.write_all(&bytes)).is_err() {
                    return;
                }
            }
        });
        Self { queue, results }
    }

    /// Waits until all bytes are written; returns whether that took less than `timeout`.
    fn write(&self, bytes: &[u8], timeout: Duration) -> Result<bool> {
        // Does not block: the last chunk has been written. Where the thread has ended, the receiver below
        // fails as well.
        self.queue.send(bytes.to_vec()).ok();
        match process::receive(&self.results, Some(timeout))? {
            Ok(written) => written.context(BROKEN).map(|()| true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!(BROKEN),
        }
    }
}

/// The agent's program, compressed.
fn program() -> Result<Vec<u8>> {
    zstd::bulk::compress(PROGRAM.as_bytes(), 19).context("compress the registry agent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::testing::digest;

    #[test]
    fn an_answer_about_another_layer_is_an_error() {
        let (mut agent, layer) = (fuzz::mute(), digest("layer"));
        let mut of = |digest: &str| {
            agent.answers = fuzz::answers(fuzz::index_answer(digest, &[]));
            agent.index(short(&layer), 5)
        };
        assert_eq!(of(&layer).unwrap().0, layer);
        of(&digest("another")).unwrap_err();
        // The digest becomes a path on this machine: a layer of another size is removed.
        of("sha256:../../../../../home/operator/.ssh/id_ed25519").unwrap_err();
        of(&format!("sha256:{}/../x", short(&layer))).unwrap_err();
    }
}
