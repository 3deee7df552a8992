//! Making a copy, and putting it in the place of its sources.
//!
//! Invariants:
//! - One replacement of the manifest enters the copy, which is durable by then, and retires its sources.
//! - Whatever goes wrong before it leaves the sources as they were, and no file behind.

use super::choice::Why;
use super::copy::{Copying, Limits, NoCopy, Source, Step};
use super::{Key, Sealed};
use crate::error::Result;
use crate::keeper::{Keeper, unless_damaged};
use crate::lane::state::PartitionState;
use crate::log::manifest::{ManifestSegment, SegmentState};
use crate::log::position::{Position, Stretch};
use crate::log::segment::{file_name, sidecar_name};
use crate::partition::sealed;
use crate::partition::shared::{LogShared, Segment};
use crate::sync::lock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Keeper {
    pub(super) fn begin_copy(&mut self, why: Why, chosen: &[Sealed]) -> Result<()> {
        let segments: Vec<Arc<Segment>> = chosen.iter().filter_map(|sealed| sealed.segment.upgrade()).collect();
        let (Some(first), Some(last)) = (chosen.first(), chosen.last()) else { return Ok(()) };
        let log = &first.log;
        // Retired since it was looked at, perhaps.
        let is_there =
            |one: &Arc<Segment>| log.segment_at(one.manifest.base).is_some_and(|held| Arc::ptr_eq(&held, one));
        if segments.len() != chosen.len() || !segments.iter().all(is_there) {
            return Ok(());
        }
        let partitions = match self.kept_partitions(log, &segments) {
            Ok(partitions) => partitions,
            Err(error) => return unless_damaged(error, ()),
        };
        let segment = ManifestSegment {
            file: self.manifest.next_file,
            log: log.id,
            generation: last.entry.generation,
            state: SegmentState::Sealed,
            salt: self.storage.random(),
            base: self.manifest.next_copy,
            bytes: 0,
            end: Position(0),
            last_append_ms: chosen.iter().map(|one| one.entry.last_append_ms).max().unwrap_or(0),
            copy_of: Some(Stretch { from: first.entry.from(), to: last.entry.to() }),
        };
        // Its number is taken, whatever comes of it.
        self.manifest.next_file += 1;
        let used_bytes = segments.iter().map(|one| one.manifest.bytes).sum::<u64>();
        let used_bytes = used_bytes.min(crate::bounds::SEGMENT_BYTES_CEILING / 2);
        let source = |segment: Arc<Segment>| {
            let note = self.notes.get(&(log.id, segment.manifest.base)).cloned();
            Source { segment, note }
        };
        let sources: Vec<Source> = segments.into_iter().map(source).collect();
        let limits = Limits { memory_bytes: self.options.cleaner_bytes_max as usize, copy_bytes: used_bytes };
        match Copying::begin(&*self.storage, why, log.clone(), sources, segment, &partitions, limits) {
            Ok(copying) => self.cleaner.copying = Some(copying),
            Err(error) => {
                let keys = chosen.iter().map(|sealed| (log.id, sealed.entry.from()));
                self.give_up_copy(why, segment.file, keys.collect(), NoCopy::of(error))?;
            }
        }
        Ok(())
    }

    /// The partitions that segments speak of and that there are still: where they begin now, and what they were
    /// when the first of the segments began.
    fn kept_partitions(
        &self,
        log: &LogShared,
        segments: &[Arc<Segment>],
    ) -> Result<BTreeMap<u32, (u64, PartitionState)>> {
        let mut kept = BTreeMap::new();
        for segment in segments {
            for entry in sealed::entries(log, segment)? {
                let Some(partition) = self.table.get(entry.slot) else { continue };
                let (next_offset, timestamp_max_ms) = (entry.first_offset, entry.timestamp_before_ms);
                kept.entry(entry.slot).or_insert_with(|| {
                    let first_offset = partition.index().first_offset;
                    (first_offset, PartitionState { next_offset, timestamp_max_ms, ..PartitionState::default() })
                });
            }
        }
        Ok(kept)
    }

    /// Copies the next piece; returns how many bytes were read or written.
    pub(super) fn copy_on(&mut self, mut copying: Copying) -> Result<u64> {
        let ended = match copying.step(&*self.storage) {
            Ok(Step::Worked(bytes)) => {
                self.shared.cleaned_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.cleaner.copying = Some(copying);
                return Ok(bytes);
            }
            Ok(Step::Done) => Ok(()),
            Err(no_copy) => Err(no_copy),
        };
        let (why, file, log) = (copying.why, copying.file(), copying.log.id);
        let keys = copying.sources.iter().map(|source| (log, source.segment.manifest.from())).collect();
        if let Err(no_copy) = ended.and_then(|()| self.end_copy(copying)) {
            self.give_up_copy(why, file, keys, no_copy)?;
        }
        Ok(0)
    }

    /// The copy is whole: it takes the place of its sources.
    fn end_copy(&mut self, copying: Copying) -> Result<(), NoCopy> {
        let log = copying.log.clone();
        let (sources, target) = copying.into_target();
        let (engine_id, window_bytes) = (self.manifest.engine_id, self.manifest.window_bytes);
        let finished = target.finish(&*self.storage, engine_id, window_bytes);
        let (manifest, index) = finished.map_err(NoCopy::of)?;
        let copy = Arc::new(Segment::new(manifest));
        let sidecar = sealed::store(&log, &copy, manifest.end, &index).map_err(NoCopy::of)?;
        *lock(&copy.sidecar) = Some(sidecar);
        let mut changed = self.manifest.clone();
        let stretch = manifest.stretch();
        // The sources, and what stood between them and waits for its last reader: nothing of it is kept.
        let is_within = |s: &&mut ManifestSegment| s.log == log.id && stretch.from <= s.from() && s.from() < stretch.to;
        let sealed = changed.segments.iter_mut().filter(is_within).filter(|s| s.state == SegmentState::Sealed);
        sealed.for_each(|entry| entry.state = SegmentState::Retired);
        changed.next_copy = manifest.limit();
        changed.segments.push(manifest);
        // Without room neither copy of the manifest is touched.
        self.files.make_room_for_one(&changed).map_err(NoCopy::of)?;
        self.manifest = changed;
        self.files.commit(&mut self.manifest).map_err(NoCopy::Failed)?;
        let sources: Vec<Arc<Segment>> = sources.into_iter().map(|source| source.segment).collect();
        // Where recovery began to read in a segment that was sealed before, its runs stand in memory as well.
        for partition in self.table.of_log(log.id) {
            partition.index().forget_below(manifest.to());
        }
        log.replace_segments(&sources, copy);
        for source in &sources {
            self.notes.remove(&(log.id, source.manifest.base));
            self.alive.remove(&(log.id, source.manifest.base));
        }
        self.shared.cleaned_segments.fetch_add(sources.len() as u64, Ordering::Relaxed);
        self.shared.copies.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.retiring).extend(sources);
        self.shared.look_for_dead.store(true, Ordering::Release);
        Ok(())
    }

    /// There will be no copy; the sources stay.
    fn give_up_copy(&mut self, why: Why, file: u32, keys: Vec<Key>, no_copy: NoCopy) -> Result<()> {
        // A failed write may have entered it into a manifest.
        if !matches!(no_copy, NoCopy::Failed(_)) {
            for name in [file_name(file), sidecar_name(file)] {
                let _ = self.storage.remove(&name);
            }
        }
        match no_copy {
            NoCopy::Damaged(bad) => self.cleaner.left_alone.extend(keys.into_iter().filter(|(_, from)| *from == bad)),
            NoCopy::Impossible if why == Why::Regroup => self.cleaner.stays_scattered.extend(keys),
            NoCopy::Impossible => self.cleaner.left_alone.extend(keys),
            NoCopy::NoSpace => self.cleaner.wait_while_full(self.clock.monotonic_ns()),
            NoCopy::Failed(error) => return Err(error),
        }
        // What died meanwhile was left for the copy.
        self.shared.look_for_dead.store(true, Ordering::Release);
        Ok(())
    }
}
