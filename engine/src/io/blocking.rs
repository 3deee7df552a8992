//! Writing and flushing by blocking calls, on the lane's own thread.
//!
//! Invariants:
//! - A durable write has succeeded only after the flush that covers it: its own (RWF_DSYNC), or one
//!   fdatasync for all writes of a group.
//! - The first refusal of RWF_DSYNC is remembered: from then on it is write and fdatasync.

use super::transfer::{Flushing, Next, Part, Step, Transfer, rest};
use super::trial::is_refusal;
use super::{File, Write, calls};
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// What a lane asked a ring for.
pub(super) enum Job {
    /// A write.
    Write(Write),
    /// A flush of a file.
    Flush {
        /// Given back in the completion.
        token: u64,
        /// What to flush.
        file: Arc<dyn File>,
    },
}

/// See the module.
pub(super) struct BlockingWriter {
    /// Whether files bypass the page cache.
    direct: bool,
    /// Whether RWF_DSYNC is taken.
    dsync: bool,
    /// Empty between two groups; kept for its memory.
    group: Vec<(Write, io::Result<()>)>,
}

impl BlockingWriter {
    /// `direct`: files are opened with O_DIRECT. `dsync`: the kernel and the file system are known,
    /// or hoped, to take RWF_DSYNC.
    pub(super) fn new(direct: bool, dsync: bool) -> BlockingWriter {
        BlockingWriter { direct, dsync, group: Vec::new() }
    }

    /// Writes `first` and the durable writes to the same file that stand right behind it in
    /// `queued`, makes them durable with one flush, and reports each to `done`.
    pub(super) fn write_group(
        &mut self,
        first: Write,
        queued: &mut VecDeque<Job>,
        mut done: impl FnMut(Write, io::Result<()>),
    ) {
        debug_assert!(first.durable, "groups are for the sake of a common flush");
        if !joins(&first, queued) {
            let result = self.write(&first, true);
            return done(first, result);
        }
        let result = self.write(&first, false);
        let file = first.file.clone();
        self.group.push((first, result));
        while joins(&self.group[0].0, queued)
            && let Some(Job::Write(write)) = queued.pop_front()
        {
            let result = self.write(&write, false);
            self.group.push((write, result));
        }
        let flushed = self.flush(&*file);
        for (write, result) in self.group.drain(..) {
            let flushed = match &flushed {
                Ok(()) => Ok(()),
                Err(error) => Err(again(error)),
            };
            done(write, result.and(flushed));
        }
    }

    /// Writes everything; with `durable`, returns when it is on the device.
    pub(super) fn write(&mut self, write: &Write, durable: bool) -> io::Result<()> {
        let file = descriptor(&*write.file)?;
        let flushing = match (durable, self.dsync) {
            (false, _) => Flushing::None,
            (true, true) => Flushing::WithWrite,
            (true, false) => Flushing::After,
        };
        match self.transfer(write, file, flushing) {
            Err(error) if flushing == Flushing::WithWrite && is_refusal(&error) => {
                // An EINVAL may have another reason; then the plain write fails with it as well.
                self.transfer(write, file, Flushing::After)?;
                self.dsync = false;
                Ok(())
            }
            result => result,
        }
    }

    /// Flushes `file` to the device.
    pub(super) fn flush(&self, file: &dyn File) -> io::Result<()> {
        calls::data_sync(descriptor(file)?)
    }

    fn transfer(&self, write: &Write, file: RawFd, flushing: Flushing) -> io::Result<()> {
        let mut transfer = Transfer::write(write.total_length(), flushing, self.direct);
        let flags = if flushing == Flushing::WithWrite { libc::RWF_DSYNC } else { 0 };
        let mut next = transfer.start();
        loop {
            transfer.started(next);
            let (part, result) = match next {
                Next::Write => {
                    let written = transfer.written();
                    let (parts, count) = rest(write, written);
                    let offset = write.offset + written as u64;
                    (Part::Write, calls::write_vectored(file, &parts[..count], offset, flags))
                }
                Next::Sync => (Part::Sync, calls::data_sync(file).map(|()| 0)),
            };
            let answer = match result {
                Ok(bytes) => bytes as i32,
                Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
            };
            match transfer.answer(part, answer) {
                Step::Go(following) => next = following,
                Step::Done(result) => return result,
                Step::Wait => unreachable!("blocking calls are never linked"),
            }
        }
    }
}

/// Whether the next job can share a flush with `first`.
fn joins(first: &Write, queued: &VecDeque<Job>) -> bool {
    matches!(queued.front(), Some(Job::Write(next)) if next.durable && Arc::ptr_eq(&next.file, &first.file))
}

/// An error a second time: one failed flush fails several writes.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// The descriptor of `file`, which only files of a simulator lack.
pub(super) fn descriptor(file: &dyn File) -> io::Result<RawFd> {
    file.descriptor().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("file {} has no descriptor to write to", file.name()))
    })
}
