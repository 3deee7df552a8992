//! The logs that hold a partition: the one that its lane writes, and those of earlier numbers of lanes.
//!
//! Invariants:
//! - A log that is begun later has no position that an earlier log of the same partition had: it begins above all of
//!   them. So among the logs of a partition a position names its log, and positions rise with the offsets of what was
//!   published there; whoever compares them need not know that there are several. Only what was copied stands elsewhere.
//! - The earlier logs are sealed: no lane writes to them, and what they hold only becomes less.

use super::sealed;
use super::shared::{LogShared, Partition, Segment};
use crate::error::Result;
use crate::log::manifest::Manifest;
use crate::log::position::Position;
use std::sync::Arc;

/// Of the logs of earlier numbers of lanes, those that a slot has stood in, oldest first.
pub(crate) fn logs_before(manifest: &Manifest, older: &[Arc<LogShared>], slot: u32) -> Box<[Arc<LogShared>]> {
    let its = manifest.sealed_logs.iter().filter(|entry| slot % entry.lanes == entry.lane);
    its.filter_map(|entry| older.iter().find(|log| log.id == entry.id)).cloned().collect()
}

impl Partition {
    /// The log that has a position.
    #[inline]
    pub(crate) fn log_at(&self, position: Position) -> &Arc<LogShared> {
        if position.is_of_copy() {
            return self.logs().find(|log| log.segment_at(position).is_some()).unwrap_or(&self.log);
        }
        if position >= self.log.first_base {
            return &self.log;
        }
        // Below all of them lies what no engine has written; its log says that no segment holds it.
        self.older.iter().rev().find(|log| position >= log.first_base).unwrap_or(&self.log)
    }

    /// Where the bytes of a frame that was first written at a position stand now.
    pub(crate) fn resolve(&self, position: Position) -> Result<Position> {
        sealed::resolve(self.log_at(position), position)
    }

    /// Moves with each segment that leaves one of its logs.
    pub(crate) fn departures(&self) -> u64 {
        self.logs().map(|log| log.departures()).sum()
    }

    /// The segments of its logs that are complete, oldest first.
    pub(crate) fn sealed_segments(&self) -> Vec<Arc<Segment>> {
        let segments = self.logs().flat_map(|log| log.segments());
        segments.filter(|segment| segment.end().is_some()).collect()
    }

    /// The first segment behind a place in its logs.
    pub(crate) fn segment_behind(&self, place: Position) -> Option<Arc<Segment>> {
        self.logs().find_map(|log| log.segment_behind(place))
    }

    /// Its logs, oldest first.
    pub(crate) fn logs(&self) -> impl Iterator<Item = &Arc<LogShared>> {
        self.older.iter().chain([&self.log])
    }
}
