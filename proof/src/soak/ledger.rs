//! What is known of one partition: which record has which offset.
//!
//! Invariants:
//! - Runs do not overlap, and neighbours that go on in both offsets and sequences are one run: what is kept here
//!   grows with the holes in what was sent, not with the records.
//! - Nothing below the first offset that was told is remembered.
//! - In an ordered partition sequences rise with offsets, so that none can be there twice.

use super::message::Run;
use crate::checker::Anomaly;
use std::collections::BTreeMap;

/// A partition.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Nothing below is kept, as far as was said.
    pub(super) first: u64,
    /// A reader was told that nothing below is kept; the next opening must agree.
    pub(super) told: u64,
    /// By offset: the first sequence, and how many.
    runs: BTreeMap<u64, (u32, u32)>,
}

/// What is wrong, and in which words.
pub(super) type Wrong = (Anomaly, String);

impl Ledger {
    /// The offset behind everything that is known to be there.
    pub(super) fn end(&self) -> u64 {
        let last = self.runs.last_key_value().map_or(0, |(offset, (_, count))| offset + u64::from(*count));
        last.max(self.first)
    }

    /// Takes in where records are. Returns those that were not known before.
    pub(super) fn learn(&mut self, run: Run, ordered: bool) -> Result<Vec<Run>, Wrong> {
        let mut new = Vec::new();
        let mut at = run.offset.max(self.first);
        while at < run.end() {
            let sequence = run.sequence + (at - run.offset) as u32;
            let known = self.runs.range(..=at).next_back().map(|(offset, known)| (*offset, *known));
            if let Some((offset, (first, count))) = known
                && at < offset + u64::from(count)
            {
                let stands = first + (at - offset) as u32;
                if stands != sequence {
                    let text = format!("offset {at} has record {sequence}, and had record {stands}");
                    return Err((Anomaly::InconsistentOffset, text));
                }
                at = run.end().min(offset + u64::from(count));
                continue;
            }
            let next = self.runs.range(at..).next().map(|(offset, (first, _))| (*offset, *first));
            let end = next.map_or(run.end(), |(offset, _)| run.end().min(offset));
            let piece = Run { offset: at, sequence, count: (end - at) as u32, ..run };
            if ordered {
                let before = known.map(|(_, (first, count))| first + count - 1);
                let last = sequence + (piece.count - 1);
                if before.is_some_and(|before| before >= sequence) || next.is_some_and(|(_, after)| after <= last) {
                    let text = format!(
                        "records {sequence} to {last} stand at offset {at}, behind {before:?} and before {:?}",
                        next.map(|(_, after)| after)
                    );
                    return Err((Anomaly::NonmonotonicSend, text));
                }
            }
            self.insert(piece);
            new.push(piece);
            at = end;
        }
        Ok(new)
    }

    /// Forgets what is given up. Returns it.
    pub(super) fn forget_below(&mut self, first: u64) -> Vec<Run> {
        self.first = self.first.max(first);
        let mut gone = Vec::new();
        while let Some(entry) = self.runs.first_entry()
            && *entry.key() < first
        {
            let (offset, (sequence, count)) = entry.remove_entry();
            let kept_from = first.min(offset + u64::from(count));
            let lost = (kept_from - offset) as u32;
            gone.push(Run { partition: 0, offset, sequence, count: lost });
            if lost < count {
                self.runs.insert(kept_from, (sequence + lost, count - lost));
            }
        }
        gone
    }

    /// The first offset from `from` on, below `end`, whose record is not known.
    pub(super) fn hole(&self, from: u64, end: u64) -> Option<u64> {
        let mut at = from;
        for (offset, (_, count)) in &self.runs {
            if *offset > at {
                break;
            }
            at = at.max(offset + u64::from(*count));
        }
        (at < end).then_some(at)
    }

    /// How many runs are remembered.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    fn insert(&mut self, piece: Run) {
        let Run { mut offset, mut sequence, mut count, .. } = piece;
        if let Some((before, (first, length))) = self.runs.range(..offset).next_back().map(|(at, run)| (*at, *run))
            && before + u64::from(length) == offset
            && first.wrapping_add(length) == sequence
        {
            (offset, sequence, count) = (before, first, length + count);
        }
        let end = offset + u64::from(count);
        if let Some((first, length)) = self.runs.get(&end).copied()
            && first == sequence.wrapping_add(count)
        {
            self.runs.remove(&end);
            count += length;
        }
        self.runs.insert(offset, (sequence, count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(offset: u64, sequence: u32, count: u32) -> Run {
        Run { partition: 0, offset, sequence, count }
    }

    fn anomaly(result: Result<Vec<Run>, Wrong>) -> Anomaly {
        result.unwrap_err().0
    }

    #[test]
    fn what_goes_on_is_one_run_in_whatever_order_it_is_learnt() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.learn(run(10, 110, 10), true).unwrap(), [run(10, 110, 10)]);
        assert_eq!(ledger.learn(run(0, 100, 5), true).unwrap(), [run(0, 100, 5)]);
        assert_eq!(ledger.learn(run(3, 103, 9), true).unwrap(), [run(5, 105, 5)], "only what lies between is new");
        assert_eq!((ledger.runs(), ledger.end(), ledger.hole(0, 20)), (1, 20, None));
        assert_eq!(ledger.hole(0, 21), Some(20));
        ledger.learn(run(21, 200, 1), true).unwrap();
        assert_eq!((ledger.runs(), ledger.hole(0, 22)), (2, Some(20)));
    }

    #[test]
    fn another_record_at_an_offset_and_one_out_of_its_place_are_found() {
        let mut ledger = Ledger::default();
        ledger.learn(run(0, 100, 5), true).unwrap();
        assert_eq!(anomaly(ledger.learn(run(4, 105, 1), true)), Anomaly::InconsistentOffset);
        assert_eq!(anomaly(ledger.learn(run(5, 104, 1), true)), Anomaly::NonmonotonicSend, "it is there already");
        ledger.learn(run(8, 110, 1), true).unwrap();
        assert_eq!(anomaly(ledger.learn(run(6, 109, 2), true)), Anomaly::NonmonotonicSend, "one that comes again");
        ledger.learn(run(6, 50, 1), false).unwrap();
    }

    #[test]
    fn what_is_given_up_is_forgotten() {
        let mut ledger = Ledger::default();
        ledger.learn(run(0, 100, 10), true).unwrap();
        assert_eq!(ledger.forget_below(4), [run(0, 100, 4)]);
        assert_eq!((ledger.first, ledger.end()), (4, 10));
        ledger.learn(run(0, 7, 4), true).unwrap();
        assert_eq!(anomaly(ledger.learn(run(4, 7, 1), true)), Anomaly::InconsistentOffset);
        ledger.forget_below(30);
        assert_eq!((ledger.runs(), ledger.end()), (0, 30));
    }
}
