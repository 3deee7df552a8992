//! The numbers that the engine gives to the records of each producer in each partition: dense, each for one record, and
//! never forgotten.
//!
//! | who says it | binds the number |
//! |---|---|
//! | a synced receipt | for ever |
//! | the contents of a partition | for ever |
//! | a buffered receipt | not at all |
//!
//! Invariants:
//! - Only the first binding counts, as with offsets; whoever disagrees with it is the finding.
//! - A number may be missing in a listing if its record was delayed, or may have been given up; and if nobody knows whose it
//!   is, only where such a record is there whose number nobody knows.

use super::finding::{Anomaly, Finding};
use super::records::{Cancel, Record};
use super::world::World;
use crate::history::{
    Answer, Author, Call, Durability, Event, Happening, Missing, Numbered, Origin, ProducerNumber, Reason, TopicNumber,
    Value,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a number stands for.
#[derive(Clone, Copy, Debug)]
struct Bound {
    record: usize,
    epoch: u32,
    /// The event that bound it.
    since: usize,
}

/// A named producer.
#[derive(Clone, Copy, Debug)]
struct Opened {
    id: u32,
    epoch: u32,
}

/// Whoever opened a producer was told how far the earlier ones came: nothing of theirs comes after that.
#[derive(Clone, Copy, Debug)]
struct Final {
    place: usize,
    id: u32,
    epoch: u32,
    last: Option<u64>,
    index: usize,
}

/// What is known of numbers so far.
#[derive(Default)]
pub(super) struct Numbers {
    /// By the place of the partition and the engine's name for the producer.
    bound: BTreeMap<(usize, u32), BTreeMap<u64, Bound>>,
    producers: HashMap<ProducerNumber, Opened>,
    by_id: HashMap<u32, ProducerNumber>,
    finals: Vec<Final>,
    /// How many delayed records of a topic have a number that is known.
    delayed: HashMap<TopicNumber, u64>,
}

impl World<'_> {
    /// A send, or one that was repeated, was acknowledged.
    pub(super) fn numbered(&mut self, invocation: usize, index: usize, call: &Call, answer: &Answer) {
        let (Call::Send { value, .. } | Call::Repeat { value, .. }) = *call else { return };
        let Answer::Receipt { partition, durability, numbered: Some(numbered), .. } = *answer else { return };
        let Some(number) = self.records.find(value) else { return };
        let Numbered { origin, duplicate } = numbered;
        let Record { repeated, origin: before, .. } = self.records.all[number];
        let is_first = matches!(call, Call::Send { .. });
        if is_first && duplicate && repeated.is_none_or(|repeated| repeated > index) {
            let message =
                format!("number {} is said to have been there, and it was sent for the first time", origin.sequence);
            self.finds(index, Anomaly::NumberTwice, message, number);
        }
        let was_there = before.is_some_and(|(_, since)| since < invocation);
        if !is_first && !duplicate && was_there {
            let message = format!("number {} was there, and the receipt says that it was written now", origin.sequence);
            self.finds(index, Anomaly::WrittenAgain, message, number);
        }
        let place = self.logs.partition(self.records.all[number].topic, partition);
        self.bind_number(index, place, number, origin, durability == Durability::Synced);
    }

    /// A record was sent once more, and refused.
    pub(super) fn repeat_refused(&mut self, invocation: usize, index: usize, value: Value, code: &str) {
        let Some(number) = self.records.find(value) else { return };
        let was_there = self.records.all[number].origin.filter(|(_, since)| *since < invocation);
        if let (Some((origin, _)), "sequence-gap") = (was_there, code) {
            let message = format!("number {} was there, and is said to skip others", origin.sequence);
            self.finds(index, Anomaly::ForgottenNumber, message, number);
        }
    }

    fn finds(&mut self, index: usize, anomaly: Anomaly, message: String, number: usize) {
        let record = &self.records.all[number];
        let finding = Finding::new(index, anomaly, message).of_value(record.value).by_process(Some(record.process));
        self.findings.push(finding.in_partition(record.topic, record.partition.unwrap_or(0)));
    }

    /// Somebody says the number of a record.
    fn bind_number(&mut self, index: usize, place: usize, number: usize, origin: Origin, durable: bool) {
        self.steps += 1;
        let record = &self.records.all[number];
        let opened = |producer| self.numbers.producers.get(&producer).map(|opened| opened.id);
        let wrong = match record.by {
            Some(Author { sequence: Some(given), .. }) if given != origin.sequence => {
                Some(format!("its sender gave it number {given}, and it has {}", origin.sequence))
            }
            Some(Author { producer, .. }) if opened(producer).is_some_and(|id| id != origin.producer) => {
                Some(format!("producer {producer} sent it, and it is said to be of {}", origin.producer))
            }
            None if origin.producer != 0 => Some(format!("nobody sent it as {}", origin.producer)),
            _ => None,
        };
        let before = record.origin.filter(|(before, _)| *before != origin);
        let wrong =
            wrong.or(before.map(|(before, since)| format!("it has {origin:?}, and {before:?} says event {since}")));
        if let Some(message) = wrong {
            self.finds(index, Anomaly::Misnumbered, message, number);
        }
        if !durable || self.records.all[number].origin.is_some() {
            return;
        }
        let record = &mut self.records.all[number];
        record.origin = Some((origin, index));
        if record.is_withheld() {
            *self.numbers.delayed.entry(record.topic).or_default() += 1;
        }
        let bound = Bound { record: number, epoch: origin.epoch, since: index };
        let of_producer = self.numbers.bound.entry((place, origin.producer)).or_default();
        let there = *of_producer.entry(origin.sequence).or_insert(bound);
        if there.record != number {
            let (other, since) = (self.records.all[there.record].value, there.since);
            let message =
                format!("it has number {}, which is that of value {other}, says event {since}", origin.sequence);
            self.finds(index, Anomaly::NumberTwice, message, number);
        }
    }

    /// A producer was opened.
    pub(super) fn opened(&mut self, index: usize, process: u32, producer: ProducerNumber, id: u32, epoch: u32) {
        let before = self.numbers.producers.insert(producer, Opened { id, epoch });
        let owner = *self.numbers.by_id.entry(id).or_insert(producer);
        let message = match before {
            _ if owner != producer => format!("producer {producer} is opened as {id}, which was producer {owner}"),
            Some(before) if before.id != id => format!("producer {producer} is {id} now, and was {}", before.id),
            Some(before) if before.epoch >= epoch => {
                format!("producer {producer} is opened with epoch {epoch}, after epoch {}", before.epoch)
            }
            _ => return,
        };
        self.findings.push(Finding::new(index, Anomaly::ForgottenNumber, message).by_process(Some(process)));
    }

    /// Whoever has a producer was told its last number in a partition.
    pub(super) fn last_sent(
        &mut self,
        invocation: usize,
        index: usize,
        producer: ProducerNumber,
        (topic, partition): (TopicNumber, u32),
        last: Option<u64>,
    ) {
        let Some(Opened { id, epoch }) = self.numbers.producers.get(&producer).copied() else { return };
        let place = self.logs.partition(topic, partition);
        let of_producer = self.numbers.bound.get(&(place, id));
        let mut known = of_producer.into_iter().flatten().rev();
        let known = known.find(|(_, bound)| bound.since < invocation).map(|(sequence, bound)| (*sequence, bound.since));
        if let Some((sequence, since)) = known.filter(|(sequence, _)| last.is_none_or(|last| last < *sequence)) {
            let message =
                format!("producer {producer} came to number {sequence}, says event {since}, and not to {last:?}");
            let finding = Finding::new(index, Anomaly::ForgottenNumber, message);
            return self.findings.push(finding.in_partition(topic, partition));
        }
        let sent = self.records.sent_by.get(&(producer, topic)).copied().unwrap_or(0);
        if last.is_some_and(|last| last >= sent) {
            let message = format!("producer {producer} came to {last:?}, and sent {sent} records to the topic at most");
            self.findings.push(Finding::new(index, Anomaly::Misnumbered, message).in_partition(topic, partition));
        }
        self.numbers.finals.push(Final { place, id, epoch, last, index });
    }

    /// The numbers of a partition that was just listed.
    pub(super) fn origins(
        &mut self,
        index: usize,
        (topic, partition): (TopicNumber, u32),
        origins: &[Origin],
        missing: &[Missing],
    ) {
        let history = self.history;
        let listed = match index.checked_sub(1).map(|before| &history.events()[before]) {
            Some(Event::World {
                happening: Happening::Contents { topic: of, partition: part, records, first_offset, .. },
                ..
            }) if (*of, *part) == (topic, partition) && records.len() == origins.len() => (records, *first_offset),
            _ => {
                let message = "numbers without the contents that they are of".to_owned();
                return self.findings.push(Finding::new(index, Anomaly::Malformed, message));
            }
        };
        let (records, first_offset) = listed;
        let place = self.logs.partition(topic, partition);
        let sent = self.records.sent_to.get(&topic).copied().unwrap_or(0);
        let find = |anomaly, message: String| Finding::new(index, anomaly, message).in_partition(topic, partition);
        let mut by_producer: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        for ((offset, value), origin) in records.iter().zip(origins) {
            if origin.sequence >= sent {
                let message = format!("{origin:?}, and only {sent} records were sent to the topic");
                self.findings.push(find(Anomaly::Misnumbered, message).at_offset(*offset).of_value(*value));
                continue;
            }
            if !by_producer.entry(origin.producer).or_default().insert(origin.sequence) {
                let message = format!("{origin:?} is in the partition twice");
                self.findings.push(find(Anomaly::NumberTwice, message).at_offset(*offset).of_value(*value));
            }
            if let Some(number) = self.records.find(*value) {
                self.bind_number(index, place, number, *origin, true);
            }
        }
        let mut told: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        for range in missing {
            let of_producer = told.entry(range.producer).or_default();
            for sequence in range.first..=range.last.min(sent) {
                self.steps += 1;
                of_producer.insert(sequence);
                let is_there = by_producer.get(&range.producer).is_some_and(|there| there.contains(&sequence));
                let wrong = match is_there {
                    true => Some((Anomaly::WrongReason, "and it is there".to_owned())),
                    false => self.wrong_reason(place, index, range.producer, sequence, range.reason),
                };
                if let Some((anomaly, why)) = wrong {
                    let message = format!("number {sequence} of {} is {:?}, {why}", range.producer, range.reason);
                    self.findings.push(find(anomaly, message));
                }
            }
        }
        for (producer, there) in &by_producer {
            let first = if first_offset == 0 { 0 } else { there.first().copied().unwrap_or(0) };
            let last = there.last().copied().unwrap_or(0);
            for sequence in (first..last).filter(|sequence| !there.contains(sequence)) {
                self.steps += 1;
                if !self.may_be_missing(place, index, first_offset, *producer, sequence) {
                    let message = format!("number {sequence} of {producer} is missing, and nothing explains it");
                    self.findings.push(find(Anomaly::NumberGap, message));
                } else if first_offset == 0 && !told.get(producer).is_some_and(|told| told.contains(&sequence)) {
                    let message = format!("number {sequence} of {producer} is missing, and the reader was not told");
                    self.findings.push(find(Anomaly::WrongReason, message));
                }
            }
        }
    }

    fn bound_record(&self, place: usize, producer: u32, sequence: u64) -> Option<&Record> {
        let bound = self.numbers.bound.get(&(place, producer))?.get(&sequence)?;
        Some(&self.records.all[bound.record])
    }

    /// There may be a delayed record of which nobody knows the number.
    fn has_unknown_delayed(&self, topic: TopicNumber) -> bool {
        let sent = self.records.delayed_to.get(&topic).copied().unwrap_or(0);
        sent > self.numbers.delayed.get(&topic).copied().unwrap_or(0)
    }

    fn may_be_missing(&self, place: usize, index: usize, first_offset: u64, producer: u32, sequence: u64) -> bool {
        match self.bound_record(place, producer, sequence) {
            Some(record) if record.is_withheld() => true,
            Some(record) => {
                let is_given_up = record.place.is_some_and(|(_, offset)| offset < first_offset);
                // One that was deleted with its topic, or is lost, was found before.
                is_given_up || record.reported_lost || record.last_contents == Some(index)
            }
            None => first_offset > 0 || self.has_unknown_delayed(self.logs.partitions[place].topic),
        }
    }

    fn wrong_reason(
        &self,
        place: usize,
        index: usize,
        producer: u32,
        sequence: u64,
        reason: Reason,
    ) -> Option<(Anomaly, String)> {
        let partition = &self.logs.partitions[place];
        let topic = partition.topic;
        let record = self.bound_record(place, producer, sequence);
        let is_delayed = match record {
            Some(record) => record.is_withheld(),
            None => self.has_unknown_delayed(topic),
        };
        let wrong = |why: &str| Some((Anomaly::WrongReason, why.to_owned()));
        match reason {
            Reason::Corrupt | Reason::Unknown => Some((Anomaly::NumberLost, "and nothing is damaged".to_owned())),
            Reason::Pending | Reason::Cancelled if !is_delayed => {
                wrong("and was neither delayed nor sent in a transaction")
            }
            Reason::Pending => match record.map(|record| record.cancel) {
                Some(Cancel::Done { index: cancelled }) if cancelled < index => wrong("and was cancelled"),
                _ => None,
            },
            Reason::Cancelled => match record.map(|record| (record.transaction, record.cancel)) {
                Some((Some(place), _)) => {
                    let committed = self.records.transactions[place].committed.filter(|committed| *committed < index);
                    committed.and_then(|_| wrong("and its transaction was committed"))
                }
                Some((None, Cancel::No)) => wrong("and nobody cancelled it"),
                _ => None,
            },
            Reason::Expired => {
                let is_bounded = self.logs.topics.get(&topic).is_some_and(|topic| topic.is_bounded);
                match is_bounded || partition.truncation_asked > 0 {
                    true => None,
                    false => wrong("and nobody gave up anything"),
                }
            }
        }
    }

    /// Epochs rise with numbers, and nothing of an older one comes after its successor was told how far it came.
    pub(super) fn judge_epochs(&mut self) {
        let numbers = std::mem::take(&mut self.numbers);
        for of_producer in numbers.bound.values() {
            let mut newest: Option<(u32, u64)> = None;
            for (sequence, bound) in of_producer {
                self.steps += 1;
                if let Some((epoch, before)) = newest.filter(|(epoch, _)| *epoch > bound.epoch) {
                    let message =
                        format!("number {sequence} has epoch {}, and {before} before it has {epoch}", bound.epoch);
                    self.finds(bound.since, Anomaly::FencedWrite, message, bound.record);
                }
                newest = newest.max(Some((bound.epoch, *sequence)));
            }
        }
        for Final { place, id, epoch, last, index } in numbers.finals {
            let Some(of_producer) = numbers.bound.get(&(place, id)) else { continue };
            let next = last.map_or(0, |last| last.saturating_add(1));
            self.steps += 1;
            // The first one behind it shows it: epochs rise.
            if let Some((sequence, bound)) = of_producer.range(next..).next().filter(|(_, bound)| bound.epoch < epoch) {
                let message = format!(
                    "number {sequence} has epoch {}, and epoch {epoch} was told {last:?} as the last one by event {index}",
                    bound.epoch
                );
                self.finds(bound.since.max(index), Anomaly::FencedWrite, message, bound.record);
            }
        }
    }
}
