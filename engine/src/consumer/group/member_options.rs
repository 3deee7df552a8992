//! How a member of a group takes records.

use crate::error::{Error, Result};
use crate::interceptor::{ConsumerInterceptor, Interceptors};
use std::sync::Arc;
use std::time::Duration;

/// Options of [`Engine::join_group`](crate::Engine::join_group).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberOptions {
    /// How long a record may be worked on before it is handed to somebody else. Default 30 s; 1 ms to 24 h.
    pub lease: Duration,
    /// Most records of one poll. Default 500.
    pub max_poll_records: usize,
    /// A poll takes no further stretch of the log when it has so many bytes. Default 4 MiB.
    pub max_poll_bytes: usize,
    /// Most records that the member holds at once: a poll waits until some are acknowledged. Default 1,000.
    pub max_in_flight_records: u64,
    /// And their bytes. Default 64 MiB.
    pub max_in_flight_bytes: u64,
    pub(crate) interceptors: Interceptors<dyn ConsumerInterceptor>,
}

impl Default for MemberOptions {
    fn default() -> Self {
        MemberOptions {
            lease: Duration::from_secs(30),
            max_poll_records: 500,
            max_poll_bytes: 4 << 20,
            max_in_flight_records: 1_000,
            max_in_flight_bytes: 64 << 20,
            interceptors: Interceptors::default(),
        }
    }
}

impl MemberOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a record may be worked on.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the most records of one poll.
    #[must_use]
    pub fn max_poll_records(mut self, count: usize) -> Self {
        self.max_poll_records = count;
        self
    }

    /// Sets the bytes after which a poll ends.
    #[must_use]
    pub fn max_poll_bytes(mut self, bytes: usize) -> Self {
        self.max_poll_bytes = bytes;
        self
    }

    /// Sets the most records that the member holds at once.
    #[must_use]
    pub fn max_in_flight_records(mut self, count: u64) -> Self {
        self.max_in_flight_records = count;
        self
    }

    /// Sets the most bytes that the member holds at once.
    #[must_use]
    pub fn max_in_flight_bytes(mut self, bytes: u64) -> Self {
        self.max_in_flight_bytes = bytes;
        self
    }

    /// Adds an interceptor behind those that are there. Where it fails, so does the call.
    #[must_use]
    pub fn interceptor(mut self, interceptor: Arc<dyn ConsumerInterceptor>) -> Self {
        self.interceptors.add(interceptor.name().into(), interceptor, false);
        self
    }

    /// Adds an interceptor behind those that are there. Where it fails, that is counted
    /// ([`Stats::interceptor_failures`](crate::Stats)), and passed over.
    #[must_use]
    pub fn interceptor_best_effort(mut self, interceptor: Arc<dyn ConsumerInterceptor>) -> Self {
        self.interceptors.add(interceptor.name().into(), interceptor, true);
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        let check = |ok: bool, name: &'static str, value: String, reason: &str| match ok {
            true => Ok(()),
            false => Err(Error::InvalidArgument { name, value, reason: reason.to_owned() }),
        };
        let lease = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        check(lease.contains(&self.lease), "lease", format!("{:?}", self.lease), "1 ms to 24 h")?;
        check(self.max_poll_records > 0, "max_poll_records", "0".to_owned(), "at least 1")?;
        check(self.max_poll_bytes > 0, "max_poll_bytes", "0".to_owned(), "at least 1")?;
        let records = self.max_in_flight_records;
        check((1..=1 << 20).contains(&records), "max_in_flight_records", records.to_string(), "1 to 1,048,576")?;
        check(self.max_in_flight_bytes > 0, "max_in_flight_bytes", "0".to_owned(), "at least 1")
    }
}
