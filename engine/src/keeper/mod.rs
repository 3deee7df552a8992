//! The keeper: prepares segments before lanes need them, seals full ones, and takes dead ones back. What it does in one
//! step stands here; how, in prepare.rs, seal.rs, retire.rs and the cleaner.
//!
//! Invariants:
//! - It alone changes the manifest while the engine is open.
//! - Nothing here is waited for on the way to a receipt, unless a load outruns the supply.

mod files;
mod prepare;
mod retire;
mod seal;

use crate::cleaner::{Cleaner, Note};
use crate::error::{Error, Result};
use crate::io::{Block, Clock, IoFailure, Latch, Storage};
use crate::lane::shared::LaneShared;
use crate::lane::supply::Full;
use crate::log::manifest::{Manifest, ManifestFiles, ManifestLog, ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::options::Options;
use crate::partition::shared::{LogShared, Segment};
use crate::partition::table::PartitionTable;
use crate::reserve;
use crate::retention::Retainer;
use crate::sync::{Signal, lock};
pub(crate) use files::{
    FREE_BYTES_MIN, Place, cut, disk_bytes, disk_bytes_left, file_bytes, no_space_or, occupy, prepare_segment,
    remove_strays, zero_fill,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Pieces of cleaning in one step while the disk is full.
const CLEANINGS_WHILE_FULL: usize = 8;
/// A full disk is looked at again after this time.
const RETRY: Duration = Duration::from_millis(200);

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
    /// Segments that begin with a whole checkpoint, as far as opening may need it.
    whole_checkpoints: Mutex<BTreeSet<(u32, Position)>>,
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
            whole_checkpoints: Mutex::default(),
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
        let is_full = self.is_full();
        let waits = is_full || !lock(&self.shared.retiring).is_empty();
        let retention = Duration::from_nanos(self.retainer.next_ns().saturating_sub(now_ns));
        let pause = match waits || self.has_zeros_to_write() {
            true => RETRY,
            false => retention.min(Duration::from_secs(60)),
        };
        let has_cleaner = self.options.cleaner_bytes_per_second_max > 0;
        let cleaning = self.cleaner.pause(now_ns, is_full).filter(|_| has_cleaner);
        // On a full disk it is the cleaner that makes room.
        cleaning.map_or(pause, |cleaning| cleaning.min(pause))
    }

    /// Whether a lane waits for room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        self.lanes.iter().any(|lane| lane.supply.is_full())
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
        // Who waits for the room that it makes waits for nothing else here.
        let cleanings = if self.is_full() { CLEANINGS_WHILE_FULL } else { 1 };
        for _ in 0..cleanings {
            if !self.clean()? {
                break;
            }
            worked = true;
        }
        self.export();
        Ok(worked)
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

    // ----- the manifest -----

    fn log_entry(&mut self, lane: usize) -> &mut ManifestLog {
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

    fn commit(&mut self) -> Result<()> {
        match self.files.commit(&mut self.manifest) {
            // The copies are written in place, in blocks that are there; what they said stays true.
            Err(Error::Io(failure)) if failure.is_no_space() => Ok(()),
            other => other,
        }
    }
}

/// Damage is told to who reads it, a full disk to who writes; neither is a reason to stop.
pub(crate) fn unless_damaged<T>(error: Error, otherwise: T) -> Result<T> {
    match error {
        Error::Damaged { .. } => Ok(otherwise),
        Error::Io(failure) if failure.is_no_space() => Ok(otherwise),
        error => Err(error),
    }
}
