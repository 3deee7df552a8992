//! Consumer groups: what is known of leases, of records in a group, and of its progress.
//!
//! Invariants:
//! - A lease certainly lives from the event that handed it out until the first event that may have ended
//!   it, and has certainly ended with the event that says so. What lies between proves nothing.
//! - Leases do not outlive the engine that gave them.

use super::tokens::Tokens;
use crate::history::{GroupNumber, LeaseNumber};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A take that came back.
pub(super) struct Taking {
    pub(super) invocation: usize,
    pub(super) index: usize,
    pub(super) process: u32,
    pub(super) group: GroupNumber,
    pub(super) member: u32,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Acknowledged,
    GivenBack,
    Expired,
    DeadLettered,
    HandedOutAgain,
}

impl End {
    pub(super) fn words(self) -> &'static str {
        match self {
            End::Acknowledged => "acknowledged the record",
            End::GivenBack => "gave the record back",
            End::Expired => "says that it expired",
            End::DeadLettered => "sent the record to the dead letters",
            End::HandedOutAgain => "handed the record out again",
        }
    }
}

/// A lease.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) record: usize,
    /// Where the record stands.
    pub(super) place: usize,
    pub(super) offset: u64,
    pub(super) member: u32,
    pub(super) taken: usize,
    pub(super) delivery_count: u32,
    /// It lives by the clock until this, at the least.
    pub(super) until_ms: Option<i64>,
    pub(super) may_have_ended: bool,
    pub(super) ended: Option<(usize, End)>,
    /// Which engine gave it.
    pub(super) engine: u32,
    /// When it was asked for.
    pub(super) invoked: usize,
    /// By the clock of the history, in ms: it lives until then at least, and until then at most.
    pub(super) time_ms: Option<(u64, u64)>,
    /// How many calls asked to end it.
    pub(super) ends_asked: u32,
    /// Its member went, or its group was sent elsewhere.
    pub(super) taken_away: bool,
    /// The place of the transaction that acknowledges it.
    pub(super) held_by: Option<usize>,
}

/// Whether a record is acknowledged in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Acknowledged {
    #[default]
    No,
    /// Until the crash of this number, says this event.
    Loosely { index: usize, until: u32 },
    /// Durably, says this event.
    ForEver { index: usize },
}

/// A record as a group sees it.
#[derive(Debug, Default)]
pub(super) struct QueueRecord {
    /// The lease that was handed out last.
    pub(super) lease: Option<usize>,
    pub(super) delivery_count: u32,
    /// The last lease was, or may have been, given back without counting.
    pub(super) count_may_repeat: bool,
    pub(super) acknowledged: Acknowledged,
    /// Acknowledgements that were asked for and not refused.
    pub(super) asked: u32,
    /// The event that says it went to the dead letters.
    pub(super) dead: Option<usize>,
    pub(super) redrives: usize,
    /// Where it stands among the dead letters.
    pub(super) dead_places: Vec<(usize, u64)>,
    /// Deliveries that certainly failed.
    pub(super) failures: u32,
    /// The last event that asked to acknowledge it.
    pub(super) asked_at: usize,
    pub(super) reject_asked: bool,
    /// Where it stands among the dead letters, by partition and offset there.
    pub(super) letters: Vec<(u32, u64)>,
}

/// A group that was created.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    pub(super) max_deliveries: u32,
    pub(super) dead_letters_kept: bool,
    pub(super) created: bool,
    /// The last event that asked to delete it.
    pub(super) delete_asked: Option<usize>,
    pub(super) deleted: Option<usize>,
    /// It was sent elsewhere so often, or may have been.
    pub(super) resets: usize,
}

/// A group's progress in a partition.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Acknowledged positions and the events that say so; both only grow.
    pub(super) positions: Vec<(usize, u64)>,
    /// The highest position that may be acknowledged.
    pub(super) position_asked: u64,
    /// The highest position that was answered, and before which crash.
    pub(super) position_answered: (u64, u32),
    /// Slots up to here were looked at for what the group has to do.
    pub(super) looked_up_to: u64,
    /// Records that were neither acknowledged nor lost when they were last looked at.
    pub(super) unresolved: Vec<usize>,
    /// Of an ordered group: the highest offset handed out so far, by the event; both only grow.
    pub(super) handed_out: Vec<(usize, u64)>,
    /// Of an ordered group: offsets that were nacked and not handed out since, and the events.
    pub(super) nacked: BTreeMap<u64, usize>,
    /// Of an ordered group that was created: offsets that were nacked and may not be finished, and the events.
    pub(super) held_back: BTreeMap<u64, usize>,
    /// Where the group begins.
    pub(super) start: Option<u64>,
    /// Up to here the engine said that everything is finished, and it may be.
    pub(super) checked_to: u64,
    /// Calls that send the group elsewhere and have not come back.
    pub(super) resets_open: u32,
    /// What was taken before this event may have been taken away.
    pub(super) reset_at: usize,
}

impl Progress {
    /// A lease that was asked for at an event may belong to the progress of before.
    pub(super) fn is_dubious(&self, invoked: usize) -> bool {
        self.resets_open > 0 || invoked < self.reset_at
    }

    /// The acknowledged position that was known before an event.
    pub(super) fn position_before(&self, index: usize) -> u64 {
        before(&self.positions, index)
    }
}

/// In a list of values that grow with the events: the last value before an event, or 0.
pub(super) fn before(growing: &[(usize, u64)], index: usize) -> u64 {
    let count = growing.partition_point(|(at, _)| *at < index);
    if count == 0 { 0 } else { growing[count - 1].1 }
}

/// Adds to a list of values that grow with the events.
pub(super) fn raise(growing: &mut Vec<(usize, u64)>, index: usize, value: u64) {
    if growing.last().is_none_or(|(_, last)| *last < value) {
        growing.push((index, value));
    }
}

/// All groups.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) leases: Vec<Lease>,
    pub(super) by_number: HashMap<(GroupNumber, LeaseNumber), usize>,
    pub(super) records: HashMap<(GroupNumber, usize), QueueRecord>,
    pub(super) progress: HashMap<(GroupNumber, usize), Progress>,
    /// Leases of members that are there.
    pub(super) members: HashMap<(GroupNumber, u32), Vec<usize>>,
    ordered: HashSet<GroupNumber>,
    /// Positions known when a question for one was asked, by the event.
    pub(super) asked: HashMap<usize, u64>,
    /// What their inboxes know.
    pub(super) tokens: Tokens,
    /// Groups that were created.
    pub(super) made: HashMap<GroupNumber, Made>,
    /// What members acknowledged and nobody confirmed yet: the event that says so, and the lease.
    pub(super) loose: HashMap<(GroupNumber, u32), Vec<(usize, usize)>>,
    /// Engines that were, or may have been, closed.
    pub(super) closed: HashSet<u32>,
    /// How often an engine was closed or crashed.
    pub(super) engine: u32,
    /// How often a crash took what was not durable.
    pub(super) crashes: u32,
}

impl Groups {
    /// It was created, and nobody asked to delete it.
    pub(super) fn is_there(&self, group: GroupNumber) -> bool {
        self.made.get(&group).is_some_and(|made| made.created && made.delete_asked.is_none() && made.deleted.is_none())
    }

    /// All leases have ended.
    pub(super) fn engine_is_gone(&mut self) {
        self.engine += 1;
        self.members.clear();
        self.loose.clear();
    }

    /// What was to send groups elsewhere when the engine went may have done so: where they begin is seen when it is open.
    pub(super) fn resets_are_unknown(&mut self, index: usize) {
        for progress in self.progress.values_mut().filter(|progress| progress.resets_open > 0) {
            (progress.resets_open, progress.reset_at, progress.checked_to) = (0, index, 0);
            progress.start = None;
        }
    }

    /// A nack need not be durable, and a delivery that nobody saw may have been the last that a record had.
    pub(super) fn forget_nacks(&mut self) {
        let made = &self.made;
        for progress in self.progress.iter_mut().filter(|((group, _), _)| made.contains_key(group)).map(|(_, at)| at) {
            progress.nacked.clear();
            progress.held_back.clear();
        }
    }

    /// Whether the leases of a partition that were asked for at an event may not count any more.
    pub(super) fn is_dubious(&self, group: GroupNumber, place: usize, invoked: usize) -> bool {
        self.progress.get(&(group, place)).is_some_and(|progress| progress.is_dubious(invoked))
    }

    /// What was not durable may be gone.
    pub(super) fn crashed(&mut self, crashes: u32) {
        self.crashes = crashes + 1;
    }

    /// A group keeps the order.
    pub(super) fn ordered(&mut self, group: GroupNumber) {
        self.ordered.insert(group);
    }

    pub(super) fn is_ordered(&self, group: GroupNumber) -> bool {
        self.ordered.contains(&group)
    }

    /// A lease ends here, unless it has ended before.
    pub(super) fn end(&mut self, lease: usize, index: usize, end: End) {
        let lease = &mut self.leases[lease];
        lease.may_have_ended = true;
        lease.ended.get_or_insert((index, end));
    }

    /// The event since which a record is acknowledged, if it is, crashes so far considered.
    pub(super) fn acknowledged_since(&self, group: GroupNumber, record: usize) -> Option<usize> {
        match self.records.get(&(group, record))?.acknowledged {
            Acknowledged::ForEver { index } => Some(index),
            Acknowledged::Loosely { index, until } => (until == self.crashes).then_some(index),
            Acknowledged::No => None,
        }
    }
}
