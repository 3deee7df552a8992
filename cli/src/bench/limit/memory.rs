//! Page-aligned memory for O_DIRECT.
//!
//! Invariant: a buffer is never moved or freed while the kernel uses it; the loops of this folder
//! wait for every operation before they drop their buffers.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// What O_DIRECT wants of addresses, lengths and offsets.
pub const PAGE: usize = 4096;

/// Owned bytes whose address is a multiple of [`PAGE`].
pub struct AlignedBuffer {
    memory: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is owned and has no thread affinity.
unsafe impl Send for AlignedBuffer {}

impl AlignedBuffer {
    /// A buffer of zeroes; `length` is rounded up to whole pages.
    pub fn zeroed(length: usize) -> AlignedBuffer {
        let length = length.max(1).next_multiple_of(PAGE);
        // SAFETY: the size is above zero.
        let memory = unsafe { alloc_zeroed(Self::layout(length)) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(Self::layout(length)) };
        AlignedBuffer { memory, length }
    }

    /// A buffer of bytes no device can shrink: a host may treat zeroes and repetitions specially.
    pub fn noise(length: usize) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::zeroed(length);
        super::super::noise::fill(&mut buffer);
        buffer
    }

    fn layout(length: usize) -> Layout {
        Layout::from_size_align(length, PAGE).expect("a buffer fits the address space")
    }

    /// The address, for the kernel.
    pub fn as_mut_pointer(&mut self) -> *mut u8 {
        self.memory.as_ptr()
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `length` bytes are owned and initialised.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.length) }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.length)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_whole_pages_at_a_page() {
        let mut buffer = AlignedBuffer::noise(5000);
        assert_eq!(buffer.len(), 8192);
        assert_eq!(buffer.as_mut_pointer() as usize % PAGE, 0);
        assert!(buffer.iter().any(|&byte| byte != buffer[0]));
    }
}
