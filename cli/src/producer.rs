//! `ringlane producer`: list and delete the producers that have a name.

use crate::arguments::{EngineArguments, ListArguments};
use crate::failure::Result;
use crate::output::Output;
use crate::render;
use clap::{Args, Subcommand};
use ringlane::{Engine, Error, ProducerInfo};

/// What to do with producers that have a name.
#[derive(Subcommand)]
pub enum ProducerCommand {
    /// List all producers that have a name
    List(ListArguments),
    /// Delete a producer: its numbers are forgotten, its records stay, and who has the name open may not send any more
    Delete(DeleteArguments),
}

/// Arguments of `producer delete`.
#[derive(Args)]
pub struct DeleteArguments {
    /// The producer's name
    name: String,
    /// Print the producer, as it was, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs `ringlane producer`.
pub fn run(command: &ProducerCommand) -> Result {
    match command {
        ProducerCommand::List(arguments) => list(arguments),
        ProducerCommand::Delete(arguments) => delete(arguments),
    }
}

fn list(arguments: &ListArguments) -> Result {
    let (engine, _) = arguments.engine.open()?;
    let producers = engine.producers();
    engine.close()?;
    let mut output = Output::new();
    if arguments.json {
        producers.iter().try_for_each(|producer| output.json(producer))?;
    } else {
        let mut lines = vec![["NAME", "ID", "EPOCH"].map(str::to_owned).to_vec()];
        lines.extend(producers.iter().map(|producer| {
            let ProducerInfo { name, id, epoch, .. } = producer;
            vec![name.clone(), id.to_string(), epoch.to_string()]
        }));
        output.text(&render::aligned(&lines, &[false, true, true]))?;
    }
    output.finish()
}

fn delete(arguments: &DeleteArguments) -> Result {
    let producer = arguments.engine.reach(false)?.run(
        |engine| {
            let producer = find(engine, &arguments.name)?;
            engine.delete_producer(&arguments.name)?;
            Ok(producer)
        },
        |client| client.delete_producer(&arguments.name),
    )?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&producer)?;
    } else {
        output.line(format_args!("deleted producer `{}`; its records stay", producer.name))?;
    }
    output.finish()
}

fn find(engine: &Engine, name: &str) -> Result<ProducerInfo, Error> {
    let found = engine.producers().into_iter().find(|producer| producer.name == name);
    found.ok_or_else(|| Error::UnknownProducer { name: name.to_owned() })
}
