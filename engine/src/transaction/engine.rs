//! What an engine is asked about transactions.

use super::checking::{CheckerOptions, TransactionChecker};
use super::deciding::decide;
use super::info::TransactionInfo;
use crate::engine::Engine;
use crate::error::Result;
use crate::lane::transactions::TransactionOutcome;

impl Engine {
    /// All transactions that are prepared, oldest first, and then those that are open in this process.
    pub fn transactions(&self) -> Vec<TransactionInfo> {
        self.inner().transactions.list(false)
    }

    /// The same behind those that have ended and are remembered (see `outcomes_max`). Of an id that was used again, it is
    /// the last one.
    pub fn all_transactions(&self) -> Vec<TransactionInfo> {
        self.inner().transactions.list(true)
    }

    /// A transaction: one that goes on, or one that ended and is remembered (see `outcomes_max`). So an application finds
    /// out what became of a commit whose outcome was unknown.
    ///
    /// # Errors
    /// `UnknownTransaction`.
    pub fn transaction(&self, id: &str) -> Result<TransactionInfo> {
        self.inner().transactions.find(id).map(|entry| entry.info())
    }

    /// Commits a transaction that is prepared, in whichever process it was. Durable on return. To commit again changes
    /// nothing.
    ///
    /// # Errors
    /// `UnknownTransaction`: it was never prepared, or its outcome was forgotten. `TransactionConflict`: it was rolled back.
    /// `WrongTransactionState`: it is open. With `NoSpace` it stays prepared. `UnknownOutcome`, `Poisoned`, `Closed`,
    /// `Forked`, `ReadOnly`.
    pub fn commit_transaction(&self, id: &str) -> Result<()> {
        self.decide_transaction(id, TransactionOutcome::Committed)
    }

    /// Rolls back a transaction that is prepared. Durable on return. To roll back again changes nothing.
    ///
    /// # Errors
    /// As [`Engine::commit_transaction`].
    pub fn roll_back_transaction(&self, id: &str) -> Result<()> {
        self.decide_transaction(id, TransactionOutcome::RolledBack)
    }

    fn decide_transaction(&self, id: &str, outcome: TransactionOutcome) -> Result<()> {
        let inner = self.inner();
        inner.check_usable()?;
        let entry = inner.transactions.find(id)?;
        decide(inner, &entry, outcome).map(drop)
    }

    /// Has a checker asked how transactions ended that name it and were left undecided: those of earlier processes at once,
    /// those of this one some seconds after their handle went without a decision, and again while it does not know. A
    /// checker that had the name is replaced. Closing the engine waits for a call that goes on.
    ///
    /// # Errors
    /// `InvalidArgument`, `Io` (no thread can be started), `Poisoned`, `Closed`, `Forked`, `ReadOnly`.
    pub fn register_checker(
        &self,
        name: &str,
        options: CheckerOptions,
        checker: impl TransactionChecker,
    ) -> Result<()> {
        let inner = self.inner();
        inner.transactions.checkers.register(inner, name, options, Box::new(checker))
    }

    /// Has a checker asked no more. A call that goes on ends as it would.
    pub fn unregister_checker(&self, name: &str) {
        self.inner().transactions.checkers.unregister(name);
    }
}
