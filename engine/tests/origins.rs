//! Who wrote a record, and as which one: what producers without a name are told, and what consumers see of it.

#![allow(clippy::unwrap_used)]

mod common;

use common::{directory, options, small};
use ringlane::*;
use std::time::Duration;

/// Offset and origin of all records of a partition.
fn origins(engine: &Engine, topic: &Topic, partition: u32) -> Vec<(u64, Origin)> {
    let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(7)).unwrap();
    consumer.assign(topic, partition, Start::Beginning).unwrap();
    let mut all = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO).unwrap();
        if records.is_empty() {
            return all;
        }
        all.extend(records.iter().map(|record| (record.offset(), record.origin())));
    }
}

fn unnamed(sequence: u64) -> Origin {
    Origin { producer: Origin::UNNAMED, epoch: 0, sequence }
}

#[test]
fn producers_without_a_name_count_as_one_in_each_partition() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let (one, other) =
        (engine.producer(ProducerOptions::new()).unwrap(), engine.producer(ProducerOptions::new()).unwrap());
    let send = |producer: &Producer, partition| {
        producer.send(&topic, Record::new(b"v").partition(partition)).unwrap().wait().unwrap()
    };
    let numbers: Vec<_> = [&one, &other, &one].map(|producer| send(producer, 0).origin).into();
    assert_eq!(numbers, [unnamed(0), unnamed(1), unnamed(2)]);
    assert_eq!(send(&other, 1).origin, unnamed(0));
    // Many in one frame, and frames beside each other.
    let records: Vec<_> = (0..50).map(|_| Record::new(b"many").partition(0)).collect();
    let receipts = one.send_batch(&topic, &records).unwrap().wait().unwrap();
    assert!(receipts.iter().zip(3..).all(|(receipt, sequence)| receipt.origin == unnamed(sequence)));
    assert!(receipts.iter().all(|receipt| !receipt.duplicate));
    let expected: Vec<_> = (0..53).map(|number| (number, unnamed(number))).collect();
    assert_eq!(origins(&engine, &topic, 0), expected);
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.topic("t").unwrap();
    assert_eq!(origins(&engine, &topic, 0), expected, "from files");
    let receipt = engine.producer(ProducerOptions::new()).unwrap();
    let receipt = receipt.send(&topic, Record::new(b"v").partition(0)).unwrap().wait().unwrap();
    assert_eq!(receipt.origin, unnamed(53), "they go on");
    engine.close().unwrap();
}

/// What retention takes is gone, and its numbers are not given out again.
#[test]
fn numbers_survive_their_records() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let value = vec![7; 100 << 10];
    let records: Vec<_> = (0..40).map(|_| Record::new(&value)).collect();
    producer.send_batch(&topic, &records).unwrap().wait_done().unwrap();
    // One that is used again may be so at once: how many wait for that is no sign.
    let oldest = || {
        let segments = inspect(directory.path()).unwrap().segments;
        segments.iter().filter(|segment| matches!(segment.state, "sealed" | "live")).map(|segment| segment.base).min()
    };
    let before = oldest();
    engine.delete_records(&topic, 0, 39).unwrap();
    common::wait_until("the first segment is given up", || oldest() > before);
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.topic("t").unwrap();
    assert_eq!(origins(&engine, &topic, 0), [(39, unnamed(39))]);
    engine.delete_records(&topic, 0, 40).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    assert_eq!(producer.send(&topic, Record::new(b"v")).unwrap().wait().unwrap().origin, unnamed(40));
    engine.close().unwrap();
}

/// A delayed record has its number when it is appended, and its offset when it becomes visible.
#[test]
fn a_delayed_record_keeps_the_number_that_its_receipt_says() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let send = |record: Record<'_>| producer.send(&topic, record).unwrap().wait().unwrap();
    let delayed = send(Record::new(b"delayed").visible_at(4_000_000_000_000));
    let cancelled = send(Record::new(b"cancelled").visible_at(4_000_000_000_000));
    assert_eq!((delayed.offset, delayed.origin, cancelled.origin), (None, unnamed(0), unnamed(1)));
    assert_eq!(send(Record::new(b"plain")).origin, unnamed(2));
    producer.cancel(cancelled.id).unwrap();
    engine.publish_withheld(delayed.id, &[]).unwrap();
    let expected = [(0, unnamed(2)), (1, unnamed(0))];
    assert_eq!(origins(&engine, &topic, 0), expected);
    engine.close().unwrap();
    let engine = Engine::open_read_only(directory.path(), options()).unwrap();
    assert_eq!(origins(&engine, &engine.topic("t").unwrap(), 0), expected, "from outside");
}

/// What was refused used up no number: a consumer would miss it for ever.
#[test]
fn a_send_that_fails_uses_up_no_number() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options().withheld_records_max(0)).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(&vec![0; 2 << 20])).unwrap_err();
    producer.send(&topic, Record::new(b"v").partition(9)).unwrap_err();
    let refused = producer.send(&topic, Record::new(b"v").visible_at(4_000_000_000_000)).unwrap().wait().unwrap_err();
    assert_eq!(refused.code(), "too-many");
    assert_eq!(producer.send(&topic, Record::new(b"v")).unwrap().wait().unwrap().origin, unnamed(0));
    engine.close().unwrap();
}
