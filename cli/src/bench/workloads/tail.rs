//! Consuming what is still in memory, on one core.

use super::feed;
use crate::bench::measure::{Deadline, Latency, Sample};
use crate::bench::noise::{self, Values};
use crate::bench::report::{Limit, Report, Row};
use crate::bench::setup::{Setup, log_bytes_per_record, measure};
use crate::failure::{Failure, Result};
use ringlane::{ConsumerOptions, Engine, Options, ProducerOptions, Start, Topic};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What is read again and again: larger than any processor's cache.
const LOG_BYTES: u64 = 128 << 20;

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("tail");
    let (engine, topic) = setup.engine_and_topic("tail", Options::new().tail_cache_bytes(LOG_BYTES * 2))?;
    let records = LOG_BYTES / setup.record_log_bytes() as u64;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    let written = measure(&engine, || feed::send(setup, &producer, &topic, &mut values, records))?;
    let log_bytes = log_bytes_per_record(&[written]);
    let memory = plain_memory(setup.record_bytes, setup.record_log_bytes(), records);
    walk(&memory, setup.slice / 4);
    consume(&engine, &topic, records, setup.slice / 4)?;
    let (mut limits, mut slices) = (Vec::new(), Vec::new());
    for _ in 0..setup.slices {
        limits.push(walk(&memory, setup.slice));
        slices.push(measure(&engine, || consume(&engine, &topic, records, setup.slice))?);
    }
    let row = Row::of_engine("tail", &slices, setup.record_bytes, log_bytes)
        .with_limit(Limit::of_operations(&limits, 1.0, log_bytes));
    report.row(row, &format!("the same records walked one by one in {} MiB of plain memory", memory.len() >> 20))?;
    setup.remove(engine)
}

/// Reads everything from the beginning, over and over.
fn consume(engine: &Engine, topic: &Topic, records: u64, duration: Duration) -> Result<Sample> {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    let begin = Instant::now();
    let deadline = Deadline::after(duration);
    let mut operations = 0;
    while !deadline.is_over() {
        // One partition for each lane: all of them hold the records together.
        consumer.assign_all(topic, Start::Beginning)?;
        let mut read = 0;
        while read < records {
            let batch = consumer.poll(Duration::from_secs(10))?;
            if batch.is_empty() {
                return Err(Failure::Check(format!("only {read} of {records} records came back")));
            }
            for record in &batch {
                look(record.value().unwrap_or_default());
                read += 1;
            }
        }
        operations += read;
    }
    Ok(Sample { operations, bytes: 0, elapsed: begin.elapsed(), latency: Latency::new() })
}

/// What both sides do with a value: know its length and touch its first byte.
#[inline(always)]
fn look(value: &[u8]) {
    black_box((value.len(), value.first().copied()));
}

/// Records one behind the other as they are in the log: a size, the rest of the header, the value.
fn plain_memory(record_bytes: usize, stride: usize, records: u64) -> Vec<u8> {
    let mut memory = vec![0; stride * records as usize];
    noise::fill(&mut memory);
    for record in memory.chunks_mut(stride) {
        record[..4].copy_from_slice(&(16 + record_bytes as u32).to_le_bytes());
    }
    memory
}

fn walk(memory: &[u8], duration: Duration) -> Sample {
    let begin = Instant::now();
    let deadline = Deadline::after(duration);
    let mut operations = 0;
    while !deadline.is_over() {
        let mut rest = memory;
        while rest.len() >= 16 {
            let size = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            look(&rest[16..size]);
            rest = &rest[size.next_multiple_of(8)..];
            operations += 1;
        }
    }
    Sample { operations, bytes: 0, elapsed: begin.elapsed(), latency: Latency::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane::{Record, TopicOptions};

    /// With two lanes the topic has two partitions; one was read, and the rest waited for in vain.
    #[test]
    fn the_records_of_all_partitions_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(directory.path().join("tail"), Options::new()).unwrap();
        let topic = engine.create_topic("bench", TopicOptions::new().partitions(2)).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for turn in 0..100 {
            drop(producer.send(&topic, Record::new(b"value").partition(turn % 2)).unwrap());
        }
        producer.flush().unwrap();
        let read = consume(&engine, &topic, 100, Duration::from_millis(1)).unwrap();
        assert!(read.operations > 0 && read.operations.is_multiple_of(100), "{}", read.operations);
        engine.close().unwrap();
    }

    #[test]
    fn the_walk_meets_every_record() {
        for record_bytes in [0usize, 1, 100, 104] {
            let stride = (16 + record_bytes).next_multiple_of(8);
            let memory = plain_memory(record_bytes, stride, 1000);
            assert_eq!(walk(&memory, Duration::from_millis(1)).operations % 1000, 0);
        }
    }
}
