//! What the device can do without an engine: the other half of every comparison.
//!
//! The loops are as bare as they can be made, so that a ratio near one means something. They use
//! io_uring, O_DIRECT and RWF_DSYNC like the engine; where io_uring is refused they use blocking
//! threads, so that the comparison stays one of like with like.

mod cohort;
mod file;
mod memory;
mod ring;
mod threads;

pub use cohort::fed_by_threads;
pub use file::RawFile;

use super::measure::Sample;
use std::io;
use std::time::Duration;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// As many whole blocks as reach these bytes.
    Bytes(u64),
    /// For so long.
    Time(Duration),
}

/// What one block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Write, and complete when the device has flushed it.
    DurableWrite,
    /// Read.
    Read,
}

/// Moves blocks one after the other, `depth` of them in flight; the latency is that of each block.
pub fn blocks(file: &RawFile, what: Operation, block_bytes: usize, depth: usize, amount: Amount) -> io::Result<Sample> {
    match ring::blocks(file, what, block_bytes, depth, amount) {
        Err(error) if is_refused(&error) => threads::blocks(file, what, block_bytes, depth, amount),
        result => result,
    }
}

/// Fills a merely allocated file: 1 MiB writes, 8 in flight, none durable by itself, a fdatasync for
/// every 16 MiB. The latency is from a block's start to the end of the flush that covers it.
pub fn growing(file: &RawFile) -> io::Result<Sample> {
    match ring::growing(file) {
        Err(error) if is_refused(&error) => threads::growing(file),
        result => result,
    }
}

/// Block size of [`growing`].
const GROWING_BLOCK_BYTES: usize = 1 << 20;
/// Writes in flight of [`growing`].
const GROWING_DEPTH: usize = 8;
/// How often [`growing`] flushes.
const GROWING_FLUSH_BYTES: u64 = 16 << 20;

/// The errors with which kernels and sandboxes refuse a ring.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::EACCES | libc::ENOMEM))
}
