//! What a member's poll gives: records in the log's own memory, each with its delivery.

use crate::consumer::records::{RecordView, Records, RecordsIter};

/// Names a delivery to one member of a group: what is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryId {
    /// The place of the partition in its group.
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// Tells it from another delivery of the record to the same member.
    pub(crate) serial: u64,
}

impl DeliveryId {
    /// What it is made of, for who must keep it elsewhere: the place of the partition in its group, the offset, and a number
    /// that tells it from another delivery.
    pub fn to_parts(self) -> (u32, u64, u64) {
        (self.partition, self.offset, self.serial)
    }

    /// The other way. Of numbers that were never given out it makes an id that nobody holds.
    pub fn from_parts(place: u32, offset: u64, serial: u64) -> DeliveryId {
        DeliveryId { partition: place, offset, serial }
    }
}

/// Whether something was processed under a token: the answer of [`Acknowledger::once`](crate::Acknowledger::once).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// Nothing is known of the token: process the record, and acknowledge it.
    Fresh,
    /// A record with this token was acknowledged: this one is to be acknowledged without being processed.
    Duplicate,
    /// Another delivery claimed the token and goes on: give this one back, with a delay.
    InProgress {
        /// The record of that delivery, in the same partition.
        offset: u64,
    },
}

/// What the deliveries of a chunk have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkOf {
    /// The place of its partition in the group.
    pub(super) partition: u32,
    /// How often its records were handed out.
    pub(super) deliveries: u32,
    pub(super) serial: u64,
}

/// Deliveries of a poll. Holding them keeps their memory; the leases run whether they are held or not.
#[derive(Debug, Default)]
pub struct Deliveries {
    pub(super) records: Records,
    /// Of each chunk of the records: the place of its partition in the group, and how often it was handed out.
    pub(super) chunks: Vec<ChunkOf>,
}

impl Deliveries {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// As [`Records::memory`].
    #[doc(hidden)]
    pub fn memory(&self) -> impl Iterator<Item = (usize, usize)> {
        self.records.memory()
    }

    /// The deliveries: partition by partition.
    pub fn iter(&self) -> DeliveriesIter<'_> {
        DeliveriesIter { deliveries: self, records: self.records.iter() }
    }
}

impl<'a> IntoIterator for &'a Deliveries {
    type Item = Delivery<'a>;
    type IntoIter = DeliveriesIter<'a>;

    fn into_iter(self) -> DeliveriesIter<'a> {
        self.iter()
    }
}

/// One record that was handed to a member.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The record.
    pub record: RecordView<'a>,
    /// How often it was handed out to members of the group, this time included. After the engine ended without being
    /// closed, deliveries that may have happened count.
    pub delivery_count: u32,
    id: DeliveryId,
}

impl Delivery<'_> {
    /// Names it, for acknowledging it later or on another thread.
    pub fn id(&self) -> DeliveryId {
        self.id
    }
}

/// Iterates over [`Deliveries`].
pub struct DeliveriesIter<'a> {
    deliveries: &'a Deliveries,
    records: RecordsIter<'a>,
}

impl<'a> Iterator for DeliveriesIter<'a> {
    type Item = Delivery<'a>;

    #[inline]
    fn next(&mut self) -> Option<Delivery<'a>> {
        let record = self.records.next()?;
        let ChunkOf { partition, deliveries, serial } = self.deliveries.chunks[self.records.chunk()];
        let id = DeliveryId { partition, offset: record.offset(), serial };
        Some(Delivery { record, delivery_count: deliveries, id })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}

impl ExactSizeIterator for DeliveriesIter<'_> {}
