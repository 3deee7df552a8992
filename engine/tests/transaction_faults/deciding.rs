//! Who decides, and what comes after it: one decision is made, it is final, and an id is one transaction.

use super::common::clock::{MovedClock, open as open_at};
use super::common::group::{create as create_group, fill, join, shared};
use super::common::storage::{is_segment, open_faulty};
use super::common::transaction::{all, begin, create, named, of, open, prepared, send};
use super::common::{assert_says, copy_of_a_moment, directory, small, wait_until};
use super::{A_WHILE, SOON};
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Somebody keeps the handle and goes on with it. Every call says what became of the transaction, and does nothing.
#[test]
fn a_transaction_takes_nothing_after_its_end() {
    let directory = directory();
    let engine = open(directory.path(), 1);
    let input = create_group(&engine, 1, shared());
    fill(&engine, &input, 0..1);
    let topic = engine.create_topic("out", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut member = join(&engine);
    let delivery = member.poll(SOON).unwrap().iter().next().unwrap().id();
    for (id, commits, prepares) in [("a", true, true), ("b", true, false), ("c", false, true), ("d", false, false)] {
        let mut ended = producer.begin(named(id)).unwrap();
        ended.send(&topic, Record::new(b"v")).unwrap();
        if prepares {
            ended.prepare().unwrap();
        }
        let state = match commits {
            true => ended.commit().map(|_| "committed").unwrap(),
            false => ended.roll_back().map(|()| "rolled back").unwrap(),
        };
        for error in [
            ended.send(&topic, Record::new(b"late")).unwrap_err(),
            ended.ack(&member, delivery).unwrap_err(),
            ended.prepare().unwrap_err(),
        ] {
            assert_says(&error, "wrong-transaction-state", &[id, state, "begin another"]);
            assert!(!error.is_retriable() && !error.is_unknown_outcome() && !error.is_fatal());
        }
        let opposite = if commits { ended.roll_back() } else { ended.commit().map(drop) };
        assert_says(&opposite.unwrap_err(), "transaction-conflict", &[id, state, "final"]);
        // The same again is the same answer.
        match commits {
            true => assert_eq!(ended.commit().unwrap().receipts().unwrap().len(), 1),
            false => ended.roll_back().unwrap(),
        }
    }
    // Nothing happened to the delivery.
    member.ack(delivery).unwrap();
    member.flush().unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    assert_eq!(super::common::drain(&mut consumer).len(), 2, "of those that were committed");
    engine.close().unwrap();
}

/// RocketMQ 8158 and 2694: a producer that comes late commits what was rolled back meanwhile, and it is published.
#[test]
fn a_commit_after_a_roll_back_is_refused_and_publishes_nothing() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        let mut by_id = prepared(&producer, &topic, named("by-id"), 4);
        engine.roll_back_transaction("by-id").unwrap();
        let mut by_handle = prepared(&producer, &topic, named("by-handle"), 4);
        by_handle.roll_back().unwrap();
        for transaction in [&mut by_id, &mut by_handle] {
            let id = transaction.id().to_owned();
            for _ in 0..2 {
                assert_says(&transaction.commit().unwrap_err(), "transaction-conflict", &[&id, "rolled back already"]);
                let error = engine.commit_transaction(&id).unwrap_err();
                assert_says(&error, "transaction-conflict", &[&id, "rolled back already"]);
            }
            assert_eq!(transaction.state(), TransactionState::RolledBack);
        }
        drop((by_id, by_handle));
        engine.close().unwrap();
        let engine = open(directory.path(), lanes);
        for id in ["by-id", "by-handle"] {
            assert_eq!(engine.commit_transaction(id).unwrap_err().code(), "transaction-conflict");
        }
        assert_eq!(all(&engine), Vec::<String>::new());
        engine.close().unwrap();
    }
}

/// RocketMQ 8158: the check commits, then the producer commits, and there are two messages.
#[test]
fn who_commits_again_publishes_nothing_again() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        // The producer holds it, and somebody else is first.
        let mut late = prepared(&producer, &topic, named("late"), 4);
        engine.commit_transaction("late").unwrap();
        assert_eq!(late.commit().unwrap().len(), 0, "who committed it has the receipts");
        drop(late);
        // All at the same time.
        let mut contended = prepared(&producer, &topic, named("contended"), 4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| engine.commit_transaction("contended").unwrap());
            }
            contended.commit().unwrap();
        });
        let expected = [of("contended", 4), of("late", 4)].concat();
        wait_until("it is visible in all lanes", || all(&engine).len() >= 8);
        assert_eq!(all(&engine), expected);
        drop(contended);
        engine.close().unwrap();
        let engine = open(directory.path(), lanes);
        engine.commit_transaction("late").unwrap();
        engine.commit_transaction("contended").unwrap();
        assert_eq!(all(&engine), expected);
        engine.close().unwrap();
    }
}

/// Commit and roll back at the same time, again and again: one of them is told that it is, the other one that it is not, and
/// what is visible is as they were told.
#[test]
fn of_two_that_decide_differently_one_wins() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        let (mut committed, mut rolled_back) = (Vec::new(), 0);
        for number in 0..60 {
            let id = format!("n{number:02}");
            let mut transaction = prepared(&producer, &topic, named(&id), 2);
            let (one, other) = std::thread::scope(|scope| {
                let other = scope.spawn(|| engine.roll_back_transaction(&id));
                if number % 2 == 0 {
                    std::thread::yield_now();
                }
                (transaction.commit().map(drop), other.join().unwrap())
            });
            match (one, other) {
                (Ok(()), Err(error)) => {
                    assert_says(&error, "transaction-conflict", &[&id, "committed"]);
                    committed.extend(of(&id, 2));
                }
                (Err(error), Ok(())) => {
                    assert_says(&error, "transaction-conflict", &[&id, "rolled back"]);
                    rolled_back += 1;
                }
                (one, other) => panic!("{id}: {one:?}, {other:?}"),
            }
        }
        assert_eq!(committed.len() / 2 + rolled_back, 60);
        wait_until("it is visible in all lanes", || all(&engine).len() >= committed.len());
        assert_eq!(all(&engine), committed);
        engine.close().unwrap();
        let engine = open(directory.path(), 1);
        assert_eq!(all(&engine), committed);
        engine.close().unwrap();
    }
}

/// An application gives ids of its own, an order's number, and begins the same work once more after a crash.
#[test]
fn the_same_id_after_a_crash() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        prepared(&producer, &topic, named("committed"), 4).commit().unwrap();
        let mut at_once = producer.begin(named("at-once")).unwrap();
        send(&mut at_once, &topic, 4);
        at_once.commit().unwrap();
        prepared(&producer, &topic, named("rolled-back"), 4).roll_back().unwrap();
        let _prepared = prepared(&producer, &topic, named("prepared"), 4);
        let mut open_then = producer.begin(named("open")).unwrap();
        send(&mut open_then, &topic, 4);
        let copy = copy_of_a_moment(directory.path());
        drop(open_then);
        engine.close().unwrap();

        let engine = open(copy.path(), lanes);
        let (topic, producer) = (engine.topic("t").unwrap(), engine.producer(ProducerOptions::new()).unwrap());
        for (id, state) in [("committed", "committed"), ("at-once", "committed"), ("prepared", "prepared")] {
            let error = producer.begin(named(id)).unwrap_err();
            assert_says(&error, "transaction-exists", &[&format!("`{id}` is {state}")]);
        }
        for id in ["rolled-back", "open"] {
            let mut again = producer.begin(named(id)).unwrap();
            send(&mut again, &topic, 1);
            again.commit().unwrap();
            assert_eq!(producer.begin(named(id)).unwrap_err().code(), "transaction-exists");
        }
        engine.roll_back_transaction("prepared").unwrap();
        let expected = [of("at-once", 4), of("committed", 4), of("open", 1), of("rolled-back", 1)].concat();
        wait_until("it is visible in all lanes", || all(&engine).len() >= expected.len());
        assert_eq!(all(&engine), expected);
        engine.close().unwrap();
    }
}

/// The clock went back between the two. Outcomes were put in order by the time of the decision: after a restart the older
/// one stood for the id, and what was committed could begin, and be committed, once more.
#[test]
fn an_id_that_was_rolled_back_and_then_committed_stays_committed_whatever_the_clock_says() {
    let (directory, clock) = (directory(), MovedClock::new());
    let options = small().lanes(Some(2));
    let engine = open_at(directory.path(), options.clone(), &clock);
    let (topic, producer) = create(&engine);
    // Each in a lane of its own: times rise in one lane, whatever the clock says.
    let mut first = producer.begin(named("order")).unwrap();
    first.send(&topic, Record::new(b"first").partition(0)).unwrap();
    first.prepare().unwrap();
    first.roll_back().unwrap();
    clock.jump(-60_000);
    let mut second = producer.begin(named("order")).unwrap();
    second.send(&topic, Record::new(b"second").partition(1)).unwrap();
    second.prepare().unwrap();
    second.commit().unwrap();
    engine.close().unwrap();
    let engine = open_at(directory.path(), options, &clock);
    assert_eq!(engine.transaction("order").unwrap().state, TransactionState::Committed);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    assert_eq!(producer.begin(named("order")).unwrap_err().code(), "transaction-exists");
    assert_eq!(all(&engine), ["second"]);
    engine.close().unwrap();
}

/// One thread rolls back, the other begins with the id as soon as it may. The end of the first one was written down after
/// the second had begun, and in its place: so a third could begin.
#[test]
fn an_id_that_begins_again_at_once_is_the_new_transaction() {
    let directory = directory();
    let (engine, _, producer) = begin(directory.path(), 1);
    for _ in 0..200 {
        let mut first = producer.begin(named("a")).unwrap();
        let tries = AtomicBool::new(false);
        let begun = std::thread::scope(|scope| {
            let again = scope.spawn(|| {
                loop {
                    match producer.begin(named("a")) {
                        Ok(again) => return again,
                        Err(error) => assert_eq!(error.code(), "transaction-exists"),
                    }
                    tries.store(true, Ordering::SeqCst);
                }
            });
            while !tries.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            first.roll_back().unwrap();
            again.join().unwrap()
        });
        assert_eq!(engine.transaction("a").unwrap().state, TransactionState::Open);
        assert_eq!(producer.begin(named("a")).unwrap_err().code(), "transaction-exists");
        drop(begun);
        assert_eq!(engine.transaction("a").unwrap().state, TransactionState::RolledBack);
    }
    engine.close().unwrap();
}

/// How many outcomes are remembered is bounded; the oldest go, and then nothing is known of their ids.
#[test]
fn outcomes_are_forgotten_oldest_first() {
    let directory = directory();
    let options = small().lanes(Some(1)).outcomes_max(3);
    let engine = Engine::open(directory.path(), options.clone()).unwrap();
    let (topic, producer) = create(&engine);
    for number in 0..6 {
        prepared(&producer, &topic, named(&number.to_string()), 1).commit().unwrap();
    }
    let known = |engine: &Engine| -> Vec<String> {
        (0..6).map(|number: u32| number.to_string()).filter(|id| engine.transaction(id).is_ok()).collect()
    };
    assert_eq!(known(&engine), ["3", "4", "5"]);
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), options).unwrap();
    assert_eq!(known(&engine), ["3", "4", "5"]);
    let error = engine.commit_transaction("1").unwrap_err();
    assert_says(&error, "unknown-transaction", &["`1`", "outcomes_max"]);
    assert_eq!(all(&engine).len(), 6);
    engine.close().unwrap();
}

/// RocketMQ flushes the half message, and not the commit. Here a commit that returned survives a kill in the same moment,
/// and so does one of which somebody else was told because it was made before.
#[test]
fn a_commit_is_answered_when_it_is_durable() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        let mut at_once = producer.begin(named("at-once")).unwrap();
        send(&mut at_once, &topic, 4);
        at_once.commit().unwrap();
        let after_at_once = copy_of_a_moment(directory.path());
        let mut two_steps = prepared(&producer, &topic, named("two-steps"), 4);
        two_steps.commit().unwrap();
        let after_two_steps = copy_of_a_moment(directory.path());
        let mut repeated = prepared(&producer, &topic, named("repeated"), 4);
        let copies = std::thread::scope(|scope| {
            let others: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        engine.commit_transaction("repeated").unwrap();
                        copy_of_a_moment(directory.path())
                    })
                })
                .collect();
            repeated.commit().unwrap();
            others.into_iter().map(|other| other.join().unwrap()).collect::<Vec<_>>()
        });
        let copies = copies.iter().map(|copy| ("repeated", copy));
        for (id, copy) in [("at-once", &after_at_once), ("two-steps", &after_two_steps)].into_iter().chain(copies) {
            let engine = open(copy.path(), lanes);
            assert_eq!(engine.transaction(id).unwrap().state, TransactionState::Committed);
            let found = all(&engine);
            assert!(of(id, 4).iter().all(|value| found.contains(value)), "{id}: {found:?}");
            engine.close().unwrap();
        }
        engine.close().unwrap();
    }
}

/// Who repeats a decision that is on its way to the device waits for it; and if it fails there, is told so too.
#[test]
fn who_repeats_a_decision_is_not_answered_before_it_is_durable() {
    const SLOW: Duration = Duration::from_millis(600);
    for fails in [false, true] {
        let (directory, faults) = (directory(), Faults::new());
        let engine = open_faulty(directory.path(), small().lanes(Some(1)), &faults).unwrap();
        let (topic, producer) = create(&engine);
        let mut transaction = prepared(&producer, &topic, named("a"), 2);
        let is_log = |name: &str| is_segment(name) && std::thread::current().name() != Some("ringlane-keeper");
        faults.arm(Fault::new(Operation::Write, Effect::Delay(SLOW)).on(is_log));
        faults.arm(Fault::new(Operation::Flush, Effect::Delay(SLOW)).on(is_log));
        if fails {
            // What the decision waits for: the write itself where that flushes, else what comes behind it.
            faults.disarm();
            faults.arm(Fault::new(Operation::Write, Effect::Fail(libc::EIO)).on(is_log));
        }
        let begun = Instant::now();
        let is_sent = AtomicBool::new(false);
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                while !is_sent.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                (engine.commit_transaction("a"), begun.elapsed())
            });
            is_sent.store(true, Ordering::SeqCst);
            let first = transaction.commit().map(drop);
            (first, second.join().unwrap())
        });
        match fails {
            false => {
                first.unwrap();
                second.0.unwrap();
                assert!(second.1 >= SLOW, "answered after {:?}", second.1);
            }
            true => {
                let (first, second) = (first.unwrap_err(), second.0.unwrap_err());
                assert!(first.is_unknown_outcome() || second.is_unknown_outcome(), "{first}, {second}");
                for error in [first, second] {
                    assert!(error.is_unknown_outcome() || error.is_fatal(), "{error}");
                }
            }
        }
        let _ = engine.close();
    }
}

/// What cannot be a transaction says why, before anything happens.
#[test]
fn bad_input_is_refused_with_its_reason() {
    let (directory, elsewhere) = (directory(), directory());
    let (engine, topic, producer) = begin(directory.path(), 1);
    for (options, name) in [
        (named(""), "id"),
        (named(&"x".repeat(129)), "id"),
        (named("a").checker(""), "checker"),
        (named("a").checker("x".repeat(250)), "checker"),
        (named("a").timeout(Duration::ZERO), "timeout"),
        (named("a").timeout(Duration::from_secs(86_401)), "timeout"),
    ] {
        assert_says(&producer.begin(options).unwrap_err(), "invalid-argument", &[name]);
    }
    let checker = |_: &HalfTransaction| CheckAnswer::Unknown;
    assert_eq!(engine.register_checker("", CheckerOptions::new(), checker).unwrap_err().code(), "invalid-argument");
    let error = engine.register_checker("c", CheckerOptions::new().checks_max(0), checker).unwrap_err();
    assert_says(&error, "invalid-argument", &["checks_max"]);
    engine.unregister_checker("nobody");
    for error in [engine.commit_transaction("x"), engine.roll_back_transaction("x"), engine.transaction("x").map(drop)]
    {
        assert_says(&error.unwrap_err(), "unknown-transaction", &["`x`"]);
    }

    // Refused records are not in it, all others are.
    let mut transaction = producer.begin(named(&"x".repeat(128)).checker("y".repeat(249))).unwrap();
    send(&mut transaction, &topic, 1);
    let (other, other_topic, other_producer) = begin(elsewhere.path(), 1);
    let group = GroupOptions::shared().topic("t", Start::Beginning);
    other.create_group("g", group).unwrap();
    other_producer.send(&other_topic, Record::new(b"v").partition(0)).unwrap().wait().unwrap();
    let mut stranger = join(&other);
    let delivery = stranger.poll(SOON).unwrap().iter().next().unwrap().id();
    let too_large = vec![0; 300 << 10];
    for (refused, code) in [
        (transaction.send(&topic, Record::new(b"v").sequence(1)), "invalid-argument"),
        (transaction.send(&topic, Record::new(b"v").visible_after(SOON)), "invalid-argument"),
        (transaction.send(&topic, Record::new(b"v").partition(4)), "invalid-partition"),
        (transaction.send(&topic, Record::new(&too_large)), "record-too-large"),
        (transaction.ack(&stranger, delivery), "invalid-argument"),
    ] {
        assert_eq!(refused.unwrap_err().code(), code);
    }
    let error = engine.commit_transaction(transaction.id()).unwrap_err();
    assert_says(&error, "wrong-transaction-state", &["open", "only its handle"]);
    transaction.commit().unwrap();
    assert_eq!(all(&engine), of(transaction.id(), 1));
    // The stranger has it as before.
    stranger.ack(delivery).unwrap();
    stranger.flush().unwrap();
    engine.close().unwrap();
    other.close().unwrap();
}

/// Nobody asks how it went on with it: its time is over without a call of its handle's, and what it held comes again.
#[test]
fn the_time_of_an_open_transaction_ends_without_a_call() {
    let directory = directory();
    let engine = open(directory.path(), 1);
    let input = create_group(&engine, 1, shared());
    fill(&engine, &input, 0..1);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut member = join(&engine);
    let delivery = member.poll(SOON).unwrap().iter().next().unwrap().id();
    let mut slow = producer.begin(named("slow").timeout(A_WHILE)).unwrap();
    slow.ack(&member, delivery).unwrap();
    let again = member.poll(SOON).unwrap();
    assert_eq!(again.iter().map(|delivery| delivery.delivery_count).collect::<Vec<_>>(), [2]);
    assert_says(&slow.commit().unwrap_err(), "transaction-timed-out", &["slow", "100 ms"]);
    // One that is prepared has all the time.
    let mut patient = producer.begin(named("patient").timeout(A_WHILE)).unwrap();
    patient.ack(&member, again.iter().next().unwrap().id()).unwrap();
    patient.prepare().unwrap();
    std::thread::sleep(2 * A_WHILE);
    patient.commit().unwrap();
    let stats = engine.stats().transactions;
    assert_eq!((stats.open, stats.prepared, stats.committed, stats.rolled_back), (0, 0, 1, 1));
    engine.close().unwrap();
}
