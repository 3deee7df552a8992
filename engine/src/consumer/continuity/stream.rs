//! What is known of one producer in one partition, and what the next numbers mean.
//!
//! | number | in a range that is | not delayed | delayed |
//! |---|---|---|---|
//! | the next one | | new | new |
//! | larger | | new, behind a gap | new, behind a gap |
//! | smaller | missing or pending | reorder, no longer missing | closes the gap, or a part |
//! | smaller | before the beginning | reorder | as expected |
//! | smaller | none | duplicate | duplicate |
//! | below the floor | forgotten | reorder | not judged |
//!
//! Invariants:
//! - All numbers in ranges are at least `floor` and below `next`.
//! - There is a gap only where a record that was not delayed was seen before (`is_based`), or the whole partition is read
//!   from its beginning. A delayed record says nothing of the numbers around its own: those may have been visible long
//!   before the place where reading began.

use super::ranges::{Range, Ranges, Unseen};
use crate::log::origin::Origin;

/// One producer in one partition.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) partition: u32,
    pub(super) producer: u32,
    /// The epoch of the largest number.
    pub(super) epoch: u32,
    /// Numbers from here on can be missed.
    pub(super) is_based: bool,
    /// It was used again since somebody last looked for one to forget.
    pub(super) is_recent: bool,
    /// One more than the largest number that was seen.
    pub(super) next: u64,
    /// What is smaller and was not seen has been forgotten.
    pub(super) floor: u64,
    pub(super) unseen: Ranges,
}

/// What one number, or several, mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Larger than all before. With the missing numbers before it, and the epoch before, if it was another one.
    New { missing: Option<(u64, u64)>, epoch_before: Option<u32> },
    /// It was there before.
    Duplicate,
    /// A smaller number, though not delayed.
    Reorder,
    /// A delayed record that was missing.
    Closes { gap_seen_at_offset: u64 },
    /// A delayed record from before the place where reading began.
    Expected,
    /// A delayed record whose number was forgotten.
    NotJudged,
}

impl Stream {
    /// Nothing was seen yet. `is_whole`: nothing is missing before number 0.
    pub(super) fn new(partition: u32, origin: Origin, is_whole: bool) -> Stream {
        Stream {
            partition,
            producer: origin.producer,
            epoch: origin.epoch,
            is_based: is_whole,
            is_recent: false,
            next: 0,
            floor: 0,
            unseen: Ranges::default(),
        }
    }

    /// The good case: exactly what comes next.
    #[inline]
    pub(super) fn goes_on_with(&self, origin: Origin) -> bool {
        self.next == origin.sequence && self.epoch == origin.epoch && self.is_based
    }

    /// Judges as many of `count` numbers as mean the same; returns how many.
    pub(super) fn judge(&mut self, first: Origin, count: u64, offset: u64, is_late: bool) -> (u64, Verdict) {
        let number = first.sequence;
        if number >= self.next {
            let verdict = self.go_on(first, offset, is_late);
            self.next = number.saturating_add(count);
            return (count, verdict);
        }
        if number < self.floor {
            let verdict = if is_late { Verdict::NotJudged } else { Verdict::Reorder };
            return (count.min(self.floor - number), verdict);
        }
        let Some(range) = self.unseen.find(number).copied() else {
            let end = self.unseen.behind(number).map_or(self.next, |range| range.first);
            return (count.min(end - number), Verdict::Duplicate);
        };
        let last = range.last.min(number.saturating_add(count - 1));
        self.unseen.take(number, last);
        let verdict = match range.kind {
            _ if !is_late => Verdict::Reorder,
            Unseen::Before => Verdict::Expected,
            Unseen::Missing | Unseen::Pending => Verdict::Closes { gap_seen_at_offset: range.seen_at_offset },
        };
        (last - number + 1, verdict)
    }

    fn go_on(&mut self, first: Origin, offset: u64, is_late: bool) -> Verdict {
        let kind = if self.is_based { Unseen::Missing } else { Unseen::Before };
        let mut missing = None;
        if self.next < first.sequence {
            let range = Range { first: self.next, last: first.sequence - 1, kind, seen_at_offset: offset };
            self.unseen.insert(range);
            missing = kind.is_missing().then_some((range.first, range.last));
        }
        self.is_based |= !is_late;
        let epoch_before = std::mem::replace(&mut self.epoch, first.epoch);
        Verdict::New { missing, epoch_before: (epoch_before != first.epoch).then_some(epoch_before) }
    }

    /// Forgets the smallest numbers that were not seen.
    pub(super) fn forget_lowest(&mut self) -> Option<Range> {
        let range = self.unseen.take_lowest()?;
        self.floor = range.last.saturating_add(1);
        Some(range)
    }

    /// The numbers that are missing.
    pub(super) fn missing(&self) -> impl Iterator<Item = &Range> {
        self.unseen.iter().filter(|range| range.kind.is_missing())
    }

    /// How many numbers are missing.
    pub(super) fn numbers_missing(&self) -> u64 {
        self.missing().fold(0, |sum, range| sum.saturating_add(range.numbers()))
    }

    /// How many are missing, and nobody has said why.
    pub(super) fn numbers_unexplained(&self) -> u64 {
        let unexplained = self.missing().filter(|range| range.kind == Unseen::Missing);
        unexplained.fold(0, |sum, range| sum.saturating_add(range.numbers()))
    }
}
