//! What the threads of one run share.

use super::faults::Counts;
use super::groups::Registry;
use super::outbox::Producers;
use super::plan::Plan;
use super::random::Random;
use super::recorder::Recorder;
use super::shape::NAMES;
use super::transactions::Transactions;
use crate::history::{Call, Event, History, Outcome};
use ringlane::{Error, Receipt, RecordId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

/// A delayed record that may be cancelled.
#[derive(Clone, Copy, Debug)]
pub struct Delayed {
    /// Its number.
    pub value: u64,
    /// Its identity.
    pub id: RecordId,
}

/// A message id that was sent.
#[derive(Clone, Debug)]
pub struct Identified {
    /// The id.
    pub id: [u8; 8],
    /// The receipt of its record, once one was synced.
    pub receipt: Option<Receipt>,
    /// What was settled before it was sent (`outbox::Window`).
    pub settled_before: u64,
}

/// What may go wrong now without being a finding.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// I/O errors were injected since the engine was opened.
    pub io: bool,
    /// The disk has little room.
    pub space: bool,
    /// The engine is being closed.
    pub closed: bool,
    /// A place of the medium is damaged.
    pub damage: bool,
}

/// What a topic was asked to keep at least, of all that was ever asked.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// The fewest bytes of a partition; the most there can be while nobody bounded them.
    pub bytes: u64,
    /// The shortest time; the longest there can be while nobody bounded it.
    pub ms: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Kept { bytes: u64::MAX, ms: u64::MAX }
    }
}

/// See the module.
pub struct Shared {
    /// What is to be done.
    pub plan: Plan,
    /// The history.
    pub recorder: Recorder,
    /// Choices at run time.
    pub random: RefCell<Random>,
    /// What went wrong that no history shows.
    pub violations: RefCell<Vec<String>>,
    /// How often what happened.
    pub counts: RefCell<Counts>,
    /// What may go wrong now.
    pub allowed: Cell<Allowed>,
    /// Somebody was told that the engine stopped.
    pub poisoned: Cell<bool>,
    /// The name of each topic's number.
    pub topic_names: RefCell<Vec<usize>>,
    /// Names that somebody is creating or deleting.
    pub busy_names: RefCell<[bool; NAMES]>,
    /// What each topic was asked to keep.
    pub kept: RefCell<HashMap<u32, Kept>>,
    /// Delayed records that were acknowledged and perhaps not published.
    pub delayed: RefCell<Vec<Delayed>>,
    /// What the clients know of their named producers.
    pub producers: RefCell<Producers>,
    /// Message ids that were sent, by topic and partition.
    pub ids: RefCell<BTreeMap<(u32, u32), Vec<Identified>>>,
    /// Consumer groups.
    pub groups: RefCell<Registry>,
    /// Transactions.
    pub transactions: RefCell<Transactions>,
    /// Due times, to wait for at the end.
    pub due_max_ms: Cell<i64>,
    /// How many lanes the last opening had; 0: there was none.
    pub lanes: Cell<usize>,
    next_value: Cell<u64>,
}

impl Shared {
    /// What a run begins with.
    pub fn new(plan: Plan) -> Shared {
        let random = Random::new(plan.seed).fork(1 << 40);
        Shared {
            plan,
            recorder: Recorder::new(),
            random: RefCell::new(random),
            violations: RefCell::default(),
            counts: RefCell::default(),
            allowed: Cell::default(),
            poisoned: Cell::default(),
            topic_names: RefCell::default(),
            busy_names: RefCell::default(),
            kept: RefCell::default(),
            delayed: RefCell::default(),
            producers: RefCell::default(),
            ids: RefCell::default(),
            groups: RefCell::default(),
            transactions: RefCell::default(),
            due_max_ms: Cell::new(i64::MIN),
            lanes: Cell::new(0),
            next_value: Cell::new(1),
        }
    }

    /// A number that no record has yet.
    pub fn next_value(&self) -> u64 {
        self.next_value.replace(self.next_value.get() + 1)
    }

    /// Something that must not be.
    pub fn violation(&self, text: impl Into<String>) {
        let mut violations = self.violations.borrow_mut();
        if violations.len() < 8 {
            violations.push(text.into());
        }
    }

    /// An opening had so many lanes.
    pub fn note_lanes(&self, lanes: usize) {
        let before = self.lanes.replace(lanes);
        if before != 0 && before != lanes {
            self.count("changes of the number of lanes");
        }
    }

    /// Counts one.
    pub fn count(&self, kind: &'static str) {
        self.counts.borrow_mut().add(kind);
    }

    /// Power lost in the midst of creation left noise in the manifest, where the medium does such things. The
    /// directory is refused as somebody else's; nothing was ever in it.
    pub fn is_noise_of_creation(&self, error: &Error) -> bool {
        let is_noise = self.plan.shape.garbage && matches!(error, Error::ForeignFormat { .. });
        is_noise && self.recorder.completed_before().is_none()
    }

    /// What an error means in a history. One that nothing explains is a violation.
    pub fn judge(&self, doing: &str, error: &Error) -> Outcome {
        let code = error.code().to_owned();
        self.count_error(error);
        let allowed = self.allowed.get();
        if error.to_string().contains("a bug in Ringlane") {
            self.violation(format!("{doing}: {error}"));
        }
        let explained = match error {
            Error::Io(_) | Error::Poisoned { .. } | Error::UnknownOutcome { .. } => allowed.io,
            Error::Closed { .. } => allowed.closed || allowed.io,
            // A read that failed is a checksum that failed; its reason tells the two apart.
            Error::Damaged { reason, .. } => allowed.damage || (allowed.io && reason.contains("os error 5")),
            Error::ForeignFormat { .. } | Error::UnsupportedVersion { .. } => allowed.damage,
            Error::NoSpace { .. } => allowed.space || self.plan.shape.bounds_disk(),
            Error::QueueFull { .. }
            | Error::TopicDeleted { .. }
            | Error::UnknownTopic { .. }
            | Error::TopicExists { .. }
            | Error::TooMany { .. }
            | Error::GroupDeleted { .. }
            | Error::GroupExists { .. }
            | Error::UnknownGroup { .. }
            | Error::LeaseLost { .. }
            | Error::NotWithheld => true,
            Error::Truncated { .. } => self.plan.shape.retains || self.plan.shape.drops_oldest(),
            _ => false,
        };
        // When the machine is dead everything fails.
        if !explained && !self.recorder.is_silent() {
            self.violation(format!("{doing} failed, and nothing explains it: {error}"));
        }
        if matches!(error, Error::Poisoned { .. } | Error::UnknownOutcome { .. }) {
            self.poisoned.set(true);
        }
        if error.is_unknown_outcome() { Outcome::Unknown { code } } else { Outcome::Failed { code } }
    }

    fn count_error(&self, error: &Error) {
        if matches!(error, Error::NoSpace { .. }) {
            self.count("refusals for want of space");
        }
    }

    /// The number of the topic that may stand under each name after a history.
    pub fn topics_after(&self, history: &History) -> [Option<u32>; NAMES] {
        topics_after(history, &self.topic_names.borrow())
    }
}

/// The number of the topic that may stand under each name after a history; `names` says what each was created under.
fn topics_after(history: &History, names: &[usize]) -> [Option<u32>; NAMES] {
    let mut topics = [None; NAMES];
    let mut calls = HashMap::new();
    // What a name stood for before a creation, perhaps: nobody knows how that one's own creation ended.
    let mut before = HashMap::new();
    for event in history.events() {
        match event {
            Event::Invoke { operation, call: call @ Call::CreateTopic { topic, .. }, .. } => {
                before.insert(*topic, topics[names[*topic as usize]].replace(*topic));
                calls.insert(*operation, call);
            }
            Event::Invoke { operation, call: call @ Call::DeleteTopic { .. }, .. } => {
                calls.insert(*operation, call);
            }
            Event::Complete { operation, outcome, .. } => match (calls.get(operation), outcome) {
                (Some(Call::CreateTopic { topic, .. }), Outcome::Failed { .. })
                | (Some(Call::DeleteTopic { topic }), Outcome::Ok(_)) => {
                    let name = names[*topic as usize];
                    if topics[name] == Some(*topic) {
                        topics[name] =
                            before.remove(topic).flatten().filter(|_| matches!(outcome, Outcome::Failed { .. }));
                    }
                }
                _ => {}
            },
            Event::World { happening: crate::history::Happening::TopicMissing { topic }, .. } => {
                topics[names[*topic as usize]] = None;
            }
            _ => {}
        }
    }
    topics
}

/// The name of a topic.
pub fn topic_name(name: usize) -> String {
    format!("topic-{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed 1953: nobody knew how a creation had ended, the engine was poisoned, and the next creation under the same name
    /// was refused for that. The first one's topic was there after all.
    #[test]
    fn a_creation_that_is_refused_does_not_undo_one_that_nobody_knows_of() {
        let mut history = History::new();
        let create = |topic| Call::CreateTopic { topic, partitions: 1, dead_letters_of: None };
        let first = history.invoke(1, 0, create(0));
        history.complete(2, first, Outcome::Unknown { code: "unknown-outcome".to_owned() });
        let second = history.invoke(3, 0, create(1));
        assert_eq!(topics_after(&history, &[2, 2])[2], Some(1));
        history.complete(4, second, Outcome::Failed { code: "poisoned".to_owned() });
        assert_eq!(topics_after(&history, &[2, 2])[2], Some(0));
        history.happen(5, crate::history::Happening::TopicMissing { topic: 0 });
        assert_eq!(topics_after(&history, &[2, 2])[2], None);
        let third = history.invoke(6, 0, create(2));
        history.complete(7, third, Outcome::done());
        let deletion = history.invoke(8, 0, Call::DeleteTopic { topic: 2 });
        history.complete(9, deletion, Outcome::done());
        assert_eq!(topics_after(&history, &[2, 2, 2])[2], None);
    }
}
