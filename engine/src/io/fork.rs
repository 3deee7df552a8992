//! Noticing a fork: the child of a process shares no lanes with it and must not use its engines.
//!
//! A page that the kernel empties in children (MADV_WIPEONFORK, Linux 4.14) costs one load to look at,
//! where getpid costs a system call. Where the kernel refuses, forks go unnoticed here and end in
//! blocked calls instead; no supported kernel does.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The page holds the number of its process; zero in a child that has not taken one yet.
static MARK: OnceLock<&'static AtomicU32> = OnceLock::new();
static UNMARKED: AtomicU32 = AtomicU32::new(1);
/// A child inherits this, so its number differs from those of the processes it comes from.
static NEXT: AtomicU32 = AtomicU32::new(1);

fn mark() -> &'static AtomicU32 {
    MARK.get_or_init(|| {
        // SAFETY: a fresh private page of our own, never unmapped; its beginning is used as an atomic.
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
            &*page.cast::<AtomicU32>()
        }
    })
}

/// Remembers this process; called when an engine is opened. A child of fork that opens one itself is a
/// process like any other.
pub(crate) fn remember() -> ForkMark {
    let page = mark();
    if page.load(Ordering::Relaxed) == 0 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let _ = page.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    }
    ForkMark { page, process: page.load(Ordering::Relaxed) }
}

/// Knows the process that made it.
#[derive(Clone, Copy, Debug)]
pub struct ForkMark {
    page: &'static AtomicU32,
    process: u32,
}

impl Default for ForkMark {
    fn default() -> Self {
        remember()
    }
}

impl ForkMark {
    /// Whether this is a child of the process that made it.
    #[inline]
    pub fn is_forked(self) -> bool {
        self.page.load(Ordering::Relaxed) != self.process
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_child_notices() {
        let mark = super::remember();
        assert!(!mark.is_forked());
        // SAFETY: the child only uses atomics and exits.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(mark.is_forked() && !super::remember().is_forked() && mark.is_forked()));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(libc::WEXITSTATUS(status), 1);
        }
    }
}
