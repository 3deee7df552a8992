//! What became of the records of a transaction that was committed.

use super::deciding::Asked;
use crate::error::Result;
use crate::log::origin::Origin;
use crate::log::position::Identity;
use crate::partition::shared::TopicShared;
use crate::producer::{Durability, Receipt, RecordId};
use crate::sync::lock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Where a record of a transaction is.
pub(super) struct RecordPlace {
    pub(super) lane: u32,
    /// Which frame of the lane's.
    pub(super) frame: usize,
    pub(super) index: u32,
    pub(super) topic: Arc<TopicShared>,
    pub(super) partition: u32,
    pub(super) timestamp_ms: i64,
}

/// Records that stand in the log, in the order in which they were sent.
#[derive(Default)]
pub(super) struct Written {
    /// Of each lane, its frames, and the origin of the first record of each.
    pub(super) lanes: BTreeMap<u32, Vec<(Identity, Origin)>>,
    pub(super) records: Vec<RecordPlace>,
}

/// A transaction that was committed. Its receipts are for those who want them.
#[derive(Clone, Default)]
pub struct Committed {
    written: Arc<Written>,
    asked: Arc<[Asked]>,
}

impl Committed {
    pub(super) fn new(written: Written, asked: Vec<Asked>) -> Committed {
        Committed { written: Arc::new(written), asked: asked.into() }
    }

    /// How many records it has; 0, if somebody else committed it.
    pub fn len(&self) -> usize {
        self.written.records.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns when all of it is visible, and durably so: the receipts of its records, in the order in which they were sent.
    /// A record whose topic was deleted meanwhile has no offset.
    ///
    /// # Errors
    /// The transaction stays committed. Where it is to become visible: `UnknownOutcome`, `Poisoned`, `NoSpace`; opening
    /// makes it visible then, if nothing else does.
    pub fn receipts(&self) -> Result<Vec<Receipt>> {
        self.asked.iter().try_for_each(|asked| asked.reply.wait_shared())?;
        Ok(self.receipts_so_far())
    }

    /// The same without waiting: where a lane has not published them yet, records have no offsets.
    pub(super) fn receipts_so_far(&self) -> Vec<Receipt> {
        let mut published: HashMap<Identity, u64> = HashMap::new();
        for asked in &*self.asked {
            published.extend(lock(&asked.done).published.iter().copied());
        }
        let receipt = |place: &RecordPlace| {
            let (identity, origin) = self.written.lanes[&place.lane][place.frame];
            Receipt {
                topic: place.topic.name.clone(),
                partition: place.partition,
                offset: published.get(&identity).map(|base| base + u64::from(place.index)),
                timestamp_ms: place.timestamp_ms,
                durability: Durability::Synced,
                id: RecordId { log: identity.log, position: identity.position.0, index: place.index },
                origin: origin.plus(place.index),
                duplicate: false,
            }
        };
        self.written.records.iter().map(receipt).collect()
    }
}

impl std::fmt::Debug for Committed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Committed({} records)", self.len())
    }
}
