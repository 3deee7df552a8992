//! `ringlane topic`: create, list, describe, configure, delete-records, delete.

use crate::arguments::{DescribeArguments, EngineArguments, ListArguments};
use crate::failure::Result;
use crate::output::Output;
use crate::{render, text};
use clap::{Args, Subcommand};
use ringlane::admin::{TopicDescription, TopicSummary};
use ringlane::{Retention, TopicOptions};

/// What to do with topics.
#[derive(Subcommand)]
pub enum TopicCommand {
    /// Create a topic (and the directory, if it is not there)
    Create(CreateArguments),
    /// List all topics
    List(ListArguments),
    /// Show a topic and its partitions
    Describe(DescribeArguments),
    /// Change how long the records of a topic are kept
    Configure(ConfigureArguments),
    /// Give up the records of a partition below an offset, for good
    DeleteRecords(DeleteRecordsArguments),
    /// Delete a topic and its records, for good
    Delete(NameArguments),
}

/// Arguments of `topic create`.
#[derive(Args)]
pub struct CreateArguments {
    /// The new topic's name
    name: String,
    /// How many partitions; cannot be changed later
    #[arg(short, long, default_value_t = 1)]
    partitions: u32,
    #[command(flatten)]
    retention: RetentionArguments,
    /// Print the topic as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// How long records are kept.
#[derive(Args)]
pub struct RetentionArguments {
    /// Keep records at least so long after they were appended, in ms; 0: for ever [default: for ever]
    #[arg(long, value_name = "MS")]
    retention_ms: Option<u64>,
    /// Keep at least so many bytes of the newest records of each partition; 0: all [default: all]
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
    /// Whether these two keep what a group that reads the topic has not finished [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    keep_unfinished: Option<bool>,
    /// Whether what every group that reads the topic has finished is given up at once [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    drop_finished: Option<bool>,
}

impl RetentionArguments {
    /// What was said, and otherwise what was before.
    fn over(&self, before: Retention) -> Retention {
        let ms = self.retention_ms.or(before.retention_ms).unwrap_or(0);
        let bytes = self.retention_bytes.or(before.retention_bytes).unwrap_or(0);
        let keep = self.keep_unfinished.unwrap_or(before.keep_unfinished);
        let drop = self.drop_finished.unwrap_or(before.drop_finished);
        Retention::new().retention_ms(ms).retention_bytes(bytes).keep_unfinished(keep).drop_finished(drop)
    }
}

/// Arguments of `topic configure`.
#[derive(Args)]
pub struct ConfigureArguments {
    /// The topic's name
    name: String,
    #[command(flatten)]
    retention: RetentionArguments,
    /// Print the topic as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Arguments of `topic delete-records`.
#[derive(Args)]
pub struct DeleteRecordsArguments {
    /// The topic's name
    name: String,
    /// The partition
    #[arg(short, long)]
    partition: u32,
    /// The first offset that is kept; one behind the last record gives up all
    #[arg(long, value_name = "OFFSET")]
    before: u64,
    /// Print the partition as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Arguments of `topic delete`.
#[derive(Args)]
pub struct NameArguments {
    /// The topic's name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs `ringlane topic`.
pub fn run(command: &TopicCommand) -> Result {
    match command {
        TopicCommand::Create(arguments) => create(arguments),
        TopicCommand::List(arguments) => list(arguments),
        TopicCommand::Describe(arguments) => describe(arguments),
        TopicCommand::Configure(arguments) => configure(arguments),
        TopicCommand::DeleteRecords(arguments) => delete_records(arguments),
        TopicCommand::Delete(arguments) => delete(arguments),
    }
}

fn create(arguments: &CreateArguments) -> Result {
    let retention = arguments.retention.over(Retention::new());
    let options = TopicOptions::new().partitions(arguments.partitions).retention(retention);
    let summary = arguments.engine.reach(true)?.run(
        |engine| TopicSummary::of(&engine.create_topic(&arguments.name, options.clone())?),
        |client| client.create_topic(&arguments.name, &options),
    )?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&summary)?;
    } else {
        output.line(format_args!("created topic `{}` with {} partitions", summary.name, summary.partitions))?;
    }
    output.finish()
}

fn list(arguments: &ListArguments) -> Result {
    let (engine, _) = arguments.engine.open()?;
    let summaries = engine.topics().iter().map(TopicSummary::of).collect::<Result<Vec<_>, _>>()?;
    engine.close()?;
    let mut output = Output::new();
    if arguments.json {
        summaries.iter().try_for_each(|summary| output.json(summary))?;
    } else {
        let mut lines = vec![["NAME", "ID", "PARTITIONS", "RECORDS", "CREATED"].map(str::to_owned).to_vec()];
        lines.extend(summaries.iter().map(|summary| {
            let (id, partitions) = (summary.id.to_string(), summary.partitions.to_string());
            vec![summary.name.clone(), id, partitions, text::grouped(summary.records), text::utc(summary.created_ms)]
        }));
        output.text(&render::aligned(&lines, &[false, true, true, true, false]))?;
    }
    output.finish()
}

fn describe(arguments: &DescribeArguments) -> Result {
    let (engine, _) = arguments.engine.open()?;
    let description = TopicDescription::of(&engine.topic(&arguments.name)?)?;
    engine.close()?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&description)?;
    } else {
        output.text(&render::fields(&description.summary))?;
        output.line(format_args!("created     {}\n", text::utc(description.summary.created_ms)))?;
        output.text(&render::table(&description.partition))?;
    }
    output.finish()
}

fn configure(arguments: &ConfigureArguments) -> Result {
    let (name, retention) = (&arguments.name, &arguments.retention);
    let summary = arguments.engine.reach(false)?.run(
        |engine| {
            let topic = engine.topic(name)?;
            engine.set_retention(name, retention.over(topic.retention()))?;
            TopicSummary::of(&topic)
        },
        |client| {
            let before = client.describe_topic(name)?.summary.retention();
            client.set_retention(name, retention.over(before))
        },
    )?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&summary)?;
    } else {
        let time = summary.retention_ms.map_or("for ever".to_owned(), |ms| format!("{} ms", text::grouped(ms)));
        let bytes = summary.retention_bytes;
        let bytes = bytes.map_or("all bytes".to_owned(), |bytes| format!("{} bytes", text::grouped(bytes)));
        output.line(format_args!("topic `{}` keeps records {time}, {bytes} of each partition", summary.name))?;
        if summary.keep_unfinished {
            output.line(format_args!("what a group that reads it has not finished is kept longer"))?;
        }
        if summary.drop_finished {
            output.line(format_args!("what every group that reads it has finished goes at once"))?;
        }
    }
    output.finish()
}

fn delete_records(arguments: &DeleteRecordsArguments) -> Result {
    let (name, partition, before) = (&arguments.name, arguments.partition, arguments.before);
    let info = arguments.engine.reach(false)?.run(
        |engine| {
            let topic = engine.topic(name)?;
            engine.delete_records(&topic, partition, before)?;
            topic.partition_info(partition)
        },
        |client| client.delete_records(name, partition, before),
    )?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&info)?;
    } else {
        let first = info.first_offset;
        output.line(format_args!("partition {partition} of topic `{name}` begins at offset {first} now"))?;
    }
    output.finish()
}

fn delete(arguments: &NameArguments) -> Result {
    let summary = arguments.engine.reach(false)?.run(
        |engine| {
            let summary = TopicSummary::of(&engine.topic(&arguments.name)?)?;
            engine.delete_topic(&arguments.name)?;
            Ok(summary)
        },
        |client| client.delete_topic(&arguments.name),
    )?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&summary)?;
    } else {
        output.line(format_args!(
            "deleted topic `{}` and its {} records",
            summary.name,
            text::grouped(summary.records)
        ))?;
    }
    output.finish()
}
