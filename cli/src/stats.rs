//! `ringlane stats`: prints what the engine says of itself, opened here or by another process; or, where that one
//! cannot be asked, what can be told from outside.

use crate::arguments::ReadingArguments;
use crate::failure::Result;
use crate::holder;
use crate::output::Output;
use crate::render;
use clap::Args;
use ringlane::admin::{Client, Value};
use ringlane::{Engine, Error};

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
    let stats = match reason {
        None => engine.stats().into(),
        Some(reason) => ask_or_look(arguments, &engine, &reason)?,
    };
    engine.close()?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&stats)?;
    } else {
        output.text(&render::fields(&stats))?;
    }
    output.finish()?;
    warn_of_unresolved(&stats);
    Ok(())
}

/// Nobody decides these any more unless somebody is told.
fn warn_of_unresolved(stats: &Value) {
    let transactions = stats.get("transactions").and_then(|all| all.get("unresolved")).and_then(Value::as_u64);
    let (count, them) = match transactions {
        None | Some(0) => return,
        Some(1) => ("1 transaction is".to_owned(), "it"),
        Some(count) => (format!("{count} transactions are"), "them"),
    };
    eprintln!(
        "warning: {count} unresolved: no checker is asked any more; `ringlane txn list` shows {them}, \
         `ringlane txn resolve` decides"
    );
}

/// Statistics of an engine that somebody else has open: its own, if it can be asked, else what is seen from outside.
fn ask_or_look(arguments: &StatsArguments, outside: &Engine, reason: &Error) -> Result<Value> {
    let engine = &arguments.engine.engine;
    let why = match reason {
        Error::Locked { pid, program, .. } => {
            if let Ok(mut client) = Client::connect(&engine.directory.path) {
                let stats = client.stats()?;
                holder::say_who(&client, engine);
                return Ok(stats);
            }
            format!("process {pid} ({program}) has the engine open")
        }
        other => other.to_string(),
    };
    eprintln!("note: seen from outside, because {why}; what the writer counts, it alone knows");
    Ok(outside.stats().into())
}
