//! Sending: records are encoded by the sender's thread, collected for each lane, and answered by receipts.

pub(crate) mod accumulator;
pub(crate) mod batch;
pub(crate) mod dispatcher;
mod handle;
pub(crate) mod identity;
mod listeners;
#[allow(clippy::module_inception)]
mod producer;

pub use handle::{BatchHandle, SendHandle};
pub use identity::{LastSent, ProducerInfo};
pub use producer::{Producer, ProducerOptions};
pub use receipt::{Durability, Receipt, RecordId};

mod receipt;
pub(crate) mod spare;
