//! Audits: what was acknowledged is compared with what can be read, also where records were given up, withheld,
//! cancelled, or damaged in the files.

#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_says, directory, small, wait_until};
use ringlane::admin::Client;
use ringlane::*;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const FAR_MS: i64 = 4_000_000_000_000;

fn open(path: &Path) -> Engine {
    Engine::open(path, small()).unwrap()
}

fn audit(engine: &Engine) -> AuditReport {
    let mut last = AuditProgress::default();
    let report = engine.audit(&AuditOptions::new(), &mut |progress| last = progress.clone()).unwrap();
    assert!(last.records_done <= last.records_total, "{last:?}");
    for partition in &report.partitions {
        let mut acknowledged = 0;
        for producer in &partition.producers {
            let NumberCounts { readable, pending, cancelled, expired, corrupt, unknown, .. } = producer.numbers;
            let all = readable + pending + cancelled + expired + corrupt + unknown;
            assert_eq!(producer.numbers.acknowledged, all, "each number is counted once: {producer:?}");
            acknowledged += all;
        }
        assert_eq!(partition.numbers.acknowledged, acknowledged);
    }
    report
}

/// The numbers of a producer, by its name, in a partition of a topic.
fn of<'a>(report: &'a AuditReport, topic: &str, partition: u32, name: Option<&str>) -> &'a ProducerAudit {
    let audited = partition_of(report, topic, partition);
    audited.producers.iter().find(|producer| producer.name.as_deref() == name).unwrap()
}

fn partition_of<'a>(report: &'a AuditReport, topic: &str, partition: u32) -> &'a PartitionAudit {
    report.partitions.iter().find(|of| (of.topic.as_str(), of.partition) == (topic, partition)).unwrap()
}

/// Acknowledged, readable, pending, cancelled, expired, corrupt, unknown.
fn figures(numbers: &NumberCounts) -> [u64; 7] {
    let NumberCounts { acknowledged, readable, pending, cancelled, expired, corrupt, unknown, .. } = *numbers;
    [acknowledged, readable, pending, cancelled, expired, corrupt, unknown]
}

/// A value that no other record has, so large that few fit a segment.
fn value(number: u32) -> Vec<u8> {
    let mut value = format!("<record {number:05}>").into_bytes();
    value.resize(40 << 10, b'a' + (number % 26) as u8);
    value
}

/// Changes a byte of the record with this value in the segment files.
fn damage(path: &Path, number: u32) {
    let needle = format!("<record {number:05}>").into_bytes();
    for entry in std::fs::read_dir(path).unwrap() {
        let file = entry.unwrap().path();
        let Ok(mut bytes) = std::fs::read(&file) else { continue };
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at + needle.len()] ^= 1;
            return std::fs::write(&file, bytes).unwrap();
        }
    }
    panic!("no file has record {number}");
}

/// Sends the numbers as large values to a partition, one by one.
fn send(producer: &Producer, topic: &Topic, partition: u32, numbers: std::ops::Range<u32>) {
    for number in numbers {
        producer.send(topic, Record::new(&value(number)).partition(partition)).unwrap().wait().unwrap();
    }
}

/// A closed directory: topic `t` with two partitions. Producer `p` has sent numbers 0 to 59 to the first, in segments
/// that are sealed; then 100 to 199 to the second.
fn several_segments(path: &Path) {
    let engine = open(path);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let producer = engine.producer(ProducerOptions::new().name("p")).unwrap();
    engine.create_group("g", GroupOptions::shared().topic("t", Start::Beginning)).unwrap();
    send(&producer, &topic, 0, 0..60);
    send(&producer, &topic, 1, 100..200);
    engine.close().unwrap();
}

#[test]
fn what_is_withheld_cancelled_or_given_up_is_no_loss() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small().lanes(Some(2))).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    engine.create_topic("empty", TopicOptions::new()).unwrap();
    let unnamed = engine.producer(ProducerOptions::new()).unwrap();
    let named = engine.producer(ProducerOptions::new().name("billing")).unwrap();
    let send = |producer: &Producer, record: Record<'_>| producer.send(&topic, record).unwrap().wait().unwrap();
    for _ in 0..10 {
        send(&unnamed, Record::new(b"u").partition(0));
        send(&named, Record::new(b"n").partition(0));
        send(&named, Record::new(b"n").partition(1));
    }
    send(&named, Record::new(b"later").partition(0).visible_at(FAR_MS));
    let cancelled = send(&named, Record::new(b"never").partition(0).visible_at(FAR_MS));
    let published = send(&named, Record::new(b"soon").partition(0).visible_at(FAR_MS));
    send(&named, Record::new(b"later").partition(0).visible_at(FAR_MS));
    named.cancel(cancelled.id).unwrap();
    send(&named, Record::new(b"n").partition(0));
    engine.publish_withheld(published.id, &[]).unwrap();
    // Of the 20 at the beginning of partition 0 the first 7 go: 4 without a name, 3 with one. Of partition 1 all go.
    engine.delete_records(&topic, 0, 7).unwrap();
    engine.delete_records(&topic, 1, u64::MAX).unwrap();

    let report = audit(&engine);
    assert!(!report.has_loss(), "{report}");
    assert_eq!(report.partitions.len(), 3);
    assert_eq!(figures(&of(&report, "t", 0, None).numbers), [10, 6, 0, 0, 4, 0, 0]);
    assert_eq!(figures(&of(&report, "t", 0, Some("billing")).numbers), [15, 9, 2, 1, 3, 0, 0]);
    assert_eq!(figures(&of(&report, "t", 1, Some("billing")).numbers), [10, 0, 0, 0, 10, 0, 0]);
    assert!(partition_of(&report, "empty", 0).producers.is_empty());
    assert_eq!(figures(&report.numbers()), [35, 15, 2, 1, 17, 0, 0]);
    assert!(
        report.to_string().starts_with("nothing is lost: 35 acknowledged in 3 partitions; 15 readable"),
        "{report}"
    );
    assert_eq!(report.to_string().lines().count(), 1);

    // The same after it was opened again, with another number of lanes, and asked by another process.
    let asked = Client::connect(directory.path()).unwrap().audit(&AuditOptions::new(), &mut |_| {}).unwrap();
    assert_eq!(asked, report);
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), small().lanes(Some(1))).unwrap();
    assert_eq!(audit(&engine), report);
    engine.close().unwrap();
}

#[test]
fn groups_are_told_of_as_far_as_they_have_come() {
    let directory = directory();
    let engine = open(directory.path());
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let other = engine.create_topic("other", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for group in ["behind", "done"] {
        let options = GroupOptions::shared().topic("t", Start::Beginning).topic("other", Start::Beginning);
        engine.create_group(group, options).unwrap();
    }
    producer.send_batch(&topic, &[Record::new(b"v"); 10]).unwrap().wait().unwrap();
    producer.send(&other, Record::new(b"v")).unwrap().wait().unwrap();
    let mut done = engine.join_group("done", MemberOptions::new()).unwrap();
    let mut left = 11;
    while left > 0 {
        let deliveries = done.poll(SOON).unwrap();
        left -= deliveries.len();
        for delivery in &deliveries {
            match (delivery.record.topic(), delivery.record.offset()) {
                ("t", 3 | 4) => done.reject(delivery.id()).unwrap(),
                _ => done.ack(delivery.id()).unwrap(),
            }
        }
    }
    done.flush().unwrap();
    let mut behind = engine.join_group("behind", MemberOptions::new().max_poll_records(4)).unwrap();
    let mut deliveries = behind.poll(SOON).unwrap();
    // What is taken of a partition must be durable first: the other one may come alone.
    while !deliveries.iter().any(|delivery| delivery.record.topic() == "t") {
        deliveries = behind.poll(SOON).unwrap();
    }
    let held: Vec<_> = deliveries.iter().filter(|delivery| delivery.record.topic() == "t").collect();
    behind.ack(held[0].id()).unwrap();
    behind.flush().unwrap();
    wait_until("they are dead letters", || engine.describe_group("done").unwrap().partitions[0].lag == 0);
    engine.delete_records(&topic, 0, 2).unwrap();

    let report = audit(&engine);
    assert!(!report.has_loss(), "{report}");
    let groups = &partition_of(&report, "t", 0).groups;
    let done = groups.iter().find(|group| group.group == "done").unwrap();
    assert_eq!((done.position, done.unfinished, done.in_flight, done.dead_letters), (10, 0, 0, Some(2)));
    assert_eq!(done.unreadable, 0);
    let behind = groups.iter().find(|group| group.group == "behind").unwrap();
    // What was given up is none of its any more.
    assert_eq!((behind.position, behind.unfinished, behind.dead_letters), (2, 8, Some(0)));
    assert!(behind.in_flight < held.len() as u64, "{behind:?}");
    let of_other = &partition_of(&report, "other", 0).groups;
    assert_eq!(of_other.iter().find(|group| group.group == "done").unwrap().dead_letters, Some(0));
    // The dead letters are a topic of their own, with what the engine sent there.
    assert_eq!(figures(&of(&report, "done.dlq", 0, None).numbers), [2, 2, 0, 0, 0, 0, 0]);
    // Only what is asked for.
    let only = engine.audit(&AuditOptions::new().topic("other"), &mut |_| {}).unwrap();
    assert_eq!(only.partitions.len(), 1);
    engine.close().unwrap();
}

#[test]
fn what_is_damaged_is_found_in_the_midst_and_at_the_end() {
    let directory = directory();
    several_segments(directory.path());
    // The last one of partition 0: no record of its producer comes behind it there.
    for number in [5, 6, 30, 59] {
        damage(directory.path(), number);
    }
    let engine = open(directory.path());
    let report = audit(&engine);
    assert!(report.has_loss());
    let partition = partition_of(&report, "t", 0);
    let producer = of(&report, "t", 0, Some("p"));
    assert_eq!(figures(&producer.numbers)[0], 60);
    // Records that stand in one stretch with a damaged one cannot be read either: a consumer cannot.
    let lost = producer.numbers.corrupt;
    assert!((4..40).contains(&lost), "{report}");
    assert_eq!((producer.numbers.readable, producer.numbers.unknown), (60 - lost, 0));
    let ranges: Vec<_> = producer.lost.iter().map(|lost| lost.first..=lost.last).collect();
    for number in [5, 6, 30, 59] {
        assert!(ranges.iter().any(|range| range.contains(&number)), "{number} is not in {ranges:?}");
    }
    assert!(producer.lost.iter().all(|lost| lost.reason == MissingReason::Corrupt));
    assert_eq!(partition.unreadable, lost, "its offsets are its numbers here");
    assert_eq!((partition.records, partition.duplicates, partition.reorders), (60 - lost, 0, 0));
    let of_group = &partition.groups[0];
    assert_eq!((of_group.unfinished, of_group.unreadable), (60, lost));
    assert_eq!(figures(&of(&report, "t", 1, Some("p")).numbers), [100, 100, 0, 0, 0, 0, 0]);
    let text = report.to_string();
    for words in
        [&*format!("{lost} RECORDS ARE LOST"), "t-0, producer `p` lost", "(corrupt)", "ringlane verify", "group `g`"]
    {
        assert!(text.contains(words), "`{words}` is not in: {text}");
    }
    engine.close().unwrap();
}

/// Nobody may take for given up what cannot be read behind it.
#[test]
fn damage_right_behind_what_was_given_up_is_loss() {
    let directory = directory();
    several_segments(directory.path());
    let engine = open(directory.path());
    engine.delete_records(&engine.topic("t").unwrap(), 0, 30).unwrap();
    engine.close().unwrap();
    damage(directory.path(), 30);
    let engine = open(directory.path());
    let report = audit(&engine);
    let [acknowledged, readable, _, _, expired, corrupt, unknown] = figures(&of(&report, "t", 0, Some("p")).numbers);
    assert_eq!((acknowledged, expired, unknown), (60, 30, 0), "{report}");
    assert!(corrupt >= 1 && readable + corrupt == 30, "{report}");
    assert_eq!(of(&report, "t", 0, Some("p")).lost[0].first, 30);
    engine.close().unwrap();

    // And if nothing is left that can be read.
    damage_all(directory.path(), 31..60);
    let engine = open(directory.path());
    assert_eq!(figures(&of(&audit(&engine), "t", 0, Some("p")).numbers), [60, 0, 0, 0, 30, 30, 0]);
    engine.close().unwrap();
}

fn damage_all(path: &Path, numbers: std::ops::Range<u32>) {
    numbers.for_each(|number| damage(path, number));
}

/// The index of a segment is made anew from the segment; where that is damaged too, the segments behind it are whole.
#[test]
fn a_segment_that_is_gone_with_its_index_is_loss_and_the_next_one_is_read() {
    let directory = directory();
    several_segments(directory.path());
    damage(directory.path(), 5);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "index") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let engine = open(directory.path());
    let report = audit(&engine);
    let [acknowledged, readable, _, _, expired, corrupt, unknown] = figures(&of(&report, "t", 0, Some("p")).numbers);
    assert_eq!((acknowledged, expired, unknown), (60, 0, 0), "{report}");
    assert!(corrupt >= 1 && readable >= 1 && readable + corrupt == 60, "{report}");
    engine.close().unwrap();
}

#[test]
fn damage_in_the_files_is_found_while_an_application_has_them_open() {
    let directory = directory();
    several_segments(directory.path());
    let engine = open(directory.path());
    let topic = engine.topic("t").unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut client = Client::connect(directory.path()).unwrap();
    let mut ask = || client.audit(&AuditOptions::new(), &mut |_| {}).unwrap();
    assert!(!ask().has_loss());
    // What was acknowledged just now is waited for.
    for count in 1..=5 {
        producer.send(&topic, Record::new(b"now").partition(1)).unwrap().wait().unwrap();
        assert_eq!(figures(&of(&ask(), "t", 1, None).numbers), [count, count, 0, 0, 0, 0, 0]);
    }
    damage(directory.path(), 30);
    let report = ask();
    assert!(of(&report, "t", 0, Some("p")).numbers.corrupt >= 1, "{report}");
    assert!(report.has_loss());
    assert_eq!(report, audit(&engine), "both tell the same");
    let error = client.audit(&AuditOptions::new().topic("nothing"), &mut |_| {}).unwrap_err();
    assert_says(&error, "unknown-topic", &["nothing"]);
    engine.close().unwrap();
}

/// Others are answered while an audit goes on: it reads in the process that asked for it.
#[test]
fn senders_and_other_clients_go_on_while_it_reads() {
    let directory = directory();
    several_segments(directory.path());
    let engine = open(directory.path());
    let topic = engine.topic("t").unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut client = Client::connect(directory.path()).unwrap();
    let mut other = Client::connect(directory.path()).unwrap();
    let mut steps = 0;
    let report = client.audit(&AuditOptions::new(), &mut |_| {
        steps += 1;
        other.sync().unwrap();
        producer.send(&topic, Record::new(b"meanwhile").partition(0)).unwrap().wait().unwrap();
    });
    let report = report.unwrap();
    assert!(steps > 3, "{steps}");
    assert!(!report.has_loss(), "{report}");
    // What retention takes meanwhile is no loss, and a topic that is deleted is left out.
    let mut steps = 0;
    let report = engine.audit(&AuditOptions::new(), &mut |progress| {
        steps += 1;
        if steps == 2 {
            engine.delete_records(&topic, progress.partition, 50).unwrap();
        }
    });
    let report = report.unwrap();
    assert!(!report.has_loss(), "{report}");
    let mut steps = 0;
    let report = engine.audit(&AuditOptions::new(), &mut |_| {
        steps += 1;
        if steps == 2 {
            engine.delete_topic("t").unwrap();
        }
    });
    assert_eq!(report.unwrap(), AuditReport::default());
    engine.close().unwrap();
}

#[test]
fn of_a_deleted_producer_what_is_there_says_how_far_it_came() {
    let directory = directory();
    let engine = open(directory.path());
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new().name("p")).unwrap();
    for _ in 0..5 {
        producer.send(&topic, Record::new(b"v")).unwrap().wait().unwrap();
    }
    producer.send(&topic, Record::new(b"v").visible_at(FAR_MS)).unwrap().wait().unwrap();
    engine.delete_producer("p").unwrap();
    let report = audit(&engine);
    let deleted = &partition_of(&report, "t", 0).producers[0];
    assert_eq!((deleted.name.as_deref(), deleted.epoch), (None, 1));
    assert_eq!(figures(&deleted.numbers), [6, 5, 1, 0, 0, 0, 0]);
    engine.close().unwrap();
}

#[test]
fn who_cannot_tell_says_so() {
    let directory = directory();
    let engine = open(directory.path());
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    for name in ["a", "b", "c"] {
        let producer = engine.producer(ProducerOptions::new().name(name)).unwrap();
        // Every second one comes late.
        for _ in 0..3 {
            producer.send(&topic, Record::new(b"v").visible_at(FAR_MS)).unwrap().wait().unwrap();
            producer.send(&topic, Record::new(b"v")).unwrap().wait().unwrap();
        }
    }
    let refused = |options: AuditOptions| engine.audit(&options, &mut |_| {}).unwrap_err();
    assert_says(&refused(AuditOptions::new().topic("nothing")), "unknown-topic", &["nothing"]);
    let with = |change: fn(&mut ContinuityOptions)| {
        let mut bounds = ContinuityOptions::new();
        change(&mut bounds);
        AuditOptions::new().bounds(bounds)
    };
    for options in [with(|bounds| bounds.producers_max = 2), with(|bounds| bounds.missing_ranges_max = 4)] {
        assert_says(&refused(options), "too-many", &["AuditOptions::bounds"]);
    }
    assert_says(&refused(with(|bounds| bounds.producers_max = 0)), "invalid-argument", &["producers_max"]);
    let outside = Engine::open_read_only(directory.path(), small()).unwrap();
    let error = outside.audit(&AuditOptions::new(), &mut |_| {}).unwrap_err();
    assert_says(&error, "read-only", &["can only be read"]);
    engine.close().unwrap();
    assert_says(&engine.audit(&AuditOptions::new(), &mut |_| {}).unwrap_err(), "closed", &["the engine"]);
}

/// A lane remembers 10,000 stretches of cancelled numbers. What was cancelled before is no loss.
#[test]
fn what_was_cancelled_long_ago_is_no_loss() {
    let directory = directory();
    let engine = open(directory.path());
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let delayed = Record::new(b"v").visible_at(FAR_MS);
    for _ in 0..21 {
        let records: Vec<_> = (0..1_000).map(|at| if at % 2 == 0 { delayed } else { Record::new(b"v") }).collect();
        let receipts = producer.send_batch(&topic, &records).unwrap().wait().unwrap();
        std::thread::scope(|scope| {
            // Many at once share a flush.
            for some in receipts.chunks(50) {
                let (producer, some) = (&producer, some);
                scope.spawn(move || {
                    let withheld = some.iter().filter(|receipt| receipt.offset.is_none());
                    withheld.for_each(|receipt| producer.cancel(receipt.id).unwrap());
                });
            }
        });
    }
    let report = audit(&engine);
    assert!(!report.has_loss(), "{report}");
    assert_eq!(figures(&report.numbers()), [21_000, 10_500, 0, 10_500, 0, 0, 0]);
    engine.close().unwrap();
}
