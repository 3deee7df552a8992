//! What a call says of how it went: a status, and more about it for who wants to know.

use crate::table::Dead;
use engine::{BatchHandle, Error, Receipt};
use std::ffi::{CStr, c_char, c_int};

/// 0 is success; all else are `RINGLANE_ERROR_...`.
#[allow(non_camel_case_types)]
pub type ringlane_status = i32;

/// It went well.
pub const RINGLANE_OK: ringlane_status = 0;

/// A NULL pointer, a struct of a wrong size, text that is not UTF-8, an option that there is not: the message says which.
pub const RINGLANE_ERROR_INVALID_ARGUMENT: ringlane_status = -1;
/// The handle was freed, or never was one.
pub const RINGLANE_ERROR_DEAD_HANDLE: ringlane_status = -2;
/// Another thread is in a call of the same consumer, member or transaction: these are used by one thread at a time.
pub const RINGLANE_ERROR_IN_USE: ringlane_status = -3;
/// A bug in Ringlane; the engine stops, and must be opened again.
pub const RINGLANE_ERROR_PANIC: ringlane_status = -4;
/// Batches that were polled and not freed hold as much memory as they may (`held_bytes_max`).
pub const RINGLANE_ERROR_HELD_TOO_MUCH: ringlane_status = -5;
/// A wait was ended by a wakeup.
pub const RINGLANE_ERROR_WOKEN: ringlane_status = -6;
/// There is no topic of this name.
pub const RINGLANE_ERROR_UNKNOWN_TOPIC: ringlane_status = -10;
/// The topic is there already.
pub const RINGLANE_ERROR_TOPIC_EXISTS: ringlane_status = -11;
/// The topic was deleted while a handle to it was held.
pub const RINGLANE_ERROR_TOPIC_DELETED: ringlane_status = -12;
/// There is no producer of this name, or it was deleted.
pub const RINGLANE_ERROR_UNKNOWN_PRODUCER: ringlane_status = -13;
/// Somebody opened the producer's name since. `details`: its epoch, and the newest one.
pub const RINGLANE_ERROR_PRODUCER_FENCED: ringlane_status = -14;
/// There is no group of this name.
pub const RINGLANE_ERROR_UNKNOWN_GROUP: ringlane_status = -15;
/// The group is there already.
pub const RINGLANE_ERROR_GROUP_EXISTS: ringlane_status = -16;
/// The group was deleted under its members.
pub const RINGLANE_ERROR_GROUP_DELETED: ringlane_status = -17;
/// The lease ran out or was taken away: somebody else may have the record. `details`: partition, offset.
pub const RINGLANE_ERROR_LEASE_LOST: ringlane_status = -18;
/// The record is not held by this member. `details`: partition, offset.
pub const RINGLANE_ERROR_NOT_DELIVERED: ringlane_status = -19;
/// This member acknowledged the record before. `details`: partition, offset.
pub const RINGLANE_ERROR_ALREADY_ACKNOWLEDGED: ringlane_status = -20;
/// The id is that of a transaction that goes on, or was committed.
pub const RINGLANE_ERROR_TRANSACTION_EXISTS: ringlane_status = -21;
/// Nothing is known of the transaction.
pub const RINGLANE_ERROR_UNKNOWN_TRANSACTION: ringlane_status = -22;
/// The transaction ended otherwise before.
pub const RINGLANE_ERROR_TRANSACTION_CONFLICT: ringlane_status = -23;
/// The call is for a transaction in another state.
pub const RINGLANE_ERROR_WRONG_TRANSACTION_STATE: ringlane_status = -24;
/// The transaction was open for too long, and was rolled back. `details`: how long it might be open, ms.
pub const RINGLANE_ERROR_TRANSACTION_TIMED_OUT: ringlane_status = -25;
/// There is no dead letter to be redriven. `details`: partition, offset.
pub const RINGLANE_ERROR_NO_DEAD_LETTER: ringlane_status = -26;
/// The dead letter was redriven before. `details`: partition, offset.
pub const RINGLANE_ERROR_ALREADY_REDRIVEN: ringlane_status = -27;
/// The record of a dead letter is not kept any more. `details`: partition, offset.
pub const RINGLANE_ERROR_ORIGINAL_GONE: ringlane_status = -28;
/// The record skips numbers of its producer. `details`: its number, the one that comes next, partition.
pub const RINGLANE_ERROR_SEQUENCE_GAP: ringlane_status = -29;
/// The record is there, and its receipt is not remembered any more. `details`: its number, partition.
pub const RINGLANE_ERROR_RECEIPT_FORGOTTEN: ringlane_status = -30;
/// The name cannot be used.
pub const RINGLANE_ERROR_INVALID_NAME: ringlane_status = -31;
/// The topic has no such partition. `details`: the partition, and how many there are.
pub const RINGLANE_ERROR_INVALID_PARTITION: ringlane_status = -32;
/// The record is larger than `record_bytes_max`. `details`: its size, and the bound.
pub const RINGLANE_ERROR_RECORD_TOO_LARGE: ringlane_status = -33;
/// The directory is not there, or is none.
pub const RINGLANE_ERROR_INVALID_DIRECTORY: ringlane_status = -34;
/// There are files that Ringlane did not write.
pub const RINGLANE_ERROR_FOREIGN_FORMAT: ringlane_status = -35;
/// The files are of another version.
pub const RINGLANE_ERROR_UNSUPPORTED_VERSION: ringlane_status = -36;
/// Another process has the directory open, or another engine of this one. `details`: its process id.
pub const RINGLANE_ERROR_LOCKED: ringlane_status = -37;
/// The engine was opened only to be read.
pub const RINGLANE_ERROR_READ_ONLY: ringlane_status = -38;
/// Acknowledged data is damaged. `details`: position, offset in the file, bytes.
pub const RINGLANE_ERROR_DAMAGED: ringlane_status = -39;
/// An operation of the system failed; `system_error` is its errno, if there is one.
pub const RINGLANE_ERROR_IO: ringlane_status = -40;
/// There is no room on the device. `details`: bytes that are needed, and that are free.
pub const RINGLANE_ERROR_NO_SPACE: ringlane_status = -41;
/// The engine stopped after a failure, and must be opened again.
pub const RINGLANE_ERROR_POISONED: ringlane_status = -42;
/// What was sent may be there or not: look, after reopening.
pub const RINGLANE_ERROR_UNKNOWN_OUTCOME: ringlane_status = -43;
/// The send buffer stayed full. `details`: bytes in it, and how long the call waited, ms.
pub const RINGLANE_ERROR_QUEUE_FULL: ringlane_status = -44;
/// Records were removed before they were read. `details`: the first offset that is gone, the first that is there, partition;
/// `name` is the topic.
pub const RINGLANE_ERROR_TRUNCATED: ringlane_status = -45;
/// The engine, or what was called, is closed.
pub const RINGLANE_ERROR_CLOSED: ringlane_status = -46;
/// The record is not withheld: it was published or cancelled before, or never was.
pub const RINGLANE_ERROR_NOT_WITHHELD: ringlane_status = -47;
/// What is called was made in the process that this one was forked from.
pub const RINGLANE_ERROR_FORKED: ringlane_status = -48;
/// An interceptor failed.
pub const RINGLANE_ERROR_INTERCEPTOR: ringlane_status = -49;
/// There are as many as there may be. `details`: how many, and the bound.
pub const RINGLANE_ERROR_TOO_MANY: ringlane_status = -50;
/// The process that has the engine open could not be asked.
pub const RINGLANE_ERROR_ADMIN: ringlane_status = -51;
/// An error that this header does not know.
pub const RINGLANE_ERROR_OTHER: ringlane_status = -99;

/// Each status and its name.
const STATUSES: &[(ringlane_status, &CStr)] = &[
    (RINGLANE_OK, c"ok"),
    (RINGLANE_ERROR_INVALID_ARGUMENT, c"invalid-argument"),
    (RINGLANE_ERROR_DEAD_HANDLE, c"dead-handle"),
    (RINGLANE_ERROR_IN_USE, c"in-use"),
    (RINGLANE_ERROR_PANIC, c"panic"),
    (RINGLANE_ERROR_HELD_TOO_MUCH, c"held-too-much"),
    (RINGLANE_ERROR_WOKEN, c"woken"),
    (RINGLANE_ERROR_UNKNOWN_TOPIC, c"unknown-topic"),
    (RINGLANE_ERROR_TOPIC_EXISTS, c"topic-exists"),
    (RINGLANE_ERROR_TOPIC_DELETED, c"topic-deleted"),
    (RINGLANE_ERROR_UNKNOWN_PRODUCER, c"unknown-producer"),
    (RINGLANE_ERROR_PRODUCER_FENCED, c"producer-fenced"),
    (RINGLANE_ERROR_UNKNOWN_GROUP, c"unknown-group"),
    (RINGLANE_ERROR_GROUP_EXISTS, c"group-exists"),
    (RINGLANE_ERROR_GROUP_DELETED, c"group-deleted"),
    (RINGLANE_ERROR_LEASE_LOST, c"lease-lost"),
    (RINGLANE_ERROR_NOT_DELIVERED, c"not-delivered"),
    (RINGLANE_ERROR_ALREADY_ACKNOWLEDGED, c"already-acknowledged"),
    (RINGLANE_ERROR_TRANSACTION_EXISTS, c"transaction-exists"),
    (RINGLANE_ERROR_UNKNOWN_TRANSACTION, c"unknown-transaction"),
    (RINGLANE_ERROR_TRANSACTION_CONFLICT, c"transaction-conflict"),
    (RINGLANE_ERROR_WRONG_TRANSACTION_STATE, c"wrong-transaction-state"),
    (RINGLANE_ERROR_TRANSACTION_TIMED_OUT, c"transaction-timed-out"),
    (RINGLANE_ERROR_NO_DEAD_LETTER, c"no-dead-letter"),
    (RINGLANE_ERROR_ALREADY_REDRIVEN, c"already-redriven"),
    (RINGLANE_ERROR_ORIGINAL_GONE, c"original-gone"),
    (RINGLANE_ERROR_SEQUENCE_GAP, c"sequence-gap"),
    (RINGLANE_ERROR_RECEIPT_FORGOTTEN, c"receipt-forgotten"),
    (RINGLANE_ERROR_INVALID_NAME, c"invalid-name"),
    (RINGLANE_ERROR_INVALID_PARTITION, c"invalid-partition"),
    (RINGLANE_ERROR_RECORD_TOO_LARGE, c"record-too-large"),
    (RINGLANE_ERROR_INVALID_DIRECTORY, c"invalid-directory"),
    (RINGLANE_ERROR_FOREIGN_FORMAT, c"foreign-format"),
    (RINGLANE_ERROR_UNSUPPORTED_VERSION, c"unsupported-version"),
    (RINGLANE_ERROR_LOCKED, c"locked"),
    (RINGLANE_ERROR_READ_ONLY, c"read-only"),
    (RINGLANE_ERROR_DAMAGED, c"damaged"),
    (RINGLANE_ERROR_IO, c"io"),
    (RINGLANE_ERROR_NO_SPACE, c"no-space"),
    (RINGLANE_ERROR_POISONED, c"poisoned"),
    (RINGLANE_ERROR_UNKNOWN_OUTCOME, c"unknown-outcome"),
    (RINGLANE_ERROR_QUEUE_FULL, c"queue-full"),
    (RINGLANE_ERROR_TRUNCATED, c"truncated"),
    (RINGLANE_ERROR_CLOSED, c"closed"),
    (RINGLANE_ERROR_NOT_WITHHELD, c"not-withheld"),
    (RINGLANE_ERROR_FORKED, c"forked"),
    (RINGLANE_ERROR_INTERCEPTOR, c"interceptor"),
    (RINGLANE_ERROR_TOO_MANY, c"too-many"),
    (RINGLANE_ERROR_ADMIN, c"admin"),
    (RINGLANE_ERROR_OTHER, c"other"),
];

/// In `ringlane_error.flags`: the same call may succeed later, without anything being done twice.
pub const RINGLANE_RETRIABLE: u32 = 1;
/// In `ringlane_error.flags`: every later call fails too, until the engine is opened again.
pub const RINGLANE_FATAL: u32 = 2;
/// In `ringlane_error.flags`: what was asked for may have happened or not; of a batch, that part of it did, or may have.
pub const RINGLANE_UNKNOWN_OUTCOME: u32 = 4;
/// In `ringlane_error.flags`: the transaction is over, and was rolled back; begin another.
pub const RINGLANE_ABORTED: u32 = 8;

/// Bytes of a message with the zero at its end.
pub const RINGLANE_MESSAGE_BYTES: usize = 712;
/// Bytes of a name in an error with the zero at its end: no name is longer.
pub const RINGLANE_NAME_BYTES: usize = 256;

/// More about an error. The application owns it, and passes it, or NULL, as the last argument; it is written when a call
/// fails, and left alone when one succeeds. Its layout never changes.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct ringlane_error {
    /// What the call returned.
    pub status: ringlane_status,
    /// `RINGLANE_RETRIABLE`, `RINGLANE_FATAL`, `RINGLANE_UNKNOWN_OUTCOME`, `RINGLANE_ABORTED`.
    pub flags: u32,
    /// The errno of the operation that failed, or 0.
    pub system_error: i32,
    /// Bytes of the message without the zero at its end.
    pub message_bytes: u32,
    /// Figures for programs; which, the status says. Else 0.
    pub details: [u64; 4],
    /// What happened, where, and what to do: UTF-8, with a zero at its end; a longer one is cut.
    pub message: [c_char; RINGLANE_MESSAGE_BYTES],
    /// What it is about, for programs: the name of the topic, else of the producer or group, or the id of the transaction;
    /// UTF-8, with a zero at its end. Empty: of none of them.
    pub name: [c_char; RINGLANE_NAME_BYTES],
    /// 0.
    pub reserved: u64,
}

impl ringlane_error {
    /// Whether both say the same.
    pub(crate) fn is_same(&self, other: &ringlane_error) -> bool {
        let figures = |error: &ringlane_error| (error.status, error.flags, error.system_error, error.details);
        figures(self) == figures(other) && self.message == other.message && self.name == other.name
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Engine(Error),
    /// An error of the ABI's own.
    Own(ringlane_status, String),
    /// A transaction ended by it.
    Aborted(Error),
    /// The first error of a batch of which other records are there, or may be.
    Partly(Error),
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Engine(error)
    }
}

impl Failure {
    pub(crate) fn argument(name: &str, reason: impl std::fmt::Display) -> Failure {
        Failure::Own(RINGLANE_ERROR_INVALID_ARGUMENT, format!("{name}: {reason}"))
    }

    pub(crate) fn dead(what: &str, dead: Dead) -> Failure {
        let text = match dead {
            Dead::Forked => return Failure::Engine(Error::Forked),
            Dead::Unknown => format!("{what}: the handle was freed, or never was one"),
            Dead::OtherKind => format!("{what}: the handle is one of another kind"),
        };
        Failure::Own(RINGLANE_ERROR_DEAD_HANDLE, text)
    }

    pub(crate) fn in_use(what: &str) -> Failure {
        let text = format!("another thread is in a call of {what}: it is used by one thread at a time");
        Failure::Own(RINGLANE_ERROR_IN_USE, text)
    }

    pub(crate) fn status(&self) -> ringlane_status {
        match self {
            Failure::Own(status, _) => *status,
            Failure::Engine(error) | Failure::Aborted(error) | Failure::Partly(error) => status_of(error.code()),
        }
    }

    /// What a batch came to of which not all is there.
    pub(crate) fn of_batch(sent: &BatchHandle, first: Error) -> Failure {
        let may_be_there =
            |outcome: &engine::Result<Receipt>| outcome.as_ref().err().is_none_or(Error::is_unknown_outcome);
        match sent.outcomes().iter().any(may_be_there) {
            true => Failure::Partly(first),
            false => Failure::Engine(first),
        }
    }

    pub(crate) fn flags(&self) -> u32 {
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        match self {
            Failure::Own(RINGLANE_ERROR_PANIC, _) => RINGLANE_FATAL | RINGLANE_UNKNOWN_OUTCOME,
            Failure::Own(status, _) => {
                flag(matches!(*status, RINGLANE_ERROR_HELD_TOO_MUCH | RINGLANE_ERROR_IN_USE), RINGLANE_RETRIABLE)
            }
            Failure::Engine(error) | Failure::Aborted(error) => {
                flag(error.is_retriable(), RINGLANE_RETRIABLE)
                    | flag(error.is_fatal(), RINGLANE_FATAL)
                    | flag(error.is_unknown_outcome(), RINGLANE_UNKNOWN_OUTCOME)
                    | flag(matches!(self, Failure::Aborted(_)), RINGLANE_ABORTED)
            }
            // To send all of it again would send some of it twice.
            Failure::Partly(error) => RINGLANE_UNKNOWN_OUTCOME | flag(error.is_fatal(), RINGLANE_FATAL),
        }
    }

    fn text(&self) -> String {
        match self {
            Failure::Own(_, text) => text.clone(),
            Failure::Engine(error) | Failure::Aborted(error) => error.to_string(),
            Failure::Partly(error) => {
                format!(
                    "part of the batch was not sent: {error}; the rest of it is there, or may be: look before sending again"
                )
            }
        }
    }

    fn error(&self) -> Option<&Error> {
        match self {
            Failure::Engine(error) | Failure::Aborted(error) | Failure::Partly(error) => Some(error),
            Failure::Own(..) => None,
        }
    }

    /// What it is about.
    fn name(&self) -> &str {
        match self.error() {
            Some(
                Error::LeaseLost { topic, .. }
                | Error::NotDelivered { topic, .. }
                | Error::AlreadyAcknowledged { topic, .. }
                | Error::NoDeadLetter { topic, .. }
                | Error::AlreadyRedriven { topic, .. }
                | Error::OriginalGone { topic, .. }
                | Error::SequenceGap { topic, .. }
                | Error::ReceiptForgotten { topic, .. }
                | Error::InvalidPartition { topic, .. }
                | Error::Truncated { topic, .. },
            ) => topic,
            Some(
                Error::UnknownTopic { name, .. }
                | Error::TopicExists { name, .. }
                | Error::TopicDeleted { name, .. }
                | Error::UnknownProducer { name, .. }
                | Error::ProducerFenced { name, .. }
                | Error::UnknownGroup { name, .. }
                | Error::GroupExists { name, .. }
                | Error::GroupDeleted { name, .. }
                | Error::InvalidName { name, .. },
            ) => name,
            Some(
                Error::TransactionExists { id, .. }
                | Error::UnknownTransaction { id, .. }
                | Error::TransactionConflict { id, .. }
                | Error::WrongTransactionState { id, .. }
                | Error::TransactionTimedOut { id, .. },
            ) => id,
            _ => "",
        }
    }

    fn details(&self) -> [u64; 4] {
        let Some(error) = self.error() else { return [0; 4] };
        match error {
            Error::ProducerFenced { epoch, current, .. } => [u64::from(*epoch), u64::from(*current), 0, 0],
            Error::LeaseLost { partition, offset, .. }
            | Error::NotDelivered { partition, offset, .. }
            | Error::AlreadyAcknowledged { partition, offset, .. } => [u64::from(*partition), *offset, 0, 0],
            Error::TransactionTimedOut { timeout_ms, .. } => [*timeout_ms, 0, 0, 0],
            Error::SequenceGap { sequence, expected, partition, .. } => {
                [*sequence, *expected, u64::from(*partition), 0]
            }
            Error::ReceiptForgotten { sequence, partition, .. } => [*sequence, u64::from(*partition), 0, 0],
            Error::InvalidPartition { partition, partitions, .. } => {
                [u64::from(*partition), u64::from(*partitions), 0, 0]
            }
            Error::NoDeadLetter { partition, offset, .. }
            | Error::AlreadyRedriven { partition, offset, .. }
            | Error::OriginalGone { partition, offset, .. } => [u64::from(*partition), *offset, 0, 0],
            Error::RecordTooLarge { bytes, bytes_max, .. } => [*bytes as u64, *bytes_max as u64, 0, 0],
            Error::Locked { pid, .. } => [u64::from(*pid), 0, 0, 0],
            Error::Damaged { position, file_offset, bytes, .. } => [*position, *file_offset, *bytes, 0],
            Error::NoSpace { needed_bytes, free_bytes } => [*needed_bytes, *free_bytes, 0, 0],
            Error::QueueFull { buffered_bytes, waited_ms } => [*buffered_bytes, *waited_ms, 0, 0],
            Error::Truncated { partition, from, to, .. } => [*from, *to, u64::from(*partition), 0],
            Error::TooMany { count, count_max, .. } => [*count, *count_max, 0, 0],
            _ => [0; 4],
        }
    }

    fn system_error(&self) -> i32 {
        match self {
            Failure::Engine(Error::Io(failure) | Error::Poisoned { cause: failure }) => failure.errno.unwrap_or(0),
            _ => 0,
        }
    }

    /// All of it, for the application.
    pub(crate) fn describe(&self) -> ringlane_error {
        let (mut message, mut name) = ([0; RINGLANE_MESSAGE_BYTES], [0; RINGLANE_NAME_BYTES]);
        let message_bytes = copy_text(&mut message, &self.text());
        copy_text(&mut name, self.name());
        ringlane_error {
            status: self.status(),
            flags: self.flags(),
            system_error: self.system_error(),
            message_bytes: message_bytes as u32,
            details: self.details(),
            message,
            name,
            reserved: 0,
        }
    }
}

/// Copies a text, or as many whole characters of it as there is room for with a zero behind; says how many bytes.
fn copy_text(target: &mut [c_char], text: &str) -> usize {
    let bytes = text.floor_char_boundary(text.len().min(target.len() - 1));
    for (target, byte) in target.iter_mut().zip(&text.as_bytes()[..bytes]) {
        // A zero in a name would end the text for who reads it as C does.
        *target = if *byte == 0 { b'?' } else { *byte } as c_char;
    }
    bytes
}

fn status_of(code: &str) -> ringlane_status {
    let is_its = |(_, name): &&(ringlane_status, &CStr)| name.to_bytes() == code.as_bytes();
    STATUSES.iter().find(is_its).map_or(RINGLANE_ERROR_OTHER, |(status, _)| *status)
}

/// The name of a status, a constant text: `ok`, `unknown-topic`, ...; of a number that is none, `unknown-status`.
///
/// Threads: any. It takes no handle, so it works in a child of fork as well.
#[unsafe(no_mangle)]
pub extern "C" fn ringlane_status_name(status: ringlane_status) -> *const c_char {
    STATUSES.iter().find(|(known, _)| *known == status).map_or(c"unknown-status".as_ptr(), |(_, name)| name.as_ptr())
}

/// The version of the ABI that the library has: it is raised when something is added, and the soname changes when
/// something that was there is not as it was.
pub const RINGLANE_ABI_VERSION: u32 = 1;

/// The `RINGLANE_ABI_VERSION` of the library that is loaded, which may be newer than the header.
#[unsafe(no_mangle)]
pub extern "C" fn ringlane_abi_version() -> u32 {
    RINGLANE_ABI_VERSION
}

/// The version of the library, a constant text such as `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn ringlane_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

const _: () = assert!(size_of::<ringlane_error>() == 1024);
const _: () = assert!(size_of::<c_int>() == 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_engine_has_a_status_of_its_own() {
        for code in engine::Error::CODES {
            assert_ne!(status_of(code), RINGLANE_ERROR_OTHER, "{code}");
        }
        let mut numbers: Vec<_> = STATUSES.iter().map(|(status, _)| *status).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), STATUSES.len());
        assert!(numbers.iter().all(|status| *status <= 0));
        for (status, name) in STATUSES {
            // SAFETY: it is a constant text.
            assert_eq!(unsafe { CStr::from_ptr(ringlane_status_name(*status)) }, *name);
        }
    }

    #[test]
    fn a_long_message_is_cut_where_a_character_ends() {
        let failure = Failure::argument("name", "é".repeat(1000));
        let error = failure.describe();
        assert_eq!(error.message[error.message_bytes as usize], 0);
        let bytes: Vec<u8> = error.message[..error.message_bytes as usize].iter().map(|byte| *byte as u8).collect();
        assert!(String::from_utf8(bytes).unwrap().ends_with('é'));
        assert_eq!((error.status, error.flags), (RINGLANE_ERROR_INVALID_ARGUMENT, 0));
    }

    #[test]
    fn what_a_program_needs_is_in_the_details() {
        let error = Failure::from(Error::Truncated { topic: "t".into(), partition: 3, from: 5, to: 9 }).describe();
        assert_eq!((error.status, error.details), (RINGLANE_ERROR_TRUNCATED, [5, 9, 3, 0]));
        assert_eq!((error.name[0], error.name[1]), (b't' as c_char, 0));
        let error = Failure::Aborted(Error::NoSpace { needed_bytes: 7, free_bytes: 1 }).describe();
        assert_eq!((error.flags, error.details), (RINGLANE_RETRIABLE | RINGLANE_ABORTED, [7, 1, 0, 0]));
    }
}
