//! Repairing as users do it: what is printed, and the exit codes.

use crate::home::Home;
use serde_json::json;

#[test]
fn a_whole_directory_is_copied_and_a_damaged_one_is_reported() {
    let home = Home::with_topic("t", 1);
    home.feed(&["produce", "-t", "t"], b"one\ntwo\nan unmistakable value\nfour\n").ok();
    // Opened again, so that the log has gone on after the place that is damaged below.
    home.feed(&["produce", "-t", "t"], b"five\n").ok();
    let whole = home.run(&["repair", "--to", "whole"]).ok();
    assert_eq!(whole.text(), "5 records and 0 delayed ones of 1 topics are in whole\n");
    let read = home.run(&["consume", "-t", "t", "--dir", "whole"]).ok();
    assert_eq!(read.text(), "one\ntwo\nan unmistakable value\nfour\nfive\n");

    let (path, at) = crate::damage::find(&home, b"unmistakable");
    let mut content = std::fs::read(&path).unwrap();
    content[at] ^= 1;
    std::fs::write(&path, &content).unwrap();
    let run = home.run(&["repair", "--to", "repaired", "--json"]);
    let report = &run.json()[0];
    // The records of one `produce` share a frame, and with it its fate.
    let lost = &report["lost"][0];
    assert_eq!((&lost["topic"], &lost["partition"]), (&json!("t"), &json!(0)));
    assert!(lost["first"].as_u64().unwrap() <= 2 && lost["last"].as_u64().unwrap() >= 2, "{report}");
    assert_eq!(report["findings"][0]["severity"], "damage");
    run.fails(1, &["lost", "keep"]);
    assert_eq!(std::fs::read(&path).unwrap(), content, "it is only read");
    let read = home.run(&["consume", "-t", "t", "--dir", "repaired", "--json"]).ok().json();
    let last = read.last().unwrap();
    assert_eq!((&last["value"], &last["offset"]), (&json!("five"), &json!(4)), "offsets behind the hole stay");
    assert_eq!(read.len() as u64, report["records"].as_u64().unwrap());

    let text = home.run(&["repair", "--to", "again"]);
    for part in ["what is wrong with the files", "lost offsets"] {
        assert!(text.text().contains(part), "{}", text.text());
    }
    home.run(&["repair", "--to", "again"]).fails(1, &["not empty"]);
    home.run(&["repair"]).fails(2, &["--to"]);
}
