//! Consumers by assignment: each poll goes on where the one before ended.
//!
//! A process has one consumer; its calls do not overlap. A crash or a close takes it.

use super::finding::{Anomaly, Finding};
use super::sighting::{Sighting, Witness};
use super::world::World;
use crate::history::{Answer, From, Placed, Read, TopicNumber};
use std::collections::HashMap;

/// Where a consumer stands in a partition.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// The next offset, where it is known.
    next: Option<u64>,
    /// The poll that moved it there.
    moved_by: usize,
}

/// All consumers, by process and partition.
#[derive(Default)]
pub(super) struct Consumers {
    positions: HashMap<(u32, usize), Position>,
}

impl Consumers {
    /// The engine is gone, and they with it.
    pub(super) fn clear(&mut self) {
        self.positions.clear();
    }
}

impl World<'_> {
    /// An assignment or a seek was done.
    pub(super) fn positioned(&mut self, process: u32, (topic, partition): (TopicNumber, u32), from: From, to: &Answer) {
        let place = self.logs.partition(topic, partition);
        let next = match (to, from) {
            (Answer::Position { offset }, _) => Some(*offset),
            (_, From::Offset(offset)) => Some(offset),
            // Where records were given up, the beginning is elsewhere.
            (_, From::Beginning) => self.logs.partitions[place].reported.is_empty().then_some(0),
            (_, From::End | From::Timestamp(_)) => None,
        };
        self.consumers.positions.insert((process, place), Position { next, moved_by: usize::MAX });
    }

    /// A client reads a partition no longer.
    pub(super) fn unassigned(&mut self, process: u32, topic: TopicNumber, partition: u32) {
        let place = self.logs.partition(topic, partition);
        self.consumers.positions.remove(&(process, place));
    }

    /// A poll came back.
    pub(super) fn polled(&mut self, invoked: usize, index: usize, process: u32, reads: &[Read], wall_ms: Option<i64>) {
        let nothing = reads.iter().all(|read| read.records.is_empty());
        for read in reads {
            self.steps += 1;
            let place = self.logs.partition(read.topic, read.partition);
            if nothing {
                self.nothing_polled(invoked, index, process, place);
            } else if !read.records.is_empty() {
                self.deleted_before(invoked, index, process, read);
            }
            for (offset, value) in &read.records {
                self.advanced(index, process, place, *offset);
                let placed = Placed { topic: read.topic, partition: read.partition, offset: *offset, value: *value };
                self.saw(Sighting { index, process: Some(process), placed, witness: Witness::Reader, wall_ms });
            }
        }
    }

    /// Somebody outside was shown the beginning of a partition: no record of it is left out, and none goes again.
    pub(super) fn shown(
        &mut self,
        index: usize,
        (topic, partition): (TopicNumber, u32),
        first_offset: u64,
        records: &[(u64, u64)],
        wall_ms: Option<i64>,
    ) {
        let place = self.logs.partition(topic, partition);
        let mut expected = first_offset;
        for (offset, value) in records {
            self.steps += 1;
            if *offset != expected && self.logs.partitions[place].first_unreported(expected, *offset).is_some() {
                let message = format!("offset {expected} comes next, and {offset} was shown");
                let finding = Finding::new(index, Anomaly::OffsetGap, message);
                self.findings.push(finding.in_partition(topic, partition).at_offset(*offset));
            }
            expected = offset.saturating_add(1);
            let placed = Placed { topic, partition, offset: *offset, value: *value };
            self.saw(Sighting { index, process: None, placed, witness: Witness::Reader, wall_ms });
        }
    }

    /// A poll gave nothing: then the next record was not acknowledged before the poll began.
    fn nothing_polled(&mut self, invoked: usize, index: usize, process: u32, place: usize) {
        let Some(Position { next: Some(next), .. }) = self.consumers.positions.get(&(process, place)) else { return };
        let partition = &self.logs.partitions[place];
        let Some(slot) = partition.slot(*next) else { return };
        let Some(record) = slot.bound.map(|record| &self.records.all[record]) else { return };
        // The offsets of a transaction are known before they can be read.
        let visible = slot.since < invoked && record.transaction.is_none();
        if visible && !partition.is_reported(*next) && !self.logs.delete_asked(partition.topic) {
            let message = format!("the poll gave nothing, and event {} had acknowledged the next record", slot.since);
            let finding = Finding::new(index, Anomaly::StalePoll, message).by_process(Some(process));
            self.findings
                .push(finding.in_partition(partition.topic, partition.number).at_offset(*next).of_value(record.value));
        }
    }

    fn deleted_before(&mut self, invoked: usize, index: usize, process: u32, read: &Read) {
        let deleted = self.logs.topics.get(&read.topic).and_then(|topic| topic.deleted);
        if let Some(deleted) = deleted.filter(|deleted| *deleted < invoked) {
            let message = format!("event {deleted} acknowledged that the topic is deleted");
            let finding = Finding::new(index, Anomaly::DeletedTopicRead, message).by_process(Some(process));
            self.findings.push(finding.in_partition(read.topic, read.partition));
        }
    }

    /// A consumer was given the record at an offset: it must be the next one.
    fn advanced(&mut self, index: usize, process: u32, place: usize, offset: u64) {
        let partition = &mut self.logs.partitions[place];
        let (topic, number) = (partition.topic, partition.number);
        let describe = |anomaly, message: String| {
            Finding::new(index, anomaly, message)
                .in_partition(topic, number)
                .at_offset(offset)
                .by_process(Some(process))
        };
        let moved = Position { next: Some(offset.saturating_add(1)), moved_by: index };
        let Some(position) = self.consumers.positions.get_mut(&(process, place)) else {
            self.consumers.positions.insert((process, place), moved);
            return self.findings.push(describe(Anomaly::UnassignedRead, "nobody assigned this partition".to_owned()));
        };
        let Position { next, moved_by } = std::mem::replace(position, moved);
        let Some(next) = next else { return };
        let within = moved_by == index;
        if offset < next {
            let anomaly = if within { Anomaly::InternalNonmonotonicPoll } else { Anomaly::NonmonotonicPoll };
            self.findings.push(describe(anomaly, format!("offset {next} comes next")));
        } else if offset > next && partition.first_unreported(next, offset).is_some() {
            partition.passed.push((next, offset));
            let anomaly = if within { Anomaly::InternalSkippedPoll } else { Anomaly::SkippedPoll };
            self.findings.push(describe(anomaly, format!("offset {next} comes next")));
        }
    }
}
