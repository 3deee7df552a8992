//! Statistics as values with names: the very fields of [`Stats`], in the form that their JSON has.
//!
//! Invariant: nothing is left out. A field that is added to the statistics does not compile until it stands here.

use super::value::Value;
use crate::engine::RecoverySummary;
use crate::io::IoReport;
use crate::stats::{CleanerStats, LaneStats, OutsideLog, OutsideStats, Stats};
use crate::transaction::TransactionStats;

/// The admin socket, as the statistics show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AdminReport {
    /// Whether other processes can ask.
    pub listening: bool,
    /// Why not: the option, the file system, a fork.
    pub reason: Option<String>,
    /// Processes that are connected.
    pub connections: u64,
    /// What they asked for since the engine was opened.
    pub requests: u64,
    /// Connections that were cut off or turned away, and requests that could not be read.
    pub refused: u64,
}

/// A map of all fields of a structure.
macro_rules! map {
    ($from:expr, $type:ident { $($field:ident),* $(,)? }) => {{
        // Without `..`: a new field is an error here.
        let $type { $($field),* } = $from;
        Value::Map(vec![ $( (stringify!($field).to_owned(), Value::from($field)), )* ])
    }};
}

impl From<Stats> for Value {
    fn from(stats: Stats) -> Value {
        map!(
            stats,
            Stats {
                io,
                lanes,
                topics,
                partitions,
                disk_bytes,
                segments,
                segments_recycled,
                segments_prepared,
                cleaner,
                tail_cache_bytes,
                index_cache_bytes,
                index_bytes,
                cold_reads,
                cold_read_bytes,
                cold_waits,
                read_ahead_abandoned,
                read_ahead_bytes,
                withheld_records,
                clock_ahead_ms,
                interceptor_failures,
                transactions,
                no_space,
                poisoned,
                opened_in_us,
                recovery,
                outside,
                admin,
            }
        )
    }
}

impl From<CleanerStats> for Value {
    fn from(stats: CleanerStats) -> Value {
        map!(stats, CleanerStats { bytes, segments, copies, is_idle })
    }
}

impl From<TransactionStats> for Value {
    fn from(stats: TransactionStats) -> Value {
        map!(
            stats,
            TransactionStats {
                open,
                prepared,
                unresolved,
                oldest_prepared_age_ms,
                committed,
                rolled_back,
                checks,
                checker_failures
            }
        )
    }
}

impl From<IoReport> for Value {
    fn from(report: IoReport) -> Value {
        map!(report, IoReport { backend, direct, reason })
    }
}

impl From<RecoverySummary> for Value {
    fn from(summary: RecoverySummary) -> Value {
        map!(summary, RecoverySummary { created, clean, torn_bytes, manifest_copy_mended })
    }
}

impl From<OutsideStats> for Value {
    fn from(stats: OutsideStats) -> Value {
        map!(stats, OutsideStats { manifest_sequence, refreshes, refreshed_ms_ago, logs })
    }
}

impl From<OutsideLog> for Value {
    fn from(log: OutsideLog) -> Value {
        map!(log, OutsideLog { log, generation, durable, read_to, withheld_records })
    }
}

impl From<AdminReport> for Value {
    fn from(report: AdminReport) -> Value {
        map!(report, AdminReport { listening, reason, connections, requests, refused })
    }
}

impl From<crate::io::WriteStrategy> for Value {
    fn from(strategy: crate::io::WriteStrategy) -> Value {
        strategy.name().into()
    }
}

impl From<LaneStats> for Value {
    fn from(stats: LaneStats) -> Value {
        map!(
            stats,
            LaneStats {
                lane,
                groups,
                frames,
                records,
                payload_bytes,
                log_bytes,
                device_bytes,
                zero_fill_bytes,
                writes,
                flushes,
                wakeups,
                stalls,
                strategy,
                strategy_changes,
                nice,
                streaming,
                in_flight,
                tail,
                durable,
                segments,
                segment_waits,
                withheld_records,
                left_idle,
                left_full,
                group_size_log2,
            }
        )
    }
}
