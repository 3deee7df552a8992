//! Handing records out under leases, and what is done to leases.

use super::finding::{Anomaly, Finding};
use super::groups::{Acknowledged, End, Lease, Taking, before, raise};
use super::sighting::{Sighting, Witness};
use super::world::World;
use crate::history::{Answer, Delivery, Event, GroupNumber, LeaseNumber, Placed, Settling, TransactionNumber, Value};

/// The clock of the engine and that of the history differ by less.
const CLOCK_MS: u64 = 2;

impl World<'_> {
    /// The clock of the history at an event, in ms.
    pub(super) fn at_ms(&self, index: usize) -> u64 {
        match &self.history.events()[index] {
            Event::Invoke { at_ns, .. } | Event::Complete { at_ns, .. } | Event::World { at_ns, .. } => {
                at_ns / 1_000_000
            }
        }
    }

    /// Records were handed out.
    pub(super) fn taken(&mut self, taking: &Taking, deliveries: &[Delivery], wall_ms: Option<i64>) {
        self.wall_ms = self.wall_ms.max(wall_ms);
        for delivery in deliveries {
            let placed = delivery.placed;
            let witness = Witness::Reader;
            let sighting = Sighting { index: taking.index, process: Some(taking.process), placed, witness, wall_ms };
            self.saw(sighting);
            let Some(record) = self.records.find(placed.value) else { continue };
            let place = self.logs.partition(placed.topic, placed.partition);
            self.count_failure(taking, delivery, record);
            self.judge_delivery(taking, &sighting, delivery, record, place);
            if self.groups.is_ordered(taking.group) {
                self.judge_order(taking, &sighting, record, place);
            }
            self.note_delivery(taking, delivery, record, place);
        }
    }

    /// A record is handed out again, and nobody had ended its lease: it ran out, or the engine crashed.
    fn count_failure(&mut self, taking: &Taking, delivery: &Delivery, record: usize) {
        let Some(known) = self.groups.records.get_mut(&(taking.group, record)) else { return };
        let Some(before) = known.lease.map(|lease| &self.groups.leases[lease]) else { return };
        let is_over = before.engine == self.groups.engine || !self.groups.closed.contains(&before.engine);
        let is_before = before.taken < taking.invocation && before.delivery_count < delivery.delivery_count;
        known.failures += u32::from(is_before && is_over && !before.may_have_ended);
    }

    fn judge_delivery(
        &mut self,
        taking: &Taking,
        sighting: &Sighting,
        delivery: &Delivery,
        record: usize,
        place: usize,
    ) {
        if self.groups.by_number.contains_key(&(taking.group, delivery.lease)) {
            let message = format!("lease {} was handed out before", delivery.lease);
            self.findings.push(sighting.finding(Anomaly::TwoLeases, message));
        }
        if let Some((lease, transaction)) = self.held_beside(taking, record) {
            let message = format!("transaction {transaction} holds it since event {lease}, and is undecided");
            self.findings.push(sighting.finding(Anomaly::TwoLeases, message));
        }
        if let Some(other) = self.lives_beside(taking, delivery, record) {
            let message = format!("member {} holds it since event {}, and nothing ended that lease", other.0, other.1);
            self.findings.push(sighting.finding(Anomaly::TwoLeases, message));
        }
        let since = self.groups.acknowledged_since(taking.group, record).filter(|since| *since < taking.invocation);
        let position =
            self.groups.progress.get(&(taking.group, place)).map_or(0, |at| at.position_before(taking.invocation));
        if since.is_some() || sighting.placed.offset < position {
            let message = match since {
                Some(since) => format!("event {since} acknowledged it"),
                None => format!("position {position} was acknowledged"),
            };
            self.findings.push(sighting.finding(Anomaly::DeliveredAfterAcknowledgement, message));
        }
        let Some(known) = self.groups.records.get(&(taking.group, record)) else { return };
        let failures_max = self.groups.made.get(&taking.group).map_or(u32::MAX, |made| made.max_deliveries);
        if known.failures >= failures_max && !self.groups.is_dubious(taking.group, place, taking.invocation) {
            let message = format!("{} of its deliveries failed, and {failures_max} may", known.failures);
            self.findings.push(sighting.finding(Anomaly::TooManyDeliveries, message));
        }
        if let Some(dead) = known.dead.filter(|dead| *dead < taking.invocation) {
            let message = format!("event {dead} sent it to the dead letters");
            self.findings.push(sighting.finding(Anomaly::DeliveredAfterDeadLetter, message));
        }
        let known_before = known.lease.is_some_and(|lease| self.groups.leases[lease].taken < taking.invocation);
        let (count, new) = (known.delivery_count, delivery.delivery_count);
        if known_before && (new < count || (new == count && !known.count_may_repeat)) {
            let message = format!("delivery {new} comes after delivery {count}");
            self.findings.push(sighting.finding(Anomaly::DeliveryCountWentBack, message));
        }
    }

    /// An undecided transaction that has the record: since when, and its number.
    fn held_beside(&self, taking: &Taking, record: usize) -> Option<(usize, TransactionNumber)> {
        let lease = self.groups.records.get(&(taking.group, record))?.lease?;
        let taken = self.groups.leases[lease].taken;
        (taken < taking.invocation).then_some((taken, self.held_at(lease, taking.index)?))
    }

    /// Member and event of a lease on the same record that certainly lives while this one does.
    fn lives_beside(&self, taking: &Taking, delivery: &Delivery, record: usize) -> Option<(u32, usize)> {
        let lives = |until_ms: Option<i64>| match (until_ms, self.wall_ms) {
            (None, _) => true,
            (Some(until_ms), Some(wall_ms)) => wall_ms < until_ms,
            (Some(_), None) => false,
        };
        let other = &self.groups.leases[self.groups.records.get(&(taking.group, record))?.lease?];
        let in_time = match other.time_ms {
            Some((at_least_ms, _)) => self.at_ms(taking.index) < at_least_ms,
            None => lives(other.until_ms),
        };
        let other_lives = !other.may_have_ended && other.engine == self.groups.engine && in_time;
        // Where the calls overlapped, this one may have been handed out first, and have run out before anybody heard of it.
        let is_later = other.taken < taking.invocation;
        let this_lives = match delivery.lease_ms.filter(|_| !is_later) {
            Some(ms) => self.at_ms(taking.index) + CLOCK_MS < self.at_ms(taking.invocation) + ms,
            None => lives(delivery.until_ms),
        };
        (other_lives && this_lives).then_some((other.member, other.taken))
    }

    /// An ordered group hands out a record for the first time only after all before it, and nothing
    /// behind one that was nacked.
    fn judge_order(&mut self, taking: &Taking, sighting: &Sighting, record: usize, place: usize) {
        let offset = sighting.placed.offset;
        let first = self.groups.records.get(&(taking.group, record)).is_none_or(|known| known.lease.is_none());
        let progress = self.groups.progress.entry((taking.group, place)).or_default();
        // What this very call handed out before counts as well.
        let highest = match progress.handed_out.last() {
            Some((index, highest)) if *index == taking.index => *highest,
            _ => before(&progress.handed_out, taking.invocation),
        };
        // What retention takes is finished.
        let partition = &self.logs.partitions[place];
        let is_bounded = self.logs.topics.get(&partition.topic).is_some_and(|topic| topic.is_bounded);
        let kept_from = if is_bounded { u64::MAX } else { partition.truncated.max(partition.truncation_asked) };
        let nacked = [&progress.nacked, &progress.held_back]
            .into_iter()
            .filter(|_| kept_from < offset)
            .flat_map(|nacks| nacks.range(kept_from.min(offset)..offset))
            .map(|(nacked, index)| (*nacked, *index))
            .find(|(_, index)| *index < taking.invocation);
        let message = if progress.is_dubious(taking.invocation) {
            None
        } else if let Some((nacked, index)) = nacked {
            Some(format!("offset {nacked} was nacked by event {index} and holds its partition back"))
        } else if first && offset + 1 < highest {
            Some(format!("handed out for the first time after offset {}", highest - 1))
        } else {
            None
        };
        if let Some(message) = message {
            self.findings.push(sighting.finding(Anomaly::OrderViolated, message));
        }
        progress.nacked.remove(&offset);
        raise(&mut progress.handed_out, taking.index, offset.saturating_add(1));
    }

    fn note_delivery(&mut self, taking: &Taking, delivery: &Delivery, record: usize, place: usize) {
        let lease = self.groups.leases.len();
        let time_ms = delivery.lease_ms.map(|ms| {
            let (asked_ms, answered_ms) = (self.at_ms(taking.invocation), self.at_ms(taking.index));
            ((asked_ms + ms).saturating_sub(CLOCK_MS), answered_ms + ms + CLOCK_MS)
        });
        let made = self.groups.made.get(&taking.group);
        let may_die = made.is_some_and(|made| delivery.delivery_count >= made.max_deliveries);
        if may_die && let Some(progress) = self.groups.progress.get_mut(&(taking.group, place)) {
            progress.held_back.remove(&delivery.placed.offset);
        }
        self.groups.leases.push(Lease {
            record,
            place,
            offset: delivery.placed.offset,
            member: taking.member,
            taken: taking.index,
            delivery_count: delivery.delivery_count,
            until_ms: delivery.until_ms,
            may_have_ended: false,
            ended: None,
            engine: self.groups.engine,
            invoked: taking.invocation,
            time_ms,
            ends_asked: 0,
            taken_away: false,
            held_by: None,
        });
        self.groups.by_number.insert((taking.group, delivery.lease), lease);
        self.groups.members.entry((taking.group, taking.member)).or_default().push(lease);
        let known = self.groups.records.entry((taking.group, record)).or_default();
        known.delivery_count = known.delivery_count.max(delivery.delivery_count);
        known.count_may_repeat = false;
        if let Some(other) = known.lease.replace(lease) {
            if self.groups.leases[other].taken < taking.invocation {
                self.groups.end(other, taking.index, End::HandedOutAgain);
            } else {
                // The calls overlapped: which lease is the later one, nobody knows.
                self.groups.leases[other].may_have_ended = true;
            }
        }
    }

    /// Somebody asks to end or change a lease: from now on it may have ended.
    pub(super) fn settling(
        &mut self,
        index: usize,
        process: u32,
        group: GroupNumber,
        number: LeaseNumber,
        settling: Settling,
        in_transaction: bool,
    ) {
        let Some(place) = self.groups.by_number.get(&(group, number)).copied() else {
            let message = format!("lease {number} was never handed out");
            let finding = Finding::new(index, Anomaly::Malformed, message).by_process(Some(process));
            return self.findings.push(finding);
        };
        let at_ms = self.at_ms(index);
        if let Some((_, at_most_ms)) = self.groups.leases[place].time_ms.filter(|(_, at_most_ms)| *at_most_ms <= at_ms)
        {
            let lease = &mut self.groups.leases[place];
            if lease.ended.is_none() && at_most_ms > 0 {
                lease.ended = Some((lease.taken, End::Expired));
            }
        }
        let lease = &mut self.groups.leases[place];
        let known = self.groups.records.entry((group, lease.record)).or_default();
        let prolongs = matches!(settling, Settling::Extend { .. } | Settling::Prolong { .. });
        // What ended by its time was a failure already.
        let has_ended = lease.ended.is_some();
        lease.may_have_ended |= !prolongs && !has_ended;
        lease.ends_asked += u32::from(!prolongs);
        if let (Settling::Prolong { ms }, Some((at_least_ms, at_most_ms))) = (settling, &mut lease.time_ms) {
            *at_least_ms = (at_ms + ms).saturating_sub(CLOCK_MS).min(*at_least_ms);
            *at_most_ms = u64::MAX;
        }
        let is_the_last = lease.delivery_count >= known.delivery_count;
        known.count_may_repeat |= is_the_last && settling == Settling::Release;
        // In a transaction its commit asks for it.
        let acknowledges = !in_transaction && matches!(settling, Settling::Acknowledge | Settling::AcknowledgeLater);
        known.asked += u32::from(acknowledges);
        if acknowledges {
            self.groups.tokens.acknowledging(place);
            known.asked_at = index;
        }
        known.reject_asked |= settling == Settling::Reject;
        if let Some(progress) = self.groups.progress.get_mut(&(group, lease.place)) {
            if acknowledges || settling == Settling::Reject {
                progress.held_back.remove(&lease.offset);
            }
            if settling == Settling::Reject {
                progress.nacked.remove(&lease.offset);
            }
        }
    }

    /// It was refused.
    pub(super) fn settling_refused(
        &mut self,
        (invocation, index): (usize, usize),
        group: GroupNumber,
        number: LeaseNumber,
        (settling, in_transaction): (Settling, bool),
        code: &str,
    ) {
        let Some(place) = self.groups.by_number.get(&(group, number)).copied() else { return };
        let lease = &self.groups.leases[place];
        let in_time = lease.time_ms.is_some_and(|(at_least_ms, _)| self.at_ms(index) < at_least_ms);
        let is_whole = lease.engine == self.groups.engine && lease.ended.is_none() && !lease.taken_away;
        let prolongs = matches!(settling, Settling::Extend { .. } | Settling::Prolong { .. });
        let is_dubious = self.groups.is_dubious(group, lease.place, lease.invoked);
        if code == "lease-lost" && in_time && is_whole && lease.ends_asked == u32::from(!prolongs) && !is_dubious {
            let partition = &self.logs.partitions[lease.place];
            let message = format!("lease {number} is said to be lost by event {index}, and lasts longer");
            let finding = Finding::new(invocation, Anomaly::LeaseLostEarly, message);
            let finding = finding.in_partition(partition.topic, partition.number).at_offset(lease.offset);
            self.findings.push(finding.of_value(self.records.all[lease.record].value));
        }
        let known = self.groups.records.entry((group, lease.record)).or_default();
        if !in_transaction && matches!(settling, Settling::Acknowledge | Settling::AcknowledgeLater) {
            known.asked = known.asked.saturating_sub(1);
        }
    }

    /// It was done.
    pub(super) fn settled_lease(&mut self, settled: &SettledLease) {
        let SettledLease { invocation, index, process, group, number, settling, in_transaction } = *settled;
        let Some(place) = self.groups.by_number.get(&(group, number)).copied() else { return };
        let acknowledges = matches!(settling, Settling::Acknowledge | Settling::AcknowledgeLater);
        let lease = &self.groups.leases[place];
        let stale = match lease.ended {
            // The same again is no harm.
            Some((_, End::Acknowledged)) if acknowledges => None,
            Some((at, end)) if at < invocation => Some(format!("event {at} {}", end.words())),
            _ if lease.engine != self.groups.engine => Some("the engine that gave it is gone".to_owned()),
            _ => None,
        };
        if let Some(why) = stale {
            let message = format!("lease {number} was accepted, and had ended: {why}");
            let finding = Finding::new(index, Anomaly::StaleSettlement, message).by_process(Some(process));
            let partition = &self.logs.partitions[lease.place];
            self.findings.push(
                finding
                    .in_partition(partition.topic, partition.number)
                    .at_offset(lease.offset)
                    .of_value(self.records.all[lease.record].value),
            );
        } else if let Some(transaction) = in_transaction {
            self.groups.leases[place].held_by = self.records.find_transaction(transaction);
        } else if !self.groups.is_dubious(group, lease.place, lease.invoked) {
            self.settle((invocation, index), group, place, settling);
        }
    }

    fn settle(&mut self, (invocation, index): (usize, usize), group: GroupNumber, place: usize, settling: Settling) {
        let until = self.groups.crashes;
        let (asked_ms, answered_ms) = (self.at_ms(invocation), self.at_ms(index));
        let made = self.groups.made.get(&group).copied();
        let lease = &mut self.groups.leases[place];
        let key = (group, lease.record);
        match settling {
            Settling::Acknowledge => self.acknowledge(index, group, place),
            Settling::AcknowledgeLater => {
                let known = self.groups.records.entry(key).or_default();
                if known.acknowledged == Acknowledged::No {
                    known.acknowledged = Acknowledged::Loosely { index, until };
                }
                let member = lease.member;
                self.groups.end(place, index, End::Acknowledged);
                self.groups.loose.entry((group, member)).or_default().push((index, place));
            }
            Settling::Nack { .. } => {
                let known = self.groups.records.entry(key).or_default();
                known.failures += 1;
                // Whoever was handed it next may have said so before this answer came.
                if known.lease == Some(place) {
                    let progress = self.groups.progress.entry((group, lease.place)).or_default();
                    if made.is_none_or(|made| lease.delivery_count < made.max_deliveries) {
                        progress.nacked.insert(lease.offset, index);
                    }
                    if made.is_some_and(|made| lease.delivery_count < made.max_deliveries) {
                        progress.held_back.insert(lease.offset, index);
                    }
                }
                self.groups.end(place, index, End::GivenBack);
            }
            Settling::Reject | Settling::Release => self.groups.end(place, index, End::GivenBack),
            Settling::Prolong { ms } => {
                let time_ms = ((asked_ms + ms).saturating_sub(CLOCK_MS), answered_ms + ms + CLOCK_MS);
                lease.time_ms = lease.time_ms.map(|_| time_ms);
            }
            Settling::Extend { until_ms } => lease.until_ms = lease.until_ms.map(|_| until_ms),
        }
    }

    /// A record is acknowledged for ever.
    pub(super) fn acknowledge(&mut self, index: usize, group: GroupNumber, lease: usize) {
        let known = self.groups.records.entry((group, self.groups.leases[lease].record)).or_default();
        if !matches!(known.acknowledged, Acknowledged::ForEver { .. }) {
            known.acknowledged = Acknowledged::ForEver { index };
        }
        self.groups.tokens.acknowledged(index, lease);
        self.groups.end(lease, index, End::Acknowledged);
    }

    /// A member goes: its leases may have ended.
    pub(super) fn leaving(&mut self, group: GroupNumber, member: u32) {
        for lease in self.groups.members.remove(&(group, member)).unwrap_or_default() {
            self.steps += 1;
            self.groups.leases[lease].may_have_ended = true;
            // What a transaction has is not the member's any more.
            self.groups.leases[lease].taken_away |= self.groups.leases[lease].held_by.is_none();
        }
    }

    /// The engine says that a lease's time was over.
    pub(super) fn lease_expired(&mut self, index: usize, group: GroupNumber, number: LeaseNumber) {
        if let Some(lease) = self.groups.by_number.get(&(group, number)).copied() {
            self.groups.end(lease, index, End::Expired);
        }
    }

    /// A transaction is about to be committed: what is acknowledged in it may be.
    pub(super) fn committing(&mut self, index: usize, number: TransactionNumber) {
        let Some(transaction) = self.records.find_transaction(number) else { return };
        let transaction = &self.records.transactions[transaction];
        if transaction.commit_asked != Some(index) {
            return;
        }
        for (group, lease) in &transaction.leases {
            self.steps += 1;
            if let Some(lease) = self.groups.by_number.get(&(*group, *lease)) {
                let record = self.groups.leases[*lease].record;
                self.groups.records.entry((*group, record)).or_default().asked += 1;
                self.groups.tokens.acknowledging(*lease);
            }
        }
    }

    /// A transaction was committed: its records are promised, its acknowledgements done.
    pub(super) fn committed(&mut self, index: usize, process: u32, number: TransactionNumber, answer: &Answer) {
        let Some(place) = self.records.find_transaction(number) else { return };
        if self.records.transactions[place].committed != Some(index) {
            return;
        }
        self.keep_transaction(index, place);
        if let Answer::Committed { placed } = answer {
            for placed in placed {
                let witness = Witness::Receipt { durable: true };
                self.saw(Sighting { index, process: Some(process), placed: *placed, witness, wall_ms: None });
            }
        }
    }

    /// A record went to the dead letters.
    pub(super) fn dead_lettered(&mut self, index: usize, group: GroupNumber, value: Value) {
        let Some(record) = self.records.find(value) else {
            let message = "nobody has sent this".to_owned();
            return self.findings.push(Finding::new(index, Anomaly::Unexpected, message).of_value(value));
        };
        let acknowledged = self.groups.acknowledged_since(group, record);
        let known = self.groups.records.entry((group, record)).or_default();
        let why = match (known.dead, acknowledged) {
            (Some(dead), _) => Some(format!("event {dead} sent it to the dead letters already")),
            (None, Some(since)) => Some(format!("event {since} acknowledged it")),
            (None, None) => None,
        };
        known.dead.get_or_insert(index);
        if let Some(lease) = known.lease {
            let (place, offset) = (self.groups.leases[lease].place, self.groups.leases[lease].offset);
            self.groups.end(lease, index, End::DeadLettered);
            if let Some(progress) = self.groups.progress.get_mut(&(group, place)) {
                progress.nacked.remove(&offset);
            }
        }
        if let Some(why) = why {
            let message = format!("it goes to the dead letters of group {group}, and {why}");
            self.findings.push(Finding::new(index, Anomaly::Conservation, message).of_value(value));
        }
    }

    /// A dead letter is made available again.
    pub(super) fn redriving(&mut self, group: GroupNumber, value: Value) {
        if let Some(record) = self.records.find(value) {
            let known = self.groups.records.entry((group, record)).or_default();
            known.dead = None;
            known.redrives += 1;
            known.delivery_count = 0;
        }
    }

    /// A record was seen among the dead letters.
    pub(super) fn dead_letter_seen(&mut self, sighting: &Sighting, record: usize) {
        let Placed { topic, partition, offset, .. } = sighting.placed;
        let Some(group) = self.logs.dead_letters_of(topic) else { return };
        let place = self.logs.partition(topic, partition);
        let known = self.groups.records.entry((group, record)).or_default();
        if known.dead_places.contains(&(place, offset)) {
            return;
        }
        if known.dead_places.len() > known.redrives {
            let message = format!("it stands at offset {} of the dead letters, too", known.dead_places[0].1);
            return self.findings.push(sighting.finding(Anomaly::Duplicate, message));
        }
        known.dead_places.push((place, offset));
    }
}

/// A lease that was ended or changed.
pub(super) struct SettledLease {
    pub(super) invocation: usize,
    pub(super) index: usize,
    pub(super) process: u32,
    pub(super) group: GroupNumber,
    pub(super) number: LeaseNumber,
    pub(super) settling: Settling,
    pub(super) in_transaction: Option<TransactionNumber>,
}
