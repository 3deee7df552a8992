//! Hangs are failures: a watchdog ends the whole test process, because a thread that hangs cannot be.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Ends the process if it is not dropped in time.
pub(crate) struct Watchdog {
    _alive: Sender<()>,
}

/// Starts a watchdog. The time is generous: it tells a hang from a slow machine, and nothing else.
pub(crate) fn watchdog(seconds: u64, what: &str) -> Watchdog {
    let (alive, gone) = channel::<()>();
    let what = what.to_owned();
    std::thread::spawn(move || {
        if gone.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{what}: hangs since {seconds} s; the process ends here");
            std::process::abort();
        }
    });
    Watchdog { _alive: alive }
}
