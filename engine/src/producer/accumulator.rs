//! Where a producer's records for one lane wait until the lane takes them.
//!
//! Senders append to the open batch; the lane takes it when it is ready to write, so the slower the
//! device, the larger the batches: group commit clocks itself. A batch that reaches `batch_bytes` is
//! sealed, and the lane may take it while it is still writing.
//!
//! Invariants:
//! - An accumulator with records stands in its lane's queue exactly once.
//! - Batches leave in the order they were opened.
//! - Not more than `buffer_bytes_max` wait; senders block, or get `QueueFull`, but nothing is dropped.

use super::batch::{Batch, Content, Outcome, Ticket};
use crate::error::{Error, Result};
use crate::lane::shared::{LaneShared, Message};
use crate::log::origin::Origin;
use crate::partition::shared::TopicShared;
use crate::producer::Durability;
use crate::producer::identity::ProducerIdentity;
use crate::producer::sink::{Note, OutcomeSink};
use crate::producer::spare::SpareContents;
use crate::record::Record;
use crate::sync::{Signal, lock, now};
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Sealed batches after which a sender of many lets go of the lock.
const ADDING_BATCHES_MAX: usize = 16;

/// A batch with its records.
pub(crate) struct FilledBatch {
    pub(crate) ticket: Ticket,
    pub(crate) content: Content,
    pub(crate) durability: Durability,
    /// In whose name they are sent.
    pub(crate) identity: ProducerIdentity,
}

#[derive(Default)]
pub(crate) struct Inner {
    sealed: VecDeque<FilledBatch>,
    open: Option<FilledBatch>,
    /// It stands in the lane's queue, or the lane holds it.
    queued: bool,
    buffered_bytes: u64,
    buffered_records: u64,
    last: Option<Arc<Batch>>,
    /// For each slot, the part of the open batch that it has: (serial of the batch, part).
    parts: Vec<(u32, u32)>,
    serial: u32,
}

impl Inner {
    /// Closes the open batch.
    fn seal(&mut self) {
        if let Some(mut full) = self.open.take() {
            full.content.sum_up();
            self.sealed.push_back(full);
        }
    }

    /// Closes the open batch, if there is one, and opens another; returns whether one was closed.
    fn open_next(&mut self, content: Content, durability: Durability, identity: &ProducerIdentity) -> bool {
        let closes = self.open.is_some();
        self.seal();
        self.serial = self.serial.wrapping_add(1).max(1);
        let batch = Arc::new(Batch::default());
        self.last = Some(batch.clone());
        let (ticket, identity) = (Ticket::new(batch), identity.clone());
        self.open = Some(FilledBatch { ticket, content, durability, identity });
        closes
    }
}

/// See the module.
pub(crate) struct Accumulator {
    lane: Arc<LaneShared>,
    durability: Durability,
    identity: ProducerIdentity,
    batch_bytes: usize,
    buffer_bytes_max: u64,
    max_block: Duration,
    spare: Arc<SpareContents>,
    inner: Mutex<Inner>,
    /// Records that wait here; written under the lock, for a look without it.
    waiting_records: CachePadded<AtomicU64>,
    room: Signal,
    blocked: AtomicU32,
}

/// Where a record went within the open batch.
pub(crate) struct Appended {
    pub(crate) part: u32,
    pub(crate) index: u32,
}

impl Accumulator {
    pub(crate) fn new(
        lane: Arc<LaneShared>,
        durability: Durability,
        identity: ProducerIdentity,
        batch_bytes: usize,
        buffer_bytes_max: u64,
        max_block: Duration,
        spare: Arc<SpareContents>,
    ) -> Accumulator {
        Accumulator {
            lane,
            durability,
            identity,
            batch_bytes,
            buffer_bytes_max,
            max_block,
            spare,
            inner: Mutex::new(Inner::default()),
            waiting_records: CachePadded::new(AtomicU64::new(0)),
            room: Signal::default(),
            blocked: AtomicU32::new(0),
        }
    }

    /// The lane that it is of.
    pub(crate) fn lane(&self) -> u32 {
        self.lane.lane
    }

    /// What a batch has before it is sealed.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// Starts adding records; the lane sees none of them before [`Adding::finish`].
    #[inline]
    pub(crate) fn adding(self: &Arc<Self>) -> Result<Adding<'_>> {
        self.lane.check()?;
        let mut inner = lock(&self.inner);
        if inner.buffered_bytes > self.buffer_bytes_max {
            inner = self.wait_for_room(inner)?;
        }
        Ok(Adding { accumulator: self, inner: Some(inner), sealed: false })
    }

    #[cold]
    fn wait_for_room<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> Result<MutexGuard<'a, Inner>> {
        let start = now();
        self.blocked.fetch_add(1, Ordering::SeqCst);
        let result = loop {
            let seen = self.room.look();
            let buffered_bytes = inner.buffered_bytes;
            if buffered_bytes <= self.buffer_bytes_max {
                break Ok(inner);
            }
            drop(inner);
            let waited = now().saturating_duration_since(start);
            if waited >= self.max_block {
                break Err(Error::QueueFull { buffered_bytes, waited_ms: waited.as_millis() as u64 });
            }
            if let Err(error) = self.lane.check() {
                break Err(error);
            }
            self.room.wait(seen, (self.max_block - waited).min(Duration::from_millis(100)));
            inner = lock(&self.inner);
        };
        self.blocked.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// The last batch that was opened; when it is done, all before it are.
    pub(crate) fn last(&self) -> Option<Arc<Batch>> {
        lock(&self.inner).last.clone()
    }

    /// For the lane: records that wait here.
    pub(crate) fn waiting_records(&self) -> u64 {
        self.waiting_records.load(Ordering::Relaxed)
    }

    /// For the lane: takes sealed batches, and the open one too if `all`, until they have `bytes_max`.
    /// Returns the bytes taken and whether anything is left.
    pub(crate) fn take(&self, all: bool, bytes_max: usize, target: &mut Vec<FilledBatch>) -> (usize, bool) {
        let before = target.len();
        let mut inner = lock(&self.inner);
        let (mut taken, mut records) = (0, 0);
        while taken < bytes_max {
            let next = match inner.sealed.pop_front() {
                Some(batch) => Some(batch),
                None if all => inner.open.take(),
                None => None,
            };
            let Some(batch) = next else { break };
            taken += batch.content.memory_bytes();
            records += batch.content.records();
            target.push(batch);
        }
        inner.buffered_bytes -= taken as u64;
        inner.buffered_records -= records;
        self.waiting_records.store(inner.buffered_records, Ordering::Relaxed);
        let left = !inner.sealed.is_empty() || inner.open.is_some();
        inner.queued = left;
        drop(inner);
        // Who sends one record after the other sums up none of them: the open batch is summed up here, in one stretch.
        target[before..].iter_mut().for_each(|batch| batch.content.sum_up());
        if taken > 0 && self.blocked.load(Ordering::SeqCst) > 0 {
            self.room.notify();
        }
        (taken, left)
    }

    /// Ends all that waits with an error: the lane is gone.
    pub(crate) fn refuse_all(&self, error: &Error) {
        let mut batches = Vec::new();
        self.take(true, usize::MAX, &mut batches);
        for filled in batches {
            let outcome = Outcome { log: self.lane.log, durability: self.durability, parts: Err(error.clone()) };
            let batch = filled.ticket.batch().clone();
            if filled.ticket.complete(outcome).callbacks {
                batch.run_callbacks();
            }
        }
    }

    /// For the lane: a buffer that was copied out may be used again.
    pub(crate) fn give_back(&self, content: Content) {
        self.spare.give_back(content, self.batch_bytes * 2 + 4096);
    }
}

/// Records being added under the accumulator's lock.
pub(crate) struct Adding<'a> {
    accumulator: &'a Arc<Accumulator>,
    inner: Option<MutexGuard<'a, Inner>>,
    sealed: bool,
}

impl Adding<'_> {
    /// Adds a record whose size was checked, to the batch that [`Adding::batch`] names afterwards.
    #[inline(always)]
    pub(crate) fn push(
        &mut self,
        (topic, partition): (&Arc<TopicShared>, u32),
        record: &Record<'_>,
        size: usize,
        timestamp_ms: i64,
        due_ms: Option<i64>,
        given: Option<Origin>,
    ) -> Appended {
        let inner = &mut **self.inner.as_mut().expect("held until finish");
        let slot_number = topic.partitions[partition as usize].slot;
        let slot = slot_number as usize;
        if inner.parts.len() <= slot {
            inner.parts.resize(slot + 1, (0, 0));
        }
        if inner.open.as_ref().is_none_or(|open| open.content.len() >= self.accumulator.batch_bytes) {
            let content = self.accumulator.spare.take();
            self.sealed |= inner.open_next(content, self.accumulator.durability, &self.accumulator.identity);
        }
        let open = inner.open.as_mut().expect("just opened");
        open.content.make_room(size, self.accumulator.batch_bytes);
        let (serial, part) = inner.parts[slot];
        // A delayed record is a frame of its own, so that it can be cancelled alone.
        let part = (serial == inner.serial && due_ms.is_none()).then_some(part);
        let part = part.filter(|part| given.is_none() || open.content.parts[*part as usize].next_given() == given);
        let before = open.content.memory_bytes();
        let (part, index) =
            open.content.push(part, (topic, partition, slot_number), record, size, timestamp_ms, due_ms, given);
        if due_ms.is_none() {
            inner.parts[slot] = (inner.serial, part);
        }
        inner.buffered_bytes += (open.content.memory_bytes() - before) as u64;
        inner.buffered_records += 1;
        Appended { part, index }
    }

    /// Adds records to where the last one went, as [`Content::grow`] does, while the open batch and the send buffer take
    /// them.
    #[inline(always)]
    pub(crate) fn grow(&mut self, append: impl FnMut(&mut Vec<u8>) -> bool) {
        let (batch_bytes, buffer_bytes_max) = (self.accumulator.batch_bytes, self.accumulator.buffer_bytes_max);
        let inner = &mut **self.inner.as_mut().expect("held until finish");
        let content = &mut inner.open.as_mut().expect("a record was just added").content;
        let before = content.len();
        let room = buffer_bytes_max.saturating_sub(inner.buffered_bytes).min(batch_bytes as u64) as usize;
        let count = content.grow(batch_bytes.min(before + room), append);
        inner.buffered_bytes += (content.len() - before) as u64;
        inner.buffered_records += u64::from(count);
    }

    /// The batch that the last record went to.
    #[inline]
    pub(crate) fn batch(&self) -> &Arc<Batch> {
        let open = self.inner.as_ref().and_then(|inner| inner.open.as_ref());
        open.expect("a record was just added").ticket.batch()
    }

    /// Has a sink told of the outcome of the last record.
    #[inline]
    pub(crate) fn note<S: OutcomeSink + 'static>(&mut self, sink: &Arc<S>, note: Note) {
        let open = self.inner.as_mut().and_then(|inner| inner.open.as_mut());
        open.expect("a record was just added").ticket.notes.add(sink, note);
    }

    /// Whether a sender that adds many should let the lane in: it waits for this lock.
    pub(crate) fn is_long(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| {
            inner.buffered_bytes > self.accumulator.buffer_bytes_max || inner.sealed.len() >= ADDING_BATCHES_MAX
        })
    }

    /// Hands the records over: the lane may take them from now on.
    #[inline]
    pub(crate) fn finish(mut self) {
        let mut inner = self.inner.take().expect("held until finish");
        if inner.open.as_ref().is_some_and(|open| open.content.len() >= self.accumulator.batch_bytes) {
            inner.seal();
            self.sealed = true;
        }
        self.accumulator.waiting_records.store(inner.buffered_records, Ordering::Relaxed);
        let queue = !inner.queued && (inner.open.is_some() || !inner.sealed.is_empty());
        if queue {
            inner.queued = true;
        }
        drop(inner);
        if queue {
            self.accumulator.lane.push(Message::Ready(self.accumulator.clone()));
        }
        if self.sealed {
            self.accumulator.lane.wake_for_bulk();
        }
    }
}

impl Drop for Adding<'_> {
    /// An error in the middle of many: what was added before is handed over all the same.
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            Adding { accumulator: self.accumulator, inner: Some(inner), sealed: self.sealed }.finish();
        }
    }
}
