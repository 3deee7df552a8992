//! The ring on io_uring.
//!
//! Invariants:
//! - The kernel only gets memory that a slot keeps alive: a slot holds its write (file, block, tail)
//!   and its vectors until every request made for it is answered. Slots never move.
//! - A dropped ring first waits for all that is in flight. If the kernel refuses even that, the
//!   slots are leaked: memory is lost rather than given back while the kernel reads it.
//! - Every slot has room in the submission queue for its two requests, and the completion queue is
//!   twice as large, so neither overflows.
//! - A blocking write runs only while nothing is in flight.
//! - In steady state nothing is allocated.
//!
//! Sleeping: with nothing in flight the lane sleeps on its doorbell's futex; with something in
//! flight, in io_uring_enter, where a poll of the doorbell's eventfd is armed. The poll is a
//! multishot one where the kernel has it (5.13): armed once, it needs neither a read nor a request
//! per wake-up, and it needs no buffer that could outlive the ring.

use super::blocking::{BlockingWriter, Job, descriptor};
use super::doorbell::Doorbell;
use super::selector::{Choice, Load, RingUse, StrategySelector};
use super::transfer::{Flushing, Next, Part, Step, Transfer, rest};
use super::{Clock, Completion, File, Ring, RingCounters, Wait, Wake, Write, WriteStrategy};
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

const PART_WRITE: u64 = 0;
const PART_SYNC: u64 = 1;
const PART_DOORBELL: u64 = 2;
const PART_BITS: u32 = 2;

/// How often in a row io_uring_enter may say that it lacks memory.
const EXHAUSTED_MAX: u32 = 1_000;

/// See the module.
pub(super) struct UringRing {
    ring: IoUring,
    slots: Box<[Slot]>,
    free: Vec<u32>,
    queued: VecDeque<Job>,
    /// Bytes of all writes that are queued or in a slot.
    bytes_under_way: usize,
    /// Slots that hold durable writes.
    durable_in_flight: usize,
    doorbell: Arc<Doorbell>,
    poll: Poll,
    clock: Arc<dyn Clock>,
    writer: BlockingWriter,
    direct: bool,
    selector: StrategySelector,
    counters: RingCounters,
    exhausted: u32,
    closing: bool,
}

/// The state of the poll of the doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Poll {
    armed: bool,
    multishot: bool,
}

/// Place for one operation, with the vectors that the kernel reads when it takes the request.
struct Slot {
    operation: Option<Operation>,
    vectors: [libc::iovec; 2],
}

struct Operation {
    job: Job,
    transfer: Transfer,
    /// For durable writes: what was chosen, to be measured.
    choice: Option<Choice>,
    started_ns: u64,
}

// SAFETY: the vectors point into blocks that the operation owns, and blocks may be sent; the ring
// itself is only used through `&mut self`.
unsafe impl Send for UringRing {}

/// How a kernel was persuaded to set up a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetupLevel {
    /// One issuer, completions run when the lane asks for them (6.1).
    Deferred,
    /// Completions never interrupt the lane (5.19).
    Cooperative,
    /// No wishes.
    Basic,
}

impl SetupLevel {
    /// The level in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            SetupLevel::Deferred => "single issuer, deferred task work",
            SetupLevel::Cooperative => "cooperative task work",
            SetupLevel::Basic => "basic setup, the kernel is old",
        }
    }
}

/// Sets up a ring, asking for less until the kernel agrees. The error is that of the last try.
pub(super) fn setup(entries: u32) -> io::Result<(IoUring, SetupLevel)> {
    let deferred = build(entries, SetupLevel::Deferred);
    let (ring, level) = match deferred {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => match build(entries, SetupLevel::Cooperative) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                (build(entries, SetupLevel::Basic)?, SetupLevel::Basic)
            }
            result => (result?, SetupLevel::Cooperative),
        },
        result => (result?, SetupLevel::Deferred),
    };
    check_features(&ring)?;
    Ok((ring, level))
}

/// The same for a ring that is used by one thread now and by another later.
pub(super) fn setup_for_any_thread(entries: u32) -> io::Result<IoUring> {
    let ring = match build(entries, SetupLevel::Cooperative) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build(entries, SetupLevel::Basic)?,
        result => result?,
    };
    check_features(&ring)?;
    Ok(ring)
}

fn check_features(ring: &IoUring) -> io::Result<()> {
    let features = ring.params();
    if !features.is_feature_ext_arg() || !features.is_feature_submit_stable() || !features.is_feature_nodrop() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel's io_uring is older than 5.11"));
    }
    Ok(())
}

fn build(entries: u32, level: SetupLevel) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp();
    match level {
        SetupLevel::Deferred => {
            builder.setup_submit_all().setup_taskrun_flag().setup_single_issuer().setup_defer_taskrun();
        }
        SetupLevel::Cooperative => {
            builder.setup_submit_all().setup_taskrun_flag().setup_coop_taskrun();
        }
        SetupLevel::Basic => {}
    }
    builder.build(entries)
}

impl UringRing {
    /// A ring for the calling thread. `direct` and `writer` say how files are written here,
    /// `selector` which strategies may be used.
    pub(super) fn new(
        entries: u32,
        clock: Arc<dyn Clock>,
        direct: bool,
        writer: BlockingWriter,
        selector: StrategySelector,
    ) -> io::Result<UringRing> {
        let (ring, _) = setup(entries.clamp(8, 4096))?;
        // Two requests for each slot, and one for the doorbell.
        let slots = (ring.params().sq_entries() as usize - 1) / 2;
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Ok(UringRing {
            ring,
            slots: (0..slots).map(|_| Slot { operation: None, vectors: [empty; 2] }).collect(),
            free: (0..slots as u32).rev().collect(),
            queued: VecDeque::with_capacity(slots),
            bytes_under_way: 0,
            durable_in_flight: 0,
            doorbell: Arc::new(Doorbell::with_event()?),
            poll: Poll { armed: false, multishot: true },
            clock,
            writer,
            direct,
            selector,
            counters: RingCounters::default(),
            exhausted: 0,
            closing: false,
        })
    }

    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Hands on what is queued: to a free slot, or, if that is best, through a blocking call.
    fn launch(&mut self, completions: &mut Vec<Completion>) {
        while !self.free.is_empty()
            && let Some(job) = self.queued.front()
        {
            let choice = match job {
                Job::Write(write) if write.durable => {
                    let bytes = write.total_length();
                    let load = Load { bytes, others: self.bytes_under_way - bytes, ring: self.ring_use() };
                    match self.selector.choose(load) {
                        Some(choice) => Some(choice),
                        None => return,
                    }
                }
                _ => None,
            };
            match (self.queued.pop_front(), choice) {
                (Some(Job::Write(write)), Some(choice)) if choice.strategy == WriteStrategy::Blocking => {
                    self.write_blocking(write, choice, completions);
                }
                (Some(job), choice) => self.occupy(job, choice, completions),
                (None, _) => unreachable!("it was just seen"),
            }
        }
    }

    fn ring_use(&self) -> RingUse {
        match self.in_flight() {
            0 => RingUse::Idle,
            all if all == self.durable_in_flight => RingUse::Durable,
            _ => RingUse::Mixed,
        }
    }

    /// Writes, and with it what is queued behind and can share its flush.
    fn write_blocking(&mut self, write: Write, choice: Choice, completions: &mut Vec<Completion>) {
        assert_eq!(self.in_flight(), 0, "a blocking write would hold up what is in flight");
        let started_ns = self.clock.monotonic_ns();
        let UringRing { writer, queued, counters, bytes_under_way, .. } = self;
        let (mut succeeded, mut writes) = (true, 0);
        writer.write_group(write, queued, |write, result| {
            *bytes_under_way -= write.total_length();
            succeeded &= result.is_ok();
            writes += 1;
            count(counters, &write, &result);
            completions.push(Completion { token: write.token, result });
        });
        counters.flushes += 1;
        if succeeded {
            self.selector.record(choice, writes, self.clock.monotonic_ns().saturating_sub(started_ns));
        }
    }

    /// Puts `job` into a slot and makes its first request.
    fn occupy(&mut self, job: Job, choice: Option<Choice>, completions: &mut Vec<Completion>) {
        let (token, file, bytes) = match &job {
            Job::Write(write) => (write.token, &write.file, write.total_length()),
            Job::Flush { token, file } => (*token, file, 0),
        };
        if let Err(error) = descriptor(&**file) {
            self.bytes_under_way -= bytes;
            completions.push(Completion { token, result: Err(error) });
            return;
        }
        let transfer = match &job {
            Job::Write(_) => Transfer::write(bytes, flushing(choice), self.direct),
            Job::Flush { .. } => Transfer::flush(),
        };
        let next = transfer.start();
        let slot = self.free.pop().expect("the caller saw a free slot");
        let started_ns = self.clock.monotonic_ns();
        self.durable_in_flight += usize::from(choice.is_some());
        self.slots[slot as usize].operation = Some(Operation { job, transfer, choice, started_ns });
        self.request(slot, next);
    }

    /// Makes the requests of one step.
    fn request(&mut self, slot: u32, next: Next) {
        let place = &mut self.slots[slot as usize];
        let operation = place.operation.as_mut().expect("a request is made for an operation");
        operation.transfer.started(next);
        let user_data = u64::from(slot) << PART_BITS;
        let (file, sync_follows) = match (&operation.job, next) {
            (Job::Flush { file, .. }, _) | (Job::Write(Write { file, .. }), Next::Sync) => (file, true),
            (Job::Write(Write { file, .. }), Next::Write) => (file, operation.transfer.flushing() == Flushing::Linked),
        };
        let fd = Fd(file.descriptor().expect("checked when the slot was occupied"));
        let mut submission = self.ring.submission();
        if next == Next::Write {
            let entry = write_entry(fd, operation, &mut place.vectors).user_data(user_data | PART_WRITE);
            let entry = if sync_follows { entry.flags(squeue::Flags::IO_LINK) } else { entry };
            self.counters.flushes += u64::from(operation.transfer.flushing() == Flushing::WithWrite);
            // SAFETY: the entry's memory belongs to the operation in the slot or is the slot's own,
            // and both stay until the answer is there.
            unsafe { submission.push(&entry) }.expect("every slot has room for its requests");
        }
        if sync_follows {
            self.counters.flushes += 1;
            let entry = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build().user_data(user_data | PART_SYNC);
            // SAFETY: a flush passes no memory.
            unsafe { submission.push(&entry) }.expect("every slot has room for its requests");
        }
    }

    /// Arms the poll of the doorbell, if it is not.
    fn arm(&mut self) {
        if !self.poll.armed {
            let fd = Fd(self.doorbell.event());
            let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(self.poll.multishot).build();
            // SAFETY: a poll passes no memory.
            let pushed = unsafe { self.ring.submission().push(&entry.user_data(PART_DOORBELL)) };
            pushed.expect("one entry is kept for the doorbell");
            self.poll.armed = true;
        }
    }

    /// Submits, and waits for `want` completions or the end of `timeout`. What happened is seen by
    /// looking: interruptions and timeouts are no errors.
    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        if want == 0 {
            let submission = self.ring.submission();
            if submission.is_empty() && !submission.taskrun() && !submission.cq_overflow() {
                return Ok(());
            }
        }
        let result = match timeout {
            None => self.ring.submitter().submit_and_wait(want),
            Some(timeout) => {
                let time = Timespec::from(timeout);
                self.ring.submitter().submit_with_args(want, &SubmitArgs::new().timespec(&time))
            }
        };
        match result {
            Ok(_) => self.exhausted = 0,
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::ETIME) => {}
                // The kernel wants completions reaped, or lacks memory for requests just now.
                Some(libc::EAGAIN | libc::EBUSY) if self.exhausted < EXHAUSTED_MAX => {
                    self.exhausted += 1;
                    std::thread::sleep(Duration::from_micros(100));
                }
                _ => return Err(error),
            },
        }
        Ok(())
    }

    /// Takes all answers that are there; `true` if the doorbell was among them.
    fn reap(&mut self, completions: &mut Vec<Completion>) -> bool {
        let mut rung = false;
        while let Some(entry) = { self.ring.completion().next() } {
            let part = match entry.user_data() & ((1 << PART_BITS) - 1) {
                PART_WRITE => Part::Write,
                PART_SYNC => Part::Sync,
                _ => {
                    rung = true;
                    self.doorbell_answered(&entry);
                    continue;
                }
            };
            self.answered((entry.user_data() >> PART_BITS) as u32, part, entry.result(), completions);
        }
        rung
    }

    fn doorbell_answered(&mut self, entry: &cqueue::Entry) {
        if cqueue::more(entry.flags()) {
            return;
        }
        self.poll.armed = false;
        if entry.result() < 0 {
            self.poll.multishot = false;
        }
        // A poll that is armed anew would find the old rings.
        self.doorbell.drain_event();
    }

    fn answered(&mut self, slot: u32, part: Part, result: i32, completions: &mut Vec<Completion>) {
        let place = &mut self.slots[slot as usize];
        let operation = place.operation.as_mut().expect("an answer belongs to an operation");
        match operation.transfer.answer(part, result) {
            Step::Wait => {}
            Step::Go(next) if !self.closing => self.request(slot, next),
            Step::Go(_) => self.finish(slot, Ok(()), completions),
            Step::Done(result) => self.finish(slot, result, completions),
        }
    }

    /// Empties a slot; from here on the kernel has no part of it.
    fn finish(&mut self, slot: u32, result: io::Result<()>, completions: &mut Vec<Completion>) {
        let operation = self.slots[slot as usize].operation.take().expect("only what runs can finish");
        self.free.push(slot);
        self.durable_in_flight -= usize::from(operation.choice.is_some());
        let token = match &operation.job {
            Job::Write(write) => {
                self.bytes_under_way -= write.total_length();
                count(&mut self.counters, write, &result);
                write.token
            }
            Job::Flush { token, .. } => *token,
        };
        if let Some(choice) = operation.choice
            && result.is_ok()
        {
            self.selector.record(choice, 1, self.clock.monotonic_ns().saturating_sub(operation.started_ns));
        }
        completions.push(Completion { token, result });
    }

    /// Sleeps in the ring until something is complete, the doorbell rings or the time is over.
    fn sleep_in_ring(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let before = completions.len();
        loop {
            let timeout = match wait {
                Wait::No => return Ok(()),
                Wait::Forever => None,
                Wait::Until(deadline) => match deadline.saturating_sub(self.clock.monotonic_ns()) {
                    0 => return Ok(()),
                    left => Some(Duration::from_nanos(left)),
                },
            };
            self.arm();
            let entered = match self.doorbell.lie_down_in_ring() {
                true => self.enter(1, timeout),
                false => self.enter(0, None),
            };
            let rung = self.doorbell.rise();
            entered?;
            let rung = self.reap(completions) || rung;
            if rung || completions.len() > before {
                return Ok(());
            }
        }
    }
}

impl Ring for UringRing {
    fn write(&mut self, write: Write) {
        self.bytes_under_way += write.total_length();
        self.queued.push_back(Job::Write(write));
    }

    fn flush(&mut self, token: u64, file: &Arc<dyn File>) {
        self.queued.push_back(Job::Flush { token, file: file.clone() });
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let before = completions.len();
        self.launch(completions);
        if self.in_flight() == 0 {
            if completions.len() == before {
                self.doorbell.wait(&*self.clock, wait);
            }
            return Ok(());
        }
        let over = match wait {
            Wait::No => true,
            Wait::Until(deadline) => deadline <= self.clock.monotonic_ns(),
            Wait::Forever => false,
        };
        if completions.len() == before && !over {
            self.sleep_in_ring(wait, completions)?;
        } else {
            self.enter(0, None)?;
            self.reap(completions);
        }
        // Answers may have freed slots or asked for a next step; neither should wait for a turn.
        self.launch(completions);
        self.enter(0, None)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.doorbell.clone()
    }

    fn counters(&self) -> RingCounters {
        RingCounters {
            strategy: self.selector.current(),
            strategy_changes: self.selector.changes(),
            stalls: self.selector.stalls(),
            ..self.counters
        }
    }
}

impl Drop for UringRing {
    fn drop(&mut self) {
        self.closing = true;
        let mut completions = Vec::new();
        while self.in_flight() > 0 {
            if self.enter(1, None).is_err() {
                // The kernel may still read the memory, and there is no way left to learn when it
                // stops.
                std::mem::forget(std::mem::take(&mut self.slots));
                return;
            }
            self.reap(&mut completions);
        }
    }
}

fn flushing(choice: Option<Choice>) -> Flushing {
    match choice.map(|choice| choice.strategy) {
        None => Flushing::None,
        Some(WriteStrategy::RingDsync | WriteStrategy::Blocking) => Flushing::WithWrite,
        Some(WriteStrategy::RingLinkedSync) => Flushing::Linked,
        Some(WriteStrategy::RingSeparateSync) => Flushing::After,
    }
}

fn count(counters: &mut RingCounters, write: &Write, result: &io::Result<()>) {
    if result.is_ok() {
        counters.writes += 1;
        counters.bytes += write.total_length() as u64;
    }
}

/// The request for what is left of a write.
fn write_entry(fd: Fd, operation: &Operation, vectors: &mut [libc::iovec; 2]) -> squeue::Entry {
    let Job::Write(write) = &operation.job else { unreachable!("a flush writes nothing") };
    let written = operation.transfer.written();
    let offset = write.offset + written as u64;
    let flags = if operation.transfer.flushing() == Flushing::WithWrite { libc::RWF_DSYNC } else { 0 };
    let (parts, count) = rest(write, written);
    if count == 1 {
        let length = u32::try_from(parts[0].len()).expect("a block is far smaller than 4 GiB");
        return opcode::Write::new(fd, parts[0].as_ptr(), length).offset(offset).rw_flags(flags).build();
    }
    for (vector, part) in vectors.iter_mut().zip(parts) {
        *vector = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
    }
    opcode::Writev::new(fd, vectors.as_ptr(), count as u32).offset(offset).rw_flags(flags).build()
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Scratch, finish, open, pattern, read_back, write};
    use super::super::{Access, Backend, Block, PAGE, Storage, SystemClock};
    use super::*;

    fn ring(direct: bool, strategy: Option<WriteStrategy>, dsync: bool) -> Option<UringRing> {
        let clock = Arc::new(SystemClock::new());
        let writer = BlockingWriter::new(direct, dsync);
        UringRing::new(8, clock, direct, writer, StrategySelector::new(strategy, dsync)).ok()
    }

    /// Closes a page for the kernel while it exists, so that a write that reaches it is short.
    struct Closed<'a>(&'a [u8]);

    impl<'a> Closed<'a> {
        fn new(page: &'a [u8]) -> Closed<'a> {
            Closed::protect(page, libc::PROT_NONE);
            Closed(page)
        }

        fn protect(page: &[u8], protection: i32) {
            // SAFETY: a whole page that only this test uses; it is opened again before anybody reads.
            let result = unsafe { libc::mprotect(page.as_ptr().cast_mut().cast(), page.len(), protection) };
            assert_eq!(result, 0);
        }
    }

    impl Drop for Closed<'_> {
        fn drop(&mut self) {
            Closed::protect(self.0, libc::PROT_READ | libc::PROT_WRITE);
        }
    }

    /// The story of a short linked write, with a real kernel: the second page cannot be read at first,
    /// so the write is short and its flush is cancelled; then the page can be read, and the rest and a
    /// flush must follow.
    #[test]
    fn a_short_write_is_continued_and_flushed() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::PlainBuffered, None).unwrap();
        for strategy in [WriteStrategy::RingLinkedSync, WriteStrategy::RingSeparateSync, WriteStrategy::RingDsync] {
            let Some(mut ring) = ring(false, Some(strategy), true) else { return };
            let file = directory.open("short", Access::Create).unwrap();
            let bytes = pattern(2 * PAGE, 9);
            let write = write(1, &file, 0, &bytes, true, true);
            let tail = write.tail.clone().unwrap();
            let closed = Closed::new(tail.slice(0, PAGE));
            ring.write(write);
            let mut completions = Vec::new();
            ring.launch(&mut completions);
            // The answers are there, and not yet looked at, when the page is opened.
            let answers = if strategy == WriteStrategy::RingLinkedSync { 2 } else { 1 };
            ring.enter(answers, None).unwrap();
            assert_eq!(ring.ring.completion().len(), answers);
            drop(closed);
            assert_eq!(finish(&mut ring, 1), [1], "{strategy}");
            assert_eq!(read_back(&file, 0, 2 * PAGE), bytes, "{strategy}");
            // Apart, the flush only starts when all is written; together with the write or linked to
            // it, the first one covered half.
            let flushes = if strategy == WriteStrategy::RingSeparateSync { 1 } else { 2 };
            assert_eq!(ring.counters().flushes, flushes, "{strategy}");
            assert_eq!(ring.in_flight(), 0);
            directory.remove("short").unwrap();
        }
    }

    /// The second page stays closed: the rest of the write fails, and the error is the write's.
    #[test]
    fn a_short_write_whose_rest_fails_is_an_error() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::PlainBuffered, None).unwrap();
        for strategy in WriteStrategy::ALL {
            let Some(mut ring) = ring(false, Some(strategy), true) else { return };
            let file = directory.open("short", Access::Create).unwrap();
            let write = write(1, &file, 0, &pattern(2 * PAGE, 9), true, true);
            let tail = write.tail.clone().unwrap();
            let _closed = Closed::new(tail.slice(0, PAGE));
            ring.write(write);
            let mut completions = Vec::new();
            while completions.is_empty() {
                ring.turn(Wait::Forever, &mut completions).unwrap();
            }
            let error = completions[0].result.as_ref().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EFAULT), "{strategy}");
            directory.remove("short").unwrap();
        }
    }

    #[test]
    fn without_dsync_writes_are_flushed_apart() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::Plain, None).unwrap();
        let Some(mut ring) = ring(directory.report().direct, None, false) else { return };
        let file = directory.open("a", Access::Create).unwrap();
        for token in 0..40u64 {
            ring.write(write(token, &file, token * PAGE as u64, &pattern(PAGE, token), token % 2 == 0, true));
            if token % 4 == 3 {
                assert_eq!(finish(&mut ring, 4).len(), 4);
            }
        }
        for token in 0..40u64 {
            assert_eq!(read_back(&file, token * PAGE as u64, PAGE), pattern(PAGE, token));
        }
    }

    /// The poll of the doorbell works in both forms, and the old one does not spin on a ring it has
    /// already reported.
    #[test]
    fn the_doorbell_works_without_multishot_polls() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::Plain, None).unwrap();
        for multishot in [true, false] {
            let Some(mut ring) = ring(directory.report().direct, Some(WriteStrategy::RingDsync), true) else { return };
            ring.poll.multishot = multishot;
            let file = directory.open("a", Access::Create).unwrap();
            file.allocate(4 << 20).unwrap();
            let waker = ring.waker();
            let bytes = pattern(1 << 20, 1);
            let mut woken = 0;
            for round in 0..200u64 {
                let thread = (round % 4 == 0).then(|| {
                    let waker = waker.clone();
                    std::thread::spawn(move || waker.wake())
                });
                ring.write(write(round, &file, 0, &bytes, false, true));
                let mut completions = Vec::new();
                let mut turns = 0;
                while completions.is_empty() {
                    ring.turn(Wait::Forever, &mut completions).unwrap();
                    turns += 1;
                }
                assert!(turns < 5, "a ring of the bell ends a few waits, not all");
                woken += turns - 1;
                if let Some(thread) = thread {
                    thread.join().unwrap();
                }
            }
            assert!(woken <= 110, "multishot {multishot}: {woken} wakes for 50 rings");
        }
    }

    /// Memory of a write must outlive a ring that is dropped on another thread, where the kernel
    /// refuses to wait for it: it is leaked.
    #[test]
    fn a_ring_dropped_on_another_thread_gives_nothing_back_too_early() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::Plain, None).unwrap();
        let Some(mut ring) = ring(directory.report().direct, Some(WriteStrategy::RingDsync), true) else { return };
        let file = directory.open("a", Access::Create).unwrap();
        file.allocate(4 << 20).unwrap();
        let bytes = pattern(1 << 20, 7);
        ring.write(write(1, &file, 0, &bytes, false, true));
        ring.turn(Wait::No, &mut Vec::new()).unwrap();
        std::thread::spawn(move || drop(ring)).join().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while read_back(&file, 0, 1 << 20) != bytes {
            assert!(std::time::Instant::now() < deadline, "the write was handed on before the ring was dropped");
        }
    }

    #[test]
    fn a_file_without_a_descriptor_is_refused() {
        struct Nowhere;
        impl File for Nowhere {
            fn name(&self) -> &str {
                "nowhere"
            }
            fn length(&self) -> io::Result<u64> {
                Ok(0)
            }
            fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
                Ok(0)
            }
            fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
                Ok(())
            }
            fn sync(&self) -> io::Result<()> {
                Ok(())
            }
            fn allocate(&self, _: u64) -> io::Result<()> {
                Ok(())
            }
            fn lock(&self, _: u64) -> io::Result<bool> {
                Ok(true)
            }
            fn descriptor(&self) -> Option<std::os::fd::RawFd> {
                None
            }
        }
        let file: Arc<dyn File> = Arc::new(Nowhere);
        for strategy in WriteStrategy::ALL {
            let Some(mut ring) = ring(true, Some(strategy), true) else { return };
            let block = Arc::new(Block::copy_of(&[1; PAGE]));
            ring.write(Write {
                token: 1,
                file: file.clone(),
                offset: 0,
                block,
                start: 0,
                length: PAGE,
                tail: None,
                durable: true,
            });
            ring.flush(2, &file);
            let mut completions = Vec::new();
            while completions.len() < 2 {
                ring.turn(Wait::Forever, &mut completions).unwrap();
            }
            for done in completions {
                assert_eq!(done.result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
            }
            assert_eq!((ring.in_flight(), ring.bytes_under_way), (0, 0));
        }
    }
}
