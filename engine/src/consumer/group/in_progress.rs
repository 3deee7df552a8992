//! The tokens that live deliveries of one group in one partition claim: what the durable inbox does not know yet.
//!
//! A member that asks for a token is told [`Claim::InProgress`] while another delivery works on it. When a delivery
//! ends, however it does, [`InProgress::end`] frees its tokens; after an acknowledgement they go into the log with it.
//!
//! Invariant: a token is claimed by one offset, and an offset has one live delivery, so it names the delivery.

use crate::lane::inbox::Token;
use std::collections::{BTreeMap, HashMap};

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// This delivery has the token now.
    Claimed,
    /// It had it already.
    Held,
    /// Another delivery has it: the record with this offset.
    InProgress { offset: u64 },
    /// The delivery claims as many as it may.
    TooMany,
}

/// Most tokens of one delivery.
pub(crate) const TOKENS_OF_DELIVERY_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct InProgress {
    owners: HashMap<Token, u64>,
    /// With the times of their claims.
    of_delivery: BTreeMap<u64, Vec<(i64, Token)>>,
}

impl InProgress {
    /// Claims a token for the delivery of an offset.
    pub(crate) fn claim(&mut self, token: &Token, offset: u64, now_ms: i64) -> Claim {
        match self.owners.get(token) {
            Some(owner) if *owner == offset => return Claim::Held,
            Some(owner) => return Claim::InProgress { offset: *owner },
            None => {}
        }
        let tokens = self.of_delivery.entry(offset).or_default();
        if tokens.len() >= TOKENS_OF_DELIVERY_MAX {
            return Claim::TooMany;
        }
        tokens.push((now_ms, token.clone()));
        self.owners.insert(token.clone(), offset);
        Claim::Claimed
    }

    /// At opening: a delivery that goes on has claimed a token.
    pub(crate) fn restore(&mut self, token: &Token, offset: u64, at_ms: i64) {
        self.of_delivery.entry(offset).or_default().push((at_ms, token.clone()));
        self.owners.insert(token.clone(), offset);
    }

    /// A delivery ended: its tokens are free. Returns them in the order of their claims.
    pub(crate) fn end(&mut self, offset: u64) -> Vec<(i64, Token)> {
        if self.of_delivery.is_empty() {
            return Vec::new();
        }
        let tokens = self.of_delivery.remove(&offset).unwrap_or_default();
        for (_, token) in &tokens {
            self.owners.remove(token);
        }
        tokens
    }

    /// Deliveries ended, `to` excluded: their tokens are free. Returns them, oldest offset first.
    pub(crate) fn end_range(&mut self, from: u64, to: u64) -> Vec<(i64, Token)> {
        let mut tokens = Vec::new();
        while let Some((&offset, _)) = self.of_delivery.range(from..to.max(from)).next() {
            tokens.append(&mut self.end(offset));
        }
        tokens
    }

    /// Tokens that deliveries claim, `to` excluded, oldest offset first.
    pub(crate) fn of_range(&self, from: u64, to: u64) -> impl Iterator<Item = &(i64, Token)> {
        self.of_delivery.range(from..to.max(from)).flat_map(|(_, tokens)| tokens)
    }

    /// Tokens that are claimed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> Token {
        Token::new(name.as_bytes()).unwrap()
    }

    #[test]
    fn a_token_is_claimed_by_one_delivery_until_it_ends() {
        let mut in_progress = InProgress::default();
        assert_eq!(in_progress.claim(&token("a"), 3, 5), Claim::Claimed);
        assert_eq!(in_progress.claim(&token("a"), 3, 5), Claim::Held);
        assert_eq!(in_progress.claim(&token("a"), 4, 5), Claim::InProgress { offset: 3 });
        assert_eq!(in_progress.claim(&token("b"), 4, 5), Claim::Claimed);
        assert_eq!(in_progress.claim(&token("c"), 3, 5), Claim::Claimed);
        assert_eq!(in_progress.end(9), []);
        assert_eq!(in_progress.end(3), [(5, token("a")), (5, token("c"))]);
        assert_eq!((in_progress.end(3), in_progress.len()), (vec![], 1));
        assert_eq!(in_progress.claim(&token("a"), 4, 5), Claim::Claimed);
        assert_eq!(in_progress.end_range(0, 4), []);
        assert_eq!(in_progress.end_range(0, 5), [(5, token("b")), (5, token("a"))]);
        assert_eq!((in_progress.len(), in_progress.of_delivery.len()), (0, 0));
    }

    #[test]
    fn one_delivery_claims_a_bounded_number() {
        let mut in_progress = InProgress::default();
        for number in 0..TOKENS_OF_DELIVERY_MAX {
            assert_eq!(in_progress.claim(&token(&number.to_string()), 1, 5), Claim::Claimed);
        }
        assert_eq!(in_progress.claim(&token("more"), 1, 5), Claim::TooMany);
        assert_eq!(in_progress.claim(&token("more"), 2, 5), Claim::Claimed);
    }
}
