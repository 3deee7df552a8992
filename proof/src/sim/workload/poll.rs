//! Reading on.

use super::{Operation, any_name};
use crate::history::{Answer, Call, Outcome};
use crate::sim::client::Client;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use crate::sim::workload::seek;
use ringlane::{ConsumerOptions, Error};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

struct Poll {
    name: usize,
    wait_ms: u64,
    records_max: usize,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Poll {
        name: any_name(random),
        wait_ms: if random.one_in(2) { 0 } else { random.skewed(200) },
        records_max: *random.pick(&[1, 7, 10_000]),
    })
}

impl Operation for Poll {
    fn run(&self, client: &mut Client) {
        if client.reader.assigned.is_empty() {
            seek::assign_all(client, self.name);
        }
        seek::forget_replaced(client);
        let options = ConsumerOptions::new().max_poll_records(self.records_max);
        if client.reader.assigned.is_empty() || client.consumer(&options).is_none() {
            return;
        }
        let operation = client.shared.recorder.invoke(client.process(3), Call::Poll { transaction: None });
        let consumer = client.reader.consumer.as_mut().expect("just made");
        let mut truncated = None;
        let outcome = match consumer.poll(Duration::from_millis(self.wait_ms)) {
            Ok(records) => {
                let reads = client.reads_of(&records);
                let wall_ms = Some(client.shared.recorder.wall_max_ms());
                Outcome::Ok(Answer::Polled { reads, wall_ms })
            }
            Err(error) => {
                if let Error::TopicDeleted { name } = &error {
                    seek::unassign(client, name);
                }
                if let Error::Truncated { topic, partition, to, .. } = &error {
                    truncated = Some((topic.clone(), *partition, *to));
                }
                client.shared.judge("polling", &error)
            }
        };
        client.shared.recorder.complete(operation, outcome);
        if let Some((topic, partition, to)) = truncated {
            seek::pass_truncated(client, &topic, partition, to);
        }
    }
}

impl fmt::Display for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "poll up to {} records for {} ms", self.records_max, self.wait_ms)
    }
}
