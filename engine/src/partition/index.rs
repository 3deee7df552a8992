//! The resident index of a partition: where in the log its recent records stand.
//!
//! Invariants:
//! - Runs are in the order of their offsets, without gaps between the first run and `next_offset`.
//! - Everything in the index is durable; a reader may show it.
//! - Runs leave from the front, when the sidecar of the segment that published them is durable.

use super::runs::Runs;
use crate::log::position::Position;

/// Runs do not grow beyond this, so that finding an offset in one stays cheap.
const RUN_BYTES_MAX: u32 = 128 << 10;

/// Some records of a partition with consecutive offsets, and where they stand.
///
/// A plain run is a stretch of Records frames of this partition only. A reference is one frame that
/// was withheld and later published, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) base_offset: u64,
    pub(crate) count: u32,
    /// Reference: the first record within the frame.
    pub(crate) first: u32,
    /// Plain: the first frame. Reference: the withheld frame's identity.
    pub(crate) position: Position,
    /// Bytes of the frame or frames.
    pub(crate) bytes: u32,
    /// The largest record timestamp of the partition up to and with this run.
    pub(crate) timestamp_max_ms: i64,
    /// Reference: the publish frame, and which of its entries. Plain: none.
    pub(crate) publication: Option<Publication>,
}

/// Where a reference was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    /// The publish frame.
    pub(crate) position: Position,
    /// Bytes of the publish frame if it carries extra headers for this run, else zero.
    pub(crate) extra_bytes: u32,
    /// Entry in the publish frame.
    pub(crate) entry: u32,
}

impl Run {
    /// Offset behind the last record.
    pub(crate) fn end_offset(&self) -> u64 {
        self.base_offset + u64::from(self.count)
    }

    /// The frame that gave the run its offsets; its segment's sidecar lists the run.
    pub(crate) fn published_at(&self) -> Position {
        self.publication.map_or(self.position, |publication| publication.position)
    }

    /// Takes `next` into this run if it stands right behind it.
    fn merge(&mut self, next: &Run) -> bool {
        let adjacent = self.publication.is_none()
            && next.publication.is_none()
            && self.position.advance(u64::from(self.bytes)) == next.position
            && self.bytes.saturating_add(next.bytes) <= RUN_BYTES_MAX;
        if adjacent {
            self.count += next.count;
            self.bytes += next.bytes;
            self.timestamp_max_ms = next.timestamp_max_ms;
        }
        adjacent
    }
}

/// The runs that are in memory.
#[derive(Debug, Default)]
pub(crate) struct PartitionIndex {
    /// First offset that is kept.
    pub(crate) first_offset: u64,
    /// Offset of the next record that will become visible.
    pub(crate) next_offset: u64,
    /// Largest record timestamp before the first resident run.
    pub(crate) timestamp_before_ms: i64,
    runs: Runs,
}

impl PartitionIndex {
    pub(crate) fn new(first_offset: u64, next_offset: u64, timestamp_before_ms: i64) -> PartitionIndex {
        PartitionIndex { first_offset, next_offset, timestamp_before_ms, runs: Runs::default() }
    }

    /// Adds a run that has become durable. `may_merge` is false where memory behind the log is not
    /// contiguous (a new block or segment begins).
    pub(crate) fn push(&mut self, run: Run, may_merge: bool) {
        assert_eq!(run.base_offset, self.next_offset, "offsets are dense and in publish order");
        self.next_offset = run.end_offset();
        if may_merge && self.runs.merge_back(|last| last.merge(&run)) {
            return;
        }
        self.runs.push_back(&run);
    }

    /// What stands below an offset is given up.
    pub(crate) fn truncate(&mut self, first_offset: u64) {
        self.first_offset = self.first_offset.max(first_offset);
    }

    /// Makes room for `run`, so that its push will find the memory at hand. Nothing changes.
    pub(crate) fn expect(&mut self, run: Run) {
        self.runs.expect(&run);
    }

    /// Whether it has no runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.len() == 0
    }

    /// The first resident offset; below it the sidecars know.
    pub(crate) fn resident_offset(&self) -> u64 {
        self.runs.front().map_or(self.next_offset, |run| run.base_offset)
    }

    /// Resident runs from the one that holds `offset` on.
    pub(crate) fn runs_from(&self, offset: u64) -> impl Iterator<Item = Run> {
        self.runs.from(self.runs.count_while(|run| run.end_offset() <= offset))
    }

    /// The first resident run with a record at or after a time.
    pub(crate) fn run_at_time(&self, timestamp_ms: i64) -> Option<Run> {
        self.runs.get(self.runs.count_while(|run| run.timestamp_max_ms < timestamp_ms))
    }

    /// The leading runs that were published below `limit`.
    pub(crate) fn runs_below(&self, limit: Position) -> impl Iterator<Item = Run> {
        self.runs.from(0).take_while(move |run| run.published_at() < limit)
    }

    /// Forgets the leading runs that were published below `limit`.
    pub(crate) fn forget_below(&mut self, limit: Position) {
        while let Some(run) = self.runs.front()
            && run.published_at() < limit
        {
            self.timestamp_before_ms = run.timestamp_max_ms;
            self.runs.pop_front();
        }
    }

    /// Memory of the runs in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.runs.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(base_offset: u64, count: u32, position: u64, bytes: u32) -> Run {
        let timestamp_max_ms = base_offset as i64;
        Run { base_offset, count, first: 0, position: Position(position), bytes, timestamp_max_ms, publication: None }
    }

    #[test]
    fn adjacent_frames_become_one_run_and_others_do_not() {
        let mut index = PartitionIndex::default();
        index.push(run(0, 2, 4096, 100), true);
        index.push(run(2, 3, 4196, 100), true);
        index.push(run(5, 1, 5000, 100), true);
        index.push(run(6, 1, 5100, 100), false);
        let runs: Vec<_> = index.runs_from(0).map(|run| (run.base_offset, run.count)).collect();
        assert_eq!(runs, [(0, 5), (5, 1), (6, 1)]);
        assert_eq!(index.runs_from(4).next().unwrap().base_offset, 0);
        assert_eq!(index.runs_from(5).next().unwrap().base_offset, 5);
        assert_eq!(index.run_at_time(3).unwrap().base_offset, 5);
        assert!(index.run_at_time(7).is_none());
    }

    #[test]
    fn what_a_sidecar_holds_is_forgotten() {
        let mut index = PartitionIndex::default();
        index.push(run(0, 2, 4096, 100), true);
        let published_later = Publication { position: Position(9000), extra_bytes: 0, entry: 0 };
        index.push(Run { publication: Some(published_later), ..run(2, 1, 4196, 100) }, true);
        index.forget_below(Position(8192));
        assert_eq!(index.resident_offset(), 2, "a reference belongs to the segment that published it");
        assert_eq!(index.timestamp_before_ms, 0);
        index.forget_below(Position(10_000));
        assert_eq!((index.resident_offset(), index.next_offset), (3, 3));
    }

    #[test]
    #[should_panic(expected = "dense")]
    fn a_gap_is_a_bug() {
        PartitionIndex::default().push(run(1, 1, 0, 8), true);
    }
}
