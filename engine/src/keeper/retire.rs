//! What nobody keeps any more goes: records by the topics' bounds, then segments without any, then their files.
//!
//! Invariants:
//! - A segment is retired only when it holds no record that is kept or withheld, and two whole checkpoints stand behind it.
//! - A file is used again or removed only when no reader holds its segment, and the manifest says so first.

use super::files::{cut_bytes, disk_bytes};
use super::{Keeper, unless_damaged};
use crate::canary::{self, Canary};
use crate::cleaner::{self, Note};
use crate::error::{Error, Result};
use crate::lane::recovery::whole_checkpoint;
use crate::log::manifest::{ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::log::segment::{file_name, sidecar_name};
use crate::options::DiskBound;
use crate::partition::sealed;
use crate::partition::shared::{LogShared, Segment};
use crate::partition::sidecar::SidecarEntry;
use crate::reserve::{self, CHECKPOINTS};
use crate::retention::LogView;
use crate::sync::lock;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Keeper {
    /// Asks the lanes to give up what the topics' bounds no longer keep, when it is time to look.
    pub(super) fn retain(&mut self) {
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

    // ----- segments and their files -----

    /// Retires sealed segments that hold nothing of any topic that is left, out of those that `concerned`
    /// chooses and those that nobody has looked at because opening needed them. Returns whether there were any.
    pub(super) fn retire_dead(&mut self, concerned: fn(&ManifestSegment, u64) -> bool) -> Result<bool> {
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
        let mut known = lock(&self.whole_checkpoints);
        for (age, segment) in log.segments().iter().rev().enumerate() {
            let key = (log.id, segment.manifest.base);
            if known.contains(&key) || self.has_whole_checkpoint(log, segment) {
                known.insert(key);
                checkpoints += 1;
            } else if age == 0 {
                // The checkpoint of the newest segment is still on its way; with it more may be given up.
                self.shared.look_for_spent.store(true, Ordering::Release);
            }
            if checkpoints == CHECKPOINTS {
                known.retain(|known| known.0 != log.id || *known >= key);
                return Some(segment.manifest.base);
            }
        }
        None
    }

    /// Whether a segment begins with a whole checkpoint, durably: read once, for it may have megabytes.
    fn has_whole_checkpoint(&self, log: &LogShared, segment: &Segment) -> bool {
        // What cannot be opened or read counts for nothing; who needs it is told.
        let file = segment.file(&*self.storage);
        let end = file.ok().and_then(|file| whole_checkpoint(segment.manifest, &file));
        end.is_some_and(|end| end <= log.durable())
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
    pub(super) fn free_retired(&mut self) -> Result<bool> {
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
