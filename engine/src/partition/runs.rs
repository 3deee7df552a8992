//! The runs of a partition that are in memory, packed: of a log of single records they are most of what is in memory.
//!
//! Invariants:
//! - In the order of their offsets. They come at the back and leave at the front.
//! - They lie in chunks of one size, of which all are full but the last that has any: what leaves gives back what the
//!   next one takes, and nothing is copied while they become more.
//! - What only references have is kept apart, for there are few of them.

use super::index::{Publication, Run};
use crate::log::position::Position;
use std::collections::VecDeque;

/// Runs in a chunk. With 10,000 partitions two that are half empty in each are 5 MB.
const CHUNK: usize = 16;

/// What every run has; 32 bytes.
#[derive(Clone, Copy, Debug)]
struct Packed {
    base_offset: u64,
    position: Position,
    timestamp_max_ms: i64,
    count: u32,
    bytes: u32,
}

/// What a reference has beside it.
#[derive(Clone, Copy, Debug)]
struct Reference {
    base_offset: u64,
    first: u32,
    publication: Publication,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Runs {
    chunks: VecDeque<Vec<Packed>>,
    /// So many in the first chunk have left.
    left: usize,
    len: usize,
    references: VecDeque<Reference>,
}

impl Runs {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push_back(&mut self, run: &Run) {
        let Run { base_offset, count, first, position, bytes, timestamp_max_ms, publication } = *run;
        if self.chunks.back().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push_back(Vec::with_capacity(CHUNK));
        }
        let last = self.chunks.back_mut().expect("just made");
        last.push(Packed { base_offset, position, timestamp_max_ms, count, bytes });
        self.len += 1;
        if let Some(publication) = publication {
            self.references.push_back(Reference { base_offset, first, publication });
        }
    }

    /// Makes room for a run, so that its push will find the memory at hand.
    pub(super) fn expect(&mut self, run: &Run) {
        self.push_back(run);
        self.len -= 1;
        if let Some(last) = self.chunks.back_mut() {
            last.pop();
        }
        if run.publication.is_some() {
            self.references.pop_back();
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<Run> {
        (at < self.len).then(|| self.unpack(self.packed(at)))
    }

    pub(super) fn front(&self) -> Option<Run> {
        self.get(0)
    }

    /// Those from the one at a place on.
    pub(super) fn from(&self, at: usize) -> impl Iterator<Item = Run> {
        (at..self.len).map(|at| self.unpack(self.packed(at)))
    }

    /// Lets the last one take another in, if `merge` does so.
    pub(super) fn merge_back(&mut self, merge: impl FnOnce(&mut Run) -> bool) -> bool {
        let Some(last) = self.len.checked_sub(1) else { return false };
        let mut run = self.unpack(self.packed(last));
        if !merge(&mut run) {
            return false;
        }
        // Behind it may stand a chunk that is made ready.
        let at = self.left + last;
        let packed = &mut self.chunks[at / CHUNK][at % CHUNK];
        (packed.count, packed.bytes, packed.timestamp_max_ms) = (run.count, run.bytes, run.timestamp_max_ms);
        true
    }

    pub(super) fn pop_front(&mut self) {
        let Some(run) = self.front() else { return };
        if run.publication.is_some() {
            self.references.pop_front();
            if self.references.len() < self.references.capacity() / 4 {
                self.references.shrink_to(self.references.len() * 2);
            }
        }
        self.len -= 1;
        self.left += 1;
        if self.len == 0 {
            self.chunks.clear();
        } else if self.left == CHUNK {
            self.chunks.pop_front();
        } else {
            return;
        }
        self.left = 0;
    }

    /// How many from the front on satisfy `holds`; behind those none does.
    pub(super) fn count_while(&self, holds: impl Fn(&Run) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(&self.unpack(self.packed(middle))) { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Packed>()
            + self.chunks.capacity() * size_of::<Vec<Packed>>()
            + self.references.capacity() * size_of::<Reference>()
    }

    fn packed(&self, at: usize) -> &Packed {
        let at = self.left + at;
        &self.chunks[at / CHUNK][at % CHUNK]
    }

    fn unpack(&self, packed: &Packed) -> Run {
        let Packed { base_offset, position, timestamp_max_ms, count, bytes } = *packed;
        let found = match self.references.is_empty() {
            true => None,
            false => self.references.binary_search_by_key(&base_offset, |reference| reference.base_offset).ok(),
        };
        let reference = found.map(|at| self.references[at]);
        let first = reference.map_or(0, |reference| reference.first);
        let publication = reference.map(|reference| reference.publication);
        Run { base_offset, count, first, position, bytes, timestamp_max_ms, publication }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(base_offset: u64, is_reference: bool) -> Run {
        let (position, timestamp_max_ms) = (Position(base_offset * 100), -(base_offset as i64));
        let publication = Publication { position: Position(7), extra_bytes: 1, entry: base_offset as u32 };
        let (first, publication) = if is_reference { (3, Some(publication)) } else { (0, None) };
        Run { base_offset, count: 1, first, position, bytes: 100, timestamp_max_ms, publication }
    }

    proptest! {
        /// Whatever comes and goes, it holds what a plain queue holds.
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec(0u8..8, 0..300)) {
            let (mut runs, mut model, mut next) = (Runs::default(), VecDeque::new(), 0);
            for step in steps {
                match step {
                    0..4 => {
                        let new = run(next, step == 3);
                        next += 1;
                        runs.push_back(&new);
                        model.push_back(new);
                    }
                    4 => runs.expect(&run(next, next % 2 == 0)),
                    5 => {
                        let merge = |last: &mut Run| {
                            last.bytes += 1;
                            last.publication.is_none()
                        };
                        let is_plain = model.back_mut().is_some_and(merge);
                        if !is_plain && let Some(last) = model.back_mut() {
                            last.bytes -= 1;
                        }
                        prop_assert_eq!(runs.merge_back(merge), is_plain);
                    }
                    _ => {
                        runs.pop_front();
                        model.pop_front();
                    }
                }
                prop_assert_eq!((runs.len(), runs.front()), (model.len(), model.front().copied()));
                prop_assert_eq!(runs.from(0).collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                let middle = next.saturating_sub(model.len() as u64 / 2);
                let below = model.iter().filter(|run| run.base_offset < middle).count();
                prop_assert_eq!(runs.count_while(|run| run.base_offset < middle), below);
            }
        }
    }

    #[test]
    fn what_left_takes_no_memory() {
        let mut runs = Runs::default();
        for offset in 0..10_000 {
            runs.push_back(&run(offset, false));
        }
        assert!(runs.memory_bytes() < 10_000 * 40);
        for offset in 10_000..20_000 {
            runs.push_back(&run(offset, true));
        }
        (0..19_990).for_each(|_| runs.pop_front());
        assert!(runs.memory_bytes() < 64 << 10, "{}", runs.memory_bytes());
        (0..10).for_each(|_| runs.pop_front());
        assert_eq!((runs.chunks.len(), runs.references.len()), (0, 0));
    }
}
