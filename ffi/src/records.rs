//! Batches that were polled: the log's own memory, and an array that says where each record stands in it.
//!
//! Invariants:
//! - What a view leads to is valid until the batch is freed, whatever becomes of the consumer and the engine.
//! - What batches hold is counted, and bounded: a consumer that frees nothing is told, before memory is gone. A piece of the
//!   log's memory is kept as a whole by whoever holds a record of it, and counted once, however many batches do.

use crate::call::{call, check_array, check_out, free, held, put, put_at, ringlane_bytes};
use crate::objects::ringlane_records;
use crate::producer::ringlane_header;
use crate::status::{Failure, RINGLANE_ERROR_HELD_TOO_MUCH, Result, ringlane_error, ringlane_status};
use engine::{Deliveries, DeliveryId, Header, RecordRef, RecordView, Records};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Names a delivery to a member of a group: what is acknowledged.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ringlane_delivery {
    /// Where in its group the partition stands; not the partition's number.
    pub place: u32,
    /// 0.
    pub reserved: u32,
    /// The record's offset.
    pub offset: u64,
    /// Tells it from another delivery of the record to the same member.
    pub serial: u64,
}

impl ringlane_delivery {
    fn of(id: DeliveryId) -> ringlane_delivery {
        let (place, offset, serial) = id.to_parts();
        ringlane_delivery { place, reserved: 0, offset, serial }
    }

    pub(crate) fn id(&self) -> DeliveryId {
        DeliveryId::from_parts(self.place, self.offset, self.serial)
    }
}

/// In `ringlane_record_view.flags`: it was delayed, and may stand behind records that were sent after it.
pub const RINGLANE_VIEW_LATE: u32 = 1;

/// A record of a batch. All it leads to is valid until the batch is freed.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ringlane_record_view {
    /// The topic's name, without a zero at its end.
    pub topic: ringlane_bytes,
    /// The key; `data` NULL: none.
    pub key: ringlane_bytes,
    /// The value; `data` NULL: null.
    pub value: ringlane_bytes,
    /// What its sender knows it by; `data` NULL: nothing.
    pub message_id: ringlane_bytes,
    /// The whole record in its layout (docs/FORMAT.md), without what was added when it was published.
    pub record: ringlane_bytes,
    /// Its offset.
    pub offset: u64,
    /// The sender's timestamp, ms since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// As which one of its producer's records in the partition it was written.
    pub sequence: u64,
    /// Its partition.
    pub partition: u32,
    /// Who wrote it: the producer's number, 0 for one without a name.
    pub producer: u32,
    /// The producer's epoch.
    pub epoch: u32,
    /// `RINGLANE_VIEW_...`
    pub flags: u32,
    /// How many headers it has: see `ringlane_records_headers`.
    pub header_count: u32,
    /// How often it was handed to members of the group, this time included; 0 without a group.
    pub delivery_count: u32,
    /// What a member acknowledges.
    pub delivery: ringlane_delivery,
}

impl ringlane_record_view {
    #[inline]
    fn of(record: &RecordView<'_>) -> ringlane_record_view {
        let origin = record.origin();
        ringlane_record_view {
            topic: ringlane_bytes::of(Some(record.topic().as_bytes())),
            key: ringlane_bytes::of(record.key()),
            value: ringlane_bytes::of(record.value()),
            message_id: ringlane_bytes::of(record.message_id()),
            record: ringlane_bytes::of(Some(record.as_bytes())),
            offset: record.offset(),
            timestamp_ms: record.timestamp_ms(),
            sequence: origin.sequence,
            partition: record.partition(),
            producer: origin.producer,
            epoch: origin.epoch,
            flags: if record.is_late() { RINGLANE_VIEW_LATE } else { 0 },
            header_count: record.header_count(),
            delivery_count: 0,
            delivery: ringlane_delivery::default(),
        }
    }
}

/// What polled batches of an engine hold.
pub(crate) struct Account {
    held: AtomicU64,
    held_max: u64,
    /// How many batches hold each piece of memory, by its address.
    pieces: Mutex<HashMap<usize, u32>>,
    /// Room of views that were freed: taken from the system for each batch, it costs more than the views.
    spare: Mutex<Vec<Vec<ringlane_record_view>>>,
}

// SAFETY: the spare room has no views in it.
unsafe impl Send for Account {}
// SAFETY: as above.
unsafe impl Sync for Account {}

/// So many of them are kept, if they have room for no more than this.
const SPARE_MAX: usize = 4;
const SPARE_VIEWS_MAX: usize = 16 << 10;

impl Account {
    pub(crate) fn new(held_max: u64) -> Account {
        Account { held: AtomicU64::new(0), held_max, pieces: Mutex::default(), spare: Mutex::default() }
    }

    /// A batch holds these pieces, and so many bytes of its own.
    fn hold(&self, pieces: &[(usize, usize)], own: u64) {
        let mut held = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = own;
        for (address, of_piece) in pieces {
            let holders = held.entry(*address).or_insert(0);
            *holders += 1;
            if *holders == 1 {
                bytes += *of_piece as u64;
            }
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It was freed.
    fn let_go(&self, pieces: &[(usize, usize)], own: u64) {
        let mut held = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = own;
        for (address, of_piece) in pieces {
            let Entry::Occupied(mut holders) = held.entry(*address) else { continue };
            *holders.get_mut() -= 1;
            if *holders.get() == 0 {
                holders.remove();
                bytes += *of_piece as u64;
            }
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn room(&self) -> Vec<ringlane_record_view> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, mut views: Vec<ringlane_record_view>) {
        views.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX && views.capacity() <= SPARE_VIEWS_MAX {
            spare.push(views);
        }
    }

    /// What is held, and what may be.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.held.load(Ordering::Relaxed), self.held_max)
    }

    /// Whether another batch may be polled.
    pub(crate) fn check(&self) -> Result<()> {
        let (held, held_max) = self.held();
        match held < held_max {
            true => Ok(()),
            false => {
                let text = format!(
                    "batches that were polled hold {held} bytes, {held_max} are allowed: free those that are worked \
                     off, or raise `held_bytes_max`"
                );
                Err(Failure::Own(RINGLANE_ERROR_HELD_TOO_MUCH, text))
            }
        }
    }
}

/// What a poll gave.
pub(crate) enum Polled {
    Records(Records),
    Deliveries(Deliveries),
}

/// A batch.
pub(crate) struct RecordsObject {
    polled: Polled,
    views: Vec<ringlane_record_view>,
    account: Arc<Account>,
    /// The memory that it keeps, piece by piece, and the bytes of the views.
    pieces: Vec<(usize, usize)>,
    of_views: u64,
}

// SAFETY: the views lead into memory that `polled` holds, which is never written and may be read by any thread.
unsafe impl Send for RecordsObject {}
// SAFETY: as above.
unsafe impl Sync for RecordsObject {}

impl RecordsObject {
    pub(crate) fn new(polled: Polled, account: &Arc<Account>) -> RecordsObject {
        let mut views = account.room();
        match &polled {
            Polled::Records(records) => views.extend(records.iter().map(|record| ringlane_record_view::of(&record))),
            Polled::Deliveries(deliveries) => {
                let view = |delivery: engine::Delivery<'_>| ringlane_record_view {
                    delivery_count: delivery.delivery_count,
                    delivery: ringlane_delivery::of(delivery.id()),
                    ..ringlane_record_view::of(&delivery.record)
                };
                views.extend(deliveries.iter().map(view));
            }
        }
        let of_views = size_of_val(&views[..]) as u64;
        let mut pieces: Vec<(usize, usize)> = match &polled {
            Polled::Records(records) => records.memory().collect(),
            Polled::Deliveries(deliveries) => deliveries.memory().collect(),
        };
        pieces.sort_unstable();
        pieces.dedup();
        account.hold(&pieces, of_views);
        RecordsObject { polled, views, account: account.clone(), pieces, of_views }
    }

    /// The deliveries, if a member polled it.
    pub(crate) fn deliveries(&self) -> Option<&Deliveries> {
        match &self.polled {
            Polled::Deliveries(deliveries) => Some(deliveries),
            Polled::Records(_) => None,
        }
    }
}

impl Drop for RecordsObject {
    fn drop(&mut self) {
        self.account.let_go(&self.pieces, self.of_views);
        self.account.give_back(std::mem::take(&mut self.views));
    }
}

/// The records of a batch: an array of `count` views, `stride` bytes apart. It belongs to the batch, and is valid until
/// that is freed.
///
/// Threads: any; several may read at once. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_records_view(
    records: *const ringlane_records,
    views: *mut *const ringlane_record_view,
    stride: *mut usize,
    count: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let records = held::<RecordsObject>(records)?;
            check_out("views", views)?;
            check_out("stride", stride)?;
            check_out("count", count)?;
            put("views", views, records.views.as_ptr())?;
            put("stride", stride, size_of::<ringlane_record_view>())?;
            put("count", count, records.views.len())
        })
    }
}

/// The headers of the record at `index` of a batch, into an array of `count_max` whose elements are `stride` apart; what
/// they lead to belongs to the batch. `count` is how many the record has, which may be more.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_records_headers(
    records: *const ringlane_records,
    index: usize,
    headers: *mut ringlane_header,
    stride: usize,
    count_max: usize,
    count: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let records = held::<RecordsObject>(records)?;
            check_array("headers", headers, stride, count_max)?;
            check_out("count", count)?;
            let view = records.views.get(index).ok_or_else(|| {
                Failure::argument("index", format_args!("there are {} records, not {index}", records.views.len()))
            })?;
            let put_header = |(at, header): (usize, Header<'_>)| {
                let name = ringlane_bytes::of(Some(header.name.as_bytes()));
                let value = ringlane_bytes::of(Some(header.value));
                put_at(headers, stride, at, &ringlane_header { name, value });
            };
            let own = RecordRef::parse(std::slice::from_raw_parts(view.record.data, view.record.size));
            let own = own.map(|(record, _)| record.headers()).unwrap_or_default();
            match own.count() as u32 == view.header_count {
                true => own.enumerate().take(count_max).for_each(put_header),
                // Some were added when it was published: these stand elsewhere.
                false => match &records.polled {
                    Polled::Records(records) => records.iter().nth(index),
                    Polled::Deliveries(deliveries) => deliveries.iter().nth(index).map(|delivery| delivery.record),
                }
                .into_iter()
                .flat_map(|record| record.headers())
                .enumerate()
                .take(count_max)
                .for_each(put_header),
            }
            put("count", count, view.header_count as usize)
        })
    }
}

/// Frees a batch: what its views lead to is gone. NULL is ignored.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_records_free(
    records: *mut ringlane_records,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe { free::<RecordsObject>(records, error) }
}
