//! Looking into a directory without opening an engine: the manifest, the segments, their frames.
//!
//! Nothing is locked and nothing is written. While a process writes the engine, what is shown may be a
//! moment old, and the last frame may look torn. A segment that is used again below the look at it is no
//! damage: that is said in its place.

use crate::error::{Error, Result};
use crate::follower::load_settled;
use crate::io::{Access, Backend, Directory, DirectoryOptions, Storage, SystemClock};
use crate::log::frame::Kind;
use crate::log::manifest::{Manifest, ManifestSegment, SegmentState};
use crate::log::origin::Origin;
use crate::log::position::Position;
use crate::log::scan::SegmentScan;
use crate::log::segment::{file_name, parse_file_name};
use std::path::Path;
use std::sync::Arc;

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Inspection {
    /// The manifest.
    pub manifest: ManifestInfo,
    /// The segments in the order of their logs and positions; free ones last.
    pub segments: Vec<SegmentInfo>,
}

/// The manifest in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ManifestInfo {
    /// The engine's id.
    pub engine_id: String,
    /// Commits so far.
    pub sequence: u64,
    /// When the engine was made, ms since 1970-01-01 UTC.
    pub created_ms: i64,
    /// W: how far a lane runs ahead of the durable position.
    pub window_bytes: u64,
    /// Lanes.
    pub lanes: u32,
    /// The generation of each log: one more with each opening.
    pub generations: Vec<u32>,
    /// Logs of earlier numbers of lanes that still hold something.
    pub sealed_logs: u32,
    /// A copy of the manifest that cannot be read.
    pub bad_copy: Option<String>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its file.
    pub file: String,
    /// Its log.
    pub log: u32,
    /// The generation that wrote it.
    pub generation: u32,
    /// `live`, `sealed`, `recycled`, `raw`, `reserve` or `retired`.
    pub state: &'static str,
    /// Its salt.
    pub salt: String,
    /// The position of its first byte.
    pub base: u64,
    /// Its length.
    pub bytes: u64,
    /// The end of its frames; none for segments that are not sealed.
    pub end: Option<u64>,
    /// Of what the cleaner has copied: the stretch of the log that it stands for, first position and the one behind.
    pub copy_of: Option<(u64, u64)>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FrameInfo {
    /// Its position in the log.
    pub position: u64,
    /// The same as an offset in the file.
    pub file_offset: u64,
    /// `records`, `withheld`, `publish`, ...
    pub kind: &'static str,
    /// All its bytes.
    pub bytes: u64,
    /// The durable position it carries.
    pub durable: u64,
    /// The partition's slot.
    pub slot: Option<u32>,
    /// Records in it.
    pub count: Option<u32>,
    /// Offset of its first record.
    pub base_offset: Option<u64>,
    /// Who wrote its first record, and as which one; the numbers of the others follow.
    pub origin: Option<Origin>,
    /// When its records become visible, if they are withheld; ms since 1970-01-01 UTC.
    pub due_ms: Option<i64>,
    /// The position that a frame of withheld records is known by, where it was moved.
    pub identity: Option<u64>,
    /// When it was appended, ms since 1970-01-01 UTC.
    pub append_time_ms: Option<i64>,
    /// What is wrong, if it is not a whole frame; then it is the last one.
    pub problem: Option<String>,
}

/// Opens a directory to look at it.
pub(crate) fn open_storage(path: &Path) -> Result<Directory> {
    if !path.is_dir() {
        return Err(Error::InvalidDirectory { path: path.to_owned(), reason: "is not a directory".to_owned() });
    }
    let options =
        DirectoryOptions { backend: Backend::Plain, create: false, read_only: true, ..DirectoryOptions::default() };
    Directory::open(path, options, Arc::new(SystemClock::new()))
        .map_err(|error| Error::InvalidDirectory { path: path.to_owned(), reason: format!("cannot be read: {error}") })
}

/// Reads the manifest, or says that there is none.
pub(crate) fn load_manifest(storage: &dyn Storage, path: &Path) -> Result<(Manifest, Option<String>)> {
    match load_settled(storage, path, true)? {
        Some(loaded) => Ok((loaded.manifest, loaded.bad_copy)),
        None => Err(Error::InvalidDirectory { path: path.to_owned(), reason: "holds no engine".to_owned() }),
    }
}

/// Describes what a directory holds, from its manifest.
///
/// # Errors
/// `InvalidDirectory`, `ForeignFormat`, `UnsupportedVersion`, `Damaged`, `Io`.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection> {
    let path = path.as_ref();
    let storage = open_storage(path)?;
    let (manifest, bad_copy) = load_manifest(&storage, path)?;
    let mut segments: Vec<ManifestSegment> = manifest.segments.clone();
    segments.sort_by_key(|segment| (segment.state.is_free(), segment.log, segment.from()));
    Ok(Inspection {
        manifest: ManifestInfo {
            engine_id: format!("{:016x}", manifest.engine_id),
            sequence: manifest.sequence,
            created_ms: manifest.created_ms,
            window_bytes: manifest.window_bytes,
            lanes: manifest.logs.len() as u32,
            generations: manifest.logs.iter().map(|log| log.generation).collect(),
            sealed_logs: manifest.sealed_logs.len() as u32,
            bad_copy,
        },
        segments: segments.iter().map(segment_info).collect(),
    })
}

fn segment_info(segment: &ManifestSegment) -> SegmentInfo {
    SegmentInfo {
        file: file_name(segment.file),
        log: segment.log,
        generation: segment.generation,
        state: match segment.state {
            SegmentState::Live => "live",
            SegmentState::Sealed => "sealed",
            SegmentState::Recycled => "recycled",
            SegmentState::Raw => "raw",
            SegmentState::Reserve => "reserve",
            SegmentState::Retired => "retired",
        },
        salt: format!("{:016x}", segment.salt),
        base: segment.base.0,
        bytes: segment.bytes,
        end: (segment.state == SegmentState::Sealed).then_some(segment.end.0),
        copy_of: segment.copy_of.map(|stretch| (stretch.from.0, stretch.to.0)),
    }
}

/// Calls `each` for the frames of a segment file, in order, until it returns false or they end.
///
/// # Errors
/// As [`inspect`]; `InvalidArgument` if the manifest does not have the file.
pub fn inspect_frames(path: impl AsRef<Path>, file: &str, each: &mut dyn FnMut(FrameInfo) -> bool) -> Result<()> {
    let path = path.as_ref();
    let storage = open_storage(path)?;
    let (manifest, _) = load_manifest(&storage, path)?;
    let number = parse_file_name(file);
    let segment = manifest.segments.iter().find(|segment| Some(segment.file) == number).ok_or_else(|| {
        Error::InvalidArgument {
            name: "segment",
            value: file.to_owned(),
            reason: "the manifest has no segment file of this name".to_owned(),
        }
    })?;
    let opened = storage.open(file, Access::Read).map_err(|error| Error::io("open", file, None, &error))?;
    let mut scan = SegmentScan::new(*segment, opened);
    let mut position = segment.first_frame();
    while position < segment.limit() && !(segment.state == SegmentState::Sealed && position >= segment.end) {
        let (mut info, next) = frame_info(&mut scan, segment, position);
        if info.problem.is_some() {
            let (now, _) = load_manifest(&storage, path)?;
            let is_same = |s: &&ManifestSegment| (s.file, s.salt, s.base) == (segment.file, segment.salt, segment.base);
            if now.segments.iter().find(is_same).is_none_or(|s| s.state.is_free()) {
                info.problem = Some("the segment was freed while it was looked at".to_owned());
            }
        }
        let goes_on = info.problem.is_none();
        if !each(info) || !goes_on {
            break;
        }
        position = next;
    }
    Ok(())
}

fn frame_info(scan: &mut SegmentScan, segment: &ManifestSegment, position: Position) -> (FrameInfo, Position) {
    let mut info = FrameInfo {
        position: position.0,
        file_offset: position.since(segment.base),
        kind: "none",
        bytes: 0,
        durable: 0,
        slot: None,
        count: None,
        base_offset: None,
        origin: None,
        due_ms: None,
        identity: None,
        append_time_ms: None,
        problem: None,
    };
    match scan.frame(position) {
        Err(no_frame) => {
            info.problem = Some(no_frame.to_string());
            (info, position)
        }
        Ok((header, _)) => {
            info.kind = header.kind.name();
            info.bytes = header.total_bytes();
            info.durable = header.durable.0;
            info.origin = header.kind.origin();
            match header.kind {
                Kind::Records { slot, count, base_offset, append_time_ms, .. } => {
                    (info.slot, info.count) = (Some(slot), Some(count));
                    (info.base_offset, info.append_time_ms) = (Some(base_offset), Some(append_time_ms));
                }
                Kind::Withheld { slot, count, due_ms, append_time_ms, .. } => {
                    (info.slot, info.count) = (Some(slot), Some(count));
                    (info.due_ms, info.append_time_ms) = (Some(due_ms), Some(append_time_ms));
                }
                Kind::Moved { slot, count, due_ms, identity, .. } => {
                    (info.slot, info.count) = (Some(slot), Some(count));
                    (info.due_ms, info.identity) = (Some(due_ms), Some(identity.0));
                }
                _ => {}
            }
            (info, header.end())
        }
    }
}
