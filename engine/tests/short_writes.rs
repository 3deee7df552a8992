//! Writes that the kernel cuts short. That the rest follows, and where, is tested beside the rings
//! (`io/conformance.rs`, `io/transfer.rs`). Here the kernel itself does it: a limit on the size of files lets it
//! take the first pages of a write, answer with their number, and refuse the rest.

#![allow(clippy::unwrap_used)]

mod common;

use common::watchdog::watchdog;
use common::{backends, child, directory};
use ringlane::WriteStrategy;
use ringlane::io::{Access, Block, Completion, Directory, DirectoryOptions, PAGE, Storage, SystemClock, Wait, Write};
use std::path::Path;
use std::sync::Arc;

const WHOLE: usize = 1 << 20;
const LIMIT: u64 = 64 << 10;

/// On every backend and with every strategy the write ends with the error that the rest met, and never as
/// a success; also where the flush linked to it was cancelled.
#[test]
fn a_write_that_cannot_be_finished_is_an_error() {
    let _watchdog = watchdog(100, "short writes");
    let directory = directory();
    // The limit is one of the whole process.
    let mut child = child::start("write", directory.path().to_str().unwrap());
    let said = child.hear_all().join().unwrap();
    assert!(child.end().success(), "{said:?}");
    assert!(said.len() > 2 && said.iter().all(|line| line.ends_with("65536 bytes, then 27")), "{said:#?}");
}

/// Run by the other test as a process of its own.
#[test]
#[ignore = "a child of the other test"]
fn child() {
    if let Some((_, path)) = child::order() {
        let limit = libc::rlimit { rlim_cur: LIMIT, rlim_max: LIMIT };
        // SAFETY: sets a limit and a disposition of this process.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
        write_everywhere(Path::new(&path));
    }
}

fn write_everywhere(path: &Path) {
    let clock = Arc::new(SystemClock::new());
    let strategies = [None].into_iter().chain(WriteStrategy::ALL.map(Some));
    for (backend, write_strategy) in backends().into_iter().flat_map(|b| strategies.clone().map(move |s| (b, s))) {
        let options = DirectoryOptions { backend, write_strategy, ..DirectoryOptions::default() };
        let storage = match Directory::open(path, options, clock.clone()) {
            Ok(storage) => storage,
            // A strategy of the ring is none of blocking calls.
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
                continue;
            }
        };
        for durable in [true, false] {
            let file = storage.open("segment", Access::Create).unwrap();
            let mut ring = storage.ring().unwrap();
            ring.write(Write {
                token: 1,
                file: file.clone(),
                offset: 0,
                block: Arc::new(Block::copy_of(&vec![7; WHOLE - PAGE])),
                start: 0,
                length: WHOLE - PAGE,
                tail: Some(Arc::new(Block::copy_of(&[8; PAGE]))),
                durable,
            });
            let mut completions: Vec<Completion> = Vec::new();
            while completions.is_empty() {
                ring.turn(Wait::Forever, &mut completions).unwrap();
            }
            let errno = completions.remove(0).result.map_err(|error| error.raw_os_error().unwrap_or(-1));
            let outcome = errno.map_or_else(|errno| errno.to_string(), |()| "success".to_owned());
            let written = file.length().unwrap();
            child::say(&format!("{backend:?} {write_strategy:?} {durable}: {written} bytes, then {outcome}"));
            drop((ring, file));
            storage.remove("segment").unwrap();
        }
    }
}
