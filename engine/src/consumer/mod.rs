//! Reading by assignment: poll, seek, follow.

#[allow(clippy::module_inception)]
pub(crate) mod consumer;
pub(crate) mod continuity;
pub(crate) mod filter;
pub(crate) mod group;
mod records;

pub use consumer::{Consumer, ConsumerOptions, NextRecords, Start};
pub use continuity::{
    ContinuityChecker, ContinuityFinding, ContinuityOptions, ContinuityReport, Discontinuity, FindingCounts,
    MissingCounts, MissingRange, MissingReason, TopicPartition,
};
pub use filter::Filter;
pub use group::{
    Acknowledger, Deliveries, DeliveriesIter, Delivery, DeliveryId, GroupConsumer, GroupInfo, GroupKind, GroupOptions,
    GroupPartitionInfo, MemberOptions, NextDeliveries, Once, Redrive, Redriven,
};
pub use records::{RecordView, Records, RecordsIter, ViewHeaders};
