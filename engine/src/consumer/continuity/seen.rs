//! What was seen of a producer's numbers, for who compares it with what is known otherwise.

use super::stream::Stream;

/// One producer in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) producer: u32,
    /// Of the largest number.
    pub(crate) epoch: u32,
    /// One more than the largest number.
    pub(crate) next: u64,
    /// Smaller numbers that were not seen, whether they are missed or not: ranges as first and last, in order.
    pub(crate) unseen: Vec<(u64, u64)>,
    /// Some numbers that were not seen are forgotten.
    pub(crate) is_forgotten: bool,
}

impl Seen {
    pub(super) fn of(stream: &Stream) -> Seen {
        let Stream { producer, epoch, next, floor, .. } = *stream;
        let unseen = stream.unseen.iter().map(|range| (range.first, range.last)).collect();
        Seen { producer, epoch, next, unseen, is_forgotten: floor > 0 }
    }
}
