//! Looking at all sealed segments, one after another, and choosing what is copied.
//!
//! Invariants:
//! - A segment is judged by its index; no frame is read.
//! - Where nothing but withheld records may keep a segment, the lanes are asked which of them are undecided.
//! - Segments that are chosen together are neighbours in one log.

use super::choice::{Bounds, Candidate, Why, choose};
use super::copy_bytes_max;
use super::withheld::{Note, Question};
use super::{Chosen, Sealed};
use crate::error::{Error, Result};
use crate::io::PAGE;
use crate::keeper::{self, Keeper, unless_damaged};
use crate::lane::state::PARTITION_BYTES;
use crate::partition::sealed;
use crate::partition::shared::{LogShared, Segment};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// It looks no sooner again than this after it has looked, and no sooner than ten times as long as looking took.
const LOOK_INTERVAL_NS: u64 = 500_000_000;
/// An answer of the lanes is looked for after this time.
const ANSWER_NS: u64 = 1_000_000;
/// A segment is scattered when so many partitions have runs in it that are no longer than this, in the mean.
const SCATTERED_PARTITIONS: u64 = 4;
const SCATTERED_RUN_BYTES: u64 = 16 << 10;
/// So far beyond a bound on the disk a copy may go that makes room.
const BEYOND_BYTES: u64 = 4 << 20;
/// What looking at one partition of a segment counts.
const ENTRY_BYTES: u64 = 64;

/// One time through all segments.
pub(super) struct Look {
    started_ns: u64,
    /// What is looked at, in order.
    segments: Vec<Sealed>,
    next: usize,
    candidates: Vec<Option<Candidate>>,
    question: Option<Question>,
}

/// What the index of a segment says, added up.
#[derive(Default)]
struct Weight {
    entries: u64,
    record_bytes: u64,
    withheld_frames: u64,
    /// Of what there is still: runs, partitions with runs, bytes of the runs that are kept, frames that may be asked for.
    runs: u64,
    partitions: u64,
    kept_bytes: u64,
    withheld_needed: u64,
}

impl Look {
    /// Of these, in this order.
    pub(super) fn begin(started_ns: u64, segments: Vec<Sealed>) -> Look {
        Look { started_ns, segments, next: 0, candidates: Vec::new(), question: None }
    }
}

impl Keeper {
    /// The sealed segments that opening does not need, log by log.
    pub(super) fn cleanable(&self) -> Vec<Sealed> {
        let mut cleanable = Vec::new();
        for (log, needed) in self.logs.iter().zip(self.oldest_needed_of_logs()) {
            let Some(needed) = needed else { continue };
            for entry in self.manifest.sealed_of(log.id).into_iter().take_while(|entry| entry.from() < needed) {
                // One that is being retired is not there any more.
                if let Some(segment) = log.segment_at(entry.base) {
                    cleanable.push(Sealed { log: log.clone(), segment: Arc::downgrade(&segment), entry });
                }
            }
        }
        cleanable
    }

    /// Looks at the next segment, or chooses when all were looked at. Returns what that counts.
    pub(super) fn look_on(&mut self, mut look: Look) -> Result<u64> {
        let Some(sealed) = look.segments.get(look.next).cloned() else {
            self.end_look(&look)?;
            return Ok(0);
        };
        let question = look.question.take();
        let (candidate, bytes) = match sealed.segment.upgrade() {
            None => (None, 0),
            Some(_) if question.as_ref().is_some_and(|question| !question.is_answered()) => {
                return Ok(self.wait_for_answer(look, question));
            }
            Some(segment) => {
                let was_asked = question.is_some();
                if let Some(question) = question {
                    self.note_answer(&sealed.log, &segment, question)?;
                }
                match self.weigh(&sealed, &segment) {
                    Ok(weight) if !was_asked && self.is_to_ask(&sealed, &weight) => {
                        let question = Question::ask(&self.lanes, sealed.log.id, sealed.entry.stretch());
                        return Ok(self.wait_for_answer(look, Some(question)));
                    }
                    Ok(weight) => (self.judge(&sealed, &weight), weight.entries * ENTRY_BYTES),
                    Err(error) => unless_damaged(error, (None, 0))?,
                }
            }
        };
        look.candidates.push(candidate);
        look.next += 1;
        self.cleaner.look = Some(look);
        Ok(bytes.max(1))
    }

    /// Looks again when the lanes may have answered; that counts nothing.
    fn wait_for_answer(&mut self, mut look: Look, question: Option<Question>) -> u64 {
        look.question = question;
        self.cleaner.look = Some(look);
        self.cleaner.next_ns = self.clock.monotonic_ns() + ANSWER_NS;
        0
    }

    /// Whether the lanes must be asked before a segment is judged: where nothing but withheld records may keep it.
    fn is_to_ask(&self, sealed: &Sealed, weight: &Weight) -> bool {
        let Sealed { log, entry, .. } = sealed;
        let is_open = match self.notes.get(&(log.id, entry.base)) {
            Some(note) => note.is_worn(&self.table),
            None => log.withheld_from() < entry.to(),
        };
        is_open && weight.withheld_frames > 0 && weight.kept_bytes <= keeper::file_bytes(entry) / 2
    }

    fn note_answer(&mut self, log: &LogShared, segment: &Arc<Segment>, question: Question) -> Result<()> {
        let Some(withheld) = question.answer() else { return Ok(()) };
        match sealed::entries(log, segment) {
            Ok(entries) => {
                let note = Note::new(withheld, &entries, &self.table);
                self.notes.insert((log.id, segment.manifest.base), note);
                // Perhaps nothing else has kept it.
                self.shared.look_for_dead.store(true, Ordering::Release);
                Ok(())
            }
            Err(error) => unless_damaged(error, ()),
        }
    }

    /// What is known of a segment; `None`: it could not be copied before.
    fn judge(&self, sealed: &Sealed, weight: &Weight) -> Option<Candidate> {
        let entry = &sealed.entry;
        let key = (sealed.log.id, entry.from());
        if self.cleaner.left_alone.contains(&key) {
            return None;
        }
        // About: what is not records that were visible at once.
        let withheld_bytes = entry.end.since(entry.base).saturating_sub(weight.record_bytes);
        let kept_withheld_bytes = withheld_bytes / weight.withheld_frames.max(1) * weight.withheld_needed;
        let mean_bytes = weight.record_bytes / weight.runs.max(1);
        let stays_scattered = entry.copy_of.is_some() || self.cleaner.stays_scattered.contains(&key);
        let is_scattered =
            !stays_scattered && weight.partitions >= SCATTERED_PARTITIONS && mean_bytes < SCATTERED_RUN_BYTES;
        let file_bytes = keeper::file_bytes(entry);
        let head_bytes = PAGE as u64 + weight.entries * PARTITION_BYTES;
        let mut kept_bytes = weight.kept_bytes + kept_withheld_bytes + head_bytes;
        if entry.copy_of.is_some() {
            // All of it was kept when it was made. So whatever is wrong with the estimate, nothing is copied for ever.
            let all_bytes = weight.record_bytes + withheld_bytes + head_bytes;
            let share = u128::from(kept_bytes) * u128::from(file_bytes) / u128::from(all_bytes);
            kept_bytes = u64::try_from(share).unwrap_or(u64::MAX);
        }
        Some(Candidate { file_bytes, kept_bytes: kept_bytes.min(file_bytes), is_scattered })
    }

    /// Adds up what the index of a segment says.
    fn weigh(&self, sealed: &Sealed, segment: &Arc<Segment>) -> Result<Weight> {
        let Sealed { log, entry: manifest, .. } = sealed;
        let note = self.notes.get(&(log.id, manifest.base));
        let mut weight = Weight::default();
        for entry in sealed::entries(log, segment)? {
            weight.entries += 1;
            weight.record_bytes += entry.record_bytes;
            weight.withheld_frames += u64::from(entry.withheld_frames);
            let Some(partition) = self.table.get(entry.slot).filter(|_| entry.has_bytes()) else { continue };
            let first_offset = partition.index().first_offset;
            if entry.has_runs() {
                weight.runs += u64::from(entry.runs_count());
                weight.partitions += 1;
                weight.kept_bytes += match entry.first_offset >= first_offset {
                    true => entry.record_bytes,
                    false => sealed::bytes_from(log, segment, &entry, first_offset)?,
                };
            }
            if entry.withheld_frames > 0 {
                weight.withheld_needed += match note {
                    Some(note) if note.others_are_gone(entry.slot, first_offset) => note.undecided(entry.slot),
                    _ => u64::from(entry.withheld_frames),
                };
            }
        }
        Ok(weight)
    }

    /// All segments were looked at: chooses what is copied.
    fn end_look(&mut self, look: &Look) -> Result<()> {
        let now_ns = self.clock.monotonic_ns();
        let took_ns = now_ns.saturating_sub(look.started_ns);
        self.cleaner.next_ns = now_ns + LOOK_INTERVAL_NS.max(took_ns * 10);
        // Where everybody waits for room it is only quiet because of that.
        let is_quiet = self.cleaner.is_quiet(now_ns) && !self.is_full();
        let bounds_of_all = self.bounds(is_quiet)?;
        let mut from = 0;
        'logs: while let Some(Sealed { log, .. }) = look.segments.get(from) {
            let count = look.segments[from..].iter().take_while(|other| other.log.id == log.id).count();
            let is_ended = !self.lanes.iter().any(|lane| lane.log == log.id);
            let bounds = Bounds { is_ended, ..bounds_of_all };
            let mut candidates = look.candidates[from..from + count].to_vec();
            while let Some((why, range)) = choose(&candidates, &bounds) {
                let chosen = &mut candidates[range.clone()];
                let bytes = chosen.iter().flatten().map(|one| one.copy_bytes(why)).sum();
                chosen.fill(None);
                let segments = look.segments[from + range.start..from + range.end].to_vec();
                self.cleaner.chosen.push_back(Chosen { why, segments, bytes });
                // When that is done, something else may come first.
                if why == Why::Regroup {
                    break 'logs;
                }
            }
            from += count;
        }
        if !self.cleaner.chosen.is_empty() {
            // And then there is perhaps more.
            self.cleaner.wanted = true;
            self.cleaner.next_ns = now_ns;
            return Ok(());
        }
        if is_quiet {
            self.cleaner.sealed_ns = None;
        }
        Ok(())
    }

    /// Whether there is still room for a copy that was chosen: those before it have taken theirs, readers hold what these
    /// have replaced, and producers go on.
    pub(super) fn still_fits(&self, chosen: &Chosen) -> Result<bool> {
        // Order makes no room.
        let is_of_use = chosen.why != Why::Regroup || !self.is_full();
        Ok(is_of_use && chosen.bytes <= self.bounds(false)?.room_for(chosen.why))
    }

    fn bounds(&self, is_quiet: bool) -> Result<Bounds> {
        let free = self.storage.free_bytes();
        let free_bytes = free.map_err(|error| Error::io("measure the space for", "a copy", None, &error))?;
        // On a disk that is full for everybody else a small one still fits.
        let free_bytes = free_bytes.saturating_sub(keeper::FREE_BYTES_MIN / 4);
        let bound = self.options.disk_bytes_max.unwrap_or(u64::MAX);
        let left_bytes = bound.saturating_sub(keeper::disk_bytes(&self.manifest));
        // What only makes reading faster must not take what producers need next.
        let room_bytes = free_bytes.saturating_sub(self.ahead_bytes()).min(left_bytes);
        let reclaim_bytes = free_bytes.min(left_bytes.max(BEYOND_BYTES));
        let (copy_bytes_max, segment_bytes) = (copy_bytes_max(&self.options), self.options.segment_bytes_limit());
        let is_bounded = self.options.disk_bytes_max.is_some();
        let is_ended = false;
        Ok(Bounds { copy_bytes_max, segment_bytes, room_bytes, reclaim_bytes, is_quiet, is_bounded, is_ended })
    }
}
