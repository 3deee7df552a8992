//! `ringlane-proof canaries`: an engine with a fault must not pass.
//!
//! Each canary gets the simulator's ordinary seeds, from the first one on, until one of them fails. The
//! number of seeds that it may take is stated with it; one that survives them fails the gate.

use super::Ending;
use clap::Args;

/// Arguments of `canaries`.
#[derive(Args)]
pub struct CanariesArguments {
    /// Only this canary; may be repeated. Default: all
    #[arg(long)]
    canary: Vec<String>,
    /// Operations of each seed
    #[arg(long, default_value_t = 200)]
    ops: usize,
    /// Seeds at the same time
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Without the feature there is nothing to give the engine.
#[cfg(not(feature = "canaries"))]
pub fn run(arguments: &CanariesArguments) -> Ending {
    let CanariesArguments { canary, ops, threads } = arguments;
    let _ = (canary, ops, threads);
    let advice = "built without canaries; run: cargo run --release -p ringlane-proof --features canaries -- canaries";
    Ending::new("canaries: 0 of 0 caught".to_owned(), vec![advice.to_owned()])
}

#[cfg(feature = "canaries")]
pub use with_canaries::run;

#[cfg(feature = "canaries")]
mod with_canaries {
    use super::{CanariesArguments, Ending};
    use ringlane::canary::{self, Canary};
    use ringlane_proof::sim::plan::Plan;
    use ringlane_proof::sim::run::run as run_plan;
    use ringlane_proof::sim::scheduler::hush_panics;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Instant;

    /// Seeds within which each must be caught: some ten times what was seen.
    fn seeds_max(canary: Canary) -> u64 {
        match canary {
            Canary::SkipFlush
            | Canary::AcknowledgeEarly
            | Canary::SkipChecksum
            | Canary::ForgetDirectoryEntry
            | Canary::PublishWithheld => 50,
            Canary::WriteIntoRecovered
            | Canary::ForgetSalt
            | Canary::ForgetManifestEntry
            | Canary::IgnoreFailure
            | Canary::RetireTooEarly
            | Canary::ForgetCheckpoint
            | Canary::ForgetTruncation
            | Canary::ShowUndurable
            | Canary::ForgetWithheld
            | Canary::ResolveByAddress
            | Canary::ForgetNumbers
            | Canary::ForgetOriginals
            | Canary::ForgetProgress
            | Canary::ConfirmEarly
            | Canary::TwoLeases
            | Canary::ForgetTokens
            | Canary::PublishHalf
            | Canary::FinishEarly
            | Canary::ForgetDecision
            | Canary::ForgetPrepared
            | Canary::DecideAgain => 200,
            // It needs a crash between the manifest and the checkpoints.
            Canary::SwitchEarly => 1_000,
        }
    }

    /// Which seed caught it, and how.
    struct Caught {
        seed: u64,
        kind: String,
    }

    /// Runs them all.
    pub fn run(arguments: &CanariesArguments) -> Ending {
        hush_panics();
        let begun = Instant::now();
        let wanted =
            |canary: &Canary| arguments.canary.is_empty() || arguments.canary.iter().any(|name| name == canary.name());
        let chosen: Vec<Canary> = Canary::ALL.into_iter().filter(wanted).collect();
        let mut failures = Vec::new();
        if chosen.is_empty() {
            let names = Canary::ALL.map(Canary::name).join(", ");
            failures.push(format!("no such canary; there are {names}"));
        }
        for &canary in &chosen {
            match catch(arguments, canary) {
                Some(Caught { seed, kind }) => {
                    println!("{:24} caught by seed {seed:4} of {:4}: {kind}", canary.name(), seeds_max(canary));
                }
                None => failures.push(format!("{} survived {} seeds", canary.name(), seeds_max(canary))),
            }
        }
        let caught = chosen.len().saturating_sub(failures.len());
        let seconds = begun.elapsed().as_secs_f64();
        Ending::new(format!("canaries: {caught} of {} caught, in {seconds:.1} s", chosen.len()), failures)
    }

    /// The first seed that fails with it; which one is the same in every run.
    fn catch(arguments: &CanariesArguments, canary: Canary) -> Option<Caught> {
        let (next, found) = (AtomicU64::new(1), AtomicBool::new(false));
        let caught: Mutex<Option<Caught>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..arguments.threads.max(1) {
                scope.spawn(|| {
                    canary::set(Some(canary));
                    while !found.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed > seeds_max(canary) {
                            break;
                        }
                        let plan = Plan::new(seed, arguments.ops);
                        let Some(kind) = run_plan(&plan, true).failure_kind() else { continue };
                        // It must be the canary that is caught, and not a fault that the engine has anyway.
                        canary::set(None);
                        let fails_anyway = run_plan(&plan, true).failure_kind().is_some();
                        canary::set(Some(canary));
                        if fails_anyway {
                            continue;
                        }
                        found.store(true, Ordering::Relaxed);
                        let mut caught = caught.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        // A smaller seed may still be under way in another thread; it counts.
                        if caught.as_ref().is_none_or(|earlier| seed < earlier.seed) {
                            *caught = Some(Caught { seed, kind });
                        }
                    }
                });
            }
        });
        caught.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
