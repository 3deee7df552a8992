//! Who reads, and says what it was given.
//!
//! Invariants:
//! - Every value is checked byte by byte, and must say the topic and partition where it was read.
//! - Where a reader goes on after `Truncated` it says so before it reads on.

use super::Lie;
use super::child::Work;
use super::message::{Kept, Message, Run, say};
use super::order::readers;
use super::plan::{Kind, Plan, TopicPlan, parts_of};
use crate::value::number_of;
use crate::witness::wall_ms;
use ringlane::{Consumer, ConsumerOptions, Engine, Error, Start};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long a reader waits for news.
const POLL: Duration = Duration::from_millis(100);
/// The slow reader keeps so many records that it has read.
const BEHIND_READER: u64 = 20;
/// It deletes what it has read each time that it has read so many more.
const DELETE_RECORDS: u64 = 500;
/// Once in so many polls a reader stops for a while.
const STOP_ONE_IN: u64 = 300;
/// A reader that begins anew rests up to so long before.
const REST_MS_MAX: u64 = 3_000;
/// The laggard reads this percentage of what comes.
const LAGGARD_PERCENT: u64 = 60;

/// A consumer that says what it gets.
pub(super) struct Reading<'a> {
    engine: &'a Engine,
    reader: u32,
    consumer: Consumer,
    topics: HashMap<String, TopicPlan>,
    /// Leave one record out.
    lie: bool,
}

/// What a poll gave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Polled {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Of the newest one, ms.
    timestamp_ms: i64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        plan: &Plan,
        reader: u32,
        records_max: Option<usize>,
    ) -> ringlane::Result<Self> {
        let options = ConsumerOptions::new().max_poll_records(records_max.unwrap_or(2_000));
        let consumer = engine.consumer(options)?;
        let topics = plan.topics.iter().map(|topic| (topic.name.clone(), topic.clone())).collect();
        Ok(Reading { engine, reader, consumer, topics, lie: false })
    }

    /// Begins with all partitions of a topic, at the beginning or where it was.
    pub(super) fn begin(&mut self, plan: &TopicPlan, positions: Option<&Work<'_>>) -> ringlane::Result<()> {
        self.topics.entry(plan.name.clone()).or_insert_with(|| plan.clone());
        for partition in 0..plan.partitions {
            let positions = positions.map_or(&[][..], |work| &work.order.positions);
            let known = positions
                .iter()
                .find(|(reader, topic, at, _)| (*reader, *topic, *at) == (self.reader, plan.key, partition));
            match known {
                Some((.., offset)) => self.go_to(plan, partition, *offset)?,
                None => self.begin_at(plan, partition, Start::Beginning)?,
            }
        }
        Ok(())
    }

    pub(super) fn begin_at(&mut self, plan: &TopicPlan, partition: u32, start: Start) -> ringlane::Result<()> {
        let topic = self.engine.topic(&plan.name)?;
        self.consumer.assign(&topic, partition, start)?;
        let offset = self.consumer.position(&topic, partition).expect("it is assigned");
        say(Message::Begun { reader: self.reader, topic: plan.key, partition, offset });
        Ok(())
    }

    /// Goes on at an offset, or behind what is gone there.
    pub(super) fn go_to(&mut self, plan: &TopicPlan, partition: u32, mut offset: u64) -> ringlane::Result<()> {
        let topic = self.engine.topic(&plan.name)?;
        loop {
            match self.consumer.assign(&topic, partition, Start::Offset(offset)) {
                Err(Error::Truncated { from, to, .. }) => {
                    say(Message::Truncated { reader: self.reader, topic: plan.key, partition, from, to });
                    offset = to;
                }
                result => return result,
            }
        }
    }

    /// Where it is, in all that it reads.
    pub(super) fn position(&self, plan: &TopicPlan, partition: u32) -> Option<u64> {
        self.consumer.position(&self.engine.topic(&plan.name).ok()?, partition)
    }

    /// Polls once, and says what came.
    pub(super) fn poll(&mut self, timeout: Duration) -> ringlane::Result<Polled> {
        let records = match self.consumer.poll(timeout) {
            Err(Error::Truncated { topic, partition, from, to }) => {
                let plan = self.topics[&topic].clone();
                say(Message::Truncated { reader: self.reader, topic: plan.key, partition, from, to });
                self.go_to(&plan, partition, to)?;
                return Ok(Polled::default());
            }
            records => records?,
        };
        let mut polled = Polled::default();
        let mut runs: BTreeMap<u16, Vec<Run>> = BTreeMap::new();
        for record in &records {
            let value = record.value().unwrap_or_default();
            let key = self.topics[record.topic()].key;
            let (partition, offset) = (record.partition(), record.offset());
            match number_of(value).map(parts_of) {
                Some((topic, of, sequence)) if (topic, of) == (key, partition) => {
                    Run::add(runs.entry(key).or_default(), partition, offset, sequence);
                }
                Some(parts) => {
                    trouble(&format!("misplaced: {} {partition} offset {offset}: {parts:?}", record.topic()))
                }
                None => {
                    trouble(&format!("{} {partition} offset {offset}: these bytes were never sent", record.topic()))
                }
            }
            polled.records += 1;
            polled.bytes += value.len() as u64;
            polled.timestamp_ms = polled.timestamp_ms.max(record.timestamp_ms());
        }
        for (topic, mut runs) in runs {
            if self.lie
                && let Some(run) = runs.iter_mut().find(|run| run.count > 2)
            {
                run.count -= 1;
                self.lie = false;
            }
            say(Message::Read { reader: self.reader, topic, runs, wall_ms: wall_ms() });
        }
        Ok(polled)
    }

    /// Reads until it has all of this.
    pub(super) fn read_to(&mut self, kept: &[Kept]) -> ringlane::Result<()> {
        loop {
            let mut missing = false;
            for kept in kept {
                let plan = self.topics.values().find(|plan| plan.key == kept.topic);
                let position = plan.and_then(|plan| self.position(plan, kept.partition));
                missing |= position.is_some_and(|position| position < kept.next);
            }
            if !missing {
                return Ok(());
            }
            self.poll(POLL)?;
        }
    }
}

fn trouble(text: &str) {
    say(Message::Trouble(text.to_owned()));
}

/// Follows the end of everything.
pub(super) fn follow(work: &Work<'_>) -> ringlane::Result<()> {
    let mut reading = Reading::new(work.engine, &work.order.plan, readers::FOLLOWER, None)?;
    reading.lie = work.order.lie == Some(Lie::DropRead);
    for topic in &work.order.plan.topics {
        reading.begin(topic, Some(work))?;
    }
    loop {
        reading.poll(POLL)?;
    }
}

/// Reads seconds behind, and deletes what it has read.
pub(super) fn read_slowly(work: &Work<'_>) -> ringlane::Result<()> {
    let Some((plan, topic)) = work.topic(Kind::Front) else { return Ok(()) };
    let mut random = work.random(2 << 32);
    let mut reading = Reading::new(work.engine, &work.order.plan, readers::SLOW, Some(50))?;
    reading.begin(plan, Some(work))?;
    let window_ms = work.order.plan.window_ms;
    let lag_ms = window_ms as i64 / 2;
    let mut deleted = 0;
    loop {
        let polled = reading.poll(POLL)?;
        let position = reading.position(plan, 0).unwrap_or_default();
        work.slow_position.store(position, Relaxed);
        if polled.records > 0 {
            let early_ms = polled.timestamp_ms + lag_ms - wall_ms();
            let stop_ms = if random.one_in(STOP_ONE_IN) { random.below(window_ms * 6 / 5) } else { 0 };
            if !work.pause(Duration::from_millis(early_ms.max(0) as u64 + stop_ms)) {
                return Ok(());
            }
        }
        let below = position.saturating_sub(BEHIND_READER);
        if below >= deleted + DELETE_RECORDS {
            say(Message::Deleting { topic: plan.key, partition: 0, below });
            match work.engine.delete_records(&topic, 0, below) {
                Ok(_) => deleted = below,
                Err(error) => work.refuse(error)?,
            }
        }
    }
}

/// Reads more slowly than what it reads is kept, and is told so.
pub(super) fn lag(work: &Work<'_>) -> ringlane::Result<()> {
    let Some((plan, _)) = work.topic(Kind::Time) else { return Ok(()) };
    let mut random = work.random(3 << 32);
    let mut reading = Reading::new(work.engine, &work.order.plan, readers::LAGGARD, Some(200))?;
    reading.begin(plan, Some(work))?;
    let bytes_per_second = (plan.bytes_per_second * LAGGARD_PERCENT / 100).max(1);
    loop {
        let polled = reading.poll(POLL)?;
        let stop_ms = if random.one_in(STOP_ONE_IN) { random.below(work.order.plan.window_ms * 2) } else { 0 };
        if !work.pause(Duration::from_millis(polled.bytes * 1000 / bytes_per_second + stop_ms)) {
            return Ok(());
        }
    }
}

/// Reads a topic from its beginning, and then another one.
pub(super) fn begin_anew(work: &Work<'_>) -> ringlane::Result<()> {
    let mut random = work.random(4 << 32);
    while work.pause(Duration::from_millis(random.below(REST_MS_MAX))) {
        let plan = random.pick(&work.order.plan.topics);
        let topic = work.engine.topic(&plan.name)?;
        let mut reading = Reading::new(work.engine, &work.order.plan, readers::ANEW, None)?;
        reading.begin(plan, None)?;
        let mut kept = Vec::new();
        for partition in 0..plan.partitions {
            let next = topic.partition_info(partition)?.next_offset;
            kept.push(Kept { topic: plan.key, partition, first: 0, next });
        }
        reading.read_to(&kept)?;
    }
    Ok(())
}
