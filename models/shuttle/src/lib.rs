//! The whole hand-over from senders to a lane and back, with more threads than loom can try in all orders: shuttle
//! runs it again and again, each time in an order that is chosen at random, and names the order that failed.
//!
//! The engine's own files are compiled once more, with shuttle's atomics and locks under `crate::sync` (see
//! [`sync`]); models/engine.rs has stand-ins for what else they name, a small accumulator among them.
//! Shuttle knows no weak memory: orders of loads and stores are loom's matter (models/loom).

#![allow(dead_code, missing_docs, unreachable_pub)]

extern crate self as crossbeam_queue;
extern crate self as crossbeam_utils;

#[path = "../../engine.rs"]
#[allow(unused)]
mod engine;
pub mod hand_over;
pub mod sync;

pub(crate) use engine::{error, io, lane, log, producer};
pub(crate) use sync::queue::{ArrayQueue, CachePadded};
