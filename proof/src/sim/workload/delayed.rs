//! Records that become visible later.

use super::send::any_durability;
use super::{Operation, any_bytes, any_name};
use crate::sim::client::{Client, Handle, Pending};
use crate::sim::payload::Payload;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use ringlane::Durability;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The longest delay; most are far shorter.
const DELAY_MS_MAX: u64 = 20_000;

struct Delayed {
    name: usize,
    choice: u64,
    bytes: usize,
    durability: Durability,
    delay_ms: u64,
    /// A time is given, not a duration.
    by_time: bool,
    waits: bool,
}

pub(super) fn make(random: &mut Random, shape: &Shape) -> Rc<dyn Operation> {
    Rc::new(Delayed {
        name: any_name(random),
        choice: random.number(),
        bytes: any_bytes(random, shape),
        durability: any_durability(random),
        delay_ms: random.skewed(DELAY_MS_MAX),
        by_time: random.one_in(2),
        waits: random.one_in(2),
    })
}

impl Operation for Delayed {
    fn run(&self, client: &mut Client) {
        let Some((number, topic)) = client.topic(self.name) else { return };
        let Some((producer, process)) = client.producer(self.durability) else { return };
        let partition = (self.choice % u64::from(topic.partitions())) as u32;
        let payload = Payload::new(client.shared.next_value(), self.bytes);
        let due_ms = client.shared.recorder.wall_ms() + self.delay_ms as i64;
        let operation = client.invoke_send(process, number, Some(partition), &payload, self.durability, Some(due_ms));
        let sent = payload.with(Some(partition), |record| {
            let record = match self.by_time {
                true => record.visible_at(due_ms),
                false => record.visible_after(Duration::from_millis(self.delay_ms)),
            };
            producer.send(&topic, record)
        });
        let operations = vec![(operation, payload.number, true)];
        match sent {
            Ok(handle) if self.waits => client.settled(&operations, handle.wait().map(|receipt| vec![receipt])),
            Ok(handle) => client.keep(Pending { operations, handle: Handle::One(handle), durability: self.durability }),
            Err(error) => {
                let outcome = client.shared.judge("send", &error);
                client.shared.recorder.complete(operation, outcome);
            }
        }
    }
}

impl fmt::Display for Delayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Delayed { name, bytes, durability, delay_ms, .. } = self;
        write!(f, "send {bytes} bytes, {durability:?}, to topic-{name}, visible in {delay_ms} ms")
    }
}
