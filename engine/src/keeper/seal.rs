//! Sealing full segments: their index is written, and the manifest says that they are sealed.
//!
//! Invariants:
//! - The index comes first, then the manifest. An index that cannot be written is made anew by who needs it.
//! - Oldest first: a segment's index is made from the runs in front, and takes them away.

use super::files::cut;
use super::{Keeper, unless_damaged};
use crate::error::{Error, Result};
use crate::lane::supply::Full;
use crate::log::manifest::SegmentState;
use crate::partition::sealed;
use crate::partition::shared::LogShared;
use crate::partition::sidecar::SidecarBuilder;
use crate::sync::lock;
use std::sync::atomic::Ordering;

impl Keeper {
    /// Writes the index of a full segment and marks it sealed.
    pub(super) fn seal(&mut self, place: usize, full: &Full, in_manifest: bool) -> Result<()> {
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
}
