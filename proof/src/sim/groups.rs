//! Consumer groups of a run: which there are, what can be seen of them after an opening, and that nothing is left of
//! them in the end.
//!
//! Invariants:
//! - Whoever joins a group knows where it begins in each partition: that is in the history before.
//! - A number is that of one group, for ever; its dead letters have a topic of their own.

use super::payload::examine_dead;
use super::shape::NAMES;
use super::shared::{Shared, topic_name};
use super::workload::groups::{Held, Manner};
use crate::history::{Call, DeadLetter, Event, GroupNumber, Happening, History, Outcome, Placed};
use crate::witness::cause_of;
use ringlane::{ConsumerOptions, Engine, Error, GroupInfo, GroupOptions, MemberOptions, RecordView, Start};
use std::collections::BTreeSet;
use std::time::Duration;

/// How many names of groups there are.
pub const GROUPS: usize = 2;
/// So often a group is polled that has nothing to give and is not done.
const DRAINS_MAX: u32 = 300;

/// A group that somebody tried to create.
#[derive(Clone)]
pub struct GroupPlan {
    /// Its name's number.
    pub name: usize,
    /// What it was created with.
    pub options: GroupOptions,
}

/// All groups of a run.
#[derive(Clone, Default)]
pub struct Registry {
    /// By number.
    pub plans: Vec<GroupPlan>,
    /// The group of each name, and whether it is known to be there.
    pub current: [Option<(GroupNumber, bool)>; GROUPS],
    /// Somebody creates or deletes it.
    pub busy: [bool; GROUPS],
    next_lease: u64,
    next_member: u32,
}

impl Registry {
    /// A number that no lease has.
    pub fn next_lease(&mut self) -> u64 {
        self.next_lease += 1;
        self.next_lease
    }

    /// A number that no member has.
    pub fn next_member(&mut self) -> u32 {
        self.next_member += 1;
        self.next_member
    }

    /// The groups that may be there after a history. No plan is forgotten.
    pub fn after(&self, history: &History) -> Registry {
        let mut current = [None; GROUPS];
        let mut deletions = std::collections::HashMap::new();
        let name_of = |group: GroupNumber| self.plans[group as usize].name;
        for event in history.events() {
            match event {
                Event::Invoke { call: Call::CreateGroup { group, .. }, .. } => {
                    current[name_of(*group)] = Some((*group, false));
                }
                Event::Invoke { operation, call: Call::DeleteGroup { group }, .. } => {
                    deletions.insert(*operation, *group);
                }
                Event::Complete { operation, outcome: Outcome::Ok(_), .. } => {
                    if let Some(group) = deletions.get(operation) {
                        current[name_of(*group)] = None;
                    }
                }
                Event::World { happening: Happening::GroupMissing { group }, .. } => current[name_of(*group)] = None,
                _ => {}
            }
        }
        Registry { current, busy: [false; GROUPS], ..self.clone() }
    }
}

/// The name of a group.
pub fn group_name(name: usize) -> String {
    format!("group-{name}")
}

/// The topic of a group's dead letters.
pub fn dead_letters_name(group: GroupNumber) -> String {
    format!("dead-{group}")
}

/// Who is to be asked about groups in this world.
fn is_of_concern(shared: &Shared) -> bool {
    shared.plan.shape.groups && !shared.allowed.get().damage
}

/// After an opening: writes down which groups are there, how far they came, and their dead letters.
pub fn list(engine: &Engine, shared: &Shared) {
    if !is_of_concern(shared) {
        return;
    }
    let before = shared.groups.borrow().after(&shared.recorder.history());
    *shared.groups.borrow_mut() = before;
    for name in 0..GROUPS {
        look(engine, shared, name);
        let current = shared.groups.borrow().current[name];
        if let Some((group, true)) = current {
            read_dead_letters(engine, shared, group);
        }
    }
}

/// Writes down whether the group of a name is there, and how far it came. Gives it if it is.
pub fn look(engine: &Engine, shared: &Shared, name: usize) -> Option<GroupNumber> {
    let current = shared.groups.borrow().current[name].map(|(group, _)| group);
    let described = engine.describe_group(&group_name(name));
    let (now, group) = match (described, current) {
        (Ok(info), Some(group)) => {
            shared.recorder.happen(Happening::GroupThere { group });
            positions(shared, group, &info);
            (Some((group, true)), Some(group))
        }
        (Ok(info), None) => {
            shared.violation(format!("{info:?} is there, and nobody created it"));
            (None, None)
        }
        (Err(Error::UnknownGroup { .. }), Some(group)) => {
            shared.recorder.happen(Happening::GroupMissing { group });
            (None, None)
        }
        (Err(Error::UnknownGroup { .. }), None) => (None, None),
        (Err(error), current) => {
            shared.judge("describing a group", &error);
            (current.map(|group| (group, false)), None)
        }
    };
    shared.groups.borrow_mut().current[name] = now;
    group
}

/// Names whose topics were deleted or created since the group was last looked up by the engine: it reads those that were.
fn changed_topics(shared: &Shared, group: GroupNumber) -> BTreeSet<String> {
    let names = shared.topic_names.borrow();
    let mut changed = BTreeSet::new();
    for event in shared.recorder.history().events() {
        match event {
            Event::World { happening: Happening::Reopened, .. } => changed.clear(),
            Event::Invoke { call: Call::CreateGroup { group: created, .. }, .. } if *created == group => {
                changed.clear()
            }
            Event::Invoke { call: Call::DeleteTopic { topic } | Call::CreateTopic { topic, .. }, .. } => {
                changed.insert(topic_name(names[*topic as usize]));
            }
            _ => {}
        }
    }
    changed
}

/// Whether a group may read another topic of a name than the one that has it.
pub fn is_changed(shared: &Shared, group: GroupNumber, name: usize) -> bool {
    changed_topics(shared, group).contains(&topic_name(name))
}

/// The partitions of a group whose topics are those of their names.
fn standing<'a>(
    shared: &Shared,
    group: GroupNumber,
    info: &'a GroupInfo,
) -> impl Iterator<Item = (u32, &'a ringlane::GroupPartitionInfo)> + use<'a> {
    let changed = changed_topics(shared, group);
    let numbers = shared.topics_after(&shared.recorder.history());
    info.partitions.iter().filter_map(move |of| {
        let name = (0..NAMES).find(|name| topic_name(*name) == of.topic)?;
        numbers[name].filter(|_| !changed.contains(&of.topic)).map(|number| (number, of))
    })
}

fn positions(shared: &Shared, group: GroupNumber, info: &GroupInfo) {
    for (topic, of) in standing(shared, group, info) {
        let (partition, position) = (of.partition, of.position);
        shared.recorder.happen(Happening::GroupAt { group, topic, partition, position });
    }
}

// ----- dead letters -----

fn read_dead_letters(engine: &Engine, shared: &Shared, group: GroupNumber) {
    let Ok(topic) = engine.topic(&dead_letters_name(group)) else { return };
    for partition in 0..topic.partitions() {
        let read = || -> ringlane::Result<()> {
            let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(1_000))?;
            consumer.assign(&topic, partition, Start::Beginning)?;
            loop {
                let polled = consumer.poll(Duration::ZERO)?;
                if polled.is_empty() {
                    return Ok(());
                }
                for view in &polled {
                    match letter_of(shared, group, &view) {
                        Ok(letter) => {
                            shared.count("looks at dead letters");
                            shared.recorder.happen(Happening::DeadLetter(letter));
                        }
                        Err(text) => shared.violation(format!("dead letter {view:?}: {text}")),
                    }
                }
            }
        };
        if let Err(error) = read() {
            shared.judge("reading dead letters", &error);
        }
    }
}

fn letter_of(shared: &Shared, group: GroupNumber, view: &RecordView<'_>) -> Result<DeadLetter, String> {
    let value = examine_dead(view)?;
    let cause = cause_of(view)?;
    let name = shared.groups.borrow().plans[group as usize].name;
    if cause.group != group_name(name) {
        return Err(format!("it is of group {}", cause.group));
    }
    let topic = shared.recorder.topic_of(value).ok_or("it was never sent")?;
    if cause.topic != topic_name(shared.topic_names.borrow()[topic as usize]) {
        return Err(format!("it was sent to topic {topic}"));
    }
    Ok(DeadLetter {
        group,
        placed: Placed { topic, partition: cause.partition, offset: cause.offset, value },
        stands_at: (view.partition(), view.offset()),
        deliveries: cause.deliveries,
        failures: cause.failures,
        reason: cause.reason,
    })
}

// ----- the end -----

/// Everything that groups have still to do is done. All other members have left.
pub fn drain(engine: &Engine, shared: &Shared) {
    if !is_of_concern(shared) {
        return;
    }
    for name in 0..GROUPS {
        if shared.recorder.is_silent() {
            return;
        }
        if let Some(group) = look(engine, shared, name)
            && let Err(error) = drain_one(engine, shared, name, group)
        {
            shared.judge("finishing what a group has to do", &error);
        }
    }
}

fn drain_one(engine: &Engine, shared: &Shared, name: usize, group: GroupNumber) -> ringlane::Result<()> {
    let lease_ms = 3_600_000;
    let options = MemberOptions::new().lease(Duration::from_millis(lease_ms)).max_in_flight_records(1 << 20);
    let mut member = Held::join(engine, shared, group, options, lease_ms)?;
    let mut left = DRAINS_MAX;
    let is_done = loop {
        match member.poll(shared, Duration::ZERO) {
            Err(Error::Truncated { .. }) => continue,
            Err(error) => {
                member.leave(shared, false);
                return Err(error);
            }
            Ok(0) => {
                let info = engine.describe_group(&group_name(name))?;
                if standing(shared, group, &info).all(|(_, of)| of.lag == 0) {
                    break true;
                }
                left -= 1;
                if left == 0 || shared.recorder.is_silent() {
                    // Where the disk is bounded there may be no room for dead letters, for ever.
                    if shared.plan.shape.bounds_disk() {
                        shared.count("groups that want room for dead letters");
                    } else if !shared.recorder.is_silent() {
                        shared.violation(format!("there is always something left to do: {info:?}"));
                    }
                    break false;
                }
                // What failed waits for its time, and what failed for good for its place among the dead letters.
                shared.recorder.jump(5_000);
                super::scheduler::current().sleep(20_000_000, "a group");
            }
            Ok(_) => member.settle_all(shared, Manner::Acknowledge),
        }
        shared.recorder.progress();
    };
    member.flush(shared);
    member.leave(shared, false);
    read_dead_letters(engine, shared, group);
    if !is_done || shared.recorder.is_silent() {
        return Ok(());
    }
    shared.count("groups that were done");
    let info = engine.describe_group(&group_name(name))?;
    for (topic, of) in standing(shared, group, &info) {
        let partition = of.partition;
        let first_offset = engine
            .topic(&of.topic)
            .and_then(|topic| topic.partition_info(partition))
            .map_or(0, |info| info.first_offset);
        if first_offset > 0 {
            shared.recorder.happen(Happening::truncated(topic, partition, first_offset));
        }
        shared.recorder.happen(Happening::Drained { group, topic, partition });
    }
    Ok(())
}
