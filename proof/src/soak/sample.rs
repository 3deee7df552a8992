//! What is sampled, one JSON line each: enough to draw the picture again.

use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a block in `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;

/// A line of the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first one: what is run.
    Begin {
        /// Seconds it is to run.
        seconds: u64,
        /// Of the moments and the work.
        seed: u64,
        /// The bound on the disk.
        disk_bytes_max: u64,
        /// What is sent in a second, as far as it goes.
        bytes_per_second: u64,
        /// Kept topics are about so many ms.
        window_ms: u64,
        /// Topics that were left out.
        left_out: Vec<super::Kind>,
    },
    /// Once a second.
    Sample(Sample),
    /// A child has opened the engine.
    Open {
        /// Seconds since the beginning.
        at_s: f64,
        /// How long it took, ms.
        open_ms: f64,
        /// Lanes.
        lanes: u32,
        /// Lanes before, if it was another number.
        lanes_before: Option<u32>,
        /// The child before closed it.
        was_closed: bool,
    },
    /// A child was killed.
    Kill {
        /// Seconds since the beginning.
        at_s: f64,
        /// Before it had opened the engine.
        early: bool,
    },
    /// A child closed the engine.
    Close {
        /// Seconds since the beginning.
        at_s: f64,
    },
    /// The last one.
    Summary(Box<super::Summary>),
}

/// How things are at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the beginning.
    pub at_s: f64,
    /// Blocks of all files of the directory, in bytes.
    pub directory_bytes: u64,
    /// Of these, of segments.
    pub segment_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// The engine's own figure of its files, the last that was said.
    pub engine_disk_bytes: u64,
    /// Memory of the child (resident); none while there is no child.
    pub rss_bytes: Option<u64>,
    /// Records written so far, with a receipt.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Records that the slow reader has not read yet.
    pub backlog_records: u64,
    /// Delayed records that are not visible yet.
    pub withheld_records: u64,
    /// Calls that were refused for want of space, so far.
    pub refused: u64,
    /// Runs of offsets that the parent remembers.
    pub remembered: u64,
}

/// What a directory takes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) directory_bytes: u64,
    pub(super) segment_bytes: u64,
    pub(super) segments: u64,
}

/// Looks at the files. One that goes meanwhile counts as gone; while it is looked, one may go and another come.
pub(super) fn disk_of(directory: &str) -> Disk {
    let mut disk = Disk::default();
    let Ok(entries) = std::fs::read_dir(directory) else { return disk };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let bytes = metadata.blocks() * STAT_BLOCK_BYTES;
        disk.directory_bytes += bytes;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.strip_prefix("segment-").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
            disk.segment_bytes += bytes;
            disk.segments += 1;
        }
    }
    disk
}

/// Memory of a process that is resident, bytes.
pub(super) fn rss_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// Lines as they come, to a file at once.
pub(super) struct Lines {
    file: std::fs::File,
    pub(super) all: Vec<Line>,
}

impl Lines {
    pub(super) fn create(path: &Path) -> Result<Lines, String> {
        let file = std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Lines { file, all: Vec::new() })
    }

    pub(super) fn push(&mut self, line: Line) -> Result<(), String> {
        let mut text = serde_json::to_string(&line).expect("lines are plain values");
        text.push('\n');
        self.all.push(line);
        self.file.write_all(text.as_bytes()).map_err(|error| format!("the samples cannot be written: {error}"))
    }
}

/// Reads lines that were written before.
///
/// # Errors
/// The file cannot be read, or a line is none.
pub fn read_lines(path: &Path) -> Result<Vec<Line>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = BufReader::new(file).lines().enumerate().map(|(at, line)| {
        let line = line.map_err(|error| error.to_string())?;
        serde_json::from_str(&line).map_err(|error| format!("{} line {}: {error}", path.display(), at + 1))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_blocks_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("samples.jsonl");
        let mut lines = Lines::create(&path).unwrap();
        lines.push(Line::Kill { at_s: 1.5, early: true }).unwrap();
        lines.push(Line::Sample(Sample { rss_bytes: rss_of(std::process::id()), ..Sample::default() })).unwrap();
        assert_eq!(read_lines(&path).unwrap(), lines.all);
        assert!(matches!(lines.all[1], Line::Sample(Sample { rss_bytes: Some(1..), .. })));
        std::fs::write(directory.path().join("segment-00000001"), vec![1; 100_000]).unwrap();
        std::fs::write(directory.path().join("segment-00000001.index"), vec![1; 5_000]).unwrap();
        // Blocks may be counted only when they are written.
        std::fs::File::open(directory.path().join("segment-00000001")).unwrap().sync_all().unwrap();
        let disk = disk_of(directory.path().to_str().unwrap());
        assert_eq!(disk.segments, 1);
        assert!(disk.segment_bytes >= 100_000 && disk.segment_bytes < disk.directory_bytes + 1, "{disk:?}");
    }
}
