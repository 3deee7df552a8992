//! A message log that is right, in memory: it makes histories in which nothing is wrong.
//!
//! Calls overlap: each takes effect at some moment between its invocation and its completion, one
//! client's calls in their order. Crashes come at any moment; they take what was not durable, or a part.

use super::random::Random;
use ringlane_proof::history::*;
use std::collections::{BTreeMap, VecDeque};

pub const TOPIC: TopicNumber = 0;
pub const SHARED: GroupNumber = 9;
pub const ORDERED: GroupNumber = 8;
const PARTITIONS: u32 = 3;
const PROCESSES: u32 = 4;
const LEASE_MS: i64 = 200;

#[derive(Default)]
struct Log {
    values: Vec<Value>,
    /// Records below this are durable, and visible.
    durable: usize,
}

/// A call on its way.
struct Going {
    operation: u64,
    call: Call,
    /// Set when it took effect.
    outcome: Option<Outcome>,
}

#[derive(Clone, Default)]
struct Item {
    lease: Option<(LeaseNumber, i64)>,
    count: u32,
    acknowledged: bool,
    dead: bool,
}

#[derive(Default)]
struct Client {
    going: VecDeque<Going>,
    /// The partitions it reads, and the next offset of each.
    positions: BTreeMap<u32, u64>,
    transaction: Option<(TransactionNumber, Vec<(u32, Value)>)>,
    /// Leases it was given and has not used.
    leases: Vec<LeaseNumber>,
}

pub struct Model {
    random: Random,
    pub history: History,
    now_ns: u64,
    wall_ms: i64,
    next_value: Value,
    next_transaction: TransactionNumber,
    next_lease: LeaseNumber,
    logs: Vec<Log>,
    /// Due time, partition, value.
    withheld: Vec<(i64, u32, Value)>,
    /// Values that were sent with a delay.
    delayed: Vec<Value>,
    clients: Vec<Client>,
    /// The shared group reads partition 0.
    items: BTreeMap<usize, Item>,
    leases: BTreeMap<LeaseNumber, usize>,
    /// The acknowledged position of the ordered group in partition 1.
    position: u64,
}

impl Model {
    /// A history of about so many steps.
    pub fn history(seed: u64, steps: usize) -> History {
        let mut model = Model {
            random: Random(seed),
            history: History::new(),
            now_ns: 0,
            wall_ms: 1_000,
            next_value: 0,
            next_transaction: 0,
            next_lease: 0,
            logs: (0..PARTITIONS).map(|_| Log::default()).collect(),
            withheld: Vec::new(),
            delayed: Vec::new(),
            clients: (0..PROCESSES).map(|_| Client::default()).collect(),
            items: BTreeMap::new(),
            leases: BTreeMap::new(),
            position: 0,
        };
        let create = Call::CreateTopic { topic: TOPIC, partitions: PARTITIONS, dead_letters_of: None };
        let operation = model.history.invoke(0, 0, create);
        model.history.complete(0, operation, Outcome::done());
        for _ in 0..steps {
            model.step();
        }
        model.finish();
        model.history
    }

    fn step(&mut self) {
        self.now_ns += 1 + self.random.next() % 1000;
        self.wall_ms += self.random.below(4) as i64;
        self.publish_due();
        let client = self.random.below(PROCESSES as usize);
        match self.random.below(200) {
            0 => self.crash(),
            1..70 if self.clients[client].going.len() < 4 => self.invoke(client),
            1..140 => self.take_effect(client),
            _ => self.complete(client),
        }
    }

    fn publish_due(&mut self) {
        self.withheld.sort_unstable();
        while let Some((due_ms, partition, value)) = self.withheld.first().copied() {
            if due_ms > self.wall_ms {
                break;
            }
            self.withheld.remove(0);
            self.append(partition, value, true);
        }
    }

    fn append(&mut self, partition: u32, value: Value, durable: bool) -> u64 {
        let log = &mut self.logs[partition as usize];
        log.values.push(value);
        if durable {
            log.durable = log.values.len();
        }
        log.values.len() as u64 - 1
    }

    fn invoke(&mut self, process: usize) {
        let call = self.choose_call(process);
        let operation = self.history.invoke(self.now_ns, process as u32, call.clone());
        self.clients[process].going.push_back(Going { operation, call, outcome: None });
    }

    fn choose_call(&mut self, process: usize) -> Call {
        let partition = self.random.below(PARTITIONS as usize) as u32;
        let client = &mut self.clients[process];
        let consumer_idle = client.going.iter().all(|going| !is_of_consumer(&going.call));
        let group_idle = client.going.iter().all(|going| !is_of_group(&going.call));
        let in_order = client.going.iter().all(|going| !is_of_transaction(&going.call));
        match self.random.below(32) {
            0 => Call::Sync,
            1..3 if consumer_idle => {
                let from = match (self.random.below(3), client.positions.contains_key(&partition)) {
                    (0, _) => From::End,
                    _ => From::Beginning,
                };
                Call::Assign { topic: TOPIC, partition, from }
            }
            3..9 if consumer_idle && !client.positions.is_empty() => Call::Poll { transaction: None },
            9..11 => match self.random.pick(&self.delayed) {
                Some(value) => Call::Cancel { value: *value },
                None => Call::Sync,
            },
            11..16 if in_order => self.choose_in_transaction(process),
            16..18 if group_idle => Call::Take { group: SHARED, member: process as u32 },
            18..23 if group_idle && !client.leases.is_empty() => {
                let lease = client.leases.swap_remove(self.random.below(client.leases.len()));
                let settling = match self.random.below(7) {
                    0 => Settling::Nack { again_at_ms: 0 },
                    1 => Settling::Reject,
                    2 => Settling::Release,
                    3 => Settling::Extend { until_ms: self.wall_ms + LEASE_MS },
                    4 => Settling::AcknowledgeLater,
                    _ => Settling::Acknowledge,
                };
                if matches!(settling, Settling::Extend { .. }) {
                    client.leases.push(lease);
                }
                Call::Settle { group: SHARED, lease, settling, transaction: None }
            }
            23 => {
                let position = self.random.below(self.logs[1].durable + 1) as u64;
                Call::AcknowledgePosition { group: ORDERED, topic: TOPIC, partition: 1, position }
            }
            24 => Call::AcknowledgedPosition { group: ORDERED, topic: TOPIC, partition: 1 },
            _ => {
                let mut send = self.send(partition, None);
                let Call::Send { durability, visible_at_ms, value, .. } = &mut send else { unreachable!() };
                match self.random.below(6) {
                    0 => *durability = Durability::Buffered,
                    1 => {
                        *visible_at_ms = Some(self.wall_ms + self.random.below(60) as i64);
                        self.delayed.push(*value);
                    }
                    _ => {}
                }
                send
            }
        }
    }

    fn send(&mut self, partition: u32, transaction: Option<TransactionNumber>) -> Call {
        self.next_value += 1;
        Call::Send {
            topic: TOPIC,
            partition: Some(partition),
            value: self.next_value,
            durability: Durability::Synced,
            visible_at_ms: None,
            transaction,
            by: None,
        }
    }

    fn choose_in_transaction(&mut self, process: usize) -> Call {
        let Some((transaction, records)) = &self.clients[process].transaction else {
            self.next_transaction += 1;
            return Call::Begin { transaction: self.next_transaction };
        };
        let (transaction, count) = (*transaction, records.len());
        match self.random.below(6) {
            0 | 3 if count > 1 => Call::Commit { transaction },
            1 if count > 0 => Call::Prepare { transaction },
            2 if count > 3 => Call::RollBack { transaction },
            _ => {
                let partition = self.random.below(PARTITIONS as usize) as u32;
                self.send(partition, Some(transaction))
            }
        }
    }

    /// The first call of a client that has not taken effect does so now.
    fn take_effect(&mut self, process: usize) {
        let Some(at) = self.clients[process].going.iter().position(|going| going.outcome.is_none()) else { return };
        let call = self.clients[process].going[at].call.clone();
        let outcome = self.effect(process, call);
        self.clients[process].going[at].outcome = Some(outcome);
    }

    fn effect(&mut self, process: usize, call: Call) -> Outcome {
        let refused = |code: &str| Outcome::Failed { code: code.to_owned() };
        match call {
            Call::Send { partition: Some(partition), value, durability, visible_at_ms, transaction, .. } => {
                let offset = match (visible_at_ms, transaction) {
                    (_, Some(_)) => {
                        let (_, records) = self.clients[process].transaction.as_mut().expect("begun before");
                        records.push((partition, value));
                        None
                    }
                    (Some(due_ms), None) => {
                        self.withheld.push((due_ms, partition, value));
                        None
                    }
                    (None, None) => Some(self.append(partition, value, durability == Durability::Synced)),
                };
                Outcome::Ok(Answer::Receipt { partition, offset, durability, numbered: None })
            }
            Call::Cancel { value } => match self.withheld.iter().position(|(_, _, withheld)| *withheld == value) {
                Some(at) => {
                    self.withheld.remove(at);
                    Outcome::done()
                }
                None => refused("not-withheld"),
            },
            Call::Sync => {
                for log in &mut self.logs {
                    log.durable = log.values.len();
                }
                Outcome::done()
            }
            Call::Assign { partition, from, .. } => {
                let offset = if from == From::End { self.logs[partition as usize].durable as u64 } else { 0 };
                self.clients[process].positions.insert(partition, offset);
                Outcome::Ok(Answer::Position { offset })
            }
            Call::Poll { .. } => self.poll(process),
            Call::Begin { transaction } => {
                self.clients[process].transaction = Some((transaction, Vec::new()));
                Outcome::done()
            }
            Call::Commit { .. } => {
                let (_, records) = self.clients[process].transaction.take().expect("begun before");
                let place = |(partition, value): (u32, Value)| Placed {
                    topic: TOPIC,
                    partition,
                    offset: self.append(partition, value, true),
                    value,
                };
                let placed: Vec<_> = records.into_iter().map(place).collect();
                Outcome::Ok(if self.random.one_in(2) { Answer::Committed { placed } } else { Answer::Done })
            }
            Call::RollBack { .. } => {
                self.clients[process].transaction = None;
                Outcome::done()
            }
            Call::Take { .. } => self.take(process),
            Call::Settle { lease, settling, .. } => self.settle(lease, settling),
            Call::AcknowledgePosition { position, .. } => {
                self.position = self.position.max(position);
                Outcome::done()
            }
            Call::AcknowledgedPosition { .. } => Outcome::Ok(Answer::Position { offset: self.position }),
            _ => Outcome::done(),
        }
    }

    fn poll(&mut self, process: usize) -> Outcome {
        let mut reads = Vec::new();
        let mut room = 1 + self.random.below(6);
        for (partition, next) in &mut self.clients[process].positions {
            let log = &self.logs[*partition as usize];
            let end = log.durable.min(*next as usize + room);
            let records: Vec<_> = (*next as usize..end).map(|offset| (offset as u64, log.values[offset])).collect();
            room -= records.len();
            *next = end as u64;
            reads.push(Read { topic: TOPIC, partition: *partition, records });
        }
        Outcome::Ok(Answer::Polled { reads, wall_ms: Some(self.wall_ms) })
    }

    fn take(&mut self, process: usize) -> Outcome {
        let mut deliveries = Vec::new();
        for offset in 0..self.logs[0].durable {
            let item = self.items.entry(offset).or_default();
            let leased = item.lease.is_some_and(|(_, until_ms)| self.wall_ms < until_ms);
            if item.acknowledged || item.dead || leased || deliveries.len() == 3 || self.random.one_in(4) {
                continue;
            }
            self.next_lease += 1;
            let until_ms = self.wall_ms + LEASE_MS;
            item.lease = Some((self.next_lease, until_ms));
            item.count += 1;
            self.leases.insert(self.next_lease, offset);
            self.clients[process].leases.push(self.next_lease);
            let value = self.logs[0].values[offset];
            deliveries.push(Delivery {
                placed: Placed { topic: TOPIC, partition: 0, offset: offset as u64, value },
                lease: self.next_lease,
                delivery_count: item.count,
                until_ms: Some(until_ms),
                lease_ms: None,
            });
        }
        Outcome::Ok(Answer::Taken { deliveries, wall_ms: Some(self.wall_ms) })
    }

    fn settle(&mut self, lease: LeaseNumber, settling: Settling) -> Outcome {
        let item = self.items.get_mut(&self.leases[&lease]).expect("handed out before");
        let valid = item.lease.is_some_and(|(number, until_ms)| number == lease && self.wall_ms < until_ms);
        if !valid {
            return Outcome::Failed { code: "lease-lost".to_owned() };
        }
        match settling {
            Settling::Acknowledge | Settling::AcknowledgeLater => item.acknowledged = true,
            Settling::Reject => item.dead = true,
            Settling::Release | Settling::Nack { .. } => {}
            Settling::Prolong { .. } => unreachable!("the model's leases go by the wall clock"),
            Settling::Extend { until_ms } => {
                item.lease = Some((lease, until_ms));
                return Outcome::done();
            }
        }
        item.lease = None;
        Outcome::done()
    }

    /// A call that took effect comes back; they come in any order.
    fn complete(&mut self, process: usize) {
        let client = &mut self.clients[process];
        let done: Vec<_> = (0..client.going.len()).filter(|at| client.going[*at].outcome.is_some()).collect();
        if let Some(at) = self.random.pick(&done) {
            let Going { operation, outcome, .. } = client.going.remove(*at).expect("just seen");
            self.history.complete(self.now_ns, operation, outcome.expect("just seen"));
        }
    }

    fn crash(&mut self) {
        let kind = if self.random.one_in(2) { CrashKind::Kill } else { CrashKind::PowerLoss };
        self.history.happen(self.now_ns, Happening::Crash { kind, keeps: Durability::Synced });
        for log in &mut self.logs {
            let kept = log.durable + self.random.below(log.values.len() - log.durable + 1);
            log.values.truncate(kept);
            log.durable = kept;
        }
        for item in self.items.values_mut() {
            item.lease = None;
        }
        self.clients = (0..PROCESSES).map(|_| Client::default()).collect();
        self.history.happen(self.now_ns, Happening::Reopened);
        self.contents();
    }

    fn contents(&mut self) {
        for (partition, log) in self.logs.iter().enumerate() {
            let records = log.values.iter().enumerate().map(|(offset, value)| (offset as u64, *value)).collect();
            let contents = Happening::Contents {
                topic: TOPIC,
                partition: partition as u32,
                first_offset: 0,
                records,
                wall_ms: Some(self.wall_ms),
            };
            self.history.happen(self.now_ns, contents);
        }
        let of = |chosen: &dyn Fn(&Item) -> bool| {
            let item = |offset: &usize| self.items.get(offset).cloned().unwrap_or_default();
            let offsets = (0..self.logs[0].values.len()).filter(|offset| chosen(&item(offset)));
            offsets.map(|offset| self.logs[0].values[offset]).collect()
        };
        let group = Happening::GroupContents {
            group: SHARED,
            topic: TOPIC,
            partition: 0,
            first_offset: 0,
            pending: of(&|item| !item.acknowledged && !item.dead),
            dead_lettered: of(&|item| item.dead),
        };
        self.history.happen(self.now_ns, group);
    }

    /// Everything that goes on comes to an end, everything delayed is published, everything is read.
    fn finish(&mut self) {
        for process in 0..PROCESSES as usize {
            while !self.clients[process].going.is_empty() {
                self.take_effect(process);
                self.complete(process);
            }
        }
        self.wall_ms += 1_000;
        self.publish_due();
        for log in &mut self.logs {
            log.durable = log.values.len();
        }
        self.history.happen(self.now_ns, Happening::Settled { wall_ms: self.wall_ms });
        self.contents();
    }
}

fn is_of_consumer(call: &Call) -> bool {
    matches!(call, Call::Assign { .. } | Call::Poll { .. })
}

fn is_of_group(call: &Call) -> bool {
    matches!(call, Call::Take { .. } | Call::Settle { .. })
}

fn is_of_transaction(call: &Call) -> bool {
    matches!(
        call,
        Call::Begin { .. }
            | Call::Prepare { .. }
            | Call::Commit { .. }
            | Call::RollBack { .. }
            | Call::Send { transaction: Some(_), .. }
    )
}
