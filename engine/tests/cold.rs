//! Reading from files, ahead and with several reads in flight: whatever a consumer does in between, it gets
//! the records that were acknowledged.

#![allow(clippy::unwrap_used)]

mod common;

use common::storage::{is_segment, open_faulty};
use common::{assert_says, backends, directory, drain, name_of, read_from, small};
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const PARTITIONS: u32 = 40;
const RECORDS: u64 = 400;

/// What stands at an offset. Sizes differ by partition: some hop from page to page, one is large.
fn value(partition: u32, offset: u64) -> Vec<u8> {
    let length = match partition {
        0 => 4_000 + offset as usize % 300,
        1 if offset % 50 == 7 => 200_000,
        _ => 20 + (offset as usize * 7 + partition as usize) % 500,
    };
    (0..length).map(|at| (at as u64 * 31 + offset * 7 + u64::from(partition)) as u8).collect()
}

/// A log of several segments with interleaved partitions; every tenth round of partition 2 is delayed, so
/// that it is published by reference. Returns what each partition holds.
fn write(path: &Path, options: Options) -> BTreeMap<u32, Vec<Vec<u8>>> {
    let engine = Engine::open(path, options).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(PARTITIONS)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for offset in 0..RECORDS {
        let mut last = None;
        for partition in 0..PARTITIONS {
            let bytes = value(partition, offset);
            let mut record = Record::new(&bytes).partition(partition);
            if partition == 2 && offset % 10 == 0 {
                record = record.visible_after(Duration::from_millis(1));
            }
            last = Some(producer.send(&topic, record).unwrap());
        }
        last.unwrap().wait().unwrap();
    }
    let held = (0..PARTITIONS).map(|partition| {
        let values = || read_from(&engine, &topic, partition, Start::Beginning);
        let mut all = values();
        while all.len() < RECORDS as usize {
            std::thread::yield_now();
            all = values();
        }
        (partition, all.into_iter().map(|(_, value)| value).collect())
    });
    let held: BTreeMap<u32, Vec<Vec<u8>>> = held.collect();
    for (&partition, values) in held.iter().filter(|(partition, _)| **partition != 2) {
        assert!((0..).zip(values).all(|(offset, got)| *got == value(partition, offset)));
    }
    engine.close().unwrap();
    held
}

/// A small generator: the same cases in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Polls, seeks, assigns, unassigns and drops at random, with reads in flight, and reads that fail in
/// between. Every record must be the one that belongs there, each partition's offsets without a gap.
fn wander(engine: &Engine, held: &BTreeMap<u32, Vec<Vec<u8>>>, faults: Option<&Faults>, seed: u64) {
    let topic = engine.topic("t").unwrap();
    let mut dice = Dice(seed);
    for _ in 0..6 {
        let bytes_max = [64 << 10, 256 << 10, 4 << 20][dice.roll(3) as usize];
        let options =
            ConsumerOptions::new().max_poll_records(1 + dice.roll(400) as usize).read_ahead_bytes_max(bytes_max);
        let mut consumer = engine.consumer(options).unwrap();
        let mut next: BTreeMap<u32, u64> = BTreeMap::new();
        for _ in 0..60 {
            match dice.roll(8) {
                0 | 1 => {
                    let (partition, offset) = (dice.roll(u64::from(PARTITIONS)) as u32, dice.roll(RECORDS));
                    consumer.assign(&topic, partition, Start::Offset(offset)).unwrap();
                    next.insert(partition, offset);
                }
                2 => {
                    let partition = dice.roll(u64::from(PARTITIONS)) as u32;
                    consumer.unassign(&topic, partition);
                    next.remove(&partition);
                }
                3 if faults.is_some() => {
                    let fault = Fault::new(Operation::Read, Effect::Fail(libc::EIO)).nth(1 + dice.roll(6));
                    faults.unwrap().arm(fault.on(is_segment).times(1 + dice.roll(3)));
                }
                _ => {
                    let at_the_end = next.values().all(|&offset| offset == RECORDS);
                    let records = match consumer.poll(Duration::ZERO) {
                        Ok(records) => records,
                        Err(error) => {
                            assert!(faults.is_some(), "{error}");
                            assert_says(&error, "io", &["read", "segment-"]);
                            faults.unwrap().disarm();
                            continue;
                        }
                    };
                    for record in &records {
                        let expected = next.get_mut(&record.partition()).expect("assigned");
                        assert_eq!(record.offset(), *expected, "partition {}", record.partition());
                        let held = &held[&record.partition()][*expected as usize];
                        assert_eq!(record.value(), Some(&held[..]));
                        *expected += 1;
                    }
                    // A single run may be larger than the bound.
                    let held_bytes = engine.stats().read_ahead_bytes as usize;
                    assert!(held_bytes <= bytes_max.max(208 << 10), "{held_bytes} of {bytes_max} bytes");
                    assert_eq!(records.is_empty(), at_the_end, "an empty poll means the end, and nothing else");
                }
            }
        }
        if let Some(faults) = faults {
            faults.disarm();
        }
    }
    assert_eq!(engine.stats().read_ahead_bytes, 0, "nothing is held for consumers that are gone");
}

#[test]
fn a_wandering_consumer_gets_what_was_written() {
    for backend in backends() {
        let directory = directory();
        let options = small().backend(backend);
        let held = write(directory.path(), options.clone());
        let engine = Engine::open(directory.path(), options.clone()).unwrap();
        for seed in 0..20 {
            wander(&engine, &held, None, seed);
        }
        let stats = engine.stats();
        assert!(stats.cold_reads > 0 && stats.cold_read_bytes > 0, "{}: files were read", name_of(backend));
        engine.close().unwrap();
        drop(engine);

        let faults = Faults::new();
        let engine = open_faulty(directory.path(), options, &faults).unwrap();
        for seed in 0..20 {
            wander(&engine, &held, Some(&faults), seed);
        }
        assert!(faults.hits() > 20, "{}: reads failed in between", name_of(backend));
    }
}

/// One consumer of all partitions reads the log once, not once for each partition.
#[test]
fn one_read_serves_all_partitions_of_a_consumer() {
    let directory = directory();
    // As the lane has written it.
    let options = || small().cleaner_bytes_per_second_max(0);
    let held = write(directory.path(), options());
    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.topic("t").unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign_all(&topic, Start::Beginning).unwrap();
    let mut counts = BTreeMap::new();
    loop {
        let records = consumer.poll(Duration::ZERO).unwrap();
        if records.is_empty() {
            break;
        }
        for record in &records {
            let count = counts.entry(record.partition()).or_insert(0u64);
            assert_eq!(record.offset(), *count);
            assert_eq!(record.value(), Some(&held[&record.partition()][*count as usize][..]));
            *count += 1;
        }
    }
    assert!(counts.len() == PARTITIONS as usize && counts.values().all(|&count| count == RECORDS));
    let log_bytes = engine.stats().disk_bytes;
    let read = engine.stats().cold_read_bytes;
    assert!(read < 2 * log_bytes, "{read} bytes were read of a log of {log_bytes}");
}

/// The read ahead meets a bad place that the first records do not need. They come; then the error names
/// file and offset; and when the place can be read again, the rest comes.
#[test]
fn a_read_ahead_that_fails_harms_nobody_who_does_not_need_it() {
    for backend in backends() {
        let directory = directory();
        let options = small().backend(backend);
        write(directory.path(), options.clone());
        let faults = Faults::new();
        let engine = open_faulty(directory.path(), options, &faults).unwrap();
        let topic = engine.topic("t").unwrap();
        let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
        consumer.assign(&topic, 0, Start::Beginning).unwrap();
        faults.arm(Fault::new(Operation::Read, Effect::Fail(libc::EIO)).on(is_segment).nth(4).forever());
        let mut got = 0;
        let error = loop {
            match consumer.poll(Duration::ZERO) {
                Ok(records) => got += records.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(got > 0 && got < RECORDS, "{}: {got} records came first", name_of(backend));
        assert_says(&error, "io", &["read", "segment-", "at byte"]);
        assert_eq!(consumer.position(&topic, 0), Some(got));
        faults.disarm();
        let rest = drain(&mut consumer);
        assert_eq!(rest.len() as u64, RECORDS - got);
        assert!(rest.iter().all(|(offset, bytes)| *bytes == value(0, *offset)));
    }
}

/// A topic goes away while its records are being read ahead. Its segments are used again only when no read
/// is under way, and the consumer is told.
#[test]
fn a_topic_that_is_deleted_below_a_read_ahead_is_told_and_its_segments_are_used_again() {
    for backend in backends() {
        let directory = directory();
        let options = small().backend(backend);
        let held = write(directory.path(), options.clone());
        let engine = Engine::open(directory.path(), options).unwrap();
        let topic = engine.topic("t").unwrap();
        let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(1)).unwrap();
        consumer.assign_all(&topic, Start::Beginning).unwrap();
        assert_eq!(consumer.poll(Duration::ZERO).unwrap().len(), 1);
        engine.delete_topic("t").unwrap();
        let other = engine.create_topic("other", TopicOptions::new()).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for (_, values) in held {
            for value in values {
                drop(producer.send(&other, Record::new(&value)).unwrap());
            }
        }
        producer.flush().unwrap();
        assert_says(&consumer.poll(Duration::ZERO).unwrap_err(), "topic-deleted", &["t"]);
        for partition in 0..PARTITIONS {
            consumer.unassign(&topic, partition);
        }
        consumer.assign(&other, 0, Start::Beginning).unwrap();
        assert_eq!(drain(&mut consumer).len() as u64, RECORDS * u64::from(PARTITIONS));
    }
}

/// A consumer may move to another thread with reads under way, also when the thread that began them is
/// gone: the kernel may then cancel them.
#[test]
fn a_consumer_moves_between_threads_that_end() {
    let directory = directory();
    write(directory.path(), small());
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.topic("t").unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(30)).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    let mut next = 0;
    while next < RECORDS {
        let (back, records) = std::thread::spawn(move || {
            let records = consumer.poll(Duration::from_secs(10)).unwrap();
            (consumer, records)
        })
        .join()
        .unwrap();
        consumer = back;
        for record in &records {
            assert_eq!((record.offset(), record.value()), (next, Some(&value(0, next)[..])));
            next += 1;
        }
    }
}

/// A child of fork has the consumer's memory, but no part of its ring. It is told so, and dropping the
/// consumer there neither waits nor touches what the parent's kernel requests write into.
#[test]
fn a_child_of_fork_leaves_the_reads_alone() {
    let directory = directory();
    write(directory.path(), small());
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.topic("t").unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(3)).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    let mut got = consumer.poll(Duration::ZERO).unwrap().len() as u64;
    // SAFETY: the child uses the consumer, which must work in a child, and exits.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let told = consumer.poll(Duration::ZERO).is_err();
            drop(consumer);
            libc::_exit(i32::from(!told));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0, "told, and ended by itself");
    }
    got += drain(&mut consumer).len() as u64;
    assert_eq!(got, RECORDS);
}
