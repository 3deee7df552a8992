//! What is told of a transaction.

use std::fmt;

/// What a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum TransactionState {
    /// Begun in this process, and nothing of it is promised.
    Open,
    /// Durable and invisible: it is committed or rolled back, whatever happens.
    Prepared,
    /// Prepared, and all checks were answered with "unknown": it waits for a call.
    Unresolved,
    /// Its records are published, and what it acknowledged is finished. Final.
    Committed,
    /// Nothing of it ever becomes visible. Final.
    RolledBack,
}

impl TransactionState {
    /// Its name: `open`, `prepared`, `unresolved`, `committed`, `rolled-back`.
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Open => "open",
            TransactionState::Prepared => "prepared",
            TransactionState::Unresolved => "unresolved",
            TransactionState::Committed => "committed",
            TransactionState::RolledBack => "rolled-back",
        }
    }
}

impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TransactionState::Committed => "committed",
            TransactionState::RolledBack => "rolled back",
            other => other.name(),
        })
    }
}

/// A transaction, as [`Engine::transactions`](crate::Engine::transactions) lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TransactionInfo {
    /// Its id.
    pub id: String,
    /// What it is.
    pub state: TransactionState,
    /// Who is asked how it ended; `None`: nobody.
    pub checker: Option<String>,
    /// Since when it is what it is: when it was begun, prepared, or decided, ms since 1970.
    pub since_ms: i64,
    /// Its records; of one that is open, or has ended before the last opening, 0.
    pub records: u64,
    /// Records that it acknowledges; of one that is open, or has ended before the last opening, 0.
    pub acknowledged: u64,
    /// How often its checker did not know, in this opening.
    pub checks: u32,
}
