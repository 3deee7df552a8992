//! Buffers of batches that were written, kept for the next ones of any producer of the engine.
//!
//! A buffer that comes fresh from the system costs its sender a fault for each of its pages. A burst has many of them under
//! way at once, so it is bytes that are bounded here, not buffers.
//!
//! Invariants:
//! - What lies here is empty, and takes [`SPARE_BYTES_MAX`] at most.
//! - The one that came back last goes first: it is still in a cache.

use super::batch::Content;
use crate::sync::{Mutex, lock};

/// Memory that is kept.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// See the module.
#[derive(Default)]
pub(crate) struct SpareContents {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    contents: Vec<Content>,
    bytes: usize,
}

impl SpareContents {
    /// An empty buffer, which may have memory.
    pub(crate) fn take(&self) -> Content {
        let mut inner = lock(&self.inner);
        let content = inner.contents.pop().unwrap_or_default();
        inner.bytes -= content.capacity();
        content
    }

    /// Keeps a buffer that is done with, if it is not larger than `bytes_max`.
    pub(crate) fn give_back(&self, mut content: Content, bytes_max: usize) {
        let bytes = content.capacity();
        if bytes > bytes_max {
            return;
        }
        content.clear();
        let mut inner = lock(&self.inner);
        if inner.bytes + bytes <= SPARE_BYTES_MAX {
            inner.bytes += bytes;
            inner.contents.push(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_what_is_kept_is_bounded_and_used_again() {
        let spare = SpareContents::default();
        let mut content = spare.take();
        assert_eq!(content.capacity(), 0, "nothing is there yet");
        content.make_room(100, 1 << 20);
        content.make_room(1 << 19, 1 << 20);
        let large = content.capacity();
        spare.give_back(content, large - 1);
        assert_eq!(spare.take().capacity(), 0, "it was too large");
        for _ in 0..2 * SPARE_BYTES_MAX / large {
            let mut content = Content::default();
            content.make_room(large, 0);
            spare.give_back(content, usize::MAX);
        }
        let kept = || std::iter::repeat_with(|| spare.take().capacity()).take_while(|bytes| *bytes > 0);
        let bytes: usize = kept().sum();
        assert!((SPARE_BYTES_MAX - large..=SPARE_BYTES_MAX).contains(&bytes), "{bytes}");
        assert_eq!(lock(&spare.inner).bytes, 0);
    }
}
