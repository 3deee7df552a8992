//! What a lane has acknowledged of a partition: how far each producer has come, and which of its numbers nobody sees.
//!
//! Invariant: producers stand in the order of their ids, each once; its ranges in the order of their numbers, apart from
//! each other.

use super::state::LogState;
use crate::log::origin::Origin;
use std::collections::BTreeMap;

/// Consecutive numbers, first and last.
pub(crate) type Numbers = (u64, u64);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// The topic's id: one of the same name that is created later has another.
    pub(crate) topic: u32,
    /// The partition's end: all that was acknowledged and is visible stands below.
    pub(crate) next_offset: u64,
    /// Not all that was cancelled is remembered.
    pub(crate) forgets_cancelled: bool,
    pub(crate) producers: Vec<AcknowledgedBy>,
}

/// Of one producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AcknowledgedBy {
    pub(crate) producer: u32,
    /// Of its last record.
    pub(crate) epoch: u32,
    /// The number of its next record; 0: it was deleted, and nobody knows any more how far it came.
    pub(crate) next: u64,
    pub(crate) withheld: Vec<Numbers>,
    /// Withheld, and then cancelled.
    pub(crate) cancelled: Vec<Numbers>,
}

impl LogState {
    /// What is acknowledged of a partition when all that the log has of it is durable. Looks at all producers and withheld
    /// records of the lane.
    pub(crate) fn acknowledged(&self, topic: u32, slot: u32) -> Acknowledged {
        let partition = self.partition(slot);
        let mut producers: BTreeMap<u32, AcknowledgedBy> = BTreeMap::new();
        if partition.next_sequence > 0 {
            producers.entry(Origin::UNNAMED).or_default().next = partition.next_sequence;
        }
        for (producer, _, last) in self.numbers.iter().filter(|(_, of, _)| *of == slot) {
            let by = producers.entry(producer).or_default();
            (by.epoch, by.next) = (last.epoch, last.next);
        }
        for (_, withheld) in self.withheld().filter(|(_, withheld)| withheld.slot == slot) {
            let producer = withheld.origin.producer;
            producers.entry(producer).or_default().withheld.extend(withheld.numbers_of(producer, slot));
        }
        for (producer, numbers) in self.cancelled.of_slot(slot) {
            producers.entry(producer).or_default().cancelled.push(numbers);
        }
        for (producer, by) in &mut producers {
            by.producer = *producer;
            join(&mut by.withheld);
            join(&mut by.cancelled);
        }
        let producers = producers.into_values().collect();
        let forgets_cancelled = self.cancelled.is_full();
        Acknowledged { topic, next_offset: partition.next_offset, forgets_cancelled, producers }
    }
}

impl Acknowledged {
    /// How many numbers have neither an offset, nor are they withheld, nor known to be cancelled: so many were
    /// cancelled and forgotten. (A deleted producer makes it less.)
    pub(crate) fn cancelled_and_forgotten(&self) -> u64 {
        let count = |ranges: &[Numbers]| ranges.iter().map(|(first, last)| last - first + 1).sum::<u64>();
        let unaccounted = |by: &AcknowledgedBy| by.next.saturating_sub(count(&by.withheld) + count(&by.cancelled));
        let all: u64 = self.producers.iter().map(unaccounted).sum();
        if self.forgets_cancelled { all.saturating_sub(self.next_offset) } else { 0 }
    }
}

/// Puts ranges in order, and makes one of those that touch.
fn join(ranges: &mut Vec<Numbers>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let touches = next.0 <= before.1.saturating_add(1);
        if touches {
            before.1 = before.1.max(next.1);
        }
        touches
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::state::Withheld;
    use crate::log::position::{Identity, Position};

    #[test]
    fn each_producer_of_the_partition_is_listed_with_what_nobody_sees() {
        let mut state = LogState::default();
        let origin = |producer, sequence| Origin { producer, epoch: 2, sequence };
        state.number(4, origin(0, 0), 9, None);
        state.number(4, origin(7, 0), 5, None);
        state.number(8, origin(6, 0), 5, None);
        for (at, (producer, sequence)) in [(7, 3), (7, 1), (7, 2), (3, 8)].into_iter().enumerate() {
            let identity = Identity { log: 0, position: Position(at as u64 * 8) };
            let origin = origin(producer, sequence);
            let (due_ms, frame_bytes, timestamp_max_ms) = (1, 64, 0);
            state.withhold(identity, Withheld { slot: 4, count: 1, due_ms, frame_bytes, timestamp_max_ms, origin });
        }
        state.discard(Identity { log: 0, position: Position(8) }).unwrap();
        state.assign(4, 14, 0);
        let acknowledged = state.acknowledged(5, 4);
        assert_eq!((acknowledged.topic, acknowledged.next_offset), (5, 14));
        let by = |producer, epoch, next, withheld: &[Numbers], cancelled: &[Numbers]| AcknowledgedBy {
            producer,
            epoch,
            next,
            withheld: withheld.to_vec(),
            cancelled: cancelled.to_vec(),
        };
        // Of number 3 only what is withheld is known: it was deleted.
        let expected = [by(0, 0, 9, &[], &[]), by(3, 0, 0, &[(8, 8)], &[]), by(7, 2, 5, &[(2, 3)], &[(1, 1)])];
        assert_eq!(acknowledged.producers, expected);
    }
}
