//! A lane that needs a segment and has to wait for it, because the keeper is slow.

#![allow(clippy::unwrap_used)]

mod common;

use common::storage::{is_segment, open_faulty};
use common::watchdog::watchdog;
use common::{directory, small};
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::*;
use std::time::Duration;

/// An engine whose keeper takes its time for each segment.
fn with_slow_keeper(path: &std::path::Path) -> Engine {
    let faults = Faults::new();
    let engine = open_faulty(path, small().lanes(Some(1)), &faults).unwrap();
    let by_keeper = |name: &str| is_segment(name) && std::thread::current().name() == Some("ringlane-keeper");
    let slow = Fault::new(Operation::Allocate, Effect::Delay(Duration::from_millis(300)));
    faults.arm(slow.on(by_keeper).forever());
    engine
}

/// The story: `sync` looked at what the lane had in the log. What had been sent and waited for a segment was
/// not, and `sync` returned while it was nowhere but in memory.
#[test]
fn sync_covers_what_waits_for_a_segment() {
    let _watchdog = watchdog(200, "sync while a segment is awaited");
    for durability in [Durability::Buffered, Durability::Synced] {
        let directory = directory();
        let engine = with_slow_keeper(directory.path());
        let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
        let producer = engine.producer(ProducerOptions::new().durability(durability)).unwrap();
        let value = vec![1; 50_000];
        for round in 1..=100 {
            let handle = producer.send(&topic, Record::new(&value).partition(0)).unwrap();
            engine.sync().unwrap();
            assert_eq!(topic.partition_info(0).unwrap().next_offset, round, "{durability:?}");
            handle.wait().unwrap();
        }
        assert!(engine.stats().lanes[0].segment_waits > 0, "nothing had to wait");
        engine.close().unwrap();
    }
}

/// The story: a lane that waited for a segment was due to write a mark, and did not, because senders waited.
/// So it turned as fast as it could, and took a core from the keeper that it waited for.
#[test]
fn a_lane_that_waits_for_a_segment_sleeps() {
    let _watchdog = watchdog(200, "waiting for segments");
    let directory = directory();
    let engine = with_slow_keeper(directory.path());
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let value = vec![1; 50_000];
    let handles: Vec<_> = (0..100).map(|_| producer.send(&topic, Record::new(&value).partition(0)).unwrap()).collect();
    for handle in handles {
        handle.wait().unwrap();
    }
    let waits = engine.stats().lanes[0].segment_waits;
    assert!((1..1_000).contains(&waits), "it asked {waits} times");
    engine.close().unwrap();
}
