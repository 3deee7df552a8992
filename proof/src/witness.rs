//! What the children of both kinds say of what they did and saw, in the words of a history.

use crate::history::{Answer, Durability, Happening, Outcome, TopicNumber, Value};
use ringlane::{ConsumerOptions, Engine, Error, Receipt, Start, Topic};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long delayed records may take to appear at the end, in steps of 5 ms: tells a hang from slowness.
const SETTLING_STEPS_MAX: u32 = 12_000;

/// Everything that can be read of a topic; `value` is told where bytes stand, and gives the number they say.
///
/// # Errors
/// What a consumer was told.
pub(crate) fn contents(
    engine: &Engine,
    topic: &Topic,
    number: TopicNumber,
    value: impl Fn(Option<&[u8]>, u64) -> Value,
    mut happen: impl FnMut(Happening),
) -> ringlane::Result<()> {
    for partition in 0..topic.partitions() {
        let (first_offset, records) = loop {
            match contents_of_partition(engine, topic, partition, &value) {
                // More was given up meanwhile.
                Err(Error::Truncated { .. }) => {}
                read => break read?,
            }
        };
        happen(Happening::Contents { topic: number, partition, first_offset, records, wall_ms: Some(wall_ms()) });
    }
    Ok(())
}

/// Where a partition begins, and its records.
fn contents_of_partition(
    engine: &Engine,
    topic: &Topic,
    partition: u32,
    value: impl Fn(Option<&[u8]>, u64) -> Value,
) -> ringlane::Result<(u64, Vec<(u64, Value)>)> {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    consumer.assign(topic, partition, Start::Beginning)?;
    let first_offset = consumer.position(topic, partition).unwrap_or(0);
    let mut records = Vec::new();
    loop {
        let polled = consumer.poll(Duration::ZERO)?;
        if polled.is_empty() {
            return Ok((first_offset, records));
        }
        records.extend(polled.iter().map(|record| (record.offset(), value(record.value(), record.offset()))));
    }
}

/// Waits until nothing is withheld any more, and makes everything durable. `trouble` is told what never appears.
///
/// # Errors
/// The engine's.
pub(crate) fn wait_until_published(engine: &Engine, trouble: impl FnOnce(String)) -> ringlane::Result<()> {
    let mut steps = 0;
    while engine.stats().withheld_records > 0 {
        steps += 1;
        if steps > SETTLING_STEPS_MAX {
            let count = engine.stats().withheld_records;
            trouble(format!("{count} delayed records stay withheld"));
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.sync()
}

/// What a receipt says.
pub(crate) fn receipt_outcome(receipt: &Receipt) -> Outcome {
    let durability = match receipt.durability {
        ringlane::Durability::Synced => Durability::Synced,
        ringlane::Durability::Buffered => Durability::Buffered,
    };
    Outcome::Ok(Answer::Receipt { partition: receipt.partition, offset: receipt.offset, durability })
}

/// What an error means for what was asked.
pub(crate) fn refusal(error: &Error) -> Outcome {
    let code = error.code().to_owned();
    if error.is_unknown_outcome() { Outcome::Unknown { code } } else { Outcome::Failed { code } }
}

pub(crate) fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
