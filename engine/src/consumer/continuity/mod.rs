//! Continuity: is a record missing, there twice, or out of its place?
//!
//! The engine numbers the records of each producer in each partition from 0, densely. So whoever reads a partition can
//! tell by the numbers alone what is not there.
//!
//! ```text
//!  read on time:     0  1  2        5  6           the gap 3..4 is found at 5
//!  published late:                        4        closes a part of it: 3 is still missing
//!  explained:        3 was cancelled               nothing is missing any more
//! ```
//!
//! Invariants:
//! - Pure: no engine, no threads, no clock. The same records give the same findings, one by one or in runs.
//! - What it says of a number is true: a bound that is reached makes it forget, and it says what it forgot.
//! - A record that was not delayed is appended and visible in one step. So once one was seen, all smaller numbers that
//!   were not delayed stand before it; only from there on can a number be missing.

mod checker;
pub(super) mod explain;
mod finding;
mod missing;
#[cfg(test)]
mod model;
mod options;
mod ranges;
mod report;
mod seen;
mod stream;
#[cfg(test)]
mod tests;

pub use checker::{ContinuityChecker, TopicPartition};
pub use finding::{ContinuityFinding, Discontinuity};
pub use missing::{MissingRange, MissingReason};
pub use options::ContinuityOptions;
pub(crate) use seen::Seen;

pub use report::{ContinuityReport, FindingCounts, MissingCounts};
