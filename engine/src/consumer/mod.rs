//! Reading by assignment: poll, seek, follow.

#[allow(clippy::module_inception)]
mod consumer;
mod continuity;
mod records;

pub use consumer::{Consumer, ConsumerOptions, Start};
pub use continuity::{
    ContinuityChecker, ContinuityFinding, ContinuityOptions, ContinuityReport, Discontinuity, FindingCounts,
    MissingCounts, MissingRange, MissingReason, TopicPartition,
};
pub use records::{RecordView, Records, RecordsIter, ViewHeaders};
