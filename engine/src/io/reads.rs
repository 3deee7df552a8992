//! Reads one after the other, by blocking calls: where there is no ring to read with.
//!
//! Invariants:
//! - A read is carried out when somebody waits for it, in the order in which reads were started. What
//!   nobody waits for costs nothing, so reading ahead is not worth it here: [`ReadRing::depth`] is one.
//! - There is no thread and no clock in it: the same calls give the same order.

use super::{Read, ReadDone, ReadRing};
use std::collections::VecDeque;
use std::io;

/// See the module.
#[derive(Default)]
pub(super) struct BlockingReads {
    started: VecDeque<Read>,
}

impl ReadRing for BlockingReads {
    fn depth(&self) -> usize {
        1
    }

    fn start(&mut self, read: Read) {
        self.started.push_back(read);
    }

    fn collect(&mut self, wait: bool, done: &mut Vec<ReadDone>) -> io::Result<()> {
        if wait && let Some(read) = self.started.pop_front() {
            done.push(finish(read, 0));
        }
        Ok(())
    }
}

/// Reads what is left of `read` when `read_bytes` bytes are there, by a blocking call. That knows what a
/// short read means, and what to do about an interrupted one.
pub(super) fn finish(mut read: Read, read_bytes: usize) -> ReadDone {
    let from = read_bytes - read_bytes % super::PAGE;
    let rest = &mut read.block.as_mut_slice()[from..read.length];
    let result = read.file.read_at(rest, read.offset + from as u64).map(|more| from + more);
    ReadDone { token: read.token, block: read.block, result }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Scratch, open, pattern};
    use super::super::faulty::{Effect, Fault, Faults, Operation};
    use super::super::{Access, Backend, Block, Clock, PAGE, Storage, SystemClock};
    use super::*;
    use std::sync::Arc;

    const PAGES: usize = 300;

    /// A file of whole pages and 100 bytes more, on every backend.
    fn each_backend(test: impl Fn(Backend, Arc<dyn Storage>)) {
        for backend in [Backend::Auto, Backend::Plain, Backend::PlainBuffered] {
            let scratch = Scratch::new();
            std::fs::write(scratch.path().join("segment"), pattern(PAGES * PAGE + 100, 3)).unwrap();
            test(backend, Arc::new(open(&scratch, backend, None).unwrap()));
        }
    }

    fn read(storage: &dyn Storage, token: u64, page: usize, pages: usize) -> Read {
        let file = storage.open("segment", Access::Read).unwrap();
        let (block, length) = (Block::zeroed(pages * PAGE), pages * PAGE);
        Read { token, file, offset: (page * PAGE) as u64, block, length }
    }

    fn check(mut done: ReadDone, page: usize, pages: usize) {
        let all = pattern(PAGES * PAGE + 100, 3);
        let expected = &all[page * PAGE..all.len().min((page + pages) * PAGE)];
        assert_eq!(done.result.unwrap(), expected.len());
        assert!(done.block.as_mut_slice()[..expected.len()] == *expected, "page {page}");
    }

    #[test]
    fn more_reads_than_there_are_slots_all_come_back_once() {
        each_backend(|backend, storage| {
            let mut ring = storage.read_ring();
            let place = |token: u64| (token as usize * 37 % PAGES, 1 + token as usize % 5);
            for token in 0..200u64 {
                let (page, pages) = place(token);
                ring.start(read(&*storage, token, page, pages));
            }
            let mut seen = [false; 200];
            let mut left = 200;
            while left > 0 {
                let mut done = Vec::new();
                ring.collect(true, &mut done).unwrap();
                for done in done {
                    let (page, pages) = place(done.token);
                    assert!(!std::mem::replace(&mut seen[done.token as usize], true), "{backend:?}: twice");
                    check(done, page, pages);
                    left -= 1;
                }
            }
            ring.collect(true, &mut Vec::new()).unwrap();
        });
    }

    /// The file ends within a read, and before one: that is no error, and never more bytes than there are.
    #[test]
    fn a_read_at_the_end_of_the_file_is_short() {
        each_backend(|_, storage| {
            let mut ring = storage.read_ring();
            for (page, pages) in [(PAGES - 2, 8), (PAGES, 1)] {
                ring.start(read(&*storage, 1, page, pages));
                let mut done = Vec::new();
                while done.is_empty() {
                    ring.collect(true, &mut done).unwrap();
                }
                check(done.remove(0), page, pages);
            }
            ring.start(read(&*storage, 1, PAGES + 50, 1));
            let mut done = Vec::new();
            while done.is_empty() {
                ring.collect(true, &mut done).unwrap();
            }
            assert_eq!(done.remove(0).result.unwrap(), 0);
        });
    }

    /// The kernel may write into a block until its read is answered, so a ring that is dropped waits. Blocks
    /// that were freed early would be given out again at once, and show foreign bytes.
    #[test]
    fn a_dropped_ring_waits_for_what_is_in_flight() {
        each_backend(|backend, storage| {
            for round in 0..50 {
                let mut ring = storage.read_ring();
                for token in 0..20 {
                    ring.start(read(&*storage, token, (token as usize * 11 + round) % PAGES, 8));
                }
                ring.collect(false, &mut Vec::new()).unwrap();
                drop(ring);
                let fresh: Vec<Vec<u8>> = (0..20).map(|_| vec![0u8; 8 * PAGE]).collect();
                assert!(fresh.iter().flatten().all(|&byte| byte == 0), "{backend:?}");
            }
        });
    }

    /// When a thread ends, the kernel cancels what it began; those reads are carried out all the same.
    #[test]
    fn reads_outlive_the_thread_that_started_them() {
        each_backend(|_, storage| {
            for _ in 0..20 {
                let mut ring = storage.read_ring();
                let threads = storage.clone();
                let mut ring = std::thread::spawn(move || {
                    for token in 0..30 {
                        ring.start(read(&*threads, token, token as usize * 9, 8));
                    }
                    ring.collect(false, &mut Vec::new()).unwrap();
                    ring
                })
                .join()
                .unwrap();
                // What the first call completed went with the thread; the rest must be right.
                let mut done = Vec::new();
                for _ in 0..30 {
                    ring.collect(true, &mut done).unwrap();
                }
                done.drain(..).for_each(|done| {
                    let page = done.token as usize * 9;
                    check(done, page, 8);
                });
            }
        });
    }

    #[test]
    fn a_fault_hits_the_read_it_is_meant_for() {
        each_backend(|backend, storage| {
            let faults = Faults::new();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let storage = faults.wrap(storage, clock);
            faults.arm(Fault::new(Operation::Read, Effect::Fail(libc::EIO)).nth(2));
            let mut ring = storage.read_ring();
            for token in 0..3 {
                ring.start(read(&*storage, token, token as usize, 1));
            }
            let mut done = Vec::new();
            while done.len() < 3 {
                ring.collect(true, &mut done).unwrap();
            }
            done.sort_by_key(|done| done.token);
            let failed: Vec<bool> = done.iter().map(|done| done.result.is_err()).collect();
            // The blocking ring reads when it is waited for, so that a fault may meet it later.
            assert_eq!(failed.iter().filter(|failed| **failed).count(), 1, "{backend:?}: {failed:?}");
            assert!(failed[1], "{backend:?}");
        });
    }
}
