//! How far the named producers have come in the partitions of a lane. (What producers without a name have sent, the
//! partition itself counts.)
//!
//! Invariants:
//! - It is a function of the log, and part of each checkpoint: retention takes records away, and no number.
//! - A number that was given out is never given out again while the producer is there: no entry is forgotten before
//!   its producer or topic is deleted.

use crate::log::codec::{Put, Reader};
use crate::log::origin::Origin;
use crate::record::MESSAGE_ID_BYTES_MAX;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most entries of a lane, named producers by the partitions that each has sent to: they are part of each checkpoint.
pub(crate) const NUMBERS_MAX: usize = 250_000;
/// What an entry takes in a checkpoint, without its message id.
pub(crate) const NUMBER_BYTES: u64 = 24;

/// How far a producer has come in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Last {
    /// Of the last record.
    pub(crate) epoch: u32,
    /// The number of the next one.
    pub(crate) next: u64,
    /// That of the last record, if it had one.
    pub(crate) message_id: Option<Arc<[u8]>>,
}

impl Last {
    fn encoded_bytes(&self) -> u64 {
        NUMBER_BYTES + self.message_id.as_ref().map_or(0, |id| id.len() as u64)
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    by_producer: BTreeMap<(u32, u32), Last>,
    bytes: u64,
}

impl Numbers {
    pub(crate) fn get(&self, producer: u32, slot: u32) -> Option<&Last> {
        self.by_producer.get(&(producer, slot))
    }

    /// The number of the producer's next record in the partition.
    pub(crate) fn next(&self, producer: u32, slot: u32) -> u64 {
        self.get(producer, slot).map_or(0, |last| last.next)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_producer.len()
    }

    /// Notes records that stand in the log: `count` of them, from `origin` on.
    pub(crate) fn note(&mut self, slot: u32, origin: Origin, count: u32, message_id: Option<Arc<[u8]>>) {
        let last = Last { epoch: origin.epoch, next: origin.plus(count).sequence, message_id };
        // In a repaired log records may come after others with larger numbers.
        if self.get(origin.producer, slot).is_none_or(|before| before.next <= last.next) {
            self.set(origin.producer, slot, last);
        }
    }

    pub(crate) fn set(&mut self, producer: u32, slot: u32, last: Last) {
        self.bytes += last.encoded_bytes();
        if let Some(before) = self.by_producer.insert((producer, slot), last) {
            self.bytes -= before.encoded_bytes();
        }
    }

    /// All entries: producer, slot, how far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &Last)> {
        self.by_producer.iter().map(|((producer, slot), last)| (*producer, *slot, last))
    }

    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(u32, u32) -> bool) {
        self.by_producer.retain(|(producer, slot), _| is_kept(*producer, *slot));
        self.bytes = self.by_producer.values().map(Last::encoded_bytes).sum();
    }

    /// Bytes that [`Numbers::encode`] takes.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        4 + self.bytes
    }

    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_u32(self.by_producer.len() as u32);
        for ((producer, slot), last) in &self.by_producer {
            target.put_u32(*producer);
            target.put_u32(*slot);
            target.put_u32(last.epoch);
            target.put_u64(last.next);
            target.put_bytes(last.message_id.as_deref().unwrap_or_default());
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Numbers> {
        let mut numbers = Numbers::default();
        for _ in 0..reader.u32()? {
            let (producer, slot, epoch, next) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u64()?);
            let last = Last { epoch, next, message_id: take_message_id(reader)? };
            if producer == Origin::UNNAMED || numbers.get(producer, slot).is_some() {
                return None;
            }
            numbers.set(producer, slot, last);
        }
        Some(numbers)
    }
}

/// A message id that may be missing.
pub(super) fn take_message_id(reader: &mut Reader<'_>) -> Option<Option<Arc<[u8]>>> {
    let bytes = reader.bytes().filter(|bytes| bytes.len() <= MESSAGE_ID_BYTES_MAX)?;
    Some((!bytes.is_empty()).then(|| Arc::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_only_grow_and_are_read_back() {
        let mut numbers = Numbers::default();
        let origin = |epoch, sequence| Origin { producer: 3, epoch, sequence };
        numbers.note(5, origin(1, 0), 4, None);
        numbers.note(5, origin(2, 4), 1, Some(Arc::from(&b"id"[..])));
        numbers.note(5, origin(1, 1), 1, None);
        assert_eq!((numbers.next(3, 5), numbers.next(3, 6), numbers.next(4, 5)), (5, 0, 0));
        assert_eq!(numbers.get(3, 5).unwrap().epoch, 2);
        let mut bytes = Vec::new();
        numbers.encode(&mut bytes);
        assert_eq!(numbers.encoded_bytes(), bytes.len() as u64);
        assert_eq!(Numbers::decode(&mut Reader::new(&bytes)).as_ref(), Some(&numbers));
        for length in 0..bytes.len() {
            assert_eq!(Numbers::decode(&mut Reader::new(&bytes[..length])), None);
        }
        numbers.retain(|producer, _| producer != 3);
        assert_eq!((numbers.len(), numbers.encoded_bytes()), (0, 4));
    }
}
