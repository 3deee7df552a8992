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
fn a_producer_may_say_that_it_never_blocks() {
    let _watchdog = watchdog(60, "a full buffer");
    let directory = directory();
    let faults = Faults::new();
    let options = small().buffer_bytes_max(64 << 10).max_block_ms(50_000);
    let engine = open_faulty(directory.path(), options, &faults).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new().max_block_ms(0)).unwrap();
    settle(&engine);
    stick(&faults);
    let value = vec![1; 10_000];
    let mut handles = Vec::new();
    let error = loop {
        match producer.clone().send(&topic, Record::new(&value)) {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
        assert!(handles.len() < 10_000, "the buffer is never full");
    };
    // It would have been 50 s, and the watchdog had ended it.
    assert!(matches!(error, Error::QueueFull { waited_ms: 0..1000, .. }), "{error}");
    for handle in handles {
        handle.wait().unwrap();
    }
    engine.close().unwrap();
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

/// Before, the call failed when some of the records were on their way already: their receipts were lost, and who sent the
/// batch again, as the error allowed, had these twice.
#[test]
fn a_batch_that_does_not_fit_tells_of_each_record_what_became_of_it() {
    let _watchdog = watchdog(60, "a full buffer");
    for lanes in [1, 2] {
        let directory = directory();
        let faults = Faults::new();
        let options = small().lanes(Some(lanes)).buffer_bytes_max(64 << 10);
        let engine = open_faulty(directory.path(), options, &faults).unwrap();
        let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
        let producer = engine.producer(ProducerOptions::new().max_block_ms(0)).unwrap();
        settle(&engine);
        stick(&faults);
        let value = vec![1; 1_000];
        let batch: Vec<Record<'_>> = (0..2_000).map(|at| Record::new(&value).partition(at % 2)).collect();
        let sent = producer.send_batch(&topic, &batch).unwrap();
        assert_eq!(sent.len(), batch.len());
        let outcomes = sent.outcomes();
        let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(taken > 0 && taken < batch.len(), "{lanes} lanes: {taken}");
        let is_full = |error: &Error| matches!(error, Error::QueueFull { .. });
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().err().is_none_or(is_full)));
        assert!(is_full(&sent.wait_done().unwrap_err()) && is_full(&sent.wait().unwrap_err()));
        let kept = values(&engine, &topic, 0).len() + values(&engine, &topic, 1).len();
        assert_eq!(kept, taken, "{lanes} lanes: what was refused is not there, and all else is");
        engine.close().unwrap();
    }
}
