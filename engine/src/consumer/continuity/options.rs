//! The bounds of a checker.

use crate::error::{Error, Result};

/// Options of a [`ContinuityChecker`](crate::ContinuityChecker).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContinuityOptions {
    /// Most producers that are remembered; one that writes to several partitions counts in each. Some 150 bytes each.
    /// Default 100,000.
    pub producers_max: usize,
    /// Most ranges of numbers that were not seen, of all producers together. Each delayed record between others is
    /// one, until it is published. Some 60 bytes each. Default 250,000.
    pub missing_ranges_max: usize,
    /// Most findings that wait to be taken; what is found beyond is counted only. Default 1,000.
    pub findings_max: usize,
}

impl Default for ContinuityOptions {
    fn default() -> Self {
        ContinuityOptions { producers_max: 100_000, missing_ranges_max: 250_000, findings_max: 1_000 }
    }
}

impl ContinuityOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most producers.
    #[must_use]
    pub fn producers_max(mut self, count: usize) -> Self {
        self.producers_max = count;
        self
    }

    /// Sets the most ranges of missing numbers.
    #[must_use]
    pub fn missing_ranges_max(mut self, count: usize) -> Self {
        self.missing_ranges_max = count;
        self
    }

    /// Sets the most findings that wait.
    #[must_use]
    pub fn findings_max(mut self, count: usize) -> Self {
        self.findings_max = count;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let bounds = [
            ("producers_max", self.producers_max),
            ("missing_ranges_max", self.missing_ranges_max),
            ("findings_max", self.findings_max),
        ];
        for (name, value) in bounds {
            if value == 0 || value > 1 << 31 {
                let reason = "from 1 to 2^31".to_owned();
                return Err(Error::InvalidArgument { name, value: value.to_string(), reason });
            }
        }
        Ok(())
    }
}
