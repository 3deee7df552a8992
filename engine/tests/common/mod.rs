//! What the integration tests share.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod child;
pub(crate) mod ring;
pub(crate) mod storage;
pub(crate) mod watchdog;

use ringlane::{Backend, Consumer, ConsumerOptions, Engine, Options, Start, Topic};
use std::time::Duration;
use tempfile::TempDir;

/// A directory on the disk the crate is built on.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Every backend that must behave the same.
pub(crate) const BACKENDS: [Backend; 3] = [Backend::IoUring, Backend::Plain, Backend::PlainBuffered];

/// Small caches and segments, so that tests reach rolls, sidecars and cold reads quickly.
pub(crate) fn small() -> Options {
    Options::new()
        .segment_bytes_first(1 << 20)
        .segment_bytes_max(1 << 20)
        .record_bytes_max(256 << 10)
        .tail_cache_bytes(4 << 20)
        .index_cache_bytes(1 << 20)
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
