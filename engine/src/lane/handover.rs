//! What the logs of another number of lanes take over from those that were written before.
//!
//! Invariants:
//! - Each partition, and each frame that is withheld for it, goes to exactly one log: that of its new lane. With it go
//!   the numbers of its producers, the receipts that are remembered, how far groups have come, and what transactions that
//!   are prepared have in it.
//! - Identities stay what they are; they name the log that a frame was first written to.
//! - Append times never go back for any partition, whichever log it comes from.

use super::state::LogState;
use super::transactions::{Prepared, TransactionKey};
use crate::bounds::WITHHELD_RECORDS_CEILING;
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The states that the logs of `lanes` lanes begin with; `earlier` is in the order of the lanes before.
pub(crate) fn hand_over(earlier: &[&LogState], lanes: u32) -> Result<Vec<LogState>> {
    let mut states = vec![LogState::default(); lanes as usize];
    for (lane, state) in earlier.iter().enumerate() {
        // Whole frames may say anything; what another lane has is not this one's to give.
        let was_its = |slot: u32| slot as usize % earlier.len() == lane;
        for slot in state.slots().filter(|slot| was_its(*slot)) {
            states[(slot % lanes) as usize].take_over(slot, state.partition(slot));
        }
        for (identity, withheld) in state.withheld().filter(|(_, withheld)| was_its(withheld.slot)) {
            if !canary::sings(Canary::ForgetWithheld) {
                states[(withheld.slot % lanes) as usize].withhold(identity, withheld);
            }
        }
        for (producer, slot, last) in state.numbers.iter().filter(|(_, slot, _)| was_its(*slot)) {
            states[(slot % lanes) as usize].numbers.set(producer, slot, last.clone());
        }
        for original in state.originals.iter().filter(|original| was_its(original.slot)) {
            states[(original.slot % lanes) as usize].originals.push(original.clone());
        }
        for (group, slot, _) in state.groups.iter().filter(|(_, slot, _)| was_its(*slot)) {
            states[(slot % lanes) as usize].groups.take_over(&state.groups, group, slot);
        }
        for decided in state.transactions.decided() {
            states[lane % lanes as usize].transactions.decide(decided.clone());
        }
        for (lane, target) in (0..).zip(&mut states) {
            target.cancelled.take_over(&state.cancelled, |slot| was_its(slot) && slot % lanes == lane);
        }
        for target in &mut states {
            target.append_time_ms = target.append_time_ms.max(state.append_time_ms);
        }
    }
    hand_over_prepared(earlier, &mut states);
    states[0].catalog = earlier[0].catalog.clone();
    match states.iter().map(LogState::withheld_records).max() {
        Some(count) if count > WITHHELD_RECORDS_CEILING => Err(Error::TooMany {
            what: "withheld records of one lane",
            count,
            count_max: WITHHELD_RECORDS_CEILING,
            advice: "leave `lanes` unset until some of them are due",
        }),
        _ => Ok(states),
    }
}

/// The parts of each transaction that is prepared, put together and shared out anew.
fn hand_over_prepared(earlier: &[&LogState], states: &mut [LogState]) {
    let mut whole: BTreeMap<TransactionKey, Prepared> = BTreeMap::new();
    for part in earlier.iter().flat_map(|state| state.transactions.prepared()) {
        match whole.entry(part.key) {
            Entry::Vacant(entry) => drop(entry.insert(part.clone())),
            Entry::Occupied(mut entry) => {
                let whole = entry.get_mut();
                whole.frames.extend(&part.frames);
                whole.acks.extend(part.acks.iter().cloned());
                whole.prepared_ms = whole.prepared_ms.max(part.prepared_ms);
            }
        }
    }
    let lanes = states.len() as u32;
    for whole in whole.into_values() {
        let part_of = |(lane, state): (u32, &LogState)| Prepared {
            frames: whole.frames.iter().copied().filter(|frame| state.withheld_frame(*frame).is_some()).collect(),
            acks: whole.acks.iter().filter(|entry| entry.slot % lanes == lane).cloned().collect(),
            ..whole.clone()
        };
        let parts: Vec<Prepared> = (0..).zip(&*states).map(part_of).collect();
        let has_part = |part: &Prepared| !part.frames.is_empty() || !part.acks.is_empty();
        // One whose partitions are all deleted is undecided all the same.
        let somewhere = parts.iter().any(has_part);
        let participants = parts.iter().filter(|part| has_part(part)).count().max(1) as u32;
        for (lane, part) in parts.into_iter().enumerate() {
            if has_part(&part) || (lane == 0 && !somewhere) {
                let prepared = states[lane].transactions.prepare(Prepared { participants, ..part });
                prepared.expect("each transaction is shared out once");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::originals::Original;
    use crate::lane::progress::{ProgressChange, ProgressEntry};
    use crate::lane::state::Withheld;
    use crate::log::origin::Origin;
    use crate::log::position::{Identity, Position};
    use std::sync::Arc;

    /// Two logs of two lanes, with a record withheld at the same position in each.
    fn two() -> [LogState; 2] {
        [0, 1].map(|lane| {
            let mut state = LogState::default();
            state.clamp_append_time(10 + i64::from(lane));
            for slot in [lane, lane + 2, lane + 4] {
                state.assign(slot, slot + 1, 7);
                state.number(slot, Origin { producer: 1, epoch: 1, sequence: 0 }, slot + 1, None);
                state.cancelled.note(slot, Origin::default(), 1);
            }
            let (origin, frame_bytes, timestamp_max_ms) = (Origin::default(), 184, 9);
            let withheld = Withheld { slot: lane + 4, count: 1, due_ms: 50, frame_bytes, timestamp_max_ms, origin };
            let identity = Identity { log: lane, position: Position(4096) };
            state.withhold(identity, withheld);
            let (slot, offset, timestamp_ms) = (lane + 2, Some(0), 0);
            let message_id = Some(Arc::from(&b"id"[..]));
            let original =
                Original { slot, origin, is_numbered: false, message_id, offset, identity, index: 0, timestamp_ms };
            state.originals.push(original);
            state
        })
    }

    #[test]
    fn every_partition_and_withheld_frame_goes_to_its_new_lane_alone() {
        let [first, second] = two();
        for lanes in [1, 2, 3, 5] {
            let states = hand_over(&[&first, &second], lanes).unwrap();
            for slot in 0..6 {
                for (lane, state) in states.iter().enumerate() {
                    let expected = u64::from(slot + 1) * u64::from(slot % lanes == lane as u32);
                    assert_eq!(state.partition(slot).next_offset, expected, "slot {slot}, lane {lane} of {lanes}");
                    assert_eq!(state.next_sequence(1, slot), expected, "slot {slot}, lane {lane} of {lanes}");
                    assert_eq!(state.cancelled.of(slot, 0).count() as u64, expected.min(1));
                    let remembers = expected > 0 && [2, 3].contains(&slot);
                    assert_eq!(state.originals.by_id(slot, b"id").is_some(), remembers, "slot {slot}");
                }
            }
            assert_eq!(states.iter().map(LogState::withheld_records).sum::<u64>(), 2);
            assert!(states.iter().all(|state| state.append_time_ms == 11));
            for (lane, state) in states.iter().enumerate() {
                assert!(state.withheld().all(|(_, withheld)| withheld.slot as usize % lanes as usize == lane));
                // What is counted for the reserve is what a checkpoint reads back.
                let read = LogState::decode(&state.encode()).unwrap();
                assert_eq!(read.encoded_bytes_max(), state.encoded_bytes_max());
            }
        }
    }

    /// What is prepared in two logs is shared out anew, whole, and says in how many it stands now.
    #[test]
    fn what_is_prepared_goes_with_its_partitions() {
        let [mut first, mut second] = two();
        let key = TransactionKey { log: 0, generation: 1, number: 2 };
        for (log, state) in [(0, &mut first), (1, &mut second)] {
            let change = ProgressChange::Finish { from: 0, to: 1 };
            let acks = vec![ProgressEntry { group: 1, slot: log + 2, change }];
            let (id, checker, frames) = ("a".into(), "c".into(), vec![Identity { log, position: Position(4096) }]);
            let (prepared_ms, participants, commits) = (i64::from(log), 2, false);
            let part = Prepared { key, id, checker, prepared_ms, participants, commits, frames, acks };
            state.transactions.prepare(part).unwrap();
        }
        for lanes in [1, 2, 3, 5] {
            let states = hand_over(&[&first, &second], lanes).unwrap();
            let parts: Vec<(u32, &Prepared)> = (0..)
                .zip(&states)
                .flat_map(|(lane, state)| state.transactions.prepared().map(move |part| (lane, part)))
                .collect();
            assert!(parts.iter().all(|(_, part)| part.participants as usize == parts.len() && part.prepared_ms == 1));
            assert_eq!(parts.iter().map(|(_, part)| part.frames.len()).sum::<usize>(), 2);
            for (lane, part) in &parts {
                assert!(part.acks.iter().all(|ack| ack.slot % lanes == *lane));
                let is_there = |frame: &Identity| states[*lane as usize].withheld_frame(*frame).is_some();
                assert!(part.frames.iter().all(is_there));
            }
            assert_eq!(parts.iter().map(|(_, part)| part.acks.len()).sum::<usize>(), 2);
        }
    }

    #[test]
    fn frames_of_two_logs_at_one_position_stay_two() {
        let [first, second] = two();
        let mut states = hand_over(&[&first, &second], 1).unwrap();
        for log in [0, 1] {
            let entry = states[0].publish(Identity { log, position: Position(4096) }, Vec::new()).unwrap();
            assert_eq!((entry.slot, entry.base_offset), (log + 4, u64::from(log + 5)));
        }
    }
}
