//! Bounds that are reached while running: full buffers, too much withheld, waits that end.

use crate::common::storage::{is_segment, open_faulty};
use crate::common::watchdog::watchdog;
use crate::common::{assert_says, backends, directory, small, values};
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::*;
use std::time::Duration;

/// A device that takes so long for one write that everything behind it must wait.
const STUCK: Duration = Duration::from_millis(1500);

fn stick(faults: &Faults) {
    faults.arm(Fault::new(Operation::Write, Effect::Delay(STUCK)).on(is_segment).times(1));
}

/// Waits until the keeper has nothing to write any more, so that a fault hits the lane.
fn settle(engine: &Engine) {
    while engine.stats().segments_prepared < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_full_send_buffer_says_so_after_max_block_ms() {
    let _watchdog = watchdog(60, "a full buffer");
    for backend in backends() {
        let directory = directory();
        let faults = Faults::new();
        let options = small().backend(backend).buffer_bytes_max(64 << 10).max_block_ms(20);
        let engine = open_faulty(directory.path(), options, &faults).unwrap();
        let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        settle(&engine);
        stick(&faults);
        let value = vec![1; 10_000];
        let mut handles = Vec::new();
        let error = loop {
            match producer.send(&topic, Record::new(&value)) {
                Ok(handle) => handles.push(handle),
                Err(error) => break error,
            }
            assert!(handles.len() < 10_000, "the buffer is never full");
        };
        assert_says(&error, "queue-full", &["slow down, or raise `buffer_bytes_max`"]);
        assert!(matches!(error, Error::QueueFull { waited_ms: 20.., buffered_bytes: 65_537.. }), "{error}");
        assert!(error.is_retriable() && !error.is_fatal() && !error.is_unknown_outcome());
        // What was taken is written, and there is room again.
        let count = handles.len();
        for (offset, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.wait().unwrap().offset, Some(offset as u64));
        }
        producer.send(&topic, Record::new(&value)).unwrap().wait().unwrap();
        assert_eq!(values(&engine, &topic, 0).len(), count + 1, "what was refused is not there");
        engine.close().unwrap();
    }
}

#[test]
fn a_wait_that_ends_early_changes_nothing() {
    let _watchdog = watchdog(60, "waiting with an end");
    let directory = directory();
    let faults = Faults::new();
    let engine = open_faulty(directory.path(), small(), &faults).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    settle(&engine);
    stick(&faults);
    let handle = producer.send(&topic, Record::new(b"x")).unwrap();
    assert!(handle.wait_timeout(Duration::ZERO).is_none());
    assert!(handle.wait_timeout(Duration::from_millis(30)).is_none());
    assert!(!handle.is_done());
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    assert!(consumer.poll(Duration::from_millis(30)).unwrap().is_empty(), "it is not durable, so nobody sees it");
    assert_eq!(handle.wait_timeout(Duration::from_secs(50)).unwrap().unwrap().offset, Some(0));
    assert_eq!(handle.wait_timeout(Duration::ZERO).unwrap().unwrap().offset, Some(0), "as often as one likes");
    assert_eq!(consumer.poll(Duration::MAX).unwrap().len(), 1);
    // A handle that nobody waits for: the record is sent all the same.
    drop(producer.send(&topic, Record::new(b"y")).unwrap());
    producer.flush().unwrap();
    assert_eq!(values(&engine, &topic, 0), [b"x", b"y"]);
}

#[test]
fn withheld_records_have_a_bound() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small().withheld_records_max(3)).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let later = Record::new(b"later").visible_after(Duration::from_secs(3600));
    let ids: Vec<_> = (0..3).map(|_| producer.send(&topic, later).unwrap().wait().unwrap().id).collect();
    let error = producer.send(&topic, later).unwrap().wait().unwrap_err();
    assert_says(&error, "too-many", &["withheld records", "3 are in use, 3 are allowed", "`withheld_records_max`"]);
    assert!(error.is_retriable());
    producer.send(&topic, Record::new(b"now")).unwrap().wait().unwrap();
    producer.cancel(ids[1]).unwrap();
    producer.send(&topic, later).unwrap().wait().unwrap();
    assert_eq!(engine.stats().withheld_records, 3);
}
