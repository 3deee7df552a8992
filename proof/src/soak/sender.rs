//! Who sends: at a steady rate, and says before what it will send and after what was answered.

use super::Lie;
use super::child::Work;
use super::message::{Message, Run, say};
use super::order::readers;
use super::plan::{DELAY_MS_MIN, Kind, TopicPlan};
use super::reader::Reading;
use crate::sim::random::Random;
use crate::value::bytes_of;
use crate::witness::wall_ms;
use ringlane::{BatchHandle, Error, Producer, ProducerOptions, Record, RecordId, Topic};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A batch holds what is to be sent in so much time.
const BATCH: Duration = Duration::from_millis(20);
/// Batches on their way, of one topic.
const IN_FLIGHT_MAX: usize = 8;
/// A sender that fell behind by more does not make up for it.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// Delayed records that may still be cancelled are remembered up to so many; one in so many is.
const CANCELLABLE_MAX: usize = 200;
const CANCEL_ONE_IN: u64 = 5;
/// A topic that comes and goes: its records at most, and how long it stays at most.
const CHURN_RECORDS_MAX: u64 = 300;
const CHURN_STAYS_MS_MAX: u64 = 6_000;

/// Sends to one topic until it is time to end.
pub(super) fn send(work: &Work<'_>, plan: &TopicPlan) -> ringlane::Result<()> {
    let topic = work.engine.topic(&plan.name)?;
    let producer = work.engine.producer(ProducerOptions::new())?;
    let sequence = work.order.sequences.iter().find(|(key, _)| *key == plan.key).map_or(0, |(_, next)| *next);
    let random = work.random(u64::from(plan.key));
    let sender = Sender { work, plan, topic, producer, sequence, random };
    if plan.kind == Kind::Delayed { sender.delay() } else { sender.send_batches() }
}

struct Sender<'a> {
    work: &'a Work<'a>,
    plan: &'a TopicPlan,
    topic: Topic,
    producer: Producer,
    sequence: u32,
    random: Random,
}

/// A steady rate.
struct Pace {
    due: Instant,
}

impl Pace {
    /// Waits until the next turn; `bytes` are sent in it. `false`: it is time to end.
    fn wait(&mut self, work: &Work<'_>, bytes: u64, bytes_per_second: u64) -> bool {
        let now = Instant::now();
        self.due = self.due.max(now.checked_sub(BEHIND_MAX).unwrap_or(now));
        let goes_on = work.pause(self.due.saturating_duration_since(now));
        self.due += Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64);
        goes_on
    }
}

/// A batch on its way: partition and sequence of each record.
struct Sent {
    handle: BatchHandle,
    records: Vec<(u32, u32)>,
    bytes: u64,
}

impl Sender<'_> {
    fn send_batches(mut self) -> ringlane::Result<()> {
        let mut pace = Pace { due: Instant::now() };
        let mut waiting: VecDeque<Sent> = VecDeque::new();
        let mut partition = 0;
        loop {
            let batch = self.batch(&mut partition);
            let bytes = batch.iter().map(|(.., value)| value.len() as u64).sum();
            if !pace.wait(self.work, bytes, self.plan.bytes_per_second) {
                return Ok(());
            }
            say(Message::Sending { topic: self.plan.key, below: self.sequence, wall_ms: wall_ms() });
            let records: Vec<_> = batch
                .iter()
                .map(|(partition, _, value)| Record { partition: Some(*partition), ..Record::new(value) })
                .collect();
            match self.producer.send_batch(&self.topic, &records) {
                Ok(handle) => {
                    let records = batch.iter().map(|(partition, sequence, _)| (*partition, *sequence)).collect();
                    waiting.push_back(Sent { handle, records, bytes });
                }
                // Which of them are on their way nobody knows; readers will say.
                Err(error) => self.work.refuse(error)?,
            }
            while waiting.front().is_some_and(|sent| waiting.len() > IN_FLIGHT_MAX || sent.handle.is_done()) {
                let sent = waiting.pop_front().expect("it is there");
                self.answered(&sent)?;
            }
        }
    }

    /// What is sent next: partition, sequence, value.
    fn batch(&mut self, partition: &mut u32) -> Vec<(u32, u32, Vec<u8>)> {
        let plan = self.plan;
        if plan.kind == Kind::Many {
            self.sequence += 1;
            let sequence = self.sequence - 1;
            let value = |partition| bytes_of(plan.number(partition, sequence), plan.value_bytes);
            return (0..plan.partitions).map(|partition| (partition, sequence, value(partition))).collect();
        }
        *partition = (*partition + 1) % plan.partitions;
        let bytes = plan.bytes_per_second * BATCH.as_millis() as u64 / 1000;
        let count = (bytes / plan.value_bytes as u64).max(1);
        let records = (0..count).map(|_| {
            // Where bytes are bounded they must be known.
            let bytes = match plan.kind {
                Kind::Time => self.random.between(1, plan.value_bytes as u64 * 2) as usize,
                _ => plan.value_bytes,
            };
            self.sequence += 1;
            let sequence = self.sequence - 1;
            (*partition, sequence, bytes_of(plan.number(*partition, sequence), bytes))
        });
        records.collect()
    }

    fn answered(&self, sent: &Sent) -> ringlane::Result<()> {
        let (mut runs, mut refused, mut count) = (Vec::new(), None, 0);
        for ((partition, sequence), outcome) in sent.records.iter().zip(sent.handle.outcomes()) {
            match outcome {
                Ok(receipt) => {
                    count += 1;
                    Run::add(&mut runs, *partition, receipt.offset.expect("it is not delayed"), *sequence);
                }
                Err(error) => refused = Some(error),
            }
        }
        if self.work.order.lie == Some(Lie::Acknowledge)
            && let Some(last) = runs.last_mut()
        {
            last.count += 1;
        }
        if !runs.is_empty() {
            let bytes = sent.bytes * count / sent.records.len() as u64;
            say(Message::Acknowledged { topic: self.plan.key, bytes, runs });
        }
        refused.map_or(Ok(()), |error| self.work.refuse(error))
    }

    fn delay(mut self) -> ringlane::Result<()> {
        let mut pace = Pace { due: Instant::now() };
        let mut cancellable: Vec<(u32, RecordId)> = Vec::new();
        while pace.wait(self.work, self.plan.value_bytes as u64, self.plan.bytes_per_second) {
            let sequence = self.sequence;
            self.sequence += 1;
            let partition = sequence % self.plan.partitions;
            let due_ms = wall_ms() + self.delay_ms();
            say(Message::Sending { topic: self.plan.key, below: self.sequence, wall_ms: wall_ms() });
            let later = if self.work.order.lie == Some(Lie::DueLater) { 10_000 } else { 0 };
            say(Message::Delaying { sequence, due_ms: due_ms + later });
            let value = bytes_of(self.plan.number(partition, sequence), self.plan.value_bytes);
            let record = Record { partition: Some(partition), ..Record::new(&value) }.visible_at(due_ms);
            match self.producer.send(&self.topic, record).and_then(ringlane::SendHandle::wait) {
                Ok(receipt) => {
                    say(Message::Withheld { sequence, id: receipt.id.to_string(), bytes: value.len() as u64 });
                    cancellable.push((sequence, receipt.id));
                }
                Err(error) => self.work.refuse(error)?,
            }
            if cancellable.len() > CANCELLABLE_MAX {
                cancellable.swap_remove(self.random.below(CANCELLABLE_MAX as u64) as usize);
            }
            if self.random.one_in(CANCEL_ONE_IN) && !cancellable.is_empty() {
                let at = self.random.below(cancellable.len() as u64) as usize;
                let (sequence, id) = cancellable.swap_remove(at);
                cancel(self.work, &self.producer, sequence, id)?;
            }
        }
        Ok(())
    }

    /// As many of one second as of many minutes: evenly by their order of magnitude.
    fn delay_ms(&mut self) -> i64 {
        let most = self.work.order.plan.delay_ms_max as f64 / DELAY_MS_MIN as f64;
        let part = self.random.below(1 << 20) as f64 / f64::from(1 << 20);
        (DELAY_MS_MIN as f64 * most.powf(part)) as i64
    }
}

/// Takes a delayed record back, and says how that went.
pub(super) fn cancel(work: &Work<'_>, producer: &Producer, sequence: u32, id: RecordId) -> ringlane::Result<()> {
    loop {
        say(Message::Cancelling { sequence });
        let done = match producer.cancel(id) {
            Ok(()) => true,
            Err(Error::NotWithheld) => false,
            Err(error) => {
                work.refuse(error)?;
                continue;
            }
        };
        say(Message::Cancelled { sequence, done, wall_ms: wall_ms() });
        return Ok(());
    }
}

/// Topics that come and go. First those that a child before left.
pub(super) fn churn(work: &Work<'_>) -> ringlane::Result<()> {
    let producer = work.engine.producer(ProducerOptions::new())?;
    let mut random = work.random(1 << 32);
    for key in &work.order.churn {
        let plan = TopicPlan::churn(*key);
        if work.engine.topic(&plan.name).is_ok() {
            read_and_drop(work, &plan)?;
        }
    }
    let mut key = work.order.churn_next;
    while work.pause(Duration::from_millis(random.below(CHURN_STAYS_MS_MAX))) {
        let plan = TopicPlan::churn(key);
        say(Message::Creating { topic: key });
        // One that was not made has no name that is used again.
        key += 1;
        let topic = match work.engine.create_topic(&plan.name, plan.options()) {
            Ok(topic) => topic,
            Err(error) => {
                work.refuse(error)?;
                continue;
            }
        };
        say(Message::Created { topic: plan.key });
        let sender = Sender {
            work,
            plan: &plan,
            topic: topic.clone(),
            producer: producer.clone(),
            sequence: 0,
            random: random.fork(u64::from(key)),
        };
        let count = 1 + random.below(CHURN_RECORDS_MAX) as u32;
        say(Message::Sending { topic: plan.key, below: count, wall_ms: wall_ms() });
        let values: Vec<_> = (0..count).map(|sequence| bytes_of(plan.number(0, sequence), plan.value_bytes)).collect();
        let records: Vec<_> = values.iter().map(|value| Record::new(value)).collect();
        match producer.send_batch(&topic, &records) {
            Ok(handle) => {
                let bytes = values.iter().map(|value| value.len() as u64).sum();
                sender.answered(&Sent {
                    handle,
                    records: (0..count).map(|sequence| (0, sequence)).collect(),
                    bytes,
                })?;
            }
            Err(error) => work.refuse(error)?,
        }
        if !work.pause(Duration::from_millis(random.below(CHURN_STAYS_MS_MAX))) {
            return Ok(());
        }
        read_and_drop(work, &plan)?;
    }
    Ok(())
}

fn read_and_drop(work: &Work<'_>, plan: &TopicPlan) -> ringlane::Result<()> {
    let topic = work.engine.topic(&plan.name)?;
    let info = topic.partition_info(0)?;
    let mut reading = Reading::new(work.engine, &work.order.plan, readers::CHURN, None)?;
    reading.begin(plan, None)?;
    let kept = super::message::Kept { topic: plan.key, partition: 0, first: info.first_offset, next: info.next_offset };
    reading.read_to(&[kept])?;
    say(Message::Dropping { topic: plan.key });
    while let Err(error) = work.engine.delete_topic(&plan.name) {
        work.refuse(error)?;
        if work.stopping.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(());
        }
    }
    say(Message::Dropped { topic: plan.key });
    Ok(())
}
