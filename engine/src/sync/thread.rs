//! Threads of the engine; in a simulator, what it plays in their place.

use super::driver;
use std::io;
use std::thread::JoinHandle;

/// A thread that was started.
pub(crate) enum Thread {
    /// The kernel runs it.
    Own(JoinHandle<()>),
    /// A simulator plays it.
    Played(u64),
}

/// Starts a thread. `settle` is what only a thread of its own does first: signals, core, priority.
pub(crate) fn spawn(
    name: &str,
    settle: impl FnOnce() + Send + 'static,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<Thread> {
    if let Some(driver) = driver::current() {
        return Ok(Thread::Played(driver.spawn(name, Box::new(body))));
    }
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder
        .spawn(move || {
            settle();
            body();
        })
        .map(Thread::Own)
}

impl Thread {
    /// Returns when it has ended; at once if it is the one that asks.
    pub(crate) fn join(self) {
        match self {
            Thread::Own(handle) if handle.thread().id() != std::thread::current().id() => drop(handle.join()),
            Thread::Own(_) => {}
            Thread::Played(number) => {
                let driver = driver::current().expect("who starts a thread in a simulator joins it there");
                if driver.current() != number {
                    driver.join(number);
                }
            }
        }
    }
}
