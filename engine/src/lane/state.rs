//! What a log says, taken together: next offsets and numbers, topics and producers, withheld records.
//!
//! The lane changes it as it encodes frames; recovery changes it as it reads them. Both go through the
//! same methods, so that what is recovered is what was.
//!
//! Invariants:
//! - The state is a function of the log's frames up to some position; a checkpoint is that function's
//!   value, written at the beginning of a segment.
//! - Offsets of a partition are given out densely, in log order.
//! - A withheld frame is published, discarded, or still here: exactly one of the three.
//! - Records of a producer in a partition are numbered densely, in log order.

use super::cancelled::Cancelled;
use super::catalog::{Catalog, CatalogChange};
use super::entries::{self, PublishEntry};
use super::groups::Groups;
use super::numbers::Numbers;
use super::originals::{Original, Originals};
use super::progress::{self, ProgressChange, ProgressEntry};
use super::transactions::{Ending, Prepared, TransactionKey, TransactionOutcome, Transactions};
use crate::bounds::{BATCH_BYTES_CEILING, RECORD_BYTES_CEILING, SLOTS_MAX};
use crate::canary::{self, Canary};
use crate::log::codec::{Put, Reader};
use crate::log::frame::{FrameHeader, Kind, WithheldReason};
use crate::log::origin::Origin;
use crate::log::position::{Identity, Position, Stretch};
use crate::partition::index::{Publication, Run};
use crate::record::RecordRef;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// What a partition takes in a checkpoint.
pub(crate) const PARTITION_BYTES: u64 = 36;
/// What a withheld frame takes in a checkpoint.
pub(crate) const WITHHELD_BYTES: u64 = 28 + (Identity::BYTES + Origin::BYTES) as u64;

/// One partition as the log's end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) first_offset: u64,
    pub(crate) next_offset: u64,
    pub(crate) timestamp_max_ms: i64,
    /// The number of the next record of a producer without a name.
    pub(crate) next_sequence: u64,
}

impl Default for PartitionState {
    fn default() -> Self {
        PartitionState { first_offset: 0, next_offset: 0, timestamp_max_ms: i64::MIN, next_sequence: 0 }
    }
}

/// The due time of a frame that waits for its transaction. No delay is so long.
pub(crate) const UNDECIDED_MS: i64 = i64::MAX;

/// A frame whose records have no offsets yet. Its key is its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Withheld {
    pub(crate) slot: u32,
    pub(crate) count: u32,
    /// When it is published, or [`UNDECIDED_MS`].
    pub(crate) due_ms: i64,
    pub(crate) frame_bytes: u32,
    pub(crate) timestamp_max_ms: i64,
    /// Of its first record.
    pub(crate) origin: Origin,
}

/// Numbers of a producer in a partition that readers do not see; each as first and last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unseen {
    pub(crate) withheld: Vec<(u64, u64)>,
    pub(crate) cancelled: Vec<(u64, u64)>,
}

impl Withheld {
    /// Its entry in a checkpoint, in one piece: there may be hundreds of thousands.
    fn encode(&self, identity: Identity) -> [u8; WITHHELD_BYTES as usize] {
        let mut entry = [0; WITHHELD_BYTES as usize];
        entry[0..4].copy_from_slice(&identity.log.to_le_bytes());
        entry[4..12].copy_from_slice(&identity.position.0.to_le_bytes());
        entry[12..16].copy_from_slice(&self.slot.to_le_bytes());
        entry[16..20].copy_from_slice(&self.count.to_le_bytes());
        entry[20..28].copy_from_slice(&self.due_ms.to_le_bytes());
        entry[28..32].copy_from_slice(&self.frame_bytes.to_le_bytes());
        entry[32..40].copy_from_slice(&self.timestamp_max_ms.to_le_bytes());
        self.origin.put(&mut entry[40..]);
        entry
    }

    /// Its numbers, first and last, if it is one of a producer in a partition.
    pub(crate) fn numbers_of(&self, producer: u32, slot: u32) -> Option<(u64, u64)> {
        let first = self.origin.sequence;
        let is_meant = (self.slot, self.origin.producer) == (slot, producer);
        is_meant.then(|| (first, first + u64::from(self.count.max(1) - 1)))
    }
}

/// The state of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogState {
    /// Dense by slot; slots of other lanes stay at their default.
    partitions: Vec<PartitionState>,
    /// How many of them are not at their default.
    partitions_used: usize,
    pub(crate) catalog: Catalog,
    withheld: BTreeMap<Identity, Withheld>,
    due: BTreeSet<(i64, Identity)>,
    withheld_records: u64,
    /// Append times never go back within a log, whatever the wall clock does.
    pub(crate) append_time_ms: i64,
    pub(crate) numbers: Numbers,
    pub(crate) originals: Originals,
    pub(crate) cancelled: Cancelled,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
}

impl LogState {
    /// The partition with this slot.
    pub(crate) fn partition(&self, slot: u32) -> PartitionState {
        self.partitions.get(slot as usize).copied().unwrap_or_default()
    }

    /// The slots that were ever used here and still are.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        let used = |(_, partition): &(usize, &PartitionState)| **partition != PartitionState::default();
        self.partitions.iter().enumerate().filter(used).map(|(slot, _)| slot as u32)
    }

    /// Whether a checkpoint has an entry for the partition.
    #[inline]
    pub(crate) fn is_used(&self, slot: u32) -> bool {
        self.partition(slot) != PartitionState::default()
    }

    /// Goes on where another log left a partition.
    pub(crate) fn take_over(&mut self, slot: u32, partition: PartitionState) {
        self.partitions_used += usize::from(!self.is_used(slot) && partition != PartitionState::default());
        *self.partition_mut(slot) = partition;
    }

    fn partition_mut(&mut self, slot: u32) -> &mut PartitionState {
        let slot = slot as usize;
        if slot >= self.partitions.len() {
            self.partitions.resize(slot + 1, PartitionState::default());
        }
        &mut self.partitions[slot]
    }

    /// Gives out the next `count` offsets; returns the first of them and the partition's largest
    /// timestamp with these records.
    #[inline]
    pub(crate) fn assign(&mut self, slot: u32, count: u32, timestamp_max_ms: i64) -> (u64, i64) {
        self.partitions_used += usize::from(!self.is_used(slot) && count > 0);
        let partition = self.partition_mut(slot);
        let base_offset = partition.next_offset;
        partition.next_offset += u64::from(count);
        partition.timestamp_max_ms = partition.timestamp_max_ms.max(timestamp_max_ms);
        (base_offset, partition.timestamp_max_ms)
    }

    /// The number of the next record of a producer in a partition.
    pub(crate) fn next_sequence(&self, producer: u32, slot: u32) -> u64 {
        match producer {
            Origin::UNNAMED => self.partition(slot).next_sequence,
            named => self.numbers.next(named, slot),
        }
    }

    /// Notes the numbers of records that stand in the log: `count` of them, from `origin` on.
    pub(crate) fn number(&mut self, slot: u32, origin: Origin, count: u32, message_id: Option<Arc<[u8]>>) {
        if origin.producer != Origin::UNNAMED {
            return self.numbers.note(slot, origin, count, message_id);
        }
        self.partitions_used += usize::from(!self.is_used(slot) && count > 0);
        let partition = self.partition_mut(slot);
        // In a repaired log records may come after others with larger numbers.
        partition.next_sequence = partition.next_sequence.max(origin.plus(count).sequence);
    }

    /// Gives up the records of a partition below an offset, as far as there are any. Returns its first offset
    /// if that has moved.
    pub(crate) fn truncate(&mut self, slot: u32, first_offset: u64) -> Option<u64> {
        let PartitionState { first_offset: before, next_offset, .. } = self.partition(slot);
        let first_offset = first_offset.min(next_offset);
        if first_offset <= before {
            return None;
        }
        self.partition_mut(slot).first_offset = first_offset;
        self.groups.truncate(slot, first_offset);
        Some(first_offset)
    }

    /// Takes a withheld frame in.
    pub(crate) fn withhold(&mut self, identity: Identity, withheld: Withheld) {
        self.withheld_records += u64::from(withheld.count);
        if withheld.due_ms != UNDECIDED_MS {
            self.due.insert((withheld.due_ms, identity));
        }
        self.withheld.insert(identity, withheld);
    }

    /// Takes a withheld frame out, to be published or discarded.
    pub(crate) fn release(&mut self, identity: Identity) -> Option<Withheld> {
        let withheld = self.withheld.remove(&identity)?;
        self.due.remove(&(withheld.due_ms, identity));
        self.withheld_records -= u64::from(withheld.count);
        Some(withheld)
    }

    /// Releases a withheld frame and gives its records offsets.
    pub(crate) fn publish(&mut self, identity: Identity, extra_headers: Vec<u8>) -> Option<PublishEntry> {
        let withheld = self.release(identity)?;
        let (base_offset, _) = self.assign(withheld.slot, withheld.count, withheld.timestamp_max_ms);
        Some(PublishEntry {
            identity,
            slot: withheld.slot,
            first: 0,
            count: withheld.count,
            base_offset,
            frame_bytes: withheld.frame_bytes,
            timestamp_max_ms: withheld.timestamp_max_ms,
            extra_headers,
        })
    }

    /// The next withheld frame to become due, and when.
    pub(crate) fn next_due(&self) -> Option<(i64, Identity)> {
        self.due.first().copied()
    }

    /// The first withheld frames that are due at a time, earliest first.
    pub(crate) fn due_until(&self, wall_ms: i64, count_max: usize) -> Vec<Identity> {
        let due = self.due.iter().take_while(|(due_ms, _)| *due_ms <= wall_ms);
        due.take(count_max).map(|(_, identity)| *identity).collect()
    }

    /// Begins a partition that has no records yet at an offset above zero.
    pub(crate) fn start_at(&mut self, slot: u32, offset: u64) {
        assert!(!self.is_used(slot) && offset < OFFSET_MAX, "only a partition without records can begin elsewhere");
        self.partitions_used += usize::from(offset > 0);
        let partition = self.partition_mut(slot);
        (partition.first_offset, partition.next_offset) = (offset, offset);
    }

    /// Has the numbers of producers without a name go on from `next` in a partition.
    pub(crate) fn start_numbers_at(&mut self, slot: u32, next: u64) {
        self.partitions_used += usize::from(!self.is_used(slot) && next > 0);
        self.partition_mut(slot).next_sequence = next;
    }

    /// Records that are withheld now.
    pub(crate) fn withheld_records(&self) -> u64 {
        self.withheld_records
    }

    /// The first frame of a log that is withheld; of those that are, none was begun later.
    pub(crate) fn oldest_withheld(&self, log: u32) -> Option<Position> {
        let first = Identity { log, position: Position(0) };
        self.withheld.range(first..).next().map(|(identity, _)| identity.position)
    }

    /// The withheld frames.
    pub(crate) fn withheld(&self) -> impl Iterator<Item = (Identity, Withheld)> + '_ {
        self.withheld.iter().map(|(identity, withheld)| (*identity, *withheld))
    }

    /// A frame that is withheld.
    pub(crate) fn withheld_frame(&self, identity: Identity) -> Option<Withheld> {
        self.withheld.get(&identity).copied()
    }

    /// Whether a frame is withheld until its transaction decides.
    pub(crate) fn waits_for_transaction(&self, identity: Identity) -> bool {
        self.withheld.get(&identity).is_some_and(|withheld| withheld.due_ms == UNDECIDED_MS)
    }

    /// The numbers of a producer in a partition that stand in the log and are not visible.
    pub(crate) fn unseen(&self, producer: u32, slot: u32) -> Unseen {
        Unseen {
            withheld: self.withheld.values().filter_map(|withheld| withheld.numbers_of(producer, slot)).collect(),
            cancelled: self.cancelled.of(slot, producer).collect(),
        }
    }

    /// The frames that were written in a stretch of a log and are withheld, with their slots.
    pub(crate) fn withheld_in(&self, log: u32, stretch: Stretch) -> impl Iterator<Item = (Position, u32)> + '_ {
        let identity = |position| Identity { log, position };
        let range = self.withheld.range(identity(stretch.from)..identity(stretch.to));
        range.map(|(identity, withheld)| (identity.position, withheld.slot))
    }

    /// Gives up what the partitions of a deleted topic withhold. Their offsets go on counting, so that
    /// what was already on its way to the lane still makes sense in the log.
    pub(crate) fn drop_slots(&mut self, slots: std::ops::Range<u32>) {
        self.release_where(|withheld| slots.contains(&withheld.slot));
    }

    /// At opening: forgets partitions that no topic has any more, and producers that were deleted.
    pub(crate) fn retain_known(&mut self, catalog: &Catalog) {
        let known: std::collections::HashSet<u32> = catalog.topics.values().flat_map(|topic| topic.slots()).collect();
        self.release_where(|withheld| !known.contains(&withheld.slot));
        for (slot, partition) in self.partitions.iter_mut().enumerate() {
            if !known.contains(&(slot as u32)) {
                *partition = PartitionState::default();
            }
        }
        self.partitions_used = self.slots().count();
        let is_known = |producer| producer == Origin::UNNAMED || catalog.producers.contains_key(&producer);
        self.numbers.retain(|producer, slot| known.contains(&slot) && is_known(producer));
        self.originals.retain(|original| known.contains(&original.slot) && is_known(original.origin.producer));
        self.cancelled.retain(|slot| known.contains(&slot));
        self.groups.retain(|group, slot| known.contains(&slot) && catalog.groups.contains_key(&group));
    }

    /// Forgets a group that was deleted.
    pub(crate) fn forget_group(&mut self, group: u32) {
        self.groups.retain(|other, _| other != group);
    }

    /// Forgets a producer that was deleted. Everything that it sent is in the log, and so its cancelled numbers are known:
    /// who reads its records misses them.
    pub(crate) fn forget_producer(&mut self, producer: u32) {
        self.numbers.retain(|other, _| other != producer);
        self.originals.retain(|original| original.origin.producer != producer);
    }

    fn release_where(&mut self, gone: impl Fn(&Withheld) -> bool) {
        let identities: Vec<Identity> =
            self.withheld.iter().filter(|(_, withheld)| gone(withheld)).map(|(identity, _)| *identity).collect();
        for identity in identities {
            self.release(identity);
        }
    }

    /// The append time of a frame encoded now.
    pub(crate) fn clamp_append_time(&mut self, wall_ms: i64) -> i64 {
        self.append_time_ms = self.append_time_ms.max(wall_ms);
        self.append_time_ms
    }

    /// Applies a frame of `log` that recovery read. `publish` gets each run that became visible with it.
    /// `Err`: the frame is whole, but contradicts those before it.
    pub(crate) fn apply(
        &mut self,
        log: u32,
        header: &FrameHeader,
        body: &[u8],
        publish: &mut dyn FnMut(u32, Run),
    ) -> Result<(), String> {
        match header.kind {
            Kind::Records { slot, count, base_offset, append_time_ms, origin } => {
                self.append_time_ms = self.append_time_ms.max(append_time_ms);
                let identity = Identity { log, position: header.position };
                let found = look_through(slot, origin, identity, Some(base_offset), body, count)?;
                self.check_room(slot, count, origin)?;
                let expected = self.partition(slot).next_offset;
                if expected != base_offset {
                    return Err(format!("its first offset is {base_offset}, the partition's next one is {expected}"));
                }
                let (_, timestamp_max_ms) = self.assign(slot, count, found.timestamp_max_ms);
                self.take_origin(slot, origin, count, found);
                publish(
                    slot,
                    Run {
                        base_offset,
                        count,
                        first: 0,
                        position: header.position,
                        bytes: header.total_bytes() as u32,
                        timestamp_max_ms,
                        publication: None,
                    },
                );
                Ok(())
            }
            Kind::Withheld { slot, count, due_ms, append_time_ms, reason, origin } => {
                self.append_time_ms = self.append_time_ms.max(append_time_ms);
                let identity = Identity { log, position: header.position };
                let found = look_through(slot, origin, identity, None, body, count)?;
                self.check_room(slot, count, origin)?;
                let (frame_bytes, timestamp_max_ms) = (header.total_bytes() as u32, found.timestamp_max_ms);
                let due_ms = match reason {
                    WithheldReason::Delayed => {
                        self.take_origin(slot, origin, count, found);
                        due_ms.min(UNDECIDED_MS - 1)
                    }
                    WithheldReason::Transaction => {
                        // What may never be published is nothing that another record repeats.
                        self.number(slot, origin, count, found.last_id);
                        UNDECIDED_MS
                    }
                };
                self.withhold(identity, Withheld { slot, count, due_ms, frame_bytes, timestamp_max_ms, origin });
                Ok(())
            }
            Kind::Publish => {
                let (entries, ending) = entries::decode_publish(body).ok_or("its list cannot be read")?;
                for (entry_index, entry) in entries.iter().enumerate() {
                    let run = self.apply_publish(header, entry_index as u32, entry)?;
                    publish(entry.slot, run);
                }
                if let Some(ending) = ending {
                    self.end_part(&ending, TransactionOutcome::Committed)?;
                }
                Ok(())
            }
            Kind::Discard => {
                let (entries, ending) = entries::decode_discard(body).ok_or("its list cannot be read")?;
                for entry in entries {
                    self.discard(entry.identity).ok_or("it discards a record that is not withheld")?;
                }
                if let Some(ending) = ending {
                    self.end_part(&ending, TransactionOutcome::RolledBack)?;
                }
                Ok(())
            }
            Kind::Prepare => {
                let prepared = Prepared::decode(body).ok_or("its transaction cannot be read")?;
                for entry in &prepared.acks {
                    self.check_room(entry.slot, 0, Origin::default())?;
                }
                Ok(self.transactions.prepare(prepared)?)
            }
            Kind::Moved { .. } | Kind::Head => Err("only copied segments have such a frame".to_owned()),
            Kind::Catalog => {
                let change = CatalogChange::decode(body).ok_or("its change cannot be read")?;
                self.apply_catalog(&change)?;
                Ok(())
            }
            Kind::Truncate => {
                for entry in entries::decode_truncate(body).ok_or("its list cannot be read")? {
                    if self.truncate(entry.slot, entry.first_offset) != Some(entry.first_offset) {
                        let partition = self.partition(entry.slot);
                        return Err(format!("it gives up records below {}, and has {partition:?}", entry.first_offset));
                    }
                }
                Ok(())
            }
            Kind::Progress => {
                for entry in progress::decode_progress(body).ok_or("its list cannot be read")? {
                    self.check_room(entry.slot, 0, Origin::default())?;
                    self.apply_progress(&entry)?;
                }
                Ok(())
            }
            Kind::Checkpoint | Kind::Mark | Kind::End | Kind::Pad => Ok(()),
        }
    }

    fn apply_publish(&mut self, header: &FrameHeader, entry_index: u32, entry: &PublishEntry) -> Result<Run, String> {
        let released = self.release(entry.identity).ok_or("it publishes a record that is not withheld")?;
        let expected = self.partition(entry.slot).next_offset;
        if expected != entry.base_offset || released.slot != entry.slot {
            return Err(format!("it publishes offset {}, the partition's next one is {expected}", entry.base_offset));
        }
        if (entry.first, entry.count, entry.frame_bytes) != (0, released.count, released.frame_bytes) {
            return Err("it publishes other records than were withheld".to_owned());
        }
        self.check_room(entry.slot, entry.count, released.origin)?;
        let (_, timestamp_max_ms) = self.assign(entry.slot, entry.count, entry.timestamp_max_ms);
        Ok(reference_run(entry, entry_index, header.position, header.total_bytes() as u32, timestamp_max_ms))
    }

    /// Notes how far a group has come. `Ok(false)`: it changes nothing.
    pub(crate) fn apply_progress(&mut self, entry: &ProgressEntry) -> Result<bool, &'static str> {
        let first_offset = self.partition(entry.slot).first_offset;
        if let ProgressChange::Reset { .. } = entry.change {
            self.transactions.forget_acks(entry.group, entry.slot);
        }
        self.groups.apply(entry, first_offset)
    }

    /// Ends the part of a transaction in this log; what it had is published or discarded by the same frame. Returns the
    /// partitions in which groups have come further by it.
    pub(crate) fn end_part(
        &mut self,
        ending: &Ending,
        outcome: TransactionOutcome,
    ) -> Result<BTreeSet<u32>, &'static str> {
        let prepared = self.transactions.end(ending.key());
        let acks = match (prepared, ending) {
            (Some(prepared), _) => prepared.acks,
            (None, Ending::Decides { acks, .. }) => acks.clone(),
            (None, Ending::Follows { .. }) => return Err("it ends a transaction that is not prepared"),
        };
        if let Ending::Decides { decided, .. } = ending {
            if decided.outcome != outcome {
                return Err("it decides a transaction otherwise than it ends it");
            }
            self.transactions.decide(decided.clone());
        }
        let mut slots = BTreeSet::new();
        if outcome == TransactionOutcome::Committed {
            for entry in &acks {
                // What contradicts the log is not finished, and comes again: better than a log that cannot be read.
                if self.apply_progress(entry) == Ok(true) {
                    slots.insert(entry.slot);
                }
            }
        }
        Ok(slots)
    }

    /// Takes the part of a transaction out that is never to be published, and what it withholds.
    pub(crate) fn give_up_part(&mut self, key: TransactionKey) {
        let Some(prepared) = self.transactions.end(key) else { return };
        for identity in prepared.frames {
            self.discard(identity);
        }
    }

    /// At opening: discards what was withheld for transactions that were never prepared.
    pub(crate) fn discard_orphans(&mut self) {
        let prepared: HashSet<Identity> =
            self.transactions.prepared().flat_map(|prepared| prepared.frames.iter().copied()).collect();
        let is_orphan = |(identity, withheld): &(&Identity, &Withheld)| {
            withheld.due_ms == UNDECIDED_MS && !prepared.contains(*identity)
        };
        let orphans: Vec<Identity> = self.withheld.iter().filter(is_orphan).map(|(identity, _)| *identity).collect();
        for identity in orphans {
            self.discard(identity);
        }
    }

    /// Whether a partition can be, and has room for so many offsets. Whole frames that say otherwise were never
    /// written by a lane; without this they would be given memory without bound.
    fn check_room(&self, slot: u32, count: u32, origin: Origin) -> Result<(), String> {
        let end = self.partition(slot).next_offset.checked_add(u64::from(count));
        let is_number = origin.sequence < OFFSET_MAX && (origin.producer != Origin::UNNAMED || origin.epoch == 0);
        match slot < SLOTS_MAX && end.is_some_and(|end| end < OFFSET_MAX) && is_number {
            true => Ok(()),
            false => Err(format!("no partition has slot {slot} and room for {count} records")),
        }
    }

    /// Takes a withheld frame out that is never to be published.
    pub(crate) fn discard(&mut self, identity: Identity) -> Option<Withheld> {
        let withheld = self.release(identity)?;
        self.cancelled.note(withheld.slot, withheld.origin, withheld.count);
        Some(withheld)
    }

    /// Takes in who wrote the records of a frame.
    fn take_origin(&mut self, slot: u32, origin: Origin, count: u32, found: Found) {
        self.number(slot, origin, count, found.last_id);
        found.originals.into_iter().for_each(|original| self.originals.push(original));
    }

    /// Applies a change of the catalog.
    pub(crate) fn apply_catalog(&mut self, change: &CatalogChange) -> Result<(), &'static str> {
        if let CatalogChange::Delete { topic } = change
            && let Some(topic) = self.catalog.topics.get(topic)
        {
            self.drop_slots(topic.slots());
        }
        if let CatalogChange::DeleteProducer { producer } = change {
            self.forget_producer(*producer);
        }
        if let CatalogChange::DeleteGroup { group } = change {
            self.forget_group(*group);
        }
        self.catalog.apply(change)
    }

    /// A bound on the size of the checkpoint, without making it.
    pub(crate) fn encoded_bytes_max(&self) -> u64 {
        let partitions = self.partitions_used as u64 * PARTITION_BYTES;
        let withheld = self.withheld.len() as u64 * WITHHELD_BYTES;
        let origins = self.numbers.encoded_bytes() + self.originals.encoded_bytes() + self.cancelled.encoded_bytes();
        let delivery = self.groups.encoded_bytes_max() + self.transactions.encoded_bytes_max();
        self.catalog.encoded_bytes() + partitions + withheld + origins + delivery + 64
    }

    /// The state as the body of a checkpoint.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // At once: it may have megabytes, and the lane does nothing else meanwhile.
        let mut body = Vec::with_capacity(self.encoded_bytes_max() as usize);
        body.put_i64(self.append_time_ms);
        self.catalog.encode(&mut body);
        let used =
            || self.partitions.iter().enumerate().filter(|(_, partition)| **partition != PartitionState::default());
        body.put_u32(used().count() as u32);
        for (slot, partition) in used() {
            body.put_u32(slot as u32);
            body.put_u64(partition.first_offset);
            body.put_u64(partition.next_offset);
            body.put_i64(partition.timestamp_max_ms);
            body.put_u64(partition.next_sequence);
        }
        body.put_u32(self.withheld.len() as u32);
        for (identity, withheld) in &self.withheld {
            body.extend_from_slice(&withheld.encode(*identity));
        }
        self.numbers.encode(&mut body);
        self.originals.encode(&mut body);
        self.cancelled.encode(&mut body);
        self.groups.encode(&mut body);
        self.transactions.encode(&mut body);
        body
    }

    /// Reads a checkpoint's body.
    pub(crate) fn decode(body: &[u8]) -> Option<LogState> {
        let mut reader = Reader::new(body);
        let mut state = LogState { append_time_ms: reader.i64()?, ..LogState::default() };
        state.catalog = Catalog::decode(&mut reader)?;
        for _ in 0..reader.u32()? {
            let slot = reader.u32()?;
            let partition = PartitionState {
                first_offset: reader.u64()?,
                next_offset: reader.u64()?,
                timestamp_max_ms: reader.i64()?,
                next_sequence: reader.u64()?,
            };
            let is_possible = partition.first_offset <= partition.next_offset
                && partition.next_offset < OFFSET_MAX
                && partition.next_sequence < OFFSET_MAX;
            if slot >= SLOTS_MAX || !is_possible {
                return None;
            }
            *state.partition_mut(slot) = partition;
        }
        state.partitions_used = state.slots().count();
        for _ in 0..reader.u32()? {
            let identity = Identity::decode(&mut reader)?;
            let withheld = Withheld {
                slot: reader.u32()?,
                count: reader.u32()?,
                due_ms: reader.i64()?,
                frame_bytes: reader.u32()?,
                timestamp_max_ms: reader.i64()?,
                origin: Origin::take(reader.take(Origin::BYTES)?),
            };
            let is_possible = withheld.slot < SLOTS_MAX && withheld.frame_bytes <= WITHHELD_FRAME_BYTES_MAX;
            if !is_possible || state.withheld.contains_key(&identity) {
                return None;
            }
            state.withhold(identity, withheld);
        }
        state.numbers = Numbers::decode(&mut reader)?;
        state.originals = Originals::decode(&mut reader)?;
        state.cancelled = Cancelled::decode(&mut reader)?;
        state.groups = Groups::decode(&mut reader)?;
        state.transactions = Transactions::decode(&mut reader)?;
        if canary::sings(Canary::ForgetNumbers) {
            state.numbers = Numbers::default();
        }
        if canary::sings(Canary::ForgetOriginals) {
            state.originals = Originals::default();
        }
        if canary::sings(Canary::ForgetProgress) {
            state.groups = Groups::default();
        }
        reader.is_empty().then_some(state)
    }
}

/// No partition comes near.
pub(crate) const OFFSET_MAX: u64 = 1 << 62;
/// A withheld frame holds one record; or, of a transaction, up to a batch of them, and the one that goes beyond it.
const WITHHELD_FRAME_BYTES_MAX: u32 = (RECORD_BYTES_CEILING + BATCH_BYTES_CEILING) as u32 + 4096;

/// The index run of a publish entry.
pub(crate) fn reference_run(
    entry: &PublishEntry,
    entry_index: u32,
    publish_frame: Position,
    publish_frame_bytes: u32,
    timestamp_max_ms: i64,
) -> Run {
    Run {
        base_offset: entry.base_offset,
        count: entry.count,
        first: entry.first,
        position: entry.identity.position,
        bytes: entry.frame_bytes,
        timestamp_max_ms,
        publication: Some(Publication {
            position: publish_frame,
            extra_bytes: if entry.extra_headers.is_empty() { 0 } else { publish_frame_bytes },
            entry: entry_index,
        }),
    }
}

/// The largest timestamp in a body of `count` records; also checks that it is one.
pub(crate) fn timestamp_max(body: &[u8], count: u32) -> Result<i64, String> {
    each_record(body, count, |_, _| {})
}

/// Shows each record of a body of `count` records with its index; gives the largest timestamp.
fn each_record(body: &[u8], count: u32, mut show: impl FnMut(u32, RecordRef<'_>)) -> Result<i64, String> {
    let mut rest = body;
    let mut timestamp_max_ms = i64::MIN;
    for index in 0..count {
        let (record, next) = RecordRef::parse(rest).ok_or_else(|| format!("its record {index} cannot be read"))?;
        timestamp_max_ms = timestamp_max_ms.max(record.timestamp_ms());
        show(index, record);
        rest = rest.get(next..).unwrap_or_default();
    }
    if rest.is_empty() { Ok(timestamp_max_ms) } else { Err(format!("bytes follow its last record, {count}")) }
}

/// What the records of a frame say beside what they are about.
#[derive(Default)]
struct Found {
    timestamp_max_ms: i64,
    /// The message id of the last one.
    last_id: Option<Arc<[u8]>>,
    originals: Vec<Original>,
}

/// Looks through a body of `count` records; also checks that it is one.
fn look_through(
    slot: u32,
    origin: Origin,
    identity: Identity,
    base_offset: Option<u64>,
    body: &[u8],
    count: u32,
) -> Result<Found, String> {
    let mut found = Found::default();
    found.timestamp_max_ms = each_record(body, count, |index, record| {
        found.last_id = None;
        if record.is_known_again() {
            let original = Original::of(record, slot, origin.plus(index), identity, base_offset, index);
            found.last_id.clone_from(&original.message_id);
            found.originals.push(original);
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::catalog::{ProducerEntry, TopicEntry};
    use crate::topic::Retention;

    fn at(position: u64) -> Identity {
        Identity { log: 0, position: Position(position) }
    }

    fn origin(producer: u32, sequence: u64) -> Origin {
        Origin { producer, epoch: producer, sequence }
    }

    fn withheld(slot: u32, origin: Origin) -> Withheld {
        Withheld { slot, count: 1, due_ms: 50, frame_bytes: 184, timestamp_max_ms: 9, origin }
    }

    fn open_producer(state: &mut LogState, epoch: u32) {
        let entry = ProducerEntry { id: 1, name: "p".to_owned(), epoch };
        state.apply_catalog(&CatalogChange::OpenProducer(entry)).unwrap();
    }

    fn original(slot: u32, sequence: u64) -> Original {
        let message_id = Some(Arc::from(sequence.to_string().as_bytes()));
        let (origin, identity) = (origin(1, sequence), at(8 * sequence));
        Original { slot, origin, is_numbered: true, message_id, offset: None, identity, index: 0, timestamp_ms: 1 }
    }

    fn sample() -> LogState {
        let mut state = LogState { append_time_ms: 77, ..LogState::default() };
        let retention = Retention::new();
        let topic = TopicEntry { id: 0, name: "a".into(), first_slot: 0, partitions: 4, created_ms: 1, retention };
        state.apply_catalog(&CatalogChange::Create(topic)).unwrap();
        open_producer(&mut state, 1);
        assert_eq!(state.assign(2, 5, 10), (0, 10));
        assert_eq!(state.assign(2, 1, 8), (5, 10));
        state.number(2, origin(0, 0), 6, None);
        state.number(2, origin(1, 0), 3, Some(Arc::from(&b"id"[..])));
        state.originals.push(original(2, 2));
        state.withhold(at(4096), withheld(2, origin(1, 3)));
        state.cancelled.note(2, origin(0, 4), 1);
        let begin = ProgressEntry { group: 3, slot: 2, change: ProgressChange::Begin { position: 1 } };
        state.groups.apply(&begin, 0).unwrap();
        state
    }

    #[test]
    fn a_checkpoint_holds_the_whole_state() {
        let state = sample();
        let body = state.encode();
        let read = LogState::decode(&body).unwrap();
        assert_eq!(read.encode(), body);
        assert_eq!(read.partition(2), state.partition(2));
        assert_eq!(read.next_due(), Some((50, at(4096))));
        assert_eq!(read.withheld_records(), 1);
        assert_eq!((read.next_sequence(0, 2), read.next_sequence(1, 2)), (6, 3));
        assert_eq!(read.originals.by_number(2, 1, 2), Some(&original(2, 2)));
        assert_eq!((read.cancelled, read.groups), (state.cancelled, state.groups));
        for length in 0..body.len() {
            assert!(LogState::decode(&body[..length]).is_none(), "cut at {length}");
        }
    }

    /// The reserve of a full disk is as large as this bound asks for.
    #[test]
    fn the_bound_on_a_checkpoint_follows_every_change() {
        let mut state = LogState::default();
        let check = |state: &LogState| {
            let bytes = state.encode().len() as u64;
            let bound = state.encoded_bytes_max();
            assert!(bytes <= bound && bound <= bytes + 64, "{bytes} bytes, the bound is {bound}");
            assert_eq!(LogState::decode(&state.encode()).unwrap().encoded_bytes_max(), bound);
        };
        for topic in 0..3 {
            let name = "x".repeat(topic as usize + 1);
            let (first_slot, retention) = (topic * 4, Retention::new());
            let entry = TopicEntry { id: topic, name, first_slot, partitions: 4, created_ms: 1, retention };
            state.apply_catalog(&CatalogChange::Create(entry)).unwrap();
            check(&state);
        }
        for slot in [9, 1, 9, 4] {
            state.assign(slot, 1, 1);
            check(&state);
        }
        for number in 0..20 {
            state.withhold(at(u64::from(number) * 8), withheld(number % 12, origin(0, u64::from(number))));
            check(&state);
        }
        open_producer(&mut state, 1);
        open_producer(&mut state, 2);
        check(&state);
        for sequence in 0..5 {
            state.number(9, origin(1, sequence), 1, Some(Arc::from(vec![1; 5 - sequence as usize])));
            state.number(10 + sequence as u32, origin(0, 0), 1, None);
            state.originals.push(original(1, sequence));
            check(&state);
        }
        state.originals.bound(2);
        check(&state);
        state.publish(at(8), Vec::new()).unwrap();
        state.release(at(16)).unwrap();
        check(&state);
        state.discard(at(24)).unwrap();
        check(&state);
        let mut deleted = state.clone();
        deleted.apply_catalog(&CatalogChange::DeleteProducer { producer: 1 }).unwrap();
        check(&deleted);
        assert_eq!((deleted.numbers.len(), deleted.originals.iter().count()), (0, 0));
        state.apply_catalog(&CatalogChange::Delete { topic: 2 }).unwrap();
        let catalog = state.catalog.clone();
        state.retain_known(&catalog);
        check(&state);
        assert_eq!(state.numbers.len(), 0, "slot 9 belongs to nobody any more");
    }

    /// Whole frames may speak of any slot; the state grew to hold it, by 100 GB.
    #[test]
    fn a_slot_that_cannot_be_is_refused() {
        for (slot, count) in [(u32::MAX, 0), (SLOTS_MAX, 0)] {
            let kind = Kind::Records { slot, count, base_offset: 0, append_time_ms: 0, origin: Origin::default() };
            let position = Position(8192);
            let header = FrameHeader {
                kind,
                position,
                durable: position,
                body_bytes: 0,
                previous_checksum: 0,
                body_checksum: 0,
                header_checksum: 0,
            };
            LogState::default().apply(0, &header, &[], &mut |_, _| {}).expect_err("a slot beyond all");
        }
        let mut state = LogState::default();
        state.assign(SLOTS_MAX, 1, 1);
        assert!(LogState::decode(&state.encode()).is_none());
    }

    #[test]
    fn a_withheld_record_ends_once() {
        let mut state = sample();
        let entry = state.publish(at(4096), Vec::new()).unwrap();
        assert_eq!((entry.base_offset, entry.count), (6, 1));
        assert!(state.publish(at(4096), Vec::new()).is_none());
        assert!(state.release(at(4096)).is_none());
        assert_eq!((state.next_due(), state.withheld_records()), (None, 0));
    }

    #[test]
    fn the_front_of_a_partition_goes_once_and_not_beyond_its_end() {
        let mut state = sample();
        assert_eq!(state.truncate(2, 4), Some(4));
        assert_eq!((state.truncate(2, 4), state.truncate(2, 3), state.truncate(3, 9)), (None, None, None));
        assert_eq!(state.truncate(2, 100), Some(6));
        assert_eq!(LogState::decode(&state.encode()).unwrap().partition(2).first_offset, 6);
        assert_eq!(state.assign(2, 1, 1).0, 6);
    }

    #[test]
    fn deleting_a_topic_drops_what_it_had() {
        let mut state = sample();
        state.apply_catalog(&CatalogChange::Delete { topic: 0 }).unwrap();
        assert_eq!(state.withheld_records(), 0);
        assert_eq!(state.assign(2, 1, 1).0, 6, "what was on its way still fits");
        let catalog = state.catalog.clone();
        state.retain_known(&catalog);
        assert_eq!(state.partition(2), PartitionState::default());
    }
}
