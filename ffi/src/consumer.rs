//! Consumers that read partitions which they are assigned.

use crate::call::{call, check_out, end_and_free, handle_of, held, put, wait_of};
use crate::engine_calls::{EngineObject, start_of};
use crate::objects::{
    ringlane_consumer, ringlane_engine, ringlane_options, ringlane_queue, ringlane_records, ringlane_text,
    ringlane_topic,
};
use crate::options::read_options;
use crate::producer::RINGLANE_ANY_PARTITION;
use crate::queue::QueueObject;
use crate::records::{Polled, RecordsObject};
use crate::status::{Result, ringlane_error, ringlane_status};
use crate::text::put_json;
use crate::waiting::{Found, Source, Waiting};
use engine::{Consumer, ConsumerOptions, RecordView, Topic};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A consumer, and what it needs to wait.
pub(crate) struct AssignedConsumer {
    consumer: Consumer,
    /// It reads what another process writes.
    is_outside: bool,
    /// What it was assigned of, by name.
    topics: BTreeMap<String, Topic>,
}

/// What a handle stands for.
pub(crate) type ConsumerObject = Waiting<AssignedConsumer>;

impl Source for AssignedConsumer {
    const NAME: &'static str = "the consumer";

    fn poll_now(&mut self) -> engine::Result<Option<Polled>> {
        let records = self.consumer.poll(Duration::ZERO)?;
        Ok((!records.is_empty()).then_some(Polled::Records(records)))
    }

    fn poll_task(&mut self, context: &mut Context<'_>) -> Poll<engine::Result<Polled>> {
        let mut next = self.consumer.poll_async();
        let polled = Pin::new(&mut next).poll(context);
        // Dropped, it would not be told any more. The next look takes its place.
        std::mem::forget(next);
        polled.map_ok(Polled::Records)
    }

    fn is_told(&self) -> bool {
        !self.is_outside && !self.topics.is_empty()
    }

    fn has_a_source(&self) -> bool {
        !self.topics.is_empty()
    }

    fn forget_task(&mut self) {
        drop(self.consumer.poll_async());
    }

    fn end(self) {}
}

/// What was found of a partition, or of any of a topic's, is not wanted any more: it is read elsewhere, or not at all.
fn forget(found: &mut Found, topic: &Topic, partition: u32) {
    let is_other =
        |name: &str, of: u32| name != topic.name() || (partition != RINGLANE_ANY_PARTITION && partition != of);
    *found = match found.take() {
        Some(Ok(Polled::Records(mut records))) => {
            records.retain(is_other);
            (!records.is_empty()).then_some(Ok(Polled::Records(records)))
        }
        // The next look comes to an error again, if it is still one.
        _ => None,
    };
}

/// A consumer. `options` are of `RINGLANE_OPTIONS_CONSUMER`, or NULL. It reads nothing before it is assigned something.
///
/// Threads: any; but one at a time for all calls of it, except `ringlane_consumer_wakeup` and `ringlane_consumer_close`;
/// another one gets `IN_USE`. Errors: `INVALID_ARGUMENT`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_open(
    engine: *const ringlane_engine,
    options: *const ringlane_options,
    consumer: *mut *mut ringlane_consumer,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            check_out("consumer", consumer)?;
            let opened = engine.engine.consumer(read_options::<ConsumerOptions>(options)?)?;
            let source = AssignedConsumer { consumer: opened, is_outside: engine.is_outside, topics: BTreeMap::new() };
            let object = Waiting::new(source, &engine.account);
            put("consumer", consumer, handle_of(object)?)
        })
    }
}

/// Closes a consumer: a thread that waits in a poll gets `CLOSED`, and so do later calls. What was polled stays until it is
/// freed. Closing again changes nothing.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_close(
    consumer: *const ringlane_consumer,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            held::<ConsumerObject>(consumer)?.close();
            Ok(())
        })
    }
}

/// Frees a consumer, and closes it. NULL is ignored.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_free(
    consumer: *mut ringlane_consumer,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe { end_and_free::<ConsumerObject>(consumer, error, ConsumerObject::close) }
}

/// Begins to read a partition, or goes on elsewhere in one that is read: `start` is one of `RINGLANE_START_...`, with
/// `value`. `partition` may be `RINGLANE_ANY_PARTITION`: all of the topic.
///
/// Threads: one at a time. Errors: `INVALID_PARTITION`, `TOPIC_DELETED`, `TRUNCATED`, `DAMAGED`, `IO`, `INVALID_ARGUMENT`,
/// `IN_USE`, `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_assign(
    consumer: *const ringlane_consumer,
    topic: *const ringlane_topic,
    partition: u32,
    start: i32,
    value: i64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (consumer, topic) = (held::<ConsumerObject>(consumer)?, held::<Topic>(topic)?);
            let start = start_of(start, value)?;
            consumer.with(|used, found| {
                match partition {
                    RINGLANE_ANY_PARTITION => used.consumer.assign_all(&topic, start)?,
                    partition => used.consumer.assign(&topic, partition, start)?,
                }
                forget(found, &topic, partition);
                used.topics.insert(topic.name().to_owned(), topic.clone());
                Ok(())
            })
        })
    }
}

/// Reads a partition no more. `partition` may be `RINGLANE_ANY_PARTITION`: all of the topic.
///
/// Threads: one at a time. Errors: `IN_USE`, `CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_unassign(
    consumer: *const ringlane_consumer,
    topic: *const ringlane_topic,
    partition: u32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (consumer, topic) = (held::<ConsumerObject>(consumer)?, held::<Topic>(topic)?);
            let partitions = match partition {
                RINGLANE_ANY_PARTITION => 0..topic.partitions(),
                partition => partition..partition.saturating_add(1),
            };
            consumer.with(|used, found| {
                partitions.for_each(|partition| used.consumer.unassign(&topic, partition));
                forget(found, &topic, partition);
                let is_read = |partition: u32| used.consumer.position(&topic, partition).is_some();
                if !(0..topic.partitions()).any(is_read) {
                    used.topics.remove(topic.name());
                }
                Ok(())
            })
        })
    }
}

/// Goes on elsewhere in a partition that is read: `start` is one of `RINGLANE_START_...`, with `value`.
///
/// Threads: one at a time. Errors: `INVALID_ARGUMENT` (it is not assigned), `TRUNCATED`, `DAMAGED`, `IO`, `IN_USE`,
/// `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_seek(
    consumer: *const ringlane_consumer,
    topic: *const ringlane_topic,
    partition: u32,
    start: i32,
    value: i64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (consumer, topic) = (held::<ConsumerObject>(consumer)?, held::<Topic>(topic)?);
            let start = start_of(start, value)?;
            consumer.with(|used, found| {
                used.consumer.seek(&topic, partition, start)?;
                forget(found, &topic, partition);
                Ok(())
            })
        })
    }
}

/// The offset of the next record that a partition gives. `found` is set to 0 if it is not assigned, else to 1.
///
/// Threads: one at a time. Errors: `IN_USE`, `CLOSED`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_position(
    consumer: *const ringlane_consumer,
    topic: *const ringlane_topic,
    partition: u32,
    found: *mut i32,
    offset: *mut u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (consumer, topic) = (held::<ConsumerObject>(consumer)?, held::<Topic>(topic)?);
            check_out("found", found)?;
            check_out("offset", offset)?;
            let position = consumer.with(|used, found| {
                let is_its =
                    |record: &RecordView<'_>| record.topic() == topic.name() && record.partition() == partition;
                let next = match found {
                    // It was read, and not given yet.
                    Some(Ok(Polled::Records(records))) => records.iter().find(is_its).map(|record| record.offset()),
                    _ => None,
                };
                Ok(next.or_else(|| used.consumer.position(&topic, partition)))
            })?;
            put("found", found, i32::from(position.is_some()))?;
            put("offset", offset, position.unwrap_or_default())
        })
    }
}

/// The next records; waits up to `timeout_ms` for the first one (0: not at all; negative: for ever). `records` is set to
/// NULL if none came, else it belongs to the application and is to be freed. With a filter NULL does not say that the end is
/// reached: the time may be over, or with 0 `max_poll_bytes` passed over; `ringlane_consumer_position` says where it is.
///
/// Blocks up to `timeout_ms`. Threads: one at a time. Errors: `INVALID_ARGUMENT` (it would wait for ever, and nothing is
/// assigned), `TRUNCATED` (seek, and go on), `DAMAGED`, `TOPIC_DELETED`
/// (until it is unassigned), `HELD_TOO_MUCH`, `WOKEN`, `IN_USE`, `CLOSED` (the consumer is; or the engine is, and everything
/// was read), `FORKED`, `IO`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_poll(
    consumer: *const ringlane_consumer,
    timeout_ms: i64,
    records: *mut *mut ringlane_records,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || put_polled(records, || held::<ConsumerObject>(consumer)?.poll(wait_of(timeout_ms)))) }
}

/// Gives the application what a poll gave.
///
/// # Safety
/// `target` is NULL or may be written.
pub(crate) unsafe fn put_polled(
    target: *mut *mut ringlane_records,
    poll: impl FnOnce() -> Result<Option<RecordsObject>>,
) -> Result<()> {
    check_out("records", target)?;
    let handle = match poll()? {
        Some(records) => handle_of(records)?,
        None => std::ptr::null_mut(),
    };
    // SAFETY: as the caller says.
    unsafe { put("records", target, handle) }
}

/// Ends the poll that waits in another thread, or the next one that would: it gets `WOKEN`.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_wakeup(
    consumer: *const ringlane_consumer,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            held::<ConsumerObject>(consumer)?.wake_up();
            Ok(())
        })
    }
}

/// Has an event of the kind `RINGLANE_EVENT_READABLE` put into a queue, once, when the consumer has something to be polled:
/// at once, if it has now; also when it is closed, or this is called again before. Poll with a timeout of 0 then, until
/// nothing comes, and ask again.
///
/// Threads: one at a time. Errors: `READ_ONLY` (from outside nobody is told of news: poll with a timeout),
/// `INVALID_ARGUMENT` (nothing is assigned), `IN_USE`, `CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_notify(
    consumer: *const ringlane_consumer,
    queue: *const ringlane_queue,
    user_data: u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (consumer, queue) = (held::<ConsumerObject>(consumer)?, held::<QueueObject>(queue)?);
            consumer.notify(&queue, user_data)
        })
    }
}

/// What the numbers of the records that were polled say, as JSON: `report` (counts) and `findings` (gaps, duplicates,
/// reorders since the last call). `null` without `continuity`.
///
/// Threads: one at a time. Errors: `IN_USE`, `CLOSED`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_continuity(
    consumer: *const ringlane_consumer,
    text: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    #[derive(serde::Serialize)]
    struct Continuity {
        report: engine::ContinuityReport,
        findings: Vec<engine::ContinuityFinding>,
    }
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let consumer = held::<ConsumerObject>(consumer)?;
            check_out("text", text)?;
            let found = consumer.with(|used, _| {
                let report = used.consumer.continuity();
                Ok(report.map(|report| Continuity { report, findings: used.consumer.take_findings() }))
            })?;
            put_json(text, &found)
        })
    }
}

/// Why numbers are missing among the records that were polled, as JSON: an array of `range` and `reason`. What is explained
/// once is not missing any more.
///
/// Blocks while the engine is asked. Threads: one at a time. Errors: `IN_USE`, `CLOSED`, `DAMAGED`, `IO`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_consumer_explain_missing(
    consumer: *const ringlane_consumer,
    text: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    #[derive(serde::Serialize)]
    struct Explained {
        range: engine::MissingRange,
        reason: engine::MissingReason,
    }
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let consumer = held::<ConsumerObject>(consumer)?;
            check_out("text", text)?;
            let explained = consumer.with(|used, _| Ok(used.consumer.explain_missing()?))?;
            let explained = explained.into_iter().map(|(range, reason)| Explained { range, reason });
            put_json(text, &explained.collect::<Vec<_>>())
        })
    }
}
