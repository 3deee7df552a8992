//! What was read compared with the file.

use super::acknowledged::Reported;
use super::input::{Input, partition_of};
use crate::failure::{Failure, Result};
use ringlane::{ConsumerOptions, Engine, RecordView, Start, Topic};
use std::time::{Duration, Instant};

/// What a check read.
pub struct Checked {
    /// Records.
    pub records: u64,
    /// How long reading and comparing took.
    pub elapsed: Duration,
}

/// What a check after the kill found.
pub struct Recovered {
    /// Acknowledged records, all there exactly once.
    pub acknowledged: u64,
    /// Records there whose receipt had not been reported.
    pub unreported: u64,
}

/// Every line is there exactly once, in its partition, in order, unchanged, and nothing else is.
pub fn every_line_once(engine: &Engine, topic: &Topic, input: &Input) -> Result<Checked> {
    let begin = Instant::now();
    let partitions = topic.partitions();
    let mut next: Vec<u64> = (0..u64::from(partitions)).collect();
    let mut records = 0;
    read_all(engine, topic, &mut |record| {
        let partition = record.partition();
        let expected = next[partition as usize];
        let (offset, value) = (record.offset(), record.value());
        if offset != expected / u64::from(partitions) || value.is_none() || value != input.line(expected) {
            return Err(format!("partition {partition}, offset {offset}: not line {} of the file", expected + 1));
        }
        next[partition as usize] += u64::from(partitions);
        records += 1;
        Ok(())
    })?;
    if records != input.len() as u64 {
        return Err(Failure::Check(format!("{records} records were read back, {} were sent", input.len())));
    }
    Ok(Checked { records, elapsed: begin.elapsed() })
}

/// Every reported record is there once, where its receipt says; every other line at most once.
pub fn acknowledged_once(engine: &Engine, topic: &Topic, input: &Input, receipts: &[Reported]) -> Result<Recovered> {
    let mut found: Vec<Option<(u32, u64)>> = vec![None; input.len()];
    let mut records = 0;
    read_all(engine, topic, &mut |record| {
        let place = (record.partition(), record.offset());
        let number =
            line_number(record).filter(|&number| record.value() == input.line(number) && record.value().is_some());
        let Some(number) = number else {
            return Err(format!("partition {}, offset {}: not a line of the file", place.0, place.1));
        };
        if place.0 != partition_of(number, topic.partitions()) {
            return Err(format!("line {} is in partition {}, where it was not sent", number + 1, place.0));
        }
        if let Some(other) = found[number as usize].replace(place) {
            return Err(format!("line {} is there twice, at offsets {} and {}", number + 1, other.1, place.1));
        }
        records += 1;
        Ok(())
    })?;
    for receipt in receipts {
        let place = found.get(receipt.number as usize).copied().flatten();
        if place != Some((receipt.partition, receipt.offset)) {
            return Err(Failure::Check(format!(
                "line {} was acknowledged at partition {}, offset {}, and is not there after the kill",
                receipt.number + 1,
                receipt.partition,
                receipt.offset
            )));
        }
    }
    let acknowledged = receipts.len() as u64;
    Ok(Recovered { acknowledged, unreported: records - acknowledged })
}

fn line_number(record: &RecordView<'_>) -> Option<u64> {
    std::str::from_utf8(record.key()?).ok()?.parse().ok()
}

/// Reads every partition to its end, with offsets that begin at zero and have no gap.
fn read_all(engine: &Engine, topic: &Topic, each: &mut dyn FnMut(&RecordView<'_>) -> Result<(), String>) -> Result {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    consumer.assign_all(topic, Start::Beginning)?;
    let mut offsets = vec![0; topic.partitions() as usize];
    let ends = (0..topic.partitions())
        .map(|partition| Ok(topic.partition_info(partition)?.next_offset))
        .collect::<Result<Vec<u64>>>()?;
    while offsets != ends {
        let records = consumer.poll(Duration::from_secs(10))?;
        if records.is_empty() {
            return Err(Failure::Check(format!("reading stopped at offsets {offsets:?}, the ends are {ends:?}")));
        }
        for record in &records {
            let expected = &mut offsets[record.partition() as usize];
            if record.offset() != *expected {
                let (partition, offset) = (record.partition(), record.offset());
                return Err(Failure::Check(format!(
                    "partition {partition}: offset {offset} came where {expected} was due"
                )));
            }
            *expected += 1;
            each(&record).map_err(Failure::Check)?;
        }
    }
    Ok(())
}
