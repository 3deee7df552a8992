//! Handles that outlive what they stand for: closed engines, deleted topics.

use crate::common::watchdog::watchdog;
use crate::common::{assert_says, directory, drain, small, values};
use ringlane::*;
use std::time::Duration;

#[test]
fn every_call_after_close_says_closed() {
    let _watchdog = watchdog(60, "calls after close");
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let delayed = Record::new(b"later").visible_after(Duration::from_secs(3600));
    let delayed = producer.send(&topic, delayed).unwrap().wait().unwrap();
    producer.send(&topic, Record::new(b"x")).unwrap().wait().unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    let mut follower = engine.consumer(ConsumerOptions::new()).unwrap();
    follower.assign(&topic, 0, Start::End).unwrap();
    let follower = std::thread::spawn(move || follower.poll(Duration::from_secs(50)).map(|records| records.len()));
    let last = producer.send(&topic, Record::new(b"y").partition(0)).unwrap();
    // The follower gets the record or the end, but it does not sleep on.
    engine.close().unwrap();
    assert_eq!(last.wait().unwrap().offset, Some(1), "what was sent before has its outcome");
    let followed = follower.join().unwrap();
    assert!(matches!(followed, Ok(1) | Err(Error::Closed { .. })), "{followed:?}");

    let refused = [
        producer.send(&topic, Record::new(b"z")).map(drop),
        producer.send_batch(&topic, &[Record::new(b"z")]).map(drop),
        producer.send_many(&[(&topic, Record::new(b"z"))]).map(drop),
        producer.cancel(delayed.id),
        engine.create_topic("u", TopicOptions::new()).map(drop),
        engine.delete_topic("t"),
        engine.producer(ProducerOptions::new()).map(drop),
        engine.set_retention("t", Retention::new().retention_bytes(1)),
        engine.delete_records(&topic, 0, 1).map(drop),
        engine.sync(),
        engine.publish_withheld(delayed.id, &[]),
    ];
    for (number, result) in refused.into_iter().enumerate() {
        assert_says(&result.expect_err(&number.to_string()), "closed", &["is closed"]);
    }
    assert_eq!(engine.close(), Ok(()), "closing again gives the same result");
    assert_eq!(engine.clone().close(), Ok(()));
    producer.flush().unwrap();
    // What was read before the end is given first.
    assert_eq!(consumer.poll(Duration::ZERO).unwrap().len(), 2);
    assert_says(&consumer.poll(Duration::from_secs(50)).unwrap_err(), "closed", &["the engine"]);
    assert_eq!(engine.topics().len(), 1);
    assert!(engine.stats().poisoned.is_none());

    let engine = Engine::open(directory.path(), small()).unwrap();
    assert_eq!(values(&engine, &engine.topic("t").unwrap(), 0), [b"x", b"y"]);
}

#[test]
fn dropping_everything_closes() {
    let _watchdog = watchdog(60, "dropping");
    let directory = directory();
    for round in 0..3u32 {
        let engine = Engine::open(directory.path(), small()).unwrap();
        let topic = match round {
            0 => engine.create_topic("t", TopicOptions::new()).unwrap(),
            _ => engine.topic("t").unwrap(),
        };
        assert!(round == 0 || engine.recovery().clean, "{:?}", engine.recovery());
        let producer = engine.producer(ProducerOptions::new().durability(Durability::Buffered)).unwrap();
        let handle = producer.send(&topic, Record::new(b"x")).unwrap();
        drop(engine);
        // The handle outlives the engine, and knows.
        assert_eq!(handle.wait().unwrap().offset, Some(u64::from(round)));
        assert_eq!(producer.send(&topic, Record::new(b"x")).unwrap_err().code(), "closed");
    }
}

/// A consumer of a deleted topic waited for ever, or, when the segments were used again for something else,
/// reported their absence as damage. It must be told that the topic is gone.
#[test]
fn a_deleted_topic_is_gone_for_every_handle() {
    let _watchdog = watchdog(60, "deleted topics");
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let other = engine.create_topic("other", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let delayed = Record::new(b"later").visible_after(Duration::from_secs(3600));
    let delayed = producer.send(&topic, delayed).unwrap().wait().unwrap();
    producer.send(&topic, Record::new(b"x").partition(0)).unwrap().wait().unwrap();
    let mut reader = engine.consumer(ConsumerOptions::new()).unwrap();
    reader.assign_all(&topic, Start::Beginning).unwrap();
    let mut follower = engine.consumer(ConsumerOptions::new()).unwrap();
    follower.assign_all(&topic, Start::End).unwrap();
    let follower = std::thread::spawn(move || follower.poll(Duration::from_secs(50)).map(|records| records.len()));
    std::thread::sleep(Duration::from_millis(20));
    engine.delete_topic("t").unwrap();

    let words = ["`t` was deleted", "new handle"];
    assert_says(&follower.join().unwrap().unwrap_err(), "topic-deleted", &words);
    assert_says(&reader.poll(Duration::ZERO).unwrap_err(), "topic-deleted", &words);
    let mut late = engine.consumer(ConsumerOptions::new()).unwrap();
    assert_says(&late.assign(&topic, 0, Start::Beginning).unwrap_err(), "topic-deleted", &words);
    assert_says(&producer.send(&topic, Record::new(b"x")).unwrap_err(), "topic-deleted", &words);
    let batch = [(&other, Record::new(b"a")), (&topic, Record::new(b"b"))];
    assert_says(&producer.send_many(&batch).unwrap_err(), "topic-deleted", &words);
    assert_says(&engine.delete_topic("t").unwrap_err(), "unknown-topic", &["`t`"]);
    assert_eq!(producer.cancel(delayed.id), Err(Error::NotWithheld), "its delayed records went with it");

    // The consumer goes on with what is left, and a topic of the same name is another one.
    let again = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    assert_ne!(again.id(), topic.id());
    reader.unassign(&topic, 0);
    reader.unassign(&topic, 1);
    reader.assign(&other, 0, Start::Beginning).unwrap();
    reader.assign_all(&again, Start::Beginning).unwrap();
    producer.send(&other, Record::new(b"a")).unwrap().wait().unwrap();
    assert_eq!(drain(&mut reader), [(0, b"a".to_vec())], "the new topic inherits nothing");
    assert_says(&producer.send(&topic, Record::new(b"x")).unwrap_err(), "topic-deleted", &words);
}

#[test]
fn an_engine_opened_for_salvage_can_only_be_read() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"x")).unwrap().wait().unwrap();
    engine.close().unwrap();
    let before = crate::directories::contents(directory.path());
    let engine = Engine::open(directory.path(), small().recovery(Recovery::Salvage)).unwrap();
    let topic = engine.topic("t").unwrap();
    assert_eq!(values(&engine, &topic, 0), [b"x"]);
    assert!(engine.holes().is_empty());
    let refused = [
        engine.producer(ProducerOptions::new()).map(drop),
        engine.create_topic("u", TopicOptions::new()).map(drop),
        engine.delete_topic("t"),
        engine.sync(),
    ];
    for result in refused {
        assert_says(&result.unwrap_err(), "read-only", &["for salvage", "can only be read", "copy what can be read"]);
    }
    engine.close().unwrap();
    assert_eq!(before, crate::directories::contents(directory.path()), "salvage writes nothing");
}
