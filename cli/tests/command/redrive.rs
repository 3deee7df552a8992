//! `dlq redrive`: dead letters are handed out again, with and without an application that has the engine open.

use crate::home::Home;
use ringlane::{Engine, MemberOptions};
use serde_json::json;
use std::time::Duration;

/// Has all records of the group `g` fail for good.
fn reject_all(engine: &Engine) {
    let mut member = engine.join_group("g", MemberOptions::new()).expect("a member");
    let lag = || engine.describe_group("g").expect("the group").partitions[0].lag;
    for _ in 0..2000 {
        if lag() == 0 {
            return member.close();
        }
        let polled = member.poll(Duration::from_millis(10)).expect("a poll");
        polled.iter().for_each(|delivery| member.reject(delivery.id()).expect("it is held"));
    }
    panic!("{} records are not among the dead letters", lag());
}

fn home() -> Home {
    let home = Home::with_topic("t", 1);
    home.feed(&["produce", "-t", "t"], b"0\n1\n2\n").ok();
    home.run(&["group", "create", "g", "--topic", "t:beginning"]).ok();
    home
}

#[test]
fn dead_letters_are_redriven_one_by_one_and_all_together() {
    let home = home();
    let redrive = |arguments: &[&str]| home.run(&[&["dlq", "redrive", "g"][..], arguments].concat());
    redrive(&[]).fails(2, &["--all"]);
    redrive(&["--all", "--offset", "1", "--partition", "0"]).fails(2, &["--all"]);
    redrive(&["--offset", "1"]).fails(2, &["--partition"]);
    redrive(&["--topic", "t", "--all"]).fails(2, &["--all"]);
    assert_eq!(redrive(&["--all"]).ok().text(), "0 records are available to group `g` again\n");
    redrive(&["-p", "0", "--offset", "0"]).fails(1, &["has no dead letters"]);
    home.run(&["dlq", "redrive", "none", "--all"]).fails(1, &["no group `none`"]);
    let engine = home.application();
    reject_all(&engine);
    engine.close().expect("it closes");

    assert_eq!(redrive(&["-p", "0", "--offset", "1"]).ok().text(), "1 records are available to group `g` again\n");
    redrive(&["-p", "0", "--offset", "1"]).fails(1, &["offset 1", "`g.dlq`", "redriven", "before"]);
    redrive(&["-p", "7", "--offset", "1"]).fails(1, &["partitions 0 to 0"]);
    redrive(&["-t", "none", "-p", "0", "--offset", "1"]).fails(1, &["does not read it"]);
    let line = |redriven| json!({"redriven": redriven, "unfinished": 0, "gone": 0, "is_full": false});
    assert_eq!(redrive(&["-t", "t", "-p", "0", "--offset", "2", "--json"]).ok().json(), [line(1)]);
    assert_eq!(redrive(&["--all", "--json"]).ok().json(), [line(1)]);
    assert_eq!(redrive(&["--all", "--json"]).ok().json(), [line(0)]);
    assert_eq!(home.run(&["consume", "--group", "g"]).ok().text(), "0\n1\n2\n");
    assert_eq!(home.run(&["dlq", "list", "--json"]).ok().json()[0]["records"], json!(3), "they stay");
}

#[test]
fn the_application_that_has_the_engine_open_redrives() {
    let home = home();
    let engine = home.application();
    reject_all(&engine);
    engine.delete_records(&engine.topic("t").expect("the topic"), 0, 1).expect("given up");
    let gone = ["dlq", "redrive", "g", "--partition", "0", "--offset", "0"];
    home.run(&gone).fails(1, &["no longer kept", "offset 0 of partition 0 of `g.dlq`", "send it again"]);
    let done = home.run(&["dlq", "redrive", "g", "--all"]).ok();
    assert_eq!(done.text(), "2 records are available to group `g` again\n");
    for part in ["done by process", "warning: 1 records are no longer kept", "dlq show"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    assert_eq!(engine.describe_group("g").expect("the group").partitions[0].lag, 2);
    assert_eq!(home.run(&["consume", "--group", "g"]).ok().text(), "1\n2\n");
    engine.close().expect("it closes");
}
