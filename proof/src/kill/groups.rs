//! The part of a child that works a topic off in groups: one that many members share, and one that keeps the order while
//! members come and go.
//!
//! Invariants:
//! - Whoever joins a group knows where it is in each partition: that is in the history before.
//! - A group has the same number and the same options in all children of a log. Its creation is tried again until it is
//!   there.
//! - A member has one thread. So what it says of its deliveries has the order of its calls.

use super::child::{Witness, Work, Worker};
use super::message::{Lie, say_trouble};
use crate::history::{
    Answer, Call, DeadLetter, Delivery, GroupNumber, Happening, LeaseNumber, Outcome, Placed, Settling, TopicNumber,
};
use crate::witness::{Cumulative, cause_of, refusal, wall_ms};
use ringlane::{
    Acknowledger, ConsumerOptions, DeliveryId, Engine, Error, GroupConsumer, GroupInfo, GroupOptions, MemberOptions,
    Producer, RecordView, Start,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The topic that the groups work off.
pub(super) const TOPIC: &str = "work";
pub(super) const PARTITIONS: u32 = 3;

/// So many deliveries of a record may fail; each kill is a failure of all that may have been handed out.
const MAX_DELIVERIES: u32 = 8;
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// Nothing more is sent while a group has so much to do: the last child has to do it all.
const LAG_MAX: u64 = 400;
/// Polls of the last child that give nothing although something is left to do, of up to 20 ms: tells a hang from
/// slowness.
const DRAINS_MAX: u32 = 3_000;
const DRAINING: Duration = Duration::from_millis(20);
/// More than the records of one poll.
const LEASES_OF_A_POLL: u64 = 1 << 12;

/// A group of every log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    number: GroupNumber,
    name: &'static str,
    is_ordered: bool,
    /// Members at a time.
    pub(super) members: u64,
}

/// All of them.
pub(super) const GROUPS: [Group; 2] = [
    Group { number: 0, name: "shared", is_ordered: false, members: 8 },
    Group { number: 1, name: "ordered", is_ordered: true, members: 3 },
];

impl Group {
    fn options(self) -> GroupOptions {
        let options = if self.is_ordered { GroupOptions::ordered() } else { GroupOptions::shared() };
        let options = options.max_deliveries(MAX_DELIVERIES).retry_delay(RETRY_DELAY.0, RETRY_DELAY.1);
        options.topic(TOPIC, Start::Beginning)
    }

    /// Sees to it that it is there, and says how far it has come.
    pub(super) fn open(self, witness: &Witness, engine: &Engine, topic: TopicNumber) -> ringlane::Result<()> {
        if self.look(witness, engine, topic)? {
            return Ok(());
        }
        let (group, ordered) = (self.number, self.is_ordered);
        let call = Call::CreateGroup { group, ordered, max_deliveries: MAX_DELIVERIES, dead_letters_kept: true };
        witness.call(witness.next_process(), call, || engine.create_group(self.name, self.options()))?;
        self.look(witness, engine, topic).map(drop)
    }

    /// Says whether it is there, how far it has come, and what its dead letters are.
    fn look(self, witness: &Witness, engine: &Engine, topic: TopicNumber) -> ringlane::Result<bool> {
        let group = self.number;
        let info = match engine.describe_group(self.name) {
            Ok(info) => info,
            Err(Error::UnknownGroup { .. }) => {
                witness.happen(Happening::GroupMissing { group });
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        witness.happen(Happening::GroupThere { group });
        for of in &info.partitions {
            let (partition, position) = (of.partition, of.position);
            witness.happen(Happening::GroupAt { group, topic, partition, position });
        }
        self.read_dead_letters(witness, engine, topic, &info)?;
        Ok(true)
    }

    fn read_dead_letters(
        self,
        witness: &Witness,
        engine: &Engine,
        topic: TopicNumber,
        info: &GroupInfo,
    ) -> ringlane::Result<()> {
        let Ok(letters) = engine.topic(&info.dead_letter_topic) else { return Ok(()) };
        let mut consumer = engine.consumer(ConsumerOptions::new())?;
        consumer.assign_all(&letters, Start::Beginning)?;
        loop {
            let polled = consumer.poll(Duration::ZERO)?;
            if polled.is_empty() {
                return Ok(());
            }
            for view in &polled {
                match self.letter_of(witness, &view, topic) {
                    Ok(letter) => witness.happen(Happening::DeadLetter(letter)),
                    Err(text) => say_trouble(format!("dead letter {view:?}: {text}")),
                }
            }
        }
    }

    fn letter_of(self, witness: &Witness, view: &RecordView<'_>, topic: TopicNumber) -> Result<DeadLetter, String> {
        let cause = cause_of(view)?;
        if (&*cause.group, &*cause.topic) != (self.name, TOPIC) {
            return Err(format!("{cause:?} is no cause of group {}", self.name));
        }
        let value = witness.number(view.value(), view.topic(), view.offset());
        Ok(DeadLetter {
            group: self.number,
            placed: Placed { topic, partition: cause.partition, offset: cause.offset, value },
            stands_at: (view.partition(), view.offset()),
            deliveries: cause.deliveries,
            failures: cause.failures,
            reason: cause.reason,
        })
    }

    /// The last child of a log has it do everything that is left. Nobody else is at work.
    pub(super) fn drain(self, witness: &Witness, engine: &Engine, topic: TopicNumber) -> ringlane::Result<()> {
        if !self.look(witness, engine, topic)? {
            return Ok(());
        }
        let lease = Duration::from_secs(3600);
        let mut member = Member::join(self, witness, engine, topic, MemberOptions::new().lease(lease))?;
        let mut left = DRAINS_MAX;
        while member.poll(DRAINING)? > 0 || engine.describe_group(self.name)?.partitions.iter().any(|of| of.lag > 0) {
            left -= u32::from(member.taken.is_empty());
            if left == 0 {
                say_trouble(format!("there is always something left to do: {:?}", engine.describe_group(self.name)));
                break;
            }
            for place in member.places() {
                member.settle(place, Settling::AcknowledgeLater, Acknowledger::ack);
            }
        }
        member.flush()?;
        member.leave(false);
        self.look(witness, engine, topic)?;
        for partition in 0..PARTITIONS {
            witness.happen(Happening::Drained { group: self.number, topic, partition });
        }
        Ok(())
    }
}

/// Sends what the groups work off, until it is killed.
pub(super) fn feed(mut worker: Worker<'_>, producer: &Producer) -> Work {
    loop {
        let lags = worker.engine.groups().into_iter().flat_map(|group| group.partitions).map(|of| of.lag);
        if lags.sum::<u64>() >= LAG_MAX {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        if worker.random.below(8) == 0 {
            worker.send_delayed(producer)?;
        } else {
            worker.send_batch(producer)?;
        }
    }
}

/// Members of one thread, one after the other, until it is killed.
pub(super) fn work_off(mut worker: Worker<'_>, group: Group) -> Work {
    loop {
        let random = &mut worker.random;
        let options = MemberOptions::new()
            .lease(Duration::from_millis([10, 40, 2_000][random.below(3) as usize]))
            .max_poll_records([1, 3, 20][random.below(3) as usize])
            .max_in_flight_records([5, 1_000][random.below(2) as usize]);
        let polls = 1 + random.below(if group.is_ordered { 12 } else { 40 });
        let mut member = Member::join(group, worker.witness, worker.engine, worker.number, options)?;
        for _ in 0..polls {
            member.poll(Duration::from_millis(worker.random.below(15)))?;
            member.settle_any(&mut worker);
            if worker.random.below(3) == 0 {
                member.flush()?;
            }
        }
        member.leave(worker.random.below(2) == 0);
    }
}

/// A delivery that a member has, as far as it knows.
#[derive(Clone, Copy)]
struct Taken {
    lease: LeaseNumber,
    id: DeliveryId,
    /// It lives until then at least, by the clock of the history.
    at_least_ns: u64,
}

/// Partition and offset.
type At = (u32, u64);

/// A member of a group. Its number is that of its process.
struct Member<'a> {
    witness: &'a Witness,
    topic: TopicNumber,
    group: GroupNumber,
    process: u32,
    consumer: GroupConsumer,
    lease: Duration,
    taken: BTreeMap<At, Taken>,
}

impl<'a> Member<'a> {
    fn join(
        group: Group,
        witness: &'a Witness,
        engine: &Engine,
        topic: TopicNumber,
        options: MemberOptions,
    ) -> ringlane::Result<Member<'a>> {
        let lease = options.lease;
        let consumer = engine.join_group(group.name, options)?;
        let (group, process) = (group.number, witness.next_process());
        Ok(Member { witness, topic, group, process, consumer, lease, taken: BTreeMap::new() })
    }

    /// Since `asked_ns` something is held for so long.
    fn at_least_ns(asked_ns: u64, lease: Duration) -> u64 {
        asked_ns + (lease.as_nanos() as u64).saturating_sub(2_000_000)
    }

    /// Takes records; gives how many came.
    fn poll(&mut self, timeout: Duration) -> ringlane::Result<usize> {
        let asked_ns = self.witness.at_ns();
        let operation = self.witness.invoke(self.process, Call::Take { group: self.group, member: self.process });
        let polled = match self.consumer.poll(timeout) {
            Ok(polled) => polled,
            Err(error) => {
                self.witness.complete(operation, refusal(&error));
                return Err(error);
            }
        };
        let mut deliveries = Vec::new();
        for (delivery, lease) in polled.iter().zip(operation * LEASES_OF_A_POLL..) {
            let view = delivery.record;
            let (partition, offset) = (view.partition(), view.offset());
            let value = self.witness.number(view.value(), view.topic(), offset);
            let taken = Taken { lease, id: delivery.id(), at_least_ns: Member::at_least_ns(asked_ns, self.lease) };
            self.taken.insert((partition, offset), taken);
            deliveries.push(Delivery {
                placed: Placed { topic: self.topic, partition, offset, value },
                lease,
                delivery_count: delivery.delivery_count,
                until_ms: None,
                lease_ms: Some(self.lease.as_millis() as u64),
            });
        }
        self.witness.complete(operation, Outcome::Ok(Answer::Taken { deliveries, wall_ms: Some(wall_ms()) }));
        Ok(polled.len())
    }

    fn places(&self) -> Vec<At> {
        self.taken.keys().copied().collect()
    }

    /// Does something with everything that it has, or leaves it until its lease runs out.
    fn settle_any(&mut self, worker: &mut Worker<'_>) {
        for at in self.places() {
            // An acknowledgement of many may have taken it.
            if !self.taken.contains_key(&at) {
                continue;
            }
            match worker.random.below(100) {
                0..60 => self.settle(at, Settling::AcknowledgeLater, Acknowledger::ack),
                60..70 => self.settle_through(at),
                70..78 => {
                    let delay = [None, Some(Duration::ZERO), Some(Duration::from_millis(worker.random.below(10)))];
                    let delay = delay[worker.random.below(3) as usize];
                    self.settle(at, Settling::Nack { again_at_ms: 0 }, |member, id| member.nack(id, delay));
                }
                78..79 => self.settle(at, Settling::Reject, Acknowledger::reject),
                79..86 => self.settle(at, Settling::Release, Acknowledger::release),
                86..93 => self.prolong(at, 1 + worker.random.below(60)),
                _ => {}
            }
        }
    }

    fn settle(
        &mut self,
        at: At,
        settling: Settling,
        run: impl FnOnce(&Acknowledger, DeliveryId) -> ringlane::Result<()>,
    ) {
        let Some(Taken { lease, id, .. }) = self.taken.remove(&at) else { return };
        let call = Call::Settle { group: self.group, lease, settling, transaction: None };
        // That it came too late is an answer.
        let _ = self.witness.call(self.process, call, || run(&self.consumer, id));
    }

    fn prolong(&mut self, at: At, ms: u64) {
        let Some(taken) = self.taken.get(&at).copied() else { return };
        let (asked_ns, lease) = (self.witness.at_ns(), Duration::from_millis(ms));
        self.settle(at, Settling::Prolong { ms }, |member, id| member.extend(id, lease));
        self.taken.insert(at, Taken { at_least_ns: Member::at_least_ns(asked_ns, lease), ..taken });
    }

    /// Acknowledges everything of a partition up to a record.
    fn settle_through(&mut self, (partition, offset): At) {
        let up_to = (partition, 0)..=(partition, offset);
        let taken: Vec<_> = self.taken.range(up_to).map(|(at, taken)| (*at, *taken)).collect();
        let Some((_, Taken { id, .. })) = taken.last().copied() else { return };
        let settling = Settling::AcknowledgeLater;
        let invoke = |lease| {
            let call = Call::Settle { group: self.group, lease, settling, transaction: None };
            self.witness.invoke(self.process, call)
        };
        let operations: Vec<_> = taken.iter().map(|(_, taken)| (invoke(taken.lease), taken.at_least_ns)).collect();
        let cumulative = Cumulative::new(self.consumer.ack_through(id), refusal);
        let now_ns = self.witness.at_ns();
        for ((at, _), (operation, at_least_ns)) in taken.into_iter().zip(operations) {
            let is_named = at == (partition, offset);
            self.witness.complete(operation, cumulative.outcome(is_named, now_ns < at_least_ns));
            if cumulative.ends(is_named) {
                self.taken.remove(&at);
            }
        }
    }

    /// Makes what it acknowledged durable; or says so.
    fn flush(&self) -> ringlane::Result<()> {
        let call = Call::Confirm { group: self.group, member: self.process };
        let lies = self.witness.lies(Lie::Flushes);
        self.witness.call(self.process, call, || if lies { Ok(()) } else { self.consumer.flush() })
    }

    /// Leaves; or goes away without a word.
    fn leave(self, drops: bool) {
        let operation = self.witness.invoke(self.process, Call::Leave { group: self.group, member: self.process });
        match drops {
            true => drop(self.consumer),
            false => self.consumer.close(),
        }
        self.witness.complete(operation, Outcome::done());
    }
}
