//! All partitions by slot, for who knows only the slot: publishing what was withheld, making sidecars.

use super::shared::Partition;
use std::sync::{Arc, PoisonError, RwLock};

/// Partitions by slot; slots of deleted topics are empty.
#[derive(Default)]
pub(crate) struct PartitionTable {
    partitions: RwLock<Vec<Option<Arc<Partition>>>>,
}

impl PartitionTable {
    pub(crate) fn get(&self, slot: u32) -> Option<Arc<Partition>> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.get(slot as usize)?.clone()
    }

    pub(crate) fn insert(&self, partition: Arc<Partition>) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let slot = partition.slot as usize;
        if partitions.len() <= slot {
            partitions.resize(slot + 1, None);
        }
        partitions[slot] = Some(partition);
    }

    pub(crate) fn remove(&self, slots: std::ops::Range<u32>) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        for slot in slots {
            if let Some(partition) = partitions.get_mut(slot as usize) {
                *partition = None;
            }
        }
    }

    /// All partitions of a log in the order of their slots.
    pub(crate) fn of_log(&self, log: u32) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.iter().flatten().filter(|partition| partition.log.id == log).cloned().collect()
    }

    /// All partitions that a log is or was written for, in the order of their slots.
    pub(crate) fn standing_in(&self, log: u32) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        let stands = |partition: &&Arc<Partition>| partition.logs().any(|its| its.id == log);
        partitions.iter().flatten().filter(stands).cloned().collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.iter().flatten().count()
    }
}
