//! The transactions of an open engine: who is in which state, and who may change it.
//!
//! Invariants:
//! - A state is changed by whoever found it as it was: of two decisions at the same time one waits for the other.
//! - An id names one transaction that goes on, or the last one that ended. One that was committed is not begun again as
//!   long as that is remembered; one that was rolled back is.
//! - A transaction is told to be prepared, committed or rolled back when that is durable.

use super::checking::Checkers;
use super::deciding::Order;
use super::info::{TransactionInfo, TransactionState};
use super::open::OpenTransaction;
use crate::consumer::group::groups::Found;
use crate::consumer::group::transacting::HeldAck;
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::progress::ProgressChange;
use crate::lane::recovery::Recovered;
use crate::lane::resolving::Unfinished;
use crate::lane::shared::{Message, Reply};
use crate::lane::steps::{TransactionDone, TransactionStep, TransactionWork};
use crate::lane::transactions::{Decided, Participant, Prepared, TransactionKey, TransactionOutcome};
use crate::log::manifest::Manifest;
use crate::log::position::Position;
use crate::producer::identity::ProducerIdentity;
use crate::sync::{Mutex, lock};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Of those that were rolled back before they were prepared, so many are remembered.
const UNLOGGED_MAX: usize = 1_000;
/// So many decisions that others may not have yet are looked at together.
const SETTLED_TOGETHER: usize = 64;
/// Most transactions that go on at the same time.
pub(crate) const TRANSACTIONS_MAX: usize = 100_000;

/// A transaction.
pub(crate) struct Entry {
    pub(crate) key: TransactionKey,
    pub(crate) id: Arc<str>,
    pub(crate) checker: Arc<str>,
    /// When it began, ms since 1970, if that was in this process.
    pub(crate) begun_ms: i64,
    pub(crate) phase: Mutex<Phase>,
}

/// Where it stands.
pub(crate) enum Phase {
    /// Its handle has it.
    Open,
    Prepared(Parts),
    /// Somebody decides it; the answer is there when the reply is.
    Deciding(Arc<Reply>, Parts),
    Ended {
        outcome: TransactionOutcome,
        at_ms: i64,
        parts: Parts,
    },
}

/// What a transaction that is prepared has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    /// By lane.
    pub(crate) lanes: Vec<(u32, Participant)>,
    pub(crate) held: Vec<HeldAck>,
    /// How many records it acknowledged, when it is over.
    pub(crate) finished: u64,
    pub(crate) records: u64,
    pub(crate) prepared_ms: i64,
    /// Its checks in this opening.
    pub(crate) checks: Checks,
}

/// How a transaction that is prepared is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    /// Answers that said nothing.
    pub(crate) unknown: u32,
    /// When it is checked next, by the monotonic clock, ns.
    pub(crate) due_ns: u64,
    /// The handle that prepared it is there: its local part may be running.
    pub(crate) is_local: bool,
    /// There were as many as there may be.
    pub(crate) ran_out: bool,
}

impl Parts {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.finished + self.held.iter().map(|ack| ack.offsets.end - ack.offsets.start).sum::<u64>()
    }

    /// What is remembered of it when it has ended: how much it was.
    pub(crate) fn over(self) -> Parts {
        Parts { finished: self.acknowledged(), lanes: Vec::new(), held: Vec::new(), ..self }
    }
}

impl Entry {
    /// What it is, for people and programs.
    pub(crate) fn state(&self) -> TransactionState {
        match &*lock(&self.phase) {
            Phase::Open => TransactionState::Open,
            Phase::Prepared(parts) | Phase::Deciding(_, parts) if parts.checks.ran_out => TransactionState::Unresolved,
            Phase::Prepared(_) | Phase::Deciding(..) => TransactionState::Prepared,
            Phase::Ended { outcome, .. } => state_of(*outcome),
        }
    }

    pub(crate) fn info(&self) -> TransactionInfo {
        let state = self.state();
        let (since_ms, parts) = match &*lock(&self.phase) {
            Phase::Open => (self.begun_ms, Parts::default()),
            Phase::Prepared(parts) | Phase::Deciding(_, parts) => (parts.prepared_ms, parts.clone()),
            Phase::Ended { at_ms, parts, .. } => (*at_ms, parts.clone()),
        };
        TransactionInfo {
            id: self.id.to_string(),
            state,
            checker: (!self.checker.is_empty()).then(|| self.checker.to_string()),
            since_ms,
            records: parts.records,
            acknowledged: parts.acknowledged(),
            checks: parts.checks.unknown,
        }
    }
}

/// What an outcome is called as a state.
pub(crate) fn state_of(outcome: TransactionOutcome) -> TransactionState {
    match outcome {
        TransactionOutcome::Committed => TransactionState::Committed,
        TransactionOutcome::RolledBack => TransactionState::RolledBack,
    }
}

/// A transaction of a list, with what it is ordered by.
pub(crate) type Listed = (TransactionKey, TransactionInfo);

/// In the order in which they are told: those that have ended, those that are prepared, those that are open; each of them
/// as they began, as they are given.
pub(crate) fn in_order(listed: Vec<Listed>) -> Vec<TransactionInfo> {
    let mut transactions: Vec<_> = listed.into_iter().map(|(_, info)| info).collect();
    transactions.sort_by_key(|info| match info.state {
        TransactionState::Committed | TransactionState::RolledBack => 0,
        TransactionState::Prepared | TransactionState::Unresolved => 1,
        TransactionState::Open => 2,
    });
    transactions
}

/// See the module.
#[derive(Default)]
pub(crate) struct Transactions {
    /// Of the logs that lanes write, lane by lane.
    logs: Vec<u32>,
    /// The first part of the keys that are given out.
    log: u32,
    generation: u32,
    next_number: AtomicU64,
    pub(super) state: Mutex<State>,
    pub(crate) checkers: Checkers,
    pub(super) order: Order,
    /// When the time of an open one is over next, as far as the thread that sees to it knows.
    next_late_ns: AtomicU64,
}

/// Transactions, in the [`Stats`](crate::Stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TransactionStats {
    /// Open in this process.
    pub open: u64,
    /// Prepared and undecided.
    pub prepared: u64,
    /// Of these, how many are not checked any more, and wait for a call: an alarm.
    pub unresolved: u64,
    /// How long ago the oldest of them was prepared, ms; 0 if there is none.
    pub oldest_prepared_age_ms: u64,
    /// Committed since the engine was opened.
    pub committed: u64,
    /// Rolled back since then.
    pub rolled_back: u64,
    /// Checks since then.
    pub checks: u64,
    /// Checks that ended with a panic.
    pub checker_failures: u64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) by_id: HashMap<Arc<str>, Arc<Entry>>,
    /// Those that have ended, oldest first, by the lane whose log remembers them. What was rolled back before it was prepared
    /// no log knows.
    ended: HashMap<Option<u32>, VecDeque<Arc<Entry>>>,
    /// Those that are open. By key: numbers begin anew with each opening, and what an earlier one has left is decided here.
    pub(super) open: BTreeMap<TransactionKey, Weak<OpenTransaction>>,
    /// Prepared or being decided.
    pub(super) undecided: BTreeMap<TransactionKey, Arc<Entry>>,
    /// Decisions that other lanes do not have durably yet: the lane that decided.
    settling: Vec<(u32, TransactionKey, Vec<Arc<Reply>>)>,
    pub(super) committed: u64,
    pub(super) rolled_back: u64,
}

impl Transactions {
    pub(crate) fn new(manifest: &Manifest) -> Transactions {
        let first = &manifest.logs[0];
        Transactions {
            logs: manifest.logs.iter().map(|log| log.id).collect(),
            log: first.id,
            generation: first.generation,
            ..Transactions::default()
        }
    }

    /// Takes over what opening found. What was decided, and is about to be ended, counts for groups as if it were.
    pub(crate) fn open(
        &self,
        found: &mut Found,
        recovered: &[Recovered],
        unfinished: &[Unfinished],
        outcomes_max: usize,
    ) {
        let mut state = lock(&self.state);
        let is_ending = |key| unfinished.iter().find(|unfinished| unfinished.key == key);
        let mut undecided: BTreeMap<TransactionKey, (Prepared, Parts)> = BTreeMap::new();
        for (lane, log) in (0u32..).zip(recovered) {
            for prepared in log.state.transactions.prepared() {
                if let Some(Unfinished { outcome, .. }) = is_ending(prepared.key) {
                    finish_found(found, prepared, *outcome);
                    continue;
                }
                hold_found(found, prepared);
                let (_, parts) = undecided.entry(prepared.key).or_insert_with(|| (prepared.clone(), Parts::default()));
                // It stands in the checkpoint that the log begins with now.
                let (id, position) = (self.logs[lane as usize], Position(0));
                parts.lanes.push((lane, Participant { log: id, position, checksum: 0 }));
                parts.held.extend(HeldAck::of(&prepared.acks));
                let withheld = prepared.frames.iter().filter_map(|frame| log.state.withheld_frame(*frame));
                parts.records += withheld.map(|withheld| u64::from(withheld.count)).sum::<u64>();
                parts.prepared_ms = parts.prepared_ms.max(prepared.prepared_ms);
            }
        }
        let of_lane = |(lane, log): (u32, &'_ Recovered)| -> Vec<(u32, Decided)> {
            log.state.transactions.decided().map(|decided| (lane, decided.clone())).collect()
        };
        for (lane, decided) in (0..).zip(recovered).flat_map(of_lane) {
            let (outcome, at_ms, parts) = (decided.outcome, decided.decided_ms, Parts::default());
            let (id, phase) = (decided.id, Mutex::new(Phase::Ended { outcome, at_ms, parts }));
            let entry = Arc::new(Entry { key: decided.key, id, checker: "".into(), begun_ms: 0, phase });
            state.remember(entry, Some(lane), outcomes_max);
        }
        for (key, (prepared, parts)) in undecided {
            // Checked as soon as its checker is there.
            let phase = Mutex::new(Phase::Prepared(parts));
            let entry = Arc::new(Entry { key, id: prepared.id, checker: prepared.checker, begun_ms: 0, phase });
            state.by_id.insert(entry.id.clone(), entry.clone());
            state.undecided.insert(key, entry);
        }
    }

    /// The key of another transaction.
    pub(super) fn next_key(&self) -> TransactionKey {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        TransactionKey { log: self.log, generation: self.generation, number }
    }

    /// A transaction begins.
    pub(super) fn begin(&self, id: Option<&str>, checker: &str, begun_ms: i64) -> Result<Arc<Entry>> {
        let key = self.next_key();
        let id: Arc<str> = match id {
            Some(id) => id.into(),
            None => format!("{}-{}-{}", key.log, key.generation, key.number).into(),
        };
        let mut state = lock(&self.state);
        if let Some(known) = state.by_id.get(&id).map(|entry| entry.state())
            && known != TransactionState::RolledBack
        {
            return Err(Error::TransactionExists { id: id.to_string(), state: known });
        }
        let count = state.open.len() + state.undecided.len();
        if count >= TRANSACTIONS_MAX {
            return Err(Error::TooMany {
                what: "transactions that go on",
                count: count as u64,
                count_max: TRANSACTIONS_MAX as u64,
                advice: "decide those that are prepared (`ringlane txn list` shows them), and begin fewer at a time",
            });
        }
        let entry = Arc::new(Entry { key, id, checker: checker.into(), begun_ms, phase: Mutex::new(Phase::Open) });
        state.by_id.insert(entry.id.clone(), entry.clone());
        Ok(entry)
    }

    /// Its time begins.
    pub(super) fn opened(&self, open: &Arc<OpenTransaction>) {
        lock(&self.state).open.insert(open.entry.key, Arc::downgrade(open));
        if open.deadline_ns < self.next_late_ns.load(Ordering::SeqCst) {
            self.checkers.nudge();
        }
    }

    /// It waits for its decision.
    pub(super) fn prepared(&self, entry: &Arc<Entry>) {
        let mut state = lock(&self.state);
        state.open.remove(&entry.key);
        state.undecided.insert(entry.key, entry.clone());
    }

    /// Its handle is gone: if it is prepared, it is checked from now on.
    pub(super) fn left(&self, engine: &EngineInner, entry: &Entry) {
        if let Phase::Prepared(parts) | Phase::Deciding(_, parts) = &mut *lock(&entry.phase) {
            parts.checks.is_local = false;
            parts.checks.due_ns = engine.clock.monotonic_ns().saturating_add(self.checkers.first_ns(&entry.checker));
            self.checkers.nudge();
        }
    }

    /// Open transactions whose time is over, and when that of the next one is.
    pub(super) fn late(&self, now_ns: u64) -> (Vec<Arc<OpenTransaction>>, Option<u64>) {
        let mut state = lock(&self.state);
        state.open.retain(|_, open| open.strong_count() > 0);
        let open: Vec<_> = state.open.values().filter_map(Weak::upgrade).collect();
        let next_ns = open.iter().map(|open| open.deadline_ns).filter(|deadline| *deadline > now_ns).min();
        self.next_late_ns.store(next_ns.unwrap_or(u64::MAX), Ordering::SeqCst);
        (open.into_iter().filter(|open| open.deadline_ns <= now_ns).collect(), next_ns)
    }

    /// Transactions that this checker is to be asked of now, oldest first, and when it is to be asked next.
    pub(super) fn due(&self, checker: &str, now_ns: u64) -> (Vec<Arc<Entry>>, Option<u64>) {
        let state = lock(&self.state);
        let (mut due, mut next_ns) = (Vec::new(), None);
        for entry in state.undecided.values().filter(|entry| &*entry.checker == checker) {
            let Phase::Prepared(Parts { checks, .. }) = &*lock(&entry.phase) else { continue };
            if checks.is_due(now_ns) {
                due.push(entry.clone());
            } else if !checks.is_local && !checks.ran_out {
                next_ns = Some(next_ns.map_or(checks.due_ns, |next: u64| next.min(checks.due_ns)));
            }
        }
        (due, next_ns)
    }

    /// Those that go on, and perhaps those that have ended and are remembered: first `count_max` of those whose keys are
    /// `from` and behind it, by their keys, which is the order in which they began.
    pub(crate) fn page(&self, with_ended: bool, from: TransactionKey, count_max: usize) -> Vec<Listed> {
        let mut entries: Vec<Arc<Entry>> = {
            let state = lock(&self.state);
            if with_ended {
                state.by_id.values().cloned().collect()
            } else {
                let open = state.open.values().filter_map(Weak::upgrade).map(|open| open.entry.clone());
                state.undecided.values().cloned().chain(open).collect()
            }
        };
        // It may have ended just now.
        let is_meant = |entry: &Entry| with_ended || !matches!(*lock(&entry.phase), Phase::Ended { .. });
        entries.retain(|entry| entry.key >= from && is_meant(entry));
        if entries.len() > count_max {
            entries.select_nth_unstable_by_key(count_max, |entry| entry.key);
            entries.truncate(count_max);
        }
        entries.sort_unstable_by_key(|entry| entry.key);
        entries.iter().map(|entry| (entry.key, entry.info())).collect()
    }

    /// All of them, as they are listed.
    pub(super) fn list(&self, with_ended: bool) -> Vec<TransactionInfo> {
        in_order(self.page(with_ended, TransactionKey::FIRST, usize::MAX))
    }

    /// What stands in the statistics.
    pub(crate) fn stats(&self, wall_ms: i64) -> TransactionStats {
        let state = lock(&self.state);
        let (mut unresolved, mut oldest_ms) = (0, None);
        for entry in state.undecided.values() {
            if let Phase::Prepared(parts) | Phase::Deciding(_, parts) = &*lock(&entry.phase) {
                unresolved += u64::from(parts.checks.ran_out);
                oldest_ms = Some(oldest_ms.map_or(parts.prepared_ms, |oldest: i64| oldest.min(parts.prepared_ms)));
            }
        }
        TransactionStats {
            open: state.open.values().filter(|open| open.strong_count() > 0).count() as u64,
            prepared: state.undecided.len() as u64,
            unresolved,
            oldest_prepared_age_ms: oldest_ms.map_or(0, |oldest| u64::try_from(wall_ms - oldest).unwrap_or(0)),
            committed: state.committed,
            rolled_back: state.rolled_back,
            checks: self.checkers.checks.load(Ordering::Relaxed),
            checker_failures: self.checkers.failures.load(Ordering::Relaxed),
        }
    }

    /// A transaction of this id, if anything is known of it.
    pub(super) fn find(&self, id: &str) -> Result<Arc<Entry>> {
        let found = lock(&self.state).by_id.get(id).cloned();
        found.ok_or_else(|| Error::UnknownTransaction { id: id.to_owned() })
    }

    /// It has ended: that is remembered for a while.
    /// `lane`: whose log knows it.
    pub(super) fn ended(
        &self,
        engine: &EngineInner,
        entry: &Arc<Entry>,
        outcome: TransactionOutcome,
        lane: Option<u32>,
    ) {
        let outcomes_max = engine.options.outcomes_max as usize;
        let mut state = lock(&self.state);
        state.undecided.remove(&entry.key);
        state.open.remove(&entry.key);
        match outcome {
            TransactionOutcome::Committed => state.committed += 1,
            TransactionOutcome::RolledBack => state.rolled_back += 1,
        }
        state.remember(entry.clone(), lane, outcomes_max);
    }

    /// Others learn of a decision: when all have it durably, the lane that decided may forget it. It is told of many at a
    /// time, for it would wake for each.
    pub(super) fn settle_later(&self, engine: &EngineInner, lane: u32, key: TransactionKey, replies: Vec<Arc<Reply>>) {
        if replies.is_empty() {
            return;
        }
        let count = {
            let mut state = lock(&self.state);
            state.settling.push((lane, key, replies));
            state.settling.len()
        };
        if count.is_multiple_of(SETTLED_TOGETHER) {
            self.settle(engine);
        }
    }

    /// Tells lanes of decisions that every other lane has.
    pub(super) fn settle(&self, engine: &EngineInner) {
        let settled: Vec<_> = {
            let mut state = lock(&self.state);
            let is_there = |(_, _, replies): &mut (u32, TransactionKey, Vec<Arc<Reply>>)| {
                replies.iter().all(|reply| reply.is_there())
            };
            state.settling.extract_if(.., is_there).collect()
        };
        for (lane, key, replies) in settled {
            if replies.iter().all(|reply| reply.wait_shared().is_ok()) {
                let work = step(key, TransactionStep::Settle);
                engine.lanes[lane as usize].push(Message::Transact { work: Box::new(work.0), reply: Reply::pair().0 });
            }
        }
    }
}

impl State {
    fn remember(&mut self, entry: Arc<Entry>, lane: Option<u32>, outcomes_max: usize) {
        // As long as the log does; what no log knows, for whoever asks soon.
        let count_max = lane.map_or(outcomes_max.min(UNLOGGED_MAX), |_| outcomes_max);
        // The id may be another one's by now, that began when this one was rolled back: keys rise. Which of two that have
        // ended was first the time does not say, where the clock was set back.
        if self.by_id.get(&entry.id).is_none_or(|known| known.key <= entry.key) {
            self.by_id.insert(entry.id.clone(), entry.clone());
        }
        let ended = self.ended.entry(lane).or_default();
        ended.push_back(entry);
        while ended.len() > count_max
            && let Some(first) = ended.pop_front()
        {
            if self.by_id.get(&first.id).is_some_and(|known| Arc::ptr_eq(known, &first)) {
                self.by_id.remove(&first.id);
            }
        }
    }
}

/// A step without records, and where what it does is written down.
pub(super) fn step(key: TransactionKey, step: TransactionStep) -> (TransactionWork, Arc<Mutex<TransactionDone>>) {
    let done = Arc::new(Mutex::new(TransactionDone::default()));
    let identity = ProducerIdentity::default();
    (TransactionWork { key, identity, contents: Vec::new(), step, done: done.clone() }, done)
}

/// At opening: ends the parts that were decided and not ended, in the order of the decisions. Returns when that is
/// durable, but for what waits for room on a full disk.
pub(crate) fn finish(engine: &EngineInner, unfinished: &[(u32, Unfinished)]) -> Result<()> {
    if unfinished.is_empty() {
        return Ok(());
    }
    let mut replies: BTreeMap<TransactionKey, Vec<Arc<Reply>>> = BTreeMap::new();
    for (lane, part) in unfinished {
        let (answer, reply) = Reply::pair();
        let work = Box::new(step(part.key, TransactionStep::Follow { outcome: part.outcome }).0);
        engine.lanes[*lane as usize].push(Message::Transact { work, reply: answer });
        replies.entry(part.key).or_default().push(reply);
    }
    for (key, replies) in replies {
        // Which lane decided is all one to the others: they have nothing that this would end.
        for decider in 0..engine.lanes.len() as u32 {
            engine.transactions.settle_later(engine, decider, key, replies.clone());
        }
    }
    engine.lanes.iter().try_for_each(|lane| lane.ask(|reply| Message::Sync { reply }))?;
    engine.transactions.settle(engine);
    Ok(())
}

fn finish_found(found: &mut Found, prepared: &Prepared, outcome: TransactionOutcome) {
    if outcome == TransactionOutcome::RolledBack {
        return;
    }
    for entry in &prepared.acks {
        if let Some(found) = found.get_mut(&(entry.group, entry.slot)) {
            // As the lane does it.
            let _ = found.progress.apply(&entry.change);
        }
    }
}

fn hold_found(found: &mut Found, prepared: &Prepared) {
    for entry in &prepared.acks {
        if let Some(found) = found.get_mut(&(entry.group, entry.slot)) {
            let change: ProgressChange = entry.change.clone();
            found.held.push(change);
        }
    }
}
