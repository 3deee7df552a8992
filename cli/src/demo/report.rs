//! What the demo says while it runs, or as one JSON object at its end.

use super::acknowledged::Killed;
use super::check::{Checked, Recovered};
use crate::bench::measure::{Latency, Sample};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::text;
use ringlane::{IoReport, VerifyReport};
use serde::Serialize;
use std::fmt::Display;
use std::time::Duration;

/// A smaller file is sent before the device is at its full speed.
const BANDWIDTH_BYTES_MIN: u64 = 64 << 20;

/// Single sends and single raw writes, measured in turns.
pub struct LatencyReport {
    /// Single synchronous sends.
    pub single: Latency,
    /// Raw durable 4 KiB writes.
    pub limit: Latency,
}

#[derive(Serialize, Default)]
struct Figures {
    lines: u64,
    produced_records_per_s: f64,
    produced_mb_per_s: f64,
    produced_p50_us: Option<f64>,
    produced_p99_us: Option<f64>,
    limit_mb_per_s: f64,
    consumed_records_per_s: f64,
    single_p50_us: Option<f64>,
    single_p99_us: Option<f64>,
    limit_p50_us: Option<f64>,
    limit_p99_us: Option<f64>,
    ratio_p50: Option<f64>,
    acknowledged_at_kill: u64,
    acknowledged: u64,
    lost: u64,
    duplicated: u64,
    unreported: u64,
    reopened_ms: f64,
    io_backend: String,
}

/// Collects figures, and says them unless they are wanted as JSON.
pub struct Report {
    output: Output,
    json: bool,
    figures: Figures,
}

impl Report {
    /// Nothing said yet.
    pub fn new(output: Output, json: bool) -> Report {
        Report { output, json, figures: Figures::default() }
    }

    /// A line for people, shown at once.
    pub fn say(&mut self, line: impl Display) -> Result {
        if self.json {
            return Ok(());
        }
        self.output.line(line)?;
        self.output.flush()
    }

    /// Pass 1, sending.
    pub fn produced(&mut self, sample: &Sample, limit: &Sample, io: &IoReport, partitions: u32) -> Result {
        let figures = &mut self.figures;
        figures.lines = sample.operations;
        figures.produced_records_per_s = rounded(sample.operations_per_s());
        figures.produced_mb_per_s = rounded(sample.bytes_per_s() / 1e6);
        figures.produced_p50_us = sample.latency.quantile_us(0.5);
        figures.produced_p99_us = sample.latency.quantile_us(0.99);
        figures.limit_mb_per_s = rounded(limit.bytes_per_s() / 1e6);
        figures.io_backend = io.backend.to_string();
        let line = format!(
            "pass 1: {} records sent durably into {partitions} partitions in {:.1} ms: {}/s, {}/s, receipt p50 {} p99 {} ({}{})",
            text::grouped(sample.operations),
            sample.elapsed.as_secs_f64() * 1e3,
            text::grouped(sample.operations_per_s() as u64),
            text::bytes(sample.bytes_per_s() as u64),
            us(figures.produced_p50_us),
            us(figures.produced_p99_us),
            io.backend,
            if io.direct { ", O_DIRECT" } else { "" },
        );
        self.say(line)?;
        let limit = limit.bytes_per_s();
        let ratio = if sample.bytes < BANDWIDTH_BYTES_MIN {
            "this file is too small to use it".to_owned()
        } else {
            format!("ratio {:.2}", sample.bytes_per_s() / limit)
        };
        let limit = text::bytes(limit as u64);
        self.say(format_args!("        the bare device in durable 1 MiB writes, 4 deep: {limit}/s; {ratio}"))
    }

    /// Pass 1, reading.
    pub fn consumed(&mut self, checked: &Checked) -> Result {
        let rate = checked.records as f64 / checked.elapsed.as_secs_f64();
        self.figures.consumed_records_per_s = rounded(rate);
        self.say(format_args!(
            "        {} records read back ({}/s) and compared: every line once, in order, unchanged",
            text::grouped(checked.records),
            text::grouped(rate as u64)
        ))
    }

    /// Single sends against raw writes.
    pub fn latency(&mut self, latency: &LatencyReport) -> Result {
        let figures = &mut self.figures;
        figures.single_p50_us = latency.single.quantile_us(0.5);
        figures.single_p99_us = latency.single.quantile_us(0.99);
        figures.limit_p50_us = latency.limit.quantile_us(0.5);
        figures.limit_p99_us = latency.limit.quantile_us(0.99);
        figures.ratio_p50 =
            figures.single_p50_us.zip(figures.limit_p50_us).map(|(single, limit)| thousandths(single / limit));
        let line = format!(
            "        one line at a time, each flushed before the next: p50 {} p99 {}; the bare device p50 {} p99 {}; ratio {}",
            us(figures.single_p50_us),
            us(figures.single_p99_us),
            us(figures.limit_p50_us),
            us(figures.limit_p99_us),
            figures.ratio_p50.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        );
        self.say(line)
    }

    /// Pass 2, the kill.
    pub fn killed(&mut self, killed: &Killed, lines: usize) -> Result {
        self.figures.acknowledged_at_kill = killed.at_the_kill as u64;
        self.figures.acknowledged = killed.receipts.len() as u64;
        self.say(format_args!(
            "pass 2: a second process sent the lines again and was killed (SIGKILL) after {:.1} ms, with {} of {} acknowledged",
            killed.writing.as_secs_f64() * 1e3,
            text::grouped(killed.receipts.len() as u64),
            text::grouped(lines as u64)
        ))
    }

    /// Pass 2, the check.
    pub fn recovered(&mut self, opened: Duration, recovered: &Recovered) -> Result {
        self.figures.reopened_ms = thousandths(opened.as_secs_f64() * 1e3);
        self.figures.unreported = recovered.unreported;
        self.say(format_args!(
            "        reopened in {:.1} ms: all {} acknowledged records are there exactly once; {} more that were not acknowledged yet, each once",
            opened.as_secs_f64() * 1e3,
            text::grouped(recovered.acknowledged),
            text::grouped(recovered.unreported)
        ))
    }

    /// Every checksum, at the end.
    pub fn verified(&mut self, report: &VerifyReport) -> Result {
        if report.is_damaged() {
            return Err(Failure::Check("verify found damage; run `ringlane verify` to see where".to_owned()));
        }
        self.say(format_args!(
            "verify: {} frames in {} segments, no damage",
            text::grouped(report.frames),
            report.segments
        ))
    }

    /// The end.
    pub fn finish(mut self) -> Result {
        if self.json {
            self.output.json(&self.figures)?;
        }
        self.output.finish()
    }
}

fn us(figure: Option<f64>) -> String {
    figure
        .map_or("-".to_owned(), |us| if us < 1000.0 { format!("{us:.0} us") } else { format!("{:.1} ms", us / 1000.0) })
}

fn rounded(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

fn thousandths(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
