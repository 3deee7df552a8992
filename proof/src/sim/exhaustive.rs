//! Nothing left to chance: every short workload, on one lane, on two, and from one to the other, crashed after every operation of
//! the disk, with every set of unflushed sectors that may have survived (or, where there are too many sets,
//! none, all, each alone, and every prefix), opened and read.
//!
//! Invariants:
//! - What is enumerated is counted; nothing is skipped without being counted as such.
//! - Each case is a whole run on a machine of its own, so cases do not depend on each other.

use super::client::collect;
use super::contents;
use super::director::{self, Topics};
use super::disk::{Disk, Inode};
use super::machine::{Machine, Temper};
use super::payload::Payload;
use super::plan::Plan;
use super::random::Random;
use super::recorder::Recorder;
use super::run::play;
use super::scheduler::{self, Scheduler, Turn};
use super::shape::{NAMES, Shape};
use super::shared::{Shared, topic_name};
use crate::checker::check;
use crate::history::{Answer, Call, CrashKind, Durability as Level, From, Happening, Outcome};
use ringlane::{ConsumerOptions, Durability, Engine, ProducerOptions, RecordId, Start, TopicOptions};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// All subsets of so many sectors are tried; of more, the chosen ones.
const SUBSETS_OF_MAX: usize = 6;
/// Crash points of one workload, more than any of them has.
const POINTS_MAX: u64 = 10_000;

/// What one client may do; a workload is a row of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Sends to a partition and waits.
    Send {
        /// Which.
        partition: u32,
    },
    /// Sends buffered to a partition and waits for the receipt.
    SendBuffered {
        /// Which.
        partition: u32,
    },
    /// Sends to both partitions at once, and waits.
    SendBoth,
    /// Sends a record that becomes visible in a millisecond, and waits for its receipt.
    SendDelayed,
    /// Cancels the last delayed record.
    Cancel,
    /// Makes everything durable.
    Sync,
    /// Deletes the topic.
    Delete,
    /// Closes the engine and opens it again.
    Reopen,
    /// Closes the engine and opens it with another number of lanes: one more, or one if it had more.
    ChangeLanes,
    /// Waits until marks are written and delayed records are visible.
    Wait,
    /// Reads everything.
    Read,
}

impl Deed {
    /// All of them.
    pub const ALL: &'static [Deed] = &[
        Deed::Send { partition: 0 },
        Deed::Send { partition: 1 },
        Deed::SendBuffered { partition: 0 },
        Deed::SendBoth,
        Deed::SendDelayed,
        Deed::Cancel,
        Deed::Sync,
        Deed::Delete,
        Deed::Reopen,
        Deed::ChangeLanes,
        Deed::Wait,
        Deed::Read,
    ];
}

/// Workloads of up to so many deeds.
pub fn workloads(deeds_max: usize) -> Vec<Vec<Deed>> {
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..deeds_max {
        last = last.iter().flat_map(|row| Deed::ALL.iter().map(move |deed| [&row[..], &[*deed]].concat())).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Workloads.
    pub workloads: u64,
    /// Crash points.
    pub points: u64,
    /// Disks that were opened and read.
    pub disks: u64,
    /// Crash points where all subsets were tried.
    pub whole: u64,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: Tally) {
        self.workloads += other.workloads;
        self.points += other.points;
        self.disks += other.disks;
        self.whole += other.whole;
    }
}

/// A case that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What was done.
    pub deeds: Vec<Deed>,
    /// With how many lanes.
    pub lanes: u32,
    /// The crash came after so many operations of the disk.
    pub point: u64,
    /// What survived, and what is wrong.
    pub text: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failed { deeds, lanes, point, text } = self;
        write!(f, "{deeds:?} on {lanes} lanes, power lost after {point} operations of the disk: {text}")
    }
}

/// Crashes one workload at every point. `stride`: every so many-th point only, beginning with `first`.
pub fn try_workload(deeds: &[Deed], lanes: u32, first: u64, stride: u64) -> (Tally, Option<Failed>) {
    let mut tally = Tally { workloads: 1, ..Tally::default() };
    let mut point = first;
    while point < POINTS_MAX {
        let case = Case::new(deeds, lanes);
        let fail = |text| Failed { deeds: deeds.to_vec(), lanes, point, text };
        let Some(left) = case.run(point) else { break };
        if let Some(text) = case.wrong() {
            return (tally, Some(fail(text)));
        }
        tally.points += 1;
        let (survivals, is_whole) = survivals(&left);
        tally.whole += u64::from(is_whole);
        for survival in survivals {
            tally.disks += 1;
            if let Some(text) = case.open_after(&left, &survival) {
                return (tally, Some(fail(format!("{survival:?}: {text}"))));
            }
        }
        point += stride;
    }
    (tally, None)
}

/// What reaches the medium.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Survival {
    sectors: Vec<(Inode, usize, usize)>,
    names: Vec<String>,
    lengths: bool,
}

/// What may survive: all sets, or the ones that matter.
fn survivals(disk: &Disk) -> (Vec<Survival>, bool) {
    let sectors = disk.pending_sectors();
    let names = disk.pending_names();
    let is_whole = sectors.len() <= SUBSETS_OF_MAX;
    let mut sets: Vec<Vec<(Inode, usize, usize)>> = Vec::new();
    if is_whole {
        for mask in 0..1usize << sectors.len() {
            sets.push(sectors.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, s)| *s).collect());
        }
    } else {
        sets.push(Vec::new());
        sets.push(sectors.clone());
        // Each alone, each missing, and prefixes; of very many, a part that reaches over all.
        let step = sectors.len().div_ceil(64);
        for at in (0..sectors.len()).step_by(step) {
            sets.push(vec![sectors[at]]);
            sets.push(sectors[..at].to_vec());
            sets.push(sectors.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, s)| *s).collect());
        }
    }
    let mut name_sets = vec![Vec::new()];
    if !names.is_empty() {
        name_sets.push(names.clone());
        if names.len() > 1 {
            name_sets.extend(names.iter().map(|name| vec![name.clone()]));
        }
    }
    let survivals = sets
        .iter()
        .flat_map(|sectors| name_sets.iter().map(move |names| (sectors.clone(), names.clone())))
        .map(|(sectors, names)| Survival { lengths: !names.is_empty() || !sectors.is_empty(), sectors, names })
        .collect();
    (survivals, is_whole)
}

/// One workload, up to one crash.
struct Case {
    deeds: Vec<Deed>,
    shared: Rc<Shared>,
}

const TEMPER: Temper = Temper { snapshot_one_in: 0, snapshots_max: 0, garbage: false };

impl Case {
    fn new(deeds: &[Deed], lanes: u32) -> Case {
        let mut plan = Plan::new(0, 0);
        plan.shape = shape(lanes);
        Case { deeds: deeds.to_vec(), shared: Rc::new(Shared::new(plan)) }
    }

    /// Does the deeds until the power goes after so many operations of the disk. Gives the disk with
    /// everything that was not flushed; `None`: the deeds were done before.
    fn run(&self, point: u64) -> Option<Disk> {
        let scheduler = Scheduler::new(Random::new(1), 1_000_000);
        let _installed = scheduler.install();
        let machine = Machine::new(Disk::default(), Random::new(2), TEMPER, self.shared.recorder.clone());
        machine.with(|state| state.dies_after = Some((point, CrashKind::PowerLoss)));
        let lanes = Cell::new(self.shared.plan.shape.options.lanes.unwrap_or(1));
        let task = Deeds { shared: self.shared.clone(), machine: machine.clone(), deeds: self.deeds.clone(), lanes };
        scheduler.start("deeds", move || task.run());
        if let Turn::Deadlock(waiting) = play(&scheduler, &self.shared) {
            self.shared.violation(format!("nobody can go on: {waiting}"));
        }
        machine.with(|state| state.last_disk.take())
    }

    fn wrong(&self) -> Option<String> {
        self.shared.violations.borrow().first().cloned()
    }

    /// Opens what is left if exactly this survives. Gives what is wrong.
    fn open_after(&self, left: &Disk, survival: &Survival) -> Option<String> {
        let disk = left.after_exact_loss(
            |inode, page, sector| survival.sectors.contains(&(inode, page, sector)),
            |name| survival.names.iter().any(|kept| kept == name),
            survival.lengths,
        );
        let mut shared = Shared::new(self.shared.plan.clone());
        shared.recorder = Recorder::going_on(self.shared.recorder.history(), i64::MIN);
        *shared.topic_names.borrow_mut() = self.shared.topic_names.borrow().clone();
        shared.due_max_ms.set(self.shared.due_max_ms.get());
        let shared = Rc::new(shared);
        let scheduler = Scheduler::new(Random::new(3), 10_000_000_000);
        let _installed = scheduler.install();
        let machine = Machine::new(disk, Random::new(4), TEMPER, shared.recorder.clone());
        let inside = shared.clone();
        scheduler.start("after", move || after(&inside, &machine));
        if let Turn::Deadlock(waiting) = play(&scheduler, &shared) {
            shared.violation(format!("nobody can go on: {waiting}"));
        }
        if let Some(violation) = shared.violations.borrow().first() {
            return Some(violation.clone());
        }
        let findings = check(&shared.recorder.history()).findings;
        findings.first().map(ToString::to_string)
    }
}

fn shape(lanes: u32) -> Shape {
    let mut shape = Shape::new(&mut Random::new(0));
    let options = ringlane::Options::new()
        .lanes(Some(lanes))
        .pin_lanes(false)
        .lane_nice(0)
        .record_bytes_max(4096)
        .batch_bytes(4096)
        .tail_cache_bytes(4 << 20)
        .index_cache_bytes(1 << 20)
        .segment_bytes_first(1 << 20)
        .segment_bytes_max(1 << 20)
        .segments_prepared(1);
    shape.options = options;
    shape.clients = 1;
    shape
}

fn after(shared: &Shared, machine: &Arc<Machine>) {
    let expected: [Option<u32>; NAMES] = shared.topics_after(&shared.recorder.history());
    let engine = match director::open(shared, machine) {
        Ok(engine) => engine,
        Err(error) => return shared.violation(format!("it does not open: {error}")),
    };
    shared.recorder.listen();
    shared.recorder.happen(Happening::Reopened);
    let there = contents::list(&engine, shared, machine, expected);
    director::settle(shared);
    let wall_ms = shared.recorder.wall_ms();
    shared.recorder.happen(Happening::Settled { wall_ms });
    contents::list(&engine, shared, machine, there);
    if let Err(error) = engine.close() {
        shared.judge("closing", &error);
    }
}

/// The one client of a case.
struct Deeds {
    shared: Rc<Shared>,
    machine: Arc<Machine>,
    deeds: Vec<Deed>,
    lanes: Cell<u32>,
}

impl Deeds {
    fn run(self) {
        let topics: Topics = Rc::default();
        let delayed: Cell<Option<(u64, RecordId)>> = Cell::new(None);
        let engine: RefCell<Option<Engine>> = RefCell::default();
        *engine.borrow_mut() = self.open(true);
        self.create(&engine, &topics);
        for deed in &self.deeds {
            if engine.borrow().is_none() || self.machine.is_dead() {
                break;
            }
            self.shared.recorder.progress();
            self.work(*deed, &engine, &topics, &delayed);
        }
        let last = engine.borrow_mut().take();
        if let Some(engine) = last {
            let _ = engine.close();
        }
    }

    fn open(&self, first: bool) -> Option<Engine> {
        let options = self.shared.plan.shape.options.clone().lanes(Some(self.lanes.get()));
        match director::open_with(&self.shared, &self.machine, options) {
            Ok(engine) => {
                if !first && !self.machine.is_dead() {
                    self.shared.recorder.happen(Happening::Reopened);
                    let expected = self.shared.topics_after(&self.shared.recorder.history());
                    contents::list(&engine, &self.shared, &self.machine, expected);
                }
                Some(engine)
            }
            Err(error) => {
                if !self.machine.is_dead() {
                    self.shared.violation(format!("it does not open: {error}"));
                }
                None
            }
        }
    }

    fn call(&self, process: u32, call: Call, result: impl FnOnce() -> ringlane::Result<Answer>) {
        let operation = self.shared.recorder.invoke(process, call);
        let outcome = match result() {
            Ok(answer) => Outcome::Ok(answer),
            Err(error) => self.shared.judge("a call", &error),
        };
        self.shared.recorder.complete(operation, outcome);
    }

    fn create(&self, engine: &RefCell<Option<Engine>>, topics: &Topics) {
        let Some(engine) = engine.borrow().clone() else { return };
        self.shared.topic_names.borrow_mut().push(0);
        let call = Call::CreateTopic { topic: 0, partitions: 2, dead_letters_of: None };
        self.call(4, call, || {
            engine.create_topic(&topic_name(0), TopicOptions::new().partitions(2))?;
            topics.borrow_mut()[0] = Some(0);
            Ok(Answer::Done)
        });
    }

    fn work(
        &self,
        deed: Deed,
        slot: &RefCell<Option<Engine>>,
        topics: &Topics,
        delayed: &Cell<Option<(u64, RecordId)>>,
    ) {
        let engine = slot.borrow().clone().expect("it is open");
        match deed {
            Deed::Send { partition } => self.send(&engine, partition, Durability::Synced),
            Deed::SendBuffered { partition } => self.send(&engine, partition, Durability::Buffered),
            Deed::SendBoth => self.send_both(&engine),
            Deed::SendDelayed => self.send_delayed(&engine, delayed),
            Deed::Cancel => {
                if let Some((value, id)) = delayed.take() {
                    let cancel = || engine.producer(ProducerOptions::new())?.cancel(id).map(|()| Answer::Done);
                    self.call(4, Call::Cancel { value }, cancel);
                }
            }
            Deed::Sync => self.call(4, Call::Sync, || engine.sync().map(|()| Answer::Done)),
            Deed::Delete => {
                if topics.borrow_mut()[0].take().is_some() {
                    let delete = || engine.delete_topic(&topic_name(0)).map(|()| Answer::Done);
                    self.call(4, Call::DeleteTopic { topic: 0 }, delete);
                }
            }
            Deed::Reopen | Deed::ChangeLanes => {
                if deed == Deed::ChangeLanes {
                    self.lanes.set(if self.lanes.get() > 1 { 1 } else { 2 });
                }
                self.call(9, Call::Close, || engine.close().map(|()| Answer::Done));
                drop(engine);
                slot.borrow_mut().take();
                *slot.borrow_mut() = if self.machine.is_dead() { None } else { self.open(false) };
            }
            Deed::Wait => scheduler::current().sleep(1_100_000_000, "time"),
            Deed::Read => self.read(&engine),
        }
    }

    fn send(&self, engine: &Engine, partition: u32, durability: Durability) {
        let Ok(topic) = engine.topic(&topic_name(0)) else { return };
        let payload = Payload::new(self.shared.next_value(), 40);
        let level = super::client::durability_of(durability);
        let call = send_call(partition, payload.number, level, None);
        self.call(if durability == Durability::Synced { 0 } else { 1 }, call, || {
            let producer = engine.producer(ProducerOptions::new().durability(durability))?;
            let receipt = producer.send(&topic, payload.bare(partition))?.wait()?;
            Ok(Answer::Receipt { partition, offset: receipt.offset, durability: level, numbered: None })
        });
    }

    fn send_both(&self, engine: &Engine) {
        let Ok(topic) = engine.topic(&topic_name(0)) else { return };
        let payloads: Vec<Payload> = (0..2).map(|_| Payload::new(self.shared.next_value(), 700)).collect();
        let operations: Vec<u64> = (0..2)
            .map(|at| {
                let call = send_call(at, payloads[at as usize].number, Level::Synced, None);
                self.shared.recorder.invoke(0, call)
            })
            .collect();
        let sent = engine
            .producer(ProducerOptions::new())
            .and_then(|producer| producer.send_batch(&topic, &[payloads[0].bare(0), payloads[1].bare(1)])?.wait());
        for (at, operation) in operations.iter().enumerate() {
            let outcome = match &sent {
                Ok(receipts) => Outcome::Ok(Answer::Receipt {
                    partition: at as u32,
                    offset: receipts[at].offset,
                    durability: Level::Synced,
                    numbered: None,
                }),
                Err(error) => self.shared.judge("sending", error),
            };
            self.shared.recorder.complete(*operation, outcome);
        }
    }

    fn send_delayed(&self, engine: &Engine, delayed: &Cell<Option<(u64, RecordId)>>) {
        let Ok(topic) = engine.topic(&topic_name(0)) else { return };
        let payload = Payload::new(self.shared.next_value(), 40);
        let due_ms = self.shared.recorder.wall_ms() + 1;
        self.shared.due_max_ms.set(self.shared.due_max_ms.get().max(due_ms));
        self.call(0, send_call(0, payload.number, Level::Synced, Some(due_ms)), || {
            let producer = engine.producer(ProducerOptions::new())?;
            let receipt = producer.send(&topic, payload.bare(0).visible_at(due_ms))?.wait()?;
            delayed.set(Some((payload.number, receipt.id)));
            Ok(Answer::Receipt { partition: 0, offset: receipt.offset, durability: Level::Synced, numbered: None })
        });
    }

    fn read(&self, engine: &Engine) {
        let Ok(topic) = engine.topic(&topic_name(0)) else { return };
        let Ok(mut consumer) = engine.consumer(ConsumerOptions::new()) else { return };
        for partition in 0..2 {
            let call = Call::Assign { topic: 0, partition, from: From::Beginning };
            self.call(3, call, || {
                consumer.assign(&topic, partition, Start::Beginning)?;
                Ok(Answer::Position { offset: 0 })
            });
        }
        self.call(3, Call::Poll { transaction: None }, || {
            let records = consumer.poll(Duration::ZERO)?;
            let reads = collect(&records, &self.shared, |_, _| 0);
            Ok(Answer::Polled { reads, wall_ms: Some(self.shared.recorder.wall_max_ms()) })
        });
    }
}

fn send_call(partition: u32, value: u64, durability: Level, visible_at_ms: Option<i64>) -> Call {
    Call::Send { topic: 0, partition: Some(partition), value, durability, visible_at_ms, transaction: None, by: None }
}
