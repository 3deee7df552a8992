//! Retention: what is given up, when, what is kept all the same, and what who comes late is told.

#![allow(clippy::unwrap_used)]

mod common;

use common::clock::{MovedClock, open};
use common::watchdog::watchdog;
use common::{backends, directory, drain, read_from, small, wait_until};
use ringlane::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const HOUR_MS: i64 = 3_600_000;

/// An engine with a topic `t` that keeps so much, and a producer.
fn bounded(path: &Path, clock: &Arc<MovedClock>, partitions: u32, retention: Retention) -> (Engine, Topic, Producer) {
    let engine = open(path, small(), clock);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(partitions).retention(retention)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    (engine, topic, producer)
}

/// Sends records of 1 KiB, numbered, until the log has grown by so many bytes; returns how many.
fn fill(producer: &Producer, topic: &Topic, partition: u32, from: u64, bytes: u64) -> u64 {
    let count = bytes / 1024;
    let mut handles = Vec::new();
    for number in from..from + count {
        let mut value = vec![7u8; 1000];
        value[..8].copy_from_slice(&number.to_le_bytes());
        handles.push(producer.send(topic, Record::new(&value).partition(partition)).unwrap());
    }
    handles.into_iter().for_each(|handle| drop(handle.wait().unwrap()));
    count
}

/// What is there is the end of what was sent, each once, in order; returns the first number.
fn check_end(engine: &Engine, topic: &Topic, partition: u32, sent: u64) -> u64 {
    // Until nothing more goes.
    let first_offset = || topic.partition_info(partition).unwrap().first_offset;
    let mut first = first_offset();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let before = std::mem::replace(&mut first, first_offset());
        if before == first {
            break;
        }
    }
    let records = read_from(engine, topic, partition, Start::Beginning);
    let numbers: Vec<u64> =
        records.iter().map(|(_, value)| u64::from_le_bytes(value[..8].try_into().unwrap())).collect();
    assert_eq!(numbers, (first..sent).collect::<Vec<_>>());
    first
}

fn sealed(path: &Path) -> usize {
    inspect(path).unwrap().segments.iter().filter(|segment| segment.state == "sealed").count()
}

#[test]
fn deleted_records_are_gone_for_everybody_and_for_ever() {
    for backend in backends() {
        let _watchdog = watchdog(120, "retention");
        let scratch = directory();
        let clock = MovedClock::new();
        let engine = open(scratch.path(), small().backend(backend), &clock);
        let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
        let other = engine.create_topic("other", TopicOptions::new()).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        fill(&producer, &other, 0, 0, 2048);
        let sent = fill(&producer, &topic, 0, 0, 6 * MIB);
        let mut reading = engine.consumer(ConsumerOptions::new().max_poll_records(1)).unwrap();
        reading.assign(&topic, 0, Start::Beginning).unwrap();
        assert_eq!(reading.poll(Duration::ZERO).unwrap().len(), 1);
        assert_eq!(engine.delete_records(&topic, 0, 4000).unwrap(), 4000);
        assert_eq!(engine.delete_records(&topic, 0, 17).unwrap(), 4000, "nothing comes back");
        assert_eq!(check_end(&engine, &topic, 0, sent), 4000);
        let error = loop {
            match reading.poll(Duration::ZERO) {
                Ok(records) => assert!(!records.is_empty()),
                Err(error) => break error,
            }
        };
        let Error::Truncated { to, .. } = error else { panic!("{error}") };
        assert_eq!(to, 4000);
        reading.seek(&topic, 0, Start::Offset(to)).unwrap();
        assert_eq!(reading.poll(Duration::ZERO).unwrap().iter().next().unwrap().offset(), 4000);
        let error = reading.seek(&topic, 0, Start::Offset(3999)).unwrap_err();
        assert!(matches!(error, Error::Truncated { from: 3999, to: 4000, .. }), "{error}");
        // By time: what is left, also where an older record would fit.
        reading.seek(&topic, 0, Start::Timestamp(0)).unwrap();
        assert_eq!(reading.position(&topic, 0), Some(4000));
        assert_eq!(read_from(&engine, &other, 0, Start::Beginning).len(), 2, "they share the segments");
        assert_eq!(engine.delete_records(&topic, 0, u64::MAX).unwrap(), sent, "as far as there is any");
        fill(&producer, &topic, 0, sent, 10 * 1024);
        drop((reading, producer, topic));
        engine.close().unwrap();
        assert!(!verify(scratch.path(), &mut |_| {}).unwrap().is_damaged());
        let engine = open(scratch.path(), small().backend(backend), &clock);
        let topic = engine.topic("t").unwrap();
        assert_eq!(check_end(&engine, &topic, 0, sent + 10), sent);
        assert_eq!(engine.delete_records(&topic, 9, 1).unwrap_err().code(), "invalid-partition");
        engine.delete_topic("t").unwrap();
        assert_eq!(engine.delete_records(&topic, 0, 1).unwrap_err().code(), "topic-deleted");
    }
}

#[test]
fn bytes_are_bounded_for_each_partition_and_the_disk_stays_flat() {
    let _watchdog = watchdog(120, "retention");
    let scratch = directory();
    let clock = MovedClock::new();
    let retention = Retention::new().retention_bytes(3 * MIB);
    let (engine, topic, producer) = bounded(scratch.path(), &clock, 2, retention);
    let (mut sent, mut highest) = (0, 0);
    for _ in 0..40 {
        sent += fill(&producer, &topic, 0, sent, MIB);
        highest = highest.max(engine.stats().disk_bytes);
    }
    fill(&producer, &topic, 1, 0, MIB);
    let in_log = |first: u64| (sent - first) * 1024;
    wait_until("old records go", || in_log(topic.partition_info(0).unwrap().first_offset) < 5 * MIB);
    let first = check_end(&engine, &topic, 0, sent);
    assert!(in_log(first) >= 3 * MIB, "{first} of {sent}");
    assert_eq!(check_end(&engine, &topic, 1, MIB / 1024), 0, "each partition has its own bound");
    wait_until("their segments go", || sealed(scratch.path()) < 12);
    assert!(highest < 25 * MIB, "{highest}: 40 MiB were written");
    engine.close().unwrap();
    // Closed and opened again it goes on.
    let engine = open(scratch.path(), small(), &clock);
    let topic = engine.topic("t").unwrap();
    assert_eq!(topic.retention(), retention);
    assert_eq!(check_end(&engine, &topic, 0, sent), first);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    sent += fill(&producer, &topic, 0, sent, 6 * MIB);
    wait_until("more goes", || in_log_of(&topic, sent) < 5 * MIB);
    // Without a bound nothing goes any more; with a narrower one, more does.
    engine.set_retention("t", Retention::new()).unwrap();
    let first = topic.partition_info(0).unwrap().first_offset;
    sent += fill(&producer, &topic, 0, sent, 8 * MIB);
    assert_eq!(check_end(&engine, &topic, 0, sent), first);
    engine.set_retention("t", Retention::new().retention_bytes(1)).unwrap();
    wait_until("nearly all goes", || in_log_of(&topic, sent) < 2 * MIB);
    check_end(&engine, &topic, 0, sent);
    assert_eq!(engine.set_retention("nobody", retention).unwrap_err().code(), "unknown-topic");
}

fn in_log_of(topic: &Topic, sent: u64) -> u64 {
    (sent - topic.partition_info(0).unwrap().first_offset) * 1024
}

#[test]
fn old_records_go_and_young_ones_stay() {
    let _watchdog = watchdog(120, "retention");
    let scratch = directory();
    let clock = MovedClock::new();
    let retention = Retention::new().retention_ms(HOUR_MS as u64);
    let (engine, topic, producer) = bounded(scratch.path(), &clock, 1, retention);
    let kept = engine.create_topic("kept", TopicOptions::new()).unwrap();
    let mut sent = fill(&producer, &topic, 0, 0, 4 * MIB);
    fill(&producer, &kept, 0, 0, 2048);
    clock.pass(HOUR_MS / 2);
    let young = sent;
    sent += fill(&producer, &topic, 0, sent, 2 * MIB);
    clock.pass(HOUR_MS / 2 + 1000);
    // The keeper looks when a segment is full, too.
    sent += fill(&producer, &topic, 0, sent, 2 * MIB);
    wait_until("old ones go", || topic.partition_info(0).unwrap().first_offset > 2000);
    let first = check_end(&engine, &topic, 0, sent);
    assert!(first <= young, "{first}: {young} is half an hour old");
    // The segment that is written is left, so that what stands in it can go as well.
    clock.pass(HOUR_MS + 1000);
    engine.set_retention("t", retention).unwrap();
    wait_until("all of it is old, and goes", || {
        clock.pass(60_000);
        engine.set_retention("t", retention).unwrap();
        topic.partition_info(0).unwrap().first_offset == sent
    });
    assert_eq!(read_from(&engine, &kept, 0, Start::Beginning).len(), 2);
    assert_eq!(engine.stats().clock_ahead_ms, 0);
    fill(&producer, &topic, 0, sent, 3 * MIB);
    engine.close().unwrap();
    assert!(!verify(scratch.path(), &mut |_| {}).unwrap().is_damaged());
}

/// Somebody sets the clock a year ahead: nothing is a year old because of that.
#[test]
fn a_clock_that_jumps_ahead_takes_nothing() {
    let _watchdog = watchdog(120, "retention");
    let scratch = directory();
    let clock = MovedClock::new();
    let retention = Retention::new().retention_ms(HOUR_MS as u64);
    let (engine, topic, producer) = bounded(scratch.path(), &clock, 1, retention);
    let mut sent = fill(&producer, &topic, 0, 0, 3 * MIB);
    let year_ms = 365 * 24 * HOUR_MS;
    clock.jump(year_ms);
    engine.set_retention("t", retention).unwrap();
    wait_until("the alarm", || engine.stats().clock_ahead_ms > 0);
    sent += fill(&producer, &topic, 0, sent, 3 * MIB);
    assert_eq!(check_end(&engine, &topic, 0, sent), 0);
    assert!(engine.stats().clock_ahead_ms.abs_diff(year_ms as u64) < 60_000);
    clock.jump(-year_ms);
    engine.set_retention("t", retention).unwrap();
    wait_until("the alarm ends", || engine.stats().clock_ahead_ms == 0);
    assert_eq!(check_end(&engine, &topic, 0, sent), 0);
    // Or it was right to jump.
    clock.jump(year_ms);
    engine.set_retention("t", retention).unwrap();
    wait_until("the alarm again", || engine.stats().clock_ahead_ms > 0);
    engine.accept_clock();
    wait_until("what is a year old goes", || topic.partition_info(0).unwrap().first_offset > 0);
    assert_eq!(engine.stats().clock_ahead_ms, 0);
}

/// A delayed record keeps its bytes until it is published and given up itself.
#[test]
fn what_is_withheld_is_kept_and_so_is_what_was_published_of_it() {
    let _watchdog = watchdog(120, "retention");
    let scratch = directory();
    let clock = MovedClock::new();
    let retention = Retention::new().retention_bytes(1);
    // On a machine that was slow for half a second the cleaner had copied the record by then, and its segment was gone.
    let engine = open(scratch.path(), small().cleaner_bytes_per_second_max(0), &clock);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(1).retention(retention)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let delayed = Record::new(b"delayed").partition(0).visible_after(Duration::from_secs(3600));
    producer.send(&topic, delayed).unwrap().wait().unwrap();
    let mut sent = fill(&producer, &topic, 0, 0, 8 * MIB);
    wait_until("old ones go", || in_log_of(&topic, sent) < 3 * MIB);
    let oldest =
        || inspect(scratch.path()).unwrap().segments.iter().filter(|s| s.state == "sealed").map(|s| s.base).min();
    let base = oldest().unwrap();
    clock.pass(3_601_000);
    let at_end = || read_from(&engine, &topic, 0, Start::Offset(sent));
    wait_until("it is published", || !at_end().is_empty());
    assert_eq!(at_end()[0].1, b"delayed");
    assert_eq!(oldest().unwrap(), base);
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Offset(sent)).unwrap();
    sent += 1;
    for _ in 0..16 {
        sent += fill(&producer, &topic, 0, sent, MIB);
    }
    wait_until("its segment goes when it is given up", || oldest().unwrap() > base);
    let error = consumer.poll(Duration::ZERO).unwrap_err();
    assert_eq!(error.code(), "truncated");
}

/// A delayed record counts from when it became visible. Publish frames say no time: so the segment in which one stood
/// alone was as old as what had been sent before, and records that were delayed by more than they are kept were gone as
/// soon as they were there. The soak found it on a full disk, where for a while nothing else is written.
#[test]
fn a_delayed_record_is_kept_as_long_as_any_other_from_when_it_became_visible() {
    let _watchdog = watchdog(120, "retention");
    // In the first case the lane leaves its segment because of its old records; in the other one opening seals it.
    for (kept_ms, reopens) in [(HOUR_MS, false), (20_000, true)] {
        let scratch = directory();
        let clock = MovedClock::new();
        let retention = Retention::new().retention_ms(kept_ms as u64);
        let (mut engine, mut topic, producer) = bounded(scratch.path(), &clock, 1, retention);
        let delay = Duration::from_millis(kept_ms as u64 * 2);
        producer.send(&topic, Record::new(b"delayed").partition(0).visible_after(delay)).unwrap().wait().unwrap();
        drop(producer);
        let before = sealed(scratch.path());
        clock.pass(kept_ms * 2 + 1);
        wait_until("it is published", || topic.partition_info(0).unwrap().next_offset == 1);
        if reopens {
            engine.close().unwrap();
            engine = open(scratch.path(), small(), &clock);
            topic = engine.topic("t").unwrap();
        }
        // Asked for the same again, it is looked at now and not when so much time has passed on the real clock.
        let look = |engine: &Engine| engine.set_retention("t", retention).unwrap();
        look(&engine);
        wait_until("its segment is sealed", || sealed(scratch.path()) > before);
        clock.pass(kept_ms / 2);
        look(&engine);
        // Time for what must not happen; that it happens later shows that somebody looks.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(read_from(&engine, &topic, 0, Start::Beginning).len(), 1, "{kept_ms} ms have not passed");
        clock.pass(kept_ms);
        look(&engine);
        wait_until("it goes", || topic.partition_info(0).unwrap().first_offset == 1);
    }
}

#[test]
fn the_bound_on_the_disk_refuses_or_drops_the_oldest() {
    let _watchdog = watchdog(240, "retention");
    let bound = 32 * MIB;
    let bounded = || small().disk_bytes_max(Some(bound));
    let scratch = directory();
    let clock = MovedClock::new();
    let engine = open(scratch.path(), bounded(), &clock);
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut sent = 0;
    let value = [1u8; 1000];
    let error = loop {
        match producer.send(&topic, Record::new(&value).partition(0)).and_then(SendHandle::wait) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 64 << 10, "twice the bound was written");
    };
    assert_eq!(error.code(), "no-space");
    assert!(error.is_retriable());
    assert!(engine.stats().disk_bytes <= bound && engine.stats().no_space);
    assert_eq!(read_from(&engine, &topic, 0, Start::Beginning).len(), sent as usize, "nothing was given up");
    // Room is made by who decides what may go.
    engine.delete_records(&topic, 0, sent - 1000).unwrap();
    wait_until("there is room", || {
        producer.send(&topic, Record::new(&value).partition(0)).and_then(SendHandle::wait).is_ok()
    });
    drop((producer, topic));
    engine.close().unwrap();
    // The same bound, and the oldest goes.
    let scratch = directory();
    let engine = open(scratch.path(), bounded().at_disk_bound(DiskBound::DropOldest), &clock);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let (mut sent, mut highest) = ([0u64; 2], 0);
    let mut slow = engine.consumer(ConsumerOptions::new().max_poll_records(1)).unwrap();
    slow.assign(&topic, 0, Start::Beginning).unwrap();
    slow.poll(Duration::from_secs(1)).unwrap();
    for round in 0..100 {
        let partition = round % 2;
        let at = &mut sent[partition as usize];
        *at += fill(&producer, &topic, partition, *at, MIB);
        highest = highest.max(engine.stats().disk_bytes);
    }
    assert!(highest <= bound, "{highest}");
    for partition in 0..2 {
        let first = check_end(&engine, &topic, partition, sent[partition as usize]);
        assert!(first > 0 && (sent[partition as usize] - first) * 1024 > 6 * MIB, "{first} of {sent:?}");
    }
    let error = loop {
        match slow.poll(Duration::ZERO) {
            Ok(records) => assert!(!records.is_empty()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "truncated");
    slow.seek(&topic, 0, Start::Beginning).unwrap();
    assert!(!drain(&mut slow).is_empty());
    drop((slow, producer, topic));
    engine.close().unwrap();
    assert!(!verify(scratch.path(), &mut |_| {}).unwrap().is_damaged());
}

/// Transactions alone, also after reopening: the oldest goes, and they go on.
#[test]
fn transactions_go_on_at_the_bound_on_the_disk() {
    let _watchdog = watchdog(120, "retention");
    let bound = 32 * MIB;
    let options = || small().lanes(Some(1)).disk_bytes_max(Some(bound)).at_disk_bound(DiskBound::DropOldest);
    let scratch = directory();
    let clock = MovedClock::new();
    let value = [1u8; 10_000];
    for round in 0..3 {
        let engine = open(scratch.path(), options(), &clock);
        let topic = engine.topic("t").or_else(|_| engine.create_topic("t", TopicOptions::new())).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for number in 0..150 {
            let commit = || -> ringlane::Result<()> {
                let mut transaction = producer.begin(TransactionOptions::new().id(format!("{round}/{number}")))?;
                (0..50).try_for_each(|_| transaction.send(&topic, Record::new(&value)))?;
                transaction.commit().map(drop)
            };
            // Right after opening there may be no room yet, and it is said so.
            wait_until("it is committed", || {
                commit().inspect_err(|error| assert_eq!(error.code(), "no-space")).is_ok()
            });
        }
        assert!(topic.partition_info(0).unwrap().first_offset > 0, "the oldest went");
        engine.close().unwrap();
    }
}

/// The story: segments that a consumer held, and segments that held records which had been withheld and were published
/// elsewhere, counted as room that was on its way. Where these were the oldest nothing else went, and producers waited
/// for ever.
#[test]
fn at_the_bound_producers_wait_for_no_consumer_and_for_no_record_that_was_withheld() {
    let _watchdog = watchdog(120, "the oldest do not go");
    let (scratch, clock) = (directory(), MovedClock::new());
    let bound = 32 * MIB;
    let options = small().disk_bytes_max(Some(bound)).at_disk_bound(DiskBound::DropOldest);
    let options = options.cleaner_bytes_per_second_max(0);
    let engine = open(scratch.path(), options, &clock);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut sent = 0;
    for _ in 0..20 {
        let delayed = Record::new(b"delayed").partition(1).visible_after(Duration::from_secs(10));
        producer.send(&topic, delayed).unwrap().wait().unwrap();
        sent += fill(&producer, &topic, 0, sent, MIB / 2);
    }
    clock.pass(10_001);
    wait_until("they are published", || engine.stats().withheld_records == 0);
    sent += fill(&producer, &topic, 0, sent, 4 * MIB);
    // Each asks for more than it takes, and then for nothing any more.
    let stopped: Vec<Consumer> = (0..12)
        .map(|at| {
            let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(1)).unwrap();
            consumer.assign(&topic, 0, Start::Offset(at * 1000)).unwrap();
            assert_eq!(consumer.poll(Duration::from_secs(10)).unwrap().len(), 1);
            consumer
        })
        .collect();
    for _ in 0..12 {
        sent += fill(&producer, &topic, 0, sent, 8 * MIB);
        assert!(engine.stats().disk_bytes <= bound);
    }
    drop(stopped);
    let first = check_end(&engine, &topic, 0, sent);
    assert!(first > 0 && (sent - first) * 1024 > 6 * MIB, "{first} of {sent}");
}

/// Numbers of lanes that a directory is opened with, one after the other: up, down, and twice.
const LANE_COUNTS: [&[u32]; 3] = [&[1, 3], &[3, 1], &[2, 1, 4]];
const PARTITIONS: u32 = 3;

/// Opens a directory under other numbers of lanes in turn, each of which writes a little; the last one has these
/// options. Nearly everything stands in the logs of the first number then.
fn under_other_lanes(path: &Path, counts: &[u32], last: Options, clock: &Arc<MovedClock>, sent: &mut [u64]) -> Engine {
    for (at, lanes) in counts.iter().enumerate().skip(1) {
        let options = if at + 1 == counts.len() { last.clone() } else { small() };
        let engine = open(path, options.lanes(Some(*lanes)), clock);
        assert_eq!(engine.stats().lanes.len(), *lanes as usize);
        fill_all(&engine, 5 * 1024, sent);
        if at + 1 == counts.len() {
            return engine;
        }
        engine.close().unwrap();
    }
    unreachable!("there is no other number in {counts:?}");
}

/// Sends so many bytes to each partition, one after the other.
fn fill_all(engine: &Engine, bytes: u64, sent: &mut [u64]) {
    let topic = engine.topic("t").unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for (partition, sent) in (0..).zip(sent) {
        *sent += fill(&producer, &topic, partition, *sent, bytes);
    }
}

/// An engine with an unbounded topic of which the first number of lanes has written so much to each partition.
fn filled(path: &Path, lanes: u32, clock: &Arc<MovedClock>, bytes: u64) -> (Engine, [u64; PARTITIONS as usize]) {
    let engine = open(path, small().lanes(Some(lanes)), clock);
    engine.create_topic("t", TopicOptions::new().partitions(PARTITIONS)).unwrap();
    let mut sent = [0; PARTITIONS as usize];
    fill_all(&engine, bytes, &mut sent);
    (engine, sent)
}

/// The story: what was old stood in logs that were left while it was young. No pass looked there, so it went only
/// when the whole log was old.
#[test]
fn old_records_go_from_logs_of_earlier_numbers_of_lanes() {
    let _watchdog = watchdog(240, "retention");
    for counts in LANE_COUNTS {
        let (scratch, clock) = (directory(), MovedClock::new());
        let (engine, mut sent) = filled(scratch.path(), counts[0], &clock, 5 * MIB / 2);
        let old = sent[0];
        clock.pass(HOUR_MS / 2);
        fill_all(&engine, MIB, &mut sent);
        engine.close().unwrap();
        let engine = under_other_lanes(scratch.path(), counts, small(), &clock, &mut sent);
        let before = sealed(scratch.path());
        let retention = Retention::new().retention_ms(HOUR_MS as u64);
        engine.set_retention("t", retention).unwrap();
        let topic = engine.topic("t").unwrap();
        for partition in 0..PARTITIONS {
            assert_eq!(check_end(&engine, &topic, partition, sent[partition as usize]), 0, "all of it is young");
        }
        clock.pass(HOUR_MS / 2 + 60_000);
        engine.set_retention("t", retention).unwrap();
        for partition in 0..PARTITIONS {
            // What is left of it shares a segment with young ones.
            wait_until("old ones go", || topic.partition_info(partition).unwrap().first_offset >= old - MIB / 1024);
            let first = check_end(&engine, &topic, partition, sent[partition as usize]);
            assert!(first <= old, "{counts:?}, partition {partition}: {first}, but {old} is half an hour old");
        }
        wait_until("their segments go", || sealed(scratch.path()) + 4 <= before);
        engine.close().unwrap();
        assert!(!verify(scratch.path(), &mut |_| {}).unwrap().is_damaged());
    }
}

/// The story: what stood in logs that were left was not counted, so it stayed until the new log alone held as much as
/// the bound keeps.
#[test]
fn bytes_in_logs_of_earlier_numbers_of_lanes_count() {
    let _watchdog = watchdog(240, "retention");
    for counts in LANE_COUNTS {
        let (scratch, clock) = (directory(), MovedClock::new());
        let (engine, mut sent) = filled(scratch.path(), counts[0], &clock, 5 * MIB);
        engine.close().unwrap();
        let engine = under_other_lanes(scratch.path(), counts, small(), &clock, &mut sent);
        engine.set_retention("t", Retention::new().retention_bytes(2 * MIB)).unwrap();
        let topic = engine.topic("t").unwrap();
        let held = |partition: u32, sent: &[u64]| {
            (sent[partition as usize] - topic.partition_info(partition).unwrap().first_offset) * 1024
        };
        let mut firsts = Vec::new();
        for partition in 0..PARTITIONS {
            wait_until("old ones go", || held(partition, &sent) < 7 * MIB / 2);
            firsts.push(check_end(&engine, &topic, partition, sent[partition as usize]));
            assert!(held(partition, &sent) >= 2 * MIB, "{counts:?}: {firsts:?} of {sent:?}");
        }
        // Half of what is kept stands on either side of the border, and then none on the other.
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for _ in 0..4 {
            sent[1] += fill(&producer, &topic, 1, sent[1], MIB);
            wait_until("older ones go", || held(1, &sent) < 5 * MIB);
            check_end(&engine, &topic, 1, sent[1]);
            assert!(held(1, &sent) >= 2 * MIB, "{counts:?}: {sent:?}");
        }
        for partition in [0, 2] {
            let first = check_end(&engine, &topic, partition, sent[partition as usize]);
            assert_eq!(first, firsts[partition as usize], "{counts:?}: each has its own bound");
        }
        drop((producer, topic));
        engine.close().unwrap();
        assert!(!verify(scratch.path(), &mut |_| {}).unwrap().is_damaged());
    }
}

/// The story: only the logs that are written could give anything up, so a full disk refused producers while the oldest
/// stood in logs that were left.
#[test]
fn the_oldest_go_from_logs_of_earlier_numbers_of_lanes_first() {
    let _watchdog = watchdog(240, "retention");
    for counts in LANE_COUNTS {
        let (scratch, clock) = (directory(), MovedClock::new());
        // The least bound that there may be is 32 MiB for each lane.
        let each = 12 * MIB * u64::from(*counts.last().unwrap());
        let (engine, mut sent) = filled(scratch.path(), counts[0], &clock, each);
        let bound = engine.stats().disk_bytes - 4 * MIB;
        engine.close().unwrap();
        let bounded = small().disk_bytes_max(Some(bound)).at_disk_bound(DiskBound::DropOldest);
        let engine = under_other_lanes(scratch.path(), counts, bounded, &clock, &mut sent);
        let topic = engine.topic("t").unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for _ in 0..8 {
            sent[2] += fill(&producer, &topic, 2, sent[2], MIB);
        }
        wait_until("the oldest go", || topic.partition_info(0).unwrap().first_offset > 0);
        wait_until("there is room", || engine.stats().disk_bytes <= bound);
        let firsts: Vec<u64> =
            (0..PARTITIONS).map(|partition| check_end(&engine, &topic, partition, sent[partition as usize])).collect();
        // Partition 0 was filled first, then 1, then 2.
        let all = each / 1024;
        assert!(firsts[0] > 0 && firsts[2] == 0, "{counts:?}: {firsts:?}");
        assert!(firsts[1] == 0 || firsts[0] + MIB / 1024 >= all, "{counts:?}: {firsts:?}");
        drop((producer, topic));
        engine.close().unwrap();
        assert!(!verify(scratch.path(), &mut |_| {}).unwrap().is_damaged());
    }
}
