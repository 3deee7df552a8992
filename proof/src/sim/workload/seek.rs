//! Choosing what to read and from where.

use super::{Operation, any_name};
use crate::history::{Answer, Call, From, Happening, Outcome};
use crate::sim::client::Client;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use crate::sim::shared::topic_name;
use ringlane::{ConsumerOptions, Start, Topic};
use std::fmt;
use std::rc::Rc;

/// Offsets that are sought lie below, mostly.
const OFFSET_MAX: u64 = 200;

struct Seek {
    name: usize,
    choice: u64,
    from: From,
    leaves: bool,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    let from = match random.below(5) {
        0 | 1 => From::Beginning,
        2 => From::End,
        3 => From::Offset(random.skewed(OFFSET_MAX)),
        _ => From::Timestamp(1_600_000_000_000 + random.below(2_000) as i64 * 10),
    };
    Rc::new(Seek { name: any_name(random), choice: random.number(), from, leaves: random.one_in(8) })
}

impl Operation for Seek {
    fn run(&self, client: &mut Client) {
        forget_replaced(client);
        let Some((number, topic)) = client.topic(self.name) else { return };
        let partition = (self.choice % u64::from(topic.partitions())) as u32;
        if self.leaves {
            return leave(client, self.name, partition);
        }
        // An offset behind the end would be waited for, and never come.
        let from = match self.from {
            From::Offset(offset) => {
                From::Offset(offset.min(topic.partition_info(partition).map_or(0, |info| info.next_offset)))
            }
            from => from,
        };
        assign(client, self.name, number, &topic, partition, from);
    }
}

fn start_of(from: From) -> Start {
    match from {
        From::Beginning => Start::Beginning,
        From::End => Start::End,
        From::Offset(offset) => Start::Offset(offset),
        From::Timestamp(timestamp_ms) => Start::Timestamp(timestamp_ms),
    }
}

fn assign(client: &mut Client, name: usize, number: u32, topic: &Topic, partition: u32, from: From) {
    if client.consumer(&ConsumerOptions::new()).is_none() {
        return;
    }
    let is_known = client.reader.assigned.contains_key(&(name, partition));
    let call = match is_known {
        true => Call::Seek { topic: number, partition, from },
        false => Call::Assign { topic: number, partition, from },
    };
    let operation = client.shared.recorder.invoke(client.process(3), call);
    let consumer = client.reader.consumer.as_mut().expect("just made");
    let result = match is_known {
        true => consumer.seek(topic, partition, start_of(from)),
        false => consumer.assign(topic, partition, start_of(from)),
    };
    let outcome = match result {
        Ok(()) => {
            let offset = consumer.position(topic, partition).expect("it is assigned");
            client.reader.assigned.insert((name, partition), (number, topic.clone()));
            Outcome::Ok(Answer::Position { offset })
        }
        Err(error) => client.shared.judge("assigning", &error),
    };
    client.shared.recorder.complete(operation, outcome);
}

/// Reads all partitions of a topic from the beginning.
pub(super) fn assign_all(client: &mut Client, name: usize) {
    if let Some((number, topic)) = client.topic(name) {
        for partition in 0..topic.partitions() {
            assign(client, name, number, &topic, partition, From::Beginning);
        }
    }
}

/// A reader was told that records are given up, and goes on behind them.
pub(super) fn pass_truncated(client: &mut Client, topic: &str, partition: u32, to: u64) {
    let mut assigned = client.reader.assigned.iter();
    let found = assigned.find(|((name, at), _)| topic_name(*name) == topic && *at == partition);
    let Some((&(name, _), (number, topic))) = found else {
        return client.shared.violation(format!("{topic} partition {partition} is truncated, and nobody reads it"));
    };
    let (number, topic) = (*number, topic.clone());
    client.shared.recorder.happen(Happening::truncated(number, partition, to));
    client.shared.count("readers told of truncation");
    assign(client, name, number, &topic, partition, From::Offset(to));
}

fn leave(client: &mut Client, name: usize, partition: u32) {
    let Some((number, topic)) = client.reader.assigned.remove(&(name, partition)) else { return };
    let operation = client.shared.recorder.invoke(client.process(3), Call::Unassign { topic: number, partition });
    if let Some(consumer) = &mut client.reader.consumer {
        consumer.unassign(&topic, partition);
    }
    client.shared.recorder.complete(operation, Outcome::done());
}

/// Reads a topic no longer.
pub(super) fn unassign(client: &mut Client, topic: &str) {
    let assigned: Vec<(usize, u32)> = client.reader.assigned.keys().copied().collect();
    for (name, partition) in assigned {
        if topic_name(name) == topic {
            leave(client, name, partition);
        }
    }
}

/// Reads topics no longer that were deleted, or replaced by others of the same name.
pub(super) fn forget_replaced(client: &mut Client) {
    let topics = *client.topics.borrow();
    let assigned = client.reader.assigned.iter();
    let replaced: Vec<(usize, u32)> = assigned
        .filter(|((name, _), (number, _))| topics[*name].is_some_and(|now| now != *number))
        .map(|(key, _)| *key)
        .collect();
    for (name, partition) in replaced {
        leave(client, name, partition);
    }
}

impl fmt::Display for Seek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leaves {
            true => write!(f, "stop reading a partition of topic-{}", self.name),
            false => write!(f, "read a partition of topic-{} from {:?}", self.name, self.from),
        }
    }
}
