//! `ringlane-proof corruption`: damages every class of byte of every file of a small log.

use super::Ending;
use clap::Args;
use ringlane_proof::corruption::{self, CorruptionOptions};
use std::path::PathBuf;

/// Arguments of `corruption`.
#[derive(Args)]
pub struct CorruptionArguments {
    /// At most so many of the systematic cases, evenly chosen. Default: all
    #[arg(long, value_name = "N")]
    systematic: Option<usize>,
    /// Where copies of the log are made; on a disk, not in memory
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Which way to the device: auto, io-uring, plain, plain-buffered
    #[arg(long, default_value = "auto")]
    backend: ringlane::Backend,
    /// Threads
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
}

/// Damages.
pub fn run(arguments: &CorruptionArguments) -> Ending {
    let options = CorruptionOptions {
        scratch: arguments.scratch.clone().unwrap_or_else(std::env::temp_dir),
        systematic_max: arguments.systematic,
        backend: arguments.backend,
        jobs: arguments.jobs,
    };
    let progress = |done: usize, all: usize| {
        if done.is_multiple_of(200) {
            eprintln!("{done} of {all} cases");
        }
    };
    match corruption::run(&options, &progress) {
        Ok((table, failures)) => {
            print!("{table}");
            let sum = table.sum();
            let line = format!(
                "corruption: {} cases, {} refused, {} read errors, {} harmless, {} in the window ({} records), {} failures",
                sum.cases,
                sum.refused,
                sum.read_error,
                sum.harmless,
                sum.window,
                sum.window_records,
                failures.len()
            );
            Ending::new(line, failures)
        }
        Err(error) => Ending::new("corruption: 0 cases", vec![error]),
    }
}
