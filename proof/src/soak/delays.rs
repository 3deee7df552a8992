//! What is known of delayed records.
//!
//! Invariants:
//! - A record is expected from before it is sent until it is read, cancelled, or may have been given up unread.
//!   Whoever is read without being expected was read at another offset before, was cancelled, or was never sent.
//! - When a record that is kept became due is known until it is given up.

use super::ledger::Wrong;
use super::message::Run;
use crate::checker::Anomaly;
use std::collections::{BTreeMap, HashMap};

/// The delayed records of a topic.
#[derive(Debug, Default)]
pub(super) struct Delays {
    expected: BTreeMap<u32, Expected>,
    /// When those became due that were read and are kept.
    due_ms: HashMap<u32, i64>,
}

#[derive(Debug)]
struct Expected {
    due_ms: i64,
    /// Its identity, if it has a receipt.
    id: Option<String>,
    /// So often it was asked to be cancelled, and there is no answer yet, or there never will be.
    cancelling: u32,
    /// It may have been given up before anybody read it.
    may_be_gone: bool,
}

impl Delays {
    pub(super) fn sending(&mut self, sequence: u32, due_ms: i64) {
        self.expected.insert(sequence, Expected { due_ms, id: None, cancelling: 0, may_be_gone: false });
    }

    /// It may be read already.
    pub(super) fn withheld(&mut self, sequence: u32, id: String) {
        if let Some(expected) = self.expected.get_mut(&sequence) {
            expected.id = Some(id);
        }
    }

    pub(super) fn cancelling(&mut self, sequence: u32) {
        if let Some(expected) = self.expected.get_mut(&sequence) {
            expected.cancelling += 1;
        }
    }

    pub(super) fn cancelled(&mut self, sequence: u32, done: bool, wall_ms: i64) -> Result<(), Wrong> {
        let Some(expected) = self.expected.get_mut(&sequence) else {
            let text = format!("delayed record {sequence} was cancelled, and had been read");
            return if done { Err((Anomaly::CancelledRead, text)) } else { Ok(()) };
        };
        expected.cancelling = expected.cancelling.saturating_sub(1);
        if done {
            self.expected.remove(&sequence);
        } else if expected.due_ms > wall_ms && expected.cancelling == 0 {
            let text =
                format!("delayed record {sequence} is not withheld {} ms before it is due", expected.due_ms - wall_ms);
            return Err((Anomaly::LostWrite, text));
        }
        Ok(())
    }

    /// These were read for the first time, at a time.
    pub(super) fn read(&mut self, runs: &[Run], wall_ms: i64) -> Result<(), Wrong> {
        let sequences = runs.iter().flat_map(|run| run.sequence..run.sequence + run.count);
        for sequence in sequences {
            let Some(expected) = self.expected.remove(&sequence) else {
                let text = format!("delayed record {sequence} had been read before, was cancelled, or never sent");
                return Err((Anomaly::Unexpected, text));
            };
            if expected.due_ms > wall_ms {
                let text =
                    format!("delayed record {sequence} was read {} ms before it is due", expected.due_ms - wall_ms);
                return Err((Anomaly::EarlyRead, text));
            }
            self.due_ms.insert(sequence, expected.due_ms);
        }
        Ok(())
    }

    /// These are given up. Returns when the last of them became due.
    pub(super) fn gone(&mut self, runs: &[Run]) -> Option<i64> {
        let sequences = runs.iter().flat_map(|run| run.sequence..run.sequence + run.count);
        sequences.filter_map(|sequence| self.due_ms.remove(&sequence)).max()
    }

    /// Some were given up that nobody had read: what was due before may be among them. (Or it is late.)
    pub(super) fn gone_unread(&mut self, due_before_ms: i64) {
        let unread = self.expected.values_mut().filter(|expected| expected.due_ms < due_before_ms);
        unread.for_each(|expected| expected.may_be_gone = true);
    }

    /// Those that are withheld, as far as is known.
    pub(super) fn outstanding(&self) -> Vec<(u32, String)> {
        self.expected.iter().filter_map(|(sequence, expected)| Some((*sequence, expected.id.clone()?))).collect()
    }

    /// At the end, when all that are withheld are cancelled and everything was read.
    pub(super) fn settled(&self) -> Option<Wrong> {
        let (mut missing, mut count) = (None, 0);
        // Whether a record was cancelled that somebody asked to cancel and then died, nobody knows.
        for (sequence, expected) in &self.expected {
            if expected.id.is_some() && expected.cancelling == 0 && !expected.may_be_gone {
                missing.get_or_insert((*sequence, expected.due_ms));
                count += 1;
            }
        }
        let (sequence, due_ms) = missing?;
        Some((
            Anomaly::Unseen,
            format!("{count} delayed records were never seen; the first is {sequence}, due at {due_ms}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sequence: u32) -> [Run; 1] {
        [Run { partition: 0, offset: 0, sequence, count: 1 }]
    }

    fn anomaly<T: std::fmt::Debug>(result: Result<T, Wrong>) -> Anomaly {
        result.unwrap_err().0
    }

    fn delays() -> Delays {
        let mut delays = Delays::default();
        delays.sending(1, 1_000);
        delays.withheld(1, "0:1:0".to_owned());
        delays
    }

    #[test]
    fn a_record_is_read_once_and_not_before_it_is_due() {
        let mut delays = delays();
        assert!(delays.settled().is_some(), "it was never seen");
        assert_eq!(delays.outstanding().len(), 1);
        delays.read(&one(1), 1_000).unwrap();
        assert!(delays.settled().is_none());
        assert_eq!(anomaly(delays.read(&one(1), 1_000)), Anomaly::Unexpected);
        assert_eq!(delays.gone(&one(1)), Some(1_000));
        delays.sending(2, 1_000);
        assert_eq!(anomaly(delays.read(&one(2), 999)), Anomaly::EarlyRead);
    }

    #[test]
    fn what_is_cancelled_is_not_read() {
        let mut lost = delays();
        lost.cancelling(1);
        assert_eq!(
            anomaly(lost.cancelled(1, false, 999)),
            Anomaly::LostWrite,
            "nobody cancelled it, and it is not due"
        );
        let mut cancelled = delays();
        cancelled.cancelling(1);
        cancelled.cancelled(1, true, 0).unwrap();
        assert!(cancelled.settled().is_none());
        assert_eq!(anomaly(cancelled.read(&one(1), 2_000)), Anomaly::Unexpected);
        let mut read = delays();
        read.cancelling(1);
        read.read(&one(1), 1_000).unwrap();
        read.cancelled(1, false, 1_000).unwrap();
        assert_eq!(anomaly(read.cancelled(1, true, 1_000)), Anomaly::CancelledRead);
    }

    #[test]
    fn what_may_have_been_given_up_unread_is_not_missed() {
        let mut delays = delays();
        delays.gone_unread(1_000);
        assert!(delays.settled().is_some());
        delays.gone_unread(1_001);
        assert!(delays.settled().is_none());
        delays.read(&one(1), 9_000).unwrap();
    }
}
