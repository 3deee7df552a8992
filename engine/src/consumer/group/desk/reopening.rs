//! A finished record begins anew, because its dead letter is redriven.
//!
//! Invariants:
//! - Only a finished offset is reopened, so there is no delivery, no claim and no acknowledgement of it on its way.
//! - There are never more open offsets by it than the group may have: what is finished stays within the bounds of
//!   [`Progress`](crate::lane::progress::Progress).

use super::{Desk, Returned};
use crate::consumer::group::taken::GroupKind;
use crate::lane::progress::ProgressChange;

/// Why an offset is not reopened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotReopened {
    /// It is not finished: it waits, or a member has it, or nobody was ever given it.
    Unfinished,
    /// It is on its way to the dead letters, and finished when it is there.
    Dying,
    /// As much is unfinished as may be.
    Full,
    /// It is no longer kept.
    Gone,
}

impl Desk {
    /// Has a finished offset be handed out again, as if it never had been. Returns what is to be logged.
    pub(crate) fn reopen(&mut self, offset: u64) -> Result<Vec<ProgressChange>, NotReopened> {
        if self.dying.contains(&offset) {
            return Err(NotReopened::Dying);
        }
        if !self.progress.is_finished(offset) {
            return Err(NotReopened::Unfinished);
        }
        if self.open >= self.options.unfinished_max {
            return Err(NotReopened::Full);
        }
        let claimed_behind = self.counting.last().is_some_and(|claimed| *claimed > offset);
        let mut changes = match self.options.kind {
            // They would be handed out before it.
            GroupKind::Ordered if claimed_behind => self.end_claims(|_| true),
            _ => Vec::new(),
        };
        changes.push(self.log(ProgressChange::Reopen { offset }));
        self.open += 1;
        self.returned.insert(offset..offset + 1, Returned::Never);
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::group::retry::RetryPolicy;
    use crate::consumer::group::taken::{Cause, DeskOptions, Opening, Want};
    use crate::lane::progress::Progress;

    fn options(kind: GroupKind) -> DeskOptions {
        let retry = RetryPolicy { max_deliveries: 2, first_delay_ms: 0, ..RetryPolicy::default() };
        DeskOptions { retry, unfinished_max: 4, ..DeskOptions::new(kind) }
    }

    fn want(count_max: u64) -> Want {
        Want { member: 1, now_ms: 5, next_offset: 10, count_max, has_others: false }
    }

    fn desk(kind: GroupKind) -> Desk {
        let mut progress = Progress::begin(0).unwrap();
        progress.apply(&ProgressChange::HandOutTo { offset: 100 }).unwrap();
        let mut desk = Desk::open(progress, options(kind), Opening { next_offset: 0, is_clean: true });
        if kind == GroupKind::Ordered {
            desk.assign(Some(1), Cause::Released, 5);
        }
        assert!(desk.take(want(4)).ranges.into_iter().flatten().eq(0..4));
        desk
    }

    #[test]
    fn only_what_is_finished_is_reopened_and_never_more_than_may_be_open() {
        let mut desk = desk(GroupKind::Shared);
        for (offset, reason) in [(1, "in flight"), (4, "never handed out"), (50, "not there")] {
            assert_eq!(desk.reopen(offset), Err(NotReopened::Unfinished), "{reason}");
        }
        desk.give_back(2..3, Cause::Rejected, 5);
        assert_eq!(desk.reopen(2), Err(NotReopened::Dying));
        desk.finish(std::iter::once(1..3), &mut Vec::new());
        assert_eq!(desk.reopen(2), Ok(vec![ProgressChange::Reopen { offset: 2 }]));
        assert_eq!(desk.reopen(2), Err(NotReopened::Unfinished), "once");
        assert_eq!((desk.in_flight(), desk.available(10)), (2, 7));
        assert_eq!(desk.take(want(2)).ranges, vec![2..3, 4..5]);
        assert_eq!(desk.reopen(1), Err(NotReopened::Full));
        desk.finish(std::iter::once(2..3), &mut Vec::new());
        desk.reopen(1).unwrap();
    }

    #[test]
    fn in_an_ordered_group_what_is_claimed_behind_it_waits_for_it() {
        let mut desk = desk(GroupKind::Ordered);
        desk.finish(std::iter::once(0..2), &mut Vec::new());
        desk.give_back(2..4, Cause::Released, 5);
        let counting = desk.take(want(9)).counting.unwrap();
        assert_eq!(counting.changes.len(), 2);
        let changes = desk.reopen(0).unwrap();
        assert_eq!((changes.len(), changes.last()), (3, Some(&ProgressChange::Reopen { offset: 0 })));
        assert_eq!(desk.counted(counting.ticket), []);
        let taken = desk.take(want(9));
        assert!(taken.ranges.into_iter().flatten().eq(0..1));
        assert_eq!(taken.counting.map(|counting| counting.changes.len()), Some(2));
    }
}
