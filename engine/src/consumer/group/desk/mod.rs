//! The desk of one group in one partition: what is handed out in this opening, and what may be next.
//!
//! - [`Desk::take`] hands out ranges for the first time at once, below a limit that is durable already. What was
//!   handed out before is claimed for the member, and [`Desk::counted`] hands it out when its raised count is durable:
//!   so a record that ends the process at each delivery is counted each time.
//! - [`Desk::finish`] and [`Desk::give_back`] end deliveries. Whose they were, and until when, the leases say.
//! - [`Desk::assign`] moves the partition of an ordered group; [`Desk::member_left`] ends the claims of a member.
//! - [`Desk::reopen`] has a finished record begin anew.
//! - [`Desk::close`] writes down what a clean close would forget; without it, everything unfinished that may have been
//!   handed out counts as a failed delivery at the next opening.
//!
//! An unfinished offset below the cursor is in exactly one state. Those with attempts in the log are listed in sets, by
//! state; those without are in `returned`, or else in flight, so that a range that is handed out and acknowledged in
//! the ordinary way costs a few additions.
//!
//! | state | where | attempts in the log |
//! |---|---|---|
//! | in flight for the first time | nowhere else | no |
//! | given back after the first time, never taken, or reopened | `returned` | no |
//! | may be taken | `ready`, or `alone` | yes |
//! | waits for its due time | `delayed` | yes |
//! | claimed, its raised count not yet durable | `counting` | yes, raised |
//! | in flight, not for the first time | `retried` | yes, raised |
//! | a dead letter, not yet finished | `dying` | yes; or no, when its only delivery ended in a crash |
//!
//! Invariants:
//! - The progress in here is what the log says when all returned changes are in it.
//! - `cursor <= limit <= progress.handed_out_to()`; the limit is durable. Nothing was handed out from `cursor` on.
//! - `open` is the number of unfinished offsets below the cursor.
//! - A record whose failures reach `max_deliveries` is not handed out again. A delivery that was released is no
//!   failure; one that the engine did not survive is.
//! - Ordered: when a record is handed out, each one before it is finished or in flight, and none before it that is
//!   unfinished was ever nacked.

mod ending;
pub(crate) mod reopening;
mod take;
#[cfg(test)]
mod tests;

use super::MemberId;
use super::spans::Spans;
use super::taken::{DeskOptions, GroupKind, Opening, Ticket};
use crate::lane::progress::{Attempts, Progress, ProgressChange, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A record that failed more often is handed out alone: so that those beside one that ends the process are not counted
/// with it for ever.
const FAILURES_TOGETHER_MAX: u32 = 3;

/// What is known of an offset without attempts in the log that is not in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Returned {
    /// It was never handed out.
    Never,
    /// It was handed out once, and that ended so.
    Once(Reason),
}

/// Records whose raised counts are on their way into the log.
#[derive(Debug)]
struct Claims {
    member: MemberId,
    offsets: Vec<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Desk {
    options: DeskOptions,
    progress: Progress,
    cursor: u64,
    limit: u64,
    limit_wanted: Option<(Ticket, u64)>,
    open: u64,
    /// The member that an ordered group's partition belongs to.
    owner: Option<MemberId>,
    returned: Spans<Returned>,
    ready: BTreeSet<u64>,
    /// Ready, but each of them alone in its poll.
    alone: BTreeSet<u64>,
    /// The last one that was taken was alone: others have their turn.
    was_alone: bool,
    delayed: BTreeSet<(i64, u64)>,
    counting: BTreeSet<u64>,
    claims: BTreeMap<Ticket, Claims>,
    retried: BTreeSet<u64>,
    dying: BTreeSet<u64>,
    /// Those of them that nobody was told of.
    untold: BTreeSet<u64>,
    /// Ordered: the unfinished offsets behind which nothing is handed out.
    holding: BTreeSet<u64>,
    next_ticket: u64,
}

impl Desk {
    /// A desk for what the log says at opening. `options` are valid.
    pub(crate) fn open(progress: Progress, options: DeskOptions, opening: Opening) -> Desk {
        let mut desk = Desk {
            cursor: progress.position(),
            limit: progress.handed_out_to(),
            limit_wanted: None,
            open: 0,
            owner: None,
            returned: Spans::default(),
            ready: BTreeSet::new(),
            alone: BTreeSet::new(),
            was_alone: false,
            delayed: BTreeSet::new(),
            counting: BTreeSet::new(),
            claims: BTreeMap::new(),
            retried: BTreeSet::new(),
            dying: BTreeSet::new(),
            untold: BTreeSet::new(),
            holding: BTreeSet::new(),
            next_ticket: 0,
            options,
            progress,
        };
        let known_end = desk.progress.finished_end().max(desk.progress.attempts_end());
        let suspect_end = desk.progress.handed_out_to().min(opening.next_offset);
        desk.cursor = if opening.is_clean { known_end } else { known_end.max(suspect_end) };
        desk.open = desk.progress.unfinished_below(desk.cursor);
        let (first, tried) = desk.parts(0..desk.cursor);
        for (offset, attempts) in tried {
            desk.queue(offset, at_rest(attempts));
            if options.kind == GroupKind::Ordered && (attempts.was_nacked || attempts.due_ms > 0) {
                desk.holding.insert(offset);
            }
        }
        for range in first {
            match opening.is_clean {
                true => desk.returned.insert(range, Returned::Never),
                false if desk.is_exhausted(&once(Reason::Crashed)) => {
                    // Nothing is logged: until it is finished, every opening comes to the same end.
                    range.for_each(|offset| desk.queue(offset, once(Reason::Crashed)));
                }
                false => desk.returned.insert(range, Returned::Once(Reason::Crashed)),
            }
        }
        desk.untold = desk.dying.clone();
        desk
    }

    /// The partition gave up what is below its new first offset, durably. Returns how many unfinished offsets went. The
    /// lane has done the same with the group's progress, so nothing is to be logged.
    pub(crate) fn truncate(&mut self, first_offset: u64) -> u64 {
        let before = self.progress.position();
        if first_offset <= before {
            return 0;
        }
        self.forget(before..first_offset);
        self.open -= self.progress.unfinished_below(first_offset.min(self.cursor));
        let gone = self.progress.truncate(first_offset);
        self.cursor = self.cursor.max(first_offset);
        self.limit = self.limit.max(first_offset);
        gone
    }

    /// Goes on at another offset: everything that is known of what follows is forgotten. The caller takes the leases
    /// from the members. Returns what is to be logged; `Err`: no partition has such an offset.
    pub(crate) fn reset(&mut self, position: u64) -> Result<ProgressChange, &'static str> {
        let change = ProgressChange::Reset { position };
        self.progress.apply(&change)?;
        let progress = std::mem::replace(&mut self.progress, Progress::begin(position)?);
        let (owner, next_ticket) = (self.owner, self.next_ticket);
        let opening = Opening { next_offset: position, is_clean: true };
        *self = Desk { owner, next_ticket, ..Desk::open(progress, self.options, opening) };
        Ok(change)
    }

    /// At opening: a transaction that is prepared holds these offsets, so they are in flight.
    pub(crate) fn hold(&mut self, offsets: Range<u64>) {
        let offsets = offsets.start.max(self.progress.position())..offsets.end;
        if offsets.is_empty() {
            return;
        }
        self.cursor = self.cursor.max(offsets.end).min(self.progress.handed_out_to());
        self.open = self.progress.unfinished_below(self.cursor);
        let (_, tried) = self.parts(offsets.clone());
        self.forget(offsets);
        self.retried.extend(tried.into_iter().map(|(offset, _)| offset));
    }

    /// When the first record that waits for its time may be taken; not before now.
    pub(crate) fn next_due(&self, now_ms: i64) -> Option<i64> {
        let due_ms = match self.options.kind {
            GroupKind::Ordered => self.holding.first().and_then(|offset| self.due_ms(*offset)),
            GroupKind::Shared => self.delayed.first().map(|(due_ms, _)| *due_ms),
        };
        due_ms.map(|due_ms| due_ms.max(now_ms))
    }

    /// How many records members have now.
    pub(crate) fn in_flight(&self) -> u64 {
        let listed = self.ready.len() + self.alone.len() + self.delayed.len() + self.counting.len() + self.dying.len();
        self.open - self.returned.offsets() - listed as u64
    }

    /// How many records wait to be handed out, without those that wait for their time.
    pub(crate) fn available(&self, next_offset: u64) -> u64 {
        let listed = (self.ready.len() + self.alone.len()) as u64;
        next_offset.saturating_sub(self.cursor) + self.returned.offsets() + listed
    }

    pub(crate) fn kind(&self) -> GroupKind {
        self.options.kind
    }

    /// Every offset below is finished.
    pub(crate) fn position(&self) -> u64 {
        self.progress.position()
    }

    /// The progress with all changes that were returned.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The unfinished offsets of a range: those without attempts, and those with.
    fn parts(&self, offsets: Range<u64>) -> (Vec<Range<u64>>, Vec<(u64, Attempts)>) {
        let (mut first, mut tried) = (Vec::new(), Vec::new());
        for range in self.progress.unfinished(offsets.start, offsets.end) {
            let mut at = range.start;
            for (offset, attempts) in self.progress.attempts_in(range.start, range.end) {
                first.push(at..offset);
                tried.push((offset, attempts));
                at = offset + 1;
            }
            first.push(at..range.end);
        }
        first.retain(|range| !range.is_empty());
        (first, tried)
    }

    /// Sorts in an unfinished offset that is not in flight.
    fn queue(&mut self, offset: u64, attempts: Attempts) {
        if self.is_exhausted(&attempts) {
            self.dying.insert(offset);
            if self.options.kind == GroupKind::Ordered {
                self.holding.insert(offset);
            }
        } else if attempts.due_ms > 0 {
            self.delayed.insert((attempts.due_ms, offset));
        } else if attempts.failures > FAILURES_TOGETHER_MAX {
            self.alone.insert(offset);
        } else {
            self.ready.insert(offset);
        }
    }

    /// Takes a range out of all lists; it is finished next.
    fn forget(&mut self, range: Range<u64>) {
        if !self.delayed.is_empty() {
            for (offset, attempts) in self.progress.attempts_in(range.start, range.end) {
                self.delayed.remove(&(attempts.due_ms, offset));
            }
        }
        self.returned.cut(range.clone());
        let Desk { ready, alone, counting, retried, dying, untold, holding, .. } = self;
        for listed in [ready, alone, counting, retried, dying, untold, holding] {
            while let Some(offset) = listed.range(range.clone()).next().copied() {
                listed.remove(&offset);
            }
        }
    }

    /// When a record is due, if it waits for that.
    fn due_ms(&self, offset: u64) -> Option<i64> {
        let due_ms = self.progress.attempts(offset)?.due_ms;
        self.delayed.contains(&(due_ms, offset)).then_some(due_ms)
    }

    /// What was tried with an offset that is not in flight.
    fn tried(&self, offset: u64) -> Attempts {
        self.progress.attempts(offset).map_or(once(Reason::Crashed), at_rest)
    }

    fn is_exhausted(&self, attempts: &Attempts) -> bool {
        attempts.reason == Reason::Rejected || attempts.failures >= self.options.retry.max_deliveries
    }

    fn try_again(&mut self, offset: u64, attempts: Attempts) -> ProgressChange {
        self.log(ProgressChange::Attempt { offset, attempts })
    }

    fn log(&mut self, change: ProgressChange) -> ProgressChange {
        self.progress.apply(&change).expect("a desk says nothing that contradicts what it said before");
        change
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }
}

/// A first delivery that goes on.
const FIRST: Attempts = Attempts {
    deliveries: 1,
    failures: 0,
    due_ms: 0,
    reason: Reason::Released,
    is_handed_out: true,
    was_nacked: false,
};

/// One delivery, that ended so.
fn once(reason: Reason) -> Attempts {
    Attempts { failures: u32::from(reason != Reason::Released), reason, is_handed_out: false, ..FIRST }
}

/// What the log says of a record that is not in flight: a delivery that the engine did not survive has failed.
fn at_rest(attempts: Attempts) -> Attempts {
    match attempts.is_handed_out {
        true => Attempts {
            failures: attempts.failures + 1,
            reason: Reason::Crashed,
            is_handed_out: false,
            due_ms: 0,
            ..attempts
        },
        false => attempts,
    }
}
