//! `ringlane-proof soak`: many times the disk bound through one directory; disk, memory and opening stay flat.

use super::Ending;
use clap::Args;
use ringlane_proof::soak::{self, Kind, Lie, SoakOptions};
use std::path::{Path, PathBuf};

/// Every how many seconds it is said how far it is.
const PROGRESS_SECONDS: u64 = 15;

/// Arguments of `soak`.
#[derive(Args)]
pub struct SoakArguments {
    /// How long, minutes
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Moments and work follow from it; what the machine makes of them does not
    #[arg(long, default_value_t = 20_261_128)]
    seed: u64,
    /// The engine's directory, empty or missing; on a disk, not in memory. Default: a temporary one, which is removed
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Samples go to PREFIX.jsonl, the picture to PREFIX.svg, the summary to PREFIX.json. Default: nowhere
    #[arg(long, value_name = "PREFIX")]
    output: Option<PathBuf>,
    /// The bound on the disk (`disk_bytes_max`), bytes
    #[arg(long, default_value_t = 1 << 30, value_name = "BYTES")]
    disk_bytes_max: u64,
    /// What is sent in a second, as far as the disk keeps up, bytes
    #[arg(long, default_value_t = 60_000_000, value_name = "BYTES")]
    rate: u64,
    /// Without topics of this kind: time, bytes, many, front, delayed, forever, churn; may be repeated
    #[arg(long, value_name = "KIND")]
    leave_out: Vec<Kind>,
    /// Only draw PREFIX.svg again from these samples
    #[arg(long, value_name = "FILE", requires = "output")]
    draw: Option<PathBuf>,
    /// A fault on purpose, which must be found
    #[arg(long, hide = true)]
    lie: Option<Lie>,
}

/// Runs it, or draws.
pub fn run(arguments: &SoakArguments) -> Ending {
    let result = match &arguments.draw {
        Some(samples) => draw(samples, arguments.output.as_deref()),
        None => soak(arguments),
    };
    result.unwrap_or_else(|error| Ending::new("soak: not run", vec![error]))
}

fn draw(samples: &Path, output: Option<&Path>) -> Result<Ending, String> {
    let target = with_extension(output.unwrap_or(samples), "svg");
    soak::draw(&soak::read_lines(samples)?, &target)?;
    Ok(Ending::new(format!("soak: drawn {}", target.display()), Vec::new()))
}

fn soak(arguments: &SoakArguments) -> Result<Ending, String> {
    let temporary = || tempfile::Builder::new().prefix("soak-").tempdir().map_err(|error| error.to_string());
    let scratch = temporary()?;
    let prefix = arguments.output.clone().unwrap_or_else(|| scratch.path().join("soak"));
    let options = SoakOptions {
        program: std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?,
        seconds: (arguments.minutes * 60.0).round().max(1.0) as u64,
        seed: arguments.seed,
        directory: arguments.directory.clone().unwrap_or_else(|| scratch.path().join("log")),
        samples: with_extension(&prefix, "jsonl"),
        disk_bytes_max: arguments.disk_bytes_max,
        bytes_per_second: arguments.rate,
        leave_out: arguments.leave_out.clone(),
        lie: arguments.lie,
    };
    let mut said_s = 0;
    let summary = soak::run(&options, &mut |sample| {
        if sample.at_s as u64 >= said_s + PROGRESS_SECONDS {
            said_s = sample.at_s as u64;
            eprintln!(
                "{said_s} of {} s: {} MB written, {} MB on the disk, {} refused",
                options.seconds,
                sample.bytes / 1_000_000,
                sample.directory_bytes / 1_000_000,
                sample.refused
            );
        }
    })?;
    let json = serde_json::to_string_pretty(&summary).expect("a summary is plain values");
    let target = with_extension(&prefix, "json");
    std::fs::write(&target, json + "\n").map_err(|error| format!("{}: {error}", target.display()))?;
    soak::draw(&soak::read_lines(&options.samples)?, &with_extension(&prefix, "svg"))?;
    for warning in &summary.warnings {
        eprintln!("warning: {warning}");
    }
    let mut failures = summary.failures.clone();
    if !failures.is_empty() {
        if arguments.directory.is_none() || arguments.output.is_none() {
            let _ = scratch.keep();
        }
        failures.push(format!(
            "seed {}; the directory {} and the samples {} are kept",
            options.seed,
            options.directory.display(),
            options.samples.display()
        ));
    }
    Ok(Ending::new(summary.to_string(), failures))
}

/// A prefix may have dots of its own.
fn with_extension(prefix: &Path, extension: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// The process that works.
pub fn run_child() -> Ending {
    exit(soak::run_child())
}

/// The process that looks from outside.
pub fn run_watcher() -> Ending {
    exit(soak::run_watcher())
}

/// Its standard output belongs to the parent.
fn exit(result: Result<(), String>) -> ! {
    match result {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }
}
