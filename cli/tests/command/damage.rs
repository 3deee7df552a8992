//! Inspecting, verifying, and what happens when something is damaged.

use crate::home::Home;
use std::path::PathBuf;

/// The segment file that holds `needle`, and where.
pub fn find(home: &Home, needle: &[u8]) -> (PathBuf, usize) {
    for entry in std::fs::read_dir(home.engine()).expect("the directory") {
        let path = entry.expect("an entry").path();
        let content = std::fs::read(&path).expect("a file");
        if let Some(at) = content.windows(needle.len()).position(|window| window == needle) {
            return (path, at);
        }
    }
    panic!("no file holds it");
}

#[test]
fn a_whole_directory_is_shown_and_verified() {
    let home = Home::with_topic("t", 2);
    home.feed(&["produce", "-t", "t"], b"a\nb\nc\n").ok();
    let inspection = &home.run(&["inspect", "--json"]).ok().json()[0];
    assert_eq!(inspection["manifest"]["lanes"], 1);
    let (path, _) = find(&home, b"c");
    let segments: Vec<&str> =
        inspection["segments"].as_array().unwrap().iter().map(|segment| segment["file"].as_str().unwrap()).collect();
    assert!(!segments.is_empty(), "{path:?}");
    assert!(home.run(&["inspect"]).ok().text().contains("manifest.engine_id"));

    let mut records = 0;
    for segment in &segments {
        for frame in home.run(&["inspect", segment, "--json"]).ok().json() {
            if frame["kind"] == "records" {
                records += frame["count"].as_u64().unwrap();
            }
        }
        home.run(&["inspect", segment]).ok();
        assert!(home.run(&["inspect", segment, "--json", "--max", "1"]).ok().json().len() <= 1);
    }
    assert_eq!(records, 3);
    home.run(&["inspect", "nothing"]).fails(1, &["nothing"]);

    let report = &home.run(&["verify", "--json"]).ok().json()[0];
    assert_eq!(report["records"], 3);
    assert!(home.run(&["verify"]).ok().text().contains("no damage"));
}

#[test]
fn damage_is_found_shown_and_never_passed_over() {
    let home = Home::with_topic("t", 1);
    home.feed(&["produce", "-t", "t"], b"first\nan unmistakable value\nlast\n").ok();
    // Opened again, so that the log has gone on after the place that is damaged below.
    home.feed(&["produce", "-t", "t"], b"more\n").ok();
    let (path, at) = find(&home, b"unmistakable");
    let mut content = std::fs::read(&path).unwrap();
    content[at] ^= 1;
    std::fs::write(&path, content).unwrap();

    let verify = home.run(&["verify", "--json"]);
    let report = &verify.json()[0];
    assert_eq!(report["findings"][0]["severity"], "damage");
    assert_eq!(report["findings"][0]["file"], path.file_name().unwrap().to_str().unwrap());
    verify.fails(1, &["damaged"]);
    let text = home.run(&["verify"]);
    assert!(text.text().contains("DAMAGED"), "{}", text.text());
    assert_eq!(text.code, 1);

    let consumed = home.run(&["consume", "-t", "t"]);
    assert_eq!(consumed.code, 1, "the damaged record is an error: {consumed:?}");
    assert!(!consumed.text().contains("unmistakable"));

    let salvaged = home.run(&["consume", "-t", "t", "-o", "recovery=salvage"]);
    assert!(!salvaged.text().contains("unmistakable"));
    assert!(salvaged.stderr.contains("warning: partition 0: offsets 0 to "), "{}", salvaged.stderr);
    salvaged.fails(1, &["records could not be read"]);
    let refused = home.feed(&["produce", "-t", "t", "-o", "recovery=salvage"], b"x\n");
    refused.fails(1, &["only be read"]);
}
