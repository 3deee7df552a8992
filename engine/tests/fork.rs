//! A process that forks: the child is told, the parent goes on.

#![allow(clippy::unwrap_used)]

mod common;

use common::{directory, options};
use ringlane::*;

/// The child of a fork shares the parent's open files, and with them their locks. After the parent had
/// closed its engine, opening again found everything locked until the child ended.
#[test]
fn a_child_that_lives_on_does_not_keep_the_directory_locked() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let mut ends = [0; 2];
    // SAFETY: the array takes two descriptors. The child only reads from a pipe and exits.
    let child = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let child = libc::fork();
        if child == 0 {
            libc::close(ends[1]);
            let mut byte = 0u8;
            libc::read(ends[0], std::ptr::from_mut(&mut byte).cast(), 1);
            libc::_exit(0);
        }
        child
    };
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(directory.path(), options()).unwrap();
    engine.create_topic("t", TopicOptions::new()).unwrap();
    engine.close().unwrap();
    // SAFETY: ends the child by closing its pipe, and collects it.
    unsafe {
        libc::close(ends[1]);
        assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
    }
}

#[test]
fn a_child_of_fork_serves_nobody() {
    let directory = directory();
    let path = directory.path();
    let engine = Engine::open(path, options()).unwrap();
    let mut ends = [0; 2];
    // SAFETY: the array takes two descriptors. The child only reads from a pipe and exits.
    let child = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let child = libc::fork();
        if child == 0 {
            libc::close(ends[1]);
            let mut byte = 0u8;
            libc::read(ends[0], std::ptr::from_mut(&mut byte).cast(), 1);
            libc::_exit(0);
        }
        child
    };
    assert_eq!(admin::Client::connect(path).unwrap().holder().pid, std::process::id());
    // The child holds a copy of the socket. It must not look as if somebody listened, even under another name.
    std::fs::hard_link(path.join("admin.socket"), path.join(".kept")).unwrap();
    engine.close().unwrap();
    assert!(!path.join("admin.socket").exists());
    let error = std::os::unix::net::UnixStream::connect(path.join(".kept")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    // SAFETY: ends the child by closing its pipe, and collects it.
    unsafe {
        libc::close(ends[1]);
        assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
    }
}
