//! Page-aligned memory that a lane fills once and everybody may read.
//!
//! Invariants:
//! - A block has one [`BlockWriter`]; it writes only at or after `published` and moves `published`
//!   forward with Release.
//! - Bytes below `published` never change while the block is shared, so readers and the kernel may
//!   borrow them without a lock.
//! - A block is used again only when nobody else holds it ([`BlockPool`]).

use crate::sync::atomic::{AtomicUsize, Ordering};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::Mutex;

/// Alignment of every block: what O_DIRECT asks for on every device we know.
pub const BLOCK_ALIGNMENT: usize = 4096;

/// Page-aligned, fixed-size memory; see the invariants above.
pub struct Block {
    memory: NonNull<u8>,
    capacity: usize,
    published: AtomicUsize,
}

// SAFETY: the memory is owned by the block; shared access is split at `published` (see the module's
// invariants), so no byte is read and written at the same time.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// A zeroed block of `capacity` bytes, a multiple of the alignment, with nothing published.
    pub fn zeroed(capacity: usize) -> Block {
        assert!(capacity > 0 && capacity.is_multiple_of(BLOCK_ALIGNMENT), "blocks are whole pages");
        let layout = Self::layout(capacity);
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Block { memory, capacity, published: AtomicUsize::new(0) }
    }

    /// A block holding a copy of `bytes`, all of it published, zero-padded to whole pages.
    pub fn copy_of(bytes: &[u8]) -> Block {
        let mut block = Block::zeroed(bytes.len().max(1).next_multiple_of(BLOCK_ALIGNMENT));
        block.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        block.publish_all();
        block
    }

    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, BLOCK_ALIGNMENT).expect("a block fits the address space")
    }

    /// Bytes the block can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that are final and may be read.
    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// The published bytes `start..end`.
    ///
    /// # Panics
    /// If the range reaches beyond what is published.
    pub fn slice(&self, start: usize, end: usize) -> &[u8] {
        assert!(start <= end && end <= self.published(), "only published bytes may be read");
        // SAFETY: below `published`, which is at most `capacity`; these bytes do not change while
        // the block is shared.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(start), end - start) }
    }

    /// The whole memory, while nobody else holds the block.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: `&mut self` excludes readers and writers; `capacity` bytes are owned.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.capacity) }
    }

    /// Publishes everything, while nobody else holds the block.
    pub fn publish_all(&mut self) {
        self.published.store(self.capacity, Ordering::Relaxed);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout and freed once.
        unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.capacity)) }
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} of {})", self.published(), self.capacity)
    }
}

/// The one who fills a block, front to back.
#[derive(Debug)]
pub struct BlockWriter {
    block: Arc<Block>,
    filled: usize,
}

impl BlockWriter {
    /// Starts filling a block nobody else holds.
    pub fn new(block: Block) -> BlockWriter {
        block.published.store(0, Ordering::Relaxed);
        BlockWriter { block: Arc::new(block), filled: 0 }
    }

    /// The block, for readers and writes.
    pub fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Bytes filled so far.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.block.capacity - self.filled
    }

    /// Appends bytes and publishes them.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn append(&mut self, bytes: &[u8]) {
        self.fill(bytes.len(), |target| target.copy_from_slice(bytes));
    }

    /// Appends `length` bytes that `write` puts in place, and publishes them.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn fill(&mut self, length: usize, write: impl FnOnce(&mut [u8])) {
        assert!(length <= self.room(), "the frame was measured before it was written");
        // SAFETY: `filled..filled + length` lies within the block and at or after `published`, where
        // only the one writer (`&mut self`) has access.
        let target = unsafe { std::slice::from_raw_parts_mut(self.block.memory.as_ptr().add(self.filled), length) };
        write(target);
        self.filled += length;
        self.block.published.store(self.filled, Ordering::Release);
    }
}

/// Blocks of one size that are used again: fresh memory costs a page fault for each page.
#[derive(Debug)]
pub struct BlockPool {
    capacity: usize,
    free_max: usize,
    free: Mutex<Vec<Block>>,
}

impl BlockPool {
    /// A pool of blocks of `capacity` bytes that keeps up to `free_max` unused ones.
    pub fn new(capacity: usize, free_max: usize) -> BlockPool {
        BlockPool { capacity, free_max, free: Mutex::new(Vec::new()) }
    }

    /// A block of at least `capacity` bytes. Its old content is still in it.
    pub fn take(&self, capacity: usize) -> Block {
        if capacity <= self.capacity
            && let Some(block) = self.lock().pop()
        {
            return block;
        }
        Block::zeroed(capacity.max(self.capacity).next_multiple_of(BLOCK_ALIGNMENT))
    }

    /// Gives a block back; it is kept only if this was its last holder and the pool has room.
    pub fn give(&self, block: Arc<Block>) {
        if let Some(block) = Arc::into_inner(block)
            && block.capacity == self.capacity
        {
            let mut free = self.lock();
            if free.len() < self.free_max {
                free.push(block);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Block>> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_can_be_read_while_more_is_written() {
        let mut writer = BlockWriter::new(Block::zeroed(8192));
        writer.append(b"hello");
        let block = writer.block().clone();
        assert_eq!(block.slice(0, 5), b"hello");
        writer.append(b" world");
        assert_eq!(block.slice(0, 11), b"hello world");
        assert_eq!(writer.room(), 8192 - 11);
    }

    #[test]
    #[should_panic(expected = "only published bytes")]
    fn unpublished_bytes_cannot_be_read() {
        let writer = BlockWriter::new(Block::zeroed(4096));
        writer.block().slice(0, 1);
    }

    #[test]
    fn a_block_returns_to_the_pool_only_from_its_last_holder() {
        let pool = BlockPool::new(4096, 2);
        let held = Arc::new(pool.take(1));
        let reader = held.clone();
        pool.give(held);
        assert_eq!(pool.lock().len(), 0);
        pool.give(reader);
        assert_eq!(pool.lock().len(), 1);
        assert_eq!(pool.take(10_000).capacity(), 12_288, "larger than the pool's size: made to measure");
    }
}
