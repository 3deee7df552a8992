//! What a group lost in a partition: records that were given up before it had finished them.
//!
//! Invariants:
//! - It is a function of the log: a Truncate frame adds to it, and the group's `Told` says that somebody was told.
//! - What nobody was told of stays, through closing, kills and another number of lanes, until somebody is.

use super::state::OFFSET_MAX;
use crate::log::codec::{Put, Reader};
use std::ops::Range;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// How many records, all in all.
    records: u64,
    /// From the first to behind the last one that nobody was told of; some between the two may have been finished.
    untold: Option<Range<u64>>,
}

impl Lost {
    /// The most that [`Lost::encode`] writes: three varints below 2^63.
    pub(crate) const BYTES_MAX: u64 = 27;

    /// So many records of a range went unfinished.
    pub(crate) fn note(&mut self, range: Range<u64>, records: u64) {
        if records > 0 {
            self.records = self.records.saturating_add(records).min(OFFSET_MAX);
            let from = self.untold.as_ref().map_or(range.start, |untold| untold.start.min(range.start));
            self.untold = Some(from..range.end);
        }
    }

    /// Somebody was told of everything below an offset. `false`: there was nothing to tell.
    pub(crate) fn told(&mut self, to: u64) -> bool {
        let Some(untold) = self.untold.take_if(|untold| untold.start < to) else { return false };
        self.untold = Some(to..untold.end).filter(|rest| !rest.is_empty());
        true
    }

    /// How many records, all in all.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// What somebody is to be told of.
    pub(crate) fn untold(&self) -> Option<Range<u64>> {
        self.untold.clone()
    }

    /// Appends it to a checkpoint.
    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        let untold = self.untold.clone().unwrap_or_default();
        target.put_varint(self.records);
        target.put_varint(untold.end);
        if untold.end > 0 {
            target.put_varint(untold.end - untold.start);
        }
    }

    /// Takes it from a checkpoint. `None`: it is cut, or says what cannot be.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Lost> {
        let records = reader.varint()?;
        let untold = match reader.varint()? {
            0 => None,
            end => Some(end.checked_sub(reader.varint()?)?..end),
        };
        let is_possible =
            records <= OFFSET_MAX && untold.as_ref().is_none_or(|range| !range.is_empty() && range.end < OFFSET_MAX);
        is_possible.then_some(Lost { records, untold })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Option<Lost> {
        let mut reader = Reader::new(bytes);
        Lost::decode(&mut reader).filter(|_| reader.is_empty())
    }

    #[test]
    fn what_is_lost_is_counted_and_waits_until_somebody_is_told() {
        let mut lost = Lost::default();
        lost.note(0..5, 0);
        assert_eq!(lost, Lost::default(), "everything was finished");
        assert!(!lost.told(9));
        lost.note(2..10, 3);
        lost.note(10..20, 7);
        assert_eq!((lost.records(), lost.untold()), (10, Some(2..20)));
        assert!(lost.told(10));
        assert_eq!(lost.untold(), Some(10..20), "more went meanwhile");
        assert!(!lost.told(10));
        assert!(lost.told(25));
        assert_eq!((lost.records(), lost.untold()), (10, None));
    }

    #[test]
    fn it_is_read_back_and_what_cannot_be_is_refused() {
        let largest = Lost { records: OFFSET_MAX, untold: Some(0..OFFSET_MAX - 1) };
        for lost in [Lost::default(), largest, Lost { records: 1, untold: Some(6..7) }] {
            let mut bytes = Vec::new();
            lost.encode(&mut bytes);
            assert!(bytes.len() as u64 <= Lost::BYTES_MAX);
            assert_eq!(decoded(&bytes), Some(lost));
            (0..bytes.len()).for_each(|length| assert_eq!(decoded(&bytes[..length]), None, "cut at {length}"));
        }
        for fields in [&[0, 5, 0][..], &[0, 5, 6], &[OFFSET_MAX + 1, 0], &[1, OFFSET_MAX, 1]] {
            let mut bytes = Vec::new();
            fields.iter().for_each(|field| bytes.put_varint(*field));
            assert_eq!(decoded(&bytes), None, "{fields:?}");
        }
    }
}
