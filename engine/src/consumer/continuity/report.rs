//! What a checker has seen, in figures.

use std::fmt;

/// The state of a [`ContinuityChecker`](crate::ContinuityChecker).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ContinuityReport {
    /// Records seen.
    pub records: u64,
    /// Partitions that are looked at now.
    pub partitions: usize,
    /// Producers that are looked at now; one that writes to several partitions counts in each.
    pub producers: usize,
    /// Ranges of numbers that are missing now, those that are pending among them.
    pub gaps_open: u64,
    /// Numbers that are or were missing, by reason.
    pub missing: MissingCounts,
    /// What was found.
    pub findings: FindingCounts,
    /// Delayed records that could not be judged, because their numbers were forgotten.
    pub records_not_judged: u64,
    /// Findings that nobody took in time: they are counted, but not told.
    pub findings_dropped: u64,
}

/// Numbers that are or were missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MissingCounts {
    /// Missing now, and nobody has said why.
    pub unexplained: u64,
    /// Missing now, and will perhaps come.
    pub pending: u64,
    /// So far: cancelled.
    pub cancelled: u64,
    /// So far: given up before they were read.
    pub expired: u64,
    /// So far: cannot be read. Loss.
    pub corrupt: u64,
    /// So far: the log knows nothing of them. Loss.
    pub unknown: u64,
    /// So far: unexplained when they were forgotten, because a bound was reached or the partition was begun again.
    pub forgotten: u64,
}

/// How much was found of each kind. Of records that come twice or out of their place, each counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FindingCounts {
    /// Gaps.
    pub gaps: u64,
    /// Records whose number had come before.
    pub duplicates: u64,
    /// Records that came behind larger numbers without having been delayed.
    pub reorders: u64,
    /// Records that closed a gap or a part of one.
    pub gaps_closed: u64,
    /// Changes to a larger epoch.
    pub epoch_changes: u64,
    /// Changes to a smaller epoch.
    pub epochs_back: u64,
    /// Ranges of missing numbers that were forgotten for lack of room.
    pub ranges_forgotten: u64,
    /// Producers that were forgotten for lack of room.
    pub producers_forgotten: u64,
}

impl MissingCounts {
    /// Numbers of which it is known that their records are lost.
    pub fn lost(&self) -> u64 {
        self.corrupt.saturating_add(self.unknown)
    }
}

impl ContinuityReport {
    /// Whether everything is there once and in order: nothing is missing without a reason, lost or forgotten. What is
    /// pending, cancelled or expired is as it should be.
    pub fn is_continuous(&self) -> bool {
        let FindingCounts { duplicates, reorders, epochs_back, ranges_forgotten, producers_forgotten, .. } =
            self.findings;
        let wrong = [duplicates, reorders, epochs_back, ranges_forgotten, producers_forgotten];
        let MissingCounts { unexplained, forgotten, .. } = self.missing;
        wrong.iter().chain(&[unexplained, forgotten, self.missing.lost()]).all(|count| *count == 0)
    }
}

impl fmt::Display for ContinuityReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.missing.lost(), self.is_continuous()) {
            (0, true) => "everything is there, once and in order".to_owned(),
            (0, false) => "something needs a look".to_owned(),
            (lost, _) => format!("{lost} records are lost"),
        };
        let Self { records, producers, partitions, gaps_open, missing, findings, .. } = self;
        writeln!(f, "{verdict}: {records} records, {producers} producers in {partitions} partitions")?;
        writeln!(
            f,
            "missing now: {} unexplained, {} pending, in {gaps_open} ranges; explained so far: {} cancelled, {} expired, \
             {} corrupt, {} unknown; {} forgotten",
            missing.unexplained,
            missing.pending,
            missing.cancelled,
            missing.expired,
            missing.corrupt,
            missing.unknown,
            missing.forgotten
        )?;
        write!(
            f,
            "found: {} gaps ({} records closed them), {} duplicates, {} reorders, {} changes of epoch, {} epochs that \
             went back; forgotten for lack of room: {} ranges, {} producers",
            findings.gaps,
            findings.gaps_closed,
            findings.duplicates,
            findings.reorders,
            findings.epoch_changes,
            findings.epochs_back,
            findings.ranges_forgotten,
            findings.producers_forgotten
        )?;
        match (self.records_not_judged, self.findings_dropped) {
            (0, 0) => Ok(()),
            (records, findings) => {
                write!(f, "\n{records} delayed records were not judged, {findings} findings were not taken in time")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes one figure of a report.
    type Change = fn(&mut ContinuityReport);

    #[test]
    fn what_is_wrong_is_said_first() {
        assert!(ContinuityReport::default().to_string().starts_with("everything is there, once and in order: 0 "));
        let wrong: [Change; 8] = [
            |report| report.missing.unexplained = 1,
            |report| report.missing.corrupt = 1,
            |report| report.missing.unknown = 1,
            |report| report.missing.forgotten = 1,
            |report| report.findings.duplicates = 1,
            |report| report.findings.reorders = 1,
            |report| report.findings.epochs_back = 1,
            |report| report.findings.producers_forgotten = 1,
        ];
        for change in wrong {
            let mut report = ContinuityReport::default();
            change(&mut report);
            assert!(!report.is_continuous(), "{report}");
            assert!(!report.to_string().starts_with("everything"), "{report}");
        }
        let fine: [Change; 5] = [
            |report| report.missing.pending = 1,
            |report| report.missing.cancelled = 1,
            |report| report.missing.expired = 1,
            |report| report.findings.gaps = 1,
            |report| report.findings.epoch_changes = 1,
        ];
        for change in fine {
            let mut report = ContinuityReport::default();
            change(&mut report);
            assert!(report.is_continuous(), "{report}");
        }
    }

    #[test]
    fn losses_are_counted_in_words() {
        let mut report = ContinuityReport::default();
        (report.missing.corrupt, report.missing.unknown, report.findings_dropped) = (2, 3, 4);
        assert!(report.to_string().starts_with("5 records are lost: "), "{report}");
        assert!(report.to_string().ends_with("4 findings were not taken in time"), "{report}");
    }
}
