//! The thread that turns a lane.
//!
//! Invariants: it blocks all signals; a panic in it poisons the engine and answers everybody who waits.

use super::lane::{Lane, LaneParts};
use crate::error::{Error, Result};
use crate::io::{IoFailure, Storage};
use crate::sync::thread::{self, Thread};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Starts a lane. Its ring is made on its own thread, as io_uring's single issuer wants.
pub(crate) fn spawn(parts: LaneParts, storage: Arc<dyn Storage>, core: Option<usize>, nice: i32) -> Result<Thread> {
    let name = format!("ringlane-lane-{}", parts.shared.lane);
    let failed = |error: &std::io::Error| Error::io("start", "a lane's thread", None, error);
    let shared = parts.shared.clone();
    let settle = move || {
        sharpen_timers();
        shared.counters.nice.store(set_nice(nice), Ordering::Relaxed);
        if let Some(core) = core {
            pin(core);
        }
    };
    thread::spawn_settled(&name, settle, move || run(parts, &*storage)).map_err(|error| failed(&error))
}

fn run(parts: LaneParts, storage: &dyn Storage) {
    let shared = parts.shared.clone();
    let peers = parts.peers.clone();
    let mut lane = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let ring = match storage.ring() {
            Ok(ring) => ring,
            Err(error) => {
                shared.latch.poison(IoFailure::new("set up", "the ring", None, &error));
                return;
            }
        };
        shared.set_waker(ring.waker());
        let lane = lane.insert(Lane::new(parts, ring));
        while lane.turn() {}
    }));
    if let Err(panic) = result {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        let error = std::io::Error::other(format!("a bug in Ringlane: {message}"));
        shared.latch.poison(IoFailure::new("turn", "a lane", None, &error));
        for peer in &peers {
            peer.nudge();
        }
        // What even this leaves open is answered when the lane is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| lane.as_mut().map(Lane::abandon)));
    }
    drop(lane);
    shared.end();
}

/// Lanes wait for tens of microseconds; the default slack of 50 us would double that.
fn sharpen_timers() {
    // SAFETY: changes only this thread's timer slack.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong);
    }
}

/// Asks for a niceness and returns the one that this thread then has. A refusal is no error: the lane
/// only waits longer for a busy core.
///
/// Among equals the scheduler lets a thread that ran a little more than its share wait for the next tick,
/// 4 ms on most machines, and a lane that wakes three times for each record meets that again and again.
/// Asking for shorter slices (`sched_setattr`, Linux 6.12) was measured and changed nothing.
fn set_nice(nice: i32) -> i32 {
    // SAFETY: both calls name this thread alone and pass no memory.
    unsafe {
        if nice != 0 {
            libc::setpriority(libc::PRIO_PROCESS, 0, nice);
        }
        libc::getpriority(libc::PRIO_PROCESS, 0)
    }
}

/// The cores this process may use.
pub(crate) fn usable_cores() -> Vec<usize> {
    // SAFETY: the set is plain memory that the call fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect()
    }
}

fn pin(core: usize) {
    // SAFETY: the set is plain memory; a refusal leaves the thread unpinned, which is only slower.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}
