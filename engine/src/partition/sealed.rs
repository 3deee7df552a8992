//! Finding offsets and times in sealed segments, through their sidecars: those of all logs that a partition
//! ever stood in, one behind the other.
//!
//! Invariants:
//! - No descriptor stays open for a sealed segment or its sidecar while nobody reads them.
//! - A sidecar that is missing or damaged is made anew from its segment, by whoever needs it first.
//! - A frame that was withheld is named by where it was first written; the sidecar of a copy says where it is now.
//! - Sidecars list every partition that existed when they were made, so bisection over segments works;
//!   a partition that is absent began later.

use super::copied::CopiedIndex;
use super::index::{PartitionIndex, Run};
use super::shared::{LogShared, Partition, Segment};
use super::sidecar::{BadSidecar, MemoryFile, Sidecar, SidecarBuilder, SidecarEntry, SidecarFile};
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::io::Access;
use crate::lane::state::LogState;
use crate::log::frame::Kind;
use crate::log::position::Position;
use crate::log::scan::SegmentScan;
use crate::log::segment::sidecar_name;
use crate::sync::lock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The runs of a partition in the sealed segment that holds `offset`, with that segment. It is probably the
/// next one behind `last`, where the runs before it were found.
pub(crate) fn runs_at_offset(
    partition: &Partition,
    offset: u64,
    last: Option<Position>,
) -> Result<Option<(Arc<Segment>, Vec<Run>)>> {
    if let Some(segment) = last.and_then(|base| partition.segment_behind(base))
        && segment.end().is_some()
        && let Some(runs) = runs_in(&partition.log, &segment, partition.slot)?
        && runs.first().is_some_and(|run| run.base_offset <= offset)
        && runs.last().is_some_and(|run| run.end_offset() > offset)
    {
        return Ok(Some((segment, runs)));
    }
    bisect(partition, |entry| entry.first_offset <= offset, |run| run.end_offset() > offset)
}

/// The runs of a partition in the first sealed segment with a record at or after a time.
pub(crate) fn runs_at_time(partition: &Partition, timestamp_ms: i64) -> Result<Option<(Arc<Segment>, Vec<Run>)>> {
    bisect(partition, |entry| entry.timestamp_before_ms < timestamp_ms, |run| run.timestamp_max_ms >= timestamp_ms)
}

/// Finds the last segment whose entry says `starts_before`; from there on, the first one with a run
/// that `wanted` accepts.
fn bisect(
    partition: &Partition,
    starts_before: impl Fn(&SidecarEntry) -> bool,
    wanted: impl Fn(&Run) -> bool,
) -> Result<Option<(Arc<Segment>, Vec<Run>)>> {
    let segments = partition.sealed_segments();
    let (log, slot) = (&*partition.log, partition.slot);
    let count = count_before(log, slot, &segments, starts_before)?;
    for segment in &segments[count.saturating_sub(1)..] {
        let Some(runs) = runs_in(log, segment, slot)? else { continue };
        if runs.iter().any(&wanted) {
            return Ok(Some((segment.clone(), runs)));
        }
    }
    Ok(None)
}

/// How many segments of a partition come before others whose entry does not say `starts_before`. Which of its logs
/// `log` is is all the same: they share storage, pages, and whether anything may be written.
fn count_before(
    log: &LogShared,
    slot: u32,
    segments: &[Arc<Segment>],
    starts_before: impl Fn(&SidecarEntry) -> bool,
) -> Result<usize> {
    let (mut low, mut high) = (0, segments.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let before = match entry_of(log, &segments[middle], slot)? {
            Some(entry) => starts_before(&entry),
            None => true,
        };
        if before { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// The first offset of a partition in the sealed segment that holds `offset`. `None`: none does.
pub(crate) fn first_offset_of_segment(partition: &Partition, offset: u64) -> Result<Option<u64>> {
    let segments = partition.sealed_segments();
    let (log, slot) = (&*partition.log, partition.slot);
    let count = count_before(log, slot, &segments, |entry| entry.first_offset <= offset)?;
    let Some(last) = count.checked_sub(1) else { return Ok(None) };
    first_offset_in(log, &segments[last], slot)
}

/// The runs of `slot` in a sealed segment.
fn runs_in(log: &LogShared, segment: &Arc<Segment>, slot: u32) -> Result<Option<Vec<Run>>> {
    read(log, segment, |sidecar| match sidecar.entry(slot, &log.pages)?.filter(SidecarEntry::has_runs) {
        Some(entry) => sidecar.runs(&entry, &log.pages).map(Some),
        None => Ok(None),
    })
}

/// The first offset of a partition in a sealed segment, or behind it if it has no records there; `None`: it began later.
pub(crate) fn first_offset_in(log: &LogShared, segment: &Arc<Segment>, slot: u32) -> Result<Option<u64>> {
    Ok(entry_of(log, segment, slot)?.map(|entry| entry.first_offset))
}

/// What the index of a sealed segment says of a partition.
pub(crate) fn entry_of(log: &LogShared, segment: &Arc<Segment>, slot: u32) -> Result<Option<SidecarEntry>> {
    read(log, segment, |sidecar| sidecar.entry(slot, &log.pages))
}

/// The offset behind the last record that a sealed segment gave to a partition.
pub(crate) fn end_offset_in(log: &LogShared, segment: &Arc<Segment>, entry: &SidecarEntry) -> Result<u64> {
    let runs = runs_in(log, segment, entry.slot)?.unwrap_or_default();
    Ok(runs.last().map_or(entry.first_offset, Run::end_offset))
}

/// Bytes of the runs of a partition in a sealed segment that hold records from an offset on.
pub(crate) fn bytes_from(log: &LogShared, segment: &Arc<Segment>, entry: &SidecarEntry, offset: u64) -> Result<u64> {
    let runs = runs_in(log, segment, entry.slot)?.unwrap_or_default();
    Ok(runs.iter().filter(|run| run.end_offset() > offset).map(|run| u64::from(run.bytes)).sum())
}

/// What the index of a sealed segment says of all partitions, by slot.
pub(crate) fn entries(log: &LogShared, segment: &Arc<Segment>) -> Result<Vec<SidecarEntry>> {
    read(log, segment, |sidecar| (0..sidecar.entries()).map(|at| sidecar.entry_at(at, &log.pages)).collect())
}

/// Where the bytes of a frame that was first written at a position of a log stand now.
pub(crate) fn resolve(log: &LogShared, identity: Position) -> Result<Position> {
    let copy = log.copy_for(identity).filter(|_| !canary::sings(Canary::ResolveByAddress));
    let Some(copy) = copy else { return Ok(identity) };
    let found = read(log, &copy, |sidecar| sidecar.place_of(identity, &log.pages))?;
    // What the copy does not have was given up; there is nothing at the old address any more.
    Ok(found.unwrap_or(identity))
}

fn unusable(segment: &Segment, reason: &str) -> Error {
    Error::Damaged {
        file: sidecar_name(segment.manifest.file),
        position: segment.manifest.base.0,
        file_offset: 0,
        bytes: 0,
        reason: format!("the index was made anew and still cannot be used: {reason}"),
    }
}

/// Reads something in the sidecar of a sealed segment; in one that is made anew, if it cannot be read.
fn read<T>(
    log: &LogShared,
    segment: &Arc<Segment>,
    read: impl Fn(&Sidecar) -> std::result::Result<T, BadSidecar>,
) -> Result<T> {
    match read(&sidecar(log, segment)?) {
        Ok(found) => Ok(found),
        Err(_) => read(&rebuild(log, segment)?).map_err(|bad| unusable(segment, &bad.0)),
    }
}

/// The sidecar of a sealed segment; made anew if it cannot be used. Whoever comes first finds or makes it
/// while others wait, so that none reads one that is being written.
pub(crate) fn sidecar(log: &LogShared, segment: &Arc<Segment>) -> Result<Sidecar> {
    let mut held = lock(&segment.sidecar);
    if let Some(sidecar) = &*held {
        return Ok(sidecar.clone());
    }
    let sidecar = match open(log, segment) {
        Some(sidecar) => sidecar,
        None => make(log, segment)?,
    };
    *held = Some(sidecar.clone());
    Ok(sidecar)
}

/// Opens a sidecar as it stands, if it can be used.
pub(crate) fn open(log: &LogShared, segment: &Segment) -> Option<Sidecar> {
    let file = SidecarFile::new(sidecar_name(segment.manifest.file), log.storage.clone());
    Sidecar::open(Arc::new(file), segment.manifest, segment.end()?, &log.pages).ok()
}

/// Makes a sidecar anew that could not be read.
pub(crate) fn rebuild(log: &LogShared, segment: &Arc<Segment>) -> Result<Sidecar> {
    let mut held = lock(&segment.sidecar);
    let sidecar = make(log, segment)?;
    *held = Some(sidecar.clone());
    Ok(sidecar)
}

/// Makes a sidecar from its segment: the checkpoint at the beginning, then all frames.
fn make(log: &LogShared, segment: &Arc<Segment>) -> Result<Sidecar> {
    let end = segment.end().expect("only sealed segments have sidecars");
    if segment.manifest.copy_of.is_some() {
        let bytes = CopiedIndex::of(segment.manifest, segment.file(&*log.storage)?)?.sidecar(segment.manifest, end);
        return store(log, segment, end, &bytes);
    }
    let (state, indexes, withheld) = replay(log, segment, end)?;
    let mut builder = SidecarBuilder::new(segment.manifest);
    for (slot, index) in &indexes {
        let before = state.partition(*slot);
        let withheld_frames = withheld.get(slot).copied().unwrap_or(0);
        builder.push(*slot, before.next_offset, before.timestamp_max_ms, withheld_frames, index.runs_from(0));
    }
    store(log, segment, end, &builder.finish(end))
}

/// Writes a sidecar's bytes, durably, and opens it; where nothing may be written, or the disk is full,
/// it stays in memory.
pub(crate) fn store(log: &LogShared, segment: &Segment, end: Position, bytes: &[u8]) -> Result<Sidecar> {
    let name = sidecar_name(segment.manifest.file);
    let in_memory = || {
        let file = Arc::new(MemoryFile::new(&name, bytes));
        Sidecar::open(file, segment.manifest, end, &log.pages).map_err(|bad| unusable(segment, &bad.0))
    };
    // The pages of one that could not be used, also where the new one stays in memory.
    log.pages.forget(segment.manifest.salt);
    if log.read_only {
        return in_memory();
    }
    let fail = |operation, error: &std::io::Error| Error::io(operation, &name, None, error);
    let written = (|| {
        let file = log.storage.open(&name, Access::Create).map_err(|error| fail("open", &error))?;
        super::sidecar::write(&*file, bytes).map_err(|error| fail("write", &error))?;
        log.storage.sync_directory().map_err(|error| fail("sync the directory of", &error))
    })();
    match written {
        Ok(()) => {}
        // Reading goes on without; what was begun only takes space.
        Err(Error::Io(failure)) if failure.is_no_space() => {
            let _ = log.storage.remove(&name);
            return in_memory();
        }
        Err(error) => return Err(error),
    }
    let file = Arc::new(SidecarFile::new(name, log.storage.clone()));
    Sidecar::open(file, segment.manifest, end, &log.pages).map_err(|bad| unusable(segment, &bad.0))
}

type Replayed = (LogState, BTreeMap<u32, PartitionIndex>, BTreeMap<u32, u32>);

/// The state at a segment's beginning, the runs of each partition in it, and how many frames of each
/// it withholds.
fn replay(log: &LogShared, segment: &Segment, end: Position) -> Result<Replayed> {
    let damaged = |position: Position, reason: String| segment.manifest.damage(position, end.since(position), reason);
    let mut scan = SegmentScan::new(segment.manifest, segment.file(&*log.storage)?);
    let mut position = segment.manifest.first_frame();
    let mut checkpoint = crate::lane::checkpoint::Assembly::default();
    let mut before: Option<(LogState, LogState)> = None;
    let mut indexes: BTreeMap<u32, PartitionIndex> = BTreeMap::new();
    let mut withheld: BTreeMap<u32, u32> = BTreeMap::new();
    while position < end {
        let (header, body) = scan.frame(position).map_err(|no| damaged(position, no.to_string()))?;
        match (&header.kind, &mut before) {
            (Kind::Checkpoint, before) => {
                if let Some(state) = checkpoint.push(body).map_err(|reason| damaged(position, reason.to_owned()))? {
                    for slot in state.slots() {
                        let partition = state.partition(slot);
                        let index = PartitionIndex::new(0, partition.next_offset, partition.timestamp_max_ms);
                        indexes.insert(slot, index);
                    }
                    *before = Some((state.clone(), state));
                }
            }
            (_, Some((_, state))) => state
                .apply(segment.manifest.log, &header, body, &mut |slot, run| {
                    let index =
                        indexes.entry(slot).or_insert_with(|| PartitionIndex::new(0, run.base_offset, i64::MIN));
                    // Merging as the lane did is not needed: blocks are not known here.
                    index.push(run, true);
                })
                .map_err(|reason| damaged(position, reason))?,
            (_, None) => return Err(damaged(position, "the segment does not begin with a checkpoint".to_owned())),
        }
        if let Kind::Withheld { slot, .. } = header.kind {
            *withheld.entry(slot).or_default() += 1;
            indexes.entry(slot).or_default();
        }
        position = header.end();
    }
    let (state, _) = before.ok_or_else(|| damaged(position, "the segment has no whole checkpoint".to_owned()))?;
    Ok((state, indexes, withheld))
}
