//! What a checker finds, in kinds for programs and in words for people.

use std::sync::Arc;

/// Something about the numbers of one producer in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ContinuityFinding {
    /// The topic.
    #[cfg_attr(feature = "serde", serde(serialize_with = "serialize_str"))]
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The producer; 0 stands for all that have no name.
    pub producer: u32,
    /// The epoch of the record that showed it. Of what was forgotten: the last one that was seen.
    pub epoch: u32,
    /// The offset of the record that showed it; of several, the first one's.
    pub offset: u64,
    /// What it is.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub what: Discontinuity,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "what", rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Discontinuity {
    /// Numbers are missing before that of the record at the offset.
    Gap {
        /// The first missing number.
        first_missing: u64,
        /// The last missing number.
        last_missing: u64,
    },
    /// Numbers come a second time, or though they were explained as never coming.
    Duplicate {
        /// The first number, that of the record at the offset.
        first: u64,
        /// The last one; one behind the other, as their offsets are.
        last: u64,
    },
    /// Numbers come behind larger ones, though they were not delayed. If they were missing, they no longer are.
    Reorder {
        /// The first number, that of the record at the offset.
        first: u64,
        /// The last one; one behind the other, as their offsets are.
        last: u64,
    },
    /// Delayed records came whose numbers were missing.
    GapClosed {
        /// The first number, that of the record at the offset.
        first: u64,
        /// The last one; one behind the other, as their offsets are.
        last: u64,
        /// Where the gap was found.
        gap_seen_at_offset: u64,
    },
    /// The producer was opened again.
    EpochChange {
        /// The epoch before.
        from: u32,
        /// The epoch of the record at the offset.
        to: u32,
        /// Its number.
        sequence: u64,
    },
    /// A larger number has a smaller epoch.
    EpochBack {
        /// The epoch before.
        from: u32,
        /// The epoch of the record at the offset.
        to: u32,
        /// Its number.
        sequence: u64,
    },
    /// `missing_ranges_max` is reached. These numbers are missing still, but it will not be noticed if they come.
    RangeForgotten {
        /// The first missing number.
        first_missing: u64,
        /// The last missing number.
        last_missing: u64,
    },
    /// `producers_max` is reached. The next record of this producer in this partition will be taken for its first one.
    ProducerForgotten {
        /// The number that was expected next.
        next: u64,
        /// How many numbers were missing.
        missing: u64,
    },
}

impl Discontinuity {
    /// Whether something is wrong in the log or the reading of it. A gap is until it is explained; epochs that change
    /// and gaps that are closed are not.
    pub fn is_problem(&self) -> bool {
        !matches!(self, Discontinuity::EpochChange { .. } | Discontinuity::GapClosed { .. })
    }
}

impl ContinuityFinding {
    /// Takes a finding in that goes on where this one ends: several records, one finding.
    pub(super) fn extend(&mut self, next: &ContinuityFinding) -> bool {
        use Discontinuity::{Duplicate, GapClosed, Reorder};
        let place = |finding: &ContinuityFinding| (finding.partition, finding.producer, finding.epoch);
        if place(self) != place(next) || self.topic != next.topic {
            return false;
        }
        let (first, last, next_first, next_last) = match (&mut self.what, next.what) {
            (Duplicate { first, last }, Duplicate { first: next_first, last: next_last })
            | (Reorder { first, last }, Reorder { first: next_first, last: next_last }) => {
                (*first, last, next_first, next_last)
            }
            (
                GapClosed { first, last, gap_seen_at_offset },
                GapClosed { first: next_first, last: next_last, gap_seen_at_offset: seen_at },
            ) if *gap_seen_at_offset == seen_at => (*first, last, next_first, next_last),
            _ => return false,
        };
        let goes_on = last.checked_add(1) == Some(next_first)
            && self.offset.checked_add(next_first.saturating_sub(first)) == Some(next.offset);
        if goes_on {
            *last = next_last;
        }
        goes_on
    }
}

impl std::fmt::Display for ContinuityFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} @{}, ", self.topic, self.partition, self.offset)?;
        match self.producer {
            0 => write!(f, "producers without a name")?,
            producer => write!(f, "producer {producer} (epoch {})", self.epoch)?,
        }
        write!(f, ": {}", self.what)
    }
}

impl std::fmt::Display for Discontinuity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Discontinuity::Gap { first_missing, last_missing } => write!(
                f,
                "{} missing before this record; a delayed record may still come, anything else is a loss until the \
                 engine says why",
                Numbers(first_missing, last_missing, "is", "are")
            ),
            Discontinuity::Duplicate { first, last } => write!(
                f,
                "{} there already, or explained as never coming; do not apply it again, and if this consumer \
                 was moved, begin again with the checker",
                Numbers(first, last, "was", "were")
            ),
            Discontinuity::Reorder { first, last } => write!(
                f,
                "{} behind larger ones without having been delayed; what depends on the producer's order may be \
                 wrong, so run `ringlane verify` and report it",
                Numbers(first, last, "comes", "come")
            ),
            Discontinuity::GapClosed { first, last, gap_seen_at_offset } => write!(
                f,
                "{} no longer missing: delayed, and published now; the gap was found at offset \
                 {gap_seen_at_offset}, nothing is to be done",
                Numbers(first, last, "is", "are")
            ),
            Discontinuity::EpochChange { from, to, sequence } => {
                write!(f, "epoch {to} follows epoch {from} at number {sequence}; the producer was opened again")
            }
            Discontinuity::EpochBack { from, to, sequence } => write!(
                f,
                "number {sequence} has epoch {to}, but epoch {from} was there before; a producer that was \
                 replaced goes on writing, so end it, and report that it was not fenced"
            ),
            Discontinuity::RangeForgotten { first_missing, last_missing } => write!(
                f,
                "{} no longer looked for, though missing still; explain gaps sooner, or raise `missing_ranges_max`",
                Numbers(first_missing, last_missing, "is", "are")
            ),
            Discontinuity::ProducerForgotten { next, missing } => write!(
                f,
                "forgotten to make room, with number {next} to come next and {missing} missing; what is lost before \
                 its next record will not be noticed, so raise `producers_max`"
            ),
        }
    }
}

/// Numbers, with the verb that goes with one or with several.
struct Numbers(u64, u64, &'static str, &'static str);

impl std::fmt::Display for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Numbers(first, last, one, several) = *self;
        match first == last {
            true => write!(f, "number {first} {one}"),
            false => write!(f, "numbers {first} to {last} {several}"),
        }
    }
}

#[cfg(feature = "serde")]
pub(super) fn serialize_str<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(offset: u64, what: Discontinuity) -> ContinuityFinding {
        ContinuityFinding { topic: "orders".into(), partition: 2, producer: 7, epoch: 1, offset, what }
    }

    #[test]
    fn texts_say_what_where_and_what_to_do() {
        let gap = finding(40, Discontinuity::Gap { first_missing: 3, last_missing: 5 });
        assert_eq!(
            gap.to_string(),
            "orders-2 @40, producer 7 (epoch 1): numbers 3 to 5 are missing before this record; a delayed record may \
             still come, anything else is a loss until the engine says why"
        );
        let unnamed = ContinuityFinding { producer: 0, ..finding(9, Discontinuity::Duplicate { first: 3, last: 3 }) };
        let text = unnamed.to_string();
        assert!(text.starts_with("orders-2 @9, producers without a name: number 3 was there already"), "{text}");
        for (what, words) in [
            (Discontinuity::Reorder { first: 1, last: 1 }, "number 1 comes behind larger ones"),
            (Discontinuity::GapClosed { first: 1, last: 2, gap_seen_at_offset: 8 }, "found at offset 8"),
            (Discontinuity::EpochChange { from: 1, to: 2, sequence: 9 }, "epoch 2 follows epoch 1 at number 9"),
            (Discontinuity::EpochBack { from: 2, to: 1, sequence: 9 }, "number 9 has epoch 1, but epoch 2"),
            (Discontinuity::RangeForgotten { first_missing: 4, last_missing: 4 }, "raise `missing_ranges_max`"),
            (Discontinuity::ProducerForgotten { next: 8, missing: 2 }, "raise `producers_max`"),
        ] {
            let text = finding(0, what).to_string();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_finding_takes_in_what_follows_it_directly() {
        let duplicate = |offset, first, last| finding(offset, Discontinuity::Duplicate { first, last });
        let mut first = duplicate(10, 3, 4);
        assert!(first.extend(&duplicate(12, 5, 9)));
        assert_eq!(first, duplicate(10, 3, 9));
        for other in [
            duplicate(17, 11, 11),
            duplicate(18, 10, 10),
            finding(17, Discontinuity::Reorder { first: 10, last: 10 }),
            ContinuityFinding { epoch: 2, ..duplicate(17, 10, 10) },
            ContinuityFinding { producer: 8, ..duplicate(17, 10, 10) },
            ContinuityFinding { partition: 3, ..duplicate(17, 10, 10) },
            ContinuityFinding { topic: "others".into(), ..duplicate(17, 10, 10) },
        ] {
            assert!(!first.extend(&other), "{other:?}");
        }
        let closed = |offset, first, last, seen_at| {
            finding(offset, Discontinuity::GapClosed { first, last, gap_seen_at_offset: seen_at })
        };
        let mut first = closed(10, 3, 3, 2);
        assert!(!first.extend(&closed(11, 4, 4, 1)));
        assert!(first.extend(&closed(11, 4, 4, 2)));
    }
}
