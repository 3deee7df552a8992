//! Sending several records in one call.

use super::send::any_durability;
use super::{Operation, any_bytes, any_name};
use crate::sim::client::{Client, Handle, Pending};
use crate::sim::contents::check_disk;
use crate::sim::payload::Payload;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use ringlane::{Durability, Record, Topic};
use std::fmt;
use std::rc::Rc;

const RECORDS_MAX: u64 = 12;

struct Batch {
    records: Vec<(usize, u64, usize)>,
    durability: Durability,
    waits: bool,
}

pub(super) fn make(random: &mut Random, shape: &Shape) -> Rc<dyn Operation> {
    let one_topic = random.one_in(2);
    let name = any_name(random);
    let count = random.between(1, RECORDS_MAX);
    let records = (0..count)
        .map(|_| {
            let name = if one_topic { name } else { any_name(random) };
            (name, random.number(), any_bytes(random, shape))
        })
        .collect();
    Rc::new(Batch { records, durability: any_durability(random), waits: random.one_in(2) })
}

impl Operation for Batch {
    fn run(&self, client: &mut Client) {
        let mut placed: Vec<(u32, Topic, u32, Payload)> = Vec::new();
        for (name, choice, bytes) in &self.records {
            if let Some((number, topic)) = client.topic(*name) {
                let partition = (choice % u64::from(topic.partitions())) as u32;
                placed.push((number, topic, partition, Payload::new(client.shared.next_value(), *bytes)));
            }
        }
        send_together(client, &placed, self.durability, self.waits);
    }
}

/// Sends records in one call and keeps the handle, or waits for it.
pub(super) fn send_together(
    client: &mut Client,
    placed: &[(u32, Topic, u32, Payload)],
    durability: Durability,
    waits: bool,
) {
    let Some((producer, process)) = client.producer(durability) else { return };
    if placed.is_empty() {
        return;
    }
    let operations: Vec<(u64, u64, bool)> = placed
        .iter()
        .map(|(number, _, partition, payload)| {
            let operation = client.invoke_send(process, *number, Some(*partition), payload, durability, None);
            (operation, payload.number, false)
        })
        .collect();
    let records: Vec<(&Topic, Record<'_>)> =
        placed.iter().map(|(_, topic, partition, payload)| (topic, payload.bare(*partition))).collect();
    match producer.send_many(&records) {
        Ok(handle) if waits => client.settled(&operations, handle.wait()),
        Ok(handle) => client.keep(Pending { operations, handle: Handle::Many(handle), durability }),
        // What was refused for what it is was not sent at all; of the rest some may have been.
        Err(error) => client.settled(&operations, Err(error)),
    }
}

/// Sends records to a partition of a topic, `together` of them in each call, and waits for each call. `false`: something
/// ended before all were sent.
pub(super) fn send_in_turn(
    client: &mut Client,
    name: usize,
    choice: u64,
    (records, bytes): (u64, u64),
    together: u64,
) -> bool {
    for from in (0..records).step_by(together as usize) {
        let is_over = client.machine.is_dead() || client.shared.poisoned.get();
        let Some((number, topic)) = client.topic(name).filter(|_| !is_over) else { return false };
        let partition = (choice % u64::from(topic.partitions())) as u32;
        let payload = || Payload::new(client.shared.next_value(), bytes as usize);
        let placed: Vec<_> =
            (from..records.min(from + together)).map(|_| (number, topic.clone(), partition, payload())).collect();
        send_together(client, &placed, Durability::Synced, true);
        check_disk(&client.engine, &client.shared);
    }
    true
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Batch { records, durability, waits } = self;
        let bytes: usize = records.iter().map(|(.., bytes)| bytes).sum();
        write!(f, "send {} records of {bytes} bytes, {durability:?}", records.len())?;
        if *waits { write!(f, ", and wait") } else { Ok(()) }
    }
}
