//! Values of records: everything in one follows from its number and its length, both of which it says itself, so
//! that whoever reads it can tell an altered one. The simulator and the killed children send these.

use crate::sim::random::mix;

/// What the shortest one needs: its number and its length.
const BYTES_MIN: usize = 16;

/// The value of a number, of about so many bytes.
pub fn bytes_of(number: u64, bytes: usize) -> Vec<u8> {
    let bytes = bytes.max(BYTES_MIN);
    let mut value = Vec::with_capacity(bytes + 8);
    value.extend_from_slice(&number.to_le_bytes());
    value.extend_from_slice(&(bytes as u64).to_le_bytes());
    let mut at = 0;
    while value.len() < bytes {
        at += 1;
        value.extend_from_slice(&mix(number ^ (at << 32)).to_le_bytes());
    }
    value.truncate(bytes);
    value
}

/// The number of a value that was read. `None`: these bytes were never sent.
pub fn number_of(value: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(value.get(..8)?.try_into().ok()?);
    (value == bytes_of(number, value.len())).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn altered_bytes_have_no_number() {
        let value = bytes_of(7, 100);
        assert_eq!(value.len(), 100);
        assert_eq!(number_of(&value), Some(7));
        for at in 0..value.len() {
            let mut altered = value.clone();
            altered[at] ^= 1;
            assert_eq!(number_of(&altered), None, "byte {at}");
        }
        for cut in 0..value.len() {
            assert_eq!(number_of(&value[..cut]), None, "cut to {cut} bytes");
        }
        assert_eq!(number_of(&bytes_of(7, 0)), Some(7), "the shortest one");
    }
}
