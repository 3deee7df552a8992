//! Giving up records: by a call, and by what a topic is told to keep.

use super::topics::with_name;
use super::{Operation, any_name};
use crate::history::{Answer, Call, Outcome};
use crate::sim::client::Client;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use crate::sim::shared::topic_name;
use ringlane::Retention;
use std::fmt;
use std::rc::Rc;

struct Delete {
    name: usize,
    choice: u64,
    /// Of what is there, in hundredths; beyond that: all, and more.
    share: u64,
}

struct Set {
    name: usize,
    retention: Retention,
}

pub(super) fn delete(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Delete { name: any_name(random), choice: random.number(), share: random.below(120) })
}

pub(super) fn set(random: &mut Random, shape: &Shape) -> Rc<dyn Operation> {
    let retention = match random.below(5) {
        0 => Retention::new(),
        1 => Retention::new().retention_ms(1 + random.skewed(200_000)),
        _ => Retention::new().retention_bytes(1 + random.skewed(2 << 20)),
    };
    let name = any_name(random);
    // Where there are groups also what they have finished counts. Nothing is drawn for that: it would change other plans.
    let number = retention.retention_bytes.or(retention.retention_ms).unwrap_or(name as u64);
    let (keep, drop) = match number % 4 {
        0 => (true, false),
        1 => (true, true),
        2 => (false, true),
        _ => (false, false),
    };
    let retention = retention.keep_unfinished(keep && shape.groups).drop_finished(drop && shape.groups);
    Rc::new(Set { name, retention })
}

impl Operation for Delete {
    fn run(&self, client: &mut Client) {
        let Some((number, topic)) = client.topic(self.name) else { return };
        let partition = (self.choice % u64::from(topic.partitions())) as u32;
        let Ok(info) = topic.partition_info(partition) else { return };
        let before = match self.share {
            0..100 => info.first_offset + (info.next_offset - info.first_offset) * self.share / 100,
            _ => u64::MAX,
        };
        let call = Call::DeleteRecords { topic: number, partition, before };
        let operation = client.shared.recorder.invoke(client.process(5), call);
        let outcome = match client.engine.delete_records(&topic, partition, before) {
            Ok(offset) => {
                client.shared.count("deletions of records");
                Outcome::Ok(Answer::Position { offset })
            }
            Err(error) => client.shared.judge("deleting records", &error),
        };
        client.shared.recorder.complete(operation, outcome);
    }
}

impl Operation for Set {
    fn run(&self, client: &mut Client) {
        with_name(client, self.name, |client| self.set(client));
    }
}

impl Set {
    fn set(&self, client: &Client) {
        let Some((number, _)) = client.topic(self.name) else { return };
        let Retention { retention_ms, retention_bytes, keep_unfinished, drop_finished, .. } = self.retention;
        let has_bounds = retention_ms.is_some() || retention_bytes.is_some();
        let bounded = has_bounds && !keep_unfinished;
        let finished = drop_finished || has_bounds;
        {
            let mut all = client.shared.kept.borrow_mut();
            let kept = all.entry(number).or_default();
            kept.bytes = kept.bytes.min(retention_bytes.unwrap_or(u64::MAX));
            kept.ms = kept.ms.min(retention_ms.unwrap_or(u64::MAX));
            if drop_finished {
                (kept.bytes, kept.ms) = (0, 0);
            }
        }
        let call = Call::SetRetention { topic: number, bounded, finished };
        let operation = client.shared.recorder.invoke(client.process(5), call);
        let outcome = match client.engine.set_retention(&topic_name(self.name), self.retention) {
            Ok(()) => Outcome::done(),
            Err(error) => client.shared.judge("setting retention", &error),
        };
        client.shared.recorder.complete(operation, outcome);
    }
}

impl fmt::Display for Delete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delete {} % of the records of a partition of {}", self.share, topic_name(self.name))
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keep of {} {:?}", topic_name(self.name), self.retention)
    }
}
