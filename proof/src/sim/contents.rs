//! Reading everything that is there, partition by partition, into the history.

use super::client::collect;
use super::machine::Machine;
use super::recorder::wall_ms_at;
use super::shape::NAMES;
use super::shared::{Identified, Shared, topic_name};
use crate::history::{Answer, Call, Event, Happening, History, Missing, Origin, Outcome, Reason};
use crate::witness::{discontinuities, missing, origin_of};
use ringlane::{Consumer, ConsumerOptions, Engine, Error, Start, Topic};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// So often a read that failed is tried again before the fault is taken away.
const TRIES_MAX: u32 = 3;

/// Writes everything that is there into the history. Gives the topics that are there by name.
pub fn list(
    engine: &Engine,
    shared: &Shared,
    machine: &Arc<Machine>,
    expected: [Option<u32>; NAMES],
) -> [Option<u32>; NAMES] {
    let mut there = [None; NAMES];
    check_disk(engine, shared);
    for (name, number) in expected.into_iter().enumerate() {
        match (engine.topic(&topic_name(name)), number) {
            (Ok(topic), Some(number)) => {
                there[name] = Some(number);
                for partition in 0..topic.partitions() {
                    list_partition(engine, shared, machine, &topic, number, partition);
                }
            }
            // Damage may have taken the end of a log, and the deletion with it.
            (Ok(_), None) if shared.allowed.get().damage => shared.count("deletions lost to damage"),
            (Ok(_), None) => shared.violation(format!("{} is there, and nobody created it", topic_name(name))),
            (Err(_), Some(topic)) => shared.recorder.happen(Happening::TopicMissing { topic }),
            (Err(_), None) => {}
        }
    }
    there
}

fn list_partition(
    engine: &Engine,
    shared: &Shared,
    machine: &Arc<Machine>,
    topic: &Topic,
    number: u32,
    partition: u32,
) {
    let mut tries = 0;
    loop {
        match read_partition(engine, shared, topic, partition) {
            Ok(Listed { first_offset, records, timestamps, bytes_max, origins, missing, identified }) => {
                let wall_ms = Some(shared.recorder.wall_max_ms());
                check_seek(engine, shared, topic, partition, first_offset, &timestamps);
                if first_offset > 0 {
                    shared.recorder.happen(Happening::truncated(number, partition, first_offset));
                    check_kept(shared, topic, number, partition, first_offset, bytes_max);
                }
                let contents = Happening::Contents { topic: number, partition, first_offset, records, wall_ms };
                shared.recorder.happen(contents);
                // What is damaged is not judged by its numbers.
                if let Some(missing) = missing.filter(|_| !shared.allowed.get().damage) {
                    shared.recorder.happen(Happening::Origins { topic: number, partition, origins, missing });
                }
                return check_ids(shared, (number, partition), topic, first_offset, &identified);
            }
            Err(error) => {
                shared.judge("reading everything", &error);
                if matches!(error, Error::Damaged { .. }) {
                    let first_offset = topic.partition_info(partition).map_or(0, |info| info.first_offset);
                    return report(shared, number, partition, first_offset, &error);
                }
                // Meanwhile more is given up.
                if matches!(error, Error::Truncated { .. }) {
                    continue;
                }
                tries += 1;
                if shared.recorder.is_silent() || !matches!(error, Error::Io(_)) {
                    return;
                }
                if tries >= TRIES_MAX {
                    machine.with(|state| state.faults.clear());
                }
            }
        }
    }
}

/// The engine said that it cannot give a partition's records. Which of them it can is not looked at.
fn report(shared: &Shared, topic: u32, partition: u32, first_offset: u64, error: &Error) {
    shared.count("damage reported by reads");
    let code = error.code().to_owned();
    shared.recorder.happen(Happening::Reported { topic, partition, first_offset: 0, count: u64::MAX, code });
    let wall_ms = Some(shared.recorder.wall_max_ms());
    shared.recorder.happen(Happening::Contents { topic, partition, first_offset, records: Vec::new(), wall_ms });
}

/// What a partition has.
struct Listed {
    first_offset: u64,
    records: Vec<(u64, u64)>,
    timestamps: Vec<i64>,
    /// No more bytes than these are kept, however the engine counts.
    bytes_max: u64,
    origins: Vec<Origin>,
    /// Which numbers are missing; `None`: the engine could not be asked.
    missing: Option<Vec<Missing>>,
    /// Offsets and message ids.
    identified: Vec<(u64, Vec<u8>)>,
}

/// What a record takes at most beside its value: header, key, headers, and a frame of its own.
const BESIDE_VALUE_BYTES: u64 = 256;

/// Records were given up, and nobody asked for that by their offset: then more is kept than the topic was asked for,
/// or what went was old enough.
fn check_kept(shared: &Shared, topic: &Topic, number: u32, partition: u32, first_offset: u64, bytes_max: u64) {
    let Some(kept) = shared.kept.borrow().get(&number).copied() else { return };
    if shared.plan.shape.drops_oldest() || bytes_max >= kept.bytes {
        return;
    }
    let history = shared.recorder.history();
    let is_asked = history.events().iter().any(|event| {
        matches!(event, Event::Invoke { call: Call::DeleteRecords { topic, partition: of, .. }, .. }
            if *topic == number && *of == partition)
    });
    if is_asked {
        return;
    }
    let name = topic.name();
    if kept.ms == u64::MAX {
        shared.violation(format!(
            "{name} partition {partition}: {bytes_max} bytes are kept at most, {} must be",
            kept.bytes
        ));
        return;
    }
    // Where the clock jumps nobody here knows how old a record is. At the end of a run it is set ahead, for what is due.
    let age_ms = youngest_given_up(&history, number, partition, first_offset)
        .map(|sent_ns| (shared.recorder.wall_max_ms() - wall_ms_at(sent_ns)).unsigned_abs())
        .filter(|_| !shared.plan.shape.clock_jumps);
    if age_ms.is_some() {
        shared.count("looks at what was given up for its age");
    }
    if let Some(age_ms) = age_ms.filter(|age_ms| *age_ms < kept.ms) {
        shared.violation(format!(
            "{name} partition {partition}: a record is given up that is not {age_ms} ms old, and {} must be kept",
            kept.ms
        ));
    }
}

/// When the youngest record below an offset was sent, of those whose offset was told to their senders.
fn youngest_given_up(history: &History, number: u32, partition: u32, first_offset: u64) -> Option<u64> {
    let mut sent = HashMap::new();
    let mut youngest = None;
    for event in history.events() {
        match event {
            Event::Invoke { at_ns, operation, call: Call::Send { topic, .. }, .. } if *topic == number => {
                sent.insert(*operation, *at_ns);
            }
            Event::Complete {
                operation, outcome: Outcome::Ok(Answer::Receipt { partition: of, offset, .. }), ..
            } => {
                let is_given_up = *of == partition && offset.is_some_and(|offset| offset < first_offset);
                youngest = youngest.max(sent.get(operation).copied().filter(|_| is_given_up));
            }
            _ => {}
        }
    }
    youngest
}

/// So far beyond the bound a copy goes that makes room.
const COPY_BEYOND_BYTES: u64 = 4 << 20;
/// And openings, which make their reserves all the same.
const OPENING_BEYOND_BYTES: u64 = 8 << 20;

/// No more of the disk is taken than the engine may.
pub(super) fn check_disk(engine: &Engine, shared: &Shared) {
    let Some(bound) = shared.plan.shape.options.disk_bytes_max else { return };
    let disk_bytes = engine.stats().disk_bytes;
    let beyond_bytes = OPENING_BEYOND_BYTES + if shared.plan.shape.cleans { COPY_BEYOND_BYTES } else { 0 };
    if disk_bytes > bound + beyond_bytes {
        shared.violation(format!("{disk_bytes} bytes of the disk are taken, {bound} may be"));
    }
    if disk_bytes > bound / 4 * 3 {
        shared.count("looks at a disk near its bound");
    }
}

fn read_partition(engine: &Engine, shared: &Shared, topic: &Topic, partition: u32) -> ringlane::Result<Listed> {
    let mut consumer = engine.consumer(ConsumerOptions::new().max_poll_records(1_000))?;
    consumer.assign(topic, partition, Start::Beginning)?;
    let first_offset = consumer.position(topic, partition).unwrap_or(0);
    let mut listed = Listed {
        first_offset,
        records: Vec::new(),
        timestamps: Vec::new(),
        bytes_max: 0,
        origins: Vec::new(),
        missing: None,
        identified: Vec::new(),
    };
    loop {
        let polled = consumer.poll(Duration::ZERO)?;
        if polled.is_empty() {
            listed.missing = look_at_numbers(shared, &mut consumer);
            return Ok(listed);
        }
        for view in &polled {
            listed.origins.push(origin_of(view.origin()));
            listed.identified.extend(view.message_id().map(|id| (view.offset(), id.to_vec())));
            listed.timestamps.push(view.timestamp_ms());
            listed.bytes_max += view.value().map_or(0, <[u8]>::len) as u64 + BESIDE_VALUE_BYTES;
        }
        for read in collect(&polled, shared, |_, _| 0) {
            listed.records.extend(read.records);
        }
    }
}

/// Asks what is missing in what a consumer has read of a partition, and why. `None`: there is nobody to ask.
pub(super) fn look_at_numbers(shared: &Shared, consumer: &mut Consumer) -> Option<Vec<Missing>> {
    if shared.allowed.get().damage {
        return None;
    }
    let missing = match missing(consumer) {
        Ok(missing) => missing,
        Err(error) => {
            shared.judge("asking why numbers are missing", &error);
            return None;
        }
    };
    shared.count("looks at numbers");
    for range in &missing {
        let kind = match range.reason {
            Reason::Pending => "numbers found pending",
            Reason::Cancelled => "numbers found cancelled",
            Reason::Expired => "numbers found expired",
            Reason::Corrupt | Reason::Unknown => "numbers found lost",
        };
        shared.count(kind);
    }
    for text in discontinuities(consumer) {
        shared.violation(format!("continuity: {text}"));
    }
    Some(missing)
}

/// What was acknowledged with an id stands there; no id stands twice, where none was ever forgotten.
fn check_ids(shared: &Shared, place: (u32, u32), topic: &Topic, first_offset: u64, identified: &[(u64, Vec<u8>)]) {
    let (_, partition) = place;
    let at: HashMap<u64, &[u8]> = identified.iter().map(|(offset, id)| (*offset, &id[..])).collect();
    for Identified { id, receipt, .. } in shared.ids.borrow().get(&place).into_iter().flatten() {
        let offset = receipt.as_ref().and_then(|receipt| receipt.offset).filter(|offset| *offset >= first_offset);
        if let Some(offset) = offset.filter(|offset| at.get(offset) != Some(&&id[..])) {
            let name = topic.name();
            shared.violation(format!("{name} partition {partition}: id {id:02x?} does not stand at {offset}"));
        }
    }
    if shared.may_forget_originals() {
        return;
    }
    let mut seen = HashMap::new();
    for (offset, id) in identified {
        if let Some(before) = seen.insert(id, *offset) {
            let name = topic.name();
            shared.violation(format!("{name} partition {partition}: id {id:02x?} stands at {before} and {offset}"));
        }
    }
}

/// A seek by time goes to the first record at or after it.
fn check_seek(engine: &Engine, shared: &Shared, topic: &Topic, partition: u32, first_offset: u64, timestamps: &[i64]) {
    if timestamps.is_empty() {
        return;
    }
    let wanted = timestamps[timestamps.len() / 2] + (timestamps.len() % 3) as i64 - 1;
    let found_at = timestamps.iter().position(|timestamp_ms| *timestamp_ms >= wanted);
    let end = first_offset + timestamps.len() as u64;
    let expected = found_at.map_or(end, |at| first_offset + at as u64);
    // More may be given up meanwhile.
    let first_now = || topic.partition_info(partition).map_or(0, |info| info.first_offset);
    let found = position_at(engine, topic, partition, wanted);
    match found {
        // Records may have become visible since.
        Ok(found) if found == expected || expected == end && found > expected || first_now() > first_offset => {}
        Ok(found) => shared.violation(format!(
            "{} partition {partition}: offset {found} is said to be the first at or after {wanted}, and it is {expected}",
            topic.name()
        )),
        Err(error) => drop(shared.judge("seeking by time", &error)),
    }
}

fn position_at(engine: &Engine, topic: &Topic, partition: u32, timestamp_ms: i64) -> ringlane::Result<u64> {
    let mut consumer: Consumer = engine.consumer(ConsumerOptions::new())?;
    consumer.assign(topic, partition, Start::Timestamp(timestamp_ms))?;
    Ok(consumer.position(topic, partition).unwrap_or(u64::MAX))
}
