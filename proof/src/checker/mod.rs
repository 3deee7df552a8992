//! The checker: judges histories by what docs/GUARANTEES.md promises, and by nothing else.
//!
//! It is shared by everything that crashes the engine. What it looks for is in [`Anomaly`]; the anomalies
//! of logs are those of Jepsen's Kafka workload, without the exceptions it makes for Kafka, and what
//! docs/GUARANTEES.md adds.
//!
//! How it works: two passes find what belongs together (`operations`, `records`), one walk moves what is
//! known on from event to event (`world`), and the end of the history is judged once (`whole`, `cycles`).
//! The steps grow as the history does; [`Report::steps`] counts them.
//!
//! Invariants:
//! - Only what is certain is a finding. What may have been, because nobody knows how a call ended or in
//!   which of two orders overlapping calls took effect, is allowed.
//! - The same history gives the same findings in the same order.

mod contents;
mod cycles;
mod finding;
mod groups;
mod leases;
mod logs;
mod numbers;
mod operations;
mod progress;
mod queues;
mod reading;
mod records;
mod sighting;
mod tokens;
mod transactions;
mod truncation;
mod whole;
mod world;

pub use finding::{Anomaly, Finding, Report};

use crate::history::History;

/// Judges a history.
///
/// ```
/// use ringlane_proof::checker::check;
/// use ringlane_proof::history::{Answer, Call, CrashKind, Durability, Happening, History, Outcome};
///
/// let mut history = History::new();
/// let (topic, partition, durability) = (0, 0, Durability::Synced);
/// let call = Call::Send { topic, partition: Some(0), value: 7, durability, visible_at_ms: None, transaction: None, by: None };
/// let operation = history.invoke(10, 0, call);
/// history.complete(20, operation, Outcome::Ok(Answer::Receipt { partition, offset: Some(0), durability, numbered: None }));
/// history.happen(30, Happening::Crash { kind: CrashKind::PowerLoss, keeps: Durability::Synced });
/// history.happen(40, Happening::Reopened);
/// let records = vec![];
/// history.happen(50, Happening::Contents { topic, partition, first_offset: 0, records, wall_ms: None });
/// assert_eq!(check(&history).findings[0].anomaly.name(), "lost-write");
/// ```
pub fn check(history: &History) -> Report {
    world::judge(history)
}
