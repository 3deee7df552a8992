//! Bytes without a pattern, the same in every run.

/// Fills `target` with a fixed pseudo-random sequence (xorshift64*).
pub fn fill(target: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for chunk in target.chunks_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Values for records: slices of one noisy buffer, each at another place.
pub struct Values {
    bytes: Vec<u8>,
    record_bytes: usize,
    next: usize,
}

impl Values {
    /// Values of `record_bytes` each.
    pub fn new(record_bytes: usize) -> Values {
        let mut bytes = vec![0; record_bytes + (64 << 10)];
        fill(&mut bytes);
        Values { bytes, record_bytes, next: 0 }
    }

    /// Where the next value lies: [`Values::at`] borrows it, so that many can be held at once.
    #[inline]
    pub fn step(&mut self) -> usize {
        self.next = (self.next + 136) & 0xffff;
        self.next
    }

    /// The value at a place that [`Values::step`] gave.
    #[inline]
    pub fn at(&self, place: usize) -> &[u8] {
        &self.bytes[place..place + self.record_bytes]
    }

    /// The next value.
    #[inline]
    pub fn take(&mut self) -> &[u8] {
        let place = self.step();
        self.at(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_size_asked_for_and_differ() {
        let mut values = Values::new(100);
        let first = values.take().to_vec();
        let second = values.take().to_vec();
        assert_eq!((first.len(), second.len()), (100, 100));
        assert_ne!(first, second);
    }

    #[test]
    fn values_may_be_empty_and_never_run_out() {
        let mut values = Values::new(0);
        for _ in 0..200_000 {
            assert!(values.take().is_empty());
        }
    }
}
