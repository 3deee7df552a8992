//! Members of groups, and redrives, through the admin socket, while an application holds the engine.

#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_says, directory, options, wait_until};
use ringlane::admin::{Client, Delivered};
use ringlane::*;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// An engine with `records` records in topic `t`, whose values are their numbers, and the shared group `g`.
fn begin(path: &Path, records: usize) -> Engine {
    let engine = Engine::open(path, options()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let group = GroupOptions::shared().retry_delay(Duration::ZERO, Duration::ZERO).max_deliveries(3);
    engine.create_group("g", group.topic("t", Start::Beginning)).unwrap();
    fill(&engine, &topic, records);
    engine
}

fn fill(engine: &Engine, topic: &Topic, records: usize) {
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let headers = [Header { name: "h", value: b"x" }];
    for number in 0..records {
        let value = number.to_string();
        let record = Record::new(value.as_bytes()).key(b"k").headers(&headers).timestamp_ms(number as i64);
        producer.send(topic, record).unwrap().wait().unwrap();
    }
}

fn take(client: &mut Client, count: usize) -> Vec<Delivered> {
    let mut all = Vec::new();
    while all.len() < count {
        let polled = client.poll(SOON).unwrap();
        assert!(!polled.is_empty(), "{} of {count} came", all.len());
        all.extend(polled);
    }
    assert_eq!(all.len(), count);
    all
}

fn ids(records: &[Delivered]) -> Vec<DeliveryId> {
    records.iter().map(Delivered::id).collect()
}

fn counts(records: &[Delivered]) -> Vec<(u64, u32)> {
    records.iter().map(|record| (record.offset(), record.delivery_count())).collect()
}

fn info(engine: &Engine) -> (usize, u64, u64) {
    let info = engine.describe_group("g").unwrap();
    (info.members, info.partitions[0].lag, info.partitions[0].in_flight)
}

#[test]
fn a_connection_is_a_member_that_ends_deliveries_as_others_do() {
    let directory = directory();
    let engine = begin(directory.path(), 5);
    let mut client = Client::connect(directory.path()).unwrap();
    assert_says(&client.poll(SOON).unwrap_err(), "closed", &["the member"]);
    assert_eq!(client.join_group("none", &MemberOptions::new()).unwrap_err().code(), "unknown-group");
    let no_lease = MemberOptions::new().lease(Duration::ZERO);
    assert_eq!(client.join_group("g", &no_lease).unwrap_err().code(), "invalid-argument");
    client.join_group("g", &MemberOptions::new()).unwrap();
    let all = take(&mut client, 5);
    assert_eq!(info(&engine), (1, 5, 5));
    let (first, record) = (&all[0], all[0].record());
    assert_eq!((first.topic(), first.partition(), first.offset(), first.delivery_count()), ("t", 0, 0, 1));
    assert_eq!((record.key(), record.value(), record.timestamp_ms()), (Some(&b"k"[..]), Some(&b"0"[..]), 0));
    assert_eq!(record.headers().collect::<Vec<_>>(), [Header { name: "h", value: b"x" }]);
    assert_eq!((all[4].origin().producer, all[4].origin().sequence), (0, 4));
    let of = ids(&all);
    assert_eq!(client.ack(&of[..2]).unwrap(), []);
    let twice = client.ack(&of[1..2]).unwrap();
    assert_eq!((twice.len(), twice[0].0, twice[0].1.code()), (1, of[1], "already-acknowledged"));
    assert_eq!(client.nack(&of[2..3], None).unwrap(), []);
    assert_eq!(client.reject(&of[3..4]).unwrap(), []);
    assert_eq!(client.release(&of[4..]).unwrap(), []);
    assert_eq!(counts(&take(&mut client, 2)), [(2, 2), (4, 2)]);
    client.leave_group().unwrap();
    wait_until("the rejected one is a dead letter", || info(&engine) == (0, 2, 0));
    client.leave_group().unwrap();

    // The dead letter is redriven through the socket too.
    assert_eq!(client.redrive("g", &Redrive::All).unwrap().redriven, 1);
    let again = client.redrive("g", &Redrive::Letter { partition: 0, offset: 0 }).unwrap_err();
    assert_says(&again, "already-redriven", &["offset 0", "`g.dlq`"]);
    assert_eq!(client.redrive("none", &Redrive::All).unwrap_err().code(), "unknown-group");
    assert_eq!(info(&engine), (0, 3, 0));
    engine.close().unwrap();
    assert!(client.poll(SOON).is_err());
}

#[test]
fn the_membership_ends_with_the_connection_and_what_it_held_is_handed_out_again() {
    let directory = directory();
    let engine = begin(directory.path(), 4);
    let mut client = Client::connect(directory.path()).unwrap();
    client.join_group("g", &MemberOptions::new().lease(Duration::from_secs(3600))).unwrap();
    let all = take(&mut client, 4);
    client.ack(&ids(&all[..1])).unwrap();
    // To join again is to be another member: what the first one held was no failure.
    client.join_group("g", &MemberOptions::new().max_poll_records(2)).unwrap();
    assert_eq!(info(&engine).0, 1);
    assert_eq!(counts(&client.poll(SOON).unwrap()), [(1, 2), (2, 2)]);
    drop(client);
    wait_until("the connection's member has gone", || info(&engine) == (0, 3, 0));
    let mut member = engine.join_group("g", MemberOptions::new()).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let polled = member.poll(SOON).unwrap();
        seen.extend(polled.iter().map(|delivery| (delivery.record.offset(), delivery.delivery_count)));
        member.ack_all(&polled).unwrap();
    }
    seen.sort_unstable();
    assert_eq!(seen, [(1, 3), (2, 3), (3, 2)]);
    drop(member);
    engine.close().unwrap();
}

/// Members that have nothing to do make nobody wait, and each record comes to one of them.
#[test]
fn many_members_share_the_work_and_hold_up_nobody() {
    let directory = directory();
    let engine = begin(directory.path(), 0);
    let topic = engine.topic("t").unwrap();
    let done = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = Client::connect(directory.path()).unwrap();
                client.join_group("g", &MemberOptions::new().max_poll_records(7)).unwrap();
                while done.load(std::sync::atomic::Ordering::SeqCst) < 300 {
                    let polled = client.poll(Duration::from_millis(100)).unwrap();
                    assert_eq!(client.ack(&ids(&polled)).unwrap(), []);
                    done.fetch_add(polled.len(), std::sync::atomic::Ordering::SeqCst);
                }
                client.leave_group().unwrap();
            });
        }
        let mut other = Client::connect(directory.path()).unwrap();
        for number in 0..3 {
            other.create_topic(&format!("t{number}"), &TopicOptions::new()).unwrap();
            fill(&engine, &topic, 100);
        }
    });
    assert_eq!(done.into_inner(), 300);
    assert_eq!(info(&engine), (0, 0, 0));
    engine.close().unwrap();
}

#[test]
fn large_records_come_in_pieces_and_what_was_given_up_is_told() {
    let directory = directory();
    let engine = begin(directory.path(), 0);
    let topic = engine.topic("t").unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let large = vec![b'x'; 700_000];
    let records = [Record::new(&large); 6];
    producer.send_batch(&topic, &records).unwrap().wait_done().unwrap();
    let mut client = Client::connect(directory.path()).unwrap();
    client.join_group("g", &MemberOptions::new()).unwrap();
    let first = client.poll(SOON).unwrap();
    assert!(first.len() < 3, "{} large records in one answer", first.len());
    let rest = take(&mut client, 6 - first.len());
    assert!(first.iter().chain(&rest).all(|record| record.record().value() == Some(&large[..])));
    engine.delete_records(&topic, 0, 6).unwrap();
    let told = Error::Truncated { topic: "t".to_owned(), partition: 0, from: 0, to: 6 };
    assert_eq!(client.poll(SOON).unwrap_err(), told);
    assert_eq!(client.poll(Duration::ZERO).unwrap(), []);
    engine.delete_group("g").unwrap();
    assert_eq!(client.poll(SOON).unwrap_err().code(), "group-deleted");
    drop(client);
    engine.close().unwrap();
}
