//! What was sent, what became of it, and whether it is all there.

use super::values;
use ringlane::{Engine, Error, Producer, Record, Result, Topic};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Long enough for any machine; only a hang takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a record holds: its number, and something more.
pub(crate) fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = vec![b'v'; bytes.max(8)];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// What was sent to a topic, and what became of it.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) next: u64,
    pub(crate) acknowledged: BTreeSet<u64>,
    /// Refused before or after they were in the buffer: must not be there.
    pub(crate) refused: BTreeSet<u64>,
    pub(crate) errors: Vec<Error>,
}

impl Ledger {
    /// Sends `count` records to a partition, all in flight together, and waits for their outcomes.
    pub(crate) fn send(&mut self, producer: &Producer, topic: &Topic, partition: u32, count: u64, bytes: usize) {
        let mut handles = Vec::new();
        for _ in 0..count {
            let number = self.next;
            self.next += 1;
            match producer.send(topic, Record::new(&value(number, bytes)).partition(partition)) {
                Ok(handle) => handles.push((number, handle)),
                Err(error) => self.note(number, Err(error)),
            }
        }
        for (number, handle) in handles {
            let outcome = handle.wait_timeout(PATIENCE).expect("an outcome");
            self.note(number, outcome.map(drop));
        }
    }

    fn note(&mut self, number: u64, outcome: Result<()>) {
        match outcome {
            Ok(()) => drop(self.acknowledged.insert(number)),
            Err(error) => {
                if !error.is_unknown_outcome() {
                    self.refused.insert(number);
                }
                self.errors.push(error);
            }
        }
    }

    /// There were errors since the last look, and all of them say that the disk is full.
    #[track_caller]
    pub(crate) fn assert_no_space(&mut self) {
        assert!(!self.errors.is_empty());
        for error in self.errors.drain(..) {
            assert!(matches!(error, Error::NoSpace { .. }) && error.is_retriable(), "{error}");
        }
    }

    /// Sends until an error comes.
    pub(crate) fn send_until_error(&mut self, producer: &Producer, topic: &Topic, partition: u32) {
        let start = Instant::now();
        while self.errors.is_empty() {
            assert!(start.elapsed() < PATIENCE, "no error came");
            self.send(producer, topic, partition, 20, 10_000);
        }
    }

    /// Sends until a record is taken; only errors that allow a retry may come.
    pub(crate) fn send_until_success(&mut self, producer: &Producer, topic: &Topic, partition: u32) {
        let start = Instant::now();
        loop {
            self.errors.clear();
            self.send(producer, topic, partition, 1, 10_000);
            let Some(error) = self.errors.pop() else { return };
            assert!(error.is_retriable(), "{error}");
            assert!(start.elapsed() < PATIENCE, "still {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Acknowledged exactly once, unknown at most once, refused never, nothing else.
    #[track_caller]
    pub(crate) fn check(&self, engine: &Engine) {
        let topic = engine.topic("t").unwrap();
        let mut seen = BTreeSet::new();
        for partition in 0..topic.partitions() {
            for value in values(engine, &topic, partition) {
                let number = u64::from_le_bytes(value[..8].try_into().unwrap());
                assert!(number < self.next, "{number} was never sent");
                assert!(seen.insert(number), "{number} is there twice");
                assert!(value[8..].iter().all(|byte| *byte == b'v'), "{number} is changed");
            }
        }
        let lost: Vec<_> = self.acknowledged.difference(&seen).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let refused: Vec<_> = self.refused.intersection(&seen).collect();
        assert!(refused.is_empty(), "refused and there: {refused:?}");
    }
}
