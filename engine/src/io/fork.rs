//! Noticing a fork: the child of a process shares no lanes with it and must not use its engines.
//!
//! A page that the kernel empties in children (MADV_WIPEONFORK, Linux 4.14) costs one load to look at,
//! where getpid costs a system call. Where the kernel refuses, forks go unnoticed here and end in
//! blocked calls instead; no supported kernel does.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

static MARK: OnceLock<&'static AtomicU8> = OnceLock::new();
static UNMARKED: AtomicU8 = AtomicU8::new(1);

fn mark() -> &'static AtomicU8 {
    MARK.get_or_init(|| {
        // SAFETY: a fresh private page of our own, never unmapped; one byte of it is used as an atomic.
        unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                super::PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if page == libc::MAP_FAILED || libc::madvise(page, super::PAGE, libc::MADV_WIPEONFORK) != 0 {
                return &UNMARKED;
            }
            let mark = &*page.cast::<AtomicU8>();
            mark.store(1, Ordering::Relaxed);
            mark
        }
    })
}

/// Remembers this process; called when an engine is opened.
pub(crate) fn remember() -> ForkMark {
    ForkMark(mark())
}

/// Knows the process that made it.
#[derive(Clone, Copy)]
pub(crate) struct ForkMark(&'static AtomicU8);

impl ForkMark {
    /// Whether this is a child of the process that made it.
    #[inline]
    pub(crate) fn is_forked(self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_child_notices() {
        let mark = super::remember();
        assert!(!mark.is_forked());
        // SAFETY: the child only loads a byte and exits.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(mark.is_forked()));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(libc::WEXITSTATUS(status), 1);
        }
    }
}
