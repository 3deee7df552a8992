//! An engine with topic `t` and a producer: what most tests of transactions begin with.

use super::{small, values};
use ringlane::{Engine, Producer, ProducerOptions, Record, Topic, TopicOptions, Transaction, TransactionOptions};
use std::path::Path;

pub(crate) fn open(path: &Path, lanes: u32) -> Engine {
    Engine::open(path, small().lanes(Some(lanes))).unwrap()
}

/// Topic `t` of four partitions, and somebody who sends.
pub(crate) fn create(engine: &Engine) -> (Topic, Producer) {
    let topic = engine.create_topic("t", TopicOptions::new().partitions(4)).unwrap();
    (topic, engine.producer(ProducerOptions::new()).unwrap())
}

/// An engine of so many lanes with them.
pub(crate) fn begin(path: &Path, lanes: u32) -> (Engine, Topic, Producer) {
    let engine = open(path, lanes);
    let (topic, producer) = create(&engine);
    (engine, topic, producer)
}

pub(crate) fn named(id: &str) -> TransactionOptions {
    TransactionOptions::new().id(id)
}

/// Sends `count` records of a transaction, round the partitions; their values begin with its name.
pub(crate) fn send(transaction: &mut Transaction, topic: &Topic, count: u32) {
    for number in 0..count {
        let value = format!("{}/{number}", transaction.id());
        transaction.send(topic, Record::new(value.as_bytes()).partition(number % topic.partitions())).unwrap();
    }
}

/// A transaction that is prepared, with so many records.
pub(crate) fn prepared(producer: &Producer, topic: &Topic, options: TransactionOptions, count: u32) -> Transaction {
    let mut transaction = producer.begin(options).unwrap();
    send(&mut transaction, topic, count);
    transaction.prepare().unwrap();
    transaction
}

/// All values of `t`, sorted.
pub(crate) fn all(engine: &Engine) -> Vec<String> {
    let topic = engine.topic("t").unwrap();
    let values = (0..topic.partitions()).flat_map(|partition| values(engine, &topic, partition));
    let mut found: Vec<String> = values.map(|value| String::from_utf8(value).unwrap()).collect();
    found.sort();
    found
}

/// What [`send`] sends, sorted.
pub(crate) fn of(id: &str, count: u32) -> Vec<String> {
    let mut values: Vec<String> = (0..count).map(|number| format!("{id}/{number}")).collect();
    values.sort();
    values
}
