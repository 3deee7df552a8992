//! Half messages in one call, in the shape that users of RocketMQ know.

use super::info::TransactionState;
use super::open::Transaction;
use super::options::TransactionOptions;
use crate::error::Result;
use crate::producer::Producer;
use crate::record::Record;
use crate::topic::Topic;

/// How the local transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalOutcome {
    /// It is committed: the record is published.
    Commit,
    /// It is rolled back: nobody ever sees the record.
    RollBack,
    /// Nobody can tell: the checker is asked later.
    Unknown,
}

/// What became of a record that was sent in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SentInTransaction {
    /// The transaction's id.
    pub id: String,
    /// What it is now: committed, rolled back, or prepared.
    pub state: TransactionState,
}

impl Producer {
    /// Begins a transaction.
    ///
    /// # Errors
    /// `TransactionExists`: one with this id goes on, or was committed. `TooMany`, `InvalidArgument`, `ProducerFenced`,
    /// `UnknownProducer`, `Poisoned`, `Closed`, `Forked`.
    pub fn begin(&self, options: TransactionOptions) -> Result<Transaction> {
        Transaction::begin(self, &options)
    }

    /// Sends a record if, and only if, a local transaction commits: the record is prepared, durable and invisible; then
    /// `local` runs, with the transaction's id; then the record is published or given up, as `local` says. With
    /// [`LocalOutcome::Unknown`], if `local` panics, or if the process ends meanwhile, the checker of the options is asked:
    /// so it should be given, and `local` should write down the id with what it does.
    ///
    /// # Errors
    /// `local` has not run: those of [`Producer::begin`], [`Transaction::send`] and [`Transaction::prepare`]. It has run:
    /// those of [`Transaction::commit`] and [`Transaction::roll_back`]; then the transaction is prepared as before, and its
    /// checker is asked.
    pub fn send_in_transaction(
        &self,
        topic: &Topic,
        record: Record<'_>,
        options: TransactionOptions,
        local: impl FnOnce(&str) -> LocalOutcome,
    ) -> Result<SentInTransaction> {
        let mut transaction = self.begin(options)?;
        transaction.send(topic, record)?;
        transaction.prepare()?;
        match local(transaction.id()) {
            LocalOutcome::Commit => drop(transaction.commit()?),
            LocalOutcome::RollBack => transaction.roll_back()?,
            LocalOutcome::Unknown => {}
        }
        Ok(SentInTransaction { id: transaction.id().to_owned(), state: transaction.state() })
    }
}
