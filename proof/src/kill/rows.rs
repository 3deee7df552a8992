//! What the parent knows of the outbox: which number of the name stands for which record, as far as the next child must
//! know it.
//!
//! Invariants:
//! - A number of a partition has one row: that of the record that was sent under it last. An older one, which was left out
//!   on purpose when the kill came, is not sent again.
//! - What is not known to be in the log has a row. Of what is, the newest of each partition has.

use super::message::Row;
use crate::history::{Author, Call, Event, Outcome, TopicNumber, Value};
use std::collections::HashMap;

/// The rows of a log.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// The records that are on their way, by operation.
    on_their_way: HashMap<u64, Value>,
}

impl Rows {
    /// Notes what a child said.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Invoke { operation, call, .. } => match *call {
                Call::Send {
                    topic,
                    partition: Some(partition),
                    value,
                    by: Some(Author { sequence: Some(sequence), .. }),
                    ..
                } => {
                    self.on_their_way.insert(*operation, value);
                    self.stands_for(Row { topic, partition, sequence, value, is_acknowledged: false });
                }
                Call::Repeat { value, .. } => drop(self.on_their_way.insert(*operation, value)),
                _ => {}
            },
            Event::Complete { operation, outcome, .. } => self.ended(*operation, outcome),
            Event::World { .. } => {}
        }
    }

    /// A number stands for this record now, whatever it stood for before.
    fn stands_for(&mut self, row: Row) {
        let place = |row: &Row| (row.topic, row.partition, row.sequence);
        self.rows.retain(|other| place(other) != place(&row));
        self.rows.push(row);
    }

    fn ended(&mut self, operation: u64, outcome: &Outcome) {
        let Some(value) = self.on_their_way.remove(&operation) else { return };
        let Some(at) = self.rows.iter().rposition(|row| row.value == value) else { return };
        match outcome {
            Outcome::Ok(_) => self.rows[at].is_acknowledged = true,
            // It skipped a number, on purpose, and has none.
            Outcome::Failed { .. } => drop(self.rows.remove(at)),
            Outcome::Unknown { .. } => {}
        }
    }

    /// What the next child must know.
    pub(super) fn for_the_next(&mut self) -> Vec<Row> {
        // Nobody waits for the answers of a child that is gone.
        self.on_their_way.clear();
        let mut newest: HashMap<(TopicNumber, u32), u64> = HashMap::new();
        for row in self.rows.iter().filter(|row| row.is_acknowledged) {
            let last = newest.entry((row.topic, row.partition)).or_default();
            *last = row.sequence.max(*last);
        }
        self.rows.retain(|row| !row.is_acknowledged || newest[&(row.topic, row.partition)] == row.sequence);
        self.rows.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Durability};

    /// Sends number `sequence` of partition 0 as the record `value`, and answers, or does not.
    fn send(rows: &mut Rows, sequence: u64, value: Value, outcome: Option<Outcome>) {
        let call = Call::Send {
            topic: 0,
            partition: Some(0),
            value,
            durability: Durability::Synced,
            visible_at_ms: None,
            transaction: None,
            by: Some(Author { producer: 0, sequence: Some(sequence) }),
        };
        say(rows, value, call, outcome);
    }

    fn say(rows: &mut Rows, operation: u64, call: Call, outcome: Option<Outcome>) {
        rows.note(&Event::Invoke { at_ns: 0, operation, process: 0, call });
        if let Some(outcome) = outcome {
            rows.note(&Event::Complete { at_ns: 0, operation, outcome });
        }
    }

    fn there() -> Option<Outcome> {
        Some(Outcome::Ok(Answer::Done))
    }

    fn known(rows: &mut Rows) -> Vec<(u64, Value, bool)> {
        rows.for_the_next().iter().map(|row| (row.sequence, row.value, row.is_acknowledged)).collect()
    }

    /// A child sent number 2 where number 1 came next, on purpose, and the kill came before it was refused. The next child
    /// used the number for another record, and went on. When that one was not the newest any more, only the old row was
    /// left of the number, and the old record was sent again under it: the answer was that it is there, which is true of
    /// the other one.
    #[test]
    fn a_number_that_was_left_out_stands_for_the_record_that_used_it_later() {
        let mut rows = Rows::default();
        send(&mut rows, 0, 10, there());
        send(&mut rows, 2, 11, None);
        assert_eq!(known(&mut rows), [(0, 10, true), (2, 11, false)]);
        // The next child finds that number 1 comes next.
        send(&mut rows, 1, 12, there());
        send(&mut rows, 2, 13, None);
        assert_eq!(known(&mut rows), [(1, 12, true), (2, 13, false)]);
        let again = Call::Repeat { value: 13, durability: Durability::Synced };
        say(&mut rows, 14, again, there());
        send(&mut rows, 3, 15, there());
        assert_eq!(known(&mut rows), [(3, 15, true)]);
    }

    #[test]
    fn what_was_refused_has_no_number_and_what_nobody_knows_of_keeps_its_own() {
        let mut rows = Rows::default();
        send(&mut rows, 0, 10, there());
        send(&mut rows, 5, 11, Some(Outcome::Failed { code: "sequence-gap".to_owned() }));
        send(&mut rows, 1, 12, Some(Outcome::Unknown { code: "unknown-outcome".to_owned() }));
        send(&mut rows, 2, 13, None);
        assert_eq!(known(&mut rows), [(0, 10, true), (1, 12, false), (2, 13, false)]);
    }
}
