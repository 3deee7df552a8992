//! The soak for some seconds: kills, lane changes, retention, readers of all kinds, another process; and each of its
//! checks finds the fault that it is there for.
//!
//! `RINGLANE_SOAK_SECONDS` sets how long (default 10), `RINGLANE_SOAK_SEED` the moments.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

/// The least that four lanes need, and a rate that fills it some times over.
const DISK_BYTES_MAX: u64 = 160 << 20;
const BYTES_PER_SECOND: u64 = 30_000_000;

fn soak(scratch: &Path, seconds: u64, arguments: &[&str]) -> Output {
    let minutes = seconds as f64 / 60.0;
    Command::new(env!("CARGO_BIN_EXE_ringlane-proof"))
        .args(["soak", "--minutes", &minutes.to_string()])
        .args(["--disk-bytes-max", &DISK_BYTES_MAX.to_string(), "--rate", &BYTES_PER_SECOND.to_string()])
        .args(["--directory", scratch.join("log").to_str().unwrap()])
        .args(["--output", scratch.join("soak").to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap()
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A number of the last line.
fn figure(line: &str, name: &str) -> u64 {
    line.split_once(&format!(" {name}")).unwrap().0.rsplit([' ', '(']).next().unwrap().parse().unwrap()
}

#[test]
fn nothing_is_lost_given_up_too_early_or_kept_beyond_the_bound() {
    let of = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let seed = of("RINGLANE_SOAK_SEED", "20261128");
    let scratch = scratch();
    let output = soak(scratch.path(), of("RINGLANE_SOAK_SECONDS", "10").parse().unwrap(), &["--seed", &seed]);
    let line = String::from_utf8(output.stdout.clone()).unwrap();
    if !output.status.success() {
        let kept = scratch.keep();
        panic!("kept in {}: {}\n{line}", kept.display(), String::from_utf8_lossy(&output.stderr));
    }
    println!("{line}");
    for name in ["records,", "read (", "outside)", "kills", "delayed"] {
        assert!(figure(&line, name) > 0, "{name}: {line}");
    }
    let samples = scratch.path().join("soak.jsonl");
    let picture = std::fs::read_to_string(scratch.path().join("soak.svg")).unwrap();
    assert!(picture.contains("</svg>"));
    let summary = std::fs::read_to_string(scratch.path().join("soak.json")).unwrap();
    assert!(summary.contains("\"times_the_bound\""), "{summary}");

    // The picture can be drawn again.
    let again = Command::new(env!("CARGO_BIN_EXE_ringlane-proof"))
        .args(["soak", "--draw", samples.to_str().unwrap(), "--output", scratch.path().join("again").to_str().unwrap()])
        .output()
        .unwrap();
    assert!(again.status.success(), "{again:?}");
    assert_eq!(std::fs::read_to_string(scratch.path().join("again.svg")).unwrap(), picture);
}

/// Each check can fail. What is found ends the run.
#[test]
fn faults_on_purpose_are_found() {
    for (lie, found) in [
        ("drop-read", "skipped-poll"),
        ("acknowledge", "unexpected|nonmonotonic-send|inconsistent-offset|lost-write"),
        ("delete-forever", "unasked-truncation"),
        ("due-later", "early-read"),
        ("disk-bound", "disk bound"),
        ("kept-time", "unasked-truncation"),
        ("kept-bytes", "unasked-truncation"),
    ] {
        let scratch = scratch();
        // Long enough for whatever it takes; it ends with the first finding.
        let output = soak(scratch.path(), 120, &["--lie", lie]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{lie}: {said}");
        assert!(found.split('|').any(|found| said.contains(&format!("error: {found}"))), "{lie}: {said}");
    }
}
