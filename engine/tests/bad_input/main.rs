//! Bad input: each ends in a typed error whose message says what to do; nothing panics, nothing hangs, and
//! what is refused leaves no trace.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod arguments;
mod closed;
mod directories;
mod limits;
mod processes;
mod versions;

/// Runs what the parent ordered; see [`common::child`].
#[test]
#[ignore = "a child of the other tests"]
fn child() {
    let Some((word, argument)) = common::child::order() else { return };
    let path = std::path::Path::new(&argument);
    match word.as_str() {
        "hold" => processes::hold(path),
        "fork" => processes::fork(path),
        "nobody" => directories::nobody(path),
        "read-only" => directories::read_only(path),
        other => panic!("no such order: {other}"),
    }
}
