//! What the engine's files find under `crate::sync`, made of loom's parts.
//!
//! - loom knows sequentially consistent fences, and treats other sequentially consistent operations as acquire and
//!   release. So here each of those has a fence before it: the mapping that compilers use for weak machines.
//! - A futex looks at its word and falls asleep in one step. Time does not pass: who sleeps is woken or sleeps for
//!   ever, and loom calls that a deadlock. So no time-out hides a wake-up that was lost.
//! - A [`Fault`] weakens all of it for one run.

use std::cell::Cell;

pub mod atomic;
#[path = "../../eventfd.rs"]
pub mod eventfd;
pub mod queue;

pub(crate) use event::Event;
use loom::lazy_static;
use loom::sync::Condvar;
pub(crate) use loom::sync::Mutex;
pub(crate) use loom::sync::MutexGuard;
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
    mutex.lock().expect("loom's locks are not poisoned")
}

pub(crate) fn yield_now() {
    loom::thread::yield_now();
}

pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// What is broken on purpose in one run of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every atomic operation is relaxed.
    Relaxed,
    /// Sequentially consistent operations are only acquire and release.
    NoTotalOrder,
    /// Sequentially consistent operations are only acquire and release, and fences do nothing.
    NoFences,
    /// Nobody is woken.
    NoWake,
}

thread_local! {
    static FAULT: Cell<Fault> = const { Cell::new(Fault::None) };
}

pub(crate) fn fault() -> Fault {
    FAULT.with(Cell::get)
}

/// Runs a model in all its interleavings, with a fault.
pub fn explore(fault: Fault, model: fn()) {
    FAULT.with(|held| held.set(fault));
    let mut builder = loom::model::Builder::new();
    // More switches of threads than this at unlucky moments multiply the runs and were never needed.
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Whether a model fails with this fault, as it must.
pub fn is_caught(fault: Fault, model: fn()) -> bool {
    std::panic::catch_unwind(|| explore(fault, model)).is_err()
}
