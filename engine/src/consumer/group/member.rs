//! A member of a group: takes records under leases, and ends their deliveries.
//!
//! Invariants:
//! - A record is processed by whoever holds its lease, and acknowledged only by it: a late call is told
//!   [`Error::LeaseLost`].
//! - What is acknowledged goes to the desks in the order of the calls, with the next poll or within
//!   `ack_flush_interval_ms`.
//! - A poll that fails gives back what it had taken, uncounted.

use super::MemberId;
use super::deliveries::{Deliveries, DeliveryId, Once};
use super::leases::{Lease, Leases, Unheld};
use super::partition::{Given, GroupPartition};
use super::shared::{GroupShared, Place};
use super::taken::Cause;
use crate::canary::{self, Canary};
use crate::consumer::filter;
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::interceptor::{ConsumerInterceptor, DeliveryEnd, EndedDeliveries, Interceptors};
use crate::lane::inbox::Token;
use crate::lane::shared::{Message, Reply};
use crate::partition::read_ahead::ReadAhead;
use crate::partition::reader::{Chunk, PartitionReader};
use crate::sync::{Signal, lock, now};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Acknowledgements that are collected before they go to the desks at once.
const ACKED_MAX: u64 = 4096;

/// Options of [`Engine::join_group`](crate::Engine::join_group).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberOptions {
    /// How long a record may be worked on before it is handed to somebody else. Default 30 s; 1 ms to 24 h.
    pub lease: Duration,
    /// Most records of one poll. Default 500.
    pub max_poll_records: usize,
    /// A poll takes no further stretch of the log when it has so many bytes. Default 4 MiB.
    pub max_poll_bytes: usize,
    /// Most records that the member holds at once: a poll waits until some are acknowledged. Default 1,000.
    pub max_in_flight_records: u64,
    /// And their bytes. Default 64 MiB.
    pub max_in_flight_bytes: u64,
    pub(crate) interceptors: Interceptors<dyn ConsumerInterceptor>,
}

impl Default for MemberOptions {
    fn default() -> Self {
        MemberOptions {
            lease: Duration::from_secs(30),
            max_poll_records: 500,
            max_poll_bytes: 4 << 20,
            max_in_flight_records: 1_000,
            max_in_flight_bytes: 64 << 20,
            interceptors: Interceptors::default(),
        }
    }
}

impl MemberOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a record may be worked on.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the most records of one poll.
    #[must_use]
    pub fn max_poll_records(mut self, count: usize) -> Self {
        self.max_poll_records = count;
        self
    }

    /// Sets the bytes after which a poll ends.
    #[must_use]
    pub fn max_poll_bytes(mut self, bytes: usize) -> Self {
        self.max_poll_bytes = bytes;
        self
    }

    /// Sets the most records that the member holds at once.
    #[must_use]
    pub fn max_in_flight_records(mut self, count: u64) -> Self {
        self.max_in_flight_records = count;
        self
    }

    /// Sets the most bytes that the member holds at once.
    #[must_use]
    pub fn max_in_flight_bytes(mut self, bytes: u64) -> Self {
        self.max_in_flight_bytes = bytes;
        self
    }

    /// Adds an interceptor behind those that are there. Where it fails, so does the call.
    #[must_use]
    pub fn interceptor(mut self, interceptor: Arc<dyn ConsumerInterceptor>) -> Self {
        self.interceptors.add(interceptor.name().into(), interceptor, false);
        self
    }

    /// Adds an interceptor behind those that are there. Where it fails, that is counted
    /// ([`Stats::interceptor_failures`](crate::Stats)), and passed over.
    #[must_use]
    pub fn interceptor_best_effort(mut self, interceptor: Arc<dyn ConsumerInterceptor>) -> Self {
        self.interceptors.add(interceptor.name().into(), interceptor, true);
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        let check = |ok: bool, name: &'static str, value: String, reason: &str| match ok {
            true => Ok(()),
            false => Err(Error::InvalidArgument { name, value, reason: reason.to_owned() }),
        };
        let lease = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        check(lease.contains(&self.lease), "lease", format!("{:?}", self.lease), "1 ms to 24 h")?;
        check(self.max_poll_records > 0, "max_poll_records", "0".to_owned(), "at least 1")?;
        check(self.max_poll_bytes > 0, "max_poll_bytes", "0".to_owned(), "at least 1")?;
        let records = self.max_in_flight_records;
        check((1..=1 << 20).contains(&records), "max_in_flight_records", records.to_string(), "1 to 1,048,576")?;
        check(self.max_in_flight_bytes > 0, "max_in_flight_bytes", "0".to_owned(), "at least 1")
    }
}

/// The part of a member that any thread may use.
pub(crate) struct MemberShared {
    pub(super) id: MemberId,
    pub(super) signal: Signal,
    options: MemberOptions,
    state: Mutex<State>,
    /// Held while the desks are told: whoever flushes knows that all acknowledgements before are with their lanes.
    flushing: Mutex<()>,
    closed: AtomicBool,
}

/// What was acknowledged of a partition, after so many resets of it.
struct Acked {
    partition: u32,
    resets: u64,
    offsets: Range<u64>,
}

/// A lease that has ended, and under which count of resets.
pub(super) struct Ended {
    pub(super) resets: u64,
    pub(super) lease: Lease,
}

impl Ended {
    /// To be asked for while the state is locked in which the lease was: no reset comes in between.
    fn now(group: &GroupShared, lease: Lease) -> Ended {
        Ended { resets: group.partitions[lease.partition as usize].resets(), lease }
    }
}

#[derive(Default)]
struct State {
    leases: Leases,
    /// Acknowledged, and not told to the desks.
    acked: Vec<Acked>,
    acked_records: u64,
    /// Its poll waits for something to be acknowledged.
    waits_for_room: bool,
    /// It asks for tokens: what it acknowledges goes to the desks at once, so that they are known to others.
    uses_inbox: bool,
}

impl State {
    fn push_acked(&mut self, partition: u32, resets: u64, offsets: Range<u64>) {
        self.acked_records += offsets.end - offsets.start;
        match self.acked.last_mut() {
            Some(last) if (last.partition, last.resets, last.offsets.end) == (partition, resets, offsets.start) => {
                last.offsets.end = offsets.end;
            }
            _ => self.acked.push(Acked { partition, resets, offsets }),
        }
    }
}

impl MemberShared {
    pub(super) fn new(id: MemberId, options: MemberOptions) -> MemberShared {
        let (signal, closed) = (Signal::default(), AtomicBool::new(false));
        MemberShared { id, signal, options, state: Mutex::default(), flushing: Mutex::default(), closed }
    }

    /// Tells the desks what was acknowledged.
    pub(super) fn flush(&self, group: &GroupShared) {
        let flushing = lock(&self.flushing);
        let mut acked = {
            let mut state = lock(&self.state);
            state.acked_records = 0;
            std::mem::take(&mut state.acked)
        };
        if acked.is_empty() {
            return;
        }
        acked.sort_by_key(|acked| (acked.partition, acked.resets, acked.offsets.start));
        let is_like = |one: &Acked, other: &Acked| (one.partition, one.resets) == (other.partition, other.resets);
        for like in acked.chunk_by(is_like) {
            let ranges = like.iter().map(|acked| acked.offsets.clone());
            group.partitions[like[0].partition as usize].finish(like[0].resets, ranges);
        }
        drop(flushing);
        // There is room for more, or the next owner may have its turn.
        group.arrivals.notify();
    }

    /// Before the engine closes: everything acknowledged so far goes to the desks, and nothing is any more.
    pub(super) fn close(&self, group: &GroupShared) {
        {
            let _state = lock(&self.state);
            self.closed.store(true, Ordering::Release);
        }
        self.flush(group);
    }

    /// Ends the leases that have run out; says whether there are new dead letters.
    pub(super) fn expire(&self, group: &GroupShared, engine: &EngineInner) -> bool {
        let expired: Vec<_> = {
            let mut state = lock(&self.state);
            let expired = state.leases.expire(lease_clock_ms(engine));
            if canary::sings(Canary::TwoLeases) {
                expired.iter().for_each(|lease| state.leases.hold(Lease { until_ms: i64::MAX, ..lease.clone() }));
            }
            expired.into_iter().map(|lease| Ended::now(group, lease)).collect()
        };
        if !expired.is_empty() {
            // There is room for more.
            self.signal.notify();
        }
        self.end_all(group, engine, expired, Cause::LeaseEnded)
    }

    fn end_all(&self, group: &GroupShared, engine: &EngineInner, ended: Vec<Ended>, cause: Cause) -> bool {
        let now_ms = engine.groups.due_now_ms(engine);
        let mut any_dead = false;
        for ended in ended {
            any_dead |= group.give_back(ended, cause, now_ms);
        }
        any_dead
    }

    /// Holds what was taken under this count of resets; says whether it still counts.
    fn hold(&self, partition: &GroupPartition, resets: u64, lease: Lease) -> bool {
        let mut state = lock(&self.state);
        let counts = partition.resets() == resets;
        if counts {
            state.leases.hold(lease);
        }
        counts
    }

    /// Takes away what it holds of a partition, whose group begins elsewhere now.
    pub(super) fn take_back(&self, partition: u32) {
        let mut state = lock(&self.state);
        state.leases.take_back(partition, 0..u64::MAX);
        state.acked.retain(|acked| acked.partition != partition);
    }
}

/// The clock that leases go by: it does not jump.
fn lease_clock_ms(engine: &EngineInner) -> i64 {
    (engine.clock.monotonic_ns() / 1_000_000) as i64
}

/// Reads the records of a group as one of its members, and acknowledges them.
///
/// [`GroupConsumer::poll`] needs it alone; everything else may be called from any thread, while it polls too. Each
/// record is held under a lease. It ends with [`ack`](GroupConsumer::ack), [`nack`](GroupConsumer::nack),
/// [`reject`](GroupConsumer::reject) or [`release`](GroupConsumer::release), or when it runs out: then the record is
/// handed to somebody else. What is held when the member goes away is handed out again.
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
    pub(super) engine: Arc<EngineInner>,
    pub(super) group: Arc<GroupShared>,
    pub(super) shared: Arc<MemberShared>,
    readers: Vec<Option<PartitionReader>>,
    ahead: ReadAhead,
    /// Which partition is first in the next poll: each gets its turn.
    turn: usize,
    /// Partitions that nothing is taken from.
    paused: BTreeSet<usize>,
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
            engine,
            group,
            shared,
            readers,
            ahead: ReadAhead::new(1 << 20),
            turn,
            paused: BTreeSet::new(),
            pending: None,
            pending_lost: None,
        }
    }

    /// The name of the group.
    pub fn group(&self) -> &str {
        &self.group.name
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
                    match self.group.begin_waiting(&self.shared, seen_arrivals) {
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

    /// How long until a record is due that waits for its time.
    fn until_due(&self) -> Option<Duration> {
        let now_ms = self.engine.groups.due_now_ms(&self.engine);
        let due_ms = self.group.partitions.iter().filter_map(|partition| partition.next_due(now_ms)).min()?;
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
        if self.group.bury(at as u32, resets, dead_letters) {
            self.engine.groups.nudge();
        }
        let is_idle = ranges.is_empty() && counting.is_none();
        let mut ranges = ranges.into_iter();
        while let Some(range) = ranges.next() {
            if let Err(error) = self.read(at, resets, range, 1, taking) {
                ranges.for_each(|rest| drop(partition.give_back(resets, rest, Cause::NotDelivered, now_ms)));
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
        let partition = self.group.partitions[at].clone();
        let reader =
            self.readers[at].get_or_insert_with(|| PartitionReader::new(partition.partition.clone(), offsets.start));
        if reader.offset != offsets.start {
            reader.seek(offsets.start, &mut self.ahead);
        }
        let lease_ms = i64::try_from(self.shared.options.lease.as_millis()).unwrap_or(i64::MAX);
        let until_ms = lease_clock_ms(&self.engine).saturating_add(lease_ms);
        let hold = |chunk: Chunk, bytes: usize, taking: &mut Taking| {
            let (start, count) = (chunk.first_offset(), u64::from(chunk.count));
            let (offsets, bytes) = (start..start + count, bytes as u64);
            let lease = Lease { partition: at as u32, offsets, until_ms, deliveries, bytes };
            let counts = self.shared.hold(&partition, resets, lease);
            if counts {
                taking.room = taking.room.saturating_sub(count);
                taking.deliveries.records.push(partition.partition.clone(), chunk);
                taking.deliveries.chunks.push((at as u32, deliveries));
            }
            counts
        };
        let mut next = offsets.start;
        let mut unwanted = Vec::new();
        let mut failed = Ok(());
        while next < offsets.end && taking.bytes < self.shared.options.max_poll_bytes {
            let wanted = u32::try_from(offsets.end - next).unwrap_or(u32::MAX);
            match reader.next_chunk(wanted, &mut self.ahead) {
                Ok(Some(mut chunk)) => {
                    let (start, count, bytes) = (next, chunk.count as usize, chunk.bytes().len());
                    next += count as u64;
                    taking.bytes += bytes;
                    let Some(filter) = &self.group.options.filter else {
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
            let now_ms = self.engine.groups.due_now_ms(&self.engine);
            drop(partition.give_back(resets, next..offsets.end, Cause::NotDelivered, now_ms));
        }
        unwanted.retain(|range: &Range<u64>| !range.is_empty());
        if !unwanted.is_empty() {
            taking.has_skipped = true;
            partition.finish(resets, unwanted);
            // The next owner may have its turn.
            self.group.arrivals.notify();
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
            for ((_, chunk), (partition, _)) in deliveries.records.chunks().zip(&deliveries.chunks) {
                let offsets = chunk.first_offset()..chunk.first_offset() + u64::from(chunk.count);
                let held = {
                    let mut state = lock(&self.shared.state);
                    // Those whose lease ran out meanwhile were given back then.
                    let held = state.leases.take_back(*partition, offsets);
                    held.into_iter().map(|lease| Ended::now(&self.group, lease)).collect()
                };
                if self.shared.end_all(&self.group, &self.engine, held, Cause::NotDelivered) {
                    self.engine.groups.nudge();
                }
            }
        }
        shown.map(|()| deliveries)
    }

    /// Tells the interceptors that deliveries of a partition have ended.
    #[cold]
    fn tell_end(&self, at: u32, offsets: Range<u64>, end: DeliveryEnd) {
        let partition = &self.group.partitions[at as usize].partition;
        let (group, topic, partition) = (&*self.group.name, &*partition.topic, partition.partition);
        let ended = EndedDeliveries { group, topic, partition, offsets, end };
        self.shared.options.interceptors.on_end(&ended, &self.engine.interceptor_failures);
    }

    // ----- ending deliveries -----

    /// The member's state, with the leases ended that have run out.
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        self.engine.check_fork()?;
        let now_ms = lease_clock_ms(&self.engine);
        let is_due = |state: &State| state.leases.next_deadline().is_some_and(|deadline| deadline <= now_ms);
        let mut state = lock(&self.shared.state);
        if is_due(&state) {
            drop(state);
            self.expire();
            state = lock(&self.shared.state);
        }
        // Looked at while the state is held: what is accepted now is told to the desks before the engine closes.
        match self.shared.closed.load(Ordering::Acquire) {
            true => Err(Error::Closed { what: "the member" }),
            false => self.group.check().map(|()| state),
        }
    }

    fn expire(&self) {
        if self.shared.expire(&self.group, &self.engine) {
            self.engine.groups.nudge();
        }
    }

    fn unheld(&self, id: DeliveryId, unheld: Unheld) -> Error {
        let Some(partition) = self.group.partitions.get(id.partition as usize) else {
            let (topic, partition) = (String::new(), id.partition);
            return Error::NotDelivered { topic, partition, offset: id.offset };
        };
        let (topic, offset) = (partition.partition.topic.to_string(), id.offset);
        let partition = partition.partition.partition;
        match unheld {
            Unheld::NotHeld => Error::NotDelivered { topic, partition, offset },
            Unheld::LeaseLost => Error::LeaseLost { topic, partition, offset },
            Unheld::AlreadyFinished => Error::AlreadyAcknowledged { topic, partition, offset },
        }
    }

    /// The record was processed: it is not handed out again. Durable with the next [`GroupConsumer::flush`], and without
    /// one within `ack_flush_interval_ms` and `flush_interval_ms`.
    ///
    /// # Errors
    /// `LeaseLost`: the lease ran out or was taken away, somebody else may have the record. `AlreadyAcknowledged`,
    /// `NotDelivered`, `GroupDeleted`, `Closed`, `Forked`.
    #[inline]
    pub fn ack(&self, id: DeliveryId) -> Result<()> {
        let mut state = self.state()?;
        state.leases.finish(id.partition, id.offset).map_err(|unheld| self.unheld(id, unheld))?;
        let resets = self.group.partitions[id.partition as usize].resets();
        state.push_acked(id.partition, resets, id.offset..id.offset + 1);
        self.acked(state);
        if !self.shared.options.interceptors.is_empty() {
            self.tell_end(id.partition, id.offset..id.offset + 1, DeliveryEnd::Acknowledged);
        }
        Ok(())
    }

    /// All records of the delivery's partition that this member holds were processed up to this one. Returns how many
    /// below it were lost before, and are somebody else's.
    ///
    /// # Errors
    /// As [`GroupConsumer::ack`], of the record itself.
    pub fn ack_through(&self, id: DeliveryId) -> Result<u64> {
        let mut state = self.state()?;
        let finished = state.leases.finish_to(id.partition, id.offset + 1);
        let finished = finished.map_err(|unheld| self.unheld(id, unheld))?;
        let resets = self.group.partitions[id.partition as usize].resets();
        for range in &finished.ranges {
            state.push_acked(id.partition, resets, range.clone());
        }
        self.acked(state);
        if !self.shared.options.interceptors.is_empty() {
            finished.ranges.into_iter().for_each(|range| self.tell_end(id.partition, range, DeliveryEnd::Acknowledged));
        }
        Ok(finished.lost)
    }

    /// All records of a poll were processed.
    ///
    /// # Errors
    /// As [`GroupConsumer::ack`], of the first that is not held any more; those that are are acknowledged all the same.
    pub fn ack_all(&self, deliveries: &Deliveries) -> Result<()> {
        deliveries.iter().map(|delivery| self.ack(delivery.id())).fold(Ok(()), Result::and)
    }

    fn acked(&self, mut state: MutexGuard<'_, State>) {
        let wakes = std::mem::take(&mut state.waits_for_room);
        let is_much = state.acked_records >= ACKED_MAX || state.uses_inbox;
        drop(state);
        if is_much {
            self.shared.flush(&self.group);
        }
        if wakes {
            self.shared.signal.notify();
        }
    }

    /// Whether a record with the same token was processed before: one that a producer sent twice, or that stands for
    /// the same work. The token, 1 to 128 bytes, is what the application calls this work by.
    ///
    /// After [`Once::Fresh`] the token belongs to the delivery. It is recorded with the delivery's acknowledgement, in
    /// the same frame of the log; if the delivery ends otherwise, it is free again. Tokens are remembered for each
    /// partition of the group, as many and as long as its [`GroupOptions::inbox`](crate::GroupOptions::inbox) says: so
    /// records with the same token must go to the same partition, for example by their key.
    ///
    /// # Errors
    /// `InvalidArgument`: the token is empty or too long, or the delivery has 64 tokens already. Otherwise as
    /// [`GroupConsumer::ack`].
    pub fn once(&self, id: DeliveryId, token: &[u8]) -> Result<Once> {
        let token = Token::new(token)?;
        // Ends what has run out, and looks at whether the member lives.
        drop(self.state()?);
        let Some(partition) = self.group.partitions.get(id.partition as usize) else {
            return Err(self.unheld(id, Unheld::NotHeld));
        };
        let is_held = || {
            let mut state = lock(&self.shared.state);
            state.uses_inbox = true;
            state.leases.check(id.partition, id.offset).map_err(|unheld| self.unheld(id, unheld))
        };
        let bounds = self.group.options.inbox_bounds();
        partition.claim(&token, id.offset, self.engine.clock.wall_ms(), bounds, is_held)
    }

    fn end_one(&self, id: DeliveryId, cause: Cause, end: DeliveryEnd) -> Result<()> {
        let ended = {
            let mut state = self.state()?;
            let lease = state.leases.release(id.partition, id.offset).map_err(|unheld| self.unheld(id, unheld))?;
            Ended::now(&self.group, lease)
        };
        let now_ms = self.engine.groups.due_now_ms(&self.engine);
        if self.group.give_back(ended, cause, now_ms) {
            self.engine.groups.nudge();
        }
        self.shared.signal.notify();
        if !self.shared.options.interceptors.is_empty() {
            self.tell_end(id.partition, id.offset..id.offset + 1, end);
        }
        Ok(())
    }

    /// The record could not be processed: it is handed out again after `delay`, or after that of the group's retry
    /// policy. After `max_deliveries` failures it goes to the dead letters.
    ///
    /// # Errors
    /// As [`GroupConsumer::ack`].
    pub fn nack(&self, id: DeliveryId, delay: Option<Duration>) -> Result<()> {
        let delay_ms = delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self.end_one(id, Cause::Nacked { delay_ms }, DeliveryEnd::Nacked)
    }

    /// Nobody can process the record: it goes to the dead letters at once.
    ///
    /// # Errors
    /// As [`GroupConsumer::ack`].
    pub fn reject(&self, id: DeliveryId) -> Result<()> {
        self.end_one(id, Cause::Rejected, DeliveryEnd::Rejected)
    }

    /// The record was not worked on: it is handed out again at once, and this was no failure.
    ///
    /// # Errors
    /// As [`GroupConsumer::ack`].
    pub fn release(&self, id: DeliveryId) -> Result<()> {
        self.end_one(id, Cause::Released, DeliveryEnd::Released)
    }

    /// Holds the record for so long from now on.
    ///
    /// # Errors
    /// As [`GroupConsumer::ack`].
    pub fn extend(&self, id: DeliveryId, lease: Duration) -> Result<()> {
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let until_ms = lease_clock_ms(&self.engine).saturating_add(lease_ms);
        let mut state = self.state()?;
        state.leases.extend(id.partition, id.offset, until_ms).map_err(|unheld| self.unheld(id, unheld))
    }

    /// Returns when everything that was acknowledged before is durable: it is not handed out again, whatever happens.
    ///
    /// # Errors
    /// `UnknownOutcome` and `Poisoned` after an I/O error; `NoSpace`, `GroupDeleted`, `Closed`, `Forked`.
    pub fn flush(&self) -> Result<()> {
        self.engine.check_fork()?;
        self.group.check()?;
        self.shared.flush(&self.group);
        let lanes: BTreeSet<usize> =
            self.group.partitions.iter().map(|partition| partition.partition.lane as usize).collect();
        let ask = |lane: usize| {
            let (answer, reply) = Reply::pair();
            // Behind all that the desks have noted.
            self.engine.lanes[lane].push(Message::Progress { entries: Vec::new(), reply: Some(answer) });
            reply
        };
        let replies: Vec<_> = lanes.into_iter().map(ask).collect();
        if canary::sings(Canary::ConfirmEarly) {
            return Ok(());
        }
        replies.into_iter().try_for_each(|reply| reply.wait())
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

    /// Records that this member holds now.
    pub fn in_flight(&self) -> u64 {
        lock(&self.shared.state).leases.records()
    }

    /// Leaves the group. What is still held is released: no failure of its. Everything acknowledged goes into the log;
    /// to know that it is durable, call [`GroupConsumer::flush`] before.
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
        if self.shared.end_all(&self.group, &self.engine, held, cause) {
            self.engine.groups.nudge();
        }
        self.group.leave(&self.shared);
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
