//! What a directory and its kernel can do, found out by doing it.
//!
//! Invariants:
//! - Every answer comes from a real write to a file in the very directory; nothing is concluded from
//!   version numbers or file system names.
//! - The file of a trial has no name, or loses it before anything is written to it.
//! - A refusal is remembered in words for people.

use super::uring::{self, SetupLevel};
use super::{Block, PAGE, calls};
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What a trial found.
#[derive(Debug)]
pub(super) struct Abilities {
    /// Whether files can bypass the page cache, or why not.
    pub(super) direct: Result<(), String>,
    /// Whether RWF_DSYNC is taken by pwritev2 in the mode found above.
    pub(super) dsync: bool,
    /// Whether io_uring runs and at which level, or why not.
    pub(super) uring: Result<SetupLevel, String>,
    /// Whether RWF_DSYNC is taken on io_uring.
    pub(super) uring_dsync: bool,
}

/// What a trial need not try.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exempt {
    /// Files shall be buffered anyway.
    pub(super) direct: bool,
    /// io_uring shall not be used anyway.
    pub(super) uring: bool,
}

/// Tries everything in `directory`. An error means that no file can be made there at all.
pub(super) fn run(directory: &Path, exempt: Exempt) -> io::Result<Abilities> {
    let page = Block::copy_of(&[0x5a; PAGE]);
    let page = page.slice(0, PAGE);
    let (file, direct) = if exempt.direct {
        (nameless(directory, 0)?, Err("not asked for".to_owned()))
    } else {
        direct_file(directory, page)?
    };
    let dsync = match calls::write_vectored(file.as_raw_fd(), &[page], 0, libc::RWF_DSYNC) {
        Ok(_) => true,
        Err(error) => !is_refusal(&error),
    };
    let (uring, uring_dsync) = match exempt.uring {
        true => (Err("not asked for".to_owned()), false),
        false => try_uring(&file, page),
    };
    Ok(Abilities { direct, dsync, uring, uring_dsync })
}

/// A file opened with O_DIRECT that has taken a page, or a buffered one and the reason.
fn direct_file(directory: &Path, page: &[u8]) -> io::Result<(fs::File, Result<(), String>)> {
    let refused = match nameless(directory, libc::O_DIRECT) {
        Ok(file) => match calls::write_vectored(file.as_raw_fd(), &[page], 0, 0) {
            Err(error) if is_refusal(&error) => format!("a write with O_DIRECT was refused: {}", words(&error)),
            // Anything else, a full disk for example, says nothing about O_DIRECT.
            _ => return Ok((file, Ok(()))),
        },
        Err(error) if is_refusal(&error) => format!("O_DIRECT was refused: {}", words(&error)),
        Err(error) => return Err(error),
    };
    Ok((nameless(directory, 0)?, Err(refused)))
}

/// A file without a name: it vanishes with its descriptor.
fn nameless(directory: &Path, flags: i32) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE | flags);
    if let Ok(file) = options.open(directory) {
        return Ok(file);
    }
    // Without O_TMPFILE, a name for a moment. O_EXCL, so that nobody else's file is touched.
    let path = directory.join(format!(".ringlane-trial-{:016x}", calls::random()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600).custom_flags(flags);
    let opened = options.open(&path);
    // A refused O_DIRECT may leave the empty file behind.
    let removed = fs::remove_file(&path);
    let file = opened?;
    removed?;
    Ok(file)
}

fn try_uring(file: &fs::File, page: &[u8]) -> (Result<SetupLevel, String>, bool) {
    let (mut ring, level) = match uring::setup(8) {
        Ok(ring) => ring,
        Err(error) => return (Err(format!("io_uring_setup was refused: {}", words(&error))), false),
    };
    match write_on(&mut ring, file, page, 0) {
        Err(error) if is_refusal(&error) => (Err(format!("a write on io_uring was refused: {}", words(&error))), false),
        _ => {
            let dsync = write_on(&mut ring, file, page, libc::RWF_DSYNC);
            (Ok(level), !dsync.is_err_and(|error| is_refusal(&error)))
        }
    }
}

fn write_on(ring: &mut IoUring, file: &fs::File, page: &[u8], flags: i32) -> io::Result<()> {
    let entry = opcode::Write::new(Fd(file.as_raw_fd()), page.as_ptr(), page.len() as u32).rw_flags(flags).build();
    // SAFETY: the page is borrowed until this function returns, and it returns only when the one
    // request is answered or was never taken.
    unsafe { ring.submission().push(&entry) }.expect("the ring is empty");
    loop {
        match ring.submitter().submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        if let Some(answer) = ring.completion().next() {
            return match answer.result() {
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                _ => Ok(()),
            };
        }
    }
}

/// Whether `error` says that a flag or a call is unknown or forbidden here.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL | libc::EPERM))
}

/// An error with the name that people search for.
fn words(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM; a seccomp profile, a container's policy or kernel.io_uring_disabled forbids it",
        Some(libc::EACCES) => "EACCES",
        Some(libc::ENOSYS) => "ENOSYS; the kernel or the sandbox does not have it",
        Some(libc::EINVAL) => "EINVAL; the kernel or the file system does not have it",
        Some(libc::EOPNOTSUPP) => "EOPNOTSUPP; the file system does not have it",
        Some(libc::ENOMEM) => "ENOMEM; perhaps the limit on locked memory (ulimit -l)",
        _ => return error.to_string(),
    };
    format!("{error}, {name}")
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Scratch, finish, open, pattern, read_back, write};
    use super::super::{Access, Backend, Storage};
    use super::*;
    use std::sync::Arc;

    /// Makes the calling thread live under a policy that answers `call` with `error`, as the default
    /// seccomp profiles of containers do. There is no way back, so the thread must be a fresh one.
    fn forbid(call: libc::c_long, error: i32) {
        let statement = |code: u32, value: u32, then: u8, otherwise: u8| libc::sock_filter {
            code: code as u16,
            jt: then,
            jf: otherwise,
            k: value,
        };
        let mut filter = [
            // The number of the call is the first word that a filter sees.
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 0, 1),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | error as u32, 0, 0),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the program and its filter are borrowed for the calls; only this thread is bound.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
        }
    }

    /// Runs `test` on a thread where `call` is answered with `error`.
    fn where_forbidden(call: libc::c_long, error: i32, test: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                forbid(call, error);
                test();
            });
            thread.join().expect("the test on the thread passes");
        });
    }

    fn writes_and_reads(scratch: &Scratch) {
        let directory = open(scratch, Backend::Auto, None).expect("opens");
        let file = directory.open("a", Access::Create).expect("created");
        let mut ring = directory.ring().expect("a ring");
        for token in 0..3 {
            ring.write(write(token, &file, token * 2 * PAGE as u64, &pattern(2 * PAGE, token), true, true));
            assert_eq!(finish(&mut *ring, 1), [token]);
        }
        for token in 0..3 {
            assert_eq!(read_back(&file, token * 2 * PAGE as u64, 2 * PAGE), pattern(2 * PAGE, token));
        }
    }

    #[test]
    fn where_io_uring_is_forbidden_plain_calls_run_and_the_report_says_why() {
        for (error, word) in [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS"), (libc::ENOMEM, "ENOMEM")] {
            let scratch = Scratch::new();
            where_forbidden(libc::SYS_io_uring_setup, error, || {
                let report = open(&scratch, Backend::Auto, None).expect("opens").report();
                assert_eq!(report.backend, "plain");
                assert!(
                    report.reason.contains("io_uring_setup was refused") && report.reason.contains(word),
                    "{report:?}"
                );
                let insisting = open(&scratch, Backend::IoUring, None).map(drop).expect_err("asked for");
                assert!(insisting.to_string().contains(word), "{insisting}");
                writes_and_reads(&scratch);
            });
        }
    }

    /// The directory was opened where io_uring is allowed, but a lane's thread may not set it up.
    #[test]
    fn a_lane_that_gets_no_io_uring_gets_a_plain_ring() {
        let scratch = Scratch::new();
        let directory = Arc::new(open(&scratch, Backend::Auto, None).expect("opens"));
        if directory.report().backend != "io_uring" {
            return;
        }
        where_forbidden(libc::SYS_io_uring_setup, libc::ENOMEM, || {
            let file = directory.open("a", Access::Create).expect("created");
            let mut ring = directory.ring().expect("a plain one");
            ring.write(write(1, &file, 0, &pattern(PAGE, 1), false, true));
            assert_eq!(finish(&mut *ring, 1), [1]);
        });
        let report = directory.report();
        assert_eq!(report.backend, "plain");
        assert!(report.reason.contains("could not be set up"), "{report:?}");
    }

    #[test]
    fn where_pwritev2_is_missing_writes_are_flushed_apart() {
        let scratch = Scratch::new();
        where_forbidden(libc::SYS_pwritev2, libc::ENOSYS, || {
            let abilities = run(scratch.path(), Exempt::default()).expect("the directory can be written");
            assert!(!abilities.dsync);
            writes_and_reads(&scratch);
        });
    }

    /// RWF_DSYNC is taken in the trial and refused later: the write must still become durable.
    #[test]
    fn a_refusal_after_the_trial_is_survived() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::Plain, None).expect("opens");
        where_forbidden(libc::SYS_pwritev2, libc::EOPNOTSUPP, || {
            let file = directory.open("a", Access::Create).expect("created");
            let mut ring = directory.ring().expect("a ring");
            for token in 0..2 {
                ring.write(write(token, &file, 0, &pattern(PAGE, token), false, true));
                assert_eq!(finish(&mut *ring, 1), [token]);
                assert_eq!(read_back(&file, 0, PAGE), pattern(PAGE, token));
            }
        });
    }
}
