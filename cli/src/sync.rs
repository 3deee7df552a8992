//! `ringlane sync`: what was sent before is durable when it returns, whatever its durability.

use crate::arguments::EngineArguments;
use crate::failure::Result;
use crate::holder::Reached;
use crate::output::Output;
use clap::Args;

/// Arguments of `sync`.
#[derive(Args)]
pub struct SyncArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs `ringlane sync`.
pub fn run(arguments: &SyncArguments) -> Result {
    match arguments.engine.reach(false)? {
        Reached::Held(mut client) => client.sync()?,
        Reached::Here(engine) => {
            engine.sync()?;
            engine.close()?;
        }
    }
    let mut output = Output::new();
    match arguments.json {
        true => output.json(&serde_json::json!({ "synced": true }))?,
        false => output.line("everything that was sent before is durable")?,
    }
    output.finish()
}
