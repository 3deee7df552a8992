//! Waiting for a cohort: senders that were just released come back with their next records at almost
//! the same time, and the first of them should not leave alone.
//!
//! Invariants:
//! - Only after several records were answered at once, and never for longer than [`WAIT_NS_MAX`].
//! - A cohort that does not come back is soon not waited for: each disappointment halves the trust.

/// Time that each released sender is given to come back.
const WAIT_NS_PER_SENDER: u64 = 2_500;
/// Time that a sender of many is given for each of its records.
const WAIT_NS_PER_RECORD: u64 = 80;
/// Longest wait.
const WAIT_NS_MAX: u64 = 200_000;
/// How often the lane looks whether all are back.
const LOOK_NS: u64 = 15_000;
/// A group of more records than this is not small.
const RECORDS_MAX: u64 = 512;
const TRUST_MAX: u32 = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Cohort {
    senders: u64,
    /// Records that were answered: as many are expected back.
    records: u64,
    until_ns: u64,
    trust: u32,
    /// Cohorts passed over since trust was lost; now and then one is tried again.
    skipped: u32,
}

impl Cohort {
    pub(crate) fn new() -> Cohort {
        Cohort { senders: 0, records: 0, until_ns: 0, trust: TRUST_MAX, skipped: 0 }
    }

    /// `records` were answered, and so many senders were waiting for them.
    pub(crate) fn release(&mut self, senders: u32, records: u64) {
        if senders > 0 {
            self.senders += u64::from(senders);
            self.records += records;
        }
    }

    /// The cohort is complete: the wait for its return begins. A sender of thousands needs none: its
    /// records fill a write of their own.
    pub(crate) fn begin(&mut self, now_ns: u64) {
        let (senders, records) = (self.senders, self.records);
        self.senders = 0;
        if senders == 0 || !(2..=RECORDS_MAX).contains(&records) {
            (self.records, self.until_ns) = (0, 0);
            return;
        }
        if self.trust == 0 {
            self.records = 0;
            self.skipped += 1;
            if self.skipped >= 256 {
                (self.skipped, self.trust) = (0, 1);
            }
            return;
        }
        let wait_ns = (senders - 1) * WAIT_NS_PER_SENDER + 2_000 + records * WAIT_NS_PER_RECORD;
        self.until_ns = now_ns + wait_ns.min(WAIT_NS_MAX);
    }

    /// Whether to wait on, with `waiting` records there now; if so, when to look again.
    pub(crate) fn look_again_at(&mut self, now_ns: u64, waiting: u64) -> Option<u64> {
        if self.until_ns == 0 {
            return None;
        }
        if waiting >= self.records {
            self.trust = (self.trust + 1).min(TRUST_MAX);
        } else if now_ns < self.until_ns {
            return Some(self.until_ns.min(now_ns + LOOK_NS));
        } else if waiting * 2 < self.records {
            self.trust /= 2;
        }
        self.records = 0;
        self.until_ns = 0;
        None
    }

    /// Until when the lane waits, if it does.
    pub(crate) fn waits_until(&self) -> Option<u64> {
        (self.until_ns != 0).then_some(self.until_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cohort_that_returns_is_waited_for() {
        let mut cohort = Cohort::new();
        cohort.release(64, 64);
        cohort.begin(1_000);
        assert_eq!(cohort.look_again_at(1_000, 1), Some(1_000 + LOOK_NS));
        assert_eq!(cohort.look_again_at(20_000, 64), None, "all are back");
        assert_eq!(cohort.look_again_at(20_000, 0), None, "and nobody is waited for");
    }

    /// Records that nobody waited for, behind a cohort that is still waited for: the subtraction of the
    /// one sender who is there anyway ran below zero, and the panic left a closing engine without an answer.
    #[test]
    fn a_group_without_waiting_senders_begins_nothing() {
        let mut cohort = Cohort::new();
        cohort.release(3, 3);
        cohort.begin(1_000);
        cohort.release(0, 5);
        cohort.begin(2_000);
        assert_eq!(cohort.waits_until(), None);
    }

    #[test]
    fn a_lone_sender_is_not_waited_for() {
        let mut cohort = Cohort::new();
        cohort.release(1, 1);
        cohort.begin(1_000);
        assert_eq!(cohort.waits_until(), None);
    }

    #[test]
    fn a_cohort_that_stays_away_loses_trust_and_is_tried_again_much_later() {
        let mut cohort = Cohort::new();
        let mut waited = 0;
        for round in 1..400u64 {
            cohort.release(64, 64);
            cohort.begin(round * 1_000_000);
            if cohort.look_again_at(round * 1_000_000, 1).is_some() {
                waited += 1;
                assert_eq!(cohort.look_again_at(round * 1_000_000 + WAIT_NS_MAX, 1), None);
            }
        }
        assert!((5..=7).contains(&waited), "{waited}");
    }
}
