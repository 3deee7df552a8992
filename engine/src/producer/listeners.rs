//! Callbacks and tasks that wait for the outcome of a batch.
//!
//! Invariant: whoever registers while the batch completes is told once. A listener says that it is there, then
//! looks whether the batch is done; the lane marks the batch done, then looks whether there are listeners. All four
//! are sequentially consistent, so one of them sees the other; the lock decides who tells.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Runs when a batch has its outcome.
pub(crate) type Callback<T> = Box<dyn FnOnce(&T) + Send>;

struct Held<T> {
    callbacks: Vec<Callback<T>>,
    wakers: Vec<Waker>,
}

/// See the module.
pub(crate) struct Listeners<T> {
    there: AtomicBool,
    held: Mutex<Held<T>>,
}

impl<T> Default for Listeners<T> {
    fn default() -> Self {
        let held = Mutex::new(Held { callbacks: Vec::new(), wakers: Vec::new() });
        Listeners { there: AtomicBool::new(false), held }
    }
}

impl<T> Listeners<T> {
    /// Keeps a callback; gives it back if the batch is done already.
    pub(crate) fn add_callback(&self, is_done: impl Fn() -> bool, callback: Callback<T>) -> Result<(), Callback<T>> {
        let mut held = lock(&self.held);
        self.there.store(true, Ordering::SeqCst);
        if is_done() {
            return Err(callback);
        }
        held.callbacks.push(callback);
        Ok(())
    }

    /// Keeps a task; `false` if the batch is done already.
    pub(crate) fn add_waker(&self, is_done: impl Fn() -> bool, waker: &Waker) -> bool {
        let mut held = lock(&self.held);
        self.there.store(true, Ordering::SeqCst);
        if is_done() {
            return false;
        }
        if !held.wakers.iter().any(|known| known.will_wake(waker)) {
            held.wakers.push(waker.clone());
        }
        true
    }

    /// For who completed the batch: whether anybody is to be told.
    pub(crate) fn are_there(&self) -> bool {
        self.there.load(Ordering::SeqCst)
    }

    /// The tasks, and whether there are callbacks.
    pub(crate) fn take_wakers(&self) -> (Vec<Waker>, bool) {
        let mut held = lock(&self.held);
        (std::mem::take(&mut held.wakers), !held.callbacks.is_empty())
    }

    /// Runs the callbacks that were registered in time.
    pub(crate) fn run_callbacks(&self, outcome: &T) {
        let callbacks = std::mem::take(&mut lock(&self.held).callbacks);
        for callback in callbacks {
            // One that panics says so on standard error; the others are called all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(outcome)));
        }
    }
}
