//! How far groups have come in the partitions of a lane. What they are the catalog says; who is given what, their desks.
//!
//! Invariants:
//! - It is a function of the log, and part of each checkpoint.
//! - A group that has not begun in a partition, or was deleted, has no entry there; what still comes of it is passed over.

use super::progress::{Progress, ProgressChange, ProgressEntry};
use crate::log::codec::{Put, Reader};
use std::collections::BTreeMap;

/// What an entry takes in a checkpoint, without its progress.
const ENTRY_BYTES: u64 = 12;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    /// By slot and group.
    progress: BTreeMap<(u32, u32), Progress>,
    /// A bound on what they take in a checkpoint.
    bytes: u64,
}

impl Groups {
    pub(crate) fn get(&self, group: u32, slot: u32) -> Option<&Progress> {
        self.progress.get(&(slot, group))
    }

    /// All entries: group, slot, progress.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &Progress)> {
        self.progress.iter().map(|((slot, group), progress)| (*group, *slot, progress))
    }

    /// Begins with what another log had.
    pub(crate) fn set(&mut self, group: u32, slot: u32, progress: Progress) {
        self.bytes += bytes_of(&progress);
        if let Some(before) = self.progress.insert((slot, group), progress) {
            self.bytes -= bytes_of(&before);
        }
    }

    /// Applies a change; `first_offset` is that of the partition. `Ok(false)`: the group has no entry. `Err`: it
    /// contradicts what came before, and nothing has changed.
    pub(crate) fn apply(&mut self, entry: &ProgressEntry, first_offset: u64) -> Result<bool, &'static str> {
        let ProgressEntry { group, slot, change } = entry;
        let key = (*slot, *group);
        if let ProgressChange::Begin { position } = change {
            if self.progress.contains_key(&key) {
                return Err("a group begins twice in a partition");
            }
            let mut progress = Progress::begin(*position)?;
            progress.truncate(first_offset);
            self.set(*group, *slot, progress);
            return Ok(true);
        }
        let Some(progress) = self.progress.get_mut(&key) else { return Ok(false) };
        self.bytes -= bytes_of(progress);
        let applied = progress.apply(change);
        if let ProgressChange::Reset { .. } = change {
            progress.truncate(first_offset);
        }
        self.bytes += bytes_of(progress);
        applied.map(|()| true)
    }

    /// A partition begins at another offset.
    pub(crate) fn truncate(&mut self, slot: u32, first_offset: u64) {
        for progress in self.progress.range_mut((slot, 0)..=(slot, u32::MAX)).map(|(_, progress)| progress) {
            self.bytes -= bytes_of(progress);
            progress.truncate(first_offset);
            self.bytes += bytes_of(progress);
        }
    }

    /// Forgets entries that are not kept: group, slot.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(u32, u32) -> bool) {
        self.progress.retain(|(slot, group), _| is_kept(*group, *slot));
        self.bytes = self.progress.values().map(bytes_of).sum();
    }

    /// A bound on what [`Groups::encode`] writes.
    pub(crate) fn encoded_bytes_max(&self) -> u64 {
        4 + self.bytes
    }

    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_u32(self.progress.len() as u32);
        for ((slot, group), progress) in &self.progress {
            target.put_u32(*slot);
            target.put_u32(*group);
            progress.encode(target);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Groups> {
        let mut groups = Groups::default();
        for _ in 0..reader.u32()? {
            let (slot, group) = (reader.u32()?, reader.u32()?);
            let progress = Progress::decode(reader)?;
            if groups.get(group, slot).is_some() {
                return None;
            }
            groups.set(group, slot, progress);
        }
        Some(groups)
    }
}

fn bytes_of(progress: &Progress) -> u64 {
    ENTRY_BYTES + progress.encoded_bytes_max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(group: u32, slot: u32, change: ProgressChange) -> ProgressEntry {
        ProgressEntry { group, slot, change }
    }

    #[test]
    fn groups_go_on_apart_and_are_read_back() {
        let mut groups = Groups::default();
        let begin = |position| ProgressChange::Begin { position };
        assert_eq!(groups.apply(&entry(1, 5, begin(0)), 3), Ok(true));
        assert_eq!(groups.apply(&entry(2, 5, begin(10)), 3), Ok(true));
        assert_eq!(groups.apply(&entry(1, 6, begin(0)), 0), Ok(true));
        groups.apply(&entry(1, 5, begin(0)), 3).unwrap_err();
        assert_eq!(groups.get(1, 5).unwrap().position(), 3, "nothing is kept below");
        assert_eq!(groups.apply(&entry(3, 5, ProgressChange::HandOutTo { offset: 9 }), 3), Ok(false), "it was deleted");
        groups.apply(&entry(1, 5, ProgressChange::HandOutTo { offset: 20 }), 3).unwrap();
        groups.apply(&entry(1, 5, ProgressChange::Finish { from: 5, to: 7 }), 3).unwrap();
        groups.apply(&entry(1, 5, ProgressChange::Finish { from: 19, to: 21 }), 3).unwrap_err();
        groups.truncate(5, 4);
        let positions: Vec<_> =
            groups.iter().map(|(group, slot, progress)| (group, slot, progress.position())).collect();
        assert_eq!(positions, [(1, 5, 4), (2, 5, 10), (1, 6, 0)]);
        let mut bytes = Vec::new();
        groups.encode(&mut bytes);
        assert!(groups.encoded_bytes_max() >= bytes.len() as u64);
        assert_eq!(Groups::decode(&mut Reader::new(&bytes)).as_ref(), Some(&groups));
        for length in 0..bytes.len() {
            assert_eq!(Groups::decode(&mut Reader::new(&bytes[..length])), None);
        }
        groups.apply(&entry(1, 5, ProgressChange::Reset { position: 0 }), 4).unwrap();
        assert_eq!(groups.get(1, 5).unwrap().position(), 4);
        groups.retain(|group, _| group == 2);
        assert_eq!((groups.iter().count(), groups.get(2, 5).unwrap().position()), (1, 10));
    }
}
