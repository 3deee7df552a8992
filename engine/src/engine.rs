//! An engine as its users hold it: its topics, and its end. (Its beginning: opening/.)
//!
//! Invariants:
//! - One process has a directory open for writing: it holds the lock file's lock until everything it
//!   submitted has landed.
//! - A topic is durable before anybody can send to it; after its deletion is durable nobody can.
//! - Closing ends every outstanding operation with an outcome.

use crate::admin::{self, AdminShared};
use crate::audit::{self, AuditOptions, AuditProgress, AuditReport};
use crate::bounds::{PRODUCERS_MAX, SLOTS_MAX, TOPICS_MAX};
use crate::consumer::group::groups::Groups;
use crate::consumer::{
    Consumer, ConsumerOptions, GroupConsumer, GroupInfo, GroupOptions, MemberOptions, Redrive, Redriven, Start,
};
use crate::error::{Error, Result};
use crate::follower::{self, Following};
use crate::interceptor::Failures;
use crate::io::fork::ForkMark;
use crate::io::{Clock, Directory, DirectoryOptions, File, IoFailure, Latch, Storage, SystemClock};
use crate::keeper::KeeperShared;
use crate::lane::acknowledged::Acknowledged;
use crate::lane::catalog::{CatalogChange, ProducerEntry, TopicEntry, check_name, check_topic};
use crate::lane::cut::Cut;
use crate::lane::recovery::Hole;
use crate::lane::shared::{Answer, LaneShared, Message, Reply, poisoned};
use crate::log::position::{Identity, Position};
use crate::opening::{Beginnings, Opening, open_error, write_holder};
use crate::options::{Options, Recovery};
use crate::partition::index::PartitionIndex;
use crate::partition::page_cache::PageCache;
use crate::partition::shared::{LogShared, Partition, TopicShared};
use crate::partition::table::PartitionTable;
use crate::producer::dispatcher::Dispatcher;
use crate::producer::identity::{DELETED, NamedProducer, NamedProducers, ProducerIdentity};
use crate::producer::spare::SpareContents;
use crate::producer::{Producer, ProducerInfo, ProducerOptions};
use crate::sync::lock;
use crate::sync::thread::Thread;
use crate::topic::{Retention, Topic, TopicOptions};
use crate::transaction::registry::Transactions;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

/// An open engine. Cheap to clone; all calls may come from any thread.
///
/// The last handle that is dropped closes it; [`Engine::close`] does so at once and tells the outcome.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<EngineInner>,
    /// None for a handle of the engine's own, which does not keep it open.
    _closer: Option<Arc<Closer>>,
}

struct Closer(Arc<EngineInner>);

impl Drop for Closer {
    fn drop(&mut self) {
        let _ = self.0.close();
    }
}

pub(crate) struct EngineInner {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) latch: Latch,
    pub(crate) lanes: Vec<Arc<LaneShared>>,
    /// The logs that lanes write, lane by lane.
    pub(crate) logs: Vec<Arc<LogShared>>,
    /// The logs of earlier numbers of lanes.
    pub(crate) older_logs: Vec<Arc<LogShared>>,
    pub(crate) table: Arc<PartitionTable>,
    pub(crate) keeper: Arc<KeeperShared>,
    pub(crate) pages: Arc<PageCache>,
    pub(crate) topics: RwLock<BTreeMap<String, Arc<TopicShared>>>,
    pub(crate) opened_in_us: u64,
    pub(crate) holes: Vec<Hole>,
    pub(crate) recovered: RecoverySummary,
    /// Next topic id and slot; also keeps changes of the catalog one after another.
    pub(crate) next_ids: Mutex<(u32, u32)>,
    pub(crate) producers: Mutex<NamedProducers>,
    pub(crate) groups: Groups,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) threads: Mutex<Vec<Thread>>,
    pub(crate) fork: ForkMark,
    pub(crate) closed: AtomicBool,
    pub(crate) close_result: Mutex<Option<Result<()>>>,
    pub(crate) lock_file: Mutex<Option<Arc<dyn File>>>,
    /// Where another process may write: what is known from outside.
    pub(crate) following: Option<Following>,
    pub(crate) admin: Arc<AdminShared>,
    pub(crate) interceptor_failures: Failures,
    /// Buffers of batches that were written.
    pub(crate) spare: Arc<SpareContents>,
    pub(crate) transactions: Transactions,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RecoverySummary {
    /// The engine was made by this opening.
    pub created: bool,
    /// Every log ended with the mark of a clean close.
    pub clean: bool,
    /// Bytes of torn tails, none of them acknowledged.
    pub torn_bytes: u64,
    /// A copy of the manifest that could not be read and was written anew.
    pub manifest_copy_mended: Option<String>,
}

impl Engine {
    /// Opens the engine in a directory, and makes it first if the directory is empty or missing.
    ///
    /// # Errors
    /// `InvalidDirectory`, `ForeignFormat`, `UnsupportedVersion`, `Locked` (says who holds it),
    /// `Damaged` (nothing was changed), `NoSpace`, `TooMany`, `Io`, `InvalidArgument`.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Engine> {
        options.validate()?;
        let path = path.as_ref();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        check_directory(path, &options)?;
        let directory = DirectoryOptions {
            backend: options.backend,
            write_strategy: options.write_strategy,
            create: options.create,
            read_only: options.recovery == Recovery::Salvage,
            ..DirectoryOptions::default()
        };
        let storage = Directory::open(path, directory, clock.clone()).map_err(|error| open_error(path, &error))?;
        let engine = Self::open_on(path, Arc::new(storage), clock, options)?;
        engine.serve_admin(path);
        Ok(engine)
    }

    /// Lets other processes ask this one, through a socket in a directory. Without it everything works but that.
    #[doc(hidden)]
    pub fn serve_admin(&self, path: &Path) {
        let inner = &self.inner;
        if !inner.options.admin_socket || inner.lanes.is_empty() {
            let reason = if inner.lanes.is_empty() { "opened for salvage" } else { "admin_socket = false" };
            return self.lack_admin(reason);
        }
        // The threads of the socket must not keep the engine open.
        let handle = Engine { inner: inner.clone(), _closer: None };
        match admin::start(handle, inner.admin.clone(), inner.clock.clone(), path) {
            Ok(thread) => lock(&inner.threads).push(thread),
            Err(error) => self.lack_admin(&error.to_string()),
        }
    }

    /// Says to whoever asks, here and in other processes, why there is no admin socket.
    fn lack_admin(&self, reason: &str) {
        self.inner.admin.set_reason(reason);
        if let Some(lock_file) = &*lock(&self.inner.lock_file) {
            write_holder(&**lock_file, reason);
        }
    }

    /// Opens an engine on any storage; tests and the simulator bring their own.
    #[doc(hidden)]
    pub fn open_on(path: &Path, storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, options: Options) -> Result<Engine> {
        options.validate()?;
        Self::recover(path, storage, clock, options, Beginnings::default())
    }

    fn recover(
        path: &Path,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        options: Options,
        beginnings: Beginnings,
    ) -> Result<Engine> {
        let started_ns = clock.monotonic_ns();
        Opening { path, storage, clock, options, beginnings }.run(started_ns).map(Self::of)
    }

    /// The first handle, which keeps the engine open.
    fn of(inner: EngineInner) -> Engine {
        let inner = Arc::new(inner);
        Engine { _closer: Some(Arc::new(Closer(inner.clone()))), inner }
    }

    /// Opens an engine only to be read, beside the process that writes it, or with nobody there.
    ///
    /// Topics, consumers and statistics work as always; what would change anything is [`Error::ReadOnly`]. No lock is
    /// taken and nothing is written, so permission to read is enough, and the writer notices nothing. Of `options`
    /// only `backend` and `index_cache_bytes` count.
    ///
    /// What is shown is known to be durable: a frame in the log, or the manifest, says so. The last records of a
    /// writer that pauses are shown some 20 ms after their receipts; those of one that was killed perhaps not before
    /// the next one opens. A consumer that waits looks for news every 20 ms by itself; what else is asked is as
    /// of the last look, so call [`Engine::refresh`] first.
    ///
    /// # Errors
    /// `InvalidDirectory` (also where no engine is), `ForeignFormat`, `UnsupportedVersion`, `Damaged`, `Io`,
    /// `InvalidArgument`.
    pub fn open_read_only(path: impl AsRef<Path>, options: Options) -> Result<Engine> {
        let path = path.as_ref();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        check_directory(path, &Options { create: false, ..options.clone() })?;
        let directory = DirectoryOptions {
            backend: options.backend,
            create: false,
            read_only: true,
            ..DirectoryOptions::default()
        };
        let storage = Directory::open(path, directory, clock.clone()).map_err(|error| Error::InvalidDirectory {
            path: path.to_owned(),
            reason: format!(
                "cannot be read ({error}); the user needs permission to list the directory and read its files"
            ),
        })?;
        Self::open_read_only_on(path, Arc::new(storage), clock, options)
    }

    /// The same on any storage.
    #[doc(hidden)]
    pub fn open_read_only_on(
        path: &Path,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Engine> {
        options.validate()?;
        let inner = follower::open(path, storage, clock, options)?;
        inner.admin.set_reason("opened for reading only");
        Ok(Self::of(inner))
    }

    /// With [`Engine::open_read_only`]: takes in what has become durable since: records, topics, deletions. Consumers
    /// that wait do so by themselves. Nothing, where the engine is open for writing.
    ///
    /// # Errors
    /// `Damaged` and `Io` where the log cannot be read on; what was shown before can still be read. `InvalidDirectory`
    /// if another engine is there now; `Closed`, `Forked`.
    pub fn refresh(&self) -> Result<()> {
        self.inner.refresh()
    }

    /// Opens an engine that was just made, and has it go on for another one.
    pub(crate) fn open_with_beginnings(path: &Path, options: Options, beginnings: Beginnings) -> Result<Engine> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let directory = DirectoryOptions { backend: options.backend, create: false, ..DirectoryOptions::default() };
        let storage = Directory::open(path, directory, clock.clone()).map_err(|error| open_error(path, &error))?;
        Self::recover(path, Arc::new(storage), clock, options, beginnings)
    }

    pub(crate) fn inner(&self) -> &Arc<EngineInner> {
        &self.inner
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Creates a topic. Durable on return.
    ///
    /// # Errors
    /// `TopicExists`, `InvalidName`, `InvalidArgument`, `TooMany`, `NoSpace`, and what stops the engine.
    pub fn create_topic(&self, name: &str, options: TopicOptions) -> Result<Topic> {
        self.inner.create_topic(name, options)
    }

    /// Changes how long the records of a topic are kept. Durable on return; what the new bounds give up goes
    /// soon after.
    ///
    /// # Errors
    /// `UnknownTopic`, `NoSpace`, and what stops the engine.
    pub fn set_retention(&self, name: &str, retention: Retention) -> Result<()> {
        let inner = &self.inner;
        inner.check_usable()?;
        let _one_after_another = lock(&inner.next_ids);
        let topic = self.topic(name)?.shared;
        let retention = retention.normalized();
        let change = CatalogChange::Retain { topic: topic.id, retention };
        inner.lanes[0].ask(|reply| Message::Catalog { change, reply })?;
        *lock(&topic.retention) = retention;
        inner.keeper.look_at_retention();
        Ok(())
    }

    /// Says that the wall clock is right after it jumped ahead (see [`Stats::clock_ahead_ms`](crate::Stats)):
    /// time retention judges ages by it again.
    pub fn accept_clock(&self) {
        self.inner.keeper.accept_clock();
    }

    /// Gives up the records of a partition below an offset, or all if it lies beyond the end. Durable on
    /// return: nobody reads them any more, and their space is used again when everything else in the same
    /// segments is given up too. Returns the first offset that is kept.
    ///
    /// # Errors
    /// `TopicDeleted`, `InvalidPartition`, `NoSpace`, and what stops the engine.
    pub fn delete_records(&self, topic: &Topic, partition: u32, before_offset: u64) -> Result<u64> {
        let inner = &self.inner;
        inner.check_usable()?;
        inner.check_topic(&topic.shared)?;
        let partition = topic.partition(partition)?.clone();
        // What is not visible yet was not meant.
        let first_offset = before_offset.min(partition.index().next_offset);
        let cuts = vec![(partition.slot, Cut::all_below(first_offset))];
        inner.lanes[partition.lane as usize].ask(|reply| Message::Truncate { cuts, reply })?;
        Ok(partition.index().first_offset)
    }

    /// A handle to a topic.
    ///
    /// # Errors
    /// `UnknownTopic`.
    pub fn topic(&self, name: &str) -> Result<Topic> {
        self.inner.check_fork()?;
        let topics = self.inner.topics.read().unwrap_or_else(PoisonError::into_inner);
        let shared = topics.get(name).cloned().ok_or_else(|| Error::UnknownTopic { name: name.to_owned() })?;
        Ok(Topic { shared })
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Topic> {
        let topics = self.inner.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().map(|shared| Topic { shared: shared.clone() }).collect()
    }

    /// Deletes a topic and its records. Durable on return; a topic created later under the same name
    /// inherits nothing. The space is used again when no other topic has records in the same segments.
    ///
    /// # Errors
    /// `UnknownTopic`, and what stops the engine.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let inner = &self.inner;
        inner.check_usable()?;
        let ids = lock(&inner.next_ids);
        let topic = self.topic(name)?.shared;
        // Senders are stopped first; what they have sent before ends with a receipt.
        topic.deleted.store(true, Ordering::Release);
        let change = CatalogChange::Delete { topic: topic.id };
        if let Err(error) = inner.lanes[0].ask(|reply| Message::Catalog { change, reply }) {
            if !error.is_fatal() && !error.is_unknown_outcome() {
                topic.deleted.store(false, Ordering::Release);
            }
            return Err(error);
        }
        let slots = topic.first_slot..topic.first_slot + topic.partitions.len() as u32;
        for lane in &inner.lanes[1..] {
            // The topic is gone already. A lane that is closing, or broke down, learns it from log 0 when
            // it is opened again.
            let _ = lane.ask(|reply| Message::DropSlots { slots: slots.clone(), reply });
        }
        inner.forget_topic(&topic);
        drop(ids);
        inner.keeper.look_for_dead.store(true, Ordering::Release);
        inner.keeper.signal.notify();
        Ok(())
    }

    /// A producer for any topics. One with a name goes on where the last one of this name ended, and that one may not
    /// send any more; everything that it sent before is durable on return.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, `Forked`; `ReadOnly` for an engine that was opened to be read. With a name also
    /// `InvalidName`, `TooMany`, `NoSpace`.
    pub fn producer(&self, options: ProducerOptions) -> Result<Producer> {
        self.inner.check_usable()?;
        let identity = match &options.name {
            None => ProducerIdentity::default(),
            Some(name) => self.open_producer(name)?,
        };
        Ok(Producer::new(self.inner.clone(), &options, identity))
    }

    /// Gives a name to the caller, with the next epoch.
    fn open_producer(&self, name: &str) -> Result<ProducerIdentity> {
        let inner = &self.inner;
        check_name(name)?;
        let _one_after_another = lock(&inner.next_ids);
        let (named, is_new) = {
            let mut producers = lock(&inner.producers);
            match producers.by_name.get(name) {
                Some(named) => (named.clone(), false),
                None if producers.by_name.len() >= PRODUCERS_MAX => {
                    return Err(too_many("named producers", producers.by_name.len() as u64, PRODUCERS_MAX as u64));
                }
                None => {
                    // Spent, whatever the outcome: an unknown one may show up after reopening.
                    producers.last_id += 1;
                    (Arc::new(NamedProducer::new(producers.last_id, name, 0)), true)
                }
            }
        };
        let epoch = named.epoch() + 1;
        named.admit(epoch);
        self.change_hands(&named, is_new)?;
        let entry = ProducerEntry { id: named.id, name: name.to_owned(), epoch };
        inner.lanes[0].ask(|reply| Message::Catalog { change: CatalogChange::OpenProducer(entry), reply })?;
        lock(&inner.producers).by_name.insert(name.to_owned(), named.clone());
        Ok(ProducerIdentity { named: Some(named), epoch })
    }

    /// What the earlier ones of a name have sent goes into the log, and from then on nothing more of them.
    fn change_hands(&self, named: &NamedProducer, is_new: bool) -> Result<()> {
        if !is_new {
            self.sync()?;
        }
        named.fence();
        // Who was just about to send when its epoch ended may have got something in between the two.
        if is_new { Ok(()) } else { self.sync() }
    }

    /// The producers that have a name, in the order of their names. From outside: as far as the log was read.
    pub fn producers(&self) -> Vec<ProducerInfo> {
        let producers = lock(&self.inner.producers);
        let info = |named: &Arc<NamedProducer>| ProducerInfo {
            name: named.name.to_string(),
            id: named.id,
            epoch: named.epoch(),
        };
        producers.by_name.values().map(info).collect()
    }

    /// Deletes a named producer: its numbers are forgotten, and whoever has the name open may not send any more. Its
    /// records stay. Durable on return. One that is opened later under the same name is another one, with numbers from 0.
    ///
    /// # Errors
    /// `UnknownProducer`, `NoSpace`; `ReadOnly` for an engine that was opened to be read; and what stops the engine.
    pub fn delete_producer(&self, name: &str) -> Result<()> {
        let inner = &self.inner;
        inner.check_usable()?;
        let _one_after_another = lock(&inner.next_ids);
        let named = lock(&inner.producers).by_name.get(name).cloned();
        let named = named.ok_or_else(|| Error::UnknownProducer { name: name.to_owned() })?;
        let epoch = named.epoch();
        named.admit(DELETED);
        let change = CatalogChange::DeleteProducer { producer: named.id };
        let ask = |()| inner.lanes[0].ask(|reply| Message::Catalog { change, reply });
        if let Err(error) = self.change_hands(&named, false).and_then(ask) {
            if !error.is_fatal() && !error.is_unknown_outcome() {
                named.admit(epoch);
                named.fence();
            }
            return Err(error);
        }
        for lane in &inner.lanes[1..] {
            // As with a topic: a lane that broke down learns it from log 0 when it is opened again.
            let _ = lane.ask(|reply| Message::ForgetProducer { producer: named.id, reply });
        }
        lock(&inner.producers).by_name.remove(name);
        Ok(())
    }

    /// A consumer of partitions that are assigned to it.
    ///
    /// # Errors
    /// `InvalidArgument` names the option that is out of its bounds; `Forked`.
    pub fn consumer(&self, options: ConsumerOptions) -> Result<Consumer> {
        self.inner.check_fork()?;
        Consumer::new(self.inner.clone(), options)
    }

    /// Creates a group. Durable on return, also where it begins in each partition of its topics.
    ///
    /// # Errors
    /// `GroupExists`, `UnknownTopic`, `InvalidName`, `InvalidArgument`, `TooMany`, `NoSpace`, and what stops the engine.
    pub fn create_group(&self, name: &str, options: GroupOptions) -> Result<()> {
        self.inner.check_usable()?;
        Groups::create(&self.inner, name, options)
    }

    /// Joins a group as a member, from which records are polled. Members may come and go at any time.
    ///
    /// # Errors
    /// `UnknownGroup`, `InvalidArgument`, and what stops the engine.
    pub fn join_group(&self, name: &str, options: MemberOptions) -> Result<GroupConsumer> {
        self.inner.check_usable()?;
        Groups::join(&self.inner, name, options)
    }

    /// Whether it could be written to: for the C library, where lists say nothing of who may not see them.
    ///
    /// # Errors
    /// `ReadOnly`, `Poisoned`, `Closed`, `Forked`.
    #[doc(hidden)]
    pub fn check_usable(&self) -> Result<()> {
        self.inner.check_usable()
    }

    /// All groups, by name; none, where the engine was opened to be read.
    pub fn groups(&self) -> Vec<GroupInfo> {
        Groups::list(&self.inner)
    }

    /// How far a group has come.
    ///
    /// # Errors
    /// `UnknownGroup`.
    pub fn describe_group(&self, name: &str) -> Result<GroupInfo> {
        self.inner.check_usable()?;
        Groups::describe(&self.inner, name)
    }

    /// Has a group go on elsewhere in a partition: earlier, and records are handed out again; later, and what is between
    /// never is. What members hold of it they lose. Durable on return; returns the offset.
    ///
    /// # Errors
    /// `UnknownGroup`, `InvalidArgument` (it does not read the partition), `NoSpace`, and what stops the engine.
    pub fn reset_group(&self, name: &str, topic: &str, partition: u32, start: Start) -> Result<u64> {
        self.inner.check_usable()?;
        Groups::reset(&self.inner, name, topic, partition, start)
    }

    /// Makes the records behind dead letters of a group available to it again, as if they had never been handed out; no
    /// other group notices. Durable on return. The dead letters stay, and are not redriven again; a record that fails
    /// once more gets a new one. In an ordered group a redriven record is handed out before those that come next.
    ///
    /// What an error left undone can be redriven again: records that are unfinished by then are left as they are.
    ///
    /// # Errors
    /// `UnknownGroup`, `NoSpace`, and what stops the engine. `TooMany`: the group has `unfinished_max` records unfinished.
    /// For a single one also `NoDeadLetter`, `AlreadyRedriven`, `InvalidPartition`, `InvalidArgument` (the group does not
    /// read the record's partition), and `OriginalGone`: only the dead letter is left of the record.
    pub fn redrive(&self, group: &str, what: &Redrive) -> Result<Redriven> {
        self.inner.check_usable()?;
        Groups::redrive(&self.inner, group, what)
    }

    /// Deletes a group and how far it has come. Durable on return. Its members are told [`Error::GroupDeleted`]; the
    /// topic of its dead letters stays.
    ///
    /// # Errors
    /// `UnknownGroup`, `NoSpace`, and what stops the engine.
    pub fn delete_group(&self, name: &str) -> Result<()> {
        self.inner.check_usable()?;
        Groups::delete(&self.inner, name)
    }

    /// Compares what was acknowledged to producers with what can be read, and says how far groups have come: for each
    /// topic, partition and producer. Reads every record, on this thread; senders and consumers go on meanwhile, and
    /// what they add is not looked at. `progress` is called often.
    ///
    /// What cannot be read is no error, but loss, which the report tells. Of an engine that another process has open,
    /// [`Client::audit`](crate::admin::Client::audit) does the same.
    ///
    /// # Errors
    /// `UnknownTopic`; `TooMany`: a bound of the options is reached; `ReadOnly`: who only reads does not know what was
    /// acknowledged; and what stops the engine.
    pub fn audit(&self, options: &AuditOptions, progress: &mut dyn FnMut(&AuditProgress)) -> Result<AuditReport> {
        self.inner.check_usable()?;
        audit::run(self, &mut audit::Own(self), options, progress)
    }

    /// What was acknowledged of a partition. All of it is durable on return.
    pub(crate) fn acknowledged(&self, topic: &Topic, partition: u32) -> Result<Acknowledged> {
        self.inner.check_usable()?;
        self.inner.check_topic(&topic.shared)?;
        let partition = topic.partition(partition)?;
        let list = Arc::new(Mutex::new(Acknowledged::default()));
        let (topic, slot) = (topic.id(), partition.slot);
        self.inner.lanes[partition.lane as usize].ask(|reply| Message::ListAcknowledged {
            topic,
            slot,
            list: list.clone(),
            reply,
        })?;
        let acknowledged = std::mem::take(&mut *lock(&list));
        Ok(acknowledged)
    }

    /// Whether it only follows what another process writes.
    pub(crate) fn is_read_only(&self) -> bool {
        self.inner.is_followed()
    }

    /// Returns when everything that was sent before is durable, whatever its durability.
    ///
    /// # Errors
    /// `UnknownOutcome` and `Poisoned` after an I/O error; `Closed`, `Forked`.
    pub fn sync(&self) -> Result<()> {
        self.inner.check_usable()?;
        let replies: Vec<_> = self
            .inner
            .lanes
            .iter()
            .map(|lane| {
                let (answer, reply) = Reply::pair();
                lane.push(Message::Sync { reply: answer });
                reply
            })
            .collect();
        replies.into_iter().try_for_each(|reply| reply.wait())
    }

    /// Publishes a withheld record now, with extra headers: the way of dead letters. For tests until those exist.
    #[doc(hidden)]
    pub fn publish_withheld(&self, id: crate::RecordId, headers: &[crate::Header<'_>]) -> Result<()> {
        self.inner.check_usable()?;
        let mut extra_headers = Vec::new();
        crate::record::encode_headers(&mut extra_headers, headers.iter().copied());
        self.inner.ask_of_withheld(id, |identity, reply| {
            let extra_headers = extra_headers.clone();
            Message::Publish { identity, extra_headers, reply }
        })
    }

    /// Statistics as of now.
    pub fn stats(&self) -> crate::stats::Stats {
        crate::stats::collect(&self.inner)
    }

    /// What opening found.
    pub fn recovery(&self) -> &RecoverySummary {
        &self.inner.recovered
    }

    /// With [`Recovery::Salvage`]: the acknowledged data that cannot be read.
    pub fn holes(&self) -> &[Hole] {
        &self.inner.holes
    }

    /// Closes the engine: everything sent gets its outcome, everything buffered is flushed. Later calls
    /// on any handle get `Closed`. Closing again returns the same result.
    ///
    /// # Errors
    /// `Poisoned` with the I/O error that stopped the engine; `Forked`.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

/// Looks at an engine without keeping it open: for the C library, whose calls may panic. Not part of the API.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Monitor(Weak<EngineInner>);

impl Monitor {
    /// Whether anybody has it.
    pub fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Something of it was left half done by a bug: it stops, as after a write that failed.
    pub fn stop_after_bug(&self, words: &str) {
        let Some(inner) = self.0.upgrade() else { return };
        let error = std::io::Error::other(format!("a bug in Ringlane: {words}"));
        inner.latch.poison(IoFailure::new("run", "a call", None, &error));
        inner.lanes.iter().for_each(|lane| lane.nudge());
    }
}

impl Engine {
    /// See [`Monitor`].
    #[doc(hidden)]
    pub fn monitor(&self) -> Monitor {
        Monitor(Arc::downgrade(&self.inner))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({})", self.inner.path.display())
    }
}

fn too_many(what: &'static str, count: u64, count_max: u64) -> Error {
    Error::TooMany { what, count, count_max, advice: "use fewer, or another directory" }
}

impl EngineInner {
    /// The topic is there, and one of this engine's: what a handle of another one names stands elsewhere.
    #[inline]
    pub(crate) fn check_topic(&self, topic: &TopicShared) -> Result<()> {
        // All logs of an engine know the one cache that it has.
        if topic.partitions.first().is_some_and(|first| Arc::ptr_eq(&first.log.pages, &self.pages)) {
            return topic.check();
        }
        Err(topic.is_of_another_engine())
    }

    #[inline]
    pub(crate) fn check_fork(&self) -> Result<()> {
        if self.fork.is_forked() { Err(Error::Forked) } else { Ok(()) }
    }

    pub(crate) fn check_usable(&self) -> Result<()> {
        self.check_fork()?;
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed { what: "the engine" });
        }
        if self.lanes.is_empty() {
            let (how, advice) = match self.following {
                Some(_) => ("read-only", "write through the process that holds it, or open it with `Engine::open`"),
                None => ("for salvage", "copy what can be read into a new engine"),
            };
            return Err(Error::ReadOnly { path: self.path.clone(), how, advice });
        }
        self.latch.check().map_err(poisoned)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Asks the lane that withholds a record. Of one that stands in a log of an earlier number of lanes only the
    /// lanes know which of them that is.
    pub(crate) fn ask_of_withheld(
        &self,
        id: crate::RecordId,
        message: impl Fn(Identity, Answer) -> Message,
    ) -> Result<()> {
        let identity = Identity { log: id.log, position: Position(id.position) };
        let may_have = |lane: &&Arc<LaneShared>| lane.log == id.log || self.lanes.iter().all(|lane| lane.log > id.log);
        for lane in self.lanes.iter().filter(may_have) {
            lane.check()?;
            match lane.ask(|reply| message(identity, reply)) {
                Err(Error::NotWithheld) => {}
                outcome => return outcome,
            }
        }
        Err(Error::NotWithheld)
    }

    fn add_topic(&self, entry: &TopicEntry, index: impl Fn(u32) -> PartitionIndex) -> Arc<TopicShared> {
        let topic = share_topic(entry, &self.logs, |_| Box::default(), index);
        for partition in &topic.partitions {
            self.table.insert(partition.clone());
        }
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(entry.name.clone(), topic.clone());
        topic
    }

    /// [`Engine::create_topic`].
    pub(crate) fn create_topic(&self, name: &str, options: TopicOptions) -> Result<Topic> {
        check_topic(name, options.partitions)?;
        self.check_usable()?;
        let mut next_ids = lock(&self.next_ids);
        {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(existing) = topics.get(name) {
                let partitions = existing.partitions.len() as u32;
                return Err(Error::TopicExists { name: name.to_owned(), partitions });
            }
            if topics.len() >= TOPICS_MAX {
                return Err(too_many("topics", topics.len() as u64, TOPICS_MAX as u64));
            }
        }
        let (id, first_slot) = *next_ids;
        if first_slot.saturating_add(options.partitions) > SLOTS_MAX {
            return Err(too_many("partitions ever created", u64::from(first_slot), u64::from(SLOTS_MAX)));
        }
        let entry = TopicEntry {
            id,
            name: name.to_owned(),
            first_slot,
            partitions: options.partitions,
            created_ms: self.clock.wall_ms(),
            retention: options.retention.normalized(),
        };
        // Whatever the outcome, these numbers are spent: an unknown outcome may show up after reopening.
        *next_ids = (id + 1, first_slot + options.partitions);
        let change = CatalogChange::Create(entry.clone());
        self.lanes[0].ask(|reply| Message::Catalog { change, reply })?;
        let shared = self.add_topic(&entry, |_| PartitionIndex::new(0, 0, i64::MIN));
        drop(next_ids);
        Groups::topic_created(self, &shared);
        self.keeper.look_at_retention();
        Ok(Topic { shared })
    }

    pub(crate) fn find_topic(&self, name: &str) -> Option<Arc<TopicShared>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Changes the catalog, durably, one change after another.
    pub(crate) fn change_catalog(&self, change: CatalogChange) -> Result<()> {
        self.check_usable()?;
        let _one_after_another = lock(&self.next_ids);
        self.lanes[0].ask(|reply| Message::Catalog { change, reply })
    }

    /// A topic that is deleted is shown to nobody any more.
    pub(crate) fn forget_topic(&self, topic: &TopicShared) {
        self.topics.write().unwrap_or_else(PoisonError::into_inner).remove(&*topic.name);
        self.table.remove(topic.first_slot..topic.first_slot + topic.partitions.len() as u32);
        for partition in &topic.partitions {
            partition.disturb();
        }
    }

    pub(crate) fn close(&self) -> Result<()> {
        // A child of fork has none of the threads; there is nothing it could wait for.
        self.check_fork()?;
        let mut result = lock(&self.close_result);
        if let Some(result) = &*result {
            return result.clone();
        }
        self.closed.store(true, Ordering::Release);
        self.transactions.checkers.stop();
        Groups::close(self);
        let mut replies = Vec::new();
        for lane in &self.lanes {
            lane.closed.store(true, Ordering::Release);
            let (answer, reply) = Reply::pair();
            lane.push(Message::Close { reply: answer });
            replies.push(reply);
        }
        let mut outcome = Ok(());
        for reply in replies {
            outcome = outcome.and(reply.wait());
        }
        self.keeper.stop.store(true, Ordering::Release);
        self.keeper.signal.notify();
        self.admin.stop();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            thread.join();
        }
        self.dispatcher.stop();
        // Descriptors of segments carry their locks; the next opening waits for those.
        for lane in &self.lanes {
            lane.supply.clear();
        }
        for topic in self.topics.read().unwrap_or_else(PoisonError::into_inner).values() {
            for partition in &topic.partitions {
                partition.disturb();
            }
        }
        *lock(&self.lock_file) = None;
        *result = Some(outcome.clone());
        outcome
    }
}

pub(crate) fn share_topic(
    entry: &TopicEntry,
    logs: &[Arc<LogShared>],
    older: impl Fn(u32) -> Box<[Arc<LogShared>]>,
    mut index: impl FnMut(u32) -> PartitionIndex,
) -> Arc<TopicShared> {
    let name: Arc<str> = entry.name.as_str().into();
    let retention = Arc::new(Mutex::new(entry.retention));
    let partitions = entry
        .slots()
        .enumerate()
        .map(|(partition, slot)| {
            let lane = slot % logs.len() as u32;
            let log = logs[lane as usize].clone();
            let partition = partition as u32;
            Arc::new(Partition::new(
                name.clone(),
                partition,
                slot,
                lane,
                log,
                retention.clone(),
                older(slot),
                index(slot),
            ))
        })
        .collect();
    Arc::new(TopicShared {
        id: entry.id,
        name,
        first_slot: entry.first_slot,
        created_ms: entry.created_ms,
        partitions,
        deleted: AtomicBool::new(false),
        retention,
        turn: AtomicU32::new(0),
    })
}

fn check_directory(path: &Path, options: &Options) -> Result<()> {
    let invalid = |reason: &str| Err(Error::InvalidDirectory { path: path.to_owned(), reason: reason.to_owned() });
    if path.is_file() {
        return invalid("is a file; give the directory that the engine is, or shall be, in");
    }
    if !path.exists() && !options.create {
        return invalid("does not exist; check the path, or open with create = true");
    }
    Ok(())
}
