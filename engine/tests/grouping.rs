//! Groups, and what ends the waiting for one: that writes are shared is counted, not believed.
//!
//! A journal of another system lost its grouping in a release, unnoticed: every record was flushed
//! alone, and only the speed told. So these tests count writes, on a ring that holds completions back.

#![allow(clippy::unwrap_used)]

mod common;

use common::ring::{Around, open_with_ring};
use common::{directory, options, small};
use ringlane::io::{Completion, Ring, Wait, Wake, Write};
use ringlane::*;
use std::io::Result as IoResult;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

/// What a test shares with its lane's ring.
#[derive(Default)]
struct Gate {
    closed: AtomicBool,
    durable_writes: AtomicU64,
    turns: AtomicU64,
    waker: Mutex<Option<Arc<dyn Wake>>>,
}

impl Gate {
    /// From now on no completion reaches the lane.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
        self.waker.lock().unwrap().as_ref().unwrap().wake();
    }

    fn durable_writes(&self) -> u64 {
        self.durable_writes.load(Ordering::SeqCst)
    }

    fn wait_for_writes(&self, count: u64) {
        wait_until("a write leaves", || self.durable_writes() >= count);
    }
}

struct GatedRing {
    gate: Arc<Gate>,
    held: Vec<Completion>,
}

impl Around for GatedRing {
    fn write(&mut self, inner: &mut dyn Ring, write: Write) {
        if write.durable {
            self.gate.durable_writes.fetch_add(1, Ordering::SeqCst);
        }
        inner.write(write);
    }
    fn turn(&mut self, inner: &mut dyn Ring, wait: Wait, completions: &mut Vec<Completion>) -> IoResult<()> {
        self.gate.turns.fetch_add(1, Ordering::SeqCst);
        let wait = if self.held.is_empty() || self.gate.closed.load(Ordering::SeqCst) { wait } else { Wait::No };
        inner.turn(wait, &mut self.held)?;
        if !self.gate.closed.load(Ordering::SeqCst) {
            completions.append(&mut self.held);
        }
        Ok(())
    }
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited for ever until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Gated {
    engine: Engine,
    topic: Topic,
    producer: Producer,
    gate: Arc<Gate>,
    _directory: tempfile::TempDir,
}

fn gated(options: Options) -> Gated {
    let directory = directory();
    let gate = Arc::new(Gate::default());
    let shared = gate.clone();
    let engine = open_with_ring(directory.path(), options, move |inner| {
        *shared.waker.lock().unwrap() = Some(inner.waker());
        GatedRing { gate: shared.clone(), held: Vec::new() }
    })
    .unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(8)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    Gated { engine, topic, producer, gate, _directory: directory }
}

/// While a write is on its way others gather, and leave together. A mark may follow, nothing more.
const MARKS_MAX: u64 = 1;

#[test]
fn what_many_blocking_senders_bring_during_a_write_is_one_write() {
    let Gated { engine, topic, producer, gate, _directory } = gated(options());
    gate.close();
    let before = gate.durable_writes();
    let first = producer.send(&topic, Record::new(b"first")).unwrap();
    gate.wait_for_writes(before + 1);
    let all_sent = Barrier::new(65);
    std::thread::scope(|scope| {
        for number in 0..64u8 {
            let (producer, topic, all_sent) = (&producer, &topic, &all_sent);
            scope.spawn(move || {
                let handle = producer.send(topic, Record::new(&[number])).unwrap();
                all_sent.wait();
                handle.wait().unwrap();
            });
        }
        all_sent.wait();
        assert_eq!(gate.durable_writes(), before + 1, "they gather");
        gate.open();
    });
    first.wait().unwrap();
    let writes = gate.durable_writes() - before;
    assert!((2..=2 + MARKS_MAX).contains(&writes), "65 records took {writes} writes");
    engine.close().unwrap();
}

#[test]
fn what_one_sender_sends_during_a_write_is_one_write() {
    let Gated { engine, topic, producer, gate, _directory } = gated(options());
    gate.close();
    let before = gate.durable_writes();
    let mut handles = vec![producer.send(&topic, Record::new(b"first")).unwrap()];
    gate.wait_for_writes(before + 1);
    for number in 0..200u8 {
        handles.push(producer.send(&topic, Record::new(&[number])).unwrap());
    }
    gate.open();
    let flushes_before = engine.stats().lanes[0].flushes;
    for handle in handles {
        handle.wait().unwrap();
    }
    let writes = gate.durable_writes() - before;
    assert!((2..=2 + MARKS_MAX).contains(&writes), "201 records took {writes} writes");
    assert!(engine.stats().lanes[0].flushes - flushes_before <= 2 + MARKS_MAX, "and as many flushes");
    engine.close().unwrap();
}

#[test]
fn a_batch_for_many_partitions_is_one_write() {
    let Gated { engine, topic, producer, gate, _directory } = gated(options());
    let before = gate.durable_writes();
    let values: Vec<[u8; 2]> = (0..300u16).map(u16::to_le_bytes).collect();
    let records: Vec<_> = values.iter().zip(0..).map(|(value, at)| Record::new(value).partition(at % 8)).collect();
    producer.send_batch(&topic, &records).unwrap().wait().unwrap();
    let writes = gate.durable_writes() - before;
    assert!((1..=1 + MARKS_MAX).contains(&writes), "300 records took {writes} writes");
    engine.close().unwrap();
}

/// Without `linger_us` a record that comes while nothing is on its way leaves at once, and the next one
/// is another write.
#[test]
fn a_small_group_waits_for_company_only_if_it_is_told_to() {
    for (linger_us, writes_expected) in [(0, 2), (1_000_000, 1)] {
        let Gated { engine, topic, producer, gate, _directory } = gated(options().linger_us(linger_us));
        let before = gate.durable_writes();
        let sent_at = Instant::now();
        let first = producer.send(&topic, Record::new(b"first")).unwrap();
        if linger_us == 0 {
            gate.wait_for_writes(before + 1);
        } else {
            std::thread::sleep(Duration::from_millis(50));
            let writes = gate.durable_writes() - before;
            // On a machine that stood still for the whole time nothing can be said.
            assert!(writes == 0 || sent_at.elapsed() >= Duration::from_micros(linger_us), "it left alone");
        }
        let second = producer.send(&topic, Record::new(b"second")).unwrap();
        let offsets = [first.wait().unwrap().offset, second.wait().unwrap().offset];
        assert!(offsets.iter().all(Option::is_some));
        let writes = gate.durable_writes() - before;
        let expected = writes_expected..=writes_expected + MARKS_MAX;
        assert!(expected.contains(&writes), "{writes} writes with linger_us {linger_us}");
        engine.close().unwrap();
    }
}

/// Nobody sends after it, nobody asks for it: the interval alone brings a buffered record to the device.
#[test]
fn a_buffered_record_is_flushed_within_its_interval() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options().flush_interval_ms(30)).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new().durability(Durability::Buffered)).unwrap();
    let receipt = producer.send(&topic, Record::new(b"buffered")).unwrap().wait().unwrap();
    assert_eq!(receipt.durability, Durability::Buffered);
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, receipt.partition, Start::Beginning).unwrap();
    // Consumers see what is durable, and nothing else.
    let records = consumer.poll(Duration::from_secs(60)).unwrap();
    assert_eq!(records.iter().next().unwrap().value(), Some(&b"buffered"[..]));
    engine.close().unwrap();
}

/// A lane with buffered records that were not due yet found its mark overdue, which cannot be written before
/// them, and turned round and round until the interval was over.
#[test]
fn a_lane_sleeps_until_buffered_records_are_due() {
    let Gated { engine, topic, gate, _directory, .. } = gated(options().flush_interval_ms(500));
    let producer = engine.producer(ProducerOptions::new().durability(Durability::Buffered)).unwrap();
    // At rest, so that what follows is all that the lane has to do.
    std::thread::sleep(Duration::from_millis(100));
    let before = gate.turns.load(Ordering::SeqCst);
    let receipt = producer.send(&topic, Record::new(b"buffered")).unwrap().wait().unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, receipt.partition, Start::Beginning).unwrap();
    assert!(!consumer.poll(Duration::from_secs(60)).unwrap().is_empty());
    let turns = gate.turns.load(Ordering::SeqCst) - before;
    assert!(turns < 100, "{turns} turns for one record");
    engine.close().unwrap();
}

/// Damage to the last group is told from a torn tail only by a later frame that says it was durable. A
/// lane that is left alone writes one: a mark, once.
#[test]
fn an_idle_lane_marks_what_is_durable_once() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for round in 0..3 {
        producer.send(&topic, Record::new(b"x")).unwrap().wait().unwrap();
        wait_until("the record is followed by a mark", || {
            let frames = frames_of_the_last_segment(directory.path());
            let Some(records) = frames.iter().rposition(|frame| frame.kind == "records") else { return false };
            let end = frames[records].position + frames[records].bytes;
            frames[records + 1..].iter().any(|frame| frame.kind == "mark" && frame.durable >= end)
        });
        // Long enough for many more, if they were written again and again.
        std::thread::sleep(Duration::from_millis(200));
        let frames = frames_of_the_last_segment(directory.path());
        let records = frames.iter().rposition(|frame| frame.kind == "records").unwrap();
        let after: Vec<_> = frames[records + 1..].iter().map(|frame| frame.kind).collect();
        assert_eq!(after, ["mark"], "round {round}");
    }
    engine.close().unwrap();
}

fn frames_of_the_last_segment(path: &std::path::Path) -> Vec<ringlane::inspect::FrameInfo> {
    let inspection = inspect(path).unwrap();
    let mut best = Vec::new();
    for segment in &inspection.segments {
        let mut frames = Vec::new();
        inspect_frames(path, &segment.file, &mut |frame| {
            let whole = frame.problem.is_none();
            frames.extend(whole.then_some(frame));
            whole
        })
        .unwrap();
        if frames.iter().any(|frame| frame.kind == "records") {
            best = frames;
        }
    }
    best
}
