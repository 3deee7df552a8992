//! What every group that reads a partition has finished, and where the partition can be cut by it.
//!
//! Invariants:
//! - The lane says how far that is, and what it says stands in its log, perhaps not durable yet. Who gives up records by
//!   it has the same lane write that down behind it.
//! - A partition is cut where one of its sealed segments begins or ends.

use super::sealed;
use super::shared::Partition;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The position of the group that is furthest behind.
#[derive(Debug)]
pub(crate) struct FinishedTo(AtomicU64);

/// No group reads the partition.
const NOBODY: u64 = u64::MAX;

impl Default for FinishedTo {
    fn default() -> Self {
        FinishedTo(AtomicU64::new(NOBODY))
    }
}

impl FinishedTo {
    pub(crate) fn set(&self, finished_to: Option<u64>) {
        self.0.store(finished_to.unwrap_or(NOBODY), Ordering::Release);
    }

    /// `None`: no group reads the partition, as far as is known.
    pub(crate) fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|finished_to| *finished_to != NOBODY)
    }
}

/// Where partitions can be cut so that nothing goes that a group has not finished; looked up again only where that has
/// moved.
#[derive(Default)]
pub(crate) struct FinishedCuts {
    /// By slot: what was known when it was looked up, and what was found.
    found: BTreeMap<u32, (Known, Option<u64>)>,
}

/// The position of the last group, and from which offset on nothing is sealed.
type Known = (u64, u64);

impl FinishedCuts {
    /// The first offset of a partition after the cut; `None`: no group reads it, or nobody can tell.
    pub(crate) fn of(&mut self, partition: &Partition) -> Option<u64> {
        let finished_to = partition.finished_to.get()?;
        let unsealed = partition.index().resident_offset();
        let known = (finished_to, unsealed);
        if let Some((before, cut)) = self.found.get(&partition.slot)
            && *before == known
        {
            return *cut;
        }
        let cut = match finished_to >= unsealed {
            true => Some(unsealed),
            // What is damaged is told to who reads it, and kept.
            false => sealed::first_offset_of_segment(partition, finished_to).ok()?,
        };
        self.found.insert(partition.slot, (known, cut));
        cut
    }
}
