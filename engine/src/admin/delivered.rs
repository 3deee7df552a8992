//! Records that a member of a group is handed through the socket, and how it ends their deliveries.
//!
//! Invariant: a record travels in the layout that it has everywhere.

use crate::consumer::group::{Delivery, DeliveryId};
use crate::io::delay_ms;
use crate::log::codec::{Put, Reader};
use crate::log::origin::Origin;
use crate::record::{Header, Record, RecordRef};
use std::time::Duration;

/// A record that was handed to a member through the socket, under a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    topic: String,
    partition: u32,
    delivery_count: u32,
    origin: Origin,
    id: DeliveryId,
    bytes: Vec<u8>,
}

impl Delivered {
    pub(crate) fn of(delivery: &Delivery<'_>) -> Delivered {
        let view = &delivery.record;
        // Those that were added when it was published belong to it here.
        let headers: Vec<Header<'_>> = view.headers().collect();
        let record = Record {
            key: view.key(),
            value: view.value(),
            headers: &headers,
            message_id: view.message_id(),
            ..Record::default()
        };
        let size = record.encoded_size(usize::MAX).unwrap_or(0);
        let mut bytes = Vec::new();
        record.encode_into(&mut bytes, size, view.timestamp_ms());
        bytes.truncate(size);
        Delivered {
            topic: view.topic().to_owned(),
            partition: view.partition(),
            delivery_count: delivery.delivery_count,
            origin: view.origin(),
            id: delivery.id(),
            bytes,
        }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// The offset.
    pub fn offset(&self) -> u64 {
        self.id.offset
    }

    /// Who wrote it, and as which one of its records in this partition.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// As [`Delivery::delivery_count`].
    pub fn delivery_count(&self) -> u32 {
        self.delivery_count
    }

    /// Names the delivery: what is acknowledged.
    pub fn id(&self) -> DeliveryId {
        self.id
    }

    /// Key, value, headers, timestamp and message id.
    pub fn record(&self) -> RecordRef<'_> {
        RecordRef::parse(&self.bytes).expect("it was checked when it came").0
    }

    pub(crate) fn encoded_bytes(&self) -> usize {
        4 + self.topic.len() + 4 + 4 + Origin::BYTES + 4 + 8 + 4 + self.bytes.len()
    }

    pub(crate) fn put(&self, target: &mut Vec<u8>) {
        target.put_bytes(self.topic.as_bytes());
        target.put_u32(self.partition);
        target.put_u32(self.delivery_count);
        target.put_u32(self.origin.producer);
        target.put_u32(self.origin.epoch);
        target.put_u64(self.origin.sequence);
        put_id(target, self.id);
        target.put_bytes(&self.bytes);
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<Delivered> {
        let delivered = Delivered {
            topic: std::str::from_utf8(reader.bytes()?).ok()?.to_owned(),
            partition: reader.u32()?,
            delivery_count: reader.u32()?,
            origin: Origin { producer: reader.u32()?, epoch: reader.u32()?, sequence: reader.u64()? },
            id: take_id(reader)?,
            bytes: reader.bytes()?.to_vec(),
        };
        let is_whole = RecordRef::parse(&delivered.bytes)?.0.as_bytes() == delivered.bytes;
        is_whole.then_some(delivered)
    }
}

/// How deliveries end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Acknowledged,
    /// With the delay until the next delivery, in ms; `None`: that of the group's retry policy.
    Failed(Option<u64>),
    Rejected,
    Released,
}

impl Ending {
    pub(crate) fn failed(delay: Option<Duration>) -> Ending {
        // The largest one says that there is none.
        Ending::Failed(delay.map(|delay| delay_ms(delay).min(u64::MAX - 1)))
    }

    pub(crate) fn put(self, target: &mut Vec<u8>) {
        let (code, delay_ms) = match self {
            Ending::Acknowledged => (1, 0),
            Ending::Failed(delay_ms) => (2, delay_ms.unwrap_or(u64::MAX)),
            Ending::Rejected => (3, 0),
            Ending::Released => (4, 0),
        };
        target.put_u8(code);
        target.put_u64(delay_ms);
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<Ending> {
        Some(match (reader.u8()?, reader.u64()?) {
            (1, 0) => Ending::Acknowledged,
            (2, delay_ms) => Ending::Failed((delay_ms != u64::MAX).then_some(delay_ms)),
            (3, 0) => Ending::Rejected,
            (4, 0) => Ending::Released,
            _ => return None,
        })
    }
}

pub(crate) fn put_id(target: &mut Vec<u8>, id: DeliveryId) {
    target.put_u32(id.partition);
    target.put_u64(id.offset);
    target.put_u64(id.serial);
}

pub(crate) fn take_id(reader: &mut Reader<'_>) -> Option<DeliveryId> {
    Some(DeliveryId { partition: reader.u32()?, offset: reader.u64()?, serial: reader.u64()? })
}
