//! A lane that panics: everybody who waits gets an answer, and the engine says what happened.
//!
//! A lane once panicked in its arithmetic while the engine was closing. Its thread ended, the answer to
//! the closing call was lost with it, and `close` waited for ever.

#![allow(clippy::unwrap_used)]

mod common;

use common::ring::{Around, open_with_ring};
use common::{directory, options};
use ringlane::io::{Ring, Write};
use ringlane::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A ring that panics when it is told to.
struct FragileRing {
    breaks: Arc<AtomicBool>,
}

impl Around for FragileRing {
    fn write(&mut self, inner: &mut dyn Ring, write: Write) {
        assert!(!self.breaks.load(Ordering::Relaxed), "told to break");
        inner.write(write);
    }
}

#[test]
fn everybody_who_waits_gets_an_answer() {
    let directory = directory();
    let breaks = Arc::new(AtomicBool::new(false));
    let shared = breaks.clone();
    let engine =
        open_with_ring(directory.path(), options().lanes(Some(2)), move |_| FragileRing { breaks: shared.clone() })
            .unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let kept = producer.send(&topic, Record::new(b"kept").partition(0)).unwrap().wait().unwrap();
    breaks.store(true, Ordering::Relaxed);
    let lost = producer.send(&topic, Record::new(b"lost").partition(0)).unwrap();
    let error = lost.wait().unwrap_err();
    assert!(error.is_unknown_outcome(), "{error}");
    // The other lane stops as well: one device, one truth.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let error = loop {
        assert!(std::time::Instant::now() < deadline);
        match producer.send(&topic, Record::new(b"late").partition(1)) {
            Err(error) => break error,
            Ok(handle) => drop(handle.wait()),
        }
    };
    assert!(matches!(error, Error::Poisoned { .. }) && error.to_string().contains("told to break"), "{error}");
    assert!(matches!(engine.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(engine.close(), Err(Error::Poisoned { .. })));
    drop((producer, topic, engine));

    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.topic("t").unwrap();
    assert_eq!(common::read_from(&engine, &topic, 0, Start::Beginning)[0], (kept.offset.unwrap(), b"kept".to_vec()));
    engine.close().unwrap();
}
