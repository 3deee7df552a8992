//! What is known of the frames of a segment that were withheld: which may go.
//!
//! A withheld frame is needed until its records are published and then given up, or until they are discarded. Which
//! of them are still withheld the lanes know. Those that are not were given offsets below the ends that their
//! partitions had when that was asked; so once a partition begins behind there, they may go.
//!
//! Invariant: a note is made of an answer that came after everything that the lanes had published by then stood in
//! the indexes.

use crate::lane::shared::{LaneShared, Message, Reply};
use crate::log::position::{Position, Stretch};
use crate::partition::sidecar::SidecarEntry;
use crate::partition::table::PartitionTable;
use crate::sync::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// See the module. Of one segment.
#[derive(Clone, Default)]
pub(crate) struct Note {
    /// Those that were withheld still, with their slots.
    undecided: BTreeMap<Position, u32>,
    /// Behind which offsets the others stand, by slot.
    behind: BTreeMap<u32, u64>,
}

impl Note {
    /// Of a segment with these entries.
    pub(crate) fn new(
        undecided: impl IntoIterator<Item = (Position, u32)>,
        entries: &[SidecarEntry],
        table: &PartitionTable,
    ) -> Note {
        let withheld = entries.iter().filter(|entry| entry.withheld_frames > 0);
        let behind = withheld.filter_map(|entry| {
            let partition = table.get(entry.slot)?;
            let next_offset = partition.index().next_offset;
            Some((entry.slot, next_offset))
        });
        Note { undecided: undecided.into_iter().collect(), behind: behind.collect() }
    }

    /// Whether a frame may go, when its partition begins at `first_offset`.
    pub(crate) fn is_gone(&self, slot: u32, identity: Position, first_offset: u64) -> bool {
        !self.undecided.contains_key(&identity) && self.others_are_gone(slot, first_offset)
    }

    /// Whether all frames of a partition that were decided may go.
    pub(crate) fn others_are_gone(&self, slot: u32, first_offset: u64) -> bool {
        self.behind.get(&slot).is_some_and(|behind| *behind <= first_offset)
    }

    /// Whether no frame of a partition may be asked for any more.
    pub(crate) fn is_dead(&self, slot: u32, first_offset: u64) -> bool {
        self.others_are_gone(slot, first_offset) && self.undecided(slot) == 0
    }

    /// Frames of a partition that were withheld still.
    pub(crate) fn undecided(&self, slot: u32) -> u64 {
        self.undecided.values().filter(|of| **of == slot).count() as u64
    }

    /// Whether asking once more could free anything: those that were decided by then are gone.
    pub(crate) fn is_worn(&self, table: &PartitionTable) -> bool {
        let is_gone = |(slot, behind): (&u32, &u64)| {
            table.get(*slot).is_none_or(|partition| *behind <= partition.index().first_offset)
        };
        !self.undecided.is_empty() && self.behind.iter().all(is_gone)
    }
}

/// A question to all lanes that is not answered yet.
pub(super) struct Question {
    replies: Vec<Arc<Reply>>,
    list: Arc<Mutex<Vec<(Position, u32)>>>,
}

impl Question {
    /// Which frames of a stretch are withheld? After a change of the lanes any of them may have some.
    pub(super) fn ask(lanes: &[Arc<LaneShared>], log: u32, stretch: Stretch) -> Question {
        let list = Arc::new(Mutex::new(Vec::new()));
        let ask = |lane: &Arc<LaneShared>| {
            let (reply, answer) = Reply::pair();
            lane.push(Message::ListWithheld { log, stretch, list: list.clone(), reply });
            answer
        };
        Question { replies: lanes.iter().map(ask).collect(), list }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.replies.iter().all(|reply| reply.is_there())
    }

    /// The answer, once it is there; `None`: a lane could not give one.
    pub(super) fn answer(self) -> Option<Vec<(Position, u32)>> {
        self.replies.iter().all(|reply| reply.wait().is_ok()).then(|| std::mem::take(&mut *lock(&self.list)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_when_it_was_decided_and_its_partition_begins_behind() {
        let note = Note { undecided: [(Position(8), 1)].into(), behind: [(1, 10), (2, 5)].into() };
        assert!(!note.is_gone(1, Position(8), 100), "it is withheld still");
        assert!(!note.is_gone(1, Position(16), 9) && note.is_gone(1, Position(16), 10));
        assert!(!note.is_gone(3, Position(24), 100), "nobody has asked for it");
        assert_eq!((note.undecided(1), note.undecided(2)), (1, 0));
        assert!(note.others_are_gone(2, 5));
    }
}
