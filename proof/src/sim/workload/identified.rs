//! Records with message ids, sent again with other values: as long as an id is remembered, only the first one is written.

use super::send::any_durability;
use super::{Operation, any_bytes, any_name};
use crate::history::{Answer, Call, Outcome};
use crate::sim::client::{Client, durability_of};
use crate::sim::outbox::is_same;
use crate::sim::payload::Payload;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use crate::sim::shared::{Identified, topic_name};
use crate::witness::numbered_of;
use ringlane::{Durability, Receipt, Topic};
use std::fmt;
use std::rc::Rc;

/// The processes of these sends.
const PROCESS_OF_IDS: u32 = 500;

#[derive(Clone, Copy, Debug)]
enum Which {
    /// An id that was never sent.
    New,
    /// One that was, so many ids before the last one.
    Again { back: u64 },
}

struct Send {
    name: usize,
    choice: u64,
    bytes: usize,
    durability: Durability,
    which: Which,
    /// In one call.
    times: usize,
}

pub(super) fn make(random: &mut Random, shape: &Shape) -> Rc<dyn Operation> {
    let which = if random.one_in(3) { Which::New } else { Which::Again { back: random.skewed(30) } };
    Rc::new(Send {
        name: any_name(random),
        choice: random.number() % 2,
        bytes: any_bytes(random, shape),
        durability: any_durability(random),
        which,
        times: random.between(1, 2) as usize,
    })
}

impl Operation for Send {
    fn run(&self, client: &mut Client) {
        let Some((number, topic)) = client.topic(self.name) else { return };
        let partition = (self.choice % u64::from(topic.partitions())) as u32;
        let place = (number, partition);
        let known = client.shared.ids.borrow().get(&place).map_or(0, Vec::len);
        let at = match self.which {
            Which::Again { back } if known > 0 => {
                // If it was forgotten, each of them is remembered anew.
                client.shared.producers.borrow_mut().window.sent += self.times as u64;
                known - 1 - (back as usize).min(known - 1)
            }
            _ => {
                let settled_before = client.shared.producers.borrow_mut().sends();
                let id = client.shared.next_value().to_le_bytes();
                let identified = Identified { id, receipt: None, settled_before };
                client.shared.ids.borrow_mut().entry(place).or_default().push(identified);
                known
            }
        };
        self.send(client, &topic, place, at);
    }
}

impl Send {
    fn send(&self, client: &mut Client, topic: &Topic, place: (u32, u32), at: usize) {
        let Some((producer, process)) = client.producer(self.durability) else { return };
        let shared = client.shared.clone();
        let before = shared.ids.borrow()[&place][at].clone();
        let payloads: Vec<Payload> = (0..self.times)
            .map(|_| Payload::new(shared.next_value(), self.bytes).identified(Some(before.id)))
            .collect();
        let operations: Vec<u64> = payloads
            .iter()
            .map(|payload| {
                let call = Call::Send {
                    topic: place.0,
                    partition: Some(place.1),
                    value: payload.number,
                    durability: durability_of(self.durability),
                    visible_at_ms: None,
                    transaction: None,
                    by: None,
                };
                shared.recorder.invoke(PROCESS_OF_IDS + process, call)
            })
            .collect();
        let records: Vec<_> = payloads.iter().map(|payload| payload.bare(place.1)).collect();
        let results = match producer.send_batch(topic, &records) {
            Ok(handle) => handle.outcomes(),
            Err(error) => vec![Err(error); operations.len()],
        };
        let mut written = 0;
        for (operation, result) in operations.into_iter().zip(results) {
            match result {
                Ok(receipt) => {
                    written += u64::from(!receipt.duplicate);
                    answered(client, place, at, &before, operation, receipt);
                }
                Err(error) => {
                    let code = match shared.judge("send with an id", &error) {
                        Outcome::Failed { code } | Outcome::Unknown { code } => code,
                        Outcome::Ok(_) => unreachable!("an error is no success"),
                    };
                    // A batch may have been sent in part.
                    shared.recorder.complete(operation, Outcome::Unknown { code });
                }
            }
        }
        if written > 1 && !shared.may_be_forgotten(before.settled_before) && !shared.recorder.is_silent() {
            shared.violation(format!("{} of one id were written by one call", payloads.len()));
        }
    }
}

fn answered(client: &Client, place: (u32, u32), at: usize, before: &Identified, operation: u64, receipt: Receipt) {
    let shared = &client.shared;
    // One that was answered with the receipt of another one was not written, and never will be.
    let outcome = match receipt.duplicate {
        true => Outcome::Failed { code: "duplicate".to_owned() },
        false => Outcome::Ok(Answer::Receipt {
            partition: receipt.partition,
            offset: receipt.offset,
            durability: durability_of(receipt.durability),
            numbered: numbered_of(&receipt),
        }),
    };
    shared.recorder.complete(operation, outcome);
    if shared.recorder.is_silent() {
        return;
    }
    shared.count(if receipt.duplicate { "ids found again" } else { "ids written" });
    let may_be_forgotten = shared.may_be_forgotten(before.settled_before);
    if !receipt.duplicate && before.receipt.is_some() && !may_be_forgotten {
        shared.violation(format!("id {:02x?} was in the log, and {receipt:?} is no duplicate", before.id));
    }
    let mut settles = 0;
    {
        let mut ids = shared.ids.borrow_mut();
        let identified = &mut ids.get_mut(&place).expect("it was sent before")[at];
        match &identified.receipt {
            Some(known) if is_same(known, &receipt) => {}
            Some(known) if !may_be_forgotten => {
                let text = format!("id {:02x?}: {receipt:?} is the answer, and it was {known:?} before", before.id);
                shared.violation(text);
            }
            _ if receipt.durability == Durability::Synced => {
                settles = u64::from(identified.receipt.is_none());
                identified.receipt = Some(receipt);
            }
            _ => {}
        }
    }
    shared.producers.borrow_mut().window.settled += settles;
}

impl fmt::Display for Send {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Send { name, choice, bytes, durability, which, times } = self;
        write!(f, "send {times} records of {bytes} bytes with an id, {which:?}, {durability:?}, to ")?;
        write!(f, "{} partition {choice}", topic_name(*name))
    }
}
