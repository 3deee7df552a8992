//! A process that forks: the child is told, the parent goes on.

#![allow(clippy::unwrap_used)]

mod common;

use common::{directory, options};
use ringlane::*;

/// A child of fork that does nothing until it is killed. (It waited for the end of a pipe, once. The tests run at the
/// same time, and each child had the other one's pipe too: neither ever came to its end.)
struct Child(libc::pid_t);

impl Child {
    fn fork() -> Child {
        // SAFETY: the child calls nothing but what a child of a process with threads may call.
        let child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                // SAFETY: it takes no memory and no lock.
                unsafe { libc::pause() };
            }
        }
        assert!(child > 0);
        Child(child)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the child is ours, and nobody else collects it.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// The child of a fork shares the parent's open files, and with them their locks. After the parent had
/// closed its engine, opening again found everything locked until the child ended.
#[test]
fn a_child_that_lives_on_does_not_keep_the_directory_locked() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let child = Child::fork();
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(directory.path(), options()).unwrap();
    engine.create_topic("t", TopicOptions::new()).unwrap();
    engine.close().unwrap();
    drop(child);
}

#[test]
fn a_child_of_fork_serves_nobody() {
    let directory = directory();
    let path = directory.path();
    let engine = Engine::open(path, options()).unwrap();
    let child = Child::fork();
    assert_eq!(admin::Client::connect(path).unwrap().holder().pid, std::process::id());
    // The child holds a copy of the socket. It must not look as if somebody listened, even under another name.
    std::fs::hard_link(path.join("admin.socket"), path.join(".kept")).unwrap();
    engine.close().unwrap();
    assert!(!path.join("admin.socket").exists());
    let error = std::os::unix::net::UnixStream::connect(path.join(".kept")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(child);
}
