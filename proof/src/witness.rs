//! What the children of both kinds say of what they did and saw, in the words of a history.

use crate::history::{Answer, Durability, Happening, Missing, Numbered, Origin, Outcome, Reason, TopicNumber, Value};
use ringlane::{
    Consumer, ConsumerOptions, Discontinuity, Engine, Error, MissingReason, Receipt, RecordView, Start, Topic,
};
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
        let read = loop {
            match contents_of_partition(engine, topic, partition, &value) {
                // More was given up meanwhile.
                Err(Error::Truncated { .. }) => {}
                read => break read?,
            }
        };
        let Listed { first_offset, records, origins, missing } = read;
        happen(Happening::Contents { topic: number, partition, first_offset, records, wall_ms: Some(wall_ms()) });
        happen(Happening::Origins { topic: number, partition, origins, missing });
    }
    Ok(())
}

/// A partition: where it begins, its records, their numbers, and which of those are missing.
struct Listed {
    first_offset: u64,
    records: Vec<(u64, Value)>,
    origins: Vec<Origin>,
    missing: Vec<Missing>,
}

fn contents_of_partition(
    engine: &Engine,
    topic: &Topic,
    partition: u32,
    value: impl Fn(Option<&[u8]>, u64) -> Value,
) -> ringlane::Result<Listed> {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    consumer.assign(topic, partition, Start::Beginning)?;
    let first_offset = consumer.position(topic, partition).unwrap_or(0);
    let (mut records, mut origins) = (Vec::new(), Vec::new());
    loop {
        let polled = consumer.poll(Duration::ZERO)?;
        if polled.is_empty() {
            let missing = missing(&mut consumer)?;
            return Ok(Listed { first_offset, records, origins, missing });
        }
        records.extend(polled.iter().map(|record| (record.offset(), value(record.value(), record.offset()))));
        origins.extend(polled.iter().map(|record| origin_of(record.origin())));
    }
}

/// An origin in a history's words.
pub(crate) fn origin_of(origin: ringlane::Origin) -> Origin {
    Origin { producer: origin.producer, epoch: origin.epoch, sequence: origin.sequence }
}

/// What a receipt says of the record's number.
pub(crate) fn numbered_of(receipt: &Receipt) -> Option<Numbered> {
    Some(Numbered { origin: origin_of(receipt.origin), duplicate: receipt.duplicate })
}

/// The numbers that a consumer misses, and why, as the engine says.
///
/// # Errors
/// The engine's.
pub(crate) fn missing(consumer: &mut Consumer) -> ringlane::Result<Vec<Missing>> {
    let reason = |reason| match reason {
        MissingReason::Pending => Reason::Pending,
        MissingReason::Cancelled => Reason::Cancelled,
        MissingReason::Expired => Reason::Expired,
        MissingReason::Corrupt => Reason::Corrupt,
        MissingReason::Unknown => Reason::Unknown,
    };
    let explained = consumer.explain_missing()?;
    let missing = explained.into_iter().map(|(range, why)| Missing {
        producer: range.producer,
        first: range.first,
        last: range.last,
        reason: reason(why),
    });
    Ok(missing.collect())
}

/// What the engine's own checker found in what a consumer read from a place on, other than gaps; those are explained.
pub(crate) fn discontinuities(consumer: &mut Consumer) -> Vec<String> {
    let findings = consumer.take_findings();
    let wrong = findings.iter().filter(|finding| finding.what.is_problem());
    let wrong = wrong.filter(|finding| !matches!(finding.what, Discontinuity::Gap { .. }));
    let mut texts: Vec<String> = wrong.map(ToString::to_string).collect();
    let unexplained = consumer.continuity().map_or(0, |report| report.missing.unexplained);
    if unexplained > 0 {
        texts.push(format!("{unexplained} numbers are missing, and the engine does not say why"));
    }
    texts
}

/// What stands with a dead letter: where it is from, and why.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) deliveries: u32,
    pub(crate) failures: u32,
    pub(crate) reason: String,
}

/// Reads the cause of a dead letter: each of its headers is there, once.
///
/// # Errors
/// It is not so.
pub(crate) fn cause_of(view: &RecordView<'_>) -> Result<Cause, String> {
    let text = |name: &str| {
        let mut of_name = view.headers().filter(|header| header.name == name);
        let value = of_name.next().ok_or_else(|| format!("{name} is missing"))?;
        if of_name.next().is_some() {
            return Err(format!("{name} is there twice"));
        }
        String::from_utf8(value.value.to_vec()).map_err(|_| format!("{name} is no text"))
    };
    let number = |name: &str| text(name)?.parse::<u64>().map_err(|error| format!("{name}: {error}"));
    let small = |name: &str| u32::try_from(number(name)?).map_err(|error| format!("{name}: {error}"));
    Ok(Cause {
        group: text("ringlane.group")?,
        topic: text("ringlane.topic")?,
        partition: small("ringlane.partition")?,
        offset: number("ringlane.offset")?,
        deliveries: small("ringlane.deliveries")?,
        failures: small("ringlane.failures")?,
        reason: text("ringlane.reason")?,
    })
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
    Outcome::Ok(Answer::Receipt {
        partition: receipt.partition,
        offset: receipt.offset,
        durability,
        numbered: numbered_of(receipt),
    })
}

/// What an error means for what was asked.
pub(crate) fn refusal(error: &Error) -> Outcome {
    let code = error.code().to_owned();
    if error.is_unknown_outcome() { Outcome::Unknown { code } } else { Outcome::Failed { code } }
}

/// A cumulative acknowledgement, as the history has it: as many acknowledgements as there were records.
pub(crate) struct Cumulative {
    /// How many were lost before; or what the refusal means.
    answer: Result<u64, Outcome>,
    /// It was refused for the record that it named alone: those below are held as before.
    leaves_below: bool,
}

impl Cumulative {
    /// The `result` of the call, and what an error of it means.
    pub(crate) fn new(result: ringlane::Result<u64>, refusal: impl FnOnce(&Error) -> Outcome) -> Cumulative {
        let leaves_below = matches!(result, Err(Error::LeaseLost { .. }));
        Cumulative { answer: result.map_err(|error| refusal(&error)), leaves_below }
    }

    /// What it did to the record that it named, or to one below.
    pub(crate) fn outcome(&self, is_named: bool, was_in_time: bool) -> Outcome {
        match &self.answer {
            Err(_) if !self.ends(is_named) => Outcome::Failed { code: "not-tried".to_owned() },
            Err(refused) => refused.clone(),
            Ok(0) if was_in_time => Outcome::done(),
            // What was lost is not told by name; what still lives is done.
            Ok(_) => Outcome::Unknown { code: "perhaps-lost".to_owned() },
        }
    }

    /// Whether the record that it named, or one below, is not held afterwards.
    pub(crate) fn ends(&self, is_named: bool) -> bool {
        is_named || !self.leaves_below
    }
}

pub(crate) fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
