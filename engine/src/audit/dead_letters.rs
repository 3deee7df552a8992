//! How many dead letters of each group stand in the topics that take them.
//!
//! Invariant: each of these topics is read once.

use super::is_gone;
use crate::consumer::{ConsumerOptions, RecordView, Start};
use crate::engine::Engine;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::time::Duration;

/// Group, topic, and partition that a dead letter comes from.
type Source = (String, String, u32);

/// See the module.
#[derive(Default)]
pub(super) struct DeadLetters {
    /// By topic of dead letters; `None`: it cannot be read.
    counted: HashMap<String, Option<HashMap<Source, u64>>>,
}

impl DeadLetters {
    /// Those of a group that come from a partition.
    pub(super) fn of(&mut self, engine: &Engine, topic: &str, source: (&str, &str, u32)) -> Result<Option<u64>> {
        if !self.counted.contains_key(topic) {
            self.counted.insert(topic.to_owned(), count(engine, topic)?);
        }
        let source = (source.0.to_owned(), source.1.to_owned(), source.2);
        let counted = self.counted.get(topic).and_then(Option::as_ref);
        Ok(counted.map(|counted| counted.get(&source).copied().unwrap_or(0)))
    }
}

fn count(engine: &Engine, topic: &str) -> Result<Option<HashMap<Source, u64>>> {
    let mut counted = HashMap::new();
    // The first dead letter makes it.
    let Ok(topic) = engine.topic(topic) else { return Ok(Some(counted)) };
    let mut consumer = engine.consumer(ConsumerOptions::new().continuity(None))?;
    for partition in 0..topic.partitions() {
        let end = topic.partition_info(partition)?.next_offset;
        let mut start = Start::Beginning;
        while consumer.position(&topic, partition).is_none_or(|position| position < end) {
            let read = match consumer.position(&topic, partition) {
                None => consumer.assign(&topic, partition, start).map(|()| None),
                Some(_) => consumer.poll(Duration::ZERO).map(Some),
            };
            match read {
                Ok(None) => {}
                Ok(Some(records)) if records.is_empty() => return Ok(None),
                Ok(Some(records)) => {
                    for source in records.iter().filter_map(|record| source_of(&record)) {
                        *counted.entry(source).or_default() += 1;
                    }
                }
                Err(Error::Truncated { to, .. }) => {
                    consumer.unassign(&topic, partition);
                    start = Start::Offset(to);
                }
                Err(Error::Damaged { .. } | Error::Io(_)) => return Ok(None),
                Err(error) if is_gone(&error) => return Ok(Some(HashMap::new())),
                Err(error) => return Err(error),
            }
        }
        consumer.unassign(&topic, partition);
    }
    Ok(Some(counted))
}

/// Where a dead letter comes from. Of headers with the same name the last one is the group's: the record may have been a
/// dead letter before.
fn source_of(record: &RecordView<'_>) -> Option<Source> {
    let last = |name: &str| {
        let value = record.headers().filter(|header| header.name == name).last()?.value;
        std::str::from_utf8(value).ok()
    };
    let (group, topic) = (last("ringlane.group")?, last("ringlane.topic")?);
    Some((group.to_owned(), topic.to_owned(), last("ringlane.partition")?.parse().ok()?))
}
