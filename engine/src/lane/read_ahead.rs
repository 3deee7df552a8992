//! A file that is read from front to back, with the next pieces on their way while the last one is looked at.
//!
//! Invariants:
//! - What is read is what the file holds: pieces that could not be read, and places that lie behind, are
//!   read from the file itself, with its own errors.
//! - Never more than [`PIECES_AHEAD`] pieces are in memory, and those consecutive.

use crate::io::{Block, File, PAGE, Read, ReadDone, ReadRing, Storage};
use crate::sync::lock;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

/// Bytes read in one go.
const PIECE_BYTES: usize = 512 << 10;
/// Pieces in memory at the most.
const PIECES_AHEAD: usize = 8;

/// See the module.
pub(crate) struct ReadAhead {
    file: Arc<dyn File>,
    end: u64,
    state: Mutex<State>,
}

struct State {
    /// `None`: it failed, and the file itself is asked from then on.
    ring: Option<Box<dyn ReadRing>>,
    /// Consecutive pieces, read or being read.
    pieces: VecDeque<Piece>,
    /// Where the piece after those begins.
    next: u64,
    /// Memory of pieces that were passed.
    spare: Vec<Block>,
    done: Vec<ReadDone>,
}

struct Piece {
    offset: u64,
    content: Content,
}

enum Content {
    Reading,
    /// The block, and how many of its bytes are the file's.
    Ready(Block, usize),
    Failed,
}

impl ReadAhead {
    /// For reading `file` from about `from` to `end`.
    pub(crate) fn new(storage: &dyn Storage, file: Arc<dyn File>, from: u64, end: u64) -> ReadAhead {
        let state = State {
            ring: Some(storage.read_ring()),
            pieces: VecDeque::new(),
            next: from - from % PIECE_BYTES as u64,
            spare: Vec::new(),
            done: Vec::new(),
        };
        ReadAhead { file, end, state: Mutex::new(state) }
    }

    /// Copies what the piece at `offset` has; `None`: the file itself must be asked.
    fn copy(&self, target: &mut [u8], offset: u64) -> Option<usize> {
        let mut state = lock(&self.state);
        state.pass(offset);
        state.fill(&self.file, self.end);
        if state.pieces.front()?.offset > offset {
            // Behind what is held: somebody went back.
            return None;
        }
        while matches!(state.pieces.front()?.content, Content::Reading) {
            state.collect(true);
        }
        let piece = state.pieces.front()?;
        let Content::Ready(block, read) = &piece.content else { return None };
        let start = (offset - piece.offset) as usize;
        let count = read.saturating_sub(start).min(target.len());
        target[..count].copy_from_slice(block.slice(start, start + count));
        Some(count)
    }
}

impl State {
    /// Gives up the pieces that lie before `offset`.
    fn pass(&mut self, offset: u64) {
        while self.pieces.front().is_some_and(|piece| piece.offset + PIECE_BYTES as u64 <= offset) {
            let passed = self.pieces.pop_front().expect("just seen");
            if let Content::Ready(block, _) = passed.content {
                self.spare.push(block);
            }
        }
        if self.pieces.is_empty() {
            self.next = self.next.max(offset - offset % PIECE_BYTES as u64);
        }
    }

    /// Starts as many reads as may be ahead.
    fn fill(&mut self, file: &Arc<dyn File>, end: u64) {
        let Some(ring) = &mut self.ring else { return };
        let before = self.next;
        while self.pieces.len() < ring.depth().min(PIECES_AHEAD) && self.next < end {
            let offset = self.next;
            let length = ((end - offset).min(PIECE_BYTES as u64) as usize).next_multiple_of(PAGE);
            let block = self.spare.pop().unwrap_or_else(|| Block::zeroed(PIECE_BYTES));
            ring.start(Read { token: offset, file: file.clone(), offset, block, length });
            self.pieces.push_back(Piece { offset, content: Content::Reading });
            self.next += PIECE_BYTES as u64;
        }
        if self.next > before {
            // They leave now, not when somebody first waits.
            self.collect(false);
        }
    }

    /// Takes what is done; with `wait`, one read or more.
    fn collect(&mut self, wait: bool) {
        let collected = self.ring.as_mut().map(|ring| ring.collect(wait, &mut self.done));
        if !matches!(collected, Some(Ok(()))) {
            self.ring = None;
            self.pieces.clear();
        }
        for mut done in self.done.drain(..) {
            match self.pieces.iter_mut().find(|piece| piece.offset == done.token) {
                Some(piece) => {
                    piece.content = match done.result {
                        Ok(read) => {
                            done.block.publish_all();
                            Content::Ready(done.block, read)
                        }
                        Err(_) => Content::Failed,
                    }
                }
                // It was passed before it was there.
                None => self.spare.push(done.block),
            }
        }
    }
}

impl File for ReadAhead {
    fn name(&self) -> &str {
        self.file.name()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.copy(&mut buffer[done..], offset + done as u64) {
                Some(count) if count > 0 => done += count,
                // The file ends within a page.
                _ if !done.is_multiple_of(PAGE) => break,
                // The end of the file, a place that is not next, or one that could not be read.
                _ => return Ok(done + self.file.read_at(&mut buffer[done..], offset + done as u64)?),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn lock(&self, wait_ms: u64) -> io::Result<bool> {
        self.file.lock(wait_ms)
    }

    fn descriptor(&self) -> Option<RawFd> {
        self.file.descriptor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Backend, Directory, DirectoryOptions, SystemClock};
    use crate::partition::sidecar::MemoryFile;

    const END: usize = 21 * PIECE_BYTES / 2;

    /// Reads through a ring of the machine, or by blocking calls.
    fn each_ring(test: impl Fn(&dyn Storage)) {
        for backend in [Backend::Auto, Backend::Plain] {
            let scratch = tempfile::tempdir().unwrap();
            let options = DirectoryOptions { backend, ..DirectoryOptions::default() };
            test(&Directory::open(scratch.path(), options, Arc::new(SystemClock::new())).unwrap());
        }
    }

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
        each_ring(|storage| {
            let file = ReadAhead::new(storage, Arc::new(MemoryFile::new("file", &bytes)), 0, END as u64);
            let piece = PIECE_BYTES;
            let pieces = [0, 0, 1, 2, 2, 0, 4, 5, 1, 2, 9, 10, 3].map(|at| at * piece);
            for at in pieces {
                for offset in [at, at + PAGE, (at + piece).min(END.next_multiple_of(PAGE)) - PAGE, at + piece / 4] {
                    for length in [PAGE, 2 * PAGE, piece, 3 * piece] {
                        let expected = &bytes[offset.min(END)..END.min(offset + length)];
                        assert!(read(&file, offset, length) == expected, "{length} bytes at {offset}");
                    }
                }
            }
            assert!(read(&file, END, PAGE).is_empty());
        });
    }

    #[test]
    fn it_begins_where_it_is_told_to_and_holds_nothing_back() {
        let bytes = bytes();
        each_ring(|storage| {
            let inner: Arc<dyn File> = Arc::new(MemoryFile::new("file", &bytes));
            let file = ReadAhead::new(storage, inner.clone(), (PIECE_BYTES + PAGE) as u64, END as u64);
            assert!(read(&file, PIECE_BYTES + PAGE, PAGE) == bytes[PIECE_BYTES + PAGE..PIECE_BYTES + 2 * PAGE]);
            let state = lock(&file.state);
            assert_eq!(state.pieces.front().unwrap().offset, PIECE_BYTES as u64, "nothing before it was read");
            assert!(state.pieces.len() <= PIECES_AHEAD);
            drop(state);
            drop(file);
            assert_eq!(Arc::strong_count(&inner), 1);
        });
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
        each_ring(|storage| {
            let file = ReadAhead::new(storage, Arc::new(Bad(MemoryFile::new("file", &bytes))), 0, END as u64);
            assert!(read(&file, 0, PIECE_BYTES) == bytes[..PIECE_BYTES]);
            assert!(read(&file, PIECE_BYTES, PAGE) == bytes[PIECE_BYTES..PIECE_BYTES + PAGE]);
            let mut block = Block::zeroed(PAGE);
            assert!(file.read_at(block.as_mut_slice(), (PIECE_BYTES + PAGE) as u64).is_err());
            let behind = PIECE_BYTES + 2 * PAGE;
            assert!(read(&file, behind, PIECE_BYTES) == bytes[behind..behind + PIECE_BYTES]);
        });
    }
}
