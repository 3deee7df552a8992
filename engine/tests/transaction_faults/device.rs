//! A device that fails in the middle: what was answered is so, and of what nobody knows the next opening finds all or nothing.

use super::SOON;
use super::common::storage::{is_segment, open_faulty};
use super::common::transaction::{all, create, named, of, open, send};
use super::common::watchdog::watchdog;
use super::common::{backends, directory, small};
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::*;
use std::path::Path;

/// Records of the transaction, in all of its lanes.
const RECORDS: u32 = 8;
/// How many lanes there are, in which partitions the transaction has records, and whether it is prepared before it is
/// committed. In the last two it has nothing in the first lane.
const CASES: [(u32, &[u32], bool); 6] = [
    (1, &[0, 1, 2, 3], false),
    (1, &[0, 1, 2, 3], true),
    (2, &[0, 1, 2, 3], false),
    (2, &[0, 1, 2, 3], true),
    (3, &[1, 2], false),
    (3, &[1, 2], true),
];

/// Whether the keeper asks: it prepares segments at its own pace.
fn by_keeper() -> bool {
    std::thread::current().name() == Some("ringlane-keeper")
}

/// What was told of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Prepared,
    Committed,
    RolledBack,
}

/// Runs the transaction until it fails, and says how far it came.
fn run(transaction: &mut Transaction, prepares: bool) -> (Told, Option<Error>) {
    let mut told = Told::Nothing;
    if prepares {
        match transaction.prepare() {
            Ok(()) => told = Told::Prepared,
            Err(error) => return (told, Some(error)),
        }
    }
    match transaction.commit() {
        // Where it becomes visible may fail: it is committed all the same.
        Ok(committed) => (Told::Committed, committed.receipts().err()),
        Err(error) if transaction.state() == TransactionState::RolledBack => (Told::RolledBack, Some(error)),
        Err(error) => (told, Some(error)),
    }
}

/// What the next opening makes of it.
fn check_reopened(path: &Path, lanes: u32, told: Told, prepares: bool) -> TransactionState {
    let engine = open(path, lanes);
    let state = match engine.transaction("a") {
        Ok(info) => info.state,
        Err(error) => {
            assert_eq!(error.code(), "unknown-transaction");
            TransactionState::RolledBack
        }
    };
    let found: Vec<String> = all(&engine).into_iter().filter(|value| value != "before").collect();
    match state {
        TransactionState::Committed => assert_eq!(found, of("a", RECORDS), "all of it"),
        TransactionState::RolledBack | TransactionState::Prepared => assert_eq!(found, [""; 0], "nothing of it"),
        other => panic!("{other}"),
    }
    match told {
        Told::Nothing => {}
        Told::Prepared => assert_ne!(state, TransactionState::RolledBack, "that it is prepared was promised"),
        Told::Committed => assert_eq!(state, TransactionState::Committed),
        Told::RolledBack => assert_eq!(state, TransactionState::RolledBack),
    }
    if state == TransactionState::Prepared {
        assert!(prepares, "nobody was to be told that it is prepared");
        engine.commit_transaction("a").unwrap();
        engine.sync().unwrap();
        assert_eq!(all(&engine).len(), 1 + RECORDS as usize);
    }
    // It works again.
    let mut next = engine.producer(ProducerOptions::new()).unwrap().begin(named("next")).unwrap();
    send(&mut next, &engine.topic("t").unwrap(), RECORDS);
    next.commit().unwrap().receipts().unwrap();
    engine.close().unwrap();
    assert!(!verify(path, &mut |_| {}).unwrap().is_damaged());
    state
}

/// Each write, and each flush, of a transaction over several lanes fails once: the first, the second and so on, until one
/// transaction comes through.
fn each_operation_fails_once(operation: Operation, effect: Effect) {
    let _watchdog = watchdog(400, "transactions on a device that fails");
    for backend in backends() {
        for (lanes, partitions, prepares) in CASES {
            let (mut unknown, mut states) = (0, Vec::new());
            for number in 1.. {
                assert!(number < 60, "it never comes through");
                let (directory, faults) = (directory(), Faults::new());
                let options = small().backend(backend).lanes(Some(lanes));
                let engine = open_faulty(directory.path(), options, &faults).unwrap();
                let (topic, producer) = create(&engine);
                producer.send(&topic, Record::new(b"before").partition(0)).unwrap().wait().unwrap();
                let mut transaction = producer.begin(named("a")).unwrap();
                for (number, partition) in (0..RECORDS).zip(partitions.iter().cycle()) {
                    let value = format!("a/{number}");
                    transaction.send(&topic, Record::new(value.as_bytes()).partition(*partition)).unwrap();
                }
                faults.arm(Fault::new(operation, effect).on(|name| is_segment(name) && !by_keeper()).nth(number));
                let (told, error) = run(&mut transaction, prepares);
                let is_hit = faults.hits() > 0;
                faults.disarm();
                if let Some(error) = &error {
                    assert!(error.is_unknown_outcome() || error.is_fatal(), "{error}");
                    unknown += 1;
                    // Who asks again is not told anything else.
                    let again = transaction.commit();
                    assert!(told == Told::Committed || again.is_err(), "{told:?}, then {again:?}");
                    assert!(engine.commit_transaction("a").is_err(), "the engine has stopped");
                }
                drop(transaction);
                let _ = engine.close();
                drop(engine);
                states.push(check_reopened(directory.path(), lanes, told, prepares));
                if error.is_none() && !is_hit {
                    assert_eq!(told, Told::Committed);
                    break;
                }
            }
            // Something was hit, or there is no such operation on this backend.
            assert!(unknown > 0 || states.len() == 1, "{backend:?}: {states:?}");
            assert_eq!(states.last(), Some(&TransactionState::Committed));
        }
    }
}

#[test]
fn a_write_that_fails_in_the_middle_of_a_commit() {
    each_operation_fails_once(Operation::Write, Effect::Fail(libc::EIO));
}

/// The bytes are there, and nobody knows: reopened, it may be any of the two.
#[test]
fn a_write_that_is_torn_in_the_middle_of_a_commit() {
    each_operation_fails_once(Operation::Write, Effect::Torn(1 << 20));
}

#[test]
fn a_flush_that_fails_in_the_middle_of_a_commit() {
    each_operation_fails_once(Operation::Flush, Effect::Fail(libc::EIO));
}

/// The device fails while a checker's decision is on its way. The checker's thread neither hangs nor goes on asking for ever,
/// closing ends, and the next opening asks.
#[test]
fn a_device_that_fails_under_a_checker() {
    let _watchdog = watchdog(120, "a checker on a device that fails");
    let (directory, faults) = (directory(), Faults::new());
    let engine = open_faulty(directory.path(), small().lanes(Some(2)), &faults).unwrap();
    let (topic, producer) = create(&engine);
    let mut transaction = producer.begin(named("a").checker("c")).unwrap();
    send(&mut transaction, &topic, RECORDS);
    transaction.prepare().unwrap();
    faults.arm(Fault::new(Operation::Write, Effect::Fail(libc::EIO)).on(|name| is_segment(name) && !by_keeper()));
    let commits = |_: &HalfTransaction| CheckAnswer::Commit;
    engine.register_checker("c", CheckerOptions::new().first(std::time::Duration::ZERO), commits).unwrap();
    drop(transaction);
    super::common::wait_until("the engine has stopped", || engine.stats().poisoned.is_some());
    let begun = std::time::Instant::now();
    let _ = engine.close();
    assert!(begun.elapsed() < SOON);
    drop(engine);
    let engine = open(directory.path(), 2);
    engine.register_checker("c", CheckerOptions::new(), commits).unwrap();
    super::common::wait_until("it is decided", || engine.transactions().is_empty());
    engine.sync().unwrap();
    assert_eq!(all(&engine), of("a", RECORDS));
    engine.close().unwrap();
}
