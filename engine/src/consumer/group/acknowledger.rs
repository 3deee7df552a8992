//! Ending deliveries of a member: acknowledged, failed, given back, or held longer.
//!
//! Invariants:
//! - A delivery ends at its lease first, which says whether it is still held, and then at the desk.
//! - It ends once: who comes later is told how it ended.

use super::deliveries::{Deliveries, DeliveryId, Once};
use super::held::{Ended, MemberShared, State, lease_clock_ms};
use super::leases::Unheld;
use super::shared::GroupShared;
use super::taken::Cause;
use crate::canary::{self, Canary};
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::interceptor::{DeliveryEnd, EndedDeliveries};
use crate::io::delay_ms;
use crate::lane::inbox::Token;
use crate::lane::shared::{Message, Reply};
use crate::sync::lock;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

/// Acknowledgements that are collected before they go to the desks at once.
const ACKED_MAX: u64 = 4096;

/// Ends deliveries of a [`GroupConsumer`](crate::GroupConsumer), which lends its own to who calls these methods on it. A
/// clone of it ([`GroupConsumer::acknowledger`](crate::GroupConsumer::acknowledger)) may be used on any thread, also while
/// the member polls; when the member is gone its calls are `Closed`.
///
/// ```
/// # fn main() -> ringlane::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # use ringlane::{Engine, GroupOptions, MemberOptions, Options, ProducerOptions, Record, Start, TopicOptions};
/// # use std::time::Duration;
/// # let engine = Engine::open(directory.path(), Options::new())?;
/// # let orders = engine.create_topic("orders", TopicOptions::new())?;
/// # engine.create_group("billing", GroupOptions::shared().topic("orders", Start::Beginning))?;
/// # engine.producer(ProducerOptions::new())?.send(&orders, Record::new(b"one"))?.wait()?;
/// let mut member = engine.join_group("billing", MemberOptions::new())?;
/// let acknowledger = member.acknowledger();
/// let (sender, work) = std::sync::mpsc::channel();
/// let worker = std::thread::spawn(move || work.into_iter().try_for_each(|id| acknowledger.ack(id)));
/// for delivery in &member.poll(Duration::from_secs(1))? {
///     let _ = sender.send(delivery.id()); // the worker works on it, and acknowledges it
/// }
/// drop(sender);
/// worker.join().expect("it does not panic")?;
/// # drop(member);
/// # engine.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Acknowledger {
    pub(super) engine: Arc<EngineInner>,
    pub(super) group: Arc<GroupShared>,
    pub(super) shared: Arc<MemberShared>,
}

impl Acknowledger {
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

    pub(super) fn expire(&self) {
        self.shared.expire(&self.group, &self.engine);
    }

    /// The record is held, and by this delivery: not by a later one of the same member.
    #[inline]
    fn check_held(&self, state: &State, id: DeliveryId) -> Result<()> {
        let held = state.leases.check(id.partition, id.offset, id.serial);
        held.map_err(|unheld| self.unheld(id, unheld))
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

    /// The record was processed: it is not handed out again. Durable with the next [`Acknowledger::flush`], and without
    /// one within `ack_flush_interval_ms` and `flush_interval_ms`.
    ///
    /// # Errors
    /// `LeaseLost`: the lease ran out or was taken away, somebody else may have the record. `AlreadyAcknowledged`,
    /// `NotDelivered`, `GroupDeleted`, `Closed`, `Forked`.
    #[inline]
    pub fn ack(&self, id: DeliveryId) -> Result<()> {
        let mut state = self.state()?;
        let finished = state.leases.finish(id.partition, id.offset, id.serial);
        finished.map_err(|unheld| self.unheld(id, unheld))?;
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
    /// As [`Acknowledger::ack`], of the record itself.
    pub fn ack_through(&self, id: DeliveryId) -> Result<u64> {
        let mut state = self.state()?;
        self.check_held(&state, id)?;
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
    /// As [`Acknowledger::ack`], of the first that is not held any more; those that are are acknowledged all the same.
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
    /// [`Acknowledger::ack`].
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
            self.check_held(&state, id)
        };
        let bounds = self.group.options.inbox_bounds();
        partition.claim(&token, id.offset, self.engine.groups.due_now_ms(&self.engine), bounds, is_held)
    }

    /// Tells the interceptors that deliveries of a partition have ended.
    #[cold]
    fn tell_end(&self, at: u32, offsets: Range<u64>, end: DeliveryEnd) {
        let partition = &self.group.partitions[at as usize].partition;
        let (group, topic, partition) = (&*self.group.name, &*partition.topic, partition.partition);
        let ended = EndedDeliveries { group, topic, partition, offsets, end };
        self.shared.options.interceptors.on_end(&ended, &self.engine.interceptor_failures);
    }

    /// Takes the lease of a delivery from the member.
    pub(super) fn release_held(&self, id: DeliveryId) -> Result<Ended> {
        let mut state = self.state()?;
        let released = state.leases.release(id.partition, id.offset, id.serial);
        Ok(Ended::now(&self.group, released.map_err(|unheld| self.unheld(id, unheld))?))
    }

    /// The interceptors learn that it is a transaction's.
    pub(super) fn tell_in_transaction(&self, id: DeliveryId) {
        if !self.shared.options.interceptors.is_empty() {
            self.tell_end(id.partition, id.offset..id.offset + 1, DeliveryEnd::InTransaction);
        }
    }

    fn end_one(&self, id: DeliveryId, cause: Cause, end: DeliveryEnd) -> Result<()> {
        let ended = self.release_held(id)?;
        self.group.end_all(&self.engine, vec![ended], cause);
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
    /// As [`Acknowledger::ack`].
    pub fn nack(&self, id: DeliveryId, delay: Option<Duration>) -> Result<()> {
        let delay_ms = delay.map(delay_ms);
        self.end_one(id, Cause::Nacked { delay_ms }, DeliveryEnd::Nacked)
    }

    /// Nobody can process the record: it goes to the dead letters at once.
    ///
    /// # Errors
    /// As [`Acknowledger::ack`].
    pub fn reject(&self, id: DeliveryId) -> Result<()> {
        self.end_one(id, Cause::Rejected, DeliveryEnd::Rejected)
    }

    /// The record was not worked on: it is handed out again at once, and this was no failure.
    ///
    /// # Errors
    /// As [`Acknowledger::ack`].
    pub fn release(&self, id: DeliveryId) -> Result<()> {
        self.end_one(id, Cause::Released, DeliveryEnd::Released)
    }

    /// Holds the record for so long from now on.
    ///
    /// # Errors
    /// As [`Acknowledger::ack`].
    pub fn extend(&self, id: DeliveryId, lease: Duration) -> Result<()> {
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let until_ms = lease_clock_ms(&self.engine).saturating_add(lease_ms);
        let mut state = self.state()?;
        let extended = state.leases.extend(id.partition, id.offset, id.serial, until_ms);
        extended.map_err(|unheld| self.unheld(id, unheld))
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

    /// Records that this member holds now.
    pub fn in_flight(&self) -> u64 {
        lock(&self.shared.state).leases.records()
    }
}

impl std::fmt::Debug for Acknowledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Acknowledger({}, member {})", self.group.name, self.shared.id)
    }
}
