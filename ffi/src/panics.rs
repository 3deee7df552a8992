//! A panic in a call is a bug, and nobody knows what it left half done: the engines of this process stop.

use engine::Engine;
use engine::Monitor;
use std::sync::{Mutex, PoisonError};

/// Every engine that was opened through the ABI and is still there.
static ENGINES: Mutex<Vec<Monitor>> = Mutex::new(Vec::new());

/// An engine was opened.
pub(crate) fn remember(engine: &Engine) {
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    engines.retain(Monitor::is_there);
    engines.push(engine.monitor());
}

/// A call panicked.
pub(crate) fn stop_all(words: &str) {
    for engine in &*ENGINES.lock().unwrap_or_else(PoisonError::into_inner) {
        engine.stop_after_bug(words);
    }
}
