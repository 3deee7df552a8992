//! Places in a log.
//!
//! Invariants:
//! - Positions count the bytes of all segments a log ever had; a position is never used twice.
//! - A segment covers the positions `base..base + bytes`; the file offset of a position is
//!   `position - base`. The first page of a segment is its header, so no frame begins there.
//! - What the cleaner has copied stands at positions from [`Position::COPIES`] on, which no lane comes to. They are
//!   addresses only: nothing is named by one.
//! - Logs that are written at the same time have the same positions; one that is begun later, when the
//!   directory gets another number of lanes, has none that an earlier one had.

use super::codec::{Put, Reader};

/// A place in one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(pub(crate) u64);

/// Names a frame for ever: where it was first written. Never an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    pub(crate) log: u32,
    pub(crate) position: Position,
}

/// A stretch of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: Position,
    /// Behind its end.
    pub(crate) to: Position,
}

impl Identity {
    /// Its size in the log.
    pub(crate) const BYTES: usize = 12;

    pub(crate) fn encode(self, target: &mut Vec<u8>) {
        target.put_u32(self.log);
        target.put_u64(self.position.0);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Identity> {
        Some(Identity { log: reader.u32()?, position: Position(reader.u64()?) })
    }
}

impl Position {
    /// Where the positions of copied segments begin.
    pub(crate) const COPIES: Position = Position(1 << 60);

    /// Whether it lies in a copied segment.
    pub(crate) fn is_of_copy(self) -> bool {
        self >= Position::COPIES
    }

    /// The position `bytes` further on.
    pub(crate) fn advance(self, bytes: u64) -> Position {
        Position(self.0 + bytes)
    }

    /// Bytes from `earlier` to here.
    pub(crate) fn since(self, earlier: Position) -> u64 {
        debug_assert!(self >= earlier);
        self.0 - earlier.0
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
