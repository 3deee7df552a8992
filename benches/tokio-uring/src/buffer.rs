//! A page-aligned block, as O_DIRECT wants it, that both loops can hand to the kernel.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use tokio_uring::buf::IoBuf;

const PAGE: usize = 4096;

/// Owned bytes at a multiple of a page, all of them set, without a pattern.
pub(crate) struct AlignedBuffer {
    memory: NonNull<u8>,
    length: usize,
}

impl AlignedBuffer {
    /// A block of `length` bytes, a multiple of a page.
    pub(crate) fn new(length: usize) -> AlignedBuffer {
        assert!(length > 0 && length.is_multiple_of(PAGE), "blocks are whole pages");
        // SAFETY: the size is above zero.
        let memory = unsafe { alloc(Self::layout(length)) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(Self::layout(length)) };
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for index in 0..length / 8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // SAFETY: within the block, which is aligned for whole words.
            unsafe { memory.cast::<u64>().add(index).write(state) };
        }
        AlignedBuffer { memory, length }
    }

    fn layout(length: usize) -> Layout {
        Layout::from_size_align(length, PAGE).expect("a block fits the address space")
    }

    /// Its address.
    pub(crate) fn pointer(&self) -> *const u8 {
        self.memory.as_ptr()
    }

    /// Its length.
    pub(crate) fn len(&self) -> usize {
        self.length
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.length)) }
    }
}

// SAFETY: the memory is on the heap and does not move with the value; all of it is initialised.
unsafe impl IoBuf for AlignedBuffer {
    fn stable_ptr(&self) -> *const u8 {
        self.pointer()
    }

    fn bytes_init(&self) -> usize {
        self.length
    }

    fn bytes_total(&self) -> usize {
        self.length
    }
}
