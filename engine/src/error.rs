//! What can go wrong, in words for people and in kinds for programs.
//!
//! Every error says what happened, where, and what to do. [`Error::is_retriable`],
//! [`Error::is_fatal`] and [`Error::is_unknown_outcome`] are the three questions a program asks.

use crate::io::IoFailure;
use crate::transaction::TransactionState;
use std::path::PathBuf;

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No topic of this name.
    #[error("there is no topic `{name}`; create it, or list the topics to see their names")]
    UnknownTopic {
        /// The name asked for.
        name: String,
    },
    /// The topic is there already.
    #[error("topic `{name}` exists already, with {partitions} partitions")]
    TopicExists {
        /// Its name.
        name: String,
        /// How many partitions it has.
        partitions: u32,
    },
    /// The topic was deleted while a handle to it was held.
    #[error("topic `{name}` was deleted; get a new handle if it was created again")]
    TopicDeleted {
        /// Its name.
        name: String,
    },
    /// No named producer of this name, or it was deleted.
    #[error(
        "there is no producer `{name}`; list the producers to see their names, or open one with `ProducerOptions::name`"
    )]
    UnknownProducer {
        /// Its name.
        name: String,
    },
    /// Somebody opened the producer's name since: this one may not send any more.
    #[error(
        "producer `{name}` was opened again (epoch {current}, this one has {epoch}): only the newest may send; stop this \
         one, or open it again if the other one is to stop"
    )]
    ProducerFenced {
        /// Its name.
        name: String,
        /// The epoch of the one that was to send.
        epoch: u32,
        /// The newest one.
        current: u32,
    },
    /// No group of this name.
    #[error("there is no group `{name}`; create it, or list the groups to see their names")]
    UnknownGroup {
        /// The name asked for.
        name: String,
    },
    /// The group is there already.
    #[error("group `{name}` exists already; join it, or delete it first")]
    GroupExists {
        /// Its name.
        name: String,
    },
    /// The group was deleted while somebody was a member of it.
    #[error("group `{name}` was deleted; join again if it was created again")]
    GroupDeleted {
        /// Its name.
        name: String,
    },
    /// The member does not hold the record any more.
    #[error(
        "the lease of offset {offset} of partition {partition} of `{topic}` ran out or was taken away: somebody else may \
         have the record; undo what was done for it, or let it be done twice; a longer lease, or `extend`, avoids it"
    )]
    LeaseLost {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The record's offset.
        offset: u64,
    },
    /// The record was never handed to the member, or it gave it back.
    #[error(
        "offset {offset} of partition {partition} of `{topic}` is not held by this member: it was not delivered to it"
    )]
    NotDelivered {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The record's offset.
        offset: u64,
    },
    /// The member acknowledged the record before.
    #[error("offset {offset} of partition {partition} of `{topic}` was acknowledged by this member before")]
    AlreadyAcknowledged {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The record's offset.
        offset: u64,
    },
    /// The id is that of a transaction that goes on, or was committed.
    #[error(
        "transaction `{id}` is {state} already; if this is the same work, ask `Engine::transaction` how it ended, else \
         take another id"
    )]
    TransactionExists {
        /// Its id.
        id: String,
        /// What is known of it.
        state: TransactionState,
    },
    /// Nothing is known of the transaction.
    #[error(
        "no transaction `{id}` is known: it was never prepared, or ended so long ago that its outcome was forgotten \
         (see `outcomes_max`)"
    )]
    UnknownTransaction {
        /// The id that was asked for.
        id: String,
    },
    /// The transaction ended otherwise.
    #[error("transaction `{id}` is {actual} already, and that is final")]
    TransactionConflict {
        /// Its id.
        id: String,
        /// How it ended.
        actual: TransactionState,
    },
    /// The call is for a transaction in another state.
    #[error("transaction `{id}` is {state}; {advice}")]
    WrongTransactionState {
        /// Its id.
        id: String,
        /// What it is.
        state: TransactionState,
        /// What to do instead.
        advice: &'static str,
    },
    /// The transaction was open for longer than it may be.
    #[error(
        "transaction `{id}` was open for more than {timeout_ms} ms, and was rolled back; begin it again, or raise \
         `TransactionOptions::timeout`"
    )]
    TransactionTimedOut {
        /// Its id.
        id: String,
        /// How long it might be open.
        timeout_ms: u64,
    },
    /// There is no dead letter to be redriven.
    #[error("offset {offset} of partition {partition} of `{topic}` cannot be redriven for group `{group}`: {reason}")]
    NoDeadLetter {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The offset.
        offset: u64,
        /// Why.
        reason: &'static str,
    },
    /// The dead letter was redriven before.
    #[error(
        "the dead letter at offset {offset} of partition {partition} of `{topic}` was redriven for group `{group}` before; \
         if its record has failed again, that has a dead letter of its own"
    )]
    AlreadyRedriven {
        /// The group.
        group: String,
        /// The topic of the dead letters.
        topic: String,
        /// The partition of that topic.
        partition: u32,
        /// The dead letter's offset there.
        offset: u64,
    },
    /// A dead letter's record is not there any more.
    #[error(
        "offset {offset} of partition {partition} of `{topic}` is no longer kept, or another record stands there: all that \
         is left is the dead letter at offset {letter_offset} of partition {letter_partition} of `{letter_topic}`; read it, \
         and send it again"
    )]
    OriginalGone {
        /// The record's topic.
        topic: String,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
        /// The topic of the dead letter.
        letter_topic: String,
        /// Its partition.
        letter_partition: u32,
        /// Its offset.
        letter_offset: u64,
    },
    /// A record skips numbers: one or more before it are missing.
    #[error(
        "the record has number {sequence} of producer `{producer}` in partition {partition} of `{topic}`, and number \
         {expected} comes next; send the missing ones first"
    )]
    SequenceGap {
        /// The producer's name.
        producer: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The record's number.
        sequence: u64,
        /// The number that comes next.
        expected: u64,
    },
    /// The record was sent before and is in the log, but its receipt is not remembered any more.
    #[error(
        "number {sequence} of producer `{producer}` in partition {partition} of `{topic}` is in the log already, and its \
         receipt is not remembered any more; go on behind it, or raise `originals_max`"
    )]
    ReceiptForgotten {
        /// The producer's name.
        producer: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The record's number.
        sequence: u64,
    },
    /// A name that cannot be used.
    #[error("`{name}` is not a valid name: {reason}")]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An argument or option out of range.
    #[error("{name} = {value} is not valid: {reason}")]
    InvalidArgument {
        /// Which argument or option.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would be valid.
        reason: String,
    },
    /// A partition the topic does not have.
    #[error("topic `{topic}` has partitions 0 to {}, not {partition}", .partitions - 1)]
    InvalidPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// A record above the bound.
    #[error("the record has {bytes} bytes, {bytes_max} are allowed; send less, or raise `{option}`")]
    RecordTooLarge {
        /// Its size with its header.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
        /// The option that sets the bound.
        option: &'static str,
    },
    /// The directory does not exist, or is not one.
    #[error("{path}: {reason}")]
    InvalidDirectory {
        /// Its path.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Files are there that Ringlane did not write.
    #[error("{path}/{file} is not a Ringlane file ({found}); open an empty directory or one of Ringlane's")]
    ForeignFormat {
        /// The directory.
        path: PathBuf,
        /// The file.
        file: String,
        /// What was found.
        found: String,
    },
    /// Written by another version.
    #[error("{file} has format version {found}, this library reads {supported}; use a newer library")]
    UnsupportedVersion {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
        /// What can be read.
        supported: u32,
    },
    /// Another process has the engine open, or another part of this one.
    #[error("{path} is held by process {pid} ({program}); {advice}", advice = advice_on_holder(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it.
        pid: u32,
        /// The program it runs.
        program: String,
    },
    /// The engine was opened only to be read: nothing can be sent, created, deleted or cancelled with it.
    #[error("{path} was opened {how}, and can only be read; {advice}")]
    ReadOnly {
        /// The directory.
        path: PathBuf,
        /// `read-only`, or `for salvage`.
        how: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Acknowledged data is damaged. Opening cuts nothing.
    #[error(
        "damage: {file}, position {position} (file offset {file_offset}), {bytes} bytes: {reason}. \
         Nothing was changed. Restore the file from a copy; where frames are damaged, recovery = salvage reads \
         what is left, and `ringlane repair` writes all that is whole into a new directory"
    )]
    Damaged {
        /// The file.
        file: String,
        /// The position in the log where it begins.
        position: u64,
        /// The same place as an offset in the file.
        file_offset: u64,
        /// How much is concerned, as far as it can be told.
        bytes: u64,
        /// What proves that it is damage.
        reason: String,
    },
    /// An operation of the system failed.
    #[error("{0}")]
    Io(IoFailure),
    /// No room on the device. Nothing acknowledged is lost; reading goes on.
    #[error(
        "no space left: {needed_bytes} bytes are needed for the next segment, {free_bytes} are free; free space, delete topics, and send again"
    )]
    NoSpace {
        /// What the next segment needs.
        needed_bytes: u64,
        /// What the file system has.
        free_bytes: u64,
    },
    /// A write or flush failed before: the engine accepts nothing until it is opened again.
    #[error("the engine stopped after an I/O error and must be opened again; first cause: {cause}")]
    Poisoned {
        /// The first failure.
        cause: IoFailure,
    },
    /// The outcome of a send is not known: it may or may not be there after reopening.
    #[error("the outcome of this send is unknown ({reason}); after reopening, look before sending again")]
    UnknownOutcome {
        /// Why.
        reason: String,
    },
    /// The buffer stayed full for `max_block_ms`.
    #[error(
        "the send buffer was full ({buffered_bytes} bytes) for {waited_ms} ms; the device is slower than the senders: slow down, or raise `buffer_bytes_max`"
    )]
    QueueFull {
        /// What was buffered.
        buffered_bytes: u64,
        /// How long the call waited.
        waited_ms: u64,
    },
    /// Records were removed before they were read.
    #[error("partition {partition} of `{topic}`: offsets {from} to {to} are no longer kept; seek to {to} to go on")]
    Truncated {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// First offset that is gone.
        from: u64,
        /// First offset that is there.
        to: u64,
    },
    /// The engine, producer or consumer is closed.
    #[error("{what} is closed")]
    Closed {
        /// What is closed.
        what: &'static str,
    },
    /// The record asked for is no longer (or was never) waiting.
    #[error("the record is not withheld: it was published, cancelled, or never there")]
    NotWithheld,
    /// The engine was opened in a parent process.
    #[error(
        "this process was forked from the one that opened the engine; open it again here, after the parent closed it"
    )]
    Forked,
    /// More than a bound allows.
    #[error("{what}: {count} are in use, {count_max} are allowed; {advice}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: u64,
        /// The bound.
        count_max: u64,
        /// What to do.
        advice: &'static str,
    },
    /// An interceptor of the application's own failed, and with it the call.
    #[error("interceptor `{name}` failed in `{call}`: {reason}; {advice}", advice = advice_on_interceptor(call))]
    Interceptor {
        /// Its name.
        name: String,
        /// Which of its calls: `on_send`, `on_poll` or `on_deliver`.
        call: &'static str,
        /// What it said, or the words of its panic.
        reason: String,
    },
    /// The process that has the engine open could not be asked.
    #[error("{path}: {reason}")]
    Admin {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The process that has the engine open answered with an error of its own.
    #[error("{message}")]
    Remote {
        /// Its [`Error::code`] there.
        code: &'static str,
        /// Its text.
        message: String,
        /// Its [`Error::is_retriable`].
        retriable: bool,
        /// Its [`Error::is_fatal`].
        fatal: bool,
        /// Its [`Error::is_unknown_outcome`].
        unknown_outcome: bool,
    },
}

fn advice_on_holder(pid: u32) -> &'static str {
    match pid == std::process::id() {
        true => "that is this very process: use the `Engine` that it has, which can be cloned",
        false => "stop it, wait for it with `lock_wait_ms`, or read beside it with `Engine::open_read_only`",
    }
}

fn advice_on_interceptor(call: &str) -> &'static str {
    match call {
        "on_send" => "nothing was sent; mend it, or register it as best effort",
        "on_poll" => "the consumer stays where it was; mend it, or register it as best effort, and poll again",
        _ => "the records are handed out again, which is no failure of theirs; mend it, or register it as best effort",
    }
}

impl Error {
    /// The same call may succeed later, without anything being done twice.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::QueueFull { .. } | Error::NoSpace { .. } | Error::Locked { .. } | Error::TooMany { .. } => true,
            Error::Remote { retriable, .. } => *retriable,
            _ => false,
        }
    }

    /// Every later call will fail too, until the engine is opened again.
    pub fn is_fatal(&self) -> bool {
        match self {
            Error::Poisoned { .. } | Error::Closed { .. } | Error::Forked | Error::Damaged { .. } => true,
            Error::Remote { fatal, .. } => *fatal,
            _ => false,
        }
    }

    /// What was sent may or may not be in the log.
    pub fn is_unknown_outcome(&self) -> bool {
        match self {
            Error::UnknownOutcome { .. } => true,
            Error::Remote { unknown_outcome, .. } => *unknown_outcome,
            _ => false,
        }
    }

    /// Every name that [`Error::code`] gives to an error of this process; [`Error::Remote`] may have others.
    pub const CODES: &'static [&'static str] = &[
        "unknown-topic",
        "topic-exists",
        "topic-deleted",
        "unknown-producer",
        "producer-fenced",
        "unknown-group",
        "group-exists",
        "group-deleted",
        "lease-lost",
        "not-delivered",
        "already-acknowledged",
        "transaction-exists",
        "unknown-transaction",
        "transaction-conflict",
        "wrong-transaction-state",
        "transaction-timed-out",
        "no-dead-letter",
        "already-redriven",
        "original-gone",
        "sequence-gap",
        "receipt-forgotten",
        "invalid-name",
        "invalid-argument",
        "invalid-partition",
        "record-too-large",
        "invalid-directory",
        "foreign-format",
        "unsupported-version",
        "locked",
        "read-only",
        "damaged",
        "io",
        "no-space",
        "poisoned",
        "unknown-outcome",
        "queue-full",
        "truncated",
        "closed",
        "not-withheld",
        "forked",
        "interceptor",
        "too-many",
        "admin",
    ];

    /// A short stable name for programs: `unknown-topic`, `poisoned`, ...
    pub fn code(&self) -> &'static str {
        match self {
            Error::UnknownTopic { .. } => "unknown-topic",
            Error::TopicExists { .. } => "topic-exists",
            Error::TopicDeleted { .. } => "topic-deleted",
            Error::UnknownProducer { .. } => "unknown-producer",
            Error::ProducerFenced { .. } => "producer-fenced",
            Error::UnknownGroup { .. } => "unknown-group",
            Error::GroupExists { .. } => "group-exists",
            Error::GroupDeleted { .. } => "group-deleted",
            Error::LeaseLost { .. } => "lease-lost",
            Error::NotDelivered { .. } => "not-delivered",
            Error::AlreadyAcknowledged { .. } => "already-acknowledged",
            Error::TransactionExists { .. } => "transaction-exists",
            Error::UnknownTransaction { .. } => "unknown-transaction",
            Error::TransactionConflict { .. } => "transaction-conflict",
            Error::WrongTransactionState { .. } => "wrong-transaction-state",
            Error::TransactionTimedOut { .. } => "transaction-timed-out",
            Error::NoDeadLetter { .. } => "no-dead-letter",
            Error::AlreadyRedriven { .. } => "already-redriven",
            Error::OriginalGone { .. } => "original-gone",
            Error::SequenceGap { .. } => "sequence-gap",
            Error::ReceiptForgotten { .. } => "receipt-forgotten",
            Error::InvalidName { .. } => "invalid-name",
            Error::InvalidArgument { .. } => "invalid-argument",
            Error::InvalidPartition { .. } => "invalid-partition",
            Error::RecordTooLarge { .. } => "record-too-large",
            Error::InvalidDirectory { .. } => "invalid-directory",
            Error::ForeignFormat { .. } => "foreign-format",
            Error::UnsupportedVersion { .. } => "unsupported-version",
            Error::Locked { .. } => "locked",
            Error::ReadOnly { .. } => "read-only",
            Error::Damaged { .. } => "damaged",
            Error::Io(_) => "io",
            Error::NoSpace { .. } => "no-space",
            Error::Poisoned { .. } => "poisoned",
            Error::UnknownOutcome { .. } => "unknown-outcome",
            Error::QueueFull { .. } => "queue-full",
            Error::Truncated { .. } => "truncated",
            Error::Closed { .. } => "closed",
            Error::NotWithheld => "not-withheld",
            Error::Forked => "forked",
            Error::Interceptor { .. } => "interceptor",
            Error::TooMany { .. } => "too-many",
            Error::Admin { .. } => "admin",
            Error::Remote { code, .. } => code,
        }
    }

    /// An I/O error with its place.
    pub(crate) fn io(operation: &'static str, file: &str, offset: Option<u64>, error: &std::io::Error) -> Error {
        Error::Io(IoFailure::new(operation, file, offset, error))
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    /// What stands in `code` itself, for nothing else lists the variants.
    #[test]
    fn every_code_is_listed() {
        let source = include_str!("error.rs");
        let (_, body) = source.split_once("pub fn code(").expect("it is here");
        let (body, _) = body.split_once("\n    }\n").expect("it ends");
        let given: Vec<&str> = body.lines().filter_map(|line| line.split('"').nth(1)).collect();
        assert!(given.len() > 40);
        assert_eq!(given, Error::CODES);
    }
}
