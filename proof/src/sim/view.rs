//! What somebody outside may see of a disk at one moment, as storage.
//!
//! Invariants:
//! - Nothing changes in it, and reading takes no time: all that is seen is of one moment.
//! - It can only be read: whoever writes, locks or makes a file gets an error, and that is told.

use super::disk::{Disk, Inode};
use ringlane::io::{Access, File, IoReport, Ring, Storage};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
pub struct View {
    disk: Arc<Disk>,
    touched: Arc<AtomicU64>,
}

struct ViewFile {
    name: String,
    inode: Inode,
    disk: Arc<Disk>,
    touched: Arc<AtomicU64>,
}

impl View {
    /// A disk to look at.
    pub fn new(disk: Disk) -> View {
        View { disk: Arc::new(disk), touched: Arc::default() }
    }

    /// Counts attempts to change something, or to lock it.
    pub fn touched(&self) -> Arc<AtomicU64> {
        self.touched.clone()
    }
}

fn refuse<T>(touched: &AtomicU64) -> io::Result<T> {
    touched.fetch_add(1, Ordering::Relaxed);
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Storage for View {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        if access != Access::Read {
            return refuse(&self.touched);
        }
        let inode = self.disk.find(name).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        let (name, disk, touched) = (name.to_owned(), self.disk.clone(), self.touched.clone());
        Ok(Arc::new(ViewFile { name, inode, disk, touched }))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.names())
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        refuse(&self.touched)
    }
    fn sync_directory(&self) -> io::Result<()> {
        refuse(&self.touched)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn ring(&self) -> io::Result<Box<dyn Ring>> {
        refuse(&self.touched)
    }
    fn random(&self) -> u64 {
        0
    }
    fn report(&self) -> IoReport {
        IoReport { backend: "plain", direct: true, reason: "a view of a simulated disk".to_owned() }
    }
}

impl File for ViewFile {
    fn name(&self) -> &str {
        &self.name
    }
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.length(self.inode))
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.disk.read(self.inode, buffer, offset))
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        refuse(&self.touched)
    }
    fn sync(&self) -> io::Result<()> {
        refuse(&self.touched)
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        refuse(&self.touched)
    }
    fn lock(&self, _: u64) -> io::Result<bool> {
        refuse(&self.touched)
    }
    fn descriptor(&self) -> Option<RawFd> {
        None
    }
}
