//! The history, written into a file of the file system under test, so that the recording holds it.
//!
//! Invariants:
//! - The file is as long as it ever gets, and written, before the recording begins. So writing into it
//!   changes nothing else of the file system.
//! - It is written past the cache and never flushed: the recording has a block before the call that
//!   wrote it returns, and no flush of the engine is helped by it.
//! - Blocks are numbered. A block that is missing in a recording is an error, never a silent gap.

use super::image::SECTOR;
use super::recording::Recording;
use crate::history::{Event, History};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const BLOCK: usize = 4096;
const HEADER: usize = 32;
/// No other bytes of the file system look like this.
const MAGIC: [u8; 16] = *b"ringlane-journal";
/// A history longer than this is an error.
pub(super) const JOURNAL_BYTES_MAX: usize = 12 << 20;

/// O_DIRECT asks for aligned memory.
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

/// The writing end.
pub(super) struct Journal {
    file: File,
    next: u64,
}

impl Journal {
    /// Makes the file; it is durable when the file system was unmounted.
    pub(super) fn make(path: &Path) -> io::Result<()> {
        std::fs::write(path, vec![0; JOURNAL_BYTES_MAX])
    }

    /// Goes on behind the last block.
    pub(super) fn open(path: &Path) -> io::Result<Journal> {
        let mut reader = File::open(path)?;
        let mut block = [0; BLOCK];
        let mut next = 0;
        while next < (JOURNAL_BYTES_MAX / BLOCK) as u64 {
            reader.read_exact(&mut block)?;
            if payload_of(&block, next).is_none() {
                break;
            }
            next += 1;
        }
        let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)?;
        Ok(Journal { file, next })
    }

    /// Writes events down. They are in the recording on return.
    pub(super) fn write(&mut self, events: &[Event]) -> io::Result<()> {
        let mut lines = Vec::new();
        for event in events {
            lines.extend(event.to_json().bytes());
            lines.push(b'\n');
        }
        for payload in lines.chunks(BLOCK - HEADER) {
            let block = block_of(self.next, payload);
            let at = self.next * BLOCK as u64;
            if at + BLOCK as u64 > JOURNAL_BYTES_MAX as u64 {
                return Err(io::Error::other("the file for the history is full: ask for fewer operations"));
            }
            // An error of the device that hits this write is not the engine's. It comes once.
            self.file.write_all_at(&block.0, at).or_else(|_| self.file.write_all_at(&block.0, at))?;
            self.next += 1;
        }
        Ok(())
    }
}

fn block_of(number: u64, payload: &[u8]) -> Box<Block> {
    let mut block = Box::new(Block([0; BLOCK]));
    block.0[..16].copy_from_slice(&MAGIC);
    block.0[16..24].copy_from_slice(&number.to_le_bytes());
    block.0[24..28].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    block.0[HEADER..HEADER + payload.len()].copy_from_slice(payload);
    let sum = checksum(&block.0);
    block.0[28..32].copy_from_slice(&sum.to_le_bytes());
    block
}

fn checksum(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..28]), &block[HEADER..])
}

fn number_of(block: &[u8]) -> Option<u64> {
    let whole = block[..16] == MAGIC && block[28..32] == checksum(block).to_le_bytes();
    whole.then(|| u64::from_le_bytes(block[16..24].try_into().expect("eight bytes")))
}

fn payload_of(block: &[u8], number: u64) -> Option<&[u8]> {
    let length = u32::from_le_bytes(block[24..28].try_into().expect("four bytes")) as usize;
    (number_of(block) == Some(number)).then(|| &block[HEADER..HEADER + length])
}

/// The history as the recording has it.
pub(super) struct Recorded {
    bytes: Vec<u8>,
    /// An entry's number, and how much of the history is there once that entry is.
    reached: Vec<(usize, usize)>,
}

impl Recorded {
    /// Finds the journal's blocks among everything that was written.
    pub(super) fn of(recording: &Recording) -> Result<Recorded, String> {
        let mut recorded = Recorded { bytes: Vec::new(), reached: Vec::new() };
        let mut next = 0;
        for (place, entry) in recording.entries.iter().enumerate() {
            if entry.sectors < (BLOCK / SECTOR) as u64 {
                continue;
            }
            let data = recording.data(entry).map_err(|error| format!("the recording: {error}"))?;
            for block in data.chunks_exact(BLOCK) {
                let Some(number) = number_of(block) else { continue };
                // A write that failed was written again.
                if number + 1 == next {
                    continue;
                }
                let payload = payload_of(block, next).ok_or_else(|| {
                    format!("the recording has block {number} of the history where {next} comes next")
                })?;
                recorded.bytes.extend(payload);
                recorded.reached.push((place, recorded.bytes.len()));
                next += 1;
            }
        }
        Ok(recorded)
    }

    /// What was known when the entries before `end` had been written.
    pub(super) fn history_before(&self, end: usize) -> Result<History, String> {
        let blocks = self.reached.partition_point(|(place, _)| *place < end);
        let bytes = blocks.checked_sub(1).map_or(0, |last| self.reached[last].1);
        History::read(&self.bytes[..bytes]).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::recording::tests::recording_of;
    use super::*;
    use crate::history::Happening;

    fn event(at_ns: u64) -> Event {
        Event::World { at_ns, happening: Happening::Reopened }
    }

    fn line(at_ns: u64) -> Vec<u8> {
        format!("{}\n", event(at_ns).to_json()).into_bytes()
    }

    #[test]
    fn a_cut_knows_what_was_written_before_it() {
        let block = |number, payload: &[u8]| block_of(number, payload).0.to_vec();
        let (begin, rest) = (line(3)[..5].to_vec(), line(3)[5..].to_vec());
        let recorded = Recorded::of(&recording_of(&[
            (0, 0, block(0, &line(1))),
            (800, 0, vec![9; 8192]),
            (8, 0, block(1, &[line(2), begin].concat())),
            (16, 0, block(2, &rest)),
        ]))
        .unwrap();
        let counts: Vec<_> = (0..=4).map(|end| recorded.history_before(end).unwrap().events().len()).collect();
        assert_eq!(counts, [0, 1, 1, 2, 3]);
    }

    #[test]
    fn a_missing_block_is_an_error() {
        let block = |number| (0, 0, block_of(number, &line(1)).0.to_vec());
        assert!(Recorded::of(&recording_of(&[block(0), block(2)])).is_err());
        assert!(Recorded::of(&recording_of(&[block(0), block(0), block(1)])).is_ok(), "written again");
    }
}
