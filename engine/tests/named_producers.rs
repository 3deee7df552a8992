//! Producers with a name: they go on after a restart, only the newest sends, and what they send again is noticed.

#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_says, directory, options, small, values};
use ringlane::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const FAR_MS: i64 = 4_000_000_000_000;

fn named(engine: &Engine, name: &str) -> Producer {
    engine.producer(ProducerOptions::new().name(name)).unwrap()
}

fn send(producer: &Producer, topic: &Topic, record: Record<'_>) -> Result<Receipt> {
    producer.send(topic, record)?.wait()
}

/// An engine with a topic of two partitions.
fn open(path: &Path) -> (Engine, Topic) {
    open_with(path, small())
}

fn open_with(path: &Path, options: Options) -> (Engine, Topic) {
    let engine = Engine::open(path, options).unwrap();
    let topic = engine.topic("t").or_else(|_| engine.create_topic("t", TopicOptions::new().partitions(2))).unwrap();
    (engine, topic)
}

/// A record of partition 0 with its number as its value.
fn numbered(sequence: u64, value: &[u8; 8]) -> Record<'_> {
    assert_eq!(u64::from_le_bytes(*value), sequence);
    Record::new(value).partition(0).sequence(sequence)
}

#[test]
fn a_name_goes_on_after_reopening() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    let producer = named(&engine, "billing");
    assert_eq!((producer.name(), producer.epoch()), (Some("billing"), 1));
    assert_eq!(producer.last_sent(&topic, 0).unwrap(), None);
    for sequence in 0..3 {
        let receipt = send(&producer, &topic, Record::new(b"v").partition(0)).unwrap();
        assert_eq!((receipt.origin.epoch, receipt.origin.sequence), (1, sequence));
    }
    let id = send(&producer, &topic, Record::new(b"v").partition(1).message_id(b"last")).unwrap().origin.producer;
    assert_ne!(id, Origin::UNNAMED);
    engine.close().unwrap();
    let (engine, topic) = open(directory.path());
    let producer = named(&engine, "billing");
    assert_eq!(producer.epoch(), 2);
    let last = producer.last_sent(&topic, 0).unwrap().unwrap();
    assert_eq!((last.sequence, last.epoch, last.message_id), (2, 1, None));
    let last = producer.last_sent(&topic, 1).unwrap().unwrap();
    assert_eq!((last.sequence, last.message_id.as_deref()), (0, Some(&b"last"[..])));
    let origin = send(&producer, &topic, Record::new(b"v").partition(0)).unwrap().origin;
    assert_eq!(origin, Origin { producer: id, epoch: 2, sequence: 3 });
    let listed = engine.producers();
    assert_eq!((listed.len(), &*listed[0].name, listed[0].id, listed[0].epoch), (1, "billing", id, 2));
    engine.close().unwrap();
    let reader = Engine::open_read_only(directory.path(), options()).unwrap();
    assert_eq!(reader.producers(), listed);
}

#[test]
fn only_the_newest_of_a_name_may_send() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    let old = named(&engine, "p");
    let on_its_way = old.send(&topic, Record::new(b"before").partition(0)).unwrap();
    let new = named(&engine, "p");
    assert_eq!(on_its_way.wait().unwrap().origin.epoch, 1, "it was sent in time");
    assert_eq!(new.last_sent(&topic, 0).unwrap().unwrap().sequence, 0, "and the new one knows");
    let refused = send(&old, &topic, Record::new(b"after")).unwrap_err();
    assert_says(&refused, "producer-fenced", &["`p`", "epoch 2", "this one has 1"]);
    assert!(!refused.is_retriable() && !refused.is_unknown_outcome());
    assert_eq!(old.last_sent(&topic, 0).unwrap_err().code(), "producer-fenced");
    assert_eq!(send(&new, &topic, Record::new(b"v").partition(0)).unwrap().origin.sequence, 1);
    // Others are not concerned.
    send(&named(&engine, "q"), &topic, Record::new(b"v")).unwrap();
    send(&engine.producer(ProducerOptions::new()).unwrap(), &topic, Record::new(b"v")).unwrap();
    engine.close().unwrap();
}

/// The old one sends all the time while the name is opened again and again. What the new one is told is final: a record
/// of an older epoch that came after it would make a number that was answered mean another record.
#[test]
fn nothing_of_an_older_epoch_comes_after_the_name_was_opened() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut producer = named(&engine, "p");
        for _ in 0..30 {
            let old = producer.clone();
            let (stop, topic_) = (&stop, &topic);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match old.send(topic_, Record::new(b"old").partition(0)) {
                        Ok(handle) => drop(handle),
                        Err(error) => return assert_eq!(error.code(), "producer-fenced"),
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(3));
            producer = named(&engine, "p");
            let last = producer.last_sent(&topic, 0).unwrap().map_or(0, |last| last.sequence + 1);
            let value = last.to_le_bytes();
            let receipt = send(&producer, &topic, numbered(last, &value)).unwrap();
            assert!(!receipt.duplicate, "number {last} was taken by an older epoch");
        }
        stop.store(true, Ordering::Relaxed);
    });
    engine.close().unwrap();
}

#[test]
fn a_number_that_comes_again_is_answered_with_the_first_receipt() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    let producer = named(&engine, "p");
    let values_of: Vec<[u8; 8]> = (0..10u64).map(u64::to_le_bytes).collect();
    let first = send(&producer, &topic, numbered(0, &values_of[0]).timestamp_ms(77)).unwrap();
    assert_eq!((first.duplicate, first.origin.sequence, first.offset), (false, 0, Some(0)));
    let again = send(&producer, &topic, numbered(0, &values_of[0])).unwrap();
    assert_eq!(again, Receipt { duplicate: true, ..first.clone() });
    // In one batch: one that was there, two new ones, one of them twice, and one that skips.
    let records: Vec<_> = [0, 1, 2, 1, 4].map(|n: u64| numbered(n, &values_of[n as usize])).into();
    let outcomes = producer.send_batch(&topic, &records).unwrap().outcomes();
    let seen: Vec<_> = outcomes[..4].iter().map(|outcome| outcome.as_ref().unwrap()).collect();
    assert_eq!(*seen[0], again);
    assert_eq!(seen.iter().map(|receipt| receipt.duplicate).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(seen.iter().map(|receipt| receipt.offset.unwrap()).collect::<Vec<_>>(), [0, 1, 2, 1]);
    assert_eq!(*seen[3], Receipt { duplicate: true, ..seen[1].clone() });
    assert_says(outcomes[4].as_ref().unwrap_err(), "sequence-gap", &["number 4", "number 3 comes next", "`p`"]);
    assert_eq!(producer.send_batch(&topic, &records).unwrap().wait_done().unwrap_err().code(), "sequence-gap");
    // Without a number the engine counts on.
    assert_eq!(send(&producer, &topic, Record::new(b"v").partition(0)).unwrap().origin.sequence, 3);
    assert_eq!(values(&engine, &topic, 0).len(), 4, "nothing was written twice");
    // Given up, restarted: still known.
    engine.delete_records(&topic, 0, 2).unwrap();
    engine.close().unwrap();
    let (engine, topic) = open(directory.path());
    let producer = named(&engine, "p");
    let after = send(&producer, &topic, numbered(0, &values_of[0])).unwrap();
    assert_eq!(after, again, "its epoch is the one that sent it");
    assert_eq!(send(&producer, &topic, numbered(4, &values_of[4])).unwrap().offset, Some(4));
    engine.close().unwrap();
}

/// A repeated record promises no more than the first one kept: its receipt waits until that is durable.
#[test]
fn a_repeated_record_is_as_durable_as_its_receipt_says() {
    let directory = directory();
    let (engine, topic) = open_with(directory.path(), small().flush_interval_ms(60_000));
    let fast = engine.producer(ProducerOptions::new().name("p").durability(Durability::Buffered)).unwrap();
    let first = send(&fast, &topic, Record::new(b"v").partition(0).message_id(b"a")).unwrap();
    let safe = engine.producer(ProducerOptions::new()).unwrap();
    let again = send(&safe, &topic, Record::new(b"v").partition(0).message_id(b"a")).unwrap();
    assert_eq!(again, Receipt { duplicate: true, durability: Durability::Synced, ..first });
    let copy = common::copy_of_a_moment(directory.path());
    let (crashed, topic) = open(copy.path());
    assert_eq!(values(&crashed, &topic, 0), [b"v"], "what a kill would have left has the record");
    crashed.close().unwrap();
    engine.close().unwrap();
}

#[test]
fn a_message_id_that_comes_again_is_answered_with_the_first_receipt() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let of = |id: &'static [u8]| Record::new(b"v").partition(0).message_id(id);
    let records = [of(b"a"), of(b"b"), of(b"a")];
    let receipts = producer.send_batch(&topic, &records).unwrap().wait().unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.offset.unwrap()).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(receipts.iter().map(|receipt| receipt.duplicate).collect::<Vec<_>>(), [false, false, true]);
    let other = send(&named(&engine, "other"), &topic, of(b"a")).unwrap();
    assert_eq!(other, receipts[2], "whoever sends it");
    let elsewhere = send(&producer, &topic, of(b"a").partition(1)).unwrap();
    assert_eq!((elsewhere.duplicate, elsewhere.partition), (false, 1), "ids count within a partition");
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    let ids: Vec<_> =
        consumer.poll(Duration::ZERO).unwrap().iter().map(|r| r.message_id().map(<[u8]>::to_vec)).collect();
    assert_eq!(ids, [Some(b"a".to_vec()), Some(b"b".to_vec())]);
    engine.close().unwrap();
    let (engine, topic) = open(directory.path());
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    assert_eq!(send(&producer, &topic, of(b"b")).unwrap().offset, Some(1));
    engine.close().unwrap();
}

#[test]
fn a_delayed_record_is_known_again_too() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    let producer = named(&engine, "p");
    let record = Record::new(b"v").partition(0).sequence(0).visible_at(FAR_MS);
    let first = send(&producer, &topic, record).unwrap();
    assert_eq!((first.offset, first.duplicate), (None, false));
    assert_eq!(send(&producer, &topic, record).unwrap(), Receipt { duplicate: true, ..first.clone() });
    assert_eq!(engine.stats().lanes[0].withheld_records, 1);
    engine.publish_withheld(first.id, &[]).unwrap();
    assert_eq!(send(&producer, &topic, record).unwrap().id, first.id, "also when it is visible");
    engine.close().unwrap();
}

/// A number is never forgotten; a receipt is, and then the answer says so. It never is "new".
#[test]
fn a_forgotten_receipt_is_an_error_and_a_forgotten_id_is_new() {
    let directory = directory();
    let (engine, topic) = open_with(directory.path(), small().originals_max(2));
    let producer = named(&engine, "p");
    for sequence in 0..4u64 {
        send(&producer, &topic, numbered(sequence, &sequence.to_le_bytes())).unwrap();
    }
    let zero = 0u64.to_le_bytes();
    let forgotten = send(&producer, &topic, numbered(0, &zero)).unwrap_err();
    assert_says(&forgotten, "receipt-forgotten", &["number 0", "`p`", "is in the log already", "originals_max"]);
    let of = |id: &'static [u8]| Record::new(b"v").partition(1).message_id(id);
    for id in [b"a", b"b", b"c"] {
        assert!(!send(&producer, &topic, of(id)).unwrap().duplicate);
    }
    assert!(send(&producer, &topic, of(b"c")).unwrap().duplicate);
    assert!(!send(&producer, &topic, of(b"a")).unwrap().duplicate, "it went before b and c");
    engine.close().unwrap();
    let (engine, topic) = open_with(directory.path(), small().originals_max(0));
    let producer = named(&engine, "p");
    assert_eq!(send(&producer, &topic, numbered(0, &zero)).unwrap_err().code(), "receipt-forgotten");
    assert!(!send(&producer, &topic, of(b"c")).unwrap().duplicate, "none is remembered");
    engine.close().unwrap();
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    let unnamed = engine.producer(ProducerOptions::new()).unwrap();
    let refused = send(&unnamed, &topic, Record::new(b"v").partition(0).sequence(0)).unwrap_err();
    assert_says(&refused, "invalid-argument", &["sequence = 0", "with a name"]);
    let batch = unnamed.send_batch(&topic, &[Record::new(b"v").partition(0).sequence(0)]).unwrap_err();
    assert_eq!(batch.code(), "invalid-argument");
    assert_says(&unnamed.last_sent(&topic, 0).unwrap_err(), "invalid-argument", &["with a name"]);
    let producer = named(&engine, "p");
    let refused = send(&producer, &topic, Record::new(b"v").sequence(0)).unwrap_err();
    assert_says(&refused, "invalid-argument", &["its partition, or a key"]);
    send(&producer, &topic, Record::new(b"v").key(b"k").sequence(0)).unwrap();
    assert_eq!(producer.last_sent(&topic, 2).unwrap_err().code(), "invalid-partition");
    let refused = engine.producer(ProducerOptions::new().name("a b")).unwrap_err();
    assert_says(&refused, "invalid-name", &["`a b`"]);
    engine.close().unwrap();
}

#[test]
fn a_producer_that_was_deleted_is_another_one_when_it_comes_again() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    let producer = named(&engine, "p");
    let id = send(&producer, &topic, Record::new(b"v").partition(0)).unwrap().origin.producer;
    engine.delete_producer("p").unwrap();
    assert_says(&engine.delete_producer("p").unwrap_err(), "unknown-producer", &["`p`"]);
    assert_eq!(send(&producer, &topic, Record::new(b"v")).unwrap_err().code(), "unknown-producer");
    assert_eq!(values(&engine, &topic, 0).len(), 1, "its records stay");
    engine.close().unwrap();
    let (engine, topic) = open(directory.path());
    assert_eq!(engine.producers(), []);
    let producer = named(&engine, "p");
    assert_eq!(producer.last_sent(&topic, 0).unwrap(), None);
    let origin = send(&producer, &topic, Record::new(b"v").partition(0)).unwrap().origin;
    assert!(origin.producer > id && origin.sequence == 0, "{origin:?}");
    engine.close().unwrap();
}

#[test]
fn another_number_of_lanes_changes_nothing() {
    let directory = directory();
    let (engine, topic) = open_with(directory.path(), small().lanes(Some(1)));
    let producer = named(&engine, "p");
    let records = |partition| Record::new(b"v").partition(partition).sequence(0).message_id(b"id");
    let first: Vec<_> = (0..2).map(|partition| send(&producer, &topic, records(partition)).unwrap()).collect();
    engine.close().unwrap();
    for lanes in [3, 2, 1] {
        let (engine, topic) = open_with(directory.path(), small().lanes(Some(lanes)));
        let producer = named(&engine, "p");
        for partition in 0..2 {
            let again = send(&producer, &topic, records(partition)).unwrap();
            assert_eq!(again, Receipt { duplicate: true, ..first[partition as usize].clone() }, "{lanes} lanes");
            assert_eq!(producer.last_sent(&topic, partition).unwrap().unwrap().sequence, 0);
        }
        engine.close().unwrap();
    }
    let (engine, topic) = open_with(directory.path(), small().lanes(Some(2)));
    engine.delete_producer("p").unwrap();
    let producer = named(&engine, "p");
    for partition in 0..2 {
        assert_eq!(producer.last_sent(&topic, partition).unwrap(), None, "every lane has forgotten it");
    }
    engine.close().unwrap();
}

/// In the session that changed the number of lanes, receipts were remembered without the bound.
#[test]
fn the_bound_on_receipts_holds_as_soon_as_lanes_have_changed() {
    let directory = directory();
    let bounded = |lanes| small().originals_max(2).lanes(Some(lanes));
    let of = |id: &'static [u8]| Record::new(b"v").partition(0).message_id(id);
    let (engine, topic) = open_with(directory.path(), bounded(1));
    send(&named(&engine, "p"), &topic, of(b"a")).unwrap();
    engine.close().unwrap();
    let (engine, topic) = open_with(directory.path(), bounded(2));
    let producer = named(&engine, "p");
    assert!(send(&producer, &topic, of(b"a")).unwrap().duplicate);
    for id in [b"b", b"c"] {
        assert!(!send(&producer, &topic, of(id)).unwrap().duplicate);
    }
    assert!(!send(&producer, &topic, of(b"a")).unwrap().duplicate, "b and c took its place");
    engine.close().unwrap();
}

#[test]
fn a_repaired_directory_goes_on_with_the_same_numbers() {
    let directory = directory();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let (engine, topic) = open(&from);
    let producer = named(&engine, "p");
    let mut expected = Vec::new();
    let zero = 0u64.to_le_bytes();
    expected.push(send(&producer, &topic, numbered(0, &zero)).unwrap().origin);
    let identified = Record::new(b"v").partition(0).message_id(b"id");
    expected.push(send(&producer, &topic, identified).unwrap().origin);
    let late = send(&producer, &topic, Record::new(b"late").partition(0).visible_at(FAR_MS)).unwrap();
    let unnamed = engine.producer(ProducerOptions::new()).unwrap();
    expected.push(send(&unnamed, &topic, Record::new(b"v").partition(0)).unwrap().origin);
    engine.close().unwrap();
    ringlane::repair(&from, &to, small(), &mut |_| {}).unwrap();
    let (engine, topic) = open(&to);
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    let origins: Vec<_> = consumer.poll(Duration::ZERO).unwrap().iter().map(|record| record.origin()).collect();
    assert_eq!(origins, expected);
    let producer = named(&engine, "p");
    assert_eq!((producer.epoch(), producer.last_sent(&topic, 0).unwrap().unwrap().sequence), (2, late.origin.sequence));
    assert!(send(&producer, &topic, numbered(0, &zero)).unwrap().duplicate);
    assert!(send(&producer, &topic, identified).unwrap().duplicate);
    let unnamed = engine.producer(ProducerOptions::new()).unwrap();
    assert_eq!(send(&unnamed, &topic, Record::new(b"v").partition(0)).unwrap().origin.sequence, 1);
    engine.close().unwrap();
}

/// The engine is killed after each of some sends; whoever comes next asks how far it came and goes on from there. Each
/// number is in the log once.
#[test]
fn a_producer_that_asks_how_far_it_came_sends_each_number_once() {
    let directory = directory();
    let mut path = directory.path().to_owned();
    let mut copies = Vec::new();
    for round in 0..5u64 {
        let (engine, topic) = open(&path);
        let producer = named(&engine, "p");
        let next = producer.last_sent(&topic, 0).unwrap().map_or(0, |last| last.sequence + 1);
        assert!(next >= round * 3, "what was answered is there");
        let copy = {
            for sequence in next..next + 3 {
                send(&producer, &topic, numbered(sequence, &sequence.to_le_bytes())).unwrap();
            }
            // On its way when the kill comes.
            let value = (next + 3).to_le_bytes();
            let _unknown = producer.send(&topic, numbered(next + 3, &value)).unwrap();
            common::copy_of_a_moment(&path)
        };
        engine.close().unwrap();
        path = copy.path().to_owned();
        copies.push(copy);
    }
    let (engine, topic) = open(&path);
    let found: Vec<u64> =
        values(&engine, &topic, 0).iter().map(|value| u64::from_le_bytes(value[..].try_into().unwrap())).collect();
    assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
    engine.close().unwrap();
}
