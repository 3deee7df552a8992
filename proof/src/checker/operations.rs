//! Which completion belongs to which invocation.
//!
//! Invariant: every pair found here is one invocation and one later completion of the same number.

use super::finding::{Anomaly, Finding};
use crate::history::{Event, History, Outcome};
use std::collections::HashMap;

/// Pairs of events, both ways, by the index of the event.
pub(super) struct Operations<'a> {
    events: &'a [Event],
    completion_of: Vec<Option<usize>>,
    invocation_of: Vec<Option<usize>>,
}

impl<'a> Operations<'a> {
    /// Pairs what belongs together, and reports what cannot.
    pub(super) fn new(history: &'a History, findings: &mut Vec<Finding>) -> Operations<'a> {
        let events = history.events();
        let mut operations =
            Operations { events, completion_of: vec![None; events.len()], invocation_of: vec![None; events.len()] };
        let mut open: HashMap<u64, Option<usize>> = HashMap::new();
        for (index, event) in events.iter().enumerate() {
            match event {
                Event::Invoke { operation, process, .. } => {
                    if open.insert(*operation, Some(index)).is_some() {
                        let message = format!("operation {operation} is invoked a second time");
                        findings.push(Finding::new(index, Anomaly::Malformed, message).by_process(Some(*process)));
                    }
                }
                Event::Complete { operation, .. } => match open.get_mut(operation).and_then(Option::take) {
                    Some(invocation) => {
                        operations.completion_of[invocation] = Some(index);
                        operations.invocation_of[index] = Some(invocation);
                    }
                    None => {
                        let message = format!("operation {operation} completes, and is not going on");
                        findings.push(Finding::new(index, Anomaly::Malformed, message));
                    }
                },
                Event::World { .. } => {}
            }
        }
        operations
    }

    /// The invocation that an event completes.
    pub(super) fn invocation_of(&self, completion: usize) -> Option<usize> {
        self.invocation_of[completion]
    }

    /// How an invocation ended, and the event that says so. `None`: it did not come back.
    pub(super) fn ending_of(&self, invocation: usize) -> Option<(usize, &'a Outcome)> {
        let completion = self.completion_of[invocation]?;
        match &self.events[completion] {
            Event::Complete { outcome, .. } => Some((completion, outcome)),
            _ => unreachable!("paired above"),
        }
    }
}
