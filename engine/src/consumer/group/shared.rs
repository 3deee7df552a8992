//! A group of an open engine: its partitions, its members, and who waits for what.
//!
//! Waiting without a stampede: of the waiting members of a shared group one watches the partitions; the others sleep.
//! Whoever has taken something, or stops watching, wakes the next one, which takes what is left or watches in its
//! turn. In an ordered group each member waits for its own partitions, so all watch. Threads and tasks wait in the same
//! way; only that a task is woken at a due time by the groups' thread.
//!
//! Invariants:
//! - While members sleep, one watches or is on its way.
//! - Locks are taken in this order: members, a partition's desk, a member's leases.

use super::MemberId;
use super::config::GroupOptions;
use super::held::{Ended, MemberShared};
use super::partition::GroupPartition;
use super::redrive::Marks;
use super::taken::{Cause, DeadLetter, GroupKind};
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::producer::{Producer, ProducerOptions, SendHandle};
use crate::record::{Header, Record};
use crate::sync::{Signal, lock};
use crate::topic::{Topic, TopicOptions};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// See the module.
pub(crate) struct GroupShared {
    pub(super) id: u32,
    pub(super) name: Arc<str>,
    pub(super) options: GroupOptions,
    pub(super) partitions: Vec<Arc<GroupPartition>>,
    members: Mutex<Members>,
    /// Moves when a partition grows, or records of it become available again.
    pub(super) arrivals: Arc<Signal>,
    waiting: Mutex<Waiting>,
    /// When tasks that watch are to be woken, by the wall clock, because a record is due; else `i64::MAX`. Threads see to
    /// it themselves.
    alarm_ms: AtomicI64,
    /// Records that go to the dead letters.
    dead: Mutex<VecDeque<Dying>>,
    /// Which dead letters were redriven. Held while that is done, before all other locks.
    pub(super) redriven: Mutex<Marks>,
    pub(super) deleted: AtomicBool,
}

/// Dead letters that are sent before the thread looks after everything else again.
const DEAD_LETTERS_MAX: usize = 256;

/// A record that goes to the dead letters: its partition, and under which count of resets it failed there.
struct Dying {
    partition: u32,
    resets: u64,
    dead_letter: DeadLetter,
}

#[derive(Default)]
struct Members {
    by_id: BTreeMap<MemberId, Arc<MemberShared>>,
    last_id: MemberId,
}

#[derive(Default)]
struct Waiting {
    watcher: Option<MemberId>,
    /// What it saw of the arrivals when it began to watch: when they have moved since, it should be on its way.
    seen: u32,
    /// It was on its way when the groups' thread last looked.
    suspect: Option<(MemberId, u32)>,
    sleepers: VecDeque<Arc<MemberShared>>,
}

/// How a member waits.
pub(super) enum Place {
    Watches,
    Sleeps,
}

impl GroupShared {
    pub(super) fn new(
        id: u32,
        name: &str,
        options: GroupOptions,
        partitions: Vec<Arc<GroupPartition>>,
        redriven: Marks,
    ) -> GroupShared {
        let arrivals = Arc::new(Signal::default());
        partitions.iter().for_each(|partition| partition.partition.watch(&arrivals));
        GroupShared {
            id,
            name: name.into(),
            options,
            partitions,
            members: Mutex::default(),
            arrivals,
            waiting: Mutex::default(),
            alarm_ms: AtomicI64::new(i64::MAX),
            dead: Mutex::default(),
            redriven: Mutex::new(redriven),
            deleted: AtomicBool::new(false),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.deleted.load(Ordering::Acquire) {
            true => Err(Error::GroupDeleted { name: self.name.to_string() }),
            false => Ok(()),
        }
    }

    // ----- members -----

    /// Lets somebody in.
    pub(super) fn join(&self, member: impl FnOnce(MemberId) -> MemberShared) -> Arc<MemberShared> {
        let mut members = lock(&self.members);
        let id = members.last_id + 1;
        members.last_id = id;
        let member = Arc::new(member(id));
        members.by_id.insert(id, member.clone());
        self.share_out(&members);
        drop(members);
        self.arrivals.notify();
        member
    }

    /// Lets somebody go; what it holds was given back before.
    pub(super) fn leave(&self, member: &MemberShared) {
        let mut members = lock(&self.members);
        members.by_id.remove(&member.id);
        self.share_out(&members);
        drop(members);
        self.partitions.iter().for_each(|partition| partition.member_left(member.id));
        self.end_waiting(member);
        self.pass_on();
        self.arrivals.notify();
    }

    /// The place of a partition in the group.
    pub(super) fn place_of(&self, topic: &str, partition: u32) -> Result<usize> {
        let is_it = |of: &Arc<GroupPartition>| of.partition.partition == partition && *of.partition.topic == *topic;
        self.partitions.iter().position(is_it).ok_or_else(|| Error::InvalidArgument {
            name: "partition",
            value: format!("{topic} {partition}"),
            reason: format!("group `{}` does not read it", self.name),
        })
    }

    pub(super) fn members(&self) -> Vec<Arc<MemberShared>> {
        lock(&self.members).by_id.values().cloned().collect()
    }

    /// Does something with all members, while none comes or goes.
    pub(super) fn with_members<T>(&self, run: impl FnOnce(&mut dyn Iterator<Item = &Arc<MemberShared>>) -> T) -> T {
        run(&mut lock(&self.members).by_id.values())
    }

    /// Ordered: each partition is wanted by one member, and the members have as many as each other. The caller notifies
    /// the arrivals.
    fn share_out(&self, members: &Members) {
        if self.options.kind != GroupKind::Ordered {
            return;
        }
        let ids: Vec<MemberId> = members.by_id.keys().copied().collect();
        for (at, partition) in self.partitions.iter().enumerate() {
            partition.want((!ids.is_empty()).then(|| ids[at % ids.len()]));
        }
    }

    // ----- waiting -----

    /// A member has found nothing since it saw this of the arrivals: how it waits. One that leaves something to others
    /// watches for itself, and not for them.
    pub(super) fn begin_waiting(&self, member: &Arc<MemberShared>, seen: u32, takes_everything: bool) -> Place {
        if self.options.kind == GroupKind::Ordered {
            return Place::Watches;
        }
        if !takes_everything {
            self.end_waiting(member);
            self.pass_on();
            return Place::Watches;
        }
        let mut waiting = lock(&self.waiting);
        match waiting.watcher {
            Some(watcher) if watcher != member.id => {
                if !waiting.sleepers.iter().any(|sleeper| sleeper.id == member.id) {
                    waiting.sleepers.push_back(member.clone());
                }
                Place::Sleeps
            }
            _ => {
                (waiting.watcher, waiting.seen) = (Some(member.id), seen);
                Place::Watches
            }
        }
    }

    /// It waits no more, for whatever reason: also not as the one that was just woken to watch.
    pub(super) fn end_waiting(&self, member: &MemberShared) {
        let mut waiting = lock(&self.waiting);
        waiting.sleepers.retain(|sleeper| sleeper.id != member.id);
        if waiting.watcher == Some(member.id) {
            waiting.watcher = None;
        }
    }

    /// Wakes the next one that sleeps, if there is somebody: it takes what is left, or watches.
    pub(super) fn pass_on(&self) {
        let mut waiting = lock(&self.waiting);
        if waiting.watcher.is_some() {
            return;
        }
        if let Some(next) = waiting.sleepers.pop_front() {
            // Its way to the partitions is the way of the watcher.
            (waiting.watcher, waiting.seen) = (Some(next.id), self.arrivals.look().wrapping_sub(1));
            drop(waiting);
            next.signal.notify();
        }
    }

    /// For the groups' thread, now and then: a watcher that was woken and did not come, perhaps a task that nobody polls,
    /// holds up those that sleep no longer than until the second look.
    pub(super) fn relieve_watcher(&self) {
        let mut waiting = lock(&self.waiting);
        let is_called = self.arrivals.look() != waiting.seen && !waiting.sleepers.is_empty();
        let suspect = waiting.watcher.filter(|_| is_called).map(|watcher| (watcher, waiting.seen));
        let before = std::mem::replace(&mut waiting.suspect, suspect);
        if suspect.is_some() && suspect == before {
            waiting.watcher = None;
            drop(waiting);
            self.pass_on();
        }
    }

    /// Tasks that watch are woken at this time at the latest; says whether that is earlier than it was.
    pub(super) fn set_alarm(&self, due_ms: i64) -> bool {
        self.alarm_ms.fetch_min(due_ms, Ordering::SeqCst) > due_ms
    }

    /// For the groups' thread: wakes the tasks whose time has come, or says when it comes. A task that is just about to
    /// set the alarm looked at the arrivals before that, so it sees that they moved.
    pub(super) fn ring_alarm(&self, now_ms: i64) -> Option<i64> {
        let due_ms = self.alarm_ms.load(Ordering::SeqCst);
        if due_ms > now_ms {
            return (due_ms < i64::MAX).then_some(due_ms);
        }
        self.alarm_ms.store(i64::MAX, Ordering::SeqCst);
        self.arrivals.notify();
        None
    }

    // ----- ends of deliveries -----

    /// Deliveries end unfinished.
    pub(super) fn end_all(&self, engine: &EngineInner, ended: Vec<Ended>, cause: Cause) {
        let now_ms = engine.groups.due_now_ms(engine);
        for Ended { resets, lease } in ended {
            let partition = &self.partitions[lease.partition as usize];
            let dead_letters = partition.give_back(resets, lease.offsets, cause, now_ms);
            self.arrivals.notify();
            self.bury(engine, lease.partition, resets, dead_letters);
        }
    }

    /// These go to the dead letters soon.
    pub(super) fn bury(&self, engine: &EngineInner, partition: u32, resets: u64, dead_letters: Vec<DeadLetter>) {
        if dead_letters.is_empty() {
            return;
        }
        let dying = |dead_letter| Dying { partition, resets, dead_letter };
        lock(&self.dead).extend(dead_letters.into_iter().map(dying));
        engine.groups.nudge();
    }

    pub(super) fn has_dead(&self) -> bool {
        !lock(&self.dead).is_empty()
    }

    /// Sends the records that failed for good to the dead letters, and finishes them when they are there. One that is
    /// sent again because nobody knows whether it arrived is not written twice: it has a message id.
    pub(super) fn send_dead_letters(&self, engine: &Arc<EngineInner>) {
        let dead: Vec<_> = {
            let mut dead = lock(&self.dead);
            let count = dead.len().min(DEAD_LETTERS_MAX);
            dead.drain(..count).collect()
        };
        let mut sent = Vec::new();
        // First their failures are durable: who has a dead letter is never handed out again, whatever happens.
        let mut synced = BTreeMap::new();
        for Dying { partition, resets, dead_letter } in dead {
            let partition = &self.partitions[partition as usize];
            if partition.resets() != resets {
                continue;
            }
            let lane = partition.partition.lane;
            if !*synced.entry(lane).or_insert_with(|| partition.sync().is_ok()) {
                partition.dead_letter_failed(dead_letter.offset);
                continue;
            }
            sent.push((partition, resets, dead_letter.offset, self.send_dead_letter(engine, partition, &dead_letter)));
        }
        // All of them behind few flushes.
        for (partition, resets, offset, handle) in sent {
            match handle.and_then(|handle| handle.map_or(Ok(()), |handle| handle.wait().map(drop))) {
                Ok(()) => {
                    partition.finish(resets, std::iter::once(offset..offset + 1));
                    self.arrivals.notify();
                }
                // It is told of again by the next one who takes from the partition.
                Err(_) => partition.dead_letter_failed(offset),
            }
        }
    }

    /// On its way; `None`: there is nothing to be sent.
    fn send_dead_letter(
        &self,
        engine: &Arc<EngineInner>,
        partition: &GroupPartition,
        dead_letter: &DeadLetter,
    ) -> Result<Option<SendHandle>> {
        let DeadLetter { offset, attempts } = *dead_letter;
        let records = match super::reading::read_one(&partition.partition, offset) {
            // Nothing is left of it to be sent.
            Err(Error::Truncated { .. }) => return Ok(None),
            records => records?,
        };
        let Some(record) = records.iter().next() else { return Ok(None) };
        // It may have been handed out when the engine was killed, as far as the log knows. Nobody wanted it.
        if self.options.filter.as_ref().is_some_and(|filter| !filter.matches(&record)) {
            return Ok(None);
        }
        let topic = self.dead_letter_topic(engine)?;
        let source = &partition.partition;
        let values = [
            ("ringlane.group", self.name.to_string()),
            ("ringlane.topic", source.topic.to_string()),
            ("ringlane.partition", source.partition.to_string()),
            ("ringlane.offset", offset.to_string()),
            ("ringlane.deliveries", attempts.deliveries.to_string()),
            ("ringlane.failures", attempts.failures.to_string()),
            ("ringlane.reason", attempts.reason.name().to_owned()),
        ];
        let cause = values.iter().map(|(name, value)| Header { name, value: value.as_bytes() });
        let headers: Vec<Header<'_>> = record.headers().chain(cause).collect();
        // The same record may die again after a reset or a redrive.
        let restarts = partition.restarts();
        let id = format!("dead/{}/{}/{offset}/{restarts}/{}", self.id, source.slot, attempts.deliveries);
        let dead = Record {
            key: record.key(),
            value: record.value(),
            headers: &headers,
            timestamp_ms: Some(record.timestamp_ms()),
            partition: Some(source.partition % topic.partitions()),
            message_id: Some(id.as_bytes()),
            ..Record::default()
        };
        let producer = Producer::new(engine.clone(), &ProducerOptions::new(), Default::default());
        producer.send(&topic, dead).map(Some)
    }

    /// The topic of the dead letters; made, where it is missing.
    fn dead_letter_topic(&self, engine: &Arc<EngineInner>) -> Result<Topic> {
        let name = self.options.dead_letters_of(&self.name);
        if let Some(shared) = engine.find_topic(&name) {
            return Ok(Topic { shared });
        }
        let widest = self.partitions.iter().map(|partition| partition.topic.partitions.len()).max();
        let partitions = widest.unwrap_or(1) as u32;
        match engine.create_topic(&name, TopicOptions::new().partitions(partitions)) {
            Err(Error::TopicExists { .. }) => {
                let shared = engine.find_topic(&name).ok_or(Error::UnknownTopic { name })?;
                Ok(Topic { shared })
            }
            created => created,
        }
    }

    /// Before the engine closes, when the group is deleted or sent elsewhere: its members learn it.
    pub(super) fn wake_all(&self) {
        self.arrivals.notify();
        self.members().iter().for_each(|member| member.signal.notify());
    }
}

impl Drop for GroupShared {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.partition.unwatch(&self.arrivals);
        }
    }
}
