//! The device alone: durable overwrites, reads, and growing writes. The engine's columns stay empty.

use crate::bench::limit::{self, Amount, Operation, RawFile};
use crate::bench::report::{Limit, Report, Row, in_words};
use crate::bench::setup::{Setup, raw};
use crate::failure::Result;

/// Measures it.
pub fn run(setup: &Setup, report: &mut Report) -> Result {
    setup.announce("the device");
    let log_bytes = setup.record_log_bytes() as f64;
    let file = RawFile::prepared(&setup.directory, setup.log_bytes).map_err(raw)?;
    for (what, words) in [(Operation::DurableWrite, "durable overwrites"), (Operation::Read, "reads")] {
        for block_bytes in [4 << 10, 64 << 10, 256 << 10, 1 << 20] {
            for depth in [1, 2, 4, 8] {
                let sample = limit::blocks(&file, what, block_bytes, depth, Amount::Time(setup.slice)).map_err(raw)?;
                let row = Row { workload: "device", ..Row::default() };
                report.row(
                    row.with_limit(Limit::of_bytes(&[sample], log_bytes)),
                    &in_words(words, block_bytes, depth, &file),
                )?;
            }
        }
    }
    drop(file);
    let file = RawFile::allocated(&setup.directory, setup.log_bytes).map_err(raw)?;
    let sample = limit::growing(&file).map_err(raw)?;
    let row = Row { workload: "device", ..Row::default() };
    report.row(
        row.with_limit(Limit::of_bytes(&[sample], log_bytes)),
        &in_words("growing writes, flushed every 16 MiB", 1 << 20, 8, &file),
    )
}
