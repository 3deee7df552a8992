//! Records whose outcome goes to a sink, not to a handle: they are noted in the batch that they go to, under the lock that is
//! held anyway. A send then needs no handle, and no other lock to keep it under. It is how the C library's queue learns of
//! outcomes.
//!
//! Invariants:
//! - Each record that was noted is told of once, when its batch has its outcome; those of a batch together, in the order of
//!   sending. If the producer has interceptors, each is told of alone, and two threads may do so.
//! - A sink that is gone is told nothing; notes do not keep it.

use super::batch::Batch;
use super::handle::receipt;
use super::receipt::Receipt;
use crate::error::Result;
use std::sync::{Arc, Weak};

/// Where outcomes go.
pub trait OutcomeSink: Send + Sync {
    /// Room for notes: what [`NotedRecords::into_room`] gave, or a new one. Called under the lock of who sends.
    fn room(&self) -> NoteRoom;
    /// Records of a batch have their outcomes. Called on a lane, which waits for its return, or, if the producer has
    /// interceptors, on the callback thread or the one that sends.
    fn tell(&self, records: NotedRecords);
}

/// A record that was sent.
pub(crate) struct Note {
    pub(crate) user_data: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) part: u32,
    pub(crate) index: u32,
}

/// Room for notes, which has none.
#[derive(Default)]
pub struct NoteRoom(Vec<Note>);

impl NoteRoom {
    /// For how many records there is room.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

/// Records of one batch, which has its outcome.
pub struct NotedRecords {
    batch: Arc<Batch>,
    notes: Vec<Note>,
}

impl NotedRecords {
    pub(crate) fn new(batch: Arc<Batch>, notes: Vec<Note>) -> NotedRecords {
        NotedRecords { batch, notes }
    }

    /// How many there are: one at least.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// What a record was sent with, and its outcome.
    #[inline]
    pub fn outcome(&self, at: usize) -> (u64, Result<Receipt>) {
        let Note { user_data, timestamp_ms, part, index } = self.notes[at];
        (user_data, receipt(self.batch.wait(), part, index, timestamp_ms))
    }

    /// Their room, to be used again.
    pub fn into_room(self) -> NoteRoom {
        let mut notes = self.notes;
        notes.clear();
        NoteRoom(notes)
    }
}

/// What is noted in a batch, by sink: there is one, or a few.
#[derive(Default)]
pub(crate) struct Notes(Vec<(Weak<dyn OutcomeSink>, Vec<Note>)>);

impl Notes {
    #[inline]
    pub(crate) fn add<S: OutcomeSink + 'static>(&mut self, sink: &Arc<S>, note: Note) {
        for (known, notes) in &mut self.0 {
            if std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(sink)) {
                notes.push(note);
                return;
            }
        }
        self.add_first(sink, note);
    }

    #[cold]
    fn add_first<S: OutcomeSink + 'static>(&mut self, sink: &Arc<S>, note: Note) {
        let NoteRoom(mut notes) = sink.room();
        notes.push(note);
        let sink: Weak<S> = Arc::downgrade(sink);
        self.0.push((sink, notes));
    }

    /// Tells the sinks; returns how many there were.
    pub(crate) fn tell(self, batch: &Arc<Batch>) -> u32 {
        let mut told = 0;
        for (sink, notes) in self.0 {
            if let Some(sink) = sink.upgrade() {
                sink.tell(NotedRecords::new(batch.clone(), notes));
                told += 1;
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::batch::Ticket;
    use crate::sync::lock;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Told(Mutex<Vec<(u64, &'static str)>>);

    impl OutcomeSink for Told {
        fn room(&self) -> NoteRoom {
            NoteRoom::default()
        }

        fn tell(&self, records: NotedRecords) {
            let outcomes = (0..records.len()).map(|at| records.outcome(at));
            lock(&self.0).extend(outcomes.map(|(user_data, outcome)| (user_data, outcome.unwrap_err().code())));
        }
    }

    /// Who sent without a handle has nothing else to wait on.
    #[test]
    fn a_lane_that_breaks_down_leaves_no_sink_waiting() {
        let told = Arc::new(Told::default());
        let mut ticket = Ticket::new(Arc::default());
        for user_data in [7, 8] {
            ticket.notes.add(&told, Note { user_data, timestamp_ms: 0, part: 0, index: user_data as u32 - 7 });
        }
        drop(ticket);
        assert_eq!(*lock(&told.0), [(7, "unknown-outcome"), (8, "unknown-outcome")]);
    }
}
