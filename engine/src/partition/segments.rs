//! The segments of a log, as readers find them.
//!
//! Invariants:
//! - They are in the order of the log. A copied segment stands where those stood that it was copied from.
//! - An address lies in one segment at most: what a copy stands for is found by its own address, and the old one
//!   leads nowhere.
//! - A copy comes and its sources go in one step: nobody sees both, or neither.

use super::shared::Segment;
use crate::log::position::Position;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// See the module.
#[derive(Default)]
pub(crate) struct Segments {
    /// By the beginning of the stretch that they stand for.
    by_place: BTreeMap<Position, Arc<Segment>>,
    /// Copied ones, by their base.
    copies: BTreeMap<Position, Arc<Segment>>,
}

impl Segments {
    /// Adds a segment. Says whether another one has left its place for it.
    pub(crate) fn add(&mut self, segment: Arc<Segment>) -> bool {
        let left = self.by_place.insert(segment.manifest.from(), segment.clone());
        if let Some(left) = &left {
            self.copies.remove(&left.manifest.base);
        }
        if segment.manifest.copy_of.is_some() {
            self.copies.insert(segment.manifest.base, segment);
        }
        left.is_some()
    }

    /// Takes a segment out; another one that stands at the same place stays.
    pub(crate) fn remove(&mut self, segment: &Segment) -> Option<Arc<Segment>> {
        let from = segment.manifest.from();
        let held = self.by_place.get(&from).filter(|held| held.manifest.is_same_use(&segment.manifest))?;
        self.copies.remove(&held.manifest.base);
        self.by_place.remove(&from)
    }

    /// Puts a copy in the place of those it was made from.
    pub(crate) fn replace(&mut self, sources: &[Arc<Segment>], copy: Arc<Segment>) {
        sources.iter().for_each(|source| drop(self.remove(source)));
        self.add(copy);
    }

    /// The segment that an address lies in.
    pub(crate) fn at(&self, address: Position) -> Option<&Arc<Segment>> {
        let segments = if address.is_of_copy() { &self.copies } else { &self.by_place };
        let (_, segment) = segments.range(..=address).next_back()?;
        let is_its_own = segment.manifest.base <= address && address < segment.manifest.limit();
        is_its_own.then_some(segment)
    }

    /// The copy that stands for a place in the log.
    pub(crate) fn copy_for(&self, place: Position) -> Option<&Arc<Segment>> {
        let (_, segment) = self.by_place.range(..=place).next_back()?;
        segment.manifest.copy_of.filter(|stretch| place < stretch.to).map(|_| segment)
    }

    /// The first segment behind a place in the log.
    pub(crate) fn behind(&self, place: Position) -> Option<&Arc<Segment>> {
        self.by_place.range((Bound::Excluded(place), Bound::Unbounded)).next().map(|(_, segment)| segment)
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.by_place.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::manifest::{ManifestSegment, SegmentState};
    use crate::log::position::Stretch;

    fn segment(file: u32, base: u64, copy_of: Option<(u64, u64)>) -> Arc<Segment> {
        let copy_of = copy_of.map(|(from, to)| Stretch { from: Position(from), to: Position(to) });
        let (state, base) = (SegmentState::Sealed, Position(base));
        let (bytes, end) = (4096, base);
        Arc::new(Segment::new(ManifestSegment {
            file,
            log: 0,
            generation: 1,
            state,
            salt: u64::from(file),
            base,
            bytes,
            end,
            last_append_ms: 0,
            copy_of,
        }))
    }

    fn file(segment: Option<&Arc<Segment>>) -> Option<u32> {
        segment.map(|segment| segment.manifest.file)
    }

    #[test]
    fn a_copy_stands_where_its_sources_stood() {
        let mut segments = Segments::default();
        let of_lane: Vec<_> = (1..5).map(|file| segment(file, u64::from(file) * 4096, None)).collect();
        assert!(!of_lane.iter().any(|segment| segments.add(segment.clone())));
        let address = Position::COPIES.0;
        segments.replace(&of_lane[1..3], segment(9, address, Some((2 * 4096, 4 * 4096))));
        assert_eq!(segments.all().map(|segment| segment.manifest.file).collect::<Vec<_>>(), [1, 9, 4]);
        assert_eq!(file(segments.at(Position(4096 + 8))), Some(1));
        for gone in [2 * 4096, 3 * 4096, 4 * 4096 - 8] {
            assert_eq!(file(segments.at(Position(gone))), None);
            assert_eq!(file(segments.copy_for(Position(gone))), Some(9));
        }
        assert_eq!(
            (file(segments.at(Position(4 * 4096))), file(segments.copy_for(Position(4 * 4096)))),
            (Some(4), None)
        );
        assert_eq!(file(segments.at(Position(address + 4095))), Some(9));
        assert_eq!(file(segments.at(Position(address + 4096))), None);
        assert_eq!(file(segments.behind(Position(2 * 4096))), Some(4));
        assert_eq!(file(segments.remove(&of_lane[1]).as_ref()), None, "the copy has its place");
        assert_eq!(file(segments.behind(Position(4096))), Some(9));
        let again = segment(10, address + 8192, Some((2 * 4096, 4 * 4096)));
        assert!(segments.add(again));
        assert_eq!(file(segments.at(Position(address))), None, "a copy of the copy has its place");
    }
}
