//! The process that produces one-record runs until it is killed, and its killer.
//!
//! Invariant: a round counts only if its report was read before the writer was killed.

use super::{ChildArguments, Running, TOPIC, memory_peak_bytes, start};
use crate::bench::noise::Values;
use crate::bench::setup::{Setup, totals};
use crate::failure::{Failure, Result};
use crate::interrupt;
use clap::Args;
use ringlane::{BatchHandle, Engine, Error, Producer, ProducerOptions, Record, Topic, TopicOptions};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rounds of one record for each partition that wait for the device at once.
const ROUNDS_IN_FLIGHT: usize = 3;

/// Arguments of the hidden sub-command.
#[derive(Args)]
pub struct WriterArguments {
    #[arg(long)]
    partitions: u32,
    #[command(flatten)]
    child: ChildArguments,
}

/// Runs the hidden sub-command: for each durable round a line `ROUNDS LOG_BYTES` on standard output.
pub fn run_writer(arguments: &WriterArguments) -> Result {
    let engine = arguments.child.open()?;
    let topic = topic(&engine, arguments.partitions)?;
    let producer = engine.producer(ProducerOptions::new())?;
    let mut values = Values::new(arguments.child.record_bytes);
    let mut rounds = VecDeque::with_capacity(ROUNDS_IN_FLIGHT);
    let mut output = std::io::stdout().lock();
    for durable in 1u64.. {
        while rounds.len() < ROUNDS_IN_FLIGHT {
            rounds.push_back(send_round(&producer, &topic, &mut values)?);
        }
        rounds.pop_front().map_or(Ok(()), |round| round.wait_done())?;
        let log_bytes = totals(&engine.stats()).log_bytes;
        // An error ends this process too: nobody listens any more.
        writeln!(output, "{durable} {log_bytes}").map_err(Failure::io("reporting a round"))?;
    }
    unreachable!("it is killed long before")
}

fn topic(engine: &Engine, partitions: u32) -> Result<Topic> {
    match engine.topic(TOPIC) {
        Err(Error::UnknownTopic { .. }) => Ok(engine.create_topic(TOPIC, TopicOptions::new().partitions(partitions))?),
        found => Ok(found?),
    }
}

fn send_round(producer: &Producer, topic: &Topic, values: &mut Values) -> Result<BatchHandle> {
    let places: Vec<usize> = (0..topic.partitions()).map(|_| values.step()).collect();
    let records: Vec<(&Topic, Record<'_>)> = (0..topic.partitions())
        .zip(&places)
        .map(|(partition, &place)| (topic, Record::new(values.at(place)).partition(partition)))
        .collect();
    Ok(producer.send_many(&records)?)
}

/// What is known of a killed writer.
pub struct Killed {
    /// Rounds that were durable.
    pub rounds: u64,
    /// The most memory it had.
    pub memory_peak_bytes: u64,
}

/// When a writer has written enough: the log's bytes and the records both, or the time is over.
#[derive(Clone, Copy, Default)]
pub struct Until {
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Records.
    pub records: u64,
    /// However little there is by then.
    pub time: Option<Duration>,
}

impl Until {
    fn is_reached(self, log_bytes: u64, records: u64, elapsed: Duration) -> bool {
        (log_bytes >= self.log_bytes && records >= self.records) || self.time.is_some_and(|time| elapsed >= time)
    }
}

/// Starts a writer, and kills it with SIGKILL amid its work when it has written enough.
pub fn write_and_kill(setup: &Setup, directory: &Path, partitions: u32, until: Until) -> Result<Killed> {
    let begin = Instant::now();
    let mut writer = start(setup, directory, "bench-writer", &["--partitions".to_owned(), partitions.to_string()])?;
    let output = writer.0.stdout.take().ok_or_else(|| Failure::Check("the writer has no output".to_owned()))?;
    let mut killed = Killed { rounds: 0, memory_peak_bytes: 0 };
    for line in BufReader::new(output).lines() {
        let line = line.map_err(Failure::io("reading the writer's reports"))?;
        let (rounds, written) = parse(&line).ok_or_else(|| Failure::Check(format!("the writer reported {line:?}")))?;
        killed.rounds = rounds;
        if interrupt::came() {
            return Err(Failure::Check("interrupted".to_owned()));
        }
        if until.is_reached(written, rounds * u64::from(partitions), begin.elapsed()) {
            killed.memory_peak_bytes = memory_peak_bytes(writer.0.id())?;
            break;
        }
    }
    end(writer)?;
    Ok(killed)
}

fn end(mut writer: Running) -> Result {
    writer.0.kill().map_err(Failure::io("killing the writer"))?;
    let status = writer.0.wait().map_err(Failure::io("waiting for the writer"))?;
    match status.signal() {
        Some(libc::SIGKILL) => Ok(()),
        _ => Err(Failure::Check(format!("the writer ended by itself ({status}); its message is above"))),
    }
}

fn parse(line: &str) -> Option<(u64, u64)> {
    let (rounds, log_bytes) = line.split_once(' ')?;
    Some((rounds.parse().ok()?, log_bytes.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_all_that_was_asked_for_or_the_time() {
        let until = Until { log_bytes: 10, records: 5, time: Some(Duration::from_secs(3)) };
        let second = Duration::from_secs(1);
        assert!(!until.is_reached(10, 4, second) && !until.is_reached(9, 5, second));
        assert!(until.is_reached(10, 5, second) && until.is_reached(0, 0, second * 3));
        assert!(!Until { time: None, ..until }.is_reached(0, 0, second * 3));
    }

    #[test]
    fn a_report_is_two_numbers() {
        assert_eq!(parse("12 3456"), Some((12, 3456)));
        for bad in ["", "12", "12 ", "12 3 4", "a 3"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
