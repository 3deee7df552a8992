//! Segments handed from the keeper to a lane, and full ones handed back.
//!
//! Invariants:
//! - What stands here is in the manifest, durable, and has its header page.
//! - Bases ascend; the lane takes from the front.
//! - While the keeper writes zeros into a segment it is `busy`, and the lane cannot take it: zeros must
//!   never land on a frame.

use crate::io::File;
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use crate::sync::{Signal, lock};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A segment that is ready to be written.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) manifest: ManifestSegment,
    pub(crate) file: Arc<dyn File>,
    /// Blocks below this offset hold written extents.
    pub(crate) written_bytes: u64,
    pub(crate) busy: bool,
}

impl Prepared {
    /// Whether every block can be overwritten in place.
    pub(crate) fn is_written(&self) -> bool {
        self.written_bytes >= self.manifest.bytes
    }
}

/// A segment that the lane has left.
pub(crate) struct Full {
    pub(crate) manifest: ManifestSegment,
    /// Right behind the End frame.
    pub(crate) end: Position,
    /// Where the log goes on; when that is durable, so is the whole segment.
    pub(crate) next: Position,
    /// Frames that withhold records, by slot.
    pub(crate) withheld: BTreeMap<u32, u32>,
    /// Whether the partitions have its runs in memory; if not, its index is made from its frames.
    pub(crate) resident: bool,
}

/// What the lane gets when it asks for a segment.
pub(crate) enum Supplied {
    Segment(Prepared),
    /// The keeper is at it and will wake the lane.
    Wait,
    /// The disk is full.
    NoSpace {
        needed_bytes: u64,
        free_bytes: u64,
    },
}

#[derive(Default)]
pub(crate) struct SupplyState {
    pub(crate) ready: VecDeque<Prepared>,
    /// Too small for what must go in; to be used otherwise.
    pub(crate) rejected: Vec<Prepared>,
    full: VecDeque<Full>,
    /// How many of the full ones the keeper was told are durable.
    announced: usize,
    /// Bytes the next segment must have at least.
    pub(crate) bytes_min: u64,
    pub(crate) no_space: Option<(u64, u64)>,
    /// The lane waits for a segment.
    pub(crate) starving: bool,
    /// When the lane took its last segments, monotonic ns, and how many bytes they had: its speed.
    pub(crate) taken: VecDeque<(u64, u64)>,
}

/// See the module.
pub(crate) struct SegmentSupply {
    pub(crate) state: Mutex<SupplyState>,
    /// Moves when the keeper has something to do.
    keeper: Arc<Signal>,
    is_full: AtomicBool,
    /// A full segment waits to become durable; only the lane writes this.
    full_waits: AtomicBool,
}

impl SegmentSupply {
    pub(crate) fn new(keeper: Arc<Signal>) -> SegmentSupply {
        SegmentSupply {
            state: Mutex::new(SupplyState::default()),
            keeper,
            is_full: AtomicBool::new(false),
            full_waits: AtomicBool::new(false),
        }
    }

    /// For the lane: the next segment, of at least `bytes_min`. `reserve` segments are left alone while
    /// the disk is full.
    pub(crate) fn take(&self, bytes_min: u64, reserve: usize, now_ns: u64) -> Supplied {
        let mut state = lock(&self.state);
        if state.ready.front().is_some_and(|front| front.manifest.bytes < bytes_min) {
            // All of them go back: the positions they would have had are given to a larger one.
            state.bytes_min = state.bytes_min.max(bytes_min);
            if !state.ready.iter().any(|prepared| prepared.busy) {
                let small: Vec<_> = state.ready.drain(..).collect();
                state.rejected.extend(small);
            }
        }
        if let Some((needed_bytes, free_bytes)) = state.no_space
            && state.ready.len() <= reserve
        {
            return Supplied::NoSpace { needed_bytes, free_bytes };
        }
        match state.ready.front() {
            Some(front) if !front.busy => {
                let segment = state.ready.pop_front().expect("looked at it");
                state.starving = false;
                state.taken.push_back((now_ns, segment.manifest.bytes));
                if state.taken.len() > 4 {
                    state.taken.pop_front();
                }
                drop(state);
                self.keeper.notify();
                Supplied::Segment(segment)
            }
            _ => {
                state.starving = true;
                drop(state);
                self.keeper.notify();
                Supplied::Wait
            }
        }
    }

    /// For the lane: it has left a segment.
    pub(crate) fn put_full(&self, full: Full) {
        lock(&self.state).full.push_back(full);
        self.full_waits.store(true, Ordering::Relaxed);
    }

    /// For the lane: the durable prefix has grown; the keeper may seal what lies below it.
    pub(crate) fn note_durable(&self, durable: Position) {
        if !self.full_waits.load(Ordering::Relaxed) {
            return;
        }
        let mut state = lock(&self.state);
        let durable_count = state.full.iter().take_while(|full| full.next <= durable).count();
        self.full_waits.store(durable_count < state.full.len(), Ordering::Relaxed);
        if durable_count > state.announced {
            state.announced = durable_count;
            drop(state);
            self.keeper.notify();
        }
    }

    /// For the keeper: the oldest full segment, if it is durable.
    pub(crate) fn take_full(&self, durable: Position) -> Option<Full> {
        let mut state = lock(&self.state);
        if state.full.front()?.next > durable {
            return None;
        }
        state.announced = state.announced.saturating_sub(1);
        state.full.pop_front()
    }

    /// Lets go of all segments: the engine is closed.
    pub(crate) fn clear(&self) {
        *lock(&self.state) = SupplyState::default();
    }

    /// Notes whether the disk is full, for statistics and quick checks.
    pub(crate) fn set_no_space(&self, no_space: Option<(u64, u64)>) {
        lock(&self.state).no_space = no_space;
        self.is_full.store(no_space.is_some(), Ordering::Release);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }
}
