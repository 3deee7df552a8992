//! The checker: judges histories by what docs/GUARANTEES.md promises.

mod finding;

pub use finding::{Anomaly, Finding, Report};

use crate::history::History;

/// Judges a history.
pub fn check(_history: &History) -> Report {
    Report { findings: Vec::new(), steps: 0 }
}
