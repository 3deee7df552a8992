//! The topics, the named producers and the groups. Log 0 holds them: each creation, change and deletion is a frame in it.
//!
//! Invariants:
//! - Topic ids and slots are never used again: a re-created topic inherits nothing.
//! - A topic is durable in log 0 before the first record of it is accepted; so records of a slot that
//!   the catalog does not know belong to a deleted topic.
//! - Ids of producers are never used again, and the epoch of one only grows: each opening of it has its own.

use crate::bounds::{NAME_BYTES_MAX, PARTITIONS_MAX, SLOTS_MAX};
use crate::error::{Error, Result};
use crate::log::codec::{Put, Reader};
use crate::log::origin::Origin;
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

/// One named producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    /// Above [`Origin::UNNAMED`].
    pub(crate) id: u32,
    pub(crate) name: String,
    /// How often it was opened.
    pub(crate) epoch: u32,
}

impl ProducerEntry {
    /// Bytes that it takes in a frame or a checkpoint.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        12 + self.name.len() as u64
    }
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupEntry {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// What it reads and how, as the groups themselves write it; lanes do not look into it.
    pub(crate) config: Vec<u8>,
}

impl GroupEntry {
    /// Largest config: a group may read many topics.
    pub(crate) const CONFIG_BYTES_MAX: usize = 1 << 20;

    /// Bytes that it takes in a frame or a checkpoint.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        12 + (self.name.len() + self.config.len()) as u64
    }
}

/// A change, as it stands in a Catalog frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CatalogChange {
    Create(TopicEntry),
    Delete {
        topic: u32,
    },
    Retain {
        topic: u32,
        retention: Retention,
    },
    /// A producer was opened under its name: for the first time, or with a higher epoch.
    OpenProducer(ProducerEntry),
    DeleteProducer {
        producer: u32,
    },
    /// A group was created, or its config was changed.
    SetGroup(GroupEntry),
    DeleteGroup {
        group: u32,
    },
}

/// All topics and producers, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub(crate) topics: BTreeMap<u32, TopicEntry>,
    pub(crate) next_topic: u32,
    pub(crate) next_slot: u32,
    /// What the topics take in a checkpoint.
    topics_bytes: u64,
    pub(crate) producers: BTreeMap<u32, ProducerEntry>,
    /// The largest id that a producer ever had.
    pub(crate) last_producer: u32,
    producers_bytes: u64,
    pub(crate) groups: BTreeMap<u32, GroupEntry>,
    /// The largest id that a group ever had.
    pub(crate) last_group: u32,
    groups_bytes: u64,
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
            CatalogChange::OpenProducer(producer) => {
                match self.producers.get(&producer.id) {
                    Some(before) if before.name != producer.name || before.epoch >= producer.epoch => {
                        return Err("a producer is opened under another name or with an epoch that it had before");
                    }
                    None if producer.id <= self.last_producer => {
                        return Err("a producer takes an id that was given out before");
                    }
                    before => self.producers_bytes -= before.map_or(0, ProducerEntry::encoded_bytes),
                }
                self.last_producer = self.last_producer.max(producer.id);
                self.producers_bytes += producer.encoded_bytes();
                self.producers.insert(producer.id, producer.clone());
                Ok(())
            }
            CatalogChange::DeleteProducer { producer } => {
                let producer = self.producers.remove(producer).ok_or("a producer is deleted that does not exist")?;
                self.producers_bytes -= producer.encoded_bytes();
                Ok(())
            }
            CatalogChange::SetGroup(group) => {
                match self.groups.get(&group.id) {
                    Some(before) if before.name != group.name => return Err("a group is changed under another name"),
                    None if group.id <= self.last_group => return Err("a group takes an id that was given out before"),
                    before => self.groups_bytes -= before.map_or(0, GroupEntry::encoded_bytes),
                }
                self.last_group = self.last_group.max(group.id);
                self.groups_bytes += group.encoded_bytes();
                self.groups.insert(group.id, group.clone());
                Ok(())
            }
            CatalogChange::DeleteGroup { group } => {
                let group = self.groups.remove(group).ok_or("a group is deleted that does not exist")?;
                self.groups_bytes -= group.encoded_bytes();
                Ok(())
            }
        }
    }

    /// Begins with the producers of another engine.
    pub(crate) fn take_over_producers(&mut self, producers: &BTreeMap<u32, ProducerEntry>, last_producer: u32) {
        self.producers.clone_from(producers);
        self.producers_bytes = producers.values().map(ProducerEntry::encoded_bytes).sum();
        self.last_producer = self.last_producer.max(last_producer);
    }

    /// Begins with the groups of another engine.
    pub(crate) fn take_over_groups(&mut self, groups: &BTreeMap<u32, GroupEntry>, last_group: u32) {
        self.groups.clone_from(groups);
        self.groups_bytes = groups.values().map(GroupEntry::encoded_bytes).sum();
        self.last_group = self.last_group.max(last_group);
    }

    /// Bytes that [`Catalog::encode`] takes.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        28 + self.topics_bytes + self.producers_bytes + self.groups_bytes
    }

    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_u32(self.next_topic);
        target.put_u32(self.next_slot);
        target.put_u32(self.topics.len() as u32);
        for topic in self.topics.values() {
            encode_topic(topic, target);
        }
        target.put_u32(self.last_producer);
        target.put_u32(self.producers.len() as u32);
        for producer in self.producers.values() {
            encode_producer(producer, target);
        }
        target.put_u32(self.last_group);
        target.put_u32(self.groups.len() as u32);
        for group in self.groups.values() {
            encode_group(group, target);
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
        catalog.last_producer = reader.u32()?;
        for _ in 0..reader.u32()? {
            let producer = decode_producer(reader).filter(|producer| producer.id <= catalog.last_producer)?;
            catalog.producers_bytes += producer.encoded_bytes();
            if catalog.producers.insert(producer.id, producer).is_some() {
                return None;
            }
        }
        catalog.last_group = reader.u32()?;
        for _ in 0..reader.u32()? {
            let group = decode_group(reader).filter(|group| group.id <= catalog.last_group)?;
            catalog.groups_bytes += group.encoded_bytes();
            if catalog.groups.insert(group.id, group).is_some() {
                return None;
            }
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
            CatalogChange::OpenProducer(producer) => {
                body.put_u8(4);
                encode_producer(producer, &mut body);
            }
            CatalogChange::DeleteProducer { producer } => {
                body.put_u8(5);
                body.put_u32(*producer);
            }
            CatalogChange::SetGroup(group) => {
                body.put_u8(6);
                encode_group(group, &mut body);
            }
            CatalogChange::DeleteGroup { group } => {
                body.put_u8(7);
                body.put_u32(*group);
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
            4 => CatalogChange::OpenProducer(decode_producer(&mut reader)?),
            5 => CatalogChange::DeleteProducer { producer: reader.u32()? },
            6 => CatalogChange::SetGroup(decode_group(&mut reader)?),
            7 => CatalogChange::DeleteGroup { group: reader.u32()? },
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

fn encode_producer(producer: &ProducerEntry, target: &mut Vec<u8>) {
    target.put_u32(producer.id);
    target.put_u32(producer.epoch);
    target.put_bytes(producer.name.as_bytes());
}

fn decode_producer(reader: &mut Reader<'_>) -> Option<ProducerEntry> {
    let (id, epoch) = (reader.u32()?, reader.u32()?);
    let name = std::str::from_utf8(reader.bytes()?).ok()?.to_owned();
    (id != Origin::UNNAMED && check_name(&name).is_ok()).then_some(ProducerEntry { id, name, epoch })
}

fn encode_group(group: &GroupEntry, target: &mut Vec<u8>) {
    target.put_u32(group.id);
    target.put_bytes(group.name.as_bytes());
    target.put_bytes(&group.config);
}

fn decode_group(reader: &mut Reader<'_>) -> Option<GroupEntry> {
    let id = reader.u32()?;
    let name = std::str::from_utf8(reader.bytes()?).ok()?.to_owned();
    let config = reader.bytes()?.to_vec();
    let is_group = id > 0 && check_name(&name).is_ok() && config.len() <= GroupEntry::CONFIG_BYTES_MAX;
    is_group.then_some(GroupEntry { id, name, config })
}

/// What a topic may be.
pub(crate) fn check_topic(name: &str, partitions: u32) -> Result<()> {
    check_name(name)?;
    if partitions == 0 || partitions > PARTITIONS_MAX {
        return Err(Error::InvalidArgument {
            name: "partitions",
            value: partitions.to_string(),
            reason: format!("1 to {PARTITIONS_MAX}"),
        });
    }
    Ok(())
}

/// Names are what Kafka allows for topics: letters, digits, `.`, `_`, `-`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let invalid = |reason| Err(Error::InvalidName { name: name.chars().take(300).collect(), reason });
    if name.is_empty() {
        return invalid("it is empty");
    }
    if name.len() > NAME_BYTES_MAX {
        return invalid("it is longer than 249 bytes");
    }
    if name == "." || name == ".." {
        return invalid("`.` and `..` are not allowed");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return invalid("only letters, digits, `.`, `_` and `-` are allowed");
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
    fn epochs_only_grow_and_producers_and_groups_are_read_back() {
        let open =
            |id, name: &str, epoch| CatalogChange::OpenProducer(ProducerEntry { id, name: name.to_owned(), epoch });
        let mut catalog = Catalog::default();
        catalog.apply(&open(1, "a", 1)).unwrap();
        catalog.apply(&open(3, "b", 1)).unwrap();
        catalog.apply(&open(1, "a", 4)).unwrap();
        catalog.apply(&open(1, "a", 4)).expect_err("the same epoch");
        catalog.apply(&open(1, "c", 5)).expect_err("another name");
        catalog.apply(&open(2, "c", 1)).expect_err("an id that was passed over");
        catalog.apply(&CatalogChange::DeleteProducer { producer: 3 }).unwrap();
        catalog.apply(&CatalogChange::DeleteProducer { producer: 3 }).unwrap_err();
        catalog.apply(&open(3, "b", 2)).expect_err("it was deleted");
        let set = |id, name: &str, config: &[u8]| {
            CatalogChange::SetGroup(GroupEntry { id, name: name.to_owned(), config: config.to_vec() })
        };
        catalog.apply(&set(2, "g", b"one")).unwrap();
        catalog.apply(&set(2, "g", b"another")).unwrap();
        catalog.apply(&set(2, "h", b"")).expect_err("another name");
        catalog.apply(&set(1, "h", b"")).expect_err("an id that was passed over");
        catalog.apply(&set(3, "h", b"")).unwrap();
        catalog.apply(&CatalogChange::DeleteGroup { group: 3 }).unwrap();
        catalog.apply(&CatalogChange::DeleteGroup { group: 3 }).unwrap_err();
        let mut bytes = Vec::new();
        catalog.encode(&mut bytes);
        assert_eq!(catalog.encoded_bytes(), bytes.len() as u64);
        assert_eq!(Catalog::decode(&mut Reader::new(&bytes)).unwrap(), catalog);
        for length in 0..bytes.len() {
            assert_eq!(Catalog::decode(&mut Reader::new(&bytes[..length])), None);
        }
    }

    #[test]
    fn changes_are_read_back() {
        let retention = Retention::new().retention_bytes(1 << 30);
        let retain = CatalogChange::Retain { topic: 4, retention };
        let open = CatalogChange::OpenProducer(ProducerEntry { id: 5, name: "p".to_owned(), epoch: 6 });
        let delete = CatalogChange::DeleteProducer { producer: 5 };
        let group = CatalogChange::SetGroup(GroupEntry { id: 8, name: "g".to_owned(), config: vec![1, 2] });
        let gone = CatalogChange::DeleteGroup { group: 8 };
        let delete_topic = CatalogChange::Delete { topic: 7 };
        for change in [CatalogChange::Create(topic(4, 9)), delete_topic, retain, open, delete, group, gone] {
            assert_eq!(CatalogChange::decode(&change.encode()), Some(change));
        }
        assert_eq!(CatalogChange::decode(&[8]), None);
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
