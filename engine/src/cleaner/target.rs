//! The file that a copy is written to.
//!
//! Invariants:
//! - Until it is finished nothing names it: a crash leaves a stray file, which the next opening removes.
//! - Bodies and their checksums come as they are; headers are made here.
//! - It is on the device, with its directory entry, before anybody is told of it.

use crate::error::{Error, Result};
use crate::io::{Access, Block, File, PAGE, Storage};
use crate::lane::checkpoint::Checkpoint;
use crate::lane::state::LogState;
use crate::log::frame::{FrameContext, FrameHeader, HEADER_BYTES_MAX, Kind, frame_bytes};
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use crate::log::segment::file_name;
use crate::partition::copied::CopiedIndex;
use std::sync::Arc;

/// Bytes written in one go.
const BUFFER_BYTES: usize = 1 << 20;
/// Blocks are asked for in pieces of this size.
const GROWTH_BYTES: u64 = 2 << 20;

/// See the module.
pub(super) struct Target {
    file: Arc<dyn File>,
    /// Its length and end are known in the end.
    segment: ManifestSegment,
    context: FrameContext,
    previous_checksum: u32,
    position: Position,
    buffer: Block,
    filled: usize,
    /// Where in the file the buffer goes.
    offset: u64,
    allocated_bytes: u64,
    index: CopiedIndex,
}

impl Target {
    /// Makes the file. The copy begins with `head`.
    pub(super) fn begin(storage: &dyn Storage, segment: ManifestSegment, head: &LogState) -> Result<Target> {
        let name = file_name(segment.file);
        let file = storage.open(&name, Access::Create).map_err(|error| Error::io("create", &name, None, &error))?;
        let mut buffer = Block::zeroed(BUFFER_BYTES);
        buffer.publish_all();
        let mut target = Target {
            file,
            context: segment.context(),
            previous_checksum: 0,
            position: segment.first_frame(),
            buffer,
            filled: 0,
            offset: PAGE as u64,
            allocated_bytes: 0,
            index: CopiedIndex::default(),
            segment,
        };
        for part in Checkpoint::new(head, Position(0)).parts() {
            target.append(Kind::Head, &part.to_vec(), part.checksum())?;
        }
        Ok(target)
    }

    /// The file's number.
    pub(super) fn file(&self) -> u32 {
        self.segment.file
    }

    /// Bytes of the file so far.
    pub(super) fn bytes(&self) -> u64 {
        self.position.since(self.segment.base)
    }

    /// Bytes of the disk that it has taken.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes
    }

    /// Puts a frame at the end; returns its bytes.
    pub(super) fn append(&mut self, kind: Kind, body: &[u8], body_checksum: u32) -> Result<u64> {
        let mut header = FrameHeader {
            kind,
            position: self.position,
            // All of it is on the device before anything of it counts.
            durable: self.position,
            body_bytes: body.len() as u32,
            previous_checksum: self.previous_checksum,
            body_checksum,
            header_checksum: 0,
        };
        let mut bytes = [0; HEADER_BYTES_MAX];
        header.header_checksum = header.encode(&self.context, &mut bytes);
        // What cannot be indexed would be lost: that is a fault of the cleaner, and nothing is given up for it.
        self.index.take(&header, body).map_err(|reason| self.segment.damage(self.position, 0, reason))?;
        self.previous_checksum = header.header_checksum;
        let total = frame_bytes(kind, body.len());
        let padding = total as usize - kind.header_bytes() - body.len();
        self.put(&bytes[..kind.header_bytes()])?;
        self.put(body)?;
        self.put(&[0; 8][..padding])?;
        self.position = self.position.advance(total);
        Ok(total)
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let count = bytes.len().min(BUFFER_BYTES - self.filled);
            self.buffer.as_mut_slice()[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled == BUFFER_BYTES {
                self.write(BUFFER_BYTES)?;
            }
        }
        Ok(())
    }

    /// Writes the buffer up to a page.
    fn write(&mut self, length: usize) -> Result<()> {
        let end = self.offset + length as u64;
        let fail = |operation, error: &std::io::Error| Error::io(operation, self.file.name(), None, error);
        if end > self.allocated_bytes {
            let ahead = end.next_multiple_of(GROWTH_BYTES);
            // On a full disk there may be room for little.
            self.allocated_bytes = match self.file.allocate(ahead) {
                Ok(()) => ahead,
                Err(_) => {
                    self.file.allocate(end).map_err(|error| fail("allocate", &error))?;
                    end
                }
            };
        }
        self.file.write_at(self.buffer.slice(0, length), self.offset).map_err(|error| fail("write", &error))?;
        (self.offset, self.filled) = (end, 0);
        Ok(())
    }

    /// Completes the file, durably. Returns what it is, and the bytes of its index.
    pub(super) fn finish(
        mut self,
        storage: &dyn Storage,
        engine_id: u64,
        window_bytes: u64,
    ) -> Result<(ManifestSegment, Vec<u8>)> {
        let length = self.filled.next_multiple_of(PAGE);
        self.buffer.as_mut_slice()[self.filled..length].fill(0);
        if length > 0 {
            self.write(length)?;
        }
        self.segment.bytes = self.offset;
        self.segment.end = self.position;
        let name = file_name(self.segment.file);
        let fail = |operation, error: &std::io::Error| Error::io(operation, &name, None, error);
        self.file.allocate(self.segment.bytes).map_err(|error| fail("cut", &error))?;
        let page = Block::copy_of(&self.segment.header_page(engine_id, window_bytes));
        self.file.write_at(page.slice(0, PAGE), 0).map_err(|error| fail("write the header of", &error))?;
        self.file.sync().map_err(|error| fail("flush", &error))?;
        storage.sync_directory().map_err(|error| fail("sync the directory of", &error))?;
        let index = self.index.sidecar(self.segment, self.segment.end);
        Ok((self.segment, index))
    }
}
