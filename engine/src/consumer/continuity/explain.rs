//! Why numbers are missing: what the log knows of them.
//!
//! ```text
//!  first offset        the reader          end
//!      | 12 13 14 (15) 16 17 |  18  15  19  |        15 was delayed, and comes later
//!        ^ the first number that was not delayed: smaller ones were given up, if any were
//! ```
//!
//! Invariant: asked in this order, nothing changes from one reason to another in between unnoticed: what is withheld (with
//! all that was published before visible in the index), then what is visible, then what was given up.

use super::missing::MissingReason;
use crate::consumer::records::Records;
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::shared::Message;
use crate::lane::state::Unseen;
use crate::log::origin::Origin;
use crate::partition::read_ahead::ReadAhead;
use crate::partition::reader::PartitionReader;
use crate::partition::shared::Partition;
use crate::sync::lock;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Consecutive numbers, first and last.
type Numbers = (u64, u64);

/// So many numbers are looked for one by one; of more, those behind are looked for in another turn.
const NUMBERS_MAX: u64 = 1 << 20;

/// Why numbers of a producer are missing to somebody who has read the partition up to `offset`, in their order.
pub(in crate::consumer) fn explain(
    engine: &EngineInner,
    partition: &Arc<Partition>,
    producer: u32,
    (first, last): Numbers,
    offset: u64,
) -> Result<Vec<(Numbers, MissingReason)>> {
    let last = last.min(first.saturating_add(NUMBERS_MAX - 1));
    let unseen = unseen(engine, partition, producer)?;
    let mut open: BTreeSet<u64> = (first..=last).collect();
    let mut reasons = Vec::new();
    let mut explain = |open: &mut BTreeSet<u64>, (from, to): Numbers, reason| {
        let explained: Vec<u64> = open.range(from..=to.max(from)).copied().collect();
        for number in explained {
            open.remove(&number);
            reasons.push((number, reason));
        }
    };
    unseen.withheld.iter().for_each(|numbers| explain(&mut open, *numbers, MissingReason::Pending));
    unseen.cancelled.iter().for_each(|numbers| explain(&mut open, *numbers, MissingReason::Cancelled));
    let mut is_damaged = false;
    if !open.is_empty() {
        // Visible by now, behind where the reader is.
        is_damaged |= look_through(partition, offset, |origin, _| {
            if origin.producer == producer {
                explain(&mut open, (origin.sequence, origin.sequence), MissingReason::Pending);
            }
            !open.is_empty()
        })?;
    }
    let first_offset = partition.index().first_offset;
    if !open.is_empty() && first_offset > 0 {
        let mut kept_from = u64::MAX;
        is_damaged |= look_through(partition, first_offset, |origin, is_late| {
            if origin.producer == producer && !is_late {
                kept_from = origin.sequence;
            }
            kept_from == u64::MAX
        })?;
        if kept_from > 0 {
            explain(&mut open, (0, kept_from - 1), MissingReason::Expired);
        }
    }
    let rest = if is_damaged { MissingReason::Corrupt } else { MissingReason::Unknown };
    explain(&mut open, (0, u64::MAX), rest);
    Ok(joined(reasons))
}

/// What is withheld and what was cancelled.
fn unseen(engine: &EngineInner, partition: &Partition, producer: u32) -> Result<Unseen> {
    let slot = partition.slot;
    if let Some(unseen) = engine.unseen_from_outside(partition.log.id, producer, slot) {
        return Ok(unseen);
    }
    let Some(lane) = engine.lanes.get(partition.lane as usize) else { return Ok(Unseen::default()) };
    lane.check()?;
    let list = Arc::new(Mutex::new(Unseen::default()));
    lane.ask(|reply| Message::ListUnseen { producer, slot, list: list.clone(), reply })?;
    let unseen = std::mem::take(&mut *lock(&list));
    Ok(unseen)
}

/// Shows who wrote the records from an offset on, while that is wanted; says whether some cannot be read.
fn look_through(partition: &Arc<Partition>, offset: u64, mut show: impl FnMut(Origin, bool) -> bool) -> Result<bool> {
    let mut reader = PartitionReader::new(partition.clone(), offset);
    let mut ahead = ReadAhead::new(0);
    loop {
        let chunk = match reader.next_chunk(u32::MAX, &mut ahead) {
            Err(Error::Truncated { to, .. }) => {
                reader.seek(to, &mut ahead);
                continue;
            }
            Err(Error::Damaged { .. } | Error::Io(_)) => return Ok(true),
            chunk => chunk?,
        };
        let Some(chunk) = chunk else { return Ok(false) };
        let mut records = Records::default();
        records.push(partition.clone(), chunk);
        if !records.iter().all(|record| show(record.origin(), record.is_late())) {
            return Ok(false);
        }
    }
}

/// Numbers that follow each other for the same reason become one.
fn joined(mut reasons: Vec<(u64, MissingReason)>) -> Vec<(Numbers, MissingReason)> {
    reasons.sort_unstable();
    let mut all: Vec<(Numbers, MissingReason)> = Vec::new();
    for (number, reason) in reasons {
        match all.last_mut() {
            Some(((_, last), same)) if *same == reason && *last + 1 == number => *last = number,
            _ => all.push(((number, number), reason)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_reason_become_one() {
        let (pending, expired) = (MissingReason::Pending, MissingReason::Expired);
        let reasons = vec![(3, pending), (5, expired), (4, pending), (7, expired), (6, expired)];
        assert_eq!(joined(reasons), [((3, 4), pending), ((5, 7), expired)]);
    }
}
