//! Consumers check the numbers of what they read, and the log says why some are missing.

#![allow(clippy::unwrap_used)]

mod common;

use common::{directory, drain, options, small};
use ringlane::*;

const FAR_MS: i64 = 4_000_000_000_000;

/// An engine with a topic of one partition, a producer, and a consumer from the beginning.
fn begin(engine: &Engine) -> (Topic, Producer, Consumer) {
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign_all(&topic, Start::Beginning).unwrap();
    (topic, producer, consumer)
}

/// Numbers and why they are missing.
fn explain(consumer: &mut Consumer) -> Vec<(u64, u64, MissingReason)> {
    let explained = consumer.explain_missing().unwrap();
    explained.into_iter().map(|(range, reason)| (range.first, range.last, reason)).collect()
}

#[test]
fn what_is_read_as_it_was_sent_has_no_findings() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(3)).unwrap();
    let producers = [None, Some("a"), Some("b")].map(|name| {
        let options = ProducerOptions::new();
        engine.producer(name.map_or(options.clone(), |name| options.name(name))).unwrap()
    });
    for round in 0..50u32 {
        let value = vec![0; 3000];
        let records: Vec<_> = (0..20).map(|number| Record::new(&value).partition((round + number) % 3)).collect();
        producers[round as usize % 3].send_batch(&topic, &records).unwrap().wait_done().unwrap();
    }
    // From files too, in polls that end within frames.
    for max_poll_records in [10_000, 7] {
        let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(max_poll_records)).unwrap();
        consumer.assign_all(&topic, Start::Beginning).unwrap();
        assert_eq!(drain(&mut consumer).len(), 1000);
        let report = consumer.continuity().unwrap();
        assert_eq!((report.records, report.partitions, report.producers), (1000, 3, 9));
        assert!(report.is_continuous() && consumer.take_findings().is_empty(), "{report:?}");
        consumer.assign(&topic, 0, Start::Offset(17)).unwrap();
        consumer.unassign(&topic, 1);
        drain(&mut consumer);
        assert!(consumer.continuity().unwrap().is_continuous() && consumer.take_findings().is_empty());
    }
    let mut unchecked = engine.consumer(ConsumerOptions::new().continuity(None)).unwrap();
    unchecked.assign_all(&topic, Start::Beginning).unwrap();
    drain(&mut unchecked);
    assert!(unchecked.continuity().is_none() && unchecked.explain_missing().unwrap().is_empty());
    engine.close().unwrap();
}

/// Delayed, cancelled, published: what each looks like to who reads on, and what the log says of it. The same from outside.
#[test]
fn a_number_that_is_withheld_is_pending_and_one_that_was_cancelled_says_so() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let (topic, producer, mut consumer) = begin(&engine);
    let send = |record: Record<'_>| producer.send(&topic, record).unwrap().wait().unwrap();
    let delayed = send(Record::new(b"0").visible_at(FAR_MS));
    let cancelled = send(Record::new(b"1").visible_at(FAR_MS));
    send(Record::new(b"2"));
    drain(&mut consumer);
    let findings = consumer.take_findings();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].what, Discontinuity::Gap { first_missing: 0, last_missing: 1 });
    assert_eq!(explain(&mut consumer), [(0, 1, MissingReason::Pending)]);
    assert_eq!(explain(&mut consumer), [], "no news");
    producer.cancel(cancelled.id).unwrap();
    assert_eq!(explain(&mut consumer), [(1, 1, MissingReason::Cancelled)]);
    // Published, and not read yet: it is on its way.
    engine.publish_withheld(delayed.id, &[]).unwrap();
    assert_eq!(explain(&mut consumer), []);
    drain(&mut consumer);
    let closed = consumer.take_findings();
    assert!(matches!(closed[..], [ContinuityFinding { what: Discontinuity::GapClosed { first: 0, last: 0, .. }, .. }]));
    assert!(consumer.continuity().unwrap().is_continuous());
    engine.close().unwrap();
    // It is remembered, also for who only reads, and for who comes later.
    for engine in [
        Engine::open_read_only(directory.path(), options()).unwrap(),
        Engine::open(directory.path(), options()).unwrap(),
    ] {
        let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
        consumer.assign_all(&engine.topic("t").unwrap(), Start::Beginning).unwrap();
        assert_eq!(drain(&mut consumer).len(), 2);
        assert_eq!(explain(&mut consumer), [(1, 1, MissingReason::Cancelled)]);
        engine.close().unwrap();
    }
}

/// A delayed record became visible, and was given up before the one who misses it came there.
#[test]
fn a_number_that_was_given_up_before_it_was_read_has_expired() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let (topic, producer, mut consumer) = begin(&engine);
    let send = |record: Record<'_>| producer.send(&topic, record).unwrap().wait().unwrap();
    send(Record::new(b"0"));
    let delayed = send(Record::new(b"1").visible_at(FAR_MS));
    send(Record::new(b"2"));
    assert_eq!(drain(&mut consumer).len(), 2);
    engine.publish_withheld(delayed.id, &[]).unwrap();
    for _ in 0..3 {
        send(Record::new(b"more"));
    }
    engine.delete_records(&topic, 0, 4).unwrap();
    assert_eq!(consumer.poll(std::time::Duration::ZERO).unwrap_err().code(), "truncated");
    assert_eq!(explain(&mut consumer), [(1, 1, MissingReason::Expired)]);
    let report = consumer.continuity().unwrap();
    assert_eq!((report.missing.expired, report.findings.gaps, report.gaps_open), (1, 1, 0));
    consumer.seek(&topic, 0, Start::Beginning).unwrap();
    assert_eq!(drain(&mut consumer).len(), 2);
    assert_eq!(consumer.continuity().unwrap().findings.gaps, 1, "who begins anew misses nothing before");
    engine.close().unwrap();
}

/// A producer was deleted, and with it the reason why some of its numbers are missing, though its records stay: readers
/// were told of a loss. (Simulator, seed 11 of the first day that it looked at numbers.)
#[test]
fn what_a_deleted_producer_cancelled_stays_cancelled() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let (topic, _, _) = begin(&engine);
    let producer = engine.producer(ProducerOptions::new().name("p")).unwrap();
    let send = |record: Record<'_>| producer.send(&topic, record).unwrap().wait().unwrap();
    let cancelled = send(Record::new(b"0").visible_at(FAR_MS));
    send(Record::new(b"1"));
    producer.cancel(cancelled.id).unwrap();
    engine.delete_producer("p").unwrap();
    for lanes in [None, Some(1), Some(2)] {
        let reopened = lanes.map(|lanes| Engine::open(directory.path(), options().lanes(Some(lanes))).unwrap());
        let engine = reopened.as_ref().unwrap_or(&engine);
        let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
        consumer.assign_all(&engine.topic("t").unwrap(), Start::Beginning).unwrap();
        assert_eq!(drain(&mut consumer).len(), 1);
        assert_eq!(explain(&mut consumer), [(0, 0, MissingReason::Cancelled)], "{lanes:?}");
        engine.close().unwrap();
    }
}

/// From outside a delayed record was missed whose publication stood in the log and was not proven to be durable: it was not
/// withheld any more and not shown yet, so readers were told of a loss. One whose cancelling is not proven may come, too.
/// (Simulator, seed 10 of the first day that it looked at numbers.)
#[test]
fn what_is_published_or_cancelled_and_not_proven_durable_is_pending_outside() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options().flush_interval_ms(60_000)).unwrap();
    let (topic, producer, _) = begin(&engine);
    let send = |record: Record<'_>| producer.send(&topic, record).unwrap().wait().unwrap();
    let withheld: Vec<_> = (0..12).map(|_| send(Record::new(b"late").visible_at(FAR_MS)).id).collect();
    send(Record::new(b"now"));
    for (at, id) in (0..).zip(withheld) {
        let is_cancelled = at % 2 == 1;
        match is_cancelled {
            true => producer.cancel(id).unwrap(),
            false => engine.publish_withheld(id, &[]).unwrap(),
        }
        let copy = common::copy_of_a_moment(directory.path());
        let outside = Engine::open_read_only(copy.path(), options()).unwrap();
        let mut consumer = outside.consumer(ConsumerOptions::new()).unwrap();
        consumer.assign_all(&outside.topic("t").unwrap(), Start::Beginning).unwrap();
        // The lane may have proven it meanwhile.
        let is_shown = drain(&mut consumer).len() > 1 + at as usize / 2;
        let explained = explain(&mut consumer);
        let reason_of = |number| explained.iter().find(|(first, last, _)| (*first..=*last).contains(&number));
        let reason = reason_of(at).map(|(_, _, reason)| *reason);
        if !is_cancelled {
            assert_eq!(reason, (!is_shown).then_some(MissingReason::Pending), "{explained:?}");
        }
        assert!(explained.iter().all(|(_, _, reason)| !reason.is_loss()), "{explained:?}");
    }
    engine.close().unwrap();
}
