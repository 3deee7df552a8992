//! Reading everything that is there, partition by partition, into the history.

use super::client::collect;
use super::machine::Machine;
use super::shape::NAMES;
use super::shared::{Shared, topic_name};
use crate::history::Happening;
use ringlane::{Consumer, ConsumerOptions, Engine, Error, Start, Topic};
use std::sync::Arc;
use std::time::Duration;

/// So often a read that failed is tried again before the fault is taken away.
const TRIES_MAX: u32 = 3;

/// Writes everything that is there into the history. Gives the topics that are there by name.
pub fn list(
    engine: &Engine,
    shared: &Shared,
    machine: &Arc<Machine>,
    expected: [Option<u32>; NAMES],
) -> [Option<u32>; NAMES] {
    let mut there = [None; NAMES];
    for (name, number) in expected.into_iter().enumerate() {
        match (engine.topic(&topic_name(name)), number) {
            (Ok(topic), Some(number)) => {
                there[name] = Some(number);
                for partition in 0..topic.partitions() {
                    list_partition(engine, shared, machine, &topic, number, partition);
                }
            }
            // Damage may have taken the end of a log, and the deletion with it.
            (Ok(_), None) if shared.allowed.get().damage => shared.count("deletions lost to damage"),
            (Ok(_), None) => shared.violation(format!("{} is there, and nobody created it", topic_name(name))),
            (Err(_), Some(topic)) => shared.recorder.happen(Happening::TopicMissing { topic }),
            (Err(_), None) => {}
        }
    }
    there
}

fn list_partition(
    engine: &Engine,
    shared: &Shared,
    machine: &Arc<Machine>,
    topic: &Topic,
    number: u32,
    partition: u32,
) {
    let mut tries = 0;
    loop {
        match read_partition(engine, shared, topic, partition) {
            Ok((records, timestamps)) => {
                let wall_ms = Some(shared.recorder.wall_max_ms());
                check_seek(engine, shared, topic, partition, &timestamps);
                return shared.recorder.happen(Happening::Contents {
                    topic: number,
                    partition,
                    first_offset: 0,
                    records,
                    wall_ms,
                });
            }
            Err(error) => {
                shared.judge("reading everything", &error);
                if matches!(error, Error::Damaged { .. }) {
                    return report(shared, number, partition, &error);
                }
                tries += 1;
                if shared.recorder.is_silent() || !matches!(error, Error::Io(_)) {
                    return;
                }
                if tries >= TRIES_MAX {
                    machine.with(|state| state.faults.clear());
                }
            }
        }
    }
}

/// The engine said that it cannot give a partition's records. Which of them it can is not looked at.
fn report(shared: &Shared, topic: u32, partition: u32, error: &Error) {
    shared.count("damage reported by reads");
    let code = error.code().to_owned();
    shared.recorder.happen(Happening::Reported { topic, partition, first_offset: 0, count: u64::MAX, code });
    let wall_ms = Some(shared.recorder.wall_max_ms());
    shared.recorder.happen(Happening::Contents { topic, partition, first_offset: 0, records: Vec::new(), wall_ms });
}

type Listed = (Vec<(u64, u64)>, Vec<i64>);

fn read_partition(engine: &Engine, shared: &Shared, topic: &Topic, partition: u32) -> ringlane::Result<Listed> {
    let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(1_000))?;
    consumer.assign(topic, partition, Start::Beginning)?;
    let (mut records, mut timestamps) = (Vec::new(), Vec::new());
    loop {
        let polled = consumer.poll(Duration::ZERO)?;
        if polled.is_empty() {
            return Ok((records, timestamps));
        }
        timestamps.extend(polled.iter().map(|view| view.timestamp_ms()));
        for read in collect(&polled, shared, |_, _| 0) {
            records.extend(read.records);
        }
    }
}

/// A seek by time goes to the first record at or after it.
fn check_seek(engine: &Engine, shared: &Shared, topic: &Topic, partition: u32, timestamps: &[i64]) {
    if timestamps.is_empty() {
        return;
    }
    let wanted = timestamps[timestamps.len() / 2] + (timestamps.len() % 3) as i64 - 1;
    let expected = timestamps.iter().position(|timestamp_ms| *timestamp_ms >= wanted).unwrap_or(timestamps.len());
    let found = position_at(engine, topic, partition, wanted);
    match found {
        // Records may have become visible since.
        Ok(found) if found == expected as u64 || expected == timestamps.len() && found > expected as u64 => {}
        Ok(found) => shared.violation(format!(
            "{} partition {partition}: offset {found} is said to be the first at or after {wanted}, and it is {expected}",
            topic.name()
        )),
        Err(error) => drop(shared.judge("seeking by time", &error)),
    }
}

fn position_at(engine: &Engine, topic: &Topic, partition: u32, timestamp_ms: i64) -> ringlane::Result<u64> {
    let mut consumer: Consumer = engine.consumer(ConsumerOptions::new())?;
    consumer.assign(topic, partition, Start::Timestamp(timestamp_ms))?;
    Ok(consumer.position(topic, partition).unwrap_or(u64::MAX))
}
