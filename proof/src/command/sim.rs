//! `ringlane-proof sim`: seeds, on all cores, each twice.

use super::Ending;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ringlane_proof::sim::faults::Counts;
use ringlane_proof::sim::plan::Plan;
use ringlane_proof::sim::run::{Ran, run as run_plan};
use ringlane_proof::sim::scheduler::hush_panics;
use ringlane_proof::sim::shrink::shrink;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Arguments of `sim`.
#[derive(Args)]
pub struct SimArguments {
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Operations of each seed
    #[arg(long, default_value_t = 200)]
    ops: usize,
    /// Only these steps of the seed, as a failure prints them
    #[arg(long, value_delimiter = ',')]
    keep: Option<Vec<usize>>,
    /// Seeds at the same time
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Do not open crash clones
    #[arg(long)]
    no_clones: bool,
    /// Do not look for a smaller plan when one fails
    #[arg(long)]
    no_shrink: bool,
    /// Write the history of a failure to this file (JSON lines)
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

/// What all threads have done.
#[derive(Default)]
struct Total {
    counts: Counts,
    seeds: u64,
    operations: u64,
    steps: u64,
    failures: Vec<String>,
}

/// Runs the seeds.
pub fn run(arguments: &SimArguments) -> Ending {
    hush_panics();
    let begun = Instant::now();
    let (next, stop, total) = (AtomicU64::new(arguments.from), AtomicBool::new(false), Mutex::new(Total::default()));
    let bar = progress_bar(arguments.seeds);
    let end = arguments.from.saturating_add(arguments.seeds);
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let (ran, failure) = one_seed(arguments, seed);
                    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    total.counts.merge(&ran.counts);
                    total.seeds += 1;
                    total.operations += ran.operations;
                    total.steps += ran.steps;
                    if let Some(failure) = failure {
                        total.failures.push(failure);
                        stop.store(true, Ordering::Relaxed);
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seconds = begun.elapsed().as_secs_f64();
    let Total { counts, seeds, operations, steps, failures } = total;
    Ending::new(
        format!(
            "sim: {seeds} seeds of {} operations, each twice, {operations} calls, {steps} steps, in {seconds:.1} s \
             ({:.1} seeds/s); {counts}; {} failures",
            arguments.ops,
            seeds as f64 / seconds,
            failures.len()
        ),
        failures,
    )
}

/// Drawn on a terminal only.
fn progress_bar(seeds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seeds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left");
    bar.set_style(style.expect("the template is sound"));
    bar
}

fn one_seed(arguments: &SimArguments, seed: u64) -> (Ran, Option<String>) {
    let mut plan = Plan::new(seed, arguments.ops);
    if let Some(numbers) = &arguments.keep {
        plan = plan.keep(numbers);
    }
    let ran = run_plan(&plan, !arguments.no_clones);
    if ran.failure().is_some() {
        let (plan, ran) = if arguments.no_shrink { (plan, ran) } else { shrink(&plan, ran) };
        let text = describe(arguments, &plan, &ran);
        return (ran, Some(text));
    }
    let again = run_plan(&plan, false);
    let failure = (again.digest != ran.digest).then(|| {
        format!(
            "seed {seed}: two runs differ ({:016x} and {:016x}); {}",
            ran.digest,
            again.digest,
            replay(arguments, &plan)
        )
    });
    (ran, failure)
}

/// The failure for people: the seed, what is left of the plan, the end of the history, and how to see it again.
fn describe(arguments: &SimArguments, plan: &Plan, ran: &Ran) -> String {
    let mut text = format!("seed {}: {}\n", plan.seed, ran.failure().unwrap_or_default());
    for more in ran.violations.iter().skip(1).cloned().chain(ran.findings.iter().map(ToString::to_string)).take(6) {
        let _ = writeln!(text, "  and {more}");
    }
    let _ = writeln!(text, "  with {:?}", plan.shape);
    for step in &plan.steps {
        let _ = writeln!(text, "  {:4} client {}: {}", step.number, step.client, step.operation);
    }
    if let (Some(path), Some(history)) = (&arguments.history, &ran.history) {
        let written = std::fs::File::create(path).and_then(|file| history.write(std::io::BufWriter::new(file)));
        let _ = match written {
            Ok(()) => writeln!(text, "  history: {}", path.display()),
            Err(error) => writeln!(text, "  the history could not be written to {}: {error}", path.display()),
        };
    }
    let _ = write!(text, "  replay: {}", replay(arguments, plan));
    text
}

fn replay(arguments: &SimArguments, plan: &Plan) -> String {
    let mut command = format!("ringlane-proof sim --from {} --seeds 1 --ops {}", plan.seed, arguments.ops);
    if plan.steps.len() < plan.operations {
        let numbers: Vec<String> = plan.numbers().iter().map(ToString::to_string).collect();
        let _ = write!(command, " --no-shrink --keep {}", numbers.join(","));
    }
    command
}
