//! The ends of deliveries: finished, given back, or moved to another member.

use super::{Claims, Desk, FIRST, Returned, once};
use crate::consumer::group::MemberId;
use crate::consumer::group::retry::DELAY_MS_CEILING;
use crate::consumer::group::taken::{Cause, DeadLetter, GivenBack, GroupKind, Retried, Ticket};
use crate::lane::inbox::{InboxBounds, Token};
use crate::lane::progress::{Attempts, ProgressChange, Reason};
use std::ops::Range;

impl Desk {
    /// Finishes offsets that were handed out; appends what is to be logged. Returns how many were unfinished.
    pub(crate) fn finish(
        &mut self,
        ranges: impl IntoIterator<Item = Range<u64>>,
        changes: &mut Vec<ProgressChange>,
    ) -> u64 {
        let mut finished = 0;
        for range in ranges {
            let (from, to) = (range.start.max(self.progress.position()), range.end.min(self.cursor));
            if from >= to {
                continue;
            }
            self.forget(from..to);
            let newly =
                self.progress.finish(from, to).expect("it was handed out, and ranges are as few as open offsets");
            if newly > 0 {
                changes.push(ProgressChange::Finish { from, to });
            }
            self.open -= newly;
            finished += newly;
        }
        finished
    }

    /// Remembers tokens from now on, up to these bounds. Returns what is to be logged.
    pub(crate) fn open_inbox(&mut self, bounds: InboxBounds) -> ProgressChange {
        self.log(ProgressChange::OpenInbox { bounds })
    }

    /// Remembers the token of a delivery that is finished next. Returns what is to be logged.
    pub(crate) fn record_token(&mut self, token: Token, at_ms: i64) -> ProgressChange {
        self.log(ProgressChange::Token { token, at_ms })
    }

    /// Ends deliveries unfinished, as far as the offsets are in flight.
    pub(crate) fn give_back(&mut self, offsets: Range<u64>, cause: Cause, now_ms: i64) -> GivenBack {
        let mut given = GivenBack::default();
        let claimed_behind = self.counting.last().is_some_and(|claimed| *claimed > offsets.start);
        if self.options.kind == GroupKind::Ordered && claimed_behind {
            // They would be handed out before it.
            given.changes = self.end_claims(|_| true);
        }
        let (first, tried) = self.parts(offsets.start..offsets.end.min(self.cursor));
        for (offset, attempts) in tried {
            if self.retried.remove(&offset) {
                self.end_delivery(offset, attempts, cause, now_ms, &mut given);
            }
        }
        let max_deliveries = self.options.retry.max_deliveries;
        let returned = match cause {
            Cause::NotDelivered => Some(Returned::Never),
            Cause::Released => Some(Returned::Once(Reason::Released)),
            Cause::LeaseEnded if max_deliveries > 1 => Some(Returned::Once(Reason::LeaseEnded)),
            Cause::MemberLeft if max_deliveries > 1 => Some(Returned::Once(Reason::MemberLeft)),
            _ => None,
        };
        let first: Vec<Range<u64>> = first.into_iter().flat_map(|range| self.in_flight_first(range)).collect();
        for range in first {
            match returned {
                Some(returned) => self.returned.insert(range, returned),
                None => range.for_each(|offset| self.end_delivery(offset, FIRST, cause, now_ms, &mut given)),
            }
        }
        given
    }

    fn end_delivery(&mut self, offset: u64, attempts: Attempts, cause: Cause, now_ms: i64, given: &mut GivenBack) {
        let mut ended = Attempts { due_ms: 0, is_handed_out: false, ..attempts };
        let reason = match cause {
            Cause::NotDelivered => None,
            Cause::Released => Some(Reason::Released),
            Cause::Nacked { .. } => Some(Reason::Nacked),
            Cause::LeaseEnded => Some(Reason::LeaseEnded),
            Cause::MemberLeft => Some(Reason::MemberLeft),
            Cause::Rejected => Some(Reason::Rejected),
        };
        match reason {
            Some(reason) => {
                ended.reason = reason;
                let failures = ended.failures + u32::from(reason != Reason::Released);
                // One that a transaction held was closed over as released: it does not fail twice.
                ended.failures = failures.min(ended.deliveries);
            }
            None => ended.deliveries -= 1,
        }
        if let Cause::Nacked { delay_ms } = cause {
            let delay_ms = delay_ms.unwrap_or_else(|| self.options.retry.delay_ms(ended.failures, offset));
            let due_ms = now_ms.saturating_add_unsigned(delay_ms.min(DELAY_MS_CEILING));
            ended.due_ms = if delay_ms > 0 { due_ms } else { 0 };
            ended.was_nacked = true;
            if self.options.kind == GroupKind::Ordered {
                self.holding.insert(offset);
            }
        }
        given.changes.push(self.try_again(offset, ended));
        self.queue(offset, ended);
        if self.dying.contains(&offset) {
            given.dead_letters.push(DeadLetter { offset, attempts: ended });
        }
    }

    /// Ordered: the partition goes to another member, or to none; what the last one had in flight is handed out again,
    /// in order. The cause is that of its end: released, lease ended, or member left.
    pub(crate) fn assign(&mut self, member: Option<MemberId>, cause: Cause, now_ms: i64) -> GivenBack {
        assert!(self.options.kind == GroupKind::Ordered, "a shared group's partition belongs to nobody");
        if self.owner == member {
            return GivenBack::default();
        }
        let mut changes = self.end_claims(|_| true);
        self.owner = member;
        let mut given = self.give_back(0..self.cursor, cause, now_ms);
        changes.append(&mut given.changes);
        GivenBack { changes, ..given }
    }

    /// A member went away: its claims end. What it had in flight, its leases say. Returns what is to be logged.
    pub(crate) fn member_left(&mut self, member: MemberId) -> Vec<ProgressChange> {
        self.end_claims(|claims| claims.member == member)
    }

    pub(super) fn end_claims(&mut self, ends: impl Fn(&Claims) -> bool) -> Vec<ProgressChange> {
        let mut changes = Vec::new();
        let tickets: Vec<Ticket> =
            self.claims.iter().filter(|(_, claims)| ends(claims)).map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            for Retried { offset, attempts } in self.counted(ticket) {
                self.retried.remove(&offset);
                // The delivery that was counted never began.
                let ended = Attempts { deliveries: attempts.deliveries - 1, is_handed_out: false, ..attempts };
                changes.push(self.try_again(offset, ended));
                self.queue(offset, ended);
            }
        }
        changes
    }

    /// A dead letter could not be written: the next [`Desk::take`] tells of it again.
    pub(crate) fn dead_letter_failed(&mut self, offset: u64) {
        if self.dying.contains(&offset) {
            self.untold.insert(offset);
        }
    }

    /// Before the engine closes: all deliveries are over, released by their members if need be. Returns what is to be
    /// logged, so that the next opening knows what was handed out.
    pub(crate) fn close(&mut self, now_ms: i64) -> Vec<ProgressChange> {
        let mut changes = self.end_claims(|_| true);
        changes.append(&mut self.give_back(0..self.cursor, Cause::Released, now_ms).changes);
        let returned: Vec<(Range<u64>, Returned)> = self.returned.iter().collect();
        for (range, returned) in returned {
            let Returned::Once(reason) = returned else { continue };
            self.returned.cut(range.clone());
            for offset in range {
                changes.push(self.try_again(offset, once(reason)));
                self.queue(offset, once(reason));
            }
        }
        // Dead letters of the last opening whose only delivery is known by its crash.
        let unlogged = |offset: &u64| self.progress.attempts(*offset).is_none();
        let unlogged: Vec<u64> = self.dying.iter().copied().filter(unlogged).collect();
        changes.extend(unlogged.into_iter().map(|offset| self.try_again(offset, once(Reason::Crashed))));
        changes
    }

    /// What is in flight of unfinished offsets without attempts.
    fn in_flight_first(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut pieces = Vec::new();
        for mut gap in self.returned.gaps(range) {
            for dying in self.dying.range(gap.clone()) {
                pieces.push(gap.start..*dying);
                gap.start = dying + 1;
            }
            pieces.push(gap);
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}
