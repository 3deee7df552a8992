//! Who lets a thread wait: the kernel, or a simulator that plays all threads of an engine on one.
//!
//! A simulator installs a [`Driver`] for its thread. From then on what that thread would do to wait, to
//! wake others, to start a thread or to see how late it is goes through the driver instead. The code
//! around is the same: a lane, the keeper and an application's call run as they do on real threads.
//!
//! Invariants:
//! - A thread without a driver behaves as if this file did not exist; only slow paths look here.
//! - A driver concerns the thread that installed it, and no other.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a simulator does in the kernel's place.
pub trait Driver {
    /// The time that callers' time-outs are measured by.
    fn now(&self) -> Instant;
    /// Sleeps while `word` is `expected`, at most so long; may return early for no reason.
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>);
    /// Ends all sleeps on `word`; returns how many.
    fn wake_all(&self, word: &AtomicU32) -> u32;
    /// Lets others run.
    fn yield_now(&self);
    /// Starts a thread and gives its number.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> u64;
    /// Returns when a thread has ended.
    fn join(&self, thread: u64);
    /// The number of the thread that runs now.
    fn current(&self) -> u64;
}

/// Whether any thread ever had a driver: without one nobody pays more than this look.
static ANY: AtomicBool = AtomicBool::new(false);

thread_local! {
    static DRIVER: RefCell<Option<Rc<dyn Driver>>> = const { RefCell::new(None) };
}

/// Gives this thread a driver, or takes it away; returns the one that it had.
pub fn install(driver: Option<Rc<dyn Driver>>) -> Option<Rc<dyn Driver>> {
    ANY.store(true, Ordering::Relaxed);
    DRIVER.with(|held| std::mem::replace(&mut *held.borrow_mut(), driver))
}

/// The driver of this thread.
pub(crate) fn current() -> Option<Rc<dyn Driver>> {
    if !ANY.load(Ordering::Relaxed) {
        return None;
    }
    // A thread that is ending has none.
    DRIVER.try_with(|held| held.borrow().clone()).ok().flatten()
}

/// The time that time-outs are measured by.
pub(crate) fn now() -> Instant {
    current().map_or_else(Instant::now, |driver| driver.now())
}

/// Lets other threads run.
pub(crate) fn yield_now() {
    match current() {
        Some(driver) => driver.yield_now(),
        None => std::thread::yield_now(),
    }
}
