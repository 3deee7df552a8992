//! Random numbers that a seed fixes.
//!
//! Invariants:
//! - The same seed gives the same numbers on every machine, for ever: a failing seed can be replayed.
//! - A [`Random::fork`] is a stream of its own, so that taking more numbers here changes nothing there.

/// A stream of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Random {
        let mut random = Random { state: seed ^ 0x5851_f42d_4c95_7f2d };
        random.number();
        random
    }

    /// Another stream, for another purpose.
    pub fn fork(&self, purpose: u64) -> Random {
        let mut random = Random { state: self.state ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93) };
        random.number();
        random
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Mostly small numbers up to `bound`, now and then a large one.
    pub fn skewed(&mut self, bound: u64) -> u64 {
        let bits = 64 - bound.leading_zeros() as u64;
        let limit = 1u64 << self.below(bits + 1);
        self.below(limit.min(bound) + 1)
    }
}

/// Scatters a number over all bits.
pub fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A running hash of everything that happens: two runs of a seed must end with the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub u64);

impl Digest {
    /// Adds a number.
    pub fn add(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Adds bytes.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.add(u64::from(*byte));
        }
        self.add(bytes.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_numbers_and_a_fork_leaves_them_alone() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        let mut fork = other.fork(1);
        fork.number();
        assert_eq!(
            (0..9).map(|_| one.number()).collect::<Vec<_>>(),
            (0..9).map(|_| other.number()).collect::<Vec<_>>()
        );
        assert_ne!(fork.number(), one.number());
        assert!((0..1000).all(|_| one.between(3, 5) <= 5 && one.skewed(10) <= 10));
    }
}
