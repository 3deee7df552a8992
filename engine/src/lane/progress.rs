//! The durable progress of one group in one partition, and the frame that changes it.
//!
//! The lane keeps one [`Progress`] for each (group, slot). It begins with [`Progress::begin`] and changes with
//! [`Progress::apply`], in the order of the log: when a frame is encoded and when recovery reads it. When the
//! partition gives up records, the lane calls [`Progress::truncate`] with its new first offset, and so it does after
//! a `Reset` or a `Reopen` to an offset below it. What is handed out to whom is no business of the log: see
//! `consumer/group/`.
//!
//! ```text
//!    finished |  unfinished   | finished | unfinished |   never handed out
//!             ^ position       ^ a range above it      ^ at most handed_out_to
//! ```
//!
//! Invariants:
//! - It is a function of the log's frames.
//! - `position` is unfinished: everything below is finished, and no finished range touches it. Ranges are not empty
//!   and do not touch each other.
//! - Nothing was ever handed out from `handed_out_to` on, which is at least `position`; and no range ends above it.
//! - Attempts are kept for unfinished offsets below `handed_out_to` only, so they go when their offset is finished.
//! - Neither list has more than [`ENTRIES_MAX`] entries, whatever whole frames say.
//! - The inbox has nothing to do with offsets: what was done once stays done, also when the group goes back.

use super::entries::decode_list;
use super::inbox::{Inbox, InboxBounds, Token};
use super::state::OFFSET_MAX;
use crate::log::codec::{Put, Reader, unzigzag, varint_bytes, zigzag};
use std::collections::BTreeMap;
use std::ops::Range;

/// Most finished ranges, and most offsets with attempts, of one group in one partition. Its policy stays below:
/// there are not more of either than unfinished offsets that may have been handed out.
pub(crate) const ENTRIES_MAX: usize = 1 << 20;

/// Most bytes of an entry of a Progress frame: group, slot, tag, and a change without a token.
const ENTRY_BYTES_MAX: usize = 5 + 5 + 1 + 10 + Attempts::BYTES_MAX;
/// How much more of a checkpoint a change takes at most: a new entry, an attempt, or a range that is cut in two.
const GROWTH_MAX: u64 = 110;
/// And a token with its time.
const TOKEN_GROWTH_MAX: u64 = 1 + Token::BYTES_MAX as u64 + 10;

/// Why a record is, or was last, available once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// A member gave it back untouched. The only one that is no failure.
    Released = 1,
    /// A member could not process it.
    Nacked = 2,
    /// Nobody said anything about it before its lease ran out.
    LeaseEnded = 3,
    /// Its member went away.
    MemberLeft = 4,
    /// The engine was not closed while it was, or may have been, handed out.
    Crashed = 5,
    /// A member said that nobody can process it.
    Rejected = 6,
}

impl Reason {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Released => "released",
            Reason::Nacked => "nacked",
            Reason::LeaseEnded => "lease-ended",
            Reason::MemberLeft => "member-left",
            Reason::Crashed => "crashed",
            Reason::Rejected => "rejected",
        }
    }

    fn of(code: u8) -> Option<Reason> {
        use Reason::{Crashed, LeaseEnded, MemberLeft, Nacked, Rejected, Released};
        [Released, Nacked, LeaseEnded, MemberLeft, Crashed, Rejected].into_iter().find(|reason| *reason as u8 == code)
    }
}

/// What was tried with one unfinished offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// How often it was handed out, for whatever end. At least 1.
    pub(crate) deliveries: u32,
    /// How many of these failed; the others were released, and the last one may still go on.
    pub(crate) failures: u32,
    /// Not handed out again before this time of the wall clock; 0: at once.
    pub(crate) due_ms: i64,
    /// How the last delivery ended that has ended.
    pub(crate) reason: Reason,
    /// The last of the deliveries goes on, as far as the log knows.
    pub(crate) is_handed_out: bool,
    /// One of them was nacked.
    pub(crate) was_nacked: bool,
}

impl Attempts {
    /// Two counts, the due time, the flags.
    const BYTES_MAX: usize = 5 + 5 + 10 + 1;
    const HANDED_OUT: u8 = 0x10;
    const NACKED: u8 = 0x20;

    fn encode(&self, target: &mut Vec<u8>) {
        target.put_varint(u64::from(self.deliveries));
        target.put_varint(u64::from(self.failures));
        target.put_varint(zigzag(self.due_ms));
        let handed_out = if self.is_handed_out { Self::HANDED_OUT } else { 0 };
        let nacked = if self.was_nacked { Self::NACKED } else { 0 };
        target.put_u8(self.reason as u8 | handed_out | nacked);
    }

    fn encoded_bytes(&self) -> u64 {
        let counts = varint_bytes(u64::from(self.deliveries)) + varint_bytes(u64::from(self.failures));
        counts + varint_bytes(zigzag(self.due_ms)) + 1
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Attempts> {
        let deliveries = u32::try_from(reader.varint()?).ok()?;
        let failures = u32::try_from(reader.varint()?).ok()?;
        let due_ms = unzigzag(reader.varint()?);
        let flags = reader.u8()?;
        let reason = Reason::of(flags & !(Self::HANDED_OUT | Self::NACKED))?;
        let (is_handed_out, was_nacked) = (flags & Self::HANDED_OUT != 0, flags & Self::NACKED != 0);
        let attempts = Attempts { deliveries, failures, due_ms, reason, is_handed_out, was_nacked };
        attempts.check().ok()?;
        Some(attempts)
    }

    fn check(&self) -> Result<(), &'static str> {
        // A delivery that goes on has not failed yet.
        match self.deliveries > 0 && self.failures <= self.deliveries - u32::from(self.is_handed_out) {
            true => Ok(()),
            false => Err("a record failed more often than it was handed out"),
        }
    }
}

/// A change, as it stands in a Progress frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProgressChange {
    /// The group begins in this partition here: what is below does not concern it.
    Begin { position: u64 },
    /// These offsets, `to` excluded, are finished; some may have been before.
    Finish { from: u64, to: u64 },
    /// From now on offsets below this one may be handed out. The limit never falls by it.
    HandOutTo { offset: u64 },
    /// What was tried with an offset, all in all: the newest of them says everything.
    Attempt { offset: u64, attempts: Attempts },
    /// The group goes on here, ahead or back, as if nothing from here on had ever been handed out.
    Reset { position: u64 },
    /// From here on tokens are remembered, up to these bounds; those before are forgotten.
    OpenInbox { bounds: InboxBounds },
    /// Something was processed under this token. It stands in the frame of the acknowledgement.
    Token { token: Token, at_ms: i64 },
    /// A member was told of what had been given up unfinished below this offset: see [`super::lost`].
    Told { to: u64 },
    /// This finished offset is not finished any more, and nothing was tried with it.
    Reopen { offset: u64 },
    /// In a partition where dead letters of the group stand: what is finished there are those that were redriven. The group
    /// does not read it.
    BeginMarks { position: u64 },
}

/// An entry of a Progress frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgressEntry {
    pub(crate) group: u32,
    pub(crate) slot: u32,
    pub(crate) change: ProgressChange,
}

/// Bound on the body of a Progress frame with these entries.
pub(crate) fn progress_body_bytes_max(entries: &[ProgressEntry]) -> usize {
    let tokens: u64 = entries.iter().map(|entry| entry.change.token_bytes()).sum();
    4 + entries.len() * ENTRY_BYTES_MAX + tokens as usize
}

/// Bound on how much larger a checkpoint becomes by these entries.
pub(crate) fn progress_growth_max(entries: &[ProgressEntry]) -> u64 {
    let growth = |entry: &ProgressEntry| match &entry.change {
        ProgressChange::Token { .. } => TOKEN_GROWTH_MAX,
        _ => GROWTH_MAX,
    };
    entries.iter().map(growth).sum()
}

pub(crate) fn encode_progress(entries: &[ProgressEntry]) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + entries.len() * 16);
    encode_progress_into(entries, &mut body);
    body
}

/// The same as a part of something, behind its length.
pub(crate) fn put_progress(entries: &[ProgressEntry], target: &mut Vec<u8>) {
    let start = target.len();
    target.put_u32(0);
    encode_progress_into(entries, target);
    let bytes = (target.len() - start - 4) as u32;
    target[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
}

fn encode_progress_into(entries: &[ProgressEntry], target: &mut Vec<u8>) {
    target.put_u32(entries.len() as u32);
    for ProgressEntry { group, slot, change } in entries {
        target.put_varint(u64::from(*group));
        target.put_varint(u64::from(*slot));
        change.encode(target);
    }
}

pub(crate) fn decode_progress(body: &[u8]) -> Option<Vec<ProgressEntry>> {
    decode_list(body, |reader| {
        let group = u32::try_from(reader.varint()?).ok()?;
        let slot = u32::try_from(reader.varint()?).ok()?;
        Some(ProgressEntry { group, slot, change: ProgressChange::decode(reader)? })
    })
}

impl ProgressChange {
    fn token_bytes(&self) -> u64 {
        match self {
            ProgressChange::Token { token, .. } => token.encoded_bytes(),
            _ => 0,
        }
    }

    fn encode(&self, target: &mut Vec<u8>) {
        match self {
            ProgressChange::Begin { position } => {
                target.put_u8(1);
                target.put_varint(*position);
            }
            ProgressChange::Finish { from, to } => {
                target.put_u8(2);
                target.put_varint(*from);
                target.put_varint(to.wrapping_sub(*from));
            }
            ProgressChange::HandOutTo { offset } => {
                target.put_u8(3);
                target.put_varint(*offset);
            }
            ProgressChange::Attempt { offset, attempts } => {
                target.put_u8(4);
                target.put_varint(*offset);
                attempts.encode(target);
            }
            ProgressChange::Reset { position } => {
                target.put_u8(5);
                target.put_varint(*position);
            }
            ProgressChange::OpenInbox { bounds } => {
                target.put_u8(8);
                bounds.encode(target);
            }
            ProgressChange::Token { token, at_ms } => {
                target.put_u8(9);
                target.put_varint(zigzag(*at_ms));
                token.encode(target);
            }
            ProgressChange::Told { to } => {
                target.put_u8(10);
                target.put_varint(*to);
            }
            ProgressChange::Reopen { offset } => {
                target.put_u8(6);
                target.put_varint(*offset);
            }
            ProgressChange::BeginMarks { position } => {
                target.put_u8(11);
                target.put_varint(*position);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<ProgressChange> {
        Some(match reader.u8()? {
            1 => ProgressChange::Begin { position: reader.varint()? },
            2 => {
                let from = reader.varint()?;
                ProgressChange::Finish { from, to: from.checked_add(reader.varint()?)? }
            }
            3 => ProgressChange::HandOutTo { offset: reader.varint()? },
            4 => ProgressChange::Attempt { offset: reader.varint()?, attempts: Attempts::decode(reader)? },
            5 => ProgressChange::Reset { position: reader.varint()? },
            8 => ProgressChange::OpenInbox { bounds: InboxBounds::decode(reader)? },
            9 => ProgressChange::Token { at_ms: unzigzag(reader.varint()?), token: Token::decode(reader)? },
            10 => ProgressChange::Told { to: reader.varint()? },
            6 => ProgressChange::Reopen { offset: reader.varint()? },
            11 => ProgressChange::BeginMarks { position: reader.varint()? },
            _ => return None,
        })
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    position: u64,
    handed_out_to: u64,
    /// How often offsets began anew, by a reset or a redrive: tells the dead letters of one offset apart.
    restarts: u64,
    /// Start and end of the finished ranges above the position.
    finished: BTreeMap<u64, u64>,
    /// Offsets in them.
    finished_above: u64,
    attempts: BTreeMap<u64, Attempts>,
    /// What the attempts take in a checkpoint, without their offsets.
    attempts_bytes: u64,
    inbox: Option<Inbox>,
    is_marks: bool,
}

impl Progress {
    const MARKS: u8 = 2;

    /// What [`ProgressChange::Begin`] says. `Err`: no partition has such an offset.
    pub(crate) fn begin(position: u64) -> Result<Progress, &'static str> {
        check_offset(position)?;
        let (finished, attempts) = (BTreeMap::new(), BTreeMap::new());
        Ok(Progress {
            position,
            handed_out_to: position,
            restarts: 0,
            finished,
            finished_above: 0,
            attempts,
            attempts_bytes: 0,
            inbox: None,
            is_marks: false,
        })
    }

    /// Applies a change that is in the log; only [`ProgressChange::Begin`] is for a group that has not begun.
    /// `Err`: it contradicts what came before, and nothing has changed. What concerns offsets below the position is
    /// no contradiction: they may have been given up in the meantime.
    pub(crate) fn apply(&mut self, change: &ProgressChange) -> Result<(), &'static str> {
        match *change {
            ProgressChange::Begin { .. } | ProgressChange::BeginMarks { .. } => {
                Err("a group begins twice in a partition")
            }
            ProgressChange::Finish { from, to } => self.finish(from, to).map(drop),
            ProgressChange::OpenInbox { bounds } => {
                self.inbox = Some(Inbox::new(bounds));
                Ok(())
            }
            ProgressChange::Token { ref token, at_ms } => {
                let inbox = self.inbox.as_mut().ok_or("it has a token, and its group has no inbox")?;
                inbox.record(token.clone(), at_ms);
                Ok(())
            }
            ProgressChange::HandOutTo { offset } => {
                check_offset(offset)?;
                self.handed_out_to = self.handed_out_to.max(offset);
                Ok(())
            }
            ProgressChange::Attempt { offset, attempts } => self.set_attempts(offset, attempts),
            ProgressChange::Reset { position } => {
                let begun = Progress { restarts: self.restarts.saturating_add(1), ..Progress::begin(position)? };
                *self = Progress { inbox: self.inbox.take(), ..begun };
                Ok(())
            }
            // What was lost stands beside it.
            ProgressChange::Told { .. } => Ok(()),
            ProgressChange::Reopen { offset } => self.reopen(offset),
        }
    }

    /// Takes an offset out of the finished ones. Where it lies below the position, the position goes back to it, and
    /// what was finished between the two becomes a range.
    fn reopen(&mut self, offset: u64) -> Result<(), &'static str> {
        let is_below = offset < self.position;
        let range = self.finished.range(..=offset).next_back().map(|(start, end)| (*start, *end));
        let (start, end) = match range.filter(|(_, end)| offset < *end) {
            _ if is_below => (offset, self.position),
            Some(range) => range,
            None => return Err("it reopens an offset that is not finished"),
        };
        let pieces = usize::from(start < offset) + usize::from(offset + 1 < end);
        if self.finished.len() + pieces > ENTRIES_MAX + usize::from(!is_below) {
            return Err("it leaves more finished ranges than there can be");
        }
        if is_below {
            self.position = offset;
            self.finished_above += end - start;
        } else {
            self.finished.remove(&start);
        }
        if start < offset {
            self.finished.insert(start, offset);
        }
        if offset + 1 < end {
            self.finished.insert(offset + 1, end);
        }
        self.finished_above -= 1;
        self.restarts = self.restarts.saturating_add(1);
        Ok(())
    }

    /// Finishes offsets; returns how many of them were not finished before.
    pub(crate) fn finish(&mut self, from: u64, to: u64) -> Result<u64, &'static str> {
        if from >= to {
            return Err("it finishes no offsets");
        }
        if to > self.handed_out_to {
            return Err("it finishes offsets that were not handed out");
        }
        let from = from.max(self.position);
        if from >= to {
            return Ok(0);
        }
        self.finish_unchecked(from, to).ok_or("it leaves more finished ranges than there can be")
    }

    /// Gives up what is below `first_offset`; returns how many offsets were given up unfinished.
    pub(crate) fn truncate(&mut self, first_offset: u64) -> u64 {
        let first_offset = first_offset.min(OFFSET_MAX - 1);
        self.handed_out_to = self.handed_out_to.max(first_offset);
        if first_offset <= self.position {
            return 0;
        }
        self.finish_unchecked(self.position, first_offset).expect("no range is added at the position")
    }

    /// `None`: there would be too many ranges. `from` is not below the position.
    fn finish_unchecked(&mut self, from: u64, to: u64) -> Option<u64> {
        let newly = if from == self.position { self.advance(to) } else { self.add_range(from, to)? };
        self.forget_attempts(from, to);
        Some(newly)
    }

    /// The position goes to `to` and over the ranges that it comes to.
    fn advance(&mut self, to: u64) -> u64 {
        let mut newly = to - self.position;
        self.position = to;
        while let Some(first) = self.finished.first_entry()
            && *first.key() <= self.position
        {
            let (start, end) = first.remove_entry();
            self.finished_above -= end - start;
            newly -= end.min(to) - start.min(to);
            self.position = self.position.max(end);
        }
        newly
    }

    /// Adds a range above the position to the finished ones.
    fn add_range(&mut self, from: u64, to: u64) -> Option<u64> {
        let (mut start, mut end) = (from, to);
        let mut newly = to - from;
        let before = self.finished.range(..=from).next_back().map(|(start, end)| (*start, *end));
        if let Some((before_start, before_end)) = before.filter(|(_, end)| *end >= from) {
            if before_end >= to {
                return Some(0);
            }
            newly -= before_end - from;
            start = before_start;
        } else if self.finished.len() >= ENTRIES_MAX && self.finished.range(from + 1..=to).next().is_none() {
            return None;
        }
        // Those that begin in it or touch it become part of it.
        while let Some((&next_start, &next_end)) = self.finished.range(from + 1..=to).next() {
            newly -= next_end.min(to) - next_start;
            end = end.max(next_end);
            self.finished.remove(&next_start);
        }
        self.finished.insert(start, end);
        self.finished_above += newly;
        Some(newly)
    }

    fn set_attempts(&mut self, offset: u64, attempts: Attempts) -> Result<(), &'static str> {
        attempts.check()?;
        if offset < self.position {
            return Ok(());
        }
        if offset >= self.handed_out_to {
            return Err("it tried an offset that was not handed out");
        }
        if self.is_finished(offset) {
            return Err("it tried an offset that is finished");
        }
        if self.attempts.len() >= ENTRIES_MAX && !self.attempts.contains_key(&offset) {
            return Err("it tried more offsets than can be unfinished");
        }
        self.attempts_bytes += attempts.encoded_bytes();
        if let Some(before) = self.attempts.insert(offset, attempts) {
            self.attempts_bytes -= before.encoded_bytes();
        }
        Ok(())
    }

    fn forget_attempts(&mut self, from: u64, to: u64) {
        if self.attempts.is_empty() {
            return;
        }
        while let Some((&offset, attempts)) = self.attempts.range(from..to).next() {
            self.attempts_bytes -= attempts.encoded_bytes();
            self.attempts.remove(&offset);
        }
    }

    /// All offsets below are finished, and it is not.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// No offset from here on was ever handed out, or may be before this limit grows.
    #[inline]
    pub(crate) fn handed_out_to(&self) -> u64 {
        self.handed_out_to
    }

    /// How often offsets began anew.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    pub(crate) fn is_finished(&self, offset: u64) -> bool {
        let range = || self.finished.range(..=offset).next_back();
        offset < self.position || range().is_some_and(|(_, end)| offset < *end)
    }

    /// Behind the last finished offset.
    pub(crate) fn finished_end(&self) -> u64 {
        self.finished.last_key_value().map_or(self.position, |(_, end)| *end)
    }

    /// How many offsets below `end` are unfinished: with the partition's end, the group's lag in records.
    pub(crate) fn unfinished_below(&self, end: u64) -> u64 {
        if end <= self.position {
            return 0;
        }
        // Whoever asks mostly means all of them.
        let behind = |(start, range_end): (&u64, &u64)| range_end - (*start).max(end);
        let finished_behind: u64 =
            self.finished.iter().rev().take_while(|(_, range_end)| **range_end > end).map(behind).sum();
        end - self.position - (self.finished_above - finished_behind)
    }

    /// The unfinished ranges between two offsets, in order.
    pub(crate) fn unfinished(&self, from: u64, to: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = from.max(self.position);
        if let Some((_, end)) = self.finished.range(..=at).next_back() {
            at = at.max(*end);
        }
        let mut ranges = self.finished.range(at..to.max(at));
        std::iter::from_fn(move || {
            if at >= to {
                return None;
            }
            let (start, end) = ranges.next().map_or((to, to), |(start, end)| (*start, *end));
            Some(std::mem::replace(&mut at, end)..start)
        })
    }

    /// What was tried with an unfinished offset. `None`: it was handed out once, or not at all.
    pub(crate) fn attempts(&self, offset: u64) -> Option<Attempts> {
        match self.attempts.is_empty() {
            true => None,
            false => self.attempts.get(&offset).copied(),
        }
    }

    /// The unfinished offsets with attempts between two offsets, in order.
    pub(crate) fn attempts_in(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, Attempts)> + '_ {
        self.attempts.range(from..to.max(from)).map(|(offset, attempts)| (*offset, *attempts))
    }

    /// Behind the last offset with attempts.
    pub(crate) fn attempts_end(&self) -> u64 {
        self.attempts.last_key_value().map_or(self.position, |(offset, _)| offset + 1)
    }

    /// What [`ProgressChange::BeginMarks`] says.
    pub(crate) fn begin_marks(position: u64) -> Result<Progress, &'static str> {
        Ok(Progress { is_marks: true, ..Progress::begin(position)? })
    }

    /// What is finished are marks of dead letters: the group does not read the partition.
    pub(crate) fn is_marks(&self) -> bool {
        self.is_marks
    }

    /// The tokens that it remembers. `None`: none was ever asked for.
    pub(crate) fn inbox(&self) -> Option<&Inbox> {
        self.inbox.as_ref()
    }

    /// A bound on what [`Progress::encode`] writes, in constant time: no distance is longer than all of them.
    pub(crate) fn encoded_bytes_max(&self) -> u64 {
        let ranges = self.finished.len() as u64;
        let attempts = self.attempts.len() as u64;
        let limit_bytes = varint_bytes(self.handed_out_to - self.position);
        let head = varint_bytes(self.position) + limit_bytes + varint_bytes(self.restarts);
        let counts = varint_bytes(ranges) + varint_bytes(attempts);
        let range_bytes_max = 2 * varint_bytes(self.finished_end() - self.position);
        let offset_bytes_max = varint_bytes(self.attempts_end() - self.position);
        let inbox_bytes = 1 + self.inbox.as_ref().map_or(0, Inbox::encoded_bytes);
        head + counts + ranges * range_bytes_max + attempts * offset_bytes_max + self.attempts_bytes + inbox_bytes
    }

    /// Appends it to a checkpoint.
    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_varint(self.position);
        target.put_varint(self.handed_out_to - self.position);
        target.put_varint(self.restarts);
        target.put_varint(self.finished.len() as u64);
        let mut before = self.position;
        for (start, end) in &self.finished {
            target.put_varint(start - before);
            target.put_varint(end - start);
            before = *end;
        }
        target.put_varint(self.attempts.len() as u64);
        let mut before = self.position;
        for (offset, attempts) in &self.attempts {
            target.put_varint(offset - before);
            attempts.encode(target);
            before = *offset;
        }
        let marks = if self.is_marks { Self::MARKS } else { 0 };
        target.put_u8(u8::from(self.inbox.is_some()) | marks);
        if let Some(inbox) = &self.inbox {
            inbox.encode(target);
        }
    }

    /// Takes it from a checkpoint. `None`: it is cut, or breaks an invariant.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Progress> {
        let mut progress = Progress::begin(reader.varint()?).ok()?;
        progress.handed_out_to = progress.position.checked_add(reader.varint()?)?;
        check_offset(progress.handed_out_to).ok()?;
        progress.restarts = reader.varint()?;
        let mut before = progress.position;
        for _ in 0..entry_count(reader)? {
            let start = before.checked_add(reader.varint()?)?;
            let end = start.checked_add(reader.varint()?)?;
            // Ranges neither touch each other nor the position.
            if start == before || start == end || end > progress.handed_out_to {
                return None;
            }
            progress.finished.insert(start, end);
            progress.finished_above += end - start;
            before = end;
        }
        let mut before = None;
        for _ in 0..entry_count(reader)? {
            let offset = before.unwrap_or(progress.position).checked_add(reader.varint()?)?;
            if before == Some(offset) {
                return None;
            }
            progress.set_attempts(offset, Attempts::decode(reader)?).ok()?;
            before = Some(offset);
        }
        let flags = reader.u8()?;
        progress.is_marks = flags & Self::MARKS != 0;
        progress.inbox = match flags & !Self::MARKS {
            0 => None,
            1 => Some(Inbox::decode(reader)?),
            _ => return None,
        };
        Some(progress)
    }
}

fn entry_count(reader: &mut Reader<'_>) -> Option<u64> {
    reader.varint().filter(|count| *count <= ENTRIES_MAX as u64)
}

fn check_offset(offset: u64) -> Result<(), &'static str> {
    if offset < OFFSET_MAX { Ok(()) } else { Err("no partition has such an offset") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn attempts(deliveries: u32, failures: u32, due_ms: i64) -> Attempts {
        let (reason, is_handed_out, was_nacked) = (Reason::Nacked, failures < deliveries, true);
        Attempts { deliveries, failures, due_ms, reason, is_handed_out, was_nacked }
    }

    fn encoded(progress: &Progress) -> Vec<u8> {
        let mut bytes = Vec::new();
        progress.encode(&mut bytes);
        bytes
    }

    fn decoded(bytes: &[u8]) -> Option<Progress> {
        let mut reader = Reader::new(bytes);
        Progress::decode(&mut reader).filter(|_| reader.is_empty())
    }

    fn begun(position: u64, handed_out_to: u64) -> Progress {
        let mut progress = Progress::begin(position).unwrap();
        progress.apply(&ProgressChange::HandOutTo { offset: handed_out_to }).unwrap();
        progress
    }

    #[test]
    fn finished_ranges_grow_and_merge_and_the_position_goes_over_them() {
        let mut progress = begun(10, 100);
        assert_eq!(progress.finish(20, 30), Ok(10));
        assert_eq!(progress.finish(40, 50), Ok(10));
        assert_eq!(progress.finish(25, 28), Ok(0), "finished already");
        assert_eq!(progress.finish(30, 40), Ok(10), "closes the gap");
        assert_eq!((progress.finished.len(), progress.position()), (1, 10));
        assert_eq!(progress.finish(5, 12), Ok(2), "what is below the position is finished");
        assert_eq!(progress.unfinished(0, 100).collect::<Vec<_>>(), [12..20, 50..100]);
        assert_eq!(progress.unfinished_below(60), 18);
        assert_eq!(progress.finish(11, 21), Ok(8));
        assert_eq!((progress.finished.len(), progress.position(), progress.finished_above), (0, 50, 0));
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let mut progress = begun(10, 100);
        progress.finish(20, 30).unwrap();
        let before = progress.clone();
        let attempt = |offset, attempts| ProgressChange::Attempt { offset, attempts };
        for change in [
            ProgressChange::Begin { position: 3 },
            ProgressChange::Finish { from: 12, to: 12 },
            ProgressChange::Finish { from: 13, to: 12 },
            ProgressChange::Finish { from: 50, to: 101 },
            ProgressChange::HandOutTo { offset: OFFSET_MAX },
            ProgressChange::Reset { position: u64::MAX },
            ProgressChange::Reopen { offset: 10 },
            ProgressChange::Reopen { offset: 30 },
            ProgressChange::Reopen { offset: u64::MAX },
            ProgressChange::BeginMarks { position: 3 },
            attempt(25, attempts(1, 1, 0)),
            attempt(100, attempts(1, 1, 0)),
            attempt(12, attempts(0, 0, 0)),
            attempt(12, attempts(1, 2, 0)),
            attempt(12, Attempts { is_handed_out: true, ..attempts(1, 1, 0) }),
        ] {
            progress.apply(&change).expect_err("a contradiction");
            assert_eq!(progress, before, "{change:?}");
        }
        progress.apply(&attempt(9, attempts(1, 1, 0))).unwrap();
        progress.apply(&ProgressChange::HandOutTo { offset: 50 }).unwrap();
        assert_eq!(progress, before, "what is below the position is ignored, and the limit never falls");
        Progress::begin(OFFSET_MAX).unwrap_err();
    }

    #[test]
    fn what_is_given_up_is_finished_and_counted() {
        let mut progress = begun(10, 40);
        progress.finish(20, 30).unwrap();
        progress.apply(&ProgressChange::Attempt { offset: 12, attempts: attempts(2, 1, 0) }).unwrap();
        assert_eq!(progress.truncate(10), 0);
        assert_eq!(progress.truncate(25), 10);
        assert_eq!((progress.position(), progress.handed_out_to(), progress.attempts(12)), (30, 40, None));
        assert_eq!(progress.truncate(50), 20, "what was never handed out as well");
        assert_eq!((progress.position(), progress.handed_out_to()), (50, 50));
    }

    #[test]
    fn a_reset_forgets_everything() {
        let mut progress = begun(10, 40);
        progress.finish(20, 30).unwrap();
        progress.apply(&ProgressChange::Attempt { offset: 12, attempts: attempts(2, 1, 0) }).unwrap();
        for (restarts, position) in [(1, 5), (2, 500)] {
            progress.apply(&ProgressChange::Reset { position }).unwrap();
            assert_eq!(progress, Progress { restarts, ..Progress::begin(position).unwrap() });
        }
    }

    #[test]
    fn what_is_reopened_is_unfinished_and_the_rest_stays_finished() {
        let mut progress = begun(10, 100);
        progress.finish(10, 20).unwrap();
        progress.finish(40, 44).unwrap();
        let mut reopen = |offset| {
            progress.apply(&ProgressChange::Reopen { offset }).unwrap();
            let ranges: Vec<_> = progress.finished.iter().map(|(start, end)| (*start, *end)).collect();
            (progress.position(), ranges)
        };
        assert_eq!(reopen(19), (19, vec![(40, 44)]), "the last one below the position");
        assert_eq!(reopen(12), (12, vec![(13, 19), (40, 44)]), "the position goes back");
        assert_eq!(reopen(42), (12, vec![(13, 19), (40, 42), (43, 44)]), "a range is cut in two");
        assert_eq!(reopen(43), (12, vec![(13, 19), (40, 42)]), "a range that was one offset is gone");
        assert_eq!(reopen(40), (12, vec![(13, 19), (41, 42)]));
        assert_eq!(reopen(3), (3, vec![(4, 12), (13, 19), (41, 42)]), "where the group began does not matter");
        assert_eq!((progress.handed_out_to(), progress.restarts()), (100, 6));
        assert_eq!(progress.unfinished_below(50), 1 + 1 + 22 + 8);
        progress.apply(&ProgressChange::Reopen { offset: 12 }).unwrap_err();
        assert_eq!((progress.finish(3, 4), progress.position()), (Ok(1), 12));
    }

    #[test]
    fn frames_cannot_ask_for_memory_without_bound() {
        let mut progress = begun(0, 10 * ENTRIES_MAX as u64);
        for range in 1..=ENTRIES_MAX as u64 {
            progress.finish(range * 2, range * 2 + 1).unwrap();
        }
        let end = ENTRIES_MAX as u64 * 2 + 1;
        progress.finish(end + 1, end + 2).unwrap_err();
        assert_eq!(progress.finish(end, end + 1), Ok(1), "a range that only grows is none more");
        assert_eq!(progress.finish(1, 2), Ok(1), "nor one that the next becomes part of");
        assert_eq!(progress.finished.len(), ENTRIES_MAX);
        let reopen = |offset| ProgressChange::Reopen { offset };
        progress.apply(&reopen(end - 1)).unwrap_or_else(|reason| panic!("it makes a range shorter: {reason}"));
        progress.finish(end - 1, end).unwrap();
        progress.finish(4, 6).unwrap();
        progress.finish(end + 2, end + 3).unwrap();
        progress.apply(&reopen(5)).unwrap_err();
        progress.finish(0, 1).unwrap();
        progress.finish(end + 4, end + 5).unwrap();
        progress.apply(&reopen(1)).unwrap_err();
        progress.apply(&reopen(2)).unwrap();
        let mut bytes = Vec::new();
        [0, 0, u64::MAX].into_iter().for_each(|field| bytes.put_varint(field));
        assert_eq!(decoded(&bytes), None);
    }

    #[test]
    fn the_body_of_a_frame_is_read_back_and_no_cut_one_is_accepted() {
        let worst = Attempts { deliveries: u32::MAX, failures: u32::MAX, due_ms: i64::MIN, ..attempts(1, 1, 0) };
        let changes = [
            ProgressChange::Begin { position: 7 },
            ProgressChange::Finish { from: 7, to: 9 },
            ProgressChange::Finish { from: 1 << 40, to: u64::MAX },
            ProgressChange::HandOutTo { offset: 16_384 },
            ProgressChange::Attempt { offset: u64::MAX, attempts: worst },
            ProgressChange::Reset { position: u64::MAX },
            ProgressChange::OpenInbox { bounds: InboxBounds { tokens_max: u32::MAX, age_ms_max: u64::MAX } },
            ProgressChange::Token { token: Token::new(&[7; 128]).unwrap(), at_ms: i64::MIN },
            ProgressChange::Told { to: 1 << 50 },
            ProgressChange::Reopen { offset: u64::MAX },
            ProgressChange::BeginMarks { position: 3 },
        ];
        let entry = |change| ProgressEntry { group: u32::MAX, slot: u32::MAX, change };
        let entries = changes.map(entry);
        let body = encode_progress(&entries);
        assert!(body.len() <= progress_body_bytes_max(&entries));
        for one in &entries {
            assert!(
                encode_progress(std::slice::from_ref(one)).len() <= progress_body_bytes_max(std::slice::from_ref(one))
            );
        }
        assert_eq!(decode_progress(&body).unwrap(), entries);
        for length in 0..body.len() {
            assert_eq!(decode_progress(&body[..length]), None, "cut at {length}");
        }
        let longest = &entries[4..5];
        assert_eq!(encode_progress(longest).len(), progress_body_bytes_max(longest), "the bound is no larger");
        assert_eq!(decode_progress(&[1, 0, 0, 0, 1, 1, 9, 0]), None, "an unknown change");
    }

    #[test]
    fn a_checkpoint_that_breaks_an_invariant_is_refused() {
        let read = |fields: &[u64]| {
            let mut bytes = Vec::new();
            fields.iter().for_each(|field| bytes.put_varint(*field));
            bytes.put_u8(0);
            decoded(&bytes)
        };
        // Position, limit, restarts, and ranges: gap and length; attempts: distance, deliveries, failures, due time, flags.
        assert!(read(&[10, 20, 0, 2, 1, 2, 1, 2, 1, 0, 1, 1, 0, 2]).is_some());
        for (fields, reason) in [
            (&[10, 20, 0, 1, 0, 2, 0][..], "a range touches the position"),
            (&[10, 20, 0, 2, 1, 2, 0, 2, 0], "a range touches another"),
            (&[10, 20, 0, 1, 1, 0, 0], "a range is empty"),
            (&[10, 20, 0, 1, 1, 20, 0], "a range ends above the limit"),
            (&[10, 20, 0, 1, 1, u64::MAX, 0], "a range has no end"),
            (&[10, OFFSET_MAX, 0, 0, 0], "no partition has such a limit"),
            (&[OFFSET_MAX, 0, 0, 0, 0], "nor such a position"),
            (&[10, 20, 0, 1, 1, 2, 1, 1, 1, 1, 0, 2], "a finished offset has attempts"),
            (&[10, 20, 0, 0, 1, 20, 1, 1, 0, 2], "one above the limit has"),
            (&[10, 20, 0, 0, 2, 1, 1, 1, 0, 2, 0, 1, 1, 0, 2], "one has them twice"),
            (&[10, 20, 0, 0, 1, 1, 1, 2, 0, 2], "more failures than deliveries"),
            (&[10, 20, 0, 0, 1, 1, 1, 1, 0, 7], "an unknown reason"),
        ] {
            assert_eq!(read(fields), None, "{reason}");
        }
    }

    /// Offsets one by one.
    #[derive(Default)]
    struct Model {
        begin: u64,
        limit: u64,
        finished: HashSet<u64>,
        attempts: BTreeMap<u64, Attempts>,
        tokens: Option<Inbox>,
    }

    impl Model {
        fn is_finished(&self, offset: u64) -> bool {
            offset < self.begin || self.finished.contains(&offset)
        }

        fn position(&self) -> u64 {
            (self.begin..).find(|offset| !self.is_finished(*offset)).unwrap()
        }

        fn finish(&mut self, from: u64, to: u64) -> u64 {
            let newly = (from..to).filter(|offset| !self.is_finished(*offset)).count();
            self.finished.extend(from..to);
            self.attempts.retain(|offset, _| !(from..to).contains(offset));
            newly as u64
        }

        fn apply(&mut self, change: &ProgressChange) -> bool {
            match *change {
                ProgressChange::Begin { .. } | ProgressChange::BeginMarks { .. } => return false,
                ProgressChange::Finish { from, to } if from < to && to <= self.limit => drop(self.finish(from, to)),
                ProgressChange::Finish { .. } => return false,
                ProgressChange::HandOutTo { offset } => self.limit = self.limit.max(offset),
                ProgressChange::Attempt { offset, .. } if offset < self.position() => {}
                ProgressChange::Attempt { offset, .. } if offset >= self.limit || self.is_finished(offset) => {
                    return false;
                }
                ProgressChange::Attempt { offset, attempts } => drop(self.attempts.insert(offset, attempts)),
                ProgressChange::Reset { position } => {
                    let tokens = std::mem::take(&mut self.tokens);
                    *self = Model { begin: position, limit: position, tokens, ..Model::default() };
                }
                ProgressChange::OpenInbox { bounds } => self.tokens = Some(Inbox::new(bounds)),
                ProgressChange::Token { ref token, at_ms } => match &mut self.tokens {
                    Some(tokens) => drop(tokens.record(token.clone(), at_ms)),
                    None => return false,
                },
                ProgressChange::Told { .. } => {}
                ProgressChange::Reopen { offset } if !self.is_finished(offset) => return false,
                ProgressChange::Reopen { offset } => {
                    self.finished.extend(0..self.begin);
                    self.begin = 0;
                    self.finished.remove(&offset);
                }
            }
            true
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Change(ProgressChange),
        Truncate(u64),
    }

    /// Past the last offset that the steps speak of.
    const END: u64 = 160;

    fn any_attempts() -> impl Strategy<Value = Attempts> {
        let due = prop_oneof![Just(0), Just(1_790_000_000_000), any::<i64>()];
        (1u32..300, 0u32..300, due, 1u8..7, any::<bool>(), any::<bool>()).prop_map(
            |(deliveries, failures, due_ms, reason, is_handed_out, was_nacked)| {
                let failures = failures.min(deliveries - u32::from(is_handed_out));
                let reason = Reason::of(reason).unwrap();
                Attempts { deliveries, failures, due_ms, reason, is_handed_out, was_nacked }
            },
        )
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let change = prop_oneof![
            8 => (0..END, 0u64..12).prop_map(|(from, count)| ProgressChange::Finish { from, to: from + count }),
            3 => (0..END).prop_map(|offset| ProgressChange::HandOutTo { offset }),
            4 => (0..END, any_attempts())
                .prop_map(|(offset, attempts)| ProgressChange::Attempt { offset, attempts }),
            1 => (0..END / 2).prop_map(|position| ProgressChange::Reset { position }),
            1 => (1u32..4, 0u64..9).prop_map(|(tokens_max, age_ms_max)| {
                ProgressChange::OpenInbox { bounds: InboxBounds { tokens_max, age_ms_max } }
            }),
            2 => (1u8..9, 0i64..20).prop_map(|(name, at_ms)| {
                ProgressChange::Token { token: Token::new(&[name]).unwrap(), at_ms }
            }),
            2 => (0..END).prop_map(|offset| ProgressChange::Reopen { offset }),
        ];
        prop_oneof![12 => change.prop_map(Step::Change), 1 => (0..END / 2).prop_map(Step::Truncate)]
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_finished_offsets(begin in 0u64..20, steps in prop::collection::vec(any_step(), 0..80)) {
            let mut progress = begun(begin, END / 2);
            let mut model = Model { begin, limit: END / 2, ..Model::default() };
            for step in steps {
                match step {
                    Step::Change(change) => {
                        let finished = model.finished.len();
                        let is_new = match change {
                            ProgressChange::Finish { from, to } if to <= progress.handed_out_to() => {
                                let newly = progress.clone().finish(from, to).unwrap_or(0);
                                let expected = (from..to).filter(|offset| !model.is_finished(*offset)).count();
                                newly == expected as u64
                            }
                            _ => true,
                        };
                        prop_assert!(is_new, "{change:?} with {finished} finished");
                        prop_assert_eq!(progress.apply(&change).is_ok(), model.apply(&change), "{:?}", change);
                    }
                    Step::Truncate(first_offset) => {
                        model.limit = model.limit.max(first_offset);
                        prop_assert_eq!(progress.truncate(first_offset), model.finish(0, first_offset));
                    }
                }
                let limit = model.limit.max(model.position());
                prop_assert_eq!((progress.position(), progress.handed_out_to()), (model.position(), limit));
                let mut below = 0;
                for offset in 0..END + 20 {
                    prop_assert_eq!(progress.is_finished(offset), model.is_finished(offset), "{}", offset);
                    prop_assert_eq!(progress.unfinished_below(offset), below);
                    below += u64::from(!model.is_finished(offset));
                    prop_assert_eq!(progress.attempts(offset), model.attempts.get(&offset).copied());
                }
                for (from, to) in [(0, END + 20), (begin + 7, END / 2), (40, 40), (60, 50)] {
                    let listed: Vec<u64> = progress.unfinished(from, to).flatten().collect();
                    let expected: Vec<u64> = (from..to).filter(|offset| !model.is_finished(*offset)).collect();
                    prop_assert_eq!(listed, expected);
                    prop_assert!(progress.unfinished(from, to).all(|range| !range.is_empty()));
                }

                prop_assert_eq!(progress.inbox(), model.tokens.as_ref());
                let bytes = encoded(&progress);
                let read = decoded(&bytes).expect("it is read back");
                prop_assert_eq!(&read, &progress);
                let bound = progress.encoded_bytes_max();
                let entries = (progress.finished.len() * 2 + progress.attempts.len()) as u64;
                let length = bytes.len() as u64;
                prop_assert!(length <= bound && bound <= length + entries, "{} bytes, the bound is {}", length, bound);
                prop_assert_eq!(read.encoded_bytes_max(), bound);
                for length in 0..bytes.len() {
                    prop_assert_eq!(decoded(&bytes[..length]), None, "cut at {}", length);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(progress) = decoded(&bytes) {
                prop_assert_eq!(decoded(&encoded(&progress)), Some(progress));
            }
            if let Some(entries) = decode_progress(&bytes) {
                prop_assert_eq!(decode_progress(&encode_progress(&entries)), Some(entries.clone()));
                let mut progress = begun(3, 90);
                for entry in entries {
                    let _ = progress.apply(&entry.change);
                    prop_assert_eq!(decoded(&encoded(&progress)), Some(progress.clone()));
                }
            }
        }
    }
}
