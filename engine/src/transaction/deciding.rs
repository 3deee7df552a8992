//! How a transaction that is prepared is decided: once, by whoever comes first.
//!
//! Over several logs the decision is one frame in the log of the first of its lanes; when that is durable it is decided,
//! and the others follow. So a decision costs one flush, however many lanes take part.
//!
//! Invariants:
//! - Nobody is told of a decision before it is durable, also not who repeats it.
//! - A decision that could not be made leaves the transaction prepared.

use super::registry::{Entry, Phase, state_of, step};
use crate::consumer::group::groups::Groups;
use crate::consumer::group::taken::Cause;
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::shared::{Message, Reply};
use crate::lane::steps::{TransactionDone, TransactionStep};
use crate::lane::transactions::{Participant, TransactionKey, TransactionOutcome};
use crate::sync::{Mutex, lock};
use std::sync::Arc;

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
                    state: state_of_open(),
                    advice: "only its handle ends it; who has its id may decide it once it is prepared",
                });
            }
            Phase::Ended { outcome: actual, .. } if *actual == outcome => return Ok(None),
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
            *lock(&entry.phase) = Phase::Ended { outcome, at_ms, parts };
            engine.transactions.ended(engine, entry, outcome);
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
            *lock(&entry.phase) = Phase::Prepared(parts);
            answer.set(Err(error.clone()));
            Err(error)
        }
    }
}

fn state_of_open() -> super::TransactionState {
    super::TransactionState::Open
}

/// Has the first lane decide, and the others follow. Returns when the decision is durable.
pub(super) fn decide_parts(
    engine: &EngineInner,
    key: TransactionKey,
    id: &Arc<str>,
    lanes: &[(u32, Participant)],
    outcome: TransactionOutcome,
) -> Result<Vec<Asked>> {
    let ask = |lane: u32, what: TransactionStep| {
        let (work, done) = step(key, what);
        let (answer, reply) = Reply::pair();
        engine.lanes[lane as usize].push(Message::Transact { work: Box::new(work), reply: answer });
        Asked { lane, done, reply }
    };
    let (first, others) = lanes.split_first().expect("a transaction has a part somewhere");
    let participants = others.iter().map(|(_, participant)| *participant).collect();
    let decider = ask(first.0, TransactionStep::Decide { id: id.clone(), outcome, participants });
    decider.reply.wait_shared()?;
    let mut asked = vec![decider];
    asked.extend(others.iter().map(|(lane, _)| ask(*lane, TransactionStep::Follow { outcome })));
    engine.transactions.settle_later(first.0, key, asked[1..].iter().map(|asked| asked.reply.clone()).collect());
    engine.transactions.settle(engine);
    Ok(asked)
}
