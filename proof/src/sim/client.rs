//! A client: a thread of the application, with its producers, its consumer and what it has in flight.
//!
//! Invariants:
//! - It does its operations one after another; only what it sends may be in flight beside them.
//! - Every call is in the history before it is made, and its outcome when it is known.

use super::machine::Machine;
use super::payload::{Payload, examine};
use super::plan::Step;
use super::scheduler;
use super::shared::{Delayed, Shared, topic_name};
use super::workload::{groups, named};
use crate::history::{self, Answer, Call, Outcome, Read};
use crate::witness::numbered_of;
use ringlane::{
    BatchHandle, Consumer, ConsumerOptions, Durability, Engine, Error, Producer, ProducerOptions, Receipt, SendHandle,
    Topic,
};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// What a client may have in flight.
const PENDING_MAX: usize = 40;
/// A call that takes longer, in simulated ns, was forgotten by somebody.
const CALL_NS_MAX: u64 = 30_000_000_000;

/// A send that has no outcome yet.
pub struct Pending {
    /// The operations, and the delayed records among them.
    pub operations: Vec<(u64, u64, bool)>,
    /// Where the outcome comes from.
    pub handle: Handle,
    /// What was asked for.
    pub durability: Durability,
}

impl Pending {
    /// Whether the outcome is known.
    pub fn is_done(&self) -> bool {
        match &self.handle {
            Handle::One(handle) => handle.is_done(),
            Handle::Many(handle) => handle.is_done(),
            Handle::Called(slot) => super::lock(slot).is_some(),
        }
    }
}

/// Where an outcome comes from.
pub enum Handle {
    /// A handle of one record.
    One(SendHandle),
    /// A handle of many.
    Many(BatchHandle),
    /// A callback that was registered.
    Called(Arc<Mutex<Option<ringlane::Result<Receipt>>>>),
}

/// A client's consumer and what it reads: name, number and handle of each topic, and partitions.
#[derive(Default)]
pub struct Reader {
    /// The consumer, once there is one.
    pub consumer: Option<Consumer>,
    /// What is assigned, by name and partition: the topic's number.
    pub assigned: BTreeMap<(usize, u32), (u32, Topic)>,
}

/// See the module.
pub struct Client {
    /// Its number, from 0.
    pub number: usize,
    /// What all share.
    pub shared: Rc<Shared>,
    /// The machine it runs on.
    pub machine: Arc<Machine>,
    /// The engine.
    pub engine: Engine,
    /// Synced and buffered.
    producers: [Option<Producer>; 2],
    /// What it reads with.
    pub reader: Reader,
    /// What it has in flight.
    pub pending: VecDeque<Pending>,
    /// The numbers of topics by name, as this life knows them.
    pub topics: super::director::Topics,
    /// What it sends under names.
    pub names: named::Names,
    /// Its members of groups.
    pub(crate) members: groups::Members,
}

/// Operations handed from the director to a client.
#[derive(Default)]
pub struct Inbox {
    /// What is to be done.
    pub steps: VecDeque<Step>,
    /// Nothing more comes.
    pub over: bool,
    /// It does something now.
    pub busy: bool,
}

impl Client {
    /// A client of an engine that was just opened.
    pub fn new(
        number: usize,
        shared: Rc<Shared>,
        machine: Arc<Machine>,
        engine: Engine,
        topics: super::director::Topics,
    ) -> Client {
        Client {
            number,
            shared,
            machine,
            engine,
            producers: [None, None],
            reader: Reader::default(),
            pending: VecDeque::new(),
            topics,
            names: named::Names::default(),
            members: groups::Members::default(),
        }
    }

    /// Does what comes until nothing more does.
    pub fn run(mut self, inbox: &Rc<std::cell::RefCell<Inbox>>) {
        loop {
            let step = {
                let mut inbox = inbox.borrow_mut();
                // What it did last has come to its end.
                inbox.busy = !inbox.steps.is_empty();
                if inbox.over && inbox.steps.is_empty() {
                    break;
                }
                inbox.steps.pop_front()
            };
            match step {
                Some(step) => {
                    let begun_ns = scheduler::current().now_ns();
                    step.operation.run(&mut self);
                    let took_ns = scheduler::current().now_ns() - begun_ns;
                    if took_ns > CALL_NS_MAX {
                        let text =
                            format!("step {} ({}) took {} s", step.number, step.operation, took_ns / 1_000_000_000);
                        self.shared.violation(text);
                    }
                    self.harvest();
                }
                None => scheduler::current().park(None, "something to do"),
            }
        }
        self.settle_all();
        groups::leave_all(&mut self, true);
    }

    /// The process of this client in the history that does something.
    pub fn process(&self, role: u32) -> u32 {
        self.number as u32 * 10 + role
    }

    /// The producer of a durability.
    pub fn producer(&mut self, durability: Durability) -> Option<(Producer, u32)> {
        let at = usize::from(durability == Durability::Buffered);
        if self.producers[at].is_none() {
            match self.engine.producer(ProducerOptions::new().durability(durability)) {
                Ok(producer) => self.producers[at] = Some(producer),
                Err(error) => {
                    self.shared.judge("making a producer", &error);
                    return None;
                }
            }
        }
        Some((self.producers[at].clone()?, self.process(at as u32)))
    }

    /// A topic by its name's number, with its own number.
    pub fn topic(&self, name: usize) -> Option<(u32, Topic)> {
        let number = self.topics.borrow()[name]?;
        match self.engine.topic(&topic_name(name)) {
            Ok(topic) => Some((number, topic)),
            // Somebody deletes it just now.
            Err(Error::UnknownTopic { .. }) => None,
            Err(error) => {
                self.shared.judge("looking for a topic", &error);
                None
            }
        }
    }

    /// Writes a send into the history. Gives the operation.
    pub fn invoke_send(
        &self,
        process: u32,
        topic: u32,
        partition: Option<u32>,
        payload: &Payload,
        durability: Durability,
        due_ms: Option<i64>,
    ) -> u64 {
        if let Some(due_ms) = due_ms {
            self.shared.due_max_ms.set(self.shared.due_max_ms.get().max(due_ms));
        }
        self.shared.recorder.invoke(
            process,
            Call::Send {
                topic,
                partition,
                value: payload.number,
                durability: durability_of(durability),
                visible_at_ms: due_ms,
                transaction: None,
                by: None,
            },
        )
    }

    /// Keeps what was sent until its outcome is known; waits for the oldest if there are too many.
    pub fn keep(&mut self, pending: Pending) {
        self.pending.push_back(pending);
        while self.pending.len() > PENDING_MAX {
            self.settle_first();
        }
    }

    /// Writes down the outcomes that are known by now.
    pub fn harvest(&mut self) {
        let mut left = VecDeque::new();
        for pending in std::mem::take(&mut self.pending) {
            if pending.is_done() { self.settle(pending) } else { left.push_back(pending) }
        }
        self.pending = left;
        named::harvest(self);
    }

    /// Waits for the oldest of what is in flight.
    pub fn settle_first(&mut self) {
        if let Some(pending) = self.pending.pop_front() {
            self.settle(pending);
        }
    }

    /// Waits for everything that is in flight.
    pub fn settle_all(&mut self) {
        while !self.pending.is_empty() {
            self.settle_first();
        }
        named::settle(self);
    }

    fn settle(&mut self, pending: Pending) {
        match pending.handle {
            Handle::One(handle) => self.settled(&pending.operations, handle.wait().map(|receipt| vec![receipt])),
            Handle::Many(handle) => self.settled(&pending.operations, handle.wait()),
            Handle::Called(slot) => {
                let result = loop {
                    if let Some(result) = super::lock(&slot).take() {
                        break result;
                    }
                    scheduler::current().sleep(50_000, "a callback");
                    if self.shared.recorder.is_silent() && self.machine.is_dead() && self.waited_too_long() {
                        return;
                    }
                };
                self.settled(&pending.operations, result.map(|receipt| vec![receipt]));
            }
        }
    }

    fn waited_too_long(&self) -> bool {
        scheduler::current().now_ns() > self.shared.recorder.progress_ns() + CALL_NS_MAX
    }

    /// Writes down how sends ended.
    pub fn settled(&self, operations: &[(u64, u64, bool)], result: ringlane::Result<Vec<Receipt>>) {
        match result {
            Ok(receipts) => {
                if receipts.len() != operations.len() {
                    self.shared.violation(format!("{} receipts for {} records", receipts.len(), operations.len()));
                }
                for ((operation, value, delayed), receipt) in operations.iter().zip(receipts) {
                    if *delayed {
                        self.shared.delayed.borrow_mut().push(Delayed { value: *value, id: receipt.id });
                    }
                    let answer = Answer::Receipt {
                        partition: receipt.partition,
                        offset: receipt.offset,
                        durability: durability_of(receipt.durability),
                        numbered: numbered_of(&receipt),
                    };
                    self.shared.recorder.complete(*operation, Outcome::Ok(answer));
                }
            }
            Err(error) => {
                let outcome = self.shared.judge("sending", &error);
                // A batch says only how one of its records ended.
                let outcome = match (outcome, operations.len()) {
                    (Outcome::Failed { code }, 2..) => Outcome::Unknown { code },
                    (outcome, _) => outcome,
                };
                for (operation, ..) in operations {
                    self.shared.recorder.complete(*operation, outcome.clone());
                }
            }
        }
    }

    /// The consumer, made when it is first wanted.
    pub fn consumer(&mut self, options: &ConsumerOptions) -> Option<&mut Consumer> {
        if self.reader.consumer.is_none() {
            match self.engine.consumer(options.clone()) {
                Ok(consumer) => self.reader.consumer = Some(consumer),
                Err(error) => {
                    self.shared.judge("making a consumer", &error);
                }
            }
        }
        self.reader.consumer.as_mut()
    }

    /// What a poll gave, for the history.
    pub fn reads_of(&self, records: &ringlane::Records) -> Vec<Read> {
        let number = |name: &str, partition: u32| {
            let found =
                self.reader.assigned.iter().find(|((at, part), _)| *part == partition && topic_name(*at) == name);
            found.map_or(u32::MAX, |(_, (number, _))| *number)
        };
        let mut reads = collect(records, &self.shared, number);
        if reads.is_empty() {
            reads = self
                .reader
                .assigned
                .iter()
                .map(|((_, partition), (topic, _))| Read { topic: *topic, partition: *partition, records: Vec::new() })
                .collect();
        }
        reads
    }
}

/// Records by partition, in the order in which they came.
pub fn collect(records: &ringlane::Records, shared: &Shared, number: impl Fn(&str, u32) -> u32) -> Vec<Read> {
    let mut reads: Vec<Read> = Vec::new();
    for view in records {
        let value = examine(&view).unwrap_or_else(|text| {
            shared.violation(format!("{view:?}: {text}"));
            u64::MAX
        });
        let (topic, partition) = (number(view.topic(), view.partition()), view.partition());
        match reads.last_mut() {
            Some(last) if (last.topic, last.partition) == (topic, partition) => {
                last.records.push((view.offset(), value))
            }
            _ => reads.push(Read { topic, partition, records: vec![(view.offset(), value)] }),
        }
    }
    reads
}

/// A durability in a history's words.
pub fn durability_of(durability: Durability) -> history::Durability {
    match durability {
        Durability::Synced => history::Durability::Synced,
        Durability::Buffered => history::Durability::Buffered,
    }
}
