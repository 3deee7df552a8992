//! The recording that qemu's filter `blklogwrites` makes: every write, flush and discard, in order.
//!
//! The format is that of the kernel's dm-log-writes: a superblock of one sector (magic, version, entries,
//! sector size), then entries, each a header of one sector (sector, sectors, flags, bytes of a note) and the data
//! of its sectors. Only marks have notes, and nobody here makes marks.

use super::image::SECTOR;
use crate::kill::Random;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// More is no write, but a recording that was misread.
const SECTORS_OF_A_WRITE_MAX: u64 = 1 << 20;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The first sector.
    pub(super) sector: u64,
    /// How many.
    pub(super) sectors: u64,
    flags: u64,
    /// Where its data is in the recording.
    data_at: u64,
}

impl Entry {
    /// What was written before is durable.
    pub(super) fn is_flush(&self) -> bool {
        self.flags & FLUSH != 0
    }

    /// It is durable itself.
    pub(super) fn is_durable(&self) -> bool {
        self.flags & FUA != 0
    }
}

/// A recording.
pub(super) struct Recording {
    file: File,
    pub(super) entries: Vec<Entry>,
}

impl Recording {
    /// Reads the headers of all entries.
    pub(super) fn open(path: &Path) -> Result<Recording, String> {
        let broken = |why: String| format!("the recording {}: {why}", path.display());
        let file = File::open(path).map_err(|error| broken(error.to_string()))?;
        let mut sector = [0; SECTOR];
        let mut read = |at: u64| {
            file.read_exact_at(&mut sector, at).map_err(|error| broken(error.to_string()))?;
            Ok::<_, String>([0, 8, 16, 24].map(|at| u64::from_le_bytes(sector[at..at + 8].try_into().expect("eight"))))
        };
        let [magic, version, count, sector_bytes] = read(0)?;
        // Behind three numbers of 64 bits the sector size is one of 32.
        let sector_bytes = sector_bytes & 0xffff_ffff;
        if (magic, version, sector_bytes) != (MAGIC, VERSION, SECTOR as u64) {
            return Err(broken(format!("magic {magic:x}, version {version}, sectors of {sector_bytes} bytes")));
        }
        let mut at = SECTOR as u64;
        let mut entries = Vec::new();
        for _ in 0..count {
            let [sector, sectors, flags, note_bytes] = read(at)?;
            let data_at = at + SECTOR as u64;
            if flags & !(FLUSH | FUA | DISCARD) != 0 || note_bytes != 0 || sectors > SECTORS_OF_A_WRITE_MAX {
                return Err(broken(format!("an entry at {at} of {sectors} sectors, flags {flags}, note {note_bytes}")));
            }
            entries.push(Entry { sector, sectors, flags, data_at });
            // What is discarded has no data.
            at = data_at + if flags & DISCARD == 0 { sectors * SECTOR as u64 } else { 0 };
        }
        Ok(Recording { file, entries })
    }

    /// As if the device had not carried out three of four flushes, and said that it had.
    pub(super) fn forget_flushes(&mut self, random: &mut Random) {
        for entry in self.entries.iter_mut().filter(|entry| entry.is_flush()) {
            if random.below(4) > 0 {
                entry.flags &= !FLUSH;
            }
        }
    }

    /// What an entry leaves in its sectors. A discard leaves zeros.
    pub(super) fn data(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let mut data = vec![0; entry.sectors as usize * SECTOR];
        if entry.flags & DISCARD == 0 {
            self.file.read_exact_at(&mut data, entry.data_at)?;
        }
        Ok(data)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// A recording of entries (sector, flags, data).
    pub(in crate::blocklog) fn recording_of(entries: &[(u64, u64, Vec<u8>)]) -> Recording {
        let mut bytes = sector_of(&[MAGIC, VERSION, entries.len() as u64, SECTOR as u64]);
        for (sector, flags, data) in entries {
            bytes.extend(sector_of(&[*sector, (data.len() / SECTOR) as u64, *flags, 0]));
            bytes.extend(data);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Recording::open(file.path()).unwrap()
    }

    fn sector_of(numbers: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.resize(SECTOR, 0);
        bytes
    }

    #[test]
    fn entries_have_their_data() {
        let recording = recording_of(&[(8, 0, vec![5; 1024]), (0, FLUSH, vec![]), (9, FUA, vec![6; 512])]);
        let [first, flush, last] = recording.entries[..] else { panic!("three entries") };
        assert_eq!((first.sector, first.sectors), (8, 2));
        assert_eq!(recording.data(&first).unwrap(), vec![5; 1024]);
        assert!(flush.is_flush() && !first.is_flush());
        assert!(last.is_durable());
        assert_eq!(recording.data(&last).unwrap(), vec![6; 512]);
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [1; 1024]).unwrap();
        assert!(Recording::open(file.path()).is_err());
    }
}
