//! `ringlane produce`: lines, or records as JSON, from a file or standard input.
//!
//! Invariants:
//! - Records are sent in the order of the lines, and receipts are printed in that order.
//! - At most `--in-flight` records wait for their receipts; reading pauses until one comes.
//! - Where another process has the engine open, it sends them: in messages of what has been read meanwhile.
//! - Exit code 0 means that every line was acknowledged.

use crate::arguments::EngineArguments;
use crate::failure::{Failure, Result};
use crate::holder::Reached;
use crate::output::Output;
use crate::record_json::OwnedRecord;
use crate::{progress, text};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use ringlane::admin::Client;
use ringlane::{Durability, Engine, ProducerOptions, Receipt, SendHandle, Visibility};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

/// Arguments of `produce`.
#[derive(Args)]
#[command(after_help = "With --json each line is an object, all fields optional:
  {\"key\":\"k\",\"value\":\"v\",\"headers\":{\"name\":\"value\"},\"timestamp_ms\":1700000000000,\"partition\":0,\"delay_ms\":500,
   \"message_id\":\"m\"}
`visible_at_ms` stands for an absolute time instead of `delay_ms`; `key_base64`, `value_base64` and `message_id_base64`
for bytes that are not UTF-8. What `consume --json` prints can be read.")]
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
    let reached = arguments.engine.reach(true)?;
    let progress = progress::over_bytes(bytes);
    let state = State::default();
    let started = Instant::now();
    let (sent, acknowledged, closed) = match reached {
        Reached::Here(engine) => send_here(arguments, &engine, &mut lines, &state, &progress)?,
        Reached::Held(mut client) => {
            // A topic that is not there is an error before the first line, too.
            client.describe_topic(&arguments.topic)?;
            send_through(arguments, client, &mut lines, &state, &progress)
        }
    };
    progress.finish_and_clear();
    let records = state.acknowledged.load(Ordering::Relaxed);
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
    acknowledged.and(sent).and(closed)
}

/// How sending, acknowledging and closing ended.
type Ends = (Result, Result, Result);

/// Sends with a producer of this process.
fn send_here(
    arguments: &ProduceArguments,
    engine: &Engine,
    lines: &mut dyn BufRead,
    state: &State,
    progress: &ProgressBar,
) -> Result<Ends> {
    let topic = engine.topic(&arguments.topic)?;
    let producer = engine.producer(ProducerOptions::new().durability(arguments.durability))?;
    let (handles, receipts) = sync_channel(arguments.in_flight as usize);
    let (sent, acknowledged) = std::thread::scope(|scope| {
        let acknowledging =
            scope.spawn(move || acknowledge(state, |output| wait_for_receipts(arguments, &receipts, state, output)));
        let sent = send_lines(arguments, lines, state, progress, &mut |number, record: OwnedRecord| {
            let headers = record.headers();
            let handle = producer.send(&topic, record.record(&headers)).map_err(|error| at_line(number, &error))?;
            Ok(handles.send((number, handle)).is_ok())
        });
        drop(handles);
        (sent, acknowledging.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok((sent, acknowledged, engine.close().map_err(Failure::from)))
}

/// Most records on their way to another process: they are held here until it has them.
const HELD_RECORDS_MAX: u32 = 1024;

/// Has the process send that has the engine open.
fn send_through(
    arguments: &ProduceArguments,
    client: Client,
    lines: &mut dyn BufRead,
    state: &State,
    progress: &ProgressBar,
) -> Ends {
    let (records, read) = sync_channel(arguments.in_flight.min(HELD_RECORDS_MAX) as usize);
    let (sent, acknowledged) = std::thread::scope(|scope| {
        let sending =
            scope.spawn(move || acknowledge(state, |output| have_sent(arguments, client, &read, state, output)));
        let sent = send_lines(arguments, lines, state, progress, &mut |number, record| {
            Ok(records.send((number, record)).is_ok())
        });
        drop(records);
        (sent, sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    (sent, acknowledged, Ok(()))
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

/// Gives the record of each line to `send`, which says whether to go on.
fn send_lines(
    arguments: &ProduceArguments,
    lines: &mut dyn BufRead,
    state: &State,
    progress: &ProgressBar,
    send: &mut dyn FnMut(u64, OwnedRecord) -> Result<bool>,
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
        if !send(number, record)? {
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

/// Prints the receipts in their order. Ends at the first error; then nothing more is sent.
fn acknowledge(state: &State, receipts: impl FnOnce(&mut Output) -> Result) -> Result {
    let mut output = Output::new();
    let result = receipts(&mut output).and_then(|()| output.finish());
    state.failed.store(result.is_err(), Ordering::Relaxed);
    result
}

/// The next of a channel; `None`: there will be none. What is printed is shown before it is waited for.
fn next<T>(receiver: &Receiver<T>, output: &mut Output) -> Result<Option<T>> {
    match receiver.try_recv() {
        Ok(next) => Ok(Some(next)),
        Err(TryRecvError::Empty) => {
            output.flush()?;
            Ok(receiver.recv().ok())
        }
        Err(TryRecvError::Disconnected) => Ok(None),
    }
}

fn wait_for_receipts(
    arguments: &ProduceArguments,
    handles: &Receiver<Sent>,
    state: &State,
    output: &mut Output,
) -> Result {
    while let Some((number, handle)) = next(handles, output)? {
        if !handle.is_done() {
            output.flush()?;
        }
        let receipt = handle.wait().map_err(|error| at_line(number, &error))?;
        print_receipt(arguments, state, output, &receipt)?;
    }
    Ok(())
}

/// Hands over what has been read, in one message after the other.
fn have_sent(
    arguments: &ProduceArguments,
    mut client: Client,
    read: &Receiver<(u64, OwnedRecord)>,
    state: &State,
    output: &mut Output,
) -> Result {
    while let Some(first) = next(read, output)? {
        let mut batch = vec![first];
        batch.extend(read.try_iter().take(HELD_RECORDS_MAX as usize - 1));
        let headers: Vec<_> = batch.iter().map(|(_, record)| record.headers()).collect();
        let records: Vec<_> = batch.iter().zip(&headers).map(|((_, record), headers)| record.record(headers)).collect();
        let outcomes = client
            .produce(&arguments.topic, arguments.durability, &records)
            .map_err(|error| at_line(batch[0].0, &error))?;
        // Where there are fewer outcomes than records, the last of them says why.
        for ((number, _), outcome) in batch.iter().zip(outcomes) {
            print_receipt(arguments, state, output, &outcome.map_err(|error| at_line(*number, &error))?)?;
        }
    }
    Ok(())
}

fn print_receipt(arguments: &ProduceArguments, state: &State, output: &mut Output, receipt: &Receipt) -> Result {
    state.acknowledged.fetch_add(1, Ordering::Relaxed);
    match arguments.receipts {
        None => Ok(()),
        Some(ReceiptForm::Json) => output.json(receipt),
        Some(ReceiptForm::Auto) if arguments.json => output.json(receipt),
        Some(_) => output.line(receipt_text(receipt)),
    }
}

fn receipt_text(receipt: &Receipt) -> String {
    let offset = receipt.offset.map_or("-".to_owned(), |offset| offset.to_string());
    let durability = match receipt.durability {
        Durability::Synced => "synced",
        Durability::Buffered => "buffered",
    };
    let Receipt { topic, partition, timestamp_ms, id, .. } = receipt;
    let duplicate = if receipt.duplicate { " duplicate" } else { "" };
    format!("{topic} {partition} {offset} {timestamp_ms} {durability} {id}{duplicate}")
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
