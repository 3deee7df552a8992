//! Consuming from the device a log much larger than the cache: sequentially, and 1,000 partitions that
//! were written interleaved, one of them and all of them with one consumer: as they were written, and when the
//! cleaner has put each of them together.

use super::{feed, many};
use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::measure::{Latency, Sample};
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row, in_words};
use crate::bench::setup::{EngineSlice, Setup, drop_page_cache, log_bytes_per_record, measure, raw, wait_for_rest};
use crate::failure::{Failure, Result};
use ringlane::{ConsumerOptions, Engine, Options, ProducerOptions, Start, Topic, TopicOptions};
use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What the engine may keep in memory: a small part of the log.
const TAIL_CACHE_BYTES: u64 = 16 << 20;
/// The cleaner copies a log of this bench in less.
const REGROUP_MAX: Duration = Duration::from_secs(600);

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("cold");
    let file = RawFile::prepared(&setup.directory, setup.log_bytes).map_err(raw)?;
    let choices =
        [(1 << 20, 4), (1 << 20, 1), (512 << 10, 8), (512 << 10, 4), (256 << 10, 8), (256 << 10, 4), (256 << 10, 1)];
    let (block_bytes, depth) = feed::better_blocks(&file, Operation::Read, &choices, setup.log_bytes / 4)?;
    let words = in_words("raw sequential reads", block_bytes, depth, &file);
    let mut topic_records = 0;
    for log in [Log::Sequential, Log::Interleaved, Log::Regrouped] {
        let log_bytes;
        if log == Log::Regrouped {
            log_bytes = regroup(setup, topic_records)?;
        } else {
            (log_bytes, topic_records) = write(setup, log == Log::Interleaved)?;
        }
        let engine = reopen(setup)?;
        let topic = engine.topic("bench")?;
        let partitions = topic.partitions();
        let ways: &[(&str, u32)] = match log {
            Log::Sequential => &[("cold", 1)],
            Log::Interleaved => &[("cold-interleaved", 1), ("cold-interleaved-all", partitions)],
            Log::Regrouped => &[("cold-regrouped", 1), ("cold-regrouped-all", partitions)],
        };
        for &(name, count) in ways {
            let (mut limits, mut slices) = (Vec::new(), Vec::new());
            for turn in 0..setup.slices {
                wait_for_rest(&engine);
                limits.push(
                    limit::blocks(&file, Operation::Read, block_bytes, depth, Amount::Bytes(setup.log_bytes))
                        .map_err(raw)?,
                );
                // Another partition each time: what the last one brought into memory must not help.
                let first = if count == 1 { (turn as u32 * 97 + 13) % partitions } else { 0 };
                let records = topic_records / u64::from(partitions) * u64::from(count);
                slices.push(measure(&engine, || consume(&engine, &topic, first..first + count, records))?);
            }
            let row = Row::of_engine(name, &slices, setup.record_bytes, log_bytes)
                .with_limit(Limit::of_bytes(&limits, log_bytes));
            report.row(row, &words)?;
        }
        match log {
            // It is what is regrouped.
            Log::Interleaved => engine.close()?,
            _ => setup.remove(engine)?,
        }
    }
    Ok(())
}

/// The log that is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    /// One partition.
    Sequential,
    /// 1,000 of them, a record of each in turn.
    Interleaved,
    /// The same, when the cleaner has copied it.
    Regrouped,
}

/// Without a cleaner: it must not change what is measured.
fn options() -> Options {
    Options::new().tail_cache_bytes(TAIL_CACHE_BYTES).cleaner_bytes_per_second_max(0)
}

/// Lets the cleaner put the partitions together, as fast as it can; returns the bytes of a record then.
fn regroup(setup: &Setup, records: u64) -> Result<f64> {
    // It leaves alone what opening needs: the two newest segments. Now these are none of those that are read.
    setup.engine("cold", options())?.close()?;
    let engine = setup.engine("cold", Options::new().cleaner_bytes_per_second_max(u64::MAX))?;
    let begin = Instant::now();
    while !engine.stats().cleaner.is_idle || engine.stats().cleaner.copies == 0 {
        if begin.elapsed() > REGROUP_MAX {
            return Err(Failure::Check("the cleaner does not come to an end".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    engine.close()?;
    let mut bytes = 0;
    for segment in ringlane::inspect(setup.path("cold"))?.segments {
        bytes += segment.end.map_or(0, |end| end - segment.base);
    }
    Ok(bytes as f64 / records as f64)
}

/// Writes the log; returns the bytes of a record in it, and how many records there are.
fn write(setup: &Setup, interleaved: bool) -> Result<(f64, u64)> {
    let engine = setup.engine("cold", options())?;
    let partitions = if interleaved { many::PARTITIONS } else { 1 };
    let topic = engine.create_topic("bench", TopicOptions::new().partitions(partitions))?;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    let records = feed::records_of_a_slice(setup).next_multiple_of(u64::from(partitions));
    let written: EngineSlice = measure(&engine, || {
        if !interleaved {
            return feed::send(setup, &producer, &topic, &mut values, records);
        }
        let begin = Instant::now();
        for _ in 0..records / u64::from(partitions) {
            many::send_round(&producer, &topic, &mut values)?;
        }
        Ok(Sample { operations: records, bytes: 0, elapsed: begin.elapsed(), latency: Latency::new() })
    })?;
    engine.close()?;
    Ok((log_bytes_per_record(&[written]), records))
}

fn reopen(setup: &Setup) -> Result<Engine> {
    drop_page_cache(&setup.path("cold"))?;
    setup.engine("cold", options())
}

/// Reads whole partitions.
fn consume(engine: &Engine, topic: &Topic, partitions: Range<u32>, records: u64) -> Result<Sample> {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    let begin = Instant::now();
    for partition in partitions {
        consumer.assign(topic, partition, Start::Beginning)?;
    }
    let mut read = 0;
    while read < records {
        let batch = consumer.poll(Duration::from_secs(10))?;
        if batch.is_empty() {
            return Err(Failure::Check(format!("only {read} of {records} records came back")));
        }
        for record in &batch {
            black_box(record.value().map(<[u8]>::len));
            read += 1;
        }
    }
    Ok(Sample { operations: read, bytes: 0, elapsed: begin.elapsed(), latency: Latency::new() })
}
