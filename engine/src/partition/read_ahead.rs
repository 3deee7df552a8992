//! Reading ahead in segment files, with several reads in flight, for all partitions of one consumer.
//!
//! The readers know which runs they want next. A **stretch** of the log is planned at a time, from the
//! lowest position that a reader wants and that is not planned yet: the runs in it that lie close together
//! are read by one read, with what lies between them; runs that lie far apart are read page by page. What
//! is read together is a **window**, and it serves all readers that want something of it.
//!
//! Invariants:
//! - The planned runs of a reader are the first of its runs, and each of them counts once in the window it
//!   is planned for. A window is given up when nothing that is wanted of it is left.
//! - Windows hold at most `bytes_max` bytes, or a single window if one alone is larger.
//! - How much is read ahead begins small and doubles with each window that was used; it falls back when
//!   a reader goes elsewhere, so that looking at single records does not read megabytes.
//! - Only runs are given out, and runs are durable: what the file holds behind them may still change.
//! - A read that failed fails nobody: who needs its bytes reads them again, alone, and that read tells.
//! - The first reader in the log goes first, but every few stretches one that is far ahead gets its turn.

use super::cold::{self, Frames};
use super::reader::PartitionReader;
use super::shared::{LogShared, Segment};
use crate::error::Result;
use crate::io::{Block, BlockWriter, File, PAGE, Read, ReadDone, ReadRing};
use crate::log::frame::FrameContext;
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most that one read fetches, unless a single run is larger.
const STRETCH_BYTES_MAX: usize = 512 << 10;
/// The first stretch of a reader.
const STRETCH_BYTES_FIRST: usize = 64 << 10;
/// Windows at once in the beginning, and at most.
const WINDOWS_FIRST: usize = 2;
const WINDOWS_MAX: usize = 64;
/// Runs with less than this between them are read together: reading through it takes the device as long
/// as another read of a page.
const GAP_BYTES: usize = 24 << 10;
/// With so many runs in a stretch it is read as a whole, without looking at the gaps.
const RUNS_WHOLE: usize = 64;
/// A run is copied out of a window that is so many times larger than all that is wanted of it.
const SPARSE_RATIO: usize = 16;
/// Every so many stretches a reader that is so far ahead of the first gets its turn.
const FAR_TURN: usize = 4;
const FAR_BYTES: u64 = 64 << 20;

/// What cold reads of one log did.
#[derive(Default)]
pub(crate) struct ColdCounters {
    pub(crate) reads: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// How often a consumer waited for the device.
    pub(crate) waits: AtomicU64,
    /// Windows that were given up before all that was wanted of them was used.
    pub(crate) abandoned: AtomicU64,
    /// Bytes in windows now.
    pub(crate) held_bytes: AtomicU64,
}

/// Names a window. It is given to another one only when the window is gone and its read answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowId(u32);

/// Some bytes of a segment's file.
struct Window {
    log: Arc<LogShared>,
    segment: ManifestSegment,
    context: FrameContext,
    offset: u64,
    length: usize,
    /// Runs that are still wanted; at zero it ends.
    wanted: u32,
    /// So little of it is wanted that runs are copied out.
    sparse: bool,
    state: State,
}

enum State {
    /// The segment is held so that its file is not used again below the read.
    Reading {
        _segment: Arc<Segment>,
    },
    /// The block, and how many of its bytes are the file's.
    Ready(Arc<Block>, usize),
    Failed,
}

/// What is to be had of a planned run.
pub(crate) enum Planned {
    /// The read is not done.
    Reading,
    /// The frames, checked.
    Ready(Frames),
    /// It must be read again.
    Failed,
}

/// A run that the stretch being planned contains.
struct Wanted {
    start: Position,
    end: Position,
    reader: usize,
}

/// See the module.
pub(crate) struct ReadAhead {
    bytes_max: usize,
    ring: Option<Box<dyn ReadRing>>,
    windows: Vec<Option<Window>>,
    free: Vec<u32>,
    held_bytes: usize,
    /// Windows and bytes of a stretch that are planned now.
    windows_ahead: usize,
    stretch_bytes: usize,
    stretches: usize,
    /// Blocks that were used; some are still held by records.
    spare: Vec<Arc<Block>>,
    gathered: Option<BlockWriter>,
    wanted: Vec<Wanted>,
    done: Vec<ReadDone>,
    /// Keeps the descriptor open from one window to the next.
    file: Option<Arc<dyn File>>,
}

impl ReadAhead {
    /// Holds up to `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> ReadAhead {
        ReadAhead {
            bytes_max,
            ring: None,
            windows: Vec::new(),
            free: Vec::new(),
            held_bytes: 0,
            windows_ahead: WINDOWS_FIRST,
            stretch_bytes: STRETCH_BYTES_FIRST,
            stretches: 0,
            spare: Vec::new(),
            gathered: None,
            wanted: Vec::new(),
            done: Vec::new(),
            file: None,
        }
    }

    /// Whether any read is under way or done and wanted.
    pub(crate) fn is_idle(&self) -> bool {
        self.windows.len() == self.free.len()
    }

    fn window(&mut self, id: WindowId) -> &mut Window {
        self.windows[id.0 as usize].as_mut().expect("a window that is wanted is there")
    }

    // ----- giving out -----

    /// The frames of a run that was planned for this window.
    pub(crate) fn frames(&mut self, id: WindowId, position: Position, bytes: usize) -> Result<Planned> {
        let gathered = &mut self.gathered;
        let window = self.windows[id.0 as usize].as_ref().expect("a window that is wanted is there");
        let (block, read_bytes) = match &window.state {
            State::Reading { .. } => return Ok(Planned::Reading),
            State::Failed => return Ok(Planned::Failed),
            State::Ready(block, read_bytes) => (block, *read_bytes),
        };
        // Not where it was planned: it was moved in between.
        let first = window.segment.base.advance(window.offset);
        if position < first || position.since(first) as usize + bytes > window.length {
            return Ok(Planned::Failed);
        }
        let start = position.since(first) as usize;
        if start + bytes > read_bytes {
            return Err(cold::too_short(&window.segment, position, bytes));
        }
        let frames = block.slice(start, start + bytes);
        cold::check_frames(&window.segment, &window.context, position, frames)?;
        Ok(Planned::Ready(match window.sparse {
            true => cold::gather(gathered, frames),
            false => (block.clone(), start),
        }))
    }

    /// `count` runs of a window are wanted no more. `used`: they were given out.
    pub(crate) fn release(&mut self, id: WindowId, count: u32, used: bool) {
        let window = self.window(id);
        window.wanted -= count;
        if !used {
            window.log.cold.abandoned.fetch_add(u64::from(count), Ordering::Relaxed);
        }
        if window.wanted > 0 {
            return;
        }
        if used {
            self.windows_ahead = (self.windows_ahead * 2).min(WINDOWS_MAX);
            self.stretch_bytes = (self.stretch_bytes * 2).min(STRETCH_BYTES_MAX);
        } else {
            (self.windows_ahead, self.stretch_bytes) = (WINDOWS_FIRST, STRETCH_BYTES_FIRST);
        }
        // A read that is under way ends first; its block is the kernel's until then.
        if !matches!(self.window(id).state, State::Reading { .. }) {
            self.end(id);
        }
    }

    fn end(&mut self, id: WindowId) {
        let window = self.windows[id.0 as usize].take().expect("it ends once");
        self.free.push(id.0);
        self.count_held(&window, false);
        if let State::Ready(block, _) = window.state {
            self.keep(block);
        }
    }

    fn count_held(&mut self, window: &Window, more: bool) {
        let counter = &window.log.cold.held_bytes;
        if more {
            self.held_bytes += window.length;
            counter.fetch_add(window.length as u64, Ordering::Relaxed);
        } else {
            self.held_bytes -= window.length;
            counter.fetch_sub(window.length as u64, Ordering::Relaxed);
        }
    }

    // ----- blocks -----

    /// Keeps a block to be used again, if there are not enough of them.
    fn keep(&mut self, block: Arc<Block>) {
        let kept: usize = self.spare.iter().map(|block| block.capacity()).sum();
        if self.spare.len() < WINDOWS_MAX && kept + block.capacity() <= self.bytes_max {
            self.spare.push(block);
        }
    }

    /// A block nobody else holds.
    fn block(&mut self, length: usize) -> Block {
        let fits =
            |block: &Arc<Block>| (length..=2 * length).contains(&block.capacity()) && Arc::strong_count(block) == 1;
        match self.spare.iter().position(fits).and_then(|at| Arc::into_inner(self.spare.swap_remove(at))) {
            Some(block) => block,
            None => Block::zeroed(length),
        }
    }

    // ----- reading -----

    /// Takes what is done; with `wait`, at least one read if any is under way.
    pub(crate) fn collect(&mut self, wait: bool) {
        let Some(ring) = &mut self.ring else { return };
        let mut done = std::mem::take(&mut self.done);
        if wait && let Some(window) = self.windows.iter().flatten().next() {
            window.log.cold.waits.fetch_add(1, Ordering::Relaxed);
        }
        let broken = ring.collect(wait, &mut done).is_err();
        for read in done.drain(..) {
            self.arrived(read);
        }
        self.done = done;
        if broken {
            self.give_up_ring();
        }
    }

    fn arrived(&mut self, read: ReadDone) {
        let id = WindowId(read.token as u32);
        let window = self.window(id);
        window.state = match read.result {
            Ok(bytes) => {
                window.log.cold.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                let mut block = read.block;
                block.publish_all();
                State::Ready(Arc::new(block), bytes)
            }
            Err(_) => State::Failed,
        };
        if window.wanted == 0 {
            self.end(id);
        }
    }

    /// The ring does not work any more: what it was to read is read again, by blocking calls.
    fn give_up_ring(&mut self) {
        // Dropping it waits for the kernel, or leaks what the kernel may still write into.
        self.ring = None;
        for at in 0..self.windows.len() {
            let Some(window) = &mut self.windows[at] else { continue };
            if matches!(window.state, State::Reading { .. }) {
                window.state = State::Failed;
                if window.wanted == 0 {
                    self.end(WindowId(at as u32));
                }
            }
        }
    }

    // ----- planning -----

    /// Starts reads for what the readers want next, as far as there is room.
    pub(crate) fn plan<R: AsMut<PartitionReader>>(&mut self, readers: &mut [R]) {
        while self.has_room() {
            let Some((log, low)) = self.lead(readers) else { break };
            if !self.plan_stretch(&log, low, readers) {
                break;
            }
        }
        self.collect(false);
    }

    fn has_room(&self) -> bool {
        let windows = self.windows.len() - self.free.len();
        let depth = self.ring.as_ref().map_or(WINDOWS_MAX, |ring| 2 * ring.depth() - 1);
        windows < self.windows_ahead.min(depth) && (windows == 0 || self.held_bytes + self.stretch() <= self.bytes_max)
    }

    /// Bytes of the next stretch: several must fit, so that one is read while another one is used.
    fn stretch(&self) -> usize {
        self.stretch_bytes.min((self.bytes_max / 4).max(PAGE))
    }

    /// Where the next stretch begins, and in which log.
    fn lead<R: AsMut<PartitionReader>>(&mut self, readers: &mut [R]) -> Option<(Arc<LogShared>, Position)> {
        let far_turn = self.stretches % FAR_TURN == FAR_TURN - 1;
        let mut lowest: Option<(usize, Position)> = None;
        let mut farthest: Option<(usize, Position)> = None;
        for (at, reader) in readers.iter_mut().enumerate() {
            let Some(place) = reader.as_mut().next_unplanned() else { continue };
            if lowest.is_none_or(|(_, low)| place < low) {
                lowest = Some((at, place));
            }
            // Only who has nothing at all goes before its turn.
            if far_turn && reader.as_mut().waits_unplanned() && farthest.is_none_or(|(_, far)| place > far) {
                farthest = Some((at, place));
            }
        }
        self.stretches += 1;
        let (mut at, mut low) = lowest?;
        if let Some((other, far)) = farthest
            && far.0 - low.0 > FAR_BYTES
        {
            (at, low) = (other, far);
        }
        Some((readers[at].as_mut().partition.log_at(low).clone(), low))
    }

    /// Plans the runs that begin at `low` and behind. `false`: they cannot be planned.
    fn plan_stretch<R: AsMut<PartitionReader>>(
        &mut self,
        log: &Arc<LogShared>,
        low: Position,
        readers: &mut [R],
    ) -> bool {
        let Some(segment) = log.segment_at(low) else { return false };
        let Ok(file) = segment.file(&*log.storage) else { return false };
        self.file = Some(file.clone());
        if self.ring.is_none() {
            self.ring = Some(log.storage.read_ring());
        }
        let limit = low.advance(self.stretch() as u64).min(segment.manifest.limit());
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.clear();
        for (at, reader) in readers.iter_mut().enumerate() {
            let reader = reader.as_mut();
            if reader.partition.log_at(low).id == log.id {
                reader.unplanned_within(low, limit, |start, end| wanted.push(Wanted { start, end, reader: at }));
            }
        }
        // Each reader's runs stay in their order, and what there is no room for is the last of them.
        let mut from = 0;
        if wanted.len() >= RUNS_WHOLE {
            from = self.start(log, &segment, &file, &wanted, readers);
        } else {
            wanted.sort_by_key(|run| run.start);
            while from < wanted.len() {
                let mut to = from + 1;
                let mut end = wanted[from].end;
                while to < wanted.len() && wanted[to].start.0 < end.0 + GAP_BYTES as u64 {
                    end = end.max(wanted[to].end);
                    to += 1;
                }
                let started = self.start(log, &segment, &file, &wanted[from..to], readers);
                if started == 0 {
                    break;
                }
                from += started;
            }
        }
        let planned = from > 0;
        self.wanted = wanted;
        planned
    }

    /// Starts the read of one window, for these runs; says for how many: none, if there is no room.
    fn start<R: AsMut<PartitionReader>>(
        &mut self,
        log: &Arc<LogShared>,
        segment: &Arc<Segment>,
        file: &Arc<dyn File>,
        runs: &[Wanted],
        readers: &mut [R],
    ) -> usize {
        let base = segment.manifest.base;
        let (mut low, mut high, mut bytes) = (runs[0].start, runs[0].end, 0);
        for run in runs {
            (low, high) = (low.min(run.start), high.max(run.end));
            bytes += run.end.since(run.start) as usize;
        }
        let offset = low.since(base) - low.since(base) % PAGE as u64;
        let length = (high.since(base) - offset).next_multiple_of(PAGE as u64) as usize;
        if !self.is_idle() && self.held_bytes + length > self.bytes_max {
            return 0;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.windows.push(None);
            self.windows.len() as u32 - 1
        });
        let window = Window {
            log: log.clone(),
            segment: segment.manifest,
            context: segment.manifest.context(),
            offset,
            length,
            wanted: runs.len() as u32,
            sparse: bytes * SPARSE_RATIO < length,
            state: State::Reading { _segment: segment.clone() },
        };
        self.count_held(&window, true);
        self.windows[id as usize] = Some(window);
        for run in runs {
            readers[run.reader].as_mut().planned(WindowId(id));
        }
        log.cold.reads.fetch_add(1, Ordering::Relaxed);
        let block = self.block(length);
        let read = Read { token: u64::from(id), file: file.clone(), offset, block, length };
        self.ring.as_mut().expect("made before").start(read);
        runs.len()
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        for window in self.windows.iter().flatten() {
            window.log.cold.held_bytes.fetch_sub(window.length as u64, Ordering::Relaxed);
        }
    }
}
