//! Numbers that were not seen, and why.

use std::sync::Arc;

/// Why a number is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum MissingReason {
    /// The record is durable and withheld: delayed, or half of a transaction. It may still come, so the number stays
    /// open; the record's publication closes it.
    Pending,
    /// The record was withheld and will never be visible: cancelled, or its transaction was rolled back.
    Cancelled,
    /// Given up by the topic's bounds, by `delete_records`, or for room on the disk, before it was read.
    Expired,
    /// The log has it, and it cannot be read. This is loss.
    Corrupt,
    /// The log knows nothing of it. This is loss.
    Unknown,
}

impl MissingReason {
    /// All of them.
    pub const ALL: [MissingReason; 5] = [
        MissingReason::Pending,
        MissingReason::Cancelled,
        MissingReason::Expired,
        MissingReason::Corrupt,
        MissingReason::Unknown,
    ];

    /// Whether an acknowledged record is lost. What is pending, was cancelled, or expired is as somebody wanted it.
    pub fn is_loss(self) -> bool {
        matches!(self, MissingReason::Corrupt | MissingReason::Unknown)
    }

    /// What to do about it, in words for people.
    pub fn advice(self) -> &'static str {
        match self {
            MissingReason::Pending => "wait: it comes when it is due",
            MissingReason::Cancelled => "nothing: it was not to be seen",
            MissingReason::Expired => "read sooner, or let the topic keep more",
            MissingReason::Corrupt => "run `ringlane verify`; ask the sender for it, or restore a copy",
            MissingReason::Unknown => "run `ringlane verify`, ask the sender for it, and report it",
        }
    }
}

impl std::fmt::Display for MissingReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MissingReason::Pending => "pending",
            MissingReason::Cancelled => "cancelled",
            MissingReason::Expired => "expired",
            MissingReason::Corrupt => "corrupt",
            MissingReason::Unknown => "unknown",
        })
    }
}

/// Consecutive numbers of one producer in one partition that are missing now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MissingRange {
    /// The topic.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::finding::serialize_str"))]
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The producer.
    pub producer: u32,
    /// The first missing number.
    pub first: u64,
    /// The last missing number.
    pub last: u64,
    /// The offset of the record whose larger number showed the gap.
    pub seen_at_offset: u64,
    /// Whether it was resolved as [`MissingReason::Pending`].
    pub is_pending: bool,
}

impl MissingRange {
    /// How many numbers these are.
    pub fn numbers(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// A part of it, for when not all of it has the same reason. What lies outside of the range is left out; `None` if
    /// that is all.
    pub fn part(&self, first: u64, last: u64) -> Option<MissingRange> {
        let (first, last) = (first.max(self.first), last.min(self.last));
        (first <= last).then(|| MissingRange { first, last, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_wanted_is_loss() {
        let losses: Vec<_> = MissingReason::ALL.into_iter().filter(|reason| reason.is_loss()).collect();
        assert_eq!(losses, [MissingReason::Corrupt, MissingReason::Unknown]);
    }

    #[test]
    fn a_part_stays_within_the_range() {
        let range = MissingRange {
            topic: "orders".into(),
            partition: 0,
            producer: 1,
            first: 3,
            last: 9,
            seen_at_offset: 5,
            is_pending: false,
        };
        let bounds = |part: Option<MissingRange>| part.map(|part| (part.first, part.last, part.numbers()));
        assert_eq!(bounds(range.part(0, 4)), Some((3, 4, 2)));
        assert_eq!(bounds(range.part(5, 20)), Some((5, 9, 5)));
        assert_eq!(bounds(range.part(10, 20)), None);
        assert_eq!(bounds(range.part(6, 5)), None);
    }
}
