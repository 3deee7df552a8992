//! What the application knows of its named producers: an outbox for each partition, with the number of each record and
//! its receipt, as far as it is known. It survives every crash, as a table of the application would.
//!
//! Invariants:
//! - A number stands for one record for ever, unless that one was refused and had no number of its own.
//! - Only who holds a name adds to its outboxes. The one before may still be in the midst of a call.
//! - Whoever has just opened a name asks how far it came; what stands in the log is known then, and the rest is sent again.

use super::shape::NAMES;
use super::shared::{Shared, topic_name};
use crate::history::{Answer, Call, Event, History, Outcome, ProducerNumber};
use ringlane::{Engine, Error, ProducerOptions, Receipt};
use std::collections::BTreeMap;

/// How many names there are.
pub const PRODUCERS: usize = 2;

/// A producer, and the topic and partition that it sends to.
pub type Key = (ProducerNumber, u32, u32);

/// A record of an outbox.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number in the history.
    pub value: u64,
    /// Bytes of its value.
    pub bytes: usize,
    /// It is delayed.
    pub due_ms: Option<i64>,
    /// Its sender gives it its number.
    pub is_numbered: bool,
    /// It has a message id.
    pub has_id: bool,
    /// It was sent before.
    pub was_sent: bool,
    /// Who sent it last, while the outcome is not known.
    pub sent_in: Option<u64>,
    /// A send of it was refused.
    pub was_refused: bool,
    /// It is in the log.
    pub stands: bool,
    /// Its receipt.
    pub receipt: Option<Receipt>,
    /// See [`Window`].
    pub settled_before: u64,
}

impl Row {
    /// The message id, if it has one.
    pub fn message_id(&self) -> Option<[u8; 8]> {
        self.has_id.then(|| self.value.to_le_bytes())
    }
}

/// The records of one producer in one partition, by number.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// See above.
    pub rows: BTreeMap<u64, Row>,
}

impl Outbox {
    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.rows.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    /// The numbers of what is not in the log and not on its way there.
    pub fn unsent(&self) -> Vec<u64> {
        let is_unsent = |(number, row): (&u64, &Row)| (!row.stands && row.sent_in.is_none()).then_some(*number);
        self.rows.iter().filter_map(is_unsent).collect()
    }

    /// Everything is in the log.
    pub fn is_settled(&self) -> bool {
        self.rows.values().all(|row| row.stands)
    }
}

/// A name.
#[derive(Clone, Debug, Default)]
pub struct Name {
    /// The producer that has it, if it is there.
    pub current: Option<ProducerNumber>,
    /// Who opened it last: this one may send.
    pub holder: Option<u64>,
    /// The last one that began to open it.
    pub opening: u64,
    /// Somebody opens or deletes it.
    pub busy: bool,
    /// Somebody asked to delete the producer.
    pub delete_asked: bool,
}

/// How many records that are known again were sent, and of how many it is known that they are in the log: whatever was
/// sent and settled before a record is older than it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// Sent.
    pub sent: u64,
    /// Settled.
    pub settled: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Producers {
    /// By the name's number.
    pub names: [Name; PRODUCERS],
    /// All outboxes.
    pub outboxes: BTreeMap<Key, Outbox>,
    /// What may be forgotten.
    pub window: Window,
    /// Producers that there were.
    numbers: ProducerNumber,
    /// Openings that there were.
    holds: u64,
}

impl Producers {
    /// A number that no producer has had yet.
    pub fn next_number(&mut self) -> ProducerNumber {
        self.numbers += 1;
        self.numbers
    }

    /// A number that no opening has had yet.
    pub fn next_hold(&mut self) -> u64 {
        self.holds += 1;
        self.holds
    }

    /// A record that is known again is about to be sent for the first time. Gives what was settled before it.
    pub fn sends(&mut self) -> u64 {
        self.window.sent += 1;
        self.window.settled
    }
}

/// The name of a producer.
pub fn producer_name(name: usize) -> String {
    format!("producer-{name}")
}

/// What a history says of the producer that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The producer.
    pub producer: ProducerNumber,
    /// Id and epoch of its last opening, if one came back.
    pub opened: Option<(u32, u32)>,
    /// Somebody asked to delete it, and nobody knows.
    pub delete_asked: bool,
}

/// The producers that may be there after a history, by name.
pub fn names_after(history: &History) -> [Option<Known>; PRODUCERS] {
    let mut names: [Option<Known>; PRODUCERS] = [None; PRODUCERS];
    let mut calls = BTreeMap::new();
    for event in history.events() {
        match event {
            Event::Invoke { operation, call: call @ Call::OpenProducer { producer, name }, .. } => {
                calls.insert(*operation, call);
                let known = &mut names[*name as usize];
                if known.is_none_or(|known| known.producer != *producer) {
                    *known = Some(Known { producer: *producer, opened: None, delete_asked: false });
                }
            }
            Event::Invoke { operation, call: call @ Call::DeleteProducer { producer }, .. } => {
                calls.insert(*operation, call);
                names.iter_mut().flatten().filter(|known| known.producer == *producer).for_each(|known| {
                    known.delete_asked = true;
                });
            }
            Event::Complete { operation, outcome, .. } => {
                let Some(call) = calls.get(operation) else { continue };
                match (call, outcome) {
                    (Call::OpenProducer { producer, .. }, Outcome::Ok(Answer::Opened { id, epoch })) => {
                        names.iter_mut().flatten().filter(|known| known.producer == *producer).for_each(|known| {
                            known.opened = Some((*id, *epoch));
                            known.delete_asked = false;
                        });
                    }
                    (Call::DeleteProducer { producer }, Outcome::Ok(_)) => {
                        for known in names.iter_mut().filter(|known| known.is_some_and(|it| it.producer == *producer)) {
                            *known = None;
                        }
                    }
                    (Call::DeleteProducer { producer }, Outcome::Failed { .. }) => {
                        names.iter_mut().flatten().filter(|known| known.producer == *producer).for_each(|known| {
                            known.delete_asked = false;
                        });
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    names
}

/// Compares the named producers of an engine that was just opened with what must be there. Gives those that are.
pub fn look(engine: &Engine, shared: &Shared) -> [Option<Known>; PRODUCERS] {
    let mut names = names_after(&shared.recorder.history());
    if shared.allowed.get().damage {
        return [None; PRODUCERS];
    }
    let listed = engine.producers();
    for (name, known) in names.iter_mut().enumerate() {
        let info = listed.iter().find(|info| info.name == producer_name(name));
        match (*known, info) {
            (None, Some(_)) => shared.violation(format!("{} is there, and nobody opened it", producer_name(name))),
            (Some(Known { opened: Some(_), delete_asked: false, .. }), None) => {
                shared.violation(format!("{} is gone, and nobody deleted it", producer_name(name)));
            }
            (Some(Known { opened: Some((id, epoch)), .. }), Some(info)) if info.id != id || info.epoch < epoch => {
                let text = format!("{} was opened as {id} with epoch {epoch}, and is {info:?}", producer_name(name));
                shared.violation(text);
            }
            (Some(_), None) => *known = None,
            _ => {}
        }
    }
    names
}

/// Opens all producers that are there, and asks how far each came in each partition; the history judges the answers.
pub fn ask(engine: &Engine, shared: &Shared, topics: [Option<u32>; NAMES]) {
    for (name, known) in look(engine, shared).into_iter().enumerate() {
        let Some(Known { producer, .. }) = known else { continue };
        let operation = shared.recorder.invoke(8, Call::OpenProducer { producer, name: name as u32 });
        let opened = match engine.producer(ProducerOptions::new().name(producer_name(name))) {
            Ok(opened) => opened,
            Err(error) => {
                let outcome = shared.judge("opening a producer", &error);
                shared.recorder.complete(operation, outcome);
                continue;
            }
        };
        let id = engine.producers().iter().find(|info| info.name == producer_name(name)).map_or(0, |info| info.id);
        shared.recorder.complete(operation, Outcome::Ok(Answer::Opened { id, epoch: opened.epoch() }));
        for (at, number) in topics.iter().enumerate() {
            let (Some(topic), Ok(handle)) = (*number, engine.topic(&topic_name(at))) else { continue };
            for partition in 0..handle.partitions() {
                let operation = shared.recorder.invoke(8, Call::LastSent { producer, topic, partition });
                let outcome = match opened.last_sent(&handle, partition) {
                    Ok(last) => Outcome::Ok(Answer::LastSent { sequence: last.map(|last| last.sequence) }),
                    Err(error) => shared.judge("asking for the last record", &error),
                };
                shared.recorder.complete(operation, outcome);
                shared.count("questions for the last record");
            }
        }
    }
}

/// A new life: nobody holds a name, nothing is on its way.
pub fn begin_life(engine: &Engine, shared: &Shared) {
    let names = look(engine, shared);
    let mut producers = shared.producers.borrow_mut();
    for (name, known) in producers.names.iter_mut().zip(names) {
        *name = Name { current: known.map(|known| known.producer), opening: name.opening, ..Name::default() };
    }
    for row in producers.outboxes.values_mut().flat_map(|outbox| outbox.rows.values_mut()) {
        row.sent_in = None;
    }
}

/// Whether an answer is the one that was given before.
pub fn is_same(before: &Receipt, now: &Receipt) -> bool {
    let now = Receipt { duplicate: before.duplicate, durability: before.durability, ..now.clone() };
    *before == now
}

/// Whether an error means that somebody else has the name by now, or that it is gone.
pub fn is_fenced(shared: &Shared, name: usize, hold: u64, producer: ProducerNumber, error: &Error) -> bool {
    let producers = shared.producers.borrow();
    let Name { current, opening, delete_asked, .. } = producers.names[name];
    let is_deleted = delete_asked || current != Some(producer);
    match error {
        Error::ProducerFenced { .. } => opening > hold || is_deleted,
        Error::UnknownProducer { .. } => is_deleted,
        _ => false,
    }
}

impl Shared {
    /// Receipts of records that may be sent again are forgotten in this run.
    pub fn may_forget_originals(&self) -> bool {
        self.plan.shape.options.originals_max < super::shape::ORIGINALS_MANY
    }

    /// Whether the receipt of a record may be forgotten by now.
    pub fn may_be_forgotten(&self, settled_before: u64) -> bool {
        let window = self.producers.borrow().window;
        let max = self.plan.shape.options.originals_max;
        match self.plan.shape.changes_lanes {
            // Which of two lanes' receipts are older, nobody knows.
            true => window.sent > max,
            false => window.sent - settled_before > max,
        }
    }
}
