//! Somebody looks at the files from outside, while the engine writes them.
//!
//! What is shown goes into the history: it must be there after every crash that follows. Some look at the files as
//! they are at one moment, with writes that are on their way there or not; some while they change.

use super::{Actor, Operation};
use crate::history::{Call, Event, Happening, Reason};
use crate::sim::client::collect;
use crate::sim::contents::look_at_numbers;
use crate::sim::director::Director;
use crate::sim::random::Random;
use crate::sim::recorder::SimulatedClock;
use crate::sim::shape::{NAMES, Shape};
use crate::sim::shared::{Shared, topic_name};
use crate::sim::storage::SimulatedStorage;
use crate::sim::view::View;
use ringlane::io::Storage;
use ringlane::{ConsumerOptions, Engine, Error, Start, Topic};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

enum Look {
    /// At one moment; which writes can be seen follows from the number. And whether the power goes right afterwards,
    /// in a clone.
    AtOnce { number: u64, then_clone: bool },
    /// While the files change.
    Slowly,
    /// With the reader that looked slowly before, if there is one: it goes on where it stood.
    Again,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(match random.below(4) {
        0 | 1 => Look::AtOnce { number: random.number(), then_clone: random.one_in(3) },
        2 => Look::Slowly,
        _ => Look::Again,
    })
}

impl Operation for Look {
    fn actor(&self) -> Actor {
        Actor::World
    }

    fn happen(&self, director: &mut Director) {
        let shared = director.shared.clone();
        shared.count("looks from outside");
        let kept = match self {
            Look::AtOnce { number, then_clone } => return look_at_once(director, &shared, *number, *then_clone),
            Look::Slowly => None,
            Look::Again => director.outsider.take(),
        };
        let looked = match kept {
            Some(reader) => match reader.refresh() {
                // The lanes have become more or fewer below it: it is told to open anew.
                Err(Error::InvalidDirectory { .. }) if shared.plan.shape.changes_lanes => {
                    shared.count("readers outside that had to open anew");
                    open(director, SimulatedStorage::new(director.machine.clone()))
                }
                refreshed => refreshed.map(|()| reader),
            },
            None => open(director, SimulatedStorage::new(director.machine.clone())),
        };
        match looked {
            Ok(reader) => {
                show(director, &shared, &reader);
                director.outsider = Some(reader);
            }
            // Everything fails on a machine that is dead.
            Err(error) => drop(shared.judge("looking from outside", &error)),
        }
    }
}

fn look_at_once(director: &Director, shared: &Shared, number: u64, then_clone: bool) {
    let machine = director.machine.clone();
    let view = View::new(machine.with(|state| state.view(&mut Random::new(number))));
    let touched = view.touched();
    match open(director, view) {
        Ok(reader) => show(director, shared, &reader),
        Err(error) => drop(shared.judge("looking at once", &error)),
    }
    if touched.load(Ordering::Relaxed) > 0 {
        shared.violation("who only looks tried to change or lock something");
    }
    if then_clone {
        machine.with(|state| state.snapshot(&machine));
    }
}

fn open(director: &Director, storage: impl Storage + 'static) -> ringlane::Result<Engine> {
    let storage = Arc::new(storage);
    let clock = Arc::new(SimulatedClock::new(director.shared.recorder.clone()));
    Engine::open_read_only_on(Path::new("simulated"), storage, clock, director.shared.plan.shape.options.clone())
}

/// Reads everything that is shown, into the history.
fn show(director: &Director, shared: &Shared, reader: &Engine) {
    let sent = topics_of_values(shared);
    for name in 0..NAMES {
        let Ok(topic) = reader.topic(&topic_name(name)) else { continue };
        for partition in 0..topic.partitions() {
            match read(reader, shared, &topic, partition) {
                Ok(records) => {
                    // Which of the topics of this name it is, its records say.
                    let first = records.first().map(|(_, value)| value);
                    let Some(number) = first.and_then(|value| sent.get(value)).copied() else { continue };
                    if shared.topic_names.borrow()[number as usize] != name {
                        shared.violation(format!("records of topic {number} are shown in {}", topic_name(name)));
                    }
                    shared.count("partitions shown outside");
                    let wall_ms = Some(shared.recorder.wall_max_ms());
                    let first_offset = records.first().map_or(0, |(offset, _)| *offset);
                    let shown = Happening::Shown { topic: number, partition, first_offset, records, wall_ms };
                    shared.recorder.happen(shown);
                }
                Err(Error::TopicDeleted { .. }) => break,
                Err(error) => drop(shared.judge("reading from outside", &error)),
            }
            if director.machine.is_dead() {
                return;
            }
        }
    }
}

fn topics_of_values(shared: &Shared) -> HashMap<u64, u32> {
    let history = shared.recorder.history();
    let sends = history.events().iter().filter_map(|event| match event {
        Event::Invoke { call: Call::Send { topic, value, .. }, .. } => Some((*value, *topic)),
        _ => None,
    });
    sends.collect()
}

fn read(reader: &Engine, shared: &Shared, topic: &Topic, partition: u32) -> ringlane::Result<Vec<(u64, u64)>> {
    let mut consumer = reader.consumer(ConsumerOptions::new().max_poll_records(1_000))?;
    consumer.assign(topic, partition, Start::Beginning)?;
    let mut records = Vec::new();
    loop {
        let polled = match consumer.poll(Duration::ZERO) {
            // Given up while it was read: what is left is shown.
            Err(Error::Truncated { to, .. }) => {
                records.clear();
                consumer.seek(topic, partition, Start::Offset(to))?;
                continue;
            }
            polled => polled?,
        };
        if polled.is_empty() {
            // Only its checks count: a part of the numbers is shown.
            if let Some(missing) = look_at_numbers(shared, &mut consumer)
                && let Some(lost) =
                    missing.iter().find(|range| matches!(range.reason, Reason::Corrupt | Reason::Unknown))
            {
                shared.violation(format!("outside, {} partition {partition}: {lost:?} is lost", topic.name()));
            }
            return Ok(records);
        }
        for read in collect(&polled, shared, |_, _| 0) {
            records.extend(read.records);
        }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Look::AtOnce { number, then_clone } => write!(f, "look from outside at once, {number:x}, {then_clone}"),
            Look::Slowly => f.write_str("look from outside"),
            Look::Again => f.write_str("look from outside once more"),
        }
    }
}
