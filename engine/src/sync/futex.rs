//! The futex calls, for private memory.

use super::driver;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` is `expected`; may return early for no reason.
pub(super) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    if let Some(driver) = driver::current() {
        return driver.wait(word, expected, timeout);
    }
    let timeout = timeout.map(|duration| libc::timespec {
        tv_sec: duration.as_secs().min(i64::MAX as u64) as libc::time_t,
        tv_nsec: libc::c_long::from(duration.subsec_nanos() as i32),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word outlives the call, the timeout is null or valid; FUTEX_WAIT touches nothing else.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected, timeout);
    }
}

/// Wakes everybody who sleeps on `word`; returns how many.
pub(super) fn wake_all(word: &AtomicU32) -> u32 {
    if let Some(driver) = driver::current() {
        return driver.wake_all(word);
    }
    // SAFETY: the address is only used as a key.
    let woken =
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX) };
    u32::try_from(woken).unwrap_or(0)
}
