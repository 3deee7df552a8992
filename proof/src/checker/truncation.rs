//! Records that are given up: because somebody asked, or because of the bounds of their topic; and for ever.

use super::finding::{Anomaly, Finding};
use super::groups::Progress;
use super::world::World;
use crate::history::{GroupNumber, TopicNumber};
use std::ops::Range;

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
        let bounds = self.logs.topics.get(&topic).map(|topic| (topic.is_bounded, topic.drops_finished));
        let (is_bounded, drops_finished) = bounds.unwrap_or_default();
        let known = &mut self.logs.partitions[place];
        let allowed = known.truncation_asked.max(known.truncated);
        if first_offset > allowed && drops_finished && !is_bounded {
            self.finished_by_all(index, place, allowed..first_offset);
        } else if first_offset > allowed && !is_bounded {
            let message =
                format!("records below {first_offset} are given up; below {} would be right", known.truncation_asked);
            let finding = Finding::new(index, Anomaly::UnaskedTruncation, message);
            self.findings.push(finding.in_partition(topic, partition).at_offset(first_offset));
        }
        let known = &mut self.logs.partitions[place];
        known.truncated = known.truncated.max(first_offset);
    }

    /// Records were given up because every group had finished them: then each group that was there may have.
    fn finished_by_all(&mut self, index: usize, place: usize, offsets: Range<u64>) {
        let begun = |((group, at), progress): (&(GroupNumber, usize), &Progress)| {
            let is_certain = *at == place && progress.resets_open == 0 && self.groups.is_there(*group);
            progress.start.filter(|_| is_certain).map(|start| (*group, start))
        };
        let mut groups: Vec<(GroupNumber, u64)> = self.groups.progress.iter().filter_map(begun).collect();
        groups.sort_unstable();
        for (group, start) in groups {
            for offset in offsets.start.max(start)..offsets.end {
                self.steps += 1;
                if !self.may_be_finished(group, place, offset) {
                    self.lost_in_queue(index, group, place, offset, "had not finished it, and it was given up");
                }
            }
        }
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
