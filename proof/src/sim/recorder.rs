//! Writes the history of a run, and keeps its wall clock.
//!
//! Invariants:
//! - From a crash until the next opening nothing is written: nobody is left to see how calls end.
//! - The wall clock may jump; what is written down of it is the furthest it ever showed, for what was due
//!   once stays published.

use super::random::Digest;
use super::scheduler;
use crate::history::{Call, CrashKind, Durability, Event, Happening, History, Outcome, TopicNumber, Value};
use ringlane::io::Clock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// When histories begin, ms since 1970.
const EPOCH_MS: i64 = 1_750_000_000_000;

/// What the wall clock shows while nothing has set it.
pub(super) fn wall_ms_at(at_ns: u64) -> i64 {
    EPOCH_MS + (at_ns / 1_000_000) as i64
}

struct Inner {
    history: History,
    silent: bool,
    wall_offset_ms: i64,
    wall_max_ms: i64,
    /// The topic that each record was sent to.
    topics: HashMap<Value, TopicNumber>,
    /// Calls that came back.
    completed: u64,
    /// When the last one did.
    progress_ns: u64,
}

/// See the module. Clones write the same history.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
}

impl Recorder {
    /// A recorder of an empty history.
    pub fn new() -> Recorder {
        Recorder::going_on(History::new(), i64::MIN)
    }

    /// A recorder that goes on where a history ends, with a clock that has shown this before.
    pub fn going_on(history: History, wall_max_ms: i64) -> Recorder {
        let topics = history.events().iter().filter_map(|event| match event {
            Event::Invoke { call: Call::Send { value, topic, .. }, .. } => Some((*value, *topic)),
            _ => None,
        });
        let topics = topics.collect();
        let (silent, wall_offset_ms, completed, progress_ns) = (false, 0, 0, 0);
        let inner = Inner { history, silent, wall_offset_ms, wall_max_ms, topics, completed, progress_ns };
        Recorder { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A client is about to call.
    pub fn invoke(&self, process: u32, call: Call) -> u64 {
        let now_ns = scheduler::current().now_ns();
        let mut inner = self.lock();
        if inner.silent {
            return u64::MAX;
        }
        if let Call::Send { value, topic, .. } = call {
            inner.topics.insert(value, topic);
        }
        inner.history.invoke(now_ns, process, call)
    }

    /// A call came back.
    pub fn complete(&self, operation: u64, outcome: Outcome) {
        let now_ns = scheduler::current().now_ns();
        let mut inner = self.lock();
        inner.progress_ns = now_ns;
        if inner.silent || operation == u64::MAX {
            return;
        }
        inner.completed += 1;
        inner.history.complete(now_ns, operation, outcome);
    }

    /// Nobody's call.
    pub fn happen(&self, happening: Happening) {
        let now_ns = scheduler::current().now_ns();
        let mut inner = self.lock();
        inner.progress_ns = now_ns;
        if !inner.silent {
            inner.history.happen(now_ns, happening);
        }
    }

    /// The engine is gone; nobody sees anything until the next opening.
    pub fn crashed(&self, kind: CrashKind) {
        self.happen(Happening::Crash { kind, keeps: Durability::Synced });
        self.lock().silent = true;
    }

    /// Somebody looks again.
    pub fn listen(&self) {
        self.lock().silent = false;
    }

    /// Whether a crash came and nothing after it.
    pub fn is_silent(&self) -> bool {
        self.lock().silent
    }

    /// Something is going on, though nobody's call came back.
    pub fn progress(&self) {
        self.lock().progress_ns = scheduler::current().now_ns();
    }

    /// When something last went on.
    pub fn progress_ns(&self) -> u64 {
        self.lock().progress_ns
    }

    /// Calls that came back.
    pub fn completed(&self) -> u64 {
        self.lock().completed
    }

    /// The topic that a record was sent to.
    pub fn topic_of(&self, value: Value) -> Option<TopicNumber> {
        self.lock().topics.get(&value).copied()
    }

    /// How many events there are.
    pub fn events(&self) -> usize {
        self.lock().history.events().len()
    }

    /// The history as it is.
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// The first so many events.
    pub fn prefix(&self, events: usize) -> History {
        let mut history = History::new();
        for event in &self.lock().history.events()[..events] {
            history.push(event.clone());
        }
        history
    }

    /// The first call that came back with success, in all of the history.
    pub fn completed_before(&self) -> Option<usize> {
        let is_success = |event: &Event| matches!(event, Event::Complete { outcome: Outcome::Ok(_), .. });
        self.lock().history.events().iter().position(is_success)
    }

    /// Adds the history to a hash.
    pub fn digest(&self, digest: &mut Digest) {
        for event in self.lock().history.events() {
            digest.add_bytes(event.to_json().as_bytes());
        }
    }

    /// The wall clock, ms since 1970.
    pub fn wall_ms(&self) -> i64 {
        let now_ns = scheduler::current().now_ns();
        let mut inner = self.lock();
        let wall_ms = wall_ms_at(now_ns) + inner.wall_offset_ms;
        inner.wall_max_ms = inner.wall_max_ms.max(wall_ms);
        wall_ms
    }

    /// The furthest that the wall clock ever showed.
    pub fn wall_max_ms(&self) -> i64 {
        self.wall_ms();
        self.lock().wall_max_ms
    }

    /// The wall clock is set.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        let now_ns = scheduler::current().now_ns();
        self.lock().wall_offset_ms = wall_ms - wall_ms_at(now_ns);
    }

    /// The wall clock jumps.
    pub fn jump(&self, ms: i64) {
        self.wall_ms();
        self.lock().wall_offset_ms += ms;
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder::new()
    }
}

/// The clocks of the simulation.
pub struct SimulatedClock {
    recorder: Recorder,
}

impl SimulatedClock {
    /// The clock that a recorder keeps.
    pub fn new(recorder: Recorder) -> SimulatedClock {
        SimulatedClock { recorder }
    }
}

impl Clock for SimulatedClock {
    fn monotonic_ns(&self) -> u64 {
        scheduler::current().now_ns()
    }

    fn wall_ms(&self) -> i64 {
        self.recorder.wall_ms()
    }
}
