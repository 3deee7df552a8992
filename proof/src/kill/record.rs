//! Records whose bytes follow from their number, so that a reader notices altered ones.

/// The bytes of a record: its number, then as much filler as asked for.
pub(super) fn bytes_of(number: u64, filler: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    let mut state = number | 1;
    bytes.extend((0..filler).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    }));
    bytes
}

/// The number of a record that was read. `None`: these bytes were never sent.
pub(super) fn number_of(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (bytes == bytes_of(number, bytes.len() - 8)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn altered_bytes_have_no_number() {
        let bytes = bytes_of(7, 100);
        assert_eq!(number_of(&bytes), Some(7));
        assert_eq!(number_of(&bytes[..50]), Some(7), "the length is not the record's own");
        for at in 8..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert_eq!(number_of(&altered), None);
        }
        assert_eq!(number_of(&bytes[..7]), None);
    }
}
