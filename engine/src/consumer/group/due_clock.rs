//! The clock that delays of a group go by: the wall clock, because delays outlast the process; but one that does not go
//! back.
//!
//! Invariants:
//! - While the engine is open, a delay that has begun ends when its time has passed, at the latest. A wall clock that is
//!   set back prolongs none; one that is set forward may end it earlier.
//! - Leases do not go by it: they end with the engine, and go by the clock that does not jump.

use crate::io::Clock;
use std::sync::atomic::{AtomicI64, Ordering};

/// See the module.
#[derive(Debug)]
pub(super) struct DueClock {
    /// How far the wall clock was ahead of the monotonic one, at most, ms.
    ahead_ms: AtomicI64,
}

impl Default for DueClock {
    fn default() -> Self {
        DueClock { ahead_ms: AtomicI64::new(i64::MIN) }
    }
}

impl DueClock {
    /// The time by which delays begin and end, ms since 1970.
    pub(super) fn now_ms(&self, clock: &dyn Clock) -> i64 {
        // In this order: who is held up between the two takes the difference for smaller, and that does not count. The other
        // way round delays ended early, for ever, by as long as a thread was once held up.
        let wall_ms = clock.wall_ms_rounded_up();
        let monotonic_ms = (clock.monotonic_ns() / 1_000_000) as i64;
        let ahead_ms = wall_ms.saturating_sub(monotonic_ms);
        // The largest difference alone counts, and says nothing of other memory.
        let most_ms = self.ahead_ms.fetch_max(ahead_ms, Ordering::Relaxed).max(ahead_ms);
        most_ms.saturating_add(monotonic_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct TestClock {
        monotonic_ms: AtomicI64,
        wall_ms: AtomicI64,
    }

    impl Clock for TestClock {
        fn monotonic_ns(&self) -> u64 {
            self.monotonic_ms.load(Ordering::Relaxed) as u64 * 1_000_000
        }
        fn wall_ms(&self) -> i64 {
            self.wall_ms.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn it_follows_the_wall_clock_ahead_and_not_back() {
        let (clock, due) = (TestClock::default(), DueClock::default());
        let look = |monotonic_ms: i64, wall_ms: i64| {
            clock.monotonic_ms.store(monotonic_ms, Ordering::Relaxed);
            clock.wall_ms.store(wall_ms, Ordering::Relaxed);
            due.now_ms(&clock)
        };
        assert_eq!(look(5, 1_000), 1_000);
        assert_eq!(look(15, 1_010), 1_010);
        assert_eq!(look(25, 100), 1_020, "set back: time goes on");
        assert_eq!(look(35, 9_000), 9_000, "set forward");
        assert_eq!(look(45, 1_040), 9_010, "and back again");
    }

    /// The story: on a busy machine a retry came ten milliseconds early, and so did all behind it. A thread had been held up
    /// between looking at the two clocks.
    #[test]
    fn who_is_held_up_between_the_clocks_makes_no_delay_shorter() {
        /// Ten milliseconds pass behind the first look.
        struct SlowClock(AtomicI64);
        impl SlowClock {
            fn look(&self) -> i64 {
                self.0.fetch_max(10, Ordering::Relaxed)
            }
        }
        impl Clock for SlowClock {
            fn monotonic_ns(&self) -> u64 {
                self.look() as u64 * 1_000_000
            }
            fn wall_ms(&self) -> i64 {
                1_000 + self.look()
            }
        }
        let (clock, due) = (SlowClock(AtomicI64::new(0)), DueClock::default());
        assert_eq!((due.now_ms(&clock), due.now_ms(&clock)), (1_000, 1_010));
    }
}
