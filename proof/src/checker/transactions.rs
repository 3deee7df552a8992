//! What becomes of transactions: what was prepared is decided once, by somebody who asked for it, and until then nobody
//! else has what it holds.

use super::finding::{Anomaly, Finding};
use super::world::World;
use crate::history::{TransactionNumber, TransactionSeen};

impl World<'_> {
    /// Somebody asks for it to be rolled back, or lets it go.
    pub(super) fn rolling_back(&mut self, index: usize, number: TransactionNumber) {
        if let Some(place) = self.records.find_transaction(number) {
            self.records.transactions[place].roll_back_asked.get_or_insert(index);
        }
    }

    /// It is durable.
    pub(super) fn prepared(&mut self, index: usize, number: TransactionNumber) {
        if let Some(place) = self.records.find_transaction(number) {
            self.records.transactions[place].prepared.get_or_insert(index);
        }
    }

    /// After an opening: what the engine knows of it.
    pub(super) fn transaction_at(&mut self, index: usize, number: TransactionNumber, state: TransactionSeen) {
        let Some(place) = self.records.find_transaction(number) else { return };
        let transaction = &self.records.transactions[place];
        let before = |event: Option<usize>| event.filter(|event| *event < index);
        let (prepared, committed) = (before(transaction.prepared), before(transaction.committed));
        let (rolled_back, commit_asked) = (before(transaction.rolled_back), before(transaction.commit_asked));
        let roll_back_asked = before(transaction.roll_back_asked);
        let found = match state {
            TransactionSeen::Committed if commit_asked.is_none() => {
                Some((Anomaly::DecidedByItself, "is committed, and nobody asked for it".to_owned()))
            }
            // One that was to be committed at once may be rolled back by a crash.
            TransactionSeen::RolledBack if prepared.is_some() && roll_back_asked.is_none() => {
                Some((Anomaly::DecidedByItself, "is rolled back, and nobody asked for it".to_owned()))
            }
            TransactionSeen::Prepared | TransactionSeen::RolledBack | TransactionSeen::Missing
                if committed.is_some() =>
            {
                let at = committed.unwrap_or_default();
                Some((Anomaly::LostTransaction, format!("is {state:?}, and was committed, says event {at}")))
            }
            TransactionSeen::Prepared if rolled_back.is_some() => {
                let at = rolled_back.unwrap_or_default();
                Some((Anomaly::LostTransaction, format!("is prepared, and was rolled back, says event {at}")))
            }
            TransactionSeen::Missing if prepared.is_some() => {
                let at = prepared.unwrap_or_default();
                Some((Anomaly::LostTransaction, format!("is gone, and was prepared, says event {at}")))
            }
            _ => None,
        };
        if let Some((anomaly, what)) = found {
            self.findings.push(Finding::new(index, anomaly, format!("transaction {number} {what}")));
        }
        match state {
            // The answer was lost: now it is promised.
            TransactionSeen::Committed => self.keep_transaction(index, place),
            TransactionSeen::Prepared => {
                self.records.transactions[place].prepared.get_or_insert(index);
            }
            TransactionSeen::Missing | TransactionSeen::RolledBack => {}
        }
    }

    /// It is committed for ever: its records are promised, its acknowledgements done. Once: a group may begin anew later.
    pub(super) fn keep_transaction(&mut self, index: usize, place: usize) {
        if std::mem::replace(&mut self.records.transactions[place].is_kept, true) {
            return;
        }
        let records = std::mem::take(&mut self.records.transactions[place].records);
        for record in &records {
            self.steps += 1;
            self.records.all[*record].kept = true;
        }
        self.records.transactions[place].records = records;
        let leases = std::mem::take(&mut self.records.transactions[place].leases);
        for (group, lease) in &leases {
            self.steps += 1;
            let Some(lease) = self.groups.by_number.get(&(*group, *lease)).copied() else { continue };
            let held = &self.groups.leases[lease];
            // A group that was sent elsewhere meanwhile is given it again.
            if !held.taken_away && !self.groups.is_dubious(*group, held.place, held.invoked) {
                self.acknowledge(index, *group, lease);
            }
        }
        self.records.transactions[place].leases = leases;
    }

    /// Whether an undecided transaction has the delivery of a lease for itself at an event: its number.
    pub(super) fn held_at(&self, lease: usize, index: usize) -> Option<TransactionNumber> {
        let lease = &self.groups.leases[lease];
        let transaction = &self.records.transactions[lease.held_by.filter(|_| !lease.taken_away)?];
        let is_decided =
            [transaction.commit_asked, transaction.roll_back_asked].into_iter().flatten().any(|at| at < index);
        // What was open ends with its engine.
        let lives = lease.engine == self.groups.engine || transaction.prepared.is_some();
        (lives && !is_decided).then_some(transaction.number)
    }
}
