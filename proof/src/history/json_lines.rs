//! Histories as JSON lines: one event a line, so that a kill cuts at most the last one.

use super::{Event, History};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

impl History {
    /// Reads a file of JSON lines.
    ///
    /// # Errors
    /// The file cannot be read, or a line is no event; the message has the line's number.
    pub fn read_file(path: &Path) -> io::Result<History> {
        History::read(BufReader::new(File::open(path)?))
    }

    /// Reads JSON lines. A last line without its end was being written when its writer died; it is left out.
    ///
    /// # Errors
    /// As [`History::read_file`].
    pub fn read(mut input: impl BufRead) -> io::Result<History> {
        let mut history = History::new();
        let mut line = String::new();
        for number in 1.. {
            line.clear();
            if input.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                break;
            }
            if line.trim().is_empty() {
                continue;
            }
            let event = serde_json::from_str(&line).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {number} is no event of a history: {error}"))
            })?;
            history.push(event);
        }
        Ok(history)
    }

    /// Writes all events as JSON lines.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(&self, mut output: impl Write) -> io::Result<()> {
        for event in self.events() {
            writeln!(output, "{}", event.to_json())?;
        }
        output.flush()
    }
}

impl Event {
    /// One line of JSON, without its end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("events are plain values")
    }
}
