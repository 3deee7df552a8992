//! Topics as users see them.

use crate::error::{Error, Result};
use crate::log::codec::{Put, Reader};
use crate::partition::shared::{Partition, TopicShared};
use crate::sync::lock;
use std::sync::Arc;

/// Options of [`Engine::create_topic`](crate::Engine::create_topic).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicOptions {
    /// How many partitions, 1 to 65,536. Default 1. It cannot be changed later.
    pub partitions: u32,
    /// How long records are kept. Default: for ever.
    pub retention: Retention,
}

impl Default for TopicOptions {
    fn default() -> Self {
        TopicOptions { partitions: 1, retention: Retention::default() }
    }
}

/// How long the records of a topic are kept: what one of the bounds gives up is gone. Without bounds
/// everything is kept until somebody deletes it.
///
/// Records go in pieces, the oldest first: what a partition has in one segment goes together, so a partition
/// keeps up to a segment's worth more than the bounds say, and never less. The names and their meaning are
/// Kafka's `retention.ms` and `retention.bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Retention {
    /// Records are kept for at least this time after they were appended, and are then given up, ms. `None`:
    /// for ever. When the wall clock jumps ahead, nothing is given up because of it, see
    /// [`Stats::clock_ahead_ms`](crate::Stats::clock_ahead_ms).
    pub retention_ms: Option<u64>,
    /// At least so many bytes of the newest records of *each partition* are kept, in the record layout with
    /// frame headers; what is older is given up. `None`: all.
    pub retention_bytes: Option<u64>,
    /// The two bounds take only what every group that reads the topic has finished; what one has not finished is kept
    /// until it has. Where no group reads it the bounds decide alone. Default: they always do, and a group is told what
    /// it lost ([`Error::Truncated`]). The bound on the disk (`drop-oldest`) and
    /// [`Engine::delete_records`](crate::Engine::delete_records) take unfinished records all the same, and the group is
    /// told.
    pub keep_unfinished: bool,
    /// What every group that reads the topic has finished is given up at once, however young it is. Where no group
    /// reads it nothing is given up by this. Default: it is kept as long as the bounds say.
    pub drop_finished: bool,
}

impl Retention {
    /// No bounds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time, ms; zero: for ever.
    #[must_use]
    pub fn retention_ms(mut self, ms: u64) -> Self {
        self.retention_ms = (ms > 0).then_some(ms);
        self
    }

    /// Sets the bytes of each partition; zero: all.
    #[must_use]
    pub fn retention_bytes(mut self, bytes: u64) -> Self {
        self.retention_bytes = (bytes > 0).then_some(bytes);
        self
    }

    /// Sets whether the bounds take only what every group has finished.
    #[must_use]
    pub fn keep_unfinished(mut self, keep: bool) -> Self {
        self.keep_unfinished = keep;
        self
    }

    /// Sets whether what every group has finished goes at once.
    #[must_use]
    pub fn drop_finished(mut self, drop: bool) -> Self {
        self.drop_finished = drop;
        self
    }

    /// In the number of bytes, which no partition comes near: who does not know them keeps all.
    const KEEP_UNFINISHED: u64 = 1 << 63;
    const DROP_FINISHED: u64 = 1 << 62;

    /// Two numbers; zero: no bound.
    pub(crate) fn put(self, target: &mut Vec<u8>) {
        let this = self.normalized();
        let keep = if this.keep_unfinished { Self::KEEP_UNFINISHED } else { 0 };
        let drop = if this.drop_finished { Self::DROP_FINISHED } else { 0 };
        target.put_u64(this.retention_ms.unwrap_or(0));
        target.put_u64(this.retention_bytes.unwrap_or(0) | keep | drop);
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<Retention> {
        let (ms, bytes) = (reader.u64()?, reader.u64()?);
        let retention = Retention::new().retention_ms(ms);
        let retention = retention.retention_bytes(bytes & !(Self::KEEP_UNFINISHED | Self::DROP_FINISHED));
        let (keep, drop) = (bytes & Self::KEEP_UNFINISHED != 0, bytes & Self::DROP_FINISHED != 0);
        Some(retention.keep_unfinished(keep).drop_finished(drop))
    }

    /// A bound of zero is none, and one above all that can be is the largest: the log has no other way to say it.
    pub(crate) fn normalized(self) -> Self {
        let bytes = self.retention_bytes.map(|bytes| bytes.min(Self::DROP_FINISHED - 1));
        Self {
            retention_ms: self.retention_ms.filter(|ms| *ms > 0),
            retention_bytes: bytes.filter(|bytes| *bytes > 0),
            ..self
        }
    }
}

impl TopicOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets how long records are kept.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }
}

/// A handle to a topic. Cheap to clone; it stays valid until the topic is deleted.
#[derive(Clone)]
pub struct Topic {
    pub(crate) shared: Arc<TopicShared>,
}

/// What a partition holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PartitionInfo {
    /// The partition.
    pub partition: u32,
    /// The lane that writes it.
    pub lane: u32,
    /// The first offset that is kept.
    pub first_offset: u64,
    /// The offset of the next record that becomes visible.
    pub next_offset: u64,
}

impl Topic {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its id; never used again, even for a topic of the same name.
    pub fn id(&self) -> u32 {
        self.shared.id
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        self.shared.partitions.len() as u32
    }

    /// When it was created, ms since 1970-01-01 UTC.
    pub fn created_ms(&self) -> i64 {
        self.shared.created_ms
    }

    /// How long its records are kept.
    pub fn retention(&self) -> Retention {
        *lock(&self.shared.retention)
    }

    /// What a partition holds now.
    pub fn partition_info(&self, partition: u32) -> Result<PartitionInfo> {
        let shared = self.partition(partition)?;
        let index = shared.index();
        Ok(PartitionInfo {
            partition,
            lane: shared.lane,
            first_offset: index.first_offset,
            next_offset: index.next_offset,
        })
    }

    pub(crate) fn partition(&self, partition: u32) -> Result<&Arc<Partition>> {
        self.shared.partitions.get(partition as usize).ok_or_else(|| Error::InvalidPartition {
            topic: self.name().to_owned(),
            partition,
            partitions: self.partitions(),
        })
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Topic({}, {} partitions)", self.name(), self.partitions())
    }
}
