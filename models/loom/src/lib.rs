//! The engine's own files that let threads meet without a lock, compiled once more with atomics of loom: it runs a
//! model again and again until it has seen every interleaving, and every value that a load may give.
//!
//! A file of the engine names its atomics, locks and waiting by `crate::sync`; here that is [`sync`]. What else
//! such a file needs of the engine stands in small stand-ins below, which have no part in what is shown.
//!
//! Invariants:
//! - A model does what the engine does with the file; the protocol is the file's, not the model's.
//! - Each model is run once as it is and once with each [`sync::Fault`] that must break it.

#![allow(dead_code, missing_docs, unreachable_pub)]

extern crate self as crossbeam_queue;
extern crate self as crossbeam_utils;

#[path = "../../engine.rs"]
mod engine;
pub mod models;
pub mod sync;

pub(crate) use engine::{error, io, lane, log, partition, producer};
pub(crate) use sync::queue::{ArrayQueue, CachePadded};
