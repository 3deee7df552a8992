//! Members of groups: polls under leases, and how each delivery ends.

use crate::call::{
    bytes, call, check_array, check_out, end_and_free, handle_of, held, put, ringlane_bytes, text, wait_of,
};
use crate::consumer::put_polled;
use crate::engine_calls::EngineObject;
use crate::objects::{ringlane_engine, ringlane_member, ringlane_options, ringlane_queue, ringlane_records};
use crate::options::read_options;
use crate::queue::QueueObject;
use crate::records::{Polled, RecordsObject, ringlane_delivery};
use crate::status::{Failure, Result, ringlane_error, ringlane_status};
use crate::waiting::{Source, Waiting};
use engine::{Acknowledger, GroupConsumer, MemberOptions, Once};
use std::ffi::c_char;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// In `ringlane_member_once`: nothing is known of the token: process the record, and acknowledge it.
pub const RINGLANE_ONCE_FRESH: i32 = 1;
/// In `ringlane_member_once`: a record with this token was acknowledged: acknowledge this one, and do nothing else.
pub const RINGLANE_ONCE_DUPLICATE: i32 = 2;
/// In `ringlane_member_once`: another delivery claimed the token and goes on: nack this one, with a delay.
pub const RINGLANE_ONCE_IN_PROGRESS: i32 = 3;

impl Source for GroupConsumer {
    const NAME: &'static str = "the member";

    fn poll_now(&mut self) -> engine::Result<Option<Polled>> {
        let deliveries = self.poll(Duration::ZERO)?;
        Ok((!deliveries.is_empty()).then_some(Polled::Deliveries(deliveries)))
    }

    fn poll_task(&mut self, context: &mut Context<'_>) -> Poll<engine::Result<Polled>> {
        let mut next = self.poll_async();
        let polled = Pin::new(&mut next).poll(context);
        // Dropped, it would not be told any more. The next look takes its place.
        std::mem::forget(next);
        polled.map_ok(Polled::Deliveries)
    }

    fn is_told(&self) -> bool {
        true
    }

    fn has_a_source(&self) -> bool {
        true
    }

    fn forget_task(&mut self) {
        drop(self.poll_async());
    }

    fn end(self) {
        self.close();
    }
}

/// A member, and what acknowledges for it on any thread.
pub(crate) struct MemberObject {
    waiting: Waiting<GroupConsumer>,
    pub(crate) acknowledger: Acknowledger,
}

/// Joins a group. `options` are of `RINGLANE_OPTIONS_MEMBER`, or NULL.
///
/// Threads: any; but one at a time for polls, pause and resume, of which another one gets `IN_USE`. Deliveries may end on any
/// thread. Errors: `UNKNOWN_GROUP`, `INVALID_ARGUMENT`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_join(
    engine: *const ringlane_engine,
    group: *const c_char,
    options: *const ringlane_options,
    member: *mut *mut ringlane_member,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let group = text("group", group)?;
            check_out("member", member)?;
            let joined = engine.engine.join_group(group, read_options::<MemberOptions>(options)?)?;
            let acknowledger = joined.acknowledger();
            let object = MemberObject { waiting: Waiting::new(joined, &engine.account), acknowledger };
            put("member", member, handle_of(object)?)
        })
    }
}

/// Leaves the group: what the member holds is released, which is no failure of it, and handed to others at once; what it
/// acknowledged counts. A thread that waits in a poll gets `CLOSED`, and so do later calls. Closing again changes nothing.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_close(
    member: *const ringlane_member,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            held::<MemberObject>(member)?.waiting.close();
            Ok(())
        })
    }
}

/// Frees a member, and closes it as `ringlane_member_close` does. NULL is ignored.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_free(
    member: *mut ringlane_member,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe { end_and_free::<MemberObject>(member, error, |member| member.waiting.close()) }
}

/// The next records, each under a lease; waits up to `timeout_ms` for the first one (0: not at all; negative: for ever).
/// `records` is set to NULL if none came, else it belongs to the application and is to be freed; the leases run whether it
/// is or not.
///
/// Blocks up to `timeout_ms`. Threads: one at a time. Errors: `TRUNCATED` (the group lost records to a bound; poll
/// again), `GROUP_DELETED`, `DAMAGED`, `HELD_TOO_MUCH`, `WOKEN`, `IN_USE`, `POISONED`, `CLOSED`, `FORKED`, `IO`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_poll(
    member: *const ringlane_member,
    timeout_ms: i64,
    records: *mut *mut ringlane_records,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || put_polled(records, || held::<MemberObject>(member)?.waiting.poll(wait_of(timeout_ms)))) }
}

/// As `ringlane_consumer_wakeup`.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_wakeup(
    member: *const ringlane_member,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            held::<MemberObject>(member)?.waiting.wake_up();
            Ok(())
        })
    }
}

/// As `ringlane_consumer_notify`. Records that the look finds are under their leases from then on.
///
/// Threads: one at a time. Errors: `IN_USE`, `CLOSED`, `GROUP_DELETED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_notify(
    member: *const ringlane_member,
    queue: *const ringlane_queue,
    user_data: u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (member, queue) = (held::<MemberObject>(member)?, held::<QueueObject>(queue)?);
            member.waiting.notify(&queue, user_data)
        })
    }
}

/// The deliveries of an array.
///
/// # Safety
/// There are `count` of them, `stride` apart.
pub(crate) unsafe fn read_deliveries(
    deliveries: *const ringlane_delivery,
    stride: usize,
    count: usize,
) -> Result<Vec<ringlane_delivery>> {
    check_array("deliveries", deliveries, stride, count)?;
    if count > 0 && stride < size_of::<ringlane_delivery>() {
        return Err(Failure::argument("deliveries", format_args!("a stride of {stride} is too small")));
    }
    // SAFETY: as the caller says.
    Ok((0..count).map(|at| unsafe { deliveries.byte_add(stride * at).read() }).collect())
}

/// Ends deliveries one by one.
///
/// # Safety
/// As [`read_deliveries`]; `done` is NULL or may be written.
unsafe fn end(
    member: *const ringlane_member,
    deliveries: *const ringlane_delivery,
    stride: usize,
    count: usize,
    done: *mut usize,
    error: *mut ringlane_error,
    end: impl Fn(&Acknowledger, &ringlane_delivery) -> engine::Result<()>,
) -> ringlane_status {
    // SAFETY: as the caller says.
    unsafe {
        call(error, || {
            let member = held::<MemberObject>(member)?;
            let deliveries = read_deliveries(deliveries, stride, count)?;
            let (mut ended, mut result) = (0, Ok(()));
            for delivery in &deliveries {
                match end(&member.acknowledger, delivery) {
                    Ok(()) => ended += 1,
                    Err(error) => result = result.and(Err(error.into())),
                }
            }
            if !done.is_null() {
                done.write(ended);
            }
            result
        })
    }
}

/// Acknowledges deliveries: their records were processed, and are not handed out again. Durable with the next
/// `ringlane_member_flush`, and without one within `ack_flush_interval_ms` and `flush_interval_ms`. In a batch's array of
/// views pass the address of the first `delivery`, and the array's stride. Each is tried; `done`, which may be NULL, is how
/// many were acknowledged, also when the call fails with the first error.
///
/// Threads: any. Errors: `LEASE_LOST`, `ALREADY_ACKNOWLEDGED`, `NOT_DELIVERED`, `GROUP_DELETED`, `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_ack(
    member: *const ringlane_member,
    deliveries: *const ringlane_delivery,
    stride: usize,
    count: usize,
    done: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { end(member, deliveries, stride, count, done, error, |to, delivery| to.ack(delivery.id())) }
}

/// Acknowledges all deliveries of a batch, as `ringlane_member_ack`.
///
/// Threads: any. Errors: as `ringlane_member_ack`; `INVALID_ARGUMENT` (a consumer polled it).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_ack_all(
    member: *const ringlane_member,
    records: *const ringlane_records,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (member, records) = (held::<MemberObject>(member)?, held::<RecordsObject>(records)?);
            let deliveries = records.deliveries();
            let deliveries = deliveries.ok_or_else(|| Failure::argument("records", "no member polled them"))?;
            Ok(member.acknowledger.ack_all(deliveries)?)
        })
    }
}

/// Acknowledges everything of the delivery's partition that this member holds, up to this one. `lost`, which may be NULL,
/// is how many below it were lost before, and are somebody else's.
///
/// Threads: any. Errors: as `ringlane_member_ack`, of the record itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_ack_through(
    member: *const ringlane_member,
    delivery: *const ringlane_delivery,
    lost: *mut u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let member = held::<MemberObject>(member)?;
            let delivery = read_deliveries(delivery, size_of::<ringlane_delivery>(), 1)?[0];
            let below = member.acknowledger.ack_through(delivery.id())?;
            if !lost.is_null() {
                lost.write(below);
            }
            Ok(())
        })
    }
}

/// The records could not be processed: they are handed out again after `delay_ms`, or, if that is negative, after the time
/// that the group's retry policy says. After `max_deliveries` failures they go to the dead letters.
///
/// Threads: any. Errors: as `ringlane_member_ack`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_nack(
    member: *const ringlane_member,
    deliveries: *const ringlane_delivery,
    stride: usize,
    count: usize,
    delay_ms: i64,
    done: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    let delay = u64::try_from(delay_ms).ok().map(Duration::from_millis);
    // SAFETY: as for every call.
    unsafe { end(member, deliveries, stride, count, done, error, |to, delivery| to.nack(delivery.id(), delay)) }
}

/// Nobody can process the records: they go to the dead letters at once.
///
/// Threads: any. Errors: as `ringlane_member_ack`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_reject(
    member: *const ringlane_member,
    deliveries: *const ringlane_delivery,
    stride: usize,
    count: usize,
    done: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { end(member, deliveries, stride, count, done, error, |to, delivery| to.reject(delivery.id())) }
}

/// The records were not worked on: they are handed out again at once, and that was no failure.
///
/// Threads: any. Errors: as `ringlane_member_ack`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_release(
    member: *const ringlane_member,
    deliveries: *const ringlane_delivery,
    stride: usize,
    count: usize,
    done: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { end(member, deliveries, stride, count, done, error, |to, delivery| to.release(delivery.id())) }
}

/// Holds the records for `lease_ms` from now on.
///
/// Threads: any. Errors: as `ringlane_member_ack`; `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_extend(
    member: *const ringlane_member,
    deliveries: *const ringlane_delivery,
    stride: usize,
    count: usize,
    lease_ms: i64,
    done: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        let Ok(lease_ms) = u64::try_from(lease_ms) else {
            return call(error, || Err(Failure::argument("lease_ms", format_args!("{lease_ms} lies behind us"))));
        };
        let lease = Duration::from_millis(lease_ms);
        end(member, deliveries, stride, count, done, error, |to, delivery| to.extend(delivery.id(), lease))
    }
}

/// Whether something was processed under a token, 1 to 128 bytes: `RINGLANE_ONCE_...`. After `RINGLANE_ONCE_FRESH` the
/// token belongs to the delivery, and is recorded with its acknowledgement, at once and durably with it.
///
/// Threads: any. Errors: as `ringlane_member_ack`; `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_once(
    member: *const ringlane_member,
    delivery: *const ringlane_delivery,
    token: *const u8,
    size: usize,
    once: *mut i32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let member = held::<MemberObject>(member)?;
            check_out("once", once)?;
            let delivery = read_deliveries(delivery, size_of::<ringlane_delivery>(), 1)?[0];
            let token = bytes("token", ringlane_bytes { data: token, size })?;
            let token = token.ok_or_else(|| Failure::argument("token", "it is NULL"))?;
            let known = member.acknowledger.once(delivery.id(), token)?;
            put(
                "once",
                once,
                match known {
                    Once::Fresh => RINGLANE_ONCE_FRESH,
                    Once::Duplicate => RINGLANE_ONCE_DUPLICATE,
                    Once::InProgress { .. } => RINGLANE_ONCE_IN_PROGRESS,
                },
            )
        })
    }
}

/// Returns when everything that was acknowledged before is durable: it is not handed out again, whatever happens.
///
/// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_OUTCOME`, `POISONED`, `NO_SPACE`, `GROUP_DELETED`,
/// `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_flush(
    member: *const ringlane_member,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || Ok(held::<MemberObject>(member)?.acknowledger.flush()?)) }
}

/// How many records the member holds now.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_in_flight(
    member: *const ringlane_member,
    count: *mut u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || put("count", count, held::<MemberObject>(member)?.acknowledger.in_flight())) }
}

/// The member is given nothing more of a partition; what it holds of it stays.
///
/// Threads: one at a time. Errors: `INVALID_ARGUMENT` (the group does not read it), `IN_USE`, `CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_pause(
    member: *const ringlane_member,
    topic: *const c_char,
    partition: u32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let topic = text("topic", topic)?;
            held::<MemberObject>(member)?.waiting.with(|member, _| Ok(member.pause(topic, partition)?))
        })
    }
}

/// The member is given records of a partition again.
///
/// Threads: one at a time. Errors: as `ringlane_member_pause`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_member_resume(
    member: *const ringlane_member,
    topic: *const c_char,
    partition: u32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let topic = text("topic", topic)?;
            held::<MemberObject>(member)?.waiting.with(|member, _| Ok(member.resume(topic, partition)?))
        })
    }
}
