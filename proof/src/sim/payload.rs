//! What records hold: everything follows from their number, so that a reader can tell an altered one.

use super::random::mix;
use crate::value::{bytes_of, number_of};
use ringlane::{Header, Record, RecordView};

/// Timestamps that senders set lie around this, ms since 1970.
const TIMESTAMP_MS: i64 = 1_600_000_000_000;

/// A record to be sent.
pub struct Payload {
    /// Its number in the history.
    pub number: u64,
    value: Vec<u8>,
    key: Option<[u8; 8]>,
    header: Option<[u8; 4]>,
    timestamp_ms: Option<i64>,
    message_id: Option<[u8; 8]>,
}

impl Payload {
    /// The record of a number, with a value of about so many bytes.
    pub fn new(number: u64, bytes: usize) -> Payload {
        let header = header_of(number);
        Payload {
            number,
            value: bytes_of(number, bytes),
            key: key_of(number),
            header,
            timestamp_ms: timestamp_of(number),
            message_id: None,
        }
    }

    /// Gives the record a message id.
    #[must_use]
    pub fn identified(self, message_id: Option<[u8; 8]>) -> Payload {
        Payload { message_id, ..self }
    }

    /// Calls `send` with the record; `partition` unless its key, or its turn, decides.
    pub fn with<R>(&self, partition: Option<u32>, send: impl FnOnce(Record<'_>) -> R) -> R {
        let headers: Vec<Header<'_>> =
            self.header.iter().map(|value| Header { name: "number", value: &value[..] }).collect();
        let mut record = Record::new(&self.value).headers(&headers);
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        if let Some(timestamp_ms) = self.timestamp_ms {
            record = record.timestamp_ms(timestamp_ms);
        }
        if let Some(partition) = partition {
            record = record.partition(partition);
        }
        record.message_id = self.message_id.as_ref().map(|id| &id[..]);
        send(record)
    }

    /// The record without headers, which it borrows from nobody, for calls that take many.
    pub fn bare(&self, partition: u32) -> Record<'_> {
        let mut record = Record::new(&self.value).partition(partition);
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        if let Some(timestamp_ms) = self.timestamp_ms {
            record = record.timestamp_ms(timestamp_ms);
        }
        record.message_id = self.message_id.as_ref().map(|id| &id[..]);
        record
    }
}

fn key_of(number: u64) -> Option<[u8; 8]> {
    mix(number).is_multiple_of(3).then(|| (mix(number) % 7).to_le_bytes())
}

fn header_of(number: u64) -> Option<[u8; 4]> {
    mix(number).is_multiple_of(5).then(|| (number as u32).to_le_bytes())
}

fn timestamp_of(number: u64) -> Option<i64> {
    let scattered = mix(number ^ 77);
    scattered.is_multiple_of(2).then(|| TIMESTAMP_MS + number as i64 * 10 + (scattered % 50) as i64)
}

/// The number of a record that was read.
///
/// # Errors
/// It is not what was sent under that number.
pub fn examine(view: &RecordView<'_>) -> Result<u64, String> {
    let header = view.headers().next().map(|header| header.value);
    examine_with(view, header)
}

/// The number of a record among the dead letters, which has the headers of its cause behind its own.
///
/// # Errors
/// It is not what was sent under that number.
pub fn examine_dead(view: &RecordView<'_>) -> Result<u64, String> {
    let own = view.headers().next().filter(|header| header.name == "number");
    examine_with(view, own.map(|header| header.value))
}

fn examine_with(view: &RecordView<'_>, header: Option<&[u8]>) -> Result<u64, String> {
    let value = view.value().ok_or("a record without a value")?;
    let number = number_of(value).ok_or_else(|| format!("a value of {} bytes that was never sent", value.len()))?;
    let mut wrong = Vec::new();
    if view.key() != key_of(number).as_ref().map(|key| &key[..]) {
        wrong.push("key");
    }
    if timestamp_of(number).is_some_and(|timestamp_ms| timestamp_ms != view.timestamp_ms()) {
        wrong.push("timestamp");
    }
    // Records of a batch have none.
    if header.is_some() && header != header_of(number).as_ref().map(|value| &value[..]) {
        wrong.push("headers");
    }
    if wrong.is_empty() {
        Ok(number)
    } else {
        Err(format!("record {number} was read with another {}", wrong.join(", ")))
    }
}
