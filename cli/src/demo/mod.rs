//! `ringlane demo`: a real file through the engine twice, and proof that nothing is lost.
//!
//! Pass 1: every line is sent durably into several partitions, many in flight, read back, and
//! compared with the file, count, order and content. Pass 2: another process sends every line again
//! and reports each receipt; half-way it is killed with SIGKILL; the engine is opened again, and every
//! reported record must be there exactly once, every other one at most once.
//!
//! Invariant: a record counts as acknowledged only if the report of its receipt reached this process
//! before the writer was dead. The check compares against the file, never against the log itself.

mod acknowledged;
mod check;
mod input;
mod report;
mod writer;

pub use writer::{WriterArguments, run_writer};

use crate::arguments::OptionArguments;
use crate::bench::Scratch;
use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::measure::{Latency, Sample};
use crate::failure::{Failure, Result};
use crate::output::Output;
use clap::Args;
use input::Input;
use report::{LatencyReport, Report};
use ringlane::{Engine, Error, Options, ProducerOptions, Topic, TopicOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Arguments of `demo`.
#[derive(Args)]
pub struct DemoArguments {
    /// The file whose lines are sent
    #[arg(short, long, value_name = "FILE", default_value = "/var/lib/dpkg/status")]
    input: PathBuf,
    /// How many partitions the lines are spread over
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
    /// The engine's directory; topics `demo-lines` and `demo-killed` in it are replaced [default: a fresh one
    /// in the current directory, removed afterwards]
    #[arg(long = "dir", value_name = "DIR", env = "RINGLANE_DIR")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    options: OptionArguments,
}

const LINES_TOPIC: &str = "demo-lines";
const KILLED_TOPIC: &str = "demo-killed";

/// Synchronous sends, and raw writes, behind the figures of latency.
const LATENCY_SENDS: usize = 2000;

/// Runs `ringlane demo`.
pub fn run(arguments: &DemoArguments) -> Result {
    let input = Input::read(&arguments.input)?;
    let options = arguments.options.apply(input.options(Options::new()))?;
    let scratch = if arguments.directory.is_none() { Some(Scratch::new(None, "demo")?) } else { None };
    let directory = match (&arguments.directory, &scratch) {
        (Some(directory), _) => directory.clone(),
        (None, Some(scratch)) => scratch.path().to_owned(),
        (None, None) => unreachable!("one of them was just made"),
    };
    let mut report = Report::new(Output::new(), arguments.json);
    report.say(format_args!(
        "{}: {} lines, {}",
        arguments.input.display(),
        crate::text::grouped(input.len() as u64),
        crate::text::bytes(input.bytes())
    ))?;
    first_pass(arguments, &input, &directory, &options, &mut report)?;
    second_pass(arguments, &input, &directory, &options, &mut report)?;
    report.verified(&ringlane::verify(&directory, &mut |_| {})?)?;
    report.finish()
}

fn first_pass(
    arguments: &DemoArguments,
    input: &Input,
    directory: &Path,
    options: &Options,
    report: &mut Report,
) -> Result {
    let engine = Engine::open(directory, options.clone())?;
    let topic = fresh_topic(&engine, LINES_TOPIC, arguments.partitions)?;
    let raw = RawSide::new(directory)?;
    let produced = produce(&engine, &topic, input)?;
    report.produced(&produced, &raw.bandwidth(input.bytes())?, &engine.stats().io, arguments.partitions)?;
    report.consumed(&check::every_line_once(&engine, &topic, input)?)?;
    let (single, limit) = raw.side_by_side(&engine, input)?;
    report.latency(&LatencyReport { single, limit })?;
    engine.close()?;
    Ok(())
}

fn second_pass(
    arguments: &DemoArguments,
    input: &Input,
    directory: &Path,
    options: &Options,
    report: &mut Report,
) -> Result {
    let engine = Engine::open(directory, options.clone())?;
    fresh_topic(&engine, KILLED_TOPIC, arguments.partitions)?;
    engine.close()?;
    drop(engine);
    let killed = acknowledged::run_and_kill(arguments, directory, input)?;
    report.killed(&killed, input.len())?;
    let begin = Instant::now();
    // The system may still be ending the killed process: its lock goes last.
    let engine = Engine::open(directory, options.clone().lock_wait_ms(10_000))?;
    let opened = begin.elapsed();
    let topic = engine.topic(KILLED_TOPIC)?;
    report.recovered(opened, &check::acknowledged_once(&engine, &topic, input, &killed.receipts)?)?;
    Ok(engine.close()?)
}

/// Removes what an earlier run left, so that counts are this run's.
fn fresh_topic(engine: &Engine, name: &str, partitions: u32) -> Result<Topic> {
    match engine.delete_topic(name) {
        Ok(()) | Err(Error::UnknownTopic { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(engine.create_topic(name, TopicOptions::new().partitions(partitions))?)
}

/// Sends every line, in turn into each partition, without waiting for one receipt before the next send.
fn produce(engine: &Engine, topic: &Topic, input: &Input) -> Result<Sample> {
    let producer = engine.producer(ProducerOptions::new())?;
    let outcome = Arc::new(Mutex::new((Latency::new(), None::<Error>)));
    let begin = Instant::now();
    for (number, _) in input.lines() {
        let outcome = outcome.clone();
        let started = Instant::now();
        let handle = producer.send(topic, input.record(number, topic.partitions()))?;
        handle.on_complete(move |receipt| {
            let taken = started.elapsed();
            let mut outcome = outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match receipt {
                Ok(_) => outcome.0.record(taken),
                Err(error) => outcome.1 = Some(error),
            }
        });
    }
    producer.flush()?;
    let elapsed = begin.elapsed();
    let latency = all_receipts(&outcome, input.len() as u64)?;
    Ok(Sample { operations: input.len() as u64, bytes: input.bytes(), elapsed, latency })
}

/// Receipts are called back on the engine's thread, which may be a moment behind the flush.
fn all_receipts(outcome: &Mutex<(Latency, Option<Error>)>, expected: u64) -> Result<Latency> {
    let begin = Instant::now();
    loop {
        let mut outcome = outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(error) = outcome.1.take() {
            return Err(error.into());
        }
        let count = outcome.0.count();
        if count == expected {
            return Ok(std::mem::replace(&mut outcome.0, Latency::new()));
        }
        if begin.elapsed() > Duration::from_secs(60) {
            return Err(Failure::Check(format!("only {count} of {expected} receipts came within a minute")));
        }
        drop(outcome);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The device without an engine, on the same file system.
struct RawSide {
    file: RawFile,
}

impl RawSide {
    fn new(directory: &Path) -> Result<RawSide> {
        let file = RawFile::prepared(directory, 64 << 20).map_err(measuring)?;
        Ok(RawSide { file })
    }

    /// The same bytes, or enough for a figure that means something, in 1 MiB durable writes, four deep.
    fn bandwidth(&self, bytes: u64) -> Result<Sample> {
        let amount = Amount::Bytes(bytes.max(256 << 20));
        limit::blocks(&self.file, Operation::DurableWrite, 1 << 20, 4, amount).map_err(measuring)
    }

    /// Single sends and single raw writes, in turns.
    fn side_by_side(&self, engine: &Engine, input: &Input) -> Result<(Latency, Latency)> {
        const TURNS: usize = 4;
        let topic = fresh_topic(engine, "demo-latency", 1)?;
        let producer = engine.producer(ProducerOptions::new())?;
        let (mut single, mut raw) = (Latency::new(), Latency::new());
        let numbers = (0..input.len() as u64).cycle();
        let mut numbers = numbers.take(if input.len() == 0 { 0 } else { LATENCY_SENDS });
        for _ in 0..TURNS {
            let amount = Amount::Bytes((LATENCY_SENDS / TURNS * 4096) as u64);
            raw.add(&limit::blocks(&self.file, Operation::DurableWrite, 4096, 1, amount).map_err(measuring)?.latency);
            for number in numbers.by_ref().take(LATENCY_SENDS / TURNS) {
                let started = Instant::now();
                producer.send(&topic, input.record(number, 1))?.wait()?;
                single.record(started.elapsed());
            }
        }
        engine.delete_topic(topic.name())?;
        Ok((single, raw))
    }
}

fn measuring(error: std::io::Error) -> Failure {
    Failure::Io { doing: "measuring the raw device".to_owned(), error }
}
