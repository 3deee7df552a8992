//! `ringlane stats`: opens the engine and prints what it says of itself; or, beside a process that has it open, what
//! can be told from outside.

use crate::arguments::ReadingArguments;
use crate::failure::Result;
use crate::output::Output;
use crate::render;
use clap::Args;
use ringlane::Error;

/// Arguments of `stats`.
#[derive(Args)]
pub struct StatsArguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: ReadingArguments,
}

/// Runs `ringlane stats`.
pub fn run(arguments: &StatsArguments) -> Result {
    let (engine, reason) = arguments.engine.open()?;
    let stats = engine.stats();
    engine.close()?;
    if let Some(reason) = reason {
        let why = match &reason {
            Error::Locked { pid, program, .. } => format!("process {pid} ({program}) has the engine open"),
            other => other.to_string(),
        };
        eprintln!("note: seen from outside, because {why}; what the writer counts, it alone knows");
    }
    let mut output = Output::new();
    if arguments.json {
        output.json(&stats)?;
    } else {
        output.text(&render::fields(&stats))?;
    }
    output.finish()
}
