//! The index of a copied segment, from its frames: what the cleaner notes while it writes one, and what makes its
//! sidecar anew.
//!
//! ```text
//!  header page | Head ... | frames of slot 3, in the order of its offsets | frames of slot 7 | ...
//! ```
//!
//! Invariants:
//! - A copy holds no state of its log: opening never needs it. Its head says where its partitions were when the
//!   stretch that it stands for began.
//! - The frames of a partition follow each other without gaps between their offsets.

use super::index::{PartitionIndex, Run};
use super::sidecar::SidecarBuilder;
use crate::error::Result;
use crate::io::File;
use crate::lane::checkpoint::Assembly;
use crate::lane::entries;
use crate::lane::state::{LogState, reference_run, timestamp_max};
use crate::log::frame::{FrameHeader, Kind};
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use crate::log::scan::SegmentScan;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One partition in the copy.
struct Copied {
    runs: PartitionIndex,
    timestamp_max_ms: i64,
    withheld_frames: u32,
}

/// See the module.
#[derive(Default)]
pub(crate) struct CopiedIndex {
    head: Assembly,
    begins_with: Option<LogState>,
    partitions: BTreeMap<u32, Copied>,
    /// Frames that were withheld: the positions that they are known by, and where they stand.
    moved: Vec<(Position, Position)>,
}

impl CopiedIndex {
    /// Reads all frames of a copied segment.
    pub(crate) fn of(segment: ManifestSegment, file: Arc<dyn File>) -> Result<CopiedIndex> {
        let mut index = CopiedIndex::default();
        let mut scan = SegmentScan::new(segment, file);
        let mut position = segment.first_frame();
        let damaged = |position: Position, reason| segment.damage(position, segment.end.since(position), reason);
        while position < segment.end {
            let (header, body) = scan.frame(position).map_err(|no_frame| damaged(position, no_frame.to_string()))?;
            index.take(&header, body).map_err(|reason| damaged(position, reason))?;
            position = header.end();
        }
        match index.begins_with {
            Some(_) => Ok(index),
            None => Err(damaged(segment.first_frame(), "the segment has no whole head".to_owned())),
        }
    }

    /// Takes the next frame. `Err`: the cleaner writes no such frame there.
    pub(crate) fn take(&mut self, header: &FrameHeader, body: &[u8]) -> Result<(), String> {
        if header.kind == Kind::Head {
            self.begins_with = self.head.push(body)?.or(self.begins_with.take());
            return Ok(());
        }
        if self.begins_with.is_none() {
            return Err("the segment does not begin with its head".to_owned());
        }
        let bytes = header.total_bytes() as u32;
        match header.kind {
            Kind::Records { slot, count, base_offset, .. } => {
                let timestamp_max_ms = timestamp_max(body, count)?;
                let (first, position, publication) = (0, header.position, None);
                self.push(slot, Run { base_offset, count, first, position, bytes, timestamp_max_ms, publication })
            }
            Kind::Moved { slot, count, identity, .. } => {
                timestamp_max(body, count)?;
                self.moved.push((identity, header.position));
                self.partition(slot).withheld_frames += 1;
                Ok(())
            }
            Kind::Publish => {
                let (entries, _) = entries::decode_publish(body).ok_or("its list cannot be read")?;
                for (at, entry) in entries.iter().enumerate() {
                    let run = reference_run(entry, at as u32, header.position, bytes, entry.timestamp_max_ms);
                    self.push(entry.slot, run)?;
                }
                Ok(())
            }
            other => Err(format!("a copied segment has no frame of kind {}", other.name())),
        }
    }

    fn partition(&mut self, slot: u32) -> &mut Copied {
        let before = self.begins_with.as_ref().map(|state| state.partition(slot)).unwrap_or_default();
        let (offset, timestamp_max_ms) = (before.next_offset, before.timestamp_max_ms);
        let runs = || PartitionIndex::new(0, offset, timestamp_max_ms);
        self.partitions.entry(slot).or_insert_with(|| Copied { runs: runs(), timestamp_max_ms, withheld_frames: 0 })
    }

    fn push(&mut self, slot: u32, run: Run) -> Result<(), String> {
        let partition = self.partition(slot);
        let next_offset = partition.runs.next_offset;
        if partition.runs.is_empty() && run.base_offset >= next_offset {
            // What stood before it in the stretch was given up.
            partition.runs = PartitionIndex::new(0, run.base_offset, partition.timestamp_max_ms);
        } else if run.base_offset != next_offset {
            return Err(format!("its first offset is {}, the partition's next one is {next_offset}", run.base_offset));
        }
        partition.timestamp_max_ms = partition.timestamp_max_ms.max(run.timestamp_max_ms);
        partition.runs.push(Run { timestamp_max_ms: partition.timestamp_max_ms, ..run }, true);
        Ok(())
    }

    /// The bytes of the sidecar.
    pub(crate) fn sidecar(mut self, segment: ManifestSegment, end: Position) -> Vec<u8> {
        // All that there were have an entry, also without records here.
        let slots: Vec<u32> = self.begins_with.iter().flat_map(LogState::slots).collect();
        for slot in slots {
            self.partition(slot);
        }
        let state = self.begins_with.unwrap_or_default();
        let mut builder = SidecarBuilder::new(segment);
        for (slot, copied) in &self.partitions {
            let before = state.partition(*slot);
            let runs = copied.runs.runs_from(0);
            builder.push(*slot, before.next_offset, before.timestamp_max_ms, copied.withheld_frames, runs);
        }
        builder.moved(self.moved);
        builder.finish(end)
    }
}
