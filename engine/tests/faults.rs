//! Storage that fails: writes and flushes, opens and reservations, the manifest, a full disk, a slow one.
//!
//! After a failure these hold: what was acknowledged is there exactly once, what was not at most once,
//! nobody hangs, and who asks is told the first cause.

#![allow(clippy::unwrap_used)]

mod common;

use common::storage::{is_segment, open_faulty};
use common::watchdog::watchdog;
use common::{backends, directory, small, values};
use ringlane::io::PAGE;
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::*;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Long enough for any machine; only a hang takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
const SEGMENT_0: &str = "segment-00000000";

/// Whether the keeper asks: faults are looked at on the thread that the engine calls the storage from.
fn by_keeper() -> bool {
    std::thread::current().name() == Some("ringlane-keeper")
}

fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = vec![b'v'; bytes.max(8)];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// What was sent to a topic, and what became of it.
#[derive(Default)]
struct Ledger {
    next: u64,
    acknowledged: BTreeSet<u64>,
    /// Refused before or after they were in the buffer: must not be there.
    refused: BTreeSet<u64>,
    errors: Vec<Error>,
}

impl Ledger {
    /// Sends `count` records to a partition, all in flight together, and waits for their outcomes.
    fn send(&mut self, producer: &Producer, topic: &Topic, partition: u32, count: u64, bytes: usize) {
        let mut handles = Vec::new();
        for _ in 0..count {
            let number = self.next;
            self.next += 1;
            match producer.send(topic, Record::new(&value(number, bytes)).partition(partition)) {
                Ok(handle) => handles.push((number, handle)),
                Err(error) => self.note(number, Err(error)),
            }
        }
        for (number, handle) in handles {
            let outcome = handle.wait_timeout(PATIENCE).expect("an outcome");
            self.note(number, outcome.map(drop));
        }
    }

    fn note(&mut self, number: u64, outcome: Result<()>) {
        match outcome {
            Ok(()) => drop(self.acknowledged.insert(number)),
            Err(error) => {
                if !error.is_unknown_outcome() {
                    self.refused.insert(number);
                }
                self.errors.push(error);
            }
        }
    }

    /// Sends until an error comes.
    fn send_until_error(&mut self, producer: &Producer, topic: &Topic, partition: u32) {
        let start = Instant::now();
        while self.errors.is_empty() {
            assert!(start.elapsed() < PATIENCE, "no error came");
            self.send(producer, topic, partition, 20, 10_000);
        }
    }

    /// Sends until an error comes, no faster than the keeper prepares: a faster sender takes the reserve
    /// before the keeper has seen that the disk is full.
    fn fill(&mut self, engine: &Engine, producer: &Producer, topic: &Topic) {
        let start = Instant::now();
        while self.errors.is_empty() {
            assert!(start.elapsed() < PATIENCE, "no error came");
            self.send(producer, topic, 0, 20, 10_000);
            let pause = Instant::now();
            while !engine.stats().no_space
                && engine.stats().segments_prepared < 2
                && pause.elapsed() < Duration::from_secs(2)
            {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Sends until a record is taken; only errors that allow a retry may come.
    fn send_until_success(&mut self, producer: &Producer, topic: &Topic, partition: u32) {
        let start = Instant::now();
        loop {
            self.errors.clear();
            self.send(producer, topic, partition, 1, 10_000);
            let Some(error) = self.errors.pop() else { return };
            assert!(error.is_retriable(), "{error}");
            assert!(start.elapsed() < PATIENCE, "still {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Acknowledged exactly once, unknown at most once, refused never, nothing else.
    #[track_caller]
    fn check(&self, engine: &Engine) {
        let topic = engine.topic("t").unwrap();
        let mut seen = BTreeSet::new();
        for partition in 0..topic.partitions() {
            for value in values(engine, &topic, partition) {
                let number = u64::from_le_bytes(value[..8].try_into().unwrap());
                assert!(number < self.next, "{number} was never sent");
                assert!(seen.insert(number), "{number} is there twice");
                assert!(value[8..].iter().all(|byte| *byte == b'v'), "{number} is changed");
            }
        }
        let lost: Vec<_> = self.acknowledged.difference(&seen).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let refused: Vec<_> = self.refused.intersection(&seen).collect();
        assert!(refused.is_empty(), "refused and there: {refused:?}");
    }
}

/// The first cause that later calls are told.
#[track_caller]
fn cause(error: &Error) -> &IoFailure {
    match error {
        Error::Poisoned { cause } => cause,
        other => panic!("not poisoned: {other}"),
    }
}

/// An engine with two lanes and one partition of topic `t` on each, some records in both.
fn two_lanes(path: &Path, options: Options, faults: &Faults) -> (Engine, Topic, Producer, Ledger) {
    let engine = open_faulty(path, options.lanes(Some(2)), faults).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let lanes: Vec<u32> = (0..2).map(|partition| topic.partition_info(partition).unwrap().lane).collect();
    assert_eq!(lanes, [0, 1]);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut ledger = Ledger::default();
    for partition in 0..2 {
        ledger.send(&producer, &topic, partition, 20, 500);
    }
    assert_eq!(ledger.errors, []);
    (engine, topic, producer, ledger)
}

/// The engine has failed: everything is refused with the cause, reading goes on, closing ends; opened
/// again without faults it works.
#[track_caller]
fn check_stopped(path: &Path, engine: &Engine, topic: &Topic, producer: &Producer, ledger: &mut Ledger) -> IoFailure {
    // A failure is seen by who waits for it first, and by the others a moment later.
    let start = Instant::now();
    while engine.stats().poisoned.is_none() {
        assert!(start.elapsed() < PATIENCE, "never poisoned");
        std::thread::sleep(Duration::from_millis(1));
    }
    let error = engine.create_topic("more", TopicOptions::new()).unwrap_err();
    let first = cause(&error).clone();
    assert!(error.is_fatal() && !error.is_retriable(), "{error}");
    for partition in 0..topic.partitions() {
        let error = producer.send(topic, Record::new(b"late").partition(partition)).map(drop).unwrap_err();
        assert_eq!(*cause(&error), first);
    }
    assert_eq!(*cause(&engine.sync().unwrap_err()), first);
    assert_eq!(*cause(&engine.producer(ProducerOptions::new()).map(drop).unwrap_err()), first);
    for error in &ledger.errors {
        match error {
            Error::UnknownOutcome { reason } => assert_eq!(*reason, first.to_string()),
            Error::NoSpace { .. } => {}
            other => assert_eq!(*cause(other), first),
        }
    }
    ledger.check(engine);
    assert_eq!(*cause(&engine.close().unwrap_err()), first);
    assert_eq!(*cause(&engine.close().unwrap_err()), first);
    check_reopening(path, ledger);
    first
}

/// Opens the directory as it is, twice, and sends more.
#[track_caller]
fn check_reopening(path: &Path, ledger: &mut Ledger) {
    for _ in 0..2 {
        let engine = Engine::open(path, small()).unwrap();
        ledger.check(&engine);
        let topic = engine.topic("t").unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        ledger.errors.clear();
        for partition in 0..topic.partitions() {
            ledger.send(&producer, &topic, partition, 150, 10_000);
        }
        assert_eq!(ledger.errors, []);
        ledger.check(&engine);
        engine.close().unwrap();
    }
    let report = verify(path, &mut |_| {}).unwrap();
    assert!(!report.is_damaged(), "{report:?}");
}

#[test]
fn a_failed_write_stops_every_lane_and_loses_nothing() {
    let _watchdog = watchdog(300, "a failed write");
    for backend in backends() {
        for effect in [Effect::Fail(libc::EIO), Effect::Fail(libc::EROFS), Effect::Fail(libc::ENOSPC)] {
            let (directory, faults) = (directory(), Faults::new());
            let (engine, topic, producer, mut ledger) = two_lanes(directory.path(), small().backend(backend), &faults);
            faults.arm(Fault::new(Operation::Write, effect).on(|name| name == SEGMENT_0 && !by_keeper()));
            let acknowledged = ledger.acknowledged.len();
            ledger.send(&producer, &topic, 0, 30, 500);
            assert!(ledger.errors.iter().any(Error::is_unknown_outcome), "{:?}", ledger.errors);
            assert_eq!(ledger.acknowledged.len(), acknowledged, "it was the first write");
            let cause = check_stopped(directory.path(), &engine, &topic, &producer, &mut ledger);
            let Effect::Fail(errno) = effect else { unreachable!() };
            assert_eq!((cause.errno, cause.file.as_str()), (Some(errno), SEGMENT_0), "{cause}");
        }
    }
}

#[test]
fn a_failed_write_among_many_loses_nothing() {
    let _watchdog = watchdog(300, "a failed write among many");
    for backend in backends() {
        for number in [2, 7, 31] {
            let (directory, faults) = (directory(), Faults::new());
            let (engine, topic, producer, mut ledger) = two_lanes(directory.path(), small().backend(backend), &faults);
            faults.arm(
                Fault::new(Operation::Write, Effect::Fail(libc::EIO))
                    .on(|name| is_segment(name) && !by_keeper())
                    .nth(number),
            );
            // Both lanes busy, from two threads.
            let other = std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    let mut other = Ledger { next: 1 << 32, ..Ledger::default() };
                    while other.errors.is_empty() {
                        other.send(&producer, &topic, 1, 50, 3_000);
                    }
                    other
                });
                while ledger.errors.is_empty() {
                    ledger.send(&producer, &topic, 0, 50, 3_000);
                }
                other.join().unwrap()
            });
            ledger.next = other.next;
            ledger.acknowledged.extend(other.acknowledged);
            ledger.refused.extend(other.refused);
            ledger.errors.extend(other.errors);
            let cause = check_stopped(directory.path(), &engine, &topic, &producer, &mut ledger);
            assert_eq!(cause.errno, Some(libc::EIO));
            assert!(is_segment(&cause.file), "{cause}");
        }
    }
}

#[test]
fn a_torn_write_stops_the_engine_and_loses_nothing() {
    let _watchdog = watchdog(300, "a torn write");
    for backend in backends() {
        for left in [0, PAGE, 3 * PAGE, 16 * PAGE] {
            let (directory, faults) = (directory(), Faults::new());
            let (engine, topic, producer, mut ledger) = two_lanes(directory.path(), small().backend(backend), &faults);
            faults.arm(Fault::new(Operation::Write, Effect::Torn(left)).on(|name| name == SEGMENT_0 && !by_keeper()));
            ledger.send(&producer, &topic, 0, 30, 4_000);
            assert!(ledger.errors.iter().any(Error::is_unknown_outcome), "{:?}", ledger.errors);
            let cause = check_stopped(directory.path(), &engine, &topic, &producer, &mut ledger);
            assert_eq!((cause.errno, cause.file.as_str()), (Some(libc::EIO), SEGMENT_0), "{cause}");
        }
    }
}

/// Whether the last frame of the first segment is a mark.
fn ends_with_a_mark(path: &Path) -> bool {
    let mut last = "none";
    inspect_frames(path, SEGMENT_0, &mut |frame| {
        if frame.problem.is_none() {
            last = frame.kind;
        }
        true
    })
    .unwrap();
    last == "mark"
}

/// The write of the mark with which an engine closes failed: it stood in the system's cache and not on the
/// device. The next opening read it from the cache, took it for a clean end, wrote nothing once more, and
/// noted in the manifest that the frames reach to the mark's end. After a loss of power the segment was
/// shorter than the manifest said, and everything in it was refused as damaged. (Simulator, seed 2279.)
#[test]
fn the_mark_of_a_close_that_failed_is_written_once_more() {
    let _watchdog = watchdog(300, "a mark that failed");
    for backend in backends() {
        let (directory, faults) = (directory(), Faults::new());
        let options = small().lanes(Some(1)).backend(backend);
        let engine = open_faulty(directory.path(), options.clone(), &faults).unwrap();
        engine.create_topic("t", TopicOptions::new()).unwrap();
        // Behind the mark of an idle lane nothing is written but the one of the close.
        let start = Instant::now();
        while !ends_with_a_mark(directory.path()) {
            assert!(start.elapsed() < PATIENCE, "no mark");
            std::thread::sleep(Duration::from_millis(1));
        }
        let failing = Fault::new(Operation::Write, Effect::Torn(PAGE));
        faults.arm(failing.on(|name| name == SEGMENT_0 && !by_keeper()));
        engine.close().unwrap_err();
        assert_eq!(faults.hits(), 1);
        drop(engine);

        let written = Faults::new();
        let noted = Fault::new(Operation::Write, Effect::Delay(Duration::ZERO)).forever();
        written.arm(noted.on(|name| name == SEGMENT_0 && !by_keeper()));
        let engine = open_faulty(directory.path(), options, &written).unwrap();
        assert!(engine.recovery().clean, "the mark was there to be read");
        assert_eq!(written.hits(), 1, "the page of the mark is written once more, and nothing else");
        engine.close().unwrap();
    }
}

/// Has segments be used without their zeros, so that lanes stream and flush.
fn refuse_zeros(faults: &Faults) {
    let seen = Mutex::new(HashSet::new());
    faults.arm(
        Fault::new(Operation::Write, Effect::Fail(libc::ENOSPC))
            // The first write of each is its header.
            .on(move |name| by_keeper() && is_segment(name) && !seen.lock().unwrap().insert(name.to_owned()))
            .forever(),
    );
}

#[test]
fn a_failed_flush_while_streaming_stops_every_lane_and_loses_nothing() {
    let _watchdog = watchdog(300, "a failed flush");
    for backend in backends() {
        for operation in [Operation::Flush, Operation::Write] {
            let (directory, faults) = (directory(), Faults::new());
            refuse_zeros(&faults);
            let (engine, topic, producer, mut ledger) = two_lanes(directory.path(), small().backend(backend), &faults);
            let start = Instant::now();
            while !engine.stats().lanes[0].streaming {
                assert!(start.elapsed() < PATIENCE, "never streamed");
                ledger.send(&producer, &topic, 0, 20, 10_000);
            }
            assert_eq!(ledger.errors, []);
            faults.arm(Fault::new(operation, Effect::Fail(libc::EIO)).on(|name| is_segment(name) && !by_keeper()));
            ledger.send_until_error(&producer, &topic, 0);
            assert!(ledger.errors.iter().any(Error::is_unknown_outcome), "{:?}", ledger.errors);
            let cause = check_stopped(directory.path(), &engine, &topic, &producer, &mut ledger);
            assert_eq!(cause.errno, Some(libc::EIO));
            assert!(is_segment(&cause.file), "{cause}");
        }
    }
}

/// What the keeper does for a new segment.
const STEPS: [(Operation, &str); 7] = [
    (Operation::Open, "segment-"),
    (Operation::Allocate, "segment-"),
    (Operation::Write, "segment-"),
    (Operation::Flush, "segment-"),
    (Operation::SyncDirectory, ""),
    (Operation::Write, "manifest-"),
    (Operation::Flush, "manifest-"),
];

#[test]
fn a_keeper_that_fails_stops_the_engine_with_its_cause() {
    let _watchdog = watchdog(300, "a keeper that fails");
    for backend in [Backend::IoUring, Backend::Plain] {
        for (operation, prefix) in STEPS {
            for number in [1, 2] {
                let (directory, faults) = (directory(), Faults::new());
                let options = small().backend(backend);
                let (engine, topic, producer, mut ledger) = two_lanes(directory.path(), options, &faults);
                faults.arm(
                    Fault::new(operation, Effect::Fail(libc::EIO))
                        .on(move |name| name.starts_with(prefix) && !name.ends_with(".index") && by_keeper())
                        .nth(number)
                        .forever(),
                );
                ledger.send_until_error(&producer, &topic, 0);
                let cause = check_stopped(directory.path(), &engine, &topic, &producer, &mut ledger);
                assert_eq!(cause.errno, Some(libc::EIO), "{operation:?} {prefix}: {cause}");
                assert!(cause.file.starts_with(prefix), "{operation:?} {prefix}: {cause}");
            }
        }
    }
}

#[test]
fn a_keeper_without_space_refuses_until_there_is_some() {
    let _watchdog = watchdog(300, "a keeper without space");
    for backend in [Backend::IoUring, Backend::Plain] {
        for (operation, prefix) in STEPS {
            let (directory, faults) = (directory(), Faults::new());
            let (engine, topic, producer, mut ledger) = two_lanes(directory.path(), small().backend(backend), &faults);
            faults.arm(
                Fault::new(operation, Effect::Fail(libc::ENOSPC))
                    .on(move |name| name.starts_with(prefix) && by_keeper())
                    .forever(),
            );
            ledger.send_until_error(&producer, &topic, 0);
            for error in std::mem::take(&mut ledger.errors) {
                let what = format!("{operation:?} {prefix}: {error}");
                assert!(matches!(error, Error::NoSpace { .. }) && error.is_retriable(), "{what}");
            }
            assert!(engine.stats().no_space && engine.stats().poisoned.is_none());
            ledger.check(&engine);
            faults.disarm();
            ledger.send_until_success(&producer, &topic, 0);
            ledger.send(&producer, &topic, 1, 10, 500);
            assert_eq!(ledger.errors, []);
            ledger.check(&engine);
            engine.close().unwrap();
            check_reopening(directory.path(), &mut ledger);
        }
    }
}

/// What must work on a full disk: bookkeeping, delayed records, reading, and being opened again.
fn check_full(engine: &Engine, ledger: &Ledger, cancelled: RecordId, round: u32) {
    assert!(engine.stats().no_space);
    ledger.check(engine);
    let name = format!("more-{round}");
    engine.create_topic(&name, TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.cancel(cancelled).unwrap();
    assert_eq!(producer.cancel(cancelled), Err(Error::NotWithheld));
    engine.delete_topic(&name).unwrap();
    engine.sync().unwrap();
    assert_eq!(engine.stats().poisoned, None);
}

/// Some delayed records, far in the future.
fn delayed(producer: &Producer, topic: &Topic, count: usize) -> Vec<RecordId> {
    let record = || Record::new(b"delayed").partition(0).visible_after(Duration::from_secs(86_400));
    (0..count).map(|_| producer.send(topic, record()).unwrap().wait().unwrap().id).collect()
}

#[test]
fn a_full_disk_refuses_records_and_nothing_else() {
    let _watchdog = watchdog(300, "a full disk");
    for backend in backends() {
        let (directory, faults) = (directory(), Faults::new());
        let options = small().backend(backend);
        let mut engine = open_faulty(directory.path(), options.clone(), &faults).unwrap();
        let mut topic = engine.create_topic("t", TopicOptions::new()).unwrap();
        let mut producer = engine.producer(ProducerOptions::new()).unwrap();
        let mut ledger = Ledger::default();
        let far = delayed(&producer, &topic, 5);
        faults.limit_space(Some(6 << 20));
        ledger.fill(&engine, &producer, &topic);
        assert!(ledger.errors.iter().all(|error| matches!(error, Error::NoSpace { .. })), "{:?}", ledger.errors);
        check_full(&engine, &ledger, far[0], 0);

        // Opened again while it is full.
        let (mut limited, mut left) = (true, 4);
        for round in 1..3 {
            let reserve = engine.stats().segments_prepared;
            engine.close().unwrap();
            engine = match open_faulty(directory.path(), options.clone(), &faults) {
                Ok(engine) => engine,
                // Each opening takes a segment from the reserve; bookkeeping may have taken the last.
                Err(Error::NoSpace { .. }) if reserve == 0 => {
                    limited = false;
                    faults.limit_space(None);
                    open_faulty(directory.path(), options.clone(), &faults).unwrap()
                }
                Err(error) => panic!("round {round}: {error}"),
            };
            ledger.check(&engine);
            topic = engine.topic("t").unwrap();
            producer = engine.producer(ProducerOptions::new()).unwrap();
            ledger.errors.clear();
            if !limited {
                break;
            }
            ledger.fill(&engine, &producer, &topic);
            assert!(ledger.errors.iter().all(|error| matches!(error, Error::NoSpace { .. })), "{:?}", ledger.errors);
            check_full(&engine, &ledger, far[round as usize], round);
            left -= 1;
        }

        // Space again, without opening again.
        faults.limit_space(None);
        ledger.send_until_success(&producer, &topic, 0);
        ledger.send(&producer, &topic, 0, 500, 10_000);
        assert_eq!(ledger.errors, []);
        assert!(!engine.stats().no_space);
        ledger.check(&engine);
        assert_eq!(engine.stats().withheld_records, left);
        engine.close().unwrap();
        check_reopening(directory.path(), &mut ledger);
    }
}

#[test]
fn records_become_visible_on_a_full_disk() {
    let _watchdog = watchdog(300, "publication on a full disk");
    let (directory, faults) = (directory(), Faults::new());
    let engine = open_faulty(directory.path(), small(), &faults).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let late = engine.create_topic("late", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut ledger = Ledger::default();
    let ids = delayed(&producer, &late, 20);
    faults.limit_space(Some(0));
    ledger.fill(&engine, &producer, &topic);
    assert!(ledger.errors.iter().all(Error::is_retriable), "{:?}", ledger.errors);
    for id in ids {
        engine.publish_withheld(id, &[]).unwrap();
    }
    assert_eq!(values(&engine, &late, 0), vec![b"delayed".to_vec(); 20]);
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    assert_eq!(values(&engine, &engine.topic("late").unwrap(), 0).len(), 20);
    ledger.check(&engine);
    engine.close().unwrap();
}

#[test]
fn a_slow_device_fills_the_buffer_and_drops_nothing() {
    let _watchdog = watchdog(300, "a slow device");
    for backend in backends() {
        let (directory, faults) = (directory(), Faults::new());
        let options = small().backend(backend).buffer_bytes_max(64 << 10).max_block_ms(30);
        let engine = open_faulty(directory.path(), options, &faults).unwrap();
        let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        let slow = Effect::Delay(Duration::from_millis(1500));
        faults.arm(Fault::new(Operation::Write, slow).on(|name| is_segment(name) && !by_keeper()).times(6));
        let mut handles = Vec::new();
        let mut full = 0;
        let mut number = 0u64;
        let start = Instant::now();
        while full < 3 {
            assert!(start.elapsed() < PATIENCE, "never full");
            match producer.send(&topic, Record::new(&value(number, 8_000))) {
                Ok(handle) => {
                    handles.push((number, handle));
                    number += 1;
                }
                Err(Error::QueueFull { buffered_bytes, waited_ms }) => {
                    assert!(buffered_bytes > 64 << 10 && waited_ms >= 30, "{buffered_bytes} {waited_ms}");
                    full += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        faults.disarm();
        for (number, handle) in handles {
            let receipt = handle.wait_timeout(PATIENCE).expect("an outcome").unwrap();
            assert_eq!(receipt.offset, Some(number));
        }
        let expected: Vec<_> = (0..number).map(|number| value(number, 8_000)).collect();
        assert!(values(&engine, &topic, 0) == expected);
        engine.close().unwrap();
        let engine = Engine::open(directory.path(), small()).unwrap();
        assert!(values(&engine, &engine.topic("t").unwrap(), 0) == expected);
        engine.close().unwrap();
    }
}

/// Each operation of opening fails once. Opening says so and changes nothing that matters.
#[test]
fn opening_that_fails_can_be_tried_again() {
    let _watchdog = watchdog(500, "opening that fails");
    let operations = [
        Operation::Open,
        Operation::Allocate,
        Operation::Write,
        Operation::Flush,
        Operation::SyncDirectory,
        Operation::Read,
        Operation::Remove,
    ];
    let directory = directory();
    let options = small().backend(Backend::Plain);
    let (engine, _, _, mut ledger) = two_lanes(directory.path(), options.clone(), &Faults::new());
    engine.close().unwrap();
    let mut failed = 0;
    for (errno, code) in [(libc::EIO, "io"), (libc::ENOSPC, "no-space")] {
        for operation in operations {
            for number in [1, 2, 3, 5, 8] {
                let faults = Faults::new();
                faults.arm(Fault::new(operation, Effect::Fail(errno)).on(|_| !by_keeper()).nth(number));
                match open_faulty(directory.path(), options.clone(), &faults) {
                    Ok(engine) => drop(engine.close()),
                    Err(error) => {
                        failed += 1;
                        let known = [code, "io", "poisoned", "unknown-outcome"];
                        assert!(known.contains(&error.code()), "{operation:?} {number}: {error}");
                    }
                }
            }
        }
    }
    assert!(failed > 10, "{failed} openings failed");
    check_reopening(directory.path(), &mut ledger);
}

/// A file system of its own on a loop device; taken apart when dropped.
struct SmallDisk {
    _directory: tempfile::TempDir,
    mounted: std::path::PathBuf,
    device: String,
    is_mounted: bool,
}

impl SmallDisk {
    /// `Err` says why there is none.
    fn new(bytes: u64) -> std::result::Result<SmallDisk, String> {
        // SAFETY: it only asks.
        if unsafe { libc::geteuid() } != 0 {
            return Err("not root".to_owned());
        }
        let directory = directory();
        let (image, mounted) = (directory.path().join("image"), directory.path().join("mounted"));
        let fail = |error: std::io::Error| error.to_string();
        std::fs::File::create(&image).and_then(|file| file.set_len(bytes)).map_err(fail)?;
        std::fs::create_dir(&mounted).map_err(fail)?;
        let image = image.to_str().expect("a path in UTF-8");
        run("mkfs.ext4", &["-q", "-F", "-m", "0", image])?;
        let device = run("losetup", &["--find", "--show", image])?.trim().to_owned();
        let mut disk = SmallDisk { _directory: directory, mounted, device, is_mounted: false };
        run("mount", &[&disk.device, disk.mounted.to_str().expect("a path in UTF-8")])?;
        disk.is_mounted = true;
        Ok(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(reason) = run("umount", &[self.mounted.to_str().expect("a path in UTF-8")])
        {
            eprintln!("{reason}");
            let _ = run("umount", &["--lazy", self.mounted.to_str().expect("a path in UTF-8")]);
        }
        if let Err(reason) = run("losetup", &["--detach", &self.device]) {
            eprintln!("{reason}");
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> std::result::Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Takes all the space that is left, to the last block.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let bytes = vec![1u8; size];
        while file.write_all(&bytes).is_ok() {}
    }
    let _ = file.sync_all();
}

#[test]
fn a_small_file_system_fills_and_empties() {
    let _watchdog = watchdog(400, "a small file system");
    for backend in backends() {
        let disk = match SmallDisk::new(64 << 20) {
            Ok(disk) => disk,
            Err(reason) => return println!("skipped, no file system of its own: {reason}"),
        };
        let path = disk.mounted.join("engine");
        let options = small().backend(backend);
        let mut engine = Engine::open(&path, options.clone()).unwrap();
        engine.create_topic("bulk", TopicOptions::new()).unwrap();
        let mut topic = engine.create_topic("t", TopicOptions::new()).unwrap();
        let mut producer = engine.producer(ProducerOptions::new()).unwrap();
        let mut ledger = Ledger::default();
        let far = delayed(&producer, &topic, 5);
        ledger.send(&producer, &topic, 0, 300, 10_000);
        // Another topic takes the rest.
        let bulk = engine.topic("bulk").unwrap();
        let mut others = Ledger::default();
        others.fill(&engine, &producer, &bulk);
        assert!(others.errors.iter().all(|error| matches!(error, Error::NoSpace { .. })), "{:?}", others.errors);
        assert!(others.acknowledged.len() > 2_000, "{} MB fit", others.acknowledged.len() / 100);
        check_full(&engine, &ledger, far[0], 0);

        // Not one block left, and opened again like that.
        fill(&disk.mounted.join("filler"));
        check_full(&engine, &ledger, far[1], 1);
        let reserve = engine.stats().segments_prepared;
        engine.close().unwrap();
        drop((topic, bulk, producer));
        engine = match Engine::open(&path, options.clone()) {
            // Bookkeeping has taken the last of the reserve.
            Err(Error::NoSpace { .. }) if reserve == 0 => {
                std::fs::remove_file(disk.mounted.join("filler")).unwrap();
                Engine::open(&path, options.clone()).unwrap()
            }
            opened => opened.unwrap(),
        };
        assert!(engine.recovery().clean);
        topic = engine.topic("t").unwrap();
        producer = engine.producer(ProducerOptions::new()).unwrap();
        ledger.fill(&engine, &producer, &topic);
        assert!(ledger.errors.iter().all(|error| matches!(error, Error::NoSpace { .. })), "{:?}", ledger.errors);
        check_full(&engine, &ledger, far[2], 2);
        let bulk = engine.topic("bulk").unwrap();
        assert_eq!(values(&engine, &bulk, 0).len(), others.acknowledged.len());

        // A deleted topic makes room, though the rest of the disk stays full.
        engine.delete_topic("bulk").unwrap();
        ledger.send_until_success(&producer, &topic, 0);
        for _ in 0..5 {
            ledger.send(&producer, &topic, 0, 100, 10_000);
        }
        assert!(ledger.errors.iter().all(Error::is_retriable), "{:?}", ledger.errors);
        ledger.check(&engine);
        assert_eq!(engine.stats().withheld_records, 2);
        engine.close().unwrap();
        let _ = std::fs::remove_file(disk.mounted.join("filler"));
        check_reopening(&path, &mut ledger);
        drop((engine, topic, bulk, producer));
    }
}
