//! `ringlane audit`: is what was acknowledged there, and what have groups done with it? Exit code 1 on loss.
//!
//! Invariant: whether the directory is open here or in another process, the output is the same.

use crate::arguments::EngineArguments;
use crate::failure::{Failure, Result};
use crate::holder::Reached;
use crate::output::Output;
use crate::{progress, render, text};
use clap::Args;
use ringlane::{AuditOptions, AuditProgress, AuditReport, GroupAudit, NumberCounts, PartitionAudit, ProducerAudit};

/// Arguments of `audit`.
#[derive(Args)]
pub struct AuditArguments {
    /// Only this topic; may be given several times
    #[arg(short, long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs `ringlane audit`.
pub fn run(arguments: &AuditArguments) -> Result {
    let options = arguments.topics.iter().fold(AuditOptions::new(), |options, topic| options.topic(topic));
    let reached = arguments.engine.reach(false)?;
    let bar = progress::over_records();
    let mut show = |progress: &AuditProgress| {
        bar.set_length(progress.records_total);
        bar.set_position(progress.records_done);
        let place = format!("{} {}", progress.topic, progress.partition);
        if bar.message() != place {
            bar.set_message(place);
        }
    };
    let audited = match reached {
        Reached::Held(mut client) => client.audit(&options, &mut show),
        Reached::Here(engine) => {
            let audited = engine.audit(&options, &mut show);
            let closed = engine.close();
            audited.and_then(|report| closed.map(|()| report))
        }
    };
    bar.finish_and_clear();
    let report = audited?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&report)?;
    } else {
        output.text(&tables(&report))?;
        output.line(format_args!("{report}"))?;
    }
    output.finish()?;
    if report.has_loss() {
        return Err(Failure::Check(format!(
            "records that were acknowledged are lost in {}; run `ringlane verify`, ask their senders for them, or restore \
             a copy",
            arguments.engine.directory.path.display()
        )));
    }
    Ok(())
}

/// What each producer sent, and how far each group has come.
fn tables(report: &AuditReport) -> String {
    let heads =
        ["TOPIC", "PARTITION", "PRODUCER", "ACKNOWLEDGED", "READABLE", "PENDING", "CANCELLED", "EXPIRED", "LOST"];
    let mut producers = vec![heads.map(str::to_owned).to_vec()];
    let heads = ["TOPIC", "PARTITION", "GROUP", "POSITION", "UNFINISHED", "IN-FLIGHT", "DEAD-LETTERS"];
    let mut groups = vec![heads.map(str::to_owned).to_vec()];
    for of in &report.partitions {
        let PartitionAudit { topic, partition, producers_left_out, .. } = of;
        let place = || vec![topic.clone(), partition.to_string()];
        for producer in &of.producers {
            let numbers = &producer.numbers;
            let NumberCounts { acknowledged, readable, pending, cancelled, expired, .. } = *numbers;
            let mut row = place();
            row.push(name_of(producer));
            let figures = [acknowledged, readable, pending, cancelled, expired, numbers.lost()];
            row.extend(figures.map(text::grouped));
            producers.push(row);
        }
        if *producers_left_out > 0 {
            let mut row = place();
            row.push(format!("and {} more", text::grouped(*producers_left_out)));
            producers.push(row);
        }
        for GroupAudit { group, position, unfinished, in_flight, dead_letters, .. } in &of.groups {
            let mut row = place();
            row.push(group.clone());
            row.extend([*position, *unfinished, *in_flight].map(text::grouped));
            row.push(dead_letters.map_or_else(|| "-".to_owned(), text::grouped));
            groups.push(row);
        }
    }
    let mut right = [true; 9];
    (right[0], right[2]) = (false, false);
    let tables = [producers, groups].into_iter().filter(|rows| rows.len() > 1);
    tables.map(|rows| render::aligned(&rows, &right) + "\n").collect()
}

fn name_of(producer: &ProducerAudit) -> String {
    match (&producer.name, producer.producer) {
        (Some(name), _) => name.clone(),
        (None, 0) => "(without a name)".to_owned(),
        (None, id) => format!("(deleted, id {id})"),
    }
}
