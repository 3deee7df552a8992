//! One synchronous sender, alone or beside threads that keep every core busy.

use super::feed;
use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::measure::{Deadline, Latency, Sample, cpu_time_of_thread};
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row, in_words};
use crate::bench::setup::{Setup, log_bytes_per_record, measure, raw, wait_for_rest};
use crate::failure::Result;
use ringlane::{Producer, ProducerOptions, Record, Topic};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Measures it. The limit is always measured idle.
pub fn run(setup: &Setup, report: &mut Report, busy: bool) -> Result {
    let workload = if busy { "busy" } else { "lone" };
    setup.announce(workload);
    let file = RawFile::prepared(&setup.directory, 64 << 20).map_err(raw)?;
    let (engine, topic) = feed::settled_engine_and_topic(setup, workload)?;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    // Warm-up of both sides.
    limit::blocks(&file, Operation::DurableWrite, 4096, 1, Amount::Time(setup.slice / 4)).map_err(raw)?;
    spinning(busy, || send(&producer, &topic, &mut values, setup.slice / 4)).0?;
    let (mut limits, mut slices) = (Vec::new(), Vec::new());
    for _ in 0..setup.slices {
        wait_for_rest(&engine);
        limits.push(limit::blocks(&file, Operation::DurableWrite, 4096, 1, Amount::Time(setup.slice)).map_err(raw)?);
        let mut spun = Duration::ZERO;
        let mut slice = measure(&engine, || {
            let (sample, time) = spinning(busy, || send(&producer, &topic, &mut values, setup.slice));
            spun = time;
            sample
        })?;
        // What the records cost, not what the noise beside them did.
        slice.usage.cpu_ns = slice.usage.cpu_ns.saturating_sub(spun.as_nanos() as u64);
        slices.push(slice);
    }
    let log_bytes = log_bytes_per_record(&slices);
    let row = Row::of_engine(workload, &slices, setup.record_bytes, log_bytes)
        .with_limit(Limit::of_operations(&limits, 1.0, log_bytes))
        .with_latency_ratio();
    report.row(row, &in_words("raw durable overwrites on idle cores", 4096, 1, &file))?;
    setup.remove(engine)
}

pub(super) fn send(producer: &Producer, topic: &Topic, values: &mut Values, duration: Duration) -> Result<Sample> {
    let mut latency = Latency::new();
    let begin = Instant::now();
    let deadline = Deadline::after(duration);
    let mut started = begin;
    while !deadline.is_over() {
        producer.send(topic, Record::new(values.take()))?.wait()?;
        let ended = Instant::now();
        latency.record(ended - started);
        started = ended;
    }
    Ok(Sample { operations: latency.count(), bytes: 0, elapsed: begin.elapsed(), latency })
}

/// Runs `work`, if wanted beside as many spinning threads as there are cores; with the processor time
/// that those took.
fn spinning<T>(busy: bool, work: impl FnOnce() -> T) -> (T, Duration) {
    let threads = if busy { std::thread::available_parallelism().map_or(1, usize::from) } else { 0 };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let spin = || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            cpu_time_of_thread()
        };
        let spinners: Vec<_> = (0..threads).map(|_| scope.spawn(spin)).collect();
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let times =
            spinners.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (result, times.sum())
    })
}
