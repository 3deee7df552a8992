//! The reserve: small segment files of each log that are kept for a full disk.
//!
//! ```text
//!            takes a segment of the reserve          leaves at least
//!  bookkeeping   topics, deletions, cancelling, marks        0
//!  publication   records that become visible                 TURNOVER
//!  opening       the first segment of a generation           0
//!  producers     never                                       all
//! ```
//!
//! Why three must stay after publications: what other bookkeeping writes is dead as soon as a later
//! checkpoint says the same, so its segment comes back when two later checkpoints are whole. So three
//! segments turn over for ever, and with them an engine can be opened, used for bookkeeping and closed
//! on a full disk any number of times. A publication stays where it is as long as its record is kept.
//!
//! Invariants:
//! - The files have all their blocks, written and flushed, before producers get a segment beyond the
//!   first one: from creation on, and again after each use as soon as there is space.
//! - They are used only while nothing else can be had.
//! - They never change from one log to another while both are written: their sizes are none that other segments have, so they are
//!   known again when they hold nothing any more, and go back to the reserve that they came from. Else the
//!   publications of one log would use up what the openings of another one need.
//! - Each is large enough for a checkpoint of its log and as much again: a log's state grows only
//!   when its reserve has grown.
//! - A segment is spent only if two whole checkpoints stand behind it.

use crate::bounds::SEGMENT_BYTES_FLOOR;
use crate::error::{Error, Result};
use crate::io::{Access, File, Storage};
use crate::keeper::{self, FREE_BYTES_MIN, Place, no_space_or, occupy};
use crate::lane::recovery::whole_checkpoint;
use crate::lane::supply::Prepared;
use crate::log::frame::Kind;
use crate::log::manifest::{Manifest, ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::log::scan::SegmentScan;
use crate::log::segment::file_name;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Segments in the reserve of each log.
pub(crate) const SEGMENTS: usize = 5;
/// So many of them turn over, whatever else happens.
pub(crate) const TURNOVER: usize = 3;
/// Whole checkpoints that must stand behind a segment before it is given up.
pub(crate) const CHECKPOINTS: usize = 2;
/// The size of each is a multiple of this.
const UNIT_BYTES: u64 = 256 << 10;
/// What there is room for beside checkpoints: header page, bookkeeping, End frame.
const BESIDE_BYTES: u64 = 128 << 10;

/// The size of a segment of the reserve when a checkpoint takes so many bytes.
pub(crate) fn bytes_for(state_bytes: u64) -> u64 {
    let bytes = (state_bytes * 2 + BESIDE_BYTES).next_multiple_of(UNIT_BYTES);
    // Other segments are a power of two, and no smaller than that.
    if is_size(bytes) { bytes } else { bytes + UNIT_BYTES }
}

/// Whether a segment of this size came out of a reserve.
pub(crate) fn is_size(bytes: u64) -> bool {
    bytes < SEGMENT_BYTES_FLOOR || !bytes.is_power_of_two()
}

/// What becomes of a file that holds nothing any more, and whose log is known: one of the reserve goes back
/// to it, if a lane still writes the log; anything else is `otherwise`.
pub(crate) fn state_when_empty(
    manifest: &Manifest,
    segment: &ManifestSegment,
    otherwise: SegmentState,
) -> SegmentState {
    let is_written = manifest.is_written(segment.log) && segment.copy_of.is_none();
    let goes_back = is_written && is_size(segment.bytes) && level(manifest, segment.log).segments < SEGMENTS;
    if goes_back { SegmentState::Reserve } else { otherwise }
}

/// The largest checkpoint for which a segment of the reserve is large enough.
pub(crate) fn state_bytes_max(bytes: u64) -> u64 {
    bytes.saturating_sub(BESIDE_BYTES) / 2
}

/// What a log has in reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) segments: usize,
    /// The size of the smallest; zero if there is none.
    pub(crate) bytes: u64,
}

/// Looks at the reserve of a log.
pub(crate) fn level(manifest: &Manifest, log: u32) -> Level {
    let of_log = || manifest.segments.iter().filter(|s| is_reserve_of(s, log));
    Level { segments: of_log().count(), bytes: of_log().map(|segment| segment.bytes).min().unwrap_or(0) }
}

fn is_reserve_of(segment: &ManifestSegment, log: u32) -> bool {
    segment.state == SegmentState::Reserve && segment.log == log
}

/// Does one step towards a whole reserve: a file more, or one that is larger. `false`: it is whole.
/// The manifest is still to be committed.
pub(crate) fn restore(storage: &dyn Storage, manifest: &mut Manifest, log: u32, state_bytes: u64) -> Result<bool> {
    let bytes = bytes_for(state_bytes);
    let small = manifest.segments.iter().position(|s| is_reserve_of(s, log) && s.bytes < bytes);
    if let Some(at) = small {
        adopt(storage, manifest, at, log, bytes)?;
        return Ok(true);
    }
    if level(manifest, log).segments >= SEGMENTS {
        return Ok(false);
    }
    // One that was too many: nobody else has a use for it.
    let free = |s: &ManifestSegment| s.state.is_for_all() && (s.log == log || !is_size(s.bytes));
    if let Some(at) = manifest.segments.iter().position(|s| free(s) && s.bytes <= bytes) {
        adopt(storage, manifest, at, log, bytes)?;
        return Ok(true);
    }
    match add(storage, manifest, log, bytes) {
        Err(full @ Error::NoSpace { .. }) => {
            // Part of a larger free file, the rest of which goes back to the file system.
            let free = manifest.segments.iter().enumerate().filter(|(_, s)| free(s));
            let Some((at, _)) = free.min_by_key(|(_, s)| s.bytes) else { return Err(full) };
            adopt(storage, manifest, at, log, bytes)?;
        }
        added => added?,
    }
    Ok(true)
}

/// Makes a free file, or one that is too small, part of the reserve of `log`.
fn adopt(storage: &dyn Storage, manifest: &mut Manifest, at: usize, log: u32, bytes: u64) -> Result<()> {
    let old = manifest.segments[at];
    let name = file_name(old.file);
    if old.bytes < bytes {
        check_room(storage, bytes - old.bytes, &name)?;
    }
    let fail = |operation, error: &std::io::Error| Error::io(operation, &name, None, error);
    let file =
        storage.open(&name, Access::Create).map_err(|error| no_space_or(fail("create", &error), bytes, storage))?;
    let length = file.length().map_err(|error| fail("measure", &error))?;
    // Somebody may have removed or cut a free file.
    let written = if old.state != SegmentState::Raw && length >= old.bytes { old.bytes.min(bytes) } else { 0 };
    write_whole(storage, &*file, written, bytes)?;
    file.sync().map_err(|error| no_space_or(fail("flush", &error), bytes, storage))?;
    let segment = &mut manifest.segments[at];
    *segment = ManifestSegment { state: SegmentState::Reserve, log, bytes, end: Position(0), ..old };
    Ok(())
}

/// Makes new files for the reserve of `log`: those that are missing, or as many as there is room for, but at
/// least one. Together, because each flush would cost an opening some milliseconds.
fn add(storage: &dyn Storage, manifest: &mut Manifest, log: u32, bytes: u64) -> Result<()> {
    let missing = SEGMENTS - level(manifest, log).segments;
    let first = manifest.next_file;
    let mut made = Vec::new();
    let mut outcome = Ok(());
    for at in 0..missing as u32 {
        match make(storage, &file_name(first + at), bytes) {
            Ok(file) => made.push(file),
            Err(full @ Error::NoSpace { .. }) if made.is_empty() => return Err(full),
            Err(Error::NoSpace { .. }) => break,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    let fail = |operation, error: &std::io::Error| {
        no_space_or(Error::io(operation, "the reserve", None, error), bytes, storage)
    };
    let flushed = outcome.and_then(|()| {
        made.iter().try_for_each(|file| file.sync()).map_err(|error| fail("flush", &error))?;
        storage.sync_directory().map_err(|error| fail("sync the directory of", &error))
    });
    if let Err(error) = flushed {
        for file in made {
            let _ = storage.remove(file.name());
        }
        return Err(error);
    }
    manifest.next_file += made.len() as u32;
    manifest.segments.extend((first..manifest.next_file).map(|file| ManifestSegment {
        file,
        log,
        generation: 0,
        state: SegmentState::Reserve,
        salt: 0,
        base: Position(0),
        bytes,
        end: Position(0),
        last_append_ms: 0,
        copy_of: None,
    }));
    Ok(())
}

/// Makes one file with all its blocks; not flushed. If that fails there is none.
fn make(storage: &dyn Storage, name: &str, bytes: u64) -> Result<Arc<dyn File>> {
    check_room(storage, bytes, name)?;
    let open = |error: &std::io::Error| no_space_or(Error::io("create", name, None, error), bytes, storage);
    let file = storage.open(name, Access::Create).map_err(|error| open(&error))?;
    write_whole(storage, &*file, 0, bytes).inspect_err(|_| drop(storage.remove(name)))?;
    Ok(file)
}

fn check_room(storage: &dyn Storage, bytes: u64, name: &str) -> Result<()> {
    let free_bytes = storage.free_bytes().map_err(|error| Error::io("measure the space for", name, None, &error))?;
    match free_bytes < bytes + FREE_BYTES_MIN {
        true => Err(Error::NoSpace { needed_bytes: bytes, free_bytes }),
        false => Ok(()),
    }
}

/// Gives a file its length and writes what is not written of it, so that no block is missing later. The
/// caller flushes it.
fn write_whole(storage: &dyn Storage, file: &dyn File, written: u64, bytes: u64) -> Result<()> {
    let fail =
        |operation, error: &std::io::Error| no_space_or(Error::io(operation, file.name(), None, error), bytes, storage);
    file.allocate(bytes).map_err(|error| fail("allocate", &error))?;
    keeper::zero_fill(file, written, bytes).map_err(|error| no_space_or(error, bytes, storage))
}

/// With another number of lanes: shares what the old logs had in reserve out among the new ones.
pub(crate) fn share_out(manifest: &mut Manifest) {
    let logs: Vec<u32> = manifest.logs.iter().map(|log| log.id).collect();
    let of_reserve = manifest.segments.iter_mut().filter(|s| s.state.is_free() && is_size(s.bytes));
    for (at, segment) in of_reserve.enumerate() {
        segment.log = logs[at % logs.len()];
    }
}

/// Takes out of the manifest what the logs then have too much.
pub(crate) fn drop_surplus(manifest: &mut Manifest) {
    let mut left: BTreeMap<u32, usize> = manifest.logs.iter().map(|log| (log.id, SEGMENTS)).collect();
    manifest.segments.retain(|segment| {
        if !segment.state.is_free() || !is_size(segment.bytes) {
            return true;
        }
        match left.get_mut(&segment.log) {
            Some(left) if *left > 0 && segment.state == SegmentState::Reserve => {
                *left -= 1;
                true
            }
            _ => false,
        }
    });
}

/// The next segment of a log, out of its reserve. The manifest is still to be committed.
pub(crate) fn take(
    storage: &dyn Storage,
    manifest: &mut Manifest,
    log: u32,
    generation: u32,
    bytes_min: u64,
) -> Result<Prepared> {
    let mut missing = Error::NoSpace { needed_bytes: bytes_min, free_bytes: storage.free_bytes().unwrap_or(0) };
    let candidates: Vec<usize> =
        (0..manifest.segments.len()).filter(|&at| is_reserve_of(&manifest.segments[at], log)).collect();
    for at in candidates {
        if manifest.segments[at].bytes < bytes_min {
            continue;
        }
        match occupy(storage, manifest, log, generation, Place::Again(at)) {
            // Its file was removed or cut by somebody, and there is no room to make it again.
            Err(full @ Error::NoSpace { .. }) => missing = full,
            taken => return taken,
        }
    }
    Err(missing)
}

/// At opening: the segments of a log that were taken from the reserve, hold nothing but bookkeeping, and
/// have enough whole checkpoints behind them.
pub(crate) fn spent(storage: &dyn Storage, manifest: &Manifest, log: u32, state_bytes: u64) -> Result<Vec<u32>> {
    let bytes_max = bytes_for(state_bytes);
    let mut checkpoints = 0;
    let mut spent = Vec::new();
    for segment in manifest.segments_of(log).iter().rev() {
        let open = || {
            let name = file_name(segment.file);
            storage.open(&name, Access::Read).map_err(|error| Error::io("open", &name, None, &error))
        };
        if checkpoints < CHECKPOINTS {
            checkpoints += usize::from(whole_checkpoint(*segment, &open()?).is_some());
        } else if is_small(segment, bytes_max) && is_bookkeeping(*segment, open()?) {
            spent.push(segment.file);
        }
    }
    Ok(spent)
}

/// Whether a sealed segment has no more frames than fit into one of the reserve: to look into it is cheap.
pub(crate) fn is_small(segment: &ManifestSegment, bytes_max: u64) -> bool {
    segment.state == SegmentState::Sealed && segment.end.since(segment.base) <= bytes_max
}

/// Whether a sealed segment holds only what its log's later checkpoints say as well. Damage is nobody's
/// to throw away.
fn is_bookkeeping(segment: ManifestSegment, file: Arc<dyn File>) -> bool {
    let mut scan = SegmentScan::new(segment, file);
    let mut position = segment.first_frame();
    while position < segment.end {
        let Ok((header, _)) = scan.frame(position) else { return false };
        match header.kind {
            Kind::Checkpoint | Kind::Catalog | Kind::Discard | Kind::Truncate | Kind::Progress => {}
            Kind::Mark | Kind::End | Kind::Pad | Kind::Prepare => {}
            Kind::Records { .. } | Kind::Withheld { .. } | Kind::Publish => return false,
            Kind::Moved { .. } | Kind::Head => return false,
        }
        position = header.end();
    }
    true
}
