//! The parent: starts children and ends them, samples, and has judged what is said.

use super::judge::Judge;
use super::message::{Figures, Message, Said};
use super::order::{Order, WatchOrder, readers};
use super::plan::{Kind, Plan};
use super::sample::{Disk, Line, Lines, Sample, disk_of, rss_of};
use super::{Lie, Summary};
use crate::sim::random::Random;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What to do.
#[derive(Clone, Debug)]
pub struct SoakOptions {
    /// The program that has the hidden sub-commands.
    pub program: PathBuf,
    /// How long.
    pub seconds: u64,
    /// The moments and the work follow from it; what the machine makes of them does not.
    pub seed: u64,
    /// The engine's directory; must not have an engine yet.
    pub directory: PathBuf,
    /// Where the samples go (`.jsonl`).
    pub samples: PathBuf,
    /// The bound on the disk.
    pub disk_bytes_max: u64,
    /// How much is sent in a second.
    pub bytes_per_second: u64,
    /// Without topics of these kinds.
    pub leave_out: Vec<Kind>,
    /// A fault on purpose, which must be found.
    pub lie: Option<Lie>,
}

/// With how many lanes it is opened, and how often with another number than before.
const LANES_MAX: u64 = 4;
const LANES_CHANGE_ONE_IN: u64 = 3;
/// A child lives so long, in a run that is long enough, ms.
const LIFE_MS_MIN: u64 = 10_000;
const LIFE_MS_MAX: u64 = 40_000;
/// A child that is to die early lives at most this long.
const EARLY_MS_MAX: u64 = 300;
/// Once in so many lives it ends by closing, or dies early.
const CLOSE_ONE_IN: u64 = 5;
const EARLY_ONE_IN: u64 = 8;
/// A process that says nothing for so long hangs. The last child reads everything before it says so.
const HANGING: Duration = Duration::from_secs(180);
const SAMPLE: Duration = Duration::from_secs(1);
/// The files are looked at again so often before it is said that they are too many: while one look is taken a file may
/// go and another come.
const LOOKS_MAX: u32 = 4;
/// An opening makes the first segments of its lanes, and with another number of lanes their reserves, also where the
/// bound is reached: each that finds it that near may bring the files so much beyond.
const OPENING_BYTES_MAX: u64 = LANES_MAX * (6 << 20);
/// Lines of processes that wait to be judged.
const LINES_MAX: usize = 4_096;

/// Runs it. Returns what it came to; `progress` is told now and then how far it is.
///
/// # Errors
/// It cannot be run at all, or its samples not written.
pub fn run(options: &SoakOptions, progress: &mut dyn FnMut(&Sample)) -> Result<Summary, String> {
    if options.directory.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{} is not empty; the soak begins with a new engine", options.directory.display()));
    }
    let plan = Plan::new(options.disk_bytes_max, options.bytes_per_second, options.seconds, &options.leave_out);
    let mut judge = Judge::new(&plan);
    match options.lie {
        Some(Lie::KeptTime) => judge.believe(|topic| topic.kept_ms = topic.kept_ms.map(|ms| ms * 10)),
        Some(Lie::KeptBytes) => judge.believe(|topic| topic.kept_bytes = topic.kept_bytes.map(|bytes| bytes * 10)),
        _ => {}
    }
    if options.lie.is_some() {
        judge.stop_at_the_first();
    }
    let mut lines = Lines::create(&options.samples)?;
    lines.push(Line::Begin {
        seconds: options.seconds,
        seed: options.seed,
        disk_bytes_max: options.disk_bytes_max,
        bytes_per_second: options.bytes_per_second,
        window_ms: plan.window_ms,
        left_out: options.leave_out.clone(),
    })?;
    let (sender, events) = sync_channel(LINES_MAX);
    let mut soak = Soak {
        options,
        plan,
        judge,
        lines,
        random: Random::new(options.seed),
        began: Instant::now(),
        next_sample: Instant::now() + SAMPLE,
        sender,
        events,
        lanes: 1,
        watcher: None,
        next_watch: Instant::now(),
        readers: readers::OUTSIDE_FIRST,
        held: VecDeque::new(),
        child: None,
        figures: Figures::default(),
        refused_before: 0,
        was_closed: false,
        openings_at_bound: 0,
        bound_broken: [false; 2],
        progress,
    };
    let result = soak.run();
    soak.finish(result)
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Child,
    Watcher,
}

/// A line, or the end of them.
type Event = (Who, Option<Vec<u8>>);

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// So long after its start.
    Early(Duration),
    /// So long after it began to work.
    Kill(Duration),
    Close(Duration),
    /// It ends by itself.
    No,
}

struct Soak<'a> {
    options: &'a SoakOptions,
    plan: Plan,
    judge: Judge,
    lines: Lines,
    random: Random,
    began: Instant,
    next_sample: Instant,
    sender: SyncSender<Event>,
    events: Receiver<Event>,
    lanes: u32,
    watcher: Option<Watcher>,
    next_watch: Instant,
    readers: u32,
    /// What was said outside and must wait until the child has said as much.
    held: VecDeque<Said>,
    child: Option<u32>,
    figures: Figures,
    refused_before: u64,
    was_closed: bool,
    /// Openings that found the disk full up to its bound, or nearly.
    openings_at_bound: u64,
    /// By the files, by the engine's own figure: it is said once.
    bound_broken: [bool; 2],
    progress: &'a mut dyn FnMut(&Sample),
}

/// A process that looks from outside.
struct Watcher {
    process: Child,
    /// It ends when this is dropped.
    input: Option<ChildStdin>,
    until: Instant,
    reader: u32,
}

/// What a life has come to so far.
#[derive(Default)]
struct Life {
    opened: bool,
    ready: Option<Instant>,
    closed: bool,
    /// The parent has done its part.
    ended: bool,
}

impl Soak<'_> {
    fn at_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn run(&mut self) -> Result<(), String> {
        let end = self.began + Duration::from_secs(self.options.seconds);
        while Instant::now() < end && !self.judge.is_hopeless() {
            if self.judge.was_ready() && self.random.one_in(LANES_CHANGE_ONE_IN) {
                self.lanes = self.random.between(1, LANES_MAX) as u32;
            }
            let death = self.death(end.saturating_duration_since(Instant::now()));
            self.life(death)?;
        }
        self.end_watcher(true)?;
        if !self.judge.is_hopeless() {
            self.life(Death::No)?;
        }
        Ok(())
    }

    /// How the next child ends: by the end of the run it closes.
    fn death(&mut self, left: Duration) -> Death {
        // A short run has some lives, too.
        let most = (self.options.seconds * 1000 / 4).clamp(1_000, LIFE_MS_MAX);
        let life = Duration::from_millis(self.random.between(most * LIFE_MS_MIN / LIFE_MS_MAX, most));
        let early = Duration::from_millis(self.random.below(EARLY_MS_MAX));
        match (self.random.below(EARLY_ONE_IN), self.random.one_in(CLOSE_ONE_IN)) {
            _ if left < life => Death::Close(left),
            (0, _) if self.judge.was_ready() => Death::Early(early),
            (_, true) => Death::Close(life),
            _ => Death::Kill(life),
        }
    }

    /// Lets one child live.
    fn life(&mut self, death: Death) -> Result<(), String> {
        let order = self.order(death == Death::No);
        let (mut process, mut input) = self.start("soak-child", &order, Who::Child)?;
        self.child = Some(process.id());
        let started = Instant::now();
        let mut heard = started;
        let mut life = Life::default();
        loop {
            let now = Instant::now();
            let due = match death {
                Death::Early(after) => Some(started + after),
                Death::Kill(after) | Death::Close(after) => life.ready.map(|ready| ready + after),
                Death::No => None,
            };
            if !life.ended && due.is_some_and(|due| now >= due) {
                life.ended = true;
                match death {
                    Death::Close(_) => drop(input.take()),
                    _ => drop(process.kill()),
                }
            }
            if !life.ended && self.judge.is_hopeless() {
                life.ended = true;
                let _ = process.kill();
            }
            if now > heard + HANGING {
                let _ = process.kill();
                let _ = process.wait();
                return Err(format!("the child says nothing for {HANGING:?}"));
            }
            self.watch(now)?;
            self.sample(now)?;
            let due = due.filter(|_| !life.ended).unwrap_or(self.next_sample).min(self.next_sample);
            match self.events.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok((Who::Child, Some(line))) => {
                    heard = Instant::now();
                    self.heard_child(&line, &mut life)?;
                }
                Ok((Who::Child, None)) => break,
                Ok((Who::Watcher, line)) => self.heard_watcher(line)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("a sender is kept here"),
            }
        }
        let status = process.wait().map_err(|error| error.to_string())?;
        self.child = None;
        // Everything that the child said is judged.
        self.release(u64::MAX);
        if self.watcher.is_none() {
            self.judge.forget_readers_outside();
        }
        self.refused_before += std::mem::take(&mut self.figures.refused);
        let at_s = self.at_s();
        self.was_closed = status.success() && life.closed;
        match (death, self.was_closed) {
            _ if self.judge.is_hopeless() => Ok(()),
            (Death::Close(_) | Death::No, true) => self.lines.push(Line::Close { at_s }),
            (Death::Early(_) | Death::Kill(_), false) if status.code().is_none() && life.ended => {
                self.lines.push(Line::Kill { at_s, early: !life.opened })
            }
            _ => Err(format!("the child ended with {status}, and it was to be {death:?}")),
        }
    }

    fn order(&mut self, settle: bool) -> Order {
        let (churn, churn_next) = self.judge.churn();
        Order {
            directory: self.directory(),
            plan: self.plan.clone(),
            lanes: self.lanes,
            seed: self.random.number(),
            sequences: self.judge.sequences(),
            positions: self.judge.positions(),
            churn,
            churn_next,
            settle: settle.then(|| self.judge.outstanding()),
            lie: self.options.lie,
        }
    }

    fn directory(&self) -> String {
        self.options.directory.display().to_string()
    }

    /// Starts a process, gives it its order, and listens to it.
    fn start(
        &self,
        name: &str,
        order: &impl serde::Serialize,
        who: Who,
    ) -> Result<(Child, Option<ChildStdin>), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.options.program.display());
        let mut process = Command::new(&self.options.program)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut line = serde_json::to_string(order).expect("orders are plain values");
        line.push('\n');
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            loop {
                let mut line = Vec::new();
                // A line without its end was cut by the kill: it was never said.
                let read = output.read_until(b'\n', &mut line);
                let is_whole = read.is_ok() && line.last() == Some(&b'\n');
                if sender.send((who, is_whole.then_some(line))).is_err() || !is_whole {
                    return;
                }
            }
        });
        let mut input = process.stdin.take().expect("it is piped");
        // One that died at once is noticed by its silence.
        let _ = input.write_all(line.as_bytes());
        Ok((process, Some(input)))
    }

    fn heard_child(&mut self, line: &[u8], life: &mut Life) -> Result<(), String> {
        let Said(at_ns, message) = parse(line)?;
        self.release(at_ns);
        match &message {
            Message::Opened { opened_in_us, .. } => {
                life.opened = true;
                let lanes_before = self.lines.all.iter().rev().find_map(|line| match line {
                    Line::Open { lanes, .. } => Some(*lanes),
                    _ => None,
                });
                let line = Line::Open {
                    at_s: self.at_s(),
                    open_ms: *opened_in_us as f64 / 1000.0,
                    lanes: self.lanes,
                    lanes_before: lanes_before.filter(|before| *before != self.lanes),
                    was_closed: self.was_closed,
                };
                self.lines.push(line)?;
                let is_near = disk_of(&self.directory()).segment_bytes + OPENING_BYTES_MAX > self.plan.disk_bytes_max;
                self.openings_at_bound += u64::from(is_near);
            }
            Message::Ready => life.ready = Some(Instant::now()),
            Message::Figures(figures) => self.figures = *figures,
            Message::Closed => life.closed = true,
            _ => {}
        }
        self.judge.hear(message);
        Ok(())
    }

    /// What was said outside is judged when the child has said everything that it said before.
    fn heard_watcher(&mut self, line: Option<Vec<u8>>) -> Result<(), String> {
        match line {
            Some(line) => {
                self.held.push_back(parse(&line)?);
                if self.child.is_none() {
                    self.release(u64::MAX);
                }
                Ok(())
            }
            None => {
                let Some(mut watcher) = self.watcher.take() else { return Ok(()) };
                let status = watcher.process.wait().map_err(|error| error.to_string())?;
                let between = self.random.between(self.part_ms(4), self.part_ms(2));
                self.next_watch = Instant::now() + Duration::from_millis(between);
                if watcher.input.is_some() || !status.success() {
                    let reader = watcher.reader;
                    self.judge.find(format!("the process outside (reader {reader}) ended with {status}"));
                }
                Ok(())
            }
        }
    }

    fn release(&mut self, at_ns: u64) {
        while let Some(Said(_, message)) = self.held.pop_front_if(|Said(said_ns, _)| *said_ns <= at_ns) {
            self.judge.hear(message);
        }
    }

    /// A part of a long life, or of a short run, ms.
    fn part_ms(&self, part: u64) -> u64 {
        (self.options.seconds * 1000 / 4).min(LIFE_MS_MAX) / part
    }

    /// Starts and ends processes that look from outside.
    fn watch(&mut self, now: Instant) -> Result<(), String> {
        if let Some(watcher) = &mut self.watcher {
            if now >= watcher.until {
                drop(watcher.input.take());
            }
            return Ok(());
        }
        if now < self.next_watch || !self.judge.was_ready() {
            return Ok(());
        }
        let reader = self.readers;
        self.readers += 1;
        let order =
            WatchOrder { directory: self.directory(), plan: self.plan.clone(), reader, seed: self.random.number() };
        let (process, input) = self.start("soak-watcher", &order, Who::Watcher)?;
        let time = Duration::from_millis(self.random.between(self.part_ms(8), self.part_ms(2)));
        self.watcher = Some(Watcher { process, input, until: now + time, reader });
        Ok(())
    }

    /// Ends the process outside, and waits for it.
    fn end_watcher(&mut self, is_regular: bool) -> Result<(), String> {
        while let Some(watcher) = &mut self.watcher {
            drop(watcher.input.take());
            if !is_regular {
                let _ = watcher.process.kill();
                let _ = watcher.process.wait();
                return Ok(());
            }
            match self.events.recv_timeout(HANGING) {
                Ok((Who::Watcher, line)) => self.heard_watcher(line)?,
                Ok((Who::Child, _)) => {}
                Err(_) => return Err(format!("the process outside does not end within {HANGING:?}")),
            }
        }
        Ok(())
    }

    fn sample(&mut self, now: Instant) -> Result<(), String> {
        if now < self.next_sample {
            return Ok(());
        }
        self.next_sample = now + SAMPLE;
        let disk = self.disk();
        let sample = Sample {
            at_s: self.at_s(),
            directory_bytes: disk.directory_bytes,
            segment_bytes: disk.segment_bytes,
            segments: disk.segments,
            engine_disk_bytes: self.figures.disk_bytes,
            rss_bytes: self.child.and_then(rss_of),
            records: self.judge.counts.acknowledged,
            bytes: self.judge.counts.bytes,
            backlog_records: self.figures.backlog,
            withheld_records: self.figures.withheld,
            refused: self.refused_before + self.figures.refused,
            remembered: self.judge.remembered() as u64,
        };
        (self.progress)(&sample);
        self.lines.push(Line::Sample(sample))
    }

    /// The files now; the bound is looked at.
    fn disk(&mut self) -> Disk {
        let directory = self.directory();
        let lie = if self.options.lie == Some(Lie::DiskBound) { 4 } else { 1 };
        // A lie is not to be hidden behind it.
        let beyond = if lie == 1 { self.openings_at_bound * OPENING_BYTES_MAX } else { 0 };
        let bytes_max = self.judge.disk_bytes_max() / lie + beyond;
        let mut disk = disk_of(&directory);
        for _ in 1..LOOKS_MAX {
            if disk.segment_bytes <= bytes_max {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            disk = disk_of(&directory);
        }
        for (at, (bytes, who)) in
            [(disk.segment_bytes, "files take"), (self.figures.disk_bytes, "engine says")].into_iter().enumerate()
        {
            if bytes > bytes_max && !std::mem::replace(&mut self.bound_broken[at], true) {
                let at_s = self.at_s();
                self.judge
                    .find(format!("disk bound: after {at_s:.1} s the {who} {bytes} bytes, {bytes_max} are allowed"));
            }
        }
        disk
    }

    /// The last look, and the summary.
    fn finish(mut self, result: Result<(), String>) -> Result<Summary, String> {
        self.next_sample = Instant::now();
        self.sample(self.next_sample)?;
        let seconds = self.at_s();
        let was_whole = result.is_ok();
        if let Err(error) = result {
            self.judge.find(error);
        }
        self.end_watcher(false)?;
        if was_whole && !self.judge.is_hopeless() {
            match ringlane::verify(&self.options.directory, &mut |_| {}) {
                Ok(report) if !report.is_damaged() => {}
                Ok(report) => self.judge.find(format!("verify: {:?}", report.findings)),
                Err(error) => self.judge.find(format!("verify: {error}")),
            }
        }
        let counts = self.judge.counts;
        let mut summary = Summary {
            records: counts.acknowledged,
            bytes: counts.bytes,
            times_the_bound: counts.bytes as f64 / self.options.disk_bytes_max as f64,
            records_read: counts.read,
            records_read_outside: counts.read_outside,
            records_given_up: counts.given_up,
            truncations: counts.truncations,
            delayed: counts.delayed,
            cancelled: counts.cancelled,
            topics: counts.topics,
            failures: self.judge.findings().to_vec(),
            ..Summary::of_lines(&self.lines.all, seconds, self.options.disk_bytes_max)
        };
        summary.judge();
        self.lines.push(Line::Summary(Box::new(summary.clone())))?;
        Ok(summary)
    }
}

fn parse(line: &[u8]) -> Result<Said, String> {
    serde_json::from_slice(line).map_err(|error| format!("a process said {:?}: {error}", String::from_utf8_lossy(line)))
}
