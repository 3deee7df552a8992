//! Killing the process again and again, on the real ring: what was acknowledged is there, once, for ever.
//!
//! `RINGLANE_KILL_ROUNDS` sets the rounds (default 24, all backends together), `RINGLANE_KILL_SEED` the moments.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn kill(arguments: &[&str]) -> (Output, tempfile::TempDir) {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringlane-proof"))
        .args(["kill", "--scratch", scratch.path().to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap();
    (output, scratch)
}

/// The number before a word.
fn of_figures(figures: &str, word: &str) -> u64 {
    figures.split_once(word).unwrap().0.rsplit([' ', '(']).next().unwrap().parse().unwrap()
}

#[test]
fn killed_again_and_again_nothing_acknowledged_is_lost() {
    let of = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let (rounds, seed) = (of("RINGLANE_KILL_ROUNDS", "24"), of("RINGLANE_KILL_SEED", "20261123"));
    let (output, scratch) = kill(&["--rounds", &rounds, "--seed", &seed]);
    let figures = String::from_utf8(output.stdout.clone()).unwrap();
    if !output.status.success() {
        let kept = scratch.keep();
        panic!("kept in {}: {}\n{figures}", kept.display(), String::from_utf8_lossy(&output.stderr));
    }
    println!("{figures}");
    assert!(figures.starts_with(&format!("kill: {rounds} kills (")), "{figures}");
    let acknowledged = of_figures(&figures, " acknowledged");
    let rounds: u64 = rounds.parse().unwrap();
    assert!(acknowledged > rounds, "the children hardly got to send: {figures}");
    let logs = of_figures(&figures, " logs");
    assert_eq!(of_figures(&figures, " with nothing left"), 2 * logs, "{figures}");
    assert!(of_figures(&figures, " finished") > rounds, "the members hardly got to work: {figures}");
}

fn is_caught(lie: &str) -> String {
    let (output, _scratch) = kill(&["--rounds", "30", "--lie", lie]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("anomalies:") && said.contains("judge again with: ringlane-proof check"), "{said}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.lines().last().unwrap().ends_with("1 failures"), "{stdout}");
    said
}

/// The loop can fail: children that call a buffered record synced are caught.
#[test]
fn children_that_lie_about_durability_are_caught() {
    is_caught("receipts");
}

/// And members that say of a flush that it is done, and have not asked for it.
#[test]
fn members_that_lie_about_their_flushes_are_caught() {
    let said = is_caught("flushes");
    assert!(said.contains("delivered-after-acknowledgement"), "{said}");
}
