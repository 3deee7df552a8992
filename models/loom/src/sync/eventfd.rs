//! The one eventfd of a model, and a ring that polls it.

use super::{Fault, fault};
use loom::sync::{Condvar, Mutex};

loom::lazy_static! {
    static ref COUNT: Mutex<u64> = Mutex::new(0);
    static ref BELL: Condvar = Condvar::new();
}

pub(crate) fn ring() {
    if fault() != Fault::NoWake {
        *COUNT.lock().expect("loom's locks are not poisoned") += 1;
        BELL.notify_all();
    }
}

pub(crate) fn drain() {
    *COUNT.lock().expect("loom's locks are not poisoned") = 0;
}

/// Sleeps in the ring until the event is readable.
pub(crate) fn sleep() {
    let mut count = COUNT.lock().expect("loom's locks are not poisoned");
    while *count == 0 {
        count = BELL.wait(count).expect("loom's locks are not poisoned");
    }
}
