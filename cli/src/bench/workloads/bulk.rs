//! One producer, as fast as it goes, into recycled segments.
//!
//! Each slice writes into the pool and gives its segments back.

use super::feed;
use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::measure::Sample;
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row, in_words};
use crate::bench::setup::{Setup, log_bytes_per_record, measure, raw, wait_for_rest};
use crate::failure::Result;
use ringlane::{Engine, Producer, ProducerOptions};

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("bulk");
    let file = RawFile::prepared(&setup.directory, setup.log_bytes).map_err(raw)?;
    let choices = [(1 << 20, 4), (256 << 10, 4)];
    let (block_bytes, depth) = feed::better_blocks(&file, Operation::DurableWrite, &choices, setup.log_bytes)?;
    let engine = feed::settled_engine(setup, "bulk")?;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    let records = feed::records_of_a_slice(setup);
    let (mut limits, mut slices) = (Vec::new(), Vec::new());
    for _ in 0..setup.slices {
        wait_for_rest(&engine);
        let amount = Amount::Bytes(setup.log_bytes);
        limits.push(limit::blocks(&file, Operation::DurableWrite, block_bytes, depth, amount).map_err(raw)?);
        slices.push(measure(&engine, || send(setup, &engine, &producer, &mut values, records))?);
        feed::recycle(&engine)?;
    }
    let log_bytes = log_bytes_per_record(&slices);
    let row =
        Row::of_engine("bulk", &slices, setup.record_bytes, log_bytes).with_limit(Limit::of_bytes(&limits, log_bytes));
    report.row(row, &in_words("raw durable overwrites", block_bytes, depth, &file))?;
    setup.remove(engine)
}

fn send(setup: &Setup, engine: &Engine, producer: &Producer, values: &mut Values, records: u64) -> Result<Sample> {
    let name = format!("bulk-{}", engine.topics().len());
    let topic = engine.create_topic(&name, setup.topic_options())?;
    feed::send(setup, producer, &topic, values, records)
}
