//! `ringlane-proof blocklog` and `error-device`: the real engine on a device that records, and that fails.

use super::Ending;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ringlane_proof::blocklog::{self, BlockLogFigures, BlockLogOptions, Fault, FileSystem, Lie, Stop};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Rounds of `error-device` beyond those asked for, at most, until an error has reached the engine.
const ROUNDS_MORE_MAX: u64 = 10;

/// A file system by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    Ext4,
    Xfs,
}

impl Name {
    fn file_system(self) -> FileSystem {
        match self {
            Name::Ext4 => FileSystem::Ext4,
            Name::Xfs => FileSystem::Xfs,
        }
    }
}

/// A lie by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LieName {
    Receipts,
    Flushes,
}

/// Arguments of both.
#[derive(Args)]
struct Common {
    /// Only this file system. Default: ext4, and XFS where mkfs.xfs and the kernel have it
    #[arg(long, value_name = "NAME")]
    file_system: Option<Name>,
    /// Work and cuts follow from it; what the machine makes of the work does not
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where an empty folder is made, to mount memory on
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Give the engine this fault; it must be caught (needs a build with canaries)
    #[arg(long, value_name = "CANARY")]
    canary: Option<String>,
}

/// Arguments of `blocklog`.
#[derive(Args)]
pub struct BlockLogArguments {
    #[command(flatten)]
    common: Common,
    /// At most so many cuts of each recording, evenly chosen. 0: every flush boundary, and torn cuts after each
    #[arg(long, value_name = "N", default_value_t = 0)]
    cuts: usize,
    /// Processes that work on the device one after another
    #[arg(long, default_value_t = 5)]
    children: u32,
    /// Operations of each thread of such a process
    #[arg(long, default_value_t = 30)]
    operations: u64,
    /// Lie about receipts, or about flushes: this must fail
    #[arg(long, hide = true)]
    lie: Option<LieName>,
}

/// Arguments of `error-device`.
#[derive(Args)]
pub struct ErrorDeviceArguments {
    #[command(flatten)]
    common: Common,
    /// Recordings with each error on each file system. More follow, up to ten times, until an error has reached the engine
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// At most so many cuts of each recording
    #[arg(long, value_name = "N", default_value_t = 20)]
    cuts: usize,
}

/// Arguments of the hidden `block-log-child`.
#[derive(Args)]
pub struct ChildArguments {
    /// What to do, as JSON
    order: String,
}

/// The child.
pub fn run_child(arguments: &ChildArguments) -> Ending {
    // Its standard output belongs to the parent.
    match blocklog::run_child(&arguments.order) {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

/// Records and cuts.
pub fn run(arguments: &BlockLogArguments) -> Ending {
    let mut session = match Session::new("blocklog", &arguments.common) {
        Ok(session) => session,
        Err(error) => return Ending::new("blocklog: 0 cuts", vec![error]),
    };
    for file_system in session.file_systems() {
        let options = BlockLogOptions {
            cuts_max: (arguments.cuts > 0).then_some(arguments.cuts),
            children: arguments.children,
            operations: arguments.operations,
            lie: arguments.lie.map(|lie| match lie {
                LieName::Receipts => Lie::Receipts,
                LieName::Flushes => Lie::Flushes,
            }),
            keep: arguments.lie.is_none() && arguments.common.canary.is_none(),
            ..session.options(file_system, arguments.common.seed)
        };
        session.record(&options);
    }
    session.ending()
}

/// Lets the device fail once in each recording.
pub fn run_error_device(arguments: &ErrorDeviceArguments) -> Ending {
    let mut session = match Session::new("error-device", &arguments.common) {
        Ok(session) => session,
        Err(error) => return Ending::new("error-device: 0 errors", vec![error]),
    };
    let file_systems = session.file_systems();
    // Chance decides which write the device fails: the engine's, the file system's or the history's. A run in which
    // the engine met none would show nothing, so it goes on for a while.
    for round in 0..arguments.rounds + ROUNDS_MORE_MAX {
        if round >= arguments.rounds && session.figures.told > 0 {
            break;
        }
        for (file_system, fault) in file_systems.iter().flat_map(|one| Fault::ALL.map(|fault| (*one, fault))) {
            let options = BlockLogOptions {
                cuts_max: Some(arguments.cuts),
                children: 3,
                operations: 60,
                fault: Some(fault),
                ..session.options(file_system, arguments.common.seed.wrapping_mul(1_000).wrapping_add(round))
            };
            session.record(&options);
        }
    }
    let figures = &session.figures;
    if session.recordings > 0 && session.caught.is_none() && figures.told == 0 && session.failures.is_empty() {
        session.failures.push("no error of the device reached the engine".to_owned());
    }
    session.ending()
}

/// Recordings, one after another, until one fails.
struct Session<'a> {
    name: &'static str,
    common: &'a Common,
    program: PathBuf,
    begun: Instant,
    figures: BlockLogFigures,
    recordings: u64,
    file_systems: Vec<FileSystem>,
    failures: Vec<String>,
    cannot: Vec<String>,
    /// How the canary was caught.
    caught: Option<String>,
}

impl<'a> Session<'a> {
    fn new(name: &'static str, common: &'a Common) -> Result<Session<'a>, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        stop_when_asked();
        Ok(Session {
            name,
            common,
            program,
            begun: Instant::now(),
            figures: BlockLogFigures::default(),
            recordings: 0,
            file_systems: Vec::new(),
            failures: Vec::new(),
            cannot: Vec::new(),
            caught: None,
        })
    }

    /// The file systems that are asked for. Where none is, one that is not here is said so, and left out.
    fn file_systems(&self) -> Vec<FileSystem> {
        if let Some(name) = self.common.file_system {
            return vec![name.file_system()];
        }
        let (here, absent): (Vec<_>, Vec<_>) =
            FileSystem::ALL.into_iter().partition(|one| *one == FileSystem::Ext4 || one.missing().is_none());
        for one in absent {
            eprintln!("{}: without {}: {}", self.name, one.name(), one.missing().unwrap_or_default());
        }
        here
    }

    fn options(&self, file_system: FileSystem, seed: u64) -> BlockLogOptions {
        let memory = Path::new("/dev/shm");
        let default = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        BlockLogOptions {
            program: self.program.clone(),
            file_system,
            cuts_max: None,
            seed,
            children: 0,
            operations: 0,
            fault: None,
            scratch: self.common.scratch.clone().unwrap_or(default),
            lie: None,
            canary: self.common.canary.clone(),
            keep: self.common.canary.is_none(),
        }
    }

    fn record(&mut self, options: &BlockLogOptions) {
        if !self.failures.is_empty() || !self.cannot.is_empty() || self.caught.is_some() {
            return;
        }
        let bar = progress_bar(options.file_system.name());
        let (figures, result) = blocklog::run(options, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
            !STOP.load(Ordering::Relaxed)
        });
        bar.finish_and_clear();
        self.add(&figures);
        match result {
            Ok(()) => {}
            Err(Stop::Cannot(why)) if options.file_system != FileSystem::Ext4 && self.common.file_system.is_none() => {
                eprintln!("{}: without {}: {why}", self.name, options.file_system.name());
                return;
            }
            Err(Stop::Cannot(why)) => self.cannot.push(format!("{} cannot run here: {why}", self.name)),
            Err(Stop::Failed(why)) if options.canary.is_some() && !STOP.load(Ordering::Relaxed) => {
                self.caught = Some(why);
            }
            Err(Stop::Failed(why)) => self.failures.push(why),
        }
        self.recordings += 1;
        if !self.file_systems.contains(&options.file_system) {
            self.file_systems.push(options.file_system);
        }
    }

    fn add(&mut self, figures: &BlockLogFigures) {
        let sum = &mut self.figures;
        sum.entries += figures.entries;
        sum.flushes += figures.flushes;
        sum.boundaries += figures.boundaries;
        sum.torn += figures.torn;
        sum.acknowledged += figures.acknowledged;
        sum.looked_for += figures.looked_for;
        sum.read += figures.read;
        sum.copied += figures.copied;
        sum.told += figures.told;
        sum.passed += figures.passed;
    }

    fn ending(mut self) -> Ending {
        if !self.cannot.is_empty() {
            return Ending::cannot(format!("{}: did not run", self.name), self.cannot);
        }
        let caught = match (&self.common.canary, &self.caught) {
            (Some(canary), Some(how)) => {
                println!("{how}");
                format!(", {canary} caught")
            }
            (Some(canary), None) => {
                self.failures.push(format!("{canary} was not caught"));
                format!(", {canary} not caught")
            }
            _ => String::new(),
        };
        let figures = &self.figures;
        let errors = match figures.told + figures.passed {
            0 => String::new(),
            all => format!("{all} errors of the device ({} reached the engine), ", figures.told),
        };
        let names: Vec<_> = self.file_systems.iter().map(|one| one.name()).collect();
        let line = format!(
            "{}: {} on {}, seed {}, {} writes and flushes ({} flushes), {errors}{} acknowledged, {} cuts at flushes, {} torn, \
             {} with copies, {} acknowledgements looked for, {} records read, in {:.1} s{caught}, {} failures",
            self.name,
            counted(self.recordings, "recording"),
            names.join(" and "),
            self.common.seed,
            figures.entries,
            figures.flushes,
            figures.acknowledged,
            figures.boundaries,
            figures.torn,
            figures.copied,
            figures.looked_for,
            figures.read,
            self.begun.elapsed().as_secs_f64(),
            self.failures.len(),
        );
        Ending::new(line, self.failures)
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Drawn on a terminal only.
fn progress_bar(name: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(name);
    let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} cuts, {per_sec}, {eta} left");
    bar.set_style(style.expect("the template is sound"));
    bar
}

/// Somebody wants this to end.
static STOP: AtomicBool = AtomicBool::new(false);

/// A signal ends the work in order: everything is unmounted, and the folder removed.
fn stop_when_asked() {
    extern "C" fn stop(_: libc::c_int) {
        STOP.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only sets a flag.
        unsafe { libc::signal(signal, stop as *const () as libc::sighandler_t) };
    }
}
