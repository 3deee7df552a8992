//! Repairing directories with real damage: the report is compared with what was really lost, the new directory with
//! what was there, and the damaged files with themselves.

#![allow(clippy::unwrap_used)]

mod common;

use common::child::{self, say};
use common::{assert_says, directory, read_from, small};
use ringlane::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Values by topic, partition and offset.
type Contents = BTreeMap<(String, u32), BTreeMap<u64, Vec<u8>>>;

/// A log of several segments that was closed, and everything that is in it.
struct Log {
    _directory: TempDir,
    path: PathBuf,
    contents: Contents,
    next: BTreeMap<(String, u32), u64>,
}

/// A retention that gives nothing up here.
fn kept() -> Retention {
    Retention::new().retention_ms(1 << 40)
}

const FAR_MS: i64 = 4_000_000_000_000;
const RECORDS: u32 = 120;

/// A value that is found again in the files: no other has these bytes, at this length.
fn value(number: u32) -> Vec<u8> {
    let mut value = format!("<record {number:05}>").into_bytes();
    value.resize(40 << 10, b'a' + (number % 26) as u8);
    value
}

fn make() -> Log {
    make_with(small())
}

fn make_with(options: Options) -> Log {
    let directory = directory();
    let path = directory.path().join("damaged");
    let engine = Engine::open(&path, options).unwrap();
    let gone = engine.create_topic("gone", TopicOptions::new().partitions(3)).unwrap();
    let orders = engine.create_topic("orders", TopicOptions::new().partitions(2)).unwrap();
    let audit = engine.create_topic("audit", TopicOptions::new()).unwrap();
    engine.create_topic("empty", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let send = |topic: &Topic, record: Record<'_>| producer.send(topic, record).unwrap().wait().unwrap();
    send(&gone, Record::new(b"deleted with its topic"));
    engine.delete_topic("gone").unwrap();
    send(&orders, Record::new(b"far").partition(1).visible_at(FAR_MS));
    let cancelled = send(&orders, Record::new(b"cancelled").partition(1).visible_at(FAR_MS));
    producer.cancel(cancelled.id).unwrap();
    // One that was delayed and became visible: its bytes are elsewhere than its offset.
    let soon = send(&audit, Record::new(b"<soon>").visible_at(FAR_MS));
    for number in 0..RECORDS {
        let headers = [Header { name: "n", value: &number.to_le_bytes() }];
        let value = value(number);
        let record = Record::new(&value).key(b"key").headers(&headers).timestamp_ms(i64::from(number));
        match number % 3 {
            0 => send(&audit, record),
            one_or_two => send(&orders, record.partition(one_or_two - 1)),
        };
        if number == RECORDS / 2 {
            engine.delete_records(&orders, 0, 3).unwrap();
            engine.set_retention("audit", kept()).unwrap();
            engine.publish_withheld(soon.id, &[Header { name: "why", value: b"now" }]).unwrap();
        }
    }
    engine.close().unwrap();
    drop((producer, engine));
    // A second generation.
    let engine = Engine::open(&path, small()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let orders = engine.topic("orders").unwrap();
    producer.send(&orders, Record::new(b"<record of the second generation>").partition(0)).unwrap().wait().unwrap();
    let (contents, next) = read_all(&engine);
    engine.close().unwrap();
    Log { _directory: directory, path, contents, next }
}

fn read_all(engine: &Engine) -> (Contents, BTreeMap<(String, u32), u64>) {
    let (mut contents, mut next) = (Contents::new(), BTreeMap::new());
    for topic in engine.topics() {
        for partition in 0..topic.partitions() {
            let place = (topic.name().to_owned(), partition);
            let records = read_from(engine, &topic, partition, Start::Beginning).into_iter().collect();
            next.insert(place.clone(), topic.partition_info(partition).unwrap().next_offset);
            contents.insert(place, records);
        }
    }
    (contents, next)
}

fn snapshot(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|file| (file.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(file).unwrap()))
        .collect()
}

fn find_in(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

impl Log {
    fn target(&self) -> PathBuf {
        self.path.with_file_name("repaired")
    }

    /// The segment file that holds a value, and where.
    fn find(&self, needle: &[u8]) -> (PathBuf, usize) {
        let files = snapshot(&self.path);
        let mut found = files.iter().filter(|(name, _)| name.starts_with("segment") && !name.ends_with(".index"));
        let (name, at) = found.find_map(|(name, bytes)| find_in(bytes, needle).map(|at| (name, at))).unwrap();
        (self.path.join(name), at)
    }

    fn change(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(file).unwrap();
        change(&mut bytes);
        std::fs::write(file, bytes).unwrap();
    }

    /// Repairs, and compares everything: the damaged files stay, exactly `lost` is lost and reported, what is left has
    /// the offsets that the report says, and the new log goes on.
    fn repair_and_check(&self, lost: &BTreeSet<(String, u32, u64)>) -> RepairReport {
        let before = snapshot(&self.path);
        let report = repair(&self.path, self.target(), small(), &mut |_| {}).unwrap();
        assert!(snapshot(&self.path) == before, "the damaged directory was changed");
        let reported: BTreeSet<(String, u32, u64)> = report
            .lost
            .iter()
            .flat_map(|hole| (hole.first..=hole.last).map(|offset| (hole.topic.clone(), hole.partition, offset)))
            .collect();
        assert_eq!(&reported, lost);
        let mut expected = self.contents.clone();
        for (topic, partition, offset) in lost {
            expected.get_mut(&(topic.clone(), *partition)).unwrap().remove(offset).unwrap();
        }
        for ((topic, partition), records) in &mut expected {
            let new_offset = |offset: u64| {
                let moved = report.moved.iter().find(|moved| {
                    (&moved.topic, moved.partition) == (topic, *partition)
                        && (moved.first..=moved.last).contains(&offset)
                });
                moved.map_or(offset, |moved| moved.new_first + (offset - moved.first))
            };
            *records = records.iter().map(|(offset, value)| (new_offset(*offset), value.clone())).collect();
        }
        assert!(!verify(self.target(), &mut |_| {}).unwrap().is_damaged());
        // Twice, so that what opening makes of it is read as well.
        for round in 0..2 {
            let engine = Engine::open(self.target(), small()).unwrap();
            let (contents, next) = read_all(&engine);
            assert!(contents == expected, "round {round}: {:?}", offsets_of(&contents));
            assert_eq!(next, self.next, "the next offsets are what they were");
            assert_eq!(engine.stats().withheld_records, report.withheld_records);
            assert_eq!(engine.topic("audit").unwrap().retention(), kept());
            engine.close().unwrap();
        }
        let engine = Engine::open(self.target(), small()).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for ((topic, partition), next) in &self.next {
            let topic = engine.topic(topic).unwrap();
            let receipt = producer.send(&topic, Record::new(b"on").partition(*partition)).unwrap().wait().unwrap();
            assert_eq!(receipt.offset, Some(*next));
        }
        engine.close().unwrap();
        assert_eq!(report.records as usize, expected.values().map(BTreeMap::len).sum::<usize>());
        report
    }
}

fn offsets_of(contents: &Contents) -> BTreeMap<&(String, u32), Vec<u64>> {
    contents.iter().map(|(place, records)| (place, records.keys().copied().collect())).collect()
}

/// Where the record with this number is.
fn place_of(log: &Log, number: u32) -> (String, u32, u64) {
    let wanted = value(number);
    let places = log.contents.iter().flat_map(|((topic, partition), records)| {
        records.iter().map(move |(offset, value)| (topic, *partition, *offset, value))
    });
    let found = places.into_iter().find(|(_, _, _, value)| **value == wanted).unwrap();
    (found.0.clone(), found.1, found.2)
}

fn damage_findings(report: &RepairReport) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.severity == Severity::Damage).collect()
}

#[test]
fn a_whole_directory_comes_through_as_it_was() {
    let log = make();
    let report = log.repair_and_check(&BTreeSet::new());
    assert!(!report.is_missing_something() && report.moved.is_empty(), "{report:?}");
    assert_eq!((report.topics, report.partitions, report.withheld_records), (3, 4, 1));
    // Keys, headers, timestamps, and the due time of what is delayed.
    let engine = Engine::open(log.target(), small()).unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&engine.topic("audit").unwrap(), 0, Start::Beginning).unwrap();
    let mut seen = 0;
    loop {
        let records = consumer.poll(Duration::ZERO).unwrap();
        if records.is_empty() {
            break;
        }
        for record in records.iter() {
            let headers: Vec<_> = record.headers().map(|header| (header.name, header.value.to_vec())).collect();
            if record.value() == Some(b"<soon>") {
                assert_eq!(headers, [("why", b"now".to_vec())], "what its publication added");
                continue;
            }
            if let [("n", number)] = &headers[..] {
                let number = u32::from_le_bytes(number[..].try_into().unwrap());
                assert_eq!((record.key(), record.timestamp_ms()), (Some(&b"key"[..]), i64::from(number)));
                assert_eq!(record.value(), Some(&value(number)[..]));
                seen += 1;
            }
        }
    }
    assert_eq!(seen, RECORDS / 3);
    engine.close().unwrap();
    let segments = inspect(log.target()).unwrap().segments;
    let mut due = Vec::new();
    for segment in segments.iter().filter(|segment| segment.state == "sealed" || segment.state == "live") {
        inspect_frames(log.target(), &segment.file, &mut |frame| {
            due.extend(frame.due_ms);
            true
        })
        .unwrap();
    }
    assert_eq!(due, [FAR_MS]);
}

#[test]
fn every_lane_is_repaired() {
    let log = make_with(small().lanes(Some(3)));
    let mut lost = BTreeSet::new();
    for number in [30, 31, 32] {
        let (file, at) = log.find(format!("<record {number:05}>").as_bytes());
        log.change(&file, |bytes| bytes[at] ^= 1);
        lost.insert(place_of(&log, number));
    }
    log.repair_and_check(&lost);
    assert_eq!(inspect(log.target()).unwrap().manifest.lanes, 3);
}

#[test]
fn a_missing_segment_is_a_hole_of_exactly_its_records() {
    let log = make();
    let (file, _) = log.find(b"<record 00050>");
    let bytes = std::fs::read(&file).unwrap();
    let mut lost: BTreeSet<_> = (0..RECORDS)
        .filter(|number| find_in(&bytes, format!("<record {number:05}>").as_bytes()).is_some())
        .map(|number| place_of(&log, number))
        .collect();
    assert!(lost.len() > 10 && lost.len() < RECORDS as usize / 2, "{}", lost.len());
    // The publication of a delayed record stood there too. Its bytes stand elsewhere, and nothing says any more
    // whether it was published or cancelled.
    let audit = log.contents[&("audit".to_owned(), 0)].iter();
    let soon = audit.clone().find(|(_, value)| **value == b"<soon>").unwrap().0;
    lost.insert(("audit".to_owned(), 0, *soon));
    std::fs::remove_file(&file).unwrap();
    assert_says(&Engine::open(&log.path, small()).unwrap_err(), "damaged", &["missing"]);
    let report = log.repair_and_check(&lost);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(damage_findings(&report).iter().any(|finding| finding.file == name), "{report:?}");
    // Records before the hole moved up by its length; those behind it stayed.
    let moved = report.moved.iter().find(|moved| moved.topic == "audit").unwrap();
    let hole = report.lost.iter().find(|lost| lost.topic == "audit").unwrap();
    assert_eq!((moved.first, moved.last), (0, hole.first - 1));
    assert_eq!(moved.new_first, hole.last - hole.first + 1);
}

#[test]
fn damaged_frames_are_single_holes() {
    let log = make();
    let mut lost = BTreeSet::new();
    // The body of one, the header of another, in different segments, and the first record of a partition.
    for (number, back) in [(2, 0), (40, 0), (70, 60), (100, 0)] {
        let (file, at) = log.find(format!("<record {number:05}>").as_bytes());
        // A record has a header of 16 bytes, sizes, key and headers; before it stands the frame's, of 56.
        log.change(&file, |bytes| bytes[at - back] ^= 0x40);
        lost.insert(place_of(&log, number));
    }
    let report = log.repair_and_check(&lost);
    assert_eq!(damage_findings(&report).len(), 4, "{:?}", report.findings);
    assert!(report.is_missing_something());
}

/// Nothing behind it says which offset it had, but its own header does.
#[test]
fn the_last_record_of_a_partition() {
    let log = make();
    let (file, at) = log.find(b"<record of the second generation>");
    log.change(&file, |bytes| bytes[at] ^= 1);
    let last = log.next[&("orders".to_owned(), 0)] - 1;
    let report = log.repair_and_check(&BTreeSet::from([("orders".to_owned(), 0, last)]));
    assert_eq!(report.moved.len(), 1, "{:?}", report.moved);
}

#[test]
fn a_publication_whose_record_is_lost_and_a_delayed_record_that_is_lost() {
    let log = make();
    let (file, at) = log.find(b"<soon>");
    log.change(&file, |bytes| bytes[at] ^= 1);
    let (file, at) = log.find(b"far");
    log.change(&file, |bytes| bytes[at] ^= 1);
    let audit = ("audit".to_owned(), 0);
    let (offset, _) = log.contents[&audit].iter().find(|(_, value)| **value == b"<soon>").unwrap();
    let report = log.repair_and_check(&BTreeSet::from([("audit".to_owned(), 0, *offset)]));
    assert_eq!((report.withheld_records, report.withheld_lost), (0, 1));
}

#[test]
fn a_damaged_copy_of_the_manifest_and_damaged_indexes_cost_nothing() {
    let log = make();
    log.change(&log.path.join("manifest-b"), |bytes| bytes.fill(0xee));
    let sidecars: Vec<String> = snapshot(&log.path).into_keys().filter(|name| name.ends_with(".index")).collect();
    log.change(&log.path.join(&sidecars[0]), |bytes| bytes[100] ^= 1);
    std::fs::remove_file(log.path.join(&sidecars[1])).unwrap();
    let report = log.repair_and_check(&BTreeSet::new());
    assert!(!report.is_missing_something(), "{report:?}");
    // An index that the engine had not made yet when it was closed may be among them.
    let files: BTreeSet<&str> = report.findings.iter().map(|finding| &*finding.file).collect();
    assert!(files.is_superset(&BTreeSet::from(["manifest", &sidecars[0], &sidecars[1]])), "{files:?}");
}

#[test]
fn without_a_manifest_nothing_can_be_repaired() {
    let log = make();
    for name in ["manifest-a", "manifest-b"] {
        log.change(&log.path.join(name), |bytes| bytes[40] ^= 1);
    }
    let error = repair(&log.path, log.target(), small(), &mut |_| {}).unwrap_err();
    assert_says(&error, "damaged", &["manifest"]);
    assert!(!log.target().exists());
}

#[test]
fn a_torn_tail_is_no_hole() {
    let log = make();
    // As a crash leaves it: something behind the end that no frame vouches for.
    let (file, at) = log.find(b"<record of the second generation>");
    log.change(&file, |bytes| {
        let behind = at + (8 << 10);
        bytes[behind..behind + 64].fill(0xaa);
    });
    let report = log.repair_and_check(&BTreeSet::new());
    assert!(!report.is_missing_something(), "{report:?}");
}

#[test]
fn what_is_in_use_or_not_empty_is_left_alone() {
    let log = make();
    std::fs::create_dir(log.target()).unwrap();
    std::fs::write(log.target().join("mine"), b"keep").unwrap();
    let error = repair(&log.path, log.target(), small(), &mut |_| {}).unwrap_err();
    assert_says(&error, "invalid-directory", &["not empty"]);
    assert_eq!(std::fs::read(log.target().join("mine")).unwrap(), b"keep");
    std::fs::remove_file(log.target().join("mine")).unwrap();
    let engine = Engine::open(&log.path, small()).unwrap();
    let error = repair(&log.path, log.target(), small(), &mut |_| {}).unwrap_err();
    assert_says(&error, "locked", &[]);
    engine.close().unwrap();
    // An empty directory will do.
    repair(&log.path, log.target(), small(), &mut |_| {}).unwrap();
    let error = repair(log.path.with_file_name("nothing"), log.path.with_file_name("new"), small(), &mut |_| {});
    assert_says(&error.unwrap_err(), "invalid-directory", &[]);
}

/// In a child, whose file systems nobody else sees: repairs onto a small one.
fn repair_without_space(argument: &str) {
    let (source, place) = argument.split_once('|').unwrap();
    let place_name = std::ffi::CString::new(place).unwrap();
    // SAFETY: all texts live as long as the calls.
    let mounted = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
            && libc::mount(c"none".as_ptr(), place_name.as_ptr(), c"tmpfs".as_ptr(), 0, c"size=6m".as_ptr().cast()) == 0
    };
    if !mounted {
        return say("cannot mount");
    }
    let target = Path::new(place).join("repaired");
    match repair(source, &target, small(), &mut |_| {}) {
        Ok(_) => say("repaired"),
        Err(error) => say(&format!("{} {} left", error.code(), std::fs::read_dir(place).unwrap().count())),
    }
}

/// Runs what this process was started for, if it is a child.
#[test]
#[ignore = "run by another test"]
fn child() {
    let Some((_, argument)) = child::order() else { return };
    repair_without_space(&argument);
}

#[test]
fn a_target_without_space_is_an_error_and_leaves_nothing() {
    let log = make();
    let place = log.path.with_file_name("small");
    std::fs::create_dir(&place).unwrap();
    let before = snapshot(&log.path);
    let argument = format!("{}|{}", log.path.display(), place.display());
    let said = child::start("repair", &argument).hear().unwrap();
    if said == "cannot mount" {
        return eprintln!("not tried: no small file system can be mounted here");
    }
    assert_eq!(said, "no-space 0 left");
    assert!(snapshot(&log.path) == before, "the damaged directory was changed");
}
