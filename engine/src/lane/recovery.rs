//! Opening a log that was written before: find the newest checkpoint, read what follows, decide where it ends.
//!
//! Invariants:
//! - Nothing is written to a recovered segment but the very bytes that were read from it (the tail
//!   beyond the last durable position, so that what is shown is surely on the device), and not even those
//!   where overwriting is not safe.
//! - Nothing is cut that any valid frame or the manifest says was durable: that is damage, and opening fails.
//! - One segment is read, plus those that were not finished.

use super::checkpoint::{Assembly, append_time_ms, previous_end};
use super::read_ahead::ReadAhead;
use super::state::LogState;
use crate::error::{Error, Result};
use crate::io::{Access, Block, File, PAGE, Storage};
use crate::log::frame::{BadFrame, Kind, u64_at};
use crate::log::judge;
use crate::log::manifest::{Manifest, ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::log::scan::{NoFrame, SegmentScan};
use crate::log::segment::{file_name, parse_file_name};
use crate::partition::index::Run;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far into a segment that was perhaps never entered a frame is looked for.
pub(crate) const PROBE_BYTES: u64 = 2 << 20;

/// A stretch of acknowledged data that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Hole {
    /// The segment's file.
    pub file: String,
    /// The position where it begins.
    pub position: u64,
    /// Its length in bytes, as far as it can be told.
    pub bytes: u64,
    /// Why it is damage and not a torn tail.
    pub reason: String,
}

/// What recovery found in a log.
pub(crate) struct Recovered {
    pub(crate) state: LogState,
    /// Runs of the segments that were read, in log order.
    pub(crate) runs: Vec<(u32, Run)>,
    /// What the partitions had before those.
    pub(crate) before: LogState,
    /// Segments that hold frames and their ends, to be sealed.
    pub(crate) used: Vec<(ManifestSegment, Position)>,
    /// Frames that withhold records, by segment base and slot.
    pub(crate) withheld: BTreeMap<Position, BTreeMap<u32, u32>>,
    /// Live segments without frames.
    pub(crate) unused: Vec<ManifestSegment>,
    /// Whether the log ends with the mark of a clean close.
    pub(crate) clean: bool,
    /// Bytes of a torn tail.
    pub(crate) torn_bytes: u64,
    pub(crate) holes: Vec<Hole>,
}

impl Recovered {
    /// A log that begins with this state; nothing was read of it.
    pub(crate) fn beginning_with(state: LogState) -> Recovered {
        Recovered {
            before: state.clone(),
            state,
            runs: Vec::new(),
            used: Vec::new(),
            withheld: BTreeMap::new(),
            unused: Vec::new(),
            clean: false,
            torn_bytes: 0,
            holes: Vec::new(),
        }
    }
}

/// How to recover.
pub(crate) struct RecoveryContext<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) manifest: &'a Manifest,
    pub(crate) lock_wait_ms: u64,
    /// Damage is reported in `holes`, and the log ends there; nothing is written.
    pub(crate) salvage: bool,
    /// What was read behind the last position that is known to be durable is written once more.
    pub(crate) rewrites_tail: bool,
    /// The wall clock.
    pub(crate) now_ms: i64,
}

/// A segment that is looked into, with its file.
pub(crate) struct LiveSegment {
    pub(crate) segment: ManifestSegment,
    pub(crate) file: Arc<dyn File>,
}

struct Walk<'a> {
    context: &'a RecoveryContext<'a>,
    segments: Vec<LiveSegment>,
    state: LogState,
    before: Option<LogState>,
    runs: Vec<(u32, Run)>,
    used: Vec<(ManifestSegment, Position)>,
    withheld: BTreeMap<Position, BTreeMap<u32, u32>>,
    checkpoint: Assembly,
    /// The segment that is being walked has more than a part of its checkpoint.
    entered: bool,
    /// Records became visible behind the last frame that says a time: when, no frame says.
    published_behind: bool,
    previous_checksum: Option<u32>,
    /// The largest durable position that any valid frame carried.
    durable: Position,
    clean: bool,
    torn_bytes: u64,
    holes: Vec<Hole>,
}

/// Recovers one log.
pub(crate) fn recover(context: &RecoveryContext<'_>, log: u32) -> Result<Recovered> {
    let segments = context.manifest.segments_of(log);
    check_files_are_there(context.storage, &segments)?;
    let first_live = segments.iter().position(|s| s.state == SegmentState::Live).unwrap_or(segments.len());
    // A sealed segment in the manifest is what a crash before the first checkpoint falls back to.
    let from = first_live.saturating_sub(1);
    let mut open = Vec::new();
    for segment in &segments[from..] {
        open.push(open_segment(context, *segment)?);
    }
    let Some(start) = proven_start(&open) else { return without_checkpoint(context, open) };
    let mut walk = Walk {
        context,
        segments: open,
        state: LogState::default(),
        before: None,
        runs: Vec::new(),
        used: Vec::new(),
        withheld: BTreeMap::new(),
        checkpoint: Assembly::default(),
        entered: false,
        published_behind: false,
        previous_checksum: None,
        durable: Position(0),
        clean: false,
        torn_bytes: 0,
        holes: Vec::new(),
    };
    // Segments before the newest checkpoint that were not sealed yet: whole, only their ends are wanted.
    for at in 0..start {
        walk.measure(at)?;
    }
    walk.run(start)
}

pub(crate) fn check_files_are_there(storage: &dyn Storage, segments: &[ManifestSegment]) -> Result<()> {
    let names = storage.list().map_err(|error| Error::io("list", "directory", None, &error))?;
    let there: std::collections::HashSet<u32> = names.iter().filter_map(|name| parse_file_name(name)).collect();
    match segments.iter().find(|segment| !there.contains(&segment.file)) {
        None => Ok(()),
        Some(missing) => {
            let reason = "the manifest names this segment, and its file is missing".to_owned();
            Err(missing.damage(missing.base, missing.bytes, reason))
        }
    }
}

fn open_segment(context: &RecoveryContext<'_>, segment: ManifestSegment) -> Result<LiveSegment> {
    let name = file_name(segment.file);
    let fail = |operation, error: &std::io::Error| Error::io(operation, &name, None, error);
    let access = if context.salvage { Access::Read } else { Access::Write };
    let file = context.storage.open(&name, access).map_err(|error| fail("open", &error))?;
    if !context.salvage {
        // Writes that a killed process had submitted may still be landing; its descriptor goes with them.
        if !file.lock(context.lock_wait_ms.max(30_000)).map_err(|error| fail("lock", &error))? {
            return Err(Error::Io(crate::io::IoFailure {
                operation: "lock",
                file: name,
                offset: None,
                errno: None,
                message: "another process still writes it".to_owned(),
            }));
        }
        file.sync().map_err(|error| fail("flush", &error))?;
    }
    let length = file.length().map_err(|error| fail("measure", &error))?;
    let needed = match segment.state {
        SegmentState::Sealed => segment.end.since(segment.base),
        _ => segment.bytes,
    };
    if length < needed {
        let reason = format!("the file was cut: it has {length} bytes of {needed}");
        return Err(segment.damage(segment.base.advance(length), needed - length, reason));
    }
    let mut page = Block::zeroed(PAGE);
    file.read_at(page.as_mut_slice(), 0).map_err(|error| fail("read the header of", &error))?;
    segment.check_header(page.as_mut_slice(), context.manifest.engine_id, context.manifest.window_bytes)?;
    Ok(LiveSegment { segment, file })
}

/// The newest segment with a whole checkpoint, before which everything is known to be durable.
///
/// A checkpoint alone does not say that: the first write into a segment may land while the last ones into
/// the segment before are still in flight. If then the machine dies, the log ends before the checkpoint.
pub(crate) fn proven_start(segments: &[LiveSegment]) -> Option<usize> {
    let mut start = newest_checkpoint(segments)?;
    while start > 0
        && segments[start - 1].segment.state == SegmentState::Live
        && !proves_what_is_before(&segments[start])
    {
        start = newest_checkpoint(&segments[..start])?;
    }
    Some(start)
}

/// Whether a frame of this segment says that the segment before was durable to its end.
fn proves_what_is_before(open: &LiveSegment) -> bool {
    let mut scan = SegmentScan::new(open.segment, open.file.clone());
    let mut position = open.segment.first_frame();
    let mut end = None;
    while let Ok((header, body)) = scan.frame(position) {
        if position == open.segment.first_frame() {
            end = previous_end(body);
        }
        match end {
            // The first segment of a generation: all before it was recovered.
            None => return true,
            Some(end) if header.durable >= end => return true,
            Some(_) => position = header.end(),
        }
    }
    false
}

/// The newest segment with a whole checkpoint.
fn newest_checkpoint(segments: &[LiveSegment]) -> Option<usize> {
    (0..segments.len()).rev().find(|&at| whole_checkpoint(segments[at].segment, &segments[at].file).is_some())
}

/// The end of the checkpoint that a segment begins with, if it is whole and can be read.
pub(crate) fn whole_checkpoint(segment: ManifestSegment, file: &Arc<dyn File>) -> Option<Position> {
    let mut scan = SegmentScan::new(segment, file.clone());
    let mut assembly = Assembly::default();
    let mut position = segment.first_frame();
    loop {
        let (header, body) = scan.frame(position).ok()?;
        if header.kind != Kind::Checkpoint {
            return None;
        }
        position = header.end();
        if assembly.push(body).ok()?.is_some() {
            return Some(position);
        }
    }
}

/// A log whose first checkpoint never became durable: nothing was acknowledged in it, unless a frame says otherwise.
fn without_checkpoint(context: &RecoveryContext<'_>, open: Vec<LiveSegment>) -> Result<Recovered> {
    for LiveSegment { segment, file } in &open {
        let bad = segment.first_frame();
        let sealed = (segment.state == SegmentState::Sealed).then(|| judge::accuse_sealed(bad, segment.end)).flatten();
        let mut scan = SegmentScan::new(*segment, file.clone());
        if let Err(NoFrame::Bad(BadFrame::Version(found))) = scan.frame(bad) {
            return Err(newer(segment, found));
        }
        let place = scan.bad_place(bad);
        let mut accused = sealed;
        let mut from = bad;
        while let (None, Some(witness)) = (&accused, scan.find_valid(from, segment.limit())) {
            accused = judge::accuse(place, context.manifest.window_bytes, &witness);
            from = witness.end();
        }
        if let Some(reason) = accused {
            let reason = format!("no segment has a whole checkpoint; {reason}");
            return Err(segment.damage(bad, segment.limit().since(bad), reason));
        }
    }
    let unused = open.into_iter().map(|open| open.segment).collect();
    Ok(Recovered { unused, ..Recovered::beginning_with(LogState::default()) })
}

/// The end of a segment that the lane has left, and the last append time in it, as the checkpoint of the segment
/// behind it says them.
pub(crate) fn end_before(segment: &ManifestSegment, next: &LiveSegment) -> Result<(Position, i64)> {
    let mut scan = SegmentScan::from_little(next.segment, next.file.clone());
    let first = scan.frame(next.segment.first_frame()).ok();
    let checkpoint = first.filter(|(header, _)| header.kind == Kind::Checkpoint);
    let ends = checkpoint.and_then(|(_, body)| Some((previous_end(body)?, append_time_ms(body)?)));
    ends.filter(|(end, _)| *end > segment.base && *end <= segment.limit()).ok_or_else(|| {
        let reason = "its checkpoint cannot be read, and the log went on behind it".to_owned();
        next.segment.damage(next.segment.first_frame(), next.segment.bytes, reason)
    })
}

impl Walk<'_> {
    /// The end of a segment that a later checkpoint makes unnecessary to read. What is damaged in it is noticed by
    /// who reads it.
    fn measure(&mut self, at: usize) -> Result<()> {
        let segment = self.segments[at].segment;
        if segment.state == SegmentState::Live {
            let (end, last_append_ms) = end_before(&segment, &self.segments[at + 1])?;
            self.used.push((ManifestSegment { last_append_ms, ..segment }, end));
        }
        Ok(())
    }

    fn run(mut self, start: usize) -> Result<Recovered> {
        let mut at = start;
        loop {
            let end = self.walk_segment(at)?;
            match end {
                SegmentEnd::Next(base) => {
                    let next = self.segments.iter().position(|open| open.segment.base == base);
                    let LiveSegment { segment, .. } = self.segments[at];
                    match next {
                        Some(next) => at = next,
                        // Recovery sealed it and gave the segment behind it away, because nothing stood there.
                        None if segment.state == SegmentState::Sealed => {
                            self.after_sealed(at)?;
                            break;
                        }
                        None => {
                            let reason =
                                format!("its End frame names a segment at {base}, which the manifest does not have");
                            return Err(segment.damage(segment.limit(), 0, reason));
                        }
                    }
                }
                SegmentEnd::Cut => break,
            }
        }
        let unused = self
            .segments
            .iter()
            .map(|open| open.segment)
            .filter(|s| s.state == SegmentState::Live && !self.used.iter().any(|(used, _)| used.base == s.base))
            .collect();
        self.used.retain(|(segment, _)| segment.state == SegmentState::Live);
        Ok(Recovered {
            state: self.state,
            runs: self.runs,
            before: self.before.unwrap_or_default(),
            used: self.used,
            withheld: self.withheld,
            unused,
            clean: self.clean,
            torn_bytes: self.torn_bytes,
            holes: self.holes,
        })
    }

    fn walk_segment(&mut self, at: usize) -> Result<SegmentEnd> {
        let LiveSegment { segment, file } = &self.segments[at];
        let segment = *segment;
        let mut position = segment.first_frame();
        // Reading and checking take about as long as each other.
        let file = ReadAhead::new(self.context.storage, file.clone(), 0, segment.bytes);
        let mut scan = SegmentScan::new(segment, Arc::new(file));
        if self.before.is_none() {
            self.previous_checksum = None;
        }
        self.entered = false;
        self.checkpoint = Assembly::default();
        loop {
            if segment.state == SegmentState::Sealed && position >= segment.end {
                self.note_used(segment, position);
                return self.after_sealed(at);
            }
            match scan.frame(position) {
                Ok((header, body)) => {
                    if let Some(expected) = self.previous_checksum
                        && let Some(reason) = judge::accuse_chain(expected, &header)
                    {
                        return Err(segment.damage(position, header.total_bytes(), reason));
                    }
                    if let Some(reason) = judge::accuse_itself(self.context.manifest.window_bytes, &header) {
                        return Err(segment.damage(position, header.total_bytes(), reason));
                    }
                    self.previous_checksum = Some(header.header_checksum);
                    self.durable = self.durable.max(header.durable);
                    self.clean = false;
                    self.entered |= header.kind != Kind::Checkpoint;
                    match header.kind {
                        Kind::Checkpoint => {
                            let assembled = self
                                .checkpoint
                                .push(body)
                                .map_err(|reason| segment.damage(position, header.total_bytes(), reason.to_owned()))?;
                            self.entered |= assembled.is_some();
                            if let Some(state) = assembled
                                && self.before.is_none()
                            {
                                self.before = Some(state.clone());
                                self.state = state;
                            }
                        }
                        Kind::End => {
                            if body.len() < 8 {
                                let reason = "its End frame is too short".to_owned();
                                return Err(segment.damage(position, header.total_bytes(), reason));
                            }
                            let base = Position(u64_at(body, 0));
                            self.note_used(segment, header.end());
                            return Ok(SegmentEnd::Next(base));
                        }
                        Kind::Mark => self.clean = body.first() == Some(&1),
                        _ => {
                            match header.kind {
                                Kind::Publish => self.published_behind = true,
                                Kind::Records { .. } | Kind::Withheld { .. } => self.published_behind = false,
                                _ => {}
                            }
                            if let Kind::Withheld { slot, .. } = header.kind {
                                *self.withheld.entry(segment.base).or_default().entry(slot).or_default() += 1;
                            }
                            let runs = &mut self.runs;
                            self.state
                                .apply(segment.log, &header, body, &mut |slot, run| runs.push((slot, run)))
                                .map_err(|reason| segment.damage(position, header.total_bytes(), reason))?;
                        }
                    }
                    position = header.end();
                }
                Err(no_frame) => return self.end_at(at, segment, position, &no_frame),
            }
        }
    }

    /// A segment that was read holds frames up to `end`.
    fn note_used(&mut self, segment: ManifestSegment, end: Position) {
        // What became visible there did so before now, and retention must not take it for older than it is.
        let last_append_ms = match self.published_behind {
            true => self.state.clamp_append_time(self.context.now_ms),
            false => self.state.append_time_ms,
        };
        self.used.push((ManifestSegment { last_append_ms, ..segment }, end));
    }

    /// Behind a sealed segment a later generation may have begun. If its checkpoint were whole, the walk
    /// had started there; so either nothing was acknowledged in it, or it is damaged.
    fn after_sealed(&mut self, at: usize) -> Result<SegmentEnd> {
        match self.segments.get(at + 1).map(|open| open.segment) {
            None => Ok(SegmentEnd::Cut),
            Some(next) => self.end_at(at + 1, next, next.first_frame(), &NoFrame::Bad(BadFrame::NoFrame)),
        }
    }

    /// There is no frame at `position`: a torn tail, or damage?
    fn end_at(
        &mut self,
        at: usize,
        segment: ManifestSegment,
        position: Position,
        no_frame: &NoFrame,
    ) -> Result<SegmentEnd> {
        if let NoFrame::Bad(BadFrame::Version(found)) = no_frame {
            return Err(newer(&segment, *found));
        }
        if segment.state == SegmentState::Sealed
            && let Some(reason) = judge::accuse_sealed(position, segment.end)
        {
            return self.damaged(segment, position, segment.end, no_frame, &reason).map(|()| SegmentEnd::Cut);
        }
        let bad = {
            let LiveSegment { segment, file } = &self.segments[at];
            SegmentScan::new(*segment, file.clone()).bad_place(position)
        };
        if bad.was_durable_at(self.durable) {
            let reason = format!("a frame before it says that everything below {} was durable", self.durable);
            return self.damaged(segment, position, segment.limit(), no_frame, &reason).map(|()| SegmentEnd::Cut);
        }
        let window = self.context.manifest.window_bytes;
        let mut accused = None;
        let mut last_valid = position;
        'segments: for open in &self.segments[at..] {
            // A later segment that was entered begins with a checkpoint; if there is no frame near its
            // beginning, it was not entered, and reading all of it would only make opening slow.
            let (mut from, limit) = match open.segment.base == segment.base {
                true => (position, segment.limit()),
                false => (open.segment.first_frame(), open.segment.first_frame().advance(PROBE_BYTES)),
            };
            let first = from.since(open.segment.base);
            let file = ReadAhead::new(self.context.storage, open.file.clone(), first, limit.since(open.segment.base));
            let mut scan = SegmentScan::new(open.segment, Arc::new(file));
            while let Some(witness) = scan.find_valid(from, limit.min(open.segment.limit())) {
                last_valid = witness.end();
                if let Some(reason) = judge::accuse(bad, window, &witness) {
                    accused = Some((witness.position, reason));
                    break 'segments;
                }
                from = witness.end();
            }
        }
        if let Some((witness, reason)) = accused {
            let limit = if witness > position { witness } else { segment.limit() };
            return self.damaged(segment, position, limit, no_frame, &reason).map(|()| SegmentEnd::Cut);
        }
        self.torn_bytes = last_valid.since(position);
        // What ends within its checkpoint was never entered: nothing else stands in it.
        if position > segment.first_frame() && self.entered {
            self.note_used(segment, position);
        }
        if self.context.rewrites_tail && !self.context.salvage {
            for at in 0..=at {
                self.rewrite_tail(at, position)?;
            }
        }
        Ok(SegmentEnd::Cut)
    }

    fn damaged(
        &mut self,
        segment: ManifestSegment,
        position: Position,
        limit: Position,
        no_frame: &NoFrame,
        proof: &str,
    ) -> Result<()> {
        let bytes = limit.0.saturating_sub(position.0);
        let reason = format!("{no_frame}; {proof}");
        if !self.context.salvage {
            return Err(segment.damage(position, bytes, reason));
        }
        self.holes.push(Hole { file: file_name(segment.file), position: position.0, bytes, reason });
        self.note_used(segment, position);
        Ok(())
    }

    /// After a failed flush the device and the system's cache may disagree: what was read is written once
    /// more, from the last durable position on, before anybody sees it. A clean end is no exception: the very
    /// write of its mark may be the one that failed.
    ///
    /// Those pages hold acknowledged records, so this needs a medium that harms no sector of them when the
    /// power goes meanwhile. Where the owner says that it does (`power_safe_overwrite` = false), what was
    /// read past the cache is on the device since the flush before it, and is left alone.
    fn rewrite_tail(&self, at: usize, end: Position) -> Result<()> {
        let LiveSegment { segment, file } = &self.segments[at];
        let used = self.used.iter().find(|(used, _)| used.base == segment.base).map(|(_, end)| *end);
        let (Some(used_end), SegmentState::Live) = (used, segment.state) else { return Ok(()) };
        let end = end.min(used_end);
        if end <= self.durable {
            return Ok(());
        }
        let from = self.durable.max(segment.first_frame()).since(segment.base);
        let from = from - from % PAGE as u64;
        let to = end.since(segment.base).next_multiple_of(PAGE as u64);
        let name = file_name(segment.file);
        let fail = |operation, offset, error: &std::io::Error| Error::io(operation, &name, Some(offset), error);
        let mut block = Block::zeroed(1 << 20);
        let mut offset = from;
        while offset < to {
            let length = (to - offset).min(1 << 20) as usize;
            let buffer = &mut block.as_mut_slice()[..length];
            let read = file.read_at(buffer, offset).map_err(|error| fail("read", offset, &error))?;
            let whole = read - read % PAGE;
            file.write_at(&buffer[..whole], offset).map_err(|error| fail("write", offset, &error))?;
            if whole == 0 {
                break;
            }
            offset += whole as u64;
        }
        file.sync().map_err(|error| fail("flush", from, &error))
    }
}

enum SegmentEnd {
    /// The log goes on in the segment with this base.
    Next(Position),
    /// The log ends.
    Cut,
}

pub(crate) fn newer(segment: &ManifestSegment, found: u8) -> Error {
    Error::UnsupportedVersion {
        file: file_name(segment.file),
        found: u32::from(found),
        supported: u32::from(crate::log::frame::VERSION),
    }
}
