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
    for arguments in [&["topic", "list"][..], &["stats"], &["verify"], &["produce", "-t", "t"]] {
        home.run(arguments).fails(1, &[&pid, "ringlane"]);
    }
    assert_eq!(home.run(&["inspect", "--json"]).ok().json().len(), 1, "looking needs no lock");

    interrupt(&follower);
    let run = Run::of(follower).ok();
    assert_eq!(run.stderr, "");
    home.run(&["topic", "list"]).ok();
}
