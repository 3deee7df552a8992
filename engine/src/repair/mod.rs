//! Repair: what can be read of a damaged directory, written into a new one. The damaged one stays as it is.
//!
//! Invariants:
//! - Nothing is written to the source, and it is locked meanwhile: no process writes it.
//! - Every frame of the source is either whole, and its records are in the target, or what is missing is reported:
//!   the place in the file, and the offsets of each partition that are lost, as far as anything says them.
//! - The next offset of a partition is what it was. So a consumer that goes on where it was skips nothing; where
//!   something was lost behind its place, it sees some records again.
//! - The target has its name only when it is whole.

mod scan;
mod transactions;
mod write;

use crate::error::{Error, Result};
use crate::inspect::{load_manifest, open_storage};
use crate::io::directory::{is_free, remove_all, rename_durably};
use crate::io::{Access, File, Storage};
use crate::log::segment::LOCK_FILE;
use crate::options::Options;
use crate::verify::{Finding, Severity};
use scan::Source;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use write::Partition;

/// How far repairing has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairProgress {
    /// Bytes read or written again.
    pub bytes_done: u64,
    /// Bytes to be read and written again in all, as far as it can be told.
    pub bytes_total: u64,
}

/// Offsets of a partition whose records are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LostOffsets {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first offset that is lost.
    pub first: u64,
    /// The last one of the same hole.
    pub last: u64,
}

/// Offsets of a partition whose records have other ones in the new directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MovedOffsets {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first offset that moved, as it was.
    pub first: u64,
    /// The last one, as it was.
    pub last: u64,
    /// What the first one is now; those behind it follow.
    pub new_first: u64,
}

/// What was repaired, and what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RepairReport {
    /// Topics that were made.
    pub topics: u64,
    /// Their partitions.
    pub partitions: u64,
    /// Visible records that were written.
    pub records: u64,
    /// Delayed records that were written, with the time at which they are due.
    pub withheld_records: u64,
    /// Transactions that are prepared and undecided, as they were.
    pub transactions: u64,
    /// Their records.
    pub transaction_records: u64,
    /// What is wrong with the files; see [`verify`](crate::verify()).
    pub findings: Vec<Finding>,
    /// Offsets that are lost.
    pub lost: Vec<LostOffsets>,
    /// Offsets that moved.
    pub moved: Vec<MovedOffsets>,
    /// Delayed records that were not visible yet and are lost.
    pub withheld_lost: u64,
    /// Records that are whole, but nothing says which topic they belong to.
    pub records_without_topic: u64,
}

impl RepairReport {
    /// Whether acknowledged records are, or may be, missing in the new directory.
    pub fn is_missing_something(&self) -> bool {
        !self.lost.is_empty()
            || self.withheld_lost > 0
            || self.records_without_topic > 0
            || self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }
}

/// Reads what can be read in `source` and writes it as a new engine into `target`, which must be empty or missing.
/// `options` are those of the new engine; its lanes are as many as there were. `progress` is called often.
///
/// Topics, partitions, keys, values, headers and timestamps are as they were. So are offsets, except of records
/// before a hole: they move up, so that those behind it keep theirs (see [`RepairReport::moved`]). Delayed records
/// that were not visible keep the time at which they are due, and get another identity. Frames are held in memory as
/// places: about 80 bytes for each.
///
/// # Errors
/// `Locked` if a process has the source open; `InvalidDirectory`, `ForeignFormat`, `UnsupportedVersion`, `Damaged` (no
/// manifest can be read), `NoSpace` (in the target), `Io`. Nothing was changed in the source, and the target is not
/// there.
pub fn repair(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
    options: Options,
    progress: &mut dyn FnMut(&RepairProgress),
) -> Result<RepairReport> {
    let (path, target) = (source.as_ref(), target.as_ref());
    options.validate()?;
    check_free(target)?;
    let storage = open_storage(path)?;
    let _lock = take_lock(&storage, path)?;
    let (manifest, bad_copy) = load_manifest(&storage, path)?;
    let mut source = Source::read(&storage, &manifest, progress)?;
    if let Some(reason) = bad_copy {
        let what = format!("one copy of the manifest cannot be read ({reason}); the other is whole");
        source.find(Severity::Harmless, "manifest".to_owned(), 0, 0, 0, what);
    }
    let partitions = write::plan(&mut source);
    let unfinished = unfinished_name(target)?;
    let written =
        write::write(&mut source, &partitions, &unfinished, options.lanes(Some(source_lanes(&manifest))), progress);
    let counts = match written {
        Ok(counts) => counts,
        Err(error) => {
            // It is ours, and of no use.
            let _ = remove_all(&unfinished);
            return Err(error);
        }
    };
    rename_durably(&unfinished, target)
        .map_err(|error| Error::io("rename", &unfinished.display().to_string(), None, &error))?;
    Ok(report(source, &partitions, counts))
}

/// Nobody may write the source meanwhile: what was read first and last would not fit.
fn take_lock(storage: &dyn Storage, path: &Path) -> Result<Option<Arc<dyn File>>> {
    let Ok(file) = storage.open(LOCK_FILE, Access::Read) else { return Ok(None) };
    if file.lock(0).map_err(|error| Error::io("lock", LOCK_FILE, None, &error))? {
        return Ok(Some(file));
    }
    let (pid, program) = crate::opening::read_holder(&*file);
    Err(Error::Locked { path: path.to_owned(), pid, program })
}

fn source_lanes(manifest: &crate::log::manifest::Manifest) -> u32 {
    manifest.logs.len() as u32
}

fn check_free(target: &Path) -> Result<()> {
    let invalid = |reason: String| Err(Error::InvalidDirectory { path: target.to_owned(), reason });
    match is_free(target) {
        Ok(true) => Ok(()),
        Ok(false) => invalid("is not empty; give a directory that is empty or not there".to_owned()),
        Err(error) => invalid(format!("cannot be used: {error}")),
    }
}

/// Where the target is made until it is whole: beside it.
fn unfinished_name(target: &Path) -> Result<PathBuf> {
    let Some(name) = target.file_name() else {
        let reason = "names no directory; give its name".to_owned();
        return Err(Error::InvalidDirectory { path: target.to_owned(), reason });
    };
    let mut name = name.to_owned();
    name.push(".unfinished");
    let unfinished = target.with_file_name(name);
    match is_free(&unfinished) {
        Ok(true) => Ok(unfinished),
        _ => Err(Error::InvalidDirectory {
            path: unfinished,
            reason: "is in the way, of an earlier repair perhaps; remove it".to_owned(),
        }),
    }
}

fn report(source: Source<'_>, partitions: &[Partition], counts: write::Counts) -> RepairReport {
    let mut report = RepairReport {
        topics: source.catalog.topics.len() as u64,
        partitions: partitions.len() as u64,
        records: counts.records,
        withheld_records: counts.withheld_records,
        transactions: counts.transactions,
        transaction_records: counts.transaction_records,
        withheld_lost: source.withheld_lost,
        records_without_topic: source.records_without_topic,
        findings: source.findings,
        ..RepairReport::default()
    };
    for partition in partitions {
        let (topic, number) = (&partition.topic, partition.partition);
        report.lost.extend(partition.lost.iter().map(|lost| LostOffsets {
            topic: topic.clone(),
            partition: number,
            first: lost.start,
            last: lost.end - 1,
        }));
        report.moved.extend(partition.moved.iter().map(|(offsets, new_first)| MovedOffsets {
            topic: topic.clone(),
            partition: number,
            first: offsets.start,
            last: offsets.end - 1,
            new_first: *new_first,
        }));
    }
    report
}
