//! The new directory: which offsets records have in it, and writing them.
//!
//! A partition has no gaps in its offsets, so behind a hole either what is before it moves up or what is behind it
//! moves down. It moves **up**: the partition begins at a higher offset, and its next offset stays. A consumer's
//! place behind the last hole stays true; at a place before it, records come that it has seen already, and none is
//! skipped. Moving down would let it skip records that were never read. And no offset that was given out is given
//! out again for a new record.
//!
//! Invariant: each receipt has the offset that was planned.

use super::RepairProgress;
use super::scan::{Run, Source, Withheld};
use super::transactions::Fate;
use crate::bounds::{RECORD_BYTES_CEILING, WITHHELD_RECORDS_CEILING};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::lane::progress::ProgressEntry;
use crate::lane::state::UNDECIDED_MS;
use crate::log::origin::Origin;
use crate::opening::Beginnings;
use crate::options::Options;
use crate::producer::{Producer, ProducerOptions, SendHandle};
use crate::record::{Header, Headers, Record, RecordRef};
use crate::topic::{Retention, Topic, TopicOptions};
use crate::transaction::TransactionOptions;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::path::Path;

/// Receipts that are waited for at once.
const IN_FLIGHT_MAX: usize = 4096;

/// A partition as it was and as it will be.
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) partition: u32,
    slot: u32,
    /// Where it begins in the new directory.
    start: u64,
    pub(super) lost: Vec<Range<u64>>,
    /// Old offsets and what the first of them becomes.
    pub(super) moved: Vec<(Range<u64>, u64)>,
}

/// What was written.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) withheld_records: u64,
    pub(super) transactions: u64,
    pub(super) transaction_records: u64,
}

/// Decides the offsets of all partitions, and leaves only the runs that are to be written, in their order.
pub(super) fn plan(source: &mut Source<'_>) -> Vec<Partition> {
    let known =
        |source: &Source<'_>, slot: u32| source.catalog.topics.values().any(|topic| topic.slots().contains(&slot));
    let mut by_slot: HashMap<u32, Vec<Run>> = HashMap::new();
    for run in std::mem::take(&mut source.runs) {
        // A publication whose record is lost is a hole like any other.
        if !run.was_withheld || source.has_bytes(run.identity) {
            by_slot.entry(run.slot).or_default().push(run);
        }
    }
    // Slots below the next one belonged to topics that were deleted. Others have a topic, and what named it is lost.
    let next_slot = source.catalog.next_slot;
    let of_slots =
        |slots: &HashMap<u32, Vec<Run>>| -> u64 { slots.values().flatten().map(|run| u64::from(run.count)).sum() };
    let orphans: HashMap<u32, Vec<Run>> = by_slot.extract_if(|slot, _| *slot >= next_slot).collect();
    source.records_without_topic = of_slots(&orphans);
    let mut partitions = Vec::new();
    let mut runs = Vec::new();
    for topic in source.catalog.topics.values() {
        for (partition, slot) in topic.slots().enumerate() {
            let bounds = source.bounds.get(&slot).copied().unwrap_or_default();
            let kept = without_overlaps(by_slot.remove(&slot).unwrap_or_default(), bounds.first_offset);
            let (lost, stretches) = holes(&kept, bounds.first_offset..bounds.next_offset);
            let missing: u64 = lost.iter().map(|lost| lost.end - lost.start).sum();
            let mut new_offset = bounds.first_offset + missing;
            let start = new_offset;
            let mut moved = Vec::new();
            for stretch in stretches {
                if stretch.start != new_offset {
                    moved.push((stretch.clone(), new_offset));
                }
                new_offset += stretch.end - stretch.start;
            }
            assert_eq!(new_offset, bounds.next_offset, "the next offset stays");
            runs.extend(kept);
            partitions.push(Partition {
                topic: topic.name.clone(),
                partition: partition as u32,
                slot,
                start,
                lost,
                moved,
            });
        }
    }
    // In the order of the log, so that the source is read front to back, if offsets follow it; they do unless records
    // were moved.
    let mut in_log_order = runs.clone();
    in_log_order.sort_by_key(|run| run.order);
    source.runs = if follows_offsets(&in_log_order) { in_log_order } else { runs };
    let lost = |source: &Source<'_>, place, slot| known(source, slot) && !source.has_bytes(place);
    settle_transactions(source);
    let gone: Vec<_> =
        source.withheld.iter().filter(|(place, withheld)| lost(source, **place, withheld.slot)).collect();
    source.withheld_lost = gone.iter().map(|(_, withheld)| u64::from(withheld.count)).sum();
    let waiting: BTreeMap<_, _> = source
        .withheld
        .iter()
        .filter(|(place, withheld)| known(source, withheld.slot) && source.has_bytes(**place))
        .map(|(place, withheld)| (*place, *withheld))
        .collect();
    source.withheld = waiting;
    partitions
}

/// What waits for a transaction that is decided, or was never prepared, waits no more.
fn settle_transactions(source: &mut Source<'_>) {
    let of_transactions = source.withheld.iter().filter(|(_, withheld)| withheld.due_ms == UNDECIDED_MS);
    let of_transactions: Vec<_> = of_transactions.map(|(place, withheld)| (*place, *withheld)).collect();
    for (place, withheld) in of_transactions {
        match source.transactions.fate(place) {
            Fate::Keep => {}
            Fate::Publish => drop(source.withheld.insert(place, Withheld { due_ms: 0, ..withheld })),
            Fate::Discard => {
                source.withheld.remove(&place);
                source.cancelled.note(withheld.slot, withheld.origin, withheld.count);
            }
        }
    }
}

/// Runs by offset from `first` on, each record once.
fn without_overlaps(mut runs: Vec<Run>, first: u64) -> Vec<Run> {
    runs.sort_by_key(|run| (run.base_offset, run.order));
    let mut next = first;
    runs.retain_mut(|run| {
        let skipped = next.saturating_sub(run.base_offset).min(u64::from(run.count)) as u32;
        run.base_offset += u64::from(skipped);
        run.first += skipped;
        run.count -= skipped;
        next = next.max(run.end_offset());
        run.count > 0
    });
    runs
}

/// What of `offsets` no run has, and what consecutive ones have.
fn holes(runs: &[Run], offsets: Range<u64>) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    let (mut lost, mut kept): (Vec<Range<u64>>, Vec<Range<u64>>) = (Vec::new(), Vec::new());
    let mut next = offsets.start;
    for run in runs {
        match kept.last_mut() {
            Some(last) if last.end == run.base_offset => last.end = run.end_offset(),
            _ => {
                if run.base_offset > next {
                    lost.push(next..run.base_offset);
                }
                kept.push(run.base_offset..run.end_offset());
            }
        }
        next = run.end_offset();
    }
    if next < offsets.end {
        lost.push(next..offsets.end);
    }
    (lost, kept)
}

fn follows_offsets(runs: &[Run]) -> bool {
    let mut next: HashMap<u32, u64> = HashMap::new();
    runs.iter().all(|run| {
        let before = next.insert(run.slot, run.end_offset());
        before.is_none_or(|before| before <= run.base_offset)
    })
}

/// Makes the new directory.
pub(super) fn write(
    source: &mut Source<'_>,
    partitions: &[Partition],
    path: &Path,
    options: Options,
    progress: &mut dyn FnMut(&RepairProgress),
) -> Result<Counts> {
    let record_bytes_max = options.record_bytes_max.max(source.record_bytes_max).min(RECORD_BYTES_CEILING);
    let options = options
        .create(true)
        .admin_socket(false)
        .record_bytes_max(record_bytes_max)
        .withheld_records_max(WITHHELD_RECORDS_CEILING);
    let made = Engine::open(path, options.clone())?;
    for topic in source.catalog.topics.values() {
        made.create_topic(&topic.name, TopicOptions::new().partitions(topic.partitions))?;
    }
    let mut offsets = BTreeMap::new();
    let mut slots = HashMap::new();
    for partition in partitions {
        let slot = made.topic(&partition.topic)?.shared.first_slot + partition.partition;
        slots.insert(partition.slot, slot);
        if partition.start > 0 {
            offsets.insert(slot, partition.start);
        }
    }
    for entry in source.transactions.unfinished_acks() {
        // As the lane would have done it.
        let _ = source.groups.apply(&entry, 0);
    }
    let Source { catalog, numbers, sequences, cancelled, .. } = &*source;
    let decided = source.transactions.outcomes();
    let mut beginnings =
        Beginnings { offsets, decided, ..Beginnings::of(catalog, numbers, sequences, cancelled, &slots) };
    for partition in partitions {
        for (group, slot, progress) in source.groups.iter().filter(|(_, slot, _)| *slot == partition.slot) {
            let lost = source.groups.lost(group, slot);
            beginnings.add_progress(group, slots[&slot], progress, lost, !partition.moved.is_empty());
        }
    }
    made.close()?;
    drop(made);
    let engine = Engine::open_with_beginnings(path, options, beginnings)?;
    // Retention begins when everything is there.
    let counts = fill(&engine, source, partitions, &slots, progress).and_then(|counts| {
        for topic in source.catalog.topics.values().filter(|topic| topic.retention != Retention::new()) {
            engine.set_retention(&topic.name, topic.retention)?;
        }
        Ok(counts)
    });
    let closed = engine.close();
    let counts = counts?;
    closed.map(|()| counts)
}

/// Sends everything.
fn fill(
    engine: &Engine,
    source: &mut Source<'_>,
    partitions: &[Partition],
    slots: &HashMap<u32, u32>,
    progress: &mut dyn FnMut(&RepairProgress),
) -> Result<Counts> {
    let mut sending = Sending { producer: engine.producer(ProducerOptions::new())?, handles: VecDeque::new() };
    let mut places: HashMap<u32, (Topic, u32, u64)> = HashMap::new();
    for partition in partitions {
        let topic = engine.topic(&partition.topic)?;
        places.insert(partition.slot, (topic, partition.partition, partition.start));
    }
    let mut counts = Counts::default();
    for run in std::mem::take(&mut source.runs) {
        let (origin, body) = source.body(run.identity)?;
        let (topic, partition, next_offset) = places.get_mut(&run.slot).expect("planned");
        for (index, record) in (0..).zip(records(&body)).skip(run.first as usize).take(run.count as usize) {
            let extra = run.extra_headers.as_ref().and_then(|extra| Headers::parse(extra)).unwrap_or_default();
            let headers: Vec<Header<'_>> = record.headers().chain(extra).collect();
            let record = record_of(&record, &headers, *partition);
            sending.send(topic, record, origin.plus(index), Some(*next_offset))?;
            *next_offset += 1;
            counts.records += 1;
        }
        source.done.bytes_done += body.len() as u64;
        progress(&source.done);
    }
    // Delayed records last: those that are overdue become visible at once, behind all others.
    let (of_transactions, delayed): (BTreeMap<_, _>, BTreeMap<_, _>) =
        std::mem::take(&mut source.withheld).into_iter().partition(|(_, withheld)| withheld.due_ms == UNDECIDED_MS);
    for (place, withheld) in delayed {
        let (origin, body) = source.body(place)?;
        let (topic, partition, _) = &places[&withheld.slot];
        for (index, record) in (0..).zip(records(&body)).take(withheld.count as usize) {
            let headers: Vec<Header<'_>> = record.headers().collect();
            let record = record_of(&record, &headers, *partition).visible_at(withheld.due_ms);
            sending.send(topic, record, origin.plus(index), None)?;
            counts.withheld_records += 1;
        }
    }
    sending.wait_for_all()?;
    let has_moved = |slot: u32| partitions.iter().any(|of| of.slot == slot && !of.moved.is_empty());
    for undecided in source.transactions.undecided() {
        let options = TransactionOptions {
            checker: Some(undecided.checker).filter(|name| !name.is_empty()),
            ..TransactionOptions::new().id(undecided.id)
        };
        let mut transaction = sending.producer.begin(options)?;
        for place in undecided.frames {
            let Some(withheld) = of_transactions.get(&place) else { continue };
            let (origin, body) = source.body(place)?;
            let (topic, partition, _) = &places[&withheld.slot];
            for (index, record) in (0..).zip(records(&body)).take(withheld.count as usize) {
                let headers: Vec<Header<'_>> = record.headers().collect();
                transaction.send_from(topic, record_of(&record, &headers, *partition), Some(origin.plus(index)))?;
                counts.transaction_records += 1;
            }
        }
        // Where records have other offsets now, the group is given them again.
        let here = |entry: ProgressEntry| Some(ProgressEntry { slot: *slots.get(&entry.slot)?, ..entry });
        let acks = undecided.acks.into_iter().filter(|entry| !has_moved(entry.slot)).filter_map(here);
        transaction.restore(acks.collect())?;
        counts.transactions += 1;
    }
    Ok(counts)
}

fn record_of<'a>(record: &RecordRef<'a>, headers: &'a [Header<'a>], partition: u32) -> Record<'a> {
    Record {
        key: record.key(),
        value: record.value(),
        headers,
        timestamp_ms: Some(record.timestamp_ms()),
        partition: Some(partition),
        sequence: record.sequence(),
        message_id: record.message_id(),
        ..Record::default()
    }
}

fn records(mut body: &[u8]) -> impl Iterator<Item = RecordRef<'_>> {
    std::iter::from_fn(move || {
        let (record, next) = RecordRef::parse(body)?;
        body = body.get(next..).unwrap_or_default();
        Some(record)
    })
}

/// Records on their way, and the offsets that they shall have.
struct Sending {
    producer: Producer,
    handles: VecDeque<(SendHandle, Option<u64>)>,
}

impl Sending {
    /// Sends a record of `origin` that shall have an offset.
    fn send(&mut self, topic: &Topic, record: Record<'_>, origin: Origin, offset: Option<u64>) -> Result<()> {
        let handle = self.producer.send_from(topic, &record, Some(origin))?;
        self.handles.push_back((handle, offset));
        while self.handles.len() > IN_FLIGHT_MAX {
            self.wait_for_one()?;
        }
        Ok(())
    }

    fn wait_for_one(&mut self) -> Result<()> {
        let Some((handle, expected)) = self.handles.pop_front() else { return Ok(()) };
        let receipt = handle.wait()?;
        match expected {
            Some(expected) if receipt.offset != Some(expected) => Err(Error::UnknownOutcome {
                reason: format!(
                    "partition {} of `{}`: a record got offset {:?} instead of {expected}: a bug in Ringlane",
                    receipt.partition, receipt.topic, receipt.offset
                ),
            }),
            _ => Ok(()),
        }
    }

    fn wait_for_all(&mut self) -> Result<()> {
        while !self.handles.is_empty() {
            self.wait_for_one()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::position::Position;

    fn run(base_offset: u64, count: u32, position: u64) -> Run {
        let place = (0, Position(position));
        Run {
            slot: 0,
            base_offset,
            count,
            first: 0,
            identity: place,
            was_withheld: false,
            order: place,
            extra_headers: None,
        }
    }

    #[test]
    fn holes_are_what_no_run_has() {
        let runs = without_overlaps(vec![run(7, 3, 30), run(0, 2, 10), run(2, 2, 20), run(8, 2, 25), run(3, 2, 22)], 1);
        let offsets: Vec<_> = runs.iter().map(|run| (run.base_offset, run.count, run.first)).collect();
        assert_eq!(offsets, [(1, 1, 1), (2, 2, 0), (4, 1, 1), (7, 3, 0)]);
        let (lost, kept) = holes(&runs, 1..12);
        assert_eq!((lost, kept), (vec![5..7, 10..12], vec![1..5, 7..10]));
        assert_eq!(holes(&[], 3..3), (vec![], vec![]));
        let (lost, kept) = holes(&[], 3..5);
        assert_eq!((lost.len(), &lost[0], kept.len()), (1, &(3..5), 0));
    }
}
