//! What the child and the process outside say, one line each.

use crate::kill::monotonic_ns;
use serde::{Deserialize, Serialize};

/// Consecutive offsets of a partition whose records have consecutive sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u32, u32)", into = "(u32, u64, u32, u32)")]
pub(super) struct Run {
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) sequence: u32,
    pub(super) count: u32,
}

/// What a partition keeps, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u16, u32, u64, u64)", into = "(u16, u32, u64, u64)")]
pub(super) struct Kept {
    pub(super) topic: u16,
    pub(super) partition: u32,
    pub(super) first: u64,
    pub(super) next: u64,
}

/// One line: when, by the clock that does not go back and is the same in all processes, and what.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Said(pub(super) u64, pub(super) Message);

/// What is said. Topics are keys, records sequences.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// It is open. What was found: names of topics, and what those of the plan keep.
    Opened { opened_in_us: u64, topics: Vec<String>, kept: Vec<Kept>, wall_ms: i64 },
    /// All topics are there, and the work begins.
    Ready,
    /// What has changed in what is kept.
    Kept { kept: Vec<Kept>, wall_ms: i64 },
    /// Records below this sequence may be sent from now on.
    Sending { topic: u16, below: u32, wall_ms: i64 },
    /// These have receipts.
    Acknowledged { topic: u16, bytes: u64, runs: Vec<Run> },
    /// A reader begins here.
    Begun { reader: u32, topic: u16, partition: u32, offset: u64 },
    /// A reader got these.
    Read { reader: u32, topic: u16, runs: Vec<Run>, wall_ms: i64 },
    /// A reader was told that records are gone, and goes on behind them.
    Truncated { reader: u32, topic: u16, partition: u32, from: u64, to: u64 },
    /// The front of a partition may be gone from now on.
    Deleting { topic: u16, partition: u32, below: u64 },
    /// A delayed record may be sent from now on.
    Delaying { sequence: u32, due_ms: i64 },
    /// It has a receipt, with this identity.
    Withheld { sequence: u32, id: String, bytes: u64 },
    /// It may be cancelled from now on.
    Cancelling { sequence: u32 },
    /// It is cancelled, or was not withheld any more.
    Cancelled { sequence: u32, done: bool, wall_ms: i64 },
    /// A topic may be there from now on.
    Creating { topic: u16 },
    /// It is there.
    Created { topic: u16 },
    /// It may be gone from now on.
    Dropping { topic: u16 },
    /// It is gone.
    Dropped { topic: u16 },
    /// Once a second.
    Figures(Figures),
    /// The last child has read everything: what is kept.
    Settled { kept: Vec<Kept> },
    /// The engine is closed.
    Closed,
    /// Something failed that should not.
    Trouble(String),
}

/// What only the child knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// The engine's own figure of its files.
    pub(super) disk_bytes: u64,
    /// Delayed records that are not visible yet.
    pub(super) withheld: u64,
    /// Records that the slow reader has not read yet.
    pub(super) backlog: u64,
    /// Calls that were refused for want of space or room, since it was opened.
    pub(super) refused: u64,
}

/// Says a message to the parent.
pub(super) fn say(message: Message) {
    crate::kill::say(|| Said(monotonic_ns(), message));
}

/// The same for panics, anywhere.
pub(super) fn say_panics() {
    std::panic::set_hook(Box::new(|panic| say(Message::Trouble(format!("a panic: {panic}")))));
}

impl Run {
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.count)
    }

    /// Adds a record to runs: to the last run of its partition if it goes on there.
    pub(super) fn add(runs: &mut Vec<Run>, partition: u32, offset: u64, sequence: u32) {
        match runs.last_mut() {
            Some(last)
                if last.partition == partition
                    && last.end() == offset
                    && last.sequence.checked_add(last.count) == Some(sequence) =>
            {
                last.count += 1;
            }
            _ => runs.push(Run { partition, offset, sequence, count: 1 }),
        }
    }
}

impl From<(u32, u64, u32, u32)> for Run {
    fn from((partition, offset, sequence, count): (u32, u64, u32, u32)) -> Run {
        Run { partition, offset, sequence, count }
    }
}

impl From<Run> for (u32, u64, u32, u32) {
    fn from(run: Run) -> Self {
        (run.partition, run.offset, run.sequence, run.count)
    }
}

impl From<(u16, u32, u64, u64)> for Kept {
    fn from((topic, partition, first, next): (u16, u32, u64, u64)) -> Kept {
        Kept { topic, partition, first, next }
    }
}

impl From<Kept> for (u16, u32, u64, u64) {
    fn from(kept: Kept) -> Self {
        (kept.topic, kept.partition, kept.first, kept.next)
    }
}
