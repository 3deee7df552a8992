//! One producer that sends as fast as it goes, and what the better raw blocks for it are.

use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::measure::{Latency, Sample, median_of};
use crate::bench::noise::Values;
use crate::bench::setup::{Setup, raw, wait_for_rest};
use crate::failure::Result;
use ringlane::{Engine, Options, Producer, ProducerOptions, Record, Topic};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Every so many records one has its receipt timed.
const PROBE_RECORDS: u64 = 1024;

/// An engine in its steady state: a pool of recycled segments, as they are left by records that were
/// kept for a time. It is filled by writing topics and deleting them.
pub fn settled_engine(setup: &Setup, name: &str) -> Result<Engine> {
    settled_engine_with(setup, name, Options::new())
}

/// The same with options of its own.
pub fn settled_engine_with(setup: &Setup, name: &str, options: Options) -> Result<Engine> {
    let engine = setup.engine(name, options.segments_recycled_max(64))?;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    let records = records_of_a_slice(setup);
    // Twice what a slice needs: segments become free only some checkpoints after their topic is deleted.
    // One more into what was recycled: the log was growing until then.
    for pool in [2, 1] {
        for part in 0..pool {
            let topic = engine.create_topic(&format!("pool-{part}"), setup.topic_options())?;
            send(setup, &producer, &topic, &mut values, records)?;
        }
        recycle(&engine)?;
    }
    Ok(engine)
}

/// The same, with a topic of one partition for each lane.
pub fn settled_engine_and_topic(setup: &Setup, name: &str) -> Result<(Engine, Topic)> {
    let engine = settled_engine(setup, name)?;
    let topic = engine.create_topic("bench", setup.topic_options())?;
    Ok((engine, topic))
}

/// Deletes all topics; their segments go into the pool.
pub fn recycle(engine: &Engine) -> Result {
    for topic in engine.topics() {
        engine.delete_topic(topic.name())?;
    }
    wait_for_rest(engine);
    Ok(())
}

/// Sends `records`; the time ends when all of them are durable. The latency is that of single records
/// among the others, from the call to the receipt.
pub fn send(setup: &Setup, producer: &Producer, topic: &Topic, values: &mut Values, records: u64) -> Result<Sample> {
    let latency = Arc::new(Mutex::new(Latency::new()));
    let begin = Instant::now();
    let mut sent = 0;
    let mut places = Vec::with_capacity(setup.batch);
    let mut batch = Vec::with_capacity(setup.batch);
    while sent < records {
        let until = records.min(sent + PROBE_RECORDS);
        probe(producer, topic, values.take(), &latency)?;
        sent += 1;
        if setup.batch == 1 {
            while sent < until {
                drop(producer.send(topic, Record::new(values.take()))?);
                sent += 1;
            }
        }
        while sent < until {
            places.clear();
            places.extend((0..(until - sent).min(setup.batch as u64)).map(|_| values.step()));
            batch.clear();
            batch.extend(places.iter().map(|&place| Record::new(values.at(place))));
            drop(producer.send_batch(topic, &batch)?);
            sent += batch.len() as u64;
            batch = emptied(batch);
        }
    }
    producer.flush()?;
    let elapsed = begin.elapsed();
    // Receipts come on the engine's own thread and may be a moment behind the flush.
    let latency = taken(&latency, records.div_ceil(PROBE_RECORDS));
    Ok(Sample { operations: records, bytes: 0, elapsed, latency })
}

/// An empty vector with the memory of another, whose borrows have ended.
fn emptied<'a>(mut batch: Vec<Record<'_>>) -> Vec<Record<'a>> {
    batch.clear();
    batch.into_iter().map(|_| Record::default()).collect()
}

fn probe(producer: &Producer, topic: &Topic, value: &[u8], latency: &Arc<Mutex<Latency>>) -> Result {
    let latency = latency.clone();
    let started = Instant::now();
    producer.send(topic, Record::new(value))?.on_complete(move |receipt| {
        if receipt.is_ok() {
            let taken = started.elapsed();
            latency.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).record(taken);
        }
    });
    Ok(())
}

fn taken(latency: &Mutex<Latency>, expected: u64) -> Latency {
    let start = Instant::now();
    loop {
        let mut taken = latency.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if taken.count() >= expected || start.elapsed() > Duration::from_secs(10) {
            return std::mem::replace(&mut taken, Latency::new());
        }
        drop(taken);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many records fill a slice's share of the log.
pub fn records_of_a_slice(setup: &Setup) -> u64 {
    (setup.log_bytes / setup.record_log_bytes() as u64).max(1)
}

/// The better of several block sizes and depths, measured once; with its name.
pub fn better_blocks(
    file: &RawFile,
    what: Operation,
    choices: &[(usize, usize)],
    bytes: u64,
) -> Result<(usize, usize)> {
    let mut best = ((4096, 1), 0.0);
    for &(block_bytes, depth) in choices {
        let mut samples = Vec::new();
        for _ in 0..3 {
            samples.push(limit::blocks(file, what, block_bytes, depth, Amount::Bytes(bytes)).map_err(raw)?);
        }
        let rate = median_of(&samples, |sample| Some(sample.bytes_per_s())).unwrap_or(0.0);
        if rate > best.1 {
            best = ((block_bytes, depth), rate);
        }
    }
    Ok(best.0)
}
