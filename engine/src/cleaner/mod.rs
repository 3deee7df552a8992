//! The cleaner: copies what is kept of sealed segments into new ones, and lets the old ones go.
//!
//! ```text
//!  log order    | 1 mostly given up | 2 mostly given up | 3 |        | copy of 1 and 2 | 3 |
//!  manifest      1, 2, 3                                      -->      copy, 3; 1 and 2 retired
//! ```
//!
//! A copy stands in the order of the log where its sources stood, at an address of its own. Offsets, identities and
//! the log itself stay what they were: nothing is appended, no lane writes for it, no checkpoint grows. Where the
//! bytes of an identity stand now, the sidecar of its copy says.
//!
//! Invariants:
//! - One replacement of the manifest puts the copy in the place of its sources; before it the copy is durable. A crash
//!   leaves the sources, or the copy.
//! - Segments that opening may need are left alone.
//! - It works piece by piece on the keeper's thread, and waits after each for as long as
//!   [`Options::cleaner_bytes_per_second_max`](crate::Options::cleaner_bytes_per_second_max) says.
//! - What cannot be read is left where it is.
//!
//! Its way: `look` at all sealed segments, `choice` of those worth it, `copy` into a `target`, and `replace` the one by
//! the other.

mod choice;
mod copy;
mod gathered;
mod look;
mod replace;
mod target;
mod withheld;

use crate::error::Result;
use crate::keeper::Keeper;
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use crate::options::Options;
use crate::partition::shared::{LogShared, Segment};
use choice::Why;
use copy::{Copying, Source};
use look::Look;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;
pub(crate) use withheld::Note;

/// Nothing was sealed for so long: what is scattered need not wait for company.
const QUIET_NS: u64 = 5_000_000_000;
/// Segments of full size that are regrouped together, where nothing bounds the disk.
const SEGMENTS_TOGETHER: u64 = 4;
/// While a lane writes in bulk the cleaner takes this part of what it may.
const BULK_SHARE: u64 = 8;

/// A full disk is looked at again after this time.
const FULL_NS: u64 = 2_000_000_000;

/// A segment, by its log and its place in it.
type Key = (u32, Position);

/// See the module.
#[derive(Default)]
pub(crate) struct Cleaner {
    /// There may be something to do.
    wanted: bool,
    /// Not before this, monotonic ns.
    next_ns: u64,
    /// Nor before this, so that it takes no more of the device than it may; unless a lane waits for the room it makes.
    paced_ns: u64,
    /// When a segment was sealed last, unless that was looked at since.
    sealed_ns: Option<u64>,
    look: Option<Look>,
    copying: Option<Copying>,
    /// What comes next.
    chosen: VecDeque<Chosen>,
    /// Segments that could not be copied.
    left_alone: BTreeSet<Key>,
    /// Segments of which copies in order would be larger than they are.
    stays_scattered: BTreeSet<Key>,
}

/// Neighbours that are to be copied into one.
struct Chosen {
    why: Why,
    segments: Vec<Sealed>,
    /// What the copy takes, about.
    bytes: u64,
}

/// A sealed segment.
#[derive(Clone)]
struct Sealed {
    log: Arc<LogShared>,
    /// Not held: it may be retired meanwhile, and its file used again.
    segment: Weak<Segment>,
    /// As the manifest has it: what readers hold was made when the segment was begun.
    entry: ManifestSegment,
}

impl Cleaner {
    /// Records were given up, a topic is gone: segments may have become sparse.
    pub(crate) fn look_again(&mut self) {
        self.wanted = true;
    }

    /// A segment was sealed.
    pub(crate) fn note_sealed(&mut self, now_ns: u64) {
        (self.wanted, self.sealed_ns) = (true, Some(now_ns));
    }

    /// Whether there is nothing to do for now.
    pub(crate) fn is_idle(&self) -> bool {
        !self.wanted && self.sealed_ns.is_none() && !self.is_at_it()
    }

    fn is_at_it(&self) -> bool {
        self.look.is_some() || self.copying.is_some() || !self.chosen.is_empty()
    }

    /// How long it can wait; `None`: until there is news. `is_full`: a lane waits for room on the disk.
    pub(crate) fn pause(&self, now_ns: u64, is_full: bool) -> Option<Duration> {
        let is_at_it = self.wanted || self.is_at_it();
        let quiet_ns = self.sealed_ns.map(|sealed_ns| sealed_ns + QUIET_NS);
        let from_ns = if is_at_it { Some(0) } else { quiet_ns };
        let next_ns = from_ns.map(|from_ns| from_ns.max(self.next_ns(is_full)));
        next_ns.map(|next_ns| Duration::from_nanos(next_ns.saturating_sub(now_ns)))
    }

    /// When it may go on. Who waits for room is disturbed by nothing but waiting.
    fn next_ns(&self, is_full: bool) -> u64 {
        if is_full { self.next_ns } else { self.next_ns.max(self.paced_ns) }
    }

    /// Whether a segment is being copied: it stays until that has ended.
    pub(crate) fn has(&self, segment: &Segment) -> bool {
        let is_it = |source: &Source| source.segment.manifest.is_same_use(&segment.manifest);
        self.copying.as_ref().is_some_and(|copying| copying.sources.iter().any(is_it))
    }

    /// Bytes of the disk that a copy has taken, and the manifest does not know of.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.copying.as_ref().map_or(0, Copying::allocated_bytes)
    }

    /// Nothing was sealed for a while, and nobody has looked since.
    fn is_quiet(&self, now_ns: u64) -> bool {
        self.sealed_ns.is_some_and(|sealed_ns| now_ns >= sealed_ns + QUIET_NS)
    }

    /// Nothing that was chosen fits now: it is chosen again after a while.
    fn wait_while_full(&mut self, now_ns: u64) {
        self.chosen.clear();
        self.wanted = true;
        self.next_ns = now_ns + FULL_NS;
    }

    fn wait_for(&mut self, now_ns: u64, bytes: u64, bytes_per_second: u64) {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
        self.paced_ns = now_ns + u64::try_from(nanoseconds).unwrap_or(u64::MAX / 2);
    }
}

/// The largest copy.
pub(crate) fn copy_bytes_max(options: &Options) -> u64 {
    let segment_bytes = options.segment_bytes_limit();
    let together = if options.disk_bytes_max.is_some() { 1 } else { SEGMENTS_TOGETHER };
    (segment_bytes * together).min(crate::bounds::SEGMENT_BYTES_CEILING)
}

/// What of a bound on the disk is kept for copies.
pub(crate) fn room_bytes(options: &Options) -> u64 {
    if options.cleaner_bytes_per_second_max == 0 { 0 } else { copy_bytes_max(options) }
}

impl Keeper {
    /// Does the next piece of cleaning, if it is time. `false`: there is none now.
    pub(crate) fn clean(&mut self) -> Result<bool> {
        let now_ns = self.clock.monotonic_ns();
        let rate = self.options.cleaner_bytes_per_second_max;
        // What recovery left without an index comes first.
        let next_ns = self.cleaner.next_ns(self.is_full());
        if rate == 0 || now_ns < next_ns || !self.unindexed.is_empty() {
            return Ok(false);
        }
        if let Some(copying) = self.cleaner.copying.take() {
            let bytes = self.copy_on(copying)?;
            let rate = if self.is_bulk(now_ns) { rate / BULK_SHARE } else { rate };
            self.cleaner.wait_for(self.clock.monotonic_ns(), bytes, rate);
            return Ok(true);
        }
        if let Some(chosen) = self.cleaner.chosen.pop_front() {
            match self.still_fits(&chosen)? {
                true => self.begin_copy(chosen.why, &chosen.segments)?,
                false => self.cleaner.wait_while_full(now_ns),
            }
            return Ok(true);
        }
        if let Some(look) = self.cleaner.look.take() {
            let bytes = self.look_on(look)?;
            if bytes > 0 {
                self.cleaner.wait_for(now_ns, bytes, rate);
            }
            return Ok(true);
        }
        if !self.cleaner.wanted && !self.cleaner.is_quiet(now_ns) {
            return Ok(false);
        }
        self.cleaner.wanted = false;
        self.cleaner.look = Some(Look::begin(now_ns, self.cleanable()));
        Ok(true)
    }
}
