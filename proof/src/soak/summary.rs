//! What it came to, and whether it is flat.
//!
//! Flat is: the mean of the last third of the run is not above the mean of the middle third by more than a fifth. The
//! first third is left to filling up.
//!
//! Opening takes its time for each lane that wrote before, and how many these are is drawn: so openings are compared with
//! those after as many lanes. Before, a last third with more lanes was called a rise.

use super::sample::{Line, Sample};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// By so much the last third may be above the middle one.
const RISE_MAX: f64 = 0.2;
/// A shorter run is too short for that to be a failure, s.
const JUDGED_SECONDS_MIN: u64 = 600;

/// A figure over the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// The largest value.
    pub max: f64,
    /// The mean of the second third.
    pub middle_third_mean: f64,
    /// The mean of the last third.
    pub last_third_mean: f64,
}

/// The end of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How long it ran.
    pub minutes: f64,
    /// Records with a receipt.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// How often the bound on the disk that is.
    pub times_the_bound: f64,
    /// Records that readers got, from inside and outside.
    pub records_read: u64,
    /// Of these from outside.
    pub records_read_outside: u64,
    /// Records given up by retention.
    pub records_given_up: u64,
    /// Times that a reader was told `Truncated`.
    pub truncations: u64,
    /// Delayed records.
    pub delayed: u64,
    /// Of these cancelled.
    pub cancelled: u64,
    /// Topics that came and went.
    pub topics: u64,
    /// Kills.
    pub kills: u64,
    /// Clean closes.
    pub clean_closes: u64,
    /// Openings with another number of lanes.
    pub lane_changes: u64,
    /// Calls that were refused for want of space.
    pub refused: u64,
    /// Bytes of the directory.
    pub disk_bytes: Course,
    /// By so much the segment files were beyond the bound at most: openings may do that.
    pub beyond_bound_bytes_max: u64,
    /// Memory of the child.
    pub rss_bytes: Course,
    /// Openings, ms. The means are of those that have their like in the other third: after as many lanes.
    pub open_ms: Course,
    /// What rises; failures only in a run that is long enough.
    pub warnings: Vec<String>,
    /// What was wrong.
    pub failures: Vec<String>,
}

/// The second third of a run, and the last.
fn thirds(seconds: f64) -> (Range<f64>, Range<f64>) {
    (seconds / 3.0..seconds * 2.0 / 3.0, seconds * 2.0 / 3.0..f64::INFINITY)
}

impl Course {
    fn of(points: &[(f64, f64)], seconds: f64) -> Course {
        let mean = |third: Range<f64>| {
            let within: Vec<f64> =
                points.iter().filter(|(at_s, _)| third.contains(at_s)).map(|(_, value)| *value).collect();
            if within.is_empty() { 0.0 } else { within.iter().sum::<f64>() / within.len() as f64 }
        };
        let (middle, last) = thirds(seconds);
        Course {
            max: points.iter().map(|(_, value)| *value).fold(0.0, f64::max),
            middle_third_mean: mean(middle),
            last_third_mean: mean(last),
        }
    }

    /// Of values of several kinds: the means are over the kinds that both thirds have, each as often as the third that has
    /// it more rarely.
    fn of_kinds(points: &[(f64, f64, u32)], seconds: f64) -> Course {
        let mut kinds: Vec<u32> = points.iter().map(|(_, _, kind)| *kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let (mut middle, mut last, mut weights) = (0.0, 0.0, 0.0);
        for kind in kinds {
            let its = points.iter().filter(|(_, _, other)| *other == kind).map(|(at_s, value, _)| (*at_s, *value));
            let its: Vec<(f64, f64)> = its.collect();
            let count = |third: Range<f64>| its.iter().filter(|(at_s, _)| third.contains(at_s)).count();
            let (middle_third, last_third) = thirds(seconds);
            let weight = count(middle_third).min(count(last_third)) as f64;
            let course = Course::of(&its, seconds);
            middle += weight * course.middle_third_mean;
            last += weight * course.last_third_mean;
            weights += weight;
        }
        let mean = |sum: f64| if weights > 0.0 { sum / weights } else { 0.0 };
        let max = points.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
        Course { max, middle_third_mean: mean(middle), last_third_mean: mean(last) }
    }

    /// What is said where it is not flat.
    fn rises(&self, what: &str) -> Option<String> {
        let limit = self.middle_third_mean * (1.0 + RISE_MAX);
        (self.middle_third_mean > 0.0 && self.last_third_mean > limit).then(|| {
            format!(
                "{what} is not flat: {:.1} in the middle third, {:.1} in the last",
                self.middle_third_mean, self.last_third_mean
            )
        })
    }
}

impl Summary {
    /// Fills in what the lines show.
    pub(super) fn of_lines(lines: &[Line], seconds: f64, disk_bytes_max: u64) -> Summary {
        let samples: Vec<&Sample> =
            lines.iter().filter_map(|line| if let Line::Sample(sample) = line { Some(sample) } else { None }).collect();
        let count = |is: fn(&Line) -> bool| lines.iter().filter(|line| is(line)).count() as u64;
        let opens: Vec<(f64, f64, u32)> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Open { at_s, open_ms, lanes, lanes_before, .. } => {
                    Some((*at_s, *open_ms, lanes_before.unwrap_or(*lanes)))
                }
                _ => None,
            })
            .collect();
        let disk: Vec<_> = samples.iter().map(|sample| (sample.at_s, sample.directory_bytes as f64)).collect();
        let rss: Vec<_> = samples.iter().filter_map(|sample| Some((sample.at_s, sample.rss_bytes? as f64))).collect();
        let last = samples.last().copied().copied().unwrap_or_default();
        Summary {
            minutes: seconds / 60.0,
            records: last.records,
            bytes: last.bytes,
            times_the_bound: last.bytes as f64 / disk_bytes_max as f64,
            kills: count(|line| matches!(line, Line::Kill { .. })),
            clean_closes: count(|line| matches!(line, Line::Close { .. })),
            lane_changes: count(|line| matches!(line, Line::Open { lanes_before: Some(_), .. })),
            refused: last.refused,
            disk_bytes: Course::of(&disk, seconds),
            beyond_bound_bytes_max: samples
                .iter()
                .map(|sample| sample.segment_bytes)
                .max()
                .unwrap_or_default()
                .saturating_sub(disk_bytes_max),
            rss_bytes: Course::of(&rss, seconds),
            open_ms: Course::of_kinds(&opens, seconds),
            ..Summary::default()
        }
    }

    /// Judges whether it is flat: a failure in a run that is long enough, otherwise a warning.
    pub(super) fn judge(&mut self) {
        let rises =
            [(self.disk_bytes, "disk (bytes)"), (self.rss_bytes, "memory (bytes)"), (self.open_ms, "open time (ms)")];
        let rises: Vec<_> = rises.iter().filter_map(|(course, what)| course.rises(what)).collect();
        if self.minutes * 60.0 >= JUDGED_SECONDS_MIN as f64 {
            self.failures.extend(rises);
        } else {
            self.warnings.extend(rises);
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MB: f64 = 1e6;
        write!(
            f,
            "soak: {:.1} minutes, {} records, {:.0} MB written ({:.1} times the bound), {} read ({} outside), {} given up, \
             {} truncations told, {} delayed, {} cancelled, {} topics, {} kills, {} clean closes, {} lane changes, {} refused; ",
            self.minutes,
            self.records,
            self.bytes as f64 / MB,
            self.times_the_bound,
            self.records_read,
            self.records_read_outside,
            self.records_given_up,
            self.truncations,
            self.delayed,
            self.cancelled,
            self.topics,
            self.kills,
            self.clean_closes,
            self.lane_changes,
            self.refused,
        )?;
        for (name, course, unit, by) in [
            ("disk", self.disk_bytes, "MB", MB),
            ("memory", self.rss_bytes, "MB", MB),
            ("open", self.open_ms, "ms", 1.0),
        ] {
            write!(f, "{name} max {:.0} last third {:.0} {unit}, ", course.max / by, course.last_third_mean / by)?;
        }
        write!(f, "{} MB beyond the bound, ", self.beyond_bound_bytes_max / 1_000_000)?;
        write!(f, "{} warnings, {} failures", self.warnings.len(), self.failures.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(seconds: u64, disk_at: impl Fn(u64) -> u64) -> Summary {
        let sample = |at: u64| {
            Line::Sample(Sample { at_s: at as f64, directory_bytes: disk_at(at), bytes: at * 100, ..Sample::default() })
        };
        let lines: Vec<_> = (0..seconds).map(sample).collect();
        let mut summary = Summary::of_lines(&lines, seconds as f64, 1_000);
        summary.judge();
        summary
    }

    #[test]
    fn what_rises_is_a_failure_in_a_long_run_and_a_warning_in_a_short_one() {
        let flat = summary(1800, |at| at.min(600) * 1000);
        assert!(flat.failures.is_empty() && flat.warnings.is_empty(), "{flat:?}");
        assert!(flat.times_the_bound > 179.0);
        let rising = summary(1800, |at| at * 1000);
        assert!(rising.failures[0].starts_with("disk"), "{rising:?}");
        let short = summary(300, |at| at * 1000);
        assert!(short.failures.is_empty() && short.warnings[0].starts_with("disk"), "{short:?}");
        assert!(rising.to_string().ends_with("0 warnings, 1 failures"));
    }

    fn openings(of: &[(u32, f64)]) -> Summary {
        let open = |(at, (lanes, open_ms)): (usize, &(u32, f64))| Line::Open {
            at_s: at as f64 * 100.0,
            open_ms: *open_ms,
            lanes: *lanes,
            lanes_before: None,
            was_closed: false,
        };
        let lines: Vec<_> = of.iter().enumerate().map(open).collect();
        let mut summary = Summary::of_lines(&lines, of.len() as f64 * 100.0, 1_000);
        summary.judge();
        summary
    }

    #[test]
    fn openings_are_compared_with_those_after_as_many_lanes() {
        let filling = [(1, 10.0), (1, 20.0), (2, 30.0)];
        let flat =
            openings(&[filling, [(1, 50.0), (4, 200.0), (1, 60.0)], [(4, 210.0), (4, 190.0), (1, 60.0)]].concat());
        assert!(flat.failures.is_empty(), "{flat:?}");
        let rising =
            openings(&[filling, [(1, 50.0), (4, 200.0), (1, 60.0)], [(4, 260.0), (4, 240.0), (2, 60.0)]].concat());
        assert!(rising.failures[0].starts_with("open time"), "{rising:?}");
        // With nothing to be compared with nothing is said.
        let other = openings(&[filling, [(1, 50.0); 3], [(4, 200.0); 3]].concat());
        assert!(other.failures.is_empty(), "{other:?}");
    }
}
