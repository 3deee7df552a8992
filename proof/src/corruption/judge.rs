//! What came of a case, and whether it is allowed: refused or reported with the file's name, or harmless.
//! Never a wrong value, never a panic, and nothing missing without a word outside the stated window.

use super::case::{Allowed, Case};
use super::image::{Acknowledged, Image, options as engine_options, write_files};
use super::{CorruptionOptions, Told, told};
use ringlane::{ConsumerOptions, Engine, Error, Start, Topic, VerifyReport, verify};
use std::time::Duration;

/// Damages a copy of the image, opens it, and reads everything.
///
/// # Errors
/// What came of it is not allowed, in words.
pub(super) fn judge(
    case: &Case,
    image: &Image,
    acknowledged: &Acknowledged,
    options: &CorruptionOptions,
) -> Told<Outcome> {
    let mut files = image.files.clone();
    (case.damage)(&mut files);
    let directory = write_files(&options.scratch, &files)?;
    let path = directory.path();
    let verified = verify(path, &mut |_| {});
    let found = verified.as_ref().map_or(true, VerifyReport::is_damaged);
    let mut outcome = Outcome::default();
    match Engine::open(path, engine_options(options.backend)) {
        Err(error) => {
            names_it(case, &error)?;
            outcome.refused = true;
        }
        Ok(engine) => {
            outcome = read_all(case, &engine, acknowledged)?;
            let published = publish_withheld(case, &engine, acknowledged)?;
            outcome.damaged += published.damaged;
            // What `later` lost in the first reading would move the others.
            outcome.lost = outcome.lost.max(published.lost);
            if let Some(poisoned) = engine.stats().poisoned {
                return Err(format!("poisoned: {poisoned}"));
            }
            engine.close().map_err(|error| format!("close: {error}"))?;
        }
    }
    let problem = match case.allowed {
        Allowed::Noticed | Allowed::Refused if outcome.lost > 0 => Some("records are missing without a word"),
        Allowed::Refused if !outcome.refused => Some("it was not refused"),
        Allowed::Harmless if outcome.refused || outcome.damaged + outcome.lost > 0 => Some("not everything is there"),
        Allowed::Harmless if found => Some("verify calls it damage"),
        Allowed::Window(bound) if outcome.lost > bound => Some("more is missing than was damaged"),
        _ if (outcome.refused || outcome.damaged > 0) && !found => Some("verify found no damage"),
        _ => None,
    };
    match problem {
        Some(problem) => Err(format!("{problem}: {outcome:?}, verify: {verified:?}")),
        None => Ok(outcome),
    }
}

/// What came of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Opening refused the directory, and named the file.
    pub refused: bool,
    /// Records that a read reported as damaged.
    pub damaged: usize,
    /// Records that are missing without a word.
    pub lost: usize,
}

fn names_it(case: &Case, error: &Error) -> Told<()> {
    let kind = matches!(
        error,
        Error::Damaged { .. } | Error::ForeignFormat { .. } | Error::UnsupportedVersion { .. } | Error::Io(_)
    );
    match kind && case.files.iter().any(|file| error.to_string().contains(file)) {
        true => Ok(()),
        false => Err(format!("the error does not name {:?}: {error}", case.files)),
    }
}

/// Reads a partition, past what is damaged; `Err` is a wrong value or something missing without a word.
fn read_partition(
    case: &Case,
    engine: &Engine,
    topic: &Topic,
    partition: u32,
    expected: &[Vec<u8>],
    wait: Duration,
) -> Told<Outcome> {
    let mut outcome = Outcome::default();
    let mut consumer = told("consumer", engine.consumer(ConsumerOptions::new()))?;
    consumer.assign(topic, partition, Start::Beginning).map_err(|error| format!("assign: {error}"))?;
    let mut next = 0;
    while next < expected.len() || wait.is_zero() {
        match consumer.poll(wait) {
            Ok(records) if records.is_empty() => break,
            Ok(records) => {
                for record in &records {
                    let place = format!("{} {partition} offset {}", topic.name(), record.offset());
                    if record.offset() != next as u64 {
                        return Err(format!("{place} came instead of {next}"));
                    }
                    match expected.get(next) {
                        Some(value) if record.value() == Some(&value[..]) => next += 1,
                        Some(_) => return Err(format!("{place} has a wrong value")),
                        None => return Err(format!("{place} was never acknowledged")),
                    }
                }
            }
            Err(error) => {
                names_it(case, &error)?;
                if consumer.position(topic, partition) != Some(next as u64) || next >= expected.len() {
                    return Err(format!("{} {partition}: an error elsewhere than at {next}: {error}", topic.name()));
                }
                outcome.damaged += 1;
                next += 1;
                consumer
                    .seek(topic, partition, Start::Offset(next as u64))
                    .map_err(|error| format!("seek: {error}"))?;
            }
        }
    }
    outcome.lost = expected.len() - next;
    Ok(outcome)
}

fn read_all(case: &Case, engine: &Engine, acknowledged: &Acknowledged) -> Told<Outcome> {
    let mut sum = Outcome::default();
    if !matches!(engine.topic("gone"), Err(Error::UnknownTopic { .. })) {
        return Err("the deleted topic is there again".to_owned());
    }
    for ((topic, partition), expected) in &acknowledged.values {
        let topic = engine.topic(topic).map_err(|error| format!("topic: {error}"))?;
        let outcome = read_partition(case, engine, &topic, *partition, expected, Duration::ZERO)?;
        sum.damaged += outcome.damaged;
        sum.lost += outcome.lost;
    }
    Ok(sum)
}

/// What was withheld is there: it is published now, and read.
fn publish_withheld(case: &Case, engine: &Engine, acknowledged: &Acknowledged) -> Told<Outcome> {
    for id in &acknowledged.cancelled {
        let result = engine.publish_withheld(*id, &[]);
        if result != Err(Error::NotWithheld) {
            return Err(format!("the cancelled {id:?} is there again: {result:?}"));
        }
    }
    let mut expected = acknowledged.values[&("later", 0)].clone();
    for (id, value) in &acknowledged.withheld {
        engine.publish_withheld(*id, &[]).map_err(|error| format!("publish {id:?}: {error}"))?;
        expected.push(value.clone());
    }
    let later = told("topic", engine.topic("later"))?;
    read_partition(case, engine, &later, 0, &expected, Duration::from_secs(5))
}
