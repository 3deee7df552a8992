//! Checkpoints: the state of a log at the beginning of a segment, cut into frames.
//!
//! Body of each frame: `u32 part, u32 parts, u64 previous_end, bytes`, where `previous_end` is the end
//! of the segment before it in the same generation (zero for the first): opening need not look for it.
//!
//! Invariants:
//! - Every segment begins with a whole checkpoint, so that opening reads one segment and not the log.
//! - A checkpoint is always full: the state of 10,000 partitions takes 280 KB, and segments are sized
//!   to at least eight times their checkpoint.

use super::state::LogState;
use crate::log::codec::Reader;
use crate::log::position::Position;

/// Bytes of the state in one frame.
const PART_BYTES: usize = 512 << 10;
/// Bytes before it.
const PREFIX_BYTES: usize = 16;

/// A state, to be written as a checkpoint.
pub(crate) struct Checkpoint {
    bytes: Vec<u8>,
    previous_end: Position,
}

impl Checkpoint {
    pub(crate) fn new(state: &LogState, previous_end: Position) -> Checkpoint {
        Checkpoint { bytes: state.encode(), previous_end }
    }

    /// The bodies of its frames.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let parts = self.bytes.len().div_ceil(PART_BYTES) as u32;
        self.bytes.chunks(PART_BYTES).zip(0u32..).map(move |(bytes, part)| {
            let mut prefix = [0; PREFIX_BYTES];
            prefix[0..4].copy_from_slice(&part.to_le_bytes());
            prefix[4..8].copy_from_slice(&parts.to_le_bytes());
            prefix[8..16].copy_from_slice(&self.previous_end.0.to_le_bytes());
            Part { prefix, bytes }
        })
    }
}

/// The body of one frame, in two pieces: it is copied only to where it is written from.
pub(crate) struct Part<'a> {
    prefix: [u8; PREFIX_BYTES],
    bytes: &'a [u8],
}

impl Part<'_> {
    pub(crate) fn len(&self) -> usize {
        PREFIX_BYTES + self.bytes.len()
    }

    pub(crate) fn checksum(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.prefix), self.bytes)
    }

    pub(crate) fn copy_to(&self, target: &mut [u8]) {
        let (prefix, rest) = target.split_at_mut(PREFIX_BYTES);
        prefix.copy_from_slice(&self.prefix);
        rest.copy_from_slice(self.bytes);
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        [&self.prefix, self.bytes].concat()
    }
}

/// What the first part says of the segment before.
pub(crate) fn previous_end(body: &[u8]) -> Option<Position> {
    let mut reader = Reader::new(body.get(8..)?);
    reader.u64().map(Position).filter(|end| end.0 != 0)
}

/// The largest append time before the segment, as the first part says it.
pub(crate) fn append_time_ms(body: &[u8]) -> Option<i64> {
    Reader::new(body.get(PREFIX_BYTES..)?).i64()
}

/// Puts the parts together again.
#[derive(Default)]
pub(crate) struct Assembly {
    parts: u32,
    next: u32,
    bytes: Vec<u8>,
}

impl Assembly {
    /// Takes the next part; returns the state when it was the last one.
    pub(crate) fn push(&mut self, body: &[u8]) -> Result<Option<LogState>, &'static str> {
        let mut reader = Reader::new(body);
        let (Some(part), Some(parts), Some(_)) = (reader.u32(), reader.u32(), reader.u64()) else {
            return Err("a checkpoint's part is too short");
        };
        if part != self.next || part >= parts || (part > 0 && parts != self.parts) {
            return Err("the parts of a checkpoint do not follow each other");
        }
        self.parts = parts;
        self.next += 1;
        self.bytes.extend_from_slice(&body[PREFIX_BYTES..]);
        if self.next < parts {
            return Ok(None);
        }
        let state = LogState::decode(&self.bytes).ok_or("a checkpoint cannot be read")?;
        *self = Assembly::default();
        Ok(Some(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_state_is_cut_and_put_together() {
        let mut state = LogState::default();
        state.append_time_ms = 5;
        for slot in 0..40_000 {
            state.assign(slot, 1, 1);
        }
        let parts: Vec<Vec<u8>> = Checkpoint::new(&state, Position(77)).parts().map(|part| part.to_vec()).collect();
        assert!(parts.len() > 1);
        assert_eq!(previous_end(&parts[0]), Some(Position(77)));
        assert_eq!(append_time_ms(&parts[0]), Some(5));
        let mut assembly = Assembly::default();
        let (last, first) = parts.split_last().unwrap();
        for part in first {
            assert!(assembly.push(part).unwrap().is_none());
        }
        assert_eq!(assembly.push(last).unwrap().unwrap().encode(), state.encode());
        assert!(assembly.push(&parts[1]).is_err(), "out of turn");
    }
}
