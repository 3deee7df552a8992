//! Something that happens again and again.

use super::atomic::{AtomicU32, Ordering};
use super::futex;
use std::time::Duration;

/// A counter that can be waited on: look at it, check what you wait for, then sleep unless it moved.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    count: AtomicU32,
    sleepers: AtomicU32,
}

impl Signal {
    /// The count now; what [`Signal::wait`] compares with.
    pub(crate) fn look(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Moves the count and wakes all sleepers.
    pub(crate) fn notify(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            futex::wake_all(&self.count);
        }
    }

    /// Sleeps until the count is no longer `seen`, or the time is over, or for no reason.
    pub(crate) fn wait(&self, seen: u32, timeout: Duration) {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        if self.look() == seen {
            futex::wait(&self.count, seen, Some(timeout));
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_notification_between_look_and_wait_is_not_lost() {
        let signal = Signal::default();
        let seen = signal.look();
        signal.notify();
        signal.wait(seen, Duration::from_secs(60));
    }

    #[test]
    fn a_sleeper_is_woken() {
        let signal = Arc::new(Signal::default());
        let other = signal.clone();
        let seen = signal.look();
        let sleeper = std::thread::spawn(move || {
            while other.look() == seen {
                other.wait(seen, Duration::from_secs(60));
            }
        });
        signal.notify();
        sleeper.join().unwrap();
    }
}
