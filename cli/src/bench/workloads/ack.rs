//! Members of a shared group: consume each record from memory and acknowledge it by itself.

use super::feed;
use crate::bench::measure::{Deadline, Latency, Sample};
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row};
use crate::bench::setup::{Setup, log_bytes_per_record, measure};
use crate::failure::{Failure, Result};
use ringlane::{ConsumerOptions, Engine, GroupOptions, MemberOptions, Options, ProducerOptions, Start, Topic};
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is read again and again, from memory.
const LOG_BYTES: u64 = 128 << 20;
/// Members of `shared`.
const MEMBERS: usize = 64;

/// Measures one member, or 64 of them.
pub fn run(setup: &Setup, report: &mut Report, is_shared: bool) -> Result {
    let name = if is_shared { "shared" } else { "ack" };
    let members = if is_shared { MEMBERS } else { 1 };
    setup.announce(name);
    let (engine, topic) = setup.engine_and_topic(name, Options::new().tail_cache_bytes(LOG_BYTES * 2))?;
    let records = LOG_BYTES / setup.record_log_bytes() as u64;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    let written = measure(&engine, || feed::send(setup, &producer, &topic, &mut values, records))?;
    let log_bytes = log_bytes_per_record(&[written]);
    engine.create_group("bench", GroupOptions::shared().topic(topic.name(), Start::Beginning))?;
    share(&engine, &topic, records, members, setup.slice / 4)?;
    let (mut limits, mut slices) = (Vec::new(), Vec::new());
    for _ in 0..setup.slices {
        limits.push(match is_shared {
            true => share(&engine, &topic, records, 1, setup.slice)?,
            false => consume(&engine, &topic, records, setup.slice)?,
        });
        slices.push(measure(&engine, || share(&engine, &topic, records, members, setup.slice))?);
    }
    let row = Row::of_engine(name, &slices, setup.record_bytes, log_bytes)
        .with_limit(Limit::of_operations(&limits, 1.0, log_bytes));
    let what = match is_shared {
        true => "one member alone",
        false => "the same records consumed without a group",
    };
    report.row(row, what)?;
    setup.remove(engine)
}

/// Members consume everything and acknowledge each record, over and over; each round waits until that is durable.
fn share(engine: &Engine, topic: &Topic, records: u64, members: usize, duration: Duration) -> Result<Sample> {
    let mut joined = Vec::new();
    for _ in 0..members {
        joined.push(engine.join_group("bench", MemberOptions::new())?);
    }
    let (begin, deadline) = (Instant::now(), Deadline::after(duration));
    let mut operations = 0;
    while !deadline.is_over() {
        for partition in 0..topic.partitions() {
            engine.reset_group("bench", topic.name(), partition, Start::Beginning)?;
        }
        let acknowledged = AtomicU64::new(0);
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for member in &mut joined {
                let (acknowledged, failed) = (&acknowledged, &failed);
                scope.spawn(move || {
                    let mut work = || -> ringlane::Result<()> {
                        while acknowledged.load(Ordering::Relaxed) < records {
                            let deliveries = member.poll(Duration::from_millis(20))?;
                            for delivery in &deliveries {
                                black_box(delivery.record.value().map(<[u8]>::len));
                                member.ack(delivery.id())?;
                            }
                            acknowledged.fetch_add(deliveries.len() as u64, Ordering::Relaxed);
                        }
                        member.flush()
                    };
                    if let Err(error) = work() {
                        acknowledged.store(u64::MAX, Ordering::Relaxed);
                        *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    }
                });
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            return Err(error.into());
        }
        let lag: u64 = engine.describe_group("bench")?.partitions.iter().map(|partition| partition.lag).sum();
        if lag > 0 {
            return Err(Failure::Check(format!("{lag} of {records} records are not finished")));
        }
        operations += records;
    }
    Ok(Sample { operations, bytes: 0, elapsed: begin.elapsed(), latency: Latency::new() })
}

/// The same without a group.
fn consume(engine: &Engine, topic: &Topic, records: u64, duration: Duration) -> Result<Sample> {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    let (begin, deadline) = (Instant::now(), Deadline::after(duration));
    let mut operations = 0;
    while !deadline.is_over() {
        consumer.assign_all(topic, Start::Beginning)?;
        let mut read = 0;
        while read < records {
            for record in &consumer.poll(Duration::from_secs(10))? {
                black_box(record.value().map(<[u8]>::len));
                read += 1;
            }
        }
        operations += read;
    }
    Ok(Sample { operations, bytes: 0, elapsed: begin.elapsed(), latency: Latency::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane::{Record, TopicOptions};

    #[test]
    fn members_finish_everything_in_each_round() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(directory.path().join("shared"), Options::new()).unwrap();
        let topic = engine.create_topic("bench", TopicOptions::new().partitions(2)).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for turn in 0..500 {
            drop(producer.send(&topic, Record::new(b"value").partition(turn % 2)).unwrap());
        }
        producer.flush().unwrap();
        engine.create_group("bench", GroupOptions::shared().topic("bench", Start::Beginning)).unwrap();
        let done = share(&engine, &topic, 500, 3, Duration::from_millis(20)).unwrap();
        assert!(done.operations >= 500 && done.operations.is_multiple_of(500), "{}", done.operations);
        engine.close().unwrap();
    }
}
