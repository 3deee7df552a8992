//! What a sender gets back.

use crate::log::origin::Origin;
use std::sync::Arc;

/// How far a record has come when its receipt is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Durability {
    /// It is on the device, flushed. Survives a power failure.
    #[default]
    Synced,
    /// The lane has it. Lost if the process or machine dies before the flush, which follows within
    /// `flush_interval_ms` or at [`Engine::sync`](crate::Engine::sync).
    Buffered,
}

impl std::str::FromStr for Durability {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "synced" => Ok(Durability::Synced),
            "buffered" => Ok(Durability::Buffered),
            _ => Err("synced or buffered"),
        }
    }
}

/// Names a record for ever: where it was first written. An identity, not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RecordId {
    /// The log.
    pub log: u32,
    /// The position of its frame in the log.
    pub position: u64,
    /// Its place in the frame.
    pub index: u32,
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.log, self.position, self.index)
    }
}

impl std::str::FromStr for RecordId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "a record id is LOG:POSITION:INDEX";
        let mut fields = text.split(':');
        let mut next = || fields.next().ok_or(expected);
        let id = RecordId {
            log: next()?.parse().map_err(|_| expected)?,
            position: next()?.parse().map_err(|_| expected)?,
            index: next()?.parse().map_err(|_| expected)?,
        };
        if fields.next().is_some() { Err(expected) } else { Ok(id) }
    }
}

/// The proof that a record was taken, at the durability it states.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Receipt {
    /// The topic.
    #[cfg_attr(feature = "serde", serde(serialize_with = "serialize_str"))]
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The offset; `None` while the record is withheld (delayed): it gets one when it becomes visible.
    pub offset: Option<u64>,
    /// The record's timestamp, ms since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// How far it has come.
    pub durability: Durability,
    /// Its identity; [`Producer::cancel`](crate::Producer::cancel) takes it.
    pub id: RecordId,
    /// Who wrote it, and as which one of its records in the partition.
    pub origin: Origin,
    /// It was there before: this is the receipt of then, and nothing was written. Only for records with a number or
    /// a message id of their sender's own.
    pub duplicate: bool,
}

#[cfg(feature = "serde")]
fn serialize_str<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_id_is_read_back() {
        let id = RecordId { log: 1, position: 2, index: 3 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1:2", "1:2:3:4", "a:b:c"] {
            bad.parse::<RecordId>().unwrap_err();
        }
    }
}
