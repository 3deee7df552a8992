//! What the checker finds: typed, in a stable order, with a message for people.

use crate::history::{TopicNumber, Value};
use serde::Serialize;
use std::fmt;

/// What the checker says of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is wrong, in a stable order. Empty: nothing.
    pub findings: Vec<Finding>,
    /// Steps taken; they grow as the history does.
    pub steps: u64,
}

/// Something that must not be in a history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The event that shows it.
    pub index: usize,
    /// What kind of wrong it is.
    pub anomaly: Anomaly,
    /// The topic and partition.
    pub partition: Option<(TopicNumber, u32)>,
    /// The offset.
    pub offset: Option<u64>,
    /// The record.
    pub value: Option<Value>,
    /// The client that saw it.
    pub process: Option<u32>,
    /// What happened, for people.
    pub message: String,
}

/// The kinds of wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Anomaly {
    /// Acknowledged, and gone.
    LostWrite,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.anomaly, self.message)
    }
}
