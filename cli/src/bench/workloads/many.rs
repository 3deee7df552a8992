//! Rounds of one record for each of 1,000 partitions, each round durable before the next; and the
//! same records in one partition, which is what the many are compared with.

use super::feed;
use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::measure::{Deadline, Latency, Sample};
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row, in_words};
use crate::bench::setup::{EngineSlice, Setup, log_bytes_per_record, measure, raw};
use crate::failure::Result;
use ringlane::{Producer, ProducerOptions, Record, Topic, TopicOptions};
use std::time::{Duration, Instant};

/// How many.
pub const PARTITIONS: u32 = 1000;

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("many");
    let file = RawFile::prepared(&setup.directory, 256 << 20).map_err(raw)?;
    let engine = feed::settled_engine(setup, "many")?;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    // Each slice writes into the pool and gives its segments back.
    let mut slice = |partitions, duration| -> Result<EngineSlice> {
        let topic = engine.create_topic("many", TopicOptions::new().partitions(partitions))?;
        let slice = measure(&engine, || send(&producer, &topic, &mut values, duration))?;
        feed::recycle(&engine)?;
        Ok(slice)
    };
    slice(1, setup.slice / 4)?;
    let warm = slice(PARTITIONS, setup.slice / 4)?;
    let round_bytes = log_bytes_per_record(&[warm]) * f64::from(PARTITIONS);
    let block_bytes = (round_bytes as usize).max(1).next_multiple_of(4096);
    let (mut limits, mut ones, mut manys) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setup.slices {
        limits.push(
            limit::blocks(&file, Operation::DurableWrite, block_bytes, 1, Amount::Time(setup.slice)).map_err(raw)?,
        );
        ones.push(slice(1, setup.slice)?);
        manys.push(slice(PARTITIONS, setup.slice)?);
    }
    let row = |name, slices: &[_]| {
        let log_bytes = log_bytes_per_record(slices);
        let limit = Limit::of_operations(&limits, f64::from(PARTITIONS), log_bytes);
        Row::of_engine(name, slices, setup.record_bytes, log_bytes).with_limit(limit)
    };
    let one_row = row("many-one", &ones);
    let many_row = row("many", &manys).with_ratio_over(&one_row);
    let words = in_words("a raw durable overwrite for each round", block_bytes, 1, &file);
    report.row(many_row, &format!("{words}; the ratio is over many-one"))?;
    report.row(one_row, &format!("{words}; the same records in one partition"))?;
    setup.remove(engine)
}

fn send(producer: &Producer, topic: &Topic, values: &mut Values, duration: Duration) -> Result<Sample> {
    let mut latency = Latency::new();
    let begin = Instant::now();
    let deadline = Deadline::after(duration);
    while !deadline.is_over() {
        let started = Instant::now();
        send_round(producer, topic, values)?;
        latency.record(started.elapsed());
    }
    Ok(Sample { operations: latency.count() * u64::from(PARTITIONS), bytes: 0, elapsed: begin.elapsed(), latency })
}

/// One record for each partition, in turn, or all of them for the only one; returns when they are durable.
pub fn send_round(producer: &Producer, topic: &Topic, values: &mut Values) -> Result {
    let places: Vec<usize> = (0..PARTITIONS).map(|_| values.step()).collect();
    let records: Vec<(&Topic, Record<'_>)> = places
        .iter()
        .zip(0..)
        .map(|(&place, turn)| (topic, Record::new(values.at(place)).partition(turn % topic.partitions())))
        .collect();
    Ok(producer.send_many(&records)?.wait_done()?)
}
