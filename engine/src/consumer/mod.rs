//! Reading by assignment: poll, seek, follow.

#[allow(clippy::module_inception)]
mod consumer;
mod records;

pub use consumer::{Consumer, ConsumerOptions, Start};
pub use records::{RecordView, Records, RecordsIter, ViewHeaders};
