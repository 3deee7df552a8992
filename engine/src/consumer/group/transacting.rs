//! Deliveries that a transaction acknowledges: held by it alone until it is decided.
//!
//! Invariants:
//! - A delivery that was taken has no lease any more, and its desk has it in flight: nobody else is given it.
//! - What a transaction acknowledges goes to the lanes while the desks are locked, so that it stands in the log before a
//!   reset that comes later, or is refused because of one that came before.
//! - A desk learns of the end when it is durable; the log has it by then, and is told nothing.

use super::acknowledger::Acknowledger;
use super::deliveries::DeliveryId;
use super::groups::Groups;
use super::held::Ended;
use super::partition::{GroupPartition, HeldPartition};
use super::shared::GroupShared;
use super::taken::Cause;
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::progress::{ProgressChange, ProgressEntry};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Offsets of a group's partition that a transaction holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldAck {
    pub(crate) group: u32,
    pub(crate) slot: u32,
    /// How often the group had been sent elsewhere in the partition when they were taken.
    pub(crate) resets: u64,
    pub(crate) offsets: Range<u64>,
}

impl HeldAck {
    /// What entries of a Prepare frame hold; after opening.
    pub(crate) fn of(entries: &[ProgressEntry]) -> Vec<HeldAck> {
        let finished = |entry: &ProgressEntry| match entry.change {
            ProgressChange::Finish { from, to } => {
                Some(HeldAck { group: entry.group, slot: entry.slot, resets: 0, offsets: from..to })
            }
            _ => None,
        };
        entries.iter().filter_map(finished).collect()
    }
}

/// What an open transaction acknowledges.
#[derive(Default)]
pub(crate) struct TransactionAcks {
    /// By group and slot: the group, and the place of the partition in it.
    partitions: BTreeMap<(u32, u32), (Arc<GroupShared>, u32)>,
    held: Vec<HeldAck>,
}

impl Acknowledger {
    /// Whether it belongs to this engine.
    pub(crate) fn is_of(&self, engine: &Arc<EngineInner>) -> bool {
        Arc::ptr_eq(&self.engine, engine)
    }

    /// Takes a delivery out of the member's hands, for a transaction.
    pub(crate) fn take_for(&self, acks: &mut TransactionAcks, id: DeliveryId) -> Result<()> {
        let ended = self.release_held(id)?;
        self.tell_in_transaction(id);
        let slot = self.group.partitions[id.partition as usize].partition.slot;
        let key = (self.group.id, slot);
        acks.partitions.entry(key).or_insert_with(|| (self.group.clone(), id.partition));
        let Ended { resets, lease } = ended;
        acks.push(HeldAck { group: key.0, slot, resets, offsets: lease.offsets });
        Ok(())
    }
}

impl TransactionAcks {
    fn push(&mut self, ack: HeldAck) {
        match self.held.last_mut() {
            Some(last)
                if (last.group, last.slot, last.resets, last.offsets.end)
                    == (ack.group, ack.slot, ack.resets, ack.offsets.start) =>
            {
                last.offsets.end = ack.offsets.end;
            }
            _ => self.held.push(ack),
        }
    }

    pub(crate) fn held(&self) -> &[HeldAck] {
        &self.held
    }

    /// Ranges of offsets: what they take in a frame.
    pub(crate) fn ranges(&self) -> usize {
        self.held.len()
    }

    /// The lanes of the partitions.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = u32> + '_ {
        self.partitions.values().map(|(group, at)| group.partitions[*at as usize].partition.lane)
    }

    /// Runs something with what goes into the logs, by lane; meanwhile no desk says anything else.
    ///
    /// # Errors
    /// `LeaseLost`: the group was sent elsewhere in a partition. `GroupDeleted`.
    pub(crate) fn with_entries<T>(&self, run: impl FnOnce(BTreeMap<u32, Vec<ProgressEntry>>) -> T) -> Result<T> {
        let mut locked: BTreeMap<(u32, u32), (&GroupPartition, HeldPartition<'_>)> = BTreeMap::new();
        for (key, (group, at)) in &self.partitions {
            group.check()?;
            let partition = &*group.partitions[*at as usize];
            locked.insert(*key, (partition, partition.lock_for_transaction()));
        }
        let mut entries: BTreeMap<u32, Vec<ProgressEntry>> = BTreeMap::new();
        for ack in &self.held {
            let (partition, held) = &locked[&(ack.group, ack.slot)];
            let changes = held.changes(ack.resets, ack.offsets.clone()).ok_or_else(|| Error::LeaseLost {
                topic: partition.partition.topic.to_string(),
                partition: partition.partition.partition,
                offset: ack.offsets.start,
            })?;
            let of_lane = entries.entry(partition.partition.lane).or_default();
            of_lane.extend(changes.into_iter().map(|change| ProgressEntry {
                group: ack.group,
                slot: ack.slot,
                change,
            }));
        }
        Ok(run(entries))
    }
}

impl Groups {
    /// What a transaction held is finished: the log says so.
    pub(crate) fn held_finished(engine: &EngineInner, held: &[HeldAck]) {
        for ack in held {
            match Self::find_partition(engine, ack.group, ack.slot) {
                Some((group, at)) => {
                    group.partitions[at as usize].finish_held(ack.resets, ack.offsets.clone());
                    group.arrivals.notify();
                }
                None => Self::let_go(engine, ack, true),
            }
        }
    }

    /// A transaction lets go of what it held.
    pub(crate) fn held_given_back(engine: &EngineInner, held: &[HeldAck], cause: Cause) {
        let now_ms = engine.groups.due_now_ms(engine);
        for ack @ HeldAck { group, slot, resets, offsets } in held {
            let Some((group, at)) = Self::find_partition(engine, *group, *slot) else {
                Self::let_go(engine, ack, false);
                continue;
            };
            let dead_letters = group.partitions[at as usize].give_back(*resets, offsets.clone(), cause, now_ms);
            group.arrivals.notify();
            group.bury(engine, at, *resets, dead_letters);
        }
    }

    fn find_partition(engine: &EngineInner, id: u32, slot: u32) -> Option<(Arc<GroupShared>, u32)> {
        let group = Self::find_by_id(engine, id)?;
        let at = group.partitions.iter().position(|of| of.partition.slot == slot)?;
        Some((group, at as u32))
    }
}
