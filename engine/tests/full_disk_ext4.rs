//! A full disk that is a real one: a small ext4 of its own on a loop device, filled to its last block.
//!
//! It needs root and loop devices. Where there are none it does not pass: it is counted as ignored, and says
//! why. That is what this binary has its own `main` for; the usual harness knows only at compile time what
//! is ignored.

#![allow(clippy::unwrap_used)]

mod common;

use common::ledger::Ledger;
use common::watchdog::watchdog;
use common::{backends, child, directory, small, values};
use ringlane::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// What a test came to.
enum Verdict {
    Passed,
    /// Where it cannot run.
    Ignored(String),
}

type Test = fn() -> Verdict;

const TESTS: [(&str, Test); 2] = [
    ("a_small_file_system_fills_and_empties", fills_and_empties),
    ("a_full_engine_is_killed_again_and_again", killed_again_and_again),
];

/// As much of the usual harness as its callers use: names to choose by, `--list`, a result in one line.
fn main() -> ExitCode {
    if let Some((word, argument)) = child::order() {
        assert_eq!(word, "open");
        let _ = catch_unwind(|| open_and_keep_books(Path::new(&argument)));
        child::say("panicked");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<_> = TESTS.iter().filter(|(name, _)| is_chosen(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for (name, test) in &chosen {
        let (word, count) = match catch_unwind(AssertUnwindSafe(test)) {
            Ok(Verdict::Passed) => ("ok".to_owned(), &mut passed),
            Ok(Verdict::Ignored(reason)) => (format!("ignored, {reason}"), &mut ignored),
            Err(_) => ("FAILED".to_owned(), &mut failed),
        };
        *count += 1;
        println!("test {name} ... {word}");
    }
    let (word, out) = (if failed == 0 { "ok" } else { "FAILED" }, TESTS.len() - chosen.len());
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {out} filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The disk, or why there is none.
macro_rules! disk_or_ignored {
    ($bytes:expr) => {
        match SmallDisk::new($bytes) {
            Ok(disk) => disk,
            Err(reason) => return Verdict::Ignored(format!("no file system of its own: {reason}")),
        }
    };
}

/// An engine on the disk whose topic `t` has some records and `withheld` delayed ones, and whose topic
/// `bulk` has filled the rest, as fast as it went. Then a file takes the last blocks.
fn filled(disk: &SmallDisk, options: Options, withheld: usize) -> (Engine, Ledger, Ledger, Vec<RecordId>) {
    let engine = Engine::open(disk.engine(), options).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let bulk = engine.create_topic("bulk", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let later = || Record::new(b"delayed").partition(0).visible_after(Duration::from_secs(86_400));
    let withheld = (0..withheld).map(|_| producer.send(&topic, later()).unwrap().wait().unwrap().id).collect();
    let (mut ledger, mut others) = (Ledger::default(), Ledger::default());
    ledger.send(&producer, &topic, 0, 300, 10_000);
    while others.errors.is_empty() {
        others.send(&producer, &bulk, 0, 200, 10_000);
    }
    others.assert_no_space();
    assert!(others.acknowledged.len() > 2_000, "{} MB fit", others.acknowledged.len() / 100);
    disk.fill();
    (engine, ledger, others, withheld)
}

/// What must work on a full disk: reading, topics, cancelling.
fn check_bookkeeping(engine: &Engine, ledger: &Ledger, withheld: RecordId, round: usize) {
    ledger.check(engine);
    let name = format!("more-{round}");
    engine.create_topic(&name, TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.cancel(withheld).unwrap();
    assert_eq!(producer.cancel(withheld), Err(Error::NotWithheld));
    engine.delete_topic(&name).unwrap();
    engine.sync().unwrap();
    assert!(engine.stats().no_space && engine.stats().poisoned.is_none());
}

fn fills_and_empties() -> Verdict {
    let _watchdog = watchdog(400, "a small file system");
    for backend in backends() {
        let disk = disk_or_ignored!(64 << 20);
        let options = small().backend(backend);
        let (mut engine, mut ledger, others, withheld) = filled(&disk, options.clone(), 60);
        for (round, id) in withheld.iter().enumerate().take(50) {
            check_bookkeeping(&engine, &ledger, *id, round);
            engine.close().unwrap();
            drop(engine);
            engine = Engine::open(disk.engine(), options.clone()).unwrap_or_else(|error| panic!("{round}: {error}"));
            assert!(engine.recovery().clean, "round {round}");
            let topic = engine.topic("t").unwrap();
            let producer = engine.producer(ProducerOptions::new()).unwrap();
            ledger.send(&producer, &topic, 0, 1, 10_000);
            ledger.assert_no_space();
        }
        assert_eq!(values(&engine, &engine.topic("bulk").unwrap(), 0).len(), others.acknowledged.len());

        // A deleted topic makes room, though the rest of the disk stays full.
        engine.delete_topic("bulk").unwrap();
        let topic = engine.topic("t").unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        ledger.send_until_success(&producer, &topic, 0);
        for _ in 0..5 {
            ledger.send(&producer, &topic, 0, 100, 10_000);
        }
        assert!(ledger.errors.iter().all(Error::is_retriable), "{:?}", ledger.errors);
        ledger.check(&engine);
        assert_eq!(engine.stats().withheld_records, 10);
        engine.close().unwrap();
        drop((engine, topic, producer));
        finish(&disk, options, &mut ledger);
    }
    Verdict::Passed
}

/// Space again: everything is there, and more can be sent. (The topic `bulk` alone leaves none.)
fn finish(disk: &SmallDisk, options: Options, ledger: &mut Ledger) {
    let _ = std::fs::remove_file(disk.mounted.join("filler"));
    let engine = Engine::open(disk.engine(), options).unwrap();
    ledger.check(&engine);
    let _ = engine.delete_topic("bulk");
    let topic = engine.topic("t").unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    ledger.errors.clear();
    ledger.send_until_success(&producer, &topic, 0);
    ledger.check(&engine);
    engine.close().unwrap();
    let report = verify(disk.engine(), &mut |_| {}).unwrap();
    assert!(!report.is_damaged(), "{report:?}");
}

/// SIGKILL while a full engine is opened, used for bookkeeping and closed, at some moment or other.
fn killed_again_and_again() -> Verdict {
    let _watchdog = watchdog(400, "kills on a small file system");
    let disk = disk_or_ignored!(64 << 20);
    let (engine, mut ledger, _, withheld) = filled(&disk, small(), 80);
    engine.close().unwrap();
    drop(engine);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for (round, id) in withheld.iter().enumerate().take(60) {
        let mut killed = child::start("open", disk.engine().to_str().unwrap());
        assert_eq!(killed.hear().as_deref(), Some("begins"));
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 40_000));
        killed.kill();
        assert_eq!(killed.hear(), None, "round {round}: what the child says about itself");
        // Several kills in a row between two openings that come to their end.
        if round % 4 == 3 {
            let opened = Engine::open(disk.engine(), small().lock_wait_ms(30_000));
            let engine = opened.unwrap_or_else(|error| panic!("after kill {round}: {error}"));
            check_bookkeeping(&engine, &ledger, *id, round);
            engine.close().unwrap();
        }
    }
    finish(&disk, small(), &mut ledger);
    Verdict::Passed
}

/// The child that is killed: opens, does some bookkeeping, closes, and again.
fn open_and_keep_books(path: &Path) {
    child::say("begins");
    for round in 0.. {
        let engine = Engine::open(path, small().lock_wait_ms(30_000)).unwrap();
        for topic in 0..10 {
            let name = format!("child-{round}-{topic}");
            // The one before may have been killed in between.
            let _ = engine.delete_topic(&name);
            engine.create_topic(&name, TopicOptions::new()).unwrap();
            engine.delete_topic(&name).unwrap();
        }
        if round % 2 == 0 {
            engine.close().unwrap();
        }
    }
}

/// A file system of its own on a loop device; taken apart when dropped.
struct SmallDisk {
    _directory: tempfile::TempDir,
    mounted: std::path::PathBuf,
    device: String,
    is_mounted: bool,
}

impl SmallDisk {
    /// `Err` says why there is none.
    fn new(bytes: u64) -> std::result::Result<SmallDisk, String> {
        // SAFETY: it only asks.
        if unsafe { libc::geteuid() } != 0 {
            return Err("not root".to_owned());
        }
        let directory = directory();
        let (image, mounted) = (directory.path().join("image"), directory.path().join("mounted"));
        let fail = |error: std::io::Error| error.to_string();
        std::fs::File::create(&image).and_then(|file| file.set_len(bytes)).map_err(fail)?;
        std::fs::create_dir(&mounted).map_err(fail)?;
        let image = image.to_str().expect("a path in UTF-8");
        run("mkfs.ext4", &["-q", "-F", "-m", "0", image])?;
        let device = run("losetup", &["--find", "--show", image])?.trim().to_owned();
        let mut disk = SmallDisk { _directory: directory, mounted, device, is_mounted: false };
        run("mount", &[&disk.device, disk.mounted.to_str().expect("a path in UTF-8")])?;
        disk.is_mounted = true;
        Ok(disk)
    }
}

impl SmallDisk {
    fn engine(&self) -> std::path::PathBuf {
        self.mounted.join("engine")
    }

    /// Takes all the space that is left, to the last block.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.mounted.join("filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            let bytes = vec![1u8; size];
            while file.write_all(&bytes).is_ok() {}
        }
        let _ = file.sync_all();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(reason) = run("umount", &[self.mounted.to_str().expect("a path in UTF-8")])
        {
            eprintln!("{reason}");
            let _ = run("umount", &["--lazy", self.mounted.to_str().expect("a path in UTF-8")]);
        }
        if let Err(reason) = run("losetup", &["--detach", &self.device]) {
            eprintln!("{reason}");
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> std::result::Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
