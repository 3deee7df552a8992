//! What a group is: which topics it reads, from where, and how it hands records out.
//!
//! Invariant: it is part of the catalog, so a group is the same after every opening; who joins cannot change it.

use super::retry::RetryPolicy;
use super::taken::{DeskOptions, GroupKind};
use crate::consumer::consumer::Start;
use crate::consumer::filter::Filter;
use crate::error::{Error, Result};
use crate::lane::catalog::{GroupEntry, check_name};
use crate::lane::inbox::InboxBounds;
use crate::log::codec::{Put, Reader};
use std::time::Duration;

/// The version of the encoding: of a group that takes all records, and of one with a filter.
const VERSION: u8 = 1;
const VERSION_WITH_FILTER: u8 = 2;
/// Most topics of one group.
const TOPICS_MAX: usize = 1_000;

/// What a group reads and how: for [`Engine::create_group`](crate::Engine::create_group).
///
/// ```
/// use ringlane::{GroupOptions, Start};
/// use std::time::Duration;
/// let options = GroupOptions::shared().topic("orders", Start::Beginning).max_deliveries(5);
/// assert_eq!(options.topics[0].0, "orders");
/// # let _ = options.retry_delay(Duration::from_millis(100), Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupOptions {
    /// Who is given what.
    pub kind: GroupKind,
    /// The topics that it reads, and where in each of them it begins. At least one, at most 1,000.
    pub topics: Vec<(String, Start)>,
    /// A record whose deliveries failed so often goes to the dead letters. A release is no failure. Default 16.
    pub max_deliveries: u32,
    /// How long a record that failed waits for its next delivery, at first and at most; it doubles. Default 1 s to
    /// 10 min.
    pub retry_delay: (Duration, Duration),
    /// The topic that takes the dead letters; it is created where it is missing. Default: the group's name and `.dlq`.
    pub dead_letter_topic: Option<String>,
    /// How many records of one partition may be unfinished between the first one and the last that was handed out: one
    /// that is never finished holds up no more than that. Default 100,000; at most 500,000.
    pub unfinished_max: u64,
    /// How many tokens of [`Acknowledger::once`](crate::Acknowledger::once) are remembered for each partition; beyond
    /// them the oldest goes. They take memory, and a part of each segment's checkpoint. Default 10,000; at most
    /// 1,000,000.
    pub inbox_tokens_max: u32,
    /// How long they are remembered. Default 7 days; 1 ms to 10 years.
    pub inbox_age_max: Duration,
    /// Which records the group wants. The others are finished for it without being delivered: they hold nothing back and
    /// are no dead letters. Like all options it stays what it is as long as the group lives. Default: all.
    pub filter: Option<Filter>,
}

impl GroupOptions {
    /// A group whose partitions belong to one member each, in order.
    pub fn ordered() -> Self {
        Self::of(GroupKind::Ordered)
    }

    /// A group whose members share all records.
    pub fn shared() -> Self {
        Self::of(GroupKind::Shared)
    }

    fn of(kind: GroupKind) -> Self {
        let DeskOptions { unfinished_max, retry, .. } = DeskOptions::new(kind);
        GroupOptions {
            kind,
            topics: Vec::new(),
            max_deliveries: retry.max_deliveries,
            retry_delay: (Duration::from_millis(retry.first_delay_ms), Duration::from_millis(retry.delay_ms_max)),
            dead_letter_topic: None,
            unfinished_max,
            inbox_tokens_max: 10_000,
            inbox_age_max: Duration::from_secs(7 * 24 * 60 * 60),
            filter: None,
        }
    }

    /// Adds a topic, and says where the group begins in it.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>, start: Start) -> Self {
        self.topics.push((topic.into(), start));
        self
    }

    /// Sets how many deliveries of a record may fail.
    #[must_use]
    pub fn max_deliveries(mut self, count: u32) -> Self {
        self.max_deliveries = count;
        self
    }

    /// Sets how long a record that failed waits, at first and at most.
    #[must_use]
    pub fn retry_delay(mut self, first: Duration, max: Duration) -> Self {
        self.retry_delay = (first, max);
        self
    }

    /// Sets the topic of the dead letters.
    #[must_use]
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self {
        self.dead_letter_topic = Some(topic.into());
        self
    }

    /// Sets how many records of a partition may be unfinished.
    #[must_use]
    pub fn unfinished_max(mut self, count: u64) -> Self {
        self.unfinished_max = count;
        self
    }

    /// Sets how many tokens are remembered for each partition, and for how long.
    #[must_use]
    pub fn inbox(mut self, tokens_max: u32, age_max: Duration) -> Self {
        (self.inbox_tokens_max, self.inbox_age_max) = (tokens_max, age_max);
        self
    }

    pub(crate) fn inbox_bounds(&self) -> InboxBounds {
        let age_ms_max = u64::try_from(self.inbox_age_max.as_millis()).unwrap_or(u64::MAX);
        InboxBounds { tokens_max: self.inbox_tokens_max, age_ms_max }
    }

    /// Sets which records it wants.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// The topic of the dead letters of a group of this name.
    pub(crate) fn dead_letters_of(&self, group: &str) -> String {
        self.dead_letter_topic.clone().unwrap_or_else(|| format!("{group}.dlq"))
    }

    pub(crate) fn desk(&self) -> DeskOptions {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let retry = RetryPolicy {
            first_delay_ms: ms(self.retry_delay.0),
            delay_ms_max: ms(self.retry_delay.1),
            max_deliveries: self.max_deliveries,
            ..RetryPolicy::default()
        };
        DeskOptions { unfinished_max: self.unfinished_max, retry, ..DeskOptions::new(self.kind) }
    }

    pub(crate) fn validate(&self, group: &str) -> Result<()> {
        check_name(group)?;
        self.desk().validate()?;
        self.filter.as_ref().map_or(Ok(()), Filter::check)?;
        let dead_letters = self.dead_letters_of(group);
        check_name(&dead_letters)?;
        let check = |ok: bool, name: &'static str, value: String, reason: &str| match ok {
            true => Ok(()),
            false => Err(Error::InvalidArgument { name, value, reason: reason.to_owned() }),
        };
        let (tokens, age) = (self.inbox_tokens_max, self.inbox_age_max);
        let ages = Duration::from_millis(1)..=Duration::from_secs(10 * 365 * 24 * 60 * 60);
        check((1..=1_000_000).contains(&tokens), "inbox_tokens_max", tokens.to_string(), "1 to 1,000,000")?;
        check(ages.contains(&age), "inbox_age_max", format!("{age:?}"), "1 ms to 10 years")?;
        let invalid = |value: String, reason: &str| {
            Err(Error::InvalidArgument { name: "topics", value, reason: reason.to_owned() })
        };
        if self.topics.is_empty() || self.topics.len() > TOPICS_MAX {
            return invalid(self.topics.len().to_string(), "a group reads 1 to 1,000 topics");
        }
        for (at, (topic, _)) in self.topics.iter().enumerate() {
            if self.topics[..at].iter().any(|(earlier, _)| earlier == topic) {
                return invalid(topic.clone(), "it is given twice");
            }
            if *topic == dead_letters {
                return invalid(topic.clone(), "a group cannot read the topic of its own dead letters");
            }
        }
        Ok(())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let DeskOptions { retry, .. } = self.desk();
        let mut body = Vec::new();
        body.put_u8(if self.filter.is_some() { VERSION_WITH_FILTER } else { VERSION });
        self.kind.put(&mut body);
        body.put_u32(retry.max_deliveries);
        body.put_u64(retry.first_delay_ms);
        body.put_u64(retry.delay_ms_max);
        body.put_u64(self.unfinished_max);
        self.inbox_bounds().encode(&mut body);
        body.put_bytes(self.dead_letter_topic.as_deref().unwrap_or_default().as_bytes());
        body.put_u32(self.topics.len() as u32);
        for (topic, start) in &self.topics {
            body.put_bytes(topic.as_bytes());
            start.put(&mut body);
        }
        if let Some(filter) = &self.filter {
            body.put_bytes(filter.to_string().as_bytes());
        }
        body
    }

    /// Reads the config of a group; `None`: a newer library wrote it.
    pub(crate) fn decode(entry: &GroupEntry) -> Option<GroupOptions> {
        Self::read(&entry.config).filter(|options| options.validate(&entry.name).is_ok())
    }

    /// Reads what [`GroupOptions::encode`] wrote, whatever it says.
    pub(crate) fn read(config: &[u8]) -> Option<GroupOptions> {
        let mut reader = Reader::new(config);
        let reader = &mut reader;
        let has_filter = match reader.u8()? {
            VERSION => false,
            VERSION_WITH_FILTER => true,
            _ => return None,
        };
        let kind = GroupKind::take(reader)?;
        let text = |reader: &mut Reader<'_>| Some(std::str::from_utf8(reader.bytes()?).ok()?.to_owned());
        let max_deliveries = reader.u32()?;
        let retry_delay = (Duration::from_millis(reader.u64()?), Duration::from_millis(reader.u64()?));
        let unfinished_max = reader.u64()?;
        let inbox = InboxBounds::decode(reader)?;
        let dead_letter_topic = Some(text(reader)?).filter(|name| !name.is_empty());
        let mut topics = Vec::new();
        for _ in 0..reader.u32()? {
            topics.push((text(reader)?, Start::take(reader)?));
        }
        let filter = match has_filter {
            true => Some(Filter::read_back(&text(reader)?)?),
            false => None,
        };
        reader.is_empty().then_some(GroupOptions {
            kind,
            topics,
            max_deliveries,
            retry_delay,
            dead_letter_topic,
            unfinished_max,
            inbox_tokens_max: inbox.tokens_max,
            inbox_age_max: Duration::from_millis(inbox.age_ms_max),
            filter,
        })
    }
}

impl GroupKind {
    pub(crate) fn put(self, target: &mut Vec<u8>) {
        target.put_u8(match self {
            GroupKind::Ordered => 1,
            GroupKind::Shared => 2,
        });
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<GroupKind> {
        match reader.u8()? {
            1 => Some(GroupKind::Ordered),
            2 => Some(GroupKind::Shared),
            _ => None,
        }
    }
}

impl Start {
    pub(crate) fn put(self, target: &mut Vec<u8>) {
        let (code, value) = match self {
            Start::Beginning => (1, 0),
            Start::End => (2, 0),
            Start::Offset(offset) => (3, offset),
            Start::Timestamp(timestamp_ms) => (4, timestamp_ms as u64),
        };
        target.put_u8(code);
        target.put_u64(value);
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<Start> {
        match (reader.u8()?, reader.u64()?) {
            (1, 0) => Some(Start::Beginning),
            (2, 0) => Some(Start::End),
            (3, offset) => Some(Start::Offset(offset)),
            (4, timestamp_ms) => Some(Start::Timestamp(timestamp_ms as i64)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_group_is_is_read_back() {
        let options = GroupOptions::ordered()
            .topic("a", Start::Beginning)
            .topic("b", Start::End)
            .topic("c", Start::Offset(7))
            .topic("d", Start::Timestamp(-5))
            .max_deliveries(3)
            .retry_delay(Duration::ZERO, Duration::from_secs(5))
            .dead_letter_topic("dead")
            .unfinished_max(9)
            .inbox(77, Duration::from_millis(5));
        let entry = GroupEntry { id: 1, name: "g".to_owned(), config: options.encode() };
        assert_eq!(GroupOptions::decode(&entry), Some(options.clone()));
        assert_eq!(entry.config[0], 1, "as before there were filters");
        let of = |config: &[u8]| GroupOptions::decode(&GroupEntry { config: config.to_vec(), ..entry.clone() });
        for length in 0..entry.config.len() {
            assert_eq!(of(&entry.config[..length]), None);
        }
        assert_eq!(of(&[&[9], &entry.config[1..]].concat()), None, "a newer version");
        let options = options.filter(Filter::tag("paid").or(Filter::header_exists("b c")));
        let config = options.encode();
        assert_eq!((config[0], of(&config)), (2, Some(options)));
        for length in 0..config.len() {
            assert_eq!(of(&config[..length]), None);
        }
        let newer = [&config[..config.len() - 1], b")"].concat();
        assert_eq!(of(&newer), None, "a filter that is said in newer words");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_reason() {
        let shared = || GroupOptions::shared().topic("t", Start::End);
        for (options, reason) in [
            (GroupOptions::shared(), "1 to 1,000 topics"),
            (shared().topic("t", Start::Beginning), "twice"),
            (shared().topic("g.dlq", Start::Beginning), "its own dead letters"),
            (shared().dead_letter_topic("a b"), "`a b`"),
            (shared().max_deliveries(0), "max_deliveries"),
            (shared().unfinished_max(0), "unfinished_max"),
            (shared().inbox(0, Duration::from_secs(1)), "inbox_tokens_max"),
            (shared().inbox(1, Duration::ZERO), "inbox_age_max"),
            (shared().filter(Filter::tag(&"x".repeat(5_000))), "4,096 bytes"),
            (shared().retry_delay(Duration::from_secs(2), Duration::from_secs(1)), "first_delay_ms"),
        ] {
            let error = options.validate("g").unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        shared().validate("g").unwrap();
        shared().validate("g h").unwrap_err();
    }
}
