//! Segments: one file of a log each, and the page at its beginning.
//!
//! ```text
//!  0  [8]  magic "RINGLSEG"
//!  8  u32  version
//! 12  u32  log
//! 16  u32  generation
//! 20  u32  zero
//! 24  u64  engine_id
//! 32  u64  salt
//! 40  u64  base          position of the file's first byte
//! 48  u64  bytes         length of the file
//! 56  u64  window_bytes  W
//! 64  u32  checksum      CRC32C of bytes 0..64
//! 68       zero to the end of the page
//! ```
//!
//! Invariants:
//! - The header page is durable before the manifest names the segment, and agrees with it.
//! - A file is used again under a new salt and base; its name stays.

use super::codec::Put;
use super::frame::{FrameContext, u32_at, u64_at};
use super::manifest::ManifestSegment;
use super::position::{Position, Stretch};
use crate::error::{Error, Result};
use crate::io::PAGE;

/// The file whose lock says who has the engine open.
pub(crate) const LOCK_FILE: &str = "lock";
const MAGIC: &[u8; 8] = b"RINGLSEG";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 68;

const _: () = assert!(HEADER_BYTES <= PAGE);

/// Name of a segment's file.
pub(crate) fn file_name(file: u32) -> String {
    format!("segment-{file:08}")
}

/// Name of the index of a sealed segment.
pub(crate) fn sidecar_name(file: u32) -> String {
    format!("segment-{file:08}.index")
}

/// The number of a segment file, if `name` is one.
pub(crate) fn parse_file_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?;
    (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

impl ManifestSegment {
    /// What checks the segment's frames.
    pub(crate) fn context(&self) -> FrameContext {
        FrameContext::new(self.log, self.generation, self.salt)
    }

    /// Where its first frame stands.
    pub(crate) fn first_frame(&self) -> Position {
        self.base.advance(PAGE as u64)
    }

    /// The position right behind its last byte.
    pub(crate) fn limit(&self) -> Position {
        self.base.advance(self.bytes)
    }

    /// The stretch of the log that it stands for.
    pub(crate) fn stretch(&self) -> Stretch {
        self.copy_of.unwrap_or(Stretch { from: self.base, to: self.limit() })
    }

    /// Where in the order of its log's segments it stands: its own base, or that of the first one it was copied from.
    pub(crate) fn from(&self) -> Position {
        self.stretch().from
    }

    /// The end of the stretch of the log that it stands for.
    pub(crate) fn to(&self) -> Position {
        self.stretch().to
    }

    /// Whether both speak of the same use of the same file.
    pub(crate) fn is_same_use(&self, other: &ManifestSegment) -> bool {
        (self.file, self.salt, self.base) == (other.file, other.salt, other.base)
    }

    /// What is told of a place in it that cannot be read as what it was.
    pub(crate) fn damage(&self, position: Position, bytes: u64, reason: String) -> Error {
        Error::Damaged {
            file: file_name(self.file),
            position: position.0,
            file_offset: position.since(self.base),
            bytes,
            reason,
        }
    }

    /// The header page.
    pub(crate) fn header_page(&self, engine_id: u64, window_bytes: u64) -> Vec<u8> {
        let mut page = Vec::with_capacity(PAGE);
        page.extend_from_slice(MAGIC);
        page.put_u32(VERSION);
        page.put_u32(self.log);
        page.put_u32(self.generation);
        page.put_u32(0);
        page.put_u64(engine_id);
        page.put_u64(self.salt);
        page.put_u64(self.base.0);
        page.put_u64(self.bytes);
        page.put_u64(window_bytes);
        let checksum = crc32c::crc32c(&page);
        page.put_u32(checksum);
        page.resize(PAGE, 0);
        page
    }

    /// Checks that a file's first page is the one the manifest speaks of.
    pub(crate) fn check_header(&self, page: &[u8], engine_id: u64, window_bytes: u64) -> Result<()> {
        let damaged = |reason: String| self.damage(self.base, PAGE as u64, reason);
        if page.len() < PAGE {
            return Err(damaged(format!("the file has {} bytes, not even a header page", page.len())));
        }
        if &page[..8] != MAGIC || crc32c::crc32c(&page[..64]) != u32_at(page, 64) {
            return Err(damaged("the segment's header page does not match its checksum".to_owned()));
        }
        let version = u32_at(page, 8);
        if version != VERSION {
            return Err(Error::UnsupportedVersion { file: file_name(self.file), found: version, supported: VERSION });
        }
        if page[..PAGE] != self.header_page(engine_id, window_bytes)[..] {
            let (salt, base) = (u64_at(page, 32), u64_at(page, 40));
            return Err(damaged(format!(
                "the header says salt {salt:016x}, base {base}, the manifest salt {:016x}, base {}: \
                 files of different engines or times are mixed",
                self.salt, self.base
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::SegmentState;
    use super::*;

    fn sample() -> ManifestSegment {
        ManifestSegment {
            file: 3,
            log: 1,
            generation: 2,
            state: SegmentState::Live,
            salt: 5,
            base: Position(1 << 20),
            bytes: 1 << 20,
            end: Position(0),
            last_append_ms: 0,
            copy_of: None,
        }
    }

    #[test]
    fn names_are_recognised() {
        assert_eq!(parse_file_name(&file_name(17)), Some(17));
        assert_eq!(parse_file_name("segment-00000017.index"), None);
        assert_eq!(parse_file_name("manifest-a"), None);
    }

    #[test]
    fn the_header_page_must_agree_byte_for_byte() {
        let segment = sample();
        let page = segment.header_page(9, 10);
        segment.check_header(&page, 9, 10).unwrap();
        segment.check_header(&page, 8, 10).unwrap_err();
        for at in 0..PAGE {
            let mut damaged = page.clone();
            damaged[at] ^= 1;
            segment.check_header(&damaged, 9, 10).expect_err("a damaged byte");
        }
    }
}
