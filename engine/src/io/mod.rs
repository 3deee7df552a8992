//! The world as the engine sees it: a directory of files, a ring per lane, two clocks.
//!
//! Everything above this folder touches the outside only through [`Storage`], [`File`], [`Ring`] and
//! [`Clock`]. The same lane, recovery and reading code therefore runs on io_uring, on plain system
//! calls and in the simulator. No other folder of the engine may use `std::fs`, `std::time` or a
//! random number.

mod block;
mod blocking;
mod calls;
mod clock;
#[cfg(test)]
mod conformance;
pub(crate) mod directory;
mod disk_file;
mod doorbell;
#[doc(hidden)]
pub mod faulty;
pub mod fork;
mod latch;
mod plain;
mod reads;
mod selector;
pub(crate) mod socket;
mod strategy;
mod transfer;
mod trial;
mod uring;
mod uring_reads;

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

pub use block::{BLOCK_ALIGNMENT, Block, BlockPool, BlockWriter};
pub use clock::SystemClock;
pub(crate) use clock::delay_ms;
pub use directory::{Backend, Directory, DirectoryOptions};
pub use latch::{IoFailure, Latch};
pub use strategy::{UnknownWriteStrategy, WriteStrategy};

/// The unit in which files are written and read: offsets, lengths and buffers are multiples of it.
pub const PAGE: usize = 4096;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The file exists and is only read.
    Read,
    /// The file exists and is read and written.
    Write,
    /// The file is created if it is not there, and read and written.
    Create,
}

/// A directory of files. Calls block; lanes use it for nothing on the way to a receipt.
pub trait Storage: Send + Sync {
    /// Opens `name` in the directory. Names are plain: no separators.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;
    /// The names of all files in the directory, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Removes a file. Durable after [`Storage::sync_directory`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Bytes that can still be written to the file system.
    fn free_bytes(&self) -> io::Result<u64>;
    /// A ring for one lane. Called on the thread that will use it.
    fn ring(&self) -> io::Result<Box<dyn Ring>>;
    /// A way to read with several reads in flight, for one reader. Where there is none, and without a
    /// word from the storage, reads are carried out one by one when they are waited for.
    fn read_ring(&self) -> Box<dyn ReadRing> {
        Box::new(reads::BlockingReads::default())
    }
    /// A number nobody could predict: salts, engine ids.
    fn random(&self) -> u64;
    /// What this storage runs on and why, for people.
    fn report(&self) -> IoReport;
}

/// One open file. All calls are positional and may come from any thread.
pub trait File: Send + Sync {
    /// The name it was opened by.
    fn name(&self) -> &str;
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Reads until `buffer` is full or the file ends; returns the bytes read. `offset`, the buffer's
    /// address and its length are multiples of [`PAGE`]; a [`Block`] gives such buffers.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` (aligned like [`File::read_at`]) and returns when the kernel has them;
    /// durable after [`File::sync`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Flushes data, and what is needed to read it back, to the device (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// Reserves blocks for the first `length` bytes and sets the length, without writing them.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Takes the exclusive lock of this descriptor, waiting up to `wait_ms`. `false`: somebody holds it.
    /// The lock ends with the descriptor and with the last write submitted on it.
    fn lock(&self, wait_ms: u64) -> io::Result<bool>;
    /// The descriptor, where there is one (the simulator has none).
    fn descriptor(&self) -> Option<RawFd>;
}

/// One write of a lane: whole pages of a block, and at the end perhaps one page that is still being
/// filled and was therefore copied, so that no memory changes under a write.
pub struct Write {
    /// Given back in the completion. Unique among what is in flight.
    pub token: u64,
    /// The segment's file.
    pub file: Arc<dyn File>,
    /// Where in the file, a multiple of [`PAGE`].
    pub offset: u64,
    /// The block the pages are in.
    pub block: Arc<Block>,
    /// First byte of the pages within the block, a multiple of [`PAGE`].
    pub start: usize,
    /// Length of the whole pages, a multiple of [`PAGE`]; may be zero if there is a tail.
    pub length: usize,
    /// The copied last page.
    pub tail: Option<Arc<Block>>,
    /// Whether the completion means "on the device" (flushed) or only "taken by the kernel".
    pub durable: bool,
}

impl Write {
    /// All bytes of the write, the tail page included.
    pub fn total_length(&self) -> usize {
        self.length + if self.tail.is_some() { PAGE } else { 0 }
    }
}

/// The end of a write or a flush.
#[derive(Debug)]
pub struct Completion {
    /// The token it was started with.
    pub token: u64,
    /// Short writes and interrupted calls are continued inside the ring; an error is final.
    pub result: io::Result<()>,
}

/// How long [`Ring::turn`] may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Return at once with what has completed.
    No,
    /// Sleep until a completion, a wake, or this monotonic time in ns.
    Until(u64),
    /// Sleep until a completion or a wake.
    Forever,
}

/// A lane's way to the device. Used by one thread.
pub trait Ring: Send {
    /// Starts a write. It may already be done on return, or only be handed on by the next
    /// [`Ring::turn`]; either way its completion comes out of `turn`.
    fn write(&mut self, write: Write);
    /// Starts a flush of `file`; it covers all writes whose completions were seen before.
    fn flush(&mut self, token: u64, file: &Arc<dyn File>);
    /// Hands on what was started, waits as told, and appends what has completed. An error is one of
    /// the ring itself and poisons the engine.
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()>;
    /// Wakes the thread in [`Ring::turn`]; may be used by any thread, and is kept if nobody waits.
    fn waker(&self) -> Arc<dyn Wake>;
    /// Counters of this ring.
    fn counters(&self) -> RingCounters;
}

/// Ends a wait in [`Ring::turn`].
pub trait Wake: Send + Sync {
    /// Ends the wait that is going on, or the next one.
    fn wake(&self);
}

/// What a ring did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Writes completed.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Flushes the device was asked for (a durable write counts one).
    pub flushes: u64,
    /// The strategy in use for small durable writes.
    pub strategy: WriteStrategy,
    /// How often the strategy was changed because of stalls.
    pub strategy_changes: u64,
    /// Durable writes that took far longer than their fellows.
    pub stalls: u64,
}

/// One read of a reader: whole pages, into a block that nobody else holds.
pub struct Read {
    /// Given back with the block. Unique among what is in flight.
    pub token: u64,
    /// The segment's file.
    pub file: Arc<dyn File>,
    /// Where in the file, a multiple of [`PAGE`].
    pub offset: u64,
    /// Where the bytes go, from its beginning on.
    pub block: Block,
    /// How many are wanted, a multiple of [`PAGE`] and at most the block's capacity.
    pub length: usize,
}

/// The end of a read.
pub struct ReadDone {
    /// The token it was started with.
    pub token: u64,
    /// The block it was started with.
    pub block: Block,
    /// How many bytes were read; fewer than wanted only at the file's end.
    pub result: io::Result<usize>,
}

/// A reader's way to the device. It may move from thread to thread and is used by one at a time.
///
/// Dropping it waits until the kernel writes into none of its blocks any more.
pub trait ReadRing: Send {
    /// How many reads can be under way at once; one, if starting them early gains nothing.
    fn depth(&self) -> usize;
    /// Starts a read, or queues it behind others; the next [`ReadRing::collect`] hands it on.
    fn start(&mut self, read: Read);
    /// Hands on what was started and appends what is done. With `wait`, and if any read is under way or
    /// queued, at least one is done on return. An error is one of the ring itself: it must be dropped,
    /// and its reads are lost.
    fn collect(&mut self, wait: bool, done: &mut Vec<ReadDone>) -> io::Result<()>;
}

/// Monotonic and wall time.
pub trait Clock: Send + Sync {
    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// Milliseconds since 1970-01-01 UTC; may jump, and may lag behind by a few.
    fn wall_ms(&self) -> i64;
    /// The same without the lag, rounded up: a delay that begins here ends no earlier than it was asked to.
    fn wall_ms_rounded_up(&self) -> i64 {
        self.wall_ms()
    }
}

/// Which backend runs, and why not a better one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct IoReport {
    /// `io_uring` or `plain`.
    pub backend: &'static str,
    /// Whether files bypass the page cache (O_DIRECT).
    pub direct: bool,
    /// Why it is this backend, in words: "chosen by option", "io_uring_setup: EPERM", ...
    pub reason: String,
}

/// A file that cannot exist: the type of a weak reference to nothing.
pub(crate) enum ClosedFile {}

impl File for ClosedFile {
    fn name(&self) -> &str {
        match *self {}
    }
    fn length(&self) -> io::Result<u64> {
        match *self {}
    }
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        match *self {}
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        match *self {}
    }
    fn sync(&self) -> io::Result<()> {
        match *self {}
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        match *self {}
    }
    fn lock(&self, _: u64) -> io::Result<bool> {
        match *self {}
    }
    fn descriptor(&self) -> Option<RawFd> {
        match *self {}
    }
}
