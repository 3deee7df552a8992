//! The corpora of the fuzz targets, replayed by ordinary tests, so that they do not rot; and the two logs that the
//! target `directory` changes.
//!
//! `RINGLANE_FUZZ_IMAGES=DIR` keeps the logs that a test makes anew: after a change of the format they replace
//! `proof/src/fuzz/open.log` and `closed.log`.

#![allow(clippy::unwrap_used)]

use ringlane::{
    ConsumerOptions, Engine, ProducerOptions, Record, Start, Topic, TopicOptions, Visibility, inspect, verify,
};
use ringlane_proof::corruption::{read_files, write_files};
use ringlane_proof::fuzz::{TARGETS, Target, images, options, packed};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const THREADS: usize = 6;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn run(target: &Target, input: &Path) {
    let bytes = std::fs::read(input).unwrap();
    let run = std::panic::catch_unwind(|| (target.run)(&bytes));
    assert!(run.is_ok(), "{} fails on {}", target.name, input.display());
}

#[test]
fn every_target_runs_over_its_corpus() {
    for target in &TARGETS {
        let inputs: Vec<PathBuf> =
            std::fs::read_dir(corpus(target.name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{} has a corpus", target.name);
        // Most of them wait for a disk most of the time.
        std::thread::scope(|scope| {
            for inputs in inputs.chunks(inputs.len().div_ceil(THREADS)) {
                scope.spawn(move || inputs.iter().for_each(|input| run(target, input)));
            }
        });
        (target.run)(b"");
    }
}

#[test]
fn the_images_are_whole_logs_and_hold_what_the_targets_need() {
    for image in images() {
        let directory = write_files(Path::new(env!("CARGO_TARGET_TMPDIR")), image).unwrap();
        let report = verify(directory.path(), &mut |_| {}).unwrap();
        assert!(!report.is_damaged(), "{report:?}");
        let states: Vec<_> = inspect(directory.path()).unwrap().segments.iter().map(|segment| segment.state).collect();
        assert!(states.contains(&"sealed") && states.contains(&"live"), "{states:?}");
        assert!(image.keys().any(|name| name.ends_with(".index")));
        assert!(inspect(directory.path()).unwrap().manifest.sealed_logs > 0);
        let engine = Engine::open(directory.path(), options()).unwrap();
        assert_eq!(engine.topics().len(), 2);
        assert_eq!(engine.stats().lanes.iter().map(|lane| lane.withheld_records).sum::<u64>(), 1);
        engine.close().unwrap();
    }
}

/// Values of one byte, so that they pack well.
fn value(number: usize) -> Vec<u8> {
    vec![number as u8; 60 << 10]
}

fn make(path: &Path) -> [packed::Files; 2] {
    // It began with two lanes, so the manifest has logs that nobody writes any more.
    let engine = Engine::open(path, options().create(true).lanes(Some(2))).unwrap();
    let create = |name| engine.create_topic(name, TopicOptions::new().partitions(2)).unwrap();
    let (orders, later, gone) = (create("orders"), create("later"), create("gone"));
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let send = |topic: &Topic, record: Record<'_>| producer.send(topic, record).unwrap().wait().unwrap();
    let never = Visibility::At(i64::MAX / 2);
    send(&gone, Record::new(b"gone").partition(0));
    engine.delete_topic("gone").unwrap();
    send(&later, Record { visibility: never, ..Record::new(b"withheld").partition(0) });
    let cancelled = send(&later, Record { visibility: never, ..Record::new(b"cancelled").partition(0) });
    producer.cancel(cancelled.id).unwrap();
    send(&orders, Record::new(b"first").partition(0));
    engine.close().unwrap();
    let engine = Engine::open(path, options().lanes(Some(1))).unwrap();
    let (orders, later) = (engine.topic("orders").unwrap(), engine.topic("later").unwrap());
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let send = |topic: &Topic, record: Record<'_>| producer.send(topic, record).unwrap().wait().unwrap();
    let soon = Visibility::After(Duration::from_millis(1));
    send(&later, Record { visibility: soon, ..Record::new(b"soon").partition(1) });
    wait_for(|| !read(&engine, &later, 1).is_empty());
    for number in 0..18 {
        send(&orders, Record::new(&value(number)).partition(number as u32 % 2));
    }
    wait_for(|| path.read_dir().unwrap().any(|file| file.unwrap().file_name().to_string_lossy().ends_with(".index")));
    send(&orders, Record { value: None, ..Record::new(b"").key(b"key").partition(0) });
    let batch = [b"one", b"two"].map(|value| Record::new(value).partition(1));
    producer.send_batch(&orders, &batch).unwrap().wait().unwrap();
    engine.sync().unwrap();
    let open = read_files(path).unwrap();
    engine.close().unwrap();
    [open, read_files(path).unwrap()]
}

fn read(engine: &Engine, topic: &Topic, partition: u32) -> Vec<Vec<u8>> {
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(topic, partition, Start::Beginning).unwrap();
    let records = consumer.poll(Duration::ZERO).unwrap();
    records.iter().map(|record| record.value().unwrap_or_default().to_vec()).collect()
}

/// How long tells a hang from a slow machine.
fn wait_for(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "the log does not come so far");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_images_can_be_made_anew() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let made = make(directory.path());
    for (name, mut files) in ["open.log", "closed.log"].into_iter().zip(made) {
        // The lock file names a process, and says nothing of the log.
        files.remove("lock");
        let bytes = packed::pack(&files);
        assert!(bytes.len() < 16 << 10, "{name} takes {} bytes", bytes.len());
        assert_eq!(packed::unpack(&bytes), files);
        if let Ok(target) = std::env::var("RINGLANE_FUZZ_IMAGES") {
            std::fs::write(Path::new(&target).join(name), bytes).unwrap();
        }
    }
}

/// Programs that nobody has saved: the same ones each time. `RINGLANE_ABI_PROGRAMS`: how many.
#[test]
fn programs_of_calls_of_the_c_library_end_in_statuses() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let programs = std::env::var("RINGLANE_ABI_PROGRAMS").map_or(400, |text| text.parse().unwrap());
    for _ in 0..programs {
        let length = 64 + next() % 1500;
        let program: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        ringlane_proof::fuzz::abi(&program);
    }
}
