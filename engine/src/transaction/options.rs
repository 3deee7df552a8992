//! How a transaction is begun.

use crate::error::{Error, Result};
use crate::lane::transactions::ID_BYTES_MAX;
use std::time::Duration;

/// Longest name of a checker, bytes.
pub(crate) const CHECKER_BYTES_MAX: usize = 249;

/// Options of [`Producer::begin`](crate::Producer::begin).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionOptions {
    /// What the application calls it by, 1 to 128 bytes: an order's number, say. By it the transaction is found again after
    /// a restart. Default: none, and one is assigned.
    pub id: Option<String>,
    /// The name of the checker that is asked how it ended, where the answer was lost
    /// ([`Engine::register_checker`](crate::Engine::register_checker)). Default: none: it waits for a call.
    pub checker: Option<String>,
    /// How long it may be open before it is prepared or committed, 1 ms to 1 day. Default 60 s.
    pub timeout: Duration,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        TransactionOptions { id: None, checker: None, timeout: Duration::from_secs(60) }
    }
}

impl TransactionOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the checker.
    #[must_use]
    pub fn checker(mut self, name: impl Into<String>) -> Self {
        self.checker = Some(name.into());
        self
    }

    /// Sets how long it may be open.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        let invalid = |name: &'static str, value: &str, reason: &str| {
            Err(Error::InvalidArgument { name, value: value.to_owned(), reason: reason.to_owned() })
        };
        if let Some(id) = &self.id
            && (id.is_empty() || id.len() > ID_BYTES_MAX)
        {
            return invalid("id", id, "1 to 128 bytes");
        }
        if let Some(checker) = &self.checker {
            check_checker(checker)?;
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&self.timeout) {
            return invalid("timeout", &format!("{:?}", self.timeout), "1 ms to 1 day");
        }
        Ok(())
    }
}

/// Whether a checker may have this name.
pub(super) fn check_checker(name: &str) -> Result<()> {
    match name.is_empty() || name.len() > CHECKER_BYTES_MAX {
        true => {
            Err(Error::InvalidArgument { name: "checker", value: name.to_owned(), reason: "1 to 249 bytes".to_owned() })
        }
        false => Ok(()),
    }
}
