//! How producers wake a lane.
//!
//! Invariants:
//! - A ring of the bell is never lost: it ends the sleep that is going on, or the next one.
//! - Whoever rings makes a system call only if the lane sleeps, and only the first of many does.
//! - What the ringing thread wrote before it rang is visible to the lane after [`Doorbell::rise`].
//!
//! The lane sleeps in one of two ways. With nothing in flight it sleeps on the state word itself
//! (a futex: the cheapest way there is). With I/O in flight it must sleep where completions arrive,
//! in the ring, and there only a descriptor can wake it: an eventfd that the ring polls.

use super::{Clock, Wait, Wake, calls};
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

const AWAKE: u32 = 0;
const RUNG: u32 = 1;
const ON_FUTEX: u32 = 2;
const IN_RING: u32 = 3;

/// One lane's bell. The lane owns all methods but [`Wake::wake`].
#[derive(Debug)]
pub(crate) struct Doorbell {
    state: AtomicU32,
    /// Only lanes that sleep in a ring have one.
    event: Option<OwnedFd>,
}

impl Doorbell {
    /// A bell for a lane that only sleeps on the futex.
    pub(crate) fn new() -> Doorbell {
        Doorbell { state: AtomicU32::new(AWAKE), event: None }
    }

    /// A bell for a lane that also sleeps in a ring.
    pub(crate) fn with_event() -> io::Result<Doorbell> {
        Ok(Doorbell { state: AtomicU32::new(AWAKE), event: Some(calls::event()?) })
    }

    /// The descriptor the ring polls.
    pub(crate) fn event(&self) -> RawFd {
        self.event.as_ref().expect("a lane that sleeps in a ring has an event").as_raw_fd()
    }

    /// Sets the event back to zero.
    pub(crate) fn drain_event(&self) {
        if let Some(event) = &self.event {
            calls::drain_event(event.as_fd());
        }
    }

    /// Announces a sleep in the ring. `false`: the bell was rung, do not sleep. Either way
    /// [`Doorbell::rise`] follows.
    pub(crate) fn lie_down_in_ring(&self) -> bool {
        self.lie_down(IN_RING)
    }

    fn lie_down(&self, how: u32) -> bool {
        self.state.compare_exchange(AWAKE, how, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Ends a sleep; `true` if the bell was rung.
    pub(crate) fn rise(&self) -> bool {
        let rung = self.state.swap(AWAKE, Ordering::SeqCst) == RUNG;
        // Pairs with the fence in `wake`: either that thread sees that the bell is quiet again, or
        // the lane sees what that thread wrote.
        fence(Ordering::SeqCst);
        rung
    }

    /// Sleeps on the futex until the bell rings (`true`) or `timeout` is over (perhaps earlier).
    pub(crate) fn sleep(&self, timeout: Option<Duration>) -> bool {
        if self.lie_down(ON_FUTEX) {
            calls::futex_wait(&self.state, ON_FUTEX, timeout);
        }
        self.rise()
    }

    /// Sleeps on the futex as `wait` tells.
    pub(crate) fn wait(&self, clock: &dyn Clock, wait: Wait) {
        match wait {
            Wait::No => {}
            Wait::Forever => while !self.sleep(None) {},
            Wait::Until(deadline) => loop {
                let left = deadline.saturating_sub(clock.monotonic_ns());
                if left == 0 || self.sleep(Some(Duration::from_nanos(left))) {
                    break;
                }
            },
        }
    }
}

impl Wake for Doorbell {
    fn wake(&self) {
        // Without the fence the caller's writes could become visible after the load, and a lane
        // that just took the ring before would sleep on them.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) == RUNG {
            return;
        }
        match self.state.swap(RUNG, Ordering::SeqCst) {
            ON_FUTEX => calls::futex_wake(&self.state),
            IN_RING => {
                if let Some(event) = &self.event {
                    calls::ring_event(event.as_fd());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    #[test]
    fn a_ring_before_the_sleep_ends_it_at_once_and_only_once() {
        let bell = Doorbell::new();
        bell.wake();
        bell.wake();
        assert!(bell.sleep(None), "kept from before");
        assert!(!bell.sleep(Some(Duration::from_millis(5))), "used up");
    }

    #[test]
    fn a_sleep_ends_with_its_time() {
        let bell = Doorbell::new();
        let start = Instant::now();
        assert!(!bell.sleep(Some(Duration::from_millis(20))));
        assert!(start.elapsed() >= Duration::from_millis(15));
    }

    #[test]
    fn the_event_is_written_only_for_a_lane_that_sleeps_in_the_ring() {
        let bell = Doorbell::with_event().unwrap();
        let readable = || {
            let mut poll = libc::pollfd { fd: bell.event(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one descriptor, borrowed for the call.
            unsafe { libc::poll(&mut poll, 1, 0) == 1 }
        };
        bell.wake();
        assert!(!readable());
        assert!(!bell.lie_down_in_ring(), "it was rung");
        assert!(bell.rise());
        assert!(bell.lie_down_in_ring());
        bell.wake();
        assert!(readable());
        assert!(bell.rise());
        bell.drain_event();
        assert!(!readable());
    }

    /// Producers count up and ring; the lane must always catch up, whatever the interleaving. A lost
    /// wake-up shows as a sleep of ten seconds.
    #[test]
    fn no_wake_up_is_lost() {
        let bell = Arc::new(Doorbell::new());
        let sent = Arc::new(AtomicU64::new(0));
        const EACH: u64 = 20_000;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        sent.fetch_add(1, Ordering::Relaxed);
                        bell.wake();
                    }
                });
            }
            while sent.load(Ordering::Relaxed) < 2 * EACH {
                let start = Instant::now();
                bell.sleep(Some(Duration::from_secs(10)));
                assert!(start.elapsed() < Duration::from_secs(9), "a wake-up was lost");
            }
        });
    }
}
