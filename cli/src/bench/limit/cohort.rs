//! The limit of many blocking senders: one writer, and threads that hand over a record each and
//! sleep until it is durable.
//!
//! Nothing but the hand-over and the device is in it. A record is copied into the page of the open
//! generation, one durable write carries the generation, one futex call wakes all who are in it.
//! While they come back, the next generation is written: two cohorts take turns by themselves.
//!
//! The writer uses a blocking pwritev2 and not a ring: the durable completion of a ring's write runs
//! on a kernel worker, which waits for the next tick when dozens of threads wake up around it
//! (measured: 8,000 to 16,000 records/s, against 230,000 to 260,000 this way). Waiting for the whole
//! cohort before writing, and waking as a tree, were measured too and are slower.
//!
//! Invariants:
//! - `open` holds the number of the open generation and how many records it took. Only the writer
//!   closes it, by one exchange, so each record is in exactly one generation.
//! - A generation is written when all its records were copied; its page is used again only after that.
//! - `durable` of a page only grows, and is stored before its sleepers are woken.

use super::file::RawFile;
use super::memory::{AlignedBuffer, PAGE};
use crate::bench::measure::{Deadline, Latency, Sample};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Two would do: the one being filled and the one being written.
const PAGES: usize = 4;

struct Page {
    memory: *mut u8,
    length: usize,
    /// Records copied since the page was opened.
    copied: AtomicU32,
    /// The page's last durable generation, plus one. Its senders sleep on it.
    durable: AtomicU32,
}

struct Shared {
    /// The generation in the upper half, the records it took in the lower.
    open: AtomicU64,
    /// One while the writer sleeps because nobody came.
    idle: AtomicU32,
    /// Senders that have not ended.
    senders: AtomicU32,
    /// After a failed write: everybody ends.
    failed: AtomicBool,
    pages: [Page; PAGES],
}

// SAFETY: `memory` is written by senders only within the places that `open` gave them, and read by
// the writer only after `copied` says that all of them are done.
unsafe impl Sync for Shared {}

/// `threads` senders of `record_bytes` each for `duration`; latency and operations are the senders'.
pub fn fed_by_threads(file: &RawFile, threads: usize, record_bytes: usize, duration: Duration) -> io::Result<Sample> {
    let mut buffers: [AlignedBuffer; PAGES] = std::array::from_fn(|_| AlignedBuffer::noise(threads * record_bytes));
    let shared = Shared {
        open: AtomicU64::new(0),
        idle: AtomicU32::new(0),
        senders: AtomicU32::new(threads as u32),
        failed: AtomicBool::new(false),
        pages: buffers.each_mut().map(|buffer| Page {
            memory: buffer.as_mut_pointer(),
            length: buffer.len(),
            copied: AtomicU32::new(0),
            durable: AtomicU32::new(0),
        }),
    };
    let begin = Instant::now();
    let deadline = Deadline::after(duration);
    let latency = std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| shared.send_until(&deadline, &vec![0x5a; record_bytes]))).collect();
        let written = shared.write_all(file, record_bytes);
        let mut all = Latency::new();
        for sender in senders {
            all.add(&sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        written.map(|()| all)
    })?;
    let operations = latency.count();
    Ok(Sample { operations, bytes: operations * record_bytes as u64, elapsed: begin.elapsed(), latency })
}

impl Shared {
    fn page(&self, generation: u32) -> &Page {
        &self.pages[generation as usize % PAGES]
    }

    fn send_until(&self, deadline: &Deadline, record: &[u8]) -> Latency {
        let mut latency = Latency::new();
        while !deadline.is_over() && !self.failed.load(Ordering::Relaxed) {
            let started = Instant::now();
            self.send(record);
            latency.record(started.elapsed());
        }
        self.senders.fetch_sub(1, Ordering::SeqCst);
        self.wake_writer();
        latency
    }

    fn send(&self, record: &[u8]) {
        // SeqCst here and on `idle`: either this sender sees that the writer sleeps, or the writer
        // sees the record before it goes to sleep.
        let ticket = self.open.fetch_add(1, Ordering::SeqCst);
        let (generation, index) = ((ticket >> 32) as u32, ticket as u32 as usize);
        let page = self.page(generation);
        assert!((index + 1) * record.len() <= page.length, "a sender has one record in flight");
        // SAFETY: the place is inside the page and given to nobody else in this generation; the page
        // lives until all senders have ended.
        unsafe { std::ptr::copy_nonoverlapping(record.as_ptr(), page.memory.add(index * record.len()), record.len()) };
        page.copied.fetch_add(1, Ordering::Release);
        self.wake_writer();
        loop {
            let durable = page.durable.load(Ordering::Acquire);
            if durable > generation {
                return;
            }
            futex_wait(&page.durable, durable);
        }
    }

    fn wake_writer(&self) {
        if self.idle.load(Ordering::SeqCst) == 1 && self.idle.swap(0, Ordering::SeqCst) == 1 {
            futex_wake(&self.idle, 1);
        }
    }

    fn write_all(&self, file: &RawFile, record_bytes: usize) -> io::Result<()> {
        let mut generation = 0;
        let mut result = Ok(());
        while self.wait_for_records() {
            self.page(generation + 1).copied.store(0, Ordering::Relaxed);
            let count = self.open.swap(u64::from(generation + 1) << 32, Ordering::SeqCst) as u32;
            let page = self.page(generation);
            while page.copied.load(Ordering::Acquire) < count {
                std::thread::yield_now();
            }
            let length = (count as usize * record_bytes).max(1).next_multiple_of(PAGE);
            // SAFETY: all senders of this generation are done copying, and the page is opened again
            // only by this thread, after the write.
            let bytes = unsafe { std::slice::from_raw_parts(page.memory, length) };
            if result.is_ok() {
                result = file.write_durably(bytes, file.next_offset(length));
                self.failed.store(result.is_err(), Ordering::Relaxed);
            }
            generation += 1;
            page.durable.store(generation, Ordering::Release);
            futex_wake(&page.durable, i32::MAX);
        }
        result
    }

    /// Sleeps until the open generation has a record; `false` when all senders have ended.
    fn wait_for_records(&self) -> bool {
        loop {
            self.idle.store(1, Ordering::SeqCst);
            let empty = self.open.load(Ordering::SeqCst) as u32 == 0;
            if empty && self.senders.load(Ordering::SeqCst) > 0 {
                futex_wait(&self.idle, 1);
            }
            self.idle.store(0, Ordering::SeqCst);
            if self.open.load(Ordering::SeqCst) as u32 > 0 {
                return true;
            }
            if self.senders.load(Ordering::SeqCst) == 0 {
                return false;
            }
        }
    }
}

fn futex_wait(word: &AtomicU32, expected: u32) {
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word lives through the call; without a time the call has no other pointer.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, expected, std::ptr::null::<libc::timespec>()) };
}

fn futex_wake(word: &AtomicU32, count: i32) {
    // SAFETY: the word lives through the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sender_is_released_and_the_loop_ends() {
        let directory = tempfile::tempdir().unwrap();
        let file = RawFile::prepared(directory.path(), 1 << 20).unwrap();
        for threads in [1, 2, 16] {
            let sample = fed_by_threads(&file, threads, 100, Duration::from_millis(30)).unwrap();
            assert!(sample.operations >= threads as u64);
            assert_eq!(sample.latency.count(), sample.operations);
        }
    }

    #[test]
    fn a_failed_write_ends_everybody_with_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = RawFile::prepared(directory.path(), 1 << 20).unwrap();
        file.close_for_writing();
        let error = fed_by_threads(&file, 4, 100, Duration::from_secs(60)).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
