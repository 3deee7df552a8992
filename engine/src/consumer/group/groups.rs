//! The groups of an open engine, and the thread that does what waits for nobody's poll.
//!
//! Invariants:
//! - A group is durable, and has begun in each of its partitions, before anybody can join it. In a topic that is created
//!   later under a name that it reads it begins with the topic, and its members read it from the next opening on.
//! - The thread flushes what was acknowledged and ends leases, for all members, every `ack_flush_interval_ms`; and sends
//!   dead letters. It wakes tasks that wait for a due time, or for a watcher that does not come.

use super::config::GroupOptions;
use super::desk::Desk;
use super::due_clock::DueClock;
use super::member::GroupConsumer;
use super::member_options::MemberOptions;
use super::partition::GroupPartition;
use super::redrive::{Redrive, Redriven};
use super::shared::GroupShared;
use super::taken::{GroupKind, Opening};
use super::transacting::HeldAck;
use crate::bounds::GROUPS_MAX;
use crate::consumer::consumer::{Start, resolve};
use crate::consumer::filter::Filter;
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::catalog::{Catalog, CatalogChange, GroupEntry};
use crate::lane::lost::Lost;
use crate::lane::progress::{Progress, ProgressChange, ProgressEntry};
use crate::lane::shared::Message;
use crate::partition::shared::{Partition, TopicShared};
use crate::sync::thread::{self, Thread};
use crate::sync::{Signal, lock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How far groups had come when the engine was opened, by group and slot.
pub(crate) type Found = BTreeMap<(u32, u32), FoundProgress>;

/// How far a group had come in a partition, and what it had lost there.
pub(crate) struct FoundProgress {
    pub(crate) progress: Progress,
    pub(crate) lost: Lost,
    /// What transactions that are prepared acknowledge: tokens and finished offsets.
    pub(crate) held: Vec<ProgressChange>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Groups {
    state: Mutex<State>,
    signal: Signal,
    stop: AtomicBool,
    thread: Mutex<Option<Thread>>,
    due_clock: DueClock,
}

#[derive(Default)]
struct State {
    by_name: BTreeMap<String, Arc<GroupShared>>,
    /// Those that have not begun in each partition, or that a newer library wrote.
    unfinished: BTreeMap<String, GroupEntry>,
    last_id: u32,
    found: Found,
    /// Where groups are to begin that nobody has seen begin yet, by group and slot: asked again, a lane is told the same.
    beginning: BTreeMap<(u32, u32), u64>,
    was_clean: bool,
}

/// A group, as [`Engine::groups`](crate::Engine::groups) lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// Its id; never used again.
    pub id: u32,
    /// Who is given what.
    pub kind: GroupKind,
    /// The topic of its dead letters.
    pub dead_letter_topic: String,
    /// Which records it wants; `None`: all.
    pub filter: Option<Filter>,
    /// Members now.
    pub members: usize,
    /// How far it has come.
    pub partitions: Vec<GroupPartitionInfo>,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GroupPartitionInfo {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// All records below are finished.
    pub position: u64,
    /// The partition's end.
    pub next_offset: u64,
    /// Records that are not finished.
    pub lag: u64,
    /// Of those, how many members hold now.
    pub in_flight: u64,
    /// And how many could be handed out now; the others wait for their time, or for their dead letter.
    pub available: u64,
    /// Records that the partition gave up before the group had finished them, since the group began.
    pub lost: u64,
}

impl Groups {
    /// Takes over what opening found. Groups that have begun everywhere can be joined at once.
    pub(crate) fn open(engine: &EngineInner, catalog: &Catalog, found: Found, was_clean: bool) {
        let mut state = lock(&engine.groups.state);
        state.last_id = catalog.last_group;
        (state.found, state.was_clean) = (found, was_clean);
        for entry in catalog.groups.values() {
            match GroupOptions::decode(entry).and_then(|options| build(engine, &mut state, entry, options)) {
                Some(group) => drop(state.by_name.insert(entry.name.clone(), Arc::new(group))),
                None => drop(state.unfinished.insert(entry.name.clone(), entry.clone())),
            }
        }
    }

    /// The time by which records that failed are due again.
    pub(super) fn due_now_ms(&self, engine: &EngineInner) -> i64 {
        self.due_clock.now_ms(&*engine.clock)
    }

    /// There is something to be done.
    pub(crate) fn nudge(&self) {
        self.signal.notify();
    }

    /// A transaction ends that held something of a group which nobody has joined since the engine was opened, and which is not
    /// built yet: it is built without.
    pub(super) fn let_go(engine: &EngineInner, ack: &HeldAck, is_finished: bool) {
        let mut state = lock(&engine.groups.state);
        let Some(found) = state.found.get_mut(&(ack.group, ack.slot)) else { return };
        let finish = ProgressChange::Finish { from: ack.offsets.start, to: ack.offsets.end };
        // Tokens that stand before it go with the next one that is held; or with it, if there is none.
        found.held.retain(|change| *change != finish);
        if !found.held.iter().any(|change| matches!(change, ProgressChange::Finish { .. })) {
            found.held.clear();
        }
        if is_finished {
            // As the lane has done it.
            let _ = found.progress.apply(&finish);
        }
    }

    /// A group that was begun everywhere.
    pub(super) fn find_by_id(engine: &EngineInner, id: u32) -> Option<Arc<GroupShared>> {
        lock(&engine.groups.state).by_name.values().find(|group| group.id == id).cloned()
    }

    fn find(engine: &EngineInner, name: &str) -> Result<Arc<GroupShared>> {
        let mut state = lock(&engine.groups.state);
        if let Some(group) = state.by_name.get(name) {
            return Ok(group.clone());
        }
        let entry = state.unfinished.get(name).cloned();
        let entry = entry.ok_or_else(|| Error::UnknownGroup { name: name.to_owned() })?;
        let options = GroupOptions::decode(&entry).ok_or_else(|| Error::InvalidArgument {
            name: "group",
            value: name.to_owned(),
            reason: "a newer library made it; use that".to_owned(),
        })?;
        let partitions = partitions_of(engine, &options);
        begin(engine, &mut state, entry.id, &partitions)?;
        let group = build(engine, &mut state, &entry, options).ok_or_else(|| changed_meanwhile(name))?;
        let group = Arc::new(group);
        state.unfinished.remove(name);
        state.by_name.insert(name.to_owned(), group.clone());
        Ok(group)
    }

    pub(crate) fn create(engine: &EngineInner, name: &str, options: GroupOptions) -> Result<()> {
        options.validate(name)?;
        let mut state = lock(&engine.groups.state);
        if state.by_name.contains_key(name) || state.unfinished.contains_key(name) {
            return Err(Error::GroupExists { name: name.to_owned() });
        }
        let count = state.by_name.len() + state.unfinished.len();
        if count >= GROUPS_MAX {
            let (count, count_max, advice) =
                (count as u64, GROUPS_MAX as u64, "delete groups that are not used any more");
            return Err(Error::TooMany { what: "groups", count, count_max, advice });
        }
        for (topic, _) in &options.topics {
            engine.find_topic(topic).ok_or_else(|| Error::UnknownTopic { name: topic.clone() })?;
        }
        // Spent, whatever the outcome.
        state.last_id += 1;
        let entry = GroupEntry { id: state.last_id, name: name.to_owned(), config: options.encode() };
        engine.change_catalog(CatalogChange::SetGroup(entry.clone()))?;
        state.unfinished.insert(name.to_owned(), entry.clone());
        let partitions = partitions_of(engine, &options);
        begin(engine, &mut state, entry.id, &partitions)?;
        let group = build(engine, &mut state, &entry, options).ok_or_else(|| changed_meanwhile(name))?;
        state.unfinished.remove(name);
        state.by_name.insert(name.to_owned(), Arc::new(group));
        Ok(())
    }

    /// A topic was created: groups that name it begin in it, so that retention gives up nothing that they have not read.
    pub(crate) fn topic_created(engine: &EngineInner, topic: &Arc<TopicShared>) {
        let mut state = lock(&engine.groups.state);
        let start_of = |options: &GroupOptions| options.topics.iter().find(|(name, _)| **name == *topic.name).cloned();
        let has_it = |group: &GroupShared| group.partitions.iter().any(|of| of.topic.id == topic.id);
        let built = state.by_name.values().filter(|group| !has_it(group));
        let built = built.filter_map(|group| Some((group.id, start_of(&group.options)?.1)));
        let unfinished = state.unfinished.values();
        let unfinished = unfinished.filter_map(|entry| Some((entry.id, start_of(&GroupOptions::decode(entry)?)?.1)));
        let all: Vec<(u32, Start)> = built.chain(unfinished).collect();
        for (group, start) in all {
            let its: Vec<_> = topic.partitions.iter().map(|of| (topic.clone(), of.clone(), start)).collect();
            // Where that fails the lane has it, and writes it when it can; or the engine stops, and it begins when it is
            // joined.
            let _ = begin(engine, &mut state, group, &its);
        }
    }

    pub(crate) fn delete(engine: &EngineInner, name: &str) -> Result<()> {
        let mut state = lock(&engine.groups.state);
        let id = match (state.by_name.get(name), state.unfinished.get(name)) {
            (Some(group), _) => group.id,
            (None, Some(entry)) => entry.id,
            (None, None) => return Err(Error::UnknownGroup { name: name.to_owned() }),
        };
        engine.change_catalog(CatalogChange::DeleteGroup { group: id })?;
        for lane in &engine.lanes[1..] {
            // A lane that broke down learns it from log 0 when it is opened again.
            let _ = lane.ask(|reply| Message::ForgetGroup { group: id, reply });
        }
        state.unfinished.remove(name);
        if let Some(group) = state.by_name.remove(name) {
            group.deleted.store(true, Ordering::Release);
            drop(state);
            group.wake_all();
        }
        Ok(())
    }

    pub(crate) fn join(engine: &Arc<EngineInner>, name: &str, options: MemberOptions) -> Result<GroupConsumer> {
        options.validate()?;
        let group = Self::find(engine, name)?;
        Self::start(engine)?;
        let member = GroupConsumer::new(engine.clone(), group, options);
        engine.groups.nudge();
        Ok(member)
    }

    pub(crate) fn describe(engine: &EngineInner, name: &str) -> Result<GroupInfo> {
        Ok(info(&*Self::find(engine, name)?))
    }

    pub(crate) fn list(engine: &EngineInner) -> Vec<GroupInfo> {
        lock(&engine.groups.state).by_name.values().map(|group| info(group)).collect()
    }

    /// Has a group go on elsewhere in a partition. What members hold of it is taken away.
    pub(crate) fn reset(engine: &EngineInner, name: &str, topic: &str, partition: u32, start: Start) -> Result<u64> {
        let group = Self::find(engine, name)?;
        let at = group.place_of(topic, partition)?;
        let of = &group.partitions[at];
        let offset = match resolve(&of.partition, start) {
            // What is no longer kept is what it begins behind.
            Err(Error::Truncated { to, .. }) => to,
            resolved => resolved?,
        };
        let reply = group
            .with_members(|members| of.reset(offset, || members.for_each(|member| member.take_back(at as u32))))?;
        // Whoever held something has room now.
        group.wake_all();
        reply.map_or(Ok(()), |reply| reply.wait_shared())?;
        Ok(offset)
    }

    pub(crate) fn redrive(engine: &EngineInner, name: &str, what: &Redrive) -> Result<Redriven> {
        Self::find(engine, name)?.redrive(engine, what)
    }

    /// Begins to note which dead letters of a partition a group has redriven: gives how far it is, which is nothing, and
    /// whether that is durable. `Err`: it was deleted.
    pub(super) fn begin_marks(
        engine: &EngineInner,
        group: &GroupShared,
        dead: &Partition,
    ) -> Result<(Result<()>, Progress)> {
        // A group that was deleted begins nowhere.
        let _state = lock(&engine.groups.state);
        group.check()?;
        let change = ProgressChange::BeginMarks { position: 0 };
        let entries = vec![ProgressEntry { group: group.id, slot: dead.slot, change }];
        let begun = engine.lanes[dead.lane as usize].ask(|reply| Message::Progress { entries, reply: Some(reply) });
        Ok((begun, Progress::begin_marks(0).expect("each partition has this offset")))
    }

    // ----- the thread -----

    fn start(engine: &Arc<EngineInner>) -> Result<()> {
        let mut held = lock(&engine.groups.thread);
        if held.is_some() || engine.groups.stop.load(Ordering::Acquire) {
            return Ok(());
        }
        let engine = engine.clone();
        let spawned = thread::spawn("ringlane-groups", move || run(&engine));
        *held = Some(spawned.map_err(|error| Error::io("start", "the groups' thread", None, &error))?);
        Ok(())
    }

    /// Before the lanes close: everything acknowledged goes into the log, and what is in flight is written down.
    pub(crate) fn close(engine: &EngineInner) {
        engine.groups.stop.store(true, Ordering::Release);
        engine.groups.signal.notify();
        if let Some(thread) = lock(&engine.groups.thread).take() {
            thread.join();
        }
        let groups: Vec<_> = lock(&engine.groups.state).by_name.values().cloned().collect();
        let now_ms = engine.groups.due_now_ms(engine);
        for group in groups {
            group.members().iter().for_each(|member| member.close(&group));
            group.partitions.iter().for_each(|partition| partition.close(now_ms));
            group.wake_all();
        }
    }
}

fn run(engine: &Arc<EngineInner>) {
    let groups = &engine.groups;
    let interval = Duration::from_millis(engine.options.ack_flush_interval_ms);
    let mut was_stopped = false;
    while !groups.stop.load(Ordering::Acquire) {
        let seen = groups.signal.look();
        let is_stopped = !was_stopped && engine.check_usable().is_err();
        let all: Vec<_> = lock(&groups.state).by_name.values().cloned().collect();
        let mut wait = Duration::from_secs(3600);
        let now_ms = groups.due_now_ms(engine);
        for group in all {
            for member in group.members() {
                wait = wait.min(interval);
                member.flush(&group);
                member.expire(&group, engine);
            }
            if group.has_dead() {
                group.send_dead_letters(engine);
                if group.has_dead() {
                    // The rest after what others wait for.
                    wait = Duration::ZERO;
                }
            }
            group.relieve_watcher();
            if let Some(due_ms) = group.ring_alarm(now_ms) {
                wait = wait.min(Duration::from_millis(due_ms.abs_diff(now_ms)));
            }
            if is_stopped {
                // Who waits learns why nothing comes any more.
                group.wake_all();
            }
        }
        was_stopped |= is_stopped;
        groups.signal.wait(seen, wait);
    }
}

/// A partition that a group reads, and where it begins there.
type Read = (Arc<TopicShared>, Arc<Partition>, Start);

/// The partitions that a group reads, each with where it begins there.
fn partitions_of(engine: &EngineInner, options: &GroupOptions) -> Vec<Read> {
    let mut all = Vec::new();
    for (topic, start) in &options.topics {
        // One that was deleted has nothing to be read.
        let Some(topic) = engine.find_topic(topic) else { continue };
        for partition in &topic.partitions {
            all.push((topic.clone(), partition.clone(), *start));
        }
    }
    all
}

/// A topic was deleted and created again between two looks.
fn changed_meanwhile(name: &str) -> Error {
    let reason = "a topic that it reads was created again just now; try again".to_owned();
    Error::InvalidArgument { name: "group", value: name.to_owned(), reason }
}

/// Begins a group in those of its partitions where it has not begun. Durable on return.
fn begin(engine: &EngineInner, state: &mut State, group: u32, partitions: &[Read]) -> Result<()> {
    let mut by_lane: BTreeMap<u32, Vec<ProgressEntry>> = BTreeMap::new();
    for (_, partition, start) in partitions {
        let key = (group, partition.slot);
        if state.found.contains_key(&key) {
            continue;
        }
        let position = match state.beginning.get(&key) {
            Some(position) => *position,
            None => match resolve(partition, *start) {
                Err(Error::Truncated { to, .. }) => to,
                resolved => resolved?,
            },
        };
        state.beginning.insert(key, position);
        let change = ProgressChange::Begin { position };
        let begun = ProgressEntry { group, slot: partition.slot, change };
        by_lane.entry(partition.lane).or_default().push(begun);
    }
    for (lane, entries) in by_lane {
        let begun = entries.clone();
        engine.lanes[lane as usize].ask(|reply| Message::Progress { entries, reply: Some(reply) })?;
        for ProgressEntry { group, slot, change } in begun {
            let ProgressChange::Begin { position } = change else { continue };
            let progress = Progress::begin(position).map_err(|reason| Error::InvalidArgument {
                name: "start",
                value: position.to_string(),
                reason: reason.to_owned(),
            })?;
            state.beginning.remove(&(group, slot));
            state.found.insert((group, slot), FoundProgress { progress, lost: Lost::default(), held: Vec::new() });
        }
    }
    Ok(())
}

/// The group as it was found; `None`: it has not begun everywhere.
fn build(engine: &EngineInner, state: &mut State, entry: &GroupEntry, options: GroupOptions) -> Option<GroupShared> {
    let partitions = partitions_of(engine, &options);
    if partitions.iter().any(|(_, partition, _)| !state.found.contains_key(&(entry.id, partition.slot))) {
        return None;
    }
    let desk_options = options.desk();
    let is_clean = state.was_clean;
    let built = partitions.into_iter().filter_map(|(topic, partition, _)| {
        let found = state.found.remove(&(entry.id, partition.slot))?;
        let next_offset = partition.index().next_offset;
        let desk = Desk::open(found.progress, desk_options, Opening { next_offset, is_clean });
        let lane = engine.lanes[partition.lane as usize].clone();
        let built = GroupPartition::new(entry.id, topic, partition, lane, desk, found.lost);
        built.hold(&found.held);
        Some(Arc::new(built))
    });
    let built: Vec<_> = built.collect();
    // What is left of the group's are the partitions of its dead letters.
    let dead: Vec<_> = state.found.range((entry.id, 0)..=(entry.id, u32::MAX)).map(|(key, _)| *key).collect();
    let redriven = dead.into_iter().filter_map(|key| Some((key.1, state.found.remove(&key)?.progress))).collect();
    Some(GroupShared::new(entry.id, &entry.name, options, built, redriven))
}

fn info(group: &GroupShared) -> GroupInfo {
    GroupInfo {
        name: group.name.to_string(),
        id: group.id,
        kind: group.options.kind,
        dead_letter_topic: group.options.dead_letters_of(&group.name),
        filter: group.options.filter.clone(),
        members: group.members().len(),
        partitions: group.partitions.iter().map(|partition| partition.info()).collect(),
    }
}
