//! The command `ringlane`: the tree of its arguments, and the exit codes.
//!
//! Invariants:
//! - Exit code 0: done. 1: it failed, or damage was found. 2: the command line is wrong.
//! - What a program may read goes to standard output; errors, progress and summaries go to standard
//!   error. An error is one line that begins with `error: ` and says what to do.
//! - A reader that goes away (`ringlane consume ... | head`) ends the command without an error.

// A program has no users of its items outside: `pub` here means for the other modules.
#![allow(unreachable_pub)]

mod arguments;
mod audit;
mod base64;
mod bench;
mod consume;
mod demo;
mod dlq;
mod failure;
mod group;
mod holder;
mod inspect;
mod interrupt;
mod member;
mod membership;
mod output;
mod printed;
mod produce;
mod producer;
mod progress;
mod record_json;
mod render;
mod repair;
mod stats;
mod sync;
mod text;
mod topic;
mod txn;
mod verify;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Ringlane: an embedded, durable message log. This command makes topics, sends, reads, checks and
/// measures.
#[derive(Parser)]
#[command(name = "ringlane", version, disable_help_subcommand = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// List and delete producers that have a name
    #[command(subcommand)]
    Producer(producer::ProducerCommand),
    /// Create, list, describe, reset and delete groups of consumers
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Show the dead letters of groups
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// List, show and resolve transactions that wait for their decision
    #[command(subcommand)]
    Txn(txn::TxnCommand),
    /// Send records: one for each line, or as JSON
    Produce(produce::ProduceArguments),
    /// Print records
    Consume(consume::ConsumeArguments),
    /// Show the manifest and the segments, or the frames of a segment
    Inspect(inspect::InspectArguments),
    /// Check every checksum; exit code 1 if anything is damaged
    Verify(verify::VerifyArguments),
    /// Compare what was acknowledged with what can be read, and show how far groups have come; exit code 1 on loss
    Audit(audit::AuditArguments),
    /// Write what can be read of a damaged directory into a new one; exit code 1 if anything is missing
    Repair(repair::RepairArguments),
    /// Print the engine's statistics
    Stats(stats::StatsArguments),
    /// Make durable what was sent before, whatever its durability
    Sync(sync::SyncArguments),
    /// Measure the device and the engine side by side
    Bench(bench::BenchArguments),
    /// Produce a file, consume it, kill the producer half-way, and show that nothing is lost
    Demo(demo::DemoArguments),
    /// The process that `demo` kills
    #[command(hide = true)]
    DemoWriter(demo::WriterArguments),
    /// The process that `bench open` kills
    #[command(hide = true)]
    BenchWriter(bench::WriterArguments),
    /// The process in which `bench open` opens
    #[command(hide = true)]
    BenchOpener(bench::OpenerArguments),
    /// The process in which `bench index` opens and reads
    #[command(hide = true)]
    BenchSeeker(bench::SeekerArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Topic(command) => topic::run(&command),
        Command::Producer(command) => producer::run(&command),
        Command::Group(command) => group::run(&command),
        Command::Dlq(command) => dlq::run(&command),
        Command::Txn(command) => txn::run(&command),
        Command::Produce(arguments) => produce::run(&arguments),
        Command::Consume(arguments) => consume::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::Stats(arguments) => stats::run(&arguments),
        Command::Sync(arguments) => sync::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoWriter(arguments) => demo::run_writer(&arguments),
        Command::BenchWriter(arguments) => bench::run_writer(&arguments),
        Command::BenchOpener(arguments) => bench::run_opener(&arguments),
        Command::BenchSeeker(arguments) => bench::run_seeker(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_tree_of_arguments_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
