//! A partition of a group: its desk, and what is on its way into the log.
//!
//! Invariants:
//! - Changes reach the lane in the order in which the desk made them: they are pushed before its lock is let go.
//! - What must be durable before it counts (a limit, a raised count) is told the desk when its reply is there.
//! - A token goes into the log in the same frame as the acknowledgement of the delivery that claimed it.
//! - What was given up unfinished is told once, to the member that asks first; until then the log remembers it.

use super::MemberId;
use super::deliveries::Once;
use super::desk::Desk;
use super::desk::reopening::NotReopened;
use super::groups::GroupPartitionInfo;
use super::in_progress::{Claim, InProgress, TOKENS_OF_DELIVERY_MAX};
use super::taken::{Cause, Counting, DeadLetter, GivenBack, GroupKind, Pause, Retried, Ticket, Want};
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::lane::inbox::{Inbox, InboxBounds, Seen, Token};
use crate::lane::lost::Lost;
use crate::lane::progress::{ProgressChange, ProgressEntry};
use crate::lane::shared::{LaneShared, Message, Reply};
use crate::partition::shared::{Partition, TopicShared};
use crate::sync::lock;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// See the module.
pub(super) struct GroupPartition {
    pub(super) group: u32,
    pub(super) topic: Arc<TopicShared>,
    pub(super) partition: Arc<Partition>,
    lane: Arc<LaneShared>,
    state: Mutex<State>,
    /// Counts where the group was sent elsewhere here, when that begins and when it ends: what was taken or acknowledged
    /// under another count does not count any more.
    resets: AtomicU64,
}

struct State {
    desk: Desk,
    /// The tokens of deliveries that go on.
    in_progress: InProgress,
    limit: Option<(Ticket, Arc<Reply>)>,
    /// Who is to have the partition, in an ordered group.
    wanted_by: Option<MemberId>,
    /// What was given up before it was finished; in this opening, as the desk saw it.
    lost: Lost,
    /// The partition's first offset when it was last looked at.
    first_offset: u64,
    /// What is in flight was written down: nothing is handed out any more.
    closed: bool,
}

/// What reopening came to.
pub(super) struct Reopened {
    /// One for each offset.
    pub(super) results: Vec<Result<(), NotReopened>>,
    /// To be waited for: then it is durable.
    pub(super) reply: Option<Arc<Reply>>,
}

/// What a member is given of a partition.
#[derive(Default)]
pub(super) struct Given {
    pub(super) ranges: Vec<Range<u64>>,
    /// To be waited for; then [`GroupPartition::counted`] gives it.
    pub(super) counting: Option<(Counting, Arc<Reply>)>,
    /// To be waited for, if nothing was given.
    pub(super) limit: Option<Arc<Reply>>,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) pause: Option<Pause>,
    /// Offsets were given up before they were finished: [`GroupPartition::tell_lost`] says which.
    pub(super) has_lost: bool,
    /// What [`GroupPartition::resets`] was.
    pub(super) resets: u64,
}

/// A partition whose desk says nothing else meanwhile.
pub(super) struct HeldPartition<'a> {
    state: MutexGuard<'a, State>,
    resets: u64,
}

impl HeldPartition<'_> {
    /// What acknowledges offsets that were taken under this count of resets; `None`: it does not count any more.
    pub(super) fn changes(&self, resets: u64, offsets: Range<u64>) -> Option<Vec<ProgressChange>> {
        if self.resets != resets || self.state.closed {
            return None;
        }
        let tokens = self.state.in_progress.of_range(offsets.start, offsets.end);
        let token = |(at_ms, token): &(i64, Token)| ProgressChange::Token { token: token.clone(), at_ms: *at_ms };
        let mut changes: Vec<_> = tokens.map(token).collect();
        changes.push(ProgressChange::Finish { from: offsets.start, to: offsets.end });
        Some(changes)
    }
}

impl GroupPartition {
    pub(super) fn new(
        group: u32,
        topic: Arc<TopicShared>,
        partition: Arc<Partition>,
        lane: Arc<LaneShared>,
        desk: Desk,
        lost: Lost,
    ) -> GroupPartition {
        let first_offset = partition.index().first_offset;
        let state = Mutex::new(State {
            desk,
            in_progress: InProgress::default(),
            limit: None,
            wanted_by: None,
            lost,
            first_offset,
            closed: false,
        });
        GroupPartition { group, topic, partition, lane, state, resets: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        let first_offset = self.partition.index().first_offset;
        let position = state.desk.position();
        if first_offset > position {
            let records = state.desk.truncate(first_offset);
            state.lost.note(position..first_offset, records);
        }
        if first_offset > state.first_offset {
            state.first_offset = first_offset;
            // What was acknowledged before the desk saw that it is gone, but after the log had given it up, is not lost.
            if state.lost.untold().is_none() && !state.closed {
                self.log(vec![ProgressChange::Told { to: first_offset }], false);
            }
        }
        state
    }

    /// What is to be told of: records that were given up before they were finished. Nobody is told again.
    pub(super) fn tell_lost(&self) -> Option<Range<u64>> {
        let mut state = self.lock();
        let untold = state.lost.untold().filter(|_| !state.closed)?;
        state.lost.told(untold.end);
        // What went behind it was finished, or it would be untold too; the log may not have known that yet.
        let to = untold.end.max(state.first_offset);
        self.log(vec![ProgressChange::Told { to }], false);
        Some(untold)
    }

    /// Hands changes to the lane. With `answered`, they are made durable at once.
    fn log(&self, changes: Vec<ProgressChange>, answered: bool) -> Option<Arc<Reply>> {
        if changes.is_empty() {
            return None;
        }
        let (group, slot) = (self.group, self.partition.slot);
        let entries = changes.into_iter().map(|change| ProgressEntry { group, slot, change }).collect();
        if answered {
            return Some(self.ask_lane(entries));
        }
        self.lane.push(Message::Progress { entries, reply: None });
        None
    }

    fn ask_lane(&self, entries: Vec<ProgressEntry>) -> Arc<Reply> {
        let (answer, reply) = Reply::pair();
        self.lane.push(Message::Progress { entries, reply: Some(answer) });
        reply
    }

    /// Gives records to a member.
    pub(super) fn take(
        &self,
        kind: GroupKind,
        member: MemberId,
        now_ms: i64,
        count_max: u64,
        has_others: bool,
    ) -> Result<Given> {
        self.lane.check()?;
        let next_offset = self.partition.index().next_offset;
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed { what: "the engine" });
        }
        if let Some((ticket, reply)) = state.limit.take_if(|(_, reply)| reply.is_there()) {
            if let Err(error) = reply.wait_shared() {
                // It is noted later; this asks when.
                state.limit = Some((ticket, self.ask_lane(Vec::new())));
                return Err(error);
            }
            state.desk.limit_durable(ticket);
        }
        let mut changes = Vec::new();
        if kind == GroupKind::Ordered && state.wanted_by != Some(member) {
            return Ok(Given { pause: Some(Pause::NotOwner), ..Given::default() });
        }
        if kind == GroupKind::Ordered && state.desk.in_flight() == 0 {
            // Nothing, if it is its already.
            changes = state.desk.assign(Some(member), Cause::Released, now_ms).changes;
        }
        let taken = state.desk.take(Want { member, now_ms, next_offset, count_max, has_others });
        let mut given = Given {
            ranges: taken.ranges,
            dead_letters: taken.dead_letters,
            pause: taken.pause,
            has_lost: state.lost.untold().is_some(),
            resets: self.resets(),
            ..Given::default()
        };
        self.log(changes, false);
        if let Some(limit) = taken.limit
            && let Some(reply) = self.log(vec![limit.change], true)
        {
            state.limit = Some((limit.ticket, reply));
        }
        given.limit = state.limit.as_ref().map(|(_, reply)| reply.clone());
        if let Some(counting) = taken.counting {
            let reply = self.log(counting.changes.clone(), true);
            given.counting = reply.map(|reply| (counting, reply));
        }
        Ok(given)
    }

    /// The raised counts are durable: these are the member's now.
    pub(super) fn counted(&self, ticket: Ticket) -> Vec<Retried> {
        self.lock().desk.counted(ticket)
    }

    /// Under which count deliveries are taken and end now.
    #[inline]
    pub(super) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Acquire)
    }

    /// Finishes what was acknowledged after so many resets.
    pub(super) fn finish(&self, resets: u64, ranges: impl IntoIterator<Item = Range<u64>>) {
        let mut state = self.lock();
        if self.resets() != resets {
            return;
        }
        let State { desk, in_progress, .. } = &mut *state;
        let mut changes = Vec::new();
        for range in ranges {
            let mut tokens = in_progress.end_range(range.start, range.end);
            if canary::sings(Canary::ForgetTokens) {
                tokens.clear();
            }
            changes.extend(tokens.into_iter().map(|(at_ms, token)| desk.record_token(token, at_ms)));
            desk.finish(std::iter::once(range), &mut changes);
        }
        self.log(changes, false);
    }

    /// Locks the desk for a transaction that is about to go to the lane.
    pub(super) fn lock_for_transaction(&self) -> HeldPartition<'_> {
        HeldPartition { state: self.lock(), resets: self.resets() }
    }

    /// At opening: what transactions that are prepared acknowledge is theirs.
    pub(super) fn hold(&self, held: &[ProgressChange]) {
        let mut state = self.lock();
        let mut tokens = Vec::new();
        for change in held {
            match change {
                ProgressChange::Token { token, at_ms } => tokens.push((token, *at_ms)),
                ProgressChange::Finish { from, to } => {
                    state.desk.hold(*from..*to);
                    for (token, at_ms) in tokens.drain(..) {
                        // Which of several deliveries claimed it does not matter: they end together.
                        state.in_progress.restore(token, *from, at_ms);
                    }
                }
                _ => {}
            }
        }
    }

    /// What a transaction acknowledged stands in the log.
    pub(super) fn finish_held(&self, resets: u64, offsets: Range<u64>) {
        let mut state = self.lock();
        if self.resets() != resets {
            return;
        }
        let State { desk, in_progress, .. } = &mut *state;
        for (at_ms, token) in in_progress.end_range(offsets.start, offsets.end) {
            desk.record_token(token, at_ms);
        }
        desk.finish(std::iter::once(offsets), &mut Vec::new());
    }

    /// Claims a token for a delivery that `is_held`, unless something was processed under it, or is.
    pub(super) fn claim(
        &self,
        token: &Token,
        offset: u64,
        now_ms: i64,
        bounds: InboxBounds,
        is_held: impl FnOnce() -> Result<()>,
    ) -> Result<Once> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed { what: "the engine" });
        }
        // As long as the desk is locked the delivery does not end without its claims.
        is_held()?;
        let seen = state.desk.progress().inbox().map(|inbox: &Inbox| inbox.check(token.as_bytes(), now_ms));
        if seen == Some(Seen::Duplicate) {
            return Ok(Once::Duplicate);
        }
        if seen.is_none() {
            let change = state.desk.open_inbox(bounds);
            self.log(vec![change], false);
        }
        match state.in_progress.claim(token, offset, now_ms) {
            Claim::Claimed | Claim::Held => Ok(Once::Fresh),
            Claim::InProgress { offset } => Ok(Once::InProgress { offset }),
            Claim::TooMany => Err(Error::InvalidArgument {
                name: "token",
                value: format!("one more of the delivery of offset {offset}"),
                reason: format!("a delivery claims {TOKENS_OF_DELIVERY_MAX} tokens at most"),
            }),
        }
    }

    /// Deliveries that were taken under this count of resets end unfinished. What becomes a dead letter is returned.
    pub(super) fn give_back(&self, resets: u64, offsets: Range<u64>, cause: Cause, now_ms: i64) -> Vec<DeadLetter> {
        let mut state = self.lock();
        if self.resets() != resets {
            return Vec::new();
        }
        drop(state.in_progress.end_range(offsets.start, offsets.end));
        let GivenBack { changes, dead_letters } = state.desk.give_back(offsets, cause, now_ms);
        self.log(changes, false);
        dead_letters
    }

    /// A member went away.
    pub(super) fn member_left(&self, member: MemberId) {
        let mut state = self.lock();
        let changes = state.desk.member_left(member);
        self.log(changes, false);
    }

    /// Ordered: who is to have it. Others keep what they have, until it is finished or their leases end.
    pub(super) fn want(&self, member: Option<MemberId>) {
        self.lock().wanted_by = member;
    }

    /// A dead letter could not be written.
    pub(super) fn dead_letter_failed(&self, offset: u64) {
        self.lock().desk.dead_letter_failed(offset);
    }

    /// Returns when everything that was said of it is durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.ask_lane(Vec::new()).wait_shared()
    }

    /// Goes on elsewhere; durable when the reply is there. `take_back` takes the partition's leases from all members.
    pub(super) fn reset(&self, position: u64, take_back: impl FnOnce()) -> Result<Option<Arc<Reply>>> {
        self.lane.check()?;
        let mut state = self.lock();
        let change = state.desk.reset(position).map_err(|reason| Error::InvalidArgument {
            name: "offset",
            value: position.to_string(),
            reason: reason.to_owned(),
        })?;
        state.limit = None;
        state.in_progress = InProgress::default();
        // What a member has taken and does not hold yet it will not hold, and what it has let go of it will not give back.
        self.resets.fetch_add(1, Ordering::AcqRel);
        take_back();
        self.resets.fetch_add(1, Ordering::AcqRel);
        Ok(self.log(vec![change], true))
    }

    /// Has finished records begin anew.
    pub(super) fn reopen(&self, offsets: impl IntoIterator<Item = u64>) -> Result<Reopened> {
        self.lane.check()?;
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed { what: "the engine" });
        }
        let first_offset = self.partition.index().first_offset;
        let mut changes = Vec::new();
        let mut reopen = |offset| match offset < first_offset {
            true => Err(NotReopened::Gone),
            false => state.desk.reopen(offset).map(|mut logged| changes.append(&mut logged)),
        };
        let results = offsets.into_iter().map(&mut reopen).collect();
        Ok(Reopened { results, reply: self.log(changes, true) })
    }

    /// How often records began anew.
    pub(super) fn restarts(&self) -> u64 {
        self.lock().desk.progress().restarts()
    }

    /// Writes down what is in flight, before the engine closes.
    pub(super) fn close(&self, now_ms: i64) {
        let mut state = self.lock();
        state.closed = true;
        let changes = state.desk.close(now_ms);
        self.log(changes, false);
    }

    /// A member may take from it. Of an ordered group's partition that is one, or nobody.
    pub(super) fn is_for(&self, member: MemberId) -> bool {
        let state = self.lock();
        state.desk.kind() == GroupKind::Shared || state.wanted_by == Some(member)
    }

    /// When something waits to be due.
    pub(super) fn next_due(&self, now_ms: i64) -> Option<i64> {
        self.lock().desk.next_due(now_ms)
    }

    /// How far the group has come.
    pub(super) fn info(&self) -> GroupPartitionInfo {
        let next_offset = self.partition.index().next_offset;
        let state = self.lock();
        GroupPartitionInfo {
            topic: self.partition.topic.to_string(),
            partition: self.partition.partition,
            position: state.desk.position(),
            next_offset,
            lag: state.desk.progress().unfinished_below(next_offset),
            in_flight: state.desk.in_flight(),
            available: state.desk.available(next_offset),
            lost: state.lost.records(),
        }
    }
}
