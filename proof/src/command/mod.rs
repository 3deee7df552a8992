//! The sub-commands, one file for each. Each takes its arguments and gives an [`Ending`].

pub mod canaries;
pub mod check;
pub mod corruption;
pub mod exhaustive;
pub mod kill;
pub mod sim;

use std::process::ExitCode;

/// How a sub-command ended.
#[derive(Debug)]
pub struct Ending {
    /// One line: what was done, in numbers.
    figures: String,
    /// Why nothing was shown; empty when all is well.
    failures: Vec<String>,
}

impl Ending {
    /// An ending with its figures and what failed on the way.
    pub fn new(figures: impl Into<String>, failures: Vec<String>) -> Ending {
        Ending { figures: figures.into(), failures }
    }

    /// Prints failures to standard error and the figures as the last line of standard output.
    pub fn report(&self) -> ExitCode {
        for failure in &self.failures {
            eprintln!("error: {failure}");
        }
        println!("{}", self.figures.split_whitespace().collect::<Vec<_>>().join(" "));
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
