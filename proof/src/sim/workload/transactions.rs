//! Transactions: records for any partitions, and deliveries of the client's members, that are committed, rolled back, or
//! prepared and decided later, by somebody else, or by nobody.

use super::{Operation, any_bytes, any_name};
use crate::history::{Answer, Call, Outcome, Placed};
use crate::sim::client::Client;
use crate::sim::payload::Payload;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use crate::sim::transactions::{decide, id_of};
use ringlane::{Durability, Transaction, TransactionOptions, TransactionState};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// How a transaction goes on, when everything is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Commit,
    RollBack,
    /// Its handle goes.
    Drop,
    Prepare,
    PrepareAndCommit,
    PrepareAndRollBack,
}

struct Transact {
    /// Name, partition, and bytes of each record.
    records: Vec<(usize, u64, usize)>,
    /// So many deliveries at most.
    acks: u64,
    end: End,
}

/// Decides one that was left.
struct Decide {
    choice: u64,
    commits: bool,
}

pub(super) fn make(random: &mut Random, shape: &Shape) -> Rc<dyn Operation> {
    if random.one_in(4) {
        return Rc::new(Decide { choice: random.number(), commits: !random.one_in(3) });
    }
    let count = if random.one_in(8) { random.between(5, 40) } else { random.below(5) };
    let ends = [
        End::Commit,
        End::Commit,
        End::Commit,
        End::RollBack,
        End::Drop,
        End::Prepare,
        End::Prepare,
        End::PrepareAndCommit,
        End::PrepareAndRollBack,
    ];
    Rc::new(Transact {
        records: (0..count).map(|_| (any_name(random), random.number(), any_bytes(random, shape))).collect(),
        acks: if random.one_in(2) { random.below(6) } else { 0 },
        end: *random.pick(&ends),
    })
}

impl Transact {
    /// Puts everything into it: topic and value of each record. `None`: it is over.
    fn fill(&self, client: &mut Client, number: u64, transaction: &mut Transaction) -> Option<Vec<(u32, u64)>> {
        let (process, mut all) = (client.process(7), Vec::new());
        for (name, choice, bytes) in &self.records {
            let Some((topic_number, topic)) = client.topic(*name) else { continue };
            let partition = (choice % u64::from(topic.partitions())) as u32;
            let payload = Payload::new(client.shared.next_value(), *bytes);
            let call = Call::Send {
                topic: topic_number,
                partition: Some(partition),
                value: payload.number,
                durability: crate::history::Durability::Synced,
                visible_at_ms: None,
                transaction: Some(number),
                by: None,
            };
            let operation = client.shared.recorder.invoke(process, call);
            let sent = payload.with(Some(partition), |record| transaction.send(&topic, record));
            let outcome = match &sent {
                Ok(()) => {
                    all.push((topic_number, payload.number));
                    Outcome::done()
                }
                Err(error) => client.shared.judge("sending in a transaction", error),
            };
            client.shared.recorder.complete(operation, outcome);
            if transaction.state() != TransactionState::Open || client.shared.poisoned.get() {
                return None;
            }
        }
        for member in client.members.each() {
            member.settle_in(&client.shared, number, transaction, self.acks);
        }
        (transaction.state() == TransactionState::Open).then_some(all)
    }
}

impl Operation for Transact {
    fn run(&self, client: &mut Client) {
        let Some((producer, _)) = client.producer(Durability::Synced) else { return };
        let shared = client.shared.clone();
        let (number, process) = (shared.transactions.borrow_mut().begin(), client.process(7));
        let operation = shared.recorder.invoke(process, Call::Begin { transaction: number });
        let options = TransactionOptions::new().id(id_of(number)).timeout(Duration::from_secs(86_400));
        let mut transaction = match producer.begin(options) {
            Ok(transaction) => transaction,
            Err(error) => {
                let outcome = shared.judge("beginning a transaction", &error);
                return shared.recorder.complete(operation, outcome);
            }
        };
        shared.recorder.complete(operation, Outcome::done());
        shared.count("transactions");
        let Some(sent) = self.fill(client, number, &mut transaction) else {
            // The engine has rolled it back, or has stopped.
            let operation = shared.recorder.invoke(process, Call::RollBack { transaction: number });
            return shared.recorder.complete(operation, Outcome::done());
        };
        let prepares = matches!(self.end, End::Prepare | End::PrepareAndCommit | End::PrepareAndRollBack);
        if prepares && !prepare(client, number, &mut transaction) {
            return;
        }
        match self.end {
            End::Commit | End::PrepareAndCommit => commit(client, number, &mut transaction, &sent),
            End::RollBack | End::PrepareAndRollBack => {
                let operation = shared.recorder.invoke(process, Call::RollBack { transaction: number });
                let outcome = match transaction.roll_back() {
                    Ok(()) => Outcome::done(),
                    Err(error) => shared.judge("rolling back", &error),
                };
                shared.recorder.complete(operation, outcome);
            }
            End::Drop => {
                let operation = shared.recorder.invoke(process, Call::RollBack { transaction: number });
                drop(transaction);
                return shared.recorder.complete(operation, Outcome::done());
            }
            End::Prepare => {}
        }
        if transaction.state() == TransactionState::Prepared {
            shared.transactions.borrow_mut().left.insert(number);
        }
    }
}

/// Says whether it is prepared.
fn prepare(client: &Client, number: u64, transaction: &mut Transaction) -> bool {
    let shared = &client.shared;
    let operation = shared.recorder.invoke(client.process(7), Call::Prepare { transaction: number });
    let prepared = transaction.prepare();
    let outcome = match &prepared {
        Ok(()) => {
            shared.count("transactions that were prepared");
            Outcome::done()
        }
        Err(error) => shared.judge("preparing", error),
    };
    shared.recorder.complete(operation, outcome);
    if prepared.is_err() {
        let operation = shared.recorder.invoke(client.process(7), Call::RollBack { transaction: number });
        shared.recorder.complete(operation, Outcome::Unknown { code: "not-prepared".to_owned() });
    }
    prepared.is_ok()
}

fn commit(client: &Client, number: u64, transaction: &mut Transaction, sent: &[(u32, u64)]) {
    let shared = &client.shared;
    let operation = shared.recorder.invoke(client.process(7), Call::Commit { transaction: number });
    let committed = match transaction.commit() {
        Ok(committed) => committed,
        Err(error) => {
            let outcome = shared.judge("committing", &error);
            return shared.recorder.complete(operation, outcome);
        }
    };
    shared.count("transactions that were committed");
    // On a full disk the others may have to wait until there is room, and so would this.
    let may_wait = shared.plan.shape.full_disk || shared.plan.shape.bounds_disk();
    let receipts = if may_wait { Ok(Vec::new()) } else { committed.receipts() };
    let receipts = receipts.unwrap_or_else(|error| {
        shared.judge("waiting for the records of a transaction", &error);
        Vec::new()
    });
    let placed = |((topic, value), receipt): (&(u32, u64), ringlane::Receipt)| {
        Some(Placed { topic: *topic, partition: receipt.partition, offset: receipt.offset?, value: *value })
    };
    let placed = sent.iter().zip(receipts).filter_map(placed).collect();
    shared.recorder.complete(operation, Outcome::Ok(Answer::Committed { placed }));
}

impl Operation for Decide {
    fn run(&self, client: &mut Client) {
        let shared = client.shared.clone();
        let number = {
            let mut transactions = shared.transactions.borrow_mut();
            let left: Vec<u64> = transactions.left.iter().copied().collect();
            if left.is_empty() {
                return;
            }
            let number = left[(self.choice % left.len() as u64) as usize];
            transactions.left.remove(&number);
            number
        };
        let mut is_decided = decide(&client.engine, &shared, client.process(7), number, self.commits);
        if is_decided && self.choice.is_multiple_of(5) {
            // Once more, and the other way.
            is_decided = decide(&client.engine, &shared, client.process(7), number, self.commits);
            decide(&client.engine, &shared, client.process(7), number, !self.commits);
        }
        if !is_decided {
            shared.transactions.borrow_mut().left.insert(number);
        }
    }
}

impl fmt::Display for Transact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transact { records, acks, end } = self;
        write!(f, "{end:?} a transaction of {} records and up to {acks} deliveries", records.len())
    }
}

impl fmt::Display for Decide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} a transaction that was left", if self.commits { "commit" } else { "roll back" })
    }
}
