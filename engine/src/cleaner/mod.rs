//! The cleaner: copies what is kept of sealed segments into new ones, and lets the old ones go.
//!
//! ```text
//!  log order    | 1 mostly given up | 2 mostly given up | 3 |        | copy of 1 and 2 | 3 |
//!  manifest      1, 2, 3                                      -->      copy, 3; 1 and 2 retired
//! ```
//!
//! A copy stands in the order of the log where its sources stood, at an address of its own. Offsets, identities and
//! the log itself stay what they were: nothing is appended, no lane writes for it, no checkpoint grows. Where the
//! bytes of an identity stand now, the sidecar of its copy says.
//!
//! Invariants:
//! - One replacement of the manifest puts the copy in the place of its sources; before it the copy is durable. A crash
//!   leaves the sources, or the copy.
//! - Segments that opening may need are left alone.
//! - It works piece by piece on the keeper's thread, and waits after each for as long as
//!   [`Options::cleaner_bytes_per_second_max`](crate::Options::cleaner_bytes_per_second_max) says.
//! - What cannot be read is left where it is.

mod choice;
mod copy;
mod target;
mod withheld;

use crate::error::{Error, Result};
use crate::io::PAGE;
use crate::keeper::{self, Keeper, unless_damaged};
use crate::lane::state::{PARTITION_BYTES, PartitionState};
use crate::log::manifest::{ManifestSegment, SegmentState};
use crate::log::position::{Position, Stretch};
use crate::log::segment::{file_name, sidecar_name};
use crate::options::Options;
use crate::partition::sealed;
use crate::partition::shared::{LogShared, Segment};
use crate::sync::lock;
use choice::{Bounds, Candidate, choose};
use copy::{Copying, NoCopy, Source, Step};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
pub(crate) use withheld::Note;
use withheld::Question;

/// It looks no sooner again than this after it has looked, and no sooner than ten times as long as looking took.
const LOOK_INTERVAL_NS: u64 = 500_000_000;
/// Nothing was sealed for so long: what is scattered need not wait for company.
const QUIET_NS: u64 = 5_000_000_000;
/// A full disk is looked at again after this time.
const FULL_NS: u64 = 2_000_000_000;
/// An answer of the lanes is looked for after this time.
const ANSWER_NS: u64 = 1_000_000;
/// A segment is scattered when so many partitions have runs in it that are no longer than this, in the mean.
const SCATTERED_PARTITIONS: u64 = 4;
const SCATTERED_RUN_BYTES: u64 = 16 << 10;
/// Segments of full size that are regrouped together, where nothing bounds the disk.
const SEGMENTS_TOGETHER: u64 = 4;
/// While a lane writes in bulk the cleaner takes this part of what it may.
const BULK_SHARE: u64 = 8;
/// So far beyond a bound on the disk a copy may go that makes room.
const BEYOND_BYTES: u64 = 4 << 20;
/// What looking at one partition of a segment counts.
const ENTRY_BYTES: u64 = 64;

/// A segment, by its log and its place in it.
type Key = (u32, Position);

/// See the module.
#[derive(Default)]
pub(crate) struct Cleaner {
    /// There may be something to do.
    wanted: bool,
    /// Not before this, monotonic ns.
    next_ns: u64,
    /// When a segment was sealed last, unless that was looked at since.
    sealed_ns: Option<u64>,
    look: Option<Look>,
    copying: Option<Copying>,
    /// What comes next.
    chosen: VecDeque<Vec<Sealed>>,
    /// Segments that could not be copied.
    left_alone: BTreeSet<Key>,
}

/// A sealed segment.
#[derive(Clone)]
struct Sealed {
    log: Arc<LogShared>,
    /// Not held: it may be retired meanwhile, and its file used again.
    segment: Weak<Segment>,
    /// As the manifest has it: what readers hold was made when the segment was begun.
    entry: ManifestSegment,
}

/// One time through all segments.
struct Look {
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

impl Cleaner {
    /// Records were given up, a topic is gone: segments may have become sparse.
    pub(crate) fn look_again(&mut self) {
        self.wanted = true;
    }

    /// A segment was sealed.
    pub(crate) fn note_sealed(&mut self, now_ns: u64) {
        (self.wanted, self.sealed_ns) = (true, Some(now_ns));
    }

    /// Whether there is nothing to do for now.
    pub(crate) fn is_idle(&self) -> bool {
        !self.wanted && self.sealed_ns.is_none() && !self.is_at_it()
    }

    fn is_at_it(&self) -> bool {
        self.look.is_some() || self.copying.is_some() || !self.chosen.is_empty()
    }

    /// How long it can wait; `None`: until there is news.
    pub(crate) fn pause(&self, now_ns: u64) -> Option<Duration> {
        let is_at_it = self.wanted || self.is_at_it();
        let quiet_ns = self.sealed_ns.map(|sealed_ns| sealed_ns + QUIET_NS);
        let next_ns = if is_at_it { Some(self.next_ns) } else { quiet_ns.map(|quiet_ns| quiet_ns.max(self.next_ns)) };
        next_ns.map(|next_ns| Duration::from_nanos(next_ns.saturating_sub(now_ns)))
    }

    /// Whether a segment is being copied: it stays until that has ended.
    pub(crate) fn has(&self, segment: &Segment) -> bool {
        let is_it = |source: &Source| source.segment.manifest.is_same_use(&segment.manifest);
        self.copying.as_ref().is_some_and(|copying| copying.sources.iter().any(is_it))
    }

    /// Bytes of the disk that a copy has taken, and the manifest does not know of.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.copying.as_ref().map_or(0, Copying::allocated_bytes)
    }

    /// Nothing was sealed for a while, and nobody has looked since.
    fn is_quiet(&self, now_ns: u64) -> bool {
        self.sealed_ns.is_some_and(|sealed_ns| now_ns >= sealed_ns + QUIET_NS)
    }

    fn wait_for(&mut self, now_ns: u64, bytes: u64, bytes_per_second: u64) {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
        self.next_ns = now_ns + u64::try_from(nanoseconds).unwrap_or(u64::MAX / 2);
    }
}

/// The largest copy.
pub(crate) fn copy_bytes_max(options: &Options) -> u64 {
    let segment_bytes = options.segment_bytes_limit();
    let together = if options.disk_bytes_max.is_some() { 1 } else { SEGMENTS_TOGETHER };
    (segment_bytes * together).min(crate::bounds::SEGMENT_BYTES_CEILING)
}

/// What of a bound on the disk is kept for copies.
pub(crate) fn room_bytes(options: &Options) -> u64 {
    if options.cleaner_bytes_per_second_max == 0 { 0 } else { copy_bytes_max(options) }
}

impl Keeper {
    /// Does the next piece of cleaning, if it is time. `false`: there is none now.
    pub(crate) fn clean(&mut self) -> Result<bool> {
        let now_ns = self.clock.monotonic_ns();
        let rate = self.options.cleaner_bytes_per_second_max;
        // What recovery left without an index comes first.
        if rate == 0 || now_ns < self.cleaner.next_ns || !self.unindexed.is_empty() {
            return Ok(false);
        }
        if let Some(copying) = self.cleaner.copying.take() {
            let bytes = self.copy_on(copying)?;
            // A lane that waits because the disk is full waits for this.
            let is_full = self.lanes.iter().any(|lane| lane.supply.is_full());
            let rate = if !is_full && self.is_bulk(now_ns) { rate / BULK_SHARE } else { rate };
            self.cleaner.wait_for(self.clock.monotonic_ns(), bytes, rate);
            return Ok(true);
        }
        if let Some(chosen) = self.cleaner.chosen.pop_front() {
            self.begin_copy(&chosen)?;
            return Ok(true);
        }
        if let Some(look) = self.cleaner.look.take() {
            let bytes = self.look_on(look)?;
            if bytes > 0 {
                self.cleaner.wait_for(now_ns, bytes, rate);
            }
            return Ok(true);
        }
        if !self.cleaner.wanted && !self.cleaner.is_quiet(now_ns) {
            return Ok(false);
        }
        self.cleaner.wanted = false;
        self.cleaner.look = Some(Look {
            started_ns: now_ns,
            segments: self.cleanable(),
            next: 0,
            candidates: Vec::new(),
            question: None,
        });
        Ok(true)
    }

    /// The sealed segments that opening does not need, log by log.
    fn cleanable(&self) -> Vec<Sealed> {
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

    // ----- looking -----

    /// Looks at the next segment, or chooses when all were looked at. Returns what that counts.
    fn look_on(&mut self, mut look: Look) -> Result<u64> {
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
        if self.cleaner.left_alone.contains(&(sealed.log.id, entry.from())) {
            return None;
        }
        // About: what is not records that were visible at once.
        let withheld_bytes = entry.end.since(entry.base).saturating_sub(weight.record_bytes);
        let kept_withheld_bytes = withheld_bytes / weight.withheld_frames.max(1) * weight.withheld_needed;
        let mean_bytes = weight.record_bytes / weight.runs.max(1);
        let is_scattered =
            entry.copy_of.is_none() && weight.partitions >= SCATTERED_PARTITIONS && mean_bytes < SCATTERED_RUN_BYTES;
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
        let is_quiet = self.cleaner.is_quiet(now_ns);
        let bounds = self.bounds(is_quiet)?;
        let mut from = 0;
        while let Some(Sealed { log, .. }) = look.segments.get(from) {
            let count = look.segments[from..].iter().take_while(|other| other.log.id == log.id).count();
            let mut candidates = look.candidates[from..from + count].to_vec();
            while let Some(range) = choose(&candidates, &bounds) {
                candidates[range.clone()].fill(None);
                self.cleaner.chosen.push_back(look.segments[from + range.start..from + range.end].to_vec());
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
        Ok(Bounds { copy_bytes_max, segment_bytes, room_bytes, reclaim_bytes, is_quiet })
    }

    // ----- copying -----

    fn begin_copy(&mut self, chosen: &[Sealed]) -> Result<()> {
        let segments: Vec<Arc<Segment>> = chosen.iter().filter_map(|sealed| sealed.segment.upgrade()).collect();
        let (Some(first), Some(last)) = (chosen.first(), chosen.last()) else { return Ok(()) };
        let log = &first.log;
        // Retired since it was looked at, perhaps.
        let is_there =
            |one: &Arc<Segment>| log.segment_at(one.manifest.base).is_some_and(|held| Arc::ptr_eq(&held, one));
        if segments.len() != chosen.len() || !segments.iter().all(is_there) {
            return Ok(());
        }
        let partitions = match self.kept_partitions(log, &segments) {
            Ok(partitions) => partitions,
            Err(error) => return unless_damaged(error, ()),
        };
        let segment = ManifestSegment {
            file: self.manifest.next_file,
            log: log.id,
            generation: last.entry.generation,
            state: SegmentState::Sealed,
            salt: self.storage.random(),
            base: self.manifest.next_copy,
            bytes: 0,
            end: Position(0),
            last_append_ms: chosen.iter().map(|one| one.entry.last_append_ms).max().unwrap_or(0),
            copy_of: Some(Stretch { from: first.entry.from(), to: last.entry.to() }),
        };
        // Its number is taken, whatever comes of it.
        self.manifest.next_file += 1;
        let used_bytes = segments.iter().map(|one| one.manifest.bytes).sum::<u64>();
        let used_bytes = used_bytes.min(crate::bounds::SEGMENT_BYTES_CEILING / 2);
        let source = |segment: Arc<Segment>| {
            let note = self.notes.get(&(log.id, segment.manifest.base)).cloned();
            Source { segment, note }
        };
        let sources: Vec<Source> = segments.into_iter().map(source).collect();
        let memory_bytes_max = self.options.cleaner_bytes_max as usize;
        match Copying::begin(&*self.storage, log.clone(), sources, segment, &partitions, memory_bytes_max, used_bytes) {
            Ok(copying) => self.cleaner.copying = Some(copying),
            Err(error) => {
                let keys = chosen.iter().map(|sealed| (log.id, sealed.entry.from()));
                self.give_up_copy(segment.file, keys.collect(), NoCopy::of(error))?;
            }
        }
        Ok(())
    }

    /// The partitions that segments speak of and that there are still: where they begin now, and what they were
    /// when the first of the segments began.
    fn kept_partitions(
        &self,
        log: &LogShared,
        segments: &[Arc<Segment>],
    ) -> Result<BTreeMap<u32, (u64, PartitionState)>> {
        let mut kept = BTreeMap::new();
        for segment in segments {
            for entry in sealed::entries(log, segment)? {
                let Some(partition) = self.table.get(entry.slot) else { continue };
                let (next_offset, timestamp_max_ms) = (entry.first_offset, entry.timestamp_before_ms);
                kept.entry(entry.slot).or_insert_with(|| {
                    let first_offset = partition.index().first_offset;
                    (first_offset, PartitionState { first_offset: 0, next_offset, timestamp_max_ms })
                });
            }
        }
        Ok(kept)
    }

    /// Copies the next piece; returns how many bytes were read or written.
    fn copy_on(&mut self, mut copying: Copying) -> Result<u64> {
        let ended = match copying.step(&*self.storage) {
            Ok(Step::Worked(bytes)) => {
                self.shared.cleaned_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.cleaner.copying = Some(copying);
                return Ok(bytes);
            }
            Ok(Step::Done) => Ok(()),
            Err(no_copy) => Err(no_copy),
        };
        let (file, log) = (copying.file(), copying.log.id);
        let keys = copying.sources.iter().map(|source| (log, source.segment.manifest.from())).collect();
        if let Err(no_copy) = ended.and_then(|()| self.end_copy(copying)) {
            self.give_up_copy(file, keys, no_copy)?;
        }
        Ok(0)
    }

    /// The copy is whole: it takes the place of its sources.
    fn end_copy(&mut self, copying: Copying) -> Result<(), NoCopy> {
        let log = copying.log.clone();
        let (sources, target) = copying.into_target();
        let (engine_id, window_bytes) = (self.manifest.engine_id, self.manifest.window_bytes);
        let finished = target.finish(&*self.storage, engine_id, window_bytes);
        let (manifest, index) = finished.map_err(NoCopy::of)?;
        let copy = Arc::new(Segment::new(manifest));
        let sidecar = sealed::store(&log, &copy, manifest.end, &index).map_err(NoCopy::of)?;
        *lock(&copy.sidecar) = Some(sidecar);
        let mut changed = self.manifest.clone();
        let stretch = manifest.stretch();
        // The sources, and what stood between them and waits for its last reader: nothing of it is kept.
        let is_within = |s: &&mut ManifestSegment| s.log == log.id && stretch.from <= s.from() && s.from() < stretch.to;
        let sealed = changed.segments.iter_mut().filter(is_within).filter(|s| s.state == SegmentState::Sealed);
        sealed.for_each(|entry| entry.state = SegmentState::Retired);
        changed.next_copy = manifest.limit();
        changed.segments.push(manifest);
        // Without room neither copy of the manifest is touched.
        self.files.make_room_for_one(&changed).map_err(NoCopy::of)?;
        self.manifest = changed;
        self.files.commit(&mut self.manifest).map_err(NoCopy::Failed)?;
        let sources: Vec<Arc<Segment>> = sources.into_iter().map(|source| source.segment).collect();
        // Where recovery began to read in a segment that was sealed before, its runs stand in memory as well.
        for partition in self.table.of_log(log.id) {
            partition.index().forget_below(manifest.to());
        }
        log.replace_segments(&sources, copy);
        for source in &sources {
            self.notes.remove(&(log.id, source.manifest.base));
            self.alive.remove(&(log.id, source.manifest.base));
        }
        self.shared.cleaned_segments.fetch_add(sources.len() as u64, Ordering::Relaxed);
        self.shared.copies.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.retiring).extend(sources);
        self.shared.look_for_dead.store(true, Ordering::Release);
        Ok(())
    }

    /// There will be no copy; the sources stay.
    fn give_up_copy(&mut self, file: u32, keys: Vec<Key>, no_copy: NoCopy) -> Result<()> {
        // A failed write may have entered it into a manifest.
        if !matches!(no_copy, NoCopy::Failed(_)) {
            for name in [file_name(file), sidecar_name(file)] {
                let _ = self.storage.remove(&name);
            }
        }
        match no_copy {
            NoCopy::Damaged(bad) => self.cleaner.left_alone.extend(keys.into_iter().filter(|(_, from)| *from == bad)),
            NoCopy::Impossible => self.cleaner.left_alone.extend(keys),
            NoCopy::NoSpace => {
                self.cleaner.chosen.clear();
                self.cleaner.wanted = true;
                self.cleaner.next_ns = self.clock.monotonic_ns() + FULL_NS;
            }
            NoCopy::Failed(error) => return Err(error),
        }
        // What died meanwhile was left for the copy.
        self.shared.look_for_dead.store(true, Ordering::Release);
        Ok(())
    }
}
