//! `ringlane produce`: lines, or records as JSON, from a file or standard input.
//!
//! Invariants:
//! - Records are sent in the order of the lines, and receipts are printed in that order.
//! - At most `--in-flight` records wait for their receipts; reading pauses until one comes.
//! - Exit code 0 means that every line was acknowledged.

use crate::arguments::EngineArguments;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::record_json::OwnedRecord;
use crate::{progress, text};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use ringlane::{Durability, Producer, ProducerOptions, Receipt, SendHandle, Topic, Visibility};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

/// Arguments of `produce`.
#[derive(Args)]
#[command(after_help = "With --json each line is an object, all fields optional:
  {\"key\":\"k\",\"value\":\"v\",\"headers\":{\"name\":\"value\"},\"timestamp_ms\":1700000000000,\"partition\":0,\"delay_ms\":500}
`visible_at_ms` stands for an absolute time instead of `delay_ms`; `key_base64` and `value_base64` for
bytes that are not UTF-8. What `consume --json` prints can be read.")]
pub struct ProduceArguments {
    /// The topic; create it first
    #[arg(short, long)]
    topic: String,
    /// A file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Lines are JSON objects, and what is printed is JSON
    #[arg(long)]
    json: bool,
    /// The text before the first separator of a line is the key
    #[arg(long, value_name = "SEPARATOR", conflicts_with = "json")]
    key_separator: Option<String>,
    /// Timestamp of records that bring none, in ms since 1970-01-01 UTC [default: now]
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    timestamp: Option<i64>,
    /// Make records that say nothing themselves visible so much later: 500ms, 10s, 5m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = text::parse_duration)]
    delay: Option<Duration>,
    /// Send everything to this partition
    #[arg(short, long)]
    partition: Option<u32>,
    /// When a record counts as sent: `synced`, flushed to the device; `buffered`, taken by the engine
    #[arg(long, value_name = "LEVEL", default_value = "synced")]
    durability: Durability,
    /// Print a receipt for each record
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    receipts: Option<ReceiptForm>,
    /// Most records waiting for their receipts
    #[arg(long, value_name = "RECORDS", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: u32,
    #[command(flatten)]
    engine: EngineArguments,
}

/// How receipts are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReceiptForm {
    /// JSON with --json, else text
    Auto,
    /// topic, partition, offset (`-` while withheld), timestamp, durability, id
    Text,
    /// One object a line
    Json,
}

/// Longest line that is read into memory: the largest record there can be, in base64, and its fields.
const LINE_BYTES_MAX: u64 = 32 << 20;

/// Runs `ringlane produce`.
pub fn run(arguments: &ProduceArguments) -> Result {
    let (mut lines, bytes) = open_input(arguments)?;
    let engine = arguments.engine.open(true)?;
    let topic = engine.topic(&arguments.topic)?;
    let producer = engine.producer(ProducerOptions::new().durability(arguments.durability))?;
    let (handles, receipts) = sync_channel(arguments.in_flight as usize);
    let progress = progress::over_bytes(bytes);
    let state = State::default();
    let started = Instant::now();
    let (sent, acknowledged) = std::thread::scope(|scope| {
        let acknowledging = scope.spawn(|| acknowledge(arguments, receipts, &state));
        let sent = send_lines(arguments, &mut lines, &producer, &topic, handles, &state, &progress);
        (sent, acknowledging.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    progress.finish_and_clear();
    let records = state.acknowledged.load(Ordering::Relaxed);
    let closed = engine.close();
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "{} records acknowledged ({}) in {seconds:.2} s",
        text::grouped(records),
        match arguments.durability {
            Durability::Synced => "synced",
            Durability::Buffered => "buffered",
        },
    );
    // The first cause first: a failed send makes the others fail as well.
    acknowledged.and(sent)?;
    Ok(closed?)
}

/// What the two threads tell each other.
#[derive(Default)]
struct State {
    acknowledged: AtomicU64,
    failed: AtomicBool,
}

type Sent = (u64, SendHandle);

fn open_input(arguments: &ProduceArguments) -> Result<(Box<dyn BufRead>, Option<u64>)> {
    let Some(path) = &arguments.input else {
        return Ok((Box::new(BufReader::with_capacity(256 << 10, std::io::stdin())), None));
    };
    let file = File::open(path).map_err(Failure::io(format!("opening {}", path.display())))?;
    // Of a pipe or device the length says nothing.
    let bytes = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    Ok((Box::new(BufReader::with_capacity(256 << 10, file)), bytes))
}

fn send_lines(
    arguments: &ProduceArguments,
    lines: &mut dyn BufRead,
    producer: &Producer,
    topic: &Topic,
    handles: SyncSender<Sent>,
    state: &State,
    progress: &ProgressBar,
) -> Result {
    let mut line = Vec::new();
    for number in 1.. {
        if !read_line(lines, &mut line, number)? || state.failed.load(Ordering::Relaxed) {
            break;
        }
        progress.inc(line.len() as u64 + 1);
        let record =
            parse_line(arguments, &line).map_err(|reason| Failure::Usage(format!("line {number}: {reason}")))?;
        let Some(record) = record else { continue };
        let headers = record.headers();
        let handle = producer.send(topic, record.record(&headers)).map_err(|error| at_line(number, &error))?;
        if handles.send((number, handle)).is_err() {
            break;
        }
    }
    Ok(())
}

fn at_line(number: u64, error: &ringlane::Error) -> Failure {
    Failure::Check(format!("line {number}: {error}"))
}

/// Reads a line without its end into `line`; `false` at the end of the input. A last line without an
/// end counts.
fn read_line(lines: &mut dyn BufRead, line: &mut Vec<u8>, number: u64) -> Result<bool> {
    line.clear();
    let read = lines.take(LINE_BYTES_MAX).read_until(b'\n', line).map_err(Failure::io("reading the input"))?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if read as u64 == LINE_BYTES_MAX {
        let reason = format!("line {number} is longer than {LINE_BYTES_MAX} bytes; no record can hold it");
        return Err(Failure::Usage(reason));
    }
    Ok(read > 0)
}

/// The record of a line; an empty line of JSON is none.
fn parse_line(arguments: &ProduceArguments, line: &[u8]) -> Result<Option<OwnedRecord>, String> {
    let mut record = if arguments.json {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        OwnedRecord::parse(line)?
    } else {
        let (key, value) = split_key(line, arguments.key_separator.as_deref())?;
        OwnedRecord { key: key.map(<[u8]>::to_vec), value: Some(value.to_vec()), ..OwnedRecord::default() }
    };
    record.timestamp_ms = record.timestamp_ms.or(arguments.timestamp);
    record.partition = record.partition.or(arguments.partition);
    if let (Visibility::Now, Some(delay)) = (record.visibility, arguments.delay) {
        record.visibility = Visibility::After(delay);
    }
    Ok(Some(record))
}

fn split_key<'a>(line: &'a [u8], separator: Option<&str>) -> Result<(Option<&'a [u8]>, &'a [u8]), String> {
    let Some(separator) = separator else { return Ok((None, line)) };
    let at = line.windows(separator.len().max(1)).position(|window| window == separator.as_bytes());
    match at {
        Some(at) => Ok((Some(&line[..at]), &line[at + separator.len()..])),
        None => Err(format!("there is no key separator `{separator}` in it")),
    }
}

/// Waits for the receipts in order, and prints them. Ends at the first error; then nothing more is sent.
fn acknowledge(arguments: &ProduceArguments, handles: Receiver<Sent>, state: &State) -> Result {
    let result = acknowledge_all(arguments, &handles, state);
    state.failed.store(result.is_err(), Ordering::Relaxed);
    result
}

fn acknowledge_all(arguments: &ProduceArguments, handles: &Receiver<Sent>, state: &State) -> Result {
    let mut output = Output::new();
    loop {
        let (number, handle) = match handles.try_recv() {
            Ok(sent) => sent,
            // Nothing more to wait for at this moment: show what there is.
            Err(TryRecvError::Empty) => {
                output.flush()?;
                let Ok(sent) = handles.recv() else { return output.finish() };
                sent
            }
            Err(TryRecvError::Disconnected) => return output.finish(),
        };
        if !handle.is_done() {
            output.flush()?;
        }
        let receipt = handle.wait().map_err(|error| at_line(number, &error))?;
        state.acknowledged.fetch_add(1, Ordering::Relaxed);
        match arguments.receipts {
            None => {}
            Some(ReceiptForm::Json) => output.json(&receipt)?,
            Some(ReceiptForm::Auto) if arguments.json => output.json(&receipt)?,
            Some(_) => output.line(receipt_text(&receipt))?,
        }
    }
}

fn receipt_text(receipt: &Receipt) -> String {
    let offset = receipt.offset.map_or("-".to_owned(), |offset| offset.to_string());
    let durability = match receipt.durability {
        Durability::Synced => "synced",
        Durability::Buffered => "buffered",
    };
    let Receipt { topic, partition, timestamp_ms, id, .. } = receipt;
    format!("{topic} {partition} {offset} {timestamp_ms} {durability} {id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_what_stands_before_the_first_separator() {
        assert_eq!(split_key(b"k=v=w", Some("=")), Ok((Some(&b"k"[..]), &b"v=w"[..])));
        assert_eq!(split_key(b"k::v", Some("::")), Ok((Some(&b"k"[..]), &b"v"[..])));
        assert_eq!(split_key(b"=v", Some("=")), Ok((Some(&b""[..]), &b"v"[..])));
        assert_eq!(split_key(b"k=v", None), Ok((None, &b"k=v"[..])));
        assert!(split_key(b"kv", Some("=")).unwrap_err().contains("separator"));
        split_key(b"kv", Some("")).unwrap_err();
    }

    #[test]
    fn lines_end_with_a_line_end_or_the_input() {
        let mut input: &[u8] = b"one\n\ntwo\r\nlast";
        let mut line = Vec::new();
        let mut lines = Vec::new();
        while read_line(&mut input, &mut line, 1).unwrap() {
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        assert_eq!(lines, ["one", "", "two\r", "last"]);
    }

    #[test]
    fn a_line_that_no_record_can_hold_is_refused_before_memory_is_full() {
        let mut endless = BufReader::new(std::io::repeat(b'x'));
        let Err(Failure::Usage(message)) = read_line(&mut endless, &mut Vec::new(), 7) else { panic!() };
        assert!(message.contains("line 7"), "{message}");
    }
}
