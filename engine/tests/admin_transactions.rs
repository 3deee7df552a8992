//! Transactions through the admin socket, while an application holds the engine.

#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_says, directory, options, values, wait_until};
use ringlane::admin::Client;
use ringlane::*;
use std::time::Duration;

fn prepared(producer: &Producer, topic: &Topic, id: &str) -> Transaction {
    let mut transaction = producer.begin(TransactionOptions::new().id(id).checker("orders")).unwrap();
    transaction.send(topic, Record::new(id.as_bytes()).partition(0)).unwrap();
    transaction.prepare().unwrap();
    transaction
}

#[test]
fn transactions_are_listed_shown_and_resolved_for_other_processes() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut client = Client::connect(directory.path()).unwrap();
    assert_eq!(client.all_transactions().unwrap(), []);
    drop(["commit", "back", "later"].map(|id| prepared(&producer, &topic, id)));
    let open = producer.begin(TransactionOptions::new().id("open")).unwrap();

    assert_eq!(client.transactions().unwrap(), engine.transactions());
    let listed = client.transactions().unwrap();
    let states: Vec<_> = listed.iter().map(|info| (&*info.id, info.state.name(), info.records)).collect();
    let expected = [("commit", "prepared", 1), ("back", "prepared", 1), ("later", "prepared", 1), ("open", "open", 0)];
    assert_eq!(states, expected);
    assert!(listed.iter().all(|info| info.since_ms > 0), "{listed:?}");
    assert_eq!(client.transaction("later").unwrap(), engine.transaction("later").unwrap());
    assert_eq!(client.transaction("later").unwrap().checker.as_deref(), Some("orders"));

    client.commit_transaction("commit").unwrap();
    client.commit_transaction("commit").unwrap();
    client.roll_back_transaction("back").unwrap();
    client.roll_back_transaction("back").unwrap();
    assert_eq!(values(&engine, &topic, 0), [b"commit".to_vec()]);
    // What is wrong keeps its kind and its text.
    let conflict = client.roll_back_transaction("commit").unwrap_err();
    assert_says(&conflict, "transaction-conflict", &["`commit`", "committed already"]);
    assert_says(&client.commit_transaction("back").unwrap_err(), "transaction-conflict", &["rolled back already"]);
    assert_says(&client.commit_transaction("open").unwrap_err(), "wrong-transaction-state", &["`open` is open"]);
    for unknown in [client.transaction("none").map(drop), client.roll_back_transaction("none")] {
        assert_says(&unknown.unwrap_err(), "unknown-transaction", &["`none`"]);
    }

    let states = |all: Vec<TransactionInfo>| {
        all.into_iter().map(|info| format!("{} {}", info.id, info.state.name())).collect::<Vec<_>>()
    };
    assert_eq!(states(client.transactions().unwrap()), ["later prepared", "open open"]);
    assert_eq!(client.all_transactions().unwrap(), engine.all_transactions());
    let all = ["commit committed", "back rolled-back", "later prepared", "open open"];
    assert_eq!(states(client.all_transactions().unwrap()), all);
    drop(open);
    let all = ["commit committed", "back rolled-back", "open rolled-back", "later prepared"];
    assert_eq!(states(client.all_transactions().unwrap()), all);
    assert!(client.transaction("open").unwrap().since_ms > 0, "it ended, and that was some time");
    engine.close().unwrap();
}

#[test]
fn a_list_of_transactions_longer_than_an_answer_comes_whole() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let open: Vec<_> = (0..2_001).map(|_| producer.begin(TransactionOptions::new()).unwrap()).collect();
    let mut client = Client::connect(directory.path()).unwrap();
    let ids: Vec<_> = client.transactions().unwrap().into_iter().map(|info| info.id).collect();
    assert_eq!(ids, open.iter().map(|transaction| transaction.id().to_owned()).collect::<Vec<_>>());
    drop(open);
    assert_eq!(client.transactions().unwrap(), []);
    assert_eq!(client.all_transactions().unwrap(), engine.all_transactions());
    assert_eq!(engine.all_transactions().len(), 1_000, "so many are remembered that no log knows");
    engine.close().unwrap();
}

/// Answers that say nothing come to an end; then the transaction waits for a call, and that is seen from outside.
#[test]
fn one_whose_checks_ran_out_is_an_alarm_until_it_is_resolved() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let soon = Duration::from_millis(1);
    let checks = CheckerOptions::new().first(soon).interval(soon).checks_max(2);
    engine.register_checker("orders", checks, |_: &HalfTransaction| CheckAnswer::Unknown).unwrap();
    drop(prepared(&producer, &topic, "a"));
    wait_until("the checks run out", || engine.stats().transactions.unresolved == 1);
    let mut client = Client::connect(directory.path()).unwrap();
    let info = client.transaction("a").unwrap();
    assert_eq!((info.state, info.checks), (TransactionState::Unresolved, 2));
    let stats = client.stats().unwrap();
    let figure = |name: &str| stats.get("transactions").and_then(|all| all.get(name)).and_then(admin::Value::as_u64);
    assert_eq!((figure("prepared"), figure("unresolved"), figure("checks")), (Some(1), Some(1), Some(2)));
    client.roll_back_transaction("a").unwrap();
    let stats = engine.stats().transactions;
    assert_eq!((stats.prepared, stats.unresolved, stats.rolled_back), (0, 0, 1));
    engine.close().unwrap();
}
