//! Making everything durable, and waiting for what is in flight.

use super::Operation;
use crate::history::{Call, Outcome};
use crate::sim::client::{Client, Handle, Pending};
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use ringlane::Durability;
use std::fmt;
use std::rc::Rc;

struct Sync {
    /// Only this client's own.
    flush: Option<Durability>,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Sync { flush: *random.pick(&[None, None, Some(Durability::Synced), Some(Durability::Buffered)]) })
}

impl Operation for Sync {
    fn run(&self, client: &mut Client) {
        if let Some(durability) = self.flush {
            let Some((producer, _)) = client.producer(durability) else { return };
            if let Err(error) = producer.flush() {
                client.shared.judge("flushing", &error);
            }
            // A callback is called a little later.
            let is_late = |pending: &Pending| {
                pending.durability == durability && !matches!(pending.handle, Handle::Called(_)) && !pending.is_done()
            };
            if client.pending.iter().any(is_late) {
                client.shared.violation("a producer's flush came back before what it had sent has its outcome");
            }
            return;
        }
        let operation = client.shared.recorder.invoke(client.process(4), Call::Sync);
        let outcome = match client.engine.sync() {
            Ok(()) => Outcome::done(),
            Err(error) => client.shared.judge("syncing", &error),
        };
        client.shared.recorder.complete(operation, outcome);
    }
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flush {
            None => f.write_str("sync"),
            Some(durability) => write!(f, "flush the producer, {durability:?}"),
        }
    }
}
