//! Making a failing plan small: steps are left out, in ever smaller stretches, while it still fails the same way.

use super::plan::Plan;
use super::run::{Ran, run};

/// Runs that are spent on it.
const RUNS_MAX: u32 = 400;

/// A smaller plan that fails like the first one, and what came of it.
pub fn shrink(plan: &Plan, failed: Ran) -> (Plan, Ran) {
    let kind = failed.failure_kind();
    let (mut best, mut ran) = (plan.clone(), failed);
    let mut runs = 0;
    let mut stretch = best.steps.len().div_ceil(2).max(1);
    loop {
        let mut start = 0;
        let mut smaller = false;
        while start < best.steps.len() && runs < RUNS_MAX {
            let mut numbers = best.numbers();
            numbers.drain(start..(start + stretch).min(numbers.len()));
            let candidate = plan.keep(&numbers);
            runs += 1;
            let tried = run(&candidate, true);
            if tried.failure_kind() == kind {
                (best, ran, smaller) = (candidate, tried, true);
            } else {
                start += stretch;
            }
        }
        if runs >= RUNS_MAX || (stretch == 1 && !smaller) {
            return (best, ran);
        }
        stretch = (stretch / 2).max(1);
    }
}
