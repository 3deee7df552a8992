//! Transactions, as one log knows them: what is prepared in it, and what was decided in it.
//!
//! A transaction has a part in each log that has partitions of it. Its part is *prepared* by a Prepare frame, which names
//! the withheld frames with its records, and what it acknowledges. It is *published* by a Publish frame that names the
//! transaction, and gives up by a Discard frame that does. The decision stands in one of these, that of the log that
//! decides: it says who else takes part. So what is decided and not published in another log is known after a crash.
//!
//! Invariants:
//! - It is a function of the log, and part of each checkpoint.
//! - A transaction is prepared, or decided, or neither: the end of one is final.
//! - Outcomes are bounded; the oldest goes first, and only when every log that takes part has it.

use super::progress::{ProgressEntry, decode_progress, progress_body_bytes_max, put_progress};
use crate::log::codec::{Put, Reader};
use crate::log::position::{Identity, Position};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Largest id of a transaction, bytes.
pub(crate) const ID_BYTES_MAX: usize = 128;
/// So many parts are brought near together when a checkpoint is made.
const NEAR: usize = 32;
/// Most outcomes of one lane that an option may allow: they are part of each checkpoint.
pub(crate) const OUTCOMES_CEILING: u64 = 100_000;

/// Names a transaction for ever, also where its id is used again: the opening that began it, as the log of its first lane
/// and its generation say, and a number in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransactionKey {
    pub(crate) log: u32,
    pub(crate) generation: u32,
    pub(crate) number: u64,
}

impl TransactionKey {
    /// Its size in the log.
    pub(crate) const BYTES: usize = 16;
    /// None comes before it.
    pub(crate) const FIRST: TransactionKey = TransactionKey { log: 0, generation: 0, number: 0 };

    pub(crate) fn encode(self, target: &mut Vec<u8>) {
        target.put_u32(self.log);
        target.put_u32(self.generation);
        target.put_u64(self.number);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<TransactionKey> {
        Some(TransactionKey { log: reader.u32()?, generation: reader.u32()?, number: reader.u64()? })
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum TransactionOutcome {
    /// Its records are published, and what it acknowledged is finished.
    Committed,
    /// Nothing of it ever becomes visible.
    RolledBack,
}

/// The part of a transaction in one log: the body of a Prepare frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) key: TransactionKey,
    pub(crate) id: Arc<str>,
    /// Who is asked how it ended; empty: nobody.
    pub(crate) checker: Arc<str>,
    pub(crate) prepared_ms: i64,
    /// In how many logs it has a part.
    pub(crate) participants: u32,
    /// It was to be committed at once, and nobody was told that it is prepared: without a decision it is rolled back.
    pub(crate) commits: bool,
    /// Its withheld frames, in the order in which they are published.
    pub(crate) frames: Vec<Identity>,
    /// How far groups come by it: tokens and finished offsets, of partitions of this log.
    pub(crate) acks: Vec<ProgressEntry>,
}

impl Prepared {
    const COMMITS: u8 = 1;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(96 + self.frames.len() * Identity::BYTES);
        self.encode_into(&mut body);
        body
    }

    /// Touches what it holds elsewhere in memory: of many at once, these waits are one.
    fn bring_near(&self) {
        std::hint::black_box((self.id.as_bytes().first().copied(), self.frames.first().copied()));
    }

    fn encode_into(&self, body: &mut Vec<u8>) {
        self.key.encode(body);
        body.put_u8(if self.commits { Self::COMMITS } else { 0 });
        body.put_i64(self.prepared_ms);
        body.put_u32(self.participants);
        body.put_bytes(self.id.as_bytes());
        body.put_bytes(self.checker.as_bytes());
        body.put_u32(self.frames.len() as u32);
        self.frames.iter().for_each(|identity| identity.encode(body));
        put_progress(&self.acks, body);
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Prepared> {
        let mut reader = Reader::new(body);
        let prepared = Self::take(&mut reader)?;
        reader.is_empty().then_some(prepared)
    }

    fn take(reader: &mut Reader<'_>) -> Option<Prepared> {
        let key = TransactionKey::decode(reader)?;
        let commits = match reader.u8()? {
            0 => false,
            Self::COMMITS => true,
            _ => return None,
        };
        let (prepared_ms, participants) = (reader.i64()?, reader.u32()?);
        let id = take_id(reader)?;
        let checker = std::str::from_utf8(reader.bytes()?).ok()?.into();
        let count = reader.u32()?;
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(Identity::decode(reader)?);
        }
        let acks = decode_progress(reader.bytes()?)?;
        Some(Prepared { key, id, checker, prepared_ms, participants, commits, frames, acks })
    }

    fn encoded_bytes_max(&self) -> u64 {
        Self::bytes_max(self.id.len() + self.checker.len(), self.frames.len(), &self.acks)
    }

    /// Bound on its body, where id and checker have so many bytes.
    pub(crate) fn bytes_max(names: usize, frames: usize, acks: &[ProgressEntry]) -> u64 {
        let fixed = TransactionKey::BYTES + 1 + 8 + 4 + 4 * 4 + names;
        (fixed + frames * Identity::BYTES + progress_body_bytes_max(acks)) as u64
    }
}

fn take_id(reader: &mut Reader<'_>) -> Option<Arc<str>> {
    let id = std::str::from_utf8(reader.bytes()?).ok()?;
    (!id.is_empty() && id.len() <= ID_BYTES_MAX).then(|| id.into())
}

/// A Prepare frame of another log, as a decision names it: when the decision was written, it was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Participant {
    pub(crate) log: u32,
    pub(crate) position: Position,
    pub(crate) checksum: u32,
}

/// The decision itself, in the log that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) key: TransactionKey,
    pub(crate) id: Arc<str>,
    pub(crate) outcome: TransactionOutcome,
    pub(crate) decided_ms: i64,
    /// Other logs that take part, as far as they are not known to have it durably.
    pub(crate) participants: Vec<Participant>,
}

impl Decided {
    const PARTICIPANT_BYTES: usize = 4 + 8 + 4;

    fn encode_into(&self, body: &mut Vec<u8>) {
        self.key.encode(body);
        body.put_u8(match self.outcome {
            TransactionOutcome::Committed => 1,
            TransactionOutcome::RolledBack => 2,
        });
        body.put_i64(self.decided_ms);
        body.put_bytes(self.id.as_bytes());
        body.put_u32(self.participants.len() as u32);
        for Participant { log, position, checksum } in &self.participants {
            body.put_u32(*log);
            body.put_u64(position.0);
            body.put_u32(*checksum);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Option<Decided> {
        let key = TransactionKey::decode(reader)?;
        let outcome = match reader.u8()? {
            1 => TransactionOutcome::Committed,
            2 => TransactionOutcome::RolledBack,
            _ => return None,
        };
        let (decided_ms, id, count) = (reader.i64()?, take_id(reader)?, reader.u32()?);
        let mut participants = Vec::new();
        for _ in 0..count {
            let (log, position, checksum) = (reader.u32()?, Position(reader.u64()?), reader.u32()?);
            participants.push(Participant { log, position, checksum });
        }
        Some(Decided { key, id, outcome, decided_ms, participants })
    }

    fn encoded_bytes(&self) -> u64 {
        encoded_bytes_of_decision(&self.id, self.participants.len())
    }

    /// Every log has it. Returns how many bytes less it takes.
    fn settle(&mut self) -> u64 {
        let participants = std::mem::take(&mut self.participants);
        (participants.len() * Self::PARTICIPANT_BYTES) as u64
    }
}

/// What a decision takes in the log.
pub(crate) fn encoded_bytes_of_decision(id: &str, participants: usize) -> u64 {
    let fixed = TransactionKey::BYTES + 1 + 8 + 4 + id.len() + 4;
    (fixed + participants * Decided::PARTICIPANT_BYTES) as u64
}

/// What stands behind the list of a Publish or Discard frame that ends the part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The frame is the decision. What was not prepared in this log before acknowledges here.
    Decides { decided: Decided, acks: Vec<ProgressEntry> },
    /// The decision stands elsewhere.
    Follows { key: TransactionKey },
}

impl Ending {
    pub(crate) fn key(&self) -> TransactionKey {
        match self {
            Ending::Decides { decided, .. } => decided.key,
            Ending::Follows { key } => *key,
        }
    }

    pub(crate) fn encode_into(&self, body: &mut Vec<u8>) {
        match self {
            Ending::Decides { decided, acks } => {
                body.put_u8(1);
                decided.encode_into(body);
                put_progress(acks, body);
            }
            Ending::Follows { key } => {
                body.put_u8(2);
                key.encode(body);
            }
        }
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<Ending> {
        Some(match reader.u8()? {
            1 => Ending::Decides { decided: Decided::take(reader)?, acks: decode_progress(reader.bytes()?)? },
            2 => Ending::Follows { key: TransactionKey::decode(reader)? },
            _ => return None,
        })
    }

    /// Bound on what it adds to a frame.
    pub(crate) fn bytes_max(&self) -> usize {
        match self {
            Ending::Decides { decided, acks } => {
                1 + decided.encoded_bytes() as usize + 4 + progress_body_bytes_max(acks)
            }
            Ending::Follows { .. } => 1 + TransactionKey::BYTES,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Transactions {
    prepared: BTreeMap<TransactionKey, Prepared>,
    /// Oldest first.
    decided: VecDeque<Decided>,
    outcomes_max: usize,
    /// A bound on what all of it takes in a checkpoint.
    bytes: u64,
}

impl Default for Transactions {
    fn default() -> Self {
        let (prepared, decided) = (BTreeMap::new(), VecDeque::new());
        // Recovery forgets nothing before all logs were looked at.
        Transactions { prepared, decided, outcomes_max: usize::MAX, bytes: 0 }
    }
}

impl PartialEq for Transactions {
    fn eq(&self, other: &Self) -> bool {
        (&self.prepared, &self.decided) == (&other.prepared, &other.decided)
    }
}

impl Transactions {
    /// What is prepared.
    pub(crate) fn prepared(&self) -> impl Iterator<Item = &Prepared> {
        self.prepared.values()
    }

    pub(crate) fn get(&self, key: TransactionKey) -> Option<&Prepared> {
        self.prepared.get(&key)
    }

    /// What was decided, oldest first.
    pub(crate) fn decided(&self) -> impl Iterator<Item = &Decided> {
        self.decided.iter()
    }

    /// A part is prepared. `Err`: it is already.
    pub(crate) fn prepare(&mut self, prepared: Prepared) -> Result<(), &'static str> {
        if self.prepared.contains_key(&prepared.key) {
            return Err("a transaction is prepared twice");
        }
        self.bytes += prepared.encoded_bytes_max();
        self.prepared.insert(prepared.key, prepared);
        Ok(())
    }

    /// A part has ended: it is taken out.
    pub(crate) fn end(&mut self, key: TransactionKey) -> Option<Prepared> {
        let prepared = self.prepared.remove(&key)?;
        self.bytes -= prepared.encoded_bytes_max();
        Some(prepared)
    }

    /// Remembers a decision.
    pub(crate) fn decide(&mut self, decided: Decided) {
        self.bytes += decided.encoded_bytes();
        self.decided.push_back(decided);
        self.forget();
    }

    /// Every log that takes part has this decision durably.
    pub(crate) fn settle(&mut self, key: TransactionKey) {
        // It was decided just now.
        if let Some(decided) = self.decided.iter_mut().rev().find(|decided| decided.key == key) {
            self.bytes -= decided.settle();
        }
        self.forget();
    }

    /// All logs that took part in what was decided so far have it, but for what is `pending`; and at most so many
    /// outcomes are remembered from now on.
    pub(crate) fn bound(&mut self, outcomes_max: usize, pending: impl Fn(TransactionKey) -> bool) {
        self.outcomes_max = outcomes_max;
        for decided in &mut self.decided {
            if !pending(decided.key) {
                self.bytes -= decided.settle();
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        while self.decided.len() > self.outcomes_max
            && let Some(first) = self.decided.front()
            && first.participants.is_empty()
        {
            self.bytes -= first.encoded_bytes();
            self.decided.pop_front();
        }
    }

    /// What a group holds in a partition begins anew: nothing of it is acknowledged by what is prepared.
    pub(crate) fn forget_acks(&mut self, group: u32, slot: u32) {
        for prepared in self.prepared.values_mut() {
            let is_meant = |entry: &ProgressEntry| (entry.group, entry.slot) == (group, slot);
            if prepared.acks.iter().any(is_meant) {
                self.bytes -= prepared.encoded_bytes_max();
                prepared.acks.retain(|entry| !is_meant(entry));
                self.bytes += prepared.encoded_bytes_max();
            }
        }
    }

    /// A bound on what [`Transactions::encode`] writes.
    pub(crate) fn encoded_bytes_max(&self) -> u64 {
        8 + self.bytes
    }

    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.put_u32(self.prepared.len() as u32);
        let mut prepared = self.prepared.values();
        loop {
            let near: Vec<&Prepared> = prepared.by_ref().take(NEAR).collect();
            if near.is_empty() {
                break;
            }
            near.iter().for_each(|prepared| prepared.bring_near());
            near.iter().for_each(|prepared| prepared.encode_into(target));
        }
        target.put_u32(self.decided.len() as u32);
        self.decided.iter().for_each(|decided| decided.encode_into(target));
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Transactions> {
        let mut transactions = Transactions::default();
        for _ in 0..reader.u32()? {
            transactions.prepare(Prepared::take(reader)?).ok()?;
        }
        for _ in 0..reader.u32()? {
            transactions.decide(Decided::take(reader)?);
        }
        Some(transactions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> TransactionKey {
        TransactionKey { log: 0, generation: 1, number }
    }

    fn ack(slot: u32) -> ProgressEntry {
        use crate::lane::progress::ProgressChange;
        ProgressEntry { group: 7, slot, change: ProgressChange::Finish { from: 3, to: 9 } }
    }

    fn prepared(number: u64) -> Prepared {
        let frames = vec![Identity { log: 0, position: Position(64) }, Identity { log: 0, position: Position(128) }];
        let (id, checker, prepared_ms, participants) = ("order-7".into(), "orders".into(), -5, 2);
        Prepared { key: key(number), id, checker, prepared_ms, participants, commits: true, frames, acks: vec![ack(2)] }
    }

    fn decided(number: u64, participants: usize) -> Decided {
        let part = Participant { log: 1, position: Position(4096), checksum: 77 };
        let (id, outcome, decided_ms) = ("order-7".into(), TransactionOutcome::Committed, 12);
        Decided { key: key(number), id, outcome, decided_ms, participants: vec![part; participants] }
    }

    #[test]
    fn each_part_is_read_back_and_no_cut_one_is_accepted() {
        let body = prepared(1).encode();
        assert_eq!(Prepared::decode(&body), Some(prepared(1)));
        assert!(body.len() as u64 <= prepared(1).encoded_bytes_max());
        for length in 0..body.len() {
            assert_eq!(Prepared::decode(&body[..length]), None, "cut at {length}");
        }
        for ending in [Ending::Follows { key: key(9) }, Ending::Decides { decided: decided(2, 2), acks: vec![ack(4)] }]
        {
            let mut bytes = Vec::new();
            ending.encode_into(&mut bytes);
            assert!(bytes.len() <= ending.bytes_max());
            assert_eq!(Ending::take(&mut Reader::new(&bytes)), Some(ending));
            for length in 0..bytes.len() {
                assert_eq!(Ending::take(&mut Reader::new(&bytes[..length])), None, "cut at {length}");
            }
        }
        assert_eq!(decided(1, 3).encoded_bytes(), {
            let mut bytes = Vec::new();
            decided(1, 3).encode_into(&mut bytes);
            bytes.len() as u64
        });
    }

    #[test]
    fn they_are_part_of_a_checkpoint() {
        let mut all = Transactions::default();
        all.prepare(prepared(1)).unwrap();
        all.prepare(prepared(2)).unwrap();
        assert!(all.prepare(prepared(1)).is_err(), "twice");
        all.decide(decided(3, 1));
        all.decide(decided(4, 0));
        assert!(all.end(key(1)).is_some() && all.end(key(1)).is_none());
        let mut bytes = Vec::new();
        all.encode(&mut bytes);
        assert!(bytes.len() as u64 <= all.encoded_bytes_max());
        let read = Transactions::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!((&read, read.encoded_bytes_max()), (&all, all.encoded_bytes_max()));
        for length in 0..bytes.len() {
            assert!(Transactions::decode(&mut Reader::new(&bytes[..length])).is_none(), "cut at {length}");
        }
    }

    /// A decision that another log does not have is known here alone.
    #[test]
    fn the_oldest_outcome_is_forgotten_but_not_before_every_log_has_it() {
        let mut all = Transactions::default();
        all.bound(2, |_| false);
        let kept = |all: &Transactions| all.decided().map(|decided| decided.key.number).collect::<Vec<_>>();
        (1..=3).for_each(|number| all.decide(decided(number, 0)));
        assert_eq!(kept(&all), [2, 3]);
        all.decide(decided(4, 1));
        all.decide(decided(5, 0));
        all.decide(decided(6, 0));
        assert_eq!(kept(&all), [4, 5, 6]);
        all.settle(key(4));
        assert_eq!(kept(&all), [5, 6]);
        all.decide(decided(7, 1));
        all.bound(1, |pending| pending == key(7));
        assert_eq!((kept(&all), all.decided[0].participants.len()), (vec![7], 1));
        all.bound(0, |_| false);
        assert_eq!((kept(&all), all.encoded_bytes_max()), (vec![], 8));
    }

    #[test]
    fn what_a_group_gave_up_is_acknowledged_by_nothing_that_is_prepared() {
        let mut all = Transactions::default();
        all.prepare(Prepared { acks: vec![ack(2), ack(3)], ..prepared(1) }).unwrap();
        let bytes = all.encoded_bytes_max();
        all.forget_acks(7, 2);
        all.forget_acks(8, 3);
        assert_eq!(all.get(key(1)).unwrap().acks, [ack(3)]);
        assert!(all.encoded_bytes_max() < bytes);
    }
}
