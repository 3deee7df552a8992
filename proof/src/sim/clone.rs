//! Crash clones: a copy of the disk as a crash at that moment would leave it, opened and read in a small
//! world of its own, while the run that it was taken from knows nothing of it.
//!
//! Invariant: whatever was acknowledged as durable before the copy was taken is in it, at its offset.

use super::contents;
use super::damage::Damage;
use super::director;
use super::faults::Counts;
use super::groups;
use super::machine::{Machine, Snapshot, Temper};
use super::outbox;
use super::random::Random;
use super::recorder::Recorder;
use super::run::play;
use super::scheduler::{Scheduler, Turn};
use super::shape::NAMES;
use super::shared::{Allowed, Shared};
use super::transactions;
use crate::checker::{Anomaly, Finding, check};
use crate::history::{Call, CrashKind, Happening, History, Outcome};
use ringlane::Error;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// One clone in so many is damaged instead of crashed.
const DAMAGED_ONE_IN: u64 = 4;
/// Crashes of a clone while it is opened.
const CRASHES_MAX: u64 = 3;

/// What a clone showed.
pub struct Cloned {
    /// What no history shows.
    pub violations: Vec<String>,
    /// What the history shows.
    pub findings: Vec<Finding>,
    /// The history up to the copy, and what followed.
    pub history: History,
    /// What happened how often.
    pub counts: Counts,
}

/// Opens what a crash would leave of a disk.
pub fn open(main: &Rc<Shared>, snapshot: Snapshot, mut random: Random) -> Cloned {
    let plan = &main.plan;
    let mut shared = Shared::new(plan.clone());
    let prefix = main.recorder.prefix(snapshot.events);
    shared.recorder = Recorder::going_on(prefix, snapshot.wall_max_ms);
    *shared.topic_names.borrow_mut() = main.topic_names.borrow().clone();
    *shared.groups.borrow_mut() = main.groups.borrow().clone();
    *shared.kept.borrow_mut() = main.kept.borrow().clone();
    shared.due_max_ms.set(main.due_max_ms.get());
    shared.lanes.set(main.lanes.get());
    let shared = Rc::new(shared);
    let scheduler = Scheduler::new(random.fork(1), snapshot.now_ns);
    let _installed = scheduler.install();
    // The clock goes on from where it was, whatever it did since.
    shared.recorder.set_wall_ms(snapshot.wall_ms);
    let mut damage = None;
    let disk = if random.one_in(DAMAGED_ONE_IN) {
        // Everything had reached the medium, and then one place of it went bad.
        let mut disk = snapshot.disk.after_exact_loss(|_, _, _| true, |_| true, true);
        damage = Damage::inflict(&mut disk, &snapshot.written, plan.shape.bounds_disk(), &mut random);
        disk
    } else {
        snapshot.disk.after_power_loss(&mut random, plan.shape.garbage)
    };
    let temper = Temper { snapshot_one_in: 0, snapshots_max: 0, garbage: plan.shape.garbage };
    let machine = Machine::new(disk, random.fork(2), temper, shared.recorder.clone());
    machine.with(|state| state.disk.space = None);
    shared.allowed.set(Allowed { damage: damage.is_some(), ..Allowed::default() });
    let task = Task {
        shared: shared.clone(),
        machine: RefCell::new(machine),
        random: RefCell::new(random),
        temper,
        is_damaged: damage.is_some(),
    };
    scheduler.start("clone", move || task.run());
    if let Turn::Deadlock(waiting) = play(&scheduler, &shared) {
        shared.violation(format!("nobody can go on: {waiting}"));
    }
    let history = shared.recorder.history();
    let mut violations = shared.violations.borrow().clone();
    let mut findings = check(&history).findings;
    if let Some(damage) = damage {
        shared.count("damaged clones");
        if !damage.is_promised() && findings.iter().any(|finding| may_be_window(finding.anomaly)) {
            shared.count("damaged clones within the stated window");
            findings.retain(|finding| !may_be_window(finding.anomaly));
        }
        if !violations.is_empty() || !findings.is_empty() {
            violations.insert(0, format!("{damage}: {}", first_of(&violations, &findings)));
        }
    }
    let counts = shared.counts.borrow().clone();
    Cloned { violations, findings, history, counts }
}

/// What damage may do without a word where nothing speaks for the place: a log's end looks like a torn one.
/// It never makes up a record, moves one to another partition, or shows one early.
fn may_be_window(anomaly: Anomaly) -> bool {
    !matches!(anomaly, Anomaly::Unexpected | Anomaly::Misplaced | Anomaly::EarlyRead | Anomaly::Malformed)
}

fn first_of(violations: &[String], findings: &[Finding]) -> String {
    violations.first().cloned().or(findings.first().map(ToString::to_string)).unwrap_or_default()
}

struct Task {
    shared: Rc<Shared>,
    machine: RefCell<Arc<Machine>>,
    random: RefCell<Random>,
    temper: Temper,
    is_damaged: bool,
}

impl Task {
    fn run(self) {
        let shared = &self.shared;
        let expected: [Option<u32>; NAMES] = shared.topics_after(&shared.recorder.history());
        shared.recorder.crashed(CrashKind::PowerLoss);
        let Some(engine) = self.open() else { return };
        let machine = self.machine.borrow().clone();
        shared.recorder.listen();
        shared.recorder.happen(Happening::Reopened);
        let there = contents::list(&engine, shared, &machine, expected);
        transactions::list(&engine, shared);
        groups::list(&engine, shared);
        if !self.is_damaged {
            outbox::ask(&engine, shared, there);
        }
        transactions::decide_all(&engine, shared);
        // What is due becomes visible, and only that.
        director::settle(shared);
        let wall_ms = shared.recorder.wall_ms();
        shared.recorder.happen(Happening::Settled { wall_ms });
        contents::list(&engine, shared, &machine, there);
        groups::drain(&engine, shared);
        let operation = shared.recorder.invoke(9, Call::Close);
        let outcome = match engine.close() {
            Ok(()) => Outcome::done(),
            Err(error) => shared.judge("closing", &error),
        };
        shared.recorder.complete(operation, outcome);
    }

    /// Opens it; now and then the power goes again meanwhile.
    fn open(&self) -> Option<ringlane::Engine> {
        let shared = &self.shared;
        let is_crashed = !self.is_damaged && self.random.borrow_mut().one_in(3);
        let mut crashes = if is_crashed { self.random.borrow_mut().below(CRASHES_MAX + 1) } else { 0 };
        loop {
            let machine = self.machine.borrow().clone();
            if crashes > 0 {
                crashes -= 1;
                let after = self.random.borrow_mut().skewed(40);
                let kind = if self.random.borrow_mut().one_in(3) { CrashKind::Kill } else { CrashKind::PowerLoss };
                machine.with(|state| state.dies_after = Some((after, kind)));
            }
            let opened = director::open(shared, &machine);
            machine.with(|state| state.dies_after = None);
            match opened {
                Ok(engine) if !machine.is_dead() => return Some(engine),
                Ok(engine) => drop(engine.close()),
                Err(_) if machine.is_dead() => {}
                Err(error) => {
                    // Nothing failed here but the power, or a place that opening refuses by name.
                    let is_refusal = matches!(
                        error,
                        Error::Damaged { .. } | Error::ForeignFormat { .. } | Error::UnsupportedVersion { .. }
                    );
                    if shared.is_noise_of_creation(&error) {
                        shared.count("creations that ended in noise");
                    } else if self.is_damaged && is_refusal {
                        shared.count("damage refused by opening");
                    } else {
                        shared.violation(format!("it does not open: {error}"));
                    }
                    return None;
                }
            }
            shared.count("crashes while opening");
            let death = machine.take_death().expect("it is dead");
            let random = self.random.borrow_mut().fork(50 + crashes);
            *self.machine.borrow_mut() = Machine::after(death, random, self.temper, shared.recorder.clone());
        }
    }
}
