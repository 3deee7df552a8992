//! Transactions of a run: which there were, what can be seen of them after an opening, and that each is decided in the end.
//!
//! Invariant: an id is that of one transaction, and its number tells it.

use super::shared::Shared;
use crate::history::{Call, Event, Happening, History, Outcome, TransactionSeen};
use ringlane::{Engine, Error, TransactionState};
use std::collections::BTreeSet;

/// All transactions of a run.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    next: u64,
    /// Those that may be prepared, and nobody has in hand.
    pub left: BTreeSet<u64>,
}

impl Transactions {
    /// A number that no transaction has.
    pub fn begin(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// All that may be there after a history: none that was begun is forgotten.
    pub fn after(&self, history: &History) -> Transactions {
        let (mut left, mut deciding) = (BTreeSet::new(), std::collections::HashMap::new());
        for event in history.events() {
            match event {
                Event::Invoke {
                    call: Call::Prepare { transaction } | Call::Commit { transaction }, operation, ..
                } => {
                    left.insert(*transaction);
                    if let Event::Invoke { call: Call::Commit { .. }, .. } = event {
                        deciding.insert(*operation, *transaction);
                    }
                }
                Event::Invoke { call: Call::RollBack { transaction }, operation, .. } => {
                    deciding.insert(*operation, *transaction);
                }
                Event::Complete { operation, outcome: Outcome::Ok(_), .. } => {
                    if let Some(transaction) = deciding.get(operation) {
                        left.remove(transaction);
                    }
                }
                _ => {}
            }
        }
        Transactions { left, ..self.clone() }
    }
}

/// The id of a transaction.
pub fn id_of(number: u64) -> String {
    format!("transaction-{number}")
}

/// After an opening: writes down what is known of each transaction.
pub fn list(engine: &Engine, shared: &Shared) {
    if !shared.plan.shape.transacts || shared.allowed.get().damage {
        return;
    }
    let after = shared.transactions.borrow().after(&shared.recorder.history());
    let all = after.next;
    *shared.transactions.borrow_mut() = after;
    for number in 1..=all {
        let state = match engine.transaction(&id_of(number)).map(|info| info.state) {
            Ok(TransactionState::Prepared) => TransactionSeen::Prepared,
            Ok(TransactionState::Committed) => TransactionSeen::Committed,
            Ok(TransactionState::RolledBack) => TransactionSeen::RolledBack,
            Err(Error::UnknownTransaction { .. }) => TransactionSeen::Missing,
            other => return shared.violation(format!("transaction {number} is {other:?} after an opening")),
        };
        if state != TransactionSeen::Prepared {
            shared.transactions.borrow_mut().left.remove(&number);
        }
        shared.recorder.happen(Happening::TransactionAt { transaction: number, state });
    }
}

/// Decides a transaction that is prepared; or did so, and asks again. Says whether it is decided now.
pub fn decide(engine: &Engine, shared: &Shared, process: u32, number: u64, commits: bool) -> bool {
    let call = match commits {
        true => Call::Commit { transaction: number },
        false => Call::RollBack { transaction: number },
    };
    let operation = shared.recorder.invoke(process, call);
    let decided = match commits {
        true => engine.commit_transaction(&id_of(number)),
        false => engine.roll_back_transaction(&id_of(number)),
    };
    let (outcome, is_decided) = match &decided {
        Ok(()) => {
            shared.count(if commits { "commits by id" } else { "roll backs by id" });
            (Outcome::done(), true)
        }
        Err(error @ (Error::TransactionConflict { .. } | Error::UnknownTransaction { .. })) => {
            shared.count("decisions that came too late");
            (Outcome::Failed { code: error.code().to_owned() }, true)
        }
        // Its handle is still there.
        Err(error @ Error::WrongTransactionState { .. }) => (Outcome::Failed { code: error.code().to_owned() }, false),
        Err(error) => (shared.judge("deciding a transaction", error), false),
    };
    shared.recorder.complete(operation, outcome);
    is_decided
}

/// In the end each of them is decided.
pub fn decide_all(engine: &Engine, shared: &Shared) {
    let left = shared.transactions.borrow().left.clone();
    for number in left {
        if shared.recorder.is_silent() {
            return;
        }
        if decide(engine, shared, 9, number, number % 3 > 0) {
            shared.transactions.borrow_mut().left.remove(&number);
        }
    }
}
