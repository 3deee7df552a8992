//! The numbers of records that were withheld and then cancelled: consumers miss them, and nothing was lost.
//!
//! Invariants:
//! - It is a function of the log, and part of each checkpoint.
//! - Bounded: the oldest goes first. What a stretch takes in a checkpoint is less than the withheld record took.

use crate::log::codec::{Put, Reader};
use crate::log::origin::Origin;
use std::collections::{HashMap, VecDeque};

/// Stretches of numbers that a lane remembers.
pub(crate) const CANCELLED_MAX: usize = 10_000;
/// What a stretch takes in a checkpoint.
const CANCELLED_BYTES: u64 = 24;
const _: () = assert!(CANCELLED_BYTES <= super::state::WITHHELD_BYTES);

/// Numbers of one producer in one partition that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    slot: u32,
    producer: u32,
    first: u64,
    count: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cancelled {
    stretches: VecDeque<Stretch>,
}

impl Cancelled {
    /// Notes records from `origin` on.
    pub(crate) fn note(&mut self, slot: u32, origin: Origin, count: u32) {
        let Origin { producer, sequence: first, .. } = origin;
        let count = u64::from(count);
        if let Some(last) = self.stretches.back_mut()
            && (last.slot, last.producer, last.first.wrapping_add(last.count)) == (slot, producer, first)
        {
            last.count += count;
            return;
        }
        if self.stretches.len() >= CANCELLED_MAX {
            self.stretches.pop_front();
        }
        self.stretches.push_back(Stretch { slot, producer, first, count });
    }

    /// The numbers of a producer in a partition, as first and last, in no order.
    pub(crate) fn of(&self, slot: u32, producer: u32) -> impl Iterator<Item = (u64, u64)> + '_ {
        let is_meant = move |stretch: &&Stretch| (stretch.slot, stretch.producer) == (slot, producer);
        self.stretches.iter().filter(is_meant).map(|stretch| (stretch.first, stretch.first + (stretch.count - 1)))
    }

    /// Whether older ones may be forgotten.
    pub(crate) fn is_full(&self) -> bool {
        self.stretches.len() >= CANCELLED_MAX
    }

    /// The numbers of all producers in a partition, in no order.
    pub(crate) fn of_slot(&self, slot: u32) -> impl Iterator<Item = (u32, (u64, u64))> + '_ {
        let numbers = |of: &Stretch| (of.producer, (of.first, of.first + (of.count - 1)));
        self.stretches.iter().filter(move |stretch| stretch.slot == slot).map(numbers)
    }

    /// Takes over what another log has of a slot that is kept.
    pub(crate) fn take_over(&mut self, other: &Cancelled, is_kept: impl Fn(u32) -> bool) {
        self.stretches.extend(other.stretches.iter().filter(|stretch| is_kept(stretch.slot)));
        let excess = self.stretches.len().saturating_sub(CANCELLED_MAX);
        self.stretches.drain(..excess);
    }

    /// The same by other slots; those that have none are left out.
    pub(crate) fn moved_to(&self, slots: &HashMap<u32, u32>) -> Cancelled {
        let moved = |stretch: &Stretch| Some(Stretch { slot: *slots.get(&stretch.slot)?, ..*stretch });
        Cancelled { stretches: self.stretches.iter().filter_map(moved).collect() }
    }

    pub(crate) fn retain(&mut self, is_kept: impl Fn(u32) -> bool) {
        self.stretches.retain(|stretch| is_kept(stretch.slot));
    }

    /// Bytes that [`Cancelled::encode`] takes.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        4 + self.stretches.len() as u64 * CANCELLED_BYTES
    }

    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_u32(self.stretches.len() as u32);
        for stretch in &self.stretches {
            target.put_u32(stretch.slot);
            target.put_u32(stretch.producer);
            target.put_u64(stretch.first);
            target.put_u64(stretch.count);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Cancelled> {
        let mut cancelled = Cancelled::default();
        for _ in 0..Some(reader.u32()?).filter(|count| *count as usize <= CANCELLED_MAX)? {
            let (slot, producer, first, count) = (reader.u32()?, reader.u32()?, reader.u64()?, reader.u64()?);
            if count == 0 || first.checked_add(count).is_none() {
                return None;
            }
            cancelled.stretches.push_back(Stretch { slot, producer, first, count });
        }
        Some(cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_take_one_place_and_the_oldest_go() {
        let mut cancelled = Cancelled::default();
        let origin = |producer, sequence| Origin { producer, epoch: 0, sequence };
        for sequence in [4, 5, 9] {
            cancelled.note(1, origin(0, sequence), 1);
        }
        cancelled.note(1, origin(2, 10), 1);
        assert_eq!(cancelled.of(1, 0).collect::<Vec<_>>(), [(4, 5), (9, 9)]);
        let mut bytes = Vec::new();
        cancelled.encode(&mut bytes);
        assert_eq!(cancelled.encoded_bytes(), bytes.len() as u64);
        assert_eq!(Cancelled::decode(&mut Reader::new(&bytes)).as_ref(), Some(&cancelled));
        for length in 0..bytes.len() {
            assert_eq!(Cancelled::decode(&mut Reader::new(&bytes[..length])), None);
        }
        for sequence in 0..CANCELLED_MAX as u64 {
            cancelled.note(3, origin(0, 2 * sequence), 1);
        }
        assert_eq!((cancelled.of(1, 0).count(), cancelled.of(3, 0).count()), (0, CANCELLED_MAX));
    }
}
