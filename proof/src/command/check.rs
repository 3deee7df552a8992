//! `ringlane-proof check FILE...`: judges histories that were written as JSON lines.

use super::Ending;
use clap::Args;
use ringlane_proof::checker::check;
use ringlane_proof::history::History;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// Arguments of `check`.
#[derive(Args)]
pub struct CheckArguments {
    /// Histories, one event a line
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print findings as JSON, one a line
    #[arg(long)]
    json: bool,
    /// Write the history for other checkers, in the form of Jepsen's Kafka workload; of one FILE
    #[arg(long, value_name = "OUTPUT")]
    export_edn: Option<PathBuf>,
}

/// Judges each file.
pub fn run(arguments: &CheckArguments) -> Ending {
    let mut failures = Vec::new();
    if arguments.export_edn.is_some() && arguments.files.len() > 1 {
        failures.push("--export-edn takes one history: one output holds one".to_owned());
        return Ending::new("check: 0 histories, 0 events, 0 anomalies", failures);
    }
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
        if let Some(output) = &arguments.export_edn
            && let Err(error) = export(&history, output)
        {
            failures.push(format!("{}: {error}", output.display()));
        }
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

fn export(history: &History, output: &Path) -> io::Result<()> {
    history.write_edn(BufWriter::new(File::create(output)?))
}
