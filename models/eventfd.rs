//! The one eventfd of a model, and a ring that polls it. Shared by both crates of models.

use super::{Condvar, Fault, Mutex, fault, lazy_static};

lazy_static! {
    static ref COUNT: Mutex<u64> = Mutex::new(0);
    static ref BELL: Condvar = Condvar::new();
}

pub(crate) fn ring() {
    if fault() != Fault::NoWake {
        *COUNT.lock().expect("nobody panicked with it") += 1;
        BELL.notify_all();
    }
}

pub(crate) fn drain() {
    *COUNT.lock().expect("nobody panicked with it") = 0;
}

/// Sleeps in the ring until the event is readable.
pub(crate) fn sleep() {
    let mut count = COUNT.lock().expect("nobody panicked with it");
    while *count == 0 {
        count = BELL.wait(count).expect("nobody panicked with it");
    }
}
