//! A file that is read from front to back, with the next pieces on their way while the last one is looked at.
//!
//! Invariants:
//! - What is read is what the file holds: pieces that could not be read, and places that are not next, are
//!   read from the file itself, with its own errors.
//! - Never more than [`PIECES_AHEAD`] pieces are in memory.
//! - The thread ends with this value.

use super::thread::block_signals;
use crate::io::{Block, File, PAGE};
use crate::sync::thread::{self, Thread};
use crate::sync::{Signal, lock};
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes read in one go.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait at the most.
const PIECES_AHEAD: usize = 4;
/// Waits end when they are ended; this only bounds how long a lost wake-up could cost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct ReadAhead {
    shared: Arc<Shared>,
    thread: Option<Thread>,
}

struct Shared {
    file: Arc<dyn File>,
    end: u64,
    state: Mutex<State>,
    signal: Signal,
}

#[derive(Default)]
struct State {
    /// Consecutive pieces, read and not passed yet.
    pieces: VecDeque<Piece>,
    /// Where the thread reads, or will read next.
    next: u64,
    /// Memory of pieces that were passed.
    spare: Vec<Block>,
    /// The thread reads nothing more.
    stop: bool,
}

struct Piece {
    offset: u64,
    block: Block,
    /// How much was read; `None`: it failed.
    read: Option<usize>,
}

/// Whoever waits for the thread must not wait for one that is gone.
struct Stop<'a>(&'a Shared);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).stop = true;
        self.0.signal.notify();
    }
}

impl ReadAhead {
    /// Begins to read `file` from the piece that holds `from` to `end`. Without a thread everything is read
    /// when it is asked for.
    pub(crate) fn start(file: Arc<dyn File>, from: u64, end: u64) -> ReadAhead {
        let next = from - from % PIECE_BYTES as u64;
        let state = Mutex::new(State { next, ..State::default() });
        let shared = Arc::new(Shared { file, end, state, signal: Signal::default() });
        let theirs = shared.clone();
        let thread = thread::spawn("ringlane-ahead", block_signals, move || theirs.run()).ok();
        if thread.is_none() {
            drop(Stop(&shared));
        }
        ReadAhead { shared, thread }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        drop(Stop(&self.shared));
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let _stop = Stop(self);
        loop {
            let seen = self.signal.look();
            let (offset, spare) = {
                let mut state = lock(&self.state);
                if state.stop || state.next >= self.end {
                    return;
                }
                (state.next, (state.pieces.len() < PIECES_AHEAD).then(|| state.spare.pop()))
            };
            match spare {
                Some(spare) => self.fetch(offset, spare.unwrap_or_else(|| Block::zeroed(PIECE_BYTES))),
                None => self.signal.wait(seen, LOOK_AGAIN),
            }
        }
    }

    fn fetch(&self, offset: u64, mut block: Block) {
        let length = (self.end - offset).min(PIECE_BYTES as u64) as usize;
        let target = &mut block.as_mut_slice()[..length.next_multiple_of(PAGE)];
        let read = self.file.read_at(target, offset).ok();
        block.publish_all();
        let mut state = lock(&self.state);
        state.pieces.push_back(Piece { offset, block, read });
        state.next = offset + PIECE_BYTES as u64;
        drop(state);
        self.signal.notify();
    }

    /// Copies what the piece at `offset` has; `None`: the file itself must be asked.
    fn copy(&self, target: &mut [u8], offset: u64) -> Option<usize> {
        loop {
            let seen = self.signal.look();
            let mut state = lock(&self.state);
            self.pass(&mut state, offset);
            match state.pieces.front() {
                Some(piece) if piece.offset <= offset => {
                    let start = (offset - piece.offset) as usize;
                    let count = piece.read?.saturating_sub(start).min(target.len());
                    target[..count].copy_from_slice(piece.block.slice(start, start + count));
                    return Some(count);
                }
                // Behind what is held: somebody went back.
                Some(_) => return None,
                None if state.stop || !(state.next..state.next + PIECE_BYTES as u64).contains(&offset) => return None,
                None => {}
            }
            drop(state);
            self.signal.wait(seen, LOOK_AGAIN);
        }
    }

    /// Gives up the pieces that lie before `offset`.
    fn pass(&self, state: &mut State, offset: u64) {
        while state.pieces.front().is_some_and(|piece| piece.offset + PIECE_BYTES as u64 <= offset) {
            state.spare.extend(state.pieces.pop_front().map(|piece| piece.block));
            self.signal.notify();
        }
    }
}

impl File for ReadAhead {
    fn name(&self) -> &str {
        self.shared.file.name()
    }

    fn length(&self) -> io::Result<u64> {
        self.shared.file.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.shared.copy(&mut buffer[done..], offset + done as u64) {
                Some(count) if count > 0 => done += count,
                // The file ends within a page.
                _ if !done.is_multiple_of(PAGE) => break,
                // The end of the file, a place that is not next, or one that could not be read.
                _ => return Ok(done + self.shared.file.read_at(&mut buffer[done..], offset + done as u64)?),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.shared.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.file.sync()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.shared.file.allocate(length)
    }

    fn lock(&self, wait_ms: u64) -> io::Result<bool> {
        self.shared.file.lock(wait_ms)
    }

    fn descriptor(&self) -> Option<RawFd> {
        self.shared.file.descriptor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::sidecar::MemoryFile;

    const END: usize = 5 * PIECE_BYTES / 2;

    fn bytes() -> Vec<u8> {
        (0..END).map(|at| (at / PAGE) as u8 ^ at as u8).collect()
    }

    fn read(file: &dyn File, offset: usize, length: usize) -> Vec<u8> {
        let mut block = Block::zeroed(length);
        let read = file.read_at(block.as_mut_slice(), offset as u64).unwrap();
        block.as_mut_slice()[..read].to_vec()
    }

    #[test]
    fn in_any_order_it_reads_what_the_file_holds() {
        let bytes = bytes();
        let file = ReadAhead::start(Arc::new(MemoryFile::new("file", &bytes)), 0, END as u64);
        let piece = PIECE_BYTES;
        let places =
            [0, PAGE, piece - PAGE, piece / 2, piece + PAGE, 0, 2 * piece - PAGE, 2 * piece + PAGE, piece, 2 * piece];
        for offset in places {
            for length in [PAGE, 2 * PAGE, piece] {
                let expected = &bytes[offset..END.min(offset + length)];
                assert!(read(&file, offset, length) == expected, "{length} bytes at {offset}");
            }
        }
        assert!(read(&file, END, PAGE).is_empty());
    }

    #[test]
    fn it_begins_where_it_is_told_to_and_ends_when_nobody_reads() {
        let bytes = bytes();
        let inner: Arc<dyn File> = Arc::new(MemoryFile::new("file", &bytes));
        let file = ReadAhead::start(inner.clone(), (PIECE_BYTES + PAGE) as u64, END as u64);
        assert!(read(&file, PIECE_BYTES + PAGE, PAGE) == bytes[PIECE_BYTES + PAGE..PIECE_BYTES + 2 * PAGE]);
        drop(file);
        assert_eq!(Arc::strong_count(&inner), 1, "the thread is gone");
    }

    /// Fails in one piece, as a bad sector does.
    struct Bad(MemoryFile);

    impl File for Bad {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let bad = (PIECE_BYTES + PAGE) as u64;
            match offset <= bad && bad < offset + buffer.len() as u64 {
                true => Err(io::Error::other("a bad sector")),
                false => self.0.read_at(buffer, offset),
            }
        }
        fn name(&self) -> &str {
            self.0.name()
        }
        fn length(&self) -> io::Result<u64> {
            self.0.length()
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!()
        }
        fn sync(&self) -> io::Result<()> {
            unreachable!()
        }
        fn allocate(&self, _: u64) -> io::Result<()> {
            unreachable!()
        }
        fn lock(&self, _: u64) -> io::Result<bool> {
            unreachable!()
        }
        fn descriptor(&self) -> Option<RawFd> {
            None
        }
    }

    #[test]
    fn a_bad_sector_hides_nothing_around_it() {
        let bytes = bytes();
        let file = ReadAhead::start(Arc::new(Bad(MemoryFile::new("file", &bytes))), 0, END as u64);
        assert!(read(&file, 0, PIECE_BYTES) == bytes[..PIECE_BYTES]);
        assert!(read(&file, PIECE_BYTES, PAGE) == bytes[PIECE_BYTES..PIECE_BYTES + PAGE]);
        let mut block = Block::zeroed(PAGE);
        assert!(file.read_at(block.as_mut_slice(), (PIECE_BYTES + PAGE) as u64).is_err());
        let behind = PIECE_BYTES + 2 * PAGE;
        assert!(read(&file, behind, PIECE_BYTES) == bytes[behind..behind + PIECE_BYTES]);
    }
}
