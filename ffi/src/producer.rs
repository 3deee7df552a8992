//! Sending: one record, many, or a buffer of them; with the receipt, or with an event when it is there.

use crate::call::{
    bytes, call, check_array, check_out, checked_bytes, free, handle_of, held, put, put_at, ringlane_bytes, struct_at,
    text_of,
};
use crate::engine_calls::EngineObject;
use crate::given::{GivenRecords, PackedRecords};
use crate::objects::{ringlane_engine, ringlane_options, ringlane_producer, ringlane_queue, ringlane_topic};
use crate::options::read_options;
use crate::queue::{Each, QueueObject};
use crate::recent::sending;
use crate::status::{Failure, Result, ringlane_error, ringlane_status};
use engine::{
    BatchHandle, Durability, Header, LastSent, Producer, ProducerOptions, Receipt, Record, RecordId, RecordSource,
    Topic, Visibility,
};
use std::time::Duration;

/// In `ringlane_record.flags`: `partition` says where it goes. Else its key does, or each in turn.
pub const RINGLANE_RECORD_PARTITION: u32 = 1;
/// In `ringlane_record.flags`: `timestamp_ms` is its time. Else it is that of sending.
pub const RINGLANE_RECORD_TIMESTAMP: u32 = 2;
/// In `ringlane_record.flags`: `sequence` is its number among its named producer's records in the partition.
pub const RINGLANE_RECORD_SEQUENCE: u32 = 4;
/// In `ringlane_record.flags`: it becomes visible at `visible_ms`, by the wall clock.
pub const RINGLANE_RECORD_VISIBLE_AT: u32 = 8;
/// In `ringlane_record.flags`: it becomes visible `visible_ms` after it was sent.
pub const RINGLANE_RECORD_VISIBLE_AFTER: u32 = 16;
const RECORD_FLAGS: u32 = 31;
const USUAL_FLAGS: u32 = RINGLANE_RECORD_PARTITION | RINGLANE_RECORD_TIMESTAMP | RINGLANE_RECORD_SEQUENCE;

/// Any partition: by the key, or each in turn.
pub const RINGLANE_ANY_PARTITION: u32 = u32::MAX;
/// As the timestamp of a packed record: the time of sending.
pub const RINGLANE_TIMESTAMP_NOW: i64 = i64::MIN;

/// A name and a value that travel with a record. The name is UTF-8.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ringlane_header {
    /// Its name; names may repeat.
    pub name: ringlane_bytes,
    /// Its value.
    pub value: ringlane_bytes,
}

/// A record to be sent. Set all of it to zero, then `struct_size`, then what it has (`RINGLANE_RECORD_INIT` does the first
/// two). Everything is copied before the call returns.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ringlane_record {
    /// `sizeof(ringlane_record)`; in an array the stride says it, and this is not looked at.
    pub struct_size: u32,
    /// `RINGLANE_RECORD_...`
    pub flags: u32,
    /// The key: records with the same key go to the same partition. `data` NULL: none.
    pub key: ringlane_bytes,
    /// The value; `data` NULL is null, which differs from empty.
    pub value: ringlane_bytes,
    /// Names and values beside it.
    pub headers: *const ringlane_header,
    /// How many there are.
    pub header_count: usize,
    /// What kind of record it is, for filters: the value of the header `tag`. UTF-8; `data` NULL: none.
    pub tag: ringlane_bytes,
    /// What its sender knows it by, 1 to 128 bytes: sent again, it is answered with the first receipt. `data` NULL: none.
    pub message_id: ringlane_bytes,
    /// ms since 1970-01-01 UTC, with `RINGLANE_RECORD_TIMESTAMP`.
    pub timestamp_ms: i64,
    /// With `RINGLANE_RECORD_VISIBLE_AT` or `RINGLANE_RECORD_VISIBLE_AFTER`.
    pub visible_ms: i64,
    /// With `RINGLANE_RECORD_SEQUENCE`.
    pub sequence: u64,
    /// Comes back in the event of an asynchronous send, and nowhere else.
    pub user_data: u64,
    /// With `RINGLANE_RECORD_PARTITION`.
    pub partition: u32,
    /// 0.
    pub reserved: u32,
}

/// In `ringlane_receipt.flags`: it has an offset; else it is delayed, and gets one when it becomes visible.
pub const RINGLANE_RECEIPT_OFFSET: u32 = 1;
/// In `ringlane_receipt.flags`: it was there before; this is the receipt of then, and nothing was written.
pub const RINGLANE_RECEIPT_DUPLICATE: u32 = 2;
/// In `ringlane_receipt.flags`: it is on the device. Else it was sent with durability `buffered`.
pub const RINGLANE_RECEIPT_SYNCED: u32 = 4;

/// The proof that a record was taken.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ringlane_receipt {
    /// The partition.
    pub partition: u32,
    /// `RINGLANE_RECEIPT_...`
    pub flags: u32,
    /// Its offset, with `RINGLANE_RECEIPT_OFFSET`.
    pub offset: u64,
    /// Its timestamp, ms since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// Its identity, with `position` and `index`: what cancels it, if it is delayed.
    pub log: u32,
    /// See `log`.
    pub index: u32,
    /// See `log`.
    pub position: u64,
    /// Who wrote it: the producer's number.
    pub producer: u32,
    /// The producer's epoch.
    pub epoch: u32,
    /// As which one of its records in the partition.
    pub sequence: u64,
}

impl ringlane_receipt {
    pub(crate) fn of(receipt: &Receipt) -> ringlane_receipt {
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        ringlane_receipt {
            partition: receipt.partition,
            flags: flag(receipt.offset.is_some(), RINGLANE_RECEIPT_OFFSET)
                | flag(receipt.duplicate, RINGLANE_RECEIPT_DUPLICATE)
                | flag(receipt.durability == Durability::Synced, RINGLANE_RECEIPT_SYNCED),
            offset: receipt.offset.unwrap_or_default(),
            timestamp_ms: receipt.timestamp_ms,
            log: receipt.id.log,
            index: receipt.id.index,
            position: receipt.id.position,
            producer: receipt.origin.producer,
            epoch: receipt.origin.epoch,
            sequence: receipt.origin.sequence,
        }
    }
}

impl ringlane_record {
    /// Its headers.
    ///
    /// # Safety
    /// Its pointers are NULL, or lead to as much as it says, which lives as long as the result.
    #[inline]
    pub(crate) unsafe fn headers<'a>(&self) -> Result<Vec<Header<'a>>> {
        if self.header_count == 0 {
            return Ok(Vec::new());
        }
        check_array("headers", self.headers, size_of::<ringlane_header>(), self.header_count)?;
        let header = |at: usize| {
            // SAFETY: so many are there, as the caller says.
            unsafe {
                let header = self.headers.add(at).read();
                let name = text_of("the name of a header", header.name)?.unwrap_or_default();
                let value = bytes("the value of a header", header.value)?.unwrap_or_default();
                Ok(Header { name, value })
            }
        };
        (0..self.header_count).map(header).collect()
    }

    /// Whether it is one that can be sent.
    ///
    /// # Safety
    /// As for [`ringlane_record::headers`].
    #[inline]
    pub(crate) unsafe fn check(&self) -> Result<()> {
        // As most are: what there is to be looked at closely is not there.
        let is_usual = self.flags & !USUAL_FLAGS == 0
            && self.tag.is_null()
            && [self.key, self.value, self.message_id].iter().all(ringlane_bytes::is_sound);
        // SAFETY: as the caller says.
        if is_usual { Ok(()) } else { unsafe { self.check_closely() } }
    }

    /// # Safety
    /// As for [`ringlane_record::headers`].
    unsafe fn check_closely(&self) -> Result<()> {
        const VISIBLE: u32 = RINGLANE_RECORD_VISIBLE_AT | RINGLANE_RECORD_VISIBLE_AFTER;
        if self.flags & !RECORD_FLAGS != 0 {
            return Err(Failure::argument("flags", format_args!("{:#x} has flags that there are not", self.flags)));
        }
        if self.flags & VISIBLE == VISIBLE {
            return Err(Failure::argument("flags", "it is visible at a time, or after one, not both"));
        }
        if self.flags & RINGLANE_RECORD_VISIBLE_AFTER != 0 && self.visible_ms < 0 {
            return Err(Failure::argument("visible_ms", format_args!("{} lies behind us", self.visible_ms)));
        }
        // SAFETY: as the caller says.
        unsafe {
            bytes("key", self.key)?;
            bytes("value", self.value)?;
            bytes("message_id", self.message_id)?;
            text_of("tag", self.tag)?;
        }
        Ok(())
    }

    /// The record in the engine's words, with these headers. It is put together where it is used: moved, it would be read
    /// back before its parts are written, and that takes a tenth of a send.
    ///
    /// # Safety
    /// It was checked; else as for [`ringlane_record::headers`].
    #[inline(always)]
    pub(crate) unsafe fn get<'a>(&self, headers: &'a [Header<'a>]) -> Record<'a> {
        let has = |flag: u32| self.flags & flag != 0;
        let visibility = match (has(RINGLANE_RECORD_VISIBLE_AT), has(RINGLANE_RECORD_VISIBLE_AFTER)) {
            (true, _) => Visibility::At(self.visible_ms),
            (false, true) => Visibility::After(Duration::from_millis(self.visible_ms.unsigned_abs())),
            (false, false) => Visibility::Now,
        };
        // SAFETY: it was checked.
        unsafe {
            Record {
                key: checked_bytes(self.key),
                value: checked_bytes(self.value),
                headers,
                tag: checked_bytes(self.tag).map(|tag| std::str::from_utf8_unchecked(tag)),
                timestamp_ms: has(RINGLANE_RECORD_TIMESTAMP).then_some(self.timestamp_ms),
                partition: has(RINGLANE_RECORD_PARTITION).then_some(self.partition),
                visibility,
                sequence: has(RINGLANE_RECORD_SEQUENCE).then_some(self.sequence),
                message_id: checked_bytes(self.message_id),
            }
        }
    }
}

/// A producer for any topics. `options` are of `RINGLANE_OPTIONS_PRODUCER`, or NULL. One with a name is the same one after
/// a restart, and whoever opened the name before may not send any more.
///
/// Blocks, with a name, until that is on the device. Threads: any; so are all calls of it. Errors: `INVALID_NAME`,
/// `TOO_MANY`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_open(
    engine: *const ringlane_engine,
    options: *const ringlane_options,
    producer: *mut *mut ringlane_producer,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            check_out("producer", producer)?;
            let opened = engine.engine.producer(read_options::<ProducerOptions>(options)?)?;
            put("producer", producer, handle_of(opened)?)
        })
    }
}

/// Frees a producer. What was sent goes its way. NULL is ignored.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_free(
    producer: *mut ringlane_producer,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe { free::<Producer>(producer, error) }
}

/// Sends a record and waits for its receipt, which may be NULL.
///
/// Blocks until the record is on the device (with durability `buffered`: until the lane has it). Threads: any. Errors:
/// nothing was sent: `RECORD_TOO_LARGE`, `INVALID_ARGUMENT`, `INVALID_PARTITION`, `TOPIC_DELETED`, `PRODUCER_FENCED`,
/// `UNKNOWN_PRODUCER`, `SEQUENCE_GAP`, `QUEUE_FULL`, `NO_SPACE`, `TOO_MANY`, `POISONED`, `CLOSED`, `FORKED`. It may be
/// there: `UNKNOWN_OUTCOME`. It is there: `RECEIPT_FORGOTTEN`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_send(
    producer: *const ringlane_producer,
    topic: *const ringlane_topic,
    record: *const ringlane_record,
    receipt: *mut ringlane_receipt,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (producer, topic) = (held::<Producer>(producer)?, held::<Topic>(topic)?);
            let mut copy = None;
            let record = read_record(record, &mut copy)?;
            let headers = record.headers()?;
            let sent = producer.send(&topic, record.get(&headers))?.wait()?;
            if !receipt.is_null() {
                receipt.write(ringlane_receipt::of(&sent));
            }
            Ok(())
        })
    }
}

/// Sends a record. An event of the kind `RINGLANE_EVENT_SENT` with its `user_data` arrives in the queue when its outcome is
/// known; if the call fails, none does.
///
/// Blocks only while the send buffer is full, at most `max_block_ms`. Threads: any. Errors: nothing was sent, as
/// `ringlane_producer_send` says; the others come with the event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_send_async(
    producer: *const ringlane_producer,
    topic: *const ringlane_topic,
    record: *const ringlane_record,
    queue: *const ringlane_queue,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            sending(producer, topic, queue, |producer, topic, queue| {
                let mut copy = None;
                let record = read_record(record, &mut copy)?;
                let headers = record.headers()?;
                queue.check_open()?;
                Ok(producer.send_noted(topic, &record.get(&headers), queue, record.user_data)?)
            })
        })
    }
}

/// Sends records to one topic in one hand-over, and waits for all. `receipts` may be NULL; else there is room for `count`
/// of them, `receipt_stride` apart, and they are written when all are there.
///
/// Blocks as `ringlane_producer_send`. Threads: any. Errors: as `ringlane_producer_send`. If a record is refused for what
/// it is, none is sent; else the first error is told, and with `RINGLANE_UNKNOWN_OUTCOME` others of the records are there, or
/// may be. What became of each `ringlane_producer_send_batch_async` tells, with `each`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_send_batch(
    producer: *const ringlane_producer,
    topic: *const ringlane_topic,
    records: *const ringlane_record,
    stride: usize,
    count: usize,
    receipts: *mut ringlane_receipt,
    receipt_stride: usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (producer, topic) = (held::<Producer>(producer)?, held::<Topic>(topic)?);
            if !receipts.is_null() {
                check_array("receipts", receipts, receipt_stride, count)?;
            }
            let given = GivenRecords::check(records, stride, count)?;
            let sent = producer.send_batch_with(&topic, &given)?;
            wait_for(&sent)?;
            if !receipts.is_null() {
                for (at, receipt) in sent.wait()?.iter().enumerate() {
                    put_at(receipts, receipt_stride, at, &ringlane_receipt::of(receipt));
                }
            }
            Ok(())
        })
    }
}

/// Sends records to one topic in one hand-over. With `each` other than 0 an event of the kind `RINGLANE_EVENT_SENT`
/// arrives for every record, with its `user_data`; else one of the kind `RINGLANE_EVENT_BATCH_SENT` with the given
/// `user_data` when all their outcomes are known. If the call fails, none does.
///
/// Blocks only while the send buffer is full. Threads: any. Errors: as `ringlane_producer_send_async`: none of the records was
/// sent. If the send buffer stays full when some were, the call succeeds, and the events tell of the others.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_send_batch_async(
    producer: *const ringlane_producer,
    topic: *const ringlane_topic,
    records: *const ringlane_record,
    stride: usize,
    count: usize,
    queue: *const ringlane_queue,
    each: i32,
    user_data: u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (producer, topic, queue) =
                (held::<Producer>(producer)?, held::<Topic>(topic)?, held::<QueueObject>(queue)?);
            queue.check_open()?;
            let given = GivenRecords::check(records, stride, count)?;
            let sent = producer.send_batch_with(&topic, &given)?;
            let each = match each {
                0 => Each::Together(user_data),
                _ => Each::Alone((0..count).map(|at| given.user_data(at)).collect()),
            };
            queue.batch_sent(sent, each);
            Ok(())
        })
    }
}

/// Sends a buffer of records in the record layout (docs/FORMAT.md), one behind the other, each at a multiple of eight, to
/// `partition`, or with `RINGLANE_ANY_PARTITION` where their keys say. With `queue` NULL it waits until all are there; else
/// one event of the kind `RINGLANE_EVENT_BATCH_SENT` arrives. `count`, which may be NULL, is how many records there were.
///
/// Blocks, and errors: as `ringlane_producer_send_batch` or `ringlane_producer_send_batch_async`. `INVALID_ARGUMENT`: the
/// buffer is not made of records; nothing was sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_send_packed(
    producer: *const ringlane_producer,
    topic: *const ringlane_topic,
    records: *const u8,
    size: usize,
    partition: u32,
    queue: *const ringlane_queue,
    user_data: u64,
    count: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (producer, topic) = (held::<Producer>(producer)?, held::<Topic>(topic)?);
            let queue = if queue.is_null() { None } else { Some(held::<QueueObject>(queue)?) };
            queue.as_ref().map_or(Ok(()), |queue| queue.check_open())?;
            let packed = bytes("records", ringlane_bytes { data: records, size })?.unwrap_or_default();
            let given = PackedRecords::parse(packed, partition)?;
            let sent = producer.send_batch_with(&topic, &given)?;
            match queue {
                Some(queue) => queue.batch_sent(sent, Each::Together(user_data)),
                None => wait_for(&sent)?,
            }
            if !count.is_null() {
                count.write(given.count());
            }
            Ok(())
        })
    }
}

/// Waits until all records of a batch are there.
fn wait_for(sent: &BatchHandle) -> Result<()> {
    sent.wait_done().map_err(|first| Failure::of_batch(sent, first))
}

/// Waits until everything that was sent with a producer has its outcome; of the last batch it tells the error.
///
/// Blocks. Threads: any. Errors: as `ringlane_producer_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_flush(
    producer: *const ringlane_producer,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || Ok(held::<Producer>(producer)?.flush()?)) }
}

/// Takes back a delayed record that is not visible yet. The id is that of its receipt.
///
/// Blocks until that is on the device. Threads: any. Errors: `NOT_WITHHELD`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_cancel(
    producer: *const ringlane_producer,
    log: u32,
    position: u64,
    index: u32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || Ok(held::<Producer>(producer)?.cancel(RecordId { log, position, index })?)) }
}

/// How often the producer's name was opened up to this one; 0 for one without a name.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_epoch(
    producer: *const ringlane_producer,
    epoch: *mut u32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || put("epoch", epoch, held::<Producer>(producer)?.epoch())) }
}

/// The number of the last record that this producer, or an earlier one of its name, has in a partition. `found` is set to
/// 0 if it has none there, else to 1.
///
/// Blocks until what it tells is on the device. Threads: any. Errors: `INVALID_ARGUMENT` (it has no name),
/// `PRODUCER_FENCED`, `UNKNOWN_PRODUCER`, `INVALID_PARTITION`, `TOPIC_DELETED`, `POISONED`, `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_last_sent(
    producer: *const ringlane_producer,
    topic: *const ringlane_topic,
    partition: u32,
    found: *mut i32,
    sequence: *mut u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (producer, topic) = (held::<Producer>(producer)?, held::<Topic>(topic)?);
            check_out("found", found)?;
            check_out("sequence", sequence)?;
            let last = producer.last_sent(&topic, partition)?;
            put("found", found, i32::from(last.is_some()))?;
            put("sequence", sequence, last.map_or(0, |LastSent { sequence, .. }| sequence))
        })
    }
}

/// Most bytes of a message id.
pub const RINGLANE_MESSAGE_ID_BYTES: usize = 128;

/// The message id of the record that `ringlane_producer_last_sent` tells of, into a buffer of
/// `RINGLANE_MESSAGE_ID_BYTES`. `size` is its bytes; 0 if it had none, or there is no such record.
///
/// Blocks, threads, errors: as `ringlane_producer_last_sent`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_last_message_id(
    producer: *const ringlane_producer,
    topic: *const ringlane_topic,
    partition: u32,
    message_id: *mut u8,
    size: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call; there is room for any message id.
    unsafe {
        call(error, || {
            let (producer, topic) = (held::<Producer>(producer)?, held::<Topic>(topic)?);
            check_out("message_id", message_id)?;
            check_out("size", size)?;
            let id = producer.last_sent(&topic, partition)?.and_then(|last| last.message_id).unwrap_or_default();
            let bytes = id.len().min(RINGLANE_MESSAGE_ID_BYTES);
            std::ptr::copy_nonoverlapping(id.as_ptr(), message_id, bytes);
            put("size", size, bytes)
        })
    }
}

/// A single record of the application's, checked, where it stands or in `copy`.
///
/// # Safety
/// `record` is NULL, or there is a struct of the size that it says, which lives as long as the result.
#[inline]
pub(crate) unsafe fn read_record(
    record: *const ringlane_record,
    copy: &mut Option<ringlane_record>,
) -> Result<&ringlane_record> {
    if record.is_null() {
        return Err(Failure::argument("record", "it is NULL"));
    }
    // SAFETY: as the caller says.
    unsafe {
        let size = (&raw const (*record).struct_size).read();
        let record = struct_at("record", record, size as usize, copy)?;
        record.check()?;
        Ok(record)
    }
}
