//! Another number of lanes, up and down: nothing is lost, nothing comes twice, and whoever reads sees no border.

#![allow(clippy::unwrap_used)]

mod common;

use common::ledger::PATIENCE;
use common::storage::{is_segment, open_faulty};
use common::watchdog::watchdog;
use common::{copy_of_a_moment, directory, drain, read_from, small};
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::*;
use std::path::Path;
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 5;
/// Records that are never due during a test.
const LATER: Duration = Duration::from_secs(1_000_000);

/// What an engine must hold, and what it must not show yet.
#[derive(Default)]
struct Model {
    /// By partition and offset.
    held: [Vec<Vec<u8>>; PARTITIONS as usize],
    withheld: Vec<(u32, Vec<u8>, RecordId)>,
    next: u64,
}

impl Model {
    /// Values of many sizes; a large one every now and then, so that segments fill.
    fn value(&mut self) -> Vec<u8> {
        self.next += 1;
        let bytes = if self.next.is_multiple_of(7) { 90_000 } else { 10 + self.next as usize % 900 };
        common::ledger::value(self.next, bytes)
    }

    /// Sends to all partitions. The timestamp of a record is its number in its partition.
    fn send(&mut self, engine: &Engine, rounds: usize) {
        let topic = engine.topic("t").unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for _ in 0..rounds {
            for partition in 0..PARTITIONS {
                let value = self.value();
                let record = Record::new(&value).partition(partition).timestamp_ms(self.end(partition) as i64);
                let receipt = producer.send(&topic, record).unwrap().wait().unwrap();
                assert_eq!(receipt.offset, Some(self.end(partition)), "offsets go on across every border");
                self.held[partition as usize].push(value);
            }
        }
    }

    fn end(&self, partition: u32) -> u64 {
        self.held[partition as usize].len() as u64
    }

    /// One withheld record for each partition, sent together so that logs give them the same positions.
    fn withhold(&mut self, engine: &Engine) {
        let topic = engine.topic("t").unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for partition in 0..PARTITIONS {
            let value = self.value();
            let record = Record::new(&value).partition(partition).timestamp_ms(0).visible_after(LATER);
            let receipt = producer.send(&topic, record).unwrap().wait().unwrap();
            self.withheld.push((partition, value, receipt.id));
        }
    }

    /// Publishes the oldest withheld record, and cancels the one after it.
    fn settle_two(&mut self, engine: &Engine) {
        let (partition, value, id) = self.withheld.remove(0);
        engine.publish_withheld(id, &[Header { name: "why", value: b"it was due" }]).unwrap();
        self.held[partition as usize].push(value);
        let (_, _, cancelled) = self.withheld.remove(0);
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        producer.cancel(cancelled).unwrap();
        for gone in [id, cancelled] {
            assert_eq!(producer.cancel(gone), Err(Error::NotWithheld));
            assert_eq!(engine.publish_withheld(gone, &[]), Err(Error::NotWithheld));
        }
    }

    /// Everything, from every place.
    fn check(&self, engine: &Engine) {
        self.check_records(engine);
        assert_eq!(engine.stats().withheld_records, self.withheld.len() as u64);
        assert_eq!(engine.stats().poisoned, None);
    }

    fn check_records(&self, engine: &Engine) {
        let topic = engine.topic("t").unwrap();
        for partition in 0..PARTITIONS {
            let expected = &self.held[partition as usize];
            let all = read_from(engine, &topic, partition, Start::Beginning);
            assert_eq!(all.len(), expected.len(), "partition {partition}");
            for ((offset, value), (at, held)) in all.iter().zip(expected.iter().enumerate()) {
                assert!(*offset == at as u64 && value == held, "partition {partition}, offset {at}");
            }
            for at in
                [0, expected.len().min(1), expected.len() / 3, expected.len() / 2, expected.len().saturating_sub(1)]
            {
                let from = read_from(engine, &topic, partition, Start::Offset(at as u64));
                assert_eq!(from, all[at..], "partition {partition} from offset {at}");
            }
        }
        self.check_all_together(engine, &topic);
    }

    /// One consumer of all partitions reads ahead in several logs at once.
    fn check_all_together(&self, engine: &Engine, topic: &Topic) {
        let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
        for partition in 0..PARTITIONS {
            consumer.assign(topic, partition, Start::Beginning).unwrap();
        }
        let total: usize = self.held.iter().map(Vec::len).sum();
        assert_eq!(drain(&mut consumer).len(), total);
    }

    /// Timestamps rise with the offsets, apart from those of published records, which are zero.
    fn check_timestamps(&self, engine: &Engine) {
        self.check_timestamps_from(engine, 0);
    }

    /// Of the partitions that hold no published record.
    fn check_timestamps_from(&self, engine: &Engine, first: u32) {
        let topic = engine.topic("t").unwrap();
        for partition in first..PARTITIONS {
            let end = self.end(partition);
            for wanted in [1, end / 4, end / 2, end * 3 / 4, end - 1] {
                let found = read_from(engine, &topic, partition, Start::Timestamp(wanted as i64));
                assert_eq!(found[0].0, wanted, "partition {partition} at time {wanted}");
            }
        }
    }
}

/// A new engine with the topic that the model is of.
fn made(path: &Path, lanes: u32) -> Engine {
    let engine = open(path, Some(lanes));
    engine.create_topic("t", TopicOptions::new().partitions(PARTITIONS)).unwrap();
    engine
}

fn open(path: &Path, lanes: Option<u32>) -> Engine {
    let engine = Engine::open(path, small().lanes(lanes)).unwrap();
    if let Some(lanes) = lanes {
        assert_eq!(engine.stats().lanes.len(), lanes as usize);
    }
    engine
}

fn close(engine: Engine) {
    engine.close().unwrap();
}

/// Nothing is damaged, and every log is there.
fn assert_whole(path: &Path) {
    let report = verify(path, &mut |_| {}).unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
    for segment in inspect(path).unwrap().segments {
        let mut problems = Vec::new();
        let is_sealed = segment.state == "sealed";
        inspect_frames(path, &segment.file, &mut |frame| {
            problems.extend(frame.problem);
            true
        })
        .unwrap();
        assert!(!is_sealed || problems.is_empty(), "{segment:?}: {problems:?}");
    }
}

#[test]
fn up_and_down_and_back_with_everything_in_between() {
    let scratch = directory();
    let path = scratch.path();
    let mut model = Model::default();
    let engine = made(path, 1);
    close(engine);
    for (round, lanes) in [1, 4, 1, 3, 2, 7, 7].into_iter().enumerate() {
        let engine = open(path, Some(lanes));
        model.check(&engine);
        model.send(&engine, 4);
        model.withhold(&engine);
        model.settle_two(&engine);
        let other = engine.create_topic(&format!("other-{round}"), TopicOptions::new().partitions(3)).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for partition in 0..3 {
            producer.send(&other, Record::new(&[7; 3_000]).partition(partition)).unwrap().wait().unwrap();
        }
        if round > 1 {
            engine.delete_topic(&format!("other-{}", round - 2)).unwrap();
        }
        model.check(&engine);
        close(engine);
        assert_whole(path);
        // Nobody asks for a number: it stays.
        let engine = open(path, None);
        assert_eq!(engine.stats().lanes.len(), lanes as usize);
        model.check(&engine);
        close(engine);
    }
    let logs = inspect(path).unwrap().manifest;
    assert_eq!((logs.lanes, logs.generations.len()), (7, 7));
    assert!(logs.sealed_logs >= 5, "each of the earlier numbers left something: {logs:?}");
}

/// One lane has written far more than the others; what comes behind must begin behind the furthest.
#[test]
fn logs_of_different_lengths_are_left_together() {
    let scratch = directory();
    let engine = open(scratch.path(), Some(3));
    let topic = engine.create_topic("t", TopicOptions::new().partitions(3)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let large: Vec<Vec<u8>> = (0..60u8).map(|number| vec![number; 100_000]).collect();
    for value in &large {
        producer.send(&topic, Record::new(value).partition(1)).unwrap().wait().unwrap();
    }
    for partition in [0, 2] {
        producer.send(&topic, Record::new(b"small").partition(partition)).unwrap().wait().unwrap();
    }
    close(engine);
    for lanes in [1, 3] {
        let engine = open(scratch.path(), Some(lanes));
        let topic = engine.topic("t").unwrap();
        assert_eq!(common::values(&engine, &topic, 1), large, "{lanes} lanes");
        assert_eq!(common::values(&engine, &topic, 2), [b"small"]);
        close(engine);
        assert_whole(scratch.path());
    }
}

/// Nobody closed the engine before, and records were on their way to be sealed.
#[test]
fn an_engine_that_was_killed_is_opened_with_another_number() {
    let scratch = directory();
    let mut model = Model::default();
    let engine = made(scratch.path(), 3);
    model.send(&engine, 30);
    model.withhold(&engine);
    engine.sync().unwrap();
    for lanes in [1, 2, 5] {
        let killed = copy_of_a_moment(scratch.path());
        let engine = open(killed.path(), Some(lanes));
        assert!(!engine.recovery().clean);
        model.check(&engine);
        model.check_timestamps(&engine);
        let again = copy_of_a_moment(killed.path());
        close(engine);
        assert_whole(killed.path());
        let engine = open(again.path(), Some(3));
        model.check(&engine);
        model.check_timestamps(&engine);
        close(engine);
        assert_whole(again.path());
    }
    close(engine);
}

#[test]
fn seeking_by_timestamp_finds_what_stands_on_either_side() {
    let scratch = directory();
    let mut model = Model::default();
    let engine = made(scratch.path(), 2);
    close(engine);
    for lanes in [2, 1, 4] {
        let engine = open(scratch.path(), Some(lanes));
        model.send(&engine, 25);
        model.check_timestamps(&engine);
        close(engine);
    }
    let engine = open(scratch.path(), None);
    model.check_timestamps(&engine);
}

/// They were sent under one lane, are due under three, and are read under two.
#[test]
fn delayed_records_become_visible_in_the_order_of_their_times_under_another_number() {
    let scratch = directory();
    let engine = open(scratch.path(), Some(1));
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    for number in [3u8, 1, 2] {
        let due_ms = now + 1_500 + i64::from(number);
        producer.send(&topic, Record::new(&[number]).visible_at(due_ms)).unwrap().wait().unwrap();
    }
    close(engine);
    let engine = open(scratch.path(), Some(3));
    let topic = engine.topic("t").unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    let (begun, mut seen) = (Instant::now(), Vec::new());
    while seen.len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "only {seen:?}");
        let records = consumer.poll(Duration::from_millis(100)).unwrap();
        seen.extend(records.iter().map(|record| record.value().unwrap()[0]));
    }
    assert_eq!(seen, [1, 2, 3]);
    close(engine);
    let engine = open(scratch.path(), Some(2));
    let values: Vec<_> = common::values(&engine, &engine.topic("t").unwrap(), 0);
    assert_eq!(values, [[1], [2], [3]]);
}

/// The logs that were left hold a topic's records and nothing else. When it goes, they go.
#[test]
fn logs_that_hold_nothing_any_more_leave_the_manifest() {
    let scratch = directory();
    let path = scratch.path();
    let mut model = Model::default();
    for lanes in [2, 3, 1] {
        let engine = open(path, Some(lanes));
        if lanes == 2 {
            engine.create_topic("t", TopicOptions::new().partitions(PARTITIONS)).unwrap();
        }
        model.send(&engine, 20);
        model.withhold(&engine);
        close(engine);
    }
    assert_eq!(inspect(path).unwrap().manifest.sealed_logs, 5);
    let engine = open(path, None);
    engine.delete_topic("t").unwrap();
    let begun = Instant::now();
    while inspect(path).unwrap().manifest.sealed_logs > 0 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", inspect(path).unwrap());
        std::thread::sleep(Duration::from_millis(10));
    }
    let written: Vec<u32> = inspect(path).unwrap().segments.iter().map(|segment| segment.log).collect();
    close(engine);
    assert_whole(path);
    let reserved = inspect(path).unwrap().segments.iter().filter(|segment| segment.state == "reserve").count();
    assert_eq!(reserved, 5, "the reserve is that of the one log, whatever came back: {written:?}");
    let engine = made(path, 4);
    let mut model = Model::default();
    model.send(&engine, 2);
    model.check(&engine);
}

/// Wherever opening breaks off, what is there is the old layout or the new one, whole; and whoever opens next may
/// want either.
#[test]
fn an_opening_that_fails_at_any_step_leaves_one_layout_or_the_other() {
    let scratch = directory();
    let mut model = Model::default();
    let engine = made(scratch.path(), 2);
    model.send(&engine, 8);
    model.withhold(&engine);
    engine.sync().unwrap();
    let killed = copy_of_a_moment(scratch.path());
    close(engine);
    // Where many steps are alike, every so many-th is enough; the simulator's crashes come at each of them.
    let operations = [
        (Operation::Open, 5),
        (Operation::Remove, 3),
        (Operation::SyncDirectory, 3),
        (Operation::Allocate, 3),
        (Operation::Write, 2),
        (Operation::Flush, 1),
    ];
    let mut layouts = [0, 0];
    for (operation, step) in operations {
        for nth in (1..200).step_by(step) {
            let tried = copy_of_a_moment(killed.path());
            let faults = Faults::new();
            faults.arm(Fault::new(operation, Effect::Fail(libc::EIO)).nth(nth));
            let opened = open_faulty(tried.path(), small().lanes(Some(3)), &faults);
            let (hit, succeeded) = (faults.hits() > 0, opened.is_ok());
            if let Ok(engine) = opened {
                let _ = engine.close();
            }
            let found = inspect(tried.path()).unwrap().manifest.lanes;
            layouts[usize::from(found == 3)] += 1;
            assert!(found == 2 || found == 3, "{operation:?} {nth}");
            let engine = open(tried.path(), [None, Some(3), Some(2)][nth as usize / step % 3]);
            model.check(&engine);
            close(engine);
            assert_whole(tried.path());
            if !hit && succeeded {
                break;
            }
        }
    }
    assert!(layouts.iter().all(|count| *count > 3), "both were seen: {layouts:?}");
}

/// More logs need more room. Where it is missing the opening says so, and everything stays.
#[test]
fn a_full_disk_keeps_the_number_it_has_and_may_lower_it() {
    let scratch = directory();
    let path = scratch.path();
    let mut model = Model::default();
    let engine = made(path, 2);
    model.send(&engine, 8);
    model.withhold(&engine);
    close(engine);
    let full = Faults::new();
    full.limit_space(Some(0));
    for _ in 0..3 {
        let refused = open_faulty(path, small().lanes(Some(5)), &full).unwrap_err();
        assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
        assert_eq!(inspect(path).unwrap().manifest.lanes, 2);
        let named: Vec<String> = inspect(path).unwrap().segments.into_iter().map(|segment| segment.file).collect();
        let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        for name in names.filter(|name| is_segment(name)) {
            assert!(named.contains(&name), "{name} was made for a log that never was, and takes space");
        }
        let engine = open_faulty(path, small(), &full).unwrap();
        model.check(&engine);
        close(engine);
        assert_whole(path);
    }
    let engine = open_faulty(path, small().lanes(Some(1)), &full).unwrap();
    assert_eq!(engine.stats().lanes.len(), 1);
    model.check(&engine);
    close(engine);
    assert_whole(path);
    let reserved = inspect(path).unwrap().segments.iter().filter(|segment| segment.state == "reserve").count();
    assert!(reserved >= 3, "what the old logs had in reserve is the new one's: {reserved}");
    // With room again everything goes on.
    let engine = open(path, Some(5));
    model.send(&engine, 2);
    model.check(&engine);
}

/// Opening reads nothing of the logs that were left, and yet it knows that something of them is gone.
#[test]
fn a_missing_file_of_a_log_that_was_left_is_damage() {
    let scratch = directory();
    let mut model = Model::default();
    let engine = made(scratch.path(), 2);
    model.send(&engine, 3);
    close(engine);
    close(open(scratch.path(), Some(1)));
    let segments = inspect(scratch.path()).unwrap().segments;
    let old = segments.iter().find(|segment| segment.state == "sealed" && segment.log == 0).unwrap();
    let (there, away) = (scratch.path().join(&old.file), scratch.path().join(".away"));
    std::fs::rename(&there, &away).unwrap();
    for lanes in [None, Some(2)] {
        let refused = Engine::open(scratch.path(), small().lanes(lanes)).unwrap_err();
        common::assert_says(&refused, "damaged", &[&old.file, "missing"]);
    }
    std::fs::rename(away, there).unwrap();
    model.check(&open(scratch.path(), Some(2)));
}

/// Who reads from outside reads the logs that were left as well; and when the number changes below it, it is told to
/// open anew.
#[test]
fn reading_from_outside_crosses_the_border() {
    let _watchdog = watchdog(120, "reading from outside");
    let scratch = directory();
    let path = scratch.path();
    let mut model = Model::default();
    let engine = made(path, 3);
    model.send(&engine, 15);
    model.withhold(&engine);
    close(engine);
    let reader = Engine::open_read_only(path, small()).unwrap();
    model.check_records(&reader);
    let engine = open(path, Some(2));
    let told = reader.refresh().unwrap_err();
    common::assert_says(&told, "invalid-directory", &["open it again"]);
    let reader = Engine::open_read_only(path, small()).unwrap();
    model.settle_two(&engine);
    model.send(&engine, 15);
    let topic = reader.topic("t").unwrap();
    let end_of = |partition| topic.partition_info(partition).unwrap().next_offset;
    while (0..PARTITIONS).any(|partition| end_of(partition) < model.end(partition)) {
        reader.refresh().unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    model.check_records(&reader);
    model.check_timestamps_from(&reader, 2);
    // The logs that were left lose their segments while somebody reads.
    engine.delete_topic("t").unwrap();
    while inspect(path).unwrap().manifest.sealed_logs > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    while reader.topic("t").is_ok() {
        reader.refresh().unwrap();
    }
    close(engine);
}

/// Salvage changes nothing, so it reads what is there with the number of lanes that there is.
#[test]
fn salvage_takes_the_number_that_it_finds() {
    let scratch = directory();
    let mut model = Model::default();
    let engine = made(scratch.path(), 3);
    model.send(&engine, 3);
    close(engine);
    let engine = open(scratch.path(), Some(2));
    model.send(&engine, 3);
    close(engine);
    let before = std::fs::read(scratch.path().join("manifest-a")).unwrap();
    let engine = Engine::open(scratch.path(), small().lanes(Some(4)).recovery(Recovery::Salvage)).unwrap();
    let topic = engine.topic("t").unwrap();
    for partition in 0..PARTITIONS {
        let values = common::values(&engine, &topic, partition);
        assert_eq!(values, model.held[partition as usize]);
    }
    drop(engine);
    assert_eq!(std::fs::read(scratch.path().join("manifest-a")).unwrap(), before);
}
