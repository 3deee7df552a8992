//! Which way to write is used for each durable write: measured, not believed.
//!
//! Invariants:
//! - The same writes with the same latencies give the same choices; there is no clock and no chance.
//! - Blocking is chosen only while nothing is in flight on the ring.
//! - One slow moment changes nothing, however many writes were in flight in it. A strategy is left
//!   when several stalls, apart from each other, cost more time than the work between them.
//! - A strategy that was left because of stalls is barred for a number of writes that doubles each
//!   time, so that a machine where everything stalls does not see it change for ever.
//!
//! Two classes of writes are decided apart. What was measured on the reference machine (virtio disk
//! with a volatile cache, 2 cores, O_DIRECT on written blocks; idle / both cores kept busy by threads
//! of the process):
//!
//! |                    | 4 KiB alone, p50      | p99               | 256 KiB, four deep |
//! |--------------------|-----------------------|-------------------|--------------------|
//! | blocking           | 90 / 65 us            | 140 / 105 us      | 1.5 / 2.0 GB/s     |
//! | blocking, grouped  |                       |                   | 2.1 / 2.3 GB/s     |
//! | ring-dsync         | 94 / 4,000 us         | 145 / 8,000 us    | 2.6 / 2.7 GB/s     |
//! | ring-linked-sync   | 105 / 79 to 103 us    | 160 / 150 to 2,700| 2.4 / 1.0 GB/s     |
//! | ring-separate-sync | 102 / 77 to 106 us    | 155 / 150 to 4,000| 2.4 / 1.8 GB/s     |
//!
//! On the ring the flush of a write runs in a worker thread of the kernel, which waits for a core
//! like everybody else (4 ms is a time slice); a blocking call runs it in the lane's own thread,
//! which the scheduler favours because it mostly sleeps. So small writes alone start with blocking,
//! and bulk with ring-dsync, and falls back to blocking where that stalls (64 KiB four deep and
//! 256 KiB one deep were seen to stall with busy cores: 45 MB/s against 1,750).

use super::WriteStrategy;

/// Writes of at least this many bytes count as bulk even when alone: more is likely to follow, and
/// while a blocking call runs the lane can neither gather nor submit.
const BULK_BYTES: usize = 64 * 1024;

/// A write stalls when it takes this many times what is usual, ...
const STALL_FACTOR: u64 = 8;

/// ... and at least this long: below it, it is noise.
const STALL_NS_MIN: u64 = 1_000_000;

/// Stalls within memory that make the selector leave a strategy, if they cost enough.
const STALLS_MAX: u64 = 3;

/// What a write added to the memory of stalls fades with this many writes.
const MEMORY_WRITES: u64 = 256;

/// The first writes with a strategy that was barred before are a probation: fewer stalls suffice.
const PROBATION_WRITES: u64 = 32;
const PROBATION_STALLS_MAX: u64 = 2;

/// Writes for which a strategy is barred when it was left for the first time, and the most.
const BAR_WRITES_FIRST: u64 = 1 << 10;
const BAR_WRITES_MAX: u64 = 1 << 20;

/// Writes after which a strategy in use has won back its reputation.
const GOOD_WRITES: u64 = 1 << 14;

/// Small writes before the alternatives are tried, and with how many each.
const WARM_WRITES: u32 = 64;
const TRIAL_WRITES: usize = 12;
/// They come in runs of so many, of which the first one does not count: a write also takes what the way of the one before
/// it has left to be done. Compared write by write, a way that takes 215 us instead of 140 was seen to win.
const RUN_WRITES: u32 = 4;
/// Small writes after which a choice that a trial made is tried again; twice as many each time.
const AGAIN_WRITES: u32 = 1 << 12;
const AGAIN_WRITES_MAX: u32 = 1 << 20;

/// An alternative is better only if it takes less than this share of the time, in percent.
const BETTER_PERCENT: u64 = 85;

/// Bulk writes of each size that are blocking, if nothing is in flight, before the ring is used: they
/// show what is usual. Where cores are busy from the start, all of the ring's writes may stall.
const SEED_WRITES: u32 = 8;

/// What a write finds when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Its own bytes.
    pub(super) bytes: usize,
    /// Bytes of the writes that are in flight or wait to be.
    pub(super) others: usize,
    /// What is in flight on the ring.
    pub(super) ring: RingUse,
}

/// What is in flight on a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingUse {
    /// Nothing.
    Idle,
    /// Durable writes only.
    Durable,
    /// Flushes, or writes that are not durable themselves, perhaps among others.
    Mixed,
}

/// A choice, kept with the write and given back with its latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// How to write.
    pub(super) strategy: WriteStrategy,
    class: Class,
    bucket: usize,
    /// The number of the choice: says which writes were under way together.
    number: u64,
    /// How many writes of its size were under way, itself included.
    depth: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Small,
    Bulk,
}

/// See the module.
#[derive(Debug)]
pub(super) struct StrategySelector {
    fixed: Option<WriteStrategy>,
    /// For durable writes that meet others on the ring while blocking is the choice.
    on_ring: WriteStrategy,
    small: Ranking,
    bulk: Ranking,
    trial: Trial,
    /// What is usual, by the bytes under way: shared by all strategies, for a strategy that always
    /// stalls would find its own stalls usual.
    usual: [Usual; BUCKETS],
    chosen: u64,
    changes: u64,
    stalls: u64,
}

impl StrategySelector {
    /// `fixed`: the strategy the user insists on. `dsync`: RWF_DSYNC is taken on the ring.
    pub(super) fn new(fixed: Option<WriteStrategy>, dsync: bool) -> StrategySelector {
        use WriteStrategy::{Blocking, RingDsync, RingLinkedSync, RingSeparateSync};
        let able = |strategies: [WriteStrategy; 4]| {
            strategies.into_iter().filter(|strategy| dsync || *strategy != RingDsync).collect::<Vec<_>>()
        };
        StrategySelector {
            fixed,
            on_ring: if dsync { RingDsync } else { RingLinkedSync },
            small: Ranking::new(able([Blocking, RingLinkedSync, RingSeparateSync, RingDsync])),
            bulk: Ranking::new(able([RingDsync, Blocking, RingLinkedSync, RingSeparateSync])),
            trial: Trial::default(),
            usual: [Usual::default(); BUCKETS],
            chosen: 0,
            changes: 0,
            stalls: 0,
        }
    }

    /// How to carry out a durable write; `None`: when the ring has become idle, not before.
    pub(super) fn choose(&mut self, load: Load) -> Option<Choice> {
        let class = if load.bytes < BULK_BYTES && load.others == 0 { Class::Small } else { Class::Bulk };
        let bucket = bucket(load.bytes + load.others);
        let seeding = load.ring == RingUse::Idle && self.usual[bucket].blocking < SEED_WRITES;
        let wanted = self.fixed.unwrap_or_else(|| match class {
            Class::Small => self.trial.candidate(bucket, &self.small).unwrap_or_else(|| self.small.current()),
            Class::Bulk if seeding => WriteStrategy::Blocking,
            Class::Bulk => self.bulk.current(),
        });
        let strategy = match (wanted, load.ring) {
            // Bulk has left the ring. Without a pause each completion would be followed by another
            // write on the ring, and it would never become idle.
            (WriteStrategy::Blocking, RingUse::Durable) => return None,
            (WriteStrategy::Blocking, RingUse::Mixed) => self.on_ring,
            (wanted, _) => wanted,
        };
        self.chosen += 1;
        let depth = ((load.bytes + load.others) / load.bytes.max(1)) as u64;
        Some(Choice { strategy, class, bucket, number: self.chosen, depth })
    }

    /// Notes how long a write that succeeded took, or several that went together (`writes`).
    pub(super) fn record(&mut self, choice: Choice, writes: u64, latency_ns: u64) {
        let usual = &mut self.usual[choice.bucket];
        usual.blocking = usual.blocking.saturating_add(u32::from(choice.strategy == WriteStrategy::Blocking));
        let usual_ns = if usual.latency_ns == 0 { latency_ns } else { usual.latency_ns };
        let stalled = usual.note(latency_ns);
        self.stalls += u64::from(stalled);
        if self.fixed.is_some() {
            return;
        }
        let ranking = match choice.class {
            Class::Small => &mut self.small,
            Class::Bulk => &mut self.bulk,
        };
        if choice.class == Class::Small && self.trial.note(choice, latency_ns, stalled, ranking) {
            return;
        }
        let outcome = Outcome {
            writes,
            useful_ns: usual_ns.min(latency_ns) / if writes > 1 { 1 } else { choice.depth },
            lost_ns: if stalled { latency_ns - usual_ns } else { 0 },
        };
        self.changes += u64::from(ranking.note(choice, outcome, self.chosen));
    }

    /// The strategy in use for small durable writes.
    pub(super) fn current(&self) -> WriteStrategy {
        self.fixed.unwrap_or_else(|| self.small.current())
    }

    /// How often stalls, or their end, changed a strategy.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Writes that took far longer than usual.
    pub(super) fn stalls(&self) -> u64 {
        self.stalls
    }
}

/// What a write, or several that went together, did with the time.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    writes: u64,
    /// Its part of the time that the work usually takes.
    useful_ns: u64,
    /// Above zero for a stall: the time beyond what is usual.
    lost_ns: u64,
}

/// The strategies of a class, best first, and which of them is in use.
#[derive(Debug)]
struct Ranking {
    strategies: Vec<Standing>,
    /// The best before anything was measured.
    first: WriteStrategy,
    current: usize,
    /// Writes of the class so far.
    writes: u64,
    /// Writes since the last change.
    tenure: u64,
    memory: Memory,
}

/// What the strategy in use did lately; old things fade.
#[derive(Debug, Default)]
struct Memory {
    useful_ns: u64,
    lost_ns: u64,
    /// In units of 1 / [`MEMORY_WRITES`].
    stalls: u64,
    /// Choices up to this one were under way in the last stall that was counted.
    stalled_until: u64,
}

impl Memory {
    fn fade(&mut self) {
        for value in [&mut self.useful_ns, &mut self.lost_ns, &mut self.stalls] {
            *value -= *value / MEMORY_WRITES;
        }
    }

    /// Notes an outcome; `true` for a stall that was not yet counted with a neighbour.
    fn note(&mut self, number: u64, outcome: Outcome, chosen: u64) -> bool {
        self.fade();
        self.useful_ns += outcome.useful_ns;
        if outcome.lost_ns == 0 || number <= self.stalled_until {
            return false;
        }
        self.lost_ns += outcome.lost_ns;
        self.stalls += MEMORY_WRITES;
        self.stalled_until = chosen;
        true
    }

    fn is_bad(&self, stalls_max: u64) -> bool {
        // Three stalls have faded a little when the third one comes.
        self.stalls + MEMORY_WRITES / 2 >= stalls_max * MEMORY_WRITES && self.lost_ns > self.useful_ns
    }
}

#[derive(Debug)]
struct Standing {
    strategy: WriteStrategy,
    barred_until: u64,
    bar_next: u64,
}

impl Ranking {
    fn new(strategies: Vec<WriteStrategy>) -> Ranking {
        let standing = |strategy| Standing { strategy, barred_until: 0, bar_next: BAR_WRITES_FIRST };
        Ranking {
            first: strategies[0],
            strategies: strategies.into_iter().map(standing).collect(),
            current: 0,
            writes: 0,
            tenure: 0,
            memory: Memory::default(),
        }
    }

    fn current(&self) -> WriteStrategy {
        self.strategies[self.current].strategy
    }

    /// Whether the first choice is the one that it was before anything was measured.
    fn is_as_at_first(&self) -> bool {
        self.strategies[0].strategy == self.first
    }

    /// Puts a strategy in front and uses it.
    fn prefer(&mut self, strategy: WriteStrategy) {
        if let Some(place) = self.strategies.iter().position(|standing| standing.strategy == strategy) {
            let standing = self.strategies.remove(place);
            self.strategies.insert(0, standing);
            self.use_place(0);
        }
    }

    fn use_place(&mut self, place: usize) {
        self.current = place;
        self.tenure = 0;
        self.memory = Memory::default();
    }

    /// Notes an outcome; `true` if the strategy changes with it. `chosen`: the number of the latest
    /// choice.
    fn note(&mut self, choice: Choice, outcome: Outcome, chosen: u64) -> bool {
        self.writes += outcome.writes;
        // Writes that were started before the last change say nothing about what is in use now.
        if choice.strategy == self.current() {
            let before = self.tenure;
            self.tenure += outcome.writes;
            if before < GOOD_WRITES && self.tenure >= GOOD_WRITES {
                self.strategies[self.current].bar_next = BAR_WRITES_FIRST;
            }
            if self.memory.note(choice.number, outcome, chosen) && self.memory.is_bad(self.stalls_max()) {
                return self.leave();
            }
        }
        self.return_to_better()
    }

    fn stalls_max(&self) -> u64 {
        let returned = self.strategies[self.current].bar_next > BAR_WRITES_FIRST;
        if returned && self.tenure <= PROBATION_WRITES { PROBATION_STALLS_MAX } else { STALLS_MAX }
    }

    /// Bars the strategy in use and takes the best that is not barred; stays if there is none.
    fn leave(&mut self) -> bool {
        let writes = self.writes;
        let standing = &mut self.strategies[self.current];
        standing.barred_until = writes + standing.bar_next;
        standing.bar_next = (standing.bar_next * 2).min(BAR_WRITES_MAX);
        match self.strategies.iter().position(|standing| standing.barred_until <= writes) {
            Some(place) => {
                self.use_place(place);
                true
            }
            None => {
                self.memory = Memory::default();
                false
            }
        }
    }

    /// Goes back to a better strategy whose bar is over.
    fn return_to_better(&mut self) -> bool {
        let better = &self.strategies[..self.current];
        match better.iter().position(|standing| standing.barred_until <= self.writes) {
            Some(place) => {
                self.use_place(place);
                true
            }
            None => false,
        }
    }
}

/// Tries every strategy with a few small writes, early in the life of a ring, and prefers one that is clearly faster than
/// the one in use. What it has preferred is tried again later: a verdict of one moment must not stand for ever.
///
/// The candidate and the strategy in use take turns, a few writes each, so that both meet the same moments. Compared one
/// after the other, a keeper that was just writing zeros beside the one and not beside the other was seen to decide for the
/// slower: 64 records in flight fell from 0.92 to 0.69 of the limit.
#[derive(Debug)]
struct Trial {
    state: TrialState,
    /// Small writes until the next one.
    warming: u32,
    /// As many as that will be the time after.
    again: u32,
    own: Latencies,
    candidate: Latencies,
    /// The best candidate so far, and its time in percent of that of the strategy in use.
    best: Option<(WriteStrategy, u64)>,
}

#[derive(Debug)]
enum TrialState {
    Warming,
    /// The place of the candidate among the strategies, and the size it is tried with.
    Trying {
        place: usize,
        bucket: usize,
    },
    Over,
}

/// Of one strategy in a trial.
#[derive(Debug, Default)]
struct Latencies {
    writes: u32,
    counted: Vec<u64>,
}

impl Latencies {
    fn note(&mut self, latency_ns: u64) {
        if !self.writes.is_multiple_of(RUN_WRITES) {
            self.counted.push(latency_ns);
        }
        self.writes += 1;
    }

    fn runs(&self) -> u32 {
        self.writes / RUN_WRITES
    }

    fn median(&mut self) -> u64 {
        self.counted.sort_unstable();
        self.counted[self.counted.len() / 2]
    }
}

impl Default for Trial {
    fn default() -> Self {
        let (own, candidate) = (Latencies::default(), Latencies::default());
        let (state, warming, again) = (TrialState::Warming, WARM_WRITES, AGAIN_WRITES);
        Trial { state, warming, again, own, candidate, best: None }
    }
}

impl Trial {
    fn is_turn_of_candidate(&self) -> bool {
        self.candidate.runs() < self.own.runs()
    }

    /// The strategy to try with a write of this size, if it is its turn.
    fn candidate(&self, bucket: usize, ranking: &Ranking) -> Option<WriteStrategy> {
        match self.state {
            TrialState::Trying { place, bucket: tried } if tried == bucket && self.is_turn_of_candidate() => {
                Some(ranking.strategies[place].strategy)
            }
            _ => None,
        }
    }

    /// Notes a small write; `true` if it was one with a candidate.
    fn note(&mut self, choice: Choice, latency_ns: u64, stalled: bool, ranking: &mut Ranking) -> bool {
        match self.state {
            TrialState::Over => false,
            TrialState::Warming => {
                self.warming -= 1;
                if self.warming == 0 {
                    self.try_next(0, choice.bucket, ranking);
                }
                false
            }
            TrialState::Trying { place, bucket } if choice.bucket == bucket => {
                let is_candidate = choice.strategy == ranking.strategies[place].strategy;
                // A ring in use takes the candidate where another was wanted: then it is not its turn.
                match self.is_turn_of_candidate() {
                    true if is_candidate => self.candidate.note(latency_ns),
                    false if choice.strategy == ranking.current() => self.own.note(latency_ns),
                    _ => {}
                }
                // One stall is enough to end the trial of something that is merely tried.
                if is_candidate && stalled {
                    self.try_next(place + 1, bucket, ranking);
                } else if self.candidate.counted.len() == TRIAL_WRITES {
                    let percent = self.candidate.median() * 100 / self.own.median().max(1);
                    if percent < self.best.map_or(BETTER_PERCENT, |(_, best)| best) {
                        self.best = Some((choice.strategy, percent));
                    }
                    self.try_next(place + 1, bucket, ranking);
                }
                is_candidate
            }
            TrialState::Trying { .. } => false,
        }
    }

    /// Goes on to the first strategy from `place` on that is not in use, or ends the trial.
    fn try_next(&mut self, place: usize, bucket: usize, ranking: &mut Ranking) {
        (self.own, self.candidate) = (Latencies::default(), Latencies::default());
        let rest = ranking.strategies.iter().enumerate().skip(place);
        let next = rest.map(|(place, _)| place).find(|place| *place != ranking.current);
        if let Some(place) = next {
            self.state = TrialState::Trying { place, bucket };
            return;
        }
        if let Some((strategy, _)) = self.best.take() {
            ranking.prefer(strategy);
        } else if ranking.is_as_at_first() {
            self.state = TrialState::Over;
            return;
        }
        self.state = TrialState::Warming;
        self.warming = self.again;
        self.again = (self.again * 2).min(AGAIN_WRITES_MAX);
    }
}

/// Buckets of bytes under way: up to 4 KiB, up to 8 KiB, ... and the rest.
const BUCKETS: usize = 14;

fn bucket(bytes: usize) -> usize {
    let pages = bytes.div_ceil(super::PAGE).max(1);
    (pages.next_power_of_two().trailing_zeros() as usize).min(BUCKETS - 1)
}

/// A latency that follows short ones at once and long ones slowly: what a write takes when nothing
/// holds it up. It does follow, so that a device that became slow is not called stalled for ever.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    latency_ns: u64,
    /// Blocking writes among those noted.
    blocking: u32,
}

impl Usual {
    /// Notes a latency and tells whether it was a stall.
    fn note(&mut self, latency_ns: u64) -> bool {
        let usual = self.latency_ns;
        if usual == 0 {
            self.latency_ns = latency_ns.max(1);
            return false;
        }
        if latency_ns < usual {
            self.latency_ns -= (usual - latency_ns) / 2;
        } else {
            self.latency_ns += (latency_ns - usual).min(usual) / 64;
        }
        latency_ns > (usual * STALL_FACTOR).max(STALL_NS_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WriteStrategy::{Blocking, RingDsync, RingLinkedSync, RingSeparateSync};

    const ALONE: Load = Load { bytes: 4096, others: 0, ring: RingUse::Idle };
    const BULK: Load = Load { bytes: 256 << 10, others: 768 << 10, ring: RingUse::Idle };

    /// Runs `count` writes whose latencies `took` makes up, in microseconds, from the strategy and
    /// the number of the write; returns how many each strategy got, in the order of `ALL`.
    fn run(
        selector: &mut StrategySelector,
        load: Load,
        count: u64,
        took: impl Fn(WriteStrategy, u64) -> u64,
    ) -> [u64; 4] {
        let mut used = [0; 4];
        for number in 0..count {
            let choice = selector.choose(load).expect("the ring is idle");
            let place = WriteStrategy::ALL.iter().position(|strategy| *strategy == choice.strategy);
            used[place.expect("ALL has all")] += 1;
            selector.record(choice, 1, took(choice.strategy, number) * 1000);
        }
        used
    }

    fn idle(strategy: WriteStrategy, number: u64) -> u64 {
        let usual = match strategy {
            Blocking => 90,
            RingDsync => 94,
            RingLinkedSync => 105,
            RingSeparateSync => 102,
        };
        usual + number % 9
    }

    /// Both cores busy: what a worker of the kernel must do waits for a time slice.
    fn busy(strategy: WriteStrategy, number: u64) -> u64 {
        match strategy {
            RingDsync => 4_000,
            RingLinkedSync | RingSeparateSync if number.is_multiple_of(10) => 3_700,
            _ => idle(strategy, number),
        }
    }

    #[test]
    fn small_writes_stay_with_blocking_idle_and_busy() {
        for took in [idle, busy] {
            let mut selector = StrategySelector::new(None, true);
            let used = run(&mut selector, ALONE, 100_000, took);
            let tried = 3 * TRIAL_WRITES as u64 * u64::from(RUN_WRITES) / u64::from(RUN_WRITES - 1);
            assert!(used[3] >= 100_000 - tried, "only the trial goes elsewhere: {used:?}");
            assert_eq!((selector.current(), selector.changes()), (Blocking, 0));
        }
    }

    #[test]
    fn a_trial_that_stalls_ends_at_once() {
        let mut selector = StrategySelector::new(None, true);
        let used = run(&mut selector, ALONE, 1_000, busy);
        assert_eq!(used[0], 1, "one write of 4 ms was enough");
        assert!(selector.stalls() >= 1);
    }

    #[test]
    fn what_is_clearly_faster_in_the_trial_is_preferred() {
        let mut selector = StrategySelector::new(None, true);
        run(&mut selector, ALONE, 1_000, |strategy, number| match strategy {
            RingDsync => 60 + number % 5,
            _ => 100 + number % 5,
        });
        assert_eq!((selector.current(), selector.changes()), (RingDsync, 0));

        let mut selector = StrategySelector::new(None, true);
        run(&mut selector, ALONE, 1_000, |strategy, number| match strategy {
            RingDsync => 90 + number % 5,
            _ => 100 + number % 5,
        });
        assert_eq!(selector.current(), Blocking, "a tenth is no reason");
    }

    /// The strategy in use was measured while the keeper wrote zeros, and a slower one after that.
    #[test]
    fn a_slow_moment_before_the_trial_does_not_decide_it() {
        let mut selector = StrategySelector::new(None, true);
        run(&mut selector, ALONE, u64::from(WARM_WRITES), |strategy, number| idle(strategy, number) * 3);
        run(&mut selector, ALONE, 1_000, idle);
        assert_eq!(selector.current(), Blocking);
        let mut selector = StrategySelector::new(None, true);
        run(&mut selector, ALONE, 1_000, |strategy, number| idle(strategy, number) * if number < 90 { 3 } else { 1 });
        assert_eq!(selector.current(), Blocking, "nor one in the middle of it");
    }

    /// A write and its flush apart are slow, but what they leave to be done the next write pays for, whichever way that
    /// goes: so each of them looked as fast as the other, and the slower one won about every second time.
    #[test]
    fn what_a_write_leaves_to_the_next_one_is_not_taken_for_that_ones_own() {
        let last = std::cell::Cell::new(Blocking);
        let mut selector = StrategySelector::new(None, true);
        run(&mut selector, ALONE, 1_000, |strategy, number| {
            let own = if strategy == Blocking { 140 } else { 215 };
            let before = last.replace(strategy);
            if before == strategy { own + number % 5 } else { 120 + number % 5 + u64::from(strategy == Blocking) * 30 }
        });
        assert_eq!(selector.current(), Blocking);
    }

    /// While something else was written to the device the one way was faster, and when that was over the other.
    #[test]
    fn a_verdict_is_looked_at_again() {
        let mut selector = StrategySelector::new(None, true);
        let slow_at_first =
            |strategy: WriteStrategy, number: u64| idle(strategy, number) * if strategy == Blocking { 2 } else { 1 };
        run(&mut selector, ALONE, 1_000, slow_at_first);
        assert_ne!(selector.current(), Blocking);
        let used = run(&mut selector, ALONE, 3 * u64::from(AGAIN_WRITES), |strategy, number| match strategy {
            Blocking => idle(strategy, number),
            _ => idle(strategy, number) * 2,
        });
        assert_eq!(selector.current(), Blocking, "{used:?}");
    }

    #[test]
    fn the_trial_compares_writes_of_one_size() {
        let mut selector = StrategySelector::new(None, true);
        for number in 0..2_000u64 {
            let load = Load { bytes: if number % 2 == 0 { 4096 } else { 49_152 }, ..ALONE };
            let choice = selector.choose(load).expect("the ring is idle");
            let slower = if load.bytes > 4096 { 3 } else { 1 };
            selector.record(choice, 1, idle(choice.strategy, number) * slower * 1000);
        }
        assert_eq!(selector.current(), Blocking);
    }

    /// While the ring is in use for something else, a small write goes there whatever is wanted, and that
    /// may be the very candidate. Only such writes came, the trial ended with nothing to compare them
    /// with, and the lane's thread panicked (seen by `ringlane-proof kill --seed 4`, under load).
    #[test]
    fn a_trial_among_writes_that_have_no_choice_has_nothing_to_say() {
        for before in 0..200 {
            for dsync in [true, false] {
                let mut selector = StrategySelector::new(None, dsync);
                run(&mut selector, ALONE, before, idle);
                run(&mut selector, Load { ring: RingUse::Mixed, ..ALONE }, 100, idle);
                run(&mut selector, ALONE, 1_000, idle);
                assert_eq!(selector.current(), Blocking);
            }
        }
    }

    #[test]
    fn single_slow_writes_change_nothing() {
        let mut selector = StrategySelector::new(None, true);
        run(&mut selector, ALONE, 100_000, |strategy, number| match number % 100 {
            99 => 4_000,
            _ => idle(strategy, number),
        });
        assert_eq!((selector.current(), selector.changes()), (Blocking, 0));
        assert!(selector.stalls() >= 990, "but they are counted: {}", selector.stalls());
    }

    /// Seen on the reference machine: one slow moment hit eight writes that were in flight together,
    /// and half the bandwidth was given up for it.
    #[test]
    fn one_slow_moment_of_many_writes_counts_once() {
        let mut selector = StrategySelector::new(None, true);
        run(&mut selector, BULK, 1_000, |_, _| 350);
        for round in 0..1_000 {
            let choices: Vec<_> = (0..8).filter_map(|_| selector.choose(BULK)).collect();
            for choice in choices {
                selector.record(choice, 1, if round % 100 == 0 { 4_000_000 } else { 350_000 });
            }
        }
        assert_eq!(selector.changes(), 0);
        assert_eq!(selector.stalls(), 80);
    }

    #[test]
    fn bulk_leaves_the_ring_when_it_stalls_and_comes_back() {
        let mut selector = StrategySelector::new(None, true);
        let calm = |_, number| 350 + number % 50;
        assert_eq!(run(&mut selector, BULK, 1_000, calm), [992, 0, 0, 8], "bulk is for the ring");
        let stalling = |strategy, number| match strategy {
            RingDsync if number % 3 == 0 => 8_000,
            strategy => calm(strategy, number),
        };
        let used = run(&mut selector, BULK, 1_000, stalling);
        assert!(used[0] <= 12, "left soon: {used:?}");
        assert_eq!(used[3], 1_000 - used[0], "for blocking");
        assert_eq!(selector.changes(), 1);
        run(&mut selector, BULK, 2_000, calm);
        assert_eq!(chosen(&mut selector, BULK), Some(RingDsync), "and back when the bar was over");
        assert_eq!(selector.changes(), 2);
        assert_eq!(selector.current(), Blocking, "small writes are decided apart");
    }

    /// A strategy that stalls from the first write on would find that usual, were it only compared
    /// with itself.
    #[test]
    fn a_strategy_that_always_stalls_is_left() {
        let mut selector = StrategySelector::new(None, true);
        let used = run(&mut selector, BULK, 100_000, |strategy, _| if strategy == RingDsync { 4_000 } else { 150 });
        assert!(used[0] < 30, "each return is a short probation, ever more rarely: {used:?}");
        assert!(selector.changes() <= 14, "{}", selector.changes());
    }

    /// Seen on the reference machine: cores were busy from the start, the very first writes stalled,
    /// and 4 ms was taken for usual.
    #[test]
    fn stalls_from_the_first_write_on_are_recognised() {
        let mut selector = StrategySelector::new(None, true);
        let used = run(&mut selector, BULK, 10_000, |strategy, number| match (strategy, number) {
            (_, 0..3) | (RingDsync, _) => 4_000,
            _ => 110,
        });
        assert!(used[0] < 20, "{used:?}");
    }

    #[test]
    fn where_everything_stalls_it_settles() {
        let mut selector = StrategySelector::new(None, true);
        run(&mut selector, ALONE, 1_000, idle);
        run(&mut selector, ALONE, 1_000_000, |strategy, number| match number % 7 {
            0 => 20_000,
            _ => idle(strategy, number),
        });
        assert!(selector.changes() <= 80, "{}", selector.changes());
    }

    #[test]
    fn a_device_that_becomes_slow_is_not_stalled_for_ever() {
        let mut selector = StrategySelector::new(None, true);
        run(&mut selector, ALONE, 1_000, idle);
        run(&mut selector, ALONE, 2_000, |_, _| 6_000);
        let (stalls, changes) = (selector.stalls(), selector.changes());
        run(&mut selector, ALONE, 10_000, |_, _| 6_000);
        assert_eq!(selector.stalls(), stalls);
        assert!(selector.changes() <= changes + 3, "only the ways back");
        assert_eq!(selector.current(), Blocking);
    }

    fn chosen(selector: &mut StrategySelector, load: Load) -> Option<WriteStrategy> {
        selector.choose(load).map(|choice| choice.strategy)
    }

    #[test]
    fn blocking_is_never_chosen_while_the_ring_is_in_use() {
        for (dsync, expected) in [(true, RingDsync), (false, RingLinkedSync)] {
            for fixed in [None, Some(Blocking)] {
                let mut selector = StrategySelector::new(fixed, dsync);
                assert_eq!(chosen(&mut selector, Load { ring: RingUse::Mixed, ..ALONE }), Some(expected));
                assert_eq!(chosen(&mut selector, ALONE), Some(Blocking));
            }
        }
    }

    /// Bulk that keeps several writes in flight was seen to stay on the ring although the selector had
    /// left it: whenever a write completed, the next one found others in flight.
    #[test]
    fn a_ring_that_was_left_is_drained() {
        let mut selector = StrategySelector::new(None, true);
        let busy_ring = Load { ring: RingUse::Durable, ..BULK };
        assert_eq!(chosen(&mut selector, busy_ring), Some(RingDsync));
        run(&mut selector, BULK, 100, |strategy, _| if strategy == RingDsync { 9_000 } else { 400 });
        assert_eq!(chosen(&mut selector, busy_ring), None);
        assert_eq!(chosen(&mut selector, Load { ring: RingUse::Mixed, ..BULK }), Some(RingDsync), "flushes never end");
        assert_eq!(chosen(&mut selector, BULK), Some(Blocking));
    }

    #[test]
    fn without_dsync_nothing_asks_for_it() {
        let mut selector = StrategySelector::new(None, false);
        let stalling = |_, number| if number % 3 == 0 { 9_000 } else { 90 };
        let used = [run(&mut selector, ALONE, 50_000, stalling)[0], run(&mut selector, BULK, 50_000, stalling)[0]];
        assert_eq!(used, [0, 0]);
    }

    #[test]
    fn what_the_user_insists_on_is_kept() {
        for strategy in WriteStrategy::ALL {
            let mut selector = StrategySelector::new(Some(strategy), true);
            run(&mut selector, ALONE, 1_000, idle);
            run(&mut selector, ALONE, 1_000, |_, _| 5_000);
            assert_eq!((selector.current(), selector.changes()), (strategy, 0));
            assert!(selector.stalls() > 0, "stalls are counted all the same");
        }
    }

    #[test]
    fn buckets_cover_all_sizes() {
        assert_eq!([bucket(1), bucket(4096), bucket(4097), bucket(65_536)], [0, 0, 1, 4]);
        assert_eq!(bucket(usize::MAX >> 1), BUCKETS - 1);
    }
}
