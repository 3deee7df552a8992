//! What the fuzz targets found in what anybody can reach, each with its story. (Findings within one decoder stand
//! beside the decoder.)

#![allow(clippy::unwrap_used)]

use ringlane::{Backend, ConsumerOptions, Engine, Options, ProducerOptions, Record, Recovery, Start, TopicOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RECORDS: usize = 20;

fn options() -> Options {
    Options::new()
        .backend(Backend::Plain)
        .segment_bytes_first(1 << 20)
        .segment_bytes_max(1 << 20)
        .record_bytes_max(128 << 10)
}

/// A closed log with a sealed segment; gives the file of its index.
fn with_a_sealed_segment(path: &Path) -> PathBuf {
    let engine = Engine::open(path, options()).unwrap();
    let topic = engine.create_topic("orders", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for number in 0..RECORDS {
        let value = vec![number as u8; 60 << 10];
        producer.send(&topic, Record::new(&value)).unwrap().wait().unwrap();
    }
    let index = || {
        let files = path.read_dir().unwrap().map(|file| file.unwrap().path());
        files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "index"))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while index().is_none() {
        assert!(Instant::now() < deadline, "no segment is sealed");
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.close().unwrap();
    index().unwrap()
}

/// The index of a sealed segment is made anew when it is damaged; where nothing may be written, in memory. But the
/// pages of the damaged one were still in the cache, under the same name, and the new one was read through it: salvage
/// refused to read a segment that was whole.
#[test]
fn salvage_reads_a_segment_whose_index_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let index = with_a_sealed_segment(directory.path());
    let mut bytes = std::fs::read(&index).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&index, bytes).unwrap();
    let engine = Engine::open(directory.path(), options().recovery(Recovery::Salvage)).unwrap();
    let topic = engine.topic("orders").unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign_all(&topic, Start::Beginning).unwrap();
    let mut read = 0;
    while read < RECORDS {
        let records = consumer.poll(Duration::ZERO).unwrap();
        assert!(!records.is_empty(), "only {read} records");
        for record in &records {
            assert_eq!(record.value().unwrap()[0], read as u8);
            read += 1;
        }
    }
}
