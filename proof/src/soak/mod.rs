//! The soak: many times the disk bound through one directory, for as long as it is given.
//!
//! A child opens the engine with `disk_bytes_max` and writes at a steady rate to topics of every kind of retention,
//! with readers that follow, lag, stop and begin anew. A second process looks from outside for parts of the time.
//! The parent kills the child, or lets it close, and opens again, now and then with another number of lanes. It
//! samples disk, memory and the time of opening, and judges what the processes say they were answered and read.
//!
//! Invariants:
//! - What is kept here of what was said is bounded by what the log holds, not by how long it runs: runs of offsets,
//!   forgotten as the log gives them up.
//! - What the child was answered it says after it knows it, and what it asks for before it asks. Lines of the process
//!   outside are judged only when everything that the child said before them was.
//! - Only what is certain is a failure. Whether figures are flat is judged by thirds of the run, at the end.

mod child;
mod delays;
mod judge;
mod ledger;
mod message;
mod order;
mod parent;
mod picture;
mod plan;
mod reader;
mod sample;
mod sender;
mod summary;
mod watcher;

pub use child::run_child;
pub use parent::{SoakOptions, run};
pub use picture::draw;
pub use plan::Kind;
pub use sample::{Line, read_lines};
pub use summary::Summary;
pub use watcher::run_watcher;

/// Faults on purpose of the soak itself: each of its checks must be able to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lie {
    /// The child leaves a record out of what it says it read.
    DropRead,
    /// The child calls records acknowledged that it did not send.
    Acknowledge,
    /// The child gives up the front of the topic that keeps everything.
    DeleteForever,
    /// The child says that delayed records are due later than they are.
    DueLater,
    /// The parent holds the engine to a quarter of the disk bound that it was given.
    DiskBound,
    /// The parent thinks that records are kept for ten times as long as they are.
    KeptTime,
    /// The parent thinks that ten times as many bytes are kept.
    KeptBytes,
}

impl std::str::FromStr for Lie {
    type Err = String;

    fn from_str(text: &str) -> Result<Lie, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }
}
