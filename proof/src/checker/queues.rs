//! Groups that were created: where they are, what a flush confirmed, and that each record comes to an end in them.
//!
//! A record of a partition comes to an end in a group when it is acknowledged, when it is a dead letter, when it is given
//! up, or when the group begins, or is sent, behind it. What else the engine calls finished is lost.
//!
//! Invariants:
//! - Sending a group elsewhere makes everything uncertain that was known of it in the partition, from the call on; and
//!   certain again when it came back.
//! - Failures are counted low and deliveries high: only what is certain is a finding.

use super::finding::{Anomaly, Finding};
use super::groups::Acknowledged;
use super::world::World;
use crate::history::{DeadLetter, GroupNumber, TopicNumber};

/// A group in a partition.
type Of = (GroupNumber, TopicNumber, u32);

impl World<'_> {
    /// Somebody creates a group.
    pub(super) fn creating_group(&mut self, group: GroupNumber, ordered: bool, max_deliveries: u32, kept: bool) {
        let made = self.groups.made.entry(group).or_default();
        (made.max_deliveries, made.dead_letters_kept) = (max_deliveries, kept);
        if ordered {
            self.groups.ordered(group);
        }
    }

    /// Somebody deletes it.
    pub(super) fn deleting_group(&mut self, index: usize, group: GroupNumber) {
        self.groups.made.entry(group).or_default().delete_asked = Some(index);
    }

    /// It is there.
    pub(super) fn group_there(&mut self, index: usize, group: GroupNumber) {
        let made = self.groups.made.entry(group).or_default();
        // If somebody tried to delete it and does not know, now we know.
        (made.created, made.delete_asked) = (true, None);
        if let Some(deleted) = made.deleted {
            let message = format!("group {group} is there, and event {deleted} acknowledged its deletion");
            self.findings.push(Finding::new(index, Anomaly::DeletedGroup, message));
        }
    }

    /// It is not there.
    pub(super) fn group_missing(&mut self, index: usize, group: GroupNumber) {
        let made = self.groups.made.entry(group).or_default();
        if made.created && made.delete_asked.is_none() && made.deleted.is_none() {
            let message = format!("group {group} is gone; its creation was acknowledged, and nobody deleted it");
            self.findings.push(Finding::new(index, Anomaly::LostGroup, message));
            made.deleted = Some(index);
        }
    }

    /// A flush of a member came back.
    pub(super) fn confirmed(&mut self, invocation: usize, index: usize, group: GroupNumber, member: u32) {
        let all = self.groups.loose.remove(&(group, member)).unwrap_or_default();
        let (before, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(settled, _)| *settled < invocation);
        if !later.is_empty() {
            self.groups.loose.insert((group, member), later);
        }
        for (_, lease) in before {
            self.steps += 1;
            let Some(known) = self.groups.leases.get(lease) else { continue };
            if !self.groups.is_dubious(group, known.place, known.invoked) {
                self.acknowledge(index, group, lease);
            }
        }
    }

    /// The engine was closed: with everything that members had acknowledged.
    pub(super) fn confirmed_all(&mut self, invocation: usize, index: usize) {
        let mut members: Vec<_> = self.groups.loose.keys().copied().collect();
        members.sort_unstable();
        for (group, member) in members {
            self.confirmed(invocation, index, group, member);
        }
    }

    // ----- going on elsewhere -----

    /// Somebody sends a group elsewhere.
    pub(super) fn resetting(&mut self, index: usize, (group, topic, partition): Of) {
        let place = self.logs.partition(topic, partition);
        self.groups.made.entry(group).or_default().resets += 1;
        let progress = self.groups.progress.entry((group, place)).or_default();
        progress.resets_open += 1;
        progress.reset_at = index;
        progress.checked_to = 0;
        self.forget_certain(group, place);
    }

    /// It was done, and the group goes on there; or nobody knows, or it was refused.
    pub(super) fn reset(&mut self, invocation: usize, index: usize, (group, topic, partition): Of, to: Option<u64>) {
        let place = self.logs.partition(topic, partition);
        let progress = self.groups.progress.entry((group, place)).or_default();
        progress.resets_open = progress.resets_open.saturating_sub(1);
        (progress.reset_at, progress.checked_to) = (index, 0);
        // Where it is now if nobody knows, the next look at it tells.
        progress.start = to;
        self.forget_certain(group, place);
        if to.is_some() {
            // What was acknowledged before is to be done once more.
            let records = &self.records.all;
            for ((of, record), known) in &mut self.groups.records {
                let is_in = *of == group && records[*record].place.is_some_and(|(at, _)| at == place);
                if is_in && known.asked_at < invocation {
                    known.asked = 0;
                }
            }
        }
    }

    /// What is known of a partition counts no more.
    fn forget_certain(&mut self, group: GroupNumber, place: usize) {
        let records = &self.records.all;
        for ((of, record), known) in &mut self.groups.records {
            if *of != group || records[*record].place.is_none_or(|(at, _)| at != place) {
                continue;
            }
            known.acknowledged = Acknowledged::No;
            known.redrives += usize::from(!known.letters.is_empty());
            (known.delivery_count, known.failures, known.dead) = (0, 0, None);
            if let Some(lease) = known.lease.take() {
                let lease = &mut self.groups.leases[lease];
                (lease.may_have_ended, lease.taken_away) = (true, true);
            }
        }
        self.steps += self.groups.records.len() as u64;
        let progress = self.groups.progress.entry((group, place)).or_default();
        progress.handed_out.clear();
        progress.nacked.clear();
        progress.held_back.clear();
    }

    // ----- the end of each record -----

    /// The engine says that everything below a position is finished.
    pub(super) fn group_at(&mut self, index: usize, (group, topic, partition): Of, position: u64) {
        let place = self.logs.partition(topic, partition);
        let progress = self.groups.progress.entry((group, place)).or_default();
        let start = *progress.start.get_or_insert(position);
        let from = progress.checked_to.max(start);
        if progress.resets_open > 0 || self.logs.delete_asked(topic) {
            return;
        }
        progress.checked_to = progress.checked_to.max(position);
        for offset in from..position {
            self.steps += 1;
            if !self.may_be_finished(group, place, offset) {
                self.lost_in_queue(index, group, place, offset, "calls it finished, and nobody acknowledged it");
            }
        }
    }

    /// Nothing is left to be done: each record has come to an end.
    pub(super) fn drained(&mut self, index: usize, (group, topic, partition): Of) {
        let place = self.logs.partition(topic, partition);
        let Some(start) = self.groups.progress.get(&(group, place)).and_then(|progress| progress.start) else { return };
        if self.logs.delete_asked(topic) {
            return;
        }
        for offset in start..self.logs.partitions[place].bound_end {
            self.steps += 1;
            if !self.is_finished(group, place, offset) {
                self.lost_in_queue(
                    index,
                    group,
                    place,
                    offset,
                    "has nothing left to do, and it was neither done nor given up",
                );
            }
        }
    }

    pub(super) fn lost_in_queue(&mut self, index: usize, group: GroupNumber, place: usize, offset: u64, what: &str) {
        let partition = &self.logs.partitions[place];
        let Some(record) = partition.slot(offset).and_then(|slot| slot.bound) else { return };
        let finding = Finding::new(index, Anomaly::QueueLost, format!("group {group} {what}"));
        let finding = finding.in_partition(partition.topic, partition.number).at_offset(offset);
        self.findings.push(finding.of_value(self.records.all[record].value));
    }

    /// It is given up, or nothing is known to stand there.
    fn is_of_no_concern(&self, place: usize, offset: u64) -> bool {
        let partition = &self.logs.partitions[place];
        let is_bound = partition.slot(offset).is_some_and(|slot| slot.bound.is_some());
        !is_bound || offset < partition.truncated || partition.is_reported(offset)
    }

    pub(super) fn may_be_finished(&self, group: GroupNumber, place: usize, offset: u64) -> bool {
        let partition = &self.logs.partitions[place];
        let is_bounded = self.logs.topics.get(&partition.topic).is_some_and(|topic| topic.is_bounded);
        if self.is_of_no_concern(place, offset) || is_bounded || offset < partition.truncation_asked {
            return true;
        }
        let Some(record) = partition.slot(offset).and_then(|slot| slot.bound) else { return true };
        let (asked, failures) = self.groups.records.get(&(group, record)).map_or((false, 0), |known| {
            (known.asked > 0 || known.reject_asked || !known.letters.is_empty(), known.delivery_count)
        });
        // Each engine that crashed may have had a delivery of which nobody heard.
        asked || self.groups.made.get(&group).is_none_or(|made| failures + self.groups.engine >= made.max_deliveries)
    }

    fn is_finished(&self, group: GroupNumber, place: usize, offset: u64) -> bool {
        if self.is_of_no_concern(place, offset) {
            return true;
        }
        let partition = &self.logs.partitions[place];
        let Some(record) = partition.slot(offset).and_then(|slot| slot.bound) else { return true };
        let kept = self.groups.made.get(&group).is_some_and(|made| made.dead_letters_kept);
        match self.groups.records.get(&(group, record)) {
            Some(known) => {
                known.asked > 0 || !known.letters.is_empty() || (!kept && self.may_be_finished(group, place, offset))
            }
            None => !kept && self.may_be_finished(group, place, offset),
        }
    }

    // ----- dead letters -----

    /// A record was seen among the dead letters.
    pub(super) fn dead_letter(&mut self, index: usize, letter: &DeadLetter) {
        let DeadLetter { group, placed, stands_at, deliveries, failures, ref reason } = *letter;
        let describe = |anomaly, message: String| {
            let finding = Finding::new(index, anomaly, message).in_partition(placed.topic, placed.partition);
            finding.at_offset(placed.offset).of_value(placed.value)
        };
        let Some(record) = self.records.find(placed.value) else {
            let message = "nobody has sent this, and it is a dead letter".to_owned();
            return self.findings.push(describe(Anomaly::Unexpected, message));
        };
        let place = self.logs.partition(placed.topic, placed.partition);
        let slot = self.logs.partitions[place].slot(placed.offset);
        if let Some(other) = slot.and_then(|slot| slot.bound).filter(|bound| *bound != record) {
            let message =
                format!("a dead letter is said to be from here, where value {} stands", self.records.all[other].value);
            self.findings.push(describe(Anomaly::Misplaced, message));
        }
        let Some(made) = self.groups.made.get(&group).copied() else { return };
        let acknowledged = self.groups.acknowledged_since(group, record);
        let known = self.groups.records.entry((group, record)).or_default();
        if known.letters.contains(&stands_at) {
            return;
        }
        // Once for each time that the group came by.
        if made.dead_letters_kept && known.letters.len() > made.resets {
            let message =
                format!("it stands at {stands_at:?} of the dead letters of group {group}, and at {:?}", known.letters);
            self.findings.push(describe(Anomaly::Duplicate, message));
        }
        known.letters.push(stands_at);
        let is_rejected = reason == "rejected";
        let why = match () {
            () if failures > deliveries => Some("it failed more often than it was handed out"),
            () if is_rejected && !known.reject_asked => Some("nobody rejected it"),
            () if !is_rejected && failures != made.max_deliveries => Some("it did not fail as often as it may"),
            () if made.resets == 0 && deliveries < known.delivery_count => Some("it was handed out more often"),
            () if reason == "released" => Some("a release is no failure"),
            () => None,
        };
        if let Some(why) = why {
            let message = format!("{reason} after {deliveries} deliveries and {failures} failures is its cause: {why}");
            self.findings.push(describe(Anomaly::WrongCause, message));
        }
        // One from before a reset may be seen only now.
        if let Some(since) = acknowledged.filter(|_| made.resets == 0) {
            let message = format!("it is a dead letter of group {group}, and event {since} acknowledged it");
            self.findings.push(describe(Anomaly::Conservation, message));
        }
        if made.resets == 0 {
            known.dead.get_or_insert(index);
        }
    }
}
