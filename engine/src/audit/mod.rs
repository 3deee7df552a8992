//! The audit: is what was acknowledged to producers there, and what have groups done with it?
//!
//! Who acknowledged is asked first, then the log is read, as a consumer reads it. The two may be in different processes:
//! of an engine that another process has open, that one says what it acknowledged, which takes a moment, and who asks
//! reads the files.
//!
//! Invariants:
//! - Nothing is changed, and senders and consumers go on.
//! - What was acknowledged is known to be durable before the log is read: what then is not there is missing.
//! - Memory follows the producers of one partition and the report, which are bounded, and not the records.

mod dead_letters;
mod options;
mod partition;
mod reasons;
mod report;

pub use options::{AuditOptions, AuditProgress};
pub use report::{AuditReport, GroupAudit, LostNumbers, NumberCounts, PartitionAudit, ProducerAudit};

use crate::consumer::GroupInfo;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::follower::REFRESH_INTERVAL;
use crate::lane::acknowledged::Acknowledged;
use crate::producer::ProducerInfo;
use crate::sync::{Signal, now};
use crate::topic::Topic;
use dead_letters::DeadLetters;
use std::collections::HashMap;
use std::time::Duration;

/// Producers of a partition that are told of one by one.
const PRODUCERS_TOLD_MAX: usize = 10_000;
/// How long what was acknowledged may take to show in the files: a writer that pauses proves it after 20 ms.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who knows what was acknowledged.
pub(crate) trait Witness {
    /// Names of the topics, and how many partitions each has.
    fn topics(&mut self) -> Result<Vec<(String, u32)>>;
    fn producers(&mut self) -> Result<Vec<ProducerInfo>>;
    fn groups(&mut self) -> Result<Vec<GroupInfo>>;
    /// What was acknowledged of a partition, all of it durable.
    fn acknowledged(&mut self, topic: &str, partition: u32) -> Result<Acknowledged>;
}

/// An engine that is open here.
pub(crate) struct Own<'a>(pub(crate) &'a Engine);

impl Witness for Own<'_> {
    fn topics(&mut self) -> Result<Vec<(String, u32)>> {
        Ok(self.0.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions())).collect())
    }

    fn producers(&mut self) -> Result<Vec<ProducerInfo>> {
        Ok(self.0.producers())
    }

    fn groups(&mut self) -> Result<Vec<GroupInfo>> {
        Ok(self.0.groups())
    }

    fn acknowledged(&mut self, topic: &str, partition: u32) -> Result<Acknowledged> {
        self.0.acknowledged(&self.0.topic(topic)?, partition)
    }
}

/// Compares what the witness acknowledged with what an engine reads of the same directory.
pub(crate) fn run(
    engine: &Engine,
    witness: &mut dyn Witness,
    options: &AuditOptions,
    progress: &mut dyn FnMut(&AuditProgress),
) -> Result<AuditReport> {
    let topics = chosen(witness.topics()?, &options.topics)?;
    let mut done = AuditProgress { records_total: records_of(engine, &topics), ..AuditProgress::default() };
    let mut report = AuditReport::default();
    for (name, partitions) in topics {
        for partition in 0..partitions {
            (done.topic, done.partition) = (name.clone(), partition);
            progress(&done);
            let acknowledged = match witness.acknowledged(&name, partition) {
                Err(error) if is_gone(&error) => break,
                acknowledged => acknowledged?,
            };
            let Some(topic) = find(engine, &name, acknowledged.topic)? else { break };
            let read = partition::audit(engine, &topic, partition, &acknowledged, &options.bounds, &mut |records| {
                done.records_done += records;
                progress(&done);
            });
            match read {
                Err(error) if is_gone(&error) => break,
                read => report.partitions.push(read?),
            }
        }
    }
    let names: HashMap<u32, String> = witness.producers()?.into_iter().map(|info| (info.id, info.name)).collect();
    for partition in &mut report.partitions {
        partition.keep(PRODUCERS_TOLD_MAX);
        partition.producers.iter_mut().for_each(|producer| producer.name = names.get(&producer.producer).cloned());
    }
    add_groups(engine, &mut report, witness.groups()?)?;
    Ok(report)
}

/// The topics that are to be looked at.
fn chosen(topics: Vec<(String, u32)>, names: &[String]) -> Result<Vec<(String, u32)>> {
    if let Some(name) = names.iter().find(|name| !topics.iter().any(|(topic, _)| topic == *name)) {
        return Err(Error::UnknownTopic { name: name.clone() });
    }
    Ok(topics.into_iter().filter(|(topic, _)| names.is_empty() || names.contains(topic)).collect())
}

fn records_of(engine: &Engine, topics: &[(String, u32)]) -> u64 {
    let infos = topics.iter().filter_map(|(name, _)| engine.topic(name).ok()).flat_map(|topic| {
        let info = move |partition| topic.partition_info(partition).ok();
        (0..u32::MAX).map_while(info)
    });
    infos.map(|info| info.next_offset - info.first_offset).sum()
}

/// Deleted while it was looked at: there is nothing to be lost any more.
fn is_gone(error: &Error) -> bool {
    matches!(error.code(), "unknown-topic" | "topic-deleted")
}

/// The topic as the engine that reads has it. From outside it may not show yet; `None`: it was deleted.
fn find(engine: &Engine, name: &str, id: u32) -> Result<Option<Topic>> {
    let (begun, pause) = (now(), Signal::default());
    loop {
        engine.refresh()?;
        match engine.topic(name) {
            Ok(topic) if topic.id() == id => return Ok(Some(topic)),
            // Ids only grow.
            Ok(topic) if topic.id() > id => return Ok(None),
            _ if !engine.is_read_only() => return Ok(None),
            _ if now().saturating_duration_since(begun) > PATIENCE => break,
            _ => {}
        }
        let seen = pause.look();
        pause.wait(seen, REFRESH_INTERVAL);
    }
    Err(Error::Damaged {
        file: "the log".to_owned(),
        position: 0,
        file_offset: 0,
        bytes: 0,
        reason: format!("topic `{name}`, which the process that has the engine open knows, does not show in the files"),
    })
}

/// Says how far the groups have come in the partitions of the report.
fn add_groups(engine: &Engine, report: &mut AuditReport, groups: Vec<GroupInfo>) -> Result<()> {
    let mut places: HashMap<(String, u32), usize> = HashMap::new();
    for (at, partition) in report.partitions.iter().enumerate() {
        places.insert((partition.topic.clone(), partition.partition), at);
    }
    let mut dead_letters = DeadLetters::default();
    for group in groups {
        for of in group.partitions {
            let Some(&at) = places.get(&(of.topic.clone(), of.partition)) else { continue };
            let dead_letters =
                dead_letters.of(engine, &group.dead_letter_topic, (&group.name, &of.topic, of.partition))?;
            let partition = &mut report.partitions[at];
            let unfinished = of.position..u64::MAX;
            let unreadable = partition
                .unreadable_offsets
                .iter()
                .map(|offsets| offsets.end.saturating_sub(offsets.start.max(unfinished.start)));
            partition.groups.push(GroupAudit {
                group: group.name.clone(),
                position: of.position,
                unfinished: of.lag,
                in_flight: of.in_flight,
                dead_letters,
                unreadable: unreadable.sum(),
            });
        }
    }
    Ok(())
}
