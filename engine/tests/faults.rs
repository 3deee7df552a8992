//! Storage that fails: writes and flushes, opens and reservations, the manifest, a slow device. (A full disk:
//! full_disk.rs.)
//!
//! After a failure these hold: what was acknowledged is there exactly once, what was not at most once,
//! nobody hangs, and who asks is told the first cause.

#![allow(clippy::unwrap_used)]

mod common;

use common::ledger::{Ledger, PATIENCE, value};
use common::storage::{is_segment, open_faulty};
use common::watchdog::watchdog;
use common::{backends, directory, is_about, small, values};
use ringlane::io::PAGE;
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::*;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const SEGMENT_0: &str = "segment-00000000";

/// Whether the keeper asks: faults are looked at on the thread that the engine calls the storage from.
fn by_keeper() -> bool {
    std::thread::current().name() == Some("ringlane-keeper")
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

/// A lane fails while it streams. Returns whether records were on their way then: where this thread had to wait, the
/// lane was idle, what failed was its mark, and every send is refused.
fn fail_while_streaming(backend: Backend, operation: Operation) -> bool {
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
    let were_on_their_way = ledger.errors.iter().any(Error::is_unknown_outcome);
    assert!(were_on_their_way || ledger.errors.iter().all(|error| error.code() == "poisoned"), "{:?}", ledger.errors);
    let cause = check_stopped(directory.path(), &engine, &topic, &producer, &mut ledger);
    assert_eq!(cause.errno, Some(libc::EIO));
    assert!(is_segment(&cause.file), "{cause}");
    were_on_their_way
}

#[test]
fn a_failed_flush_while_streaming_stops_every_lane_and_loses_nothing() {
    let _watchdog = watchdog(300, "a failed flush");
    for backend in backends() {
        for operation in [Operation::Flush, Operation::Write] {
            assert!((0..5).any(|_| fail_while_streaming(backend, operation)), "{operation:?} never hit a record");
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
    if !is_about(Backend::Plain) {
        return;
    }
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
