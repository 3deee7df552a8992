//! How a transaction that is prepared is decided: once, by whoever comes first.
//!
//! Over several logs the decision is one frame, always in the log of the first lane, also where that takes no part: so all
//! decisions over several lanes have one order, and the others follow in it. When the frame is durable it is decided; so
//! a decision costs one flush, however many lanes take part. What is committed at once has its part of the first lane
//! prepared by the decision itself: the others are prepared before it, all at the same time.
//!
//! Invariants:
//! - Of two transactions over several lanes one comes first in every partition that they share.
//! - Nobody is told of a decision before it is durable, also not who repeats it.
//! - A decision that could not be made leaves the transaction prepared.

use super::info::TransactionState;
use super::registry::{Entry, Phase, state_of, step};
use crate::canary::{self, Canary};
use crate::consumer::group::groups::Groups;
use crate::consumer::group::taken::Cause;
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::shared::{Message, Reply};
use crate::lane::steps::{TransactionDone, TransactionStep};
use crate::lane::transactions::{Participant, TransactionKey, TransactionOutcome};
use crate::sync::{Mutex, lock};
use std::collections::VecDeque;
use std::sync::Arc;

/// The lane that decides over several.
pub(super) const DECIDER: u32 = 0;

/// A lane that was asked for a step.
pub(super) struct Asked {
    pub(super) lane: u32,
    pub(super) done: Arc<Mutex<TransactionDone>>,
    pub(super) reply: Arc<Reply>,
}

/// Decides a transaction. `None`: it was decided so before.
pub(super) fn decide(
    engine: &Arc<EngineInner>,
    entry: &Arc<Entry>,
    outcome: TransactionOutcome,
) -> Result<Option<Vec<Asked>>> {
    engine.check_fork()?;
    let (parts, answer) = loop {
        let mut phase = lock(&entry.phase);
        match &mut *phase {
            Phase::Open => {
                return Err(Error::WrongTransactionState {
                    id: entry.id.to_string(),
                    state: TransactionState::Open,
                    advice: "only its handle ends it; who has its id may decide it once it is prepared",
                });
            }
            Phase::Ended { outcome: actual, .. } if *actual == outcome || canary::sings(Canary::DecideAgain) => {
                return Ok(None);
            }
            Phase::Ended { outcome: actual, .. } => {
                return Err(Error::TransactionConflict { id: entry.id.to_string(), actual: state_of(*actual) });
            }
            Phase::Deciding(reply, _) => {
                let reply = reply.clone();
                drop(phase);
                reply.wait_shared()?;
            }
            Phase::Prepared(parts) => {
                let parts = parts.clone();
                let (answer, reply) = Reply::pair();
                *phase = Phase::Deciding(reply, parts.clone());
                break (parts, answer);
            }
        }
    };
    match decide_parts(engine, entry.key, &entry.id, &parts.lanes, outcome) {
        Ok(asked) => {
            let (at_ms, held) = (lock(&asked[0].done).at_ms, parts.held.clone());
            *lock(&entry.phase) = Phase::Ended { outcome, at_ms, parts: parts.over() };
            engine.transactions.ended(engine, entry, outcome, Some(asked[0].lane));
            match outcome {
                TransactionOutcome::Committed => Groups::held_finished(engine, &held),
                TransactionOutcome::RolledBack => {
                    Groups::held_given_back(engine, &held, Cause::Nacked { delay_ms: None });
                }
            }
            answer.set(Ok(()));
            Ok(Some(asked))
        }
        Err(error) => {
            let mut phase = lock(&entry.phase);
            // Not as it was before: its handle may have gone meanwhile, and then it is checked from now on.
            if let Phase::Deciding(_, parts) = &mut *phase {
                *phase = Phase::Prepared(std::mem::take(parts));
            }
            drop(phase);
            answer.set(Err(error.clone()));
            Err(error)
        }
    }
}

/// Decides a transaction with parts in these lanes. Returns when the decision is durable; the others follow.
pub(super) fn decide_parts(
    engine: &EngineInner,
    key: TransactionKey,
    id: &Arc<str>,
    lanes: &[(u32, Participant)],
    outcome: TransactionOutcome,
) -> Result<Vec<Asked>> {
    if let [(lane, _)] = lanes {
        let what = TransactionStep::Decide { id: id.clone(), outcome, participants: Vec::new() };
        let (decider, message) = Asked::new(*lane, key, what);
        engine.lanes[*lane as usize].push(message);
        decider.reply.wait_shared()?;
        return Ok(vec![decider]);
    }
    let participants = others(lanes).map(|(_, participant)| *participant).collect();
    let what = TransactionStep::Decide { id: id.clone(), outcome, participants };
    let (decider, message) = Asked::new(DECIDER, key, what);
    let turn = engine.transactions.order.decide(engine, message);
    let others = others(lanes).map(|(lane, _)| *lane);
    follow(engine, key, outcome, (turn, decider), others)
}

/// Lanes that take part, but for the one that decides.
fn others(lanes: &[(u32, Participant)]) -> impl Iterator<Item = &(u32, Participant)> {
    lanes.iter().filter(|(lane, _)| *lane != DECIDER)
}

/// Waits for a decision over several lanes that was asked for, and has the others follow it.
pub(super) fn follow(
    engine: &EngineInner,
    key: TransactionKey,
    outcome: TransactionOutcome,
    (turn, decider): (u64, Asked),
    others: impl Iterator<Item = u32>,
) -> Result<Vec<Asked>> {
    let decided = decider.reply.wait_shared();
    let mut asked = vec![decider];
    let mut messages = Vec::new();
    if decided.is_ok() {
        for lane in others {
            let (follower, message) = Asked::new(lane, key, TransactionStep::Follow { outcome });
            asked.push(follower);
            messages.push((lane, message));
        }
    }
    engine.transactions.order.follow(engine, turn, messages);
    decided?;
    let replies = asked[1..].iter().map(|asked| asked.reply.clone()).collect();
    engine.transactions.settle_later(engine, DECIDER, key, replies);
    Ok(asked)
}

impl Asked {
    /// What is to be sent to a lane, and where its answer comes.
    fn new(lane: u32, key: TransactionKey, what: TransactionStep) -> (Asked, Message) {
        let (work, done) = step(key, what);
        let (answer, reply) = Reply::pair();
        (Asked { lane, done, reply }, Message::Transact { work: Box::new(work), reply: answer })
    }
}

/// The order of decisions over several lanes: the others follow in the order in which the first one decides.
#[derive(Debug, Default)]
pub(crate) struct Order {
    turns: Mutex<Turns>,
}

#[derive(Default)]
struct Turns {
    /// The number of the first that waits.
    first: u64,
    /// Those that were asked for and of which the others know nothing yet; what these are to be told, when it is known.
    waiting: VecDeque<Option<Vec<(u32, Message)>>>,
}

impl Order {
    /// Asks for a decision; returns its turn.
    pub(super) fn decide(&self, engine: &EngineInner, message: Message) -> u64 {
        let mut turns = lock(&self.turns);
        engine.lanes[DECIDER as usize].push(message);
        turns.waiting.push_back(None);
        turns.first + turns.waiting.len() as u64 - 1
    }

    /// The decision is there: what the others are to be told, when those before it were.
    fn follow(&self, engine: &EngineInner, turn: u64, messages: Vec<(u32, Message)>) {
        let mut turns = lock(&self.turns);
        let at = (turn - turns.first) as usize;
        turns.waiting[at] = Some(messages);
        while let Some(Some(_)) = turns.waiting.front() {
            turns.first += 1;
            for (lane, message) in turns.waiting.pop_front().flatten().into_iter().flatten() {
                engine.lanes[lane as usize].push(message);
            }
        }
    }
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} decisions from {} on", self.waiting.len(), self.first)
    }
}
