//! Many records at once, so that buffers fill and segments end.

use super::batch::send_together;
use super::send::any_durability;
use super::{Operation, any_bytes, any_name};
use crate::sim::client::Client;
use crate::sim::payload::Payload;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use ringlane::Durability;
use std::fmt;
use std::rc::Rc;

/// Bytes of one flood.
const BYTES_MAX: usize = 600 << 10;

struct Flood {
    name: usize,
    records: u64,
    bytes: usize,
    choice: u64,
    durability: Durability,
}

pub(super) fn make(random: &mut Random, shape: &Shape) -> Rc<dyn Operation> {
    let bytes = any_bytes(random, shape);
    Rc::new(Flood {
        name: any_name(random),
        records: random.between(1, shape.flood_records).min((BYTES_MAX / bytes) as u64).max(1),
        bytes,
        choice: random.number(),
        durability: any_durability(random),
    })
}

impl Operation for Flood {
    fn run(&self, client: &mut Client) {
        let Some((number, topic)) = client.topic(self.name) else { return };
        let partitions = u64::from(topic.partitions());
        let placed: Vec<_> = (0..self.records)
            .map(|at| {
                let partition = (self.choice.rotate_left(at as u32) % partitions) as u32;
                (number, topic.clone(), partition, Payload::new(client.shared.next_value(), self.bytes))
            })
            .collect();
        send_together(client, &placed, self.durability, false);
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flood { name, records, bytes, durability, .. } = self;
        write!(f, "send {records} records of {bytes} bytes each, {durability:?}, to topic-{name}")
    }
}
