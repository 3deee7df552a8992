//! The first I/O error, kept for ever.
//!
//! Invariants:
//! - The first failure wins; later ones change nothing.
//! - Once poisoned, a latch stays poisoned. Only opening the engine again makes a new one.
//! - All clones share one state, so that one device has one truth.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

/// What went wrong with a file, as plain data that can be kept and given to everybody who asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct IoFailure {
    /// What was tried: `write`, `flush`, `open`, `allocate`, `read`, ...
    pub operation: &'static str,
    /// The file it was tried on.
    pub file: String,
    /// Where in the file, if the operation has a place.
    pub offset: Option<u64>,
    /// The error number of the operating system, if the error came from there.
    pub errno: Option<i32>,
    /// The error in words.
    pub message: String,
}

impl IoFailure {
    /// Describes `error`, met while `operation` ran on `file`.
    pub fn new(operation: &'static str, file: &str, offset: Option<u64>, error: &io::Error) -> IoFailure {
        IoFailure { operation, file: file.to_owned(), offset, errno: error.raw_os_error(), message: error.to_string() }
    }

    /// Whether the disk, or the user's share of it, was full.
    pub fn is_no_space(&self) -> bool {
        matches!(self.errno, Some(libc::ENOSPC | libc::EDQUOT))
    }
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.operation, self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, " failed: {}", self.message)
    }
}

/// Holds the first [`IoFailure`]; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    cause: Arc<OnceLock<IoFailure>>,
}

impl Latch {
    /// A latch that nothing has poisoned.
    pub fn new() -> Latch {
        Latch::default()
    }

    /// Keeps `cause` if it is the first, and returns the one that is kept.
    pub fn poison(&self, cause: IoFailure) -> IoFailure {
        self.cause.get_or_init(|| cause).clone()
    }

    /// The first failure as an error, if there was one. Costs one load while there was none.
    #[inline]
    pub fn check(&self) -> Result<(), IoFailure> {
        match self.cause.get() {
            None => Ok(()),
            Some(cause) => Err(cause.clone()),
        }
    }

    /// Whether a failure was latched.
    pub fn is_poisoned(&self) -> bool {
        self.cause.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(offset: u64) -> IoFailure {
        IoFailure::new("write", "segment-7", Some(offset), &io::Error::from_raw_os_error(libc::EIO))
    }

    #[test]
    fn the_first_failure_wins_and_every_clone_sees_it() {
        let latch = Latch::new();
        let other = latch.clone();
        assert_eq!(latch.check(), Ok(()));
        assert_eq!(latch.poison(failure(4096)), failure(4096));
        assert_eq!(other.poison(failure(8192)), failure(4096), "the second one is told the first");
        assert_eq!(other.check(), Err(failure(4096)));
        assert!(latch.is_poisoned());
    }

    #[test]
    fn a_failure_reads_like_a_sentence() {
        let text = failure(4096).to_string();
        assert_eq!(text, "write of segment-7 at byte 4096 failed: Input/output error (os error 5)");
        assert!(!failure(0).is_no_space());
        let full = IoFailure::new("allocate", "segment-8", None, &io::Error::from_raw_os_error(libc::ENOSPC));
        assert!(full.is_no_space());
        assert!(full.to_string().starts_with("allocate of segment-8 failed: "));
    }

    #[test]
    fn many_threads_agree_on_one_cause() {
        let latch = Latch::new();
        let told: Vec<IoFailure> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4u64)
                .map(|number| {
                    let latch = latch.clone();
                    scope.spawn(move || latch.poison(failure(number)))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(told.iter().all(|cause| Err(cause.clone()) == latch.check()));
    }
}
