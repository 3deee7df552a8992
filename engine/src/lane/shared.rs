//! What a lane shares with the rest of the process: its queue, how it sleeps, its counters.
//!
//! Invariants:
//! - Who pushes wakes: a message is never left behind while the lane sleeps. The pusher pushes, then
//!   looks at the sleep state; the lane announces its sleep, then looks at the queue (both SeqCst).
//! - Every message with a reply gets one, also when the engine fails or closes.

use super::acknowledged::Acknowledged;
use super::catalog::CatalogChange;
use super::cut::Cut;
use super::numbers::Last;
use super::progress::ProgressEntry;
use super::state::Unseen;
use super::steps::TransactionWork;
use super::supply::SegmentSupply;
use crate::error::{Error, Result};
use crate::io::{IoFailure, Latch, Wake};
use crate::log::position::{Identity, Position, Stretch};
use crate::producer::accumulator::Accumulator;
use crate::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU64, Ordering, fence};
use crate::sync::{Event, Mutex, lock, yield_now};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use std::sync::{Arc, OnceLock};

/// Messages that fit a lane's queue.
const QUEUE_MAX: usize = 4096;

const AWAKE: u8 = 0;
/// Any message is to wake the lane.
const ASLEEP: u8 = 1;
/// A write is in flight and small news can wait for it; a full batch is to wake the lane.
const ASLEEP_WRITING: u8 = 2;

/// The segment that is written has no records.
pub(crate) const NO_RECORDS: i64 = i64::MAX;

/// What a lane is asked to do.
pub(crate) enum Message {
    /// An accumulator has records.
    Ready(Arc<Accumulator>),
    /// Log 0 only: change the catalog, durably.
    Catalog { change: CatalogChange, reply: Answer },
    /// Forget the partitions of a deleted topic.
    DropSlots { slots: std::ops::Range<u32>, reply: Answer },
    /// Forget a producer that was deleted.
    ForgetProducer { producer: u32, reply: Answer },
    /// Tell how far a named producer has come in a partition. Answered when that is durable.
    LastSent { producer: u32, slot: u32, last: Arc<Mutex<Option<Last>>>, reply: Answer },
    /// List the numbers of a producer in a partition that are not visible. Answered when what was published of them is
    /// durable, and stands in the index.
    ListUnseen { producer: u32, slot: u32, list: Arc<Mutex<Unseen>>, reply: Answer },
    /// Say what was acknowledged of a partition. Answered when all of it is durable, and stands in the index.
    ListAcknowledged { topic: u32, slot: u32, list: Arc<Mutex<Acknowledged>>, reply: Answer },
    /// Note how far groups have come. With a reply: at once, and durably, with all that was noted before; else within the
    /// flush interval. Where the log has no room, the reply says so, and it is noted later all the same.
    Progress { entries: Vec<ProgressEntry>, reply: Option<Answer> },
    /// Take a step of a transaction. Answered when it is durable, but for records that are only withheld.
    Transact { work: Box<TransactionWork>, reply: Answer },
    /// Forget a group that was deleted.
    ForgetGroup { group: u32, reply: Answer },
    /// Take back a withheld record, durably.
    Cancel { identity: Identity, reply: Answer },
    /// Publish a withheld record now, with extra headers, durably.
    Publish { identity: Identity, extra_headers: Vec<u8>, reply: Answer },
    /// Give up the front of partitions, by slot, durably.
    Truncate { cuts: Vec<(u32, Cut)>, reply: Answer },
    /// Go on in another segment, if this one has records: so that they can be given up.
    Leave { reply: Answer },
    /// List the frames of a stretch of a log that this lane withholds. Answered when what it has published of the
    /// others is durable, and stands in the indexes.
    ListWithheld { log: u32, stretch: Stretch, list: Arc<Mutex<Vec<(Position, u32)>>>, reply: Answer },
    /// Reply when everything taken so far is durable.
    Sync { reply: Answer },
    /// Finish everything, write the closing mark, end.
    Close { reply: Answer },
}

impl Message {
    /// Answers with an error.
    pub(crate) fn refuse(self, error: &Error) {
        match self {
            Message::Catalog { reply, .. }
            | Message::DropSlots { reply, .. }
            | Message::ForgetProducer { reply, .. }
            | Message::LastSent { reply, .. }
            | Message::ForgetGroup { reply, .. }
            | Message::Transact { reply, .. }
            | Message::ListUnseen { reply, .. }
            | Message::ListAcknowledged { reply, .. }
            | Message::Cancel { reply, .. }
            | Message::Publish { reply, .. }
            | Message::Truncate { reply, .. }
            | Message::Leave { reply }
            | Message::ListWithheld { reply, .. }
            | Message::Sync { reply }
            | Message::Close { reply } => reply.set(Err(error.clone())),
            Message::Progress { reply, .. } => {
                if let Some(reply) = reply {
                    reply.set(Err(error.clone()));
                }
            }
            Message::Ready(accumulator) => accumulator.refuse_all(error),
        }
    }
}

/// An answer that somebody waits for.
pub(crate) struct Reply {
    event: Event,
    value: Mutex<Option<Result<()>>>,
}

/// The answering end of a [`Reply`]. Dropped without an answer (its lane broke down), it answers that
/// the outcome is unknown: nobody waits for ever.
pub(crate) struct Answer(Arc<Reply>);

impl Reply {
    /// Both ends.
    pub(crate) fn pair() -> (Answer, Arc<Reply>) {
        let reply = Arc::new(Reply { event: Event::new(), value: Mutex::new(None) });
        (Answer(reply.clone()), reply)
    }

    /// Whether the answer is there.
    pub(crate) fn is_there(&self) -> bool {
        self.event.is_set()
    }

    pub(crate) fn wait(&self) -> Result<()> {
        self.event.wait();
        lock(&self.value).take().expect("a reply is taken once")
    }

    /// Waits for the answer and leaves it there: several may wait so.
    pub(crate) fn wait_shared(&self) -> Result<()> {
        self.event.wait();
        lock(&self.value).clone().expect("nobody has taken it")
    }
}

impl Answer {
    pub(crate) fn set(self, value: Result<()>) {
        self.0.fill(value);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.fill(Err(Error::UnknownOutcome { reason: "the lane that had it in hand broke down".to_owned() }));
    }
}

impl Reply {
    /// The first value stays.
    fn fill(&self, value: Result<()>) {
        {
            let mut held = lock(&self.value);
            if self.event.is_set() {
                return;
            }
            *held = Some(value);
        }
        self.event.set();
    }
}

/// Counters of a lane; written by the lane, read by anybody.
#[derive(Default)]
pub(crate) struct LaneCounters {
    pub(crate) groups: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) payload_bytes: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) prepared_bytes: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) wakeups: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) strategy_changes: AtomicU64,
    pub(crate) strategy: AtomicU8,
    /// Niceness of the lane's thread.
    pub(crate) nice: AtomicI32,
    pub(crate) in_flight: AtomicU64,
    pub(crate) tail: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) withheld_records: AtomicU64,
    pub(crate) segment_waits: AtomicU64,
    pub(crate) streaming: AtomicBool,
    /// Groups by size: entry n counts groups of 2^n up to 2^(n+1) records.
    pub(crate) group_size_log2: [AtomicU64; 24],
    /// Why writes left: nothing in flight, or enough waiting.
    pub(crate) left_idle: AtomicU64,
    pub(crate) left_full: AtomicU64,
}

/// Adds to a counter that only the lane writes.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// See the module.
pub(crate) struct LaneShared {
    pub(crate) lane: u32,
    pub(crate) log: u32,
    queue: CachePadded<ArrayQueue<Message>>,
    sleep: CachePadded<AtomicU8>,
    waker: OnceLock<Arc<dyn Wake>>,
    pub(crate) latch: Latch,
    pub(crate) closed: AtomicBool,
    /// When the first record of the segment that is written was appended, withheld ones too, ms; or [`NO_RECORDS`].
    pub(crate) records_since_ms: AtomicI64,
    ended: AtomicBool,
    pub(crate) counters: LaneCounters,
    pub(crate) supply: SegmentSupply,
}

impl LaneShared {
    pub(crate) fn new(lane: u32, log: u32, latch: Latch, supply: SegmentSupply) -> LaneShared {
        LaneShared {
            lane,
            log,
            queue: CachePadded::new(ArrayQueue::new(QUEUE_MAX)),
            sleep: CachePadded::new(AtomicU8::new(AWAKE)),
            waker: OnceLock::new(),
            latch,
            closed: AtomicBool::new(false),
            records_since_ms: AtomicI64::new(NO_RECORDS),
            ended: AtomicBool::new(false),
            counters: LaneCounters::default(),
            supply,
        }
    }

    /// Whether the segment that is written has records.
    pub(crate) fn has_records(&self) -> bool {
        self.records_since_ms.load(Ordering::Acquire) != NO_RECORDS
    }

    /// Whether the lane still accepts anything.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.latch.check().map_err(poisoned)?;
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed { what: "the engine" }) } else { Ok(()) }
    }

    /// Puts a message into the queue and wakes the lane if it sleeps.
    pub(crate) fn push(&self, message: Message) {
        let mut message = message;
        while let Err(back) = self.queue.push(message) {
            message = back;
            if self.ended.load(Ordering::SeqCst) {
                self.refuse_rest();
            }
            self.wake();
            yield_now();
        }
        fence(Ordering::SeqCst);
        if self.sleep.load(Ordering::SeqCst) == ASLEEP {
            self.wake();
        }
        if self.ended.load(Ordering::SeqCst) {
            self.refuse_rest();
        }
    }

    /// Sends a message that is answered, and waits for the answer.
    pub(crate) fn ask(&self, message: impl FnOnce(Answer) -> Message) -> Result<()> {
        let (answer, reply) = Reply::pair();
        self.push(message(answer));
        reply.wait()
    }

    /// For the lane: it has ended; what still comes is refused by whoever brings it.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.refuse_rest();
    }

    fn refuse_rest(&self) {
        let error = self.latch.check().map_err(poisoned).err().unwrap_or(Error::Closed { what: "the engine" });
        while let Some(message) = self.queue.pop() {
            message.refuse(&error);
        }
    }

    /// A full batch is there: worth a wake even while a write is in flight.
    pub(crate) fn wake_for_bulk(&self) {
        fence(Ordering::SeqCst);
        if self.sleep.load(Ordering::SeqCst) != AWAKE {
            self.wake();
        }
    }

    /// Wakes the lane whatever it does.
    pub(crate) fn wake(&self) {
        if self.sleep.swap(AWAKE, Ordering::SeqCst) != AWAKE
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
    }

    /// Wakes the lane, or keeps it from its next sleep. For news that do not stand in the queue, which is
    /// all that the lane looks at before it sleeps: a new segment, a failure elsewhere.
    pub(crate) fn nudge(&self) {
        self.sleep.store(AWAKE, Ordering::SeqCst);
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// For the lane: the next message.
    pub(crate) fn pop(&self) -> Option<Message> {
        self.queue.pop()
    }

    pub(crate) fn set_waker(&self, waker: Arc<dyn Wake>) {
        let _ = self.waker.set(waker);
    }

    /// For the lane: announces that it is about to sleep. `false`: there is news, do not.
    pub(crate) fn fall_asleep(&self, writing: bool) -> bool {
        self.sleep.store(if writing { ASLEEP_WRITING } else { ASLEEP }, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    /// For the lane: it is awake.
    pub(crate) fn wake_up(&self) {
        self.sleep.store(AWAKE, Ordering::SeqCst);
    }
}

/// The error of calls after the first failure.
pub(crate) fn poisoned(cause: IoFailure) -> Error {
    Error::Poisoned { cause }
}
