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

    /// Two numbers; zero: no bound.
    pub(crate) fn put(self, target: &mut Vec<u8>) {
        target.put_u64(self.retention_ms.unwrap_or(0));
        target.put_u64(self.retention_bytes.unwrap_or(0));
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<Retention> {
        Some(Retention::new().retention_ms(reader.u64()?).retention_bytes(reader.u64()?))
    }

    /// A bound of zero is none: the log has no other way to say it.
    pub(crate) fn normalized(self) -> Self {
        Self {
            retention_ms: self.retention_ms.filter(|ms| *ms > 0),
            retention_bytes: self.retention_bytes.filter(|bytes| *bytes > 0),
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
