//! Ringlane: an embedded, durable message log. What SQLite is to databases, Ringlane is to message queues.
//!
//! An application opens a directory and gets produce and consume calls in its own process. A record is
//! acknowledged when it is on the device; a damaged or missing one is noticed, never passed over.
//!
//! ```
//! # fn main() -> ringlane::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! use ringlane::{ConsumerOptions, Engine, Options, ProducerOptions, Record, Start, TopicOptions};
//! use std::time::Duration;
//!
//! let engine = Engine::open(directory.path(), Options::new())?;
//! let orders = engine.create_topic("orders", TopicOptions::new().partitions(4))?;
//!
//! let producer = engine.producer(ProducerOptions::new())?;
//! let receipt = producer.send(&orders, Record::new(b"paid").key(b"order-7"))?.wait()?;
//!
//! let mut consumer = engine.consumer(ConsumerOptions::new())?;
//! consumer.assign_all(&orders, Start::Beginning)?;
//! for record in &consumer.poll(Duration::from_secs(1))? {
//!     assert_eq!(record.value(), Some(&b"paid"[..]));
//!     assert_eq!(Some(record.offset()), receipt.offset);
//! }
//! # engine.close()
//! # }
//! ```

pub mod admin;
mod audit;
#[doc(hidden)]
pub mod bench_support;
mod bounds;
#[doc(hidden)]
pub mod canary;
mod cleaner;
mod consumer;
mod engine;
mod error;
mod follower;
#[doc(hidden)]
pub mod fuzz_support;
pub mod inspect;
mod interceptor;
#[doc(hidden)]
pub mod io;
mod keeper;
mod lane;
mod log;
mod opening;
mod options;
mod partition;
mod producer;
mod record;
mod repair;
mod reserve;
mod retention;
mod stats;
mod sync;
mod topic;
mod transaction;
mod verify;

#[doc(hidden)]
pub mod simulation {
    //! What a simulator needs of the inside. Not part of the API.
    pub use crate::sync::driver::{Driver, install};
}

pub use audit::{
    AuditOptions, AuditProgress, AuditReport, GroupAudit, LostNumbers, NumberCounts, PartitionAudit, ProducerAudit,
};
pub use consumer::{
    Acknowledger, Deliveries, DeliveriesIter, Delivery, DeliveryId, GroupConsumer, GroupInfo, GroupKind, GroupOptions,
    GroupPartitionInfo, MemberOptions, NextDeliveries, Once, Redrive, Redriven,
};
pub use consumer::{
    Consumer, ConsumerOptions, Filter, NextRecords, RecordView, Records, RecordsIter, Start, ViewHeaders,
};
pub use consumer::{
    ContinuityChecker, ContinuityFinding, ContinuityOptions, ContinuityReport, Discontinuity, FindingCounts,
    MissingCounts, MissingRange, MissingReason, TopicPartition,
};
#[doc(hidden)]
pub use engine::Monitor;
pub use engine::{Engine, RecoverySummary};
pub use error::{Error, Result};
pub use inspect::{inspect, inspect_frames};
pub use interceptor::{
    ConsumerInterceptor, DeliveryEnd, EndedDeliveries, InterceptorResult, ProducerInterceptor, Sending,
};
pub use io::{Backend, IoFailure, IoReport, WriteStrategy};
pub use lane::recovery::Hole;
pub use log::origin::Origin;
pub use options::{DiskBound, Options, Recovery};
pub use producer::{
    BatchHandle, Durability, LastSent, Producer, ProducerInfo, ProducerOptions, Receipt, RecordId, SendHandle,
};
#[doc(hidden)]
pub use producer::{NoteRoom, NotedRecords, OutcomeSink, RecordSource};
pub use record::{Header, Headers, Record, RecordRef, TAG_HEADER, Visibility};
pub use repair::{LostOffsets, MovedOffsets, RepairProgress, RepairReport, repair};
pub use stats::{CleanerStats, LaneStats, OutsideLog, OutsideStats, Stats};
pub use topic::{PartitionInfo, Retention, Topic, TopicOptions};
pub use transaction::{
    CheckAnswer, CheckerOptions, Committed, HalfTransaction, LocalOutcome, SentInTransaction, Transaction,
    TransactionChecker, TransactionInfo, TransactionOptions, TransactionOutcome, TransactionState, TransactionStats,
};
pub use verify::{Finding, Severity, VerifyProgress, VerifyReport, verify};
