//! Waiting for a cohort: senders that were just released come back with their next records at almost
//! the same time, and the first of them should not leave alone.
//!
//! Waiting pays when the cohort is back sooner than a write takes. With few senders it is: a sender of
//! many records that is not waited for splits them for ever into two groups, each of which pays for a
//! whole write (measured: 64 records in flight, 0.66 of the limit without waiting, 0.9 with it). With
//! many senders it is not: while some are written the others come back, and two groups that take turns
//! keep the device and the cores busy at once (64 blocking threads: 0.70 with waiting, 0.87 without).
//! So both times are measured.
//!
//! Invariants:
//! - Only after several records were answered at once, and never for longer than [`WAIT_NS_MAX`].
//! - A cohort that does not come back is soon not waited for: each disappointment halves the trust.

/// What a return is thought to take, before it was measured: the way of a wake-up to another core,
const WAKE_NS: u64 = 25_000;
/// for each sender that wakes, sends and sleeps again,
const SENDER_NS: u64 = 4_000;
/// and for each of its records.
const RECORD_NS: u64 = 250;
/// Longest wait.
const WAIT_NS_MAX: u64 = 200_000;
/// How often the lane looks whether all are back.
const LOOK_NS: u64 = 15_000;
/// With so few senders the lane looks all the time: a sleep is longer than the wait.
const SPIN_SENDERS_MAX: u64 = 1;
/// A group of more records than this is not small.
const RECORDS_MAX: u64 = 512;
const TRUST_MAX: u32 = 16;
/// One cohort among so many that were passed over is waited for all the same: things change.
const SKIPPED_MAX: u32 = 256;
/// The pace at which returns take as long as was thought.
const PACE_UNIT: u64 = 256;

/// What the lane is to do about the cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nobody is waited for.
    Go,
    /// Look again without sleeping.
    Now,
    /// Look again at this time.
    At(u64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cohort {
    /// Answered since the last wait began.
    senders: u64,
    records: u64,
    wait: Option<Waiting>,
    trust: u32,
    skipped: u32,
    /// How long returns take, in [`PACE_UNIT`]s of what is thought; a moving average.
    pace: u64,
    /// How long a write takes that carries a small group; a moving average.
    write_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    begun_ns: u64,
    until_ns: u64,
    /// Records that complete the cohort.
    records: u64,
    /// Those of them that had come before the wait began.
    records_before: u64,
    thought_ns: u64,
    spins: bool,
}

impl Cohort {
    pub(crate) fn new() -> Cohort {
        Cohort { senders: 0, records: 0, wait: None, trust: TRUST_MAX, skipped: 0, pace: PACE_UNIT, write_ns: 0 }
    }

    /// `records` were answered, and so many senders were waiting for them.
    pub(crate) fn release(&mut self, senders: u32, records: u64) {
        if senders > 0 {
            self.senders += u64::from(senders);
            self.records += records;
        }
    }

    /// A write of a small group took so long.
    pub(crate) fn note_write(&mut self, took_ns: u64) {
        // A stall says nothing about the next write.
        let took_ns = took_ns.min(1_000_000_000);
        self.write_ns = if self.write_ns == 0 { took_ns } else { (self.write_ns * 7 + took_ns) / 8 };
    }

    /// Whether somebody was answered of whom more may come.
    pub(crate) fn has_released(&self) -> bool {
        self.senders > 0
    }

    /// The cohort is complete, and `waiting` records came meanwhile: the wait for its return begins.
    /// A sender of thousands needs none: its records fill a write of their own.
    pub(crate) fn begin(&mut self, now_ns: u64, waiting: u64) {
        let (senders, records) = (std::mem::take(&mut self.senders), std::mem::take(&mut self.records));
        self.wait = None;
        if senders == 0 || !(2..=RECORDS_MAX).contains(&(records + waiting)) {
            return;
        }
        let thought_ns = WAKE_NS + senders * SENDER_NS + records * RECORD_NS;
        let likely_ns = thought_ns * self.pace / PACE_UNIT;
        if self.trust == 0 || likely_ns >= self.write_ns {
            self.skipped += 1;
            if self.skipped < SKIPPED_MAX {
                return;
            }
            self.trust = self.trust.max(1);
        }
        self.skipped = 0;
        let wait_ns = (likely_ns.max(thought_ns) * 2).min(WAIT_NS_MAX);
        self.wait = Some(Waiting {
            begun_ns: now_ns,
            until_ns: now_ns + wait_ns,
            records: records + waiting,
            records_before: waiting,
            thought_ns,
            spins: senders <= SPIN_SENDERS_MAX,
        });
    }

    /// Whether to wait on, with `waiting` records there now.
    pub(crate) fn look(&mut self, now_ns: u64, waiting: u64) -> Look {
        let Some(wait) = self.wait else { return Look::Go };
        if waiting >= wait.records {
            self.trust = (self.trust + 1).min(TRUST_MAX);
            self.note_return(now_ns.saturating_sub(wait.begun_ns), wait.thought_ns);
        } else if now_ns < wait.until_ns {
            return if wait.spins { Look::Now } else { Look::At(wait.until_ns.min(now_ns + LOOK_NS)) };
        } else {
            let returned = waiting.saturating_sub(wait.records_before);
            if returned * 2 < wait.records - wait.records_before {
                self.trust /= 2;
            }
            self.note_return(wait.until_ns - wait.begun_ns, wait.thought_ns);
        }
        self.wait = None;
        Look::Go
    }

    fn note_return(&mut self, took_ns: u64, thought_ns: u64) {
        self.pace = (self.pace * 7 + took_ns * PACE_UNIT / thought_ns) / 8;
    }

    /// Whether the lane waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE_NS: u64 = 100_000;

    fn cohort() -> Cohort {
        let mut cohort = Cohort::new();
        cohort.note_write(WRITE_NS);
        cohort
    }

    #[test]
    fn few_senders_are_waited_for() {
        let mut cohort = cohort();
        cohort.release(8, 8);
        cohort.begin(1_000, 0);
        assert_eq!(cohort.look(1_000, 1), Look::At(1_000 + LOOK_NS));
        assert_eq!(cohort.look(20_000, 8), Look::Go, "all are back");
        assert_eq!(cohort.look(20_000, 0), Look::Go, "and nobody is waited for");
    }

    #[test]
    fn a_sender_of_many_records_is_looked_for_all_the_time() {
        let mut cohort = cohort();
        cohort.release(1, 64);
        cohort.begin(1_000, 0);
        assert_eq!(cohort.look(2_000, 0), Look::Now);
        assert_eq!(cohort.look(40_000, 63), Look::Now);
        assert_eq!(cohort.look(41_000, 64), Look::Go);
    }

    /// 64 records in flight fell apart into two groups of 32 that took turns, for each was waited for
    /// only until 32 records were there, and those of the other were.
    #[test]
    fn two_groups_of_one_sender_grow_together() {
        let mut cohort = cohort();
        cohort.release(1, 32);
        cohort.begin(1_000, 32);
        assert_eq!(cohort.look(2_000, 32), Look::Now, "the others do not stand for those that were answered");
        assert_eq!(cohort.look(3_000, 64), Look::Go);
    }

    #[test]
    fn many_senders_take_turns_instead() {
        let mut cohort = cohort();
        cohort.release(64, 64);
        cohort.begin(1_000, 0);
        assert!(!cohort.is_waiting());
        cohort.note_write(40_000_000);
        cohort.release(64, 64);
        cohort.begin(2_000, 0);
        assert!(cohort.is_waiting(), "a slow device is worth the wait");
    }

    #[test]
    fn senders_that_are_slow_to_return_are_not_waited_for_any_more() {
        let mut cohort = Cohort::new();
        cohort.note_write(80_000);
        let mut waited = 0;
        for round in 0..20u64 {
            let now = round * 1_000_000;
            cohort.release(8, 8);
            cohort.begin(now, 0);
            if cohort.is_waiting() {
                waited += 1;
                cohort.look(now + 90_000, 7);
                cohort.look(now + 95_000, 8);
            }
        }
        assert!((1..10).contains(&waited), "{waited}");
    }

    /// Records that nobody waited for, behind a cohort that is still waited for: the subtraction of the
    /// one sender who is there anyway ran below zero, and the panic left a closing engine without an answer.
    #[test]
    fn a_group_without_waiting_senders_begins_nothing() {
        let mut cohort = cohort();
        cohort.release(3, 3);
        cohort.begin(1_000, 0);
        cohort.release(0, 5);
        cohort.begin(2_000, 0);
        assert!(!cohort.is_waiting());
    }

    #[test]
    fn a_lone_sender_is_not_waited_for() {
        let mut cohort = cohort();
        cohort.release(1, 1);
        cohort.begin(1_000, 0);
        assert!(!cohort.is_waiting());
    }

    #[test]
    fn a_cohort_that_stays_away_loses_trust_and_is_tried_again_much_later() {
        let mut cohort = Cohort::new();
        cohort.note_write(1_000_000_000);
        let mut waited = 0;
        for round in 1..400u64 {
            cohort.release(8, 8);
            cohort.begin(round * 1_000_000, 0);
            if cohort.is_waiting() {
                waited += 1;
                assert_eq!(cohort.look(round * 1_000_000 + WAIT_NS_MAX, 1), Look::Go);
            }
        }
        assert!((5..=7).contains(&waited), "{waited}");
    }
}
