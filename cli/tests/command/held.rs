//! Commands on a directory that another process has open: that one does what they ask for.

use crate::home::{Home, Run};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

/// A process that has the engine open until it is let go: `produce`, which waits for lines.
struct Holder {
    process: Child,
}

impl Holder {
    fn start(home: &Home, options: &[&str]) -> Holder {
        let arguments = [&["produce", "-t", "held", "--receipts"][..], options].concat();
        let mut process = home.command(&arguments).stdin(Stdio::piped()).spawn().expect("it starts");
        writeln!(process.stdin.as_mut().expect("its input"), "by the holder").expect("it reads");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("its output")).read_line(&mut line).expect("it answers");
        assert!(line.starts_with("held 0 0 "), "{line:?}");
        Holder { process }
    }

    /// How others call it.
    fn name(&self) -> String {
        format!("process {} (", self.process.id())
    }

    fn end(mut self) -> Run {
        drop(self.process.stdin.take());
        Run::of(self.process)
    }
}

#[test]
fn what_changes_state_is_done_by_the_process_that_has_the_engine_open() {
    let home = Home::with_topic("held", 1);
    let holder = Holder::start(&home, &[]);
    let says = format!("done by {}", holder.name());
    // One line that says who did it, and nothing of it in the output.
    let done = |run: Run| {
        let run = run.ok();
        assert_eq!(run.stderr.lines().filter(|line| line.starts_with(&says)).count(), 1, "{}", run.stderr);
        assert!(!run.text().contains("done by"), "{}", run.text());
        run
    };
    let created = done(home.run(&["topic", "create", "orders", "--partitions", "2"]));
    assert_eq!(created.text(), "created topic `orders` with 2 partitions\n");
    let sent = done(home.feed(&["produce", "-t", "orders", "--key-separator", "=", "--receipts"], b"a=1\nb=2\nc=3\n"));
    assert_eq!(sent.text().lines().count(), 3);
    assert!(sent.stderr.contains("3 records acknowledged (synced)"), "{}", sent.stderr);
    let line = br#"{"value":"x","partition":1,"headers":{"h":"v"},"timestamp_ms":5,"delay_ms":3600000}"#;
    let receipt = &done(home.feed(&["produce", "-t", "orders", "--json", "--receipts"], line)).json()[0];
    assert_eq!((&receipt["offset"], &receipt["timestamp_ms"]), (&json!(null), &json!(5)));
    assert_eq!((&receipt["topic"], &receipt["durability"]), (&json!("orders"), &json!("synced")));
    // Looking is done from outside, where the last records show a moment later.
    let all_records =
        |topics: &[serde_json::Value]| topics.iter().filter_map(|topic| topic["records"].as_u64()).sum::<u64>();
    let mut listed = Vec::new();
    for _ in 0..1000 {
        listed = home.run(&["topic", "list", "--json"]).ok().json();
        if all_records(&listed) == 4 {
            break;
        }
    }
    let names: Vec<_> = listed.iter().map(|topic| (&topic["name"], &topic["records"])).collect();
    assert_eq!(names, [(&json!("held"), &json!(1)), (&json!("orders"), &json!(3))]);
    let described = &home.run(&["topic", "describe", "orders", "--json"]).ok().json()[0];
    assert_eq!(described["partition"].as_array().unwrap().len(), 2);
    let stats = &done(home.run(&["stats", "--json"])).json()[0];
    assert_eq!((&stats["topics"], &stats["withheld_records"]), (&json!(2), &json!(1)));
    assert_eq!(stats["admin"]["listening"], json!(true));
    assert!(done(home.run(&["stats"])).text().contains("io.backend"));
    assert_eq!(done(home.run(&["sync"])).text(), "everything that was sent before is durable\n");
    assert_eq!(done(home.run(&["sync", "--json"])).json(), [json!({"synced": true})]);
    assert!(done(home.run(&["stats", "-o", "tail_cache_bytes=4194304"])).stderr.contains("-o is passed over"));

    // Its refusals are those of an engine that is opened here.
    home.run(&["topic", "create", "orders"]).fails(1, &["exists already", "2 partitions"]);
    home.run(&["topic", "describe", "nothing"]).fails(1, &["no topic `nothing`", "create it"]);
    home.feed(&["produce", "-t", "nothing"], b"").fails(1, &["no topic `nothing`"]);
    home.feed(&["produce", "-t", "orders", "-p", "0"], &[&vec![b'x'; 2 << 20][..], b"\nshort\n"].concat())
        .fails(1, &["line 1:", "record_bytes_max"]);

    let configured = done(home.run(&["topic", "configure", "orders", "--retention-ms", "3600000", "--json"]));
    assert_eq!(configured.json()[0]["retention_ms"], json!(3_600_000));
    // What is not said stays as it was.
    let configured = done(home.run(&["topic", "configure", "orders", "--retention-bytes", "1000000", "--json"]));
    assert_eq!(configured.json()[0]["retention_ms"], json!(3_600_000));
    let arguments = ["topic", "delete-records", "held", "-p", "0", "--before", "1"];
    assert_eq!(done(home.run(&arguments)).text(), "partition 0 of topic `held` begins at offset 1 now\n");

    let deleted = done(home.run(&["topic", "delete", "orders"]));
    assert_eq!(deleted.text(), "deleted topic `orders` and its 3 records\n");
    assert!(holder.end().ok().stderr.contains("1 records acknowledged"));
    let alone = home.run(&["topic", "list", "--json"]).ok();
    assert_eq!((alone.json().len(), &*alone.stderr), (1, ""), "nobody has it open any more");
    home.run(&["sync"]).ok();
}

#[test]
fn many_lines_are_sent_in_their_order_and_the_first_bad_one_ends_it() {
    let home = Home::with_topic("held", 1);
    home.run(&["topic", "create", "t"]).ok();
    let holder = Holder::start(&home, &[]);
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let receipts = home.feed(&["produce", "-t", "t", "--json", "--receipts=text"], b"").ok();
    assert_eq!(receipts.text(), "");
    let receipts = home.feed(&["produce", "-t", "t", "--receipts"], lines.as_bytes()).ok();
    let offsets = receipts.text().lines().map(|line| line.split(' ').nth(2).unwrap().to_owned());
    assert!(offsets.eq((0..20_000).map(|offset: u32| offset.to_string())), "receipts in the order of the lines");
    // The bad line: what is before it is acknowledged, what is behind it is not sent.
    let with_bad = b"{\"value\":\"good\"}\n{\"value\":\"bad\",\"partition\":7}\n{\"value\":\"behind\"}\n";
    let run = home.feed(&["produce", "-t", "t", "--json"], with_bad);
    assert!(run.stderr.contains("1 records acknowledged"), "{}", run.stderr);
    run.fails(1, &["line 2:", "partitions 0 to 0"]);
    holder.end().ok();
    let read = home.run(&["consume", "-t", "t"]).ok();
    assert_eq!(read.text(), lines + "good\n");
}

#[test]
fn who_has_it_open_without_a_socket_is_named_with_the_reason() {
    let home = Home::with_topic("held", 1);
    let holder = Holder::start(&home, &["-o", "admin_socket=false"]);
    for arguments in
        [&["topic", "create", "orders"][..], &["topic", "delete", "held"], &["sync"], &["produce", "-t", "held"]]
    {
        home.run(arguments).fails(1, &["held by", &holder.name(), "admin_socket = false", "lock_wait_ms"]);
    }
    assert!(home.run(&["stats"]).ok().stderr.contains("seen from outside"));
    holder.end().ok();
    home.run(&["topic", "create", "orders"]).ok();
}

#[test]
fn a_socket_that_a_killed_process_left_does_not_matter() {
    let home = Home::with_topic("held", 1);
    let mut holder = Holder::start(&home, &[]);
    holder.process.kill().unwrap();
    holder.process.wait().unwrap();
    assert!(home.engine().join("admin.socket").exists());
    let run = home.run(&["topic", "create", "orders", "-o", "lock_wait_ms=30000"]).ok();
    assert_eq!(run.stderr, "");
    assert!(!home.engine().join("admin.socket").exists(), "replaced, and then removed");
}
