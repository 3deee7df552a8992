//! The ways to make a write durable.

use std::fmt;
use std::str::FromStr;

/// How a durable write reaches the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum WriteStrategy {
    /// One operation on the ring, flushed with the write (RWF_DSYNC).
    RingDsync,
    /// A write on the ring and a flush linked to it.
    RingLinkedSync,
    /// A write on the ring, and a flush on the ring when the write has completed.
    RingSeparateSync,
    /// One blocking call on the lane's own thread (pwritev2 with RWF_DSYNC, or pwritev and fdatasync
    /// where that is refused), even where io_uring runs.
    #[default]
    Blocking,
}

impl WriteStrategy {
    /// All of them.
    pub const ALL: [WriteStrategy; 4] = [
        WriteStrategy::RingDsync,
        WriteStrategy::RingLinkedSync,
        WriteStrategy::RingSeparateSync,
        WriteStrategy::Blocking,
    ];

    /// The name used in configuration, statistics and reports.
    pub fn name(self) -> &'static str {
        match self {
            WriteStrategy::RingDsync => "ring-dsync",
            WriteStrategy::RingLinkedSync => "ring-linked-sync",
            WriteStrategy::RingSeparateSync => "ring-separate-sync",
            WriteStrategy::Blocking => "blocking",
        }
    }
}

impl fmt::Display for WriteStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no [`WriteStrategy`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no write strategy {0:?}; there are ring-dsync, ring-linked-sync, ring-separate-sync and blocking")]
pub struct UnknownWriteStrategy(pub String);

impl FromStr for WriteStrategy {
    type Err = UnknownWriteStrategy;

    fn from_str(text: &str) -> Result<WriteStrategy, UnknownWriteStrategy> {
        let found = WriteStrategy::ALL.into_iter().find(|strategy| strategy.name() == text);
        found.ok_or_else(|| UnknownWriteStrategy(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_strategies_correspond() {
        for strategy in WriteStrategy::ALL {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        let error = "dsync".parse::<WriteStrategy>().expect_err("no such name");
        assert_eq!(error, UnknownWriteStrategy("dsync".to_owned()));
        assert!(error.to_string().contains("ring-linked-sync"));
    }
}
