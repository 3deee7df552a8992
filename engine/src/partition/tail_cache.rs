//! The end of a log in memory: the very blocks that were written.
//!
//! Invariants:
//! - Blocks are in the order of their bases. Where one block follows another in the middle of a page,
//!   the page's beginning stands in both, so the later one wins and nothing is missing.
//! - A frame lies wholly within one block.
//! - A block that is evicted lives on as long as a consumer holds it.

use crate::io::{Block, BlockPool};
use crate::log::position::Position;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

struct TailBlock {
    base: Position,
    block: Arc<Block>,
}

/// The recent blocks of one log.
pub(crate) struct TailCache {
    bytes_max: u64,
    bytes: AtomicU64,
    blocks: RwLock<VecDeque<TailBlock>>,
}

impl TailCache {
    pub(crate) fn new(bytes_max: u64) -> TailCache {
        TailCache { bytes_max, bytes: AtomicU64::new(0), blocks: RwLock::new(VecDeque::new()) }
    }

    /// Adds the block that will be filled next, and gives up the oldest ones beyond the bound, but
    /// none that holds a position at or above `keep`: they are still to be written.
    pub(crate) fn push(&self, base: Position, block: Arc<Block>, keep: Position, pool: &BlockPool) {
        let mut evicted = Vec::new();
        {
            let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
            let mut bytes = self.bytes.load(Ordering::Relaxed) + block.capacity() as u64;
            blocks.push_back(TailBlock { base, block });
            while bytes > self.bytes_max && blocks.len() > 1 && blocks[1].base <= keep {
                let oldest = blocks.pop_front().expect("longer than one");
                bytes -= oldest.block.capacity() as u64;
                evicted.push(oldest.block);
            }
            self.bytes.store(bytes, Ordering::Relaxed);
        }
        for block in evicted {
            pool.give(block);
        }
    }

    /// The block with `bytes` bytes at `position`, and where in it they begin.
    pub(crate) fn find(&self, position: Position, bytes: usize) -> Option<(Arc<Block>, usize)> {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let after = blocks.partition_point(|tail| tail.base <= position);
        let tail = &blocks[after.checked_sub(1)?];
        let start = position.since(tail.base) as usize;
        (start + bytes <= tail.block.published()).then(|| (tail.block.clone(), start))
    }

    /// Whether a position is not older than what is held.
    pub(crate) fn holds(&self, position: Position) -> bool {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        !position.is_of_copy() && blocks.front().is_some_and(|oldest| oldest.base <= position)
    }

    /// Memory it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::BlockWriter;

    fn block(pool: &BlockPool, byte: u8, count: usize) -> Arc<Block> {
        let mut writer = BlockWriter::new(pool.take(4096));
        writer.append(&vec![byte; count]);
        writer.block().clone()
    }

    #[test]
    fn the_oldest_block_goes_first_unless_it_must_be_kept() {
        let pool = BlockPool::new(4096, 4);
        let cache = TailCache::new(8192);
        for (index, base) in [4096u64, 8192, 12_288].into_iter().enumerate() {
            cache.push(Position(base), block(&pool, index as u8, 4096), Position(0), &pool);
        }
        assert!(cache.find(Position(4096), 8).is_some(), "kept: nothing below it is done");
        cache.push(Position(16_384), block(&pool, 3, 100), Position(16_384), &pool);
        assert!(cache.find(Position(4096), 8).is_none());
        assert!(cache.find(Position(12_288), 4096).is_some());
        assert!(cache.find(Position(16_384), 101).is_none(), "not written yet");
        let (found, start) = cache.find(Position(16_390), 2).unwrap();
        assert_eq!(found.slice(start, start + 2), &[3, 3]);
        assert_eq!(cache.bytes(), 8192);
    }
}
