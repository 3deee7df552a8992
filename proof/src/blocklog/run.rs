//! A recording from its beginning to its last cut.

use super::child::{FILE_SYSTEM_GAVE_UP, Order, TOLD, Work};
use super::cuts::{self, Cut, Survival};
use super::daemon::Daemon;
pub use super::daemon::Fault;
use super::image::Image;
use super::journal::{Journal, Recorded};
use super::judge::{judge, run_child};
use super::machine::{self, FileSystem, Mount};
use super::recording::Recording;
use crate::history::{Call, CrashKind, Event, History};
use crate::kill::{Message, Random};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The device.
const DEVICE_BYTES: u64 = 128 << 20;
/// The device fails at most so long after there is something to fail.
const FAILING_US_MAX: u64 = 60_000;

/// Each child has so many lanes at most.
const LANES_MAX: u64 = 3;

/// What must be found, to show that it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Records are said to be acknowledged when they were only handed over.
    Receipts,
    /// The device does not carry out three of four flushes.
    Flushes,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct BlockLogOptions {
    /// The program that has the hidden sub-command `block-log-child`.
    pub program: PathBuf,
    /// The file system.
    pub file_system: FileSystem,
    /// At most so many cuts, evenly chosen. `None`: all.
    pub cuts_max: Option<usize>,
    /// Work and cuts follow from it; what the machine makes of the work does not.
    pub seed: u64,
    /// Children that work one after another.
    pub children: u32,
    /// Operations of each thread of a child.
    pub operations: u64,
    /// The device fails once, under the child before the last.
    pub fault: Option<Fault>,
    /// Where a folder is made that memory is mounted on.
    pub scratch: PathBuf,
    /// A lie.
    pub lie: Option<Lie>,
    /// A fault for the engine.
    pub canary: Option<String>,
    /// Keep what failed.
    pub keep: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockLogFigures {
    /// Entries of the recording.
    pub entries: u64,
    /// Flushes among them.
    pub flushes: u64,
    /// Cuts at flush boundaries.
    pub boundaries: u64,
    /// Torn and reordered cuts.
    pub torn: u64,
    /// Records acknowledged in the whole recording.
    pub acknowledged: u64,
    /// Acknowledgements that were looked for in all cuts together.
    pub looked_for: u64,
    /// Records that were read from cuts.
    pub read: u64,
    /// Cuts in which there were copies by the cleaner.
    pub copied: u64,
    /// Errors of the device that the engine told of.
    pub told: u64,
    /// Errors of the device that something else took.
    pub passed: u64,
}

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// This machine cannot.
    Cannot(String),
    /// It is wrong.
    Failed(String),
}

impl From<String> for Stop {
    fn from(wrong: String) -> Stop {
        Stop::Failed(wrong)
    }
}

/// Records, cuts, judges. Stops at the first thing that is wrong. `progress` gets cuts done and cuts in all, and says
/// whether to go on.
pub fn run(
    options: &BlockLogOptions,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> (BlockLogFigures, Result<(), Stop>) {
    let mut figures = BlockLogFigures::default();
    if let Some(missing) = machine::missing().or_else(|| options.file_system.missing()) {
        return (figures, Err(Stop::Cannot(missing)));
    }
    let result = run_here(options, &mut figures, progress);
    (figures, result)
}

fn run_here(
    options: &BlockLogOptions,
    figures: &mut BlockLogFigures,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(), Stop> {
    machine::leave_the_namespace().map_err(Stop::Cannot)?;
    let scratch = tempfile::Builder::new().prefix("block-log-").tempdir_in(&options.scratch);
    let scratch = scratch.map_err(|error| format!("{}: {error}", options.scratch.display()))?;
    let memory = Mount::memory(scratch.path()).map_err(Stop::Cannot)?;
    let place = Place::new(scratch.path())?;
    let formatted = place.format(options)?;
    place.record(options, figures)?;
    let recording = Recording::open(&place.recording)?;
    let recorded = Recorded::of(&recording)?;
    figures.entries = recording.entries.len() as u64;
    figures.flushes = recording.entries.iter().filter(|entry| entry.is_flush()).count() as u64;
    let mut cutting = Cutting { options, place: &place, recording, recorded, base: formatted };
    cutting.all(figures, progress)?;
    drop(cutting);
    memory.unmount()?;
    Ok(())
}

/// Paths in the memory that is mounted for this.
struct Place {
    image: PathBuf,
    recording: PathBuf,
    export: PathBuf,
    mounted: PathBuf,
}

impl Place {
    fn new(directory: &Path) -> Result<Place, String> {
        let place = Place {
            image: directory.join("image"),
            recording: directory.join("recording"),
            export: directory.join("export"),
            mounted: directory.join("mounted"),
        };
        let make = || {
            std::fs::create_dir(&place.mounted)?;
            std::fs::write(&place.export, [])?;
            std::fs::File::create(&place.recording)?.set_len(2 << 30)
        };
        make().map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(place)
    }

    /// Makes the file system and the file for the history. What is there then is on the device for certain.
    fn format(&self, options: &BlockLogOptions) -> Result<Image, Stop> {
        options.file_system.make(&self.image, DEVICE_BYTES)?;
        // If nothing can be mounted at all, it is the machine that cannot.
        let mount = Mount::image(options.file_system, &self.image, &self.mounted).map_err(Stop::Cannot)?;
        Journal::make(&self.journal()).map_err(|error| format!("the history's file: {error}"))?;
        mount.unmount()?;
        Ok(Image::of_file(&self.image).map_err(|error| error.to_string())?)
    }

    fn journal(&self) -> PathBuf {
        self.mounted.join("history")
    }

    /// Lets the children work on the recorded device.
    fn record(&self, options: &BlockLogOptions, figures: &mut BlockLogFigures) -> Result<(), Stop> {
        // Without FUSE the daemon cannot export anything.
        let mut daemon = Daemon::start(&self.image, &self.recording, &self.export).map_err(Stop::Cannot)?;
        let mut mount = Mount::image(options.file_system, &self.export, &self.mounted)?;
        let mut random = Random(options.seed);
        let mut work = Work {
            directory: self.mounted.join("log"),
            journal: self.journal(),
            number: 0,
            seed: 0,
            operations: options.operations,
            topics: Vec::new(),
            lanes: 1,
            crashed: None,
            closes: true,
            awaits_error: false,
            lies: options.lie == Some(Lie::Receipts),
            canary: options.canary.clone(),
        };
        for number in 0..options.children {
            work.number = number;
            work.seed = random.next();
            work.lanes = 1 + (work.seed % LANES_MAX) as u32;
            let fault = options.fault.filter(|_| number + 2 == options.children);
            work.awaits_error = fault.is_some();
            work.closes = number % 2 == 0 || number + 1 == options.children;
            let wait = Duration::from_micros(random.below(FAILING_US_MAX));
            let ending = self.child(options, &work, &mut daemon, fault.map(|fault| (fault, wait)))?;
            work.crashed = match ending {
                TOLD | FILE_SYSTEM_GAVE_UP => Some(CrashKind::Poisoned),
                _ => (!work.closes).then_some(CrashKind::Kill),
            };
            if fault.is_some() {
                let counter = if ending == TOLD { &mut figures.told } else { &mut figures.passed };
                *counter += 1;
            }
            if ending == FILE_SYSTEM_GAVE_UP || (fault.is_some() && self.has_given_up()) {
                mount.unmount()?;
                mount = Mount::image(options.file_system, &self.export, &self.mounted)?;
            }
            let oldest_goes = work.topics.len() >= 2;
            if oldest_goes && fault.is_none() {
                work.topics.remove(0);
            }
            work.topics.push(number);
        }
        mount.unmount()?;
        daemon.stop()?;
        Ok(())
    }

    /// The device's error hit the file system's own records, and it takes nothing more until it is mounted again. The
    /// engine may have ended before that; then the next child could not even open its lock file.
    fn has_given_up(&self) -> bool {
        let probe = self.mounted.join("probe");
        let written = std::fs::File::create(&probe).and_then(|file| file.sync_all());
        written.and_then(|()| std::fs::remove_file(&probe)).is_err()
    }

    /// One child. While it works the device may fail.
    fn child(
        &self,
        options: &BlockLogOptions,
        work: &Work,
        daemon: &mut Daemon,
        fault: Option<(Fault, Duration)>,
    ) -> Result<i32, String> {
        let mut fault = fault;
        let mut armed = Ok(());
        let status = run_child(&options.program, &Order::Work(work.clone()), &mut |message| {
            if let (Message::Ready, Some((fault, wait))) = (message, fault.take()) {
                std::thread::sleep(wait);
                armed = daemon.fail_once(fault);
            }
        })?;
        armed?;
        match status.code() {
            Some(0) => Ok(0),
            Some(code @ (TOLD | FILE_SYSTEM_GAVE_UP)) if work.awaits_error => Ok(code),
            _ => Err(format!("child {} ended with {status}", work.number)),
        }
    }
}

/// Cuts of one recording, in its order.
struct Cutting<'a> {
    options: &'a BlockLogOptions,
    place: &'a Place,
    recording: Recording,
    recorded: Recorded,
    /// What the device had for certain at the cut that is judged.
    base: Image,
}

impl Cutting<'_> {
    fn all(&mut self, figures: &mut BlockLogFigures, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<(), Stop> {
        let mut random = Random(self.options.seed ^ 0x5bd1_e995);
        let whole = self.recorded.history_before(self.recording.entries.len())?;
        figures.acknowledged = super::judge::acknowledged_in(&whole);
        let lying_device = self.options.lie == Some(Lie::Flushes);
        if lying_device {
            self.recording.forget_flushes(&mut random);
        }
        let mut cuts = cuts::choose(&self.recording, self.options.cuts_max, &mut random);
        if lying_device {
            // Torn, the file system's own journal would be what breaks.
            cuts.retain(|cut| cut.survival == Survival::Nothing);
        }
        let mut applied = 0;
        for (done, cut) in cuts.iter().enumerate() {
            if !progress(done as u64, cuts.len() as u64) {
                return Err(Stop::Failed("stopped by a signal".to_owned()));
            }
            for entry in &self.recording.entries[applied..cut.flushed] {
                let data = self.recording.data(entry).map_err(|error| error.to_string())?;
                self.base.write(entry.sector, &data);
            }
            applied = cut.flushed;
            self.one(cut, figures)?;
        }
        Ok(())
    }

    fn one(&self, cut: &Cut, figures: &mut BlockLogFigures) -> Result<(), Stop> {
        let image = &self.place.image;
        let make = |path: &Path| {
            let above = cut.image_above(&self.recording, &self.base)?;
            let _ = std::fs::remove_file(path);
            self.base.write_file(&above, path)
        };
        make(image).map_err(|error| format!("the image of {cut:?}: {error}"))?;
        let known = self.recorded.history_before(cut.loose.end)?;
        let mut history = known.clone();
        let BlockLogOptions { program, file_system, .. } = self.options;
        match judge(program, *file_system, image, &self.place.mounted, &mut history) {
            Ok(seen) => {
                figures.looked_for += seen.acknowledged;
                figures.read += seen.records;
                figures.copied += u64::from(seen.copies > 0);
                let counter =
                    if cut.survival == Survival::Nothing { &mut figures.boundaries } else { &mut figures.torn };
                *counter += 1;
                Ok(())
            }
            Err(wrong) => {
                let kept = if self.options.keep { self.keep(make, &history) } else { String::new() };
                let last = known.events().iter().rev().find_map(|event| match event {
                    Event::Invoke { call: call @ Call::Send { .. }, .. } => Some(format!(", behind {call:?}")),
                    _ => None,
                });
                let Cut { flushed, loose, survival } = cut;
                Err(Stop::Failed(format!(
                    "{}, seed {}: flushed up to entry {flushed}, then {loose:?} with {survival:?}{}: {wrong}{kept}",
                    file_system.name(),
                    self.options.seed,
                    last.unwrap_or_default(),
                )))
            }
        }
    }

    /// Keeps the image as the cut left it, and the history, and says where.
    fn keep(&self, make: impl Fn(&Path) -> std::io::Result<()>, history: &History) -> String {
        let keep = || {
            let kept = tempfile::Builder::new().prefix("block-log-failed-").tempdir()?.keep();
            make(&kept.join("image"))?;
            history.write(std::io::BufWriter::new(std::fs::File::create(kept.join("history.jsonl"))?))?;
            Ok::<_, std::io::Error>(kept)
        };
        match keep() {
            Ok(kept) => format!(
                "\nkept in {}: image (mount it with -o loop) and history; judge again with: ringlane-proof check {}",
                kept.display(),
                kept.join("history.jsonl").display()
            ),
            Err(error) => format!("\nwhat failed cannot be kept: {error}"),
        }
    }
}
