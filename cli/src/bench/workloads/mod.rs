//! One file for each workload.

pub(super) mod ack;
pub(super) mod bulk;
pub(super) mod clean;
pub(super) mod cold;
pub(super) mod device;
pub(super) mod group;
pub(super) mod grow;
pub(super) mod index;
pub(super) mod inflight;
pub(super) mod lone;
pub(super) mod many;
pub(super) mod open;
pub(super) mod tail;
pub(super) mod txn;

mod feed;
