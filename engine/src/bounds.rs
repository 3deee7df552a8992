//! Bounds that are part of the format or that no option may pass.

/// Longest name of a topic or producer in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 249;
/// Most partitions of one topic.
pub(crate) const PARTITIONS_MAX: u32 = 65_536;
/// Most topics of one engine.
pub(crate) const TOPICS_MAX: usize = 65_536;
/// Most named producers of one engine.
pub(crate) const PRODUCERS_MAX: usize = 65_536;
/// Most groups of one engine.
pub(crate) const GROUPS_MAX: usize = 10_000;
/// Most lanes of one engine.
pub(crate) const LANES_MAX: u32 = 64;
/// Largest record (key, value, headers and the record's own header) an option may allow.
pub(crate) const RECORD_BYTES_CEILING: usize = 16 << 20;
/// Largest `batch_bytes` that an option may ask for.
pub(crate) const BATCH_BYTES_CEILING: usize = 4 << 20;
/// Nothing is submitted further than this beyond the contiguous durable prefix: W of the log's
/// generation. Written into the manifest; a log keeps the value it was created with.
pub(crate) const WINDOW_BYTES: u64 = 64 << 20;
/// Smallest and largest segment.
pub(crate) const SEGMENT_BYTES_FLOOR: u64 = 1 << 20;
/// See [`SEGMENT_BYTES_FLOOR`].
pub(crate) const SEGMENT_BYTES_CEILING: u64 = 4 << 30;
/// Smallest bound on the disk for each lane.
pub(crate) const DISK_BYTES_FLOOR: u64 = 32 << 20;
/// Most partitions of all topics ever created in one engine.
pub(crate) const SLOTS_MAX: u32 = 250_000;
/// Most records withheld at once that an option may allow: their list is part of every checkpoint.
pub(crate) const WITHHELD_RECORDS_CEILING: u64 = 500_000;
