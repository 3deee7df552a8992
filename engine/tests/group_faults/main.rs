//! What befalls groups from outside: records that kill their process, a full disk, clocks that are set, groups and topics
//! that are deleted under their members.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod clock;
mod deleted;
mod full_disk;
mod poison;

use common::group::{begin, create, fill, join};
use ringlane::*;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Runs what the parent ordered; see [`common::child`].
#[test]
#[ignore = "a child of the other tests"]
fn child() {
    let Some((word, argument)) = common::child::order() else { return };
    assert_eq!(word, "work");
    poison::work(Path::new(&argument));
}

/// A delivery: the number that the record has for its value, and how often it was delivered.
#[derive(Clone, Copy, Debug)]
struct Taken {
    number: u64,
    count: u32,
    id: DeliveryId,
}

fn taken(deliveries: &Deliveries) -> Vec<Taken> {
    let number =
        |delivery: &Delivery<'_>| std::str::from_utf8(delivery.record.value().unwrap()).unwrap().parse().unwrap();
    deliveries
        .iter()
        .map(|delivery| Taken { number: number(&delivery), count: delivery.delivery_count, id: delivery.id() })
        .collect()
}

/// Polls so often that `count` records came.
fn take(member: &mut GroupConsumer, count: usize) -> Vec<Taken> {
    let mut all = Vec::new();
    while all.len() < count {
        let polled = taken(&member.poll(SOON).unwrap());
        assert!(!polled.is_empty(), "{} of {count} came: {all:?}", all.len());
        all.extend(polled);
    }
    assert_eq!(all.len(), count, "{all:?}");
    all
}

fn nothing_comes(member: &mut GroupConsumer) {
    let polled = member.poll(Duration::from_millis(50)).unwrap();
    assert!(polled.is_empty(), "{:?}", taken(&polled));
}

/// Records of the group that are not finished.
fn lag(engine: &Engine) -> u64 {
    engine.describe_group("g").unwrap().partitions.iter().map(|partition| partition.lag).sum()
}
