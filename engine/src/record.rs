//! A record and its one layout: the same in the sender's buffer, in the log and in what a consumer reads.
//!
//! ```text
//!  0  u32  size          bytes of the record without the padding that follows it
//!  4  u8   flags         1 = has a key, 2 = value is null, 4 = has headers, 8 = numbered by its sender,
//!                        16 = has a message id
//!  5  u8   id_size       1 to 128 with flag 16, else zero
//!  6  u16  header_count
//!  8  i64  timestamp_ms  since 1970-01-01 UTC, given by the sender
//! 16  u32  key_size      only with flag 1
//!  .  u32  headers_size  only with flag 4
//!  .  u64  sequence      only with flag 8: the number that its sender gave it
//!  .       message id, key, headers, value
//! ```
//!
//! Little-endian; each record begins at a multiple of eight. A header is `u16 name size, u32 value
//! size, name, value`. Nothing in a record is assigned by a lane.
//!
//! Invariant: [`RecordRef::parse`] accepts exactly what [`Record::encode_into`] writes, and never
//! looks outside the bytes it was given.

use crate::error::{Error, Result};
use std::time::Duration;

/// Bytes of the fixed part.
pub(crate) const RECORD_HEADER_BYTES: usize = 16;
/// Records begin at multiples of this.
pub(crate) const RECORD_ALIGNMENT: usize = 8;

const FLAG_KEY: u8 = 1;
const FLAG_NULL_VALUE: u8 = 2;
const FLAG_HEADERS: u8 = 4;
const FLAG_SEQUENCE: u8 = 8;
const FLAG_MESSAGE_ID: u8 = 16;
const FLAGS_ALL: u8 = 31;

/// The name of the header that a record's tag stands in.
pub const TAG_HEADER: &str = "tag";

/// Longest message id in bytes.
pub(crate) const MESSAGE_ID_BYTES_MAX: usize = 128;

/// When a record becomes visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// As soon as it is durable.
    #[default]
    Now,
    /// At this time (ms since 1970-01-01 UTC), by the wall clock.
    At(i64),
    /// This long after it was sent.
    After(Duration),
}

/// A name and a value that travel with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name; names may repeat.
    pub name: &'a str,
    /// Its value.
    pub value: &'a [u8],
}

/// A record to be sent. Borrowed: the engine copies it before the call returns.
///
/// ```
/// use ringlane::Record;
/// let record = Record::new(b"paid").key(b"order-7").timestamp_ms(1_700_000_000_000);
/// assert_eq!(record.value, Some(&b"paid"[..]));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// The key: records with the same key go to the same partition.
    pub key: Option<&'a [u8]>,
    /// The value; null and empty differ.
    pub value: Option<&'a [u8]>,
    /// Names and values beside it.
    pub headers: &'a [Header<'a>],
    /// What kind of record it is, for [filters](crate::Filter): sent as a header of the name [`TAG_HEADER`], before the
    /// others.
    pub tag: Option<&'a str>,
    /// Milliseconds since 1970-01-01 UTC. Default: the time of sending.
    pub timestamp_ms: Option<i64>,
    /// Which partition. Default: by the key's hash, or in turn.
    pub partition: Option<u32>,
    /// When it becomes visible.
    pub visibility: Visibility,
    /// Which one of its producer's records in the partition it is, from 0. Only for a named producer, and with a
    /// partition that does not change: given, or of a key. One that was sent before is answered with the first receipt,
    /// one that skips numbers is refused. Default: the engine counts.
    pub sequence: Option<u64>,
    /// What its sender knows it by, 1 to 128 bytes. A record with the same id in the same partition is, as long as the
    /// first one is remembered (`originals_max`), not written again but answered with the first receipt.
    pub message_id: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// A record with a value and nothing else.
    pub fn new(value: &'a [u8]) -> Self {
        Record { value: Some(value), ..Record::default() }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the headers.
    #[must_use]
    pub fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the tag.
    #[must_use]
    pub fn tag(mut self, tag: &'a str) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Sets the timestamp.
    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Chooses the partition.
    #[must_use]
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Makes it visible at a time (ms since 1970-01-01 UTC).
    #[must_use]
    pub fn visible_at(mut self, time_ms: i64) -> Self {
        self.visibility = Visibility::At(time_ms);
        self
    }

    /// Makes it visible after a delay.
    #[must_use]
    pub fn visible_after(mut self, delay: Duration) -> Self {
        self.visibility = Visibility::After(delay);
        self
    }

    /// Sets its number among its producer's records in the partition.
    #[must_use]
    pub fn sequence(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    /// Sets what its sender knows it by.
    #[must_use]
    pub fn message_id(mut self, message_id: &'a [u8]) -> Self {
        self.message_id = Some(message_id);
        self
    }

    /// All headers, the tag's first.
    fn all_headers(&self) -> impl Iterator<Item = Header<'a>> {
        self.tag
            .map(|tag| Header { name: TAG_HEADER, value: tag.as_bytes() })
            .into_iter()
            .chain(self.headers.iter().copied())
    }

    fn header_count(&self) -> usize {
        self.headers.len() + usize::from(self.tag.is_some())
    }

    /// Whether it has no more than a value, as most do: that way is short enough to stand where it is called.
    #[inline(always)]
    fn is_value_only(&self) -> bool {
        self.key.is_none()
            && self.sequence.is_none()
            && self.message_id.is_none()
            && self.tag.is_none()
            && self.headers.is_empty()
    }

    /// Whether it is visible at once, and has nothing to be known again by.
    #[inline(always)]
    pub(crate) fn is_at_once_and_new(&self) -> bool {
        matches!(self.visibility, Visibility::Now) && self.sequence.is_none() && self.message_id.is_none()
    }

    /// Size in the log without padding, or why it cannot be sent.
    #[inline(always)]
    pub(crate) fn encoded_size(&self, bytes_max: usize) -> Result<usize> {
        let size = RECORD_HEADER_BYTES + self.value.map_or(0, <[u8]>::len);
        if self.is_value_only() && size <= bytes_max { Ok(size) } else { self.encoded_size_of_any(bytes_max) }
    }

    #[inline(never)]
    fn encoded_size_of_any(self, bytes_max: usize) -> Result<usize> {
        let too_large = |bytes| Error::RecordTooLarge { bytes, bytes_max, option: "record_bytes_max" };
        let mut size = RECORD_HEADER_BYTES + self.value.map_or(0, <[u8]>::len);
        if let Some(key) = self.key {
            size += 4 + key.len();
        }
        if self.sequence.is_some() {
            size += 8;
        }
        if let Some(message_id) = self.message_id {
            if message_id.is_empty() || message_id.len() > MESSAGE_ID_BYTES_MAX {
                return Err(Error::InvalidArgument {
                    name: "message_id",
                    value: format!("{} bytes", message_id.len()),
                    reason: format!("1 to {MESSAGE_ID_BYTES_MAX} bytes; send a digest of a longer one"),
                });
            }
            size += message_id.len();
        }
        let header_count = self.header_count();
        if header_count > 0 {
            if header_count > usize::from(u16::MAX) {
                return Err(Error::TooMany {
                    what: "headers of a record",
                    count: header_count as u64,
                    count_max: u64::from(u16::MAX),
                    advice: "send fewer headers",
                });
            }
            size += 4;
            for header in self.all_headers() {
                if header.name.len() > usize::from(u16::MAX) {
                    return Err(too_large(size + header.name.len()));
                }
                size += 6 + header.name.len() + header.value.len();
            }
        }
        if size > bytes_max { Err(too_large(size)) } else { Ok(size) }
    }

    /// Writes the record and its padding at the end of `target`; `size` is its encoded size.
    #[inline(always)]
    pub(crate) fn encode_into(&self, target: &mut Vec<u8>, size: usize, timestamp_ms: i64) {
        let start = target.len();
        let padded = size.next_multiple_of(RECORD_ALIGNMENT);
        target.reserve(padded + RECORD_ALIGNMENT);
        if self.is_value_only() {
            let mut fixed = [0u8; RECORD_HEADER_BYTES];
            fixed[0..4].copy_from_slice(&(size as u32).to_le_bytes());
            fixed[4] = if self.value.is_none() { FLAG_NULL_VALUE } else { 0 };
            fixed[8..16].copy_from_slice(&timestamp_ms.to_le_bytes());
            target.extend_from_slice(&fixed);
            target.extend_from_slice(self.value.unwrap_or_default());
        } else {
            self.encode_any_into(target, size, timestamp_ms);
        }
        debug_assert_eq!(target.len() - start, size);
        // As many zeros as are known here, for a number that is not would be a call.
        target.extend_from_slice(&[0; RECORD_ALIGNMENT]);
        target.truncate(start + padded);
    }

    #[inline(never)]
    fn encode_any_into(self, target: &mut Vec<u8>, size: usize, timestamp_ms: i64) {
        let mut flags = 0;
        if self.key.is_some() {
            flags |= FLAG_KEY;
        }
        if self.value.is_none() {
            flags |= FLAG_NULL_VALUE;
        }
        let header_count = self.header_count();
        if header_count > 0 {
            flags |= FLAG_HEADERS;
        }
        if self.sequence.is_some() {
            flags |= FLAG_SEQUENCE;
        }
        if self.message_id.is_some() {
            flags |= FLAG_MESSAGE_ID;
        }
        let mut fixed = [0u8; RECORD_HEADER_BYTES];
        fixed[0..4].copy_from_slice(&(size as u32).to_le_bytes());
        fixed[4] = flags;
        fixed[5] = self.message_id.map_or(0, |message_id| message_id.len() as u8);
        fixed[6..8].copy_from_slice(&(header_count as u16).to_le_bytes());
        fixed[8..16].copy_from_slice(&timestamp_ms.to_le_bytes());
        target.extend_from_slice(&fixed);
        if let Some(key) = self.key {
            target.extend_from_slice(&(key.len() as u32).to_le_bytes());
        }
        if header_count > 0 {
            let headers_size: usize = self.all_headers().map(|h| 6 + h.name.len() + h.value.len()).sum();
            target.extend_from_slice(&(headers_size as u32).to_le_bytes());
        }
        if let Some(sequence) = self.sequence {
            target.extend_from_slice(&sequence.to_le_bytes());
        }
        if let Some(message_id) = self.message_id {
            target.extend_from_slice(message_id);
        }
        if let Some(key) = self.key {
            target.extend_from_slice(key);
        }
        if header_count > 0 {
            encode_headers(target, self.all_headers());
        }
        if let Some(value) = self.value {
            target.extend_from_slice(value);
        }
    }
}

/// Appends headers in their layout.
pub(crate) fn encode_headers<'a>(target: &mut Vec<u8>, headers: impl IntoIterator<Item = Header<'a>>) {
    for header in headers {
        target.extend_from_slice(&(header.name.len() as u16).to_le_bytes());
        target.extend_from_slice(&(header.value.len() as u32).to_le_bytes());
        target.extend_from_slice(header.name.as_bytes());
        target.extend_from_slice(header.value);
    }
}

/// A record in the log's own bytes.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    bytes: &'a [u8],
    value_start: u32,
    headers_start: u32,
    key_start: u32,
}

impl<'a> RecordRef<'a> {
    /// Reads the record at the start of `bytes`; also returns where the next one begins. `None`: not a record.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<(RecordRef<'a>, usize)> {
        let fixed = bytes.get(..RECORD_HEADER_BYTES)?;
        let size = u32::from_le_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]) as usize;
        let flags = fixed[4];
        if size < RECORD_HEADER_BYTES || size > bytes.len() || flags > FLAGS_ALL {
            return None;
        }
        let next = size.next_multiple_of(RECORD_ALIGNMENT);
        let record = &bytes[..size];
        if flags & !FLAG_NULL_VALUE == 0 {
            let start = RECORD_HEADER_BYTES as u32;
            if fixed[5] != 0
                || fixed[6] != 0
                || fixed[7] != 0
                || (flags & FLAG_NULL_VALUE != 0 && size != RECORD_HEADER_BYTES)
            {
                return None;
            }
            return Some((
                RecordRef { bytes: record, value_start: start, headers_start: start, key_start: start },
                next,
            ));
        }
        Self::parse_long(record, flags).map(|parsed| (parsed, next))
    }

    fn parse_long(record: &'a [u8], flags: u8) -> Option<RecordRef<'a>> {
        let mut at = RECORD_HEADER_BYTES;
        let mut size_of = |flag: u8| -> Option<usize> {
            if flags & flag == 0 {
                return Some(0);
            }
            let field = record.get(at..at + 4)?;
            at += 4;
            Some(u32::from_le_bytes([field[0], field[1], field[2], field[3]]) as usize)
        };
        let key_size = size_of(FLAG_KEY)?;
        let headers_size = size_of(FLAG_HEADERS)?;
        if flags & FLAG_SEQUENCE != 0 {
            record.get(at..at + 8)?;
            at += 8;
        }
        let id_size = usize::from(record[5]);
        let is_id =
            if flags & FLAG_MESSAGE_ID == 0 { id_size == 0 } else { (1..=MESSAGE_ID_BYTES_MAX).contains(&id_size) };
        let key_start = at + id_size;
        let headers_start = key_start.checked_add(key_size)?;
        let value_start = headers_start.checked_add(headers_size)?;
        let count = usize::from(u16::from_le_bytes([record[6], record[7]]));
        if value_start > record.len()
            || !is_id
            || (flags & FLAG_NULL_VALUE != 0 && value_start != record.len())
            || (flags & FLAG_HEADERS == 0) != (count == 0)
        {
            return None;
        }
        let headers = Headers { bytes: &record[headers_start..value_start] };
        if headers.check() != Some(count) {
            return None;
        }
        Some(RecordRef {
            bytes: record,
            value_start: value_start as u32,
            headers_start: headers_start as u32,
            key_start: key_start as u32,
        })
    }

    /// The sender's timestamp, ms since 1970-01-01 UTC.
    #[inline]
    pub fn timestamp_ms(&self) -> i64 {
        let mut field = [0; 8];
        field.copy_from_slice(&self.bytes[8..16]);
        i64::from_le_bytes(field)
    }

    /// The key, if there is one.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        (self.bytes[4] & FLAG_KEY != 0).then(|| &self.bytes[self.key_start as usize..self.headers_start as usize])
    }

    /// The value; `None` is null, which differs from empty.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        (self.bytes[4] & FLAG_NULL_VALUE == 0).then(|| &self.bytes[self.value_start as usize..])
    }

    /// The number that its sender gave it, if it did.
    pub fn sequence(&self) -> Option<u64> {
        if self.bytes[4] & FLAG_SEQUENCE == 0 {
            return None;
        }
        let end = self.key_start as usize - usize::from(self.bytes[5]);
        let mut field = [0; 8];
        field.copy_from_slice(&self.bytes[end - 8..end]);
        Some(u64::from_le_bytes(field))
    }

    /// What its sender knows it by, if it says so.
    pub fn message_id(&self) -> Option<&'a [u8]> {
        let end = self.key_start as usize;
        (self.bytes[4] & FLAG_MESSAGE_ID != 0).then(|| &self.bytes[end - usize::from(self.bytes[5])..end])
    }

    /// Whether sending it again is noticed: its sender numbered it, or gave it an id.
    #[inline]
    pub(crate) fn is_known_again(&self) -> bool {
        self.bytes[4] & (FLAG_SEQUENCE | FLAG_MESSAGE_ID) != 0
    }

    /// The headers, in the order they were given.
    pub fn headers(&self) -> Headers<'a> {
        Headers { bytes: &self.bytes[self.headers_start as usize..self.value_start as usize] }
    }

    /// How many headers it has.
    #[inline]
    pub(crate) fn header_count(&self) -> u16 {
        u16::from_le_bytes([self.bytes[6], self.bytes[7]])
    }

    /// The record's own bytes, without padding.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Iterates over the headers of a record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Headers that stand elsewhere than in a record (the extra ones of a publish frame), if they are well-formed.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Headers<'a>> {
        let headers = Headers { bytes };
        headers.check().map(|_| headers)
    }

    /// The number of headers if the bytes hold only whole, valid ones.
    fn check(self) -> Option<usize> {
        let mut rest = self;
        let mut count = 0;
        while !rest.bytes.is_empty() {
            rest.take_next()?;
            count += 1;
        }
        Some(count)
    }

    fn take_next(&mut self) -> Option<Header<'a>> {
        let sizes = self.bytes.get(..6)?;
        let name_size = usize::from(u16::from_le_bytes([sizes[0], sizes[1]]));
        let value_size = u32::from_le_bytes([sizes[2], sizes[3], sizes[4], sizes[5]]) as usize;
        let name = std::str::from_utf8(self.bytes.get(6..6 + name_size)?).ok()?;
        let value = self.bytes.get(6 + name_size..(6 + name_size).checked_add(value_size)?)?;
        self.bytes = &self.bytes[6 + name_size + value_size..];
        Some(Header { name, value })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.take_next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode_into(&mut bytes, record.encoded_size(1 << 20).unwrap(), record.timestamp_ms.unwrap_or(5));
        bytes
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
            headers in proptest::collection::vec((".{0,9}", proptest::collection::vec(any::<u8>(), 0..20)), 0..5),
            timestamp_ms in any::<i64>(),
            sequence in proptest::option::of(any::<u64>()),
            message_id in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..=MESSAGE_ID_BYTES_MAX)),
            tag in proptest::option::of(".{0,9}"),
        ) {
            let borrowed: Vec<Header<'_>> = headers.iter().map(|(name, value)| Header { name, value }).collect();
            let record = Record { key: key.as_deref(), value: value.as_deref(), headers: &borrowed,
                timestamp_ms: Some(timestamp_ms), sequence, message_id: message_id.as_deref(), tag: tag.as_deref(),
                ..Record::default() };
            let bytes = encode(&record);
            prop_assert_eq!(bytes.len() % RECORD_ALIGNMENT, 0);
            let (read, next) = RecordRef::parse(&bytes).unwrap();
            prop_assert_eq!(next, bytes.len());
            prop_assert_eq!(read.key(), key.as_deref());
            prop_assert_eq!(read.value(), value.as_deref());
            prop_assert_eq!(read.timestamp_ms(), timestamp_ms);
            prop_assert_eq!((read.sequence(), read.message_id()), (sequence, message_id.as_deref()));
            prop_assert_eq!(read.is_known_again(), sequence.is_some() || message_id.is_some());
            let tagged = tag.iter().map(|tag| Header { name: TAG_HEADER, value: tag.as_bytes() });
            prop_assert!(read.headers().eq(tagged.chain(borrowed.iter().copied())));
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some((record, _)) = RecordRef::parse(&bytes) {
                let _ = (record.key(), record.value(), record.headers().count(), record.sequence(), record.message_id());
            }
        }
    }

    #[test]
    fn null_and_empty_differ() {
        let empty = encode(&Record::new(b""));
        let null = encode(&Record::default());
        assert_eq!(RecordRef::parse(&empty).unwrap().0.value(), Some(&b""[..]));
        assert_eq!(RecordRef::parse(&null).unwrap().0.value(), None);
    }

    #[test]
    fn a_hundred_bytes_cost_sixteen_and_padding() {
        assert_eq!(encode(&Record::new(&[7; 100])).len(), 120);
    }

    #[test]
    fn a_message_id_has_its_bounds() {
        for bytes in [0, MESSAGE_ID_BYTES_MAX + 1] {
            let error = Record::new(b"v").message_id(&vec![1; bytes]).encoded_size(1 << 20).unwrap_err();
            assert_eq!(error.code(), "invalid-argument", "{error}");
        }
        // One record has one layout: a size without an id is none.
        let mut bytes = encode(&Record::new(b"v").key(b"k"));
        bytes[5] = 1;
        assert!(RecordRef::parse(&bytes).is_none());
    }

    #[test]
    fn an_oversize_record_says_which_option_to_raise() {
        let error = Record::new(&[0; 100]).encoded_size(64).unwrap_err();
        assert!(error.to_string().contains("record_bytes_max"), "{error}");
    }
}
