//! What a member holds, and has acknowledged and not yet told the desks: the part of it that any thread may use.
//!
//! Invariants:
//! - What is acknowledged goes to the desks in the order of the calls, with the next poll or within
//!   `ack_flush_interval_ms`.
//! - What is accepted while the member is open is told to the desks before the engine closes.

use super::MemberId;
use super::leases::{Lease, Leases};
use super::member_options::MemberOptions;
use super::partition::GroupPartition;
use super::shared::GroupShared;
use super::taken::Cause;
use crate::canary::{self, Canary};
use crate::engine::EngineInner;
use crate::sync::{Signal, lock};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The part of a member that any thread may use.
pub(crate) struct MemberShared {
    pub(super) id: MemberId,
    pub(super) signal: Signal,
    pub(super) options: MemberOptions,
    pub(super) state: Mutex<State>,
    /// Held while the desks are told: whoever flushes knows that all acknowledgements before are with their lanes.
    pub(super) flushing: Mutex<()>,
    pub(super) closed: AtomicBool,
}

/// What was acknowledged of a partition, after so many resets of it.
pub(super) struct Acked {
    partition: u32,
    resets: u64,
    offsets: Range<u64>,
}

/// A lease that has ended, and under which count of resets.
pub(super) struct Ended {
    pub(super) resets: u64,
    pub(super) lease: Lease,
}

impl Ended {
    /// To be asked for while the state is locked in which the lease was: no reset comes in between.
    pub(super) fn now(group: &GroupShared, lease: Lease) -> Ended {
        Ended { resets: group.partitions[lease.partition as usize].resets(), lease }
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) leases: Leases,
    /// Acknowledged, and not told to the desks.
    pub(super) acked: Vec<Acked>,
    pub(super) acked_records: u64,
    /// Its poll waits for something to be acknowledged.
    pub(super) waits_for_room: bool,
    /// It asks for tokens: what it acknowledges goes to the desks at once, so that they are known to others.
    pub(super) uses_inbox: bool,
}

impl State {
    pub(super) fn push_acked(&mut self, partition: u32, resets: u64, offsets: Range<u64>) {
        self.acked_records += offsets.end - offsets.start;
        match self.acked.last_mut() {
            Some(last) if (last.partition, last.resets, last.offsets.end) == (partition, resets, offsets.start) => {
                last.offsets.end = offsets.end;
            }
            _ => self.acked.push(Acked { partition, resets, offsets }),
        }
    }
}

impl MemberShared {
    pub(super) fn new(id: MemberId, options: MemberOptions) -> MemberShared {
        let (signal, closed) = (Signal::default(), AtomicBool::new(false));
        MemberShared { id, signal, options, state: Mutex::default(), flushing: Mutex::default(), closed }
    }

    /// Tells the desks what was acknowledged.
    pub(super) fn flush(&self, group: &GroupShared) {
        let flushing = lock(&self.flushing);
        let mut acked = {
            let mut state = lock(&self.state);
            state.acked_records = 0;
            std::mem::take(&mut state.acked)
        };
        if acked.is_empty() {
            return;
        }
        acked.sort_by_key(|acked| (acked.partition, acked.resets, acked.offsets.start));
        let is_like = |one: &Acked, other: &Acked| (one.partition, one.resets) == (other.partition, other.resets);
        for like in acked.chunk_by(is_like) {
            let ranges = like.iter().map(|acked| acked.offsets.clone());
            group.partitions[like[0].partition as usize].finish(like[0].resets, ranges);
        }
        drop(flushing);
        // There is room for more, or the next owner may have its turn.
        group.arrivals.notify();
    }

    /// Before the engine closes: everything acknowledged so far goes to the desks, and nothing is any more.
    pub(super) fn close(&self, group: &GroupShared) {
        {
            let _state = lock(&self.state);
            self.closed.store(true, Ordering::Release);
        }
        self.flush(group);
    }

    /// Ends the leases that have run out.
    pub(super) fn expire(&self, group: &GroupShared, engine: &EngineInner) {
        let expired: Vec<_> = {
            let mut state = lock(&self.state);
            let expired = state.leases.expire(lease_clock_ms(engine));
            if canary::sings(Canary::TwoLeases) {
                expired.iter().for_each(|lease| state.leases.hold(Lease { until_ms: i64::MAX, ..lease.clone() }));
            }
            expired.into_iter().map(|lease| Ended::now(group, lease)).collect()
        };
        if !expired.is_empty() {
            // There is room for more.
            self.signal.notify();
            group.end_all(engine, expired, Cause::LeaseEnded);
        }
    }

    /// Holds what was taken under this count of resets; says whether it still counts.
    pub(super) fn hold(&self, partition: &GroupPartition, resets: u64, lease: Lease) -> bool {
        let mut state = lock(&self.state);
        let counts = partition.resets() == resets;
        if counts {
            state.leases.hold(lease);
        }
        counts
    }

    /// Takes away what it holds of a partition, whose group begins elsewhere now.
    pub(super) fn take_back(&self, partition: u32) {
        let mut state = lock(&self.state);
        state.leases.take_back(partition, 0..u64::MAX);
        state.acked.retain(|acked| acked.partition != partition);
    }
}

/// The clock that leases go by: it does not jump.
pub(super) fn lease_clock_ms(engine: &EngineInner) -> i64 {
    (engine.clock.monotonic_ns() / 1_000_000) as i64
}
