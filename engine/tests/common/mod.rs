//! What the integration tests share.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod group;
pub(crate) mod ledger;
pub(crate) mod ring;
pub(crate) mod storage;
pub(crate) mod transaction;
pub(crate) mod watchdog;

use ringlane::{Backend, Consumer, ConsumerOptions, Engine, Options, Start, Topic};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory on the disk the crate is built on.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The backend that this run of the suite is about: `make test` runs it once for each.
fn backend() -> Option<Backend> {
    let name = std::env::var("RINGLANE_TEST_BACKEND").ok()?;
    Some(name.parse().expect("RINGLANE_TEST_BACKEND is auto, io-uring, plain or plain-buffered"))
}

/// Every backend that must behave the same; only one of them, if the run is about that one.
pub(crate) fn backends() -> Vec<Backend> {
    backend().map_or(vec![Backend::IoUring, Backend::Plain, Backend::PlainBuffered], |backend| vec![backend])
}

/// Whether a test that opens engines on this backend only is part of this run.
pub(crate) fn is_about(only: Backend) -> bool {
    backend().is_none_or(|backend| backend == only)
}

/// As the option is written.
pub(crate) fn name_of(backend: Backend) -> &'static str {
    match backend {
        Backend::Auto => "auto",
        Backend::IoUring => "io-uring",
        Backend::Plain => "plain",
        Backend::PlainBuffered => "plain-buffered",
    }
}

/// The defaults, on the backend that this run is about. Tests open no engine with others.
pub(crate) fn options() -> Options {
    Options::new().backend(backend().unwrap_or(Backend::Auto))
}

/// Small caches and segments, so that tests reach rolls, sidecars and cold reads quickly.
pub(crate) fn small() -> Options {
    options()
        .segment_bytes_first(1 << 20)
        .segment_bytes_max(1 << 20)
        .record_bytes_max(256 << 10)
        .tail_cache_bytes(4 << 20)
        .index_cache_bytes(1 << 20)
}

/// What a kill at this moment would leave of a directory: the engine goes on, and never learns of it.
///
/// The engine makes and removes files meanwhile. A copy in which the manifest names a file that was not copied is none
/// of one moment: it failed tests on a busy machine, twice. So the manifest must be the same afterwards.
pub(crate) fn copy_of_a_moment(path: &Path) -> TempDir {
    let manifests = || ["manifest-a", "manifest-b"].map(|name| std::fs::read(path.join(name)).unwrap());
    loop {
        let (before, copy) = (manifests(), directory());
        let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        // The admin socket is no file.
        let copied = files.filter(|file| file.is_file()).all(|file| {
            let name = file.file_name().unwrap();
            std::fs::copy(&file, copy.path().join(name)).is_ok()
        });
        if copied && manifests() == before {
            return copy;
        }
    }
}

/// Waits for what happens by itself.
#[track_caller]
pub(crate) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never comes: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All values of a topic's partition, from the beginning.
pub(crate) fn values(engine: &Engine, topic: &Topic, partition: u32) -> Vec<Vec<u8>> {
    read_from(engine, topic, partition, Start::Beginning).into_iter().map(|(_, value)| value).collect()
}

/// Offsets and values from a place on.
pub(crate) fn read_from(engine: &Engine, topic: &Topic, partition: u32, start: Start) -> Vec<(u64, Vec<u8>)> {
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(topic, partition, start).unwrap();
    drain(&mut consumer)
}

/// Polls until nothing more is there.
pub(crate) fn drain(consumer: &mut Consumer) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO).unwrap();
        if records.is_empty() {
            return all;
        }
        all.extend(records.iter().map(|record| (record.offset(), record.value().unwrap_or(b"null").to_vec())));
    }
}

/// Asserts that an error has this code and that its message says all of `words`.
#[track_caller]
pub(crate) fn assert_says(error: &ringlane::Error, code: &str, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.code(), code, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}
