//! How far groups have come in the partitions of a lane. What they are the catalog says; who is given what, their desks.
//!
//! Invariants:
//! - It is a function of the log, and part of each checkpoint.
//! - A group that has not begun in a partition, or was deleted, has no entry there; what still comes of it is passed over.

use super::lost::Lost;
use super::progress::{Progress, ProgressChange, ProgressEntry};
use crate::log::codec::{Put, Reader};
use std::collections::BTreeMap;

/// What an entry takes in a checkpoint at most, without its progress.
const ENTRY_BYTES: u64 = 12 + Lost::BYTES_MAX;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    /// By slot and group.
    progress: BTreeMap<(u32, u32), Progress>,
    /// What was lost, by slot and group; of few.
    lost: BTreeMap<(u32, u32), Lost>,
    /// A bound on what they take in a checkpoint.
    bytes: u64,
}

impl Groups {
    pub(crate) fn get(&self, group: u32, slot: u32) -> Option<&Progress> {
        self.progress.get(&(slot, group))
    }

    /// What a group lost in a partition.
    pub(crate) fn lost(&self, group: u32, slot: u32) -> Lost {
        self.lost.get(&(slot, group)).cloned().unwrap_or_default()
    }

    /// Below this offset of a partition every group that reads it has finished; `None`: none reads it.
    pub(crate) fn finished_to(&self, slot: u32) -> Option<u64> {
        let read = self.progress.range((slot, 0)..=(slot, u32::MAX)).filter(|(_, progress)| !progress.is_marks());
        read.map(|(_, progress)| progress.position()).min()
    }

    /// The partitions that a group reads.
    pub(crate) fn slots_of(&self, group: u32) -> Vec<u32> {
        self.iter().filter(|(its, ..)| *its == group).map(|(_, slot, _)| slot).collect()
    }

    /// All entries: group, slot, progress.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &Progress)> {
        self.progress.iter().map(|((slot, group), progress)| (*group, *slot, progress))
    }

    /// Begins with what another log had of a group in a partition.
    pub(crate) fn take_over(&mut self, other: &Groups, group: u32, slot: u32) {
        if let Some(progress) = other.get(group, slot) {
            self.set(group, slot, progress.clone());
            self.set_lost(group, slot, other.lost(group, slot));
        }
    }

    /// What a group that has an entry lost.
    pub(crate) fn set_lost(&mut self, group: u32, slot: u32, lost: Lost) {
        match lost == Lost::default() {
            true => self.lost.remove(&(slot, group)),
            false => self.lost.insert((slot, group), lost),
        };
    }

    /// Begins with what another log had.
    pub(crate) fn set(&mut self, group: u32, slot: u32, progress: Progress) {
        self.bytes += bytes_of(&progress);
        if let Some(before) = self.progress.insert((slot, group), progress) {
            self.bytes -= bytes_of(&before);
        }
    }

    /// Applies a change; `first_offset` is that of the partition. `Ok(false)`: it changes nothing, as the group has no
    /// entry, or has begun, or was told. `Err`: it contradicts what came before, and nothing has changed.
    pub(crate) fn apply(&mut self, entry: &ProgressEntry, first_offset: u64) -> Result<bool, &'static str> {
        let ProgressEntry { group, slot, change } = entry;
        let key = (*slot, *group);
        let begun = match change {
            ProgressChange::Begin { position } => Some(Progress::begin(*position)?),
            ProgressChange::BeginMarks { position } => Some(Progress::begin_marks(*position)?),
            _ => None,
        };
        if let Some(mut progress) = begun {
            if self.progress.contains_key(&key) {
                return Ok(false);
            }
            truncate(&mut self.lost, key, &mut progress, first_offset);
            self.set(*group, *slot, progress);
            return Ok(true);
        }
        if let ProgressChange::Told { to } = change {
            return Ok(self.lost.get_mut(&key).is_some_and(|lost| lost.told(*to)));
        }
        let Some(progress) = self.progress.get_mut(&key) else { return Ok(false) };
        self.bytes -= bytes_of(progress);
        let applied = progress.apply(change);
        // What was given up meanwhile stays finished.
        if let ProgressChange::Reset { .. } | ProgressChange::Reopen { .. } = change {
            truncate(&mut self.lost, key, progress, first_offset);
        }
        self.bytes += bytes_of(progress);
        applied.map(|()| true)
    }

    /// A partition begins at another offset.
    pub(crate) fn truncate(&mut self, slot: u32, first_offset: u64) {
        for (key, progress) in self.progress.range_mut((slot, 0)..=(slot, u32::MAX)) {
            self.bytes -= bytes_of(progress);
            truncate(&mut self.lost, *key, progress, first_offset);
            self.bytes += bytes_of(progress);
        }
    }

    /// Forgets entries that are not kept: group, slot.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(u32, u32) -> bool) {
        self.progress.retain(|(slot, group), _| is_kept(*group, *slot));
        self.lost.retain(|key, _| self.progress.contains_key(key));
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
            self.lost(*group, *slot).encode(target);
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
            groups.set_lost(group, slot, Lost::decode(reader)?);
        }
        Some(groups)
    }
}

/// A group's partition begins at another offset: what goes unfinished is lost.
fn truncate(lost: &mut BTreeMap<(u32, u32), Lost>, key: (u32, u32), progress: &mut Progress, first_offset: u64) {
    let from = progress.position();
    let records = progress.truncate(first_offset);
    if records > 0 && !progress.is_marks() {
        lost.entry(key).or_default().note(from..first_offset, records);
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
        assert_eq!(groups.apply(&entry(1, 5, begin(9)), 3), Ok(false), "it has begun");
        assert_eq!(groups.get(1, 5).unwrap().position(), 3, "nothing is kept below");
        assert_eq!(groups.apply(&entry(3, 5, ProgressChange::HandOutTo { offset: 9 }), 3), Ok(false), "it was deleted");
        groups.apply(&entry(1, 5, ProgressChange::HandOutTo { offset: 20 }), 3).unwrap();
        groups.apply(&entry(1, 5, ProgressChange::Finish { from: 5, to: 7 }), 3).unwrap();
        groups.apply(&entry(1, 5, ProgressChange::Finish { from: 19, to: 21 }), 3).unwrap_err();
        groups.truncate(5, 4);
        assert_eq!(
            (groups.lost(1, 5).records(), groups.lost(1, 5).untold()),
            (4, Some(0..4)),
            "0 to 2 at its beginning"
        );
        assert_eq!(groups.lost(2, 5), Lost::default());
        assert_eq!((groups.finished_to(5), groups.finished_to(7)), (Some(4), None));
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
        let told = entry(1, 5, ProgressChange::Told { to: 4 });
        assert_eq!((groups.apply(&told, 4), groups.apply(&told, 4)), (Ok(true), Ok(false)), "told once");
        let reopen = |offset| entry(1, 5, ProgressChange::Reopen { offset });
        assert_eq!(groups.apply(&reopen(3), 4), Ok(true));
        assert_eq!(groups.get(1, 5).unwrap().position(), 4, "it was given up");
        groups.apply(&entry(1, 5, ProgressChange::Finish { from: 4, to: 7 }), 4).unwrap();
        assert_eq!(groups.apply(&reopen(4), 4), Ok(true));
        assert_eq!(groups.get(1, 5).unwrap().position(), 4);
        assert_eq!(groups.apply(&entry(1, 8, ProgressChange::BeginMarks { position: 0 }), 0), Ok(true));
        groups.truncate(8, 7);
        assert_eq!((groups.finished_to(8), groups.lost(1, 8)), (None, Lost::default()), "it reads no dead letters");
        groups.apply(&entry(1, 5, ProgressChange::Reset { position: 0 }), 4).unwrap();
        assert_eq!(groups.get(1, 5).unwrap().position(), 4);
        groups.retain(|group, _| group == 2);
        assert_eq!((groups.iter().count(), groups.get(2, 5).unwrap().position()), (1, 10));
    }
}
