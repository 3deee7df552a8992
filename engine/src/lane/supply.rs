//! Segments handed from the keeper to a lane, and full ones handed back.
//!
//! Invariants:
//! - What stands here is in the manifest, durable, and has its header page.
//! - Bases ascend; the lane takes from the front.
//! - A segment of the reserve stands here only while the disk is full and bookkeeping has asked for one.
//! - While the keeper writes zeros into a segment it is `busy`, and the lane cannot take it: zeros must
//!   never land on a frame.

use crate::error::{Error, Result};
use crate::io::File;
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use crate::reserve::{self, Level, TURNOVER};
use crate::sync::{Signal, lock};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A segment that is ready to be written.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) manifest: ManifestSegment,
    pub(crate) file: Arc<dyn File>,
    /// Blocks below this offset hold written extents.
    pub(crate) written_bytes: u64,
    pub(crate) busy: bool,
    /// It came out of the reserve: not for producers while the disk is full.
    pub(crate) reserved: bool,
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
    /// No record in it was appended later.
    pub(crate) last_append_ms: i64,
}

/// What a lane writes a frame for; on a full disk that decides whether it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Records that a producer sent.
    Records,
    /// Withheld records become visible.
    Publication,
    /// What later checkpoints say as well: topics, deletions, cancelling, marks.
    Bookkeeping,
}

impl Purpose {
    /// How many segments of the reserve it leaves alone.
    fn leaves(self) -> usize {
        match self {
            Purpose::Records => usize::MAX,
            Purpose::Publication => TURNOVER,
            Purpose::Bookkeeping => 0,
        }
    }
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
    /// Old records are on their way out: producers wait instead of being refused.
    passes: bool,
    /// The lane waits for a segment.
    pub(crate) starving: bool,
    /// Bookkeeping waits for a segment of at least so many bytes, if need be out of the reserve.
    pub(crate) reserve_asked: Option<u64>,
    /// The lane waits for a larger reserve, or until it may use the one there is.
    pub(crate) reserve_awaited: bool,
    /// The checkpoint that the reserve must have room for, in bytes.
    pub(crate) state_bytes: u64,
    /// When the lane took its last segments, monotonic ns, and how many bytes they had: its speed.
    pub(crate) taken: VecDeque<(u64, u64)>,
}

/// See the module.
pub(crate) struct SegmentSupply {
    pub(crate) state: Mutex<SupplyState>,
    /// Moves when the keeper has something to do.
    keeper: Arc<Signal>,
    is_full: AtomicBool,
    /// The reserve, as the keeper last saw it.
    reserve_segments: AtomicUsize,
    /// The size of its segments, also while all of them are in use.
    reserve_bytes: AtomicU64,
    /// A full segment waits to become durable; only the lane writes this.
    full_waits: AtomicBool,
    /// Records were given up: there may be dead segments.
    truncated: AtomicBool,
}

impl SegmentSupply {
    pub(crate) fn new(keeper: Arc<Signal>) -> SegmentSupply {
        SegmentSupply {
            state: Mutex::new(SupplyState::default()),
            keeper,
            is_full: AtomicBool::new(false),
            reserve_segments: AtomicUsize::new(0),
            reserve_bytes: AtomicU64::new(0),
            full_waits: AtomicBool::new(false),
            truncated: AtomicBool::new(false),
        }
    }

    /// For the lane: the next segment, of at least `bytes_min`.
    pub(crate) fn take(&self, bytes_min: u64, purpose: Purpose, now_ns: u64) -> Supplied {
        let mut state = lock(&self.state);
        if state.ready.front().is_some_and(|front| front.manifest.bytes < bytes_min) {
            // All of them go back: the positions they would have had are given to a larger one.
            state.bytes_min = state.bytes_min.max(bytes_min);
            if !state.ready.iter().any(|prepared| prepared.busy) {
                let small: Vec<_> = state.ready.drain(..).collect();
                state.rejected.extend(small);
            }
        }
        let front_is_reserved = state.ready.front().is_some_and(|front| front.reserved);
        if let Some((needed_bytes, free_bytes)) = state.no_space {
            let refused = match state.ready.is_empty() {
                true => !self.may_take_reserve(purpose, bytes_min),
                false => front_is_reserved && !self.may_use_reserve(purpose),
            };
            if refused {
                return match state.passes {
                    // The keeper knows, and has answered: it looks again when there is news, or in a while.
                    true if state.starving && state.rejected.is_empty() => Supplied::Wait,
                    true => self.wait(state),
                    false => Supplied::NoSpace { needed_bytes, free_bytes },
                };
            }
            if state.ready.is_empty() {
                state.reserve_asked = Some(bytes_min);
            }
        }
        match state.ready.front() {
            Some(front) if !front.busy => {
                let segment = state.ready.pop_front().expect("looked at it");
                state.starving = false;
                state.reserve_asked = None;
                state.taken.push_back((now_ns, segment.manifest.bytes));
                if state.taken.len() > 4 {
                    state.taken.pop_front();
                }
                drop(state);
                self.keeper.notify();
                Supplied::Segment(segment)
            }
            _ => self.wait(state),
        }
    }

    fn wait(&self, mut state: MutexGuard<'_, SupplyState>) -> Supplied {
        state.starving = true;
        drop(state);
        self.keeper.notify();
        Supplied::Wait
    }

    /// Whether the reserve has a segment that may be taken for this.
    fn may_take_reserve(&self, purpose: Purpose, bytes_min: u64) -> bool {
        let segments = self.reserve_segments.load(Ordering::Acquire);
        segments > purpose.leaves() && bytes_min <= self.reserve_bytes.load(Ordering::Acquire)
    }

    /// For the lane: whether this may go into a segment that came out of the reserve. Anything may when
    /// the disk is not full any more: then the reserve is whole again.
    pub(crate) fn may_use_reserve(&self, purpose: Purpose) -> bool {
        !self.is_full() || self.reserve_segments.load(Ordering::Acquire) >= purpose.leaves()
    }

    /// For the lane: its checkpoint will take up to `state_bytes`. `false`: not yet, the reserve must grow.
    pub(crate) fn grow_reserve(&self, state_bytes: u64) -> Result<bool> {
        let state_bytes_max = reserve::state_bytes_max(self.reserve_bytes.load(Ordering::Acquire));
        if state_bytes <= state_bytes_max / 2 {
            return Ok(true);
        }
        let mut state = lock(&self.state);
        // Ahead of the need, so that hardly anybody waits.
        if state.state_bytes < state_bytes * 2 {
            state.state_bytes = state_bytes * 3;
            self.keeper.notify();
        }
        if state_bytes <= state_bytes_max {
            return Ok(true);
        }
        if let Some((needed_bytes, free_bytes)) = state.no_space {
            return Err(Error::NoSpace { needed_bytes, free_bytes });
        }
        state.reserve_awaited = true;
        self.keeper.notify();
        Ok(false)
    }

    /// For the lane: what stands in the way of using a segment of the reserve; `false`: it will pass, and the keeper wakes
    /// the lane whenever it has looked.
    pub(crate) fn no_space(&self) -> Result<bool> {
        let mut state = lock(&self.state);
        let (needed_bytes, free_bytes) = state.no_space.unwrap_or_default();
        if !state.passes {
            return Err(Error::NoSpace { needed_bytes, free_bytes });
        }
        state.reserve_awaited = true;
        Ok(false)
    }

    /// For the keeper: what the reserve is now.
    pub(crate) fn set_reserve(&self, level: Level) {
        if level.segments > 0 {
            self.reserve_bytes.store(level.bytes, Ordering::Release);
        }
        self.reserve_segments.store(level.segments, Ordering::Release);
    }

    /// For the keeper: the next segment of the lane. Where the lane has meanwhile found those before it too
    /// small, it goes back with them, for their positions are given to another one.
    pub(crate) fn put_ready(&self, prepared: Prepared) {
        let mut state = lock(&self.state);
        match state.rejected.is_empty() {
            true => state.ready.push_back(prepared),
            false => state.rejected.push(prepared),
        }
    }

    /// For the keeper, when it has looked: whether the lane waits for a segment or for its reserve.
    pub(crate) fn take_waiting(&self) -> bool {
        let mut state = lock(&self.state);
        std::mem::take(&mut state.reserve_awaited) || state.starving
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

    /// For the lane: records were given up, durably.
    pub(crate) fn note_truncated(&self) {
        self.truncated.store(true, Ordering::Release);
        self.keeper.notify();
    }

    /// For the keeper: whether records were given up since it asked last.
    pub(crate) fn take_truncated(&self) -> bool {
        self.truncated.swap(false, Ordering::AcqRel)
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

    /// Notes whether the disk is full, for statistics and quick checks, and whether that will pass.
    pub(crate) fn set_no_space(&self, no_space: Option<(u64, u64)>, passes: bool) {
        {
            let mut state = lock(&self.state);
            (state.no_space, state.passes) = (no_space, passes);
        }
        self.is_full.store(no_space.is_some(), Ordering::Release);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: an opening took the last segment in reserve, and before the keeper had one back, which took
    /// it a while on a busy machine, `create_topic` was told that its log had outgrown a reserve of no bytes.
    #[test]
    fn a_reserve_that_is_in_use_has_not_shrunk() {
        let supply = SegmentSupply::new(Arc::default());
        supply.set_no_space(Some((256 << 10, 0)), false);
        supply.set_reserve(Level { segments: reserve::SEGMENTS, bytes: reserve::bytes_for(1) });
        supply.set_reserve(Level { segments: 0, bytes: 0 });
        assert_eq!(supply.grow_reserve(1_000), Ok(true));
        assert!(matches!(supply.grow_reserve(1 << 20), Err(Error::NoSpace { .. })));
        assert!(matches!(supply.take(1_000, Purpose::Bookkeeping, 0), Supplied::NoSpace { .. }));
        supply.set_no_space(Some((256 << 10, 0)), true);
        assert!(matches!(supply.take(1_000, Purpose::Records, 0), Supplied::Wait), "room is being made");
    }

    /// The story: at the bound on the disk a lane stood in a segment of the reserve, records came, and old ones were on
    /// their way out. So the lane waited. Then there were none to go after all, and nobody woke it: its senders waited
    /// for ever. (Simulator, seed 486 of the first day of named producers.)
    #[test]
    fn who_waits_for_room_that_does_not_come_is_woken() {
        let supply = SegmentSupply::new(Arc::default());
        supply.set_no_space(Some((256 << 10, 0)), true);
        assert!(!supply.take_waiting());
        assert_eq!(supply.no_space(), Ok(false));
        supply.set_no_space(Some((256 << 10, 0)), false);
        assert!(supply.take_waiting(), "the keeper has looked");
        assert!(matches!(supply.no_space(), Err(Error::NoSpace { .. })));
        assert!(!supply.take_waiting(), "it was told");
    }
}
