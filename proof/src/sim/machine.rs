//! One machine with its disk: from its start until its process dies, its power goes, or nobody needs it.
//!
//! Invariants:
//! - A machine dies once. From then on every call fails, so that whoever runs on it ends soon; what the
//!   disk holds at that very moment is kept for the next machine.
//! - What is in flight lands at its time, whoever looks first, and before anything else happens.
//! - Nothing here waits while the state is locked.

use super::damage::Written;
use super::disk::{Disk, Inode, PAGE};
use super::faults::{Access, Counts, Effect, Fault};
use super::random::Random;
use super::recorder::Recorder;
use super::scheduler::{self, TaskId};
use crate::history::CrashKind;
use ringlane::io::{Completion, Write};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// A write or a flush on its way.
pub(super) struct InFlight {
    pub(super) ring: usize,
    pub(super) token: u64,
    pub(super) due_ns: u64,
    pub(super) inode: Inode,
    pub(super) action: Action,
    pub(super) fails: bool,
}

pub(super) enum Action {
    Write(Write),
    /// Covers what was written up to this version of the disk.
    Flush(u64),
    /// What a process that died had submitted: pages that land all the same.
    Orphan {
        offset: u64,
        bytes: Vec<u8>,
    },
}

impl InFlight {
    fn range(&self) -> (u64, u64) {
        match &self.action {
            Action::Write(write) => (write.offset, write.offset + write.total_length() as u64),
            Action::Orphan { offset, bytes } => (*offset, offset + bytes.len() as u64),
            Action::Flush(_) => (0, 0),
        }
    }
}

/// The disk at one moment, with all that was in flight, and how long the history was.
pub struct Snapshot {
    /// Everything in flight stands there as written and not flushed.
    pub disk: Disk,
    /// Events until then.
    pub events: usize,
    /// Wall clock, and the furthest that it showed.
    pub wall_ms: i64,
    /// See above.
    pub wall_max_ms: i64,
    /// What the lanes had written.
    pub written: Written,
    /// Monotonic clock.
    pub now_ns: u64,
}

/// How a machine ended.
pub struct Death {
    /// What happened.
    pub kind: CrashKind,
    /// What is left.
    pub disk: Disk,
    /// Writes that still land.
    orphans: Vec<InFlight>,
}

/// What is going on in a machine.
pub struct State {
    pub(super) disk: Disk,
    pub(super) in_flight: Vec<InFlight>,
    pub(super) completed: BTreeMap<usize, Vec<Completion>>,
    /// The lanes that sleep in their rings.
    pub(super) ring_tasks: BTreeMap<usize, TaskId>,
    pub(super) rings: usize,
    pub(super) random: Random,
    pub(super) locks: BTreeMap<Inode, u64>,
    pub(super) descriptors: u64,
    pub(super) faults: Vec<Fault>,
    /// The machine dies so many operations from now.
    pub(super) dies_after: Option<(u64, CrashKind)>,
    pub(super) death: Option<Death>,
    /// Writes of the rings that came to a good end.
    pub(super) written: Written,
    /// When it died by itself: the disk with all that was not flushed.
    pub(super) last_disk: Option<Disk>,
    /// All latencies are multiplied.
    pub(super) slowness: u64,
    /// Operations so far.
    pub(super) operations: u64,
    /// One in so many flushes is a moment to clone; and how many may still be.
    pub(super) snapshot_one_in: u64,
    pub(super) snapshots_left: u64,
    pub(super) snapshots: Vec<Snapshot>,
    /// A sector that is being written when the power goes may hold anything afterwards.
    pub(super) garbage: bool,
    /// What happened.
    pub counts: Counts,
    /// What the engine did and must not do.
    pub(super) breaches: Vec<String>,
    /// To be dropped when the state is not locked: files unlock themselves.
    finished: Vec<InFlight>,
}

/// See the module.
pub struct Machine {
    state: Mutex<State>,
    /// Where events are written.
    pub(super) recorder: Recorder,
}

/// How a machine behaves.
#[derive(Clone, Copy, Debug)]
pub struct Temper {
    /// One in so many flushes is a moment to clone.
    pub snapshot_one_in: u64,
    /// How many moments there may be.
    pub snapshots_max: u64,
    /// Sectors under write may end as garbage.
    pub garbage: bool,
}

impl Machine {
    /// A machine on a disk.
    pub fn new(disk: Disk, random: Random, temper: Temper, recorder: Recorder) -> Arc<Machine> {
        let state = State {
            disk,
            in_flight: Vec::new(),
            completed: BTreeMap::new(),
            ring_tasks: BTreeMap::new(),
            rings: 1,
            random,
            locks: BTreeMap::new(),
            descriptors: 0,
            faults: Vec::new(),
            dies_after: None,
            death: None,
            last_disk: None,
            written: Written::new(),
            slowness: 1,
            operations: 0,
            snapshot_one_in: temper.snapshot_one_in,
            snapshots_left: temper.snapshots_max,
            snapshots: Vec::new(),
            garbage: temper.garbage,
            counts: Counts::default(),
            breaches: Vec::new(),
            finished: Vec::new(),
        };
        Arc::new(Machine { state: Mutex::new(state), recorder })
    }

    /// A machine that goes on where another ended.
    pub fn after(death: Death, random: Random, temper: Temper, recorder: Recorder) -> Arc<Machine> {
        let Death { disk, orphans, .. } = death;
        let machine = Machine::new(disk, random, temper, recorder);
        machine.with(|state| state.in_flight = orphans);
        machine
    }

    /// Looks at the state, after everything that is due has landed.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        let now_ns = scheduler::current().now_ns();
        let (result, finished) = {
            let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            state.land(now_ns);
            let result = look(&mut state);
            (result, std::mem::take(&mut state.finished))
        };
        drop(finished);
        result
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.with(|state| state.death.is_some())
    }

    /// It dies in the midst of what comes, after so many operations of the disk.
    pub fn die_after(&self, operations: u64, kind: CrashKind) {
        self.with(|state| state.dies_after = Some((operations, kind)));
    }

    /// It dies now.
    pub fn die(&self, kind: CrashKind) {
        self.with(|state| state.die(kind, self));
    }

    /// What is left of a machine that died.
    pub fn take_death(&self) -> Option<Death> {
        // It stays dead: whoever still holds it gets errors.
        self.with(|state| {
            let death = state.death.as_mut()?;
            Some(Death { kind: death.kind, disk: death.disk.clone(), orphans: std::mem::take(&mut death.orphans) })
        })
    }

    /// An operation takes place: time passes, and then it may be the last one, or fail. Gives the effect
    /// of a fault that hits it.
    pub(super) fn operate(&self, access: Access, name: &str, latency_ns: (u64, u64)) -> io::Result<()> {
        let scheduler = scheduler::current();
        if scheduler.current_task().is_some() {
            let ns = self.with(|state| state.latency(latency_ns));
            scheduler.sleep(ns, "the disk");
        }
        let slow = self.with(|state| state.begin(access, name, self))?;
        if let Some(ns) = slow {
            scheduler.sleep(ns, "a slow disk");
            return self.with(|state| state.check_alive());
        }
        Ok(())
    }
}

impl State {
    /// How long something takes.
    pub(super) fn latency(&mut self, (low, high): (u64, u64)) -> u64 {
        let ns = self.random.between(low, high);
        // Now and then a device takes its time.
        let ns = if self.random.one_in(64) { ns * 20 } else { ns };
        ns * self.slowness
    }

    pub(super) fn check_alive(&self) -> io::Result<()> {
        if self.death.is_some() { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    /// Counts an operation. Gives how much longer it takes.
    pub(super) fn begin(&mut self, access: Access, name: &str, machine: &Machine) -> io::Result<Option<u64>> {
        self.check_alive()?;
        self.operations += 1;
        if let Some((left, kind)) = self.dies_after {
            if left == 0 {
                self.die(kind, machine);
                return self.check_alive().map(|()| None);
            }
            self.dies_after = Some((left - 1, kind));
        }
        match self.meet(access, name) {
            Some(Effect::Fail) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(Effect::Slow(ns)) => Ok(Some(ns)),
            None => Ok(None),
        }
    }

    /// The effect of the first fault that this operation meets.
    pub(super) fn meet(&mut self, access: Access, name: &str) -> Option<Effect> {
        let mut met = None;
        for fault in &mut self.faults {
            if fault.access != access || !fault.files.concern(name) || fault.hits == 0 {
                continue;
            }
            if fault.passes > 0 {
                fault.passes -= 1;
            } else if met.is_none() {
                fault.hits -= 1;
                met = Some(fault.effect);
            }
        }
        let kind = match (access, met) {
            (_, None) => return None,
            (_, Some(Effect::Slow(_))) => "slow operations",
            (Access::Read, _) => "read errors",
            (Access::Write, _) => "write errors",
            (Access::Flush, _) => "flush errors",
            (Access::Directory, _) => "directory errors",
            (Access::Allocate, _) => "allocation errors",
        };
        self.counts.add(kind);
        met
    }

    /// A flush is going on: perhaps a moment to look at what a crash would leave.
    pub(super) fn perhaps_snapshot(&mut self, machine: &Machine) {
        if self.snapshot_one_in > 0 && self.random.one_in(self.snapshot_one_in) && self.snapshots_left > 0 {
            self.snapshots_left -= 1;
            self.snapshot(machine);
        }
    }

    /// Keeps what the disk holds now.
    pub(super) fn snapshot(&mut self, machine: &Machine) {
        if self.death.is_some() {
            return;
        }
        let now_ns = scheduler::current().now_ns();
        let snapshot = Snapshot {
            disk: self.disk_with_all_in_flight(),
            events: machine.recorder.events(),
            wall_ms: machine.recorder.wall_ms(),
            wall_max_ms: machine.recorder.wall_max_ms(),
            written: self.written.clone(),
            now_ns,
        };
        self.snapshots.push(snapshot);
    }

    /// The disk as if all that is in flight had just been written and not flushed.
    fn disk_with_all_in_flight(&self) -> Disk {
        let mut disk = self.disk.clone();
        for flight in &self.in_flight {
            write_pages(&mut disk, flight, usize::MAX);
        }
        disk
    }

    /// What somebody outside may see of the disk now: of each write in flight nothing, all, or its first pages.
    pub(super) fn view(&self, random: &mut Random) -> Disk {
        let mut disk = self.disk.clone();
        for flight in &self.in_flight {
            let pages = match random.below(3) {
                0 => 0,
                1 => usize::MAX,
                _ => random.below(4) as usize,
            };
            write_pages(&mut disk, flight, pages);
        }
        disk
    }

    /// What has come to its time takes effect.
    fn land(&mut self, now_ns: u64) {
        if self.in_flight.iter().all(|flight| flight.due_ns > now_ns) {
            return;
        }
        let (mut due, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|flight| flight.due_ns <= now_ns);
        self.in_flight = rest;
        due.sort_by_key(|flight| (flight.due_ns, flight.ring, flight.token));
        for flight in due {
            self.land_one(&flight);
            let result = if flight.fails { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) };
            if !matches!(flight.action, Action::Orphan { .. }) {
                self.completed.entry(flight.ring).or_default().push(Completion { token: flight.token, result });
            }
            self.finished.push(flight);
        }
    }

    fn land_one(&mut self, flight: &InFlight) {
        match (&flight.action, flight.fails) {
            (Action::Flush(version), false) => self.disk.sync(flight.inode, *version),
            (Action::Flush(_), true) => self.fail_sync(flight.inode),
            (Action::Write(write), false) => {
                write_pages(&mut self.disk, flight, usize::MAX);
                let place = (flight.inode, write.offset, write.total_length() as u64);
                self.written.entry(flight.ring).or_default().push(place);
                if write.durable {
                    self.disk.sync_pages(flight.inode, write.offset, write.total_length());
                }
            }
            (Action::Write(write), true) => {
                // A part of it, and nobody knows which.
                let pages = self.random.below((write.total_length() / PAGE) as u64 + 1) as usize;
                write_pages(&mut self.disk, flight, pages);
                self.fail_sync(flight.inode);
            }
            (Action::Orphan { .. }, _) => write_pages(&mut self.disk, flight, usize::MAX),
        }
    }

    fn die(&mut self, kind: CrashKind, machine: &Machine) {
        if self.death.is_some() {
            return;
        }
        let death = match kind {
            CrashKind::PowerLoss => {
                self.counts.add("power losses");
                let disk = self.disk_with_all_in_flight().after_power_loss(&mut self.random, self.garbage);
                Death { kind, disk, orphans: Vec::new() }
            }
            CrashKind::Kill | CrashKind::Poisoned => {
                self.counts.add("kills");
                Death { kind, disk: self.disk.clone(), orphans: self.orphans() }
            }
        };
        self.last_disk = Some(self.disk_with_all_in_flight());
        machine.recorder.crashed(kind);
        self.death = Some(death);
        self.finished.append(&mut self.in_flight);
        for task in self.ring_tasks.values() {
            scheduler::current().unpark(*task);
        }
    }

    /// What a process that dies now has submitted and the kernel still carries out, or not.
    fn orphans(&mut self) -> Vec<InFlight> {
        let mut orphans = Vec::new();
        for flight in &self.in_flight {
            let Action::Write(write) = &flight.action else { continue };
            let pages = match self.random.below(3) {
                0 => 0,
                1 => self.random.below((write.total_length() / PAGE) as u64 + 1) as usize,
                _ => usize::MAX,
            };
            let bytes = bytes_of(write);
            let length = bytes.len().min(pages.saturating_mul(PAGE));
            if length > 0 {
                orphans.push(InFlight {
                    ring: 0,
                    token: 0,
                    due_ns: flight.due_ns,
                    inode: flight.inode,
                    action: Action::Orphan { offset: write.offset, bytes: bytes[..length].to_vec() },
                    fails: false,
                });
            }
        }
        orphans
    }

    /// A flush, or a write, failed. Between the engine and the device there may be a cache that now believes
    /// what it wrote is clean. Where the engine relies on going past such a cache, there is none.
    pub(super) fn fail_sync(&mut self, inode: Inode) {
        if !self.garbage {
            self.disk.fail_sync(inode);
        }
    }

    /// Takes on a write or a flush of a ring.
    pub(super) fn submit(&mut self, flight: InFlight) {
        let (start, end) = flight.range();
        let overlaps = |other: &&InFlight| {
            let (other_start, other_end) = other.range();
            other.inode == flight.inode && start < other_end && other_start < end
        };
        if let Some(other) = self.in_flight.iter().find(overlaps) {
            let what = if matches!(other.action, Action::Orphan { .. }) { "of a process that died" } else { "" };
            self.breaches
                .push(format!("a write to bytes {start} to {end} of a file while another {what} is in flight there"));
        }
        self.in_flight.push(flight);
    }
}

fn bytes_of(write: &Write) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(write.total_length());
    if write.length > 0 {
        bytes.extend_from_slice(write.block.slice(write.start, write.start + write.length));
    }
    if let Some(tail) = &write.tail {
        bytes.extend_from_slice(tail.slice(0, PAGE));
    }
    bytes
}

/// Writes the first pages of what is in flight.
fn write_pages(disk: &mut Disk, flight: &InFlight, pages: usize) {
    match &flight.action {
        Action::Flush(_) => {}
        Action::Orphan { offset, bytes } => disk.write(flight.inode, bytes, *offset),
        Action::Write(write) => {
            let whole = write.length.min(pages.saturating_mul(PAGE));
            if whole > 0 {
                disk.write(flight.inode, write.block.slice(write.start, write.start + whole), write.offset);
            }
            if let Some(tail) = &write.tail
                && pages > write.length / PAGE
            {
                disk.write(flight.inode, tail.slice(0, PAGE), write.offset + write.length as u64);
            }
        }
    }
}
