//! Transactions: one of ten records in three partitions against a lone record, in one lane and over two; and what
//! 10,000 that are prepared cost everybody else.
//!
//! Both parts take turns: a slice of lone records, one of transactions, one of transactions over two lanes; then
//! producing and consuming without and with transactions that wait.

use super::{feed, lone};
use crate::bench::measure::{Deadline, Latency, Sample};
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row, Waiting};
use crate::bench::setup::{EngineSlice, Setup, log_bytes_per_record, measure, wait_for_rest};
use crate::failure::{Failure, Result};
use ringlane::{
    Consumer, ConsumerOptions, Engine, Options, Producer, ProducerOptions, Record, Start, Topic, TopicOptions,
    Transaction, TransactionOptions,
};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Records of a transaction.
const RECORDS: usize = 10;
/// Partitions that they are for.
const PARTITIONS: usize = 3;
/// Transactions that are prepared at once.
const PREPARED: usize = 10_000;
/// Threads that prepare them.
const PREPARERS: usize = 64;
/// Small writes need no larger pool of recycled segments.
const POOL_BYTES_MAX: u64 = 128 << 20;
/// What is read again and again, from memory.
const TAIL_BYTES: u64 = 64 << 20;

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("txn");
    let [lone, one, two] = commits(setup)?;
    setup.announce("txn-prepared");
    let [bulk, tail] = beside_prepared(setup)?;
    let against = |name, slices: &[EngineSlice], without: &[EngineSlice], log_bytes| {
        let limits: Vec<&Sample> = without.iter().map(|slice| &slice.sample).collect();
        let limit = Limit::of_operations(&limits, 1.0, log_bytes);
        Row::of_engine(name, slices, setup.record_bytes, log_bytes).with_limit(limit)
    };
    let of_commits =
        |name, slices: &[EngineSlice]| against(name, slices, &lone, log_bytes_per_record(slices)).with_latency_ratio();
    let (one, two) = (of_commits("txn", &one), of_commits("txn-lanes", &two));
    let log_bytes = log_bytes_per_record(&bulk[0]);
    let bulk = against("txn-bulk", &bulk[1], &bulk[0], log_bytes);
    let tail = against("txn-tail", &tail[1], &tail[0], log_bytes);
    let waiting = Waiting { lanes_ratio: two.ratio, prepared_bulk_ratio: bulk.ratio, prepared_tail_ratio: tail.ratio };
    report.row(one.with_waiting(waiting), "a lone record in the same lane; p50 over p50")?;
    report.row(two, "a lone record in one lane; p50 over p50")?;
    report.row(bulk, "the same without 10,000 prepared transactions")?;
    report.row(tail, "the same without 10,000 prepared transactions")
}

/// Slices of lone records, of transactions in one lane, and of transactions over two.
fn commits(setup: &Setup) -> Result<[Vec<EngineSlice>; 3]> {
    let one = Setup { log_bytes: setup.log_bytes.min(POOL_BYTES_MAX), ..setup.clone() };
    let two = Setup { lanes: Some(setup.lanes.unwrap_or(1).max(2)), ..one.clone() };
    let mut sides = [Side::new(&one, "txn", 1)?, Side::new(&two, "txn-lanes", 2)?];
    let mut slices = [Vec::new(), Vec::new(), Vec::new()];
    let mut values = Values::new(setup.record_bytes);
    for turn in 0..=setup.slices {
        // The first turn warms all of them up.
        let duration = if turn == 0 { setup.slice / 4 } else { setup.slice };
        for (side, is_lone, kind) in [(0, true, 0), (0, false, 1), (1, false, 2)] {
            sides.iter().for_each(|side| wait_for_rest(&side.engine));
            let Side { engine, topic, producer, partitions } = &mut sides[side];
            let slice = measure(engine, || match is_lone {
                true => lone::send(producer, topic, &mut values, duration),
                false => commit(producer, topic, *partitions, &mut values, duration),
            })?;
            if turn > 0 {
                slices[kind].push(slice);
            }
        }
    }
    let [first, second] = sides;
    first.end(&one)?;
    second.end(&two)?;
    Ok(slices)
}

/// An engine that commits transactions.
struct Side {
    engine: Engine,
    topic: Topic,
    producer: Producer,
    /// Those of a transaction.
    partitions: [u32; PARTITIONS],
}

impl Side {
    /// One whose transactions are spread over so many lanes.
    fn new(setup: &Setup, name: &str, lanes: u32) -> Result<Side> {
        let engine = feed::settled_engine(setup, name)?;
        let topic = engine.create_topic("bench", several(setup))?;
        let partitions = choose(&topic, lanes)?;
        let producer = engine.producer(ProducerOptions::new())?;
        Ok(Side { engine, topic, producer, partitions })
    }

    fn end(self, setup: &Setup) -> Result {
        let Side { engine, topic, producer, .. } = self;
        drop((topic, producer));
        setup.remove(engine)
    }
}

/// So many partitions that each lane has enough for a transaction.
fn several(setup: &Setup) -> TopicOptions {
    TopicOptions::new().partitions(setup.lanes.unwrap_or(1) * PARTITIONS as u32)
}

/// Partitions of this many lanes, in turn.
fn choose(topic: &Topic, lanes: u32) -> Result<[u32; PARTITIONS]> {
    let mut chosen = Vec::new();
    let mut infos = Vec::new();
    for partition in 0..topic.partitions() {
        infos.push(topic.partition_info(partition)?);
    }
    for turn in 0..PARTITIONS as u32 {
        let is_next = |partition: u32, lane: u32| lane == turn % lanes && !chosen.contains(&partition);
        let found = infos.iter().map(|info| (info.partition, info.lane)).find(|(at, lane)| is_next(*at, *lane));
        let (partition, _) = found.ok_or_else(|| Failure::Check(format!("lane {turn} has no partition")))?;
        chosen.push(partition);
    }
    Ok(chosen.try_into().expect("as many as were asked for"))
}

/// Begins a transaction and sends its records.
fn fill(producer: &Producer, topic: &Topic, partitions: [u32; PARTITIONS], values: &mut Values) -> Result<Transaction> {
    let mut transaction = producer.begin(TransactionOptions::new())?;
    for partition in partitions.into_iter().cycle().take(RECORDS) {
        transaction.send(topic, Record::new(values.take()).partition(partition))?;
    }
    Ok(transaction)
}

/// Commits one transaction after the other; the latency is that of each, from its beginning to its commit.
fn commit(
    producer: &Producer,
    topic: &Topic,
    partitions: [u32; PARTITIONS],
    values: &mut Values,
    duration: Duration,
) -> Result<Sample> {
    let mut latency = Latency::new();
    let begin = Instant::now();
    let deadline = Deadline::after(duration);
    let mut started = begin;
    while !deadline.is_over() {
        fill(producer, topic, partitions, values)?.commit()?;
        let ended = Instant::now();
        latency.record(ended - started);
        started = ended;
    }
    let operations = latency.count() * RECORDS as u64;
    Ok(Sample { operations, bytes: 0, elapsed: begin.elapsed(), latency })
}

/// Slices of producing and of consuming, each without and with transactions that are prepared.
fn beside_prepared(setup: &Setup) -> Result<[[Vec<EngineSlice>; 2]; 2]> {
    let options = || Options::new().tail_cache_bytes(4 * TAIL_BYTES);
    let engines = [
        feed::settled_engine_with(setup, "txn-without", options())?,
        feed::settled_engine_with(setup, "txn-with", options())?,
    ];
    let waiting = prepare(setup, &engines[1])?;
    let (mut bulk, mut tail) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut values = Values::new(setup.record_bytes);
    for turn in 0..setup.slices {
        for (side, engine) in engines.iter().enumerate() {
            engines.iter().for_each(wait_for_rest);
            let topic = engine.create_topic(&format!("bulk-{turn}"), setup.topic_options())?;
            let producer = engine.producer(ProducerOptions::new())?;
            let records = feed::records_of_a_slice(setup);
            bulk[side].push(measure(engine, || feed::send(setup, &producer, &topic, &mut values, records))?);
            tail[side].push(measure(engine, || consume(setup, engine, &topic))?);
            engine.delete_topic(topic.name())?;
        }
    }
    if waiting.len() != PREPARED || engines[1].stats().transactions.prepared != PREPARED as u64 {
        return Err(Failure::Check(format!("only {} transactions are prepared", waiting.len())));
    }
    drop(waiting);
    engines.into_iter().try_for_each(|engine| setup.remove(engine))?;
    Ok([bulk, tail])
}

/// Prepares transactions, from many threads at once, and leaves them undecided.
fn prepare(setup: &Setup, engine: &Engine) -> Result<Vec<Transaction>> {
    let topic = engine.create_topic("half", several(setup))?;
    let partitions = choose(&topic, 1)?;
    let producer = engine.producer(ProducerOptions::new())?;
    let work = |share: usize| -> Result<Vec<Transaction>> {
        let mut values = Values::new(setup.record_bytes);
        let mut prepared = Vec::with_capacity(share);
        for _ in 0..share {
            let mut transaction = fill(&producer, &topic, partitions, &mut values)?;
            transaction.prepare()?;
            prepared.push(transaction);
        }
        Ok(prepared)
    };
    std::thread::scope(|scope| {
        let share = |number: usize| (PREPARED + number) / PREPARERS;
        let workers: Vec<_> = (0..PREPARERS).map(|number| scope.spawn(move || work(share(number)))).collect();
        let mut prepared = Vec::with_capacity(PREPARED);
        for worker in workers {
            prepared.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(prepared)
    })
}

/// Reads the last records of the topic, over and over.
fn consume(setup: &Setup, engine: &Engine, topic: &Topic) -> Result<Sample> {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    let share = TAIL_BYTES / setup.record_log_bytes() as u64 / u64::from(topic.partitions());
    let (begin, deadline) = (Instant::now(), Deadline::after(setup.slice));
    let mut operations = 0;
    while !deadline.is_over() {
        operations += read_end(&mut consumer, topic, share)?;
    }
    Ok(Sample { operations, bytes: 0, elapsed: begin.elapsed(), latency: Latency::new() })
}

/// Reads the last `share` records of each partition, and says how many there were.
fn read_end(consumer: &mut Consumer, topic: &Topic, share: u64) -> Result<u64> {
    let mut wanted = 0;
    for partition in 0..topic.partitions() {
        let info = topic.partition_info(partition)?;
        let from = info.next_offset.saturating_sub(share).max(info.first_offset);
        consumer.assign(topic, partition, Start::Offset(from))?;
        wanted += info.next_offset - from;
    }
    let mut read = 0;
    while read < wanted {
        let batch = consumer.poll(Duration::from_secs(10))?;
        if batch.is_empty() {
            return Err(Failure::Check(format!("only {read} of {wanted} records came back")));
        }
        for record in &batch {
            black_box(record.value().map(<[u8]>::len));
            read += 1;
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(path: &std::path::Path, lanes: u32) -> (Engine, Topic) {
        let engine = Engine::open(path, Options::new().lanes(Some(lanes))).unwrap();
        let topic = engine.create_topic("bench", TopicOptions::new().partitions(lanes * 3)).unwrap();
        (engine, topic)
    }

    #[test]
    fn a_transaction_is_in_as_many_lanes_as_it_should_be() {
        for (lanes, over) in [(1, 1), (2, 1), (2, 2), (3, 2)] {
            let directory = tempfile::tempdir().unwrap();
            let (engine, topic) = engine(directory.path(), lanes);
            let partitions = choose(&topic, over).unwrap();
            let mut used: Vec<u32> =
                partitions.iter().map(|partition| topic.partition_info(*partition).unwrap().lane).collect();
            used.sort_unstable();
            used.dedup();
            assert_eq!(used.len(), over as usize, "{partitions:?} of {lanes}");
            engine.close().unwrap();
        }
    }

    #[test]
    fn what_was_committed_is_there_and_the_end_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let (engine, topic) = engine(directory.path(), 2);
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        let partitions = choose(&topic, 2).unwrap();
        let mut values = Values::new(100);
        let done = commit(&producer, &topic, partitions, &mut values, Duration::from_millis(20)).unwrap();
        assert!(done.operations > 0 && done.operations == done.latency.count() * 10);
        engine.sync().unwrap();
        let committed = engine.stats().transactions.committed;
        assert_eq!(committed * 10, done.operations);
        let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
        assert_eq!(read_end(&mut consumer, &topic, u64::MAX).unwrap(), done.operations);
        assert_eq!(read_end(&mut consumer, &topic, 2).unwrap(), 6, "three partitions have records");
        engine.close().unwrap();
    }
}
