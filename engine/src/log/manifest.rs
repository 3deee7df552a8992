//! The manifest: which logs there are, and which segments each of them has.
//!
//! ```text
//!  0  [8]  magic "RINGLMAN"
//!  8  u32  version
//! 12  u32  body_bytes
//! 16  u64  sequence      one more with each commit
//! 24  u32  body_checksum
//! 28  u32  header_checksum (bytes 0..28)
//! 32       body
//! ```
//!
//! Invariants:
//! - It is kept in two files, `manifest-a` and `manifest-b`; a commit writes and flushes one, then the
//!   other. So at every moment at least one of them is whole, and after a commit both say the same:
//!   damage to either loses nothing.
//! - Both files get their blocks before either is written to: a full disk shows while both copies are
//!   still as they were. Only a longer manifest needs blocks, and it gets [`GROWTH_BYTES`] at a time.
//! - A segment is in the manifest, and its file, header page and directory entry are durable, before
//!   the first frame is submitted to it. A file that is missing is therefore damage, not the end.

use super::codec::{Put, Reader};
use super::frame::{u32_at, u64_at};
use super::position::{Position, Stretch};
use crate::bounds::{LANES_MAX, SEGMENT_BYTES_CEILING};
use crate::error::{Error, Result};
use crate::io::{Access, Block, File, PAGE, Storage};
use std::path::Path;
use std::sync::Arc;

/// The names of the two copies.
pub(crate) const MANIFEST_FILES: [&str; 2] = ["manifest-a", "manifest-b"];
const MAGIC: &[u8; 8] = b"RINGLMAN";
/// Version of the manifest's format.
pub(crate) const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
const SEGMENT_ENTRY_BYTES: usize = 72;
/// The files of the copies have a multiple of this length.
const GROWTH_BYTES: u64 = 16 << 10;

/// What a segment file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// Prepared, being written, or full and not yet sealed: recovery looks at it.
    Live,
    /// Complete: its frames end at `end`, and nothing is written to it any more.
    Sealed,
    /// Holds nothing; its blocks are written and wait to be used again.
    Recycled,
    /// Holds nothing, and not all of its blocks were ever written.
    Raw,
    /// Holds nothing, every block is written: kept for a full disk; see [`crate::reserve`].
    Reserve,
    /// Holds nothing that is not in its copy as well; somebody may still read it. Opening gives it back.
    Retired,
}

impl SegmentState {
    /// Whether the segment holds nothing of any log at the moment.
    pub(crate) fn is_free(self) -> bool {
        matches!(self, SegmentState::Recycled | SegmentState::Raw | SegmentState::Reserve | SegmentState::Retired)
    }

    /// Whether any log may have the file for its next segment.
    pub(crate) fn is_for_all(self) -> bool {
        matches!(self, SegmentState::Recycled | SegmentState::Raw)
    }
}

/// One segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManifestSegment {
    /// Number of the file; see [`super::segment::file_name`].
    pub(crate) file: u32,
    pub(crate) log: u32,
    pub(crate) generation: u32,
    pub(crate) state: SegmentState,
    pub(crate) salt: u64,
    pub(crate) base: Position,
    pub(crate) bytes: u64,
    /// Sealed: the end of the last frame.
    pub(crate) end: Position,
    /// Sealed: no record in it was appended later, ms.
    pub(crate) last_append_ms: i64,
    /// The cleaner made it, and it stands for all that is kept of this stretch; see [`crate::cleaner`].
    pub(crate) copy_of: Option<Stretch>,
}

/// One log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManifestLog {
    pub(crate) id: u32,
    /// One more each time the log is recovered.
    pub(crate) generation: u32,
    /// Every position below was used or given up.
    pub(crate) next_base: Position,
    /// Where it began: above every position of the logs that lanes wrote before it and its peers.
    pub(crate) first_base: Position,
}

/// A log that no lane writes any more: the directory had another number of lanes then. Its segments are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealedLog {
    pub(crate) id: u32,
    /// The lane that wrote it, and how many there were: which slots it has.
    pub(crate) lane: u32,
    pub(crate) lanes: u32,
    /// The same for all logs that were written together.
    pub(crate) first_base: Position,
}

/// The whole manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) engine_id: u64,
    pub(crate) sequence: u64,
    pub(crate) created_ms: i64,
    /// W: nothing is submitted further than this beyond the durable prefix.
    pub(crate) window_bytes: u64,
    pub(crate) next_file: u32,
    /// Where the next copied segment begins.
    pub(crate) next_copy: Position,
    /// The logs that lanes write, lane by lane.
    pub(crate) logs: Vec<ManifestLog>,
    /// The logs of earlier numbers of lanes that still have segments, oldest first.
    pub(crate) sealed_logs: Vec<SealedLog>,
    pub(crate) segments: Vec<ManifestSegment>,
}

impl Manifest {
    /// The segments of one log in its order, free ones left out.
    pub(crate) fn segments_of(&self, log: u32) -> Vec<ManifestSegment> {
        let mut segments: Vec<_> =
            self.segments.iter().filter(|s| s.log == log && !s.state.is_free()).copied().collect();
        segments.sort_by_key(|segment| segment.from());
        segments
    }

    /// An id that no log ever had. Those of the logs that are written are the largest so far.
    pub(crate) fn next_log(&self) -> u32 {
        self.logs.iter().map(|log| log.id + 1).max().unwrap_or(0)
    }

    /// Whether a lane writes the log.
    pub(crate) fn is_written(&self, log: u32) -> bool {
        self.logs.iter().any(|entry| entry.id == log)
    }

    /// Forgets the sealed logs that have no segments left.
    pub(crate) fn forget_drained_logs(&mut self) {
        let segments = &self.segments;
        self.sealed_logs.retain(|log| segments.iter().any(|s| s.log == log.id && !s.state.is_free()));
    }

    /// Those of them that are sealed.
    pub(crate) fn sealed_of(&self, log: u32) -> Vec<ManifestSegment> {
        let mut segments = self.segments_of(log);
        segments.retain(|segment| segment.state == SegmentState::Sealed);
        segments
    }

    /// Whether no log was ever begun: the engine is just being made.
    pub(crate) fn is_fresh(&self) -> bool {
        self.sealed_logs.is_empty() && self.logs.iter().all(|log| log.generation == 0)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64 + self.segments.len() * SEGMENT_ENTRY_BYTES);
        body.put_u64(self.engine_id);
        body.put_i64(self.created_ms);
        body.put_u64(self.window_bytes);
        body.put_u32(self.next_file);
        body.put_u64(self.next_copy.0);
        body.put_u32(self.logs.len() as u32);
        for log in &self.logs {
            body.put_u32(log.id);
            body.put_u32(log.generation);
            body.put_u64(log.next_base.0);
            body.put_u64(log.first_base.0);
        }
        body.put_u32(self.sealed_logs.len() as u32);
        for log in &self.sealed_logs {
            body.put_u32(log.id);
            body.put_u32(log.lane);
            body.put_u32(log.lanes);
            body.put_u64(log.first_base.0);
        }
        body.put_u32(self.segments.len() as u32);
        for segment in &self.segments {
            body.put_u32(segment.file);
            body.put_u32(segment.log);
            body.put_u32(segment.generation);
            body.put_u32(match segment.state {
                SegmentState::Live => 1,
                SegmentState::Sealed => 2,
                SegmentState::Recycled => 3,
                SegmentState::Raw => 4,
                SegmentState::Reserve => 5,
                SegmentState::Retired => 6,
            });
            body.put_u64(segment.salt);
            body.put_u64(segment.base.0);
            body.put_u64(segment.bytes);
            body.put_u64(segment.end.0);
            body.put_i64(segment.last_append_ms);
            let Stretch { from, to } = segment.copy_of.unwrap_or(NO_STRETCH);
            body.put_u64(from.0);
            body.put_u64(to.0);
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.put_u32(VERSION);
        bytes.put_u32(body.len() as u32);
        bytes.put_u64(self.sequence);
        bytes.put_u32(crc32c::crc32c(&body));
        let checksum = crc32c::crc32c(&bytes);
        bytes.put_u32(checksum);
        bytes.extend_from_slice(&body);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest, BadManifest> {
        let header = bytes.get(..HEADER_BYTES).ok_or(BadManifest::Empty)?;
        if &header[..8] != MAGIC {
            let empty = header.iter().all(|byte| *byte == 0);
            return Err(if empty { BadManifest::Empty } else { BadManifest::Foreign });
        }
        if crc32c::crc32c(&header[..28]) != u32_at(header, 28) {
            return Err(BadManifest::Damaged);
        }
        let version = u32_at(header, 8);
        if version != VERSION {
            return Err(BadManifest::Version(version));
        }
        let body = bytes.get(HEADER_BYTES..HEADER_BYTES + u32_at(header, 12) as usize).ok_or(BadManifest::Damaged)?;
        if crc32c::crc32c(body) != u32_at(header, 24) {
            return Err(BadManifest::Damaged);
        }
        Self::decode_body(body, u64_at(header, 16)).ok_or(BadManifest::Damaged)
    }

    /// Whether it speaks of places that can be: no position lies outside its segment, none overflows. A whole
    /// manifest that does not was never written by an engine, and what relies on it may rely on this.
    fn is_possible(&self) -> bool {
        let is_log = |log: &ManifestLog| {
            let bases = log.first_base <= log.next_base && log.next_base <= Position::COPIES;
            bases && log.generation < u32::MAX && log.id < u32::MAX - LANES_MAX
        };
        // The logs that are written have the largest ids and positions, and begin together.
        let first = self.logs.first().map_or((0, Position(0)), |log| (log.id, log.first_base));
        let together = self.logs.iter().zip(first.0..).all(|(log, id)| (log.id, log.first_base) == (id, first.1));
        let is_sealed_log = |log: &SealedLog| {
            log.lane < log.lanes && log.lanes <= LANES_MAX && log.id < first.0 && log.first_base < first.1
        };
        let ascend = self.sealed_logs.is_sorted_by(|a, b| a.id < b.id && a.first_base <= b.first_base);
        // Positions of sealed logs lie below all of those that are written.
        let is_in_its_place = |s: &ManifestSegment| match s.log < first.0 {
            true => s.to() <= first.1,
            false => s.from() >= first.1,
        };
        let in_place = || self.segments.iter().all(|s| s.state.is_free() || is_in_its_place(s));
        let is_copied = |s: &ManifestSegment| s.copy_of.is_none() || s.limit() <= self.next_copy;
        let copies = || self.segments.iter().all(is_copied);
        let logs = self.logs.len() <= LANES_MAX as usize && self.logs.iter().all(is_log) && together;
        logs && self.sealed_logs.iter().all(is_sealed_log)
            && ascend
            && self.sequence < u64::MAX / 2
            && self.next_file < u32::MAX
            && self.segments.iter().all(is_possible)
            && (Position::COPIES..=Position(POSITION_MAX)).contains(&self.next_copy)
            && in_place()
            && copies()
    }

    fn decode_body(body: &[u8], sequence: u64) -> Option<Manifest> {
        let mut reader = Reader::new(body);
        let mut manifest = Manifest {
            engine_id: reader.u64()?,
            sequence,
            created_ms: reader.i64()?,
            window_bytes: reader.u64()?,
            next_file: reader.u32()?,
            next_copy: Position(reader.u64()?),
            logs: Vec::new(),
            sealed_logs: Vec::new(),
            segments: Vec::new(),
        };
        for _ in 0..reader.u32()? {
            manifest.logs.push(ManifestLog {
                id: reader.u32()?,
                generation: reader.u32()?,
                next_base: Position(reader.u64()?),
                first_base: Position(reader.u64()?),
            });
        }
        for _ in 0..reader.u32()? {
            manifest.sealed_logs.push(SealedLog {
                id: reader.u32()?,
                lane: reader.u32()?,
                lanes: reader.u32()?,
                first_base: Position(reader.u64()?),
            });
        }
        for _ in 0..reader.u32()? {
            manifest.segments.push(ManifestSegment {
                file: reader.u32()?,
                log: reader.u32()?,
                generation: reader.u32()?,
                state: match reader.u32()? {
                    1 => SegmentState::Live,
                    2 => SegmentState::Sealed,
                    3 => SegmentState::Recycled,
                    4 => SegmentState::Raw,
                    5 => SegmentState::Reserve,
                    6 => SegmentState::Retired,
                    _ => return None,
                },
                salt: reader.u64()?,
                base: Position(reader.u64()?),
                bytes: reader.u64()?,
                end: Position(reader.u64()?),
                last_append_ms: reader.i64()?,
                copy_of: Some(Stretch { from: Position(reader.u64()?), to: Position(reader.u64()?) })
                    .filter(|stretch| *stretch != NO_STRETCH),
            });
        }
        (reader.is_empty() && manifest.is_possible()).then_some(manifest)
    }
}

/// Segments that are no copies have none.
const NO_STRETCH: Stretch = Stretch { from: Position(0), to: Position(0) };
/// No log comes near [`Position::COPIES`], and no cleaner here: it would have written for thousands of years.
const POSITION_MAX: u64 = 1 << 62;

fn is_possible(segment: &ManifestSegment) -> bool {
    // Those of the reserve are smaller than any other.
    let bytes = segment.bytes > PAGE as u64
        && segment.bytes <= SEGMENT_BYTES_CEILING
        && segment.bytes.is_multiple_of(PAGE as u64);
    let stretch = match segment.copy_of {
        None => segment.base <= Position::COPIES,
        Some(Stretch { from, to }) => {
            let is_copy = segment.base.is_of_copy() && from < to && to <= Position::COPIES;
            is_copy && matches!(segment.state, SegmentState::Sealed | SegmentState::Retired)
        }
    };
    let base = segment.base.0 <= POSITION_MAX && segment.base.0.is_multiple_of(PAGE as u64) && stretch;
    let ends_within = || segment.end >= segment.first_frame() && segment.end <= segment.limit();
    bytes && base && segment.generation < u32::MAX && (segment.state != SegmentState::Sealed || ends_within())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadManifest {
    Empty,
    Foreign,
    Damaged,
    Version(u32),
}

/// What the two files said.
#[derive(Debug)]
pub(crate) struct LoadedManifest {
    pub(crate) manifest: Manifest,
    /// A copy that could not be used, with the reason; the next commit mends it.
    pub(crate) bad_copy: Option<String>,
    /// The copy that was written last. Its flush may have failed, or its writer may have died before it.
    pub(crate) unsettled: usize,
}

/// The two files, open.
pub(crate) struct ManifestFiles {
    files: [Arc<dyn File>; 2],
}

impl ManifestFiles {
    /// Opens both files, creating what is missing; the directory entries are durable on return.
    pub(crate) fn open(storage: &dyn Storage) -> Result<ManifestFiles> {
        let mut files = Vec::new();
        for name in MANIFEST_FILES {
            let file = storage.open(name, Access::Create).map_err(|error| Error::io("open", name, None, &error))?;
            files.push(file);
        }
        storage.sync_directory().map_err(|error| Error::io("sync", "directory", None, &error))?;
        let files = files.try_into().map_err(|_| ()).expect("two names, two files");
        Ok(ManifestFiles { files })
    }

    /// Makes sure that a manifest with one segment more will find its blocks.
    pub(crate) fn make_room_for_one(&self, manifest: &Manifest) -> Result<()> {
        self.make_room((manifest.encode().len() + SEGMENT_ENTRY_BYTES) as u64)
    }

    fn make_room(&self, bytes: u64) -> Result<()> {
        for file in &self.files {
            let length = file.length().map_err(|error| Error::io("measure", file.name(), None, &error))?;
            if length < bytes {
                let length = bytes.next_multiple_of(GROWTH_BYTES);
                file.allocate(length).map_err(|error| Error::io("allocate", file.name(), None, &error))?;
            }
        }
        Ok(())
    }

    /// Writes and flushes one copy, then the other.
    pub(crate) fn commit(&self, manifest: &mut Manifest) -> Result<()> {
        manifest.sequence += 1;
        self.make_room(manifest.encode().len() as u64)?;
        self.files.iter().try_for_each(|file| write(&**file, manifest))
    }

    /// Before the first commit of an opening: makes what was read durable, by writing the copy once more
    /// that was written last. Else a commit would write the other one while this one may be in flight, and
    /// a loss of power could take both; and what was read could turn out never to have been.
    ///
    /// After the first copy comes the second: a commit that was cut short between them has left an older one,
    /// and what that says of a segment must not be true of one that is just made.
    pub(crate) fn settle(&self, manifest: &mut Manifest, unsettled: usize) -> Result<()> {
        // The first copy must be seen to be newer until the second is written.
        manifest.sequence += u64::from(unsettled == 0);
        self.make_room(manifest.encode().len() as u64)?;
        self.files[unsettled..].iter().try_for_each(|file| write(&**file, manifest))
    }
}

fn write(file: &dyn File, manifest: &Manifest) -> Result<()> {
    let block = Block::copy_of(&manifest.encode());
    file.write_at(block.slice(0, block.capacity()), 0)
        .map_err(|error| Error::io("write", file.name(), Some(0), &error))?;
    file.sync().map_err(|error| Error::io("flush", file.name(), None, &error))
}

/// Reads the manifest. `None`: the directory holds no engine yet.
pub(crate) fn load(storage: &dyn Storage, path: &Path) -> Result<Option<LoadedManifest>> {
    let names = storage.list().map_err(|error| Error::io("list", "directory", None, &error))?;
    let mut good: Option<Manifest> = None;
    let mut bad: Vec<(&str, BadManifest)> = Vec::new();
    // A commit writes and flushes the first copy, then the second. So the first came last if it is newer or
    // not whole, and else the second.
    let mut unsettled = 0;
    for (at, name) in MANIFEST_FILES.into_iter().enumerate() {
        if !names.iter().any(|have| have == name) {
            bad.push((name, BadManifest::Empty));
            continue;
        }
        match Manifest::decode(&read_whole(storage, name)?) {
            Ok(manifest) => {
                if good.as_ref().is_some_and(|other| other.sequence <= manifest.sequence) {
                    unsettled = at;
                }
                if good.as_ref().is_none_or(|other| other.sequence < manifest.sequence) {
                    good = Some(manifest);
                }
            }
            Err(reason) => bad.push((name, reason)),
        }
    }
    // A newer copy is not a bad one: using the older beside it would lose what the newer library wrote.
    for (name, reason) in &bad {
        if let BadManifest::Version(found) = reason {
            return Err(Error::UnsupportedVersion { file: (*name).to_owned(), found: *found, supported: VERSION });
        }
    }
    if let Some(manifest) = good {
        let bad_copy = bad.first().map(|(name, reason)| format!("{name}: {reason:?}"));
        if let Some(bad) = MANIFEST_FILES.iter().position(|name| bad.iter().any(|(bad, _)| bad == name)) {
            unsettled = bad;
        }
        return Ok(Some(LoadedManifest { manifest, bad_copy, unsettled }));
    }
    for (name, reason) in &bad {
        match reason {
            BadManifest::Foreign => {
                return Err(Error::ForeignFormat {
                    path: path.to_owned(),
                    file: (*name).to_owned(),
                    found: "another kind of file".to_owned(),
                });
            }
            BadManifest::Empty | BadManifest::Damaged | BadManifest::Version(_) => {}
        }
    }
    let is_ours = |name: &&String| super::segment::parse_file_name(name).is_some();
    if let Some(segment) = names.iter().find(is_ours) {
        return Err(Error::Damaged {
            file: MANIFEST_FILES.join(" and "),
            position: 0,
            file_offset: 0,
            bytes: 0,
            reason: format!("both copies are missing or damaged, but {segment} is there"),
        });
    }
    // Creation makes the manifest before anything else: without segments, it was cut short.
    let foreign = names.iter().find(|name| !MANIFEST_FILES.contains(&name.as_str()) && !is_auxiliary(name));
    match foreign {
        Some(name) => Err(Error::ForeignFormat {
            path: path.to_owned(),
            file: name.clone(),
            found: "no manifest beside it".to_owned(),
        }),
        None => Ok(None),
    }
}

/// Files that say nothing about what the directory is.
fn is_auxiliary(name: &str) -> bool {
    name == super::segment::LOCK_FILE || name == "lost+found" || name.starts_with('.')
}

fn read_whole(storage: &dyn Storage, name: &str) -> Result<Vec<u8>> {
    let fail = |operation, error: &std::io::Error| Error::io(operation, name, None, error);
    let file = storage.open(name, Access::Read).map_err(|error| fail("open", &error))?;
    let length = file.length().map_err(|error| fail("length", &error))? as usize;
    let mut block = Block::zeroed(length.max(1).next_multiple_of(PAGE));
    let read = file.read_at(block.as_mut_slice(), 0).map_err(|error| fail("read", &error))?;
    Ok(block.as_mut_slice()[..read].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> Manifest {
        Manifest {
            engine_id: 7,
            sequence: 3,
            created_ms: 9,
            window_bytes: 32 << 20,
            next_file: 5,
            next_copy: Position(Position::COPIES.0 + (2 << 20)),
            logs: vec![ManifestLog {
                id: 4,
                generation: 2,
                next_base: Position(2 << 20),
                first_base: Position(1 << 20),
            }],
            sealed_logs: vec![SealedLog { id: 2, lane: 1, lanes: 3, first_base: Position(4096) }],
            segments: vec![ManifestSegment {
                file: 4,
                log: 4,
                generation: 2,
                state: SegmentState::Sealed,
                salt: 99,
                base: Position(1 << 20),
                bytes: 1 << 20,
                end: Position((1 << 20) + 8192),
                last_append_ms: -5,
                copy_of: None,
            }],
        }
    }

    #[test]
    fn it_is_read_back_and_padding_behind_it_does_not_matter() {
        let mut bytes = sample().encode();
        bytes.resize(8192, 0);
        assert_eq!(Manifest::decode(&bytes).unwrap(), sample());
    }

    /// A fuzzer made a whole manifest whose sealed segment ended before it began, and `verify` subtracted.
    #[test]
    fn a_manifest_that_cannot_be_is_damaged() {
        let copy_of = |manifest: &mut Manifest, from, to| {
            let base = Position::COPIES.advance(1 << 20);
            let end = base.advance(8192);
            let copy_of = Some(Stretch { from: Position(from), to: Position(to) });
            manifest.segments[0] = ManifestSegment { base, end, copy_of, ..manifest.segments[0] };
        };
        let mut copied = sample();
        copy_of(&mut copied, 1 << 20, 3 << 20);
        assert_eq!(Manifest::decode(&copied.encode()), Ok(copied.clone()));
        copied.next_copy = Position::COPIES.advance(1 << 20);
        assert_eq!(Manifest::decode(&copied.encode()), Err(BadManifest::Damaged), "it lies behind");
        let spoil: [fn(&mut Manifest); 17] = [
            |manifest| manifest.next_copy = Position(0),
            |manifest| manifest.segments[0].copy_of = Some(Stretch { from: Position(1 << 20), to: Position(2 << 20) }),
            |manifest| (manifest.segments[0].base, manifest.segments[0].end) = (Position::COPIES, Position::COPIES),
            |manifest| {
                manifest.segments[0].copy_of = Some(Stretch { from: Position(2 << 20), to: Position(2 << 20) });
            },
            |manifest| manifest.segments[0].end = Position(0),
            |manifest| manifest.segments[0].end = Position(3 << 20),
            |manifest| manifest.segments[0].base = Position(u64::MAX - 4095),
            |manifest| manifest.segments[0].bytes = u64::MAX,
            |manifest| manifest.logs[0].next_base = Position(u64::MAX),
            |manifest| manifest.sequence = u64::MAX,
            |manifest| manifest.segments[0].log = 2,
            |manifest| manifest.segments[0].base = Position((1 << 20) - 4096),
            |manifest| manifest.logs[0].first_base = Position(3 << 20),
            |manifest| manifest.sealed_logs[0].id = 4,
            |manifest| manifest.sealed_logs[0].first_base = Position(1 << 20),
            |manifest| manifest.sealed_logs[0].lane = 3,
            |manifest| manifest.sealed_logs.push(manifest.sealed_logs[0]),
        ];
        for (number, spoil) in spoil.iter().enumerate() {
            let mut manifest = sample();
            spoil(&mut manifest);
            assert_eq!(Manifest::decode(&manifest.encode()), Err(BadManifest::Damaged), "{number}");
        }
    }

    /// Which copy was written last is told from the copies alone, also when settling was cut short.
    #[test]
    fn the_copy_that_was_written_last_is_known() {
        use crate::io::{Directory, DirectoryOptions, SystemClock};
        let scratch = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let storage = Directory::open(scratch.path(), DirectoryOptions::default(), clock).unwrap();
        let files = ManifestFiles::open(&storage).unwrap();
        let last = || load(&storage, scratch.path()).unwrap().unwrap().unsettled;
        let mut manifest = sample();
        manifest.sequence += 1;
        write(&*files.files[0], &manifest).unwrap();
        assert_eq!(last(), 1, "the other one is not there: it came next");
        write(&*files.files[1], &manifest).unwrap();
        assert_eq!(last(), 1);
        files.settle(&mut manifest, 1).unwrap();
        assert_eq!(last(), 1, "settling the second leaves it the last");
        manifest.sequence += 1;
        write(&*files.files[0], &manifest).unwrap();
        assert_eq!(last(), 0, "a commit that was cut short after its first copy");
        files.settle(&mut manifest, 0).unwrap();
        assert_eq!(last(), 1, "settling ends what was cut short");
        let noise = Block::copy_of(&[7; PAGE]);
        for at in [0, 1] {
            files.commit(&mut manifest).unwrap();
            assert_eq!(last(), 1);
            files.files[at].write_at(noise.slice(0, PAGE), 0).unwrap();
            assert_eq!(last(), at, "a torn copy was being written");
            files.settle(&mut manifest, at).unwrap();
            assert_eq!(last(), 1);
        }
    }

    /// The story: a commit that freed a segment was cut short after its first copy. The next opening settled
    /// that copy, saw nothing left to free, and gave the segment another header; then a loss of power took the
    /// first copy while it was written anew, and the second one said that the segment was still the old one.
    #[test]
    fn both_copies_say_the_same_once_they_are_settled() {
        use crate::io::{Directory, DirectoryOptions, SystemClock};
        let scratch = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let storage = Directory::open(scratch.path(), DirectoryOptions::default(), clock).unwrap();
        let files = ManifestFiles::open(&storage).unwrap();
        let mut manifest = sample();
        files.commit(&mut manifest).unwrap();
        manifest.sequence += 1;
        manifest.segments[0].state = SegmentState::Raw;
        write(&*files.files[0], &manifest).unwrap();
        let loaded = load(&storage, scratch.path()).unwrap().unwrap();
        assert_eq!((loaded.unsettled, &loaded.manifest), (0, &manifest));
        files.settle(&mut manifest, loaded.unsettled).unwrap();
        let noise = Block::copy_of(&[7; PAGE]);
        for torn in &files.files {
            torn.write_at(noise.slice(0, PAGE), 0).unwrap();
            let left = load(&storage, scratch.path()).unwrap().unwrap().manifest;
            assert_eq!(left, manifest, "{} is torn", torn.name());
            write(&**torn, &manifest).unwrap();
        }
    }

    #[test]
    fn each_damaged_byte_is_noticed() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            Manifest::decode(&damaged).expect_err("a damaged byte");
        }
        for length in 0..bytes.len() {
            Manifest::decode(&bytes[..length]).expect_err("a truncated manifest");
        }
    }
}
