//! Taking back a delayed record.

use super::Operation;
use crate::history::{Call, Outcome};
use crate::sim::client::Client;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use ringlane::Durability;
use std::fmt;
use std::rc::Rc;

struct Cancel {
    choice: u64,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Cancel { choice: random.number() })
}

impl Operation for Cancel {
    fn run(&self, client: &mut Client) {
        let shared = client.shared.clone();
        let delayed = {
            let mut delayed = shared.delayed.borrow_mut();
            if delayed.is_empty() {
                return;
            }
            let at = (self.choice % delayed.len() as u64) as usize;
            delayed.swap_remove(at)
        };
        let Some((producer, _)) = client.producer(Durability::Synced) else { return };
        let operation = shared.recorder.invoke(client.process(4), Call::Cancel { value: delayed.value });
        let outcome = match producer.cancel(delayed.id) {
            Ok(()) => Outcome::done(),
            Err(error) => shared.judge("cancelling", &error),
        };
        shared.recorder.complete(operation, outcome);
    }
}

impl fmt::Display for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancel a delayed record")
    }
}
