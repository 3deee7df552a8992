//! With `power_safe_overwrite` = false recovery wrote the last group's page once more, acknowledged records and
//! all. Where the power went just then, and left noise in a sector that was being written, the group was
//! gone, and looked like a torn one: opening cut it without a word. (Simulator, seed 32 of its first day: a
//! kill, and then a loss of power while the directory was opened again.)

use ringlane::{ConsumerOptions, Engine, Options, ProducerOptions, Record, Start, TopicOptions};
use ringlane_proof::history::CrashKind;
use ringlane_proof::sim::disk::Disk;
use ringlane_proof::sim::machine::{Machine, Temper};
use ringlane_proof::sim::random::Random;
use ringlane_proof::sim::recorder::{Recorder, SimulatedClock};
use ringlane_proof::sim::scheduler::{Scheduler, Turn};
use ringlane_proof::sim::storage::SimulatedStorage;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const RECORDS: u64 = 3;
/// More operations of the disk than an opening has.
const OPENING_OPERATIONS_MAX: u64 = 60;
const TRIES: u64 = 8;

const GARBAGE: Temper = Temper { snapshot_one_in: 0, snapshots_max: 0, garbage: true };

/// Runs `work` on a machine with this disk; the machine dies after so many operations, or when it is done.
fn on_machine(
    seed: u64,
    disk: Disk,
    dies_after: Option<u64>,
    kind: CrashKind,
    work: impl FnOnce(ringlane::Result<Engine>) + 'static,
) -> Disk {
    let scheduler = Scheduler::new(Random::new(seed), 1_000_000);
    let _installed = scheduler.install();
    let recorder = Recorder::new();
    let machine = Machine::new(disk, Random::new(seed), GARBAGE, recorder.clone());
    if let Some(operations) = dies_after {
        machine.die_after(operations, kind);
    }
    let storage = Arc::new(SimulatedStorage::new(machine.clone()));
    let inside = machine.clone();
    scheduler.start("application", move || {
        let options = Options::new().power_safe_overwrite(false).pin_lanes(false).segment_bytes_first(1 << 20);
        let options = options.record_bytes_max(4096).batch_bytes(4096);
        work(Engine::open_on(Path::new("simulated"), storage, Arc::new(SimulatedClock::new(recorder)), options));
        inside.die(kind);
    });
    while scheduler.turn() == Turn::Stepped {}
    assert_eq!(scheduler.take_panics(), Vec::<String>::new());
    machine.take_death().expect("it died at the latest when the work was done").disk
}

fn write(opened: ringlane::Result<Engine>) {
    let engine = opened.expect("a new engine opens");
    let topic = engine.create_topic("t", TopicOptions::new()).expect("created");
    let producer = engine.producer(ProducerOptions::new()).expect("a producer");
    for number in 0..RECORDS {
        let value = number.to_le_bytes();
        let receipt = producer.send(&topic, Record::new(&value)).and_then(|handle| handle.wait());
        assert_eq!(receipt.expect("acknowledged").offset, Some(number));
    }
    // The process is killed with the engine open.
    std::mem::forget(engine);
}

fn count(opened: ringlane::Result<Engine>) -> Result<u64, String> {
    let engine = opened.map_err(|error| error.to_string())?;
    let topic = engine.topic("t").map_err(|error| error.to_string())?;
    let mut consumer = engine.consumer(ConsumerOptions::new()).map_err(|error| error.to_string())?;
    consumer.assign(&topic, 0, Start::Beginning).map_err(|error| error.to_string())?;
    let records = consumer.poll(Duration::ZERO).map_err(|error| error.to_string())?;
    Ok(records.len() as u64)
}

#[test]
fn recovery_harms_nothing_where_overwriting_is_not_safe() {
    let written = on_machine(1, Disk::default(), None, CrashKind::Kill, write);
    for operations in 0..OPENING_OPERATIONS_MAX {
        for seed in 0..TRIES {
            let seed = 100 + operations * TRIES + seed;
            let left = on_machine(seed, written.clone(), Some(operations), CrashKind::PowerLoss, drop);
            let found = Arc::new(Mutex::new(Err("nobody looked".to_owned())));
            let theirs = found.clone();
            on_machine(seed, left, None, CrashKind::Kill, move |opened| *theirs.lock().unwrap() = count(opened));
            let found = found.lock().unwrap().clone();
            assert_eq!(found, Ok(RECORDS), "the power went after {operations} operations of the opening, seed {seed}");
        }
    }
}
