//! Reading a partition from an offset on: from memory where the log's end is, else from the file.
//!
//! Invariants:
//! - Everything given out is durable, and what came from a file passed both checksums in this read.
//! - Cold reads run on the thread that asks; no lane waits for them.
//! - A chunk holds the memory it points into.

use super::cold::ColdReader;
use super::index::Run;
use super::sealed;
use super::shared::Partition;
use crate::error::{Error, Result};
use crate::io::Block;
use crate::lane::entries;
use crate::log::frame::Kind;
use crate::log::position::Position;
use std::collections::VecDeque;
use std::sync::Arc;

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

/// One consumer's place in one partition.
pub(crate) struct PartitionReader {
    pub(crate) partition: Arc<Partition>,
    /// The next record to give out.
    pub(crate) offset: u64,
    /// Runs that were looked up and not read yet, front first.
    runs: VecDeque<Run>,
    cold: ColdReader,
}

impl PartitionReader {
    pub(crate) fn new(partition: Arc<Partition>, offset: u64) -> PartitionReader {
        PartitionReader { partition, offset, runs: VecDeque::new(), cold: ColdReader::default() }
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
        if run.base_offset > self.offset {
            // Runs follow each other without gaps, unless the topic was deleted just now: what was sealed
            // since has no index of it.
            return Err(self.lost());
        }
        let mut chunk = self.load(&run)?;
        chunk.skip += (self.offset - run.base_offset) as u32;
        chunk.count = (run.count - (self.offset - run.base_offset) as u32).min(count_max);
        self.offset += u64::from(chunk.count);
        Ok(Some(chunk))
    }

    /// Finds the runs from the current offset on. `false`: there is nothing yet.
    fn look_up(&mut self) -> Result<bool> {
        {
            let index = self.partition.index();
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
                let index = self.partition.index();
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
        let log = self.partition.log.clone();
        let log = &*log;
        let position = if run.publication.is_some() { log.resolve(run.position) } else { run.position };
        let extra_headers = match run.publication {
            Some(publication) if publication.extra_bytes > 0 => {
                Some(Arc::new(self.extra_headers(publication.position, publication.extra_bytes, publication.entry)?))
            }
            _ => None,
        };
        let bytes = run.bytes as usize;
        let (memory, start) = match log.tail.find(position, bytes) {
            Some(found) => found,
            None => self.cold.read(log, position, bytes, self.runs.iter())?,
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
        let log = &self.partition.log;
        let (memory, start) = match log.tail.find(position, bytes) {
            Some(found) => found,
            None => self.cold.read(log, position, bytes, std::iter::empty())?,
        };
        let body = &memory.slice(start, start + bytes)[Kind::Publish.header_bytes()..];
        let length = crate::log::frame::u32_at(memory.slice(start, start + bytes), 4) as usize;
        let entries = body.get(..length).and_then(entries::decode_publish).unwrap_or_default();
        Ok(entries.into_iter().nth(entry as usize).map(|entry| entry.extra_headers).unwrap_or_default())
    }
}
