//! The process that opens an engine, times that, and reads here and there.

use super::{ChildArguments, TOPIC, memory_peak_bytes, start};
use crate::bench::setup::{Setup, wait_for_rest};
use crate::failure::{Failure, Result};
use crate::output::Output;
use clap::Args;
use ringlane::{ConsumerOptions, Engine, Error, Start, Topic};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Partitions of which some records are read.
const PARTITIONS_READ: u32 = 64;
/// Records read at each of three places in such a partition.
const RECORDS_READ: usize = 10;

/// Arguments of the hidden sub-command.
#[derive(Args)]
pub struct OpenerArguments {
    /// Records that every partition must have at the least
    #[arg(long)]
    records_min: u64,
    #[command(flatten)]
    child: ChildArguments,
}

/// What the opener found.
#[derive(Serialize, Deserialize)]
pub struct Opened {
    /// From the call to its return.
    pub opened_us: f64,
    /// What it runs on.
    pub io_backend: String,
    /// How many lanes it has.
    pub lanes: u32,
    /// Records that were read afterwards.
    pub records_read: u64,
    /// The most memory the process had until then.
    pub memory_peak_bytes: u64,
    /// Blocks of all files in the directory.
    pub disk_bytes: u64,
}

/// Runs the hidden sub-command: one line of JSON.
pub fn run_opener(arguments: &OpenerArguments) -> Result {
    let begin = Instant::now();
    let engine = arguments.child.open()?;
    let opened_us = begin.elapsed().as_secs_f64() * 1e6;
    let records_read = match engine.topic(TOPIC) {
        Ok(topic) => read_here_and_there(&engine, &topic, arguments.records_min)?,
        Err(Error::UnknownTopic { .. }) if arguments.records_min == 0 => 0,
        Err(error) => return Err(error.into()),
    };
    wait_for_rest(&engine);
    let stats = engine.stats();
    let opened = Opened {
        opened_us,
        io_backend: stats.io.backend.to_string(),
        lanes: stats.lanes.len() as u32,
        records_read,
        memory_peak_bytes: memory_peak_bytes(std::process::id())?,
        disk_bytes: disk_bytes(engine.path())?,
    };
    engine.close()?;
    let mut output = Output::new();
    output.json(&opened)?;
    output.finish()
}

/// At the beginning, in the middle and at the end of partitions far from each other.
fn read_here_and_there(engine: &Engine, topic: &Topic, records_min: u64) -> Result<u64> {
    let mut records = 0;
    for turn in 0..PARTITIONS_READ.min(topic.partitions()) {
        // A stride without a factor in common with round numbers of partitions.
        let partition = (turn * 7919 + 13) % topic.partitions();
        let end = super::end_of(topic, partition, records_min)?;
        for start in [0, end / 2, end.saturating_sub(RECORDS_READ as u64)] {
            records += read(engine, topic, partition, start)?;
        }
    }
    Ok(records)
}

fn read(engine: &Engine, topic: &Topic, partition: u32, start: u64) -> Result<u64> {
    let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(RECORDS_READ))?;
    consumer.assign(topic, partition, Start::Offset(start))?;
    let batch = consumer.poll(Duration::ZERO)?;
    for (record, offset) in batch.iter().zip(start..) {
        if (record.partition(), record.offset()) != (partition, offset) {
            let found = (record.partition(), record.offset());
            return Err(Failure::Check(format!("{found:?} came instead of {:?}", (partition, offset))));
        }
    }
    Ok(batch.len() as u64)
}

/// Blocks that the files of a directory take.
pub fn disk_bytes(directory: &Path) -> Result<u64> {
    let failure = || Failure::io(format!("measuring {}", directory.display()));
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).map_err(failure())? {
        bytes += entry.map_err(failure())?.metadata().map_err(failure())?.blocks() * 512;
    }
    Ok(bytes)
}

/// Opens the engine in `directory` in a fresh process; every partition must have `records_min` records.
pub fn open(setup: &Setup, directory: &Path, records_min: u64) -> Result<Opened> {
    let child = start(setup, directory, "bench-opener", &["--records-min".to_owned(), records_min.to_string()])?;
    super::answer(child)
}
