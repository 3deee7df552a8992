//! The inbox of a group: what was processed under a token is recognised, whatever happens in between.

#![allow(clippy::unwrap_used)]

mod common;

use common::group::{begin, ordered, shared};
use common::{assert_says, copy_of_a_moment, directory, options, small};
use ringlane::*;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn open(path: &Path) -> Engine {
    Engine::open(path, small()).unwrap()
}

fn member(engine: &Engine) -> GroupConsumer {
    engine.join_group("g", MemberOptions::new().lease(Duration::from_secs(600)).max_poll_records(1)).unwrap()
}

/// Sends a record whose value is its token.
fn send(engine: &Engine, topic: &Topic, partition: u32, token: &str) {
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(topic, Record::new(token.as_bytes()).partition(partition)).unwrap().wait().unwrap();
}

/// The next record: its token and its delivery.
fn take(member: &mut GroupConsumer) -> (String, DeliveryId) {
    let polled = member.poll(SOON).unwrap();
    let delivery = polled.iter().next().expect("a record comes");
    (String::from_utf8(delivery.record.value().unwrap().to_vec()).unwrap(), delivery.id())
}

/// Takes the next record, and asks for its token.
fn ask(member: &mut GroupConsumer) -> (DeliveryId, Once) {
    let (token, id) = take(member);
    (id, member.once(id, token.as_bytes()).unwrap())
}

#[test]
fn a_repeated_record_is_recognised_in_its_partition() {
    let directory = directory();
    let (engine, topic) = begin(directory.path(), 2, ordered());
    ["a", "b", "a"].iter().for_each(|token| send(&engine, &topic, 0, token));
    let mut member = member(&engine);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (id, answer) = ask(&mut member);
        assert_eq!(
            member.once(id, b"another of it").unwrap_or(Once::Duplicate),
            match answer {
                Once::Fresh if answers.is_empty() => Once::Fresh,
                _ => Once::Duplicate,
            }
        );
        answers.push(answer);
        member.ack(id).unwrap();
    }
    assert_eq!(answers, [Once::Fresh, Once::Fresh, Once::Duplicate]);
    send(&engine, &topic, 1, "a");
    assert_eq!(ask(&mut member).1, Once::Fresh, "each partition has its own");
    drop(member);
    engine.close().unwrap();
}

#[test]
fn a_token_belongs_to_one_delivery_until_that_ends() {
    let directory = directory();
    let (engine, topic) = begin(directory.path(), 2, shared());
    ["a", "a"].iter().for_each(|token| send(&engine, &topic, 0, token));
    let (mut first, mut second) = (member(&engine), member(&engine));
    let (of_first, answer) = ask(&mut first);
    assert_eq!(answer, Once::Fresh);
    assert_eq!(first.once(of_first, b"a").unwrap(), Once::Fresh, "its own");
    let (of_second, answer) = ask(&mut second);
    assert_eq!(answer, Once::InProgress { offset: 0 });
    // It fails: the other may have the token now.
    first.nack(of_first, Some(Duration::from_secs(600))).unwrap();
    assert_eq!(second.once(of_second, b"a").unwrap(), Once::Fresh);
    second.ack(of_second).unwrap();
    send(&engine, &topic, 0, "a");
    let (_, answer) = ask(&mut first);
    assert_eq!(answer, Once::Duplicate, "an acknowledgement is known to other members at once");
    drop((first, second));
    engine.close().unwrap();
}

#[test]
fn a_lost_lease_frees_its_tokens_and_cannot_claim_more() {
    let directory = directory();
    let (engine, topic) = begin(directory.path(), 2, shared());
    send(&engine, &topic, 0, "a");
    let mut first = member(&engine);
    let (lost, answer) = ask(&mut first);
    assert_eq!(answer, Once::Fresh);
    first.extend(lost, Duration::ZERO).unwrap();
    let mut second = member(&engine);
    let (id, answer) = ask(&mut second);
    assert_eq!(answer, Once::Fresh);
    assert_says(&first.once(lost, b"b").unwrap_err(), "lease-lost", &["0"]);
    second.ack(id).unwrap();
    second.flush().unwrap();
    assert_says(&second.once(id, b"b").unwrap_err(), "already-acknowledged", &["0"]);
    send(&engine, &topic, 0, "b");
    assert_eq!(ask(&mut second).1, Once::Fresh, "who held no lease has claimed nothing");
    drop((first, second));
    engine.close().unwrap();
}

/// The token stands in the frame of the acknowledgement: after a kill either both are there or none.
#[test]
fn tokens_survive_a_kill_with_the_acknowledgement_and_a_close_and_another_number_of_lanes() {
    let directory = directory();
    let (engine, topic) = begin(directory.path(), 2, shared());
    ["done", "open"].iter().for_each(|token| send(&engine, &topic, 0, token));
    let mut member_before = member(&engine);
    let (done, _) = ask(&mut member_before);
    member_before.ack(done).unwrap();
    member_before.flush().unwrap();
    assert_eq!(ask(&mut member_before).1, Once::Fresh);
    let killed = copy_of_a_moment(directory.path());
    drop(member_before);
    engine.close().unwrap();
    for (path, lanes) in [(killed.path(), 1), (directory.path(), 2), (killed.path(), 2)] {
        let engine = Engine::open(path, options().lanes(Some(lanes))).unwrap();
        let topic = engine.topic("t").unwrap();
        let mut member = member(&engine);
        let (id, answer) = ask(&mut member);
        assert_eq!(answer, Once::Fresh, "`open` was not acknowledged");
        member.release(id).unwrap();
        send(&engine, &topic, 0, "done");
        let answers = [ask(&mut member), ask(&mut member)];
        let seen: Vec<Once> = answers.iter().map(|(_, answer)| *answer).collect();
        assert!(seen.contains(&Once::Duplicate) && seen.contains(&Once::Fresh), "{seen:?}");
        for (id, answer) in answers {
            match answer {
                Once::Duplicate => member.ack(id).unwrap(),
                _ => member.release(id).unwrap(),
            }
        }
        member.close();
        engine.close().unwrap();
    }
}

#[test]
fn an_inbox_is_bounded_by_count_and_by_time() {
    let directory = directory();
    let (engine, topic) = begin(directory.path(), 2, ordered().inbox(2, Duration::from_secs(3600)));
    ["a", "b", "c", "b", "a"].iter().for_each(|token| send(&engine, &topic, 0, token));
    let mut member_of_two = member(&engine);
    let mut answers = Vec::new();
    for _ in 0..5 {
        let (id, answer) = ask(&mut member_of_two);
        answers.push(answer);
        member_of_two.ack(id).unwrap();
    }
    use Once::{Duplicate, Fresh};
    assert_eq!(answers, [Fresh, Fresh, Fresh, Duplicate, Fresh], "the oldest of three was forgotten");
    drop(member_of_two);

    let brief = GroupOptions::ordered().inbox(1000, Duration::from_millis(1)).topic("t", Start::End);
    engine.create_group("brief", brief).unwrap();
    let mut member = engine.join_group("brief", MemberOptions::new().max_poll_records(1)).unwrap();
    let mut fresh = 0;
    // Flushing takes longer than the token is remembered, mostly.
    for _ in 0..1000 {
        send(&engine, &topic, 0, "x");
        let (id, answer) = ask(&mut member);
        fresh += u32::from(answer == Fresh);
        member.ack(id).unwrap();
        if fresh == 2 {
            break;
        }
    }
    assert_eq!(fresh, 2, "it is forgotten after its time");
    drop(member);
    engine.close().unwrap();
}

#[test]
fn tokens_that_cannot_be_are_refused() {
    let directory = directory();
    let (engine, topic) = begin(directory.path(), 2, shared());
    send(&engine, &topic, 0, "a");
    let mut first = member(&engine);
    let (_, id) = take(&mut first);
    assert_says(&first.once(id, b"").unwrap_err(), "invalid-argument", &["1 to 128 bytes"]);
    assert_says(&first.once(id, &[7; 129]).unwrap_err(), "invalid-argument", &["1 to 128 bytes"]);
    for number in 0..64u8 {
        assert_eq!(first.once(id, &[number]).unwrap(), Once::Fresh);
    }
    assert_says(&first.once(id, b"one more").unwrap_err(), "invalid-argument", &["64 tokens"]);
    let second = member(&engine);
    assert_says(&second.once(id, b"a").unwrap_err(), "not-delivered", &["0"]);
    first.ack(id).unwrap();
    engine.close().unwrap();
    assert_says(&first.once(id, b"a").unwrap_err(), "closed", &[""]);
    drop((first, second));
}

/// What was done once stays done: a group that goes back recognises it.
#[test]
fn a_group_that_is_sent_back_keeps_its_tokens_and_frees_those_that_were_claimed() {
    let directory = directory();
    let (engine, topic) = begin(directory.path(), 2, ordered());
    ["a", "b"].iter().for_each(|token| send(&engine, &topic, 0, token));
    let mut member = member(&engine);
    let (id, _) = ask(&mut member);
    member.ack(id).unwrap();
    assert_eq!(ask(&mut member).1, Once::Fresh);
    engine.reset_group("g", "t", 0, Start::Beginning).unwrap();
    let (id, answer) = ask(&mut member);
    assert_eq!(answer, Once::Duplicate);
    member.ack(id).unwrap();
    assert_eq!(ask(&mut member).1, Once::Fresh, "nobody acknowledged it");
    drop(member);
    engine.close().unwrap();
}

/// A full inbox is part of every checkpoint, which a segment begins with.
#[test]
fn a_full_inbox_goes_through_many_segments() {
    let directory = directory();
    let (engine, topic) = begin(directory.path(), 2, shared().inbox(3000, Duration::from_secs(3600)));
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut worker = engine.join_group("g", MemberOptions::new()).unwrap();
    let value = vec![7; 2000];
    for round in 0..8u32 {
        let records: Vec<_> = (0..500).map(|_| Record::new(&value).partition(0)).collect();
        producer.send_batch(&topic, &records).unwrap().wait_done().unwrap();
        let mut done = 0;
        while done < 500 {
            let polled = worker.poll(SOON).unwrap();
            for delivery in &polled {
                let token = format!("{:0>100}", delivery.record.offset());
                assert_eq!(worker.once(delivery.id(), token.as_bytes()).unwrap(), Once::Fresh, "round {round}");
                worker.ack(delivery.id()).unwrap();
                done += 1;
            }
        }
    }
    worker.flush().unwrap();
    let killed = copy_of_a_moment(directory.path());
    drop(worker);
    engine.close().unwrap();
    for path in [killed.path(), directory.path()] {
        let engine = open(path);
        let topic = engine.topic("t").unwrap();
        send(&engine, &topic, 0, "again");
        let mut worker = member(&engine);
        let (_, id) = take(&mut worker);
        let answer = |offset: u64| worker.once(id, format!("{offset:0>100}").as_bytes()).unwrap();
        assert_eq!([answer(999), answer(1000), answer(3999)], [Once::Fresh, Once::Duplicate, Once::Duplicate]);
        drop(worker);
        engine.close().unwrap();
    }
}
