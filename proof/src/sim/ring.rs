//! The ring of a simulated machine: completions come at their own times, in any order.
//!
//! Invariants:
//! - A wake is kept until the next sleep, as [`ringlane::io::Ring::waker`] promises, and no longer.
//! - Whoever sleeps here is woken by a completion, a wake, or its time; by nothing else.

use super::disk::PAGE;
use super::faults::Access;
use super::machine::{Action, InFlight, Machine};
use super::scheduler::{self, TaskId};
use super::storage::inode_of;
use ringlane::io::{Completion, File, Ring, RingCounters, Wait, Wake, Write};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const DURABLE_WRITE_NS: (u64, u64) = (40_000, 300_000);
const WRITE_NS: (u64, u64) = (20_000, 200_000);
const FLUSH_NS: (u64, u64) = (100_000, 600_000);
const NOBODY: usize = usize::MAX;

struct Bell {
    rung: AtomicBool,
    sleeper: AtomicUsize,
}

impl Wake for Bell {
    fn wake(&self) {
        self.rung.store(true, Ordering::SeqCst);
        let sleeper = self.sleeper.load(Ordering::SeqCst);
        if sleeper != NOBODY {
            scheduler::current().unpark(sleeper as TaskId);
        }
    }
}

/// See the module.
pub struct SimulatedRing {
    machine: Arc<Machine>,
    number: usize,
    bell: Arc<Bell>,
    counters: RingCounters,
    /// The lane knows that the machine is dead; from then on only wakes come.
    dead: bool,
}

impl SimulatedRing {
    /// A ring for one lane.
    pub fn new(machine: Arc<Machine>) -> SimulatedRing {
        let number = machine.with(|state| {
            state.rings += 1;
            state.rings - 1
        });
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), sleeper: AtomicUsize::new(NOBODY) });
        SimulatedRing { machine, number, bell, counters: RingCounters::default(), dead: false }
    }

    /// Puts an operation in flight, unless the machine dies of it.
    fn start(&mut self, file: &Arc<dyn File>, access: Access, latency: (u64, u64), token: u64, action: Action) {
        let machine = &self.machine;
        let inode = if machine.is_dead() { 0 } else { inode_of(machine, file) };
        machine.with(|state| {
            // The error of a dead machine comes out of `turn`.
            let slow = state.begin(access, file.name(), machine);
            if state.death.is_some() {
                return;
            }
            let now_ns = scheduler::current().now_ns();
            let due_ns = now_ns + state.latency(latency) + slow.as_ref().ok().copied().flatten().unwrap_or(0);
            let action = match action {
                Action::Flush(_) => Action::Flush(state.disk.version()),
                other => other,
            };
            state.perhaps_snapshot(machine);
            state.submit(InFlight { ring: self.number, token, due_ns, inode, action, fails: slow.is_err() });
        });
    }
}

impl Ring for SimulatedRing {
    fn write(&mut self, write: Write) {
        let length = write.total_length();
        let aligned = [write.offset as usize, write.start, length].iter().all(|number| number.is_multiple_of(PAGE));
        assert!(aligned && length > 0, "{length} bytes at {} are not aligned as O_DIRECT wants", write.offset);
        let scheduler = scheduler::current();
        scheduler.note(write.offset ^ (length as u64) << 40);
        if write.length > 0 {
            scheduler.note(u64::from(crc(write.block.slice(write.start, write.start + write.length))));
        }
        if let Some(tail) = &write.tail {
            scheduler.note(u64::from(crc(tail.slice(0, PAGE))));
        }
        self.counters.writes += 1;
        self.counters.bytes += length as u64;
        self.counters.flushes += u64::from(write.durable);
        let (file, token) = (write.file.clone(), write.token);
        let latency = if write.durable { DURABLE_WRITE_NS } else { WRITE_NS };
        self.start(&file, Access::Write, latency, token, Action::Write(write));
    }

    fn flush(&mut self, token: u64, file: &Arc<dyn File>) {
        self.counters.flushes += 1;
        self.start(file, Access::Flush, FLUSH_NS, token, Action::Flush(0));
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let scheduler = scheduler::current();
        let before = completions.len();
        loop {
            let next_ns = self.machine.with(|state| {
                if !std::mem::replace(&mut self.dead, state.death.is_some()) {
                    state.check_alive()?;
                }
                completions.append(state.completed.entry(self.number).or_default());
                let mine = state.in_flight.iter().filter(|flight| flight.ring == self.number);
                Ok::<_, io::Error>(mine.map(|flight| flight.due_ns).min())
            })?;
            if completions.len() > before {
                return Ok(());
            }
            let until_ns = match wait {
                Wait::No => {
                    // Whoever does not wait still takes time.
                    scheduler.give_way();
                    return Ok(());
                }
                Wait::Until(until_ns) => Some(until_ns),
                Wait::Forever => None,
            };
            if self.bell.rung.swap(false, Ordering::SeqCst) {
                return Ok(());
            }
            if until_ns.is_some_and(|until| until <= scheduler.now_ns()) {
                // Whoever asks to wait until a time that is over takes time all the same.
                scheduler.give_way();
                return Ok(());
            }
            let deadline_ns = until_ns.into_iter().chain(next_ns).min();
            let me = scheduler.current_task().expect("a lane is a thread");
            self.bell.sleeper.store(me, Ordering::SeqCst);
            self.machine.with(|state| state.ring_tasks.insert(self.number, me));
            scheduler.park(deadline_ns, "its ring");
            self.machine.with(|state| state.ring_tasks.remove(&self.number));
            self.bell.sleeper.store(NOBODY, Ordering::SeqCst);
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.bell.clone()
    }

    fn counters(&self) -> RingCounters {
        self.counters
    }
}

/// A cheap hash of what is written.
fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}
