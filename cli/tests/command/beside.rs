//! `consume --group` while an application has the engine open: the command is a member of its group.

use crate::home::{Home, Run};
use ringlane::{Engine, GroupInfo, GroupOptions, MemberOptions, ProducerOptions, Record, Start, Topic};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::time::Duration;

/// An application with topic `t` and group `g`.
fn application(home: &Home, group: GroupOptions) -> (Engine, Topic) {
    let engine = home.application();
    let topic = engine.topic("t").expect("the topic");
    engine.create_group("g", group.topic("t", Start::Beginning)).expect("a group");
    (engine, topic)
}

fn send(engine: &Engine, topic: &Topic, numbers: std::ops::Range<u64>) {
    let producer = engine.producer(ProducerOptions::new()).expect("a producer");
    for number in numbers {
        let value = number.to_string();
        producer.send(topic, Record::new(value.as_bytes())).expect("sent").wait().expect("there");
    }
}

fn info(engine: &Engine) -> GroupInfo {
    engine.describe_group("g").expect("the group")
}

fn lag(engine: &Engine) -> u64 {
    info(engine).partitions.iter().map(|partition| partition.lag).sum()
}

fn interrupt(child: &std::process::Child) {
    // SAFETY: a signal to a process that this test started and has not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
}

#[test]
fn the_command_is_a_member_beside_those_of_the_application() {
    for options in [GroupOptions::shared(), GroupOptions::ordered()] {
        let home = Home::with_topic("t", 1);
        let (engine, topic) = application(&home, options);
        send(&engine, &topic, 0..1500);
        let first = home.run(&["consume", "--group", "g", "--count", "4"]).ok();
        assert_eq!(first.text(), "0\n1\n2\n3\n");
        assert!(first.stderr.starts_with("done by process "), "{}", first.stderr);
        assert_eq!((lag(&engine), info(&engine).members), (1496, 0), "no more was taken than was wanted");
        let looked = home.run(&["consume", "-g", "g", "--json", "-n", "2", "--ack", "none"]).ok().json();
        let figures: Vec<_> = looked.iter().map(|line| (&line["value"], &line["delivery_count"])).collect();
        assert_eq!(figures, [(&json!("4"), &json!(1)), (&json!("5"), &json!(1))]);
        let rest = home.run(&["consume", "--group", "g"]).ok();
        let mut numbers: Vec<u32> = rest.text().lines().map(|line| line.parse().expect("a number")).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(4..1500), "each once");
        assert_eq!(lag(&engine), 0);
        engine.close().expect("it closes");
        assert_eq!(home.run(&["consume", "--group", "g"]).ok().text(), "", "what it acknowledged is durable");
    }
}

#[test]
fn an_interrupt_acknowledges_what_was_printed_and_gives_the_rest_back() {
    let home = Home::with_topic("t", 1);
    let (engine, topic) = application(&home, GroupOptions::shared());
    send(&engine, &topic, 0..3);
    let mut child = home.start(&["consume", "--group", "g", "--follow"]);
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!([next(), next(), next()], ["0", "1", "2"]);
    send(&engine, &topic, 3..4);
    assert_eq!(next(), "3");
    interrupt(&child);
    Run::of(child).ok();
    assert_eq!((lag(&engine), info(&engine).members), (0, 0));

    // What it only holds is handed to others at once, and has not failed.
    send(&engine, &topic, 4..6);
    let mut child = home.start(&["consume", "--group", "g", "--follow", "--ack", "none"]);
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "4");
    assert_eq!(lines.next().expect("a line").expect("text"), "5");
    interrupt(&child);
    Run::of(child).ok();
    let mut member = engine.join_group("g", MemberOptions::new()).expect("a member");
    let polled = member.poll(Duration::from_secs(20)).expect("a poll");
    let counts: Vec<_> = polled.iter().map(|delivery| delivery.delivery_count).collect();
    assert_eq!(counts, [2, 2]);
    member.close();
    engine.close().expect("it closes");
}

#[test]
fn a_command_that_is_killed_gives_everything_back() {
    let home = Home::with_topic("t", 1);
    let (engine, topic) = application(&home, GroupOptions::shared());
    send(&engine, &topic, 0..2);
    let mut child = home.start(&["consume", "--group", "g", "--follow", "--ack", "none"]);
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    assert!(lines.by_ref().take(2).map(|line| line.expect("text")).eq(["0", "1"]));
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    let again = home.run(&["consume", "--group", "g", "--json", "--count", "2", "--follow"]).ok().json();
    assert!(again.iter().all(|line| line["delivery_count"] == json!(2)), "{again:?}");
    assert_eq!(lag(&engine), 0);
    engine.close().expect("it closes");
}
