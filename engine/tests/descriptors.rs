//! How many files an engine keeps open.
//!
//! The sidecar of each sealed segment was opened once and kept open. Most systems let a process have 1,024
//! descriptors, and a segment has 64 MiB: a log of some 60 GB could not seal its next segment, and the
//! engine was poisoned.
//!
//! One test in a binary of its own: it counts the descriptors of the process.

#![allow(clippy::unwrap_used)]

mod common;

use common::{directory, small, values};
use ringlane::*;

const SEGMENTS: u64 = 40;
/// Manifest copies, the lock, the directory, the ring, segments that are prepared or written.
const OPEN_FILES_MAX: usize = 20;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_long_log_does_not_cost_a_descriptor_for_each_segment() {
    let directory = directory();
    let before = open_files();
    let check = |when: &str| {
        let open = open_files() - before;
        assert!(open <= OPEN_FILES_MAX, "{open} files are open {when}");
    };
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("long", TopicOptions::new().partitions(2)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let value = vec![7; 100 << 10];
    let mut sent = 0;
    while engine.stats().lanes[0].segments < SEGMENTS {
        producer.send(&topic, Record::new(&value).partition(sent % 2)).unwrap().wait().unwrap();
        sent += 1;
    }
    check("after writing");
    assert_eq!(values(&engine, &topic, 0).len() as u32, sent.div_ceil(2));
    check("after reading");
    engine.close().unwrap();
    drop((producer, topic, engine));

    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.topic("long").unwrap();
    assert_eq!(values(&engine, &topic, 1).len() as u32, sent / 2);
    check("after reading what was written before");
    engine.delete_topic("long").unwrap();
    // Looking for dead segments opens the sidecars of all of them.
    while engine.stats().segments > 20 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    check("after retiring");
    engine.close().unwrap();
}
