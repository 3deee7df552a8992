//! `ringlane consume --group`: prints records as a member of a group.
//!
//! Invariants:
//! - A record is acknowledged after it was written out and the output flushed, never before: who reads the output and
//!   goes away, or a crash, has it handed out again. What was acknowledged is durable when the command ends.
//! - What was taken and not written out is released; that is no failure of the record's.
//! - Only who has the engine open can be a member, so nobody else can want what is held: the leases are as long as
//!   leases can be.

use crate::arguments::EngineArguments;
use crate::consume::{ConsumeArguments, POLL, write_record};
use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::output::Output;
use clap::ValueEnum;
use ringlane::{Engine, Error, GroupConsumer, MemberOptions};
use std::time::Duration;

/// What becomes of a record that was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    /// It was processed
    Auto,
    /// It is handed out again, and the group has come no further
    None,
}

const LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// Records of one poll that are written out before any is acknowledged.
const POLL_RECORDS: u64 = 500;
/// Records that one member may hold.
const HELD_RECORDS_MAX: u64 = 1 << 20;

/// Runs `ringlane consume --group`.
pub fn run(arguments: &ConsumeArguments, group: &str) -> Result {
    let engine = open(&arguments.engine.engine)?;
    interrupt::catch();
    let printed = print(arguments, &engine, group);
    // As without a group: the next command should not have to recover.
    let closed = engine.close();
    printed?;
    Ok(closed?)
}

fn open(arguments: &EngineArguments) -> Result<Engine> {
    match arguments.open(false) {
        Err(Failure::Engine(Error::Locked { path, pid, program, .. })) => Err(Failure::Check(format!(
            "a member of a group needs the engine for itself, and {} is held by process {pid} ({program}): stop it, wait \
             for it with -o lock_wait_ms=MS, or consume without --group",
            path.display()
        ))),
        opened => opened,
    }
}

fn print(arguments: &ConsumeArguments, engine: &Engine, group: &str) -> Result {
    let left = arguments.max.unwrap_or(u64::MAX);
    let member = join(engine, group, arguments.ack, left)?;
    let (output, unfinished) = (Output::new(), u64::MAX);
    let mut reading = Reading { arguments, engine, group, member, output, left, lost: 0, unfinished };
    let read = reading.read();
    let flushed = reading.member.flush();
    // Also after an error: what was not written out has not failed.
    reading.member.close();
    read?;
    flushed?;
    reading.output.finish()?;
    match reading.lost {
        0 => Ok(()),
        lost => Err(Failure::Check(format!("{lost} records were given up before the group had them"))),
    }
}

/// Joins as one that is given no more than `left` records before any is acknowledged.
fn join(engine: &Engine, group: &str, ack: Ack, left: u64) -> Result<GroupConsumer> {
    let poll_records = left.clamp(1, POLL_RECORDS);
    let held_max = match ack {
        Ack::Auto => poll_records,
        Ack::None => left.clamp(1, HELD_RECORDS_MAX),
    };
    let options = MemberOptions::new()
        .lease(LEASE)
        .max_poll_records(poll_records as usize)
        .max_in_flight_records(held_max)
        .max_in_flight_bytes(u64::MAX);
    Ok(engine.join_group(group, options)?)
}

struct Reading<'a> {
    arguments: &'a ConsumeArguments,
    engine: &'a Engine,
    group: &'a str,
    member: GroupConsumer,
    output: Output,
    left: u64,
    lost: u64,
    /// When it was last looked at.
    unfinished: u64,
}

impl Reading<'_> {
    fn read(&mut self) -> Result {
        while self.left > 0 && !interrupt::came() {
            match self.member.poll(POLL) {
                Ok(deliveries) if deliveries.is_empty() => {
                    if !self.arguments.follow && !self.is_passing_over()? {
                        return self.tell_unfinished();
                    }
                }
                Ok(deliveries) => {
                    for delivery in &deliveries {
                        write_record(
                            self.arguments,
                            &mut self.output,
                            &delivery.record,
                            Some(delivery.delivery_count),
                        )?;
                    }
                    self.output.flush()?;
                    self.left -= deliveries.len() as u64;
                    self.acknowledge(&deliveries)?;
                }
                // Told once; polling goes on behind them.
                Err(error @ Error::Truncated { from, to, .. }) => {
                    eprintln!("warning: {error}");
                    self.lost += to - from;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether a poll had nothing because there is much that the group does not want.
    fn is_passing_over(&mut self) -> Result<bool> {
        let info = self.engine.describe_group(self.group)?;
        let unfinished: u64 = info.partitions.iter().map(|partition| partition.lag).sum();
        let before = std::mem::replace(&mut self.unfinished, unfinished);
        Ok(info.filter.is_some() && unfinished > 0 && unfinished < before)
    }

    fn acknowledge(&mut self, deliveries: &ringlane::Deliveries) -> Result {
        if self.arguments.ack == Ack::None {
            return Ok(());
        }
        match self.member.ack_all(deliveries) {
            // The group was sent elsewhere meanwhile.
            Err(error @ Error::LeaseLost { .. }) => eprintln!("warning: {error}"),
            acknowledged => acknowledged?,
        }
        if (1..POLL_RECORDS).contains(&self.left) {
            // The next poll must not take more than are wanted: what is taken counts as delivered.
            let next = join(self.engine, self.group, self.arguments.ack, self.left)?;
            std::mem::replace(&mut self.member, next).close();
        }
        Ok(())
    }

    /// There was nothing to be handed out. That is not to say that nothing is left.
    fn tell_unfinished(&self) -> Result {
        if self.arguments.ack == Ack::Auto {
            self.member.flush()?;
            let info = self.engine.describe_group(self.group)?;
            let unfinished: u64 = info.partitions.iter().map(|partition| partition.lag).sum();
            if unfinished > 0 {
                eprintln!("{unfinished} records are not finished: they wait for their time, or for their dead letter");
            }
        }
        Ok(())
    }
}
