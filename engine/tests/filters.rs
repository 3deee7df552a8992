//! Filters: who sees which records, by tag and header, and that the others hold nothing back.

#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_says, copy_of_a_moment, directory, small, wait_until};
use ringlane::*;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn open(path: &Path) -> Engine {
    Engine::open(path, small()).unwrap()
}

/// Sends the numbers as values to partition 0; each third one has the tag `paid`, each of them a header `half`. With
/// some 1,000 bytes each they are many stretches of the log.
fn fill(engine: &Engine, topic: &Topic, numbers: std::ops::Range<u64>) {
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let values: Vec<_> = numbers.map(|number| (number, number.to_string())).collect();
    let padding = Header { name: "padding", value: &[0; 1000] };
    let [low, high] = [b"low" as &[u8], b"high"].map(|value| [padding, Header { name: "half", value }]);
    let records: Vec<_> = values
        .iter()
        .map(|(number, text)| {
            let headers = if number % 100 < 50 { &low } else { &high };
            let tag = if number % 3 == 0 { "paid" } else { "refunded" };
            Record::new(text.as_bytes()).partition(0).headers(headers).tag(tag)
        })
        .collect();
    producer.send_batch(topic, &records).unwrap().wait_done().unwrap();
}

fn topic(engine: &Engine) -> Topic {
    engine.create_topic("t", TopicOptions::new()).unwrap()
}

fn number(record: &RecordView<'_>) -> u64 {
    std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap()
}

fn numbers(records: &Records) -> Vec<u64> {
    records.iter().map(|record| number(&record)).collect()
}

fn paid(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.filter(|number| number % 3 == 0).collect()
}

/// Reads to the end, however often a poll comes back with nothing.
fn read_all(consumer: &mut Consumer, topic: &Topic) -> (Vec<u64>, u64) {
    let (mut read, mut polls) = (Vec::new(), 0);
    while consumer.position(topic, 0).unwrap() < topic.partition_info(0).unwrap().next_offset {
        read.extend(numbers(&consumer.poll(Duration::ZERO).unwrap()));
        polls += 1;
    }
    (read, polls)
}

#[test]
fn a_consumer_is_given_what_it_wants_and_checks_all_the_same() {
    let directory = directory();
    let engine = open(directory.path());
    let topic = topic(&engine);
    fill(&engine, &topic, 0..1000);
    fill(&engine, &topic, 1000..1001);
    for max_poll_records in [1, 7, 10_000] {
        let filter = Filter::tag("paid");
        let options = ConsumerOptions::new().filter(filter.clone()).max_poll_records(max_poll_records);
        let mut consumer = engine.consumer(options).unwrap();
        consumer.assign(&topic, 0, Start::Offset(1)).unwrap();
        let records = consumer.poll(SOON).unwrap();
        assert!(records.len() <= max_poll_records);
        assert!(records.iter().all(|record| filter.matches(&record) && record.tag() == Some("paid")));
        assert!(records.iter().all(|record| record.offset() == number(&record)), "offsets are what they were");
        let sequences: Vec<_> = records.iter().map(|record| record.origin().sequence).collect();
        assert_eq!(sequences, numbers(&records), "and so are the numbers of the sender");
        let rest = read_all(&mut consumer, &topic).0;
        assert_eq!([numbers(&records), rest].concat(), paid(1..1001), "{max_poll_records}");
        assert_eq!(consumer.position(&topic, 0), Some(1001));
        let report = consumer.continuity().unwrap();
        assert!(report.is_continuous() && consumer.take_findings().is_empty(), "{report}");
        assert_eq!(report.records, 1000);
    }
    engine.close().unwrap();
}

/// A poll that finds nothing wanted for long comes back when its time is over, and the next one goes on where it was.
#[test]
fn a_poll_that_passes_over_much_honours_its_timeout() {
    let directory = directory();
    let engine = open(directory.path());
    let topic = topic(&engine);
    for batch in 0..20 {
        fill(&engine, &topic, batch * 100..(batch + 1) * 100);
    }
    let filter: Filter = "tag = none or half = neither".parse().unwrap();
    let options = || ConsumerOptions::new().filter(filter.clone()).max_poll_bytes(1);
    let mut consumer = engine.consumer(options()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    let (read, polls) = read_all(&mut consumer, &topic);
    assert_eq!(read, []);
    assert!(polls > 10, "each of them looked at little: {polls}");
    consumer.seek(&topic, 0, Start::Beginning).unwrap();
    assert!(consumer.poll(Duration::from_millis(100)).unwrap().is_empty(), "it waits at the end");
    assert_eq!(consumer.position(&topic, 0), Some(2000));
    // What is behind them is found by one poll that has the time.
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"2000").tag("none")).unwrap().wait().unwrap();
    consumer.seek(&topic, 0, Start::Beginning).unwrap();
    assert_eq!(numbers(&consumer.poll(SOON).unwrap()), [2000]);
    engine.close().unwrap();
    // What was read is from files now, from outside too.
    let engine = Engine::open_read_only(directory.path(), Options::new()).unwrap();
    let topic = engine.topic("t").unwrap();
    let mut consumer = engine.consumer(options()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    assert_eq!(read_all(&mut consumer, &topic).0, [2000]);
    engine.close().unwrap();
}

#[test]
fn a_record_that_was_delayed_is_filtered_like_others() {
    let directory = directory();
    let engine = open(directory.path());
    let topic = topic(&engine);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let held = producer.send(&topic, Record::new(b"1").tag("late").visible_after(Duration::from_millis(50))).unwrap();
    held.wait().unwrap();
    producer.send(&topic, Record::new(b"2").tag("early")).unwrap().wait().unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new().filter(Filter::tag("late"))).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    assert_eq!(numbers(&consumer.poll(SOON).unwrap()), [1]);
    engine.close().unwrap();
}

fn group(kind: GroupOptions, filter: &str) -> GroupOptions {
    kind.topic("t", Start::Beginning).retry_delay(Duration::ZERO, Duration::ZERO).filter(filter.parse().unwrap())
}

fn position(engine: &Engine) -> (u64, u64, u64) {
    let of = &engine.describe_group("g").unwrap().partitions[0];
    (of.position, of.lag, of.in_flight)
}

/// Polls and acknowledges so often that `count` records came.
fn work_off(member: &mut GroupConsumer, count: usize) -> Vec<u64> {
    let mut done = Vec::new();
    while done.len() < count {
        let deliveries = member.poll(SOON).unwrap();
        assert!(!deliveries.is_empty(), "{} of {count}", done.len());
        done.extend(deliveries.iter().map(|delivery| number(&delivery.record)));
        member.ack_all(&deliveries).unwrap();
    }
    done
}

/// Polls until everything up to an offset is finished, without another record.
fn finish(engine: &Engine, member: &mut GroupConsumer, end: u64) {
    let member = std::cell::RefCell::new(member);
    wait_until("all of it is finished", || {
        assert!(member.borrow_mut().poll(Duration::ZERO).unwrap().is_empty());
        position(engine) == (end, 0, 0)
    });
}

#[test]
fn a_group_finishes_what_it_does_not_want() {
    for kind in [GroupOptions::shared(), GroupOptions::ordered()] {
        let directory = directory();
        let engine = open(directory.path());
        let topic = topic(&engine);
        engine.create_group("g", group(kind, "tag = paid and half = low").unfinished_max(4)).unwrap();
        fill(&engine, &topic, 0..1000);
        let wanted: Vec<_> = paid(0..1000).into_iter().filter(|number| number % 100 < 50).collect();
        let mut member = engine.join_group("g", MemberOptions::new().max_poll_records(3)).unwrap();
        assert_eq!(work_off(&mut member, wanted.len()), wanted);
        assert!(member.poll(Duration::ZERO).unwrap().is_empty());
        finish(&engine, &mut member, 1000);
        member.flush().unwrap();
        // A kill: what was not wanted is as durable as what was acknowledged.
        let copy = copy_of_a_moment(directory.path());
        let killed = open(copy.path());
        assert_eq!(position(&killed), (1000, 0, 0));
        killed.close().unwrap();
        drop(member);
        engine.close().unwrap();
    }
}

/// Records that are in the way of nobody: those before them are worked on, those behind them are delivered.
#[test]
fn what_is_wanted_is_retried_among_what_is_not() {
    for kind in [GroupOptions::shared(), GroupOptions::ordered()] {
        let directory = directory();
        let engine = open(directory.path());
        let topic = topic(&engine);
        engine.create_group("g", group(kind, "tag = paid").max_deliveries(2)).unwrap();
        fill(&engine, &topic, 0..7);
        let mut member = engine.join_group("g", MemberOptions::new()).unwrap();
        let ids: Vec<_> = member.poll(SOON).unwrap().iter().map(|delivery| delivery.id()).collect();
        assert_eq!((ids.len(), position(&engine)), (3, (0, 3, 3)), "0, 3 and 6 are not finished, all others are");
        member.ack(ids[0]).unwrap();
        member.nack(ids[1], None).unwrap();
        member.release(ids[2]).unwrap();
        assert_eq!(work_off(&mut member, 2), [3, 6]);
        finish(&engine, &mut member, 7);
        engine.reset_group("g", "t", 0, Start::Offset(2)).unwrap();
        assert_eq!(work_off(&mut member, 2), [3, 6], "filtered again");
        drop(member);
        engine.close().unwrap();
    }
}

/// After a kill all that may have been handed out counts as a delivery that failed, also what nobody wanted. With one
/// delivery to each record that made dead letters of all of it.
#[test]
fn after_a_kill_what_is_not_wanted_is_no_dead_letter() {
    for max_deliveries in [1, 2] {
        let directory = directory();
        let engine = open(directory.path());
        let topic = topic(&engine);
        engine.create_group("g", group(GroupOptions::shared(), "tag = paid").max_deliveries(max_deliveries)).unwrap();
        fill(&engine, &topic, 0..30);
        let mut member = engine.join_group("g", MemberOptions::new().max_poll_records(10)).unwrap();
        assert_eq!(member.poll(SOON).unwrap().len(), 4);
        let copy = copy_of_a_moment(directory.path());
        let killed = open(copy.path());
        let mut again = killed.join_group("g", MemberOptions::new()).unwrap();
        let dead = if max_deliveries == 1 { paid(0..30) } else { vec![] };
        if max_deliveries > 1 {
            assert_eq!(work_off(&mut again, 10), paid(0..30));
        }
        finish(&killed, &mut again, 30);
        let letters = killed.topic("g.dlq").map(|letters| {
            let mut consumer = killed.consumer(ConsumerOptions::new()).unwrap();
            consumer.assign_all(&letters, Start::Beginning).unwrap();
            numbers(&consumer.poll(SOON).unwrap())
        });
        assert_eq!(letters.unwrap_or_default(), dead);
        drop((again, member));
        killed.close().unwrap();
        engine.close().unwrap();
    }
}

#[test]
fn the_filter_is_the_groups_for_ever_and_others_are_refused() {
    let directory = directory();
    let engine = open(directory.path());
    let topic = topic(&engine);
    let options = group(GroupOptions::ordered(), "tag='a b' or exists x");
    engine.create_group("g", options.clone()).unwrap();
    let other = options.clone().filter(Filter::tag("c"));
    assert_eq!(engine.create_group("g", other).unwrap_err().code(), "group-exists");
    engine.close().unwrap();
    let engine = open(directory.path());
    assert_eq!(engine.describe_group("g").unwrap().filter, options.filter);
    let too_large = Filter::tag(&"x".repeat(5_000));
    let error = engine.create_group("h", options.filter(too_large.clone())).unwrap_err();
    assert_says(&error, "invalid-argument", &["filter = ", "4,096 bytes"]);
    let error = engine.consumer(ConsumerOptions::new().filter(too_large)).unwrap_err();
    assert_says(&error, "invalid-argument", &["filter = ", "4,096 bytes"]);
    drop(topic);
    engine.close().unwrap();
}
