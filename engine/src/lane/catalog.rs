//! The topics. Log 0 holds them: each creation, change and deletion is a frame in it.
//!
//! Invariants:
//! - Topic ids and slots are never used again: a re-created topic inherits nothing.
//! - A topic is durable in log 0 before the first record of it is accepted; so records of a slot that
//!   the catalog does not know belong to a deleted topic.

use crate::bounds::{PARTITIONS_MAX, SLOTS_MAX, TOPIC_NAME_BYTES_MAX};
use crate::error::{Error, Result};
use crate::log::codec::{Put, Reader};
use crate::topic::Retention;
use std::collections::BTreeMap;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicEntry {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// Its partition p has slot `first_slot + p`.
    pub(crate) first_slot: u32,
    pub(crate) partitions: u32,
    pub(crate) created_ms: i64,
    pub(crate) retention: Retention,
}

impl TopicEntry {
    pub(crate) fn slots(&self) -> std::ops::Range<u32> {
        self.first_slot..self.first_slot + self.partitions
    }

    /// Bytes that it takes in a frame or a checkpoint.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        40 + self.name.len() as u64
    }
}

/// A change, as it stands in a Catalog frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CatalogChange {
    Create(TopicEntry),
    Delete { topic: u32 },
    Retain { topic: u32, retention: Retention },
}

/// All topics, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub(crate) topics: BTreeMap<u32, TopicEntry>,
    pub(crate) next_topic: u32,
    pub(crate) next_slot: u32,
    /// What the topics take in a checkpoint.
    topics_bytes: u64,
}

impl Catalog {
    /// Applies a change that is in the log. `Err`: it contradicts what came before.
    pub(crate) fn apply(&mut self, change: &CatalogChange) -> Result<(), &'static str> {
        match change {
            CatalogChange::Create(topic) => {
                if topic.id < self.next_topic || topic.first_slot < self.next_slot {
                    return Err("a topic takes an id or slots that were given out before");
                }
                self.next_topic = topic.id + 1;
                self.next_slot = topic.first_slot.checked_add(topic.partitions).ok_or("slots beyond their range")?;
                self.topics_bytes += topic.encoded_bytes();
                self.topics.insert(topic.id, topic.clone());
                Ok(())
            }
            CatalogChange::Delete { topic } => {
                let topic = self.topics.remove(topic).ok_or("a topic is deleted that does not exist")?;
                self.topics_bytes -= topic.encoded_bytes();
                Ok(())
            }
            CatalogChange::Retain { topic, retention } => {
                let topic = self.topics.get_mut(topic).ok_or("a topic is changed that does not exist")?;
                topic.retention = *retention;
                Ok(())
            }
        }
    }

    /// Bytes that [`Catalog::encode`] takes.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        12 + self.topics_bytes
    }

    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_u32(self.next_topic);
        target.put_u32(self.next_slot);
        target.put_u32(self.topics.len() as u32);
        for topic in self.topics.values() {
            encode_topic(topic, target);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Catalog> {
        let (next_topic, next_slot) = (reader.u32()?, reader.u32()?);
        let mut catalog = Catalog { next_topic, next_slot, ..Catalog::default() };
        for _ in 0..reader.u32()? {
            let topic = decode_topic(reader)?;
            catalog.topics_bytes += topic.encoded_bytes();
            catalog.topics.insert(topic.id, topic);
        }
        Some(catalog)
    }
}

impl CatalogChange {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match self {
            CatalogChange::Create(topic) => {
                body.put_u8(1);
                encode_topic(topic, &mut body);
            }
            CatalogChange::Delete { topic } => {
                body.put_u8(2);
                body.put_u32(*topic);
            }
            CatalogChange::Retain { topic, retention } => {
                body.put_u8(3);
                body.put_u32(*topic);
                retention.put(&mut body);
            }
        }
        body
    }

    pub(crate) fn decode(body: &[u8]) -> Option<CatalogChange> {
        let mut reader = Reader::new(body);
        let change = match reader.u8()? {
            1 => CatalogChange::Create(decode_topic(&mut reader)?),
            2 => CatalogChange::Delete { topic: reader.u32()? },
            3 => CatalogChange::Retain { topic: reader.u32()?, retention: Retention::take(&mut reader)? },
            _ => return None,
        };
        reader.is_empty().then_some(change)
    }
}

fn encode_topic(topic: &TopicEntry, target: &mut Vec<u8>) {
    target.put_u32(topic.id);
    target.put_u32(topic.first_slot);
    target.put_u32(topic.partitions);
    target.put_i64(topic.created_ms);
    target.put_bytes(topic.name.as_bytes());
    topic.retention.put(target);
}

fn decode_topic(reader: &mut Reader<'_>) -> Option<TopicEntry> {
    let topic = TopicEntry {
        id: reader.u32()?,
        first_slot: reader.u32()?,
        partitions: reader.u32()?,
        created_ms: reader.i64()?,
        name: std::str::from_utf8(reader.bytes()?).ok()?.to_owned(),
        retention: Retention::take(reader)?,
    };
    // None that was ever created is refused here; what slots count on may count on it.
    let slots = topic.first_slot.checked_add(topic.partitions).is_some_and(|end| end <= SLOTS_MAX);
    (slots && topic.id < u32::MAX && check_topic(&topic.name, topic.partitions).is_ok()).then_some(topic)
}

/// Topic names are what Kafka allows: letters, digits, `.`, `_`, `-`.
pub(crate) fn check_topic(name: &str, partitions: u32) -> Result<()> {
    let invalid = |reason| Err(Error::InvalidName { name: name.chars().take(300).collect(), reason });
    if name.is_empty() {
        return invalid("it is empty");
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return invalid("it is longer than 249 bytes");
    }
    if name == "." || name == ".." {
        return invalid("`.` and `..` are not allowed");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return invalid("only letters, digits, `.`, `_` and `-` are allowed");
    }
    if partitions == 0 || partitions > PARTITIONS_MAX {
        return Err(Error::InvalidArgument {
            name: "partitions",
            value: partitions.to_string(),
            reason: format!("1 to {PARTITIONS_MAX}"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: u32, first_slot: u32) -> TopicEntry {
        let retention = Retention::new().retention_ms(5);
        TopicEntry { id, name: format!("topic-{id}"), first_slot, partitions: 3, created_ms: 8, retention }
    }

    #[test]
    fn it_is_read_back_and_ids_are_never_used_again() {
        let mut catalog = Catalog::default();
        catalog.apply(&CatalogChange::Create(topic(0, 0))).unwrap();
        catalog.apply(&CatalogChange::Create(topic(1, 3))).unwrap();
        let retention = Retention::new().retention_bytes(9);
        catalog.apply(&CatalogChange::Retain { topic: 1, retention }).unwrap();
        assert_eq!(catalog.topics[&1].retention, retention);
        catalog.apply(&CatalogChange::Delete { topic: 0 }).unwrap();
        catalog.apply(&CatalogChange::Retain { topic: 0, retention }).unwrap_err();
        catalog.apply(&CatalogChange::Create(topic(0, 6))).unwrap_err();
        catalog.apply(&CatalogChange::Create(topic(2, 0))).unwrap_err();
        let mut bytes = Vec::new();
        catalog.encode(&mut bytes);
        assert_eq!(Catalog::decode(&mut Reader::new(&bytes)).unwrap(), catalog);
    }

    #[test]
    fn changes_are_read_back() {
        let retention = Retention::new().retention_bytes(1 << 30);
        let retain = CatalogChange::Retain { topic: 4, retention };
        for change in [CatalogChange::Create(topic(4, 9)), CatalogChange::Delete { topic: 7 }, retain] {
            assert_eq!(CatalogChange::decode(&change.encode()), Some(change));
        }
        assert_eq!(CatalogChange::decode(&[4]), None);
    }

    #[test]
    fn names_are_checked() {
        check_topic("orders.v1_a-b", 1).unwrap();
        for name in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
            check_topic(name, 1).expect_err(name);
        }
        check_topic("orders", 0).unwrap_err();
    }
}
