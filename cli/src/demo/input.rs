//! The file whose lines are sent.

use crate::failure::{Failure, Result};
use ringlane::{Options, Record};
use std::ops::Range;
use std::path::Path;

/// All lines, with their numbers. A line's number, as text, is the key of its record.
pub struct Input {
    bytes: Vec<u8>,
    lines: Vec<Range<usize>>,
    keys: Vec<u8>,
    key_ranges: Vec<Range<usize>>,
}

impl Input {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Input> {
        let bytes = std::fs::read(path)
            .map_err(Failure::io(format!("reading {}; choose another file with --input", path.display())))?;
        let input = Input::new(bytes);
        if input.len() == 0 {
            return Err(Failure::Check(format!("{} has no lines; choose another file with --input", path.display())));
        }
        Ok(input)
    }

    fn new(bytes: Vec<u8>) -> Input {
        let mut lines = Vec::new();
        let mut start = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let end = start + line.len();
            lines.push(start..end - usize::from(line.ends_with(b"\n")));
            start = end;
        }
        let (mut keys, mut key_ranges) = (Vec::new(), Vec::new());
        for number in 0..lines.len() {
            let begin = keys.len();
            keys.extend_from_slice(number.to_string().as_bytes());
            key_ranges.push(begin..keys.len());
        }
        Input { bytes, lines, keys, key_ranges }
    }

    /// How many lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of all lines together.
    pub fn bytes(&self) -> u64 {
        self.lines.iter().map(|line| line.len() as u64).sum()
    }

    /// All lines with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (0..).zip(&self.lines).map(|(number, line)| (number, &self.bytes[line.clone()]))
    }

    /// A line; `None` beyond the last.
    pub fn line(&self, number: u64) -> Option<&[u8]> {
        let line = self.lines.get(usize::try_from(number).ok()?)?;
        Some(&self.bytes[line.clone()])
    }

    /// The record of a line: partitions get lines in turn.
    ///
    /// # Panics
    /// If there is no such line.
    pub fn record(&self, number: u64, partitions: u32) -> Record<'_> {
        let index = number as usize;
        let value = &self.bytes[self.lines[index].clone()];
        let key = &self.keys[self.key_ranges[index].clone()];
        Record::new(value).key(key).partition(partition_of(number, partitions))
    }

    /// The options with room for the longest line.
    pub fn options(&self, options: Options) -> Options {
        let longest = self.lines.iter().map(Range::len).max().unwrap_or(0);
        // The record's header and its key.
        let needed = longest + 64;
        if needed > options.record_bytes_max { options.record_bytes_max(needed) } else { options }
    }
}

/// Where a line goes.
pub fn partition_of(number: u64, partitions: u32) -> u32 {
    (number % u64::from(partitions)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_there_also_empty_ones_and_one_without_an_end() {
        let input = Input::new(b"a\n\n\xffc".to_vec());
        let lines: Vec<(u64, &[u8])> = input.lines().collect();
        assert_eq!(lines, [(0, &b"a"[..]), (1, b""), (2, b"\xffc")]);
        assert_eq!((input.len(), input.bytes()), (3, 3));
        assert_eq!(input.line(2), Some(&b"\xffc"[..]));
        assert_eq!(input.line(3), None);
        assert_eq!(Input::new(b"a\n".to_vec()).len(), 1);
    }

    #[test]
    fn records_carry_their_number_and_go_round() {
        let input = Input::new(b"a\nb\nc".to_vec());
        let record = input.record(2, 2);
        assert_eq!((record.key, record.value, record.partition), (Some(&b"2"[..]), Some(&b"c"[..]), Some(0)));
    }

    #[test]
    fn a_long_line_gets_its_room() {
        assert_eq!(Input::new(vec![b'x'; 3 << 20]).options(Options::new()).record_bytes_max, (3 << 20) + 64);
        assert_eq!(Input::new(b"x".to_vec()).options(Options::new()), Options::new());
    }
}
