//! Standard output, buffered, and quiet when its reader has gone.

use crate::failure::{Failure, Result};
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Standard output. What was written is flushed by [`Output::flush`] and [`Output::finish`].
pub struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    /// Somebody looks at it: control characters must not reach the terminal.
    pub is_terminal: bool,
}

impl Output {
    /// Takes standard output.
    pub fn new() -> Output {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Output { writer: BufWriter::with_capacity(64 << 10, stdout.lock()), is_terminal }
    }

    /// One line of text.
    pub fn line(&mut self, text: impl std::fmt::Display) -> Result {
        check(writeln!(self.writer, "{text}"))
    }

    /// Text as it is, with its own line ends.
    pub fn text(&mut self, text: &str) -> Result {
        check(self.writer.write_all(text.as_bytes()))
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result {
        check(self.writer.write_all(bytes))
    }

    /// A value as JSON on a line of its own.
    pub fn json(&mut self, value: &impl Serialize) -> Result {
        check(serde_json::to_writer(&mut self.writer, value).map_err(io::Error::from))?;
        check(self.writer.write_all(b"\n"))
    }

    /// Lets the reader see what was written.
    pub fn flush(&mut self) -> Result {
        check(self.writer.flush())
    }

    /// Flushes at the end, so that a full disk behind the output is an error and not silence.
    pub fn finish(mut self) -> Result {
        self.flush()
    }
}

fn check(result: io::Result<()>) -> Result {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::Io { doing: "writing the output".to_owned(), error },
    })
}
