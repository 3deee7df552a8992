//! Histories: what clients asked of the engine, what they were answered, and what befell it.
//!
//! A history is an append-only list of events in the order in which the observer learned of them. An
//! operation is two events: its invocation, written before the call, and its completion, written after.
//! An operation without a completion has an unknown outcome: the process died first.
//!
//! Invariants:
//! - An operation number is invoked once and completed at most once, later in the list.
//! - A record's value is its name in the history: no two sends carry the same number.
//! - A topic number is used for one topic ever. A topic created again under the same name is another one.

mod edn;
mod event;
mod json_lines;

pub use event::*;

/// What was asked, answered and suffered, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    events: Vec<Event>,
    next_operation: u64,
}

impl History {
    /// An empty one.
    pub fn new() -> History {
        History::default()
    }

    /// Everything in order. An event's index here is what findings name.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Appends an event that was made elsewhere: by a child, or read from a file.
    pub fn push(&mut self, event: Event) {
        if let Event::Invoke { operation, .. } = &event {
            self.next_operation = self.next_operation.max(operation + 1);
        }
        self.events.push(event);
    }

    /// A client is about to call. Gives the operation's number, for [`History::complete`].
    pub fn invoke(&mut self, at_ns: u64, process: u32, call: Call) -> u64 {
        let operation = self.next_operation;
        self.push(Event::Invoke { at_ns, operation, process, call });
        operation
    }

    /// A call came back.
    pub fn complete(&mut self, at_ns: u64, operation: u64, outcome: Outcome) {
        self.push(Event::Complete { at_ns, operation, outcome });
    }

    /// Something that is nobody's call: a crash, a reopening, what is readable.
    pub fn happen(&mut self, at_ns: u64, happening: Happening) {
        self.push(Event::World { at_ns, happening });
    }
}
