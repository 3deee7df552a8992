//! One file of a real directory.
//!
//! Invariants:
//! - Every transfer is repeated until it is whole, has failed, or has met the end of the file.
//! - The lock belongs to the open file: it ends when the process is gone and with it the last write it
//!   submitted, which is what a recovering process waits for; or when the process that took it drops
//!   the file, even if a child of fork still has a copy of the descriptor.

use super::fork::{self, ForkMark};
use super::{Clock, File, PAGE, calls};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the first wait for a lock is; each further one is twice as long, up to the longest.
const LOCK_WAIT_FIRST: Duration = Duration::from_micros(500);
const LOCK_WAIT_LONGEST: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct DiskFile {
    name: String,
    file: fs::File,
    direct: bool,
    clock: Arc<dyn Clock>,
    locked: AtomicBool,
    process: ForkMark,
}

impl DiskFile {
    /// Wraps an open file; `direct` says that it bypasses the page cache.
    pub(super) fn new(name: &str, file: fs::File, direct: bool, clock: Arc<dyn Clock>) -> DiskFile {
        DiskFile {
            name: name.to_owned(),
            file,
            direct,
            clock,
            locked: AtomicBool::new(false),
            process: fork::remember(),
        }
    }

    /// O_DIRECT would answer EINVAL somewhere deep; here the mistake shows where it was made.
    fn assert_aligned(&self, bytes: &[u8], offset: u64) {
        let aligned = offset.is_multiple_of(PAGE as u64)
            && bytes.len().is_multiple_of(PAGE)
            && bytes.as_ptr().addr().is_multiple_of(PAGE);
        assert!(!self.direct || aligned, "file {}: direct I/O needs aligned memory, offset and length", self.name);
    }
}

impl Drop for DiskFile {
    /// A child of fork shares the open file and with it the lock: closing our descriptor would not end
    /// it. And a child must not end its parent's.
    fn drop(&mut self) {
        if self.locked.load(Ordering::Relaxed) && !self.process.is_forked() {
            calls::unlock(self.file.as_fd());
        }
    }
}

impl File for DiskFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.assert_aligned(buffer, offset);
        let mut done = 0;
        while done < buffer.len() {
            let read = calls::read_at(self.file.as_fd(), &mut buffer[done..], offset + done as u64)?;
            done += read;
            if read == 0 {
                break;
            }
            if self.direct && !done.is_multiple_of(PAGE) {
                // A direct read stops inside a page at the end of the file only; should it ever
                // stop elsewhere, it goes on from the page's start.
                if offset + done as u64 >= self.length()? || read < PAGE {
                    break;
                }
                done -= done % PAGE;
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.assert_aligned(bytes, offset);
        let mut done = 0;
        while done < bytes.len() {
            let rest = [&bytes[done..]];
            let written = calls::write_vectored(self.file.as_raw_fd(), &rest, offset + done as u64, 0)?;
            let before = done;
            done += written;
            if self.direct {
                done -= done % PAGE;
            }
            if done == before {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "the file takes no more bytes"));
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        calls::data_sync(self.file.as_raw_fd())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match calls::allocate(self.file.as_fd(), length) {
            Ok(()) => {}
            // The file system cannot reserve; a full disk will then show in a write.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {}
            Err(error) => return Err(error),
        }
        if self.length()? != length {
            self.file.set_len(length)?;
        }
        Ok(())
    }

    fn lock(&self, wait_ms: u64) -> io::Result<bool> {
        let deadline = self.clock.monotonic_ns().saturating_add(wait_ms.saturating_mul(1_000_000));
        let mut pause = LOCK_WAIT_FIRST;
        loop {
            if calls::try_lock(self.file.as_fd())? {
                self.locked.store(true, Ordering::Relaxed);
                return Ok(true);
            }
            let left = Duration::from_nanos(deadline.saturating_sub(self.clock.monotonic_ns()));
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(LOCK_WAIT_LONGEST);
        }
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }
}
