//! Another number of lanes: the logs that were recovered are left, and new ones go on where they ended.
//!
//! ```text
//!  old logs    ... sealed | sealed               nothing is written to them any more
//!  new logs                 checkpoint | live    what the old ones said of their slots; then the lane's first segment
//!                           ^ first_base, above every position of the old logs
//! ```
//!
//! Invariants:
//! - Until one commit of the manifest the old logs are the engine; from then on the new ones are. Before it their
//!   checkpoints are durable, in segments that are sealed: a new log is never without a whole checkpoint.
//! - Ids of logs are never used again.
//! - Every new log has a whole reserve, or nothing is changed.

use super::Opening;
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::io::{BlockPool, File, PAGE, Storage};
use crate::keeper;
use crate::lane::checkpoint::Checkpoint;
use crate::lane::recovery::Recovered;
use crate::lane::state::LogState;
use crate::lane::supply::Prepared;
use crate::lane::writer::{BLOCK_BYTES, LogWriter};
use crate::log::manifest::{Manifest, ManifestFiles, ManifestLog, SealedLog, SegmentState};
use crate::log::position::Position;
use crate::log::segment::file_name;
use crate::options::Recovery;
use crate::reserve;
use std::sync::Arc;

impl Opening<'_> {
    /// The number of lanes that is asked for, if it is not the one that there is.
    pub(super) fn other_lanes(&self, manifest: &Manifest) -> Option<u32> {
        let is_other = |lanes: &u32| *lanes as usize != manifest.logs.len();
        self.options.lanes.filter(|_| self.options.recovery != Recovery::Salvage).filter(is_other)
    }

    /// Replaces the logs, which are sealed, by new ones that begin with these states. Gives what each of them has
    /// instead of something that was recovered, and the first segment for its lane.
    pub(super) fn change_lanes(
        &self,
        manifest: &mut Manifest,
        files: &ManifestFiles,
        states: Vec<LogState>,
    ) -> Result<(Vec<Recovered>, Vec<Prepared>)> {
        let storage = &*self.storage;
        let mut changed = manifest.clone();
        let mut checkpoints = Vec::new();
        let switch = |changed: &mut Manifest| {
            files.commit(changed).map_err(|error| keeper::no_space_or(error, PAGE as u64, storage))
        };
        let prepared = self.begin_logs(&mut changed, &states, &mut checkpoints).and_then(|prepared| {
            if canary::sings(Canary::SwitchEarly) {
                switch(&mut changed)?;
            }
            checkpoints.iter_mut().try_for_each(|begun| begun.write_out(storage))?;
            Ok(prepared)
        });
        let prepared = prepared.inspect_err(|_| {
            // The old logs go on; a full disk gets back what was made for the new ones.
            (manifest.next_file..=changed.next_file).for_each(|file| drop(storage.remove(&file_name(file))));
        })?;
        switch(&mut changed)?;
        *manifest = changed;
        let new = states.into_iter().zip(checkpoints).map(|(state, begun)| begun.recovered(state));
        Ok((new.collect(), prepared))
    }

    /// Enters the new logs into the manifest, each with the segment of its checkpoint, which is still to be written
    /// out, a first segment for its lane, and its reserve.
    fn begin_logs(
        &self,
        manifest: &mut Manifest,
        states: &[LogState],
        checkpoints: &mut Vec<Begun>,
    ) -> Result<Vec<Prepared>> {
        let storage = &*self.storage;
        let (first_id, lanes) = (manifest.next_log(), manifest.logs.len() as u32);
        let first_base = manifest.logs.iter().map(|log| log.next_base).max().unwrap_or_default();
        for (log, lane) in manifest.logs.iter().zip(0..) {
            manifest.sealed_logs.push(SealedLog { id: log.id, lane, lanes, first_base: log.first_base });
        }
        let new_log = |id| ManifestLog { id, generation: 0, next_base: first_base, first_base };
        manifest.logs = (first_id..).take(states.len()).map(new_log).collect();
        manifest.forget_drained_logs();
        reserve::share_out(manifest);
        let mut first = Vec::new();
        for (at, state) in states.iter().enumerate() {
            manifest.logs[at].generation = 1;
            checkpoints.push(self.begin_with_checkpoint(manifest, at, state)?);
            manifest.logs[at].generation = 2;
            first.push(self.first_segment(manifest, at, state.encoded_bytes_max())?);
        }
        for (at, state) in states.iter().enumerate() {
            let id = manifest.logs[at].id;
            while reserve::restore(storage, manifest, id, state.encoded_bytes_max())? {}
        }
        reserve::drop_surplus(manifest);
        Ok(first)
    }

    /// The segment that a new log begins with: its checkpoint, and nothing else ever.
    fn begin_with_checkpoint(&self, manifest: &mut Manifest, at: usize, state: &LogState) -> Result<Begun> {
        let storage = &*self.storage;
        let log = manifest.logs[at];
        let needed = state.encoded_bytes_max() + (64 << 10);
        let bytes = needed.next_power_of_two().max(self.options.first_segment_bytes());
        let left = keeper::disk_bytes_left(manifest, &self.options, 0);
        let mut prepared = match keeper::prepare_segment(storage, manifest, log.id, log.generation, bytes, bytes, left)
        {
            Err(Error::NoSpace { .. }) => reserve::take(storage, manifest, log.id, log.generation, needed)?,
            prepared => prepared?,
        };
        // It is flushed as a whole, so it does not matter whether its blocks were written.
        prepared.written_bytes = prepared.manifest.bytes;
        let (number, file) = (prepared.manifest.file, prepared.file.clone());
        let pool = Arc::new(BlockPool::new(BLOCK_BYTES, 1));
        let mut writer = LogWriter::new(prepared, pool, manifest.window_bytes, false);
        Checkpoint::new(state, Position(0)).parts().for_each(|part| {
            writer.append_part(&part);
        });
        let entry = manifest.segments.iter_mut().find(|segment| segment.file == number).expect("it was just prepared");
        (entry.state, entry.end) = (SegmentState::Sealed, writer.tail());
        entry.last_append_ms = state.append_time_ms;
        Ok(Begun { writer, file })
    }
}

/// A log with its checkpoint, which stands in memory.
struct Begun {
    writer: LogWriter,
    file: Arc<dyn File>,
}

impl Begun {
    /// As if it had been read.
    fn recovered(self, state: LogState) -> Recovered {
        let used = vec![(*self.writer.segment().manifest(), self.writer.tail())];
        Recovered { used, ..Recovered::beginning_with(state) }
    }

    /// Writes the checkpoint, and flushes it.
    fn write_out(&mut self, storage: &dyn Storage) -> Result<()> {
        let Begun { writer, file } = self;
        let bytes = writer.segment().manifest().bytes;
        let fail = |operation, error: &std::io::Error| {
            keeper::no_space_or(Error::io(operation, file.name(), None, error), bytes, storage)
        };
        while let Some(write) = writer.next_write(true) {
            let whole = write.block.slice(write.start, write.start + write.length);
            if !whole.is_empty() {
                file.write_at(whole, write.offset).map_err(|error| fail("write", &error))?;
            }
            if let Some(tail) = &write.tail {
                let offset = write.offset + write.length as u64;
                file.write_at(tail.slice(0, PAGE), offset).map_err(|error| fail("write", &error))?;
            }
            writer.complete(write.token);
        }
        assert!(writer.is_clean(), "nothing stands in the way of a write");
        file.sync().map_err(|error| fail("flush", &error))
    }
}
