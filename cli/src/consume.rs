//! `ringlane consume`: prints records, from where it is told to the end, or on and on.
//!
//! Invariants:
//! - Records of a partition come in the order of their offsets; partitions are interleaved.
//! - Beside a process that has the engine open it reads from outside, and sees what is known to be durable.
//! - As a member of a group (`--group`, see member.rs) it asks who has the engine open, or opens it.
//! - Without `--follow` it ends when every partition has reached the end it had at the start.
//! - Records that are no longer kept, or cannot be read, are an error, never a silent gap. With
//!   `-o recovery=salvage` what cannot be read is passed over, each gap is told on standard error, and
//!   the exit code is still 1.

use crate::arguments::ReadingArguments;
use crate::failure::{Failure, Result};
use crate::member::{self, Ack};
use crate::output::Output;
use crate::printed::Printed;
use crate::record_json::RecordLine;
use crate::{interrupt, text};
use clap::Args;
use ringlane::{Consumer, ConsumerOptions, Engine, Error, Filter, Hole, Options, Recovery, Start, Topic};
use std::ops::Range;
use std::time::Duration;

/// Arguments of `consume`.
#[derive(Args)]
pub struct ConsumeArguments {
    /// The topic
    #[arg(short, long, required_unless_present = "group")]
    topic: Option<String>,
    /// As a member of this group: what of its topics is not finished
    #[arg(short, long, conflicts_with_all = ["topic", "partition", "from", "read_only"])]
    pub group: Option<String>,
    /// With --group: whether what was printed is acknowledged
    #[arg(long, value_name = "WHEN", conflicts_with = "topic", default_value = "auto")]
    pub ack: Ack,
    /// Only this partition [default: all]
    #[arg(short, long)]
    partition: Option<u32>,
    /// Where to begin: beginning, end, offset:N, or timestamp:MS (ms since 1970-01-01 UTC)
    #[arg(long, value_name = "START", default_value = "beginning")]
    from: Start,
    /// Only records with these headers: tag = paid and not (region = eu or exists test). That of a group is said when it
    /// is created
    #[arg(long, value_name = "FILTER", conflicts_with = "group")]
    filter: Option<Filter>,
    /// Wait for more at the end, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// End after so many records
    #[arg(short = 'n', long, visible_alias = "count", value_name = "RECORDS")]
    pub max: Option<u64>,
    /// One JSON object a line, with key, headers, offset and timestamp
    #[arg(long)]
    json: bool,
    /// Print the key and this before the value
    #[arg(long, value_name = "SEPARATOR", conflicts_with = "json")]
    key_separator: Option<String>,
    #[command(flatten)]
    pub engine: ReadingArguments,
}

/// How long one poll waits: also how late a Ctrl-C may be noticed.
pub const POLL: Duration = Duration::from_millis(100);

/// Runs `ringlane consume`.
pub fn run(arguments: &ConsumeArguments) -> Result {
    if let Some(group) = &arguments.group {
        return member::run(arguments, group);
    }
    let name = arguments.topic.as_ref().expect("a topic or a group is given");
    let (engine, _) = arguments.engine.open()?;
    let topic = engine.topic(name)?;
    interrupt::catch();
    let printed = print(arguments, &engine, &topic);
    // Closing matters even if nobody reads any more: the next command should not have to recover.
    let closed = engine.close();
    printed?;
    Ok(closed?)
}

fn print(arguments: &ConsumeArguments, engine: &Engine, topic: &Topic) -> Result {
    let partitions = match arguments.partition {
        Some(partition) => partition..partition + 1,
        None => 0..topic.partitions(),
    };
    let mut options = ConsumerOptions::new();
    options.filter.clone_from(&arguments.filter);
    let mut reading = Reading {
        arguments,
        topic,
        consumer: engine.consumer(options)?,
        output: Output::new(),
        left: arguments.max.unwrap_or(u64::MAX),
    };
    match arguments.engine.engine.options.apply(Options::new())?.recovery {
        Recovery::Salvage => reading.salvage(partitions, engine.holes())?,
        Recovery::Strict => reading.read(partitions)?,
    }
    reading.output.finish()
}

struct Reading<'a> {
    arguments: &'a ConsumeArguments,
    topic: &'a Topic,
    consumer: Consumer,
    output: Output,
    left: u64,
}

impl Reading<'_> {
    fn read(&mut self, partitions: Range<u32>) -> Result {
        let mut ends = Vec::new();
        for partition in partitions {
            ends.push((partition, self.topic.partition_info(partition)?.next_offset));
            self.consumer.assign(self.topic, partition, self.arguments.from)?;
        }
        while self.left > 0 && !interrupt::came() {
            if !self.arguments.follow {
                ends.retain(|&(partition, end)| self.position(partition) < end);
                if ends.is_empty() {
                    break;
                }
            }
            self.poll()?;
            if self.arguments.follow {
                self.output.flush()?;
            }
        }
        Ok(())
    }

    /// Reads one partition after the other, and passes over what cannot be read, record by record:
    /// an error does not say how many records it concerns.
    fn salvage(&mut self, partitions: Range<u32>, holes: &[Hole]) -> Result {
        for hole in holes {
            eprintln!(
                "warning: {}, position {}: {} bytes are lost: {}",
                hole.file, hole.position, hole.bytes, hole.reason
            );
        }
        let mut lost = 0;
        for partition in partitions {
            let end = self.topic.partition_info(partition)?.next_offset;
            self.consumer.assign(self.topic, partition, self.arguments.from)?;
            let mut gap: Option<(u64, Error)> = None;
            while self.left > 0 && !interrupt::came() {
                let offset = self.position(partition);
                if offset >= end {
                    break;
                }
                match self.poll() {
                    Ok(()) => lost += tell(gap.take(), partition, offset),
                    Err(Failure::Engine(error @ (Error::Damaged { .. } | Error::Io(_)))) => {
                        // Records before the bad place may have come with earlier polls.
                        let offset = self.position(partition);
                        gap.get_or_insert((offset, error));
                        self.consumer.seek(self.topic, partition, Start::Offset(offset + 1))?;
                    }
                    Err(failure) => return Err(failure),
                }
            }
            lost += tell(gap, partition, end);
            self.consumer.unassign(self.topic, partition);
        }
        self.output.flush()?;
        if lost > 0 || !holes.is_empty() {
            return Err(Failure::Check(format!("{lost} records could not be read; what could be is printed")));
        }
        Ok(())
    }

    fn position(&self, partition: u32) -> u64 {
        self.consumer.position(self.topic, partition).unwrap_or(u64::MAX)
    }

    fn poll(&mut self) -> Result {
        let records = self.consumer.poll(POLL).map_err(explain)?;
        for record in records.iter().take(usize::try_from(self.left).unwrap_or(usize::MAX)) {
            write_record(self.arguments, &mut self.output, &Printed::from(&record))?;
            self.left -= 1;
        }
        Ok(())
    }
}

/// Adds how this command goes on where the engine says only what its callers would do.
fn explain(error: Error) -> Failure {
    match error {
        Error::Truncated { to, .. } => Failure::Check(format!("{error} (--from offset:{to})")),
        error => Failure::Engine(error),
    }
}

/// Tells of a gap that ends before `end`, and how many offsets it has.
fn tell(gap: Option<(u64, Error)>, partition: u32, end: u64) -> u64 {
    let Some((start, error)) = gap else { return 0 };
    eprintln!("warning: partition {partition}: offsets {start} to {} cannot be read: {error}", end - 1);
    end - start
}

/// Writes a record as the arguments say.
pub fn write_record(arguments: &ConsumeArguments, output: &mut Output, record: &Printed<'_>) -> Result {
    if arguments.json {
        return output.json(&RecordLine::new(record));
    }
    let mut write = |bytes: &[u8]| match output.is_terminal {
        true => output.text(&text::printable(bytes)),
        false => output.bytes(bytes),
    };
    if let Some(separator) = &arguments.key_separator {
        write(record.key.unwrap_or_default())?;
        write(separator.as_bytes())?;
    }
    write(record.value.unwrap_or_default())?;
    output.text("\n")
}
