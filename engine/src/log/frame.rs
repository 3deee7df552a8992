//! Frames: the checksummed entries a log is made of. The byte tables stand in docs/FORMAT.md.
//!
//! ```text
//!  0  u16  magic "RL"
//!  2  u8   version
//!  3  u8   kind
//!  4  u32  body_bytes           without the padding to a multiple of eight that follows it
//!  8  u64  stamp                segment salt + position (wrapping): both are checked in full
//! 16  u32  durable_distance     (position - D) / 8; D = the contiguous durable position when encoded
//! 20  u32  previous_checksum    header checksum of the frame before it in the log
//! 24  u32  body_checksum        CRC32C of the body
//! 28  u32  header_checksum      CRC32C of bytes 0..28 and of the extension, seeded with log and generation
//! 32       extension            40 bytes for Records, 48 for Withheld and Moved, none for the others; it ends
//!                               with the origin of the first record, the others follow it
//! ```
//!
//! Invariants:
//! - A frame begins at a position that is a multiple of eight and lies wholly within one segment.
//! - Salts are random 64-bit numbers, one for each use of a segment file; so a frame left over from an
//!   earlier use, or written to the wrong place, does not match its stamp.
//! - Decoding looks at nothing outside the bytes it is given and never panics.

use super::origin::Origin;
use super::position::Position;
use crate::canary::{self, Canary};

/// Frames and records begin at multiples of this.
pub(crate) const FRAME_ALIGNMENT: u64 = 8;
/// The part of the header that all kinds share.
pub(crate) const HEADER_BYTES: usize = 32;
const RECORDS_EXTENSION_BYTES: usize = 24 + Origin::BYTES;
const WITHHELD_EXTENSION_BYTES: usize = 32 + Origin::BYTES;
/// Header of a Records frame.
pub(crate) const RECORDS_HEADER_BYTES: usize = HEADER_BYTES + RECORDS_EXTENSION_BYTES;
/// Largest header of any kind.
pub(crate) const HEADER_BYTES_MAX: usize = HEADER_BYTES + WITHHELD_EXTENSION_BYTES;
/// Room that every segment keeps for its End frame.
pub(crate) const END_FRAME_BYTES: u64 = (HEADER_BYTES + 8) as u64;

const MAGIC: u16 = u16::from_le_bytes(*b"RL");
/// Version of the frame format.
pub(crate) const VERSION: u8 = 1;

const _: () = assert!(HEADER_BYTES.is_multiple_of(8) && RECORDS_EXTENSION_BYTES.is_multiple_of(8));
const _: () = assert!(HEADER_BYTES_MAX.is_multiple_of(8) && END_FRAME_BYTES.is_multiple_of(FRAME_ALIGNMENT));

/// Why a record has no offset yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum WithheldReason {
    /// It becomes visible at a time.
    Delayed = 1,
    /// Its transaction decides.
    Transaction = 2,
}

impl WithheldReason {
    fn decode(code: u32) -> Option<WithheldReason> {
        match code {
            1 => Some(WithheldReason::Delayed),
            2 => Some(WithheldReason::Transaction),
            _ => None,
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Records of one partition with their offsets.
    Records { slot: u32, count: u32, base_offset: u64, append_time_ms: i64, origin: Origin },
    /// Records of one partition that are durable and have no offset.
    Withheld { slot: u32, count: u32, due_ms: i64, append_time_ms: i64, reason: WithheldReason, origin: Origin },
    /// Gives offsets to withheld records.
    Publish,
    /// Withheld records that will never be published.
    Discard,
    /// In a copied segment: a Withheld frame, with the position that it is known by.
    Moved { slot: u32, count: u32, due_ms: i64, identity: Position, reason: WithheldReason, origin: Origin },
    /// A topic was created or deleted.
    Catalog,
    /// A part of the state at the beginning of a segment.
    Checkpoint,
    /// Carries a durable position and nothing else; body byte 0 is 1 for a clean close.
    Mark,
    /// The last frame of a segment; body: the base position of the next one.
    End,
    /// Fills a page that will not be written again.
    Pad,
    /// Records of partitions that are given up, from the front.
    Truncate,
    /// A part of what a copied segment begins with: where its partitions were then.
    Head,
    /// How far groups have come.
    Progress,
    /// The part of a transaction in this log is durable, and undecided.
    Prepare,
}

impl Kind {
    /// Code of a Records frame, for readers that pass over checked frames.
    pub(crate) const RECORDS_CODE: u8 = 1;
    /// Code of a Withheld frame.
    pub(crate) const WITHHELD_CODE: u8 = 2;
    /// Code of a Moved frame.
    pub(crate) const MOVED_CODE: u8 = 5;
    /// Header of a Withheld frame.
    pub(crate) const WITHHELD_HEADER_BYTES: usize = HEADER_BYTES + WITHHELD_EXTENSION_BYTES;

    fn code(self) -> u8 {
        match self {
            Kind::Records { .. } => 1,
            Kind::Withheld { .. } => 2,
            Kind::Publish => 3,
            Kind::Discard => 4,
            Kind::Moved { .. } => 5,
            Kind::Catalog => 6,
            Kind::Checkpoint => 7,
            Kind::Mark => 8,
            Kind::End => 9,
            Kind::Pad => 10,
            Kind::Truncate => 11,
            Kind::Head => 12,
            Kind::Progress => 13,
            Kind::Prepare => 14,
        }
    }

    /// Its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Records { .. } => "records",
            Kind::Withheld { .. } => "withheld",
            Kind::Publish => "publish",
            Kind::Discard => "discard",
            Kind::Moved { .. } => "moved",
            Kind::Catalog => "catalog",
            Kind::Checkpoint => "checkpoint",
            Kind::Mark => "mark",
            Kind::End => "end",
            Kind::Pad => "pad",
            Kind::Truncate => "truncate",
            Kind::Head => "head",
            Kind::Progress => "progress",
            Kind::Prepare => "prepare",
        }
    }

    /// Who wrote the first of its records, if it holds any.
    pub(crate) fn origin(self) -> Option<Origin> {
        match self {
            Kind::Records { origin, .. } | Kind::Withheld { origin, .. } | Kind::Moved { origin, .. } => Some(origin),
            _ => None,
        }
    }

    /// Bytes of the header with the extension of this kind.
    pub(crate) fn header_bytes(self) -> usize {
        Self::header_bytes_of(self.code()).expect("every kind has a header")
    }

    pub(crate) fn header_bytes_of(code: u8) -> Option<usize> {
        match code {
            1 => Some(RECORDS_HEADER_BYTES),
            2 | 5 => Some(HEADER_BYTES + WITHHELD_EXTENSION_BYTES),
            3..=14 => Some(HEADER_BYTES),
            _ => None,
        }
    }
}

/// What every frame of one use of one segment has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameContext {
    salt: u64,
    seed: u32,
}

impl FrameContext {
    pub(crate) fn new(log: u32, generation: u32, salt: u64) -> FrameContext {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&log.to_le_bytes());
        bytes[4..].copy_from_slice(&generation.to_le_bytes());
        FrameContext { salt, seed: crc32c::crc32c(&bytes) }
    }

    /// The checksum of a header whose own field for it is zero.
    pub(crate) fn checksum(&self, header: &[u8]) -> u32 {
        crc32c::crc32c_append(self.seed, header)
    }

    fn stamp(&self, position: Position) -> u64 {
        self.salt.wrapping_add(position.0)
    }

    fn is_stamp(&self, position: Position, found: u64) -> bool {
        found == self.stamp(position) || canary::sings(Canary::ForgetSalt)
    }
}

/// A decoded frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: Kind,
    pub(crate) position: Position,
    /// D: everything below was durable when this frame was encoded.
    pub(crate) durable: Position,
    pub(crate) body_bytes: u32,
    pub(crate) previous_checksum: u32,
    pub(crate) body_checksum: u32,
    pub(crate) header_checksum: u32,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFrame {
    /// The bytes end before the frame does.
    Short,
    /// No magic number, or a stamp of another place or an earlier use of the file.
    NoFrame,
    /// Made by a newer version; its checksum is right.
    Version(u8),
    /// The header's checksum or a field is wrong.
    Header,
    /// The body's checksum is wrong.
    Body,
}

impl FrameHeader {
    /// Bytes from the start of the frame to the start of the next one.
    pub(crate) fn total_bytes(&self) -> u64 {
        frame_bytes(self.kind, self.body_bytes as usize)
    }

    /// Position right behind the frame.
    pub(crate) fn end(&self) -> Position {
        self.position.advance(self.total_bytes())
    }

    /// Writes the header to the start of `target` and returns its checksum.
    pub(crate) fn encode(&self, context: &FrameContext, target: &mut [u8]) -> u32 {
        let header_bytes = self.kind.header_bytes();
        let target = &mut target[..header_bytes];
        assert!(self.position.0.is_multiple_of(FRAME_ALIGNMENT) && self.durable <= self.position);
        let distance = self.position.0 - self.durable.0;
        let distance = u32::try_from(distance / FRAME_ALIGNMENT).expect("the window is far smaller than 32 GiB");
        target[0..2].copy_from_slice(&MAGIC.to_le_bytes());
        target[2] = VERSION;
        target[3] = self.kind.code();
        target[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        target[8..16].copy_from_slice(&context.stamp(self.position).to_le_bytes());
        target[16..20].copy_from_slice(&distance.to_le_bytes());
        target[20..24].copy_from_slice(&self.previous_checksum.to_le_bytes());
        target[24..28].copy_from_slice(&self.body_checksum.to_le_bytes());
        target[28..32].copy_from_slice(&[0; 4]);
        match self.kind {
            Kind::Records { slot, count, base_offset, append_time_ms, origin } => {
                target[32..36].copy_from_slice(&slot.to_le_bytes());
                target[36..40].copy_from_slice(&count.to_le_bytes());
                target[40..48].copy_from_slice(&base_offset.to_le_bytes());
                target[48..56].copy_from_slice(&append_time_ms.to_le_bytes());
                origin.put(&mut target[56..]);
            }
            Kind::Withheld { slot, count, due_ms, append_time_ms, reason, origin } => {
                target[32..36].copy_from_slice(&slot.to_le_bytes());
                target[36..40].copy_from_slice(&count.to_le_bytes());
                target[40..48].copy_from_slice(&due_ms.to_le_bytes());
                target[48..56].copy_from_slice(&append_time_ms.to_le_bytes());
                target[56..60].copy_from_slice(&(reason as u32).to_le_bytes());
                target[60..64].copy_from_slice(&[0; 4]);
                origin.put(&mut target[64..]);
            }
            Kind::Moved { slot, count, due_ms, identity, reason, origin } => {
                target[32..36].copy_from_slice(&slot.to_le_bytes());
                target[36..40].copy_from_slice(&count.to_le_bytes());
                target[40..48].copy_from_slice(&due_ms.to_le_bytes());
                target[48..56].copy_from_slice(&identity.0.to_le_bytes());
                target[56..60].copy_from_slice(&(reason as u32).to_le_bytes());
                target[60..64].copy_from_slice(&[0; 4]);
                origin.put(&mut target[64..]);
            }
            _ => {}
        }
        let checksum = context.checksum(target);
        target[28..32].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }

    /// Reads the header at the start of `bytes`, which lie at `position`.
    pub(crate) fn decode(context: &FrameContext, position: Position, bytes: &[u8]) -> Result<FrameHeader, BadFrame> {
        let common = bytes.get(..HEADER_BYTES).ok_or(BadFrame::Short)?;
        if u16::from_le_bytes([common[0], common[1]]) != MAGIC || !context.is_stamp(position, u64_at(common, 8)) {
            return Err(BadFrame::NoFrame);
        }
        let (version, code) = (common[2], common[3]);
        let header_bytes = Kind::header_bytes_of(code).ok_or(BadFrame::Header)?;
        let header = bytes.get(..header_bytes).ok_or(BadFrame::Short)?;
        let header_checksum = u32_at(header, 28);
        let mut image = [0; HEADER_BYTES_MAX];
        image[..header_bytes].copy_from_slice(header);
        image[28..32].copy_from_slice(&[0; 4]);
        if context.checksum(&image[..header_bytes]) != header_checksum {
            return Err(BadFrame::Header);
        }
        if version != VERSION {
            return Err(BadFrame::Version(version));
        }
        let kind = match code {
            1 => Kind::Records {
                slot: u32_at(header, 32),
                count: u32_at(header, 36),
                base_offset: u64_at(header, 40),
                append_time_ms: u64_at(header, 48) as i64,
                origin: Origin::take(&header[56..]),
            },
            2 | 5 if u32_at(header, 60) != 0 => return Err(BadFrame::Header),
            2 => Kind::Withheld {
                slot: u32_at(header, 32),
                count: u32_at(header, 36),
                due_ms: u64_at(header, 40) as i64,
                append_time_ms: u64_at(header, 48) as i64,
                reason: WithheldReason::decode(u32_at(header, 56)).ok_or(BadFrame::Header)?,
                origin: Origin::take(&header[64..]),
            },
            3 => Kind::Publish,
            4 => Kind::Discard,
            5 => Kind::Moved {
                slot: u32_at(header, 32),
                count: u32_at(header, 36),
                due_ms: u64_at(header, 40) as i64,
                identity: Position(u64_at(header, 48)),
                reason: WithheldReason::decode(u32_at(header, 56)).ok_or(BadFrame::Header)?,
                origin: Origin::take(&header[64..]),
            },
            6 => Kind::Catalog,
            7 => Kind::Checkpoint,
            8 => Kind::Mark,
            9 => Kind::End,
            10 => Kind::Pad,
            11 => Kind::Truncate,
            12 => Kind::Head,
            13 => Kind::Progress,
            14 => Kind::Prepare,
            _ => return Err(BadFrame::Header),
        };
        let distance = u64::from(u32_at(header, 16)) * FRAME_ALIGNMENT;
        let durable = position.0.checked_sub(distance).map(Position).ok_or(BadFrame::Header)?;
        Ok(FrameHeader {
            kind,
            position,
            durable,
            body_bytes: u32_at(header, 4),
            previous_checksum: u32_at(header, 20),
            body_checksum: u32_at(header, 24),
            header_checksum,
        })
    }

    /// Reads the header and checks the body too; returns both.
    pub(crate) fn decode_whole<'a>(
        context: &FrameContext,
        position: Position,
        bytes: &'a [u8],
    ) -> Result<(FrameHeader, &'a [u8]), BadFrame> {
        let header = Self::decode(context, position, bytes)?;
        let body = header.body(bytes)?;
        Ok((header, body))
    }

    /// The body that follows this header in `bytes`, checked.
    pub(crate) fn body<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], BadFrame> {
        let start = self.kind.header_bytes();
        let body = bytes.get(start..start + self.body_bytes as usize).ok_or(BadFrame::Short)?;
        match crc32c::crc32c(body) == self.body_checksum || canary::sings(Canary::SkipChecksum) {
            true => Ok(body),
            false => Err(BadFrame::Body),
        }
    }
}

/// Bytes a frame takes in the log.
pub(crate) fn frame_bytes(kind: Kind, body_bytes: usize) -> u64 {
    ((kind.header_bytes() + body_bytes) as u64).next_multiple_of(FRAME_ALIGNMENT)
}

/// Whether a frame's stamp could be at the start of `bytes`; cheap, for searching.
pub(crate) fn may_be_frame(context: &FrameContext, position: Position, bytes: &[u8]) -> bool {
    let is_magic = bytes.starts_with(&MAGIC.to_le_bytes());
    is_magic && bytes.len() >= HEADER_BYTES && context.is_stamp(position, u64_at(bytes, 8))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORIGIN: Origin = Origin { producer: 7, epoch: 8, sequence: 9 };

    /// docs/FORMAT.md says that four bytes of a withheld frame's header are zero. A fuzzer found that nobody looked.
    #[test]
    fn a_reserved_field_that_is_not_zero_is_refused() {
        let reason = WithheldReason::Delayed;
        let kind = Kind::Withheld { slot: 0, count: 1, due_ms: 0, append_time_ms: 0, reason, origin: ORIGIN };
        let (context, header, mut bytes) = sample(kind, b"body");
        FrameHeader::decode(&context, header.position, &bytes).unwrap();
        bytes[60] = 1;
        bytes[28..32].copy_from_slice(&[0; 4]);
        let checksum = context.checksum(&bytes[..kind.header_bytes()]);
        bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(FrameHeader::decode(&context, header.position, &bytes), Err(BadFrame::Header));
    }

    fn sample(kind: Kind, body: &[u8]) -> (FrameContext, FrameHeader, Vec<u8>) {
        let context = FrameContext::new(3, 4, 0x1234_5678_9abc_def0);
        let mut header = FrameHeader {
            kind,
            position: Position(8192),
            durable: Position(4096),
            body_bytes: body.len() as u32,
            previous_checksum: 77,
            body_checksum: crc32c::crc32c(body),
            header_checksum: 0,
        };
        let mut bytes = vec![0; header.total_bytes() as usize];
        header.header_checksum = header.encode(&context, &mut bytes);
        bytes[kind.header_bytes()..kind.header_bytes() + body.len()].copy_from_slice(body);
        (context, header, bytes)
    }

    fn kinds() -> Vec<Kind> {
        let reason = WithheldReason::Delayed;
        vec![
            Kind::Records { slot: 1, count: 2, base_offset: 3, append_time_ms: 4, origin: ORIGIN },
            Kind::Withheld { slot: 1, count: 2, due_ms: -3, append_time_ms: 4, reason, origin: ORIGIN },
            Kind::Publish,
            Kind::Discard,
            Kind::Moved { slot: 1, count: 2, due_ms: -3, identity: Position(4096), reason, origin: ORIGIN },
            Kind::Catalog,
            Kind::Checkpoint,
            Kind::Mark,
            Kind::End,
            Kind::Pad,
            Kind::Truncate,
            Kind::Head,
            Kind::Progress,
        ]
    }

    #[test]
    fn every_kind_is_read_back() {
        for kind in kinds() {
            let (context, header, bytes) = sample(kind, b"some body");
            let (read, body) = FrameHeader::decode_whole(&context, Position(8192), &bytes).unwrap();
            assert_eq!((read, body), (header, &b"some body"[..]));
        }
    }

    #[test]
    fn each_flipped_bit_is_noticed() {
        for kind in kinds() {
            let (context, header, bytes) = sample(kind, b"body");
            let significant = kind.header_bytes() + header.body_bytes as usize;
            for bit in 0..significant * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                FrameHeader::decode_whole(&context, Position(8192), &damaged).expect_err("a flipped bit");
            }
        }
    }

    #[test]
    fn a_frame_of_another_place_log_generation_or_use_does_not_pass() {
        let (context, _, bytes) = sample(Kind::Mark, b"");
        assert!(FrameHeader::decode(&context, Position(8192), &bytes).is_ok());
        assert_eq!(FrameHeader::decode(&context, Position(8200), &bytes), Err(BadFrame::NoFrame));
        for other in [FrameContext::new(2, 4, context.salt), FrameContext::new(3, 5, context.salt)] {
            assert_eq!(FrameHeader::decode(&other, Position(8192), &bytes), Err(BadFrame::Header));
        }
        let reused = FrameContext::new(3, 4, context.salt + 1);
        assert_eq!(FrameHeader::decode(&reused, Position(8192), &bytes), Err(BadFrame::NoFrame));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), position in any::<u32>()) {
            let context = FrameContext::new(0, 0, 0);
            let position = Position(u64::from(position) * 8);
            let mut bytes = bytes;
            if bytes.len() >= 16 {
                bytes[0..2].copy_from_slice(b"RL");
                bytes[8..16].copy_from_slice(&position.0.to_le_bytes());
            }
            let _ = FrameHeader::decode_whole(&context, position, &bytes);
        }
    }
}
