//! Which records of a part were sent before.
//!
//! A sender that does not know the outcome of a send repeats it. Where it gave the record a number or an id, the repeated
//! one is answered with the receipt of the first and not written again.
//!
//! Invariants:
//! - A record that has a number is judged by it alone: the next one is new, a smaller one is a repeat, a larger one is
//!   refused. One that has only an id is a repeat if the id is remembered in its partition.
//! - What is new keeps its order, and its numbers follow each other.

use super::originals::Original;
use super::state::LogState;
use crate::error::Error;
use crate::log::origin::Origin;
use crate::producer::batch::RecordOutcome;
use crate::record::RecordRef;
use std::collections::HashMap;
use std::ops::Range;

/// What there is to a part, beside its records.
pub(super) struct Context<'a> {
    pub(super) slot: u32,
    /// Of the next record of the producer.
    pub(super) next: Origin,
    pub(super) producer: &'a str,
    pub(super) topic: &'a str,
    pub(super) partition: u32,
}

/// A part, sorted.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) outcomes: Vec<RecordOutcome>,
    /// Where the bytes of the new records stand in the part's.
    pub(super) new: Vec<Range<usize>>,
}

impl Sorted {
    /// Whether all records are new.
    pub(super) fn is_all_new(&self) -> bool {
        self.new.len() == self.outcomes.len()
    }
}

/// Sorts `count` records in their order.
pub(super) fn sort_out(state: &LogState, context: &Context<'_>, bytes: &[u8], count: u32) -> Sorted {
    let mut sorted = Sorted::default();
    // Message ids of what is new: index and timestamp.
    let mut ids: HashMap<&[u8], (u32, i64)> = HashMap::new();
    let mut timestamps = Vec::new();
    let mut start = 0;
    for _ in 0..count {
        let (record, length) = RecordRef::parse(&bytes[start..]).expect("the sender has just encoded it");
        let end = (start + length).min(bytes.len());
        let index = sorted.new.len() as u32;
        let outcome = match (record.sequence(), record.message_id()) {
            (Some(sequence), _) => by_number(state, context, sequence, &timestamps),
            (None, Some(id)) => match ids.get(id) {
                Some((index, timestamp_ms)) => RecordOutcome::RepeatHere { index: *index, timestamp_ms: *timestamp_ms },
                None => match state.originals.by_id(context.slot, id) {
                    Some(original) => repeat(original),
                    None => RecordOutcome::New { index },
                },
            },
            (None, None) => RecordOutcome::New { index },
        };
        if let RecordOutcome::New { .. } = outcome {
            sorted.new.push(start..end);
            timestamps.push(record.timestamp_ms());
            if let Some(id) = record.message_id() {
                ids.insert(id, (index, record.timestamp_ms()));
            }
        }
        sorted.outcomes.push(outcome);
        start = end;
    }
    sorted
}

/// `timestamps`: those of what is new so far.
fn by_number(state: &LogState, context: &Context<'_>, sequence: u64, timestamps: &[i64]) -> RecordOutcome {
    let Context { slot, next, partition, .. } = *context;
    let (producer, topic) = (context.producer.to_owned(), context.topic.to_owned());
    let new = timestamps.len() as u32;
    let expected = next.plus(new).sequence;
    match sequence {
        _ if sequence == expected => RecordOutcome::New { index: new },
        _ if sequence > expected => {
            RecordOutcome::Refused(Error::SequenceGap { producer, topic, partition, sequence, expected })
        }
        _ if sequence >= next.sequence => {
            let index = (sequence - next.sequence) as u32;
            RecordOutcome::RepeatHere { index, timestamp_ms: timestamps[index as usize] }
        }
        _ => match state.originals.by_number(slot, next.producer, sequence) {
            Some(original) => repeat(original),
            None => RecordOutcome::Refused(Error::ReceiptForgotten { producer, topic, partition, sequence }),
        },
    }
}

fn repeat(original: &Original) -> RecordOutcome {
    RecordOutcome::Repeat(Box::new(original.clone()))
}
