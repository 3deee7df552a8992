//! Topics, partitions and what stands at each offset.
//!
//! Invariants:
//! - An offset is bound *for ever* by a synced receipt, by anything that a reader saw (readers see durable
//!   records only), and by whatever stands below such an offset in the same partition: a log is durable up
//!   to a point. Only the first binding counts; whoever disagrees with it is the finding.
//! - A buffered receipt binds *loosely*: until the next crash that does not keep buffered records.
//! - Offsets are dense, so offsets stand below the number of records that were sent to the topic. One that
//!   does not is a finding and is not kept, which bounds memory and steps.

use crate::history::{GroupNumber, TopicNumber};
use std::collections::HashMap;

/// What is bound at one offset.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// The record, for ever.
    pub(super) bound: Option<usize>,
    /// The event that bound it.
    pub(super) since: usize,
    /// The record, until the crash of this number.
    pub(super) loose: Option<(usize, u32)>,
}

/// A partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: TopicNumber,
    pub(super) number: u32,
    pub(super) slots: Vec<Slot>,
    /// Behind the last offset that is bound for ever.
    pub(super) bound_end: u64,
    /// Offsets that the engine said it cannot give: first, and behind the last.
    pub(super) reported: Vec<(u64, u64)>,
    /// Offsets that a reader passed over without a word: first, and behind the last.
    pub(super) passed: Vec<(u64, u64)>,
    /// The last event that read all of it.
    pub(super) last_contents: Option<usize>,
    /// Somebody asked to give up what stands below this offset.
    pub(super) truncation_asked: u64,
    /// What stands below this offset is given up, for ever.
    pub(super) truncated: u64,
}

impl Partition {
    /// The engine said that it cannot give this offset.
    pub(super) fn is_reported(&self, offset: u64) -> bool {
        self.reported.iter().any(|(first, end)| (*first..*end).contains(&offset))
    }

    /// The first offset in a range of which the engine has said nothing.
    pub(super) fn first_unreported(&self, mut from: u64, to: u64) -> Option<u64> {
        while from < to {
            match self.reported.iter().find(|(first, end)| (*first..*end).contains(&from)) {
                Some((_, end)) => from = *end,
                None => return Some(from),
            }
        }
        None
    }

    /// The slot of an offset, if anything was ever bound there.
    pub(super) fn slot(&self, offset: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(offset).ok()?)
    }
}

/// A topic.
#[derive(Debug, Default)]
pub(super) struct Topic {
    /// Its creation was acknowledged.
    pub(super) created: bool,
    pub(super) partitions: u32,
    pub(super) dead_letters_of: Option<GroupNumber>,
    /// The last event that asked to delete it. Whatever is missing after it is not lost.
    pub(super) delete_asked: Option<usize>,
    /// The event that acknowledged its deletion.
    pub(super) deleted: Option<usize>,
    pub(super) reported_missing: bool,
    /// Bounds were asked for: its records may be given up.
    pub(super) is_bounded: bool,
    /// Those of them may be given up that every group has finished.
    pub(super) drops_finished: bool,
}

/// All topics and partitions, by number and in the order in which they were first named.
#[derive(Default)]
pub(super) struct Logs {
    pub(super) topics: HashMap<TopicNumber, Topic>,
    pub(super) partitions: Vec<Partition>,
    by_name: HashMap<(TopicNumber, u32), usize>,
}

impl Logs {
    /// The place of a partition in [`Logs::partitions`].
    pub(super) fn partition(&mut self, topic: TopicNumber, number: u32) -> usize {
        let next = self.partitions.len();
        let place = *self.by_name.entry((topic, number)).or_insert(next);
        if place == next {
            self.partitions.push(Partition {
                topic,
                number,
                slots: Vec::new(),
                bound_end: 0,
                reported: Vec::new(),
                passed: Vec::new(),
                last_contents: None,
                truncation_asked: 0,
                truncated: 0,
            });
        }
        place
    }

    /// The place of a partition, if it was ever named.
    pub(super) fn find(&self, topic: TopicNumber, number: u32) -> Option<usize> {
        self.by_name.get(&(topic, number)).copied()
    }

    /// Somebody asked to delete the topic.
    pub(super) fn delete_asked(&self, topic: TopicNumber) -> bool {
        self.topics.get(&topic).is_some_and(|topic| topic.delete_asked.is_some())
    }

    /// The group whose dead letters a topic takes.
    pub(super) fn dead_letters_of(&self, topic: TopicNumber) -> Option<GroupNumber> {
        self.topics.get(&topic).and_then(|topic| topic.dead_letters_of)
    }
}
