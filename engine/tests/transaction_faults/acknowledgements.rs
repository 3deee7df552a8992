//! Leases that are lost, groups that are sent elsewhere or deleted, and topics that are deleted, under a transaction.

use super::common::group::{create as create_group, fill, join, ordered, shared};
use super::common::transaction::{named, open};
use super::common::{assert_says, copy_of_a_moment, directory, values};
use super::{A_WHILE, SOON};
use ringlane::*;
use std::path::Path;

const RECORDS: u64 = 4;

/// Group `g` of topic `t` with two partitions, topic `out`, and all deliveries of the group.
struct Work {
    engine: Engine,
    output: Topic,
    producer: Producer,
    member: GroupConsumer,
    /// What came, and was not taken yet.
    polled: Vec<(DeliveryId, u32)>,
    taken: Vec<DeliveryId>,
}

impl Work {
    fn begin(path: &Path, lanes: u32, group: GroupOptions) -> Work {
        let engine = open(path, lanes);
        let input = create_group(&engine, 2, group);
        fill(&engine, &input, 0..RECORDS);
        let output = engine.create_topic("out", TopicOptions::new().partitions(4)).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        let member = join(&engine);
        let mut work = Work { engine, output, producer, member, polled: Vec::new(), taken: Vec::new() };
        work.taken = work.take(RECORDS as usize).into_iter().map(|(id, _)| id).collect();
        work
    }

    /// So many deliveries, and how often each was delivered.
    fn take(&mut self, count: usize) -> Vec<(DeliveryId, u32)> {
        while self.polled.len() < count {
            let polled = self.member.poll(SOON).unwrap();
            assert!(!polled.is_empty(), "{} of {count} came", self.polled.len());
            self.polled.extend(polled.iter().map(|delivery| (delivery.id(), delivery.delivery_count)));
        }
        self.polled.drain(..count).collect()
    }

    /// A transaction with a record for each partition of `out`, that acknowledges all that was taken.
    fn transaction(&self, id: &str) -> Transaction {
        let mut transaction = self.producer.begin(named(id)).unwrap();
        for partition in 0..self.output.partitions() {
            transaction.send(&self.output, Record::new(b"v").partition(partition)).unwrap();
        }
        self.taken.iter().for_each(|id| transaction.ack(&self.member, *id).unwrap());
        transaction
    }
}

/// What stands in `out`.
fn produced(engine: &Engine) -> usize {
    let output = engine.topic("out").unwrap();
    (0..output.partitions()).map(|partition| values(engine, &output, partition).len()).sum()
}

fn positions(engine: &Engine) -> Vec<u64> {
    engine.describe_group("g").unwrap().partitions.iter().map(|partition| partition.position).collect()
}

/// The member was slow: the record is somebody else's by now. It is not acknowledged, and what else is in the transaction
/// is not concerned.
#[test]
fn a_lease_that_ran_out_before_the_transaction_took_it() {
    for group in [shared(), ordered()] {
        let directory = directory();
        let mut work = Work::begin(directory.path(), 2, group);
        let short = MemberOptions::new().lease(A_WHILE / 2);
        work.taken.iter().for_each(|id| work.member.release(*id).unwrap());
        std::mem::replace(&mut work.member, work.engine.join_group("g", short).unwrap()).close();
        let late = work.take(RECORDS as usize);
        std::thread::sleep(A_WHILE);
        let again = work.take(RECORDS as usize);
        let mut transaction = work.producer.begin(named("late")).unwrap();
        transaction.send(&work.output, Record::new(b"v")).unwrap();
        for (id, _) in late {
            assert_says(&transaction.ack(&work.member, id).unwrap_err(), "lease-lost", &["`t`"]);
        }
        transaction.commit().unwrap().receipts().unwrap();
        assert_eq!((produced(&work.engine), positions(&work.engine)), (1, vec![0, 0]));
        drop(again);
        work.engine.close().unwrap();
    }
}

/// Twice in one transaction, in two, and outside of it: a delivery ends once.
#[test]
fn a_delivery_is_in_one_transaction() {
    for group in [shared(), ordered()] {
        let directory = directory();
        let mut work = Work::begin(directory.path(), 1, group);
        let mut transaction = work.transaction("a");
        let mut other = work.producer.begin(named("b")).unwrap();
        for id in &work.taken {
            for error in [
                transaction.ack(&work.member, *id).unwrap_err(),
                other.ack(&work.member, *id).unwrap_err(),
                work.member.ack(*id).unwrap_err(),
                work.member.nack(*id, None).unwrap_err(),
                work.member.extend(*id, SOON).unwrap_err(),
            ] {
                assert_says(&error, "not-delivered", &["`t`"]);
            }
        }
        drop(other);
        transaction.roll_back().unwrap();
        // Each comes once more, and no oftener. In an ordered group those behind wait for the first.
        for _ in 0..RECORDS {
            let (id, count) = work.take(1)[0];
            assert_eq!(count, 2);
            work.member.ack(id).unwrap();
        }
        work.member.flush().unwrap();
        assert_eq!(positions(&work.engine), [2, 2]);
        work.engine.close().unwrap();
    }
}

/// Somebody sends the group back to the beginning, or deletes it, while the transaction is open. What it acknowledges is not
/// its own any more: nothing of it is published.
#[test]
fn a_group_that_is_reset_or_deleted_before_the_commit_rolls_it_back() {
    for lanes in [1, 2] {
        for group in [shared(), ordered()] {
            for (deletes, prepares) in [(false, false), (false, true), (true, false), (true, true)] {
                let directory = directory();
                let mut work = Work::begin(directory.path(), lanes, group.clone());
                let mut transaction = work.transaction("a");
                let code = match deletes {
                    true => {
                        work.engine.delete_group("g").unwrap();
                        "group-deleted"
                    }
                    false => {
                        work.engine.reset_group("g", "t", 1, Start::Beginning).unwrap();
                        "lease-lost"
                    }
                };
                let end = if prepares { transaction.prepare() } else { transaction.commit().map(drop) };
                assert_says(&end.unwrap_err(), code, &["g"]);
                assert_eq!(transaction.state(), TransactionState::RolledBack);
                assert_says(&transaction.commit().unwrap_err(), "transaction-conflict", &["rolled back"]);
                assert_eq!((produced(&work.engine), work.engine.stats().withheld_records), (0, 0));
                if !deletes {
                    // All of it comes again: what was reset as if for the first time.
                    let counts = work.take(RECORDS as usize);
                    assert_eq!(counts.len() as u64, RECORDS);
                    assert_eq!(positions(&work.engine), [0, 0]);
                }
                work.engine.close().unwrap();
                let engine = open(directory.path(), lanes);
                assert_eq!((produced(&engine), engine.transactions().len()), (0, 0));
                engine.close().unwrap();
            }
        }
    }
}

/// The same after it was prepared. That it commits was promised: its records are published, and what somebody did with the
/// group since then stands.
#[test]
fn a_group_that_is_reset_or_deleted_under_what_is_prepared_changes_nothing_of_its_records() {
    for lanes in [1, 2] {
        for deletes in [false, true] {
            for crashes in [false, true] {
                let directory = directory();
                let work = Work::begin(directory.path(), lanes, shared());
                let mut transaction = work.transaction("a");
                transaction.prepare().unwrap();
                match deletes {
                    true => work.engine.delete_group("g").unwrap(),
                    false => {
                        for partition in 0..2 {
                            work.engine.reset_group("g", "t", partition, Start::Beginning).unwrap();
                        }
                    }
                }
                let copy = copy_of_a_moment(directory.path());
                let (path, engine) = match crashes {
                    false => {
                        transaction.commit().unwrap().receipts().unwrap();
                        (directory.path(), work.engine)
                    }
                    true => {
                        let engine = open(copy.path(), lanes);
                        engine.commit_transaction("a").unwrap();
                        engine.sync().unwrap();
                        (copy.path(), engine)
                    }
                };
                let check = |engine: Engine| {
                    assert_eq!(produced(&engine), 4);
                    if !deletes {
                        assert_eq!(positions(&engine), [0, 0], "it was sent back after the acknowledgement");
                    }
                    engine.close().unwrap();
                };
                check(engine);
                check(open(path, lanes));
            }
        }
    }
}

/// A topic is deleted while records for it are prepared: they go with it, and all others are published.
#[test]
fn a_topic_that_is_deleted_under_what_is_prepared() {
    for lanes in [1, 2] {
        for crashes in [false, true] {
            let directory = directory();
            let engine = open(directory.path(), lanes);
            let topic = |name: &str| engine.create_topic(name, TopicOptions::new().partitions(2)).unwrap();
            let (gone, kept) = (topic("gone"), topic("out"));
            let producer = engine.producer(ProducerOptions::new()).unwrap();
            let mut transaction = producer.begin(named("a")).unwrap();
            for partition in 0..2 {
                transaction.send(&gone, Record::new(b"v").partition(partition)).unwrap();
                transaction.send(&kept, Record::new(b"v").partition(partition)).unwrap();
            }
            transaction.prepare().unwrap();
            engine.delete_topic("gone").unwrap();
            let copy = copy_of_a_moment(directory.path());
            match crashes {
                false => {
                    let receipts = transaction.commit().unwrap().receipts().unwrap();
                    let offsets: Vec<_> = receipts.iter().map(|receipt| receipt.offset).collect();
                    assert_eq!(offsets, [None, Some(0), None, Some(0)]);
                }
                true => {
                    let killed = open(copy.path(), lanes);
                    assert_eq!(killed.transaction("a").unwrap().state, TransactionState::Prepared);
                    killed.commit_transaction("a").unwrap();
                    killed.sync().unwrap();
                    assert_eq!(produced(&killed), 2);
                    // One of the same name is another topic.
                    let again = killed.create_topic("gone", TopicOptions::new()).unwrap();
                    assert_eq!(values(&killed, &again, 0).len(), 0);
                    killed.close().unwrap();
                    assert!(!verify(copy.path(), &mut |_| {}).unwrap().is_damaged());
                    transaction.roll_back().unwrap();
                }
            }
            assert_eq!(produced(&engine), if crashes { 0 } else { 2 });
            engine.close().unwrap();
            let engine = open(directory.path(), lanes);
            assert_eq!(produced(&engine), if crashes { 0 } else { 2 });
            engine.close().unwrap();
            assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
        }
    }
}

/// Records for a topic that is deleted before the commit, in a transaction that is open.
#[test]
fn a_topic_that_is_deleted_under_what_is_open() {
    for (lanes, crashes) in [(1, false), (2, false), (1, true), (2, true)] {
        let directory = directory();
        let copy;
        let work = Work::begin(directory.path(), lanes, shared());
        let gone = work.engine.create_topic("gone", TopicOptions::new()).unwrap();
        let mut transaction = work.transaction("a");
        transaction.send(&gone, Record::new(b"v")).unwrap();
        work.engine.delete_topic("gone").unwrap();
        assert_eq!(transaction.send(&gone, Record::new(b"v")).unwrap_err().code(), "topic-deleted");
        let path = match crashes {
            // At once: as with a record that is sent in the moment of the deletion.
            false => {
                assert_eq!(transaction.commit().unwrap().receipts().unwrap().len(), 5);
                directory.path()
            }
            true => {
                transaction.prepare().unwrap();
                copy = copy_of_a_moment(directory.path());
                let killed = open(copy.path(), lanes);
                killed.commit_transaction("a").unwrap();
                killed.close().unwrap();
                transaction.commit().unwrap().receipts().unwrap();
                copy.path()
            }
        };
        assert_eq!((produced(&work.engine), positions(&work.engine)), (4, vec![2, 2]));
        assert_eq!(work.engine.stats().withheld_records, 0);
        work.engine.close().unwrap();
        let engine = open(path, lanes);
        assert_eq!((produced(&engine), positions(&engine)), (4, vec![2, 2]));
        assert_eq!(engine.stats().withheld_records, 0);
        engine.close().unwrap();
        assert!(!verify(path, &mut |_| {}).unwrap().is_damaged());
    }
}

/// The topic that was consumed is deleted under the transaction that acknowledges records of it.
#[test]
fn a_consumed_topic_that_is_deleted_keeps_no_record_from_being_published() {
    for prepares in [false, true] {
        let directory = directory();
        let work = Work::begin(directory.path(), 2, shared());
        let mut transaction = work.transaction("a");
        if prepares {
            transaction.prepare().unwrap();
        }
        work.engine.delete_topic("t").unwrap();
        transaction.commit().unwrap().receipts().unwrap();
        assert_eq!(produced(&work.engine), 4);
        work.engine.close().unwrap();
        let engine = open(directory.path(), 2);
        assert_eq!(produced(&engine), 4);
        engine.close().unwrap();
        assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
    }
}
