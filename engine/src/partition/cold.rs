//! Reading frames from segment files.
//!
//! How much is read at once follows from what is wanted next: a sequential reader gets a megabyte, one
//! whose runs lie far apart gets the pages of its run. Sparse runs are copied together, so that a few
//! bytes do not hold a whole window in memory.
//!
//! Invariants:
//! - Frames are given out only after both checksums were right in this read.
//! - Nothing behind the durable position is kept: the file still changes there.

use super::index::Run;
use super::shared::{LogShared, Segment};
use crate::error::{Error, Result};
use crate::io::{Block, BlockWriter, File, PAGE};
use crate::log::frame::FrameHeader;
use crate::log::position::Position;
use crate::log::scan::NoFrame;
use crate::log::segment::file_name;
use std::sync::Arc;

/// The most that is read at once, if no single run is larger.
const WINDOW_BYTES: usize = 1 << 20;
/// So many runs within a window are read together, and fewer one by one.
const RUNS_TOGETHER: usize = 5;
/// A run is copied out of a window that is so many times larger.
const SPARSE_RATIO: usize = 16;
/// Blocks that sparse runs are copied into.
const GATHER_BYTES: usize = 256 << 10;

/// A stretch of a segment's file in memory.
struct Window {
    segment: Arc<Segment>,
    /// Keeps the descriptor open from one window to the next.
    _file: Arc<dyn File>,
    memory: Arc<Block>,
    offset: u64,
    bytes: usize,
}

/// See the module.
#[derive(Default)]
pub(crate) struct ColdReader {
    window: Option<Window>,
    gathered: Option<BlockWriter>,
}

impl ColdReader {
    /// The frames in `bytes` bytes at `position`, checked. `next` are the runs wanted from there on, the
    /// one at `position` first.
    pub(crate) fn read<'a>(
        &mut self,
        log: &LogShared,
        position: Position,
        bytes: usize,
        next: impl Iterator<Item = &'a Run>,
    ) -> Result<(Arc<Block>, usize)> {
        let segment = log.segment_at(position).ok_or_else(|| gone(position, bytes))?;
        let offset = position.since(segment.manifest.base);
        if !self.window.as_ref().is_some_and(|window| window.covers(&segment, offset, bytes)) {
            let ahead = read_ahead(position, bytes, next);
            self.load(log, &segment, offset, bytes, ahead)?;
        }
        let window = self.window.as_ref().expect("just loaded");
        if !window.covers(&segment, offset, bytes) {
            return Err(Error::Damaged {
                file: file_name(segment.manifest.file),
                position: position.0,
                file_offset: offset,
                bytes: bytes as u64,
                reason: "the file is shorter than the index says".to_owned(),
            });
        }
        let start = (offset - window.offset) as usize;
        let frames = window.memory.slice(start, start + bytes);
        check_frames(&segment, position, frames)?;
        if window.bytes < bytes * SPARSE_RATIO {
            return Ok((window.memory.clone(), start));
        }
        Ok(gather(&mut self.gathered, frames))
    }

    /// Reads `ahead` bytes from `offset` on, at least `bytes`.
    fn load(&mut self, log: &LogShared, segment: &Arc<Segment>, offset: u64, bytes: usize, ahead: usize) -> Result<()> {
        let base = segment.manifest.base.0;
        let start = offset - offset % PAGE as u64;
        let lead = (offset - start) as usize;
        let needed = (lead + bytes).next_multiple_of(PAGE);
        let limit = segment.end().unwrap_or(log.durable()).0.max(base + offset + bytes as u64);
        let room = (limit - base - start) as usize;
        let length = needed.max((lead + ahead).next_multiple_of(PAGE).min(room.next_multiple_of(PAGE)));
        let file = segment.file(&*log.storage)?;
        // Records that were given out may still point into the old window; if none does, it is used again.
        let mut memory = match self.window.take().and_then(|window| Arc::into_inner(window.memory)) {
            Some(block) if block.capacity() >= length => block,
            _ => Block::zeroed(length),
        };
        let target = &mut memory.as_mut_slice()[..length];
        let read = match file.read_at(target, start) {
            Ok(read) => read,
            // The read-ahead may have hit a bad sector that this record does not need.
            Err(_) => file
                .read_at(&mut target[..needed], start)
                .map_err(|error| Error::io("read", file.name(), Some(start), &error))?,
        };
        memory.publish_all();
        let bytes = read.min(room);
        self.window =
            Some(Window { segment: segment.clone(), _file: file, memory: Arc::new(memory), offset: start, bytes });
        Ok(())
    }
}

impl Window {
    fn covers(&self, segment: &Arc<Segment>, offset: u64, bytes: usize) -> bool {
        Arc::ptr_eq(&self.segment, segment)
            && offset >= self.offset
            && offset + bytes as u64 <= self.offset + self.bytes as u64
    }
}

/// How far to read from `position` on, given the runs that are wanted.
fn read_ahead<'a>(position: Position, bytes: usize, next: impl Iterator<Item = &'a Run>) -> usize {
    let limit = position.advance(WINDOW_BYTES as u64);
    let (mut runs, mut wanted, mut reach) = (0, 0, bytes);
    for run in next.take_while(|run| run.publication.is_none() && run.position >= position && run.position < limit) {
        runs += 1;
        wanted += run.bytes as usize;
        reach = (run.position.since(position) as usize + run.bytes as usize).min(WINDOW_BYTES);
    }
    let dense = wanted * SPARSE_RATIO >= reach;
    if runs >= RUNS_TOGETHER || (runs > 1 && dense) { reach.max(bytes) } else { bytes }
}

/// Copies frames to where others are.
fn gather(gathered: &mut Option<BlockWriter>, frames: &[u8]) -> (Arc<Block>, usize) {
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

/// Checks the frames that a run says are there.
fn check_frames(segment: &Segment, position: Position, bytes: &[u8]) -> Result<()> {
    let context = segment.manifest.context();
    let mut at = 0;
    while at < bytes.len() {
        let place = position.advance(at as u64);
        match FrameHeader::decode_whole(&context, place, &bytes[at..]) {
            Ok((header, _)) => at += header.total_bytes() as usize,
            Err(bad) => {
                return Err(Error::Damaged {
                    file: file_name(segment.manifest.file),
                    position: place.0,
                    file_offset: place.since(segment.manifest.base),
                    bytes: (bytes.len() - at) as u64,
                    reason: format!("a frame that was acknowledged: {}", NoFrame::Bad(bad)),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(distance: u64, bytes: u32) -> Vec<Run> {
        (0..100)
            .map(|number| Run {
                base_offset: number,
                count: 1,
                first: 0,
                position: Position(8192 + number * distance),
                bytes,
                timestamp_max_ms: 0,
                publication: None,
            })
            .collect()
    }

    #[test]
    fn a_sequential_reader_gets_a_window_and_a_hopping_one_its_run() {
        let sequential = runs(64 << 10, 64 << 10);
        assert_eq!(read_ahead(Position(8192), 64 << 10, sequential.iter()), WINDOW_BYTES);
        let far = runs(800 << 10, 176);
        assert_eq!(read_ahead(Position(8192), 176, far.iter()), 176);
        let near = runs(100 << 10, 176);
        assert_eq!(read_ahead(Position(8192), 176, near.iter()), 1_024_000 + 176, "eleven runs in one read");
        let last = runs(100 << 10, 176);
        assert_eq!(read_ahead(Position(8192), 176, last[..1].iter()), 176);
    }

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
