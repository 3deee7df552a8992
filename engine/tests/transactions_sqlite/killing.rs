//! Processes that work until they are killed, and who kills them.

use super::common::child::{TestChild, say, start};
use super::common::watchdog::watchdog;
use super::common::{directory, small};
use ringlane::{Engine, verify};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// At no step: the process goes on until it is killed.
const NOWHERE: &str = "nowhere";

/// What the parent tells a process: where it works, and where it stops and waits for its end.
pub(super) struct Life {
    /// Which one it is, of this directory.
    pub(super) number: u32,
    pub(super) lanes: u32,
    /// What it does wrong; empty: nothing.
    pub(super) breaks: String,
    pub(super) path: PathBuf,
    step: String,
    /// How often it comes to the step before it stops there.
    passes: AtomicU32,
    /// It is one of a process of its own, and not of the parent, which does some of the work itself.
    pub(super) is_child: bool,
}

impl Life {
    /// One that nobody kills.
    pub(super) fn of_the_parent(path: &Path, lanes: u32) -> Life {
        let life = Life::parse(&format!("0 {lanes} {NOWHERE} 0 - {}", path.display()));
        Life { is_child: false, ..life }
    }

    pub(super) fn parse(argument: &str) -> Life {
        let mut words = argument.splitn(6, ' ');
        let mut next = || words.next().unwrap().to_owned();
        let (number, lanes) = (next().parse().unwrap(), next().parse().unwrap());
        let (step, passes) = (next(), AtomicU32::new(next().parse().unwrap()));
        let breaks = next().trim_start_matches('-').to_owned();
        Life { number, lanes, step, passes, breaks, path: next().into(), is_child: true }
    }

    /// Says a line to the parent.
    pub(super) fn tell(&self, line: &str) {
        if self.is_child {
            say(line);
        }
    }

    /// The process comes to a step: if it is the one, this is the end.
    pub(super) fn at(&self, step: &str) {
        if self.step == step && self.passes.fetch_sub(1, Ordering::SeqCst) == 0 {
            say(&format!("at {step}"));
            self.wait_for_the_end();
        }
    }

    /// What every thread does that does not kill.
    pub(super) fn wait_for_the_end(&self) -> ! {
        loop {
            std::thread::park();
        }
    }

    pub(super) fn does_wrong(&self, what: &str) -> bool {
        self.breaks == what
    }

    pub(super) fn engine(&self) -> Engine {
        open(&self.path, self.lanes)
    }
}

/// The engine stands beside the database.
pub(super) fn open(path: &Path, lanes: u32) -> Engine {
    Engine::open(path.join("engine"), small().lanes(Some(lanes))).unwrap()
}

/// How many processes are killed, where nobody says.
pub(super) fn kills(usually: u32) -> u32 {
    std::env::var("RINGLANE_TRANSACTION_KILLS").map_or(usually, |text| text.parse().expect("a number of kills"))
}

/// What the parent heard from all processes of a directory: `word of what`.
#[derive(Default)]
pub(super) struct Heard {
    said: BTreeMap<String, BTreeSet<String>>,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        if let Some((word, what)) = line.split_once(' ') {
            self.said.entry(word.to_owned()).or_default().insert(what.to_owned());
        }
    }

    /// All that was said with this word.
    pub(super) fn with(&self, word: &str) -> impl Iterator<Item = &String> {
        self.said.get(word).into_iter().flatten()
    }
}

/// What was found wrong, and what to print if nothing was.
pub(super) struct Verdict {
    pub(super) wrong: Vec<String>,
    pub(super) figures: String,
}

/// How often processes are killed, and where.
pub(super) struct Plan {
    pub(super) word: &'static str,
    pub(super) lanes: u32,
    pub(super) kills: u32,
    pub(super) steps: &'static [&'static str],
}

impl Plan {
    /// Kills, looks now and then, and in the end. Each other kill is at a step, one after the other.
    pub(super) fn run(&self, look: fn(&Path, u32, &Heard) -> Verdict) {
        let Plan { word, lanes, kills, steps } = self;
        let _watchdog = watchdog(120 + u64::from(*kills), "processes that are killed");
        let (directory, mut heard) = (directory(), Heard::default());
        let mut random = Random(u64::from(std::process::id()));
        let mut at_steps = BTreeMap::<&str, u32>::new();
        let mut openings = 0;
        for number in 0..*kills {
            let step = if number % 2 == 0 { steps[number as usize / 2 % steps.len()] } else { NOWHERE };
            let order = format!("{number} {lanes} {step} {} - {}", random.below(8), directory.path().display());
            let mut process = start(word, &order);
            let reached = match step {
                NOWHERE => kill_at_any_moment(&mut process, &mut random, &mut heard),
                _ => kill_at_the_step(&mut process, step, &mut heard),
            };
            *at_steps.entry(if reached { step } else { "while it opened" }).or_default() += 1;
            openings += u32::from(!reached);
            if number % 25 == 24 {
                assert_eq!(look(directory.path(), *lanes, &heard).wrong, Vec::<String>::new(), "after {number} kills");
            }
        }
        let Verdict { wrong, figures } = look(directory.path(), *lanes, &heard);
        assert_eq!(wrong, Vec::<String>::new(), "after {kills} kills");
        println!("{word}, {lanes} lanes: {kills} kills ({at_steps:?}); {figures}");
        assert!(openings < kills / 2, "the processes hardly do anything before they are killed");
        let enough = steps.len() * 2;
        let missed: Vec<_> = steps.iter().filter(|step| !at_steps.contains_key(*step)).collect();
        assert!(missed.is_empty() || (*kills as usize) < enough, "nobody was killed at {missed:?}");
        assert!(!verify(directory.path().join("engine"), &mut |_| {}).unwrap().is_damaged());
    }
}

/// Whether it came so far.
fn kill_at_the_step(process: &mut TestChild, step: &str, heard: &mut Heard) -> bool {
    let end = format!("at {step}");
    while let Some(line) = process.hear() {
        if line == end {
            process.kill();
            // Other threads of it went on until now.
            std::iter::from_fn(|| process.hear()).for_each(|line| heard.hear(&line));
            return true;
        }
        heard.hear(&line);
    }
    panic!("{}: it ended before it came to the step `{step}`", process.end());
}

/// Whether it had begun to work.
fn kill_at_any_moment(process: &mut TestChild, random: &mut Random, heard: &mut Heard) -> bool {
    let is_early = random.below(4) == 0;
    let mut lines = Vec::new();
    while !is_early && lines.last().is_none_or(|line| line != "works") {
        lines.push(process.hear().unwrap_or_else(|| panic!("it ended: {lines:?}")));
    }
    std::thread::sleep(Duration::from_micros(random.below(if is_early { 60_000 } else { 40_000 })));
    process.kill();
    lines.extend(std::iter::from_fn(|| process.hear()));
    lines.iter().for_each(|line| heard.hear(line));
    lines.iter().any(|line| line == "works")
}

/// A way to do it wrong: its name, the step at which such a process is killed, and what is said of it then.
pub(super) type Break = (&'static str, &'static str, &'static str);

/// Each way to do it wrong is found, and nothing before.
pub(super) fn found_out(word: &str, look: fn(&Path, u32, &Heard) -> Verdict, breaks: &[Break]) {
    for (breaks, step, says) in breaks {
        let (directory, mut heard) = (directory(), Heard::default());
        let mut live = |number: u32, breaks: &str| {
            let order = format!("{number} 2 {step} 3 -{breaks} {}", directory.path().display());
            assert!(kill_at_the_step(&mut start(word, &order), step, &mut heard));
            look(directory.path(), 2, &heard).wrong
        };
        assert_eq!(live(0, ""), Vec::<String>::new());
        let wrong = live(1, breaks);
        assert!(wrong.iter().any(|line| line.contains(says)), "{breaks}: `{says}` is not in {wrong:?}");
    }
}

/// Numbers that nobody foresees.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
