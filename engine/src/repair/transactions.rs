//! Transactions of a directory that is repaired: what was decided stays so, and what was prepared is prepared again.
//!
//! A log with holes cannot say everything. So what is known of one part of a transaction counts for all of it: a decision
//! that any log has decides it, and one that is prepared anywhere, and decided nowhere, is undecided in the new directory,
//! with the records that are left of it. Who knows how it ended is asked.
//!
//! Invariant: nothing becomes visible that no decision says.

use super::scan::Place;
use crate::lane::progress::ProgressEntry;
use crate::lane::transactions::{Decided, Ending, Prepared, TransactionKey, TransactionOutcome, Transactions};
use crate::log::position::Identity;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is known of transactions.
#[derive(Default)]
pub(super) struct Known {
    /// Parts that are prepared, by transaction and log.
    parts: BTreeMap<(TransactionKey, u32), Prepared>,
    /// All frames that were ever said to be of a transaction.
    frames: HashMap<Place, TransactionKey>,
    decided: BTreeMap<TransactionKey, Decided>,
}

/// A transaction that is undecided in the new directory.
pub(super) struct Undecided {
    pub(super) id: String,
    pub(super) checker: String,
    /// Its withheld frames.
    pub(super) frames: Vec<Place>,
    pub(super) acks: Vec<ProgressEntry>,
}

/// What becomes of a withheld frame of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was committed, and its publication is lost or was never written.
    Publish,
    /// It was rolled back, or nobody was ever told of it.
    Discard,
    /// Its transaction is undecided.
    Keep,
}

fn place(identity: &Identity) -> Place {
    (identity.log, identity.position)
}

impl Known {
    /// A part is prepared.
    pub(super) fn prepare(&mut self, log: u32, prepared: Prepared) {
        self.frames.extend(prepared.frames.iter().map(|frame| (place(frame), prepared.key)));
        self.parts.insert((prepared.key, log), prepared);
    }

    /// A part has ended so; what it acknowledged.
    pub(super) fn end(&mut self, log: u32, ending: Ending, outcome: TransactionOutcome) -> Vec<ProgressEntry> {
        let key = ending.key();
        let part = self.parts.remove(&(key, log));
        if let (Some(part), None) = (&part, self.decided.get(&key)) {
            // Where the decision is lost, an end that followed it says what it was.
            let (id, decided_ms, participants) = (part.id.clone(), part.prepared_ms, Vec::new());
            self.decided.insert(key, Decided { key, id, outcome, decided_ms, participants });
        }
        let acks = match (part, &ending) {
            (Some(part), _) => part.acks,
            (None, Ending::Decides { acks, .. }) => acks.clone(),
            (None, Ending::Follows { .. }) => Vec::new(),
        };
        if let Ending::Decides { decided, .. } = ending {
            self.decided.insert(key, decided);
        }
        acks
    }

    /// What parts acknowledge that were committed, and of which no log says that they have ended.
    pub(super) fn unfinished_acks(&self) -> Vec<ProgressEntry> {
        let is_committed = |key: &TransactionKey| {
            self.decided.get(key).is_some_and(|decided| decided.outcome == TransactionOutcome::Committed)
        };
        let parts = self.parts.iter().filter(|((key, _), _)| is_committed(key));
        parts.flat_map(|(_, part)| part.acks.iter().cloned()).collect()
    }

    /// A checkpoint says what is prepared in its log, and what was decided.
    pub(super) fn take_checkpoint(&mut self, log: u32, state: &Transactions) {
        self.parts.retain(|(_, of), _| *of != log);
        for prepared in state.prepared() {
            // With another number of lanes it stood in another log before.
            self.parts.retain(|(key, _), part| *key != prepared.key || part.prepared_ms >= prepared.prepared_ms);
            self.prepare(log, prepared.clone());
        }
        self.decided.extend(state.decided().map(|decided| (decided.key, decided.clone())));
    }

    /// What becomes of a frame that is withheld for a transaction.
    pub(super) fn fate(&self, frame: Place) -> Fate {
        let Some(key) = self.frames.get(&frame) else { return Fate::Discard };
        match self.decided.get(key).map(|decided| decided.outcome) {
            Some(TransactionOutcome::Committed) => Fate::Publish,
            Some(TransactionOutcome::RolledBack) => Fate::Discard,
            None if self.is_undecided(*key) => Fate::Keep,
            None => Fate::Discard,
        }
    }

    fn is_undecided(&self, key: TransactionKey) -> bool {
        let mut parts = self.parts.range((key, 0)..=(key, u32::MAX)).map(|(_, part)| part).peekable();
        parts.peek().is_some() && parts.all(|part| !part.commits) && !self.decided.contains_key(&key)
    }

    /// Those that are undecided, oldest first.
    pub(super) fn undecided(&self) -> Vec<Undecided> {
        let keys: BTreeSet<TransactionKey> = self.parts.keys().map(|(key, _)| *key).collect();
        let whole = |key: TransactionKey| {
            let parts: Vec<&Prepared> = self.parts.range((key, 0)..=(key, u32::MAX)).map(|(_, part)| part).collect();
            let frames: BTreeSet<Place> = parts.iter().flat_map(|part| part.frames.iter().map(place)).collect();
            Undecided {
                id: parts[0].id.to_string(),
                checker: parts[0].checker.to_string(),
                frames: frames.into_iter().collect(),
                acks: parts.iter().flat_map(|part| part.acks.iter().cloned()).collect(),
            }
        };
        keys.into_iter().filter(|key| self.is_undecided(*key)).map(whole).collect()
    }

    /// The outcomes that are known, oldest first.
    pub(super) fn outcomes(&self) -> Vec<Decided> {
        let mut outcomes: Vec<Decided> = self.decided.values().cloned().collect();
        outcomes.iter_mut().for_each(|decided| decided.participants.clear());
        outcomes.sort_by_key(|decided| decided.decided_ms);
        outcomes
    }
}
