//! Opening: from files to an engine that runs, or a refusal that changed nothing.
//!
//! Invariants:
//! - A directory that is not ours, or that another process has, stays as it is.
//! - Until everything is recovered nothing is written but the lock file, and pages that were read, once more.
//! - Lanes run only behind a manifest that says so; `open` returns when their first checkpoints are durable.

mod beginnings;
mod generation;
mod lanes;

use crate::bounds::WINDOW_BYTES;
use crate::consumer::group::groups::{Found, FoundProgress, Groups};
use crate::engine::{EngineInner, RecoverySummary, share_topic};
use crate::error::{Error, Result};
use crate::io::fork::{self};
use crate::io::{Block, BlockPool, Clock, File, Latch, PAGE, Storage};
use crate::keeper::{self, Keeper, KeeperShared};
use crate::lane::catalog::Catalog;
use crate::lane::handover::hand_over;
use crate::lane::lane::LaneParts;
use crate::lane::progress::Progress;
use crate::lane::recovery::{self, Hole, Recovered, RecoveryContext};
use crate::lane::resolving::{LogEnd, MissingPart, Unfinished, resolve};
use crate::lane::shared::{LaneShared, Message};
use crate::lane::state::LogState;
use crate::lane::supply::{Full, Prepared, SegmentSupply};
use crate::lane::thread;
use crate::lane::writer::BLOCK_BYTES;
use crate::log::manifest::{self, Manifest, ManifestFiles, ManifestLog, ManifestSegment, SealedLog, SegmentState};
use crate::log::position::Position;
use crate::log::segment::LOCK_FILE;
use crate::options::{Options, Recovery};
use crate::partition::history::logs_before;
use crate::partition::index::{PartitionIndex, Run};
use crate::partition::page_cache::PageCache;
use crate::partition::shared::{LogShared, Segment, TopicShared};
use crate::partition::table::PartitionTable;
use crate::partition::tail_cache::TailCache;
use crate::producer::dispatcher::Dispatcher;
use crate::producer::identity::NamedProducers;
use crate::reserve::{self, Level};
use crate::sync::{self, lock};
use crate::transaction;
use crate::transaction::registry::Transactions;
pub(crate) use beginnings::Beginnings;
use generation::note_ends;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Sealed segments with next to nothing in them, above which dead ones are looked for at opening.
const NEARLY_EMPTY_MAX: usize = 4;

pub(crate) fn open_error(path: &Path, error: &std::io::Error) -> Error {
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
pub(crate) struct Opening<'a> {
    pub(crate) path: &'a Path,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    /// What a repaired log begins with; else nothing.
    pub(crate) beginnings: Beginnings,
}

impl Opening<'_> {
    pub(crate) fn run(self, started_ns: u64) -> Result<EngineInner> {
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
        if !salvage {
            // What is in a copy. Nobody reads it any more; the files go with those that no manifest names.
            manifest.segments.retain(|segment| segment.state != SegmentState::Retired);
        }
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
            now_ms: self.clock.wall_ms(),
        };
        let mut recovered = Vec::new();
        let sealed = manifest.sealed_logs.iter().flat_map(|log| manifest.segments_of(log.id));
        recovery::check_files_are_there(&*self.storage, &sealed.collect::<Vec<_>>())?;
        for log in &manifest.logs {
            recovered.push(recovery::recover(&context, log.id)?);
        }
        self.beginnings.apply(&mut recovered);
        let catalog = recovered[0].state.catalog.clone();
        for log in &mut recovered {
            log.state.retain_known(&catalog);
            self.bound_originals(&mut log.state);
        }
        // A salvaged log stays as it was found.
        let unfinished = if salvage { Vec::new() } else { resolve_transactions(&manifest, &mut recovered)? };
        for log in &mut recovered {
            self.bound_outcomes(&mut log.state, &unfinished);
        }
        let summary = RecoverySummary {
            created,
            clean: recovered.iter().all(|log| log.clean),
            torn_bytes: recovered.iter().map(|log| log.torn_bytes).sum(),
            manifest_copy_mended: bad_copy,
        };
        let holes: Vec<Hole> = recovered.iter_mut().flat_map(|log| std::mem::take(&mut log.holes)).collect();
        let entered = match &files {
            Some(files) => self.enter_generation(&mut manifest, files, unsettled, &mut recovered, &unfinished)?,
            None => {
                for log in &recovered {
                    note_ends(&mut manifest, log);
                }
                Entered::default()
            }
        };
        let mut parts = self.share(&manifest, &catalog, &recovered);
        let mut inner = EngineInner {
            path: self.path.to_owned(),
            latch: Latch::new(),
            lanes: Vec::new(),
            logs: std::mem::take(&mut parts.logs),
            older_logs: std::mem::take(&mut parts.older_logs),
            table: parts.table,
            keeper: Arc::new(KeeperShared::default()),
            pages: parts.pages,
            topics: RwLock::new(parts.topics),
            opened_in_us: 0,
            holes,
            recovered: summary,
            next_ids: Mutex::new((catalog.next_topic, catalog.next_slot)),
            producers: Mutex::new(NamedProducers::of(&catalog)),
            groups: Groups::default(),
            dispatcher: Arc::new(Dispatcher::default()),
            threads: Mutex::new(Vec::new()),
            fork: fork::remember(),
            closed: AtomicBool::new(false),
            close_result: Mutex::new(None),
            lock_file: Mutex::new(lock_file),
            following: None,
            admin: Arc::default(),
            interceptor_failures: Arc::default(),
            spare: Arc::default(),
            transactions: Transactions::new(&manifest),
            storage: self.storage,
            clock: self.clock,
            options: self.options,
        };
        let mut found = progress_of(&recovered);
        inner.transactions.open(&mut found, &recovered, &unfinished, inner.options.outcomes_max as usize);
        let unfinished = parts_of(&unfinished, &recovered);
        if let Some(files) = files
            && let Err(error) = start(&mut inner, manifest, files, recovered, entered)
                .and_then(|()| transaction::registry::finish(&inner, &unfinished))
        {
            // Threads that run hold locks; whoever opens next would wait for them.
            if !lock(&inner.threads).is_empty() {
                let _ = inner.close();
            }
            return Err(inner.latch.check().map_or_else(Error::Io, |()| error));
        }
        if !inner.lanes.is_empty() {
            let was_clean = inner.recovered.clean;
            Groups::open(&inner, &catalog, found, was_clean);
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
        write_holder(&*file, "");
        Ok(file)
    }

    fn new_manifest(&self) -> Manifest {
        Manifest {
            engine_id: self.storage.random(),
            sequence: 0,
            created_ms: self.clock.wall_ms(),
            window_bytes: WINDOW_BYTES,
            next_file: 0,
            next_copy: Position::COPIES,
            logs: self.new_logs(),
            sealed_logs: Vec::new(),
            segments: Vec::new(),
        }
    }

    fn new_logs(&self) -> Vec<ManifestLog> {
        let lanes = self.options.lanes.unwrap_or_else(Options::default_lanes);
        let (generation, next_base, first_base) = (0, Position(1 << 20), Position(1 << 20));
        (0..lanes).map(|id| ManifestLog { id, generation, next_base, first_base }).collect()
    }

    fn bound_originals(&self, state: &mut LogState) {
        state.originals.bound(self.options.originals_max as usize);
    }

    fn bound_outcomes(&self, state: &mut LogState, unfinished: &[Unfinished]) {
        let is_pending = |key| unfinished.iter().any(|unfinished| unfinished.key == key);
        state.transactions.bound(self.options.outcomes_max as usize, is_pending);
    }

    /// Seals what was recovered, and makes what is written next. With another number of lanes `recovered` becomes
    /// what the new logs begin with.
    fn enter_generation(
        &self,
        manifest: &mut Manifest,
        files: &ManifestFiles,
        unsettled: Option<usize>,
        recovered: &mut Vec<Recovered>,
        unfinished: &[Unfinished],
    ) -> Result<Entered> {
        self.leave_generation(manifest, files, unsettled, recovered)?;
        let (left, first_segments) = match self.other_lanes(manifest) {
            None => (Vec::new(), self.begin_generation(manifest, files, recovered)?),
            Some(lanes) => {
                let mut states = hand_over(&recovered.iter().map(|log| &log.state).collect::<Vec<_>>(), lanes)?;
                for state in &mut states {
                    self.bound_originals(state);
                    self.bound_outcomes(state, unfinished);
                }
                let old: Vec<u32> = manifest.logs.iter().map(|log| log.id).collect();
                let (new, first_segments) = self.change_lanes(manifest, files, states)?;
                (old.into_iter().zip(std::mem::replace(recovered, new)).collect(), first_segments)
            }
        };
        self.tidy_up(manifest, left.iter().map(|(_, log)| log).chain(&*recovered))?;
        Ok(Entered { left, first_segments })
    }

    fn share(&self, manifest: &Manifest, catalog: &Catalog, recovered: &[Recovered]) -> SharedParts {
        let pages = Arc::new(PageCache::new(self.options.index_cache_bytes));
        let lanes = manifest.logs.len() as u64;
        let read_only = self.options.recovery == Recovery::Salvage;
        let share_log = |id: u32, first_base: Position, tail: TailCache| {
            let shared = LogShared::new(id, first_base, self.storage.clone(), tail, pages.clone(), read_only);
            for segment in manifest.segments_of(id) {
                if segment.state == SegmentState::Sealed {
                    shared.add_segment(Arc::new(Segment::new(segment)));
                    shared.durable.fetch_max(segment.end.0, Ordering::Relaxed);
                }
            }
            shared
        };
        let mut logs = Vec::new();
        for (entry, log) in manifest.logs.iter().zip(recovered) {
            let tail = TailCache::new(self.options.tail_cache_bytes / lanes);
            let shared = share_log(entry.id, entry.first_base, tail);
            // Of the log that goes on behind this, nothing is withheld yet.
            let withheld_from = log.state.oldest_withheld(entry.id).unwrap_or(entry.next_base);
            shared.withheld_from.store(withheld_from.0, Ordering::Relaxed);
            logs.push(Arc::new(shared));
        }
        // Nothing of them stands in memory.
        let older = |entry: &SealedLog| Arc::new(share_log(entry.id, entry.first_base, TailCache::new(0)));
        let older_logs: Vec<_> = manifest.sealed_logs.iter().map(older).collect();
        let older_of = |slot: u32| logs_before(manifest, &older_logs, slot);
        let table = Arc::new(PartitionTable::default());
        let mut topics = BTreeMap::new();
        for entry in catalog.topics.values() {
            let index = |slot: u32| {
                let log = &recovered[slot as usize % recovered.len()];
                let before = log.before.partition(slot);
                PartitionIndex::new(log.state.partition(slot).first_offset, before.next_offset, before.timestamp_max_ms)
            };
            let topic = share_topic(entry, &logs, older_of, index);
            for partition in &topic.partitions {
                table.insert(partition.clone());
            }
            topics.insert(entry.name.clone(), topic);
        }
        for log in recovered {
            show_runs(&log.runs, &table);
        }
        SharedParts { pages, logs, older_logs, table, topics }
    }
}

/// Finds out what became of transactions that were on their way.
fn resolve_transactions(manifest: &Manifest, recovered: &mut [Recovered]) -> Result<Vec<Unfinished>> {
    let last: Vec<_> = recovered.iter().map(|log| log.used.last().copied()).collect();
    let mut logs: Vec<LogEnd<'_>> = manifest
        .logs
        .iter()
        .zip(recovered)
        .map(|(log, found)| LogEnd {
            log: log.id,
            end: found.used.last().map(|(_, end)| *end),
            state: &mut found.state,
        })
        .collect();
    resolve(&mut logs).map_err(|MissingPart { part }| {
        let at = manifest.logs.iter().position(|log| log.id == part.log).expect("its end is known");
        let (segment, end) = last[at].expect("its end is known");
        let reason = format!(
            "the log ends here, and a transaction was decided when what it had prepared at {} was durable",
            part.position
        );
        segment.damage(end, segment.limit().0.saturating_sub(end.0), reason)
    })
}

/// The lanes that have parts to be ended, in the order of the decisions.
fn parts_of(unfinished: &[Unfinished], recovered: &[Recovered]) -> Vec<(u32, Unfinished)> {
    let lanes = |part: &Unfinished| -> Vec<(u32, Unfinished)> {
        let has_it = |(_, log): &(u32, &Recovered)| log.state.transactions.get(part.key).is_some();
        (0..).zip(recovered).filter(has_it).map(|(lane, _)| (lane, *part)).collect()
    };
    unfinished.iter().flat_map(lanes).collect()
}

/// How far groups had come.
fn progress_of(recovered: &[Recovered]) -> Found {
    let of = |log: &Recovered| -> Vec<_> {
        let groups = &log.state.groups;
        let found = |(group, slot, progress): (u32, u32, &Progress)| {
            let (progress, lost) = (progress.clone(), groups.lost(group, slot));
            ((group, slot), FoundProgress { progress, lost, held: Vec::new() })
        };
        groups.iter().map(found).collect()
    };
    recovered.iter().flat_map(of).collect()
}

/// What a generation begins with.
#[derive(Default)]
struct Entered {
    /// The first segment of each lane.
    first_segments: Vec<Prepared>,
    /// The logs of another number of lanes that were left, with their ids.
    left: Vec<(u32, Recovered)>,
}

struct SharedParts {
    pages: Arc<PageCache>,
    logs: Vec<Arc<LogShared>>,
    older_logs: Vec<Arc<LogShared>>,
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
        for at in of_slot {
            index.push(runs[*at].1, true);
        }
    }
}

/// What recovery sealed of a log, for the keeper; the oldest last.
fn unindexed(
    place: usize,
    log: &Recovered,
    resident_from: Option<Position>,
) -> impl Iterator<Item = (usize, Full)> + '_ {
    log.used.iter().rev().map(move |(segment, end)| {
        let full = Full {
            manifest: *segment,
            end: *end,
            next: *end,
            withheld: log.withheld.get(&segment.base).cloned().unwrap_or_default(),
            resident: resident_from.is_some_and(|from| segment.limit() > from),
            last_append_ms: segment.last_append_ms,
        };
        (place, full)
    })
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
    entered: Entered,
) -> Result<()> {
    let Entered { first_segments, left } = entered;
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
                supply.set_no_space(Some((first_segments[lane].manifest.bytes, 0)), false);
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
    keeper.logs = inner.logs.iter().chain(&inner.older_logs).cloned().collect();
    for (lane, log) in recovered.iter().enumerate() {
        let resident_from = log.runs.first().map(|(_, run)| run.published_at());
        keeper.unindexed.extend(unindexed(lane, log, resident_from));
    }
    for (id, log) in &left {
        // None of their runs is in memory.
        let place = keeper.logs.iter().position(|shared| shared.id == *id);
        keeper.unindexed.extend(place.into_iter().flat_map(|place| unindexed(place, log, None)));
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
    let keeper_thread = sync::thread::spawn("ringlane-keeper", move || keeper.run())
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
    if first_segments_are_reserved || !left.is_empty() {
        // With those checkpoints, what an earlier opening took from the reserve may be spent, and what the logs
        // that were left had of bookkeeping is.
        inner.keeper.look_for_spent.store(true, Ordering::Release);
        inner.keeper.signal.notify();
    }
    Ok(())
}

/// The program that this process runs, as it was called.
pub(crate) fn program() -> String {
    std::env::args_os().next().map_or("unknown".into(), |name| name.to_string_lossy().into_owned())
}

/// Notes who holds the engine, and why it has no admin socket if so.
pub(crate) fn write_holder(file: &dyn File, no_admin_because: &str) {
    let mut text = format!("{} {}", std::process::id(), program()).replace('\n', " ").into_bytes();
    text.truncate(PAGE / 2);
    text.push(b'\n');
    text.extend_from_slice(no_admin_because.as_bytes());
    text.resize(PAGE, 0);
    let block = Block::copy_of(&text);
    // A full disk must not keep anybody out: the name of the holder is a courtesy.
    let _ = file.write_at(block.slice(0, PAGE), 0);
}

/// Who holds the engine, as it wrote there.
pub(crate) fn read_holder(file: &dyn File) -> (u32, String) {
    let text = read_lock_file(file);
    let line = text.lines().next().unwrap_or_default();
    let (pid, program) = line.split_once(' ').unwrap_or((line, "unknown"));
    (pid.parse().unwrap_or(0), program.to_owned())
}

/// Why who holds the engine has no admin socket, if it says so.
pub(crate) fn read_no_admin_because(file: &dyn File) -> Option<String> {
    let text = read_lock_file(file);
    text.lines().nth(1).filter(|reason| !reason.is_empty()).map(str::to_owned)
}

fn read_lock_file(file: &dyn File) -> String {
    let mut block = Block::zeroed(PAGE);
    let read = file.read_at(block.as_mut_slice(), 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&block.as_mut_slice()[..read]).into_owned();
    text.trim_end_matches('\0').to_owned()
}
