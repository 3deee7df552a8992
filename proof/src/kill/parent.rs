//! The parent: starts children, kills them, keeps the history and has it judged.

use super::message::{Lie, Message, Order, Random, monotonic_ns};
use super::rows::Rows;
use crate::checker::check;
use crate::history::{Answer, Call, CrashKind, Durability, Event, Happening, History, Outcome, Settling};
use ringlane::verify;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Everything is read after each kill: a fresh log keeps that quick.
const ROUNDS_OF_A_LOG_MAX: u64 = 15;
/// A child lives at most this long once it works.
const WORKING_US_MAX: u64 = 120_000;
/// A child that is to die early lives at most this long in all.
const OPENING_US_MAX: u64 = 30_000;
/// A child that gets nowhere for so long hangs, which is a failure. It tells a hang from a slow machine.
const HANGING: Duration = Duration::from_secs(120);
/// `verify` runs after every so many kills.
const ROUNDS_OF_A_VERIFY: u64 = 4;

/// What to do.
#[derive(Clone, Debug)]
pub struct KillOptions {
    /// The program that has the hidden sub-command `kill-child`.
    pub program: PathBuf,
    /// Kills, of all backends together.
    pub rounds: u64,
    /// The moments and the work follow from it; what the machine makes of them does not.
    pub seed: u64,
    /// Backends, in turn.
    pub backends: Vec<String>,
    /// Where logs are made.
    pub scratch: PathBuf,
    /// Children say what is not so. Must fail.
    pub lie: Option<Lie>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillFigures {
    /// Kills.
    pub kills: u64,
    /// Of these while opening or reading what was there.
    pub early_kills: u64,
    /// Logs.
    pub logs: u64,
    /// Calls.
    pub calls: u64,
    /// Acknowledged records.
    pub acknowledged: u64,
    /// Of these delayed.
    pub delayed: u64,
    /// Sent once more, under the same number.
    pub repeated: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Records that readers saw before the kill.
    pub polled: u64,
    /// Records that were read after a kill.
    pub listed: u64,
    /// Topics made.
    pub topics: u64,
    /// Records handed to members of groups.
    pub handed_out: u64,
    /// Of these not for the first time.
    pub handed_out_again: u64,
    /// Acknowledged by members.
    pub finished: u64,
    /// Flushes that confirmed what members had acknowledged.
    pub flushes: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Groups that had nothing left to do in the end.
    pub drained: u64,
    /// Clean runs of `verify`.
    pub verified: u64,
}

/// With how many lanes a log is opened, and how often with another number than the time before.
const LANES_MAX: u64 = 3;
const LANES_CHANGE_ONE_IN: u64 = 3;

/// Kills so many children. Stops at the first thing that is wrong.
pub fn run(options: &KillOptions, progress: &mut dyn FnMut(&KillFigures)) -> (KillFigures, Vec<String>) {
    let mut figures = KillFigures::default();
    let mut random = Random(options.seed);
    // Each backend gets its turn.
    let rounds_max = options.rounds.div_ceil(options.backends.len() as u64).clamp(1, ROUNDS_OF_A_LOG_MAX);
    while figures.kills < options.rounds {
        let backend = &options.backends[(figures.logs as usize) % options.backends.len()];
        let rounds = rounds_max.min(options.rounds - figures.kills);
        let lanes = 1 + random.below(LANES_MAX) as u32;
        figures.logs += 1;
        match Log::new(options, backend, lanes) {
            Ok(mut log) => {
                let result = log.rounds(rounds, &mut random, &mut figures, progress);
                log.count(&mut figures);
                if let Err(wrong) = result {
                    return (figures, vec![log.keep(&wrong)]);
                }
            }
            Err(error) => return (figures, vec![error]),
        }
    }
    (figures, Vec::new())
}

/// One log and its history.
struct Log<'a> {
    options: &'a KillOptions,
    directory: Option<tempfile::TempDir>,
    order: Order,
    history: History,
    troubles: Vec<String>,
    rows: Rows,
}

/// When a child is to die.
enum Death {
    /// So long after its start.
    AfterStart(Duration),
    /// So long after it began to work.
    AfterReady(Duration),
    /// It ends on its own.
    No,
}

impl<'a> Log<'a> {
    fn new(options: &'a KillOptions, backend: &str, lanes: u32) -> Result<Log<'a>, String> {
        let directory = tempfile::Builder::new()
            .prefix("kill-")
            .tempdir_in(&options.scratch)
            .map_err(|error| format!("{}: {error}", options.scratch.display()))?;
        let order = Order {
            directory: directory.path().join("log").display().to_string(),
            backend: backend.to_owned(),
            lanes,
            seed: 0,
            first_operation: 0,
            first_value: 0,
            first_process: 0,
            first_topic: 0,
            began_ns: monotonic_ns(),
            topics: Vec::new(),
            outbox: Vec::new(),
            settle: false,
            lie: options.lie,
        };
        let (history, troubles, rows) = (History::new(), Vec::new(), Rows::default());
        Ok(Log { options, directory: Some(directory), order, history, troubles, rows })
    }

    fn rounds(
        &mut self,
        rounds: u64,
        random: &mut Random,
        figures: &mut KillFigures,
        progress: &mut dyn FnMut(&KillFigures),
    ) -> Result<(), String> {
        // Before a child has got to work there may be no engine yet to be verified.
        let mut was_ready = false;
        for round in 0..rounds {
            let death = match random.below(5) {
                0 => Death::AfterStart(Duration::from_micros(random.below(OPENING_US_MAX))),
                _ => Death::AfterReady(Duration::from_micros(random.below(WORKING_US_MAX))),
            };
            self.order.seed = random.next();
            if random.below(LANES_CHANGE_ONE_IN) == 0 {
                self.order.lanes = 1 + random.below(LANES_MAX) as u32;
            }
            let ready = self.child(&death)?;
            figures.kills += 1;
            figures.early_kills += u64::from(!ready);
            was_ready |= ready;
            self.judge()?;
            if round % ROUNDS_OF_A_VERIFY == 0 && was_ready {
                figures.verified += u64::from(self.verify()?);
            }
            progress(figures);
        }
        self.order.settle = true;
        self.child(&Death::No)?;
        self.judge()?;
        figures.verified += u64::from(self.verify()?);
        Ok(())
    }

    /// Lets one child live. Says whether it got to work.
    fn child(&mut self, death: &Death) -> Result<bool, String> {
        self.order.outbox = self.rows.for_the_next();
        let order = serde_json::to_string(&self.order).expect("orders are plain values");
        let mut process = Command::new(&self.options.program)
            .args(["kill-child", &order])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.options.program.display()))?;
        let mut killer = Killer::new(&process, if let Death::AfterStart(wait) = death { *wait } else { HANGING });
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut ready = false;
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line without its end was cut by the kill: it was never said.
            if output.read_until(b'\n', &mut line).map_err(|error| error.to_string())? == 0
                || line.last() != Some(&b'\n')
            {
                break;
            }
            let message = serde_json::from_slice(&line)
                .map_err(|error| format!("the child said {:?}: {error}", String::from_utf8_lossy(&line)))?;
            if matches!(message, Message::Ready) {
                ready = true;
                if let Death::AfterReady(wait) = death {
                    killer.stop();
                    killer = Killer::new(&process, *wait);
                }
            }
            self.heard(message);
        }
        let killed = killer.stop();
        let status = process.wait().map_err(|error| error.to_string())?;
        match death {
            Death::No | Death::AfterReady(_) if killed && !(ready && matches!(death, Death::AfterReady(_))) => {
                Err(format!("the child got nowhere for {HANGING:?}: {:?}", self.troubles))
            }
            Death::No if !status.success() => Err(format!("the last child ended with {status}: {:?}", self.troubles)),
            Death::No => Ok(ready),
            _ if status.code().is_some() => {
                Err(format!("the child ended before it was killed, with {status}: {:?}", self.troubles))
            }
            _ => {
                self.happen(Happening::Crash { kind: CrashKind::Kill, keeps: Durability::Synced });
                Ok(ready)
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        self.history.happen(monotonic_ns().saturating_sub(self.order.began_ns), happening);
    }

    /// What the next child must not number again.
    fn heard(&mut self, message: Message) {
        match message {
            Message::Event(event) => {
                if let Event::Invoke { operation, process, call, .. } = &event {
                    let order = &mut self.order;
                    order.first_operation = order.first_operation.max(operation + 1);
                    order.first_process = order.first_process.max(process + 1);
                    if let Call::Send { value, .. } = call {
                        order.first_value = order.first_value.max(value + 1);
                    }
                }
                self.rows.note(&event);
                self.history.push(event);
            }
            Message::Topic(name, number) => {
                self.order.first_topic = self.order.first_topic.max(number + 1);
                self.order.topics.push((name, number));
            }
            Message::Ready => {}
            Message::Trouble(text) => self.troubles.push(text),
        }
    }

    fn judge(&mut self) -> Result<(), String> {
        if !self.troubles.is_empty() {
            return Err(self.troubles.join("; "));
        }
        let report = check(&self.history);
        if report.findings.is_empty() {
            return Ok(());
        }
        let shown: Vec<_> = report.findings.iter().take(10).map(ToString::to_string).collect();
        Err(format!("{} anomalies:\n  {}", report.findings.len(), shown.join("\n  ")))
    }

    fn verify(&self) -> Result<bool, String> {
        let report = verify(&self.order.directory, &mut |_| {}).map_err(|error| format!("verify: {error}"))?;
        if report.is_damaged() { Err(format!("verify: {report:?}")) } else { Ok(true) }
    }

    fn count(&self, figures: &mut KillFigures) {
        let mut delayed = std::collections::HashSet::new();
        let mut cancels = std::collections::HashSet::new();
        let (mut acks, mut flushes) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        let (mut letters, mut drained) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        for event in self.history.events() {
            match event {
                Event::Invoke { operation, call, .. } => {
                    figures.calls += 1;
                    match call {
                        Call::Send { visible_at_ms: Some(_), .. } => drop(delayed.insert(*operation)),
                        Call::Cancel { .. } => drop(cancels.insert(*operation)),
                        Call::CreateTopic { .. } => figures.topics += 1,
                        Call::Repeat { .. } => figures.repeated += 1,
                        Call::Settle { settling: Settling::AcknowledgeLater, .. } => drop(acks.insert(*operation)),
                        Call::Confirm { .. } => drop(flushes.insert(*operation)),
                        _ => {}
                    }
                }
                Event::Complete { operation, outcome: Outcome::Ok(answer), .. } => match answer {
                    Answer::Receipt { .. } => {
                        figures.acknowledged += 1;
                        figures.delayed += u64::from(delayed.contains(operation));
                    }
                    Answer::Polled { reads, .. } => {
                        figures.polled += reads.iter().map(|read| read.records.len() as u64).sum::<u64>();
                    }
                    Answer::Taken { deliveries, .. } => {
                        figures.handed_out += deliveries.len() as u64;
                        let again = deliveries.iter().filter(|delivery| delivery.delivery_count > 1);
                        figures.handed_out_again += again.count() as u64;
                    }
                    _ => {
                        figures.cancelled += u64::from(cancels.contains(operation));
                        figures.finished += u64::from(acks.contains(operation));
                        figures.flushes += u64::from(flushes.contains(operation));
                    }
                },
                Event::World { happening: Happening::Contents { records, .. }, .. } => {
                    figures.listed += records.len() as u64;
                }
                Event::World { happening: Happening::DeadLetter(letter), .. } => {
                    letters.insert((letter.group, letter.stands_at));
                }
                Event::World { happening: Happening::Drained { group, .. }, .. } => drop(drained.insert(*group)),
                _ => {}
            }
        }
        figures.dead_letters += letters.len() as u64;
        figures.drained += drained.len() as u64;
    }

    /// Keeps the directory and the history, and says where.
    fn keep(&mut self, wrong: &str) -> String {
        let Some(directory) = self.directory.take() else { return wrong.to_owned() };
        let kept = directory.keep();
        let file = kept.join("history.jsonl");
        let written =
            std::fs::File::create(&file).and_then(|output| self.history.write(std::io::BufWriter::new(output)));
        let Order { backend, lanes, .. } = &self.order;
        let (seed, count) = (self.options.seed, self.history.events().len());
        let context = format!("{backend}, {lanes} lanes, seed {seed}: {wrong}");
        match written {
            Ok(()) => format!(
                "{context}\nkept in {}; judge again with: ringlane-proof check {} ({count} events)",
                kept.display(),
                file.display()
            ),
            Err(error) => format!("{context}\nkept in {}; its history cannot be written: {error}", kept.display()),
        }
    }
}

/// Kills a process after a while, unless it is stopped before.
struct Killer {
    stop: Sender<()>,
    thread: JoinHandle<bool>,
}

impl Killer {
    fn new(process: &Child, wait: Duration) -> Killer {
        let id = process.id() as libc::pid_t;
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let is_time = stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
            if is_time {
                // SAFETY: a signal to a child that is not waited for before this thread ends: the number is
                // its own.
                unsafe { libc::kill(id, libc::SIGKILL) };
            }
            is_time
        });
        Killer { stop, thread }
    }

    /// Says whether it killed.
    fn stop(self) -> bool {
        drop(self.stop);
        self.thread.join().expect("it only waits and kills")
    }
}
