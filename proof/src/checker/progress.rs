//! How far groups have come: acknowledged positions, and that nothing gets lost on the way.

use super::finding::{Anomaly, Finding};
use super::groups::raise;
use super::world::World;
use crate::history::{GroupNumber, TopicNumber, Value};
use std::collections::HashSet;

impl World<'_> {
    /// Somebody acknowledges everything below an offset.
    pub(super) fn acknowledging_position(
        &mut self,
        group: GroupNumber,
        topic: TopicNumber,
        partition: u32,
        position: u64,
    ) {
        let place = self.logs.partition(topic, partition);
        let progress = self.groups.progress.entry((group, place)).or_default();
        progress.position_asked = progress.position_asked.max(position);
    }

    /// It was done.
    pub(super) fn acknowledged_position(
        &mut self,
        index: usize,
        group: GroupNumber,
        topic: TopicNumber,
        partition: u32,
        position: u64,
    ) {
        let place = self.logs.partition(topic, partition);
        let progress = self.groups.progress.entry((group, place)).or_default();
        raise(&mut progress.positions, index, position);
    }

    /// Somebody asks for the position: the answer must not be less than what is known now.
    pub(super) fn asking_position(&mut self, index: usize, group: GroupNumber, topic: TopicNumber, partition: u32) {
        let place = self.logs.partition(topic, partition);
        let crashes = self.groups.crashes;
        let progress = self.groups.progress.entry((group, place)).or_default();
        let acknowledged = progress.positions.last().map_or(0, |(_, position)| *position);
        let answered = if progress.position_answered.1 == crashes { progress.position_answered.0 } else { 0 };
        self.groups.asked.insert(index, acknowledged.max(answered));
    }

    /// The answer.
    pub(super) fn position_answered(
        &mut self,
        invocation: usize,
        index: usize,
        process: u32,
        (group, topic, partition): (GroupNumber, TopicNumber, u32),
        position: u64,
    ) {
        let place = self.logs.partition(topic, partition);
        let known = self.groups.asked.remove(&invocation).unwrap_or(0);
        if position < known {
            let message = format!("group {group} was at {known} before");
            let finding = Finding::new(index, Anomaly::PositionWentBack, message).by_process(Some(process));
            self.findings.push(finding.in_partition(topic, partition).at_offset(position));
        }
        let crashes = self.groups.crashes;
        let answered = &mut self.groups.progress.entry((group, place)).or_default().position_answered;
        *answered = if answered.1 == crashes { (answered.0.max(position), crashes) } else { (position, crashes) };
    }

    /// What a group has still to do in a partition, and what it gave up: with what it acknowledged, that
    /// is everything that is there.
    pub(super) fn group_contents(
        &mut self,
        index: usize,
        (group, topic, partition): (GroupNumber, TopicNumber, u32),
        first_offset: u64,
        pending: &[Value],
        dead_lettered: &[Value],
    ) {
        let place = self.logs.partition(topic, partition);
        let describe = |anomaly, value, message: String| {
            Finding::new(index, anomaly, message).in_partition(topic, partition).of_value(value)
        };
        let mut listed = HashSet::new();
        for (values, is_pending) in [(pending, true), (dead_lettered, false)] {
            for value in values {
                self.steps += 1;
                let Some(record) = self.records.find(*value) else {
                    let message = "nobody has sent this".to_owned();
                    self.findings.push(describe(Anomaly::Unexpected, *value, message));
                    continue;
                };
                if !listed.insert(record) {
                    let message = format!("group {group} has it twice");
                    self.findings.push(describe(Anomaly::Conservation, *value, message));
                }
                let offset = self.records.all[record].place.map_or(u64::MAX, |(_, offset)| offset);
                if self.is_acknowledged(group, place, record) {
                    let what = if is_pending { "pending" } else { "a dead letter" };
                    let message = format!("in group {group} it is acknowledged, and {what}");
                    self.findings.push(describe(Anomaly::Conservation, *value, message));
                } else if is_pending && self.was_passed(group, place, record, offset) {
                    let message = format!("group {group} keeps the order, and later records were handed out first");
                    self.findings.push(describe(Anomaly::OrderViolated, *value, message).at_offset(offset));
                }
            }
        }
        self.nothing_is_missing(index, group, place, first_offset, &listed);
    }

    /// In an ordered group: never handed out, and records behind it were.
    fn was_passed(&self, group: GroupNumber, place: usize, record: usize, offset: u64) -> bool {
        let handed_out = self.groups.progress.get(&(group, place)).and_then(|at| at.handed_out.last());
        let never = self.groups.records.get(&(group, record)).is_none_or(|known| known.lease.is_none());
        self.groups.is_ordered(group)
            && never
            && handed_out.is_some_and(|(_, behind)| offset.saturating_add(1) < *behind)
    }

    fn is_acknowledged(&self, group: GroupNumber, place: usize, record: usize) -> bool {
        let position = self.groups.progress.get(&(group, place)).and_then(|at| at.positions.last());
        let offset = self.records.all[record].place.map_or(u64::MAX, |(_, offset)| offset);
        self.groups.acknowledged_since(group, record).is_some()
            || position.is_some_and(|(_, position)| offset < *position)
    }

    /// Each record of the partition is listed, or acknowledged, or may be.
    fn nothing_is_missing(
        &mut self,
        index: usize,
        group: GroupNumber,
        place: usize,
        first_offset: u64,
        listed: &HashSet<usize>,
    ) {
        let partition = &self.logs.partitions[place];
        let (topic, number) = (partition.topic, partition.number);
        let progress = self.groups.progress.entry((group, place)).or_default();
        let position_asked = progress.position_asked;
        let mut unresolved = std::mem::take(&mut progress.unresolved);
        let new = progress.looked_up_to.max(first_offset)..partition.bound_end;
        progress.looked_up_to = partition.bound_end.max(progress.looked_up_to);
        unresolved.extend(new.filter_map(|offset| partition.slot(offset).and_then(|slot| slot.bound)));
        self.steps += unresolved.len() as u64;
        unresolved.retain(|record| {
            if listed.contains(record) {
                return true;
            }
            let may_be = self.groups.records.get(&(group, *record)).is_some_and(|known| known.asked > 0);
            let Some((_, offset)) = self.records.all[*record].place else { return false };
            if !self.is_acknowledged(group, place, *record) && !may_be && offset >= position_asked {
                let message = format!("group {group} has neither acknowledged it nor given it up, and has it no more");
                let finding = Finding::new(index, Anomaly::QueueLost, message).in_partition(topic, number);
                self.findings.push(finding.at_offset(offset).of_value(self.records.all[*record].value));
            }
            false
        });
        self.groups.progress.entry((group, place)).or_default().unresolved = unresolved;
    }
}
