//! The sealed index at size: one-record runs in 10,000 partitions, as many as asked for, whose writer was
//! killed; then opening, random places, and one partition from its beginning to its end, with memory.

use super::feed;
use super::open::{BESIDE_READING, PARTITIONS};
use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::measure::median_of;
use crate::bench::other_process::{self, Sought, Until};
use crate::bench::report::{Indexing, Limit, Report, Row, in_words};
use crate::bench::setup::{Setup, drop_page_cache, raw};
use crate::failure::{Failure, Result};
use ringlane::Options;
use std::time::{Duration, Instant};

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("index");
    let path = setup.path("index");
    let segment_bytes = setup.engine_options(Options::new())?.segment_bytes_max;
    let file = RawFile::prepared(&setup.directory, segment_bytes).map_err(raw)?;
    let choices = [(1 << 20, 4), (1 << 20, 1), (256 << 10, 4), (256 << 10, 1)];
    let (mut limits, mut slices) = (Vec::new(), Vec::new());
    let (mut rounds, mut filled_s, mut memory_peak_writing_bytes) = (0, 0.0, 0);
    let (mut block_bytes, mut depth) = choices[0];
    for slice in 0..setup.slices {
        // All of it first, then as much more as fills the segment at hand.
        let until = if slice == 0 {
            Until { records: setup.index_records, time: Some(setup.fill_max), ..Until::default() }
        } else {
            Until { log_bytes: segment_bytes, ..Until::default() }
        };
        let begin = Instant::now();
        let killed = other_process::write_and_kill(setup, &path, PARTITIONS, until)?;
        rounds += killed.rounds;
        memory_peak_writing_bytes = memory_peak_writing_bytes.max(killed.memory_peak_bytes);
        if slice == 0 {
            filled_s = begin.elapsed().as_secs_f64();
            (block_bytes, depth) = feed::better_blocks(&file, Operation::Read, &choices, segment_bytes)?;
        }
        drop_page_cache(&path)?;
        let read =
            limit::blocks(&file, Operation::Read, block_bytes, depth, Amount::Bytes(segment_bytes)).map_err(raw)?;
        limits.push(read);
        slices.push(other_process::seek(setup, &path, rounds)?);
    }
    let reading = median_of(&limits, |read| Some(read.elapsed.as_secs_f64())).unwrap_or(0.0);
    let limit = Limit {
        p50_us: Some((Duration::from_secs_f64(reading) + BESIDE_READING).as_secs_f64() * 1e6),
        ..Limit::default()
    };
    let most = |figure: fn(&Sought) -> u64| slices.iter().map(figure).max().unwrap_or(0);
    let figures = Indexing {
        records: rounds * u64::from(PARTITIONS),
        fill_s: filled_s.round(),
        disk_bytes: most(|slice| slice.disk_bytes),
        memory_opened_bytes: most(|slice| slice.memory_opened_bytes),
        memory_sought_bytes: most(|slice| slice.memory_sought_bytes),
        memory_passed_bytes: most(|slice| slice.memory_passed_bytes),
        memory_peak_bytes: most(|slice| slice.memory_peak_bytes),
        memory_peak_writing_bytes,
    };
    let words =
        format!("{}; {}", in_words("50 ms and raw reads of a segment", block_bytes, depth, &file), said(&figures));
    let row = |workload| Row {
        workload,
        io_backend: slices.first().map(|slice| slice.io_backend.clone()),
        lanes: slices.first().map(|slice| slice.lanes),
        ..Row::default()
    };
    let opened =
        Row { p50_us: median_of(&slices, |slice| Some(slice.opened_us)), indexing: Some(figures), ..row("index-open") };
    report.row(opened.with_limit(limit).with_latency_ratio(), &words)?;
    let sought = Row {
        records_per_s: median_of(&slices, |slice| Some(slice.seeks_per_s)),
        p50_us: median_of(&slices, |slice| Some(slice.seek_p50_us)),
        p99_us: median_of(&slices, |slice| Some(slice.seek_p99_us)),
        ..row("index-seek")
    };
    report.row(sought, "none: 1,000 random places of random partitions, one record each")?;
    let passed = Row { records_per_s: median_of(&slices, |slice| Some(slice.passed_per_s)), ..row("index-pass") };
    report.row(passed, "none: one partition from its beginning to its end")?;
    std::fs::remove_dir_all(&path).map_err(Failure::io(format!("removing {}", path.display())))
}

fn said(figures: &Indexing) -> String {
    let mb = |bytes: u64| bytes as f64 / 1e6;
    format!(
        "{} records, written in {} s, {:.0} MB on disk; memory {:.1} MB opened, {:.1} after the places, {:.1} after the pass, {:.1} at most; {:.1} while writing",
        crate::text::grouped(figures.records),
        figures.fill_s,
        mb(figures.disk_bytes),
        mb(figures.memory_opened_bytes),
        mb(figures.memory_sought_bytes),
        mb(figures.memory_passed_bytes),
        mb(figures.memory_peak_bytes),
        mb(figures.memory_peak_writing_bytes),
    )
}
