//! What is known of each record and each transaction once the whole history was read.
//!
//! Invariants:
//! - A record is here if and only if its send was invoked.
//! - What is here does not depend on where in the history the checker stands, except what
//!   [`Record`] says under "so far".

use super::finding::{Anomaly, Finding};
use super::operations::Operations;
use crate::history::{
    Answer, Author, Call, Durability, Event, GroupNumber, History, LeaseNumber, Origin, Outcome, ProducerNumber,
    TopicNumber, TransactionNumber, Value,
};
use std::collections::HashMap;

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Acknowledged, by this event.
    Acknowledged { index: usize, durability: Durability },
    /// It was not done, and never will be.
    Failed { index: usize },
    /// Nobody knows.
    Unknown,
}

/// Whether a record was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    /// Nobody asked, or the answer was no.
    No,
    /// It was asked for, and nobody knows.
    Unknown,
    /// Yes, says this event.
    Done { index: usize },
}

/// A record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) value: Value,
    /// The event that invoked its send.
    pub(super) sent: usize,
    pub(super) process: u32,
    pub(super) topic: TopicNumber,
    /// The partition that was asked for, or that the receipt names.
    pub(super) partition: Option<u32>,
    pub(super) asked: Durability,
    pub(super) visible_at_ms: Option<i64>,
    /// The place of its transaction in [`Records::transactions`].
    pub(super) transaction: Option<usize>,
    /// Who sent it under a name.
    pub(super) by: Option<Author>,
    pub(super) fate: Fate,
    pub(super) cancel: Cancel,

    // So far:
    /// Where it stands for ever: partition (its place in the list of partitions) and offset.
    pub(super) place: Option<(usize, u64)>,
    /// Where a receipt that a crash may undo said that it stands, and before which crash.
    pub(super) loose_place: Option<(usize, u64, u32)>,
    /// A crash must not take it.
    pub(super) kept: bool,
    /// The first event in which a reader saw it, and who.
    pub(super) first_seen: Option<(usize, Option<u32>)>,
    /// The last event in which it was read when everything was.
    pub(super) last_contents: Option<usize>,
    /// It was reported as lost; once is enough.
    pub(super) reported_lost: bool,
    /// The number that it has for ever, and the event that said so.
    pub(super) origin: Option<(Origin, usize)>,
    /// The first event that sent it once more.
    pub(super) repeated: Option<usize>,
}

impl Record {
    /// It stands in the log before it has a place among the others, and perhaps never has one.
    pub(super) fn is_withheld(&self) -> bool {
        self.visible_at_ms.is_some() || self.transaction.is_some()
    }
}

/// A transaction.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) number: TransactionNumber,
    /// Its records, in the order of the calls.
    pub(super) records: Vec<usize>,
    /// What was acknowledged in it.
    pub(super) leases: Vec<(GroupNumber, LeaseNumber)>,
    /// Invocations of its polls.
    pub(super) polls: Vec<usize>,
    /// The first event that asks to commit it.
    pub(super) commit_asked: Option<usize>,
    /// A commit of which nobody knows how it ended.
    pub(super) commit_unknown: bool,
    pub(super) committed: Option<usize>,
    pub(super) rolled_back: Option<usize>,
    /// The events that said that it is prepared, and that asked to roll it back, as far as the history was read.
    pub(super) prepared: Option<usize>,
    pub(super) roll_back_asked: Option<usize>,
    /// It is known to be committed, as far as the history was read.
    pub(super) is_kept: bool,
}

/// All records and transactions, in the order in which they were first named.
#[derive(Default)]
pub(super) struct Records {
    pub(super) all: Vec<Record>,
    by_value: HashMap<Value, usize>,
    pub(super) transactions: Vec<Transaction>,
    by_transaction: HashMap<TransactionNumber, usize>,
    /// How many records were sent to a topic: offsets are below.
    pub(super) sent_to: HashMap<TopicNumber, u64>,
    /// How many of a topic were delayed, or sent in a transaction, and may be there.
    pub(super) delayed_to: HashMap<TopicNumber, u64>,
    /// How many a named producer sent to a topic: its numbers are below.
    pub(super) sent_by: HashMap<(ProducerNumber, TopicNumber), u64>,
}

impl Records {
    /// Collects sends, cancels and transactions.
    pub(super) fn new(history: &History, operations: &Operations<'_>, findings: &mut Vec<Finding>) -> Records {
        let mut records = Records::default();
        for (index, event) in history.events().iter().enumerate() {
            if let Event::Invoke { process, call, .. } = event {
                records.invoked(index, *process, call, operations.ending_of(index), findings);
            }
        }
        for transaction in &records.transactions {
            if let (Some(committed), Some(rolled_back)) = (transaction.committed, transaction.rolled_back) {
                let (first, second) = (committed.min(rolled_back), committed.max(rolled_back));
                let message =
                    format!("transaction {} was decided by event {first}, and the other way here", transaction.number);
                findings.push(Finding::new(second, Anomaly::DecidedTwice, message));
            }
        }
        records
    }

    /// The record of this value.
    pub(super) fn find(&self, value: Value) -> Option<usize> {
        self.by_value.get(&value).copied()
    }

    /// The transaction of this number.
    pub(super) fn find_transaction(&self, number: TransactionNumber) -> Option<usize> {
        self.by_transaction.get(&number).copied()
    }

    fn transaction(&mut self, number: TransactionNumber) -> usize {
        let next = self.transactions.len();
        let place = *self.by_transaction.entry(number).or_insert(next);
        if place == next {
            self.transactions.push(Transaction { number, ..Transaction::default() });
        }
        place
    }

    fn invoked(
        &mut self,
        index: usize,
        process: u32,
        call: &Call,
        ending: Option<(usize, &Outcome)>,
        findings: &mut Vec<Finding>,
    ) {
        match *call {
            Call::Send { value, .. } => {
                if let Some(first) = self.find(value) {
                    let message = format!("value {value} was sent by event {} already", self.all[first].sent);
                    let finding = Finding::new(index, Anomaly::Malformed, message);
                    return findings.push(finding.of_value(value).by_process(Some(process)));
                }
                self.sent(index, process, call, ending);
            }
            Call::Repeat { value, .. } => {
                let Some(record) = self.find(value) else {
                    let message = format!("value {value} is sent once more, and was not sent");
                    return findings.push(Finding::new(index, Anomaly::Malformed, message).of_value(value));
                };
                self.repeated(record, ending);
            }
            Call::Cancel { value } => {
                let Some(record) = self.find(value) else {
                    let message = format!("value {value} is cancelled, and was not sent");
                    return findings.push(Finding::new(index, Anomaly::Malformed, message).of_value(value));
                };
                let cancel = &mut self.all[record].cancel;
                match ending {
                    Some((index, Outcome::Ok(_))) => *cancel = Cancel::Done { index },
                    Some((_, Outcome::Failed { .. })) => {}
                    Some((_, Outcome::Unknown { .. })) | None if *cancel == Cancel::No => *cancel = Cancel::Unknown,
                    Some((_, Outcome::Unknown { .. })) | None => {}
                }
            }
            Call::Begin { transaction } | Call::Prepare { transaction } => {
                self.transaction(transaction);
            }
            Call::Commit { transaction } => {
                let place = self.transaction(transaction);
                let transaction = &mut self.transactions[place];
                transaction.commit_asked = transaction.commit_asked.or(Some(index));
                match ending {
                    Some((index, Outcome::Ok(_))) => transaction.committed = transaction.committed.or(Some(index)),
                    Some((_, Outcome::Failed { .. })) => {}
                    Some((_, Outcome::Unknown { .. })) | None => transaction.commit_unknown = true,
                }
            }
            Call::RollBack { transaction } => {
                let place = self.transaction(transaction);
                if let Some((index, Outcome::Ok(_))) = ending {
                    self.transactions[place].rolled_back.get_or_insert(index);
                }
            }
            Call::Poll { transaction: Some(transaction) } => {
                let place = self.transaction(transaction);
                self.transactions[place].polls.push(index);
            }
            Call::Settle { group, lease, transaction: Some(transaction), .. } => {
                let place = self.transaction(transaction);
                if !matches!(ending, Some((_, Outcome::Failed { .. }))) {
                    self.transactions[place].leases.push((group, lease));
                }
            }
            _ => {}
        }
    }

    fn sent(&mut self, index: usize, process: u32, call: &Call, ending: Option<(usize, &Outcome)>) {
        let Call::Send { topic, mut partition, value, durability: asked, visible_at_ms, transaction, by } = *call
        else {
            unreachable!("only sends come here")
        };
        if let Some(Author { producer, .. }) = by {
            *self.sent_by.entry((producer, topic)).or_default() += 1;
        }
        let fate = match ending {
            Some((index, Outcome::Ok(answer))) => {
                let mut durability = asked;
                if let Answer::Receipt { partition: place, durability: reached, .. } = answer {
                    partition = partition.or(Some(*place));
                    durability = *reached;
                }
                Fate::Acknowledged { index, durability }
            }
            Some((index, Outcome::Failed { .. })) => Fate::Failed { index },
            Some((_, Outcome::Unknown { .. })) | None => Fate::Unknown,
        };
        let record = self.all.len();
        let transaction = transaction.map(|number| self.transaction(number));
        if let Some(place) = transaction {
            self.transactions[place].records.push(record);
        }
        *self.sent_to.entry(topic).or_default() += 1;
        if (visible_at_ms.is_some() || transaction.is_some()) && !matches!(fate, Fate::Failed { .. }) {
            *self.delayed_to.entry(topic).or_default() += 1;
        }
        self.by_value.insert(value, record);
        self.all.push(Record {
            value,
            sent: index,
            process,
            topic,
            partition,
            asked,
            visible_at_ms,
            transaction,
            by,
            fate,
            cancel: Cancel::No,
            place: None,
            loose_place: None,
            kept: false,
            first_seen: None,
            last_contents: None,
            reported_lost: false,
            origin: None,
            repeated: None,
        });
    }

    /// A record was sent once more: what became of it may be better than what became of it before.
    fn repeated(&mut self, number: usize, ending: Option<(usize, &Outcome)>) {
        let record = &mut self.all[number];
        let was_failed = matches!(record.fate, Fate::Failed { .. });
        record.fate = match (ending, record.fate) {
            (Some((index, Outcome::Ok(answer))), before) => {
                let mut durability = record.asked;
                if let Answer::Receipt { partition, durability: reached, .. } = answer {
                    record.partition = record.partition.or(Some(*partition));
                    durability = *reached;
                }
                match before {
                    Fate::Acknowledged { index: earlier, durability: best } => {
                        Fate::Acknowledged { index: earlier.min(index), durability: best.max(durability) }
                    }
                    _ => Fate::Acknowledged { index, durability },
                }
            }
            (Some((_, Outcome::Failed { .. })), before) => before,
            (Some((_, Outcome::Unknown { .. })) | None, Fate::Failed { .. }) => Fate::Unknown,
            (Some((_, Outcome::Unknown { .. })) | None, before) => before,
        };
        if was_failed && record.visible_at_ms.is_some() && !matches!(record.fate, Fate::Failed { .. }) {
            *self.delayed_to.entry(record.topic).or_default() += 1;
        }
    }
}
