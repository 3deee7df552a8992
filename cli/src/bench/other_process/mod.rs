//! Engines in processes of their own: memory and opening belong to a process, and this one has measured
//! other things before.
//!
//! Invariants:
//! - A child dies with its parent, however that ends: it is killed when its handle goes, and a writer that
//!   nobody listens to ends by itself.
//! - Children get the options of the engine that the run was asked for.

mod opener;
mod seeker;
mod writer;

pub use opener::{Opened, OpenerArguments, open, run_opener};
pub use seeker::{SeekerArguments, Sought, run_seeker, seek};
pub use writer::{Until, WriterArguments, run_writer, write_and_kill};

use super::setup::Setup;
use crate::arguments::EngineArguments;
use crate::failure::{Failure, Result};
use clap::Args;
use ringlane::{Engine, Options, Topic};
use serde::de::DeserializeOwned;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The topic that the children write and read.
const TOPIC: &str = "bench";

/// What every child is told.
#[derive(Args)]
pub struct ChildArguments {
    #[arg(long)]
    lanes: Option<u32>,
    #[arg(long)]
    record_bytes: usize,
    #[command(flatten)]
    engine: EngineArguments,
}

impl ChildArguments {
    fn open(&self) -> Result<Engine> {
        // The process that held the directory was just killed; its lock goes last.
        let defaults =
            super::setup::engine_defaults(Options::new().lock_wait_ms(10_000), self.lanes, self.record_bytes);
        self.engine.open_with(defaults)
    }
}

/// A child that does not outlive its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; there is nobody who could be told.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program as a child for an engine in `directory`.
fn start(setup: &Setup, directory: &Path, command: &str, arguments: &[String]) -> Result<Running> {
    let program = std::env::current_exe().map_err(Failure::io("finding this program"))?;
    let mut child = Command::new(program);
    child.arg(command).arg("--dir").arg(directory).arg("--record-bytes").arg(setup.record_bytes.to_string());
    if let Some(lanes) = setup.lanes {
        child.arg("--lanes").arg(lanes.to_string());
    }
    for (name, value) in &setup.options.settings {
        child.arg("-o").arg(format!("{name}={value}"));
    }
    child.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(Running(child.spawn().map_err(Failure::io(format!("starting {command}")))?))
}

/// What a child that ends by itself printed: one line of JSON.
fn answer<T: DeserializeOwned>(mut child: Running) -> Result<T> {
    let mut text = String::new();
    let mut output = child.0.stdout.take().ok_or_else(|| Failure::Check("the child has no output".to_owned()))?;
    output.read_to_string(&mut text).map_err(Failure::io("reading what the child found"))?;
    let status = child.0.wait().map_err(Failure::io("waiting for the child"))?;
    if !status.success() {
        return Err(Failure::Check(format!("opening in another process failed ({status}); its message is above")));
    }
    serde_json::from_str(&text).map_err(|error| Failure::Check(format!("the child printed {text:?}: {error}")))
}

/// The partition's next offset: what was acknowledged must be there.
fn end_of(topic: &Topic, partition: u32, records_min: u64) -> Result<u64> {
    let end = topic.partition_info(partition)?.next_offset;
    if end < records_min {
        let message = format!("partition {partition} ends at {end}, and {records_min} records were acknowledged");
        return Err(Failure::Check(message));
    }
    Ok(end)
}

/// The most memory a process has had at once, in bytes: what the kernel calls its high water mark.
fn memory_peak_bytes(process: u32) -> Result<u64> {
    memory_figure(process, "VmHWM:")
}

/// The memory a process has now, in bytes.
fn memory_bytes(process: u32) -> Result<u64> {
    memory_figure(process, "VmRSS:")
}

fn memory_figure(process: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).map_err(Failure::io(format!("reading {path}")))?;
    figure_in(&status, name).ok_or_else(|| Failure::Check(format!("{path} has no line {name} is that process alive?")))
}

fn figure_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tringlane\nVmPeak:\t  9 kB\nVmHWM:\t     216 kB\nVmRSS:\t 5 kB\n";
        assert_eq!(figure_in(status, "VmHWM:"), Some(216 << 10));
        assert_eq!(figure_in(status, "VmRSS:"), Some(5 << 10));
        assert_eq!(figure_in("Name:\tringlane\nState:\tZ (zombie)\n", "VmHWM:"), None);
        assert!(memory_peak_bytes(std::process::id()).unwrap() > 1 << 20);
    }
}
