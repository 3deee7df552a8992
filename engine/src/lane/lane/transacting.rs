//! Steps of transactions: records that are withheld for one, what is prepared, and how it ends.
//!
//! Invariants:
//! - A step is taken wholly or not at all: room for all of it is there before its first frame.
//! - What ends a transaction in this log is one frame: its records get their offsets, its acknowledgements count, and,
//!   where this log decides, it is decided, by the same checksum.
//! - Where it is prepared and decided at once, that frame stands behind its withheld ones, in the same writes: one
//!   barrier.

use super::{Effect, FOLLOW_WAIT_NS, Lane, part_frame_bytes};
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::lane::entries::{self, DiscardEntry, PUBLISH_BYTES};
use crate::lane::numbers::NUMBER_BYTES;
use crate::lane::progress::{progress_body_bytes_max, progress_growth_max};
use crate::lane::shared::Answer;
use crate::lane::state::{PARTITION_BYTES, UNDECIDED_MS, WITHHELD_BYTES, Withheld, reference_run};
use crate::lane::steps::{PrepareStep, TransactionDone, TransactionStep, TransactionWork};
use crate::lane::transactions::{
    Decided, Ending, Prepared, TransactionKey, TransactionOutcome, encoded_bytes_of_decision,
};
use crate::log::frame::{Kind, WithheldReason, frame_bytes};
use crate::log::origin::Origin;
use crate::log::position::Identity;
use crate::producer::batch::{Content, Part};
use crate::producer::identity::ProducerIdentity;
use crate::record::RecordRef;
use crate::sync::lock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl TransactionStep {
    /// Bound on the frame of the step itself, and on how much larger a checkpoint becomes by it.
    fn bytes_max(&self, lane: &Lane, key: TransactionKey, parts: usize) -> (u64, u64) {
        let prepared_frames = || lane.state.transactions.get(key).map_or(0, |prepared| prepared.frames.len());
        let prepared_acks =
            || lane.state.transactions.get(key).map_or(0, |prepared| progress_growth_max(&prepared.acks));
        let ended =
            |frames: usize, ending_bytes: usize| frame_bytes(Kind::Publish, 4 + frames * PUBLISH_BYTES + ending_bytes);
        match self {
            TransactionStep::Withhold | TransactionStep::Settle => (0, 0),
            TransactionStep::Prepare { written, prepared } => {
                let PrepareStep { id, checker, acks, .. } = prepared;
                let body = Prepared::bytes_max(id.len() + checker.len(), written.len() + parts, acks);
                (frame_bytes(Kind::Prepare, body as usize), body)
            }
            TransactionStep::Commit { written, id, acks, participants } => {
                let decision = encoded_bytes_of_decision(id, participants.len());
                let ending_bytes = 5 + decision as usize + progress_body_bytes_max(acks);
                (ended(written.len() + parts, ending_bytes), decision + progress_growth_max(acks))
            }
            TransactionStep::Decide { id, participants, .. } => {
                let decision = encoded_bytes_of_decision(id, participants.len());
                (ended(prepared_frames(), 9 + decision as usize), decision + prepared_acks())
            }
            TransactionStep::Follow { .. } => (ended(prepared_frames(), 1 + TransactionKey::BYTES), prepared_acks()),
            TransactionStep::GiveUp { written } => (frame_bytes(Kind::Discard, 4 + written.len() * Identity::BYTES), 0),
        }
    }

    /// It is over, and nobody else ends it here: it waits for room, if need be.
    pub(super) fn must_follow(&self) -> bool {
        matches!(self, TransactionStep::Follow { .. } | TransactionStep::GiveUp { .. })
    }

    /// It ends something that takes room: it may use what is kept for a full disk.
    pub(super) fn ends(&self) -> bool {
        !matches!(self, TransactionStep::Withhold | TransactionStep::Prepare { .. } | TransactionStep::Commit { .. })
    }
}

impl Lane {
    /// Bytes of all frames of a step at most, and how much larger a checkpoint becomes by it.
    pub(super) fn transaction_bytes(&self, work: &TransactionWork) -> (u64, u64) {
        let parts = || work.contents.iter().flat_map(|content| &content.parts);
        let (frame, growth) = work.step.bytes_max(self, work.key, parts().count());
        let records: u64 = parts().map(part_frame_bytes).sum();
        let ids: u64 = parts().map(|part| u64::from(part.id_bytes)).sum();
        let is_new = |part: &&Part| !self.state.is_used(part.slot);
        let partitions = parts().filter(is_new).count() as u64 * PARTITION_BYTES;
        let numbers = self.numbers_of_transaction(work) * NUMBER_BYTES + ids;
        (records + frame, growth + parts().count() as u64 * WITHHELD_BYTES + partitions + numbers)
    }

    /// Partitions in which its producer has no number yet.
    fn numbers_of_transaction(&self, work: &TransactionWork) -> u64 {
        if work.identity.named.is_none() {
            return 0;
        }
        let id = work.identity.id();
        let slots: BTreeSet<u32> =
            work.contents.iter().flat_map(|content| &content.parts).map(|part| part.slot).collect();
        slots.into_iter().filter(|slot| self.state.numbers.get(id, *slot).is_none()).count() as u64
    }

    /// Whether the step may be taken at all.
    pub(super) fn check_transaction(&self, work: &TransactionWork) -> Result<()> {
        if !work.step.ends() {
            // Also where all its records stand in the log.
            work.identity.check_appended()?;
        }
        if work.contents.is_empty() {
            return Ok(());
        }
        self.check_new_numbers(self.numbers_of_transaction(work))?;
        let records: u64 = work.contents.iter().map(Content::records).sum();
        let count = self.state.withheld_records() + records;
        // What is committed at once is withheld for no time.
        if count > self.parts.withheld_records_max && !matches!(work.step, TransactionStep::Commit { .. }) {
            return Err(Error::TooMany {
                what: "withheld records",
                count,
                count_max: self.parts.withheld_records_max,
                advice: "decide transactions that are prepared, or raise `withheld_records_max`",
            });
        }
        Ok(())
    }

    /// Takes a step for which there is room.
    pub(super) fn transact(&mut self, work: TransactionWork, reply: Answer) {
        let TransactionWork { key, identity, contents, step, done } = work;
        let (was_urgent, follows) = (self.urgent, step.must_follow());
        let mut did = TransactionDone { withheld: self.withhold_for(&identity, contents), ..Default::default() };
        let frames = |written: Vec<Identity>, did: &TransactionDone| -> Vec<Identity> {
            written.into_iter().chain(did.withheld.iter().map(|(identity, _)| *identity)).collect()
        };
        let outcome = match step {
            TransactionStep::Withhold => {
                self.buffered_since.get_or_insert(self.last_activity);
                *lock(&done) = did;
                return reply.set(Ok(()));
            }
            TransactionStep::Settle => {
                self.state.transactions.settle(key);
                return reply.set(Ok(()));
            }
            TransactionStep::Prepare { written, prepared } => {
                let frames = frames(written, &did);
                self.prepare(key, prepared, frames, &mut did)
            }
            TransactionStep::Commit { written, id, acks, participants } => {
                let frames = frames(written, &did);
                let outcome = TransactionOutcome::Committed;
                let decided = Decided { key, id, outcome, decided_ms: self.append_time(), participants };
                self.end_transaction(frames, &Ending::Decides { decided, acks }, outcome, &mut did)
            }
            TransactionStep::Decide { id, outcome, participants } => {
                let decided = Decided { key, id, outcome, decided_ms: self.append_time(), participants };
                // It may have no part here.
                let frames = self.frames_of(key).unwrap_or_default();
                self.end_transaction(frames, &Ending::Decides { decided, acks: Vec::new() }, outcome, &mut did)
            }
            TransactionStep::Follow { outcome } => match self.frames_of(key) {
                Some(frames) => self.end_transaction(frames, &Ending::Follows { key }, outcome, &mut did),
                None => Err("it is not prepared"),
            },
            TransactionStep::GiveUp { written } => {
                self.discard_all(written, None).expect("no transaction ends by it");
                // Without it the next opening does the same.
                self.urgent = was_urgent;
                self.buffered_since.get_or_insert(self.last_activity);
                return reply.set(Ok(()));
            }
        };
        *lock(&done) = did;
        match outcome {
            Ok(()) if follows => {
                self.urgent = was_urgent;
                self.follow_at.get_or_insert(self.last_activity + FOLLOW_WAIT_NS);
                self.effects.push_back((self.writer.tail(), Effect::Reply(reply)));
            }
            Ok(()) => self.answer_when_durable(reply),
            Err(reason) => {
                let value = format!("{key:?}");
                reply.set(Err(Error::InvalidArgument { name: "transaction", value, reason: reason.to_owned() }));
            }
        }
    }

    fn append_time(&mut self) -> i64 {
        self.state.clamp_append_time(self.parts.clock.wall_ms())
    }

    /// Writes records that have no offsets before their transaction commits.
    fn withhold_for(&mut self, identity: &ProducerIdentity, contents: Vec<Content>) -> Vec<(Identity, Origin)> {
        if contents.is_empty() {
            return Vec::new();
        }
        let append_time_ms = self.append_time();
        let (mut withheld, mut records, mut payload) = (Vec::new(), 0, 0);
        for content in contents {
            for part in &content.parts {
                self.roll_if_full(part_frame_bytes(part));
                records += u64::from(part.count);
                payload += u64::from(part.bytes);
                withheld.push(self.withhold_part(&content, part, identity, append_time_ms));
            }
        }
        if !self.parts.shared.has_records() {
            self.parts.shared.records_since_ms.store(append_time_ms, Ordering::Release);
        }
        if canary::sings(Canary::PublishHalf) {
            self.publish_identities(withheld.iter().map(|(identity, _)| (*identity, Vec::new())).collect());
        }
        self.count_group(records, payload);
        self.last_activity = self.parts.clock.monotonic_ns();
        withheld
    }

    fn withhold_part(
        &mut self,
        content: &Content,
        part: &Part,
        identity: &ProducerIdentity,
        append_time_ms: i64,
    ) -> (Identity, Origin) {
        let (slot, count, reason) = (part.slot, part.count, WithheldReason::Transaction);
        let next = identity.origin(self.state.next_sequence(identity.id(), slot));
        let origin = part.given.unwrap_or(next);
        let kind = Kind::Withheld { slot, count, due_ms: 0, append_time_ms, reason, origin };
        let placed = self.writer.append(kind, part.bytes as usize, part.checksum, |target| {
            content.copy_part(part, target);
        });
        self.note_frame(placed);
        let identity = Identity { log: self.parts.log.id, position: placed.position };
        let (frame_bytes, timestamp_max_ms) = (placed.bytes, part.timestamp_max_ms);
        let withheld = Withheld { slot, count, due_ms: UNDECIDED_MS, frame_bytes, timestamp_max_ms, origin };
        self.state.withhold(identity, withheld);
        *self.withheld_in_segment.entry(slot).or_default() += 1;
        self.state.number(slot, origin, count, last_id(content, part));
        (identity, origin)
    }

    fn prepare(
        &mut self,
        key: TransactionKey,
        step: PrepareStep,
        frames: Vec<Identity>,
        did: &mut TransactionDone,
    ) -> Result<(), &'static str> {
        let PrepareStep { id, checker, participants, commits, acks } = step;
        if canary::sings(Canary::FinishEarly) {
            self.note_progress(&acks, None);
        }
        let prepared_ms = self.append_time();
        let prepared = Prepared { key, id, checker, prepared_ms, participants, commits, frames, acks };
        let body = prepared.encode();
        // Before the state changes: a checkpoint must not know what the frame behind it says.
        self.roll_if_full(frame_bytes(Kind::Prepare, body.len()));
        self.state.transactions.prepare(prepared)?;
        let placed = self.append_control(Kind::Prepare, &body, None);
        did.prepared = Some((placed.position, self.writer.last_checksum()));
        did.at_ms = prepared_ms;
        Ok(())
    }

    /// What a transaction that is prepared here withholds.
    fn frames_of(&self, key: TransactionKey) -> Option<Vec<Identity>> {
        self.state.transactions.get(key).map(|prepared| prepared.frames.clone())
    }

    /// Publishes or discards what a transaction has in this log, with what it acknowledges, in one frame.
    fn end_transaction(
        &mut self,
        frames: Vec<Identity>,
        ending: &Ending,
        outcome: TransactionOutcome,
        did: &mut TransactionDone,
    ) -> Result<(), &'static str> {
        did.at_ms = self.append_time();
        if outcome == TransactionOutcome::RolledBack {
            return self.discard_all(frames, Some(ending));
        }
        // The frame may open a new segment, whose checkpoint must not yet know of the publication.
        self.roll_if_full(frame_bytes(Kind::Publish, 4 + frames.len() * PUBLISH_BYTES + ending.bytes_max()));
        // Partitions that were deleted meanwhile withhold nothing any more.
        let state = &mut self.state;
        let publish = |identity| {
            let entry = state.publish(identity, Vec::new())?;
            let timestamp_max_ms = state.partition(entry.slot).timestamp_max_ms;
            Some((entry, timestamp_max_ms))
        };
        let published: Vec<_> = frames.into_iter().filter_map(publish).collect();
        let (entries, timestamps): (Vec<_>, Vec<_>) = published.into_iter().unzip();
        let advanced = self.state.end_part(ending, TransactionOutcome::Committed)?;
        let placed = self.append_control(Kind::Publish, &entries::encode_publish(&entries, Some(ending)), None);
        for (index, (entry, timestamp_max_ms)) in entries.iter().zip(timestamps).enumerate() {
            did.published.push((entry.identity, entry.base_offset));
            if let Some(partition) = self.parts.table.get(entry.slot) {
                let run = reference_run(entry, index as u32, placed.position, placed.bytes, timestamp_max_ms);
                self.effects.push_back((placed.end, Effect::Publish { partition, run, may_merge: false }));
            }
        }
        advanced.into_iter().for_each(|slot| self.tell_finished(slot));
        Ok(())
    }

    fn discard_all(&mut self, frames: Vec<Identity>, ending: Option<&Ending>) -> Result<(), &'static str> {
        let body_bytes = 4 + frames.len() * Identity::BYTES + ending.map_or(0, Ending::bytes_max);
        self.roll_if_full(frame_bytes(Kind::Discard, body_bytes));
        let discarded = frames.into_iter().filter(|identity| self.state.discard(*identity).is_some());
        let entries: Vec<_> = discarded.map(|identity| DiscardEntry { identity }).collect();
        if let Some(ending) = ending {
            self.state.end_part(ending, TransactionOutcome::RolledBack)?;
        }
        self.append_control(Kind::Discard, &entries::encode_discard(&entries, ending), None);
        Ok(())
    }
}

/// The message id of the last record of a part, if it has one.
fn last_id(content: &Content, part: &Part) -> Option<Arc<[u8]>> {
    if part.known_again == 0 {
        return None;
    }
    let mut bytes = vec![0; part.bytes as usize];
    content.copy_part(part, &mut bytes);
    let (mut rest, mut last) = (&bytes[..], None);
    for _ in 0..part.count {
        let (record, length) = RecordRef::parse(rest).expect("the sender has just encoded it");
        rest = rest.get(length..).unwrap_or_default();
        last = record.message_id().map(Arc::from);
    }
    last
}
