//! Creating and deleting topics.

use super::{Operation, any_name};
use crate::history::{Call, Outcome};
use crate::sim::client::Client;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use crate::sim::shared::topic_name;
use ringlane::TopicOptions;
use std::fmt;
use std::rc::Rc;

const PARTITIONS_MAX: u64 = 5;

struct Create {
    name: usize,
    partitions: u32,
}

struct Delete {
    name: usize,
}

pub(super) fn create(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Create { name: any_name(random), partitions: random.between(1, PARTITIONS_MAX) as u32 })
}

pub(super) fn delete(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Delete { name: any_name(random) })
}

/// Takes a name for as long as somebody creates or deletes its topic: what a call did is then known.
pub(super) fn with_name(client: &mut Client, name: usize, change: impl FnOnce(&mut Client)) {
    let shared = client.shared.clone();
    if std::mem::replace(&mut shared.busy_names.borrow_mut()[name], true) {
        return;
    }
    change(client);
    shared.busy_names.borrow_mut()[name] = false;
}

/// Creates a topic under a name, unless there is one.
pub(super) fn create_under(client: &mut Client, name: usize, partitions: u32) {
    with_name(client, name, |client| {
        if client.topics.borrow()[name].is_some() {
            return;
        }
        let topic = {
            let mut names = client.shared.topic_names.borrow_mut();
            names.push(name);
            names.len() as u32 - 1
        };
        if client.shared.plan.shape.drops_oldest() {
            // The bound on the disk is one for the records of each topic, from its first one on.
            let call = Call::SetRetention { topic, bounded: true, finished: false };
            let operation = client.shared.recorder.invoke(client.process(4), call);
            client.shared.recorder.complete(operation, Outcome::done());
        }
        let call = Call::CreateTopic { topic, partitions, dead_letters_of: None };
        let operation = client.shared.recorder.invoke(client.process(4), call);
        let options = TopicOptions::new().partitions(partitions);
        let outcome = match client.engine.create_topic(&topic_name(name), options) {
            Ok(_) => {
                client.topics.borrow_mut()[name] = Some(topic);
                Outcome::done()
            }
            Err(error) => client.shared.judge("creating a topic", &error),
        };
        client.shared.recorder.complete(operation, outcome);
    });
}

/// Deletes the topic of a name, if there is one.
pub(super) fn delete_under(client: &mut Client, name: usize) {
    with_name(client, name, |client| {
        let Some(topic) = client.topics.borrow()[name] else { return };
        let operation = client.shared.recorder.invoke(client.process(4), Call::DeleteTopic { topic });
        let outcome = match client.engine.delete_topic(&topic_name(name)) {
            Ok(()) => {
                client.topics.borrow_mut()[name] = None;
                Outcome::done()
            }
            Err(error) => client.shared.judge("deleting a topic", &error),
        };
        client.shared.recorder.complete(operation, outcome);
    });
}

impl Operation for Create {
    fn run(&self, client: &mut Client) {
        create_under(client, self.name, self.partitions);
    }
}

impl Operation for Delete {
    fn run(&self, client: &mut Client) {
        delete_under(client, self.name);
    }
}

impl fmt::Display for Create {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "create {} with {} partitions", topic_name(self.name), self.partitions)
    }
}

impl fmt::Display for Delete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delete {}", topic_name(self.name))
    }
}
