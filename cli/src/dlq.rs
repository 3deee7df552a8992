//! `ringlane dlq`: the dead letters of groups: list, show, redrive.
//!
//! Invariant: a topic may take the dead letters of several groups, and other records too; what is shown for a group are
//! its own alone.

use crate::arguments::EngineArguments;
use crate::failure::Result;
use crate::holder::Reached;
use crate::output::Output;
use crate::printed::Printed;
use crate::record_json::RecordLine;
use crate::{interrupt, render, text};
use clap::{Args, Subcommand};
use ringlane::admin::TopicSummary;
use ringlane::{ConsumerOptions, Engine, Error, GroupInfo, Options, RecordView, Redrive, Redriven, Start, Topic};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What to do with dead letters.
#[derive(Subcommand)]
pub enum DlqCommand {
    /// List all groups with the topic of their dead letters, and how many records stand there
    List(ListArguments),
    /// Print the dead letters of a group, with what became of them
    Show(ShowArguments),
    /// Have records that became dead letters handed out to their group again, as if they never had been. The dead letters
    /// stay; none is redriven twice
    Redrive(RedriveArguments),
}

/// Arguments of `dlq list`.
#[derive(Args)]
pub struct ListArguments {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Arguments of `dlq show`.
#[derive(Args)]
pub struct ShowArguments {
    /// The group's name
    group: String,
    /// End after so many
    #[arg(short = 'n', long, value_name = "RECORDS")]
    count: Option<u64>,
    /// One JSON object a line, as `consume` prints them: the causes are headers whose names begin with `ringlane.`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Arguments of `dlq redrive`.
#[derive(Args)]
pub struct RedriveArguments {
    /// The group's name
    group: String,
    /// All that were not redriven before
    #[arg(long, conflicts_with_all = ["topic", "partition", "offset"], required_unless_present = "offset")]
    all: bool,
    /// The record stands in this topic, which the group reads [default: --partition and --offset are those of the dead
    /// letter itself, in the topic of the dead letters]
    #[arg(short, long, requires = "offset")]
    topic: Option<String>,
    /// The partition
    #[arg(short, long, requires = "offset")]
    partition: Option<u32>,
    /// The offset
    #[arg(long, requires = "partition")]
    offset: Option<u64>,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

impl RedriveArguments {
    fn what(&self) -> Redrive {
        match (self.topic.clone(), self.partition, self.offset) {
            (Some(topic), Some(partition), Some(offset)) => Redrive::Record { topic, partition, offset },
            (None, Some(partition), Some(offset)) => Redrive::Letter { partition, offset },
            _ => Redrive::All,
        }
    }
}

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);

/// Runs `ringlane dlq`.
pub fn run(command: &DlqCommand) -> Result {
    match command {
        DlqCommand::List(arguments) => list(arguments),
        DlqCommand::Show(arguments) => show(arguments),
        DlqCommand::Redrive(arguments) => redrive(arguments),
    }
}

/// A group and where its dead letters stand.
#[derive(Serialize)]
struct ListLine {
    group: String,
    topic: String,
    /// Of the topic, whosever they are; zero where it is not there yet.
    records: u64,
}

fn list(arguments: &ListArguments) -> Result {
    let (groups, topics) = arguments.engine.reach(false)?.run(
        |engine| {
            let topics = engine.topics().iter().map(TopicSummary::of).collect::<Result<Vec<_>, _>>()?;
            Ok((engine.groups(), topics))
        },
        |client| Ok((client.groups()?, client.topics()?)),
    )?;
    let records: BTreeMap<_, _> = topics.into_iter().map(|topic| (topic.name, topic.records)).collect();
    let line = |GroupInfo { name, dead_letter_topic, .. }| {
        let records = records.get(&dead_letter_topic).copied().unwrap_or(0);
        ListLine { group: name, topic: dead_letter_topic, records }
    };
    let lines: Vec<_> = groups.into_iter().map(line).collect();
    let mut output = Output::new();
    if arguments.json {
        lines.iter().try_for_each(|line| output.json(line))?;
    } else {
        let mut rows = vec![["GROUP", "TOPIC", "RECORDS"].map(str::to_owned).to_vec()];
        rows.extend(lines.into_iter().map(|line| vec![line.group, line.topic, text::grouped(line.records)]));
        output.text(&render::aligned(&rows, &[false, false, true]))?;
    }
    output.finish()
}

fn redrive(arguments: &RedriveArguments) -> Result {
    let (group, what) = (&arguments.group, arguments.what());
    let reached = arguments.engine.reach(false)?;
    let done = reached.run(|engine| engine.redrive(group, &what), |client| client.redrive(group, &what))?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&done)?;
    } else {
        let Redriven { redriven, unfinished, .. } = done;
        output.line(format_args!("{redriven} records are available to group `{group}` again"))?;
        if unfinished > 0 {
            output.line(format_args!("{unfinished} others it has not finished anyway"))?;
        }
    }
    if done.gone > 0 {
        let gone = done.gone;
        eprintln!(
            "warning: {gone} records are no longer kept: all that is left of them are their dead letters (dlq show)"
        );
    }
    if done.is_full {
        eprintln!("there may be more: redrive again when the group's members have finished some");
    }
    output.finish()
}

fn show(arguments: &ShowArguments) -> Result {
    let (engine, topic) = match arguments.engine.reach(false)? {
        Reached::Held(mut client) => {
            let topic = client.describe_group(&arguments.group)?.dead_letter_topic;
            let options = arguments.engine.options.apply(Options::new().create(false))?;
            (Engine::open_read_only(&arguments.engine.directory.path, options)?, topic)
        }
        Reached::Here(engine) => {
            let topic = engine.describe_group(&arguments.group)?.dead_letter_topic;
            (engine, topic)
        }
    };
    interrupt::catch();
    let printed = match engine.topic(&topic) {
        Ok(topic) => print(arguments, &engine, &topic),
        // The first dead letter makes it.
        Err(Error::UnknownTopic { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    };
    let closed = engine.close();
    printed?;
    Ok(closed?)
}

fn print(arguments: &ShowArguments, engine: &Engine, topic: &Topic) -> Result {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    let mut ends = Vec::new();
    for partition in 0..topic.partitions() {
        ends.push((partition, topic.partition_info(partition)?.next_offset));
    }
    consumer.assign_all(topic, Start::Beginning)?;
    let mut output = Output::new();
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while left > 0 && !interrupt::came() {
        ends.retain(|&(partition, end)| consumer.position(topic, partition).unwrap_or(u64::MAX) < end);
        if ends.is_empty() {
            break;
        }
        let records = consumer.poll(POLL)?;
        let own = records.iter().filter(|record| cause(record, "group") == arguments.group);
        for record in own.take(usize::try_from(left).unwrap_or(usize::MAX)) {
            write_letter(arguments, &mut output, &record)?;
            left -= 1;
        }
    }
    output.finish()
}

fn write_letter(arguments: &ShowArguments, output: &mut Output, record: &RecordView<'_>) -> Result {
    if arguments.json {
        return output.json(&RecordLine::new(&Printed::from(record)));
    }
    let of = |name| cause(record, name);
    let (topic, partition, offset, reason) = (of("topic"), of("partition"), of("offset"), of("reason"));
    let (deliveries, failures) = (of("deliveries"), of("failures"));
    output.text(&format!("{topic} {partition} {offset} {reason}, {deliveries} deliveries, {failures} failures: "))?;
    let value = record.value().unwrap_or_default();
    match output.is_terminal {
        true => output.text(&text::printable(value))?,
        false => output.bytes(value)?,
    }
    output.text("\n")
}

/// What a header says that the group has added. The last one of its name is the group's: a record may have come with
/// others, for example because it was a dead letter before.
fn cause(record: &RecordView<'_>, name: &str) -> String {
    let value = record.headers().filter(|header| header.name.strip_prefix("ringlane.") == Some(name)).last();
    value.map_or_else(String::new, |header| text::printable(header.value).to_string())
}
