//! The one walk over a history: each event moves what is known on, and is judged against it.
//!
//! Invariants:
//! - An event is visited once. Whatever a visit walks over was listed by that event, or is done with
//!   afterwards, so that the steps grow as the history does.
//! - An operation counts from its completion on where it must have worked, and from its invocation on
//!   where it may have.

use super::contents::Contents;
use super::finding::{Anomaly, Finding, Report};
use super::groups::{Groups, Taking};
use super::leases::SettledLease;
use super::logs::Logs;
use super::numbers::Numbers;
use super::operations::Operations;
use super::reading::Consumers;
use super::records::Records;
use super::sighting::{Sighting, Witness};
use super::tokens::Asked;
use crate::history::{Answer, Call, Durability, Event, Happening, History, Outcome, Placed};
use std::collections::VecDeque;

/// What is known at one point of a history.
pub(super) struct World<'a> {
    pub(super) history: &'a History,
    pub(super) operations: Operations<'a>,
    pub(super) records: Records,
    pub(super) logs: Logs,
    pub(super) consumers: Consumers,
    pub(super) groups: Groups,
    pub(super) numbers: Numbers,
    pub(super) findings: Vec<Finding>,
    pub(super) steps: u64,
    /// The latest reading of the wall clock so far. A client's reading may be reported late; the latest of
    /// all is a time that has certainly come.
    pub(super) wall_ms: Option<i64>,
    /// How many crashes did not keep buffered records.
    pub(super) crashes: u32,
    /// Deliveries in the whole history.
    pub(super) deliveries: u64,
    /// Acknowledged records that a crash may still take, and the events that acknowledged them.
    loose: VecDeque<(usize, usize)>,
    /// Transactions of which something was seen, and perhaps not everything.
    pub(super) partly_seen: Vec<usize>,
    /// Everything that is there is being listed, since this event.
    pub(super) listing_since: Option<usize>,
    /// Everything due at this time was published; listing what is there ends the history.
    pub(super) settled: Option<(usize, i64)>,
}

impl<'a> World<'a> {
    /// Reads through a history once, for what is the same at every point of it.
    pub(super) fn new(history: &'a History) -> World<'a> {
        let mut findings = Vec::new();
        let operations = Operations::new(history, &mut findings);
        let records = Records::new(history, &operations, &mut findings);
        let deliveries = |event: &Event| match event {
            Event::Complete { outcome: Outcome::Ok(Answer::Taken { deliveries, .. }), .. } => deliveries.len() as u64,
            _ => 0,
        };
        World {
            deliveries: history.events().iter().map(deliveries).sum(),
            history,
            operations,
            records,
            logs: Logs::default(),
            consumers: Consumers::default(),
            groups: Groups::default(),
            numbers: Numbers::default(),
            findings,
            steps: 3 * history.events().len() as u64,
            wall_ms: None,
            crashes: 0,
            loose: VecDeque::new(),
            partly_seen: Vec::new(),
            listing_since: None,
            settled: None,
        }
    }

    /// Walks over the history, then judges what can only be judged at its end.
    pub(super) fn judge(mut self) -> Report {
        for (index, event) in self.history.events().iter().enumerate() {
            self.steps += 1;
            match event {
                Event::Invoke { process, call, .. } => {
                    self.listing_ends(index);
                    self.invoked(index, *process, call);
                }
                Event::Complete { outcome, .. } => {
                    self.listing_ends(index);
                    self.completed(index, outcome);
                }
                Event::World { happening, .. } => self.happened(index, happening),
            }
        }
        self.listing_ends(self.history.events().len());
        self.judge_the_whole();
        self.judge_epochs();
        self.judge_cycles();
        let World { mut findings, steps, .. } = self;
        findings.sort();
        findings.dedup();
        Report { findings, steps }
    }

    fn invoked(&mut self, index: usize, process: u32, call: &Call) {
        match *call {
            Call::DeleteTopic { topic } => {
                self.logs.topics.entry(topic).or_default().delete_asked.get_or_insert(index);
            }
            Call::SetRetention { topic, bounded, finished } => {
                let topic = self.logs.topics.entry(topic).or_default();
                topic.is_bounded |= bounded;
                topic.drops_finished |= finished;
            }
            Call::DeleteRecords { topic, partition, before } => self.asks_to_truncate(topic, partition, before),
            Call::CreateTopic { topic, partitions, dead_letters_of } => {
                let topic = self.logs.topics.entry(topic).or_default();
                (topic.partitions, topic.dead_letters_of) = (partitions, dead_letters_of);
            }
            Call::Settle { group, lease, settling, transaction } => {
                self.settling(index, process, group, lease, settling, transaction.is_some());
            }
            Call::Leave { group, member } => self.leaving(group, member),
            Call::Redrive { group, value } => self.redriving(group, value),
            Call::CreateGroup { group, ordered, max_deliveries, dead_letters_kept } => {
                self.creating_group(group, ordered, max_deliveries, dead_letters_kept);
            }
            Call::DeleteGroup { group } => self.deleting_group(index, group),
            Call::ResetGroup { group, topic, partition } => self.resetting(index, (group, topic, partition)),
            Call::Close => drop(self.groups.closed.insert(self.groups.engine)),
            Call::AcknowledgePosition { group, topic, partition, position } => {
                self.acknowledging_position(group, topic, partition, position);
            }
            Call::AcknowledgedPosition { group, topic, partition } => {
                self.asking_position(index, group, topic, partition);
            }
            Call::Commit { transaction } => self.committing(index, transaction),
            Call::RollBack { transaction } => self.rolling_back(index, transaction),
            Call::Repeat { value, .. } => {
                if let Some(record) = self.records.find(value) {
                    self.records.all[record].repeated.get_or_insert(index);
                }
            }
            _ => {}
        }
    }

    fn completed(&mut self, index: usize, outcome: &Outcome) {
        let Some(invocation) = self.operations.invocation_of(index) else { return };
        let Event::Invoke { process, call, .. } = &self.history.events()[invocation] else { return };
        let process = *process;
        let Outcome::Ok(answer) = outcome else {
            return self.refused(invocation, index, call, outcome);
        };
        match (call, answer) {
            (Call::Send { value, .. } | Call::Repeat { value, .. }, answer) => {
                self.acknowledged(index, process, *value, answer);
                self.numbered(invocation, index, call, answer);
            }
            (Call::OpenProducer { producer, .. }, Answer::Opened { id, epoch }) => {
                self.opened(index, process, *producer, *id, *epoch);
            }
            (Call::LastSent { producer, topic, partition }, Answer::LastSent { sequence }) => {
                self.last_sent(invocation, index, *producer, (*topic, *partition), *sequence);
            }
            (Call::Sync, _) => self.synced(invocation, index),
            (Call::Close, _) => {
                self.synced(invocation, index);
                self.confirmed_all(invocation, index);
                self.consumers.clear();
                self.groups.engine_is_gone();
            }
            (Call::CreateTopic { topic, .. }, _) => self.logs.topics.entry(*topic).or_default().created = true,
            (Call::DeleteTopic { topic }, _) => {
                self.logs.topics.entry(*topic).or_default().deleted = Some(index);
            }
            (Call::Assign { topic, partition, from } | Call::Seek { topic, partition, from }, answer) => {
                self.positioned(process, (*topic, *partition), *from, answer);
            }
            (Call::DeleteRecords { topic, partition, .. }, Answer::Position { offset }) => {
                self.truncated(index, *topic, *partition, *offset);
            }
            (Call::Unassign { topic, partition }, _) => self.unassigned(process, *topic, *partition),
            (Call::Poll { .. }, Answer::Polled { reads, wall_ms }) => {
                self.polled(invocation, index, process, reads, *wall_ms);
            }
            (Call::Commit { transaction }, answer) => self.committed(index, process, *transaction, answer),
            (Call::Prepare { transaction }, _) => self.prepared(index, *transaction),
            (Call::Take { group, member }, Answer::Taken { deliveries, wall_ms }) => {
                let taking = Taking { invocation, index, process, group: *group, member: *member };
                self.taken(&taking, deliveries, *wall_ms);
            }
            (Call::Settle { group, lease, settling, transaction }, _) => {
                self.settled_lease(&SettledLease {
                    invocation,
                    index,
                    process,
                    group: *group,
                    number: *lease,
                    settling: *settling,
                    in_transaction: *transaction,
                });
            }
            (Call::Once { group, lease, token }, Answer::Token { seen }) => {
                let asked = Asked { invocation, index, process, group: *group, lease: *lease, token: *token };
                self.token_seen(&asked, *seen);
            }
            (Call::CreateGroup { group, .. }, _) => self.groups.made.entry(*group).or_default().created = true,
            (Call::DeleteGroup { group }, _) => self.groups.made.entry(*group).or_default().deleted = Some(index),
            (Call::ResetGroup { group, topic, partition }, Answer::Position { offset }) => {
                self.reset(invocation, index, (*group, *topic, *partition), Some(*offset));
            }
            (Call::Confirm { group, member }, _) => self.confirmed(invocation, index, *group, *member),
            (Call::AcknowledgePosition { group, topic, partition, position }, _) => {
                self.acknowledged_position(index, *group, *topic, *partition, *position);
            }
            (Call::AcknowledgedPosition { group, topic, partition }, Answer::Position { offset }) => {
                self.position_answered(invocation, index, process, (*group, *topic, *partition), *offset);
            }
            _ => {}
        }
    }

    /// A call was refused, or nobody knows.
    fn refused(&mut self, invocation: usize, index: usize, call: &Call, outcome: &Outcome) {
        if let (Call::Repeat { value, .. }, Outcome::Failed { code }) = (call, outcome) {
            self.repeat_refused(invocation, index, *value, code);
        }
        if let (Call::DeleteTopic { topic }, Outcome::Failed { code }) = (call, outcome)
            && code != "unknown-topic"
        {
            // It is there, and nobody's unknown attempt took it.
            self.logs.topics.entry(*topic).or_default().delete_asked = None;
        }
        if let (Call::Settle { group, lease, settling, transaction }, Outcome::Failed { code }) = (call, outcome) {
            let settling = (*settling, transaction.is_some());
            self.settling_refused((invocation, index), *group, *lease, settling, code);
        }
        if let Call::ResetGroup { group, topic, partition } = call {
            self.reset(invocation, index, (*group, *topic, *partition), None);
        }
    }

    fn happened(&mut self, index: usize, happening: &Happening) {
        if matches!(
            happening,
            Happening::Crash { .. } | Happening::Reopened | Happening::Settled { .. } | Happening::Shown { .. }
        ) {
            self.listing_ends(index);
        }
        match happening {
            Happening::Crash { keeps, .. } => self.crashed(index, *keeps),
            Happening::Reopened => self.listing_since = Some(index),
            Happening::Settled { wall_ms } => {
                self.listing_since = Some(index);
                self.settled = Some((index, *wall_ms));
            }
            Happening::Contents { topic, partition, first_offset, records, wall_ms } => {
                let contents = Contents {
                    topic: *topic,
                    partition: *partition,
                    first_offset: *first_offset,
                    records,
                    wall_ms: *wall_ms,
                };
                self.contents(index, &contents);
            }
            Happening::Origins { topic, partition, origins, missing } => {
                self.origins(index, (*topic, *partition), origins, missing);
            }
            Happening::Shown { topic, partition, first_offset, records, wall_ms } => {
                self.shown(index, (*topic, *partition), *first_offset, records, *wall_ms);
            }
            Happening::TopicMissing { topic } => self.topic_is_missing(index, *topic),
            Happening::Reported { topic, partition, first_offset, count, code } => {
                if code == "truncated" {
                    self.truncated(index, *topic, *partition, first_offset.saturating_add(*count));
                }
                let place = self.logs.partition(*topic, *partition);
                let end = first_offset.saturating_add(*count);
                self.logs.partitions[place].reported.push((*first_offset, end));
            }
            Happening::LeaseExpired { group, lease } => self.lease_expired(index, *group, *lease),
            Happening::DeadLettered { group, value } => self.dead_lettered(index, *group, *value),
            Happening::GroupContents { group, topic, partition, first_offset, pending, dead_lettered } => {
                let asked = (*group, *topic, *partition);
                self.group_contents(index, asked, *first_offset, pending, dead_lettered);
            }
            Happening::TransactionAt { transaction, state } => self.transaction_at(index, *transaction, *state),
            Happening::GroupThere { group } => self.group_there(index, *group),
            Happening::GroupMissing { group } => self.group_missing(index, *group),
            Happening::GroupAt { group, topic, partition, position } => {
                self.group_at(index, (*group, *topic, *partition), *position);
            }
            Happening::DeadLetter(letter) => self.dead_letter(index, letter),
            Happening::Drained { group, topic, partition } => self.drained(index, (*group, *topic, *partition)),
            Happening::OrderedGroup { group } => self.groups.ordered(*group),
        }
    }

    /// A send was acknowledged.
    fn acknowledged(&mut self, index: usize, process: u32, value: u64, answer: &Answer) {
        let Some(number) = self.records.find(value) else { return };
        let record = &mut self.records.all[number];
        let (topic, asked) = (record.topic, record.asked);
        let (partition, offset, durability) = match *answer {
            Answer::Receipt { partition, offset, durability, .. } => (Some(partition), offset, durability),
            _ => (None, None, asked),
        };
        if durability < asked {
            let message = format!("asked for {asked:?}, and the receipt says {durability:?}");
            let finding = Finding::new(index, Anomaly::WeakReceipt, message);
            self.findings.push(finding.of_value(value).by_process(Some(process)));
        }
        // What a transaction holds is promised by its commit.
        if record.transaction.is_none() {
            match durability {
                Durability::Synced => record.kept = true,
                Durability::Buffered => self.loose.push_back((index, number)),
            }
        }
        if let (Some(partition), Some(offset)) = (partition, offset) {
            let placed = Placed { topic, partition, offset, value };
            let witness = Witness::Receipt { durable: durability == Durability::Synced };
            self.saw(Sighting { index, process: Some(process), placed, witness, wall_ms: None });
        }
    }

    /// Everything that was acknowledged before an event is durable now.
    fn synced(&mut self, invocation: usize, index: usize) {
        while let Some((_, record)) = self.loose.pop_front_if(|(acknowledged, _)| *acknowledged < invocation) {
            self.steps += 1;
            self.bind_for_ever(index, record);
        }
    }

    /// What was acknowledged loosely is promised now.
    fn bind_for_ever(&mut self, index: usize, number: usize) {
        let record = &mut self.records.all[number];
        record.kept = true;
        if let Some((place, offset, _)) = record.loose_place.filter(|(_, _, until)| *until == self.crashes) {
            record.place.get_or_insert((place, offset));
            let partition = &mut self.logs.partitions[place];
            let slot = &mut partition.slots[usize::try_from(offset).expect("bound before")];
            if slot.bound.is_none() {
                (slot.bound, slot.since) = (Some(number), index);
            }
            partition.bound_end = partition.bound_end.max(offset + 1);
        }
    }

    fn crashed(&mut self, index: usize, keeps: Durability) {
        self.consumers.clear();
        self.groups.engine_is_gone();
        self.groups.resets_are_unknown(index);
        self.groups.forget_nacks();
        if keeps == Durability::Buffered {
            return self.synced(index, index);
        }
        for (_, number) in std::mem::take(&mut self.loose) {
            self.steps += 1;
            // A log is durable up to a point: what stands below a durable record is durable.
            let below = self.records.all[number]
                .loose_place
                .is_some_and(|(place, offset, _)| offset < self.logs.partitions[place].bound_end);
            if below {
                self.bind_for_ever(index, number);
            }
        }
        self.groups.crashed(self.crashes);
        self.crashes += 1;
    }
}

/// Judges a history.
pub(super) fn judge(history: &History) -> Report {
    World::new(history).judge()
}
