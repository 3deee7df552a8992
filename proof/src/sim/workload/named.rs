//! Named producers with an outbox: they number their records, send again what nobody knows the outcome of, take names
//! from each other, and ask how far they came.

use super::{Operation, any_bytes, any_name};
use crate::history::{Answer, Author, Call, Outcome, ProducerNumber};
use crate::sim::client::{Client, durability_of};
use crate::sim::outbox::{Key, PRODUCERS, Row, is_fenced, is_same, producer_name};
use crate::sim::payload::Payload;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use crate::sim::shared::{Delayed, Shared, topic_name};
use crate::witness::{numbered_of, refusal};
use ringlane::{Durability, Error, Producer, ProducerOptions, Receipt, SendHandle, Topic};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

/// Processes of histories below are clients.
const PROCESS_OF_NAMES: u32 = 1_000;
/// What a client may have in flight under names.
const PENDING_MAX: usize = 24;
const DELAY_MS_MAX: u64 = 5_000;

/// A name that a client has opened.
#[derive(Clone)]
struct Held {
    producer: Producer,
    number: ProducerNumber,
    hold: u64,
}

/// What clients have of names, and in flight under them.
#[derive(Default)]
pub struct Names {
    held: [Option<Held>; PRODUCERS],
    pending: VecDeque<(Sent, SendHandle)>,
}

/// A record on its way.
#[derive(Clone, Copy)]
struct Sent {
    name: usize,
    hold: u64,
    key: Key,
    sequence: u64,
    operation: u64,
    /// It was in the log before.
    stood: bool,
    is_repeat: bool,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// New records, numbered; after all that is still to be sent again.
    Send { records: u64, delay_ms: Option<u64>, waits: bool },
    /// A record to which the engine gives its number.
    Unnumbered,
    /// Records whose outcome is known are sent again.
    Repeat { records: u64, choice: u64 },
    /// In one call: one that is there, two new ones, the first of them again.
    Mix,
    /// A number is left out.
    Skip { by: u64 },
    /// Whoever lost its name sends all the same.
    Late,
    /// The name is opened once more.
    Open,
    /// The producer is deleted.
    Delete,
}

struct Named {
    name: usize,
    topic: usize,
    choice: u64,
    bytes: usize,
    deed: Deed,
}

pub(super) fn make(random: &mut Random, shape: &Shape) -> Rc<dyn Operation> {
    let delay_ms = random.one_in(6).then(|| random.skewed(DELAY_MS_MAX));
    let (records, waits) = (random.between(1, 5), random.one_in(3));
    let deed = match random.below(40) {
        0..14 => Deed::Send { records, delay_ms, waits },
        14..19 => Deed::Unnumbered,
        19..27 => Deed::Repeat { records, choice: random.number() },
        27..30 => Deed::Mix,
        30..33 => Deed::Skip { by: random.between(1, 3) },
        33..36 => Deed::Late,
        36..39 => Deed::Open,
        _ => Deed::Delete,
    };
    Rc::new(Named {
        name: random.below(PRODUCERS as u64) as usize,
        topic: any_name(random),
        choice: random.number() % 2,
        bytes: any_bytes(random, shape),
        deed,
    })
}

/// A partition that a held name sends to.
struct Place {
    held: Held,
    name: usize,
    topic: Topic,
    key: Key,
}

impl Place {
    fn process(&self) -> u32 {
        PROCESS_OF_NAMES + self.held.number
    }
}

impl Operation for Named {
    fn run(&self, client: &mut Client) {
        match self.deed {
            Deed::Open => drop(open(client, self.name)),
            Deed::Delete => delete(client, self.name),
            Deed::Late => self.send_late(client),
            deed => {
                let Some(held) = hold(client, self.name) else { return };
                let Some(place) = self.place(client, held) else { return };
                let mut sending = Sending { client, place };
                match deed {
                    Deed::Send { records, delay_ms, waits } => sending.send(records, self.bytes, delay_ms, waits),
                    Deed::Unnumbered => sending.send_unnumbered(self.bytes),
                    Deed::Repeat { records, choice } => sending.repeat(records, choice),
                    Deed::Mix => sending.mix(self.bytes),
                    Deed::Skip { by } => sending.skip(by, self.bytes),
                    Deed::Late | Deed::Open | Deed::Delete => {}
                }
            }
        }
    }
}

impl Named {
    fn place(&self, client: &Client, held: Held) -> Option<Place> {
        let (number, topic) = client.topic(self.topic)?;
        let partition = (self.choice % u64::from(topic.partitions())) as u32;
        let key = (held.number, number, partition);
        Some(Place { held, name: self.name, topic, key })
    }

    /// Its calls must be refused.
    fn send_late(&self, client: &mut Client) {
        let Some(held) = client.names.held[self.name].clone() else { return };
        let is_late = {
            let producers = client.shared.producers.borrow();
            let name = &producers.names[self.name];
            let is_gone = name.current != Some(held.number);
            !name.busy && (is_gone || name.holder.is_some_and(|holder| holder != held.hold))
        };
        let Some(place) = self.place(client, held).filter(|_| is_late) else { return };
        client.shared.count("sends of who lost its name");
        let mut sending = Sending { client, place };
        let next = sending.with_rows(|outbox| outbox.next());
        let sequence = (!self.choice.is_multiple_of(2)).then_some(next);
        sending.must_be_refused(sequence, self.bytes, |error| {
            matches!(error, Error::ProducerFenced { .. } | Error::UnknownProducer { .. })
        });
    }
}

/// The name as this client has it, opened if somebody else has it, or nobody.
fn hold(client: &mut Client, name: usize) -> Option<Held> {
    let holder = client.shared.producers.borrow().names[name].holder;
    match &client.names.held[name] {
        Some(held) if holder == Some(held.hold) => Some(held.clone()),
        _ => open(client, name),
    }
}

/// Opens a name, and asks how far it came.
fn open(client: &mut Client, name: usize) -> Option<Held> {
    let shared = client.shared.clone();
    let (number, hold) = {
        let mut producers = shared.producers.borrow_mut();
        if producers.names[name].busy {
            return None;
        }
        let hold = producers.next_hold();
        let number = match producers.names[name].current {
            Some(number) => number,
            None => producers.next_number(),
        };
        let entry = &mut producers.names[name];
        (entry.busy, entry.opening) = (true, hold);
        if entry.current.replace(number) != Some(number) {
            entry.delete_asked = false;
        }
        (number, hold)
    };
    let call = Call::OpenProducer { producer: number, name: name as u32 };
    let operation = shared.recorder.invoke(PROCESS_OF_NAMES + number, call);
    let opened = client.engine.producer(ProducerOptions::new().name(producer_name(name)));
    let info = client.engine.producers().into_iter().find(|info| info.name == producer_name(name));
    let (outcome, producer) = match opened {
        Ok(producer) => {
            let (id, epoch) = (info.map_or(0, |info| info.id), producer.epoch());
            shared.count("openings of named producers");
            (Outcome::Ok(Answer::Opened { id, epoch }), Some(producer))
        }
        Err(error) => (shared.judge("opening a producer", &error), None),
    };
    shared.recorder.complete(operation, outcome);
    let held = producer.map(|producer| Held { producer, number, hold });
    {
        let mut producers = shared.producers.borrow_mut();
        let entry = &mut producers.names[name];
        entry.holder = held.as_ref().map(|held| held.hold);
    }
    let held = held.filter(|held| resolve(client, held));
    if held.is_none() {
        shared.producers.borrow_mut().names[name].holder = None;
    }
    shared.producers.borrow_mut().names[name].busy = false;
    client.names.held[name].clone_from(&held);
    held
}

/// Asks how far a producer came, wherever it has sent to. `false`: it could not be asked.
fn resolve(client: &Client, held: &Held) -> bool {
    let shared = &client.shared;
    let keys: Vec<Key> = {
        let producers = shared.producers.borrow();
        producers.outboxes.keys().filter(|key| key.0 == held.number).copied().collect()
    };
    for key in keys {
        let (_, topic, partition) = key;
        let name = shared.topic_names.borrow()[topic as usize];
        if client.topics.borrow()[name] != Some(topic) {
            continue;
        }
        let Ok(handle) = client.engine.topic(&topic_name(name)) else { continue };
        let call = Call::LastSent { producer: held.number, topic, partition };
        let operation = shared.recorder.invoke(PROCESS_OF_NAMES + held.number, call);
        let last = match held.producer.last_sent(&handle, partition) {
            Ok(last) => last,
            Err(error) => {
                let outcome = shared.judge("asking for the last record", &error);
                shared.recorder.complete(operation, outcome);
                if matches!(error, Error::TopicDeleted { .. }) {
                    continue;
                }
                return false;
            }
        };
        let sequence = last.as_ref().map(|last| last.sequence);
        shared.recorder.complete(operation, Outcome::Ok(Answer::LastSent { sequence }));
        shared.count("questions for the last record");
        if shared.recorder.is_silent() || client.machine.is_dead() {
            return false;
        }
        let mut producers = shared.producers.borrow_mut();
        let (mut settled, mut wrong) = (0, Vec::new());
        let outbox = producers.outboxes.entry(key).or_default();
        let end = sequence.map_or(0, |last| last + 1);
        if end > outbox.next() {
            wrong.push(format!("{} came to number {sequence:?}, and only {} were sent", held.number, outbox.next()));
        }
        if let Some(last) = &last
            && let Some(row) = outbox.rows.get(&last.sequence)
            && row.message_id().as_ref().map(|id| &id[..]) != last.message_id.as_deref()
        {
            wrong.push(format!("{last:?} does not have the id of {row:?}"));
        }
        for (number, row) in outbox.rows.range_mut(..end) {
            settled += u64::from(!row.stands && (row.is_numbered || row.has_id));
            if !row.was_sent {
                wrong.push(format!("number {number} is in the log, and {row:?} was never sent"));
            }
            (row.stands, row.sent_in) = (true, None);
        }
        for (number, row) in outbox.rows.range_mut(end..) {
            if row.stands {
                wrong.push(format!("{sequence:?} is the last number, and {number} was in the log: {row:?}"));
            }
            row.sent_in = None;
        }
        // The engine may give its number to another one.
        outbox.rows.retain(|number, row| *number < end || row.is_numbered);
        producers.window.settled += settled;
        drop(producers);
        wrong.into_iter().for_each(|text| shared.violation(text));
    }
    true
}

/// Deletes the producer of a name.
fn delete(client: &mut Client, name: usize) {
    let shared = client.shared.clone();
    let number = {
        let mut producers = shared.producers.borrow_mut();
        let entry = &mut producers.names[name];
        let Some(number) = entry.current.filter(|_| !entry.busy && entry.holder.is_some()) else { return };
        (entry.busy, entry.delete_asked) = (true, true);
        number
    };
    let call = Call::DeleteProducer { producer: number };
    let operation = shared.recorder.invoke(PROCESS_OF_NAMES + number, call);
    let result = client.engine.delete_producer(&producer_name(name));
    let outcome = match &result {
        Ok(()) => Outcome::done(),
        Err(error) => shared.judge("deleting a producer", error),
    };
    shared.recorder.complete(operation, outcome);
    let mut producers = shared.producers.borrow_mut();
    let entry = &mut producers.names[name];
    if result.is_ok() {
        (entry.current, entry.holder) = (None, None);
    }
    entry.busy = false;
    drop(producers);
    shared.count("deletions of named producers");
}

/// A client that sends under a name to a partition.
struct Sending<'a> {
    client: &'a mut Client,
    place: Place,
}

impl Sending<'_> {
    fn shared(&self) -> &Rc<Shared> {
        &self.client.shared
    }

    fn with_rows<R>(&self, run: impl FnOnce(&mut crate::sim::outbox::Outbox) -> R) -> R {
        run(self.shared().producers.borrow_mut().outboxes.entry(self.place.key).or_default())
    }

    /// Nobody has opened the name since.
    fn is_held(&self) -> bool {
        let is_over = self.client.machine.is_dead() || self.shared().poisoned.get();
        !is_over && self.shared().producers.borrow().names[self.place.name].holder == Some(self.place.held.hold)
    }

    /// A new row. Gives its number.
    fn add(&self, bytes: usize, is_numbered: bool, due_ms: Option<i64>) -> u64 {
        let value = self.shared().next_value();
        let has_id = value.is_multiple_of(4);
        let settled_before = match is_numbered || has_id {
            true => self.shared().producers.borrow_mut().sends(),
            false => 0,
        };
        self.with_rows(|outbox| {
            let sequence = outbox.next();
            let row = Row {
                value,
                bytes,
                due_ms,
                is_numbered,
                has_id,
                was_sent: false,
                sent_in: None,
                was_refused: false,
                stands: false,
                receipt: None,
                settled_before,
            };
            outbox.rows.insert(sequence, row);
            sequence
        })
    }

    /// Says that a row is about to be sent.
    fn invoke(&self, sequence: u64) -> (Sent, Row) {
        let Place { held, name, key, .. } = &self.place;
        let row = self.with_rows(|outbox| {
            let row = outbox.rows.get_mut(&sequence).expect("it is in the outbox");
            let before = row.clone();
            (row.was_sent, row.sent_in) = (true, Some(held.hold));
            before
        });
        let durability = durability_of(Durability::Synced);
        if let Some(due_ms) = row.due_ms {
            self.shared().due_max_ms.set(self.shared().due_max_ms.get().max(due_ms));
        }
        let call = match row.was_sent {
            true => Call::Repeat { value: row.value, durability },
            false => self.call(row.value, row.due_ms, row.is_numbered.then_some(sequence)),
        };
        let operation = self.shared().recorder.invoke(self.place.process(), call);
        let (stood, is_repeat) = (row.stands, row.was_sent);
        (Sent { name: *name, hold: held.hold, key: *key, sequence, operation, stood, is_repeat }, row)
    }

    fn call(&self, value: u64, visible_at_ms: Option<i64>, sequence: Option<u64>) -> Call {
        let (producer, topic, partition) = self.place.key;
        Call::Send {
            topic,
            partition: Some(partition),
            value,
            durability: durability_of(Durability::Synced),
            visible_at_ms,
            transaction: None,
            by: Some(Author { producer, sequence }),
        }
    }

    /// Sends a row, for the first time or again. A repeated one always says its number.
    fn send_row(&mut self, sequence: u64, waits: bool) {
        let (sent, row) = self.invoke(sequence);
        let Place { held, topic, key, .. } = &self.place;
        let payload = Payload::new(row.value, row.bytes).identified(row.message_id());
        let given = (row.is_numbered || sent.is_repeat).then_some(sequence);
        let handle = payload.with(Some(key.2), |mut record| {
            record.sequence = given;
            match row.due_ms {
                Some(due_ms) => held.producer.send(topic, record.visible_at(due_ms)),
                None => held.producer.send(topic, record),
            }
        });
        match handle {
            Ok(handle) if waits => answered(self.shared(), sent, handle.wait()),
            Ok(handle) => {
                self.client.names.pending.push_back((sent, handle));
                if self.client.names.pending.len() > PENDING_MAX {
                    settle(self.client);
                }
            }
            Err(error) => answered(self.shared(), sent, Err(error)),
        }
    }

    /// Sends again what is not known to be in the log. `false`: the name is lost.
    fn catch_up(&mut self) -> bool {
        for sequence in self.with_rows(|outbox| outbox.unsent()) {
            if !self.is_held() {
                return false;
            }
            self.shared().count("records sent again for their outcome");
            self.send_row(sequence, false);
        }
        self.is_held()
    }

    /// Waits until everything is in the log. `false`: it is not.
    fn settle(&mut self) -> bool {
        self.catch_up();
        settle(self.client);
        self.is_held() && self.with_rows(|outbox| outbox.is_settled())
    }

    fn send(&mut self, records: u64, bytes: usize, delay_ms: Option<u64>, waits: bool) {
        if !self.catch_up() {
            return;
        }
        let due_ms = delay_ms.map(|delay_ms| self.shared().recorder.wall_ms() + delay_ms as i64);
        for _ in 0..records {
            if !self.is_held() {
                return;
            }
            let sequence = self.add(bytes, true, due_ms);
            self.send_row(sequence, false);
        }
        if waits {
            settle(self.client);
        }
    }

    fn send_unnumbered(&mut self, bytes: usize) {
        if self.settle() {
            let sequence = self.add(bytes, false, None);
            self.send_row(sequence, true);
        }
    }

    fn repeat(&mut self, records: u64, choice: u64) {
        if !self.catch_up() {
            return;
        }
        let next = self.with_rows(|outbox| outbox.next());
        for at in 0..records.min(next) {
            let sequence = choice.wrapping_add(at) % next;
            // Mostly a late one: early ones are forgotten more often.
            let sequence = if choice.is_multiple_of(3) { sequence } else { next - 1 - sequence % next.min(4) };
            let is_there = self
                .with_rows(|outbox| outbox.rows.get(&sequence).is_some_and(|row| row.sent_in.is_none() && row.stands));
            if is_there && self.is_held() {
                self.shared().count("records sent again");
                self.send_row(sequence, false);
            }
        }
    }

    fn mix(&mut self, bytes: usize) {
        if !self.settle() {
            return;
        }
        let old = self.with_rows(|outbox| outbox.rows.iter().next_back().map(|(number, _)| *number));
        let new = [self.add(bytes, true, None), self.add(bytes, true, None)];
        let order: Vec<u64> = old.into_iter().chain(new).chain([new[0]]).collect();
        let sent: Vec<(Sent, Row)> = order.iter().map(|sequence| self.invoke(*sequence)).collect();
        let Place { held, topic, key, .. } = &self.place;
        let payload = |row: &Row| Payload::new(row.value, row.bytes).identified(row.message_id());
        let payloads: Vec<Payload> = sent.iter().map(|(_, row)| payload(row)).collect();
        let records: Vec<_> = (0..sent.len())
            .map(|at| {
                let record = payloads[at].bare(key.2).sequence(order[at]);
                match sent[at].1.due_ms {
                    Some(due_ms) => record.visible_at(due_ms),
                    None => record,
                }
            })
            .collect();
        let results = match held.producer.send_batch(topic, &records) {
            Ok(handle) => handle.outcomes(),
            // Those before may have been sent: asking tells, when the name is opened the next time.
            Err(error) => {
                let shared = self.shared().clone();
                for (sent, _) in &sent {
                    let outcome = judge(&shared, sent, &error);
                    let code = match outcome {
                        Outcome::Failed { code } | Outcome::Unknown { code } => code,
                        Outcome::Ok(_) => unreachable!("an error is no success"),
                    };
                    shared.recorder.complete(sent.operation, Outcome::Unknown { code });
                }
                shared.producers.borrow_mut().names[self.place.name].holder = None;
                return;
            }
        };
        self.shared().count("batches with repeats");
        for ((sent, _), result) in sent.iter().zip(results) {
            answered(self.shared(), *sent, result);
        }
    }

    fn skip(&mut self, by: u64, bytes: usize) {
        if !self.settle() {
            return;
        }
        let next = self.with_rows(|outbox| outbox.next());
        self.shared().count("numbers left out");
        let skips = move |error: &Error| matches!(error, Error::SequenceGap { sequence, expected, .. } if (*sequence, *expected) == (next + by, next));
        self.must_be_refused(Some(next + by), bytes, skips);
    }

    /// Sends what must not be written.
    fn must_be_refused(&mut self, sequence: Option<u64>, bytes: usize, is_right: impl Fn(&Error) -> bool) {
        let shared = self.shared().clone();
        let payload = Payload::new(shared.next_value(), bytes);
        let operation = shared.recorder.invoke(self.place.process(), self.call(payload.number, None, sequence));
        let Place { held, topic, key, name } = &self.place;
        let result = payload.with(Some(key.2), |mut record| {
            record.sequence = sequence;
            held.producer.send(topic, record)
        });
        match result.and_then(SendHandle::wait) {
            Ok(receipt) => {
                let outcome = Outcome::Ok(answer_of(&receipt));
                shared.recorder.complete(operation, outcome);
                if !shared.recorder.is_silent() {
                    shared.violation(format!("number {sequence:?} must be refused, and {receipt:?} is the answer"));
                }
            }
            Err(error) => {
                let is_right = is_right(&error) || is_fenced(&shared, *name, held.hold, held.number, &error);
                let outcome = if is_right { refusal(&error) } else { shared.judge("send under a name", &error) };
                shared.recorder.complete(operation, outcome);
            }
        }
    }
}

fn answer_of(receipt: &Receipt) -> Answer {
    Answer::Receipt {
        partition: receipt.partition,
        offset: receipt.offset,
        durability: durability_of(receipt.durability),
        numbered: numbered_of(receipt),
    }
}

/// What an error of a send under a name means.
fn judge(shared: &Shared, sent: &Sent, error: &Error) -> Outcome {
    let explained = match error {
        Error::SequenceGap { sequence, expected, .. } => {
            // One before it was refused.
            let producers = shared.producers.borrow();
            let row = producers.outboxes.get(&sent.key).and_then(|outbox| outbox.rows.get(expected));
            !sent.stood && *sequence == sent.sequence && expected < sequence && row.is_none_or(|row| row.was_refused)
        }
        Error::ReceiptForgotten { sequence, .. } => {
            let row = {
                let producers = shared.producers.borrow();
                producers.outboxes.get(&sent.key).and_then(|outbox| outbox.rows.get(&sent.sequence)).cloned()
            };
            let may_be = |row: &Row| !row.is_numbered && sent.is_repeat || shared.may_be_forgotten(row.settled_before);
            *sequence == sent.sequence && sent.is_repeat && row.as_ref().is_some_and(may_be)
        }
        error => is_fenced(shared, sent.name, sent.hold, sent.key.0, error),
    };
    if explained { refusal(error) } else { shared.judge("send under a name", error) }
}

/// A record that was sent under a name has its outcome.
fn answered(shared: &Shared, sent: Sent, result: ringlane::Result<Receipt>) {
    let outcome = match &result {
        Ok(receipt) => Outcome::Ok(answer_of(receipt)),
        Err(error) => judge(shared, &sent, error),
    };
    let is_refused = matches!(outcome, Outcome::Failed { .. });
    shared.recorder.complete(sent.operation, outcome);
    if shared.recorder.is_silent() {
        return;
    }
    let mut wrong = Vec::new();
    let mut delayed = None;
    let mut producers = shared.producers.borrow_mut();
    let outbox = producers.outboxes.entry(sent.key).or_default();
    let mut settles = false;
    match (outbox.rows.get_mut(&sent.sequence), result) {
        (None, Ok(receipt)) => wrong.push(format!("{receipt:?} is the answer, and it was too late for its number")),
        (None, Err(_)) => {}
        (Some(row), Ok(receipt)) => {
            if receipt.origin.sequence != sent.sequence {
                wrong.push(format!("{receipt:?} does not have number {}", sent.sequence));
            }
            if sent.stood && !receipt.duplicate {
                wrong.push(format!("number {} was in the log, and {receipt:?} is no duplicate", sent.sequence));
            }
            if sent.stood && !row.is_numbered && !row.has_id {
                wrong.push(format!("{receipt:?} is the answer, and nothing can have remembered it"));
            }
            if row.receipt.as_ref().is_some_and(|before| !is_same(before, &receipt)) {
                wrong.push(format!("{receipt:?} is the answer, and it was {:?} before", row.receipt));
            }
            if row.receipt.is_none() && row.due_ms.is_some() {
                delayed = Some(Delayed { value: row.value, id: receipt.id });
            }
            settles = !row.stands && (row.is_numbered || row.has_id);
            (row.stands, row.sent_in) = (true, None);
            row.receipt.get_or_insert(receipt);
        }
        (Some(row), Err(error)) => {
            if row.sent_in == Some(sent.hold) && is_refused {
                row.sent_in = None;
                row.was_refused = true;
            }
            if !row.is_numbered && !sent.is_repeat && is_refused {
                if row.stands {
                    wrong.push(format!("number {} was refused ({error}), and is in the log", sent.sequence));
                } else {
                    outbox.rows.remove(&sent.sequence);
                }
            }
        }
    }
    producers.window.settled += u64::from(settles);
    drop(producers);
    shared.delayed.borrow_mut().extend(delayed);
    wrong.into_iter().for_each(|text| shared.violation(text));
}

/// Writes down the outcomes that are known by now.
pub(crate) fn harvest(client: &mut Client) {
    let mut left = VecDeque::new();
    for (sent, handle) in std::mem::take(&mut client.names.pending) {
        match handle.is_done() {
            true => answered(&client.shared, sent, handle.wait()),
            false => left.push_back((sent, handle)),
        }
    }
    client.names.pending = left;
}

/// Waits for everything that was sent under names.
pub(crate) fn settle(client: &mut Client) {
    while let Some((sent, handle)) = client.names.pending.pop_front() {
        answered(&client.shared, sent, handle.wait());
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Named { name, topic, choice, bytes, deed } = self;
        write!(f, "as {}: {deed:?}, {bytes} bytes, to {} partition {choice}", producer_name(*name), topic_name(*topic))
    }
}
