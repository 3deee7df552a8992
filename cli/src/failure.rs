//! Why a command ends early, and with which exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The result of a sub-command.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Why a command ends early.
#[derive(Debug)]
pub enum Failure {
    /// The engine said no; its messages say what to do.
    Engine(ringlane::Error),
    /// A file or stream of the command itself.
    Io {
        /// What was tried on what.
        doing: String,
        /// The system's answer.
        error: io::Error,
    },
    /// The command line (or an input line) is wrong.
    Usage(String),
    /// What was asked for did not hold: damage, a lost record, ...
    Check(String),
    /// Whoever read the output has gone: nothing to say, nobody to say it to.
    ReaderGone,
}

impl Failure {
    /// An I/O error with what was being done.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        |error| Failure::Io { doing: doing.into(), error }
    }

    /// Writes it to standard error, in one line, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if !matches!(self, Failure::ReaderGone) {
            eprintln!("error: {}", one_line(&self.to_string()));
        }
        match self {
            Failure::ReaderGone => ExitCode::SUCCESS,
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Engine(_) | Failure::Io { .. } | Failure::Check(_) => ExitCode::FAILURE,
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl From<ringlane::Error> for Failure {
    fn from(error: ringlane::Error) -> Failure {
        Failure::Engine(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Engine(error) => write!(f, "{error}"),
            Failure::Io { doing, error } => write!(f, "{doing}: {error}"),
            Failure::Usage(text) | Failure::Check(text) => f.write_str(text),
            Failure::ReaderGone => f.write_str("the reader of the output has gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line("a\n  b\tc"), "a b c");
    }

    #[test]
    fn an_io_error_says_what_was_tried() {
        let failure = Failure::io("reading x")(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(failure.to_string(), "reading x: entity not found");
    }
}
