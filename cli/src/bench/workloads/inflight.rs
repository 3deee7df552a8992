//! One asynchronous sender that keeps a number of records in flight.

use super::feed;
use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::measure::{Deadline, Latency, Sample};
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row, in_words};
use crate::bench::setup::{Setup, log_bytes_per_record, measure, raw, wait_for_rest};
use crate::failure::Result;
use ringlane::{Producer, ProducerOptions, Record, SendHandle, Topic};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a frame has besides its records, at most.
const FRAME_BYTES: usize = 256;

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("inflight");
    let file = RawFile::prepared(&setup.directory, 64 << 20).map_err(raw)?;
    let (engine, topic) = feed::settled_engine_and_topic(setup, "inflight")?;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    // The write that the records in flight need if they go together.
    let block_bytes = (setup.depth * setup.record_log_bytes() + FRAME_BYTES).next_multiple_of(4096);
    let raw_slice =
        |duration| limit::blocks(&file, Operation::DurableWrite, block_bytes, 1, Amount::Time(duration)).map_err(raw);
    raw_slice(setup.slice / 4)?;
    send(setup, &producer, &topic, &mut values, setup.slice / 4)?;
    let (mut limits, mut slices) = (Vec::new(), Vec::new());
    for _ in 0..setup.slices {
        wait_for_rest(&engine);
        limits.push(raw_slice(setup.slice)?);
        slices.push(measure(&engine, || send(setup, &producer, &topic, &mut values, setup.slice))?);
    }
    let log_bytes = log_bytes_per_record(&slices);
    let row = Row::of_engine("inflight", &slices, setup.record_bytes, log_bytes).with_limit(Limit::of_operations(
        &limits,
        setup.depth as f64,
        log_bytes,
    ));
    let words = format!("{} records in each raw durable overwrite", setup.depth);
    report.row(row, &in_words(&words, block_bytes, 1, &file))?;
    setup.remove(engine)
}

/// Sends when the oldest record in flight is durable, and then as many as have become durable with it.
/// The clock is read once before a burst is sent and once after it came back: 64 records are sent in
/// less time than 128 looks at the clock and into the histogram would take.
fn send(setup: &Setup, producer: &Producer, topic: &Topic, values: &mut Values, duration: Duration) -> Result<Sample> {
    let mut latency = Latency::new();
    let mut in_flight: VecDeque<(Instant, SendHandle)> = VecDeque::with_capacity(setup.depth);
    let mut returned: Vec<(Instant, u64)> = Vec::new();
    let begin = Instant::now();
    let deadline = Deadline::after(duration);
    let mut now = begin;
    while let Some((started, handle)) = {
        while in_flight.len() < setup.depth && !deadline.is_over_at(now) {
            in_flight.push_back((now, producer.send(topic, Record::new(values.take()))?));
        }
        in_flight.pop_front()
    } {
        handle.wait()?;
        now = Instant::now();
        returned.push((started, 1));
        while in_flight.front().is_some_and(|(_, handle)| handle.is_done()) {
            let (started, handle) = in_flight.pop_front().expect("it was just seen");
            handle.wait()?;
            match returned.last_mut() {
                Some((same, count)) if *same == started => *count += 1,
                _ => returned.push((started, 1)),
            }
        }
        for (started, count) in returned.drain(..) {
            latency.record_many(now.duration_since(started), count);
        }
    }
    Ok(Sample { operations: latency.count(), bytes: 0, elapsed: begin.elapsed(), latency })
}
