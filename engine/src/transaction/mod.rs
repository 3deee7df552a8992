//! Transactions: records for any partitions and acknowledgements that become effective together, or not at all.
//!
//! ```text
//!            prepare              commit
//!   Open ---------------> Prepared ------> Committed
//!    |  \                  |   ^  \
//!    |   \ commit          |   |   \ roll back
//!    |    `----------------|---|--> Committed / RolledBack
//!    | roll back, timeout, |   | any answer
//!    | the process ends    v   |
//!    `-> RolledBack      Unresolved (the checks ran out)
//! ```
//!
//! What a log has of it, and how it is decided there: [`crate::lane::transactions`]; what is done at opening:
//! [`crate::lane::resolving`].

mod checking;
mod committed;
mod contents;
mod deciding;
mod engine;
mod info;
mod local;
mod open;
mod options;
pub(crate) mod registry;
mod watched;

pub use crate::lane::transactions::TransactionOutcome;
pub use checking::{CheckAnswer, CheckerOptions, HalfTransaction, TransactionChecker};
pub use committed::Committed;
pub use info::{TransactionInfo, TransactionState};
pub use local::{LocalOutcome, SentInTransaction};
pub use open::Transaction;
#[cfg(test)]
pub(crate) use options::CHECKER_BYTES_MAX;
pub use options::TransactionOptions;
pub use registry::TransactionStats;
