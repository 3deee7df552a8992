//! Storage and files of a simulated machine.
//!
//! Invariants:
//! - Offsets, lengths and buffers are aligned as O_DIRECT wants; a breach is reported.
//! - A lock belongs to the open file, not to its name, and ends with it; a write that a dead process left in
//!   flight holds its file's lock until it has landed.
//! - What is written by a call is not durable before a flush that began afterwards has ended.

use super::disk::{Inode, PAGE};
use super::faults::Access as Kind;
use super::machine::Machine;
use super::ring::SimulatedRing;
use super::scheduler;
use ringlane::io::{Access, File, IoReport, Ring, Storage};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

const READ_NS: (u64, u64) = (20_000, 120_000);
const WRITE_NS: (u64, u64) = (10_000, 80_000);
const FLUSH_NS: (u64, u64) = (50_000, 400_000);
const CALL_NS: (u64, u64) = (1_000, 10_000);
/// A call writes so much at once; others may run in between.
const CHUNK_BYTES: usize = 256 << 10;

/// The directory of a machine.
pub struct SimulatedStorage {
    machine: Arc<Machine>,
}

impl SimulatedStorage {
    /// The one directory of a machine.
    pub fn new(machine: Arc<Machine>) -> SimulatedStorage {
        SimulatedStorage { machine }
    }
}

impl Storage for SimulatedStorage {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        if access == Access::Create {
            self.machine.operate(Kind::Directory, name, CALL_NS)?;
        }
        self.machine.with(|state| {
            state.check_alive()?;
            let inode = match state.disk.find(name) {
                Some(inode) => inode,
                None if access == Access::Create => state.disk.create(name),
                None => return Err(io::Error::from_raw_os_error(libc::ENOENT)),
            };
            state.descriptors += 1;
            let file = SimulatedFile {
                machine: self.machine.clone(),
                name: name.to_owned(),
                inode,
                descriptor: state.descriptors,
                writable: access != Access::Read,
            };
            Ok(Arc::new(file) as Arc<dyn File>)
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.machine.with(|state| state.check_alive().map(|()| state.disk.names()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.machine.operate(Kind::Directory, name, CALL_NS)?;
        self.machine.with(|state| match state.disk.remove(name) {
            Some(_) => Ok(()),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.machine.with(|state| state.perhaps_snapshot(&self.machine));
        self.machine.operate(Kind::Directory, "", FLUSH_NS)?;
        self.machine.with(|state| state.disk.sync_directory());
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.machine.with(|state| state.check_alive().map(|()| state.disk.free_bytes()))
    }

    fn ring(&self) -> io::Result<Box<dyn Ring>> {
        self.machine.with(|state| state.check_alive())?;
        Ok(Box::new(SimulatedRing::new(self.machine.clone())))
    }

    fn random(&self) -> u64 {
        self.machine.with(|state| state.random.number())
    }

    fn report(&self) -> IoReport {
        IoReport { backend: "simulator", direct: true, reason: "chosen by the seed".to_owned() }
    }
}

/// An open file of a machine.
pub(super) struct SimulatedFile {
    machine: Arc<Machine>,
    name: String,
    inode: Inode,
    descriptor: u64,
    writable: bool,
}

impl SimulatedFile {
    fn check_alignment(&self, bytes: &[u8], offset: u64) {
        let place = bytes.as_ptr() as usize;
        let aligned =
            place.is_multiple_of(PAGE) && bytes.len().is_multiple_of(PAGE) && offset.is_multiple_of(PAGE as u64);
        assert!(aligned, "{} bytes at {offset} of {} are not aligned as O_DIRECT wants", bytes.len(), self.name);
    }
}

impl File for SimulatedFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn length(&self) -> io::Result<u64> {
        self.machine.with(|state| state.check_alive().map(|()| state.disk.length(self.inode)))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check_alignment(buffer, offset);
        self.machine.operate(Kind::Read, &self.name, READ_NS)?;
        Ok(self.machine.with(|state| state.disk.read(self.inode, buffer, offset)))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_alignment(bytes, offset);
        assert!(self.writable, "{} was opened to be read", self.name);
        for (at, chunk) in bytes.chunks(CHUNK_BYTES).enumerate() {
            let offset = offset + (at * CHUNK_BYTES) as u64;
            let result = self.machine.operate(Kind::Write, &self.name, WRITE_NS);
            self.machine.with(|state| {
                if result.is_err() {
                    // A part of it may be there, and no flush will say so.
                    if state.death.is_none() {
                        let part = state.random.below((chunk.len() / PAGE) as u64 + 1) as usize * PAGE;
                        state.disk.write(self.inode, &chunk[..part], offset);
                        state.fail_sync(self.inode);
                    }
                    return result;
                }
                if !state.disk.reserve(self.inode, offset + chunk.len() as u64) {
                    state.counts.add("full disks");
                    return Err(io::Error::from_raw_os_error(libc::ENOSPC));
                }
                state.disk.write(self.inode, chunk, offset);
                scheduler::current().note(self.inode as u64 ^ (offset << 16));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let version = self.machine.with(|state| {
            state.perhaps_snapshot(&self.machine);
            state.disk.version()
        });
        let result = self.machine.operate(Kind::Flush, &self.name, FLUSH_NS);
        self.machine.with(|state| match result {
            Ok(()) => {
                state.disk.sync(self.inode, version);
                Ok(())
            }
            Err(error) => {
                if state.death.is_none() {
                    state.fail_sync(self.inode);
                }
                Err(error)
            }
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.machine.operate(Kind::Allocate, &self.name, CALL_NS)?;
        self.machine.with(|state| {
            if !state.disk.reserve(self.inode, length) {
                state.counts.add("full disks");
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            state.disk.cut(self.inode, length);
            state.disk.extend(self.inode, length);
            Ok(())
        })
    }

    fn lock(&self, wait_ms: u64) -> io::Result<bool> {
        let scheduler = scheduler::current();
        let deadline_ns = scheduler.now_ns() + wait_ms * 1_000_000;
        loop {
            let landing = self.machine.with(|state| {
                state.check_alive()?;
                let held = state.locks.get(&self.inode).is_some_and(|holder| *holder != self.descriptor);
                let landing = state.in_flight.iter().filter(|flight| flight.inode == self.inode && flight.ring == 0);
                let until = landing.map(|flight| flight.due_ns).max();
                if !held && until.is_none() {
                    state.locks.insert(self.inode, self.descriptor);
                    return Ok::<_, io::Error>(None);
                }
                Ok(Some(until.unwrap_or(u64::MAX)))
            })?;
            let now_ns = scheduler.now_ns();
            match landing {
                None => return Ok(true),
                Some(_) if now_ns >= deadline_ns => return Ok(false),
                Some(until_ns) => {
                    scheduler.park(Some(until_ns.min(deadline_ns).min(now_ns + 10_000_000)), "a lock");
                }
            }
        }
    }

    fn descriptor(&self) -> Option<RawFd> {
        None
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        self.machine.with(|state| {
            if state.locks.get(&self.inode) == Some(&self.descriptor) {
                state.locks.remove(&self.inode);
            }
        });
    }
}

/// The inode of a file of a simulated machine.
pub(super) fn inode_of(machine: &Machine, file: &Arc<dyn File>) -> Inode {
    // Files of a lane are segments, and their names are never given to another file while they are open.
    machine.with(|state| state.disk.find(file.name())).expect("a lane writes to files that are there")
}
