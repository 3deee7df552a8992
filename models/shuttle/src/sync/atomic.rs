//! Shuttle's atomics, and a word that threads may sleep on.

use super::{Fault, fault};
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use shuttle::sync::{Condvar, Mutex};
/// Counters for statistics, which no decision hangs on: no order of them need be tried.
pub(crate) use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64};

/// Here all operations are in one order already; a fence is only another place where threads may change.
pub(crate) fn fence(_: Ordering) {
    shuttle::thread::yield_now();
}

/// See the module.
#[derive(Debug)]
pub(crate) struct AtomicU32 {
    word: shuttle::sync::atomic::AtomicU32,
    sleepers: Mutex<u32>,
    bell: Condvar,
}

impl Default for AtomicU32 {
    fn default() -> Self {
        Self::new(0)
    }
}

impl AtomicU32 {
    pub(crate) fn new(value: u32) -> Self {
        let word = shuttle::sync::atomic::AtomicU32::new(value);
        AtomicU32 { word, sleepers: Mutex::new(0), bell: Condvar::new() }
    }
    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.word.load(order)
    }
    pub(crate) fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.word.swap(value, order)
    }
    pub(crate) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        self.word.fetch_add(value, order)
    }
    pub(crate) fn fetch_sub(&self, value: u32, order: Ordering) -> u32 {
        self.word.fetch_sub(value, order)
    }
    pub(crate) fn compare_exchange(&self, from: u32, to: u32, good: Ordering, bad: Ordering) -> Result<u32, u32> {
        self.word.compare_exchange(from, to, good, bad)
    }

    /// The kernel's FUTEX_WAIT: the lock of its queue is held from the look to the sleep.
    pub(crate) fn sleep_while(&self, expected: u32) {
        let mut sleepers = self.sleepers.lock().expect("nobody panicked with it");
        if self.word.load(Ordering::Relaxed) == expected {
            *sleepers += 1;
            drop(self.bell.wait(sleepers));
        }
    }

    /// FUTEX_WAKE.
    pub(crate) fn wake_all(&self) -> u32 {
        if fault() == Fault::NoWake {
            return 0;
        }
        let mut sleepers = self.sleepers.lock().expect("nobody panicked with it");
        self.bell.notify_all();
        std::mem::take(&mut *sleepers)
    }
}
