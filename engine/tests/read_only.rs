//! Reading from outside: another `Engine` on the same directory, opened only to be read, while the first one
//! writes, is killed, opens again, or is not there.

#![allow(clippy::unwrap_used)]

mod common;

use common::ring::{Around, open_with_ring};
use common::watchdog::watchdog;
use common::{assert_says, child, directory, drain, read_from, small, values};
use ringlane::io::{Completion, Ring, Wait, Write};
use ringlane::*;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Refreshes until something is seen. A watchdog ends what never comes.
fn until(reader: &Engine, mut seen: impl FnMut(&Engine) -> bool) {
    loop {
        reader.refresh().unwrap();
        if seen(reader) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn next_offset(engine: &Engine, topic: &str) -> Option<u64> {
    Some(engine.topic(topic).ok()?.partition_info(0).unwrap().next_offset)
}

fn send(engine: &Engine, topic: &str, values: impl IntoIterator<Item = String>) {
    let topic = engine.topic(topic).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let handles: Vec<_> = values
        .into_iter()
        .map(|value| producer.send(&topic, Record::new(value.as_bytes()).partition(0)).unwrap())
        .collect();
    handles.into_iter().for_each(|handle| drop(handle.wait().unwrap()));
}

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| format!("{number:06}"))
}

/// Values that fill a segment soon.
fn large(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| format!("{number:06}{}", "x".repeat(60_000)))
}

fn names(path: &Path) -> BTreeSet<String> {
    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn it_follows_a_writer() {
    let _watchdog = watchdog(120, "following");
    let directory = directory();
    let writer = Engine::open(directory.path(), small().lanes(Some(2))).unwrap();
    let reader = Engine::open_read_only(directory.path(), small()).unwrap();
    assert!(reader.topics().is_empty(), "opened before any record");
    writer.create_topic("t", TopicOptions::new().partitions(3)).unwrap();
    send(&writer, "t", numbered(0..10));
    until(&reader, |reader| next_offset(reader, "t") == Some(10));
    let topic = reader.topic("t").unwrap();
    assert_eq!((topic.partitions(), topic.id()), (3, writer.topic("t").unwrap().id()));
    let mut consumer = reader.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign_all(&topic, Start::Beginning).unwrap();
    assert_eq!(drain(&mut consumer).len(), 10);
    // A consumer that waits looks for news by itself; so does one that does not, now and then.
    send(&writer, "t", ["news".to_owned()]);
    let records = consumer.poll(Duration::from_secs(100)).unwrap();
    assert_eq!(records.iter().map(|record| record.value().unwrap().to_vec()).collect::<Vec<_>>(), [b"news"]);
    send(&writer, "t", ["more".to_owned()]);
    while drain(&mut consumer).is_empty() {
        std::thread::yield_now();
    }
    // Records of a topic on one lane are durable while its creation, on the other, is not yet known to be.
    writer.create_topic("u", TopicOptions::new().partitions(2)).unwrap();
    let producer = writer.producer(ProducerOptions::new()).unwrap();
    let other = writer.topic("u").unwrap();
    (0..2).for_each(|partition| {
        producer.send(&other, Record::new(b"x").partition(partition)).unwrap().wait().unwrap();
    });
    until(&reader, |reader| {
        let Ok(topic) = reader.topic("u") else { return false };
        (0..2).all(|partition| topic.partition_info(partition).unwrap().next_offset == 1)
    });
    writer.delete_topic("t").unwrap();
    until(&reader, |reader| reader.topic("t").is_err());
    assert_says(&consumer.poll(Duration::ZERO).unwrap_err(), "topic-deleted", &["`t`"]);
    writer.create_topic("t", TopicOptions::new()).unwrap();
    until(&reader, |reader| reader.topic("t").is_ok_and(|again| again.id() != topic.id()));
    assert_eq!(next_offset(&reader, "t"), Some(0));
    let stats = reader.stats();
    let outside = stats.outside.unwrap();
    assert_eq!((stats.lanes.len(), outside.logs.len(), stats.topics), (0, 2, 2));
    assert!(outside.logs.iter().all(|log| log.durable > 0 && log.read_to >= log.durable), "{outside:?}");
    reader.close().unwrap();
    assert_eq!(reader.refresh().unwrap_err().code(), "closed");
    assert!(writer.stats().outside.is_none());
    writer.close().unwrap();
}

#[test]
fn it_can_only_be_read_and_leaves_no_trace() {
    let directory = directory();
    let writer = Engine::open(directory.path(), small()).unwrap();
    writer.create_topic("t", TopicOptions::new()).unwrap();
    send(&writer, "t", numbered(0..3));
    writer.close().unwrap();
    fs::remove_file(directory.path().join("lock")).unwrap();
    let before: Vec<_> = names(directory.path())
        .into_iter()
        .map(|name| (fs::read(directory.path().join(&name)).unwrap(), name))
        .collect();
    let reader = Engine::open_read_only(directory.path(), small()).unwrap();
    assert!(reader.recovery().clean);
    assert_eq!(values(&reader, &reader.topic("t").unwrap(), 0).len(), 3);
    let refused = [
        reader.producer(ProducerOptions::new()).map(drop),
        reader.create_topic("u", TopicOptions::new()).map(drop),
        reader.delete_topic("t"),
        reader.sync(),
    ];
    for result in refused {
        let words = ["was opened read-only", "can only be read", "Engine::open"];
        assert_says(&result.unwrap_err(), "read-only", &words);
    }
    let after: Vec<_> = names(directory.path())
        .into_iter()
        .map(|name| (fs::read(directory.path().join(&name)).unwrap(), name))
        .collect();
    assert!(before == after, "something was written");
}

/// What a ring holds back.
#[derive(Default)]
struct Holding {
    /// Completions: what was written is on the disk, and the lane does not know.
    completions: AtomicBool,
    /// Writes: they are not even started.
    writes: AtomicBool,
}

/// Lets everything go at the end, also of a test that fails: closing waits for writes in flight.
struct Release(Arc<Holding>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.completions.store(false, Ordering::SeqCst);
        self.0.writes.store(false, Ordering::SeqCst);
    }
}

struct HoldingRing {
    holding: Arc<Holding>,
    completions: Vec<Completion>,
    writes: Vec<Write>,
}

impl HoldingRing {
    fn new(holding: Arc<Holding>) -> HoldingRing {
        HoldingRing { holding, completions: Vec::new(), writes: Vec::new() }
    }
}

impl Around for HoldingRing {
    fn write(&mut self, _: &mut dyn Ring, write: Write) {
        self.writes.push(write);
    }
    fn turn(&mut self, inner: &mut dyn Ring, wait: Wait, completions: &mut Vec<Completion>) -> std::io::Result<()> {
        let is_held = |held: &AtomicBool| held.load(Ordering::SeqCst);
        if !is_held(&self.holding.writes) {
            self.writes.drain(..).for_each(|write| inner.write(write));
        }
        // Nobody wakes the lane when it may go on.
        let looks_again = is_held(&self.holding.completions) || !self.completions.is_empty() || !self.writes.is_empty();
        inner.turn(if looks_again { Wait::No } else { wait }, &mut self.completions)?;
        if !is_held(&self.holding.completions) {
            completions.append(&mut self.completions);
        }
        Ok(())
    }
}

#[test]
fn what_is_not_known_to_be_durable_is_not_shown() {
    let _watchdog = watchdog(120, "held completions");
    let directory = directory();
    let holding = Arc::new(Holding::default());
    let theirs = holding.clone();
    let wrap = move |_: &dyn Ring| HoldingRing::new(theirs.clone());
    let writer = open_with_ring(directory.path(), small().lanes(Some(1)), wrap).unwrap();
    let _release = Release(holding.clone());
    writer.create_topic("t", TopicOptions::new()).unwrap();
    send(&writer, "t", numbered(0..5));
    let reader = Engine::open_read_only(directory.path(), small()).unwrap();
    until(&reader, |reader| next_offset(reader, "t") == Some(5));
    let read_to = |reader: &Engine| reader.stats().outside.unwrap().logs[0].read_to;
    // The mark that told the reader may still be on its way back to the lane.
    writer.sync().unwrap();
    holding.completions.store(true, Ordering::SeqCst);
    let before = read_to(&reader);
    let topic = writer.topic("t").unwrap();
    let producer = writer.producer(ProducerOptions::new()).unwrap();
    let handle = producer.send(&topic, Record::new(b"in flight")).unwrap();
    until(&reader, |reader| read_to(reader) > before);
    let fresh = Engine::open_read_only(directory.path(), small()).unwrap();
    assert!(read_to(&fresh) > before, "its frame stands there");
    for reader in [&reader, &fresh] {
        assert_eq!(next_offset(reader, "t"), Some(5), "and nobody knows that it stays");
    }
    assert!(!handle.is_done());
    holding.completions.store(false, Ordering::SeqCst);
    handle.wait().unwrap();
    until(&reader, |reader| next_offset(reader, "t") == Some(6));
    writer.close().unwrap();
}

/// The creation of a topic is durable before its first record. But whoever looks at the files may see a proof for the
/// record, which stands in the log of one lane, before one for the creation, which stands in another's.
#[test]
fn records_of_a_topic_that_is_not_known_yet_wait_for_it() {
    let _watchdog = watchdog(120, "held writes");
    let directory = directory();
    let holding = Arc::new(Holding::default());
    let theirs = holding.clone();
    let wrap = move |_: &dyn Ring| {
        let is_first = std::thread::current().name() == Some("ringlane-lane-0");
        HoldingRing::new(if is_first { theirs.clone() } else { Arc::default() })
    };
    let writer = open_with_ring(directory.path(), small().lanes(Some(2)), wrap).unwrap();
    let _release = Release(holding.clone());
    let reader = Engine::open_read_only(directory.path(), small()).unwrap();
    let topic = writer.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    // Before the mark that proves it, mostly.
    holding.writes.store(true, Ordering::SeqCst);
    let producer = writer.producer(ProducerOptions::new()).unwrap();
    let partition = (0..2).find(|partition| topic.partition_info(*partition).unwrap().lane == 1).unwrap();
    for value in ["a", "b"] {
        producer.send(&topic, Record::new(value.as_bytes()).partition(partition)).unwrap().wait().unwrap();
    }
    let durable = writer.stats().lanes[1].durable;
    until(&reader, |reader| reader.stats().outside.unwrap().logs[1].durable >= durable);
    holding.writes.store(false, Ordering::SeqCst);
    until(&reader, |reader| {
        reader.topic("t").is_ok_and(|topic| topic.partition_info(partition).unwrap().next_offset == 2)
    });
    assert_eq!(values(&reader, &reader.topic("t").unwrap(), partition), [b"a", b"b"]);
    writer.close().unwrap();
}

/// Segments are filled, sealed, freed with their topic and used again, while a reader stands in them.
#[test]
fn files_that_are_used_again_are_no_damage() {
    let _watchdog = watchdog(300, "files used again");
    let directory = directory();
    let options = || small().lanes(Some(1)).segments_recycled_max(8);
    let writer = Engine::open(directory.path(), options()).unwrap();
    writer.create_topic("kept", TopicOptions::new()).unwrap();
    let reader = Engine::open_read_only(directory.path(), small()).unwrap();
    let mut kept = 0;
    for round in 0..6 {
        let name = format!("gone-{round}");
        writer.create_topic(&name, TopicOptions::new()).unwrap();
        send(&writer, &name, large(0..80));
        send(&writer, "kept", numbered(kept..kept + 10));
        kept += 10;
        until(&reader, |reader| next_offset(reader, &name) == Some(80));
        let topic = reader.topic(&name).unwrap();
        let options = ConsumerOptions::new().max_poll_records(1).read_ahead_bytes_max(64 << 10);
        let mut consumer = reader.consumer(options).unwrap();
        consumer.assign(&topic, 0, Start::Beginning).unwrap();
        let first = consumer.poll(Duration::from_secs(100)).unwrap();
        assert_eq!(first.iter().next().unwrap().offset(), 0);
        writer.delete_topic(&name).unwrap();
        // Fills what was freed.
        writer.create_topic("filler", TopicOptions::new()).unwrap();
        send(&writer, "filler", large(0..100));
        writer.delete_topic("filler").unwrap();
        let mut next = 1;
        let error = loop {
            match consumer.poll(Duration::ZERO) {
                Err(error) => break error,
                Ok(records) => records.iter().for_each(|record| {
                    assert_eq!(record.offset(), next);
                    assert!(record.value().unwrap().starts_with(format!("{next:06}").as_bytes()));
                    next += 1;
                }),
            }
        };
        assert_says(&error, "topic-deleted", &[&name]);
        until(&reader, |reader| next_offset(reader, "kept") == Some(u64::from(kept)));
        assert_eq!(values(&reader, &reader.topic("kept").unwrap(), 0).len(), kept as usize);
    }
    let used_again = inspect(directory.path()).unwrap().segments;
    assert!(used_again.len() < 40, "files were used again: {}", used_again.len());
    writer.close().unwrap();
}

/// Records are given up while a reader stands in them: it is told up to where, whether it knew the segment or not.
#[test]
fn records_that_are_given_up_are_truncated() {
    let _watchdog = watchdog(300, "records given up");
    let directory = directory();
    let writer = Engine::open(directory.path(), small().lanes(Some(1)).segments_recycled_max(8)).unwrap();
    let topic = writer.create_topic("t", TopicOptions::new()).unwrap();
    let reader = Engine::open_read_only(directory.path(), small()).unwrap();
    let mut sent = 0;
    for round in 1..=5 {
        send(&writer, "t", large(sent..sent + 100));
        sent += 100;
        until(&reader, |reader| next_offset(reader, "t") == Some(u64::from(sent)));
        let theirs = reader.topic("t").unwrap();
        let first = theirs.partition_info(0).unwrap().first_offset;
        let options = ConsumerOptions::new().max_poll_records(1).read_ahead_bytes_max(64 << 10);
        let mut consumer = reader.consumer(options).unwrap();
        consumer.assign(&theirs, 0, Start::Beginning).unwrap();
        assert_eq!(consumer.poll(Duration::from_secs(100)).unwrap().iter().next().unwrap().offset(), first);
        let kept_from = u64::from(sent) - 10;
        assert_eq!(writer.delete_records(&topic, 0, kept_from).unwrap(), kept_from);
        // Fills what was freed.
        send(&writer, "t", large(sent..sent + 60));
        sent += 60;
        // It reads what it has found already, and is told where that ends; or it was fast enough to read all.
        let to = loop {
            match consumer.poll(Duration::ZERO) {
                Ok(_) => {}
                Err(Error::Truncated { to, .. }) => {
                    assert_eq!(to, kept_from, "round {round}");
                    consumer.seek(&theirs, 0, Start::Offset(to)).unwrap();
                    break to;
                }
                Err(error) => panic!("round {round}: {error}"),
            }
            let position = consumer.position(&theirs, 0).unwrap();
            if position >= kept_from {
                break position;
            }
        };
        until(&reader, |reader| reader.topic("t").unwrap().partition_info(0).unwrap().first_offset == kept_from);
        let error = consumer.seek(&theirs, 0, Start::Offset(kept_from - 1)).unwrap_err();
        assert!(matches!(error, Error::Truncated { to, .. } if to == kept_from), "{error}");
        until(&reader, |reader| next_offset(reader, "t") == Some(u64::from(sent)));
        let mut next = to;
        while next < u64::from(sent) {
            for record in &consumer.poll(Duration::from_secs(100)).unwrap() {
                assert_eq!(record.offset(), next);
                next += 1;
            }
        }
    }
    writer.set_retention("t", Retention::new().retention_bytes(77)).unwrap();
    until(&reader, |reader| reader.topic("t").unwrap().retention() == Retention::new().retention_bytes(77));
    assert_eq!(reader.delete_records(&topic, 0, 1).unwrap_err().code(), "read-only");
    writer.close().unwrap();
}

/// Most is in sealed segments, whose indexes are gone: they are made in memory.
#[test]
fn indexes_that_are_missing_are_made_in_memory() {
    let _watchdog = watchdog(120, "missing indexes");
    let directory = directory();
    let writer = Engine::open(directory.path(), small().lanes(Some(1))).unwrap();
    writer.create_topic("t", TopicOptions::new()).unwrap();
    send(&writer, "t", large(0..100));
    let is_index = |name: &String| name.ends_with(".index");
    let reader = Engine::open_read_only(directory.path(), small()).unwrap();
    until(&reader, |reader| next_offset(reader, "t") == Some(100));
    writer.close().unwrap();
    names(directory.path()).iter().filter(|name| is_index(name)).for_each(|name| {
        fs::remove_file(directory.path().join(name)).unwrap();
    });
    let before = names(directory.path());
    let fresh = Engine::open_read_only(directory.path(), small()).unwrap();
    for reader in [&reader, &fresh] {
        let topic = reader.topic("t").unwrap();
        assert_eq!(values(reader, &topic, 0).len(), 100);
        assert_eq!(read_from(reader, &topic, 0, Start::Offset(30))[0].0, 30);
        assert_eq!(read_from(reader, &topic, 0, Start::Timestamp(0)).len(), 100);
    }
    assert_eq!(names(directory.path()), before);
}

/// A child: writes until it is killed, and says each receipt.
fn write(path: &Path) {
    let engine = Engine::open(path, small()).unwrap();
    if engine.topics().is_empty() {
        engine.create_topic("t", TopicOptions::new()).unwrap();
    }
    let topic = engine.topic("t").unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    child::say("open");
    for number in 0.. {
        let value = format!("{number} of {}{}", std::process::id(), "x".repeat(5_000));
        let receipt = producer.send(&topic, Record::new(value.as_bytes())).unwrap().wait().unwrap();
        child::say(&format!("{}", receipt.offset.unwrap()));
    }
}

/// Writers are killed and others go on, while one reader stays: no offset ever changes, and what was
/// acknowledged is there as soon as the next writer has opened.
#[test]
fn a_reader_outlives_its_writers() {
    let _watchdog = watchdog(300, "killed writers");
    let directory = directory();
    let mut reader: Option<(Engine, Consumer)> = None;
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for life in 1..=5 {
        let mut writer = child::start("write", directory.path().to_str().unwrap());
        assert_eq!(writer.hear().as_deref(), Some("open"));
        let (engine, consumer) = reader.get_or_insert_with(|| {
            let engine = Engine::open_read_only(directory.path(), small()).unwrap();
            until(&engine, |engine| engine.topic("t").is_ok());
            let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
            consumer.assign(&engine.topic("t").unwrap(), 0, Start::Beginning).unwrap();
            (engine, consumer)
        });
        let mut acknowledged = 0;
        let receipts = 150 * life;
        for _ in 0..receipts {
            acknowledged = writer.hear().unwrap().parse::<u64>().unwrap();
            let records = consumer.poll(Duration::ZERO).unwrap();
            for record in &records {
                assert_eq!(record.offset() as usize, seen.len());
                seen.push(record.value().unwrap().to_vec());
            }
        }
        writer.kill();
        // Its last records are shown when somebody has looked at how the log ends.
        Engine::open(directory.path(), small()).unwrap().close().unwrap();
        until(engine, |engine| next_offset(engine, "t") > Some(acknowledged));
    }
    let (engine, consumer) = reader.unwrap();
    drop(consumer);
    let all = values(&engine, &engine.topic("t").unwrap(), 0);
    assert_eq!(all[..seen.len()], seen);
    let writer = Engine::open(directory.path(), small()).unwrap();
    assert_eq!(values(&writer, &writer.topic("t").unwrap(), 0), all);
    writer.close().unwrap();
}

/// A child: nobody, who may only read.
fn nobody(path: &Path) {
    // SAFETY: plain system calls; they change this child only.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!((libc::setgid(65_534), libc::setuid(65_534)), (0, 0));
        }
    }
    let error = Engine::open_read_only(path, small()).unwrap_err();
    assert_says(&error, "invalid-directory", &["ermission denied", "permission to read"]);
    child::say("cannot read");
    child::listen();
    let reader = Engine::open_read_only(path, small()).unwrap();
    assert!(fs::write(path.join("x"), b"x").is_err(), "it may not write");
    assert_eq!(values(&reader, &reader.topic("t").unwrap(), 0).len(), 3);
    assert!(!verify(path, &mut |_| {}).unwrap().is_damaged());
    child::say("can read");
}

#[test]
fn permission_to_read_is_enough() {
    let _watchdog = watchdog(120, "permissions");
    let directory = directory();
    let writer = Engine::open(directory.path(), small()).unwrap();
    writer.create_topic("t", TopicOptions::new()).unwrap();
    send(&writer, "t", numbered(0..3));
    until(&Engine::open_read_only(directory.path(), small()).unwrap(), |reader| next_offset(reader, "t") == Some(3));
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // The bits of the owner are taken away as well, for when the tests run without privileges to drop.
    set(directory.path(), 0o755);
    names(directory.path()).iter().for_each(|name| set(&directory.path().join(name), 0o200));
    let mut child = child::start("nobody", directory.path().to_str().unwrap());
    assert_eq!(child.hear().as_deref(), Some("cannot read"));
    names(directory.path()).iter().for_each(|name| set(&directory.path().join(name), 0o444));
    set(directory.path(), 0o555);
    child.tell("readable now");
    assert_eq!(child.hear().as_deref(), Some("can read"));
    set(directory.path(), 0o755);
    names(directory.path()).iter().for_each(|name| set(&directory.path().join(name), 0o644));
    writer.close().unwrap();
}

#[test]
fn directories_that_are_none() {
    let parent = directory();
    let open = |path: &Path| Engine::open_read_only(path, small()).unwrap_err();
    assert_says(&open(&parent.path().join("absent")), "invalid-directory", &["does not exist"]);
    assert!(names(parent.path()).is_empty(), "nothing is made");
    assert_says(&open(parent.path()), "invalid-directory", &["holds no engine", "nothing is made"]);
    fs::write(parent.path().join("notes.txt"), b"Dear diary").unwrap();
    assert_says(&open(parent.path()), "foreign-format", &["notes.txt"]);
    assert_says(&open(&parent.path().join("notes.txt")), "invalid-directory", &["is a file"]);
    let engine = parent.path().join("engine");
    Engine::open(&engine, small()).unwrap().close().unwrap();
    for name in ["manifest-a", "manifest-b"] {
        let mut bytes = fs::read(engine.join(name)).unwrap();
        bytes[8] = 9;
        let checksum = crc32c::crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
        fs::write(engine.join(name), bytes).unwrap();
    }
    assert_says(&open(&engine), "unsupported-version", &["manifest-a", "newer library"]);
}

/// Damage is damage, also for who reads from outside.
#[test]
fn real_damage_is_told() {
    let directory = directory();
    let writer = Engine::open(directory.path(), small()).unwrap();
    writer.create_topic("t", TopicOptions::new()).unwrap();
    send(&writer, "t", ["unmistakable".to_owned()]);
    send(&writer, "t", numbered(0..200));
    writer.close().unwrap();
    let spoiled = names(directory.path()).into_iter().find_map(|name| {
        let path = directory.path().join(&name);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(12).position(|window| window == b"unmistakable")?;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        Some(name)
    });
    let error = Engine::open_read_only(directory.path(), small()).unwrap_err();
    assert_says(&error, "damaged", &[&spoiled.unwrap(), "its body does not match", "was durable"]);
}

/// Topics come and go and segments with them, as fast as they can, beside readers that open, follow and read.
#[test]
fn readers_beside_a_busy_writer_see_only_what_may_be() {
    let _watchdog = watchdog(500, "a busy writer");
    let directory = directory();
    let options = || small().lanes(Some(2)).segments_recycled_max(4);
    let writer = Engine::open(directory.path(), options()).unwrap();
    writer.create_topic("t", TopicOptions::new().partitions(4)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let producer = writer.producer(ProducerOptions::new()).unwrap();
            let topic = writer.topic("t").unwrap();
            for round in 0..25u32 {
                let passing = writer.create_topic("passing", TopicOptions::new().partitions(2)).unwrap();
                for value in large(0..40) {
                    drop(producer.send(&passing, Record::new(value.as_bytes())).unwrap());
                }
                for number in round * 40..(round + 1) * 40 {
                    let record = Record::new(b"x").partition(number % 4);
                    drop(producer.send(&topic, record).unwrap());
                }
                writer.sync().unwrap();
                writer.delete_topic("passing").unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    look_around(directory.path());
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let report = verify(directory.path(), &mut |_| {}).unwrap();
                assert!(!report.is_damaged(), "{report:?}");
                for segment in inspect(directory.path()).unwrap().segments {
                    // It may be gone by now, and never is it damaged.
                    let _ = inspect_frames(directory.path(), &segment.file, &mut |_| true);
                }
            }
        });
    });
    writer.close().unwrap();
}

/// Opens, reads everything there is for a while, and closes.
fn look_around(path: &Path) {
    let reader = Engine::open_read_only(path, small()).unwrap();
    let mut consumer = reader.consumer(ConsumerOptions::new()).unwrap();
    let mut next = [0; 4];
    let topic = reader.topic("t").ok();
    if let Some(topic) = &topic {
        consumer.assign_all(topic, Start::Beginning).unwrap();
    }
    for _ in 0..30 {
        if let Ok(passing) = reader.topic("passing")
            && let Err(error) = consumer.assign_all(&passing, Start::Beginning)
        {
            assert_eq!(error.code(), "topic-deleted", "{error}");
        }
        match consumer.poll(Duration::from_millis(1)) {
            Ok(records) => {
                for record in records.iter().filter(|record| record.topic() == "t") {
                    let expected = &mut next[record.partition() as usize];
                    assert_eq!(record.offset(), *expected);
                    *expected += 1;
                }
            }
            Err(error) => {
                assert_eq!(error.code(), "topic-deleted", "{error}");
                consumer = reader.consumer(ConsumerOptions::new()).unwrap();
                if let Some(topic) = &topic {
                    for (partition, offset) in next.iter().enumerate() {
                        consumer.assign(topic, partition as u32, Start::Offset(*offset)).unwrap();
                    }
                }
            }
        }
    }
    reader.close().unwrap();
}

/// Runs what the parent ordered; see [`common::child`].
#[test]
#[ignore = "a child of the other tests"]
fn child() {
    let Some((word, argument)) = common::child::order() else { return };
    let path = Path::new(&argument);
    match word.as_str() {
        "write" => write(path),
        "nobody" => nobody(path),
        other => panic!("no such order: {other}"),
    }
}
