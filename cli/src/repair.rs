//! `ringlane repair`: what can be read of a damaged directory, written into a new one. Exit code 1 if anything is
//! missing there.

use crate::arguments::{DirectoryArguments, OptionArguments};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::{progress, render, text};
use clap::Args;
use ringlane::{Options, RepairProgress};
use std::path::PathBuf;

/// Arguments of `repair`.
#[derive(Args)]
#[command(after_help = "The damaged directory is only read. What is lost is listed by topic, partition and offsets.
Records before a hole get higher offsets, so that those behind it keep theirs; the list `moved` says which.")]
pub struct RepairArguments {
    /// The new directory: empty, or not there
    #[arg(long, value_name = "NEW_DIR")]
    to: PathBuf,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    directory: DirectoryArguments,
    #[command(flatten)]
    options: OptionArguments,
}

/// Runs `ringlane repair`.
pub fn run(arguments: &RepairArguments) -> Result {
    let options = arguments.options.apply(Options::new())?;
    let bar = progress::over_bytes(Some(0));
    let repaired = ringlane::repair(&arguments.directory.path, &arguments.to, options, &mut |at: &RepairProgress| {
        bar.set_length(at.bytes_total);
        bar.set_position(at.bytes_done);
    });
    bar.finish_and_clear();
    let report = repaired?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&report)?;
    } else {
        for (name, table) in [
            ("what is wrong with the files", render::table(&report.findings)),
            ("lost offsets", render::table(&report.lost)),
            ("moved offsets", render::table(&report.moved)),
        ] {
            if !table.is_empty() {
                output.line(name)?;
                output.text(&table)?;
                output.line("")?;
            }
        }
        output.line(format_args!(
            "{} records and {} delayed ones of {} topics are in {}",
            text::grouped(report.records),
            text::grouped(report.withheld_records),
            report.topics,
            arguments.to.display(),
        ))?;
        if report.transactions > 0 {
            output.line(format_args!(
                "{} transactions are prepared there, with {} records; `ringlane txn list` shows them",
                text::grouped(report.transactions),
                text::grouped(report.transaction_records),
            ))?;
        }
    }
    output.finish()?;
    if report.is_missing_something() {
        let lost: u64 = report.lost.iter().map(|lost| lost.last - lost.first + 1).sum();
        return Err(Failure::Check(format!(
            "{lost} offsets in {} ranges and {} delayed records are lost; {} records have no topic any more; keep {} \
             until you have looked at the report",
            report.lost.len(),
            report.withheld_lost,
            report.records_without_topic,
            arguments.directory.path.display(),
        )));
    }
    Ok(())
}
