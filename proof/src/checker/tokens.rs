//! Tokens of a group's inbox, in one partition.
//!
//! Invariants:
//! - A token belongs to the leases that were told it is fresh. It has certainly been used when the acknowledgement of one
//!   of them is confirmed, and may have been from when that was asked for.
//! - What was used stays used, also when its group is sent elsewhere. Histories whose inboxes forget are not judged.

use super::finding::{Anomaly, Finding};
use super::world::World;
use crate::history::{GroupNumber, LeaseNumber, TokenSeen};
use std::collections::HashMap;

/// A question that was answered: the events, and what was asked.
pub(super) struct Asked {
    pub(super) invocation: usize,
    pub(super) index: usize,
    pub(super) process: u32,
    pub(super) group: GroupNumber,
    pub(super) lease: LeaseNumber,
    pub(super) token: u64,
}

#[derive(Debug, Default)]
struct Used {
    /// Somebody asked to acknowledge under it.
    may_be: bool,
    /// The event that says for certain that it is.
    certain: Option<usize>,
}

/// All tokens.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    used: HashMap<(GroupNumber, usize, u64), Used>,
    /// By lease: its place and its token.
    of_lease: HashMap<usize, Vec<(GroupNumber, usize, u64)>>,
}

impl Tokens {
    /// Somebody asks to acknowledge under a lease.
    pub(super) fn acknowledging(&mut self, lease: usize) {
        for key in self.of_lease.get(&lease).into_iter().flatten() {
            self.used.entry(*key).or_default().may_be = true;
        }
    }

    /// It was done, for certain.
    pub(super) fn acknowledged(&mut self, index: usize, lease: usize) {
        for key in self.of_lease.get(&lease).into_iter().flatten() {
            self.used.entry(*key).or_default().certain.get_or_insert(index);
        }
    }
}

impl World<'_> {
    /// A member was told what is known of a token.
    pub(super) fn token_seen(&mut self, asked: &Asked, seen: TokenSeen) {
        let Some(lease) = self.groups.by_number.get(&(asked.group, asked.lease)).copied() else { return };
        let place = self.groups.leases[lease].place;
        let key = (asked.group, place, asked.token);
        let used = self.groups.tokens.used.entry(key).or_default();
        let wrong = match seen {
            TokenSeen::Fresh => {
                let certain = used.certain.filter(|certain| *certain < asked.invocation);
                self.groups.tokens.of_lease.entry(lease).or_default().push(key);
                certain.map(|at| (Anomaly::TokenForgotten, format!("is fresh, and was used, says event {at}")))
            }
            TokenSeen::Duplicate if !used.may_be => {
                Some((Anomaly::TokenUnused, "is a duplicate, and nothing was acknowledged under it".to_owned()))
            }
            TokenSeen::Duplicate | TokenSeen::InProgress => None,
        };
        if let Some((anomaly, message)) = wrong {
            let lease = &self.groups.leases[lease];
            let partition = &self.logs.partitions[lease.place];
            let message = format!("token {} of group {} {message}", asked.token, asked.group);
            let finding = Finding::new(asked.index, anomaly, message).by_process(Some(asked.process));
            let finding = finding.in_partition(partition.topic, partition.number).at_offset(lease.offset);
            self.findings.push(finding.of_value(self.records.all[lease.record].value));
        }
    }
}
