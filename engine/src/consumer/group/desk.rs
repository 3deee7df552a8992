//! The desk of one group in one partition: what is handed out in this opening, and what may be next.
//!
//! - [`Desk::take`] hands out ranges for the first time at once, below a limit that is durable already. What was
//!   handed out before is claimed for the member, and [`Desk::counted`] hands it out when its raised count is durable:
//!   so a record that ends the process at each delivery is counted each time.
//! - [`Desk::finish`] and [`Desk::give_back`] end deliveries. Whose they were, and until when, the leases say.
//! - [`Desk::assign`] moves the partition of an ordered group; [`Desk::member_left`] ends the claims of a member.
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
//! | given back after the first time, or never taken | `returned` | no |
//! | may be taken | `ready`, or `alone` | yes |
//! | waits for its due time | `delayed` | yes |
//! | claimed, its raised count not yet durable | `counting` | yes, raised |
//! | in flight, not for the first time | `retried` | yes, raised |
//! | a dead letter, not yet finished | `dying` | yes |
//!
//! Invariants:
//! - The progress in here is what the log says when all returned changes are in it.
//! - `cursor <= limit <= progress.handed_out_to()`; the limit is durable. Nothing was handed out from `cursor` on.
//! - `open` is the number of unfinished offsets below the cursor.
//! - A record whose failures reach `max_deliveries` is not handed out again. A delivery that was released is no failure;
//!   one that the engine did not survive is.
//! - Ordered: when a record is handed out, each one before it is finished or in flight, and none before it that is
//!   unfinished was ever nacked.

use super::MemberId;
use super::retry::DELAY_MS_CEILING;
use super::spans::Spans;
use super::taken::{
    Cause, Counting, DeadLetter, DeskOptions, GivenBack, GroupKind, LimitWanted, Opening, Pause, Retried, Taken,
    Ticket, Want,
};
use crate::lane::progress::{Attempts, Progress, ProgressChange, Reason};
use crate::lane::state::OFFSET_MAX;
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

/// What a call of [`Desk::take`] has picked.
#[derive(Default)]
struct Picked {
    /// How many more it may.
    room: u64,
    ranges: Vec<Range<u64>>,
    /// Offsets to be counted, with their attempts so far.
    claimed: Vec<(u64, Attempts)>,
}

impl Picked {
    fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.claimed.is_empty()
    }

    fn add(&mut self, range: Range<u64>) {
        self.room -= range.end - range.start;
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    fn claim(&mut self, offset: u64, attempts: Attempts) {
        self.room -= 1;
        self.claimed.push((offset, attempts));
    }
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
    counting: BTreeMap<u64, Ticket>,
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
            counting: BTreeMap::new(),
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

    /// Hands records out. Shared: those that were handed out before, oldest first, then new ones. Ordered: in order.
    pub(crate) fn take(&mut self, want: Want) -> Taken {
        let dead_letters = self.untold_dead_letters(want.count_max);
        self.wake(want.now_ms);
        let mut picked = Picked { room: want.count_max, ..Picked::default() };
        let pause = match self.options.kind {
            GroupKind::Ordered => self.take_in_order(&want, &mut picked),
            GroupKind::Shared => self.take_any(&want, &mut picked),
        };
        let pause = pause.filter(|_| picked.is_empty() && want.count_max > 0);
        let counting = (!picked.claimed.is_empty()).then(|| self.claim(want.member, &picked.claimed));
        Taken { ranges: picked.ranges, counting, limit: self.raise_limit(), dead_letters, pause }
    }

    fn take_in_order(&mut self, want: &Want, picked: &mut Picked) -> Option<Pause> {
        if self.owner != Some(want.member) {
            return Some(Pause::NotOwner);
        }
        if !self.counting.is_empty() {
            return Some(Pause::Counting);
        }
        let holding = self.holding.first().copied();
        while picked.room > 0 {
            let returned = self.returned.first();
            let returned_at = returned.as_ref().map_or(u64::MAX, |(range, _)| range.start);
            let ready_at = self.ready.first().copied().unwrap_or(u64::MAX);
            let alone_at = self.alone.first().copied().unwrap_or(u64::MAX);
            let next = returned_at.min(ready_at).min(alone_at);
            if next == u64::MAX || holding.is_some_and(|holding| next > holding) {
                break;
            }
            match returned {
                Some((range, returned)) if returned_at == next => {
                    // What is claimed comes later than what is handed out now.
                    if returned == Returned::Never && !picked.claimed.is_empty() {
                        return None;
                    }
                    self.take_returned(range, returned, picked);
                }
                _ if ready_at == next => self.take_ready(next, picked),
                _ if want.has_others || !picked.is_empty() => return Some(Pause::Alone),
                _ => {
                    self.take_alone(next, picked);
                    return None;
                }
            }
        }
        match holding {
            Some(offset) => Some(Pause::HeldBack { due_ms: self.due_ms(offset) }),
            None if picked.claimed.is_empty() => self.take_new(want, picked),
            None => None,
        }
    }

    fn take_any(&mut self, want: &Want, picked: &mut Picked) -> Option<Pause> {
        let alone = self.alone.first().copied().filter(|_| !want.has_others && want.count_max > 0);
        if let Some(offset) = alone.filter(|_| !self.was_alone) {
            self.take_alone(offset, picked);
            return None;
        }
        while picked.room > 0 {
            match (self.returned.first(), self.ready.first().copied()) {
                (Some((range, returned)), ready) if ready.is_none_or(|offset| range.start < offset) => {
                    self.take_returned(range, returned, picked);
                }
                (_, Some(offset)) => self.take_ready(offset, picked),
                (_, None) => break,
            }
        }
        let pause = self.take_new(want, picked);
        self.was_alone = false;
        match (alone, pause) {
            (Some(offset), _) if picked.is_empty() => {
                self.take_alone(offset, picked);
                None
            }
            (_, Some(Pause::Empty | Pause::InFlight | Pause::HeldBack { .. })) if !self.alone.is_empty() => {
                Some(Pause::Alone)
            }
            (_, pause) => pause,
        }
    }

    /// Takes from the front of the first returned range.
    fn take_returned(&mut self, range: Range<u64>, returned: Returned, picked: &mut Picked) {
        let range = range.start..range.end.min(range.start.saturating_add(picked.room));
        self.returned.cut(range.clone());
        match returned {
            Returned::Never => picked.add(range),
            Returned::Once(reason) => range.for_each(|offset| picked.claim(offset, once(reason))),
        }
    }

    fn take_ready(&mut self, offset: u64, picked: &mut Picked) {
        self.ready.remove(&offset);
        picked.claim(offset, self.tried(offset));
    }

    fn take_alone(&mut self, offset: u64, picked: &mut Picked) {
        self.alone.remove(&offset);
        self.was_alone = true;
        picked.claim(offset, self.tried(offset));
    }

    /// Hands out what never was, as far as the limit and the window allow.
    fn take_new(&mut self, want: &Want, picked: &mut Picked) -> Option<Pause> {
        let window = self.options.unfinished_max.saturating_sub(self.open);
        let end = self.cursor.saturating_add(picked.room.min(window)).min(want.next_offset).min(self.limit);
        if self.cursor < end {
            self.open += end - self.cursor;
            picked.add(self.cursor..end);
            self.cursor = end;
            return None;
        }
        Some(match self.cursor < want.next_offset {
            true if window == 0 => Pause::WindowFull,
            true if self.cursor >= self.limit => Pause::LimitPending,
            _ if !self.counting.is_empty() => Pause::Counting,
            _ if !self.delayed.is_empty() => {
                Pause::HeldBack { due_ms: self.delayed.first().map(|(due_ms, _)| *due_ms) }
            }
            _ if self.open > 0 => Pause::InFlight,
            _ => Pause::Empty,
        })
    }

    /// Claims offsets for a member, whose raised counts go into the log.
    fn claim(&mut self, member: MemberId, claimed: &[(u64, Attempts)]) -> Counting {
        let ticket = self.ticket();
        let is_alone = matches!(claimed, [(_, attempts)] if attempts.failures > FAILURES_TOGETHER_MAX);
        let mut changes = Vec::with_capacity(claimed.len());
        for (offset, attempts) in claimed.iter().copied() {
            let deliveries = attempts.deliveries.saturating_add(1);
            changes.push(self.try_again(offset, Attempts { deliveries, due_ms: 0, is_handed_out: true, ..attempts }));
            self.counting.insert(offset, ticket);
        }
        let offsets = claimed.iter().map(|(offset, _)| *offset).collect();
        self.claims.insert(ticket, Claims { member, offsets });
        Counting { ticket, changes, is_alone }
    }

    /// The changes of a [`Counting`] are durable: what its member still claims is handed out to it, in order.
    pub(crate) fn counted(&mut self, ticket: Ticket) -> Vec<Retried> {
        let claims = self.claims.remove(&ticket);
        let mut handed_out = Vec::new();
        for offset in claims.map_or_else(Vec::new, |claims| claims.offsets) {
            if self.counting.get(&offset) == Some(&ticket) {
                self.counting.remove(&offset);
                self.retried.insert(offset);
                let attempts = self.progress.attempts(offset).expect("it was counted");
                handed_out.push(Retried { offset, attempts });
            }
        }
        handed_out
    }

    /// Asks for a higher limit when less than half of the reserve is left. [`Desk::take`] does so too.
    pub(crate) fn raise_limit(&mut self) -> Option<LimitWanted> {
        let is_enough = (self.limit - self.cursor).saturating_mul(2) >= self.options.reserve;
        let offset = self.cursor.saturating_add(self.options.reserve).min(OFFSET_MAX - 1);
        if is_enough || self.limit_wanted.is_some() || offset <= self.limit {
            return None;
        }
        let ticket = self.ticket();
        self.limit_wanted = Some((ticket, offset));
        let change = self.log(ProgressChange::HandOutTo { offset });
        Some(LimitWanted { ticket, change })
    }

    /// The change of a [`LimitWanted`] is durable.
    pub(crate) fn limit_durable(&mut self, ticket: Ticket) {
        if let Some((_, offset)) = self.limit_wanted.take_if(|(wanted, _)| *wanted == ticket) {
            self.limit = self.limit.max(offset);
        }
    }

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

    /// Ends deliveries unfinished, as far as the offsets are in flight.
    pub(crate) fn give_back(&mut self, offsets: Range<u64>, cause: Cause, now_ms: i64) -> GivenBack {
        let mut given = GivenBack::default();
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
                ended.failures += u32::from(reason != Reason::Released);
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

    fn end_claims(&mut self, ends: impl Fn(&Claims) -> bool) -> Vec<ProgressChange> {
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

    /// Goes on at another offset: everything that is known of what follows is forgotten. The caller takes the leases from
    /// the members. Returns what is to be logged; `Err`: no partition has such an offset.
    pub(crate) fn reset(&mut self, position: u64) -> Result<ProgressChange, &'static str> {
        let change = ProgressChange::Reset { position };
        let progress = Progress::begin(position)?;
        let (owner, next_ticket) = (self.owner, self.next_ticket);
        let opening = Opening { next_offset: position, is_clean: true };
        *self = Desk { owner, next_ticket, ..Desk::open(progress, self.options, opening) };
        Ok(change)
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
        changes
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

    /// What was due is ready.
    fn wake(&mut self, now_ms: i64) {
        while let Some((due_ms, offset)) = self.delayed.first().copied()
            && due_ms <= now_ms
        {
            self.delayed.pop_first();
            let attempts = self.tried(offset);
            self.queue(offset, Attempts { due_ms: 0, ..attempts });
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
        let Desk { ready, alone, retried, dying, untold, holding, .. } = self;
        for listed in [ready, alone, retried, dying, untold, holding] {
            while let Some(offset) = listed.range(range.clone()).next().copied() {
                listed.remove(&offset);
            }
        }
        while let Some((&offset, _)) = self.counting.range(range.clone()).next() {
            self.counting.remove(&offset);
        }
    }

    fn untold_dead_letters(&mut self, count_max: u64) -> Vec<DeadLetter> {
        let count = self.untold.len().min(usize::try_from(count_max).unwrap_or(usize::MAX));
        let offsets: Vec<u64> = std::iter::from_fn(|| self.untold.pop_first()).take(count).collect();
        offsets.into_iter().map(|offset| DeadLetter { offset, attempts: self.tried(offset) }).collect()
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
