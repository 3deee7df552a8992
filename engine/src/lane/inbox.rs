//! The inbox of one group in one partition: the tokens of what was processed, so that a repetition is recognised.
//!
//! The lane records a token with the acknowledgement that it belongs to, in one frame, which also says when it was
//! claimed; what is too old at that time goes first. So the inbox is a function of the log like everything else in a
//! checkpoint. Its bounds belong to the group and stand in the checkpoint with it.
//!
//! Invariants:
//! - A token stands in it once, with the time of its first recording.
//! - Oldest first, by recording; times never go back from one to the next.
//! - Not more than [`InboxBounds::tokens_max`] stand in it.

use crate::error::{Error, Result};
use crate::log::codec::{Put, Reader, unzigzag, varint_bytes, zigzag};
use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What an application calls the processing of a record by. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token(Arc<[u8]>);

impl Token {
    /// Longest token in bytes.
    pub(crate) const BYTES_MAX: usize = 128;

    /// `InvalidArgument` if it is empty or too long.
    pub(crate) fn new(bytes: &[u8]) -> Result<Token> {
        if bytes.is_empty() || bytes.len() > Token::BYTES_MAX {
            return Err(Error::InvalidArgument {
                name: "token",
                value: format!("{} bytes", bytes.len()),
                reason: format!("1 to {} bytes", Token::BYTES_MAX),
            });
        }
        Ok(Token(bytes.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Length (u8) and bytes.
    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_u8(self.0.len() as u8);
        target.extend_from_slice(&self.0);
    }

    pub(crate) fn encoded_bytes(&self) -> u64 {
        1 + self.0.len() as u64
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Token> {
        let length = usize::from(reader.u8()?);
        Token::new(reader.take(length)?).ok()
    }
}

impl Borrow<[u8]> for Token {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// What an inbox says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Never recorded, or forgotten.
    Fresh,
    /// It was recorded before.
    Duplicate,
}

/// How much an inbox remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InboxBounds {
    /// Beyond this many tokens the oldest goes. At least 1.
    pub(crate) tokens_max: u32,
    /// A token is forgotten when this time has gone by since its recording.
    pub(crate) age_ms_max: u64,
}

impl InboxBounds {
    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_varint(u64::from(self.tokens_max));
        target.put_varint(self.age_ms_max);
    }

    fn encoded_bytes(&self) -> u64 {
        varint_bytes(u64::from(self.tokens_max)) + varint_bytes(self.age_ms_max)
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<InboxBounds> {
        let tokens_max = u32::try_from(reader.varint()?).ok().filter(|count| *count > 0)?;
        Some(InboxBounds { tokens_max, age_ms_max: reader.varint()? })
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inbox {
    bounds: InboxBounds,
    /// With the times of their recording.
    known: HashMap<Token, i64>,
    oldest_first: VecDeque<(i64, Token)>,
    /// What they take in a checkpoint, with the distances of their times.
    tokens_bytes: u64,
}

impl Inbox {
    pub(crate) fn new(bounds: InboxBounds) -> Inbox {
        assert!(bounds.tokens_max > 0, "an inbox remembers at least one token");
        Inbox { bounds, known: HashMap::new(), oldest_first: VecDeque::new(), tokens_bytes: 0 }
    }

    /// Whether something was processed under the token, and is remembered at this time.
    pub(crate) fn check(&self, token: &[u8], now_ms: i64) -> Seen {
        match self.known.get(token) {
            Some(at_ms) if !self.is_over(*at_ms, now_ms) => Seen::Duplicate,
            _ => Seen::Fresh,
        }
    }

    /// Records a token, unless it is there: then it keeps its time and its place. What is too old goes first, and the
    /// oldest where there are too many. Says what [`Inbox::check`] would have said before.
    pub(crate) fn record(&mut self, token: Token, at_ms: i64) -> Seen {
        let newest_ms = self.oldest_first.back().map(|(at_ms, _)| *at_ms);
        let at_ms = at_ms.max(newest_ms.unwrap_or(i64::MIN));
        self.expire(at_ms);
        if self.known.contains_key(&token) {
            return Seen::Duplicate;
        }
        let newest_ms = self.oldest_first.back().map(|(at_ms, _)| *at_ms);
        self.tokens_bytes += token.encoded_bytes() + varint_bytes(distance(newest_ms.unwrap_or(at_ms), at_ms));
        self.known.insert(token.clone(), at_ms);
        self.oldest_first.push_back((at_ms, token));
        while self.oldest_first.len() > self.bounds.tokens_max as usize {
            self.forget_oldest();
        }
        Seen::Fresh
    }

    fn is_over(&self, at_ms: i64, now_ms: i64) -> bool {
        now_ms > at_ms && distance(at_ms, now_ms) >= self.bounds.age_ms_max
    }

    /// Forgets the tokens whose time is over; returns how many. Cheap when there are none.
    fn expire(&mut self, now_ms: i64) -> u64 {
        let mut forgotten = 0;
        while let Some((at_ms, _)) = self.oldest_first.front()
            && self.is_over(*at_ms, now_ms)
        {
            self.forget_oldest();
            forgotten += 1;
        }
        forgotten
    }

    fn forget_oldest(&mut self) {
        let (at_ms, token) = self.oldest_first.pop_front().expect("whoever calls has seen one");
        self.known.remove(&token);
        // The first of them has no distance to one before.
        self.tokens_bytes -= token.encoded_bytes() + 1;
        if let Some((next_ms, _)) = self.oldest_first.front() {
            self.tokens_bytes -= varint_bytes(distance(at_ms, *next_ms)) - 1;
        }
    }

    /// Tokens that it remembers; some may be too old by now.
    pub(crate) fn len(&self) -> usize {
        self.oldest_first.len()
    }

    /// Bytes that [`Inbox::encode`] takes.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        let first_ms = self.oldest_first.front().map_or(0, |(at_ms, _)| *at_ms);
        self.bounds.encoded_bytes()
            + varint_bytes(self.oldest_first.len() as u64)
            + varint_bytes(zigzag(first_ms))
            + self.tokens_bytes
    }

    /// Appends it to a checkpoint.
    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        self.bounds.encode(target);
        target.put_varint(self.oldest_first.len() as u64);
        let mut before_ms = self.oldest_first.front().map_or(0, |(at_ms, _)| *at_ms);
        target.put_varint(zigzag(before_ms));
        for (at_ms, token) in &self.oldest_first {
            target.put_varint(distance(before_ms, *at_ms));
            token.encode(target);
            before_ms = *at_ms;
        }
    }

    /// Takes it from a checkpoint. `None`: it is cut, or breaks an invariant.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Inbox> {
        let bounds = InboxBounds::decode(reader)?;
        let mut inbox = Inbox::new(bounds);
        let count = reader.varint().filter(|count| *count <= u64::from(bounds.tokens_max))?;
        let mut at_ms = unzigzag(reader.varint()?);
        for index in 0..count {
            let distance_ms = reader.varint()?;
            at_ms = at_ms.checked_add_unsigned(distance_ms)?;
            let is_first = index == 0;
            if is_first && distance_ms > 0 || inbox.record(Token::decode(reader)?, at_ms) == Seen::Duplicate {
                return None;
            }
        }
        (inbox.len() as u64 == count && (count > 0 || at_ms == 0)).then_some(inbox)
    }
}

/// From one time to a later one, however far apart.
fn distance(earlier_ms: i64, later_ms: i64) -> u64 {
    debug_assert!(earlier_ms <= later_ms);
    later_ms.wrapping_sub(earlier_ms) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(name: &str) -> Token {
        Token::new(name.as_bytes()).unwrap()
    }

    fn inbox(tokens_max: u32, age_ms_max: u64) -> Inbox {
        Inbox::new(InboxBounds { tokens_max, age_ms_max })
    }

    fn encoded(inbox: &Inbox) -> Vec<u8> {
        let mut bytes = Vec::new();
        inbox.encode(&mut bytes);
        bytes
    }

    fn decoded(bytes: &[u8]) -> Option<Inbox> {
        let mut reader = Reader::new(bytes);
        Inbox::decode(&mut reader).filter(|_| reader.is_empty())
    }

    #[test]
    fn a_token_is_fresh_once() {
        let mut inbox = inbox(10, 1000);
        assert_eq!(inbox.check(b"a", 4), Seen::Fresh);
        assert_eq!(inbox.record(token("a"), 5), Seen::Fresh);
        assert_eq!((inbox.check(b"a", 5), inbox.record(token("a"), 6)), (Seen::Duplicate, Seen::Duplicate));
        assert_eq!((inbox.check(b"b", 6), inbox.len()), (Seen::Fresh, 1));
    }

    #[test]
    fn the_oldest_goes_first_and_a_repetition_makes_nothing_younger() {
        let mut inbox = inbox(2, 1000);
        for (name, at_ms) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            inbox.record(token(name), at_ms);
        }
        assert_eq!(
            [b"a", b"b", b"c"].map(|name| inbox.check(name, 5)),
            [Seen::Fresh, Seen::Duplicate, Seen::Duplicate]
        );
    }

    #[test]
    fn a_token_is_forgotten_when_its_time_is_over() {
        let mut inbox = inbox(10, 100);
        inbox.record(token("a"), 1000);
        inbox.record(token("b"), 1050);
        inbox.record(token("a"), 1060);
        inbox.record(token("c"), 900);
        let seen = |inbox: &Inbox, now_ms| [b"a", b"b", b"c"].map(|name| inbox.check(name, now_ms));
        assert_eq!(seen(&inbox, 1099), [Seen::Duplicate; 3]);
        assert_eq!(seen(&inbox, 1100), [Seen::Fresh, Seen::Duplicate, Seen::Duplicate], "before anything is recorded");
        assert_eq!((inbox.expire(1099), inbox.expire(1100), inbox.len()), (0, 1, 2));
        assert_eq!(seen(&inbox, 1100), [Seen::Fresh, Seen::Duplicate, Seen::Duplicate]);
        assert_eq!(inbox.expire(1149), 0, "a clock that went back makes nothing older than what came before it");
        assert_eq!((inbox.expire(1150), inbox.expire(i64::MAX)), (2, 0));
    }

    #[test]
    fn tokens_have_1_to_128_bytes() {
        for length in [1, 128] {
            assert_eq!(Token::new(&vec![7; length]).unwrap().as_bytes(), vec![7; length]);
        }
        for length in [0, 129] {
            let error = Token::new(&vec![7; length]).unwrap_err();
            assert!(error.to_string().contains("1 to 128 bytes"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_bounded_list(
            tokens_max in 1u32..6,
            age_ms_max in 0u64..400,
            steps in prop::collection::vec((0u8..12, any::<bool>(), 0i64..200, any::<bool>()), 0..60),
        ) {
            let mut inbox = inbox(tokens_max, age_ms_max);
            let mut model: Vec<(i64, Token)> = Vec::new();
            let mut now_ms = -300;
            for (name, is_long, forward_ms, is_asked_first) in steps {
                now_ms += forward_ms;
                model.retain(|(at_ms, _)| now_ms <= *at_ms || now_ms - at_ms < age_ms_max as i64);
                let token = Token::new(&vec![name; if is_long { 128 } else { 3 }]).unwrap();
                let is_known = model.iter().any(|(_, known)| *known == token);
                let expected = if is_known { Seen::Duplicate } else { Seen::Fresh };
                if is_asked_first {
                    prop_assert_eq!(inbox.check(token.as_bytes(), now_ms), expected);
                }
                prop_assert_eq!(inbox.record(token.clone(), now_ms), expected);
                if !is_known {
                    model.push((now_ms, token));
                    let excess = model.len().saturating_sub(tokens_max as usize);
                    model.drain(..excess);
                }
                prop_assert_eq!(inbox.oldest_first.iter().cloned().collect::<Vec<_>>(), model.clone());

                let bytes = encoded(&inbox);
                prop_assert_eq!(bytes.len() as u64, inbox.encoded_bytes());
                prop_assert_eq!(decoded(&bytes), Some(inbox.clone()));
                for length in 0..bytes.len() {
                    prop_assert_eq!(decoded(&bytes[..length]), None, "cut at {}", length);
                }
            }
        }

        #[test]
        fn times_may_be_any(times in prop::collection::vec(any::<i64>(), 0..9)) {
            let mut inbox = inbox(4, 1);
            for (index, at_ms) in times.iter().enumerate() {
                inbox.record(token(&index.to_string()), *at_ms);
                prop_assert_eq!(encoded(&inbox).len() as u64, inbox.encoded_bytes());
                prop_assert_eq!(decoded(&encoded(&inbox)), Some(inbox.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(inbox) = decoded(&bytes) {
                prop_assert_eq!(decoded(&encoded(&inbox)), Some(inbox));
            }
        }
    }
}
