//! The bodies of Publish, Discard and Truncate frames.
//!
//! Behind the list of a Publish or Discard frame may stand the end of a transaction: see [`super::transactions`].
//!
//! Invariant: references name a withheld frame by its identity, the log and position it was first written
//! at; an identity is never an address, and the segment that the bytes were copied to knows where they stand.

use super::transactions::Ending;
use crate::log::codec::{Put, Reader};
use crate::log::position::Identity;

/// Bytes of an entry of a Publish frame without its extra headers.
pub(crate) const PUBLISH_BYTES: usize = Identity::BYTES + 36;

/// One entry of a Publish frame: offsets for records of a withheld frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishEntry {
    pub(crate) identity: Identity,
    pub(crate) slot: u32,
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) base_offset: u64,
    /// Total bytes of the withheld frame.
    pub(crate) frame_bytes: u32,
    /// Largest record timestamp among the published ones.
    pub(crate) timestamp_max_ms: i64,
    /// Headers that each published record gets in addition, in the record's own header layout.
    pub(crate) extra_headers: Vec<u8>,
}

/// One entry of a Discard frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiscardEntry {
    pub(crate) identity: Identity,
}

/// One entry of a Truncate frame: the partition has no records below `first_offset` any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TruncateEntry {
    pub(crate) slot: u32,
    pub(crate) first_offset: u64,
}

pub(crate) fn encode_publish(entries: &[PublishEntry], ending: Option<&Ending>) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + entries.len() * PUBLISH_BYTES);
    body.put_u32(entries.len() as u32);
    for entry in entries {
        entry.identity.encode(&mut body);
        body.put_u32(entry.slot);
        body.put_u32(entry.first);
        body.put_u32(entry.count);
        body.put_u64(entry.base_offset);
        body.put_u32(entry.frame_bytes);
        body.put_i64(entry.timestamp_max_ms);
        body.put_bytes(&entry.extra_headers);
    }
    if let Some(ending) = ending {
        ending.encode_into(&mut body);
    }
    body
}

/// The publications, and the transaction that ends by them.
pub(crate) fn decode_publish(body: &[u8]) -> Option<(Vec<PublishEntry>, Option<Ending>)> {
    decode_list_and_ending(body, |reader| {
        Some(PublishEntry {
            identity: Identity::decode(reader)?,
            slot: reader.u32()?,
            first: reader.u32()?,
            count: reader.u32()?,
            base_offset: reader.u64()?,
            frame_bytes: reader.u32()?,
            timestamp_max_ms: reader.i64()?,
            extra_headers: reader.bytes()?.to_vec(),
        })
    })
}

pub(crate) fn encode_discard(entries: &[DiscardEntry], ending: Option<&Ending>) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u32(entries.len() as u32);
    for entry in entries {
        entry.identity.encode(&mut body);
    }
    if let Some(ending) = ending {
        ending.encode_into(&mut body);
    }
    body
}

/// What is discarded, and the transaction that ends by that.
pub(crate) fn decode_discard(body: &[u8]) -> Option<(Vec<DiscardEntry>, Option<Ending>)> {
    decode_list_and_ending(body, |reader| Some(DiscardEntry { identity: Identity::decode(reader)? }))
}

fn decode_list_and_ending<'a, T>(
    body: &'a [u8],
    one: impl Fn(&mut Reader<'a>) -> Option<T>,
) -> Option<(Vec<T>, Option<Ending>)> {
    let mut reader = Reader::new(body);
    let entries = take_list(&mut reader, body.len(), one)?;
    let ending = if reader.is_empty() { None } else { Some(Ending::take(&mut reader)?) };
    reader.is_empty().then_some((entries, ending))
}

/// Bytes of the body of a Truncate frame with so many entries.
pub(crate) fn truncate_body_bytes(entries: usize) -> usize {
    4 + entries * 12
}

pub(crate) fn encode_truncate(entries: &[TruncateEntry]) -> Vec<u8> {
    let mut body = Vec::with_capacity(truncate_body_bytes(entries.len()));
    body.put_u32(entries.len() as u32);
    for entry in entries {
        body.put_u32(entry.slot);
        body.put_u64(entry.first_offset);
    }
    body
}

pub(crate) fn decode_truncate(body: &[u8]) -> Option<Vec<TruncateEntry>> {
    decode_list(body, |reader| Some(TruncateEntry { slot: reader.u32()?, first_offset: reader.u64()? }))
}

/// A count (u32), and so many entries, up to the body's end.
pub(crate) fn decode_list<'a, T>(body: &'a [u8], one: impl Fn(&mut Reader<'a>) -> Option<T>) -> Option<Vec<T>> {
    let mut reader = Reader::new(body);
    let entries = take_list(&mut reader, body.len(), one)?;
    reader.is_empty().then_some(entries)
}

/// A count (u32), and so many entries.
fn take_list<'a, T>(
    reader: &mut Reader<'a>,
    bytes_max: usize,
    one: impl Fn(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = reader.u32()?;
    let mut entries = Vec::with_capacity((count as usize).min(bytes_max / 8));
    for _ in 0..count {
        entries.push(one(reader)?);
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::transactions::TransactionKey;
    use crate::log::position::Position;

    #[test]
    fn each_list_is_read_back_and_no_cut_one_is_accepted() {
        let publish = vec![PublishEntry {
            identity: Identity { log: 3, position: Position(8) },
            slot: 1,
            first: 2,
            count: 3,
            base_offset: 4,
            frame_bytes: 5,
            timestamp_max_ms: -6,
            extra_headers: vec![1, 2, 3],
        }];
        let ending = Ending::Follows { key: TransactionKey { log: 1, generation: 2, number: 3 } };
        let body = encode_publish(&publish, None);
        assert_eq!(decode_publish(&body).unwrap(), (publish.clone(), None));
        for length in 0..body.len() {
            assert_eq!(decode_publish(&body[..length]), None);
        }
        let with_ending = encode_publish(&publish, Some(&ending));
        assert_eq!(decode_publish(&with_ending).unwrap(), (publish, Some(ending.clone())));
        for length in body.len() + 1..with_ending.len() {
            assert_eq!(decode_publish(&with_ending[..length]), None);
        }
        let discard = vec![DiscardEntry { identity: Identity { log: 3, position: Position(16) } }];
        assert_eq!(decode_discard(&encode_discard(&discard, None)).unwrap(), (discard.clone(), None));
        let with_ending = encode_discard(&discard, Some(&ending));
        assert_eq!(decode_discard(&with_ending).unwrap(), (discard, Some(ending)));
        let truncate = vec![TruncateEntry { slot: 3, first_offset: 9 }, TruncateEntry { slot: 4, first_offset: 1 }];
        let body = encode_truncate(&truncate);
        assert_eq!(body.len(), truncate_body_bytes(2));
        assert_eq!(decode_truncate(&body).unwrap(), truncate);
        assert_eq!(decode_truncate(&body[1..]), None);
    }
}
