//! What a parent orders and a child says.

use crate::history::{Event, TopicNumber, Value};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::sync::Mutex;

/// What a child is to do; one argument on its command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) directory: String,
    pub(super) backend: String,
    pub(super) lanes: u32,
    pub(super) seed: u64,
    /// Numbers of this child begin here.
    pub(super) first_operation: u64,
    pub(super) first_value: Value,
    pub(super) first_process: u32,
    pub(super) first_topic: TopicNumber,
    /// The history began at this reading of the clock that does not go back.
    pub(super) began_ns: u64,
    /// Names and numbers of topics that may be there.
    pub(super) topics: Vec<(String, TopicNumber)>,
    /// What was sent under the name, as far as the next child may need it.
    pub(super) outbox: Vec<Row>,
    /// Wait until nothing is withheld, read everything, close.
    pub(super) settle: bool,
    /// For showing that a lie is found.
    pub(super) lie: Option<Lie>,
}

/// What children say although it is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Lie {
    /// That buffered records are synced.
    Receipts,
    /// That what members acknowledged was flushed.
    Flushes,
}

/// A record that was sent under the name.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) topic: TopicNumber,
    pub(super) partition: u32,
    pub(super) sequence: u64,
    pub(super) value: Value,
    pub(super) is_acknowledged: bool,
}

/// One line of a child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    /// Part of the history.
    Event(Event),
    /// A topic is about to be created; it may be there from now on.
    Topic(String, TopicNumber),
    /// It was opened, and everything was read: the work begins.
    Ready,
    /// Something failed that should not.
    Trouble(String),
}

/// Whoever speaks holds this: whole lines only, in one order.
static TURN: Mutex<()> = Mutex::new(());

/// Says a message to the parent, in one line; it is made when it is this thread's turn.
pub(crate) fn say<M: Serialize>(message: impl FnOnce() -> M) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut line = serde_json::to_string(&message()).expect("messages are plain values");
    line.push('\n');
    // Straight to the pipe: what stays in a buffer of this process dies with it.
    let mut output = io::stdout().lock();
    if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(1);
    }
}

/// Says what should not be.
pub(super) fn say_trouble(text: String) {
    say(|| Message::Trouble(text));
}

/// A panic anywhere, in a thread of the engine too, is said before the kill can hide it.
pub(crate) fn say_panics() {
    std::panic::set_hook(Box::new(|panic| say(|| Message::Trouble(format!("a panic: {panic}")))));
}

/// The clock that does not go back, the same for parent and child.
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing, and this clock is always there.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_MONOTONIC is always there");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A small generator, so that all choices follow from the seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
