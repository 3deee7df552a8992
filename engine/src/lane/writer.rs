//! The end of a log: frames go into memory here, leave as writes, and become the durable prefix.
//!
//! ```text
//!   durable        submitted        tail
//! ----|----------------|--------------|
//!     | in flight      | gathering    |
//! ```
//!
//! Invariants:
//! - `durable <= submitted <= tail`. `durable` is contiguous: everything below is on the device.
//! - Writes are whole pages of one block and never overlap in flight: the page that is still being
//!   filled is written only when nothing is in flight, from a copy, and nothing follows it until it is done.
//! - No write reaches further than W beyond `durable`.
//! - Blocks overlap by the page in which one ends and the next begins; a frame lies within one block.
//! - Where pages are padded (a device that may destroy what it rewrites when the power goes), no page is
//!   written a second time: a write ends at a page's end, and the End frame has a page to itself.

use super::checkpoint::Part;
use super::supply::Prepared;
use crate::canary::{self, Canary};
use crate::io::{Block, BlockPool, BlockWriter, File, PAGE, Write};
use crate::log::frame::{END_FRAME_BYTES, FrameContext, FrameHeader, Kind, frame_bytes};
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use std::collections::VecDeque;
use std::sync::Arc;

/// Size of a block, and of the largest write.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
/// Another write is started while one is in flight only when so much waits.
const FULL_BYTES: u64 = 64 << 10;
/// Durable writes in flight.
const DEPTH: usize = 4;
/// Writes in flight that are not durable one by one.
const STREAMING_DEPTH: usize = 8;
/// A flush follows after so many streamed bytes.
const STREAMING_FLUSH_BYTES: u64 = 16 << 20;
/// A streamed write has at least so many bytes, while others are in flight.
const STREAMING_WRITE_BYTES: u64 = 512 << 10;

/// The segment that is being written.
pub(crate) struct OpenSegment {
    manifest: ManifestSegment,
    file: Arc<dyn File>,
    context: FrameContext,
    /// Its blocks were not written before: stream, do not flush each write.
    streaming: bool,
    reserved: bool,
}

impl OpenSegment {
    pub(crate) fn manifest(&self) -> &ManifestSegment {
        &self.manifest
    }

    /// Whether it came out of the reserve.
    pub(crate) fn is_reserved(&self) -> bool {
        self.reserved
    }

    fn new(prepared: Prepared) -> OpenSegment {
        OpenSegment {
            context: prepared.manifest.context(),
            streaming: !prepared.is_written(),
            reserved: prepared.reserved,
            manifest: prepared.manifest,
            file: prepared.file,
        }
    }
}

/// A block that is not wholly submitted.
struct Span {
    segment: Arc<OpenSegment>,
    base: Position,
    block: Arc<Block>,
    /// Set when the next block was begun: where this one's pages end, and where the log goes on.
    end: Option<(Position, Position)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flight {
    Flying,
    /// The kernel has it; a flush will make it durable.
    Written,
    Durable,
}

struct InFlight {
    token: u64,
    end: Position,
    bytes: u64,
    partial: bool,
    durable: bool,
    state: Flight,
    segment: Arc<OpenSegment>,
}

/// A flush to be started: the token it gets, and the file.
pub(crate) struct Flush {
    pub(crate) token: u64,
    pub(crate) file: Arc<dyn File>,
}

/// Where a frame was put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) position: Position,
    pub(crate) bytes: u32,
    pub(crate) end: Position,
    /// The frame is the first in its block, so it cannot be read together with the one before.
    pub(crate) starts_block: bool,
}

/// See the module.
pub(crate) struct LogWriter {
    pool: Arc<BlockPool>,
    window_bytes: u64,
    pads_pages: bool,
    segment: Arc<OpenSegment>,
    writer: BlockWriter,
    writer_base: Position,
    fresh_block: bool,
    previous_checksum: u32,
    tail: Position,
    submitted: Position,
    durable: Position,
    spans: VecDeque<Span>,
    in_flight: VecDeque<InFlight>,
    next_token: u64,
    /// The flush in flight and the last write it covers.
    flushing: Option<(u64, u64)>,
}

impl LogWriter {
    /// Begins a generation in a fresh segment. `pads_pages`: no page is written twice.
    pub(crate) fn new(prepared: Prepared, pool: Arc<BlockPool>, window_bytes: u64, pads_pages: bool) -> LogWriter {
        let segment = Arc::new(OpenSegment::new(prepared));
        let start = segment.manifest.first_frame();
        let writer = BlockWriter::new(pool.take(BLOCK_BYTES));
        let span = Span { segment: segment.clone(), base: start, block: writer.block().clone(), end: None };
        LogWriter {
            pool,
            window_bytes,
            pads_pages,
            segment,
            writer,
            writer_base: start,
            fresh_block: true,
            previous_checksum: 0,
            tail: start,
            submitted: start,
            durable: start,
            spans: VecDeque::from([span]),
            in_flight: VecDeque::new(),
            next_token: 1,
            flushing: None,
        }
    }

    pub(crate) fn segment(&self) -> &OpenSegment {
        &self.segment
    }

    pub(crate) fn tail(&self) -> Position {
        self.tail
    }

    /// The checksum of the last frame.
    pub(crate) fn last_checksum(&self) -> u32 {
        self.previous_checksum
    }

    pub(crate) fn durable(&self) -> Position {
        self.durable
    }

    /// Bytes that are encoded and not yet submitted.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.tail.since(self.submitted)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.segment.streaming
    }

    /// Whether everything encoded is durable.
    pub(crate) fn is_clean(&self) -> bool {
        self.durable == self.tail
    }

    /// Bytes that still fit into the segment.
    pub(crate) fn room(&self) -> u64 {
        // What is padded may run over into one page more, and leaves one to the End frame.
        let kept = if self.pads_pages { 2 * PAGE as u64 } else { END_FRAME_BYTES };
        self.segment.manifest.limit().since(self.tail).saturating_sub(kept)
    }

    /// Puts a frame at the end of the log. The caller made sure that it fits into the segment.
    pub(crate) fn append(
        &mut self,
        kind: Kind,
        body_bytes: usize,
        body_checksum: u32,
        body: impl FnOnce(&mut [u8]),
    ) -> Placed {
        let total = frame_bytes(kind, body_bytes);
        let left = self.segment.manifest.limit().since(self.tail);
        let room = match kind {
            Kind::End => left,
            Kind::Pad => left.saturating_sub(PAGE as u64),
            _ => self.room(),
        };
        assert!(total <= room, "the lane asked for room first");
        if (self.writer.room() as u64) < total {
            self.begin_block(total as usize);
        }
        let header = FrameHeader {
            kind,
            position: self.tail,
            durable: self.durable,
            body_bytes: body_bytes as u32,
            previous_checksum: self.previous_checksum,
            body_checksum,
            header_checksum: 0,
        };
        let context = &self.segment.context;
        let mut checksum = 0;
        self.writer.fill(total as usize, |target| {
            checksum = header.encode(context, target);
            let start = kind.header_bytes();
            body(&mut target[start..start + body_bytes]);
            target[start + body_bytes..].fill(0);
        });
        self.previous_checksum = checksum;
        let placed = Placed {
            position: self.tail,
            bytes: total as u32,
            end: self.tail.advance(total),
            starts_block: std::mem::take(&mut self.fresh_block),
        };
        self.tail = placed.end;
        placed
    }

    /// Puts a frame with a body that is not records at the end of the log.
    pub(crate) fn append_body(&mut self, kind: Kind, body: &[u8]) -> Placed {
        self.append(kind, body.len(), crc32c::crc32c(body), |target| target.copy_from_slice(body))
    }

    /// Appends a part of a checkpoint.
    pub(crate) fn append_part(&mut self, part: &Part<'_>) -> Placed {
        self.append(Kind::Checkpoint, part.len(), part.checksum(), |target| part.copy_to(target))
    }

    /// The next frame does not fit: goes on in a new block, which begins with the unfinished page.
    fn begin_block(&mut self, frame: usize) {
        let page_start = page_floor(self.tail);
        let carried = self.tail.since(page_start) as usize;
        let mut next = BlockWriter::new(self.pool.take((carried + frame).max(BLOCK_BYTES)));
        let from = page_start.since(self.writer_base) as usize;
        next.append(self.writer.block().slice(from, from + carried));
        self.spans.back_mut().expect("the current block").end = Some((page_start, page_start));
        self.install(next, page_start);
    }

    fn install(&mut self, writer: BlockWriter, base: Position) {
        self.spans.push_back(Span { segment: self.segment.clone(), base, block: writer.block().clone(), end: None });
        self.writer = writer;
        self.writer_base = base;
        self.fresh_block = true;
    }

    /// The block that frames go into now, and its base; for the tail cache.
    pub(crate) fn current_block(&self) -> (Position, &Arc<Block>) {
        (self.writer_base, self.writer.block())
    }

    /// Closes the segment with an End frame and goes on in the next one. Returns the end of the old one.
    pub(crate) fn roll(&mut self, prepared: Prepared) -> Position {
        let next = Arc::new(OpenSegment::new(prepared));
        self.append_body(Kind::End, &next.manifest.base.0.to_le_bytes());
        let end = self.tail;
        let padding = (page_ceiling(end).since(end)) as usize;
        if padding > 0 {
            // The block's capacity is whole pages and its base a page's start, so the rest of the page fits.
            self.writer.fill(padding, |target| target.fill(0));
        }
        let start = next.manifest.first_frame();
        self.spans.back_mut().expect("the current block").end = Some((page_ceiling(end), start));
        self.segment = next;
        self.tail = start;
        let writer = BlockWriter::new(self.pool.take(BLOCK_BYTES));
        self.install(writer, start);
        end
    }

    /// Fills the current page with a Pad frame, so that it is never written twice.
    fn pad_page(&mut self) {
        let header = Kind::Pad.header_bytes() as u64;
        let rest = page_ceiling(self.tail).since(self.tail);
        if rest == 0 {
            return;
        }
        let total = if rest >= header { rest } else { rest + PAGE as u64 };
        let body = vec![0; (total - header) as usize];
        // Nobody looks for a Pad frame: the block still waits for its first one.
        self.fresh_block |= self.append_body(Kind::Pad, &body).starts_block;
    }

    /// The next write that should go out now, if any. `force`: also little, if nothing is in flight.
    pub(crate) fn next_write(&mut self, force: bool) -> Option<Write> {
        let idle = self.in_flight.is_empty();
        if self.pads_pages && idle && force && self.waiting_bytes() > 0 {
            self.pad_page();
        }
        self.skip_finished_spans();
        if self.in_flight.back().is_some_and(|last| last.partial) {
            return None;
        }
        let waiting = self.waiting_bytes();
        let span = self.spans.front().expect("the current block");
        let streaming = span.segment.streaming && (waiting >= FULL_BYTES || !idle);
        let (depth, full_bytes) =
            if streaming { (STREAMING_DEPTH, STREAMING_WRITE_BYTES) } else { (DEPTH, FULL_BYTES) };
        let flying = self.in_flight.iter().filter(|flight| flight.state == Flight::Flying).count();
        if flying >= depth || waiting == 0 {
            return None;
        }
        // Drain, flush, go on; meanwhile the next writes gather.
        let must_drain = self.unflushed_bytes() >= STREAMING_FLUSH_BYTES
            || self.flushing.is_some_and(|(_, salt)| salt == span.segment.manifest.salt);
        if streaming && must_drain {
            return None;
        }
        let limit = span.end.map_or(self.tail, |(limit, _)| limit);
        let start = page_floor(self.submitted.max(span.base));
        let whole = page_floor(limit).0.saturating_sub(start.0).min(BLOCK_BYTES as u64);
        let is_full = whole >= full_bytes || (span.end.is_some() && whole > 0 && waiting >= full_bytes);
        let may_be_small = idle && force;
        if !is_full && !may_be_small {
            return None;
        }
        let whole_end = start.advance(whole);
        let may_have_tail = idle && !self.pads_pages;
        let has_tail = may_have_tail && span.end.is_none() && whole_end == page_floor(limit) && limit > whole_end;
        if whole == 0 && !has_tail {
            return None;
        }
        let reached = if has_tail { limit } else { whole_end };
        if page_ceiling(reached).0 > self.durable.0 + self.window_bytes {
            return None;
        }
        let end = match span.end {
            Some((limit, next)) if reached == limit => next,
            _ => reached,
        };
        let offset = start.since(span.segment.manifest.base);
        let block_start = start.since(span.base) as usize;
        let tail = has_tail.then(|| {
            let from = whole_end.since(span.base) as usize;
            let to = limit.since(span.base) as usize;
            // Copied, because the page in memory goes on being filled while the device reads this.
            Arc::new(Block::copy_of(span.block.slice(from, to)))
        });
        let token = self.next_token;
        self.next_token += 1;
        let durable = !streaming;
        self.in_flight.push_back(InFlight {
            token,
            end,
            bytes: whole + if has_tail { PAGE as u64 } else { 0 },
            partial: has_tail,
            durable,
            state: Flight::Flying,
            segment: span.segment.clone(),
        });
        let write = Write {
            token,
            file: span.segment.file.clone(),
            offset,
            block: span.block.clone(),
            start: block_start,
            length: whole as usize,
            tail,
            durable: durable && !canary::sings(Canary::SkipFlush),
        };
        self.submitted = self.submitted.max(end);
        Some(write)
    }

    /// Leaves blocks whose pages are all submitted.
    fn skip_finished_spans(&mut self) {
        while let Some((limit, next)) = self.spans.front().expect("the current block").end
            && self.submitted >= limit
        {
            self.submitted = self.submitted.max(next);
            self.spans.pop_front();
        }
    }

    /// Bytes of streamed writes that no flush covers yet.
    fn unflushed_bytes(&self) -> u64 {
        self.in_flight.iter().filter(|flight| !flight.durable).map(|flight| flight.bytes).sum()
    }

    /// The flush that should go out now, if any.
    ///
    /// A file is flushed only while no write to it flies: beside writes into blocks that were never
    /// written a flush was measured to take 150 to 480 ms on ext4, for each of them dirties what it
    /// flushes. Drained first, it takes less than one, and the bandwidth is the same.
    pub(crate) fn next_flush(&mut self) -> Option<Flush> {
        if self.flushing.is_some() {
            return None;
        }
        let first = self.in_flight.iter().find(|flight| flight.state == Flight::Written)?;
        let salt = first.segment.manifest.salt;
        let is_same = |flight: &&InFlight| flight.segment.manifest.salt == salt;
        if self.in_flight.iter().filter(is_same).any(|flight| flight.state == Flight::Flying) {
            return None;
        }
        let token = self.next_token;
        self.next_token += 1;
        self.flushing = Some((token, salt));
        let file = first.segment.file.clone();
        for flight in &mut self.in_flight {
            if flight.state == Flight::Written && flight.segment.manifest.salt == salt {
                flight.durable = true;
            }
        }
        Some(Flush { token, file })
    }

    /// The file that a write or flush in flight is for.
    pub(crate) fn file_of(&self, token: u64) -> u32 {
        let flushed = self.flushing.filter(|(flush, _)| *flush == token).map(|(_, salt)| salt);
        let concerned = |flight: &&InFlight| flight.token == token || Some(flight.segment.manifest.salt) == flushed;
        self.in_flight.iter().find(concerned).map_or(self.segment.manifest.file, |flight| flight.segment.manifest.file)
    }

    /// Takes note of a completed write or flush; returns whether the durable prefix grew.
    pub(crate) fn complete(&mut self, token: u64) -> bool {
        if let Some((flush, salt)) = self.flushing
            && flush == token
        {
            self.flushing = None;
            for flight in &mut self.in_flight {
                // `durable` on a written one says that the flush was started after it was written.
                if flight.state == Flight::Written && flight.durable && flight.segment.manifest.salt == salt {
                    flight.state = Flight::Durable;
                }
            }
        } else if let Some(flight) = self.in_flight.iter_mut().find(|flight| flight.token == token) {
            flight.state = if flight.durable { Flight::Durable } else { Flight::Written };
        }
        let before = self.durable;
        while let Some(front) = self.in_flight.front()
            && front.state == Flight::Durable
        {
            self.durable = front.end;
            self.in_flight.pop_front();
        }
        self.durable > before
    }
}

fn page_floor(position: Position) -> Position {
    Position(position.0 - position.0 % PAGE as u64)
}

fn page_ceiling(position: Position) -> Position {
    Position(position.0.next_multiple_of(PAGE as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::manifest::SegmentState;
    use crate::log::scan::SegmentScan;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::io;
    use std::sync::Mutex;

    const SEGMENT_BYTES: u64 = 1 << 20;

    /// A disk in memory: what writes put there, page by page.
    #[derive(Default)]
    struct Disk {
        pages: Mutex<BTreeMap<u64, Vec<u8>>>,
    }

    impl File for Disk {
        fn name(&self) -> &str {
            "memory"
        }
        fn length(&self) -> io::Result<u64> {
            Ok(SEGMENT_BYTES)
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            for (at, target) in buffer.chunks_mut(PAGE).enumerate() {
                match self.pages.lock().unwrap().get(&(offset + (at * PAGE) as u64)) {
                    Some(page) => target.copy_from_slice(&page[..target.len()]),
                    None => target.fill(0),
                }
            }
            Ok(buffer.len())
        }
        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            for (at, page) in bytes.chunks(PAGE).enumerate() {
                self.pages.lock().unwrap().insert(offset + (at * PAGE) as u64, page.to_vec());
            }
            Ok(())
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
        fn allocate(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn lock(&self, _: u64) -> io::Result<bool> {
            Ok(true)
        }
        fn descriptor(&self) -> Option<std::os::fd::RawFd> {
            None
        }
    }

    fn segment(number: u32, disk: &Arc<Disk>, written: bool) -> Prepared {
        let manifest = ManifestSegment {
            file: number,
            log: 0,
            generation: 1,
            state: SegmentState::Live,
            salt: u64::from(number) * 1_000_003 + 17,
            base: Position(u64::from(number + 1) * SEGMENT_BYTES),
            bytes: SEGMENT_BYTES,
            end: Position(0),
            last_append_ms: 0,
            copy_of: None,
        };
        let written_bytes = if written { SEGMENT_BYTES } else { 0 };
        Prepared { manifest, file: disk.clone(), written_bytes, busy: false, reserved: false }
    }

    fn store(write: &Write) {
        if write.length > 0 {
            write.file.write_at(write.block.slice(write.start, write.start + write.length), write.offset).unwrap();
        }
        if let Some(tail) = &write.tail {
            write.file.write_at(tail.slice(0, PAGE), write.offset + write.length as u64).unwrap();
        }
    }

    /// Notes the pages of a write; whether none of them was written before.
    fn are_new(pages: &mut BTreeSet<(usize, u64)>, write: &Write) -> bool {
        let file = Arc::as_ptr(&write.file).cast::<u8>() as usize;
        let range = write.offset..write.offset + write.total_length() as u64;
        range.step_by(PAGE).all(|page| pages.insert((file, page)))
    }

    /// The story: a segment's last page had no room for padding, so it was written unfinished, and once more
    /// with the End frame.
    #[test]
    fn a_padded_segment_ends_without_writing_a_page_twice() {
        for distance in (END_FRAME_BYTES..4 * PAGE as u64).step_by(if cfg!(miri) { 4096 } else { 8 }) {
            let disks = [Arc::new(Disk::default()), Arc::new(Disk::default())];
            let pool = Arc::new(BlockPool::new(BLOCK_BYTES, 8));
            let mut writer = LogWriter::new(segment(0, &disks[0], true), pool, 8 << 20, true);
            let bytes = SEGMENT_BYTES - PAGE as u64 - distance;
            if bytes > writer.room() {
                continue;
            }
            let body_bytes = bytes - frame_bytes(Kind::Publish, 0);
            writer.append_body(Kind::Publish, &vec![1; body_bytes as usize]);
            let mut pages = BTreeSet::new();
            let mut rolled = false;
            while !(rolled && writer.is_clean()) {
                while let Some(write) = writer.next_write(true) {
                    assert!(are_new(&mut pages, &write), "{distance} bytes before the end");
                    store(&write);
                    writer.complete(write.token);
                }
                if writer.is_clean() && !rolled {
                    writer.roll(segment(1, &disks[1], true));
                    rolled = true;
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]
        /// Frames of any size, completions in any order, prompt and streaming segments: what is below
        /// `durable` stands on the disk, no two writes in flight touch the same page, and where pages are
        /// padded none is written twice. (A full write that went out because there was much to write, and not
        /// because somebody waited, used to take an unfinished page with it; and in a segment's last page
        /// there was no room for padding.)
        #[test]
        fn what_is_durable_is_on_the_disk(
            steps in proptest::collection::vec((0u8..6, 1usize..60_000, any::<u16>()), 1..120),
            written in any::<bool>(),
            pads in any::<bool>(),
        ) {
            let disks: Vec<Arc<Disk>> = (0..40).map(|_| Arc::new(Disk::default())).collect();
            let pool = Arc::new(BlockPool::new(BLOCK_BYTES, 8));
            let mut used = vec![segment(0, &disks[0], written)];
            let mut writer = LogWriter::new(used[0].clone(), pool, 8 << 20, pads);
            let mut pages = BTreeSet::new();
            let mut flying: Vec<Write> = Vec::new();
            let mut flushes: Vec<Flush> = Vec::new();
            let mut frames: Vec<(Placed, Vec<u8>)> = Vec::new();
            for (action, size, pick) in steps {
                match action {
                    0 | 1 => {
                        let body: Vec<u8> = (0..size).map(|at| (at as u16 ^ pick) as u8).collect();
                        let total = frame_bytes(Kind::Publish, body.len());
                        if writer.tail().since(writer.durable()) + total + SEGMENT_BYTES > 8 << 20 {
                            continue;
                        }
                        if total > writer.room() {
                            let next = segment(used.len() as u32, &disks[used.len()], written);
                            used.push(next.clone());
                            writer.roll(next);
                        }
                        let placed = writer.append_body(Kind::Publish, &body);
                        frames.push((placed, body));
                    }
                    2 | 3 => while let Some(write) = writer.next_write(action == 2) {
                        let file = Arc::as_ptr(&write.file).cast::<u8>();
                        let range = write.offset..write.offset + write.total_length() as u64;
                        for other in &flying {
                            let same = Arc::as_ptr(&other.file).cast::<u8>() == file;
                            let apart = range.end <= other.offset
                                || other.offset + other.total_length() as u64 <= range.start;
                            prop_assert!(!same || apart, "two writes in flight overlap");
                        }
                        prop_assert!(!pads || are_new(&mut pages, &write), "a page is written twice");
                        flying.push(write);
                    },
                    4 if !flying.is_empty() => {
                        let write = flying.swap_remove(pick as usize % flying.len());
                        store(&write);
                        writer.complete(write.token);
                    }
                    _ => {
                        flushes.extend(writer.next_flush());
                        if let Some(flush) = flushes.pop() {
                            writer.complete(flush.token);
                        }
                    }
                }
                for (placed, body) in frames.iter().filter(|(placed, _)| placed.end <= writer.durable()) {
                    let position = &placed.position;
                    let home = used.iter().rev().find(|s| s.manifest.base <= *position).unwrap();
                    let mut scan = SegmentScan::new(home.manifest, home.file.clone());
                    match scan.frame(*position) {
                        Ok((_, read)) => prop_assert!(read == &body[..]),
                        Err(reason) => prop_assert!(false, "frame at {position} below {}: {reason}", writer.durable()),
                    }
                }
                if writer.is_clean() {
                    // Everything before was checked; looking at it again would only take time.
                    frames.clear();
                }
            }
            // Given time, everything becomes durable.
            for _ in 0..10_000 {
                while let Some(write) = writer.next_write(true) {
                    prop_assert!(!pads || are_new(&mut pages, &write), "a page is written twice");
                    flying.push(write);
                }
                flushes.extend(writer.next_flush());
                if let Some(write) = flying.pop() {
                    store(&write);
                    writer.complete(write.token);
                } else if let Some(flush) = flushes.pop() {
                    writer.complete(flush.token);
                } else {
                    break;
                }
            }
            prop_assert!(writer.is_clean() && writer.is_idle());
        }
    }
}
