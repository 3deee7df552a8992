//! `ringlane verify`: reads everything and checks every checksum. Exit code 1 on damage.

use crate::arguments::DirectoryArguments;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::{progress, render, text};
use clap::Args;
use ringlane::{Severity, VerifyProgress};

/// Arguments of `verify`.
#[derive(Args)]
pub struct VerifyArguments {
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    directory: DirectoryArguments,
}

/// Runs `ringlane verify`.
pub fn run(arguments: &VerifyArguments) -> Result {
    let bar = progress::over_bytes(Some(0));
    let verified = ringlane::verify(&arguments.directory.path, &mut |progress: &VerifyProgress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
        if bar.message() != progress.file {
            bar.set_message(progress.file.clone());
        }
    });
    bar.finish_and_clear();
    let report = verified?;
    let damages = report.findings.iter().filter(|finding| finding.severity == Severity::Damage).count();
    let mut output = Output::new();
    if arguments.json {
        output.json(&report)?;
    } else {
        output.text(&render::table(&report.findings))?;
        output.line(format_args!(
            "{} records in {} frames, {} segments, {}: {}",
            text::grouped(report.records),
            text::grouped(report.frames),
            report.segments,
            text::bytes(report.bytes),
            if damages == 0 { "no damage" } else { "DAMAGED" },
        ))?;
    }
    output.finish()?;
    if damages > 0 {
        return Err(Failure::Check(format!(
            "{damages} damaged places in {}; restore the files from a copy, or write all that is whole into a new \
             directory with `ringlane repair`",
            arguments.directory.path.display()
        )));
    }
    Ok(())
}
