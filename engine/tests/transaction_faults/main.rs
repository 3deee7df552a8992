//! What befalls transactions: calls that come at the wrong time or a second time, checkers that fail, lie and come late,
//! leases that are lost, a full disk, a device that fails in the middle of a commit, and the ends of processes.
//!
//! Many of these are stories of another system, RocketMQ, as its tracker tells them. The number is that of the issue.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod acknowledgements;
mod checking;
mod deciding;
mod device;
mod full_disk;
mod processes;

use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
/// Long enough for what must not happen.
const A_WHILE: Duration = Duration::from_millis(100);

/// Runs what the parent ordered; see [`common::child`].
#[test]
#[ignore = "a child of the other tests"]
fn child() {
    let Some((word, argument)) = common::child::order() else { return };
    assert_eq!(word, "fork");
    processes::fork(Path::new(&argument));
}
