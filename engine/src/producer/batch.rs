//! Records on their way to a lane, and the one completion that answers them all.
//!
//! Invariants:
//! - A batch gets its outcome exactly once, and every handle to it sees that one.
//! - The outcome is written before the event is set; no handle looks at it earlier.
//! - Callbacks run on the dispatcher's thread (or on the thread that registers one too late), never on a lane.

use super::listeners::{self, Listeners};
use super::sink::Notes;
use crate::error::Error;
use crate::io::fork::ForkMark;
use crate::lane::originals::Original;
use crate::lane::writer::Placed;
use crate::log::origin::Origin;
use crate::log::position::Position;
use crate::partition::index::Run;
use crate::partition::shared::{TopicPartition, TopicShared};
use crate::producer::Durability;
use crate::record::{RECORD_ALIGNMENT, Record};
use crate::sync::Event;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// What became of the records of one partition in a batch. Small, because a batch may have a thousand.
#[derive(Clone)]
pub(crate) struct PartOutcome {
    pub(crate) partition: TopicPartition,
    /// Their frame.
    pub(crate) position: Position,
    pub(crate) bytes: u32,
    pub(crate) count: u32,
    /// Offset of the first of them; [`WITHHELD`]: they have none yet.
    base_offset: u64,
    timestamp_max_ms: i64,
    /// Whether their run may grow together with the one before it.
    pub(crate) may_merge: bool,
    /// Of the first of them.
    pub(crate) origin: Origin,
    /// What became of each record, where that differs: some were sent before.
    pub(crate) each: Option<Arc<[RecordOutcome]>>,
}

/// What became of one record of a part that has records with numbers or ids of their sender's own.
#[derive(Clone)]
pub(crate) enum RecordOutcome {
    /// It stands in the part's frame, at this place.
    New {
        index: u32,
    },
    /// It is the same as one in the part's frame.
    RepeatHere {
        index: u32,
        timestamp_ms: i64,
    },
    /// It is the same as one that was there before.
    Repeat(Box<Original>),
    Refused(Error),
}

/// No offset: a partition never gets so far.
const WITHHELD: u64 = u64::MAX;

/// Records that stand in the log, in one frame.
pub(crate) struct Appended {
    pub(crate) placed: Placed,
    pub(crate) count: u32,
    /// Of the first of them.
    pub(crate) origin: Origin,
    /// The offset of the first of them, and the largest timestamp of the partition with them; `None`: they are
    /// withheld.
    pub(crate) published: Option<(u64, i64)>,
}

impl PartOutcome {
    pub(crate) fn new(partition: TopicPartition, appended: &Appended) -> PartOutcome {
        let Appended { placed, count, origin, published } = appended;
        let (base_offset, timestamp_max_ms) = published.unwrap_or((WITHHELD, i64::MIN));
        PartOutcome {
            partition,
            position: placed.position,
            bytes: placed.bytes,
            count: *count,
            base_offset,
            timestamp_max_ms,
            may_merge: published.is_some() && !placed.starts_block,
            origin: *origin,
            each: None,
        }
    }

    /// None of the records was written.
    pub(crate) fn nothing(partition: TopicPartition) -> PartOutcome {
        let placed = Placed { position: Position(0), end: Position(0), bytes: 0, starts_block: false };
        Self::new(partition, &Appended { placed, count: 0, origin: Origin::default(), published: None })
    }

    /// The same, with what became of each record.
    pub(crate) fn with_each(self, each: Vec<RecordOutcome>) -> PartOutcome {
        PartOutcome { each: Some(each.into()), ..self }
    }

    /// The offset of the first record, unless they are withheld.
    pub(crate) fn base_offset(&self) -> Option<u64> {
        (self.base_offset != WITHHELD).then_some(self.base_offset)
    }

    /// The index entry of the records, unless they are withheld.
    pub(crate) fn run(&self) -> Option<Run> {
        Some(Run {
            base_offset: self.base_offset()?,
            count: self.count,
            first: 0,
            position: self.position,
            bytes: self.bytes,
            timestamp_max_ms: self.timestamp_max_ms,
            publication: None,
        })
    }
}

/// What became of a batch.
#[derive(Clone)]
pub(crate) struct Outcome {
    pub(crate) log: u32,
    pub(crate) durability: Durability,
    pub(crate) parts: Result<Vec<PartOutcome>, Error>,
}

impl Outcome {
    /// That of a batch of which no lane can tell more.
    fn failed(error: Error) -> Outcome {
        Outcome { log: 0, durability: Durability::Synced, parts: Err(error) }
    }
}

/// What completing a batch set in motion.
pub(crate) struct Completed {
    /// Threads and tasks that waited and go on now.
    pub(crate) released: u32,
    /// Callbacks are to be run with [`Batch::run_callbacks`].
    pub(crate) callbacks: bool,
}

/// Runs when a batch has its outcome.
pub(crate) type Callback = listeners::Callback<Outcome>;

/// The shared end of a batch: what handles hold.
#[derive(Default)]
pub(crate) struct Batch {
    outcome: OnceLock<Outcome>,
    event: Event,
    listeners: Listeners<Outcome>,
    process: ForkMark,
}

/// The duty to give a batch its outcome. Dropped without one (its lane broke down), it says that the
/// outcome is unknown: no sender waits for ever.
pub(crate) struct Ticket {
    batch: Arc<Batch>,
    /// Records of whose outcome sinks are told.
    pub(crate) notes: Notes,
}

impl Ticket {
    pub(crate) fn new(batch: Arc<Batch>) -> Ticket {
        Ticket { batch, notes: Notes::default() }
    }

    pub(crate) fn batch(&self) -> &Arc<Batch> {
        &self.batch
    }

    /// Gives the batch its outcome and releases who waits.
    pub(crate) fn complete(mut self, outcome: Outcome) -> Completed {
        self.end(outcome)
    }

    fn end(&mut self, outcome: Outcome) -> Completed {
        let mut completed = self.batch.complete(outcome);
        completed.released += std::mem::take(&mut self.notes).tell(&self.batch);
        completed
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.batch.outcome.get().is_none() {
            let reason = "the lane that had it in hand broke down".to_owned();
            if self.end(Outcome::failed(Error::UnknownOutcome { reason })).callbacks {
                self.batch.run_callbacks();
            }
        }
    }
}

impl Batch {
    /// One that no lane has seen, and whose outcome is this error.
    pub(crate) fn refused(error: Error) -> Arc<Batch> {
        let batch = Arc::new(Batch::default());
        batch.complete(Outcome::failed(error));
        batch
    }

    fn complete(&self, outcome: Outcome) -> Completed {
        let first = self.outcome.set(outcome).is_ok();
        assert!(first, "a batch ends once");
        let released = self.event.set();
        if !self.listeners.are_there() {
            return Completed { released, callbacks: false };
        }
        let (wakers, callbacks) = self.listeners.take_wakers();
        let released = released + wakers.len() as u32;
        for waker in wakers {
            waker.wake();
        }
        Completed { released, callbacks }
    }

    /// Runs the callbacks that were registered in time.
    pub(crate) fn run_callbacks(&self) {
        let outcome = self.outcome.get().expect("run after completion");
        self.listeners.run_callbacks(outcome);
    }

    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        if self.event.is_set() || self.is_out_of_reach() { self.outcome.get() } else { None }
    }

    /// In a child of fork there is no lane that could complete the batch: it has ended here.
    fn is_out_of_reach(&self) -> bool {
        let forked = self.process.is_forked();
        if forked {
            let _ = self.outcome.set(Outcome::failed(Error::Forked));
        }
        forked
    }

    pub(crate) fn wait(&self) -> &Outcome {
        if !self.is_out_of_reach() {
            self.event.wait();
        }
        self.outcome.get().expect("set before the event")
    }

    pub(crate) fn wait_timeout(&self, timeout: std::time::Duration) -> Option<&Outcome> {
        if self.is_out_of_reach() || self.event.wait_timeout(timeout) { self.outcome.get() } else { None }
    }

    /// Registers a callback; if the outcome is there already, it runs now, on this thread.
    pub(crate) fn on_complete(&self, callback: Callback) {
        if let Err(callback) = self.listeners.add_callback(|| self.event.is_set() || self.is_out_of_reach(), callback) {
            callback(self.outcome.get().expect("set before the event"));
        }
    }

    /// Registers a task; `false` if the outcome is there already.
    pub(crate) fn wake_on_complete(&self, waker: &Waker) -> bool {
        self.listeners.add_waker(|| self.event.is_set(), waker)
    }
}

/// Records of one partition within a batch: they become one frame.
pub(crate) struct Part {
    pub(crate) partition: TopicPartition,
    /// The partition's slot, here so that the lane need not look it up.
    pub(crate) slot: u32,
    pub(crate) count: u32,
    pub(crate) bytes: u32,
    /// CRC32C of the records in the order they were added, as far as they are summed up.
    pub(crate) checksum: u32,
    pub(crate) timestamp_max_ms: i64,
    /// Withheld until this time.
    pub(crate) due_ms: Option<i64>,
    /// How many of them have a number or an id of their sender's own, and the bytes of those ids.
    pub(crate) known_again: u32,
    pub(crate) id_bytes: u32,
    /// Who wrote the first of them, where that is not this producer: in a repaired log.
    pub(crate) given: Option<Origin>,
    first_piece: u32,
    last_piece: u32,
}

impl Part {
    /// Who must have written the next one, where that is given.
    pub(crate) fn next_given(&self) -> Option<Origin> {
        self.given.map(|given| given.plus(self.count))
    }
}

/// A stretch of the buffer that belongs to one part.
#[derive(Clone, Copy)]
struct Piece {
    start: u32,
    end: u32,
    next: u32,
}

const NO_PIECE: u32 = u32::MAX;

/// The encoded records of a batch: one buffer, and for each partition the stretches of it that are its own.
///
/// Checksums are made over as long a stretch as possible: a part that grows without interruption is summed up when another
/// one grows, or at the end ([`Content::sum_up`]): by the sender who fills the batch, or by the lane where it takes one that
/// is not full. So at most one part, the last that grew, has bytes that its checksum does not cover.
#[derive(Default)]
pub(crate) struct Content {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    pub(crate) parts: Vec<Part>,
    /// The part that grew last, and where its uncovered bytes begin; they reach to the end of `bytes`.
    growing: Option<(u32, u32)>,
}

/// Has room for a record of this size: if it is the first for no more than it takes, else for what a batch `usually` has.
#[inline(always)]
pub(crate) fn make_room(bytes: &mut Vec<u8>, size: usize, usually: usize) {
    // Its own padding, and as much again, which [`Record::encode_into`] writes and takes back.
    let needed = size + 2 * RECORD_ALIGNMENT;
    if bytes.capacity() - bytes.len() < needed {
        bytes.reserve(if bytes.is_empty() { needed } else { needed.max(usually) });
    }
}

impl Content {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Records of all parts.
    pub(crate) fn records(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.count)).sum()
    }

    /// Memory it takes: what the bound on waiting records counts. With one record for each partition
    /// the bookkeeping is as large as the records.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.pieces.len() * size_of::<Piece>() + self.parts.len() * size_of::<Part>()
    }

    /// See [`make_room`].
    #[inline]
    pub(crate) fn make_room(&mut self, size: usize, usually: usize) {
        make_room(&mut self.bytes, size, usually);
    }

    /// Appends a record to a part; a new one if `part` is none. Returns the part and the record's index in it.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn push(
        &mut self,
        part: Option<u32>,
        (topic, partition, slot): (&Arc<TopicShared>, u32, u32),
        record: &Record<'_>,
        size: usize,
        timestamp_ms: i64,
        due_ms: Option<i64>,
        given: Option<Origin>,
    ) -> (u32, u32) {
        let start = self.bytes.len();
        if self.growing.is_some_and(|(growing, _)| Some(growing) != part) {
            self.sum_up();
        }
        record.encode_into(&mut self.bytes, size, timestamp_ms);
        let end = self.bytes.len();
        let part_index = part.unwrap_or_else(|| {
            self.parts.push(Part {
                partition: TopicPartition::new(topic, partition),
                slot,
                count: 0,
                bytes: 0,
                checksum: 0,
                timestamp_max_ms: i64::MIN,
                due_ms,
                known_again: 0,
                id_bytes: 0,
                given,
                first_piece: NO_PIECE,
                last_piece: NO_PIECE,
            });
            self.parts.len() as u32 - 1
        });
        self.growing.get_or_insert((part_index, start as u32));
        let part = &mut self.parts[part_index as usize];
        part.timestamp_max_ms = part.timestamp_max_ms.max(timestamp_ms);
        part.bytes += (end - start) as u32;
        if record.sequence.is_some() || record.message_id.is_some() {
            part.known_again += 1;
            part.id_bytes += record.message_id.map_or(0, |id| id.len() as u32);
        }
        let index = part.count;
        part.count += 1;
        if part.last_piece != NO_PIECE && self.pieces[part.last_piece as usize].end == start as u32 {
            self.pieces[part.last_piece as usize].end = end as u32;
        } else {
            let piece = self.pieces.len() as u32;
            self.pieces.push(Piece { start: start as u32, end: end as u32, next: NO_PIECE });
            match part.last_piece {
                NO_PIECE => part.first_piece = piece,
                last => self.pieces[last as usize].next = piece,
            }
            part.last_piece = piece;
        }
        (part_index, index)
    }

    /// Appends records to the part of the last one, while the buffer has less than `bytes_max` and `append` does so: one of
    /// the last one's timestamp, at once visible, not known again. Returns how many.
    ///
    /// It is `append` that has the record: handed on, it would be read back before it is written, and that takes a quarter
    /// of what a record of a batch takes.
    #[inline(always)]
    pub(crate) fn grow(&mut self, bytes_max: usize, mut append: impl FnMut(&mut Vec<u8>) -> bool) -> u32 {
        let (part, _) = self.growing.expect("a record was just added");
        let (start, mut count) = (self.bytes.len(), 0);
        while self.bytes.len() < bytes_max && append(&mut self.bytes) {
            count += 1;
        }
        let part = &mut self.parts[part as usize];
        part.count += count;
        part.bytes += (self.bytes.len() - start) as u32;
        self.pieces[part.last_piece as usize].end = self.bytes.len() as u32;
        count
    }

    /// Brings the checksums up to date; to be called before they are written anywhere.
    #[inline]
    pub(crate) fn sum_up(&mut self) {
        if let Some((part, start)) = self.growing.take() {
            let part = &mut self.parts[part as usize];
            part.checksum = crc32c::crc32c_append(part.checksum, &self.bytes[start as usize..]);
        }
    }

    /// Copies the records of a part, in their order, to `target`, which has the part's size.
    pub(crate) fn copy_part(&self, part: &Part, target: &mut [u8]) {
        let mut at = 0;
        let mut piece = part.first_piece;
        while piece != NO_PIECE {
            let Piece { start, end, next } = self.pieces[piece as usize];
            let source = &self.bytes[start as usize..end as usize];
            target[at..at + source.len()].copy_from_slice(source);
            at += source.len();
            piece = next;
        }
        assert_eq!(at, target.len(), "a part knows its size");
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.parts.clear();
        self.growing = None;
    }

    /// Memory worth keeping for the next batch.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}
