//! The lane's state machine: receive, gather, submit, complete, again and again, on one thread.
//!
//! The way of a record: its sender appends it to an accumulator; the lane takes the accumulator's
//! batch (gather), gives the records offsets and frames (encode), writes them (submit), and when they
//! lie below the contiguous durable prefix, shows them to readers and answers the sender (complete).
//!
//! Invariants:
//! - Effects (publications, receipts, replies) happen in log order, each when its frame is durable.
//! - After the first failed write or flush nothing more is written; what was in flight ends as
//!   unknown, everything later as poisoned.
//! - A batch is taken on wholly or not at all: room for all of it is there before the first frame.

mod encoding;
mod transacting;

use super::catalog::CatalogChange;
use super::checkpoint::Checkpoint;
use super::cohort::{Cohort, Look};
use super::cut::Cut;
use super::entries::{self, DiscardEntry, PUBLISH_BYTES, TruncateEntry, truncate_body_bytes};
use super::progress::{self, ProgressEntry, progress_body_bytes_max, progress_growth_max};
use super::shared::{Answer, LaneShared, Message, NO_RECORDS, count, poisoned};
use super::state::{LogState, PARTITION_BYTES, WITHHELD_BYTES, reference_run};
use super::steps::TransactionStep;
use super::supply::{Full, Prepared, Purpose, Supplied};
use super::writer::{LogWriter, Placed};
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::io::{BlockPool, Clock, Completion, IoFailure, Ring, Wait};
use crate::log::frame::{Kind, WithheldReason, frame_bytes};
use crate::log::origin::Origin;
use crate::log::position::{Identity, Position};
use crate::log::segment::file_name;
use crate::partition::index::Run;
use crate::partition::shared::{LogShared, Partition, Segment};
use crate::partition::table::PartitionTable;
use crate::producer::Durability;
use crate::producer::accumulator::{Accumulator, FilledBatch};
use crate::producer::batch::{Outcome, Part, PartOutcome, Ticket};
use crate::producer::dispatcher::Dispatcher;
use crate::sync::{lock, yield_now};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes taken from accumulators in one go.
const GATHER_BYTES_MAX: usize = 4 << 20;
/// While this much is encoded and not submitted, nothing more is taken.
const WAITING_BYTES_MAX: u64 = 8 << 20;
/// A mark follows the last group when nothing came for so long.
const IDLE_MARK_NS: u64 = 20_000_000;
/// A frame that was due and found no room is tried again after this time: the keeper wakes a lane when it
/// has a segment, but a full disk may have none for long.
const BLOCKED_RETRY_NS: u64 = 10_000_000;
/// What ends a transaction that was decided elsewhere waits so long for company: nobody waits for it, and the lane would
/// have a write in flight when the next transaction's part comes, whose sender does wait.
const FOLLOW_WAIT_NS: u64 = 100_000;
/// Due records published by one frame.
const PUBLISH_MAX: usize = 512;
/// The wall clock may jump, so timers that follow it are looked at this often.
const WALL_CLOCK_CHECK_NS: u64 = 1_000_000_000;

/// A batch of so many parts has their indexes brought near while it is written.
const PARTS_MANY: usize = 64;

/// Room below W for padding and for what is added after the check.
const WINDOW_SLACK_BYTES: u64 = 1 << 20;

/// What follows when a frame is durable.
enum Effect {
    Publish {
        partition: Arc<Partition>,
        run: Run,
        may_merge: bool,
    },
    /// Show a batch's records to readers, and then answer its senders, unless they were answered before.
    Batch {
        batch: Option<Ticket>,
        parts: Vec<PartOutcome>,
        published: usize,
        records: u64,
    },
    /// The front of a partition is given up.
    Truncate {
        partition: Arc<Partition>,
        first_offset: u64,
    },
    Reply(Answer),
}

/// What a lane is made of.
pub(crate) struct LaneParts {
    pub(crate) shared: Arc<LaneShared>,
    pub(crate) log: Arc<LogShared>,
    pub(crate) state: LogState,
    /// Taken by the lane; its descriptor must not outlive the segment's use.
    pub(crate) first_segment: Option<Prepared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) table: Arc<PartitionTable>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) pool: Arc<BlockPool>,
    pub(crate) window_bytes: u64,
    pub(crate) linger_ns: u64,
    pub(crate) flush_interval_ns: u64,
    pub(crate) power_safe_overwrite: bool,
    pub(crate) withheld_records_max: u64,
    /// All lanes of the engine: a failure stops every one.
    pub(crate) peers: Vec<Arc<LaneShared>>,
}

/// See the module.
pub(crate) struct Lane {
    parts: LaneParts,
    ring: Box<dyn Ring>,
    state: LogState,
    writer: LogWriter,
    next_segment: Option<Prepared>,
    ready: VecDeque<Arc<Accumulator>>,
    gathered: VecDeque<(Arc<Accumulator>, FilledBatch)>,
    /// Batches that were ever gathered.
    gathered_total: u64,
    /// Who wants to know that the first so many batches are durable, and everything else before them.
    syncs: VecDeque<(u64, Answer)>,
    controls: VecDeque<Message>,
    /// How far groups have come, and the log had no room for it. Their desks count on it, so it goes first, in its order.
    unwritten_progress: Vec<ProgressEntry>,
    /// Parts of transactions that were decided elsewhere, and the log had no room for their ends. Nobody else ends them.
    unended: Vec<Message>,
    /// When these are tried again.
    retry_at: u64,
    effects: VecDeque<(Position, Effect)>,
    completions: Vec<Completion>,
    /// Batches of many parts among the effects, at the end, whose indexes are not near yet.
    far_batches: usize,
    scratch: Vec<FilledBatch>,
    withheld_in_segment: BTreeMap<u32, u32>,
    /// What will be told when everything before this position is durable: nothing below it is withheld.
    withheld_from: Option<(Position, Position)>,
    /// Something waits for its flush, not only buffered records.
    urgent: bool,
    /// When the first buffered record that is not written came.
    buffered_since: Option<u64>,
    /// When the end of a transaction that was decided elsewhere is written, if nothing takes it along before.
    follow_at: Option<u64>,
    linger_until: Option<u64>,
    cohort: Cohort,
    /// When to look whether the cohort is back; said anew in each round.
    look: Look,
    /// When the write that is alone in flight was started.
    alone_since: Option<u64>,
    last_activity: u64,
    last_is_mark: bool,
    /// A frame that is due found no room in this turn.
    blocked: bool,
    closing: Option<Answer>,
    closing_marked: bool,
    failed: bool,
}

impl Lane {
    /// Takes over the log's end. Writes the checkpoint that the first segment begins with.
    pub(crate) fn new(mut parts: LaneParts, ring: Box<dyn Ring>) -> Lane {
        let first = parts.first_segment.take().expect("a lane begins once");
        parts.log.add_segment(Arc::new(Segment::new(first.manifest)));
        let writer = LogWriter::new(first, parts.pool.clone(), parts.window_bytes, !parts.power_safe_overwrite);
        let state = std::mem::take(&mut parts.state);
        parts.log.durable.store(writer.durable().0, Ordering::Release);
        let mut lane = Lane {
            parts,
            ring,
            state,
            writer,
            next_segment: None,
            ready: VecDeque::new(),
            gathered: VecDeque::new(),
            gathered_total: 0,
            syncs: VecDeque::new(),
            controls: VecDeque::new(),
            unwritten_progress: Vec::new(),
            unended: Vec::new(),
            retry_at: 0,
            effects: VecDeque::new(),
            completions: Vec::new(),
            far_batches: 0,
            scratch: Vec::new(),
            withheld_in_segment: BTreeMap::new(),
            withheld_from: None,
            urgent: true,
            buffered_since: None,
            follow_at: None,
            linger_until: None,
            cohort: Cohort::new(),
            look: Look::Go,
            alone_since: None,
            last_activity: 0,
            last_is_mark: false,
            blocked: false,
            closing: None,
            closing_marked: false,
            failed: false,
        };
        lane.write_checkpoint(Position(0));
        lane.state.groups.iter().for_each(|(_, slot, _)| lane.tell_finished(slot));
        lane
    }

    /// One round. `false`: the lane has ended.
    pub(crate) fn turn(&mut self) -> bool {
        self.receive();
        if self.parts.shared.latch.is_poisoned() {
            self.fail_everything();
        } else {
            let now = self.parts.clock.monotonic_ns();
            self.blocked = false;
            self.look = Look::Go;
            self.publish_due();
            self.work_through_controls();
            self.gather(now);
            self.mark_if_idle(now);
            self.submit(now);
        }
        if self.has_ended() {
            return false;
        }
        self.wait_and_complete();
        true
    }

    /// Messages out of the queue.
    fn receive(&mut self) {
        while let Some(message) = self.parts.shared.pop() {
            match message {
                Message::Ready(accumulator) => self.ready.push_back(accumulator),
                Message::Close { reply } => self.closing = Some(reply),
                other => self.controls.push_back(other),
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        if self.closing.is_none() {
            return false;
        }
        let nothing_left =
            self.ready.is_empty() && self.gathered.is_empty() && self.controls.is_empty() && self.syncs.is_empty();
        let all_durable = self.writer.is_clean() && self.writer.is_idle() && self.effects.is_empty();
        let may_end = self.failed || (nothing_left && all_durable);
        if !may_end {
            return false;
        }
        if !self.failed && !self.closing_marked {
            match self.ensure_room(64, Purpose::Bookkeeping) {
                Ok(true) => self.append_mark(1),
                // The keeper is at it.
                Ok(false) => {
                    yield_now();
                    return false;
                }
                // Opening will look for the end itself.
                Err(_) => {}
            }
            self.closing_marked = true;
            return false;
        }
        for message in std::mem::take(&mut self.unended) {
            // Opening ends them.
            message.refuse(&Error::Closed { what: "the engine" });
        }
        if let Some(answer) = self.closing.take() {
            answer.set(self.parts.shared.latch.check().map_err(poisoned));
        }
        true
    }

    /// The lane cannot go on: everybody who waits gets an answer. The latch was poisoned before.
    pub(crate) fn abandon(&mut self) {
        self.receive();
        self.fail_everything();
        self.has_ended();
    }

    // ----- gathering -----

    /// Takes what senders have collected: everything when nothing is in flight, full batches otherwise.
    fn gather(&mut self, now: u64) {
        let idle = self.writer.is_idle();
        if idle && self.gathered.is_empty() && (self.lingers(now) || self.waits_for_cohort(now)) {
            return;
        }
        let mut budget = GATHER_BYTES_MAX;
        let mut rounds = self.ready.len();
        while rounds > 0 && budget > 0 && self.writer.waiting_bytes() < WAITING_BYTES_MAX && self.gathered.is_empty() {
            rounds -= 1;
            let accumulator = self.ready.pop_front().expect("counted");
            let mut batches = std::mem::take(&mut self.scratch);
            let (taken, left) = accumulator.take(idle, budget, &mut batches);
            budget = budget.saturating_sub(taken);
            if left {
                self.ready.push_back(accumulator.clone());
            }
            self.put_with_gathered(&accumulator, &mut batches);
            self.scratch = batches;
            self.encode_gathered(now);
        }
        if !self.gathered.is_empty() {
            self.encode_gathered(now);
        }
    }

    fn put_with_gathered(&mut self, accumulator: &Arc<Accumulator>, batches: &mut Vec<FilledBatch>) {
        self.gathered_total += batches.len() as u64;
        self.gathered.extend(batches.drain(..).map(|batch| (accumulator.clone(), batch)));
    }

    /// Whether senders that were just released are still on their way back.
    fn waits_for_cohort(&mut self, now: u64) -> bool {
        if !self.cohort.is_waiting() {
            return false;
        }
        self.look = self.cohort.look(now, self.waiting_records());
        self.look != Look::Go
    }

    /// Records that senders have collected in accumulators that the lane was told of.
    fn waiting_records(&self) -> u64 {
        self.ready.iter().map(|accumulator| accumulator.waiting_records()).sum()
    }

    /// Whether a small group should wait for company.
    fn lingers(&mut self, now: u64) -> bool {
        if self.parts.linger_ns == 0 || self.ready.is_empty() || self.closing.is_some() {
            self.linger_until = None;
            return false;
        }
        let until = *self.linger_until.get_or_insert(now + self.parts.linger_ns);
        if now < until {
            return true;
        }
        self.linger_until = None;
        false
    }

    fn encode_gathered(&mut self, now: u64) {
        while let Some((accumulator, batch)) = self.gathered.pop_front() {
            let total: u64 = batch.content.parts.iter().map(part_frame_bytes).sum();
            if let Err(error) = batch.identity.check_appended().and_then(|()| self.check_numbers(&batch)) {
                self.refuse(&accumulator, batch, error);
                continue;
            }
            let withheld = batch.content.parts.iter().filter(|part| part.due_ms.is_some()).count() as u64;
            if withheld > 0 && self.state.withheld_records() + withheld > self.parts.withheld_records_max {
                let error = Error::TooMany {
                    what: "withheld records",
                    count: self.state.withheld_records(),
                    count_max: self.parts.withheld_records_max,
                    advice: "wait until some are due, or raise `withheld_records_max`",
                };
                self.refuse(&accumulator, batch, error);
                continue;
            }
            let partitions = self.new_partitions(&batch) * PARTITION_BYTES;
            let growth = withheld * WITHHELD_BYTES + partitions + self.growth_of_origins(&batch);
            match self.ensure_reserve(growth).and_then(|grown| Ok(grown && self.ensure_room(total, Purpose::Records)?))
            {
                Ok(true) => self.encode(&accumulator, batch, now),
                Ok(false) => {
                    self.gathered.push_front((accumulator, batch));
                    break;
                }
                Err(error) => self.refuse(&accumulator, batch, error),
            }
        }
        self.answer_syncs();
    }

    fn refuse(&mut self, accumulator: &Accumulator, filled: FilledBatch, error: Error) {
        self.complete_batch(filled.ticket, filled.durability, Err(error));
        accumulator.give_back(filled.content);
    }

    /// Partitions of a batch that have no records yet.
    fn new_partitions(&self, batch: &FilledBatch) -> u64 {
        batch.content.parts.iter().filter(|part| !self.state.is_used(part.slot)).count() as u64
    }

    /// Makes sure that the reserve has room for a checkpoint that is larger by `growth`. `false`: not yet.
    fn ensure_reserve(&self, growth: u64) -> Result<bool> {
        match growth {
            0 => Ok(true),
            _ => self.parts.shared.supply.grow_reserve(self.state.encoded_bytes_max() + growth),
        }
    }

    /// Makes sure that `total` bytes of frames fit, at most one segment further on. `false`: not yet.
    fn ensure_room(&mut self, total: u64, purpose: Purpose) -> Result<bool> {
        if total <= self.writer.room() {
            if self.writer.segment().is_reserved() && !self.parts.shared.supply.may_use_reserve(purpose) {
                return self.parts.shared.supply.no_space();
            }
            return Ok(self.is_within_window(self.writer.tail().advance(total)));
        }
        self.ensure_next(total, purpose)
    }

    /// Makes sure that the next segment is there, with room for its checkpoint and `total` bytes. `false`: not yet.
    fn ensure_next(&mut self, total: u64, purpose: Purpose) -> Result<bool> {
        // The next segment begins with a checkpoint, and keeps room for its header and End frame.
        let checkpoint_bytes = self.state.encoded_bytes_max();
        let bytes_min = total + checkpoint_bytes + (64 << 10);
        if let Some(next) = &self.next_segment {
            if next.reserved && !self.parts.shared.supply.may_use_reserve(purpose) {
                return self.parts.shared.supply.no_space();
            }
            if next.manifest.bytes < bytes_min {
                // It was taken for something smaller, which then was not written after all.
                if !self.is_within_window(next.manifest.first_frame().advance(checkpoint_bytes)) {
                    return Ok(false);
                }
                self.roll_if_full(u64::MAX);
            }
        }
        if self.next_segment.is_none() {
            let now = self.parts.clock.monotonic_ns();
            match self.parts.shared.supply.take(bytes_min, purpose, now) {
                Supplied::Segment(prepared) => self.next_segment = Some(prepared),
                Supplied::Wait => {
                    count(&self.parts.shared.counters.segment_waits, 1);
                    return Ok(false);
                }
                Supplied::NoSpace { needed_bytes, free_bytes } => {
                    return Err(Error::NoSpace { needed_bytes, free_bytes });
                }
            }
        }
        let next = self.next_segment.as_ref().expect("taken above").manifest.first_frame();
        Ok(self.is_within_window(next.advance(checkpoint_bytes + total)))
    }

    /// Frames carry the durable position of when they were encoded, and must not lie further than W
    /// behind it. When everything is durable, a frame and a checkpoint always fit.
    fn is_within_window(&self, end: Position) -> bool {
        self.writer.is_clean() || end.since(self.writer.durable()) + WINDOW_SLACK_BYTES <= self.parts.window_bytes
    }

    /// Goes on in the next segment if a frame of `total` bytes does not fit here.
    fn roll_if_full(&mut self, total: u64) {
        if total <= self.writer.room() {
            return;
        }
        let next = self.next_segment.take().expect("room was ensured");
        let old = *self.writer.segment().manifest();
        self.parts.log.add_segment(Arc::new(Segment::new(next.manifest)));
        let end = self.writer.roll(next);
        self.parts.shared.supply.put_full(Full {
            manifest: old,
            end,
            next: self.writer.tail(),
            withheld: std::mem::take(&mut self.withheld_in_segment),
            resident: true,
            last_append_ms: self.state.append_time_ms,
        });
        self.parts.shared.records_since_ms.store(NO_RECORDS, Ordering::Release);
        count(&self.parts.shared.counters.segments, 1);
        if !canary::sings(Canary::ForgetCheckpoint) {
            self.write_checkpoint(end);
        }
    }

    fn write_checkpoint(&mut self, previous_end: Position) {
        for part in Checkpoint::new(&self.state, previous_end).parts() {
            let placed = self.writer.append_part(&part);
            self.note_frame(placed);
        }
        self.urgent = true;
    }

    /// Counts a frame and shows its block to readers.
    fn note_frame(&mut self, placed: Placed) {
        if placed.starts_block {
            let (base, block) = self.writer.current_block();
            self.parts.log.tail.push(base, block.clone(), self.writer.durable(), &self.parts.pool);
        }
        count(&self.parts.shared.counters.frames, 1);
        count(&self.parts.shared.counters.log_bytes, u64::from(placed.bytes));
        self.last_is_mark = false;
    }

    fn count_group(&mut self, records: u64, payload: u64) {
        let counters = &self.parts.shared.counters;
        count(&counters.groups, 1);
        count(&counters.records, records);
        count(&counters.payload_bytes, payload);
        let size = (63 - records.max(1).leading_zeros() as usize).min(counters.group_size_log2.len() - 1);
        count(&counters.group_size_log2[size], 1);
    }

    // ----- bookkeeping frames -----

    fn work_through_controls(&mut self) {
        if self.waits_for_room() && self.parts.clock.monotonic_ns() >= self.retry_at {
            for message in std::mem::take(&mut self.unended).into_iter().rev() {
                self.controls.push_front(message);
            }
            if !self.unwritten_progress.is_empty() {
                self.controls.push_front(Message::Progress { entries: Vec::new(), reply: None });
            }
        }
        while let Some(message) = self.controls.pop_front() {
            let message = self.with_unwritten(message);
            if let Message::Transact { work, .. } = &message
                && matches!(work.step, TransactionStep::Settle)
            {
                // It writes nothing, so it waits for nothing.
                self.control(message);
                continue;
            }
            if !self.unended.is_empty() && is_end_elsewhere(&message) {
                // They end in the order of the decisions.
                self.unended.push(message);
                continue;
            }
            if let Message::Transact { work, .. } = &message
                && let Err(error) = self.check_transaction(work)
            {
                message.refuse(&error);
                continue;
            }
            let mut total = control_bytes(&message);
            let (purpose, growth) = match &message {
                Message::Publish { .. } => (Purpose::Publication, 0),
                Message::Transact { work, .. } => {
                    let (bytes, growth) = self.transaction_bytes(work);
                    total = bytes;
                    (if work.step.ends() { Purpose::Publication } else { Purpose::Records }, growth)
                }
                Message::Catalog { change: CatalogChange::Create(topic), .. } => {
                    (Purpose::Bookkeeping, topic.encoded_bytes())
                }
                Message::Catalog { change: CatalogChange::OpenProducer(producer), .. } => {
                    (Purpose::Bookkeeping, producer.encoded_bytes())
                }
                Message::Catalog { change: CatalogChange::SetGroup(group), .. } => {
                    (Purpose::Bookkeeping, group.encoded_bytes())
                }
                Message::Progress { entries, .. } => (Purpose::Bookkeeping, progress_growth_max(entries)),
                _ => (Purpose::Bookkeeping, 0),
            };
            let has_room = match &message {
                Message::Leave { .. } if self.parts.shared.has_records() => self.ensure_next(0, Purpose::Records),
                _ => self.ensure_reserve(growth).and_then(|grown| Ok(grown && self.ensure_room(total, purpose)?)),
            };
            match has_room {
                Ok(true) => {
                    if !matches!(message, Message::Transact { .. }) {
                        // Before the state changes: a checkpoint must not know what the frame behind it says.
                        self.roll_if_full(total);
                    }
                    self.control(message);
                }
                Ok(false) => {
                    self.controls.push_front(message);
                    if !self.give_up_first() {
                        return;
                    }
                }
                Err(error) => self.refuse_control(message, &error),
            }
        }
    }

    /// What waits for room may wait for what is to be given up behind it: that goes first. Says whether there was some.
    fn give_up_first(&mut self) -> bool {
        let is_cut = |message: &Message| matches!(message, Message::Truncate { .. });
        let Some(at) = self.controls.iter().position(is_cut) else { return false };
        let total = control_bytes(&self.controls[at]);
        if !self.ensure_room(total, Purpose::Bookkeeping).is_ok_and(|has_room| has_room) {
            return false;
        }
        let message = self.controls.remove(at).expect("just seen");
        self.roll_if_full(total);
        self.control(message);
        true
    }

    /// Something that must go into the log found no room in it.
    fn waits_for_room(&self) -> bool {
        !self.unwritten_progress.is_empty() || !self.unended.is_empty()
    }

    /// What the log had no room for goes before what comes now.
    fn with_unwritten(&mut self, message: Message) -> Message {
        match message {
            Message::Progress { mut entries, reply } if !self.unwritten_progress.is_empty() => {
                let mut all = std::mem::take(&mut self.unwritten_progress);
                all.append(&mut entries);
                Message::Progress { entries: all, reply }
            }
            message => message,
        }
    }

    fn refuse_control(&mut self, message: Message, error: &Error) {
        match message {
            Message::Progress { entries, reply } => {
                self.unwritten_progress = entries;
                if let Some(reply) = reply {
                    reply.set(Err(error.clone()));
                }
            }
            message if is_end_elsewhere(&message) => self.unended.push(message),
            message => return message.refuse(error),
        }
        self.retry_at = self.parts.clock.monotonic_ns() + BLOCKED_RETRY_NS;
    }

    fn control(&mut self, message: Message) {
        match message {
            Message::Catalog { change, reply } => {
                let body = change.encode();
                let freed = match &change {
                    CatalogChange::DeleteGroup { group } => self.state.groups.slots_of(*group),
                    _ => Vec::new(),
                };
                match self.state.apply_catalog(&change) {
                    Ok(()) => {
                        freed.into_iter().for_each(|slot| self.tell_finished(slot));
                        self.append_control(Kind::Catalog, &body, Some(reply));
                    }
                    Err(reason) => reply.set(Err(Error::InvalidArgument {
                        name: "topic",
                        value: format!("{change:?}"),
                        reason: reason.to_owned(),
                    })),
                }
            }
            Message::DropSlots { slots, reply } => {
                self.state.drop_slots(slots);
                reply.set(Ok(()));
            }
            Message::ForgetProducer { producer, reply } => {
                self.state.forget_producer(producer);
                reply.set(Ok(()));
            }
            Message::LastSent { producer, slot, last, reply } => {
                *lock(&last) = self.state.numbers.get(producer, slot).cloned();
                self.answer_when_durable(reply);
            }
            Message::Progress { entries, reply } => self.note_progress(&entries, reply),
            Message::ForgetGroup { group, reply } => {
                let slots = self.state.groups.slots_of(group);
                self.state.forget_group(group);
                slots.into_iter().for_each(|slot| self.tell_finished(slot));
                reply.set(Ok(()));
            }
            Message::ListUnseen { producer, slot, list, reply } => {
                *lock(&list) = self.state.unseen(producer, slot);
                self.answer_when_durable(reply);
            }
            Message::ListAcknowledged { topic, slot, list, reply } => {
                *lock(&list) = self.state.acknowledged(topic, slot);
                self.answer_when_durable(reply);
            }
            Message::Cancel { identity, .. } | Message::Publish { identity, .. }
                if self.state.waits_for_transaction(identity) =>
            {
                message.refuse(&Error::NotWithheld);
            }
            Message::Cancel { identity, reply } => match self.state.discard(identity) {
                Some(_) => {
                    let body = entries::encode_discard(&[DiscardEntry { identity }], None);
                    self.append_control(Kind::Discard, &body, Some(reply));
                }
                None => reply.set(Err(Error::NotWithheld)),
            },
            Message::Transact { work, reply } => self.transact(*work, reply),
            Message::Publish { identity, extra_headers, reply } => {
                if self.publish_identities(vec![(identity, extra_headers)]) == 0 {
                    reply.set(Err(Error::NotWithheld));
                } else {
                    self.effects.push_back((self.writer.tail(), Effect::Reply(reply)));
                }
            }
            Message::Truncate { cuts, reply } => self.truncate(&cuts, reply),
            Message::Leave { reply } => {
                if self.parts.shared.has_records() {
                    self.roll_if_full(u64::MAX);
                }
                reply.set(Ok(()));
            }
            Message::ListWithheld { log, stretch, list, reply } => {
                lock(&list).extend(self.state.withheld_in(log, stretch));
                self.answer_when_durable(reply);
            }
            Message::Sync { reply } => {
                self.urgent = true;
                self.gather_for_sync();
                self.syncs.push_back((self.gathered_total, reply));
                self.encode_gathered(self.parts.clock.monotonic_ns());
            }
            Message::Ready(_) | Message::Close { .. } => unreachable!("sorted out in receive"),
        }
    }

    /// Takes everything that senders have collected so far, and nothing that they send later.
    fn gather_for_sync(&mut self) {
        for accumulator in std::mem::take(&mut self.ready) {
            let mut batches = Vec::new();
            if accumulator.take(true, usize::MAX, &mut batches).1 {
                self.ready.push_back(accumulator.clone());
            }
            self.put_with_gathered(&accumulator, &mut batches);
        }
    }

    /// Syncs whose batches are all in the log are answered when the log is durable up to there. A batch that
    /// still waits for a segment keeps them waiting as well.
    fn answer_syncs(&mut self) {
        let gone_on = self.gathered_total - self.gathered.len() as u64;
        while self.syncs.front().is_some_and(|(batches, _)| *batches <= gone_on) {
            let (_, reply) = self.syncs.pop_front().expect("just seen");
            self.answer_when_durable(reply);
        }
    }

    /// Answers when everything that is in the log now is durable.
    fn answer_when_durable(&mut self, reply: Answer) {
        if self.writer.is_clean() && self.effects.is_empty() {
            reply.set(Ok(()));
        } else {
            self.urgent = true;
            self.effects.push_back((self.writer.tail(), Effect::Reply(reply)));
        }
    }

    fn append_control(&mut self, kind: Kind, body: &[u8], reply: Option<Answer>) -> Placed {
        self.roll_if_full(frame_bytes(kind, body.len()));
        let placed = self.writer.append_body(kind, body);
        self.note_frame(placed);
        self.urgent = true;
        self.last_activity = self.parts.clock.monotonic_ns();
        if let Some(reply) = reply {
            self.effects.push_back((placed.end, Effect::Reply(reply)));
        }
        placed
    }

    /// Notes how far groups have come.
    fn note_progress(&mut self, entries: &[ProgressEntry], reply: Option<Answer>) {
        let mut noted = Vec::with_capacity(entries.len());
        let mut contradiction = None;
        for entry in entries {
            match self.state.apply_progress(entry) {
                Ok(true) => noted.push(entry.clone()),
                // Its group was deleted, or it was said before.
                Ok(false) => {}
                Err(reason) => contradiction = Some(format!("{entry:?}: {reason}")),
            }
        }
        for of_slot in noted.chunk_by(|one, other| one.slot == other.slot) {
            self.tell_finished(of_slot[0].slot);
        }
        if !noted.is_empty() {
            let was_urgent = self.urgent;
            self.append_control(Kind::Progress, &progress::encode_progress(&noted), None);
            if reply.is_none() {
                // Nobody waits: it goes with the next group, or when its time is over.
                self.urgent = was_urgent;
                self.buffered_since.get_or_insert(self.last_activity);
            }
        }
        match (reply, contradiction) {
            (None, _) => {}
            (Some(reply), None) => self.answer_when_durable(reply),
            (Some(reply), Some(value)) => {
                let reason = "it contradicts what the log says: a bug in Ringlane".to_owned();
                reply.set(Err(Error::InvalidArgument { name: "progress", value, reason }));
            }
        }
    }

    /// Says how far every group has come in a partition.
    fn tell_finished(&self, slot: u32) {
        if let Some(partition) = self.parts.table.get(slot) {
            partition.finished_to.set(self.state.groups.finished_to(slot));
        }
    }

    /// Gives up the front of partitions.
    fn truncate(&mut self, cuts: &[(u32, Cut)], reply: Answer) {
        let moved = |(slot, cut): &(u32, Cut)| {
            let first_offset = cut.first_offset(self.state.groups.finished_to(*slot));
            let first_offset = self.state.truncate(*slot, first_offset)?;
            Some(TruncateEntry { slot: *slot, first_offset })
        };
        let moved: Vec<TruncateEntry> = cuts.iter().filter_map(moved).collect();
        moved.iter().for_each(|entry| self.tell_finished(entry.slot));
        if !moved.is_empty() {
            let placed = match canary::sings(Canary::ForgetTruncation) {
                true => self.append_control(Kind::Pad, &[], None),
                false => self.append_control(Kind::Truncate, &entries::encode_truncate(&moved), None),
            };
            for TruncateEntry { slot, first_offset } in moved {
                if let Some(partition) = self.parts.table.get(slot) {
                    self.effects.push_back((placed.end, Effect::Truncate { partition, first_offset }));
                }
            }
        }
        // Also where somebody else has just done the same, and it is on its way.
        self.answer_when_durable(reply);
    }

    /// Publishes withheld frames by reference; returns how many.
    fn publish_identities(&mut self, identities: Vec<(Identity, Vec<u8>)>) -> usize {
        // The frame may open a new segment, whose checkpoint must not yet know of the publication.
        self.roll_if_full(frame_bytes(Kind::Publish, publish_body_bytes(&identities)));
        // Now the records are appended to their partitions, and now retention begins to count for them.
        self.state.clamp_append_time(self.parts.clock.wall_ms());
        let published: Vec<_> = identities
            .into_iter()
            .filter_map(|(identity, extra_headers)| {
                let entry = self.state.publish(identity, extra_headers)?;
                let timestamp_max_ms = self.state.partition(entry.slot).timestamp_max_ms;
                Some((entry, timestamp_max_ms))
            })
            .collect();
        if published.is_empty() {
            return 0;
        }
        let (entries, timestamps): (Vec<_>, Vec<_>) = published.into_iter().unzip();
        let placed = self.append_control(Kind::Publish, &entries::encode_publish(&entries, None), None);
        for (index, (entry, timestamp_max_ms)) in entries.iter().zip(timestamps).enumerate() {
            if let Some(partition) = self.parts.table.get(entry.slot) {
                let run = reference_run(entry, index as u32, placed.position, placed.bytes, timestamp_max_ms);
                self.effects.push_back((placed.end, Effect::Publish { partition, run, may_merge: false }));
            }
        }
        entries.len()
    }

    /// Publishes what has become due.
    fn publish_due(&mut self) {
        let Some((first, _)) = self.state.next_due() else { return };
        let wall = self.parts.clock.wall_ms();
        if first > wall || self.writer.waiting_bytes() > WAITING_BYTES_MAX {
            return;
        }
        let due = self.state.due_until(wall, PUBLISH_MAX);
        let due: Vec<_> = due.into_iter().map(|identity| (identity, Vec::new())).collect();
        let total = frame_bytes(Kind::Publish, publish_body_bytes(&due));
        let has_room = self.ensure_room(total, Purpose::Publication).is_ok_and(|room| room);
        if has_room {
            self.publish_identities(due);
        } else {
            self.blocked = true;
        }
    }

    /// A mark carries the durable position past the last group.
    fn mark_if_idle(&mut self, now: u64) {
        if !self.wants_mark() || now < self.last_activity + IDLE_MARK_NS {
            return;
        }
        if self.ensure_room(64, Purpose::Bookkeeping).is_ok_and(|room| room) {
            self.append_mark(0);
        } else {
            self.blocked = true;
        }
    }

    fn wants_mark(&self) -> bool {
        // What waits for a segment will bring its own frame.
        let nothing_waits = self.ready.is_empty() && self.gathered.is_empty();
        !self.last_is_mark && self.closing.is_none() && self.writer.is_clean() && nothing_waits
    }

    fn append_mark(&mut self, clean: u8) {
        self.append_control(Kind::Mark, &[clean], None);
        self.last_is_mark = true;
    }

    // ----- writing -----

    fn submit(&mut self, now: u64) {
        let force = self.must_write(now);
        while let Some(write) = self.writer.next_write(force) {
            let counters = &self.parts.shared.counters;
            let alone = self.writer.in_flight() == 1;
            count(if alone { &counters.left_idle } else { &counters.left_full }, 1);
            self.alone_since = alone.then_some(now);
            if self.writer.waiting_bytes() == 0 {
                self.urgent = false;
                self.buffered_since = None;
                self.follow_at = None;
            }
            self.ring.write(write);
        }
        if let Some(flush) = self.writer.next_flush() {
            self.ring.flush(flush.token, &flush.file);
        }
    }

    /// Whether little is to be written too.
    fn must_write(&self, now: u64) -> bool {
        let due = self.buffered_since.is_some_and(|since| now >= since + self.parts.flush_interval_ns);
        let follows = self.follow_at.is_some_and(|at| now >= at);
        self.urgent || due || follows || self.closing.is_some()
    }

    fn wait_and_complete(&mut self) {
        let wait = self.choose_wait();
        let mut completions = std::mem::take(&mut self.completions);
        let turned = self.ring.turn(wait, &mut completions);
        self.parts.shared.wake_up();
        if let Err(error) = turned {
            self.poison(IoFailure::new("wait for completions", "the ring", None, &error));
        }
        let mut grown = false;
        for completion in completions.drain(..) {
            match completion.result {
                Ok(()) => grown |= self.writer.complete(completion.token),
                Err(_) if canary::sings(Canary::IgnoreFailure) => grown |= self.writer.complete(completion.token),
                Err(error) => {
                    let name = file_name(self.writer.file_of(completion.token));
                    self.poison(IoFailure::new("write or flush", &name, None, &error));
                }
            }
        }
        self.completions = completions;
        if !grown && self.far_batches > 0 {
            self.bring_near();
        }
        // Before the answers: who gets one sees counters that include it.
        self.export_counters();
        if (grown || self.has_due_effects()) && !self.parts.shared.latch.is_poisoned() {
            self.apply_effects();
        }
    }

    fn choose_wait(&mut self) -> Wait {
        let writing = !self.writer.is_idle();
        if self.failed || (self.closing.is_some() && !writing) {
            // Nothing is in flight: only messages can come.
            return if self.closing.is_some() { Wait::No } else { self.sleep(false, None) };
        }
        if self.has_due_effects() || (writing && self.far_batches > 0) {
            // First let the writes leave; then there is something to do while they are on their way.
            return Wait::No;
        }
        let now = self.parts.clock.monotonic_ns();
        let mut deadline: Option<u64> = None;
        let mut until = |time: u64| deadline = Some(deadline.map_or(time, |earlier| earlier.min(time)));
        if let Some((due_ms, _)) = self.state.next_due() {
            let wall = self.parts.clock.wall_ms();
            let wait_ns = u64::try_from(due_ms.saturating_sub(wall)).unwrap_or(0).saturating_mul(1_000_000);
            until(now + if self.blocked { BLOCKED_RETRY_NS } else { wait_ns.min(WALL_CLOCK_CHECK_NS) });
        }
        if self.waits_for_room() {
            until(self.retry_at);
        }
        if !writing {
            if self.wants_mark() {
                until(if self.blocked { now + BLOCKED_RETRY_NS } else { self.last_activity + IDLE_MARK_NS });
            }
            if let Some(since) = self.buffered_since {
                until(since + self.parts.flush_interval_ns);
            }
            if let Some(at) = self.follow_at {
                until(at);
            }
            if let Some(lingering) = self.linger_until {
                until(lingering);
            }
            match self.look {
                Look::Go => {}
                Look::Now => {
                    // Whoever else wants this core has it meanwhile.
                    yield_now();
                    return Wait::No;
                }
                Look::At(look_at) => {
                    // Single records do not end this sleep, full batches do.
                    until(look_at);
                    return if look_at <= now { Wait::No } else { self.sleep(true, deadline) };
                }
            }
            let can_gather = !self.ready.is_empty() && self.gathered.is_empty() && self.linger_until.is_none();
            if can_gather || (self.writer.waiting_bytes() > 0 && self.urgent) {
                return Wait::No;
            }
        }
        if deadline.is_some_and(|time| time <= now) && !writing {
            return Wait::No;
        }
        self.sleep(writing, deadline)
    }

    fn sleep(&mut self, writing: bool, deadline: Option<u64>) -> Wait {
        if !self.parts.shared.fall_asleep(writing) {
            return Wait::No;
        }
        count(&self.parts.shared.counters.wakeups, 1);
        deadline.map_or(Wait::Forever, Wait::Until)
    }

    /// While writes are on their way: touches the indexes that their completion will change. A thousand
    /// partitions stand in a thousand places of memory, and senders wait for the completion.
    fn bring_near(&mut self) {
        for (_, effect) in self.effects.iter().rev().take(std::mem::take(&mut self.far_batches)) {
            if let Effect::Batch { parts, published, .. } = effect {
                for part in &parts[*published..] {
                    if let Some(run) = part.run() {
                        part.partition.index().expect(run);
                    }
                }
            }
        }
    }

    // ----- completing -----

    /// Whether something follows from what is durable already: a batch that was all sent before wrote nothing.
    fn has_due_effects(&self) -> bool {
        self.effects.front().is_some_and(|(end, _)| *end <= self.writer.durable())
    }

    /// Shows readers and answers senders what lies below the durable prefix.
    fn apply_effects(&mut self) {
        let durable = self.writer.durable();
        let mut truncated = false;
        while let Some((end, _)) = self.effects.front()
            && *end <= durable
        {
            let (_, effect) = self.effects.pop_front().expect("looked at it");
            match effect {
                Effect::Publish { partition, run, may_merge } => partition.publish(run, may_merge),
                Effect::Truncate { partition, first_offset } => {
                    partition.truncate(first_offset);
                    truncated = true;
                }
                Effect::Batch { batch, parts, published, records } => {
                    for part in &parts[published..] {
                        if let Some(run) = part.run() {
                            part.partition.publish(run, part.may_merge);
                        }
                    }
                    // Readers first: who has a receipt can read the record.
                    if let Some(batch) = batch {
                        let released = self.complete_batch(batch, Durability::Synced, Ok(parts));
                        self.cohort.release(released, records);
                    }
                }
                Effect::Reply(reply) => reply.set(Ok(())),
            }
        }
        // After the publications: who sees this position finds them in the indexes.
        self.parts.log.durable.store(durable.0, Ordering::Release);
        self.parts.shared.supply.note_durable(durable);
        self.tell_withheld(durable);
        if truncated {
            self.parts.shared.supply.note_truncated();
        }
        if self.writer.is_idle() {
            self.begin_cohort();
        }
    }

    /// Tells the keeper below which position nothing is withheld any more. What was published of it lies
    /// before the tail of when that was looked up, so it is told when that is durable.
    fn tell_withheld(&mut self, durable: Position) {
        if let Some((from, tail)) = self.withheld_from
            && tail <= durable
        {
            self.parts.log.withheld_from.store(from.0, Ordering::Release);
            self.withheld_from = None;
        }
        if self.withheld_from.is_none() {
            let tail = self.writer.tail();
            self.withheld_from = Some((self.state.oldest_withheld(self.parts.log.id).unwrap_or(tail), tail));
        }
    }

    /// Nothing is in flight any more: who was answered is perhaps waited for.
    fn begin_cohort(&mut self) {
        let now = self.parts.clock.monotonic_ns();
        if let Some(since) = self.alone_since.take() {
            self.cohort.note_write(now.saturating_sub(since));
        }
        if self.cohort.has_released() {
            self.receive();
            self.cohort.begin(now, self.waiting_records());
        }
    }

    /// Answers a batch; returns how many waited for it.
    fn complete_batch(&self, ticket: Ticket, durability: Durability, parts: Result<Vec<PartOutcome>>) -> u32 {
        let batch = ticket.batch().clone();
        let completed = ticket.complete(Outcome { log: self.parts.log.id, durability, parts });
        if completed.callbacks {
            self.parts.dispatcher.dispatch(batch);
        }
        completed.released
    }

    // ----- failing -----

    fn poison(&mut self, cause: IoFailure) {
        self.parts.shared.latch.poison(cause);
        for peer in &self.parts.peers {
            peer.nudge();
        }
    }

    /// Ends everything that waits: unknown what was on its way, poisoned what was not.
    fn fail_everything(&mut self) {
        let Err(cause) = self.parts.shared.latch.check() else { return };
        self.failed = true;
        let unknown = Error::UnknownOutcome { reason: cause.to_string() };
        for (_, effect) in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Publish { .. } | Effect::Truncate { .. } | Effect::Batch { batch: None, .. } => {}
                Effect::Batch { batch: Some(batch), .. } => {
                    self.complete_batch(batch, Durability::Synced, Err(unknown.clone()));
                }
                Effect::Reply(reply) => reply.set(Err(unknown.clone())),
            }
        }
        let error = poisoned(cause);
        for (accumulator, batch) in std::mem::take(&mut self.gathered) {
            self.refuse(&accumulator, batch, error.clone());
        }
        for accumulator in std::mem::take(&mut self.ready) {
            let mut batches = Vec::new();
            accumulator.take(true, usize::MAX, &mut batches);
            for batch in batches {
                self.refuse(&accumulator, batch, error.clone());
            }
        }
        for message in std::mem::take(&mut self.controls).into_iter().chain(std::mem::take(&mut self.unended)) {
            message.refuse(&error);
        }
        for (_, reply) in std::mem::take(&mut self.syncs) {
            reply.set(Err(error.clone()));
        }
    }

    fn export_counters(&self) {
        let counters = &self.parts.shared.counters;
        let ring = self.ring.counters();
        counters.writes.store(ring.writes, Ordering::Relaxed);
        counters.flushes.store(ring.flushes, Ordering::Relaxed);
        counters.written_bytes.store(ring.bytes, Ordering::Relaxed);
        counters.stalls.store(ring.stalls, Ordering::Relaxed);
        counters.strategy_changes.store(ring.strategy_changes, Ordering::Relaxed);
        counters.strategy.store(ring.strategy as u8, Ordering::Relaxed);
        counters.in_flight.store(self.writer.in_flight() as u64, Ordering::Relaxed);
        counters.tail.store(self.writer.tail().0, Ordering::Relaxed);
        counters.withheld_records.store(self.state.withheld_records(), Ordering::Relaxed);
        counters.streaming.store(self.writer.is_streaming(), Ordering::Relaxed);
    }
}

/// It ends what was decided in another log.
fn is_end_elsewhere(message: &Message) -> bool {
    matches!(message, Message::Transact { work, .. } if work.step.must_follow())
}

fn part_frame_bytes(part: &Part) -> u64 {
    // The larger of the two headers: exact enough to ask for room.
    frame_bytes(
        Kind::Withheld {
            slot: 0,
            count: 0,
            due_ms: 0,
            append_time_ms: 0,
            reason: WithheldReason::Delayed,
            origin: Origin::default(),
        },
        part.bytes as usize,
    )
}

fn publish_body_bytes(identities: &[(Identity, Vec<u8>)]) -> usize {
    4 + identities.iter().map(|(_, extra)| PUBLISH_BYTES + extra.len()).sum::<usize>()
}

/// Bytes that a message's own frame takes at most.
fn control_bytes(message: &Message) -> u64 {
    match message {
        Message::Catalog { change, .. } => frame_bytes(Kind::Catalog, change.encode().len()),
        Message::Publish { extra_headers, .. } => frame_bytes(Kind::Publish, 4 + PUBLISH_BYTES + extra_headers.len()),
        Message::Cancel { .. } => frame_bytes(Kind::Discard, 4 + Identity::BYTES),
        Message::Truncate { cuts, .. } => frame_bytes(Kind::Truncate, truncate_body_bytes(cuts.len())),
        Message::Progress { entries, .. } => frame_bytes(Kind::Progress, progress_body_bytes_max(entries)),
        Message::Leave { .. }
        | Message::DropSlots { .. }
        | Message::ForgetProducer { .. }
        | Message::LastSent { .. }
        | Message::ForgetGroup { .. }
        | Message::ListUnseen { .. }
        | Message::ListAcknowledged { .. }
        | Message::ListWithheld { .. }
        | Message::Sync { .. }
        // What it takes depends on the state.
        | Message::Transact { .. }
        | Message::Ready(_)
        | Message::Close { .. } => 0,
    }
}
