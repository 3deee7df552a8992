//! Judging one cut: mount it, let the engine open it, read everything, ask the checker.

use super::child::Order;
use super::machine::{FileSystem, Mount};
use crate::checker::check;
use crate::history::{Answer, Call, CrashKind, Durability, Event, Happening, History, Outcome, TopicNumber};
use crate::kill::Message;
use ringlane::{inspect, verify};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// What was seen of a cut that is well.
pub(super) struct Seen {
    /// Records that had been acknowledged.
    pub(super) acknowledged: u64,
    /// Records that were read.
    pub(super) records: u64,
    /// Segments that are copies by the cleaner, before anybody opened them.
    pub(super) copies: usize,
}

/// Mounts an image and judges what the engine makes of it. `history`: what was known before the cut; what is
/// read is added.
pub(super) fn judge(
    program: &Path,
    file_system: FileSystem,
    image: &Path,
    place: &Path,
    history: &mut History,
) -> Result<Seen, String> {
    let mount = Mount::image(file_system, image, place).map_err(|error| format!("the file system: {error}"))?;
    history.happen(now(history), Happening::Crash { kind: CrashKind::PowerLoss, keeps: Durability::Synced });
    let directory = place.join("log");
    // Before the directory is whole there is nothing to inspect.
    let copies =
        inspect(&directory).map_or(0, |it| it.segments.iter().filter(|segment| segment.copy_of.is_some()).count());
    let topics = topics_of(history);
    let lanes = 1 + topics.len() as u32 % 2;
    let order = Order::Read { directory: directory.clone(), topics, lanes };
    let mut listings = 0;
    let mut records = 0;
    let status = run_child(program, &order, &mut |message| {
        if let Message::Event(event) = message {
            if let Event::World { happening: Happening::Contents { records: listed, .. }, .. } = &event
                && listings == 1
            {
                records += listed.len() as u64;
            }
            listings += u32::from(matches!(event, Event::World { happening: Happening::Reopened, .. }));
            history.push(event);
        }
    })?;
    if !status.success() {
        return Err(format!("the engine did not come back: {status}"));
    }
    let report = verify(&directory, &mut |_| {}).map_err(|error| format!("verify: {error}"))?;
    if report.is_damaged() {
        return Err(format!("verify: {report:?}"));
    }
    mount.unmount()?;
    let report = check(history);
    if !report.findings.is_empty() {
        let shown: Vec<_> = report.findings.iter().take(5).map(ToString::to_string).collect();
        return Err(format!("{} anomalies:\n  {}", report.findings.len(), shown.join("\n  ")));
    }
    Ok(Seen { acknowledged: acknowledged_in(history), records, copies })
}

/// Runs a child until it ends. What it calls trouble is an error.
pub(super) fn run_child(program: &Path, order: &Order, heard: &mut dyn FnMut(Message)) -> Result<ExitStatus, String> {
    let order = serde_json::to_string(order).expect("orders are plain values");
    let mut process = Command::new(program)
        .args(["block-log-child", &order])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let output = BufReader::new(process.stdout.take().expect("it is piped"));
    let mut troubles = Vec::new();
    for line in output.lines() {
        let line = line.map_err(|error| error.to_string())?;
        let message = serde_json::from_str(&line).map_err(|error| format!("a child said {line:?}: {error}"))?;
        match message {
            Message::Trouble(trouble) => troubles.push(trouble),
            message => heard(message),
        }
    }
    // What it says there is a line or two: it fits into the pipe.
    let ended = process.wait_with_output().map_err(|error| error.to_string())?;
    if ended.status.code().is_none_or(|code| code == 1 || code == 101) {
        troubles.push(String::from_utf8_lossy(&ended.stderr).trim().to_owned());
    }
    if troubles.is_empty() { Ok(ended.status) } else { Err(troubles.join("; ")) }
}

fn now(history: &History) -> u64 {
    history.events().last().map_or(0, |event| match event {
        Event::Invoke { at_ns, .. } | Event::Complete { at_ns, .. } | Event::World { at_ns, .. } => *at_ns,
    })
}

fn topics_of(history: &History) -> Vec<TopicNumber> {
    let created = history.events().iter().filter_map(|event| match event {
        Event::Invoke { call: Call::CreateTopic { topic, .. }, .. } => Some(*topic),
        _ => None,
    });
    created.collect()
}

/// Receipts.
pub(super) fn acknowledged_in(history: &History) -> u64 {
    let receipts = history
        .events()
        .iter()
        .filter(|event| matches!(event, Event::Complete { outcome: Outcome::Ok(Answer::Receipt { .. }), .. }));
    receipts.count() as u64
}
