//! Commands that go on until they are told to end, and what others get to hear meanwhile.

use crate::home::{Home, Run};
use std::io::{BufRead, BufReader};
use std::process::Child;

fn interrupt(child: &Child) {
    // SAFETY: a signal to a process that this test started and has not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
}

#[test]
fn a_delayed_record_comes_when_it_is_due() {
    let home = Home::with_topic("t", 1);
    let receipts = home.feed(&["produce", "-t", "t", "--delay", "700ms", "--receipts"], b"later\n").ok();
    assert_eq!(receipts.text().split(' ').nth(2), Some("-"), "it has no offset yet: {}", receipts.text());
    assert_eq!(home.run(&["consume", "-t", "t", "--follow", "--max", "1"]).ok().text(), "later\n");
    let json = format!("{{\"value\":\"far\",\"delay_ms\":{}}}\n", 3_600_000);
    home.feed(&["produce", "-t", "t", "--json"], json.as_bytes()).ok();
    assert_eq!(home.run(&["consume", "-t", "t"]).ok().text(), "later\n");
}

#[test]
fn following_ends_cleanly_and_holds_the_engine_until_then() {
    let home = Home::with_topic("t", 1);
    home.feed(&["produce", "-t", "t"], b"one\n").ok();
    let mut follower = home.start(&["consume", "-t", "t", "--follow"]);
    let mut lines = BufReader::new(follower.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n", "what is there is shown while it waits for more");

    let pid = format!("process {}", follower.id());
    // What changes something is done by the follower.
    for arguments in [&["topic", "create", "u"][..], &["topic", "delete", "u"], &["produce", "-t", "t"]] {
        let run = home.run(arguments).ok();
        assert!(run.stderr.contains(&format!("done by {pid}")), "{}", run.stderr);
    }
    // Looking needs no lock, and says nothing of one.
    for arguments in [&["topic", "list"][..], &["topic", "describe", "t"], &["verify"], &["inspect"]] {
        assert_eq!(home.run(arguments).ok().stderr, "", "{arguments:?}");
    }
    assert_eq!(home.run(&["topic", "list", "--json"]).ok().json()[0]["records"], 1);
    assert_eq!(home.run(&["consume", "-t", "t"]).ok().text(), "one\n");
    let stats = home.run(&["stats", "--json"]).ok();
    assert!(stats.stderr.contains(&format!("done by {pid}")), "{}", stats.stderr);
    assert_eq!(stats.json()[0]["lanes"].as_array().unwrap().len(), 1);
    let stats = &home.run(&["stats", "--json", "--read-only"]).ok().json()[0];
    assert_eq!((stats["lanes"].as_array().unwrap().len(), stats["topics"].as_u64()), (0, Some(1)));
    assert!(stats["outside"]["logs"][0]["durable"].as_u64() > Some(0), "{stats}");

    interrupt(&follower);
    let run = Run::of(follower).ok();
    assert_eq!(run.stderr, "");
    home.run(&["topic", "list"]).ok();
    assert!(home.run(&["stats", "--json"]).ok().json()[0]["outside"].is_null(), "nobody is in the way");
}

/// The application goes on writing while somebody looks on; whoever only looks on is in nobody's way.
#[test]
fn following_from_outside_holds_nothing() {
    let home = Home::with_topic("t", 1);
    home.feed(&["produce", "-t", "t"], b"one\n").ok();
    let mut follower = home.start(&["consume", "-t", "t", "--follow", "--read-only"]);
    let mut lines = BufReader::new(follower.stdout.take().unwrap());
    for value in ["one\n", "two\n", "three\n"] {
        if value != "one\n" {
            home.feed(&["produce", "-t", "t"], value.as_bytes()).ok();
        }
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, value);
    }
    home.run(&["topic", "list", "--read-only"]).ok();
    interrupt(&follower);
    assert_eq!(Run::of(follower).ok().stderr, "");
}
