//! The part of a child that sends from an outbox under a name: what the parent has heard of it so far, asked about and
//! sent again first, then gone on with.
//!
//! Invariant: a number stands for one record, over all children of a log.

use super::child::{PARTITIONS, Work, Worker};
use super::message::{Row, say_trouble};
use crate::history::{Answer, Author, Call, Durability, Outcome, ProducerNumber, Value};
use crate::value::bytes_of;
use crate::witness::refusal;
use ringlane::{Engine, Error, Producer, ProducerOptions, Receipt, Record, SendHandle};
use std::collections::BTreeMap;

/// The only named producer of a log.
const PRODUCER: ProducerNumber = 0;
const NAME: &str = "outbox";
/// New records in flight.
const AHEAD_MAX: u64 = 6;

/// Whether a row is known to be in the log.
#[derive(Clone, Copy, Debug)]
struct Known {
    value: Value,
    stands: bool,
}

/// The rows by partition and number.
type Outbox = BTreeMap<u32, BTreeMap<u64, Known>>;

/// Opens the name.
pub(super) fn open(worker: &Worker<'_>, engine: &Engine) -> ringlane::Result<Producer> {
    let operation = worker.witness.invoke(worker.process, Call::OpenProducer { producer: PRODUCER, name: 0 });
    let result = engine.producer(ProducerOptions::new().name(NAME));
    let id = engine.producers().iter().find(|info| info.name == NAME).map_or(0, |info| info.id);
    let answer = |producer: &Producer| Outcome::Ok(Answer::Opened { id, epoch: producer.epoch() });
    worker.witness.complete(operation, result.as_ref().map_or_else(refusal, answer));
    result
}

/// Sends from the outbox, until it is killed.
pub(super) fn send(mut worker: Worker<'_>, producer: &Producer, rows: &[Row]) -> Work {
    let mut outbox = Outbox::new();
    for Row { topic, partition, sequence, value, is_acknowledged } in rows {
        if *topic == worker.number {
            let known = Known { value: *value, stands: *is_acknowledged };
            outbox.entry(*partition).or_default().insert(*sequence, known);
        }
    }
    for (partition, rows) in &mut outbox {
        ask(&worker, producer, *partition, rows)?;
    }
    loop {
        let partition = worker.random.below(u64::from(PARTITIONS)) as u32;
        go_on(&mut worker, producer, partition, outbox.entry(partition).or_default())?;
    }
}

/// Asks how far it came, and sends again what nobody knows of.
fn ask(
    worker: &Worker<'_>,
    producer: &Producer,
    partition: u32,
    rows: &mut BTreeMap<u64, Known>,
) -> ringlane::Result<()> {
    let topic = worker.number;
    let operation = worker.witness.invoke(worker.process, Call::LastSent { producer: PRODUCER, topic, partition });
    let result = producer.last_sent(worker.topic, partition);
    let answer = |last: &Option<ringlane::LastSent>| {
        Outcome::Ok(Answer::LastSent { sequence: last.as_ref().map(|last| last.sequence) })
    };
    worker.witness.complete(operation, result.as_ref().map_or_else(refusal, answer));
    let end = result?.map_or(0, |last| last.sequence + 1);
    // A number that was left out on purpose when the kill came stands for nothing.
    let mut next = end;
    rows.retain(|sequence, _| {
        next += u64::from(*sequence == next);
        *sequence < next
    });
    let newest = rows.keys().next_back().copied();
    for (sequence, known) in rows {
        let is_there = *sequence < end;
        if known.stands && !is_there {
            say_trouble(format!("number {sequence} of partition {partition} was acknowledged; {end} comes next"));
        }
        if !known.stands || Some(*sequence) == newest {
            let receipt = again(worker, producer, partition, *sequence, known.value)?;
            if receipt.duplicate != is_there {
                say_trouble(format!("{receipt:?} is the answer to number {sequence}, and {end} comes next"));
            }
            known.stands = true;
        }
    }
    Ok(())
}

fn record<'a>(bytes: &'a [u8], partition: u32, sequence: u64) -> Record<'a> {
    Record::new(bytes).partition(partition).sequence(sequence)
}

/// Sends a record once more.
fn again(
    worker: &Worker<'_>,
    producer: &Producer,
    partition: u32,
    sequence: u64,
    value: Value,
) -> ringlane::Result<Receipt> {
    let call = Call::Repeat { value, durability: Durability::Synced };
    let operation = worker.witness.invoke(worker.process, call);
    let bytes = bytes_of(value, 200);
    let result = producer.send(worker.topic, record(&bytes, partition, sequence)).and_then(SendHandle::wait);
    worker.witness.sent(operation, &result);
    result
}

fn announce(worker: &Worker<'_>, partition: u32, sequence: u64) -> (Value, u64) {
    let value = worker.witness.next_value();
    let call = Call::Send {
        topic: worker.number,
        partition: Some(partition),
        value,
        durability: Durability::Synced,
        visible_at_ms: None,
        transaction: None,
        by: Some(Author { producer: PRODUCER, sequence: Some(sequence) }),
    };
    (value, worker.witness.invoke(worker.process, call))
}

/// Some new records, an old one, and now and then a number too many.
fn go_on(
    worker: &mut Worker<'_>,
    producer: &Producer,
    partition: u32,
    rows: &mut BTreeMap<u64, Known>,
) -> ringlane::Result<()> {
    let first = rows.keys().next_back().map_or(0, |last| last + 1);
    let count = 1 + worker.random.below(AHEAD_MAX);
    let mut on_their_way = Vec::new();
    for sequence in first..first + count {
        let (value, operation) = announce(worker, partition, sequence);
        let bytes = bytes_of(value, worker.value_bytes());
        on_their_way.push((operation, producer.send(worker.topic, record(&bytes, partition, sequence))?));
        rows.insert(sequence, Known { value, stands: true });
    }
    for (operation, handle) in on_their_way {
        let result = handle.wait();
        worker.witness.sent(operation, &result);
        result?;
    }
    let sequence = first + worker.random.below(count);
    let receipt = again(worker, producer, partition, sequence, rows[&sequence].value)?;
    if !receipt.duplicate {
        say_trouble(format!("{receipt:?} is the answer to number {sequence}, which was acknowledged"));
    }
    if worker.random.below(8) == 0 {
        let sequence = first + count + 1 + worker.random.below(3);
        let (value, operation) = announce(worker, partition, sequence);
        let bytes = bytes_of(value, 20);
        let result = producer.send(worker.topic, record(&bytes, partition, sequence)).and_then(SendHandle::wait);
        worker.witness.sent(operation, &result);
        match result {
            Err(Error::SequenceGap { expected, .. }) if expected == first + count => {}
            other => say_trouble(format!("number {sequence} skips {}, and the answer is {other:?}", first + count)),
        }
    }
    // Only the newest ones are sent again.
    while rows.len() > 16 {
        rows.pop_first();
    }
    Ok(())
}
