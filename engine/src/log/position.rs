//! Places in a log.
//!
//! Invariants:
//! - Positions count the bytes of all segments a log ever had; a position is never used twice.
//! - A segment covers the positions `base..base + bytes`; the file offset of a position is
//!   `position - base`. The first page of a segment is its header, so no frame begins there.

/// A place in one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(pub(crate) u64);

impl Position {
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
