//! The file the raw loops write to: on the same file system as the engine's, and without a name, so
//! that it is gone however the process ends.
//!
//! Invariant: a prepared file has written extents for its whole length before anything is timed,
//! as the engine's segments have.

use super::memory::{AlignedBuffer, PAGE};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file for a raw loop.
pub struct RawFile {
    file: File,
    bytes: u64,
    passed: AtomicU64,
}

impl RawFile {
    /// A file of `bytes` zeroes, flushed, then overwritten once: what a recycled segment is.
    pub fn prepared(directory: &Path, bytes: u64) -> io::Result<RawFile> {
        let raw = RawFile::allocated(directory, bytes)?;
        for mut content in [AlignedBuffer::zeroed(1 << 20), AlignedBuffer::noise(1 << 20)] {
            let mut offset = 0;
            while offset < raw.bytes {
                let length = (content.len() as u64).min(raw.bytes - offset) as usize;
                raw.file.write_all_at(&content.as_mut()[..length], offset)?;
                offset += length as u64;
            }
            raw.file.sync_data()?;
        }
        Ok(raw)
    }

    /// A file whose blocks are reserved and never written: what a growing log writes into.
    pub fn allocated(directory: &Path, bytes: u64) -> io::Result<RawFile> {
        let bytes = bytes.next_multiple_of(PAGE as u64);
        let path = directory.join(format!("raw-limit-{}", std::process::id()));
        let open = |flags: i32| {
            OpenOptions::new().read(true).write(true).create(true).truncate(true).custom_flags(flags).open(&path)
        };
        // tmpfs and some container file systems refuse O_DIRECT; the engine does the same there.
        let file = match open(libc::O_DIRECT) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(0)?,
            opened => opened?,
        };
        std::fs::remove_file(&path)?;
        let raw = RawFile { file, bytes, passed: AtomicU64::new(0) };
        // SAFETY: a plain system call on a descriptor we own.
        let result = unsafe { libc::fallocate(raw.file.as_raw_fd(), 0, 0, bytes as i64) };
        if result != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EOPNOTSUPP) {
                return Err(error);
            }
            raw.file.set_len(bytes)?;
        }
        raw.file.sync_all()?;
        Ok(raw)
    }

    /// The length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the next block of this size goes: one after the other, then from the start again. Blocks
    /// stand at multiples of their size.
    pub fn next_offset(&self, block_bytes: usize) -> u64 {
        let block = block_bytes as u64;
        let passed = self.passed.fetch_add(block, Ordering::Relaxed);
        passed / block % (self.bytes / block) * block
    }

    /// The descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// fdatasync.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// A durable write by a blocking call.
    pub fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let part = libc::iovec { iov_base: bytes.as_ptr() as *mut libc::c_void, iov_len: bytes.len() };
        // SAFETY: the one part describes `bytes`, which outlives the call and is only read.
        let written = unsafe { libc::pwritev2(self.descriptor(), &part, 1, offset as i64, libc::RWF_DSYNC) };
        match written {
            _ if written == bytes.len() as isize => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            _ => Err(io::Error::new(io::ErrorKind::WriteZero, "short write")),
        }
    }

    /// A write by a blocking call, not flushed.
    pub fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// A read by a blocking call.
    pub fn read(&self, target: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(target, offset)
    }
}

#[cfg(test)]
impl RawFile {
    /// Makes it shorter than it believes to be.
    pub fn cut(&self, bytes: u64) {
        self.file.set_len(bytes).unwrap();
    }

    /// Opens it again read-only, so that every write fails.
    pub fn close_for_writing(&mut self) {
        self.file = File::open(format!("/proc/self/fd/{}", self.descriptor())).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_round_and_stay_aligned_when_the_block_size_changes() {
        let directory = tempfile::tempdir().unwrap();
        let raw = RawFile::allocated(directory.path(), 40 << 10).unwrap();
        let offsets: Vec<u64> = (0..4).map(|_| raw.next_offset(16 << 10) >> 10).collect();
        assert_eq!(offsets, [0, 16, 0, 16], "a block that would reach beyond the end is never given");
        for _ in 0..100 {
            for block in [4096, 16 << 10, 12 << 10] {
                let offset = raw.next_offset(block);
                assert!(offset.is_multiple_of(block as u64) && offset + block as u64 <= raw.bytes());
            }
        }
    }

    #[test]
    fn a_prepared_file_is_full_and_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let raw = RawFile::prepared(directory.path(), 100_000).unwrap();
        assert_eq!(raw.bytes(), 102_400);
        let mut last = AlignedBuffer::zeroed(4096);
        raw.read(&mut last, 102_400 - 4096).unwrap();
        assert!(last.iter().any(|&byte| byte != 0));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
