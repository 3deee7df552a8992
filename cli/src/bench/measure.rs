//! What one slice of a measurement yields, and medians over slices.
//!
//! Invariant: a slice's figures come from one uninterrupted stretch of work; slices are never
//! merged, their medians are taken, so that one disturbed slice does not decide.

use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Latencies in ns, three significant digits, up to a minute.
pub struct Latency(Histogram<u64>);

impl Latency {
    const NS_MAX: u64 = 60_000_000_000;

    /// Nothing recorded yet.
    pub fn new() -> Latency {
        Latency(Histogram::new_with_bounds(1, Self::NS_MAX, 3).expect("the bounds are constants"))
    }

    /// Adds one.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.record_many(latency, 1);
    }

    /// Adds several that took the same time.
    #[inline]
    pub fn record_many(&mut self, latency: Duration, count: u64) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(Self::NS_MAX);
        self.0.saturating_record_n(ns.max(1), count);
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency in us below which this share lies; `None` if nothing was recorded.
    pub fn quantile_us(&self, quantile: f64) -> Option<f64> {
        (self.count() > 0).then(|| self.0.value_at_quantile(quantile) as f64 / 1000.0)
    }
}

/// One slice.
pub struct Sample {
    /// Operations (or records) done.
    pub operations: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Each operation's time, where it was taken.
    pub latency: Latency,
}

impl Sample {
    /// Operations a second.
    pub fn operations_per_s(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// Bytes a second.
    pub fn bytes_per_s(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }
}

/// The median of what `figure` says of each sample; `None` without figures.
pub fn median_of<T>(samples: &[T], figure: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    median(samples.iter().filter_map(figure).collect())
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        length if length % 2 == 1 => Some(figures[middle]),
        _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
    }
}

/// Processor time this process has used so far, user and system, all threads.
pub fn cpu_time() -> Duration {
    processor_time(libc::RUSAGE_SELF)
}

/// Processor time of this thread alone.
pub fn cpu_time_of_thread() -> Duration {
    processor_time(libc::RUSAGE_THREAD)
}

fn processor_time(whose: libc::c_int) -> Duration {
    // SAFETY: rusage is plain data for which zero is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live rusage; for the process and its threads the call cannot fail.
    unsafe { libc::getrusage(whose, &mut usage) };
    let time = |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// When a timed slice ends.
pub struct Deadline {
    end: Instant,
}

impl Deadline {
    /// Ends after `duration`.
    pub fn after(duration: Duration) -> Deadline {
        Deadline { end: Instant::now() + duration }
    }

    /// Whether it has passed.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.is_over_at(Instant::now())
    }

    /// Whether it has passed at a moment that was taken before.
    #[inline]
    pub fn is_over_at(&self, now: Instant) -> bool {
        now >= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn figures_that_are_not_there_do_not_count() {
        assert_eq!(median_of(&[Some(1.0), None, Some(3.0)], |figure| *figure), Some(2.0));
    }

    #[test]
    fn quantiles_are_in_microseconds_and_absent_when_nothing_was_recorded() {
        let mut latency = Latency::new();
        assert_eq!(latency.quantile_us(0.5), None);
        for us in 1..=100 {
            latency.record(Duration::from_micros(us));
        }
        let p50 = latency.quantile_us(0.5).unwrap();
        assert!((49.9..=50.1).contains(&p50), "{p50}");
        latency.record(Duration::from_secs(3600));
        assert_eq!(latency.count(), 101, "what is off the scale counts at its end");
    }
}
