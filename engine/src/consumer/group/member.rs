//! A member of a group: takes records under leases. Their deliveries end in acknowledger.rs.
//!
//! Invariants:
//! - A record is processed by whoever holds its lease, and acknowledged only by it: a late call is told
//!   [`Error::LeaseLost`].
//! - A poll that fails gives back what it had taken, uncounted.

use super::acknowledger::Acknowledger;
use super::deliveries::{ChunkOf, Deliveries};
use super::held::{Ended, MemberShared, lease_clock_ms};
use super::leases::Lease;
use super::member_options::MemberOptions;
use super::partition::{Given, GroupPartition};
use super::shared::{GroupShared, Place};
use super::taken::Cause;
use crate::consumer::filter;
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::shared::Reply;
use crate::partition::read_ahead::ReadAhead;
use crate::partition::reader::{Chunk, PartitionReader};
use crate::sync::{lock, now};
use std::collections::BTreeSet;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Reads the records of a group as one of its members, and acknowledges them.
///
/// [`GroupConsumer::poll`] needs it alone; its [`Acknowledger`] may be cloned and used on any thread, while it polls too.
/// Each record is held under a lease. It ends with [`ack`](Acknowledger::ack), [`nack`](Acknowledger::nack),
/// [`reject`](Acknowledger::reject) or [`release`](Acknowledger::release), or when it runs out: then the record is handed
/// to somebody else. What is held when the member goes away is handed out again.
///
/// ```
/// # fn main() -> ringlane::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// use ringlane::{Engine, GroupOptions, MemberOptions, Options, ProducerOptions, Record, Start, TopicOptions};
/// use std::time::Duration;
/// let engine = Engine::open(directory.path(), Options::new())?;
/// let orders = engine.create_topic("orders", TopicOptions::new())?;
/// engine.create_group("billing", GroupOptions::shared().topic("orders", Start::Beginning))?;
/// engine.producer(ProducerOptions::new())?.send(&orders, Record::new(b"one"))?.wait()?;
///
/// let mut member = engine.join_group("billing", MemberOptions::new())?;
/// for delivery in &member.poll(Duration::from_secs(1))? {
///     assert_eq!(delivery.record.value(), Some(&b"one"[..]));
///     member.ack(delivery.id())?;
/// }
/// member.flush()?; // from here on it is durable that the record was processed
/// # drop(member);
/// # engine.close()
/// # }
/// ```
pub struct GroupConsumer {
    acknowledger: Acknowledger,
    readers: Vec<Option<PartitionReader>>,
    ahead: ReadAhead,
    /// Which partition is first in the next poll: each gets its turn.
    turn: usize,
    /// Partitions that nothing is taken from.
    paused: BTreeSet<usize>,
    /// Of deliveries: one for each time that it looked for some.
    serial: u64,
    /// An error that waits for the next poll, because this one had records.
    pending: Option<Error>,
    /// The partition that the next poll says the losses of, for the same reason.
    pending_lost: Option<usize>,
}

/// What stands in the way of taking.
pub(super) enum Nothing {
    /// Wait for news, at most so long.
    Wait(Option<Duration>),
    /// Wait for acknowledgements of this member's own.
    Full,
    /// Try again at once: something that was missing is durable.
    Again,
    /// Go on: the group wants none of the records that were taken.
    Skipped,
}

impl GroupConsumer {
    pub(super) fn new(engine: Arc<EngineInner>, group: Arc<GroupShared>, options: MemberOptions) -> GroupConsumer {
        let shared = group.join(|id| MemberShared::new(id, options));
        let readers = group.partitions.iter().map(|_| None).collect();
        let turn = shared.id as usize;
        GroupConsumer {
            acknowledger: Acknowledger { engine, group, shared },
            readers,
            ahead: ReadAhead::new(1 << 20),
            turn,
            paused: BTreeSet::new(),
            serial: 0,
            pending: None,
            pending_lost: None,
        }
    }

    /// The name of the group.
    pub fn group(&self) -> &str {
        &self.group.name
    }

    /// For whoever ends its deliveries while it polls.
    pub fn acknowledger(&self) -> Acknowledger {
        self.acknowledger.clone()
    }

    /// The next records, each under a lease; waits up to `timeout` for the first one. Empty after the timeout.
    ///
    /// # Errors
    /// `Truncated` where records were given up before they were finished: one member is told, once, also if that was
    /// before the engine was opened; polling goes on behind them.
    /// `Interceptor`: the records are handed out again. `GroupDeleted`, `Damaged`, `Closed`, `Forked`, and what stops
    /// the engine.
    pub fn poll(&mut self, timeout: Duration) -> Result<Deliveries> {
        self.engine.check_fork()?;
        let polled = self.poll_until(timeout);
        self.end_waiting();
        polled
    }

    /// It waits no more; somebody else may.
    pub(super) fn end_waiting(&self) {
        self.group.end_waiting(&self.shared);
        self.group.pass_on();
    }

    /// Before records are taken.
    pub(super) fn prepare(&self) -> Result<()> {
        self.check()?;
        self.shared.flush(&self.group);
        self.expire();
        Ok(())
    }

    fn poll_until(&mut self, timeout: Duration) -> Result<Deliveries> {
        let deadline = now().checked_add(timeout);
        loop {
            self.prepare()?;
            let (seen_arrivals, seen_own) = (self.group.arrivals.look(), self.shared.signal.look());
            let nothing = match self.take()? {
                Ok(deliveries) => return self.given(deliveries),
                Err(nothing) => nothing,
            };
            let left = deadline.map_or(Duration::from_secs(3600), |deadline| deadline.saturating_duration_since(now()));
            match nothing {
                Nothing::Again => {}
                _ if left.is_zero() => return Ok(Deliveries::default()),
                Nothing::Skipped => {}
                Nothing::Full => self.shared.signal.wait(seen_own, left.min(Duration::from_millis(100))),
                Nothing::Wait(wait) => {
                    let left = wait.map_or(left, |wait| left.min(wait.max(Duration::from_millis(1))));
                    match self.group.begin_waiting(&self.shared, seen_arrivals, self.takes_everything()) {
                        Place::Watches => self.group.arrivals.wait(seen_arrivals, left),
                        Place::Sleeps => self.shared.signal.wait(seen_own, left),
                    }
                }
            }
        }
    }

    fn check(&self) -> Result<()> {
        if self.engine.is_closed() {
            return Err(Error::Closed { what: "the engine" });
        }
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Error::Closed { what: "the member" });
        }
        self.group.check()
    }

    // ----- taking -----

    pub(super) fn take(&mut self) -> Result<Result<Deliveries, Nothing>> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        if let Some(at) = self.pending_lost.take() {
            self.tell_lost(at)?;
        }
        self.serial += 1;
        let options = &self.shared.options;
        let in_flight = {
            let mut state = lock(&self.shared.state);
            let (records, bytes) = (state.leases.records(), state.leases.bytes());
            let is_full = records >= options.max_in_flight_records || bytes >= options.max_in_flight_bytes;
            state.waits_for_room = is_full;
            if is_full {
                return Ok(Err(Nothing::Full));
            }
            records
        };
        let room = (options.max_in_flight_records - in_flight).min(options.max_poll_records as u64);
        let mut taking = Taking {
            deliveries: Deliveries::default(),
            room,
            bytes: 0,
            is_alone: false,
            has_lost: false,
            has_skipped: false,
        };
        let mut limits = Vec::new();
        let count = self.group.partitions.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            if taking.room == 0 || taking.bytes >= self.shared.options.max_poll_bytes || taking.is_alone {
                break;
            }
            if self.paused.contains(&at) || self.group.partitions[at].topic.check().is_err() {
                continue;
            }
            match self.take_of(at, &mut taking) {
                Ok(_) if taking.has_lost => {
                    self.pending_lost = Some(at);
                    break;
                }
                Ok(limit) => limits.extend(limit),
                Err(error) if taking.deliveries.is_empty() => return Err(error),
                // What was taken before is given first.
                Err(error) => {
                    self.pending = Some(error);
                    break;
                }
            }
        }
        self.turn = (self.turn + 1) % count.max(1);
        if !taking.deliveries.is_empty() {
            return Ok(Ok(taking.deliveries));
        }
        if let Some(at) = self.pending_lost.take() {
            self.tell_lost(at)?;
            return Ok(Err(Nothing::Again));
        }
        if taking.has_skipped {
            return Ok(Err(Nothing::Skipped));
        }
        if let Some(limit) = limits.first() {
            limit.wait_shared()?;
            return Ok(Err(Nothing::Again));
        }
        Ok(Err(Nothing::Wait(self.until_due())))
    }

    /// Says once what was given up of a partition unfinished, unless another member did.
    fn tell_lost(&self, at: usize) -> Result<()> {
        let of = &self.group.partitions[at];
        let (topic, partition) = (of.partition.topic.to_string(), of.partition.partition);
        match of.tell_lost() {
            Some(lost) => Err(Error::Truncated { topic, partition, from: lost.start, to: lost.end }),
            None => Ok(()),
        }
    }

    /// Whatever comes is for it as well as for others.
    pub(super) fn takes_everything(&self) -> bool {
        self.paused.is_empty()
    }

    /// How long until a record is due that waits for its time.
    fn until_due(&self) -> Option<Duration> {
        let now_ms = self.engine.groups.due_now_ms(&self.engine);
        let is_mine = |(at, partition): &(usize, &Arc<GroupPartition>)| {
            !self.paused.contains(at) && partition.topic.check().is_ok() && partition.is_for(self.shared.id)
        };
        let mine = self.group.partitions.iter().enumerate().filter(is_mine);
        let due_ms = mine.filter_map(|(_, partition)| partition.next_due(now_ms)).min()?;
        Some(Duration::from_millis(due_ms.saturating_sub(now_ms).max(0) as u64))
    }

    /// Takes from one partition. Returns what is to be waited for, if nothing could be taken for want of it.
    fn take_of(&mut self, at: usize, taking: &mut Taking) -> Result<Option<Arc<Reply>>> {
        let partition = self.group.partitions[at].clone();
        let (kind, now_ms) = (self.group.options.kind, self.engine.groups.due_now_ms(&self.engine));
        let has_others = !taking.deliveries.is_empty();
        let given = partition.take(kind, self.shared.id, now_ms, taking.room, has_others)?;
        let Given { ranges, counting, limit, dead_letters, pause, has_lost, resets } = given;
        taking.has_lost = has_lost;
        self.group.bury(&self.engine, at as u32, resets, dead_letters);
        let is_idle = ranges.is_empty() && counting.is_none();
        let mut ranges = ranges.into_iter();
        while let Some(range) = ranges.next() {
            if let Err(error) = self.read(at, resets, range, 1, taking) {
                ranges.for_each(|rest| drop(partition.give_back(resets, rest, Cause::NotDelivered, now_ms)));
                if counting.is_some() {
                    // What was claimed beside them is nobody's either.
                    partition.member_left(self.shared.id);
                }
                return Err(error);
            }
        }
        if let Some((counting, reply)) = counting {
            if let Err(error) = reply.wait_shared() {
                // They are nobody's until they are counted.
                partition.member_left(self.shared.id);
                return Err(error);
            }
            taking.is_alone |= counting.is_alone;
            let mut retried = partition.counted(counting.ticket).into_iter();
            while let Some(one) = retried.next() {
                let read = self.read(at, resets, one.offset..one.offset + 1, one.attempts.deliveries, taking);
                if let Err(error) = read {
                    retried.for_each(|rest| {
                        let rest = rest.offset..rest.offset + 1;
                        drop(partition.give_back(resets, rest, Cause::NotDelivered, now_ms));
                    });
                    return Err(error);
                }
            }
        }
        let waits = is_idle && matches!(pause, Some(super::taken::Pause::LimitPending));
        Ok(limit.filter(|_| waits))
    }

    /// Reads the records of a range, and holds them. What the group does not want is finished; what there is no room for,
    /// or cannot be read, is given back.
    fn read(
        &mut self,
        at: usize,
        resets: u64,
        offsets: Range<u64>,
        deliveries: u32,
        taking: &mut Taking,
    ) -> Result<()> {
        // Apart from the readers, which are borrowed too.
        let Acknowledger { engine, group, shared } = &self.acknowledger;
        let partition = group.partitions[at].clone();
        let reader =
            self.readers[at].get_or_insert_with(|| PartitionReader::new(partition.partition.clone(), offsets.start));
        if reader.offset != offsets.start {
            reader.seek(offsets.start, &mut self.ahead);
        }
        let lease_ms = i64::try_from(shared.options.lease.as_millis()).unwrap_or(i64::MAX);
        let until_ms = lease_clock_ms(engine).saturating_add(lease_ms);
        let hold = |chunk: Chunk, bytes: usize, taking: &mut Taking| {
            let (start, count) = (chunk.first_offset(), u64::from(chunk.count));
            let (offsets, bytes) = (start..start + count, bytes as u64);
            let (partition_at, serial) = (at as u32, self.serial);
            let lease = Lease { partition: partition_at, offsets, until_ms, deliveries, serial, bytes };
            let counts = shared.hold(&partition, resets, lease);
            if counts {
                taking.room = taking.room.saturating_sub(count);
                taking.deliveries.records.push(partition.partition.clone(), chunk);
                taking.deliveries.chunks.push(ChunkOf { partition: partition_at, deliveries, serial });
            }
            counts
        };
        let mut next = offsets.start;
        let mut unwanted = Vec::new();
        let mut failed = Ok(());
        while next < offsets.end && taking.bytes < shared.options.max_poll_bytes {
            let wanted = u32::try_from(offsets.end - next).unwrap_or(u32::MAX);
            match reader.next_chunk(wanted, &mut self.ahead) {
                Ok(Some(mut chunk)) => {
                    let (start, count, bytes) = (next, chunk.count as usize, chunk.bytes().len());
                    next += count as u64;
                    taking.bytes += bytes;
                    let Some(filter) = &group.options.filter else {
                        match hold(chunk, bytes, taking) {
                            true => continue,
                            false => break,
                        }
                    };
                    let mut unwanted_from = start;
                    let parts = filter::wanted(filter, &partition.partition, &mut chunk, u32::MAX);
                    let are_held = parts.into_iter().all(|part| {
                        let first = part.first_offset();
                        unwanted.push(unwanted_from..first);
                        unwanted_from = first + u64::from(part.count);
                        let bytes = bytes * part.count as usize / count;
                        hold(part, bytes, taking)
                    });
                    if !are_held {
                        break;
                    }
                    unwanted.push(unwanted_from..next);
                }
                // Given up meanwhile: the desk learns it, and says so.
                Ok(None) | Err(Error::Truncated { .. }) => break,
                Err(error) => {
                    failed = Err(error);
                    break;
                }
            }
        }
        if next < offsets.end {
            let now_ms = engine.groups.due_now_ms(engine);
            drop(partition.give_back(resets, next..offsets.end, Cause::NotDelivered, now_ms));
        }
        unwanted.retain(|range: &Range<u64>| !range.is_empty());
        if !unwanted.is_empty() {
            taking.has_skipped = true;
            partition.finish(resets, unwanted);
            // The next owner may have its turn.
            group.arrivals.notify();
        }
        failed
    }

    /// What a poll gives, shown to the interceptors.
    pub(super) fn given(&self, deliveries: Deliveries) -> Result<Deliveries> {
        match self.shared.options.interceptors.is_empty() {
            true => Ok(deliveries),
            false => self.intercept(deliveries),
        }
    }

    /// Shows the deliveries to the interceptors. Where one fails, they were none.
    #[cold]
    fn intercept(&self, deliveries: Deliveries) -> Result<Deliveries> {
        let failures = &self.engine.interceptor_failures;
        let shown = self.shared.options.interceptors.on_deliver(&self.group.name, &deliveries, failures);
        if shown.is_err() {
            for ((_, chunk), ChunkOf { partition, .. }) in deliveries.records.chunks().zip(&deliveries.chunks) {
                let offsets = chunk.first_offset()..chunk.first_offset() + u64::from(chunk.count);
                let held = {
                    let mut state = lock(&self.shared.state);
                    // Those whose lease ran out meanwhile were given back then.
                    let held = state.leases.take_back(*partition, offsets);
                    held.into_iter().map(|lease| Ended::now(&self.group, lease)).collect()
                };
                self.group.end_all(&self.engine, held, Cause::NotDelivered);
            }
        }
        shown.map(|()| deliveries)
    }

    /// Takes nothing from a partition until it is resumed. What is held stays held. In an ordered group it stays this
    /// member's.
    ///
    /// # Errors
    /// `InvalidArgument`: the group does not read it.
    pub fn pause(&mut self, topic: &str, partition: u32) -> Result<()> {
        let at = self.place_of(topic, partition)?;
        self.paused.insert(at);
        Ok(())
    }

    /// Takes from a paused partition again.
    ///
    /// # Errors
    /// As [`GroupConsumer::pause`].
    pub fn resume(&mut self, topic: &str, partition: u32) -> Result<()> {
        let at = self.place_of(topic, partition)?;
        self.paused.remove(&at);
        Ok(())
    }

    fn place_of(&self, topic: &str, partition: u32) -> Result<usize> {
        self.group.place_of(topic, partition)
    }

    /// Leaves the group. What is still held is released: no failure of its. Everything acknowledged goes into the log;
    /// to know that it is durable, call [`Acknowledger::flush`] before.
    pub fn close(self) {
        self.leave(Cause::Released);
    }

    fn leave(&self, cause: Cause) {
        if self.shared.closed.swap(true, Ordering::AcqRel) || self.engine.fork.is_forked() {
            return;
        }
        self.shared.flush(&self.group);
        let held = {
            let mut state = lock(&self.shared.state);
            state.leases.drain().into_iter().map(|lease| Ended::now(&self.group, lease)).collect()
        };
        self.group.end_all(&self.engine, held, cause);
        self.group.leave(&self.shared);
    }
}

impl Deref for GroupConsumer {
    type Target = Acknowledger;

    fn deref(&self) -> &Acknowledger {
        &self.acknowledger
    }
}

impl Drop for GroupConsumer {
    /// A member that goes away without being closed, perhaps because its thread broke down, has failed with what it
    /// holds.
    fn drop(&mut self) {
        self.leave(Cause::MemberLeft);
    }
}

impl std::fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupConsumer({}, member {})", self.group.name, self.shared.id)
    }
}

/// What a poll has so far.
struct Taking {
    deliveries: Deliveries,
    room: u64,
    bytes: usize,
    /// A record that goes out alone is in it.
    is_alone: bool,
    /// Of the partition that was looked at last, something is to be told.
    has_lost: bool,
    /// Records that the group does not want were taken, and are finished.
    has_skipped: bool,
}
