//! The ends of processes: engines that close under transactions, forks, and producers whose name somebody took.

use super::common::child;
use super::common::transaction::{all, begin, named, of, open, prepared, send};
use super::common::watchdog::watchdog;
use super::common::{assert_says, directory, wait_until};
use super::{A_WHILE, SOON};
use ringlane::*;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Somebody closes the engine while others hold transactions. What was open is rolled back, what was prepared stays it; the
/// handles say that it is closed, and do no harm when they go.
#[test]
fn an_engine_is_closed_under_open_and_prepared_transactions() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        let mut open_then = producer.begin(named("open")).unwrap();
        send(&mut open_then, &topic, 4);
        let mut large = producer.begin(named("large")).unwrap();
        let value = vec![7; 10_000];
        for number in 0..200 {
            large.send(&topic, Record::new(&value).partition(number % 4)).unwrap();
        }
        assert!(engine.stats().withheld_records > 0, "some of it stands in the log");
        let mut half = prepared(&producer, &topic, named("prepared"), 4);
        let mut decided = prepared(&producer, &topic, named("decided"), 4);
        let committed = decided.commit().unwrap();
        engine.close().unwrap();
        for error in [
            open_then.send(&topic, Record::new(b"late")).unwrap_err(),
            open_then.prepare().unwrap_err(),
            large.commit().unwrap_err(),
            half.commit().unwrap_err(),
            half.roll_back().unwrap_err(),
            producer.begin(named("late")).unwrap_err(),
            engine.commit_transaction("prepared").unwrap_err(),
            engine.register_checker("c", CheckerOptions::new(), |_: &HalfTransaction| CheckAnswer::Commit).unwrap_err(),
        ] {
            assert_says(&error, "closed", &[]);
        }
        // What was known stays so.
        decided.commit().unwrap();
        assert_eq!(committed.receipts().unwrap().len(), 4);
        drop((open_then, large, half, decided, producer, engine));
        let engine = open(directory.path(), lanes);
        for id in ["open", "large"] {
            assert_eq!(engine.transaction(id).unwrap_err().code(), "unknown-transaction");
        }
        let ids: Vec<_> = engine.transactions().into_iter().map(|info| info.id).collect();
        assert_eq!((ids, engine.stats().withheld_records), (vec!["prepared".to_owned()], 4));
        assert_eq!(all(&engine), of("decided", 4));
        engine.commit_transaction("prepared").unwrap();
        wait_until("it is visible in all lanes", || all(&engine).len() == 8);
        engine.close().unwrap();
    }
}

/// Closing waits for a checker that is being asked, and what that says then is too late: the transaction stays prepared.
#[test]
fn an_engine_is_closed_under_its_checker() {
    let _watchdog = watchdog(60, "a close under a checker");
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let ((begins, is_asked), (lets_go, blocks)) = (channel(), channel::<()>());
    let (begins, blocks) = (Mutex::new(begins), Mutex::new(blocks));
    let checker = move |_: &HalfTransaction| {
        begins.lock().unwrap().send(()).unwrap();
        let _ = blocks.lock().unwrap().recv();
        CheckAnswer::Commit
    };
    engine.register_checker("c", CheckerOptions::new().first(Duration::ZERO), checker).unwrap();
    for id in ["a", "b"] {
        drop(prepared(&producer, &topic, named(id).checker("c"), 1));
    }
    is_asked.recv_timeout(SOON).unwrap();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| engine.close());
        std::thread::sleep(A_WHILE);
        assert!(!closing.is_finished(), "a call goes on");
        drop(lets_go);
        closing.join().unwrap().unwrap();
    });
    assert!(is_asked.try_recv().is_err(), "the other one was not begun any more");
    let engine = open(directory.path(), 1);
    // The answer came while the lanes were there: what was decided is durable, or it is prepared.
    let states: Vec<_> = ["a", "b"].iter().map(|id| engine.transaction(id).unwrap().state).collect();
    assert_eq!(states[1], TransactionState::Prepared);
    assert_eq!(all(&engine).len(), usize::from(states[0] == TransactionState::Committed));
    engine.close().unwrap();
}

/// A checker that closes the engine it is asked by waits for itself, if anybody does.
#[test]
fn a_checker_may_close_the_engine() {
    let _watchdog = watchdog(60, "a checker that closes");
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let engine = std::sync::Arc::new(engine);
    let own = std::sync::Arc::downgrade(&engine);
    let closes = move |_: &HalfTransaction| {
        own.upgrade().unwrap().close().unwrap();
        CheckAnswer::Commit
    };
    engine.register_checker("c", CheckerOptions::new().first(Duration::ZERO), closes).unwrap();
    drop(prepared(&producer, &topic, named("a").checker("c"), 1));
    wait_until("it is closed", || engine.sync().is_err());
    engine.close().unwrap();
    drop((producer, engine));
    let engine = open(directory.path(), 1);
    assert_eq!(engine.transaction("a").unwrap().state, TransactionState::Prepared);
    engine.close().unwrap();
}

/// The name of a producer was taken by a newer process while it had transactions. It begins, sends and prepares nothing
/// more. What it had prepared was promised, and is committed by whoever decides it.
#[test]
fn a_producer_that_was_fenced_publishes_nothing_that_was_not_prepared() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, _) = begin(directory.path(), lanes);
        let billing = || engine.producer(ProducerOptions::new().name("billing")).unwrap();
        let old = billing();
        let begin_one = |id: &str| {
            let mut transaction = old.begin(named(id)).unwrap();
            send(&mut transaction, &topic, 4);
            transaction
        };
        let (mut sends, mut prepares, mut commits) = (begin_one("send"), begin_one("prepare"), begin_one("commit"));
        let mut half = begin_one("half");
        half.prepare().unwrap();
        let new = billing();
        assert_says(&old.begin(named("late")).unwrap_err(), "producer-fenced", &["`billing`"]);
        for error in [
            sends.send(&topic, Record::new(b"late")).unwrap_err(),
            prepares.prepare().unwrap_err(),
            commits.commit().unwrap_err(),
        ] {
            assert_says(&error, "producer-fenced", &["`billing`", "epoch 2"]);
        }
        for transaction in [&prepares, &commits] {
            assert_eq!(transaction.state(), TransactionState::RolledBack);
        }
        drop(sends);
        let mut newer = new.begin(named("new")).unwrap();
        send(&mut newer, &topic, 4);
        newer.commit().unwrap();
        half.commit().unwrap().receipts().unwrap();
        wait_until("it is visible in all lanes", || all(&engine).len() >= 8);
        assert_eq!(all(&engine), [of("half", 4), of("new", 4)].concat());
        drop((half, newer, prepares, commits, old, new));
        engine.close().unwrap();
        // Numbers rise in each partition, and none is missing without a reason.
        let engine = open(directory.path(), lanes);
        let topic = engine.topic("t").unwrap();
        let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
        for partition in 0..topic.partitions() {
            consumer.assign(&topic, partition, Start::Beginning).unwrap();
        }
        assert_eq!(super::common::drain(&mut consumer).len(), 8);
        drop(consumer);
        engine.close().unwrap();
        assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
    }
}

/// A process forks while it has transactions. The child can do nothing with them, its copies of the handles end nothing, and
/// the parent is not concerned.
#[test]
fn a_forked_child_decides_nothing() {
    let _watchdog = watchdog(100, "a forked child");
    let directory = directory();
    let mut parent = child::start("fork", directory.path().to_str().unwrap());
    assert_eq!(parent.hear().as_deref(), Some("forked"), "see the output of the child");
    assert_eq!(parent.hear().as_deref(), Some("committed"));
    assert!(parent.end().success());
    let engine = open(directory.path(), 2);
    assert_eq!(all(&engine), [of("open", 4), of("prepared", 4)].concat());
    engine.close().unwrap();
}

/// The parent of the fork: a process of its own, so that no other test's threads are in the middle of something when it
/// forks.
pub(super) fn fork(path: &Path) {
    let _watchdog = watchdog(90, "the parent of a fork");
    let (engine, topic, producer) = begin(path, 2);
    let checker = |_: &HalfTransaction| CheckAnswer::RollBack;
    engine.register_checker("c", CheckerOptions::new().first(Duration::ZERO), checker).unwrap();
    let mut open_then = producer.begin(named("open")).unwrap();
    send(&mut open_then, &topic, 4);
    let mut half = prepared(&producer, &topic, named("prepared").checker("c"), 4);
    // SAFETY: the child uses only what works without the other threads, and ends with _exit.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        child::die_with_parent();
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for error in [
                producer.begin(named("new")).unwrap_err(),
                open_then.send(&topic, Record::new(b"v")).unwrap_err(),
                open_then.prepare().unwrap_err(),
                open_then.commit().unwrap_err(),
                half.commit().unwrap_err(),
                half.roll_back().unwrap_err(),
                engine.commit_transaction("prepared").unwrap_err(),
                engine.register_checker("c", CheckerOptions::new(), checker).unwrap_err(),
            ] {
                assert_says(&error, "forked", &[]);
            }
            drop((open_then, half));
        }));
        // SAFETY: the end without destructors.
        unsafe { libc::_exit(i32::from(verdict.is_err())) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child, and writes one number.
    assert_eq!(unsafe { libc::waitpid(forked, &raw mut status, 0) }, forked);
    assert_eq!(status, 0, "see the output of the child");
    child::say("forked");
    std::thread::sleep(A_WHILE);
    open_then.commit().unwrap();
    half.commit().unwrap().receipts().unwrap();
    drop((open_then, half));
    engine.close().unwrap();
    child::say("committed");
}
