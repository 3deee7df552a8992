//! The simulator: the engine's own lanes, keeper, recovery and readers on a simulated disk, in simulated
//! time, on one thread, in an order that a seed fixes.
//!
//! - [`scheduler`] plays the threads, [`machine`] the computer with its [`disk`], [`storage`] and [`ring`]
//!   are how the engine meets it, [`recorder`] writes the history and keeps the clocks.
//!   [`view`] is how somebody outside meets a disk.
//! - [`plan`] lays out what a seed does; the kinds of operations are in [`workload`]. [`director`] opens the
//!   engine again and again and [`client`]s use it; [`outbox`] is what
//!   they know of their named producers.
//! - [`run`] runs a plan and judges its history; [`clone`] opens copies of the disk as crashes would leave
//!   them; [`shrink`] makes a failing plan small; [`damage`] is the medium's; [`exhaustive`] leaves nothing to chance.

pub mod client;
pub mod clone;
pub mod contents;
pub mod damage;
pub mod director;
pub mod disk;
pub mod exhaustive;
pub mod faults;
pub mod groups;
pub mod machine;
pub mod outbox;
pub mod payload;
pub mod plan;
pub mod random;
pub mod recorder;
pub mod ring;
pub mod run;
pub mod scheduler;
pub mod shape;
pub mod shared;
pub mod shrink;
pub mod storage;
pub mod transactions;
pub mod view;
pub mod workload;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks what is shared within one run: whoever holds it does not wait.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
