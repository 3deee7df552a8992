//! Why numbers of a producer were not read.
//!
//! ```text
//!  acknowledged    0 1 2 3 4 5 6 7 8 9
//!  read                  3 4   6
//!  given up        0 1 2                 behind the first number that was not delayed nothing was given up
//!  withheld                  5
//!  lost                          7 8 9
//! ```
//!
//! Invariants:
//! - Each number that was not read gets one reason.
//! - Where it cannot be told whether a record was given up or is damaged, it counts as damaged: loss is never hidden.

use crate::consumer::MissingReason;
use crate::lane::acknowledged::{AcknowledgedBy, Numbers};

/// What is known of the partition, as far as it concerns the producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Records below this number may have been given up; `None`: none was.
    pub(super) given_up_below: Option<u64>,
    /// Offsets before that number's record that cannot be read.
    pub(super) unreadable_before: u64,
    /// Offsets that cannot be read at all.
    pub(super) unreadable: u64,
}

/// The reasons for numbers that were not read, in ranges that are apart and in order; in no order themselves.
pub(super) fn reasons(unread: Vec<Numbers>, by: &AcknowledgedBy, known: Known) -> Vec<(Numbers, MissingReason)> {
    let mut found = Vec::new();
    let mut explain = |numbers: Vec<Numbers>, reason| found.extend(numbers.into_iter().map(|range| (range, reason)));
    let (pending, rest) = split(unread, &by.withheld);
    explain(pending, MissingReason::Pending);
    let (cancelled, mut rest) = split(rest, &by.cancelled);
    explain(cancelled, MissingReason::Cancelled);
    if let Some(below) = known.given_up_below
        && below > 0
    {
        let (given_up, behind) = split(rest, &[(0, below - 1)]);
        let (expired, corrupt) = split_last(given_up, known.unreadable_before);
        explain(expired, MissingReason::Expired);
        explain(corrupt, MissingReason::Corrupt);
        rest = behind;
    }
    explain(rest, if known.unreadable > 0 { MissingReason::Corrupt } else { MissingReason::Unknown });
    found
}

/// How many numbers these are.
pub(super) fn count((first, last): Numbers) -> u64 {
    (last - first).saturating_add(1)
}

/// What lies within some ranges, and what does not. All are apart and in order.
fn split(ranges: Vec<Numbers>, by: &[Numbers]) -> (Vec<Numbers>, Vec<Numbers>) {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let mut by = by.iter().copied().peekable();
    for (mut first, last) in ranges {
        while let Some(&(from, to)) = by.peek() {
            if to < first {
                by.next();
                continue;
            }
            if from > last {
                break;
            }
            if first < from {
                outside.push((first, from - 1));
            }
            inside.push((first.max(from), last.min(to)));
            if to >= last {
                first = last;
                break;
            }
            first = to + 1;
        }
        // Not if its last piece was inside.
        if inside.last().is_none_or(|(_, to)| *to != last) {
            outside.push((first, last));
        }
    }
    (inside, outside)
}

/// All but the last `count` numbers, and those.
fn split_last(mut ranges: Vec<Numbers>, mut left: u64) -> (Vec<Numbers>, Vec<Numbers>) {
    let mut last_ones = Vec::new();
    while left > 0
        && let Some((first, last)) = ranges.pop()
    {
        let taken = left.min(count((first, last)));
        left -= taken;
        let from = last - (taken - 1);
        last_ones.push((from, last));
        if first < from {
            ranges.push((first, from - 1));
        }
    }
    last_ones.reverse();
    (ranges, last_ones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(ranges: &[Numbers]) -> BTreeSet<u64> {
        ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    fn ranges(numbers: &BTreeSet<u64>) -> Vec<Numbers> {
        let mut ranges: Vec<Numbers> = Vec::new();
        for &number in numbers {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        ranges
    }

    #[test]
    fn each_number_has_the_first_reason_that_holds() {
        let by = AcknowledgedBy { withheld: vec![(5, 5)], cancelled: vec![(8, 8)], ..AcknowledgedBy::default() };
        let known = Known { given_up_below: Some(3), unreadable_before: 0, unreadable: 0 };
        let mut found = reasons(vec![(0, 2), (5, 5), (7, 9)], &by, known);
        found.sort_unstable();
        let expected = [
            ((0, 2), MissingReason::Expired),
            ((5, 5), MissingReason::Pending),
            ((7, 7), MissingReason::Unknown),
            ((8, 8), MissingReason::Cancelled),
            ((9, 9), MissingReason::Unknown),
        ];
        assert_eq!(found, expected);
        // Two offsets before it cannot be read: as many of those below it may not have been given up.
        let known = Known { given_up_below: Some(3), unreadable_before: 2, unreadable: 2 };
        let mut found = reasons(vec![(0, 2), (9, 9)], &by, known);
        found.sort_unstable();
        let corrupt = MissingReason::Corrupt;
        assert_eq!(found, [((0, 0), MissingReason::Expired), ((1, 2), corrupt), ((9, 9), corrupt)]);
        let known = Known { given_up_below: None, unreadable_before: 0, unreadable: 0 };
        assert_eq!(reasons(vec![(0, u64::MAX)], &AcknowledgedBy::default(), known).len(), 1);
    }

    proptest! {
        #[test]
        fn splitting_is_what_it_is_for_sets(
            numbers in prop::collection::btree_set(0..60_u64, 0..40),
            by in prop::collection::btree_set(0..60_u64, 0..40),
            left in 0..50_u64,
        ) {
            let (inside, outside) = split(ranges(&numbers), &ranges(&by));
            prop_assert_eq!(set(&inside), &numbers & &by);
            prop_assert_eq!(set(&outside), &numbers - &by);
            let (first, last) = split_last(ranges(&numbers), left);
            let kept = numbers.len().saturating_sub(left as usize);
            prop_assert_eq!(set(&first), numbers.iter().copied().take(kept).collect::<BTreeSet<_>>());
            prop_assert_eq!(set(&last), numbers.iter().copied().skip(kept).collect::<BTreeSet<_>>());
            prop_assert!(last.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
