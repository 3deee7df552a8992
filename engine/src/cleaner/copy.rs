//! Copying what is kept of neighbouring segments into one, partition by partition.
//!
//! The sources are read front to back. What is kept is gathered in memory by partition, and written partition by
//! partition. What there is no memory for waits for another pass: the partitions with the largest slots first.
//!
//! Invariants:
//! - What is kept was decided when copying began; what is given up meanwhile is copied all the same.
//! - Every frame that is copied was checked when it was read.
//! - The frames of a partition are copied in the order of the log, each once.
//! - No more than `Limits::memory_bytes` is gathered, and what the buffer of one partition grows by for one frame.

use super::choice::Why;
use super::gathered::Gathered;
use super::target::Target;
use super::withheld::Note;
use crate::error::{Error, Result};
use crate::io::Storage;
use crate::lane::entries::{self, PublishEntry};
use crate::lane::state::{LogState, PartitionState};
use crate::log::frame::{FrameHeader, Kind};
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use crate::log::scan::SegmentScan;
use crate::partition::shared::{LogShared, Segment};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes read or written in one step.
const STEP_BYTES: u64 = 1 << 20;

/// Why copying ended without a copy. The sources stay.
pub(super) enum NoCopy {
    /// This source cannot be read; who reads it is told.
    Damaged(Position),
    /// The copy would be larger than it may be, or its frames contradict each other.
    Impossible,
    /// The disk is full.
    NoSpace,
    /// Writing failed.
    Failed(Error),
}

impl NoCopy {
    pub(super) fn of(error: Error) -> NoCopy {
        match error {
            Error::Io(failure) if failure.is_no_space() => NoCopy::NoSpace,
            Error::NoSpace { .. } => NoCopy::NoSpace,
            // What was to be copied contradicts itself.
            Error::Damaged { .. } => NoCopy::Impossible,
            error => NoCopy::Failed(error),
        }
    }
}

/// What a step did.
pub(super) enum Step {
    /// So many bytes were read or written.
    Worked(u64),
    /// The target holds everything.
    Done,
}

/// A segment that is copied, with what is known of its withheld frames.
pub(super) struct Source {
    pub(super) segment: Arc<Segment>,
    pub(super) note: Option<Note>,
}

/// What bounds a copy.
pub(super) struct Limits {
    /// What is gathered in memory.
    pub(super) memory_bytes: usize,
    /// The copy itself.
    pub(super) copy_bytes: u64,
}

/// One time through the sources.
struct Pass {
    source: usize,
    scan: Option<(SegmentScan, Position)>,
    gathered: BTreeMap<u32, Gathered>,
    bytes: usize,
    /// Slots from here on wait for another pass.
    before: Option<u32>,
    /// This one is larger than the memory, and written as it is read; all others wait.
    only: Option<u32>,
    is_read: bool,
}

/// See the module.
pub(super) struct Copying {
    pub(super) why: Why,
    pub(super) log: Arc<LogShared>,
    pub(super) sources: Vec<Source>,
    /// Where the partitions begin that are kept, by slot.
    first_offsets: BTreeMap<u32, u64>,
    target: Target,
    limits: Limits,
    pass: Pass,
    /// Slots below this are copied.
    from: u32,
    /// And these.
    copied: BTreeSet<u32>,
}

impl Copying {
    /// Begins a copy in the file of `segment`. `partitions`: those that are kept, by slot, with the offset that they
    /// begin at now, and what they were when the stretch began.
    pub(super) fn begin(
        storage: &dyn Storage,
        why: Why,
        log: Arc<LogShared>,
        sources: Vec<Source>,
        segment: ManifestSegment,
        partitions: &BTreeMap<u32, (u64, PartitionState)>,
        limits: Limits,
    ) -> Result<Copying> {
        let mut head = LogState::default();
        partitions.iter().for_each(|(slot, (_, before))| head.take_over(*slot, *before));
        let target = Target::begin(storage, segment, &head)?;
        let first_offsets = partitions.iter().map(|(slot, (first_offset, _))| (*slot, *first_offset)).collect();
        let (from, copied) = (0, BTreeSet::new());
        let pass = Pass::new();
        Ok(Copying { why, log, sources, first_offsets, target, limits, pass, from, copied })
    }

    /// The number of the copy's file.
    pub(super) fn file(&self) -> u32 {
        self.target.file()
    }

    /// Bytes of the disk that the copy has taken so far.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.target.allocated_bytes()
    }

    pub(super) fn into_target(self) -> (Vec<Source>, Target) {
        (self.sources, self.target)
    }

    /// Does the next piece.
    pub(super) fn step(&mut self, storage: &dyn Storage) -> Result<Step, NoCopy> {
        if self.target.bytes() > self.limits.copy_bytes {
            return Err(NoCopy::Impossible);
        }
        if !self.pass.is_read {
            return self.read(storage).map(Step::Worked);
        }
        if !self.pass.gathered.is_empty() {
            return self.write(STEP_BYTES).map(Step::Worked);
        }
        match (self.pass.only, self.pass.before) {
            (Some(slot), _) => drop(self.copied.insert(slot)),
            (None, Some(slot)) => self.from = slot,
            (None, None) => return Ok(Step::Done),
        }
        self.pass = Pass::new();
        Ok(Step::Worked(0))
    }

    fn damaged(&self) -> NoCopy {
        NoCopy::Damaged(self.sources[self.pass.source].segment.manifest.from())
    }

    /// Where a partition begins that is copied in this pass.
    fn first_offset(&self, slot: u32) -> Option<u64> {
        let Pass { before, only, .. } = self.pass;
        let is_its_turn =
            slot >= self.from && before.is_none_or(|before| slot < before) && !self.copied.contains(&slot);
        let is_wanted = is_its_turn && only.is_none_or(|only| slot == only);
        self.first_offsets.get(&slot).copied().filter(|_| is_wanted)
    }

    // ----- reading -----

    /// Reads on; returns how many bytes that were.
    fn read(&mut self, storage: &dyn Storage) -> Result<u64, NoCopy> {
        let Some(source) = self.sources.get(self.pass.source) else {
            self.pass.is_read = true;
            return Ok(0);
        };
        let segment = source.segment.manifest;
        let end = source.segment.end().ok_or_else(|| self.damaged())?;
        let (mut scan, begin) = match self.pass.scan.take() {
            Some(scan) => scan,
            None => {
                let file = source.segment.file(storage).map_err(|_| self.damaged())?;
                (SegmentScan::new(segment, file), segment.first_frame())
            }
        };
        let mut position = begin;
        let mut written = 0;
        while position < end && position.since(begin) < STEP_BYTES {
            let header = scan.header(position).filter(|header| header.end() <= end).ok_or_else(|| self.damaged())?;
            written += self.take(&mut scan, &header)?;
            position = header.end();
        }
        if position >= end {
            self.pass.source += 1;
        } else {
            self.pass.scan = Some((scan, position));
        }
        Ok(position.since(begin) + written)
    }

    /// Gathers a frame, if it is kept; returns how many bytes were written for that.
    fn take(&mut self, scan: &mut SegmentScan, header: &FrameHeader) -> Result<u64, NoCopy> {
        let wanted = match header.kind {
            Kind::Records { slot, count, base_offset, .. } => {
                let is_kept = |first_offset: u64| base_offset + u64::from(count) > first_offset;
                self.first_offset(slot).is_some_and(is_kept).then_some((slot, header.kind))
            }
            Kind::Withheld { slot, count, due_ms, reason, origin, .. } => {
                let identity = header.position;
                let kind = Kind::Moved { slot, count, due_ms, identity, reason, origin };
                self.is_needed(slot, identity).then_some((slot, kind))
            }
            Kind::Moved { slot, identity, .. } => self.is_needed(slot, identity).then_some((slot, header.kind)),
            Kind::Publish => return self.take_publications(scan, header),
            _ => None,
        };
        let Some((slot, kind)) = wanted else { return Ok(0) };
        let (read, body) = scan.frame(header.position).map_err(|_| self.damaged())?;
        self.pass.gather(slot, FrameHeader { kind, ..read }, body);
        self.keep_within_memory()
    }

    /// Whether a frame that was withheld may still be asked for.
    fn is_needed(&self, slot: u32, identity: Position) -> bool {
        let note = self.sources[self.pass.source].note.as_ref();
        let is_gone = |first_offset| note.is_some_and(|note| note.is_gone(slot, identity, first_offset));
        self.first_offset(slot).is_some_and(|first_offset| !is_gone(first_offset))
    }

    /// The publications of each partition get a frame of their own.
    fn take_publications(&mut self, scan: &mut SegmentScan, header: &FrameHeader) -> Result<u64, NoCopy> {
        let (_, body) = scan.frame(header.position).map_err(|_| self.damaged())?;
        let mut by_slot: BTreeMap<u32, Vec<PublishEntry>> = BTreeMap::new();
        for entry in entries::decode_publish(body).ok_or_else(|| self.damaged())?.0 {
            let is_kept = |first_offset: u64| entry.base_offset + u64::from(entry.count) > first_offset;
            if self.first_offset(entry.slot).is_some_and(is_kept) {
                by_slot.entry(entry.slot).or_default().push(entry);
            }
        }
        let mut written = 0;
        for (slot, entries) in by_slot {
            // What was gathered before it may have sent this one to another pass.
            if self.first_offset(slot).is_none() {
                continue;
            }
            let body = entries::encode_publish(&entries, None);
            let (body_bytes, body_checksum) = (body.len() as u32, crc32c::crc32c(&body));
            self.pass.gather(slot, FrameHeader { body_bytes, body_checksum, ..*header }, &body);
            written += self.keep_within_memory()?;
        }
        Ok(written)
    }

    /// Lets the largest slots wait for another pass; one that is too large alone is written at once.
    fn keep_within_memory(&mut self) -> Result<u64, NoCopy> {
        let pass = &mut self.pass;
        while pass.bytes > self.limits.memory_bytes && pass.gathered.len() > 1 {
            let (slot, gathered) = pass.gathered.pop_last().expect("more than one");
            pass.bytes -= gathered.memory_bytes();
            pass.before = Some(slot);
        }
        if pass.bytes <= self.limits.memory_bytes {
            return Ok(0);
        }
        pass.only = pass.gathered.keys().next().copied();
        self.write(u64::MAX)
    }

    // ----- writing -----

    /// Writes what was gathered, about `bytes_max` of it; returns how many bytes that were.
    fn write(&mut self, bytes_max: u64) -> Result<u64, NoCopy> {
        let mut written = 0;
        while written < bytes_max
            && let Some(mut first) = self.pass.gathered.first_entry()
        {
            let gathered = first.get_mut();
            let Some((frame, body)) = gathered.pop() else {
                self.pass.bytes -= gathered.memory_bytes();
                first.remove();
                continue;
            };
            written += self.target.append(frame.kind, body, frame.body_checksum).map_err(NoCopy::of)?;
        }
        Ok(written)
    }
}

impl Pass {
    fn new() -> Pass {
        let (source, bytes) = (0, 0);
        Pass { source, scan: None, gathered: BTreeMap::new(), bytes, before: None, only: None, is_read: false }
    }

    fn gather(&mut self, slot: u32, header: FrameHeader, body: &[u8]) {
        let gathered = self.gathered.entry(slot).or_default();
        let before = gathered.memory_bytes();
        gathered.push(&header, body);
        self.bytes += gathered.memory_bytes() - before;
    }
}
