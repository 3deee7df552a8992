//! Checkers that fail, lie, come late, or are not there.

use super::common::transaction::{all, begin, named, of, open, prepared};
use super::common::{assert_says, directory, wait_until};
use super::{A_WHILE, SOON};
use ringlane::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Asked at once, and again soon.
fn eager() -> CheckerOptions {
    CheckerOptions::new().first(Duration::ZERO).interval(Duration::from_millis(1))
}

fn of_checker(id: &str) -> TransactionOptions {
    named(id).checker("c")
}

fn state(engine: &Engine, id: &str) -> TransactionState {
    engine.transaction(id).unwrap().state
}

/// Counts how often it is asked of each transaction.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<BTreeMap<String, u32>>>);

impl Asked {
    fn count(&self, half: &HalfTransaction) -> u32 {
        let mut asked = self.0.lock().unwrap();
        let count = asked.entry(half.id.clone()).or_default();
        *count += 1;
        *count
    }

    fn of(&self, id: &str) -> u32 {
        self.0.lock().unwrap().get(id).copied().unwrap_or_default()
    }
}

/// RocketMQ 9500: one check throws, and no other transaction is checked any more.
#[test]
fn a_checker_that_panics_holds_up_nobody() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 2);
    let (asked, is_healed) = (Asked::default(), Arc::new(AtomicBool::new(false)));
    let (counts, healed) = (asked.clone(), is_healed.clone());
    let checker = move |half: &HalfTransaction| {
        counts.count(half);
        // The oldest one: it is always asked first.
        assert!(half.id != "bad" || healed.load(Ordering::SeqCst), "on purpose");
        CheckAnswer::Commit
    };
    engine.register_checker("c", eager().checks_max(3), checker).unwrap();
    drop(prepared(&producer, &topic, of_checker("bad"), 4));
    for number in 0..5 {
        drop(prepared(&producer, &topic, of_checker(&format!("good-{number}")), 4));
    }
    wait_until("the others are committed", || engine.transactions().len() == 1);
    wait_until("it is asked again", || asked.of("bad") > 5);
    // No answer, no count: it is not unresolved, however often that happens.
    let info = engine.transaction("bad").unwrap();
    assert_eq!((info.state, info.checks), (TransactionState::Prepared, 0));
    let stats = engine.stats().transactions;
    assert!(stats.checker_failures > 5 && stats.checks >= stats.checker_failures + 5, "{stats:?}");
    is_healed.store(true, Ordering::SeqCst);
    wait_until("it is asked once more", || state(&engine, "bad") == TransactionState::Committed);
    wait_until("it is visible in all lanes", || all(&engine).len() == 24);
    engine.close().unwrap();
}

/// A checker that blocks keeps others waiting that ask it, and nobody who asks another one.
#[test]
fn a_checker_that_blocks_holds_up_no_other_checker() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let (lets_go, blocks) = channel::<()>();
    let blocks = Mutex::new(blocks);
    let checker = move |_: &HalfTransaction| {
        let _ = blocks.lock().unwrap().recv();
        CheckAnswer::RollBack
    };
    engine.register_checker("c", eager(), checker).unwrap();
    engine.register_checker("other", eager(), |_: &HalfTransaction| CheckAnswer::Commit).unwrap();
    drop(prepared(&producer, &topic, of_checker("blocked"), 1));
    drop(prepared(&producer, &topic, named("free").checker("other"), 1));
    wait_until("the other one is asked", || state(&engine, "free") == TransactionState::Committed);
    assert_eq!(state(&engine, "blocked"), TransactionState::Prepared);
    // Replaced by one that does not block; the old one's answer comes late, and changes nothing.
    engine.register_checker("c", eager(), |_: &HalfTransaction| CheckAnswer::Commit).unwrap();
    wait_until("the new one is asked", || state(&engine, "blocked") == TransactionState::Committed);
    drop(lets_go);
    engine.close().unwrap();
    let engine = open(directory.path(), 1);
    assert_eq!(all(&engine), ["blocked/0", "free/0"]);
    engine.close().unwrap();
}

/// RocketMQ 8158: the check said commit, the producer is late and commits too: two messages. And 2694: the check said roll
/// back, and the late commit was published.
#[test]
fn a_late_producer_changes_nothing_that_a_checker_decided() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        let checker = |half: &HalfTransaction| match half.id.as_str() {
            "commit" => CheckAnswer::Commit,
            _ => CheckAnswer::RollBack,
        };
        engine.register_checker("c", eager(), checker).unwrap();
        drop(prepared(&producer, &topic, of_checker("commit"), 4));
        drop(prepared(&producer, &topic, of_checker("back"), 4));
        wait_until("both are decided", || engine.transactions().is_empty());
        engine.commit_transaction("commit").unwrap();
        assert_says(&engine.roll_back_transaction("commit").unwrap_err(), "transaction-conflict", &["committed"]);
        engine.roll_back_transaction("back").unwrap();
        assert_says(&engine.commit_transaction("back").unwrap_err(), "transaction-conflict", &["rolled back"]);
        wait_until("it is visible in all lanes", || all(&engine).len() >= 4);
        assert_eq!(all(&engine), of("commit", 4));
        engine.close().unwrap();
        let engine = open(directory.path(), lanes);
        assert_eq!(all(&engine), of("commit", 4));
        engine.close().unwrap();
    }
}

/// The checker takes its time; meanwhile the application decides. What it says then, the same or not, is nothing.
#[test]
fn a_checker_that_answers_late_changes_nothing() {
    for (answer, commits) in [
        (CheckAnswer::Commit, true),
        (CheckAnswer::Commit, false),
        (CheckAnswer::RollBack, true),
        (CheckAnswer::RollBack, false),
        (CheckAnswer::Unknown, true),
    ] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), 2);
        let ((begins, is_asked), (lets_go, blocks)) = (channel(), channel::<()>());
        let (begins, blocks) = (Mutex::new(begins), Mutex::new(blocks));
        let checker = move |_: &HalfTransaction| {
            begins.lock().unwrap().send(()).unwrap();
            let _ = blocks.lock().unwrap().recv();
            answer
        };
        engine.register_checker("c", eager(), checker).unwrap();
        drop(prepared(&producer, &topic, of_checker("a"), 4));
        is_asked.recv_timeout(SOON).unwrap();
        let expected = match commits {
            true => {
                engine.commit_transaction("a").unwrap();
                TransactionState::Committed
            }
            false => {
                engine.roll_back_transaction("a").unwrap();
                TransactionState::RolledBack
            }
        };
        drop(lets_go);
        std::thread::sleep(A_WHILE);
        assert_eq!(state(&engine, "a"), expected);
        // Final: nobody is asked again.
        assert!(is_asked.try_recv().is_err());
        engine.close().unwrap();
        let engine = open(directory.path(), 2);
        assert_eq!(state(&engine, "a"), expected);
        assert_eq!(all(&engine), if commits { of("a", 4) } else { vec![] });
        engine.close().unwrap();
    }
}

/// RocketMQ 8311: while the local transaction may still run, checks were made all the same, and counted.
#[test]
fn what_is_in_somebodys_hands_is_not_checked() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let asked = Asked::default();
    let counts = asked.clone();
    let checker = move |half: &HalfTransaction| {
        counts.count(half);
        CheckAnswer::Unknown
    };
    engine.register_checker("c", eager(), checker).unwrap();
    // This one it is asked of all the time.
    drop(prepared(&producer, &topic, of_checker("dropped"), 1));
    let mut held = prepared(&producer, &topic, of_checker("held"), 1);
    let in_one_call = |id: &str| {
        assert_eq!(state(&engine, id), TransactionState::Prepared);
        let before = asked.of("dropped");
        wait_until("others are checked meanwhile", || asked.of("dropped") > before + 2);
        LocalOutcome::Commit
    };
    producer.send_in_transaction(&topic, Record::new(b"v"), of_checker("in-one-call"), in_one_call).unwrap();
    assert_eq!((asked.of("held"), asked.of("in-one-call")), (0, 0));
    assert_eq!(engine.transaction("held").unwrap().checks, 0);
    held.commit().unwrap();
    engine.roll_back_transaction("dropped").unwrap();
    assert_eq!(engine.stats().transactions.checks, u64::from(asked.of("dropped")));
    engine.close().unwrap();
}

/// The local transaction panics: nobody can tell how far it came. The record is neither lost nor published; the checker is
/// asked.
#[test]
fn a_local_transaction_that_panics_leaves_it_to_the_checker() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let checker = |half: &HalfTransaction| match half.id.as_str() {
        "commit" => CheckAnswer::Commit,
        _ => CheckAnswer::RollBack,
    };
    engine.register_checker("c", eager(), checker).unwrap();
    let panics = |_: &str| -> LocalOutcome { panic!("on purpose") };
    for id in ["commit", "back"] {
        let send = || producer.send_in_transaction(&topic, Record::new(id.as_bytes()), of_checker(id), panics);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(send)).unwrap_err();
    }
    wait_until("both are decided", || engine.transactions().is_empty());
    assert_eq!(all(&engine), ["commit"]);
    engine.close().unwrap();
}

/// Checks were spent while no producer lived that could have answered them; then the message was dropped.
#[test]
fn no_checker_no_count() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    for id in ["commit", "back"] {
        drop(prepared(&producer, &topic, of_checker(id), 1));
    }
    drop(prepared(&producer, &topic, named("of-nobody"), 1));
    // Another one does not concern them.
    engine.register_checker("other", eager().checks_max(1), |_: &HalfTransaction| CheckAnswer::Unknown).unwrap();
    // One that is gone again neither.
    engine.unregister_checker("other");
    std::thread::sleep(A_WHILE);
    engine.close().unwrap();
    for _ in 0..3 {
        let engine = open(directory.path(), 1);
        std::thread::sleep(A_WHILE);
        assert_eq!(engine.stats().transactions.checks, 0);
        for info in engine.transactions() {
            assert_eq!((info.state, info.checks), (TransactionState::Prepared, 0), "{info:?}");
        }
        engine.close().unwrap();
    }
    let engine = open(directory.path(), 1);
    let checker = |half: &HalfTransaction| match half.id.as_str() {
        "commit" => CheckAnswer::Commit,
        _ => CheckAnswer::RollBack,
    };
    // Of an earlier process: at once, however long it takes otherwise. One answer is enough.
    let patient = CheckerOptions::new().first(Duration::from_secs(3600)).checks_max(1);
    engine.register_checker("c", patient, checker).unwrap();
    wait_until("both are decided", || engine.transactions().len() == 1);
    assert_eq!(all(&engine), ["commit/0"]);
    assert_eq!(engine.transactions()[0].id, "of-nobody");
    engine.roll_back_transaction("of-nobody").unwrap();
    engine.close().unwrap();
}

/// What is decided is not asked of any more, by whoever it was decided.
#[test]
fn nobody_is_asked_of_what_is_final() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 2);
    let asked = Asked::default();
    let counts = asked.clone();
    let checker = move |half: &HalfTransaction| match counts.count(half) {
        3 if half.id == "commit" => CheckAnswer::Commit,
        3 if half.id == "back" => CheckAnswer::RollBack,
        _ => CheckAnswer::Unknown,
    };
    let options = eager().checks_max(100_000);
    engine.register_checker("c", options, checker).unwrap();
    for id in ["commit", "back", "by-id"] {
        drop(prepared(&producer, &topic, of_checker(id), 2));
    }
    wait_until("it is asked", || asked.of("by-id") > 0);
    engine.commit_transaction("by-id").unwrap();
    wait_until("all are decided", || engine.transactions().is_empty());
    let at_the_end = asked.of("by-id");
    std::thread::sleep(A_WHILE);
    assert_eq!((asked.of("commit"), asked.of("back")), (3, 3));
    assert!(asked.of("by-id") <= at_the_end + 1, "one may have been on its way");
    let checks = engine.stats().transactions.checks;
    std::thread::sleep(A_WHILE);
    assert_eq!(engine.stats().transactions.checks, checks);
    engine.close().unwrap();
    // Nor in another process.
    let engine = open(directory.path(), 1);
    let counts = asked.clone();
    let again = move |half: &HalfTransaction| {
        counts.count(half);
        CheckAnswer::RollBack
    };
    engine.register_checker("c", eager(), again).unwrap();
    std::thread::sleep(A_WHILE);
    assert_eq!((asked.of("commit"), asked.of("back"), engine.stats().transactions.checks), (3, 3, 0));
    assert_eq!(all(&engine), [of("by-id", 2), of("commit", 2)].concat());
    engine.close().unwrap();
}

/// RocketMQ drops a message after the last check. Here it is parked: kept, listed, an alarm in the statistics, asked again in
/// the next process, and decided by a call.
#[test]
fn what_nobody_knows_is_parked_and_resolved_by_a_call() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        let asked = Arc::new(AtomicU32::new(0));
        let counts = asked.clone();
        let checker = move |half: &HalfTransaction| {
            assert_eq!(half.records, 4);
            assert!(half.unknown < 3);
            counts.fetch_add(1, Ordering::SeqCst);
            CheckAnswer::Unknown
        };
        engine.register_checker("c", eager().checks_max(3), checker).unwrap();
        for id in ["commit", "back", "kept"] {
            drop(prepared(&producer, &topic, of_checker(id), 4));
        }
        wait_until("they are parked", || engine.stats().transactions.unresolved == 3);
        std::thread::sleep(A_WHILE);
        assert_eq!(asked.load(Ordering::SeqCst), 9, "three checks of each");
        let listed: Vec<_> = engine.transactions().into_iter().map(|info| (info.id, info.state, info.checks)).collect();
        assert_eq!(listed, ["commit", "back", "kept"].map(|id| (id.to_owned(), TransactionState::Unresolved, 3)));
        let stats = engine.stats().transactions;
        assert_eq!((stats.prepared, stats.unresolved, stats.checks), (3, 3, 9));
        assert!(stats.oldest_prepared_age_ms >= A_WHILE.as_millis() as u64, "{stats:?}");
        assert_says(&producer.begin(named("kept")).unwrap_err(), "transaction-exists", &["`kept` is unresolved"]);
        engine.commit_transaction("commit").unwrap();
        engine.roll_back_transaction("back").unwrap();
        assert_eq!(engine.stats().transactions.unresolved, 1);
        wait_until("it is visible in all lanes", || all(&engine).len() >= 4);
        assert_eq!(all(&engine), of("commit", 4));
        engine.close().unwrap();
        // Another process may know.
        let engine = open(directory.path(), lanes);
        assert_eq!(state(&engine, "kept"), TransactionState::Prepared);
        engine.register_checker("c", eager().checks_max(3), |_: &HalfTransaction| CheckAnswer::Commit).unwrap();
        wait_until("it is asked again", || state(&engine, "kept") == TransactionState::Committed);
        wait_until("it is visible in all lanes", || all(&engine).len() >= 8);
        assert_eq!(all(&engine), [of("commit", 4), of("kept", 4)].concat());
        engine.close().unwrap();
    }
}

/// A checker may do itself what it says, and ask the engine anything meanwhile.
#[test]
fn a_checker_may_decide_itself() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let engine = Arc::new(engine);
    let own = Arc::downgrade(&engine);
    let checker = move |half: &HalfTransaction| {
        let engine = own.upgrade().unwrap();
        assert_eq!(engine.transactions().len(), 1);
        engine.commit_transaction(&half.id).unwrap();
        // That is final by now.
        CheckAnswer::RollBack
    };
    engine.register_checker("c", eager(), checker).unwrap();
    drop(prepared(&producer, &topic, of_checker("a"), 1));
    wait_until("it is decided", || engine.transactions().is_empty());
    assert_eq!((state(&engine, "a"), engine.stats().transactions.checker_failures), (TransactionState::Committed, 0));
    assert_eq!(all(&engine), ["a/0"]);
    engine.close().unwrap();
}
