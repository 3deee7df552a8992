//! A snapshot of what the engine does. Counters are read one by one, so they may be a moment apart.

use crate::engine::{EngineInner, RecoverySummary};
use crate::io::{IoReport, WriteStrategy};
use crate::partition::read_ahead::ColdCounters;
use crate::transaction::TransactionStats;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// Statistics of an engine since it was opened.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// What it runs on, and why.
    pub io: IoReport,
    /// One entry for each lane.
    pub lanes: Vec<LaneStats>,
    /// Topics.
    pub topics: usize,
    /// Partitions of all topics.
    pub partitions: usize,
    /// Bytes of all segment files.
    pub disk_bytes: u64,
    /// Segment files, those waiting to be used among them.
    pub segments: u64,
    /// Segment files that were retired and wait to be used again.
    pub segments_recycled: u64,
    /// Segments that are ready for a lane, every block written.
    pub segments_prepared: u64,
    /// What the cleaner did.
    pub cleaner: CleanerStats,
    /// Memory of the tail caches.
    pub tail_cache_bytes: u64,
    /// Memory of the index page cache.
    pub index_cache_bytes: u64,
    /// Memory of the resident indexes.
    pub index_bytes: u64,
    /// Reads of segment files for consumers.
    pub cold_reads: u64,
    /// Bytes of these reads.
    pub cold_read_bytes: u64,
    /// How often a consumer had to wait for one of them.
    pub cold_waits: u64,
    /// Runs of records that were read ahead for a consumer that then went elsewhere.
    pub read_ahead_abandoned: u64,
    /// Memory of what is being read ahead, or was and is not given out yet, of all consumers.
    pub read_ahead_bytes: u64,
    /// Records that are durable and not visible yet.
    pub withheld_records: u64,
    /// How far the wall clock has jumped ahead since the engine was opened, ms. Records do not get older by it:
    /// time retention goes on as if it had not, until the clock comes back,
    /// [`Engine::accept_clock`](crate::Engine::accept_clock) says that it is right, or the engine is opened again.
    pub clock_ahead_ms: u64,
    /// Failures of interceptors that failed no call: of those that are best effort, and panics of those that were told
    /// of what was done already.
    pub interceptor_failures: u64,
    /// Transactions.
    pub transactions: TransactionStats,
    /// The disk is full: records are refused, everything else goes on.
    pub no_space: bool,
    /// The first failure, if the engine is poisoned.
    pub poisoned: Option<String>,
    /// How long opening took.
    pub opened_in_us: u64,
    /// What opening found.
    pub recovery: RecoverySummary,
    /// Only with [`Engine::open_read_only`](crate::Engine::open_read_only): what can be told from outside. Then there
    /// are no lanes here, and what the writer counts is known to the writer alone.
    pub outside: Option<OutsideStats>,
    /// Whether other processes can ask this one.
    pub admin: crate::admin::AdminReport,
}

/// What the cleaner did since the engine was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CleanerStats {
    /// Bytes that it has read and written.
    pub bytes: u64,
    /// Segments that it has copied from.
    pub segments: u64,
    /// Copies that it has made of them.
    pub copies: u64,
    /// It has nothing to do, until something changes.
    pub is_idle: bool,
}

/// What a reader from outside knows of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OutsideStats {
    /// Commits of the manifest so far.
    pub manifest_sequence: u64,
    /// How often this engine looked for news.
    pub refreshes: u64,
    /// When it looked last.
    pub refreshed_ms_ago: u64,
    /// One entry for each log.
    pub logs: Vec<OutsideLog>,
}

/// What a reader from outside knows of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct OutsideLog {
    /// The log.
    pub log: u32,
    /// One more with each opening by a writer.
    pub generation: u32,
    /// Everything below is known to be durable, and shown.
    pub durable: u64,
    /// Whole frames were seen up to there.
    pub read_to: u64,
    /// Records that are withheld.
    pub withheld_records: u64,
}

/// Statistics of a lane since the engine was opened.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LaneStats {
    /// The lane.
    pub lane: u32,
    /// Batches taken from senders.
    pub groups: u64,
    /// Frames written, bookkeeping among them.
    pub frames: u64,
    /// Records taken.
    pub records: u64,
    /// Their bytes in the record layout.
    pub payload_bytes: u64,
    /// Bytes of all frames.
    pub log_bytes: u64,
    /// Bytes sent to the device: frames, pages written again, zeros and headers of prepared segments.
    pub device_bytes: u64,
    /// The zeros among them.
    pub zero_fill_bytes: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes the device was asked for; a durable write counts as one.
    pub flushes: u64,
    /// How often the lane went to sleep.
    pub wakeups: u64,
    /// Durable writes that took far longer than their fellows.
    pub stalls: u64,
    /// How small durable writes are done now.
    pub strategy: WriteStrategy,
    /// How often that was changed because of stalls.
    pub strategy_changes: u64,
    /// Niceness of the lane's thread: `lane_nice`, if the process may set it.
    pub nice: i32,
    /// Whether the lane writes into blocks that were never written, and flushes many writes at once.
    pub streaming: bool,
    /// Writes in flight now.
    pub in_flight: u64,
    /// The position behind the last frame.
    pub tail: u64,
    /// The end of the contiguous durable prefix.
    pub durable: u64,
    /// Segments begun.
    pub segments: u64,
    /// How often the lane waited for a segment.
    pub segment_waits: u64,
    /// Records withheld by this lane.
    pub withheld_records: u64,
    /// Writes that left because nothing was in flight.
    pub left_idle: u64,
    /// Writes that left because enough waited.
    pub left_full: u64,
    /// Batches by size: entry n counts those of 2^n up to 2^(n+1) records.
    pub group_size_log2: Vec<u64>,
}

pub(crate) fn collect(inner: &EngineInner) -> Stats {
    let lanes = inner.lanes.iter().zip(&inner.logs).map(|(lane, log)| {
        let counters = &lane.counters;
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let zero_fill_bytes = get(&counters.prepared_bytes);
        LaneStats {
            lane: lane.lane,
            groups: get(&counters.groups),
            frames: get(&counters.frames),
            records: get(&counters.records),
            payload_bytes: get(&counters.payload_bytes),
            log_bytes: get(&counters.log_bytes),
            device_bytes: get(&counters.written_bytes) + zero_fill_bytes,
            zero_fill_bytes,
            writes: get(&counters.writes),
            flushes: get(&counters.flushes),
            wakeups: get(&counters.wakeups),
            stalls: get(&counters.stalls),
            strategy: WriteStrategy::ALL
                [usize::from(counters.strategy.load(Ordering::Relaxed)) % WriteStrategy::ALL.len()],
            strategy_changes: get(&counters.strategy_changes),
            nice: counters.nice.load(Ordering::Relaxed),
            streaming: counters.streaming.load(Ordering::Relaxed),
            in_flight: get(&counters.in_flight),
            tail: get(&counters.tail),
            durable: log.durable().0,
            segments: get(&counters.segments) + 1,
            segment_waits: get(&counters.segment_waits),
            withheld_records: get(&counters.withheld_records),
            left_idle: get(&counters.left_idle),
            left_full: get(&counters.left_full),
            group_size_log2: counters.group_size_log2.iter().map(get).collect(),
        }
    });
    let lanes: Vec<LaneStats> = lanes.collect();
    // Nobody who creates a topic waits until all of them were looked at.
    let topics: Vec<_> = inner.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
    let index_bytes = topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.index().memory_bytes() as u64)
        .sum();
    let cold = |counter: fn(&ColdCounters) -> &AtomicU64| {
        let logs = inner.logs.iter().chain(&inner.older_logs);
        logs.map(|log| counter(&log.cold).load(Ordering::Relaxed)).sum()
    };
    let outside = inner.outside_stats();
    let withheld_outside = |outside: &OutsideStats| outside.logs.iter().map(|log| log.withheld_records).sum::<u64>();
    Stats {
        io: inner.storage.report(),
        topics: topics.len(),
        partitions: inner.table.count(),
        disk_bytes: inner.keeper.disk_bytes.load(Ordering::Relaxed),
        segments: inner.keeper.segments.load(Ordering::Relaxed),
        segments_recycled: inner.keeper.recycled.load(Ordering::Relaxed),
        segments_prepared: inner.keeper.prepared.load(Ordering::Relaxed),
        cleaner: CleanerStats {
            bytes: inner.keeper.cleaned_bytes.load(Ordering::Relaxed),
            segments: inner.keeper.cleaned_segments.load(Ordering::Relaxed),
            copies: inner.keeper.copies.load(Ordering::Relaxed),
            is_idle: inner.keeper.is_clean.load(Ordering::Relaxed),
        },
        tail_cache_bytes: inner.logs.iter().map(|log| log.tail.bytes()).sum(),
        index_cache_bytes: inner.pages.bytes(),
        index_bytes,
        cold_reads: cold(|cold| &cold.reads),
        cold_read_bytes: cold(|cold| &cold.bytes),
        cold_waits: cold(|cold| &cold.waits),
        read_ahead_abandoned: cold(|cold| &cold.abandoned),
        read_ahead_bytes: cold(|cold| &cold.held_bytes),
        clock_ahead_ms: inner.keeper.clock_ahead_ms.load(Ordering::Relaxed),
        withheld_records: lanes.iter().map(|lane| lane.withheld_records).sum::<u64>()
            + outside.as_ref().map_or(0, withheld_outside),
        interceptor_failures: inner.interceptor_failures.load(Ordering::Relaxed),
        transactions: inner.transactions.stats(inner.clock.wall_ms()),
        no_space: inner.lanes.iter().any(|lane| lane.supply.is_full()),
        poisoned: inner.latch.check().err().map(|cause| cause.to_string()),
        opened_in_us: inner.opened_in_us,
        recovery: inner.recovered.clone(),
        outside,
        admin: inner.admin.report(),
        lanes,
    }
}
