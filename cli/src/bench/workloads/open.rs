//! Opening: an empty engine, and a log of one-record runs in 10,000 partitions whose writer was killed.

use super::feed;
use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::measure::median_of;
use crate::bench::other_process::{self, Opened, Until};
use crate::bench::report::{Limit, Opening, Report, Row, in_words};
use crate::bench::setup::{Setup, drop_page_cache, raw};
use crate::failure::{Failure, Result};
use ringlane::Options;
use std::path::Path;
use std::time::Duration;

/// How many.
pub const PARTITIONS: u32 = 10_000;
/// What opening may take beside reading a segment.
pub const BESIDE_READING: Duration = Duration::from_millis(50);
/// What opening an empty engine may take: a goal of its own, there is nothing to read.
const EMPTY: Duration = Duration::from_millis(20);

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    empty(setup, report)?;
    after_a_kill(setup, report)
}

fn empty(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("open-empty");
    let mut opened = Vec::new();
    for slice in 0..setup.slices {
        let path = setup.path(&format!("empty-{slice}"));
        opened.push(other_process::open(setup, &path, 0)?);
        remove(&path)?;
    }
    let row = row("open-empty", &opened, EMPTY, None);
    let words = in_megabytes(&row);
    report.row(row, &format!("20 ms, the goal; {words}"))
}

fn after_a_kill(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("open");
    let path = setup.path("open");
    let segment_bytes = setup.engine_options(Options::new())?.segment_bytes_max;
    let file = RawFile::prepared(&setup.directory, segment_bytes).map_err(raw)?;
    let choices = [(1 << 20, 4), (1 << 20, 1), (256 << 10, 4), (256 << 10, 1)];
    let (block_bytes, depth) = feed::better_blocks(&file, Operation::Read, &choices, segment_bytes)?;
    let (mut limits, mut opened) = (Vec::new(), Vec::new());
    let (mut rounds, mut memory_peak_writing_bytes) = (0, 0);
    for slice in 0..setup.slices {
        // The whole log first, then as much more as fills the segment at hand: each opening meets a log
        // whose writer was killed at work.
        let bytes = if slice == 0 { setup.log_bytes } else { segment_bytes };
        let killed =
            other_process::write_and_kill(setup, &path, PARTITIONS, Until { log_bytes: bytes, ..Until::default() })?;
        rounds += killed.rounds;
        memory_peak_writing_bytes = memory_peak_writing_bytes.max(killed.memory_peak_bytes);
        drop_page_cache(&path)?;
        let read =
            limit::blocks(&file, Operation::Read, block_bytes, depth, Amount::Bytes(segment_bytes)).map_err(raw)?;
        limits.push(read);
        opened.push(other_process::open(setup, &path, rounds)?);
    }
    let reading = median_of(&limits, |read| Some(read.elapsed.as_secs_f64())).unwrap_or(0.0);
    let limit = Duration::from_secs_f64(reading) + BESIDE_READING;
    let row = row("open", &opened, limit, Some(memory_peak_writing_bytes));
    let words = in_words("50 ms and raw sequential reads of a segment", block_bytes, depth, &file);
    let figures = in_megabytes(&row);
    report.row(row, &format!("{words}; {figures}"))?;
    remove(&path)
}

fn row(workload: &'static str, opened: &[Opened], limit: Duration, memory_peak_writing_bytes: Option<u64>) -> Row {
    let limit = Limit { p50_us: Some(limit.as_secs_f64() * 1e6), ..Limit::default() };
    let most = |figure: fn(&Opened) -> u64| opened.iter().map(figure).max().unwrap_or(0);
    Row {
        workload,
        p50_us: median_of(opened, |opened| Some(opened.opened_us)),
        io_backend: opened.first().map(|opened| opened.io_backend.clone()),
        lanes: opened.first().map(|opened| opened.lanes),
        opening: Some(Opening {
            disk_bytes: most(|opened| opened.disk_bytes),
            memory_peak_bytes: most(|opened| opened.memory_peak_bytes),
            memory_peak_writing_bytes,
            records_read: opened.iter().map(|opened| opened.records_read).sum(),
        }),
        ..Row::default()
    }
    .with_limit(limit)
    .with_latency_ratio()
}

fn in_megabytes(row: &Row) -> String {
    let Some(opening) = &row.opening else { return String::new() };
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let writing = opening.memory_peak_writing_bytes.map(|bytes| format!(", {:.1} MB while writing", mb(bytes)));
    let (disk, memory) = (mb(opening.disk_bytes), mb(opening.memory_peak_bytes));
    format!("{disk:.1} MB on disk, memory at most {memory:.1} MB{}", writing.unwrap_or_default())
}

fn remove(path: &Path) -> Result {
    std::fs::remove_dir_all(path).map_err(Failure::io(format!("removing {}", path.display())))
}
