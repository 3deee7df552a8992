//! Producers that have a name: seen and deleted from the command line, also while an application has the engine open.

use crate::home::Home;
use ringlane::{Engine, ProducerOptions, Record};
use serde_json::json;

/// Opens a name as often as is said, and sends a record.
fn send_as(engine: &Engine, name: &str, epoch: u32) -> ringlane::Producer {
    let open = || engine.producer(ProducerOptions::new().name(name)).expect("a name");
    let producer = (1..epoch).fold(open(), |_, _| open());
    let topic = engine.topic("t").expect("the topic");
    producer.send(&topic, Record::new(b"v")).expect("it is sent").wait().expect("a receipt");
    producer
}

#[test]
fn producers_are_listed_and_deleted() {
    let home = Home::with_topic("t", 1);
    assert_eq!(home.run(&["producer", "list", "--json"]).ok().text(), "");
    let engine = home.application();
    send_as(&engine, "orders.import", 1);
    send_as(&engine, "billing", 3);
    engine.close().expect("it closes");
    let listed = home.run(&["producer", "list", "--json"]).ok().json();
    let (billing, import) =
        (json!({"name": "billing", "id": 2, "epoch": 3}), json!({"name": "orders.import", "id": 1, "epoch": 1}));
    assert_eq!(listed, [billing.clone(), import]);
    let table = home.run(&["producer", "list", "--read-only"]).ok();
    assert_eq!(table.text(), "NAME           ID  EPOCH\nbilling         2      3\norders.import   1      1\n");

    let deleted = home.run(&["producer", "delete", "orders.import"]).ok();
    assert_eq!(deleted.text(), "deleted producer `orders.import`; its records stay\n");
    home.run(&["producer", "delete", "orders.import"]).fails(1, &["no producer `orders.import`", "list the producers"]);
    assert_eq!(home.run(&["producer", "list", "--json"]).ok().json(), std::slice::from_ref(&billing));
    assert_eq!(home.run(&["producer", "delete", "billing", "--json"]).ok().json(), [billing]);
    assert_eq!(home.run(&["producer", "list"]).ok().text(), "NAME  ID  EPOCH\n");
    assert_eq!(home.run(&["consume", "-t", "t"]).ok().text(), "v\nv\n", "the records are there");
}

#[test]
fn the_application_that_has_the_engine_open_deletes_its_producers() {
    let home = Home::with_topic("t", 1);
    let engine = home.application();
    let producer = send_as(&engine, "billing", 2);
    engine.sync().expect("durable");
    // From outside the last changes show a moment later.
    let listed = || home.run(&["producer", "list", "--json"]).ok().json();
    let mut seen = listed();
    for _ in 0..1000 {
        if seen == [json!({"name": "billing", "id": 1, "epoch": 2})] {
            break;
        }
        seen = listed();
    }
    assert_eq!(seen, [json!({"name": "billing", "id": 1, "epoch": 2})]);
    // The socket knows at once.
    let mut client = ringlane::admin::Client::connect(home.engine()).expect("it listens");
    assert_eq!(client.producers().expect("a list"), engine.producers());
    let deleted = home.run(&["producer", "delete", "billing"]).ok();
    assert_eq!(deleted.text(), "deleted producer `billing`; its records stay\n");
    assert!(deleted.stderr.starts_with(&format!("done by process {}", std::process::id())), "{}", deleted.stderr);
    assert_eq!(client.producers().expect("a list"), []);
    let topic = engine.topic("t").expect("the topic");
    let refused = producer.send(&topic, Record::new(b"v")).expect_err("it was deleted");
    assert_eq!(refused.code(), "unknown-producer");
    home.run(&["producer", "delete", "billing"]).fails(1, &["no producer `billing`"]);
    engine.close().expect("it closes");
}

/// More than one answer of the socket holds.
#[test]
fn a_long_list_comes_in_pages() {
    let home = Home::with_topic("t", 1);
    let engine = home.application();
    for number in 0..1001 {
        engine.producer(ProducerOptions::new().name(format!("p{number}"))).expect("a name");
    }
    let mut client = ringlane::admin::Client::connect(home.engine()).expect("it listens");
    assert_eq!(client.producers().expect("a list"), engine.producers());
    assert_eq!(engine.producers().len(), 1001);
    engine.close().expect("it closes");
}

#[test]
fn the_frames_of_a_segment_say_who_wrote_their_records() {
    let home = Home::with_topic("t", 1);
    home.feed(&["produce", "-t", "t"], b"a\nb\n").ok();
    let engine = home.application();
    send_as(&engine, "billing", 2);
    engine.close().expect("it closes");
    let inspection = &home.run(&["inspect", "--json"]).ok().json()[0];
    let (mut texts, mut values) = (String::new(), Vec::new());
    for segment in inspection["segments"].as_array().expect("segments") {
        let file = segment["file"].as_str().expect("a name");
        texts += home.run(&["inspect", file]).ok().text();
        values.extend(home.run(&["inspect", file, "--json"]).ok().json());
    }
    let origins: Vec<_> = values.iter().map(|frame| &frame["origin"]).filter(|origin| !origin.is_null()).collect();
    let last = json!({"producer": 1, "epoch": 2, "sequence": 0});
    assert_eq!((origins[0], origins[origins.len() - 1]), (&json!({"producer": 0, "epoch": 0, "sequence": 0}), &last));
    let columns: Vec<_> = texts.lines().next().expect("a head").split_whitespace().collect();
    let at = columns.iter().position(|name| *name == "origin").expect("a column");
    assert_eq!(columns[at - 1], "base_offset");
    let written: Vec<_> = texts.lines().filter(|line| line.contains(" records ")).collect();
    let cell = |line: &&str| line.split_whitespace().nth(at).expect("a cell").to_owned();
    assert_eq!((&*cell(&written[0]), &*cell(&written[written.len() - 1])), ("0:0:0", "1:2:0"));
}
