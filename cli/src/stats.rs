//! `ringlane stats`: opens the engine and prints what it says of itself.

use crate::arguments::EngineArguments;
use crate::failure::Result;
use crate::output::Output;
use crate::render;
use clap::Args;

/// Arguments of `stats`.
#[derive(Args)]
pub struct StatsArguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs `ringlane stats`.
pub fn run(arguments: &StatsArguments) -> Result {
    let engine = arguments.engine.open(false)?;
    let stats = engine.stats();
    engine.close()?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&stats)?;
    } else {
        output.text(&render::fields(&stats))?;
    }
    output.finish()
}
