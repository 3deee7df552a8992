//! What a parent orders: one line on the standard input of a process. A second line asks it to end.

use super::Lie;
use super::plan::Plan;
use serde::{Deserialize, Serialize};
use std::io::BufRead;

/// Who reads, and how. Readers from outside and of one sitting have numbers above.
pub(super) mod readers {
    /// Follows the end of everything.
    pub(in super::super) const FOLLOWER: u32 = 0;
    /// Seconds behind; what it has read is deleted.
    pub(in super::super) const SLOW: u32 = 1;
    /// Slower than what it reads is kept.
    pub(in super::super) const LAGGARD: u32 = 2;
    /// Begins anew, now and then.
    pub(in super::super) const ANEW: u32 = 3;
    /// Reads topics that come and go.
    pub(in super::super) const CHURN: u32 = 4;
    /// The last one, which reads everything.
    pub(in super::super) const SETTLER: u32 = 5;
    /// Those from outside begin here.
    pub(in super::super) const OUTSIDE_FIRST: u32 = 16;
}

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) directory: String,
    pub(super) plan: Plan,
    pub(super) lanes: u32,
    pub(super) seed: u64,
    /// The next sequence of each topic.
    pub(super) sequences: Vec<(u16, u32)>,
    /// Where readers go on: reader, topic, partition, offset.
    pub(super) positions: Vec<(u32, u16, u32, u64)>,
    /// Topics that come and go and may be there, and the next key.
    pub(super) churn: Vec<u16>,
    pub(super) churn_next: u16,
    /// Do not work: cancel these, read everything, close.
    pub(super) settle: Option<Vec<(u32, String)>>,
    pub(super) lie: Option<Lie>,
}

/// What a process that looks from outside is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WatchOrder {
    pub(super) directory: String,
    pub(super) plan: Plan,
    pub(super) reader: u32,
    pub(super) seed: u64,
}

/// The order of this process.
pub(super) fn receive<T: serde::de::DeserializeOwned>() -> Result<T, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    serde_json::from_str(&line).map_err(|error| format!("the order: {error}"))
}

/// Returns when the parent asks this process to end, or is gone.
pub(super) fn wait_for_the_end() {
    let mut line = String::new();
    // An error is an end, too.
    let _ = std::io::stdin().lock().read_line(&mut line);
}
