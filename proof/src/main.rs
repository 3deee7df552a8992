//! The command `ringlane-proof`: the tree of its arguments, and the exit codes.
//!
//! Invariants:
//! - Exit code 0: what was to be shown was shown. 1: it was not. 2: the command line is wrong. 3: this machine
//!   cannot show it (no root, no FUSE), and says what is missing.
//! - The last line of standard output is one line of figures, whether it failed or not.

// A program has no users of its items outside: `pub` here means for the other modules.
#![allow(unreachable_pub)]

mod command;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Shows that Ringlane loses nothing, and would show it if it did.
#[derive(Parser)]
#[command(name = "ringlane-proof", version, disable_help_subcommand = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Record every write of the real engine's file system, and judge what losses of power leave of it
    #[command(name = "blocklog")]
    BlockLog(command::blocklog::BlockLogArguments),
    /// The process that works on a recorded device
    #[command(hide = true)]
    BlockLogChild(command::blocklog::ChildArguments),
    /// Let a flush or a write of the device fail under the real engine: it tells, and loses nothing
    ErrorDevice(command::blocklog::ErrorDeviceArguments),
    /// Judge histories (JSON lines), or convert them for other checkers
    Check(command::check::CheckArguments),
    /// Damage every class of byte of every file of a small log; each is detected or harmless
    Corruption(command::corruption::CorruptionArguments),
    /// Kill the real engine again and again with SIGKILL; nothing acknowledged may be lost
    Kill(command::kill::KillArguments),
    /// The process that `kill` kills
    #[command(hide = true)]
    KillChild(command::kill::KillChildArguments),
    /// Give the engine faults on purpose; each must be caught
    Canaries(command::canaries::CanariesArguments),
    /// Run the engine on simulated disks, crash it, and judge what it did
    Sim(command::sim::SimArguments),
    /// Write many times the disk bound, with every kind of retention, kills and lane changes; what is used stays flat
    Soak(command::soak::SoakArguments),
    /// The process that the soak kills
    #[command(hide = true)]
    SoakChild,
    /// The process that looks at the soak from outside
    #[command(hide = true)]
    SoakWatcher,
    /// Crash every short workload at every point, with every set of sectors that may survive
    Exhaustive(command::exhaustive::ExhaustiveArguments),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // The soak measures memory as an application would have it.
    if !matches!(command, Command::SoakChild) {
        keep_memory();
    }
    let ending = match command {
        Command::BlockLog(arguments) => command::blocklog::run(&arguments),
        Command::BlockLogChild(arguments) => command::blocklog::run_child(&arguments),
        Command::ErrorDevice(arguments) => command::blocklog::run_error_device(&arguments),
        Command::Canaries(arguments) => command::canaries::run(&arguments),
        Command::Check(arguments) => command::check::run(&arguments),
        Command::Corruption(arguments) => command::corruption::run(&arguments),
        Command::Kill(arguments) => command::kill::run(&arguments),
        Command::KillChild(arguments) => command::kill::run_child(&arguments),
        Command::Sim(arguments) => command::sim::run(&arguments),
        Command::Soak(arguments) => command::soak::run(&arguments),
        Command::SoakChild => command::soak::run_child(),
        Command::SoakWatcher => command::soak::run_watcher(),
        Command::Exhaustive(arguments) => command::exhaustive::run(&arguments),
    };
    ending.report()
}

/// Blocks of a megabyte come and go all the time; memory that goes back to the system each time costs more
/// than what is done with it.
fn keep_memory() {
    // SAFETY: sets two numbers of the allocator, before any other thread is there.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
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
