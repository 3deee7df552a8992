//! A full disk: producers are refused, everything else goes on, for ever, and through every crash.
//!
//! The story. The reserve of two segments used to be the last two that the keeper had prepared for
//! producers. A fast producer took them before the keeper had seen that the disk was full; each opening
//! took one for good; and without any left, an engine could not be opened until somebody freed space.

#![allow(clippy::unwrap_used)]

mod common;

use common::ledger::{Ledger, PATIENCE};
use common::storage::open_faulty;
use common::watchdog::watchdog;
use common::{backends, directory, is_about, small, values};
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::io::{Clock, Directory, DirectoryOptions, SystemClock};
use ringlane::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Segments in the reserve of a log, and how many of them publications leave alone.
const RESERVE: usize = 5;
const TURNOVER: usize = 3;

/// The sizes of the segments in reserve, as the manifest has them.
fn reserve(path: &Path) -> Vec<u64> {
    let segments = inspect(path).unwrap().segments;
    segments.iter().filter(|segment| segment.state == "reserve").map(|segment| segment.bytes).collect()
}

/// Everything that must work on a full disk, apart from publications and opening.
fn check_bookkeeping(engine: &Engine, ledger: &Ledger, withheld: RecordId, round: u32) {
    ledger.check(engine);
    let name = format!("more-{round}");
    engine.create_topic(&name, TopicOptions::new().partitions(3)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.cancel(withheld).unwrap();
    assert_eq!(producer.cancel(withheld), Err(Error::NotWithheld));
    engine.delete_topic(&name).unwrap();
    engine.sync().unwrap();
    assert_eq!(engine.stats().poisoned, None);
}

/// Delayed records, far in the future.
fn delayed(producer: &Producer, topic: &Topic, count: usize) -> Vec<RecordId> {
    let record = || Record::new(b"delayed").partition(0).visible_after(Duration::from_secs(86_400));
    let handles: Vec<_> = (0..count).map(|_| producer.send(topic, record()).unwrap()).collect();
    handles.into_iter().map(|handle| handle.wait().unwrap().id).collect()
}

/// For what the keeper does when it next looks.
fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it never comes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An engine with `lanes` lanes on a disk that a producer, as fast as it can, has filled.
fn filled(path: &Path, options: Options, faults: &Faults, withheld: usize) -> (Engine, Ledger, Vec<RecordId>) {
    let engine = open_faulty(path, options, faults).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(engine.stats().lanes.len() as u32)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut ledger = Ledger::default();
    let withheld = delayed(&producer, &topic, withheld);
    faults.limit_space(Some(6 << 20));
    for partition in 0..topic.partitions() {
        ledger.send_until_error(&producer, &topic, partition);
        ledger.assert_no_space();
    }
    // The keeper leaves the file system a little, of which the reserve could have some more.
    faults.limit_space(Some(0));
    (engine, ledger, withheld)
}

#[test]
fn producers_are_refused_before_they_take_the_reserve() {
    let _watchdog = watchdog(300, "a full disk and a fast producer");
    for backend in backends() {
        for lanes in [1, 2] {
            let (directory, faults) = (directory(), Faults::new());
            let options = small().backend(backend).lanes(Some(lanes));
            let (engine, mut ledger, withheld) = filled(directory.path(), options, &faults, 1);
            assert_eq!(reserve(directory.path()).len(), RESERVE * lanes as usize);
            let topic = engine.topic("t").unwrap();
            let producer = engine.producer(ProducerOptions::new()).unwrap();
            for size in [10, 1_000, 200_000] {
                for partition in 0..lanes {
                    ledger.send_until_error(&producer, &topic, partition);
                    ledger.send(&producer, &topic, partition, 100, size);
                }
                // A small one may still fit where a large one did not; then it is kept.
                ledger.assert_no_space();
            }
            check_bookkeeping(&engine, &ledger, withheld[0], 0);
            assert!(reserve(directory.path()).len() >= (RESERVE - 1) * lanes as usize);

            // Space again: first the reserve, then the producers.
            faults.limit_space(None);
            for partition in 0..lanes {
                ledger.send_until_success(&producer, &topic, partition);
            }
            wait_until(|| !engine.stats().no_space);
            assert_eq!(reserve(directory.path()).len(), RESERVE * lanes as usize);
            ledger.check(&engine);
            engine.close().unwrap();
            assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
        }
    }
}

/// What bookkeeping writes is spent when two later checkpoints say the same: its segments turn over.
#[test]
fn bookkeeping_goes_on_without_end() {
    let _watchdog = watchdog(300, "bookkeeping on a full disk");
    let (directory, faults) = (directory(), Faults::new());
    // Without power-safe overwrite each group fills its page, so that segments are soon full.
    let options = small().power_safe_overwrite(false);
    let (engine, ledger, withheld) = filled(directory.path(), options.clone(), &faults, 1_700);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let before = engine.stats().lanes[0].segments;
    for (round, id) in withheld.iter().enumerate() {
        producer.cancel(*id).unwrap_or_else(|error| panic!("cancelling {round}: {error}"));
    }
    let written = engine.stats().lanes[0].segments - before;
    assert!(written > RESERVE as u64, "{written} segments were filled");
    for round in 0..1_500 {
        let name = format!("more-{round}");
        engine.create_topic(&name, TopicOptions::new()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        engine.delete_topic(&name).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    let written = engine.stats().lanes[0].segments;
    assert!(written > 3 * RESERVE as u64, "{written} segments were filled");
    ledger.check(&engine);
    engine.close().unwrap();
    assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
    let engine = open_faulty(directory.path(), options, &faults).unwrap();
    ledger.check(&engine);
    assert_eq!(engine.topics().len(), 1);
    engine.close().unwrap();
}

/// Each opening begins a fresh segment. On a full disk it comes out of the reserve; fifty openings, with
/// bookkeeping in each, must not use that up.
#[test]
fn a_full_engine_is_opened_again_and_again() {
    let _watchdog = watchdog(400, "openings on a full disk");
    for backend in backends() {
        let (directory, faults) = (directory(), Faults::new());
        let options = small().backend(backend).lanes(Some(2));
        let (mut engine, mut ledger, withheld) = filled(directory.path(), options.clone(), &faults, 60);
        for (round, id) in withheld.iter().enumerate().take(50) {
            engine.close().unwrap();
            let opened = open_faulty(directory.path(), options.clone(), &faults);
            engine = opened.unwrap_or_else(|error| panic!("round {round}: {error}"));
            check_bookkeeping(&engine, &ledger, *id, round as u32);
            assert_eq!(engine.stats().withheld_records, 59 - round as u64);
            let topic = engine.topic("t").unwrap();
            let producer = engine.producer(ProducerOptions::new()).unwrap();
            for partition in 0..2 {
                ledger.send_until_error(&producer, &topic, partition);
                ledger.assert_no_space();
            }
        }
        // A deleted topic gives its space to others, though the disk stays full.
        engine.create_topic("other", TopicOptions::new().partitions(2)).unwrap();
        engine.delete_topic("t").unwrap();
        let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        let mut ledger = Ledger::default();
        for partition in 0..2 {
            ledger.send_until_success(&producer, &topic, partition);
        }
        ledger.check(&engine);
        wait_until(|| reserve(directory.path()).len() == RESERVE * 2);
        engine.close().unwrap();
        assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
    }
}

/// A record that becomes visible keeps the segment of its publication. So publications stop while there
/// are still segments enough to turn over, and openings go on.
#[test]
fn publications_go_on_until_openings_would_suffer() {
    let _watchdog = watchdog(300, "publications on a full disk");
    let (directory, faults) = (directory(), Faults::new());
    let (mut engine, mut ledger, withheld) = filled(directory.path(), small(), &faults, 30);
    assert_eq!(reserve(directory.path()).len(), RESERVE);
    let mut published = 0;
    for (round, id) in withheld.iter().enumerate().take(20) {
        engine.close().unwrap();
        let opened = open_faulty(directory.path(), small(), &faults);
        engine = opened.unwrap_or_else(|error| panic!("round {round}: {error}"));
        match engine.publish_withheld(*id, &[]) {
            Ok(()) => published += 1,
            Err(error) => assert!(matches!(error, Error::NoSpace { .. }), "{error}"),
        }
        let topic = engine.topic("t").unwrap();
        let seen = values(&engine, &topic, 0).into_iter().filter(|value| value == b"delayed").count();
        assert_eq!(seen, published, "round {round}");
    }
    assert!((1..=RESERVE - TURNOVER).contains(&published), "{published} openings with a publication each");

    // Space again: what was refused can be published.
    faults.limit_space(None);
    let topic = engine.topic("t").unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    ledger.send_until_success(&producer, &topic, 0);
    for id in &withheld[20..] {
        engine.publish_withheld(*id, &[]).unwrap();
    }
    let seen = values(&engine, &topic, 0).into_iter().filter(|value| value == b"delayed").count();
    assert_eq!(seen, published + 10);
    engine.close().unwrap();
}

/// A wall clock that a test sets forward.
struct SettableClock {
    inner: SystemClock,
    ahead_ms: AtomicI64,
}

impl Clock for SettableClock {
    fn monotonic_ns(&self) -> u64 {
        self.inner.monotonic_ns()
    }
    fn wall_ms(&self) -> i64 {
        self.inner.wall_ms() + self.ahead_ms.load(Ordering::SeqCst)
    }
}

/// Records become due when there is no room for their publication. They become visible when there is.
#[test]
fn what_is_due_waits_for_room() {
    let _watchdog = watchdog(300, "due on a full disk");
    let (directory, faults) = (directory(), Faults::new());
    let (mut engine, mut ledger, withheld) = filled(directory.path(), small(), &faults, 30);
    let clock = Arc::new(SettableClock { inner: SystemClock::new(), ahead_ms: AtomicI64::new(0) });
    let mut published = 0;
    // Use up what publications may have.
    for id in &withheld[..10] {
        engine.close().unwrap();
        let storage = Directory::open(directory.path(), DirectoryOptions::default(), clock.clone()).unwrap();
        let storage = faults.wrap(Arc::new(storage), clock.clone());
        engine = Engine::open_on(directory.path(), storage, clock.clone(), small()).unwrap();
        published += usize::from(engine.publish_withheld(*id, &[]).is_ok());
    }
    let topic = engine.topic("t").unwrap();
    let delayed_seen = || values(&engine, &topic, 0).iter().filter(|value| *value == b"delayed").count();
    assert_eq!(delayed_seen(), published);
    clock.ahead_ms.store(2 * 86_400_000, Ordering::SeqCst);
    for round in 0..5 {
        engine.create_topic("more", TopicOptions::new()).unwrap();
        engine.delete_topic("more").unwrap();
        assert_eq!(delayed_seen(), published, "round {round}: no room");
    }
    faults.limit_space(None);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    ledger.send_until_success(&producer, &topic, 0);
    wait_until(|| delayed_seen() == 30);
    assert_eq!(engine.stats().withheld_records, 0);
    engine.close().unwrap();
}

/// A checkpoint must fit into the reserve, whatever a log has come to know.
#[test]
fn the_reserve_grows_with_the_state_of_its_log() {
    let _watchdog = watchdog(300, "a growing reserve");
    let (directory, faults) = (directory(), Faults::new());
    let engine = open_faulty(directory.path(), small(), &faults).unwrap();
    let before = reserve(directory.path());
    assert_eq!(before, [256 << 10; RESERVE]);
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let later = |value| Record::new(value).partition(0).visible_after(Duration::from_secs(86_400));
    let handles: Vec<_> = (0..6_000).map(|_| producer.send(&topic, later(b"w")).unwrap()).collect();
    for handle in handles {
        handle.wait().unwrap();
    }
    // 6,000 withheld frames take 36 bytes each in a checkpoint.
    let grown = reserve(directory.path());
    assert!(grown.len() == RESERVE && grown.iter().all(|bytes| *bytes >= 512 << 10), "{grown:?}");

    // No more space: what would make the state too large for the reserve is refused, early.
    faults.limit_space(Some(0));
    let (mut refused, mut taken) = (0, Vec::new());
    for _ in 0..200 {
        let handles: Vec<_> = (0..100).map(|_| producer.send(&topic, later(b"w")).unwrap()).collect();
        for handle in handles {
            match handle.wait() {
                Ok(receipt) => taken.push(receipt.id),
                Err(error) => {
                    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                    refused += 1;
                }
            }
        }
    }
    let withheld = engine.stats().withheld_records;
    let room = (reserve(directory.path()).into_iter().min().unwrap() - (128 << 10)) / 2;
    assert!(refused > 0 && withheld * 40 <= room, "{withheld} withheld, {room} bytes for a checkpoint");
    // A topic makes it larger, too, by a little more than a withheld record: there is room for one when two of these go.
    taken.iter().take(2).for_each(|id| producer.cancel(*id).unwrap());
    let withheld = withheld - 2;
    for _ in 0..10 {
        engine.close().unwrap();
        let engine = open_faulty(directory.path(), small(), &faults).unwrap();
        assert_eq!(engine.stats().withheld_records, withheld);
        engine.create_topic("more", TopicOptions::new()).unwrap();
        engine.delete_topic("more").unwrap();
        engine.close().unwrap();
    }
    assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
}

/// Opening ends at its `n`-th operation of any kind, and everything after that fails too: as if the
/// process had been killed there. Or only that one finds no space.
fn opening_may_end_anywhere(errno: i32, alone: bool) {
    if !is_about(Backend::Plain) {
        return;
    }
    let _watchdog = watchdog(500, "opening ends anywhere");
    let options = small().backend(Backend::Plain).lanes(Some(2));
    let (directory, faults) = (directory(), Faults::new());
    let (engine, ledger, withheld) = filled(directory.path(), options.clone(), &faults, 400);
    engine.close().unwrap();
    let (mut ended, mut was_hit) = (0, true);
    for (n, id) in withheld.iter().enumerate() {
        let hits = faults.hits();
        // Twice in a row: what the first left behind must do for the second.
        for n in [n, n * 7 % 60] {
            fail_from(&faults, n as u64, errno, alone);
            match open_faulty(directory.path(), options.clone(), &faults) {
                Ok(engine) => drop(engine.close()),
                Err(error) => {
                    // What cannot be read is not told from what is damaged, and nothing was changed.
                    let known = ["io", "no-space", "poisoned", "unknown-outcome", "damaged"];
                    assert!(known.contains(&error.code()), "operation {n}: {error}");
                }
            }
            was_hit = faults.hits() > hits;
            faults.disarm();
            if !was_hit {
                break;
            }
        }
        let opened = open_faulty(directory.path(), options.clone(), &faults);
        let engine = opened.unwrap_or_else(|error| panic!("after operation {n}, errno {errno}: {error}"));
        // What was cancelled before stays cancelled.
        assert_eq!(engine.stats().withheld_records, (withheld.len() - n) as u64, "after operation {n}");
        check_bookkeeping(&engine, &ledger, *id, n as u32);
        drop(engine);
        if !was_hit {
            break;
        }
        ended += 1;
    }
    assert!((20..withheld.len()).contains(&ended), "{ended} places to end at");
    assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
}

#[test]
fn opening_a_full_engine_may_end_anywhere() {
    opening_may_end_anywhere(libc::EIO, false);
}

#[test]
fn opening_a_full_engine_may_find_no_space_from_anywhere_on() {
    opening_may_end_anywhere(libc::ENOSPC, false);
}

#[test]
fn opening_a_full_engine_may_find_no_space_once_anywhere() {
    opening_may_end_anywhere(libc::ENOSPC, true);
}

/// Lets operation number `n` from now on fail, and unless `alone` all after it.
fn fail_from(faults: &Faults, n: u64, errno: i32, alone: bool) {
    let count = Arc::new(AtomicU64::new(0));
    for operation in [
        Operation::Open,
        Operation::Remove,
        Operation::SyncDirectory,
        Operation::Allocate,
        Operation::Read,
        Operation::Write,
        Operation::Flush,
    ] {
        let count = count.clone();
        let concerned = move |_: &str| {
            let at = count.fetch_add(1, Ordering::Relaxed);
            if alone { at == n } else { at >= n }
        };
        faults.arm(Fault::new(operation, Effect::Fail(errno)).on(concerned).forever());
    }
}

/// The story: a creation that ended between its first segment and its manifest left a directory that
/// was called damaged ever after.
#[test]
fn creating_may_end_anywhere_and_needs_room_for_the_reserve() {
    if !is_about(Backend::Plain) {
        return;
    }
    let _watchdog = watchdog(500, "creation ends anywhere");
    let options = || small().backend(Backend::Plain).lanes(Some(2));
    for (errno, alone) in [(libc::EIO, false), (libc::ENOSPC, true)] {
        for n in 0.. {
            let (directory, faults) = (directory(), Faults::new());
            fail_from(&faults, n, errno, alone);
            drop(open_faulty(directory.path(), options(), &faults));
            let was_hit = faults.hits() > 0;
            faults.disarm();
            let opened = open_faulty(directory.path(), options(), &faults);
            let engine = opened.unwrap_or_else(|error| panic!("after operation {n}, errno {errno}: {error}"));
            engine.create_topic("t", TopicOptions::new()).unwrap();
            engine.close().unwrap();
            if !was_hit {
                assert!(n > 20, "{n} operations");
                break;
            }
        }
    }
    // 2 segments of 1 MiB, and 10 of 256 KiB.
    for mib in [0, 1, 2, 3, 4] {
        let (directory, faults) = (directory(), Faults::new());
        faults.limit_space(Some(mib << 20));
        let error = open_faulty(directory.path(), options(), &faults).map(drop).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{mib} MiB: {error}");
        faults.limit_space(None);
        let engine = open_faulty(directory.path(), options().lanes(Some(1)), &faults).unwrap();
        assert!(engine.recovery().created && engine.stats().lanes.len() == 1);
        engine.close().unwrap();
    }
}

/// The story: what was spent went back into one pool. A lane whose reserve was used up by publications took
/// what the other one had given back, published more, and in the end there was nothing to open with.
#[test]
fn no_lane_uses_up_the_reserve_of_another() {
    let _watchdog = watchdog(300, "publications on one lane of two");
    let (directory, faults) = (directory(), Faults::new());
    let options = || small().lanes(Some(2));
    let (mut engine, ledger, withheld) = filled(directory.path(), options(), &faults, 30);
    ledger.check(&engine);
    let mut published = 0;
    for (round, id) in withheld.iter().enumerate().take(20) {
        engine.close().unwrap();
        let opened = open_faulty(directory.path(), options(), &faults);
        engine = opened.unwrap_or_else(|error| panic!("round {round}, {published} published: {error}"));
        // What the opening before this one used of the other lane's reserve is back.
        let of_lane = |lane| {
            let segments = inspect(directory.path()).unwrap().segments;
            segments.iter().filter(|segment| segment.state == "reserve" && segment.log == lane).count()
        };
        wait_until(|| of_lane(1) >= TURNOVER - 1);
        published += usize::from(engine.publish_withheld(*id, &[]).is_ok());
    }
    assert!((1..=RESERVE - TURNOVER).contains(&published), "{published} publications");
    let seen = values(&engine, &engine.topic("t").unwrap(), 0).into_iter().filter(|value| value == b"delayed").count();
    assert_eq!(seen, published);
    engine.close().unwrap();
}

/// Somebody removes the files of the reserve. The story: lane and keeper asked each other for ever.
#[test]
fn a_reserve_that_somebody_removed_is_an_error() {
    let _watchdog = watchdog(300, "a reserve that is gone");
    let (directory, faults) = (directory(), Faults::new());
    // Without power-safe overwrite each group fills its page, so that the segment is soon full.
    let options = small().power_safe_overwrite(false).lanes(Some(1));
    let (engine, ledger, _) = filled(directory.path(), options, &faults, 1);
    for segment in inspect(directory.path()).unwrap().segments.iter().filter(|segment| segment.state == "reserve") {
        std::fs::remove_file(directory.path().join(&segment.file)).unwrap();
    }
    let toggle = || engine.create_topic("more", TopicOptions::new()).and_then(|_| engine.delete_topic("more"));
    let refused = (0..2_000).find_map(|_| toggle().err());
    assert!(matches!(refused, Some(Error::NoSpace { .. })), "{refused:?}");
    ledger.check(&engine);
    engine.close().unwrap();
}
