//! System calls that `std` does not offer, each behind a safe function.
//!
//! Invariants:
//! - Every call that a signal can interrupt is repeated on EINTR.
//! - A result below zero never leaves this file; it becomes an [`io::Error`].

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Repeats `call` while a signal interrupts it.
fn retry(mut call: impl FnMut() -> libc::c_long) -> io::Result<usize> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Writes parts one after another at `offset`, with `flags` of pwritev2 (RWF_DSYNC or none). May
/// write less than asked.
pub(super) fn write_vectored(file: RawFd, parts: &[&[u8]], offset: u64, flags: i32) -> io::Result<usize> {
    let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 2];
    assert!(parts.len() <= vectors.len(), "a write has whole pages and at most one tail");
    for (vector, part) in vectors.iter_mut().zip(parts) {
        *vector = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
    }
    let count = parts.len() as libc::c_int;
    retry(|| {
        // SAFETY: the vectors describe `parts`, which are borrowed for the whole call; the kernel
        // only reads them. A descriptor that is none is answered with EBADF.
        let result = unsafe {
            if flags == 0 {
                libc::pwritev(file, vectors.as_ptr(), count, offset as libc::off_t)
            } else {
                libc::pwritev2(file, vectors.as_ptr(), count, offset as libc::off_t, flags)
            }
        };
        result as libc::c_long
    })
}

/// Reads at `offset`; may read less than asked, and reads nothing at the end of the file.
pub(super) fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    retry(|| {
        // SAFETY: the buffer is borrowed for the whole call and its length is passed with it.
        let result =
            unsafe { libc::pread(file.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), offset as libc::off_t) };
        result as libc::c_long
    })
}

/// Flushes a file's data, and what is needed to read it back, to the device.
pub(super) fn data_sync(file: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed. A descriptor that is none is answered with EBADF.
    retry(|| unsafe { libc::fdatasync(file) }.into()).map(drop)
}

/// Reserves blocks for the first `length` bytes; a shorter file becomes that long.
pub(super) fn allocate(file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
    // SAFETY: no memory is passed.
    retry(|| unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length as libc::off_t) }.into()).map(drop)
}

/// Takes the exclusive lock of the open file. `false`: somebody else holds it.
pub(super) fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: no memory is passed.
    match retry(|| unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }.into()) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lock of the open file up.
pub(super) fn unlock(file: BorrowedFd<'_>) {
    // SAFETY: no memory is passed. An error leaves the lock to the descriptor's end.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
}

/// Bytes an unprivileged process can still write to the file system that holds `file`.
pub(super) fn free_bytes(file: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: all zeroes is a valid value of this plain structure.
    let mut status: libc::statvfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is borrowed for the whole call.
    retry(|| unsafe { libc::fstatvfs64(file.as_raw_fd(), &mut status) }.into())?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Eight bytes of the kernel's generator of random numbers.
pub(super) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    let read = retry(|| {
        // SAFETY: the array is borrowed for the whole call and its length is passed with it.
        let result = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        result as libc::c_long
    });
    assert!(matches!(read, Ok(8)), "getrandom gives eight bytes on every kernel since 3.17: {read:?}");
    u64::from_ne_bytes(bytes)
}

/// A new Unix stream socket that never blocks, with these permissions for the name it is bound to.
pub(super) fn unix_socket(mode: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed.
    let socket = retry(|| unsafe { libc::socket(libc::AF_UNIX, kind, 0) }.into())?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket as RawFd) };
    // Linux makes the name with the permissions of the socket itself: it never exists with wider ones, and
    // the process's umask, which all its threads share, is left alone.
    // SAFETY: no memory is passed.
    retry(|| unsafe { libc::fchmod(socket.as_raw_fd(), mode) }.into())?;
    Ok(socket)
}

/// Longest path of a Unix socket in bytes.
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Binds a socket to a path and begins to listen.
pub(super) fn bind_and_listen(socket: BorrowedFd<'_>, path: &[u8], waiting_max: i32) -> io::Result<()> {
    assert!(path.len() <= SOCKET_PATH_BYTES_MAX && !path.contains(&0), "the caller chooses a path that fits");
    // SAFETY: all zeroes is a valid value of this plain structure.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (target, byte) in address.sun_path.iter_mut().zip(path) {
        *target = *byte as libc::c_char;
    }
    let bytes = std::mem::size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address lives as long as the call, and its size is passed with it.
    retry(|| unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), bytes) }.into())?;
    // SAFETY: no memory is passed.
    retry(|| unsafe { libc::listen(socket.as_raw_fd(), waiting_max) }.into()).map(drop)
}

/// The user on the other side of a connected Unix socket, as the kernel noted it.
pub(super) fn peer_user(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut bytes = std::mem::size_of::<libc::ucred>() as libc::socklen_t;
    retry(|| {
        // SAFETY: both live as long as the call, which writes at most `bytes` bytes.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                std::ptr::from_mut(&mut peer).cast(),
                &mut bytes,
            )
        };
        result.into()
    })?;
    Ok(peer.uid)
}

/// The user that this process acts as.
pub(super) fn own_user() -> u32 {
    // SAFETY: no memory is passed, and it cannot fail.
    unsafe { libc::geteuid() }
}

/// Ends both directions of a socket, for all processes that hold it.
pub(super) fn shut_down(socket: BorrowedFd<'_>) {
    // SAFETY: no memory is passed. An error leaves it to the descriptor's end.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Gives a directory's entry another name, or replaces one.
pub(super) fn rename_in(directory: BorrowedFd<'_>, from: &std::ffi::CStr, to: &std::ffi::CStr) -> io::Result<()> {
    let directory = directory.as_raw_fd();
    // SAFETY: both names live as long as the call.
    retry(|| unsafe { libc::renameat(directory, from.as_ptr(), directory, to.as_ptr()) }.into()).map(drop)
}

/// Removes a directory's entry.
pub(super) fn remove_in(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the name lives as long as the call.
    retry(|| unsafe { libc::unlinkat(directory.as_raw_fd(), name.as_ptr(), 0) }.into()).map(drop)
}

/// The permissions of a directory's entry.
pub(super) fn mode_in(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<u32> {
    // SAFETY: all zeroes is a valid value of this plain structure.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: name and structure live as long as the call.
    retry(|| unsafe { libc::fstatat(directory.as_raw_fd(), name.as_ptr(), &mut status, flags) }.into())?;
    Ok(status.st_mode & 0o7777)
}

/// Sleeps until one of the descriptors is ready, at most `timeout_ms` (below zero: for ever). A signal ends it early.
pub(super) fn poll(entries: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<()> {
    // SAFETY: the entries are borrowed for the whole call and their number is passed with them.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout_ms) };
    match ready {
        0.. => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}

/// A new eventfd that never blocks.
pub(super) fn event() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let event = retry(|| unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }.into())?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(event as RawFd) })
}

/// Adds one to an eventfd. A counter that is full wakes as well, so that error is none.
pub(super) fn ring_event(event: BorrowedFd<'_>) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the array is borrowed for the whole call and its length is passed with it.
    let result = retry(|| unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) } as libc::c_long);
    debug_assert!(
        result.as_ref().is_ok_and(|written| *written == 8)
            || result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
        "an eventfd takes eight bytes: {result:?}"
    );
}

/// Sets an eventfd back to zero.
pub(super) fn drain_event(event: BorrowedFd<'_>) {
    let mut count = [0u8; 8];
    // Nothing to read is as good as having read: the counter is zero afterwards either way.
    // SAFETY: the array is borrowed for the whole call and its length is passed with it.
    let _ = retry(|| unsafe { libc::read(event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) } as libc::c_long);
}

/// Sleeps while `word` holds `expected`, at most `timeout`. Returns for any reason at any time.
pub(super) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word and the time are borrowed for the whole call. Every error (value changed,
    // interrupted, timed out) means "look again", which the caller does.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected, limit)
    };
}

/// Wakes one thread that sleeps on `word`.
pub(super) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is borrowed for the whole call; the kernel uses its address only.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
}
