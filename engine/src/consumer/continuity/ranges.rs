//! Numbers of one producer in one partition that were not seen, as ranges.
//!
//! Invariants:
//! - Ranges are not empty and do not overlap. (They may touch.)
//! - All numbers below the producer's next one that are in no range were seen, explained, or forgotten.

use std::collections::BTreeMap;

/// What is known of numbers that were not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// They stand before the place where reading began, or are withheld: nobody misses them.
    Before,
    /// Missing, and nobody has said why.
    Missing,
    /// Missing, and will perhaps come.
    Pending,
}

impl Unseen {
    pub(super) fn is_missing(self) -> bool {
        self != Unseen::Before
    }
}

/// Consecutive numbers with the same history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) kind: Unseen,
    /// The offset of the record that showed the gap.
    pub(super) seen_at_offset: u64,
}

impl Range {
    pub(super) fn numbers(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// All that were not seen.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    by_first: BTreeMap<u64, Range>,
}

impl Ranges {
    pub(super) fn len(&self) -> usize {
        self.by_first.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Range> {
        self.by_first.values()
    }

    /// Adds a range that overlaps no other one.
    pub(super) fn insert(&mut self, range: Range) {
        debug_assert!(range.first <= range.last);
        debug_assert!(self.find(range.first).is_none() && self.find(range.last).is_none(), "{range:?} overlaps");
        self.by_first.insert(range.first, range);
    }

    /// The range with this number.
    pub(super) fn find(&self, number: u64) -> Option<&Range> {
        self.by_first.range(..=number).next_back().map(|(_, range)| range).filter(|range| range.last >= number)
    }

    /// The first range that begins behind this number.
    pub(super) fn behind(&self, number: u64) -> Option<&Range> {
        self.by_first.range(number.checked_add(1)?..).next().map(|(_, range)| range)
    }

    /// Takes numbers out that lie within one range.
    pub(super) fn take(&mut self, first: u64, last: u64) -> Option<Range> {
        let range = *self.find(first)?;
        debug_assert!(first <= last && last <= range.last);
        self.by_first.remove(&range.first);
        if range.first < first {
            self.by_first.insert(range.first, Range { last: first - 1, ..range });
        }
        if last < range.last {
            self.by_first.insert(last + 1, Range { first: last + 1, ..range });
        }
        Some(Range { first, last, ..range })
    }

    /// Takes the range with the smallest numbers.
    pub(super) fn take_lowest(&mut self) -> Option<Range> {
        self.by_first.pop_first().map(|(_, range)| range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> Range {
        Range { first, last, kind: Unseen::Missing, seen_at_offset: 0 }
    }

    fn bounds(ranges: &Ranges) -> Vec<(u64, u64)> {
        ranges.iter().map(|range| (range.first, range.last)).collect()
    }

    #[test]
    fn taking_leaves_what_lies_on_both_sides() {
        let mut ranges = Ranges::default();
        ranges.insert(range(3, 9));
        ranges.insert(range(20, 20));
        assert_eq!(ranges.take(5, 6), Some(range(5, 6)));
        assert_eq!(bounds(&ranges), [(3, 4), (7, 9), (20, 20)]);
        ranges.take(3, 4);
        ranges.take(9, 9);
        ranges.take(20, 20);
        assert_eq!(bounds(&ranges), [(7, 8)]);
        assert_eq!(ranges.take(9, 9), None);
    }

    #[test]
    fn finding_looks_into_ranges_and_behind_them() {
        let mut ranges = Ranges::default();
        ranges.insert(range(3, 9));
        ranges.insert(range(20, u64::MAX));
        let first = |found: Option<&Range>| found.map(|range| range.first);
        let found: Vec<_> = [2, 3, 9, 10, 20, u64::MAX].map(|number| first(ranges.find(number))).to_vec();
        assert_eq!(found, [None, Some(3), Some(3), None, Some(20), Some(20)]);
        let behind: Vec<_> = [2, 3, 10, 20, u64::MAX].map(|number| first(ranges.behind(number))).to_vec();
        assert_eq!(behind, [Some(3), Some(20), Some(20), None, None]);
        assert_eq!(ranges.take_lowest().map(|range| range.first), Some(3));
    }
}
