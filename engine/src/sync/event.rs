//! Something that happens once.

use super::atomic::{AtomicU32, Ordering};
use super::{futex, now};
use std::time::Duration;

const PENDING: u32 = 0;
const AWAITED: u32 = 1;
const DONE: u32 = 2;

/// A one-shot event. What was written before [`Event::set`] is seen by who sees it set.
#[derive(Debug, Default)]
pub(crate) struct Event {
    state: AtomicU32,
}

impl Event {
    pub(crate) fn new() -> Event {
        Event { state: AtomicU32::new(PENDING) }
    }

    /// Sequentially consistent, as [`Event::set`] is: who says "tell me" and then finds the event not set, and
    /// who sets it and then finds nobody to tell, cannot both be right (producer/listeners.rs).
    pub(crate) fn is_set(&self) -> bool {
        self.state.load(Ordering::SeqCst) == DONE
    }

    /// Sets it and wakes all who wait, with a system call only if somebody does; returns how many.
    pub(crate) fn set(&self) -> u32 {
        match self.state.swap(DONE, Ordering::SeqCst) {
            AWAITED => futex::wake_all(&self.state),
            _ => 0,
        }
    }

    pub(crate) fn wait(&self) {
        while !self.is_set() {
            self.sleep(None);
        }
    }

    /// Returns whether it was set in time.
    pub(crate) fn wait_timeout(&self, timeout: Duration) -> bool {
        let Some(deadline) = now().checked_add(timeout) else {
            self.wait();
            return true;
        };
        while !self.is_set() {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return false;
            }
            self.sleep(Some(left));
        }
        true
    }

    fn sleep(&self, timeout: Option<Duration>) {
        let before = self.state.compare_exchange(PENDING, AWAITED, Ordering::AcqRel, Ordering::Acquire);
        if before != Err(DONE) {
            futex::wait(&self.state, AWAITED, timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn all_waiters_are_released() {
        let event = Arc::new(Event::new());
        assert!(!event.wait_timeout(Duration::from_millis(1)));
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let event = event.clone();
                std::thread::spawn(move || event.wait())
            })
            .collect();
        event.set();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(event.is_set() && event.wait_timeout(Duration::MAX));
    }
}
