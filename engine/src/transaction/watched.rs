//! The records of a transaction that the producer's interceptors were shown, and what these are told of them.
//!
//! Invariant: who was shown a record is told what became of it, once: with the commit, the roll back, or when its handle
//! goes.

use super::committed::Committed;
use crate::error::{Error, Result};
use crate::producer::Producer;
use crate::record::Record;
use crate::topic::Topic;
use std::sync::Arc;

/// See the module.
pub(super) struct Watched {
    producer: Producer,
    /// Place among the records, number and topic of each.
    shown: Vec<(usize, u64, Arc<str>)>,
}

impl Watched {
    pub(super) fn new(producer: &Producer) -> Watched {
        Watched { producer: producer.clone(), shown: Vec::new() }
    }

    /// Shows a record, which will be in this place, to the interceptors, and sends it with what they added.
    pub(super) fn send(
        &mut self,
        topic: &Topic,
        record: &Record<'_>,
        place: usize,
        send: impl FnOnce(&Record<'_>) -> Result<()>,
    ) -> Result<()> {
        let (number, added) = self.producer.show(topic, record)?;
        let sent = send(&Record { headers: &added.with(record), ..*record });
        match &sent {
            Ok(()) => self.shown.push((place, number, topic.shared.name.clone())),
            Err(error) => self.producer.tell(number, topic.name(), Err(error)),
        }
        sent
    }

    /// Its records are there.
    pub(super) fn committed(&mut self, committed: &Committed) {
        if self.shown.is_empty() {
            return;
        }
        let receipts = committed.receipts_so_far();
        for (place, number, topic) in std::mem::take(&mut self.shown) {
            if let Some(receipt) = receipts.get(place) {
                self.producer.tell(number, &topic, Ok(receipt));
            }
        }
    }

    /// Its records will never be there, or nobody knows.
    pub(super) fn failed(&mut self, error: &Error) {
        for (_, number, topic) in std::mem::take(&mut self.shown) {
            self.producer.tell(number, &topic, Err(error));
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.shown.is_empty() {
            let reason = "its transaction was left undecided; whoever has its id decides it, or its checker".to_owned();
            self.failed(&Error::UnknownOutcome { reason });
        }
    }
}
