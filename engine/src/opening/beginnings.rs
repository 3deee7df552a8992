//! What an engine without records begins with when it goes on for another one: a repaired one.
//!
//! Invariant: offsets and numbers that were given out there are never given out again here.

use crate::lane::cancelled::Cancelled;
use crate::lane::catalog::{Catalog, GroupEntry, ProducerEntry};
use crate::lane::groups::Groups;
use crate::lane::lost::Lost;
use crate::lane::numbers::{Last, Numbers};
use crate::lane::progress::{Progress, ProgressChange};
use crate::lane::recovery::Recovered;
use crate::lane::transactions::Decided;
use std::collections::{BTreeMap, HashMap};

/// See the module. Slots are those of the new engine.
#[derive(Default)]
pub(crate) struct Beginnings {
    /// Offsets above zero, by slot.
    pub(crate) offsets: BTreeMap<u32, u64>,
    /// The next numbers of producers without a name, by slot.
    pub(crate) sequences: BTreeMap<u32, u64>,
    pub(crate) numbers: Numbers,
    pub(crate) cancelled: Cancelled,
    /// How far groups had come: group, slot.
    pub(crate) progress: Groups,
    pub(crate) groups: BTreeMap<u32, GroupEntry>,
    pub(crate) last_group: u32,
    /// How transactions ended, oldest first.
    pub(crate) decided: Vec<Decided>,
    pub(crate) producers: BTreeMap<u32, ProducerEntry>,
    pub(crate) last_producer: u32,
}

impl Beginnings {
    /// What another engine had: `catalog`, numbers by its slots; `slots` says what these are here.
    pub(crate) fn of(
        catalog: &Catalog,
        numbers: &Numbers,
        sequences: &HashMap<u32, u64>,
        cancelled: &Cancelled,
        slots: &HashMap<u32, u32>,
    ) -> Beginnings {
        let mut beginnings = Beginnings {
            groups: catalog.groups.clone(),
            last_group: catalog.last_group,
            producers: catalog.producers.clone(),
            last_producer: catalog.last_producer,
            cancelled: cancelled.moved_to(slots),
            ..Beginnings::default()
        };
        for (producer, slot, last) in numbers.iter() {
            if let Some(slot) = slots.get(&slot).filter(|_| catalog.producers.contains_key(&producer)) {
                beginnings.numbers.set(producer, *slot, Last::clone(last));
            }
        }
        let here = |(slot, next): (&u32, &u64)| Some((*slots.get(slot)?, *next));
        beginnings.sequences = sequences.iter().filter_map(here).collect();
        beginnings
    }

    /// Adds how far a group had come in a partition. Where records have other offsets now, only what lies before all
    /// that is unfinished is known: the rest is handed out again.
    pub(crate) fn add_progress(&mut self, group: u32, slot: u32, progress: &Progress, lost: Lost, has_moved: bool) {
        if !self.groups.contains_key(&group) {
            return;
        }
        let mut progress = progress.clone();
        if has_moved {
            let goes_on = ProgressChange::Reset { position: progress.position() };
            progress.apply(&goes_on).expect("it has this position already");
        }
        self.progress.set(group, slot, progress);
        self.progress.set_lost(group, slot, lost);
    }

    /// Has the logs that were just recovered, and hold nothing, begin so.
    pub(super) fn apply(&self, recovered: &mut [Recovered]) {
        let lanes = recovered.len() as u32;
        for (slot, offset) in &self.offsets {
            let log = &mut recovered[(slot % lanes) as usize];
            log.state.start_at(*slot, *offset);
            log.before.start_at(*slot, *offset);
        }
        for (slot, next) in &self.sequences {
            recovered[(slot % lanes) as usize].state.start_numbers_at(*slot, *next);
        }
        for (producer, slot, last) in self.numbers.iter() {
            recovered[(slot % lanes) as usize].state.numbers.set(producer, slot, last.clone());
        }
        for (lane, log) in (0..).zip(&mut *recovered) {
            log.state.cancelled.take_over(&self.cancelled, |slot| slot % lanes == lane);
        }
        for (group, slot, _) in self.progress.iter() {
            let state = &mut recovered[(slot % lanes) as usize].state;
            state.groups.take_over(&self.progress, group, slot);
            // Of what a repair could not save each group is told.
            state.groups.truncate(slot, state.partition(slot).first_offset);
        }
        for decided in &self.decided {
            recovered[0].state.transactions.decide(decided.clone());
        }
        if self.last_group > 0 {
            recovered[0].state.catalog.take_over_groups(&self.groups, self.last_group);
        }
        if self.last_producer > 0 {
            recovered[0].state.catalog.take_over_producers(&self.producers, self.last_producer);
        }
    }
}
