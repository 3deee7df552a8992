//! A lane: the state machine of one core, and the log's meaning (offsets, topics, withheld records).

pub(crate) mod acknowledged;
pub(crate) mod cancelled;
pub(crate) mod catalog;
pub(crate) mod checkpoint;
pub(crate) mod cohort;
pub(crate) mod cut;
pub(crate) mod entries;
pub(crate) mod groups;
pub(crate) mod handover;
pub(crate) mod inbox;
#[allow(clippy::module_inception)]
pub(crate) mod lane;
pub(crate) mod lost;
pub(crate) mod numbers;
pub(crate) mod originals;
pub(crate) mod progress;
pub(crate) mod read_ahead;
pub(crate) mod recovery;
pub(crate) mod repeats;
pub(crate) mod resolving;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod steps;
pub(crate) mod supply;
pub(crate) mod thread;
pub(crate) mod transactions;
pub(crate) mod writer;
