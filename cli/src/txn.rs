//! `ringlane txn`: list, show, resolve.
//!
//! Invariant: how a transaction is to end is always said, never assumed.

use crate::arguments::EngineArguments;
use crate::failure::Result;
use crate::output::Output;
use crate::{render, text};
use clap::{Args, Subcommand};
use ringlane::{TransactionInfo, TransactionState};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What to do with transactions.
#[derive(Subcommand)]
pub enum TxnCommand {
    /// List the transactions that are prepared or open
    List(ListArguments),
    /// Show what is known of a transaction
    Show(ShowArguments),
    /// Decide a transaction that is prepared, for good: commit it or roll it back
    Resolve(ResolveArguments),
}

/// Arguments of `txn list`.
#[derive(Args)]
pub struct ListArguments {
    /// Also those that have ended and are remembered (option outcomes_max)
    #[arg(long)]
    all: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Arguments of `txn show`.
#[derive(Args)]
pub struct ShowArguments {
    /// The transaction's id
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Arguments of `txn resolve`.
#[derive(Args)]
pub struct ResolveArguments {
    /// The transaction's id
    id: String,
    #[command(flatten)]
    outcome: OutcomeArguments,
    /// Print how it ended as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

/// How it is to end.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct OutcomeArguments {
    /// Publish its records, and finish what it acknowledges
    #[arg(long)]
    commit: bool,
    /// Give its records up, and have what it acknowledges handed out again
    #[arg(long)]
    rollback: bool,
}

/// Runs `ringlane txn`.
pub fn run(command: &TxnCommand) -> Result {
    match command {
        TxnCommand::List(arguments) => list(arguments),
        TxnCommand::Show(arguments) => show(arguments),
        TxnCommand::Resolve(arguments) => resolve(arguments),
    }
}

/// A transaction and how long it has been what it is.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    info: TransactionInfo,
    age_ms: u64,
}

impl Line {
    fn new(info: TransactionInfo) -> Line {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let age_ms = u64::try_from(now_ms.saturating_sub(info.since_ms)).unwrap_or(0);
        Line { info, age_ms }
    }

    fn cells(&self) -> Vec<String> {
        let Line { info, age_ms } = self;
        let checker = info.checker.as_deref().unwrap_or("-");
        vec![
            text::printable(info.id.as_bytes()),
            info.state.name().to_owned(),
            text::age(Duration::from_millis(*age_ms)),
            text::printable(checker.as_bytes()),
            text::grouped(info.records),
            text::grouped(info.acknowledged),
            info.checks.to_string(),
        ]
    }
}

fn list(arguments: &ListArguments) -> Result {
    let transactions = arguments.engine.reach(false)?.run(
        |engine| Ok(if arguments.all { engine.all_transactions() } else { engine.transactions() }),
        |client| if arguments.all { client.all_transactions() } else { client.transactions() },
    )?;
    let lines: Vec<Line> = transactions.into_iter().map(Line::new).collect();
    let mut output = Output::new();
    if arguments.json {
        lines.iter().try_for_each(|line| output.json(line))?;
    } else {
        let head = ["ID", "STATE", "AGE", "CHECKER", "RECORDS", "ACKNOWLEDGED", "CHECKS"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(lines.iter().map(Line::cells));
        output.text(&render::aligned(&rows, &[false, false, true, false, true, true, true]))?;
    }
    output.finish()
}

fn show(arguments: &ShowArguments) -> Result {
    let id = &arguments.id;
    let info = arguments.engine.reach(false)?.run(|engine| engine.transaction(id), |client| client.transaction(id))?;
    let line = Line::new(info);
    let mut output = Output::new();
    if arguments.json {
        output.json(&line)?;
    } else {
        output.text(&render::fields(&line))?;
    }
    output.finish()
}

/// How a transaction has ended.
#[derive(Serialize)]
struct Resolved<'a> {
    id: &'a str,
    state: TransactionState,
}

fn resolve(arguments: &ResolveArguments) -> Result {
    let (id, commits) = (&arguments.id, arguments.outcome.commit);
    arguments.engine.reach(false)?.run(
        |engine| if commits { engine.commit_transaction(id) } else { engine.roll_back_transaction(id) },
        |client| if commits { client.commit_transaction(id) } else { client.roll_back_transaction(id) },
    )?;
    let state = if commits { TransactionState::Committed } else { TransactionState::RolledBack };
    let mut output = Output::new();
    if arguments.json {
        output.json(&Resolved { id, state })?;
    } else {
        output.line(format_args!("transaction `{}` is {state}", text::printable(id.as_bytes())))?;
    }
    output.finish()
}
