//! The machine's clocks.

use super::Clock;
use std::time::{Duration, Instant};

/// `CLOCK_MONOTONIC`, and `CLOCK_REALTIME_COARSE`: every record gets a timestamp, and the coarse clock
/// costs a quarter of the fine one. It lags by at most one tick of the kernel (1 to 10 ms). Delays begin by the fine one.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    #[inline]
    fn wall_ms(&self) -> i64 {
        let now = time_of(libc::CLOCK_REALTIME_COARSE);
        now.tv_sec * 1000 + now.tv_nsec / 1_000_000
    }

    fn wall_ms_rounded_up(&self) -> i64 {
        let now = time_of(libc::CLOCK_REALTIME);
        now.tv_sec * 1000 + (now.tv_nsec + 999_999) / 1_000_000
    }
}

/// A delay in whole milliseconds, never shorter than it is.
pub(crate) fn delay_ms(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn time_of(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the structure it is given; both clocks are there since Linux 2.6.32.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_millisecond_count_as_one() {
        let of_micros = |micros| delay_ms(Duration::from_micros(micros));
        assert_eq!([0, 1, 999, 1_000, 1_001].map(of_micros), [0, 1, 1, 1, 2]);
        assert_eq!(delay_ms(Duration::MAX), u64::MAX);
    }

    /// The coarse clock stood still for a tick: a delay that began by it ended up to 4 ms early.
    #[test]
    fn what_is_rounded_up_is_never_behind() {
        let clock = SystemClock::new();
        let begun = Instant::now();
        while begun.elapsed().as_millis() < 50 {
            let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
            let now = clock.wall_ms_rounded_up();
            assert!(now as u128 >= since_1970.as_millis(), "{now} is behind {since_1970:?}");
            assert!(clock.wall_ms() <= now + 1);
        }
    }
}
