//! A lone sender and a bulk load while the cleaner is at work; the limit is the same without it.
//!
//! A log of 1,000 interleaved partitions is there before: the cleaner has it to put together. Slices with and without
//! a cleaner take turns, each with an engine that was just opened.

use super::{feed, lone, many};
use crate::bench::measure::Sample;
use crate::bench::noise::Values;
use crate::bench::report::{Limit, Report, Row};
use crate::bench::setup::{EngineSlice, Setup, log_bytes_per_record, measure, wait_for_rest};
use crate::failure::{Failure, Result};
use ringlane::{Engine, Options, ProducerOptions, TopicOptions};
use std::time::{Duration, Instant};

/// How much there is to put together, as a multiple of what a slice writes.
const BACKLOG: u64 = 4;
/// The cleaner begins so soon.
const BEGIN_MAX: Duration = Duration::from_secs(30);

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("clean");
    write_backlog(setup)?;
    let (mut lone, mut bulk) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut values = Values::new(setup.record_bytes);
    for turn in 0..setup.slices {
        for cleans in [false, true] {
            let engine = setup.engine("clean", options(cleans))?;
            begin(&engine, cleans)?;
            let slice = busy(&engine, cleans, || send_alone(setup, &engine, &mut values))?;
            lone[usize::from(cleans)].push(slice);
            let slice = busy(&engine, cleans, || send_in_bulk(setup, &engine, turn, &mut values))?;
            bulk[usize::from(cleans)].push(slice);
            feed_back(&engine)?;
            engine.close()?;
        }
    }
    let words = "the same without the cleaner";
    for (name, [without, with]) in [("lone-cleaning", lone), ("bulk-cleaning", bulk)] {
        let log_bytes = log_bytes_per_record(&with);
        let limits: Vec<Sample> = without.into_iter().map(|slice| slice.sample).collect();
        let limit = Limit::of_operations(&limits, 1.0, log_bytes);
        let row = Row::of_engine(name, &with, setup.record_bytes, log_bytes).with_limit(limit);
        let row = if name == "lone-cleaning" { row.with_latency_ratio() } else { row };
        report.row(row, words)?;
    }
    setup.remove(setup.engine("clean", options(false))?)
}

/// With a cleaner as it is by default, or with none.
fn options(cleans: bool) -> Options {
    let options = Options::new().segments_recycled_max(64);
    if cleans { options } else { options.cleaner_bytes_per_second_max(0) }
}

/// Writes what the cleaner has to do, and a pool of segments to be used again.
fn write_backlog(setup: &Setup) -> Result {
    let engine = setup.engine("clean", options(false))?;
    let topic = engine.create_topic("backlog", TopicOptions::new().partitions(many::PARTITIONS))?;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(setup.record_bytes);
    for _ in 0..BACKLOG * feed::records_of_a_slice(setup) / u64::from(many::PARTITIONS) {
        many::send_round(&producer, &topic, &mut values)?;
    }
    for part in 0..2 {
        let pool = engine.create_topic(&format!("pool-{part}"), setup.topic_options())?;
        feed::send(setup, &producer, &pool, &mut values, feed::records_of_a_slice(setup))?;
    }
    feed_back(&engine)?;
    Ok(engine.close()?)
}

/// Gives the segments of everything but the backlog back.
fn feed_back(engine: &Engine) -> Result {
    for topic in engine.topics().iter().filter(|topic| topic.name() != "backlog") {
        engine.delete_topic(topic.name())?;
    }
    wait_for_rest(engine);
    Ok(())
}

/// Waits until the cleaner is at work, if there is one.
fn begin(engine: &Engine, cleans: bool) -> Result {
    let begin = Instant::now();
    while cleans && engine.stats().cleaner.bytes == 0 {
        if begin.elapsed() > BEGIN_MAX {
            return Err(Failure::Check("the cleaner found nothing to do; give it more: --log-mib".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Measures, and checks that the cleaner was at work for all of it.
fn busy(engine: &Engine, cleans: bool, work: impl FnOnce() -> Result<Sample>) -> Result<EngineSlice> {
    let before = engine.stats().cleaner.bytes;
    let slice = measure(engine, work)?;
    let stats = engine.stats().cleaner;
    match cleans && (stats.bytes == before || stats.is_idle) {
        true => Err(Failure::Check("the cleaner came to an end; give it more: --log-mib".to_owned())),
        false => Ok(slice),
    }
}

fn send_alone(setup: &Setup, engine: &Engine, values: &mut Values) -> Result<Sample> {
    let topic = engine.create_topic("lone", setup.topic_options())?;
    let producer = engine.producer(ProducerOptions::new())?;
    lone::send(&producer, &topic, values, setup.slice)
}

fn send_in_bulk(setup: &Setup, engine: &Engine, turn: usize, values: &mut Values) -> Result<Sample> {
    let topic = engine.create_topic(&format!("bulk-{turn}"), setup.topic_options())?;
    let producer = engine.producer(ProducerOptions::new())?;
    feed::send(setup, &producer, &topic, values, feed::records_of_a_slice(setup))
}
