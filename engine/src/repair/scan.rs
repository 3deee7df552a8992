//! Everything that the files of a damaged directory still say.
//!
//! Opening trusts the newest checkpoint and stops at the first damage. Here each frame that is whole counts, wherever
//! it stands: it names its partition and offsets itself. What is not damage but the torn end of a log is left out, as
//! recovery leaves it out: it was acknowledged to nobody.
//!
//! Invariants: nothing is written; a frame counts only with both its checksums; each bad place is a finding.

use super::RepairProgress;
use super::transactions::Known;
use crate::error::{Error, Result};
use crate::io::{Access, Block, Directory, File, PAGE, Storage};
use crate::lane::cancelled::Cancelled;
use crate::lane::catalog::{Catalog, CatalogChange};
use crate::lane::checkpoint::Assembly;
use crate::lane::entries;
use crate::lane::groups::Groups;
use crate::lane::numbers::Numbers;
use crate::lane::progress;
use crate::lane::state::{LogState, UNDECIDED_MS};
use crate::lane::transactions::{Prepared, TransactionOutcome};
use crate::log::frame::{BadFrame, FrameHeader, Kind, WithheldReason};
use crate::log::judge;
use crate::log::manifest::{Manifest, ManifestSegment, SegmentState};
use crate::log::origin::Origin;
use crate::log::position::{Identity, Position};
use crate::log::scan::{NoFrame, SegmentScan};
use crate::log::segment::{file_name, sidecar_name};
use crate::partition::page_cache::PageCache;
use crate::partition::sidecar::Sidecar;
use crate::verify::{Finding, Severity};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A place in a log.
pub(super) type Place = (u32, Position);

fn place(identity: Identity) -> Place {
    (identity.log, identity.position)
}

/// Records of one partition with consecutive offsets.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) slot: u32,
    pub(super) base_offset: u64,
    pub(super) count: u32,
    /// First record in its frame.
    pub(super) first: u32,
    /// The frame that holds the bytes: where it stands, or, if the records were published later, its identity.
    pub(super) identity: Place,
    pub(super) was_withheld: bool,
    /// The frame that gave them their offsets: runs are written again in this order.
    pub(super) order: Place,
    /// What a publication added.
    pub(super) extra_headers: Option<Arc<Vec<u8>>>,
}

impl Run {
    pub(super) fn end_offset(&self) -> u64 {
        self.base_offset + u64::from(self.count)
    }
}

/// A frame whose records were not visible yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Withheld {
    pub(super) slot: u32,
    pub(super) count: u32,
    pub(super) due_ms: i64,
    pub(super) origin: Origin,
}

/// What is known of a partition beside its runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    pub(super) first_offset: u64,
    pub(super) next_offset: u64,
}

/// See the module.
pub(super) struct Source<'a> {
    storage: &'a Directory,
    segments: Vec<ManifestSegment>,
    window_bytes: u64,
    /// Of each log, how many lanes there were, and which of them wrote it.
    lanes: HashMap<u32, (u32, u32)>,
    pub(super) catalog: Catalog,
    pub(super) bounds: HashMap<u32, Bounds>,
    /// How far producers had come, by slot: those with a name, and all others.
    pub(super) numbers: Numbers,
    pub(super) sequences: HashMap<u32, u64>,
    pub(super) cancelled: Cancelled,
    /// How far groups had come.
    pub(super) groups: Groups,
    pub(super) runs: Vec<Run>,
    pub(super) withheld: BTreeMap<Place, Withheld>,
    pub(super) transactions: Known,
    /// Whole frames of delayed records, wherever they stand.
    withheld_seen: BTreeSet<Place>,
    /// Where frames of delayed records stand that the cleaner has moved.
    moved: BTreeMap<Place, Place>,
    pub(super) findings: Vec<Finding>,
    pub(super) withheld_lost: u64,
    pub(super) records_without_topic: u64,
    /// Bytes of the largest frame of records: no record is larger.
    pub(super) record_bytes_max: usize,
    pub(super) done: RepairProgress,
    scans: HashMap<u32, SegmentScan>,
}

/// When a frame is due, as the state of a log has it.
fn due_of(due_ms: i64, reason: WithheldReason) -> i64 {
    match reason {
        WithheldReason::Delayed => due_ms.min(UNDECIDED_MS - 1),
        WithheldReason::Transaction => UNDECIDED_MS,
    }
}

fn lanes_of(manifest: &Manifest) -> HashMap<u32, (u32, u32)> {
    let count = manifest.logs.len() as u32;
    let written = manifest.logs.iter().zip(0..).map(|(log, lane)| (log.id, (count, lane)));
    written.chain(manifest.sealed_logs.iter().map(|log| (log.id, (log.lanes, log.lane)))).collect()
}

/// Segments that are read in turns keep their windows.
const SCANS_MAX: usize = 16;

impl<'a> Source<'a> {
    pub(super) fn read(
        storage: &'a Directory,
        manifest: &Manifest,
        progress: &mut dyn FnMut(&RepairProgress),
    ) -> Result<Source<'a>> {
        let used = manifest.segments.iter().filter(|segment| !segment.state.is_free());
        let bytes: u64 = used.clone().map(frame_bytes_of).sum();
        let mut source = Source {
            storage,
            segments: used.copied().collect(),
            window_bytes: manifest.window_bytes,
            lanes: lanes_of(manifest),
            catalog: Catalog::default(),
            bounds: HashMap::new(),
            numbers: Numbers::default(),
            sequences: HashMap::new(),
            cancelled: Cancelled::default(),
            groups: Groups::default(),
            runs: Vec::new(),
            withheld: BTreeMap::new(),
            transactions: Known::default(),
            withheld_seen: BTreeSet::new(),
            moved: BTreeMap::new(),
            findings: Vec::new(),
            withheld_lost: 0,
            records_without_topic: 0,
            record_bytes_max: 0,
            done: RepairProgress { bytes_done: 0, bytes_total: 2 * bytes },
            scans: HashMap::new(),
        };
        let logs: BTreeSet<u32> = source.segments.iter().map(|segment| segment.log).collect();
        for log in logs {
            source.log(manifest, log, progress)?;
        }
        source.scans.clear();
        Ok(source)
    }

    pub(super) fn find(
        &mut self,
        severity: Severity,
        file: String,
        position: u64,
        file_offset: u64,
        bytes: u64,
        what: String,
    ) {
        self.findings.push(Finding { severity, file, position, file_offset, bytes, what });
    }

    fn damage(&mut self, segment: &ManifestSegment, position: Position, bytes: u64, what: String) {
        let offset = position.since(segment.base);
        self.find(Severity::Damage, file_name(segment.file), position.0, offset, bytes, what);
    }

    fn log(&mut self, manifest: &Manifest, log: u32, progress: &mut dyn FnMut(&RepairProgress)) -> Result<()> {
        let segments = manifest.segments_of(log);
        let mut ended = false;
        for (at, segment) in segments.iter().enumerate() {
            let file = self.open(manifest, segment);
            if let Some(file) = file
                && !(ended && segment.state == SegmentState::Live)
            {
                ended = self.segment(segment, &file, &segments[at..], progress)?;
                if segment.state == SegmentState::Sealed {
                    self.sidecar(segment);
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, manifest: &Manifest, segment: &ManifestSegment) -> Option<Arc<dyn File>> {
        let file = match self.storage.open(&file_name(segment.file), Access::Read) {
            Ok(file) => file,
            Err(error) => {
                let what = format!("the manifest names this segment, and it cannot be opened: {error}");
                self.damage(segment, segment.base, frame_bytes_of(segment), what);
                return None;
            }
        };
        let mut page = Block::zeroed(PAGE);
        let read = file.read_at(page.as_mut_slice(), 0).unwrap_or(0);
        let page = &page.as_mut_slice()[..read];
        if let Err(error) = segment.check_header(page, manifest.engine_id, manifest.window_bytes) {
            // Its frames speak for themselves.
            self.damage(segment, segment.base, PAGE as u64, error.to_string());
        }
        let length = file.length().unwrap_or(0);
        if length < frame_bytes_of(segment) {
            let what = format!("the file was cut: it has {length} bytes");
            let missing = frame_bytes_of(segment) - length;
            self.damage(segment, segment.base.advance(length), missing, what);
        }
        Some(file)
    }

    /// Reads the frames of a segment; says whether the log ends in it.
    fn segment(
        &mut self,
        segment: &ManifestSegment,
        file: &Arc<dyn File>,
        rest: &[ManifestSegment],
        progress: &mut dyn FnMut(&RepairProgress),
    ) -> Result<bool> {
        let is_sealed = segment.state == SegmentState::Sealed;
        let limit = if is_sealed { segment.end } else { segment.limit() };
        let mut scan = SegmentScan::new(*segment, file.clone());
        let mut position = segment.first_frame();
        let mut checkpoint = Assembly::default();
        // What follows damage begins another chain.
        let mut chain: Option<u32> = None;
        let start = self.done.bytes_done;
        let mut ended = false;
        while position < limit {
            let no_frame = match scan.frame(position) {
                Ok((header, body)) => {
                    let broken = chain.and_then(|expected| judge::accuse_chain(expected, &header));
                    chain = Some(header.header_checksum);
                    let problem = self.take(segment, &header, body, &mut checkpoint).err().or(broken);
                    if let Some(what) = problem {
                        self.damage(segment, position, header.total_bytes(), what);
                    }
                    position = header.end();
                    self.done.bytes_done = start + position.since(segment.base);
                    progress(&self.done);
                    if header.kind == Kind::End {
                        break;
                    }
                    continue;
                }
                Err(no_frame) => no_frame,
            };
            if let NoFrame::Bad(BadFrame::Version(found)) = no_frame {
                let supported = u32::from(crate::log::frame::VERSION);
                let file = file_name(segment.file);
                return Err(Error::UnsupportedVersion { file, found: u32::from(found), supported });
            }
            let proof = match judge::accuse_sealed(position, segment.end).filter(|_| is_sealed) {
                Some(proof) => Some(proof),
                None => self.accusation(segment, &mut scan, position, rest),
            };
            let Some(proof) = proof else {
                ended = true;
                break;
            };
            // A header that is whole says which offsets are lost, even if nothing after it does.
            if let Some(FrameHeader { kind: Kind::Records { slot, count, base_offset, origin, .. }, .. }) =
                scan.header(position)
            {
                self.counts(slot, origin, count);
                self.reaches(slot, base_offset.saturating_add(u64::from(count)));
            }
            let next = scan.find_valid(position.advance(8), limit).map(|header| header.position);
            let bytes = next.unwrap_or(limit).0.saturating_sub(position.0);
            self.damage(segment, position, bytes, format!("{no_frame}; {proof}"));
            let Some(next) = next else {
                ended = !is_sealed;
                break;
            };
            position = next;
            (chain, checkpoint) = (None, Assembly::default());
        }
        self.done.bytes_done = start + frame_bytes_of(segment);
        progress(&self.done);
        Ok(ended)
    }

    /// What proves that a bad place is damage and not the end of the log.
    fn accusation(
        &self,
        segment: &ManifestSegment,
        scan: &mut SegmentScan,
        position: Position,
        rest: &[ManifestSegment],
    ) -> Option<String> {
        let bad = scan.bad_place(position);
        for later in rest {
            let Ok(file) = self.storage.open(&file_name(later.file), Access::Read) else { continue };
            let mut scan = SegmentScan::new(*later, file);
            let mut from = if later.base == segment.base { position } else { later.first_frame() };
            while let Some(witness) = scan.find_valid(from, later.limit()) {
                if let Some(reason) = judge::accuse(bad, self.window_bytes, &witness) {
                    return Some(reason);
                }
                from = witness.end();
            }
        }
        None
    }

    fn reaches(&mut self, slot: u32, offset: u64) {
        let bounds = self.bounds.entry(slot).or_default();
        bounds.next_offset = bounds.next_offset.max(offset);
    }

    /// The producer has written so many records from `origin` on.
    fn counts(&mut self, slot: u32, origin: Origin, count: u32) {
        if origin.producer == Origin::UNNAMED {
            let next = self.sequences.entry(slot).or_default();
            *next = (*next).max(origin.plus(count).sequence);
        } else {
            self.numbers.note(slot, origin, count, None);
        }
    }

    /// Takes what a whole frame says. `Err`: it cannot be read, or contradicts another one.
    fn take(
        &mut self,
        segment: &ManifestSegment,
        header: &FrameHeader,
        body: &[u8],
        checkpoint: &mut Assembly,
    ) -> Result<(), String> {
        let log = segment.log;
        let address = (log, header.position);
        // In a copy the frames of a partition are in their order, somewhere in the stretch that it stands for.
        let order = (log, segment.from().advance(header.position.since(segment.base)));
        if let Kind::Records { .. } | Kind::Withheld { .. } | Kind::Moved { .. } = header.kind {
            self.record_bytes_max = self.record_bytes_max.max(body.len());
        }
        match header.kind {
            Kind::Records { slot, count, base_offset, origin, .. } => {
                let run = Run {
                    slot,
                    base_offset,
                    count,
                    first: 0,
                    identity: address,
                    was_withheld: false,
                    order,
                    extra_headers: None,
                };
                if base_offset.checked_add(u64::from(count)).is_none() || count == 0 {
                    return Err("it has impossible offsets".to_owned());
                }
                self.counts(slot, origin, count);
                self.reaches(slot, run.end_offset());
                self.runs.push(run);
            }
            Kind::Withheld { slot, count, due_ms, reason, origin, .. } => {
                let due_ms = due_of(due_ms, reason);
                self.counts(slot, origin, count);
                self.withheld_seen.insert(address);
                self.withheld.insert(address, Withheld { slot, count, due_ms, origin });
            }
            Kind::Moved { slot, count, due_ms, identity, reason, origin } => {
                let due_ms = due_of(due_ms, reason);
                self.counts(slot, origin, count);
                self.withheld_seen.insert(address);
                self.moved.insert((log, identity), address);
                self.withheld.insert((log, identity), Withheld { slot, count, due_ms, origin });
            }
            Kind::Publish => {
                let (entries, ending) = entries::decode_publish(body).ok_or("its list cannot be read")?;
                let committed = TransactionOutcome::Committed;
                for entry in ending.map_or(Vec::new(), |ending| self.transactions.end(log, ending, committed)) {
                    let _ = self.groups.apply(&entry, 0);
                }
                for entry in entries {
                    let identity = place(entry.identity);
                    self.withheld.remove(&identity);
                    let end = entry.base_offset.checked_add(u64::from(entry.count));
                    self.reaches(entry.slot, end.ok_or("it has impossible offsets")?);
                    let extra = (!entry.extra_headers.is_empty()).then(|| Arc::new(entry.extra_headers));
                    self.runs.push(Run {
                        slot: entry.slot,
                        base_offset: entry.base_offset,
                        count: entry.count,
                        first: entry.first,
                        identity,
                        was_withheld: true,
                        order,
                        extra_headers: extra,
                    });
                }
            }
            Kind::Discard => {
                let (entries, ending) = entries::decode_discard(body).ok_or("its list cannot be read")?;
                if let Some(ending) = ending {
                    self.transactions.end(log, ending, TransactionOutcome::RolledBack);
                }
                for entry in entries {
                    if let Some(gone) = self.withheld.remove(&place(entry.identity)) {
                        self.cancelled.note(gone.slot, gone.origin, gone.count);
                    }
                }
            }
            Kind::Truncate => {
                for entry in entries::decode_truncate(body).ok_or("its list cannot be read")? {
                    let bounds = self.bounds.entry(entry.slot).or_default();
                    bounds.first_offset = bounds.first_offset.max(entry.first_offset);
                    bounds.next_offset = bounds.next_offset.max(entry.first_offset);
                }
            }
            Kind::Catalog => {
                let change = CatalogChange::decode(body).ok_or("its change cannot be read")?;
                self.catalog.apply(&change)?;
            }
            Kind::Checkpoint => {
                if let Some(state) = checkpoint.push(body)? {
                    self.take_checkpoint(log, &state);
                }
            }
            Kind::Head => {
                if let Some(state) = checkpoint.push(body)? {
                    state.slots().for_each(|slot| self.reaches(slot, state.partition(slot).next_offset));
                }
            }
            Kind::Progress => {
                for entry in progress::decode_progress(body).ok_or("its list cannot be read")? {
                    // Of a group that began before a hole only a checkpoint says where it is.
                    let _ = self.groups.apply(&entry, 0);
                }
            }
            Kind::Prepare => {
                self.transactions.prepare(log, Prepared::decode(body).ok_or("its transaction cannot be read")?);
            }
            Kind::Mark | Kind::End | Kind::Pad => {}
        }
        Ok(())
    }

    /// A checkpoint says all that was said before it, also what cannot be read any more.
    fn take_checkpoint(&mut self, log: u32, state: &LogState) {
        // Only one log has the topics; in the others there are none.
        if state.catalog.next_topic >= self.catalog.next_topic {
            self.catalog = state.catalog.clone();
        }
        for slot in state.slots() {
            let partition = state.partition(slot);
            let bounds = self.bounds.entry(slot).or_default();
            bounds.first_offset = bounds.first_offset.max(partition.first_offset);
            bounds.next_offset = bounds.next_offset.max(partition.next_offset);
            let next = self.sequences.entry(slot).or_default();
            *next = (*next).max(partition.next_sequence);
        }
        for (producer, slot, last) in state.numbers.iter() {
            if self.numbers.next(producer, slot) <= last.next {
                self.numbers.set(producer, slot, last.clone());
            }
        }
        // What its partitions withheld before, in whichever log, and do not any more, was published or discarded.
        let (lanes, lane) = self.lanes.get(&log).copied().unwrap_or((1, 0));
        self.withheld.retain(|_, withheld| withheld.slot % lanes != lane);
        self.groups.retain(|_, slot| slot % lanes != lane);
        state.groups.iter().for_each(|(group, slot, _)| self.groups.take_over(&state.groups, group, slot));
        self.transactions.take_checkpoint(log, &state.transactions);
        self.cancelled.retain(|slot| slot % lanes != lane);
        self.cancelled.take_over(&state.cancelled, |slot| slot % lanes == lane);
        for (identity, withheld) in state.withheld() {
            let (slot, count, due_ms, origin) = (withheld.slot, withheld.count, withheld.due_ms, withheld.origin);
            self.withheld.insert(place(identity), Withheld { slot, count, due_ms, origin });
        }
    }

    /// Whether the bytes of a run that was published by reference are whole.
    pub(super) fn has_bytes(&self, identity: Place) -> bool {
        self.withheld_seen.contains(&self.place_of(identity))
    }

    fn place_of(&self, identity: Place) -> Place {
        self.moved.get(&identity).copied().unwrap_or(identity)
    }

    /// The body of the frame with this identity, read and checked once more, and who wrote its first record.
    pub(super) fn body(&mut self, identity: Place) -> Result<(Origin, Vec<u8>)> {
        let (log, position) = self.place_of(identity);
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.log == log && segment.base <= position && position < segment.limit());
        let segment = *segment.expect("a frame was read there");
        if !self.scans.contains_key(&segment.file) {
            if self.scans.len() >= SCANS_MAX {
                self.scans.clear();
            }
            let name = file_name(segment.file);
            let file =
                self.storage.open(&name, Access::Read).map_err(|error| Error::io("open", &name, None, &error))?;
            self.scans.insert(segment.file, SegmentScan::new(segment, file));
        }
        let scan = self.scans.get_mut(&segment.file).expect("just made");
        match scan.frame(position) {
            Ok((header, body)) => Ok((header.kind.origin().unwrap_or_default(), body.to_vec())),
            Err(no_frame) => {
                Err(segment.damage(position, 0, format!("it was whole a moment ago, and now: {no_frame}")))
            }
        }
    }

    fn sidecar(&mut self, segment: &ManifestSegment) {
        let name = sidecar_name(segment.file);
        let pages = PageCache::new(1 << 20);
        let problem = match self.storage.open(&name, Access::Read) {
            Err(_) => Some("it is missing".to_owned()),
            Ok(file) => match Sidecar::open(file, *segment, segment.end, &pages) {
                Err(bad) => Some(bad.0),
                Ok(sidecar) => (0..sidecar.entries()).find_map(|at| {
                    let entry = sidecar.entry_at(at, &pages).map_err(|bad| bad.0);
                    entry.and_then(|entry| sidecar.runs(&entry, &pages).map_err(|bad| bad.0)).err()
                }),
            },
        };
        if let Some(problem) = problem {
            let what = format!("the index of a sealed segment: {problem}; nothing of it is needed");
            self.find(Severity::Harmless, name, segment.base.0, 0, 0, what);
        }
    }
}

fn frame_bytes_of(segment: &ManifestSegment) -> u64 {
    match segment.state {
        SegmentState::Sealed => segment.end.since(segment.base),
        _ => segment.bytes,
    }
}
