//! A lane's write pattern, durable overwrites of a zero-filled file, on two loops in turns:
//!
//! - `io-uring`: one operation each with RWF_DSYNC, on a ring with single issuer and deferred task
//!   work, as a lane does it.
//! - `tokio-uring`: the same writes as tasks. It knows no RWF_DSYNC, so the file is opened with O_DSYNC,
//!   which means the same for the kernel.
//!
//! Patterns: 4 KiB one deep (a lone sender) and 256 KiB four deep (bulk). Prints medians over slices.
//! Run it in a directory on the disk to be measured: `cargo run --release -p ringlane-tokio-uring`.

mod buffer;
mod direct;
mod tokio_loop;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

const FILE_BYTES: u64 = 256 << 20;
const SLICES: usize = 5;
const SLICE: Duration = Duration::from_secs(1);

/// Blocks of one size, so many in flight.
#[derive(Clone, Copy)]
struct Pattern {
    block_bytes: usize,
    depth: usize,
}

impl Pattern {
    /// Where the block with this number goes: one after the other, then from the start again.
    fn offset(&self, number: u64) -> u64 {
        number % (FILE_BYTES / self.block_bytes as u64) * self.block_bytes as u64
    }
}

/// What a loop did in a slice.
struct Slice {
    latencies_ns: Vec<u64>,
    elapsed: Duration,
}

fn main() -> io::Result<()> {
    let directory = tempfile::tempdir_in(".")?;
    let path = directory.path().join("blocks");
    prepare(&path)?;
    println!(
        "{:<12} {:>6} {:<12} {:>9} {:>8} {:>8} {:>8}",
        "block", "depth", "loop", "writes/s", "MB/s", "p50 us", "p99 us"
    );
    for pattern in [Pattern { block_bytes: 4 << 10, depth: 1 }, Pattern { block_bytes: 256 << 10, depth: 4 }] {
        let (mut direct, mut tokio) = (Vec::new(), Vec::new());
        for _ in 0..SLICES {
            direct.push(direct::run(&open(&path, 0)?, pattern, SLICE)?);
            tokio.push(tokio_loop::run(open(&path, libc::O_DSYNC)?, pattern, SLICE)?);
        }
        print("io-uring", pattern, &direct);
        print("tokio-uring", pattern, &tokio);
    }
    Ok(())
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | flags).open(path)
}

fn prepare(path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    let zeroes = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, offset)?;
    }
    file.sync_all()
}

fn print(name: &str, pattern: Pattern, slices: &[Slice]) {
    let median = |figure: &dyn Fn(&Slice) -> f64| {
        let mut figures: Vec<f64> = slices.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let quantile = |slice: &Slice, quantile: f64| {
        let mut sorted = slice.latencies_ns.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * quantile) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).map_or(0.0, |&ns| ns as f64 / 1000.0)
    };
    let rate = median(&|slice| slice.latencies_ns.len() as f64 / slice.elapsed.as_secs_f64());
    println!(
        "{:<12} {:>6} {name:<12} {rate:>9.0} {:>8.0} {:>8.1} {:>8.1}",
        format!("{} KiB", pattern.block_bytes >> 10),
        pattern.depth,
        rate * pattern.block_bytes as f64 / 1e6,
        median(&|slice| quantile(slice, 0.5)),
        median(&|slice| quantile(slice, 0.99)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_loops_write_every_block_they_count() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
        let path = directory.path().join("blocks");
        prepare(&path).expect("a file");
        for pattern in [Pattern { block_bytes: 4096, depth: 1 }, Pattern { block_bytes: 64 << 10, depth: 4 }] {
            let slice = Duration::from_millis(20);
            let direct = direct::run(&open(&path, 0).expect("opens"), pattern, slice).expect("runs");
            let tokio = tokio_loop::run(open(&path, libc::O_DSYNC).expect("opens"), pattern, slice).expect("runs");
            assert!(direct.latencies_ns.len() >= pattern.depth && tokio.latencies_ns.len() >= pattern.depth);
        }
    }
}
