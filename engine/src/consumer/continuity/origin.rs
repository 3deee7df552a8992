//! Who wrote a record, and as which of its records in the partition.

/// Given by the engine when the record is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Origin {
    /// The producer; 0 stands for all that have no name.
    pub producer: u32,
    /// One more each time that the producer is opened again.
    pub epoch: u32,
    /// The place among the producer's records in the partition, from 0 on, over all epochs.
    pub sequence: u64,
}
