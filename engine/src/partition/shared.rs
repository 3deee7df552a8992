//! What lanes and readers share: the logs with their segments, the topics with their partitions.
//!
//! Invariants:
//! - A segment is in its log's table before the first run points into it, and leaves the table before
//!   its file is used again; who still holds the [`Segment`] keeps the file from being reused.
//! - A segment may leave at any time, for a copy of it or for good; who has looked something up in it looks again.
//! - A partition's index grows only by what is durable.

use super::finished::FinishedTo;
use super::index::{PartitionIndex, Run};
use super::page_cache::PageCache;
use super::published::Published;
use super::read_ahead::ColdCounters;
use super::segments::Segments;
use super::sidecar::Sidecar;
use super::tail_cache::TailCache;
use crate::error::{Error, Result};
use crate::io::{Access, File, Storage};
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use crate::log::segment::file_name;
use crate::sync::{Signal, lock};
use crate::topic::Retention;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

/// A segment of a log, as readers see it.
pub(crate) struct Segment {
    pub(crate) manifest: ManifestSegment,
    /// The end of its frames once nothing more is written to it; zero before.
    end: AtomicU64,
    file: Mutex<Weak<dyn File>>,
    pub(crate) sidecar: Mutex<Option<Sidecar>>,
}

impl Segment {
    pub(crate) fn new(manifest: ManifestSegment) -> Segment {
        let none: Weak<crate::io::ClosedFile> = Weak::new();
        Segment { manifest, end: AtomicU64::new(manifest.end.0), file: Mutex::new(none), sidecar: Mutex::new(None) }
    }

    /// The end of its frames, if it is full or sealed.
    pub(crate) fn end(&self) -> Option<Position> {
        match self.end.load(Ordering::Acquire) {
            0 => None,
            end => Some(Position(end)),
        }
    }

    pub(crate) fn set_end(&self, end: Position) {
        self.end.store(end.0, Ordering::Release);
    }

    /// Its file; opened when somebody needs it and closed when nobody does, so that a long log does
    /// not cost a descriptor for each segment.
    pub(crate) fn file(&self, storage: &dyn Storage) -> Result<Arc<dyn File>> {
        let mut file = lock(&self.file);
        if let Some(open) = file.upgrade() {
            return Ok(open);
        }
        let name = file_name(self.manifest.file);
        let opened = storage.open(&name, Access::Read).map_err(|error| Error::io("open", &name, None, &error))?;
        *file = Arc::downgrade(&opened);
        Ok(opened)
    }
}

/// One log, as readers see it.
pub(crate) struct LogShared {
    pub(crate) id: u32,
    /// Where it began; see [`super::history`].
    pub(crate) first_base: Position,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) tail: TailCache,
    pub(crate) pages: Arc<PageCache>,
    pub(crate) cold: ColdCounters,
    /// Nothing may be written, not even what is made anew.
    pub(crate) read_only: bool,
    segments: RwLock<Segments>,
    /// How often a segment has left.
    departures: AtomicU64,
    /// The contiguous durable prefix ends here.
    pub(crate) durable: AtomicU64,
    /// Nothing below this position is withheld any more, and what was published of it stands in the indexes.
    pub(crate) withheld_from: AtomicU64,
}

impl LogShared {
    pub(crate) fn new(
        id: u32,
        first_base: Position,
        storage: Arc<dyn Storage>,
        tail: TailCache,
        pages: Arc<PageCache>,
        read_only: bool,
    ) -> LogShared {
        LogShared {
            id,
            first_base,
            storage,
            tail,
            pages,
            cold: ColdCounters::default(),
            read_only,
            segments: RwLock::default(),
            departures: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            withheld_from: AtomicU64::new(0),
        }
    }

    pub(crate) fn add_segment(&self, segment: Arc<Segment>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if segments.add(segment) {
            self.departures.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn remove_segment(&self, segment: &Segment) -> Option<Arc<Segment>> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        // Before anybody can miss it.
        self.departures.fetch_add(1, Ordering::AcqRel);
        segments.remove(segment)
    }

    /// Puts a copy in the place of those it was made from.
    pub(crate) fn replace_segments(&self, sources: &[Arc<Segment>], copy: Arc<Segment>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        self.departures.fetch_add(1, Ordering::AcqRel);
        segments.replace(sources, copy);
    }

    /// Moves with each segment that leaves: what was found before must perhaps be looked up again.
    pub(crate) fn departures(&self) -> u64 {
        self.departures.load(Ordering::Acquire)
    }

    /// The segment that an address lies in.
    pub(crate) fn segment_at(&self, address: Position) -> Option<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).at(address).cloned()
    }

    /// The copy that stands for a place in the log.
    pub(crate) fn copy_for(&self, place: Position) -> Option<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).copy_for(place).cloned()
    }

    /// The first segment behind a place in the log.
    pub(crate) fn segment_behind(&self, place: Position) -> Option<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).behind(place).cloned()
    }

    /// All segments in the order of the log.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).all().cloned().collect()
    }

    /// Below this nothing is withheld any more, and the indexes have what was published.
    pub(crate) fn withheld_from(&self) -> Position {
        Position(self.withheld_from.load(Ordering::Acquire))
    }

    pub(crate) fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }
}

/// One topic.
pub(crate) struct TopicShared {
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    pub(crate) first_slot: u32,
    pub(crate) created_ms: i64,
    pub(crate) partitions: Vec<Arc<Partition>>,
    pub(crate) deleted: AtomicBool,
    /// Its partitions have it too, for who looks at a partition alone.
    pub(crate) retention: Arc<Mutex<Retention>>,
    /// Where the next record without key and partition goes.
    pub(crate) turn: AtomicU32,
}

impl TopicShared {
    /// Whether it still exists.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.deleted.load(Ordering::Acquire) { Err(self.gone()) } else { Ok(()) }
    }

    /// What is said of it to an engine that it is not of.
    #[cold]
    pub(crate) fn is_of_another_engine(&self) -> Error {
        let reason = "the handle is one of another engine; get one of this engine with `Engine::topic`".to_owned();
        Error::InvalidArgument { name: "topic", value: self.name.to_string(), reason }
    }

    /// What is said of it when it exists no more.
    #[cold]
    pub(crate) fn gone(&self) -> Error {
        Error::TopicDeleted { name: self.name.to_string() }
    }
}

/// One partition.
pub(crate) struct Partition {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
    pub(crate) slot: u32,
    pub(crate) lane: u32,
    /// The log that its lane writes.
    pub(crate) log: Arc<LogShared>,
    pub(crate) retention: Arc<Mutex<Retention>>,
    /// The logs it stood in before, oldest first; see [`super::history`].
    pub(crate) older: Box<[Arc<LogShared>]>,
    /// How far every group has come that reads it.
    pub(crate) finished_to: FinishedTo,
    /// Apart from what senders look at: the lane changes it with every publication.
    published: CachePadded<Published<PartitionIndex>>,
}

/// A partition by way of its topic, for batches on their way.
///
/// Counting references to the topic instead of the partition keeps the count on the sender's core: one
/// count for all partitions, where each of a thousand partitions had one that sender and lane took
/// from each other with every record.
#[derive(Clone)]
pub(crate) struct TopicPartition {
    topic: Arc<TopicShared>,
    index: u32,
}

impl TopicPartition {
    pub(crate) fn new(topic: &Arc<TopicShared>, index: u32) -> TopicPartition {
        TopicPartition { topic: topic.clone(), index }
    }
}

impl std::ops::Deref for TopicPartition {
    type Target = Partition;

    #[inline]
    fn deref(&self) -> &Partition {
        &self.topic.partitions[self.index as usize]
    }
}

impl Partition {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        topic: Arc<str>,
        partition: u32,
        slot: u32,
        lane: u32,
        log: Arc<LogShared>,
        retention: Arc<Mutex<Retention>>,
        older: Box<[Arc<LogShared>]>,
        index: PartitionIndex,
    ) -> Partition {
        let published = CachePadded::new(Published::new(index));
        let finished_to = FinishedTo::default();
        Partition { topic, partition, slot, lane, log, retention, older, finished_to, published }
    }

    /// The index, locked.
    #[inline]
    pub(crate) fn index(&self) -> MutexGuard<'_, PartitionIndex> {
        self.published.index()
    }

    /// Makes a durable run visible and wakes who waits for it.
    #[inline]
    pub(crate) fn publish(&self, run: Run, may_merge: bool) {
        self.published.publish(|index| index.push(run, may_merge));
    }

    /// Gives up what stands below an offset; it is durable that it is gone. Who waits for one of these
    /// records learns it.
    pub(crate) fn truncate(&self, first_offset: u64) {
        self.published.publish(|index| index.truncate(first_offset));
    }

    /// From now on `signal` moves with each publication.
    pub(crate) fn watch(&self, signal: &Arc<Signal>) {
        self.published.watch(signal);
    }

    pub(crate) fn unwatch(&self, signal: &Arc<Signal>) {
        self.published.unwatch(signal);
    }

    /// Wakes all watchers without a publication: the engine closes or the topic is gone.
    pub(crate) fn disturb(&self) {
        self.published.disturb();
    }
}
