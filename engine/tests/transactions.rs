//! Transactions: what they make visible, when, what survives what, and who decides.

#![allow(clippy::unwrap_used)]

mod common;

use common::group::{fill, ordered, shared};
use common::transaction::{all, begin, named, of, open, send};
use common::{assert_says, copy_of_a_moment, directory, small, values, wait_until};
use ringlane::*;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_commit_publishes_all_of_it_and_a_roll_back_nothing() {
    for lanes in [1, 2, 3] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        let mut transaction = producer.begin(named("one")).unwrap();
        send(&mut transaction, &topic, 10);
        assert_eq!((all(&engine).len(), transaction.state()), (0, TransactionState::Open));
        let committed = transaction.commit().unwrap();
        let receipts = committed.receipts().unwrap();
        assert_eq!(all(&engine), of("one", 10));
        let places: Vec<_> = receipts.iter().map(|receipt| (receipt.partition, receipt.offset)).collect();
        assert_eq!(places, (0..10).map(|number| (number % 4, Some(u64::from(number / 4)))).collect::<Vec<_>>());
        let mut given_up = producer.begin(named("two")).unwrap();
        send(&mut given_up, &topic, 10);
        given_up.roll_back().unwrap();
        drop(given_up);
        let mut dropped = producer.begin(named("three")).unwrap();
        send(&mut dropped, &topic, 10);
        drop(dropped);
        let receipt = producer.send(&topic, Record::new(b"z").partition(0)).unwrap().wait().unwrap();
        assert_eq!(receipt.offset, Some(3), "they have no offsets");
        engine.close().unwrap();
        let engine = open(directory.path(), lanes);
        assert_eq!(all(&engine).len(), 11);
        assert_eq!(engine.transaction("one").unwrap().state, TransactionState::Committed);
        assert_says(&engine.transaction("two").unwrap_err(), "unknown-transaction", &["two", "never prepared"]);
        engine.close().unwrap();
    }
}

#[test]
fn what_is_prepared_survives_everything_and_is_decided_by_its_id() {
    for lanes in [1, 2] {
        let directory = directory();
        let (engine, topic, producer) = begin(directory.path(), lanes);
        for id in ["commit", "back", "later"] {
            let mut transaction = producer.begin(named(id)).unwrap();
            send(&mut transaction, &topic, 8);
            transaction.prepare().unwrap();
            assert_eq!(transaction.state(), TransactionState::Prepared);
        }
        assert_eq!(all(&engine).len(), 0);
        let copy = copy_of_a_moment(directory.path());
        engine.close().unwrap();
        for path in [directory.path(), copy.path()] {
            let engine = open(path, lanes);
            let ids: Vec<_> = engine.transactions().into_iter().map(|info| (info.id, info.records)).collect();
            assert_eq!(ids, ["commit", "back", "later"].map(|id| (id.to_owned(), 8)));
            engine.commit_transaction("commit").unwrap();
            engine.commit_transaction("commit").unwrap();
            engine.roll_back_transaction("back").unwrap();
            engine.roll_back_transaction("back").unwrap();
            let conflict = engine.roll_back_transaction("commit").unwrap_err();
            assert_says(&conflict, "transaction-conflict", &["commit", "committed already"]);
            let conflict = engine.commit_transaction("back").unwrap_err();
            assert_says(&conflict, "transaction-conflict", &["back", "rolled back already"]);
            wait_until("it is visible in all lanes", || all(&engine).len() == 8);
            assert_eq!(all(&engine), of("commit", 8));
            engine.close().unwrap();
            let engine = open(path, 3 - lanes);
            assert_eq!(all(&engine), of("commit", 8));
            assert_eq!(engine.transaction("commit").unwrap().state, TransactionState::Committed);
            assert_eq!(engine.transaction("back").unwrap().state, TransactionState::RolledBack);
            assert_eq!(engine.transaction("later").unwrap().state, TransactionState::Prepared);
            engine.commit_transaction("later").unwrap();
            wait_until("it is visible in all lanes", || all(&engine).len() == 16);
            engine.close().unwrap();
        }
    }
}

#[test]
fn an_id_is_one_transaction() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let mut first = producer.begin(named("a")).unwrap();
    let exists = producer.begin(named("a")).unwrap_err();
    assert_says(&exists, "transaction-exists", &["`a` is open"]);
    send(&mut first, &topic, 1);
    first.prepare().unwrap();
    assert_says(&producer.begin(named("a")).unwrap_err(), "transaction-exists", &["`a` is prepared"]);
    assert_says(&first.prepare().unwrap_err(), "wrong-transaction-state", &["prepared", "begin another"]);
    assert_says(&first.send(&topic, Record::new(b"x")).unwrap_err(), "wrong-transaction-state", &["`a` is prepared"]);
    first.roll_back().unwrap();
    // Rolled back is as if it had never been.
    let mut again = producer.begin(named("a")).unwrap();
    assert_says(&first.commit().unwrap_err(), "transaction-conflict", &["rolled back"]);
    send(&mut again, &topic, 1);
    again.commit().unwrap();
    assert_says(&producer.begin(named("a")).unwrap_err(), "transaction-exists", &["`a` is committed"]);
    assert_eq!(again.commit().unwrap().len(), 1, "the same answer");
    assert_says(&again.roll_back().unwrap_err(), "transaction-conflict", &["committed"]);
    assert_eq!(all(&engine), ["a/0"]);
    engine.close().unwrap();
}

#[test]
fn what_was_open_dies_with_the_process() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 2);
    let mut transaction = producer.begin(named("big")).unwrap();
    let value = vec![7; 10_000];
    for number in 0..200 {
        transaction.send(&topic, Record::new(&value).partition(number % 4)).unwrap();
    }
    producer.send(&topic, Record::new(b"plain")).unwrap().wait().unwrap();
    assert!(engine.stats().withheld_records > 0, "it is so large that it stands in the log");
    let copy = copy_of_a_moment(directory.path());
    let reopened = open(copy.path(), 2);
    assert_eq!((all(&reopened), reopened.transactions()), (vec!["plain".to_owned()], vec![]));
    assert_eq!(reopened.stats().withheld_records, 0);
    reopened.close().unwrap();
    assert_eq!(transaction.commit().unwrap().receipts().unwrap().len(), 200);
    let (topic, engine) = (engine.topic("t").unwrap(), engine);
    let count: usize = (0..4).map(|partition| values(&engine, &topic, partition).len()).sum();
    assert_eq!(count, 201);
    engine.close().unwrap();
}

#[test]
fn a_transaction_has_its_time() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let mut transaction = producer.begin(named("slow").timeout(Duration::from_millis(50))).unwrap();
    send(&mut transaction, &topic, 1);
    std::thread::sleep(Duration::from_millis(60));
    for error in [transaction.send(&topic, Record::new(b"x")).unwrap_err(), transaction.commit().unwrap_err()] {
        assert_says(&error, "transaction-timed-out", &["slow", "50 ms"]);
    }
    transaction.roll_back().unwrap();
    assert_eq!(transaction.state(), TransactionState::RolledBack);
    engine.close().unwrap();
    let mut closed = producer.begin(named("x"));
    assert_says(&closed.as_mut().map(drop).unwrap_err().clone(), "closed", &[]);
}

/// Numbers of transactions begin anew with each opening. One of an earlier opening had the number of one that was open; when
/// it was decided, the open one was forgotten: it was not listed, and its time was never over.
#[test]
fn to_decide_what_an_earlier_opening_left_touches_none_that_is_open() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let mut left = producer.begin(named("left")).unwrap();
    send(&mut left, &topic, 1);
    left.prepare().unwrap();
    engine.close().unwrap();
    let engine = open(directory.path(), 1);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let open = producer.begin(named("open").timeout(Duration::from_secs(2))).unwrap();
    engine.roll_back_transaction("left").unwrap();
    let ids: Vec<_> = engine.transactions().into_iter().map(|info| info.id).collect();
    assert_eq!((ids, engine.stats().transactions.open), (vec!["open".to_owned()], 1));
    wait_until("its time is over", || open.state() == TransactionState::RolledBack);
    engine.close().unwrap();
}

/// Consume, transform, produce: what is acknowledged in a transaction is finished if it commits, and comes again if not.
#[test]
fn deliveries_are_acknowledged_with_the_records() {
    for lanes in [1, 2] {
        for group in [shared(), ordered()] {
            let directory = directory();
            let (engine, topic, producer) = begin(directory.path(), lanes);
            let source = engine.create_topic("source", TopicOptions::new().partitions(2)).unwrap();
            fill(&engine, &source, 0..6);
            engine.create_group("g", group.topic("source", Start::Beginning)).unwrap();
            let mut member = engine.join_group("g", MemberOptions::new().lease(Duration::from_millis(200))).unwrap();
            let mut taken = Vec::new();
            while taken.len() < 6 {
                let polled = member.poll(SOON).unwrap();
                taken.extend(polled.iter().map(|delivery| delivery.id()));
            }
            let mut transaction = producer.begin(named("ctp")).unwrap();
            send(&mut transaction, &topic, 4);
            taken.iter().for_each(|id| transaction.ack(&member, *id).unwrap());
            assert_says(&member.ack(taken[0]).unwrap_err(), "not-delivered", &[]);
            // No lease of what it holds runs out.
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(member.poll(Duration::from_millis(50)).unwrap().len(), 0);
            transaction.prepare().unwrap();
            let copy = copy_of_a_moment(directory.path());
            drop(member);
            transaction.commit().unwrap();
            let position = |engine: &Engine| -> Vec<u64> {
                engine.groups()[0].partitions.iter().map(|partition| partition.position).collect()
            };
            assert_eq!(position(&engine), [3, 3]);
            engine.close().unwrap();
            let engine = open(directory.path(), lanes);
            assert_eq!(position(&engine), [3, 3]);
            engine.close().unwrap();
            // After a crash it is still held, and comes again when it is rolled back.
            let engine = open(copy.path(), lanes);
            let mut member = engine.join_group("g", MemberOptions::new()).unwrap();
            assert_eq!(member.poll(Duration::from_millis(100)).unwrap().len(), 0);
            assert_eq!(engine.transaction("ctp").unwrap().acknowledged, 6);
            engine.roll_back_transaction("ctp").unwrap();
            let mut again = 0;
            while again < 6 {
                for delivery in &member.poll(SOON).unwrap() {
                    assert_eq!(delivery.delivery_count, 2);
                    member.ack(delivery.id()).unwrap();
                    again += 1;
                }
            }
            assert_eq!(all(&engine).len(), 0);
            engine.close().unwrap();
        }
    }
}

/// A repaired directory has what was decided, and what is undecided is undecided there.
#[test]
fn transactions_come_through_a_repair() {
    for lanes in [1, 2] {
        let (source, target) = (directory(), directory());
        let (engine, topic, producer) = begin(source.path(), lanes);
        for id in ["done", "back", "left"] {
            let mut transaction = producer.begin(named(id).checker("c")).unwrap();
            send(&mut transaction, &topic, 8);
            transaction.prepare().unwrap();
        }
        engine.create_group("g", shared().topic("t", Start::Beginning)).unwrap();
        engine.commit_transaction("done").unwrap();
        engine.roll_back_transaction("back").unwrap();
        let mut member = engine.join_group("g", MemberOptions::new()).unwrap();
        let mut holding = producer.begin(named("holding")).unwrap();
        let mut held = 0;
        while held < 8 {
            let polled = member.poll(SOON).unwrap();
            holding.ack_all(&member, &polled).unwrap();
            held += polled.len();
        }
        holding.prepare().unwrap();
        let copy = copy_of_a_moment(source.path());
        engine.close().unwrap();
        let repaired = target.path().join("repaired");
        let report = repair(copy.path(), &repaired, small(), &mut |_| {}).unwrap();
        assert_eq!((report.records, report.transactions, report.transaction_records), (8, 2, 8));
        let engine = open(&repaired, lanes);
        assert_eq!(all(&engine), of("done", 8));
        let state = |id: &str| engine.transaction(id).unwrap().state;
        assert_eq!((state("done"), state("back")), (TransactionState::Committed, TransactionState::RolledBack));
        let left = engine.transaction("left").unwrap();
        assert_eq!((left.state, left.records, left.checker.as_deref()), (TransactionState::Prepared, 8, Some("c")));
        assert_eq!(engine.transaction("holding").unwrap().acknowledged, 8);
        let mut member = engine.join_group("g", MemberOptions::new()).unwrap();
        assert_eq!(member.poll(Duration::from_millis(100)).unwrap().len(), 0, "a transaction holds them");
        engine.commit_transaction("holding").unwrap();
        engine.commit_transaction("left").unwrap();
        let mut rest = 0;
        while rest < 8 {
            let polled = member.poll(SOON).unwrap();
            member.ack_all(&polled).unwrap();
            rest += polled.len();
        }
        assert_eq!(all(&engine).len(), 16);
        engine.close().unwrap();
    }
}

/// Writes down what it is told.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<String>>);

impl ProducerInterceptor for Told {
    fn on_send(&self, sending: &mut Sending<'_>) -> InterceptorResult {
        let number = sending.number();
        sending.add_header("trace", number.to_string());
        Ok(())
    }

    fn on_receipt(&self, number: u64, receipt: &Receipt) {
        self.0.lock().unwrap().push(format!("{number} at {:?}", receipt.offset));
    }

    fn on_failure(&self, number: u64, _: &str, error: &Error) {
        self.0.lock().unwrap().push(format!("{number} {}", error.code()));
    }
}

impl ConsumerInterceptor for Told {
    fn on_end(&self, ended: &EndedDeliveries<'_>) {
        self.0.lock().unwrap().push(format!("{:?} {:?}", ended.offsets, ended.end));
    }
}

#[test]
fn interceptors_see_its_records_and_learn_what_became_of_them() {
    let directory = directory();
    let (engine, topic, _) = begin(directory.path(), 1);
    let told = std::sync::Arc::<Told>::default();
    let producer = engine.producer(ProducerOptions::new().interceptor(told.clone())).unwrap();
    let mut committed = producer.begin(named("a")).unwrap();
    send(&mut committed, &topic, 2);
    committed.commit().unwrap();
    committed.commit().unwrap();
    let mut back = producer.begin(named("b")).unwrap();
    send(&mut back, &topic, 1);
    back.prepare().unwrap();
    back.roll_back().unwrap();
    let mut left = producer.begin(named("c")).unwrap();
    send(&mut left, &topic, 1);
    left.prepare().unwrap();
    drop(left);
    let mut dropped = producer.begin(named("d")).unwrap();
    send(&mut dropped, &topic, 1);
    drop(dropped);
    let expected =
        ["0 at Some(0)", "1 at Some(0)", "2 transaction-conflict", "3 unknown-outcome", "4 transaction-conflict"];
    assert_eq!(*told.0.lock().unwrap(), expected);
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 1, Start::Beginning).unwrap();
    let records = consumer.poll(SOON).unwrap();
    let header = records.iter().next().unwrap().headers().next().map(|header| header.value.to_vec());
    assert_eq!(header, Some(b"1".to_vec()));
    engine.create_group("g", shared().topic("t", Start::Beginning)).unwrap();
    let heard = std::sync::Arc::<Told>::default();
    let mut member = engine.join_group("g", MemberOptions::new().interceptor(heard.clone())).unwrap();
    let polled = member.poll(SOON).unwrap();
    let mut transaction = producer.begin(named("e")).unwrap();
    transaction.ack(&member, polled.iter().next().unwrap().id()).unwrap();
    assert_eq!(*heard.0.lock().unwrap(), ["0..1 InTransaction"]);
    transaction.commit().unwrap();
    engine.close().unwrap();
}

/// The story: a large transaction stands in the log, withheld, and nothing of it is left in memory; so nothing of it was
/// compared with the name when it was committed, and it was published after its producer had been replaced.
#[test]
fn a_large_transaction_of_a_producer_that_was_replaced_is_refused() {
    for prepares in [false, true] {
        let directory = directory();
        let (engine, topic, _) = begin(directory.path(), 1);
        let open_name = || engine.producer(ProducerOptions::new().name("importer")).unwrap();
        let old = open_name();
        let mut transaction = old.begin(named("late")).unwrap();
        // Each of them is written at once.
        let value = vec![7; 100_000];
        transaction.send(&topic, Record::new(&value)).unwrap();
        let _new = open_name();
        let refused = if prepares { transaction.prepare() } else { transaction.commit().map(drop) };
        assert_says(&refused.unwrap_err(), "producer-fenced", &["importer"]);
        assert_eq!((all(&engine).len(), engine.transactions()), (0, vec![]));
        engine.close().unwrap();
    }
}

/// What no log knows of, because it was never prepared, does not drive out what one knows.
#[test]
fn an_outcome_is_remembered_whatever_else_is_begun() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small().lanes(Some(2)).outcomes_max(10)).unwrap();
    let (topic, producer) = common::transaction::create(&engine);
    let commit = |id: &str, partition: u32| {
        let mut transaction = producer.begin(named(id)).unwrap();
        transaction.send(&topic, Record::new(b"x").partition(partition)).unwrap();
        transaction.commit().unwrap();
    };
    commit("kept", 1);
    for number in 0..30 {
        commit(&format!("other-{number}"), 0);
        drop(producer.begin(named(&format!("dropped-{number}"))).unwrap());
    }
    assert_says(&producer.begin(named("kept")).unwrap_err(), "transaction-exists", &["committed"]);
    assert_eq!(engine.transaction("other-19").unwrap_err().code(), "unknown-transaction");
    assert_eq!(engine.transaction("other-20").unwrap().state, TransactionState::Committed);
    engine.close().unwrap();
}

/// A delay that never ends is a delay, and no transaction's.
#[test]
fn a_record_that_is_delayed_for_ever_stays_and_can_be_cancelled() {
    let directory = directory();
    let (engine, topic, producer) = begin(directory.path(), 1);
    let send = |record: Record<'_>| producer.send(&topic, record).unwrap().wait().unwrap().id;
    send(Record::new(b"never").visible_after(Duration::MAX));
    let gone = send(Record::new(b"gone").visible_at(i64::MAX));
    producer.cancel(gone).unwrap();
    engine.close().unwrap();
    for _ in 0..2 {
        let engine = open(directory.path(), 1);
        assert_eq!(engine.stats().withheld_records, 1);
        engine.close().unwrap();
    }
}
