//! Everything in a partition, read at once: nothing is missing, nothing is new, nothing has moved.

use super::finding::{Anomaly, Finding};
use super::records::{Cancel, Fate, Record};
use super::sighting::{Sighting, Witness};
use super::world::World;
use crate::history::{Placed, TopicNumber};

/// A partition that was read from an offset to its end.
pub(super) struct Contents<'a> {
    pub(super) topic: TopicNumber,
    pub(super) partition: u32,
    pub(super) first_offset: u64,
    pub(super) records: &'a [(u64, u64)],
    pub(super) wall_ms: Option<i64>,
}

impl World<'_> {
    pub(super) fn contents(&mut self, index: usize, contents: &Contents<'_>) {
        let Contents { topic, partition, first_offset, records, wall_ms } = *contents;
        self.topic_is_there(index, topic);
        let place = self.logs.partition(topic, partition);
        self.logs.partitions[place].last_contents = Some(index);
        self.begins_at(index, topic, partition, first_offset);
        let mut expected = first_offset;
        let mut displaced = Vec::new();
        for (offset, value) in records {
            if *offset != expected {
                self.gap(index, place, expected, *offset);
            }
            expected = offset.saturating_add(1);
            let placed = Placed { topic, partition, offset: *offset, value: *value };
            displaced.extend(self.saw(Sighting { index, process: None, placed, witness: Witness::Contents, wall_ms }));
        }
        for record in displaced {
            self.lost_unless_read(index, place, record);
        }
        self.end_of_contents(index, place, expected);
    }

    /// Offsets from one to another that are not in the contents.
    fn gap(&mut self, index: usize, place: usize, expected: u64, found: u64) {
        let partition = &self.logs.partitions[place];
        let (topic, number) = (partition.topic, partition.number);
        let unexplained = partition.first_unreported(expected, found);
        if unexplained.is_none() && expected <= found {
            return;
        }
        let message = format!("offset {expected} comes next, and {found} was found");
        let finding = Finding::new(index, Anomaly::OffsetGap, message);
        self.findings.push(finding.in_partition(topic, number).at_offset(unexplained.unwrap_or(found)));
        let slots = self.logs.partitions[place].slots.len() as u64;
        for offset in expected.min(slots)..found.min(slots) {
            self.steps += 1;
            self.missing(index, place, offset);
        }
    }

    /// Nothing stands at or behind `end`.
    fn end_of_contents(&mut self, index: usize, place: usize, end: u64) {
        for offset in end..self.logs.partitions[place].bound_end {
            self.steps += 1;
            self.missing(index, place, offset);
        }
        let partition = &mut self.logs.partitions[place];
        partition.bound_end = partition.bound_end.min(end);
    }

    /// What was bound to this offset is not in the contents.
    fn missing(&mut self, index: usize, place: usize, offset: u64) {
        let partition = &self.logs.partitions[place];
        if partition.is_reported(offset) {
            return;
        }
        if let Some(record) = partition.slot(offset).and_then(|slot| slot.bound) {
            self.lost_unless_read(index, place, record);
        }
    }

    /// A record is not where it was. Unless it was read elsewhere, it is lost.
    fn lost_unless_read(&mut self, index: usize, place: usize, number: usize) {
        let (topic, partition) = {
            let partition = &self.logs.partitions[place];
            (partition.topic, partition.number)
        };
        let record = &mut self.records.all[number];
        if record.last_contents == Some(index) || record.reported_lost {
            return;
        }
        let (anomaly, message) = if record.was_promised(index) {
            (Anomaly::LostWrite, format!("sent by event {}, acknowledged as durable, and gone", record.sent))
        } else if let Some((seen, _)) = record.first_seen {
            (Anomaly::ReadUndone, format!("read in event {seen}, and gone: it was visible before it was durable"))
        } else {
            return;
        };
        record.reported_lost = true;
        let mut finding = Finding::new(index, anomaly, message).of_value(record.value).by_process(Some(record.process));
        finding = finding.in_partition(topic, partition);
        if let Some((_, offset)) = record.place {
            finding = finding.at_offset(offset);
        }
        self.findings.push(finding);
    }

    /// A topic can be read. If somebody tried to delete it and does not know, now we know.
    fn topic_is_there(&mut self, index: usize, number: TopicNumber) {
        let topic = self.logs.topics.entry(number).or_default();
        topic.delete_asked = None;
        topic.created = true;
        if let Some(deleted) = topic.deleted {
            let message = format!("topic {number} is there, and event {deleted} acknowledged its deletion");
            let finding = Finding::new(index, Anomaly::DeletedTopicRead, message);
            self.findings.push(finding.in_partition(number, 0));
        }
    }

    /// A topic is not there.
    pub(super) fn topic_is_missing(&mut self, index: usize, number: TopicNumber) {
        let topic = self.logs.topics.entry(number).or_default();
        if topic.created && topic.delete_asked.is_none() && topic.deleted.is_none() && !topic.reported_missing {
            topic.reported_missing = true;
            let message = format!("topic {number} is gone; its creation was acknowledged, and nobody deleted it");
            self.findings.push(Finding::new(index, Anomaly::LostTopic, message).in_partition(number, 0));
        }
    }
}

impl Record {
    /// At this event it had been promised that no crash takes it.
    pub(super) fn was_promised(&self, index: usize) -> bool {
        let acknowledged = matches!(self.fate, Fate::Acknowledged { index: at, .. } if at < index);
        acknowledged && self.kept && self.cancel == Cancel::No
    }
}
