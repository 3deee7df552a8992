//! A second process that looks from outside while the child works, is killed, or opens again.
//!
//! Invariant: it goes on where it was when the number of lanes has changed, so that nothing may be left out then.

use super::message::{Message, say, say_panics};
use super::order::{WatchOrder, receive, wait_for_the_end};
use super::reader::Reading;
use crate::sim::random::Random;
use ringlane::{Engine, Error, Options, Start};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// How long it waits for news.
const POLL: Duration = Duration::from_millis(100);
/// Opened again so often in a row without reading, something is wrong.
const OPENINGS_MAX: u32 = 100;

/// Does what the parent orders on standard input.
///
/// # Errors
/// The order cannot be read, or the engine fails.
pub fn run_watcher() -> Result<(), String> {
    // SAFETY: changes a setting of this process only. It does not outlive its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let order: WatchOrder = receive()?;
    say_panics();
    let stopping = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&order, &stopping));
        wait_for_the_end();
        stopping.store(true, Relaxed);
        watching.join().expect("it does not panic")
    })
    .map_err(|error| {
        say(Message::Trouble(format!("from outside: {error}")));
        error.to_string()
    })
}

fn watch(order: &WatchOrder, stopping: &AtomicBool) -> ringlane::Result<()> {
    let mut random = Random::new(order.seed);
    let mut positions: Option<Vec<(usize, u32, u64)>> = None;
    let mut openings = 0;
    while !stopping.load(Relaxed) {
        openings += 1;
        let engine = Engine::open_read_only(&order.directory, Options::new())?;
        let result = watch_one(order, &engine, &mut random, &mut positions, stopping, &mut openings);
        match result {
            // Other lanes: it is to be opened again.
            Err(Error::InvalidDirectory { .. }) if openings < OPENINGS_MAX => {}
            result => return result,
        }
    }
    Ok(())
}

fn watch_one(
    order: &WatchOrder,
    engine: &Engine,
    random: &mut Random,
    positions: &mut Option<Vec<(usize, u32, u64)>>,
    stopping: &AtomicBool,
    openings: &mut u32,
) -> ringlane::Result<()> {
    let plan = &order.plan;
    let mut reading = Reading::new(engine, plan, order.reader, None)?;
    let begun = match positions.take() {
        Some(known) => {
            known.iter().try_for_each(|(at, partition, offset)| reading.go_to(&plan.topics[*at], *partition, *offset))
        }
        None => plan.topics.iter().try_for_each(|topic| {
            let start = if random.one_in(3) { Start::Beginning } else { Start::End };
            (0..topic.partitions).try_for_each(|partition| reading.begin_at(topic, partition, start))
        }),
    };
    let result = begun.and_then(|()| {
        while !stopping.load(Relaxed) {
            if reading.poll(POLL)?.records > 0 {
                *openings = 0;
            }
        }
        Ok(())
    });
    let all = plan
        .topics
        .iter()
        .enumerate()
        .flat_map(|(at, topic)| (0..topic.partitions).map(move |partition| (at, partition)));
    let known = all.filter_map(|(at, partition)| Some((at, partition, reading.position(&plan.topics[at], partition)?)));
    *positions = Some(known.collect());
    result
}
