//! Waiting between threads: a one-shot event and a counter, both on a futex.
//!
//! Files whose threads meet without a lock take atomics and locks from here (`crate::sync::atomic`,
//! `crate::sync::Mutex`), not from `std`: models/ compiles the same files with ones of its own.
//!
//! A futex rather than a condition variable, because one completion may release many senders, and
//! they should not queue for a mutex on the way out.

pub(crate) mod driver;
mod event;
mod futex;
mod signal;
pub(crate) mod thread;

pub(crate) use driver::{now, yield_now};
pub(crate) use event::Event;
pub(crate) use signal::Signal;

pub(crate) use std::sync::atomic;
pub(crate) use std::sync::{Mutex, MutexGuard};
use std::sync::{PoisonError, TryLockError};

/// Locks a mutex whose holders leave it consistent even when they panic.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => lock_held(mutex),
    }
}

/// Somebody else has it. If that is another thread of a simulator, it must run to give it back.
#[cold]
fn lock_held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    while let Some(driver) = driver::current() {
        driver.yield_now();
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
