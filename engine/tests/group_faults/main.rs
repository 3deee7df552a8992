//! What befalls groups from outside: records that kill their process, a full disk, clocks that are set, groups and topics
//! that are deleted under their members.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod clock;
mod deleted;
mod full_disk;
mod poison;

use common::small;
use ringlane::*;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Runs what the parent ordered; see [`common::child`].
#[test]
#[ignore = "a child of the other tests"]
fn child() {
    let Some((word, argument)) = common::child::order() else { return };
    assert_eq!(word, "work");
    poison::work(Path::new(&argument));
}

/// Topic `t`, of which the group `g` reads everything.
fn create(engine: &Engine, partitions: u32, group: GroupOptions) -> Topic {
    let topic = engine.create_topic("t", TopicOptions::new().partitions(partitions)).unwrap();
    engine.create_group("g", group.topic("t", Start::Beginning)).unwrap();
    topic
}

fn begin(path: &Path, partitions: u32, group: GroupOptions) -> (Engine, Topic) {
    let engine = Engine::open(path, small()).unwrap();
    let topic = create(&engine, partitions, group);
    (engine, topic)
}

/// Sends the numbers as values, round the partitions.
fn fill(engine: &Engine, topic: &Topic, numbers: std::ops::Range<u64>) {
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let values: Vec<_> = numbers.map(|number| (number, number.to_string())).collect();
    let partition = |number: u64| (number % u64::from(topic.partitions())) as u32;
    let records: Vec<_> =
        values.iter().map(|(number, text)| Record::new(text.as_bytes()).partition(partition(*number))).collect();
    producer.send_batch(topic, &records).unwrap().wait_done().unwrap();
}

fn join(engine: &Engine) -> GroupConsumer {
    engine.join_group("g", MemberOptions::new()).unwrap()
}

/// A delivery: the number that the record has for its value, and how often it was delivered.
#[derive(Clone, Copy, Debug)]
struct Taken {
    number: u64,
    count: u32,
    id: DeliveryId,
}

fn taken(deliveries: &Deliveries) -> Vec<Taken> {
    let number =
        |delivery: &Delivery<'_>| std::str::from_utf8(delivery.record.value().unwrap()).unwrap().parse().unwrap();
    deliveries
        .iter()
        .map(|delivery| Taken { number: number(&delivery), count: delivery.delivery_count, id: delivery.id() })
        .collect()
}

/// Polls so often that `count` records came.
fn take(member: &mut GroupConsumer, count: usize) -> Vec<Taken> {
    let mut all = Vec::new();
    while all.len() < count {
        let polled = taken(&member.poll(SOON).unwrap());
        assert!(!polled.is_empty(), "{} of {count} came: {all:?}", all.len());
        all.extend(polled);
    }
    assert_eq!(all.len(), count, "{all:?}");
    all
}

fn nothing_comes(member: &mut GroupConsumer) {
    let polled = member.poll(Duration::from_millis(50)).unwrap();
    assert!(polled.is_empty(), "{:?}", taken(&polled));
}

/// Records of the group that are not finished.
fn lag(engine: &Engine) -> u64 {
    engine.describe_group("g").unwrap().partitions.iter().map(|partition| partition.lag).sum()
}
