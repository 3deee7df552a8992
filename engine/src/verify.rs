//! Checking every checksum of a directory, without opening an engine.
//!
//! Invariants:
//! - Nothing is written or locked; every byte that a log's frames cover is read.
//! - What recovery would call damage is reported as damage, what it would cut or make anew as harmless.
//! - Another process may write meanwhile. What looks damaged counts only if it still does after its proof was
//!   seen, in a segment that the manifest then still has; a segment that was used again meanwhile is passed over.

use crate::error::Result;
use crate::inspect::{load_manifest, open_storage};
use crate::io::{Access, Block, File, PAGE, Storage};
use crate::lane::checkpoint::Assembly;
use crate::lane::state::LogState;
use crate::log::frame::{BadFrame, Kind, u64_at};
use crate::log::judge::{self, BadPlace};
use crate::log::manifest::{Manifest, ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::log::scan::{NoFrame, SegmentScan};
use crate::log::segment::{file_name, sidecar_name};
use crate::partition::copied::CopiedIndex;
use crate::partition::page_cache::PageCache;
use crate::partition::sidecar::Sidecar;
use std::path::Path;
use std::sync::Arc;

/// How far verifying has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Bytes checked.
    pub bytes_done: u64,
    /// Bytes to be checked in all.
    pub bytes_total: u64,
    /// The file that is being checked.
    pub file: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Severity {
    /// Acknowledged data is concerned.
    Damage,
    /// A torn tail, or something that is made anew when it is needed.
    Harmless,
}

/// Something that verifying found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// The position in the log.
    pub position: u64,
    /// The same as an offset in the file.
    pub file_offset: u64,
    /// How many bytes are concerned, as far as it can be told.
    pub bytes: u64,
    /// What was found.
    pub what: String,
}

/// The result of verifying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments looked at.
    pub segments: u64,
    /// Whole frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of the frames.
    pub bytes: u64,
    /// Logs that end with a torn tail.
    pub torn_tails: u64,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Whether acknowledged data is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }
}

/// Checks every checksum in a directory, as it is when it begins. `progress` is called often. A process may write
/// the engine meanwhile: what it takes away is not counted, and what it adds not looked at.
///
/// # Errors
/// `InvalidDirectory`, `ForeignFormat`, `UnsupportedVersion`, `Damaged` (no manifest can be read), `Io`. Damage
/// within the log is not an error but a finding.
pub fn verify(path: impl AsRef<Path>, progress: &mut dyn FnMut(&VerifyProgress)) -> Result<VerifyReport> {
    let path = path.as_ref();
    let storage = open_storage(path)?;
    let (manifest, bad_copy) = load_manifest(&storage, path)?;
    let bytes_total = manifest.segments.iter().filter(|s| !s.state.is_free()).map(frame_bytes_of).sum();
    let mut verifier = Verifier {
        storage: &storage,
        path,
        manifest: &manifest,
        report: VerifyReport::default(),
        progress,
        done: VerifyProgress { bytes_done: 0, bytes_total, file: String::new() },
        pages: PageCache::new(4 << 20),
    };
    if let Some(reason) = bad_copy {
        let what = format!("one copy of the manifest cannot be read ({reason}); the other is whole, opening mends it");
        verifier.find(Severity::Harmless, "manifest".to_owned(), 0, 0, 0, what);
    }
    let sealed = manifest.sealed_logs.iter().map(|log| log.id);
    for log in sealed.chain(manifest.logs.iter().map(|log| log.id)) {
        verifier.log(log)?;
    }
    Ok(verifier.report)
}

fn frame_bytes_of(segment: &ManifestSegment) -> u64 {
    match segment.state {
        SegmentState::Sealed => segment.end.since(segment.base),
        _ => segment.bytes,
    }
}

/// What comes behind the frames of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LogGoesOn {
    /// The segment that the End frame names.
    At(Position),
    /// A new generation.
    Elsewhere,
    /// Nothing: the log ends.
    No,
}

struct Verifier<'a> {
    storage: &'a dyn Storage,
    path: &'a Path,
    manifest: &'a Manifest,
    report: VerifyReport,
    progress: &'a mut dyn FnMut(&VerifyProgress),
    done: VerifyProgress,
    pages: PageCache,
}

impl Verifier<'_> {
    fn find(&mut self, severity: Severity, file: String, position: u64, file_offset: u64, bytes: u64, what: String) {
        self.report.findings.push(Finding { severity, file, position, file_offset, bytes, what });
    }

    fn at(&mut self, severity: Severity, segment: &ManifestSegment, position: Position, bytes: u64, what: String) {
        let offset = position.since(segment.base);
        self.find(severity, file_name(segment.file), position.0, offset, bytes, what);
    }

    fn log(&mut self, log: u32) -> Result<()> {
        let segments = self.manifest.segments_of(log);
        let mut state: Option<LogState> = None;
        let mut chain: Option<u32> = None;
        // The generation of the segment before, and where its End frame says that the log goes on.
        let mut expected = None;
        let mut ended = false;
        for at in 0..segments.len() {
            let segment = segments[at];
            // A new generation begins a new chain; and segments in between may have been given up.
            if expected.take() != Some((segment.generation, segment.base)) {
                (chain, state) = (None, None);
            }
            let next = self.settled(segment, &mut state, &mut chain, &segments[at..], ended)?;
            ended = next == LogGoesOn::No;
            if let LogGoesOn::At(base) = next {
                expected = Some((segment.generation, base));
            }
        }
        Ok(())
    }

    /// Checks a segment; and once more, if it looks damaged and the manifest says something else of it by then.
    fn settled(
        &mut self,
        mut segment: ManifestSegment,
        state: &mut Option<LogState>,
        chain: &mut Option<u32>,
        rest: &[ManifestSegment],
        ended: bool,
    ) -> Result<LogGoesOn> {
        let before = (self.report.clone(), state.clone(), *chain);
        loop {
            let next = self.whole(&segment, state, chain, rest, ended)?;
            if self.report.findings.len() == before.0.findings.len() {
                return Ok(next);
            }
            let (now, _) = load_manifest(self.storage, self.path)?;
            match now.segments.iter().find(|now| now.is_same_use(&segment)).filter(|s| !s.state.is_free()) {
                Some(now) if *now == segment => return Ok(next),
                Some(now) => segment = *now,
                // What was found there is not what it held; and what it held nobody wants any more.
                None => {
                    self.report = before.0;
                    (*state, *chain) = (None, None);
                    return Ok(LogGoesOn::Elsewhere);
                }
            }
            (self.report, *state, *chain) = before.clone();
        }
    }

    /// Checks a segment with its header and its index.
    fn whole(
        &mut self,
        segment: &ManifestSegment,
        state: &mut Option<LogState>,
        chain: &mut Option<u32>,
        rest: &[ManifestSegment],
        ended: bool,
    ) -> Result<LogGoesOn> {
        let Some(file) = self.open(segment) else { return Ok(LogGoesOn::Elsewhere) };
        if ended && segment.state == SegmentState::Live {
            // Prepared and never entered: opening wants its file and header, and there is nothing more.
            self.done.bytes_done += frame_bytes_of(segment);
            return Ok(LogGoesOn::No);
        }
        self.report.segments += 1;
        let next = self.segment(segment, &file, state, chain, rest)?;
        if segment.state == SegmentState::Sealed {
            self.sidecar(segment);
        }
        Ok(next)
    }

    fn open(&mut self, segment: &ManifestSegment) -> Option<Arc<dyn File>> {
        let name = file_name(segment.file);
        let file = match self.storage.open(&name, Access::Read) {
            Ok(file) => file,
            Err(error) => {
                let what = format!("the manifest names this segment, and it cannot be opened: {error}");
                self.at(Severity::Damage, segment, segment.base, segment.bytes, what);
                return None;
            }
        };
        let mut page = Block::zeroed(PAGE);
        let read = file.read_at(page.as_mut_slice(), 0).unwrap_or(0);
        let checked =
            segment.check_header(&page.as_mut_slice()[..read], self.manifest.engine_id, self.manifest.window_bytes);
        if let Err(error) = checked {
            self.at(Severity::Damage, segment, segment.base, PAGE as u64, error.to_string());
        }
        let length = file.length().unwrap_or(0);
        if length < frame_bytes_of(segment) {
            let missing = frame_bytes_of(segment) - length;
            let position = segment.base.advance(length);
            self.at(Severity::Damage, segment, position, missing, format!("the file was cut: it has {length} bytes"));
        }
        Some(file)
    }

    /// Checks the frames of a segment.
    fn segment(
        &mut self,
        segment: &ManifestSegment,
        file: &Arc<dyn File>,
        state: &mut Option<LogState>,
        chain: &mut Option<u32>,
        rest: &[ManifestSegment],
    ) -> Result<LogGoesOn> {
        let mut scan = SegmentScan::new(*segment, file.clone());
        let mut position = segment.first_frame();
        let mut checkpoint = Assembly::default();
        let mut copied = segment.copy_of.map(|_| CopiedIndex::default());
        let start_done = self.done.bytes_done;
        self.done.file = file_name(segment.file);
        let goes_on = loop {
            if segment.state == SegmentState::Sealed && position >= segment.end {
                break LogGoesOn::Elsewhere;
            }
            let (header, body) = match scan.frame(position) {
                Ok(frame) => frame,
                Err(no_frame) => {
                    let what = no_frame.to_string();
                    let proof = match no_frame {
                        NoFrame::Bad(BadFrame::Version(_)) => {
                            Some("its checksum is right: use a newer library".to_owned())
                        }
                        _ => {
                            let bad = scan.bad_place(position);
                            self.accusation(segment, bad, rest)
                        }
                    };
                    // What was on its way when it was read is there now, if there is proof that it was durable.
                    let mut again = SegmentScan::new(*segment, file.clone());
                    if proof.is_some() && again.frame(position).is_ok() {
                        scan = again;
                        continue;
                    }
                    match proof {
                        Some(proof) => {
                            let limit =
                                if segment.state == SegmentState::Sealed { segment.end } else { segment.limit() };
                            let bytes = limit.0.saturating_sub(position.0);
                            self.at(Severity::Damage, segment, position, bytes, format!("{what}; {proof}"));
                            // What follows may be whole: it is checked as well, from the next whole frame on.
                            if let Some(next) = scan.find_valid(position.advance(8), limit) {
                                position = next.position;
                                (*chain, *state) = (None, None);
                                continue;
                            }
                            break match segment.state {
                                SegmentState::Sealed => LogGoesOn::Elsewhere,
                                _ => LogGoesOn::No,
                            };
                        }
                        None => {
                            if position > segment.first_frame() && scan.find_valid(position, segment.limit()).is_some()
                            {
                                self.report.torn_tails += 1;
                                let what = "a torn tail, or what was just being written";
                                self.at(Severity::Harmless, segment, position, 0, what.to_owned());
                            }
                            break LogGoesOn::No;
                        }
                    }
                }
            };
            self.report.frames += 1;
            self.report.bytes += header.total_bytes();
            let end_names = match header.kind {
                Kind::End if body.len() >= 8 => Some(Position(u64_at(body, 0))),
                _ => None,
            };
            let mut problem = chain.and_then(|expected| judge::accuse_chain(expected, &header));
            *chain = Some(header.header_checksum);
            match header.kind {
                Kind::Records { count, .. } | Kind::Withheld { count, .. } | Kind::Moved { count, .. } => {
                    self.report.records += u64::from(count);
                }
                _ => {}
            }
            if header.kind == Kind::Checkpoint {
                match checkpoint.push(body) {
                    Ok(Some(read)) => *state = Some(read),
                    Ok(None) => {}
                    Err(reason) => problem = problem.or(Some(reason.to_owned())),
                }
            } else if let Some(copied) = &mut copied {
                problem = problem.or(copied.take(&header, body).err());
            } else if let Some(state) = state {
                let applied = state.apply(segment.log, &header, body, &mut |_, _| {});
                problem = problem.or(applied.err());
            }
            if let Some(what) = problem {
                self.at(Severity::Damage, segment, position, header.total_bytes(), what);
            }
            position = header.end();
            self.done.bytes_done = start_done + position.since(segment.base);
            (self.progress)(&self.done);
            if header.kind == Kind::End {
                break end_names.map_or(LogGoesOn::Elsewhere, LogGoesOn::At);
            }
        };
        self.done.bytes_done = start_done + frame_bytes_of(segment);
        (self.progress)(&self.done);
        Ok(goes_on)
    }

    /// What proves that a bad place is damage.
    fn accusation(&self, segment: &ManifestSegment, bad: BadPlace, rest: &[ManifestSegment]) -> Option<String> {
        if segment.state == SegmentState::Sealed
            && let Some(reason) = judge::accuse_sealed(bad.position, segment.end)
        {
            return Some(reason);
        }
        for later in rest {
            let Ok(file) = self.storage.open(&file_name(later.file), Access::Read) else { continue };
            let mut scan = SegmentScan::new(*later, file);
            let mut from = if later.base == segment.base { bad.position } else { later.first_frame() };
            while let Some(witness) = scan.find_valid(from, later.limit()) {
                if let Some(reason) = judge::accuse(bad, self.manifest.window_bytes, &witness) {
                    return Some(reason);
                }
                from = witness.end();
            }
        }
        None
    }

    fn sidecar(&mut self, segment: &ManifestSegment) {
        let name = sidecar_name(segment.file);
        let problem = match self.storage.open(&name, Access::Read) {
            Err(_) => Some("it is missing".to_owned()),
            Ok(file) => match Sidecar::open(file, *segment, segment.end, &self.pages) {
                Err(bad) => Some(bad.0),
                Ok(sidecar) => (0..sidecar.entries()).find_map(|at| {
                    let entry = sidecar.entry_at(at, &self.pages).map_err(|bad| bad.0);
                    entry.and_then(|entry| sidecar.runs(&entry, &self.pages).map_err(|bad| bad.0)).err()
                }),
            },
        };
        if let Some(problem) = problem {
            let what = format!("the index of a sealed segment: {problem}; it is made anew when it is needed");
            self.find(Severity::Harmless, name, segment.base.0, 0, 0, what);
        }
    }
}
