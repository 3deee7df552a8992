//! A partition: an index over its lane's log, and the ways to read it.

pub(crate) mod cold;
pub(crate) mod copied;
pub(crate) mod finished;
pub(crate) mod history;
pub(crate) mod index;
pub(crate) mod page_cache;
mod published;
pub(crate) mod read_ahead;
pub(crate) mod reader;
mod runs;
pub(crate) mod sealed;
pub(crate) mod segments;
pub(crate) mod shared;
pub(crate) mod sidecar;
pub(crate) mod table;
pub(crate) mod tail_cache;
