//! Reading a partition from an offset on: from memory where the log's end is, else from the file.
//!
//! Invariants:
//! - Everything given out is durable, and what came from a file passed both checksums in this read.
//! - Cold reads run on the thread that asks; no lane waits for them.
//! - A chunk holds the memory it points into.

use super::index::Run;
use super::sealed;
use super::shared::{Partition, Segment};
use crate::error::{Error, Result};
use crate::io::{Block, File, PAGE};
use crate::lane::entries;
use crate::log::frame::{FrameHeader, Kind};
use crate::log::position::Position;
use crate::log::segment::file_name;
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::Arc;

/// How much a sequential reader reads at once.
pub(crate) const READ_AHEAD_BYTES: usize = 1 << 20;
/// How much is read at once where the next run is not next in the log.
const HOP_BYTES: usize = 64 << 10;
/// Resident runs taken over in one look at the index.
const RUNS_MAX: usize = 256;

/// Some records with consecutive offsets, in the log's bytes.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    memory: Arc<Block>,
    start: usize,
    end: usize,
    /// Offset of the first record in the memory.
    pub(crate) base_offset: u64,
    /// Records in the memory before the first wanted one.
    pub(crate) skip: u32,
    /// Records from the first wanted one on.
    pub(crate) count: u32,
    /// For references: the extra headers of the publish frame.
    pub(crate) extra_headers: Option<Arc<Vec<u8>>>,
}

impl Chunk {
    /// The frames' bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.slice(self.start, self.end)
    }
}

/// A stretch of a segment's file in memory.
struct Window {
    segment: Arc<Segment>,
    /// Keeps the descriptor open from one window to the next.
    _file: Arc<dyn File>,
    memory: Arc<Block>,
    offset: u64,
    bytes: usize,
}

/// One consumer's place in one partition.
pub(crate) struct PartitionReader {
    pub(crate) partition: Arc<Partition>,
    /// The next record to give out.
    pub(crate) offset: u64,
    /// Runs that were looked up and not read yet, front first.
    runs: VecDeque<Run>,
    window: Option<Window>,
}

impl PartitionReader {
    pub(crate) fn new(partition: Arc<Partition>, offset: u64) -> PartitionReader {
        PartitionReader { partition, offset, runs: VecDeque::new(), window: None }
    }

    /// Goes to another offset.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.offset = offset;
        self.runs.clear();
    }

    /// The next chunk, of at most `count_max` records; `None` at the durable end.
    pub(crate) fn next_chunk(&mut self, count_max: u32) -> Result<Option<Chunk>> {
        while self.runs.front().is_some_and(|run| run.end_offset() <= self.offset) {
            self.runs.pop_front();
        }
        if self.runs.is_empty() && !self.look_up()? {
            return Ok(None);
        }
        let Some(run) = self.runs.front().copied() else { return Ok(None) };
        let mut chunk = self.load(&run)?;
        chunk.skip += (self.offset - run.base_offset) as u32;
        chunk.count = (run.count - (self.offset - run.base_offset) as u32).min(count_max);
        self.offset += u64::from(chunk.count);
        Ok(Some(chunk))
    }

    /// Finds the runs from the current offset on. `false`: there is nothing yet.
    fn look_up(&mut self) -> Result<bool> {
        {
            let index = lock(&self.partition.index);
            if self.offset < index.first_offset {
                return Err(Error::Truncated {
                    topic: self.partition.topic.to_string(),
                    partition: self.partition.partition,
                    from: self.offset,
                    to: index.first_offset,
                });
            }
            if self.offset >= index.next_offset {
                return Ok(false);
            }
            if self.offset >= index.resident_offset() {
                self.runs.extend(index.runs_from(self.offset).take(RUNS_MAX));
                return Ok(true);
            }
        }
        match sealed::runs_at_offset(&self.partition.log, self.partition.slot, self.offset)? {
            Some((_, runs)) => {
                self.runs.extend(runs.into_iter().filter(|run| run.end_offset() > self.offset));
                Ok(true)
            }
            // The index moved between the two looks: a sidecar took over, or retention removed it.
            None => {
                let index = lock(&self.partition.index);
                if self.offset >= index.first_offset && self.offset < index.resident_offset() {
                    return Err(self.lost());
                }
                Ok(false)
            }
        }
    }

    fn lost(&self) -> Error {
        Error::Damaged {
            file: format!("{} partition {}", self.partition.topic, self.partition.partition),
            position: 0,
            file_offset: 0,
            bytes: 0,
            reason: format!("no segment holds offset {}, though it was acknowledged", self.offset),
        }
    }

    /// The memory of a run.
    fn load(&mut self, run: &Run) -> Result<Chunk> {
        let log = &self.partition.log;
        let position = if run.publication.is_some() { log.resolve(run.position) } else { run.position };
        let extra_headers = match run.publication {
            Some(publication) if publication.extra_bytes > 0 => {
                Some(Arc::new(self.extra_headers(publication.position, publication.extra_bytes, publication.entry)?))
            }
            _ => None,
        };
        let bytes = run.bytes as usize;
        let (memory, start) = match self.partition.log.tail.find(position, bytes) {
            Some(found) => found,
            None => self.load_cold(position, bytes)?,
        };
        Ok(Chunk {
            memory,
            start,
            end: start + bytes,
            base_offset: run.base_offset - u64::from(run.first),
            skip: run.first,
            count: run.count,
            extra_headers,
        })
    }

    fn extra_headers(&mut self, position: Position, bytes: u32, entry: u32) -> Result<Vec<u8>> {
        let bytes = bytes as usize;
        let (memory, start) = match self.partition.log.tail.find(position, bytes) {
            Some(found) => found,
            None => self.load_cold(position, bytes)?,
        };
        let body = &memory.slice(start, start + bytes)[Kind::Publish.header_bytes()..];
        let length = crate::log::frame::u32_at(memory.slice(start, start + bytes), 4) as usize;
        let entries = body.get(..length).and_then(entries::decode_publish).unwrap_or_default();
        Ok(entries.into_iter().nth(entry as usize).map(|entry| entry.extra_headers).unwrap_or_default())
    }

    /// Reads frames from the file and checks them.
    fn load_cold(&mut self, position: Position, bytes: usize) -> Result<(Arc<Block>, usize)> {
        let log = self.partition.log.clone();
        let segment = log.segment_at(position).ok_or_else(|| self.lost())?;
        let offset = position.since(segment.manifest.base);
        if let Some(window) = &self.window
            && Arc::ptr_eq(&window.segment, &segment)
            && offset >= window.offset
            && offset + bytes as u64 <= window.offset + window.bytes as u64
        {
            let start = (offset - window.offset) as usize;
            check_frames(&segment, position, window.memory.slice(start, start + bytes))?;
            return Ok((window.memory.clone(), start));
        }
        self.load_window(&segment, offset, bytes)?;
        let window = self.window.as_ref().expect("just loaded");
        let start = (offset - window.offset) as usize;
        if start + bytes > window.bytes {
            return Err(Error::Damaged {
                file: file_name(segment.manifest.file),
                position: position.0,
                file_offset: offset,
                bytes: bytes as u64,
                reason: "the file is shorter than the index says".to_owned(),
            });
        }
        check_frames(&segment, position, window.memory.slice(start, start + bytes))?;
        Ok((window.memory.clone(), start))
    }

    fn load_window(&mut self, segment: &Arc<Segment>, offset: u64, bytes: usize) -> Result<()> {
        let page = PAGE as u64;
        let start = offset - offset % page;
        let needed = ((offset - start) as usize + bytes).next_multiple_of(PAGE);
        // Going on where the last window ended, or close to it, is reading sequentially.
        let sequential = self.window.as_ref().is_some_and(|window| {
            let end = window.offset + window.bytes as u64;
            Arc::ptr_eq(&window.segment, segment) && start <= end && offset >= window.offset
        }) || self.next_run_is_near(bytes);
        let ahead = if sequential { READ_AHEAD_BYTES } else { HOP_BYTES };
        let wanted_end = segment.manifest.base.0 + offset + bytes as u64;
        let limit = segment.end().unwrap_or(self.partition.log.durable()).0.max(wanted_end);
        let room = ((limit - segment.manifest.base.0).saturating_sub(start) as usize).next_multiple_of(PAGE);
        let length = needed.max(ahead.min(room));
        let file = segment.file(&*self.partition.log.storage)?;
        // Chunks may still point into the old window's memory; if none does, it is used again.
        let mut memory = match self.window.take().and_then(|window| Arc::into_inner(window.memory)) {
            Some(block) if block.capacity() >= length => block,
            _ => Block::zeroed(length.max(READ_AHEAD_BYTES)),
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
        // Behind the limit the file may still change: what was read of it there must not be used later.
        let bytes = read.min((limit - segment.manifest.base.0 - start) as usize);
        self.window =
            Some(Window { segment: segment.clone(), _file: file, memory: Arc::new(memory), offset: start, bytes });
        Ok(())
    }

    fn next_run_is_near(&self, bytes: usize) -> bool {
        let mut runs = self.runs.iter();
        let (Some(first), Some(second)) = (runs.next(), runs.next()) else { return false };
        second.position.0.wrapping_sub(first.position.0) <= (bytes + HOP_BYTES) as u64
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
                    reason: format!("a frame that was acknowledged: {}", crate::log::scan::NoFrame::Bad(bad)),
                });
            }
        }
    }
    Ok(())
}
