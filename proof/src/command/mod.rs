//! The sub-commands, one file for each. Each takes its arguments and gives an [`Ending`].

pub mod blocklog;
pub mod canaries;
pub mod check;
pub mod corruption;
pub mod exhaustive;
pub mod kill;
pub mod sim;
pub mod soak;

use std::process::ExitCode;

/// How a sub-command ended.
#[derive(Debug)]
pub struct Ending {
    /// One line: what was done, in numbers.
    figures: String,
    /// Why nothing was shown; empty when all is well.
    failures: Vec<String>,
    /// This machine cannot show it.
    cannot: bool,
}

/// The exit code where something cannot be shown on this machine: neither success nor failure.
const CANNOT: u8 = 3;

impl Ending {
    /// An ending with its figures and what failed on the way.
    pub fn new(figures: impl Into<String>, failures: Vec<String>) -> Ending {
        Ending { figures: figures.into(), failures, cannot: false }
    }

    /// This machine cannot show anything, for these reasons.
    pub fn cannot(figures: impl Into<String>, reasons: Vec<String>) -> Ending {
        Ending { figures: figures.into(), failures: reasons, cannot: true }
    }

    /// Prints failures to standard error and the figures as the last line of standard output.
    pub fn report(&self) -> ExitCode {
        for failure in &self.failures {
            eprintln!("error: {failure}");
        }
        println!("{}", self.figures.split_whitespace().collect::<Vec<_>>().join(" "));
        match (self.cannot, self.failures.is_empty()) {
            (true, _) => ExitCode::from(CANNOT),
            (false, true) => ExitCode::SUCCESS,
            (false, false) => ExitCode::FAILURE,
        }
    }
}
