//! Preparing segments before lanes need them: each lane's supply, the zeros in it, and the reserve of its log.
//!
//! Invariants:
//! - A segment reaches a lane only after its file, header page, directory entry and manifest entry are durable.
//! - The reserve comes first: while it is not whole, producers get no further segment.
//! - A lane that is fast, or waits, has the device for itself: no zeros are written then.

use super::Keeper;
use super::files::{disk_bytes_left, next_segment_bytes, no_space_or, prepare_segment};
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::io::{Block, File, PAGE};
use crate::lane::shared::count;
use crate::lane::supply::Prepared;
use crate::log::manifest::SegmentState;
use crate::log::segment::file_name;
use crate::options::DiskBound;
use crate::reserve::{self, Level};
use crate::sync::{lock, yield_now};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Zeros written in one go.
const ZERO_BYTES: usize = 512 << 10;
/// Above this rate a lane gets segments as they are: zero-filling would take the device from it.
const BULK_BYTES_PER_SECOND: u64 = 600 << 20;
/// How long a lane's last segments say how fast it is.
const RATE_MEMORY_NS: u64 = 1_000_000_000;

impl Keeper {
    /// Keeps a lane's supply and the reserve of its log full.
    pub(super) fn supply(&mut self, lane: usize) -> Result<bool> {
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
    pub(super) fn show_reserve(&self, lane: usize) {
        let lane = &self.lanes[lane];
        lane.supply.set_reserve(reserve::level(&self.manifest, lane.log));
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
    pub(super) fn write_zeros(&mut self, lane: usize) -> Result<bool> {
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

    pub(super) fn has_zeros_to_write(&self) -> bool {
        self.lanes.iter().any(|lane| lock(&lane.supply.state).ready.iter().any(|prepared| !prepared.is_written()))
    }

    /// Whether any lane needs the device, or the keeper, more than the cleaner does.
    pub(crate) fn is_bulk(&self, now_ns: u64) -> bool {
        self.lanes.iter().any(|lane| {
            let state = lock(&lane.supply.state);
            state.starving || is_bulk(&state.taken, now_ns)
        })
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
}

/// Whether a lane takes segments faster than zeros should be written before it.
fn is_bulk(taken: &VecDeque<(u64, u64)>, now_ns: u64) -> bool {
    let (Some((first, _)), Some((last, _))) = (taken.front(), taken.back()) else { return false };
    if taken.len() < 2 || now_ns.saturating_sub(*last) > RATE_MEMORY_NS {
        return false;
    }
    let bytes: u64 = taken.iter().skip(1).map(|(_, bytes)| bytes).sum();
    let elapsed = now_ns.saturating_sub(*first).max(1);
    bytes.saturating_mul(1_000_000_000) / elapsed > BULK_BYTES_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
