//! One partition: reads all of it, and says of each number that was acknowledged whether it was among what was read.
//!
//! Invariants:
//! - Reading goes on behind what cannot be read; each offset is read, was given up, or is counted as unreadable.
//! - What is given up while it is read is no loss: where reading goes on, everything begins there.

use super::PATIENCE;
use super::reasons::{Known, count, reasons};
use super::report::{LostNumbers, NumberCounts, PartitionAudit, ProducerAudit};
use crate::consumer::continuity::Seen;
use crate::consumer::{
    Consumer, ConsumerOptions, ContinuityChecker, ContinuityOptions, MissingReason, Records, Start, TopicPartition,
};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::lane::acknowledged::{Acknowledged, AcknowledgedBy};
use crate::partition::sealed;
use crate::partition::shared::Partition;
use crate::topic::Topic;
use std::collections::BTreeMap;

/// Ranges of unreadable offsets, and of a producer's lost numbers, that are told one by one.
const RANGES_TOLD_MAX: usize = 100;

struct Reading<'a> {
    topic: &'a Topic,
    partition: &'a Partition,
    consumer: Consumer,
    checker: ContinuityChecker,
    /// The partition's place with the checker.
    place: u32,
    audit: PartitionAudit,
    /// Of each producer, the number of the first record that was not delayed, and how many offsets before it could not
    /// be read. Only where records were given up before.
    kept_from: BTreeMap<u32, (u64, u64)>,
}

/// Audits a partition. Calls `on_records` with how many were read.
pub(super) fn audit(
    engine: &Engine,
    topic: &Topic,
    partition: u32,
    acknowledged: &Acknowledged,
    bounds: &ContinuityOptions,
    on_records: &mut dyn FnMut(u64),
) -> Result<PartitionAudit> {
    let mut consumer = engine.consumer(ConsumerOptions::new().continuity(None))?;
    consumer.assign(topic, partition, Start::Beginning)?;
    let first_offset = consumer.position(topic, partition).unwrap_or_default();
    let mut checker = ContinuityChecker::new(bounds.clone())?;
    let name = TopicPartition::new(topic.name(), partition);
    checker.begin(name, first_offset, first_offset == 0);
    let place = checker.place_of(name, first_offset);
    let next_offset = acknowledged.next_offset;
    let audit =
        PartitionAudit { topic: topic.name().to_owned(), partition, first_offset, next_offset, ..Default::default() };
    let shared = topic.partition(partition)?;
    let mut reading = Reading { topic, partition: shared, consumer, checker, place, audit, kept_from: BTreeMap::new() };
    reading.read(on_records)?;
    reading.judge(acknowledged)
}

impl Reading<'_> {
    fn position(&self) -> u64 {
        self.consumer.position(self.topic, self.audit.partition).unwrap_or(u64::MAX)
    }

    fn read(&mut self, on_records: &mut dyn FnMut(u64)) -> Result<()> {
        let end = self.audit.next_offset;
        loop {
            let position = self.position();
            if position >= end {
                return Ok(());
            }
            match self.consumer.poll(PATIENCE) {
                Ok(records) if records.is_empty() => {
                    let reason = "they were acknowledged, and do not show in the files";
                    self.unreadable(position, end, reason.to_owned());
                    return Ok(());
                }
                Ok(records) => {
                    self.take(&records);
                    on_records(records.len() as u64);
                }
                Err(Error::Truncated { to, .. }) => self.given_up(to)?,
                Err(error @ (Error::Damaged { .. } | Error::Io(_))) => {
                    let next = behind(self.partition, position).clamp(position + 1, end);
                    self.unreadable(position, next, error.to_string());
                    self.go_on(next)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, records: &Records) {
        let Self { checker, place, audit, kept_from, .. } = self;
        audit.records += records.len() as u64;
        records.each_frame(|run| {
            checker.observe_run_at(*place, run.base_offset, run.count, run.origin, run.is_late);
            if audit.first_offset > 0 && !run.is_late {
                kept_from.entry(run.origin.producer).or_insert((run.origin.sequence, audit.unreadable));
            }
        });
    }

    /// Everything below an offset was given up before it was read.
    fn given_up(&mut self, to: u64) -> Result<()> {
        self.kept_from.clear();
        let audit = &mut self.audit;
        audit.first_offset = to;
        (audit.unreadable, audit.unreadable_reason) = (0, None);
        audit.unreadable_offsets.clear();
        self.go_on(to)
    }

    fn go_on(&mut self, offset: u64) -> Result<()> {
        match self.consumer.seek(self.topic, self.audit.partition, Start::Offset(offset)) {
            Err(Error::Truncated { to, .. }) => self.given_up(to),
            sought => sought,
        }
    }

    fn unreadable(&mut self, from: u64, to: u64, reason: String) {
        let audit = &mut self.audit;
        audit.unreadable += to - from;
        audit.unreadable_reason.get_or_insert(reason);
        let told = audit.unreadable_offsets.len();
        match audit.unreadable_offsets.last_mut() {
            Some(last) if last.end == from => last.end = to,
            _ if told < RANGES_TOLD_MAX => audit.unreadable_offsets.push(from..to),
            _ => {}
        }
    }

    fn judge(self, acknowledged: &Acknowledged) -> Result<PartitionAudit> {
        let Reading { checker, place, mut audit, kept_from, .. } = self;
        let report = checker.report();
        (audit.duplicates, audit.reorders) = (report.findings.duplicates, report.findings.reorders);
        let mut seen: BTreeMap<u32, Seen> = checker.seen_at(place).map(|seen| (seen.producer, seen)).collect();
        if report.findings.producers_forgotten > 0 || seen.values().any(|seen| seen.is_forgotten) {
            return Err(Error::TooMany {
                what: "producers of a partition, or ranges of their numbers that come late",
                count: (report.producers as u64).max(report.gaps_open),
                count_max: checker.bounds().producers_max.min(checker.bounds().missing_ranges_max) as u64,
                advice: "raise the bounds of the audit (`AuditOptions::bounds`)",
            });
        }
        let known_of = |producer: u32| {
            let (below, unreadable_before) = kept_from.get(&producer).copied().unwrap_or((u64::MAX, audit.unreadable));
            let given_up_below = (audit.first_offset > 0).then_some(below);
            Known { given_up_below, unreadable_before, unreadable: audit.unreadable }
        };
        let mut producers = Vec::new();
        for by in &acknowledged.producers {
            let seen = seen.remove(&by.producer).unwrap_or(Seen { producer: by.producer, ..Seen::default() });
            producers.push(judge_producer(by, &seen, known_of(by.producer)));
        }
        for seen in seen.into_values() {
            let by = AcknowledgedBy { producer: seen.producer, ..AcknowledgedBy::default() };
            producers.push(judge_producer(&by, &seen, known_of(by.producer)));
        }
        producers.sort_unstable_by_key(|producer| producer.producer);
        let unknown: u64 = producers.iter().map(|producer| producer.numbers.unknown).sum();
        // As many were cancelled so long ago that nobody remembers which; and all that has an offset was read.
        if audit.unreadable == 0 && unknown <= acknowledged.cancelled_and_forgotten() {
            producers.iter_mut().for_each(were_cancelled);
        }
        producers.into_iter().for_each(|producer| audit.push(producer));
        Ok(audit)
    }
}

fn judge_producer(by: &AcknowledgedBy, seen: &Seen, known: Known) -> ProducerAudit {
    // Of one that was deleted only what is there says how far it came.
    let last_unseen = [&by.withheld, &by.cancelled].into_iter().filter_map(|ranges| ranges.last());
    let known_end = last_unseen.map(|(_, last)| last + 1).fold(seen.next, u64::max);
    let end = if by.next > 0 { by.next } else { known_end };
    let mut unread: Vec<_> = seen.unseen.iter().filter(|(first, _)| *first < end).copied().collect();
    if let Some((_, last)) = unread.last_mut() {
        *last = (*last).min(end - 1);
    }
    if seen.next < end {
        unread.push((seen.next, end - 1));
    }
    let mut numbers = NumberCounts { acknowledged: end, ..NumberCounts::default() };
    let (mut missing, mut lost) = (0, Vec::new());
    for ((first, last), reason) in reasons(unread, by, known) {
        missing += count((first, last));
        numbers.count(reason, count((first, last)));
        if reason.is_loss() {
            lost.push(LostNumbers { first, last, reason });
        }
    }
    numbers.readable = end - missing;
    lost.sort_unstable_by_key(|lost| lost.first);
    lost.truncate(RANGES_TOLD_MAX);
    let epoch = if by.next > 0 { by.epoch } else { seen.epoch };
    ProducerAudit { producer: by.producer, name: None, epoch, numbers, lost }
}

/// What nothing is known of was cancelled.
fn were_cancelled(producer: &mut ProducerAudit) {
    producer.numbers.cancelled += std::mem::take(&mut producer.numbers.unknown);
    producer.lost.retain(|lost| lost.reason != MissingReason::Unknown);
}

/// Where there may be something to be read again behind an offset that cannot be. Records stand in runs, and one that
/// is damaged cannot be read at all; where the index of a sealed segment is gone with the segment, the next one may be
/// whole.
fn behind(partition: &Partition, offset: u64) -> u64 {
    let resident_offset = {
        let index = partition.index();
        if offset >= index.resident_offset() {
            return index.runs_from(offset).next().map_or(u64::MAX, |run| run.end_offset());
        }
        index.resident_offset()
    };
    let (mut probe, mut step) = (offset, 1_u64);
    while probe < resident_offset {
        match sealed::runs_at_offset(partition, probe, None) {
            Ok(Some((_, runs))) if probe == offset => {
                return runs.iter().map(|run| run.end_offset()).find(|end| *end > offset).unwrap_or(offset);
            }
            Ok(Some((_, runs))) => return runs.first().map_or(probe, |run| run.base_offset),
            Ok(None) | Err(_) => {}
        }
        probe = offset.saturating_add(step);
        step = step.saturating_mul(2);
    }
    resident_offset
}
