//! Frames out of segment files: reading a run alone, and checking what was read.
//!
//! Invariants:
//! - Frames are given out only after both checksums were right in this read.
//! - A read that fails is an error with file and offset, never an end of the file.

use super::index::Run;
use super::shared::LogShared;
use crate::error::{Error, Result};
use crate::io::{Block, BlockWriter, PAGE};
use crate::lane::state::timestamp_max;
use crate::log::frame::{FRAME_ALIGNMENT, FrameContext, FrameHeader, Kind, u32_at, u64_at};
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use crate::log::scan::NoFrame;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Blocks that sparse runs are copied into, so that a few bytes do not hold a whole window in memory.
const GATHER_BYTES: usize = 256 << 10;

/// Memory, and where in it the frames begin.
pub(crate) type Frames = (Arc<Block>, usize);

/// Reads the frames in `bytes` bytes at `position`, and no more, by a blocking call; checks them.
pub(crate) fn read_alone(log: &LogShared, position: Position, bytes: usize) -> Result<Frames> {
    let segment = log.segment_at(position).ok_or_else(|| gone(position, bytes))?;
    if position.0.checked_add(bytes as u64).is_none_or(|end| end > segment.manifest.limit().0) {
        return Err(too_short(&segment.manifest, position, bytes));
    }
    let offset = position.since(segment.manifest.base);
    let start = offset - offset % PAGE as u64;
    let lead = (offset - start) as usize;
    let file = segment.file(&*log.storage)?;
    let mut memory = Block::zeroed((lead + bytes).next_multiple_of(PAGE));
    let read = file
        .read_at(memory.as_mut_slice(), start)
        .map_err(|error| Error::io("read", file.name(), Some(start), &error))?;
    log.cold.reads.fetch_add(1, Ordering::Relaxed);
    log.cold.bytes.fetch_add(read as u64, Ordering::Relaxed);
    log.cold.waits.fetch_add(1, Ordering::Relaxed);
    if read < lead + bytes {
        return Err(too_short(&segment.manifest, position, bytes));
    }
    memory.publish_all();
    check_frames(&segment.manifest, &segment.manifest.context(), position, memory.slice(lead, lead + bytes))?;
    Ok((Arc::new(memory), lead))
}

/// The file ends before the frames do.
pub(crate) fn too_short(segment: &ManifestSegment, position: Position, bytes: usize) -> Error {
    segment.damage(position, bytes as u64, "the file is shorter than the index says".to_owned())
}

/// Copies frames to where others are.
pub(crate) fn gather(gathered: &mut Option<BlockWriter>, frames: &[u8]) -> Frames {
    let writer = match gathered {
        Some(writer) if writer.room() >= frames.len() => writer,
        _ => gathered.insert(BlockWriter::new(Block::zeroed(GATHER_BYTES.max(frames.len().next_multiple_of(PAGE))))),
    };
    let start = writer.filled();
    writer.append(frames);
    (writer.block().clone(), start)
}

fn gone(position: Position, bytes: usize) -> Error {
    Error::Damaged {
        file: "the log".to_owned(),
        position: position.0,
        file_offset: 0,
        bytes: bytes as u64,
        reason: "no segment holds this position, though it was acknowledged".to_owned(),
    }
}

/// Whether whole frames hold the records that a run speaks of. An index whose checksums are right and that
/// speaks of other records was not made by an engine; who iterates relies on it.
pub(crate) fn holds(run: &Run, slot: u32, frames: &[u8]) -> bool {
    let (mut rest, mut offset) = (frames, run.base_offset);
    let mut first = true;
    while !rest.is_empty() {
        let Some(header) = RecordsHeader::of(rest) else { return false };
        let whole = timestamp_max(header.body, header.count).is_ok();
        let in_place = match run.publication {
            None => !header.is_withheld && header.base_offset == offset,
            Some(_) => {
                header.is_withheld && first && u64::from(run.first) + u64::from(run.count) <= u64::from(header.count)
            }
        };
        if !whole || !in_place || header.slot != slot {
            return false;
        }
        offset += u64::from(header.count);
        rest = rest.get(header.total_bytes..).unwrap_or_default();
        first = false;
    }
    !first && (run.publication.is_some() || offset == run.end_offset())
}

/// What of a checked Records, Withheld or Moved frame tells which records it holds.
struct RecordsHeader<'a> {
    is_withheld: bool,
    slot: u32,
    count: u32,
    base_offset: u64,
    body: &'a [u8],
    total_bytes: usize,
}

impl<'a> RecordsHeader<'a> {
    fn of(frame: &'a [u8]) -> Option<RecordsHeader<'a>> {
        let code = *frame.get(3)?;
        let is_withheld = match code {
            Kind::RECORDS_CODE => false,
            Kind::WITHHELD_CODE | Kind::MOVED_CODE => true,
            _ => return None,
        };
        let start = Kind::header_bytes_of(code)?;
        let end = start + u32_at(frame, 4) as usize;
        Some(RecordsHeader {
            is_withheld,
            slot: u32_at(frame, 32),
            count: u32_at(frame, 36),
            base_offset: u64_at(frame, 40),
            body: frame.get(start..end)?,
            total_bytes: end.next_multiple_of(FRAME_ALIGNMENT as usize),
        })
    }
}

/// Checks the frames that a run says are there.
pub(crate) fn check_frames(
    segment: &ManifestSegment,
    context: &FrameContext,
    position: Position,
    bytes: &[u8],
) -> Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let place = position.advance(at as u64);
        match FrameHeader::decode_whole(context, place, &bytes[at..]) {
            Ok((header, _)) => at += header.total_bytes() as usize,
            Err(bad) => {
                let reason = format!("a frame that was acknowledged: {}", NoFrame::Bad(bad));
                return Err(segment.damage(place, (bytes.len() - at) as u64, reason));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_runs_share_a_block() {
        let mut gathered = None;
        let (first, at_first) = gather(&mut gathered, &[1; 200]);
        let (second, at_second) = gather(&mut gathered, &[2; 200]);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.slice(at_first, at_first + 200), [1; 200]);
        assert_eq!(second.slice(at_second, at_second + 200), [2; 200]);
    }
}
