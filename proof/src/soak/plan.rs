//! What is written and how long it is kept, as shares of the rate and of the disk bound.
//!
//! All topics share the lanes' segments, so what counts is how many seconds of the whole load each of them keeps: the
//! window. Every bound here is about one window, and a window of everything takes a third of the disk bound.

use ringlane::{Retention, TopicOptions};
use serde::{Deserialize, Serialize};

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Kept by time.
    Time,
    /// Kept by bytes.
    Bytes,
    /// Many partitions, a record each in turn, kept by bytes.
    Many,
    /// Its front is deleted behind a slow reader.
    Front,
    /// Delayed records, kept by time, some cancelled.
    Delayed,
    /// A few records a second, never given up.
    Forever,
    /// Created and deleted again.
    Churn,
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }
}

/// One topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TopicPlan {
    /// Says in each record to which topic it was sent; never used again.
    pub(super) key: u16,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) partitions: u32,
    pub(super) value_bytes: usize,
    pub(super) bytes_per_second: u64,
    pub(super) kept_ms: Option<u64>,
    /// Of each partition.
    pub(super) kept_bytes: Option<u64>,
}

/// Everything that follows from the options.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) disk_bytes_max: u64,
    pub(super) window_ms: u64,
    pub(super) delay_ms_max: u64,
    pub(super) topics: Vec<TopicPlan>,
    /// Whether topics come and go.
    pub(super) churn: bool,
}

/// Partitions of the topic with many.
const MANY: u32 = 200;
/// Keys of topics that come and go begin here.
pub(super) const CHURN_KEY_FIRST: u16 = 64;
/// Small topics: so many records a second.
const DELAYED_PER_SECOND: u64 = 50;
const FOREVER_PER_SECOND: u64 = 4;
/// Records are delayed from this to many minutes, ms.
pub(super) const DELAY_MS_MIN: u64 = 1_000;
const DELAY_MS_MAX: u64 = 10 * 60_000;
/// The window is this share of the disk bound.
const WINDOW_PART: u64 = 3;

impl Plan {
    pub(super) fn new(disk_bytes_max: u64, bytes_per_second: u64, seconds: u64, leave_out: &[Kind]) -> Plan {
        let window_ms = (disk_bytes_max / WINDOW_PART * 1000 / bytes_per_second.max(1)).clamp(500, 10_000);
        let share = |percent: u64| bytes_per_second * percent / 100;
        let window_bytes = |rate: u64| rate * window_ms / 1000;
        let topic = |kind, name: &str, partitions, value_bytes, bytes_per_second| TopicPlan {
            key: kind as u16,
            kind,
            name: name.to_owned(),
            partitions,
            value_bytes,
            bytes_per_second,
            kept_ms: None,
            kept_bytes: None,
        };
        let by_bytes = |topic: TopicPlan| {
            // A little less than a window, so that the bound acts within it.
            let bytes = window_bytes(topic.bytes_per_second) * 3 / 4 / u64::from(topic.partitions);
            TopicPlan { kept_bytes: Some(bytes.max(1)), ..topic }
        };
        let by_time = |topic: TopicPlan| TopicPlan { kept_ms: Some(window_ms), ..topic };
        let topics = [
            by_time(topic(Kind::Time, "by-time", 4, 8_000, share(45))),
            by_bytes(topic(Kind::Bytes, "by-bytes", 2, 4_000, share(20))),
            by_bytes(topic(Kind::Many, "many", MANY, 2_000, share(18))),
            topic(Kind::Front, "front", 1, 6_000, share(16)),
            by_time(topic(Kind::Delayed, "delayed", 2, 1_000, 1_000 * DELAYED_PER_SECOND)),
            topic(Kind::Forever, "forever", 1, 100, 100 * FOREVER_PER_SECOND),
        ];
        Plan {
            disk_bytes_max,
            window_ms,
            // In a short run, too, some become visible.
            delay_ms_max: (seconds * 1000 / 2).clamp(DELAY_MS_MIN + 1, DELAY_MS_MAX),
            topics: topics.into_iter().filter(|topic| !leave_out.contains(&topic.kind)).collect(),
            churn: !leave_out.contains(&Kind::Churn),
        }
    }

    /// Segments small enough that a few of each lane are little beside the bound.
    pub(super) fn segment_bytes_max(&self) -> u64 {
        let share = (self.disk_bytes_max / 64).max(2 << 20);
        1 << share.ilog2()
    }
}

impl TopicPlan {
    /// A topic that comes and goes.
    pub(super) fn churn(key: u16) -> TopicPlan {
        TopicPlan {
            key,
            kind: Kind::Churn,
            name: format!("churn-{key}"),
            partitions: 1,
            value_bytes: 3_000,
            bytes_per_second: 0,
            kept_ms: None,
            kept_bytes: None,
        }
    }

    pub(super) fn options(&self) -> TopicOptions {
        let retention = Retention::new()
            .retention_ms(self.kept_ms.unwrap_or_default())
            .retention_bytes(self.kept_bytes.unwrap_or_default());
        TopicOptions::new().partitions(self.partitions).retention(retention)
    }

    /// What one of its records may count for at most where bytes are bounded: with a frame of its own.
    pub(super) fn counted_bytes_max(&self) -> u64 {
        /// A record's own header, its padding, and the header of a frame.
        const OVERHEAD_BYTES_MAX: u64 = 16 + 8 + 64;
        self.value_bytes as u64 + OVERHEAD_BYTES_MAX
    }

    /// The number that a record's value says.
    pub(super) fn number(&self, partition: u32, sequence: u32) -> u64 {
        (u64::from(self.key) << 48) | (u64::from(partition) << 32) | u64::from(sequence)
    }
}

/// Topic, partition and sequence of a record, from its number.
pub(super) fn parts_of(number: u64) -> (u16, u32, u32) {
    ((number >> 48) as u16, (number >> 32) as u32 & 0xffff, number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_where_its_record_belongs() {
        let plan = Plan::new(1 << 30, 60_000_000, 1800, &[]);
        for topic in &plan.topics {
            assert_eq!(parts_of(topic.number(7, u32::MAX)), (topic.key, 7, u32::MAX));
            assert!(topic.key < CHURN_KEY_FIRST);
        }
        assert_eq!(plan.segment_bytes_max(), 16 << 20);
        assert!(Plan::new(1 << 30, 60_000_000, 1800, &[Kind::Forever]).topics.iter().all(|t| t.kind != Kind::Forever));
    }
}
