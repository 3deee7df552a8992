//! Engines in processes of their own: memory and opening belong to a process, and this one has measured
//! other things before.
//!
//! Invariants:
//! - A child dies with its parent, however that ends: it is killed when its handle goes, and a writer that
//!   nobody listens to ends by itself.
//! - Children get the options of the engine that the run was asked for.

mod opener;
mod writer;

pub use opener::{Opened, OpenerArguments, open, run_opener};
pub use writer::{WriterArguments, run_writer, write_and_kill};

use super::setup::Setup;
use crate::arguments::EngineArguments;
use crate::failure::{Failure, Result};
use clap::Args;
use ringlane::{Engine, Options};
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

/// The most memory a process has had at once, in bytes: what the kernel calls its high water mark.
fn memory_peak_bytes(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).map_err(Failure::io(format!("reading {path}")))?;
    peak_in(&status).ok_or_else(|| Failure::Check(format!("{path} has no line VmHWM: is that process alive?")))
}

fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(peak_in("Name:\tringlane\nVmPeak:\t  9 kB\nVmHWM:\t     216 kB\nVmRSS:\t 5 kB\n"), Some(216 << 10));
        assert_eq!(peak_in("Name:\tringlane\nState:\tZ (zombie)\n"), None);
        assert!(memory_peak_bytes(std::process::id()).unwrap() > 1 << 20);
    }
}
