//! Waiting between threads: a one-shot event and a counter, both on a futex.
//!
//! A futex rather than a condition variable, because one completion may release many senders, and
//! they should not queue for a mutex on the way out.

mod event;
mod futex;
mod signal;

pub(crate) use event::Event;
pub(crate) use signal::Signal;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose holders leave it consistent even when they panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
