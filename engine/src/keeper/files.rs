//! The files that segments are made of: which is taken for the next one, what they take of the disk.
//!
//! Invariants:
//! - A segment's file, header page and directory entry are durable when it is given out; its entry in the manifest is
//!   made here and committed by who asked.
//! - A full disk is `NoSpace`, and leaves nothing behind.

use crate::canary::{self, Canary};
use crate::cleaner;
use crate::error::{Error, Result};
use crate::io::{Access, Block, File, PAGE, Storage};
use crate::lane::supply::Prepared;
use crate::lane::writer::BLOCK_BYTES;
use crate::log::manifest::{Manifest, ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::log::segment::{file_name, parse_file_name};
use crate::options::Options;
use crate::reserve;

/// Free space below which no segment is made: the file system needs some for its own records.
pub(crate) const FREE_BYTES_MIN: u64 = 1 << 20;

/// What a segment is made of.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// A file that holds nothing, by its place in the manifest.
    Again(usize),
    /// A new file of so many bytes.
    New(u64),
}

/// Writes zeros into a file at once; whoever asks flushes it. (Ahead of a lane the keeper takes its time.)
pub(crate) fn zero_fill(file: &dyn File, from: u64, to: u64) -> Result<()> {
    let mut zeros = Block::zeroed((to.saturating_sub(from) as usize).clamp(PAGE, BLOCK_BYTES));
    zeros.publish_all();
    let mut offset = from;
    while offset < to {
        let length = (to - offset).min(BLOCK_BYTES as u64);
        file.write_at(zeros.slice(0, length as usize), offset)
            .map_err(|error| Error::io("zero-fill", file.name(), None, &error))?;
        offset += length;
    }
    Ok(())
}

/// Gives the file system back what a segment that opening has sealed has behind its end. Each opening leaves
/// one; where an engine is opened for a few records at a time, they would fill the disk.
pub(crate) fn cut(storage: &dyn Storage, segment: &ManifestSegment, end: Position) -> Result<()> {
    let Some(bytes) = cut_bytes(segment, end) else { return Ok(()) };
    let name = file_name(segment.file);
    let file = storage.open(&name, Access::Write).map_err(|error| Error::io("open", &name, None, &error))?;
    match file.allocate(bytes).map_err(|error| Error::io("cut", &name, None, &error)) {
        Err(Error::Io(failure)) if failure.is_no_space() => Ok(()),
        other => other,
    }
}

/// To what length a segment that was sealed with this end is cut; `None`: it keeps its own. One that is used
/// again is allocated anew, so it is not worth it for little; and those of the reserve must stay what they are.
pub(super) fn cut_bytes(segment: &ManifestSegment, end: Position) -> Option<u64> {
    let used = end.0.checked_sub(segment.base.0)?.next_multiple_of(PAGE as u64);
    (used <= segment.bytes / 2 && !reserve::is_size(segment.bytes)).then_some(used)
}

/// How much segment files may grow within a bound on the disk. A copy takes its room out of what is kept for it.
pub(crate) fn disk_bytes_left(manifest: &Manifest, options: &Options, copy_bytes: u64) -> u64 {
    let taken_bytes = disk_bytes(manifest) + cleaner::room_bytes(options).max(copy_bytes);
    options.disk_bytes_max.map_or(u64::MAX, |bytes_max| bytes_max.saturating_sub(taken_bytes))
}

/// Bytes of all segment files.
pub(crate) fn disk_bytes(manifest: &Manifest) -> u64 {
    manifest.segments.iter().map(file_bytes).sum()
}

/// What a segment takes of the disk.
pub(crate) fn file_bytes(segment: &ManifestSegment) -> u64 {
    match segment.state {
        SegmentState::Sealed | SegmentState::Retired => cut_bytes(segment, segment.end).unwrap_or(segment.bytes),
        _ => segment.bytes,
    }
}

/// Segments double with the log until they have their full size.
pub(crate) fn next_segment_bytes(manifest: &Manifest, log: u32, options: &Options) -> u64 {
    let held: u64 = manifest.segments_of(log).iter().map(|segment| segment.bytes).sum();
    let first = options.first_segment_bytes();
    (held / 2).max(first).next_power_of_two().min(options.segment_bytes_limit())
}

/// Makes a segment file ready and enters it into the manifest, which is still to be committed. A new file has at
/// most `new_bytes_max`.
pub(crate) fn prepare_segment(
    storage: &dyn Storage,
    manifest: &mut Manifest,
    log: u32,
    generation: u32,
    wanted_bytes: u64,
    bytes_min: u64,
    new_bytes_max: u64,
) -> Result<Prepared> {
    // A large segment whose blocks must first be written is no help to who wants a small one at once, as
    // opening does. On a full disk there is no choice.
    let is_full = || {
        let is_full = storage.free_bytes().is_ok_and(|free_bytes| free_bytes < wanted_bytes + FREE_BYTES_MIN);
        is_full || new_bytes_max < wanted_bytes
    };
    let is_fit = |s: &ManifestSegment| s.state == SegmentState::Recycled || s.bytes / 4 <= wanted_bytes || is_full();
    let recycled = manifest
        .segments
        .iter()
        .enumerate()
        .filter(|(_, s)| s.state.is_for_all() && s.bytes >= bytes_min && s.bytes >= wanted_bytes / 4 && is_fit(s))
        .max_by_key(|(_, s)| (s.state == SegmentState::Recycled, s.bytes));
    let place = match recycled {
        Some((at, _)) => Place::Again(at),
        None => {
            let measure = |error: &std::io::Error| Error::io("measure the space for", "a segment", None, error);
            let free_bytes = storage.free_bytes().map_err(|error| measure(&error))?;
            if free_bytes < wanted_bytes + FREE_BYTES_MIN {
                return Err(Error::NoSpace { needed_bytes: wanted_bytes, free_bytes });
            }
            if new_bytes_max < wanted_bytes {
                return Err(Error::NoSpace { needed_bytes: wanted_bytes, free_bytes: new_bytes_max });
            }
            Place::New(wanted_bytes)
        }
    };
    occupy(storage, manifest, log, generation, place)
}

/// Makes a file the next segment of a log, in the manifest as well, which is still to be committed.
pub(crate) fn occupy(
    storage: &dyn Storage,
    manifest: &mut Manifest,
    log: u32,
    generation: u32,
    place: Place,
) -> Result<Prepared> {
    let (file_number, bytes, old) = match place {
        Place::Again(at) => (manifest.segments[at].file, manifest.segments[at].bytes, Some(manifest.segments[at])),
        Place::New(bytes) => (manifest.next_file, bytes, None),
    };
    let name = file_name(file_number);
    let fail = |operation, error: &std::io::Error| Error::io(operation, &name, None, error);
    let file =
        storage.open(&name, Access::Create).map_err(|error| no_space_or(fail("create", &error), bytes, storage))?;
    let log_entry = manifest.logs.iter_mut().find(|entry| entry.id == log).expect("the log is in the manifest");
    let segment = ManifestSegment {
        file: file_number,
        log,
        generation,
        state: SegmentState::Live,
        salt: storage.random(),
        base: log_entry.next_base,
        bytes,
        end: Position(0),
        last_append_ms: 0,
        copy_of: None,
    };
    let mut whole = false;
    let result = (|| {
        if !file.lock(30_000).map_err(|error| fail("lock", &error))? {
            return Err(fail("lock", &std::io::Error::other("another process holds it")));
        }
        // Somebody may have removed or cut a free file: it is simply made again.
        whole = old.is_some() && file.length().map_err(|error| fail("measure", &error))? >= bytes;
        if !whole {
            file.allocate(bytes).map_err(|error| no_space_or(fail("allocate", &error), bytes, storage))?;
        }
        let page = Block::copy_of(&segment.header_page(manifest.engine_id, manifest.window_bytes));
        file.write_at(page.slice(0, PAGE), 0)
            .map_err(|error| no_space_or(fail("write the header of", &error), bytes, storage))?;
        file.sync().map_err(|error| no_space_or(fail("flush", &error), bytes, storage))?;
        if canary::sings(Canary::ForgetDirectoryEntry) {
            return Ok(());
        }
        storage
            .sync_directory()
            .map_err(|error| no_space_or(Error::io("sync", "directory", None, &error), bytes, storage))
    })();
    if let Err(error) = result {
        if old.is_none() {
            let _ = storage.remove(&name);
        }
        return Err(error);
    }
    let log_entry = manifest.logs.iter_mut().find(|entry| entry.id == log).expect("the log is in the manifest");
    log_entry.next_base = segment.limit();
    match place {
        Place::Again(at) => manifest.segments[at] = segment,
        Place::New(_) => {
            manifest.next_file += 1;
            manifest.segments.push(segment);
        }
    }
    let reserved = old.is_some_and(|old| old.state == SegmentState::Reserve);
    let is_written = reserved || old.is_some_and(|old| old.state == SegmentState::Recycled);
    let written_bytes = if is_written && whole { bytes } else { PAGE as u64 };
    Ok(Prepared { manifest: segment, file, written_bytes, busy: false, reserved })
}

/// Removes segment files and indexes that the manifest does not name: a crash came between the two.
pub(crate) fn remove_strays(storage: &dyn Storage, manifest: &Manifest) -> Result<()> {
    let names = storage.list().map_err(|error| Error::io("list", "directory", None, &error))?;
    for name in names {
        let segment = name.strip_suffix(".index").unwrap_or(&name);
        let Some(file) = parse_file_name(segment) else { continue };
        let known = manifest.segments.iter().find(|segment| segment.file == file);
        if known.is_none_or(|known| known.state.is_free() && name != segment) {
            storage.remove(&name).map_err(|error| Error::io("remove", &name, None, &error))?;
        }
    }
    Ok(())
}

/// A full disk is not a broken one.
pub(crate) fn no_space_or(error: Error, needed_bytes: u64, storage: &dyn Storage) -> Error {
    match error {
        Error::Io(failure) if failure.is_no_space() => {
            Error::NoSpace { needed_bytes, free_bytes: storage.free_bytes().unwrap_or(0) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::manifest::ManifestLog;
    use std::sync::Arc;

    /// What opening gets for a small first segment, out of a directory with one free file of 64 MiB.
    fn first_segment(state: SegmentState, space_bytes: Option<u64>) -> Result<(u32, u64)> {
        use crate::io::faulty::Faults;
        use crate::io::{Directory, DirectoryOptions, SystemClock};
        let (scratch, clock, faults) = (tempfile::tempdir().unwrap(), Arc::new(SystemClock::new()), Faults::new());
        let directory = Directory::open(scratch.path(), DirectoryOptions::default(), clock.clone()).unwrap();
        let storage = faults.wrap(Arc::new(directory), clock);
        let free = ManifestSegment {
            file: 0,
            log: 0,
            generation: 1,
            state,
            salt: 1,
            base: Position(1 << 20),
            bytes: 64 << 20,
            end: Position(0),
            last_append_ms: 0,
            copy_of: None,
        };
        storage.open(&file_name(0), Access::Create).unwrap().allocate(64 << 20).unwrap();
        let (next_base, first_base) = (Position(128 << 20), Position(1 << 20));
        let logs = vec![ManifestLog { id: 0, generation: 2, next_base, first_base }];
        let segments = vec![free];
        let (engine_id, window_bytes, sealed_logs) = (1, 64 << 20, Vec::new());
        let next_copy = Position::COPIES;
        let mut manifest = Manifest {
            engine_id,
            sequence: 1,
            created_ms: 0,
            window_bytes,
            next_file: 1,
            next_copy,
            logs,
            sealed_logs,
            segments,
        };
        faults.limit_space(space_bytes);
        let prepared = prepare_segment(&*storage, &mut manifest, 0, 2, 2 << 20, 2 << 20, u64::MAX)?;
        Ok((prepared.manifest.file, prepared.manifest.bytes))
    }

    /// The story: opening took a free segment of 64 MiB for its first one, and wrote zeros into all of it
    /// before anybody could send.
    #[test]
    fn a_large_file_of_unwritten_blocks_is_the_first_segment_only_on_a_full_disk() {
        assert_eq!(first_segment(SegmentState::Raw, None), Ok((1, 2 << 20)), "a new one is sooner ready");
        assert_eq!(first_segment(SegmentState::Recycled, None), Ok((0, 64 << 20)), "it is ready as it is");
        assert_eq!(first_segment(SegmentState::Raw, Some(0)), Ok((0, 64 << 20)), "there is no choice");
        assert!(matches!(first_segment(SegmentState::Reserve, Some(0)), Err(Error::NoSpace { .. })));
    }
}
