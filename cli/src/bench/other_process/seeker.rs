//! The process that opens a log of one-record runs, looks up random places, and passes through one partition.
//!
//! Invariant: a record counts only if it is the one that was asked for.

use super::opener::disk_bytes;
use super::{ChildArguments, TOPIC, end_of, memory_bytes, memory_peak_bytes, start};
use crate::bench::measure::Latency;
use crate::bench::setup::Setup;
use crate::failure::{Failure, Result};
use crate::output::Output;
use clap::Args;
use ringlane::{ConsumerOptions, Engine, Start, Topic};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// Random places that are looked up.
const SEEKS: u64 = 1000;
/// What a record may take to come before it counts as lost.
const RECORD_WAIT: Duration = Duration::from_secs(10);

/// Arguments of the hidden sub-command.
#[derive(Args)]
pub struct SeekerArguments {
    /// Records that every partition must have at the least
    #[arg(long)]
    records_min: u64,
    #[command(flatten)]
    child: ChildArguments,
}

/// What the seeker found.
#[derive(Serialize, Deserialize)]
pub struct Sought {
    /// From the call to open to its return.
    pub opened_us: f64,
    /// What it runs on.
    pub io_backend: String,
    /// How many lanes it has.
    pub lanes: u32,
    /// Random places a second, and how long one takes.
    pub seeks_per_s: f64,
    pub seek_p50_us: f64,
    pub seek_p99_us: f64,
    /// Records a second of one partition, from its beginning to its end.
    pub passed_per_s: f64,
    /// Memory when the engine was open, after the places, after the pass; and the most of all moments.
    pub memory_opened_bytes: u64,
    pub memory_sought_bytes: u64,
    pub memory_passed_bytes: u64,
    pub memory_peak_bytes: u64,
    /// Blocks of all files in the directory.
    pub disk_bytes: u64,
}

/// Runs the hidden sub-command: one line of JSON.
pub fn run_seeker(arguments: &SeekerArguments) -> Result {
    let own = std::process::id();
    let begin = Instant::now();
    let engine = arguments.child.open()?;
    let opened_us = begin.elapsed().as_secs_f64() * 1e6;
    let memory_opened_bytes = memory_bytes(own)?;
    let topic = engine.topic(TOPIC)?;
    let begin = Instant::now();
    let latency = seek_randomly(&engine, &topic, arguments.records_min)?;
    let seeks_per_s = SEEKS as f64 / begin.elapsed().as_secs_f64();
    let memory_sought_bytes = memory_bytes(own)?;
    let begin = Instant::now();
    let passed = pass(&engine, &topic, topic.partitions() / 3)?;
    let passed_per_s = passed as f64 / begin.elapsed().as_secs_f64();
    let stats = engine.stats();
    let sought = Sought {
        opened_us,
        io_backend: stats.io.backend.to_string(),
        lanes: stats.lanes.len() as u32,
        seeks_per_s,
        seek_p50_us: latency.quantile_us(0.5).unwrap_or(0.0),
        seek_p99_us: latency.quantile_us(0.99).unwrap_or(0.0),
        passed_per_s,
        memory_opened_bytes,
        memory_sought_bytes,
        memory_passed_bytes: memory_bytes(own)?,
        memory_peak_bytes: memory_peak_bytes(own)?,
        disk_bytes: disk_bytes(engine.path())?,
    };
    engine.close()?;
    let mut output = Output::new();
    output.json(&sought)?;
    output.finish()
}

fn seek_randomly(engine: &Engine, topic: &Topic, records_min: u64) -> Result<Latency> {
    let mut latency = Latency::new();
    for seek in 0..SEEKS {
        let random = mixed(seek);
        let partition = (random % u64::from(topic.partitions())) as u32;
        let end = end_of(topic, partition, records_min.max(1))?;
        let offset = (random >> 20) % end;
        let begin = Instant::now();
        let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(1))?;
        consumer.assign(topic, partition, Start::Offset(offset))?;
        let batch = consumer.poll(RECORD_WAIT)?;
        latency.record(begin.elapsed());
        let found = batch.iter().next().map(|record| (record.partition(), record.offset()));
        expect(found, partition, offset)?;
    }
    Ok(latency)
}

fn pass(engine: &Engine, topic: &Topic, partition: u32) -> Result<u64> {
    let end = end_of(topic, partition, 1)?;
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    consumer.assign(topic, partition, Start::Beginning)?;
    let mut offset = 0;
    while offset < end {
        let batch = consumer.poll(RECORD_WAIT)?;
        if batch.is_empty() {
            expect(None, partition, offset)?;
        }
        for record in &batch {
            expect(Some((record.partition(), record.offset())), partition, offset)?;
            offset += 1;
        }
    }
    Ok(offset)
}

fn expect(found: Option<(u32, u64)>, partition: u32, offset: u64) -> Result {
    if found == Some((partition, offset)) {
        return Ok(());
    }
    Err(Failure::Check(format!("{found:?} came instead of {:?}", (partition, offset))))
}

/// Numbers that look random and are the same in each run (the finisher of splitmix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Opens the engine in `directory` in a fresh process, and reads; every partition must have `records_min` records.
pub fn seek(setup: &Setup, directory: &Path, records_min: u64) -> Result<Sought> {
    let child = start(setup, directory, "bench-seeker", &["--records-min".to_owned(), records_min.to_string()])?;
    super::answer(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_record_that_was_asked_for_will_do() {
        assert!(expect(Some((3, 7)), 3, 7).is_ok());
        for found in [None, Some((3, 8)), Some((2, 7))] {
            assert!(expect(found, 3, 7).is_err(), "{found:?}");
        }
    }

    #[test]
    fn the_places_are_spread() {
        let mut tenths = [0; 10];
        (0..SEEKS).for_each(|seek| tenths[(mixed(seek) % 10) as usize] += 1);
        assert!(tenths.iter().all(|&count| count > 50), "{tenths:?}");
    }
}
