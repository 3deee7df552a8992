//! The real engine on a device that records every write and flush, and on one that fails once.
//!
//! Where it cannot run (no root, no FUSE, no loop devices, no qemu) each test says so on standard error, past
//! the test runner, and shows nothing. With `RINGLANE_BLOCKLOG=required` that is a failure.
//!
//! `RINGLANE_BLOCKLOG_CUTS` sets the cuts of each file system (default 40), `RINGLANE_BLOCKLOG_SEED` the work.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Output};

/// The exit code of what cannot be shown on this machine.
const CANNOT: i32 = 3;

/// Runs a sub-command. `None`: it cannot run here, which is said.
fn proof(arguments: &[&str]) -> Option<Output> {
    let output = Command::new(env!("CARGO_BIN_EXE_ringlane-proof")).args(arguments).output().unwrap();
    if output.status.code() != Some(CANNOT) {
        return Some(output);
    }
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(std::env::var("RINGLANE_BLOCKLOG").as_deref() != Ok("required"), "{why}");
    // The runner hides what a test prints that is well; this must be seen.
    let said = format!("did not run: ringlane-proof {}: {why}", arguments[0]);
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    None
}

fn of(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn figures(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

/// The number before a word of the figures.
fn before(figures: &str, words: &str) -> u64 {
    figures.split_once(words).unwrap().0.rsplit([' ', '(']).next().unwrap().parse().unwrap()
}

#[test]
fn what_was_acknowledged_is_there_after_every_cut() {
    let (cuts, seed) = (of("RINGLANE_BLOCKLOG_CUTS", "40"), of("RINGLANE_BLOCKLOG_SEED", "1"));
    let Some(output) = proof(&["blocklog", "--cuts", &cuts, "--seed", &seed]) else { return };
    let figures = figures(&output);
    assert!(output.status.success(), "{}\n{figures}", String::from_utf8_lossy(&output.stderr));
    println!("{figures}");
    let done = before(&figures, " cuts at flushes") + before(&figures, " torn");
    assert!(done >= cuts.parse().unwrap(), "{figures}");
    assert!(before(&figures, " with copies") > 0, "the cleaner did nothing: {figures}");
    assert!(before(&figures, " acknowledgements looked for") > 1_000, "hardly anything was acknowledged: {figures}");
}

#[test]
fn an_engine_on_a_device_that_fails_tells_and_loses_nothing() {
    let Some(output) = proof(&["error-device", "--rounds", "1", "--cuts", "8"]) else { return };
    let figures = figures(&output);
    assert!(output.status.success(), "{}\n{figures}", String::from_utf8_lossy(&output.stderr));
    println!("{figures}");
    assert!(before(&figures, " reached the engine") > 0, "{figures}");
}

/// It can fail: a child that takes a record for acknowledged when it was only handed over is caught.
#[test]
fn receipts_that_come_too_early_are_caught() {
    lie_is_caught("receipts");
}

/// It can fail: a device that does not carry out every flush, as an engine that forgets one would have it.
#[test]
fn flushes_that_are_not_carried_out_are_caught() {
    lie_is_caught("flushes");
}

fn lie_is_caught(lie: &str) {
    let arguments = ["blocklog", "--file-system", "ext4", "--children", "2", "--cuts", "200", "--lie", lie];
    let Some(output) = proof(&arguments) else { return };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(" anomalies:"), "{said}");
    assert!(figures(&output).ends_with("1 failures"), "{output:?}");
}

/// A run that a signal ends unmounts what it mounted and leaves nothing behind.
#[test]
fn a_signal_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().to_str().unwrap();
    if proof(&["blocklog", "--file-system", "ext4", "--children", "1", "--cuts", "1", "--scratch", path]).is_none() {
        return;
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    let mut process = Command::new(env!("CARGO_BIN_EXE_ringlane-proof"))
        .args(["blocklog", "--file-system", "ext4", "--scratch", path])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It has begun when its folder is there.
    while std::fs::read_dir(scratch.path()).unwrap().count() == 0 {
        assert!(process.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // SAFETY: a signal to a child that nobody has waited for yet.
    unsafe { libc::kill(process.id() as libc::pid_t, libc::SIGTERM) };
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped by a signal"), "{output:?}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the folder was left");
}

/// The engine itself with a fault on purpose. Without the feature `canaries` there is none to give it.
#[cfg(feature = "canaries")]
#[test]
fn an_engine_that_skips_flushes_or_acknowledges_early_or_ignores_errors_is_caught() {
    for arguments in [
        ["blocklog", "--file-system", "ext4", "--cuts", "100", "--canary", "skip-flush"],
        ["blocklog", "--file-system", "ext4", "--cuts", "100", "--canary", "acknowledge-early"],
        ["error-device", "--file-system", "ext4", "--rounds", "20", "--canary", "ignore-failure"],
    ] {
        let Some(output) = proof(&arguments) else { return };
        assert!(output.status.success(), "{output:?}");
        assert!(figures(&output).contains(" caught, "), "{output:?}");
    }
}
