//! Transactions from the command line: listed, shown, and decided; also while an application has the engine open.

use crate::home::{Home, Run};
use ringlane::{
    CheckAnswer, CheckerOptions, Engine, GroupOptions, HalfTransaction, MemberOptions, ProducerOptions, Record, Start,
    Topic, Transaction, TransactionOptions,
};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Two records of a transaction that is prepared.
fn prepared(engine: &Engine, topic: &Topic, options: TransactionOptions) -> Transaction {
    let producer = engine.producer(ProducerOptions::new()).expect("a producer");
    let mut transaction = producer.begin(options).expect("it begins");
    for partition in [0, 1] {
        transaction.send(topic, Record::new(b"half").partition(partition)).expect("it is sent");
    }
    transaction.prepare().expect("it is prepared");
    transaction
}

fn named(id: &str) -> TransactionOptions {
    TransactionOptions::new().id(id)
}

/// A topic `t`, and the transactions `a` and `b`, which an application left undecided.
fn home() -> Home {
    let home = Home::with_topic("t", 2);
    let engine = home.application();
    let topic = engine.topic("t").expect("the topic");
    drop(prepared(&engine, &topic, named("a").checker("orders")));
    drop(prepared(&engine, &topic, named("b")));
    engine.close().expect("it closes");
    home
}

fn list(home: &Home, arguments: &[&str]) -> Vec<Value> {
    home.run(&[&["txn", "list", "--json"][..], arguments].concat()).ok().json()
}

fn states(lines: &[Value]) -> Vec<(&str, &str)> {
    lines.iter().map(|line| (text(line, "id"), text(line, "state"))).collect()
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().expect("a text")
}

fn records(home: &Home) -> usize {
    home.run(&["consume", "-t", "t"]).ok().text().lines().count()
}

const KEYS: [&str; 8] = ["id", "state", "checker", "since_ms", "records", "acknowledged", "checks", "age_ms"];

#[test]
fn what_an_application_left_undecided_is_listed_shown_and_resolved() {
    let home = home();
    let listed = list(&home, &[]);
    assert_eq!(states(&listed), [("a", "prepared"), ("b", "prepared")]);
    for line in &listed {
        let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
        assert_eq!(keys, KEYS, "{line}");
        assert!(line["since_ms"].as_i64().expect("a number") > 1_600_000_000_000, "{line}");
        assert!(line["age_ms"].as_u64().expect("a number") < 600_000, "{line}");
    }
    let a = &listed[0];
    assert_eq!((&a["checker"], &a["records"], &a["acknowledged"]), (&json!("orders"), &json!(2), &json!(0)));
    assert_eq!(listed[1]["checker"], json!(null));
    let table = home.run(&["txn", "list"]).ok();
    let rows: Vec<Vec<&str>> = table.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "STATE", "AGE", "CHECKER", "RECORDS", "ACKNOWLEDGED", "CHECKS"]);
    assert_eq!((&rows[1][..2], &rows[1][3..]), (&["a", "prepared"][..], &["orders", "2", "0", "0"][..]));
    assert_eq!((rows[2][0], rows[2][3], rows.len()), ("b", "-", 3));

    let shown = home.run(&["txn", "show", "a", "--json"]).ok().json();
    assert_eq!((shown.len(), &shown[0]["since_ms"], &shown[0]["records"]), (1, &a["since_ms"], &json!(2)));
    let shown = home.run(&["txn", "show", "a"]).ok();
    for part in KEYS.iter().chain(&["prepared", "orders"]) {
        assert!(shown.text().contains(part), "{part}: {}", shown.text());
    }
    let stats = home.run(&["stats", "--json"]).ok().json().remove(0);
    let of = |name: &str| stats["transactions"][name].as_u64().expect("a number");
    assert_eq!((of("prepared"), of("open"), of("unresolved"), of("committed"), of("rolled_back")), (2, 0, 0, 0, 0));
    assert!((1..600_000).contains(&of("oldest_prepared_age_ms")), "{stats}");
    assert!(home.run(&["stats"]).ok().text().contains("transactions.oldest_prepared_age_ms"));

    assert_eq!(records(&home), 0);
    let resolved = home.run(&["txn", "resolve", "a", "--commit"]).ok();
    assert_eq!(resolved.text(), "transaction `a` is committed\n");
    assert_eq!(records(&home), 2, "its records are published");
    let resolved = home.run(&["txn", "resolve", "b", "--rollback", "--json"]).ok().json();
    assert_eq!(resolved, [json!({"id": "b", "state": "rolled-back"})]);
    assert_eq!(records(&home), 2, "and those of the other never");

    // The same once more changes nothing; the opposite is refused.
    home.run(&["txn", "resolve", "a", "--commit"]).ok();
    home.run(&["txn", "resolve", "b", "--rollback"]).ok();
    home.run(&["txn", "resolve", "a", "--rollback"]).fails(1, &["transaction `a` is committed already", "final"]);
    home.run(&["txn", "resolve", "b", "--commit"]).fails(1, &["transaction `b` is rolled back already", "final"]);
    assert_eq!(records(&home), 2);

    assert_eq!(list(&home, &[]), Vec::<Value>::new());
    assert_eq!(states(&list(&home, &["--all"])), [("a", "committed"), ("b", "rolled-back")]);
    assert_eq!(home.run(&["txn", "show", "b", "--json"]).ok().json()[0]["state"], json!("rolled-back"));
}

#[test]
fn what_is_wrong_with_a_transaction_is_said() {
    let home = home();
    for arguments in [
        &["txn", "show", "none"][..],
        &["txn", "resolve", "none", "--commit"],
        &["txn", "resolve", "none", "--rollback", "--json"],
    ] {
        home.run(arguments).fails(1, &["no transaction `none` is known", "never prepared"]);
    }
    home.run(&["txn", "resolve", "a"]).fails(2, &["--commit", "--rollback"]);
    home.run(&["txn", "resolve", "a", "--commit", "--rollback"]).fails(2, &["cannot be used with"]);
    home.run(&["txn", "show"]).fails(2, &["ID"]);
    home.run(&["txn", "list", "a"]).fails(2, &["unexpected argument"]);
    assert_eq!(states(&list(&home, &[])), [("a", "prepared"), ("b", "prepared")], "nothing was decided");
    let nowhere = Home::new();
    nowhere.run(&["txn", "list"]).fails(1, &["engine"]);
    assert!(nowhere.list().is_empty(), "to look makes no engine");
}

#[test]
fn the_process_that_has_the_engine_open_lists_shows_and_resolves() {
    let home = home();
    let engine = home.application();
    let topic = engine.topic("t").expect("the topic");
    let says = format!("done by process {} (", std::process::id());
    let done = |arguments: &[&str]| -> Run {
        let run = home.run(arguments).ok();
        assert_eq!(run.stderr.lines().filter(|line| line.starts_with(&says)).count(), 1, "{}", run.stderr);
        run
    };
    let mut own = prepared(&engine, &topic, named("own"));
    let producer = engine.producer(ProducerOptions::new()).expect("a producer");
    let mut open = producer.begin(named("open").checker("later")).expect("it begins");
    let listed = done(&["txn", "list", "--json"]).json();
    assert_eq!(states(&listed), [("a", "prepared"), ("b", "prepared"), ("own", "prepared"), ("open", "open")]);
    for line in &listed {
        assert_eq!(line.as_object().expect("an object").keys().collect::<Vec<_>>(), KEYS, "as alone: {line}");
        assert!(line["age_ms"].as_u64().expect("a number") < 600_000, "{line}");
    }
    assert_eq!((&listed[3]["checker"], &listed[3]["records"]), (&json!("later"), &json!(0)));
    assert_eq!(done(&["txn", "list"]).text().lines().count(), 5);
    assert_eq!(done(&["txn", "show", "own", "--json"]).json()[0]["records"], json!(2));

    let resolved = done(&["txn", "resolve", "a", "--commit"]);
    assert_eq!(resolved.text(), "transaction `a` is committed\n");
    done(&["txn", "resolve", "a", "--commit"]);
    assert_eq!(
        done(&["txn", "resolve", "b", "--rollback", "--json"]).json(),
        [json!({"id": "b", "state": "rolled-back"})]
    );
    // The application is told what was decided for it.
    done(&["txn", "resolve", "own", "--rollback"]);
    let conflict = own.commit().expect_err("it was decided otherwise");
    assert_eq!(conflict.code(), "transaction-conflict", "{conflict}");

    home.run(&["txn", "resolve", "a", "--rollback"]).fails(1, &["transaction `a` is committed already"]);
    home.run(&["txn", "resolve", "open", "--commit"]).fails(1, &["transaction `open` is open", "only its handle"]);
    home.run(&["txn", "show", "none"]).fails(1, &["no transaction `none` is known"]);
    let stats = done(&["stats", "--json"]).json().remove(0);
    let of = |name: &str| stats["transactions"][name].as_u64().expect("a number");
    assert_eq!((of("open"), of("prepared"), of("committed"), of("rolled_back")), (1, 0, 1, 2));

    open.send(&topic, Record::new(b"one").partition(0)).expect("it goes on");
    open.commit().expect("it is committed");
    let all = done(&["txn", "list", "--all", "--json"]).json();
    let expected = [("a", "committed"), ("b", "rolled-back"), ("own", "rolled-back"), ("open", "committed")];
    assert_eq!(states(&all), expected);
    engine.close().expect("it closes");
    // What was decided through the socket is there when nobody has it open.
    let all = list(&home, &["--all"]);
    assert_eq!(states(&all), expected);
    assert_eq!(records(&home), 3);
}

/// Its deliveries are held until somebody decides; who does so from outside decides over them too.
#[test]
fn deliveries_of_a_transaction_are_finished_or_handed_out_again() {
    let home = Home::with_topic("t", 2);
    let engine = home.application();
    let topic = engine.topic("t").expect("the topic");
    let source = engine.create_topic("source", ringlane::TopicOptions::new()).expect("a topic");
    let producer = engine.producer(ProducerOptions::new()).expect("a producer");
    for _ in 0..4 {
        producer.send(&source, Record::new(b"in")).expect("sent").wait().expect("there");
    }
    let group = GroupOptions::shared().topic("source", Start::Beginning).retry_delay(Duration::ZERO, Duration::ZERO);
    engine.create_group("g", group).expect("a group");
    let mut member = engine.join_group("g", MemberOptions::new().max_poll_records(2)).expect("a member");
    for id in ["commit", "back"] {
        let mut transaction = producer.begin(named(id)).expect("it begins");
        let polled = member.poll(SOON).expect("records");
        assert_eq!(polled.len(), 2);
        transaction.ack_all(&member, &polled).expect("they are held");
        transaction.send(&topic, Record::new(b"out").partition(0)).expect("it is sent");
        transaction.prepare().expect("it is prepared");
    }
    let listed = list(&home, &[]);
    assert_eq!(listed.iter().map(|line| line["acknowledged"].clone()).collect::<Vec<_>>(), [json!(2), json!(2)]);
    home.run(&["txn", "resolve", "commit", "--commit"]).ok();
    home.run(&["txn", "resolve", "back", "--rollback"]).ok();
    let lag = &home.run(&["group", "describe", "g", "--json"]).ok().json()[0]["partitions"][0]["lag"];
    assert_eq!(lag, &json!(2), "half of them are finished");
    assert_eq!(member.poll(SOON).expect("records").len(), 2, "and the others come again");
    drop(member);
    engine.close().expect("it closes");
}

#[test]
fn one_whose_checks_ran_out_shows_as_unresolved() {
    let home = home();
    let engine = home.application();
    let soon = Duration::from_millis(1);
    let options = CheckerOptions::new().first(soon).interval(soon).checks_max(3);
    engine.register_checker("orders", options, |_: &HalfTransaction| CheckAnswer::Unknown).expect("a checker");
    let alarm = || home.run(&["stats", "--json"]).ok().json()[0]["transactions"]["unresolved"].clone();
    let is_on = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        alarm() == json!(1)
    });
    assert!(is_on, "the checks run out");
    let listed = list(&home, &[]);
    assert_eq!(states(&listed), [("a", "unresolved"), ("b", "prepared")], "nobody is asked of the other");
    assert_eq!(listed[0]["checks"], json!(3));
    let run = home.run(&["stats"]).ok();
    assert!(run.stderr.contains("warning: 1 transaction is unresolved"), "{}", run.stderr);
    home.run(&["txn", "resolve", "a", "--commit"]).ok();
    assert_eq!(alarm(), json!(0));
    assert!(!home.run(&["stats"]).ok().stderr.contains("warning"));
    engine.close().expect("it closes");
    assert_eq!(records(&home), 2);
}
