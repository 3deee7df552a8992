//! What a measured workload becomes: a row of a table, or a line of JSON.

use super::limit::RawFile;
use super::measure::{Sample, median_of};
use super::setup::EngineSlice;
use crate::failure::Result;
use crate::output::Output;
use serde::Serialize;
use std::borrow::Borrow;

/// One workload's figures. The names are those of the JSON; what does not apply is null.
#[derive(Serialize, Default)]
pub struct Row {
    pub workload: &'static str,
    pub records_per_s: Option<f64>,
    pub mb_per_s: Option<f64>,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    pub limit_records_per_s: Option<f64>,
    pub limit_mb_per_s: Option<f64>,
    pub limit_p50_us: Option<f64>,
    pub limit_p99_us: Option<f64>,
    pub ratio: Option<f64>,
    pub device_bytes_per_payload_byte: Option<f64>,
    pub flushes_per_record: Option<f64>,
    pub cpu_ns_per_record: Option<f64>,
    pub io_backend: Option<String>,
    pub lanes: Option<u32>,
    /// Further keys, of rows about opening only.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// Further keys, of the row about the sealed index only.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub indexing: Option<Indexing>,
    /// Further keys, of the first row about transactions only.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// What the other rows about transactions say, so that one line has all of it.
#[derive(Clone, Copy, Serialize)]
pub struct Waiting {
    /// A transaction over two lanes: p50 over the p50 of a lone record in one.
    pub lanes_ratio: Option<f64>,
    /// Producing beside prepared transactions, over producing without.
    pub prepared_bulk_ratio: Option<f64>,
    /// Consuming beside them, over consuming without.
    pub prepared_tail_ratio: Option<f64>,
}

/// How large the log of `index` became, and its memory: the most over all slices.
#[derive(Serialize)]
pub struct Indexing {
    /// Durable records, each a run of its own.
    pub records: u64,
    /// How long writing them took.
    pub fill_s: f64,
    /// Blocks of all files in the engine's directory.
    pub disk_bytes: u64,
    /// Memory of the process that opened it: when it was open,
    pub memory_opened_bytes: u64,
    /// after random places were read,
    pub memory_sought_bytes: u64,
    /// after one partition was read from its beginning to its end,
    pub memory_passed_bytes: u64,
    /// and the most of all moments.
    pub memory_peak_bytes: u64,
    /// The most memory of the process that wrote the log, until it was killed.
    pub memory_peak_writing_bytes: u64,
}

/// What opening takes beside time: the most over all slices.
#[derive(Serialize)]
pub struct Opening {
    /// Blocks of all files in the engine's directory, when the opened engine rests.
    pub disk_bytes: u64,
    /// Memory of the process that opened it, after it has read here and there.
    pub memory_peak_bytes: u64,
    /// Memory of the process that wrote the log, until it was killed.
    pub memory_peak_writing_bytes: Option<u64>,
    /// Records that were read after opening.
    pub records_read: u64,
}

/// The limit's figures.
#[derive(Clone, Copy, Default)]
pub struct Limit {
    /// Records a second, if each operation (or byte) carried as many as the engine's.
    pub records_per_s: Option<f64>,
    /// Bytes of the log a second.
    pub bytes_per_s: Option<f64>,
    /// An operation's median.
    pub p50_us: Option<f64>,
    /// An operation's 99th percentile.
    pub p99_us: Option<f64>,
}

impl Limit {
    /// A limit in operations, each of which carries `records`, each of which has `log_bytes`.
    pub fn of_operations<S: Borrow<Sample>>(samples: &[S], records: f64, log_bytes: f64) -> Limit {
        let records_per_s = median_of(samples, |sample| Some(sample.borrow().operations_per_s() * records));
        Limit { records_per_s, bytes_per_s: records_per_s.map(|rate| rate * log_bytes), ..Limit::latency(samples) }
    }

    /// A limit in bytes, of which each record has `log_bytes`.
    pub fn of_bytes(samples: &[Sample], log_bytes: f64) -> Limit {
        let bytes_per_s = median_of(samples, |sample| Some(sample.bytes_per_s()));
        Limit { records_per_s: bytes_per_s.map(|rate| rate / log_bytes), bytes_per_s, ..Limit::latency(samples) }
    }

    fn latency<S: Borrow<Sample>>(samples: &[S]) -> Limit {
        let quantile = |quantile| median_of(samples, |sample: &S| sample.borrow().latency.quantile_us(quantile));
        Limit { p50_us: quantile(0.5), p99_us: quantile(0.99), ..Limit::default() }
    }
}

impl Row {
    /// The engine's half of a row. `log_bytes` is what a record takes in the log, if nothing was
    /// written that could tell.
    pub fn of_engine(workload: &'static str, slices: &[EngineSlice], record_bytes: usize, log_bytes: f64) -> Row {
        let quantile = |quantile| median_of(slices, |slice| slice.sample.latency.quantile_us(quantile));
        let records: u64 = slices.iter().map(|slice| slice.sample.operations).sum();
        let sum = |figure: fn(&EngineSlice) -> u64| slices.iter().map(figure).sum::<u64>() as f64;
        let written = slices.iter().any(|slice| slice.usage.records > 0);
        let payload = records as f64 * record_bytes as f64;
        let records_per_s = median_of(slices, |slice| Some(slice.sample.operations_per_s()));
        Row {
            workload,
            records_per_s,
            mb_per_s: records_per_s.map(|rate| rate * log_bytes / 1e6),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            device_bytes_per_payload_byte: (written && payload > 0.0)
                .then(|| sum(|slice| slice.usage.device_bytes) / payload),
            flushes_per_record: (written && records > 0).then(|| sum(|slice| slice.usage.flushes) / records as f64),
            cpu_ns_per_record: (records > 0).then(|| sum(|slice| slice.usage.cpu_ns) / records as f64),
            io_backend: slices.first().map(|slice| slice.io_backend.clone()),
            lanes: slices.first().map(|slice| slice.lanes),
            ..Row::default()
        }
    }

    /// The limit's half.
    #[must_use]
    pub fn with_limit(mut self, limit: Limit) -> Row {
        self.limit_records_per_s = limit.records_per_s;
        self.limit_mb_per_s = limit.bytes_per_s.map(|rate| rate / 1e6);
        self.limit_p50_us = limit.p50_us;
        self.limit_p99_us = limit.p99_us;
        self.ratio = over(self.records_per_s, limit.records_per_s);
        self
    }

    /// Compares medians of latency instead of throughput.
    #[must_use]
    pub fn with_latency_ratio(mut self) -> Row {
        self.ratio = over(self.p50_us, self.limit_p50_us);
        self
    }

    /// Compares with another run of the engine.
    #[must_use]
    pub fn with_ratio_over(mut self, other: &Row) -> Row {
        self.ratio = over(self.records_per_s, other.records_per_s);
        self
    }

    /// Says what the other rows about transactions say.
    #[must_use]
    pub fn with_waiting(self, waiting: Waiting) -> Row {
        Row { waiting: Some(waiting), ..self }
    }

    /// Digits that mean something.
    fn rounded(mut self) -> Row {
        let fields: [(&mut Option<f64>, f64); 13] = [
            (&mut self.records_per_s, 1.0),
            (&mut self.mb_per_s, 1e3),
            (&mut self.p50_us, 10.0),
            (&mut self.p99_us, 10.0),
            (&mut self.p999_us, 10.0),
            (&mut self.limit_records_per_s, 1.0),
            (&mut self.limit_mb_per_s, 1e3),
            (&mut self.limit_p50_us, 10.0),
            (&mut self.limit_p99_us, 10.0),
            (&mut self.ratio, 1e3),
            (&mut self.device_bytes_per_payload_byte, 1e3),
            (&mut self.flushes_per_record, 1e9),
            (&mut self.cpu_ns_per_record, 10.0),
        ];
        let waiting = self.waiting.as_mut().map(|waiting| {
            [&mut waiting.lanes_ratio, &mut waiting.prepared_bulk_ratio, &mut waiting.prepared_tail_ratio]
        });
        let ratios = waiting.into_iter().flatten().map(|field| (field, 1e3));
        for (field, scale) in fields.into_iter().chain(ratios) {
            *field = field.filter(|value| value.is_finite()).map(|value| (value * scale).round() / scale);
        }
        self
    }
}

fn over(engine: Option<f64>, limit: Option<f64>) -> Option<f64> {
    Some(engine? / limit?)
}

/// Where rows go as they are measured.
pub struct Report {
    output: Output,
    json: bool,
    heading: bool,
}

/// The columns of the table: heading and width.
const COLUMNS: [(&str, usize); 12] = [
    ("workload", 16),
    ("records/s", 11),
    ("MB/s", 8),
    ("p50 us", 9),
    ("p99 us", 9),
    ("p99.9 us", 9),
    ("limit rec/s", 12),
    ("MB/s", 8),
    ("p50 us", 9),
    ("ratio", 6),
    ("dev B/B", 8),
    ("cpu ns", 8),
];

impl Report {
    /// Rows go to `output`, as JSON or as a table.
    pub fn new(output: Output, json: bool) -> Report {
        Report { output, json, heading: true }
    }

    /// A measured workload, and what its limit was in words.
    pub fn row(&mut self, row: Row, limit: &str) -> Result {
        let row = row.rounded();
        if self.json {
            self.output.json(&row)?;
            return self.output.flush();
        }
        if std::mem::take(&mut self.heading) {
            let names: Vec<String> = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
            self.output.line(line(&names))?;
        }
        self.output.line(line(&cells(&row)))?;
        if !limit.is_empty() {
            self.output.line(format_args!("  limit: {limit}"))?;
        }
        self.output.flush()
    }

    /// The end.
    pub fn finish(self) -> Result {
        self.output.finish()
    }
}

fn cells(row: &Row) -> Vec<String> {
    let number = |value: Option<f64>, digits: usize| match value {
        None => "-".to_owned(),
        Some(value) if value >= 10_000.0 => crate::text::grouped(value as u64),
        Some(value) => format!("{value:.digits$}"),
    };
    vec![
        row.workload.to_owned(),
        number(row.records_per_s, 0),
        number(row.mb_per_s, 1),
        number(row.p50_us, 1),
        number(row.p99_us, 1),
        number(row.p999_us, 1),
        number(row.limit_records_per_s, 0),
        number(row.limit_mb_per_s, 1),
        number(row.limit_p50_us, 1),
        number(row.ratio, 2),
        number(row.device_bytes_per_payload_byte, 2),
        number(row.cpu_ns_per_record, 0),
    ]
}

fn line(cells: &[String]) -> String {
    let mut text = String::new();
    for (index, (cell, (_, width))) in cells.iter().zip(COLUMNS).enumerate() {
        text.push_str(&if index == 0 { format!("{cell:<width$}") } else { format!(" {cell:>width$}") });
    }
    text
}

/// A raw file's size is part of what a limit means; this keeps the words in one place.
pub fn in_words(what: &str, block_bytes: usize, depth: usize, file: &RawFile) -> String {
    let block = if block_bytes >= 1 << 20 {
        format!("{} MiB", block_bytes >> 20)
    } else {
        format!("{} KiB", block_bytes >> 10)
    };
    format!("{what}, {block}, {depth} deep, over {} MiB", file.bytes() >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Latency;
    use crate::bench::setup::Usage;
    use std::time::Duration;

    fn sample(operations: u64, bytes: u64, ms: u64) -> Sample {
        let mut latency = Latency::new();
        latency.record(Duration::from_micros(100));
        Sample { operations, bytes, elapsed: Duration::from_millis(ms), latency }
    }

    fn slice() -> EngineSlice {
        let usage = Usage { records: 1000, log_bytes: 200_000, device_bytes: 400_000, flushes: 10, cpu_ns: 5_000_000 };
        EngineSlice { sample: sample(1000, 0, 500), usage, io_backend: "io_uring".into(), lanes: 1 }
    }

    #[test]
    fn the_keys_are_those_that_were_promised_and_nothing_is_left_out() {
        let text = serde_json::to_string(&Row { workload: "lone", ..Row::default() }).unwrap();
        let expected = r#"{"workload":"lone","records_per_s":null,"mb_per_s":null,"p50_us":null,"p99_us":null,"p999_us":null,"limit_records_per_s":null,"limit_mb_per_s":null,"limit_p50_us":null,"limit_p99_us":null,"ratio":null,"device_bytes_per_payload_byte":null,"flushes_per_record":null,"cpu_ns_per_record":null,"io_backend":null,"lanes":null}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn both_halves_count_the_same_things() {
        let limit = Limit::of_operations(&[sample(3000, 3000 * 4096, 1000)], 1.0, 200.0);
        let row = Row::of_engine("lone", &[slice()], 100, 200.0).with_limit(limit).rounded();
        assert_eq!((row.records_per_s, row.mb_per_s), (Some(2000.0), Some(0.4)));
        assert_eq!((row.limit_records_per_s, row.limit_mb_per_s), (Some(3000.0), Some(0.6)));
        assert_eq!(row.ratio, Some(0.667));
        assert_eq!((row.device_bytes_per_payload_byte, row.flushes_per_record), (Some(4.0), Some(0.01)));
        assert_eq!(row.cpu_ns_per_record, Some(5000.0));
        assert_eq!(row.with_latency_ratio().ratio, Some(1.0));
    }

    #[test]
    fn a_limit_in_bytes_counts_the_records_that_fit_them() {
        let limit = Limit::of_bytes(&[sample(10, 1_200_000, 1000)], 120.0);
        assert_eq!((limit.records_per_s, limit.bytes_per_s), (Some(10_000.0), Some(1_200_000.0)));
    }

    #[test]
    fn what_was_only_read_has_no_figures_of_writing() {
        let mut read = slice();
        read.usage = Usage { cpu_ns: 5_000_000, ..Usage::default() };
        let row = Row::of_engine("tail", &[read], 100, 120.0);
        assert_eq!((row.device_bytes_per_payload_byte, row.flushes_per_record), (None, None));
        assert!(row.cpu_ns_per_record.is_some());
    }

    #[test]
    fn a_row_of_the_table_has_a_cell_for_each_column() {
        let cells = cells(&Row::of_engine("lone", &[slice()], 100, 200.0));
        assert_eq!(cells.len(), COLUMNS.len());
        assert_eq!(cells[1], "2000");
        assert_eq!(cells[6], "-");
        assert!(line(&cells).starts_with("lone "));
    }
}
