//! When a record that failed is handed out again, and how often.
//!
//! Invariant: a delay is a function of the policy, the offset and the number of failures, so it is the same wherever
//! and whenever it is asked for.

use crate::error::{Error, Result};

/// A delay that grows with each failure, up to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    /// After the first failure, ms. Zero: every delay is zero.
    pub(crate) first_delay_ms: u64,
    /// No delay is longer, ms.
    pub(crate) delay_ms_max: u64,
    /// What each delay is of the one before, in percent.
    pub(crate) multiplier_percent: u32,
    /// So many deliveries may fail; then the record is a dead letter. Ones that were released do not count.
    pub(crate) max_deliveries: u32,
    /// With a seed, delays are spread over their upper half, so that records that failed together come back apart.
    pub(crate) jitter_seed: Option<u64>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            first_delay_ms: 1000,
            delay_ms_max: 10 * 60 * 1000,
            multiplier_percent: 200,
            max_deliveries: 16,
            jitter_seed: None,
        }
    }
}

/// Longest delay: a year.
pub(crate) const DELAY_MS_CEILING: u64 = 366 * 24 * 60 * 60 * 1000;
const MULTIPLIER_PERCENT_CEILING: u32 = 10_000;
const DELIVERIES_CEILING: u32 = 1_000_000;

impl RetryPolicy {
    pub(crate) fn validate(&self) -> Result<()> {
        let check = |is_valid: bool, name: &'static str, value: String, reason: &str| match is_valid {
            true => Ok(()),
            false => Err(Error::InvalidArgument { name, value, reason: reason.to_owned() }),
        };
        let (first, max) = (self.first_delay_ms, self.delay_ms_max);
        check(max <= DELAY_MS_CEILING, "delay_ms_max", max.to_string(), "at most 366 days")?;
        check(first <= max, "first_delay_ms", first.to_string(), "at most delay_ms_max")?;
        check(
            (100..=MULTIPLIER_PERCENT_CEILING).contains(&self.multiplier_percent),
            "multiplier_percent",
            self.multiplier_percent.to_string(),
            "100 (always the same delay) to 10,000",
        )?;
        check(
            (1..=DELIVERIES_CEILING).contains(&self.max_deliveries),
            "max_deliveries",
            self.max_deliveries.to_string(),
            "1 to 1,000,000",
        )
    }

    /// The delay after the n-th failure of an offset, ms.
    pub(crate) fn delay_ms(&self, failures: u32, offset: u64) -> u64 {
        let mut delay_ms = self.first_delay_ms.min(self.delay_ms_max);
        for _ in 1..failures {
            let next = u128::from(delay_ms) * u128::from(self.multiplier_percent);
            let next = u64::try_from(next.div_ceil(100)).unwrap_or(u64::MAX).min(self.delay_ms_max);
            if next <= delay_ms {
                break;
            }
            delay_ms = next;
        }
        match self.jitter_seed {
            Some(seed) => delay_ms - mix(seed ^ mix(offset) ^ u64::from(failures)) % (delay_ms / 2 + 1),
            None => delay_ms,
        }
    }
}

/// The finalizer of SplitMix64: each bit of the result depends on all of the value's.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_doubles_up_to_its_bound() {
        let policy = RetryPolicy { first_delay_ms: 100, delay_ms_max: 700, ..RetryPolicy::default() };
        assert_eq!(
            [1, 2, 3, 4, 5, u32::MAX].map(|failures| policy.delay_ms(failures, 0)),
            [100, 200, 400, 700, 700, 700]
        );
        assert_eq!(RetryPolicy { first_delay_ms: 0, ..policy }.delay_ms(9, 0), 0);
        let steady = RetryPolicy { multiplier_percent: 100, ..policy };
        assert_eq!(steady.delay_ms(u32::MAX, 0), 100);
        let slow = RetryPolicy { first_delay_ms: 1, multiplier_percent: 110, ..policy };
        assert_eq!([1, 2, 3].map(|failures| slow.delay_ms(failures, 0)), [1, 2, 3], "even the smallest grows");
        let ceiling = RetryPolicy {
            first_delay_ms: DELAY_MS_CEILING,
            delay_ms_max: u64::MAX,
            multiplier_percent: MULTIPLIER_PERCENT_CEILING,
            ..policy
        };
        assert_eq!(ceiling.delay_ms(u32::MAX, 0), u64::MAX, "it saturates");
    }

    #[test]
    fn only_a_seed_spreads_delays_and_always_in_the_same_way() {
        let policy = RetryPolicy { first_delay_ms: 1000, jitter_seed: Some(7), ..RetryPolicy::default() };
        let delays: Vec<u64> = (0..100).map(|offset| policy.delay_ms(1, offset)).collect();
        assert!(delays.iter().all(|delay| (500..=1000).contains(delay)), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay < 700) && delays.iter().any(|delay| *delay > 800), "{delays:?}");
        assert_eq!(delays, (0..100).map(|offset| policy.delay_ms(1, offset)).collect::<Vec<_>>());
        let other = RetryPolicy { jitter_seed: Some(8), ..policy };
        assert_ne!(delays, (0..100).map(|offset| other.delay_ms(1, offset)).collect::<Vec<_>>());
    }

    #[test]
    fn each_bound_is_checked() {
        let policy = RetryPolicy::default();
        policy.validate().unwrap();
        for (name, policy) in [
            ("delay_ms_max", RetryPolicy { delay_ms_max: DELAY_MS_CEILING + 1, ..policy }),
            ("first_delay_ms", RetryPolicy { first_delay_ms: policy.delay_ms_max + 1, ..policy }),
            ("multiplier_percent", RetryPolicy { multiplier_percent: 99, ..policy }),
            ("multiplier_percent", RetryPolicy { multiplier_percent: 10_001, ..policy }),
            ("max_deliveries", RetryPolicy { max_deliveries: 0, ..policy }),
            ("max_deliveries", RetryPolicy { max_deliveries: 1_000_001, ..policy }),
        ] {
            let error = policy.validate().expect_err(name);
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
