//! `ringlane consume --group`: prints records as a member of a group.
//!
//! Invariants:
//! - A record is acknowledged after it was written out and the output flushed, never before: who reads the output and
//!   goes away, or a crash, has it handed out again. What was acknowledged is durable when the command ends.
//! - What was taken and not written out is released; that is no failure of the record's.
//! - What is held ends with the command, so the leases are long: as long as leases can be, if nobody else can want the
//!   records, because the command has the engine open itself.

use crate::consume::{ConsumeArguments, POLL, write_record};
use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::membership::{Membership, Polled};
use crate::output::Output;
use clap::ValueEnum;
use ringlane::{Error, MemberOptions};
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
/// Beside an application, whose members would otherwise wait for records that nobody goes on to print.
const LEASE_BESIDE: Duration = Duration::from_secs(5 * 60);
/// Records of one poll that are written out before any is acknowledged.
const POLL_RECORDS: u64 = 500;
/// Records that one member may hold.
const HELD_RECORDS_MAX: u64 = 1 << 20;

/// Runs `ringlane consume --group`.
pub fn run(arguments: &ConsumeArguments, group: &str) -> Result {
    let left = arguments.max.unwrap_or(u64::MAX);
    interrupt::catch();
    let options = |is_held| member_options(arguments.ack, left, is_held);
    let member = Membership::join(&arguments.engine.engine, group, options)?;
    let (output, unfinished) = (Output::new(), u64::MAX);
    let mut reading = Reading { arguments, group, member, output, left, lost: 0, unfinished };
    let read = reading.read();
    let Reading { member, output, lost, .. } = reading;
    // Also after an error: what was not written out has not failed.
    let left = member.leave();
    read?;
    left?;
    output.finish()?;
    match lost {
        0 => Ok(()),
        lost => Err(Failure::Check(format!("{lost} records were given up before the group had them"))),
    }
}

/// Of one that is given no more than `left` records before any is acknowledged.
fn member_options(ack: Ack, left: u64, is_held: bool) -> MemberOptions {
    let poll_records = left.clamp(1, POLL_RECORDS);
    let (held_max, lease) = match ack {
        Ack::Auto if is_held => (poll_records, LEASE_BESIDE),
        Ack::Auto => (poll_records, LEASE),
        Ack::None => (left.clamp(1, HELD_RECORDS_MAX), LEASE),
    };
    MemberOptions::new()
        .lease(lease)
        .max_poll_records(poll_records as usize)
        .max_in_flight_records(held_max)
        .max_in_flight_bytes(u64::MAX)
}

struct Reading<'a> {
    arguments: &'a ConsumeArguments,
    group: &'a str,
    member: Membership,
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
                Ok(polled) if polled.len() == 0 => {
                    if !self.arguments.follow && !self.is_passing_over()? {
                        return self.tell_unfinished();
                    }
                }
                Ok(polled) => {
                    polled.each(|record| write_record(self.arguments, &mut self.output, record))?;
                    self.output.flush()?;
                    self.left -= polled.len() as u64;
                    self.acknowledge(&polled)?;
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
        let info = self.member.describe(self.group)?;
        let unfinished: u64 = info.partitions.iter().map(|partition| partition.lag).sum();
        let before = std::mem::replace(&mut self.unfinished, unfinished);
        Ok(info.filter.is_some() && unfinished > 0 && unfinished < before)
    }

    fn acknowledge(&mut self, polled: &Polled) -> Result {
        if self.arguments.ack == Ack::None {
            return Ok(());
        }
        if let Some(lost) = self.member.ack_all(polled)? {
            eprintln!("warning: {lost}");
        }
        if (1..POLL_RECORDS).contains(&self.left) {
            // The next poll must not take more than are wanted: what is taken counts as delivered.
            let (ack, left) = (self.arguments.ack, self.left);
            self.member.join_again(self.group, |is_held| member_options(ack, left, is_held))?;
        }
        Ok(())
    }

    /// There was nothing to be handed out. That is not to say that nothing is left.
    fn tell_unfinished(&mut self) -> Result {
        if self.arguments.ack == Ack::Auto {
            let unfinished = self.member.unfinished(self.group)?;
            if unfinished > 0 {
                eprintln!("{unfinished} records are not finished: they wait for their time, or for their dead letter");
            }
        }
        Ok(())
    }
}
