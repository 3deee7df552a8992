//! A crash while writes into two segments are in flight.
//!
//! Under a bulk load the first write into a segment may land before the last ones into the segment
//! before it. Opening once started at the newest checkpoint without asking whether what lies before it
//! was durable: records that nobody had a receipt for then looked like damage to acknowledged ones, and
//! the engine stopped when it made the index of that segment.

#![allow(clippy::unwrap_used)]

mod common;

use common::ring::open_with_ring;
use common::{directory, read_from, small};
use ringlane::io::{Completion, File, Ring, RingCounters, Wait, Wake, Write};
use ringlane::*;
use std::io::Result as IoResult;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Control {
    /// From now on, writes to the file that is written next are held back.
    hold: AtomicBool,
    held_file: Mutex<Option<String>>,
    /// Writes to other files that went through meanwhile.
    passed: AtomicUsize,
    release: AtomicBool,
}

/// Lets everything go at the end, also of a test that fails: closing waits for writes in flight.
struct Release(Arc<Control>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.release.store(true, Ordering::SeqCst);
    }
}

struct HoldingRing {
    inner: Box<dyn Ring>,
    control: Arc<Control>,
    held: Vec<Write>,
}

impl Ring for HoldingRing {
    fn write(&mut self, write: Write) {
        // Behind a page that is not full nothing follows until it is done: only whole pages are held.
        let holds = self.control.hold.load(Ordering::SeqCst) && write.tail.is_none();
        if holds && !self.control.release.load(Ordering::SeqCst) {
            let mut held_file = self.control.held_file.lock().unwrap();
            let name = write.file.name().to_owned();
            if *held_file.get_or_insert_with(|| name.clone()) == name {
                return self.held.push(write);
            }
            self.control.passed.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.write(write);
    }
    fn flush(&mut self, token: u64, file: &Arc<dyn File>) {
        self.inner.flush(token, file);
    }
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> IoResult<()> {
        if self.control.release.load(Ordering::SeqCst) {
            for write in self.held.drain(..) {
                self.inner.write(write);
            }
        }
        // Held writes never complete on their own: do not sleep over them.
        let wait = if self.held.is_empty() { wait } else { Wait::No };
        self.inner.turn(wait, completions)
    }
    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }
    fn counters(&self) -> RingCounters {
        self.inner.counters()
    }
}

#[test]
fn what_was_not_durable_is_cut_and_not_taken_for_damage() {
    let directory = directory();
    let control = Arc::new(Control::default());
    let shared = control.clone();
    let engine = open_with_ring(directory.path(), small(), move |inner| {
        Box::new(HoldingRing { inner, control: shared.clone(), held: Vec::new() })
    })
    .unwrap();
    let release = Release(control.clone());
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let value = |number: u32| vec![number as u8; 3000];
    let mut acknowledged = 0;
    for number in 0..100 {
        producer.send(&topic, Record::new(&value(number))).unwrap().wait().unwrap();
        acknowledged += 1;
    }
    control.hold.store(true, Ordering::SeqCst);
    let handles: Vec<_> =
        (100..2000).map(|number| producer.send(&topic, Record::new(&value(number))).unwrap()).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while control.passed.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "nothing was written behind the held segment");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(20));
    // The state of the disk as a crash would leave it now.
    let crashed = common::directory();
    let mut names: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    // The manifest first: what it names is there when it is read.
    names.sort();
    for name in names {
        std::fs::copy(directory.path().join(&name), crashed.path().join(&name)).unwrap();
    }
    drop(release);
    for handle in handles {
        handle.wait().unwrap();
    }
    engine.close().unwrap();

    for _ in 0..2 {
        let engine = Engine::open(crashed.path(), small()).unwrap();
        let topic = engine.topic("t").unwrap();
        let records = read_from(&engine, &topic, 0, Start::Beginning);
        assert!(records.len() >= acknowledged, "{} of {acknowledged}", records.len());
        for (offset, read) in records {
            assert_eq!(read, value(offset as u32));
        }
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        let next = engine.topic("t").unwrap().partition_info(0).unwrap().next_offset;
        let receipt = producer.send(&topic, Record::new(&value(next as u32))).unwrap().wait().unwrap();
        assert_eq!(receipt.offset, Some(next));
        acknowledged = next as usize + 1;
        engine.close().unwrap();
        assert!(!verify(crashed.path(), &mut |_| {}).unwrap().is_damaged());
    }
}
