//! Ranges of offsets, each with a tag.
//!
//! Invariant: ranges are not empty and do not overlap; ones that touch have different tags.

use std::collections::BTreeMap;
use std::ops::Range;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Spans<T> {
    /// End and tag by start.
    ranges: BTreeMap<u64, (u64, T)>,
    offsets: u64,
}

impl<T> Default for Spans<T> {
    fn default() -> Self {
        Spans { ranges: BTreeMap::new(), offsets: 0 }
    }
}

impl<T: Copy + Eq> Spans<T> {
    /// How many offsets are in them.
    pub(super) fn offsets(&self) -> u64 {
        self.offsets
    }

    /// The first range.
    pub(super) fn first(&self) -> Option<(Range<u64>, T)> {
        self.ranges.first_key_value().map(|(start, (end, tag))| (*start..*end, *tag))
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Range<u64>, T)> + '_ {
        self.ranges.iter().map(|(start, (end, tag))| (*start..*end, *tag))
    }

    /// Adds offsets of which none is there.
    pub(super) fn insert(&mut self, offsets: Range<u64>, tag: T) {
        if offsets.is_empty() {
            return;
        }
        let before = self.ranges.range(..offsets.end).next_back().map(|(start, (end, tag))| (*start, *end, *tag));
        assert!(before.is_none_or(|(_, end, _)| end <= offsets.start), "an offset is in one range at most");
        self.offsets += offsets.end - offsets.start;
        let start = match before {
            Some((start, end, before)) if end == offsets.start && before == tag => start,
            _ => offsets.start,
        };
        let end = match self.ranges.get(&offsets.end) {
            Some((end, behind)) if *behind == tag => {
                let end = *end;
                self.ranges.remove(&offsets.end);
                end
            }
            _ => offsets.end,
        };
        self.ranges.insert(start, (end, tag));
    }

    /// Takes out what lies between two offsets.
    pub(super) fn cut(&mut self, offsets: Range<u64>) {
        if self.ranges.is_empty() || offsets.is_empty() {
            return;
        }
        while let Some((&start, &(end, tag))) = self.ranges.range(..offsets.end).next_back() {
            if end <= offsets.start {
                return;
            }
            self.ranges.remove(&start);
            self.offsets -= end.min(offsets.end) - start.max(offsets.start);
            if end > offsets.end {
                self.ranges.insert(offsets.end, (end, tag));
            }
            if start < offsets.start {
                self.ranges.insert(start, (offsets.start, tag));
                return;
            }
        }
    }

    /// The pieces between two offsets that are in no range.
    pub(super) fn gaps(&self, offsets: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = offsets.start;
        let first = self.ranges.range(..=at).next_back().map_or(at, |(start, _)| *start);
        for (start, (end, _)) in self.ranges.range(first..offsets.end.max(first)) {
            if at < *start {
                gaps.push(at..*start);
            }
            at = at.max(*end);
        }
        if at < offsets.end {
            gaps.push(at..offsets.end);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_a_map_of_offsets(steps in prop::collection::vec((0u8..3, 0u64..60, 0u64..9, 0u8..2), 0..60)) {
            let mut spans = Spans::default();
            let mut model: BTreeMap<u64, u8> = BTreeMap::new();
            for (step, from, count, tag) in steps {
                let offsets = from..from + count;
                match step {
                    0 => {
                        spans.cut(offsets.clone());
                        model.retain(|offset, _| !offsets.contains(offset));
                    }
                    _ => for gap in spans.gaps(offsets.clone()) {
                        spans.insert(gap.clone(), tag);
                        gap.for_each(|offset| assert_eq!(model.insert(offset, tag), None, "{offset} was no gap"));
                    }
                }
                if step > 0 {
                    prop_assert!(offsets.into_iter().all(|offset| model.contains_key(&offset)));
                }
                let listed: Vec<(u64, u8)> =
                    spans.iter().flat_map(|(range, tag)| range.map(move |offset| (offset, tag))).collect();
                prop_assert_eq!(&listed, &model.iter().map(|(offset, tag)| (*offset, *tag)).collect::<Vec<_>>());
                prop_assert_eq!(spans.offsets(), model.len() as u64);
                prop_assert_eq!(spans.first().map(|(range, tag)| (range.start, tag)), listed.first().copied());
                let ranges: Vec<_> = spans.iter().collect();
                let touching = |pair: &[(Range<u64>, u8)]| pair[0].0.end == pair[1].0.start && pair[0].1 == pair[1].1;
                prop_assert!(!ranges.windows(2).any(touching), "{ranges:?}");
            }
        }
    }
}
