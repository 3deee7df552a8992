//! Tests that every backend and every strategy must pass alike.

use super::*;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A directory that is removed at the end of its test.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// On the disk that holds the build, which is a real one where the temporary directory is not.
    pub(super) fn new() -> Scratch {
        let target = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        Scratch::under(&target)
    }

    pub(super) fn under(parent: &std::path::Path) -> Scratch {
        let path = parent.join(format!("ringlane-io-test-{:016x}", calls::random()));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn open(scratch: &Scratch, backend: Backend, strategy: Option<WriteStrategy>) -> io::Result<Directory> {
    let options = DirectoryOptions { backend, write_strategy: strategy, ..DirectoryOptions::default() };
    Directory::open(scratch.path(), options, Arc::new(SystemClock::new()))
}

/// Every way to write that this machine has.
fn ways(scratch: &Scratch) -> Vec<(String, Directory)> {
    let mut ways = Vec::new();
    for backend in [Backend::Auto, Backend::Plain, Backend::PlainBuffered] {
        ways.push((format!("{backend:?}"), open(scratch, backend, None).unwrap()));
    }
    for strategy in WriteStrategy::ALL {
        match open(scratch, Backend::IoUring, Some(strategy)) {
            Ok(directory) => ways.push((strategy.to_string(), directory)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{strategy}: {error}"),
        }
    }
    ways
}

/// Pages that tell where they belong.
pub(super) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    (0..length as u64).map(|at| (at / 64 + seed * 131 + at % 251) as u8).collect()
}

pub(super) fn write(token: u64, file: &Arc<dyn File>, offset: u64, bytes: &[u8], tail: bool, durable: bool) -> Write {
    let pages = if tail { bytes.len() - PAGE } else { bytes.len() };
    // The pages stand in the middle of their block, as they do in a lane.
    let mut memory = vec![0xee; PAGE];
    memory.extend_from_slice(&bytes[..pages]);
    Write {
        token,
        file: file.clone(),
        offset,
        block: Arc::new(Block::copy_of(&memory)),
        start: PAGE,
        length: pages,
        tail: tail.then(|| Arc::new(Block::copy_of(&bytes[pages..]))),
        durable,
    }
}

/// Turns until `count` operations have completed; they all must succeed.
pub(super) fn finish(ring: &mut dyn Ring, count: usize) -> Vec<u64> {
    let mut completions = Vec::new();
    while completions.len() < count {
        ring.turn(Wait::Forever, &mut completions).unwrap();
    }
    let mut tokens: Vec<u64> = completions.into_iter().map(|done| done.result.map(|()| done.token).unwrap()).collect();
    tokens.sort_unstable();
    tokens
}

pub(super) fn read_back(file: &Arc<dyn File>, offset: u64, length: usize) -> Vec<u8> {
    let mut block = Block::zeroed(length.next_multiple_of(PAGE));
    let read = file.read_at(block.as_mut_slice(), offset).unwrap();
    block.as_mut_slice()[..read.min(length)].to_vec()
}

#[test]
fn what_is_written_is_read_back() {
    let scratch = Scratch::new();
    for (way, directory) in ways(&scratch) {
        let file = directory.open("segment", Access::Create).unwrap();
        file.allocate(4 << 20).unwrap();
        let mut ring = directory.ring().unwrap();
        for (round, (pages, tail)) in
            [(1, false), (0, true), (3, true), (16, false), (64, true)].into_iter().enumerate()
        {
            let bytes = pattern((pages + usize::from(tail)) * PAGE, round as u64);
            for durable in [true, false] {
                let offset = (round * 100 * PAGE) as u64;
                ring.write(write(7, &file, offset, &bytes, tail, durable));
                assert_eq!(finish(&mut *ring, 1), [7], "{way}");
                assert_eq!(read_back(&file, offset, bytes.len()), bytes, "{way}, round {round}");
            }
        }
        ring.flush(8, &file);
        assert_eq!(finish(&mut *ring, 1), [8], "{way}");
        let counters = ring.counters();
        assert_eq!(counters.writes, 10, "{way}");
        assert_eq!(counters.flushes, 6, "{way}: five durable writes and one flush");
        drop(ring);
        drop(file);
        directory.remove("segment").unwrap();
    }
}

/// The kernel may take less of a write than it was given, and says so. The rest must follow, at the right
/// place, and a durable write must be flushed after its last byte; a ring that took the short answer for
/// the end would acknowledge records that are not there.
#[test]
fn short_writes_are_continued() {
    let scratch = Scratch::new();
    for (way, directory) in ways(&scratch) {
        let file = directory.open("segment", Access::Create).unwrap();
        file.allocate(4 << 20).unwrap();
        let mut ring = directory.ring().unwrap();
        // Past the page cache a write goes on at a page; through it anywhere.
        let sizes: &[usize] = if directory.report().direct { &[PAGE, 3 * PAGE] } else { &[PAGE, 3 * PAGE, 1000, 5001] };
        for (round, &bytes_max) in sizes.iter().enumerate() {
            for (pages, tail) in [(2, false), (1, true), (7, true), (16, false)] {
                for durable in [true, false] {
                    let bytes = pattern((pages + usize::from(tail)) * PAGE, (round * 50 + pages) as u64);
                    let before = ring.counters();
                    transfer::short::set(Some(bytes_max));
                    for token in 0..3u64 {
                        ring.write(write(token, &file, token * 64 * PAGE as u64, &bytes, tail, durable));
                    }
                    assert_eq!(finish(&mut *ring, 3), [0, 1, 2], "{way}");
                    let cuts = transfer::short::set(None);
                    let expected = 3 * (bytes.len() as u64 - 1).div_euclid(bytes_max as u64);
                    assert_eq!(cuts, expected, "{way}: {} bytes in pieces of {bytes_max}", bytes.len());
                    for token in 0..3 {
                        let found = read_back(&file, token * 64 * PAGE as u64, bytes.len());
                        assert!(found == bytes, "{way}: {} bytes in pieces of {bytes_max}", bytes.len());
                    }
                    let after = ring.counters();
                    assert_eq!((after.writes - before.writes, after.bytes - before.bytes), (3, 3 * bytes.len() as u64));
                    assert!(!durable || after.flushes > before.flushes, "{way}");
                }
            }
        }
    }
}

#[test]
fn many_in_flight_complete_each_once() {
    let scratch = Scratch::new();
    for (way, directory) in ways(&scratch) {
        let file = directory.open("segment", Access::Create).unwrap();
        let other = directory.open("other", Access::Create).unwrap();
        file.allocate(8 << 20).unwrap();
        let mut ring = directory.ring().unwrap();
        // More than there are slots.
        for token in 0..100u64 {
            let bytes = pattern(PAGE * 2, token);
            let file = if token % 10 == 3 { &other } else { &file };
            ring.write(write(token, file, token * 2 * PAGE as u64, &bytes, token % 2 == 0, token % 3 != 0));
            if token % 7 == 0 {
                ring.flush(1000 + token, file);
            }
            if token % 16 == 5 {
                let mut completions = Vec::new();
                ring.turn(Wait::No, &mut completions).unwrap();
                for done in completions {
                    done.result.unwrap();
                    ring.flush(2000 + done.token, file);
                }
            }
        }
        let mut completions = Vec::new();
        let expected = 100;
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < expected || !completions.is_empty() {
            ring.turn(Wait::Until(0), &mut completions).unwrap();
            for done in completions.drain(..) {
                done.result.unwrap();
                let write = done.token % 1000;
                assert!(done.token >= 1000 || seen.insert(write), "{way}: {write} completed twice");
            }
            if ring.counters().writes == 100 {
                break;
            }
        }
        assert_eq!(ring.counters().writes, 100, "{way}");
        drop(ring);
        for token in 0..100u64 {
            let file = if token % 10 == 3 { &other } else { &file };
            assert_eq!(read_back(file, token * 2 * PAGE as u64, 2 * PAGE), pattern(PAGE * 2, token), "{way}");
        }
    }
}

#[test]
fn a_dropped_ring_waits_for_what_is_in_flight() {
    let scratch = Scratch::new();
    for (way, directory) in ways(&scratch) {
        let file = directory.open("segment", Access::Create).unwrap();
        file.allocate(32 << 20).unwrap();
        let bytes = pattern(1 << 20, 5);
        let mut started = Vec::new();
        let mut ring = directory.ring().unwrap();
        for token in 0..8u64 {
            let write = write(token, &file, token << 20, &bytes, false, true);
            started.push(Arc::downgrade(&write.block));
            ring.write(write);
        }
        ring.turn(Wait::No, &mut Vec::new()).unwrap();
        drop(ring);
        assert!(started.iter().all(|block| block.strong_count() == 0), "{way}: blocks are free again");
        assert_eq!(read_back(&file, 7 << 20, 1 << 20), bytes, "{way}");
    }
}

#[test]
fn errors_are_completions() {
    let scratch = Scratch::new();
    for (way, directory) in ways(&scratch) {
        directory.open("segment", Access::Create).unwrap();
        let file = directory.open("segment", Access::Read).unwrap();
        let mut ring = directory.ring().unwrap();
        for durable in [true, false] {
            ring.write(write(3, &file, 0, &pattern(PAGE, 1), false, durable));
            let mut completions = Vec::new();
            while completions.is_empty() {
                ring.turn(Wait::Forever, &mut completions).unwrap();
            }
            let error = completions[0].result.as_ref().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{way}: the file is open for reading only");
            assert_eq!(completions[0].token, 3);
        }
    }
}

#[test]
fn a_wait_ends_with_its_time_or_with_a_wake() {
    let scratch = Scratch::new();
    for (way, directory) in ways(&scratch) {
        let clock = directory_clock(&directory);
        let mut ring = directory.ring().unwrap();
        let mut none = Vec::new();
        let start = Instant::now();
        ring.turn(Wait::Until(clock.monotonic_ns() + 20_000_000), &mut none).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(19), "{way}");

        let waker = ring.waker();
        waker.wake();
        ring.turn(Wait::No, &mut none).unwrap();
        ring.turn(Wait::Forever, &mut none).unwrap();

        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        ring.turn(Wait::Forever, &mut none).unwrap();
        thread.join().unwrap();
        assert!(none.is_empty(), "{way}");
    }
}

fn directory_clock(directory: &Directory) -> Arc<dyn Clock> {
    directory.clock().clone()
}

/// Wakes while writes are in flight: the sleep in the ring ends, early and without losing anything.
#[test]
fn a_wake_ends_a_sleep_with_writes_in_flight() {
    let scratch = Scratch::new();
    for (way, directory) in ways(&scratch) {
        let file = directory.open("segment", Access::Create).unwrap();
        file.allocate(1 << 20).unwrap();
        let mut ring = directory.ring().unwrap();
        let waker = ring.waker();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                waker.wake();
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        let bytes = pattern(2 * PAGE, 1);
        for round in 0..100u64 {
            for token in 0..2 {
                ring.write(write(token, &file, (round * 2 + token) % 100 * 2 * PAGE as u64, &bytes, true, true));
            }
            assert_eq!(finish(&mut *ring, 2), [0, 1], "{way}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        thread.join().unwrap();
    }
}
