//! What an audit looks at, and its bounds.

use crate::consumer::ContinuityOptions;

/// Options of [`Engine::audit`](crate::Engine::audit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditOptions {
    /// The topics to look at. None: all.
    pub topics: Vec<String>,
    /// The bounds of its memory: producers of one partition, and ranges of their numbers that were not read yet. Where
    /// one is reached the audit ends with `TooMany`, for then it cannot tell.
    pub bounds: ContinuityOptions,
}

impl AuditOptions {
    /// All topics, with the bounds that consumers have by default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a topic to those that are looked at.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        self.topics.push(name.into());
        self
    }

    /// Sets the bounds of its memory.
    #[must_use]
    pub fn bounds(mut self, bounds: ContinuityOptions) -> Self {
        self.bounds = bounds;
        self
    }
}

/// How far an audit has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditProgress {
    /// Records read.
    pub records_done: u64,
    /// Records to be read in all, as far as it was known when the audit began.
    pub records_total: u64,
    /// The topic that is being read.
    pub topic: String,
    /// And the partition.
    pub partition: u32,
}
