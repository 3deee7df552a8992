//! The one that opens the engine, gives clients their operations, lets the world fall apart, and starts
//! again.
//!
//! A run is a row of *lives*: from an opening to a close, a crash, or a failure that stops the engine.
//!
//! Invariants:
//! - When a life is over, all its threads have ended before the next one begins.
//! - After every opening everything that is there is read into the history.

use super::client::{Client, Inbox};
use super::contents;
use super::disk::Disk;
use super::groups;
use super::machine::{Machine, Temper};
use super::outbox;
use super::plan::Step;
use super::random::Random;
use super::recorder::SimulatedClock;
use super::scheduler::{self, TaskId};
use super::shape::NAMES;
use super::shared::Shared;
use super::storage::SimulatedStorage;
use super::transactions;
use super::workload::{self, Actor};
use crate::history::{Call, CrashKind, Happening, Outcome};
use ringlane::{Engine, Options};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// The numbers of the topics by name.
pub type Topics = Rc<RefCell<[Option<u32>; NAMES]>>;

/// Operations that a client may have waiting.
const INBOX_MAX: usize = 2;
/// Openings that fail one after another, whatever is done about it.
const OPENINGS_MAX: u32 = 60;

struct Life {
    engine: Engine,
    clients: Vec<(TaskId, Rc<RefCell<Inbox>>)>,
}

/// See the module.
pub struct Director {
    /// What all share.
    pub shared: Rc<Shared>,
    /// The machine of this life.
    pub machine: Arc<Machine>,
    random: Random,
    temper: Temper,
    life: Option<Life>,
    topics: Topics,
    machines: u64,
    is_first: bool,
    /// All machines that there were, for their counts.
    machines_seen: Rc<RefCell<Vec<Arc<Machine>>>>,
    /// Who looked from outside, and may look again; while the machine lives, whoever writes.
    pub outsider: Option<Engine>,
}

impl Director {
    /// A director with a machine that was never used.
    pub fn new(
        shared: Rc<Shared>,
        random: Random,
        temper: Temper,
        disk: Disk,
        machines: Rc<RefCell<Vec<Arc<Machine>>>>,
    ) -> Director {
        let machine = Machine::new(disk, random.fork(1), temper, shared.recorder.clone());
        machines.borrow_mut().push(machine.clone());
        Director {
            shared,
            machine,
            random,
            temper,
            life: None,
            topics: Rc::default(),
            machines: 1,
            is_first: true,
            machines_seen: machines,
            outsider: None,
        }
    }

    /// Does everything that was planned.
    pub fn run(mut self) {
        let steps = self.shared.plan.steps.clone();
        for step in steps {
            if self.is_broken() || !self.live() {
                break;
            }
            match step.operation.actor() {
                Actor::Client => self.feed(step),
                Actor::World => {
                    let operation = step.operation.clone();
                    operation.happen(&mut self);
                }
            }
            self.rest();
        }
        self.finish();
    }

    fn is_broken(&self) -> bool {
        !self.shared.violations.borrow().is_empty()
    }

    /// Makes sure that the engine is open.
    fn live(&mut self) -> bool {
        if self.life.is_some() && (self.machine.is_dead() || self.shared.poisoned.get()) {
            self.end_life();
        }
        self.life.is_some() || self.begin_life()
    }

    /// Lets the others do something, mostly.
    fn rest(&mut self) {
        match self.random.below(8) {
            0..4 => {}
            4..7 => scheduler::current().sleep(self.random.between(1_000, 300_000), "a rest"),
            _ => scheduler::current().sleep(self.random.between(1_000_000, 30_000_000), "a long rest"),
        }
    }

    /// Gives a client something to do.
    fn feed(&mut self, step: Step) {
        let Some(life) = &self.life else { return };
        let (task, inbox) = &life.clients[step.client % life.clients.len()];
        while inbox.borrow().steps.len() >= INBOX_MAX {
            if self.machine.is_dead() || self.shared.poisoned.get() {
                return;
            }
            scheduler::current().sleep(100_000, "a busy client");
        }
        inbox.borrow_mut().steps.push_back(step);
        scheduler::current().unpark(*task);
    }

    /// The engine, while it is open.
    pub fn engine(&self) -> Option<&Engine> {
        self.life.as_ref().map(|life| &life.engine)
    }

    /// Waits until the clients have nothing to do, or cannot.
    pub fn wait_for_clients(&self) {
        let Some(life) = &self.life else { return };
        for (_, inbox) in &life.clients {
            while !inbox.borrow().steps.is_empty() || inbox.borrow().busy {
                if self.machine.is_dead() {
                    return;
                }
                scheduler::current().sleep(100_000, "a busy client");
            }
        }
    }

    /// Closes the engine; clients that are still at it are told.
    pub fn close(&mut self) {
        let Some(life) = &self.life else { return };
        self.allow(|allowed| allowed.closed = true);
        let operation = self.shared.recorder.invoke(9, Call::Close);
        let result = life.engine.close();
        let outcome = match &result {
            Ok(()) => Outcome::done(),
            Err(error) => self.shared.judge("closing", error),
        };
        self.shared.count("closes");
        // Readers read on in a closed engine, until they have read everything.
        self.end_life();
        self.shared.recorder.complete(operation, outcome);
    }

    /// Changes what may go wrong.
    pub fn allow(&self, change: impl FnOnce(&mut super::shared::Allowed)) {
        let mut allowed = self.shared.allowed.get();
        change(&mut allowed);
        self.shared.allowed.set(allowed);
    }

    /// Ends this life: the machine is dead, or the engine stopped, or was closed.
    pub fn end_life(&mut self) {
        let Some(Life { engine, clients }) = self.life.take() else { return };
        self.allow(|allowed| allowed.closed = true);
        for (task, inbox) in &clients {
            inbox.borrow_mut().over = true;
            if self.shared.poisoned.get() || self.machine.is_dead() {
                inbox.borrow_mut().steps.clear();
            }
            scheduler::current().unpark(*task);
        }
        for (task, _) in clients {
            scheduler::current().wait_for(task);
        }
        if self.shared.poisoned.replace(false) && !self.machine.is_dead() {
            self.shared.count("poisonings");
            self.shared.recorder.crashed(CrashKind::Poisoned);
        }
        let _ = engine.close();
        drop(engine);
        self.replace_dead_machine();
        self.machine.with(|state| {
            state.faults.clear();
            state.slowness = 1;
        });
        self.allow(|allowed| *allowed = super::shared::Allowed { space: allowed.space, ..Default::default() });
    }

    fn replace_dead_machine(&mut self) {
        if let Some(death) = self.machine.take_death() {
            self.outsider = None;
            let machine_random = self.random.fork(1 + self.machines);
            self.machines += 1;
            self.machine = Machine::after(death, machine_random, self.temper, self.shared.recorder.clone());
            self.machines_seen.borrow_mut().push(self.machine.clone());
        }
    }

    /// Opens the engine, again and again if it must be.
    pub fn begin_life(&mut self) -> bool {
        let mut refusal = String::new();
        for attempt in 0..OPENINGS_MAX {
            let expected = self.shared.topics_after(&self.shared.recorder.history());
            match open(&self.shared, &self.machine) {
                Ok(engine) => {
                    self.opened(engine, expected);
                    return true;
                }
                Err(_) if self.machine.is_dead() => {
                    self.shared.count("crashes while opening");
                    self.replace_dead_machine();
                }
                Err(error) if self.shared.is_noise_of_creation(&error) => {
                    self.shared.count("creations that ended in noise");
                    self.machine.with(|state| state.disk = Disk::default());
                }
                Err(error) => {
                    refusal = error.to_string();
                    self.shared.judge("opening", &error);
                    self.shared.poisoned.set(false);
                    if self.is_broken() {
                        return false;
                    }
                    if attempt > 2 {
                        self.machine.with(|state| {
                            state.faults.clear();
                            state.disk.space = None;
                        });
                    }
                }
            }
        }
        self.shared.violation(format!("the engine does not open, whatever is done: {refusal}"));
        false
    }

    fn opened(&mut self, engine: Engine, expected: [Option<u32>; NAMES]) {
        // The machine may have died since the engine said that it is open.
        if !self.machine.is_dead() {
            self.shared.recorder.listen();
            if !std::mem::take(&mut self.is_first) {
                self.shared.recorder.happen(Happening::Reopened);
                let there = contents::list(&engine, &self.shared, &self.machine, expected);
                *self.topics.borrow_mut() = there;
                // First what was decided: what it acknowledged is finished.
                transactions::list(&engine, &self.shared);
                groups::list(&engine, &self.shared);
            }
            outbox::begin_life(&engine, &self.shared);
        }
        self.shared.count("openings");
        let clients = (0..self.shared.plan.shape.clients)
            .map(|number| {
                let inbox: Rc<RefCell<Inbox>> = Rc::default();
                let client =
                    Client::new(number, self.shared.clone(), self.machine.clone(), engine.clone(), self.topics.clone());
                let theirs = inbox.clone();
                let task = scheduler::current().start(&format!("client-{number}"), move || client.run(&theirs));
                (task, inbox)
            })
            .collect();
        self.life = Some(Life { engine, clients });
    }

    /// Nobody has used the engine for a while, so nobody was told if it stopped meanwhile.
    fn probe(&self) {
        let Some(engine) = self.engine() else { return };
        if let Err(error) = engine.sync() {
            self.shared.judge("looking whether it still works", &error);
        }
    }

    /// Everything was done: now everything must be there.
    fn finish(&mut self) {
        self.wait_for_clients();
        if self.is_broken() || !self.live() {
            return self.end_life();
        }
        self.machine.with(|state| {
            state.faults.clear();
            state.dies_after = None;
            state.disk.space = None;
            state.slowness = 1;
        });
        scheduler::current().sleep(2_000_000_000, "the end");
        self.probe();
        if !self.live() {
            return self.end_life();
        }
        if let Some(engine) = self.engine() {
            transactions::decide_all(engine, &self.shared);
            let _ = engine.sync();
        }
        settle(&self.shared);
        self.wait_for_clients();
        let wall_ms = self.shared.recorder.wall_ms();
        self.shared.recorder.happen(Happening::Settled { wall_ms });
        let engine = self.engine().expect("it lives").clone();
        let expected = *self.topics.borrow();
        contents::list(&engine, &self.shared, &self.machine, expected);
        if self.shared.plan.shape.groups {
            for client in 0..self.shared.plan.shape.clients {
                let operation = Rc::new(workload::groups::LeaveAll);
                self.feed(Step { number: usize::MAX, client, operation });
            }
            self.wait_for_clients();
            groups::drain(&engine, &self.shared);
        }
        drop(engine);
        self.wait_for_clients();
        self.end_life();
    }
}

/// Opens the engine that a machine has.
pub fn open(shared: &Shared, machine: &Arc<Machine>) -> ringlane::Result<Engine> {
    // Two openings never begin at the same time.
    let options = shared.plan.shape.options_of(shared.plan.seed, scheduler::current().now_ns());
    open_with(shared, machine, options)
}

/// Opens it with these options.
pub fn open_with(shared: &Shared, machine: &Arc<Machine>, options: Options) -> ringlane::Result<Engine> {
    let storage = Arc::new(SimulatedStorage::new(machine.clone()));
    let clock = Arc::new(SimulatedClock::new(shared.recorder.clone()));
    let engine = Engine::open_on(Path::new("simulated"), storage, clock, options)?;
    if shared.plan.shape.changes_lanes {
        shared.note_lanes(engine.stats().lanes.len());
    }
    Ok(engine)
}

/// Waits until every delayed record is due and published.
pub fn settle(shared: &Shared) {
    let recorder = &shared.recorder;
    let wait_ms = shared.due_max_ms.get().saturating_sub(recorder.wall_ms());
    if wait_ms > 0 {
        recorder.jump(wait_ms + 1);
    }
    for _ in 0..5 {
        recorder.progress();
        scheduler::current().sleep(1_000_000_000, "delayed records");
    }
}
