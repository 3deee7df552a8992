//! Reading by assignment: poll, seek, follow.

#[allow(clippy::module_inception)]
mod consumer;
mod continuity;
#[allow(dead_code, reason = "groups are built before the consumers use them")]
pub(crate) mod group;
mod records;

pub use consumer::{Consumer, ConsumerOptions, Start};
pub use continuity::{
    ContinuityChecker, ContinuityFinding, ContinuityOptions, ContinuityReport, Discontinuity, FindingCounts,
    MissingCounts, MissingRange, MissingReason, TopicPartition,
};
pub use records::{RecordView, Records, RecordsIter, ViewHeaders};
