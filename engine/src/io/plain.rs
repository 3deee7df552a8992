//! The ring on blocking calls, for where io_uring is refused.
//!
//! Invariants:
//! - A write or flush is carried out on the lane's own thread, in the turn after it was started;
//!   nothing is in flight between two turns.
//! - Durable writes to one file that were started together share one flush.

use super::blocking::{BlockingWriter, Job};
use super::doorbell::Doorbell;
use super::{Clock, Completion, File, Ring, RingCounters, Wait, Wake, Write, WriteStrategy};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// See the module.
pub(super) struct PlainRing {
    clock: Arc<dyn Clock>,
    doorbell: Arc<Doorbell>,
    writer: BlockingWriter,
    queued: VecDeque<Job>,
    counters: RingCounters,
}

impl PlainRing {
    /// A ring; `writer` knows how files are written here.
    pub(super) fn new(clock: Arc<dyn Clock>, writer: BlockingWriter) -> PlainRing {
        let counters = RingCounters { strategy: WriteStrategy::Blocking, ..RingCounters::default() };
        PlainRing { clock, doorbell: Arc::new(Doorbell::new()), writer, queued: VecDeque::new(), counters }
    }

    /// Carries out what was started.
    fn work(&mut self, completions: &mut Vec<Completion>) {
        let PlainRing { writer, queued, counters, .. } = self;
        while let Some(job) = queued.pop_front() {
            match job {
                Job::Flush { token, file } => {
                    counters.flushes += 1;
                    completions.push(Completion { token, result: writer.flush(&*file) });
                }
                Job::Write(write) if write.durable => {
                    counters.flushes += 1;
                    writer.write_group(write, queued, |write, result| complete(&write, result, counters, completions));
                }
                Job::Write(write) => complete(&write, writer.write(&write, false), counters, completions),
            }
        }
    }
}

fn complete(write: &Write, result: io::Result<()>, counters: &mut RingCounters, completions: &mut Vec<Completion>) {
    if result.is_ok() {
        counters.writes += 1;
        counters.bytes += write.total_length() as u64;
    }
    completions.push(Completion { token: write.token, result });
}

impl Ring for PlainRing {
    fn write(&mut self, write: Write) {
        self.queued.push_back(Job::Write(write));
    }

    fn flush(&mut self, token: u64, file: &Arc<dyn File>) {
        self.queued.push_back(Job::Flush { token, file: file.clone() });
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let before = completions.len();
        self.work(completions);
        if completions.len() == before {
            self.doorbell.wait(&*self.clock, wait);
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.doorbell.clone()
    }

    fn counters(&self) -> RingCounters {
        self.counters
    }
}
