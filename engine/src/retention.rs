//! Retention: which records are given up, and when.
//!
//! ```text
//!  the bounds say so      a Truncate frame is durable      nothing alive is left in a segment
//!  ------------------->   ---------------------------->    --------------------------------->  used again
//!   (here)                 no reader gets the records        (keeper)
//! ```
//!
//! Invariants:
//! - Nothing is given up but by a Truncate frame in its log; who asks for it gets a typed `Truncated`.
//! - A partition is cut where a segment ends, so that what is kept is never less than its bounds say.
//! - What a group has not finished goes only where the topic does not keep it, or the disk has no room for it.
//! - All logs that a partition stands in count, those of earlier numbers of lanes as well; the lane that has the
//!   partition now is asked, whichever log is cut.
//! - Ages are append times against a clock that does not follow jumps ahead of the wall clock.
//! - What a pass has asked for and was not done, because the disk was full, a later pass asks for again; but no
//!   lane is asked while it has not answered the last time.

use crate::keeper::file_bytes;
use crate::lane::cut::Cut;
use crate::lane::shared::{Answer, LaneShared, Message, Reply};
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use crate::partition::finished::FinishedCuts;
use crate::partition::sealed;
use crate::partition::shared::{LogShared, Partition};
use crate::partition::sidecar::SidecarEntry;
use crate::sync::lock;
use crate::topic::Retention;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Partitions in one Truncate frame.
const ENTRIES_MAX: usize = 4096;
/// A wall clock that is further ahead of the monotonic one than this since the last look has jumped.
const JUMP_MS: i64 = 60_000;
/// How often ages are looked at: a tenth of the shortest time that is kept, within these.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// How often it is looked at whether groups have finished more, where that goes at once.
const FINISHED_INTERVAL: Duration = Duration::from_secs(1);
/// A segment with old records is left for another one no sooner than this after its first record.
const LEAVE_MS_MIN: i64 = 60_000;

/// The wall clock without its jumps ahead.
#[derive(Debug)]
pub(crate) struct RetentionClock {
    wall_ms: i64,
    monotonic_ns: u64,
    ahead_ms: i64,
}

impl RetentionClock {
    pub(crate) fn new(wall_ms: i64, monotonic_ns: u64) -> RetentionClock {
        RetentionClock { wall_ms, monotonic_ns, ahead_ms: 0 }
    }

    /// Looks at both clocks; returns the time by which ages are judged.
    pub(crate) fn look(&mut self, wall_ms: i64, monotonic_ns: u64) -> i64 {
        let elapsed_ms = (monotonic_ns.saturating_sub(self.monotonic_ns) / 1_000_000) as i64;
        let jump_ms = wall_ms.saturating_sub(self.wall_ms.saturating_add(elapsed_ms));
        if jump_ms.saturating_abs() > JUMP_MS {
            // Back again, it may be right; further back it only makes records look younger.
            self.ahead_ms = self.ahead_ms.saturating_add(jump_ms).max(0);
        }
        (self.wall_ms, self.monotonic_ns) = (wall_ms, monotonic_ns);
        wall_ms.saturating_sub(self.ahead_ms)
    }

    /// How far the wall clock has jumped ahead, ms.
    pub(crate) fn ahead_ms(&self) -> u64 {
        self.ahead_ms.unsigned_abs()
    }

    /// The wall clock is right as it is.
    pub(crate) fn accept(&mut self) {
        self.ahead_ms = 0;
    }
}

/// What partitions are to give up: by the log that is written for them now, and slot.
type Cuts = BTreeMap<u32, BTreeMap<u32, Cut>>;

/// What the sealed segments of a log hold of each partition whose bytes are bounded.
#[derive(Default)]
struct Sizes {
    /// Segments up to this one are counted.
    counted: Option<Position>,
    held: BTreeMap<u32, Pieces>,
}

#[derive(Default)]
struct Pieces {
    /// Of each segment that has any: the offset behind its records, and their bytes.
    pieces: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Pieces {
    /// Forgets what is given up.
    fn forget_below(&mut self, first_offset: u64) {
        while let Some((_, bytes)) = self.pieces.pop_front_if(|(end, _)| *end <= first_offset) {
            self.bytes -= bytes;
        }
    }
}

/// The offset behind the oldest pieces that can go, so that at least `bytes_min` are kept. `held` is what the logs of
/// a partition have, oldest first.
fn cut(held: &[&Pieces], bytes_min: u64) -> Option<u64> {
    let mut left: u64 = held.iter().map(|pieces| pieces.bytes).sum();
    let mut cut = None;
    for (end, bytes) in held.iter().flat_map(|pieces| &pieces.pieces) {
        left -= bytes;
        if left < bytes_min {
            break;
        }
        cut = Some(*end);
    }
    cut
}

/// One log, as a pass sees it.
pub(crate) struct LogView {
    /// The lane that writes it; `None`: it is of an earlier number of lanes.
    pub(crate) lane: Option<Arc<LaneShared>>,
    pub(crate) log: Arc<LogShared>,
    /// In the order of their positions.
    pub(crate) sealed: Vec<ManifestSegment>,
    /// Those that stand in it, in the order of their slots.
    pub(crate) partitions: Vec<Arc<Partition>>,
    /// From here on opening needs its segments; `None`: all of them.
    pub(crate) needed: Option<Position>,
}

/// What a pass found that goes because the disk has no room for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dropping {
    /// There is some, perhaps on its way out.
    pub(crate) any: bool,
    /// Of some segments nothing is left: they are to be retired.
    pub(crate) any_empty: bool,
}

/// The partitions of a log with what is kept of them.
type Bounds<'a> = [(&'a Arc<Partition>, Retention)];

impl LogView {
    /// Sealed segments that could be retired, if nothing in them were kept.
    fn droppable(&self) -> &[ManifestSegment] {
        let count = self.needed.map_or(0, |needed| self.sealed.partition_point(|segment| segment.from() < needed));
        &self.sealed[..count]
    }

    fn bounds(&self) -> Vec<(&Arc<Partition>, Retention)> {
        self.partitions.iter().map(|partition| (partition, *lock(&partition.retention))).collect()
    }

    fn partition(&self, slot: u32) -> Option<&Arc<Partition>> {
        let found = self.partitions.binary_search_by_key(&slot, |partition| partition.slot);
        found.ok().map(|at| &self.partitions[at])
    }
}

/// The offset of a partition behind the sealed segment that stands at `place`, in whichever of its logs it goes on.
/// `None`: nobody can tell now.
fn offset_behind(mut place: Position, partition: &Partition) -> Option<u64> {
    // One that is being retired holds nothing that is kept, and is not found.
    while let Some(segment) = partition.segment_behind(place)
        && segment.end().is_some()
    {
        // What is damaged is told to who reads it, and kept.
        if let Some(first_offset) = sealed::first_offset_in(&partition.log, &segment, partition.slot).ok()? {
            return Some(first_offset);
        }
        place = segment.manifest.from();
    }
    Some(partition.index().resident_offset())
}

/// The bounds at work.
pub(crate) struct Retainer {
    clock: RetentionClock,
    sizes: BTreeMap<u32, Sizes>,
    finished: FinishedCuts,
    /// By log and kept time: up to which segment everything that may go is gone.
    expired: BTreeMap<(u32, u64), Position>,
    /// Whether any topic had bounds at the last pass; `true` also where nobody has looked since they changed.
    has_bounds: bool,
    next_ns: u64,
    /// What lanes were asked, by the log that they write.
    asked: BTreeMap<u32, Vec<Arc<Reply>>>,
}

impl Retainer {
    pub(crate) fn new(wall_ms: i64, monotonic_ns: u64) -> Retainer {
        Retainer {
            clock: RetentionClock::new(wall_ms, monotonic_ns),
            sizes: BTreeMap::new(),
            finished: FinishedCuts::default(),
            expired: BTreeMap::new(),
            has_bounds: true,
            next_ns: 0,
            asked: BTreeMap::new(),
        }
    }

    /// When to look again, however little happens meanwhile.
    pub(crate) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// The bounds have changed, or there are other topics.
    pub(crate) fn forget(&mut self) {
        self.sizes.clear();
        self.finished = FinishedCuts::default();
        self.expired.clear();
        self.has_bounds = true;
        self.next_ns = 0;
    }

    pub(crate) fn clock(&mut self) -> &mut RetentionClock {
        &mut self.clock
    }

    /// Whether a pass would find anything to judge.
    pub(crate) fn has_bounds(&self) -> bool {
        self.has_bounds
    }

    /// Instead of a pass where there are no bounds: the clock is looked at all the same.
    pub(crate) fn rest(&mut self, wall_ms: i64, monotonic_ns: u64) {
        self.clock.look(wall_ms, monotonic_ns);
        self.next_ns = monotonic_ns + INTERVAL_MAX.as_nanos() as u64;
    }

    /// Looks at everything once; asks the lanes to give up what the bounds no longer keep.
    ///
    /// `excess_bytes`: so much of the oldest records goes, whatever the bounds of its topics. Returns what was found
    /// of that.
    pub(crate) fn pass(&mut self, logs: &[LogView], wall_ms: i64, monotonic_ns: u64, excess_bytes: u64) -> Dropping {
        let now_ms = self.clock.look(wall_ms, monotonic_ns);
        let mut interval = INTERVAL_MAX;
        let (mut cuts, dropping) = oldest(logs, excess_bytes);
        let mut uncounted = BTreeSet::new();
        for view in logs {
            let bounds = view.bounds();
            self.by_time(view, &bounds, now_ms, &mut cuts);
            if !self.count(view, &bounds) {
                uncounted.insert(view.log.id);
            }
        }
        self.has_bounds = false;
        for view in logs {
            let Some(lane) = &view.lane else { continue };
            let bounds = view.bounds();
            self.has_bounds |= bounds.iter().any(|(_, retention)| *retention != Retention::new());
            self.by_bytes(&bounds, &uncounted, &mut cuts);
            self.by_groups(&bounds, &mut cuts);
            let asked = self.asked.entry(view.log.id).or_default();
            asked.retain(|reply| !reply.is_there());
            if asked.is_empty() {
                asked.extend(truncate(lane, cuts.remove(&view.log.id).unwrap_or_default()));
                asked.extend(leave_if_old(lane, &bounds, now_ms));
            }
            if let Some(shortest) = bounds.iter().filter_map(|(_, retention)| retention.retention_ms).min() {
                interval = interval.min(Duration::from_millis(shortest / 10).max(INTERVAL_MIN));
            }
            if bounds.iter().any(|(_, retention)| retention.drop_finished) {
                interval = interval.min(FINISHED_INTERVAL);
            }
        }
        self.next_ns = monotonic_ns + interval.as_nanos() as u64;
        dropping
    }

    /// What was appended longer ago than it is kept.
    fn by_time(&mut self, view: &LogView, bounds: &Bounds<'_>, now_ms: i64, cuts: &mut Cuts) {
        let times: BTreeSet<u64> = bounds.iter().filter_map(|(_, retention)| retention.retention_ms).collect();
        for kept_ms in times {
            let oldest_ms = now_ms.saturating_sub_unsigned(kept_ms);
            // Append times never go back within a log.
            let expired = view.sealed.partition_point(|segment| segment.last_append_ms < oldest_ms);
            let Some(last) = expired.checked_sub(1) else { continue };
            let (place, to) = (view.sealed[last].from(), view.sealed[last].to());
            if self.expired.get(&(view.log.id, kept_ms)) == Some(&to) {
                continue;
            }
            let mut all_gone = true;
            for (partition, retention) in bounds {
                if retention.retention_ms == Some(kept_ms) {
                    let first_offset = offset_behind(place, partition);
                    all_gone &= first_offset.is_some_and(|first| !self.wants(cuts, partition, *retention, first));
                }
            }
            if all_gone {
                self.expired.insert((view.log.id, kept_ms), to);
            }
        }
    }

    /// Counts what a log has of the partitions whose bytes are bounded. `false`: that cannot be counted now, and is
    /// counted from the beginning the next time.
    fn count(&mut self, view: &LogView, bounds: &Bounds<'_>) -> bool {
        let mut bounded = bounds.iter().filter(|(_, bound)| bound.retention_bytes.is_some()).peekable();
        if bounded.peek().is_none() {
            return true;
        }
        let sizes = self.sizes.entry(view.log.id).or_default();
        for (partition, _) in bounded {
            sizes.held.entry(partition.slot).or_default().forget_below(partition.index().first_offset);
        }
        let is_counted = sizes.count(view);
        if !is_counted {
            self.sizes.remove(&view.log.id);
        }
        is_counted
    }

    /// What stands before the bytes that are kept.
    fn by_bytes(&mut self, bounds: &Bounds<'_>, uncounted: &BTreeSet<u32>, cuts: &mut Cuts) {
        for (partition, bound) in bounds {
            let Some(bytes_min) = bound.retention_bytes else { continue };
            if partition.logs().any(|log| uncounted.contains(&log.id)) {
                continue;
            }
            let of_log = |log: &Arc<LogShared>| self.sizes.get(&log.id)?.held.get(&partition.slot);
            let held: Vec<&Pieces> = partition.logs().filter_map(of_log).collect();
            if let Some(first_offset) = cut(&held, bytes_min) {
                self.wants(cuts, partition, *bound, first_offset);
            }
        }
    }

    /// What every group has finished.
    fn by_groups(&mut self, bounds: &Bounds<'_>, cuts: &mut Cuts) {
        for (partition, _) in bounds.iter().filter(|(_, retention)| retention.drop_finished) {
            if let Some(first_offset) = self.finished.of(partition) {
                wants(cuts, partition, Cut::finished_below(first_offset));
            }
        }
    }

    /// Notes that a bound of its topic no longer keeps a partition's records below an offset. `false`: they are gone.
    fn wants(&mut self, cuts: &mut Cuts, partition: &Partition, bound: Retention, first_offset: u64) -> bool {
        let finished_to = partition.finished_to.get().filter(|_| bound.keep_unfinished);
        if finished_to.is_none_or(|finished_to| finished_to >= first_offset) {
            let cut = if bound.keep_unfinished { Cut::finished_below } else { Cut::all_below };
            return wants(cuts, partition, cut(first_offset));
        }
        if let Some(finished) = self.finished.of(partition) {
            wants(cuts, partition, Cut::finished_below(finished));
        }
        true
    }
}

impl Sizes {
    /// Counts the segments that were sealed since. `false`: an index cannot be read.
    fn count(&mut self, view: &LogView) -> bool {
        let from = view.sealed.partition_point(|segment| Some(segment.to()) <= self.counted);
        for counted in &view.sealed[from..] {
            let Some(segment) = view.log.segment_at(counted.base) else { continue };
            let Ok(entries) = sealed::entries(&view.log, &segment) else { return false };
            for SidecarEntry { slot, record_bytes: bytes, .. } in entries.into_iter().filter(SidecarEntry::has_runs) {
                let Some(held) = self.held.get_mut(&slot) else { continue };
                let Some(partition) = view.partition(slot) else { return false };
                let Some(end) = offset_behind(counted.from(), partition) else { return false };
                // What is given up stands in its segment until that is retired.
                if end > partition.index().first_offset {
                    held.pieces.push_back((end, bytes));
                    held.bytes += bytes;
                }
            }
            self.counted = Some(counted.to());
        }
        true
    }
}

/// What the oldest segments hold of all partitions, segment by segment, until they are `excess_bytes` of the
/// disk. And what there is of such segments.
fn oldest(logs: &[LogView], excess_bytes: u64) -> (Cuts, Dropping) {
    let (mut cuts, mut dropping) = (Cuts::new(), Dropping::default());
    if excess_bytes == 0 {
        return (cuts, dropping);
    }
    let mut candidates = Vec::new();
    for view in logs {
        candidates.extend(view.droppable().iter().map(|segment| (segment, view)));
    }
    candidates.sort_by_key(|(segment, view)| (segment.last_append_ms, view.log.id, segment.from()));
    let mut left = excess_bytes;
    for (segment, view) in candidates {
        if left == 0 {
            break;
        }
        // One that was retired and is there still is held by a reader, who may never let go of it.
        let Some(shared) = view.log.segment_at(segment.base) else { continue };
        let Ok(entries) = sealed::entries(&view.log, &shared) else { continue };
        // What it withholds keeps it.
        if view.log.withheld_from() < segment.to() && entries.iter().any(|entry| entry.withheld_frames > 0) {
            continue;
        }
        let mut is_empty = true;
        for entry in entries.iter().filter(|entry| entry.has_runs()) {
            let end = sealed::end_offset_in(&view.log, &shared, entry);
            if let (Some(partition), Ok(end)) = (view.partition(entry.slot), end) {
                is_empty &= !wants(&mut cuts, partition, Cut::all_below(end));
            }
        }
        dropping.any_empty |= is_empty;
        // What was withheld there and is published keeps it, until that is given up where it was published.
        if is_empty && entries.iter().any(|entry| entry.withheld_frames > 0) {
            continue;
        }
        (left, dropping.any) = (left.saturating_sub(file_bytes(segment)), true);
    }
    (cuts, dropping)
}

/// Notes what of a partition may go. `false`: it is gone.
fn wants(cuts: &mut Cuts, partition: &Partition, wanted: Cut) -> bool {
    if partition.index().first_offset >= wanted.to_max() {
        return false;
    }
    let cut = cuts.entry(partition.log.id).or_default().entry(partition.slot).or_default();
    *cut = cut.and(wanted);
    true
}

fn ask(lane: &LaneShared, message: impl FnOnce(Answer) -> Message) -> Arc<Reply> {
    let (answer, reply) = Reply::pair();
    lane.push(message(answer));
    reply
}

/// Asks a lane to give up the front of partitions.
fn truncate(lane: &LaneShared, cuts: BTreeMap<u32, Cut>) -> Vec<Arc<Reply>> {
    let cuts: Vec<(u32, Cut)> = cuts.into_iter().collect();
    let message = |cuts: &[(u32, Cut)]| {
        let cuts = cuts.to_vec();
        ask(lane, |reply| Message::Truncate { cuts, reply })
    };
    cuts.chunks(ENTRIES_MAX).map(message).collect()
}

/// Where little is written, old records would stay in the segment that is written for long: the lane leaves it.
fn leave_if_old(lane: &LaneShared, bounds: &Bounds<'_>, now_ms: i64) -> Option<Arc<Reply>> {
    if !lane.has_records() {
        return None;
    }
    // Where the lane has just left it there is nothing old.
    let age_ms = now_ms.saturating_sub(lane.records_since_ms.load(Ordering::Acquire));
    let is_old = |kept_ms: u64| age_ms > LEAVE_MS_MIN && age_ms as u64 > kept_ms;
    let has_old = bounds.iter().any(|(partition, retention)| {
        let has_records = || {
            let index = partition.index();
            index.next_offset > index.resident_offset().max(index.first_offset)
        };
        retention.retention_ms.is_some_and(is_old) && has_records()
    });
    has_old.then(|| ask(lane, |reply| Message::Leave { reply }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_clock_that_jumps_ahead_makes_nothing_older() {
        let mut clock = RetentionClock::new(1_000, 0);
        let ns = |ms: i64| ms as u64 * 1_000_000;
        assert_eq!(clock.look(2_000, ns(1_000)), 2_000);
        assert_eq!(clock.look(2_010, ns(1_000)), 2_010, "what is set right in small steps is followed");
        assert_eq!(clock.look(2_010 + HOUR_MS, ns(1_000)), 2_010);
        assert_eq!(clock.ahead_ms(), HOUR_MS as u64);
        assert_eq!(clock.look(3_010 + HOUR_MS, ns(2_000)), 3_010, "time goes on");
        assert_eq!(clock.look(3_010 + 3 * HOUR_MS, ns(2_000)), 3_010, "and may jump again");
        assert_eq!(clock.look(3_010, ns(2_000)), 3_010, "back to what it was");
        assert_eq!(clock.ahead_ms(), 0);
        assert_eq!(clock.look(3_010 - HOUR_MS, ns(2_000)), 3_010 - HOUR_MS, "records look younger, and are kept");
        assert_eq!(clock.ahead_ms(), 0);
        clock.look(3_010 + HOUR_MS, ns(2_000));
        assert_eq!(clock.ahead_ms(), 2 * HOUR_MS as u64);
        clock.accept();
        assert_eq!(clock.look(3_010 + HOUR_MS, ns(2_000)), 3_010 + HOUR_MS);
    }

    #[test]
    fn at_least_the_bound_is_kept_and_the_oldest_pieces_go() {
        let mut held = Pieces { pieces: [(10, 100), (20, 100), (30, 100)].into(), bytes: 300 };
        for (bytes_min, expected) in
            [(301, None), (300, None), (201, None), (200, Some(10)), (1, Some(20)), (0, Some(30))]
        {
            assert_eq!(cut(&[&held], bytes_min), expected);
        }
        held.forget_below(19);
        assert_eq!((held.bytes, cut(&[&held], 100)), (200, Some(20)));
        // The log that was begun behind it counts as well, and is cut when nothing before it is kept.
        let next = Pieces { pieces: [(40, 50), (50, 50)].into(), bytes: 100 };
        for (bytes_min, expected) in [(300, None), (200, Some(20)), (100, Some(30)), (50, Some(40)), (0, Some(50))] {
            assert_eq!(cut(&[&held, &next], bytes_min), expected);
        }
    }
}
