//! The leases of one member: which deliveries it holds, and until when.
//!
//! A record is named by the id that the member gave the partition, and its offset. What the calls return is to be told
//! the partition's desk: it is finished there, or given back.
//!
//! Acknowledging record after record in order shrinks one range from its front: it is the `hot` one, taken out of the
//! tree, so that this is an addition. Out of order, a range is split.
//!
//! Invariants:
//! - A record is held once. Ranges are not empty and do not overlap.
//! - `deadlines` has an entry for each range in the tree and for the hot one. Neither changes when a range shrinks from
//!   its front, since both go by its end.
//! - Memory follows the ranges, and of those that ended the last [`REMEMBERED_MAX`] of each kind. What is held again is
//!   no longer remembered as lost, and what is lost no longer as finished.
//! - The bytes of a range are spread evenly over its records; in sum they are exact.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// Names a partition within its member.
pub(crate) type PartitionId = u32;

/// How many ranges of finished records, and of lost ones, a member remembers.
pub(crate) const REMEMBERED_MAX: usize = 1024;

/// How many of the newest of them may still grow.
const GROWING_MAX: usize = 4;

/// Why a record cannot be finished, extended or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheld {
    /// Nothing is known of a delivery of it to this member; or the member gave it back.
    NotHeld,
    /// The lease ran out, or was taken away: another member may have the record.
    LeaseLost,
    /// This member finished it before.
    AlreadyFinished,
}

/// Records with one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) partition: PartitionId,
    pub(crate) offsets: Range<u64>,
    pub(crate) until_ms: i64,
    pub(crate) deliveries: u32,
    /// Of the poll that gave it: a record that comes again has another.
    pub(crate) serial: u64,
    pub(crate) bytes: u64,
}

/// What a cumulative acknowledgement came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FinishedTo {
    pub(crate) ranges: Vec<Range<u64>>,
    /// Records below that the member lost and did not get again: somebody else finishes them. Told once.
    pub(crate) lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    from: u64,
    until_ms: i64,
    deliveries: u32,
    serial: u64,
    bytes: u64,
}

/// Partition and end of a range.
type Key = (PartitionId, u64);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: BTreeMap<Key, Held>,
    hot: Option<(Key, Held)>,
    deadlines: BTreeSet<(i64, Key)>,
    records: u64,
    bytes: u64,
    lost: Remembered,
    finished: Remembered,
}

impl Leases {
    /// A delivery begins. None of the records is held.
    pub(crate) fn hold(&mut self, lease: Lease) {
        let Lease { partition, offsets, until_ms, deliveries, serial, bytes } = lease;
        if offsets.is_empty() {
            return;
        }
        self.cool();
        let next = self.held.range((partition, offsets.start + 1)..).next();
        let is_free = next.is_none_or(|((other, _), held)| *other != partition || held.from >= offsets.end);
        assert!(is_free, "a record is held once");
        self.lost.forget(partition, &offsets);
        self.records += offsets.end - offsets.start;
        self.bytes += bytes;
        self.insert((partition, offsets.end), Held { from: offsets.start, until_ms, deliveries, serial, bytes });
    }

    /// Finishes one record.
    #[inline]
    pub(crate) fn finish(&mut self, partition: PartitionId, offset: u64, serial: u64) -> Result<(), Unheld> {
        let is_front = |((id, _), hot): &(Key, Held)| (*id, hot.from, hot.serial) == (partition, offset, serial);
        if !self.hot.as_ref().is_some_and(is_front) {
            self.heat(partition, offset, serial)?;
        }
        self.shrink_hot();
        self.finished.add(partition, offset..offset + 1);
        Ok(())
    }

    /// Finishes all that is held of a partition below `to`. If that is nothing, it says why the last one is not held.
    pub(crate) fn finish_to(&mut self, partition: PartitionId, to: u64) -> Result<FinishedTo, Unheld> {
        self.cool();
        let mut finished = FinishedTo::default();
        for lease in self.remove(partition, 0..to) {
            self.finished.add(partition, lease.offsets.clone());
            finished.ranges.push(lease.offsets);
        }
        if finished.ranges.is_empty() {
            return Err(self.why_not(partition, to.saturating_sub(1)));
        }
        finished.lost = self.lost.forget(partition, &(0..to));
        Ok(finished)
    }

    /// The member gives a record back; it returns the lease that this was.
    pub(crate) fn release(&mut self, partition: PartitionId, offset: u64, serial: u64) -> Result<Lease, Unheld> {
        self.check(partition, offset, serial)?;
        self.cool();
        Ok(self.remove(partition, offset..offset + 1).pop().expect("it is held"))
    }

    /// Takes records away from the member, as far as it holds them.
    pub(crate) fn take_back(&mut self, partition: PartitionId, offsets: Range<u64>) -> Vec<Lease> {
        self.cool();
        let leases = self.remove(partition, offsets);
        for lease in &leases {
            self.lose(lease);
        }
        leases
    }

    /// Sets the time until which a record is held.
    pub(crate) fn extend(
        &mut self,
        partition: PartitionId,
        offset: u64,
        serial: u64,
        until_ms: i64,
    ) -> Result<(), Unheld> {
        let mut lease = self.release(partition, offset, serial)?;
        lease.until_ms = until_ms;
        self.put_back(lease);
        Ok(())
    }

    /// Sets the time for all that is held of a range; returns for how many records.
    #[cfg(test)]
    pub(crate) fn extend_range(&mut self, partition: PartitionId, offsets: Range<u64>, until_ms: i64) -> u64 {
        self.cool();
        let mut extended = 0;
        for lease in self.remove(partition, offsets) {
            extended += lease.offsets.end - lease.offsets.start;
            self.put_back(Lease { until_ms, ..lease });
        }
        extended
    }

    /// Ends the leases that have run out. Cheap when there are none.
    pub(crate) fn expire(&mut self, now_ms: i64) -> Vec<Lease> {
        let is_due = |deadline: &(i64, Key)| deadline.0 <= now_ms;
        if !self.deadlines.first().is_some_and(is_due) {
            return Vec::new();
        }
        self.cool();
        let mut expired = Vec::new();
        while let Some((_, key)) = self.deadlines.first().copied().filter(is_due) {
            let lease = self.remove_whole(key);
            self.lose(&lease);
            expired.push(lease);
        }
        expired
    }

    /// When the first lease runs out.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(until_ms, _)| *until_ms)
    }

    /// The member goes away, or begins anew: it holds and remembers nothing more.
    pub(crate) fn drain(&mut self) -> Vec<Lease> {
        self.cool();
        let keys: Vec<Key> = self.held.keys().copied().collect();
        let leases = keys.into_iter().map(|key| self.remove_whole(key)).collect();
        *self = Leases::default();
        leases
    }

    /// Whether a record is held by the delivery of this serial. `Err`: it is not, or by a later one.
    #[inline]
    pub(crate) fn check(&self, partition: PartitionId, offset: u64, serial: u64) -> Result<(), Unheld> {
        match self.find(partition, offset) {
            Some(held) if held.serial == serial => Ok(()),
            Some(_) => Err(Unheld::LeaseLost),
            None => Err(self.why_not(partition, offset)),
        }
    }

    #[inline]
    fn find(&self, partition: PartitionId, offset: u64) -> Option<&Held> {
        let contains = |((id, end), held): (&Key, &Held)| *id == partition && held.from <= offset && offset < *end;
        if let Some((key, held)) = &self.hot
            && contains((key, held))
        {
            return Some(held);
        }
        let next = self.held.range((partition, offset.saturating_add(1))..).next();
        next.filter(|(key, held)| contains((key, held))).map(|(_, held)| held)
    }

    /// Records that are held.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the range whose front a record is the hot one; splits it if it is not the front.
    #[cold]
    fn heat(&mut self, partition: PartitionId, offset: u64, serial: u64) -> Result<(), Unheld> {
        self.cool();
        let range = self.held.range((partition, offset.saturating_add(1))..).next();
        let range = range.filter(|((id, _), held)| *id == partition && held.from <= offset);
        let Some((key, mut held)) = range.map(|(key, held)| (*key, *held)) else {
            return Err(self.why_not(partition, offset));
        };
        if held.serial != serial {
            return Err(Unheld::LeaseLost);
        }
        self.held.remove(&key);
        if held.from < offset {
            // The front stays behind; nothing else in it changes.
            let front = split_front(&mut held, offset, key.1);
            self.deadlines.insert((front.until_ms, (partition, offset)));
            self.held.insert((partition, offset), front);
        }
        self.hot = Some((key, held));
        Ok(())
    }

    /// The first record of the hot range is finished.
    #[inline]
    fn shrink_hot(&mut self) {
        let ((_, end), hot) = self.hot.as_mut().expect("it was heated");
        let bytes = hot.bytes / (*end - hot.from);
        hot.bytes -= bytes;
        hot.from += 1;
        self.bytes -= bytes;
        self.records -= 1;
        if hot.from == *end
            && let Some((key, hot)) = self.hot.take()
        {
            self.deadlines.remove(&(hot.until_ms, key));
        }
    }

    fn cool(&mut self) {
        if let Some((key, hot)) = self.hot.take() {
            self.held.insert(key, hot);
        }
    }

    /// What a lost record was before does not count any more.
    fn lose(&mut self, lease: &Lease) {
        self.finished.forget(lease.partition, &lease.offsets);
        self.lost.add(lease.partition, lease.offsets.clone());
    }

    /// Takes out what is held of a range, in order. Nothing is hot.
    fn remove(&mut self, partition: PartitionId, offsets: Range<u64>) -> Vec<Lease> {
        let mut removed = Vec::new();
        let mut at = offsets.start;
        while at < offsets.end {
            let Some((&key, &held)) = self.held.range((partition, at + 1)..).next() else { break };
            if key.0 != partition || held.from >= offsets.end {
                break;
            }
            let Lease { bytes, .. } = self.remove_whole(key);
            let mut held = Held { bytes, ..held };
            if held.from < offsets.start {
                let front = split_front(&mut held, offsets.start, key.1);
                self.put((partition, offsets.start), front);
            }
            let mut end = key.1;
            if end > offsets.end {
                let front = split_front(&mut held, offsets.end, end);
                self.put(key, held);
                (held, end) = (front, offsets.end);
            }
            removed.push(lease((partition, end), held));
            at = end;
        }
        removed
    }

    fn remove_whole(&mut self, key: Key) -> Lease {
        let held = self.held.remove(&key).expect("each deadline has its range");
        self.deadlines.remove(&(held.until_ms, key));
        self.records -= key.1 - held.from;
        self.bytes -= held.bytes;
        lease(key, held)
    }

    fn put_back(&mut self, lease: Lease) {
        let Lease { partition, offsets, until_ms, deliveries, serial, bytes } = lease;
        self.put((partition, offsets.end), Held { from: offsets.start, until_ms, deliveries, serial, bytes });
    }

    fn put(&mut self, key: Key, held: Held) {
        self.records += key.1 - held.from;
        self.bytes += held.bytes;
        self.insert(key, held);
    }

    /// Adds a range, and makes it one with those that it touches if they differ in nothing.
    fn insert(&mut self, key: Key, mut held: Held) {
        let what = |held: &Held| (held.until_ms, held.deliveries, held.serial);
        let is_same = |other: &Held| what(other) == what(&held);
        let before = (key.0, held.from);
        if let Some(other) = self.held.get(&before).copied().filter(is_same) {
            self.held.remove(&before);
            self.deadlines.remove(&(other.until_ms, before));
            held = Held { from: other.from, bytes: held.bytes + other.bytes, ..held };
        }
        let behind = self.held.range_mut((key.0, key.1 + 1)..).next();
        if let Some((_, other)) =
            behind.filter(|((id, _), other)| *id == key.0 && other.from == key.1 && what(other) == what(&held))
        {
            other.from = held.from;
            other.bytes += held.bytes;
            return;
        }
        self.deadlines.insert((held.until_ms, key));
        self.held.insert(key, held);
    }

    #[cold]
    fn why_not(&self, partition: PartitionId, offset: u64) -> Unheld {
        if self.lost.contains(partition, offset) {
            Unheld::LeaseLost
        } else if self.finished.contains(partition, offset) {
            Unheld::AlreadyFinished
        } else {
            Unheld::NotHeld
        }
    }
}

/// Takes what is below `at` from the front of a range that ends at `end`.
fn split_front(held: &mut Held, at: u64, end: u64) -> Held {
    let (count, all) = (at - held.from, end - held.from);
    let bytes = (u128::from(held.bytes) * u128::from(count) / u128::from(all)) as u64;
    let front = Held { bytes, ..*held };
    held.from = at;
    held.bytes -= bytes;
    front
}

fn lease(key: Key, held: Held) -> Lease {
    let Held { from, until_ms, deliveries, serial, bytes } = held;
    Lease { partition: key.0, offsets: from..key.1, until_ms, deliveries, serial, bytes }
}

/// The last ranges that ended in one way, oldest first.
#[derive(Debug, Default)]
struct Remembered {
    ranges: VecDeque<(PartitionId, Range<u64>)>,
}

impl Remembered {
    #[inline]
    fn add(&mut self, partition: PartitionId, offsets: Range<u64>) {
        // Whoever goes through a poll meets a few ranges in turn.
        let mut newest = self.ranges.iter_mut().rev().take(GROWING_MAX);
        if let Some((_, range)) = newest.find(|(id, range)| *id == partition && range.end == offsets.start) {
            range.end = offsets.end;
            return;
        }
        if self.ranges.len() == REMEMBERED_MAX {
            self.ranges.pop_front();
        }
        self.ranges.push_back((partition, offsets));
    }

    fn contains(&self, partition: PartitionId, offset: u64) -> bool {
        self.ranges.iter().any(|(id, range)| *id == partition && range.contains(&offset))
    }

    /// Says how many offsets were remembered.
    fn forget(&mut self, partition: PartitionId, offsets: &Range<u64>) -> u64 {
        let overlaps = |(id, range): &(PartitionId, Range<u64>)| {
            *id == partition && range.start < offsets.end && offsets.start < range.end
        };
        if !self.ranges.iter().any(overlaps) {
            return 0;
        }
        let mut forgotten = 0;
        for (id, range) in std::mem::take(&mut self.ranges) {
            if !overlaps(&(id, range.clone())) {
                self.ranges.push_back((id, range));
                continue;
            }
            let (start, end) = (range.start.max(offsets.start), range.end.min(offsets.end));
            forgotten += end - start;
            let rest = [range.start..start, end..range.end];
            self.ranges.extend(rest.into_iter().filter(|rest| !rest.is_empty()).map(|rest| (id, rest)));
        }
        while self.ranges.len() > REMEMBERED_MAX {
            self.ranges.pop_front();
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn held(partition: PartitionId, offsets: Range<u64>, until_ms: i64) -> Lease {
        let bytes = (offsets.end - offsets.start) * 10;
        Lease { partition, offsets, until_ms, deliveries: 1, serial: 1, bytes }
    }

    fn with(leases: &[Lease]) -> Leases {
        let mut all = Leases::default();
        leases.iter().for_each(|lease| all.hold(lease.clone()));
        all
    }

    #[test]
    fn finishing_in_order_only_shrinks_a_range() {
        let mut leases = with(&[held(1, 0..100_000, 50)]);
        for offset in 0..99_999 {
            leases.finish(1, offset, 1).unwrap();
            assert_eq!((leases.held.len(), leases.deadlines.len(), leases.finished.ranges.len()), (0, 1, 1));
        }
        assert_eq!((leases.records(), leases.bytes()), (1, 10));
        leases.finish(1, 99_999, 1).unwrap();
        assert_eq!((leases.records(), leases.bytes(), leases.next_deadline()), (0, 0, None));
    }

    #[test]
    fn finishing_out_of_order_splits() {
        let mut leases = with(&[held(1, 0..10, 50)]);
        for offset in [5, 6, 2] {
            leases.finish(1, offset, 1).unwrap();
        }
        let ranges: Vec<Range<u64>> = leases.drain().into_iter().map(|lease| lease.offsets).collect();
        assert_eq!(ranges, [0..2, 3..5, 7..10]);
    }

    #[test]
    fn each_outcome_is_told_from_the_others() {
        let mut leases = with(&[held(1, 0..10, 50), held(2, 0..10, 90)]);
        assert_eq!(leases.finish(1, 3, 1), Ok(()));
        assert_eq!(leases.finish(1, 3, 1), Err(Unheld::AlreadyFinished));
        assert_eq!(leases.finish(1, 10, 1), Err(Unheld::NotHeld));
        assert_eq!(leases.finish(3, 3, 1), Err(Unheld::NotHeld));
        assert_eq!(leases.release(1, 4, 1).unwrap().offsets, 4..5);
        assert_eq!(leases.finish(1, 4, 1), Err(Unheld::NotHeld), "the member itself gave it back");
        assert_eq!(leases.take_back(1, 5..6).len(), 1);
        assert_eq!(leases.finish(1, 5, 1), Err(Unheld::LeaseLost));
        leases.expire(50);
        for outcome in [leases.finish(1, 0, 1), leases.extend(1, 9, 1, 99), leases.release(1, 8, 1).map(drop)] {
            assert_eq!(outcome, Err(Unheld::LeaseLost));
        }
        assert_eq!(leases.finish(2, 0, 1), Ok(()));
        leases.hold(held(1, 0..1, 99));
        assert_eq!(leases.finish(1, 0, 1), Ok(()), "it came again");
        assert_eq!(leases.finish(1, 0, 1), Err(Unheld::AlreadyFinished));
    }

    #[test]
    fn a_call_for_an_earlier_delivery_does_not_touch_a_later_one() {
        let mut leases = with(&[Lease { serial: 2, ..held(1, 0..10, 50) }]);
        for late in [leases.finish(1, 0, 1), leases.extend(1, 0, 1, 99), leases.release(1, 0, 1).map(drop)] {
            assert_eq!(late, Err(Unheld::LeaseLost));
        }
        assert_eq!(leases.finish(1, 0, 2), Ok(()));
        assert_eq!(leases.finish(1, 1, 1), Err(Unheld::LeaseLost), "where the range is the hot one");
        assert_eq!((leases.records(), leases.next_deadline()), (9, Some(50)));
    }

    #[test]
    fn a_cumulative_acknowledgement_finishes_what_is_held_below() {
        let mut leases = with(&[held(1, 0..10, 50), held(1, 20..30, 60), held(2, 0..5, 50)]);
        leases.finish(1, 4, 1).unwrap();
        leases.take_back(1, 6..8);
        assert_eq!(leases.finish_to(1, 25), Ok(FinishedTo { ranges: vec![0..4, 5..6, 8..10, 20..25], lost: 2 }));
        assert_eq!(leases.finish_to(1, 25), Err(Unheld::AlreadyFinished));
        assert_eq!(leases.finish_to(3, 25), Err(Unheld::NotHeld));
        assert_eq!((leases.records(), leases.bytes()), (10, 100));
    }

    #[test]
    fn a_lease_runs_out_unless_it_is_extended() {
        let mut leases = with(&[held(1, 0..10, 50), held(2, 0..10, 60)]);
        leases.extend(1, 5, 1, 70).unwrap();
        leases.finish(1, 0, 1).unwrap();
        assert_eq!((leases.expire(49), leases.next_deadline()), (vec![], Some(50)));
        let expired: Vec<Range<u64>> = leases.expire(50).into_iter().map(|lease| lease.offsets).collect();
        assert_eq!(expired, [1..5, 6..10]);
        assert_eq!(leases.extend_range(2, 2..4, 80), 2);
        let expired: Vec<(PartitionId, Range<u64>)> =
            leases.expire(70).into_iter().map(|lease| (lease.partition, lease.offsets)).collect();
        assert_eq!(expired, [(2, 0..2), (2, 4..10), (1, 5..6)]);
        assert_eq!((leases.records(), leases.next_deadline()), (2, Some(80)));
    }

    #[test]
    fn memory_follows_ranges_and_what_is_remembered_is_bounded() {
        let mut leases = Leases::default();
        for offset in 0..1000 {
            leases.hold(held(1, offset..offset + 1, 50));
        }
        assert_eq!((leases.held.len(), leases.deadlines.len()), (1, 1), "equal neighbours are one");
        (0..1000).for_each(|offset| leases.extend(1, offset, 1, 60).unwrap());
        assert_eq!((leases.held.len(), leases.deadlines.len()), (1, 1));
        for offset in 0..3 * REMEMBERED_MAX as u64 {
            leases.hold(held(2, offset * 2..offset * 2 + 1, 50));
        }
        leases.expire(50);
        assert_eq!(leases.lost.ranges.len(), REMEMBERED_MAX);
        assert_eq!(leases.finish(2, 0, 1), Err(Unheld::NotHeld), "long ago");
        for offset in (0..1000).rev() {
            leases.finish(1, offset, 1).unwrap();
        }
        assert!(leases.finished.ranges.len() <= REMEMBERED_MAX);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Hold(Lease),
        Finish(PartitionId, u64),
        FinishSome(PartitionId, u64, u64),
        FinishTo(PartitionId, u64),
        Release(PartitionId, u64),
        TakeBack(PartitionId, Range<u64>),
        Extend(PartitionId, u64, i64),
        ExtendRange(PartitionId, Range<u64>, i64),
        Expire(i64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let place = || (0u32..3, 0u64..40);
        let range = || (0u32..3, 0u64..40, 0u64..12).prop_map(|(id, from, count)| (id, from..from + count));
        let until = 0i64..20;
        prop_oneof![
            4 => (range(), until.clone(), 1u32..3, 0u64..300).prop_map(|(range, until_ms, deliveries, bytes)| {
                Step::Hold(Lease { partition: range.0, offsets: range.1, until_ms, deliveries, serial: 1, bytes })
            }),
            3 => place().prop_map(|(id, offset)| Step::Finish(id, offset)),
            3 => (place(), 0u64..12).prop_map(|((id, from), count)| Step::FinishSome(id, from, from + count)),
            1 => place().prop_map(|(id, to)| Step::FinishTo(id, to)),
            1 => place().prop_map(|(id, offset)| Step::Release(id, offset)),
            1 => range().prop_map(|(id, offsets)| Step::TakeBack(id, offsets)),
            1 => (place(), until.clone()).prop_map(|((id, offset), until_ms)| Step::Extend(id, offset, until_ms)),
            1 => (range(), until.clone())
                .prop_map(|((id, offsets), until_ms)| Step::ExtendRange(id, offsets, until_ms)),
            1 => until.prop_map(Step::Expire),
        ]
    }

    /// Record by record.
    #[derive(Default)]
    struct Model {
        held: BTreeMap<Key, (i64, u32)>,
        ended: HashMap<Key, Unheld>,
    }

    impl Model {
        fn why_not(&self, key: Key) -> Unheld {
            self.ended.get(&key).copied().unwrap_or(Unheld::NotHeld)
        }

        fn end(&mut self, key: Key, as_what: Unheld) -> Result<(), Unheld> {
            match self.held.remove(&key) {
                Some(_) => {
                    self.ended.insert(key, as_what);
                    Ok(())
                }
                None => Err(self.why_not(key)),
            }
        }

        fn keys(&self, id: PartitionId, offsets: Range<u64>) -> Vec<Key> {
            self.held.range((id, offsets.start)..(id, offsets.end.max(offsets.start))).map(|(key, _)| *key).collect()
        }
    }

    fn keys_of(leases: &[Lease]) -> Vec<Key> {
        let keys = |lease: &Lease| lease.offsets.clone().map(|offset| (lease.partition, offset)).collect::<Vec<_>>();
        leases.iter().flat_map(keys).collect()
    }

    proptest! {
        #[test]
        fn they_are_a_map_of_records(steps in prop::collection::vec(any_step(), 0..60)) {
            let (mut leases, mut model) = (Leases::default(), Model::default());
            let mut bytes_ended = 0;
            let mut bytes_begun = 0;
            for step in steps {
                match step {
                    Step::Hold(lease) => {
                        if model.keys(lease.partition, lease.offsets.clone()).is_empty() && !lease.offsets.is_empty() {
                            for offset in lease.offsets.clone() {
                                let key = (lease.partition, offset);
                                model.held.insert(key, (lease.until_ms, lease.deliveries));
                                // Finished ones stay remembered: it is what they are again when they are given back.
                                if model.ended.get(&key) == Some(&Unheld::LeaseLost) {
                                    model.ended.remove(&key);
                                }
                            }
                            bytes_begun += lease.bytes;
                            leases.hold(lease);
                        }
                    }
                    Step::Finish(id, offset) => {
                        let held = model.end((id, offset), Unheld::AlreadyFinished);
                        prop_assert_eq!(leases.check(id, offset, 1), held);
                        let before = leases.bytes();
                        prop_assert_eq!(leases.finish(id, offset, 1), held);
                        bytes_ended += before - leases.bytes();
                    }
                    Step::FinishSome(id, from, to) => {
                        let before = leases.bytes();
                        for offset in from..to {
                            let held = model.end((id, offset), Unheld::AlreadyFinished);
                            prop_assert_eq!(leases.finish(id, offset, 1), held);
                        }
                        bytes_ended += before - leases.bytes();
                    }
                    Step::FinishTo(id, to) => {
                        let before = leases.bytes();
                        let keys = model.keys(id, 0..to);
                        let finished = leases.finish_to(id, to);
                        bytes_ended += before - leases.bytes();
                        match keys.is_empty() {
                            true => prop_assert_eq!(finished, Err(model.why_not((id, to.saturating_sub(1))))),
                            false => {
                                let finished = finished.unwrap();
                                let offsets: Vec<u64> = finished.ranges.into_iter().flatten().collect();
                                prop_assert_eq!(offsets, keys.iter().map(|key| key.1).collect::<Vec<_>>());
                                keys.into_iter().for_each(|key| model.end(key, Unheld::AlreadyFinished).unwrap());
                                let lost = model.ended.extract_if(|key, how| {
                                    key.0 == id && key.1 < to && *how == Unheld::LeaseLost
                                });
                                prop_assert_eq!(finished.lost, lost.count() as u64);
                            }
                        }
                    }
                    Step::Release(id, offset) => {
                        let expected = model.held.remove(&(id, offset)).ok_or_else(|| model.why_not((id, offset)));
                        let lease = leases.release(id, offset, 1);
                        bytes_ended += lease.as_ref().map_or(0, |lease| lease.bytes);
                        prop_assert_eq!(lease.map(|lease| (lease.until_ms, lease.deliveries)), expected);
                    }
                    Step::TakeBack(id, offsets) => {
                        let keys = model.keys(id, offsets.clone());
                        let taken = leases.take_back(id, offsets);
                        bytes_ended += taken.iter().map(|lease| lease.bytes).sum::<u64>();
                        prop_assert_eq!(keys_of(&taken), keys.clone());
                        keys.into_iter().for_each(|key| model.end(key, Unheld::LeaseLost).unwrap());
                    }
                    Step::Extend(id, offset, until_ms) => {
                        let expected = match model.held.get_mut(&(id, offset)) {
                            Some(held) => {
                                held.0 = until_ms;
                                Ok(())
                            }
                            None => Err(model.why_not((id, offset))),
                        };
                        prop_assert_eq!(leases.extend(id, offset, 1, until_ms), expected);
                    }
                    Step::ExtendRange(id, offsets, until_ms) => {
                        let keys = model.keys(id, offsets.clone());
                        prop_assert_eq!(leases.extend_range(id, offsets, until_ms), keys.len() as u64);
                        for key in keys {
                            model.held.get_mut(&key).unwrap().0 = until_ms;
                        }
                    }
                    Step::Expire(now_ms) => {
                        let due = |(_, held): &(&Key, &(i64, u32))| held.0 <= now_ms;
                        let keys: Vec<Key> = model.held.iter().filter(due).map(|(key, _)| *key).collect();
                        let expired = leases.expire(now_ms);
                        bytes_ended += expired.iter().map(|lease| lease.bytes).sum::<u64>();
                        prop_assert!(expired.is_sorted_by_key(|lease| lease.until_ms));
                        let mut listed = keys_of(&expired);
                        listed.sort_unstable();
                        prop_assert_eq!(&listed, &keys);
                        keys.into_iter().for_each(|key| model.end(key, Unheld::LeaseLost).unwrap());
                    }
                }
                prop_assert_eq!(leases.records(), model.held.len() as u64);
                prop_assert_eq!(leases.bytes() + bytes_ended, bytes_begun);
                prop_assert_eq!(leases.next_deadline(), model.held.values().map(|held| held.0).min());
                let ranges = leases.held.len() + usize::from(leases.hot.is_some());
                prop_assert_eq!(leases.deadlines.len(), ranges);
                for id in 0..3 {
                    for offset in 0..60 {
                        let key = (id, offset);
                        let expected = if model.held.contains_key(&key) { Ok(()) } else { Err(model.why_not(key)) };
                        prop_assert_eq!(leases.check(id, offset, 1), expected, "{:?}", key);
                    }
                }
            }
            let all = leases.drain();
            prop_assert_eq!(keys_of(&all), model.held.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(all.iter().map(|lease| lease.bytes).sum::<u64>() + bytes_ended, bytes_begun);
        }
    }
}
