//! Who wrote a record, and as which one of its records.
//!
//! Invariants:
//! - Within one partition the records of one producer have the numbers 0, 1, 2, ... in the order in which they were
//!   appended, whichever epochs of it appended them.
//! - The lane gives a number when it appends the record: a send that fails uses none up.

use super::frame::{u32_at, u64_at};

/// Who wrote a record, and as which one of its records in this partition. The engine says it, not the sender, so a number
/// that is missing was a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Origin {
    /// The producer: [`Origin::UNNAMED`], or the id of a named one (see
    /// [`Engine::producers`](crate::Engine::producers)).
    pub producer: u32,
    /// How often the named producer was opened before this record; 0 for unnamed ones.
    pub epoch: u32,
    /// Which one of the producer's records in this partition, from 0. Numbers go on from epoch to epoch.
    pub sequence: u64,
}

impl Origin {
    /// All producers without a name count as one.
    pub const UNNAMED: u32 = 0;

    /// Bytes in a frame's header.
    pub(crate) const BYTES: usize = 16;

    /// Of a record so many places behind this one, in the same frame.
    #[must_use]
    pub(crate) fn plus(self, records: u32) -> Origin {
        Origin { sequence: self.sequence.wrapping_add(u64::from(records)), ..self }
    }

    pub(crate) fn put(self, target: &mut [u8]) {
        target[0..4].copy_from_slice(&self.producer.to_le_bytes());
        target[4..8].copy_from_slice(&self.epoch.to_le_bytes());
        target[8..16].copy_from_slice(&self.sequence.to_le_bytes());
    }

    pub(crate) fn take(bytes: &[u8]) -> Origin {
        Origin { producer: u32_at(bytes, 0), epoch: u32_at(bytes, 4), sequence: u64_at(bytes, 8) }
    }
}
