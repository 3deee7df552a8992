//! The machine's clocks.

use super::Clock;
use std::time::Instant;

/// `CLOCK_MONOTONIC`, and `CLOCK_REALTIME_COARSE`: every record gets a timestamp, and the coarse clock
/// costs a quarter of the fine one. It lags by at most one tick of the kernel (1 to 10 ms).
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

    fn wall_ms(&self) -> i64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call fills the structure it is given; this clock is there since Linux 2.6.32.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut now) };
        now.tv_sec * 1000 + now.tv_nsec / 1_000_000
    }
}
