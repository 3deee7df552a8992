//! One producer, as fast as it goes, into a log that grows.
//!
//! Nothing is deleted, so nothing is recycled. Each slice writes several times what the engine had
//! prepared; what it prepares for the next one is counted to the bytes of this one.

use super::feed;
use crate::bench::limit::{self, RawFile};
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row, in_words};
use crate::bench::setup::{Setup, log_bytes_per_record, measure, raw, wait_for_rest};
use crate::failure::Result;
use ringlane::{Options, ProducerOptions};

/// A slice writes at least this many times what was prepared.
const TIMES_PREPARED: u64 = 3;

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("grow");
    let defaults = Options::new().segments_recycled_max(0);
    let options = setup.engine_options(defaults.clone())?;
    let lanes = u64::from(options.lanes.unwrap_or_else(Options::default_lanes));
    let prepared = options.segment_bytes_max * u64::from(options.segments_prepared) * lanes;
    let bytes = setup.log_bytes.max(prepared * TIMES_PREPARED);
    let records = bytes / setup.record_log_bytes() as u64;
    let (engine, topic) = setup.engine_and_topic("grow", defaults)?;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    // The first segments are small; growing is measured with those of full size.
    feed::send(setup, &producer, &topic, &mut values, prepared * 2 / setup.record_log_bytes() as u64)?;
    let (mut limits, mut slices) = (Vec::new(), Vec::new());
    let mut words = String::new();
    for _ in 0..setup.slices {
        wait_for_rest(&engine);
        let file = RawFile::allocated(&setup.directory, bytes).map_err(raw)?;
        limits.push(limit::growing(&file).map_err(raw)?);
        words = in_words("raw growing writes, flushed every 16 MiB", 1 << 20, 8, &file);
        drop(file);
        slices.push(measure(&engine, || feed::send(setup, &producer, &topic, &mut values, records))?);
    }
    let log_bytes = log_bytes_per_record(&slices);
    let row =
        Row::of_engine("grow", &slices, setup.record_bytes, log_bytes).with_limit(Limit::of_bytes(&limits, log_bytes));
    report.row(row, &words)?;
    setup.remove(engine)
}
