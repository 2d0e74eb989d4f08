//! The machine on which the benchmark ran: what makes results comparable, without anything that identifies
//! its owner.

use std::time::Instant;

use anyhow::Context as _;
use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use super::figures::median;
use robot_deploy::error::Result;
use robot_deploy::host;
use robot_deploy::process::Cmd;
use robot_deploy::ui;

/// Rounds of [`work`]: some tenths of a second.
const ROUNDS: u32 = 20_000_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Number of processors that this program may use.
    cores: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    processor: Option<String>,
    /// Size of the RAM in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    /// Output of `uname -srm`.
    kernel: String,
    engine: String,
    image_store: String,
    buildx: String,
}

impl Machine {
    pub(crate) fn this() -> Result<Self> {
        let engine = host::engine()?;
        let proc = |file: &str| fs_err::read_to_string(file).unwrap_or_default();
        let buildx = Cmd::new("docker").args(["buildx", "version"]).read()?;
        Ok(Self {
            cores: std::thread::available_parallelism().context("count processors")?.get(),
            processor: field(&proc("/proc/cpuinfo"), "model name").map(str::to_owned),
            memory: field(&proc("/proc/meminfo"), "MemTotal")
                .and_then(|size| size.strip_suffix(" kB")?.parse::<u64>().ok())
                .map(|kilobytes| kilobytes * 1024),
            kernel: Cmd::new("uname").arg("-srm").read()?,
            engine: engine.version.clone(),
            image_store: engine.store_name().to_owned(),
            buildx: buildx.split_whitespace().nth(1).unwrap_or_default().to_owned(),
        })
    }

    /// A machine for tests.
    #[cfg(test)]
    pub(crate) fn unknown() -> Self {
        let [kernel, engine, image_store, buildx] = [(); 4].map(|()| String::new());
        Self { cores: 2, processor: None, memory: None, kernel, engine, image_store, buildx }
    }

    /// Describes the machine in a sentence.
    pub(crate) fn describe(&self) -> String {
        let processor = self.processor.as_deref().map_or(String::new(), |name| format!(" ({name})"));
        let memory = self.memory.map_or(String::new(), |bytes| format!(", {} of memory", ui::bytes(bytes)));
        let Self { cores, kernel, engine, image_store, .. } = self;
        format!("{cores} cores{processor}{memory}, {kernel}, Docker Engine {engine} with the {image_store}")
    }

    /// Describes the machine in a few words, for captions.
    pub(crate) fn summary(&self) -> String {
        format!("{} cores, Docker Engine {}, {}", self.cores, self.engine, self.image_store)
    }
}

/// Value of `name` in a file of /proc with lines `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.trim_start().strip_prefix(':');
    text.lines().find_map(value).map(str::trim)
}

/// Seconds of a fixed piece of work of one processor: machines that others use as well are not equally fast all the time.
pub(crate) fn work() -> f64 {
    let begin = Instant::now();
    let mut state = 1_u64;
    for _ in 0..std::hint::black_box(ROUNDS) {
        // A step of xorshift (Marsaglia 2003): each needs the result of the one before.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    std::hint::black_box(state);
    begin.elapsed().as_secs_f64()
}

/// Load average of the last minute. Other work on the machine distorts the results.
pub(crate) fn load() -> Option<f64> {
    fs_err::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Seconds that `cargo` adds to each call of `xtask`; `None` if this program was not started by `cargo`.
pub(crate) fn cargo_overhead(program: &Utf8Path) -> Result<Option<f64>> {
    let Ok(cargo) = std::env::var("CARGO") else { return Ok(None) };
    let by_cargo = Cmd::new(cargo)
        .args(["run", "--quiet", "--package", "xtask", "--", "--version"])
        .dir(env!("CARGO_MANIFEST_DIR"));
    // The first call compiles sources that changed since this program was compiled.
    by_cargo.run()?;
    Ok(Some((time(&by_cargo)? - time(&Cmd::new(program.as_str()).arg("--version"))?).max(0.0)))
}

/// Median duration of five runs, in seconds.
fn time(command: &Cmd) -> Result<f64> {
    let once = || {
        let begin = Instant::now();
        command.run()?;
        Ok(begin.elapsed().as_secs_f64())
    };
    let times = (0..5).map(|_| once()).collect::<Result<Vec<f64>>>()?;
    Ok(median(times).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_found_by_name() {
        let text = "MemFree:  12 kB\nMemTotal:       24684544 kB\nmodel name\t: A processor\n";
        assert_eq!(field(text, "MemTotal"), Some("24684544 kB"));
        assert_eq!(field(text, "model name"), Some("A processor"));
        assert_eq!(field(text, "Swap"), None);
    }
}
