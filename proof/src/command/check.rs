//! `ringlane-proof check FILE...`: judges histories that were written as JSON lines.

use super::Ending;
use clap::Args;
use ringlane_proof::checker::check;
use ringlane_proof::history::History;
use std::path::PathBuf;

/// Arguments of `check`.
#[derive(Args)]
pub struct CheckArguments {
    /// Histories, one event a line
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print findings as JSON, one a line
    #[arg(long)]
    json: bool,
}

/// Judges each file.
pub fn run(arguments: &CheckArguments) -> Ending {
    let mut failures = Vec::new();
    let (mut events, mut findings) = (0, 0);
    for path in &arguments.files {
        let name = path.display();
        let history = match History::read_file(path) {
            Ok(history) => history,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        events += history.events().len();
        let report = check(&history);
        for finding in &report.findings {
            findings += 1;
            if arguments.json {
                println!("{}", serde_json::to_string(finding).expect("findings are plain values"));
            } else {
                println!("{name}: {finding}");
            }
        }
        if !report.findings.is_empty() {
            failures.push(format!("{name}: {} anomalies", report.findings.len()));
        }
    }
    Ending::new(format!("check: {} histories, {events} events, {findings} anomalies", arguments.files.len()), failures)
}
