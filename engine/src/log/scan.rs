//! Reading a segment's frames from its file, front to back or in search of one.
//!
//! Invariants:
//! - A frame is given out only when its stamp, both checksums and its bounds are right.
//! - A read that fails is a bad frame at that place, never the end of the log.

use super::frame::{BadFrame, FRAME_ALIGNMENT, FrameContext, FrameHeader, HEADER_BYTES_MAX, may_be_frame};
use super::judge::BadPlace;
use super::manifest::ManifestSegment;
use super::position::Position;
use crate::io::{Block, File, PAGE};
use std::sync::Arc;

const WINDOW_BYTES: usize = 1 << 20;
/// The first window of who expects little.
const WINDOW_BYTES_LITTLE: usize = 16 << 10;

/// Why there is no frame at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// The bytes were read and are not a valid frame.
    Bad(BadFrame),
    /// The bytes could not be read.
    Unreadable(String),
}

impl std::fmt::Display for NoFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoFrame::Bad(BadFrame::Short) => f.write_str("the file or segment ends within it"),
            NoFrame::Bad(BadFrame::NoFrame) => f.write_str("no frame begins there"),
            NoFrame::Bad(BadFrame::Version(version)) => write!(f, "its format version is {version}"),
            NoFrame::Bad(BadFrame::Header) => f.write_str("its header does not match its checksum"),
            NoFrame::Bad(BadFrame::Body) => f.write_str("its body does not match its checksum"),
            NoFrame::Unreadable(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

/// A segment file seen through a window that moves forward.
pub(crate) struct SegmentScan {
    segment: ManifestSegment,
    context: FrameContext,
    file: Arc<dyn File>,
    window: Block,
    window_start: u64,
    window_bytes: usize,
    /// What the next window has at least; the one behind it twice as much.
    next_bytes: usize,
}

impl SegmentScan {
    pub(crate) fn new(segment: ManifestSegment, file: Arc<dyn File>) -> SegmentScan {
        SegmentScan {
            segment,
            context: segment.context(),
            file,
            window: Block::zeroed(PAGE),
            window_start: 0,
            window_bytes: 0,
            next_bytes: WINDOW_BYTES,
        }
    }

    /// The same for who expects to read little: the window begins small and grows as it moves on.
    pub(crate) fn from_little(segment: ManifestSegment, file: Arc<dyn File>) -> SegmentScan {
        SegmentScan { next_bytes: WINDOW_BYTES_LITTLE, ..SegmentScan::new(segment, file) }
    }

    /// The frame at `position`, with its body.
    pub(crate) fn frame(&mut self, position: Position) -> Result<(FrameHeader, &[u8]), NoFrame> {
        let offset = position.since(self.segment.base);
        let header = {
            let context = self.context;
            let bytes = self.bytes(offset, HEADER_BYTES_MAX)?;
            FrameHeader::decode(&context, position, bytes).map_err(NoFrame::Bad)?
        };
        if header.end() > self.segment.limit() {
            return Err(NoFrame::Bad(BadFrame::Short));
        }
        let bytes = self.bytes(offset, header.total_bytes() as usize)?;
        let body = header.body(bytes).map_err(NoFrame::Bad)?;
        Ok((header, body))
    }

    /// What can be told of a place where no whole frame is.
    pub(crate) fn bad_place(&mut self, position: Position) -> BadPlace {
        let context = self.context;
        let offset = position.since(self.segment.base);
        let header = self.bytes(offset, HEADER_BYTES_MAX).ok();
        let header = header.and_then(|bytes| FrameHeader::decode(&context, position, bytes).ok());
        let end = header.map(|header| header.end()).filter(|end| *end <= self.segment.limit());
        BadPlace { position, end }
    }

    /// The header of a frame whose body is not whole, if the header is.
    pub(crate) fn header(&mut self, position: Position) -> Option<FrameHeader> {
        let context = self.context;
        let bytes = self.bytes(position.since(self.segment.base), HEADER_BYTES_MAX).ok()?;
        FrameHeader::decode(&context, position, bytes).ok()
    }

    /// The first whole, valid frame that begins in `from..limit`.
    pub(crate) fn find_valid(&mut self, from: Position, limit: Position) -> Option<FrameHeader> {
        let mut position = from;
        while position < limit {
            let offset = position.since(self.segment.base);
            let context = self.context;
            let Ok(bytes) = self.bytes(offset, PAGE) else {
                position = Position((position.0 / PAGE as u64 + 1) * PAGE as u64);
                continue;
            };
            if bytes.len() < HEADER_BYTES_MAX {
                return None;
            }
            // Search what the window holds without asking for it again at each step.
            let mut at = 0;
            let found = loop {
                if at + HEADER_BYTES_MAX > bytes.len() || position.advance(at as u64) >= limit {
                    break None;
                }
                if may_be_frame(&context, position.advance(at as u64), &bytes[at..]) {
                    break Some(at);
                }
                at += FRAME_ALIGNMENT as usize;
            };
            position = position.advance(at as u64);
            if found.is_some() {
                if let Ok((header, _)) = self.frame(position) {
                    return Some(header);
                }
                position = position.advance(FRAME_ALIGNMENT);
            }
        }
        None
    }

    /// At least `wanted` bytes at `offset`, or as many as there are before the end of the file.
    fn bytes(&mut self, offset: u64, wanted: usize) -> Result<&[u8], NoFrame> {
        let covered =
            offset >= self.window_start && offset + wanted as u64 <= self.window_start + self.window_bytes as u64;
        if !covered {
            self.load(offset, wanted)?;
        }
        let start = (offset - self.window_start) as usize;
        let end = self.window_bytes.max(start);
        Ok(&self.window.slice(0, self.window.capacity())[start..end])
    }

    fn load(&mut self, offset: u64, wanted: usize) -> Result<(), NoFrame> {
        let start = offset - offset % PAGE as u64;
        let needed = (offset - start) as usize + wanted;
        let window = needed.next_multiple_of(PAGE).max(self.next_bytes);
        self.next_bytes = (2 * self.next_bytes).min(WINDOW_BYTES);
        if self.window.capacity() < window {
            self.window = Block::zeroed(window);
        }
        self.window.publish_all();
        self.window_start = start;
        self.window_bytes = 0;
        let room = self.segment.bytes.saturating_sub(start) as usize;
        let whole = window.min(room.next_multiple_of(PAGE));
        let first = self.file.read_at(&mut self.window.as_mut_slice()[..whole], start);
        let read = match first {
            Ok(read) => read,
            // One bad sector must not hide the good ones before it: read only what is needed.
            Err(_) => {
                let least = needed.next_multiple_of(PAGE).min(whole);
                self.file
                    .read_at(&mut self.window.as_mut_slice()[..least], start)
                    .map_err(|error| NoFrame::Unreadable(error.to_string()))?
            }
        };
        self.window_bytes = read;
        Ok(())
    }
}
