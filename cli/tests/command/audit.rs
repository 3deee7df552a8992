//! Audits as users run them: what is printed, and the exit codes, here and where another process has the engine open.

use crate::damage::find;
use crate::home::Home;
use serde_json::json;
use std::path::Path;

fn damage(path: &Path, at: usize) {
    let mut content = std::fs::read(path).expect("a file");
    content[at] ^= 1;
    std::fs::write(path, content).expect("it is changed");
}

#[test]
fn an_audit_tells_what_is_there_and_what_is_lost() {
    let home = Home::with_topic("t", 1);
    home.run(&["topic", "create", "other"]).ok();
    home.run(&["group", "create", "g", "--topic", "t:beginning"]).ok();
    home.feed(&["produce", "-t", "t"], b"one\nan unmistakable value\nthree\n").ok();
    home.feed(&["produce", "-t", "t", "--delay", "1d"], b"later\n").ok();
    home.feed(&["produce", "-t", "other"], b"x\n").ok();
    home.run(&["topic", "delete-records", "t", "-p", "0", "--before", "1"]).ok();
    let whole = home.run(&["audit"]).ok();
    let row = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let rows: Vec<_> = whole.text().lines().map(row).collect();
    assert!(rows.contains(&"t 0 (without a name) 4 2 1 0 1 0".to_owned()), "{rows:?}");
    assert!(rows.contains(&"other 0 (without a name) 1 1 0 0 0 0".to_owned()), "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("t 0 g 1 2 0 0")), "{rows:?}");
    assert!(rows.last().unwrap().starts_with("nothing is lost: 5 acknowledged"), "{rows:?}");
    let report = &home.run(&["audit", "--topic", "t", "--json"]).ok().json()[0];
    let partition = &report["partitions"][0];
    assert_eq!(report["partitions"].as_array().unwrap().len(), 1);
    assert_eq!((&partition["topic"], &partition["numbers"]["acknowledged"]), (&json!("t"), &json!(4)));
    assert_eq!((&partition["producers"][0]["pending"], &partition["groups"][0]["unfinished"]), (&json!(1), &json!(2)));
    home.run(&["audit", "--topic", "nothing"]).fails(1, &["no topic `nothing`"]);
    home.run(&["audit", "--topic"]).fails(2, &["--topic"]);

    // The process that has it open says what it acknowledged, and what it has still in memory is lost in the files.
    let (path, at) = find(&home, b"unmistakable");
    let application = home.application();
    let held = home.run(&["audit"]).ok();
    assert_eq!(held.text(), whole.text());
    assert!(held.stderr.contains("which has the engine open"), "{}", held.stderr);
    damage(&path, at);
    let lost = home.run(&["audit", "--json"]);
    let partition =
        lost.json()[0]["partitions"].as_array().unwrap().iter().find(|of| of["topic"] == "t").unwrap().clone();
    assert!(partition["producers"][0]["corrupt"].as_u64().unwrap() >= 1, "{partition}");
    assert_eq!(partition["producers"][0]["lost"][0]["reason"], json!("corrupt"));
    lost.fails(1, &["lost", "ringlane verify"]);
    let text = home.run(&["audit", "-t", "t"]);
    assert!(text.text().contains("LOST: 4 acknowledged"), "{}", text.text());
    assert!(text.text().contains("t-0, producers without a name lost"), "{}", text.text());
    assert_eq!(text.code, 1);
    application.close().unwrap();
}
