//! Records in and out.

use crate::home::Home;
use serde_json::{Value, json};
use std::io::Read;

#[test]
fn lines_come_out_as_they_went_in() {
    let home = Home::with_topic("t", 1);
    let lines = b"first\n\n  spaces and \ttabs \r\n\xff\xfe not utf-8\nlast without an end";
    let produced = home.feed(&["produce", "-t", "t"], lines).ok();
    assert!(produced.stdout.is_empty());
    assert!(produced.stderr.contains("5 records acknowledged"), "{}", produced.stderr);
    let mut expected = lines.to_vec();
    expected.push(b'\n');
    assert_eq!(home.run(&["consume", "-t", "t"]).ok().stdout, expected);
}

#[test]
fn a_file_is_input_too_and_nothing_is_no_record() {
    let home = Home::with_topic("t", 1);
    let file = home.file("lines.txt", b"one\ntwo\n");
    home.run(&["produce", "-t", "t", "--input", file.to_str().unwrap()]).ok();
    home.feed(&["produce", "-t", "t"], b"").ok();
    assert_eq!(home.run(&["consume", "-t", "t"]).ok().text(), "one\ntwo\n");
    home.run(&["produce", "-t", "t", "--input", "missing.txt"]).fails(1, &["missing.txt"]);
}

#[test]
fn what_is_printed_as_json_can_be_read_again() {
    let home = Home::with_topic("from", 2);
    home.run(&["topic", "create", "to", "-p", "2"]).ok();
    let records = concat!(
        r#"{"key":"k","value":"v \" \\ ü","headers":{"b":"2","a":"1"},"timestamp_ms":1700000000000,"partition":1}"#,
        "\n\n",
        r#"{"value_base64":"//4=","key_base64":"/w==","headers":[{"name":"a","value":"x"},{"name":"a","value_base64":"/w=="}],"timestamp_ms":-1,"partition":0}"#,
        "\n",
        r#"{"value":null,"timestamp_ms":0,"partition":0}"#,
        "\n",
        r#"{"value":"","timestamp_ms":1,"partition":0}"#,
        "\n",
    );
    home.feed(&["produce", "-t", "from", "--json"], records.as_bytes()).ok();
    let printed = home.run(&["consume", "-t", "from", "--json"]).ok();
    let values = printed.json();
    let of_partition = |partition: u32| values.iter().filter(move |value| value["partition"] == partition);
    assert_eq!(
        of_partition(1).next().unwrap(),
        &json!({"topic": "from", "partition": 1, "offset": 0, "timestamp_ms": 1_700_000_000_000u64,
            "origin": {"producer": 0, "epoch": 0, "sequence": 0}, "key": "k",
            "value": "v \" \\ ü", "headers": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]})
    );
    let zero: Vec<&Value> = of_partition(0).collect();
    assert_eq!((&zero[0]["value_base64"], &zero[0]["key_base64"]), (&json!("//4="), &json!("/w==")));
    assert_eq!(zero[0]["headers"], json!([{"name": "a", "value": "x"}, {"name": "a", "value_base64": "/w=="}]));
    assert_eq!((&zero[1]["value"], &zero[2]["value"]), (&Value::Null, &json!("")));
    assert!(zero[1].as_object().unwrap().contains_key("value"), "null is a value and is printed");

    home.feed(&["produce", "-t", "to", "--json"], &printed.stdout).ok();
    let copied = home.run(&["consume", "-t", "to", "--json"]).ok();
    assert_eq!(copied.text().replace(r#""topic":"to""#, r#""topic":"from""#), printed.text());
}

#[test]
fn receipts_say_where_each_record_is_and_how_safe() {
    let home = Home::with_topic("t", 1);
    let receipts = home.feed(&["produce", "-t", "t", "--receipts", "--timestamp", "7"], b"a\nb\n").ok();
    let lines: Vec<Vec<&str>> = receipts.text().lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0][..5], ["t", "0", "0", "7", "synced"]);
    assert_eq!(lines[1][..5], ["t", "0", "1", "7", "synced"]);

    let buffered = ["produce", "-t", "t", "--receipts=json", "--durability", "buffered"];
    let receipt = &home.feed(&buffered, b"c\n").ok().json()[0];
    assert_eq!((&receipt["offset"], &receipt["durability"]), (&json!(2), &json!("buffered")));
    let json = ["produce", "-t", "t", "--json", "--receipts"];
    assert_eq!(home.feed(&json, b"{\"value\":\"d\"}\n").ok().json()[0]["offset"], 3);
    assert_eq!(home.run(&["consume", "-t", "t"]).ok().text(), "a\nb\nc\nd\n");
    home.feed(&["produce", "-t", "t", "--durability", "hopeful"], b"").fails(2, &["synced"]);
}

#[test]
fn keys_stand_before_their_separator() {
    let home = Home::with_topic("t", 4);
    home.feed(&["produce", "-t", "t", "--key-separator", "="], b"b=2=3\na=1\nb=4\n").ok();
    let printed = home.run(&["consume", "-t", "t", "--key-separator", ": "]).ok();
    let mut lines: Vec<&str> = printed.text().lines().collect();
    let of_b: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with('b')).collect();
    assert_eq!(of_b, ["b: 2=3", "b: 4"], "the same key, the same partition, the same order");
    lines.sort_unstable();
    assert_eq!(lines, ["a: 1", "b: 2=3", "b: 4"]);
    home.feed(&["produce", "-t", "t", "--key-separator", "="], b"x=1\nno key\n").fails(2, &["line 2", "separator"]);
}

#[test]
fn reading_begins_where_it_is_told_and_ends_at_the_end() {
    let home = Home::with_topic("t", 1);
    for (line, time) in [("a", "100"), ("b", "200"), ("c", "300")] {
        home.feed(&["produce", "-t", "t", "--timestamp", time], line.as_bytes()).ok();
    }
    let from = |start: &str| home.run(&["consume", "-t", "t", "--from", start]).ok().text().replace('\n', "");
    assert_eq!(from("beginning"), "abc");
    assert_eq!(from("offset:1"), "bc");
    assert_eq!(from("timestamp:200"), "bc");
    assert_eq!(from("timestamp:201"), "c");
    assert_eq!(from("end"), "");
    assert_eq!(home.run(&["consume", "-t", "t", "--max", "2"]).ok().text(), "a\nb\n");
    assert_eq!(home.run(&["consume", "-t", "t", "--max", "0"]).ok().text(), "");
    home.run(&["consume", "-t", "t", "--from", "yesterday"]).fails(2, &["offset:N"]);
}

#[test]
fn one_partition_can_be_chosen_for_writing_and_reading() {
    let home = Home::with_topic("t", 3);
    home.feed(&["produce", "-t", "t", "--partition", "2"], b"x\ny\n").ok();
    assert_eq!(home.run(&["consume", "-t", "t", "-p", "2"]).ok().text(), "x\ny\n");
    assert_eq!(home.run(&["consume", "-t", "t", "-p", "1"]).ok().text(), "");
    home.run(&["consume", "-t", "t", "-p", "3"]).fails(1, &["partitions 0 to 2"]);
    home.feed(&["produce", "-t", "t", "--partition", "3"], b"x\n").fails(1, &["line 1", "partitions 0 to 2"]);
}

#[test]
fn bad_lines_end_the_command_and_say_which_they_are() {
    let home = Home::with_topic("t", 1);
    let json = |lines: &str| home.feed(&["produce", "-t", "t", "--json"], lines.as_bytes());
    json("{\"value\":\"kept\"}\n{\"valu\":1}\n{\"value\":\"never sent\"}\n").fails(2, &["line 2", "valu"]);
    json("{\"delay_ms\":1,\"visible_at_ms\":2}\n").fails(2, &["line 1", "both"]);
    let long = [b"x".repeat(2 << 20), b"\n".to_vec()].concat();
    home.feed(&["produce", "-t", "t"], &long).fails(1, &["line 1", "record_bytes_max"]);
    assert_eq!(home.run(&["consume", "-t", "t"]).ok().text(), "kept\n", "what was before the bad line is there");
    home.feed(&["produce", "-t", "t", "-o", "record_bytes_max=4194304"], &long).ok();
    assert_eq!(home.run(&["consume", "-t", "t", "--from", "offset:1"]).ok().stdout, long);
    home.feed(&["produce", "-t", "nothing"], b"x\n").fails(1, &["no topic `nothing`"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::with_topic("t", 1);
    home.feed(&["produce", "-t", "t"], &b"some line of text\n".repeat(100_000)).ok();
    let mut child = home.start(&["consume", "-t", "t"]);
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4]).unwrap();
    drop(stdout);
    let run = crate::home::Run::of(child).ok();
    assert_eq!(run.stderr, "");
    assert_eq!(home.run(&["verify"]).code, 0);
}

#[test]
fn many_records_need_little_room_in_flight() {
    let home = Home::with_topic("t", 3);
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let produced = home.feed(&["produce", "-t", "t", "--in-flight", "7", "--receipts"], lines.as_bytes()).ok();
    assert_eq!(produced.text().lines().count(), 20_000);
    let mut read: Vec<u32> =
        home.run(&["consume", "-t", "t"]).ok().text().lines().map(|line| line.parse().unwrap()).collect();
    read.sort_unstable();
    assert_eq!(read, (0..20_000).collect::<Vec<_>>());
}
