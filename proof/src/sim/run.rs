//! One run of a plan, judged.

use super::clone::{self, Cloned};
use super::director::Director;
use super::disk::Disk;
use super::faults::Counts;
use super::machine::{Snapshot, Temper};
use super::plan::Plan;
use super::random::{Digest, Random};
use super::scheduler::{Scheduler, Turn};
use super::shared::Shared;
use crate::checker::{Finding, check};
use crate::history::History;
use std::cell::RefCell;
use std::rc::Rc;

/// Nothing came back for so long, in simulated ns: somebody was forgotten.
const SILENCE_NS_MAX: u64 = 100_000_000_000;
/// Nor for so many steps: somebody goes in circles.
const SILENCE_STEPS_MAX: u64 = 1_000_000;
/// Moments of a run at which its disk is copied.
const SNAPSHOTS_MAX: u64 = 4;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// The same for the same plan, always.
    pub digest: u64,
    /// What no history shows.
    pub violations: Vec<String>,
    /// What the history shows.
    pub findings: Vec<Finding>,
    /// Calls that came back.
    pub operations: u64,
    /// What happened how often.
    pub counts: Counts,
    /// The history, if something was found in it.
    pub history: Option<History>,
    /// Scheduler steps.
    pub steps: u64,
}

impl Ran {
    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<String> {
        let first = self.violations.first().cloned();
        first.or_else(|| self.findings.first().map(|finding| finding.to_string()))
    }

    /// What kind of failure it is: a smaller plan must fail the same way.
    pub fn failure_kind(&self) -> Option<String> {
        if let Some(violation) = self.violations.first() {
            let words = violation.split(|letter: char| letter.is_ascii_digit()).next().unwrap_or_default();
            return Some(words.chars().take(40).collect());
        }
        self.findings.first().map(|finding| finding.anomaly.name().to_owned())
    }
}

/// Runs a plan once. `clones`: also opens copies of its disk.
pub fn run(plan: &Plan, clones: bool) -> Ran {
    let random = Random::new(plan.seed ^ 0xa5a5_0000);
    let shared = Rc::new(Shared::new(plan.clone()));
    let scheduler = Scheduler::new(random.fork(1), 1_000_000);
    let machines = Rc::new(RefCell::new(Vec::new()));
    let (turn, digest, snapshots) = {
        let _installed = scheduler.install();
        let temper = Temper { snapshot_one_in: 40, snapshots_max: SNAPSHOTS_MAX, garbage: plan.shape.garbage };
        let director = Director::new(shared.clone(), random.fork(2), temper, Disk::default(), machines.clone());
        scheduler.start("director", move || director.run());
        let turn = play(&scheduler, &shared);
        let mut digest = Digest(scheduler.digest());
        shared.recorder.digest(&mut digest);
        let mut snapshots: Vec<Snapshot> = Vec::new();
        for machine in machines.borrow().iter() {
            machine.with(|state| {
                shared.counts.borrow_mut().merge(&state.counts);
                shared.violations.borrow_mut().append(&mut state.breaches);
                snapshots.append(&mut state.snapshots);
            });
        }
        machines.borrow_mut().clear();
        (turn, digest, snapshots)
    };
    if let Turn::Deadlock(waiting) = turn {
        shared.violation(format!("nobody can go on: {waiting}"));
    }
    let history = shared.recorder.history();
    let mut ran = Ran {
        digest: digest.0,
        violations: shared.violations.borrow().clone(),
        findings: check(&history).findings,
        operations: shared.recorder.completed(),
        counts: shared.counts.borrow().clone(),
        history: None,
        steps: scheduler.steps(),
    };
    if ran.failure().is_some() {
        ran.history = Some(history);
    } else if clones {
        open_clones(&shared, snapshots, &random, &mut ran);
    }
    ran
}

/// Lets the threads run until all have ended, or nothing goes on.
pub fn play(scheduler: &Scheduler, shared: &Shared) -> Turn {
    let (mut progress_ns, mut progress_at) = (0, 0);
    for count in 0u64.. {
        let turn = scheduler.turn();
        if turn != Turn::Stepped {
            return turn;
        }
        for panic in scheduler.take_panics() {
            shared.violation(panic);
        }
        if !count.is_multiple_of(256) {
            continue;
        }
        if shared.recorder.progress_ns() != progress_ns {
            (progress_ns, progress_at) = (shared.recorder.progress_ns(), count);
        }
        if count - progress_at > SILENCE_STEPS_MAX {
            shared.violation(format!("somebody goes in circles: {}", scheduler.waiting()));
            return Turn::AllEnded;
        }
        if scheduler.now_ns() > progress_ns + SILENCE_NS_MAX {
            shared.violation(format!(
                "nothing came back for {} s: {}",
                SILENCE_NS_MAX / 1_000_000_000,
                scheduler.waiting()
            ));
            return Turn::AllEnded;
        }
    }
    unreachable!("counted for ever")
}

fn open_clones(shared: &Rc<Shared>, snapshots: Vec<Snapshot>, random: &Random, ran: &mut Ran) {
    for (number, snapshot) in snapshots.into_iter().enumerate() {
        let Cloned { violations, findings, history, counts } =
            clone::open(shared, snapshot, random.fork(100 + number as u64));
        ran.counts.merge(&counts);
        ran.counts.add("crash clones");
        if !violations.is_empty() || !findings.is_empty() {
            ran.violations = violations.into_iter().map(|text| format!("in a crash clone: {text}")).collect();
            ran.findings = findings;
            ran.history = Some(history);
            return;
        }
    }
}
