//! A fresh directory for a run, removed at its end.
//!
//! Invariant: only the directory made here is removed, never one that was there before.

use crate::failure::{Failure, Result};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory that goes when this is dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a fresh directory in `parent`, or in the current directory: that is a real disk more
    /// often than the system's place for temporary files.
    pub fn new(parent: Option<&Path>, purpose: &str) -> Result<Scratch> {
        let parent = parent.unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(Failure::io(format!("creating {}", parent.display())))?;
        for number in 0.. {
            let path = parent.join(format!("ringlane-{purpose}-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Scratch { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::io(format!("creating {}", path.display()))(error)),
            }
        }
        unreachable!("there are enough numbers")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says on standard error if what is measured here is not a device.
    pub fn warn_if_not_a_disk(&self) {
        if let Some(name) = memory_file_system(&self.path) {
            eprintln!(
                "warning: {} is on {name}, which is memory; choose a directory on a disk with --dir",
                self.path.display()
            );
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("warning: {} could not be removed: {error}", self.path.display());
        }
    }
}

/// The name of the file system if it has no device.
fn memory_file_system(path: &Path) -> Option<&'static str> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: statfs is plain data for which zero is valid.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values.
    if unsafe { libc::statfs(path.as_ptr(), &mut answer) } != 0 {
        return None;
    }
    const RAMFS_MAGIC: i64 = 0x8584_58f6;
    match answer.f_type {
        libc::TMPFS_MAGIC => Some("tmpfs"),
        RAMFS_MAGIC => Some("ramfs"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fresh_and_goes_with_its_content() {
        let parent = tempfile::tempdir().unwrap();
        let first = Scratch::new(Some(parent.path()), "test").unwrap();
        let second = Scratch::new(Some(parent.path()), "test").unwrap();
        assert_ne!(first.path(), second.path());
        std::fs::write(first.path().join("file"), "x").unwrap();
        drop((first, second));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "the parent stays");
    }
}
