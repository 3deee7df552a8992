//! Runs the writer, collects the receipts it reports, and kills it half-way.

use super::DemoArguments;
use super::input::Input;
use crate::failure::{Failure, Result};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A receipt as the writer reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The line.
    pub number: u64,
    /// Where it is.
    pub partition: u32,
    /// And there.
    pub offset: u64,
}

/// What is known of the killed writer.
pub struct Killed {
    /// All receipts that arrived.
    pub receipts: Vec<Reported>,
    /// How many had arrived when it was killed.
    pub at_the_kill: usize,
    /// From the first receipt to the kill.
    pub writing: Duration,
}

/// Starts the writer and kills it with SIGKILL when half of the lines are acknowledged.
pub fn run_and_kill(arguments: &DemoArguments, directory: &Path, input: &Input) -> Result<Killed> {
    let program = std::env::current_exe().map_err(Failure::io("finding this program"))?;
    let half = input.len().div_ceil(2);
    // Few enough in flight that it cannot be done when half of it is acknowledged.
    let in_flight = (input.len() / 8).clamp(1, 1024);
    let mut command = Command::new(program);
    command.arg("demo-writer").arg("--dir").arg(directory).arg("--input").arg(&arguments.input);
    command.arg("--in-flight").arg(in_flight.to_string());
    for (name, value) in &arguments.options.settings {
        command.arg("-o").arg(format!("{name}={value}"));
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(Failure::io("starting the writer"))?;
    let mut lines =
        BufReader::new(child.stdout.take().ok_or_else(|| Failure::Check("the writer has no output".to_owned()))?);
    let mut killed = Killed { receipts: Vec::new(), at_the_kill: 0, writing: Duration::ZERO };
    let mut begin = None;
    let mut line = String::new();
    while lines.read_line(&mut line).map_err(Failure::io("reading the writer's receipts"))? > 0 {
        let begin = *begin.get_or_insert_with(Instant::now);
        // The last line may have been cut by the kill; then its receipt was not reported.
        if let Some(reported) = parse(&line) {
            killed.receipts.push(reported);
        }
        line.clear();
        if killed.receipts.len() == half && killed.at_the_kill == 0 {
            child.kill().map_err(Failure::io("killing the writer"))?;
            killed.at_the_kill = half;
            killed.writing = begin.elapsed();
        }
    }
    let status = child.wait().map_err(Failure::io("waiting for the writer"))?;
    if status.signal() != Some(libc::SIGKILL) || killed.at_the_kill == 0 {
        let count = killed.receipts.len();
        return Err(Failure::Check(format!(
            "the writer ended by itself ({status}) after {count} receipts; its message is above"
        )));
    }
    Ok(killed)
}

fn parse(line: &str) -> Option<Reported> {
    let mut fields = line.strip_suffix('\n')?.split(' ');
    let number = fields.next()?.parse().ok()?;
    let partition = fields.next()?.parse().ok()?;
    let offset = fields.next()?.parse().ok()?;
    fields.next().is_none().then_some(Reported { number, partition, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_is_no_receipt() {
        assert_eq!(parse("12 3 45\n"), Some(Reported { number: 12, partition: 3, offset: 45 }));
        for cut in ["12 3 4", "12 3\n", "12\n", "", "\n", "12 3 45 6\n", "12 3 x\n"] {
            assert_eq!(parse(cut), None, "{cut:?}");
        }
    }
}
