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
use crate::log::codec::{Put, Reader};
use crate::log::position::Position;

/// Bytes of the state in one frame.
const PART_BYTES: usize = 512 << 10;
/// Bytes before it.
const PREFIX_BYTES: usize = 16;

/// The bodies of the frames of a checkpoint.
pub(crate) fn encode_parts(state: &LogState, previous_end: Position) -> Vec<Vec<u8>> {
    let bytes = state.encode();
    let parts = bytes.len().div_ceil(PART_BYTES) as u32;
    bytes
        .chunks(PART_BYTES)
        .enumerate()
        .map(|(part, chunk)| {
            let mut body = Vec::with_capacity(PREFIX_BYTES + chunk.len());
            body.put_u32(part as u32);
            body.put_u32(parts);
            body.put_u64(previous_end.0);
            body.extend_from_slice(chunk);
            body
        })
        .collect()
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
        let parts = encode_parts(&state, Position(77));
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
