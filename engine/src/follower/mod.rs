//! Reading an engine from outside, while another process writes it or nobody does.
//!
//! The writer knows nothing of who reads. What a reader knows it has from the files: the manifest says which
//! segments there are, frames say what happened, and the durable position that each frame carries says what of
//! it no crash takes back.
//!
//! Invariants:
//! - Nothing is locked, nothing is written, no file is made.
//! - What is shown is durable, and what was shown stays: partitions only grow, until their topic is deleted.
//! - Nothing that was found counts against the log before the manifest was read once more and still says the
//!   same: files are used again while they are read.
//! - One refresh at a time; readers that poll meanwhile see what was before it.

mod log;
mod manifest;

use crate::consumer::group::groups::Groups;
use crate::engine::{EngineInner, RecoverySummary, share_topic};
use crate::error::{Error, Result};
use crate::io::fork;
use crate::io::{Clock, Latch, Storage};
use crate::keeper::{self, KeeperShared};
use crate::lane::catalog::{Catalog, CatalogChange, TopicEntry};
use crate::lane::entries::TruncateEntry;
use crate::lane::state::{LogState, Unseen};
use crate::log::manifest::{Manifest, SegmentState};
use crate::log::position::Position;
use crate::options::Options;
use crate::partition::history::logs_before;
use crate::partition::index::{PartitionIndex, Run};
use crate::partition::page_cache::PageCache;
use crate::partition::shared::{LogShared, Partition, Segment, TopicShared};
use crate::partition::table::PartitionTable;
use crate::partition::tail_cache::TailCache;
use crate::producer::dispatcher::Dispatcher;
use crate::producer::identity::NamedProducers;
use crate::stats::{OutsideLog, OutsideStats};
use crate::sync::lock;
use crate::transaction::registry::Transactions;
use log::{Context, Effect, LogFollower, Step, take_over};
use manifest::ManifestWatch;
pub(crate) use manifest::load_settled;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// A poll looks for news so often.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_millis(20);
/// A refresh begins again when the manifest moved below it, but not for ever.
const TRIES_MAX: u32 = 100;

/// What an engine has that is only read.
pub(crate) struct Following {
    follower: Mutex<Follower>,
    /// When the last refresh ended, and the manifest that it saw.
    refreshed_ns: AtomicU64,
    sequence: AtomicU64,
    refreshes: AtomicU64,
}

struct Follower {
    watch: ManifestWatch,
    manifest: Manifest,
    logs: Vec<LogFollower>,
    catalog: Catalog,
    /// Records of slots that no topic has yet: the creation of their topic is durable, and not yet known to be.
    orphans: BTreeMap<u32, PartitionIndex>,
}

/// Opens a directory to be read.
pub(crate) fn open(
    path: &Path,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    options: Options,
) -> Result<EngineInner> {
    let started_ns = clock.monotonic_ns();
    let mut watch = ManifestWatch::default();
    let no_engine = || Error::InvalidDirectory {
        path: path.to_owned(),
        reason: "holds no engine; check the path: nothing is made by opening read-only".to_owned(),
    };
    let manifest = watch.load(&*storage, path).map_err(|error| explain(path, error))?.ok_or_else(no_engine)?;
    let pages = Arc::new(PageCache::new(options.index_cache_bytes));
    let log = |id, first_base| {
        Arc::new(LogShared::new(id, first_base, storage.clone(), TailCache::new(0), pages.clone(), true))
    };
    let logs: Vec<Arc<LogShared>> = manifest.logs.iter().map(|entry| log(entry.id, entry.first_base)).collect();
    // Nothing comes to them any more, so there is nothing to follow.
    let older_logs: Vec<Arc<LogShared>> =
        manifest.sealed_logs.iter().map(|entry| log(entry.id, entry.first_base)).collect();
    for older in &older_logs {
        let segments = manifest.segments_of(older.id).into_iter();
        segments.for_each(|segment| older.add_segment(Arc::new(Segment::new(segment))));
    }
    let follower = Follower {
        watch,
        manifest,
        logs: logs.iter().map(|log| LogFollower::new(log.clone())).collect(),
        catalog: Catalog::default(),
        orphans: BTreeMap::new(),
    };
    let following = Following {
        follower: Mutex::new(follower),
        refreshed_ns: AtomicU64::new(0),
        sequence: AtomicU64::new(0),
        refreshes: AtomicU64::new(0),
    };
    let mut inner = EngineInner {
        path: path.to_owned(),
        options,
        storage,
        clock,
        latch: Latch::new(),
        lanes: Vec::new(),
        logs,
        older_logs,
        table: Arc::new(PartitionTable::default()),
        keeper: Arc::new(KeeperShared::default()),
        pages,
        topics: RwLock::default(),
        opened_in_us: 0,
        holes: Vec::new(),
        recovered: RecoverySummary::default(),
        next_ids: Mutex::new((0, 0)),
        producers: Mutex::default(),
        groups: Groups::default(),
        dispatcher: Arc::new(Dispatcher::default()),
        threads: Mutex::new(Vec::new()),
        fork: fork::remember(),
        closed: AtomicBool::new(false),
        close_result: Mutex::new(None),
        lock_file: Mutex::new(None),
        admin: Arc::default(),
        interceptor_failures: Arc::default(),
        spare: Arc::default(),
        transactions: Transactions::default(),
        following: Some(following),
    };
    inner.refresh()?;
    inner.recovered.clean = {
        let following = inner.following.as_ref().expect("made above");
        lock(&following.follower).logs.iter().all(|log| log.is_closed)
    };
    inner.opened_in_us = (inner.clock.monotonic_ns() - started_ns) / 1000;
    Ok(inner)
}

fn explain(path: &Path, error: Error) -> Error {
    match error {
        Error::Io(failure) if failure.errno == Some(libc::EACCES) => Error::InvalidDirectory {
            path: path.to_owned(),
            reason: format!("cannot be read ({failure}); the user needs permission to read its files"),
        },
        other => other,
    }
}

impl EngineInner {
    /// Takes in what has become durable since. Nothing, where the engine is not only read.
    pub(crate) fn refresh(&self) -> Result<()> {
        match &self.following {
            None => Ok(()),
            Some(following) => following.refresh(self),
        }
    }

    /// The same, unless somebody did it a moment ago.
    pub(crate) fn refresh_if_due(&self) -> Result<()> {
        match &self.following {
            Some(following) if following.due_in(self).is_zero() => following.refresh(self),
            _ => Ok(()),
        }
    }

    /// How long a consumer may sleep, at most, before it looks again.
    pub(crate) fn sleep_max(&self) -> Duration {
        self.following.as_ref().map_or(Duration::MAX, |following| following.due_in(self).max(Duration::from_millis(1)))
    }

    /// Whether somebody else may be writing what is read here.
    pub(crate) fn is_followed(&self) -> bool {
        self.following.is_some()
    }

    /// The manifest that was seen last, where the engine is only read.
    pub(crate) fn sequence_seen(&self) -> u64 {
        self.following.as_ref().map_or(0, |following| following.sequence.load(Ordering::Acquire))
    }

    /// Something could not be read: looks whether the files are those of the manifest `seen` any more. If not,
    /// the same may be had elsewhere, or is no longer kept.
    pub(crate) fn has_moved_on(&self, seen: &mut u64) -> Result<bool> {
        if self.following.is_none() {
            return Ok(false);
        }
        self.refresh()?;
        let now = self.sequence_seen();
        Ok(std::mem::replace(seen, now) != now)
    }

    /// Records of a topic cannot be read: whether that is because it was deleted. Its deletion may stand in the log
    /// without a proof yet that it is durable; but when its records are gone from the files, it is.
    pub(crate) fn is_gone(&self, topic: &TopicShared) -> bool {
        let is_deleting = |following: &Following| {
            lock(&following.follower).logs.first().is_some_and(|catalog| catalog.is_deleting(topic.id))
        };
        self.following.as_ref().is_some_and(|following| topic.check().is_err() || is_deleting(following))
    }

    /// Records of a partition cannot be read from an offset on: whether that is because they were given up. That may
    /// stand in the log without a proof yet that it is durable; but when the records are gone from the files it is: they
    /// go after it. So from now on the partition begins there.
    pub(crate) fn has_given_up(&self, partition: &Partition, offset: u64) -> bool {
        let truncating = |following: &Following| {
            let follower = lock(&following.follower);
            follower.logs.iter().find(|log| log.shared.id == partition.log.id)?.truncating(partition.slot)
        };
        let Some(following) = &self.following else { return false };
        if let Some(first_offset) = truncating(following) {
            partition.truncate(first_offset);
        }
        partition.index().first_offset > offset
    }

    /// The numbers of a producer in a partition that are not visible, as far as the log was read from outside.
    pub(crate) fn unseen_from_outside(&self, log: u32, producer: u32, slot: u32) -> Option<Unseen> {
        let follower = lock(&self.following.as_ref()?.follower);
        let followed = follower.logs.iter().find(|followed| followed.shared.id == log);
        Some(followed.map(|followed| followed.unseen(producer, slot)).unwrap_or_default())
    }

    /// What can be told from outside.
    pub(crate) fn outside_stats(&self) -> Option<OutsideStats> {
        let following = self.following.as_ref()?;
        let follower = lock(&following.follower);
        let age_ns = self.clock.monotonic_ns().saturating_sub(following.refreshed_ns.load(Ordering::Acquire));
        let logs = follower.logs.iter().zip(&follower.manifest.logs).map(|(log, entry)| OutsideLog {
            log: entry.id,
            generation: entry.generation,
            durable: log.durable().0,
            read_to: log.tail().0,
            withheld_records: log.withheld_records(),
        });
        Some(OutsideStats {
            manifest_sequence: follower.manifest.sequence,
            refreshes: following.refreshes.load(Ordering::Relaxed),
            refreshed_ms_ago: age_ns / 1_000_000,
            logs: logs.collect(),
        })
    }
}

impl Following {
    fn due_in(&self, inner: &EngineInner) -> Duration {
        let age_ns = inner.clock.monotonic_ns().saturating_sub(self.refreshed_ns.load(Ordering::Acquire));
        REFRESH_INTERVAL.saturating_sub(Duration::from_nanos(age_ns))
    }

    fn refresh(&self, inner: &EngineInner) -> Result<()> {
        inner.check_fork()?;
        let mut follower = lock(&self.follower);
        if inner.is_closed() {
            return Err(Error::Closed { what: "the engine" });
        }
        let result = follower.refresh(inner);
        self.sequence.store(follower.manifest.sequence, Ordering::Release);
        self.refreshed_ns.store(inner.clock.monotonic_ns(), Ordering::Release);
        self.refreshes.fetch_add(1, Ordering::Relaxed);
        result
    }
}

impl Follower {
    fn refresh(&mut self, inner: &EngineInner) -> Result<()> {
        if self.watch.has_moved(&*inner.storage) {
            self.reload(inner)?;
        }
        let mut tries = 0;
        loop {
            let Err(error) = self.follow(inner) else { return Ok(()) };
            tries += 1;
            // The manifest says first what is then done to the files.
            let sequence = self.manifest.sequence;
            self.reload(inner)?;
            if self.manifest.sequence == sequence || tries == TRIES_MAX {
                return Err(error);
            }
        }
    }

    /// Reads the manifest.
    fn reload(&mut self, inner: &EngineInner) -> Result<()> {
        let manifest = self.watch.load(&*inner.storage, &inner.path).map_err(|error| explain(&inner.path, error))?;
        let gone = |reason: &str| Error::InvalidDirectory { path: inner.path.clone(), reason: reason.to_owned() };
        let manifest = manifest.ok_or_else(|| gone("holds no engine any more"))?;
        let ids = |manifest: &Manifest| manifest.logs.iter().map(|log| log.id).collect::<Vec<_>>();
        if manifest.engine_id != self.manifest.engine_id || ids(&manifest) != ids(&self.manifest) {
            return Err(gone("holds another engine, or one with other lanes, than when it was opened; open it again"));
        }
        self.manifest = manifest;
        for older in &inner.older_logs {
            take_over(older, &self.manifest.segments_of(older.id));
        }
        Ok(())
    }

    /// Reads on in every log and shows what is durable.
    fn follow(&mut self, inner: &EngineInner) -> Result<()> {
        for at in 0..self.logs.len() {
            let context = Context { storage: &*inner.storage, manifest: &self.manifest };
            let step = self.logs[at].follow(&context)?;
            if let Err(error) = self.show(inner, at, step) {
                self.logs[at].begin_anew();
                return Err(error);
            }
        }
        self.export(inner);
        Ok(())
    }

    fn show(&mut self, inner: &EngineInner, at: usize, step: Step) -> Result<()> {
        let Step { restarted, effects, sealed, copied_to } = step;
        match restarted {
            Some(state) => self.show_anew(inner, at, &state, effects)?,
            None => effects.into_iter().try_for_each(|effect| self.show_effect(inner, effect))?,
        }
        for (segment, end) in sealed {
            self.seal(inner, at, &segment, end);
        }
        // It may have been sealed and copied between two looks at the manifest.
        self.forget_runs_below(inner, at, copied_to);
        Ok(())
    }

    fn show_effect(&mut self, inner: &EngineInner, effect: Effect) -> Result<()> {
        match effect {
            Effect::Run(slot, run) => self.show_run(inner, slot, run),
            Effect::Catalog(change) => self.change_catalog(inner, &change),
            Effect::Truncated(entries) => {
                for TruncateEntry { slot, first_offset } in entries {
                    match inner.table.get(slot) {
                        Some(partition) => partition.truncate(first_offset),
                        None => {
                            let _ = self.orphans.entry(slot).and_modify(|index| index.truncate(first_offset));
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn show_run(&mut self, inner: &EngineInner, slot: u32, run: Run) -> Result<()> {
        match inner.table.get(slot) {
            Some(partition) => {
                let next_offset = partition.index().next_offset;
                if next_offset != run.base_offset {
                    return Err(out_of_order(slot, run.base_offset, next_offset));
                }
                partition.publish(run, true);
            }
            None if slot >= self.catalog.next_slot => push(self.orphans.entry(slot).or_insert_with(empty), slot, run)?,
            // Its topic was deleted.
            None => {}
        }
        Ok(())
    }

    /// Reading began anew: a log's partitions are put together from its newest checkpoint and what follows.
    fn show_anew(&mut self, inner: &EngineInner, at: usize, state: &LogState, effects: Vec<Effect>) -> Result<()> {
        let mut catalog = state.catalog.clone();
        let mut indexes = BTreeMap::new();
        for slot in state.slots() {
            let partition = state.partition(slot);
            let index = PartitionIndex::new(partition.first_offset, partition.next_offset, partition.timestamp_max_ms);
            indexes.insert(slot, index);
        }
        for effect in effects {
            match effect {
                Effect::Run(slot, run) => push(indexes.entry(slot).or_insert_with(empty), slot, run)?,
                Effect::Catalog(change) => catalog.apply(&change).map_err(|reason| contradiction(reason.to_owned()))?,
                Effect::Truncated(entries) => {
                    for TruncateEntry { slot, first_offset } in entries {
                        indexes.entry(slot).or_insert_with(empty).truncate(first_offset);
                    }
                }
            }
        }
        if at == 0 {
            self.set_catalog(inner, catalog)?;
        }
        for (slot, index) in indexes {
            self.replace_index(inner, slot, index)?;
        }
        Ok(())
    }

    fn replace_index(&mut self, inner: &EngineInner, slot: u32, index: PartitionIndex) -> Result<()> {
        match inner.table.get(slot) {
            Some(partition) => {
                let mut held = partition.index();
                if index.next_offset < held.next_offset {
                    return Err(out_of_order(slot, index.next_offset, held.next_offset));
                }
                let first_offset = held.first_offset;
                *held = index;
                held.truncate(first_offset);
                drop(held);
                partition.disturb();
            }
            None if slot >= self.catalog.next_slot => drop(self.orphans.insert(slot, index)),
            None => {}
        }
        Ok(())
    }

    // ----- topics and producers -----

    fn set_catalog(&mut self, inner: &EngineInner, catalog: Catalog) -> Result<()> {
        let gone: Vec<u32> =
            self.catalog.topics.keys().filter(|id| !catalog.topics.contains_key(id)).copied().collect();
        let new: Vec<TopicEntry> =
            catalog.topics.values().filter(|topic| !self.catalog.topics.contains_key(&topic.id)).cloned().collect();
        gone.into_iter().for_each(|id| self.forget_topic(inner, id));
        new.iter().for_each(|topic| self.add_topic(inner, topic));
        self.catalog = catalog;
        let ids: Vec<u32> = self.catalog.topics.keys().copied().collect();
        ids.into_iter().for_each(|id| self.show_retention(inner, id));
        self.show_producers(inner);
        self.forget_orphans();
        Ok(())
    }

    fn change_catalog(&mut self, inner: &EngineInner, change: &CatalogChange) -> Result<()> {
        if let CatalogChange::Delete { topic } = change {
            self.forget_topic(inner, *topic);
        }
        self.catalog.apply(change).map_err(|reason| contradiction(reason.to_owned()))?;
        match change {
            CatalogChange::Create(topic) => self.add_topic(inner, topic),
            CatalogChange::Retain { topic, .. } => self.show_retention(inner, *topic),
            CatalogChange::OpenProducer(_) | CatalogChange::DeleteProducer { .. } => self.show_producers(inner),
            CatalogChange::Delete { .. } | CatalogChange::SetGroup(_) | CatalogChange::DeleteGroup { .. } => {}
        }
        self.forget_orphans();
        Ok(())
    }

    fn add_topic(&mut self, inner: &EngineInner, topic: &TopicEntry) {
        let older = |slot| logs_before(&self.manifest, &inner.older_logs, slot);
        let index = |slot| self.orphans.remove(&slot).unwrap_or_else(empty);
        let shared = share_topic(topic, &inner.logs, older, index);
        for partition in &shared.partitions {
            inner.table.insert(partition.clone());
        }
        inner.topics.write().unwrap_or_else(PoisonError::into_inner).insert(topic.name.clone(), shared);
    }

    fn show_producers(&self, inner: &EngineInner) {
        *lock(&inner.producers) = NamedProducers::of(&self.catalog);
    }

    fn show_retention(&self, inner: &EngineInner, id: u32) {
        let Some(entry) = self.catalog.topics.get(&id) else { return };
        if let Some(topic) = inner.topics.read().unwrap_or_else(PoisonError::into_inner).get(&entry.name) {
            *lock(&topic.retention) = entry.retention;
        }
    }

    fn forget_topic(&mut self, inner: &EngineInner, id: u32) {
        let Some(entry) = self.catalog.topics.get(&id) else { return };
        let topic = inner.topics.read().unwrap_or_else(PoisonError::into_inner).get(&entry.name).cloned();
        if let Some(topic) = topic.filter(|topic| topic.id == id) {
            topic.deleted.store(true, Ordering::Release);
            inner.forget_topic(&topic);
        }
    }

    /// Slots are never given out again: what no topic has below the next one belongs to a deleted topic.
    fn forget_orphans(&mut self) {
        let next_slot = self.catalog.next_slot;
        self.orphans.retain(|slot, _| *slot >= next_slot);
    }

    // ----- segments -----

    /// From now on the sidecar of a sealed segment speaks for it.
    fn seal(&mut self, inner: &EngineInner, at: usize, segment: &Arc<Segment>, end: Position) {
        segment.set_end(end);
        self.forget_runs_below(inner, at, segment.manifest.limit());
    }

    /// What stands below a place is found in sidecars.
    fn forget_runs_below(&mut self, inner: &EngineInner, at: usize, limit: Position) {
        let log = self.logs[at].shared.id;
        for partition in inner.table.of_log(log) {
            partition.index().forget_below(limit);
        }
        let lanes = self.logs.len();
        let orphans = self.orphans.iter_mut().filter(|(slot, _)| **slot as usize % lanes == at);
        orphans.for_each(|(_, index)| index.forget_below(limit));
    }

    fn export(&self, inner: &EngineInner) {
        let segments = &self.manifest.segments;
        let recycled = segments.iter().filter(|segment| segment.state == SegmentState::Recycled).count();
        inner.keeper.disk_bytes.store(keeper::disk_bytes(&self.manifest), Ordering::Relaxed);
        inner.keeper.segments.store(segments.len() as u64, Ordering::Relaxed);
        inner.keeper.recycled.store(recycled as u64, Ordering::Relaxed);
    }
}

fn empty() -> PartitionIndex {
    PartitionIndex::new(0, 0, i64::MIN)
}

fn push(index: &mut PartitionIndex, slot: u32, run: Run) -> Result<()> {
    if index.next_offset != run.base_offset {
        return Err(out_of_order(slot, run.base_offset, index.next_offset));
    }
    index.push(run, true);
    Ok(())
}

fn out_of_order(slot: u32, found: u64, expected: u64) -> Error {
    contradiction(format!("slot {slot} goes on at offset {found}, and offset {expected} comes next"))
}

/// Whole frames that no engine writes one behind the other.
fn contradiction(reason: String) -> Error {
    Error::Damaged { file: "the log".to_owned(), position: 0, file_offset: 0, bytes: 0, reason }
}
