//! The index of a sealed segment, in a file beside it.
//!
//! ```text
//!  0  [8]  magic "RINGLIDX"
//!  8  u32  version
//! 12  u32  entries
//! 16  u64  salt             of the segment it belongs to
//! 24  u64  end              of the segment's frames
//! 32  u32  moved            frames that are known by other positions than those where they stand
//! 36  u32  checksum         CRC32C of bytes 0..36
//! 40       zero to 64
//! 64       entries, sorted by slot, 56 bytes each:
//!           0  u32  slot
//!           4  u32  runs_count
//!           8  u64  first_offset         the partition's next offset when the segment began
//!          16  i64  timestamp_before_ms  its largest timestamp until then
//!          24  u64  record_bytes         bytes of its frames
//!          32  u64  runs_start           offset in this file
//!          40  u32  runs_bytes
//!          44  u32  runs_checksum
//!          48  u32  withheld_frames  frames of it that were withheld here
//!          52  u32  entry_checksum       CRC32C of bytes 0..52, seeded with the salt
//!  .       moved frames, sorted by the position that they are known by, 24 bytes each:
//!           0  u64  identity             the position that it is known by
//!           8  u64  place                where it stands
//!          16  u32  checksum             CRC32C of bytes 0..16, seeded with the salt
//!          20  u32  zero
//!  .       runs, delta-coded
//! ```
//!
//! Invariants:
//! - It holds nothing that its segment cannot give again: damaged or missing, it is made anew.
//! - Every entry and every list of runs has its own checksum, so that a reader needs only the pages it looks at.
//! - Partitions that existed when the segment was sealed have an entry even without runs in it, so that
//!   the segment of an offset is found by bisection over segments.

use super::index::{Publication, Run};
use super::page_cache::PageCache;
use crate::bounds::RECORD_BYTES_CEILING;
use crate::io::{Access, Block, File, Storage};
use crate::log::codec::{Put, Reader, unzigzag, zigzag};
use crate::log::frame::{u32_at, u64_at};
use crate::log::manifest::ManifestSegment;
use crate::log::position::Position;
use std::io;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"RINGLIDX";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 56;
const MOVED_BYTES: usize = 24;
/// So often a place is guessed before entries are halved.
const GUESSES_MAX: u32 = 3;
/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;
/// A run has at least five numbers.
const RUN_BYTES_MIN: usize = 5;

/// What a sidecar says of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SidecarEntry {
    pub(crate) slot: u32,
    pub(crate) first_offset: u64,
    pub(crate) timestamp_before_ms: i64,
    pub(crate) record_bytes: u64,
    /// Withheld frames that were written here; who published them lists them, but their bytes are here.
    pub(crate) withheld_frames: u32,
    runs_count: u32,
    runs_start: u64,
    runs_bytes: u32,
    runs_checksum: u32,
}

impl SidecarEntry {
    pub(crate) fn has_runs(&self) -> bool {
        self.runs_count > 0
    }

    pub(crate) fn runs_count(&self) -> u32 {
        self.runs_count
    }

    /// Whether bytes of the partition stand in the segment.
    pub(crate) fn has_bytes(&self) -> bool {
        self.runs_count > 0 || self.withheld_frames > 0
    }
}

/// Puts a sidecar together; partitions come in the order of their slots.
pub(crate) struct SidecarBuilder {
    segment: ManifestSegment,
    entries: Vec<SidecarEntry>,
    moved: Vec<(Position, Position)>,
    runs: Vec<u8>,
}

impl SidecarBuilder {
    pub(crate) fn new(segment: ManifestSegment) -> SidecarBuilder {
        SidecarBuilder { segment, entries: Vec::new(), moved: Vec::new(), runs: Vec::new() }
    }

    /// Adds a partition with its runs in this segment.
    pub(crate) fn push(
        &mut self,
        slot: u32,
        first_offset: u64,
        timestamp_before_ms: i64,
        withheld_frames: u32,
        runs: impl Iterator<Item = Run>,
    ) {
        debug_assert!(self.entries.last().is_none_or(|last| last.slot < slot));
        let start = self.runs.len();
        let mut entry = SidecarEntry {
            slot,
            first_offset,
            timestamp_before_ms,
            withheld_frames,
            runs_start: start as u64,
            ..SidecarEntry::default()
        };
        let (mut offset, mut position, mut timestamp) = (first_offset, self.segment.base.0, timestamp_before_ms);
        for run in runs {
            entry.runs_count += 1;
            entry.record_bytes += u64::from(run.bytes);
            self.runs.put_varint(run.base_offset - offset);
            self.runs.put_varint(u64::from(run.count) << 1 | u64::from(run.publication.is_some()));
            self.runs.put_varint(zigzag(run.position.0.wrapping_sub(position) as i64));
            self.runs.put_varint(u64::from(run.bytes));
            self.runs.put_varint(zigzag(run.timestamp_max_ms.wrapping_sub(timestamp)));
            position = run.position.0 + u64::from(run.bytes);
            if let Some(publication) = run.publication {
                self.runs.put_varint(u64::from(run.first));
                self.runs.put_varint(publication.position.0);
                self.runs.put_varint(u64::from(publication.extra_bytes));
                self.runs.put_varint(u64::from(publication.entry));
            }
            (offset, timestamp) = (run.end_offset(), run.timestamp_max_ms);
        }
        entry.runs_bytes = (self.runs.len() - start) as u32;
        entry.runs_checksum = crc32c::crc32c(&self.runs[start..]);
        self.entries.push(entry);
    }

    /// Adds frames that are known by other positions than those where they stand: those, and these.
    pub(crate) fn moved(&mut self, moved: impl IntoIterator<Item = (Position, Position)>) {
        self.moved.extend(moved);
        self.moved.sort_unstable();
    }

    /// The file's bytes.
    pub(crate) fn finish(self, end: Position) -> Vec<u8> {
        let runs_base = (HEADER_BYTES + self.entries.len() * ENTRY_BYTES + self.moved.len() * MOVED_BYTES) as u64;
        let mut bytes = Vec::with_capacity(runs_base as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.put_u32(VERSION);
        bytes.put_u32(self.entries.len() as u32);
        bytes.put_u64(self.segment.salt);
        bytes.put_u64(end.0);
        bytes.put_u32(self.moved.len() as u32);
        let checksum = crc32c::crc32c(&bytes);
        bytes.put_u32(checksum);
        bytes.resize(HEADER_BYTES, 0);
        for entry in &self.entries {
            let start = bytes.len();
            bytes.put_u32(entry.slot);
            bytes.put_u32(entry.runs_count);
            bytes.put_u64(entry.first_offset);
            bytes.put_i64(entry.timestamp_before_ms);
            bytes.put_u64(entry.record_bytes);
            bytes.put_u64(entry.runs_start + runs_base);
            bytes.put_u32(entry.runs_bytes);
            bytes.put_u32(entry.runs_checksum);
            bytes.put_u32(entry.withheld_frames);
            let checksum = entry_checksum(self.segment.salt, &bytes[start..]);
            bytes.put_u32(checksum);
        }
        for (identity, place) in &self.moved {
            let start = bytes.len();
            bytes.put_u64(identity.0);
            bytes.put_u64(place.0);
            let checksum = entry_checksum(self.segment.salt, &bytes[start..]);
            bytes.put_u32(checksum);
            bytes.put_u32(0);
        }
        // In place: the runs of a segment may be the most that is in memory.
        let mut whole = self.runs;
        whole.reserve_exact(bytes.len());
        whole.splice(0..0, bytes);
        whole
    }
}

fn entry_checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

/// An open sidecar.
#[derive(Clone)]
pub(crate) struct Sidecar {
    file: Arc<dyn File>,
    segment: ManifestSegment,
    entries: u32,
    moved: u32,
    /// Nothing that an entry speaks of lies behind it.
    length: u64,
}

/// The sidecar cannot be used; it must be made anew.
#[derive(Debug)]
pub(crate) struct BadSidecar(pub(crate) String);

impl From<io::Error> for BadSidecar {
    fn from(error: io::Error) -> Self {
        BadSidecar(error.to_string())
    }
}

impl Sidecar {
    /// Opens the sidecar of a segment whose frames end at `end`.
    pub(crate) fn open(
        file: Arc<dyn File>,
        segment: ManifestSegment,
        end: Position,
        cache: &PageCache,
    ) -> Result<Sidecar, BadSidecar> {
        let header = cache.read(&*file, segment.salt, 0, HEADER_BYTES)?;
        if &header[..8] != MAGIC || crc32c::crc32c(&header[..36]) != u32_at(&header, 36) {
            return Err(BadSidecar("its header does not match its checksum".to_owned()));
        }
        if u32_at(&header, 8) != VERSION {
            return Err(BadSidecar(format!("it has format version {}", u32_at(&header, 8))));
        }
        if u64_at(&header, 16) != segment.salt || u64_at(&header, 24) != end.0 {
            return Err(BadSidecar("it belongs to an earlier use of the segment".to_owned()));
        }
        let (entries, moved, length) = (u32_at(&header, 12), u32_at(&header, 32), file.length()?);
        let listed = u64::from(entries) * ENTRY_BYTES as u64 + u64::from(moved) * MOVED_BYTES as u64;
        if HEADER_BYTES as u64 + listed > length {
            return Err(BadSidecar("it ends within its entries".to_owned()));
        }
        Ok(Sidecar { file, segment, entries, moved, length })
    }

    /// The number of partitions it speaks of.
    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    /// Entry number `at`.
    pub(crate) fn entry_at(&self, at: u32, cache: &PageCache) -> Result<SidecarEntry, BadSidecar> {
        let offset = (HEADER_BYTES + at as usize * ENTRY_BYTES) as u64;
        let bytes = cache.read(&*self.file, self.segment.salt, offset, ENTRY_BYTES)?;
        if entry_checksum(self.segment.salt, &bytes[..52]) != u32_at(&bytes, 52) {
            return Err(BadSidecar(format!("entry {at} does not match its checksum")));
        }
        Ok(SidecarEntry {
            slot: u32_at(&bytes, 0),
            runs_count: u32_at(&bytes, 4),
            first_offset: u64_at(&bytes, 8),
            timestamp_before_ms: u64_at(&bytes, 16) as i64,
            record_bytes: u64_at(&bytes, 24),
            runs_start: u64_at(&bytes, 32),
            runs_bytes: u32_at(&bytes, 40),
            runs_checksum: u32_at(&bytes, 44),
            withheld_frames: u32_at(&bytes, 48),
        })
    }

    /// What it says of a partition, if that existed when the segment was sealed.
    pub(crate) fn entry(&self, slot: u32, cache: &PageCache) -> Result<Option<SidecarEntry>, BadSidecar> {
        // Slots are mostly given out evenly, so that a guess mostly finds the very page.
        search(self.entries, u64::from(slot), GUESSES_MAX, |at| {
            let entry = self.entry_at(at, cache)?;
            Ok((u64::from(entry.slot), entry))
        })
    }

    /// Where the frame stands that is known by a position, if the segment has it.
    pub(crate) fn place_of(&self, identity: Position, cache: &PageCache) -> Result<Option<Position>, BadSidecar> {
        search(self.moved, identity.0, 0, |at| {
            let (found, place) = self.moved_at(at, cache)?;
            Ok((found.0, place))
        })
    }

    fn moved_at(&self, at: u32, cache: &PageCache) -> Result<(Position, Position), BadSidecar> {
        let offset = (HEADER_BYTES + self.entries as usize * ENTRY_BYTES + at as usize * MOVED_BYTES) as u64;
        let bytes = cache.read(&*self.file, self.segment.salt, offset, MOVED_BYTES)?;
        if entry_checksum(self.segment.salt, &bytes[..16]) != u32_at(&bytes, 16) {
            return Err(BadSidecar(format!("moved frame {at} does not match its checksum")));
        }
        Ok((Position(u64_at(&bytes, 0)), Position(u64_at(&bytes, 8))))
    }

    /// The runs of an entry.
    pub(crate) fn runs(&self, entry: &SidecarEntry, cache: &PageCache) -> Result<Vec<Run>, BadSidecar> {
        let end = entry.runs_start.checked_add(u64::from(entry.runs_bytes));
        if end.is_none_or(|end| end > self.length) {
            return Err(BadSidecar(format!("it ends within the runs of slot {}", entry.slot)));
        }
        let bytes = cache.read(&*self.file, self.segment.salt, entry.runs_start, entry.runs_bytes as usize)?;
        if crc32c::crc32c(&bytes) != entry.runs_checksum {
            return Err(BadSidecar(format!("the runs of slot {} do not match their checksum", entry.slot)));
        }
        self.decode_runs(entry, &bytes)
            .ok_or_else(|| BadSidecar(format!("the runs of slot {} cannot be read", entry.slot)))
    }

    fn decode_runs(&self, entry: &SidecarEntry, bytes: &[u8]) -> Option<Vec<Run>> {
        let mut reader = Reader::new(bytes);
        let (mut offset, mut position, mut timestamp) =
            (entry.first_offset, self.segment.base.0, entry.timestamp_before_ms);
        let mut runs = Vec::with_capacity((entry.runs_count as usize).min(bytes.len() / RUN_BYTES_MIN));
        for _ in 0..entry.runs_count {
            let base_offset = offset.checked_add(reader.varint()?)?;
            let count_and_kind = reader.varint()?;
            let place = position.wrapping_add(unzigzag(reader.varint()?) as u64);
            let run_bytes = u32::try_from(reader.varint()?).ok()?;
            let timestamp_max_ms = timestamp.wrapping_add(unzigzag(reader.varint()?));
            let mut run = Run {
                base_offset,
                count: u32::try_from(count_and_kind >> 1).ok()?,
                first: 0,
                position: Position(place),
                bytes: run_bytes,
                timestamp_max_ms,
                publication: None,
            };
            position = place.checked_add(u64::from(run_bytes))?;
            if count_and_kind & 1 == 1 {
                run.first = u32::try_from(reader.varint()?).ok()?;
                run.publication = Some(Publication {
                    position: Position(reader.varint()?),
                    extra_bytes: u32::try_from(reader.varint()?).ok()?,
                    entry: u32::try_from(reader.varint()?).ok()?,
                });
            }
            // Whoever reads the run makes room for that many bytes.
            let bytes_max =
                if run.publication.is_some() { RECORD_BYTES_CEILING as u64 * 2 } else { self.segment.bytes };
            if u64::from(run.bytes) > bytes_max || run.count == 0 {
                return None;
            }
            offset = base_offset.checked_add(u64::from(run.count))?;
            timestamp = timestamp_max_ms;
            runs.push(run);
        }
        reader.is_empty().then_some(runs)
    }
}

/// Finds a key among `count` that rise. So often its place is guessed from where others stand, as if they rose evenly
/// from zero; none stands behind its own number then. After that what is left is halved.
fn search<T>(
    count: u32,
    key: u64,
    guesses: u32,
    entry_at: impl Fn(u32) -> Result<(u64, T), BadSidecar>,
) -> Result<Option<T>, BadSidecar> {
    let (mut low, mut high, mut guesses) = (0, count, guesses);
    let mut guess = (guesses > 0).then(|| key.min(u64::from(count.saturating_sub(1))) as u32);
    while low < high {
        let at = guess.take().filter(|at| (low..high).contains(at)).unwrap_or(low + (high - low) / 2);
        let (found, entry) = entry_at(at)?;
        match found.cmp(&key) {
            std::cmp::Ordering::Equal => return Ok(Some(entry)),
            std::cmp::Ordering::Less => low = at + 1,
            std::cmp::Ordering::Greater => {
                high = at;
                guesses = guesses.saturating_sub(1);
                guess = (guesses > 0).then(|| (u64::from(at) * key / found) as u32);
            }
        }
    }
    Ok(None)
}

/// A sidecar's file that is open only while it is read: a long log has thousands of sidecars, and a
/// process may often not have more than a thousand descriptors. What is read stays in the page cache, so
/// few reads come here.
pub(crate) struct SidecarFile {
    name: String,
    storage: Arc<dyn Storage>,
}

impl SidecarFile {
    pub(crate) fn new(name: String, storage: Arc<dyn Storage>) -> SidecarFile {
        SidecarFile { name, storage }
    }

    fn open(&self) -> io::Result<Arc<dyn File>> {
        self.storage.open(&self.name, Access::Read)
    }
}

impl File for SidecarFile {
    fn name(&self) -> &str {
        &self.name
    }
    fn length(&self) -> io::Result<u64> {
        self.open()?.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.open()?.read_at(buffer, offset)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn lock(&self, _: u64) -> io::Result<bool> {
        Ok(true)
    }
    fn descriptor(&self) -> Option<std::os::fd::RawFd> {
        None
    }
}

/// A sidecar where none may be written.
pub(crate) struct MemoryFile {
    name: String,
    bytes: Vec<u8>,
}

impl MemoryFile {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> MemoryFile {
        MemoryFile { name: name.to_owned(), bytes: bytes.to_vec() }
    }
}

impl File for MemoryFile {
    fn name(&self) -> &str {
        &self.name
    }
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn lock(&self, _: u64) -> io::Result<bool> {
        Ok(true)
    }
    fn descriptor(&self) -> Option<std::os::fd::RawFd> {
        None
    }
}

/// Writes a sidecar; durable, with its directory entry, after the storage's directory was synced.
pub(crate) fn write(file: &dyn File, bytes: &[u8]) -> io::Result<()> {
    for (at, step) in bytes.chunks(WRITE_BYTES).enumerate() {
        let block = Block::copy_of(step);
        file.write_at(block.slice(0, block.capacity()), (at * WRITE_BYTES) as u64)?;
    }
    file.sync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Access, Directory, DirectoryOptions, Storage, SystemClock};
    use crate::log::manifest::SegmentState;

    fn sample_segment(salt: u64) -> ManifestSegment {
        let (base, end) = (Position(1 << 20), Position((1 << 20) + 900_000));
        let (state, bytes) = (SegmentState::Sealed, 1 << 20);
        ManifestSegment {
            file: 1,
            log: 0,
            generation: 1,
            state,
            salt,
            base,
            bytes,
            end,
            last_append_ms: 0,
            copy_of: None,
        }
    }

    fn sample_runs(slot: u32) -> Vec<Run> {
        let mut offset = u64::from(slot) * 100;
        let mut runs = Vec::new();
        for number in 0..200u64 {
            let count = (number % 5 + 1) as u32;
            let position = Position((1 << 20) + 4096 + number * 800);
            let reference = Publication { position: Position(position.0 + 400), extra_bytes: 77, entry: 3 };
            runs.push(Run {
                base_offset: offset,
                count,
                first: if number % 7 == 0 { 2 } else { 0 },
                position: if number % 7 == 0 { Position(number * 8) } else { position },
                bytes: 200,
                timestamp_max_ms: -50 + number as i64,
                publication: (number % 7 == 0).then_some(reference),
            });
            offset += u64::from(count);
        }
        runs
    }

    fn build(slots: &[u32], salt: u64) -> Vec<u8> {
        let mut builder = SidecarBuilder::new(sample_segment(salt));
        for &slot in slots {
            builder.push(slot, u64::from(slot) * 100, i64::MIN, slot % 2, sample_runs(slot).into_iter());
        }
        builder.finish(sample_segment(salt).end)
    }

    fn on_disk(bytes: &[u8], test: impl FnOnce(Arc<dyn File>)) {
        let directory = tempfile::tempdir().unwrap();
        let storage =
            Directory::open(directory.path(), DirectoryOptions::default(), Arc::new(SystemClock::new())).unwrap();
        let file = storage.open("index", Access::Create).unwrap();
        write(&*file, bytes).unwrap();
        test(file);
    }

    #[test]
    fn every_partition_is_found_with_its_runs() {
        let slots: Vec<u32> = (0..300).map(|n| n * 3).collect();
        on_disk(&build(&slots, 9), |file| {
            let cache = PageCache::new(1 << 20);
            let sidecar = Sidecar::open(file, sample_segment(9), sample_segment(9).end, &cache).unwrap();
            for &slot in &slots {
                let entry = sidecar.entry(slot, &cache).unwrap().unwrap();
                assert_eq!((entry.first_offset, entry.withheld_frames), (u64::from(slot) * 100, slot % 2));
                assert_eq!(sidecar.runs(&entry, &cache).unwrap(), sample_runs(slot));
            }
            assert_eq!(sidecar.entry(1, &cache).unwrap(), None);
        });
    }

    #[test]
    fn a_sidecar_of_an_earlier_use_is_refused() {
        on_disk(&build(&[0], 9), |file| {
            let cache = PageCache::new(1 << 20);
            assert!(Sidecar::open(file.clone(), sample_segment(8), sample_segment(8).end, &cache).is_err());
            assert!(Sidecar::open(file, sample_segment(9), Position(5), &cache).is_err());
        });
    }

    /// A fuzzer made the checksums of an entry right that spoke of 3 GB of runs, and of numbers that overflow: the
    /// memory was asked for, and the sum panicked. An index that cannot be is refused like a damaged one.
    #[test]
    fn an_index_that_cannot_be_is_refused() {
        // Entry, field, value: runs_count, first_offset, runs_start, runs_bytes.
        for (field, value) in [(4, u32::MAX.into()), (8, u64::MAX), (32, u64::MAX), (40, 3_184_706_200)] {
            let mut bytes = build(&[0], 9);
            let at = HEADER_BYTES + field;
            let width = if matches!(field, 4 | 40) { 4 } else { 8 };
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            crate::fuzz_support::mend_sidecar(&mut bytes);
            on_disk(&bytes, |file| {
                let cache = PageCache::new(1 << 20);
                let sidecar = Sidecar::open(file, sample_segment(9), sample_segment(9).end, &cache).unwrap();
                let entry = sidecar.entry_at(0, &cache).unwrap();
                assert!(sidecar.runs(&entry, &cache).is_err(), "field {field}");
            });
        }
        let mut bytes = build(&[0], 9);
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        crate::fuzz_support::mend_sidecar(&mut bytes);
        on_disk(&bytes, |file| {
            let cache = PageCache::new(1 << 20);
            assert!(Sidecar::open(file, sample_segment(9), sample_segment(9).end, &cache).is_err(), "entries");
        });
    }

    #[test]
    fn each_damaged_byte_is_noticed_by_who_looks_at_it() {
        let bytes = build(&[0, 5], 9);
        for at in (0..40).chain(HEADER_BYTES..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            on_disk(&damaged, |file| {
                let cache = PageCache::new(1 << 20);
                let read = Sidecar::open(file, sample_segment(9), sample_segment(9).end, &cache).and_then(|sidecar| {
                    for entry in 0..sidecar.entries() {
                        let entry = sidecar.entry_at(entry, &cache)?;
                        sidecar.runs(&entry, &cache)?;
                    }
                    Ok(())
                });
                assert!(read.is_err(), "byte {at}");
            });
        }
    }
}
