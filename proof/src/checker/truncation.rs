//! Records that are given up: because somebody asked, or because of the bounds of their topic; and for ever.

use super::finding::{Anomaly, Finding};
use super::world::World;
use crate::history::TopicNumber;

impl World<'_> {
    /// Somebody asks to give up what stands below an offset.
    pub(super) fn asks_to_truncate(&mut self, topic: TopicNumber, partition: u32, before: u64) {
        let place = self.logs.partition(topic, partition);
        let asked = &mut self.logs.partitions[place].truncation_asked;
        *asked = before.max(*asked);
    }

    /// The engine says that what stands below an offset is given up.
    pub(super) fn truncated(&mut self, index: usize, topic: TopicNumber, partition: u32, first_offset: u64) {
        let place = self.logs.partition(topic, partition);
        let is_bounded = self.logs.topics.get(&topic).is_some_and(|topic| topic.is_bounded);
        let known = &mut self.logs.partitions[place];
        if first_offset > known.truncation_asked.max(known.truncated) && !is_bounded {
            let message =
                format!("records below {first_offset} are given up; below {} would be right", known.truncation_asked);
            let finding = Finding::new(index, Anomaly::UnaskedTruncation, message);
            self.findings.push(finding.in_partition(topic, partition).at_offset(first_offset));
        }
        known.truncated = known.truncated.max(first_offset);
    }

    /// Everything that is there begins at an offset.
    pub(super) fn begins_at(&mut self, index: usize, topic: TopicNumber, partition: u32, first_offset: u64) {
        self.truncated(index, topic, partition, first_offset);
        let place = self.logs.partition(topic, partition);
        let truncated = self.logs.partitions[place].truncated;
        if first_offset < truncated && !self.logs.delete_asked(topic) {
            let message = format!("records below {truncated} were given up, and are there from {first_offset} on");
            let finding = Finding::new(index, Anomaly::TruncationUndone, message);
            self.findings.push(finding.in_partition(topic, partition).at_offset(first_offset));
        }
    }
}
