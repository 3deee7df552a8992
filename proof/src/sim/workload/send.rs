//! Sending one record, and how its sender learns of its outcome.

use super::{Operation, any_bytes, any_name};
use crate::sim::client::{Client, Handle, Pending};
use crate::sim::payload::Payload;
use crate::sim::random::Random;
use crate::sim::scheduler;
use crate::sim::shape::Shape;
use ringlane::{Durability, SendHandle};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};

/// How a sender waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// At once, on the handle.
    Wait,
    /// At once, as a future.
    Await,
    /// Later.
    Keep,
    /// By a callback.
    Callback,
}

struct Send {
    name: usize,
    partition: Option<u64>,
    bytes: usize,
    durability: Durability,
    way: Way,
}

pub(super) fn make(random: &mut Random, shape: &Shape) -> Rc<dyn Operation> {
    Rc::new(Send {
        name: any_name(random),
        partition: (!random.one_in(3)).then(|| random.number()),
        bytes: any_bytes(random, shape),
        durability: any_durability(random),
        way: *random.pick(&[Way::Wait, Way::Await, Way::Keep, Way::Keep, Way::Keep, Way::Callback]),
    })
}

pub(super) fn any_durability(random: &mut Random) -> Durability {
    if random.one_in(3) { Durability::Buffered } else { Durability::Synced }
}

/// Wakes a thread of the simulation.
struct Alarm(usize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        scheduler::current().unpark(self.0);
    }
}

/// Awaits a handle, as a task of an async runtime would.
fn wait_as_future(handle: SendHandle) -> ringlane::Result<ringlane::Receipt> {
    let me = scheduler::current().current_task().expect("a client is a thread");
    let waker = Arc::new(Alarm(me)).into();
    let mut future = pin!(handle);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => scheduler::current().park(None, "a future"),
        }
    }
}

impl Operation for Send {
    fn run(&self, client: &mut Client) {
        let Some((number, topic)) = client.topic(self.name) else { return };
        let Some((producer, process)) = client.producer(self.durability) else { return };
        let partition = self.partition.map(|choice| (choice % u64::from(topic.partitions())) as u32);
        let payload = Payload::new(client.shared.next_value(), self.bytes);
        let operation = client.invoke_send(process, number, partition, &payload, self.durability, None);
        let operations = vec![(operation, payload.number, false)];
        let handle = match payload.with(partition, |record| producer.send(&topic, record)) {
            Ok(handle) => handle,
            Err(error) => {
                let outcome = client.shared.judge("send", &error);
                return client.shared.recorder.complete(operation, outcome);
            }
        };
        match self.way {
            Way::Wait => client.settled(&operations, handle.wait().map(|receipt| vec![receipt])),
            Way::Await => client.settled(&operations, wait_as_future(handle).map(|receipt| vec![receipt])),
            Way::Keep => client.keep(Pending { operations, handle: Handle::One(handle), durability: self.durability }),
            Way::Callback => {
                let slot = Arc::new(Mutex::new(None));
                let theirs = slot.clone();
                handle.on_complete(move |result| *crate::sim::lock(&theirs) = Some(result));
                client.keep(Pending { operations, handle: Handle::Called(slot), durability: self.durability });
            }
        }
    }
}

impl fmt::Display for Send {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Send { name, partition, bytes, durability, way } = self;
        let partition = partition.map(|choice| choice % 60);
        write!(f, "send {bytes} bytes, {durability:?}, to topic-{name} partition {partition:?}, {way:?}")
    }
}
