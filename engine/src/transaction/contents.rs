//! What an open transaction has: records by lane, and deliveries that it acknowledges.
//!
//! Invariant: it is taken out once, whoever ends the transaction or has it prepared.

use super::committed::{RecordPlace, Written};
use crate::consumer::group::transacting::TransactionAcks;
use crate::error::{Error, Result};
use crate::lane::progress::ProgressEntry;
use crate::log::origin::Origin;
use crate::log::position::Identity;
use crate::producer::batch::Content;
use crate::record::{Record, Visibility};
use std::collections::{BTreeMap, HashMap};

/// Most frames of records, and most ranges of acknowledged records, of one transaction: the frame that ends it names each.
const FRAMES_MAX: usize = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) lanes: BTreeMap<u32, LanePart>,
    pub(super) acks: TransactionAcks,
    pub(super) records: Vec<RecordPlace>,
    /// Its time was over before it was prepared or decided.
    pub(super) timed_out: bool,
    /// All of it was taken out.
    pub(super) is_over: bool,
}

/// What it has for one lane.
#[derive(Default)]
pub(super) struct LanePart {
    /// What does not stand in the log.
    pub(super) content: Content,
    /// The part of the content that a slot has.
    pub(super) parts: HashMap<u32, u32>,
    /// Frames that stand in the log, and the origin of the first record of each.
    pub(super) written: Vec<(Identity, Origin)>,
}

impl Contents {
    /// Whether one more stretch of records still fits.
    pub(super) fn check_records(&self) -> Result<()> {
        let frames = self.lanes.values().map(|part| part.written.len() + part.content.parts.len()).sum();
        check_count("stretches of records in one transaction", frames)
    }

    /// Whether one more stretch of acknowledgements still fits.
    pub(super) fn check_acks(&self) -> Result<()> {
        check_count("stretches of acknowledged records in one transaction", self.acks.ranges())
    }

    /// All of it, to go to the lanes.
    pub(super) fn take(&mut self) -> Taken {
        let whole = std::mem::take(self);
        self.is_over = true;
        let lane = |(lane, mut part): (u32, LanePart)| {
            let contents = if part.content.parts.is_empty() { Vec::new() } else { vec![part.take()] };
            (lane, TakenLane { contents, written: part.written, restored: Vec::new() })
        };
        let mut lanes: BTreeMap<u32, TakenLane> = whole.lanes.into_iter().map(lane).collect();
        for lane in whole.acks.lanes() {
            lanes.entry(lane).or_default();
        }
        if lanes.is_empty() {
            // Of one that has nothing the outcome is remembered all the same.
            lanes.insert(0, TakenLane::default());
        }
        Taken { lanes, acks: whole.acks, records: whole.records }
    }
}

/// What was taken of an open transaction.
pub(super) struct Taken {
    pub(super) lanes: BTreeMap<u32, TakenLane>,
    pub(super) acks: TransactionAcks,
    pub(super) records: Vec<RecordPlace>,
}

impl Taken {
    /// Where its records stand.
    pub(super) fn written(self) -> Written {
        let lanes = self.lanes.into_iter().map(|(lane, part)| (lane, part.written)).collect();
        Written { lanes, records: self.records }
    }
}

/// What it had for one lane.
#[derive(Default)]
pub(super) struct TakenLane {
    /// What does not stand in the log.
    pub(super) contents: Vec<Content>,
    /// What does, as in [`LanePart`].
    pub(super) written: Vec<(Identity, Origin)>,
    /// What it acknowledged in the directory that was repaired.
    pub(super) restored: Vec<ProgressEntry>,
}

impl LanePart {
    /// What does not stand in the log, for the lane.
    pub(super) fn take(&mut self) -> Content {
        let mut content = std::mem::take(&mut self.content);
        content.sum_up();
        content
    }
}

/// Whether a transaction may have this record.
pub(super) fn check_record(record: &Record<'_>) -> Result<()> {
    let invalid = |name: &'static str, value: String, reason: &str| {
        Err(Error::InvalidArgument { name, value, reason: reason.to_owned() })
    };
    if let Some(sequence) = record.sequence {
        let reason =
            "the id of a transaction says whether it was sent before; its records have no numbers of their own";
        return invalid("sequence", sequence.to_string(), reason);
    }
    match record.visibility {
        Visibility::Now => Ok(()),
        _ => invalid("visibility", "delayed".to_owned(), "the records of a transaction become visible by its commit"),
    }
}

fn check_count(what: &'static str, count: usize) -> Result<()> {
    match count < FRAMES_MAX {
        true => Ok(()),
        false => Err(Error::TooMany {
            what,
            count: count as u64,
            count_max: FRAMES_MAX as u64,
            advice: "commit it, and do the rest in another transaction",
        }),
    }
}
