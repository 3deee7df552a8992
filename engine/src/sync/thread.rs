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

/// Starts a thread. It blocks every signal from its first moment on: signals are the application's, and so are the threads
/// that their handlers run on.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    spawn_settled(name, || (), body)
}

/// The same; `settle` is what only a thread of its own does first: core, priority.
pub(crate) fn spawn_settled(
    name: &str,
    settle: impl FnOnce() + Send + 'static,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<Thread> {
    if let Some(driver) = driver::current() {
        return Ok(Thread::Played(driver.spawn(name, Box::new(body))));
    }
    let builder = std::thread::Builder::new().name(name.to_owned());
    // It takes over what this one blocks.
    let blocked = BlockedSignals::all();
    let spawned = builder.spawn(move || {
        settle();
        body();
    });
    drop(blocked);
    spawned.map(Thread::Own)
}

/// This thread gets no signal, until it is dropped.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn all() -> BlockedSignals {
        // SAFETY: the calls only touch the sets on the stack and this thread's mask.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
            BlockedSignals { before }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
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
