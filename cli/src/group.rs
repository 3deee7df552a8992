//! `ringlane group`: create, list, describe, reset, delete.
//!
//! Invariant: where a group begins is always said, never assumed.

use crate::arguments::{DescribeArguments, EngineArguments, ListArguments};
use crate::failure::Result;
use crate::output::Output;
use crate::{render, text};
use clap::{Args, Subcommand};
use ringlane::{Filter, GroupInfo, GroupKind, GroupOptions, Start};
use serde::Serialize;
use std::time::Duration;

/// What to do with groups.
#[derive(Subcommand)]
pub enum GroupCommand {
    /// Create a group, which shares the records of topics among its members
    Create(CreateArguments),
    /// List all groups
    List(ListArguments),
    /// Show how far a group has come in each partition
    Describe(DescribeArguments),
    /// Have a group go on elsewhere: earlier, and records are handed out again; later, and those between never are
    Reset(ResetArguments),
    /// Delete a group and how far it has come, for good; its dead letters stay
    Delete(DeleteArguments),
}

/// Arguments of `group create`.
#[derive(Args)]
pub struct CreateArguments {
    /// The new group's name
    name: String,
    /// A topic, and where the group begins in it: beginning, end, offset:N, or timestamp:MS (since 1970-01-01 UTC); may
    /// be given several times
    #[arg(short, long = "topic", value_name = "TOPIC:START", required = true, value_parser = parse_topic)]
    topics: Vec<(String, Start)>,
    /// Each partition belongs to one member at a time, which is given its records in order
    #[arg(long, conflicts_with = "shared")]
    ordered: bool,
    /// Any member is given any record (the default)
    #[arg(long)]
    shared: bool,
    /// A record whose deliveries failed so often goes to the dead letters [default: 16]
    #[arg(long, value_name = "COUNT")]
    max_deliveries: Option<u32>,
    /// How long a record that failed waits for its next delivery at first, in ms; it doubles [default: 1000]
    #[arg(long, value_name = "MS")]
    retry_first_ms: Option<u64>,
    /// And at most [default: 600000]
    #[arg(long, value_name = "MS")]
    retry_max_ms: Option<u64>,
    /// The topic that takes the dead letters; created where it is missing [default: the group's name and .dlq]
    #[arg(long, value_name = "TOPIC")]
    dead_letter_topic: Option<String>,
    /// Which records the group wants, by their headers: tag = paid and not (region = eu or exists test); others are
    /// finished without being handed out [default: all]
    #[arg(long, value_name = "FILTER")]
    filter: Option<Filter>,
    /// Print the group as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

impl CreateArguments {
    fn options(&self) -> GroupOptions {
        let mut options = if self.ordered { GroupOptions::ordered() } else { GroupOptions::shared() };
        options.topics.clone_from(&self.topics);
        options.max_deliveries = self.max_deliveries.unwrap_or(options.max_deliveries);
        let (first, max) = &mut options.retry_delay;
        *first = self.retry_first_ms.map_or(*first, Duration::from_millis);
        *max = self.retry_max_ms.map_or(*max, Duration::from_millis);
        options.dead_letter_topic.clone_from(&self.dead_letter_topic);
        options.filter.clone_from(&self.filter);
        options
    }
}

/// Arguments of `group reset`.
#[derive(Args)]
pub struct ResetArguments {
    /// The group's name
    name: String,
    /// The topic
    #[arg(short, long)]
    topic: String,
    /// Only this partition [default: all]
    #[arg(short, long)]
    partition: Option<u32>,
    /// Where it goes on: beginning, end, offset:N, or timestamp:MS (since 1970-01-01 UTC)
    #[arg(long, value_name = "START")]
    to: Start,
    /// One JSON object a line, for each partition
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Arguments of `group delete`.
#[derive(Args)]
pub struct DeleteArguments {
    /// The group's name
    name: String,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs `ringlane group`.
pub fn run(command: &GroupCommand) -> Result {
    match command {
        GroupCommand::Create(arguments) => create(arguments),
        GroupCommand::List(arguments) => list(arguments),
        GroupCommand::Describe(arguments) => describe(arguments),
        GroupCommand::Reset(arguments) => reset(arguments),
        GroupCommand::Delete(arguments) => delete(arguments),
    }
}

fn create(arguments: &CreateArguments) -> Result {
    let (name, options) = (&arguments.name, arguments.options());
    let info = arguments.engine.reach(false)?.run(
        |engine| {
            engine.create_group(name, options.clone())?;
            engine.describe_group(name)
        },
        |client| client.create_group(name, &options),
    )?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&info)?;
    } else {
        let (kind, partitions) = (kind(&info), info.partitions.len());
        output.line(format_args!("created {kind} group `{name}` on {partitions} partitions"))?;
    }
    output.finish()
}

fn list(arguments: &ListArguments) -> Result {
    let groups = arguments.engine.reach_groups()?.run(|engine| Ok(engine.groups()), |client| client.groups())?;
    let mut output = Output::new();
    if arguments.json {
        groups.iter().try_for_each(|info| output.json(info))?;
    } else {
        let head = ["NAME", "KIND", "MEMBERS", "PARTITIONS", "LAG", "DEAD LETTERS"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(groups.iter().map(|info| {
            let (members, partitions) = (info.members.to_string(), info.partitions.len().to_string());
            let lag = text::grouped(info.partitions.iter().map(|partition| partition.lag).sum());
            let dead_letters = info.dead_letter_topic.clone();
            vec![info.name.clone(), kind(info).to_owned(), members, partitions, lag, dead_letters]
        }));
        output.text(&render::aligned(&lines, &[false, false, true, true, true, false]))?;
    }
    output.finish()
}

fn describe(arguments: &DescribeArguments) -> Result {
    let name = &arguments.name;
    let reached = arguments.engine.reach_groups()?;
    let info = reached.run(|engine| engine.describe_group(name), |client| client.describe_group(name))?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&info)?;
    } else {
        output.text(&render::fields(&info))?;
    }
    output.finish()
}

/// Where a group goes on in a partition.
#[derive(Serialize)]
struct ResetLine<'a> {
    topic: &'a str,
    partition: u32,
    position: u64,
}

fn reset(arguments: &ResetArguments) -> Result {
    let ResetArguments { name, topic, partition, to, .. } = arguments;
    let partitions = |info: GroupInfo| match partition {
        Some(partition) => vec![*partition],
        None => {
            let read: Vec<_> = info.partitions.iter().filter(|of| of.topic == *topic).map(|of| of.partition).collect();
            // Where the group does not read the topic, the engine has the words for it.
            if read.is_empty() { vec![0] } else { read }
        }
    };
    let positions: Vec<(u32, u64)> = arguments.engine.reach(false)?.run(
        |engine| {
            let reset = |partition| Ok((partition, engine.reset_group(name, topic, partition, *to)?));
            partitions(engine.describe_group(name)?).into_iter().map(reset).collect()
        },
        |client| {
            let all = partitions(client.describe_group(name)?);
            all.into_iter().map(|partition| Ok((partition, client.reset_group(name, topic, partition, *to)?))).collect()
        },
    )?;
    let mut output = Output::new();
    for (partition, position) in positions {
        if arguments.json {
            output.json(&ResetLine { topic, partition, position })?;
        } else {
            let of = format_args!("partition {partition} of topic `{topic}`");
            output.line(format_args!("group `{name}` goes on at offset {position} in {of}"))?;
        }
    }
    output.finish()
}

fn delete(arguments: &DeleteArguments) -> Result {
    let name = &arguments.name;
    arguments.engine.reach(false)?.run(|engine| engine.delete_group(name), |client| client.delete_group(name))?;
    let mut output = Output::new();
    output.line(format_args!("deleted group `{}`; the records and its dead letters stay", arguments.name))?;
    output.finish()
}

fn kind(info: &GroupInfo) -> &'static str {
    match info.kind {
        GroupKind::Ordered => "ordered",
        GroupKind::Shared => "shared",
    }
}

fn parse_topic(text: &str) -> Result<(String, Start), String> {
    match text.split_once(':') {
        Some((topic, start)) if !topic.is_empty() => Ok((topic.to_owned(), start.parse()?)),
        _ => Err(format!(
            "say where the group begins: {text}:beginning, {text}:end, {text}:offset:N or {text}:timestamp:MS"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_comes_with_where_the_group_begins() {
        let topic = |start| Ok(("t".to_owned(), start));
        assert_eq!(parse_topic("t:beginning"), topic(Start::Beginning));
        assert_eq!(parse_topic("t:end"), topic(Start::End));
        assert_eq!(parse_topic("t:offset:12"), topic(Start::Offset(12)));
        assert_eq!(parse_topic("t:timestamp:-5"), topic(Start::Timestamp(-5)));
        for bad in ["t", ":end", ""] {
            assert!(parse_topic(bad).unwrap_err().contains("say where the group begins"), "{bad}");
        }
        for bad in ["t:", "t:start", "t:12", "t:offset:", "t:timestamp:now", "t:Beginning"] {
            assert!(parse_topic(bad).unwrap_err().contains("timestamp:MS"), "{bad}");
        }
    }
}
