//! Arguments of calls: names, partitions, sizes, options.

use crate::common::{assert_says, directory, drain, small, values};
use ringlane::*;
use std::time::Duration;

fn engine_with_topic(partitions: u32) -> (tempfile::TempDir, Engine, Topic, Producer) {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("orders", TopicOptions::new().partitions(partitions)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    (directory, engine, topic, producer)
}

#[test]
fn unknown_and_existing_topics_are_named() {
    let (_directory, engine, _, _) = engine_with_topic(3);
    assert_says(&engine.topic("order").unwrap_err(), "unknown-topic", &["`order`", "create it"]);
    assert_says(&engine.delete_topic("order").unwrap_err(), "unknown-topic", &["`order`", "list the topics"]);
    let exists = engine.create_topic("orders", TopicOptions::new()).unwrap_err();
    assert_says(&exists, "topic-exists", &["`orders`", "3 partitions"]);
    assert!(!exists.is_fatal() && !exists.is_retriable());
}

#[test]
fn names_that_cannot_be_used_are_refused_with_the_reason() {
    let (directory, engine, _, _) = engine_with_topic(1);
    let long = "x".repeat(250);
    for (name, reason) in [
        ("", "empty"),
        (".", "not allowed"),
        ("..", "not allowed"),
        ("a/b", "only letters"),
        ("a b", "only letters"),
        ("a\0b", "only letters"),
        ("a\nb", "only letters"),
        ("größe", "only letters"),
        (&*long, "longer than 249 bytes"),
    ] {
        let error = engine.create_topic(name, TopicOptions::new()).unwrap_err();
        assert_says(&error, "invalid-name", &["not a valid name", reason]);
    }
    engine.create_topic(&"x".repeat(249), TopicOptions::new()).unwrap();
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let names: Vec<usize> = engine.topics().iter().map(|topic| topic.name().len()).collect();
    assert_eq!(names, ["orders".len(), 249], "what was refused is nowhere");
}

#[test]
fn partitions_have_bounds() {
    let (_directory, engine, topic, producer) = engine_with_topic(3);
    for partitions in [0, 65_537, u32::MAX] {
        let error = engine.create_topic("t", TopicOptions::new().partitions(partitions)).unwrap_err();
        assert_says(&error, "invalid-argument", &["partitions", &partitions.to_string(), "1 to 65536"]);
    }
    for partition in [3, 4, u32::MAX] {
        let words = ["`orders`", "0 to 2", &partition.to_string()];
        let sent = producer.send(&topic, Record::new(b"x").partition(partition)).unwrap_err();
        assert_says(&sent, "invalid-partition", &words);
        let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
        assert_says(&consumer.assign(&topic, partition, Start::End).unwrap_err(), "invalid-partition", &words);
        assert_says(&topic.partition_info(partition).unwrap_err(), "invalid-partition", &words);
        assert_eq!(consumer.position(&topic, partition), None);
    }
    assert_eq!(producer.send(&topic, Record::new(b"x").partition(2)).unwrap().wait().unwrap().offset, Some(0));
}

#[test]
fn partitions_of_all_topics_have_a_bound() {
    let (directory, engine, _, _) = engine_with_topic(1);
    for number in 0..3 {
        engine.create_topic(&format!("wide-{number}"), TopicOptions::new().partitions(65_536)).unwrap();
    }
    let error = engine.create_topic("wide-3", TopicOptions::new().partitions(65_536)).unwrap_err();
    assert_says(&error, "too-many", &["partitions", "250000 are allowed", "another directory"]);
    // It is a bound, not an end: what fits goes on, before and after reopening.
    engine.create_topic("narrow", TopicOptions::new()).unwrap();
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    assert_eq!(engine.topics().len(), 5);
    let topic = engine.topic("wide-2").unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"x").partition(65_535)).unwrap().wait().unwrap();
    assert_eq!(values(&engine, &topic, 65_535), [b"x"]);
}

#[test]
fn records_have_a_largest_size() {
    let (directory, engine, topic, producer) = engine_with_topic(1);
    let bytes_max = 256 << 10;
    let fits = vec![7; bytes_max - 16];
    let too_large = vec![7; bytes_max - 15];
    let error = producer.send(&topic, Record::new(&too_large)).unwrap_err();
    assert_says(&error, "record-too-large", &["262145 bytes", "262144 are allowed", "`record_bytes_max`"]);
    let name = "n".repeat(65_536);
    let headers = [Header { name: &name, value: b"" }];
    let error = producer.send(&topic, Record::new(b"").headers(&headers)).unwrap_err();
    assert_eq!(error.code(), "record-too-large");
    let many = vec![Header { name: "n", value: b"" }; 65_536];
    let error = producer.send(&topic, Record::new(b"").headers(&many)).unwrap_err();
    assert_says(&error, "too-many", &["headers of a record", "65535 are allowed", "fewer headers"]);
    // A bad record in the midst of a batch: none of it is sent.
    let batch = [Record::new(b"a"), Record::new(&too_large), Record::new(b"b")];
    assert_eq!(producer.send_batch(&topic, &batch).unwrap_err().code(), "record-too-large");
    producer.send(&topic, Record::new(&fits)).unwrap().wait().unwrap();
    // Nothing, no bytes, and a null are records too.
    producer.send(&topic, Record::new(b"")).unwrap().wait().unwrap();
    producer.send(&topic, Record::default().key(b"")).unwrap().wait().unwrap();
    producer.send_batch(&topic, &[]).unwrap().wait().unwrap();
    let expected = [fits, b"".to_vec(), b"null".to_vec()];
    assert_eq!(values(&engine, &topic, 0), expected);
    engine.close().unwrap();
    // The bound is the sender's: what is there is read whatever the option says now.
    let engine = Engine::open(directory.path(), small().record_bytes_max(64)).unwrap();
    assert_eq!(values(&engine, &engine.topic("orders").unwrap(), 0), expected);
}

#[test]
fn options_have_bounds_and_nothing_is_made_before_they_are_checked() {
    let parent = directory();
    let path = parent.path().join("engine");
    let refused = [
        Options::new().lanes(Some(0)),
        Options::new().lanes(Some(65)),
        Options::new().record_bytes_max(63),
        Options::new().record_bytes_max((16 << 20) + 1),
        Options::new().batch_bytes(0),
        Options::new().buffer_bytes_max(0),
        Options::new().segment_bytes_first(3 << 20),
        Options::new().segment_bytes_first(128 << 20),
        Options::new().segment_bytes_max(512 << 10),
        Options::new().segments_prepared(0),
        Options::new().segments_prepared(17),
        Options::new().segments_recycled_max(65),
        Options::new().tail_cache_bytes(0),
        Options::new().index_cache_bytes(0),
        Options::new().withheld_records_max(500_001),
        Options::new().linger_us(1_000_001),
        Options::new().flush_interval_ms(0),
    ];
    for options in refused {
        let error = Engine::open(&path, options.clone()).unwrap_err();
        assert_says(&error, "invalid-argument", &["is not valid"]);
        assert!(!path.exists(), "{error}");
    }
    let mut options = Options::new();
    for (name, value, words) in [
        ("lanes", "many", "a number from 1 to 64"),
        ("backend", "aio", "io-uring, plain or plain-buffered"),
        ("recovery", "force", "strict or salvage"),
        ("lines", "1", "known options are"),
        ("segment_bytes_max", "-1", "a number of bytes"),
    ] {
        assert_says(&options.set(name, value).unwrap_err(), "invalid-argument", &[words]);
    }
    assert_eq!(options, Options::new(), "what was refused changed nothing");
    let impossible = Options::new().backend(Backend::Plain).write_strategy(Some(WriteStrategy::RingDsync));
    assert_says(&Engine::open(&path, impossible).unwrap_err(), "invalid-directory", &["needs io_uring"]);
}

#[test]
fn consumers_check_what_they_are_asked() {
    let (_directory, engine, topic, producer) = engine_with_topic(2);
    for options in [ConsumerOptions::new().max_poll_records(0), ConsumerOptions::new().max_poll_bytes(0)] {
        assert_says(&engine.consumer(options).unwrap_err(), "invalid-argument", &["at least 1"]);
    }
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    let error = consumer.seek(&topic, 0, Start::Beginning).unwrap_err();
    assert_says(&error, "invalid-argument", &["assign it first"]);
    consumer.unassign(&topic, 1);
    assert!(consumer.poll(Duration::ZERO).unwrap().is_empty(), "nothing is assigned");
    // An offset that is not there yet is waited for.
    consumer.assign(&topic, 0, Start::Offset(2)).unwrap();
    for _ in 0..3 {
        producer.send(&topic, Record::new(b"x").partition(0)).unwrap().wait().unwrap();
    }
    assert_eq!(drain(&mut consumer), [(2, b"x".to_vec())]);
    consumer.seek(&topic, 0, Start::Offset(u64::MAX)).unwrap();
    assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
    for start in [Start::Timestamp(i64::MIN), Start::Beginning] {
        consumer.seek(&topic, 0, start).unwrap();
        assert_eq!(drain(&mut consumer).len(), 3);
    }
    consumer.seek(&topic, 0, Start::Timestamp(i64::MAX)).unwrap();
    assert!(drain(&mut consumer).is_empty());
}

#[test]
fn odd_times_are_taken_as_they_are() {
    let (directory, engine, topic, producer) = engine_with_topic(1);
    for time in [i64::MIN, -1, 0, i64::MAX, 5] {
        producer.send(&topic, Record::new(&time.to_le_bytes()).timestamp_ms(time)).unwrap().wait().unwrap();
    }
    // A delay without end is one; a time in the past is now.
    let never = Record::new(b"never").visible_after(Duration::MAX);
    let never = producer.send(&topic, never).unwrap().wait().unwrap();
    producer.send(&topic, Record::new(b"past").visible_at(i64::MIN)).unwrap().wait().unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Offset(5)).unwrap();
    let records = consumer.poll(Duration::from_secs(30)).unwrap();
    assert_eq!(records.iter().next().unwrap().value(), Some(&b"past"[..]));
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    assert_eq!(engine.stats().withheld_records, 1);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.cancel(never.id).unwrap();
    assert_eq!(values(&engine, &engine.topic("orders").unwrap(), 0).len(), 6);
}

#[test]
fn only_what_is_withheld_can_be_cancelled() {
    let (_directory, engine, topic, producer) = engine_with_topic(1);
    let sent = producer.send(&topic, Record::new(b"x")).unwrap().wait().unwrap();
    let nowhere = [
        sent.id,
        RecordId { log: 0, position: 0, index: 0 },
        RecordId { log: 0, position: u64::MAX, index: u32::MAX },
        RecordId { log: 7, position: sent.id.position, index: 0 },
    ];
    for id in nowhere {
        assert_says(&producer.cancel(id).unwrap_err(), "not-withheld", &["published, cancelled, or never there"]);
    }
    engine.close().unwrap();
}

/// The story: a topic's handle names slots and lanes by their numbers. With an engine that it is not one of, a send went
/// into whatever had the number there, and was shown in the other engine's topic; then a lane found offsets that were not
/// dense, and panicked. Records of the wrong topic could be deleted. Found by the tests of the C library.
#[test]
fn a_topic_of_another_engine_is_refused_wherever_a_topic_is_given() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = Engine::open(one.path(), Options::new().lanes(Some(1))).unwrap();
    let two = Engine::open(two.path(), Options::new().lanes(Some(2))).unwrap();
    let own = one.create_topic("t", TopicOptions::new()).unwrap();
    let foreign = two.create_topic("t", TopicOptions::new().partitions(4)).unwrap();
    let producer = one.producer(ProducerOptions::new().name("p")).unwrap();
    producer.send(&own, Record::new(b"kept")).unwrap().wait().unwrap();
    let refused = |error: Error| {
        let text = error.to_string();
        assert!(text.contains("one of another engine") && text.contains("Engine::topic"), "{text}");
    };
    for partition in 0..4 {
        let record = Record::new(b"x").partition(partition);
        refused(producer.send(&foreign, record).map(drop).unwrap_err());
        refused(producer.send_batch(&foreign, &[record]).map(drop).unwrap_err());
        refused(producer.begin(TransactionOptions::new()).unwrap().send(&foreign, record).unwrap_err());
        refused(producer.last_sent(&foreign, partition).unwrap_err());
        refused(one.delete_records(&foreign, partition, 1).unwrap_err());
        let mut consumer = one.consumer(ConsumerOptions::new()).unwrap();
        refused(consumer.assign(&foreign, partition, Start::Beginning).unwrap_err());
    }
    assert_eq!(own.partition_info(0).unwrap().first_offset, 0);
    assert_eq!((0..4).map(|at| foreign.partition_info(at).unwrap().next_offset).sum::<u64>(), 0);
    one.close().unwrap();
    two.close().unwrap();
}
