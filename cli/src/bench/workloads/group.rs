//! Many blocking senders with one producer.

use super::feed;
use crate::bench::limit::{self, RawFile};
use crate::bench::measure::{Deadline, Latency, Sample};
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row};
use crate::bench::setup::{Setup, log_bytes_per_record, measure, raw, wait_for_rest};
use crate::failure::Result;
use ringlane::{Producer, ProducerOptions, Record, Topic};
use std::time::{Duration, Instant};

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("group");
    let file = RawFile::prepared(&setup.directory, 64 << 20).map_err(raw)?;
    let (engine, topic) = feed::settled_engine_and_topic(setup, "group")?;
    let producer = engine.producer(ProducerOptions::new())?;
    // The limit's records are as large as the engine's, without frames.
    let bytes = setup.record_log_bytes();
    let raw_slice = |duration| limit::fed_by_threads(&file, setup.depth, bytes, duration).map_err(raw);
    raw_slice(setup.slice / 4)?;
    send(setup, &producer, &topic, setup.slice / 4)?;
    let (mut limits, mut slices) = (Vec::new(), Vec::new());
    for _ in 0..setup.slices {
        wait_for_rest(&engine);
        limits.push(raw_slice(setup.slice)?);
        slices.push(measure(&engine, || send(setup, &producer, &topic, setup.slice))?);
    }
    let log_bytes = log_bytes_per_record(&slices);
    let row = Row::of_engine("group", &slices, setup.record_bytes, log_bytes)
        .with_limit(Limit::of_operations(&limits, 1.0, log_bytes));
    report.row(row, &format!("a raw writer fed by {} blocking threads", setup.depth))?;
    setup.remove(engine)
}

fn send(setup: &Setup, producer: &Producer, topic: &Topic, duration: Duration) -> Result<Sample> {
    let begin = Instant::now();
    let deadline = Deadline::after(duration);
    let sender = || -> Result<Latency> {
        let mut values = Values::new(setup.record_bytes);
        let mut latency = Latency::new();
        while !deadline.is_over() {
            let started = Instant::now();
            producer.send(topic, Record::new(values.take()))?.wait()?;
            latency.record(started.elapsed());
        }
        Ok(latency)
    };
    let latency = std::thread::scope(|scope| -> Result<Latency> {
        let senders: Vec<_> = (0..setup.depth).map(|_| scope.spawn(sender)).collect();
        let mut all = Latency::new();
        for sender in senders {
            all.add(&sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })?;
    Ok(Sample { operations: latency.count(), bytes: 0, elapsed: begin.elapsed(), latency })
}
