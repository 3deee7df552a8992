//! Opening and closing an engine, and its topics.
//!
//! Invariants:
//! - One process has a directory open for writing: it holds the lock file's lock until everything it
//!   submitted has landed.
//! - A topic is durable before anybody can send to it; after its deletion is durable nobody can.
//! - Closing ends every outstanding operation with an outcome.

use crate::bounds::{SLOTS_MAX, TOPICS_MAX, WINDOW_BYTES};
use crate::canary::{self, Canary};
use crate::consumer::{Consumer, ConsumerOptions};
use crate::error::{Error, Result};
use crate::io::fork::{self, ForkMark};
use crate::io::{Block, BlockPool, Clock, Directory, DirectoryOptions, File, Latch, PAGE, Storage, SystemClock};
use crate::keeper::{self, Keeper, KeeperShared};
use crate::lane::catalog::{Catalog, CatalogChange, TopicEntry, check_topic};
use crate::lane::lane::LaneParts;
use crate::lane::recovery::{self, Hole, Recovered, RecoveryContext};
use crate::lane::shared::{LaneShared, Message, Reply, poisoned};
use crate::lane::supply::{Full, Prepared, SegmentSupply};
use crate::lane::thread;
use crate::lane::writer::BLOCK_BYTES;
use crate::log::manifest::{self, Manifest, ManifestFiles, ManifestLog, ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::log::segment::{LOCK_FILE, file_name};
use crate::options::{Options, Recovery};
use crate::partition::index::{PartitionIndex, Run};
use crate::partition::page_cache::PageCache;
use crate::partition::shared::{LogShared, Partition, Segment, TopicShared};
use crate::partition::table::PartitionTable;
use crate::partition::tail_cache::TailCache;
use crate::producer::dispatcher::Dispatcher;
use crate::producer::{Producer, ProducerOptions};
use crate::reserve::{self, Level};
use crate::sync::thread::Thread;
use crate::sync::{self, lock};
use crate::topic::{Topic, TopicOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Sealed segments with next to nothing in them, above which dead ones are looked for at opening.
const NEARLY_EMPTY_MAX: usize = 4;

/// An open engine. Cheap to clone; all calls may come from any thread.
///
/// The last handle that is dropped closes it; [`Engine::close`] does so at once and tells the outcome.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<EngineInner>,
    _closer: Arc<Closer>,
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
    pub(crate) logs: Vec<Arc<LogShared>>,
    pub(crate) table: Arc<PartitionTable>,
    pub(crate) keeper: Arc<KeeperShared>,
    pub(crate) pages: Arc<PageCache>,
    pub(crate) topics: RwLock<BTreeMap<String, Arc<TopicShared>>>,
    pub(crate) opened_in_us: u64,
    pub(crate) holes: Vec<Hole>,
    pub(crate) recovered: RecoverySummary,
    /// Next topic id and slot; also keeps creations and deletions one after another.
    next_ids: Mutex<(u32, u32)>,
    dispatcher: Arc<Dispatcher>,
    threads: Mutex<Vec<Thread>>,
    fork: ForkMark,
    closed: AtomicBool,
    close_result: Mutex<Option<Result<()>>>,
    lock_file: Mutex<Option<Arc<dyn File>>>,
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
    /// `LaneCount`, `Damaged` (nothing was changed), `NoSpace`, `Io`, `InvalidArgument`.
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
        Self::open_on(path, Arc::new(storage), clock, options)
    }

    /// Opens an engine on any storage; tests and the simulator bring their own.
    #[doc(hidden)]
    pub fn open_on(path: &Path, storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, options: Options) -> Result<Engine> {
        options.validate()?;
        let started_ns = clock.monotonic_ns();
        let inner = Opening { path, storage, clock: clock.clone(), options }.run(started_ns)?;
        let inner = Arc::new(inner);
        Ok(Engine { _closer: Arc::new(Closer(inner.clone())), inner })
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
        let inner = &self.inner;
        check_topic(name, options.partitions)?;
        inner.check_usable()?;
        let mut next_ids = lock(&inner.next_ids);
        {
            let topics = inner.topics.read().unwrap_or_else(PoisonError::into_inner);
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
            created_ms: inner.clock.wall_ms(),
        };
        // Whatever the outcome, these numbers are spent: an unknown outcome may show up after reopening.
        *next_ids = (id + 1, first_slot + options.partitions);
        let change = CatalogChange::Create(entry.clone());
        inner.lanes[0].ask(|reply| Message::Catalog { change, reply })?;
        let shared = inner.add_topic(&entry, |_| PartitionIndex::new(0, 0, i64::MIN));
        Ok(Topic { shared })
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
        inner.topics.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        inner.table.remove(slots);
        drop(ids);
        for partition in &topic.partitions {
            partition.disturb();
        }
        inner.keeper.look_for_dead.store(true, Ordering::Release);
        inner.keeper.signal.notify();
        Ok(())
    }

    /// A producer for any topics.
    pub fn producer(&self, options: ProducerOptions) -> Result<Producer> {
        self.inner.check_usable()?;
        Ok(Producer::new(self.inner.clone(), &options))
    }

    /// A consumer of partitions that are assigned to it.
    pub fn consumer(&self, options: ConsumerOptions) -> Result<Consumer> {
        self.inner.check_fork()?;
        Consumer::new(self.inner.clone(), options)
    }

    /// Returns when everything that was sent before is durable, whatever its durability.
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
        let lane = self.inner.lanes.iter().find(|lane| lane.log == id.log).ok_or(Error::NotWithheld)?;
        let mut extra_headers = Vec::new();
        crate::record::encode_headers(&mut extra_headers, headers);
        lane.ask(|reply| Message::Publish { identity: Position(id.position), extra_headers, reply })
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
    pub fn close(&self) -> Result<()> {
        self.inner.close()
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
    #[inline]
    pub(crate) fn check_fork(&self) -> Result<()> {
        if self.fork.is_forked() { Err(Error::Forked) } else { Ok(()) }
    }

    fn check_usable(&self) -> Result<()> {
        self.check_fork()?;
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed { what: "the engine" });
        }
        if self.lanes.is_empty() {
            return Err(Error::InvalidArgument {
                name: "recovery",
                value: "salvage".to_owned(),
                reason: "an engine opened for salvage can only be read".to_owned(),
            });
        }
        self.latch.check().map_err(poisoned)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn add_topic(&self, entry: &TopicEntry, index: impl Fn(u32) -> PartitionIndex) -> Arc<TopicShared> {
        let topic = share_topic(entry, &self.logs, index);
        for partition in &topic.partitions {
            self.table.insert(partition.clone());
        }
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(entry.name.clone(), topic.clone());
        topic
    }

    fn close(&self) -> Result<()> {
        // A child of fork has none of the threads; there is nothing it could wait for.
        self.check_fork()?;
        let mut result = lock(&self.close_result);
        if let Some(result) = &*result {
            return result.clone();
        }
        self.closed.store(true, Ordering::Release);
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

fn share_topic(entry: &TopicEntry, logs: &[Arc<LogShared>], index: impl Fn(u32) -> PartitionIndex) -> Arc<TopicShared> {
    let name: Arc<str> = entry.name.as_str().into();
    let partitions = entry
        .slots()
        .enumerate()
        .map(|(partition, slot)| {
            let lane = slot % logs.len() as u32;
            let log = logs[lane as usize].clone();
            Arc::new(Partition::new(name.clone(), partition as u32, slot, lane, log, index(slot)))
        })
        .collect();
    Arc::new(TopicShared {
        id: entry.id,
        name,
        first_slot: entry.first_slot,
        created_ms: entry.created_ms,
        partitions,
        deleted: AtomicBool::new(false),
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

fn open_error(path: &Path, error: &std::io::Error) -> Error {
    let reason = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            format!("cannot be used ({error}); the engine needs to read and write the directory and its files")
        }
        std::io::ErrorKind::NotFound => format!("does not exist ({error}); make its parent first"),
        _ => format!("cannot be opened: {error}"),
    };
    Error::InvalidDirectory { path: path.to_owned(), reason }
}

/// The steps of opening.
struct Opening<'a> {
    path: &'a Path,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    options: Options,
}

impl Opening<'_> {
    fn run(self, started_ns: u64) -> Result<EngineInner> {
        let salvage = self.options.recovery == Recovery::Salvage;
        self.check_is_ours(salvage)?;
        let lock_file = if salvage { None } else { Some(self.take_lock()?) };
        let loaded = manifest::load(&*self.storage, self.path)?;
        // A creation that was cut short has left a manifest, and nothing that hangs on it.
        let created = loaded.as_ref().is_none_or(|loaded| loaded.manifest.is_fresh());
        if created && (!self.options.create || salvage) {
            return Err(self.no_engine());
        }
        let is_new = loaded.is_none();
        let (mut manifest, bad_copy, unsettled) = match loaded {
            Some(loaded) => (loaded.manifest, loaded.bad_copy, Some(loaded.unsettled)),
            None => (self.new_manifest(), None, None),
        };
        if created {
            manifest.logs = self.new_logs();
        }
        self.check_lanes(&manifest)?;
        let files = if salvage { None } else { Some(ManifestFiles::open(&*self.storage)?) };
        if let (true, Some(files)) = (is_new, &files) {
            // Before the first segment: one without a manifest is taken for damage.
            files.commit(&mut manifest).map_err(|error| keeper::no_space_or(error, PAGE as u64, &*self.storage))?;
        }
        let context = RecoveryContext {
            storage: &*self.storage,
            manifest: &manifest,
            lock_wait_ms: self.options.lock_wait_ms,
            salvage,
            // See `Walk::rewrite_tail`.
            rewrites_tail: self.options.power_safe_overwrite || !self.storage.report().direct,
        };
        let mut recovered = Vec::new();
        for log in &manifest.logs {
            recovered.push(recovery::recover(&context, log.id)?);
        }
        let catalog = recovered[0].state.catalog.clone();
        for log in &mut recovered {
            log.state.retain_slots(&catalog);
        }
        let summary = RecoverySummary {
            created,
            clean: recovered.iter().all(|log| log.clean),
            torn_bytes: recovered.iter().map(|log| log.torn_bytes).sum(),
            manifest_copy_mended: bad_copy,
        };
        let holes: Vec<Hole> = recovered.iter_mut().flat_map(|log| std::mem::take(&mut log.holes)).collect();
        let first_segments = match &files {
            Some(files) => self.begin_generation(&mut manifest, files, unsettled, &recovered)?,
            None => {
                for log in &recovered {
                    note_ends(&mut manifest, log);
                }
                Vec::new()
            }
        };
        let mut parts = self.share(&manifest, &catalog, &recovered);
        let mut inner = EngineInner {
            path: self.path.to_owned(),
            latch: Latch::new(),
            lanes: Vec::new(),
            logs: std::mem::take(&mut parts.logs),
            table: parts.table,
            keeper: Arc::new(KeeperShared::default()),
            pages: parts.pages,
            topics: RwLock::new(parts.topics),
            opened_in_us: 0,
            holes,
            recovered: summary,
            next_ids: Mutex::new((catalog.next_topic, catalog.next_slot)),
            dispatcher: Arc::new(Dispatcher::default()),
            threads: Mutex::new(Vec::new()),
            fork: fork::remember(),
            closed: AtomicBool::new(false),
            close_result: Mutex::new(None),
            lock_file: Mutex::new(lock_file),
            storage: self.storage,
            clock: self.clock,
            options: self.options,
        };
        if let Some(files) = files
            && let Err(error) = start(&mut inner, manifest, files, recovered, first_segments)
        {
            // Threads that run hold locks; whoever opens next would wait for them.
            if !lock(&inner.threads).is_empty() {
                let _ = inner.close();
            }
            return Err(inner.latch.check().map_or_else(Error::Io, |()| error));
        }
        inner.opened_in_us = (inner.clock.monotonic_ns() - started_ns) / 1000;
        Ok(inner)
    }

    /// Before anything is written: a directory that is not ours stays as it is. What another process is
    /// just writing is judged later, under the lock.
    fn check_is_ours(&self, salvage: bool) -> Result<()> {
        match manifest::load(&*self.storage, self.path) {
            Err(foreign @ Error::ForeignFormat { .. }) => Err(foreign),
            Ok(None) if !self.options.create || salvage => Err(self.no_engine()),
            _ => Ok(()),
        }
    }

    fn no_engine(&self) -> Error {
        Error::InvalidDirectory {
            path: self.path.to_owned(),
            reason: "holds no engine; check the path, or open with create = true".to_owned(),
        }
    }

    /// Takes the lock, or says who holds it.
    fn take_lock(&self) -> Result<Arc<dyn File>> {
        let fail = |operation, error: &std::io::Error| match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                open_error(self.path, error)
            }
            _ => Error::io(operation, LOCK_FILE, None, error),
        };
        let file = self.storage.open(LOCK_FILE, crate::io::Access::Create).map_err(|error| fail("open", &error))?;
        if !file.lock(self.options.lock_wait_ms).map_err(|error| fail("lock", &error))? {
            let (pid, program) = read_holder(&*file);
            return Err(Error::Locked { path: self.path.to_owned(), pid, program });
        }
        let program = std::env::args_os().next();
        let program = program.map_or("unknown".into(), |name| name.to_string_lossy().into_owned());
        let text = format!("{} {}\n", std::process::id(), program);
        let mut page = vec![0u8; PAGE];
        let length = text.len().min(PAGE);
        page[..length].copy_from_slice(&text.as_bytes()[..length]);
        let block = Block::copy_of(&page);
        // A full disk must not keep anybody out: the name of the holder is a courtesy.
        let _ = file.write_at(block.slice(0, PAGE), 0);
        Ok(file)
    }

    fn new_manifest(&self) -> Manifest {
        Manifest {
            engine_id: self.storage.random(),
            sequence: 0,
            created_ms: self.clock.wall_ms(),
            window_bytes: WINDOW_BYTES,
            next_file: 0,
            logs: self.new_logs(),
            segments: Vec::new(),
        }
    }

    fn new_logs(&self) -> Vec<ManifestLog> {
        let lanes = self.options.lanes.unwrap_or_else(Options::default_lanes);
        (0..lanes).map(|id| ManifestLog { id, generation: 0, next_base: Position(1 << 20) }).collect()
    }

    fn check_lanes(&self, manifest: &Manifest) -> Result<()> {
        let found = manifest.logs.len() as u32;
        match self.options.lanes {
            Some(wanted) if wanted != found => Err(Error::LaneCount { path: self.path.to_owned(), found, wanted }),
            _ => Ok(()),
        }
    }

    /// Seals what was recovered and gives each log a fresh first segment, in one replacement of the manifest.
    fn begin_generation(
        &self,
        manifest: &mut Manifest,
        files: &ManifestFiles,
        unsettled: Option<usize>,
        recovered: &[Recovered],
    ) -> Result<Vec<Prepared>> {
        let storage = &*self.storage;
        if let Some(unsettled) = unsettled {
            files.settle(manifest, unsettled).map_err(|error| keeper::no_space_or(error, PAGE as u64, storage))?;
        }
        self.leave_segments(manifest, files, recovered)?;
        for log in recovered {
            if canary::sings(Canary::WriteIntoRecovered)
                && let Some((last, _)) = log.used.last()
                && let Some(segment) = manifest.segments.iter_mut().find(|segment| segment.file == last.file)
            {
                segment.state = SegmentState::Raw;
            }
        }
        let mut first = Vec::new();
        for (at, recovered) in recovered.iter().enumerate() {
            manifest.logs[at].generation += 1;
            first.push(self.first_segment(manifest, at, recovered.state.encoded_bytes_max())?);
        }
        for (at, recovered) in recovered.iter().enumerate() {
            let (id, state_bytes) = (manifest.logs[at].id, recovered.state.encoded_bytes_max());
            while manifest.logs[at].generation == 1 && reserve::restore(storage, manifest, id, state_bytes)? {}
        }
        files.commit(manifest).map_err(|error| keeper::no_space_or(error, PAGE as u64, storage))?;
        keeper::remove_strays(storage, manifest)?;
        Ok(first)
    }

    /// Notes where the segments that were read end, and takes from the logs what holds nothing: segments that
    /// were never entered, and, where the reserve is not whole, those with nothing but bookkeeping that later
    /// checkpoints say as well.
    ///
    /// The manifest says so before such a file gets the header of another segment, for opening may end in
    /// between. And it says both at once: the log may have left a segment for one that was never entered, and
    /// a live segment must have what its End frame names.
    fn leave_segments(&self, manifest: &mut Manifest, files: &ManifestFiles, recovered: &[Recovered]) -> Result<()> {
        let storage = &*self.storage;
        let mut given_up: Vec<u32> = recovered.iter().flat_map(|log| &log.unused).map(|unused| unused.file).collect();
        for (at, log) in recovered.iter().enumerate() {
            let id = manifest.logs[at].id;
            if reserve::level(manifest, id).segments < reserve::SEGMENTS {
                given_up.extend(reserve::spent(storage, manifest, id, log.state.encoded_bytes_max())?);
            }
        }
        for log in recovered {
            note_ends(manifest, log);
        }
        give_up(manifest, &given_up);
        match given_up.is_empty() {
            true => Ok(()),
            false => files.commit(manifest).map_err(|error| keeper::no_space_or(error, PAGE as u64, storage)),
        }
    }

    /// The first segment of a log's new generation. On a full disk, one of the reserve.
    fn first_segment(&self, manifest: &mut Manifest, at: usize, checkpoint_bytes: u64) -> Result<Prepared> {
        let storage = &*self.storage;
        let log = manifest.logs[at];
        let bytes_min = (checkpoint_bytes * 8).max(self.options.first_segment_bytes()).next_power_of_two();
        let prepared = (|| {
            // The reserve comes first; but a new engine needs both, and begins with its first segments.
            while log.generation > 1 && reserve::restore(storage, manifest, log.id, checkpoint_bytes)? {}
            let prepared = keeper::prepare_segment(storage, manifest, log.id, log.generation, bytes_min, bytes_min)?;
            let file = prepared.manifest.file;
            zero_fill(prepared).map_err(|error| {
                // Not in the manifest yet: as if it had never been.
                manifest.segments.retain(|segment| segment.file != file);
                let _ = storage.remove(&file_name(file));
                keeper::no_space_or(error, bytes_min, storage)
            })
        })();
        match prepared {
            Ok(prepared) => Ok(prepared),
            Err(full @ Error::NoSpace { .. }) if log.generation == 1 => Err(full),
            Err(Error::NoSpace { .. }) => {
                let bytes_min = checkpoint_bytes + (64 << 10);
                reserve::take(storage, manifest, log.id, log.generation, bytes_min)
            }
            Err(error) => Err(error),
        }
    }

    fn share(&self, manifest: &Manifest, catalog: &Catalog, recovered: &[Recovered]) -> SharedParts {
        let pages = Arc::new(PageCache::new(self.options.index_cache_bytes));
        let lanes = manifest.logs.len() as u64;
        let read_only = self.options.recovery == Recovery::Salvage;
        let mut logs = Vec::new();
        for (entry, log) in manifest.logs.iter().zip(recovered) {
            let tail = TailCache::new(self.options.tail_cache_bytes / lanes);
            let shared = LogShared::new(entry.id, self.storage.clone(), tail, pages.clone(), read_only);
            for segment in manifest.segments_of(entry.id) {
                if segment.state == SegmentState::Sealed {
                    shared.add_segment(Arc::new(Segment::new(segment)));
                    shared.durable.fetch_max(segment.end.0, Ordering::Relaxed);
                }
            }
            shared.set_relocations(log.state.relocations().clone());
            logs.push(Arc::new(shared));
        }
        let table = Arc::new(PartitionTable::default());
        let mut topics = BTreeMap::new();
        for entry in catalog.topics.values() {
            let index = |slot: u32| {
                let log = &recovered[slot as usize % recovered.len()];
                let before = log.before.partition(slot);
                PartitionIndex::new(log.state.partition(slot).first_offset, before.next_offset, before.timestamp_max_ms)
            };
            let topic = share_topic(entry, &logs, index);
            for partition in &topic.partitions {
                table.insert(partition.clone());
            }
            topics.insert(entry.name.clone(), topic);
        }
        for log in recovered {
            show_runs(&log.runs, &table);
        }
        SharedParts { pages, logs, table, topics }
    }
}

struct SharedParts {
    pages: Arc<PageCache>,
    logs: Vec<Arc<LogShared>>,
    table: Arc<PartitionTable>,
    topics: BTreeMap<String, Arc<TopicShared>>,
}

/// Puts what was read into the partitions' indexes, one partition after the other: with thousands of them,
/// going from one to another for each run made a fifth of the time of opening.
fn show_runs(runs: &[(u32, Run)], table: &PartitionTable) {
    // Counts the runs of each partition, and from that knows where in the order they stand.
    let slots = runs.iter().map(|(slot, _)| *slot as usize + 1).max().unwrap_or(0);
    let mut ends = vec![0; slots];
    runs.iter().for_each(|(slot, _)| ends[*slot as usize] += 1);
    let mut before = 0;
    for end in &mut ends {
        before += std::mem::replace(end, before);
    }
    let mut order = vec![0; runs.len()];
    for (at, (slot, _)) in runs.iter().enumerate() {
        let end = &mut ends[*slot as usize];
        order[*end] = at;
        *end += 1;
    }
    let mut start = 0;
    for (slot, end) in ends.into_iter().enumerate() {
        let of_slot = &order[std::mem::replace(&mut start, end)..end];
        // Runs of deleted topics have nobody to show them to.
        let Some(partition) = table.get(slot as u32).filter(|_| !of_slot.is_empty()) else { continue };
        let mut index = partition.index();
        index.reserve(of_slot.len());
        for at in of_slot {
            index.push(runs[*at].1, true);
        }
    }
}

fn give_up(manifest: &mut Manifest, files: &[u32]) {
    for at in 0..manifest.segments.len() {
        let segment = manifest.segments[at];
        if files.contains(&segment.file) {
            let state = reserve::state_when_empty(manifest, &segment, SegmentState::Raw);
            manifest.segments[at] = ManifestSegment { state, end: Position(0), ..segment };
        }
    }
}

fn note_ends(manifest: &mut Manifest, log: &Recovered) {
    for (used, end) in &log.used {
        for segment in manifest.segments.iter_mut().filter(|segment| segment.file == used.file) {
            segment.state = SegmentState::Sealed;
            segment.end = *end;
        }
    }
}

/// The first segment is wanted at once, and it is small.
fn zero_fill(mut prepared: Prepared) -> Result<Prepared> {
    let mut zeros = Block::zeroed(BLOCK_BYTES);
    zeros.publish_all();
    let fail = |error: &std::io::Error| Error::io("zero-fill", prepared.file.name(), None, error);
    while prepared.written_bytes < prepared.manifest.bytes {
        let length = (prepared.manifest.bytes - prepared.written_bytes).min(BLOCK_BYTES as u64);
        prepared
            .file
            .write_at(zeros.slice(0, length as usize), prepared.written_bytes)
            .map_err(|error| fail(&error))?;
        prepared.written_bytes += length;
    }
    prepared.file.sync().map_err(|error| fail(&error))?;
    Ok(prepared)
}

fn is_nearly_empty(segment: &ManifestSegment) -> bool {
    segment.state == SegmentState::Sealed && segment.end.since(segment.base) < 64 << 10
}

/// Starts the lanes and the keeper.
fn start(
    inner: &mut EngineInner,
    manifest: Manifest,
    files: ManifestFiles,
    recovered: Vec<Recovered>,
    first_segments: Vec<Prepared>,
) -> Result<()> {
    let window_bytes = manifest.window_bytes;
    let first_segments_are_reserved = first_segments.iter().any(|first| first.reserved);
    let nearly_empty = manifest.segments.iter().filter(|segment| is_nearly_empty(segment)).count();
    let has_deleted_topics = {
        let topics = inner.topics.read().unwrap_or_else(PoisonError::into_inner);
        lock(&inner.next_ids).0 as usize > topics.len()
    };
    let signal = inner.keeper.signal.clone();
    let lanes: Vec<Arc<LaneShared>> = manifest
        .logs
        .iter()
        .enumerate()
        .map(|(lane, log)| {
            let supply = SegmentSupply::new(signal.clone());
            if first_segments[lane].reserved {
                // Those that are left may be none; the size of all is the same.
                supply.set_reserve(Level { segments: 1, bytes: first_segments[lane].manifest.bytes });
            }
            supply.set_reserve(reserve::level(&manifest, log.id));
            lock(&supply.state).state_bytes = recovered[lane].state.encoded_bytes_max();
            if first_segments[lane].reserved {
                // So it is until the keeper has looked: nobody sends into it meanwhile.
                supply.set_no_space(Some((first_segments[lane].manifest.bytes, 0)));
            }
            Arc::new(LaneShared::new(lane as u32, log.id, inner.latch.clone(), supply))
        })
        .collect();
    inner.lanes = lanes.clone();
    let mut keeper = Keeper::new(
        inner.storage.clone(),
        inner.clock.clone(),
        manifest,
        files,
        inner.table.clone(),
        inner.options.clone(),
        inner.latch.clone(),
        inner.keeper.clone(),
    );
    keeper.lanes = lanes.clone();
    keeper.logs = inner.logs.clone();
    for (lane, log) in recovered.iter().enumerate() {
        let resident_from = log.runs.first().map(|(_, run)| run.published_at());
        for (segment, end) in log.used.iter().rev() {
            keeper.unindexed.push((
                lane,
                Full {
                    manifest: *segment,
                    end: *end,
                    next: *end,
                    withheld: log.withheld.get(&segment.base).cloned().unwrap_or_default(),
                    resident: resident_from.is_some_and(|from| segment.limit() > from),
                },
            ));
        }
    }
    keeper.export();
    let cores = thread::usable_cores();
    let pin = inner.options.pin_lanes && lanes.len() < cores.len();
    let blocks = (inner.options.tail_cache_bytes as usize / BLOCK_BYTES).clamp(4, 64);
    let pool = Arc::new(BlockPool::new(BLOCK_BYTES, blocks));
    for (at, (log, first_segment)) in recovered.into_iter().zip(first_segments).enumerate() {
        let parts = LaneParts {
            shared: lanes[at].clone(),
            log: inner.logs[at].clone(),
            state: log.state,
            first_segment: Some(first_segment),
            clock: inner.clock.clone(),
            table: inner.table.clone(),
            dispatcher: inner.dispatcher.clone(),
            pool: pool.clone(),
            window_bytes,
            linger_ns: inner.options.linger_us * 1000,
            flush_interval_ns: inner.options.flush_interval_ms * 1_000_000,
            power_safe_overwrite: inner.options.power_safe_overwrite,
            withheld_records_max: inner.options.withheld_records_max,
            peers: lanes.clone(),
        };
        // The last cores: applications and interrupts like the first ones.
        let core = pin.then(|| cores[cores.len() - 1 - at]);
        let spawned = thread::spawn(parts, inner.storage.clone(), core, inner.options.lane_nice);
        let spawned = spawned.inspect_err(|_| {
            // Nobody serves them, and closing must not wait for an answer.
            lanes[at..].iter().for_each(|lane| lane.end());
        })?;
        lock(&inner.threads).push(spawned);
    }
    let keeper_thread = sync::thread::spawn("ringlane-keeper", thread::block_signals, move || keeper.run())
        .map_err(|error| Error::io("start", "the keeper's thread", None, &error))?;
    lock(&inner.threads).push(keeper_thread);
    // Each opening seals a segment, be it empty; those are taken back.
    if has_deleted_topics || nearly_empty > NEARLY_EMPTY_MAX {
        inner.keeper.look_for_dead.store(true, Ordering::Release);
        inner.keeper.signal.notify();
    }
    // The checkpoint of the new generation is durable before the first call.
    for lane in &inner.lanes {
        lane.ask(|reply| Message::Sync { reply })?;
    }
    if first_segments_are_reserved {
        // With those checkpoints, what an earlier opening took from the reserve may be spent.
        inner.keeper.look_for_spent.store(true, Ordering::Release);
        inner.keeper.signal.notify();
    }
    Ok(())
}

pub(crate) fn read_holder(file: &dyn File) -> (u32, String) {
    let mut block = Block::zeroed(PAGE);
    let read = file.read_at(block.as_mut_slice(), 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&block.as_mut_slice()[..read]).into_owned();
    let line = text.trim_end_matches('\0').lines().next().unwrap_or_default();
    let (pid, program) = line.split_once(' ').unwrap_or((line, "unknown"));
    (pid.parse().unwrap_or(0), program.trim_end_matches('\0').to_owned())
}
