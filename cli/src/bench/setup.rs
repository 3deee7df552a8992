//! What a run was asked for, and how a slice of the engine is measured.

use super::measure::{Sample, cpu_time};
use crate::arguments::OptionArguments;
use crate::failure::{Failure, Result};
use crate::interrupt;
use ringlane::{Engine, Options, Stats, Topic, TopicOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a run was asked for.
#[derive(Clone)]
pub struct Setup {
    /// Where everything is written; fresh.
    pub directory: PathBuf,
    /// Bytes of a value.
    pub record_bytes: usize,
    /// Lanes, if not the engine's default.
    pub lanes: Option<u32>,
    /// Senders, or records in flight.
    pub depth: usize,
    /// How many slices each side gets.
    pub slices: usize,
    /// How long a slice takes.
    pub slice: Duration,
    /// How much of the log a slice fills, where that is what ends it.
    pub log_bytes: u64,
    /// Records that `index` writes.
    pub index_records: u64,
    /// Most time for that.
    pub fill_max: Duration,
    /// Records that one call sends, where as many as possible are sent.
    pub batch: usize,
    /// Options of the engine from the command line.
    pub options: OptionArguments,
}

/// What the engine used, as the difference of two moments.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// Records written.
    pub records: u64,
    /// Their bytes in the log, frames included.
    pub log_bytes: u64,
    /// All bytes written to the device.
    pub device_bytes: u64,
    /// Flushes of the device.
    pub flushes: u64,
    /// Processor time of the whole process.
    pub cpu_ns: u64,
}

/// A slice of the engine.
pub struct EngineSlice {
    /// Records, times, latencies.
    pub sample: Sample,
    /// What it cost.
    pub usage: Usage,
    /// What the engine runs on.
    pub io_backend: String,
    /// How many lanes it has.
    pub lanes: u32,
}

/// Rest lasts so long that nothing periodic can hide in it.
const REST: Duration = Duration::from_millis(150);
/// A background that never rests is measured as it is.
const REST_WAIT_MAX: Duration = Duration::from_secs(30);

impl Setup {
    /// The options of a workload: its own, then what the command line says.
    pub fn engine_options(&self, defaults: Options) -> Result<Options> {
        self.options.apply(engine_defaults(defaults, self.lanes, self.record_bytes))
    }

    /// Opens an engine in a directory of its own, made or found there.
    pub fn engine(&self, name: &str, defaults: Options) -> Result<Engine> {
        Ok(Engine::open(self.path(name), self.engine_options(defaults)?)?)
    }

    /// Where that engine is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Opens an engine with a topic of one partition for each lane.
    pub fn engine_and_topic(&self, name: &str, defaults: Options) -> Result<(Engine, Topic)> {
        let engine = self.engine(name, defaults)?;
        let topic = engine.create_topic("bench", self.topic_options())?;
        Ok((engine, topic))
    }

    /// A topic's partitions: one for each lane, so that all lanes have work.
    pub fn topic_options(&self) -> TopicOptions {
        TopicOptions::new().partitions(self.lanes.unwrap_or(1))
    }

    /// Closes it and removes its files, so that the next workload has the disk for itself.
    pub fn remove(&self, engine: Engine) -> Result {
        let path = engine.path().to_owned();
        engine.close()?;
        drop(engine);
        std::fs::remove_dir_all(&path).map_err(Failure::io(format!("removing {}", path.display())))
    }

    /// What a record takes in the log at the least: 16 bytes before it, and whole words.
    pub fn record_log_bytes(&self) -> usize {
        (16 + self.record_bytes).next_multiple_of(8)
    }

    /// Shows what goes on, where somebody looks.
    pub fn announce(&self, what: &str) {
        use std::io::IsTerminal;
        if std::io::stderr().is_terminal() {
            eprintln!("measuring {what} ...");
        }
    }
}

/// A workload's options with the lanes and the size of records that the run is about.
pub fn engine_defaults(defaults: Options, lanes: Option<u32>, record_bytes: usize) -> Options {
    let record_bytes_max = defaults.record_bytes_max.max(record_bytes + 64);
    defaults.lanes(lanes).record_bytes_max(record_bytes_max)
}

/// Runs `work` on an engine at rest, and takes what it used. Processor time ends with the work; bytes
/// and flushes end when the engine rests again, so that preparing the next segments counts.
pub fn measure(engine: &Engine, work: impl FnOnce() -> Result<Sample>) -> Result<EngineSlice> {
    if interrupt::came() {
        return Err(Failure::Check("interrupted".to_owned()));
    }
    wait_for_rest(engine);
    let before = totals(&engine.stats());
    let cpu_before = cpu_time();
    let sample = work()?;
    let cpu_ns = (cpu_time() - cpu_before).as_nanos() as u64;
    wait_for_rest(engine);
    let stats = engine.stats();
    let after = totals(&stats);
    let usage = Usage {
        records: after.records - before.records,
        log_bytes: after.log_bytes - before.log_bytes,
        device_bytes: after.device_bytes - before.device_bytes,
        flushes: after.flushes - before.flushes,
        cpu_ns,
    };
    Ok(EngineSlice { sample, usage, io_backend: stats.io.backend.to_string(), lanes: stats.lanes.len() as u32 })
}

/// Waits until the engine writes nothing more by itself.
pub fn wait_for_rest(engine: &Engine) {
    let start = Instant::now();
    let mut written = totals(&engine.stats()).device_bytes;
    let mut since = Instant::now();
    while since.elapsed() < REST && start.elapsed() < REST_WAIT_MAX {
        std::thread::sleep(Duration::from_millis(10));
        let now = totals(&engine.stats()).device_bytes;
        if now != written {
            written = now;
            since = Instant::now();
        }
    }
}

/// What all lanes have done since the engine was opened; processor time is not theirs to know.
pub fn totals(stats: &Stats) -> Usage {
    let mut usage = Usage::default();
    for lane in &stats.lanes {
        usage.records += lane.records;
        usage.log_bytes += lane.log_bytes;
        usage.device_bytes += lane.device_bytes;
        usage.flushes += lane.flushes;
    }
    usage
}

/// Mean bytes that a record took in the log over all slices.
pub fn log_bytes_per_record(slices: &[EngineSlice]) -> f64 {
    let records: u64 = slices.iter().map(|slice| slice.usage.records).sum();
    let bytes: u64 = slices.iter().map(|slice| slice.usage.log_bytes).sum();
    bytes as f64 / records.max(1) as f64
}

/// An error of a raw loop.
pub fn raw(error: std::io::Error) -> Failure {
    Failure::Io { doing: "measuring the raw device".to_owned(), error }
}

/// Forgets what the page cache has of the files in a directory: where O_DIRECT is refused, a cold read
/// would not be cold otherwise.
pub fn drop_page_cache(directory: &Path) -> Result {
    use std::os::fd::AsRawFd;
    let failure = || Failure::io(format!("reading {}", directory.display()));
    for entry in std::fs::read_dir(directory).map_err(failure())? {
        let path = entry.map_err(failure())?.path();
        // A killed writer has left its admin socket, which cannot be opened.
        if !path.is_file() {
            continue;
        }
        let file = std::fs::File::open(path).map_err(failure())?;
        // SAFETY: a plain system call on a descriptor we own. It is advice; that it is not taken is no error.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
    Ok(())
}
