//! Reading a partition from an offset on: from memory where the log's end is, else from the file.
//!
//! Invariants:
//! - Everything given out is durable, and what came from a file passed both checksums, once in this read.
//! - Cold reads run on the thread that asks, and ahead of it; no lane waits for them.
//! - A segment may leave while its runs are known here. What then cannot be read is looked up again; what can be
//!   read is right, for no address is ever used twice.
//! - The runs that were planned are the first ones behind the one that is being given out.
//! - A chunk holds the memory it points into.

use super::cold::{self, Frames};
use super::index::Run;
use super::read_ahead::{Planned, ReadAhead, WindowId};
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
    /// They were withheld, and published by reference.
    pub(crate) is_late: bool,
}

impl Chunk {
    /// The offset of the first wanted record.
    pub(crate) fn first_offset(&self) -> u64 {
        self.base_offset + u64::from(self.skip)
    }

    /// The frames' bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.slice(self.start, self.end)
    }

    /// The memory that it keeps, by address and bytes.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (Arc::as_ptr(&self.memory).addr(), self.memory.capacity())
    }

    /// Whether it is another part of the same run.
    pub(crate) fn is_part_with(&self, other: &Chunk) -> bool {
        // A run that grew between two reads is the same memory, and ends elsewhere.
        let place = |chunk: &Chunk| (chunk.start, chunk.end, chunk.base_offset);
        Arc::ptr_eq(&self.memory, &other.memory) && place(self) == place(other)
    }
}

/// What comes next.
pub(crate) enum Next {
    /// Records.
    Chunk(Chunk),
    /// Records that must be read first: plan, and wait for a read.
    Elsewhere,
    /// The durable end.
    End,
}

/// The frames of the first run, while its records are given out.
struct Current {
    frames: Frames,
    extra_headers: Option<Arc<Vec<u8>>>,
}

/// One consumer's place in one partition.
pub(crate) struct PartitionReader {
    pub(crate) partition: Arc<Partition>,
    /// The next record to give out.
    pub(crate) offset: u64,
    /// Runs that were looked up and not given out yet, front first.
    runs: VecDeque<Run>,
    current: Option<Current>,
    /// For which windows the next runs were planned, and how many for each.
    planned: VecDeque<(WindowId, u32)>,
    planned_count: usize,
    /// The first run is not planned and not in memory.
    waiting: bool,
    /// Looking further ahead for runs found none, or failed.
    known_end: bool,
    /// Where the last sealed segment stands whose runs were looked up.
    sealed_at: Option<Position>,
    /// Segments that had left when runs were last looked up.
    departures: u64,
    /// The last publish frame that was read for its headers.
    publish_frame: Option<(Position, Frames)>,
}

impl AsMut<PartitionReader> for PartitionReader {
    fn as_mut(&mut self) -> &mut PartitionReader {
        self
    }
}

impl PartitionReader {
    pub(crate) fn new(partition: Arc<Partition>, offset: u64) -> PartitionReader {
        PartitionReader {
            partition,
            offset,
            runs: VecDeque::new(),
            current: None,
            planned: VecDeque::new(),
            planned_count: 0,
            waiting: false,
            known_end: false,
            sealed_at: None,
            departures: 0,
            publish_frame: None,
        }
    }

    /// Goes to another offset. What was read ahead is wanted no more.
    pub(crate) fn seek(&mut self, offset: u64, ahead: &mut ReadAhead) {
        for (window, count) in self.planned.drain(..) {
            ahead.release(window, count, false);
        }
        *self = PartitionReader::new(self.partition.clone(), offset);
    }

    /// The next chunk, of at most `count_max` records.
    pub(crate) fn next(&mut self, count_max: u32, ahead: &mut ReadAhead) -> Result<Next> {
        loop {
            match self.find_next(count_max, ahead) {
                Err(_) if self.must_look_again() => self.forget_runs(ahead),
                found => return found.map_err(|error| self.unless_truncated(error)),
            }
        }
    }

    /// Whether a segment has left since runs were looked up: it may have been theirs.
    fn must_look_again(&self) -> bool {
        self.partition.departures() != self.departures
    }

    /// Forgets what was looked up and read ahead.
    fn forget_runs(&mut self, ahead: &mut ReadAhead) {
        self.seek(self.offset, ahead);
        self.departures = self.partition.departures();
    }

    /// Records that were given up while they were looked for were not lost.
    fn unless_truncated(&self, error: Error) -> Error {
        let first_offset = self.partition.index().first_offset;
        if self.offset < first_offset { self.truncated(self.offset, first_offset) } else { error }
    }

    fn find_next(&mut self, count_max: u32, ahead: &mut ReadAhead) -> Result<Next> {
        self.known_end = false;
        self.pass_over(ahead);
        if self.runs.is_empty() && !self.look_up(self.offset)? {
            return Ok(Next::End);
        }
        let Some(run) = self.runs.front().copied() else { return Ok(Next::End) };
        if run.base_offset > self.offset {
            // Runs follow each other without gaps, unless the topic was deleted just now: what was sealed
            // since has no index of it.
            return Err(self.lost());
        }
        if self.current.is_none() {
            let Some(frames) = self.find(&run, ahead)? else { return Ok(Next::Elsewhere) };
            self.begin(&run, frames)?;
            self.take_planned(ahead, true);
        }
        let Some(current) = &self.current else { return Ok(Next::Elsewhere) };
        let given = (self.offset - run.base_offset) as u32;
        let count = (run.count - given).min(count_max);
        self.offset += u64::from(count);
        let (memory, start) = current.frames.clone();
        Ok(Next::Chunk(Chunk {
            memory,
            start,
            end: start + run.bytes as usize,
            base_offset: run.base_offset - u64::from(run.first),
            skip: run.first + given,
            count,
            extra_headers: current.extra_headers.clone(),
            is_late: run.publication.is_some(),
        }))
    }

    /// The same, and waits for reads; `None` at the durable end.
    pub(crate) fn next_chunk(&mut self, count_max: u32, ahead: &mut ReadAhead) -> Result<Option<Chunk>> {
        loop {
            match self.next(count_max, ahead)? {
                Next::Chunk(chunk) => return Ok(Some(chunk)),
                Next::End => return Ok(None),
                Next::Elsewhere => {
                    ahead.plan(std::slice::from_mut(self));
                    // What was read ahead for other partitions may leave no room, and nobody here makes some.
                    match ahead.is_idle() || self.waits_unplanned() {
                        true => self.read_alone(ahead)?,
                        false => ahead.collect(true),
                    }
                }
            }
        }
    }

    /// Forgets runs that were given out.
    fn pass_over(&mut self, ahead: &mut ReadAhead) {
        while self.runs.front().is_some_and(|run| run.end_offset() <= self.offset) {
            self.runs.pop_front();
            if self.current.take().is_none() {
                self.take_planned(ahead, false);
            }
        }
    }

    /// The first planned run is wanted no more.
    fn take_planned(&mut self, ahead: &mut ReadAhead, used: bool) {
        if let Some((window, count)) = self.planned.front_mut() {
            ahead.release(*window, 1, used);
            self.planned_count -= 1;
            *count -= 1;
            if *count == 0 {
                self.planned.pop_front();
            }
        }
    }

    /// Finds the runs from `offset` on. `false`: there is nothing yet.
    fn look_up(&mut self, offset: u64) -> Result<bool> {
        if self.runs.is_empty() {
            self.departures = self.partition.departures();
        }
        {
            let index = self.partition.index();
            if offset < index.first_offset {
                return Err(self.truncated(offset, index.first_offset));
            }
            if offset >= index.next_offset {
                return Ok(false);
            }
            if offset >= index.resident_offset() {
                self.runs.extend(index.runs_from(offset).take(RUNS_MAX));
                return Ok(true);
            }
        }
        match sealed::runs_at_offset(&self.partition, offset, self.sealed_at)? {
            Some((segment, runs)) => {
                self.sealed_at = Some(segment.manifest.from());
                self.runs.extend(runs.into_iter().filter(|run| run.end_offset() > offset));
                Ok(true)
            }
            // The index moved between the two looks: a sidecar took over, or retention removed it.
            None => {
                let index = self.partition.index();
                if offset >= index.first_offset && offset < index.resident_offset() {
                    return Err(self.lost());
                }
                Ok(false)
            }
        }
    }

    fn truncated(&self, from: u64, to: u64) -> Error {
        Error::Truncated { topic: self.partition.topic.to_string(), partition: self.partition.partition, from, to }
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

    /// Where the frames of a run stand.
    fn place(&self, run: &Run) -> Result<Position> {
        match run.publication {
            Some(_) => self.partition.resolve(run.position),
            None => Ok(run.position),
        }
    }

    /// The frames of the first run, if they are in memory.
    fn find(&mut self, run: &Run, ahead: &mut ReadAhead) -> Result<Option<Frames>> {
        let (place, bytes) = (self.place(run)?, run.bytes as usize);
        let Some(&(window, _)) = self.planned.front() else {
            let found = self.partition.log.tail.find(place, bytes);
            self.waiting = found.is_none();
            return Ok(found);
        };
        match ahead.frames(window, place, bytes)? {
            Planned::Reading => Ok(None),
            Planned::Ready(frames) => self.fit(run, frames).map(Some),
            Planned::Failed => self.fit(run, cold::read_alone(self.partition.log_at(place), place, bytes)?).map(Some),
        }
    }

    /// Reads the first run, which could not be planned, by a blocking call: that tells why.
    pub(crate) fn read_alone(&mut self, ahead: &mut ReadAhead) -> Result<()> {
        let Some(run) = self.runs.front().copied() else { return Ok(()) };
        let read = self.place(&run).and_then(|place| {
            let frames = cold::read_alone(self.partition.log_at(place), place, run.bytes as usize)?;
            let frames = self.fit(&run, frames)?;
            self.begin(&run, frames)
        });
        match read {
            Err(_) if self.must_look_again() => {
                self.forget_runs(ahead);
                Ok(())
            }
            read => read.map_err(|error| self.unless_truncated(error)),
        }
    }

    /// Frames from a file, if they hold the records of the run.
    fn fit(&self, run: &Run, frames: Frames) -> Result<Frames> {
        let (memory, start) = &frames;
        if cold::holds(run, self.partition.slot, memory.slice(*start, start + run.bytes as usize)) {
            return Ok(frames);
        }
        Err(Error::Damaged {
            file: format!("{} partition {}", self.partition.topic, self.partition.partition),
            position: run.position.0,
            file_offset: 0,
            bytes: u64::from(run.bytes),
            reason: format!("the index says that offset {} stands there, and other records do", run.base_offset),
        })
    }

    /// From here on the first run's records are given out.
    fn begin(&mut self, run: &Run, frames: Frames) -> Result<()> {
        let extra_headers = match run.publication {
            Some(publication) if publication.extra_bytes > 0 => {
                Some(Arc::new(self.extra_headers(publication.position, publication.extra_bytes, publication.entry)?))
            }
            _ => None,
        };
        self.waiting = false;
        self.current = Some(Current { frames, extra_headers });
        Ok(())
    }

    fn extra_headers(&mut self, position: Position, bytes: u32, entry: u32) -> Result<Vec<u8>> {
        let bytes = bytes as usize;
        let log = self.partition.log_at(position);
        let (memory, start) = match (&self.publish_frame, log.tail.find(position, bytes)) {
            (_, Some(found)) => found,
            (Some((at, frames)), None) if *at == position => frames.clone(),
            (_, None) => cold::read_alone(log, position, bytes)?,
        };
        self.publish_frame = Some((position, (memory.clone(), start)));
        let frame = memory.slice(start, start + bytes);
        let body = frame.get(Kind::Publish.header_bytes()..).unwrap_or_default();
        let length = crate::log::frame::u32_at(frame, 4) as usize;
        let (entries, _) = body.get(..length).and_then(entries::decode_publish).unwrap_or_default();
        Ok(entries.into_iter().nth(entry as usize).map(|entry| entry.extra_headers).unwrap_or_default())
    }

    // ----- what planning asks -----

    fn first_unplanned(&self) -> usize {
        usize::from(self.current.is_some()) + self.planned_count
    }

    /// Whether it waits for a read that nobody has planned yet.
    pub(crate) fn waits_unplanned(&self) -> bool {
        self.waiting && self.planned_count == 0
    }

    /// Where the first run stands that is not planned and must be read.
    pub(crate) fn next_unplanned(&mut self) -> Option<Position> {
        let at = self.first_unplanned();
        // Somebody who reads from memory needs no look ahead.
        if at == self.runs.len() && (self.planned_count > 0 || self.sealed_at.is_some()) && !self.known_end {
            let offset = self.runs.back().map_or(self.offset, Run::end_offset);
            // An error comes again when its records are next.
            self.known_end = !self.look_up(offset).unwrap_or(false);
        }
        // What cannot be resolved is planned by nobody; reading it says why.
        let place = self.place(self.runs.get(at)?).ok()?;
        (self.waits_unplanned() || !self.partition.log.tail.holds(place)).then_some(place)
    }

    /// Names the runs from the first unplanned one on that lie between `low` and `limit`, in rising order.
    pub(crate) fn unplanned_within(&self, low: Position, limit: Position, mut name: impl FnMut(Position, Position)) {
        let mut behind = low;
        for run in self.runs.range(self.first_unplanned().min(self.runs.len())..) {
            let Ok(start) = self.place(run) else { return };
            let end = start.advance(u64::from(run.bytes));
            // One that begins it may be as long as it is.
            if start < behind || (end > limit && start != low) || start >= limit {
                return;
            }
            name(start, end);
            behind = end;
        }
    }

    /// The first unplanned run is planned for this window.
    pub(crate) fn planned(&mut self, window: WindowId) {
        self.planned_count += 1;
        self.waiting = false;
        match self.planned.back_mut() {
            Some((last, count)) if *last == window => *count += 1,
            _ => self.planned.push_back((window, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The simulator found it: the tail of a run was read twice in one poll, and the run grew in between. Whoever went on
    /// in the memory of the first read ran past its end.
    #[test]
    fn a_run_that_grew_is_not_the_same_part() {
        let memory = Arc::new(Block::zeroed(4096));
        let chunk = |end, skip, count| Chunk {
            memory: memory.clone(),
            start: 64,
            end,
            base_offset: 7,
            skip,
            count,
            extra_headers: None,
            is_late: false,
        };
        let (first, wanted_later, grown) = (chunk(256, 0, 2), chunk(256, 3, 1), chunk(512, 2, 5));
        assert!(first.is_part_with(&wanted_later));
        assert!(!first.is_part_with(&grown));
    }
}
