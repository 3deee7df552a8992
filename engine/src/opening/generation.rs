//! The beginning of a generation: where what was recovered ends, and what is written next.
//!
//! Invariants:
//! - Each step leaves a manifest that the next opening can go on from: the old one, the one in which the log is
//!   sealed and its empty segments are free, or the new one.
//! - A file gets another header only after both copies of the manifest call it free.
//! - On a full disk the first segment comes out of the reserve.

use super::Opening;
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::io::PAGE;
use crate::keeper::{self};
use crate::lane::recovery::Recovered;
use crate::lane::supply::Prepared;
use crate::log::manifest::{Manifest, ManifestFiles, ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::log::segment::file_name;
use crate::reserve;

impl Opening<'_> {
    /// Makes what was read durable, and seals what was recovered.
    pub(super) fn leave_generation(
        &self,
        manifest: &mut Manifest,
        files: &ManifestFiles,
        unsettled: Option<usize>,
        recovered: &[Recovered],
    ) -> Result<()> {
        let storage = &*self.storage;
        if let Some(unsettled) = unsettled {
            files.settle(manifest, unsettled).map_err(|error| keeper::no_space_or(error, PAGE as u64, storage))?;
        }
        self.leave_segments(manifest, files, recovered)?;
        for log in recovered {
            if canary::sings(Canary::WriteIntoRecovered)
                && let Some((last, _)) = log.used.last()
                && let Some(segment) = manifest.segments.iter_mut().find(|segment| segment.file == last.file)
            {
                segment.state = SegmentState::Raw;
            }
        }
        Ok(())
    }

    /// Gives each log a fresh first segment, in one replacement of the manifest.
    pub(super) fn begin_generation(
        &self,
        manifest: &mut Manifest,
        files: &ManifestFiles,
        recovered: &[Recovered],
    ) -> Result<Vec<Prepared>> {
        let storage = &*self.storage;
        let mut first = Vec::new();
        for (at, recovered) in recovered.iter().enumerate() {
            manifest.logs[at].generation += 1;
            first.push(self.first_segment(manifest, at, recovered.state.encoded_bytes_max())?);
        }
        for (at, recovered) in recovered.iter().enumerate() {
            let (id, state_bytes) = (manifest.logs[at].id, recovered.state.encoded_bytes_max());
            while manifest.logs[at].generation == 1 && reserve::restore(storage, manifest, id, state_bytes)? {}
        }
        files.commit(manifest).map_err(|error| keeper::no_space_or(error, PAGE as u64, storage))?;
        Ok(first)
    }

    /// Gives back what the sealed segments do not need, and what the manifest does not name.
    pub(super) fn tidy_up<'a>(
        &self,
        manifest: &Manifest,
        recovered: impl Iterator<Item = &'a Recovered>,
    ) -> Result<()> {
        for (segment, end) in recovered.flat_map(|log| &log.used) {
            keeper::cut(&*self.storage, segment, *end)?;
        }
        keeper::remove_strays(&*self.storage, manifest)
    }

    /// Notes where the segments that were read end, and takes from the logs what holds nothing: segments that
    /// were never entered, and, where the reserve is not whole, those with nothing but bookkeeping that later
    /// checkpoints say as well.
    ///
    /// The manifest says so before such a file gets the header of another segment, for opening may end in
    /// between. And it says both at once: the log may have left a segment for one that was never entered, and
    /// a live segment must have what its End frame names.
    fn leave_segments(&self, manifest: &mut Manifest, files: &ManifestFiles, recovered: &[Recovered]) -> Result<()> {
        let storage = &*self.storage;
        let mut given_up: Vec<u32> = recovered.iter().flat_map(|log| &log.unused).map(|unused| unused.file).collect();
        for (at, log) in recovered.iter().enumerate() {
            let id = manifest.logs[at].id;
            if reserve::level(manifest, id).segments < reserve::SEGMENTS {
                given_up.extend(reserve::spent(storage, manifest, id, log.state.encoded_bytes_max())?);
            }
        }
        for log in recovered {
            note_ends(manifest, log);
        }
        give_up(manifest, &given_up);
        match given_up.is_empty() {
            true => Ok(()),
            false => files.commit(manifest).map_err(|error| keeper::no_space_or(error, PAGE as u64, storage)),
        }
    }

    /// The first segment of a log's new generation. On a full disk, one of the reserve.
    pub(super) fn first_segment(&self, manifest: &mut Manifest, at: usize, checkpoint_bytes: u64) -> Result<Prepared> {
        let storage = &*self.storage;
        let log = manifest.logs[at];
        let bytes_min = (checkpoint_bytes * 8).max(self.options.first_segment_bytes()).next_power_of_two();
        let prepared = (|| {
            // The reserve comes first; but a new engine needs both, and begins with its first segments.
            while log.generation > 1 && reserve::restore(storage, manifest, log.id, checkpoint_bytes)? {}
            let (id, generation) = (log.id, log.generation);
            // A new engine needs what it begins with, whatever the bound.
            let left = if generation == 1 { u64::MAX } else { keeper::disk_bytes_left(manifest, &self.options, 0) };
            let prepared = keeper::prepare_segment(storage, manifest, id, generation, bytes_min, bytes_min, left)?;
            let file = prepared.manifest.file;
            zero_fill(prepared).map_err(|error| {
                // Not in the manifest yet: as if it had never been.
                manifest.segments.retain(|segment| segment.file != file);
                let _ = storage.remove(&file_name(file));
                keeper::no_space_or(error, bytes_min, storage)
            })
        })();
        match prepared {
            Ok(prepared) => Ok(prepared),
            Err(full @ Error::NoSpace { .. }) if log.generation == 1 => Err(full),
            Err(Error::NoSpace { .. }) => {
                let bytes_min = checkpoint_bytes + (64 << 10);
                reserve::take(storage, manifest, log.id, log.generation, bytes_min)
            }
            Err(error) => Err(error),
        }
    }
}

fn give_up(manifest: &mut Manifest, files: &[u32]) {
    for at in 0..manifest.segments.len() {
        let segment = manifest.segments[at];
        if files.contains(&segment.file) {
            let state = reserve::state_when_empty(manifest, &segment, SegmentState::Raw);
            manifest.segments[at] = ManifestSegment { state, end: Position(0), ..segment };
        }
    }
}

pub(super) fn note_ends(manifest: &mut Manifest, log: &Recovered) {
    for (used, end) in &log.used {
        for segment in manifest.segments.iter_mut().filter(|segment| segment.file == used.file) {
            segment.state = SegmentState::Sealed;
            segment.end = *end;
            segment.last_append_ms = used.last_append_ms;
        }
    }
}

/// The first segment is wanted at once, and it is small.
fn zero_fill(mut prepared: Prepared) -> Result<Prepared> {
    keeper::zero_fill(&*prepared.file, prepared.written_bytes, prepared.manifest.bytes)?;
    prepared.written_bytes = prepared.manifest.bytes;
    prepared.file.sync().map_err(|error| Error::io("zero-fill", prepared.file.name(), None, &error))?;
    Ok(prepared)
}
