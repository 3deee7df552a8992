//! An engine with topic `t`, which the group `g` reads: what most tests of groups begin with.

use super::small;
use ringlane::{
    Engine, GroupConsumer, GroupOptions, MemberOptions, ProducerOptions, Record, Start, Topic, TopicOptions,
};
use std::path::Path;
use std::time::Duration;

/// A group whose records come again at once.
pub(crate) fn shared() -> GroupOptions {
    GroupOptions::shared().retry_delay(Duration::ZERO, Duration::ZERO)
}

/// See [`shared`].
pub(crate) fn ordered() -> GroupOptions {
    GroupOptions::ordered().retry_delay(Duration::ZERO, Duration::ZERO)
}

/// Topic `t`, of which the group `g` reads everything.
pub(crate) fn create(engine: &Engine, partitions: u32, group: GroupOptions) -> Topic {
    let topic = engine.create_topic("t", TopicOptions::new().partitions(partitions)).unwrap();
    engine.create_group("g", group.topic("t", Start::Beginning)).unwrap();
    topic
}

/// An engine with them.
pub(crate) fn begin(path: &Path, partitions: u32, group: GroupOptions) -> (Engine, Topic) {
    let engine = Engine::open(path, small()).unwrap();
    let topic = create(&engine, partitions, group);
    (engine, topic)
}

/// Sends the numbers as values, round the partitions.
pub(crate) fn fill(engine: &Engine, topic: &Topic, numbers: std::ops::Range<u64>) {
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let values: Vec<_> = numbers.map(|number| (number, number.to_string())).collect();
    let partition = |number: u64| (number % u64::from(topic.partitions())) as u32;
    let records: Vec<_> =
        values.iter().map(|(number, text)| Record::new(text.as_bytes()).partition(partition(*number))).collect();
    producer.send_batch(topic, &records).unwrap().wait_done().unwrap();
}

/// A member of `g`.
pub(crate) fn join(engine: &Engine) -> GroupConsumer {
    engine.join_group("g", MemberOptions::new()).unwrap()
}
