//! Topics as users see them.

use crate::error::{Error, Result};
use crate::partition::shared::{Partition, TopicShared};
use std::sync::Arc;

/// Options of [`Engine::create_topic`](crate::Engine::create_topic).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicOptions {
    /// How many partitions, 1 to 65,536. Default 1. It cannot be changed later.
    pub partitions: u32,
}

impl Default for TopicOptions {
    fn default() -> Self {
        TopicOptions { partitions: 1 }
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
