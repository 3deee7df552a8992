//! A transaction in the hands of who began it.
//!
//! Invariants:
//! - Until it is prepared or committed its records stand in memory, or, when they are many, withheld in the log; nobody
//!   sees them. If it ends before, they are given up.
//! - One that fails to be prepared, or to be committed at once, is rolled back; one that is prepared stays it until it is
//!   decided.

use super::committed::{Committed, RecordPlace, Written};
use super::contents::{Contents, Taken, TakenLane, check_record};
use super::deciding::{Asked, DECIDER, decide, decide_parts, follow};
use super::info::TransactionState;
use super::options::TransactionOptions;
use super::registry::{Checks, Entry, Parts, Phase};
use super::watched::Watched;
use crate::consumer::group::groups::Groups;
use crate::consumer::group::taken::Cause;
use crate::consumer::{Acknowledger, Deliveries, DeliveryId};
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::progress::ProgressEntry;
use crate::lane::shared::{Message, Reply};
use crate::lane::steps::{PrepareStep, TransactionDone, TransactionStep, TransactionWork};
use crate::lane::transactions::{Participant, TransactionOutcome};
use crate::log::origin::Origin;
use crate::log::position::Identity;
use crate::producer::Producer;
use crate::producer::batch::Content;
use crate::record::Record;
use crate::sync::{Mutex, lock};
use crate::topic::Topic;
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

/// A transaction: records for any partitions, and deliveries that it acknowledges, that become effective together or not
/// at all. Begun with [`Producer::begin`](crate::Producer::begin).
///
/// [`Transaction::commit`] is all that most need. Where a local database is to agree with the messages,
/// [`Transaction::prepare`] comes first: then everything is durable and invisible, and waits for the decision, over
/// restarts too. Dropped before it is prepared, it is rolled back; dropped after that, it is undecided, and its checker is
/// asked.
///
/// ```
/// # fn main() -> ringlane::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # use ringlane::{Engine, Options, ProducerOptions, Record, TopicOptions, TransactionOptions};
/// # let engine = Engine::open(directory.path(), Options::new())?;
/// # let orders = engine.create_topic("orders", TopicOptions::new())?;
/// # let invoices = engine.create_topic("invoices", TopicOptions::new())?;
/// let producer = engine.producer(ProducerOptions::new())?;
/// let mut transaction = producer.begin(TransactionOptions::new())?;
/// transaction.send(&orders, Record::new(b"order 42"))?;
/// transaction.send(&invoices, Record::new(b"invoice of order 42"))?;
/// let committed = transaction.commit()?;
/// assert_eq!(committed.receipts()?[1].offset, Some(0));
/// # engine.close()
/// # }
/// ```
pub struct Transaction {
    engine: Arc<EngineInner>,
    producer: Producer,
    shared: Arc<OpenTransaction>,
    /// Where its records stand, once it is prepared.
    written: Written,
    committed: Committed,
    watched: Watched,
}

/// The part of it that others look at: when its time is over, somebody else ends it.
pub(crate) struct OpenTransaction {
    pub(super) entry: Arc<Entry>,
    /// By the monotonic clock.
    pub(super) deadline_ns: u64,
    timeout_ms: u64,
    contents: Mutex<Contents>,
}

impl Transaction {
    pub(super) fn begin(producer: &Producer, options: &TransactionOptions) -> Result<Self> {
        let engine = producer.engine();
        engine.check_usable()?;
        producer.identity().check()?;
        options.validate()?;
        let registry = &engine.transactions;
        registry.checkers.sweep(engine)?;
        let checker = options.checker.as_deref().unwrap_or_default();
        let entry = registry.begin(options.id.as_deref(), checker, engine.clock.wall_ms())?;
        let timeout_ns = u64::try_from(options.timeout.as_nanos()).unwrap_or(u64::MAX);
        let shared = Arc::new(OpenTransaction {
            entry,
            deadline_ns: engine.clock.monotonic_ns().saturating_add(timeout_ns),
            timeout_ms: timeout_ns / 1_000_000,
            contents: Mutex::default(),
        });
        registry.opened(&shared);
        let (written, committed, watched) = (Written::default(), Committed::default(), Watched::new(producer));
        Ok(Transaction { engine: engine.clone(), producer: producer.clone(), shared, written, committed, watched })
    }

    /// Its id: the application's own, or the one that was assigned.
    pub fn id(&self) -> &str {
        &self.shared.entry.id
    }

    /// What it is now.
    pub fn state(&self) -> TransactionState {
        self.shared.entry.state()
    }

    /// Adds a record. It becomes visible by the commit.
    ///
    /// # Errors
    /// The record is not in it, all else is: `RecordTooLarge`, `InvalidPartition`, `TopicDeleted`, `InvalidArgument` (a
    /// delayed record, or one with a number of its sender's own, cannot be sent in a transaction), `TooMany`. The
    /// transaction is rolled back: `TransactionTimedOut`, `ProducerFenced`, `UnknownProducer`, `NoSpace`. It is not open:
    /// `WrongTransactionState`. `Poisoned`, `Closed`, `Forked`.
    pub fn send(&mut self, topic: &Topic, record: Record<'_>) -> Result<()> {
        check_record(&record)?;
        if !self.producer.is_watched() {
            return self.send_from(topic, record, None);
        }
        let place = lock(&self.shared.contents).records.len();
        // The handle lends them out for this call.
        let mut watched = std::mem::replace(&mut self.watched, Watched::new(&self.producer));
        let sent = watched.send(topic, &record, place, |record| self.send_from(topic, *record, None));
        if let Err(error) = &sent
            && self.state() != TransactionState::Open
        {
            watched.failed(error);
        }
        self.watched = watched;
        sent
    }

    /// Adds a record that was written by somebody: for repair.
    pub(crate) fn send_from(&mut self, topic: &Topic, record: Record<'_>, given: Option<Origin>) -> Result<()> {
        let (shared, partition, size) = self.producer.place_of(topic, &record)?;
        let timestamp_ms = record.timestamp_ms.unwrap_or_else(|| self.engine.clock.wall_ms());
        let of = &shared.partitions[partition as usize];
        let mut contents = self.open()?;
        contents.check_records()?;
        let part = contents.lanes.entry(of.lane).or_default();
        let known = part.parts.get(&of.slot).copied();
        let known = known.filter(|at| given.is_none() || part.content.parts[*at as usize].next_given() == given);
        let place = (shared, partition, of.slot);
        let (at, index) = part.content.push(known, place, &record, size, timestamp_ms, None, given);
        part.parts.insert(of.slot, at);
        let frame = part.written.len() + at as usize;
        let is_full = part.content.len() >= self.engine.options.batch_bytes;
        let topic = shared.clone();
        contents.records.push(RecordPlace { lane: of.lane, frame, index, topic, partition, timestamp_ms });
        if is_full {
            self.write_down(contents, of.lane)?;
        }
        Ok(())
    }

    /// Its records of a lane go into the log, withheld: there are many.
    fn write_down(&self, mut contents: MutexGuard<'_, Contents>, lane: u32) -> Result<()> {
        let part = contents.lanes.get_mut(&lane).expect("it has just got a record");
        part.parts.clear();
        let asked = self.ask(lane, vec![part.take()], TransactionStep::Withhold);
        match asked.reply.wait() {
            Ok(()) => {
                part.written.append(&mut lock(&asked.done).withheld);
                Ok(())
            }
            Err(error) => {
                let taken = contents.take();
                drop(contents);
                self.give_up(taken, Cause::Released);
                Err(error)
            }
        }
    }

    /// Acknowledges a delivery of any group with the commit. Until the transaction is decided it has the delivery alone:
    /// no lease runs out, and nobody else is given the record. If it is rolled back the delivery has failed.
    ///
    /// # Errors
    /// Those of [`Acknowledger::ack`]; `TooMany`, and as [`Transaction::send`].
    pub fn ack(&mut self, acknowledger: &Acknowledger, id: DeliveryId) -> Result<()> {
        let mut contents = self.open()?;
        contents.check_acks()?;
        if !acknowledger.is_of(&self.engine) {
            return Err(Error::InvalidArgument {
                name: "acknowledger",
                value: format!("{acknowledger:?}"),
                reason: "it is one of another engine".to_owned(),
            });
        }
        acknowledger.take_for(&mut contents.acks, id)
    }

    /// Acknowledges all deliveries of a poll with the commit.
    ///
    /// # Errors
    /// As [`Transaction::ack`], of the first that cannot be; those before it are in the transaction.
    pub fn ack_all(&mut self, acknowledger: &Acknowledger, deliveries: &Deliveries) -> Result<()> {
        deliveries.iter().try_for_each(|delivery| self.ack(acknowledger, delivery.id()))
    }

    /// Makes it durable and leaves it invisible. It is decided then by [`Transaction::commit`],
    /// [`Transaction::roll_back`], a call with its id, or its checker: whoever comes first.
    ///
    /// # Errors
    /// It is rolled back: `LeaseLost`, `GroupDeleted` (of what it acknowledges), `NoSpace`, `TooMany`,
    /// `TransactionTimedOut`, `ProducerFenced`, `UnknownProducer`. `WrongTransactionState`: it was prepared or decided
    /// before. After `UnknownOutcome` opening finds out. `Poisoned`, `Closed`, `Forked`.
    pub fn prepare(&mut self) -> Result<()> {
        let prepared = self.prepare_it();
        if let Err(error) = &prepared
            && self.state() != TransactionState::Prepared
        {
            self.watched.failed(error);
        }
        prepared
    }

    fn prepare_it(&mut self) -> Result<()> {
        let mut taken = self.open()?.take();
        let lanes = taken.lanes.len();
        let parts = self.prepare_taken(&mut taken, lanes, false)?;
        // Before anybody can decide it: what is decided must not be put among the undecided.
        self.engine.transactions.prepared(&self.shared.entry);
        *lock(&self.shared.entry.phase) = Phase::Prepared(parts);
        self.written = taken.written();
        Ok(())
    }

    /// Prepares it with what it acknowledged before: for repair.
    pub(crate) fn restore(&mut self, acks: Vec<ProgressEntry>) -> Result<()> {
        let mut taken = self.open()?.take();
        for entry in acks {
            let lane = entry.slot % self.engine.lanes.len() as u32;
            taken.lanes.entry(lane).or_default().restored.push(entry);
        }
        let lanes = taken.lanes.len();
        let parts = self.prepare_taken(&mut taken, lanes, false)?;
        *lock(&self.shared.entry.phase) = Phase::Prepared(parts);
        self.engine.transactions.prepared(&self.shared.entry);
        Ok(())
    }

    /// Commits it: its records are published, and what it acknowledges is finished, all of it or nothing. On return that
    /// is durable and will be so, whatever happens. In the lane that decides it is visible as well; in others it becomes
    /// visible right after, and [`Committed::receipts`] waits for it. To commit again changes nothing.
    ///
    /// # Errors
    /// One that was open is rolled back with the errors of [`Transaction::prepare`]; one that was prepared stays it with
    /// `NoSpace`: try again. `TransactionConflict`: it was rolled back before, by whoever came first. After
    /// `UnknownOutcome` opening finds out: ask [`Engine::transaction`](crate::Engine::transaction) then. `Poisoned`,
    /// `Closed`, `Forked`.
    pub fn commit(&mut self) -> Result<Committed> {
        let committed = self.commit_it();
        match &committed {
            Ok(committed) => self.watched.committed(committed),
            // It can be tried again.
            Err(_) if self.state() == TransactionState::Prepared => {}
            Err(error) => self.watched.failed(error),
        }
        committed
    }

    fn commit_it(&mut self) -> Result<Committed> {
        let outcome = TransactionOutcome::Committed;
        self.check_time()?;
        if self.state() != TransactionState::Open {
            if let Some(asked) = decide(&self.engine, &self.shared.entry, outcome)? {
                self.committed = Committed::new(std::mem::take(&mut self.written), asked);
            }
            return Ok(self.committed.clone());
        }
        let mut taken = self.open()?.take();
        let held = taken.acks.held().to_vec();
        let asked =
            if taken.lanes.len() == 1 { self.commit_at_once(&mut taken) } else { self.commit_over_lanes(&mut taken) };
        let asked = asked?;
        let records = taken.records.len() as u64;
        self.ended(outcome, &asked, Parts { held: held.clone(), records, ..Parts::default() }.over());
        Groups::held_finished(&self.engine, &held);
        self.committed = Committed::new(taken.written(), asked);
        Ok(self.committed.clone())
    }

    /// It has a part in one log only: one frame prepares it, decides it and publishes it.
    fn commit_at_once(&self, taken: &mut Taken) -> Result<Vec<Asked>> {
        let id = &self.shared.entry.id;
        let asked = self.ask_all(taken, |written, acks| {
            let (id, participants) = (id.clone(), Vec::new());
            TransactionStep::Commit { written, id, acks, participants }
        })?;
        self.wait_all(taken, &asked)?;
        Ok(asked)
    }

    /// The others are prepared, and then the lane that decides prepares and decides what it has by one write.
    fn commit_over_lanes(&self, taken: &mut Taken) -> Result<Vec<Asked>> {
        let own = taken.lanes.remove(&DECIDER);
        let others = {
            let lanes = taken.lanes.len() + usize::from(own.is_some());
            self.prepare_taken(taken, lanes, true)
        };
        let Some(mut own) = own else { return self.decide_over(taken, &others?) };
        let own_lane = |own: TakenLane| BTreeMap::from([(DECIDER, own)]);
        let others = match others {
            Ok(others) => others,
            Err(error) => {
                // The rest was rolled back; what nobody can tell opening finds out.
                if !error.is_unknown_outcome() && !error.is_fatal() {
                    self.give_up_lanes(&own_lane(own));
                }
                return Err(error);
            }
        };
        let committed = self.commit_own(taken, &mut own, &others);
        match &committed {
            Err(error) if !error.is_unknown_outcome() && !error.is_fatal() => {
                self.give_up_prepared(&others.lanes);
                self.give_up_lanes(&own_lane(own));
                self.rolled_back(taken, Cause::Released);
            }
            _ => drop(taken.lanes.insert(DECIDER, own)),
        }
        committed
    }

    /// It has nothing in the lane that decides.
    fn decide_over(&self, taken: &Taken, parts: &Parts) -> Result<Vec<Asked>> {
        let Entry { key, id, .. } = &*self.shared.entry;
        decide_parts(&self.engine, *key, id, &parts.lanes, TransactionOutcome::Committed).inspect_err(|error| {
            if !error.is_unknown_outcome() && !error.is_fatal() {
                self.give_up_prepared(&parts.lanes);
                self.rolled_back(taken, Cause::Released);
            }
        })
    }

    /// Prepares and decides what the lane has that decides; the others are prepared.
    fn commit_own(&self, taken: &Taken, own: &mut TakenLane, others: &Parts) -> Result<Vec<Asked>> {
        let Entry { key, id, .. } = &*self.shared.entry;
        let decision = taken.acks.with_entries(|mut entries| {
            let written = own.written.iter().map(|(identity, _)| *identity).collect();
            let acks = entries.remove(&DECIDER).unwrap_or_default();
            let participants = others.lanes.iter().map(|(_, participant)| *participant).collect();
            let step = TransactionStep::Commit { written, id: id.clone(), acks, participants };
            let (asked, message) = self.step(DECIDER, std::mem::take(&mut own.contents), step);
            (self.engine.transactions.order.decide(&self.engine, message), asked)
        })?;
        let lanes = others.lanes.iter().map(|(lane, _)| *lane);
        let asked = follow(&self.engine, *key, TransactionOutcome::Committed, decision, lanes)?;
        own.written.append(&mut lock(&asked[0].done).withheld);
        Ok(asked)
    }

    /// Rolls it back: nothing of it ever becomes visible, and what it acknowledged has failed. To roll back again changes
    /// nothing.
    ///
    /// # Errors
    /// `TransactionConflict`: it was committed before. One that is prepared stays it with `NoSpace`. `UnknownOutcome`,
    /// `Poisoned`, `Closed`, `Forked`.
    pub fn roll_back(&mut self) -> Result<()> {
        let rolled_back = self.roll_back_it();
        if rolled_back.is_ok() {
            let (id, actual) = (self.id().to_owned(), TransactionState::RolledBack);
            self.watched.failed(&Error::TransactionConflict { id, actual });
        }
        rolled_back
    }

    fn roll_back_it(&mut self) -> Result<()> {
        match self.check_time() {
            // So it was.
            Err(Error::TransactionTimedOut { .. }) => return Ok(()),
            in_time => in_time?,
        }
        if self.state() != TransactionState::Open {
            return decide(&self.engine, &self.shared.entry, TransactionOutcome::RolledBack).map(drop);
        }
        let taken = self.open()?.take();
        self.give_up(taken, Cause::Nacked { delay_ms: None });
        Ok(())
    }

    fn check_time(&self) -> Result<()> {
        self.engine.check_fork()?;
        if self.engine.clock.monotonic_ns() >= self.shared.deadline_ns {
            self.shared.time_out(&self.engine);
        }
        match lock(&self.shared.contents).timed_out {
            true => Err(Error::TransactionTimedOut { id: self.id().to_owned(), timeout_ms: self.shared.timeout_ms }),
            false => Ok(()),
        }
    }

    /// Its contents, if it is open and in time.
    fn open(&self) -> Result<MutexGuard<'_, Contents>> {
        self.engine.check_usable()?;
        self.check_time()?;
        let contents = lock(&self.shared.contents);
        match contents.is_over {
            true => Err(Error::WrongTransactionState {
                id: self.id().to_owned(),
                state: self.state(),
                advice: "only one that is open takes records and acknowledgements, and is prepared: begin another",
            }),
            false => Ok(contents),
        }
    }

    fn ask(&self, lane: u32, contents: Vec<Content>, step: TransactionStep) -> Asked {
        let (asked, message) = self.step(lane, contents, step);
        self.engine.lanes[lane as usize].push(message);
        asked
    }

    /// A step of it for a lane, and where the answer comes.
    fn step(&self, lane: u32, contents: Vec<Content>, step: TransactionStep) -> (Asked, Message) {
        let done = Arc::new(Mutex::new(TransactionDone::default()));
        let (key, identity) = (self.shared.entry.key, self.producer.identity().clone());
        let work = TransactionWork { key, identity, contents, step, done: done.clone() };
        let (answer, reply) = Reply::pair();
        (Asked { lane, done, reply }, Message::Transact { work: Box::new(work), reply: answer })
    }

    /// Asks every lane that it has something in. On failure it is rolled back.
    fn ask_all(
        &self,
        taken: &mut Taken,
        step: impl Fn(Vec<Identity>, Vec<ProgressEntry>) -> TransactionStep,
    ) -> Result<Vec<Asked>> {
        let Taken { lanes, acks, .. } = taken;
        let asked = acks.with_entries(|mut entries| {
            let ask = |(lane, part): (&u32, &mut TakenLane)| {
                let written = part.written.iter().map(|(identity, _)| *identity).collect();
                let mut acks = entries.remove(lane).unwrap_or_default();
                acks.append(&mut part.restored);
                let step = step(written, acks);
                self.ask(*lane, std::mem::take(&mut part.contents), step)
            };
            lanes.iter_mut().map(ask).collect()
        });
        asked.inspect_err(|_| {
            let (lanes, records) = (std::mem::take(lanes), Vec::new());
            self.give_up(Taken { lanes, acks: std::mem::take(acks), records }, Cause::Released);
        })
    }

    /// Waits for all of them. On failure it is rolled back, unless nobody can tell.
    fn wait_all(&self, taken: &mut Taken, asked: &[Asked]) -> Result<()> {
        let mut result = Ok(());
        let mut prepared = Vec::new();
        for Asked { lane, done, reply } in asked {
            let answer = reply.wait_shared();
            let mut done = lock(done);
            let part = taken.lanes.get_mut(lane).expect("it was asked");
            part.written.append(&mut done.withheld);
            if let (Ok(()), Some((position, checksum))) = (&answer, done.prepared) {
                let log = self.engine.logs[*lane as usize].id;
                prepared.push((*lane, Participant { log, position, checksum }));
            }
            result = result.and(answer);
        }
        let Err(error) = result else { return Ok(()) };
        if error.is_unknown_outcome() || error.is_fatal() {
            return Err(error);
        }
        // These are given up with their parts.
        prepared.iter().for_each(|(lane, _)| drop(taken.lanes.remove(lane)));
        self.give_up_prepared(&prepared);
        self.give_up_lanes(&taken.lanes);
        self.rolled_back(taken, Cause::Released);
        Err(error)
    }

    /// Prepares what was taken of one that has parts in so many lanes; `commits`: it is to be committed at once.
    fn prepare_taken(&self, taken: &mut Taken, participants: usize, commits: bool) -> Result<Parts> {
        let Entry { id, checker, .. } = &*self.shared.entry;
        let (held, participants) = (taken.acks.held().to_vec(), participants as u32);
        let asked = self.ask_all(taken, |written, acks| {
            let (id, checker) = (id.clone(), checker.clone());
            let prepared = PrepareStep { id, checker, participants, commits, acks };
            TransactionStep::Prepare { written, prepared }
        })?;
        self.wait_all(taken, &asked)?;
        let lane = |asked: &Asked| {
            let (position, checksum) = lock(&asked.done).prepared.expect("it was prepared");
            (asked.lane, Participant { log: self.engine.logs[asked.lane as usize].id, position, checksum })
        };
        Ok(Parts {
            lanes: asked.iter().map(lane).collect(),
            held,
            records: taken.records.len() as u64,
            prepared_ms: asked.iter().map(|asked| lock(&asked.done).at_ms).max().unwrap_or_default(),
            checks: Checks { is_local: true, ..Checks::default() },
            finished: 0,
        })
    }

    fn ended(&self, outcome: TransactionOutcome, asked: &[Asked], parts: Parts) {
        let at_ms = asked.iter().map(|asked| lock(&asked.done).at_ms).max();
        let at_ms = at_ms.unwrap_or_else(|| self.engine.clock.wall_ms());
        *lock(&self.shared.entry.phase) = Phase::Ended { outcome, at_ms, parts };
        let lane = asked.first().map(|asked| asked.lane);
        self.engine.transactions.ended(&self.engine, &self.shared.entry, outcome, lane);
    }

    /// Parts of one that is not prepared everywhere, or was to be committed at once, are given up: without a decision it is
    /// never committed. The lanes see to it when they have room, and so does opening.
    fn give_up_prepared(&self, lanes: &[(u32, Participant)]) {
        let outcome = TransactionOutcome::RolledBack;
        lanes.iter().for_each(|(lane, _)| drop(self.ask(*lane, Vec::new(), TransactionStep::Follow { outcome })));
    }

    /// What stands in the log of one that was never prepared is given up.
    fn give_up_lanes(&self, lanes: &BTreeMap<u32, TakenLane>) {
        for (lane, TakenLane { written, .. }) in lanes.iter().filter(|(_, part)| !part.written.is_empty()) {
            let written = written.iter().map(|(identity, _)| *identity).collect();
            // Nobody waits: without it the next opening does the same.
            drop(self.ask(*lane, Vec::new(), TransactionStep::GiveUp { written }));
        }
    }

    fn give_up(&self, taken: Taken, cause: Cause) {
        self.give_up_lanes(&taken.lanes);
        self.rolled_back(&taken, cause);
    }

    fn rolled_back(&self, taken: &Taken, cause: Cause) {
        Groups::held_given_back(&self.engine, taken.acks.held(), cause);
        self.ended(TransactionOutcome::RolledBack, &[], Parts::default());
    }
}

impl Drop for Transaction {
    /// One that is open is rolled back; one that is prepared is undecided, and is checked.
    fn drop(&mut self) {
        // A child of fork ends nothing, and waits for no lock that one of its parent's threads had.
        if self.engine.check_fork().is_err() {
            return;
        }
        let is_over = lock(&self.shared.contents).is_over;
        if is_over {
            self.engine.transactions.left(&self.engine, &self.shared.entry);
        } else if self.engine.check_usable().is_ok() {
            let taken = lock(&self.shared.contents).take();
            self.give_up(taken, Cause::MemberLeft);
            let (id, actual) = (self.id().to_owned(), TransactionState::RolledBack);
            self.watched.failed(&Error::TransactionConflict { id, actual });
        }
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transaction({}, {})", self.id(), self.state().name())
    }
}

impl OpenTransaction {
    /// Its time is over: it is rolled back.
    pub(super) fn time_out(&self, engine: &Arc<EngineInner>) {
        let taken = {
            let mut contents = lock(&self.contents);
            if contents.is_over {
                return;
            }
            let taken = contents.take();
            contents.timed_out = true;
            taken
        };
        for (lane, TakenLane { written, .. }) in taken.lanes.iter().filter(|(_, part)| !part.written.is_empty()) {
            let written = written.iter().map(|(identity, _)| *identity).collect();
            let (work, _) = super::registry::step(self.entry.key, TransactionStep::GiveUp { written });
            engine.lanes[*lane as usize].push(Message::Transact { work: Box::new(work), reply: Reply::pair().0 });
        }
        Groups::held_given_back(engine, taken.acks.held(), Cause::LeaseEnded);
        let (outcome, at_ms, parts) = (TransactionOutcome::RolledBack, engine.clock.wall_ms(), Parts::default());
        *lock(&self.entry.phase) = Phase::Ended { outcome, at_ms, parts };
        engine.transactions.ended(engine, &self.entry, outcome, None);
    }
}
