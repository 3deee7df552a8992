//! Opening and closing a directory, its topics, and what an engine is asked.

use crate::call::{call, check_out, end_and_free, free, handle_of, held, put, text, text_or_null};
use crate::objects::{ringlane_engine, ringlane_options, ringlane_text, ringlane_topic};
use crate::options::{EngineOptions, read_options};
use crate::queue::Checks;
use crate::records::Account;
use crate::status::{Failure, Result, ringlane_error, ringlane_status};
use crate::text::put_json;
use engine::{AuditOptions, Engine, GroupOptions, Header, RecordId, Redrive, Retention, Start, Topic, TopicOptions};
use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError};

/// Where to read from: the first record that is kept.
pub const RINGLANE_START_BEGINNING: i32 = 1;
/// Where to read from: behind the last record that is visible now.
pub const RINGLANE_START_END: i32 = 2;
/// Where to read from: the offset that `value` says.
pub const RINGLANE_START_OFFSET: i32 = 3;
/// Where to read from: the first record whose timestamp is at or after `value`, ms since 1970-01-01 UTC.
pub const RINGLANE_START_TIMESTAMP: i32 = 4;

/// An engine, and what the application has of it.
pub(crate) struct EngineObject {
    pub(crate) engine: Engine,
    /// It reads what another process writes.
    pub(crate) is_outside: bool,
    pub(crate) account: Arc<Account>,
    /// Questions of checkers that wait for answers: none does when the engine closes.
    pub(crate) checks: Mutex<Vec<Arc<Checks>>>,
}

impl EngineObject {
    fn new(engine: Engine, is_outside: bool, held_bytes_max: u64) -> EngineObject {
        EngineObject { engine, is_outside, account: Arc::new(Account::new(held_bytes_max)), checks: Mutex::default() }
    }

    /// The engine, for what only who writes knows.
    fn seen_inside(&self) -> Result<&Engine> {
        if self.is_outside {
            // By its name everything says so; an empty list would say that there is none.
            self.engine.check_usable()?;
        }
        Ok(&self.engine)
    }

    fn close(&self) -> Result<()> {
        let checks = std::mem::take(&mut *self.checks.lock().unwrap_or_else(PoisonError::into_inner));
        checks.into_iter().for_each(|checks| checks.give_up());
        Ok(self.engine.close()?)
    }
}

impl Drop for EngineObject {
    /// A process that is forked from the one that opened it has nothing to close.
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// What a start is in the engine's words.
pub(crate) fn start_of(kind: i32, value: i64) -> Result<Start> {
    match kind {
        RINGLANE_START_BEGINNING => Ok(Start::Beginning),
        RINGLANE_START_END => Ok(Start::End),
        RINGLANE_START_OFFSET => u64::try_from(value)
            .map(Start::Offset)
            .map_err(|_| Failure::argument("value", format_args!("{value} is no offset"))),
        RINGLANE_START_TIMESTAMP => Ok(Start::Timestamp(value)),
        _ => Err(Failure::argument("start", format_args!("{kind} is none of RINGLANE_START_..."))),
    }
}

/// Opens a directory, and creates it if it is not there. One process at a time has it open for writing. `options` are of
/// `RINGLANE_OPTIONS_ENGINE`, or NULL.
///
/// Blocks while the logs are looked at. Threads: any. Errors: `LOCKED`, `DAMAGED`, `INVALID_DIRECTORY`, `FOREIGN_FORMAT`,
/// `UNSUPPORTED_VERSION`, `NO_SPACE`, `IO`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_open(
    path: *const c_char,
    options: *const ringlane_options,
    engine: *mut *mut ringlane_engine,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call: pointers are NULL or the application's, texts end with a zero.
    unsafe { open(path, options, engine, error, false) }
}

/// Opens a directory to be read, also while another process has it open for writing: nothing can be sent, created or
/// deleted. Call `ringlane_engine_refresh`, or poll with a timeout, to see what comes.
///
/// Blocks while the logs are looked at. Threads: any. Errors: as `ringlane_engine_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_open_read_only(
    path: *const c_char,
    options: *const ringlane_options,
    engine: *mut *mut ringlane_engine,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { open(path, options, engine, error, true) }
}

unsafe fn open(
    path: *const c_char,
    options: *const ringlane_options,
    engine: *mut *mut ringlane_engine,
    error: *mut ringlane_error,
    is_outside: bool,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let path = text("path", path)?;
            check_out("engine", engine)?;
            let (options, held_bytes_max): EngineOptions = read_options(options)?;
            let opened = match is_outside {
                true => Engine::open_read_only(path, options)?,
                false => Engine::open(path, options)?,
            };
            let opened = EngineObject::new(opened, is_outside, held_bytes_max);
            put("engine", engine, handle_of(opened)?)
        })
    }
}

/// Closes an engine: what was sent is written and flushed, everybody who waits gets an outcome, and later calls that would
/// send or change something get `CLOSED`; consumers give what is there still, and then `CLOSED` as well.
/// Closing again changes nothing. The handle stays until it is freed; handles to what belongs to the engine may be freed
/// before or after.
///
/// Blocks until everything is on the device. Threads: any. Errors: `POISONED`, `UNKNOWN_OUTCOME`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_close(
    engine: *const ringlane_engine,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || held::<EngineObject>(engine)?.close()) }
}

/// Frees an engine, and closes it if it is open. NULL is ignored.
///
/// Blocks as `ringlane_engine_close`. Threads: any. Errors: `DEAD_HANDLE`, `FORKED`; those of closing are not told: close
/// first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_free(
    engine: *mut ringlane_engine,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe {
        // Also while another thread is in a call of it.
        end_and_free::<EngineObject>(engine, error, |engine| drop(engine.close()))
    }
}

/// Takes in what another process has written since, where the engine was opened to be read. One that writes has nothing to
/// take in.
///
/// Threads: any. Errors: `DAMAGED`, `IO`, `CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_refresh(
    engine: *const ringlane_engine,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || Ok(held::<EngineObject>(engine)?.engine.refresh()?)) }
}

/// Returns when everything that was sent before is on the device, buffered records too.
///
/// Blocks. Threads: any. Errors: `UNKNOWN_OUTCOME`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_sync(
    engine: *const ringlane_engine,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || Ok(held::<EngineObject>(engine)?.engine.sync()?)) }
}

/// After an alarm in the statistics (`clock_ahead_ms`): the clock is right, and append times follow it from now on.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_accept_clock(
    engine: *const ringlane_engine,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            held::<EngineObject>(engine)?.engine.accept_clock();
            Ok(())
        })
    }
}

// ----- what an engine is asked -----

/// The statistics as JSON; the fields are those of `ringlane stats --json`, and `held_bytes`: what polled batches hold now.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_stats(
    engine: *const ringlane_engine,
    text: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    #[derive(serde::Serialize)]
    struct WithHeld {
        #[serde(flatten)]
        stats: engine::Stats,
        held_bytes: u64,
        held_bytes_max: u64,
    }
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let (held_bytes, held_bytes_max) = engine.account.held();
            put_json(text, &WithHeld { stats: engine.engine.stats(), held_bytes, held_bytes_max })
        })
    }
}

/// What opening found, as JSON: `recovery` (whether the directory was created, whether it was closed well, torn bytes) and
/// `holes` (stretches that salvage could not read).
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_recovery(
    engine: *const ringlane_engine,
    text: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    #[derive(serde::Serialize)]
    struct Found<'a> {
        recovery: &'a engine::RecoverySummary,
        holes: &'a [engine::Hole],
    }
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            put_json(text, &Found { recovery: engine.engine.recovery(), holes: engine.engine.holes() })
        })
    }
}

/// Compares what was acknowledged with what can be read and with what each group has finished, as JSON; the fields are
/// those of `ringlane audit --json`. `options` are of `RINGLANE_OPTIONS_AUDIT`, or NULL.
///
/// Blocks while all records are read. Threads: any. Errors: `UNKNOWN_TOPIC`, `TOO_MANY`, `DAMAGED`, `IO`, `CLOSED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_audit(
    engine: *const ringlane_engine,
    options: *const ringlane_options,
    text: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            check_out("text", text)?;
            let given: AuditOptions = read_options(options)?;
            put_json(text, &engine.engine.audit(&given, &mut |_| ())?)
        })
    }
}

// ----- topics -----

/// What a topic is, for lists.
#[derive(serde::Serialize)]
struct TopicDescription {
    name: String,
    id: u32,
    partitions: u32,
    created_ms: i64,
    retention: Retention,
}

impl TopicDescription {
    fn of(topic: &Topic) -> TopicDescription {
        TopicDescription {
            name: topic.name().to_owned(),
            id: topic.id(),
            partitions: topic.partitions(),
            created_ms: topic.created_ms(),
            retention: topic.retention(),
        }
    }
}

/// Creates a topic. `options` are of `RINGLANE_OPTIONS_TOPIC`, or NULL: one partition, and everything is kept.
///
/// Blocks until that is on the device. Threads: any. Errors: `TOPIC_EXISTS`, `INVALID_NAME`, `INVALID_ARGUMENT`,
/// `TOO_MANY`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_topic_create(
    engine: *const ringlane_engine,
    name: *const c_char,
    options: *const ringlane_options,
    topic: *mut *mut ringlane_topic,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let name = text("name", name)?;
            check_out("topic", topic)?;
            let given: TopicOptions = read_options(options)?;
            put("topic", topic, handle_of(engine.engine.create_topic(name, given)?)?)
        })
    }
}

/// A topic by its name.
///
/// Threads: any. Errors: `UNKNOWN_TOPIC`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_topic_open(
    engine: *const ringlane_engine,
    name: *const c_char,
    topic: *mut *mut ringlane_topic,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let name = text("name", name)?;
            check_out("topic", topic)?;
            put("topic", topic, handle_of(engine.engine.topic(name)?)?)
        })
    }
}

/// Frees a topic's handle; the topic stays. NULL is ignored.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_topic_free(
    topic: *mut ringlane_topic,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe { free::<Topic>(topic, error) }
}

/// How many partitions a topic has.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_topic_partitions(
    topic: *const ringlane_topic,
    partitions: *mut u32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || put("partitions", partitions, held::<Topic>(topic)?.partitions())) }
}

/// Which offsets a partition has: the first one that is kept, and the one behind the last that is visible. Each may be NULL.
///
/// Threads: any. Errors: `INVALID_PARTITION`. Of a topic that was deleted it tells what was there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_topic_offsets(
    topic: *const ringlane_topic,
    partition: u32,
    first_offset: *mut u64,
    next_offset: *mut u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let info = held::<Topic>(topic)?.partition_info(partition)?;
            for (target, offset) in [(first_offset, info.first_offset), (next_offset, info.next_offset)] {
                if !target.is_null() {
                    target.write(offset);
                }
            }
            Ok(())
        })
    }
}

/// All topics as JSON: name, id, partitions, created_ms, retention.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_topic_list(
    engine: *const ringlane_engine,
    text: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let topics = held::<EngineObject>(engine)?.engine.topics();
            put_json(text, &topics.iter().map(TopicDescription::of).collect::<Vec<_>>())
        })
    }
}

/// Deletes a topic with all its records. Handles to it get `TOPIC_DELETED`.
///
/// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_TOPIC`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_topic_delete(
    engine: *const ringlane_engine,
    name: *const c_char,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || Ok(held::<EngineObject>(engine)?.engine.delete_topic(text("name", name)?)?)) }
}

/// Changes how long a topic keeps its records. `options` are of `RINGLANE_OPTIONS_TOPIC`; `partitions` says nothing here.
///
/// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_TOPIC`, `INVALID_ARGUMENT`, `NO_SPACE`, `POISONED`,
/// `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_topic_set_retention(
    engine: *const ringlane_engine,
    name: *const c_char,
    options: *const ringlane_options,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let given: TopicOptions = read_options(options)?;
            Ok(engine.engine.set_retention(text("name", name)?, given.retention)?)
        })
    }
}

/// Gives up the records of a partition below an offset, at most those that are visible. `first_offset`, which may be NULL, is
/// then the first that is kept.
///
/// Blocks until that is on the device. Threads: any. Errors: `INVALID_PARTITION`, `TOPIC_DELETED`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_topic_delete_records(
    engine: *const ringlane_engine,
    topic: *const ringlane_topic,
    partition: u32,
    before_offset: u64,
    first_offset: *mut u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let first = engine.engine.delete_records(&*held::<Topic>(topic)?, partition, before_offset)?;
            if !first_offset.is_null() {
                first_offset.write(first);
            }
            Ok(())
        })
    }
}

/// Publishes a delayed record now, before its time. The id is that of its receipt.
///
/// Blocks until that is on the device. Threads: any. Errors: `NOT_WITHHELD`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`,
/// `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_engine_publish_withheld(
    engine: *const ringlane_engine,
    log: u32,
    position: u64,
    index: u32,
    error: *mut ringlane_error,
) -> ringlane_status {
    const NONE: &[Header<'_>] = &[];
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let id = RecordId { log, position, index };
            Ok(held::<EngineObject>(engine)?.engine.publish_withheld(id, NONE)?)
        })
    }
}

// ----- named producers, groups -----

/// All named producers as JSON: name, id, epoch.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_list(
    engine: *const ringlane_engine,
    text: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || put_json(text, &held::<EngineObject>(engine)?.engine.producers())) }
}

/// Forgets a named producer and its numbers.
///
/// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_PRODUCER`, `NO_SPACE`, `POISONED`, `CLOSED`,
/// `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_producer_delete(
    engine: *const ringlane_engine,
    name: *const c_char,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || Ok(held::<EngineObject>(engine)?.engine.delete_producer(text("name", name)?)?)) }
}

/// Creates a group. `options` are of `RINGLANE_OPTIONS_GROUP`: its kind and its topics are needed.
///
/// Blocks until that is on the device. Threads: any. Errors: `GROUP_EXISTS`, `UNKNOWN_TOPIC`, `INVALID_NAME`,
/// `INVALID_ARGUMENT`, `TOO_MANY`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_group_create(
    engine: *const ringlane_engine,
    name: *const c_char,
    options: *const ringlane_options,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let name = text("name", name)?;
            Ok(engine.engine.create_group(name, read_options::<GroupOptions>(options)?)?)
        })
    }
}

/// A group as JSON: what it reads, its members, and how far it has come in each partition. `name` may be NULL: all groups,
/// as an array.
///
/// Threads: any. Errors: `UNKNOWN_GROUP`, `INVALID_ARGUMENT`, `CLOSED`, `READ_ONLY` (from outside groups cannot be seen).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_group_describe(
    engine: *const ringlane_engine,
    name: *const c_char,
    text: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            match text_or_null("name", name)? {
                Some(name) => put_json(text, &engine.engine.describe_group(name)?),
                None => put_json(text, &engine.seen_inside()?.groups()),
            }
        })
    }
}

/// Sends a group elsewhere in a partition: forward or back. `offset`, which may be NULL, is then where it begins.
///
/// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_GROUP`, `INVALID_ARGUMENT` (the group does not read the
/// partition), `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_group_reset(
    engine: *const ringlane_engine,
    name: *const c_char,
    topic: *const c_char,
    partition: u32,
    start: i32,
    value: i64,
    offset: *mut u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let (name, topic) = (text("name", name)?, text("topic", topic)?);
            let reset = engine.engine.reset_group(name, topic, partition, start_of(start, value)?)?;
            if !offset.is_null() {
                offset.write(reset);
            }
            Ok(())
        })
    }
}

/// Deletes a group and its progress; its dead letters stay. Its members get `GROUP_DELETED`.
///
/// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_GROUP`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`,
/// `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_group_delete(
    engine: *const ringlane_engine,
    name: *const c_char,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || Ok(held::<EngineObject>(engine)?.engine.delete_group(text("name", name)?)?)) }
}

/// In `ringlane_group_redrive`: all dead letters of the group.
pub const RINGLANE_REDRIVE_ALL: i32 = 1;
/// In `ringlane_group_redrive`: the dead letter that stands at `partition` and `offset` of the topic of dead letters.
pub const RINGLANE_REDRIVE_LETTER: i32 = 2;
/// In `ringlane_group_redrive`: the dead letter of the record at `partition` and `offset` of `topic`.
pub const RINGLANE_REDRIVE_RECORD: i32 = 3;

/// Hands records of dead letters out again. `what` is one of `RINGLANE_REDRIVE_...`; `topic` is NULL unless it is
/// `RINGLANE_REDRIVE_RECORD`. What it came to is JSON: redriven, unfinished, gone, is_full.
///
/// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_GROUP`, `NO_DEAD_LETTER`, `ALREADY_REDRIVEN`,
/// `ORIGINAL_GONE`, `TOO_MANY`, `INVALID_ARGUMENT`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_group_redrive(
    engine: *const ringlane_engine,
    name: *const c_char,
    what: i32,
    topic: *const c_char,
    partition: u32,
    offset: u64,
    result: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let name = text("name", name)?;
            check_out("text", result)?;
            let what = match what {
                RINGLANE_REDRIVE_ALL => Redrive::All,
                RINGLANE_REDRIVE_LETTER => Redrive::Letter { partition, offset },
                RINGLANE_REDRIVE_RECORD => {
                    Redrive::Record { topic: text("topic", topic)?.to_owned(), partition, offset }
                }
                _ => return Err(Failure::argument("what", format_args!("{what} is none of RINGLANE_REDRIVE_..."))),
            };
            put_json(result, &engine.engine.redrive(name, &what)?)
        })
    }
}

// ----- transactions by their ids -----

/// A transaction as JSON: id, state, checker, since_ms, records, acknowledged, checks. So what became of a commit is found
/// out whose outcome was unknown. `id` may be NULL: all that go on, and with `with_ended` other than 0 those that have ended
/// and are remembered, as an array.
///
/// Threads: any. Errors: `UNKNOWN_TRANSACTION`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_describe(
    engine: *const ringlane_engine,
    id: *const c_char,
    with_ended: i32,
    text: *mut *mut ringlane_text,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            match text_or_null("id", id)? {
                Some(id) => put_json(text, &engine.engine.transaction(id)?),
                None if with_ended != 0 => put_json(text, &engine.seen_inside()?.all_transactions()),
                None => put_json(text, &engine.seen_inside()?.transactions()),
            }
        })
    }
}

/// Decides a transaction that is prepared, in whichever process it was: `commits` other than 0 commits it, 0 rolls it
/// back. To decide it again in the same way changes nothing.
///
/// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_TRANSACTION`, `TRANSACTION_CONFLICT`,
/// `WRONG_TRANSACTION_STATE`, `NO_SPACE`, `UNKNOWN_OUTCOME`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_decide(
    engine: *const ringlane_engine,
    id: *const c_char,
    commits: i32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let engine = held::<EngineObject>(engine)?;
            let id = text("id", id)?;
            match commits {
                0 => engine.engine.roll_back_transaction(id)?,
                _ => engine.engine.commit_transaction(id)?,
            }
            Ok(())
        })
    }
}
