//! Handing out: what a member is given now, and what it is given when its count is durable.

use super::{Claims, Desk, FAILURES_TOGETHER_MAX, Returned, once};
use crate::consumer::group::MemberId;
use crate::consumer::group::taken::{
    Counting, DeadLetter, GroupKind, LimitWanted, Pause, Retried, Taken, Ticket, Want,
};
use crate::lane::progress::{Attempts, ProgressChange};
use crate::lane::state::OFFSET_MAX;
use std::ops::Range;

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

impl Desk {
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
            self.counting.insert(offset);
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
            // It may be finished by now.
            if self.counting.remove(&offset) {
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

    fn untold_dead_letters(&mut self, count_max: u64) -> Vec<DeadLetter> {
        let count = self.untold.len().min(usize::try_from(count_max).unwrap_or(usize::MAX));
        let offsets: Vec<u64> = std::iter::from_fn(|| self.untold.pop_first()).take(count).collect();
        offsets.into_iter().map(|offset| DeadLetter { offset, attempts: self.tried(offset) }).collect()
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
}
