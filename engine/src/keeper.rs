//! The keeper: prepares segments before lanes need them, seals full ones, and takes dead ones back.
//!
//! Invariants:
//! - It alone changes the manifest while the engine is open.
//! - A segment reaches a lane only after its file, header page, directory entry and manifest entry are durable.
//! - A file is used again or removed only when no reader holds its segment, and the manifest says so first.
//! - A segment is retired only when it holds no record that is kept or withheld, and two whole checkpoints stand behind it.
//! - The reserve comes first: while it is not whole, producers get no further segment.
//! - Nothing here is waited for on the way to a receipt, unless a load outruns the supply.

use crate::canary::{self, Canary};
use crate::cleaner::{self, Cleaner, Note};
use crate::error::{Error, Result};
use crate::io::{Access, Block, Clock, File, IoFailure, Latch, PAGE, Storage};
use crate::lane::recovery::whole_checkpoint;
use crate::lane::shared::{LaneShared, count};
use crate::lane::supply::{Full, Prepared};
use crate::lane::writer::BLOCK_BYTES;
use crate::log::manifest::{Manifest, ManifestFiles, ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::log::segment::{file_name, parse_file_name, sidecar_name};
use crate::options::{DiskBound, Options};
use crate::partition::sealed;
use crate::partition::shared::{LogShared, Segment};
use crate::partition::sidecar::{SidecarBuilder, SidecarEntry};
use crate::partition::table::PartitionTable;
use crate::reserve::{self, CHECKPOINTS, Level};
use crate::retention::{LogView, Retainer};
use crate::sync::{Signal, lock, yield_now};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Zeros written in one go.
const ZERO_BYTES: usize = 512 << 10;
/// Above this rate a lane gets segments as they are: zero-filling would take the device from it.
const BULK_BYTES_PER_SECOND: u64 = 600 << 20;
/// How long a lane's last segments say how fast it is.
const RATE_MEMORY_NS: u64 = 1_000_000_000;
/// A full disk is looked at again after this time.
const RETRY: Duration = Duration::from_millis(200);
/// Free space below which no segment is made: the file system needs some for its own records.
pub(crate) const FREE_BYTES_MIN: u64 = 1 << 20;

/// What the keeper tells the rest of the engine.
#[derive(Default)]
pub(crate) struct KeeperShared {
    pub(crate) signal: Arc<Signal>,
    pub(crate) stop: AtomicBool,
    /// A topic was deleted: look for segments without life.
    pub(crate) look_for_dead: AtomicBool,
    /// Bookkeeping has left a segment: look for those that are spent.
    pub(crate) look_for_spent: AtomicBool,
    /// Bounds of retention have changed, or there are other topics.
    retention_changed: AtomicBool,
    /// The wall clock is right as it is.
    clock_accepted: AtomicBool,
    /// How far the wall clock has jumped ahead, ms.
    pub(crate) clock_ahead_ms: AtomicU64,
    pub(crate) disk_bytes: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) recycled: AtomicU64,
    /// Bytes that the cleaner has read and written, segments that it has copied, and into how many.
    pub(crate) cleaned_bytes: AtomicU64,
    pub(crate) cleaned_segments: AtomicU64,
    pub(crate) copies: AtomicU64,
    /// The cleaner has nothing to do.
    pub(crate) is_clean: AtomicBool,
    /// Segments that are ready for a lane with every block written.
    pub(crate) prepared: AtomicU64,
    /// Retired segments whose files somebody still reads.
    pub(crate) retiring: Mutex<Vec<Arc<Segment>>>,
}

impl KeeperShared {
    /// Bounds of retention have changed, or there are other topics.
    pub(crate) fn look_at_retention(&self) {
        self.retention_changed.store(true, Ordering::Release);
        self.signal.notify();
    }

    /// The wall clock is right as it is.
    pub(crate) fn accept_clock(&self) {
        self.clock_accepted.store(true, Ordering::Release);
        self.look_at_retention();
    }
}

/// See the module.
pub(crate) struct Keeper {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) manifest: Manifest,
    pub(crate) files: ManifestFiles,
    pub(crate) lanes: Vec<Arc<LaneShared>>,
    /// The logs of the lanes, and behind them those of earlier numbers of lanes.
    pub(crate) logs: Vec<Arc<LogShared>>,
    pub(crate) table: Arc<PartitionTable>,
    pub(crate) options: Options,
    pub(crate) latch: Latch,
    pub(crate) shared: Arc<KeeperShared>,
    /// Segments that recovery sealed and that have no sidecar yet, with the place of their log; the oldest last.
    pub(crate) unindexed: Vec<(usize, Full)>,
    zeros: Option<Block>,
    retainer: Retainer,
    /// Records are given up because the disk has no more room for them.
    is_dropping: bool,
    /// A segment was sealed since retention was looked at.
    sealed_since: bool,
    /// By log, the place up to which segments that opening does not need were looked at: whether anything is alive.
    looked_at: BTreeMap<u32, Position>,
    /// By log and segment, a partition that had something there when it was last looked for.
    pub(crate) alive: BTreeMap<(u32, Position), u32>,
    /// By log and segment, what is known of its withheld records.
    pub(crate) notes: BTreeMap<(u32, Position), Note>,
    pub(crate) cleaner: Cleaner,
}

impl Keeper {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        manifest: Manifest,
        files: ManifestFiles,
        table: Arc<PartitionTable>,
        options: Options,
        latch: Latch,
        shared: Arc<KeeperShared>,
    ) -> Keeper {
        let retainer = Retainer::new(clock.wall_ms(), clock.monotonic_ns());
        Keeper {
            storage,
            clock,
            manifest,
            files,
            lanes: Vec::new(),
            logs: Vec::new(),
            table,
            options,
            latch,
            shared,
            unindexed: Vec::new(),
            zeros: None,
            retainer,
            is_dropping: false,
            sealed_since: true,
            looked_at: BTreeMap::new(),
            alive: BTreeMap::new(),
            notes: BTreeMap::new(),
            cleaner: Cleaner::default(),
        }
    }

    /// The keeper's thread.
    pub(crate) fn run(mut self) {
        loop {
            let seen = self.shared.signal.look();
            if self.shared.stop.load(Ordering::Acquire) || self.latch.is_poisoned() {
                return;
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) => self.shared.signal.wait(seen, self.pause()),
                Err(error) => {
                    let cause = match error {
                        Error::Io(failure) => failure,
                        other => IoFailure {
                            operation: "keep",
                            file: "the log".to_owned(),
                            offset: None,
                            errno: None,
                            message: other.to_string(),
                        },
                    };
                    self.latch.poison(cause);
                    for lane in &self.lanes {
                        lane.nudge();
                    }
                    return;
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        let now_ns = self.clock.monotonic_ns();
        let waits = self.lanes.iter().any(|lane| lane.supply.is_full()) || !lock(&self.shared.retiring).is_empty();
        let retention = Duration::from_nanos(self.retainer.next_ns().saturating_sub(now_ns));
        let pause = match waits || self.has_zeros_to_write() {
            true => RETRY,
            false => retention.min(Duration::from_secs(60)),
        };
        let has_cleaner = self.options.cleaner_bytes_per_second_max > 0;
        let cleaning = self.cleaner.pause(now_ns).filter(|_| has_cleaner);
        // On a full disk it is the cleaner that makes room.
        cleaning.map_or(pause, |cleaning| cleaning.min(pause))
    }

    /// Whether any lane needs the device, or the keeper, more than the cleaner does.
    pub(crate) fn is_bulk(&self, now_ns: u64) -> bool {
        self.lanes.iter().any(|lane| {
            let state = lock(&lane.supply.state);
            state.starving || is_bulk(&state.taken, now_ns)
        })
    }

    fn has_zeros_to_write(&self) -> bool {
        self.lanes.iter().any(|lane| lock(&lane.supply.state).ready.iter().any(|prepared| !prepared.is_written()))
    }

    /// Does one piece of work; `false`: there is none.
    pub(crate) fn step(&mut self) -> Result<bool> {
        let mut worked = false;
        for lane in 0..self.lanes.len() {
            worked |= self.supply(lane)?;
            // Oldest first: a segment's index is made from the runs in front, and takes them away.
            if self.unindexed.is_empty()
                && let Some(full) = self.lanes[lane].supply.take_full(self.logs[lane].durable())
            {
                self.seal(lane, &full, true)?;
                worked = true;
            }
            // A lane that has segments can wait for zeros; one that starves cannot wait for anything else.
            worked |= self.write_zeros(lane)?;
        }
        if let Some((lane, full)) = self.unindexed.pop() {
            self.seal(lane, &full, false)?;
            worked = true;
        }
        self.retain();
        let spent = self.shared.look_for_spent.swap(false, Ordering::AcqRel);
        let truncated = self.lanes.iter().fold(false, |any, lane| lane.supply.take_truncated() | any);
        if self.shared.look_for_dead.swap(false, Ordering::AcqRel) | truncated {
            self.cleaner.look_again();
            worked |= self.retire_dead(|_, _| true)?;
        } else if spent {
            worked |= self.retire_dead(reserve::is_small)?;
        }
        worked |= self.free_retired()?;
        worked |= self.clean()?;
        self.export();
        Ok(worked)
    }

    /// How much the segment files may grow.
    fn disk_bytes_left(&self) -> u64 {
        disk_bytes_left(&self.manifest, &self.options, self.cleaner.disk_bytes())
    }

    /// What the lanes have prepared for them and take next.
    pub(crate) fn ahead_bytes(&self) -> u64 {
        let segments = u64::from(self.options.segments_prepared + 1) * self.lanes.len() as u64;
        self.options.segment_bytes_limit() * segments
    }

    /// Shows the figures that statistics report.
    pub(crate) fn export(&self) {
        let recycled = self.manifest.segments.iter().filter(|s| s.state == SegmentState::Recycled).count();
        let written = |lane: &Arc<LaneShared>| lock(&lane.supply.state).ready.iter().filter(|p| p.is_written()).count();
        self.shared.disk_bytes.store(disk_bytes(&self.manifest) + self.cleaner.disk_bytes(), Ordering::Relaxed);
        let is_clean = self.options.cleaner_bytes_per_second_max == 0 || self.cleaner.is_idle();
        self.shared.is_clean.store(is_clean, Ordering::Relaxed);
        self.shared.segments.store(self.manifest.segments.len() as u64, Ordering::Relaxed);
        self.shared.recycled.store(recycled as u64, Ordering::Relaxed);
        self.shared.prepared.store(self.lanes.iter().map(written).sum::<usize>() as u64, Ordering::Relaxed);
    }

    // ----- preparing -----

    /// Keeps a lane's supply and the reserve of its log full.
    fn supply(&mut self, lane: usize) -> Result<bool> {
        let shared = self.lanes[lane].clone();
        let gave_back = self.take_back(lane)?;
        let (missing, bytes_min, state_bytes) = {
            let state = lock(&shared.supply.state);
            let missing = (self.options.segments_prepared as usize).saturating_sub(state.ready.len());
            (missing, state.bytes_min, state.state_bytes)
        };
        let outcome = match self.restore_reserve(lane, state_bytes) {
            Ok(true) => return Ok(true),
            Ok(false) if missing == 0 => Ok(None),
            Ok(false) => self.prepare(lane, bytes_min).map(Some),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(prepared) => {
                let worked = gave_back || prepared.is_some();
                if let Some(prepared) = prepared {
                    shared.supply.put_ready(prepared);
                }
                let waits = shared.supply.take_waiting();
                let was_full = shared.supply.is_full();
                shared.supply.set_no_space(None, false);
                if waits || was_full {
                    shared.nudge();
                }
                Ok(worked)
            }
            Err(Error::NoSpace { needed_bytes, free_bytes }) => {
                let news = !shared.supply.is_full();
                if news {
                    // Perhaps something waits to be retired since before the engine was opened.
                    self.shared.look_for_dead.store(true, Ordering::Release);
                }
                // Whether that passes must be known now.
                self.sealed_since = true;
                self.retain();
                // Old records that are on their way out make room: whoever waits for it need not be refused. Which
                // they are is not known before all indexes are there.
                let drops = (self.options.at_disk_bound, self.options.disk_bytes_max.is_some());
                let is_to_look = drops == (DiskBound::DropOldest, true) && !self.unindexed.is_empty();
                shared.supply.set_no_space(Some((needed_bytes, free_bytes)), self.is_dropping || is_to_look);
                let given = self.give_reserve(lane)?;
                if shared.supply.take_waiting() || news {
                    shared.nudge();
                }
                Ok(gave_back || given)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes segments back that the lane found too small.
    fn take_back(&mut self, lane: usize) -> Result<bool> {
        let rejected = std::mem::take(&mut lock(&self.lanes[lane].supply.state).rejected);
        let Some(first) = rejected.first() else { return Ok(false) };
        let base = first.manifest.base;
        for prepared in &rejected {
            let state = match prepared.is_written() {
                true if prepared.reserved => SegmentState::Reserve,
                true => SegmentState::Recycled,
                false => SegmentState::Raw,
            };
            self.set_free(prepared.manifest.file, state);
        }
        self.log_entry(lane).next_base = base;
        // Before one of them is used again, with another header.
        self.files.commit(&mut self.manifest)?;
        self.show_reserve(lane);
        Ok(true)
    }

    /// Does one step towards a whole reserve; `false`: it is whole.
    fn restore_reserve(&mut self, lane: usize, state_bytes: u64) -> Result<bool> {
        let log = self.lanes[lane].log;
        let before = self.manifest.segments.len();
        self.make_room()?;
        let restored = reserve::restore(&*self.storage, &mut self.manifest, log, state_bytes)?;
        if restored && let Err(error) = self.files.commit(&mut self.manifest) {
            // A free file that was taken for it is free in either case, and the next commit says which. A new
            // one goes again, for nobody misses it.
            for new in self.manifest.segments.drain(before..) {
                let _ = self.storage.remove(&file_name(new.file));
            }
            return Err(no_space_or(error, reserve::bytes_for(state_bytes), &*self.storage));
        }
        self.show_reserve(lane);
        Ok(restored)
    }

    /// A longer manifest may need blocks: that shows before the segment is made.
    fn make_room(&self) -> Result<()> {
        let made = self.files.make_room_for_one(&self.manifest);
        made.map_err(|error| no_space_or(error, PAGE as u64, &*self.storage))
    }

    /// The disk is full, and bookkeeping waits: it gets a segment of the reserve.
    fn give_reserve(&mut self, lane: usize) -> Result<bool> {
        let shared = self.lanes[lane].clone();
        let asked = {
            let mut state = lock(&shared.supply.state);
            if state.ready.is_empty() { state.reserve_asked.take() } else { None }
        };
        let Some(bytes_min) = asked else { return Ok(false) };
        let log = *self.log_entry(lane);
        let taken = reserve::take(&*self.storage, &mut self.manifest, log.id, log.generation, bytes_min);
        let prepared = match taken.and_then(|prepared| self.enter(prepared)) {
            Ok(prepared) => prepared,
            // Its files were removed, or writing to them needs new blocks: whoever asked must not wait.
            Err(Error::NoSpace { .. }) => {
                shared.supply.set_reserve(Level::default());
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.show_reserve(lane);
        shared.supply.put_ready(prepared);
        Ok(true)
    }

    /// Tells a lane what its reserve is.
    fn show_reserve(&self, lane: usize) {
        let lane = &self.lanes[lane];
        lane.supply.set_reserve(reserve::level(&self.manifest, lane.log));
    }

    fn log_entry(&mut self, lane: usize) -> &mut crate::log::manifest::ManifestLog {
        let id = self.lanes[lane].log;
        self.manifest.logs.iter_mut().find(|log| log.id == id).expect("every lane has its log in the manifest")
    }

    fn segment_mut(&mut self, file: u32) -> Option<&mut ManifestSegment> {
        self.manifest.segments.iter_mut().find(|segment| segment.file == file)
    }

    /// The file holds nothing any more.
    fn set_free(&mut self, file: u32, state: SegmentState) {
        if let Some(segment) = self.segment_mut(file) {
            (segment.state, segment.end) = (state, Position(0));
        }
    }

    /// Makes the next segment of a lane's log: a recycled file, or a new one. The nearer the disk is to
    /// being full, the smaller.
    fn prepare(&mut self, lane: usize, bytes_min: u64) -> Result<Prepared> {
        let log = *self.log_entry(lane);
        let smallest = bytes_min.next_power_of_two().max(self.options.first_segment_bytes());
        let wanted = next_segment_bytes(&self.manifest, log.id, &self.options).max(smallest);
        self.make_room()?;
        let left = self.disk_bytes_left();
        let (storage, manifest) = (&*self.storage, &mut self.manifest);
        let prepared = match prepare_segment(storage, manifest, log.id, log.generation, wanted, smallest, left) {
            Err(Error::NoSpace { .. }) if smallest < wanted => {
                prepare_segment(storage, manifest, log.id, log.generation, smallest, smallest, left)?
            }
            prepared => prepared?,
        };
        if canary::sings(Canary::ForgetManifestEntry) {
            return Ok(prepared);
        }
        self.enter(prepared)
    }

    /// Commits the manifest with a segment that was just prepared.
    fn enter(&mut self, prepared: Prepared) -> Result<Prepared> {
        if let Err(error) = self.files.commit(&mut self.manifest) {
            // One copy may name it by now. So the file is not used again before the next opening.
            self.manifest.segments.retain(|segment| segment.file != prepared.manifest.file);
            return Err(no_space_or(error, prepared.manifest.bytes, &*self.storage));
        }
        Ok(prepared)
    }

    /// Writes zeros into the first prepared segment that needs them.
    fn write_zeros(&mut self, lane: usize) -> Result<bool> {
        let shared = self.lanes[lane].clone();
        let (file, offset, bytes, name) = {
            let mut state = lock(&shared.supply.state);
            if state.starving || is_bulk(&state.taken, self.clock.monotonic_ns()) {
                return Ok(false);
            }
            let Some(prepared) = state.ready.iter_mut().find(|prepared| !prepared.is_written()) else {
                return Ok(false);
            };
            prepared.busy = true;
            (prepared.file.clone(), prepared.written_bytes, prepared.manifest.bytes, prepared.manifest.file)
        };
        let result = self.write_zero_chunk(&*file, offset, bytes);
        let (starving, done) = {
            let mut state = lock(&shared.supply.state);
            let starving = state.starving;
            let mut done = false;
            if let Some(prepared) = state.ready.iter_mut().find(|prepared| prepared.manifest.file == name) {
                prepared.busy = false;
                if let Ok(written) = &result {
                    prepared.written_bytes += written;
                    done = prepared.is_written();
                }
            }
            (starving, done)
        };
        if starving {
            shared.nudge();
        }
        let written = match result {
            // File systems that copy on write may refuse; the segment is used as it is.
            Err(Error::Io(failure)) if failure.is_no_space() => return Ok(false),
            other => other?,
        };
        count(&shared.counters.prepared_bytes, written);
        if !done {
            // Leaves the device to the lane for as long as it was used.
            yield_now();
        }
        Ok(true)
    }

    /// Writes the next zeros; flushes when the segment is complete. Returns the bytes written.
    fn write_zero_chunk(&mut self, file: &dyn File, offset: u64, bytes: u64) -> Result<u64> {
        let zeros = self.zeros.get_or_insert_with(|| {
            let mut block = Block::zeroed(ZERO_BYTES);
            block.publish_all();
            block
        });
        let length = (bytes - offset).min(ZERO_BYTES as u64);
        let fail = |operation, error: &std::io::Error| Error::io(operation, file.name(), Some(offset), error);
        file.write_at(zeros.slice(0, length as usize), offset).map_err(|error| fail("zero-fill", &error))?;
        if offset + length == bytes {
            file.sync().map_err(|error| fail("flush", &error))?;
        }
        Ok(length)
    }

    // ----- sealing -----

    /// Writes the index of a full segment and marks it sealed.
    fn seal(&mut self, place: usize, full: &Full, in_manifest: bool) -> Result<()> {
        let log = self.logs[place].clone();
        let Some(segment) = log.segment_at(full.manifest.base) else { return Ok(()) };
        if full.resident {
            let bytes = self.index_of(&log, full);
            {
                let mut held = lock(&segment.sidecar);
                // Of a recovered segment somebody may have made the index already, from its frames, and
                // still read it: it must not change under them.
                if held.is_none() {
                    match sealed::store(&log, &segment, full.end, &bytes) {
                        Ok(sidecar) => *held = Some(sidecar),
                        // No room for an index is no reason to stop: it is made anew by who needs it.
                        Err(Error::Io(failure)) if failure.is_no_space() => {}
                        Err(error) => return Err(error),
                    }
                }
                segment.set_end(full.end);
            }
            for partition in self.table.of_log(log.id) {
                partition.index().forget_below(full.manifest.limit());
            }
        } else {
            // The index can wait.
            sealed::sidecar(&log, &segment).map(drop).or_else(|error| unless_damaged(error, ()))?;
        }
        if in_manifest {
            if let Some(segment) = self.segment_mut(full.manifest.file) {
                segment.state = SegmentState::Sealed;
                (segment.end, segment.last_append_ms) = (full.end, full.last_append_ms);
            }
            self.commit()?;
            // A lane that was told to leave it has perhaps left most of it empty.
            cut(&*self.storage, &full.manifest, full.end)?;
        }
        self.sealed_since = true;
        self.cleaner.note_sealed(self.clock.monotonic_ns());
        if self.lanes.get(place).is_some_and(|lane| lane.supply.is_full()) {
            self.shared.look_for_spent.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The index of a segment from what the partitions have in memory.
    fn index_of(&self, log: &LogShared, full: &Full) -> Vec<u8> {
        let mut builder = SidecarBuilder::new(full.manifest);
        let limit = full.manifest.limit();
        for partition in self.table.of_log(log.id) {
            let mut index = partition.index();
            // Recovery may have begun in a segment that was sealed before: what stands there is in its own index.
            index.forget_below(full.manifest.base);
            let withheld = full.withheld.get(&partition.slot).copied().unwrap_or(0);
            let first_offset = index.resident_offset();
            builder.push(partition.slot, first_offset, index.timestamp_before_ms, withheld, index.runs_below(limit));
        }
        builder.finish(full.end)
    }

    fn commit(&mut self) -> Result<()> {
        match self.files.commit(&mut self.manifest) {
            // The copies are written in place, in blocks that are there; what they said stays true.
            Err(Error::Io(failure)) if failure.is_no_space() => Ok(()),
            other => other,
        }
    }

    // ----- giving up -----

    /// Asks the lanes to give up what the topics' bounds no longer keep, when it is time to look.
    fn retain(&mut self) {
        if self.shared.retention_changed.swap(false, Ordering::AcqRel) {
            self.retainer.forget();
        }
        if self.shared.clock_accepted.swap(false, Ordering::AcqRel) {
            self.retainer.clock().accept();
        }
        let now_ns = self.clock.monotonic_ns();
        let is_due = now_ns >= self.retainer.next_ns() || std::mem::take(&mut self.sealed_since);
        // The indexes of what was recovered come first: cuts are where they end.
        if !is_due || !self.unindexed.is_empty() {
            return;
        }
        // So that old records go before a lane has taken what is prepared for it.
        let excess_bytes = match (self.options.at_disk_bound, self.options.disk_bytes_max) {
            (DiskBound::DropOldest, Some(bytes_max)) => {
                let taken = disk_bytes(&self.manifest) + cleaner::room_bytes(&self.options);
                (taken + self.ahead_bytes()).saturating_sub(bytes_max)
            }
            _ => 0,
        };
        let wall_ms = self.clock.wall_ms();
        if excess_bytes == 0 && !self.retainer.has_bounds() {
            self.retainer.rest(wall_ms, now_ns);
            self.is_dropping = false;
        } else {
            // Asking for it reads files: only where records go whatever their bounds.
            let needed = if excess_bytes > 0 { self.oldest_needed_of_logs() } else { vec![None; self.logs.len()] };
            let manifest = &self.manifest;
            let view = |(place, log): (usize, &Arc<LogShared>)| LogView {
                lane: self.lanes.get(place).cloned(),
                log: log.clone(),
                sealed: manifest.sealed_of(log.id),
                partitions: self.table.standing_in(log.id),
                needed: needed[place],
            };
            let views: Vec<LogView> = self.logs.iter().enumerate().map(view).collect();
            let dropping = self.retainer.pass(&views, wall_ms, now_ns, excess_bytes);
            if dropping.any_empty {
                self.shared.look_for_dead.store(true, Ordering::Release);
            }
            // While a checkpoint is on its way to the device, more may become free.
            let is_early = excess_bytes > 0 && self.shared.look_for_spent.load(Ordering::Acquire);
            self.is_dropping = dropping.any || is_early;
        }
        self.shared.clock_ahead_ms.store(self.retainer.clock().ahead_ms(), Ordering::Relaxed);
    }

    // ----- retiring -----

    /// Retires sealed segments that hold nothing of any topic that is left, out of those that `concerned`
    /// chooses and those that nobody has looked at because opening needed them. Returns whether there were any.
    fn retire_dead(&mut self, concerned: fn(&ManifestSegment, u64) -> bool) -> Result<bool> {
        let mut any = false;
        for (place, needed) in self.oldest_needed_of_logs().into_iter().enumerate() {
            let log = self.logs[place].clone();
            let lane = self.lanes.get(place).unwrap_or(&self.lanes[0]);
            let reserve_bytes = reserve::bytes_for(lock(&lane.supply.state).state_bytes);
            let Some(needed) = needed else { continue };
            let looked_at = self.looked_at.get(&log.id).copied().unwrap_or(Position(0));
            let mut looked_to = needed;
            let sealed = self.manifest.sealed_of(log.id).into_iter().take_while(|s| s.from() < needed);
            for base in sealed.filter(|s| s.from() >= looked_at || concerned(s, reserve_bytes)).map(|s| s.base) {
                let Some(segment) = log.segment_at(base) else { continue };
                if segment.end().is_none() {
                    // Recovery left it without an index, and that comes first.
                    looked_to = looked_to.min(segment.manifest.from());
                } else if !self.cleaner.has(&segment) && self.is_dead(&log, &segment)? {
                    lock(&self.shared.retiring).extend(log.remove_segment(&segment));
                    any = true;
                }
            }
            self.looked_at.insert(log.id, looked_to.max(looked_at));
        }
        Ok(any)
    }

    /// For each log, the place from which on opening may need its segments. `None`: it may need all of them.
    pub(crate) fn oldest_needed_of_logs(&self) -> Vec<Option<Position>> {
        let mut needed: Vec<_> = self.logs[..self.lanes.len()].iter().map(|log| self.oldest_needed(log)).collect();
        // What the logs of an earlier number of lanes said, each log that is written says since its first segment.
        // So when all of these have their two whole checkpoints, opening needs nothing of those any more.
        let of_older = needed.iter().all(Option::is_some).then_some(self.logs[0].first_base);
        needed.resize(self.logs.len(), of_older);
        needed
    }

    /// The segment with the oldest of the whole checkpoints that opening may need. Those before it are
    /// kept for their records only.
    fn oldest_needed(&self, log: &LogShared) -> Option<Position> {
        let mut checkpoints = 0;
        for (age, segment) in log.segments().iter().rev().enumerate() {
            // What cannot be opened or read counts for nothing; who needs it is told.
            let file = segment.file(&*self.storage);
            let end = file.ok().and_then(|file| whole_checkpoint(segment.manifest, &file));
            if end.is_some_and(|end| end <= log.durable()) {
                checkpoints += 1;
            } else if age == 0 {
                // The checkpoint of the newest segment is still on its way; with it more may be given up.
                self.shared.look_for_spent.store(true, Ordering::Release);
            }
            if checkpoints == CHECKPOINTS {
                return Some(segment.manifest.base);
            }
        }
        None
    }

    /// Whether a sealed segment holds nothing of any topic that is left: no record that is kept, none that is
    /// withheld.
    fn is_dead(&mut self, log: &LogShared, segment: &Arc<Segment>) -> Result<bool> {
        let key = (log.id, segment.manifest.base);
        let is_noted = self.notes.contains_key(&key) || log.withheld_from() < segment.manifest.to();
        let found = (|| {
            // What kept it the last time probably still does.
            if let (true, Some(slot)) = (is_noted, self.alive.get(&key)) {
                let witness = sealed::entry_of(log, segment, *slot)?;
                let still = self.first_alive(log, segment, witness.as_slice())?;
                if still.is_some() {
                    return Ok(still);
                }
            }
            let entries = sealed::entries(log, segment)?;
            if !is_noted {
                // Nothing is withheld any more, and what was published stands in the indexes.
                self.notes.insert(key, Note::new([], &entries, &self.table));
            }
            self.first_alive(log, segment, &entries)
        })();
        match found {
            Ok(Some(slot)) => {
                self.alive.insert(key, slot);
                Ok(false)
            }
            Ok(None) => {
                self.alive.remove(&key);
                self.notes.remove(&key);
                Ok(true)
            }
            // A damaged segment is nobody's to throw away.
            Err(error) => unless_damaged(error, false),
        }
    }

    /// The first partition that has something in a sealed segment that is kept or withheld.
    fn first_alive(&self, log: &LogShared, segment: &Arc<Segment>, entries: &[SidecarEntry]) -> Result<Option<u32>> {
        let note = self.notes.get(&(log.id, segment.manifest.base));
        for entry in entries.iter().filter(|entry| entry.has_bytes()) {
            let Some(partition) = self.table.get(entry.slot) else { continue };
            let first_offset = partition.index().first_offset;
            let withheld_is_gone = || note.is_some_and(|note| note.is_dead(entry.slot, first_offset));
            if (entry.withheld_frames > 0 && !withheld_is_gone())
                || (entry.has_runs() && sealed::end_offset_in(log, segment, entry)? > first_offset)
            {
                if first_offset > 0 && canary::sings(Canary::RetireTooEarly) {
                    continue;
                }
                return Ok(Some(entry.slot));
            }
        }
        Ok(None)
    }

    /// Recycles or removes the files of retired segments that nobody reads any more.
    fn free_retired(&mut self) -> Result<bool> {
        let free: Vec<Arc<Segment>> = {
            let mut retiring = lock(&self.shared.retiring);
            let (free, held) = retiring.drain(..).partition(|segment| Arc::strong_count(segment) == 1);
            *retiring = held;
            free
        };
        if free.is_empty() {
            return Ok(false);
        }
        let recycled_max = self.options.segments_recycled_max as usize * self.lanes.len();
        let mut removed = Vec::new();
        for segment in &free {
            let file = segment.manifest.file;
            let recycled = self.manifest.segments.iter().filter(|s| s.state == SegmentState::Recycled).count();
            let state = reserve::state_when_empty(&self.manifest, &segment.manifest, SegmentState::Recycled);
            let wanted = match state {
                SegmentState::Reserve => true,
                // A copy is as long as it must be.
                _ if segment.manifest.copy_of.is_some() => false,
                // One that was cut has no blocks to use again.
                _ if segment.end().is_some_and(|end| cut_bytes(&segment.manifest, end).is_some()) => false,
                _ => !reserve::is_size(segment.manifest.bytes) && recycled < recycled_max,
            };
            if wanted {
                self.set_free(file, state);
            } else {
                self.manifest.segments.retain(|s| s.file != file);
                removed.push(file_name(file));
            }
            removed.push(sidecar_name(file));
        }
        self.manifest.forget_drained_logs();
        // First the manifest, then the files: a file without an entry is harmless, an entry without a file is damage.
        self.files.commit(&mut self.manifest)?;
        (0..self.lanes.len()).for_each(|lane| self.show_reserve(lane));
        for name in removed {
            match self.storage.remove(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &name, None, &error));
                }
                _ => {}
            }
        }
        self.storage.sync_directory().map_err(|error| Error::io("sync", "directory", None, &error))?;
        Ok(true)
    }
}

/// What a segment is made of.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// A file that holds nothing, by its place in the manifest.
    Again(usize),
    /// A new file of so many bytes.
    New(u64),
}

/// Writes zeros into a file at once; whoever asks flushes it. (Ahead of a lane the keeper takes its time.)
pub(crate) fn zero_fill(file: &dyn File, from: u64, to: u64) -> Result<()> {
    let mut zeros = Block::zeroed((to.saturating_sub(from) as usize).clamp(PAGE, BLOCK_BYTES));
    zeros.publish_all();
    let mut offset = from;
    while offset < to {
        let length = (to - offset).min(BLOCK_BYTES as u64);
        file.write_at(zeros.slice(0, length as usize), offset)
            .map_err(|error| Error::io("zero-fill", file.name(), None, &error))?;
        offset += length;
    }
    Ok(())
}

/// Gives the file system back what a segment that opening has sealed has behind its end. Each opening leaves
/// one; where an engine is opened for a few records at a time, they would fill the disk.
pub(crate) fn cut(storage: &dyn Storage, segment: &ManifestSegment, end: Position) -> Result<()> {
    let Some(bytes) = cut_bytes(segment, end) else { return Ok(()) };
    let name = file_name(segment.file);
    let file = storage.open(&name, Access::Write).map_err(|error| Error::io("open", &name, None, &error))?;
    match file.allocate(bytes).map_err(|error| Error::io("cut", &name, None, &error)) {
        Err(Error::Io(failure)) if failure.is_no_space() => Ok(()),
        other => other,
    }
}

/// To what length a segment that was sealed with this end is cut; `None`: it keeps its own. One that is used
/// again is allocated anew, so it is not worth it for little; and those of the reserve must stay what they are.
fn cut_bytes(segment: &ManifestSegment, end: Position) -> Option<u64> {
    let used = end.0.checked_sub(segment.base.0)?.next_multiple_of(PAGE as u64);
    (used <= segment.bytes / 2 && !reserve::is_size(segment.bytes)).then_some(used)
}

/// Damage is told to who reads it, a full disk to who writes; neither is a reason to stop.
pub(crate) fn unless_damaged<T>(error: Error, otherwise: T) -> Result<T> {
    match error {
        Error::Damaged { .. } => Ok(otherwise),
        Error::Io(failure) if failure.is_no_space() => Ok(otherwise),
        error => Err(error),
    }
}

/// How much segment files may grow within a bound on the disk. A copy takes its room out of what is kept for it.
pub(crate) fn disk_bytes_left(manifest: &Manifest, options: &Options, copy_bytes: u64) -> u64 {
    let taken_bytes = disk_bytes(manifest) + cleaner::room_bytes(options).max(copy_bytes);
    options.disk_bytes_max.map_or(u64::MAX, |bytes_max| bytes_max.saturating_sub(taken_bytes))
}

/// Bytes of all segment files.
pub(crate) fn disk_bytes(manifest: &Manifest) -> u64 {
    manifest.segments.iter().map(file_bytes).sum()
}

/// What a segment takes of the disk.
pub(crate) fn file_bytes(segment: &ManifestSegment) -> u64 {
    match segment.state {
        SegmentState::Sealed | SegmentState::Retired => cut_bytes(segment, segment.end).unwrap_or(segment.bytes),
        _ => segment.bytes,
    }
}

/// Whether a lane takes segments faster than zeros should be written before it.
fn is_bulk(taken: &std::collections::VecDeque<(u64, u64)>, now_ns: u64) -> bool {
    let (Some((first, _)), Some((last, _))) = (taken.front(), taken.back()) else { return false };
    if taken.len() < 2 || now_ns.saturating_sub(*last) > RATE_MEMORY_NS {
        return false;
    }
    let bytes: u64 = taken.iter().skip(1).map(|(_, bytes)| bytes).sum();
    let elapsed = now_ns.saturating_sub(*first).max(1);
    bytes.saturating_mul(1_000_000_000) / elapsed > BULK_BYTES_PER_SECOND
}

/// Segments double with the log until they have their full size.
pub(crate) fn next_segment_bytes(manifest: &Manifest, log: u32, options: &Options) -> u64 {
    let held: u64 = manifest.segments_of(log).iter().map(|segment| segment.bytes).sum();
    let first = options.first_segment_bytes();
    (held / 2).max(first).next_power_of_two().min(options.segment_bytes_limit())
}

/// Makes a segment file ready and enters it into the manifest, which is still to be committed. A new file has at
/// most `new_bytes_max`.
pub(crate) fn prepare_segment(
    storage: &dyn Storage,
    manifest: &mut Manifest,
    log: u32,
    generation: u32,
    wanted_bytes: u64,
    bytes_min: u64,
    new_bytes_max: u64,
) -> Result<Prepared> {
    // A large segment whose blocks must first be written is no help to who wants a small one at once, as
    // opening does. On a full disk there is no choice.
    let is_full = || {
        let is_full = storage.free_bytes().is_ok_and(|free_bytes| free_bytes < wanted_bytes + FREE_BYTES_MIN);
        is_full || new_bytes_max < wanted_bytes
    };
    let is_fit = |s: &ManifestSegment| s.state == SegmentState::Recycled || s.bytes / 4 <= wanted_bytes || is_full();
    let recycled = manifest
        .segments
        .iter()
        .enumerate()
        .filter(|(_, s)| s.state.is_for_all() && s.bytes >= bytes_min && s.bytes >= wanted_bytes / 4 && is_fit(s))
        .max_by_key(|(_, s)| (s.state == SegmentState::Recycled, s.bytes));
    let place = match recycled {
        Some((at, _)) => Place::Again(at),
        None => {
            let measure = |error: &std::io::Error| Error::io("measure the space for", "a segment", None, error);
            let free_bytes = storage.free_bytes().map_err(|error| measure(&error))?;
            if free_bytes < wanted_bytes + FREE_BYTES_MIN {
                return Err(Error::NoSpace { needed_bytes: wanted_bytes, free_bytes });
            }
            if new_bytes_max < wanted_bytes {
                return Err(Error::NoSpace { needed_bytes: wanted_bytes, free_bytes: new_bytes_max });
            }
            Place::New(wanted_bytes)
        }
    };
    occupy(storage, manifest, log, generation, place)
}

/// Makes a file the next segment of a log, in the manifest as well, which is still to be committed.
pub(crate) fn occupy(
    storage: &dyn Storage,
    manifest: &mut Manifest,
    log: u32,
    generation: u32,
    place: Place,
) -> Result<Prepared> {
    let (file_number, bytes, old) = match place {
        Place::Again(at) => (manifest.segments[at].file, manifest.segments[at].bytes, Some(manifest.segments[at])),
        Place::New(bytes) => (manifest.next_file, bytes, None),
    };
    let name = file_name(file_number);
    let fail = |operation, error: &std::io::Error| Error::io(operation, &name, None, error);
    let file =
        storage.open(&name, Access::Create).map_err(|error| no_space_or(fail("create", &error), bytes, storage))?;
    let log_entry = manifest.logs.iter_mut().find(|entry| entry.id == log).expect("the log is in the manifest");
    let segment = ManifestSegment {
        file: file_number,
        log,
        generation,
        state: SegmentState::Live,
        salt: storage.random(),
        base: log_entry.next_base,
        bytes,
        end: Position(0),
        last_append_ms: 0,
        copy_of: None,
    };
    let mut whole = false;
    let result = (|| {
        if !file.lock(30_000).map_err(|error| fail("lock", &error))? {
            return Err(fail("lock", &std::io::Error::other("another process holds it")));
        }
        // Somebody may have removed or cut a free file: it is simply made again.
        whole = old.is_some() && file.length().map_err(|error| fail("measure", &error))? >= bytes;
        if !whole {
            file.allocate(bytes).map_err(|error| no_space_or(fail("allocate", &error), bytes, storage))?;
        }
        let page = Block::copy_of(&segment.header_page(manifest.engine_id, manifest.window_bytes));
        file.write_at(page.slice(0, PAGE), 0)
            .map_err(|error| no_space_or(fail("write the header of", &error), bytes, storage))?;
        file.sync().map_err(|error| no_space_or(fail("flush", &error), bytes, storage))?;
        if canary::sings(Canary::ForgetDirectoryEntry) {
            return Ok(());
        }
        storage
            .sync_directory()
            .map_err(|error| no_space_or(Error::io("sync", "directory", None, &error), bytes, storage))
    })();
    if let Err(error) = result {
        if old.is_none() {
            let _ = storage.remove(&name);
        }
        return Err(error);
    }
    let log_entry = manifest.logs.iter_mut().find(|entry| entry.id == log).expect("the log is in the manifest");
    log_entry.next_base = segment.limit();
    match place {
        Place::Again(at) => manifest.segments[at] = segment,
        Place::New(_) => {
            manifest.next_file += 1;
            manifest.segments.push(segment);
        }
    }
    let reserved = old.is_some_and(|old| old.state == SegmentState::Reserve);
    let is_written = reserved || old.is_some_and(|old| old.state == SegmentState::Recycled);
    let written_bytes = if is_written && whole { bytes } else { PAGE as u64 };
    Ok(Prepared { manifest: segment, file, written_bytes, busy: false, reserved })
}

/// Removes segment files and indexes that the manifest does not name: a crash came between the two.
pub(crate) fn remove_strays(storage: &dyn Storage, manifest: &Manifest) -> Result<()> {
    let names = storage.list().map_err(|error| Error::io("list", "directory", None, &error))?;
    for name in names {
        let segment = name.strip_suffix(".index").unwrap_or(&name);
        let Some(file) = parse_file_name(segment) else { continue };
        let known = manifest.segments.iter().find(|segment| segment.file == file);
        if known.is_none_or(|known| known.state.is_free() && name != segment) {
            storage.remove(&name).map_err(|error| Error::io("remove", &name, None, &error))?;
        }
    }
    Ok(())
}

/// A full disk is not a broken one.
pub(crate) fn no_space_or(error: Error, needed_bytes: u64, storage: &dyn Storage) -> Error {
    match error {
        Error::Io(failure) if failure.is_no_space() => {
            Error::NoSpace { needed_bytes, free_bytes: storage.free_bytes().unwrap_or(0) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::manifest::ManifestLog;

    #[test]
    fn a_fast_lane_is_not_made_to_wait_for_zeros() {
        let mib = 1u64 << 20;
        let taken = [(0, 64 * mib), (50_000_000, 64 * mib), (100_000_000, 64 * mib)].into();
        assert!(is_bulk(&taken, 150_000_000));
        assert!(!is_bulk(&taken, 5_000_000_000), "that was long ago");
        let slow = [(0, 64 * mib), (60_000_000_000, 64 * mib)].into();
        assert!(!is_bulk(&slow, 60_100_000_000));
        assert!(!is_bulk(&[(0, mib)].into(), 1));
    }

    /// What opening gets for a small first segment, out of a directory with one free file of 64 MiB.
    fn first_segment(state: SegmentState, space_bytes: Option<u64>) -> Result<(u32, u64)> {
        use crate::io::faulty::Faults;
        use crate::io::{Directory, DirectoryOptions, SystemClock};
        let (scratch, clock, faults) = (tempfile::tempdir().unwrap(), Arc::new(SystemClock::new()), Faults::new());
        let directory = Directory::open(scratch.path(), DirectoryOptions::default(), clock.clone()).unwrap();
        let storage = faults.wrap(Arc::new(directory), clock);
        let free = ManifestSegment {
            file: 0,
            log: 0,
            generation: 1,
            state,
            salt: 1,
            base: Position(1 << 20),
            bytes: 64 << 20,
            end: Position(0),
            last_append_ms: 0,
            copy_of: None,
        };
        storage.open(&file_name(0), Access::Create).unwrap().allocate(64 << 20).unwrap();
        let (next_base, first_base) = (Position(128 << 20), Position(1 << 20));
        let logs = vec![ManifestLog { id: 0, generation: 2, next_base, first_base }];
        let segments = vec![free];
        let (engine_id, window_bytes, sealed_logs) = (1, 64 << 20, Vec::new());
        let next_copy = Position::COPIES;
        let mut manifest = Manifest {
            engine_id,
            sequence: 1,
            created_ms: 0,
            window_bytes,
            next_file: 1,
            next_copy,
            logs,
            sealed_logs,
            segments,
        };
        faults.limit_space(space_bytes);
        let prepared = prepare_segment(&*storage, &mut manifest, 0, 2, 2 << 20, 2 << 20, u64::MAX)?;
        Ok((prepared.manifest.file, prepared.manifest.bytes))
    }

    /// The story: opening took a free segment of 64 MiB for its first one, and wrote zeros into all of it
    /// before anybody could send.
    #[test]
    fn a_large_file_of_unwritten_blocks_is_the_first_segment_only_on_a_full_disk() {
        assert_eq!(first_segment(SegmentState::Raw, None), Ok((1, 2 << 20)), "a new one is sooner ready");
        assert_eq!(first_segment(SegmentState::Recycled, None), Ok((0, 64 << 20)), "it is ready as it is");
        assert_eq!(first_segment(SegmentState::Raw, Some(0)), Ok((0, 64 << 20)), "there is no choice");
        assert!(matches!(first_segment(SegmentState::Reserve, Some(0)), Err(Error::NoSpace { .. })));
    }
}
