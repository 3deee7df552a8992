//! Sending: records are encoded by the sender's thread, collected for each lane, and answered by receipts.

pub(crate) mod accumulator;
pub(crate) mod batch;
pub(crate) mod dispatcher;
mod handle;
pub(crate) mod identity;
mod listeners;
#[allow(clippy::module_inception)]
mod producer;
mod sink;

pub use handle::{BatchHandle, SendHandle};
pub use identity::{LastSent, ProducerInfo};
pub use producer::{Producer, ProducerOptions, RecordSource};
pub use receipt::{Durability, Receipt, RecordId};
pub use sink::{NoteRoom, NotedRecords, OutcomeSink};

mod receipt;
pub(crate) mod spare;
