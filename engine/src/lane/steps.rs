//! The steps of transactions that a lane is asked for. How it takes them: `lane/lane/transacting.rs`.

use super::progress::ProgressEntry;
use super::transactions::{Participant, TransactionKey, TransactionOutcome};
use crate::log::origin::Origin;
use crate::log::position::{Identity, Position};
use crate::producer::batch::Content;
use crate::producer::identity::ProducerIdentity;
use crate::sync::Mutex;
use std::sync::Arc;

/// What a lane is to do for a transaction.
pub(crate) struct TransactionWork {
    pub(crate) key: TransactionKey,
    /// In whose name its records are sent.
    pub(crate) identity: ProducerIdentity,
    /// Records that do not stand in the log yet.
    pub(crate) contents: Vec<Content>,
    pub(crate) step: TransactionStep,
    pub(crate) done: Arc<Mutex<TransactionDone>>,
}

/// What becomes of a transaction in this log.
#[derive(Clone, Debug)]
pub(crate) enum TransactionStep {
    /// Nothing yet: its records go into the log, because they are many. Answered when they stand there.
    Withhold,
    /// Its part is prepared: what `written` names, and what comes with this step.
    Prepare { written: Vec<Identity>, prepared: PrepareStep },
    /// It is prepared wherever else it has parts: what it has here is prepared by the decision itself, and committed.
    Commit { written: Vec<Identity>, id: Arc<str>, acks: Vec<ProgressEntry>, participants: Vec<Participant> },
    /// It is prepared, in the others too, and this log decides.
    Decide { id: Arc<str>, outcome: TransactionOutcome, participants: Vec<Participant> },
    /// It is prepared, and was decided elsewhere.
    Follow { outcome: TransactionOutcome },
    /// It was not prepared, and never will be.
    GiveUp { written: Vec<Identity> },
    /// Every log that takes part has the decision that this one made.
    Settle,
}

/// What a Prepare frame says beside the records.
#[derive(Clone, Debug)]
pub(crate) struct PrepareStep {
    pub(crate) id: Arc<str>,
    pub(crate) checker: Arc<str>,
    pub(crate) participants: u32,
    pub(crate) commits: bool,
    pub(crate) acks: Vec<ProgressEntry>,
}

/// What a lane has done.
#[derive(Clone, Debug, Default)]
pub(crate) struct TransactionDone {
    /// For each part of the contents, in their order: the frame, and the origin of its first record.
    pub(crate) withheld: Vec<(Identity, Origin)>,
    /// Where the Prepare frame stands, and its checksum.
    pub(crate) prepared: Option<(Position, u32)>,
    /// The first offset of each frame that was published.
    pub(crate) published: Vec<(Identity, u64)>,
    /// When it was prepared or decided, ms since 1970.
    pub(crate) at_ms: i64,
}
