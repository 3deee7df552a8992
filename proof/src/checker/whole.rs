//! What can only be judged when more is known than one event says: at the end of a listing of everything
//! that is there, and at the end of the history.

use super::finding::{Anomaly, Finding};
use super::records::{Cancel, Fate, Record};
use super::world::World;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

impl World<'_> {
    /// Everything that is there has been listed. Transactions are there as a whole now, or not at all.
    pub(super) fn listing_ends(&mut self, index: usize) {
        let Some(since) = self.listing_since.take() else { return };
        let partly_seen = std::mem::take(&mut self.partly_seen);
        for place in partly_seen {
            let mut unlisted = false;
            let transaction = &self.records.transactions[place];
            self.steps += transaction.records.len() as u64;
            for number in &transaction.records {
                let record = &self.records.all[*number];
                let must_be_there = matches!(record.fate, Fate::Acknowledged { .. })
                    && record.visible_at_ms.is_none()
                    && record.first_seen.is_none()
                    && !self.logs.delete_asked(record.topic);
                if !must_be_there || self.may_be_given_up(record) {
                    continue;
                }
                if !self.was_listed(record, since) {
                    unlisted = true;
                    continue;
                }
                let message = format!(
                    "transaction {} has other records here, and this one, sent by event {}, is missing",
                    transaction.number, record.sent
                );
                let finding = Finding::new(index, Anomaly::TornTransaction, message).of_value(record.value);
                self.findings.push(finding.in_partition(record.topic, record.partition.unwrap_or(0)));
            }
            if unlisted {
                self.partly_seen.push(place);
            }
        }
    }

    /// It was given up, or is reported; where nobody knows its place, it may be among those that are.
    fn may_be_given_up(&self, record: &Record) -> bool {
        let may_be = |partition: u32| {
            let place = self.logs.find(record.topic, partition);
            place.map(|place| &self.logs.partitions[place]).is_some_and(|partition| {
                let is_unknown = |offset| partition.slot(offset).is_none_or(|slot| slot.bound.is_none());
                !partition.reported.is_empty() || (0..partition.truncated).any(is_unknown)
            })
        };
        match record.place {
            Some((place, offset)) => {
                let partition = &self.logs.partitions[place];
                offset < partition.truncated || partition.is_reported(offset)
            }
            None => record.partition.is_some_and(may_be),
        }
    }

    /// The partition of a record, as far as it is known, was listed since an event.
    fn was_listed(&self, record: &Record, since: usize) -> bool {
        let listed = |partition| {
            let place = self.logs.find(record.topic, partition);
            place.is_some_and(|place| self.logs.partitions[place].last_contents.is_some_and(|at| at >= since))
        };
        match record.partition {
            Some(partition) => listed(partition),
            None => {
                let partitions = self.logs.topics.get(&record.topic).map_or(0, |topic| topic.partitions);
                partitions > 0 && (0..partitions).all(listed)
            }
        }
    }

    /// The history is over.
    pub(super) fn judge_the_whole(&mut self) {
        for number in 0..self.records.all.len() {
            self.steps += 1;
            self.must_not_be_read(number);
            self.must_be_seen(number);
        }
        self.passed_and_never_seen();
        self.order_of_sends();
        self.order_in_transactions();
    }

    /// A record that was read, and must not have been.
    fn must_not_be_read(&mut self, number: usize) {
        let record = &self.records.all[number];
        let Some((seen, process)) = record.first_seen else { return };
        let mut wrong = Vec::new();
        if let Fate::Failed { index } = record.fate {
            wrong.push((index, Anomaly::AbortedRead, "its send had failed".to_owned()));
        }
        if let Cancel::Done { index } = record.cancel {
            wrong.push((index, Anomaly::CancelledRead, "its cancelling was acknowledged".to_owned()));
        }
        if let Some(transaction) = record.transaction.map(|place| &self.records.transactions[place]) {
            let name = format!("transaction {}", transaction.number);
            if let (Some(index), None) = (transaction.rolled_back, transaction.committed) {
                wrong.push((index, Anomaly::G1a, format!("{name} was rolled back")));
            } else if transaction.commit_asked.is_none_or(|asked| asked > seen) {
                wrong.push((seen, Anomaly::ReadBeforeCommit, format!("nobody had asked to commit {name}")));
            } else if transaction.committed.is_none() && !transaction.commit_unknown {
                wrong.push((seen, Anomaly::G1a, format!("every commit of {name} was refused")));
            }
        }
        let (topic, partition) = (record.topic, record.partition.unwrap_or(0));
        let (value, offset) = (record.value, record.place.map(|(_, offset)| offset));
        for (index, anomaly, why) in wrong {
            let message = format!("event {seen} read it, and {why} (event {index})");
            let mut finding = Finding::new(seen, anomaly, message).of_value(value).by_process(process);
            finding.offset = offset;
            self.findings.push(finding.in_partition(topic, partition));
        }
    }

    /// A record that was promised, and should have been in the last listing.
    fn must_be_seen(&mut self, number: usize) {
        let Some((settled, wall_ms)) = self.settled else { return };
        let record = &self.records.all[number];
        let Fate::Acknowledged { index: acknowledged, .. } = record.fate else { return };
        let due = record.visible_at_ms.is_none_or(|due_ms| due_ms <= wall_ms);
        let topic_is_there = !self.logs.delete_asked(record.topic)
            && self
                .logs
                .topics
                .get(&record.topic)
                .is_none_or(|topic| topic.deleted.is_none() && !topic.reported_missing);
        let seen = record.last_contents.is_some_and(|at| at >= settled);
        if !record.kept || record.cancel != Cancel::No || !due || !topic_is_there || seen || record.reported_lost {
            return;
        }
        let partition = match record.place {
            Some((place, _)) => Some(place),
            None => record.partition.and_then(|partition| self.logs.find(record.topic, partition)),
        };
        if let Some(partition) = partition.map(|place| &self.logs.partitions[place]) {
            // A place that was in the listing was judged there; and what the engine reports may be this one.
            let listed = partition.last_contents.is_some_and(|at| at >= settled);
            // One whose offset nobody knows may be among those that were given up, as may be what is reported.
            let is_unknown = |offset| partition.slot(offset).is_none_or(|slot| slot.bound.is_none());
            let may_be_given_up = || !partition.reported.is_empty() || (0..partition.truncated).any(is_unknown);
            if (record.place.is_some() && listed) || (record.place.is_none() && may_be_given_up()) {
                return;
            }
        }
        let message =
            format!("sent by event {}, acknowledged by event {acknowledged}, and not seen at the end", record.sent);
        let finding = Finding::new(settled, Anomaly::Unseen, message).of_value(record.value);
        self.findings.push(finding.in_partition(record.topic, record.partition.unwrap_or(0)));
    }

    /// Readers passed over an offset, and nobody ever saw the record that was acknowledged there.
    fn passed_and_never_seen(&mut self) {
        let end = self.history.events().len();
        for partition in &self.logs.partitions {
            let count = partition.slots.len();
            let mut changes = vec![0i64; if partition.passed.is_empty() { 0 } else { count + 1 }];
            let clip = |offset: u64| usize::try_from(offset).map_or(count, |offset| offset.min(count));
            for (first, behind) in &partition.passed {
                changes[clip(*first)] += 1;
                changes[clip(*behind)] -= 1;
            }
            self.steps += (changes.len() + partition.passed.len()) as u64;
            let mut passes = 0;
            for (offset, change) in changes.iter().take(count).enumerate() {
                passes += change;
                let Some(number) = partition.slots[offset].bound.filter(|_| passes > 0) else { continue };
                let record = &mut self.records.all[number];
                if record.was_promised(end) && record.first_seen.is_none() && !record.reported_lost {
                    record.reported_lost = true;
                    let message = format!(
                        "sent by event {}, acknowledged as durable; readers passed it and none saw it",
                        record.sent
                    );
                    let finding = Finding::new(end - 1, Anomaly::LostWrite, message).of_value(record.value);
                    self.findings.push(
                        finding
                            .in_partition(partition.topic, partition.number)
                            .at_offset(offset as u64)
                            .by_process(Some(record.process)),
                    );
                }
            }
        }
    }

    /// Where a record stands, as far as no crash undid it.
    fn place_of(&self, record: &Record) -> Option<(usize, u64)> {
        let loose = record.loose_place.filter(|(_, _, until)| *until == self.crashes);
        record.place.or(loose.map(|(place, offset, _)| (place, offset)))
    }

    /// One client's records have the order of its calls.
    fn order_of_sends(&mut self) {
        let mut last: HashMap<(u32, usize), (u64, usize)> = HashMap::new();
        for number in 0..self.records.all.len() {
            self.steps += 1;
            let record = &self.records.all[number];
            // A delayed record, and one of a transaction, takes its place later.
            if record.visible_at_ms.is_some() || record.transaction.is_some() {
                continue;
            }
            let Some((place, offset)) = self.place_of(record) else { continue };
            self.goes_on(Anomaly::NonmonotonicSend, last.entry((record.process, place)), number, place, offset);
        }
    }

    /// The records of one transaction have the order of the calls.
    fn order_in_transactions(&mut self) {
        let mut last: HashMap<(usize, usize), (u64, usize)> = HashMap::new();
        for number in 0..self.records.all.len() {
            self.steps += 1;
            let record = &self.records.all[number];
            let Some(transaction) = record.transaction.filter(|_| record.visible_at_ms.is_none()) else { continue };
            let Some((place, offset)) = self.place_of(record) else { continue };
            let entry = last.entry((transaction, place));
            self.goes_on(Anomaly::InternalNonmonotonicSend, entry, number, place, offset);
        }
    }

    fn goes_on<K>(
        &mut self,
        anomaly: Anomaly,
        last: Entry<'_, K, (u64, usize)>,
        number: usize,
        place: usize,
        offset: u64,
    ) {
        let mut last = match last {
            Entry::Vacant(vacant) => {
                vacant.insert((offset, number));
                return;
            }
            Entry::Occupied(occupied) => occupied,
        };
        let (before, other) = last.insert((offset, number));
        if offset > before {
            return;
        }
        let (record, other) = (&self.records.all[number], &self.records.all[other]);
        let message = format!(
            "sent by event {}, after value {} (event {}), which stands at offset {before}",
            record.sent, other.value, other.sent
        );
        let partition = &self.logs.partitions[place];
        let finding = Finding::new(record.sent, anomaly, message).by_process(Some(record.process));
        self.findings
            .push(finding.in_partition(partition.topic, partition.number).at_offset(offset).of_value(record.value));
    }
}
