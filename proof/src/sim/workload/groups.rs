//! Consumer groups: they are created, sent elsewhere and deleted; members join them, take records, and end deliveries in
//! every way there is, or not at all.

use super::Operation;
use crate::history::{Answer, Call, Delivery, GroupNumber, LeaseNumber, Outcome, Placed, Settling, TokenSeen};
use crate::sim::client::Client;
use crate::sim::groups::{GROUPS, GroupPlan, dead_letters_name, group_name, look};
use crate::sim::payload::examine;
use crate::sim::random::Random;
use crate::sim::shape::{NAMES, ORIGINALS_MANY, Shape};
use crate::sim::shared::{Shared, topic_name};
use crate::witness::Cumulative;
use ringlane::{
    DeliveryId, Engine, Error, GroupConsumer, GroupKind, GroupOptions, MemberOptions, Once, Start, Transaction,
};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Processes of histories below are clients and names.
const PROCESS_OF_MEMBERS: u32 = 100_000;
/// Members of one client.
const MEMBERS_MAX: usize = 3;
const DELAY_MS_MAX: u64 = 3_000;
/// So few that they come again.
const TOKENS: u64 = 9;

/// A delivery that a member has, as far as it knows.
#[derive(Clone, Copy)]
struct Taken {
    number: LeaseNumber,
    id: DeliveryId,
    /// It lives until then at least, by the clock of the history.
    at_least_ns: u64,
}

/// A member of a group.
pub(crate) struct Held {
    group: GroupNumber,
    member: u32,
    consumer: GroupConsumer,
    lease_ms: u64,
    /// By topic, partition and offset.
    taken: BTreeMap<(u32, u32, u64), Taken>,
}

/// What is done with deliveries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// They were processed.
    Acknowledge,
    /// Whatever comes.
    Any(u64),
}

fn now_ns() -> u64 {
    crate::sim::scheduler::current().now_ns()
}

impl Held {
    /// Joins a group that is known to be there.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) fn join(
        engine: &Engine,
        shared: &Shared,
        group: GroupNumber,
        options: MemberOptions,
        lease_ms: u64,
    ) -> ringlane::Result<Held> {
        let name = shared.groups.borrow().plans[group as usize].name;
        let consumer = engine.join_group(&group_name(name), options)?;
        let member = shared.groups.borrow_mut().next_member();
        shared.count("members");
        Ok(Held { group, member, consumer, lease_ms, taken: BTreeMap::new() })
    }

    fn process(&self) -> u32 {
        PROCESS_OF_MEMBERS + self.member
    }

    /// Takes records; gives how many came.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) fn poll(&mut self, shared: &Shared, timeout: Duration) -> ringlane::Result<usize> {
        let (group, member, asked_ns) = (self.group, self.member, now_ns());
        let operation = shared.recorder.invoke(self.process(), Call::Take { group, member });
        let polled = match self.consumer.poll(timeout) {
            Ok(polled) => polled,
            Err(error) => {
                let outcome = shared.judge("taking", &error);
                shared.recorder.complete(operation, outcome);
                return Err(error);
            }
        };
        let mut deliveries = Vec::new();
        for delivery in &polled {
            let view = delivery.record;
            let value = examine(&view).unwrap_or_else(|text| {
                shared.violation(format!("{view:?}: {text}"));
                u64::MAX
            });
            let topic = shared.recorder.topic_of(value).unwrap_or(u32::MAX);
            let (partition, offset) = (view.partition(), view.offset());
            let number = shared.groups.borrow_mut().next_lease();
            let at_least_ns = asked_ns + self.lease_ms.saturating_sub(2) * 1_000_000;
            self.taken.insert((topic, partition, offset), Taken { number, id: delivery.id(), at_least_ns });
            let kind = if delivery.delivery_count > 1 { "deliveries once more" } else { "deliveries" };
            shared.count(kind);
            deliveries.push(Delivery {
                placed: Placed { topic, partition, offset, value },
                lease: number,
                delivery_count: delivery.delivery_count,
                until_ms: None,
                lease_ms: Some(self.lease_ms),
            });
        }
        let wall_ms = Some(shared.recorder.wall_max_ms());
        shared.recorder.complete(operation, Outcome::Ok(Answer::Taken { deliveries, wall_ms }));
        Ok(polled.len())
    }

    fn settle(
        &self,
        shared: &Shared,
        lease: LeaseNumber,
        settling: Settling,
        run: impl FnOnce(&GroupConsumer) -> ringlane::Result<()>,
    ) {
        let call = Call::Settle { group: self.group, lease, settling, transaction: None };
        let operation = shared.recorder.invoke(self.process(), call);
        let outcome = match run(&self.consumer) {
            Ok(()) => Outcome::done(),
            Err(error) => {
                if matches!(error, Error::LeaseLost { .. }) {
                    shared.count("leases that were lost");
                }
                shared.judge("ending a delivery", &error)
            }
        };
        shared.recorder.complete(operation, outcome);
    }

    /// Acknowledges some of what it has in a transaction.
    pub(super) fn settle_in(&mut self, shared: &Shared, number: u64, transaction: &mut Transaction, count_max: u64) {
        let keys: Vec<_> = self.taken.keys().copied().take(count_max as usize).collect();
        for key in keys {
            let Taken { number: lease, id, .. } = self.taken[&key];
            let settling = Settling::Acknowledge;
            let call = Call::Settle { group: self.group, lease, settling, transaction: Some(number) };
            let operation = shared.recorder.invoke(self.process(), call);
            let outcome = match transaction.ack(&self.consumer, id) {
                Ok(()) => {
                    shared.count("deliveries acknowledged in transactions");
                    Outcome::done()
                }
                Err(error) => shared.judge("acknowledging in a transaction", &error),
            };
            shared.recorder.complete(operation, outcome);
            self.taken.remove(&key);
        }
    }

    /// Asks whether the work was done; says whether it is to be acknowledged.
    fn once(&self, shared: &Shared, lease: LeaseNumber, id: DeliveryId, token: u64) -> bool {
        let operation = shared.recorder.invoke(self.process(), Call::Once { group: self.group, lease, token });
        let answered = self.consumer.once(id, &token.to_le_bytes());
        let (outcome, is_open) = match answered {
            Ok(once) => {
                let (seen, name) = match once {
                    Once::Fresh => (TokenSeen::Fresh, "tokens that were fresh"),
                    Once::Duplicate => (TokenSeen::Duplicate, "tokens that were used"),
                    Once::InProgress { .. } => (TokenSeen::InProgress, "tokens in progress"),
                };
                shared.count(name);
                (Outcome::Ok(Answer::Token { seen }), seen == TokenSeen::InProgress)
            }
            Err(error) => (shared.judge("asking for a token", &error), false),
        };
        shared.recorder.complete(operation, outcome);
        !is_open
    }

    /// Does something with everything that it has.
    pub(crate) fn settle_all(&mut self, shared: &Shared, manner: Manner) {
        let keys: Vec<_> = self.taken.keys().copied().collect();
        let mut random = Random::new(match manner {
            Manner::Acknowledge => 0,
            Manner::Any(seed) => seed,
        });
        // Out of order, now and then.
        let backwards = matches!(manner, Manner::Any(_)) && random.one_in(4);
        let keys: Vec<_> = if backwards { keys.into_iter().rev().collect() } else { keys };
        for key in keys {
            let choice = if matches!(manner, Manner::Acknowledge) { 0 } else { random.below(100) };
            if choice >= 85 {
                continue;
            }
            // An acknowledgement of many may have taken it.
            let Some(Taken { number, id, .. }) = self.taken.get(&key) else { continue };
            let (number, id) = (*number, *id);
            let asks = matches!(manner, Manner::Any(_)) && random.one_in(3);
            if asks && !self.once(shared, number, id, random.below(TOKENS)) {
                self.settle(shared, number, Settling::Release, |member| member.release(id));
                self.taken.remove(&key);
                continue;
            }
            match choice {
                0..45 => self.settle(shared, number, Settling::AcknowledgeLater, |member| member.ack(id)),
                45..50 => {
                    self.settle_through(shared, key);
                    continue;
                }
                50..64 => {
                    let longest_ms = random.skewed(DELAY_MS_MAX);
                    let delay_ms = *random.pick(&[None, None, Some(0), Some(longest_ms)]);
                    let delay = delay_ms.map(Duration::from_millis);
                    self.settle(shared, number, Settling::Nack { again_at_ms: 0 }, |member| member.nack(id, delay));
                }
                64..68 => self.settle(shared, number, Settling::Reject, |member| member.reject(id)),
                68..76 => self.settle(shared, number, Settling::Release, |member| member.release(id)),
                _ => {
                    let ms = 1 + random.skewed(2_000);
                    let asked_ns = now_ns();
                    self.settle(shared, number, Settling::Prolong { ms }, |member| {
                        member.extend(id, Duration::from_millis(ms))
                    });
                    if let Some(taken) = self.taken.get_mut(&key) {
                        taken.at_least_ns = asked_ns + ms.saturating_sub(2) * 1_000_000;
                    }
                    continue;
                }
            }
            self.taken.remove(&key);
        }
    }

    /// Acknowledges everything of a partition up to a record.
    fn settle_through(&mut self, shared: &Shared, key: (u32, u32, u64)) {
        let (topic, partition, offset) = key;
        let keys: Vec<_> =
            self.taken.range((topic, partition, 0)..=(topic, partition, offset)).map(|(key, _)| *key).collect();
        let settling = Settling::AcknowledgeLater;
        let operations: Vec<_> = keys
            .iter()
            .map(|key| {
                let call =
                    Call::Settle { group: self.group, lease: self.taken[key].number, settling, transaction: None };
                (shared.recorder.invoke(self.process(), call), self.taken[key].at_least_ns)
            })
            .collect();
        let result = self.consumer.ack_through(self.taken[&key].id);
        let cumulative = Cumulative::new(result, |error| shared.judge("acknowledging many", error));
        for (at, (operation, at_least_ns)) in keys.into_iter().zip(operations) {
            shared.recorder.complete(operation, cumulative.outcome(at == key, now_ns() < at_least_ns));
            if cumulative.ends(at == key) {
                self.taken.remove(&at);
            }
        }
    }

    /// Makes what it acknowledged durable.
    pub(crate) fn flush(&self, shared: &Shared) {
        let (group, member) = (self.group, self.member);
        let operation = shared.recorder.invoke(self.process(), Call::Confirm { group, member });
        let outcome = match self.consumer.flush() {
            Ok(()) => {
                shared.count("confirmations of a group's member");
                Outcome::done()
            }
            Err(error) => shared.judge("confirming", &error),
        };
        shared.recorder.complete(operation, outcome);
    }

    /// Leaves; or goes away without a word.
    pub(crate) fn leave(self, shared: &Shared, drops: bool) {
        let (group, member) = (self.group, self.member);
        let operation = shared.recorder.invoke(self.process(), Call::Leave { group, member });
        match drops {
            true => drop(self.consumer),
            false => self.consumer.close(),
        }
        shared.recorder.complete(operation, Outcome::done());
    }
}

/// What a client has of groups.
#[derive(Default)]
pub(crate) struct Members(Vec<Held>);

impl Members {
    /// Each of them.
    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Held> {
        self.0.iter_mut()
    }
}

/// All of a client's members leave.
pub(crate) fn leave_all(client: &mut Client, drops: bool) {
    for member in std::mem::take(&mut client.members.0) {
        member.leave(&client.shared, drops);
    }
}

/// What the director has clients do before the end of a run.
pub(crate) struct LeaveAll;

impl Operation for LeaveAll {
    fn run(&self, client: &mut Client) {
        leave_all(client, false);
    }
}

impl fmt::Display for LeaveAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("leave all groups")
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Create(GroupOptions),
    Delete,
    Reset { topic: usize, choice: u64, share: u64 },
    Join { lease_ms: u64, poll_max: usize, in_flight_max: u64 },
    Take { wait_ms: u64, manner: u64 },
    Settle { manner: u64 },
    Flush,
    Leave { drops: bool },
}

struct Group {
    name: usize,
    choice: u64,
    deed: Deed,
}

pub(super) fn one_in(shape: &Shape) -> u64 {
    if shape.groups { 2 } else { 0 }
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    let deed = match random.below(100) {
        0..12 => Deed::Create(any_options(random)),
        12..14 => Deed::Delete,
        14..18 => Deed::Reset { topic: super::any_name(random), choice: random.number(), share: random.below(130) },
        18..26 => join(random),
        26..66 => {
            Deed::Take { wait_ms: if random.one_in(2) { 0 } else { random.skewed(200) }, manner: random.number() }
        }
        66..84 => Deed::Settle { manner: random.number() },
        84..94 => Deed::Flush,
        _ => Deed::Leave { drops: random.one_in(2) },
    };
    Rc::new(Group { name: random.below(GROUPS as u64) as usize, choice: random.number(), deed })
}

fn join(random: &mut Random) -> Deed {
    Deed::Join {
        lease_ms: *random.pick(&[2, 30, 500, 30_000]),
        poll_max: *random.pick(&[1, 3, 20, 500]),
        in_flight_max: *random.pick(&[2, 10, 1_000]),
    }
}

fn any_options(random: &mut Random) -> GroupOptions {
    let mut options = if random.one_in(2) { GroupOptions::ordered() } else { GroupOptions::shared() };
    let first = random.below(NAMES as u64) as usize;
    for at in 0..random.between(1, NAMES as u64) as usize {
        let start = match random.below(8) {
            0 => Start::End,
            1 => Start::Offset(random.below(30)),
            _ => Start::Beginning,
        };
        options = options.topic(topic_name((first + at) % NAMES), start);
    }
    let delays = *random.pick(&[(0, 0), (0, 0), (1, 50), (200, 3_000)]);
    options
        .max_deliveries(*random.pick(&[1, 2, 3, 5]))
        .retry_delay(Duration::from_millis(delays.0), Duration::from_millis(delays.1))
        .unfinished_max(*random.pick(&[1, 5, 40, 100_000]))
        // The clock jumps, and nothing is to be forgotten.
        .inbox(10_000, Duration::from_secs(3650 * 24 * 3600))
}

impl Operation for Group {
    fn run(&self, client: &mut Client) {
        match &self.deed {
            Deed::Create(options) => self.create(client, options),
            Deed::Delete => self.delete(client),
            Deed::Reset { topic, choice, share } => self.reset(client, *topic, *choice, *share),
            Deed::Join { lease_ms, poll_max, in_flight_max } => {
                self.join(client, *lease_ms, *poll_max, *in_flight_max);
            }
            Deed::Take { wait_ms, manner } => {
                if client.members.0.is_empty() {
                    self.join(client, 500, 20, 1_000);
                }
                self.take(client, *wait_ms, *manner);
            }
            Deed::Settle { manner } => {
                let Some(at) = self.member(client) else { return };
                let shared = client.shared.clone();
                client.members.0[at].settle_all(&shared, Manner::Any(*manner));
            }
            Deed::Flush => {
                let Some(at) = self.member(client) else { return };
                client.members.0[at].flush(&client.shared);
            }
            Deed::Leave { drops } => {
                let Some(at) = self.member(client) else { return };
                client.members.0.remove(at).leave(&client.shared, *drops);
            }
        }
    }
}

impl Group {
    fn member(&self, client: &Client) -> Option<usize> {
        let count = client.members.0.len() as u64;
        (count > 0).then(|| (self.choice % count) as usize)
    }

    /// Takes the name for as long as its group is created or deleted.
    fn with_name(&self, client: &mut Client, change: impl FnOnce(&mut Client)) {
        let shared = client.shared.clone();
        if std::mem::replace(&mut shared.groups.borrow_mut().busy[self.name], true) {
            return;
        }
        change(client);
        shared.groups.borrow_mut().busy[self.name] = false;
    }

    /// The group of the name, if it is known to be there.
    fn known(&self, client: &Client) -> Option<GroupNumber> {
        let groups = client.shared.groups.borrow();
        groups.current[self.name].filter(|(_, known)| *known && !groups.busy[self.name]).map(|(group, _)| group)
    }

    fn create(&self, client: &mut Client, options: &GroupOptions) {
        self.with_name(client, |client| {
            let shared = client.shared.clone();
            let current = shared.groups.borrow().current[self.name];
            match current {
                Some((_, true)) => return,
                // Whether it is there nobody knows.
                Some((_, false)) => {
                    look(&client.engine, &shared, self.name);
                    return;
                }
                None => {}
            }
            // Topics that are not there are left out.
            let mut options = options.clone();
            options.topics.retain(|(topic, _)| client.engine.topic(topic).is_ok());
            if options.topics.is_empty() {
                return;
            }
            let group = shared.groups.borrow().plans.len() as u32;
            let options = options.dead_letter_topic(dead_letters_name(group));
            {
                let mut groups = shared.groups.borrow_mut();
                groups.plans.push(GroupPlan { name: self.name, options: options.clone() });
                groups.current[self.name] = Some((group, false));
            }
            let shape = &shared.plan.shape;
            let call = Call::CreateGroup {
                group,
                ordered: options.kind == GroupKind::Ordered,
                max_deliveries: options.max_deliveries,
                dead_letters_kept: !shape.drops_oldest() && shape.options.originals_max == ORIGINALS_MANY,
            };
            let operation = shared.recorder.invoke(client.process(6), call);
            let created = client.engine.create_group(&group_name(self.name), options);
            let outcome = match &created {
                Ok(()) => Outcome::done(),
                Err(error) => shared.judge("creating a group", error),
            };
            shared.recorder.complete(operation, outcome);
            if created.is_ok() {
                shared.count("groups");
            }
            look(&client.engine, &shared, self.name);
        });
    }

    fn delete(&self, client: &mut Client) {
        let Some(group) = self.known(client) else { return };
        self.with_name(client, |client| {
            let shared = client.shared.clone();
            let operation = shared.recorder.invoke(client.process(6), Call::DeleteGroup { group });
            let deleted = client.engine.delete_group(&group_name(self.name));
            let outcome = match &deleted {
                Ok(()) => Outcome::done(),
                Err(error) => shared.judge("deleting a group", error),
            };
            shared.recorder.complete(operation, outcome);
            let left = if deleted.is_ok() { None } else { Some((group, false)) };
            shared.groups.borrow_mut().current[self.name] = left;
            shared.count("deletions of groups");
        });
    }

    fn reset(&self, client: &mut Client, topic: usize, choice: u64, share: u64) {
        let Some(group) = self.known(client) else { return };
        let Some((number, handle)) = client.topic(topic) else { return };
        let shared = client.shared.clone();
        let reads = shared.groups.borrow().plans[group as usize]
            .options
            .topics
            .iter()
            .any(|(name, _)| *name == topic_name(topic));
        // Its group may read the topic that had the name before.
        if !reads || crate::sim::groups::is_changed(&shared, group, topic) {
            return;
        }
        let partition = (choice % u64::from(handle.partitions())) as u32;
        let Ok(info) = handle.partition_info(partition) else { return };
        let start = match share {
            0..20 => Start::Beginning,
            20..30 => Start::End,
            _ => Start::Offset(info.first_offset + (info.next_offset - info.first_offset) * (share - 30) / 100),
        };
        let call = Call::ResetGroup { group, topic: number, partition };
        let operation = shared.recorder.invoke(client.process(6), call);
        let outcome = match client.engine.reset_group(&group_name(self.name), &topic_name(topic), partition, start) {
            Ok(offset) => {
                shared.count("resets of groups");
                Outcome::Ok(Answer::Position { offset })
            }
            // The topic was created again, with more partitions; the group learns that when the engine is opened.
            Err(error) if error.code() == "invalid-argument" => Outcome::Failed { code: error.code().to_owned() },
            Err(error) => shared.judge("sending a group elsewhere", &error),
        };
        shared.recorder.complete(operation, outcome);
    }

    fn join(&self, client: &mut Client, lease_ms: u64, poll_max: usize, in_flight_max: u64) {
        if client.members.0.len() >= MEMBERS_MAX {
            return;
        }
        let Some(group) = self.known(client) else { return };
        let options = MemberOptions::new()
            .lease(Duration::from_millis(lease_ms))
            .max_poll_records(poll_max)
            .max_in_flight_records(in_flight_max);
        match Held::join(&client.engine, &client.shared, group, options, lease_ms) {
            Ok(member) => client.members.0.push(member),
            Err(error) => drop(client.shared.judge("joining a group", &error)),
        }
    }

    fn take(&self, client: &mut Client, wait_ms: u64, manner: u64) {
        let Some(at) = self.member(client) else { return };
        let shared = client.shared.clone();
        let member = &mut client.members.0[at];
        match member.poll(&shared, Duration::from_millis(wait_ms)) {
            Ok(_) => member.settle_all(&shared, Manner::Any(manner)),
            Err(Error::Truncated { .. }) => shared.count("members that were told of retention"),
            Err(Error::GroupDeleted { .. }) => client.members.0.remove(at).leave(&shared, true),
            Err(_) => {}
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:x}: {:?}", group_name(self.name), self.choice, self.deed)
    }
}
