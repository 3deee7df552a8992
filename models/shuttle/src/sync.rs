//! What the engine's files find under `crate::sync`, made of shuttle's parts. Time does not pass: who sleeps is woken or
//! sleeps for ever, and shuttle calls that a deadlock. A [`Fault`] breaks one thing for one run.

use std::cell::Cell;

pub mod atomic;
#[path = "../../eventfd.rs"]
pub mod eventfd;
pub mod queue;

pub(crate) use event::Event;
use shuttle::lazy_static;
use shuttle::sync::Condvar;
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
pub(crate) use signal::Signal;

#[path = "../../../engine/src/sync/event.rs"]
mod event;
#[path = "../../../engine/src/sync/signal.rs"]
mod signal;

mod futex {
    use super::atomic::AtomicU32;
    use std::time::Duration;

    pub(super) fn wait(word: &AtomicU32, expected: u32, _: Option<Duration>) {
        word.sleep_while(expected);
    }
    pub(super) fn wake_all(word: &AtomicU32) -> u32 {
        word.wake_all()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panicked with it")
}

pub(crate) fn yield_now() {
    shuttle::thread::yield_now();
}

pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// What is broken on purpose in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody is woken.
    NoWake,
    /// The lane sleeps although it was told of news after it announced its sleep.
    SleepAllTheSame,
    /// The lane ends without looking at what still came.
    EndInSilence,
}

thread_local! {
    static FAULT: Cell<Fault> = const { Cell::new(Fault::None) };
}

pub(crate) fn fault() -> Fault {
    FAULT.with(Cell::get)
}

/// Runs a model in so many orders, with a fault.
pub fn explore(fault: Fault, orders: usize, model: fn()) {
    FAULT.with(|held| held.set(fault));
    shuttle::check_random(model, orders);
    shuttle::check_pct(model, orders, 3);
}

/// Whether a model fails with this fault, as it must.
pub fn is_caught(fault: Fault, orders: usize, model: fn()) -> bool {
    std::panic::catch_unwind(|| explore(fault, orders, model)).is_err()
}
