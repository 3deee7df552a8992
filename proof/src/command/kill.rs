//! `ringlane-proof kill`: kills the real engine again and again, and judges what is left.

use super::Ending;
use clap::Args;
use ringlane_proof::kill::{self, KillOptions, Lie};
use std::path::PathBuf;

/// Every backend that must behave the same.
const BACKENDS: [&str; 3] = ["io-uring", "plain", "plain-buffered"];

/// Arguments of `kill`.
#[derive(Args)]
pub struct KillArguments {
    /// How many times
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Moments and work follow from it; what the machine makes of them does not
    #[arg(long, default_value_t = 20_261_123)]
    seed: u64,
    /// Only this backend; may be repeated. Default: all, in turn
    #[arg(long, value_name = "BACKEND", value_parser = BACKENDS)]
    backend: Vec<String>,
    /// Where logs are made; on a disk, not in memory
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Children say what is not so: this must fail
    #[arg(long, hide = true, value_name = "WHAT")]
    lie: Option<Lie>,
}

/// Arguments of the hidden `kill-child`.
#[derive(Args)]
pub struct KillChildArguments {
    /// What to do, as JSON
    order: String,
}

/// Kills.
pub fn run(arguments: &KillArguments) -> Ending {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Ending::new("kill: 0 kills", vec![format!("this program's own path: {error}")]),
    };
    let backends =
        if arguments.backend.is_empty() { BACKENDS.map(str::to_owned).to_vec() } else { arguments.backend.clone() };
    let options = KillOptions {
        program,
        rounds: arguments.rounds,
        seed: arguments.seed,
        backends,
        scratch: arguments.scratch.clone().unwrap_or_else(std::env::temp_dir),
        lie: arguments.lie,
    };
    let (figures, failures) = kill::run(&options, &mut |figures| {
        if figures.kills.is_multiple_of(20) {
            eprintln!("{} of {} kills", figures.kills, options.rounds);
        }
    });
    let line = format!(
        "kill: {} kills ({} while opening or reading), {} logs, seed {}, {} calls, {} acknowledged ({} delayed), \
         {} sent again, {} cancelled, {} topics, {} polled, {} read after kills; groups: {} handed out ({} once more), \
         {} finished, {} flushes, {} dead letters, {} with nothing left to do; {} times verified, {} failures",
        figures.kills,
        figures.early_kills,
        figures.logs,
        options.seed,
        figures.calls,
        figures.acknowledged,
        figures.delayed,
        figures.repeated,
        figures.cancelled,
        figures.topics,
        figures.polled,
        figures.listed,
        figures.handed_out,
        figures.handed_out_again,
        figures.finished,
        figures.flushes,
        figures.dead_letters,
        figures.drained,
        figures.verified,
        failures.len(),
    );
    Ending::new(line, failures)
}

/// The process that is killed.
pub fn run_child(arguments: &KillChildArguments) -> Ending {
    // Its standard output belongs to the parent.
    match kill::run_child(&arguments.order) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }
}
