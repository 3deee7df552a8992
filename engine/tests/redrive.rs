//! Redrive: what became a dead letter is handed out again, to its group alone, and what of that survives a kill.

#![allow(clippy::unwrap_used)]

mod common;

use common::group::{fill, join, ordered, shared};
use common::{assert_says, copy_of_a_moment, directory, small, values, wait_until};
use ringlane::*;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn open(path: &Path) -> Engine {
    Engine::open(path, small()).unwrap()
}

/// An engine with topic `t`, and so many records in it, whose values are their numbers; group `g` reads it.
fn begin(path: &Path, partitions: u32, records: u64, group: GroupOptions) -> Engine {
    let (engine, topic) = common::group::begin(path, partitions, group);
    fill(&engine, &topic, 0..records);
    engine
}

/// Value and delivery count of what a poll gives, each ended as `end` says.
fn work(member: &mut GroupConsumer, end: impl Fn(&GroupConsumer, &str, DeliveryId)) -> Vec<(String, u32)> {
    let mut seen = Vec::new();
    for delivery in &member.poll(SOON).unwrap() {
        let value = String::from_utf8(delivery.record.value().unwrap().to_vec()).unwrap();
        end(member, &value, delivery.id());
        seen.push((value, delivery.delivery_count));
    }
    seen
}

fn ack(member: &GroupConsumer, _: &str, id: DeliveryId) {
    member.ack(id).unwrap();
}

fn reject(member: &GroupConsumer, _: &str, id: DeliveryId) {
    member.reject(id).unwrap();
}

fn lag(engine: &Engine) -> u64 {
    engine.describe_group("g").unwrap().partitions.iter().map(|partition| partition.lag).sum()
}

fn wait_for_lag(engine: &Engine, expected: u64) {
    wait_until("the dead letters are there", || lag(engine) == expected);
}

fn nothing_comes(member: &mut GroupConsumer) {
    assert!(member.poll(Duration::from_millis(50)).unwrap().is_empty());
}

fn letter(offset: u64) -> Redrive {
    Redrive::Letter { partition: 0, offset }
}

fn record(offset: u64) -> Redrive {
    Redrive::Record { topic: "t".to_owned(), partition: 0, offset }
}

fn counts(done: Redriven) -> (u64, u64, u64) {
    (done.redriven, done.unfinished, done.gone)
}

#[test]
fn what_is_redriven_is_handed_out_anew_to_its_group_alone_and_once() {
    let directory = directory();
    let engine = begin(directory.path(), 1, 4, shared().max_deliveries(2));
    engine.create_group("other", shared().topic("t", Start::End)).unwrap();
    assert_eq!(counts(engine.redrive("g", &Redrive::All).unwrap()), (0, 0, 0), "nothing is there yet");
    let mut member = join(&engine);
    assert_eq!(
        work(&mut member, |member, value, id| match value {
            "1" => reject(member, value, id),
            _ => ack(member, value, id),
        })
        .len(),
        4
    );
    wait_for_lag(&engine, 0);
    assert_eq!(counts(engine.redrive("g", &letter(0)).unwrap()), (1, 0, 0));
    assert_eq!(lag(&engine), 1);
    let mut other = engine.join_group("other", MemberOptions::new()).unwrap();
    nothing_comes(&mut other);
    assert_says(&engine.redrive("g", &letter(0)).unwrap_err(), "already-redriven", &["offset 0", "`g.dlq`", "`g`"]);
    // It fails again, after as many failures as the first time: it is a dead letter once more.
    assert_eq!(work(&mut member, |member, _, id| member.nack(id, None).unwrap()), [("1".to_owned(), 1)]);
    assert_eq!(work(&mut member, |member, _, id| member.nack(id, None).unwrap()), [("1".to_owned(), 2)]);
    wait_for_lag(&engine, 0);
    let dead = engine.topic("g.dlq").unwrap();
    assert_eq!(values(&engine, &dead, 0), [b"1", b"1"]);
    assert_eq!(engine.redrive("g", &letter(0)).unwrap_err().code(), "already-redriven");
    assert_eq!(counts(engine.redrive("g", &record(1)).unwrap()), (1, 0, 0), "the new one is found by its record");
    assert_eq!(engine.redrive("g", &record(1)).unwrap_err().code(), "no-dead-letter");
    assert_eq!(work(&mut member, ack), [("1".to_owned(), 1)]);
    member.flush().unwrap();
    assert_eq!((lag(&engine), counts(engine.redrive("g", &Redrive::All).unwrap())), (0, (0, 0, 0)));
    nothing_comes(&mut member);
    drop((member, other));
    engine.close().unwrap();
}

/// It was rejected at its first delivery twice, with a reset between the two. The second dead letter had the message id
/// of the first, was taken for it, and was not written.
#[test]
fn a_record_that_fails_the_same_way_after_a_reset_or_a_redrive_has_a_dead_letter_each_time() {
    let directory = directory();
    let engine = begin(directory.path(), 1, 1, shared());
    let mut member = join(&engine);
    for again in 0..4u64 {
        assert_eq!(work(&mut member, reject), [("0".to_owned(), 1)]);
        wait_for_lag(&engine, 0);
        let dead = engine.topic("g.dlq").unwrap();
        assert_eq!(values(&engine, &dead, 0).len() as u64, again + 1);
        match again % 2 {
            0 => assert_eq!(counts(engine.redrive("g", &record(0)).unwrap()), (1, 0, 0)),
            _ => assert_eq!(engine.reset_group("g", "t", 0, Start::Beginning).unwrap(), 0),
        }
    }
    // The fourth was made available by a reset: its dead letter is none to be redriven while it is unfinished.
    assert_eq!(counts(engine.redrive("g", &Redrive::All).unwrap()), (0, 2, 0));
    assert_eq!(work(&mut member, ack), [("0".to_owned(), 1)]);
    drop(member);
    engine.close().unwrap();
}

#[test]
fn a_redrive_survives_reopening_kills_and_other_numbers_of_lanes() {
    let directory = directory();
    let engine = begin(directory.path(), 3, 9, shared());
    let mut member = join(&engine);
    while lag(&engine) > 0 {
        for delivery in &member.poll(Duration::from_millis(20)).unwrap() {
            reject(&member, "", delivery.id());
        }
    }
    drop(member);
    // The last of them may not have been finished durably.
    engine.sync().unwrap();
    let before = copy_of_a_moment(directory.path());
    assert_eq!(counts(engine.redrive("g", &Redrive::All).unwrap()), (9, 0, 0));
    let killed = copy_of_a_moment(directory.path());
    engine.close().unwrap();
    for (path, lanes) in [(directory.path(), 2), (killed.path(), 1), (killed.path(), 3)] {
        let engine = Engine::open(path, small().lanes(Some(lanes))).unwrap();
        assert_eq!(lag(&engine), 9, "{lanes} lanes");
        assert_eq!(counts(engine.redrive("g", &Redrive::All).unwrap()), (0, 0, 0), "each was redriven");
        let mut member = join(&engine);
        let mut seen = 0;
        while seen < 9 {
            seen += work(&mut member, |member, _, id| member.release(id).unwrap()).len();
        }
        member.close();
        engine.close().unwrap();
    }
    let engine = open(before.path());
    assert_eq!((lag(&engine), counts(engine.redrive("g", &Redrive::All).unwrap())), (0, (9, 0, 0)));
    let mut member = join(&engine);
    while lag(&engine) > 0 {
        work(&mut member, ack);
        member.flush().unwrap();
    }
    drop(member);
    engine.close().unwrap();
}

/// The process ended when the record was available again and its dead letter was not marked: redriving is repeated, and
/// the record that waits is left as it is.
#[test]
fn a_kill_between_the_record_and_its_dead_letter_redrives_nothing_twice() {
    let directory = directory();
    let options = || small().lanes(Some(2));
    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    engine.create_topic("g.dlq", TopicOptions::new()).unwrap();
    engine.create_group("g", shared().topic("t", Start::Beginning)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"0")).unwrap().wait().unwrap();
    let mut member = join(&engine);
    assert_eq!(work(&mut member, reject).len(), 1);
    wait_for_lag(&engine, 0);
    member.close();
    engine.sync().unwrap();
    let before = copy_of_a_moment(directory.path());
    assert_eq!(counts(engine.redrive("g", &letter(0)).unwrap()), (1, 0, 0));
    let after = copy_of_a_moment(directory.path());
    // The log of the lane where the dead letters stand is one of those that changed; had the process ended earlier, it
    // would be as it was.
    let changed: Vec<_> = std::fs::read_dir(after.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| std::fs::read(before.path().join(name)).ok() != std::fs::read(after.path().join(name)).ok())
        .collect();
    let killed_when = |name: &std::ffi::OsString| {
        let kill = copy_of_a_moment(after.path());
        std::fs::copy(before.path().join(name), kill.path().join(name)).unwrap();
        kill
    };
    let is_it = |name: &std::ffi::OsString| {
        let kill = killed_when(name);
        let killed = Engine::open(kill.path(), options()).unwrap();
        let is_it = lag(&killed) == 1 && killed.redrive("g", &letter(0)).is_ok();
        killed.close().unwrap();
        is_it
    };
    let name = changed.into_iter().find(is_it).expect("the two are in different logs");
    let kill = killed_when(&name);
    let killed = Engine::open(kill.path(), options()).unwrap();
    assert_eq!(lag(&killed), 1);
    assert_eq!(counts(killed.redrive("g", &letter(0)).unwrap()), (0, 1, 0));
    assert_eq!(killed.redrive("g", &letter(0)).unwrap_err().code(), "already-redriven");
    let mut other = join(&killed);
    assert_eq!(work(&mut other, ack).len(), 1);
    nothing_comes(&mut other);
    drop(other);
    killed.close().unwrap();
    engine.close().unwrap();
}

#[test]
fn in_an_ordered_group_a_redriven_record_comes_before_those_that_come_next() {
    let directory = directory();
    let engine = begin(directory.path(), 1, 6, ordered());
    let mut member = engine.join_group("g", MemberOptions::new().max_poll_records(1)).unwrap();
    work(&mut member, reject);
    let next = work(&mut member, ack);
    assert_eq!(next, [("1".to_owned(), 1)], "it waited for the dead letter");
    work(&mut member, ack);
    assert_eq!(counts(engine.redrive("g", &record(0)).unwrap()), (1, 0, 0));
    let order: Vec<_> = (0..4).flat_map(|_| work(&mut member, ack)).map(|(value, _)| value).collect();
    assert_eq!(order, ["0", "3", "4", "5"]);
    drop(member);
    engine.close().unwrap();
}

#[test]
fn what_cannot_be_redriven_says_why_and_stays() {
    let directory = directory();
    let engine = begin(directory.path(), 1, 5, shared().unfinished_max(2));
    let single = |what: &Redrive| engine.redrive("g", what).unwrap_err();
    assert_says(&single(&letter(0)), "no-dead-letter", &["`g.dlq`", "has no dead letters"]);
    let mut member = join(&engine);
    while lag(&engine) > 0 {
        let polled = member.poll(Duration::from_millis(20)).unwrap();
        polled.iter().for_each(|delivery| member.reject(delivery.id()).unwrap());
    }
    let dead = engine.topic("g.dlq").unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&dead, Record::new(b"another")).unwrap().wait().unwrap();
    let forged = [("group", "g"), ("topic", "t"), ("partition", "0"), ("offset", "3")]
        .map(|(name, value)| (format!("ringlane.{name}"), value.as_bytes()));
    let forged: Vec<_> = forged.iter().map(|(name, value)| Header { name, value }).collect();
    producer.send(&dead, Record::new(b"not what stands there").headers(&forged)).unwrap().wait().unwrap();
    assert_says(&single(&letter(5)), "no-dead-letter", &["offset 5", "no dead letter of this group"]);
    assert_says(&single(&letter(6)), "original-gone", &["offset 3 of partition 0 of `t`", "offset 6", "`g.dlq`"]);
    assert_says(&single(&letter(7)), "no-dead-letter", &["nothing stands there"]);
    let beside = Redrive::Letter { partition: 1, offset: 0 };
    assert_eq!(single(&beside).code(), "invalid-partition");
    let beside = Redrive::Record { topic: "none".to_owned(), partition: 0, offset: 0 };
    assert_eq!(single(&beside).code(), "invalid-argument");
    assert_eq!(engine.redrive("none", &Redrive::All).unwrap_err().code(), "unknown-group");

    engine.delete_records(&engine.topic("t").unwrap(), 0, 1).unwrap();
    assert_eq!(single(&letter(0)).code(), "original-gone");
    assert_eq!(values(&engine, &dead, 0)[0], b"0", "its dead letter is still there");
    // Two fit; the forged one and the one that is gone do not count.
    let done = engine.redrive("g", &Redrive::All).unwrap();
    assert_eq!((counts(done), done.is_full), ((2, 0, 2), true));
    assert_says(&single(&Redrive::All), "too-many", &["unfinished", "redrive again"]);
    assert_eq!(single(&record(4)).code(), "too-many");
    assert_eq!(work(&mut member, ack).len(), 2);
    member.flush().unwrap();
    let done = engine.redrive("g", &Redrive::All).unwrap();
    assert_eq!((counts(done), done.is_full), ((2, 0, 2), false));
    assert_eq!(work(&mut member, ack).len(), 2);
    member.flush().unwrap();

    // A topic of the same name is another one.
    engine.delete_topic("t").unwrap();
    assert_eq!(counts(engine.redrive("g", &Redrive::All).unwrap()), (0, 0, 2));
    engine.delete_group("g").unwrap();
    assert_eq!(engine.redrive("g", &Redrive::All).unwrap_err().code(), "unknown-group");
    drop(member);
    engine.close().unwrap();
    open(directory.path()).close().unwrap();
}
