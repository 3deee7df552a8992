//! Many reads in flight on an io_uring that belongs to one reader.
//!
//! Invariants:
//! - The kernel only gets memory that a slot keeps alive until the read is answered. A dropped ring first
//!   waits for all that is in flight; if the kernel refuses even that, the blocks are leaked: memory is
//!   lost rather than given back while the kernel writes into it.
//! - Every slot has room in the submission queue, and the completion queue is twice as large.
//! - Nothing is registered and nothing is locked, so no limit on locked memory is met.
//! - It may be used on one thread now and on another later, so the ring is not bound to an issuer. When a
//!   thread that started reads ends, the kernel may cancel them; they are then read by a blocking call.
//! - A child of fork has no part of the ring's memory and leaves it alone.

use super::fork::{self, ForkMark};
use super::reads::finish;
use super::{Read, ReadDone, ReadRing};
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::time::Duration;

/// How often in a row io_uring_enter may say that it lacks memory.
const EXHAUSTED_MAX: u32 = 1_000;

/// See the module.
pub(super) struct UringReads {
    /// Dropped by hand: not in a child of fork.
    ring: ManuallyDrop<IoUring>,
    slots: Vec<Option<Read>>,
    free: Vec<u32>,
    queued: VecDeque<Read>,
    process: ForkMark,
}

impl UringReads {
    /// A ring for `depth` reads at once.
    pub(super) fn new(depth: u32) -> io::Result<UringReads> {
        let ring = super::uring::setup_for_any_thread(depth)?;
        let depth = depth.min(ring.params().sq_entries());
        Ok(UringReads {
            ring: ManuallyDrop::new(ring),
            slots: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
            queued: VecDeque::new(),
            process: fork::remember(),
        })
    }

    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Gives reads to free slots.
    fn launch(&mut self, done: &mut Vec<ReadDone>) {
        while !self.free.is_empty()
            && let Some(mut read) = self.queued.pop_front()
        {
            let Some(descriptor) = read.file.descriptor() else {
                done.push(finish(read, 0));
                continue;
            };
            let memory = &mut read.block.as_mut_slice()[..read.length];
            let length = u32::try_from(memory.len()).expect("a read is far smaller than 4 GiB");
            let slot = self.free.pop().expect("just seen");
            let entry = opcode::Read::new(Fd(descriptor), memory.as_mut_ptr(), length)
                .offset(read.offset)
                .build()
                .user_data(u64::from(slot));
            self.slots[slot as usize] = Some(read);
            // SAFETY: the block and the file stay in the slot until the answer is there; moving the read
            // into it does not move the block's memory.
            unsafe { self.ring.submission().push(&entry) }.expect("every slot has room for its request");
        }
    }

    /// Hands on what was launched and waits for `want` answers.
    fn enter(&mut self, want: usize) -> io::Result<()> {
        let mut exhausted = 0;
        loop {
            {
                let submission = self.ring.submission();
                let silent = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
                if want == 0 && silent {
                    return Ok(());
                }
            }
            match self.ring.submitter().submit_and_wait(want) {
                Ok(_) => return Ok(()),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY) if exhausted < EXHAUSTED_MAX => {
                        exhausted += 1;
                        std::thread::sleep(Duration::from_micros(100));
                        // Answers may have to be taken before the kernel accepts more.
                        if !{ self.ring.completion() }.is_empty() {
                            return Ok(());
                        }
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// Takes all answers that are there.
    fn reap(&mut self, done: &mut Vec<ReadDone>) {
        while let Some(entry) = { self.ring.completion().next() } {
            let slot = entry.user_data() as u32;
            let read = self.slots[slot as usize].take().expect("an answer belongs to a read");
            self.free.push(slot);
            done.push(match entry.result() {
                whole if whole >= 0 && whole as usize == read.length => {
                    ReadDone { token: read.token, block: read.block, result: Ok(whole as usize) }
                }
                short if short >= 0 => finish(read, short as usize),
                error if [libc::EINTR, libc::EAGAIN, libc::ECANCELED].contains(&-error) => finish(read, 0),
                error => {
                    let result = Err(io::Error::from_raw_os_error(-error));
                    ReadDone { token: read.token, block: read.block, result }
                }
            });
        }
    }
}

impl ReadRing for UringReads {
    fn depth(&self) -> usize {
        self.slots.len()
    }

    fn start(&mut self, read: Read) {
        self.queued.push_back(read);
    }

    fn collect(&mut self, wait: bool, done: &mut Vec<ReadDone>) -> io::Result<()> {
        let before = done.len();
        self.launch(done);
        let want = usize::from(wait && done.len() == before && self.in_flight() > 0);
        // What is complete already needs no wait, and perhaps no system call.
        let ready = !{ self.ring.completion() }.is_empty();
        self.enter(if ready { 0 } else { want })?;
        self.reap(done);
        // Answers may have freed slots.
        self.launch(done);
        self.enter(0)
    }
}

impl Drop for UringReads {
    fn drop(&mut self) {
        if !self.process.is_forked() {
            self.queued.clear();
            let mut done = Vec::new();
            while self.in_flight() > 0 && self.enter(1).is_ok() {
                self.reap(&mut done);
            }
            // SAFETY: dropped once, and not used again.
            unsafe { ManuallyDrop::drop(&mut self.ring) };
        }
        if self.in_flight() > 0 {
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}
