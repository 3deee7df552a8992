//! What a desk is asked and what it answers.

use super::MemberId;
use super::retry::RetryPolicy;
use crate::error::{Error, Result};
use crate::lane::progress::{Attempts, ENTRIES_MAX, ProgressChange};
use std::ops::Range;

/// How a group shares its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum GroupKind {
    /// A partition belongs to one member at a time and is handed out in order; a nacked record holds it back.
    Ordered,
    /// Any member is given any record.
    Shared,
}

/// What a desk goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeskOptions {
    pub(crate) kind: GroupKind,
    /// Nothing is handed out for the first time while so many offsets between the position and the last one handed
    /// out are unfinished.
    pub(crate) unfinished_max: u64,
    /// How many offsets the durable limit is raised by ahead of their first hand-out.
    pub(crate) reserve: u64,
    pub(crate) retry: RetryPolicy,
}

/// Both bounds together stay below what [`Progress`](crate::lane::progress::Progress) keeps.
const UNFINISHED_CEILING: u64 = 500_000;
const RESERVE_CEILING: u64 = 500_000;
const _: () = assert!(UNFINISHED_CEILING + RESERVE_CEILING <= ENTRIES_MAX as u64);

impl DeskOptions {
    pub(crate) fn new(kind: GroupKind) -> Self {
        DeskOptions { kind, unfinished_max: 100_000, reserve: 16_384, retry: RetryPolicy::default() }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let check = |name: &'static str, value: u64, ceiling: u64| match (1..=ceiling).contains(&value) {
            true => Ok(()),
            false => Err(Error::InvalidArgument { name, value: value.to_string(), reason: format!("1 to {ceiling}") }),
        };
        check("unfinished_max", self.unfinished_max, UNFINISHED_CEILING)?;
        check("reserve", self.reserve, RESERVE_CEILING)?;
        self.retry.validate()
    }
}

/// How the engine was closed before, and what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The durable end of the partition: nobody was ever given a record from here on.
    pub(crate) next_offset: u64,
    /// The desk was closed with [`Desk::close`](super::desk::Desk::close), and the log ends with that.
    pub(crate) is_clean: bool,
}

/// Who asks for records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) member: MemberId,
    pub(crate) now_ms: i64,
    /// The durable end of the partition.
    pub(crate) next_offset: u64,
    pub(crate) count_max: u64,
    /// The poll has records already, or may not come back with one only: none that goes out alone is wanted.
    pub(crate) has_others: bool,
}

/// Names a request of a desk to make something durable, for this opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// A higher limit is wanted: log the change, and tell [`Desk::limit_durable`](super::desk::Desk::limit_durable).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitWanted {
    pub(crate) ticket: Ticket,
    pub(crate) change: ProgressChange,
}

/// Records that were handed out before: log the changes; when they are durable,
/// [`Desk::counted`](super::desk::Desk::counted) hands the records out to the member that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counting {
    pub(crate) ticket: Ticket,
    /// One for each record.
    pub(crate) changes: Vec<ProgressChange>,
    /// There is one record, and its poll comes back with nothing else.
    pub(crate) is_alone: bool,
}

/// A record that is handed out not for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retried {
    pub(crate) offset: u64,
    /// With this delivery.
    pub(crate) attempts: Attempts,
}

/// A record that is not handed out any more: publish it by reference in the group's dead-letter topic, and log in the
/// same frame what [`Desk::finish`](super::desk::Desk::finish) says of it. It is unfinished until then, and in an
/// ordered group holds its partition back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) offset: u64,
    /// Its reason is the cause.
    pub(crate) attempts: Attempts,
}

/// What [`Desk::take`](super::desk::Desk::take) hands out, and what else is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Handed out for the first time: `deliveries` is 1. In order, and the member's from now on.
    pub(crate) ranges: Vec<Range<u64>>,
    pub(crate) counting: Option<Counting>,
    pub(crate) limit: Option<LimitWanted>,
    /// Found at opening, or returned by [`Desk::dead_letter_failed`](super::desk::Desk::dead_letter_failed).
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Why there are neither ranges nor records to be counted.
    pub(crate) pause: Option<Pause>,
}

impl Taken {
    /// Records handed out, or to be when they are counted.
    #[cfg(test)]
    pub(crate) fn records(&self) -> u64 {
        let ranges: u64 = self.ranges.iter().map(|range| range.end - range.start).sum();
        ranges + self.counting.as_ref().map_or(0, |counting| counting.changes.len() as u64)
    }
}

/// Why a desk hands nothing out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// All there is is finished: wait for the partition to grow.
    Empty,
    /// All that is unfinished is in flight, or on its way to the dead letters.
    InFlight,
    /// As much is unfinished as may be.
    WindowFull,
    /// Wait for the limit that was asked for to be durable.
    LimitPending,
    /// Wait for raised counts to be durable.
    Counting,
    /// What is left waits until this time. `None`, in an ordered group: for a record in front that must be finished.
    HeldBack { due_ms: Option<i64> },
    /// The next record goes out alone, to a poll that has no others.
    Alone,
    /// The partition belongs to another member of its ordered group, or to none.
    NotOwner,
}

/// Why a delivery ends without being finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The member could not process it. `None`: the delay that the retry policy says.
    Nacked { delay_ms: Option<u64> },
    /// The member gives it back without having failed with it.
    Released,
    /// It did not get as far as the member, say for want of room in the poll: it was no delivery.
    NotDelivered,
    /// Its lease ran out.
    LeaseEnded,
    /// The member went away, or fell.
    MemberLeft,
    /// The member says that nobody can process it.
    Rejected,
}

/// What follows when deliveries end unfinished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GivenBack {
    /// To be logged.
    pub(crate) changes: Vec<ProgressChange>,
    pub(crate) dead_letters: Vec<DeadLetter>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_checked() {
        let options = DeskOptions::new(GroupKind::Shared);
        options.validate().unwrap();
        let retry = RetryPolicy { max_deliveries: 0, ..options.retry };
        for (name, options) in [
            ("unfinished_max", DeskOptions { unfinished_max: 0, ..options }),
            ("unfinished_max", DeskOptions { unfinished_max: UNFINISHED_CEILING + 1, ..options }),
            ("reserve", DeskOptions { reserve: 0, ..options }),
            ("reserve", DeskOptions { reserve: RESERVE_CEILING + 1, ..options }),
            ("max_deliveries", DeskOptions { retry, ..options }),
        ] {
            let error = options.validate().expect_err(name);
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
