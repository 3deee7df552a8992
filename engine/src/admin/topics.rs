//! Topics as another process sees them.

use crate::error::Result;
use crate::log::codec::{Put, Reader};
use crate::topic::{PartitionInfo, Retention, Topic};

/// A topic in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TopicSummary {
    /// Its name.
    pub name: String,
    /// Its id; never used again.
    pub id: u32,
    /// How many partitions it has.
    pub partitions: u32,
    /// Visible records of all of them.
    pub records: u64,
    /// When it was created, ms since 1970-01-01 UTC.
    pub created_ms: i64,
    /// How long its records are kept, ms; `None`: for ever.
    pub retention_ms: Option<u64>,
    /// How many bytes of each partition are kept; `None`: all.
    pub retention_bytes: Option<u64>,
    /// Whether these bounds take only what every group has finished.
    pub keep_unfinished: bool,
    /// Whether what every group has finished goes at once.
    pub drop_finished: bool,
}

/// A topic with its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TopicDescription {
    /// The topic in one line.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub summary: TopicSummary,
    /// What each partition holds.
    pub partition: Vec<PartitionInfo>,
}

impl TopicSummary {
    /// Of a topic of this process.
    pub fn of(topic: &Topic) -> Result<TopicSummary> {
        Ok(TopicDescription::of(topic)?.summary)
    }

    pub(crate) fn put(&self, target: &mut Vec<u8>) {
        target.put_bytes(self.name.as_bytes());
        target.put_u32(self.id);
        target.put_u32(self.partitions);
        target.put_u64(self.records);
        target.put_i64(self.created_ms);
        self.retention().put(target);
    }

    /// How long its records are kept.
    pub fn retention(&self) -> Retention {
        Retention {
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            keep_unfinished: self.keep_unfinished,
            drop_finished: self.drop_finished,
        }
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<TopicSummary> {
        let (name, id, partitions) = (reader.bytes()?, reader.u32()?, reader.u32()?);
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let (records, created_ms) = (reader.u64()?, reader.i64()?);
        Some(Self::with(name, id, partitions, records, created_ms, Retention::take(reader)?))
    }

    fn with(
        name: String,
        id: u32,
        partitions: u32,
        records: u64,
        created_ms: i64,
        retention: Retention,
    ) -> TopicSummary {
        let Retention { retention_ms, retention_bytes, keep_unfinished, drop_finished } = retention;
        TopicSummary {
            name,
            id,
            partitions,
            records,
            created_ms,
            retention_ms,
            retention_bytes,
            keep_unfinished,
            drop_finished,
        }
    }
}

pub(crate) fn put_partition(target: &mut Vec<u8>, info: &PartitionInfo) {
    target.put_u32(info.partition);
    target.put_u32(info.lane);
    target.put_u64(info.first_offset);
    target.put_u64(info.next_offset);
}

pub(crate) fn take_partition(reader: &mut Reader<'_>) -> Option<PartitionInfo> {
    Some(PartitionInfo {
        partition: reader.u32()?,
        lane: reader.u32()?,
        first_offset: reader.u64()?,
        next_offset: reader.u64()?,
    })
}

impl TopicDescription {
    /// Of a topic of this process.
    pub fn of(topic: &Topic) -> Result<TopicDescription> {
        let partition: Vec<_> =
            (0..topic.partitions()).map(|partition| topic.partition_info(partition)).collect::<Result<_>>()?;
        let records = partition.iter().map(|info| info.next_offset - info.first_offset).sum();
        let (name, created_ms, retention) = (topic.name().to_owned(), topic.created_ms(), topic.retention());
        let summary = TopicSummary::with(name, topic.id(), topic.partitions(), records, created_ms, retention);
        Ok(TopicDescription { summary, partition })
    }

    pub(crate) fn put(&self, target: &mut Vec<u8>) {
        self.summary.put(target);
        target.put_u32(self.partition.len() as u32);
        for info in &self.partition {
            put_partition(target, info);
        }
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<TopicDescription> {
        let summary = TopicSummary::take(reader)?;
        let count = reader.u32()?;
        let partition = (0..count).map(|_| take_partition(reader)).collect::<Option<_>>()?;
        Some(TopicDescription { summary, partition })
    }
}
