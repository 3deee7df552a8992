//! Who sends: producers with a name, which survive restarts, and all others.
//!
//! Invariants:
//! - A name is held by the last one that opened it. First the earlier ones may not send any more; what they had sent
//!   goes into the log; then lanes append nothing more of them; then the new epoch stands in the log, and the new one may
//!   send. So what was sent in time is there, and nothing comes late.
//! - What lanes know of a named producer (its numbers) stays until it is deleted.

use crate::error::{Error, Result};
use crate::lane::catalog::Catalog;
use crate::log::origin::Origin;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// No epoch: the producer was deleted.
pub(crate) const DELETED: u32 = 0;

/// A producer that has a name.
#[derive(Debug)]
pub(crate) struct NamedProducer {
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    /// Who may send.
    epoch: AtomicU32,
    /// Whose records lanes append; behind the other while the name changes hands.
    appended: AtomicU32,
}

impl NamedProducer {
    pub(crate) fn new(id: u32, name: &str, epoch: u32) -> NamedProducer {
        NamedProducer { id, name: name.into(), epoch: AtomicU32::new(epoch), appended: AtomicU32::new(epoch) }
    }

    /// How often it was opened.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Only this epoch may send from now on.
    pub(crate) fn admit(&self, epoch: u32) {
        self.epoch.store(epoch, Ordering::SeqCst);
    }

    /// Lanes append nothing any more but what the epoch sends that may.
    pub(crate) fn fence(&self) {
        self.appended.store(self.epoch(), Ordering::SeqCst);
    }
}

/// In whose name a handle sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProducerIdentity {
    /// `None`: without a name.
    pub(crate) named: Option<Arc<NamedProducer>>,
    pub(crate) epoch: u32,
}

impl ProducerIdentity {
    /// Of its record with this number.
    #[inline]
    pub(crate) fn origin(&self, sequence: u64) -> Origin {
        Origin { producer: self.id(), epoch: self.epoch, sequence }
    }

    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.named.as_ref().map_or(Origin::UNNAMED, |named| named.id)
    }

    /// Whether nobody has opened the name since.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.named.as_ref().map_or(Ok(()), |named| self.check_against(named, named.epoch()))
    }

    /// For lanes: whether what it has sent is still to be appended.
    #[inline]
    pub(crate) fn check_appended(&self) -> Result<()> {
        let appended = |named: &Arc<NamedProducer>| self.check_against(named, named.appended.load(Ordering::SeqCst));
        self.named.as_ref().map_or(Ok(()), appended)
    }

    fn check_against(&self, named: &NamedProducer, current: u32) -> Result<()> {
        let name = || named.name.to_string();
        match current {
            _ if current == self.epoch => Ok(()),
            DELETED => Err(Error::UnknownProducer { name: name() }),
            _ => Err(Error::ProducerFenced { name: name(), epoch: self.epoch, current }),
        }
    }
}

/// A named producer, as [`Engine::producers`](crate::Engine::producers) lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ProducerInfo {
    /// Its name.
    pub name: String,
    /// Its id: what [`Origin::producer`] says.
    pub id: u32,
    /// How often it was opened.
    pub epoch: u32,
}

/// The last record of a named producer in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LastSent {
    /// Its number; the next record has the one behind it.
    pub sequence: u64,
    /// The epoch that sent it.
    pub epoch: u32,
    /// Its message id, if it had one.
    pub message_id: Option<Vec<u8>>,
}

/// All producers that have a name.
#[derive(Debug, Default)]
pub(crate) struct NamedProducers {
    pub(crate) by_name: BTreeMap<String, Arc<NamedProducer>>,
    /// The largest id that was ever given out.
    pub(crate) last_id: u32,
}

impl NamedProducers {
    pub(crate) fn of(catalog: &Catalog) -> NamedProducers {
        let named = |entry: &crate::lane::catalog::ProducerEntry| {
            (entry.name.clone(), Arc::new(NamedProducer::new(entry.id, &entry.name, entry.epoch)))
        };
        NamedProducers { by_name: catalog.producers.values().map(named).collect(), last_id: catalog.last_producer }
    }
}
