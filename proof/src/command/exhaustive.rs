//! `ringlane-proof exhaustive`: all short workloads, crashed everywhere.

use super::Ending;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ringlane_proof::sim::exhaustive::{Deed, Tally, try_workload, workloads};
use ringlane_proof::sim::scheduler::hush_panics;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Arguments of `exhaustive`.
#[derive(Args)]
pub struct ExhaustiveArguments {
    /// Longest workload, in operations
    #[arg(long, default_value_t = 2)]
    operations: usize,
    /// Most lanes
    #[arg(long, default_value_t = 2)]
    lanes: u32,
    /// Try every so many-th crash point of each workload only; workloads begin at different ones
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// Workloads at the same time
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Tries them all.
pub fn run(arguments: &ExhaustiveArguments) -> Ending {
    hush_panics();
    let begun = Instant::now();
    let lanes = 1..=arguments.lanes;
    let all: Vec<(Vec<Deed>, u32)> =
        lanes.flat_map(|lanes| workloads(arguments.operations).into_iter().map(move |deeds| (deeds, lanes))).collect();
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let total: Mutex<(Tally, Vec<String>)> = Mutex::default();
    let bar = ProgressBar::new(all.len() as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} workloads, {eta} left");
    bar.set_style(style.expect("the template is sound"));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((deeds, lanes)) = all.get(at) else { break };
                    let stride = arguments.stride.max(1);
                    let (tally, failed) = try_workload(deeds, *lanes, at as u64 % stride, stride);
                    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    total.0.add(tally);
                    if let Some(failed) = failed {
                        total.1.push(failed.to_string());
                        stop.store(true, Ordering::Relaxed);
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let (Tally { workloads, points, disks, whole }, failures) =
        total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ending::new(
        format!(
            "exhaustive: {workloads} of {} workloads of up to {} operations on up to {} lanes, {points} crash points \
             ({whole} with all subsets of their sectors), {disks} disks opened, in {:.1} s; {} failures",
            all.len(),
            arguments.operations,
            arguments.lanes,
            begun.elapsed().as_secs_f64(),
            failures.len()
        ),
        failures,
    )
}
