//! Ctrl-C and SIGTERM as a flag, for commands that would otherwise go on for ever.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn remember(_signal: libc::c_int) {
    // A second signal while the command is ending takes the default way out.
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on the first Ctrl-C or SIGTERM only sets the flag; the next one ends the process.
pub fn catch() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: sigaction is plain data for which zero is valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = remember as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    }
}

/// Whether one came.
pub fn came() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
