//! Options by their names, as texts: what is new in the engine needs nothing new in the header.

use crate::call::{call, check_out, free, handle_of, held, put, text};
use crate::objects::ringlane_options;
use crate::status::{Failure, Result, ringlane_error, ringlane_status};
use engine::{
    AuditOptions, CheckerOptions, ConsumerOptions, ContinuityOptions, Filter, GroupKind, GroupOptions, MemberOptions,
    Options, ProducerOptions, Start, TopicOptions, TransactionOptions,
};
use std::ffi::c_char;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Options of `ringlane_engine_open` and `ringlane_engine_open_read_only`. The keys are those of the engine
/// (docs/OPERATIONS.md lists them with units and defaults), and `held_bytes_max`: bytes that polled batches may hold
/// together before they are freed; default 256 MiB.
pub const RINGLANE_OPTIONS_ENGINE: i32 = 1;
/// Options of a topic: `partitions` (1), `retention_ms`, `retention_bytes` (none), `keep_unfinished`, `drop_finished`
/// (`false`).
pub const RINGLANE_OPTIONS_TOPIC: i32 = 2;
/// Options of a producer: `name` (none), `durability` (`synced`, or `buffered`), `max_block_ms` (that of the engine; with 0 an
/// asynchronous send never blocks).
pub const RINGLANE_OPTIONS_PRODUCER: i32 = 3;
/// Options of a consumer: `max_poll_records`, `max_poll_bytes`, `read_ahead_bytes_max`, `filter` (all records),
/// `continuity` (`true`), `producers_max`, `missing_ranges_max`, `findings_max`.
pub const RINGLANE_OPTIONS_CONSUMER: i32 = 4;
/// Options of a group: `kind` (`ordered` or `shared`; needed), `topic` (`NAME:START`, once for each; needed),
/// `max_deliveries`, `retry_delay_ms`, `retry_delay_ms_max`, `dead_letter_topic`, `unfinished_max`, `inbox_tokens_max`,
/// `inbox_age_ms_max`, `filter`. START is `beginning`, `end`, `offset:N` or `timestamp:MS`.
pub const RINGLANE_OPTIONS_GROUP: i32 = 5;
/// Options of a member: `lease_ms`, `max_poll_records`, `max_poll_bytes`, `max_in_flight_records`,
/// `max_in_flight_bytes`.
pub const RINGLANE_OPTIONS_MEMBER: i32 = 6;
/// Options of a transaction: `id`, `checker`, `timeout_ms`.
pub const RINGLANE_OPTIONS_TRANSACTION: i32 = 7;
/// Options of a checker: `first_ms`, `interval_ms`, `checks_max`.
pub const RINGLANE_OPTIONS_CHECKER: i32 = 8;
/// Options of an audit: `topic` (once for each; all), `producers_max`, `missing_ranges_max`.
pub const RINGLANE_OPTIONS_AUDIT: i32 = 9;

/// Bytes that polled batches of one engine may hold, if nothing else is said.
const HELD_BYTES_MAX: u64 = 256 << 20;

/// Options that are being collected.
pub(crate) type OptionsObject = Mutex<Collected>;

/// See the constants.
#[derive(Clone)]
pub(crate) enum Collected {
    Engine {
        options: Options,
        held_bytes_max: u64,
    },
    Topic(TopicOptions),
    Producer(ProducerOptions),
    Consumer {
        options: ConsumerOptions,
        continuity: Option<ContinuityOptions>,
    },
    /// What is not said depends on the kind, which may be said last.
    Group {
        kind: Option<GroupKind>,
        said: Vec<(String, String)>,
    },
    Member(MemberOptions),
    Transaction(TransactionOptions),
    Checker(CheckerOptions),
    Audit(AuditOptions),
}

/// A kind of options that a call takes.
pub(crate) trait OptionsOf: Sized {
    const KIND: i32;
    fn of(collected: Collected) -> Option<Self>;
}

macro_rules! options_of {
    ($( $type:ty = $kind:ident, $pattern:pat => $value:expr; )*) => {
        $( impl OptionsOf for $type {
            const KIND: i32 = $kind;
            fn of(collected: Collected) -> Option<Self> {
                match collected {
                    $pattern => Some($value),
                    _ => None,
                }
            }
        } )*
    };
}

/// Options of an engine, and the bound on what batches hold.
pub(crate) type EngineOptions = (Options, u64);

options_of! {
    EngineOptions = RINGLANE_OPTIONS_ENGINE, Collected::Engine { options, held_bytes_max } => (options, held_bytes_max);
    TopicOptions = RINGLANE_OPTIONS_TOPIC, Collected::Topic(options) => options;
    ProducerOptions = RINGLANE_OPTIONS_PRODUCER, Collected::Producer(options) => options;
    ConsumerOptions = RINGLANE_OPTIONS_CONSUMER,
        Collected::Consumer { options, continuity } => options.continuity(continuity);
    MemberOptions = RINGLANE_OPTIONS_MEMBER, Collected::Member(options) => options;
    TransactionOptions = RINGLANE_OPTIONS_TRANSACTION, Collected::Transaction(options) => options;
    CheckerOptions = RINGLANE_OPTIONS_CHECKER, Collected::Checker(options) => options;
    AuditOptions = RINGLANE_OPTIONS_AUDIT, Collected::Audit(options) => options;
    GroupOptions = RINGLANE_OPTIONS_GROUP, Collected::Group { kind, said } => {
        let mut options = match kind {
            Some(GroupKind::Shared) => GroupOptions::shared(),
            _ => GroupOptions::ordered(),
        };
        for (key, value) in said {
            set_of_group(&mut options, &Given { key: &key, value: &value }).ok()?;
        }
        options
    };
}

impl Collected {
    fn new(kind: i32) -> Option<Collected> {
        Some(match kind {
            RINGLANE_OPTIONS_ENGINE => Collected::Engine { options: Options::new(), held_bytes_max: HELD_BYTES_MAX },
            RINGLANE_OPTIONS_TOPIC => Collected::Topic(TopicOptions::new()),
            RINGLANE_OPTIONS_PRODUCER => Collected::Producer(ProducerOptions::new()),
            RINGLANE_OPTIONS_CONSUMER => {
                let options = ConsumerOptions::new();
                let continuity = options.continuity.clone();
                Collected::Consumer { options, continuity }
            }
            RINGLANE_OPTIONS_GROUP => Collected::Group { kind: None, said: Vec::new() },
            RINGLANE_OPTIONS_MEMBER => Collected::Member(MemberOptions::new()),
            RINGLANE_OPTIONS_TRANSACTION => Collected::Transaction(TransactionOptions::new()),
            RINGLANE_OPTIONS_CHECKER => Collected::Checker(CheckerOptions::new()),
            RINGLANE_OPTIONS_AUDIT => Collected::Audit(AuditOptions::new()),
            _ => return None,
        })
    }

    /// Sets an option. `Err`: what is known instead.
    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let given = Given { key, value };
        match self {
            Collected::Engine { held_bytes_max, .. } if key == "held_bytes_max" => *held_bytes_max = given.parse()?,
            Collected::Engine { options, .. } => options.set(key, value)?,
            Collected::Topic(options) => match key {
                "partitions" => options.partitions = given.parse()?,
                "retention_ms" => options.retention.retention_ms = Some(given.parse()?),
                "retention_bytes" => options.retention.retention_bytes = Some(given.parse()?),
                "keep_unfinished" => options.retention.keep_unfinished = given.parse()?,
                "drop_finished" => options.retention.drop_finished = given.parse()?,
                _ => {
                    return given.unknown("partitions, retention_ms, retention_bytes, keep_unfinished, drop_finished");
                }
            },
            Collected::Producer(options) => match key {
                "name" => options.name = Some(value.to_owned()),
                "durability" => options.durability = given.parse()?,
                "max_block_ms" => options.max_block_ms = Some(given.parse()?),
                _ => return given.unknown("name, durability, max_block_ms"),
            },
            Collected::Consumer { options, continuity } => match key {
                "max_poll_records" => options.max_poll_records = given.parse()?,
                "max_poll_bytes" => options.max_poll_bytes = given.parse()?,
                "read_ahead_bytes_max" => options.read_ahead_bytes_max = given.parse()?,
                "filter" => options.filter = Some(given.parse::<Filter>()?),
                "continuity" => *continuity = given.parse::<bool>()?.then(ContinuityOptions::new),
                "producers_max" => continuity.get_or_insert_default().producers_max = given.parse()?,
                "missing_ranges_max" => continuity.get_or_insert_default().missing_ranges_max = given.parse()?,
                "findings_max" => continuity.get_or_insert_default().findings_max = given.parse()?,
                _ => {
                    return given.unknown(
                        "max_poll_records, max_poll_bytes, read_ahead_bytes_max, filter, continuity, producers_max, \
                         missing_ranges_max, findings_max",
                    );
                }
            },
            Collected::Group { kind, .. } if key == "kind" => {
                *kind = Some(match value {
                    "ordered" => GroupKind::Ordered,
                    "shared" => GroupKind::Shared,
                    _ => return given.invalid("ordered or shared"),
                });
            }
            Collected::Group { said, .. } => {
                set_of_group(&mut GroupOptions::ordered(), &given)?;
                said.push((key.to_owned(), value.to_owned()));
            }
            Collected::Member(options) => match key {
                "lease_ms" => options.lease = given.milliseconds()?,
                "max_poll_records" => options.max_poll_records = given.parse()?,
                "max_poll_bytes" => options.max_poll_bytes = given.parse()?,
                "max_in_flight_records" => options.max_in_flight_records = given.parse()?,
                "max_in_flight_bytes" => options.max_in_flight_bytes = given.parse()?,
                _ => {
                    return given.unknown(
                        "lease_ms, max_poll_records, max_poll_bytes, max_in_flight_records, max_in_flight_bytes",
                    );
                }
            },
            Collected::Transaction(options) => match key {
                "id" => options.id = Some(value.to_owned()),
                "checker" => options.checker = Some(value.to_owned()),
                "timeout_ms" => options.timeout = given.milliseconds()?,
                _ => return given.unknown("id, checker, timeout_ms"),
            },
            Collected::Checker(options) => match key {
                "first_ms" => options.first = given.milliseconds()?,
                "interval_ms" => options.interval = given.milliseconds()?,
                "checks_max" => options.checks_max = given.parse()?,
                _ => return given.unknown("first_ms, interval_ms, checks_max"),
            },
            Collected::Audit(options) => match key {
                "topic" => options.topics.push(value.to_owned()),
                "producers_max" => options.bounds.producers_max = given.parse()?,
                "missing_ranges_max" => options.bounds.missing_ranges_max = given.parse()?,
                _ => return given.unknown("topic, producers_max, missing_ranges_max"),
            },
        }
        Ok(())
    }

    /// Whether everything is said that has no default.
    fn check(&self) -> Result<()> {
        match self {
            Collected::Group { kind: None, .. } => {
                Err(Failure::argument("kind", "say whether the group is `ordered` or `shared`"))
            }
            _ => Ok(()),
        }
    }
}

/// Sets an option of a group, but for its kind.
fn set_of_group(options: &mut GroupOptions, given: &Given<'_>) -> Result<()> {
    let Given { key, value } = *given;
    match key {
        "topic" => match value.split_once(':') {
            Some((topic, start)) if !topic.is_empty() => {
                let start = Given { key, value: start }.parse::<Start>()?;
                options.topics.push((topic.to_owned(), start));
            }
            _ => return given.invalid("NAME:START, where START is beginning, end, offset:N or timestamp:MS"),
        },
        "max_deliveries" => options.max_deliveries = given.parse()?,
        "retry_delay_ms" => options.retry_delay.0 = given.milliseconds()?,
        "retry_delay_ms_max" => options.retry_delay.1 = given.milliseconds()?,
        "dead_letter_topic" => options.dead_letter_topic = Some(value.to_owned()),
        "unfinished_max" => options.unfinished_max = given.parse()?,
        "inbox_tokens_max" => options.inbox_tokens_max = given.parse()?,
        "inbox_age_ms_max" => options.inbox_age_max = given.milliseconds()?,
        "filter" => options.filter = Some(given.parse::<Filter>()?),
        _ => {
            return given.unknown(
                "kind, topic, max_deliveries, retry_delay_ms, retry_delay_ms_max, dead_letter_topic, unfinished_max, \
                 inbox_tokens_max, inbox_age_ms_max, filter",
            );
        }
    }
    Ok(())
}

/// An option as it is given.
#[derive(Clone, Copy)]
struct Given<'a> {
    key: &'a str,
    value: &'a str,
}

impl Given<'_> {
    fn parse<T: FromStr>(&self) -> Result<T>
    where
        T::Err: std::fmt::Display,
    {
        let parsed = self.value.parse();
        parsed.map_err(|error| Failure::argument(self.key, format_args!("`{}` is not valid: {error}", self.value)))
    }

    fn milliseconds(&self) -> Result<Duration> {
        self.parse().map(Duration::from_millis)
    }

    fn invalid<T>(&self, expected: &str) -> Result<T> {
        Err(Failure::argument(self.key, format_args!("`{}` is not valid: expected {expected}", self.value)))
    }

    fn unknown<T>(&self, known: &str) -> Result<T> {
        Err(Failure::argument(self.key, format_args!("there is no such option; there are {known}")))
    }
}

/// What a call takes of a handle to options; NULL: the defaults.
pub(crate) fn read_options<T: OptionsOf>(handle: *const ringlane_options) -> Result<T> {
    let collected = match handle.is_null() {
        true => Collected::new(T::KIND).expect("each kind has defaults"),
        false => lock(&*held::<OptionsObject>(handle)?).clone(),
    };
    collected.check()?;
    T::of(collected).ok_or_else(|| Failure::argument("options", "they are options of something else"))
}

/// A thread that panicked changed one option or none.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to collect options; `kind` is one of `RINGLANE_OPTIONS_...`. Everywhere where options are taken, NULL stands for
/// the defaults. They may be used for several calls, and freed after each.
///
/// Threads: any. Errors: `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_options_new(
    kind: i32,
    options: *mut *mut ringlane_options,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: pointers are NULL or the application's, and are looked at before they are written.
    unsafe {
        call(error, || {
            check_out("options", options)?;
            let collected = Collected::new(kind)
                .ok_or_else(|| Failure::argument("kind", format_args!("{kind} is none of RINGLANE_OPTIONS_...")))?;
            put("options", options, handle_of(Mutex::new(collected))?)
        })
    }
}

/// Sets an option by its name: numbers as decimal digits, `true` and `false`, times in ms as their names say. An option
/// that there is not, or a value that it cannot have, is an error, and changes nothing. `topic` may be set several times.
///
/// Threads: any. Errors: `INVALID_ARGUMENT`, `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_options_set(
    options: *const ringlane_options,
    key: *const c_char,
    value: *const c_char,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: texts are NULL or end with a zero, and `error` is NULL or the application's.
    unsafe {
        call(error, || {
            let options = held::<OptionsObject>(options)?;
            let (key, value) = (text("key", key)?, text("value", value)?);
            let mut changed = lock(&*options).clone();
            changed.set(key, value)?;
            *lock(&*options) = changed;
            Ok(())
        })
    }
}

/// Frees options. NULL is ignored.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_options_free(
    options: *mut ringlane_options,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe { free::<OptionsObject>(options, error) }
}
