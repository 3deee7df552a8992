//! Which segments are copied next.
//!
//! | why | which | what it brings |
//! |---|---|---|
//! | reclaim | neighbours of which at most half is kept | disk |
//! | merge | many small neighbours; in a log that no lane writes any more, two | files, and what opening looks at |
//! | regroup | neighbours whose partitions lie scattered; one alone when nothing more comes | cold reads |
//!
//! Invariants:
//! - Only neighbours are copied together: a copy stands for one stretch of the log.
//! - Nothing is copied again and again: reclaiming halves, merging needs many, what was regrouped is not scattered.
//! - Where the disk is bounded, nothing is regrouped while more is written: its room is worth more than order.

use std::ops::Range;

/// Small neighbours that are merged, at least.
const MERGE_MIN: usize = 8;
/// The same where no more come. Each time there is one less, so it ends.
const MERGE_MIN_ENDED: usize = 2;
/// A segment is small when so many of them make a large one.
const SMALL_SHARE: u64 = 8;
/// Below this, little would be won.
const RECLAIM_BYTES_MIN: u64 = 256 << 10;

/// What is known of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What its file takes.
    pub(super) file_bytes: u64,
    /// What of it is kept, about.
    pub(super) kept_bytes: u64,
    /// Who reads one of its partitions reads much more of the others.
    pub(super) is_scattered: bool,
}

impl Candidate {
    /// What a copy of it takes, about.
    pub(super) fn copy_bytes(&self, why: Why) -> u64 {
        match why {
            Why::Reclaim => self.kept_bytes,
            Why::Merge | Why::Regroup => self.file_bytes,
        }
    }
}

/// Why segments are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Reclaim,
    Merge,
    Regroup,
}

/// What bounds a choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The largest copy.
    pub(super) copy_bytes_max: u64,
    /// A segment of full size.
    pub(super) segment_bytes: u64,
    /// Room on the disk.
    pub(super) room_bytes: u64,
    /// Room for what makes room.
    pub(super) reclaim_bytes: u64,
    /// Nothing was sealed for a while: what is there need not wait for company.
    pub(super) is_quiet: bool,
    /// The disk is bounded.
    pub(super) is_bounded: bool,
    /// No lane writes the log any more: what is there has no more company to wait for.
    pub(super) is_ended: bool,
}

impl Bounds {
    /// Room for a copy.
    pub(super) fn room_for(&self, why: Why) -> u64 {
        match why {
            Why::Reclaim => self.reclaim_bytes,
            Why::Merge | Why::Regroup => self.room_bytes,
        }
    }
}

/// Chooses neighbours out of a log's segments, in their order; `None` there cannot be copied.
pub(super) fn choose(candidates: &[Option<Candidate>], bounds: &Bounds) -> Option<(Why, Range<usize>)> {
    let because = |why| move |range| (why, range);
    let reclaim = reclaim(candidates, bounds).map(because(Why::Reclaim));
    reclaim
        .or_else(|| merge(candidates, bounds).map(because(Why::Merge)))
        .or_else(|| regroup(candidates, bounds).map(because(Why::Regroup)))
}

fn reclaim(candidates: &[Option<Candidate>], bounds: &Bounds) -> Option<Range<usize>> {
    let is_sparse = |candidate: &Candidate| candidate.kept_bytes <= candidate.file_bytes / 2;
    let won = |range: &Range<usize>| {
        candidates[range.clone()].iter().flatten().map(|one| one.file_bytes - one.kept_bytes).sum::<u64>()
    };
    let bounds = Bounds { room_bytes: bounds.reclaim_bytes, ..*bounds };
    stretches(candidates, is_sparse, |one| one.kept_bytes, &bounds)
        .into_iter()
        .filter(|range| won(range) >= RECLAIM_BYTES_MIN)
        .max_by_key(won)
}

fn merge(candidates: &[Option<Candidate>], bounds: &Bounds) -> Option<Range<usize>> {
    let is_small = |candidate: &Candidate| candidate.file_bytes <= bounds.segment_bytes / SMALL_SHARE;
    let small = stretches(candidates, is_small, |one| one.file_bytes, bounds);
    let least = if bounds.is_ended { MERGE_MIN_ENDED } else { MERGE_MIN };
    small.into_iter().filter(|range| range.len() >= least).max_by_key(|range| range.len())
}

fn regroup(candidates: &[Option<Candidate>], bounds: &Bounds) -> Option<Range<usize>> {
    let bytes =
        |range: &Range<usize>| candidates[range.clone()].iter().flatten().map(|one| one.file_bytes).sum::<u64>();
    let is_whole = |range: &Range<usize>| bytes(range) + bounds.segment_bytes > bounds.copy_bytes_max;
    let is_worth = |range: &Range<usize>| bounds.is_quiet || (!bounds.is_bounded && range.len() > 1 && is_whole(range));
    let scattered = stretches(candidates, |one| one.is_scattered, |one| one.file_bytes, bounds);
    scattered.into_iter().find(is_worth)
}

/// Neighbours that are all `fit`, each stretch as long as a copy may be.
fn stretches(
    candidates: &[Option<Candidate>],
    is_fit: impl Fn(&Candidate) -> bool,
    weight: impl Fn(&Candidate) -> u64,
    bounds: &Bounds,
) -> Vec<Range<usize>> {
    let bytes_max = bounds.copy_bytes_max.min(bounds.room_bytes);
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (at, candidate) in candidates.iter().enumerate() {
        let Some(candidate) = candidate.as_ref().filter(|one| is_fit(one) && weight(one) <= bytes_max) else {
            continue;
        };
        match found.last_mut() {
            Some(last) if last.end == at && bytes + weight(candidate) <= bytes_max => last.end = at + 1,
            _ => {
                found.push(at..at + 1);
                bytes = 0;
            }
        }
        bytes += weight(candidate);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const BOUNDS: Bounds = Bounds {
        copy_bytes_max: 256 * MIB,
        segment_bytes: 64 * MIB,
        room_bytes: u64::MAX,
        reclaim_bytes: u64::MAX,
        is_quiet: false,
        is_bounded: false,
        is_ended: false,
    };

    fn choose(candidates: &[Option<Candidate>], bounds: &Bounds) -> Option<Range<usize>> {
        super::choose(candidates, bounds).map(|(_, range)| range)
    }

    fn kept(share: u64) -> Option<Candidate> {
        Some(Candidate { file_bytes: 64 * MIB, kept_bytes: 64 * MIB * share / 100, is_scattered: false })
    }

    fn scattered() -> Option<Candidate> {
        kept(100).map(|one| Candidate { is_scattered: true, ..one })
    }

    #[test]
    fn what_brings_most_disk_goes_first() {
        let candidates = [kept(50), kept(100), kept(10), kept(1), None, kept(20), scattered(), scattered()];
        assert_eq!(choose(&candidates, &BOUNDS), Some(2..4));
        let room = Bounds { room_bytes: 0, reclaim_bytes: 2 * MIB, ..BOUNDS };
        assert_eq!(choose(&candidates, &room), Some(3..4), "no more than there is room for");
        assert_eq!(choose(&candidates, &Bounds { room_bytes: 0, reclaim_bytes: 0, ..BOUNDS }), None);
        assert_eq!(choose(&[kept(51), kept(100)], &BOUNDS), None);
    }

    #[test]
    fn many_small_neighbours_become_one() {
        let small = Some(Candidate { file_bytes: MIB, kept_bytes: MIB, is_scattered: false });
        let mut candidates = vec![kept(100)];
        candidates.extend([small; 7]);
        assert_eq!(choose(&candidates, &BOUNDS), None);
        candidates.push(small);
        assert_eq!(choose(&candidates, &BOUNDS), Some(1..9));
    }

    /// The soak had up to seven of them for each log that a lane had left, and each opening looked at all.
    #[test]
    fn small_neighbours_of_a_log_that_has_ended_wait_for_nothing() {
        let small = Some(Candidate { file_bytes: MIB, kept_bytes: MIB, is_scattered: false });
        let ended = Bounds { is_ended: true, ..BOUNDS };
        assert_eq!(choose(&[kept(100), small, small, kept(100), small], &ended), Some(1..3));
        assert_eq!(choose(&[small, kept(100), small, None, small], &ended), None);
    }

    #[test]
    fn scattered_segments_wait_for_each_other_unless_it_is_quiet() {
        let candidates = [scattered(), scattered(), scattered(), scattered(), scattered()];
        assert_eq!(choose(&candidates[..3], &BOUNDS), None);
        assert_eq!(choose(&candidates, &BOUNDS), Some(0..4));
        assert_eq!(choose(&candidates[..2], &Bounds { is_quiet: true, ..BOUNDS }), Some(0..2));
        assert_eq!(choose(&[scattered(), None, scattered(), kept(100)], &BOUNDS), None);
        // Half of the time of reading a partition out of a regrouped log went into the one segment that was left.
        assert_eq!(choose(&candidates[..1], &Bounds { is_quiet: true, ..BOUNDS }), Some(0..1), "even one alone");
        // The soak saw senders refused, where each segment was copied as it came.
        let bounded = Bounds { copy_bytes_max: 64 * MIB, is_bounded: true, ..BOUNDS };
        let small = candidates.map(|one| one.map(|one| Candidate { file_bytes: 8 * MIB, kept_bytes: 8 * MIB, ..one }));
        for candidates in [candidates, small] {
            assert_eq!(choose(&candidates, &bounded), None);
        }
        assert_eq!(choose(&candidates, &Bounds { is_quiet: true, ..bounded }), Some(0..1));
    }
}
