//! The receipts of records whose senders may send them again: those with a number or an id of their own.
//!
//! Invariants:
//! - It is a function of the log, and part of each checkpoint.
//! - Bounded: the oldest goes first. What went is not taken for new where a number says otherwise; an id is
//!   known only as long as it stands here.

use super::numbers::take_message_id;
use crate::log::codec::{Put, Reader};
use crate::log::origin::Origin;
use crate::log::position::Identity;
use crate::record::RecordRef;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Most receipts of one lane that an option may allow: they are part of each checkpoint.
pub(crate) const ORIGINALS_CEILING: u64 = 1_000_000;
/// What a receipt takes in a checkpoint, without its message id.
pub(crate) const ORIGINAL_BYTES: u64 = 45 + Identity::BYTES as u64;

const WITHHELD: u64 = u64::MAX;

/// The receipt of a record, as it was given the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Original {
    pub(crate) slot: u32,
    pub(crate) origin: Origin,
    /// Its sender gave it its number.
    pub(crate) is_numbered: bool,
    pub(crate) message_id: Option<Arc<[u8]>>,
    /// `None`: it was withheld.
    pub(crate) offset: Option<u64>,
    pub(crate) identity: Identity,
    /// Its place in the frame.
    pub(crate) index: u32,
    pub(crate) timestamp_ms: i64,
}

impl Original {
    /// Of a record in a frame whose first record has the offset `base_offset`.
    pub(crate) fn of(
        record: RecordRef<'_>,
        slot: u32,
        origin: Origin,
        identity: Identity,
        base_offset: Option<u64>,
        index: u32,
    ) -> Original {
        Original {
            slot,
            origin,
            is_numbered: record.sequence().is_some(),
            message_id: record.message_id().map(Arc::from),
            offset: base_offset.map(|base| base.wrapping_add(u64::from(index))),
            identity,
            index,
            timestamp_ms: record.timestamp_ms(),
        }
    }

    fn encoded_bytes(&self) -> u64 {
        ORIGINAL_BYTES + self.message_id.as_ref().map_or(0, |id| id.len() as u64)
    }

    fn number(&self) -> (u32, u32, u64) {
        (self.slot, self.origin.producer, self.origin.sequence)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Originals {
    max: usize,
    queue: VecDeque<Original>,
    /// How many went: the place of the first in the queue.
    gone: u64,
    /// Places by slot, producer and number.
    by_number: HashMap<(u32, u32, u64), u64>,
    /// Places by slot and message id.
    by_id: HashMap<u32, HashMap<Arc<[u8]>, u64>>,
    bytes: u64,
}

impl Default for Originals {
    fn default() -> Self {
        Originals {
            max: ORIGINALS_CEILING as usize,
            queue: VecDeque::new(),
            gone: 0,
            by_number: HashMap::new(),
            by_id: HashMap::new(),
            bytes: 0,
        }
    }
}

impl Originals {
    /// Keeps at most so many from now on.
    pub(crate) fn bound(&mut self, max: usize) {
        self.max = max;
        while self.queue.len() > max {
            self.forget_first();
        }
    }

    /// How much more of a checkpoint `count` receipts with so many bytes of ids take at most.
    pub(crate) fn growth(&self, count: u64, id_bytes: u64) -> u64 {
        let new = (self.max.saturating_sub(self.queue.len()) as u64).min(count);
        // One that goes may have had a shorter id.
        new * ORIGINAL_BYTES + id_bytes
    }

    pub(crate) fn push(&mut self, original: Original) {
        if self.queue.len() >= self.max {
            self.forget_first();
        }
        if self.max == 0 {
            return;
        }
        let place = self.gone + self.queue.len() as u64;
        self.bytes += original.encoded_bytes();
        if original.is_numbered {
            self.by_number.insert(original.number(), place);
        }
        if let Some(id) = &original.message_id {
            self.by_id.entry(original.slot).or_default().insert(id.clone(), place);
        }
        self.queue.push_back(original);
    }

    pub(crate) fn by_number(&self, slot: u32, producer: u32, sequence: u64) -> Option<&Original> {
        self.at(*self.by_number.get(&(slot, producer, sequence))?)
    }

    pub(crate) fn by_id(&self, slot: u32, message_id: &[u8]) -> Option<&Original> {
        self.at(*self.by_id.get(&slot)?.get(message_id)?)
    }

    fn at(&self, place: u64) -> Option<&Original> {
        self.queue.get(place.checked_sub(self.gone)? as usize)
    }

    fn forget_first(&mut self) {
        let Some(first) = self.queue.pop_front() else { return };
        self.bytes -= first.encoded_bytes();
        let place = self.gone;
        self.gone += 1;
        // The same key may stand for a later one.
        if first.is_numbered && self.by_number.get(&first.number()) == Some(&place) {
            self.by_number.remove(&first.number());
        }
        if let Some(id) = &first.message_id
            && let Some(of_slot) = self.by_id.get_mut(&first.slot)
        {
            if of_slot.get(id) == Some(&place) {
                of_slot.remove(id);
            }
            if of_slot.is_empty() {
                self.by_id.remove(&first.slot);
            }
        }
    }

    /// Forgets those that are not kept.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&Original) -> bool) {
        let kept = std::mem::take(self);
        self.max = kept.max;
        kept.queue.into_iter().filter(is_kept).for_each(|original| self.push(original));
    }

    /// The oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Original> {
        self.queue.iter()
    }

    /// Bytes that [`Originals::encode`] takes.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        4 + self.bytes
    }

    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_u32(self.queue.len() as u32);
        for original in &self.queue {
            target.put_u32(original.slot);
            let mut origin = [0; Origin::BYTES];
            original.origin.put(&mut origin);
            target.extend_from_slice(&origin);
            target.put_u8(u8::from(original.is_numbered));
            target.put_u64(original.offset.unwrap_or(WITHHELD));
            original.identity.encode(target);
            target.put_u32(original.index);
            target.put_i64(original.timestamp_ms);
            target.put_bytes(original.message_id.as_deref().unwrap_or_default());
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Originals> {
        let mut originals = Originals::default();
        let count = u64::from(reader.u32()?);
        if count > ORIGINALS_CEILING {
            return None;
        }
        for _ in 0..count {
            let slot = reader.u32()?;
            let origin = Origin::take(reader.take(Origin::BYTES)?);
            let is_numbered = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            let offset = Some(reader.u64()?).filter(|offset| *offset != WITHHELD);
            let identity = Identity::decode(reader)?;
            let (index, timestamp_ms) = (reader.u32()?, reader.i64()?);
            let message_id = take_message_id(reader)?;
            originals.push(Original { slot, origin, is_numbered, message_id, offset, identity, index, timestamp_ms });
        }
        Some(originals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::position::Position;

    fn original(slot: u32, sequence: u64, message_id: Option<&[u8]>) -> Original {
        Original {
            slot,
            origin: Origin { producer: 1, epoch: 1, sequence },
            is_numbered: message_id.is_none(),
            message_id: message_id.map(Arc::from),
            offset: sequence.is_multiple_of(2).then_some(sequence),
            identity: Identity { log: 0, position: Position(8 * sequence) },
            index: 0,
            timestamp_ms: -1,
        }
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_left_is_read_back() {
        let mut originals = Originals::default();
        originals.bound(3);
        for sequence in 0..3 {
            originals.push(original(7, sequence, None));
        }
        assert_eq!(originals.growth(5, 9), 9, "it is full");
        originals.push(original(7, 3, Some(b"three")));
        assert_eq!(originals.by_number(7, 1, 0), None);
        assert_eq!(originals.by_number(7, 1, 2), Some(&original(7, 2, None)));
        assert_eq!(originals.by_number(7, 1, 3), None, "its sender did not number it");
        assert_eq!(originals.by_id(7, b"three").unwrap().origin.sequence, 3);
        assert_eq!(originals.by_id(8, b"three"), None, "another partition");
        let mut bytes = Vec::new();
        originals.encode(&mut bytes);
        assert_eq!(originals.encoded_bytes(), bytes.len() as u64);
        let read = Originals::decode(&mut Reader::new(&bytes)).unwrap();
        assert!(read.iter().eq(originals.iter()));
        assert_eq!(read.encoded_bytes(), originals.encoded_bytes());
        for length in 0..bytes.len() {
            assert!(Originals::decode(&mut Reader::new(&bytes[..length])).is_none());
        }
        originals.bound(0);
        originals.push(original(7, 4, None));
        assert_eq!((originals.iter().count(), originals.encoded_bytes()), (0, 4));
    }

    #[test]
    fn an_id_that_comes_again_after_it_was_forgotten_is_the_later_one() {
        let mut originals = Originals::default();
        originals.bound(2);
        originals.push(original(7, 0, Some(b"a")));
        originals.push(original(7, 1, Some(b"a")));
        originals.push(original(7, 2, Some(b"b")));
        assert_eq!(originals.by_id(7, b"a").unwrap().origin.sequence, 1);
        originals.retain(|original| original.origin.sequence != 1);
        assert!(originals.by_id(7, b"a").is_none() && originals.by_id(7, b"b").is_some());
    }
}
