//! Groups from the command line: made, looked at, consumed from, and their dead letters; also while an application has
//! the engine open.

use crate::home::{Home, Run};
use ringlane::{Engine, GroupConsumer, MemberOptions, Start};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

/// A topic `t` with so many records, whose values are their numbers, and a shared group `g` at its beginning.
fn home(partitions: u32, records: u64) -> Home {
    let home = Home::with_topic("t", partitions);
    send(&home, 0..records);
    home.run(&["group", "create", "g", "--topic", "t:beginning", "--retry-first-ms", "0"]).ok();
    home
}

fn send(home: &Home, numbers: std::ops::Range<u64>) {
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    home.feed(&["produce", "-t", "t"], lines.as_bytes()).ok();
}

fn describe(home: &Home, name: &str) -> Value {
    home.run(&["group", "describe", name, "--json"]).ok().json().remove(0)
}

/// Position and lag in the first partition.
fn place(home: &Home, name: &str) -> (u64, u64) {
    let partition = &describe(home, name)["partitions"][0];
    (partition["position"].as_u64().expect("a number"), partition["lag"].as_u64().expect("a number"))
}

fn poll_one(member: &mut GroupConsumer) -> ringlane::DeliveryId {
    let polled = member.poll(Duration::from_secs(20)).expect("a poll");
    polled.iter().next().expect("a record").id()
}

/// Has a record of the group fail for good.
fn reject_one(engine: &Engine) {
    let options = MemberOptions::new().max_poll_records(1);
    let mut member = engine.join_group("g", options).expect("a member");
    let id = poll_one(&mut member);
    member.reject(id).expect("it is held");
    member.close();
    let lag = || engine.describe_group("g").expect("the group").partitions[0].lag;
    let before = lag();
    for _ in 0..2000 {
        if lag() < before {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(before == 0, "the dead letter was not sent");
}

#[test]
fn groups_are_created_listed_described_reset_and_deleted() {
    let home = Home::with_topic("t", 2);
    home.run(&["topic", "create", "u"]).ok();
    send(&home, 0..10);
    assert_eq!(home.run(&["group", "list", "--json"]).ok().text(), "");
    let arguments = ["group", "create", "g", "-t", "t:beginning", "--topic", "u:end", "--ordered"];
    assert_eq!(home.run(&arguments).ok().text(), "created ordered group `g` on 3 partitions\n");
    let options =
        ["--max-deliveries", "3", "--retry-first-ms", "5", "--retry-max-ms", "50", "--dead-letter-topic", "dead"];
    let created =
        home.run(&[&["group", "create", "h", "-t", "t:offset:3", "--json"][..], &options].concat()).ok().json();
    assert_eq!((&created[0]["kind"], &created[0]["dead_letter_topic"]), (&json!("shared"), &json!("dead")));

    let table = home.run(&["group", "list"]).ok();
    let rows: Vec<Vec<&str>> = table.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "KIND", "MEMBERS", "PARTITIONS", "LAG", "DEAD", "LETTERS"]);
    assert_eq!(rows[1], ["g", "ordered", "0", "3", "10", "g.dlq"]);
    assert_eq!((rows[2][..4].to_vec(), rows[2][5]), (vec!["h", "shared", "0", "2"], "dead"));
    let listed = home.run(&["group", "list", "--json"]).ok().json();
    assert_eq!(listed, [describe(&home, "g"), describe(&home, "h")]);
    assert_eq!(listed[0]["partitions"].as_array().expect("a list").len(), 3);
    let described = home.run(&["group", "describe", "g"]).ok();
    for part in ["name", "g.dlq", "ordered", "partitions", "position", "lag"] {
        assert!(described.text().contains(part), "{part}: {}", described.text());
    }

    let end = describe(&home, "g")["partitions"][1]["next_offset"].as_u64().expect("a number");
    let reset = home.run(&["group", "reset", "g", "--topic", "t", "--partition", "1", "--to", "end"]).ok();
    assert_eq!(reset.text(), format!("group `g` goes on at offset {end} in partition 1 of topic `t`\n"));
    let reset = home.run(&["group", "reset", "g", "-t", "t", "--to", "offset:1", "--json"]).ok().json();
    let position = |partition| json!({"topic": "t", "partition": partition, "position": 1});
    assert_eq!(reset, [position(0), position(1)]);
    assert_eq!(place(&home, "g").0, 1);
    let reset = home.run(&["group", "reset", "g", "-t", "t", "-p", "0", "--to", "timestamp:0", "--json"]).ok().json();
    assert_eq!(reset[0]["position"], json!(0), "the first record of that time or a later one");

    let deleted = home.run(&["group", "delete", "g"]).ok();
    assert_eq!(deleted.text(), "deleted group `g`; the records and its dead letters stay\n");
    assert_eq!(home.run(&["group", "list", "--json"]).ok().json(), [describe(&home, "h")]);
}

#[test]
fn what_is_wrong_with_a_group_is_said() {
    let home = home(1, 0);
    let create = |arguments: &[&str]| home.run(&[&["group", "create"][..], arguments].concat());
    create(&["h"]).fails(2, &["--topic"]);
    create(&["h", "-t", "t"]).fails(2, &["say where the group begins", "t:beginning"]);
    create(&["h", "-t", "t:middle"]).fails(2, &["beginning, end, offset:N or timestamp:MS"]);
    create(&["h", "-t", "t:end", "--ordered", "--shared"]).fails(2, &["--ordered", "--shared"]);
    create(&["h", "-t", "none:end"]).fails(1, &["no topic `none`"]);
    create(&["h", "-t", "t:end", "-t", "t:offset:0"]).fails(1, &["topics = t ", "twice"]);
    create(&["h", "-t", "t:end", "--max-deliveries", "0"]).fails(1, &["max_deliveries"]);
    create(&["h h", "-t", "t:end"]).fails(1, &["`h h`"]);
    create(&["g", "-t", "t:end"]).fails(1, &["group `g` exists already"]);
    for arguments in [
        &["group", "describe", "none"][..],
        &["group", "delete", "none"],
        &["group", "reset", "none", "-t", "t", "--to", "end"],
        &["consume", "--group", "none"],
        &["dlq", "show", "none"],
    ] {
        home.run(arguments).fails(1, &["no group `none`", "list the groups"]);
    }
    home.run(&["group", "reset", "g", "-t", "t", "--to", "1"]).fails(2, &["offset:N"]);
    home.run(&["group", "reset", "g", "-t", "t"]).fails(2, &["--to"]);
    home.run(&["group", "reset", "g", "-t", "t", "-p", "1", "--to", "end"])
        .fails(1, &["partition = t 1", "does not read it"]);
    home.run(&["group", "reset", "g", "-t", "none", "--to", "end"]).fails(1, &["none", "does not read it"]);
    for arguments in [&["group", "list", "--read-only"][..], &["group", "describe", "g", "--read-only"]] {
        home.run(arguments).fails(1, &["cannot be seen from outside yet", "leave out --read-only"]);
    }
    home.run(&["consume"]).fails(2, &["--topic"]);
    for wrong in [&["-t", "t"][..], &["--partition", "0"], &["--from", "end"], &["--read-only"]] {
        home.run(&[&["consume", "--group", "g"][..], wrong].concat()).fails(2, &["--group", "cannot be used with"]);
    }
    home.run(&["consume", "-t", "t", "--ack", "none"]).fails(2, &["--ack", "cannot be used with"]);
}

#[test]
fn a_member_prints_and_acknowledges_and_the_next_one_goes_on() {
    let home = home(1, 10);
    let first = home.run(&["consume", "--group", "g", "--count", "4"]).ok();
    assert_eq!((first.text(), &*first.stderr), ("0\n1\n2\n3\n", ""));
    assert_eq!(place(&home, "g"), (4, 6), "no more was taken than was wanted");
    let looked = home.run(&["consume", "-g", "g", "--json", "-n", "2", "--ack", "none"]).ok().json();
    let figures: Vec<_> = looked.iter().map(|line| (&line["value"], &line["delivery_count"])).collect();
    assert_eq!(figures, [(&json!("4"), &json!(1)), (&json!("5"), &json!(1))]);
    assert_eq!(place(&home, "g"), (4, 6), "it only looked");
    let rest = home.run(&["consume", "--group", "g", "--json"]).ok();
    let mut seen: Vec<_> =
        rest.json().iter().map(|line| (line["value"].clone(), line["delivery_count"].clone())).collect();
    seen.sort_by_key(|(value, _)| value.to_string());
    let count = |number| if number < 6 { 2 } else { 1 };
    let expected: Vec<_> = (4..10).map(|number| (json!(number.to_string()), json!(count(number)))).collect();
    assert_eq!(seen, expected, "those that were looked at were handed out before");
    assert_eq!(place(&home, "g"), (10, 0));
    let nothing = home.run(&["consume", "--group", "g"]).ok();
    assert_eq!((nothing.text(), &*nothing.stderr), ("", ""));
    // What is printed can be sent.
    home.feed(&["produce", "-t", "t", "--json"], &rest.stdout).ok();
    assert_eq!(home.run(&["consume", "--group", "g"]).ok().text().lines().count(), 6);
    let other = home.run(&["consume", "-t", "t", "--json"]).ok().json();
    assert!(other[0].get("delivery_count").is_none(), "there is none without a group");
}

#[test]
fn filters_choose_what_is_printed_and_handed_out() {
    let home = Home::with_topic("t", 1);
    let line = |number: u32| {
        let (tag, region) = (["paid", "refunded"][number as usize % 2], ["eu", "us"][number as usize / 2 % 2]);
        format!("{{\"value\":\"{number}\",\"headers\":{{\"tag\":\"{tag}\",\"region\":\"{region}\"}}}}\n")
    };
    let lines: String = (0..3000).map(line).collect();
    home.feed(&["produce", "-t", "t", "--json"], lines.as_bytes()).ok();
    let filter = "tag = paid and not region=eu";
    let wanted: String = (0..3000).filter(|number| number % 4 == 2).map(|number| format!("{number}\n")).collect();
    assert_eq!(home.run(&["consume", "-t", "t", "--filter", filter]).ok().text(), wanted);
    let some = home.run(&["consume", "-t", "t", "--filter", filter, "--count", "2", "--from", "offset:3"]).ok();
    assert_eq!(some.text(), "6\n10\n");
    assert_eq!(home.run(&["consume", "-t", "t", "--filter", "exists none", "--read-only"]).ok().text(), "");
    home.run(&["group", "create", "g", "-t", "t:beginning", "--ordered", "--filter", filter]).ok();
    assert_eq!(describe(&home, "g")["filter"], json!("tag = paid and region != eu"));
    assert!(home.run(&["group", "describe", "g"]).ok().text().contains("tag = paid and region != eu"));
    assert_eq!(home.run(&["consume", "--group", "g", "--count", "1"]).ok().text(), "2\n");
    assert_eq!(format!("2\n{}", home.run(&["consume", "--group", "g"]).ok().text()), wanted);
    assert_eq!(place(&home, "g"), (3000, 0), "nothing is left to be done");
    home.run(&["consume", "-t", "t", "--filter", "tag paid"]).fails(2, &["--filter", "at byte 4"]);
    home.run(&["group", "create", "h", "-t", "t:end", "--filter", "(tag = paid"]).fails(2, &["expected", "`)`"]);
    home.run(&["consume", "-g", "g", "--filter", filter]).fails(2, &["--filter", "cannot be used with"]);
}

/// More than a poll, and more than a member holds by default.
#[test]
fn many_records_are_printed_once_and_in_order() {
    for kind in ["--ordered", "--shared"] {
        let home = Home::with_topic("t", 1);
        send(&home, 0..3000);
        home.run(&["group", "create", "g", "-t", "t:beginning", kind]).ok();
        let looked = home.run(&["consume", "--group", "g", "--ack", "none"]).ok();
        assert_eq!(looked.text().lines().count(), 3000, "{kind}");
        home.run(&["group", "reset", "g", "-t", "t", "--to", "beginning"]).ok();
        let mut printed = home.run(&["consume", "--group", "g", "--count", "1234"]).ok().text().to_owned();
        assert_eq!(place(&home, "g"), (1234, 3000 - 1234), "{kind}");
        printed += home.run(&["consume", "--group", "g"]).ok().text();
        let expected: String = (0..3000).map(|number| format!("{number}\n")).collect();
        assert_eq!(printed, expected, "{kind}");
    }
}

#[test]
fn what_could_not_be_written_out_is_not_acknowledged() {
    let home = home(1, 10);
    let onto =
        |target: Stdio| Run::of(home.command(&["consume", "--group", "g"]).stdout(target).spawn().expect("it runs"));
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
    onto(full.into()).fails(1, &["writing the output"]);
    assert_eq!(place(&home, "g"), (0, 10));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(onto(writer.into()).code, 0, "nobody reads any more");
    assert_eq!(place(&home, "g"), (0, 10));
    let again = home.run(&["consume", "--group", "g", "--json"]).ok().json();
    let lines = again.iter().map(|line| (line["offset"].clone(), line["delivery_count"].clone()));
    assert!(lines.eq((0..10).map(|offset| (json!(offset), json!(3)))), "released, not failed: {again:?}");
    assert_eq!(place(&home, "g"), (10, 0));
}

#[test]
fn records_that_were_given_up_before_they_were_finished_are_told_of() {
    let home = home(1, 6);
    let mut child = home.start(&["consume", "--group", "g", "--follow", "--ack", "none"]);
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    assert!(lines.by_ref().take(6).map(|line| line.expect("a line")).eq((0..6).map(|number| number.to_string())));
    home.run(&["topic", "delete-records", "t", "-p", "0", "--before", "4"]).ok();
    let mut told = String::new();
    BufReader::new(child.stderr.as_mut().expect("its errors")).read_line(&mut told).expect("a line");
    assert!(told.starts_with("warning: ") && told.contains("4"), "{told}");
    // SAFETY: a signal to a process that this test started and has not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    Run::of(child).fails(1, &["4 records were given up before the group had them"]);
    assert_eq!(home.run(&["consume", "--group", "g"]).ok().text(), "4\n5\n", "the rest is there");
}

#[test]
fn dead_letters_are_listed_and_shown() {
    let home = home(1, 3);
    home.run(&["group", "create", "other", "-t", "t:end", "--dead-letter-topic", "g.dlq"]).ok();
    let line = |group: &str, records: u64| json!({"group": group, "topic": "g.dlq", "records": records});
    assert_eq!(home.run(&["dlq", "list", "--json"]).ok().json(), [line("g", 0), line("other", 0)]);
    assert_eq!(home.run(&["dlq", "show", "g"]).ok().text(), "");
    let engine = home.application();
    reject_one(&engine);
    reject_one(&engine);
    engine.close().expect("it closes");
    // Not a dead letter of the group's, though it stands there.
    home.feed(&["produce", "-t", "g.dlq"], b"another\n").ok();

    assert_eq!(home.run(&["dlq", "list", "--json"]).ok().json(), [line("g", 3), line("other", 3)]);
    let table = home.run(&["dlq", "list"]).ok();
    assert_eq!(table.text(), "GROUP  TOPIC  RECORDS\ng      g.dlq        3\nother  g.dlq        3\n");
    let shown = home.run(&["dlq", "show", "g"]).ok();
    let text = |number| format!("t 0 {number} rejected, 1 deliveries, 1 failures: {number}\n");
    assert_eq!(shown.text(), text(0) + &text(1));
    let letters = home.run(&["dlq", "show", "g", "--json", "--count", "1"]).ok().json();
    assert_eq!((letters.len(), &letters[0]["value"], &letters[0]["topic"]), (1, &json!("0"), &json!("g.dlq")));
    let headers = letters[0]["headers"].as_array().expect("headers");
    assert!(headers.contains(&json!({"name": "ringlane.group", "value": "g"})), "{headers:?}");
    assert!(headers.contains(&json!({"name": "ringlane.reason", "value": "rejected"})), "{headers:?}");
    assert_eq!(home.run(&["dlq", "show", "other"]).ok().text(), "");
}

#[test]
fn the_application_that_has_the_engine_open_answers_for_its_groups() {
    let home = Home::with_topic("t", 2);
    let engine = home.application();
    let says = format!("done by process {}", std::process::id());
    let done = |arguments: &[&str]| {
        let run = home.run(arguments).ok();
        assert_eq!(run.stderr.lines().filter(|line| line.starts_with(&says)).count(), 1, "{}", run.stderr);
        run
    };
    let create = ["group", "create", "g", "-t", "t:beginning", "--ordered", "--max-deliveries", "2", "--json"];
    let created = done(&create).json();
    let info = engine.describe_group("g").expect("it is there");
    let here = |info: &ringlane::GroupInfo| serde_json::to_value(info).expect("JSON");
    assert_eq!(created, [here(&info)]);
    home.run(&create).fails(1, &["group `g` exists already"]);
    home.run(&["group", "create", "h", "-t", "none:end"]).fails(1, &["no topic `none`"]);
    // It might be taken for the default on its way.
    home.run(&["group", "create", "h", "-t", "t:end", "--dead-letter-topic", ""]).fails(1, &["``"]);

    let topic = engine.topic("t").expect("the topic");
    let producer = engine.producer(ringlane::ProducerOptions::new()).expect("a producer");
    for value in [b"0", b"1", b"2"] {
        producer.send(&topic, ringlane::Record::new(value).partition(0)).expect("sent").wait().expect("there");
    }
    let mut member = engine.join_group("g", MemberOptions::new().max_poll_records(1)).expect("a member");
    let id = poll_one(&mut member);
    let described = done(&["group", "describe", "g", "--json"]).json();
    assert_eq!((&described[0]["members"], &described[0]["partitions"][0]["in_flight"]), (&json!(1), &json!(1)));
    assert_eq!(done(&["group", "list", "--json"]).json(), [here(&engine.describe_group("g").expect("the group"))]);
    let reset = done(&["group", "reset", "g", "-t", "t", "--to", "beginning", "--json"]).json();
    let position = |partition| json!({"topic": "t", "partition": partition, "position": 0});
    assert_eq!(reset, [position(0), position(1)]);
    assert_eq!(member.ack(id).expect_err("it was taken away").code(), "lease-lost");
    member.close();
    home.run(&["group", "reset", "g", "-t", "t", "-p", "9", "--to", "end"])
        .fails(1, &["partition = t 9", "does not read it"]);

    let looked = done(&["consume", "--group", "g", "--ack", "none", "--count", "1"]);
    assert_eq!(looked.text(), "0\n");

    assert_eq!(done(&["dlq", "show", "g"]).text(), "", "the topic is not there yet");
    reject_one(&engine);
    assert_eq!(done(&["dlq", "list", "--json"]).json(), [json!({"group": "g", "topic": "g.dlq", "records": 1})]);
    // Records are read from outside, where the last ones show a moment later.
    let mut shown = done(&["dlq", "show", "g"]);
    for _ in 0..1000 {
        if !shown.stdout.is_empty() {
            break;
        }
        shown = done(&["dlq", "show", "g"]);
    }
    assert!(shown.text().starts_with("t 0 0 rejected, "), "{}", shown.text());

    assert!(done(&["group", "delete", "g"]).text().starts_with("deleted group `g`"));
    assert_eq!(engine.describe_group("g").expect_err("it was deleted").code(), "unknown-group");
    for arguments in [&["group", "describe", "g"][..], &["group", "delete", "g"], &["dlq", "show", "g"]] {
        home.run(arguments).fails(1, &["no group `g`"]);
    }
    engine.create_group("later", ringlane::GroupOptions::shared().topic("t", Start::End)).expect("a group");
    engine.close().expect("it closes");
    // And after it has closed.
    let listed = home.run(&["group", "list", "--json"]).ok();
    assert_eq!((listed.json().len(), &listed.json()[0]["name"], &*listed.stderr), (1, &json!("later"), ""));
}

/// More than one answer of the socket holds.
#[test]
fn a_long_list_of_groups_comes_in_pages() {
    let home = Home::with_topic("t", 1);
    let engine = home.application();
    for number in 0..1001 {
        let options = ringlane::GroupOptions::shared().topic("t", Start::End);
        engine.create_group(&format!("g{number}"), options).expect("a group");
    }
    let mut client = ringlane::admin::Client::connect(home.engine()).expect("it listens");
    assert_eq!(client.groups().expect("a list"), engine.groups());
    assert_eq!(engine.groups().len(), 1001);
    engine.close().expect("it closes");
}
