//! From a batch to frames: who wrote its records, which of them are new, and what they become.
//!
//! Invariants:
//! - A number is given when the record is appended, to what is appended and to nothing else.
//! - A batch whose records were all sent before writes nothing; it is answered when the first ones are durable.

use super::{Effect, Lane, PARTS_MANY, part_frame_bytes};
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::lane::numbers::{NUMBER_BYTES, NUMBERS_MAX};
use crate::lane::originals::Original;
use crate::lane::repeats::{self, Sorted};
use crate::lane::state::{UNDECIDED_MS, Withheld};
use crate::lane::writer::Placed;
use crate::log::frame::{Kind, WithheldReason};
use crate::log::origin::Origin;
use crate::log::position::Identity;
use crate::producer::Durability;
use crate::producer::accumulator::{Accumulator, FilledBatch};
use crate::producer::batch::{Appended, Content, Part, PartOutcome};
use crate::producer::identity::ProducerIdentity;
use crate::record::RecordRef;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a part becomes in the log.
struct Body<'a> {
    content: &'a Content,
    part: &'a Part,
    /// The bytes of what is new, where that is not the whole part; else the part's own.
    picked: Option<Vec<u8>>,
    count: u32,
    origin: Origin,
}

impl Lane {
    /// Whether there is room for how far the producer comes with a batch.
    pub(super) fn check_numbers(&self, batch: &FilledBatch) -> Result<()> {
        self.check_new_numbers(self.new_numbers(batch))
    }

    /// Whether there is room for so many numbers more.
    pub(super) fn check_new_numbers(&self, new: u64) -> Result<()> {
        let count = self.state.numbers.len() as u64 + new;
        if new > 0 && count > NUMBERS_MAX as u64 {
            return Err(Error::TooMany {
                what: "named producers of one lane, each by the partitions that it sends to",
                count,
                count_max: NUMBERS_MAX as u64,
                advice: "delete producers that are not used any more, or let fewer of them send to each partition",
            });
        }
        Ok(())
    }

    /// Partitions of a batch that its producer has no number in yet.
    fn new_numbers(&self, batch: &FilledBatch) -> u64 {
        if batch.identity.named.is_none() {
            return 0;
        }
        let id = batch.identity.id();
        let is_new = |part: &&Part| self.state.numbers.get(id, part.slot).is_none();
        batch.content.parts.iter().filter(is_new).count() as u64
    }

    /// How much more of a checkpoint the origins of a batch take at most.
    pub(super) fn growth_of_origins(&self, batch: &FilledBatch) -> u64 {
        let parts = &batch.content.parts;
        let known_again: u64 = parts.iter().map(|part| u64::from(part.known_again)).sum();
        let id_bytes: u64 = parts.iter().map(|part| u64::from(part.id_bytes)).sum();
        let numbers = self.new_numbers(batch) * NUMBER_BYTES;
        match known_again {
            0 => numbers,
            // An id is remembered with its receipt, and the last one as that of the producer.
            _ => numbers + self.state.originals.growth(known_again, id_bytes) + id_bytes,
        }
    }

    pub(super) fn encode(&mut self, accumulator: &Accumulator, filled: FilledBatch, now: u64) {
        let FilledBatch { ticket, mut content, durability, identity } = filled;
        let append_time_ms = self.state.clamp_append_time(self.parts.clock.wall_ms());
        let mut parts = std::mem::take(&mut content.parts);
        let mut outcomes = Vec::with_capacity(parts.len());
        let (mut sent, mut written, mut payload) = (0, 0, 0);
        // Parts of the batch that an earlier effect shows to readers.
        let mut published = 0;
        for part in parts.drain(..) {
            let total = part_frame_bytes(&part);
            if total > self.writer.room() {
                // What stands in the old segment must be in the index before that is sealed, and the
                // batch itself is durable only in the new one.
                let parts = outcomes[published..].to_vec();
                published = outcomes.len();
                self.effects
                    .push_back((self.writer.tail(), Effect::Batch { batch: None, parts, published: 0, records: 0 }));
                self.roll_if_full(total);
            }
            sent += u64::from(part.count);
            payload += u64::from(part.bytes);
            let outcome = self.encode_part(&content, part, &identity, append_time_ms);
            written += u64::from(outcome.count);
            outcomes.push(outcome);
        }
        content.parts = parts;
        accumulator.give_back(content);
        if written > 0 {
            if !self.parts.shared.has_records() {
                self.parts.shared.records_since_ms.store(append_time_ms, Ordering::Release);
            }
            self.count_group(written, payload);
            self.last_activity = now;
        }
        self.far_batches += usize::from(outcomes.len() >= PARTS_MANY);
        let batch = match durability {
            Durability::Synced if canary::sings(Canary::AcknowledgeEarly) => {
                self.urgent = true;
                self.complete_batch(ticket, durability, Ok(outcomes.clone()));
                None
            }
            Durability::Synced => {
                // Also where all were sent before: the first ones may not be durable yet.
                self.urgent |= !self.writer.is_clean();
                Some(ticket)
            }
            Durability::Buffered => {
                if written > 0 {
                    self.buffered_since.get_or_insert(now);
                }
                self.complete_batch(ticket, durability, Ok(outcomes.clone()));
                None
            }
        };
        let effect = Effect::Batch { batch, parts: outcomes, published, records: sent };
        self.effects.push_back((self.writer.tail(), effect));
    }

    fn encode_part(
        &mut self,
        content: &Content,
        part: Part,
        identity: &ProducerIdentity,
        append_time_ms: i64,
    ) -> PartOutcome {
        let next = identity.origin(self.state.next_sequence(identity.id(), part.slot));
        if part.known_again == 0 {
            let body =
                Body { content, part: &part, picked: None, count: part.count, origin: part.given.unwrap_or(next) };
            let appended = self.append_records(&body, append_time_ms);
            self.state.number(part.slot, appended.origin, appended.count, None);
            return PartOutcome::new(part.partition, &appended);
        }
        let mut bytes = vec![0; part.bytes as usize];
        content.copy_part(&part, &mut bytes);
        let sorted = match part.given {
            None => {
                let producer = identity.named.as_ref().map_or("", |named| &named.name);
                let (topic, partition) = (&*part.partition.topic, part.partition.partition);
                let context = repeats::Context { slot: part.slot, next, producer, topic, partition };
                repeats::sort_out(&self.state, &context, &bytes, part.count)
            }
            // It is written as it was.
            Some(_) => Sorted::default(),
        };
        let is_whole = part.given.is_some() || sorted.is_all_new();
        if !is_whole {
            bytes = sorted.new.iter().flat_map(|range| &bytes[range.clone()]).copied().collect();
        }
        let count = if is_whole { part.count } else { sorted.new.len() as u32 };
        if count == 0 {
            return PartOutcome::nothing(part.partition).with_each(sorted.outcomes);
        }
        let origin = part.given.unwrap_or(next);
        let picked = (!is_whole).then(|| bytes.clone());
        let body = Body { content, part: &part, picked, count, origin };
        let appended = self.append_records(&body, append_time_ms);
        self.remember(&appended, part.slot, &bytes);
        let outcome = PartOutcome::new(part.partition, &appended);
        if is_whole { outcome } else { outcome.with_each(sorted.outcomes) }
    }

    /// Remembers the receipts of records that were just appended and may be sent again.
    fn remember(&mut self, appended: &Appended, slot: u32, bytes: &[u8]) {
        let Appended { placed, count, origin: first, published } = appended;
        let identity = Identity { log: self.parts.log.id, position: placed.position };
        let base_offset = published.map(|(base_offset, _)| base_offset);
        let mut rest = bytes;
        let mut last_id = None;
        for index in 0..*count {
            let (record, length) = RecordRef::parse(rest).expect("the sender has just encoded it");
            rest = rest.get(length..).unwrap_or_default();
            last_id = record.message_id().map(Arc::<[u8]>::from);
            if record.is_known_again() {
                let original = Original::of(record, slot, first.plus(index), identity, base_offset, index);
                self.state.originals.push(original);
            }
        }
        self.state.number(slot, *first, *count, last_id);
    }

    fn append_records(&mut self, body: &Body<'_>, append_time_ms: i64) -> Appended {
        match body.part.due_ms {
            Some(due_ms) if !canary::sings(Canary::PublishWithheld) => {
                self.append_withheld(body, append_time_ms, due_ms)
            }
            _ => self.append_visible(body, append_time_ms),
        }
    }

    fn append_visible(&mut self, body: &Body<'_>, append_time_ms: i64) -> Appended {
        let (slot, count, origin) = (body.part.slot, body.count, body.origin);
        let (base_offset, timestamp_max_ms) = self.state.assign(slot, count, body.part.timestamp_max_ms);
        let kind = Kind::Records { slot, count, base_offset, append_time_ms, origin };
        let placed = self.append_body_of(kind, body);
        Appended { placed, count, origin, published: Some((base_offset, timestamp_max_ms)) }
    }

    fn append_withheld(&mut self, body: &Body<'_>, append_time_ms: i64, due_ms: i64) -> Appended {
        let (slot, count, origin) = (body.part.slot, body.count, body.origin);
        // No delay is so long that it means a transaction.
        let due_ms = due_ms.min(UNDECIDED_MS - 1);
        let kind = Kind::Withheld { slot, count, due_ms, append_time_ms, reason: WithheldReason::Delayed, origin };
        let placed = self.append_body_of(kind, body);
        let timestamp_max_ms = body.part.timestamp_max_ms;
        let withheld = Withheld { slot, count, due_ms, frame_bytes: placed.bytes, timestamp_max_ms, origin };
        self.state.withhold(Identity { log: self.parts.log.id, position: placed.position }, withheld);
        *self.withheld_in_segment.entry(slot).or_default() += 1;
        Appended { placed, count, origin, published: None }
    }

    fn append_body_of(&mut self, kind: Kind, body: &Body<'_>) -> Placed {
        let Body { content, part, picked, .. } = body;
        let placed = match picked {
            Some(bytes) => self.writer.append_body(kind, bytes),
            None => self.writer.append(kind, part.bytes as usize, part.checksum, |target| {
                content.copy_part(part, target);
            }),
        };
        self.note_frame(placed);
        placed
    }
}
