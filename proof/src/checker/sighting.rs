//! One record at one place, as somebody saw it: the step that most of the checker consists of.
//!
//! | who says it | binds the offset | counts as read |
//! |---|---|---|
//! | a synced receipt, the answer of a commit | for ever | no |
//! | a buffered receipt | until a crash | no |
//! | a poll, a delivery, the contents of a partition | for ever | yes |

use super::finding::{Anomaly, Finding};
use super::logs::Slot;
use super::world::World;
use crate::history::{Placed, Value};

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// A receipt, or the answer of a commit. `durable`: no crash may undo it.
    Receipt { durable: bool },
    /// A reader.
    Reader,
    /// Whoever read everything.
    Contents,
}

/// One record at one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub(super) index: usize,
    pub(super) process: Option<u32>,
    pub(super) placed: Placed,
    pub(super) witness: Witness,
    /// The wall clock, looked at afterwards.
    pub(super) wall_ms: Option<i64>,
}

impl Sighting {
    pub(super) fn finding(&self, anomaly: Anomaly, message: String) -> Finding {
        let Placed { topic, partition, offset, value } = self.placed;
        Finding::new(self.index, anomaly, message)
            .in_partition(topic, partition)
            .at_offset(offset)
            .of_value(value)
            .by_process(self.process)
    }

    fn durable(&self) -> bool {
        self.witness != Witness::Receipt { durable: false }
    }

    fn is_read(&self) -> bool {
        !matches!(self.witness, Witness::Receipt { .. })
    }
}

impl World<'_> {
    /// Takes note of a sighting, and says what is wrong with it. Gives the record that another one
    /// displaced from this offset.
    pub(super) fn saw(&mut self, sighting: Sighting) -> Option<usize> {
        self.steps += 1;
        let Placed { topic, partition, offset, value } = sighting.placed;
        let Some(record) = self.records.find(value).filter(|record| self.records.all[*record].sent < sighting.index)
        else {
            let message = "nobody has sent this".to_owned();
            self.findings.push(sighting.finding(Anomaly::Unexpected, message));
            return None;
        };
        let place = self.logs.partition(topic, partition);
        let bound = self.offset_bound(topic);
        if offset >= bound {
            let message = format!("offsets are dense, and only {bound} records can be there");
            self.findings.push(sighting.finding(Anomaly::OffsetGap, message));
            return None;
        }
        let displaced = self.bind_offset(&sighting, place, record);
        if self.logs.dead_letters_of(topic).is_some() {
            self.dead_letter_seen(&sighting, record);
            return displaced;
        }
        let sent = &self.records.all[record];
        if sent.topic != topic || sent.partition.is_some_and(|sent| sent != partition) {
            let message = match sent.partition {
                Some(number) => format!("it was sent to topic {} partition {number}", sent.topic),
                None => format!("it was sent to topic {}", sent.topic),
            };
            self.findings.push(sighting.finding(Anomaly::Misplaced, message));
            return displaced;
        }
        self.bind_record(&sighting, place, record);
        if sighting.is_read() {
            self.was_read(&sighting, record);
        }
        displaced
    }

    /// Offsets of a topic stand below this.
    fn offset_bound(&self, topic: u32) -> u64 {
        match self.logs.dead_letters_of(topic) {
            // Each dead letter was a delivery.
            Some(_) => self.deliveries,
            None => self.records.sent_to.get(&topic).copied().unwrap_or(0),
        }
    }

    fn bind_offset(&mut self, sighting: &Sighting, place: usize, record: usize) -> Option<usize> {
        let crashes = self.crashes;
        let partition = &mut self.logs.partitions[place];
        let at = usize::try_from(sighting.placed.offset).expect("below the number of records sent");
        if partition.slots.len() <= at {
            partition.slots.resize(at + 1, Slot::default());
        }
        let slot = &mut partition.slots[at];
        let loose = slot.loose.filter(|(_, until)| *until == crashes).map(|(record, _)| record);
        let other = slot.bound.or(loose).filter(|other| *other != record);
        if sighting.durable() {
            if slot.bound.is_none() {
                (slot.bound, slot.since) = (Some(record), sighting.index);
            }
            partition.bound_end = partition.bound_end.max(sighting.placed.offset + 1);
        } else if slot.loose.is_none_or(|(_, until)| until < crashes) {
            slot.loose = Some((record, crashes));
        }
        if let Some(other) = other {
            let value: Value = self.records.all[other].value;
            let message = format!("value {value} stood there{}", self.since(place, at));
            self.findings.push(sighting.finding(Anomaly::InconsistentOffset, message));
        }
        other
    }

    /// Words for where a binding came from.
    fn since(&self, place: usize, at: usize) -> String {
        match self.logs.partitions[place].slots[at] {
            Slot { bound: Some(_), since, .. } => format!(", says event {since}"),
            _ => ", says a buffered receipt".to_owned(),
        }
    }

    fn bind_record(&mut self, sighting: &Sighting, place: usize, number: usize) {
        let offset = sighting.placed.offset;
        let record = &mut self.records.all[number];
        // A crash may take a buffered record; it does not move one.
        let known = record.place.or(record.loose_place.map(|(place, offset, _)| (place, offset)));
        if sighting.durable() {
            record.place = record.place.or(Some((place, offset)));
        } else {
            record.loose_place = record.loose_place.or(Some((place, offset, self.crashes)));
        }
        if let Some((other, other_offset)) = known.filter(|known| *known != (place, offset)) {
            let other = &self.logs.partitions[other];
            let message =
                format!("it stands at offset {other_offset} of topic {} partition {}, too", other.topic, other.number);
            self.findings.push(sighting.finding(Anomaly::Duplicate, message));
        }
    }

    fn was_read(&mut self, sighting: &Sighting, number: usize) {
        let record = &mut self.records.all[number];
        if sighting.witness == Witness::Contents {
            record.last_contents = Some(sighting.index);
        }
        if record.first_seen.is_none() {
            record.first_seen = Some((sighting.index, sighting.process));
            if let Some(transaction) = record.transaction {
                self.partly_seen.push(transaction);
            }
        }
        if let (Some(due_ms), Some(wall_ms)) = (record.visible_at_ms, sighting.wall_ms)
            && wall_ms < due_ms
        {
            let message = format!("it is delayed until {due_ms} ms, and the clock showed {wall_ms} ms");
            self.findings.push(sighting.finding(Anomaly::EarlyRead, message));
        }
    }
}
