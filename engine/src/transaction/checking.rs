//! Check-back: asking the application how a transaction ended whose answer was lost.
//!
//! Application and engine live and die together, so the check that matters comes at the beginning: what an earlier process
//! left undecided is asked of a checker as soon as that is registered. What this process leaves is asked after
//! [`CheckerOptions::first`], and then again and again.
//!
//! Invariants:
//! - A transaction whose handle is there is not checked: its local part may be running.
//! - Only an answer counts: not that there is no checker, nor that it panicked, nor that its decision could not be written.
//! - A checker that blocks, or fails, holds up no other checker; one call of it that fails holds up no other transaction.
//! - What a checker says is a decision like any other: it changes nothing that was decided meanwhile.

use super::deciding::decide;
use super::options::check_checker;
use super::registry::{Checks, Entry, Phase};
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::transactions::TransactionOutcome;
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, Signal, lock};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The longest that is waited between two checks of one transaction.
const INTERVAL_MAX: Duration = Duration::from_secs(600);
/// How often open transactions are looked at, whose time may be over.
const SWEEP: Duration = Duration::from_millis(100);

/// What a checker knows of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckAnswer {
    /// Its local part is committed.
    Commit,
    /// Its local part is not there, and never will be.
    RollBack,
    /// Nobody can tell yet: ask again.
    Unknown,
}

/// A transaction that a checker is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HalfTransaction {
    /// Its id.
    pub id: String,
    /// When it was prepared, ms since 1970.
    pub prepared_ms: i64,
    /// Its records.
    pub records: u64,
    /// How often the answer was [`CheckAnswer::Unknown`], in this opening.
    pub unknown: u32,
}

/// Says how transactions ended: see [`Engine::register_checker`](crate::Engine::register_checker). Closures are checkers.
pub trait TransactionChecker: Send + Sync + 'static {
    /// Called on a thread of the checker's own, for one transaction after the other. It may take its time, and decide
    /// itself. A panic is no answer, and is counted.
    fn check(&self, transaction: &HalfTransaction) -> CheckAnswer;
}

impl<F: Fn(&HalfTransaction) -> CheckAnswer + Send + Sync + 'static> TransactionChecker for F {
    fn check(&self, transaction: &HalfTransaction) -> CheckAnswer {
        self(transaction)
    }
}

/// When a checker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckerOptions {
    /// How long after a transaction was left undecided in this process. Default 6 s.
    pub first: Duration,
    /// How long after an answer that said nothing; each time twice as long, up to 10 minutes. Default 30 s.
    pub interval: Duration,
    /// After so many of them the transaction is unresolved, and not checked any more in this opening. Default 15.
    pub checks_max: u32,
}

impl Default for CheckerOptions {
    fn default() -> Self {
        CheckerOptions { first: Duration::from_secs(6), interval: Duration::from_secs(30), checks_max: 15 }
    }
}

impl CheckerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets when a transaction is checked first.
    #[must_use]
    pub fn first(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// Sets how long it takes to the next check.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how many answers that say nothing are enough.
    #[must_use]
    pub fn checks_max(mut self, checks_max: u32) -> Self {
        self.checks_max = checks_max;
        self
    }
}

/// A checker that was registered.
struct Registered {
    name: String,
    checker: Box<dyn TransactionChecker>,
    options: CheckerOptions,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Checkers {
    by_name: Mutex<BTreeMap<String, Arc<Registered>>>,
    signal: Signal,
    stop: AtomicBool,
    threads: Mutex<Vec<Thread>>,
    sweeps: AtomicBool,
    pub(super) checks: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl Checkers {
    /// Registers a checker, in the place of one that had the name.
    pub(super) fn register(
        &self,
        engine: &Arc<EngineInner>,
        name: &str,
        options: CheckerOptions,
        checker: Box<dyn TransactionChecker>,
    ) -> Result<()> {
        engine.check_usable()?;
        check_checker(name)?;
        if options.checks_max == 0 {
            return Err(Error::InvalidArgument {
                name: "checks_max",
                value: "0".to_owned(),
                reason: "at least 1".to_owned(),
            });
        }
        let registered = Arc::new(Registered { name: name.to_owned(), checker, options });
        lock(&self.by_name).insert(name.to_owned(), registered.clone());
        self.signal.notify();
        self.spawn(engine, "ringlane-checker", move |engine| run(engine, &registered))
    }

    /// Nobody is asked under this name any more. A call that goes on is not waited for.
    pub(super) fn unregister(&self, name: &str) {
        lock(&self.by_name).remove(name);
        self.signal.notify();
    }

    /// Looks after open transactions from now on.
    pub(super) fn sweep(&self, engine: &Arc<EngineInner>) -> Result<()> {
        match self.sweeps.swap(true, Ordering::AcqRel) {
            true => Ok(()),
            false => self.spawn(engine, "ringlane-transactions", sweep),
        }
    }

    fn spawn(
        &self,
        engine: &Arc<EngineInner>,
        name: &str,
        body: impl FnOnce(&Arc<EngineInner>) + Send + 'static,
    ) -> Result<()> {
        let mut threads = lock(&self.threads);
        // Nobody joins what is started behind this.
        if self.stop.load(Ordering::Acquire) {
            return Err(Error::Closed { what: "the engine" });
        }
        let handle = engine.clone();
        let thread = thread::spawn(name, move || body(&handle));
        threads.push(thread.map_err(|error| Error::io("start a thread", name, None, &error))?);
        Ok(())
    }

    pub(super) fn nudge(&self) {
        self.signal.notify();
    }

    /// How long after it was left a transaction of this checker's is checked, ns.
    pub(super) fn first_ns(&self, name: &str) -> u64 {
        let options = lock(&self.by_name).get(name).map_or_else(CheckerOptions::default, |checker| checker.options);
        u64::try_from(options.first.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Before the engine closes.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.signal.notify();
        let threads = std::mem::take(&mut *lock(&self.threads));
        threads.into_iter().for_each(Thread::join);
    }
}

/// Rolls back open transactions whose time is over.
fn sweep(engine: &Arc<EngineInner>) {
    let checkers = &engine.transactions.checkers;
    while !checkers.stop.load(Ordering::Acquire) {
        let seen = checkers.signal.look();
        let now_ns = engine.clock.monotonic_ns();
        let (late, next_ns) = engine.transactions.late(now_ns);
        late.into_iter().for_each(|open| open.time_out(engine));
        engine.transactions.settle(engine);
        let wait = next_ns.map_or(Duration::from_secs(3600), |next| Duration::from_nanos(next.saturating_sub(now_ns)));
        checkers.signal.wait(seen, wait.max(SWEEP));
    }
}

/// The thread of a checker.
fn run(engine: &Arc<EngineInner>, registered: &Arc<Registered>) {
    let checkers = &engine.transactions.checkers;
    let is_mine = || lock(&checkers.by_name).get(&registered.name).is_some_and(|now| Arc::ptr_eq(now, registered));
    while !checkers.stop.load(Ordering::Acquire) && is_mine() {
        let seen = checkers.signal.look();
        let now_ns = engine.clock.monotonic_ns();
        let (due, next_ns) = engine.transactions.due(&registered.name, now_ns);
        for entry in &due {
            if checkers.stop.load(Ordering::Acquire) || !is_mine() {
                return;
            }
            check(engine, registered, entry);
        }
        if due.is_empty() {
            let wait = next_ns.map_or(Duration::from_secs(3600), |next| Duration::from_nanos(next - now_ns));
            checkers.signal.wait(seen, wait);
        }
    }
}

fn check(engine: &Arc<EngineInner>, registered: &Registered, entry: &Arc<Entry>) {
    let checkers = &engine.transactions.checkers;
    let Some(half) = half_of(entry, engine.clock.monotonic_ns()) else { return };
    checkers.checks.fetch_add(1, Ordering::Relaxed);
    let answer = catch_unwind(AssertUnwindSafe(|| registered.checker.check(&half)));
    let decided = match answer {
        Ok(CheckAnswer::Commit) => decide(engine, entry, TransactionOutcome::Committed).map(drop),
        Ok(CheckAnswer::RollBack) => decide(engine, entry, TransactionOutcome::RolledBack).map(drop),
        Ok(CheckAnswer::Unknown) => {
            note(entry, |checks| {
                checks.unknown += 1;
                checks.ran_out = checks.unknown >= registered.options.checks_max;
            });
            Ok(())
        }
        Err(_) => {
            checkers.failures.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    };
    // Decided otherwise meanwhile: so it is. What could not be written is asked again.
    drop(decided);
    let doubled = registered.options.interval.saturating_mul(1 << half.unknown.min(16)).min(INTERVAL_MAX);
    let wait = doubled.max(registered.options.interval);
    let due_ns = engine.clock.monotonic_ns().saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
    note(entry, |checks| checks.due_ns = due_ns);
}

/// What a checker is told; `None`: it is not to be checked any more.
fn half_of(entry: &Entry, now_ns: u64) -> Option<HalfTransaction> {
    match &*lock(&entry.phase) {
        Phase::Prepared(parts) if parts.checks.is_due(now_ns) => Some(HalfTransaction {
            id: entry.id.to_string(),
            prepared_ms: parts.prepared_ms,
            records: parts.records,
            unknown: parts.checks.unknown,
        }),
        _ => None,
    }
}

fn note(entry: &Entry, change: impl FnOnce(&mut Checks)) {
    if let Phase::Prepared(parts) | Phase::Deciding(_, parts) = &mut *lock(&entry.phase) {
        change(&mut parts.checks);
    }
}

impl Checks {
    /// Whether it is to be checked now.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        !self.is_local && !self.ran_out && self.due_ns <= now_ns
    }
}
