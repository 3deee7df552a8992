//! The cleaner: what is kept of segments moves together, and nobody notices but the disk.

#![allow(clippy::unwrap_used)]

mod common;

use common::clock::{MovedClock, open};
use common::watchdog::watchdog;
use common::{assert_says, copy_of_a_moment, directory, drain, read_from, small, values, wait_until};
use ringlane::inspect::SegmentInfo;
use ringlane::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A topic of which everything is kept, and one that fills the log and is given up.
struct Mixed {
    engine: Engine,
    clock: Arc<MovedClock>,
    kept: Topic,
    bulk: Topic,
    producer: Producer,
    sent_kept: u64,
    sent_bulk: u64,
}

fn kept_value(number: u64) -> Vec<u8> {
    format!("kept {number}").into_bytes()
}

impl Mixed {
    fn new(path: &Path, options: Options) -> Mixed {
        let clock = MovedClock::new();
        let engine = open(path, options, &clock);
        engine.create_topic("kept", TopicOptions::new().partitions(3)).unwrap();
        engine.create_topic("bulk", TopicOptions::new()).unwrap();
        Mixed::of(engine, clock)
    }

    fn of(engine: Engine, clock: Arc<MovedClock>) -> Mixed {
        let (kept, bulk) = (engine.topic("kept").unwrap(), engine.topic("bulk").unwrap());
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        Mixed { engine, clock, kept, bulk, producer, sent_kept: 0, sent_bulk: 0 }
    }

    /// Closes it and opens it again.
    fn reopen(self, path: &Path, options: Options) -> Mixed {
        let Mixed { engine, clock, kept, bulk, producer, sent_kept, sent_bulk } = self;
        drop((producer, kept, bulk));
        engine.close().unwrap();
        let engine = open(path, options, &clock);
        Mixed { sent_kept, sent_bulk, ..Mixed::of(engine, clock) }
    }

    /// Fills the log with so many bytes, every 64 KiB of them beside a record that is kept.
    fn fill(&mut self, bytes: u64) {
        let value = [7u8; 1000];
        let mut handles = Vec::new();
        for number in 0..bytes / 1024 {
            if number % 64 == 0 {
                let record = kept_value(self.sent_kept);
                let partition = (self.sent_kept % 3) as u32;
                handles.push(self.producer.send(&self.kept, Record::new(&record).partition(partition)).unwrap());
                self.sent_kept += 1;
            }
            handles.push(self.producer.send(&self.bulk, Record::new(&value)).unwrap());
            self.sent_bulk += 1;
        }
        handles.into_iter().for_each(|handle| drop(handle.wait().unwrap()));
    }

    fn give_up_bulk(&self) {
        self.engine.delete_records(&self.bulk, 0, self.sent_bulk).unwrap();
    }

    fn wait_for_copies(&self, copies: u64) {
        wait_until("the cleaner has made its copies", || {
            let cleaner = self.engine.stats().cleaner;
            cleaner.copies >= copies && cleaner.is_idle
        });
    }

    /// Closes it, and writes all that is whole into a new directory: nothing is missing.
    fn repaired(self, path: &Path) -> TempDir {
        drop((self.producer, self.kept, self.bulk));
        self.engine.close().unwrap();
        let target = directory();
        std::fs::remove_dir(target.path()).unwrap();
        let report = repair(path, target.path(), small(), &mut |_| {}).unwrap();
        assert!(!report.is_missing_something(), "{report:?}");
        target
    }

    /// All that is kept is there, in order.
    fn check_kept(&self) {
        for partition in 0..3 {
            let numbers = (0..self.sent_kept).filter(|number| number % 3 == partition);
            let expected: Vec<Vec<u8>> = numbers.map(kept_value).collect();
            assert!(values(&self.engine, &self.kept, partition as u32) == expected, "partition {partition}");
        }
    }
}

fn segments(path: &Path) -> Vec<SegmentInfo> {
    inspect(path).unwrap().segments
}

fn copies(path: &Path) -> usize {
    segments(path).iter().filter(|segment| segment.copy_of.is_some() && segment.state == "sealed").count()
}

/// The positions that moved frames are known by, in all copies.
fn moved(path: &Path) -> Vec<u64> {
    let mut identities = Vec::new();
    for segment in segments(path).iter().filter(|segment| segment.copy_of.is_some() && segment.state == "sealed") {
        let inspected = inspect_frames(path, &segment.file, &mut |frame| {
            identities.extend(frame.identity);
            true
        });
        match inspected {
            Ok(()) => {}
            // It was copied once more between the two looks, and is gone.
            Err(Error::InvalidArgument { .. }) => return moved(path),
            Err(error) => panic!("{error}"),
        }
    }
    identities
}

/// That each partition stands in one place of the first copy; returns how many frames that has.
fn check_in_one_place(path: &Path, partitions: u32) -> usize {
    let copy = segments(path).into_iter().find(|segment| segment.copy_of.is_some()).unwrap();
    let mut slots = Vec::new();
    inspect_frames(path, &copy.file, &mut |frame| {
        slots.extend(frame.slot);
        true
    })
    .unwrap();
    let frames = slots.len();
    slots.dedup();
    assert!(slots.is_sorted() && slots.len() == partitions as usize, "each partition stands in one place: {slots:?}");
    frames
}

fn check_whole(path: &Path) {
    let report = verify(path, &mut |_| {}).unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
}

#[test]
fn what_is_kept_of_sparse_segments_moves_together_and_the_disk_comes_back() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let mut mixed = Mixed::new(scratch.path(), small());
    mixed.fill(24 * MIB);
    let before = mixed.engine.stats().disk_bytes;
    mixed.give_up_bulk();
    mixed.wait_for_copies(1);
    wait_until("the disk comes back", || mixed.engine.stats().disk_bytes < before / 2);
    assert!(copies(scratch.path()) > 0);
    mixed.check_kept();
    check_whole(scratch.path());
    for lanes in [None, Some(3), Some(1)] {
        // Also where the copies lie in the logs of another number of lanes.
        mixed = mixed.reopen(scratch.path(), small().lanes(lanes));
        mixed.check_kept();
        mixed.fill(4 * MIB);
        mixed.check_kept();
        let at_time = read_from(&mixed.engine, &mixed.kept, 0, Start::Timestamp(0));
        assert_eq!(at_time.len() as u64, mixed.sent_kept.div_ceil(3));
    }
    mixed.give_up_bulk();
    let sparse = |path: &Path| segments(path).iter().filter(|s| s.state == "sealed" && s.bytes >= MIB).count();
    wait_until("what was filled since is given back", || sparse(scratch.path()) < 8);
    mixed.check_kept();
    check_whole(scratch.path());
}

/// Who reads on while segments are copied below it reads each record once, in order.
#[test]
fn readers_go_on_while_their_segments_are_copied() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let mut mixed = Mixed::new(scratch.path(), small());
    mixed.fill(16 * MIB);
    let outside = Engine::open_read_only(scratch.path(), small()).unwrap();
    let mut readers: Vec<(Consumer, u64)> = Vec::new();
    for engine in [&mixed.engine, &outside] {
        for poll in [1, 7, 10_000] {
            let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(poll)).unwrap();
            consumer.assign(&engine.topic("kept").unwrap(), 0, Start::Beginning).unwrap();
            readers.push((consumer, 0));
        }
    }
    let step = |readers: &mut Vec<(Consumer, u64)>| {
        for (consumer, next) in readers {
            for record in &consumer.poll(Duration::ZERO).unwrap() {
                assert_eq!(record.offset(), *next);
                assert_eq!(record.value().unwrap(), kept_value(*next * 3));
                *next += 1;
            }
        }
    };
    step(&mut readers);
    mixed.give_up_bulk();
    let start = std::time::Instant::now();
    while mixed.engine.stats().cleaner.copies == 0 || start.elapsed() < Duration::from_secs(2) {
        step(&mut readers);
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..mixed.sent_kept {
        step(&mut readers);
    }
    for (_, next) in &readers {
        assert_eq!(*next, mixed.sent_kept / 3 + u64::from(!mixed.sent_kept.is_multiple_of(3)));
    }
}

/// The story that the design tells: a record that waits for its time would hold a segment for as long.
#[test]
fn what_is_withheld_moves_and_is_known_by_where_it_was_written() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let mut mixed = Mixed::new(scratch.path(), small());
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let delay = |mixed: &Mixed, value: &[u8], after| {
        let record = Record::new(value).partition(1).visible_after(after);
        mixed.producer.send(&mixed.kept, record).unwrap().wait().unwrap()
    };
    let first = delay(&mixed, b"in an hour", hours(1));
    mixed.fill(4 * MIB);
    let cancelled = delay(&mixed, b"never", hours(1));
    delay(&mixed, b"in two hours", hours(2));
    mixed.fill(8 * MIB);
    mixed.give_up_bulk();
    mixed.wait_for_copies(1);
    let identities = moved(scratch.path());
    assert!(identities.contains(&first.id.position) && identities.contains(&cancelled.id.position), "{identities:?}");
    mixed.producer.cancel(cancelled.id).unwrap();
    mixed = mixed.reopen(scratch.path(), small().lanes(Some(2)));
    let sent = |mixed: &Mixed| (0..mixed.sent_kept).filter(|number| number % 3 == 1).count() as u64;
    let offset = sent(&mixed);
    mixed.clock.pass(3_601_000);
    let at_end = |mixed: &Mixed| read_from(&mixed.engine, &mixed.kept, 1, Start::Offset(offset));
    wait_until("it is published", || !at_end(&mixed).is_empty());
    assert_eq!(at_end(&mixed), [(offset, b"in an hour".to_vec())]);
    // From outside, from a kill, and when the copy is copied.
    let outside = Engine::open_read_only(scratch.path(), small()).unwrap();
    // It is shown when a later frame says that it is durable.
    let shown = || read_from(&outside, &outside.topic("kept").unwrap(), 1, Start::Offset(offset));
    wait_until("it is shown outside", || !shown().is_empty());
    assert_eq!(shown(), at_end(&mixed));
    drop(outside);
    let killed = copy_of_a_moment(scratch.path());
    let after = Engine::open(killed.path(), small()).unwrap();
    assert_eq!(read_from(&after, &after.topic("kept").unwrap(), 1, Start::Offset(offset)), at_end(&mixed));
    after.close().unwrap();
    mixed.clock.pass(3_601_000);
    wait_until("the next one too", || at_end(&mixed).len() == 2);
    assert_eq!(at_end(&mixed)[1].1, b"in two hours");
    check_whole(scratch.path());
    // All of it given up, nothing of it is left.
    for partition in 0..3 {
        let next = mixed.kept.partition_info(partition).unwrap().next_offset;
        mixed.engine.delete_records(&mixed.kept, partition, next).unwrap();
    }
    wait_until("no frame is left", || moved(scratch.path()).is_empty());
    mixed.repaired(scratch.path());
}

/// Half messages that stay undecided hold up nothing: their segments are given up, and they are moved, known by where they
/// were written.
#[test]
fn what_waits_for_a_transaction_moves_and_is_decided_all_the_same() {
    let directory = directory();
    let options = small().lanes(Some(1));
    let mut mixed = Mixed::new(directory.path(), options.clone());
    for (id, value) in [("commit", b"one"), ("back", b"two"), ("late", b"six")] {
        let mut transaction = mixed.producer.begin(TransactionOptions::new().id(id)).unwrap();
        transaction.send(&mixed.kept, Record::new(value).partition(0)).unwrap();
        transaction.prepare().unwrap();
    }
    mixed.fill(6 * MIB);
    mixed.give_up_bulk();
    mixed.wait_for_copies(1);
    assert_eq!(moved(directory.path()).len(), 3, "all three are in a copy");
    mixed.engine.commit_transaction("commit").unwrap();
    mixed.engine.roll_back_transaction("back").unwrap();
    mixed = mixed.reopen(directory.path(), options);
    mixed.engine.commit_transaction("late").unwrap();
    let ends: Vec<_> = values(&mixed.engine, &mixed.kept, 0).into_iter().rev().take(2).collect();
    assert_eq!(ends, [b"six".to_vec(), b"one".to_vec()]);
    check_whole(directory.path());
    mixed.engine.close().unwrap();
}

/// The story: a crash left a new generation without its first checkpoint, so recovery began in the segment before,
/// which was sealed. Its runs stood in memory, and went into the index of the next segment that was sealed; when
/// the cleaner had copied the first one, they led nowhere. (Simulator, seed 4 of the cleaner's first day.)
#[test]
fn an_index_lists_what_stands_in_its_own_segment_only() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let off = || small().cleaner_bytes_per_second_max(0);
    let mut mixed = Mixed::new(scratch.path(), off());
    mixed.fill(3 * MIB);
    mixed = mixed.reopen(scratch.path(), off());
    let (sent_kept, sent_bulk, clock) = (mixed.sent_kept, mixed.sent_bulk, mixed.clock.clone());
    let crashed = copy_of_a_moment(scratch.path());
    for live in segments(crashed.path()).iter().filter(|segment| segment.state == "live") {
        let name = crashed.path().join(&live.file);
        let mut bytes = std::fs::read(&name).unwrap();
        bytes[4096..].fill(0);
        std::fs::write(&name, bytes).unwrap();
    }
    let mut after = Mixed { sent_kept, sent_bulk, ..Mixed::of(open(crashed.path(), small(), &clock), clock) };
    after.check_kept();
    after.fill(4 * MIB);
    after.give_up_bulk();
    after.wait_for_copies(1);
    after.check_kept();
}

/// Repair finds the records in copies, and what was moved.
#[test]
fn repair_reads_copies() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let mut mixed = Mixed::new(scratch.path(), small());
    let later = Record::new(b"later").partition(2).visible_after(Duration::from_secs(1));
    mixed.producer.send(&mixed.kept, later).unwrap().wait().unwrap();
    mixed.fill(8 * MIB);
    mixed.clock.pass(1_100);
    wait_until("it is published", || {
        values(&mixed.engine, &mixed.kept, 2).last().is_some_and(|value| value == b"later")
    });
    mixed.fill(4 * MIB);
    mixed.give_up_bulk();
    mixed.wait_for_copies(1);
    let expected: Vec<_> = (0..3).map(|partition| values(&mixed.engine, &mixed.kept, partition)).collect();
    let target = mixed.repaired(scratch.path());
    let repaired = Engine::open(target.path(), small()).unwrap();
    let kept = repaired.topic("kept").unwrap();
    for (partition, expected) in (0..3).zip(&expected) {
        assert_eq!(&values(&repaired, &kept, partition), expected);
    }
}

#[test]
fn scattered_partitions_are_put_together() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let clock = MovedClock::new();
    let partitions = 200;
    let engine = open(scratch.path(), small(), &clock);
    let hour = Retention::new().retention_ms(3_600_000);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(partitions).retention(hour)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let value = |number: u32| {
        let mut value = vec![3u8; 100];
        value[..4].copy_from_slice(&number.to_le_bytes());
        value
    };
    let rounds = 300;
    for round in 0..rounds {
        let batch: Vec<_> = (0..partitions)
            .map(|at| producer.send(&topic, Record::new(&value(round)).partition(at)).unwrap())
            .collect();
        batch.into_iter().for_each(|handle| drop(handle.wait().unwrap()));
    }
    clock.pass(6_000);
    // The clock does not wake the keeper.
    producer.send(&topic, Record::new(&value(rounds)).partition(0)).unwrap().wait().unwrap();
    wait_until("they are put together", || engine.stats().cleaner.copies > 0 && engine.stats().cleaner.is_idle);
    let path = scratch.path();
    let frames = check_in_one_place(path, partitions);
    assert!(frames <= 4 * partitions as usize, "300 records of about 120 bytes are a few frames: {frames}");
    // A copy is as old as the youngest of what it was made from. (It was as old as the world once, and the soak saw
    // records go that were two seconds old.)
    clock.pass(600_000);
    engine.set_retention("t", hour).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    for partition in [0, 17, partitions - 1] {
        let expected: Vec<_> = (0..rounds + u32::from(partition == 0)).map(value).collect();
        assert!(values(&engine, &topic, partition) == expected, "partition {partition}");
    }
    check_whole(path);
}

/// Where the disk is bounded there is no room for several at once: each segment is put in order for itself, when nothing
/// more comes. (None ever was, for a single one was thought not worth it.)
#[test]
fn where_the_disk_is_bounded_each_segment_is_put_together_alone() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let clock = MovedClock::new();
    let (partitions, rounds) = (50, 600);
    let engine = open(scratch.path(), small().disk_bytes_max(Some(64 * MIB)), &clock);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(partitions)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for round in 0..rounds {
        let value = [round as u8; 100];
        let sent: Vec<_> =
            (0..partitions).map(|at| producer.send(&topic, Record::new(&value).partition(at)).unwrap()).collect();
        sent.into_iter().for_each(|handle| drop(handle.wait().unwrap()));
    }
    assert_eq!(engine.stats().cleaner.copies, 0, "more may come");
    clock.pass(6_000);
    // The clock does not wake the keeper.
    producer.send(&topic, Record::new(b"last").partition(1)).unwrap().wait().unwrap();
    wait_until("one is put together", || engine.stats().cleaner.copies > 0);
    check_in_one_place(scratch.path(), partitions);
    let stretches = segments(scratch.path()).into_iter().filter_map(|segment| segment.copy_of);
    assert!(stretches.into_iter().all(|(from, to)| to - from <= MIB), "each for itself");
    let expected: Vec<_> = (0..rounds).map(|round| vec![round as u8; 100]).collect();
    for partition in [0, partitions - 1] {
        assert!(values(&engine, &topic, partition) == expected, "partition {partition}");
    }
    check_whole(scratch.path());
}

/// Delayed records of many partitions become visible in few frames, and would need one for each partition in order.
/// Such a segment stays as it is, until most of it is given up. (Then it was never looked at again, and kept the disk.)
#[test]
fn what_order_would_make_larger_stays_as_it_is_and_is_reclaimed() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let clock = MovedClock::new();
    let (partitions, rounds) = (200u32, 200u64);
    let engine = open(scratch.path(), small().disk_bytes_max(Some(256 * MIB)), &clock);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(partitions)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let visible = || (0..partitions).map(|at| topic.partition_info(at).unwrap().next_offset).sum::<u64>();
    for round in 0..rounds {
        let value = round.to_le_bytes();
        let later = |at| Record::new(&value).partition(at).visible_after(Duration::from_secs(1));
        let sent: Vec<_> = (0..partitions).map(|at| producer.send(&topic, later(at)).unwrap()).collect();
        sent.into_iter().for_each(|handle| drop(handle.wait().unwrap()));
        clock.pass(1_100);
        wait_until("they are visible", || visible() == u64::from(partitions) * (round + 1));
    }
    clock.pass(6_000);
    // The clock does not wake the keeper.
    producer.send(&topic, Record::new(b"last")).unwrap().wait().unwrap();
    let cleaner = || engine.stats().cleaner;
    wait_until("order was tried", || cleaner().bytes > 0 && cleaner().is_idle);
    assert_eq!(cleaner().copies, 0);
    let sealed = || segments(scratch.path()).into_iter().filter(|one| one.state == "sealed" && one.copy_of.is_none());
    // Opening reads the last one.
    let tried = sealed().map(|one| one.base).max().unwrap();
    let kept_from = rounds - rounds / 20;
    for at in 0..partitions {
        engine.delete_records(&topic, at, kept_from).unwrap();
    }
    clock.pass(6_000);
    wait_until("they are reclaimed", || sealed().all(|one| one.base >= tried));
    let expected: Vec<_> = (kept_from..rounds).map(|round| (round, round.to_le_bytes().to_vec())).collect();
    for at in [60, partitions - 1] {
        assert_eq!(read_from(&engine, &topic, at, Start::Offset(kept_from)), expected);
    }
    check_whole(scratch.path());
}

/// More than there is memory for: the partitions are copied in turns, and one that is larger than all of the memory is
/// written as it is read. A Publish frame that speaks of many partitions is taken apart.
#[test]
fn what_is_larger_than_the_memory_is_copied_in_turns() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let clock = MovedClock::new();
    let engine = open(scratch.path(), small().cleaner_bytes_max(1 << 20), &clock);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(8)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let value = |number: u64| {
        let mut value = vec![5u8; 1000];
        value[..8].copy_from_slice(&number.to_le_bytes());
        value
    };
    let (delayed, plain) = (2_000u64, 8_000u64);
    let later = |number: u64| 1 + number % 7;
    let at_once = |number: u64| if number.is_multiple_of(2) { 0 } else { number % 8 };
    for number in 0..delayed {
        let value = value(number);
        let record = Record::new(&value).partition(later(number) as u32).visible_after(Duration::from_secs(600));
        drop(producer.send(&topic, record).unwrap());
    }
    // One by one: a frame each.
    let send = |number: u64| {
        producer.send(&topic, Record::new(&value(number)).partition(at_once(number) as u32)).unwrap().wait().unwrap();
    };
    (0..plain / 2).for_each(send);
    let ends = || (1..8).map(|at| topic.partition_info(at).unwrap().next_offset).sum::<u64>();
    let before = ends();
    clock.pass(601_000);
    wait_until("they are visible", || ends() == before + delayed);
    (plain / 2..plain).for_each(send);
    clock.pass(6_000);
    producer.send(&topic, Record::new(b"last").partition(0)).unwrap().wait().unwrap();
    let cleaner = || engine.stats().cleaner;
    wait_until("they are copied", || cleaner().copies > 0 && cleaner().is_idle);
    for partition in 0..8u64 {
        let of = |numbers: std::ops::Range<u64>| -> Vec<_> {
            numbers.filter(|number| at_once(*number) == partition).map(value).collect()
        };
        let (first, then) = (of(0..plain / 2), of(plain / 2..plain));
        let mut published: Vec<_> = (0..delayed).filter(|number| later(*number) == partition).map(value).collect();
        let mut found = values(&engine, &topic, partition as u32);
        found.retain(|value| value != b"last");
        // What is due at the same time becomes visible in whichever order.
        let (from, to) = (first.len(), first.len() + published.len());
        found[from..to].sort();
        published.sort();
        assert!(found == [first, published, then].concat(), "partition {partition}");
    }
    check_whole(scratch.path());
}

/// A program that runs for a moment, again and again, leaves a small segment each time.
#[test]
fn many_small_segments_become_few() {
    let _watchdog = watchdog(240, "cleaner");
    let scratch = directory();
    let sealed = || segments(scratch.path()).iter().filter(|segment| segment.state == "sealed").count();
    for number in 0..27u64 {
        let engine = Engine::open(scratch.path(), small()).unwrap();
        let topic = match number {
            0 => engine.create_topic("t", TopicOptions::new()).unwrap(),
            _ => engine.topic("t").unwrap(),
        };
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        producer.send(&topic, Record::new(&number.to_le_bytes())).unwrap().wait().unwrap();
        if number % 13 == 12 {
            wait_until("they are merged", || sealed() < 12 && engine.stats().cleaner.is_idle);
        }
        drop((producer, topic));
        engine.close().unwrap();
    }
    let engine = Engine::open(scratch.path(), small()).unwrap();
    let expected: Vec<_> = (0..27u64).map(|number| number.to_le_bytes().to_vec()).collect();
    assert_eq!(values(&engine, &engine.topic("t").unwrap(), 0), expected);
    check_whole(scratch.path());
}

/// A damaged segment is nobody's to throw away, and no reason to leave the others.
#[test]
fn what_cannot_be_read_is_left_where_it_is() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let off = || small().cleaner_bytes_per_second_max(0);
    let mut mixed = Mixed::new(scratch.path(), off());
    mixed.fill(16 * MIB);
    mixed.give_up_bulk();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(mixed.engine.stats().cleaner.copies, 0, "there is none");
    let (kept, clock) = (mixed.sent_kept, mixed.clock.clone());
    drop((mixed.producer, mixed.kept, mixed.bulk));
    mixed.engine.close().unwrap();
    let spoilt = segments(scratch.path()).into_iter().filter(|segment| segment.state == "sealed").nth(5).unwrap();
    let mut place = None;
    inspect_frames(scratch.path(), &spoilt.file, &mut |frame| {
        place = (frame.slot == Some(0)).then_some(frame.file_offset + 60).or(place);
        true
    })
    .unwrap();
    let name = scratch.path().join(&spoilt.file);
    let mut bytes = std::fs::read(&name).unwrap();
    bytes[place.unwrap() as usize] ^= 1;
    std::fs::write(&name, bytes).unwrap();
    let mixed = Mixed { sent_kept: kept, ..Mixed::of(open(scratch.path(), small(), &clock), clock) };
    mixed.engine.delete_records(&mixed.kept, 1, 1).unwrap();
    mixed.wait_for_copies(1);
    let left = segments(scratch.path());
    assert!(left.iter().any(|segment| segment.file == spoilt.file && segment.state == "sealed"));
    // Its records are missed with a place, the others are there.
    let mut consumer = mixed.engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&mixed.kept, 0, Start::Beginning).unwrap();
    let error = loop {
        match consumer.poll(Duration::ZERO) {
            Ok(records) => assert!(!records.is_empty(), "it was not noticed"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "damaged");
    assert!(error.to_string().contains(&spoilt.file), "{error}");
    assert_eq!(values(&mixed.engine, &mixed.kept, 2).len() as u64, kept / 3);
}

/// With a bound on the disk that refuses, what can be given back is given back, and senders go on.
#[test]
fn a_full_disk_gets_room_from_sparse_segments() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    let mut mixed = Mixed::new(scratch.path(), small().disk_bytes_max(Some(32 * MIB)));
    for _ in 0..6 {
        mixed.fill(12 * MIB);
        mixed.give_up_bulk();
        wait_until("there is room for as much again", || mixed.engine.stats().disk_bytes < 18 * MIB);
        assert!(mixed.engine.stats().disk_bytes <= 32 * MIB);
    }
    mixed.check_kept();
    let mut consumer = mixed.engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&mixed.kept, 2, Start::End).unwrap();
    assert!(drain(&mut consumer).is_empty());
}

/// Whoever waits for room waits for the cleaner, so it takes no pause then. (The soak saw 2,500 sends refused in two
/// minutes, of a disk of which two thirds could be had, because the cleaner kept to what it may take of the device.)
#[test]
fn while_the_disk_is_full_the_cleaner_takes_no_pause() {
    let _watchdog = watchdog(120, "cleaner");
    let scratch = directory();
    // So slow that it would never end.
    let options = small().disk_bytes_max(Some(32 * MIB)).cleaner_bytes_per_second_max(1);
    let mut mixed = Mixed::new(scratch.path(), options);
    let refused = std::cell::Cell::new(0);
    let send = |mixed: &Mixed, topic: &Topic, record: Record<'_>| {
        wait_until("there is room", || match mixed.producer.send(topic, record).unwrap().wait() {
            Ok(_) => true,
            Err(error) => {
                assert_says(&error, "no-space", &[]);
                refused.set(refused.get() + 1);
                false
            }
        });
    };
    // Three times the disk, and every segment has something that is kept.
    let value = [7u8; 128 << 10];
    for _ in 0..96 * MIB / value.len() as u64 {
        let number = mixed.sent_kept;
        send(&mixed, &mixed.kept, Record::new(&kept_value(number)).partition((number % 3) as u32));
        send(&mixed, &mixed.bulk, Record::new(&value));
        (mixed.sent_kept, mixed.sent_bulk) = (number + 1, mixed.sent_bulk + 1);
        if mixed.sent_bulk.is_multiple_of(16) {
            mixed.give_up_bulk();
        }
    }
    assert!(refused.get() > 0, "the disk was never full: this shows nothing");
    mixed.check_kept();
}
