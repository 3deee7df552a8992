//! Transactions in every form, and the checkers that are asked how they ended.

use crate::call::{call, check_array, check_out, free, handle_of, held, put, put_at, text};
use crate::engine_calls::EngineObject;
use crate::member::{MemberObject, read_deliveries};
use crate::objects::{
    ringlane_engine, ringlane_member, ringlane_options, ringlane_producer, ringlane_queue, ringlane_topic,
    ringlane_transaction,
};
use crate::options::read_options;
use crate::producer::{read_record, ringlane_receipt, ringlane_record};
use crate::queue::{Checks, Queue, QueueObject};
use crate::records::ringlane_delivery;
use crate::status::{Failure, Result, ringlane_error, ringlane_status};
use engine::{
    CheckAnswer, CheckerOptions, Committed, Error, HalfTransaction, Producer, Topic, Transaction, TransactionChecker,
    TransactionOptions, TransactionState,
};
use std::ffi::{CString, c_char};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

/// A transaction's state: it takes records and acknowledgements.
pub const RINGLANE_TRANSACTION_OPEN: i32 = 1;
/// A transaction's state: all of it is durable and invisible, and waits for the decision.
pub const RINGLANE_TRANSACTION_PREPARED: i32 = 2;
/// A transaction's state: it is prepared, and is not checked any more.
pub const RINGLANE_TRANSACTION_UNRESOLVED: i32 = 3;
/// A transaction's state: its records are visible.
pub const RINGLANE_TRANSACTION_COMMITTED: i32 = 4;
/// A transaction's state: nothing of it ever becomes visible.
pub const RINGLANE_TRANSACTION_ROLLED_BACK: i32 = 5;

/// How long the answer to a question is waited for, before it counts as unknown.
const ANSWER_MAX: Duration = Duration::from_secs(3600);

struct Held {
    transaction: Transaction,
    committed: Committed,
}

/// A transaction in the application's hands.
pub(crate) struct TransactionObject {
    held: Mutex<Held>,
    id: CString,
}

impl TransactionObject {
    /// Runs something with it, unless another thread does. A failure by which it ended says so.
    fn with<T>(&self, run: impl FnOnce(&mut Held) -> Result<T>) -> Result<T> {
        let mut held = match self.held.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Failure::in_use("the transaction")),
        };
        run(&mut held).map_err(|failure| match failure {
            // How it ended was the application's own doing.
            Failure::Engine(error @ (Error::TransactionConflict { .. } | Error::WrongTransactionState { .. })) => {
                Failure::Engine(error)
            }
            Failure::Engine(error) if held.transaction.state() == TransactionState::RolledBack => {
                Failure::Aborted(error)
            }
            failure => failure,
        })
    }
}

/// Begins a transaction: records for any topics, and deliveries that it acknowledges, that become effective together or not
/// at all. `options` are of `RINGLANE_OPTIONS_TRANSACTION`, or NULL.
///
/// Threads: any; but one at a time for all calls of it; another one gets `IN_USE`. Errors: `TRANSACTION_EXISTS`,
/// `TOO_MANY`, `INVALID_ARGUMENT`, `PRODUCER_FENCED`, `UNKNOWN_PRODUCER`, `POISONED`, `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_begin(
    producer: *const ringlane_producer,
    options: *const ringlane_options,
    transaction: *mut *mut ringlane_transaction,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let producer = held::<Producer>(producer)?;
            check_out("transaction", transaction)?;
            let begun = producer.begin(read_options::<TransactionOptions>(options)?)?;
            let id = CString::new(begun.id()).map_err(|_| Failure::argument("id", "it has a zero in it"))?;
            let held = Mutex::new(Held { transaction: begun, committed: Committed::default() });
            put("transaction", transaction, handle_of(TransactionObject { held, id })?)
        })
    }
}

/// Frees a transaction. One that is open is rolled back; one that is prepared is undecided, and its checker is asked. NULL
/// is ignored.
///
/// Threads: one at a time. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_free(
    transaction: *mut ringlane_transaction,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe { free::<TransactionObject>(transaction, error) }
}

/// Its id: the application's own, or the one that was assigned; with a zero at its end. It belongs to the handle.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_id(
    transaction: *const ringlane_transaction,
    id: *mut *const c_char,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || put("id", id, held::<TransactionObject>(transaction)?.id.as_ptr())) }
}

/// Its state, `RINGLANE_TRANSACTION_...`.
///
/// Threads: one at a time. Errors: `IN_USE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_state(
    transaction: *const ringlane_transaction,
    state: *mut i32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let now = held::<TransactionObject>(transaction)?.with(|held| Ok(held.transaction.state()))?;
            put(
                "state",
                state,
                match now {
                    TransactionState::Open => RINGLANE_TRANSACTION_OPEN,
                    TransactionState::Prepared => RINGLANE_TRANSACTION_PREPARED,
                    TransactionState::Unresolved => RINGLANE_TRANSACTION_UNRESOLVED,
                    TransactionState::Committed => RINGLANE_TRANSACTION_COMMITTED,
                    TransactionState::RolledBack => RINGLANE_TRANSACTION_ROLLED_BACK,
                    // States that this library does not know are none that it makes.
                    _ => 0,
                },
            )
        })
    }
}

/// Adds a record, which becomes visible by the commit.
///
/// Threads: one at a time. Errors: the record is not in it, all else is: `RECORD_TOO_LARGE`, `INVALID_PARTITION`,
/// `TOPIC_DELETED`, `INVALID_ARGUMENT`, `TOO_MANY`. With `RINGLANE_ABORTED` it is rolled back: `TRANSACTION_TIMED_OUT`,
/// `PRODUCER_FENCED`, `UNKNOWN_PRODUCER`, `NO_SPACE`. `WRONG_TRANSACTION_STATE`, `IN_USE`, `POISONED`, `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_send(
    transaction: *const ringlane_transaction,
    topic: *const ringlane_topic,
    record: *const ringlane_record,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (transaction, topic) = (held::<TransactionObject>(transaction)?, held::<Topic>(topic)?);
            let mut copy = None;
            let record = read_record(record, &mut copy)?;
            let headers = record.headers()?;
            let record = record.get(&headers);
            transaction.with(|held| Ok(held.transaction.send(&topic, record)?))
        })
    }
}

/// Acknowledges deliveries of a member with the commit. Until it is decided the transaction has them alone. `done`, which may
/// be NULL, is how many it has taken, also when the call fails at one of them.
///
/// Threads: one at a time. Errors: as `ringlane_member_ack` and `ringlane_transaction_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_ack(
    transaction: *const ringlane_transaction,
    member: *const ringlane_member,
    deliveries: *const ringlane_delivery,
    stride: usize,
    count: usize,
    done: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (transaction, member) = (held::<TransactionObject>(transaction)?, held::<MemberObject>(member)?);
            let deliveries = read_deliveries(deliveries, stride, count)?;
            transaction.with(|held| {
                for (taken, delivery) in deliveries.iter().enumerate() {
                    if !done.is_null() {
                        done.write(taken);
                    }
                    held.transaction.ack(&member.acknowledger, delivery.id())?;
                }
                if !done.is_null() {
                    done.write(deliveries.len());
                }
                Ok(())
            })
        })
    }
}

/// Makes all of it durable and invisible; from now on only a decision ends it, over restarts too. Then the application does
/// its part, with the transaction's id written down, and commits or rolls back.
///
/// Blocks until that is on the device. Threads: one at a time. Errors, with `RINGLANE_ABORTED`: `LEASE_LOST`,
/// `GROUP_DELETED`, `NO_SPACE`, `TOO_MANY`, `TRANSACTION_TIMED_OUT`, `PRODUCER_FENCED`, `UNKNOWN_PRODUCER`. Others:
/// `WRONG_TRANSACTION_STATE`, `UNKNOWN_OUTCOME`, `IN_USE`, `POISONED`, `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_prepare(
    transaction: *const ringlane_transaction,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || held::<TransactionObject>(transaction)?.with(|held| Ok(held.transaction.prepare()?))) }
}

/// Commits it, prepared or not: its records become visible, and what it acknowledges is finished. To commit again changes
/// nothing.
///
/// Blocks until that is on the device. Threads: one at a time. Errors: as `ringlane_transaction_prepare` of one that was
/// not prepared; one that was stays it with `NO_SPACE`. `TRANSACTION_CONFLICT`: it was rolled back before. After
/// `UNKNOWN_OUTCOME` ask `ringlane_transaction_describe` when the directory is open again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_commit(
    transaction: *const ringlane_transaction,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            held::<TransactionObject>(transaction)?.with(|held| {
                held.committed = held.transaction.commit()?;
                Ok(())
            })
        })
    }
}

/// Rolls it back, prepared or not: nothing of it ever becomes visible, and what it acknowledged has failed. To roll back
/// again changes nothing.
///
/// Blocks, where it is prepared, until that is on the device. Threads: one at a time. Errors: `TRANSACTION_CONFLICT` (it was
/// committed before), `NO_SPACE` (it stays prepared), `UNKNOWN_OUTCOME`, `IN_USE`, `POISONED`, `CLOSED`, `FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_roll_back(
    transaction: *const ringlane_transaction,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || held::<TransactionObject>(transaction)?.with(|held| Ok(held.transaction.roll_back()?))) }
}

/// The receipts of the records of one that was committed, in the order in which they were sent, into an array of
/// `count_max` whose elements are `stride` apart. `count` is how many there are, which may be more; 0 if somebody else
/// committed it.
///
/// Blocks until all of it is visible. Threads: one at a time. Errors: `UNKNOWN_OUTCOME`, `POISONED`, `NO_SPACE` (it is
/// committed, and becomes visible with the next opening at the latest), `IN_USE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_transaction_receipts(
    transaction: *const ringlane_transaction,
    receipts: *mut ringlane_receipt,
    stride: usize,
    count_max: usize,
    count: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let transaction = held::<TransactionObject>(transaction)?;
            check_out("count", count)?;
            check_array("receipts", receipts, stride, count_max)?;
            let all = transaction.with(|held| Ok(held.committed.receipts()?))?;
            for (at, receipt) in all.iter().enumerate().take(count_max) {
                put_at(receipts, stride, at, &ringlane_receipt::of(receipt));
            }
            put("count", count, all.len())
        })
    }
}

/// Asks the application through a queue.
struct QueueChecker {
    queue: Arc<Queue>,
    checks: Arc<Checks>,
    user_data: u64,
}

impl TransactionChecker for QueueChecker {
    fn check(&self, transaction: &HalfTransaction) -> CheckAnswer {
        let Some(check) = self.queue.ask(transaction, &self.checks, self.user_data) else {
            return CheckAnswer::Unknown;
        };
        let answer = self.checks.wait(check, ANSWER_MAX);
        self.queue.asked(check);
        answer.unwrap_or(CheckAnswer::Unknown)
    }
}

/// Has questions put into a queue, events of the kind `RINGLANE_EVENT_CHECK` with this `user_data`, about transactions that
/// name this checker and were left undecided: those of earlier processes at once. They are answered with
/// `ringlane_check_answer`, one at a time. A checker that had the name is replaced. `options` are of
/// `RINGLANE_OPTIONS_CHECKER`, or NULL.
///
/// Threads: any. Errors: `INVALID_ARGUMENT`, `IO` (no thread can be started), `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_checker_register(
    engine: *const ringlane_engine,
    name: *const c_char,
    options: *const ringlane_options,
    queue: *const ringlane_queue,
    user_data: u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let (engine, queue) = (held::<EngineObject>(engine)?, held::<QueueObject>(queue)?);
            let name = text("name", name)?;
            queue.check_open()?;
            let checks = Arc::new(Checks::default());
            let checker = QueueChecker { queue: queue.clone(), checks: checks.clone(), user_data };
            let given: CheckerOptions = read_options(options)?;
            engine.checks.lock().unwrap_or_else(PoisonError::into_inner).push(checks);
            Ok(engine.engine.register_checker(name, given, checker)?)
        })
    }
}

/// Has a checker asked no more.
///
/// Threads: any. Errors: `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_checker_unregister(
    engine: *const ringlane_engine,
    name: *const c_char,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            held::<EngineObject>(engine)?.engine.unregister_checker(text("name", name)?);
            Ok::<(), Failure>(())
        })
    }
}
