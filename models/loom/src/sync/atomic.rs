//! Atomics with the engine's operations; see the module above.

use super::{Fault, fault};
use loom::sync::{Condvar, Mutex};
pub(crate) use std::sync::atomic::Ordering;

/// A fence, unless fences are broken.
pub(crate) fn fence(order: Ordering) {
    if !matches!(fault(), Fault::NoFences | Fault::Relaxed) {
        loom::sync::atomic::fence(order);
    }
}

/// The order that an operation has in this run; a sequentially consistent one gets its fence.
fn ordered(order: Ordering, weak: Ordering) -> Ordering {
    match (fault(), order) {
        (Fault::Relaxed, _) => Ordering::Relaxed,
        (Fault::NoTotalOrder | Fault::NoFences, Ordering::SeqCst) => weak,
        (_, Ordering::SeqCst) => {
            loom::sync::atomic::fence(Ordering::SeqCst);
            weak
        }
        (_, order) => order,
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                $name(loom::sync::atomic::$name::new(value))
            }
            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.0.load(ordered(order, Ordering::Acquire))
            }
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, ordered(order, Ordering::Release));
            }
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.0.swap(value, ordered(order, Ordering::AcqRel))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(<$value>::default())
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU8, u8);
atomic!(AtomicUsize, usize);

impl AtomicUsize {
    pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
        self.0.fetch_add(value, ordered(order, Ordering::AcqRel))
    }
}

/// Counters for statistics, which no decision hangs on: loom need not try their values.
pub(crate) use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64};

/// A word that threads may sleep on.
#[derive(Debug)]
pub(crate) struct AtomicU32 {
    word: loom::sync::atomic::AtomicU32,
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
        let word = loom::sync::atomic::AtomicU32::new(value);
        AtomicU32 { word, sleepers: Mutex::new(0), bell: Condvar::new() }
    }
    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.word.load(ordered(order, Ordering::Acquire))
    }
    pub(crate) fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.word.swap(value, ordered(order, Ordering::AcqRel))
    }
    pub(crate) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        self.word.fetch_add(value, ordered(order, Ordering::AcqRel))
    }
    pub(crate) fn fetch_sub(&self, value: u32, order: Ordering) -> u32 {
        self.word.fetch_sub(value, ordered(order, Ordering::AcqRel))
    }
    pub(crate) fn compare_exchange(&self, from: u32, to: u32, good: Ordering, bad: Ordering) -> Result<u32, u32> {
        let bad = if bad == Ordering::SeqCst { Ordering::Acquire } else { bad };
        let bad = if fault() == Fault::Relaxed { Ordering::Relaxed } else { bad };
        self.word.compare_exchange(from, to, ordered(good, Ordering::AcqRel), bad)
    }

    /// The kernel's FUTEX_WAIT: the lock of its queue is held from the look to the sleep.
    pub(crate) fn sleep_while(&self, expected: u32) {
        let mut sleepers = self.sleepers.lock().expect("loom's locks are not poisoned");
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
        let mut sleepers = self.sleepers.lock().expect("loom's locks are not poisoned");
        self.bell.notify_all();
        std::mem::take(&mut *sleepers)
    }
}
