//! A record as the commands print it, wherever it came from.

use ringlane::admin::Delivered;
use ringlane::{Delivery, Header, Origin, RecordView};

/// See the module.
pub struct Printed<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub offset: u64,
    /// How often it was handed out to members of the group that reads it.
    pub delivery_count: Option<u32>,
    pub timestamp_ms: i64,
    pub origin: Origin,
    pub message_id: Option<&'a [u8]>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<Header<'a>>,
}

impl<'a> From<&RecordView<'a>> for Printed<'a> {
    fn from(record: &RecordView<'a>) -> Self {
        Printed {
            topic: record.topic(),
            partition: record.partition(),
            offset: record.offset(),
            delivery_count: None,
            timestamp_ms: record.timestamp_ms(),
            origin: record.origin(),
            message_id: record.message_id(),
            key: record.key(),
            value: record.value(),
            headers: record.headers().collect(),
        }
    }
}

impl<'a> From<&Delivery<'a>> for Printed<'a> {
    fn from(delivery: &Delivery<'a>) -> Self {
        Printed { delivery_count: Some(delivery.delivery_count), ..Printed::from(&delivery.record) }
    }
}

impl<'a> From<&'a Delivered> for Printed<'a> {
    fn from(delivered: &'a Delivered) -> Self {
        let record = delivered.record();
        Printed {
            topic: delivered.topic(),
            partition: delivered.partition(),
            offset: delivered.offset(),
            delivery_count: Some(delivered.delivery_count()),
            timestamp_ms: record.timestamp_ms(),
            origin: delivered.origin(),
            message_id: record.message_id(),
            key: record.key(),
            value: record.value(),
            headers: record.headers().collect(),
        }
    }
}
