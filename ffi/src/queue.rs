//! The completion queue: what asynchronous calls came to, drained in batches, with an eventfd to wait on.
//!
//! Sends that share a batch of the engine get their outcome at the same moment. So they are kept together here, and the
//! lane says one word for all of them: it never makes a receipt, and waits for the application no longer than some receipts
//! take.
//!
//! Invariants:
//! - Each asynchronous call that succeeded has one event, or one for each of its records; none is dropped before the queue
//!   is closed.
//! - The eventfd is readable if, and only if, an event is there, or a wakeup that nobody has met, or the queue is closed.
//! - Nothing of the application's runs on a thread of the library.

use crate::call::{call, check_array, check_out, check_size, end_and_free, handle_of, held, put, put_at, wait_of};
use crate::objects::ringlane_queue;
use crate::producer::ringlane_receipt;
use crate::status::{Failure, RINGLANE_ERROR_WOKEN, RINGLANE_OK, Result, ringlane_error, ringlane_status};
use engine::{BatchHandle, Error, HalfTransaction, NoteRoom, NotedRecords, OutcomeSink};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// Errors of events that are kept for `ringlane_queue_error`.
const ERRORS_MAX: usize = 1024;
/// Among so many of the last errors the same one is looked for.
const ERRORS_NEAR: usize = 8;
/// Events that a dispatch takes out at once.
const DISPATCHED_MAX: usize = 4096;
/// Events that a drain gives before it lets others in.
const GIVEN_AT_ONCE: usize = 64;
/// Rooms for sends that are kept, and for how many sends each of them is at most.
const SPARE_ROOMS_MAX: usize = 16;
const SPARE_SENDS_MAX: usize = 16 << 10;

/// A record that was sent has its outcome: `status`, and if that is `RINGLANE_OK`, `receipt`.
pub const RINGLANE_EVENT_SENT: u32 = 1;
/// All records of a batch have their outcomes: `count` of them; `status` is the first error.
pub const RINGLANE_EVENT_BATCH_SENT: u32 = 2;
/// A checker is asked how a transaction ended: see `ringlane_check_describe` and `ringlane_check_answer`. `count` is the
/// number of the question.
pub const RINGLANE_EVENT_CHECK: u32 = 3;
/// A consumer or member has something to be polled, or an error.
pub const RINGLANE_EVENT_READABLE: u32 = 4;

/// What an asynchronous call came to.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ringlane_event {
    /// `RINGLANE_EVENT_...`
    pub kind: u32,
    /// `RINGLANE_OK`, or what went wrong.
    pub status: ringlane_status,
    /// What the call was given.
    pub user_data: u64,
    /// `RINGLANE_RETRIABLE`, `RINGLANE_FATAL`, `RINGLANE_UNKNOWN_OUTCOME`.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// How many records, or the number of a question: the kind says.
    pub count: u64,
    /// For `ringlane_queue_error`; 0 if all is well.
    pub error_id: u64,
    /// Of one record that was sent.
    pub receipt: ringlane_receipt,
}

impl ringlane_event {
    fn new(kind: u32, user_data: u64) -> ringlane_event {
        let (status, receipt) = (RINGLANE_OK, ringlane_receipt::default());
        ringlane_event { kind, status, user_data, flags: 0, reserved: 0, count: 0, error_id: 0, receipt }
    }
}

/// Events of a batch: one for all its records, or one for each.
pub(crate) enum Each {
    Together(u64),
    Alone(Vec<u64>),
}

/// Sends whose outcome is known at one moment.
enum Group {
    Noted(NotedRecords),
    Batch(BatchHandle, Each),
}

#[derive(Default)]
struct Inner {
    /// Batches on their way, each with its number, which ascend. Single sends are noted in the engine.
    groups: VecDeque<(u64, Group)>,
    next_group: u64,
    /// Room of single sends that were given.
    spare: Vec<NoteRoom>,
    /// Groups whose outcome is there, in the order in which it came, and of the first one how many events were given.
    done: VecDeque<Group>,
    given: usize,
    events: VecDeque<ringlane_event>,
    errors: VecDeque<ringlane_error>,
    /// The number of the first of these.
    first_error: u64,
    /// The eventfd is readable.
    is_signalled: bool,
    /// Threads that wait in a drain.
    waiting: usize,
    /// The next drain that has nothing ends.
    is_woken: bool,
    checks: BTreeMap<u64, (HalfTransaction, Arc<Checks>)>,
    next_check: u64,
}

/// See the module.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    arrived: Condvar,
    /// Set while the others are locked; looked at also by who sends, without a lock.
    is_closed: AtomicBool,
    /// An eventfd.
    fd: i32,
}

/// The queue of a handle.
pub(crate) type QueueObject = Arc<Queue>;

/// Who is told when a group has its outcome.
struct GroupWaker {
    queue: Weak<Queue>,
    group: u64,
}

impl Wake for GroupWaker {
    fn wake(self: Arc<Self>) {
        if let Some(queue) = self.queue.upgrade() {
            queue.group_is_done(self.group, &Waker::from(self));
        }
    }
}

impl Queue {
    fn new() -> Result<Queue> {
        // SAFETY: a call without pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            let error = std::io::Error::last_os_error();
            return Err(Failure::Engine(Error::Io(engine::IoFailure::new("make", "an eventfd", None, &error))));
        }
        let inner = Inner { next_group: 1, next_check: 1, first_error: 1, ..Inner::default() };
        Ok(Queue { inner: Mutex::new(inner), arrived: Condvar::new(), is_closed: AtomicBool::new(false), fd })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Whether it still takes anything.
    pub(crate) fn check_open(&self) -> Result<()> {
        match self.is_closed() {
            true => Err(Failure::Engine(Error::Closed { what: "the queue" })),
            false => Ok(()),
        }
    }

    /// Records were sent in one hand-over.
    pub(crate) fn batch_sent(self: &Arc<Self>, handle: BatchHandle, each: Each) {
        if handle.is_empty() && matches!(each, Each::Alone(_)) {
            // One event for each of no records.
            return;
        }
        let mut inner = self.lock();
        let number = inner.next_group;
        inner.next_group += 1;
        let waker = Waker::from(Arc::new(GroupWaker { queue: Arc::downgrade(self), group: number }));
        // Registered before anybody can look: who completes it finds the group, for that takes the lock.
        let is_on_its_way = handle.wake_when_done(&waker);
        let group = Group::Batch(handle, each);
        match is_on_its_way {
            true => inner.groups.push_back((number, group)),
            false => {
                inner.done.push_back(group);
                self.signal(inner);
            }
        }
    }

    /// On a lane: a group has its outcome, or the part of it that was waited for.
    fn group_is_done(&self, number: u64, waker: &Waker) {
        let mut inner = self.lock();
        let Ok(at) = inner.groups.binary_search_by_key(&number, |(number, _)| *number) else { return };
        if let Group::Batch(handle, _) = &inner.groups[at].1
            && handle.wake_when_done(waker)
        {
            return;
        }
        if let Some((_, group)) = inner.groups.remove(at) {
            inner.done.push_back(group);
            self.signal(inner);
        }
    }

    /// Something else has happened.
    pub(crate) fn push(&self, kind: u32, user_data: u64, count: u64) {
        let mut inner = self.lock();
        if !self.is_closed() {
            inner.events.push_back(ringlane_event { count, ..ringlane_event::new(kind, user_data) });
            self.signal(inner);
        }
    }

    /// There is an event: who waits is told.
    fn signal(&self, mut inner: MutexGuard<'_, Inner>) {
        if !std::mem::replace(&mut inner.is_signalled, true) {
            // SAFETY: it writes eight bytes to a descriptor of our own, which does not block.
            unsafe { libc::eventfd_write(self.fd, 1) };
        }
        if inner.waiting > 0 {
            self.arrived.notify_all();
        }
    }

    /// Gives up to `count_max` events to `give`; waits for the first one up to `timeout`.
    fn drain(
        &self,
        count_max: usize,
        timeout: Duration,
        mut give: impl FnMut(usize, &ringlane_event),
    ) -> Result<usize> {
        if count_max == 0 {
            return Err(Failure::argument("count_max", "0 events would never end"));
        }
        let deadline = Instant::now().checked_add(timeout);
        let mut inner = self.lock();
        while inner.is_empty() && !timeout.is_zero() && !self.is_closed() && !inner.is_woken {
            let left = deadline.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            inner.waiting += 1;
            inner = self.arrived.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            inner.waiting -= 1;
        }
        let mut count = 0;
        while count < count_max
            && let Some(event) = inner.next_event()
        {
            give(count, &event);
            count += 1;
            if count.is_multiple_of(GIVEN_AT_ONCE) {
                // A lane that has news does not wait for all of it.
                drop(inner);
                inner = self.lock();
            }
        }
        let is_woken = count == 0 && !self.is_closed() && std::mem::take(&mut inner.is_woken);
        // Of one that is closed the descriptor stays readable: whoever else waits on it finds that out too.
        let is_quiet = inner.is_empty() && !self.is_closed() && !inner.is_woken;
        if is_quiet && std::mem::take(&mut inner.is_signalled) {
            let mut value = 0;
            // SAFETY: as above; the value is ours.
            unsafe { libc::eventfd_read(self.fd, &mut value) };
        }
        match count {
            0 if self.is_closed() => Err(Failure::Engine(Error::Closed { what: "the queue" })),
            0 if is_woken => Err(Failure::Own(RINGLANE_ERROR_WOKEN, "the wait was ended by a wakeup".to_owned())),
            count => Ok(count),
        }
    }

    /// Ends the wait of a thread that drains, or the next one.
    fn wake_up(&self) {
        let mut inner = self.lock();
        inner.is_woken = true;
        self.signal(inner);
    }

    fn close(&self) {
        let mut inner = self.lock();
        self.is_closed.store(true, Ordering::Release);
        let (groups, done) = (std::mem::take(&mut inner.groups), std::mem::take(&mut inner.done));
        let checks = std::mem::take(&mut inner.checks);
        (inner.given, inner.is_signalled) = (0, true);
        inner.events.clear();
        // SAFETY: it writes eight bytes to a descriptor of our own: whoever waits on it finds that it is closed.
        unsafe { libc::eventfd_write(self.fd, 1) };
        self.arrived.notify_all();
        drop(inner);
        checks.into_values().for_each(|(_, checks)| checks.give_up());
        drop((groups, done));
    }

    // ----- questions of checkers -----

    /// Asks the application; returns the question's number. `None`: nobody is there to answer.
    pub(crate) fn ask(&self, half: &HalfTransaction, checks: &Arc<Checks>, user_data: u64) -> Option<u64> {
        let mut inner = self.lock();
        if self.is_closed() {
            return None;
        }
        let check = inner.next_check;
        inner.next_check += 1;
        inner.checks.insert(check, (half.clone(), checks.clone()));
        let event = ringlane_event { count: check, ..ringlane_event::new(RINGLANE_EVENT_CHECK, user_data) };
        inner.events.push_back(event);
        self.signal(inner);
        Some(check)
    }

    /// A question is over.
    pub(crate) fn asked(&self, check: u64) {
        self.lock().checks.remove(&check);
    }

    pub(crate) fn question(&self, check: u64) -> Result<(HalfTransaction, Arc<Checks>)> {
        self.lock()
            .checks
            .get(&check)
            .cloned()
            .ok_or_else(|| Failure::argument("check", format_args!("question {check} was answered, or never asked")))
    }
}

impl OutcomeSink for Queue {
    fn room(&self) -> NoteRoom {
        self.lock().spare.pop().unwrap_or_default()
    }

    fn tell(&self, records: NotedRecords) {
        let mut inner = self.lock();
        if !self.is_closed() {
            inner.done.push_back(Group::Noted(records));
            self.signal(inner);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it is our own, and nobody has the queue any more.
        unsafe { libc::close(self.fd) };
    }
}

impl Inner {
    fn is_empty(&self) -> bool {
        self.done.is_empty() && self.events.is_empty()
    }

    fn next_event(&mut self) -> Option<ringlane_event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let at = self.given;
        let (event, outcome, is_last) = match self.done.front()? {
            Group::Noted(records) => {
                let (user_data, outcome) = records.outcome(at);
                let mut event = ringlane_event::new(RINGLANE_EVENT_SENT, user_data);
                let outcome = outcome.map(|receipt| event.receipt = ringlane_receipt::of(&receipt));
                (event, outcome.map_err(Failure::Engine), at + 1 == records.len())
            }
            Group::Batch(handle, Each::Together(user_data)) => {
                let mut event = ringlane_event::new(RINGLANE_EVENT_BATCH_SENT, *user_data);
                event.count = handle.len() as u64;
                (event, handle.wait_done().map_err(|first| Failure::of_batch(handle, first)), true)
            }
            Group::Batch(handle, Each::Alone(user_datas)) => {
                let mut events: Vec<_> = Vec::with_capacity(user_datas.len());
                for (outcome, user_data) in handle.outcomes().into_iter().zip(user_datas) {
                    let mut event = ringlane_event::new(RINGLANE_EVENT_SENT, *user_data);
                    let outcome = outcome.map(|receipt| event.receipt = ringlane_receipt::of(&receipt));
                    events.push((event, outcome.map_err(Failure::Engine)));
                }
                self.done.pop_front();
                for (event, outcome) in events {
                    let event = self.with_outcome(event, outcome);
                    self.events.push_back(event);
                }
                return self.events.pop_front();
            }
        };
        self.given = if is_last { 0 } else { at + 1 };
        if is_last
            && let Some(Group::Noted(records)) = self.done.pop_front()
            && self.spare.len() < SPARE_ROOMS_MAX
        {
            let room = records.into_room();
            if room.capacity() <= SPARE_SENDS_MAX {
                self.spare.push(room);
            }
        }
        Some(self.with_outcome(event, outcome))
    }

    fn with_outcome(&mut self, mut event: ringlane_event, outcome: Result<()>) -> ringlane_event {
        if let Err(failure) = outcome {
            (event.status, event.flags) = (failure.status(), failure.flags());
            event.error_id = self.keep_error(failure.describe());
        }
        event
    }
}

impl Inner {
    /// Keeps an error; returns its number.
    fn keep_error(&mut self, error: ringlane_error) -> u64 {
        let next = self.first_error + self.errors.len() as u64;
        // All records of a batch may be refused for one reason, or one for each lane: that is kept once.
        if let Some(back) = self.errors.iter().rev().take(ERRORS_NEAR).position(|kept| kept.is_same(&error)) {
            return next - 1 - back as u64;
        }
        self.errors.push_back(error);
        if self.errors.len() > ERRORS_MAX {
            self.errors.pop_front();
            self.first_error += 1;
        }
        next
    }
}

/// Questions of one checker that wait for their answers.
#[derive(Default)]
pub(crate) struct Checks {
    answers: Mutex<Answers>,
    answered: Condvar,
}

#[derive(Default)]
struct Answers {
    given: BTreeMap<u64, engine::CheckAnswer>,
    is_over: bool,
}

impl Checks {
    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody answers any more.
    pub(crate) fn give_up(&self) {
        self.lock().is_over = true;
        self.answered.notify_all();
    }

    pub(crate) fn answer(&self, check: u64, answer: engine::CheckAnswer) {
        self.lock().given.insert(check, answer);
        self.answered.notify_all();
    }

    pub(crate) fn wait(&self, check: u64, timeout: Duration) -> Option<engine::CheckAnswer> {
        let wait = |answers: &mut Answers| !answers.is_over && !answers.given.contains_key(&check);
        let waited = self.answered.wait_timeout_while(self.lock(), timeout, wait);
        waited.unwrap_or_else(PoisonError::into_inner).0.given.remove(&check)
    }
}

/// A completion queue. One may serve any number of producers, consumers and engines; several threads may drain it.
///
/// Threads: any; so are all calls of it. Errors: `IO` (no descriptor is left).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_queue_new(
    queue: *mut *mut ringlane_queue,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            check_out("queue", queue)?;
            put("queue", queue, handle_of(Arc::new(Queue::new()?))?)
        })
    }
}

/// A descriptor that is readable as long as the queue has events, for poll, epoll and their like. It belongs to the queue:
/// do not read it, and do not close it.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_queue_fd(
    queue: *const ringlane_queue,
    fd: *mut i32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe { call(error, || put("fd", fd, held::<QueueObject>(queue)?.fd)) }
}

/// Takes events out of a queue, up to `count_max`, into an array whose elements are `stride` apart; waits up to
/// `timeout_ms` for the first one (0: not at all; negative: for ever). `count` is how many there were, 0 after the time.
///
/// Blocks up to `timeout_ms`. Threads: any. Errors: `CLOSED` (the queue is), `WOKEN`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_queue_drain(
    queue: *const ringlane_queue,
    events: *mut ringlane_event,
    stride: usize,
    count_max: usize,
    timeout_ms: i64,
    count: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let queue = held::<QueueObject>(queue)?;
            check_out("count", count)?;
            check_array("events", events, stride, count_max)?;
            let given = queue.drain(count_max, wait_of(timeout_ms), |at, event| put_at(events, stride, at, event))?;
            put("count", count, given)
        })
    }
}

/// A function of the application's that is given an event. The event is there until it returns. It must return: neither an
/// exception nor `longjmp` may leave it.
#[allow(non_camel_case_types)]
pub type ringlane_event_function = Option<unsafe extern "C" fn(context: *mut c_void, event: *const ringlane_event)>;

/// The same as `ringlane_queue_drain` for who wants a function called: `function` is given each event, with `context`, on
/// this thread and inside this call. It may make any call, also send, drain, close or free this queue; what was taken out
/// for it is given to it all the same. One call takes 4,096 events at most.
///
/// Blocks up to `timeout_ms`, and as long as the function takes. Threads: any. Errors: as `ringlane_queue_drain`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_queue_dispatch(
    queue: *const ringlane_queue,
    function: ringlane_event_function,
    context: *mut c_void,
    count_max: usize,
    timeout_ms: i64,
    count: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call; the function is the application's, and is given what it says.
    unsafe {
        call(error, || {
            let queue = held::<QueueObject>(queue)?;
            check_out("count", count)?;
            let function = function.ok_or_else(|| Failure::argument("function", "it is NULL"))?;
            check_size("count_max", count_max)?;
            // Taken out first: while the function runs nothing is locked.
            let mut events = Vec::new();
            queue.drain(count_max.min(DISPATCHED_MAX), wait_of(timeout_ms), |_, event| events.push(*event))?;
            events.iter().for_each(|event| function(context, event));
            put("count", count, events.len())
        })
    }
}

/// What went wrong with an event, by its `error_id`: the message, and figures. The last 1,024 of a queue are kept.
///
/// Threads: any. Errors: `INVALID_ARGUMENT` (it is not kept any more, or never was).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_queue_error(
    queue: *const ringlane_queue,
    error_id: u64,
    of_event: *mut ringlane_error,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let queue = held::<QueueObject>(queue)?;
            let inner = queue.lock();
            let at = error_id.checked_sub(inner.first_error).and_then(|at| usize::try_from(at).ok());
            let kept = at.and_then(|at| inner.errors.get(at));
            let kept = kept.ok_or_else(|| Failure::argument("error_id", format_args!("{error_id} is not kept")))?;
            check_out("of_event", of_event)?;
            std::ptr::copy_nonoverlapping(kept, of_event, 1);
            Ok(())
        })
    }
}

/// How many asynchronous sends have no event yet: groups of records that share their outcome count as one.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_queue_pending(
    queue: *const ringlane_queue,
    pending: *mut u64,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let queue = held::<QueueObject>(queue)?;
            let inner = queue.lock();
            put("pending", pending, (inner.groups.len() + inner.done.len() + inner.events.len()) as u64)
        })
    }
}

/// Ends the drain that waits in another thread, or the next one that finds nothing: it gets `WOKEN`. The descriptor becomes
/// readable until then.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_queue_wakeup(
    queue: *const ringlane_queue,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            held::<QueueObject>(queue)?.wake_up();
            Ok(())
        })
    }
}

/// Closes a queue: its events are dropped, threads that drain it get `CLOSED`, and its descriptor becomes readable. What
/// was sent goes its way. Closing again changes nothing.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_queue_close(
    queue: *const ringlane_queue,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            held::<QueueObject>(queue)?.close();
            Ok(())
        })
    }
}

/// Frees a queue, and closes it. NULL is ignored.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_queue_free(
    queue: *mut ringlane_queue,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe { end_and_free::<QueueObject>(queue, error, |queue| queue.close()) }
}

/// Most bytes of a transaction's id, with the zero at its end.
pub const RINGLANE_TRANSACTION_ID_BYTES: usize = 136;

/// A transaction that a checker is asked of.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ringlane_check {
    /// `sizeof(ringlane_check)`, set by the application.
    pub struct_size: u32,
    /// How often the answer was `RINGLANE_CHECK_UNKNOWN`, in this opening.
    pub unknown: u32,
    /// When it was prepared, ms since 1970-01-01 UTC.
    pub prepared_ms: i64,
    /// Its records.
    pub records: u64,
    /// Its id, with a zero at its end.
    pub id: [c_char; RINGLANE_TRANSACTION_ID_BYTES],
}

/// An answer: its local part is committed.
pub const RINGLANE_CHECK_COMMIT: i32 = 1;
/// An answer: its local part is not there, and never will be.
pub const RINGLANE_CHECK_ROLL_BACK: i32 = 2;
/// An answer: nobody can tell yet; ask again.
pub const RINGLANE_CHECK_UNKNOWN: i32 = 3;

/// What is asked with an event of the kind `RINGLANE_EVENT_CHECK`; `check` is its `count`.
///
/// Threads: any. Errors: `INVALID_ARGUMENT` (it was answered before, or nobody waits for the answer any more).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_check_describe(
    queue: *const ringlane_queue,
    check: u64,
    description: *mut ringlane_check,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call; no more is written than the application's struct has.
    unsafe {
        call(error, || {
            let (half, _) = held::<QueueObject>(queue)?.question(check)?;
            check_out("description", description)?;
            let size = (&raw const (*description).struct_size).read();
            check_array("description", description, size as usize, 1)?;
            let mut id = [0; RINGLANE_TRANSACTION_ID_BYTES];
            for (target, byte) in id.iter_mut().zip(half.id.as_bytes().iter().take(RINGLANE_TRANSACTION_ID_BYTES - 1)) {
                *target = *byte as c_char;
            }
            let (prepared_ms, records, unknown) = (half.prepared_ms, half.records, half.unknown);
            put_at(
                description,
                size as usize,
                0,
                &ringlane_check { struct_size: size, unknown, prepared_ms, records, id },
            );
            Ok(())
        })
    }
}

/// Answers a checker's question, `RINGLANE_CHECK_...`. The transaction is decided soon after; if somebody else has decided it
/// meanwhile, that stands.
///
/// Threads: any. Errors: `INVALID_ARGUMENT` (as `ringlane_check_describe`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_check_answer(
    queue: *const ringlane_queue,
    check: u64,
    answer: i32,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: as for every call.
    unsafe {
        call(error, || {
            let queue = held::<QueueObject>(queue)?;
            let answer = match answer {
                RINGLANE_CHECK_COMMIT => engine::CheckAnswer::Commit,
                RINGLANE_CHECK_ROLL_BACK => engine::CheckAnswer::RollBack,
                RINGLANE_CHECK_UNKNOWN => engine::CheckAnswer::Unknown,
                _ => return Err(Failure::argument("answer", format_args!("{answer} is none of RINGLANE_CHECK_..."))),
            };
            let (_, checks) = queue.question(check)?;
            queue.asked(check);
            checks.answer(check, answer);
            Ok(())
        })
    }
}
